/* repair.c — the machine of a repair: groups of slots, one round of steps after another, endings.
 *
 *   mapping -> looking -> acting -> mapping ...
 *      ^          |----> fetching -> mapping ...
 *      |          |----> moving   -> mapping ...
 *      +- resting <----- nothing to be done yet
 *   any of them -> done | stopped | held | failed
 *   any of them -> freezing -> expired                (not renewed, or an older fence)
 *
 * A round looks at everybody, judges every slot in hand by the pure rules (repair_rules.c), and
 * does the steps of one kind: marks first, then keys, then moves. Whatever comes of it, good or
 * bad, the next round looks again. So a restart needs no memory, and an answer that says an error
 * needs no case of its own; only steps that never help are counted. Source: docs/lifecycle.md
 * "Rules of repair". */
#include "agent/core/repair_machine.h"

#include "common/base/alloc.h"
#include "common/base/check.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WAIT_MS 3000         /* what gossip is given to put views right before somebody is told */
#define EPOCHS_WAIT_MS 60000 /* ... and to make config epochs differ and known */
#define LOOK_MS 300          /* between two looks of a wait */
#define TROUBLE_MS_CAP 3000  /* after refusals in a row: a failover may be under way */
#define ENDS                                                                                  \
    (SM_TO(REPAIR_DONE) | SM_TO(REPAIR_STOPPED) | SM_TO(REPAIR_HELD) | SM_TO(REPAIR_FAILED) | \
     SM_TO(REPAIR_FREEZING))

/* clang-format off */
static const struct sm_state repair_states[REPAIR_STATE_NR] = {
    /*                   name        may go to                                                  deadline  meaning */
    [REPAIR_MAPPING]  = {"mapping",  SM_TO(REPAIR_LOOKING) | SM_TO(REPAIR_RESTING) | ENDS,        30000,  "asks who is in the cluster"},
    [REPAIR_LOOKING]  = {"looking",  SM_TO(REPAIR_ACTING) | SM_TO(REPAIR_FETCHING) | SM_TO(REPAIR_MOVING) |
                                     SM_TO(REPAIR_RESTING) | SM_TO(REPAIR_MAPPING) | ENDS,       600000,  "asks every node for its view, marks and keys"},
    [REPAIR_ACTING]   = {"acting",   SM_TO(REPAIR_MAPPING) | SM_TO(REPAIR_RESTING) | ENDS,        30000,  "sets marks and owners"},
    [REPAIR_FETCHING] = {"fetching", SM_TO(REPAIR_MAPPING) | SM_TO(REPAIR_RESTING) | ENDS,       180000,  "brings keys to the owner; deadline per progress"},
    [REPAIR_MOVING]   = {"moving",   SM_TO(REPAIR_MAPPING) | SM_TO(REPAIR_RESTING) | ENDS,        NEVER,  "finishes moves; the slot mover has deadlines of its own"},
    [REPAIR_RESTING]  = {"resting",  SM_TO(REPAIR_MAPPING) | ENDS,                                30000,  "looks again soon"},
    [REPAIR_FREEZING] = {"freezing", SM_TO(REPAIR_EXPIRED),                                       60000,  "no further command; awaits the running ones"},
    [REPAIR_DONE]     = {"done",     0,                                                           NEVER,  "every slot is clean"},
    [REPAIR_STOPPED]  = {"stopped",  0,                                                           NEVER,  "asked to stop; slots in hand are finished"},
    [REPAIR_FAILED]   = {"failed",   0,                                                           NEVER,  "gave up; the reason says why"},
    [REPAIR_HELD]     = {"held",     0,                                                           NEVER,  "a person must decide; the reason says what"},
    [REPAIR_EXPIRED]  = {"expired",  0,                                                           NEVER,  "not renewed in time; anybody may go on"},
};
/* clang-format on */

