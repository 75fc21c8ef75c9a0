/* reply.c — see reply.h. */
#include "common/model/reply.h"

#include <string.h>
#include <strings.h>

void replies_release(struct reply_list *list)
{
    if (list == NULL) {
        return;
    }
    arena_release(&list->arena);
    *list = (struct reply_list){0};
}

struct reply *replies_add(struct reply_list *list)
{
    if (list->count == list->capacity) {
        int capacity = list->capacity == 0 ? 16 : list->capacity * 2;
        struct reply *grown = arena_alloc(&list->arena, (size_t)capacity * sizeof(*grown));
        if (list->count > 0) {
            memcpy(grown, list->replies, (size_t)list->count * sizeof(*grown));
        }
        list->replies = grown;
        list->capacity = capacity;
    }
    struct reply *reply = &list->replies[list->count++];
    *reply = (struct reply){.type = REPLY_NIL, .text = ""};
    return reply;
}

void reply_set_text(struct reply_list *list,
                    struct reply *reply,
                    enum reply_type type,
                    const void *data,
                    size_t len)
{
    *reply = (struct reply){.type = type, .text = arena_copy(&list->arena, data, len), .len = len};
}

void reply_set_array(struct reply_list *list, struct reply *reply, size_t count)
{
    *reply = (struct reply){.type = REPLY_ARRAY, .text = "", .count = count};
    reply->items = arena_alloc(&list->arena, count * sizeof(*reply->items));
    for (size_t i = 0; i < count; i++) {
        reply->items[i] = (struct reply){.type = REPLY_NIL, .text = ""};
    }
}

bool reply_is_ok(const struct reply *reply)
{
    return reply->type == REPLY_STATUS && reply->len == 2 && memcmp(reply->text, "OK", 2) == 0;
}

bool reply_is_error(const struct reply *reply)
{
    return reply->type == REPLY_ERROR;
}

bool reply_has_prefix(const struct reply *reply, const char *prefix)
{
    size_t len = strlen(prefix);
    return reply->len >= len && memcmp(reply->text, prefix, len) == 0;
}

bool reply_contains(const struct reply *reply, const char *part)
{
    size_t len = strlen(part);
    for (size_t i = 0; i + len <= reply->len; i++) {
        if (strncasecmp(reply->text + i, part, len) == 0) {
            return true;
        }
    }
    return false;
}
