/* record_codec.c — see record_codec.h. The envelope and every body but the operation's. */
#include "common/wire/record_codec.h"

#include <assert.h>

#include "common/base/alloc.h"
#include "common/base/check.h"
#include "common/model/store_op.h"
#include "common/wire/record_parts.h"

static_assert((int)BATCH_STOPPED == (int)DROVER__BATCH_STATE__BATCH_STATE_STOPPED,
              "batch states keep their numbers");
static_assert((int)BATCH_DONE == (int)DROVER__BATCH_STATE__BATCH_STATE_DONE,
              "batch states keep their numbers");

/* ---- decode ---- */

static void get_leader(struct wire_reader *reader,
                       const Drover__LeaderRecord *from,
                       struct leader_record *out)
{
    wire_scope(reader, "leader record", -1);
    wire_get_text(reader, "name", &from->name, out->name, sizeof(out->name));
    wire_get_text(reader, "instance", &from->instance, out->instance, sizeof(out->instance));
    wire_get_text(reader, "bus_url", &from->bus_url, out->bus_url, sizeof(out->bus_url));
    wire_get_text(reader, "api_url", &from->api_url, out->api_url, sizeof(out->api_url));
}

static void get_spec(struct wire_reader *reader,
                     const Drover__SpecRecord *from,
                     struct spec_record *out)
{
    wire_scope(reader, "spec record", -1);
    wire_get_text(reader, "cluster_name", &from->cluster_name, out->cluster_name,
                  sizeof(out->cluster_name));
    out->primaries_wanted =
        wire_get_count(reader, "primaries_wanted", from->primaries_wanted, SLOT_COUNT);
    out->replicas_per_shard =
        (int)wire_get_int(reader, "replicas_per_shard", from->replicas_per_shard, -1, SLOT_COUNT);
    out->memory_limit_percent =
        wire_get_double(reader, "memory_limit_percent", from->memory_limit_percent, 0, 100);
    out->seed_count = wire_get_count(reader, "seeds", (uint32_t)from->n_seeds, SPEC_SEEDS_MAX);
    for (int i = 0; reader->code == 0 && i < out->seed_count; i++) {
        wire_need_address(reader, "seed", from->seeds[i], &out->seeds[i]);
    }
}

static void get_agent(struct wire_reader *reader,
                      const Drover__AgentRecord *from,
                      struct agent_record *out)
{
    wire_scope(reader, "agent record", -1);
    if (from->id.len == 0) {
        wire_refuse(reader, ERR_PROTOCOL, "id is missing");
    }
    wire_get_agent_id(reader, "id", &from->id, &out->id);
    out->incarnation = from->incarnation;
    out->fence_acked = wire_get_int(reader, "fence_acked", from->fence_acked, 0, INT64_MAX);
}

static void get_plan(struct wire_reader *reader, const Drover__Plan *from, struct plan *out)
{
    wire_scope(reader, "plan record", -1);
    wire_get_text(reader, "operation_id", &from->operation_id, out->operation_id,
                  sizeof(out->operation_id));
    out->topology_digest = from->topology_digest;
    out->batch_count = wire_get_count(reader, "batch_count", from->batch_count, PLAN_BATCHES_MAX);
    out->settled_count =
        wire_get_count(reader, "settled_count", from->settled_count, out->batch_count);
    out->slot_count = wire_get_count(reader, "slot_count", from->slot_count, PLAN_SLOTS_MAX);
    out->keys_estimate = from->keys_estimate;
    out->bytes_estimate = from->bytes_estimate;
    out->duration_estimate_ms =
        wire_get_int(reader, "duration_estimate_ms", from->duration_estimate_ms, 0, INT64_MAX);
    out->is_scanned = from->is_scanned != 0;
    out->big_keys = wire_get_items(reader, "big keys", from->n_big_keys, PLAN_BIG_KEYS_MAX,
                                   sizeof(*out->big_keys));
    if (reader->code == 0) {
        wire_get_big_keys(reader, from->big_keys, from->n_big_keys, out->big_keys);
        out->big_key_count = (int)from->n_big_keys;
    }
}

