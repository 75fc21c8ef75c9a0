/* command.h — Redis commands as data, made by cores and sent by shells, in one pipeline.
 *
 * Arguments are bytes with a length: keys may hold any value. The shell formats them for the wire;
 * the simulator reads them as they are. Source: redis#6072, #7154: one argument builder, never text
 * formats. */
#ifndef DROVER_MODEL_COMMAND_H
#define DROVER_MODEL_COMMAND_H

#include "common/base/strbuf.h"

#include <stddef.h>
#include <stdint.h>

struct command_arg {
    size_t offset; /* into bytes */
    size_t len;
};

struct command {
    int first_arg; /* index into args */
    int arg_count;
};

/* A zeroed list is valid and empty. */
struct command_list {
    struct strbuf bytes;
    struct command_arg *args; /* owned */
    int arg_count;
    int arg_capacity;
    struct command *commands; /* owned */
    int count;                /* commands, in the order they are sent */
    int capacity;
};

void commands_release(struct command_list *list);
void commands_clear(struct command_list *list);
/* Starts a new command; the commands_arg*() that follow belong to it. */
void commands_begin(struct command_list *list);
void commands_arg(struct command_list *list, const void *data, size_t len);
void commands_arg_text(struct command_list *list, const char *text);
void commands_arg_int(struct command_list *list, int64_t value);
/* A whole command of text arguments, ended by NULL. */
void commands_add(struct command_list *list, const char *first, ...) __attribute__((sentinel));
/* The bytes of one argument; valid until the list changes. index and arg from 0. */
const char *commands_get(const struct command_list *list, int index, int arg, size_t *len);
/* True when argument 'arg' equals 'text', ASCII case ignored; false when there is no such argument.
 */
bool commands_arg_is(const struct command_list *list, int index, int arg, const char *text);

#endif
