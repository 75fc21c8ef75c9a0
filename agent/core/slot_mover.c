/* slot_mover.c — the machine of a slot move: its states, its requests, what it does about failures,
 * how it ends.
 *
 *   surveying -> counting -> moving -> settling (-> unmarking) -> done | stopped | held
 *       ^  \________            |
 *       |           \           | any failure
 *    waiting <-------\----------+
 *       ^             \-> tracing -> repairing -> failed       (the source failed over)
 *       +-- tracing, while nobody knows a successor
 *   any live state -> closing -> failed | held                 (it cannot go on)
 *   any live state -> freezing -> expired                      (not renewed, or an older fence)
 *
 * Invariant: at most one MIGRATE is on its way, and no burst is alive outside MOVING. The way out
 * of every failure is the same: let go of all bursts, wait for the commands on their way, survey.
 * So a restart needs no memory. */
#include "agent/core/mover.h"

#include "common/base/alloc.h"
#include "common/base/check.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FAILURES_MAX 10          /* in a row, without a key moved or a burst committed in between */
#define MEMORY_FAILURES_MAX 5    /* a full target rarely gets room by itself */
#define OWNERSHIP_FAILURES_MAX 6 /* views that only lag meet within a second or two */
#define LOST_MS_MAX \
    90000 /* a failover takes a node timeout and an election; then somebody must look */
#define UNCLEAR_MS_MAX \
    60000 /* gossip reaches everybody within half a node timeout, by default 7.5 s */
#define AWAIT_MS_MIN 50
#define AWAIT_MS_MAX 1000
#define BACKOFF_MS_BASE 50
#define BACKOFF_MS_CAP 3000
#define BACKOFF_MS_CAP_LOST \
    400 /* a source that failed over takes the target down with it: be there within 2 s */
#define MEMORY_BACKOFF_MS_BASE 1000
#define MEMORY_BACKOFF_MS_CAP 10000

#define ENDING (SM_TO(MOVER_CLOSING) | SM_TO(MOVER_FREEZING))

/* clang-format off */
static const struct sm_state mover_states[MOVER_STATE_NR] = {
    /*                   name         may go to                                       deadline  meaning */
    [MOVER_SURVEYING] = {"surveying", SM_TO(MOVER_COUNTING) | SM_TO(MOVER_WAITING) | SM_TO(MOVER_TRACING) |
                                      SM_TO(MOVER_REPAIRING) | SM_TO(MOVER_SETTLING) | ENDING,
                                                                                        30000,  "asks both nodes how every slot stands"},
    [MOVER_COUNTING]  = {"counting",  SM_TO(MOVER_MOVING) | SM_TO(MOVER_WAITING) | ENDING,
                                                                                        30000,  "counts the keys of every slot"},
    [MOVER_MOVING]    = {"moving",    SM_TO(MOVER_SETTLING) | SM_TO(MOVER_WAITING) | ENDING,
                                                                                       180000,  "slots on their way; deadline per progress"},
    [MOVER_WAITING]   = {"waiting",   SM_TO(MOVER_SURVEYING) | ENDING,                 180000,  "something failed; looks again soon"},
    [MOVER_TRACING]   = {"tracing",   SM_TO(MOVER_REPAIRING) | SM_TO(MOVER_WAITING) | ENDING,
                                                                                        30000,  "the source is gone: asks who owns its slots"},
    [MOVER_REPAIRING] = {"repairing", SM_TO(MOVER_WAITING) | ENDING,                    30000,  "tells the target of the source's successor"},
    [MOVER_SETTLING]  = {"settling",  SM_TO(MOVER_UNMARKING) | SM_TO(MOVER_DONE) | SM_TO(MOVER_STOPPED) | SM_TO(MOVER_WAITING) | ENDING,
                                                                                        30000,  "checks the view of every primary"},
    [MOVER_UNMARKING] = {"unmarking", SM_TO(MOVER_DONE) | SM_TO(MOVER_STOPPED) | SM_TO(MOVER_WAITING) | ENDING,
                                                                                        60000,  "takes marks away that replicas have left"},
    [MOVER_CLOSING]   = {"closing",   SM_TO(MOVER_FAILED) | SM_TO(MOVER_HELD) | SM_TO(MOVER_FREEZING),
                                                                                        60000,  "cannot go on: closes slots of which no key moved"},
    [MOVER_FREEZING]  = {"freezing",  SM_TO(MOVER_EXPIRED),                             60000,  "no further command; awaits the running one"},
    [MOVER_DONE]      = {"done",      0,                                                NEVER,  "the target owns every slot in every view"},
    [MOVER_STOPPED]   = {"stopped",   0,                                                NEVER,  "asked to stop; slots in hand are finished"},
    [MOVER_FAILED]    = {"failed",    0,                                                NEVER,  "gave up; the reason says why"},
    [MOVER_HELD]      = {"held",      0,                                                NEVER,  "a person must decide; the reason says what"},
    [MOVER_EXPIRED]   = {"expired",   0,                                                NEVER,  "not renewed in time; anybody may go on"},
};
/* clang-format on */

