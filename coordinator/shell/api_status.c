/* api_status.c — the whole at a glance: status, the one sentence, agents, probes. */
#include "coordinator/shell/api_internal.h"

#include "common/base/check.h"
#include "common/io/clock.h"

#include <stdio.h>
#include <string.h>

static json_t *leader_json(const struct leader_record *leader)
{
    if (leader == NULL) {
        return json_null();
    }
    json_t *out = json_object();
    api_set(out, "name", api_text(leader->name));
    api_set(out, "api_url", api_text(leader->api_url));
    api_set(out, "bus_url", api_text(leader->bus_url));
    return out;
}

/* What the nodes say, in numbers. */
void api_set_cluster(json_t *out, const struct topology *topology)
{
    int reachable = 0;
    int failed = 0;
    int primaries = 0;
    int replicas = 0;
    int assigned = 0;
    int64_t keys = 0;
    int64_t used_memory_bytes = 0;
    int64_t ops_per_s = 0;
    for (int i = 0; i < topology->node_count; i++) {
        const struct topology_node *node = &topology->nodes[i];
        reachable += node->is_reachable;
        failed += node->is_failed;
        primaries += node->is_member && node->role == NODE_ROLE_PRIMARY;
        replicas += node->is_member && node->role == NODE_ROLE_REPLICA;
        assigned += node->slot_count;
        if (node->is_member && node->role == NODE_ROLE_PRIMARY && node->is_reachable) {
            keys += node->keys > 0 ? node->keys : 0;
            used_memory_bytes += node->used_memory_bytes > 0 ? node->used_memory_bytes : 0;
            ops_per_s += node->ops_per_s > 0 ? node->ops_per_s : 0;
        }
    }
    api_set(out, "nodes", json_integer(topology->node_count));
    api_set(out, "nodes_reachable", json_integer(reachable));
    api_set(out, "nodes_failed", json_integer(failed));
    api_set(out, "primaries", json_integer(primaries));
    api_set(out, "replicas", json_integer(replicas));
    api_set(out, "slots_assigned", json_integer(assigned));
    api_set(out, "slots_open", json_integer(topology->open_count));
    api_set(out, "views", json_integer(topology->view_count));
    api_set(out, "disagreements",
            json_integer(topology->disagreement_count + topology->disagreements_left_out));
    api_set(out, "keys", json_integer(keys));
    api_set(out, "used_memory_bytes", json_integer(used_memory_bytes));
    api_set(out, "ops_per_s", json_integer(ops_per_s));
    api_set(out, "topology_digest", api_hex(topology_digest(topology)));
}

static void set_agents(json_t *out, const struct coordinator *core)
{
    int connected = 0;
    int count = coordinator_agent_count(core);
    for (int i = 0; i < count; i++) {
        struct agent_view agent;
        coordinator_agent(core, i, &agent);
        connected += agent.is_connected;
    }
    api_set(out, "agents", json_integer(count));
    api_set(out, "agents_connected", json_integer(connected));
}

static void set_operations(json_t *out, const struct coordinator *core)
{
    int running = 0;
    int waiting = 0;
    int held = 0;
    for (int i = 0; i < coordinator_operation_count(core); i++) {
        enum operation_state state = coordinator_operation(core, i)->state;
        running += state == OPERATION_RUNNING || state == OPERATION_PAUSING ||
                   state == OPERATION_CANCELLING;
        waiting += state == OPERATION_PLANNED || state == OPERATION_PAUSED;
        held += state == OPERATION_HELD;
    }
    api_set(out, "operations_running", json_integer(running));
    api_set(out, "operations_waiting", json_integer(waiting));
    api_set(out, "operations_held", json_integer(held));
}

