/* mover_failover.c — the source does not answer, or is a replica now: who serves its slots?
 *
 * A target that imports a slot does not listen to news of its owner. So when the source fails over
 * in mid-slot, the target keeps believing in the old one, loses cluster_state ok, and refuses every
 * client, until it is told of the successor by hand. That is done here, as soon as a successor says
 * of itself that it owns the slots; then the order ends, and a new plan goes on from the successor.
 * Source: docs/design.md section 6 rule 7; facts F5, F6, F7. */
#include "agent/core/mover.h"

#include <stdio.h>
#include <string.h>

#define WITNESSES_MAX \
    64 /* asked in one go; the source's own replicas are among the first in any sane cluster */
#define TRACE_TIMEOUT_MS 1000

/* The slots that the target imports from the source: those it is deaf for. */
static void find_deaf_slots(struct slot_mover *m)
{
    const struct nodes_view *view = &m->survey->target.view;
    slotset_clear(&m->repairs);
    for (int i = 0; i < view->open_count; i++) {
        const struct open_slot *open = &view->opens[i];
        if (open->is_importing && node_id_is_equal(&open->peer, &m->order.source)) {
            slotset_add(&m->repairs, open->slot);
        }
    }
}

/* A slot by which the successor is known: one that the source still had. */
static int telling_slot(const struct slot_mover *m)
{
    SLOTSET_FOREACH (slot, &m->order.slots) {
        if (!slotset_has(&m->done, slot) && (m->flags[slot] & SLOT_CLAIMED) == 0) {
            return slot;
        }
    }
    return SLOT_NONE;
}

void mover_trace_begin(struct slot_mover *m, struct agent_effects *fx, const char *why)
{
    if (m->lost_since_ms == NEVER) {
        m->lost_since_ms = m->now_ms;
        log_event_add(mover_log(m, fx, LOG_WARN, "move.source_lost"), "reason", why);
    }
    find_deaf_slots(m);
    sm_move(&m->sm, MOVER_TRACING, m->now_ms);
    mover_say(m, "source lost (%.80s): asks the others who owns its slots", why);
    m->successor = (struct node_id){""};
    m->trace_awaited = 0;
    for (int i = 0; i < m->witness_count && i < WITNESSES_MAX; i++) {
        struct mover_request request = {.kind = REQUEST_TRACE, .index = i, .is_harmless = true};
        struct mover_where where = {.address = &m->witnesses[i].address,
                                    .lane = LANE_CONTROL,
                                    .timeout_ms = TRACE_TIMEOUT_MS};
        commands_add(mover_ask(m, fx, &request, &where, NULL), "CLUSTER", "NODES", (char *)NULL);
        m->trace_awaited++;
    }
    mover_survey_release(m);
    if (m->trace_awaited == 0) {
        mover_retry(m, fx, FAULT_IO, "source lost and no other node known");
    }
}

/* A witness that calls itself primary and owner is the successor. */
static void hear(struct slot_mover *m, const struct reply *reply)
{
    struct nodes_view view = {0};
    int slot = telling_slot(m);
    if (slot != SLOT_NONE && nodes_view_parse(&view, reply->text, reply->len, NULL) == 0) {
        int owner = view.owner[slot];
        bool is_itself = owner != NODES_NO_ROW && owner == view.myself;
        bool is_primary = is_itself && (view.rows[owner].flags & NODES_FLAG_PRIMARY) != 0;
        bool is_end = is_itself && (node_id_is_equal(&view.rows[owner].id, &m->order.source) ||
                                    node_id_is_equal(&view.rows[owner].id, &m->order.target));
        if (is_primary && !is_end) {
            m->successor = view.rows[owner].id;
        }
    }
    nodes_view_release(&view);
}

static void end_with_successor(struct slot_mover *m, struct agent_effects *fx)
{
    char reason[TEXT_SIZE];
    (void)snprintf(reason, sizeof(reason),
                   "source %.12s failed over to %.40s; plan again from there", m->order.source.text,
                   m->successor.text);
    mover_end(m, fx, MOVER_FAILED, ERR_CONFLICT, reason);
}

void mover_trace_answer(struct slot_mover *m,
                        const struct mover_request *request,
                        const struct agent_event *ev,
                        struct agent_effects *fx)
{
    (void)request;
    m->trace_awaited--;
    if (ev->code == 0 && ev->replies->count == 1 && ev->replies->replies[0].type == REPLY_STRING) {
        hear(m, &ev->replies->replies[0]);
    }
    if (!node_id_is_empty(&m->successor)) {
        if (slotset_is_empty(&m->repairs)) {
            end_with_successor(m, fx);
            return;
        }
        struct slotset repairs = m->repairs;
        mover_repair_begin(m, &repairs, &m->successor, fx);
    } else if (m->trace_awaited == 0) {
        mover_retry(m, fx, FAULT_IO, "source lost; nobody owns its slots yet");
    }
}

void mover_repair_begin(struct slot_mover *m,
                        const struct slotset *slots,
                        const struct node_id *successor,
                        struct agent_effects *fx)
{
    m->successor = *successor;
    m->repairs = *slots;
    mover_survey_release(m);
    sm_move(&m->sm, MOVER_REPAIRING, m->now_ms);
    mover_say(m, "tells the target that %.12s owns %d slots it imports", successor->text,
              slotset_count(slots));
    struct log_event *log = mover_log(m, fx, LOG_WARN, "move.repairing");
    log_event_add_int(log, "slots", slotset_count(slots));
    log_event_addf(log, "successor", "%.12s", successor->text);
    struct mover_request request = {.kind = REQUEST_REPAIR};
    struct mover_where where = {.address = &m->target.node.address,
                                .lane = LANE_CONTROL,
                                .timeout_ms = MOVER_ASK_TIMEOUT_MS};
    struct command_list *commands = mover_ask(m, fx, &request, &where, NULL);
    SLOTSET_FOREACH (slot, slots) {
        words_setslot(commands, slot, "NODE", successor);
        words_setslot(commands, slot, "IMPORTING", successor);
    }
}

void mover_repair_answer(struct slot_mover *m,
                         const struct agent_event *ev,
                         struct agent_effects *fx)
{
    const struct reply *error = ev->code == 0 ? mover_first_error(ev->replies) : NULL;
    if (ev->code != 0 || error != NULL) {
        mover_retry_reply(m, fx, ev, error, "repairing the target after a failover of the source");
        return;
    }
    SLOTSET_FOREACH (slot, &m->repairs) {
        m->flags[slot] = (uint8_t)((m->flags[slot] & ~SLOT_OURS) | SLOT_TOUCHED);
    }
    if (!node_id_is_equal(&m->successor, &m->order.source)) {
        end_with_successor(m, fx);
        return;
    }
    sm_move(&m->sm, MOVER_WAITING, m->now_ms);
    m->wake_ms = m->now_ms + 1; /* the target's state turns ok in its next turn; then look again */
}