struct repair *repair_new(const struct order *order,
                          const struct mover_login *login,
                          uint32_t serial,
                          uint64_t seed,
                          int64_t now_ms)
{
    CHECK(serial >= 1);
    struct repair *r = xcalloc(1, sizeof(*r));
    r->order = *order;
    r->login = *login;
    r->ids.serial = serial;
    r->seed = seed;
    r->now_ms = now_ms;
    r->wake_ms = NEVER;
    r->begun_ms = now_ms;
    r->silent_since_ms = NEVER;
    r->epochs_since_ms = NEVER;
    r->todo = order->task.slots;
    r->is_replica_synced = true;
    r->picture.wanted = REPAIR_NOBODY;
    r->verdicts = xcalloc(REPAIR_GROUP_MAX, sizeof(*r->verdicts));
    prng_init(&r->prng, seed);
    governor_init(&r->governor, REPAIR_SPEED);
    sm_init(&r->sm, repair_states, REPAIR_STATE_NR, REPAIR_MAPPING, now_ms);
    repair_say(r, "begins");
    return r;
}

void repair_free(struct repair *r)
{
    if (r == NULL) {
        return;
    }
    repair_picture_release(r);
    repair_fetch_release(r);
    slot_mover_free(r->mover);
    free(r->verdicts);
    free(r->requests);
    free(r);
}

/* ---- requests and words ---- */

struct command_list *repair_ask(struct repair *r,
                                struct agent_effects *fx,
                                const struct repair_request *request,
                                const struct repair_where *where)
{
    ARRAY_RESERVE(r->requests, r->request_count, r->request_capacity);
    struct repair_request *kept = &r->requests[r->request_count++];
    *kept = *request;
    kept->req_id = request_ids_next(&r->ids);
    struct agent_effect *effect = agent_effects_add(fx, AGENT_FX_REDIS);
    effect->req_id = kept->req_id;
    effect->address = *where->address;
    effect->lane = where->lane;
    effect->timeout_ms = where->timeout_ms;
    return &effect->commands;
}

static bool take_request(struct repair *r, uint64_t req_id, struct repair_request *out)
{
    for (int i = 0; i < r->request_count; i++) {
        if (r->requests[i].req_id == req_id) {
            *out = r->requests[i];
            r->requests[i] = r->requests[--r->request_count];
            return true;
        }
    }
    return false;
}

const struct reply *repair_first_error(const struct reply_list *replies)
{
    for (int i = 0; i < replies->count; i++) {
        if (reply_is_error(&replies->replies[i])) {
            return &replies->replies[i];
        }
    }
    return NULL;
}

void repair_describe(const struct agent_event *ev, char *text, size_t size)
{
    const struct reply *error = ev->code == 0 ? repair_first_error(ev->replies) : NULL;
    const char *words = err_word(ev->code);
    if (error != NULL) {
        words = error->text;
    } else if (ev->err != NULL && ev->err->text[0] != '\0') {
        words = ev->err->text;
    }
    (void)snprintf(text, size, "%s", words);
}

void repair_say(struct repair *r, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    (void)vsnprintf(r->doing, sizeof(r->doing), format, args);
    va_end(args);
}

struct log_event *repair_log(struct repair *r,
                             struct agent_effects *fx,
                             enum log_level level,
                             const char *name)
{
    struct agent_effect *effect = agent_effects_add(fx, AGENT_FX_LOG);
    log_event_init(&effect->log, level, name);
    log_event_add(&effect->log, "op", r->order.id.operation_id);
    log_event_add_int(&effect->log, "batch", r->order.id.batch_index);
    log_event_add_int(&effect->log, "attempt", r->order.id.attempt);
    log_event_add_int(&effect->log, "fence", r->order.fence);
    return &effect->log;
}

/* ---- endings ---- */

static void log_end(struct repair *r, struct agent_effects *fx)
{
    bool is_good = r->sm.state == REPAIR_DONE || r->sm.state == REPAIR_STOPPED;
    struct log_event *log = repair_log(r, fx, is_good ? LOG_INFO : LOG_WARN, "repair.ended");
    log_event_add(log, "state", repair_state_name(r));
    log_event_add_int(log, "slots", slotset_count(&r->done));
    log_event_add_int(log, "held", slotset_count(&r->held));
    log_event_add_int(log, "keys_moved", (int64_t)r->keys_moved);
    log_event_add_int(log, "copies_dropped", (int64_t)r->keys_dropped);
    log_event_add(log, "reason", r->reason);
}

static void end(struct repair *r,
                struct agent_effects *fx,
                enum repair_state state,
                int code,
                const char *reason)
{
    r->code = code;
    (void)snprintf(r->reason, sizeof(r->reason), "%s", reason);
    r->wake_ms = NEVER;
    r->request_count = 0; /* reads at most */
    sm_move(&r->sm, (int)state, r->now_ms);
    log_end(r, fx);
}

