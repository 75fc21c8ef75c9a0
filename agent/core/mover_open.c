/* mover_open.c — bursts: which slots are opened together, and the two steps that open them.
 *
 *   free -> importing -> migrating -> copying -> syncing -> proving -> claiming -> teaching ->
 * releasing -> telling -> free
 *                                  \-> proving, if claiming is not clear yet (all empty and no
 * replicas to wait for: the answer is the proof)
 *   proving -> syncing, when an answer was late; claiming -> proving, where the target runs no
 * script
 *
 * Commands of many slots go in one pipeline, so that a node saves its nodes.conf once a burst and
 * not once a slot. Empty slots go first: they cost next to nothing. The target is told first,
 * always: a source that points clients at a target which does not import yet makes them run in
 * circles. Source: docs/design.md section 6, rules 1 and 10. */
#include "agent/core/mover.h"

#include "common/base/check.h"

#include <stdio.h>

#define BURST_ENDS SM_TO(BURST_FREE)

/* clang-format off */
static const struct sm_state burst_states[BURST_STATE_NR] = {
    /*                   name         may go to                                               deadline  meaning */
    [BURST_FREE]      = {"free",      SM_TO(BURST_IMPORTING),                                    NEVER,  "no slots in it"},
    [BURST_IMPORTING] = {"importing", SM_TO(BURST_MIGRATING) | BURST_ENDS,                       30000,  "target told to import"},
    [BURST_MIGRATING] = {"migrating", SM_TO(BURST_COPYING) | SM_TO(BURST_SYNCING) | SM_TO(BURST_PROVING) | BURST_ENDS,
                                                                                                 30000,  "source told to migrate, keys counted"},
    [BURST_COPYING]   = {"copying",   SM_TO(BURST_SYNCING) | SM_TO(BURST_PROVING) | BURST_ENDS, 600000,  "keys on their way"},
    [BURST_SYNCING]   = {"syncing",   SM_TO(BURST_PROVING) | BURST_ENDS,                         60000,  "target's replicas catch up"},
    [BURST_PROVING]   = {"proving",   SM_TO(BURST_CLAIMING) | SM_TO(BURST_COPYING) | SM_TO(BURST_SYNCING) | BURST_ENDS,
                                                                                                 30000,  "source still owns, marks and holds 0 keys?"},
    [BURST_CLAIMING]  = {"claiming",  SM_TO(BURST_TEACHING) | SM_TO(BURST_RELEASING) | SM_TO(BURST_PROVING) | BURST_ENDS,
                                                                                                 30000,  "target told that it owns; only forward, unless it runs no script"},
    [BURST_TEACHING]  = {"teaching",  SM_TO(BURST_RELEASING) | BURST_ENDS,                       60000,  "target's replicas must show the new owner"},
    [BURST_RELEASING] = {"releasing", SM_TO(BURST_TELLING) | BURST_ENDS,                         30000,  "source told"},
    [BURST_TELLING]   = {"telling",   BURST_ENDS,                                                30000,  "every other primary told"},
};
/* clang-format on */

/* ---- the bursts as a set ---- */

void mover_burst_free(struct slot_mover *m, struct burst *burst)
{
    for (int i = 0; i < burst->slot_count; i++) {
        listing_clear(&burst->slots[i].listing);
        burst->slots[i].phase = COPY_EMPTY;
    }
    sm_init(&burst->sm, burst_states, BURST_STATE_NR, BURST_FREE, m->now_ms);
    burst->slot_count = 0;
    burst->answers_awaited = 0;
    burst->wake_ms = NEVER;
    burst->is_behind = false;
    burst->is_proved = false;
    burst->is_marked = false;
    burst->is_clear = false;
    burst->clearances_awaited = 0;
    burst->late_proofs = 0;
    burst->target_time_us = 0;
}

void mover_bursts_drop(struct slot_mover *m)
{
    for (int i = 0; i < BURSTS_MAX; i++) {
        mover_burst_free(m, &m->bursts[i]);
    }
    m->sizes_awaited = 0;
    m->is_comparing = false;
}

bool mover_bursts_are_free(const struct slot_mover *m)
{
    for (int i = 0; i < BURSTS_MAX; i++) {
        if (m->bursts[i].sm.state != BURST_FREE) {
            return false;
        }
    }
    return true;
}

