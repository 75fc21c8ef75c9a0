/* task_runner.c — the machine of a task: its rounds, its requests, its endings.
 *
 *   looking -> surveying -> acting -> resting -> looking ...
 *        \________\___________________/^
 *   any of these -> done | stopped | failed
 *   any of these -> freezing -> expired           (not renewed, or an older fence)
 *
 * Invariant: whatever a round decides is decided by what this round has seen. So a runner that was
 * cut anywhere is replaced by a new one, which needs no memory of the first. */
#include "agent/core/task_parts.h"

#include "common/base/alloc.h"
#include "common/base/check.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define REST_MS_BASE 100 /* gossip tells the next node within some 100 ms */
#define REST_MS_CAP 2000

#define ENDING \
    (SM_TO(RUNNER_DONE) | SM_TO(RUNNER_STOPPED) | SM_TO(RUNNER_FAILED) | SM_TO(RUNNER_FREEZING))

/* clang-format off */
static const struct sm_state runner_states[RUNNER_STATE_NR] = {
    /*                    name         may go to                                              deadline  meaning */
    [RUNNER_LOOKING]   = {"looking",   SM_TO(RUNNER_SURVEYING) | SM_TO(RUNNER_RESTING) | ENDING,
                                                                                               30000,  "asks the node and its peer how they stand"},
    [RUNNER_SURVEYING] = {"surveying", SM_TO(RUNNER_ACTING) | SM_TO(RUNNER_RESTING) | ENDING, 30000,  "asks every member for its own view"},
    [RUNNER_ACTING]    = {"acting",    SM_TO(RUNNER_RESTING) | ENDING,                         90000,  "commands that change something are on their way"},
    [RUNNER_RESTING]   = {"resting",   SM_TO(RUNNER_LOOKING) | ENDING,                         90000,  "looks again at a stated time"},
    [RUNNER_FREEZING]  = {"freezing",  SM_TO(RUNNER_EXPIRED),                                  90000,  "no further command; awaits the running ones"},
    [RUNNER_DONE]      = {"done",      0,                                                      NEVER,  "every view shows it"},
    [RUNNER_STOPPED]   = {"stopped",   0,                                                      NEVER,  "asked to stop"},
    [RUNNER_FAILED]    = {"failed",    0,                                                      NEVER,  "gave up or refused; the reason says why"},
    [RUNNER_EXPIRED]   = {"expired",   0,                                                      NEVER,  "not renewed in time; anybody may go on"},
};
/* clang-format on */

static const struct task_rules *rules_of(enum task_kind kind)
{
    switch (kind) {
    case TASK_JOIN:
        return &task_join_rules;
    case TASK_REPLICATE:
        return &task_replicate_rules;
    case TASK_FAILOVER:
        return &task_failover_rules;
    case TASK_LEAVE:
        return &task_leave_rules;
    case TASK_MEET:
        return &task_meet_rules;
    case TASK_ADD_SLOTS:
        return &task_add_slots_rules;
    case TASK_REPAIR:
    case TASK_START:
    case TASK_STOP:
    case TASK_PROVISION:
    case TASK_RELEASE:
    case TASK_TRAFFIC:
    case TASK_REACH:
        break;
    }
    return NULL;
}

bool node_task_knows(enum task_kind kind)
{
    return rules_of(kind) != NULL;
}

struct node_task *node_task_new(const struct order *order,
                                uint32_t serial,
                                uint64_t seed,
                                int64_t now_ms)
{
    CHECK(serial >= 1);
    CHECK(node_task_knows(order->task.kind));
    struct node_task *t = xcalloc(1, sizeof(*t));
    t->order = *order;
    t->task = &t->order.task;
    t->rules = rules_of(t->task->kind);
    t->ids.serial = serial;
    t->now_ms = now_ms;
    t->begun_ms = now_ms;
    t->progress_ms = now_ms;
    t->wake_ms = NEVER;
    t->waiting_since_ms = NEVER;
    t->node_id = t->task->node;
    t->node.address = t->task->node_address;
    t->peer.address = t->task->peer_address;
    t->leave.ban_until_ms = NEVER;
    t->add.foreign_slot = SLOT_NONE;
    prng_init(&t->prng, seed);
    sm_init(&t->sm, runner_states, RUNNER_STATE_NR, RUNNER_LOOKING, now_ms);
    task_say(t, "begins");
    return t;
}

