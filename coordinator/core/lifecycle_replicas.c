/* lifecycle_replicas.c — every shard gets its replicas; what is over leaves. See lifecycle_parts.h.
 *
 * A shard is a primary with slots, or one that is about to get some. Free for a new primary are:
 * replicas of a primary without slots, replicas beyond what is wanted, and nodes that were emptied
 * or joined and serve nothing. No replica is taken from a shard that would then have fewer than it
 * should. */
#include "common/base/alloc.h"
#include "common/base/check.h"
#include "coordinator/core/lifecycle_parts.h"

#include <stdio.h>
#include <stdlib.h>

/* What a replica count of -1 stands for while shares are worked out. */
struct replica_board {
    struct placement_shard *shards; /* [count]; owned with their replica_sites */
    int *primaries;                 /* [count] node index */
    bool *is_giver;                 /* [count] has a node of this operation as its replica */
    int count;
    int *free_nodes; /* node indices, the most useful first; owned */
    int free_count;
    int must_move; /* the first so many have to get a primary */
};

static void board_release(struct replica_board *board)
{
    for (int s = 0; s < board->count; s++) {
        free(board->shards[s].replica_sites);
    }
    free(board->shards);
    free(board->primaries);
    free(board->is_giver);
    free(board->free_nodes);
}

static int board_find(const struct replica_board *board, int primary)
{
    for (int s = 0; s < board->count; s++) {
        if (board->primaries[s] == primary) {
            return s;
        }
    }
    return NO_SHARD;
}

/* A replica that counts: alive, and not about to leave. */
static bool is_serving_replica(const struct decision *d, int node)
{
    const struct topology_node *subject = &d->topology->nodes[node];
    return is_live(subject) && subject->role == NODE_ROLE_REPLICA && !was_emptied(d, node);
}

static bool is_newcomer(const struct replica_wish *wish, int node)
{
    for (int i = 0; i < wish->newcomer_count; i++) {
        if (wish->newcomers[i] == node) {
            return true;
        }
    }
    return false;
}

static void board_init(const struct decision *d,
                       const struct replica_wish *wish,
                       struct replica_board *board)
{
    const struct topology *topology = d->topology;
    size_t size = (size_t)topology->node_count + 1;
    *board = (struct replica_board){.shards = xcalloc(size, sizeof(struct placement_shard)),
                                    .primaries = xcalloc(size, sizeof(int)),
                                    .is_giver = xcalloc(size, sizeof(bool)),
                                    .free_nodes = xcalloc(size, sizeof(int))};
    for (int s = 0; s < topology->shard_count; s++) {
        int primary = topology->shards[s].primary;
        if (topology->nodes[primary].slot_count == 0 && !is_newcomer(wish, primary)) {
            continue;
        }
        struct placement_shard *shard = &board->shards[board->count];
        shard->primary_site = d->placement.site_of_node[primary];
        shard->replica_sites = xcalloc((size_t)topology->shards[s].replica_count + 1, sizeof(int));
        for (int i = 0; i < topology->shards[s].replica_count; i++) {
            int replica = topology->replicas[topology->shards[s].first_replica + i];
            if (is_serving_replica(d, replica)) {
                shard->replica_sites[shard->replica_count++] = d->placement.site_of_node[replica];
            } else if (was_emptied(d, replica)) {
                board->is_giver[board->count] = true;
            }
        }
        board->primaries[board->count++] = primary;
    }
}

static void board_free(struct replica_board *board, int node)
{
    board->free_nodes[board->free_count++] = node;
}

/* Replicas whose primary has no slots, or is no live primary at all: they serve nothing. With
 * 'only_of' those of this primary alone. */
static void free_orphans(const struct decision *d, struct replica_board *board, int only_of)
{
    for (int i = 0; i < d->topology->node_count; i++) {
        const struct topology_node *node = &d->topology->nodes[i];
        bool is_meant = only_of == NO_NODE || node->primary == only_of;
        if (is_meant && is_serving_replica(d, i) && board_find(board, node->primary) == NO_SHARD) {
            board_free(board, i);
        }
    }
    board->must_move = board->free_count;
}

