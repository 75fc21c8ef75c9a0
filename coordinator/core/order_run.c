/* order_run.c — see order_run.h. */
#include "coordinator/core/order_run.h"

#include "common/base/alloc.h"
#include "common/base/check.h"
#include "coordinator/core/removal.h"
#include "coordinator/core/state.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* clang-format off */
const struct sm_state run_states[RUN_NR] = {
    /*                 name         may go to                                                                                     deadline  meaning                                                */
    [RUN_IDLE]      = {"idle",      SM_TO(RUN_ORDERING) | SM_TO(RUN_INHERITED) | SM_TO(RUN_ENDING),                                NEVER,    "no order lives"                                     },
    [RUN_ORDERING]  = {"ordering",  SM_TO(RUN_OFFERED),                                                                           NEVER,    "the order is written to the journal; the term bounds it" },
    [RUN_OFFERED]   = {"offered",   SM_TO(RUN_SENT) | SM_TO(RUN_ENDING) | SM_TO(RUN_IDLE),                                         NEVER,    "goes out with the next answer; dropped when the agent is lost" },
    [RUN_SENT]      = {"sent",      SM_TO(RUN_RUNNING) | SM_TO(RUN_ENDING) | SM_TO(RUN_SILENT) | SM_TO(RUN_IDLE),                  NEVER,    "told, not yet listed by the agent; until expires_ms"  },
    [RUN_RUNNING]   = {"running",   SM_TO(RUN_ENDING) | SM_TO(RUN_SILENT),                                                        NEVER,    "listed and renewed; silent when not heard"            },
    [RUN_SILENT]    = {"silent",    SM_TO(RUN_RUNNING) | SM_TO(RUN_ENDING) | SM_TO(RUN_IDLE),                                      NEVER,    "not heard of; taken back after expires_ms and a margin" },
    [RUN_INHERITED] = {"inherited", SM_TO(RUN_ENDING) | SM_TO(RUN_IDLE),                                                          NEVER,    "given by an earlier leader; waits for the agent's word or expires_ms and a margin" },
    [RUN_ENDING]    = {"ending",    SM_TO(RUN_IDLE),                                                                              NEVER,    "its result is written to the journal; the term bounds it" },
};
/* clang-format on */

void order_run_init(struct order_run *run, int64_t now_ms)
{
    *run = (struct order_run){.expires_ms = NEVER, .sent_ms = NEVER};
    sm_init(&run->sm, run_states, RUN_NR, RUN_IDLE, now_ms);
}

void order_run_release(struct order_run *run)
{
    free(run->slots);
    free(run->status);
    run->slots = NULL;
    run->status = NULL;
}

bool order_run_is_live(const struct order_run *run)
{
    return run->sm.state != RUN_IDLE;
}

uint64_t record_batch(struct coordinator *c, const struct operation_run *o, int index)
{
    char key[STORE_KEY_SIZE_MAX];
    (void)snprintf(key, sizeof(key), "batches/%s/%05d", o->op.id, index);
    struct record record = {.kind = RECORD_BATCH};
    record.as.batch = o->plan.batches[index];
    return journal_put(&c->journal, key, &record);
}

static struct log_event *log_batch(struct coordinator *c,
                                   enum event_id id,
                                   const struct operation_run *o,
                                   int index)
{
    const struct batch *batch = &o->plan.batches[index];
    struct log_event *log = turn_log(&c->turn, id);
    log_event_add(log, "op", o->op.id);
    log_event_add_int(log, "batch", index);
    log_event_add_int(log, "attempt", batch->attempt);
    log_event_add(log, "agent", batch->agent.text);
    return log;
}

