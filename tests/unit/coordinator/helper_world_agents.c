/* helper_world_agents.c — agents that obey: fences, orders, expiry, stops. */
#include "helper_world_parts.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "common/base/alloc.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define AGENT_POLL_MS 2000

static uint64_t send_message(struct world *w, int i, const struct message *message)
{
    struct world_agent *agent = &w->agents[i];
    uint64_t handle = ++w->handle_last * WORLD_AGENTS + (uint64_t)i;
    if (agent->is_cut) {
        return handle;
    }
    struct world_coordinator *to = &w->coordinators[agent->coordinator];
    if (to->core == NULL || to->is_paused || to->has_exited) {
        agent->coordinator =
            (agent->coordinator + 1) % WORLD_COORDINATORS; /* refused connection: try the other */
        agent->session = 0;
        agent->hello_due_ms = w->now_ms + 200;
        agent->is_waiting = false;
        return handle;
    }
    if (message->kind == MESSAGE_HELLO ||
        (message->kind == MESSAGE_REPORT && message->as.report.wait_ms > 0)) {
        agent->is_waiting = true;
        agent->waiting_handle = handle;
        agent->waiting_until_ms = w->now_ms + 5000;
    }
    struct coordinator_event event = {
        .kind = COORDINATOR_MESSAGE, .handle = handle, .message = message};
    world_send(w, agent->coordinator, &event);
    return handle;
}

static void agent_report(struct world *w, int i, int64_t wait_ms)
{
    struct world_agent *agent = &w->agents[i];
    struct message message = {.kind = MESSAGE_REPORT};
    struct report *report = &message.as.report;
    report->agent = agent->id;
    report->session = agent->session;
    report->sequence = ++agent->sequence;
    report->fence_acked = agent->ack_max > 0 && agent->ack_max < agent->fence_disk
                              ? agent->ack_max
                              : agent->fence_disk;
    report->wait_ms = wait_ms;
    report->has_nodes = w->now_ms >= agent->nodes_due_ms;
    if (report->has_nodes) {
        agent->nodes_due_ms = w->now_ms + 500;
        report->nodes =
            xcalloc((size_t)(agent->node_count + agent->told_count) + 1, sizeof(*report->nodes));
        for (int n = 0; n < agent->node_count; n++) {
            fill_node(w, agent->first_node + n, &report->nodes[report->node_count++]);
        }
        for (int n = 0; n < agent->told_count; n++) {
            fill_node(w, agent->told[n], &report->nodes[report->node_count++]);
        }
    }
    report->has_host = agent->offers_provision || agent->offers_traffic;
    report->host = (struct host_report){.memory_free_bytes = -1,
                                        .offers_provision = agent->offers_provision,
                                        .offers_traffic = agent->offers_traffic};
    report->orders = xcalloc((size_t)agent->order_count + 1, sizeof(*report->orders));
    for (int n = 0; n < agent->order_count; n++) {
        report->orders[report->order_count++] = agent->orders[n].status;
    }
    report->views = xcalloc((size_t)agent->view_wanted_count + 1, sizeof(*report->views));
    for (int n = 0; n < agent->view_wanted_count; n++) {
        for (int k = 0; k < agent->node_count + agent->told_count; k++) {
            int node =
                k < agent->node_count ? agent->first_node + k : agent->told[k - agent->node_count];
            if (!w->nodes[node].is_failed && w->nodes[node].digest == agent->views_wanted[n]) {
                struct view_text *view = &report->views[report->view_count++];
                view->digest = agent->views_wanted[n];
                view->node = w->nodes[node].id;
                view->len = w->nodes[node].text.len;
                view->text = xmemdup(w->nodes[node].text.data, view->len + 1);
                break;
            }
        }
    }
    agent->view_wanted_count = 0;
    (void)send_message(w, i, &message);
    message_release(&message);
}

