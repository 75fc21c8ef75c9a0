/* helper_world.c — see helper_world.h. */
#include "helper_world.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "common/base/alloc.h"
#include "common/model/nodes_text.h"
#include "coordinator/core/journal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define AGENT_TICK_MS 20
#define POLL_WAIT_MS 2000

static void agent_answer(struct world *w, int i, const struct message *message, uint64_t handle);

/* ---- the store ---- */

static struct world_kv *store_find(struct world_store *store, const char *key)
{
    for (int i = 0; i < store->kv_count; i++) {
        if (strcmp(store->kvs[i].key, key) == 0) {
            return &store->kvs[i];
        }
    }
    return NULL;
}

static void store_delete(struct world_store *store, const char *key)
{
    struct world_kv *kv = store_find(store, key);
    if (kv != NULL) {
        free(kv->key);
        record_release(&kv->record);
        *kv = store->kvs[--store->kv_count];
    }
}

static int kv_compare(const void *a, const void *b)
{
    return strcmp(((const struct world_kv *)a)->key, ((const struct world_kv *)b)->key);
}

static void tell_leader_change(struct world *w, bool is_deleted)
{
    for (int i = 0; i < WORLD_COORDINATORS; i++) {
        if (w->store.fault[i] == STORE_WELL) {
            struct coordinator_event event = {.kind = COORDINATOR_CHANGED, .is_deleted = is_deleted};
            world_send(w, i, &event);
        }
    }
}

static void lease_end(struct world *w, int64_t id)
{
    struct world_store *store = &w->store;
    bool is_leader_gone = false;
    for (int i = store->kv_count - 1; i >= 0; i--) {
        if (store->kvs[i].lease_id == id && id != 0) {
            is_leader_gone = is_leader_gone || strcmp(store->kvs[i].key, "leader") == 0;
            store->revision++;
            store_delete(store, store->kvs[i].key);
        }
    }
    for (int i = 0; i < store->lease_count; i++) {
        if (store->leases[i].id == id) {
            store->leases[i] = store->leases[--store->lease_count];
            break;
        }
    }
    if (is_leader_gone) {
        tell_leader_change(w, true);
    }
}

static struct world_lease *lease_find(struct world_store *store, int64_t id)
{
    for (int i = 0; i < store->lease_count; i++) {
        if (store->leases[i].id == id) {
            return &store->leases[i];
        }
    }
    return NULL;
}

static bool txn_holds(struct world_store *store, const struct store_request *request)
{
    for (int i = 0; i < request->compare_count; i++) {
        const struct store_compare *compare = &request->compares[i];
        const struct world_kv *kv = store_find(store, compare->key);
        int64_t have = kv == NULL ? 0
                                  : (compare->field == STORE_CREATE_REVISION ? kv->create_revision : kv->mod_revision);
        if (have != compare->revision) {
            return false;
        }
    }
    return true;
}

static void txn_apply(struct world *w, const struct coordinator_effect *effect, struct store_result *result)
{
    struct world_store *store = &w->store;
    const struct store_request *request = &effect->request;
    store->txn_count++;
    if (!txn_holds(store, request)) {
        return;
    }
    for (int i = 0; i < request->write_count; i++) {
        if (request->writes[i].lease_id != 0 && lease_find(store, request->writes[i].lease_id) == NULL) {
            result->code = ERR_NOT_FOUND;
            return;
        }
    }
    store->revision++;
    for (int i = 0; i < request->write_count; i++) {
        const struct store_write *write = &request->writes[i];
        if (write->is_delete) {
            store_delete(store, write->key);
            continue;
        }
        struct world_kv *kv = store_find(store, write->key);
        if (kv == NULL) {
            store->kvs = xreallocarray(store->kvs, (size_t)store->kv_count + 1, sizeof(*store->kvs));
            kv = &store->kvs[store->kv_count++];
            *kv = (struct world_kv){.key = xstrdup(write->key), .create_revision = store->revision};
        } else {
            record_release(&kv->record);
        }
        kv->mod_revision = store->revision;
        kv->lease_id = write->lease_id;
        bool has_record = false;
        for (int r = 0; r < effect->record_count; r++) {
            if (effect->records[r].write_index == i) {
                record_copy(&kv->record, &effect->records[r].record);
                has_record = true;
            }
        }
        assert_true(has_record);
    }
    result->succeeded = true;
    result->revision = store->revision;
}

