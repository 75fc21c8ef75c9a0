/* placement.h — where primaries and replicas should be: hosts, zones and who stands where.
 *
 * Three wishes, in this order: no host, and no zone, holds a shard's primary and all its replicas;
 * no host or zone has a majority of the primaries; nodes are spread evenly. Each holds where the
 * fleet allows it: a single host serves as well, only not as safely. Same input, same answer. Pure:
 * it counts places and knows no tasks. Source: docs/lifecycle.md, "Placement". */
#ifndef DROVER_COORDINATOR_CORE_PLACEMENT_H
#define DROVER_COORDINATOR_CORE_PLACEMENT_H

#include "common/model/topology.h"
#include "coordinator/core/lifecycle.h"

#include <stdbool.h>

#define NO_SITE (-1)

/* One host with its zone. */
struct placement_site {
    char host[HOST_SIZE];
    char zone[HOST_SIZE]; /* the host's name when no zone was said */
    int zone_index;       /* equal for sites of one zone */
    int primary_count;    /* primaries with slots, and those chosen to be */
    int node_count;
};

struct placement {
    const struct topology *topology;    /* borrowed */
    const struct lifecycle_host *hosts; /* borrowed */
    int host_count;
    struct placement_site *sites; /* owned */
    int site_count;
    int site_capacity;
    int *site_of_node; /* [node_count] of the topology; owned */
};

/* Looks where every node of the topology is. A node's host is the host part of its address; its
 * zone is what the agent of that host says. */
void placement_init(struct placement *placement,
                    const struct topology *topology,
                    const struct lifecycle_host *hosts,
                    int host_count);
void placement_release(struct placement *placement);
/* The site of an address, made when it is new. Indices stay valid. */
int placement_site_at(struct placement *placement, const struct address *address);
/* The number of primaries in the zone of a site. */
int placement_zone_primaries(const struct placement *placement, int site);
/* Notes that a node, or a primary when 'is_primary', is to be at the site. */
void placement_note(struct placement *placement, int site, bool is_primary);

/* Index into 'sites' of the best place for one more primary: the zone, then the host with the
 * fewest primaries, then the fewest nodes, then the first given. 'is_taken' marks what is out of
 * question. NO_SITE when all are taken. */
int placement_pick_primary(const struct placement *placement,
                           const int *sites,
                           const bool *is_taken,
                           int count);
/* Likewise for a node that will be a replica: the zone, then the host with the fewest nodes. */
int placement_pick_spread(const struct placement *placement,
                          const int *sites,
                          const bool *is_taken,
                          int count);
/* Which primary should leave: from the zone, then the host with the most primaries, then the most
 * nodes, then the fewest keys, then the youngest (highest config epoch), then the highest id. Skips
 * those marked by node index. NO_NODE when all are. */
int placement_pick_leaving(const struct placement *placement, const bool *is_kept);

/* A group of nodes that must not fall together. */
struct placement_shard {
    int primary_site;
    int *replica_sites; /* borrowed or owned by the caller; replica_count used */
    int replica_count;
    int lack; /* replicas that it still should get */
};

/* From this cost on, the shard stands or falls with one host or zone. */
#define PLACEMENT_COST_UNSAFE 10000

/* How bad it is that a replica at 'site' serves the shard; 0 = other zone than all others of it.
 * Whatever shares the primary's host is worse than whatever shares its zone, and so on. */
int placement_replica_cost(const struct placement *placement,
                           const struct placement_shard *shard,
                           int site);

/* Gives each of 'count' free replicas at 'sites' a shard: result[i] is an index into 'shards' or
 * NO_SHARD when none lacks one any more. Those that lack most come first; then the cost decides,
 * and pairs are exchanged while that lowers the sum. 'shards' are left as they are. */
void placement_assign(const struct placement *placement,
                      const struct placement_shard *shards,
                      int shard_count,
                      const int *sites,
                      int count,
                      int *result);

/* One sentence without a dot: why a primary is well placed at the site, with numbers. */
void placement_explain_primary(const struct placement *placement, int site, struct strbuf *out);
/* Likewise for a replica of the shard. */
void placement_explain_replica(const struct placement *placement,
                               const struct placement_shard *shard,
                               int site,
                               struct strbuf *out);

#endif
