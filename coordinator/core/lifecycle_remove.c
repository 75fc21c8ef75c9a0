/* lifecycle_remove.c — a node leaves for good, alive or dead. See lifecycle.h.
 *
 *   primary:  its slots move (or, with a target, that replica takes over) -> replicas re-homed
 *   replica:  nothing                             then both: leave -> stop, when ours -> release
 *
 * Client traffic is taken off before the first of these steps, once all of them are allowed.
 *
 * Redis makes a primary that gave its last slot away a replica of whoever got it, and its replicas
 * go along: both ways are handled. */
#include "coordinator/core/lifecycle_parts.h"

#include <stdio.h>
#include <string.h>

/* A removed node that was a member under an id that nobody lists properly any more. */
static const struct topology_ghost *find_ghost(const struct topology *topology,
                                               const struct node_id *id)
{
    for (int i = 0; i < topology->ghost_count; i++) {
        if (node_id_is_equal(&topology->ghosts[i].id, id) &&
            topology->ghosts[i].kind != GHOST_UNKNOWN) {
            return &topology->ghosts[i];
        }
    }
    return NULL;
}

static void remove_ghost(struct decision *d, const struct topology_ghost *ghost)
{
    int peer = find_peer(d->topology, NO_NODE);
    struct task task = {
        .kind = TASK_LEAVE, .flags = TASK_DEAD, .node = ghost->id, .node_address = ghost->address};
    if ((d->request->flags & REQUEST_DEAD) == 0) {
        decide_refuse(d, ERR_REFUSED, "node %.8s has no address any more; remove it as dead",
                      ghost->id.text);
    } else if (peer == NO_NODE) {
        decide_wait(d, "no primary answers");
    } else {
        task.peer = d->topology->nodes[peer].id;
        task.peer_address = d->topology->nodes[peer].address;
        decide_task(d, &task);
    }
}

static void remove_dead(struct decision *d, int node)
{
    const struct topology_node *subject = &d->topology->nodes[node];
    int uncovered = count_uncovered(d->topology);
    char name[TOPOLOGY_NAME_SIZE];
    name_of(d, node, name);
    if (subject->is_reachable) {
        decide_refuse(d, ERR_REFUSED, "%.70s answers; remove it without saying that it is dead",
                      name);
    } else if (subject->slot_count > 0) {
        decide_refuse(d, ERR_REFUSED,
                      "%.60s owns %d slots; let a replica take over or repair with "
                      "unreachable-ok first",
                      name, subject->slot_count);
    } else if (!subject->is_failed) {
        decide_refuse(d, ERR_REFUSED,
                      "%.60s does not answer, but the cluster has not marked it failed", name);
    } else if (uncovered > 0) {
        decide_refuse(d, ERR_REFUSED, "%d slots have no owner; repair the cluster first",
                      uncovered);
    } else {
        decide_leave(d, node, true);
    }
}

/* No step leaves a primary with fewer online replicas than the barrier. One that does not count as
 * online is missed by nobody. */
static void check_barrier(struct decision *d, int node)
{
    const struct topology_node *subject = &d->topology->nodes[node];
    if (!is_online_replica(subject) || was_emptied(d, node) || subject->primary == NO_NODE) {
        return;
    }
    char name[TOPOLOGY_NAME_SIZE];
    int barrier = barrier_of(d, subject->primary);
    int left = count_online_replicas(d->topology, subject->primary) - 1;
    if (left < barrier) {
        decide_refuse(d, ERR_REFUSED,
                      "%.60s would keep %d online replicas, at least %d are needed; add one first",
                      name_of(d, subject->primary, name), left, barrier);
    }
}

/* The shard stays: its replica takes over, and the old primary leaves as a replica. */
static void hand_over(struct decision *d, int node)
{
    const struct topology *topology = d->topology;
    int target = topology_find(topology, &d->request->target);
    char name[TOPOLOGY_NAME_SIZE];
    if (target == NO_NODE || topology->nodes[target].primary != node) {
        decide_refuse(d, ERR_REFUSED, "%.8s is no replica of %.70s; name one of its replicas",
                      d->request->target.text, name_of(d, node, name));
        return;
    }
    int barrier = barrier_of(d, node);
    int left = count_online_replicas(topology, node) - 1;
    if (left < barrier) {
        decide_refuse(d, ERR_REFUSED,
                      "%.50s would keep %d online replicas, at least %d are needed; add one first",
                      name_of(d, target, name), left, barrier);
        return;
    }
    decide_handover(d, target, false);
}

static void remove_member(struct decision *d, int node)
{
    const struct topology_node *subject = &d->topology->nodes[node];
    char name[TOPOLOGY_NAME_SIZE];
    decide_settled(d);
    if (decision_is_made(d)) {
        return;
    }
    if (!is_live(subject)) {
        decide_refuse(d, ERR_REFUSED, "%.60s does not answer; if it never will, remove it as dead",
                      name_of(d, node, name));
        return;
    }
    bool has_slots = subject->role == NODE_ROLE_PRIMARY && subject->slot_count > 0;
    if (has_slots && !node_id_is_empty(&d->request->target)) {
        hand_over(d, node);
        decide_traffic_first(d, &node, 1);
    } else if (has_slots) {
        decide_drain(d, &node, 1);
        decide_traffic_first(d, &node, 1);
    } else if (subject->role == NODE_ROLE_PRIMARY || was_emptied(d, node)) {
        decide_rehome(d, node);
        decide_traffic_first(d, &node, 1);
    }
    if (!decision_is_made(d) && subject->role == NODE_ROLE_REPLICA) {
        check_barrier(d, node);
    }
    if (!decision_is_made(d)) {
        decide_leave(d, node, false);
    }
}

void decide_remove(struct decision *d)
{
    int node = topology_find(d->topology, &d->request->node);
    const struct topology_ghost *ghost = find_ghost(d->topology, &d->request->node);
    if (node != NO_NODE && d->topology->nodes[node].is_member) {
        if ((d->request->flags & REQUEST_DEAD) != 0) {
            remove_dead(d, node);
        } else {
            remove_member(d, node);
        }
        return;
    }
    /* Forgotten by all, but never reset: its removal was broken off, or it came back with the files
     * that it had. One that was removed as dead is left as it is. */
    if (node != NO_NODE && d->topology->nodes[node].is_outcast &&
        (d->request->flags & REQUEST_DEAD) == 0) {
        decide_leave(d, node, false);
        return;
    }
    if (ghost != NULL) {
        remove_ghost(d, ghost);
        return;
    }
    if ((d->request->flags & REQUEST_KEEP_RUNNING) == 0) {
        decide_stops(d);
    }
    if (!decision_is_made(d) && (d->request->flags & REQUEST_KEEP_RUNNING) == 0) {
        decide_releases(d);
    }
    decide_note(d, "%.8s is no member of the cluster", d->request->node.text);
}
