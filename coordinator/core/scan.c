/* scan.c — see scan.h. */
#include "coordinator/core/scan.h"

#include "common/base/alloc.h"
#include "common/base/check.h"
#include "coordinator/core/state.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LOOK_AGAIN_MS 500

void scan_release(struct scan *scan)
{
    plan_release(&scan->plan);
    free(scan->items);
    *scan = (struct scan){.deadline_ms = NEVER, .number = scan->number};
}

static void answer(struct coordinator *c, const struct err *err)
{
    struct scan *scan = &c->scan;
    struct coordinator_effect *effect =
        coordinator_effects_add(c->turn.fx, COORDINATOR_FX_COMMAND_DONE);
    effect->handle = scan->handle;
    if (err != NULL) {
        effect->err = *err;
    } else {
        effect->plan = scan->plan;
        scan->plan = (struct plan){0};
    }
    struct log_event *log = turn_log(&c->turn, EVENT_SCAN_STATE);
    log_event_add(log, "scan", scan->id);
    log_event_add(log, "to", err != NULL ? "failed" : "done");
    if (err != NULL) {
        log_event_add(log, "text", err->text);
    }
    scan_release(scan);
}

void scan_begin(struct coordinator *c, uint64_t handle, struct plan *plan)
{
    struct scan *scan = &c->scan;
    CHECK(!scan->is_active);
    CHECK(plan->batch_count <= SCAN_BATCHES_MAX);
    scan->is_active = true;
    (void)snprintf(scan->id, sizeof(scan->id), "scan-%lld-%llu", (long long)c->election.fence,
                   (unsigned long long)++scan->number);
    scan->handle = handle;
    scan->plan = *plan;
    *plan = (struct plan){0};
    scan->items = xcalloc((size_t)scan->plan.batch_count + 1, sizeof(*scan->items));
    scan->ended_count = 0;
    scan->deadline_ms = c->turn.now_ms + SCAN_MS_MAX;
    scan->plan.keys_estimate = 0;
    scan->plan.bytes_estimate = 0;
    struct log_event *log = turn_log(&c->turn, EVENT_SCAN_STATE);
    log_event_add(log, "scan", scan->id);
    log_event_add(log, "to", "running");
    log_event_add_int(log, "batches", scan->plan.batch_count);
    scan_tick(c);
}

void scan_fail(struct coordinator *c, const struct err *err)
{
    if (c->scan.is_active) {
        answer(c, err);
    }
}

bool scan_wants(const struct scan *scan, const struct order_id *id, const struct agent_id *agent)
{
    return scan->is_active && strcmp(scan->id, id->operation_id) == 0 && id->batch_index >= 0 &&
           id->batch_index < scan->plan.batch_count &&
           scan->items[id->batch_index].state == SCAN_GIVEN &&
           strcmp(scan->items[id->batch_index].agent.text, agent->text) == 0;
}

/* Keeps the biggest, biggest first. */
static void add_big_key(struct plan *plan, const struct big_key *key)
{
    int at = plan->big_key_count;
    while (at > 0 && plan->big_keys[at - 1].bytes < key->bytes) {
        at--;
    }
    if (at == PLAN_BIG_KEYS_MAX) {
        return;
    }
    if (plan->big_keys == NULL) {
        plan->big_keys = xcalloc(PLAN_BIG_KEYS_MAX, sizeof(*plan->big_keys));
    }
    int count =
        plan->big_key_count < PLAN_BIG_KEYS_MAX ? plan->big_key_count : PLAN_BIG_KEYS_MAX - 1;
    memmove(&plan->big_keys[at + 1], &plan->big_keys[at],
            (size_t)(count - at) * sizeof(*plan->big_keys));
    plan->big_keys[at] = *key;
    plan->big_key_count = count + 1;
}

