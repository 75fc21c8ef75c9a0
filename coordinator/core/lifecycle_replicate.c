/* lifecycle_replicate.c — one node gets another primary, or takes over from it. See lifecycle.h. */
#include "coordinator/core/lifecycle_parts.h"

/* A member that answers, or a refusal. */
static int find_live(struct decision *d, const struct node_id *id, const char *as_what)
{
    char name[TOPOLOGY_NAME_SIZE];
    int node = topology_find(d->topology, id);
    if (node == NO_NODE || !d->topology->nodes[node].is_member) {
        decide_refuse(d, ERR_NOT_FOUND, "%s %.8s is no member of the cluster; add it first",
                      as_what, id->text);
        return NO_NODE;
    }
    if (!is_live(&d->topology->nodes[node])) {
        decide_refuse(d, ERR_REFUSED, "%s %.80s does not answer", as_what, name_of(d, node, name));
        return NO_NODE;
    }
    return node;
}

/* What stands against the node becoming anybody's replica. */
static void check_may_replicate(struct decision *d, int node)
{
    const struct topology_node *subject = &d->topology->nodes[node];
    char name[TOPOLOGY_NAME_SIZE];
    char other[TOPOLOGY_NAME_SIZE];
    name_of(d, node, name);
    if (subject->role == NODE_ROLE_PRIMARY) {
        if (subject->slot_count > 0) {
            decide_refuse(d, ERR_REFUSED, "%.70s owns %d slots; drain it first", name,
                          subject->slot_count);
        } else if (subject->keys > 0) {
            decide_refuse(d, ERR_REFUSED, "%.70s has keys of its own; they would be lost", name);
        }
        for (int i = 0; i < d->topology->node_count; i++) {
            if (is_live(&d->topology->nodes[i]) && d->topology->nodes[i].primary == node) {
                decide_refuse(d, ERR_REFUSED, "%.50s has a replica, %.50s; give that another first",
                              name, name_of(d, i, other));
            }
        }
        return;
    }
    if (is_online_replica(subject) && subject->primary != NO_NODE &&
        d->topology->nodes[subject->primary].slot_count > 0) {
        int barrier = barrier_of(d, subject->primary);
        int left = count_online_replicas(d->topology, subject->primary) - 1;
        if (left < barrier) {
            decide_refuse(
                d, ERR_REFUSED,
                "%.60s would keep %d online replicas, at least %d are needed; add one first",
                name_of(d, subject->primary, other), left, barrier);
        }
    }
}

void decide_replicate_request(struct decision *d)
{
    char name[TOPOLOGY_NAME_SIZE];
    char other[TOPOLOGY_NAME_SIZE];
    int node = find_live(d, &d->request->node, "the node");
    int target = node == NO_NODE ? NO_NODE : find_live(d, &d->request->target, "the target");
    if (target == NO_NODE) {
        return;
    }
    const struct topology_node *subject = &d->topology->nodes[node];
    if (subject->role == NODE_ROLE_REPLICA && subject->primary == target) {
        if (!subject->is_link_up) {
            decide_wait(d, "%.70s is still copying from its primary", name_of(d, node, name));
        }
        decide_note(d, "it is a replica of %.80s, and in step", name_of(d, target, name));
        return;
    }
    if (d->topology->nodes[target].role != NODE_ROLE_PRIMARY) {
        decide_refuse(d, ERR_REFUSED, "%.50s is a replica; name its primary %.50s",
                      name_of(d, target, name),
                      name_of(d, d->topology->nodes[target].primary, other));
    } else if (node == target) {
        decide_refuse(d, ERR_INVALID, "a node cannot be its own replica");
    } else {
        check_may_replicate(d, node);
    }
    if (!decision_is_made(d)) {
        decide_settled(d);
    }
    if (!decision_is_made(d)) {
        decide_replicate(d, node, target);
    }
}

void decide_handover(struct decision *d, int replica, bool is_forced)
{
    const struct topology *topology = d->topology;
    const struct topology_node *subject = &topology->nodes[replica];
    char name[TOPOLOGY_NAME_SIZE];
    struct task task;
    name_of(d, replica, name);
    if (subject->role != NODE_ROLE_REPLICA || subject->primary == NO_NODE) {
        decide_refuse(d, ERR_REFUSED, "%.80s is no replica of a known primary", name);
        return;
    }
    bool is_primary_live = is_live(&topology->nodes[subject->primary]);
    if (!is_forced && !is_primary_live) {
        decide_refuse(d, ERR_REFUSED,
                      "the primary of %.60s does not answer; force it, if Redis does not act",
                      name);
        return;
    }
    if (!is_forced && !subject->is_link_up) {
        decide_refuse(d, ERR_REFUSED, "%.70s is not in step with its primary; wait for it", name);
        return;
    }
    task_of_node(d, TASK_FAILOVER, replica, subject->primary, &task);
    task.flags = is_forced ? TASK_FORCE : 0;
    decide_task(d, &task);
}

void decide_failover(struct decision *d)
{
    char name[TOPOLOGY_NAME_SIZE];
    int node = find_live(d, &d->request->node, "the node");
    bool is_forced = (d->request->flags & REQUEST_FORCE) != 0;
    if (node == NO_NODE) {
        return;
    }
    if (d->topology->nodes[node].role == NODE_ROLE_PRIMARY) {
        decide_note(d, "%.80s is a primary", name_of(d, node, name));
        return;
    }
    if (!is_forced) {
        decide_settled(d);
    }
    if (!decision_is_made(d)) {
        decide_handover(d, node, is_forced);
    }
}
