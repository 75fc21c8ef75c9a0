/* model_replication.c — replicas follow their primary, late. See model_redis.h.
 *
 * A primary keeps the changes since its last start or promotion; a replica on the same history takes them after a lag,
 * any other one copies everything first. Slot marks are not replicated, as in Redis before 7.2. */
#include "tests/sim/model_redis.h"

#include "common/base/alloc.h"

#include <stdlib.h>
#include <string.h>

#define SYNC_US_MIN (20 * MS_US)
#define SYNC_US_MAX (400 * MS_US)

void model_replication_record(struct model_node *node, int key)
{
    ARRAY_RESERVE(node->changes, node->change_count, node->change_capacity);
    node->changes[node->change_count++] = (struct model_change){.key = key, .stored = node->stored[key]};
    node->offset++;
}

void model_replication_forget(struct model_node *node)
{
    node->is_link_up = false;
    node->link_down_since_us = -1; /* never was in step: may not be promoted */
    node->sync_due_us = 0;
}

struct pull {
    int primary;
    uint64_t primary_process;
    int64_t offset; /* up to here */
};

static void apply(struct happening *what)
{
    struct model_node *node = what->owner;
    const struct pull *pull = what->data;
    struct model_node *primary = node->redis->nodes[pull->primary];
    if (!model_node_is_running(node) || what->tag != node->process || !node->is_link_up ||
        model_node_primary(node) != pull->primary || primary->process != pull->primary_process) {
        return;
    }
    while (node->offset < pull->offset && node->offset >= primary->change_base) {
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
    bool is_cut = network_is_cut(redis->network, primary->place, node->place) ||
                  network_is_cut(redis->network, node->place, primary->place);
    if (!primary->is_up || is_cut || !model_node_is_primary(primary)) {
        primary->acked_offsets[node->index] = -1;
        lose_link(node);
        return;
    }
    if (primary->is_paused) {
        return;
    }
    bool is_same_history = node->is_link_up && node->offset >= primary->change_base && node->offset <= primary->offset &&
                           primary->acked_offsets[node->index] >= 0;
    if (!is_same_history) {
        node->is_link_up = false;
        node->link_down_since_us = -1;
        if (node->sync_due_us == 0) {
            node->sync_due_us = now_us + prng_range(&redis->prng, SYNC_US_MIN, SYNC_US_MAX);
        } else if (now_us >= node->sync_due_us) {
            full_sync(node, primary);
        }
        return;
    }
    if (node->offset == primary->offset) {
        return;
    }
    struct pull *pull = xmalloc(sizeof(*pull));
    *pull = (struct pull){.primary = primary->index, .primary_process = primary->process, .offset = primary->offset};
    schedule_add(redis->schedule, prng_range(&redis->prng, 0, redis->replication_lag_us_max),
                 &(struct happening){.run = apply, .release = free, .owner = node, .data = pull, .tag = node->process});
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