/* False when the scan has failed and is gone. */
static bool take_result(struct coordinator *c, int index, const struct order_status *status)
{
    struct scan *scan = &c->scan;
    struct batch *batch = &scan->plan.batches[index];
    if (status->state != ORDER_DONE) {
        struct err err = {0};
        (void)err_set(&err, status->reason_code != 0 ? status->reason_code : ERR_UNAVAILABLE,
                      "the scan of batch %d on node %.8s ended %s: %s", index, batch->source.text,
                      order_state_name(status->state), status->reason);
        err_hint(&err, "plan again, or plan without a scan");
        answer(c, &err);
        return false;
    }
    batch->keys_estimate = status->keys_moved;
    batch->bytes_estimate = status->bytes_moved;
    scan->plan.keys_estimate += status->keys_moved;
    scan->plan.bytes_estimate += status->bytes_moved;
    for (int i = 0; i < status->big_key_count && i < BIG_KEYS_REPORTED_MAX; i++) {
        add_big_key(&scan->plan, &status->big_keys[i]);
    }
    scan->items[index].state = SCAN_ENDED;
    scan->ended_count++;
    return true;
}

/* False when the scan has failed and is gone. */
static bool tick_given(struct coordinator *c, int index)
{
    struct scan_item *item = &c->scan.items[index];
    struct agent_entry *agent = registry_find(&c->registry, &item->agent);
    bool is_there =
        agent != NULL && agent_is_ready(c, agent) && agent->incarnation == item->incarnation;
    if (!is_there) {
        *item = (struct scan_item){
            .state = SCAN_WAITING}; /* it changes nothing, so anybody may start it anew */
        return true;
    }
    for (int i = 0; i < agent->order_count; i++) {
        const struct order_status *status = &agent->orders[i];
        if (status->id.batch_index != index || !scan_wants(&c->scan, &status->id, &agent->id)) {
            continue;
        }
        item->is_listed = true;
        if (order_state_is_final(status->state)) {
            agent->has_news = true;
            return take_result(c, index, status);
        }
    }
    return true;
}

static int given_of_source(const struct scan *scan, const struct node_id *source)
{
    int count = 0;
    for (int i = 0; i < scan->plan.batch_count; i++) {
        if (scan->items[i].state == SCAN_GIVEN &&
            node_id_is_equal(&scan->plan.batches[i].source, source)) {
            count++;
        }
    }
    return count;
}

static void give(struct coordinator *c, int index)
{
    struct scan *scan = &c->scan;
    const struct batch *batch = &scan->plan.batches[index];
    const struct topology *topology = &c->observe.topology;
    int source = topology_find(topology, &batch->source);
    if (source == NO_NODE || given_of_source(scan, &batch->source) >= SCANS_PER_SOURCE) {
        return;
    }
    struct agent_entry *agent = registry_find(&c->registry, &topology->nodes[source].agent);
    if (agent == NULL || !agent_is_ready(c, agent)) {
        return;
    }
    scan->items[index] = (struct scan_item){.state = SCAN_GIVEN,
                                            .agent = agent->id,
                                            .sent_ms = NEVER,
                                            .incarnation = agent->incarnation};
    agent->has_news = true;
}

void scan_tick(struct coordinator *c)
{
    struct scan *scan = &c->scan;
    if (!scan->is_active) {
        return;
    }
    if (c->turn.now_ms >= scan->deadline_ms) {
        struct err err = {0};
        (void)err_set(&err, ERR_TIMEOUT, "the scan counted %d of %d batches in %d s",
                      scan->ended_count, scan->plan.batch_count, SCAN_MS_MAX / 1000);
        err_hint(&err,
                 "plan without a scan, or look with `drover nodes` whether every source is served "
                 "by an agent");
        answer(c, &err);
        return;
    }
    for (int i = 0; i < scan->plan.batch_count; i++) {
        if (scan->items[i].state == SCAN_GIVEN && !tick_given(c, i)) {
            return;
        }
    }
    for (int i = 0; i < scan->plan.batch_count; i++) {
        if (scan->items[i].state == SCAN_WAITING) {
            give(c, i);
        }
    }
    if (scan->ended_count == scan->plan.batch_count) {
        scan->plan.is_scanned = true;
        answer(c, NULL);
    }
}

int64_t scan_deadline(const struct coordinator *c)
{
    return c->scan.is_active ? deadline_min(c->scan.deadline_ms, c->turn.now_ms + LOOK_AGAIN_MS)
                             : NEVER;
}
