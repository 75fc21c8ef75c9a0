/* message_instructions.c — the answer to a report; see message_parts.h. */
#include "common/wire/message_parts.h"

#include <assert.h>

#include "common/base/alloc.h"
#include "common/base/check.h"
#include "common/wire/message_codec.h"

static_assert((int)ORDER_MOVE == (int)DROVER__ORDER_KIND__ORDER_KIND_MOVE,
              "order kinds have the same numbers");
static_assert((int)ORDER_SCAN == (int)DROVER__ORDER_KIND__ORDER_KIND_SCAN,
              "order kinds have the same numbers");
static_assert((int)ORDER_TASK == (int)DROVER__ORDER_KIND__ORDER_KIND_TASK,
              "order kinds have the same numbers");

/* ---- decode ---- */

static void get_order(struct wire_reader *reader, const Drover__Order *from, struct order *out)
{
    wire_get_order_id(reader, from->id, &out->id);
    out->fence = wire_get_int(reader, "fence", from->fence, 1, INT64_MAX);
    out->valid_for_ms =
        wire_get_int(reader, "valid_for_ms", from->valid_for_ms, 0, MESSAGE_INTERVAL_MS_MAX);
    out->kind = (enum order_kind)wire_get_enum(reader, "kind", (int)from->kind, ORDER_TASK);
    if (out->kind == ORDER_TASK) {
        wire_get_task(reader, from->task, &out->task);
        return;
    }
    wire_need_node_id(reader, "source", &from->source, &out->source);
    wire_need_address(reader, "source_address", from->source_address, &out->source_address);
    if (out->kind == ORDER_MOVE) {
        wire_need_node_id(reader, "target", &from->target, &out->target);
        wire_need_address(reader, "target_address", from->target_address, &out->target_address);
    } else {
        wire_get_node_id(reader, "target", &from->target, &out->target);
        wire_get_address(reader, "target_address", from->target_address, &out->target_address);
    }
    wire_get_text(reader, "source_run_id", &from->source_run_id, out->source_run_id,
                  sizeof(out->source_run_id));
    wire_get_slots(reader, "slots", from->slots, &out->slots);
    out->speed = wire_get_speed(reader, from->speed);
    out->big_key_bytes_max =
        wire_get_int(reader, "big_key_bytes_max", from->big_key_bytes_max, 0, INT64_MAX);
    out->source_counts = from->source_counts != 0;
    if (reader->code != 0) {
        return;
    }
    int slots = slotset_count(&out->slots);
    int slots_max = out->kind == ORDER_MOVE ? BATCH_SLOTS_MAX : SLOT_COUNT;
    if (slots == 0 || slots > slots_max) {
        wire_refuse(reader, ERR_LIMIT, "%d slots in one order, allowed are 1 to %d", slots,
                    slots_max);
    }
    if (out->kind == ORDER_MOVE && node_id_is_equal(&out->source, &out->target)) {
        wire_refuse(reader, ERR_PROTOCOL, "source and target are the same node %.8s",
                    out->source.text);
    }
}

static struct order_id *get_order_ids(struct wire_reader *reader,
                                      const char *field,
                                      Drover__OrderId **from,
                                      size_t count)
{
    wire_scope(reader, "instructions", -1);
    struct order_id *out = wire_get_items(reader, field, count, MESSAGE_ORDERS_MAX, sizeof(*out));
    for (size_t i = 0; reader->code == 0 && i < count; i++) {
        wire_scope(reader, field, (int)i);
        wire_get_order_id(reader, from[i], &out[i]);
    }
    return out;
}

static void get_renewals(struct wire_reader *reader,
                         const Drover__Instructions *from,
                         struct instructions *out)
{
    wire_scope(reader, "instructions", -1);
    out->renewals = wire_get_items(reader, "renewals", from->n_renewals, MESSAGE_ORDERS_MAX,
                                   sizeof(*out->renewals));
    for (size_t i = 0; reader->code == 0 && i < from->n_renewals; i++) {
        wire_scope(reader, "instructions: renewal", (int)i);
        wire_get_order_id(reader, from->renewals[i]->id, &out->renewals[i].id);
        out->renewals[i].valid_for_ms = wire_get_int(
            reader, "valid_for_ms", from->renewals[i]->valid_for_ms, 0, MESSAGE_INTERVAL_MS_MAX);
        out->renewal_count = (int)i + 1;
    }
}

static void get_wanted(struct wire_reader *reader,
                       const Drover__Instructions *from,
                       struct instructions *out)
{
    wire_scope(reader, "instructions", -1);
    out->views_wanted = wire_get_items(reader, "views wanted", from->n_views_wanted,
                                       MESSAGE_VIEWS_MAX, sizeof(*out->views_wanted));
    for (size_t i = 0; reader->code == 0 && i < from->n_views_wanted; i++) {
        out->views_wanted[i] = from->views_wanted[i];
        out->view_wanted_count = (int)i + 1;
    }
    out->nodes =
        wire_get_items(reader, "nodes", from->n_nodes, REPORT_NODES_MAX, sizeof(*out->nodes));
    for (size_t i = 0; reader->code == 0 && i < from->n_nodes; i++) {
        wire_scope(reader, "instructions: node", (int)i);
        wire_need_address(reader, "address", from->nodes[i], &out->nodes[i]);
        out->node_count = (int)i + 1;
    }
}

