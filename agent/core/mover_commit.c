/* mover_commit.c — hands a burst of emptied slots over: the order of these steps is what keeps
 * every key.
 *
 *   syncing    the target's replicas have all the keys (their offsets, asked of themselves): else
 * losing the target loses the slot. Bounded; what was not reached is said in the report. proving at
 * the source, in one go: it still owns the slot and takes the mark again, and it counts 0. A target
 *              that claims a slot earlier makes the source delete what it still holds.
 *   claiming   SETSLOT NODE at the target, now or never (mover_claim.c). Only forward from here.
 *   teaching   the target's replicas show the new owner: a target that dies before leaves the slot
 * without one. releasing  SETSLOT NODE at the source. telling    SETSLOT NODE at every other
 * primary; who does not answer hears it by gossip, and settling checks. Source: docs/design.md
 * section 6, rules 2 and 4; facts F1 to F4, F9, F28. */
#include "agent/core/mover.h"

#include "common/base/check.h"

#include <stdio.h>
#include <string.h>

#define SYNC_WAIT_MS 2000         /* a replica that does not answer, or is not in sync at all */
#define SYNC_BEHIND_WAIT_MS 30000 /* a replica that answers and is merely behind */
#define TEACH_WAIT_MS 2000
#define POLL_MS_FIRST 3
#define POLL_MS_MAX 50

static bool is_dead(const struct slot_mover *m)
{
    return m->sm.state != MOVER_MOVING;
}

static struct mover_request step_request(const struct slot_mover *m, const struct burst *burst)
{
    return (struct mover_request){.kind = REQUEST_BURST, .burst = mover_burst_index(m, burst)};
}

static struct command_list *ask_replica(struct slot_mover *m,
                                        const struct burst *burst,
                                        int replica,
                                        struct agent_effects *fx)
{
    struct mover_request request = step_request(m, burst);
    request.index = replica;
    request.is_harmless = true;
    struct mover_where where = {
        .address = &m->replicas[replica].address, .lane = LANE_CONTROL, .timeout_ms = SYNC_WAIT_MS};
    return mover_ask(m, fx, &request, &where, NULL);
}

/* Exponential from POLL_MS_FIRST to POLL_MS_MAX by how long the state has lasted. */
static int64_t next_poll(const struct slot_mover *m, const struct burst *burst)
{
    int64_t lasted_ms = m->now_ms - burst->sm.since_ms;
    int64_t delay_ms = lasted_ms < POLL_MS_FIRST ? POLL_MS_FIRST : lasted_ms;
    return m->now_ms + (delay_ms > POLL_MS_MAX ? POLL_MS_MAX : delay_ms);
}

static void sync_replicas(struct slot_mover *m, struct burst *burst, struct agent_effects *fx);

/* ---- proving ---- */

static void prove(struct slot_mover *m, struct burst *burst, struct agent_effects *fx)
{
    if (burst->sm.state != BURST_PROVING) {
        sm_move(&burst->sm, BURST_PROVING, m->now_ms);
    }
    burst->is_proved = false;
    mover_clearance_ask(m, burst, fx);
    struct mover_request request = step_request(m, burst);
    struct command_list *commands = mover_ask_source(m, fx, &request);
    if (m->setslot_waits) { /* the marks are read, since setting them again is what takes long */
        commands_add(commands, "CLUSTER", "NODES", (char *)NULL);
    }
    for (int i = 0; i < burst->slot_count; i++) {
        if (burst_slot_is_live(&burst->slots[i])) {
            if (!m->setslot_waits) {
                words_setslot(commands, burst->slots[i].slot, "MIGRATING", &m->order.target);
            }
            words_count_keys(commands, burst->slots[i].slot);
        }
    }
    commands_add(commands, "CLUSTER", "INFO", (char *)NULL);
}

/* An end may have slept: the target's replicas are asked again, too. */
static void prove_anew(struct slot_mover *m, struct burst *burst, struct agent_effects *fx)
{
    burst->is_proved = false;
    if (m->replica_count > 0) {
        sync_replicas(m, burst, fx);
    } else {
        prove(m, burst, fx);
    }
}

/* Both ends agree. But was it so long ago that one of them may have been replaced since? */
static void claim_or_prove(struct slot_mover *m, struct burst *burst, struct agent_effects *fx)
{
    bool is_late = m->now_ms - burst->proof_sent_ms > MOVER_PROOF_MS_MAX;
    if (is_late && burst->late_proofs < MOVER_LATE_PROOFS_MAX) {
        burst->late_proofs++;
        prove_anew(m, burst, fx);
    } else {
        mover_claim(m, burst, fx);
    }
}

