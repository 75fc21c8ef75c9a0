/* executor.c — see executor.h. */
#include "coordinator/core/executor.h"

#include "common/base/alloc.h"
#include "common/base/check.h"
#include "coordinator/core/lifecycle.h"
#include "coordinator/core/state.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PROBE_AGAIN_MS \
    200 /* between two extra readings of the nodes while an operation's end is checked */
/* A drained primary becomes somebody's replica, and its replicas follow: whoever starts the next
 * operation at once should find a settled cluster. Longer than gossip needs for it; then the
 * operation is done all the same. */
#define SETTLE_MS 15000
#define LOOK_AGAIN_MS 500 /* while something outside has to change first */

#define TO(state) SM_TO(OPERATION_##state)
/* clang-format off */
const struct sm_state operation_states[OPERATION_STATE_NR] = {
    /*                        name          may go to                                                               deadline     meaning                                         */
    [0]                    = {"none",       0,                                                                      NEVER,       "no such state"                              },
    [OPERATION_PLANNED]    = {"planned",    TO(RUNNING) | TO(CANCELLED),                                            NEVER,       "waits for a person's approval"               },
    [OPERATION_RUNNING]    = {"running",    TO(PAUSING) | TO(CANCELLING) | TO(DONE) | TO(FAILED) | TO(HELD),         NEVER,       "batches run; every batch has its own bounds"   },
    [OPERATION_PAUSING]    = {"pausing",    TO(PAUSED) | TO(CANCELLING) | TO(HELD) | TO(RUNNING) | TO(DONE),         NEVER,       "slots in hand are finished, none is begun"     },
    [OPERATION_PAUSED]     = {"paused",     TO(RUNNING) | TO(CANCELLING),                                           NEVER,       "waits for a person"                            },
    [OPERATION_CANCELLING] = {"cancelling", TO(CANCELLED) | TO(FAILED) | TO(HELD) | TO(DONE),                       NEVER,       "as pausing, takes back what was prepared, then cancelled or failed" },
    [OPERATION_DONE]       = {"done",       0,                                                                      NEVER,       "verified in every node's view"                 },
    [OPERATION_CANCELLED]  = {"cancelled",  0,                                                                      NEVER,       "a person stopped it; nothing is left open"     },
    [OPERATION_FAILED]     = {"failed",     0,                                                                      NEVER,       "gave up with a reason; nothing was moved"      },
    [OPERATION_HELD]       = {"held",       TO(RUNNING) | TO(CANCELLING),                                           NEVER,       "a person must decide; the reason says what"    },
};
/* clang-format on */
#undef TO

static void operation_run_free(struct operation_run *o)
{
    for (int i = 0; o->runs != NULL && i < o->plan.batch_count; i++) {
        order_run_release(&o->runs[i]);
    }
    free(o->runs);
    plan_release(&o->plan);
    operation_release(&o->op);
    free(o);
}

void executor_release(struct executor *executor)
{
    for (int i = 0; i < executor->count; i++) {
        operation_run_free(executor->operations[i]);
    }
    free(executor->operations);
    *executor = (struct executor){0};
}

struct operation_run *executor_find(const struct executor *executor, const char *operation_id)
{
    for (int i = 0; i < executor->count; i++) {
        if (strcmp(executor->operations[i]->op.id, operation_id) == 0) {
            return executor->operations[i];
        }
    }
    return NULL;
}

struct operation_run *executor_active(const struct coordinator *c)
{
    for (int i = c->executor.count - 1; i >= 0; i--) {
        struct operation_run *o = c->executor.operations[i];
        if (o->op.state != OPERATION_PLANNED && !operation_state_is_final(o->op.state)) {
            return o;
        }
    }
    return NULL;
}

bool executor_names_agent(const struct coordinator *c, const struct agent_id *agent)
{
    const struct operation_run *o = executor_active(c);
    for (int i = 0; o != NULL && i < o->plan.batch_count; i++) {
        if (order_run_is_live(&o->runs[i]) &&
            strcmp(o->plan.batches[i].agent.text, agent->text) == 0) {
            return true;
        }
    }
    return false;
}

