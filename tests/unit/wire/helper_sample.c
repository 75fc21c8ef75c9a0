/* helper_sample.c — see helper_sample.h. */
#include "helper_sample.h"
#include "helper_sample_parts.h"

#include "common/base/alloc.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* ---- values ---- */

int64_t any_int(struct prng *prng, int64_t min)
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

bool any_bool(struct prng *prng)
{
    return prng_chance(prng, 1, 2);
}

/* Any bytes but NUL, up to the whole buffer. */
void any_text(struct prng *prng, char *out, size_t size, size_t min)
{
    size_t len = (size_t)prng_range(prng, (int64_t)min, (int64_t)size - 1);
    for (size_t i = 0; i < len; i++) {
        out[i] = (char)prng_range(prng, 1, 255);
    }
    out[len] = '\0';
}

void any_word(struct prng *prng, char *out, size_t size)
{
    static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCXYZ0123456789.-_";
    size_t len = (size_t)prng_range(prng, 1, (int64_t)size - 1);
    for (size_t i = 0; i < len; i++) {
        out[i] = letters[prng_below(prng, sizeof(letters) - 1)];
    }
    out[len] = '\0';
}

void any_node_id(struct prng *prng, struct node_id *out)
{
    for (int i = 0; i < NODE_ID_LEN; i++) {
        out->text[i] = "0123456789abcdef"[prng_below(prng, 16)];
    }
}

void any_address(struct prng *prng, struct address *out)
{
    any_word(prng, out->host, sizeof(out->host));
    out->port = (uint16_t)prng_range(prng, 1, UINT16_MAX);
}

void any_slots(struct prng *prng, struct slotset *out, int max)
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

int any_count(struct prng *prng, int max)
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

void sample_big_keys(struct prng *prng, struct big_key *keys, int count)
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
    if (any_bool(prng)) {
        any_address(prng, &status->made);
    }
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
    report->has_host = any_bool(prng);
    if (report->has_host) {
        any_text(prng, report->host.zone, sizeof(report->host.zone), 0);
        any_text(prng, report->host.host, sizeof(report->host.host), 0);
        report->host.can_start = any_bool(prng);
        report->host.memory_free_bytes = any_int(prng, -1);
        report->host.port_first = (uint16_t)prng_below(prng, UINT16_MAX);
        report->host.port_last = (uint16_t)prng_below(prng, UINT16_MAX);
        report->host.offers_provision = any_bool(prng);
        report->host.offers_traffic = any_bool(prng);
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

/* Valid for its kind, as decoders ask. */
void sample_task(struct prng *prng, struct task *task)
{
    task->kind = (enum task_kind)prng_range(prng, 1, TASK_KIND_MAX);
    task->flags = (uint32_t)prng_below(prng, TASK_FLAGS_ALL + 1);
    if (any_bool(prng) || (task->kind != TASK_JOIN && task->kind != TASK_START)) {
        any_node_id(prng, &task->node);
    }
    any_address(prng, &task->node_address);
    any_node_id(prng, &task->peer);
    any_address(prng, &task->peer_address);
    any_slots(prng, &task->slots, task->kind == TASK_REPAIR ? BATCH_SLOTS_MAX : SLOT_COUNT);
    any_text(prng, task->detail, sizeof(task->detail), 1);
    if (task_kind_is_bound(task->kind)) {
        char word[32] = "";
        any_word(prng, word, sizeof(word));
        (void)snprintf(task->detail, sizeof(task->detail), "agent %s\nrole primary\n", word);
    }
}

static void sample_order(struct prng *prng, struct order *order)
{
    any_order_id(prng, &order->id);
    order->fence = 1 + (any_int(prng, 0) >> 1);
    order->valid_for_ms = prng_range(prng, 0, 3600000);
    order->kind = (enum order_kind)prng_range(prng, ORDER_MOVE, ORDER_TASK);
    if (order->kind == ORDER_TASK) {
        sample_task(prng, &order->task);
        return;
    }
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
    order->source_counts = order->kind == ORDER_MOVE && any_bool(prng);
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

void assert_address_equal(const struct address *a, const struct address *b)
{
    EQUAL_TEXT(a, b, host);
    EQUAL(a, b, port);
}

void assert_task_equal(const struct task *a, const struct task *b)
{
    EQUAL(a, b, kind);
    EQUAL(a, b, flags);
    EQUAL_TEXT(a, b, node.text);
    assert_address_equal(&a->node_address, &b->node_address);
    EQUAL_TEXT(a, b, peer.text);
    assert_address_equal(&a->peer_address, &b->peer_address);
    assert_true(slotset_is_equal(&a->slots, &b->slots));
    EQUAL_TEXT(a, b, detail);
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

void assert_big_keys_equal(const struct big_key *a, const struct big_key *b, int count)
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
    assert_address_equal(&a->made, &b->made);
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
    EQUAL(a, b, has_host);
    EQUAL_TEXT(a, b, host.zone);
    EQUAL_TEXT(a, b, host.host);
    EQUAL(a, b, host.can_start);
    EQUAL(a, b, host.memory_free_bytes);
    EQUAL(a, b, host.port_first);
    EQUAL(a, b, host.port_last);
    EQUAL(a, b, host.offers_provision);
    EQUAL(a, b, host.offers_traffic);
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
    if (a->kind == ORDER_TASK) {
        assert_task_equal(&a->task, &b->task);
    }
    EQUAL_TEXT(a, b, source.text);
    EQUAL_TEXT(a, b, target.text);
    assert_address_equal(&a->source_address, &b->source_address);
    assert_address_equal(&a->target_address, &b->target_address);
    EQUAL_TEXT(a, b, source_run_id);
    assert_true(slotset_is_equal(&a->slots, &b->slots));
    EQUAL(a, b, speed);
    EQUAL(a, b, big_key_bytes_max);
    EQUAL(a, b, source_counts);
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
