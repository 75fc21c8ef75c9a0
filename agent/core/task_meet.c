/* task_meet.c — TASK_MEET: nodes of one cluster that do not know each other are introduced.
 *
 * Every member without the node in its view meets it, and the node meets whom it lacks. Two nodes
 * that own the same slot are never introduced: the one with the lower config epoch would delete its
 * keys (facts F1, F18). */
#include "agent/core/task_parts.h"

#include <stdio.h>

#define MEET_MS_MAX 60000
#define MEET_INTERVAL_MS 3000
#define MEETS_AT_ONCE 32

/* A slot with two owners in the two views, or SLOT_NONE. */
static int find_clash(const struct nodes_view *a, const struct nodes_view *b)
{
    for (int slot = 0; slot < SLOT_COUNT; slot++) {
        int in_a = a->owner[slot];
        int in_b = b->owner[slot];
        if (in_a != NODES_NO_ROW && in_b != NODES_NO_ROW &&
            !node_id_is_equal(&a->rows[in_a].id, &b->rows[in_b].id)) {
            return slot;
        }
    }
    return SLOT_NONE;
}

static bool meet_judge(struct node_task *t, struct agent_effects *fx)
{
    (void)fx;
    if (!task_peer_is_there(t) || !task_node_is_there(t)) {
        return false;
    }
    bool is_acquainted = task_row(&t->peer.view, &t->node_id) != NULL ||
                         task_row(&t->node.view, &task_own_row(&t->peer)->id) != NULL;
    int slot = find_clash(&t->node.view, &t->peer.view);
    if (slot != SLOT_NONE) {
        task_say(t, "slot %d has two owners, %.12s and %.12s: repair it first, or keys are lost",
                 slot, t->node.view.rows[t->node.view.owner[slot]].id.text,
                 t->peer.view.rows[t->peer.view.owner[slot]].id.text);
        /* Views of nodes that do know each other meet by themselves. */
        task_wait(t, is_acquainted ? TASK_SETTLE_MS_MAX : 0, "two owners", ERR_REFUSED);
        return false;
    }
    return true;
}

static void node_meets(struct node_task *t, struct agent_effects *fx)
{
    int count = 0;
    struct command_list *commands = NULL;
    for (int i = 0; i < t->member_count && count < MEETS_AT_ONCE; i++) {
        const struct task_member *member = &t->members[i];
        const struct nodes_row *row = task_row(&t->peer.view, &member->id);
        if (task_row(&t->node.view, &member->id) == NULL && row != NULL && !member->is_lost) {
            bool is_peer = row == task_own_row(&t->peer);
            if (commands == NULL) {
                commands = task_act(t, fx, 0, &t->node.address, TASK_ASK_TIMEOUT_MS);
            }
            task_words_meet(commands, is_peer ? task_meet_host(&t->peer) : row->host,
                            member->address.port, row->bus_port);
            count++;
        }
    }
}

static void members_meet(struct node_task *t, struct agent_effects *fx)
{
    int count = 0;
    for (int i = 0; i < t->member_count && count < MEETS_AT_ONCE; i++) {
        const struct task_member *member = &t->members[i];
        if (!member->is_linked && !member->is_lost && !member->is_settled) {
            task_words_meet(task_act(t, fx, 0, &member->address, TASK_ASK_TIMEOUT_MS),
                            task_meet_host(&t->node), t->node.address.port,
                            task_bus_port(&t->node));
            count++;
        }
    }
}

static void meet_decide(struct node_task *t, struct agent_effects *fx)
{
    char name[ADDRESS_TEXT_SIZE];
    const struct task_member *unknown = task_unknown_member(t);
    if (t->complaint_count == 0 && unknown == NULL) {
        task_say(t, "all %d members and the node know each other", t->member_count);
        task_done(t);
        return;
    }
    if (t->complaint_count > 0) {
        task_say(t, "introduces: %s", t->complaint);
    } else {
        task_say(t, "introduces: the node has no link to %s yet",
                 task_name(name, &unknown->id, &unknown->address));
    }
    if (t->now_ms - t->begun_ms >= MEET_MS_MAX) {
        char text[TEXT_SIZE];
        (void)snprintf(text, sizeof(text), "%s", t->doing);
        task_fail(t, ERR_TIMEOUT, "%s", text);
        return;
    }
    if (t->now_ms >= t->join.next_meet_ms) {
        t->join.next_meet_ms = t->now_ms + MEET_INTERVAL_MS;
        members_meet(t, fx);
        node_meets(t, fx);
    }
    if (t->sm.state == RUNNER_ACTING) {
        task_rest_after(t);
    }
}

static void meet_hear_act(struct node_task *t,
                          const struct task_request *request,
                          const struct agent_event *ev,
                          struct agent_effects *fx)
{
    (void)request;
    (void)fx;
    const struct reply *error = ev->code == 0 ? task_first_error(ev) : NULL;
    enum redis_fault fault = error != NULL ? redis_fault_of(error) : FAULT_NONE;
    if (error != NULL && fault != FAULT_WAIT && t->sm.state == RUNNER_ACTING) {
        bool is_auth = fault == FAULT_AUTH;
        task_fail(t, is_auth ? ERR_AUTH : ERR_REFUSED, "CLUSTER MEET: %s", error->text);
    }
}

static bool meet_may_stop(const struct node_task *t)
{
    (void)t;
    return true;
}

const struct task_rules task_meet_rules = {
    .judge = meet_judge,
    .hear_view = task_hear_membership,
    .decide = meet_decide,
    .hear_act = meet_hear_act,
    .may_stop = meet_may_stop,
};
