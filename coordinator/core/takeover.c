/* takeover.c — see takeover.h. */
#include "coordinator/core/takeover.h"

#include "common/base/alloc.h"
#include "common/base/check.h"
#include "coordinator/core/lifecycle.h"
#include "coordinator/core/state.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct load_row {
    const char *key;
    bool is_prefix;
};

static const struct load_row load_rows[TAKEOVER_NR] = {
    [TAKEOVER_SPEC] = {"spec", false},
    [TAKEOVER_AGENTS] = {"agents/", true},
    [TAKEOVER_OPERATIONS] = {"operations/", true},
    [TAKEOVER_PLANS] = {"plans/", true},
    [TAKEOVER_BATCHES] = {"batches/", true},
};

void takeover_end(struct coordinator *c)
{
    for (int i = 0; i < c->takeover.orphan_count; i++) {
        free(c->takeover.orphans[i]);
    }
    free(c->takeover.orphans);
    c->takeover = (struct takeover){.retry_ms = NEVER};
}

void takeover_begin(struct coordinator *c)
{
    takeover_end(c);
    c->takeover.is_loading = true;
    c->takeover.step = TAKEOVER_SPEC;
    c->takeover.retry_ms = c->turn.now_ms;
}

void takeover_tick(struct coordinator *c)
{
    struct takeover *takeover = &c->takeover;
    if (!takeover->is_loading || c->turn.now_ms < takeover->retry_ms) {
        return;
    }
    struct coordinator_effect *effect = turn_store(&c->turn, STORE_RANGE, TAKEOVER_TIMEOUT_MS);
    effect->request.key = xstrdup(load_rows[takeover->step].key);
    effect->request.is_prefix = load_rows[takeover->step].is_prefix;
    takeover->req_id = effect->request.req_id;
    takeover->retry_ms = NEVER;
}

static void load_agent(struct coordinator *c, const struct stored_record *stored)
{
    const struct agent_record *record = &stored->record.as.agent;
    struct agent_entry *agent = registry_add(&c->registry, &record->id);
    if (agent != NULL) {
        agent->is_recorded = true;
        agent->incarnation_recorded = record->incarnation;
        agent->fence_recorded = record->fence_acked;
    }
}

static void load_plan(struct coordinator *c, const struct stored_record *stored)
{
    const struct plan *plan = &stored->record.as.plan;
    struct operation_run *o = executor_find(&c->executor, plan->operation_id);
    if (o == NULL || o->has_plan) {
        struct takeover *takeover = &c->takeover;
        ARRAY_RESERVE(takeover->orphans, takeover->orphan_count, takeover->orphan_capacity);
        takeover->orphans[takeover->orphan_count++] = xstrdup(stored->key);
        return;
    }
    struct record copy = {0};
    record_copy(&copy, &stored->record);
    o->plan = copy.as.plan;
    o->batches_recorded = o->plan.batch_count;
    o->plan.batches = NULL;
    o->plan.batch_count = 0;
    o->has_plan = true;
}

/* "batches/<operation>/<index>": keys come sorted, so an operation's batches come in order. */
static void load_batch(struct coordinator *c, const struct stored_record *stored)
{
    char id[OPERATION_ID_SIZE] = "";
    const char *start = stored->key + strlen("batches/");
    const char *end = strchr(start, '/');
    if (end != NULL && (size_t)(end - start) < sizeof(id)) {
        memcpy(id, start, (size_t)(end - start));
    }
    struct operation_run *o = executor_find(&c->executor, id);
    if (o == NULL || !o->has_plan || stored->record.as.batch.index != o->plan.batch_count) {
        struct takeover *takeover = &c->takeover;
        ARRAY_RESERVE(takeover->orphans, takeover->orphan_count, takeover->orphan_capacity);
        takeover->orphans[takeover->orphan_count++] = xstrdup(stored->key);
        return;
    }
    int count = o->plan.batch_count;
    if ((count & (count + 1)) == 0 || count == 0) {
        /* 0, 1, 3, 7, ...: room for as many again */
        o->plan.batches =
            xreallocarray(o->plan.batches, (size_t)count * 2 + 1, sizeof(*o->plan.batches));
    }
    batch_copy(&o->plan.batches[o->plan.batch_count++], &stored->record.as.batch);
}

/* A state that a later version may have added is as good as an unreadable record. */
static bool has_known_state(const struct record *record)
{
    if (record->kind == RECORD_OPERATION) {
        return record->as.operation.state >= OPERATION_PLANNED &&
               record->as.operation.state <= OPERATION_HELD;
    }
    if (record->kind == RECORD_BATCH) {
        return record->as.batch.state >= BATCH_WAITING && record->as.batch.state <= BATCH_STOPPED;
    }
    return true;
}

static void load_record(struct coordinator *c, const struct stored_record *stored)
{
    journal_learn(&c->journal, stored->key, stored->mod_revision);
    static const enum record_kind kinds[TAKEOVER_NR] = {
        [TAKEOVER_SPEC] = RECORD_SPEC,
        [TAKEOVER_AGENTS] = RECORD_AGENT,
        [TAKEOVER_OPERATIONS] = RECORD_OPERATION,
        [TAKEOVER_PLANS] = RECORD_PLAN,
        [TAKEOVER_BATCHES] = RECORD_BATCH,
    };
    enum takeover_step step = c->takeover.step;
    if (stored->record.kind != kinds[step] || !has_known_state(&stored->record)) {
        log_event_add(turn_log(&c->turn, EVENT_STORE_UNREADABLE), "key", stored->key);
        if (step == TAKEOVER_OPERATIONS || step == TAKEOVER_PLANS || step == TAKEOVER_BATCHES) {
            (void)snprintf(c->executor.unreadable, sizeof(c->executor.unreadable), "%s",
                           stored->key);
        }
        return;
    }
    switch (step) {
    case TAKEOVER_SPEC:
        c->takeover.spec = stored->record.as.spec;
        c->takeover.has_spec = true;
        return;
    case TAKEOVER_AGENTS:
        load_agent(c, stored);
        return;
    case TAKEOVER_OPERATIONS:
        (void)executor_load(c, &stored->record.as.operation);
        return;
    case TAKEOVER_PLANS:
        load_plan(c, stored);
        return;
    case TAKEOVER_BATCHES:
        load_batch(c, stored);
        return;
    case TAKEOVER_NR:
        return;
    }
}

