/* mover_script.c — see mover_script.h. */
#include "agent/core/mover_script.h"

#include "common/base/check.h"

#include <stdlib.h>

#define SECOND_US 1000000
#define SECONDS_MAX INT64_C(100000000000) /* year 5138: far below where microseconds overflow */

void mover_script_begin(struct command_list *list,
                        int64_t first_us,
                        int64_t last_us,
                        const struct node_id *target,
                        const struct node_id *source)
{
    CHECK(first_us <= last_us);
    commands_begin(list);
    commands_arg_text(list, "EVAL");
    commands_arg_text(list, MOVER_CLAIM_SCRIPT);
    commands_arg_int(list, 0); /* keys */
    commands_arg_int(list, first_us);
    commands_arg_int(list, last_us);
    commands_arg_text(list, target->text);
    commands_arg_text(list, source->text);
}

static bool read_number(const struct reply *reply, int64_t max, int64_t *number)
{
    if (reply->type != REPLY_STRING || reply->len == 0) {
        return false;
    }
    char *end = NULL;
    long long value = strtoll(reply->text, &end, 10);
    if (*end != '\0' || value < 0 || value > max) {
        return false;
    }
    *number = value;
    return true;
}

bool mover_script_read_time(const struct reply *reply, int64_t *time_us)
{
    int64_t seconds = 0;
    int64_t rest_us = 0;
    if (reply->type != REPLY_ARRAY || reply->count != 2 ||
        !read_number(&reply->items[0], SECONDS_MAX, &seconds) ||
        !read_number(&reply->items[1], SECOND_US - 1, &rest_us)) {
        return false;
    }
    *time_us = seconds * SECOND_US + rest_us;
    return true;
}

bool mover_script_is_late(const struct reply *reply)
{
    return reply_is_error(reply) && reply_has_prefix(reply, "LATE ");
}

bool mover_script_is_refused(const struct reply *reply)
{
    return reply_is_error(reply) &&
           (reply_has_prefix(reply, "NOPERM") || reply_contains(reply, "unknown command") ||
            reply_contains(reply, "not allowed from script"));
}