static void range_apply(struct world_store *store, const struct store_request *request, struct stored_record **out,
                        int *count)
{
    qsort(store->kvs, (size_t)store->kv_count, sizeof(*store->kvs), kv_compare);
    for (int i = 0; i < store->kv_count; i++) {
        const struct world_kv *kv = &store->kvs[i];
        bool is_match = request->is_prefix ? strncmp(kv->key, request->key, strlen(request->key)) == 0
                                           : strcmp(kv->key, request->key) == 0;
        if (is_match) {
            *out = xreallocarray(*out, (size_t)*count + 1, sizeof(**out));
            (*out)[(*count)++] = (struct stored_record){
                .key = kv->key,
                .create_revision = kv->create_revision,
                .mod_revision = kv->mod_revision,
                .lease_id = kv->lease_id,
                .record = kv->record,
            };
        }
    }
}

static void store_serve(struct world *w, struct world_request *pending)
{
    struct world_store *store = &w->store;
    const struct store_request *request = &pending->effect.request;
    struct store_result result = {.req_id = request->req_id};
    struct stored_record *records = NULL;
    int record_count = 0;
    bool is_done = pending->fault == STORE_WELL || pending->fault == STORE_DONE_SILENT ||
                   (pending->fault == STORE_FULL && request->kind != STORE_TXN);
    bool tells = false;
    if (is_done) {
        struct world_lease *lease = lease_find(store, request->lease_id);
        switch (request->kind) {
        case STORE_RANGE:
            range_apply(store, request, &records, &record_count);
            result.revision = store->revision;
            break;
        case STORE_TXN:
            txn_apply(w, &pending->effect, &result);
            tells = result.succeeded && strcmp(request->writes[0].key, "leader") == 0;
            break;
        case STORE_LEASE_GRANT:
            if (lease == NULL) {
                assert_true(store->lease_count < 16);
                lease = &store->leases[store->lease_count++];
                *lease = (struct world_lease){.id = request->lease_id, .ttl_ms = request->ttl_ms};
            }
            lease->ends_ms = w->now_ms + lease->ttl_ms;
            result.ttl_ms = lease->ttl_ms;
            break;
        case STORE_LEASE_KEEPALIVE:
            if (lease != NULL) {
                lease->ends_ms = w->now_ms + lease->ttl_ms;
                result.ttl_ms = lease->ttl_ms;
            }
            break;
        case STORE_LEASE_REVOKE:
            lease_end(w, request->lease_id);
            break;
        }
    }
    switch (pending->fault) {
    case STORE_WELL:
        break;
    case STORE_REFUSES:
        result.code = err_set(&result.err, ERR_UNAVAILABLE, "no store");
        break;
    case STORE_DONE_SILENT:
    case STORE_LOST:
        result.code = err_set(&result.err, ERR_TIMEOUT, "no answer");
        break;
    case STORE_FULL:
        if (!is_done) {
            result.code = err_set(&result.err, ERR_LIMIT, "store is full");
        }
        break;
    }
    if (result.code != 0) {
        record_count = 0;
        result.succeeded = false;
        result.ttl_ms = 0;
    }
    struct coordinator_event event = {
        .kind = COORDINATOR_STORE, .result = &result, .records = records, .record_count = record_count};
    world_send(w, pending->coordinator, &event);
    free(records);
    if (tells) {
        tell_leader_change(w, false);
    }
}

static void request_release(struct world_request *request)
{
    struct coordinator_effects one = {.items = &request->effect, .count = 1};
    coordinator_effects_clear(&one);
}

static bool store_run(struct world *w)
{
    struct world_store *store = &w->store;
    bool did = false;
    for (int i = 0; i < store->lease_count; i++) {
        if (w->now_ms >= store->leases[i].ends_ms) {
            lease_end(w, store->leases[i].id);
            i = -1;
            did = true;
        }
    }
    for (int i = 0; i < store->request_count; i++) {
        if (store->requests[i].due_ms <= w->now_ms) {
            struct world_request request = store->requests[i];
            store->request_count--;
            memmove(&store->requests[i], &store->requests[i + 1],
                    (size_t)(store->request_count - i) * sizeof(*store->requests));
            store_serve(w, &request);
            request_release(&request);
            i = -1;
            did = true;
        }
    }
    return did;
}

/* ---- coordinators ---- */

static void check_write(const struct world *w, int i, const struct store_request *request)
{
    if (request->kind != STORE_TXN) {
        return;
    }
    assert_true(request->compare_count >= 1);
    assert_string_equal(request->compares[0].key, "leader");
    assert_int_equal(request->compares[0].field, STORE_CREATE_REVISION);
    bool is_claim = request->compares[0].revision == 0;
    const struct coordinator *core = w->coordinators[i].core;
    if (is_claim) {
        assert_int_equal(request->write_count, 1);
        assert_string_equal(request->writes[0].key, "leader");
    } else {
        assert_true(coordinator_is_leader(core));
        assert_int_equal(request->compares[0].revision, coordinator_fence(core));
    }
    for (int n = 0; n < request->write_count && !is_claim; n++) {
        bool is_compared = strcmp(request->writes[n].key, "leader") == 0;
        for (int k = 1; k < request->compare_count; k++) {
            is_compared = is_compared || (strcmp(request->compares[k].key, request->writes[n].key) == 0 &&
                                          request->compares[k].field == STORE_MOD_REVISION);
        }
        assert_true(is_compared);
    }
}

