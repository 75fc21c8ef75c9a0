/* lifecycle_scale.c — so many primaries, each with so many replicas. See lifecycle.h.
 *
 *   too few primaries:   start or provision -> join -> their replicas -> rebalance onto all of them
 *   too many:            client traffic off -> one drain of all that leave, each slot moved once
 *   then:                replicas by placement -> what is over leaves -> stop, when ours -> release
 *
 * Members without slots are used before spares. When the number of primaries is said, members that
 * serve nothing in the end leave: that is how an interrupted run is finished. */
#include "common/base/alloc.h"
#include "coordinator/core/lifecycle_parts.h"

#include <stdlib.h>

/* What is there and what is wanted. */
struct scale {
    int primaries; /* wanted */
    int replicas;  /* wanted of each; -1 = as many as there are */
    int *slotted;  /* primaries with slots: node indices; owned */
    int slotted_count;
    int *empty; /* live primaries without slots; owned */
    int empty_count;
    int live_count; /* members that answer */
};

static void scale_release(struct scale *scale)
{
    free(scale->slotted);
    free(scale->empty);
}

static void scale_init(const struct decision *d, struct scale *scale)
{
    const struct topology *topology = d->topology;
    *scale = (struct scale){.slotted = xcalloc((size_t)topology->node_count + 1, sizeof(int)),
                            .empty = xcalloc((size_t)topology->node_count + 1, sizeof(int))};
    for (int i = 0; i < topology->node_count; i++) {
        const struct topology_node *node = &topology->nodes[i];
        bool is_primary = node->is_member && node->role == NODE_ROLE_PRIMARY;
        scale->live_count += is_live(node);
        if (is_primary && node->slot_count > 0) {
            scale->slotted[scale->slotted_count++] = i;
        } else if (is_live_primary(node) && node->keys <= 0) {
            scale->empty[scale->empty_count++] = i;
        }
    }
    scale->primaries =
        d->request->primaries_wanted > 0 ? d->request->primaries_wanted : scale->slotted_count;
    scale->replicas = d->request->replicas_wanted;
}

static void check_wish(struct decision *d, const struct scale *scale)
{
    if (scale->slotted_count == 0) {
        decide_refuse(d, ERR_REFUSED, "no primary has slots; create the cluster first");
    } else if (scale->primaries < scale->slotted_count &&
               scale->primaries < PRIMARIES_FOR_FAILOVER) {
        decide_refuse(d, ERR_REFUSED, "%d primaries cannot outvote a dead one; keep %d or more",
                      scale->primaries, PRIMARIES_FOR_FAILOVER);
    }
}

/* Nodes that are wanted beyond those that are members. A replica that is over becomes another
 * shard's replica, but no primary. */
static int count_missing(const struct scale *scale)
{
    int for_primaries = scale->primaries - scale->slotted_count - scale->empty_count;
    int in_all = scale->replicas < 0 ? for_primaries
                                     : scale->primaries * (1 + scale->replicas) - scale->live_count;
    return in_all > for_primaries ? in_all : for_primaries;
}

/* All nodes are there before anything begins; else it is refused while nothing is half done. */
static void find_nodes(struct decision *d, const struct scale *scale)
{
    struct address *spares = NULL;
    int missing = count_missing(scale);
    int spare_count = list_spares(d, &spares);
    free(spares);
    if (missing <= spare_count) {
        return;
    }
    struct address coming;
    if (find_coming(d, &coming)) {
        char text[ADDRESS_TEXT_SIZE];
        decide_wait(d, "the new server at %.100s does not show yet", address_format(&coming, text));
        return;
    }
    int startable = count_startable(d);
    if (missing > spare_count + startable && !can_provision(d)) {
        decide_refuse(d, ERR_REFUSED,
                      "%d more nodes are needed; %d spares run and hosts could start %d; provide "
                      "%d more",
                      missing, spare_count, startable, missing - spare_count - startable);
        return;
    }
    int new_nodes = missing - spare_count;
    int primaries = scale->primaries - scale->slotted_count - scale->empty_count - spare_count;
    int starts = new_nodes < startable ? new_nodes : startable;
    primaries = primaries > 0 ? primaries : 0;
    decide_starts(d, starts, primaries < starts ? primaries : starts);
    if (d->answer->verdict == 0) {
        decide_provisions(d, new_nodes - starts, primaries > starts ? primaries - starts : 0);
    }
}