void order_run_start(struct coordinator *c,
                     struct operation_run *o,
                     int index,
                     struct agent_entry *agent,
                     const struct slotset *slots)
{
    struct order_run *run = &o->runs[index];
    struct batch *batch = &o->plan.batches[index];
    CHECK(run->sm.state == RUN_IDLE);
    CHECK(run->slots == NULL);
    CHECK(election_is_leading(&c->election));
    batch->state = BATCH_ORDERED;
    batch->attempt++;
    batch->agent = agent->id;
    batch->reason_code = 0;
    batch->reason[0] = '\0';
    run->slots = xmemdup(slots, sizeof(*slots));
    run->incarnation = agent->incarnation;
    run->is_stop_wanted = false;
    run->is_closing = o->op.state != OPERATION_RUNNING;
    run->expires_ms = NEVER;
    run->sent_ms = NEVER;
    run->ticket = record_batch(c, o, index);
    sm_move(&run->sm, RUN_ORDERING, c->turn.now_ms);
    struct log_event *log = log_batch(c, EVENT_BATCH_ORDERED, o, index);
    if (batch->kind == BATCH_TASK) {
        char text[TEXT_SIZE];
        task_format(batch->task, text, sizeof(text));
        log_event_add(log, "task", text);
    } else {
        log_event_add(log, "source", batch->source.text);
        log_event_add(log, "target", batch->target.text);
        log_event_add_int(log, "slots", slotset_count(slots));
    }
    log_event_add_int(log, "fence", c->election.fence);
}

void order_run_inherit(struct coordinator *c,
                       struct operation_run *o,
                       int index,
                       int64_t expires_ms)
{
    struct order_run *run = &o->runs[index];
    struct batch *batch = &o->plan.batches[index];
    const struct agent_entry *agent = registry_find(&c->registry, &batch->agent);
    run->slots = xmemdup(&batch->slots, sizeof(batch->slots));
    slotset_subtract(run->slots, &batch->slots_done);
    run->incarnation = agent != NULL ? agent->incarnation_recorded : 0;
    run->expires_ms = expires_ms;
    sm_move(&run->sm, RUN_INHERITED, c->turn.now_ms);
    (void)log_batch(c, EVENT_BATCH_ADOPTED, o, index);
}

/* ---- results ---- */

bool code_is_permanent(int code)
{
    return code == ERR_AUTH || code == ERR_REFUSED || code == ERR_VERSION || code == ERR_INVALID ||
           code == ERR_LIMIT || code == ERR_CONFIG;
}

static void set_reason(struct batch *batch, int code, const char *reason)
{
    batch->reason_code = code;
    (void)snprintf(batch->reason, sizeof(batch->reason), "%s", reason);
}

static void end_failed(struct coordinator *c, struct operation_run *o, int index, bool is_progress)
{
    struct order_run *run = &o->runs[index];
    struct batch *batch = &o->plan.batches[index];
    const struct order_status *status = run->status;
    run->failures = is_progress ? 1 : run->failures + 1;
    set_reason(batch, status->reason_code != 0 ? status->reason_code : ERR_INTERNAL,
               status->reason);
    int attempts_max = c->config.attempts_max;
    if (batch->kind == BATCH_TASK && attempts_max > TASK_ATTEMPTS_MAX) {
        attempts_max = TASK_ATTEMPTS_MAX;
    }
    if (code_is_permanent(status->reason_code) || run->failures >= attempts_max) {
        if (!code_is_permanent(status->reason_code)) {
            (void)snprintf(batch->reason, sizeof(batch->reason),
                           "gave up after %d attempts: %.120s", run->failures, status->reason);
        }
        batch->state = BATCH_HELD;
        struct log_event *log = log_batch(c, EVENT_BATCH_HELD, o, index);
        log_event_add(log, "code", err_word(batch->reason_code));
        log_event_add(log, "reason", batch->reason);
        log_event_add(log, "hint",
                      "see `drover op show`, remove the cause, then `drover op resume` or `drover "
                      "op cancel`");
        return;
    }
    int64_t pause_ms = prng_backoff_ms(&c->prng, run->failures, RETRY_MS, RETRY_MS_MAX);
    run->not_before_ms = c->turn.now_ms + pause_ms;
    batch->state = BATCH_FAILED;
    struct log_event *log = log_batch(c, EVENT_BATCH_RETRY, o, index);
    log_event_add(log, "code", err_word(batch->reason_code));
    log_event_add(log, "reason", batch->reason);
    log_event_add_int(log, "failures", run->failures);
    log_event_add_int(log, "pause_ms", pause_ms);
}

