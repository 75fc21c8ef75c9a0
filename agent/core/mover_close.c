/* mover_close.c — both endings: every primary's view checked after the last slot, or untouched
 * slots closed again.
 *
 * Settling: source, target and every other primary that answers must show the target as the owner
 * of all slots moved, and the two ends must show no open mark for them. Who still believes
 * otherwise is told again, save the target itself: what it accepted and has no more was taken from
 * it by a higher config epoch, and its keys went with it. Closing: a slot that was opened and of
 * which no key has moved is closed, source first. The target is counted only after it has stopped
 * importing, so that no client can add a key behind the count; if a key came in between, the slot
 * is opened again and stays so: past the first moved key there is only forward. Source:
 * docs/design.md section 6, rules 6 and 12. */
#include "agent/core/mover.h"

#include "common/base/check.h"

#include <stdio.h>

#define SETTLE_AT_ONCE 16   /* views asked for at a time: each may be some 100 KiB */
#define SETTLE_ROUND_MS 100 /* doubles a round, up to: */
#define SETTLE_ROUND_MS_MAX 2000
#define SETTLE_LOST_ROUNDS 3 /* a primary that has not answered by then hears of it by gossip */
#define SETTLE_TELL_ROUND 1  /* gossip gets one round before a node is told again */

/* ---- settling ---- */

static struct mover_node *settle_node(struct slot_mover *m, int index)
{
    if (index == 0) {
        return &m->target.node;
    }
    return index == 1 ? &m->source.node : &m->peers[index - 2];
}

static int settle_node_count(const struct slot_mover *m)
{
    return m->peer_count + 2;
}

void mover_settle_begin(struct slot_mover *m, struct agent_effects *fx)
{
    (void)fx;
    sm_move(&m->sm, MOVER_SETTLING, m->now_ms);
    mover_say(m, "checks that every primary shows the new owner of %d slots",
              slotset_count(&m->done));
    m->settle_round = 0;
    m->settle_cursor = 0;
    m->settle_awaited = 0;
    m->wake_ms = m->now_ms;
    for (int i = 0; i < settle_node_count(m); i++) {
        settle_node(m, i)->is_settled = false;
        settle_node(m, i)->is_lost = false;
    }
}

void mover_settle_over(struct slot_mover *m, struct agent_effects *fx)
{
    slotset_clear(&m->unclosed);
    if (!slotset_is_empty(&m->held)) {
        mover_end(m, fx, MOVER_HELD, m->held_code, m->held_reason);
    } else if (slotset_is_equal(&m->done, &m->order.slots)) {
        sm_move(&m->sm, MOVER_DONE, m->now_ms);
    } else if (m->is_stopping) {
        sm_move(&m->sm, MOVER_STOPPED, m->now_ms);
        (void)snprintf(m->verdict.reason, sizeof(m->verdict.reason), "stopped after %d of %d slots",
                       slotset_count(&m->done), slotset_count(&m->order.slots));
    } else {
        mover_retry(m, fx, FAULT_OTHER, "slots left over at the end");
    }
}

/* True when nobody is left to be convinced. */
static bool all_settled(struct slot_mover *m)
{
    for (int i = 0; i < settle_node_count(m); i++) {
        const struct mover_node *node = settle_node(m, i);
        /* Gossip takes no mark away: a source that had one must say itself that it is gone. */
        bool has_mark = node == &m->source.node && !slotset_is_empty(&m->unclosed);
        bool may_be_lost =
            i > 0 && !has_mark && node->is_lost && m->settle_round >= SETTLE_LOST_ROUNDS;
        if (!node->is_settled && !may_be_lost) {
            return false;
        }
    }
    return true;
}

static void ask_views(struct slot_mover *m, struct agent_effects *fx)
{
    while (m->settle_cursor < settle_node_count(m) && m->settle_awaited < SETTLE_AT_ONCE) {
        struct mover_node *node = settle_node(m, m->settle_cursor);
        if (!node->is_settled) {
            struct mover_request request = {
                .kind = REQUEST_SETTLE, .index = m->settle_cursor, .is_harmless = true};
            struct mover_where where = {.address = &node->address,
                                        .lane = LANE_CONTROL,
                                        .timeout_ms = MOVER_ASK_TIMEOUT_MS};
            commands_add(mover_ask(m, fx, &request, &where, NULL), "CLUSTER", "NODES",
                         (char *)NULL);
            m->settle_awaited++;
        }
        m->settle_cursor++;
    }
}

