/* model_script.c — TIME, and EVAL of the one script that drover sends: a claim with a deadline. See
 * model_redis.h.
 *
 * No Lua: the script is known by its text, so a change of that text must be made here too, where
 * the conformance script 45_claim.txt compares both with real servers. */
#include "agent/core/mover_script.h"
#include "tests/sim/model_redis.h"

#include <stdio.h>
#include <string.h>

#define EPOCH_US (INT64_C(1700000000) * SECOND_US) /* what clocks show when the schedule begins */
#define FIRST_ARGUMENT 3                           /* of EVAL: ARGV[1] */

static int64_t clock_us(const struct model_node *node)
{
    return EPOCH_US + node->redis->schedule->now_us;
}

void model_command_time(struct model_node *node,
                        const struct command_list *commands,
                        int index,
                        struct reply_list *replies)
{
    (void)commands;
    (void)index;
    struct reply *reply = replies_add(replies);
    reply_set_array(replies, reply, 2);
    int64_t parts[2] = {clock_us(node) / SECOND_US, clock_us(node) % SECOND_US};
    for (int i = 0; i < 2; i++) {
        char text[24];
        snprintf(text, sizeof(text), "%lld", (long long)parts[i]);
        reply_set_text(replies, &reply->items[i], REPLY_STRING, text, strlen(text));
    }
}

/* redis.pcall('CLUSTER', 'SETSLOT', slot, 'NODE', id) */
static void claim_slot(struct model_node *node,
                       const struct command_list *commands,
                       int index,
                       int slot_arg,
                       struct reply_list *answers)
{
    struct command_list inner = {0};
    size_t len = 0;
    commands_add(&inner, "CLUSTER", "SETSLOT", (char *)NULL);
    const char *slot = commands_get(commands, index, slot_arg, &len);
    commands_arg(&inner, slot, len);
    commands_arg_text(&inner, "NODE");
    const char *id = commands_get(commands, index, FIRST_ARGUMENT + 2, &len);
    commands_arg(&inner, id, len);
    model_cluster_command(node, &inner, 0, answers);
    commands_release(&inner);
}

void model_command_eval(struct model_node *node,
                        const struct command_list *commands,
                        int index,
                        struct reply_list *replies)
{
    int64_t first_us = 0;
    int64_t last_us = 0;
    int count = commands->commands[index].arg_count;
    if (!commands_arg_is(commands, index, 1, MOVER_CLAIM_SCRIPT) ||
        !commands_arg_is(commands, index, 2, "0") ||
        !model_number(commands, index, FIRST_ARGUMENT, &first_us) ||
        !model_number(commands, index, FIRST_ARGUMENT + 1, &last_us) ||
        count < FIRST_ARGUMENT + 3) {
        if (node->redis->hooks.unknown_command != NULL) {
            node->redis->hooks.unknown_command(node->redis->hooks.owner, commands, index);
        }
        model_reply_error(replies, "ERR the model knows one script");
        return;
    }
    if (clock_us(node) < first_us || clock_us(node) > last_us) {
        node->redis->late_claim_count++;
        model_reply_error(replies, "LATE the claim is not of this time");
        return;
    }
    struct reply_list answers = {0};
    for (int arg = FIRST_ARGUMENT + 3; arg < count; arg++) {
        claim_slot(node, commands, index, arg, &answers);
    }
    struct reply *reply = replies_add(replies);
    reply_set_array(replies, reply, (size_t)answers.count);
    for (int i = 0; i < answers.count; i++) {
        reply_set_text(replies, &reply->items[i], answers.replies[i].type, answers.replies[i].text,
                       answers.replies[i].len);
    }
    replies_release(&answers);
}
