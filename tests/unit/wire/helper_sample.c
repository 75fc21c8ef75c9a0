/* helper_sample.c — see helper_sample.h. */
#include "helper_sample.h"

#include "common/base/alloc.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define EQUAL(a, b, field) assert_true((a)->field == (b)->field)
#define EQUAL_TEXT(a, b, field) assert_string_equal((a)->field, (b)->field)

/* ---- values ---- */

static int64_t any_int(struct prng *prng, int64_t min)
{
    switch (prng_below(prng, 4)) {
    case 0:
        return min;
    case 1:
        return INT64_MAX;
    case 2:
        return prng_range(prng, 0, 1000);
    default:
        return (int64_t)(prng_next(prng) >> (1 + prng_below(prng, 62)));
    }
}

static bool any_bool(struct prng *prng)
{
    return prng_chance(prng, 1, 2);
}

/* Any bytes but NUL, up to the whole buffer. */
static void any_text(struct prng *prng, char *out, size_t size, size_t min)
{
    size_t len = (size_t)prng_range(prng, (int64_t)min, (int64_t)size - 1);
    for (size_t i = 0; i < len; i++) {
        out[i] = (char)prng_range(prng, 1, 255);
    }
    out[len] = '\0';
}

static void any_word(struct prng *prng, char *out, size_t size)
{
    static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCXYZ0123456789.-_";
    size_t len = (size_t)prng_range(prng, 1, (int64_t)size - 1);
    for (size_t i = 0; i < len; i++) {
        out[i] = letters[prng_below(prng, sizeof(letters) - 1)];
    }
    out[len] = '\0';
}

static void any_node_id(struct prng *prng, struct node_id *out)
{
    for (int i = 0; i < NODE_ID_LEN; i++) {
        out->text[i] = "0123456789abcdef"[prng_below(prng, 16)];
    }
}

static void any_address(struct prng *prng, struct address *out)
{
    any_word(prng, out->host, sizeof(out->host));
    out->port = (uint16_t)prng_range(prng, 1, UINT16_MAX);
}

static void any_slots(struct prng *prng, struct slotset *out, int max)
{
    int left = (int)prng_range(prng, 1, max);
    while (left > 0) {
        int first = (int)prng_below(prng, SLOT_COUNT);
        int len = (int)prng_range(prng, 1, left);
        for (int slot = first; slot < first + len && slot < SLOT_COUNT; slot++) {
            slotset_add(out, slot);
        }
        left -= len;
    }
}

static int any_count(struct prng *prng, int max)
{
    return (int)prng_range(prng, 0, max);
}

static void any_order_id(struct prng *prng, struct order_id *out)
{
    any_text(prng, out->operation_id, sizeof(out->operation_id), 1);
    out->batch_index = (int)prng_below(prng, PLAN_BATCHES_MAX);
    out->attempt = (int)prng_below(prng, INT32_MAX);
}

/* ---- messages ---- */

static void sample_node(struct prng *prng, int items_max, struct node_report *node)
{
    any_address(prng, &node->address);
    if (any_bool(prng)) {
        any_node_id(prng, &node->id);
    }
    node->is_reachable = any_bool(prng);
    node->reason_code = -(int)prng_below(prng, 18);
    any_text(prng, node->reason, sizeof(node->reason), 0);
    node->age_ms = any_int(prng, -1);
    any_text(prng, node->run_id, sizeof(node->run_id), 0);
    any_text(prng, node->version, sizeof(node->version), 0);
    node->is_valkey = any_bool(prng);
    node->role = (enum node_role)prng_below(prng, 3);
    node->is_loading = any_bool(prng);
    node->is_cluster_enabled = any_bool(prng);
    node->is_cluster_ok = any_bool(prng);
    node->is_link_up = any_bool(prng);
    node->repl_offset = any_int(prng, -1);
    node->used_memory_bytes = any_int(prng, -1);
    node->maxmemory_bytes = any_int(prng, -1);
    node->evicts = any_bool(prng);
    node->system_memory_bytes = any_int(prng, -1);
    node->keys = any_int(prng, -1);
    node->ops_per_s = any_int(prng, -1);
    node->clients = any_int(prng, -1);
    node->ping_us = any_int(prng, -1);
    node->known_nodes = any_int(prng, -1);
    node->config_epoch = any_int(prng, -1);
    node->current_epoch = any_int(prng, -1);
    node->slots_owned = (int32_t)prng_range(prng, -1, SLOT_COUNT);
    node->view_digest = prng_next(prng);
    node->open_slot_count = any_count(prng, items_max);
    node->open_slots = xcalloc((size_t)items_max + 1, sizeof(*node->open_slots));
    for (int i = 0; i < node->open_slot_count; i++) {
        node->open_slots[i].slot = (uint16_t)prng_below(prng, SLOT_COUNT);
        node->open_slots[i].is_importing = any_bool(prng);
        any_node_id(prng, &node->open_slots[i].peer);
    }
    node->link_down_count = any_count(prng, items_max);
    node->links_down = xcalloc((size_t)items_max + 1, sizeof(*node->links_down));
    for (int i = 0; i < node->link_down_count; i++) {
        any_node_id(prng, &node->links_down[i]);
    }
}