static struct operation_run *add_run(struct coordinator *c, enum operation_state state)
{
    struct executor *executor = &c->executor;
    ARRAY_RESERVE(executor->operations, executor->count, executor->capacity);
    struct operation_run *o = xcalloc(1, sizeof(*o));
    sm_init(&o->sm, operation_states, OPERATION_STATE_NR, (int)state, c->turn.now_ms);
    o->quiet_since_ms = c->turn.now_ms;
    o->ending_since_ms = NEVER;
    o->foreign_since_ms = NEVER;
    o->stuck_since_ms = NEVER;
    o->next_look_ms = NEVER;
    o->grow_wait_since_ms = NEVER;
    executor->operations[executor->count++] = o;
    executor->is_dirty = true;
    return o;
}

void executor_make_runs(struct coordinator *c, struct operation_run *o)
{
    o->has_plan = true;
    o->runs = xcalloc((size_t)o->plan.batch_count + 1, sizeof(*o->runs));
    for (int i = 0; i < o->plan.batch_count; i++) {
        order_run_init(&o->runs[i], c->turn.now_ms);
    }
}

struct operation_run *executor_add(struct coordinator *c,
                                   const struct operation_request *request,
                                   struct plan *plan)
{
    struct operation_run *o = add_run(c, OPERATION_PLANNED);
    (void)snprintf(o->op.id, sizeof(o->op.id), "op-%lld-%llu", (long long)c->election.fence,
                   (unsigned long long)++c->executor.operation_number);
    operation_request_copy(&o->op.request, request);
    o->op.state = OPERATION_PLANNED;
    o->op.created_wall_ms = c->turn.wall_ms;
    o->op.slots_total = plan->slot_count;
    o->plan = *plan;
    *plan = (struct plan){0};
    (void)snprintf(o->plan.operation_id, sizeof(o->plan.operation_id), "%s", o->op.id);
    executor_make_runs(c, o);
    return o;
}

struct operation_run *executor_load(struct coordinator *c, const struct operation *operation)
{
    struct operation_run *o = add_run(c, operation->state);
    o->op = *operation;
    o->op.request = (struct operation_request){0};
    operation_request_copy(&o->op.request, &operation->request);
    return o;
}

void executor_record_operation(struct coordinator *c, struct operation_run *o)
{
    char key[STORE_KEY_SIZE_MAX];
    (void)snprintf(key, sizeof(key), "operations/%s", o->op.id);
    struct record record = {.kind = RECORD_OPERATION};
    record.as.operation = o->op;
    o->ticket = journal_put(&c->journal, key, &record);
}

void executor_record_plan(struct coordinator *c, struct operation_run *o)
{
    char key[STORE_KEY_SIZE_MAX];
    (void)snprintf(key, sizeof(key), "plans/%s", o->op.id);
    struct record record = {.kind = RECORD_PLAN};
    record.as.plan = o->plan;
    (void)journal_put(&c->journal, key, &record);
    for (int i = 0; i < o->plan.batch_count; i++) {
        (void)record_batch(c, o, i);
    }
}

/* ---- ended operations ---- */

static void drop_plan(struct coordinator *c, struct operation_run *o)
{
    char key[STORE_KEY_SIZE_MAX];
    for (int i = 0; i < o->plan.batch_count; i++) {
        (void)snprintf(key, sizeof(key), "batches/%s/%05d", o->op.id, i);
        (void)journal_delete(&c->journal, key);
        order_run_release(&o->runs[i]);
    }
    (void)snprintf(key, sizeof(key), "plans/%s", o->op.id);
    (void)journal_delete(&c->journal, key);
    free(o->runs);
    o->runs = NULL;
    plan_release(&o->plan);
    o->has_plan = false;
}

/* Keeps the newest ended operations, and the plans of the newest few of them. */
static void prune(struct coordinator *c)
{
    struct executor *executor = &c->executor;
    int ended = 0;
    for (int i = executor->count - 1; i >= 0; i--) {
        struct operation_run *o = executor->operations[i];
        if (!operation_state_is_final(o->op.state)) {
            continue;
        }
        ended++;
        if (ended > PLANS_KEPT_MAX && o->has_plan) {
            drop_plan(c, o);
        }
        if (ended > OPERATIONS_KEPT_MAX) {
            char key[STORE_KEY_SIZE_MAX];
            (void)snprintf(key, sizeof(key), "operations/%s", o->op.id);
            (void)journal_delete(&c->journal, key);
            operation_run_free(o);
            executor->count--;
            memmove(&executor->operations[i], &executor->operations[i + 1],
                    (size_t)(executor->count - i) * sizeof(*executor->operations));
        }
    }
}

/* ---- state ---- */