struct slot_mover *slot_mover_new(const struct order *order,
                                  const struct mover_login *login,
                                  uint32_t serial,
                                  uint64_t seed,
                                  int64_t now_ms)
{
    CHECK(serial >= 1);
    struct slot_mover *m = xcalloc(1, sizeof(*m));
    m->order = *order;
    m->login = *login;
    m->own_ids.serial = serial;
    m->ids = &m->own_ids;
    m->now_ms = now_ms;
    m->wake_ms = NEVER;
    m->lost_since_ms = NEVER;
    m->unclear_since_ms = NEVER;
    m->resting_since_ms = NEVER;
    m->is_replica_synced = true;
    m->source.node = (struct mover_node){.id = order->source, .address = order->source_address};
    m->target.node = (struct mover_node){.id = order->target, .address = order->target_address};
    prng_init(&m->prng, seed);
    governor_init(&m->governor, order->speed);
    sm_init(&m->sm, mover_states, MOVER_STATE_NR, MOVER_SURVEYING, now_ms);
    mover_bursts_drop(m);
    mover_say(m, "begins");
    return m;
}

void slot_mover_free(struct slot_mover *m)
{
    if (m == NULL) {
        return;
    }
    mover_survey_release(m);
    for (int i = 0; i < BURSTS_MAX; i++) {
        for (int k = 0; k < BURST_SLOTS_MAX; k++) {
            strbuf_release(&m->bursts[i].slots[k].listing.bytes);
            free(m->bursts[i].slots[k].listing.keys);
        }
    }
    strbuf_release(&m->compare_values);
    free(m->requests);
    free(m->peers);
    free(m->witnesses);
    free(m);
}

void slot_mover_share_ids(struct slot_mover *m, struct request_ids *ids)
{
    CHECK(!m->is_begun);
    m->ids = ids;
}

void slot_mover_know_owned(struct slot_mover *m, const struct owned_watch *owned)
{
    CHECK(!m->is_begun);
    m->owned = *owned;
}

/* ---- requests ---- */

struct command_list *mover_ask(struct slot_mover *m,
                               struct agent_effects *fx,
                               const struct mover_request *request,
                               const struct mover_where *where,
                               uint64_t *req_id)
{
    ARRAY_RESERVE(m->requests, m->request_count, m->request_capacity);
    struct mover_request *kept = &m->requests[m->request_count++];
    *kept = *request;
    kept->req_id = request_ids_next(m->ids);
    if (req_id != NULL) {
        *req_id = kept->req_id;
    }
    struct agent_effect *effect = agent_effects_add(fx, AGENT_FX_REDIS);
    effect->req_id = kept->req_id;
    effect->address = *where->address;
    effect->lane = where->lane;
    effect->connection_id = where->connection_id;
    effect->timeout_ms = where->timeout_ms;
    return &effect->commands;
}

struct command_list *mover_ask_source(struct slot_mover *m,
                                      struct agent_effects *fx,
                                      const struct mover_request *request)
{
    struct mover_where where = {.address = &m->source.node.address,
                                .lane = LANE_CONTROL,
                                .connection_id = m->source.control_connection,
                                .timeout_ms = MOVER_ASK_TIMEOUT_MS};
    return mover_ask(m, fx, request, &where, NULL);
}