void mover_settle_run(struct slot_mover *m, struct agent_effects *fx)
{
    if (m->wake_ms != NEVER && m->now_ms < m->wake_ms) {
        return;
    }
    m->wake_ms = NEVER;
    ask_views(m, fx);
    if (m->settle_awaited > 0) {
        return;
    }
    if (all_settled(m)) {
        mover_marks_begin(m, fx);
        return;
    }
    int64_t delay_ms = (int64_t)SETTLE_ROUND_MS << (m->settle_round < 5 ? m->settle_round : 5);
    m->wake_ms = m->now_ms + (delay_ms < SETTLE_ROUND_MS_MAX ? delay_ms : SETTLE_ROUND_MS_MAX);
    m->settle_round++;
    m->settle_cursor = 0;
}

/* The slots of which this view still tells something else. Marks count at the two ends only: what
 * somebody else imports is not of this move, and telling it would not take its mark away. */
static void find_wrong(const struct slot_mover *m,
                       const struct nodes_view *view,
                       bool is_end,
                       struct slotset *wrong)
{
    int target = nodes_view_find(view, &m->order.target);
    slotset_clear(wrong);
    SLOTSET_FOREACH (slot, &m->done) {
        if (target == NODES_NO_ROW || view->owner[slot] != target) {
            slotset_add(wrong, slot);
        }
    }
    for (int i = 0; is_end && i < view->open_count; i++) {
        if (slotset_has(&m->done, view->opens[i].slot)) {
            slotset_add(wrong, view->opens[i].slot);
        }
    }
}

static void tell_again(struct slot_mover *m,
                       const struct mover_node *node,
                       const struct slotset *wrong,
                       struct agent_effects *fx)
{
    struct mover_request request = {.kind = REQUEST_SETTLE_TELL};
    struct mover_where where = {
        .address = &node->address, .lane = LANE_CONTROL, .timeout_ms = MOVER_ASK_TIMEOUT_MS};
    struct command_list *commands = mover_ask(m, fx, &request, &where, NULL);
    SLOTSET_FOREACH (slot, wrong) {
        words_setslot(commands, slot, "NODE", &m->order.target);
    }
    m->settle_awaited++;
}

/* The target's own view: a slot that it has accepted and that belongs to another primary now. True
 * when there is one; the mover ends then. */
static bool is_taken_back(struct slot_mover *m,
                          const struct nodes_view *view,
                          const struct slotset *wrong,
                          struct agent_effects *fx)
{
    int target = nodes_view_find(view, &m->order.target);
    int lost = 0;
    int slot = SLOT_NONE;
    SLOTSET_FOREACH (candidate, wrong) {
        int owner = view->owner[candidate];
        if (owner != NODES_NO_ROW && owner != target) {
            slot = lost == 0 ? candidate : slot;
            lost++;
        }
    }
    if (lost == 0 || target == NODES_NO_ROW || target != view->myself ||
        (view->rows[target].flags & NODES_FLAG_PRIMARY) == 0) {
        return false; /* a target that failed over is another matter */
    }
    const struct nodes_row *owner = &view->rows[view->owner[slot]];
    slotset_subtract(&m->done, wrong);
    char reason[TEXT_SIZE];
    (void)snprintf(reason, sizeof(reason),
                   "slot %d and %d more went to %.12s after they were handed over: unless somebody "
                   "moved them, their keys are lost",
                   slot, lost - 1, owner->id.text);
    struct log_event *log = mover_log(m, fx, LOG_ERROR, "move.taken_back");
    log_event_add_int(log, "slot", slot);
    log_event_add_int(log, "slots", lost);
    log_event_addf(log, "owner", "%.12s", owner->id.text);
    log_event_add_int(log, "owner_config_epoch", (int64_t)owner->config_epoch);
    log_event_add_int(log, "target_config_epoch", (int64_t)view->rows[target].config_epoch);
    mover_end(m, fx, MOVER_FAILED, ERR_CONFLICT, reason);
    return true;
}

void mover_settle_answer(struct slot_mover *m,
                         const struct mover_request *request,
                         const struct agent_event *ev,
                         struct agent_effects *fx)
{
    m->settle_awaited--;
    if (request->kind == REQUEST_SETTLE_TELL) {
        return; /* the next round sees what came of it */
    }
    struct mover_node *node = settle_node(m, request->index);
    struct nodes_view view = {0};
    bool is_read =
        ev->code == 0 && ev->replies->count == 1 && ev->replies->replies[0].type == REPLY_STRING &&
        nodes_view_parse(&view, ev->replies->replies[0].text, ev->replies->replies[0].len, NULL) ==
            0;
    node->is_lost = !is_read;
    if (!is_read) {
        return;
    }
    struct slotset wrong;
    find_wrong(m, &view, request->index <= 1, &wrong);
    node->is_settled = slotset_is_empty(&wrong);
    bool is_primary =
        view.myself != NODES_NO_ROW && (view.rows[view.myself].flags & NODES_FLAG_PRIMARY) != 0;
    if (request->index == 0) {
        mover_marks_collect(m, &view);
    }
    if (request->index == 0 && is_taken_back(m, &view, &wrong, fx)) {
        nodes_view_release(&view);
        return;
    }
    if (!node->is_settled) {
        mover_say(m, "%.12s does not show the new owner of %d slots yet", node->id.text,
                  slotset_count(&wrong));
    }
    if (!node->is_settled && is_primary && m->settle_round >= SETTLE_TELL_ROUND) {
        tell_again(m, node, &wrong, fx);
    }
    nodes_view_release(&view);
}

