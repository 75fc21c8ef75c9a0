/* model_redis.c — life of the model cluster and its nodes, and the queue of work of each node. See
 * model_redis.h. */
#include "tests/sim/model_redis.h"

#include "common/base/alloc.h"
#include "common/base/check.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A pipeline may be interrupted by another connection between two commands: Redis reads a bounded
 * piece at a time. */
#define YIELD_ONE_IN 8
#define TURN_US 5

void model_redis_init(struct model_redis *redis,
                      struct schedule *schedule,
                      struct model_network *network,
                      uint64_t seed)
{
    *redis = (struct model_redis){
        .schedule = schedule,
        .network = network,
        .node_timeout_us = 5 * SECOND_US,
        .gossip_us = 100 * MS_US,
        .replication_lag_us_max = 20 * MS_US,
        .persistence = PERSIST_ALL,
        .traced_slot = MODEL_NONE,
    };
    prng_init(&redis->prng, seed);
    model_keys_init(&redis->keys);
}

struct model_pipeline *model_pipeline_new(void)
{
    return xcalloc(1, sizeof(struct model_pipeline));
}

void model_pipeline_free(struct model_pipeline *pipeline)
{
    if (pipeline != NULL) {
        if (pipeline->orphaned != NULL) {
            pipeline->orphaned(pipeline->owner);
        }
        commands_release(&pipeline->commands);
        replies_release(&pipeline->replies);
        free(pipeline);
    }
}

static void work_free(struct model_work *work)
{
    if (work->pipeline != NULL) {
        model_pipeline_free(work->pipeline);
    }
    free(work->bus);
    free(work->transfer);
    free(work);
}

static void node_free(struct model_node *node)
{
    while (node->first != NULL) {
        struct model_work *work = node->first;
        node->first = work->next;
        work_free(work);
    }
    for (int i = 0; i < MODEL_NODES_MAX; i++) {
        strbuf_release(&node->peers[i].slots_text);
    }
    model_pipeline_free(node->blocked);
    free(node->stored);
    free(node->disk);
    free(node->changes);
    free(node);
}

void model_redis_release(struct model_redis *redis)
{
    for (int i = 0; i < redis->node_count; i++) {
        node_free(redis->nodes[i]);
    }
    redis->node_count = 0;
    model_keys_release(&redis->keys);
}

static void random_hex(struct prng *prng, char *text, int len)
{
    static const char digits[] = "0123456789abcdef";
    for (int i = 0; i < len; i++) {
        text[i] = digits[prng_below(prng, 16)];
    }
    text[len] = '\0';
}

struct model_node *model_redis_add(struct model_redis *redis,
                                   int place,
                                   const char *host,
                                   uint16_t port)
{
    CHECK(redis->node_count < MODEL_NODES_MAX);
    struct model_node *node = xcalloc(1, sizeof(*node));
    node->index = redis->node_count;
    node->redis = redis;
    node->place = place;
    random_hex(&redis->prng, node->id.text, NODE_ID_LEN);
    snprintf(node->address.host, sizeof(node->address.host), "%s", host);
    node->address.port = port;
    memset(node->owner, MODEL_NONE, sizeof(node->owner));
    memset(node->migrating_to, MODEL_NONE, sizeof(node->migrating_to));
    memset(node->importing_from, MODEL_NONE, sizeof(node->importing_from));
    node->peers[node->index] =
        (struct model_peer){.is_known = true, .is_primary = true, .primary = MODEL_NONE};
    node->may_migrate_replica = true;
    node->needs_full_coverage = true;
    for (int i = 0; i < MODEL_NODES_MAX; i++) {
        node->acked_offsets[i] = -1;
    }
    redis->nodes[redis->node_count++] = node;
    return node;
}

void model_redis_give(struct model_redis *redis, int node, int first_slot, int last_slot)
{
    for (int i = 0; i < redis->node_count; i++) {
        redis->nodes[i]->peers[node].is_known = true;
        redis->nodes[i]->peers[node].is_primary = true;
        redis->nodes[i]->peers[node].primary = MODEL_NONE;
        for (int slot = first_slot; slot <= last_slot; slot++) {
            model_view_set_owner(redis->nodes[i], slot, node);
        }
    }
}

void model_redis_replicate(struct model_redis *redis, int replica, int primary)
{
    for (int i = 0; i < redis->node_count; i++) {
        redis->nodes[i]->peers[replica].is_primary = false;
        redis->nodes[i]->peers[replica].primary = primary;
    }
}