struct command_list *mover_ask_target(struct slot_mover *m,
                                      struct agent_effects *fx,
                                      const struct mover_request *request)
{
    struct mover_where where = {.address = &m->target.node.address,
                                .lane = LANE_CONTROL,
                                .connection_id = m->target.control_connection,
                                .timeout_ms = MOVER_ASK_TIMEOUT_MS};
    return mover_ask(m, fx, request, &where, NULL);
}

static bool take_request(struct slot_mover *m, uint64_t req_id, struct mover_request *out)
{
    for (int i = 0; i < m->request_count; i++) {
        if (m->requests[i].req_id == req_id) {
            *out = m->requests[i];
            m->requests[i] = m->requests[--m->request_count];
            return true;
        }
    }
    return false;
}

const struct reply *mover_first_error(const struct reply_list *replies)
{
    for (int i = 0; i < replies->count; i++) {
        if (reply_is_error(&replies->replies[i])) {
            return &replies->replies[i];
        }
    }
    return NULL;
}

/* ---- words ---- */

void mover_say(struct slot_mover *m, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    (void)vsnprintf(m->doing, sizeof(m->doing), format, args);
    va_end(args);
}

struct log_event *mover_log(struct slot_mover *m,
                            struct agent_effects *fx,
                            enum log_level level,
                            const char *name)
{
    struct agent_effect *effect = agent_effects_add(fx, AGENT_FX_LOG);
    log_event_init(&effect->log, level, name);
    log_event_add(&effect->log, "op", m->order.id.operation_id);
    log_event_add_int(&effect->log, "batch", m->order.id.batch_index);
    log_event_add_int(&effect->log, "attempt", m->order.id.attempt);
    log_event_add_int(&effect->log, "fence", m->order.fence);
    return &effect->log;
}

/* ---- trouble ---- */

void mover_progress(struct slot_mover *m)
{
    m->failures = 0;
    sm_extend(&m->sm, m->now_ms);
}

static bool is_ending(const struct slot_mover *m)
{
    return m->sm.state == MOVER_CLOSING || m->sm.state == MOVER_FREEZING || sm_is_terminal(&m->sm);
}

static int fault_code(enum redis_fault fault)
{
    switch (fault) {
    case FAULT_AUTH:
        return ERR_AUTH;
    case FAULT_OWNERSHIP:
        return ERR_CONFLICT;
    case FAULT_MEMORY:
        return ERR_LIMIT;
    case FAULT_WAIT:
    case FAULT_IO:
        return ERR_UNAVAILABLE;
    case FAULT_NONE:
    case FAULT_KEY_EXISTS:
    case FAULT_OTHER:
        return ERR_REFUSED;
    }
    return ERR_REFUSED;
}

/* True when there is no point in another try. */
static bool is_hopeless(const struct slot_mover *m, enum redis_fault fault)
{
    if (fault == FAULT_AUTH) {
        return true;
    }
    if (m->lost_since_ms != NEVER) {
        return m->now_ms - m->lost_since_ms >= LOST_MS_MAX;
    }
    if (fault == FAULT_MEMORY) {
        return m->failures >= MEMORY_FAILURES_MAX;
    }
    return m->failures >= (fault == FAULT_OWNERSHIP ? OWNERSHIP_FAILURES_MAX : FAILURES_MAX);
}

static void let_go(struct slot_mover *m, int64_t delay_ms)
{
    mover_bursts_drop(m);
    mover_survey_release(m);
    sm_move(&m->sm, MOVER_WAITING, m->now_ms);
    m->wake_ms = m->now_ms + delay_ms;
}

void mover_await(struct slot_mover *m, struct agent_effects *fx, const char *what)
{
    if (m->unclear_since_ms == NEVER) {
        m->unclear_since_ms = m->now_ms;
        log_event_add(mover_log(m, fx, LOG_INFO, "move.awaiting"), "reason", what);
    }
    int64_t lasted_ms = m->now_ms - m->unclear_since_ms;
    if (lasted_ms >= UNCLEAR_MS_MAX) {
        mover_end(m, fx, MOVER_FAILED, ERR_CONFLICT, what);
        return;
    }
    int64_t delay_ms = lasted_ms < AWAIT_MS_MIN ? AWAIT_MS_MIN : lasted_ms;
    let_go(m, delay_ms < AWAIT_MS_MAX ? delay_ms : AWAIT_MS_MAX);
    mover_say(m, "waits: %s", what);
}

