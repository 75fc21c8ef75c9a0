/* repair_steps.c — carries out what the rules said: marks and owners in one pipeline a node, keys
 * slot by slot (repair_keys.c), moves by a slot mover inside.
 *
 * It believes no answer: whatever came of a step is seen by the next look. It only counts steps and
 * tells a refusal (look again after a rest) from a wrong login (give up). */
#include "agent/core/repair_machine.h"

#include <stdio.h>

/* ---- marks and owners ---- */

static void add_step(struct repair *r,
                     struct command_list *commands,
                     const struct repair_verdict *verdict,
                     int slot)
{
    const struct repair_node *nodes = r->picture.nodes;
    switch (verdict->step) {
    case REPAIR_TELL:
        words_setslot(commands, slot, "NODE", &nodes[verdict->other].id);
        break;
    case REPAIR_STABLE:
    case REPAIR_RETELL:
        words_setslot_stable(commands, slot);
        break;
    case REPAIR_IMPORT:
        words_setslot(commands, slot, "IMPORTING", &nodes[verdict->other].id);
        break;
    case REPAIR_MIGRATE:
        words_setslot(commands, slot, "MIGRATING", &nodes[verdict->other].id);
        break;
    case REPAIR_REMARK:
        words_setslot_stable(commands, slot);
        words_setslot(commands, slot, "IMPORTING", &nodes[verdict->other].id);
        break;
    case REPAIR_CLAIM: /* a node that imports raises its config epoch when it takes the slot */
        words_setslot(commands, slot, "IMPORTING", &nodes[verdict->other].id);
        words_setslot(commands, slot, "NODE", &nodes[verdict->at].id);
        break;
    case REPAIR_CLEAN:
    case REPAIR_WAIT:
    case REPAIR_HOLD:
    case REPAIR_FORWARD:
    case REPAIR_FETCH:
    case REPAIR_STEP_NR:
        break;
    }
}

static bool is_setting(enum repair_step step)
{
    return step == REPAIR_TELL || step == REPAIR_STABLE || step == REPAIR_IMPORT ||
           step == REPAIR_MIGRATE || step == REPAIR_REMARK || step == REPAIR_CLAIM ||
           step == REPAIR_RETELL;
}

static void log_step(struct repair *r, struct agent_effects *fx, int index)
{
    const struct repair_verdict *verdict = &r->verdicts[index];
    struct log_event *log = repair_log(r, fx, LOG_INFO, "repair.step");
    log_event_add_int(log, "slot", r->picture.slots[index]);
    log_event_add(log, "step", repair_step_name(verdict->step));
    log_event_addf(log, "at", "%.12s", r->picture.nodes[verdict->at].id.text);
    if (verdict->other >= 0) {
        log_event_addf(log, "other", "%.12s", r->picture.nodes[verdict->other].id.text);
    }
}

/* Counts a step; the picture is about to change. */
static void begin_step(struct repair *r, struct agent_effects *fx, int index)
{
    r->tries[r->picture.slots[index]]++;
    r->waits_since_ms[r->picture.slots[index]] = 0;
    log_step(r, fx, index);
}

/* All marks and owners of this round, one pipeline a node: the server saves its table once. */
bool repair_set_all(struct repair *r, struct agent_effects *fx)
{
    for (int node = 0; node < r->picture.node_count; node++) {
        int first = 0;
        while (first < r->picture.slot_count &&
               !(is_setting(r->verdicts[first].step) && r->verdicts[first].at == node)) {
            first++;
        }
        if (first == r->picture.slot_count) {
            continue;
        }
        for (int i = first; i < r->picture.slot_count; i++) {
            if (is_setting(r->verdicts[i].step) && r->verdicts[i].at == node) {
                begin_step(r, fx, i);
            }
        }
        struct repair_request request = {.kind = REPAIR_ASK_SET, .index = node};
        struct repair_where where = {.address = &r->picture.nodes[node].address,
                                     .lane = LANE_CONTROL,
                                     .timeout_ms = REPAIR_ASK_TIMEOUT_MS};
        struct command_list *commands = repair_ask(r, fx, &request, &where);
        for (int i = first; i < r->picture.slot_count; i++) {
            if (is_setting(r->verdicts[i].step) && r->verdicts[i].at == node) {
                add_step(r, commands, &r->verdicts[i], r->picture.slots[i]);
                if (r->verdicts[i].step == REPAIR_RETELL) {
                    slotset_add(&r->replicas_told, r->picture.slots[i]);
                }
            }
        }
    }
    if (r->request_count == 0) {
        return false;
    }
    sm_move(&r->sm, REPAIR_ACTING, r->now_ms);
    repair_say(r, "sets marks and owners of %d slots", r->picture.slot_count);
    return true;
}

bool repair_fetch_next(struct repair *r, struct agent_effects *fx)
{
    for (int i = 0; i < r->picture.slot_count; i++) {
        struct repair_verdict *verdict = &r->verdicts[i];
        if (verdict->step == REPAIR_FETCH) {
            begin_step(r, fx, i);
            sm_move(&r->sm, REPAIR_FETCHING, r->now_ms);
            repair_fetch_begin(r, fx, r->picture.slots[i], verdict->at, verdict->other);
            verdict->step = REPAIR_WAIT; /* not twice in this round */
            return true;
        }
    }
    return false;
}

