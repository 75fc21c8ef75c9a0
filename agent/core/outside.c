/* outside.c — see outside.h. */
#include "agent/core/outside.h"

#include "agent/core/outside_parts.h"
#include "common/base/alloc.h"
#include "common/base/check.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ASK_TIMEOUT_MS 2000 /* of the node */
#define ASKING_MS 30000
#define WEBHOOK_TIMEOUT_MS 30000
#define HAPROXY_TIMEOUT_MS 5000
#define EXEC_SPARE_MS 1000 /* our own limit comes first, and says what it was for */
#define UP_MS_MIN 60000    /* for clients to be let in again, however short the drain's limit is */

/* Calling, watching and undoing get their deadline from the settings, see outside_enter(). */
/* clang-format off */
static const struct sm_state errand_states[ERRAND_STATE_NR] = {
    /*                    name        may go to                                                        deadline   meaning */
    [ERRAND_ASKING]   = {"asking",   SM_TO(ERRAND_CALLING) | SM_TO(ERRAND_ENDED),                      ASKING_MS, "asks the server whether it is empty and alone"},
    [ERRAND_CALLING]  = {"calling",  SM_TO(ERRAND_WATCHING) | SM_TO(ERRAND_UNDOING)
                                     | SM_TO(ERRAND_ENDED),                                            NEVER,     "calls whoever does it"},
    [ERRAND_WATCHING] = {"watching", SM_TO(ERRAND_ENDED),                                              NEVER,     "waits until the node's clients are gone"},
    [ERRAND_UNDOING]  = {"undoing",  SM_TO(ERRAND_ENDED),                                              NEVER,     "gives back what was asked for"},
    [ERRAND_ENDED]    = {"ended",    0,                                                                NEVER,     "done, stopped or given up"},
};
/* clang-format on */

/* As people know it: a program's name, a URL without what may be a secret. */
const char *outside_name(const struct outside_target *target, char *text, size_t size)
{
    const char *slash = strrchr(target->place, '/');
    switch (target->way) {
    case OUTSIDE_EXEC:
        (void)snprintf(text, size, "%.60s", slash == NULL ? target->place : slash + 1);
        break;
    case OUTSIDE_WEBHOOK:
        (void)snprintf(text, size, "%.*s", (int)strcspn(target->place, "?#"), target->place);
        break;
    case OUTSIDE_HAPROXY:
        (void)snprintf(text, size, "HAProxy %.80s", target->place);
        break;
    }
    return text;
}

/* ---- life ---- */

void outside_enter(struct outside *x, enum errand_state state, int64_t now_ms, int64_t limit_ms)
{
    sm_move(&x->sm, (int)state, now_ms);
    x->sm.deadline_ms = deadline_after(now_ms, limit_ms);
}

static void add_errand(struct outside *x, const struct outside_target *target, int64_t now_ms)
{
    CHECK(x->errand_count < OUTSIDE_HOOKS_MAX);
    x->errands[x->errand_count++] = (struct errand){.target = target, .wake_ms = now_ms};
}

int64_t outside_limit(const struct outside *x)
{
    if (outside_task_of(x)->kind != TASK_TRAFFIC) {
        return x->settings->provision_timeout_ms;
    }
    int64_t limit_ms = x->settings->drain_limit_ms;
    return outside_is_up(x) && limit_ms < UP_MS_MIN ? UP_MS_MIN : limit_ms;
}

/* An earlier attempt, or the batch that this one asks for again, may have made it. */
static bool is_asked_before(const struct outside *x)
{
    char own[OUTSIDE_ID_SIZE];
    (void)snprintf(own, sizeof(own), "%s-%d", x->order.id.operation_id, x->order.id.batch_index);
    return x->order.id.attempt > 1 || strcmp(own, x->task.request_id) != 0;
}

struct outside *outside_new(const struct order *order,
                            const struct outside_settings *settings,
                            uint32_t serial,
                            uint64_t seed,
                            int64_t now_ms)
{
    enum task_kind kind = order->task.kind;
    CHECK(kind == TASK_PROVISION || kind == TASK_RELEASE || kind == TASK_TRAFFIC);
    struct outside *x = xcalloc(1, sizeof(*x));
    x->order = *order;
    x->settings = settings;
    x->ids.serial = serial;
    x->begun_ms = now_ms;
    x->node_wake_ms = now_ms;
    prng_init(&x->prng, seed);
    /* A failure stays in task_err and ends the task at its first step. */
    (void)!outside_task_read(&x->task, &x->order.task, settings, &x->task_err);
    bool asks = kind == TASK_RELEASE;
    sm_init(&x->sm, errand_states, ERRAND_STATE_NR, asks ? ERRAND_ASKING : ERRAND_CALLING, now_ms);
    if (!asks) {
        x->sm.deadline_ms = deadline_after(now_ms, outside_limit(x));
    }
    if (kind != TASK_TRAFFIC) {
        add_errand(x, &settings->provisioner, now_ms);
    }
    x->has_begun = kind == TASK_PROVISION && is_asked_before(x);
    for (int i = 0; kind == TASK_TRAFFIC && i < settings->hook_count; i++) {
        add_errand(x, &settings->hooks[i], now_ms);
    }
    return x;
}

