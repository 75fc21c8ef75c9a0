/* helper_sample_record.c — records for helper_sample.h. */
#include "helper_sample.h"
#include "helper_sample_parts.h"

#include "common/base/alloc.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void sample_operation(struct prng *prng, int items_max, struct operation *to)
{
    struct operation_request *request = &to->request;
    any_text(prng, to->id, sizeof(to->id), 1);
    request->kind = (enum operation_kind)prng_range(prng, 1, OPERATION_KIND_MAX);
    request->weight_count = any_count(prng, items_max);
    request->weights = xcalloc((size_t)items_max + 1, sizeof(*request->weights));
    for (int i = 0; i < request->weight_count; i++) {
        any_node_id(prng, &request->weights[i].node);
        request->weights[i].weight = (double)prng_below(prng, 1000) / 7;
    }
    request->threshold_percent = (double)prng_below(prng, 1000) / 10;
    request->source_count = any_count(prng, items_max);
    request->sources = xcalloc((size_t)items_max + 1, sizeof(*request->sources));
    for (int i = 0; i < request->source_count; i++) {
        any_node_id(prng, &request->sources[i]);
    }
    any_node_id(prng, &request->target);
    request->slot_count = any_count(prng, SLOT_COUNT);
    if (any_bool(prng)) {
        any_slots(prng, &request->slots, 2000);
    }
    any_node_id(prng, &request->node);
    request->speed = (enum move_speed)prng_below(prng, 3);
    request->parallel_moves_max = any_count(prng, PLAN_BATCHES_MAX);
    request->needs_approval = any_bool(prng);
    any_text(prng, request->requested_by, sizeof(request->requested_by), 0);
    request->address_count =
        any_count(prng, items_max < REQUEST_ADDRESSES_MAX ? items_max : REQUEST_ADDRESSES_MAX);
    request->addresses = xcalloc((size_t)items_max + 1, sizeof(*request->addresses));
    for (int i = 0; i < request->address_count; i++) {
        any_address(prng, &request->addresses[i]);
        request->addresses[i].host[REQUEST_HOSTS_BYTES_MAX / REQUEST_ADDRESSES_MAX] = '\0';
    }
    request->primaries_wanted = any_count(prng, 1000);
    bool names_replicas = request->kind == OPERATION_CREATE || request->kind == OPERATION_SCALE;
    request->replicas_wanted = names_replicas ? (int)prng_range(prng, -1, 10) : 0;
    request->flags = (uint32_t)prng_below(prng, REQUEST_FLAGS_ALL + 1);
    to->state = (enum operation_state)prng_range(prng, 1, OPERATION_HELD);
    to->reason_code = -(int)prng_below(prng, 18);
    any_text(prng, to->reason, sizeof(to->reason), 0);
    to->created_wall_ms = any_int(prng, 0);
    to->started_wall_ms = any_int(prng, 0);
    to->ended_wall_ms = any_int(prng, 0);
    to->slots_total = any_count(prng, PLAN_SLOTS_MAX);
    to->slots_moved = any_count(prng, PLAN_SLOTS_MAX);
    to->keys_moved = prng_next(prng);
    to->bytes_moved = prng_next(prng);
}

static void sample_batch(struct prng *prng, struct batch *to)
{
    to->index = (int)prng_below(prng, PLAN_BATCHES_MAX);
    any_node_id(prng, &to->source);
    any_node_id(prng, &to->target);
    if (any_bool(prng)) {
        to->kind = BATCH_TASK;
        to->task = xcalloc(1, sizeof(*to->task));
        sample_task(prng, to->task);
    }
    any_text(prng, to->source_run_id, sizeof(to->source_run_id), 0);
    any_slots(prng, &to->slots, BATCH_SLOTS_MAX);
    to->keys_estimate = prng_next(prng);
    to->bytes_estimate = prng_next(prng);
    to->state = (enum batch_state)prng_range(prng, 1, BATCH_STOPPED);
    to->attempt = any_count(prng, INT32_MAX);
    if (any_bool(prng)) {
        any_word(prng, to->agent.text, sizeof(to->agent.text));
    }
    any_slots(prng, &to->slots_done, BATCH_SLOTS_MAX);
    to->keys_moved = prng_next(prng);
    to->bytes_moved = prng_next(prng);
    to->reason_code = -(int)prng_below(prng, 18);
    any_text(prng, to->reason, sizeof(to->reason), 0);
    if (any_bool(prng)) {
        any_address(prng, &to->made);
    }
}