void mover_rest(struct slot_mover *m, struct agent_effects *fx, int64_t until_ms, const char *what)
{
    if (m->resting_since_ms == NEVER) {
        m->resting_since_ms = m->now_ms;
    }
    if (m->now_ms - m->resting_since_ms >= UNCLEAR_MS_MAX) {
        mover_end(m, fx, MOVER_FAILED, ERR_CONFLICT, what);
        return;
    }
    struct log_event *log = mover_log(m, fx, LOG_INFO, "move.resting");
    log_event_add_int(log, "delay_ms", until_ms - m->now_ms);
    log_event_add(log, "reason", what);
    let_go(m, until_ms - m->now_ms);
    mover_say(m, "waits: %s", what);
}

void mover_retry(struct slot_mover *m,
                 struct agent_effects *fx,
                 enum redis_fault fault,
                 const char *what)
{
    if (is_ending(m) || m->sm.state == MOVER_WAITING) {
        return;
    }
    m->failures++;
    m->retries++;
    if (is_hopeless(m, fault)) {
        mover_end(m, fx, MOVER_FAILED, fault_code(fault), what);
        return;
    }
    int64_t delay_ms = 0;
    if (fault == FAULT_MEMORY) {
        delay_ms =
            prng_backoff_ms(&m->prng, m->failures, MEMORY_BACKOFF_MS_BASE, MEMORY_BACKOFF_MS_CAP);
    } else {
        int64_t cap_ms = m->lost_since_ms != NEVER ? BACKOFF_MS_CAP_LOST : BACKOFF_MS_CAP;
        delay_ms = prng_backoff_ms(&m->prng, m->failures, BACKOFF_MS_BASE, cap_ms);
    }
    let_go(m, delay_ms);
    mover_say(m, "tries again: %s", what);
    struct log_event *log = mover_log(m, fx, LOG_WARN, "move.retry");
    log_event_add_int(log, "failures", m->failures);
    log_event_add_int(log, "delay_ms", delay_ms);
    log_event_add(log, "fault", redis_fault_name(fault));
    log_event_add(log, "reason", what);
}

static enum redis_fault fault_of_code(int code)
{
    return code == ERR_AUTH ? FAULT_AUTH : FAULT_IO;
}

void mover_retry_reply(struct slot_mover *m,
                       struct agent_effects *fx,
                       const struct agent_event *ev,
                       const struct reply *reply,
                       const char *what)
{
    char text[TEXT_SIZE];
    if (reply != NULL) {
        (void)snprintf(text, sizeof(text), "%s: %.100s", what, reply->text);
        mover_retry(m, fx, redis_fault_of(reply), text);
        return;
    }
    const char *detail =
        ev->err != NULL && ev->err->text[0] != '\0' ? ev->err->text : err_word(ev->code);
    (void)snprintf(text, sizeof(text), "%s: %.100s", what, detail);
    mover_retry(m, fx, fault_of_code(ev->code), text);
}

void mover_end(struct slot_mover *m,
               struct agent_effects *fx,
               enum mover_state state,
               int code,
               const char *reason)
{
    if (is_ending(m)) {
        return;
    }
    m->verdict = (struct mover_verdict){.state = state, .code = code};
    (void)snprintf(m->verdict.reason, sizeof(m->verdict.reason), "%s", reason);
    mover_bursts_drop(m);
    mover_survey_release(m);
    sm_move(&m->sm, MOVER_CLOSING, m->now_ms);
    m->wake_ms = NEVER;
    struct log_event *log = mover_log(m, fx, LOG_WARN, "move.closing");
    log_event_add(log, "code", err_word(code));
    log_event_add(log, "reason", reason);
}

void mover_hold_slot(struct slot_mover *m,
                     struct agent_effects *fx,
                     int slot,
                     int code,
                     const char *reason)
{
    slotset_add(&m->held, slot);
    m->flags[slot] |= SLOT_HELD;
    if (m->held_code == 0) {
        m->held_code = code;
        (void)snprintf(m->held_reason, sizeof(m->held_reason), "slot %d: %s", slot, reason);
    }
    struct log_event *log = mover_log(m, fx, LOG_ERROR, "move.slot_held");
    log_event_add_int(log, "slot", slot);
    log_event_add(log, "reason", reason);
}