void repair_fetch_over(struct repair *r, struct agent_effects *fx)
{
    repair_fetch_release(r);
    if (!repair_fetch_next(r, fx)) {
        repair_look_again(r, fx);
    }
}

/* ---- moves finished by a slot mover ---- */

/* All slots of this round that go the same way as the first one. */
bool repair_move_next(struct repair *r, struct agent_effects *fx)
{
    struct order order = {.id = r->order.id,
                          .fence = r->order.fence,
                          .valid_for_ms = r->order.valid_for_ms,
                          .kind = ORDER_MOVE,
                          .speed = REPAIR_SPEED,
                          .big_key_bytes_max = r->order.big_key_bytes_max};
    order.source_counts = (r->order.task.flags & TASK_REPLACE) != 0;
    int from = REPAIR_NOBODY;
    int to = REPAIR_NOBODY;
    for (int i = 0; i < r->picture.slot_count; i++) {
        const struct repair_verdict *verdict = &r->verdicts[i];
        bool is_first = from == REPAIR_NOBODY;
        if (verdict->step != REPAIR_FORWARD ||
            (!is_first && (verdict->at != from || verdict->other != to))) {
            continue;
        }
        from = verdict->at;
        to = verdict->other;
        slotset_add(&order.slots, r->picture.slots[i]);
        begin_step(r, fx, i);
    }
    if (from == REPAIR_NOBODY) {
        return false;
    }
    order.source = r->picture.nodes[from].id;
    order.source_address = r->picture.nodes[from].address;
    order.target = r->picture.nodes[to].id;
    order.target_address = r->picture.nodes[to].address;
    r->mover = slot_mover_new(&order, &r->login, r->ids.serial, r->seed, r->now_ms);
    slot_mover_share_ids(r->mover, &r->ids);
    if (r->is_stopping) {
        slot_mover_stop(r->mover);
    }
    sm_move(&r->sm, REPAIR_MOVING, r->now_ms);
    return true;
}

static void mover_over(struct repair *r, struct agent_effects *fx)
{
    struct order_status status;
    slot_mover_status(r->mover, &status);
    r->keys_moved += status.keys_moved;
    r->bytes_moved += status.bytes_moved;
    r->retries += status.retries;
    r->is_replica_synced = r->is_replica_synced && status.is_replica_synced;
    slot_mover_free(r->mover);
    r->mover = NULL;
    if (status.state == ORDER_FAILED && status.reason_code == ERR_AUTH) {
        repair_fail(r, fx, status.reason_code, status.reason);
        return;
    }
    if (status.state == ORDER_HELD || status.state == ORDER_FAILED) {
        for (int i = 0; i < r->picture.slot_count; i++) {
            int slot = r->picture.slots[i];
            bool is_left = r->verdicts[i].step == REPAIR_FORWARD && r->tries[slot] > 0 &&
                           !slotset_has(&status.slots_done, slot);
            /* A failed mover may only have met a failover: the next look tells. */
            bool is_hopeless = status.state == ORDER_HELD || r->tries[slot] >= REPAIR_TRIES_MAX / 2;
            if (is_left && is_hopeless && slotset_has(&r->todo, slot)) {
                repair_hold_slot(r, fx, slot, status.reason_code, status.reason);
            }
        }
    }
    if (r->is_stopping && status.state == ORDER_STOPPED) {
        slotset_clear(&r->todo);
    }
    repair_look_again(r, fx);
}

void repair_move_run(struct repair *r, const struct agent_event *event, struct agent_effects *fx)
{
    slot_mover_step(r->mover, event, fx);
    if (slot_mover_is_over(r->mover)) {
        mover_over(r, fx);
    }
}

void repair_set_answer(struct repair *r, const struct agent_event *ev, struct agent_effects *fx)
{
    const struct reply *error = ev->code == 0 ? repair_first_error(ev->replies) : NULL;
    if (ev->code != 0 || error != NULL) {
        char text[TEXT_SIZE];
        repair_describe(ev, text, sizeof(text));
        r->retries++;
        log_event_add(repair_log(r, fx, LOG_WARN, "repair.refused"), "reason", text);
        if (ev->code == ERR_AUTH || (error != NULL && redis_fault_of(error) == FAULT_AUTH)) {
            r->code = ERR_AUTH;
            (void)snprintf(r->reason, sizeof(r->reason), "%s", text);
        }
        r->is_refused = true;
    }
    if (r->request_count > 0) {
        return;
    }
    if (r->code != 0) {
        char reason[TEXT_SIZE];
        (void)snprintf(reason, sizeof(reason), "%s", r->reason);
        repair_fail(r, fx, r->code, reason);
        return;
    }
    if (r->is_refused) {
        r->is_refused = false;
        repair_trouble(r);
        return;
    }
    r->troubles = 0;
    repair_look_again(r, fx);
}
