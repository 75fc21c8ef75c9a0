/* placement_assign.c — free replicas are given to shards. See placement.h.
 *
 * First each free replica is given out greedily, the shards that lack most first. That can paint
 * itself into a corner: the last free host may be the very host of the last primary. So pairs are
 * exchanged afterwards while this lowers the sum of costs; each exchange lowers it by at least one,
 * so it ends. */
#include "coordinator/core/placement.h"

#include "common/base/alloc.h"

#include <stdlib.h>
#include <string.h>

/* Each is worth more than all lesser ones of a shard together. */
#define COST_SAME_HOST_AS_PRIMARY 100000
#define COST_ONE_ZONE PLACEMENT_COST_UNSAFE /* the whole shard in one zone */
#define COST_SAME_HOST 1000                 /* as another replica of the shard */
#define COST_SAME_ZONE_AS_PRIMARY 100
#define COST_SAME_ZONE 10

/* Passes over all pairs: the sum of costs falls fast, the rest is not worth the time. */
#define EXCHANGE_PASSES_MAX 50

int placement_replica_cost(const struct placement *placement,
                           const struct placement_shard *shard,
                           int site)
{
    const struct placement_site *sites = placement->sites;
    int zone = sites[site].zone_index;
    bool is_one_zone = sites[shard->primary_site].zone_index == zone;
    int cost = 0;
    cost += shard->primary_site == site ? COST_SAME_HOST_AS_PRIMARY : 0;
    cost += is_one_zone ? COST_SAME_ZONE_AS_PRIMARY : 0;
    for (int i = 0; i < shard->replica_count; i++) {
        int other = shard->replica_sites[i];
        bool is_same = sites[other].zone_index == zone;
        is_one_zone = is_one_zone && is_same;
        cost += other == site ? COST_SAME_HOST : is_same ? COST_SAME_ZONE : 0;
    }
    return cost + (is_one_zone ? COST_ONE_ZONE : 0);
}

/* A working copy of the shards that may grow. */
struct draft {
    struct placement_shard *shards;
    int count;
};

static void draft_init(struct draft *draft,
                       const struct placement_shard *shards,
                       int count,
                       int more)
{
    draft->count = count;
    draft->shards = xcalloc((size_t)count + 1, sizeof(struct placement_shard));
    for (int s = 0; s < count; s++) {
        int size = shards[s].replica_count + more + 1;
        draft->shards[s] = shards[s];
        draft->shards[s].replica_sites = xcalloc((size_t)size, sizeof(int));
        if (shards[s].replica_count > 0) {
            memcpy(draft->shards[s].replica_sites, shards[s].replica_sites,
                   (size_t)shards[s].replica_count * sizeof(int));
        }
    }
}

static void draft_release(struct draft *draft)
{
    for (int s = 0; s < draft->count; s++) {
        free(draft->shards[s].replica_sites);
    }
    free(draft->shards);
}

static void shard_add(struct placement_shard *shard, int site)
{
    shard->replica_sites[shard->replica_count++] = site;
}

static void shard_drop(struct placement_shard *shard, int site)
{
    for (int i = 0; i < shard->replica_count; i++) {
        if (shard->replica_sites[i] == site) {
            shard->replica_sites[i] = shard->replica_sites[--shard->replica_count];
            return;
        }
    }
}

static int most_lacking(const struct draft *draft)
{
    int most = 0;
    for (int s = 0; s < draft->count; s++) {
        most = draft->shards[s].lack > most ? draft->shards[s].lack : most;
    }
    return most;
}

