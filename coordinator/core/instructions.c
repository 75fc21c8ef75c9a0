/* instructions.c — see instructions.h. */
#include "coordinator/core/instructions.h"

#include "common/base/alloc.h"
#include "common/base/check.h"
#include "coordinator/core/removal.h"
#include "coordinator/core/state.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool is_told_lately(const struct coordinator *c, int64_t sent_ms)
{
    return sent_ms != NEVER && c->turn.now_ms - sent_ms < SAY_AGAIN_MS;
}

static struct order *add_order(struct instructions *out)
{
    out->orders = xreallocarray(out->orders, (size_t)out->order_count + 1, sizeof(*out->orders));
    struct order *order = &out->orders[out->order_count++];
    *order = (struct order){0};
    return order;
}

static void add_id(struct order_id **ids, int *count, const struct order_id *id)
{
    *ids = xreallocarray(*ids, (size_t)*count + 1, sizeof(**ids));
    (*ids)[(*count)++] = *id;
}

static void fill_name(const struct coordinator *c,
                      const struct batch *batch,
                      const char *operation_id,
                      struct order *order)
{
    (void)snprintf(order->id.operation_id, sizeof(order->id.operation_id), "%s", operation_id);
    order->id.batch_index = batch->index;
    order->fence = c->election.fence;
    order->valid_for_ms = c->config.order_valid_ms;
    order->big_key_bytes_max = c->config.big_key_bytes_max;
}

/* The same for every attempt, so that a provisioner that is asked again gives the same server. */
static void fill_request(const struct batch *batch, const char *operation_id, struct task *task)
{
    size_t len = strlen(task->detail);
    CHECK(len < sizeof(task->detail));
    int added = snprintf(task->detail + len, sizeof(task->detail) - len, "request %s-%d\n",
                         operation_id, batch->index);
    CHECK(added > 0);
    CHECK((size_t)added < sizeof(task->detail) - len);
}

/* False when the order may not go out now: its removal certificate is not granted any more. */
static bool fill_task(const struct coordinator *c,
                      const struct batch *batch,
                      const char *operation_id,
                      struct order *order)
{
    fill_name(c, batch, operation_id, order);
    order->kind = ORDER_TASK;
    task_order_fill(c, batch, &order->task);
    char request[2];
    if (order->task.kind == TASK_PROVISION &&
        !task_detail_get(&order->task, "request", request, sizeof(request))) {
        fill_request(batch, operation_id, &order->task);
    }
    if (order->task.kind == TASK_STOP || order->task.kind == TASK_RELEASE) {
        return removal_fill_stop(&c->observe.topology, order->fence, operation_id,
                                 c->config.removal_key, &order->task);
    }
    return true;
}

/* What moves and scans share. False when an end of the pair has no address now. */
static bool fill_order(const struct coordinator *c,
                       const struct batch *batch,
                       const char *operation_id,
                       struct order *order)
{
    const struct topology *topology = &c->observe.topology;
    int source = topology_find(topology, &batch->source);
    int target = topology_find(topology, &batch->target);
    if (source == NO_NODE || target == NO_NODE) {
        return false;
    }
    fill_name(c, batch, operation_id, order);
    order->source = batch->source;
    order->target = batch->target;
    order->source_address = topology->nodes[source].address;
    order->target_address = topology->nodes[target].address;
    return true;
}

static void add_batches(const struct coordinator *c,
                        const struct agent_entry *agent,
                        struct instructions *out)
{
    const struct operation_run *o = executor_active(c);
    for (int i = 0; o != NULL && i < o->plan.batch_count; i++) {
        const struct order_run *run = &o->runs[i];
        const struct batch *batch = &o->plan.batches[i];
        bool is_due = run->sm.state == RUN_OFFERED ||
                      (run->sm.state == RUN_SENT && !is_told_lately(c, run->sent_ms));
        if (!is_due || run->is_stop_wanted || strcmp(batch->agent.text, agent->id.text) != 0 ||
            agent->incarnation != run->incarnation) {
            continue;
        }
        struct order order = {.kind = ORDER_MOVE};
        if (batch->kind == BATCH_TASK) {
            if (!fill_task(c, batch, o->op.id, &order)) {
                continue;
            }
        } else if (fill_order(c, batch, o->op.id, &order)) {
            order.slots = *run->slots;
            order.source_counts = (o->op.request.flags & REQUEST_REPLACE) != 0;
            (void)snprintf(order.source_run_id, sizeof(order.source_run_id), "%s",
                           batch->source_run_id);
        } else {
            continue;
        }
        order.id.attempt = batch->attempt;
        order.speed = o->op.request.speed;
        *add_order(out) = order;
    }
}