void outside_free(struct outside *x)
{
    free(x);
}

void outside_end(struct outside *x, int code, const char *reason)
{
    bool has_ended = x->sm.state == ERRAND_ENDED || x->is_ending;
    if (has_ended || (code == 0 && x->sm.state == ERRAND_UNDOING)) {
        return;
    }
    x->is_ending = true;
    x->end_code = code;
    (void)snprintf(x->end_reason, sizeof(x->end_reason), "%s", reason);
}

/* ---- ending ---- */

struct log_event *outside_log(const struct outside *x,
                              enum log_level level,
                              const char *name,
                              struct agent_effects *fx)
{
    struct agent_effect *effect = agent_effects_add(fx, AGENT_FX_LOG);
    log_event_init(&effect->log, level, name);
    log_event_add(&effect->log, "op", x->order.id.operation_id);
    log_event_add_int(&effect->log, "batch", x->order.id.batch_index);
    log_event_add_int(&effect->log, "attempt", x->order.id.attempt);
    log_event_add_int(&effect->log, "fence", x->order.fence);
    log_event_add(&effect->log, "task", task_kind_name(outside_task_of(x)->kind));
    return &effect->log;
}

static void cancel_calls(struct outside *x, struct agent_effects *fx)
{
    for (int i = 0; i < x->errand_count; i++) {
        if (x->errands[i].req_id != 0) {
            struct agent_effect *effect = agent_effects_add(fx, AGENT_FX_HOST);
            effect->req_id = x->errands[i].req_id;
            effect->host.verb = HOST_OUTSIDE_CANCEL;
            x->errands[i].req_id = 0;
        }
    }
}

void outside_finish(struct outside *x,
                    enum order_state result,
                    int code,
                    const char *reason,
                    struct agent_effects *fx)
{
    cancel_calls(x, fx);
    sm_move(&x->sm, ERRAND_ENDED, x->sm.since_ms);
    x->result = result;
    x->reason_code = code;
    (void)snprintf(x->reason, sizeof(x->reason), "%s", reason);
    bool is_good = result == ORDER_DONE || result == ORDER_STOPPED;
    struct log_event *log = outside_log(x, is_good ? LOG_INFO : LOG_WARN, "outside.ended", fx);
    log_event_add(log, "state", order_state_name(result));
    log_event_add(log, "code", err_word(code));
    log_event_add(log, "reason", reason);
}

/* What a PROVISION has begun and nobody will use is given back under the id it was asked for. */
static void undo(struct outside *x,
                 enum order_state result,
                 int code,
                 const char *reason,
                 int64_t now_ms,
                 struct agent_effects *fx)
{
    cancel_calls(x, fx);
    x->undo_result = result;
    x->undo_code = code;
    (void)snprintf(x->undo_reason, sizeof(x->undo_reason), "%s", reason);
    x->errand_count = 0;
    add_errand(x, &x->settings->provisioner, now_ms);
    outside_enter(x, ERRAND_UNDOING, now_ms, x->settings->provision_timeout_ms);
    log_event_add(outside_log(x, LOG_WARN, "outside.undoing", fx), "reason", reason);
}

static void end_undo(struct outside *x, const char *trouble, struct agent_effects *fx)
{
    char reason[TEXT_SIZE];
    if (trouble[0] == '\0') {
        outside_finish(x, x->undo_result, x->undo_code, x->undo_reason, fx);
        return;
    }
    /* The coordinator takes this code for "something may be left" (lifecycle_request.c). */
    (void)snprintf(reason, sizeof(reason), "%.40s; giving request %.40s back failed: %.50s",
                   x->undo_reason, x->task.request_id, trouble);
    outside_finish(x, ORDER_FAILED, ERR_CONFLICT, reason, fx);
}

void outside_give_up(struct outside *x,
                     int code,
                     const char *reason,
                     int64_t now_ms,
                     struct agent_effects *fx)
{
    if (x->sm.state == ERRAND_UNDOING) {
        end_undo(x, reason, fx);
    } else if (x->has_begun && outside_task_of(x)->kind == TASK_PROVISION) {
        undo(x, ORDER_FAILED, code, reason, now_ms, fx);
    } else {
        outside_finish(x, ORDER_FAILED, code, reason, fx);
    }
}

