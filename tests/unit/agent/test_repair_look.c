/* test_repair_look.c — a repair in a cluster of many nodes asks all of them, a few at a time: each
 * answer may be some 100 KiB, and all of them at once would fill the agent. */
#include "agent/core/repair.h"

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#define NODES 50
#define AT_ONCE_MAX 16
#define SLOT 7
#define FLIGHTS_MAX 128

struct flights {
    struct agent_effect items[FLIGHTS_MAX]; /* Redis requests on their way, oldest first; owned */
    int count;
};

static void node_id(int node, struct node_id *id)
{
    (void)snprintf(id->text, sizeof(id->text), "%040x", 0xa0 + node);
}

/* Node 0 owns everything, all others are primaries without slots. */
static void nodes_text(int myself, struct strbuf *out)
{
    for (int n = 0; n < NODES; n++) {
        struct node_id id;
        node_id(n, &id);
        strbuf_addf(out, "%s 10.0.0.%d:7000@17000 %smaster - 0 0 %d connected%s\n", id.text, n + 1,
                    n == myself ? "myself," : "", n + 1, n == 0 ? " 0-16383" : "");
    }
}

static struct repair *repair_of_one_slot(void)
{
    struct order order = {
        .id = {.operation_id = "op-1-1", .attempt = 1}, .fence = 1, .valid_for_ms = 30000};
    struct mover_login login = {.user = ""};
    order.kind = ORDER_TASK;
    order.task.kind = TASK_REPAIR;
    node_id(0, &order.task.node);
    order.task.node_address = (struct address){.host = "10.0.0.1", .port = 7000};
    slotset_add(&order.task.slots, SLOT);
    return repair_new(&order, &login, 1, 7, 1000);
}

static void take(struct flights *flights, struct agent_effects *fx)
{
    for (int i = 0; i < fx->count; i++) {
        if (fx->items[i].kind == AGENT_FX_REDIS) {
            assert_true(flights->count < FLIGHTS_MAX);
            flights->items[flights->count++] = fx->items[i];
            fx->items[i].commands = (struct command_list){0};
        }
    }
}

/* Answers the oldest request; returns which node was asked. */
static int answer(struct flights *flights, struct repair *machine, int64_t now_ms)
{
    struct agent_effect effect = flights->items[0];
    struct agent_effects fx = {0};
    struct reply_list replies = {0};
    struct strbuf text = {0};
    int node = 0;
    flights->count--;
    memmove(&flights->items[0], &flights->items[1],
            (size_t)flights->count * sizeof(flights->items[0]));
    assert_int_equal(sscanf(effect.address.host, "10.0.0.%d", &node), 1);
    nodes_text(node - 1, &text);
    for (int i = 0; i < effect.commands.count; i++) {
        struct reply *reply = replies_add(&replies);
        if (commands_arg_is(&effect.commands, i, 1, "NODES")) {
            reply_set_text(&replies, reply, REPLY_STRING, strbuf_text(&text), text.len);
        } else {
            assert_true(commands_arg_is(&effect.commands, i, 0, "INFO") ||
                        commands_arg_is(&effect.commands, i, 1, "COUNTKEYSINSLOT"));
            *reply = (struct reply){.type = REPLY_INTEGER, .text = ""};
        }
    }
    struct agent_event event = {.kind = AGENT_REDIS,
                                .now_ms = now_ms,
                                .req_id = effect.req_id,
                                .replies = &replies,
                                .latency_us = 300};
    repair_step(machine, &event, &fx);
    take(flights, &fx);
    agent_effects_release(&fx);
    commands_release(&effect.commands);
    replies_release(&replies);
    strbuf_release(&text);
    return node - 1;
}

static void all_are_asked_but_a_few_at_a_time(void **state)
{
    (void)state;
    static struct flights flights;
    struct repair *machine = repair_of_one_slot();
    struct agent_effects fx = {0};
    int64_t now_ms = 1000;
    int asked[NODES] = {0};
    int most = 0;
    struct agent_event tick = {.kind = AGENT_TICK, .now_ms = now_ms};
    repair_step(machine, &tick, &fx);
    take(&flights, &fx);
    agent_effects_release(&fx);
    while (!repair_is_over(machine)) {
        assert_true(flights.count > 0);
        most = flights.count > most ? flights.count : most;
        asked[answer(&flights, machine, ++now_ms)]++;
    }
    struct order_status status;
    repair_status(machine, &status);
    assert_int_equal(status.state, ORDER_DONE);
    assert_int_equal(most, AT_ONCE_MAX);
    for (int n = 0; n < NODES; n++) {
        assert_int_equal(asked[n], n == 0 ? 2 : 1); /* the first one was asked for the map, too */
    }
    repair_free(machine);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_are_asked_but_a_few_at_a_time),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