void repair_fail(struct repair *r, struct agent_effects *fx, int code, const char *reason)
{
    end(r, fx, REPAIR_FAILED, code, reason);
}

void repair_rest(struct repair *r, int64_t delay_ms)
{
    sm_move(&r->sm, REPAIR_RESTING, r->now_ms);
    r->wake_ms = r->now_ms + delay_ms;
}

void repair_trouble(struct repair *r)
{
    r->troubles++;
    repair_rest(r, prng_backoff_ms(&r->prng, r->troubles, LOOK_MS, TROUBLE_MS_CAP));
}

void repair_hold_slot(struct repair *r,
                      struct agent_effects *fx,
                      int slot,
                      int code,
                      const char *reason)
{
    slotset_add(&r->held, slot);
    slotset_remove(&r->todo, slot);
    /* What only another time may help does not hide what needs a person. */
    bool is_worse = r->held_code == ERR_UNAVAILABLE && code != ERR_UNAVAILABLE;
    if (r->held_code == 0 || is_worse) {
        r->held_code = code;
        (void)snprintf(r->held_reason, sizeof(r->held_reason), "slot %d: %.140s", slot, reason);
    }
    struct log_event *log = repair_log(r, fx, LOG_ERROR, "repair.slot_held");
    log_event_add_int(log, "slot", slot);
    log_event_add(log, "reason", reason);
}

/* Nothing is left in hand. */
static void finish(struct repair *r, struct agent_effects *fx)
{
    char text[TEXT_SIZE];
    if (r->held_code == ERR_UNAVAILABLE) {
        end(r, fx, REPAIR_FAILED, r->held_code, r->held_reason);
    } else if (r->held_code != 0) {
        end(r, fx, REPAIR_HELD, r->held_code, r->held_reason);
    } else if (slotset_is_equal(&r->done, &r->order.task.slots)) {
        end(r, fx, REPAIR_DONE, 0, "");
    } else {
        (void)snprintf(text, sizeof(text), "stopped after %d of %d slots", slotset_count(&r->done),
                       slotset_count(&r->order.task.slots));
        end(r, fx, REPAIR_STOPPED, 0, text);
    }
}

/* ---- the slots in hand ---- */

/* Gossip had its time with this slot since it was first seen as it is, and who is silent was asked
 * again. */
static bool has_waited(const struct repair *r, int slot)
{
    bool is_silence_old = r->silent_since_ms == NEVER || r->now_ms - r->silent_since_ms >= WAIT_MS;
    return is_silence_old && r->waits_since_ms[slot] != 0 &&
           r->now_ms - r->begun_ms - r->waits_since_ms[slot] >= WAIT_MS;
}

static void note_wait(struct repair *r, int slot)
{
    int64_t since_ms = r->now_ms - r->begun_ms;
    if (r->waits_since_ms[slot] == 0) {
        r->waits_since_ms[slot] = since_ms > 0 ? (uint32_t)since_ms : 1;
    }
}

enum slot_rank { RANK_IN_HAND, RANK_UNSEEN, RANK_WAITING, RANK_NR };

static enum slot_rank rank_of(const struct repair *r, int slot)
{
    bool is_waiting = r->waits_since_ms[slot] != 0;
    if (is_waiting) {
        return has_waited(r, slot) ? RANK_IN_HAND : RANK_WAITING;
    }
    return r->tries[slot] > 0 ? RANK_IN_HAND : RANK_UNSEEN;
}

/* Fills the picture's slots: those in hand first, then those not seen yet, then those that wait.
 * False = none left. When it is to stop, only what was begun is finished. */
static bool choose_group(struct repair *r)
{
    int count = 0;
    for (int rank = 0; rank < RANK_NR; rank++) {
        SLOTSET_FOREACH (slot, &r->todo) {
            bool is_wanted = !r->is_stopping || r->tries[slot] > 0;
            if (is_wanted && (int)rank_of(r, slot) == rank && count < REPAIR_GROUP_MAX) {
                r->picture.slots[count++] = slot;
            }
        }
    }
    r->picture.slot_count = count;
    return count > 0;
}