/* Fence and number of "op-<fence>-<number>"; 0 for what is not written so. */
static void parse_operation_id(const char *id, long long numbers[2])
{
    char *end = NULL;
    numbers[0] = 0;
    numbers[1] = 0;
    if (strncmp(id, "op-", 3) == 0) {
        numbers[0] = strtoll(id + 3, &end, 10);
        numbers[1] = *end == '-' ? strtoll(end + 1, NULL, 10) : 0;
    }
}

/* In order of time; ids of another form first, by text. */
static int operation_compare(const void *left, const void *right)
{
    const struct operation_run *a = *(struct operation_run *const *)left;
    const struct operation_run *b = *(struct operation_run *const *)right;
    long long of_a[2];
    long long of_b[2];
    parse_operation_id(a->op.id, of_a);
    parse_operation_id(b->op.id, of_b);
    for (int i = 0; i < 2; i++) {
        if (of_a[i] != of_b[i]) {
            return of_a[i] < of_b[i] ? -1 : 1;
        }
    }
    return strcmp(a->op.id, b->op.id);
}

static void adopt(struct coordinator *c, struct operation_run *o)
{
    int64_t expires_ms = c->election.leading_since_ms + c->config.order_valid_ms;
    for (int i = 0; i < o->plan.batch_count; i++) {
        struct batch *batch = &o->plan.batches[i];
        if (batch->state == BATCH_ORDERED) {
            order_run_inherit(c, o, i, expires_ms);
        } else if (batch->state == BATCH_STOPPED && batch->kind == BATCH_MOVE &&
                   o->op.state == OPERATION_RUNNING) {
            batch->state =
                BATCH_WAITING; /* a resume that the journal knows only as the operation's state */
        }
    }
}

static int slots_planned(const struct operation_run *o)
{
    int count = 0;
    for (int i = 0; i < o->plan.batch_count; i++) {
        count += slotset_count(&o->plan.batches[i].slots);
    }
    return count;
}

static bool is_plan_whole(struct coordinator *c, struct operation_run *o, bool is_open)
{
    if (lifecycle_applies(o->op.request.kind)) {
        return !is_open || c->executor.unreadable[0] != '\0' || grow_adopt(c, o);
    }
    return slots_planned(o) == o->plan.slot_count;
}

static void finish(struct coordinator *c)
{
    struct executor *executor = &c->executor;
    c->takeover.is_loading = false;
    if (executor->count > 1) {
        qsort(executor->operations, (size_t)executor->count, sizeof(*executor->operations),
              operation_compare);
    }
    int open = 0;
    for (int i = 0; i < executor->count; i++) {
        struct operation_run *o = executor->operations[i];
        bool is_open = !operation_state_is_final(o->op.state);
        open += is_open ? 1 : 0;
        if (o->has_plan) {
            executor_make_runs(c, o);
        }
        bool is_whole = o->has_plan && is_plan_whole(c, o, is_open);
        if (is_open && !is_whole && executor->unreadable[0] == '\0') {
            (void)snprintf(executor->unreadable, sizeof(executor->unreadable), "plans/%s",
                           o->op.id);
            log_event_add(turn_log(&c->turn, EVENT_STORE_UNREADABLE), "key", executor->unreadable);
        }
        if (is_open && o->has_plan) {
            adopt(c, o);
        }
    }
    if (executor->unreadable[0] == '\0') {
        for (int i = 0; i < c->takeover.orphan_count; i++) {
            (void)journal_delete(&c->journal, c->takeover.orphans[i]);
        }
    }
    executor->is_dirty = true;
    struct log_event *log = turn_log(&c->turn, EVENT_LOADED);
    log_event_add_int(log, "operations", executor->count);
    log_event_add_int(log, "open", open);
    log_event_add_int(log, "agents", c->registry.count);
    log_event_add_int(log, "ms", c->turn.now_ms - c->election.leading_since_ms);
}

bool takeover_store_result(struct coordinator *c, const struct coordinator_event *event)
{
    struct takeover *takeover = &c->takeover;
    if (!takeover->is_loading || takeover->req_id == 0 ||
        event->result->req_id != takeover->req_id) {
        return false;
    }
    takeover->req_id = 0;
    if (event->result->code != 0) {
        takeover->failures++;
        takeover->err = event->result->err;
        takeover->retry_ms =
            c->turn.now_ms +
            prng_backoff_ms(&c->prng, takeover->failures, TAKEOVER_RETRY_MS, TAKEOVER_RETRY_MS_MAX);
        return true;
    }
    takeover->failures = 0;
    for (int i = 0; i < event->record_count; i++) {
        load_record(c, &event->records[i]);
    }
    takeover->step++;
    takeover->retry_ms = c->turn.now_ms;
    if (takeover->step == TAKEOVER_NR) {
        finish(c);
    } else {
        takeover_tick(c);
    }
    return true;
}

int64_t takeover_deadline(const struct coordinator *c)
{
    return c->takeover.is_loading ? c->takeover.retry_ms : NEVER;
}
