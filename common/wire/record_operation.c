/* record_operation.c — an operation and what was asked for; see record_parts.h. */
#include "common/wire/record_parts.h"

#include "common/base/alloc.h"
#include "common/base/check.h"
#include "common/wire/record_codec.h"

#include <assert.h>
#include <float.h>

static_assert((int)OPERATION_REPAIR == (int)DROVER__OPERATION_KIND__OPERATION_KIND_REPAIR,
              "kinds keep their numbers");
static_assert((int)OPERATION_HELD == (int)DROVER__OPERATION_STATE__OPERATION_STATE_HELD,
              "states keep their numbers");
static_assert((int)OPERATION_DONE == (int)DROVER__OPERATION_STATE__OPERATION_STATE_DONE,
              "states keep their numbers");

/* The only two kinds for which replicas_wanted means something. */
static bool names_replicas(const struct operation_request *request)
{
    return request->kind == OPERATION_CREATE || request->kind == OPERATION_SCALE;
}

/* ---- decode ---- */

static void get_request(struct wire_reader *reader,
                        const Drover__OperationRequest *from,
                        struct operation_request *out)
{
    if (from == NULL) {
        wire_refuse(reader, ERR_PROTOCOL, "request is missing");
        return;
    }
    out->kind =
        (enum operation_kind)wire_get_enum(reader, "kind", (int)from->kind, OPERATION_KIND_MAX);
    out->weights = wire_get_items(reader, "weights", from->n_weights, REQUEST_NODES_MAX,
                                  sizeof(*out->weights));
    for (size_t i = 0; reader->code == 0 && i < from->n_weights; i++) {
        wire_need_node_id(reader, "node of a weight", &from->weights[i]->node,
                          &out->weights[i].node);
        out->weights[i].weight =
            wire_get_double(reader, "weight", from->weights[i]->weight, 0, DBL_MAX);
        out->weight_count = (int)i + 1;
    }
    out->threshold_percent =
        wire_get_double(reader, "threshold_percent", from->threshold_percent, 0, 100);
    out->sources = wire_get_items(reader, "sources", from->n_sources, REQUEST_NODES_MAX,
                                  sizeof(*out->sources));
    for (size_t i = 0; reader->code == 0 && i < from->n_sources; i++) {
        wire_need_node_id(reader, "source", &from->sources[i], &out->sources[i]);
        out->source_count = (int)i + 1;
    }
    wire_get_node_id(reader, "target", &from->target, &out->target);
    out->slot_count = wire_get_count(reader, "slot_count", from->slot_count, SLOT_COUNT);
    wire_get_slots(reader, "slots", from->slots, &out->slots);
    wire_get_node_id(reader, "node", &from->node, &out->node);
    out->speed = wire_get_speed(reader, from->speed);
    out->parallel_moves_max =
        wire_get_count(reader, "parallel_moves_max", from->parallel_moves_max, PLAN_BATCHES_MAX);
    out->needs_approval = from->needs_approval != 0;
    wire_get_text(reader, "requested_by", &from->requested_by, out->requested_by,
                  sizeof(out->requested_by));
    out->addresses = wire_get_items(reader, "addresses", from->n_addresses, REQUEST_ADDRESSES_MAX,
                                    sizeof(*out->addresses));
    for (size_t i = 0; reader->code == 0 && i < from->n_addresses; i++) {
        wire_need_address(reader, "address", from->addresses[i], &out->addresses[i]);
        out->address_count = (int)i + 1;
    }
    out->primaries_wanted =
        wire_get_count(reader, "primaries_wanted", from->primaries_wanted, SLOT_COUNT);
    int replicas = wire_get_count(reader, "replicas_wanted", from->replicas_wanted_plus_one, 1000);
    out->replicas_wanted = names_replicas(out) ? replicas - 1 : 0;
    out->flags = from->flags;
    if (reader->code == 0 && (out->flags & ~REQUEST_FLAGS_ALL) != 0) {
        wire_refuse(reader, ERR_PROTOCOL, "unknown flags %x of a request", out->flags);
    }
}

