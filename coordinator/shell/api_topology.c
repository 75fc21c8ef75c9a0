/* api_topology.c — what is: nodes, shards and slots. */
#include "coordinator/shell/api_internal.h"

#include "common/base/check.h"

#include <string.h>

static void append(json_t *array, json_t *value)
{
    int failed = json_array_append_new(array, value);
    CHECK(failed == 0);
}

/* ---- nodes ---- */

static const char *role_word(enum node_role role)
{
    switch (role) {
    case NODE_ROLE_PRIMARY:
        return "primary";
    case NODE_ROLE_REPLICA:
        return "replica";
    case NODE_ROLE_UNKNOWN:
        break;
    }
    return "unknown";
}

/* For tables: the first that holds, worst first. */
const char *api_node_state(const struct topology_node *node)
{
    if (node->is_failed) {
        return "failed";
    }
    if (!node->is_reachable) {
        return "unreachable";
    }
    if (!node->is_member) {
        return "spare";
    }
    if (node->is_loading) {
        return "loading";
    }
    if (node->is_suspected) {
        return "suspected";
    }
    if (node->role == NODE_ROLE_REPLICA && !node->is_link_up) {
        return "link-down";
    }
    return node->is_cluster_ok ? "ok" : "cluster-down";
}

static void set_report(json_t *out, const struct node_report *report)
{
    api_set(out, "reason", api_text_or_null(report == NULL ? "" : report->reason));
    api_set(out, "clients", api_known(report == NULL ? -1 : report->clients));
    api_set(out, "known_nodes", api_known(report == NULL ? -1 : report->known_nodes));
    api_set(out, "slots_open", json_integer(report == NULL ? 0 : report->open_slot_count));
    api_set(out, "links_down", json_integer(report == NULL ? 0 : report->link_down_count));
}

static json_t *node_json(const struct coordinator *core, const struct topology *topology, int index)
{
    const struct topology_node *node = &topology->nodes[index];
    struct slotset slots = {0};
    json_t *out = json_object();
    topology_node_slots(topology, index, &slots);
    api_set(out, "id", api_text(node->id.text));
    api_set(out, "address", api_node_address(topology, index));
    api_set(out, "role", json_string(role_word(node->role)));
    api_set(out, "state", json_string(api_node_state(node)));
    api_set(
        out, "primary",
        api_text_or_null(node->primary == NO_NODE ? "" : topology->nodes[node->primary].id.text));
    api_set(out, "primary_address", api_node_address(topology, node->primary));
    api_set(out, "shard", api_known(node->shard));
    api_set(out, "slot_count", json_integer(node->slot_count));
    api_set(out, "slots", api_slots(&slots));
    api_set(out, "is_member", json_boolean(node->is_member));
    api_set(out, "is_reachable", json_boolean(node->is_reachable));
    api_set(out, "is_loading", json_boolean(node->is_loading));
    api_set(out, "config_epoch", api_count(node->config_epoch));
    api_set(out, "keys", api_known(node->keys));
    api_set(out, "used_memory_bytes", api_known(node->used_memory_bytes));
    api_set(out, "maxmemory_bytes", api_known(node->maxmemory_bytes));
    api_set(out, "system_memory_bytes", api_known(node->system_memory_bytes));
    api_set(out, "evicts", json_boolean(node->evicts));
    api_set(out, "ops_per_s", api_known(node->ops_per_s));
    api_set(out, "ping_us", api_known(node->ping_us));
    api_set(out, "repl_offset", api_known(node->repl_offset));
    api_set(out, "server", json_string(node->is_valkey ? "valkey" : "redis"));
    api_set(out, "version", api_text_or_null(node->version));
    api_set(out, "run_id", api_text_or_null(node->run_id));
    api_set(out, "agent", api_text_or_null(node->agent.text));
    api_set(out, "age_ms", api_known(node->age_ms));
    set_report(out, coordinator_node_report(core, &node->id));
    return out;
}