void model_redis_form(struct model_redis *redis)
{
    for (int i = 0; i < redis->node_count; i++) {
        struct model_node *node = redis->nodes[i];
        for (int j = 0; j < redis->node_count; j++) {
            struct model_peer *peer = &node->peers[j];
            if (!peer->is_known) {
                *peer = (struct model_peer){.is_primary = true, .primary = MODEL_NONE};
            }
            peer->is_known = true;
            peer->config_epoch = peer->is_primary ? (uint64_t)j + 1 : 0;
        }
        node->current_epoch = (uint64_t)redis->node_count;
    }
    for (int i = 0; i < redis->node_count; i++) {
        model_node_start(redis->nodes[i]);
        struct model_node *node = redis->nodes[i];
        node->started_us = redis->schedule->now_us - 10 * SECOND_US;
        node->is_link_up = !model_node_is_primary(node);
        node->is_state_ok = false;
        node->not_ok_since_us = 0;
        model_view_update_state(node);
    }
}

struct model_node *model_redis_find(struct model_redis *redis, const struct address *address)
{
    for (int i = 0; i < redis->node_count; i++) {
        if (address_is_equal(&redis->nodes[i]->address, address)) {
            return redis->nodes[i];
        }
    }
    return NULL;
}

bool model_node_is_running(const struct model_node *node)
{
    return node->is_up && !node->is_paused;
}

void model_node_note(struct model_node *node, const char *format, ...)
{
    if (node->redis->hooks.note == NULL) {
        return;
    }
    char text[200];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    node->redis->hooks.note(node->redis->hooks.owner, node, text);
}

static void append(struct model_node *node, struct model_work *work)
{
    work->next = NULL;
    if (node->last == NULL) {
        node->first = work;
    } else {
        node->last->next = work;
    }
    node->last = work;
}

void model_node_enqueue(struct model_node *node, const struct model_work *work)
{
    append(node, xmemdup(work, sizeof(*work)));
    model_node_pump_soon(node, 0);
}

void model_node_submit(struct model_node *node, struct model_pipeline *pipeline)
{
    if (pipeline->session == NULL) {
        pipeline->session = &pipeline->own;
    }
    if (!node->is_up) {
        pipeline->is_broken = true;
        pipeline->done(pipeline->owner, pipeline);
        return;
    }
    model_node_enqueue(node, &(struct model_work){.kind = WORK_PIPELINE, .pipeline = pipeline});
}

/* Puts the first work and all of its stream behind the others, in their order. */
static void yield_stream(struct model_node *node)
{
    uint64_t stream = node->first->pipeline->stream;
    struct model_work *kept = node->first;
    struct model_work *work = kept->next;
    node->first = NULL;
    node->last = NULL;
    struct model_work *behind = kept;
    struct model_work *behind_last = kept;
    while (work != NULL) {
        struct model_work *next = work->next;
        if (stream != 0 && work->kind == WORK_PIPELINE && work->pipeline->stream == stream) {
            behind_last->next = work;
            behind_last = work;
        } else {
            append(node, work);
        }
        work = next;
    }
    behind_last->next = NULL;
    if (node->last == NULL) {
        node->first = behind;
    } else {
        node->last->next = behind;
    }
    node->last = behind_last;
}

static struct model_work *take_first(struct model_node *node)
{
    struct model_work *work = node->first;
    node->first = work->next;
    if (node->first == NULL) {
        node->last = NULL;
    }
    return work;
}

/* Runs commands of the first pipeline until it ends, yields or blocks. True when it left the queue.
 */
static void run_pipeline(struct model_node *node)
{
    struct model_pipeline *pipeline = node->first->pipeline;
    while (pipeline->next < pipeline->commands.count) {
        enum model_verdict verdict = model_node_execute(node, pipeline);
        pipeline->next++;
        if (verdict == VERDICT_BLOCKED) {
            free(take_first(node));
            node->blocked = pipeline;
            return;
        }
        if (pipeline->next < pipeline->commands.count &&
            prng_chance(&node->redis->prng, 1, YIELD_ONE_IN)) {
            yield_stream(node);
            return;
        }
    }
    free(take_first(node));
    pipeline->done(pipeline->owner, pipeline);
}

static void pump(struct happening *what)
{
    struct model_node *node = what->owner;
    if (what->tag != node->process) {
        return;
    }
    node->is_pump_due = false;
    if (!model_node_is_running(node) || node->transfer != 0 || node->first == NULL) {
        return;
    }
    struct model_work *work = node->first;
    switch (work->kind) {
    case WORK_PIPELINE:
        run_pipeline(node);
        break;
    case WORK_BUS:
        work = take_first(node);
        model_gossip_handle(node, work->bus);
        work_free(work);
        break;
    case WORK_RESTORE:
        work = take_first(node);
        model_migrate_restore(node, work->transfer);
        work->transfer = NULL;
        work_free(work);
        break;
    }
    if (node->is_pong_due) {
        node->is_pong_due = false;
        model_gossip_broadcast(node);
    }
    model_node_pump_soon(node, TURN_US);
}