/* Something is to be done that need not wait. */
static bool has_work(const struct repair *r)
{
    SLOTSET_FOREACH (slot, &r->todo) {
        bool is_wanted = !r->is_stopping || r->tries[slot] > 0;
        if (is_wanted && rank_of(r, slot) != RANK_WAITING) {
            return true;
        }
    }
    return false;
}

static void note_silence(struct repair *r)
{
    bool is_silent = false;
    for (int i = 0; i < r->picture.node_count; i++) {
        const struct repair_node *node = &r->picture.nodes[i];
        is_silent = is_silent ||
                    (node->is_primary && !node->is_answered && !node->is_gone && !node->is_dead);
    }
    if (!is_silent) {
        r->silent_since_ms = NEVER;
    } else if (r->silent_since_ms == NEVER) {
        r->silent_since_ms = r->now_ms;
    }
}

void repair_look_again(struct repair *r, struct agent_effects *fx)
{
    if (!choose_group(r)) {
        finish(r, fx);
        return;
    }
    repair_map_begin(r, fx);
}

/* ---- a round ---- */

/* A step that is taken again and again does not help. */
static void limit_tries(struct repair *r, struct repair_verdict *verdict, int slot)
{
    bool is_step = verdict->step != REPAIR_CLEAN && verdict->step != REPAIR_HOLD &&
                   verdict->step != REPAIR_WAIT;
    if (is_step && r->tries[slot] >= REPAIR_TRIES_MAX) {
        (void)snprintf(verdict->reason, sizeof(verdict->reason),
                       "it does not stay repaired: '%s' is to be done again after %d steps",
                       repair_step_name(verdict->step), r->tries[slot]);
        verdict->step = REPAIR_HOLD;
    }
}

/* A move is finished only when its source will not raise its config epoch in the middle. */
static void await_epochs(struct repair *r, struct repair_verdict *verdict, bool *is_waiting)
{
    if (verdict->step != REPAIR_FORWARD || repair_epoch_is_settled(&r->picture, verdict->at)) {
        return;
    }
    if (r->epochs_since_ms == NEVER) {
        r->epochs_since_ms = r->now_ms;
    }
    bool is_late = r->now_ms - r->epochs_since_ms >= EPOCHS_WAIT_MS;
    verdict->step = is_late ? REPAIR_HOLD : REPAIR_WAIT;
    (void)snprintf(verdict->reason, sizeof(verdict->reason),
                   "the nodes do not agree about the config epoch of %.8s",
                   r->picture.nodes[verdict->at].id.text);
    *is_waiting = true;
}

static uint32_t claim_mark(const struct repair_node *owner)
{
    uint32_t mark = 2166136261U ^ (uint32_t)owner->config_epoch;
    for (const char *c = owner->id.text; *c != '\0'; c++) {
        mark = (mark ^ (unsigned char)*c) * 16777619U;
    }
    return mark == 0 ? 1 : mark;
}

/* Who might take a slot by an old word of its owner is not told to import it before such words have
 * passed. */
static void await_rest(struct repair *r, struct repair_verdict *verdict, int slot)
{
    bool imports = verdict->step == REPAIR_IMPORT || verdict->step == REPAIR_REMARK;
    if (!imports || !r->picture.nodes[verdict->at].takes_imports) {
        return;
    }
    uint32_t mark = claim_mark(&r->picture.nodes[verdict->other]);
    int64_t after_ms = r->now_ms - r->begun_ms;
    if (r->claim_marks[slot] != mark) {
        r->claim_marks[slot] = mark;
        r->claimed_since_ms[slot] = (uint32_t)after_ms;
    }
    if (after_ms - r->claimed_since_ms[slot] < OWNED_REST_MS) {
        verdict->step = REPAIR_WAIT;
        (void)snprintf(verdict->reason, sizeof(verdict->reason),
                       "old words of its owner may still be on the cluster bus");
    }
}