void api_get_nodes(struct api *api, struct http_request *request, const char *rest)
{
    (void)rest;
    const struct coordinator *core = api_core(api);
    const struct topology *topology = coordinator_topology(core);
    json_t *nodes = json_array();
    for (int i = 0; i < topology->node_count; i++) {
        append(nodes, node_json(core, topology, i));
    }
    json_t *out = json_object();
    api_set(out, "nodes", nodes);
    api_set(out, "views_missing", json_integer(topology->views_missing));
    api_respond(api, request, 200, out);
}

/* ---- shards ---- */

void api_get_shards(struct api *api, struct http_request *request, const char *rest)
{
    (void)rest;
    const struct topology *topology = coordinator_topology(api_core(api));
    json_t *shards = json_array();
    for (int i = 0; i < topology->shard_count; i++) {
        const struct topology_shard *shard = &topology->shards[i];
        const struct topology_node *primary = &topology->nodes[shard->primary];
        struct slotset slots = {0};
        json_t *row = json_object();
        json_t *replicas = json_array();
        topology_node_slots(topology, shard->primary, &slots);
        for (int k = 0; k < shard->replica_count; k++) {
            int replica = topology->replicas[shard->first_replica + k];
            json_t *item = json_object();
            api_set(item, "id", api_text(topology->nodes[replica].id.text));
            api_set(item, "address", api_node_address(topology, replica));
            api_set(item, "state", json_string(api_node_state(&topology->nodes[replica])));
            append(replicas, item);
        }
        api_set(row, "primary", api_text(primary->id.text));
        api_set(row, "primary_address", api_node_address(topology, shard->primary));
        api_set(row, "state", json_string(api_node_state(primary)));
        api_set(row, "slot_count", json_integer(primary->slot_count));
        api_set(row, "slots", api_slots(&slots));
        api_set(row, "keys", api_known(primary->keys));
        api_set(row, "used_memory_bytes", api_known(primary->used_memory_bytes));
        api_set(row, "replicas", replicas);
        append(shards, row);
    }
    json_t *out = json_object();
    api_set(out, "shards", shards);
    api_respond(api, request, 200, out);
}

/* ---- slots ---- */

static json_t *ranges_json(const struct topology *topology)
{
    json_t *ranges = json_array();
    for (int first = 0; first < SLOT_COUNT;) {
        int owner = topology->owner[first];
        int last = first;
        while (last + 1 < SLOT_COUNT && topology->owner[last + 1] == owner) {
            last++;
        }
        json_t *row = json_object();
        api_set(row, "first", json_integer(first));
        api_set(row, "last", json_integer(last));
        api_set(row, "node",
                owner == NO_NODE ? json_null() : api_text(topology->nodes[owner].id.text));
        api_set(row, "node_address", api_node_address(topology, owner));
        append(ranges, row);
        first = last + 1;
    }
    return ranges;
}

static json_t *opens_json(const struct topology *topology)
{
    json_t *opens = json_array();
    for (int i = 0; i < topology->open_count; i++) {
        const struct topology_open *open = &topology->opens[i];
        json_t *row = json_object();
        api_set(row, "slot", json_integer(open->slot));
        api_set(row, "direction", json_string(open->is_importing ? "importing" : "migrating"));
        api_set_node(row, "node", topology, &topology->nodes[open->node].id);
        api_set_node(row, "peer", topology, &open->peer);
        append(opens, row);
    }
    return opens;
}

void api_get_slots(struct api *api, struct http_request *request, const char *rest)
{
    (void)rest;
    const struct topology *topology = coordinator_topology(api_core(api));
    json_t *out = json_object();
    json_t *disagreements = json_array();
    int assigned = 0;
    for (int i = 0; i < SLOT_COUNT; i++) {
        assigned += topology->owner[i] != NO_NODE;
    }
    for (int i = 0; i < topology->disagreement_count; i++) {
        struct strbuf text = {0};
        topology_format_disagreement(topology, i, &text);
        append(disagreements, api_text(strbuf_text(&text)));
        strbuf_release(&text);
    }
    api_set(out, "assigned", json_integer(assigned));
    api_set(out, "ranges", ranges_json(topology));
    api_set(out, "open", opens_json(topology));
    api_set(out, "disagreements", disagreements);
    api_set(out, "topology_digest", api_hex(topology_digest(topology)));
    api_respond(api, request, 200, out);
}