void operation_move(struct coordinator *c,
                    struct operation_run *o,
                    enum operation_state state,
                    int code,
                    const char *reason)
{
    const char *from = operation_state_name(o->op.state);
    sm_move(&o->sm, (int)state, c->turn.now_ms);
    o->op.state = state;
    o->op.reason_code = code;
    (void)snprintf(o->op.reason, sizeof(o->op.reason), "%s", reason);
    if (state == OPERATION_RUNNING && o->op.started_wall_ms == 0) {
        o->op.started_wall_ms = c->turn.wall_ms;
    }
    if (operation_state_is_final(state)) {
        o->op.ended_wall_ms = c->turn.wall_ms;
    }
    o->ending_since_ms = NEVER;
    o->foreign_since_ms = NEVER;
    o->stuck_since_ms = NEVER;
    o->grow_wait_since_ms = NEVER;
    o->mark_orders = 0;
    o->waits[0] = '\0';
    executor_record_operation(c, o);
    struct log_event *log =
        turn_log(&c->turn, state == OPERATION_HELD ? EVENT_OPERATION_HELD : EVENT_OPERATION_STATE);
    log_event_add(log, "op", o->op.id);
    log_event_add(log, "from", from);
    log_event_add(log, "to", operation_state_name(state));
    if (reason[0] != '\0') {
        log_event_add(log, "code", err_word(code));
        log_event_add(log, "reason", reason);
    }
    if (operation_state_is_final(state)) {
        log_event_add_int(log, "slots", o->op.slots_moved);
        log_event_add_int(log, "keys", (int64_t)o->op.keys_moved);
        prune(c);
    }
    c->executor.is_dirty = true;
}

static void sum_up(struct operation_run *o)
{
    o->op.slots_moved = 0;
    o->op.keys_moved = 0;
    o->op.bytes_moved = 0;
    for (int i = 0; i < o->plan.batch_count; i++) {
        const struct batch *batch = &o->plan.batches[i];
        const struct order_run *run = &o->runs[i];
        if (batch->kind == BATCH_TASK) {
            continue; /* the sums are of moves */
        }
        struct slotset done = batch->slots_done;
        o->op.keys_moved += batch->keys_moved;
        o->op.bytes_moved += batch->bytes_moved;
        if (run->status != NULL && run->sm.state != RUN_ENDING) {
            slotset_union(&done, &run->status->slots_done);
            slotset_intersect(&done, &batch->slots);
            o->op.keys_moved += run->status->keys_moved;
            o->op.bytes_moved += run->status->bytes_moved;
        }
        o->op.slots_moved += slotset_count(&done);
    }
}

struct tally {
    int live;
    int done;
    int held;
    int first_held; /* batch, or -1 */
};

/* A task that was stopped is over: if it is still wanted, the next round has it. */
static bool is_over(const struct batch *batch)
{
    return batch->state == BATCH_DONE ||
           (batch->kind == BATCH_TASK && batch->state == BATCH_STOPPED);
}

static struct tally tally_batches(const struct operation_run *o)
{
    struct tally tally = {.done = o->plan.settled_count, .first_held = -1};
    for (int i = o->plan.settled_count; i < o->plan.batch_count; i++) {
        if (order_run_is_live(&o->runs[i])) {
            tally.live++;
        } else if (is_over(&o->plan.batches[i])) {
            tally.done++;
        } else if (o->plan.batches[i].state == BATCH_HELD) {
            tally.held++;
            tally.first_held = tally.first_held < 0 ? i : tally.first_held;
        }
    }
    return tally;
}

/* All that could be done is done; the rest needs a person. */
static void give_up(struct coordinator *c, struct operation_run *o, const struct tally *tally)
{
    const struct batch *batch = &o->plan.batches[tally->first_held];
    char reason[TEXT_SIZE];
    if (batch->kind == BATCH_TASK) {
        char task[TEXT_SIZE];
        task_format(batch->task, task, sizeof(task));
        (void)snprintf(reason, sizeof(reason), "%.60s: %.96s", task, batch->reason);
    } else {
        (void)snprintf(reason, sizeof(reason), "batch %d of %d: %.130s", batch->index,
                       o->plan.batch_count, batch->reason);
    }
    bool is_untouched = o->op.slots_moved == 0 && o->op.keys_moved == 0;
    struct slotset open = {0};
    for (int i = 0; i < c->observe.topology.open_count; i++) {
        slotset_add(&open, c->observe.topology.opens[i].slot);
    }
    for (int i = 0; i < o->plan.batch_count && is_untouched; i++) {
        is_untouched = !slotset_intersects(&o->plan.batches[i].slots, &open);
    }
    if (lifecycle_applies(o->op.request.kind)) {
        is_untouched = is_untouched && !grow_has_begun(o);
    }
    bool is_sure = is_untouched && batch->reason_code != ERR_CONFLICT;
    grow_give_up(c, o, is_sure, batch->reason_code, reason);
}

