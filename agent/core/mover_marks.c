/* mover_marks.c — marks of slots that are done, left at replicas of the two ends.
 *
 * Valkey passes each SETSLOT on, but only to replicas that are online at that moment. One whose
 * link broke may miss the hand-over, hear of the new owner by gossip, and then get the mark late,
 * from the backlog: nothing takes that away any more. A replica takes SETSLOT from its primary
 * alone, so its primary is told once more that the slot is stable, and passes it on. Whoever does
 * not answer, or cannot be reached by its primary, is left after a few rounds: the coordinator
 * reads every node before it ends an operation, and orders the slot again. Source:
 * docs/redis_facts.md 15c. */
#include "agent/core/mover.h"

#include "common/base/check.h"

#define MARKS_ROUND_MS 100 /* doubles a round */
#define MARKS_ROUNDS_MAX                                                                     \
    6 /* about 3 s: a replica tries every second to get its link back; one that cannot holds \
         nobody */
#define MARKS_TIMEOUT_MS 2000 /* one that sleeps is not waited for any longer */

void mover_marks_collect(struct slot_mover *m, const struct nodes_view *view)
{
    m->follower_count = 0;
    for (int i = 0; i < view->row_count && m->follower_count < MOVER_FOLLOWERS_MAX; i++) {
        const struct nodes_row *row = &view->rows[i];
        struct mover_node node = {.id = row->id, .is_replica = true};
        bool is_of_end = node_id_is_equal(&row->primary_id, &m->order.source) ||
                         node_id_is_equal(&row->primary_id, &m->order.target);
        int useless = NODES_FLAG_HANDSHAKE | NODES_FLAG_NOADDR | NODES_FLAG_FAIL;
        nodes_row_address(row, &node.address);
        if (is_of_end && (row->flags & useless) == 0 && node.address.port != 0) {
            m->followers[m->follower_count++] = node;
        }
    }
}

void mover_marks_begin(struct slot_mover *m, struct agent_effects *fx)
{
    if (!m->setslot_waits || m->follower_count == 0 || slotset_is_empty(&m->done)) {
        mover_settle_over(m, fx);
        return;
    }
    sm_move(&m->sm, MOVER_UNMARKING, m->now_ms);
    mover_say(m, "checks that no replica keeps a mark of %d slots", slotset_count(&m->done));
    m->settle_round = 0;
    m->settle_awaited = 0;
    m->wake_ms = m->now_ms;
}

static void ask_followers(struct slot_mover *m, struct agent_effects *fx)
{
    for (int i = 0; i < m->follower_count; i++) {
        if (m->followers[i].is_settled) {
            continue;
        }
        struct mover_request request = {.kind = REQUEST_MARKS, .index = i, .is_harmless = true};
        struct mover_where where = {.address = &m->followers[i].address,
                                    .lane = LANE_CONTROL,
                                    .timeout_ms = MARKS_TIMEOUT_MS};
        commands_add(mover_ask(m, fx, &request, &where, NULL), "CLUSTER", "NODES", (char *)NULL);
        m->settle_awaited++;
    }
}

/* The first replica that still shows a mark, or NULL. */
static const struct mover_node *find_marked(const struct slot_mover *m)
{
    for (int i = 0; i < m->follower_count; i++) {
        if (!m->followers[i].is_settled) {
            return &m->followers[i];
        }
    }
    return NULL;
}

void mover_marks_run(struct slot_mover *m, struct agent_effects *fx)
{
    if (m->settle_awaited > 0 || m->now_ms < m->wake_ms) {
        return;
    }
    m->wake_ms = NEVER;
    const struct mover_node *marked = find_marked(m);
    if (marked != NULL && m->settle_round < MARKS_ROUNDS_MAX) {
        ask_followers(m, fx);
        return;
    }
    if (marked != NULL) {
        struct log_event *log = mover_log(m, fx, LOG_WARN, "move.replica_marked");
        log_event_addf(log, "node", "%.12s", marked->id.text);
        log_event_add(log, "reason", "a replica keeps a mark of a slot that was moved, ignoring");
    }
    mover_settle_over(m, fx);
}

/* The end that this replica follows by its own word; NULL = neither, its marks are not of this
 * move. */
static const struct mover_node *end_of(const struct slot_mover *m, const struct nodes_view *view)
{
    const struct nodes_row *own = view->myself != NODES_NO_ROW ? &view->rows[view->myself] : NULL;
    if (own == NULL || (own->flags & NODES_FLAG_REPLICA) == 0) {
        return NULL;
    }
    if (node_id_is_equal(&own->primary_id, &m->order.target)) {
        return &m->target.node;
    }
    return node_id_is_equal(&own->primary_id, &m->order.source) ? &m->source.node : NULL;
}

/* STABLE and not NODE: it changes no owner, whatever has happened meanwhile. */
static void tell_end(struct slot_mover *m,
                     const struct mover_node *end,
                     const struct slotset *marked,
                     struct agent_effects *fx)
{
    struct mover_request request = {.kind = REQUEST_MARKS_TELL};
    struct mover_where where = {
        .address = &end->address, .lane = LANE_CONTROL, .timeout_ms = MOVER_ASK_TIMEOUT_MS};
    struct command_list *commands = mover_ask(m, fx, &request, &where, NULL);
    SLOTSET_FOREACH (slot, marked) {
        words_setslot_stable(commands, slot);
    }
    m->settle_awaited++;
}

static void judge_follower(struct slot_mover *m,
                           struct mover_node *follower,
                           const struct nodes_view *view,
                           struct agent_effects *fx)
{
    const struct mover_node *end = end_of(m, view);
    struct slotset marked = {0};
    for (int i = 0; end != NULL && i < view->open_count; i++) {
        if (slotset_has(&m->done, view->opens[i].slot)) {
            slotset_add(&marked, view->opens[i].slot);
        }
    }
    follower->is_settled = slotset_is_empty(&marked);
    if (!follower->is_settled) {
        mover_say(m, "replica %.12s still has marks of %d slots", follower->id.text,
                  slotset_count(&marked));
        tell_end(m, end, &marked, fx);
    }
}

void mover_marks_answer(struct slot_mover *m,
                        const struct mover_request *request,
                        const struct agent_event *ev,
                        struct agent_effects *fx)
{
    CHECK(m->settle_awaited > 0);
    m->settle_awaited--;
    if (request->kind == REQUEST_MARKS) {
        struct mover_node *follower = &m->followers[request->index];
        struct nodes_view view = {0};
        bool is_read = ev->code == 0 && ev->replies->count == 1 &&
                       ev->replies->replies[0].type == REPLY_STRING &&
                       nodes_view_parse(&view, ev->replies->replies[0].text,
                                        ev->replies->replies[0].len, NULL) == 0;
        if (is_read) {
            judge_follower(m, follower, &view, fx);
        } else {
            follower->is_settled = true; /* as far as it can be told */
        }
        nodes_view_release(&view);
    }
    if (m->settle_awaited == 0) {
        m->wake_ms =
            m->now_ms + (find_marked(m) == NULL ? 0 : (int64_t)MARKS_ROUND_MS << m->settle_round);
        m->settle_round++;
    }
}