static void take_store(struct world *w, int i, struct coordinator_effect *effect)
{
    struct world_store *store = &w->store;
    check_write(w, i, &effect->request);
    enum store_fault fault = store->fault[i];
    bool is_silent = fault == STORE_LOST || fault == STORE_DONE_SILENT;
    store->requests = xreallocarray(store->requests, (size_t)store->request_count + 1, sizeof(*store->requests));
    store->requests[store->request_count++] = (struct world_request){
        .coordinator = i,
        .effect = *effect,
        .due_ms = w->now_ms + (is_silent ? effect->request.timeout_ms : store->latency_ms),
        .fault = fault,
    };
    *effect = (struct coordinator_effect){0};
}

static void take_reply(struct world *w, const struct coordinator_effect *effect)
{
    bool is_lost = w->reply_loss_percent > 0 && prng_chance(&w->prng, (uint64_t)w->reply_loss_percent, 100);
    int agent = (int)(effect->handle % WORLD_AGENTS);
    bool is_for_this_process = effect->handle / WORLD_AGENTS > w->agents[agent].handle_floor;
    if (!is_lost && is_for_this_process && w->agents[agent].is_alive && !w->agents[agent].is_paused && !w->agents[agent].is_cut) {
        agent_answer(w, agent, &effect->message, effect->handle);
    }
}

static void take_answer(struct world *w, struct coordinator_effect *effect)
{
    assert_true(effect->handle >= WORLD_COMMAND_BASE);
    struct world_answer *answer = &w->answers[effect->handle - WORLD_COMMAND_BASE];
    assert_false(answer->is_done); /* exactly once */
    answer->is_done = true;
    answer->err = effect->err;
    answer->plan = effect->plan;
    effect->plan = (struct plan){0};
    memcpy(answer->operation_id, effect->operation_id, sizeof(answer->operation_id));
}

void world_send(struct world *w, int i, const struct coordinator_event *event)
{
    struct world_coordinator *coordinator = &w->coordinators[i];
    if (coordinator->core == NULL || coordinator->is_paused || coordinator->has_exited) {
        return;
    }
    struct coordinator_event timed = *event;
    timed.now_ms = w->now_ms;
    timed.wall_ms = 1700000000000 + w->now_ms;
    bool was_leader = coordinator_is_leader(coordinator->core);
    struct coordinator_effects fx = {0};
    coordinator_step(coordinator->core, &timed, &fx);
    w->steps++;
    if (!was_leader && coordinator_is_leader(coordinator->core)) {
        coordinator->terms++;
    }
    for (int n = 0; n < fx.count; n++) {
        struct coordinator_effect *effect = &fx.items[n];
        switch (effect->kind) {
        case COORDINATOR_FX_STORE:
            take_store(w, i, effect);
            break;
        case COORDINATOR_FX_REPLY:
            take_reply(w, effect);
            break;
        case COORDINATOR_FX_COMMAND_DONE:
            take_answer(w, effect);
            break;
        case COORDINATOR_FX_LOG:
            if (effect->log.level >= LOG_INFO) {
                strbuf_addf(&w->log, "[%6lld] c%d %s%s\n", (long long)w->now_ms, i, effect->log.name,
                            strbuf_text(&effect->log.pairs));
            }
            break;
        case COORDINATOR_FX_EXIT:
            coordinator->has_exited = true;
            break;
        }
    }
    coordinator_effects_release(&fx);
}

static bool coordinators_run(struct world *w)
{
    bool did = false;
    for (int i = 0; i < WORLD_COORDINATORS; i++) {
        struct world_coordinator *coordinator = &w->coordinators[i];
        if (coordinator->core == NULL || coordinator->is_paused || coordinator->has_exited) {
            continue;
        }
        int turns = 0;
        while (!coordinator->has_exited && coordinator_deadline(coordinator->core) <= w->now_ms) {
            struct coordinator_event event = {.kind = COORDINATOR_TICK};
            world_send(w, i, &event);
            did = true;
            if (++turns > 50) {
                fail_msg("coordinator %d does not come to rest at %lld", i, (long long)w->now_ms);
            }
        }
    }
    return did;
}