static bool has_replica(const struct topology *topology, int primary)
{
    for (int i = 0; i < topology->node_count; i++) {
        if (is_live(&topology->nodes[i]) && topology->nodes[i].primary == primary) {
            return true;
        }
    }
    return false;
}

/* The batch by which this operation joined the node, or -1. */
static int joined_by(const struct decision *d, int node)
{
    for (int i = 0; i < d->facts->batch_count; i++) {
        const struct batch *batch = &d->facts->batches[i];
        if (batch->kind == BATCH_TASK && batch->task != NULL && batch->task->kind == TASK_JOIN &&
            address_is_equal(&batch->task->node_address, &d->topology->nodes[node].address)) {
            return i;
        }
    }
    return -1;
}

/* Primaries join before replicas do: whoever came when there were enough is left out. The rest is
 * put in the order in which it came; returns how many that are. */
static int list_candidates(const struct decision *d, const struct scale *scale, int count, int *out)
{
    int there_before = 0;
    for (int i = 0; i < scale->empty_count; i++) {
        int at = i;
        int by = joined_by(d, scale->empty[i]);
        there_before += by < 0;
        while (at > 0 && joined_by(d, out[at - 1]) > by) {
            out[at] = out[at - 1];
            at--;
        }
        out[at] = scale->empty[i];
    }
    return there_before > count ? there_before : count;
}

/* Which of the members without slots become primaries. Who was given replicas was chosen before. */
static void choose_primaries(struct decision *d, const struct scale *scale, int count, int *chosen)
{
    int *nodes = xcalloc((size_t)scale->empty_count + 1, sizeof(int));
    int *sites = xcalloc((size_t)scale->empty_count + 1, sizeof(int));
    bool *is_taken = xcalloc((size_t)scale->empty_count + 1, sizeof(bool));
    int candidates = list_candidates(d, scale, count, nodes);
    int chosen_before = 0;
    for (int i = 0; i < candidates; i++) {
        sites[i] = d->placement.site_of_node[nodes[i]];
        is_taken[i] = !has_replica(d->topology, nodes[i]);
        chosen_before += !is_taken[i];
    }
    for (int i = 0; i < count; i++) {
        for (int j = 0; i == chosen_before && j < candidates; j++) {
            is_taken[j] = has_replica(d->topology, nodes[j]);
        }
        int best = placement_pick_primary(&d->placement, sites, is_taken, candidates);
        is_taken[best] = true;
        d->placement.sites[sites[best]].primary_count++;
        chosen[i] = nodes[best];
    }
    free(nodes);
    free(sites);
    free(is_taken);
}

/* Keys never lie on a new primary alone. Redis also gives one a replica by itself once it has
 * slots, from any shard that has two, wherever that one stands (clusterHandleSlaveMigration). */
static void scale_out(struct decision *d, const struct scale *scale)
{
    int wanted = scale->primaries - scale->slotted_count;
    if (scale->empty_count < wanted) {
        /* Those that joined before will be primaries too, though they look idle yet. */
        for (int i = 0; i < scale->empty_count; i++) {
            d->placement.sites[d->placement.site_of_node[scale->empty[i]]].primary_count++;
        }
        decide_join_spare(d, true);
        return;
    }
    int *chosen = xcalloc((size_t)wanted + 1, sizeof(int));
    choose_primaries(d, scale, wanted, chosen);
    if (scale->replicas > 0) {
        struct replica_wish wish = {
            .wanted = scale->replicas, .newcomers = chosen, .newcomer_count = wanted};
        decide_replicas(d, &wish);
    }
    if (!decision_is_made(d)) {
        decide_rebalance(d, chosen, wanted);
    }
    free(chosen);
}