static void get_batch(struct wire_reader *reader, const Drover__Batch *from, struct batch *out)
{
    wire_scope(reader, "batch record", -1);
    out->index = wire_get_count(reader, "index", from->index, PLAN_BATCHES_MAX - 1);
    if (from->task != NULL) {
        out->kind = BATCH_TASK;
        out->task = xcalloc(1, sizeof(*out->task));
        wire_get_task(reader, from->task, out->task);
        wire_get_node_id(reader, "source", &from->source, &out->source);
        wire_get_node_id(reader, "target", &from->target, &out->target);
    } else {
        wire_need_node_id(reader, "source", &from->source, &out->source);
        wire_need_node_id(reader, "target", &from->target, &out->target);
    }
    wire_get_text(reader, "source_run_id", &from->source_run_id, out->source_run_id,
                  sizeof(out->source_run_id));
    wire_get_slots(reader, "slots", from->slots, &out->slots);
    out->keys_estimate = from->keys_estimate;
    out->bytes_estimate = from->bytes_estimate;
    out->state = (enum batch_state)wire_get_enum(reader, "state", (int)from->state, BATCH_STOPPED);
    out->attempt = wire_get_count(reader, "attempt", from->attempt, INT32_MAX);
    wire_get_agent_id(reader, "agent", &from->agent, &out->agent);
    wire_get_slots(reader, "slots_done", from->slots_done, &out->slots_done);
    out->keys_moved = from->keys_moved;
    out->bytes_moved = from->bytes_moved;
    out->reason_code = wire_get_code(reader, "reason_code", from->reason_code);
    wire_get_text(reader, "reason", &from->reason, out->reason, sizeof(out->reason));
    wire_get_address(reader, "made", from->made, &out->made);
    if (reader->code == 0 && slotset_count(&out->slots) > BATCH_SLOTS_MAX) {
        wire_refuse(reader, ERR_LIMIT, "%d slots are more than the %d of a batch",
                    slotset_count(&out->slots), BATCH_SLOTS_MAX);
    }
}

static void get_body(struct wire_reader *reader, const Drover__Record *from, struct record *out)
{
    switch (from->body_case) {
    case DROVER__RECORD__BODY_LEADER:
        out->kind = RECORD_LEADER;
        get_leader(reader, from->leader, &out->as.leader);
        return;
    case DROVER__RECORD__BODY_SPEC:
        out->kind = RECORD_SPEC;
        get_spec(reader, from->spec, &out->as.spec);
        return;
    case DROVER__RECORD__BODY_AGENT:
        out->kind = RECORD_AGENT;
        get_agent(reader, from->agent, &out->as.agent);
        return;
    case DROVER__RECORD__BODY_OPERATION:
        out->kind = RECORD_OPERATION;
        wire_get_operation(reader, from->operation, &out->as.operation);
        return;
    case DROVER__RECORD__BODY_PLAN:
        out->kind = RECORD_PLAN;
        get_plan(reader, from->plan, &out->as.plan);
        return;
    case DROVER__RECORD__BODY_BATCH:
        out->kind = RECORD_BATCH;
        get_batch(reader, from->batch, &out->as.batch);
        return;
    case DROVER__RECORD__BODY__NOT_SET:
    case _DROVER__RECORD__BODY__CASE_IS_INT_SIZE:
        break;
    }
    unsigned field = wire_unknown_field(&from->base);
    if (field == 0) {
        wire_refuse(reader, ERR_PROTOCOL, "the record is empty");
    } else {
        wire_refuse(reader, ERR_VERSION, "record kind %u is not known", field);
    }
}

int record_decode(const void *data, size_t size, struct record *out, struct err *err)
{
    struct wire_reader reader = {.err = err};
    struct record record = {0};
    const ProtobufCMessage *base =
        wire_unpack(&reader, &drover__record__descriptor, data, size, STORE_VALUE_SIZE_MAX);
    if (base != NULL) {
        get_body(&reader, (const Drover__Record *)base, &record);
    }
    wire_reader_release(&reader);
    if (reader.code != 0) {
        if (record.kind != 0) {
            record_release(&record);
        }
        return reader.code;
    }
    *out = record;
    return 0;
}

/* ---- encode ---- */

static Drover__LeaderRecord *put_leader(struct arena *arena, const struct leader_record *leader)
{
    Drover__LeaderRecord *out = arena_alloc(arena, sizeof(*out));
    drover__leader_record__init(out);
    out->name = wire_put_text(leader->name);
    out->instance = wire_put_text(leader->instance);
    out->bus_url = wire_put_text(leader->bus_url);
    out->api_url = wire_put_text(leader->api_url);
    return out;
}

static Drover__SpecRecord *put_spec(struct arena *arena, const struct spec_record *spec)
{
    Drover__SpecRecord *out = arena_alloc(arena, sizeof(*out));
    drover__spec_record__init(out);
    out->cluster_name = wire_put_text(spec->cluster_name);
    out->primaries_wanted = wire_put_count(spec->primaries_wanted, SLOT_COUNT);
    out->replicas_per_shard = spec->replicas_per_shard;
    out->memory_limit_percent = spec->memory_limit_percent;
    out->n_seeds = wire_put_count(spec->seed_count, SPEC_SEEDS_MAX);
    out->seeds = wire_put_pointers(arena, spec->seed_count);
    for (int i = 0; i < spec->seed_count; i++) {
        out->seeds[i] = wire_put_address(arena, &spec->seeds[i]);
    }
    return out;
}