/* The lowest cost of the site among shards that lack a replica; 0 when none does. */
static int best_cost_elsewhere(const struct decision *d,
                               const struct replica_board *board,
                               int site)
{
    int best = -1;
    for (int s = 0; s < board->count; s++) {
        if (board->shards[s].lack > 0) {
            int cost = placement_replica_cost(&d->placement, &board->shards[s], site);
            best = best < 0 || cost < best ? cost : best;
        }
    }
    return best < 0 ? 0 : best;
}

/* The replica that the shard misses least and another one could use best; then the highest id. */
static int least_useful(const struct decision *d, const struct replica_board *board, int shard)
{
    int worst = NO_NODE;
    int worst_cost = INT32_MIN;
    for (int i = 0; i < d->topology->node_count; i++) {
        const struct topology_node *node = &d->topology->nodes[i];
        bool is_free = false;
        for (int j = 0; j < board->free_count; j++) {
            is_free = is_free || board->free_nodes[j] == i;
        }
        if (is_free || node->primary != board->primaries[shard] || !is_serving_replica(d, i)) {
            continue;
        }
        /* Counted with itself, which adds the same to all. */
        int cost = placement_replica_cost(&d->placement, &board->shards[shard],
                                          d->placement.site_of_node[i]);
        cost -= best_cost_elsewhere(d, board, d->placement.site_of_node[i]);
        /* One that is not in step is given away before one that is. */
        cost += node->is_link_up ? 0 : 1000000;
        if (cost >= worst_cost) {
            worst_cost = cost;
            worst = i;
        }
    }
    return worst;
}

static void take_from(const struct decision *d, struct replica_board *board, int shard)
{
    int node = least_useful(d, board, shard);
    struct placement_shard *giver = &board->shards[shard];
    CHECK(node != NO_NODE);
    for (int i = 0; i < giver->replica_count; i++) {
        if (giver->replica_sites[i] == d->placement.site_of_node[node]) {
            giver->replica_sites[i] = giver->replica_sites[--giver->replica_count];
            break;
        }
    }
    board_free(board, node);
}

static void want_number(const struct decision *d,
                        const struct replica_wish *wish,
                        struct replica_board *board)
{
    for (int s = 0; s < board->count; s++) {
        int lack = wish->wanted - board->shards[s].replica_count;
        bool is_served = wish->newcomer_count == 0 || is_newcomer(wish, board->primaries[s]);
        board->shards[s].lack = lack > 0 && is_served ? lack : 0;
    }
    for (int s = 0; s < board->count; s++) {
        while (board->shards[s].replica_count > wish->wanted) {
            take_from(d, board, s);
        }
    }
}

static int replicas_planned(const struct placement_shard *shard)
{
    return shard->replica_count + shard->lack;
}

static int poorest(const struct replica_board *board)
{
    int best = 0;
    for (int s = 1; s < board->count; s++) {
        if (replicas_planned(&board->shards[s]) < replicas_planned(&board->shards[best])) {
            best = s;
        }
    }
    return best;
}

/* As many as there are: those that must move go to the poorest, and what Redis itself attached to
 * whoever took the last slot of an emptied node is evened out. */
static void want_as_is(const struct decision *d, struct replica_board *board)
{
    for (int i = 0; i < board->must_move && board->count > 0; i++) {
        board->shards[poorest(board)].lack++;
    }
    for (int s = 0; s < board->count; s++) {
        while (board->is_giver[s] && board->shards[s].lack == 0 &&
               board->shards[s].replica_count >=
                   replicas_planned(&board->shards[poorest(board)]) + 2) {
            take_from(d, board, s);
            board->shards[poorest(board)].lack++;
        }
    }
}

/* Members that serve nothing: emptied in this operation, or primaries without slots and replicas.
 */
