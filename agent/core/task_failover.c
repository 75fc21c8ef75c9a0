/* task_failover.c — TASK_FAILOVER: a replica in step takes over from its primary.
 *
 * The primary holds its clients up until the replica has everything, so no write is lost; a manual
 * failover that does not end within 5 s is dropped by the replica itself. With TASK_FORCE the
 * primary is not asked: for one that does not answer. Done when every member shows the node with
 * the slots, and the peer as its replica or as down. Source: redis.io CLUSTER FAILOVER. */
#include "agent/core/task_parts.h"

#include <stdio.h>

#define FAILOVER_MS_MAX 60000
#define FAILOVER_TRIES_MAX 4
#define FAILOVER_INTERVAL_MS 6000 /* the server gives up a manual one after 5 s */

static bool is_forced(const struct node_task *t)
{
    return (t->task->flags & TASK_FORCE) != 0;
}

static bool is_down(const struct nodes_row *row)
{
    return row == NULL || (row->flags & (NODES_FLAG_FAIL | NODES_FLAG_PFAIL)) != 0;
}

static bool has_followed(const struct node_task *t, const struct nodes_view *view)
{
    const struct nodes_row *peer = task_row(view, &t->task->peer);
    bool is_replica = peer != NULL && (peer->flags & NODES_FLAG_REPLICA) != 0 &&
                      node_id_is_equal(&peer->primary_id, &t->node_id);
    return is_replica || is_down(peer);
}

/* The primary's slots, as long as it is the primary: what the node must own at the end. */
static void note_slots(struct node_task *t)
{
    const struct nodes_view *view = &t->node.view;
    int peer = nodes_view_find(view, &t->task->peer);
    if (peer != NODES_NO_ROW && view->rows[peer].slot_count > 0) {
        nodes_row_slots(view, peer, &t->failover.slots);
    }
}

static bool is_in_step(struct node_task *t)
{
    int64_t lag = t->peer.info.primary_offset - t->node.info.replica_offset;
    if (t->node.info.is_primary_link_up != 1) {
        task_say(t, "its link to the primary is down: repair it, or force the failover");
    } else if (t->peer.has_view && lag > TASK_LAG_BYTES_MAX) {
        task_say(t, "it is %lld bytes behind its primary", (long long)lag);
    } else {
        return true;
    }
    task_wait(t, TASK_SILENCE_MS_MAX, "replica behind", ERR_REFUSED);
    return false;
}

static bool is_fit_replica(struct node_task *t)
{
    char name[ADDRESS_TEXT_SIZE];
    const struct nodes_row *own = task_own_row(&t->node);
    task_node_name(t, name);
    if (!node_id_is_equal(&own->primary_id, &t->task->peer)) {
        task_fail(t, ERR_CONFLICT, "%s replicates %.12s, not %.12s as ordered", name,
                  own->primary_id.text, t->task->peer.text);
        return false;
    }
    note_slots(t);
    if (slotset_is_empty(&t->failover.slots)) {
        task_fail(t, ERR_REFUSED, "%.12s owns no slots: nobody would vote for its replica",
                  t->task->peer.text);
        return false;
    }
    return is_forced(t) || is_in_step(t);
}

static bool failover_judge(struct node_task *t, struct agent_effects *fx)
{
    (void)fx;
    char name[ADDRESS_TEXT_SIZE];
    if (!task_node_is_there(t)) {
        return false;
    }
    const struct nodes_row *own = task_own_row(&t->node);
    if ((own->flags & NODES_FLAG_REPLICA) != 0) {
        bool is_peer_needed = !is_forced(t) && t->failover.tries == 0;
        return (!is_peer_needed || task_peer_is_there(t)) && is_fit_replica(t);
    }
    bool is_stranger = t->failover.tries == 0 && !has_followed(t, &t->node.view);
    if (is_stranger || own->slot_count == 0) {
        task_fail(t, ERR_CONFLICT, "%s is a primary, and not in the place of %.12s",
                  task_node_name(t, name), t->task->peer.text);
        return false;
    }
    return true;
}

static void failover_hear_view(struct node_task *t,
                               struct task_member *member,
                               const struct nodes_view *view)
{
    char name[ADDRESS_TEXT_SIZE];
    struct slotset slots = {0};
    int row = nodes_view_find(view, &t->node_id);
    task_name(name, &member->id, &member->address);
    if (row == NODES_NO_ROW || (view->rows[row].flags & NODES_FLAG_PRIMARY) == 0) {
        task_complain(t, "member %s does not show it as the primary yet", name);
        return;
    }
    nodes_row_slots(view, row, &slots);
    struct slotset missing = t->failover.slots;
    slotset_subtract(&missing, &slots);
    if (slotset_is_empty(&slots) || !slotset_is_empty(&missing)) {
        task_complain(t, "member %s does not show it with the slots yet", name);
    } else if (!has_followed(t, view)) {
        task_complain(t, "member %s does not show the old primary as its replica yet", name);
    }
}

static void fail_over(struct node_task *t, struct agent_effects *fx)
{
    task_say(t, "waits for the others to make it the primary");
    if (t->now_ms < t->failover.next_ms) {
        task_rest(t);
        return;
    }
    if (t->failover.tries >= FAILOVER_TRIES_MAX) {
        task_fail(t, ERR_TIMEOUT, "still a replica after %d times CLUSTER FAILOVER; see its log",
                  t->failover.tries);
        return;
    }
    t->failover.tries++;
    t->failover.next_ms = t->now_ms + FAILOVER_INTERVAL_MS;
    t->round = 0;
    task_log(t, fx, LOG_INFO, "task.failover");
    struct command_list *commands = task_act(t, fx, 0, &t->node.address, TASK_ASK_TIMEOUT_MS);
    commands_begin(commands);
    commands_arg_text(commands, "CLUSTER");
    commands_arg_text(commands, "FAILOVER");
    if (is_forced(t)) {
        commands_arg_text(commands, "FORCE");
    }
    task_rest_after(t);
}

static void failover_decide(struct node_task *t, struct agent_effects *fx)
{
    const struct nodes_row *own = task_own_row(&t->node);
    if ((own->flags & NODES_FLAG_REPLICA) != 0) {
        fail_over(t, fx);
    } else if (t->complaint_count == 0 && has_followed(t, &t->node.view)) {
        task_say(t, "is the primary, of %d slots", own->slot_count);
        task_done(t);
    } else {
        task_say(t, "is the primary; %s", t->complaint);
        task_wait(t, FAILOVER_MS_MAX, "views lag", ERR_TIMEOUT);
    }
}

static void failover_hear_act(struct node_task *t,
                              const struct task_request *request,
                              const struct agent_event *ev,
                              struct agent_effects *fx)
{
    (void)request;
    (void)fx;
    const struct reply *error = ev->code == 0 ? task_first_error(ev) : NULL;
    enum redis_fault fault = error != NULL ? redis_fault_of(error) : FAULT_NONE;
    bool is_none_any_more = error != NULL && reply_contains(error, "to a replica"); /* good */
    if (error != NULL && fault != FAULT_WAIT && !is_none_any_more) {
        bool is_auth = fault == FAULT_AUTH;
        task_fail(t, is_auth ? ERR_AUTH : ERR_REFUSED, "CLUSTER FAILOVER: %s", error->text);
    }
}

static bool failover_may_stop(const struct node_task *t)
{
    return t->failover.tries == 0;
}

const struct task_rules task_failover_rules = {
    .judge = failover_judge,
    .hear_view = failover_hear_view,
    .decide = failover_decide,
    .hear_act = failover_hear_act,
    .may_stop = failover_may_stop,
};