static void end_as_asked(struct outside *x, int64_t now_ms, struct agent_effects *fx)
{
    x->is_ending = false;
    bool is_calling = x->sm.state == ERRAND_CALLING && x->errands[0].req_id != 0;
    bool has_begun = outside_task_of(x)->kind == TASK_PROVISION && (x->has_begun || is_calling);
    if (x->end_code != 0) {
        outside_finish(x, ORDER_EXPIRED, x->end_code, x->end_reason, fx);
    } else if (has_begun) {
        undo(x, ORDER_STOPPED, 0, x->end_reason, now_ms, fx);
    } else {
        outside_finish(x, ORDER_STOPPED, 0, x->end_reason, fx);
    }
}

/* ---- calls ---- */

enum outside_action outside_action_now(const struct outside *x)
{
    if (x->sm.state == ERRAND_UNDOING || outside_task_of(x)->kind == TASK_RELEASE) {
        return OUTSIDE_RELEASE;
    }
    if (outside_task_of(x)->kind == TASK_PROVISION) {
        return OUTSIDE_PROVISION;
    }
    return outside_is_up(x) ? OUTSIDE_UNDRAIN : OUTSIDE_DRAIN;
}

static int64_t timeout_of(const struct outside *x, const struct errand *errand, int64_t now_ms)
{
    switch (errand->target->way) {
    case OUTSIDE_EXEC:
        return x->sm.deadline_ms - now_ms + EXEC_SPARE_MS;
    case OUTSIDE_WEBHOOK:
        return WEBHOOK_TIMEOUT_MS;
    case OUTSIDE_HAPROXY:
        break;
    }
    return HAPROXY_TIMEOUT_MS;
}

static void call(struct outside *x, struct errand *errand, int64_t now_ms, struct agent_effects *fx)
{
    const struct task *task = outside_task_of(x);
    struct outside_call *out = xcalloc(1, sizeof(*out));
    *out = (struct outside_call){
        .target = *errand->target,
        .action = errand->is_polled ? OUTSIDE_STATUS : outside_action_now(x),
        .status_of = outside_action_now(x),
        .maxmemory_bytes = x->task.maxmemory_bytes,
        .timeout_ms = timeout_of(x, errand, now_ms),
    };
    memcpy(out->cluster, x->settings->cluster, sizeof(out->cluster));
    memcpy(out->role, x->task.role, sizeof(out->role));
    memcpy(out->zone, x->task.zone, sizeof(out->zone));
    if (task->kind == TASK_PROVISION) {
        memcpy(out->request_id, x->task.request_id, sizeof(out->request_id));
    } else {
        (void)snprintf(out->request_id, sizeof(out->request_id), "%s-%d", x->order.id.operation_id,
                       x->order.id.batch_index);
        out->address = task->node_address;
        out->node = task->kind == TASK_RELEASE ? x->task.proof.node : task->node;
    }
    struct agent_effect *effect = agent_effects_add(fx, AGENT_FX_HOST);
    errand->req_id = request_ids_next(&x->ids);
    effect->req_id = errand->req_id;
    effect->host.verb = HOST_OUTSIDE_START;
    effect->host.address = out->address;
    effect->host.outside = out;
}

static void ask_node(struct outside *x, struct agent_effects *fx)
{
    struct agent_effect *effect = agent_effects_add(fx, AGENT_FX_REDIS);
    x->node_req = request_ids_next(&x->ids);
    effect->req_id = x->node_req;
    effect->address = outside_task_of(x)->node_address;
    effect->lane = LANE_CONTROL;
    effect->timeout_ms = ASK_TIMEOUT_MS;
    if (x->sm.state == ERRAND_ASKING) {
        outside_node_ask_empty(&effect->commands);
    } else {
        bool is_short = x->load.clients > 0 && x->load.clients <= CLIENTS_LISTED_MAX;
        outside_node_ask_load(&effect->commands, is_short);
    }
}

static void act(struct outside *x, int64_t now_ms, struct agent_effects *fx)
{
    bool calls = x->sm.state == ERRAND_CALLING || x->sm.state == ERRAND_UNDOING;
    for (int i = 0; calls && i < x->errand_count; i++) {
        struct errand *errand = &x->errands[i];
        if (!errand->is_over && errand->req_id == 0 && now_ms >= errand->wake_ms) {
            call(x, errand, now_ms, fx);
        }
    }
    bool asks = x->sm.state == ERRAND_ASKING || x->sm.state == ERRAND_WATCHING;
    if (asks && x->node_req == 0 && now_ms >= x->node_wake_ms) {
        ask_node(x, fx);
    }
}