/* The source has proved it; does the target agree? */
static void claim_if_clear(struct slot_mover *m, struct burst *burst, struct agent_effects *fx)
{
    burst->is_proved = true;
    if (burst->sm.state != BURST_PROVING) {
        sm_move(&burst->sm, BURST_PROVING, m->now_ms);
    }
    if (burst->is_clear) {
        claim_or_prove(m, burst, fx);
    } else if (burst->clearances_awaited == 0) {
        mover_clearance_ask(m, burst, fx);
    }
}

void mover_commit_cleared(struct slot_mover *m, struct burst *burst, struct agent_effects *fx)
{
    if (burst->sm.state == BURST_PROVING && burst->is_proved) {
        claim_or_prove(m, burst, fx);
    }
}

static bool is_marked_in(const struct nodes_view *view, int slot, const struct node_id *target)
{
    for (int i = 0; i < view->open_count; i++) {
        const struct open_slot *open = &view->opens[i];
        if (open->slot == slot) {
            return !open->is_importing && node_id_is_equal(&open->peer, target);
        }
    }
    return false;
}

/* The source's own view: it owns every slot of the burst and migrates it to the target. */
static bool marks_are_seen(const struct slot_mover *m,
                           const struct burst *burst,
                           const struct reply *reply)
{
    struct nodes_view view = {0};
    if (reply->type != REPLY_STRING ||
        nodes_view_parse(&view, reply->text, reply->len, NULL) != 0) {
        return false;
    }
    bool is_seen = view.myself != NODES_NO_ROW &&
                   node_id_is_equal(&view.rows[view.myself].id, &m->order.source);
    for (int i = 0; is_seen && i < burst->slot_count; i++) {
        int slot = burst->slots[i].slot;
        is_seen = !burst_slot_is_live(&burst->slots[i]) ||
                  (view.owner[slot] == view.myself && is_marked_in(&view, slot, &m->order.target));
    }
    nodes_view_release(&view);
    return is_seen;
}

static void proving_answer(struct slot_mover *m,
                           struct burst *burst,
                           const struct agent_event *ev,
                           struct agent_effects *fx)
{
    const struct reply *error = ev->code == 0 ? mover_first_error(ev->replies) : NULL;
    if (ev->code != 0 || error != NULL) {
        mover_retry_reply(m, fx, ev, error, "asking the source once more before the hand-over");
        return;
    }
    if (m->setslot_waits && !marks_are_seen(m, burst, &ev->replies->replies[0])) {
        mover_retry(m, fx, FAULT_OWNERSHIP, "the source's marks changed before the hand-over");
        return;
    }
    if (!mover_source_is_clear(m, ev, fx)) {
        return;
    }
    bool is_proved = true;
    int answer = 1;
    int step = m->setslot_waits ? 1 : 2;
    for (int i = 0; i < burst->slot_count; i++) {
        struct burst_slot *slot = &burst->slots[i];
        if (!burst_slot_is_live(slot)) {
            continue;
        }
        const struct reply *count = &ev->replies->replies[answer];
        answer += step;
        if (count->type != REPLY_INTEGER || count->integer != 0) {
            slot->phase = COPY_UNKNOWN;
            slot->keys_left = count->integer;
            is_proved = false;
        }
    }
    if (is_proved) {
        claim_if_clear(m, burst, fx);
    } else {
        sm_move(&burst->sm, BURST_COPYING, m->now_ms);
    }
}

/* ---- syncing ---- */

static void ask_target_offset(struct slot_mover *m, struct burst *burst, struct agent_effects *fx)
{
    struct mover_request request = step_request(m, burst);
    request.index = -1;
    request.is_harmless = true;
    commands_add(mover_ask_target(m, fx, &request), "ROLE", (char *)NULL);
    burst->answers_awaited = 1;
}

static void sync_replicas(struct slot_mover *m, struct burst *burst, struct agent_effects *fx)
{
    sm_move(&burst->sm, BURST_SYNCING, m->now_ms);
    burst->target_offset = -1;
    burst->wait_until_ms = m->now_ms + SYNC_WAIT_MS;
    ask_target_offset(m, burst, fx);
}