void node_task_free(struct node_task *t)
{
    if (t == NULL) {
        return;
    }
    task_end_release(&t->node);
    task_end_release(&t->peer);
    strbuf_release(&t->join.dump);
    free(t->members);
    free(t->requests);
    free(t);
}

/* ---- requests ---- */

struct command_list *task_ask(struct node_task *t,
                              struct agent_effects *fx,
                              const struct task_request *request,
                              const struct address *address,
                              int64_t timeout_ms)
{
    ARRAY_RESERVE(t->requests, t->request_count, t->request_capacity);
    struct task_request *kept = &t->requests[t->request_count++];
    *kept = *request;
    kept->req_id = request_ids_next(&t->ids);
    struct agent_effect *effect = agent_effects_add(fx, AGENT_FX_REDIS);
    effect->req_id = kept->req_id;
    effect->address = *address;
    effect->lane = LANE_CONTROL;
    effect->timeout_ms = timeout_ms;
    return &effect->commands;
}

struct command_list *task_act(struct node_task *t,
                              struct agent_effects *fx,
                              int index,
                              const struct address *address,
                              int64_t timeout_ms)
{
    if (t->sm.state != RUNNER_ACTING) {
        sm_move(&t->sm, RUNNER_ACTING, t->now_ms);
        t->wake_ms = t->now_ms; /* look at once when it is over, unless somebody says otherwise */
    }
    t->act_awaited++;
    struct task_request request = {.kind = TASK_REQUEST_ACT, .index = index};
    return task_ask(t, fx, &request, address, timeout_ms);
}

static bool take_request(struct node_task *t, uint64_t req_id, struct task_request *out)
{
    for (int i = 0; i < t->request_count; i++) {
        if (t->requests[i].req_id == req_id) {
            *out = t->requests[i];
            t->requests[i] = t->requests[--t->request_count];
            return true;
        }
    }
    return false;
}

static bool is_quiet(const struct node_task *t)
{
    for (int i = 0; i < t->request_count; i++) {
        if (!t->requests[i].is_harmless) {
            return false;
        }
    }
    return true;
}

const struct reply *task_first_error(const struct agent_event *ev)
{
    for (int i = 0; ev->replies != NULL && i < ev->replies->count; i++) {
        if (reply_is_error(&ev->replies->replies[i])) {
            return &ev->replies->replies[i];
        }
    }
    return NULL;
}

/* ---- words ---- */

void task_say(struct node_task *t, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    (void)vsnprintf(t->doing, sizeof(t->doing), format, args);
    va_end(args);
}

struct log_event *task_log(struct node_task *t,
                           struct agent_effects *fx,
                           enum log_level level,
                           const char *name)
{
    struct agent_effect *effect = agent_effects_add(fx, AGENT_FX_LOG);
    log_event_init(&effect->log, level, name);
    log_event_add(&effect->log, "op", t->order.id.operation_id);
    log_event_add_int(&effect->log, "batch", t->order.id.batch_index);
    log_event_add_int(&effect->log, "attempt", t->order.id.attempt);
    log_event_add_int(&effect->log, "fence", t->order.fence);
    log_event_add(&effect->log, "task", task_kind_name(t->task->kind));
    return &effect->log;
}

/* ---- what a round may end with ---- */

void task_rest_until(struct node_task *t, int64_t wake_ms)
{
    sm_move(&t->sm, RUNNER_RESTING, t->now_ms);
    t->wake_ms = wake_ms;
}

void task_rest(struct node_task *t)
{
    t->round++;
    t->retries++;
    task_rest_until(t, t->now_ms + prng_backoff_ms(&t->prng, t->round, REST_MS_BASE, REST_MS_CAP));
}

void task_rest_after(struct node_task *t)
{
    CHECK(t->sm.state == RUNNER_ACTING);
    t->round++;
    t->wake_ms = t->now_ms + prng_backoff_ms(&t->prng, t->round, REST_MS_BASE, REST_MS_CAP);
}

void task_progress(struct node_task *t)
{
    t->round = 0;
    t->progress_ms = t->now_ms;
    t->waiting_since_ms = NEVER;
}

