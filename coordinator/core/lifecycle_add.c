/* lifecycle_add.c — addresses become members, then get slots or a primary. See lifecycle.h.
 *
 * Joins go one after the other: each ends with a config epoch of its own, and two at the same time
 * could take the same. */
#include "common/base/alloc.h"
#include "coordinator/core/lifecycle_parts.h"

#include <stdlib.h>

/* When hosts try the ports of one newcomer, they try those of all others at the same time. */
static void reach_others(struct decision *d, int first)
{
    bool is_trying = d->answer->batch_count > 0 && d->answer->batches[0].task != NULL &&
                     d->answer->batches[0].task->kind == TASK_REACH;
    for (int i = first; is_trying && i < d->request->address_count; i++) {
        if (find_member_at(d->topology, &d->request->addresses[i]) == NO_NODE) {
            (void)decide_reach(d, &d->request->addresses[i]);
        }
    }
}

/* The first address that is no member yet joins. Member indices go to 'members'. */
static void join_next(struct decision *d, int *members)
{
    for (int i = 0; i < d->request->address_count; i++) {
        members[i] = find_member_at(d->topology, &d->request->addresses[i]);
        if (members[i] == NO_NODE) {
            decide_join(d, &d->request->addresses[i]);
            reach_others(d, i + 1);
            return;
        }
    }
}

/* Of the target, or each of whom has the fewest. */
static void make_replicas(struct decision *d, const int *members)
{
    const struct topology *topology = d->topology;
    int count = d->request->address_count;
    int *nodes = xcalloc((size_t)count + 1, sizeof(int));
    int n = 0;
    int target = NO_NODE;
    if (!node_id_is_empty(&d->request->target)) {
        target = topology_find(topology, &d->request->target);
        if (target == NO_NODE || !is_live_primary(&topology->nodes[target])) {
            decide_refuse(d, ERR_REFUSED, "the target %.8s is no primary that answers; name one",
                          d->request->target.text);
        }
    }
    for (int i = 0; i < count && !decision_is_made(d); i++) {
        const struct topology_node *node = &topology->nodes[members[i]];
        char name[TOPOLOGY_NAME_SIZE];
        bool is_replica = node->role == NODE_ROLE_REPLICA;
        if (!is_replica && (node->slot_count > 0 || node->keys > 0)) {
            decide_refuse(d, ERR_REFUSED, "%.60s has %d slots; drain it before it is a replica",
                          name_of(d, members[i], name), node->slot_count);
        }
        bool is_wanted = !is_replica || (target != NO_NODE && node->primary != target);
        if (is_wanted && members[i] != target) {
            nodes[n++] = members[i];
        }
    }
    if (!decision_is_made(d) && target == NO_NODE) {
        decide_replicate_to_poorest(d, nodes, n);
    } else if (!decision_is_made(d)) {
        for (int i = 0; i < n; i++) {
            decide_replicate(d, nodes[i], target);
        }
    }
    free(nodes);
}

/* Slots only for those that are primaries: one that serves as a replica was given another duty. */
static void give_slots(struct decision *d, const int *members)
{
    int count = d->request->address_count;
    int *chosen = xcalloc((size_t)count + 1, sizeof(int));
    int n = 0;
    for (int i = 0; i < count; i++) {
        if (is_live_primary(&d->topology->nodes[members[i]])) {
            chosen[n++] = members[i];
        }
    }
    if (n > 0) {
        decide_rebalance(d, chosen, n);
    }
    free(chosen);
}

void decide_add(struct decision *d)
{
    if (d->request->address_count == 0) {
        decide_refuse(d, ERR_INVALID, "no address is named");
        return;
    }
    decide_settled(d);
    if (decision_is_made(d)) {
        return;
    }
    int *members = xcalloc((size_t)d->request->address_count, sizeof(int));
    join_next(d, members);
    if (!decision_is_made(d) && (d->request->flags & REQUEST_AS_REPLICA) != 0) {
        make_replicas(d, members);
    } else if (!decision_is_made(d) && (d->request->flags & REQUEST_WITHOUT_SLOTS) == 0) {
        give_slots(d, members);
    }
    decide_note(d, "%d node%s of the cluster, nothing is left to do", d->request->address_count,
                d->request->address_count == 1 ? " is a member" : "s are members");
    free(members);
}