static void free_idle(const struct decision *d, struct replica_board *board, bool takes_empty)
{
    const struct topology *topology = d->topology;
    for (int i = 0; i < topology->node_count; i++) {
        const struct topology_node *node = &topology->nodes[i];
        bool is_empty_primary = is_live_primary(node) && node->slot_count == 0 && node->keys <= 0 &&
                                board_find(board, i) == NO_SHARD;
        bool has_replicas = false;
        for (int j = 0; is_empty_primary && j < topology->node_count; j++) {
            has_replicas =
                has_replicas || (topology->nodes[j].primary == i && is_live(&topology->nodes[j]));
        }
        bool is_emptied_replica =
            is_live(node) && node->role == NODE_ROLE_REPLICA && was_emptied(d, i);
        if ((is_empty_primary && takes_empty && !has_replicas) || is_emptied_replica) {
            board_free(board, i);
        }
    }
}

static void explain(struct decision *d, const struct replica_board *board, int node, int shard)
{
    char name[TOPOLOGY_NAME_SIZE];
    if (d->why == NULL) {
        return;
    }
    strbuf_addf(d->why, "  %s: ", name_of(d, node, name));
    placement_explain_replica(&d->placement, &board->shards[shard], d->placement.site_of_node[node],
                              d->why);
    strbuf_add_char(d->why, '\n');
}

/* The cost of a replica at its place, counted without itself. */
static int cost_of_place(const struct decision *d,
                         const struct placement_shard *shard,
                         int out,
                         int in)
{
    struct placement_shard rest = *shard;
    rest.replica_sites = xcalloc((size_t)shard->replica_count + 1, sizeof(int));
    rest.replica_count = 0;
    bool is_out = false;
    for (int i = 0; i < shard->replica_count; i++) {
        if (shard->replica_sites[i] == out && !is_out) {
            is_out = true;
        } else {
            rest.replica_sites[rest.replica_count++] = shard->replica_sites[i];
        }
    }
    int cost = placement_replica_cost(&d->placement, &rest, in);
    free(rest.replica_sites);
    return cost;
}

/* A new replica that would stand on its primary's own host or zone goes to another shard first, one
 * of whose replicas can then take its place: no shard is without a replica meanwhile. The index of
 * that shard, or NO_SHARD. */
static int find_detour(const struct decision *d,
                       const struct replica_board *board,
                       int node,
                       int shard)
{
    const struct topology *topology = d->topology;
    int site = d->placement.site_of_node[node];
    int direct = placement_replica_cost(&d->placement, &board->shards[shard], site);
    int best_gain = PLACEMENT_COST_UNSAFE - 1;
    int best = NO_SHARD;
    for (int i = 0; direct >= PLACEMENT_COST_UNSAFE && i < topology->node_count; i++) {
        int other = is_online_replica(&topology->nodes[i])
                        ? board_find(board, topology->nodes[i].primary)
                        : NO_SHARD;
        if (other == NO_SHARD || other == shard || was_emptied(d, i)) {
            continue;
        }
        int there = d->placement.site_of_node[i];
        int gain = direct + cost_of_place(d, &board->shards[other], there, there) -
                   cost_of_place(d, &board->shards[other], there, site) -
                   placement_replica_cost(&d->placement, &board->shards[shard], there);
        if (gain > best_gain) {
            best_gain = gain;
            best = other;
        }
    }
    return best;
}

/* Gives free nodes out; result[i] is the shard of free node i. Those from 'served' on serve nothing
 * yet. */
static void board_assign(struct decision *d,
                         const struct replica_board *board,
                         int served,
                         int *result)
{
    int *sites = xcalloc((size_t)board->free_count + 1, sizeof(int));
    for (int i = 0; i < board->free_count; i++) {
        sites[i] = d->placement.site_of_node[board->free_nodes[i]];
    }
    placement_assign(&d->placement, board->shards, board->count, sites, board->free_count, result);
    free(sites);
    for (int i = 0; i < board->free_count; i++) {
        int node = board->free_nodes[i];
        int shard = result[i];
        bool is_there =
            shard != NO_SHARD && d->topology->nodes[node].primary == board->primaries[shard];
        if (shard == NO_SHARD || is_there) {
            continue;
        }
        int detour = i >= served ? find_detour(d, board, node, shard) : NO_SHARD;
        shard = detour != NO_SHARD ? detour : shard;
        explain(d, board, node, shard);
        decide_replicate(d, node, board->primaries[shard]);
    }
}

