/* adopted.c — see adopted.h. */
#include "coordinator/core/adopted.h"

#include "coordinator/core/state.h"

#include <string.h>

static bool is_in_reach(const struct topology_node *node)
{
    return node->is_member && node->is_reachable && !node->is_failed;
}

static bool has_member_in_reach(const struct topology *topology)
{
    for (int i = 0; i < topology->node_count; i++) {
        if (is_in_reach(&topology->nodes[i])) {
            return true;
        }
    }
    return false;
}

static bool is_member_at(const struct topology *topology, const struct address *address)
{
    for (int i = 0; i < topology->node_count; i++) {
        if (is_in_reach(&topology->nodes[i]) &&
            address_is_equal(&topology->nodes[i].address, address)) {
            return true;
        }
    }
    return false;
}

static void add_seed(struct spec_record *spec, const struct address *address)
{
    for (int i = 0; i < spec->seed_count; i++) {
        if (address_is_equal(&spec->seeds[i], address)) {
            return;
        }
    }
    if (spec->seed_count < SPEC_SEEDS_MAX) {
        spec->seeds[spec->seed_count++] = *address;
    }
}

/* The first of each host, then the rest: a host that is lost does not take all of them with it. */
static void add_members(struct spec_record *spec, const struct topology *topology)
{
    for (int pass = 0; pass < 2; pass++) {
        for (int i = 0; i < topology->node_count; i++) {
            const struct topology_node *node = &topology->nodes[i];
            bool is_new_host = true;
            for (int s = 0; s < spec->seed_count; s++) {
                is_new_host = is_new_host && strcmp(spec->seeds[s].host, node->address.host) != 0;
            }
            if (is_in_reach(node) && node->address.port != 0 && (pass == 1 || is_new_host)) {
                add_seed(spec, &node->address);
            }
        }
    }
}

static void write_spec(struct coordinator *c, const struct spec_record *spec)
{
    struct record record = {.kind = RECORD_SPEC};
    record.as.spec = *spec;
    c->takeover.spec = *spec;
    c->takeover.has_spec = true;
    (void)journal_put(&c->journal, "spec", &record);
    log_event_add_int(turn_log(&c->turn, EVENT_CLUSTER_ADOPTED), "seeds", spec->seed_count);
}

void adopted_keep(struct coordinator *c, const struct address *address)
{
    const struct topology *topology = &c->observe.topology;
    struct spec_record spec = {.replicas_per_shard = -1};
    if (c->takeover.has_spec) {
        spec = c->takeover.spec;
    }
    bool is_kept = false;
    for (int i = 0; i < spec.seed_count; i++) {
        is_kept = is_kept || address_is_equal(&spec.seeds[i], address);
    }
    if (is_kept || journal_is_frozen(&c->journal) || !is_member_at(topology, address)) {
        return;
    }
    spec.seed_count = 0;
    add_seed(&spec, address);
    add_members(&spec, topology);
    write_spec(c, &spec);
}

void adopted_tick(struct coordinator *c)
{
    const struct topology *topology = &c->observe.topology;
    const struct spec_record *old = &c->takeover.spec;
    bool has_seeds = c->takeover.has_spec && old->seed_count > 0;
    if (!has_seeds || !c->observe.is_settled || c->adopted.checked_build == c->observe.builds ||
        journal_is_frozen(&c->journal)) {
        return;
    }
    c->adopted.checked_build = c->observe.builds;
    struct spec_record spec = *old;
    spec.seed_count = 0;
    for (int i = 0; i < old->seed_count; i++) {
        if (is_member_at(topology, &old->seeds[i])) {
            add_seed(&spec, &old->seeds[i]);
        }
    }
    int members = 0;
    for (int i = 0; i < topology->node_count; i++) {
        members += is_in_reach(&topology->nodes[i]);
    }
    bool has_room = spec.seed_count < SPEC_SEEDS_MAX && spec.seed_count < members;
    if (spec.seed_count < old->seed_count || has_room) {
        add_members(&spec, topology);
        write_spec(c, &spec);
    }
}

bool adopted_wants(const struct coordinator *c, const struct address *address)
{
    if (!c->takeover.has_spec || has_member_in_reach(&c->observe.topology)) {
        return false;
    }
    for (int i = 0; i < c->takeover.spec.seed_count; i++) {
        if (address_is_equal(&c->takeover.spec.seeds[i], address)) {
            return true;
        }
    }
    return false;
}