static void ask_replica_offsets(struct slot_mover *m, struct burst *burst, struct agent_effects *fx)
{
    burst->is_behind = false;
    burst->wake_ms = NEVER;
    burst->answers_awaited = 0;
    for (int i = 0; i < m->replica_count; i++) {
        if (!m->replicas[i].is_given_up) {
            commands_add(ask_replica(m, burst, i, fx), "ROLE", (char *)NULL);
            burst->answers_awaited++;
        }
    }
    if (burst->answers_awaited == 0) {
        prove(m, burst, fx);
    }
}

void mover_commit_begin(struct slot_mover *m, struct burst *burst, struct agent_effects *fx)
{
    int live_count = 0;
    int touched_count = 0;
    for (int i = 0; i < burst->slot_count; i++) {
        bool is_live = burst_slot_is_live(&burst->slots[i]);
        live_count += is_live;
        touched_count += is_live && (m->flags[burst->slots[i].slot] & SLOT_TOUCHED) != 0;
    }
    if (live_count == 0) {
        mover_burst_free(m, burst);
        return;
    }
    bool is_in_doubt = m->failures > 0; /* an end may have slept */
    if (m->replica_count > 0 && (touched_count > 0 || is_in_doubt)) {
        sync_replicas(m, burst, fx);
    } else if (burst->is_proved) {
        claim_if_clear(m, burst, fx);
    } else {
        prove(m, burst, fx);
    }
}

static void give_up_syncing(struct slot_mover *m, struct burst *burst, struct agent_effects *fx)
{
    if (m->is_replica_synced) {
        log_event_add(mover_log(m, fx, LOG_WARN, "move.replicas_behind"), "reason",
                      "a replica of the target did not catch up in time, ignoring");
    }
    m->is_replica_synced = false;
    for (int i = 0; i < m->replica_count; i++) {
        m->replicas[i].is_given_up =
            m->replicas[i].is_lost; /* until the next survey: once is enough of waiting */
    }
    prove(m, burst, fx);
}

static void replica_offset_answer(struct slot_mover *m,
                                  struct burst *burst,
                                  const struct mover_request *request,
                                  const struct agent_event *ev)
{
    struct mover_node *replica = &m->replicas[request->index];
    struct role_answer role;
    replica->is_lost = ev->code != 0 || ev->replies->count != 1 ||
                       !words_parse_role(&role, &ev->replies->replies[0]);
    if (replica->is_lost || !role.is_connected) {
        replica->is_lost = true;
        burst->is_behind = true;
        return;
    }
    if (role.offset < burst->target_offset) {
        burst->is_behind = true;
        burst->wait_until_ms = burst->sm.since_ms + SYNC_BEHIND_WAIT_MS;
    }
}

/* A replica that calls itself a primary: it took the target's place, and the target sleeps or does
 * not know yet. What is moved there now, or claimed, would be lost when it hears of it. */
static bool has_taken_over(struct slot_mover *m,
                           const struct mover_request *request,
                           const struct agent_event *ev,
                           struct agent_effects *fx)
{
    struct role_answer role;
    bool is_read = ev->code == 0 && ev->replies->count == 1 &&
                   words_parse_role(&role, &ev->replies->replies[0]);
    if (!is_read || !role.is_primary) {
        return false;
    }
    char what[TEXT_SIZE];
    char text[TEXT_SIZE];
    (void)snprintf(what, sizeof(what), "%.12s, a replica of the target, says that it is a primary",
                   m->replicas[request->index].id.text);
    mover_say_loss(m, what, text);
    mover_retry(m, fx, FAULT_OWNERSHIP, text);
    return true;
}

static void syncing_answer(struct slot_mover *m,
                           struct burst *burst,
                           const struct mover_request *request,
                           const struct agent_event *ev,
                           struct agent_effects *fx)
{
    burst->answers_awaited--;
    if (request->index < 0) {
        struct role_answer role;
        const struct reply *reply =
            ev->code == 0 && ev->replies->count == 1 ? &ev->replies->replies[0] : NULL;
        if (reply == NULL || !words_parse_role(&role, reply) || !role.is_primary) {
            mover_retry_reply(m, fx, ev, reply != NULL && reply_is_error(reply) ? reply : NULL,
                              "ROLE of the target");
            return;
        }
        burst->target_offset = role.offset;
        ask_replica_offsets(m, burst, fx);
        return;
    }
    if (has_taken_over(m, request, ev, fx)) {
        return;
    }
    replica_offset_answer(m, burst, request, ev);
    if (burst->answers_awaited > 0) {
        return;
    }
    if (!burst->is_behind) {
        mover_risk_clear(m, burst);
        prove(m, burst, fx);
    } else if (m->now_ms >= burst->wait_until_ms) {
        give_up_syncing(m, burst, fx);
    } else {
        burst->wake_ms = next_poll(m, burst);
    }
}

