/* reply.h — what Redis answered, as plain data in one arena.
 *
 * Filled by the shell's RESP reader or by the model Redis of the simulator; read by cores. */
#ifndef DROVER_MODEL_REPLY_H
#define DROVER_MODEL_REPLY_H

#include "common/base/arena.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum reply_type { REPLY_NIL, REPLY_STATUS, REPLY_ERROR, REPLY_INTEGER, REPLY_STRING, REPLY_ARRAY };

struct reply {
    enum reply_type type;
    int64_t integer;  /* INTEGER */
    const char *text; /* STATUS, ERROR, STRING: 'len' bytes and '\0'; else "" */
    size_t len;
    struct reply *items; /* ARRAY: 'count' items */
    size_t count;
};

/* The answers to one command_list, in its order. A zeroed list is valid. */
struct reply_list {
    struct arena arena; /* owns everything below */
    struct reply
        *replies; /* 'count' answers; fewer than commands when the connection broke on the way */
    int count;
    int capacity; /* allocated in the arena */
};

void replies_release(struct reply_list *list);
/* A new last answer, zeroed (REPLY_NIL); fill it in. Pointers to earlier answers may move. */
struct reply *replies_add(struct reply_list *list);
/* Helpers for makers of answers. 'reply' must live in the list's arena. */
void reply_set_text(struct reply_list *list,
                    struct reply *reply,
                    enum reply_type type,
                    const void *data,
                    size_t len);
void reply_set_array(struct reply_list *list, struct reply *reply, size_t count);

bool reply_is_ok(const struct reply *reply); /* status "OK" */
bool reply_is_error(const struct reply *reply);
bool reply_has_prefix(const struct reply *reply,
                      const char *prefix); /* text starts so; any text type */
bool reply_contains(const struct reply *reply,
                    const char *part); /* text contains so, ASCII case ignored */

#endif