void order_run_again(struct coordinator *c,
                     struct operation_run *o,
                     int index,
                     const struct slotset *slots,
                     int64_t pause_ms,
                     const char *reason)
{
    struct order_run *run = &o->runs[index];
    struct batch *batch = &o->plan.batches[index];
    CHECK(run->sm.state == RUN_IDLE);
    slotset_subtract(&batch->slots_done, slots);
    batch->state = BATCH_WAITING;
    set_reason(batch, ERR_CONFLICT, reason);
    run->not_before_ms = c->turn.now_ms + pause_ms;
    (void)record_batch(c, o, index);
    struct log_event *log = log_batch(c, EVENT_BATCH_RETRY, o, index);
    log_event_add(log, "code", err_word(batch->reason_code));
    log_event_add(log, "reason", batch->reason);
    log_event_add_int(log, "slots", slotset_count(slots));
    log_event_add_int(log, "pause_ms", pause_ms);
}

static void end_done(struct coordinator *c, struct operation_run *o, int index)
{
    struct order_run *run = &o->runs[index];
    struct batch *batch = &o->plan.batches[index];
    set_reason(batch, 0, "");
    batch->state = BATCH_DONE;
    run->failures = 0;
    struct log_event *log = log_batch(c, EVENT_BATCH_DONE, o, index);
    if (batch->kind == BATCH_TASK) {
        log_event_add(log, "task", task_kind_name(batch->task->kind));
        if (batch->made.port != 0) {
            char text[ADDRESS_TEXT_SIZE];
            log_event_add(log, "made", address_format(&batch->made, text));
        }
        return;
    }
    log_event_add_int(log, "slots", slotset_count(&batch->slots));
    log_event_add_int(log, "keys", (int64_t)batch->keys_moved);
    log_event_add(log, "replicas_synced", run->status->is_replica_synced ? "yes" : "no");
}

/* Takes over what the order did. True when that is all: of a task only its own word counts. */
static bool is_batch_complete(struct batch *batch, const struct order_status *status)
{
    struct slotset done = status->slots_done;
    slotset_intersect(&done, &batch->slots);
    slotset_union(&batch->slots_done, &done);
    batch->keys_moved += status->keys_moved;
    batch->bytes_moved += status->bytes_moved;
    if (batch->kind == BATCH_TASK && batch->task->kind == TASK_PROVISION &&
        status->state == ORDER_DONE) {
        batch->made = status->made;
        return batch->made.port != 0;
    }
    return batch->kind == BATCH_TASK ? status->state == ORDER_DONE
                                     : slotset_is_equal(&batch->slots_done, &batch->slots);
}

/* What a provisioner was asked for goes on when the order expires (lifecycle_request.c). */
static bool is_end_unknown(const struct batch *batch, const struct order_status *status)
{
    return status->state == ORDER_EXPIRED && batch->kind == BATCH_TASK &&
           batch->task->kind == TASK_PROVISION;
}

/* The order ended with slots_done of its slots. Decides what becomes of the batch; the caller
 * journals it. */
