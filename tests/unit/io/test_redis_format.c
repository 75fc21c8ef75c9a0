/* test_redis_format.c — our formatter against hiredis's, byte by byte. */
#include "common/base/alloc.h"
#include "common/base/prng.h"
#include "common/io/redis_format.h"

#include <hiredis/hiredis.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define ARGS_MAX 40

/* Any commands of any bytes come out as hiredis writes them, appended to what was there. */
static void test_as_hiredis(void **state)
{
    (void)state;
    struct prng prng;
    prng_init(&prng, 1);
    for (int round = 0; round < 300; round++) {
        struct command_list commands = {0};
        struct strbuf wanted = {0};
        struct strbuf out = {0};
        strbuf_add_text(&wanted, "before");
        strbuf_add_text(&out, "before");
        int count = (int)prng_range(&prng, 1, 5);
        for (int i = 0; i < count; i++) {
            const char *argv[ARGS_MAX];
            size_t lens[ARGS_MAX];
            int arg_count = (int)prng_range(&prng, 1, ARGS_MAX);
            commands_begin(&commands);
            for (int arg = 0; arg < arg_count; arg++) {
                lens[arg] = (size_t)prng_range(&prng, 0, prng_chance(&prng, 1, 20) ? 12000 : 12);
                char *data = xmalloc(lens[arg] + 1);
                for (size_t byte = 0; byte < lens[arg]; byte++) {
                    data[byte] = (char)prng_next(&prng);
                }
                argv[arg] = data;
                commands_arg(&commands, data, lens[arg]);
            }
            char *text = NULL;
            long long len = redisFormatCommandArgv(&text, arg_count, argv, lens);
            assert_true(len > 0);
            strbuf_add(&wanted, text, (size_t)len);
            redisFreeCommand(text);
            for (int arg = 0; arg < arg_count; arg++) {
                free((void *)argv[arg]);
            }
        }
        redis_format(&commands, &out);
        assert_int_equal(out.len, wanted.len);
        assert_memory_equal(out.data, wanted.data, wanted.len + 1);
        strbuf_release(&out);
        strbuf_release(&wanted);
        commands_release(&commands);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_as_hiredis)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