static Drover__AgentRecord *put_agent(struct arena *arena, const struct agent_record *agent)
{
    Drover__AgentRecord *out = arena_alloc(arena, sizeof(*out));
    drover__agent_record__init(out);
    out->id = wire_put_text(agent->id.text);
    out->incarnation = agent->incarnation;
    out->fence_acked = agent->fence_acked;
    return out;
}

static Drover__Plan *put_plan(struct arena *arena, const struct plan *plan)
{
    Drover__Plan *out = arena_alloc(arena, sizeof(*out));
    drover__plan__init(out);
    out->operation_id = wire_put_text(plan->operation_id);
    out->topology_digest = plan->topology_digest;
    out->batch_count = wire_put_count(plan->batch_count, PLAN_BATCHES_MAX);
    out->settled_count = wire_put_count(plan->settled_count, plan->batch_count);
    out->slot_count = wire_put_count(plan->slot_count, PLAN_SLOTS_MAX);
    out->keys_estimate = plan->keys_estimate;
    out->bytes_estimate = plan->bytes_estimate;
    out->duration_estimate_ms = plan->duration_estimate_ms;
    out->is_scanned = plan->is_scanned;
    out->n_big_keys = wire_put_count(plan->big_key_count, PLAN_BIG_KEYS_MAX);
    out->big_keys = wire_put_big_keys(arena, plan->big_keys, plan->big_key_count);
    return out;
}

static Drover__Batch *put_batch(struct arena *arena, const struct batch *batch)
{
    CHECK(slotset_count(&batch->slots) <= BATCH_SLOTS_MAX);
    Drover__Batch *out = arena_alloc(arena, sizeof(*out));
    drover__batch__init(out);
    out->index = wire_put_count(batch->index, PLAN_BATCHES_MAX - 1);
    out->source = wire_put_node_id(arena, &batch->source);
    out->target = wire_put_node_id(arena, &batch->target);
    out->source_run_id = wire_put_text(batch->source_run_id);
    out->slots = wire_put_slots(arena, &batch->slots);
    CHECK((batch->kind == BATCH_TASK) == (batch->task != NULL));
    out->task = batch->task != NULL ? wire_put_task(arena, batch->task) : NULL;
    out->keys_estimate = batch->keys_estimate;
    out->bytes_estimate = batch->bytes_estimate;
    out->state = (Drover__BatchState)batch->state;
    out->attempt = wire_put_count(batch->attempt, INT32_MAX);
    out->agent = wire_put_text(batch->agent.text);
    out->slots_done = wire_put_slots(arena, &batch->slots_done);
    out->keys_moved = batch->keys_moved;
    out->bytes_moved = batch->bytes_moved;
    out->reason_code = batch->reason_code;
    out->reason = wire_put_text(batch->reason);
    out->made = wire_put_address(arena, &batch->made);
    return out;
}

static void put_body(struct arena *arena, const struct record *record, Drover__Record *out)
{
    switch (record->kind) {
    case RECORD_LEADER:
        out->body_case = DROVER__RECORD__BODY_LEADER;
        out->leader = put_leader(arena, &record->as.leader);
        return;
    case RECORD_SPEC:
        out->body_case = DROVER__RECORD__BODY_SPEC;
        out->spec = put_spec(arena, &record->as.spec);
        return;
    case RECORD_AGENT:
        out->body_case = DROVER__RECORD__BODY_AGENT;
        out->agent = put_agent(arena, &record->as.agent);
        return;
    case RECORD_OPERATION:
        out->body_case = DROVER__RECORD__BODY_OPERATION;
        out->operation = wire_put_operation(arena, &record->as.operation);
        return;
    case RECORD_PLAN:
        out->body_case = DROVER__RECORD__BODY_PLAN;
        out->plan = put_plan(arena, &record->as.plan);
        return;
    case RECORD_BATCH:
        out->body_case = DROVER__RECORD__BODY_BATCH;
        out->batch = put_batch(arena, &record->as.batch);
        return;
    }
    UNREACHABLE("record kind");
}

void record_encode(const struct record *record, struct strbuf *out)
{
    size_t start = out->len;
    struct arena arena = {0};
    Drover__Record body = DROVER__RECORD__INIT;
    put_body(&arena, record, &body);
    wire_pack(&body.base, out);
    arena_release(&arena);
    CHECK(out->len - start < STORE_VALUE_SIZE_MAX);
}
