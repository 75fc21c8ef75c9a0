/* message_report.c — a report and its order states and views; see message_parts.h. */
#include "common/wire/message_parts.h"

#include "common/base/alloc.h"
#include "common/base/check.h"
#include "common/wire/message_codec.h"

#include <assert.h>
#include <string.h>

static_assert((int)ORDER_EXPIRED == (int)DROVER__ORDER_STATE__ORDER_STATE_EXPIRED,
              "order states have the same numbers");
static_assert((int)ORDER_DONE == (int)DROVER__ORDER_STATE__ORDER_STATE_DONE,
              "order states have the same numbers");

/* ---- decode ---- */

void wire_get_order_id(struct wire_reader *reader,
                       const Drover__OrderId *from,
                       struct order_id *out)
{
    if (from == NULL || from->operation_id.len == 0) {
        wire_refuse(reader, ERR_PROTOCOL, "order id is missing");
        return;
    }
    wire_get_text(reader, "operation_id", &from->operation_id, out->operation_id,
                  sizeof(out->operation_id));
    out->batch_index =
        wire_get_count(reader, "batch_index", from->batch_index, PLAN_BATCHES_MAX - 1);
    out->attempt = wire_get_count(reader, "attempt", from->attempt, INT32_MAX);
}

static void get_big_keys(struct wire_reader *reader,
                         const Drover__OrderStatus *from,
                         struct order_status *out)
{
    if (from->n_big_keys > BIG_KEYS_REPORTED_MAX) {
        wire_refuse(reader, ERR_LIMIT, "%zu big keys are more than the %d that are allowed",
                    from->n_big_keys, BIG_KEYS_REPORTED_MAX);
        return;
    }
    wire_get_big_keys(reader, from->big_keys, from->n_big_keys, out->big_keys);
    out->big_key_count = (int)from->n_big_keys;
}

static void get_order_status(struct wire_reader *reader,
                             const Drover__OrderStatus *from,
                             struct order_status *out)
{
    wire_get_order_id(reader, from->id, &out->id);
    out->state = (enum order_state)wire_get_enum(reader, "state", (int)from->state, ORDER_EXPIRED);
    wire_get_slots(reader, "slots_done", from->slots_done, &out->slots_done);
    out->slots_open = wire_get_count(reader, "slots_open", from->slots_open, SLOT_COUNT);
    out->keys_moved = from->keys_moved;
    out->bytes_moved = from->bytes_moved;
    out->call_us_p50 = wire_get_int(reader, "call_us_p50", from->call_us_p50, -1, INT64_MAX);
    out->call_us_max = wire_get_int(reader, "call_us_max", from->call_us_max, -1, INT64_MAX);
    out->retries = from->retries;
    out->is_replica_synced = from->is_replica_synced != 0;
    out->reason_code = wire_get_code(reader, "reason_code", from->reason_code);
    wire_get_text(reader, "reason", &from->reason, out->reason, sizeof(out->reason));
    get_big_keys(reader, from, out);
    wire_get_address(reader, "made", from->made, &out->made);
}

static void get_views(struct wire_reader *reader, const Drover__Report *from, struct report *out)
{
    wire_scope(reader, "report", -1);
    out->views =
        wire_get_items(reader, "views", from->n_views, MESSAGE_VIEWS_MAX, sizeof(*out->views));
    for (size_t i = 0; reader->code == 0 && i < from->n_views; i++) {
        const Drover__ViewText *view = from->views[i];
        struct view_text *to = &out->views[i];
        out->view_count = (int)i + 1;
        wire_scope(reader, "report: view", (int)i);
        to->digest = view->digest;
        wire_need_node_id(reader, "node", &view->node, &to->node);
        if (view->text.len > VIEW_TEXT_SIZE_MAX) {
            wire_refuse(reader, ERR_LIMIT, "text has %zu bytes, %lu are allowed", view->text.len,
                        VIEW_TEXT_SIZE_MAX);
            return;
        }
        to->len = view->text.len;
        to->text = xmalloc(to->len + 1);
        if (to->len > 0) {
            memcpy(to->text, view->text.data, to->len);
        }
        to->text[to->len] = '\0';
    }
}

static void get_host(struct wire_reader *reader, const Drover__HostReport *from, struct report *out)
{
    wire_scope(reader, "report: host", -1);
    if (from == NULL) {
        return;
    }
    out->has_host = true;
    wire_get_text(reader, "zone", &from->zone, out->host.zone, sizeof(out->host.zone));
    wire_get_text(reader, "host", &from->host, out->host.host, sizeof(out->host.host));
    out->host.can_start = from->can_start != 0;
    out->host.memory_free_bytes =
        wire_get_int(reader, "memory_free_bytes", from->memory_free_bytes, -1, INT64_MAX);
    out->host.port_first =
        (uint16_t)wire_get_count(reader, "port_first", from->port_first, UINT16_MAX);
    out->host.port_last =
        (uint16_t)wire_get_count(reader, "port_last", from->port_last, UINT16_MAX);
    out->host.offers_provision = from->offers_provision != 0;
    out->host.offers_traffic = from->offers_traffic != 0;
}

