/* command.c — see command.h. */
#include "common/model/command.h"

#include "common/base/alloc.h"
#include "common/base/check.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

void commands_release(struct command_list *list)
{
    if (list == NULL) {
        return;
    }
    strbuf_release(&list->bytes);
    free(list->args);
    free(list->commands);
    *list = (struct command_list){0};
}

void commands_clear(struct command_list *list)
{
    strbuf_clear(&list->bytes);
    list->arg_count = 0;
    list->count = 0;
}

void commands_begin(struct command_list *list)
{
    ARRAY_RESERVE(list->commands, list->count, list->capacity);
    list->commands[list->count++] = (struct command){.first_arg = list->arg_count};
}

void commands_arg(struct command_list *list, const void *data, size_t len)
{
    CHECK(list->count > 0);
    ARRAY_RESERVE(list->args, list->arg_count, list->arg_capacity);
    list->args[list->arg_count++] = (struct command_arg){.offset = list->bytes.len, .len = len};
    strbuf_add(&list->bytes, data, len);
    list->commands[list->count - 1].arg_count++;
}

void commands_arg_text(struct command_list *list, const char *text)
{
    commands_arg(list, text, strlen(text));
}

void commands_arg_int(struct command_list *list, int64_t value)
{
    char text[24];
    int len = snprintf(text, sizeof(text), "%lld", (long long)value);
    commands_arg(list, text, (size_t)len);
}

void commands_add(struct command_list *list, const char *first, ...)
{
    commands_begin(list);
    va_list args;
    va_start(args, first);
    for (const char *text = first; text != NULL; text = va_arg(args, const char *)) {
        commands_arg_text(list, text);
    }
    va_end(args);
}

const char *commands_get(const struct command_list *list, int index, int arg, size_t *len)
{
    CHECK(index >= 0 && index < list->count);
    const struct command *command = &list->commands[index];
    CHECK(arg >= 0 && arg < command->arg_count);
    const struct command_arg *found = &list->args[command->first_arg + arg];
    *len = found->len;
    return list->bytes.data + found->offset;
}

bool commands_arg_is(const struct command_list *list, int index, int arg, const char *text)
{
    CHECK(index >= 0 && index < list->count);
    if (arg < 0 || arg >= list->commands[index].arg_count) {
        return false;
    }
    size_t len = 0;
    const char *data = commands_get(list, index, arg, &len);
    return len == strlen(text) && strncasecmp(data, text, len) == 0;
}