static void sample_big_keys(struct prng *prng, struct big_key *keys, int count)
{
    for (int i = 0; i < count; i++) {
        any_text(prng, keys[i].key, sizeof(keys[i].key), 0);
        keys[i].slot = (uint16_t)prng_below(prng, SLOT_COUNT);
        keys[i].bytes = any_int(prng, 0);
    }
}

static void sample_status(struct prng *prng, struct order_status *status)
{
    any_order_id(prng, &status->id);
    status->state = (enum order_state)prng_range(prng, ORDER_RUNNING, ORDER_EXPIRED);
    any_slots(prng, &status->slots_done, SLOT_COUNT);
    status->slots_open = (int)prng_range(prng, 0, SLOT_COUNT);
    status->keys_moved = prng_next(prng);
    status->bytes_moved = prng_next(prng);
    status->call_us_p50 = any_int(prng, -1);
    status->call_us_max = any_int(prng, -1);
    status->retries = prng_next(prng);
    status->is_replica_synced = any_bool(prng);
    status->reason_code = -(int)prng_below(prng, 18);
    any_text(prng, status->reason, sizeof(status->reason), 0);
    status->big_key_count = any_count(prng, BIG_KEYS_REPORTED_MAX);
    sample_big_keys(prng, status->big_keys, status->big_key_count);
}

static void sample_report(struct prng *prng, int items_max, struct report *report)
{
    any_word(prng, report->agent.text, sizeof(report->agent.text));
    report->session = prng_next(prng);
    report->sequence = prng_next(prng);
    report->fence_acked = any_int(prng, 0);
    report->wait_ms = prng_range(prng, 0, 600000);
    report->has_nodes = any_bool(prng);
    report->node_count = any_count(prng, items_max);
    report->nodes = xcalloc((size_t)items_max + 1, sizeof(*report->nodes));
    for (int i = 0; i < report->node_count; i++) {
        sample_node(prng, items_max, &report->nodes[i]);
    }
    report->order_count = any_count(prng, items_max);
    report->orders = xcalloc((size_t)items_max + 1, sizeof(*report->orders));
    for (int i = 0; i < report->order_count; i++) {
        sample_status(prng, &report->orders[i]);
    }
    report->view_count = any_count(prng, items_max);
    report->views = xcalloc((size_t)items_max + 1, sizeof(*report->views));
    for (int i = 0; i < report->view_count; i++) {
        struct view_text *view = &report->views[i];
        view->digest = prng_next(prng);
        any_node_id(prng, &view->node);
        view->len = (size_t)prng_below(prng, 3000);
        view->text = xcalloc(view->len + 1, 1);
        for (size_t k = 0; k < view->len; k++) {
            view->text[k] = (char)prng_below(prng, 256);
        }
    }
}

static void sample_order(struct prng *prng, struct order *order)
{
    any_order_id(prng, &order->id);
    order->fence = 1 + (any_int(prng, 0) >> 1);
    order->valid_for_ms = prng_range(prng, 0, 3600000);
    order->kind = any_bool(prng) ? ORDER_MOVE : ORDER_SCAN;
    any_node_id(prng, &order->source);
    any_address(prng, &order->source_address);
    if (order->kind == ORDER_MOVE || any_bool(prng)) {
        any_node_id(prng, &order->target);
        any_address(prng, &order->target_address);
    }
    any_text(prng, order->source_run_id, sizeof(order->source_run_id), 0);
    any_slots(prng, &order->slots, order->kind == ORDER_MOVE ? BATCH_SLOTS_MAX : SLOT_COUNT);
    order->speed = (enum move_speed)prng_below(prng, 3);
    order->big_key_bytes_max = any_int(prng, 0);
}