/* ---- teaching ---- */

static void teach(struct slot_mover *m, struct burst *burst, struct agent_effects *fx)
{
    burst->is_behind = false;
    burst->wake_ms = NEVER;
    burst->answers_awaited = 0;
    for (int i = 0; i < m->replica_count; i++) {
        if (!m->replicas[i].is_lost) {
            commands_add(ask_replica(m, burst, i, fx), "CLUSTER", "NODES", (char *)NULL);
            burst->answers_awaited++;
        }
    }
}

static bool view_shows_target(const struct slot_mover *m,
                              const struct burst *burst,
                              const struct nodes_view *view)
{
    int target = nodes_view_find(view, &m->order.target);
    for (int i = 0; i < burst->slot_count; i++) {
        if (burst_slot_is_live(&burst->slots[i]) && view->owner[burst->slots[i].slot] != target) {
            return false;
        }
    }
    return target != NODES_NO_ROW;
}

static void release_slots(struct slot_mover *m, struct burst *burst, struct agent_effects *fx)
{
    sm_move(&burst->sm, BURST_RELEASING, m->now_ms);
    burst->wake_ms = NEVER;
    burst->answers_awaited = 0;
    struct mover_fan fan = {.node = &m->source.node,
                            .end = &m->source,
                            .index = MOVER_FAN_END,
                            .verb = "NODE",
                            .peer = &m->order.target};
    mover_fan_out(m, burst, &fan, fx);
}

static void teaching_answer(struct slot_mover *m,
                            struct burst *burst,
                            const struct mover_request *request,
                            const struct agent_event *ev,
                            struct agent_effects *fx)
{
    burst->answers_awaited--;
    if (ev->code != 0 || ev->replies->count != 1 || reply_is_error(&ev->replies->replies[0])) {
        m->replicas[request->index].is_lost = true;
        m->is_replica_synced = false;
    } else {
        struct nodes_view view = {0};
        const struct reply *reply = &ev->replies->replies[0];
        bool is_right = nodes_view_parse(&view, reply->text, reply->len, NULL) == 0 &&
                        view_shows_target(m, burst, &view);
        burst->is_behind = burst->is_behind || !is_right;
        nodes_view_release(&view);
    }
    if (burst->answers_awaited > 0) {
        return;
    }
    if (!burst->is_behind) {
        release_slots(m, burst, fx);
    } else if (m->now_ms >= burst->sm.since_ms + TEACH_WAIT_MS) {
        m->is_replica_synced = false;
        log_event_add(mover_log(m, fx, LOG_WARN, "move.replicas_behind"), "reason",
                      "a replica of the target does not show the new owner yet, ignoring");
        release_slots(m, burst, fx);
    } else {
        burst->wake_ms = next_poll(m, burst);
    }
}

/* ---- claiming, releasing, telling ---- */

static void claiming_answer(struct slot_mover *m,
                            struct burst *burst,
                            const struct mover_request *request,
                            const struct agent_event *ev,
                            struct agent_effects *fx)
{
    enum claim_outcome outcome = mover_claim_answer(m, burst, request, ev, fx);
    if (outcome == CLAIM_AGAIN) {
        prove(m, burst, fx);
    }
    if (outcome != CLAIM_HELD) {
        return;
    }
    bool has_listener = false;
    for (int i = 0; i < m->replica_count; i++) {
        has_listener = has_listener || !m->replicas[i].is_lost;
    }
    if (has_listener) {
        sm_move(&burst->sm, BURST_TEACHING, m->now_ms);
        teach(m, burst, fx);
    } else {
        release_slots(m, burst, fx);
    }
}

static void finish_burst(struct slot_mover *m, struct burst *burst)
{
    for (int i = 0; i < burst->slot_count; i++) {
        if (burst_slot_is_live(&burst->slots[i])) {
            slotset_add(&m->done, burst->slots[i].slot);
            m->flags[burst->slots[i].slot] = 0;
        }
    }
    mover_burst_free(m, burst);
    mover_progress(m);
    mover_say(m, "moves slots, %d of %d done", slotset_count(&m->done),
              slotset_count(&m->order.slots));
}