/* ---- the step ---- */

static void dispatch(struct slot_mover *m,
                     const struct mover_request *request,
                     const struct agent_event *ev,
                     struct agent_effects *fx)
{
    enum mover_state state = (enum mover_state)m->sm.state;
    switch (request->kind) {
    case REQUEST_SURVEY_SOURCE:
    case REQUEST_SURVEY_COPY:
    case REQUEST_SURVEY_TARGET:
        if (state == MOVER_SURVEYING) {
            mover_survey_answer(m, request, ev, fx);
        }
        break;
    case REQUEST_COUNT:
        if (state == MOVER_COUNTING) {
            mover_count_answer(m, request, ev, fx);
        }
        break;
    case REQUEST_BURST:
    case REQUEST_CLEARANCE:
        if (state == MOVER_MOVING) {
            mover_burst_answer(m, request, ev, fx);
        }
        break;
    case REQUEST_LIST:
    case REQUEST_SIZE:
    case REQUEST_MIGRATE: /* counted in every state: keys may have moved */
        if (state == MOVER_MOVING || request->kind == REQUEST_MIGRATE) {
            mover_copy_answer(m, request, ev, fx);
        }
        break;
    case REQUEST_COMPARE:
        if (state == MOVER_MOVING) {
            mover_conflict_answer(m, request, ev, fx);
        }
        break;
    case REQUEST_TRACE:
        if (state == MOVER_TRACING) {
            mover_trace_answer(m, request, ev, fx);
        }
        break;
    case REQUEST_REPAIR:
        if (state == MOVER_REPAIRING) {
            mover_repair_answer(m, ev, fx);
        }
        break;
    case REQUEST_SETTLE:
    case REQUEST_SETTLE_TELL:
        if (state == MOVER_SETTLING) {
            mover_settle_answer(m, request, ev, fx);
        }
        break;
    case REQUEST_MARKS:
    case REQUEST_MARKS_TELL:
        if (state == MOVER_UNMARKING) {
            mover_marks_answer(m, request, ev, fx);
        }
        break;
    case REQUEST_UNDO:
        if (state == MOVER_CLOSING) {
            mover_close_answer(m, request, ev, fx);
        }
        break;
    }
}

static void run_overdue(struct slot_mover *m, struct agent_effects *fx)
{
    if (!sm_is_overdue(&m->sm, m->now_ms)) {
        return;
    }
    switch ((enum mover_state)m->sm.state) {
    case MOVER_SURVEYING:
    case MOVER_COUNTING:
    case MOVER_MOVING:
    case MOVER_TRACING:
    case MOVER_REPAIRING:
        mover_retry(m, fx, FAULT_OTHER, "no progress in time");
        break;
    case MOVER_SETTLING:
        mover_end(m, fx, MOVER_FAILED, ERR_TIMEOUT, m->doing);
        break;
    case MOVER_UNMARKING: /* no reason to call the move a failure */
        mover_settle_over(m, fx);
        break;
    case MOVER_WAITING:
    case MOVER_CLOSING:
    case MOVER_FREEZING: /* the commands they await have timeouts of their own */
        sm_extend(&m->sm, m->now_ms);
        break;
    case MOVER_DONE:
    case MOVER_STOPPED:
    case MOVER_FAILED:
    case MOVER_HELD:
    case MOVER_EXPIRED:
    case MOVER_STATE_NR:
        break;
    }
}

static void run_state(struct slot_mover *m, struct agent_effects *fx)
{
    switch ((enum mover_state)m->sm.state) {
    case MOVER_SURVEYING:
        if (!m->is_begun) {
            m->is_begun = true;
            mover_survey_begin(m, fx);
        }
        break;
    case MOVER_MOVING:
        mover_moving_run(m, fx);
        break;
    case MOVER_WAITING:
        if (m->now_ms >= m->wake_ms && m->request_count == 0) {
            mover_survey_begin(m, fx);
        }
        break;
    case MOVER_SETTLING:
        mover_settle_run(m, fx);
        break;
    case MOVER_UNMARKING:
        mover_marks_run(m, fx);
        break;
    case MOVER_CLOSING:
        mover_close_run(m, fx);
        break;
    case MOVER_FREEZING:
        if (slot_mover_is_quiet(m)) {
            sm_move(&m->sm, MOVER_EXPIRED, m->now_ms);
            m->request_count = 0;
        }
        break;
    case MOVER_COUNTING:
    case MOVER_TRACING:
    case MOVER_REPAIRING:
    case MOVER_DONE:
    case MOVER_STOPPED:
    case MOVER_FAILED:
    case MOVER_HELD:
    case MOVER_EXPIRED:
    case MOVER_STATE_NR:
        break;
    }
}