void sample_record(struct prng *prng, enum record_kind kind, int items_max, struct record *out)
{
    *out = (struct record){.kind = kind};
    switch (kind) {
    case RECORD_LEADER:
        any_text(prng, out->as.leader.name, sizeof(out->as.leader.name), 0);
        any_text(prng, out->as.leader.instance, sizeof(out->as.leader.instance), 0);
        any_text(prng, out->as.leader.bus_url, sizeof(out->as.leader.bus_url), 0);
        any_text(prng, out->as.leader.api_url, sizeof(out->as.leader.api_url), 0);
        break;
    case RECORD_SPEC:
        any_text(prng, out->as.spec.cluster_name, sizeof(out->as.spec.cluster_name), 0);
        out->as.spec.primaries_wanted = any_count(prng, 1000);
        out->as.spec.replicas_per_shard = (int)prng_range(prng, -1, 10);
        out->as.spec.memory_limit_percent = (double)prng_below(prng, 1000) / 10;
        out->as.spec.seed_count = any_count(prng, SPEC_SEEDS_MAX);
        for (int i = 0; i < out->as.spec.seed_count; i++) {
            any_address(prng, &out->as.spec.seeds[i]);
        }
        break;
    case RECORD_AGENT:
        any_word(prng, out->as.agent.id.text, sizeof(out->as.agent.id.text));
        out->as.agent.incarnation = prng_next(prng);
        out->as.agent.fence_acked = any_int(prng, 0);
        break;
    case RECORD_OPERATION:
        sample_operation(prng, items_max, &out->as.operation);
        break;
    case RECORD_PLAN:
        any_text(prng, out->as.plan.operation_id, sizeof(out->as.plan.operation_id), 0);
        out->as.plan.topology_digest = prng_next(prng);
        out->as.plan.batch_count = any_count(prng, PLAN_BATCHES_MAX);
        out->as.plan.settled_count = any_count(prng, out->as.plan.batch_count);
        out->as.plan.slot_count = any_count(prng, PLAN_SLOTS_MAX);
        out->as.plan.keys_estimate = prng_next(prng);
        out->as.plan.bytes_estimate = prng_next(prng);
        out->as.plan.duration_estimate_ms = any_int(prng, 0);
        out->as.plan.is_scanned = any_bool(prng);
        out->as.plan.big_key_count = any_count(prng, PLAN_BIG_KEYS_MAX);
        out->as.plan.big_keys = xcalloc(PLAN_BIG_KEYS_MAX, sizeof(*out->as.plan.big_keys));
        sample_big_keys(prng, out->as.plan.big_keys, out->as.plan.big_key_count);
        break;
    case RECORD_BATCH:
        sample_batch(prng, &out->as.batch);
        break;
    }
}

static void assert_operation_equal(const struct operation *a, const struct operation *b)
{
    EQUAL_TEXT(a, b, id);
    EQUAL(a, b, request.kind);
    EQUAL(a, b, request.weight_count);
    for (int i = 0; i < a->request.weight_count; i++) {
        EQUAL_TEXT(a, b, request.weights[i].node.text);
        EQUAL(a, b, request.weights[i].weight);
    }
    EQUAL(a, b, request.threshold_percent);
    EQUAL(a, b, request.source_count);
    for (int i = 0; i < a->request.source_count; i++) {
        EQUAL_TEXT(a, b, request.sources[i].text);
    }
    EQUAL_TEXT(a, b, request.target.text);
    EQUAL(a, b, request.slot_count);
    assert_true(slotset_is_equal(&a->request.slots, &b->request.slots));
    EQUAL_TEXT(a, b, request.node.text);
    EQUAL(a, b, request.speed);
    EQUAL(a, b, request.parallel_moves_max);
    EQUAL(a, b, request.address_count);
    for (int i = 0; i < a->request.address_count; i++) {
        assert_address_equal(&a->request.addresses[i], &b->request.addresses[i]);
    }
    EQUAL(a, b, request.primaries_wanted);
    EQUAL(a, b, request.replicas_wanted);
    EQUAL(a, b, request.flags);
    EQUAL(a, b, request.needs_approval);
    EQUAL_TEXT(a, b, request.requested_by);
    EQUAL(a, b, state);
    EQUAL(a, b, reason_code);
    EQUAL_TEXT(a, b, reason);
    EQUAL(a, b, created_wall_ms);
    EQUAL(a, b, started_wall_ms);
    EQUAL(a, b, ended_wall_ms);
    EQUAL(a, b, slots_total);
    EQUAL(a, b, slots_moved);
    EQUAL(a, b, keys_moved);
    EQUAL(a, b, bytes_moved);
}