/* ---- the cluster ---- */

static void nodes_text(const struct world *w, int myself, struct strbuf *out)
{
    for (int i = 0; i < w->node_count; i++) {
        const struct world_node *node = &w->nodes[i];
        if (!node->is_member) {
            continue;
        }
        strbuf_addf(out, "%s %s:%u@%u %s%s%s %s 0 0 %d %s", node->id.text, node->address.host, node->address.port,
                    node->address.port + 10000, i == myself ? "myself," : "", node->is_primary ? "master" : "slave",
                    node->is_failed ? ",fail" : "", node->is_primary ? "-" : w->nodes[node->primary].id.text, i + 1,
                    node->is_failed ? "disconnected" : "connected");
        for (int slot = 0; slot < SLOT_COUNT; slot++) {
            if (w->owner[slot] != i) {
                continue;
            }
            int last = slot;
            while (last + 1 < SLOT_COUNT && w->owner[last + 1] == i) {
                last++;
            }
            if (last == slot) {
                strbuf_addf(out, " %d", slot);
            } else {
                strbuf_addf(out, " %d-%d", slot, last);
            }
            slot = last;
        }
        strbuf_add_text(out, "\n");
    }
}

/* The agent probes the node: what it reports from now on is this. */
static uint64_t nodes_probe(struct world *w, int n)
{
    struct world_node *node = &w->nodes[n];
    struct nodes_view view = {0};
    struct err err = {0};
    strbuf_clear(&node->text);
    nodes_text(w, n, &node->text);
    if (nodes_view_parse(&view, strbuf_text(&node->text), node->text.len, &err) != 0) {
        fail_msg("%s", err.text);
    }
    node->digest = nodes_view_digest(&view);
    nodes_view_release(&view);
    return node->digest;
}

static void fill_node(struct world *w, int n, struct node_report *out)
{
    const struct world_node *node = &w->nodes[n];
    *out = (struct node_report){
        .address = node->address,
        .id = node->id,
        .is_reachable = !node->is_failed,
        .role = node->is_primary ? NODE_ROLE_PRIMARY : NODE_ROLE_REPLICA,
        .is_cluster_enabled = true,
        .is_cluster_ok = true,
        .is_link_up = true,
        .used_memory_bytes = 1000000,
        .keys = 100 * world_slots_of(w, n),
        .config_epoch = n + 1,
        .current_epoch = 100,
        .slots_owned = world_slots_of(w, n),
        .view_digest = node->is_failed ? 0 : nodes_probe(w, n),
    };
    (void)snprintf(out->version, sizeof(out->version), "7.0.15");
    memcpy(out->run_id, node->run_id, sizeof(out->run_id));
    if (node->open_slot >= 0) {
        out->open_slots = xcalloc(1, sizeof(*out->open_slots));
        out->open_slots[0] = (struct open_slot){.slot = (uint16_t)node->open_slot, .peer = w->nodes[node->open_peer].id};
        out->open_slot_count = 1;
    }
}

int world_slots_of(const struct world *w, int node)
{
    int count = 0;
    for (int slot = 0; slot < SLOT_COUNT; slot++) {
        count += w->owner[slot] == node ? 1 : 0;
    }
    return count;
}

void world_failover(struct world *w, int node, int replica)
{
    for (int slot = 0; slot < SLOT_COUNT; slot++) {
        if (w->owner[slot] == node) {
            w->owner[slot] = (int16_t)replica;
        }
    }
    w->nodes[node].is_failed = true;
    w->nodes[replica].is_primary = true;
}

static int find_node(const struct world *w, const struct node_id *id)
{
    for (int i = 0; i < w->node_count; i++) {
        if (node_id_is_equal(&w->nodes[i].id, id)) {
            return i;
        }
    }
    return -1;
}

/* ---- agents ---- */

static uint64_t send_message(struct world *w, int i, const struct message *message)
{
    struct world_agent *agent = &w->agents[i];
    uint64_t handle = ++w->handle_last * WORLD_AGENTS + (uint64_t)i;
    if (agent->is_cut) {
        return handle;
    }
    struct world_coordinator *to = &w->coordinators[agent->coordinator];
    if (to->core == NULL || to->is_paused || to->has_exited) {
        agent->coordinator = (agent->coordinator + 1) % WORLD_COORDINATORS; /* refused connection: try the other */
        agent->session = 0;
        agent->hello_due_ms = w->now_ms + 200;
        agent->is_waiting = false;
        return handle;
    }
    if (message->kind == MESSAGE_HELLO || (message->kind == MESSAGE_REPORT && message->as.report.wait_ms > 0)) {
        agent->is_waiting = true;
        agent->waiting_handle = handle;
        agent->waiting_until_ms = w->now_ms + 5000;
    }
    struct coordinator_event event = {.kind = COORDINATOR_MESSAGE, .handle = handle, .message = message};
    world_send(w, agent->coordinator, &event);
    return handle;
}