static void log_end(struct slot_mover *m, struct agent_effects *fx)
{
    struct order_status status;
    slot_mover_status(m, &status);
    bool is_good = status.state == ORDER_DONE || status.state == ORDER_STOPPED;
    struct log_event *log = mover_log(m, fx, is_good ? LOG_INFO : LOG_WARN, "move.ended");
    log_event_add(log, "state", slot_mover_state_name(m));
    log_event_add_int(log, "slots", slotset_count(&status.slots_done));
    log_event_add_int(log, "keys", (int64_t)m->keys_moved);
    log_event_add_int(log, "bytes", (int64_t)m->bytes_moved);
    log_event_add_int(log, "retries", (int64_t)m->retries);
    log_event_add_int(log, "call_us_p50", status.call_us_p50);
    log_event_add_int(log, "call_us_max", status.call_us_max);
    log_event_add(log, "reason", status.reason);
}

void slot_mover_step(struct slot_mover *m,
                     const struct agent_event *event,
                     struct agent_effects *fx)
{
    if (event->now_ms > m->now_ms) {
        m->now_ms = event->now_ms;
    }
    if (sm_is_terminal(&m->sm)) {
        return;
    }
    if (event->kind == AGENT_REDIS) {
        struct mover_request request;
        if (!take_request(m, event->req_id, &request)) {
            return;
        }
        dispatch(m, &request, event, fx);
    }
    run_overdue(m, fx);
    int state = MOVER_STATE_NR;
    while (m->sm.state != state) { /* a new state may have something to do at once */
        state = m->sm.state;
        run_state(m, fx);
    }
    if (sm_is_terminal(&m->sm)) {
        log_end(m, fx);
    }
}

int64_t slot_mover_deadline(const struct slot_mover *m)
{
    if (sm_is_terminal(&m->sm)) {
        return NEVER;
    }
    if (!m->is_begun) {
        return m->now_ms;
    }
    int64_t deadline_ms = m->sm.deadline_ms;
    bool is_waiting =
        m->sm.state == MOVER_WAITING && m->request_count > 0; /* an answer comes first */
    if (!is_waiting) {
        deadline_ms = deadline_min(deadline_ms, m->wake_ms);
    }
    for (int i = 0; i < BURSTS_MAX; i++) {
        deadline_ms = deadline_min(deadline_ms, m->bursts[i].wake_ms);
    }
    return deadline_ms;
}

void slot_mover_stop(struct slot_mover *m)
{
    m->is_stopping = true;
}

bool mover_may_begin(const struct slot_mover *m)
{
    return !m->is_stopping;
}

void slot_mover_freeze(struct slot_mover *m, int code, const char *reason)
{
    if (sm_is_terminal(&m->sm) || m->sm.state == MOVER_FREEZING) {
        return;
    }
    m->verdict = (struct mover_verdict){.state = MOVER_EXPIRED, .code = code};
    (void)snprintf(m->verdict.reason, sizeof(m->verdict.reason), "%s", reason);
    mover_bursts_drop(m);
    mover_survey_release(m);
    sm_move(&m->sm, MOVER_FREEZING, m->now_ms);
    m->is_begun = true;
    m->wake_ms = NEVER;
    if (slot_mover_is_quiet(m)) {
        sm_move(&m->sm, MOVER_EXPIRED, m->now_ms);
    }
}

bool slot_mover_is_quiet(const struct slot_mover *m)
{
    for (int i = 0; i < m->request_count; i++) {
        if (!m->requests[i].is_harmless) {
            return false;
        }
    }
    return true;
}

bool slot_mover_is_over(const struct slot_mover *m)
{
    return sm_is_terminal(&m->sm);
}

const char *slot_mover_state_name(const struct slot_mover *m)
{
    return sm_name(&m->sm);
}