static void assert_batch_equal(const struct batch *a, const struct batch *b)
{
    EQUAL(a, b, index);
    EQUAL(a, b, kind);
    if (a->kind == BATCH_TASK) {
        assert_task_equal(a->task, b->task);
    }
    EQUAL_TEXT(a, b, source.text);
    EQUAL_TEXT(a, b, target.text);
    EQUAL_TEXT(a, b, source_run_id);
    assert_true(slotset_is_equal(&a->slots, &b->slots));
    EQUAL(a, b, keys_estimate);
    EQUAL(a, b, bytes_estimate);
    EQUAL(a, b, state);
    EQUAL(a, b, attempt);
    EQUAL_TEXT(a, b, agent.text);
    assert_true(slotset_is_equal(&a->slots_done, &b->slots_done));
    EQUAL(a, b, keys_moved);
    EQUAL(a, b, bytes_moved);
    EQUAL(a, b, reason_code);
    EQUAL_TEXT(a, b, reason);
    assert_address_equal(&a->made, &b->made);
}

void assert_record_equal(const struct record *a, const struct record *b)
{
    EQUAL(a, b, kind);
    switch (a->kind) {
    case RECORD_LEADER:
        EQUAL_TEXT(a, b, as.leader.name);
        EQUAL_TEXT(a, b, as.leader.instance);
        EQUAL_TEXT(a, b, as.leader.bus_url);
        EQUAL_TEXT(a, b, as.leader.api_url);
        break;
    case RECORD_SPEC:
        EQUAL_TEXT(a, b, as.spec.cluster_name);
        EQUAL(a, b, as.spec.primaries_wanted);
        EQUAL(a, b, as.spec.replicas_per_shard);
        EQUAL(a, b, as.spec.memory_limit_percent);
        EQUAL(a, b, as.spec.seed_count);
        for (int i = 0; i < a->as.spec.seed_count; i++) {
            assert_address_equal(&a->as.spec.seeds[i], &b->as.spec.seeds[i]);
        }
        break;
    case RECORD_AGENT:
        EQUAL_TEXT(a, b, as.agent.id.text);
        EQUAL(a, b, as.agent.incarnation);
        EQUAL(a, b, as.agent.fence_acked);
        break;
    case RECORD_OPERATION:
        assert_operation_equal(&a->as.operation, &b->as.operation);
        break;
    case RECORD_PLAN:
        EQUAL_TEXT(a, b, as.plan.operation_id);
        EQUAL(a, b, as.plan.topology_digest);
        EQUAL(a, b, as.plan.batch_count);
        EQUAL(a, b, as.plan.settled_count);
        EQUAL(a, b, as.plan.slot_count);
        EQUAL(a, b, as.plan.keys_estimate);
        EQUAL(a, b, as.plan.bytes_estimate);
        EQUAL(a, b, as.plan.duration_estimate_ms);
        assert_null(b->as.plan.batches);
        EQUAL(a, b, as.plan.is_scanned);
        EQUAL(a, b, as.plan.big_key_count);
        assert_big_keys_equal(a->as.plan.big_keys, b->as.plan.big_keys, a->as.plan.big_key_count);
        break;
    case RECORD_BATCH:
        assert_batch_equal(&a->as.batch, &b->as.batch);
        break;
    }
}
