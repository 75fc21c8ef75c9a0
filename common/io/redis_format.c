/* redis_format.c — see redis_format.h. */
#include "common/io/redis_format.h"

#include "common/base/check.h"

#include <string.h>

#include "common/base/banned.h" /* last: system headers may use what it bans */

#define HEAD_SIZE_MAX 24 /* '*' or '$', at most 20 digits, CR LF */

/* Writes "<mark><number>\r\n" and returns its end. */
static char *put_head(char *at, char mark, size_t number)
{
    char digits[20];
    int count = 0;
    do {
        digits[count++] = (char)('0' + number % 10);
        number /= 10;
    } while (number > 0);
    *at++ = mark;
    while (count > 0) {
        *at++ = digits[--count];
    }
    *at++ = '\r';
    *at++ = '\n';
    return at;
}

static char *put_command(char *at,
                         const struct command_list *commands,
                         const struct command *command)
{
    CHECK(command->arg_count >= 1);
    at = put_head(at, '*', (size_t)command->arg_count);
    for (int i = 0; i < command->arg_count; i++) {
        const struct command_arg *arg = &commands->args[command->first_arg + i];
        at = put_head(at, '$', arg->len);
        if (arg->len > 0) {
            memcpy(at, commands->bytes.data + arg->offset, arg->len);
        }
        at += arg->len;
        *at++ = '\r';
        *at++ = '\n';
    }
    return at;
}

void redis_format(const struct command_list *commands, struct strbuf *out)
{
    size_t heads = (size_t)commands->count + (size_t)commands->arg_count;
    strbuf_reserve(out, commands->bytes.len + heads * (HEAD_SIZE_MAX + 2) + 1);
    char *end = out->data + out->len;
    for (int i = 0; i < commands->count; i++) {
        end = put_command(end, commands, &commands->commands[i]);
    }
    out->len = (size_t)(end - out->data);
    CHECK(out->len < out->capacity);
    *end = '\0';
}