static struct order_id *sample_order_ids(struct prng *prng, int items_max, int *count)
{
    struct order_id *ids = xcalloc((size_t)items_max + 1, sizeof(*ids));
    *count = any_count(prng, items_max);
    for (int i = 0; i < *count; i++) {
        any_order_id(prng, &ids[i]);
    }
    return ids;
}

static void sample_instructions(struct prng *prng, int items_max, struct instructions *to)
{
    to->fence = any_int(prng, 0);
    to->order_count = any_count(prng, items_max);
    to->orders = xcalloc((size_t)items_max + 1, sizeof(*to->orders));
    for (int i = 0; i < to->order_count; i++) {
        sample_order(prng, &to->orders[i]);
    }
    to->renewal_count = any_count(prng, items_max);
    to->renewals = xcalloc((size_t)items_max + 1, sizeof(*to->renewals));
    for (int i = 0; i < to->renewal_count; i++) {
        any_order_id(prng, &to->renewals[i].id);
        to->renewals[i].valid_for_ms = prng_range(prng, 0, 3600000);
    }
    to->stops = sample_order_ids(prng, items_max, &to->stop_count);
    to->forgets = sample_order_ids(prng, items_max, &to->forget_count);
    to->probe_now = any_bool(prng);
    to->view_wanted_count = any_count(prng, items_max);
    to->views_wanted = xcalloc((size_t)items_max + 1, sizeof(*to->views_wanted));
    for (int i = 0; i < to->view_wanted_count; i++) {
        to->views_wanted[i] = prng_next(prng);
    }
    to->node_count = any_count(prng, items_max);
    to->nodes = xcalloc((size_t)items_max + 1, sizeof(*to->nodes));
    for (int i = 0; i < to->node_count; i++) {
        any_address(prng, &to->nodes[i]);
    }
}

void sample_message(struct prng *prng, enum message_kind kind, int items_max, struct message *out)
{
    *out = (struct message){.kind = kind};
    switch (kind) {
    case MESSAGE_HELLO:
        any_word(prng, out->as.hello.agent.text, sizeof(out->as.hello.agent.text));
        out->as.hello.incarnation = prng_next(prng);
        out->as.hello.proto_version = (int)prng_range(prng, 1, INT32_MAX);
        any_text(prng, out->as.hello.version, sizeof(out->as.hello.version), 0);
        any_text(prng, out->as.hello.cluster, sizeof(out->as.hello.cluster), 0);
        any_text(prng, out->as.hello.credential, sizeof(out->as.hello.credential), 0);
        out->as.hello.fence_seen = any_int(prng, 0);
        break;
    case MESSAGE_WELCOME:
        out->as.welcome.session = prng_next(prng);
        out->as.welcome.fence = any_int(prng, 0);
        out->as.welcome.report_interval_ms = prng_range(prng, 0, 3600000);
        out->as.welcome.proto_version = (int)prng_range(prng, 1, INT32_MAX);
        any_text(prng, out->as.welcome.version, sizeof(out->as.welcome.version), 0);
        break;
    case MESSAGE_REFUSAL:
        out->as.refusal.code = -(int)prng_range(prng, 1, 17);
        any_text(prng, out->as.refusal.text, sizeof(out->as.refusal.text), 0);
        any_text(prng, out->as.refusal.leader_url, sizeof(out->as.refusal.leader_url), 0);
        break;
    case MESSAGE_REPORT:
        sample_report(prng, items_max, &out->as.report);
        break;
    case MESSAGE_INSTRUCTIONS:
        sample_instructions(prng, items_max, &out->as.instructions);
        break;
    }
}

/* ---- comparing messages ---- */

static void assert_address_equal(const struct address *a, const struct address *b)
{
    EQUAL_TEXT(a, b, host);
    EQUAL(a, b, port);
}

static void assert_order_id_equal(const struct order_id *a, const struct order_id *b)
{
    EQUAL_TEXT(a, b, operation_id);
    EQUAL(a, b, batch_index);
    EQUAL(a, b, attempt);
}