static void agent_hello(struct world *w, int i)
{
    struct world_agent *agent = &w->agents[i];
    struct message message = {.kind = MESSAGE_HELLO};
    struct hello *hello = &message.as.hello;
    hello->agent = agent->id;
    hello->incarnation = agent->incarnation;
    hello->proto_version = PROTO_VERSION;
    (void)snprintf(hello->version, sizeof(hello->version), "0.1.0");
    (void)snprintf(hello->credential, sizeof(hello->credential), "%s", w->config.agent_credential);
    hello->fence_seen = agent->fence_disk;
    (void)send_message(w, i, &message);
}

static int agent_find(const struct world_agent *agent, const struct order_id *id)
{
    for (int n = 0; n < agent->order_count; n++) {
        if (order_id_is_equal(&agent->orders[n].status.id, id)) {
            return n;
        }
    }
    return -1;
}

static void agent_obey(struct world *w, struct world_agent *agent, const struct instructions *said)
{
    if (said->fence < agent->fence_disk) {
        return; /* a leader of the past */
    }
    if (said->fence > agent->fence_disk) {
        agent->fence_disk = said->fence;
        for (int n = 0; n < agent->order_count; n++) {
            struct world_order *order = &agent->orders[n];
            if (order->status.state == ORDER_RUNNING && order->order.fence < said->fence) {
                order->status.state = ORDER_EXPIRED;
            }
        }
    }
    for (int n = 0; n < said->order_count; n++) {
        if (agent_find(agent, &said->orders[n].id) >= 0) {
            continue;
        }
        assert_true(agent->order_count < WORLD_AGENT_ORDERS);
        struct world_order *order = &agent->orders[agent->order_count++];
        *order = (struct world_order){.order = said->orders[n],
                                      .expires_ms = w->now_ms + said->orders[n].valid_for_ms};
        order->status.id = said->orders[n].id;
        order->status.state = ORDER_RUNNING;
        agent->orders_received++;
    }
    for (int n = 0; n < said->renewal_count; n++) {
        int at = agent_find(agent, &said->renewals[n].id);
        if (at >= 0) {
            agent->orders[at].expires_ms = w->now_ms + said->renewals[n].valid_for_ms;
        }
    }
    for (int n = 0; n < said->stop_count; n++) {
        int at = agent_find(agent, &said->stops[n]);
        if (at >= 0 && agent->orders[at].status.state == ORDER_RUNNING && !agent->does_nothing) {
            struct order_status *status = &agent->orders[at].status;
            status->state = ORDER_STOPPED;
            (void)snprintf(status->reason, sizeof(status->reason), "stopped");
        }
    }
    for (int n = 0; n < said->forget_count; n++) {
        int at = agent_find(agent, &said->forgets[n]);
        if (at >= 0) {
            assert_int_not_equal(agent->orders[at].status.state, ORDER_RUNNING);
            agent->orders[at] = agent->orders[--agent->order_count];
        }
    }
    agent->told_count = 0;
    for (int n = 0; n < said->node_count; n++) {
        for (int k = 0; k < w->node_count; k++) {
            if (address_is_equal(&w->nodes[k].address, &said->nodes[n])) {
                agent->told[agent->told_count++] = k;
            }
        }
    }
    for (int n = 0; n < said->view_wanted_count && agent->view_wanted_count < 8; n++) {
        agent->views_wanted[agent->view_wanted_count++] = said->views_wanted[n];
    }
}

void agent_answer(struct world *w, int i, const struct message *message, uint64_t handle)
{
    struct world_agent *agent = &w->agents[i];
    if (agent->is_waiting && agent->waiting_handle == handle) {
        agent->is_waiting = false;
    }
    switch (message->kind) {
    case MESSAGE_WELCOME:
        agent->session = message->as.welcome.session;
        agent->sequence = 0;
        break;
    case MESSAGE_REFUSAL:
        agent->last_refusal = message->as.refusal;
        agent->session = 0;
        agent->hello_due_ms = w->now_ms + 300;
        if (message->as.refusal.code == ERR_NOT_LEADER) {
            agent->coordinator = (agent->coordinator + 1) % WORLD_COORDINATORS;
        }
        break;
    case MESSAGE_INSTRUCTIONS:
        agent_obey(w, agent, &message->as.instructions);
        break;
    case MESSAGE_HELLO:
    case MESSAGE_REPORT:
        fail_msg("a coordinator asked an agent");
    }
}