void wire_get_report(struct wire_reader *reader, const Drover__Report *from, struct report *out)
{
    wire_scope(reader, "report", -1);
    wire_get_agent_id(reader, "agent", &from->agent, &out->agent);
    if (out->agent.text[0] == '\0') {
        wire_refuse(reader, ERR_PROTOCOL, "agent is missing");
    }
    out->session = from->session;
    out->sequence = from->sequence;
    out->fence_acked = wire_get_int(reader, "fence_acked", from->fence_acked, 0, INT64_MAX);
    out->wait_ms = wire_get_int(reader, "wait_ms", from->wait_ms, 0, MESSAGE_WAIT_MS_MAX);
    out->has_nodes = from->has_nodes != 0;
    out->nodes =
        wire_get_items(reader, "nodes", from->n_nodes, REPORT_NODES_MAX, sizeof(*out->nodes));
    for (size_t i = 0; reader->code == 0 && i < from->n_nodes; i++) {
        wire_scope(reader, "report: node", (int)i);
        out->node_count = (int)i + 1;
        wire_get_node_report(reader, from->nodes[i], &out->nodes[i]);
    }
    wire_scope(reader, "report", -1);
    out->orders =
        wire_get_items(reader, "orders", from->n_orders, MESSAGE_ORDERS_MAX, sizeof(*out->orders));
    for (size_t i = 0; reader->code == 0 && i < from->n_orders; i++) {
        wire_scope(reader, "report: order", (int)i);
        out->order_count = (int)i + 1;
        get_order_status(reader, from->orders[i], &out->orders[i]);
    }
    get_host(reader, from->host, out);
    get_views(reader, from, out);
}

/* ---- encode ---- */

Drover__OrderId *wire_put_order_id(struct arena *arena, const struct order_id *id)
{
    Drover__OrderId *out = arena_alloc(arena, sizeof(*out));
    drover__order_id__init(out);
    out->operation_id = wire_put_text(id->operation_id);
    out->batch_index = wire_put_count(id->batch_index, PLAN_BATCHES_MAX - 1);
    out->attempt = wire_put_count(id->attempt, INT32_MAX);
    return out;
}

static Drover__OrderStatus *put_order_status(struct arena *arena, const struct order_status *status)
{
    Drover__OrderStatus *out = arena_alloc(arena, sizeof(*out));
    drover__order_status__init(out);
    out->id = wire_put_order_id(arena, &status->id);
    out->state = (Drover__OrderState)status->state;
    out->slots_done = wire_put_slots(arena, &status->slots_done);
    out->slots_open = wire_put_count(status->slots_open, SLOT_COUNT);
    out->keys_moved = status->keys_moved;
    out->bytes_moved = status->bytes_moved;
    out->call_us_p50 = status->call_us_p50;
    out->call_us_max = status->call_us_max;
    out->retries = status->retries;
    out->is_replica_synced = status->is_replica_synced;
    out->reason_code = status->reason_code;
    out->reason = wire_put_text(status->reason);
    out->n_big_keys = wire_put_count(status->big_key_count, BIG_KEYS_REPORTED_MAX);
    out->big_keys = wire_put_big_keys(arena, status->big_keys, status->big_key_count);
    out->made = wire_put_address(arena, &status->made);
    return out;
}

static Drover__ViewText *put_view(struct arena *arena, const struct view_text *view)
{
    CHECK(view->len <= VIEW_TEXT_SIZE_MAX);
    Drover__ViewText *out = arena_alloc(arena, sizeof(*out));
    drover__view_text__init(out);
    out->digest = view->digest;
    out->node = wire_put_node_id(arena, &view->node);
    out->text = (ProtobufCBinaryData){.len = view->len, .data = (uint8_t *)view->text};
    return out;
}

static Drover__HostReport *put_host(struct arena *arena, const struct host_report *host)
{
    Drover__HostReport *out = arena_alloc(arena, sizeof(*out));
    drover__host_report__init(out);
    out->zone = wire_put_text(host->zone);
    out->host = wire_put_text(host->host);
    out->can_start = host->can_start;
    out->memory_free_bytes = host->memory_free_bytes;
    out->port_first = host->port_first;
    out->port_last = host->port_last;
    out->offers_provision = host->offers_provision;
    out->offers_traffic = host->offers_traffic;
    return out;
}

Drover__Report *wire_put_report(struct arena *arena, const struct report *report)
{
    Drover__Report *out = arena_alloc(arena, sizeof(*out));
    drover__report__init(out);
    out->agent = wire_put_text(report->agent.text);
    out->session = report->session;
    out->sequence = report->sequence;
    out->fence_acked = report->fence_acked;
    out->wait_ms = report->wait_ms;
    out->has_nodes = report->has_nodes;
    out->n_nodes = wire_put_count(report->node_count, REPORT_NODES_MAX);
    out->nodes = wire_put_pointers(arena, report->node_count);
    for (int i = 0; i < report->node_count; i++) {
        out->nodes[i] = wire_put_node_report(arena, &report->nodes[i]);
    }
    out->host = report->has_host ? put_host(arena, &report->host) : NULL;
    out->n_orders = wire_put_count(report->order_count, MESSAGE_ORDERS_MAX);
    out->orders = wire_put_pointers(arena, report->order_count);
    for (int i = 0; i < report->order_count; i++) {
        out->orders[i] = put_order_status(arena, &report->orders[i]);
    }
    out->n_views = wire_put_count(report->view_count, MESSAGE_VIEWS_MAX);
    out->views = wire_put_pointers(arena, report->view_count);
    for (int i = 0; i < report->view_count; i++) {
        out->views[i] = put_view(arena, &report->views[i]);
    }
    return out;
}