static void agent_report(struct world *w, int i, int64_t wait_ms)
{
    struct world_agent *agent = &w->agents[i];
    struct message message = {.kind = MESSAGE_REPORT};
    struct report *report = &message.as.report;
    report->agent = agent->id;
    report->session = agent->session;
    report->sequence = ++agent->sequence;
    report->fence_acked = agent->fence_disk;
    report->wait_ms = wait_ms;
    report->has_nodes = w->now_ms >= agent->nodes_due_ms;
    if (report->has_nodes) {
        agent->nodes_due_ms = w->now_ms + 500;
        report->nodes = xcalloc((size_t)agent->node_count + 1, sizeof(*report->nodes));
        for (int n = 0; n < agent->node_count; n++) {
            fill_node(w, agent->first_node + n, &report->nodes[report->node_count++]);
        }
    }
    report->orders = xcalloc((size_t)agent->order_count + 1, sizeof(*report->orders));
    for (int n = 0; n < agent->order_count; n++) {
        report->orders[report->order_count++] = agent->orders[n].status;
    }
    report->views = xcalloc((size_t)agent->view_wanted_count + 1, sizeof(*report->views));
    for (int n = 0; n < agent->view_wanted_count; n++) {
        for (int k = 0; k < agent->node_count; k++) {
            int node = agent->first_node + k;
            if (!w->nodes[node].is_failed && w->nodes[node].digest == agent->views_wanted[n]) {
                struct view_text *view = &report->views[report->view_count++];
                view->digest = agent->views_wanted[n];
                view->node = w->nodes[node].id;
                view->len = w->nodes[node].text.len;
                view->text = xmemdup(w->nodes[node].text.data, view->len + 1);
                break;
            }
        }
    }
    agent->view_wanted_count = 0;
    (void)send_message(w, i, &message);
    message_release(&message);
}

static void agent_hello(struct world *w, int i)
{
    struct world_agent *agent = &w->agents[i];
    struct message message = {.kind = MESSAGE_HELLO};
    struct hello *hello = &message.as.hello;
    hello->agent = agent->id;
    hello->incarnation = agent->incarnation;
    hello->proto_version = PROTO_VERSION;
    (void)snprintf(hello->version, sizeof(hello->version), "0.1.0");
    (void)snprintf(hello->credential, sizeof(hello->credential), "%s", w->config.agent_credential);
    hello->fence_seen = agent->fence_disk;
    (void)send_message(w, i, &message);
}

static int agent_find(const struct world_agent *agent, const struct order_id *id)
{
    for (int n = 0; n < agent->order_count; n++) {
        if (order_id_is_equal(&agent->orders[n].status.id, id)) {
            return n;
        }
    }
    return -1;
}

static void agent_obey(struct world *w, struct world_agent *agent, const struct instructions *said)
{
    if (said->fence < agent->fence_disk) {
        return; /* a leader of the past */
    }
    if (said->fence > agent->fence_disk) {
        agent->fence_disk = said->fence;
        for (int n = 0; n < agent->order_count; n++) {
            struct world_order *order = &agent->orders[n];
            if (order->status.state == ORDER_RUNNING && order->order.fence < said->fence) {
                order->status.state = ORDER_EXPIRED;
            }
        }
    }
    for (int n = 0; n < said->order_count; n++) {
        if (agent_find(agent, &said->orders[n].id) >= 0) {
            continue;
        }
        assert_true(agent->order_count < WORLD_AGENT_ORDERS);
        struct world_order *order = &agent->orders[agent->order_count++];
        *order = (struct world_order){.order = said->orders[n], .expires_ms = w->now_ms + said->orders[n].valid_for_ms};
        order->status.id = said->orders[n].id;
        order->status.state = ORDER_RUNNING;
        agent->orders_received++;
    }
    for (int n = 0; n < said->renewal_count; n++) {
        int at = agent_find(agent, &said->renewals[n].id);
        if (at >= 0) {
            agent->orders[at].expires_ms = w->now_ms + said->renewals[n].valid_for_ms;
        }
    }
    for (int n = 0; n < said->stop_count; n++) {
        int at = agent_find(agent, &said->stops[n]);
        if (at >= 0 && agent->orders[at].status.state == ORDER_RUNNING && !agent->does_nothing) {
            agent->orders[at].status.state = ORDER_STOPPED;
        }
    }
    for (int n = 0; n < said->forget_count; n++) {
        int at = agent_find(agent, &said->forgets[n]);
        if (at >= 0) {
            assert_int_not_equal(agent->orders[at].status.state, ORDER_RUNNING);
            agent->orders[at] = agent->orders[--agent->order_count];
        }
    }
    for (int n = 0; n < said->view_wanted_count && agent->view_wanted_count < 8; n++) {
        agent->views_wanted[agent->view_wanted_count++] = said->views_wanted[n];
    }
}

