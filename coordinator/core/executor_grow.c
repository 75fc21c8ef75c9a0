/* executor_grow.c — operations whose plan grows: what comes next is asked whenever nothing is left
 * to do. See executor.h and lifecycle.h.
 *
 * A round: the batches of the last answer run; all end; every node is read again and moves are
 * proved in every view; lifecycle_next() is asked. New batches are journalled before the plan
 * record that counts them, and that before any of their orders, so that a batch found beyond the
 * count was never ordered: a new leader drops it and asks again. An answer that changes nothing
 * round after round, and a wait without end, are given to a person. */
#include "coordinator/core/executor.h"

#include "common/base/alloc.h"
#include "common/base/check.h"
#include "coordinator/core/estimate.h"
#include "coordinator/core/executor_facts.h"
#include "coordinator/core/lifecycle.h"
#include "coordinator/core/state.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define IDLE_ROUNDS_MAX 5   /* rounds in a row that leave the topology as it was */
#define IDLE_PAUSE_MS 2000  /* before such a round, times their number */
#define GROW_WAIT_MS 300000 /* for something outside; as STUCK_MS for batches */
#define GROW_PROBE_MS 30000 /* nodes are read often for so long, then at their own pace */
#define REFUSED_MS 5000     /* a refusal in the middle must last so long: views may lag */
#define GROW_LOOK_AGAIN_MS 250
#define UNDO_MS 60000 /* as CLOSE_MS: how long an agent that is away is waited for */

/* ---- the answer ---- */

static bool is_move_sound(const struct batch *batch)
{
    int slots = slotset_count(&batch->slots);
    return batch->task == NULL && slots > 0 && slots <= BATCH_SLOTS_MAX &&
           !node_id_is_empty(&batch->source) && !node_id_is_empty(&batch->target) &&
           !node_id_is_equal(&batch->source, &batch->target);
}

/* Batches go to the journal and to agents: what could not be read there is refused here. */
static int check_batches(const struct lifecycle_answer *answer, struct err *err)
{
    for (int i = 0; i < answer->batch_count; i++) {
        const struct batch *batch = &answer->batches[i];
        if (batch->kind == BATCH_TASK) {
            int code = batch->task == NULL
                           ? err_set(err, ERR_INTERNAL, "a task of the next steps is empty")
                           : task_validate(batch->task, err);
            if (code != 0) {
                return code;
            }
        } else if (!is_move_sound(batch)) {
            return err_set(err, ERR_INTERNAL, "a move of the next steps makes no sense");
        }
    }
    return 0;
}

void grow_ask(const struct coordinator *c,
              const struct operation_request *request,
              const struct operation_run *o,
              struct lifecycle_answer *out)
{
    struct executor_facts facts;
    struct err err = {0};
    executor_facts_init(&facts, c, request, o != NULL ? o->plan.batches : NULL,
                        o != NULL ? o->plan.batch_count : 0);
    facts.facts.operation_id = o != NULL ? o->op.id : NULL;
    *out = (struct lifecycle_answer){0};
    lifecycle_next(request, &facts.facts, out);
    executor_facts_release(&facts);
    int code = out->verdict == LIFECYCLE_MORE ? check_batches(out, &err) : 0;
    if (code != 0) {
        lifecycle_answer_release(out);
        *out = (struct lifecycle_answer){.verdict = LIFECYCLE_REFUSED, .code = code};
        (void)snprintf(out->reason, sizeof(out->reason), "%s", err.text);
    } else if (out->verdict == LIFECYCLE_MORE && out->batch_count == 0) {
        out->verdict = LIFECYCLE_DONE;
    }
}

/* ---- growing ---- */

/* What only one agent can do names it in the detail. */
static void bind_agent(struct batch *batch)
{
    if (task_kind_is_bound(batch->task->kind) && batch->agent.text[0] == '\0') {
        (void)task_detail_get(batch->task, "agent", batch->agent.text, sizeof(batch->agent.text));
    }
}

/* Puts a batch of the answer at its place; takes over what it owns. */
static void place_batch(struct plan *plan, struct batch *batch)
{
    struct batch *at = &plan->batches[plan->batch_count];
    *at = *batch;
    *batch = (struct batch){0};
    at->index = plan->batch_count++;
    at->state = BATCH_WAITING;
    at->attempt = 0;
    at->slots_done = (struct slotset){0};
    at->source_run_id[0] = '\0';
    if (at->kind == BATCH_TASK) {
        bind_agent(at);
        at->source = at->task->node;
        at->target = at->task->peer;
        at->slots = (struct slotset){0};
        at->keys_estimate = 0;
        at->bytes_estimate = 0;
        return;
    }
    plan->slot_count += slotset_count(&at->slots);
    plan->keys_estimate += at->keys_estimate;
    plan->bytes_estimate += at->bytes_estimate;
}