/* Nodes are read every few seconds; whoever waits for the end of an operation should not wait for
 * that. */
void executor_ask_for_probes(struct coordinator *c)
{
    for (int i = 0; i < c->registry.count; i++) {
        struct agent_entry *agent = c->registry.entries[i];
        if (!agent->wants_probe && c->turn.now_ms - agent->probe_asked_ms >= PROBE_AGAIN_MS) {
            agent->wants_probe = true;
            agent->has_news = true;
        }
    }
}

static void tick_verifying(struct coordinator *c, struct operation_run *o)
{
    struct err err = {0};
    if (o->ending_since_ms == NEVER) {
        o->ending_since_ms = c->turn.now_ms;
    }
    if (verify_operation(c, o, &err) == 0) {
        if (lifecycle_applies(o->op.request.kind) && !grow_tick(c, o)) {
            return;
        }
        bool is_patient = c->turn.now_ms - o->ending_since_ms < SETTLE_MS;
        if (c->observe.is_settled || !is_patient) {
            operation_move(c, o, OPERATION_DONE, 0, "");
            return;
        }
        (void)err_set(&err, ERR_CONFLICT,
                      "the slots are where they belong, the nodes do not agree on the rest yet");
    }
    (void)snprintf(o->waits, sizeof(o->waits), "checks every node's view: %.*s", TEXT_SIZE * 2,
                   err.text);
    if (c->turn.now_ms - o->ending_since_ms >= VERIFY_MS) {
        char reason[TEXT_SIZE];
        (void)snprintf(reason, sizeof(reason), "all batches ended, but: %.130s", err.text);
        operation_move(c, o, OPERATION_HELD, ERR_CONFLICT, reason);
        return;
    }
    executor_ask_for_probes(c);
    o->next_look_ms = c->turn.now_ms + PROBE_AGAIN_MS;
}

static void tick_running(struct coordinator *c, struct operation_run *o)
{
    follow_failovers(c, o);
    if (!follow_topology(c, o)) {
        o->next_look_ms = c->turn.now_ms + LOOK_AGAIN_MS;
        return;
    }
    int open = dispatch_batches(c, o);
    struct tally tally = tally_batches(o);
    if (tally.done == o->plan.batch_count) {
        tick_verifying(c, o);
        return;
    }
    o->ending_since_ms = NEVER;
    if (tally.live == 0 && open == 0 && tally.held > 0) {
        give_up(c, o, &tally);
        return;
    }
    if (tally.live > 0 || journal_is_frozen(&c->journal)) {
        o->stuck_since_ms = NEVER;
        return;
    }
    o->next_look_ms = c->turn.now_ms + LOOK_AGAIN_MS;
    if (o->stuck_since_ms == NEVER) {
        o->stuck_since_ms = c->turn.now_ms;
    } else if (c->turn.now_ms - o->stuck_since_ms >= STUCK_MS) {
        char reason[TEXT_SIZE];
        (void)snprintf(reason, sizeof(reason), "nothing could be done for %d s: %.120s",
                       STUCK_MS / 1000, o->waits);
        operation_move(c, o, OPERATION_HELD, ERR_UNAVAILABLE, reason);
    }
}

static bool is_stop_asked(const struct order_run *run)
{
    return run->is_closing || run->is_stop_wanted;
}

/* Orders that live are told to stop once the state that says so is durable. */
static void ask_for_stops(struct coordinator *c, struct operation_run *o)
{
    for (int i = 0; i < o->plan.batch_count; i++) {
        struct order_run *run = &o->runs[i];
        if (order_run_is_live(run) && !is_stop_asked(run)) {
            run->is_stop_wanted = true;
            struct agent_entry *agent = registry_find(&c->registry, &o->plan.batches[i].agent);
            if (agent != NULL) {
                agent->has_news = true;
            }
        }
    }
}