static void assert_node_equal(const struct node_report *a, const struct node_report *b)
{
    assert_address_equal(&a->address, &b->address);
    EQUAL_TEXT(a, b, id.text);
    EQUAL(a, b, is_reachable);
    EQUAL(a, b, reason_code);
    EQUAL_TEXT(a, b, reason);
    EQUAL(a, b, age_ms);
    EQUAL_TEXT(a, b, run_id);
    EQUAL_TEXT(a, b, version);
    EQUAL(a, b, is_valkey);
    EQUAL(a, b, role);
    EQUAL(a, b, is_loading);
    EQUAL(a, b, is_cluster_enabled);
    EQUAL(a, b, is_cluster_ok);
    EQUAL(a, b, is_link_up);
    EQUAL(a, b, repl_offset);
    EQUAL(a, b, used_memory_bytes);
    EQUAL(a, b, maxmemory_bytes);
    EQUAL(a, b, evicts);
    EQUAL(a, b, system_memory_bytes);
    EQUAL(a, b, keys);
    EQUAL(a, b, ops_per_s);
    EQUAL(a, b, clients);
    EQUAL(a, b, ping_us);
    EQUAL(a, b, known_nodes);
    EQUAL(a, b, config_epoch);
    EQUAL(a, b, current_epoch);
    EQUAL(a, b, slots_owned);
    EQUAL(a, b, view_digest);
    EQUAL(a, b, open_slot_count);
    for (int i = 0; i < a->open_slot_count; i++) {
        EQUAL(a, b, open_slots[i].slot);
        EQUAL(a, b, open_slots[i].is_importing);
        EQUAL_TEXT(a, b, open_slots[i].peer.text);
    }
    EQUAL(a, b, link_down_count);
    for (int i = 0; i < a->link_down_count; i++) {
        EQUAL_TEXT(a, b, links_down[i].text);
    }
}

static void assert_big_keys_equal(const struct big_key *a, const struct big_key *b, int count)
{
    for (int i = 0; i < count; i++) {
        EQUAL_TEXT(&a[i], &b[i], key);
        EQUAL(&a[i], &b[i], slot);
        EQUAL(&a[i], &b[i], bytes);
    }
}

static void assert_status_equal(const struct order_status *a, const struct order_status *b)
{
    assert_order_id_equal(&a->id, &b->id);
    EQUAL(a, b, state);
    assert_true(slotset_is_equal(&a->slots_done, &b->slots_done));
    EQUAL(a, b, slots_open);
    EQUAL(a, b, keys_moved);
    EQUAL(a, b, bytes_moved);
    EQUAL(a, b, call_us_p50);
    EQUAL(a, b, call_us_max);
    EQUAL(a, b, retries);
    EQUAL(a, b, is_replica_synced);
    EQUAL(a, b, reason_code);
    EQUAL_TEXT(a, b, reason);
    EQUAL(a, b, big_key_count);
    assert_big_keys_equal(a->big_keys, b->big_keys, a->big_key_count);
}

static void assert_report_equal(const struct report *a, const struct report *b)
{
    EQUAL_TEXT(a, b, agent.text);
    EQUAL(a, b, session);
    EQUAL(a, b, sequence);
    EQUAL(a, b, fence_acked);
    EQUAL(a, b, wait_ms);
    EQUAL(a, b, has_nodes);
    EQUAL(a, b, node_count);
    for (int i = 0; i < a->node_count; i++) {
        assert_node_equal(&a->nodes[i], &b->nodes[i]);
    }
    EQUAL(a, b, order_count);
    for (int i = 0; i < a->order_count; i++) {
        assert_status_equal(&a->orders[i], &b->orders[i]);
    }
    EQUAL(a, b, view_count);
    for (int i = 0; i < a->view_count; i++) {
        EQUAL(a, b, views[i].digest);
        EQUAL_TEXT(a, b, views[i].node.text);
        EQUAL(a, b, views[i].len);
        assert_memory_equal(a->views[i].text, b->views[i].text, a->views[i].len);
    }
}

static void assert_order_equal(const struct order *a, const struct order *b)
{
    assert_order_id_equal(&a->id, &b->id);
    EQUAL(a, b, fence);
    EQUAL(a, b, valid_for_ms);
    EQUAL(a, b, kind);
    EQUAL_TEXT(a, b, source.text);
    EQUAL_TEXT(a, b, target.text);
    assert_address_equal(&a->source_address, &b->source_address);
    assert_address_equal(&a->target_address, &b->target_address);
    EQUAL_TEXT(a, b, source_run_id);
    assert_true(slotset_is_equal(&a->slots, &b->slots));
    EQUAL(a, b, speed);
    EQUAL(a, b, big_key_bytes_max);
}