/* A primary with less than half of its share got it from a rebalance that somebody broke off. */
static void finish_rebalance(struct decision *d, const struct scale *scale)
{
    bool is_torn = false;
    for (int i = 0; i < scale->slotted_count; i++) {
        int slots = d->topology->nodes[scale->slotted[i]].slot_count;
        is_torn = is_torn || slots * 2 * scale->slotted_count < SLOT_COUNT;
    }
    if (is_torn && d->request->primaries_wanted > 0) {
        decide_rebalance(d, scale->slotted, scale->slotted_count);
    }
}

/* Whose client traffic is off already goes first: keys come and go, and another choice now would
 * trouble more clients. NO_NODE when there is none. */
static int pick_prepared(const struct decision *d, const bool *is_kept)
{
    for (int i = 0; i < d->topology->node_count; i++) {
        if (!is_kept[i] && is_traffic_down(d, i)) {
            return i;
        }
    }
    return NO_NODE;
}

static void scale_in(struct decision *d, const struct scale *scale)
{
    int count = scale->slotted_count - scale->primaries;
    int *leaving = xcalloc((size_t)count + 1, sizeof(int));
    bool *is_kept = xcalloc((size_t)d->topology->node_count + 1, sizeof(bool));
    for (int i = 0; i < d->topology->node_count; i++) {
        is_kept[i] = d->topology->nodes[i].slot_count == 0;
    }
    for (int i = 0; i < count; i++) {
        char name[TOPOLOGY_NAME_SIZE];
        int prepared = pick_prepared(d, is_kept);
        leaving[i] =
            prepared != NO_NODE ? prepared : placement_pick_leaving(&d->placement, is_kept);
        int site = d->placement.site_of_node[leaving[i]];
        is_kept[leaving[i]] = true;
        if (d->why != NULL && prepared == NO_NODE) {
            strbuf_addf(d->why, "  %s leaves: ", name_of(d, leaving[i], name));
            placement_explain_primary(&d->placement, site, d->why);
            strbuf_add_char(d->why, '\n');
        }
        d->placement.sites[site].primary_count--;
        d->placement.sites[site].node_count--;
    }
    decide_drain(d, leaving, count);
    decide_traffic_first(d, leaving, count);
    free(leaving);
    free(is_kept);
}

static void run_scale(struct decision *d, const struct scale *scale)
{
    check_wish(d, scale);
    if (!decision_is_made(d)) {
        find_nodes(d, scale);
    }
    if (decision_is_made(d)) {
        return;
    }
    if (scale->primaries > scale->slotted_count) {
        scale_out(d, scale);
    } else if (scale->primaries < scale->slotted_count) {
        scale_in(d, scale);
    } else {
        finish_rebalance(d, scale);
    }
    if (!decision_is_made(d)) {
        struct replica_wish wish = {.wanted = scale->replicas,
                                    .may_leave = d->request->primaries_wanted > 0};
        decide_replicas(d, &wish);
    }
    if (!decision_is_made(d)) {
        decide_stops(d);
    }
    if (!decision_is_made(d)) {
        decide_releases(d);
    }
    if (scale->replicas >= 0) {
        decide_note(d, "%d primaries with slots, each with %d replica%s", scale->slotted_count,
                    scale->replicas, scale->replicas == 1 ? "" : "s");
    } else {
        decide_note(d, "%d primaries with slots", scale->slotted_count);
    }
}

void decide_scale(struct decision *d)
{
    struct scale scale;
    decide_settled(d);
    if (!decision_is_made(d)) {
        scale_init(d, &scale);
        run_scale(d, &scale);
        scale_release(&scale);
    }
}