/* The rule of the house: one batch, one order that lives. */
static void check_single(const struct world *w,
                         const struct world_agent *agent,
                         const struct world_order *order)
{
    if (order->order.kind == ORDER_SCAN) {
        return;
    }
    for (int i = 0; i < w->agent_count; i++) {
        const struct world_agent *other = &w->agents[i];
        for (int n = 0; other->is_alive && n < other->order_count; n++) {
            const struct world_order *twin = &other->orders[n];
            if (twin == order || twin->status.state != ORDER_RUNNING ||
                w->now_ms >= twin->expires_ms) {
                continue;
            }
            if (twin->status.id.batch_index == order->status.id.batch_index &&
                strcmp(twin->status.id.operation_id, order->status.id.operation_id) == 0) {
                print_message("%s\n", strbuf_text(&w->log));
                fail_msg("batch %d lives twice: %s attempt %d and %s attempt %d at %lld",
                         order->status.id.batch_index, agent->id.text, order->status.id.attempt,
                         other->id.text, twin->status.id.attempt, (long long)w->now_ms);
            }
        }
    }
}

static void end_order(struct world_agent *agent, struct world_order *order, enum order_state state)
{
    bool is_chosen = agent->ends_kind == 0 || (order->order.kind == ORDER_TASK &&
                                               order->order.task.kind == agent->ends_kind);
    order->status.state = state;
    if (agent->ends_as != 0 && is_chosen) {
        order->status.state = agent->ends_as;
        order->status.reason_code = agent->ends_code;
        (void)snprintf(order->status.reason, sizeof(order->status.reason), "%s",
                       agent->ends_reason != NULL ? agent->ends_reason : "");
    }
}

/* As the mover does it at the end: no replica of the two ends keeps a mark of the slot. */
static void unmark_replicas(struct world *w, int slot, int source, int target)
{
    for (int n = 0; n < w->node_count; n++) {
        struct world_node *node = &w->nodes[n];
        bool is_of_end = !node->is_primary && (node->primary == source || node->primary == target);
        if (is_of_end && node->open_slot == slot && !node->keeps_mark) {
            node->open_slot = -1;
        }
    }
}

static bool move_some(struct world *w, struct world_agent *agent, struct world_order *order)
{
    int source = find_node(w, &order->order.source);
    int target = find_node(w, &order->order.target);
    int left = agent->moves_per_tick;
    if (agent->ends_as != 0 && agent->ends_kind == 0) {
        end_order(agent, order, ORDER_DONE);
        return true;
    }
    if (w->nodes[source].is_failed || w->nodes[target].is_failed) {
        order->status.state = ORDER_FAILED;
        order->status.reason_code = ERR_UNAVAILABLE;
        (void)snprintf(order->status.reason, sizeof(order->status.reason),
                       "an end of the pair is down");
        return true;
    }
    SLOTSET_FOREACH (slot, &order->order.slots) {
        if (slotset_has(&order->status.slots_done, slot)) {
            continue;
        }
        if (left-- == 0) {
            return false;
        }
        if (order->order.kind == ORDER_MOVE) {
            if (w->owner[slot] != source && w->owner[slot] != target) {
                order->status.state = ORDER_FAILED; /* agents check before they act */
                order->status.reason_code = ERR_CONFLICT;
                (void)snprintf(order->status.reason, sizeof(order->status.reason),
                               "slot %d is not the source's", slot);
                return true;
            }
            w->owner[slot] = (int16_t)target;
            w->nodes[source].open_slot =
                w->nodes[source].open_slot == slot ? -1 : w->nodes[source].open_slot;
            unmark_replicas(w, slot, source, target);
        }
        slotset_add(&order->status.slots_done, slot);
        order->status.keys_moved += 10;
        order->status.bytes_moved += 1000;
    }
    end_order(agent, order, ORDER_DONE);
    return true;
}