/* ---- closing ---- */

enum close_step {
    CLOSE_BEGIN,
    CLOSE_SOURCE,
    CLOSE_TARGET,
    CLOSE_REOPEN_TARGET,
    CLOSE_REOPEN_SOURCE,
    CLOSE_OVER
};

static void choose_undo(struct slot_mover *m)
{
    slotset_clear(&m->undo);
    SLOTSET_FOREACH (slot, &m->order.slots) {
        int wanted = SLOT_OPENED | SLOT_OURS;
        if ((m->flags[slot] & (wanted | SLOT_TOUCHED | SLOT_CLAIMED)) == wanted) {
            slotset_add(&m->undo, slot);
        }
    }
}

static void close_over(struct slot_mover *m)
{
    sm_move(&m->sm, (int)m->verdict.state, m->now_ms);
    m->request_count = 0;
}

static void undo_send(struct slot_mover *m, enum close_step step, struct agent_effects *fx)
{
    m->close_step = (int)step;
    struct mover_request request = {.kind = REQUEST_UNDO};
    bool is_source = step == CLOSE_SOURCE || step == CLOSE_REOPEN_SOURCE;
    struct command_list *commands =
        is_source ? mover_ask_source(m, fx, &request) : mover_ask_target(m, fx, &request);
    SLOTSET_FOREACH (slot, &m->undo) {
        if (step == CLOSE_SOURCE) {
            words_setslot_stable(commands, slot);
        } else if (step == CLOSE_TARGET) {
            words_setslot_stable(commands, slot);
            words_count_keys(commands, slot);
        } else if (step == CLOSE_REOPEN_TARGET) {
            words_setslot(commands, slot, "IMPORTING", &m->order.source);
        } else {
            words_setslot(commands, slot, "MIGRATING", &m->order.target);
        }
    }
}

void mover_close_run(struct slot_mover *m, struct agent_effects *fx)
{
    if (!slot_mover_is_quiet(m) || m->close_step != CLOSE_BEGIN) {
        return;
    }
    choose_undo(m);
    if (slotset_is_empty(&m->undo) || m->source.control_connection == 0 ||
        m->target.control_connection == 0) {
        close_over(m);
        return;
    }
    log_event_add_int(mover_log(m, fx, LOG_INFO, "move.undoing"), "slots", slotset_count(&m->undo));
    undo_send(m, CLOSE_SOURCE, fx);
}

/* Leaves in 'undo' only the slots that hold keys at the target after all; closed ones lose their
 * flags. */
static void keep_filled(struct slot_mover *m, const struct reply_list *replies)
{
    struct slotset all = m->undo;
    int answer = 1;
    SLOTSET_FOREACH (slot, &all) {
        bool is_filled = answer >= replies->count ||
                         replies->replies[answer].type != REPLY_INTEGER ||
                         replies->replies[answer].integer != 0;
        if (!is_filled) {
            slotset_remove(&m->undo, slot);
            m->flags[slot] = (uint8_t)(m->flags[slot] & SLOT_HELD);
        }
        answer += 2;
    }
}

void mover_close_answer(struct slot_mover *m,
                        const struct mover_request *request,
                        const struct agent_event *ev,
                        struct agent_effects *fx)
{
    (void)request;
    bool is_good = ev->code == 0 && mover_first_error(ev->replies) == NULL;
    switch ((enum close_step)m->close_step) {
    case CLOSE_SOURCE:
        if (is_good) {
            undo_send(m, CLOSE_TARGET, fx);
        } else {
            close_over(m);
        }
        break;
    case CLOSE_TARGET:
        if (is_good) {
            keep_filled(m, ev->replies);
        }
        if (slotset_is_empty(&m->undo)) {
            close_over(m);
        } else {
            undo_send(m, CLOSE_REOPEN_TARGET, fx);
        }
        break;
    case CLOSE_REOPEN_TARGET:
        undo_send(m, CLOSE_REOPEN_SOURCE, fx);
        break;
    case CLOSE_REOPEN_SOURCE:
        close_over(m);
        break;
    case CLOSE_BEGIN:
    case CLOSE_OVER:
        UNREACHABLE("an undo answer without an undo");
    }
}