/* Appends the answer's batches: they are the plan's only ones that still bind. */
static void take_batches(const struct coordinator *c,
                         const struct operation_request *request,
                         struct plan *plan,
                         struct lifecycle_answer *answer)
{
    int first = plan->batch_count;
    CHECK(first + answer->batch_count <= PLAN_BATCHES_MAX);
    plan->batches = xreallocarray(plan->batches, (size_t)first + (size_t)answer->batch_count,
                                  sizeof(*plan->batches));
    for (int i = 0; i < answer->batch_count; i++) {
        place_batch(plan, &answer->batches[i]);
    }
    plan->settled_count = first;
    plan->topology_digest = c->observe.digest;
    struct plan_options options;
    executor_plan_options(c, request, &options);
    struct plan moves = {.batches = xcalloc((size_t)answer->batch_count, sizeof(struct batch))};
    for (int i = first; i < plan->batch_count; i++) {
        if (plan->batches[i].kind == BATCH_MOVE) {
            moves.batches[moves.batch_count++] = plan->batches[i]; /* borrowed */
        }
    }
    plan->duration_estimate_ms += estimate_duration_ms(&c->observe.topology, &options, &moves);
    free(moves.batches);
}

void grow_plan(const struct coordinator *c,
               const struct operation_request *request,
               struct lifecycle_answer *answer,
               struct plan *out)
{
    *out = (struct plan){.topology_digest = c->observe.digest};
    if (answer->verdict == LIFECYCLE_MORE) {
        take_batches(c, request, out, answer);
    }
}

static void record_plan(struct coordinator *c, const struct operation_run *o)
{
    char key[STORE_KEY_SIZE_MAX];
    (void)snprintf(key, sizeof(key), "plans/%s", o->op.id);
    struct record record = {.kind = RECORD_PLAN};
    record.as.plan = o->plan;
    (void)journal_put(&c->journal, key, &record);
}

static void grow(struct coordinator *c, struct operation_run *o, struct lifecycle_answer *answer)
{
    int first = o->plan.batch_count;
    take_batches(c, &o->op.request, &o->plan, answer);
    o->runs = xreallocarray(o->runs, (size_t)o->plan.batch_count + 1, sizeof(*o->runs));
    int tasks = 0;
    for (int i = first; i < o->plan.batch_count; i++) {
        order_run_init(&o->runs[i], c->turn.now_ms);
        (void)record_batch(c, o, i);
        tasks += o->plan.batches[i].kind == BATCH_TASK ? 1 : 0;
    }
    record_plan(c, o);
    o->op.slots_total = o->plan.slot_count;
    executor_record_operation(c, o);
    o->ending_since_ms = NEVER;
    o->foreign_since_ms = NEVER;
    o->stuck_since_ms = NEVER;
    o->grow_wait_since_ms = NEVER;
    o->checked_build = 0;
    o->next_look_ms = c->turn.now_ms;
    struct log_event *log = turn_log(&c->turn, EVENT_OPERATION_GROWN);
    log_event_add(log, "op", o->op.id);
    log_event_add_int(log, "tasks", tasks);
    log_event_add_int(log, "moves", o->plan.batch_count - first - tasks);
    log_event_add_int(log, "batches", o->plan.batch_count);
    if (tasks > 0) {
        char text[TEXT_SIZE];
        int at = first;
        while (o->plan.batches[at].kind != BATCH_TASK) {
            at++;
        }
        task_format(o->plan.batches[at].task, text, sizeof(text));
        log_event_add(log, "first", text);
    }
}

/* ---- what an answer leads to ---- */

/* Looks only, or is taken back at the end. */
static bool leaves_nothing(const struct batch *batch)
{
    enum task_kind kind = batch->kind == BATCH_TASK ? batch->task->kind : TASK_JOIN;
    return kind == TASK_REACH || kind == TASK_PROVISION || kind == TASK_TRAFFIC ||
           kind == TASK_RELEASE;
}

bool grow_has_begun(const struct operation_run *o)
{
    for (int i = 0; i < o->plan.batch_count; i++) {
        const struct batch *batch = &o->plan.batches[i];
        bool is_turned_down = batch->state == BATCH_HELD && batch->attempt == 1 &&
                              code_is_permanent(batch->reason_code);
        /* An agent that gives a join up undoes it first. */
        bool is_undone = batch->state == BATCH_HELD && batch->kind == BATCH_TASK &&
                         batch->task->kind == TASK_JOIN;
        if (batch->attempt > 0 && !is_turned_down && !is_undone && !leaves_nothing(batch)) {
            return true;
        }
    }
    return false;
}