static void assert_instructions_equal(const struct instructions *a, const struct instructions *b)
{
    EQUAL(a, b, fence);
    EQUAL(a, b, order_count);
    for (int i = 0; i < a->order_count; i++) {
        assert_order_equal(&a->orders[i], &b->orders[i]);
    }
    EQUAL(a, b, renewal_count);
    for (int i = 0; i < a->renewal_count; i++) {
        assert_order_id_equal(&a->renewals[i].id, &b->renewals[i].id);
        EQUAL(a, b, renewals[i].valid_for_ms);
    }
    EQUAL(a, b, stop_count);
    for (int i = 0; i < a->stop_count; i++) {
        assert_order_id_equal(&a->stops[i], &b->stops[i]);
    }
    EQUAL(a, b, forget_count);
    for (int i = 0; i < a->forget_count; i++) {
        assert_order_id_equal(&a->forgets[i], &b->forgets[i]);
    }
    EQUAL(a, b, probe_now);
    EQUAL(a, b, view_wanted_count);
    for (int i = 0; i < a->view_wanted_count; i++) {
        EQUAL(a, b, views_wanted[i]);
    }
    EQUAL(a, b, node_count);
    for (int i = 0; i < a->node_count; i++) {
        assert_address_equal(&a->nodes[i], &b->nodes[i]);
    }
}

void assert_message_equal(const struct message *a, const struct message *b)
{
    EQUAL(a, b, kind);
    switch (a->kind) {
    case MESSAGE_HELLO:
        EQUAL_TEXT(a, b, as.hello.agent.text);
        EQUAL(a, b, as.hello.incarnation);
        EQUAL(a, b, as.hello.proto_version);
        EQUAL_TEXT(a, b, as.hello.version);
        EQUAL_TEXT(a, b, as.hello.cluster);
        EQUAL_TEXT(a, b, as.hello.credential);
        EQUAL(a, b, as.hello.fence_seen);
        break;
    case MESSAGE_WELCOME:
        EQUAL(a, b, as.welcome.session);
        EQUAL(a, b, as.welcome.fence);
        EQUAL(a, b, as.welcome.report_interval_ms);
        EQUAL(a, b, as.welcome.proto_version);
        EQUAL_TEXT(a, b, as.welcome.version);
        break;
    case MESSAGE_REFUSAL:
        EQUAL(a, b, as.refusal.code);
        EQUAL_TEXT(a, b, as.refusal.text);
        EQUAL_TEXT(a, b, as.refusal.leader_url);
        break;
    case MESSAGE_REPORT:
        assert_report_equal(&a->as.report, &b->as.report);
        break;
    case MESSAGE_INSTRUCTIONS:
        assert_instructions_equal(&a->as.instructions, &b->as.instructions);
        break;
    }
}

/* ---- records ---- */

static void sample_operation(struct prng *prng, int items_max, struct operation *to)
{
    struct operation_request *request = &to->request;
    any_text(prng, to->id, sizeof(to->id), 1);
    request->kind = (enum operation_kind)prng_range(prng, 1, 3);
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
    to->state = (enum operation_state)prng_range(prng, 1, OPERATION_HELD);
    to->reason_code = -(int)prng_below(prng, 18);
    any_text(prng, to->reason, sizeof(to->reason), 0);
    to->created_wall_ms = any_int(prng, 0);
    to->started_wall_ms = any_int(prng, 0);
    to->ended_wall_ms = any_int(prng, 0);
    to->slots_total = any_count(prng, SLOT_COUNT);
    to->slots_moved = any_count(prng, SLOT_COUNT);
    to->keys_moved = prng_next(prng);
    to->bytes_moved = prng_next(prng);
}

static void sample_batch(struct prng *prng, struct batch *to)
{
    to->index = (int)prng_below(prng, PLAN_BATCHES_MAX);
    any_node_id(prng, &to->source);
    any_node_id(prng, &to->target);
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
        out->as.plan.slot_count = any_count(prng, SLOT_COUNT);
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
    EQUAL_TEXT(a, b, source.text);
    EQUAL_TEXT(a, b, target.text);
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