void api_get_status(struct api *api, struct http_request *request, const char *rest)
{
    (void)rest;
    const struct coordinator *core = api_core(api);
    const struct coordinator_config *config = coordinator_shell_config(api->shell);
    const struct topology *topology = coordinator_topology(core);
    bool is_leader = coordinator_is_leader(core);
    struct err store_err = {0};
    bool is_store_up = coordinator_shell_store_is_up(api->shell, &store_err);
    json_t *out = json_object();
    api_set(out, "cluster", api_text(config->cluster));
    api_set(out, "name", api_text(config->self.name));
    api_set(out, "version", json_string(DROVER_VERSION));
    api_set(out, "leading", json_boolean(is_leader));
    api_set(out, "leader", leader_json(coordinator_known_leader(core)));
    api_set(out, "fence", json_integer(coordinator_fence(core)));
    api_set(out, "store_up", json_boolean(is_store_up));
    api_set(out, "store_error", api_text_or_null(is_store_up ? "" : store_err.text));
    api_set(out, "why", api_text(coordinator_why(core)));
    api_set(out, "uptime_ms", json_integer(clock_now_ms() - api->started_ms));
    struct strbuf why = {0};
    bool is_settled = is_leader && topology != NULL && topology->node_count > 0 &&
                      topology_is_settled(topology, &why);
    api_set(out, "settled", json_boolean(is_settled));
    api_set(out, "unsettled_reason",
            is_settled ? json_null() : api_text_or_null(strbuf_text(&why)));
    strbuf_release(&why);
    if (is_leader && topology != NULL) {
        api_set_cluster(out, topology);
        set_agents(out, core);
        set_operations(out, core);
    }
    api_respond(api, request, 200, out);
}

void api_get_why(struct api *api, struct http_request *request, const char *rest)
{
    (void)rest;
    const struct coordinator *core = api_core(api);
    json_t *out = json_object();
    api_set(out, "why", api_text(coordinator_why(core)));
    api_set(out, "leading", json_boolean(coordinator_is_leader(core)));
    api_set(out, "leader", leader_json(coordinator_known_leader(core)));
    api_respond(api, request, 200, out);
}

void api_get_agents(struct api *api, struct http_request *request, const char *rest)
{
    (void)rest;
    const struct coordinator *core = api_core(api);
    int64_t now_ms = clock_now_ms();
    json_t *agents = json_array();
    for (int i = 0; i < coordinator_agent_count(core); i++) {
        struct agent_view agent;
        coordinator_agent(core, i, &agent);
        json_t *row = json_object();
        api_set(row, "id", api_text(agent.id.text));
        api_set(row, "connected", json_boolean(agent.is_connected));
        api_set(row, "version", api_text(agent.version));
        api_set(row, "incarnation", api_hex(agent.incarnation));
        api_set(row, "nodes", json_integer(agent.node_count));
        api_set(row, "last_report_age_ms",
                api_known(agent.last_report_ms == NEVER ? -1 : now_ms - agent.last_report_ms));
        api_set(row, "fence_acked", json_integer(agent.fence_acked));
        int failed = json_array_append_new(agents, row);
        CHECK(failed == 0);
    }
    json_t *out = json_object();
    api_set(out, "agents", agents);
    api_respond(api, request, 200, out);
}

void api_get_health(struct api *api, struct http_request *request, const char *rest)
{
    (void)rest;
    json_t *out = json_object();
    api_set(out, "healthy", json_true());
    api_respond(api, request, 200, out);
}

/* Ready: leads with its journal read, or knows who else leads; and the store answers. A leader
 * record with our own URL that is not us is what a killed predecessor left: then nobody leads yet.
 */
void api_get_ready(struct api *api, struct http_request *request, const char *rest)
{
    (void)rest;
    const struct coordinator *core = api_core(api);
    const struct leader_record *leader = coordinator_known_leader(core);
    const char *self_url = coordinator_shell_config(api->shell)->self.api_url;
    bool is_leader = coordinator_is_leader(core);
    bool is_led = is_leader || (leader != NULL && strcmp(leader->api_url, self_url) != 0);
    bool is_ready = is_led && coordinator_is_ready(core);
    json_t *out = json_object();
    api_set(out, "ready", json_boolean(is_ready));
    api_set(out, "leading", json_boolean(is_leader));
    api_set(out, "why", api_text(coordinator_why(core)));
    api_respond(api, request, is_ready ? 200 : 503, out);
}