static void agent_answer(struct world *w, int i, const struct message *message, uint64_t handle)
{
    struct world_agent *agent = &w->agents[i];
    if (agent->is_waiting && agent->waiting_handle == handle) {
        agent->is_waiting = false;
    }
    switch (message->kind) {
    case MESSAGE_WELCOME:
        agent->session = message->as.welcome.session;
        agent->sequence = 0;
        break;
    case MESSAGE_REFUSAL:
        agent->last_refusal = message->as.refusal;
        agent->session = 0;
        agent->hello_due_ms = w->now_ms + 300;
        if (message->as.refusal.code == ERR_NOT_LEADER) {
            agent->coordinator = (agent->coordinator + 1) % WORLD_COORDINATORS;
        }
        break;
    case MESSAGE_INSTRUCTIONS:
        agent_obey(w, agent, &message->as.instructions);
        break;
    case MESSAGE_HELLO:
    case MESSAGE_REPORT:
        fail_msg("a coordinator asked an agent");
    }
}

/* The rule of the house: one batch, one order that lives. */
static void check_single(const struct world *w, const struct world_agent *agent, const struct world_order *order)
{
    if (order->order.kind != ORDER_MOVE) {
        return;
    }
    for (int i = 0; i < w->agent_count; i++) {
        const struct world_agent *other = &w->agents[i];
        for (int n = 0; other->is_alive && n < other->order_count; n++) {
            const struct world_order *twin = &other->orders[n];
            if (twin == order || twin->status.state != ORDER_RUNNING || w->now_ms >= twin->expires_ms) {
                continue;
            }
            if (twin->status.id.batch_index == order->status.id.batch_index &&
                strcmp(twin->status.id.operation_id, order->status.id.operation_id) == 0) {
                print_message("%s\n", strbuf_text(&w->log));
                fail_msg("batch %d lives twice: %s attempt %d and %s attempt %d at %lld", order->status.id.batch_index,
                         agent->id.text, order->status.id.attempt, other->id.text, twin->status.id.attempt,
                         (long long)w->now_ms);
            }
        }
    }
}

static void end_order(struct world_agent *agent, struct world_order *order, enum order_state state)
{
    order->status.state = state;
    if (agent->ends_as != 0) {
        order->status.state = agent->ends_as;
        order->status.reason_code = agent->ends_code;
        (void)snprintf(order->status.reason, sizeof(order->status.reason), "%s",
                       agent->ends_reason != NULL ? agent->ends_reason : "");
    }
}

static bool move_some(struct world *w, struct world_agent *agent, struct world_order *order)
{
    int source = find_node(w, &order->order.source);
    int target = find_node(w, &order->order.target);
    int left = agent->moves_per_tick;
    if (agent->ends_as != 0) {
        end_order(agent, order, ORDER_DONE);
        return true;
    }
    if (w->nodes[source].is_failed || w->nodes[target].is_failed) {
        order->status.state = ORDER_FAILED;
        order->status.reason_code = ERR_UNAVAILABLE;
        (void)snprintf(order->status.reason, sizeof(order->status.reason), "an end of the pair is down");
        return true;
    }
    SLOTSET_FOREACH(slot, &order->order.slots) {
        if (slotset_has(&order->status.slots_done, slot)) {
            continue;
        }
        if (left-- == 0) {
            return false;
        }
        if (order->order.kind == ORDER_MOVE) {
            if (w->owner[slot] != source && w->owner[slot] != target) {
                order->status.state = ORDER_FAILED; /* agents check before they act */
                order->status.reason_code = ERR_CONFLICT;
                (void)snprintf(order->status.reason, sizeof(order->status.reason), "slot %d is not the source's", slot);
                return true;
            }
            w->owner[slot] = (int16_t)target;
            w->nodes[source].open_slot = w->nodes[source].open_slot == slot ? -1 : w->nodes[source].open_slot;
        }
        slotset_add(&order->status.slots_done, slot);
        order->status.keys_moved += 10;
        order->status.bytes_moved += 1000;
    }
    end_order(agent, order, ORDER_DONE);
    return true;
}

