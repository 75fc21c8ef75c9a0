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
#define TARGET_ARGUMENT (FIRST_ARGUMENT + 2)
#define SOURCE_ARGUMENT (FIRST_ARGUMENT + 3)
#define FIRST_SLOT (FIRST_ARGUMENT + 4)

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

struct script {
    struct model_node *node;
    const struct command_list *commands;
    int index; /* of the EVAL */
    struct reply_list *replies;
};

/* redis.pcall('CLUSTER', 'SETSLOT', slot, verb, id), without id if that is 0. True unless it is an
 * error. */
static bool set_slot(const struct script *script,
                     int slot_arg,
                     const char *verb,
                     int id_arg,
                     struct reply *answer)
{
    struct command_list inner = {0};
    struct reply_list replies = {0};
    size_t len = 0;
    commands_add(&inner, "CLUSTER", "SETSLOT", (char *)NULL);
    const char *slot = commands_get(script->commands, script->index, slot_arg, &len);
    commands_arg(&inner, slot, len);
    commands_arg_text(&inner, verb);
    if (id_arg > 0) {
        const char *id = commands_get(script->commands, script->index, id_arg, &len);
        commands_arg(&inner, id, len);
    }
    model_cluster_command(script->node, &inner, 0, &replies);
    const struct reply *made = &replies.replies[0];
    bool is_done = !reply_is_error(made);
    if (answer != NULL) {
        reply_set_text(script->replies, answer, made->type, made->text, made->len);
    }
    commands_release(&inner);
    replies_release(&replies);
    return is_done;
}

/* All slots are marked, then claimed: the last that took the mark after all others, and it alone
 * with its mark. */
static void claim_slots(const struct script *script, int slot_count, struct reply *answers)
{
    bool is_marked[SLOT_COUNT];
    int last = -1;
    for (int i = 0; i < slot_count; i++) {
        is_marked[i] = set_slot(script, FIRST_SLOT + i, "IMPORTING", SOURCE_ARGUMENT, NULL);
        last = is_marked[i] ? i : last;
    }
    for (int i = 0; i < slot_count; i++) {
        if (i != last && is_marked[i]) {
            (void)set_slot(script, FIRST_SLOT + i, "STABLE", 0, NULL);
        }
        if (i != last) {
            (void)set_slot(script, FIRST_SLOT + i, "NODE", TARGET_ARGUMENT, &answers[i]);
        }
    }
    if (last >= 0) {
        (void)set_slot(script, FIRST_SLOT + last, "NODE", TARGET_ARGUMENT, &answers[last]);
    }
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
        !model_number(commands, index, FIRST_ARGUMENT + 1, &last_us) || count < FIRST_SLOT ||
        count > FIRST_SLOT + SLOT_COUNT) {
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
    struct script script = {node, commands, index, replies};
    struct reply *reply = replies_add(replies);
    int slot_count = count - FIRST_SLOT;
    reply_set_array(replies, reply, (size_t)slot_count);
    claim_slots(&script, slot_count, reply->items);
}