static void add_scans(const struct coordinator *c,
                      const struct agent_entry *agent,
                      struct instructions *out)
{
    const struct scan *scan = &c->scan;
    for (int i = 0; scan->is_active && i < scan->plan.batch_count; i++) {
        const struct scan_item *item = &scan->items[i];
        if (item->state != SCAN_GIVEN || item->is_listed || is_told_lately(c, item->sent_ms) ||
            strcmp(item->agent.text, agent->id.text) != 0) {
            continue;
        }
        struct order order = {.kind = ORDER_SCAN};
        if (fill_order(c, &scan->plan.batches[i], scan->id, &order)) {
            order.id.attempt = 1;
            order.slots = scan->plan.batches[i].slots;
            *add_order(out) = order;
        }
    }
}

/* What to say about one order that the agent lists. */
enum verdict { VERDICT_NOTHING, VERDICT_RENEW, VERDICT_STOP, VERDICT_FORGET };

static enum verdict judge(const struct coordinator *c,
                          const struct agent_entry *agent,
                          const struct order_status *status)
{
    bool is_final = order_state_is_final(status->state);
    if (scan_wants(&c->scan, &status->id, &agent->id)) {
        return is_final ? VERDICT_NOTHING : VERDICT_RENEW;
    }
    const struct operation_run *o = executor_find(&c->executor, status->id.operation_id);
    int index = status->id.batch_index;
    bool is_known = o != NULL && o->has_plan && index >= 0 && index < o->plan.batch_count &&
                    o->plan.batches[index].attempt == status->id.attempt &&
                    strcmp(o->plan.batches[index].agent.text, agent->id.text) == 0 &&
                    order_run_is_live(&o->runs[index]);
    if (!is_known) {
        return is_final ? VERDICT_FORGET
                        : VERDICT_STOP; /* nothing depends on it any more, or it is durable */
    }
    const struct order_run *run = &o->runs[index];
    if (is_final) {
        return VERDICT_NOTHING; /* not durable yet */
    }
    if (run->is_stop_wanted) {
        return VERDICT_STOP;
    }
    return run->sm.state == RUN_RUNNING ? VERDICT_RENEW : VERDICT_NOTHING;
}

static void add_renewal(const struct coordinator *c,
                        const struct order_status *status,
                        struct instructions *out)
{
    out->renewals =
        xreallocarray(out->renewals, (size_t)out->renewal_count + 1, sizeof(*out->renewals));
    out->renewals[out->renewal_count++] =
        (struct renewal){.id = status->id, .valid_for_ms = c->config.order_valid_ms};
}

static void add_verdicts(const struct coordinator *c,
                         const struct agent_entry *agent,
                         struct instructions *out)
{
    /* A leader whose lease or journal is in doubt gives no new time: what runs, runs until it
     * expires. */
    bool may_renew =
        election_is_fresh(&c->election, c->turn.now_ms) && !journal_is_frozen(&c->journal);
    for (int i = 0; i < agent->order_count; i++) {
        const struct order_status *status = &agent->orders[i];
        switch (judge(c, agent, status)) {
        case VERDICT_NOTHING:
            break;
        case VERDICT_RENEW:
            if (may_renew) {
                add_renewal(c, status, out);
            }
            break;
        case VERDICT_STOP:
            add_id(&out->stops, &out->stop_count, &status->id);
            break;
        case VERDICT_FORGET:
            add_id(&out->forgets, &out->forget_count, &status->id);
            break;
        }
    }
}

