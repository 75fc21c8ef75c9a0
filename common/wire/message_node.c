/* message_node.c — one node as its agent saw it; see message_parts.h. */
#include "common/wire/message_parts.h"

#include <assert.h>

#include "common/base/alloc.h"
#include "common/base/check.h"

static_assert((int)NODE_ROLE_REPLICA == (int)DROVER__NODE_ROLE__NODE_ROLE_REPLICA,
              "roles have the same numbers");

/* ---- decode ---- */

static void get_open_slots(struct wire_reader *reader,
                           const Drover__NodeReport *from,
                           struct node_report *out)
{
    out->open_slots = wire_get_items(reader, "open slots", from->n_open_slots,
                                     OPEN_SLOTS_REPORTED_MAX, sizeof(*out->open_slots));
    for (size_t i = 0; reader->code == 0 && i < from->n_open_slots; i++) {
        const Drover__OpenSlot *open = from->open_slots[i];
        struct open_slot *to = &out->open_slots[i];
        to->slot = (uint16_t)wire_get_count(reader, "open slot", open->slot, SLOT_COUNT - 1);
        to->is_importing = open->is_importing != 0;
        wire_need_node_id(reader, "peer of an open slot", &open->peer, &to->peer);
        out->open_slot_count = (int)i + 1;
    }
}

static void get_links_down(struct wire_reader *reader,
                           const Drover__NodeReport *from,
                           struct node_report *out)
{
    out->links_down = wire_get_items(reader, "links down", from->n_links_down, REPORT_NODES_MAX,
                                     sizeof(*out->links_down));
    for (size_t i = 0; reader->code == 0 && i < from->n_links_down; i++) {
        wire_need_node_id(reader, "link down", &from->links_down[i], &out->links_down[i]);
        out->link_down_count = (int)i + 1;
    }
}

/* Numbers that are -1 when not known. */
static void get_numbers(struct wire_reader *reader,
                        const Drover__NodeReport *from,
                        struct node_report *out)
{
    out->age_ms = wire_get_int(reader, "age_ms", from->age_ms, -1, INT64_MAX);
    out->repl_offset = wire_get_int(reader, "repl_offset", from->repl_offset, -1, INT64_MAX);
    out->used_memory_bytes =
        wire_get_int(reader, "used_memory_bytes", from->used_memory_bytes, -1, INT64_MAX);
    out->maxmemory_bytes =
        wire_get_int(reader, "maxmemory_bytes", from->maxmemory_bytes, -1, INT64_MAX);
    out->system_memory_bytes =
        wire_get_int(reader, "system_memory_bytes", from->system_memory_bytes, -1, INT64_MAX);
    out->keys = wire_get_int(reader, "keys", from->keys, -1, INT64_MAX);
    out->ops_per_s = wire_get_int(reader, "ops_per_s", from->ops_per_s, -1, INT64_MAX);
    out->clients = wire_get_int(reader, "clients", from->clients, -1, INT64_MAX);
    out->ping_us = wire_get_int(reader, "ping_us", from->ping_us, -1, INT64_MAX);
    out->known_nodes = wire_get_int(reader, "known_nodes", from->known_nodes, -1, INT64_MAX);
    out->config_epoch = wire_get_int(reader, "config_epoch", from->config_epoch, -1, INT64_MAX);
    out->current_epoch = wire_get_int(reader, "current_epoch", from->current_epoch, -1, INT64_MAX);
    out->slots_owned =
        (int32_t)wire_get_int(reader, "slots_owned", from->slots_owned, -1, SLOT_COUNT);
}

static enum node_role get_role(struct wire_reader *reader, Drover__NodeRole role)
{
    if ((int)role < 0 || (int)role > NODE_ROLE_REPLICA) {
        wire_refuse(reader, ERR_VERSION, "role is %d, known are 0 to %d", (int)role,
                    NODE_ROLE_REPLICA);
        return NODE_ROLE_UNKNOWN;
    }
    return (enum node_role)role;
}