struct burst *mover_burst_by_age(struct slot_mover *m, int index)
{
    for (int age = 0;; index--) {
        int oldest = -1;
        for (int i = 0; i < BURSTS_MAX; i++) {
            bool is_older = m->burst_numbers[i] > age &&
                            (oldest < 0 || m->burst_numbers[i] < m->burst_numbers[oldest]);
            if (m->bursts[i].sm.state != BURST_FREE && is_older) {
                oldest = i;
            }
        }
        if (oldest < 0) {
            return NULL;
        }
        if (index == 0) {
            return &m->bursts[oldest];
        }
        age = m->burst_numbers[oldest];
    }
}

int mover_burst_index(const struct slot_mover *m, const struct burst *burst)
{
    return m->burst_numbers[burst - m->bursts];
}

static struct burst *burst_by_number(struct slot_mover *m, int number)
{
    for (int i = 0; i < BURSTS_MAX; i++) {
        if (m->bursts[i].sm.state != BURST_FREE && m->burst_numbers[i] == number) {
            return &m->bursts[i];
        }
    }
    return NULL;
}

bool burst_slot_is_live(const struct burst_slot *slot)
{
    return slot->phase != COPY_PARKED;
}

int mover_open_slot_count(const struct slot_mover *m)
{
    int count = 0;
    for (int slot = 0; slot < SLOT_COUNT; slot++) {
        count += (m->flags[slot] & (SLOT_OPENED | SLOT_MARKED)) != 0;
    }
    return count;
}

/* ---- opening ---- */

static int burst_slots(const struct slot_mover *m, bool is_empty)
{
    return governor_burst_slots(&m->governor, is_empty, !mover_claims_by_script(m));
}

static void choose_slots(struct slot_mover *m, struct burst *burst)
{
    bool is_empty = !slotset_is_empty(&m->todo_empty);
    struct slotset *todo = is_empty ? &m->todo_empty : &m->todo_keys;
    int wanted = burst_slots(m, is_empty);
    burst->is_of_empty = is_empty;
    burst->slot_count = 0;
    /* Half moved slots first: they are what clients feel. */
    for (int pass = 0; pass < 2; pass++) {
        int slot = slotset_next(todo, 0);
        while (slot != SLOT_NONE && burst->slot_count < wanted) {
            if (pass == 1 || (m->flags[slot] & SLOT_MARKED) != 0) {
                struct burst_slot *chosen = &burst->slots[burst->slot_count++];
                chosen->slot = (uint16_t)slot;
                chosen->phase = COPY_EMPTY;
                chosen->keys_left = 0;
                slotset_remove(todo, slot);
            }
            slot = slotset_next(todo, slot + 1);
        }
    }
}

/* Of slots that were empty before: the source's answer may be the proof. */
static void ask_target_too(struct slot_mover *m, struct burst *burst, struct agent_effects *fx)
{
    if (burst->is_of_empty) {
        mover_clearance_ask(m, burst, fx);
    }
}

static void count_keys(struct slot_mover *m, struct burst *burst, struct agent_effects *fx)
{
    burst->is_marked = true;
    ask_target_too(m, burst, fx);
    struct mover_request request = {.kind = REQUEST_BURST, .burst = mover_burst_index(m, burst)};
    struct command_list *commands = mover_ask_source(m, fx, &request);
    for (int i = 0; i < burst->slot_count; i++) {
        words_count_keys(commands, burst->slots[i].slot);
    }
    commands_add(commands, "CLUSTER", "INFO", (char *)NULL);
}

static void tell_source(struct slot_mover *m, struct burst *burst, struct agent_effects *fx)
{
    sm_move(&burst->sm, BURST_MIGRATING, m->now_ms);
    if (m->setslot_waits) {
        struct mover_fan fan = {.node = &m->source.node,
                                .end = &m->source,
                                .index = MOVER_FAN_END,
                                .verb = "MIGRATING",
                                .peer = &m->order.target};
        mover_fan_out(m, burst, &fan, fx);
        return;
    }
    ask_target_too(m, burst, fx);
    struct mover_request request = {.kind = REQUEST_BURST, .burst = mover_burst_index(m, burst)};
    struct command_list *commands = mover_ask_source(m, fx, &request);
    for (int i = 0; i < burst->slot_count; i++) {
        words_setslot(commands, burst->slots[i].slot, "MIGRATING", &m->order.target);
        words_count_keys(commands, burst->slots[i].slot);
    }
    commands_add(commands, "CLUSTER", "INFO", (char *)NULL);
}