static int sum_lack(const struct replica_board *board)
{
    int sum = 0;
    for (int s = 0; s < board->count; s++) {
        sum += board->shards[s].lack;
    }
    return sum;
}

/* What the assignment left over. Replicas leave when their number was said, idle nodes when that of
 * the primaries was, nodes that this operation emptied always. */
static void decide_leavers(struct decision *d,
                           const struct replica_board *board,
                           const int *result,
                           int served,
                           const struct replica_wish *wish)
{
    for (int i = 0; i < board->free_count; i++) {
        int node = board->free_nodes[i];
        bool is_over = i < served ? wish->wanted >= 0 : wish->may_leave || was_emptied(d, node);
        if (result[i] == NO_SHARD && is_over) {
            decide_leave(d, node, false);
        }
    }
}

/* A replica counts once it is in step. */
static void await_step(struct decision *d, const struct replica_wish *wish)
{
    char name[TOPOLOGY_NAME_SIZE];
    for (int i = 0; i < d->topology->node_count; i++) {
        const struct topology_node *node = &d->topology->nodes[i];
        if (is_serving_replica(d, i) && is_newcomer(wish, node->primary) && !node->is_link_up) {
            decide_wait(d, "%.70s is still copying from its primary", name_of(d, i, name));
            return;
        }
    }
}

void decide_replicas(struct decision *d, const struct replica_wish *wish)
{
    struct replica_board board;
    struct address *spares = NULL;
    board_init(d, wish, &board);
    free_orphans(d, &board, NO_NODE);
    if (wish->wanted >= 0) {
        want_number(d, wish, &board);
    } else {
        want_as_is(d, &board);
    }
    int served = board.free_count;
    free_idle(d, &board, wish->may_leave || wish->wanted >= 0);
    int all = board.free_count;
    int missing = wish->wanted >= 0 ? sum_lack(&board) - all : 0;
    int spare_count = list_spares(d, &spares);
    free(spares);
    if (missing > 0 && spare_count > 0) {
        decide_join_spare(d, false);
        board_release(&board);
        return;
    }
    int *result = xcalloc((size_t)all + 1, sizeof(int));
    for (int i = 0; i < all; i++) {
        result[i] = NO_SHARD;
    }
    /* Without a number, idle nodes are not made replicas. */
    board.free_count = wish->wanted >= 0 ? all : served;
    board_assign(d, &board, served, result);
    board.free_count = all;
    if (!decision_is_made(d) && missing > 0) {
        decide_refuse(d, ERR_REFUSED,
                      "%d more replicas are wanted, and no spare is left; start or "
                      "name more nodes",
                      missing);
    } else if (!decision_is_made(d) && wish->newcomer_count > 0) {
        await_step(d, wish);
    } else if (!decision_is_made(d)) {
        decide_leavers(d, &board, result, served, wish);
    }
    free(result);
    board_release(&board);
}

void decide_rehome(struct decision *d, int node)
{
    struct replica_wish as_is = {.wanted = -1};
    struct replica_board board;
    board_init(d, &as_is, &board);
    free_orphans(d, &board, node);
    want_as_is(d, &board);
    int *result = xcalloc((size_t)board.free_count + 1, sizeof(int));
    board_assign(d, &board, board.free_count, result);
    free(result);
    board_release(&board);
}

void decide_replicate_to_poorest(struct decision *d, const int *nodes, int count)
{
    struct replica_wish as_is = {.wanted = -1};
    struct replica_board board;
    board_init(d, &as_is, &board);
    for (int i = 0; i < count && board.count > 0; i++) {
        board_free(&board, nodes[i]);
        board.shards[poorest(&board)].lack++;
    }
    int *result = xcalloc((size_t)count + 1, sizeof(int));
    board_assign(d, &board, count, result);
    free(result);
    board_release(&board);
}