static void end_order(struct coordinator *c, struct operation_run *o, int index)
{
    struct order_run *run = &o->runs[index];
    struct batch *batch = &o->plan.batches[index];
    const struct order_status *status = run->status;
    int before = slotset_count(&batch->slots_done);
    if (is_batch_complete(batch, status)) {
        end_done(c, o, index);
        return;
    }
    bool is_progress = slotset_count(&batch->slots_done) > before;
    switch (status->state) {
    case ORDER_DONE:
        if (run->is_closing) {
            set_reason(batch, 0, "");
            batch->state = BATCH_STOPPED;
            (void)log_batch(c, EVENT_BATCH_STOPPED, o, index);
            return;
        }
        run->status->reason_code = ERR_PROTOCOL;
        if (batch->kind == BATCH_TASK) {
            (void)snprintf(run->status->reason, sizeof(run->status->reason),
                           "agent says done but not where the new server is");
        } else {
            (void)snprintf(run->status->reason, sizeof(run->status->reason),
                           "agent says done but %d slots are missing",
                           slotset_count(&batch->slots) - slotset_count(&batch->slots_done));
        }
        end_failed(c, o, index, is_progress);
        return;
    case ORDER_STOPPED:
    case ORDER_EXPIRED:
        set_reason(batch, is_end_unknown(batch, status) ? ERR_CONFLICT : 0, status->reason);
        batch->state = o->op.state == OPERATION_RUNNING ? BATCH_WAITING : BATCH_STOPPED;
        (void)log_batch(c, EVENT_BATCH_STOPPED, o, index);
        return;
    case ORDER_HELD: {
        set_reason(batch, status->reason_code != 0 ? status->reason_code : ERR_CONFLICT,
                   status->reason);
        batch->state = BATCH_HELD;
        struct log_event *log = log_batch(c, EVENT_BATCH_HELD, o, index);
        log_event_add(log, "code", err_word(batch->reason_code));
        log_event_add(log, "reason", batch->reason);
        return;
    }
    case ORDER_RUNNING:
    case ORDER_FAILED:
        end_failed(c, o, index, is_progress);
        return;
    }
    run->status->reason_code = ERR_PROTOCOL;
    end_failed(c, o, index, is_progress);
}

static void go_ending(struct coordinator *c, struct operation_run *o, int index)
{
    struct order_run *run = &o->runs[index];
    run->ticket = record_batch(c, o, index);
    sm_move(&run->sm, RUN_ENDING, c->turn.now_ms);
}

/* The order can do nothing any more and has no result: the batch may go to anybody. */
static void take_back(struct coordinator *c, struct operation_run *o, int index, const char *why)
{
    struct order_run *run = &o->runs[index];
    struct batch *batch = &o->plan.batches[index];
    batch->state = BATCH_WAITING; /* the journal learns of it with the next order */
    sm_move(&run->sm, RUN_IDLE, c->turn.now_ms);
    order_run_release(run);
    log_event_add(log_batch(c, EVENT_BATCH_TAKEN_BACK, o, index), "reason", why);
}

static void go_silent(struct coordinator *c, struct operation_run *o, int index, const char *why)
{
    sm_move(&o->runs[index].sm, RUN_SILENT, c->turn.now_ms);
    struct log_event *log = log_batch(c, EVENT_BATCH_SILENT, o, index);
    log_event_add(log, "reason", why);
    log_event_add_int(log, "wait_ms",
                      o->runs[index].expires_ms + c->config.order_margin_ms - c->turn.now_ms);
}

/* ---- steps ---- */

static const struct order_status *find_status(const struct agent_entry *agent,
                                              const struct operation_run *o,
                                              int index)
{
    struct order_id id = {.batch_index = index, .attempt = o->plan.batches[index].attempt};
    (void)snprintf(id.operation_id, sizeof(id.operation_id), "%s", o->op.id);
    for (int i = 0; agent != NULL && i < agent->order_count; i++) {
        if (order_id_is_equal(&agent->orders[i].id, &id)) {
            return &agent->orders[i];
        }
    }
    return NULL;
}

/* Its removal certificate may be refused by now: it is given out again when that has passed. */
static void take_back_if_refused(struct coordinator *c, struct operation_run *o, int index)
{
    const struct batch *batch = &o->plan.batches[index];
    char reason[TEXT_SIZE];
    if (batch->kind == BATCH_TASK &&
        !removal_permits(&c->observe.topology, c->election.fence, o->op.id, batch->task, reason)) {
        take_back(c, o, index, reason);
    }
}

static void tick_offered(struct coordinator *c,
                         struct operation_run *o,
                         int index,
                         const struct agent_entry *agent)
{
    struct order_run *run = &o->runs[index];
    bool is_gone =
        agent == NULL || !agent_is_ready(c, agent) || agent->incarnation != run->incarnation;
    if (!is_gone && !run->is_stop_wanted) {
        take_back_if_refused(c, o, index);
        return;
    }
    o->plan.batches[index].state = o->op.state == OPERATION_RUNNING ? BATCH_WAITING : BATCH_STOPPED;
    go_ending(c, o, index); /* never told, so nothing of it lives */
}

