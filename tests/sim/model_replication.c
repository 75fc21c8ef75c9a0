/* model_replication.c — replicas follow their primary, late. See model_redis.h.
 *
 * A primary keeps the changes since its last start or promotion; a replica on the same history
 * takes them after a lag, any other one copies everything first. Slot marks are not replicated, as
 * in Redis before 7.2. */
#include "tests/sim/model_redis.h"

#include "common/base/alloc.h"

#include <stdlib.h>
#include <string.h>

#define SYNC_US_MIN (20 * MS_US)
#define SYNC_US_MAX (400 * MS_US)

static bool is_cut(const struct model_node *a, const struct model_node *b)
{
    return network_is_cut(a->redis->network, a->place, b->place) ||
           network_is_cut(a->redis->network, b->place, a->place);
}

/* The replica takes what its primary has produced. */
static void apply(struct model_node *node, struct model_node *primary)
{
    while (node->offset < primary->offset) {
        const struct model_change *change = &primary->changes[node->offset - primary->change_base];
        if (change->stored.is_present) {
            model_node_put(node, change->key, &change->stored);
        } else {
            model_node_remove(node, change->key, REMOVED_BY_CLIENT);
        }
        node->offset++;
    }
    primary->acked_offsets[node->index] = node->offset;
}

static bool is_same_history(const struct model_node *node, const struct model_node *primary)
{
    return node->is_link_up && node->offset >= primary->change_base &&
           node->offset <= primary->offset && primary->acked_offsets[node->index] >= 0;
}

static void push(struct happening *what)
{
    struct model_node *primary = what->owner;
    if (what->tag != primary->process) {
        return;
    }
    primary->is_push_due = false;
    for (int i = 0; i < primary->redis->node_count; i++) {
        struct model_node *node = primary->redis->nodes[i];
        if (model_node_primary(node) == primary->index && model_node_is_running(node) &&
            model_node_is_running(primary) && is_same_history(node, primary) &&
            !is_cut(node, primary)) {
            apply(node, primary);
        }
    }
}

void model_replication_record(struct model_node *node, int key)
{
    ARRAY_RESERVE(node->changes, node->change_count, node->change_capacity);
    node->changes[node->change_count++] =
        (struct model_change){.key = key, .stored = node->stored[key]};
    node->offset++;
    if (!node->is_push_due) {
        node->is_push_due = true;
        schedule_add(node->redis->schedule,
                     prng_range(&node->redis->prng, 50, node->redis->replication_lag_us_max),
                     &(struct happening){.run = push, .owner = node, .tag = node->process});
    }
}

void model_replication_forget(struct model_node *node)
{
    node->is_link_up = false;
    node->link_down_since_us = -1; /* never was in step: may not be promoted */
    node->sync_due_us = 0;
}

static void full_sync(struct model_node *node, struct model_node *primary)
{
    model_node_remove_all(node, REMOVED_RESYNC);
    for (int key = 0; key < primary->stored_capacity; key++) {
        if (primary->stored[key].is_present) {
            model_node_put(node, key, &primary->stored[key]);
        }
    }
    node->offset = primary->offset;
    node->is_link_up = true;
    node->sync_due_us = 0;
    node->link_down_since_us = 0;
    node->redis->resync_count++;
    primary->acked_offsets[node->index] = node->offset;
    model_node_note(node, "is in step with %.8s", primary->id.text);
}

static void lose_link(struct model_node *node)
{
    if (node->is_link_up) {
        node->is_link_up = false;
        node->link_down_since_us = node->redis->schedule->now_us;
    }
    if (node->sync_due_us != 0) {
        node->sync_due_us = 0;
        node->link_down_since_us = -1;
    }
}

static void follow(struct model_node *node, struct model_node *primary)
{
    struct model_redis *redis = node->redis;
    int64_t now_us = redis->schedule->now_us;
    if (!primary->is_up || is_cut(node, primary) || !model_node_is_primary(primary)) {
        primary->acked_offsets[node->index] = -1;
        lose_link(node);
        return;
    }
    if (primary->is_paused) {
        return;
    }
    if (!is_same_history(node, primary)) {
        node->is_link_up = false;
        node->link_down_since_us = -1;
        if (node->sync_due_us == 0) {
            node->sync_due_us = now_us + prng_range(&redis->prng, SYNC_US_MIN, SYNC_US_MAX);
        } else if (now_us >= node->sync_due_us) {
            full_sync(node, primary);
        }
        return;
    }
    apply(node, primary);
}

void model_replication_cron(struct model_node *node)
{
    int primary = model_node_primary(node);
    if (node->redis->persistence == PERSIST_LAG && prng_chance(&node->redis->prng, 1, 8)) {
        model_node_persist(node);
    }
    if (primary == MODEL_NONE) {
        return;
    }
    follow(node, node->redis->nodes[primary]);
}