static bool is_first_of_its_source(const struct world_agent *agent, int index)
{
    for (int n = 0; n < index; n++) {
        if (agent->orders[n].status.state == ORDER_RUNNING &&
            node_id_is_equal(&agent->orders[n].order.source, &agent->orders[index].order.source)) {
            return false;
        }
    }
    return true;
}

static void agent_work(struct world *w, int i)
{
    struct world_agent *agent = &w->agents[i];
    bool is_news = false;
    for (int n = 0; n < agent->order_count; n++) {
        struct world_order *order = &agent->orders[n];
        if (order->status.state != ORDER_RUNNING) {
            continue;
        }
        if (w->now_ms >= order->expires_ms) {
            order->status.state = ORDER_EXPIRED;
            is_news = true;
            continue;
        }
        check_single(w, agent, order);
        if (!agent->does_nothing && is_first_of_its_source(agent, n)) {
            is_news = move_some(w, agent, order) || is_news;
        }
    }
    if (is_news && agent->session != 0) {
        agent_report(w, i, 0);
    }
}

static void agents_run(struct world *w)
{
    for (int i = 0; i < w->agent_count; i++) {
        struct world_agent *agent = &w->agents[i];
        if (!agent->is_alive || agent->is_paused) {
            continue;
        }
        agent_work(w, i);
        if (agent->is_waiting && w->now_ms >= agent->waiting_until_ms) {
            agent->is_waiting = false;
        }
        if (agent->session == 0 && !agent->is_waiting && w->now_ms >= agent->hello_due_ms) {
            agent_hello(w, i);
        } else if (agent->session != 0 && !agent->is_waiting) {
            agent_report(w, i, POLL_WAIT_MS);
        } else if (agent->session != 0 && w->now_ms >= agent->nodes_due_ms) {
            agent_report(w, i, 0);
        }
    }
}

void world_agent_kill(struct world *w, int i)
{
    w->agents[i].is_alive = false;
}

void world_agent_start(struct world *w, int i)
{
    struct world_agent *agent = &w->agents[i];
    agent->is_alive = true;
    agent->is_paused = false;
    agent->handle_floor = w->handle_last;
    agent->incarnation = prng_next(&w->prng) | 1;
    agent->session = 0;
    agent->is_waiting = false;
    agent->order_count = 0;
    agent->view_wanted_count = 0;
    agent->hello_due_ms = w->now_ms;
    agent->nodes_due_ms = w->now_ms;
}

/* ---- the world ---- */

void world_init(struct world *w, int primaries, int replicas_each, int agents)
{
    *w = (struct world){.now_ms = 0, .agent_count = agents, .node_count = primaries * (1 + replicas_each)};
    assert_true(w->node_count <= WORLD_NODES);
    assert_true(agents <= WORLD_AGENTS);
    prng_init(&w->prng, 42);
    w->store.latency_ms = 5;
    w->store.revision = 100;
    w->config = (struct coordinator_config){.lease_ttl_ms = 10000, .batch_slots_max = 512};
    for (int i = 0; i < w->node_count; i++) {
        struct world_node *node = &w->nodes[i];
        *node = (struct world_node){.is_primary = i < primaries, .primary = i % primaries, .is_member = true, .open_slot = -1};
        (void)snprintf(node->id.text, sizeof(node->id.text), "%040d", i + 1);
        node->address.port = (uint16_t)(7001 + i);
        (void)snprintf(node->address.host, sizeof(node->address.host), "10.0.0.%d", i + 1);
        (void)snprintf(node->run_id, sizeof(node->run_id), "%040d", 1000 + i);
    }
    for (int slot = 0; slot < SLOT_COUNT; slot++) {
        w->owner[slot] = (int16_t)(slot * primaries / SLOT_COUNT);
    }
    for (int i = 0; i < agents; i++) {
        struct world_agent *agent = &w->agents[i];
        *agent = (struct world_agent){.moves_per_tick = 16};
        (void)snprintf(agent->id.text, sizeof(agent->id.text), "h%d", i + 1);
        agent->first_node = w->node_count * i / agents;
        agent->node_count = w->node_count * (i + 1) / agents - agent->first_node;
        world_agent_start(w, i);
    }
}

void world_release(struct world *w)
{
    for (int i = 0; i < WORLD_COORDINATORS; i++) {
        coordinator_free(w->coordinators[i].core);
    }
    while (w->store.kv_count > 0) {
        store_delete(&w->store, w->store.kvs[0].key);
    }
    for (int i = 0; i < w->store.request_count; i++) {
        request_release(&w->store.requests[i]);
    }
    for (int i = 0; i < w->command_count; i++) {
        plan_release(&w->answers[i].plan);
    }
    for (int i = 0; i < w->node_count; i++) {
        strbuf_release(&w->nodes[i].text);
    }
    free(w->store.kvs);
    free(w->store.requests);
    strbuf_release(&w->log);
}