/* What is listed decides; else whether the agent can still have it. */
static void tick_told(struct coordinator *c,
                      struct operation_run *o,
                      int index,
                      const struct agent_entry *agent)
{
    struct order_run *run = &o->runs[index];
    bool is_heard = agent != NULL && agent_is_connected(c, agent) && agent->reported_ms != NEVER;
    const struct order_status *status = is_heard ? find_status(agent, o, index) : NULL;
    if (status != NULL) {
        if (run->status == NULL) {
            run->status = xcalloc(1, sizeof(*run->status));
        }
        *run->status = *status;
        if (order_state_is_final(status->state)) {
            end_order(c, o, index);
            go_ending(c, o, index);
        } else if (run->sm.state == RUN_SENT || run->sm.state == RUN_SILENT) {
            sm_move(&run->sm, RUN_RUNNING, c->turn.now_ms);
        }
        return;
    }
    if (c->turn.now_ms >= run->expires_ms + c->config.order_margin_ms &&
        (run->sm.state == RUN_SENT || run->sm.state == RUN_SILENT ||
         run->sm.state == RUN_INHERITED)) {
        take_back(c, o, index, "its order expired");
        return;
    }
    if (is_heard && agent_is_ready(c, agent) && agent->is_same_disk &&
        (run->sm.state == RUN_INHERITED || agent->incarnation != run->incarnation)) {
        /* It has our fence on its disk, so it obeys nothing older, and it knows no such order. */
        if (run->sm.state == RUN_RUNNING) {
            sm_move(&run->sm, RUN_SILENT, c->turn.now_ms);
        }
        take_back(c, o, index, "its agent does not know the order");
        return;
    }
    if (run->sm.state == RUN_RUNNING && is_heard) {
        go_silent(c, o, index, "the agent does not list the order any more");
    } else if ((run->sm.state == RUN_RUNNING || run->sm.state == RUN_SENT) && !is_heard) {
        go_silent(c, o, index, "the agent is not heard");
    }
}

void order_run_tick(struct coordinator *c, struct operation_run *o, int index)
{
    struct order_run *run = &o->runs[index];
    struct agent_entry *agent = registry_find(&c->registry, &o->plan.batches[index].agent);
    switch ((enum run_state)run->sm.state) {
    case RUN_IDLE:
        return;
    case RUN_ORDERING:
        if (journal_is_durable(&c->journal, run->ticket)) {
            sm_move(&run->sm, RUN_OFFERED, c->turn.now_ms);
            if (agent != NULL) {
                agent->has_news = true;
            }
            tick_offered(c, o, index, agent);
        }
        return;
    case RUN_OFFERED:
        tick_offered(c, o, index, agent);
        return;
    case RUN_SENT:
    case RUN_RUNNING:
    case RUN_SILENT:
    case RUN_INHERITED:
        tick_told(c, o, index, agent);
        return;
    case RUN_ENDING:
        if (journal_is_durable(&c->journal, run->ticket)) {
            sm_move(&run->sm, RUN_IDLE, c->turn.now_ms);
            order_run_release(run);
            o->quiet_since_ms = c->turn.now_ms;
            if (agent != NULL) {
                agent->has_news = true; /* it may forget the result now */
            }
        }
        return;
    case RUN_NR:
        break;
    }
    UNREACHABLE("run state");
}

int64_t order_run_deadline(const struct coordinator *c, const struct order_run *run)
{
    switch ((enum run_state)run->sm.state) {
    case RUN_IDLE:
        return run->not_before_ms > c->turn.now_ms ? run->not_before_ms : NEVER;
    case RUN_SENT:
    case RUN_SILENT:
    case RUN_INHERITED:
        return deadline_after(run->expires_ms, c->config.order_margin_ms);
    case RUN_ORDERING:
    case RUN_OFFERED:
    case RUN_RUNNING:
    case RUN_ENDING:
    case RUN_NR:
        break;
    }
    return NEVER;
}