/* The cheapest pair of a free replica and a shard that lacks 'lack'; false when none is left. */
static bool give_cheapest(const struct placement *placement,
                          struct draft *draft,
                          const int *sites,
                          int count,
                          int *result)
{
    int lack = most_lacking(draft);
    int best_cost = -1;
    int best_shard = NO_SHARD;
    int best = 0;
    for (int s = 0; s < draft->count && lack > 0; s++) {
        for (int i = 0; draft->shards[s].lack == lack && i < count; i++) {
            int cost = result[i] != NO_SHARD
                           ? 0
                           : placement_replica_cost(placement, &draft->shards[s], sites[i]);
            if (result[i] == NO_SHARD && (best_cost < 0 || cost < best_cost)) {
                best_cost = cost;
                best_shard = s;
                best = i;
            }
        }
    }
    if (best_shard == NO_SHARD) {
        return false;
    }
    result[best] = best_shard;
    shard_add(&draft->shards[best_shard], sites[best]);
    draft->shards[best_shard].lack--;
    return true;
}

static int cost_without(const struct placement *placement,
                        struct placement_shard *shard,
                        int out,
                        int in)
{
    shard_drop(shard, out);
    int cost = placement_replica_cost(placement, shard, in);
    shard_add(shard, out);
    return cost;
}

/* Exchanges the shards of free replicas i and j (one of them may have none) when that is better. */
static bool exchange(const struct placement *placement,
                     struct draft *draft,
                     const int *sites,
                     int *result,
                     int i,
                     int j)
{
    struct placement_shard *a = result[i] == NO_SHARD ? NULL : &draft->shards[result[i]];
    struct placement_shard *b = result[j] == NO_SHARD ? NULL : &draft->shards[result[j]];
    int before = 0;
    int after = 0;
    if (a == b || sites[i] == sites[j]) {
        return false;
    }
    if (a != NULL) {
        before += cost_without(placement, a, sites[i], sites[i]);
        after += cost_without(placement, a, sites[i], sites[j]);
    }
    if (b != NULL) {
        before += cost_without(placement, b, sites[j], sites[j]);
        after += cost_without(placement, b, sites[j], sites[i]);
    }
    if (after >= before) {
        return false;
    }
    if (a != NULL) {
        shard_drop(a, sites[i]);
        shard_add(a, sites[j]);
    }
    if (b != NULL) {
        shard_drop(b, sites[j]);
        shard_add(b, sites[i]);
    }
    int shard = result[i];
    result[i] = result[j];
    result[j] = shard;
    return true;
}

void placement_assign(const struct placement *placement,
                      const struct placement_shard *shards,
                      int shard_count,
                      const int *sites,
                      int count,
                      int *result)
{
    struct draft draft = {0};
    /* NOLINTNEXTLINE(readability-suspicious-call-argument): "count" more shards */
    draft_init(&draft, shards, shard_count, count);
    for (int i = 0; i < count; i++) {
        result[i] = NO_SHARD;
    }
    while (give_cheapest(placement, &draft, sites, count, result)) {
    }
    bool is_better = true;
    for (int pass = 0; is_better && pass < EXCHANGE_PASSES_MAX; pass++) {
        is_better = false;
        for (int i = 0; i < count; i++) {
            for (int j = i + 1; j < count; j++) {
                is_better = exchange(placement, &draft, sites, result, i, j) || is_better;
            }
        }
    }
    draft_release(&draft);
}

void placement_explain_replica(const struct placement *placement,
                               const struct placement_shard *shard,
                               int site,
                               struct strbuf *out)
{
    const struct placement_site *place = &placement->sites[site];
    const struct placement_site *primary = &placement->sites[shard->primary_site];
    int cost = placement_replica_cost(placement, shard, site);
    if (cost == 0) {
        strbuf_addf(out, "host %s shares no zone with the shard's other nodes", place->host);
    } else if (cost >= COST_SAME_HOST_AS_PRIMARY) {
        strbuf_addf(out, "host %s has the shard's primary too; no other place is free",
                    place->host);
    } else if (cost >= COST_ONE_ZONE) {
        strbuf_addf(out, "host %s is not the primary's host %s, but the whole shard is in zone %s",
                    place->host, primary->host, place->zone);
    } else {
        strbuf_addf(out, "host %s is not the primary's host %s, and the shard is in two zones",
                    place->host, primary->host);
    }
}