void task_wait(struct node_task *t, int64_t limit_ms, const char *trouble, int code)
{
    if (t->waiting_since_ms == NEVER || t->waiting_for != trouble) {
        t->waiting_since_ms = t->now_ms;
        t->waiting_for = trouble;
    }
    t->has_waited = true;
    if (t->now_ms - t->waiting_since_ms < limit_ms) {
        task_rest(t);
        return;
    }
    char text[TEXT_SIZE];
    (void)snprintf(text, sizeof(text), "%s", t->doing);
    if (t->task->kind == TASK_JOIN && t->join.has_met && !t->join.is_undoing) {
        task_join_give_up(t, RUNNER_FAILED, code);
        return;
    }
    task_fail(t, code, "%s", text);
}

void task_done(struct node_task *t)
{
    sm_move(&t->sm, RUNNER_DONE, t->now_ms);
    t->code = 0;
    (void)snprintf(t->reason, sizeof(t->reason), "%s", t->doing);
}

void task_stopped(struct node_task *t, const char *reason)
{
    sm_move(&t->sm, RUNNER_STOPPED, t->now_ms);
    t->code = 0;
    (void)snprintf(t->reason, sizeof(t->reason), "%s", reason);
}

void task_fail(struct node_task *t, int code, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    (void)vsnprintf(t->reason, sizeof(t->reason), format, args);
    va_end(args);
    t->code = code;
    sm_move(&t->sm, RUNNER_FAILED, t->now_ms);
}

/* ---- the step ---- */

static void look_over(struct node_task *t, struct agent_effects *fx)
{
    if (t->is_stopping && t->rules->may_stop(t)) {
        task_stopped(t, "stopped on request");
    } else if (t->rules->judge(t, fx)) {
        sm_move(&t->sm, RUNNER_SURVEYING, t->now_ms);
        task_survey_begin(t);
    }
}

static void survey_over(struct node_task *t, struct agent_effects *fx)
{
    int before = t->sm.state;
    t->rules->decide(t, fx);
    if (t->sm.state == before) {
        task_rest(t);
    }
}

static void dispatch(struct node_task *t,
                     const struct task_request *request,
                     const struct agent_event *ev,
                     struct agent_effects *fx)
{
    enum runner_state state = (enum runner_state)t->sm.state;
    switch (request->kind) {
    case TASK_REQUEST_NODE:
    case TASK_REQUEST_PEER:
        if (state == RUNNER_LOOKING) {
            task_look_answer(t, request, ev);
        }
        break;
    case TASK_REQUEST_VIEW:
        if (state == RUNNER_SURVEYING) {
            task_survey_answer(t, request, ev);
        }
        break;
    case TASK_REQUEST_ACT:
        t->act_awaited--;
        if (state == RUNNER_ACTING && t->rules->hear_act != NULL) {
            t->rules->hear_act(t, request, ev, fx);
        }
        break;
    }
}

static void run_state(struct node_task *t, struct agent_effects *fx)
{
    switch ((enum runner_state)t->sm.state) {
    case RUNNER_LOOKING:
        if (!t->is_begun) {
            t->is_begun = true;
            task_look_begin(t, fx);
        }
        if (t->look_awaited == 0) {
            look_over(t, fx);
        }
        break;
    case RUNNER_SURVEYING:
        task_survey_run(t, fx);
        if (task_survey_is_over(t)) {
            survey_over(t, fx);
        }
        break;
    case RUNNER_ACTING:
        if (t->act_awaited == 0) {
            int64_t wake_ms = t->wake_ms;
            task_rest_until(t, wake_ms);
        }
        break;
    case RUNNER_RESTING:
        if (t->now_ms >= t->wake_ms || (t->is_stopping && t->rules->may_stop(t))) {
            sm_move(&t->sm, RUNNER_LOOKING, t->now_ms);
            t->wake_ms = NEVER;
            task_look_begin(t, fx);
        }
        break;
    case RUNNER_FREEZING:
        if (is_quiet(t)) {
            sm_move(&t->sm, RUNNER_EXPIRED, t->now_ms);
        }
        break;
    case RUNNER_DONE:
    case RUNNER_STOPPED:
    case RUNNER_FAILED:
    case RUNNER_EXPIRED:
    case RUNNER_STATE_NR:
        break;
    }
}

