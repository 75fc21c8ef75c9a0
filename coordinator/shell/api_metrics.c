/* api_metrics.c — /metrics: what drover does and sees, in the Prometheus text format. Names:
 * docs/api.md. */
#include "coordinator/shell/api_internal.h"

#include "common/io/clock.h"
#include "common/io/metrics.h"

#include <stdio.h>
#include <string.h>

static void gauge(struct metrics *page, const char *name, const char *help, double value)
{
    metrics_family(page, METRIC_GAUGE, name, help);
    metrics_add(page, NULL, 0, value);
}

static void counter(struct metrics *page, const char *name, const char *help, uint64_t value)
{
    metrics_family(page, METRIC_COUNTER, name, help);
    metrics_add(page, NULL, 0, (double)value);
}

static void add_coordinator(struct metrics *page, const struct api *api)
{
    const struct coordinator *core = api_core(api);
    const struct coordinator_counters *counters = coordinator_shell_counters(api->shell);
    const struct metric_label version = {"version", DROVER_VERSION};
    metrics_family(page, METRIC_GAUGE, "drover_build_info",
                   "Version of this coordinator; always 1.");
    metrics_add(page, &version, 1, 1);
    gauge(page, "drover_leader", "1 while this coordinator leads.", coordinator_is_leader(core));
    gauge(page, "drover_fence", "Fence of the present term, 0 when not leading.",
          (double)coordinator_fence(core));
    gauge(page, "drover_store_up", "1 while the last answer of the store was no failure.",
          coordinator_shell_store_is_up(api->shell, NULL));
    gauge(page, "drover_uptime_seconds", "Since the API was started.",
          (double)(clock_now_ms() - api->started_ms) / 1000.0);
    counter(page, "drover_terms_total", "Times this coordinator became leader.", counters->terms);
    counter(page, "drover_steps_total", "Events fed into the core.", counters->steps);
    counter(page, "drover_messages_received_total", "Messages of agents.",
            counters->messages_received);
    counter(page, "drover_messages_refused_total", "Messages that could not be decoded.",
            counters->messages_refused);
    counter(page, "drover_store_requests_total", "Requests to the store.",
            counters->store_requests);
    counter(page, "drover_store_failures_total", "Requests to the store that failed.",
            counters->store_failures);
    counter(page, "drover_store_undecodable_total", "Stored values that are no records of ours.",
            counters->store_undecodable);
    metrics_family(page, METRIC_COUNTER, "drover_store_latency_seconds_total",
                   "Time spent waiting for the store; divide by requests.");
    metrics_add(page, NULL, 0, (double)counters->store_latency_us_sum / 1e6);
    counter(page, "drover_commands_total", "Commands of operators.", counters->commands);
    metrics_family(page, METRIC_COUNTER, "drover_log_events_total", "Log events by level.");
    for (int level = LOG_DEBUG; level <= LOG_ERROR; level++) {
        const struct metric_label label = {"level", log_level_name((enum log_level)level)};
        metrics_add(page, &label, 1, (double)counters->log_events[level]);
    }
    metrics_family(page, METRIC_COUNTER, "drover_api_answers_total",
                   "Answers of the HTTP API by class of status.");
    for (int i = 2; i < 6; i++) {
        char name[8];
        (void)snprintf(name, sizeof(name), "%dxx", i);
        const struct metric_label label = {"status", name};
        metrics_add(page, &label, 1, (double)api->answers[i]);
    }
}

static void add_agents(struct metrics *page, const struct coordinator *core)
{
    int connected = 0;
    int count = coordinator_agent_count(core);
    int64_t now_ms = clock_now_ms();
    for (int i = 0; i < count; i++) {
        struct agent_view agent;
        coordinator_agent(core, i, &agent);
        connected += agent.is_connected;
    }
    gauge(page, "drover_agents", "Agents that are known.", count);
    gauge(page, "drover_agents_connected", "Agents that report.", connected);
    metrics_family(page, METRIC_GAUGE, "drover_agent_report_age_seconds",
                   "Since the last report of an agent.");
    for (int i = 0; i < count; i++) {
        struct agent_view agent;
        coordinator_agent(core, i, &agent);
        const struct metric_label label = {"agent", agent.id.text};
        if (agent.last_report_ms != NEVER) {
            metrics_add(page, &label, 1, (double)(now_ms - agent.last_report_ms) / 1000.0);
        }
    }
}

/* One family with a sample a member; 'value' says which. Unknown values are left out, and so is
 * what is no member: sums over nodes are sums over the cluster. */
static void node_family(struct metrics *page,
                        const struct topology *topology,
                        const char *name,
                        const char *help,
                        double (*value)(const struct topology_node *node))
{
    metrics_family(page, METRIC_GAUGE, name, help);
    for (int i = 0; i < topology->node_count; i++) {
        const struct topology_node *node = &topology->nodes[i];
        char address[ADDRESS_TEXT_SIZE];
        const struct metric_label labels[] = {
            {"node", node->id.text},
            {"address", address_format(&node->address, address)},
            {"role", node->role == NODE_ROLE_PRIMARY   ? "primary"
                     : node->role == NODE_ROLE_REPLICA ? "replica"
                                                       : "unknown"},
        };
        double number = node->is_member ? value(node) : -1;
        if (number >= 0) {
            metrics_add(page, labels, 3, number);
        }
    }
}