static void undo_facts_init(struct executor_facts *facts,
                            const struct coordinator *c,
                            const struct operation_run *o)
{
    executor_facts_init(facts, c, &o->op.request, o->plan.batches, o->plan.batch_count);
    facts->facts.operation_id = o->op.id;
}

static void undo_ask(const struct coordinator *c,
                     const struct operation_run *o,
                     struct lifecycle_answer *out)
{
    struct executor_facts facts;
    undo_facts_init(&facts, c, o);
    lifecycle_undo(&facts.facts, out);
    executor_facts_release(&facts);
}

void grow_give_up(struct coordinator *c,
                  struct operation_run *o,
                  bool is_untouched,
                  int code,
                  const char *reason)
{
    enum operation_state state = is_untouched ? OPERATION_FAILED : OPERATION_HELD;
    if (is_untouched && lifecycle_applies(o->op.request.kind)) {
        struct lifecycle_answer undo;
        undo_ask(c, o, &undo);
        state = undo.verdict == LIFECYCLE_DONE ? state : OPERATION_CANCELLING;
        lifecycle_answer_release(&undo);
    }
    operation_move(c, o, state, code, reason);
}

static void give_up(struct coordinator *c, struct operation_run *o, int code, const char *reason)
{
    grow_give_up(c, o, !grow_has_begun(o), code, reason);
}

/* Since when it waits; the nodes are read again meanwhile, at first often. */
static int64_t note_wait(struct coordinator *c, struct operation_run *o, const char *reason)
{
    if (o->grow_wait_since_ms == NEVER) {
        o->grow_wait_since_ms = c->turn.now_ms;
    }
    o->ending_since_ms = NEVER;
    (void)snprintf(o->waits, sizeof(o->waits), "%s", reason);
    o->next_look_ms = c->turn.now_ms + GROW_LOOK_AGAIN_MS;
    int64_t waited_ms = c->turn.now_ms - o->grow_wait_since_ms;
    if (waited_ms < GROW_PROBE_MS) {
        executor_ask_for_probes(c);
    }
    return waited_ms;
}

/* The same topology as before the last round: it changed nothing that counts. */
static bool is_idle_round(const struct coordinator *c, const struct operation_run *o)
{
    return o->plan.batch_count > 0 && o->plan.topology_digest == c->observe.digest;
}

static void on_more(struct coordinator *c, struct operation_run *o, struct lifecycle_answer *answer)
{
    char reason[TEXT_SIZE];
    if (o->plan.batch_count + answer->batch_count > PLAN_BATCHES_MAX) {
        (void)snprintf(reason, sizeof(reason), "more than %d steps", PLAN_BATCHES_MAX);
        give_up(c, o, ERR_LIMIT, reason);
        return;
    }
    if (!is_idle_round(c, o)) {
        o->idle_rounds = 0;
    } else if (o->idle_rounds >= IDLE_ROUNDS_MAX) {
        (void)snprintf(reason, sizeof(reason),
                       "%d rounds of steps changed nothing that can be seen; the last was batch %d",
                       o->idle_rounds, o->plan.batch_count - 1);
        give_up(c, o, ERR_CONFLICT, reason);
        return;
    } else if (c->turn.now_ms - o->quiet_since_ms < (int64_t)o->idle_rounds * IDLE_PAUSE_MS) {
        (void)note_wait(c, o, "the last steps changed nothing yet; looks again");
        return;
    } else {
        o->idle_rounds++;
    }
    grow(c, o, answer);
}

bool grow_tick(struct coordinator *c, struct operation_run *o)
{
    struct lifecycle_answer answer;
    if (journal_is_frozen(&c->journal)) {
        o->ending_since_ms = NEVER;
        (void)snprintf(o->waits, sizeof(o->waits), "waits for the store to take writes");
        return false;
    }
    grow_ask(c, &o->op.request, o, &answer);
    bool is_done = false;
    switch (answer.verdict) {
    case LIFECYCLE_MORE:
        on_more(c, o, &answer);
        break;
    case LIFECYCLE_DONE:
        is_done = true;
        break;
    case LIFECYCLE_WAIT:
        if (note_wait(c, o, answer.reason) >= GROW_WAIT_MS) {
            char reason[TEXT_SIZE];
            (void)snprintf(reason, sizeof(reason), "waited %d s: %.130s", GROW_WAIT_MS / 1000,
                           answer.reason);
            give_up(c, o, ERR_TIMEOUT, reason);
        }
        break;
    case LIFECYCLE_REFUSED:
        if (note_wait(c, o, answer.reason) >= REFUSED_MS || o->plan.batch_count == 0) {
            give_up(c, o, answer.code != 0 ? answer.code : ERR_REFUSED, answer.reason);
        }
        break;
    }
    lifecycle_answer_release(&answer);
    return is_done;
}