/* What a provisioner does: one server a request, however often it is asked. */
static struct address make_server(struct world *w, const struct task *task)
{
    char request[48];
    assert_true(task_detail_get(task, "request", request, sizeof(request)));
    int found = -1;
    for (int n = 0; n < w->node_count; n++) {
        struct world_node *node = &w->nodes[n];
        bool is_free = !node->is_member && node->request[0] == '\0' && !node->is_released;
        if (strcmp(node->request, request) == 0) {
            return node->address;
        }
        found = found < 0 && is_free ? n : found;
    }
    assert_true(found >= 0);
    memcpy(w->nodes[found].request, request, sizeof(request));
    return w->nodes[found].address;
}

/* A few ticks, then all at once. */
static bool do_task(struct world *w, struct world_agent *agent, struct world_order *order)
{
    struct err err = {0};
    assert_int_equal(task_validate(&order->order.task, &err), 0);
    if (++order->ticks < agent->task_ticks) {
        return false;
    }
    enum task_kind kind = order->order.task.kind;
    if (agent->ends_as == 0 || (agent->ends_kind != 0 && agent->ends_kind != kind)) {
        if (kind == TASK_PROVISION) {
            order->status.made = make_server(w, &order->order.task);
        } else {
            carry_out(w, &order->order.task);
        }
        agent->tasks_done++;
    }
    end_order(agent, order, ORDER_DONE);
    return true;
}

static bool is_first_of_its_source(const struct world_agent *agent, int index)
{
    for (int n = 0; n < index; n++) {
        if (agent->orders[n].status.state == ORDER_RUNNING &&
            node_id_is_equal(&agent->orders[n].order.source, &agent->orders[index].order.source)) {
            return false;
        }
    }
    return true;
}

static void agent_work(struct world *w, int i)
{
    struct world_agent *agent = &w->agents[i];
    bool is_news = false;
    for (int n = 0; n < agent->order_count; n++) {
        struct world_order *order = &agent->orders[n];
        if (order->status.state != ORDER_RUNNING) {
            continue;
        }
        if (w->now_ms >= order->expires_ms) {
            order->status.state = ORDER_EXPIRED;
            is_news = true;
            continue;
        }
        check_single(w, agent, order);
        if (order->order.kind == ORDER_TASK) {
            is_news = (!agent->does_nothing && do_task(w, agent, order)) || is_news;
        } else if (!agent->does_nothing && is_first_of_its_source(agent, n)) {
            is_news = move_some(w, agent, order) || is_news;
        }
    }
    if (is_news && agent->session != 0) {
        agent_report(w, i, 0);
    }
}

void agents_run(struct world *w)
{
    for (int i = 0; i < w->agent_count; i++) {
        struct world_agent *agent = &w->agents[i];
        if (!agent->is_alive || agent->is_paused) {
            continue;
        }
        agent_work(w, i);
        if (agent->is_waiting && w->now_ms >= agent->waiting_until_ms) {
            agent->is_waiting = false;
        }
        if (agent->session == 0 && !agent->is_waiting && w->now_ms >= agent->hello_due_ms) {
            agent_hello(w, i);
        } else if (agent->session != 0 && !agent->is_waiting) {
            agent_report(w, i, AGENT_POLL_MS);
        } else if (agent->session != 0 && w->now_ms >= agent->nodes_due_ms) {
            agent_report(w, i, 0);
        }
    }
}

void world_agent_kill(struct world *w, int i)
{
    w->agents[i].is_alive = false;
}

void world_agent_start(struct world *w, int i)
{
    struct world_agent *agent = &w->agents[i];
    agent->is_alive = true;
    agent->is_paused = false;
    agent->handle_floor = w->handle_last;
    agent->incarnation = prng_next(&w->prng) | 1;
    agent->session = 0;
    agent->is_waiting = false;
    agent->order_count = 0;
    agent->told_count = 0;
    agent->view_wanted_count = 0;
    agent->hello_due_ms = w->now_ms;
    agent->nodes_due_ms = w->now_ms;
}