/* True while a slot of the plan may still be open, with the sentence in o->waits. */
static bool is_open_left(struct coordinator *c, struct operation_run *o)
{
    const struct topology *topology = &c->observe.topology;
    for (int i = o->plan.settled_count; i < o->plan.batch_count; i++) {
        const struct batch *batch = &o->plan.batches[i];
        if (batch->state == BATCH_DONE || batch->attempt == 0 || batch->kind == BATCH_TASK) {
            continue;
        }
        const struct node_id *ends[] = {&batch->source, &batch->target};
        for (int e = 0; e < 2; e++) {
            int node = topology_find(topology, ends[e]);
            if (node == NO_NODE || !observe_is_fresh(c, node, o->quiet_since_ms)) {
                (void)snprintf(o->waits, sizeof(o->waits), "waits for a fresh report of node %.8s",
                               ends[e]->text);
                return true;
            }
        }
        struct slotset left;
        batch_slots_left(c, o, i, &left);
        if (!slotset_is_empty(&left)) {
            (void)snprintf(o->waits, sizeof(o->waits), "closes %d open slots of batch %d",
                           slotset_count(&left), i);
            return true;
        }
    }
    return false;
}

/* PAUSING and CANCELLING: first the orders end, then what they left open is closed. */
static void tick_stopping(struct coordinator *c, struct operation_run *o)
{
    if (journal_is_durable(&c->journal, o->ticket)) {
        ask_for_stops(c, o);
    }
    follow_failovers(c, o);
    struct tally tally = tally_batches(o);
    if (tally.live > 0) {
        (void)snprintf(o->waits, sizeof(o->waits),
                       "waits for %d orders to finish the slots in hand", tally.live);
        o->ending_since_ms = NEVER;
        return;
    }
    if (o->ending_since_ms == NEVER) {
        o->ending_since_ms = c->turn.now_ms;
    }
    bool is_pausing = o->op.state == OPERATION_PAUSING;
    char reason[TEXT_SIZE];
    (void)snprintf(reason, sizeof(reason), "%s", o->op.reason);
    if (is_open_left(c, o)) {
        o->next_look_ms = c->turn.now_ms + LOOK_AGAIN_MS;
        char waits[WAIT_TEXT_SIZE];
        memcpy(waits, o->waits, sizeof(waits));
        (void)dispatch_batches(c, o);
        memcpy(o->waits, waits, sizeof(waits));
        if (c->turn.now_ms - o->ending_since_ms >= CLOSE_MS && tally_batches(o).live == 0) {
            (void)snprintf(reason, sizeof(reason), "could not leave it clean: %.120s", waits);
            operation_move(c, o, OPERATION_HELD, ERR_CONFLICT, reason);
        }
        return;
    }
    char rest[TEXT_SIZE] = "";
    if (!is_pausing && !grow_undo(c, o, rest)) {
        return;
    }
    if (rest[0] != '\0') {
        (void)snprintf(reason, sizeof(reason), "%.60s; %.95s", o->op.reason, rest);
    }
    bool is_failure = !is_pausing && o->op.reason_code != ERR_CANCELLED;
    operation_move(c, o,
                   is_pausing   ? OPERATION_PAUSED
                   : is_failure ? OPERATION_FAILED
                                : OPERATION_CANCELLED,
                   o->op.reason_code, reason);
}

void executor_tick(struct coordinator *c)
{
    struct operation_run *o = executor_active(c);
    c->executor.is_dirty = false;
    if (o == NULL || !o->has_plan || c->takeover.is_loading || c->executor.unreadable[0] != '\0') {
        return;
    }
    o->next_look_ms = NEVER;
    for (int i = 0; i < o->plan.batch_count; i++) {
        order_run_tick(c, o, i);
    }
    sum_up(o);
    o->waits[0] = '\0';
    switch (o->op.state) {
    case OPERATION_RUNNING:
        tick_running(c, o);
        break;
    case OPERATION_PAUSING:
    case OPERATION_CANCELLING:
        tick_stopping(c, o);
        break;
    case OPERATION_PLANNED:
    case OPERATION_PAUSED:
    case OPERATION_DONE:
    case OPERATION_CANCELLED:
    case OPERATION_FAILED:
    case OPERATION_HELD:
        break;
    }
    if (c->executor.is_dirty) {
        o->next_look_ms =
            c->turn.now_ms; /* the state changed: what follows from it is done in the next step */
    }
}

int64_t executor_deadline(const struct coordinator *c)
{
    const struct operation_run *o = executor_active(c);
    if (o == NULL || !o->has_plan) {
        return NEVER;
    }
    int64_t deadline_ms = o->next_look_ms;
    for (int i = 0; i < o->plan.batch_count; i++) {
        deadline_ms = deadline_min(deadline_ms, order_run_deadline(c, &o->runs[i]));
    }
    return deadline_ms;
}