void repair_decide(struct repair *r, struct agent_effects *fx)
{
    int left = 0;
    bool awaits_epochs = false;
    note_silence(r);
    for (int i = 0; i < r->picture.slot_count; i++) {
        int slot = r->picture.slots[i];
        struct repair_verdict *verdict = &r->verdicts[i];
        repair_judge(&r->picture, i, has_waited(r, slot), verdict);
        await_epochs(r, verdict, &awaits_epochs);
        await_rest(r, verdict, slot);
        bool is_told = slotset_has(&r->replicas_told, slot);
        if (verdict->step == REPAIR_RETELL && is_told) {
            verdict->step = REPAIR_CLEAN; /* a replica's mark hurts nobody */
        }
        limit_tries(r, verdict, slot);
        if (verdict->step == REPAIR_CLEAN) {
            slotset_remove(&r->todo, slot);
            slotset_add(&r->done, slot);
        } else if (verdict->step == REPAIR_HOLD) {
            repair_hold_slot(r, fx, slot, ERR_CONFLICT, verdict->reason);
        } else if (verdict->step == REPAIR_WAIT) {
            repair_say(r, "waits: slot %d: %.120s", slot, verdict->reason);
            note_wait(r, slot);
            left++;
        } else {
            left++;
        }
    }
    r->epochs_since_ms = awaits_epochs ? r->epochs_since_ms : NEVER;
    if (left == 0) {
        repair_look_again(r, fx);
        return;
    }
    if (repair_set_all(r, fx) || repair_fetch_next(r, fx) || repair_move_next(r, fx)) {
        return;
    }
    if (has_work(r) && !awaits_epochs) {
        repair_look_again(r, fx);
        return;
    }
    repair_rest(r, LOOK_MS);
}

/* ---- the step ---- */

static void dispatch(struct repair *r,
                     const struct repair_request *request,
                     const struct agent_event *ev,
                     struct agent_effects *fx)
{
    switch ((enum repair_state)r->sm.state) {
    case REPAIR_MAPPING:
        repair_map_answer(r, request, ev, fx);
        break;
    case REPAIR_LOOKING:
        repair_look_answer(r, request, ev, fx);
        break;
    case REPAIR_ACTING:
        repair_set_answer(r, ev, fx);
        break;
    case REPAIR_FETCHING:
        repair_fetch_answer(r, request, ev, fx);
        break;
    case REPAIR_MOVING:
    case REPAIR_RESTING:
    case REPAIR_FREEZING:
    case REPAIR_DONE:
    case REPAIR_STOPPED:
    case REPAIR_FAILED:
    case REPAIR_HELD:
    case REPAIR_EXPIRED:
    case REPAIR_STATE_NR:
        break;
    }
}

static void run_state(struct repair *r, struct agent_effects *fx)
{
    switch ((enum repair_state)r->sm.state) {
    case REPAIR_MAPPING:
        if (!r->is_begun) {
            r->is_begun = true;
            repair_look_again(r, fx);
        }
        break;
    case REPAIR_FETCHING:
        repair_fetch_run(r, fx);
        break;
    case REPAIR_RESTING:
        if (r->now_ms >= r->wake_ms) {
            repair_look_again(r, fx);
        }
        break;
    case REPAIR_MOVING: {
        struct agent_event tick = {.kind = AGENT_TICK, .now_ms = r->now_ms};
        repair_move_run(r, &tick, fx);
        break;
    }
    case REPAIR_FREEZING:
        if (repair_is_quiet(r)) {
            sm_move(&r->sm, REPAIR_EXPIRED, r->now_ms);
            r->request_count = 0;
            log_end(r, fx);
        }
        break;
    case REPAIR_LOOKING: /* their requests are always answered */
    case REPAIR_ACTING:
    case REPAIR_DONE:
    case REPAIR_STOPPED:
    case REPAIR_FAILED:
    case REPAIR_HELD:
    case REPAIR_EXPIRED:
    case REPAIR_STATE_NR:
        break;
    }
}

/* Every request is answered in its own time; so this is a way out of what should not be. */
static void run_overdue(struct repair *r, struct agent_effects *fx)
{
    if (r->request_count > 0 || r->sm.state == REPAIR_FREEZING) {
        sm_extend(&r->sm, r->now_ms);
        return;
    }
    char text[TEXT_SIZE];
    (void)snprintf(text, sizeof(text), "no progress while %s", repair_state_name(r));
    repair_fail(r, fx, ERR_TIMEOUT, text);
}