/* Repeated until the text comes: an agent keeps only the wishes of the last answer, and answers may
 * cross reports. */
static bool add_wanted_views(const struct coordinator *c,
                             const struct agent_entry *agent,
                             struct instructions *out)
{
    for (int i = 0; i < c->observe.wanted_count; i++) {
        const struct wanted_view *wanted = &c->observe.wanted[i];
        if (strcmp(wanted->agent.text, agent->id.text) != 0) {
            continue;
        }
        out->views_wanted = xreallocarray(out->views_wanted, (size_t)out->view_wanted_count + 1,
                                          sizeof(*out->views_wanted));
        out->views_wanted[out->view_wanted_count++] = wanted->digest;
    }
    return out->view_wanted_count > 0;
}

enum instructions_weight instructions_build(struct coordinator *c,
                                            const struct agent_entry *agent,
                                            struct instructions *out)
{
    CHECK(election_is_leading(&c->election));
    *out = (struct instructions){.fence = c->election.fence};
    out->probe_now = agent->wants_probe;
    bool is_due = agent->wants_probe;
    is_due = add_wanted_views(c, agent, out) || is_due || agent->is_assignment_new;
    if (agent->assigned_count > 0) {
        out->nodes =
            xmemdup(agent->assigned, (size_t)agent->assigned_count * sizeof(*agent->assigned));
        out->node_count = agent->assigned_count;
    }
    if (agent_is_ready(c, agent) && !c->takeover.is_loading) {
        if (election_is_fresh(&c->election, c->turn.now_ms)) {
            add_batches(c, agent, out);
            add_scans(c, agent, out);
        }
        if (c->executor.unreadable[0] == '\0') {
            add_verdicts(c, agent, out);
        }
    }
    is_due = is_due || agent->fence_acked < c->election.fence;
    is_due = is_due || out->order_count > 0 || out->stop_count > 0 || out->forget_count > 0;
    return is_due ? INSTRUCTIONS_DUE : INSTRUCTIONS_EMPTY;
}

static void note_order_said(struct coordinator *c, const struct order *order, int64_t received_ms)
{
    if (order->kind == ORDER_SCAN) {
        c->scan.items[order->id.batch_index].sent_ms = c->turn.now_ms;
        return;
    }
    struct operation_run *o = executor_find(&c->executor, order->id.operation_id);
    CHECK(o != NULL);
    struct order_run *run = &o->runs[order->id.batch_index];
    CHECK(run->sm.state == RUN_OFFERED || run->sm.state == RUN_SENT);
    sm_move(&run->sm, RUN_SENT, c->turn.now_ms);
    run->sent_ms = c->turn.now_ms;
    run->expires_ms = received_ms + order->valid_for_ms;
}

void instructions_said(struct coordinator *c,
                       struct agent_entry *agent,
                       const struct instructions *said,
                       int64_t received_ms)
{
    for (int i = 0; i < said->order_count; i++) {
        note_order_said(c, &said->orders[i], received_ms);
    }
    for (int i = 0; i < said->renewal_count; i++) {
        const struct order_id *id = &said->renewals[i].id;
        struct operation_run *o = executor_find(&c->executor, id->operation_id);
        if (o == NULL) {
            continue; /* a scan */
        }
        struct order_run *run = &o->runs[id->batch_index];
        int64_t expires_ms = received_ms + said->renewals[i].valid_for_ms;
        if (expires_ms > run->expires_ms) {
            run->expires_ms = expires_ms;
        }
    }
    for (int i = 0; i < c->observe.wanted_count; i++) {
        struct wanted_view *wanted = &c->observe.wanted[i];
        for (int n = 0; n < said->view_wanted_count; n++) {
            if (wanted->asked_ms == NEVER && wanted->digest == said->views_wanted[n] &&
                strcmp(wanted->agent.text, agent->id.text) == 0) {
                wanted->asked_ms = c->turn.now_ms;
            }
        }
    }
    if (said->probe_now) {
        agent->wants_probe = false;
        agent->probe_asked_ms = c->turn.now_ms;
    }
    agent->is_assignment_new = false;
}
