/* task_join_undo.c — a join that did not end in time is taken back.
 *
 * The node is reset first, so that it cannot come back by gossip; then every member forgets it.
 * Only a node that nobody uses is taken out: no slot, key or replica in any view of this round. */
#include "agent/core/task_parts.h"

#include <stdio.h>
#include <string.h>

#define UNDO_MS_MAX 20000

void task_join_give_up(struct node_task *t, enum runner_state verdict, int code)
{
    (void)snprintf(t->reason, sizeof(t->reason), "%s", t->doing);
    if (!t->join.has_met) {
        t->code = code;
        sm_move(&t->sm, (int)verdict, t->now_ms);
        return;
    }
    t->join.is_undoing = true;
    t->join.verdict = verdict;
    t->join.code = code;
    t->join.undo_until_ms = t->now_ms + UNDO_MS_MAX;
    t->round = 0;
    task_unsettle(t);
    if (t->sm.state != RUNNER_RESTING && t->sm.state != RUNNER_ACTING) {
        task_rest(t);
    }
}

static void undo_over(struct node_task *t, const char *how)
{
    size_t len = strlen(t->reason);
    (void)snprintf(t->reason + len, sizeof(t->reason) - len, "%s", how);
    t->code = t->join.code;
    sm_move(&t->sm, (int)t->join.verdict, t->now_ms);
}

static bool is_node_itself(const struct node_task *t)
{
    const struct nodes_row *own = task_own_row(&t->node);
    return own != NULL && node_id_is_equal(&own->id, &t->node_id);
}

/* A reset node has another id and knows only itself. */
static bool is_reset_needed(const struct node_task *t)
{
    return is_node_itself(t) && t->node.view.row_count > 1;
}

void task_undo_hear_view(struct node_task *t,
                         struct task_member *member,
                         const struct nodes_view *view)
{
    const char *host = task_meet_host(&t->node);
    const struct nodes_row *node = task_row(view, &t->node_id);
    member->is_listing = node != NULL;
    t->join.is_in_use |= node != NULL && node->slot_count > 0;
    for (int i = 0; i < view->row_count; i++) {
        const struct nodes_row *row = &view->rows[i];
        bool is_here = row->port == t->node.address.port && strcmp(row->host, host) == 0;
        t->join.is_in_use |= node_id_is_equal(&row->primary_id, &t->node_id);
        t->join.is_greeted |= is_here && (row->flags & NODES_FLAG_HANDSHAKE) != 0;
    }
    task_complain(t, "undoing"); /* everybody is asked again each round */
}

static bool is_in_use(const struct node_task *t)
{
    const struct nodes_row *own = task_own_row(&t->node);
    return t->join.is_in_use || (is_node_itself(t) && (own->slot_count > 0 || t->node.keys > 0 ||
                                                       (own->flags & NODES_FLAG_PRIMARY) == 0));
}

static int forget(struct node_task *t, struct agent_effects *fx)
{
    int count = 0;
    for (int i = 0; i < t->member_count; i++) {
        if (t->members[i].is_listing && !t->members[i].is_lost) {
            commands_add(task_act(t, fx, -1, &t->members[i].address, TASK_ASK_TIMEOUT_MS),
                         "CLUSTER", "FORGET", t->node_id.text, (char *)NULL);
            count++;
        }
    }
    return count;
}

void task_undo_decide(struct node_task *t, struct agent_effects *fx)
{
    if (is_in_use(t)) {
        undo_over(t, "; not undone: it is in use");
    } else if (t->now_ms >= t->join.undo_until_ms) {
        undo_over(t, "; undoing it did not end in time");
    } else if (is_reset_needed(t)) {
        task_log(t, fx, LOG_WARN, "task.undoing");
        commands_add(task_act(t, fx, -1, &t->node.address, TASK_SLOW_TIMEOUT_MS), "CLUSTER",
                     "RESET", "HARD", (char *)NULL);
    } else if (forget(t, fx) > 0) {
        task_rest_after(t);
    } else if (t->lost_count > 0 || t->join.is_greeted) {
        task_rest(t); /* a handshake that ends well now would bring it in under its new id */
    } else if (t->node.has_view && t->node.view.row_count > 1) {
        t->node_id = task_own_row(&t->node)->id; /* that has happened */
        task_rest(t);
    } else {
        undo_over(t, "; undone");
    }
}