void wire_get_operation(struct wire_reader *reader,
                        const Drover__Operation *from,
                        struct operation *out)
{
    wire_scope(reader, "operation", -1);
    if (from->id.len == 0) {
        wire_refuse(reader, ERR_PROTOCOL, "id is missing");
    }
    wire_get_text(reader, "id", &from->id, out->id, sizeof(out->id));
    get_request(reader, from->request, &out->request);
    out->state =
        (enum operation_state)wire_get_enum(reader, "state", (int)from->state, OPERATION_HELD);
    out->reason_code = wire_get_code(reader, "reason_code", from->reason_code);
    wire_get_text(reader, "reason", &from->reason, out->reason, sizeof(out->reason));
    out->created_wall_ms =
        wire_get_int(reader, "created_wall_ms", from->created_wall_ms, 0, INT64_MAX);
    out->started_wall_ms =
        wire_get_int(reader, "started_wall_ms", from->started_wall_ms, 0, INT64_MAX);
    out->ended_wall_ms = wire_get_int(reader, "ended_wall_ms", from->ended_wall_ms, 0, INT64_MAX);
    out->slots_total = wire_get_count(reader, "slots_total", from->slots_total, PLAN_SLOTS_MAX);
    out->slots_moved = wire_get_count(reader, "slots_moved", from->slots_moved, PLAN_SLOTS_MAX);
    out->keys_moved = from->keys_moved;
    out->bytes_moved = from->bytes_moved;
}

/* ---- encode ---- */

static void put_lists(struct arena *arena,
                      const struct operation_request *request,
                      Drover__OperationRequest *out)
{
    out->n_weights = wire_put_count(request->weight_count, REQUEST_NODES_MAX);
    out->weights = wire_put_pointers(arena, request->weight_count);
    for (int i = 0; i < request->weight_count; i++) {
        Drover__NodeWeight *weight = arena_alloc(arena, sizeof(*weight));
        drover__node_weight__init(weight);
        weight->node = wire_put_node_id(arena, &request->weights[i].node);
        weight->weight = request->weights[i].weight;
        out->weights[i] = weight;
    }
    out->n_sources = wire_put_count(request->source_count, REQUEST_NODES_MAX);
    if (request->source_count > 0) {
        out->sources = arena_alloc(arena, out->n_sources * sizeof(*out->sources));
    }
    for (int i = 0; i < request->source_count; i++) {
        out->sources[i] = wire_put_node_id(arena, &request->sources[i]);
    }
}

static Drover__OperationRequest *put_request(struct arena *arena,
                                             const struct operation_request *request)
{
    Drover__OperationRequest *out = arena_alloc(arena, sizeof(*out));
    drover__operation_request__init(out);
    out->kind = (Drover__OperationKind)request->kind;
    put_lists(arena, request, out);
    out->threshold_percent = request->threshold_percent;
    out->target = wire_put_node_id(arena, &request->target);
    out->slot_count = wire_put_count(request->slot_count, SLOT_COUNT);
    out->slots = wire_put_slots(arena, &request->slots);
    out->node = wire_put_node_id(arena, &request->node);
    out->speed = wire_put_speed(request->speed);
    out->parallel_moves_max = wire_put_count(request->parallel_moves_max, PLAN_BATCHES_MAX);
    out->needs_approval = request->needs_approval;
    out->requested_by = wire_put_text(request->requested_by);
    out->n_addresses = wire_put_count(request->address_count, REQUEST_ADDRESSES_MAX);
    out->addresses = wire_put_pointers(arena, request->address_count);
    for (int i = 0; i < request->address_count; i++) {
        out->addresses[i] = wire_put_address(arena, &request->addresses[i]);
    }
    out->primaries_wanted = wire_put_count(request->primaries_wanted, SLOT_COUNT);
    out->replicas_wanted_plus_one =
        names_replicas(request) ? wire_put_count(request->replicas_wanted + 1, 1000) : 0;
    out->flags = request->flags;
    return out;
}

Drover__Operation *wire_put_operation(struct arena *arena, const struct operation *operation)
{
    Drover__Operation *out = arena_alloc(arena, sizeof(*out));
    drover__operation__init(out);
    out->id = wire_put_text(operation->id);
    out->request = put_request(arena, &operation->request);
    out->state = (Drover__OperationState)operation->state;
    out->reason_code = operation->reason_code;
    out->reason = wire_put_text(operation->reason);
    out->created_wall_ms = operation->created_wall_ms;
    out->started_wall_ms = operation->started_wall_ms;
    out->ended_wall_ms = operation->ended_wall_ms;
    out->slots_total = wire_put_count(operation->slots_total, PLAN_SLOTS_MAX);
    out->slots_moved = wire_put_count(operation->slots_moved, PLAN_SLOTS_MAX);
    out->keys_moved = operation->keys_moved;
    out->bytes_moved = operation->bytes_moved;
    return out;
}