static double node_up(const struct topology_node *node)
{
    return node->is_reachable ? 1 : 0;
}

static double node_slots(const struct topology_node *node)
{
    return node->slot_count;
}

/* What a node that is away said last is no fact of the cluster any more: its keys, say, are counted
 * where they were taken over. */
static double node_keys(const struct topology_node *node)
{
    return node->is_reachable ? (double)node->keys : -1;
}

static double node_memory(const struct topology_node *node)
{
    return node->is_reachable ? (double)node->used_memory_bytes : -1;
}

static double node_memory_max(const struct topology_node *node)
{
    return node->is_reachable ? (double)node->maxmemory_bytes : -1;
}

static double node_ops(const struct topology_node *node)
{
    return node->is_reachable ? (double)node->ops_per_s : -1;
}

static double node_ping(const struct topology_node *node)
{
    return !node->is_reachable || node->ping_us < 0 ? -1 : (double)node->ping_us / 1e6;
}

void api_metrics_topology(struct metrics *page, const struct topology *topology)
{
    int assigned = 0;
    int outside = 0;
    for (int i = 0; i < topology->node_count; i++) {
        outside += !topology->nodes[i].is_member;
    }
    for (int i = 0; i < SLOT_COUNT; i++) {
        assigned += topology->owner[i] != NO_NODE;
    }
    bool is_settled = topology->node_count > 0 && topology_is_settled(topology, NULL);
    gauge(page, "drover_settled",
          "1 while slots may be moved: all views agree and nothing is open.", is_settled);
    gauge(page, "drover_slots_assigned", "Slots with one owner in every view.", assigned);
    gauge(page, "drover_slots_open", "Half-moved slots that nodes report.", topology->open_count);
    gauge(page, "drover_views", "Different views of the cluster that live nodes hold; 1 at rest.",
          topology->view_count);
    gauge(page, "drover_servers_outside",
          "Servers that agents see and that are no members: spares, removed ones, strangers.",
          outside);
    node_family(page, topology, "drover_node_up", "1 while an agent reaches the node.", node_up);
    node_family(page, topology, "drover_node_slots", "Slots that the node owns.", node_slots);
    node_family(page, topology, "drover_node_keys", "Keys of the node.", node_keys);
    node_family(page, topology, "drover_node_used_memory_bytes",
                "Memory in use, as the node counts it.", node_memory);
    node_family(page, topology, "drover_node_maxmemory_bytes",
                "Memory limit of the node, 0 for none.", node_memory_max);
    node_family(page, topology, "drover_node_operations_per_second",
                "Commands a second, as the node says.", node_ops);
    node_family(page, topology, "drover_node_ping_seconds", "Round trip of the agent's last PING.",
                node_ping);
}

static void add_operations(struct metrics *page, const struct coordinator *core)
{
    int by_state[OPERATION_HELD + 1] = {0};
    struct progress_amount done = {0};
    struct progress_amount left = {0};
    for (int i = 0; i < coordinator_operation_count(core); i++) {
        const struct operation *operation = coordinator_operation(core, i);
        struct progress_amount moved;
        struct progress_amount total;
        by_state[operation->state]++;
        api_operation_amounts(core, operation, &moved, &total);
        done.slots += moved.slots;
        done.keys += moved.keys;
        done.bytes += moved.bytes;
        if (!operation_state_is_final(operation->state)) {
            left.slots += total.slots - moved.slots;
        }
    }
    metrics_family(page, METRIC_GAUGE, "drover_operations", "Operations that are known, by state.");
    for (int state = OPERATION_PLANNED; state <= OPERATION_HELD; state++) {
        const struct metric_label label = {"state",
                                           operation_state_name((enum operation_state)state)};
        metrics_add(page, &label, 1, by_state[state]);
    }
    /* Gauges: they shrink when old operations are forgotten and on a change of leader. */
    gauge(page, "drover_moved_slots", "Slots moved by the operations that are known.",
          (double)done.slots);
    gauge(page, "drover_moved_keys", "Keys moved by the operations that are known.",
          (double)done.keys);
    gauge(page, "drover_moved_bytes", "Bytes moved by the operations that are known.",
          (double)done.bytes);
    gauge(page, "drover_slots_to_move", "Slots that open operations have still to move.",
          (double)left.slots);
}

void api_get_metrics(struct api *api, struct http_request *request, const char *rest)
{
    (void)rest;
    const struct coordinator *core = api_core(api);
    struct metrics page = {0};
    add_coordinator(&page, api);
    if (coordinator_is_leader(core)) {
        add_agents(&page, core);
        api_metrics_topology(&page, coordinator_topology(core));
        add_operations(&page, core);
    }
    struct http_response response = {.status = 200, .content_type = METRICS_CONTENT_TYPE};
    response.body = metrics_text(&page, &response.size);
    api->answers[2]++;
    http_respond(request, &response);
    metrics_release(&page);
}