static void burst_begin(struct slot_mover *m, struct burst *burst, struct agent_effects *fx)
{
    choose_slots(m, burst);
    CHECK(burst->slot_count > 0);
    m->burst_numbers[burst - m->bursts] = ++m->bursts_begun;
    sm_move(&burst->sm, BURST_IMPORTING, m->now_ms);
    bool has_news = false;
    for (int i = 0; i < burst->slot_count; i++) {
        uint8_t *flags = &m->flags[burst->slots[i].slot];
        if ((*flags & (SLOT_MARKED | SLOT_OPENED)) == 0) {
            *flags |= SLOT_OURS;
        }
        *flags |= SLOT_OPENED;
        if (!burst->is_of_empty && (*flags & SLOT_CLAIMED) == 0) {
            *flags |= SLOT_UNPROVED;
        }
        has_news = has_news || (*flags & SLOT_CLAIMED) == 0;
    }
    if (!has_news) {
        tell_source(m, burst, fx);
        return;
    }
    struct mover_fan fan = {.node = &m->target.node,
                            .end = &m->target,
                            .is_target = true,
                            .index = MOVER_FAN_END,
                            .verb = "IMPORTING",
                            .peer = &m->order.source,
                            .skips_claimed = true};
    mover_fan_out(m, burst, &fan, fx);
}

static void importing_answer(struct slot_mover *m,
                             struct burst *burst,
                             const struct mover_request *request,
                             const struct agent_event *ev,
                             struct agent_effects *fx)
{
    bool is_last = mover_fan_answered(m, burst, request, ev);
    for (int i = 0; ev->code == 0 && i < ev->replies->count; i++) {
        const struct reply *reply = &ev->replies->replies[i];
        if (!reply_is_ok(reply)) {
            mover_retry_reply(m, fx, ev, reply, "SETSLOT IMPORTING at the target");
            return;
        }
    }
    if (ev->code != 0) {
        mover_retry_reply(m, fx, ev, NULL, "SETSLOT IMPORTING at the target");
        return;
    }
    if (is_last) {
        tell_source(m, burst, fx);
    }
}

/* Slots that turned out to hold keys leave a burst of empty ones: these need not wait for them. */
static void hand_back_keyed(struct slot_mover *m, struct burst *burst)
{
    for (int i = 0; i < burst->slot_count; i++) {
        if (burst->slots[i].phase == COPY_UNKNOWN) {
            slotset_add(&m->todo_keys, burst->slots[i].slot);
            m->flags[burst->slots[i].slot] |= SLOT_MARKED;
            burst->slots[i].phase = COPY_PARKED;
        }
    }
}

static void migrating_answer(struct slot_mover *m,
                             struct burst *burst,
                             const struct mover_request *request,
                             const struct agent_event *ev,
                             struct agent_effects *fx)
{
    const struct reply *error = ev->code == 0 ? mover_first_error(ev->replies) : NULL;
    bool is_marking = m->setslot_waits && !burst->is_marked;
    int step = m->setslot_waits ? 1 : 2; /* answers a slot; the count is the last of them */
    bool is_whole =
        is_marking || (ev->code == 0 && ev->replies->count == step * burst->slot_count + 1);
    bool is_last = is_marking && mover_fan_answered(m, burst, request, ev);
    if (ev->code != 0 || error != NULL || !is_whole) {
        mover_retry_reply(m, fx, ev, error, "SETSLOT MIGRATING at the source");
        return;
    }
    if (is_marking) {
        if (is_last) {
            count_keys(m, burst, fx);
        }
        return;
    }
    if (!mover_source_is_clear(m, ev, fx)) {
        return;
    }
    int empty_count = 0;
    for (int i = 0; i < burst->slot_count; i++) {
        struct burst_slot *slot = &burst->slots[i];
        slot->keys_left = ev->replies->replies[step * i + step - 1].integer;
        slot->phase = slot->keys_left == 0 ? COPY_EMPTY : COPY_UNKNOWN;
        empty_count += slot->phase == COPY_EMPTY;
    }
    bool is_mostly_empty = burst->is_of_empty && 2 * empty_count >= burst->slot_count;
    if (empty_count == burst->slot_count || is_mostly_empty) {
        hand_back_keyed(m, burst);
        /* Counted 0 at the owner after the mark was set, over the survey's own connection: this
         * answer is the proof. */
        burst->is_proved = true;
        mover_commit_begin(m, burst, fx);
        return;
    }
    sm_move(&burst->sm, BURST_COPYING, m->now_ms);
}

