/* lifecycle_create.c — empty nodes become a cluster. See lifecycle.h.
 *
 * Who is a primary, of which slots, and who replicates whom follows from the addresses and hosts
 * alone, so that every run comes to the same. Before they meet, every host tries the ports of all
 * (lifecycle_reach.c), and every node is a cluster of its own: two are together when they hold the
 * same view, or when no view lacks anybody. */
#include "common/base/alloc.h"
#include "coordinator/core/lifecycle_parts.h"

#include <stdio.h>
#include <stdlib.h>

struct layout {
    int count;       /* of addresses */
    int primaries;   /* of them */
    int *nodes;      /* [count] node index of each address */
    int *sites;      /* [count] */
    int *rank;       /* [count] 0.. for a primary, in order of choice; -1 for a replica */
    int *primary_at; /* [primaries] which address */
};

static void layout_release(struct layout *layout)
{
    free(layout->nodes);
    free(layout->sites);
    free(layout->rank);
    free(layout->primary_at);
}

static void layout_init(struct decision *d, struct layout *layout)
{
    int count = d->request->address_count;
    int replicas = d->request->replicas_wanted > 0 ? d->request->replicas_wanted : 0;
    *layout = (struct layout){.count = count, .primaries = count / (1 + replicas)};
    layout->nodes = xcalloc((size_t)count + 1, sizeof(int));
    layout->sites = xcalloc((size_t)count + 1, sizeof(int));
    layout->rank = xcalloc((size_t)count + 1, sizeof(int));
    layout->primary_at = xcalloc((size_t)layout->primaries + 1, sizeof(int));
    for (int i = 0; i < count; i++) {
        layout->sites[i] = placement_site_at(&d->placement, &d->request->addresses[i]);
        layout->rank[i] = -1;
        layout->nodes[i] = NO_NODE;
    }
}

/* Counts as if nothing were there yet, so that a later run chooses the same. */
static void choose_primaries(struct decision *d, struct layout *layout)
{
    bool *is_taken = xcalloc((size_t)layout->count + 1, sizeof(bool));
    for (int i = 0; i < d->placement.site_count; i++) {
        d->placement.sites[i].primary_count = 0;
        d->placement.sites[i].node_count = 0;
    }
    for (int i = 0; i < layout->primaries; i++) {
        int best = placement_pick_primary(&d->placement, layout->sites, is_taken, layout->count);
        is_taken[best] = true;
        placement_note(&d->placement, layout->sites[best], true);
        layout->rank[best] = i;
        layout->primary_at[i] = best;
    }
    free(is_taken);
}

/* Every address is seen, alone or in this cluster, and empty but for what we gave it. */
static void find_nodes(struct decision *d, struct layout *layout)
{
    const struct topology *topology = d->topology;
    for (int i = 0; i < layout->count; i++) {
        char text[ADDRESS_TEXT_SIZE];
        address_format(&d->request->addresses[i], text);
        for (int n = 0; n < topology->node_count; n++) {
            const struct topology_node *node = &topology->nodes[n];
            if (address_is_equal(&node->address, &d->request->addresses[i]) && node->is_reachable) {
                layout->nodes[i] = n;
            }
        }
        if (layout->nodes[i] == NO_NODE) {
            decide_wait(d, "no agent has seen a node at %.100s yet", text);
        } else if (!topology->nodes[layout->nodes[i]].is_cluster_enabled) {
            decide_refuse(d, ERR_REFUSED, "%.80s has cluster mode off; set cluster-enabled yes",
                          text);
        }
    }
}

static bool is_ours(const struct layout *layout, int node)
{
    for (int i = 0; i < layout->count; i++) {
        if (layout->nodes[i] == node) {
            return true;
        }
    }
    return false;
}

static int address_of(const struct layout *layout, int node)
{
    for (int i = 0; i < layout->count; i++) {
        if (layout->nodes[i] == node) {
            return i;
        }
    }
    return -1;
}

