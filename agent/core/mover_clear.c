/* mover_clear.c — will the target's claim hold? Config epochs and failovers, looked at before slots
 * are claimed.
 *
 * A claim raises the target's config epoch to one more than it has heard of. While the source does
 * not know of it yet, and still counts the slots as its own, a source with a config epoch as high
 * or higher takes them back: the target drops them with all the keys that it has just been given.
 * So nothing is claimed unless the target has heard of the source's config epoch, no other primary
 * has the same one (of two that are equal, one raises its own at any time), the epoch is the one
 * that the survey judged, and the target sees no failover of the source.
 *
 * The survey judges the two views and waits. Before each claim two short answers are compared with
 * what the survey saw: CLUSTER INFO of the source comes with the proof, that of the target is asked
 * for side by side with it. current_epoch only grows, and a node takes it from every message, so it
 * says what the target has heard of; it need not list the source's config epoch itself.
 *
 * Where the target runs Valkey from 8 on, nothing is imported before the source has had it for a
 * while, see owned_watch.h.
 * Source: redis 7.0 cluster.c, clusterBumpConfigEpochWithoutConsensus(),
 * clusterUpdateSlotsConfigWith(), clusterHandleConfigEpochCollision(); docs/redis_facts.md. */
#include "agent/core/mover.h"

#include "common/base/check.h"

#include <stdio.h>

/* ---- the survey ---- */

/* A primary, other than the source, that has the source's config epoch in this view; or NULL. */
static const struct nodes_row *find_equal(const struct slot_mover *m, const struct nodes_view *view)
{
    int useless = NODES_FLAG_HANDSHAKE | NODES_FLAG_NOADDR | NODES_FLAG_FAIL;
    for (int i = 0; i < view->row_count; i++) {
        const struct nodes_row *row = &view->rows[i];
        bool is_primary = (row->flags & NODES_FLAG_PRIMARY) != 0 && (row->flags & useless) == 0;
        if (is_primary && !node_id_is_equal(&row->id, &m->order.source) &&
            (int64_t)row->config_epoch == m->survey->source.cluster.my_epoch) {
            return row;
        }
    }
    return NULL;
}

/* A replica of the source, by its own word, that the target knows as a primary since later; or
 * NULL. */
static const struct nodes_row *find_successor(const struct slot_mover *m)
{
    const struct nodes_view *at_source = &m->survey->source.view;
    const struct nodes_view *at_target = &m->survey->target.view;
    for (int i = 0; i < at_source->row_count; i++) {
        const struct nodes_row *row = &at_source->rows[i];
        int found = nodes_view_find(at_target, &row->id);
        if (!node_id_is_equal(&row->primary_id, &m->order.source) || found == NODES_NO_ROW) {
            continue;
        }
        const struct nodes_row *seen = &at_target->rows[found];
        if ((seen->flags & NODES_FLAG_PRIMARY) != 0 && seen->slot_count > 0 &&
            (int64_t)seen->config_epoch > m->survey->source.cluster.my_epoch) {
            return seen;
        }
    }
    return NULL;
}

bool mover_judge_successor(struct slot_mover *m, struct agent_effects *fx)
{
    const struct nodes_row *successor = find_successor(m);
    if (successor == NULL) {
        return true;
    }
    char text[TEXT_SIZE];
    (void)snprintf(text, sizeof(text), "source %.12s does not know yet that %.12s took its place",
                   m->order.source.text, successor->id.text);
    mover_await(m, fx, text);
    return false;
}

bool mover_judge_epochs(struct slot_mover *m, struct agent_effects *fx)
{
    const struct mover_survey *survey = m->survey;
    char text[TEXT_SIZE] = "";
    long long epoch = (long long)survey->source.cluster.my_epoch;
    const struct nodes_row *equal = find_equal(m, &survey->target.view);
    equal = equal != NULL ? equal : find_equal(m, &survey->source.view);
    int row = nodes_view_find(&survey->target.view, &m->order.source);
    int failing = NODES_FLAG_FAIL | NODES_FLAG_PFAIL;
    if (row != NODES_NO_ROW && (survey->target.view.rows[row].flags & failing) != 0) {
        (void)snprintf(text, sizeof(text), "target sees source %.12s as failing",
                       m->order.source.text);
    } else if (survey->target.cluster.current_epoch < survey->source.cluster.my_epoch) {
        (void)snprintf(text, sizeof(text),
                       "target has not heard of the config epoch %lld of source %.12s", epoch,
                       m->order.source.text);
    } else if (equal != NULL) {
        (void)snprintf(text, sizeof(text), "source %.12s and %.12s have the same config epoch %lld",
                       m->order.source.text, equal->id.text, epoch);
    }
    if (text[0] != '\0') {
        mover_await(m, fx, text);
        return false;
    }
    m->unclear_since_ms = NEVER;
    m->source_epoch = survey->source.cluster.my_epoch;
    m->failing_slots = survey->target.cluster.slots_pfail + survey->target.cluster.slots_fail;
    return true;
}