void model_node_pump_soon(struct model_node *node, int64_t delay_us)
{
    if (node->is_pump_due || node->first == NULL || !model_node_is_running(node) ||
        node->transfer != 0) {
        return;
    }
    node->is_pump_due = true;
    schedule_add(node->redis->schedule, delay_us,
                 &(struct happening){.run = pump, .owner = node, .tag = node->process});
}

static void break_pipeline(struct model_pipeline *pipeline)
{
    pipeline->is_broken = true;
    pipeline->done(pipeline->owner, pipeline);
}

void model_node_crash(struct model_node *node)
{
    if (!node->is_up) {
        return;
    }
    model_node_note(node, "crashes");
    node->is_up = false;
    node->is_paused = false;
    node->is_pump_due = false;
    node->process++;
    node->transfer = 0;
    if (node->redis->persistence == PERSIST_ALL) {
        model_node_persist(node);
    }
    model_node_remove_all(node, REMOVED_LOST);
    struct model_pipeline *blocked = node->blocked;
    node->blocked = NULL;
    struct model_work *work = node->first;
    node->first = NULL;
    node->last = NULL;
    if (blocked != NULL) {
        break_pipeline(blocked);
    }
    while (work != NULL) {
        struct model_work *next = work->next;
        if (work->kind == WORK_PIPELINE) {
            break_pipeline(work->pipeline);
            work->pipeline = NULL;
        }
        work_free(work);
        work = next;
    }
}

/* Keys of slots that belong to others are kept behind an importing mark, those of nobody's slots
 * make them ours. */
static void open_foreign_slots(struct model_node *node)
{
    for (int slot = 0; slot < SLOT_COUNT && node->key_count > 0; slot++) {
        if (node->key_counts[slot] == 0 || node->owner[slot] == node->index ||
            node->importing_from[slot] != MODEL_NONE) {
            continue;
        }
        if (node->owner[slot] == MODEL_NONE) {
            model_view_set_owner(node, slot, node->index);
        } else {
            model_node_note(node, "opens slot %d, of which it found keys", slot);
            model_view_set_importing(node, slot, node->owner[slot]);
            slotset_add(&node->opened_at_start, slot);
        }
    }
}

/* A process starts: it reads nodes.conf (kept in place) and what its persistence saved. */
void model_node_start(struct model_node *node)
{
    struct model_redis *redis = node->redis;
    CHECK(!node->is_up);
    node->is_up = true;
    node->is_paused = false;
    node->process++;
    random_hex(&redis->prng, node->run_id, RUN_ID_SIZE - 1);
    node->started_us = redis->schedule->now_us;
    node->is_state_ok = false;
    node->not_ok_since_us = redis->schedule->now_us;
    node->minority_since_us = 0;
    node->unclaimed = (struct slotset){0};
    node->has_unclaimed = false;
    node->election_us = 0;
    node->is_push_due = false;
    node->change_count = 0;
    node->change_base = node->offset;
    for (int i = 0; i < MODEL_NODES_MAX; i++) {
        struct model_peer *peer = &node->peers[i];
        peer->is_pfail = false;
        peer->heard_us = redis->schedule->now_us;
        peer->ping_sent_us = 0;
        memset(peer->reported_us, 0, sizeof(peer->reported_us));
        peer->voted_us = 0;
        node->acked_offsets[i] = -1;
    }
    for (int key = 0; key < node->disk_count && redis->persistence != PERSIST_NONE; key++) {
        if (node->disk[key].is_present) {
            model_node_put(node, key, &node->disk[key]);
        }
    }
    if (model_node_is_primary(node)) {
        open_foreign_slots(node);
    }
    model_replication_forget(node);
    model_node_note(node, "starts");
    model_gossip_start(node);
    model_node_pump_soon(node, 0);
}

void model_node_pause(struct model_node *node)
{
    if (model_node_is_running(node)) {
        model_node_note(node, "is paused");
        node->is_paused = true;
    }
}

void model_node_wake(struct model_node *node)
{
    if (node->is_up && node->is_paused) {
        model_node_note(node, "goes on");
        node->is_paused = false;
        model_node_pump_soon(node, 0);
    }
}