/* Rounded to the nearest, as everybody knows it: 0-5460, 5461-10922, 10923-16383. */
static int first_slot_of(const struct layout *layout, int rank)
{
    return (2 * rank * SLOT_COUNT + layout->primaries) / (2 * layout->primaries);
}

static void slots_of_rank(const struct layout *layout, int rank, struct slotset *slots)
{
    slotset_clear(slots);
    slotset_add_range(slots, first_slot_of(layout, rank), first_slot_of(layout, rank + 1) - 1);
}

static int rank_of_slot(const struct layout *layout, int slot)
{
    int rank = slot * layout->primaries / SLOT_COUNT;
    /* The ranges are cut with rounding; the neighbour may have it. */
    while (slot < first_slot_of(layout, rank)) {
        rank--;
    }
    while (slot >= first_slot_of(layout, rank + 1)) {
        rank++;
    }
    return rank;
}

static bool is_covered(const struct topology *topology)
{
    return count_uncovered(topology) == 0;
}

/* Slots that belong to others, or to ours in another order, and data: not a new cluster. */
static void check_unused(struct decision *d, const struct layout *layout)
{
    const struct topology *topology = d->topology;
    char name[TOPOLOGY_NAME_SIZE];
    bool is_whole = is_covered(topology);
    for (int slot = 0; slot < SLOT_COUNT; slot++) {
        int owner = topology->owner[slot];
        int address = owner == NO_NODE ? -1 : address_of(layout, owner);
        bool is_planned = address >= 0 && layout->rank[address] == rank_of_slot(layout, slot);
        if (owner != NO_NODE && !is_planned && !(is_whole && address >= 0)) {
            decide_refuse(d, ERR_REFUSED, "slot %d is owned by %.70s already; that is a cluster",
                          slot, name_of(d, owner, name));
            return;
        }
    }
    for (int i = 0; i < layout->count; i++) {
        const struct topology_node *node = &topology->nodes[layout->nodes[i]];
        if (node->slot_count == 0 && node->keys > 0 && node->role != NODE_ROLE_REPLICA) {
            decide_refuse(d, ERR_REFUSED,
                          "%.60s is used: it has keys, which would be lost; FLUSHALL it first",
                          name_of(d, layout->nodes[i], name));
        }
    }
    /* Who stands with ours in one view but is not named belongs to another cluster. */
    for (int i = 0; i < topology->node_count; i++) {
        const struct topology_node *node = &topology->nodes[i];
        for (int j = 0; j < layout->count && node->is_member && !is_ours(layout, i); j++) {
            int view = topology->nodes[layout->nodes[j]].view;
            if ((node->view != NO_VIEW && node->view == view) || !node->is_reachable) {
                decide_refuse(d, ERR_REFUSED,
                              "%.60s is a member too, but not named; that is a cluster",
                              name_of(d, i, name));
                return;
            }
        }
    }
}

static bool are_together(const struct topology *topology, const struct layout *layout)
{
    for (int i = 0; i < topology->disagreement_count; i++) {
        if (topology->disagreements[i].kind == DISAGREE_MEMBERSHIP) {
            return false;
        }
    }
    for (int i = 0; i < layout->count; i++) {
        if (!topology->nodes[layout->nodes[i]].is_member) {
            return false;
        }
    }
    return topology->disagreements_left_out == 0;
}

/* All to the first primary, at the same time: nobody has slots or data yet. */
static void join_all(struct decision *d, const struct layout *layout)
{
    const struct topology *topology = d->topology;
    int first = layout->nodes[layout->primary_at[0]];
    if (are_together(topology, layout)) {
        return;
    }
    for (int i = 0; i < layout->count; i++) {
        const struct topology_node *node = &topology->nodes[layout->nodes[i]];
        bool is_joined = node->view != NO_VIEW && node->view == topology->nodes[first].view;
        if (layout->nodes[i] != first && !is_joined) {
            struct task task;
            task_of_node(d, TASK_JOIN, layout->nodes[i], first, &task);
            decide_task(d, &task);
        }
    }
}