void wire_get_node_report(struct wire_reader *reader,
                          const Drover__NodeReport *from,
                          struct node_report *out)
{
    wire_need_address(reader, "address", from->address, &out->address);
    wire_get_node_id(reader, "id", &from->id, &out->id);
    out->is_reachable = from->is_reachable != 0;
    out->reason_code = wire_get_code(reader, "reason_code", from->reason_code);
    wire_get_text(reader, "reason", &from->reason, out->reason, sizeof(out->reason));
    wire_get_text(reader, "run_id", &from->run_id, out->run_id, sizeof(out->run_id));
    wire_get_text(reader, "version", &from->version, out->version, sizeof(out->version));
    out->is_valkey = from->is_valkey != 0;
    out->role = get_role(reader, from->role);
    out->is_loading = from->is_loading != 0;
    out->is_cluster_enabled = from->is_cluster_enabled != 0;
    out->is_cluster_ok = from->is_cluster_ok != 0;
    out->is_link_up = from->is_link_up != 0;
    out->evicts = from->evicts != 0;
    out->view_digest = from->view_digest;
    get_numbers(reader, from, out);
    get_open_slots(reader, from, out);
    get_links_down(reader, from, out);
}

/* ---- encode ---- */

static void put_lists(struct arena *arena, const struct node_report *node, Drover__NodeReport *out)
{
    out->n_open_slots = wire_put_count(node->open_slot_count, OPEN_SLOTS_REPORTED_MAX);
    out->open_slots = wire_put_pointers(arena, node->open_slot_count);
    for (int i = 0; i < node->open_slot_count; i++) {
        Drover__OpenSlot *open = arena_alloc(arena, sizeof(*open));
        drover__open_slot__init(open);
        open->slot = node->open_slots[i].slot;
        open->is_importing = node->open_slots[i].is_importing;
        open->peer = wire_put_node_id(arena, &node->open_slots[i].peer);
        out->open_slots[i] = open;
    }
    out->n_links_down = wire_put_count(node->link_down_count, REPORT_NODES_MAX);
    if (node->link_down_count > 0) {
        out->links_down = arena_alloc(arena, out->n_links_down * sizeof(*out->links_down));
    }
    for (int i = 0; i < node->link_down_count; i++) {
        out->links_down[i] = wire_put_node_id(arena, &node->links_down[i]);
    }
}

Drover__NodeReport *wire_put_node_report(struct arena *arena, const struct node_report *node)
{
    Drover__NodeReport *out = arena_alloc(arena, sizeof(*out));
    drover__node_report__init(out);
    out->address = wire_put_address(arena, &node->address);
    out->id = wire_put_node_id(arena, &node->id);
    out->is_reachable = node->is_reachable;
    out->reason_code = node->reason_code;
    out->reason = wire_put_text(node->reason);
    out->age_ms = node->age_ms;
    out->run_id = wire_put_text(node->run_id);
    out->version = wire_put_text(node->version);
    out->is_valkey = node->is_valkey;
    out->role = (Drover__NodeRole)node->role;
    out->is_loading = node->is_loading;
    out->is_cluster_enabled = node->is_cluster_enabled;
    out->is_cluster_ok = node->is_cluster_ok;
    out->is_link_up = node->is_link_up;
    out->repl_offset = node->repl_offset;
    out->used_memory_bytes = node->used_memory_bytes;
    out->maxmemory_bytes = node->maxmemory_bytes;
    out->evicts = node->evicts;
    out->system_memory_bytes = node->system_memory_bytes;
    out->keys = node->keys;
    out->ops_per_s = node->ops_per_s;
    out->clients = node->clients;
    out->ping_us = node->ping_us;
    out->known_nodes = node->known_nodes;
    out->config_epoch = node->config_epoch;
    out->current_epoch = node->current_epoch;
    out->slots_owned = node->slots_owned;
    out->view_digest = node->view_digest;
    put_lists(arena, node, out);
    return out;
}