static void log_end(struct node_task *t, struct agent_effects *fx)
{
    bool is_good = t->sm.state == RUNNER_DONE || t->sm.state == RUNNER_STOPPED;
    struct log_event *log = task_log(t, fx, is_good ? LOG_INFO : LOG_WARN, "task.ended");
    log_event_add(log, "state", sm_name(&t->sm));
    log_event_add_int(log, "took_ms", t->now_ms - t->begun_ms);
    log_event_add(log, "code", err_word(t->code));
    log_event_add(log, "reason", t->reason);
}

void node_task_step(struct node_task *t, const struct agent_event *event, struct agent_effects *fx)
{
    if (event->now_ms > t->now_ms) {
        t->now_ms = event->now_ms;
    }
    if (sm_is_terminal(&t->sm)) {
        return;
    }
    if (event->kind == AGENT_REDIS) {
        struct task_request request;
        if (!take_request(t, event->req_id, &request)) {
            return;
        }
        dispatch(t, &request, event, fx);
    }
    if (sm_is_overdue(&t->sm, t->now_ms)) {
        sm_extend(&t->sm, t->now_ms); /* what it awaits has a timeout or a time of its own */
    }
    int state = RUNNER_STATE_NR;
    while (t->sm.state != state) { /* a new state may have something to do at once */
        state = t->sm.state;
        run_state(t, fx);
    }
    if (sm_is_terminal(&t->sm)) {
        t->request_count = 0;
        log_end(t, fx);
    }
}

int64_t node_task_deadline(const struct node_task *t)
{
    if (sm_is_terminal(&t->sm)) {
        return NEVER;
    }
    if (!t->is_begun) {
        return t->now_ms;
    }
    if (t->sm.state != RUNNER_RESTING) {
        return t->sm.deadline_ms;
    }
    bool is_called = t->is_stopping && t->rules->may_stop(t);
    return is_called ? t->now_ms : deadline_min(t->sm.deadline_ms, t->wake_ms);
}

void node_task_stop(struct node_task *t)
{
    t->is_stopping = true;
    if (t->sm.state == RUNNER_RESTING) {
        t->wake_ms = t->now_ms; /* it may have something to finish before its time */
    }
}

void node_task_freeze(struct node_task *t, int code, const char *reason)
{
    if (sm_is_terminal(&t->sm) || t->sm.state == RUNNER_FREEZING) {
        return;
    }
    t->code = code;
    (void)snprintf(t->reason, sizeof(t->reason), "%s", reason);
    t->is_begun = true;
    sm_move(&t->sm, RUNNER_FREEZING, t->now_ms);
    if (is_quiet(t)) {
        sm_move(&t->sm, RUNNER_EXPIRED, t->now_ms);
        t->request_count = 0;
    }
}

bool node_task_is_over(const struct node_task *t)
{
    return sm_is_terminal(&t->sm);
}

const char *node_task_state_name(const struct node_task *t)
{
    return sm_name(&t->sm);
}

static enum order_state order_state_of(const struct node_task *t)
{
    switch ((enum runner_state)t->sm.state) {
    case RUNNER_DONE:
        return ORDER_DONE;
    case RUNNER_STOPPED:
        return ORDER_STOPPED;
    case RUNNER_FAILED:
        return ORDER_FAILED;
    case RUNNER_EXPIRED:
        return ORDER_EXPIRED;
    case RUNNER_LOOKING:
    case RUNNER_SURVEYING:
    case RUNNER_ACTING:
    case RUNNER_RESTING:
    case RUNNER_FREEZING:
    case RUNNER_STATE_NR:
        break;
    }
    return ORDER_RUNNING;
}

void node_task_status(const struct node_task *t, struct order_status *status)
{
    *status = (struct order_status){
        .id = t->order.id,
        .state = order_state_of(t),
        .call_us_p50 = -1,
        .call_us_max = -1,
        .retries = t->retries,
        .is_replica_synced = true,
    };
    bool is_over = sm_is_terminal(&t->sm);
    status->reason_code = is_over ? t->code : 0;
    (void)snprintf(status->reason, sizeof(status->reason), "%s", is_over ? t->reason : t->doing);
}
