/* executor_facts.c — see executor_facts.h. */
#include "coordinator/core/executor_facts.h"

#include "common/base/alloc.h"
#include "coordinator/core/state.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void executor_plan_options(const struct coordinator *c,
                           const struct operation_request *request,
                           struct plan_options *out)
{
    plan_options_init(out);
    out->batch_slots_max = c->config.batch_slots_max;
    out->moves_max = c->config.moves_max;
    out->moves_per_target_max = c->config.moves_per_target_max;
    if (request->parallel_moves_max > 0 && request->parallel_moves_max < out->moves_max) {
        out->moves_max = request->parallel_moves_max;
    }
    double limit = c->takeover.has_spec ? c->takeover.spec.memory_limit_percent : 0;
    if (limit >= 1 && limit <= 100) {
        out->memory_limit_percent = limit;
    }
}

/* What the agent says of its host, else where the first node is that it found by itself. */
static struct lifecycle_host host_of(const struct coordinator *c, const struct agent_entry *agent)
{
    struct lifecycle_host host = {
        .agent = agent->id,
        .memory_free_bytes = -1,
        .is_connected = agent_is_connected(c, agent),
    };
    if (agent->has_host) {
        (void)snprintf(host.zone, sizeof(host.zone), "%s", agent->host.zone);
        (void)snprintf(host.host, sizeof(host.host), "%s", agent->host.host);
        host.can_start = agent->host.can_start;
        host.memory_free_bytes = agent->host.memory_free_bytes;
        host.port_first = agent->host.port_first;
        host.port_last = agent->host.port_last;
        host.offers_provision = agent->host.offers_provision;
        host.offers_traffic = agent->host.offers_traffic;
    }
    for (int n = 0; host.host[0] == '\0' && n < agent->node_count; n++) {
        const struct address *address = &agent->nodes[n].address;
        if (!agent_is_assigned(agent, address)) {
            (void)snprintf(host.host, sizeof(host.host), "%s", address->host);
        }
    }
    return host;
}

/* A server that was made may live where no agent does: it is in the zone that was asked for. */
static void add_made(struct executor_facts *facts, const struct batch *batch)
{
    struct lifecycle_host host = {.memory_free_bytes = -1};
    bool has_zone = batch->kind == BATCH_TASK && batch->made.port != 0 &&
                    task_detail_get(batch->task, "zone", host.zone, sizeof(host.zone));
    for (int i = 0; i < facts->facts.host_count && has_zone; i++) {
        has_zone = strcmp(facts->hosts[i].host, batch->made.host) != 0;
    }
    if (has_zone) {
        (void)snprintf(host.host, sizeof(host.host), "%s", batch->made.host);
        facts->hosts =
            xreallocarray(facts->hosts, (size_t)facts->facts.host_count + 1, sizeof(*facts->hosts));
        facts->hosts[facts->facts.host_count++] = host;
    }
}

static void fill_hosts(struct executor_facts *facts, const struct coordinator *c)
{
    int count = c->registry.count;
    facts->hosts = xcalloc((size_t)count + 1, sizeof(*facts->hosts));
    for (int i = 0; i < count; i++) {
        facts->hosts[i] = host_of(c, c->registry.entries[i]);
    }
    facts->facts.host_count = count;
    for (int i = 0; i < c->executor.count; i++) {
        const struct plan *plan = &c->executor.operations[i]->plan;
        for (int b = 0; b < plan->batch_count; b++) {
            add_made(facts, &plan->batches[b]);
        }
    }
    facts->facts.hosts = facts->hosts;
}

/* Runs, is empty, knows nobody and is known to nobody. */
static bool is_spare(const struct topology_node *node)
{
    return !node->is_member && node->is_reachable && node->is_cluster_enabled && node->is_alone &&
           !node->is_loading && node->role == NODE_ROLE_PRIMARY && node->slots_claimed <= 0 &&
           node->keys <= 0;
}

static void fill_spares(struct executor_facts *facts, const struct coordinator *c)
{
    const struct topology *topology = &c->observe.topology;
    facts->spares = xcalloc((size_t)topology->node_count + 1, sizeof(*facts->spares));
    for (int i = 0; i < topology->node_count; i++) {
        if (is_spare(&topology->nodes[i])) {
            facts->spares[facts->facts.spare_count++] = topology->nodes[i].address;
        }
    }
    facts->facts.spares = facts->spares;
}

void executor_facts_init(struct executor_facts *facts,
                         const struct coordinator *c,
                         const struct operation_request *request,
                         const struct batch *batches,
                         int batch_count)
{
    *facts = (struct executor_facts){
        .spec = {.replicas_per_shard = -1},
        .facts = {.topology = &c->observe.topology, .batches = batches, .batch_count = batch_count},
    };
    if (c->takeover.has_spec) {
        facts->spec = c->takeover.spec;
    }
    executor_plan_options(c, request, &facts->options);
    facts->facts.spec = &facts->spec;
    facts->facts.options = &facts->options;
    fill_hosts(facts, c);
    fill_spares(facts, c);
}

void executor_facts_release(struct executor_facts *facts)
{
    free(facts->hosts);
    free(facts->spares);
    *facts = (struct executor_facts){0};
}
