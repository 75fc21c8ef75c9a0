/* test_strbuf.c — growing byte strings and arenas keep their invariants. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "common/base/arena.h"
#include "common/base/strbuf.h"

/* data[len] is '\0' whenever data is not NULL. */
static void assert_closed(const struct strbuf *buf)
{
    assert_true(buf->data == NULL || buf->data[buf->len] == '\0');
    assert_true(buf->data == NULL || buf->len < buf->capacity);
}

static void test_bytes_of_any_value(void **state)
{
    (void)state;
    struct strbuf buf = {0};
    unsigned char all[256];
    for (int i = 0; i < 256; i++) {
        all[i] = (unsigned char)i;
    }
    assert_string_equal(strbuf_text(&buf), "");
    for (int i = 0; i < 100; i++) {
        strbuf_add(&buf, all, sizeof(all));
        assert_closed(&buf);
    }
    assert_int_equal(buf.len, 25600);
    assert_memory_equal(buf.data + 25600 - 256, all, 256);
    strbuf_consume(&buf, 25600 - 3);
    assert_int_equal(buf.len, 3);
    assert_memory_equal(buf.data, "\xfd\xfe\xff", 3);
    assert_closed(&buf);
    strbuf_consume(&buf, 99);
    assert_int_equal(buf.len, 0);
    assert_closed(&buf);
    strbuf_release(&buf);
    strbuf_release(&buf);
    strbuf_release(NULL);
}

static void test_text(void **state)
{
    (void)state;
    struct strbuf buf = {0};
    strbuf_reserve(&buf, 10);
    assert_closed(&buf);
    strbuf_addf(&buf, "%s=%d", "slot", 42);
    strbuf_add_char(&buf, ' ');
    strbuf_add_text(&buf, "");
    strbuf_add(&buf, NULL, 0);
    strbuf_addf(&buf, "%0500d", 1);
    assert_int_equal(buf.len, 508);
    assert_closed(&buf);
    strbuf_clear(&buf);
    assert_string_equal(strbuf_text(&buf), "");
    strbuf_add_text(&buf, "kept");
    char *text = strbuf_detach(&buf);
    assert_string_equal(text, "kept");
    assert_null(buf.data);
    free(text);
    text = strbuf_detach(&buf);
    assert_string_equal(text, "");
    free(text);
}

static void test_arena(void **state)
{
    (void)state;
    struct arena arena = {0};
    char *first = arena_copy(&arena, "abc", 3);
    char *empty = arena_copy(&arena, NULL, 0);
    unsigned char *big = arena_alloc(&arena, 1000000);
    for (int i = 1; i < 2000; i++) {
        unsigned char *piece = arena_alloc(&arena, (size_t)i % 70);
        assert_int_equal((uintptr_t)piece % 16, 0);
        memset(piece, 0xff, (size_t)i % 70);
    }
    assert_string_equal(first, "abc");
    assert_string_equal(empty, "");
    for (int i = 0; i < 1000000; i++) {
        if (big[i] != 0) {
            fail_msg("byte %d is not zeroed", i);
        }
    }
    assert_true(arena.used_bytes > 1000000);
    arena_release(&arena);
    arena_release(&arena);
    arena_release(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_bytes_of_any_value),
                                       cmocka_unit_test(test_text), cmocka_unit_test(test_arena)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