static void give_slots(struct decision *d, const struct layout *layout)
{
    if (is_covered(d->topology)) {
        return;
    }
    for (int rank = 0; rank < layout->primaries; rank++) {
        int node = layout->nodes[layout->primary_at[rank]];
        struct slotset own;
        struct task task;
        task_of_node(d, TASK_ADD_SLOTS, node, NO_NODE, &task);
        slots_of_rank(layout, rank, &task.slots);
        topology_node_slots(d->topology, node, &own);
        slotset_subtract(&task.slots, &own);
        if (!slotset_is_empty(&task.slots)) {
            task.flags = TASK_EPOCH;
            (void)snprintf(task.detail, sizeof(task.detail), "%d", rank + 1);
            decide_task(d, &task);
        }
    }
}

/* Pairs by addresses and hosts alone. A node that serves anybody as a replica has found its place.
 */
static void give_replicas(struct decision *d, const struct layout *layout)
{
    int n = 0;
    int *sites = xcalloc((size_t)layout->count + 1, sizeof(int));
    int *nodes = xcalloc((size_t)layout->count + 1, sizeof(int));
    int *result = xcalloc((size_t)layout->count + 1, sizeof(int));
    struct placement_shard *shards =
        xcalloc((size_t)layout->primaries + 1, sizeof(struct placement_shard));
    for (int i = 0; i < layout->count; i++) {
        if (layout->rank[i] < 0) {
            sites[n] = layout->sites[i];
            nodes[n++] = layout->nodes[i];
        }
    }
    for (int rank = 0; rank < layout->primaries; rank++) {
        shards[rank] = (struct placement_shard){
            .primary_site = layout->sites[layout->primary_at[rank]],
            .lack = n / layout->primaries + (rank < n % layout->primaries)};
    }
    placement_assign(&d->placement, shards, layout->primaries, sites, n, result);
    for (int i = 0; i < n; i++) {
        const struct topology_node *node = &d->topology->nodes[nodes[i]];
        if (node->role != NODE_ROLE_REPLICA && node->slot_count == 0 && result[i] != NO_SHARD) {
            decide_replicate(d, nodes[i], layout->nodes[layout->primary_at[result[i]]]);
        }
    }
    free(sites);
    free(nodes);
    free(result);
    free(shards);
}

void decide_create(struct decision *d)
{
    struct layout layout;
    layout_init(d, &layout);
    bool may_be_few = (d->request->flags & REQUEST_FORCE) != 0 && layout.primaries > 0;
    if (layout.primaries < PRIMARIES_FOR_FAILOVER && !may_be_few) {
        decide_refuse(
            d, ERR_REFUSED,
            "%d nodes with %d replicas each make %d primaries; a cluster needs %d or more",
            layout.count, d->request->replicas_wanted > 0 ? d->request->replicas_wanted : 0,
            layout.primaries, PRIMARIES_FOR_FAILOVER);
        layout_release(&layout);
        return;
    }
    choose_primaries(d, &layout);
    find_nodes(d, &layout);
    if (!decision_is_made(d)) {
        check_unused(d, &layout);
    }
    if (!decision_is_made(d) && !are_together(d->topology, &layout)) {
        decide_reach_each_other(d, layout.nodes, layout.count);
    }
    if (!decision_is_made(d)) {
        join_all(d, &layout);
    }
    if (!decision_is_made(d)) {
        give_slots(d, &layout);
    }
    if (!decision_is_made(d)) {
        decide_settled(d);
    }
    if (!decision_is_made(d)) {
        give_replicas(d, &layout);
    }
    decide_note(d, "%d primaries, %d replicas", layout.primaries, layout.count - layout.primaries);
    layout_release(&layout);
}
