/* task_replicate.c — TASK_REPLICATE: the node becomes a replica of the peer, in step with it.
 *
 * A replica protects nothing before its link is up and its lag low (facts F21), so the task ends
 * only then. A full sync may take as long as it proceeds: bytes read, bytes loaded and keys saved
 * at the primary all count as progress. */
#include "agent/core/task_parts.h"

#include <stdio.h>

/* Without any sign of progress: a node timeout, a reconnect and a fork of a large process fit. */
#define SYNC_STALL_MS_MAX 120000

static bool is_replica_of(const struct nodes_row *row, const struct node_id *primary)
{
    return row != NULL && (row->flags & NODES_FLAG_REPLICA) != 0 &&
           node_id_is_equal(&row->primary_id, primary);
}

static void note_progress(struct node_task *t)
{
    uint64_t mark = t->node.sync_progress + t->peer.sync_progress +
                    (uint64_t)(t->node.info.replica_offset > 0 ? t->node.info.replica_offset : 0);
    if (mark != t->progress_mark) {
        t->progress_mark = mark;
        t->progress_ms = t->now_ms;
    }
}

static bool is_loading(struct node_task *t)
{
    char name[ADDRESS_TEXT_SIZE];
    if (!t->node.is_loading) {
        return false;
    }
    task_say(t, "waits for %s, which loads what it was sent", task_node_name(t, name));
    task_rest(t);
    return true;
}

static bool is_fit(struct node_task *t)
{
    char name[ADDRESS_TEXT_SIZE];
    char peer[ADDRESS_TEXT_SIZE];
    const struct nodes_row *own = task_own_row(&t->node);
    const struct nodes_row *primary = task_own_row(&t->peer);
    task_node_name(t, name);
    task_peer_name(t, peer);
    if (node_id_is_equal(&own->id, &primary->id)) {
        task_fail(t, ERR_INVALID, "%s cannot replicate itself", name);
    } else if ((primary->flags & NODES_FLAG_PRIMARY) == 0) {
        task_fail(t, ERR_CONFLICT, "%s is a replica itself, of %.12s: take its primary", peer,
                  primary->primary_id.text);
    } else if ((own->flags & NODES_FLAG_PRIMARY) != 0 && own->slot_count > 0) {
        task_fail(t, ERR_REFUSED, "%s owns %d slots: drain it first", name, own->slot_count);
    } else if ((own->flags & NODES_FLAG_PRIMARY) != 0 && t->node.keys > 0) {
        task_fail(t, ERR_REFUSED,
                  "%s holds %lld keys as a primary: they would be lost; FLUSHALL it", name,
                  (long long)t->node.keys);
    } else if (task_row(&t->node.view, &primary->id) == NULL) {
        task_say(t, "%s does not know %s yet: join it first", name, peer);
        task_wait(t, TASK_SETTLE_MS_MAX, "peer unknown", ERR_REFUSED);
    } else {
        return true;
    }
    return false;
}

static bool replicate_judge(struct node_task *t, struct agent_effects *fx)
{
    (void)fx;
    note_progress(t);
    if (!task_peer_is_there(t) || is_loading(t) || !task_node_is_there(t)) {
        return false;
    }
    return is_fit(t);
}

static void replicate_hear_view(struct node_task *t,
                                struct task_member *member,
                                const struct nodes_view *view)
{
    char name[ADDRESS_TEXT_SIZE];
    if (!is_replica_of(task_row(view, &t->node_id), &t->task->peer)) {
        task_complain(t, "member %s does not show it as a replica of %.12s yet",
                      task_name(name, &member->id, &member->address), t->task->peer.text);
    }
}

/* Says what is missing when it is not. */
static bool is_in_step(struct node_task *t)
{
    int64_t lag = t->peer.info.primary_offset - t->node.info.replica_offset;
    if (t->node.info.is_primary_link_up != 1) {
        task_say(t, "full sync: %llu bytes so far", (unsigned long long)t->node.sync_progress);
    } else if (lag > TASK_LAG_BYTES_MAX) {
        task_say(t, "catches up: %lld bytes behind", (long long)lag);
    } else if (t->complaint_count > 0) {
        task_say(t, "in step; %s", t->complaint);
    } else {
        return true;
    }
    return false;
}

static void replicate_decide(struct node_task *t, struct agent_effects *fx)
{
    if (!is_replica_of(task_own_row(&t->node), &t->task->peer)) {
        task_say(t, "CLUSTER REPLICATE %.12s", t->task->peer.text);
        if (t->now_ms - t->progress_ms >= SYNC_STALL_MS_MAX) {
            task_fail(t, ERR_TIMEOUT, "it does not become a replica of %.12s", t->task->peer.text);
            return;
        }
        /* A replica of somebody else drops what it holds at once, which takes its time. */
        commands_add(task_act(t, fx, 0, &t->node.address, TASK_SLOW_TIMEOUT_MS), "CLUSTER",
                     "REPLICATE", t->task->peer.text, (char *)NULL);
        task_rest_after(t);
    } else if (is_in_step(t)) {
        task_say(t, "replicates %.12s, in step", t->task->peer.text);
        task_done(t);
    } else if (t->now_ms - t->progress_ms >= SYNC_STALL_MS_MAX) {
        char text[TEXT_SIZE];
        (void)snprintf(text, sizeof(text), "%s", t->doing);
        task_fail(t, ERR_TIMEOUT, "no progress for %d s (see its log; is masterauth set?): %.90s",
                  SYNC_STALL_MS_MAX / 1000, text);
    } else {
        task_rest(t);
    }
}

static void replicate_hear_act(struct node_task *t,
                               const struct task_request *request,
                               const struct agent_event *ev,
                               struct agent_effects *fx)
{
    (void)request;
    (void)fx;
    const struct reply *error = ev->code == 0 ? task_first_error(ev) : NULL;
    if (error == NULL) {
        return;
    }
    enum redis_fault fault = redis_fault_of(error);
    if (fault == FAULT_AUTH) {
        task_fail(t, ERR_AUTH, "CLUSTER REPLICATE: %s", error->text);
    } else if (fault == FAULT_OTHER) { /* the rest passes, as a peer that it does not know yet */
        task_fail(t, ERR_REFUSED, "CLUSTER REPLICATE: %s", error->text);
    }
}

static bool replicate_may_stop(const struct node_task *t)
{
    (void)t;
    return true; /* the sync goes on by itself */
}

const struct task_rules task_replicate_rules = {
    .judge = replicate_judge,
    .hear_view = replicate_hear_view,
    .decide = replicate_decide,
    .hear_act = replicate_hear_act,
    .may_stop = replicate_may_stop,
};