static void tell_peers(struct slot_mover *m, struct burst *burst, struct agent_effects *fx)
{
    sm_move(&burst->sm, BURST_TELLING, m->now_ms);
    burst->answers_awaited = 0;
    for (int i = 0; i < m->peer_count; i++) {
        if (!m->peers[i].is_lost) {
            struct mover_fan fan = {
                .node = &m->peers[i], .index = i, .verb = "NODE", .peer = &m->order.target};
            mover_fan_out(m, burst, &fan, fx);
        }
    }
    if (burst->answers_awaited == 0) {
        finish_burst(m, burst);
    }
}

static void releasing_answer(struct slot_mover *m,
                             struct burst *burst,
                             const struct mover_request *request,
                             const struct agent_event *ev,
                             struct agent_effects *fx)
{
    bool is_last = mover_fan_answered(m, burst, request, ev);
    for (int i = 0; ev->code == 0 && i < ev->replies->count; i++) {
        const struct reply *reply = &ev->replies->replies[i];
        if (reply_is_error(reply) && !words_is_release_accepted(reply)) {
            mover_retry_reply(m, fx, ev, reply, "SETSLOT NODE at the source");
            return;
        }
    }
    if (ev->code != 0) {
        mover_retry_reply(m, fx, ev, NULL, "SETSLOT NODE at the source");
        return;
    }
    if (is_last) {
        tell_peers(m, burst, fx);
    }
}

/* One that refuses (made a replica meanwhile, say) learns by gossip, as one that is lost does:
 * neither is told again. */
static void telling_answer(struct slot_mover *m,
                           struct burst *burst,
                           const struct mover_request *request,
                           const struct agent_event *ev,
                           struct agent_effects *fx)
{
    const struct reply *error = ev->code == 0 ? mover_first_error(ev->replies) : NULL;
    struct mover_node *peer = &m->peers[request->index];
    if ((ev->code != 0 || error != NULL) && !peer->is_lost) {
        char address[ADDRESS_TEXT_SIZE];
        struct log_event *log = mover_log(m, fx, LOG_WARN, "move.peer_not_told");
        log_event_add(log, "node", address_format(&peer->address, address));
        log_event_addf(log, "reason", "%.100s, ignoring",
                       error != NULL ? error->text : err_word(ev->code));
        peer->is_lost = true;
    }
    if (mover_fan_answered(m, burst, request, ev)) {
        finish_burst(m, burst);
    }
}

/* ---- dispatch ---- */

void mover_commit_answer(struct slot_mover *m,
                         struct burst *burst,
                         const struct mover_request *request,
                         const struct agent_event *ev,
                         struct agent_effects *fx)
{
    switch ((enum burst_state)burst->sm.state) {
    case BURST_SYNCING:
        syncing_answer(m, burst, request, ev, fx);
        break;
    case BURST_PROVING:
        proving_answer(m, burst, ev, fx);
        break;
    case BURST_CLAIMING:
        claiming_answer(m, burst, request, ev, fx);
        break;
    case BURST_TEACHING:
        teaching_answer(m, burst, request, ev, fx);
        break;
    case BURST_RELEASING:
        releasing_answer(m, burst, request, ev, fx);
        break;
    case BURST_TELLING:
        telling_answer(m, burst, request, ev, fx);
        break;
    case BURST_FREE:
    case BURST_IMPORTING:
    case BURST_MIGRATING:
    case BURST_COPYING:
    case BURST_STATE_NR:
        UNREACHABLE("a commit step");
    }
}

void mover_commit_run(struct slot_mover *m, struct burst *burst, struct agent_effects *fx)
{
    if (is_dead(m)) {
        return;
    }
    if (sm_is_overdue(&burst->sm, m->now_ms)) {
        mover_retry(m, fx, FAULT_OTHER, sm_name(&burst->sm));
        return;
    }
    if (m->now_ms < burst->wake_ms) {
        return;
    }
    if (burst->sm.state == BURST_SYNCING) {
        ask_replica_offsets(m, burst, fx);
    } else if (burst->sm.state == BURST_TEACHING) {
        teach(m, burst, fx);
    } else {
        burst->wake_ms = NEVER;
    }
}