void repair_step(struct repair *r, const struct agent_event *event, struct agent_effects *fx)
{
    if (event->now_ms > r->now_ms) {
        r->now_ms = event->now_ms;
    }
    if (sm_is_terminal(&r->sm)) {
        return;
    }
    if (event->kind == AGENT_REDIS) {
        struct repair_request request;
        if (take_request(r, event->req_id, &request)) {
            dispatch(r, &request, event, fx);
        } else if (r->mover != NULL && request_ids_owns(&r->ids, event->req_id)) {
            slot_mover_step(r->mover, event, fx);
        } else {
            return;
        }
    }
    if (sm_is_overdue(&r->sm, r->now_ms)) {
        run_overdue(r, fx);
    }
    int state = REPAIR_STATE_NR;
    while (r->sm.state != state) { /* a new state may have something to do at once */
        state = r->sm.state;
        run_state(r, fx);
    }
}

int64_t repair_deadline(const struct repair *r)
{
    if (sm_is_terminal(&r->sm)) {
        return NEVER;
    }
    if (!r->is_begun) {
        return r->now_ms;
    }
    if (r->mover != NULL) {
        return slot_mover_deadline(r->mover);
    }
    return deadline_min(r->sm.deadline_ms, r->wake_ms);
}

void repair_stop(struct repair *r)
{
    r->is_stopping = true;
    if (r->mover != NULL) {
        slot_mover_stop(r->mover);
    }
}

void repair_expire(struct repair *r, int code, const char *reason)
{
    if (sm_is_terminal(&r->sm) || r->sm.state == REPAIR_FREEZING) {
        return;
    }
    if (r->mover != NULL) {
        slot_mover_freeze(r->mover, code, reason);
    }
    r->code = code;
    (void)snprintf(r->reason, sizeof(r->reason), "%s", reason);
    r->is_begun = true;
    r->wake_ms = NEVER;
    sm_move(&r->sm, REPAIR_FREEZING, r->now_ms);
    if (repair_is_quiet(r)) {
        sm_move(&r->sm, REPAIR_EXPIRED, r->now_ms);
        r->request_count = 0;
    }
}

bool repair_is_quiet(const struct repair *r)
{
    for (int i = 0; i < r->request_count; i++) {
        if (!r->requests[i].is_harmless) {
            return false;
        }
    }
    return r->mover == NULL || slot_mover_is_quiet(r->mover);
}

bool repair_is_over(const struct repair *r)
{
    return sm_is_terminal(&r->sm);
}

const char *repair_state_name(const struct repair *r)
{
    return sm_name(&r->sm);
}

static enum order_state order_state_of(const struct repair *r)
{
    switch ((enum repair_state)r->sm.state) {
    case REPAIR_DONE:
        return ORDER_DONE;
    case REPAIR_STOPPED:
        return ORDER_STOPPED;
    case REPAIR_FAILED:
        return ORDER_FAILED;
    case REPAIR_HELD:
        return ORDER_HELD;
    case REPAIR_EXPIRED:
        return ORDER_EXPIRED;
    case REPAIR_MAPPING:
    case REPAIR_LOOKING:
    case REPAIR_ACTING:
    case REPAIR_FETCHING:
    case REPAIR_MOVING:
    case REPAIR_RESTING:
    case REPAIR_FREEZING:
    case REPAIR_STATE_NR:
        break;
    }
    return ORDER_RUNNING;
}

void repair_status(const struct repair *r, struct order_status *status)
{
    *status = (struct order_status){
        .id = r->order.id,
        .state = order_state_of(r),
        .slots_done = r->done,
        .keys_moved = r->keys_moved,
        .bytes_moved = r->bytes_moved,
        .call_us_p50 = governor_call_us_p50(&r->governor),
        .call_us_max = r->governor.call_us_max,
        .retries = r->retries,
        .is_replica_synced = r->is_replica_synced,
        .reason_code = r->code,
    };
    const char *reason = r->doing;
    if (sm_is_terminal(&r->sm)) {
        reason = r->reason;
    } else if (r->mover != NULL) {
        struct order_status moving;
        slot_mover_status(r->mover, &moving);
        status->keys_moved += moving.keys_moved;
        status->bytes_moved += moving.bytes_moved;
        status->slots_open = moving.slots_open;
        (void)snprintf(status->reason, sizeof(status->reason), "%s", moving.reason);
        return;
    }
    SLOTSET_FOREACH (slot, &r->todo) {
        status->slots_open += r->tries[slot] > 0;
    }
    (void)snprintf(status->reason, sizeof(status->reason), "%s", reason);
}