/* ---- may the target import? ---- */

bool mover_judge_rest(struct slot_mover *m, struct agent_effects *fx)
{
    struct mover_survey *survey = m->survey;
    owned_watch_see(&m->owned, &survey->source.view, m->now_ms);
    if (!info_is_valkey_8(&survey->target.info)) {
        return true;
    }
    struct slotset slots = m->todo_keys; /* less what is marked or claimed at the target already */
    for (int i = 0; i < survey->target.view.open_count; i++) {
        slotset_remove(&slots, survey->target.view.opens[i].slot);
    }
    SLOTSET_FOREACH (slot, &m->todo_keys) {
        if ((m->flags[slot] & SLOT_CLAIMED) != 0) {
            slotset_remove(&slots, slot);
        }
    }
    int64_t ready_ms = owned_watch_ready_ms(&m->owned, &slots, m->now_ms);
    if (slotset_is_empty(&slots) || ready_ms <= m->now_ms) {
        m->resting_since_ms = NEVER;
        return true;
    }
    mover_rest(m, fx, ready_ms, "old words of the source may still be on the cluster bus");
    return false;
}

/* ---- before a claim ---- */

static bool read_info(const struct agent_event *ev, struct cluster_info *info)
{
    const struct reply *last =
        ev->replies->count > 0 ? &ev->replies->replies[ev->replies->count - 1] : NULL;
    return last != NULL && last->type == REPLY_STRING &&
           cluster_info_parse(info, last->text, last->len, NULL) == 0;
}

bool mover_source_is_clear(struct slot_mover *m,
                           const struct agent_event *ev,
                           struct agent_effects *fx)
{
    struct cluster_info info;
    if (!read_info(ev, &info)) {
        mover_retry(m, fx, FAULT_OTHER, "the source's CLUSTER INFO cannot be read");
    } else if (!info.is_state_ok) {
        mover_retry(m, fx, FAULT_WAIT, "cluster state is not ok at the source");
    } else if (info.my_epoch != m->source_epoch) {
        mover_retry(m, fx, FAULT_OWNERSHIP, "the source's config epoch changed");
    } else {
        return true;
    }
    return false;
}

void mover_clearance_ask(struct slot_mover *m, struct burst *burst, struct agent_effects *fx)
{
    struct mover_request request = {.kind = REQUEST_CLEARANCE,
                                    .burst = mover_burst_index(m, burst),
                                    .is_target = true,
                                    .is_harmless = true};
    struct command_list *commands = mover_ask_target(m, fx, &request);
    if (mover_claims_by_script(m)) {
        commands_add(commands, "TIME", (char *)NULL); /* first: the deadline counts from here */
    }
    commands_add(commands, "CLUSTER", "INFO", (char *)NULL);
    burst->is_clear = false;
    burst->proof_sent_ms = m->now_ms;
    burst->clearances_awaited++;
}

/* An answer that is of no use; NULL = all are. */
static const struct reply *clearance_error(struct slot_mover *m,
                                           struct burst *burst,
                                           const struct agent_event *ev,
                                           struct agent_effects *fx)
{
    const struct reply *replies = ev->replies->replies;
    bool has_time = ev->replies->count == 2;
    if (has_time && !mover_claim_take_time(m, burst, &replies[0], fx)) {
        return &replies[0];
    }
    const struct reply *last = ev->replies->count > 0 ? &replies[ev->replies->count - 1] : NULL;
    return last != NULL && reply_is_error(last) ? last : NULL;
}

bool mover_clearance_answer(struct slot_mover *m,
                            struct burst *burst,
                            const struct agent_event *ev,
                            struct agent_effects *fx)
{
    CHECK(burst->clearances_awaited > 0);
    burst->clearances_awaited--;
    const struct reply *error = ev->code == 0 ? clearance_error(m, burst, ev, fx) : NULL;
    struct cluster_info info;
    if (ev->code != 0 || error != NULL) {
        mover_retry_reply(m, fx, ev, error, "asking the target before the hand-over");
    } else if (!read_info(ev, &info)) {
        mover_retry(m, fx, FAULT_OTHER, "the target's CLUSTER INFO cannot be read");
    } else if (!info.is_state_ok) {
        mover_retry(m, fx, FAULT_WAIT, "cluster state is not ok at the target");
    } else if (info.slots_pfail + info.slots_fail > m->failing_slots) {
        mover_retry(m, fx, FAULT_WAIT, "the target sees a primary failing");
    } else if (info.current_epoch < m->source_epoch || info.my_epoch == m->source_epoch) {
        mover_retry(m, fx, FAULT_OWNERSHIP, "the target's config epoch is not above the source's");
    } else {
        burst->is_clear = burst->clearances_awaited == 0;
        return burst->is_clear;
    }
    return false;
}
