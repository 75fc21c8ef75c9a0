/* model_keys.c — names of keys and what each node holds. See model_redis.h. */
#include "tests/sim/model_redis.h"

#include "common/base/alloc.h"
#include "common/base/check.h"
#include "common/base/crc16.h"

#include <stdlib.h>
#include <string.h>

static uint32_t hash_of(const void *name, size_t len)
{
    const unsigned char *bytes = name;
    uint32_t hash = 2166136261U;
    for (size_t i = 0; i < len; i++) {
        hash = (hash ^ bytes[i]) * 16777619U;
    }
    return hash % 4096;
}

void model_keys_init(struct model_keys *keys)
{
    *keys = (struct model_keys){0};
    for (int i = 0; i < SLOT_COUNT; i++) {
        keys->first_in_slot[i] = MODEL_NONE;
    }
    for (int i = 0; i < 4096; i++) {
        keys->hash[i] = MODEL_NONE;
    }
}

void model_keys_release(struct model_keys *keys)
{
    for (int i = 0; i < keys->count; i++) {
        free(keys->keys[i].name);
    }
    free(keys->keys);
    keys->keys = NULL;
    keys->count = 0;
}

int model_keys_find(const struct model_keys *keys, const void *name, size_t len)
{
    for (int i = keys->hash[hash_of(name, len)]; i != MODEL_NONE; i = keys->keys[i].next_in_hash) {
        if (keys->keys[i].len == len && memcmp(keys->keys[i].name, name, len) == 0) {
            return i;
        }
    }
    return MODEL_NONE;
}

int model_keys_number(struct model_keys *keys, const void *name, size_t len)
{
    int found = model_keys_find(keys, name, len);
    if (found != MODEL_NONE) {
        return found;
    }
    CHECK(keys->count < MODEL_KEYS_MAX);
    ARRAY_RESERVE(keys->keys, keys->count, keys->capacity);
    uint32_t hash = hash_of(name, len);
    uint16_t slot = key_slot(name, len);
    char *copy = xmalloc(len + 1);
    memcpy(copy, name, len);
    copy[len] = '\0';
    keys->keys[keys->count] = (struct model_key){.name = copy,
                                                 .len = len,
                                                 .slot = slot,
                                                 .next_in_slot = keys->first_in_slot[slot],
                                                 .next_in_hash = keys->hash[hash]};
    keys->first_in_slot[slot] = keys->count;
    keys->hash[hash] = keys->count;
    return keys->count++;
}

static void reserve(struct model_node *node, int key)
{
    if (key < node->stored_capacity) {
        return;
    }
    int capacity = key + 256;
    node->stored = xreallocarray(node->stored, (size_t)capacity, sizeof(*node->stored));
    memset(node->stored + node->stored_capacity, 0,
           (size_t)(capacity - node->stored_capacity) * sizeof(*node->stored));
    node->stored_capacity = capacity;
}

struct model_stored *model_node_get(struct model_node *node, int key)
{
    if (key == MODEL_NONE || key >= node->stored_capacity || !node->stored[key].is_present) {
        return NULL;
    }
    struct model_stored *stored = &node->stored[key];
    if (stored->expire_us != 0 && stored->expire_us <= node->redis->schedule->now_us) {
        if (model_node_is_primary(node)) {
            model_node_remove(node, key, REMOVED_EXPIRED);
        }
        return NULL;
    }
    return stored;
}

void model_node_put(struct model_node *node, int key, const struct model_stored *stored)
{
    reserve(node, key);
    if (!node->stored[key].is_present) {
        node->key_counts[node->redis->keys.keys[key].slot]++;
        node->key_count++;
    }
    node->stored[key] = *stored;
    node->stored[key].is_present = true;
    if (model_node_is_primary(node)) {
        model_replication_record(node, key);
    }
    if (node->redis->hooks.stored != NULL) {
        node->redis->hooks.stored(node->redis->hooks.owner, node, key, &node->stored[key]);
    }
}

void model_node_remove(struct model_node *node, int key, enum model_removal why)
{
    if (key == MODEL_NONE || key >= node->stored_capacity || !node->stored[key].is_present) {
        return;
    }
    node->stored[key].is_present = false;
    node->key_counts[node->redis->keys.keys[key].slot]--;
    node->key_count--;
    if (model_node_is_primary(node) && why != REMOVED_RESYNC && why != REMOVED_LOST) {
        model_replication_record(node, key);
    }
    if (node->redis->hooks.removed != NULL) {
        node->redis->hooks.removed(node->redis->hooks.owner, node, key, why);
    }
}

void model_node_remove_all(struct model_node *node, enum model_removal why)
{
    for (int key = 0; key < node->stored_capacity && node->key_count > 0; key++) {
        model_node_remove(node, key, why);
    }
}

void model_node_remove_slot(struct model_node *node, int slot, enum model_removal why)
{
    const struct model_keys *keys = &node->redis->keys;
    for (int key = keys->first_in_slot[slot]; key != MODEL_NONE;
         key = keys->keys[key].next_in_slot) {
        model_node_remove(node, key, why);
    }
}

void model_node_persist(struct model_node *node)
{
    node->disk = xreallocarray(node->disk, (size_t)node->stored_capacity + 1, sizeof(*node->disk));
    if (node->stored_capacity > 0) {
        memcpy(node->disk, node->stored, (size_t)node->stored_capacity * sizeof(*node->disk));
    }
    node->disk_count = node->stored_capacity;
}