void wire_get_instructions(struct wire_reader *reader,
                           const Drover__Instructions *from,
                           struct instructions *out)
{
    wire_scope(reader, "instructions", -1);
    out->fence = wire_get_int(reader, "fence", from->fence, 0, INT64_MAX);
    out->orders =
        wire_get_items(reader, "orders", from->n_orders, MESSAGE_ORDERS_MAX, sizeof(*out->orders));
    for (size_t i = 0; reader->code == 0 && i < from->n_orders; i++) {
        wire_scope(reader, "instructions: order", (int)i);
        get_order(reader, from->orders[i], &out->orders[i]);
        out->order_count = (int)i + 1;
    }
    get_renewals(reader, from, out);
    out->stops = get_order_ids(reader, "stops", from->stops, from->n_stops);
    out->stop_count = out->stops == NULL ? 0 : (int)from->n_stops;
    out->forgets = get_order_ids(reader, "forgets", from->forgets, from->n_forgets);
    out->forget_count = out->forgets == NULL ? 0 : (int)from->n_forgets;
    get_wanted(reader, from, out);
    out->probe_now = from->probe_now != 0;
}

/* ---- encode ---- */

static Drover__Order *put_order(struct arena *arena, const struct order *order)
{
    Drover__Order *out = arena_alloc(arena, sizeof(*out));
    drover__order__init(out);
    out->id = wire_put_order_id(arena, &order->id);
    out->fence = order->fence;
    out->valid_for_ms = order->valid_for_ms;
    out->kind = (Drover__OrderKind)order->kind;
    out->source = wire_put_node_id(arena, &order->source);
    out->target = wire_put_node_id(arena, &order->target);
    out->source_address = wire_put_address(arena, &order->source_address);
    out->target_address = wire_put_address(arena, &order->target_address);
    out->source_run_id = wire_put_text(order->source_run_id);
    out->slots = wire_put_slots(arena, &order->slots);
    out->speed = wire_put_speed(order->speed);
    out->big_key_bytes_max = order->big_key_bytes_max;
    out->source_counts = order->source_counts;
    if (order->kind == ORDER_TASK) {
        out->task = wire_put_task(arena, &order->task);
    }
    return out;
}

static Drover__OrderId **put_order_ids(struct arena *arena, const struct order_id *ids, int count)
{
    Drover__OrderId **out = wire_put_pointers(arena, count);
    for (int i = 0; i < count; i++) {
        out[i] = wire_put_order_id(arena, &ids[i]);
    }
    return out;
}

static void put_wanted(struct arena *arena,
                       const struct instructions *instructions,
                       Drover__Instructions *out)
{
    out->probe_now = instructions->probe_now;
    out->n_views_wanted = wire_put_count(instructions->view_wanted_count, MESSAGE_VIEWS_MAX);
    out->views_wanted = instructions->views_wanted;
    out->n_nodes = wire_put_count(instructions->node_count, REPORT_NODES_MAX);
    out->nodes = wire_put_pointers(arena, instructions->node_count);
    for (int i = 0; i < instructions->node_count; i++) {
        out->nodes[i] = wire_put_address(arena, &instructions->nodes[i]);
        CHECK(out->nodes[i] != NULL);
    }
}

Drover__Instructions *wire_put_instructions(struct arena *arena,
                                            const struct instructions *instructions)
{
    Drover__Instructions *out = arena_alloc(arena, sizeof(*out));
    drover__instructions__init(out);
    out->fence = instructions->fence;
    out->n_orders = wire_put_count(instructions->order_count, MESSAGE_ORDERS_MAX);
    out->orders = wire_put_pointers(arena, instructions->order_count);
    for (int i = 0; i < instructions->order_count; i++) {
        out->orders[i] = put_order(arena, &instructions->orders[i]);
    }
    out->n_renewals = wire_put_count(instructions->renewal_count, MESSAGE_ORDERS_MAX);
    out->renewals = wire_put_pointers(arena, instructions->renewal_count);
    for (int i = 0; i < instructions->renewal_count; i++) {
        Drover__Renewal *renewal = arena_alloc(arena, sizeof(*renewal));
        drover__renewal__init(renewal);
        renewal->id = wire_put_order_id(arena, &instructions->renewals[i].id);
        renewal->valid_for_ms = instructions->renewals[i].valid_for_ms;
        out->renewals[i] = renewal;
    }
    out->n_stops = wire_put_count(instructions->stop_count, MESSAGE_ORDERS_MAX);
    out->stops = put_order_ids(arena, instructions->stops, instructions->stop_count);
    out->n_forgets = wire_put_count(instructions->forget_count, MESSAGE_ORDERS_MAX);
    out->forgets = put_order_ids(arena, instructions->forgets, instructions->forget_count);
    put_wanted(arena, instructions, out);
    return out;
}