void mover_burst_answer(struct slot_mover *m,
                        const struct mover_request *request,
                        const struct agent_event *ev,
                        struct agent_effects *fx)
{
    struct burst *burst = burst_by_number(m, request->burst);
    if (burst == NULL) {
        return;
    }
    if (request->kind == REQUEST_CLEARANCE) {
        if (mover_clearance_answer(m, burst, ev, fx)) {
            mover_commit_cleared(m, burst, fx);
        }
        return;
    }
    switch ((enum burst_state)burst->sm.state) {
    case BURST_IMPORTING:
        importing_answer(m, burst, request, ev, fx);
        break;
    case BURST_MIGRATING:
        migrating_answer(m, burst, request, ev, fx);
        break;
    case BURST_SYNCING:
    case BURST_PROVING:
    case BURST_CLAIMING:
    case BURST_TEACHING:
    case BURST_RELEASING:
    case BURST_TELLING:
        mover_commit_answer(m, burst, request, ev, fx);
        break;
    case BURST_FREE:
    case BURST_COPYING:
    case BURST_STATE_NR:
        break;
    }
}

/* ---- the moving state ---- */

static void open_more(struct slot_mover *m, struct agent_effects *fx)
{
    int opening = 0;
    int copying = 0;
    for (int i = 0; i < BURSTS_MAX; i++) {
        int state = m->bursts[i].sm.state;
        opening += state == BURST_IMPORTING || state == BURST_MIGRATING;
        copying += state == BURST_COPYING;
    }
    for (int i = 0; i < BURSTS_MAX && mover_may_begin(m); i++) {
        bool has_work = !slotset_is_empty(&m->todo_empty) || !slotset_is_empty(&m->todo_keys);
        /* One ahead of the one that copies; more would only keep clients on ASK for longer. */
        if (has_work && m->bursts[i].sm.state == BURST_FREE && opening + copying < 2) {
            burst_begin(m, &m->bursts[i], fx);
            opening++;
        }
    }
}

/* A burst all of whose slots were held or handed back has nothing to commit. */
static bool burst_is_deserted(const struct burst *burst)
{
    for (int i = 0; i < burst->slot_count; i++) {
        if (burst_slot_is_live(&burst->slots[i])) {
            return false;
        }
    }
    return true;
}

static bool burst_is_copied(const struct burst *burst)
{
    for (int i = 0; i < burst->slot_count; i++) {
        if (burst_slot_is_live(&burst->slots[i]) && burst->slots[i].phase != COPY_EMPTY) {
            return false;
        }
    }
    return true;
}

void mover_moving_run(struct slot_mover *m, struct agent_effects *fx)
{
    mover_copy_run(m, fx);
    for (int i = 0; i < BURSTS_MAX && m->sm.state == MOVER_MOVING; i++) {
        struct burst *burst = &m->bursts[i];
        if (burst->sm.state == BURST_COPYING && burst_is_deserted(burst)) {
            mover_burst_free(m, burst);
        } else if (burst->sm.state == BURST_COPYING && burst_is_copied(burst)) {
            mover_commit_begin(m, burst, fx);
        } else if (burst->sm.state != BURST_FREE) {
            mover_commit_run(m, burst, fx);
        }
    }
    if (m->sm.state != MOVER_MOVING) {
        return;
    }
    open_more(m, fx);
    if (mover_bursts_are_free(m) && !m->call.is_running && m->sizes_awaited == 0) {
        mover_settle_begin(m, fx);
    }
}
