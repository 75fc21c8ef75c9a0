/* coordinator_view.c — the read-only look at a coordinator, for the API, metrics and checkers. See
 * coordinator.h. */
#include "coordinator/core/coordinator.h"

#include "common/base/check.h"
#include "coordinator/core/reconcile.h"
#include "coordinator/core/state.h"

#include <stdio.h>
#include <string.h>

bool coordinator_is_leader(const struct coordinator *coordinator)
{
    return election_is_leading(&coordinator->election);
}

bool coordinator_is_ready(const struct coordinator *coordinator)
{
    const struct coordinator *c = coordinator;
    if (election_is_leading(&c->election)) {
        return !c->takeover.is_loading && c->executor.unreadable[0] == '\0' &&
               !journal_is_frozen(&c->journal);
    }
    return c->election.is_leader_known && c->election.store_err.code == 0;
}

int64_t coordinator_fence(const struct coordinator *coordinator)
{
    return coordinator->election.fence;
}

int64_t coordinator_term_end_ms(const struct coordinator *coordinator)
{
    return election_is_leading(&coordinator->election) ? coordinator->election.term_end_ms : NEVER;
}

const struct leader_record *coordinator_known_leader(const struct coordinator *coordinator)
{
    return coordinator->election.is_leader_known ? &coordinator->election.leader : NULL;
}

const char *coordinator_why(const struct coordinator *coordinator)
{
    /* The text is a cache of the state, not state: const for whoever looks. */
    struct strbuf *why = (struct strbuf *)(uintptr_t)&coordinator->why;
    strbuf_clear(why);
    reconcile_say(coordinator, why);
    return strbuf_text(why);
}

const struct topology *coordinator_topology(const struct coordinator *coordinator)
{
    return &coordinator->observe.topology;
}

int coordinator_operation_count(const struct coordinator *coordinator)
{
    return coordinator->executor.count;
}

const struct operation *coordinator_operation(const struct coordinator *coordinator, int index)
{
    const struct executor *executor = &coordinator->executor;
    CHECK(index >= 0 && index < executor->count);
    return &executor->operations[executor->count - 1 - index]->op;
}

const struct plan *coordinator_plan(const struct coordinator *coordinator, const char *operation_id)
{
    const struct operation_run *o = executor_find(&coordinator->executor, operation_id);
    return o != NULL && o->has_plan ? &o->plan : NULL;
}

int coordinator_agent_count(const struct coordinator *coordinator)
{
    return coordinator->registry.count;
}

void coordinator_agent(const struct coordinator *coordinator, int index, struct agent_view *out)
{
    CHECK(index >= 0 && index < coordinator->registry.count);
    const struct agent_entry *agent = coordinator->registry.entries[index];
    *out = (struct agent_view){
        .id = agent->id,
        .incarnation = agent->incarnation != 0 ? agent->incarnation : agent->incarnation_recorded,
        .last_report_ms = agent->reported_ms,
        .fence_acked = agent->fence_acked > 0 ? agent->fence_acked : agent->fence_recorded,
        .node_count = agent->node_count,
        .is_connected = agent_is_connected(coordinator, agent),
    };
    (void)snprintf(out->version, sizeof(out->version), "%s", agent->version);
}

const struct order_status *coordinator_order_status(const struct coordinator *coordinator,
                                                    const char *operation_id,
                                                    int batch_index)
{
    const struct operation_run *o = executor_find(&coordinator->executor, operation_id);
    if (o == NULL || !o->has_plan || batch_index < 0 || batch_index >= o->plan.batch_count) {
        return NULL;
    }
    return o->runs[batch_index].status;
}

const struct node_report *coordinator_node_report(const struct coordinator *coordinator,
                                                  const struct node_id *id)
{
    const struct topology *topology = &coordinator->observe.topology;
    int node = topology_find(topology, id);
    if (node == NO_NODE) {
        return NULL;
    }
    const struct agent_entry *agent =
        registry_find(&coordinator->registry, &topology->nodes[node].agent);
    for (int i = 0; agent != NULL && i < agent->node_count; i++) {
        if (node_id_is_equal(&agent->nodes[i].id, id)) {
            return &agent->nodes[i];
        }
    }
    return NULL;
}

const struct spec_record *coordinator_spec(const struct coordinator *coordinator)
{
    return coordinator->takeover.has_spec ? &coordinator->takeover.spec : NULL;
}

int coordinator_event_count(const struct coordinator *coordinator)
{
    return coordinator->ring.count;
}

void coordinator_event_line(const struct coordinator *coordinator,
                            int index,
                            struct event_line *out)
{
    const struct event_ring *ring = &coordinator->ring;
    CHECK(index >= 0 && index < ring->count);
    const struct event_ring_line *line = &ring->lines[(ring->first + index) % EVENT_RING_MAX];
    *out = (struct event_line){
        .sequence = line->sequence,
        .wall_ms = line->wall_ms,
        .level = event_level(line->id),
        .name = event_name(line->id),
        .text = line->text,
    };
}