/* ---- taking back ---- */

/* A request that may have made a server, with nobody there who could ask, is a person's: the
 * operation is held, and says which. The second time it is cancelled, the person knows. */
static bool hold_lost_requests(struct coordinator *c, struct operation_run *o)
{
    char reason[TEXT_SIZE];
    char first[TEXT_SIZE] = "";
    for (;;) {
        struct executor_facts facts;
        undo_facts_init(&facts, c, o);
        int index = lifecycle_lost_request(&facts.facts, 0, reason);
        executor_facts_release(&facts);
        if (index < 0) {
            break;
        }
        struct batch *batch = &o->plan.batches[index];
        batch->state = BATCH_HELD;
        batch->reason_code = ERR_CANCELLED;
        memcpy(batch->reason, reason, sizeof(batch->reason));
        (void)record_batch(c, o, index);
        if (first[0] == '\0') {
            memcpy(first, reason, sizeof(first));
        }
    }
    if (first[0] == '\0') {
        return false;
    }
    (void)snprintf(reason, sizeof(reason),
                   "%.90s: bring the agent back, or release that id by hand; then cancel again",
                   first);
    operation_move(c, o, OPERATION_HELD, ERR_UNAVAILABLE, reason);
    return true;
}

/* Waits for what stands in o->waits, or gives it up with that. */
static bool undo_later(struct coordinator *c, struct operation_run *o, char rest[TEXT_SIZE])
{
    if (c->turn.now_ms - o->ending_since_ms >= UNDO_MS) {
        (void)snprintf(rest, TEXT_SIZE, "%.150s", o->waits);
        return !hold_lost_requests(c, o);
    }
    o->next_look_ms = c->turn.now_ms + GROW_LOOK_AGAIN_MS;
    return false;
}

bool grow_undo(struct coordinator *c, struct operation_run *o, char rest[TEXT_SIZE])
{
    struct lifecycle_answer answer;
    rest[0] = '\0';
    if (!lifecycle_applies(o->op.request.kind)) {
        return true;
    }
    if (journal_is_frozen(&c->journal) || dispatch_tasks(c, o) > 0) {
        if (o->waits[0] == '\0') {
            (void)snprintf(o->waits, sizeof(o->waits), "takes back what was prepared");
        }
        return undo_later(c, o, rest);
    }
    undo_ask(c, o, &answer);
    bool is_over = true;
    switch (answer.verdict) {
    case LIFECYCLE_MORE:
        is_over = o->plan.batch_count + answer.batch_count > PLAN_BATCHES_MAX;
        if (!is_over) {
            grow(c, o, &answer);
        }
        break;
    case LIFECYCLE_WAIT:
        (void)snprintf(o->waits, sizeof(o->waits), "%s", answer.reason);
        executor_ask_for_probes(c);
        is_over = undo_later(c, o, rest);
        break;
    case LIFECYCLE_REFUSED:
        (void)snprintf(rest, TEXT_SIZE, "%s", answer.reason);
        break;
    case LIFECYCLE_DONE:
        break;
    }
    lifecycle_answer_release(&answer);
    return is_over;
}

/* ---- after a restart ---- */

bool grow_adopt(struct coordinator *c, struct operation_run *o)
{
    int wanted = o->batches_recorded;
    int found = o->plan.batch_count;
    for (int i = wanted; i < found; i++) {
        if (o->plan.batches[i].attempt > 0) {
            return false; /* no leader orders a batch that its plan does not count */
        }
    }
    for (int i = wanted; i < found; i++) {
        char key[STORE_KEY_SIZE_MAX];
        (void)snprintf(key, sizeof(key), "batches/%s/%05d", o->op.id, i);
        (void)journal_delete(&c->journal, key);
        order_run_release(&o->runs[i]);
        batch_release(&o->plan.batches[i]);
    }
    o->plan.batch_count = wanted < found ? wanted : found;
    if (o->plan.settled_count > o->plan.batch_count) {
        o->plan.settled_count = o->plan.batch_count;
    }
    if (found < wanted) {
        o->plan.slot_count = 0;
        for (int i = 0; i < o->plan.batch_count; i++) {
            o->plan.slot_count += slotset_count(&o->plan.batches[i].slots);
        }
        o->op.slots_total = o->plan.slot_count;
        record_plan(c, o);
        executor_record_operation(c, o);
    }
    return true;
}