void world_start(struct world *w, int i)
{
    struct world_coordinator *coordinator = &w->coordinators[i];
    assert_null(coordinator->core);
    struct coordinator_config config = w->config;
    config.seed = prng_next(&w->prng);
    (void)snprintf(config.self.name, sizeof(config.self.name), "c%d", i);
    (void)snprintf(config.self.instance, sizeof(config.self.instance), "%016llx", (unsigned long long)prng_next(&w->prng));
    (void)snprintf(config.self.bus_url, sizeof(config.self.bus_url), "tcp://c%d:7400", i);
    (void)snprintf(config.self.api_url, sizeof(config.self.api_url), "http://c%d:7480", i);
    *coordinator = (struct world_coordinator){.core = coordinator_new(&config, w->now_ms)};
}

void world_kill(struct world *w, int i)
{
    struct world_store *store = &w->store;
    coordinator_free(w->coordinators[i].core);
    w->coordinators[i] = (struct world_coordinator){0};
    for (int n = store->request_count - 1; n >= 0; n--) {
        if (store->requests[n].coordinator == i) {
            request_release(&store->requests[n]);
            store->request_count--;
            memmove(&store->requests[n], &store->requests[n + 1],
                    (size_t)(store->request_count - n) * sizeof(*store->requests));
        }
    }
    for (int n = 0; n < w->agent_count; n++) {
        w->agents[n].is_waiting = w->agents[n].is_waiting && w->agents[n].coordinator != i;
    }
}

static void settle(struct world *w)
{
    int rounds = 0;
    while (store_run(w) || coordinators_run(w)) {
        if (++rounds > 1000) {
            fail_msg("the world does not come to rest at %lld", (long long)w->now_ms);
        }
    }
}

void world_run(struct world *w, int64_t ms)
{
    int64_t end_ms = w->now_ms + ms;
    while (w->now_ms < end_ms) {
        settle(w);
        if (w->now_ms % AGENT_TICK_MS == 0) {
            agents_run(w);
            settle(w);
        }
        w->now_ms += 5;
    }
    settle(w);
}

int world_leader(const struct world *w)
{
    for (int i = 0; i < WORLD_COORDINATORS; i++) {
        const struct world_coordinator *coordinator = &w->coordinators[i];
        if (coordinator->core != NULL && !coordinator->is_paused && !coordinator->has_exited &&
            coordinator_is_leader(coordinator->core)) {
            return i;
        }
    }
    return -1;
}

const struct coordinator *world_core(const struct world *w)
{
    int leader = world_leader(w);
    return leader >= 0 ? w->coordinators[leader].core : NULL;
}

const char *world_why(const struct world *w)
{
    const struct coordinator *core = world_core(w);
    return core != NULL ? coordinator_why(core) : "nobody leads";
}

int world_command(struct world *w, int i, const struct coordinator_command *command)
{
    int number = w->command_count++;
    assert_true(number < 64);
    struct coordinator_event event = {
        .kind = COORDINATOR_COMMAND, .handle = WORLD_COMMAND_BASE + (uint64_t)number, .command = command};
    world_send(w, i, &event);
    settle(w);
    return number;
}

const struct world_answer *world_answer(const struct world *w, int number)
{
    return &w->answers[number];
}

int world_drain(struct world *w, int i, int node)
{
    struct coordinator_command command = {.kind = COMMAND_START};
    command.request.kind = OPERATION_DRAIN;
    command.request.node = w->nodes[node].id;
    return world_command(w, i, &command);
}

int world_verb(struct world *w, int i, enum coordinator_command_kind kind, const char *operation_id)
{
    struct coordinator_command command = {.kind = kind};
    (void)snprintf(command.operation_id, sizeof(command.operation_id), "%s", operation_id);
    return world_command(w, i, &command);
}

const struct operation *world_operation(const struct world *w)
{
    const struct coordinator *core = world_core(w);
    return core != NULL && coordinator_operation_count(core) > 0 ? coordinator_operation(core, 0) : NULL;
}

enum operation_state world_state(const struct world *w)
{
    const struct operation *operation = world_operation(w);
    return operation != NULL ? operation->state : 0;
}

int world_log_count(const struct world *w, const char *text)
{
    int count = 0;
    for (const char *at = strstr(strbuf_text(&w->log), text); at != NULL; at = strstr(at + 1, text)) {
        count++;
    }
    return count;
}
