/* helper_fake_setup.c — the fake as a test sets it up, orders its work and asks about it. See
 * helper_fake.h. */
#include "helper_fake.h"

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>

#include <stdio.h>
#include <string.h>

void fake_init(struct fake *fake)
{
    memset(fake, 0, sizeof(*fake));
    fake->now_ms = 1000;
    fake->replica = (struct fake_replica){.primary = 2, .slot = SLOT_NONE, .is_down = true};
    for (int n = 0; n < FAKE_NODES; n++) {
        struct fake_node *node = &fake->nodes[n];
        memset(node->id.text, 'a' + n, NODE_ID_LEN);
        (void)snprintf(node->address.host, sizeof(node->address.host), "10.0.0.%d", n + 1);
        node->address.port = 7000;
        node->policy = "noeviction";
        node->connection_id = 1;
        node->config_epoch = n + 1;
        node->current_epoch = FAKE_NODES;
        fake_restart(fake, n);
        for (int slot = 0; slot < SLOT_COUNT; slot++) {
            node->owner[slot] = slot < SLOT_COUNT / 2 ? 0 : 2;
            node->importing[slot] = -1;
            node->migrating[slot] = -1;
        }
    }
}

void fake_release(struct fake *fake)
{
    for (int i = 0; i < fake->flight_count; i++) {
        commands_release(&fake->flights[i].commands);
    }
    strbuf_release(&fake->log);
    strbuf_release(&fake->events);
}

void fake_restart(struct fake *fake, int node)
{
    struct fake_node *found = &fake->nodes[node];
    found->connection_id += 100;
    (void)snprintf(found->run_id, sizeof(found->run_id), "%039d%d", (int)found->connection_id,
                   node);
}

void fake_add_keys(struct fake *fake, int node, int slot, int count)
{
    for (int i = 0; i < count; i++) {
        assert_true(fake->key_count < FAKE_KEYS_MAX);
        struct fake_key *key = &fake->keys[fake->key_count++];
        *key = (struct fake_key){.slot = slot, .node = node, .value = 1, .bytes = 100};
        (void)snprintf(key->name, sizeof(key->name), "k%d-%d", slot, fake->key_count);
    }
}

struct fake_fault *fake_fault(struct fake *fake,
                              int node,
                              const char *command,
                              const char *error,
                              int count)
{
    assert_true(fake->fault_count < FAKE_FAULTS_MAX);
    struct fake_fault *fault = &fake->faults[fake->fault_count++];
    *fault = (struct fake_fault){.node = node, .count = count};
    (void)snprintf(fault->command, sizeof(fault->command), "%s", command);
    (void)snprintf(fault->error, sizeof(fault->error), "%s", error);
    return fault;
}

int fake_count(const struct fake *fake, int node, int slot)
{
    int count = 0;
    for (int i = 0; i < fake->key_count; i++) {
        count += fake->keys[i].node == node && fake->keys[i].slot == slot;
    }
    return count;
}

long fake_said(const struct fake *fake, const char *text)
{
    const char *log = strbuf_text(&fake->log);
    for (const char *at = log; (at = strstr(at, text)) != NULL; at++) {
        if (at == log || at[-1] == '\n') {
            return at - log;
        }
    }
    return -1;
}

int fake_said_count(const struct fake *fake, const char *text)
{
    int count = 0;
    const char *log = strbuf_text(&fake->log);
    for (const char *at = log; (at = strstr(at, text)) != NULL; at++) {
        count += at == log || at[-1] == '\n';
    }
    return count;
}

void fake_order(struct fake *fake, struct order *order, const char *slots)
{
    *order = (struct order){.id = {.operation_id = "op-1-1", .attempt = 1},
                            .fence = 1,
                            .valid_for_ms = 30000,
                            .kind = ORDER_MOVE,
                            .source = fake->nodes[0].id,
                            .target = fake->nodes[1].id,
                            .source_address = fake->nodes[0].address,
                            .target_address = fake->nodes[1].address};
    struct err err = {0};
    assert_int_equal(slotset_parse(&order->slots, slots, &err), 0);
}

struct slot_mover *fake_mover(struct fake *fake, const char *slots)
{
    static uint32_t serial = 10;
    struct order order;
    fake_order(fake, &order, slots);
    struct mover_login login = {.user = ""};
    return slot_mover_new(&order, &login, ++serial, 7, fake->now_ms);
}

struct repair *fake_repair(struct fake *fake, const char *slots, uint32_t flags)
{
    static uint32_t serial = 100;
    struct order order;
    fake_order(fake, &order, slots);
    order.kind = ORDER_TASK;
    order.task = (struct task){.kind = TASK_REPAIR,
                               .flags = flags,
                               .node = order.source,
                               .node_address = order.source_address,
                               .peer = order.target,
                               .peer_address = order.target_address,
                               .slots = order.slots};
    struct mover_login login = {.user = ""};
    return repair_new(&order, &login, ++serial, 7, fake->now_ms);
}

void fake_feed_repair(struct fake *fake, struct repair *repair)
{
    struct agent_effects fx = {0};
    struct reply_list replies = {0};
    struct agent_event event = {.kind = AGENT_TICK};
    if (fake->now_ms >= repair_deadline(repair) || !fake_answer(fake, &event, &replies)) {
        int64_t deadline_ms = repair_deadline(repair);
        assert_true(deadline_ms != NEVER);
        fake->now_ms = deadline_ms > fake->now_ms ? deadline_ms : fake->now_ms;
        event = (struct agent_event){.kind = AGENT_TICK, .now_ms = fake->now_ms};
    }
    repair_step(repair, &event, &fx);
    fake_take(fake, &fx);
    agent_effects_release(&fx);
    replies_release(&replies);
}
