/* placement.c — see placement.h: sites, primaries, and the words for it. Replicas are given to
 * shards in placement_assign.c. */
#include "coordinator/core/placement.h"

#include "common/base/alloc.h"
#include "common/base/check.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* An agent that serves nodes of several hosts says nothing about where one of them is. */
static bool serves_one_host(const struct topology *topology, const struct agent_id *agent)
{
    const char *host = NULL;
    for (int i = 0; i < topology->node_count; i++) {
        const struct topology_node *node = &topology->nodes[i];
        if (strcmp(node->agent.text, agent->text) != 0) {
            continue;
        }
        if (host != NULL && strcmp(host, node->address.host) != 0) {
            return false;
        }
        host = node->address.host;
    }
    return true;
}

/* The agent's word for a host: by name, else by the agent that serves only nodes of this host. */
static const struct lifecycle_host *find_host(const struct placement *placement,
                                              const char *host,
                                              const struct agent_id *agent)
{
    for (int i = 0; i < placement->host_count; i++) {
        if (strcmp(placement->hosts[i].host, host) == 0) {
            return &placement->hosts[i];
        }
    }
    for (int i = 0; i < placement->host_count && agent != NULL; i++) {
        if (agent->text[0] != '\0' && strcmp(placement->hosts[i].agent.text, agent->text) == 0 &&
            serves_one_host(placement->topology, agent)) {
            return &placement->hosts[i];
        }
    }
    return NULL;
}

static int make_site(struct placement *placement, const char *host, const struct agent_id *agent)
{
    for (int i = 0; i < placement->site_count; i++) {
        if (strcmp(placement->sites[i].host, host) == 0) {
            return i;
        }
    }
    const struct lifecycle_host *known = find_host(placement, host, agent);
    const char *zone = known != NULL && known->zone[0] != '\0' ? known->zone : host;
    ARRAY_RESERVE(placement->sites, placement->site_count, placement->site_capacity);
    int index = placement->site_count++;
    struct placement_site *site = &placement->sites[index];
    *site = (struct placement_site){.zone_index = index};
    (void)snprintf(site->host, sizeof(site->host), "%s", host);
    (void)snprintf(site->zone, sizeof(site->zone), "%s", zone);
    for (int i = 0; i < index && site->zone_index == index; i++) {
        if (strcmp(placement->sites[i].zone, zone) == 0) {
            site->zone_index = placement->sites[i].zone_index;
        }
    }
    return index;
}

void placement_init(struct placement *placement,
                    const struct topology *topology,
                    const struct lifecycle_host *hosts,
                    int host_count)
{
    *placement = (struct placement){.topology = topology, .hosts = hosts, .host_count = host_count};
    placement->site_of_node = xcalloc((size_t)topology->node_count + 1, sizeof(int));
    for (int i = 0; i < topology->node_count; i++) {
        const struct topology_node *node = &topology->nodes[i];
        int site = make_site(placement, node->address.host, &node->agent);
        placement->site_of_node[i] = site;
        if (node->is_member && !node->is_failed) {
            placement_note(placement, site,
                           node->role == NODE_ROLE_PRIMARY && node->slot_count > 0);
        }
    }
}

void placement_release(struct placement *placement)
{
    free(placement->sites);
    free(placement->site_of_node);
    *placement = (struct placement){0};
}

int placement_site_at(struct placement *placement, const struct address *address)
{
    return make_site(placement, address->host, NULL);
}

void placement_note(struct placement *placement, int site, bool is_primary)
{
    placement->sites[site].node_count++;
    placement->sites[site].primary_count += is_primary;
}

int placement_zone_primaries(const struct placement *placement, int site)
{
    int count = 0;
    for (int i = 0; i < placement->site_count; i++) {
        if (placement->sites[i].zone_index == placement->sites[site].zone_index) {
            count += placement->sites[i].primary_count;
        }
    }
    return count;
}

/* < 0 when site a is the better place for one more primary. */
static int compare_for_primary(const struct placement *placement, int a, int b)
{
    int by_zone = placement_zone_primaries(placement, a) - placement_zone_primaries(placement, b);
    int by_host = placement->sites[a].primary_count - placement->sites[b].primary_count;
    int by_load = placement->sites[a].node_count - placement->sites[b].node_count;
    return by_zone != 0 ? by_zone : by_host != 0 ? by_host : by_load;
}

int placement_pick_primary(const struct placement *placement,
                           const int *sites,
                           const bool *is_taken,
                           int count)
{
    int best = NO_SITE;
    for (int i = 0; i < count; i++) {
        bool is_better =
            best == NO_SITE || compare_for_primary(placement, sites[i], sites[best]) < 0;
        if (!is_taken[i] && is_better) {
            best = i;
        }
    }
    return best;
}

static int zone_nodes(const struct placement *placement, int site)
{
    int count = 0;
    for (int i = 0; i < placement->site_count; i++) {
        if (placement->sites[i].zone_index == placement->sites[site].zone_index) {
            count += placement->sites[i].node_count;
        }
    }
    return count;
}

int placement_pick_spread(const struct placement *placement,
                          const int *sites,
                          const bool *is_taken,
                          int count)
{
    int best = NO_SITE;
    for (int i = 0; i < count; i++) {
        if (is_taken[i]) {
            continue;
        }
        int by_zone = best == NO_SITE
                          ? -1
                          : zone_nodes(placement, sites[i]) - zone_nodes(placement, sites[best]);
        int by_host = best == NO_SITE ? -1
                                      : placement->sites[sites[i]].node_count -
                                            placement->sites[sites[best]].node_count;
        best = by_zone < 0 || (by_zone == 0 && by_host < 0) ? i : best;
    }
    return best;
}

/* > 0 when node a should leave rather than b. */
static int compare_for_leaving(const struct placement *placement, int a, int b)
{
    const struct topology_node *first = &placement->topology->nodes[a];
    const struct topology_node *second = &placement->topology->nodes[b];
    int by_place =
        compare_for_primary(placement, placement->site_of_node[a], placement->site_of_node[b]);
    if (by_place != 0) {
        return by_place;
    }
    if (first->keys != second->keys) {
        return first->keys < second->keys ? 1 : -1;
    }
    if (first->config_epoch != second->config_epoch) {
        return first->config_epoch > second->config_epoch ? 1 : -1;
    }
    return a - b;
}

int placement_pick_leaving(const struct placement *placement, const bool *is_kept)
{
    const struct topology *topology = placement->topology;
    int worst = NO_NODE;
    for (int s = 0; s < topology->shard_count; s++) {
        int node = topology->shards[s].primary;
        bool is_worse = worst == NO_NODE || compare_for_leaving(placement, node, worst) > 0;
        if (!is_kept[node] && is_worse) {
            worst = node;
        }
    }
    return worst;
}

void placement_explain_primary(const struct placement *placement, int site, struct strbuf *out)
{
    const struct placement_site *place = &placement->sites[site];
    int all = 0;
    for (int i = 0; i < placement->site_count; i++) {
        all += placement->sites[i].primary_count;
    }
    int zone = placement_zone_primaries(placement, site);
    strbuf_addf(out, "host %s has %d of %d primaries", place->host, place->primary_count, all);
    if (strcmp(place->host, place->zone) != 0) {
        strbuf_addf(out, ", its zone %s %d", place->zone, zone);
    }
    if (zone * 2 > all && all > 1) {
        strbuf_add_text(out, "; that is a majority, and no other place is free");
    }
}