/* ---- when all calls are over ---- */

void outside_go_on(struct outside *x, int64_t now_ms, struct agent_effects *fx)
{
    for (int i = 0; i < x->errand_count; i++) {
        if (!x->errands[i].is_over) {
            return;
        }
    }
    if (x->sm.state == ERRAND_UNDOING) {
        end_undo(x, "", fx);
    } else if (outside_task_of(x)->kind == TASK_RELEASE) {
        outside_finish(x, ORDER_DONE, 0, x->errands[0].said, fx);
    } else if (outside_is_up(x)) {
        outside_finish(x, ORDER_DONE, 0, "the hooks let clients in", fx);
    } else {
        int64_t left_ms = x->sm.deadline_ms - now_ms;
        outside_enter(x, ERRAND_WATCHING, now_ms, left_ms);
        x->node_wake_ms = now_ms;
    }
}

/* ---- the step ---- */

static void hear(struct outside *x, const struct agent_event *event, struct agent_effects *fx)
{
    if (event->kind == AGENT_HOST) {
        outside_hear_host(x, event, fx);
    } else if (event->kind == AGENT_REDIS && x->node_req != 0 && event->req_id == x->node_req) {
        outside_hear_node(x, event, fx);
    }
}

void outside_step(struct outside *x, const struct agent_event *event, struct agent_effects *fx)
{
    if (x->sm.state == ERRAND_ENDED) {
        return;
    }
    if (x->is_ending) {
        end_as_asked(x, event->now_ms, fx);
    } else if (x->task_err.code != 0) {
        outside_finish(x, ORDER_FAILED, x->task_err.code, x->task_err.text, fx);
    } else {
        hear(x, event, fx);
    }
    if (x->sm.state != ERRAND_ENDED && sm_is_overdue(&x->sm, event->now_ms)) {
        outside_hear_overdue(x, event->now_ms, fx);
    }
    if (x->sm.state != ERRAND_ENDED) {
        act(x, event->now_ms, fx);
    }
}

int64_t outside_deadline(const struct outside *x)
{
    if (x->sm.state == ERRAND_ENDED) {
        return NEVER;
    }
    if (x->is_ending || x->task_err.code != 0) {
        return x->sm.since_ms;
    }
    int64_t deadline_ms = x->sm.deadline_ms;
    bool asks = x->sm.state == ERRAND_ASKING || x->sm.state == ERRAND_WATCHING;
    if (asks) {
        return x->node_req != 0 ? deadline_ms : deadline_min(deadline_ms, x->node_wake_ms);
    }
    for (int i = 0; i < x->errand_count; i++) {
        const struct errand *errand = &x->errands[i];
        if (!errand->is_over && errand->req_id == 0) {
            deadline_ms = deadline_min(deadline_ms, errand->wake_ms);
        }
    }
    return deadline_ms;
}

bool outside_is_over(const struct outside *x)
{
    return x->sm.state == ERRAND_ENDED;
}

/* Who is waited for: whoever fails, else the first. */
static const struct errand *awaited(const struct outside *x)
{
    const struct errand *first = NULL;
    for (int i = 0; i < x->errand_count; i++) {
        const struct errand *errand = &x->errands[i];
        if (!errand->is_over && (first == NULL || (first->failures == 0 && errand->failures > 0))) {
            first = errand;
        }
    }
    return first;
}

/* What it waits for, in words. */
static void describe(const struct outside *x, char *text, size_t size)
{
    char name[TEXT_SIZE];
    const struct errand *errand = awaited(x);
    if (x->sm.state == ERRAND_WATCHING) {
        outside_say_load(x, text, size);
    } else if (x->sm.state == ERRAND_ASKING || errand == NULL) {
        (void)snprintf(text, size, "%s", errand_states[x->sm.state].meaning);
    } else {
        (void)snprintf(text, size, "%s %.70s%s%.60s",
                       x->sm.state == ERRAND_UNDOING ? "gives it back to" : "waits for",
                       outside_name(errand->target, name, sizeof(name)),
                       errand->said[0] != '\0' ? ": " : "", errand->said);
    }
}

void outside_status(const struct outside *x, struct order_status *status)
{
    *status = (struct order_status){
        .id = x->order.id,
        .state = outside_is_over(x) ? x->result : ORDER_RUNNING,
        .call_us_p50 = -1,
        .call_us_max = -1,
        .is_replica_synced = true,
        .retries = x->retries,
        .reason_code = x->reason_code,
        .made = x->made,
    };
    if (outside_is_over(x)) {
        memcpy(status->reason, x->reason, sizeof(status->reason));
    } else {
        describe(x, status->reason, sizeof(status->reason));
    }
}
