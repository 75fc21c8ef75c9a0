/* model_migrate.c — MIGRATE of the model: the source stands still until the target has answered.
 * See model_redis.h.
 *
 * Source of the rules: redis-server 7.0.15 migrateCommand(); facts F10 to F15. */
#include "tests/sim/model_redis.h"

#include "common/base/alloc.h"
#include "common/base/check.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* One in so many MIGRATEs loses its socket after part of the answers has been read. */
#define BROKEN_READ_ONE_IN 200
#define COPY_US_PER_KEY 5

static void unblock(struct model_node *source)
{
    struct model_pipeline *pipeline = source->blocked;
    source->transfer = 0;
    source->blocked = NULL;
    if (pipeline->next < pipeline->commands.count) {
        struct model_work *work = xcalloc(1, sizeof(*work));
        *work =
            (struct model_work){.kind = WORK_PIPELINE, .pipeline = pipeline, .next = source->first};
        source->first = work;
        source->last = source->last == NULL ? work : source->last;
    } else {
        pipeline->done(pipeline->owner, pipeline);
    }
    model_node_pump_soon(source, 0);
}

/* The tag is the number of the transfer, which no other one ever has. */
static bool is_current(const struct happening *what)
{
    const struct model_node *source = what->owner;
    return source->is_up && source->transfer == what->tag;
}

/* A paused source reads what waits in its socket first when it goes on. */
static bool wait_while_paused(struct happening *what)
{
    struct model_node *source = what->owner;
    if (!source->is_paused) {
        return false;
    }
    struct happening later = *what;
    what->data = NULL;
    schedule_add(source->redis->schedule, 10 * MS_US, &later);
    return true;
}

static void answered(struct happening *what)
{
    if (!is_current(what) || wait_while_paused(what)) {
        return;
    }
    struct model_node *source = what->owner;
    struct model_transfer *transfer = what->data;
    bool is_broken = prng_chance(&source->redis->prng, 1, BROKEN_READ_ONE_IN) &&
                     !source->redis->network->is_calm;
    int read = is_broken ? (int)prng_below(&source->redis->prng, (uint64_t)transfer->count)
                         : transfer->count;
    for (int i = 0; i < read; i++) {
        if (transfer->outcomes[i] == TRANSFER_OK && !transfer->is_copy) {
            model_node_remove(source, transfer->keys[i], REMOVED_MOVED);
        }
    }
    if (is_broken) {
        source->redis->ioerr_count++;
        model_reply_error(&source->blocked->replies,
                          "IOERR error or timeout reading to target instance");
    } else if (transfer->error[0] != '\0') {
        model_reply_error(&source->blocked->replies, "ERR Target instance replied with error: %s",
                          transfer->error);
    } else {
        model_reply_status(&source->blocked->replies, "OK");
    }
    unblock(source);
}

static void timed_out(struct happening *what)
{
    if (!is_current(what) || wait_while_paused(what)) {
        return;
    }
    struct model_node *source = what->owner;
    source->redis->ioerr_count++;
    model_reply_error(&source->blocked->replies,
                      "IOERR error or timeout reading to target instance");
    unblock(source);
}

static void arrive(struct happening *what)
{
    struct model_node *target = what->owner;
    struct model_transfer *transfer = what->data;
    what->data = NULL;
    if (!target->is_up || target->process != what->tag) {
        free(transfer);
        return;
    }
    model_node_enqueue(target, &(struct model_work){.kind = WORK_RESTORE, .transfer = transfer});
}

static bool restore_one(struct model_node *target, struct model_transfer *transfer, int i)
{
    struct model_redis *redis = target->redis;
    int key = transfer->keys[i];
    int slot = redis->keys.keys[key].slot;
    char error[96] = "";
    bool is_mine =
        target->owner[slot] == target->index || target->importing_from[slot] != MODEL_NONE;
    if (!target->is_state_ok) {
        snprintf(error, sizeof(error), "CLUSTERDOWN The cluster is down");
        transfer->outcomes[i] = TRANSFER_MOVED;
        redis->clusterdown_count++;
    } else if (!is_mine) {
        const struct model_node *owner =
            redis->nodes[target->owner[slot] == MODEL_NONE ? target->index : target->owner[slot]];
        snprintf(error, sizeof(error), "MOVED %d %.40s:%u", slot, owner->address.host,
                 (unsigned)owner->address.port);
        transfer->outcomes[i] = TRANSFER_MOVED;
        redis->target_moved_count++;
    } else if (!model_node_is_primary(target)) {
        snprintf(error, sizeof(error), "READONLY You can't write against a read only replica.");
        transfer->outcomes[i] = TRANSFER_MOVED;
    } else if (target->is_out_of_memory) {
        snprintf(error, sizeof(error), "OOM command not allowed when used memory > 'maxmemory'.");
        transfer->outcomes[i] = TRANSFER_OOM;
        redis->oom_count++;
    } else if (!transfer->is_replace && model_node_get(target, key) != NULL) {
        snprintf(error, sizeof(error), "BUSYKEY Target key name already exists.");
        transfer->outcomes[i] = TRANSFER_BUSY;
        redis->busykey_count++;
    } else {
        model_node_put(target, key, &transfer->values[i]);
        transfer->outcomes[i] = TRANSFER_OK;
        return true;
    }
    if (transfer->error[0] == '\0') {
        snprintf(transfer->error, sizeof(transfer->error), "%s", error);
    }
    return false;
}

/* Takes the transfer over; runs at the target in its turn, whether or not the source still waits.
 */
void model_migrate_restore(struct model_node *target, struct model_transfer *transfer)
{
    struct model_redis *redis = target->redis;
    for (int i = 0; i < transfer->count; i++) {
        (void)restore_one(target, transfer, i);
    }
    struct model_node *source = redis->nodes[transfer->source];
    int64_t delay_us = network_stream_delay_us(redis->network, target->place, source->place);
    if (delay_us < 0) {
        free(transfer);
        return;
    }
    schedule_add(redis->schedule, delay_us,
                 &(struct happening){.run = answered,
                                     .release = free,
                                     .owner = source,
                                     .data = transfer,
                                     .tag = transfer->id});
}

static struct model_node *find_target(struct model_node *node,
                                      const struct command_list *commands,
                                      int index)
{
    struct address address = {0};
    size_t len = 0;
    const char *host = commands_get(commands, index, 1, &len);
    int64_t port = 0;
    if (len >= sizeof(address.host) || !model_number(commands, index, 2, &port)) {
        return NULL;
    }
    memcpy(address.host, host, len);
    address.port = (uint16_t)port;
    return model_redis_find(node->redis, &address);
}

static void take_key(struct model_node *node,
                     struct model_transfer *transfer,
                     const char *name,
                     size_t len)
{
    int key = model_keys_number(&node->redis->keys, name, len);
    const struct model_stored *stored = model_node_get(node, key);
    if (stored != NULL && transfer->count < MODEL_COMMAND_KEYS_MAX) {
        transfer->keys[transfer->count] = key;
        transfer->values[transfer->count++] = *stored;
        transfer->size_bytes += stored->weight_bytes;
    }
}

/* Reads the options and captures the keys that exist. False after an error reply. */
static bool read_request(struct model_node *node,
                         const struct command_list *commands,
                         int index,
                         struct model_transfer *transfer,
                         struct reply_list *replies)
{
    int count = commands->commands[index].arg_count;
    size_t len = 0;
    const char *name = commands_get(commands, index, 3, &len);
    int keys_at = 0;
    for (int arg = 6; arg < count && keys_at == 0; arg++) {
        if (commands_arg_is(commands, index, arg, "replace")) {
            transfer->is_replace = true;
        } else if (commands_arg_is(commands, index, arg, "copy")) {
            transfer->is_copy = true;
        } else if (commands_arg_is(commands, index, arg, "auth")) {
            arg += 1;
        } else if (commands_arg_is(commands, index, arg, "auth2")) {
            arg += 2;
        } else if (commands_arg_is(commands, index, arg, "keys") && len == 0) {
            keys_at = arg + 1;
        } else {
            model_reply_error(replies, "ERR syntax error");
            return false;
        }
    }
    if (keys_at == 0) {
        take_key(node, transfer, name, len);
        return true;
    }
    for (int arg = keys_at; arg < count; arg++) {
        name = commands_get(commands, index, arg, &len);
        take_key(node, transfer, name, len);
    }
    return true;
}

static bool is_served_here(struct model_node *node,
                           const struct model_transfer *transfer,
                           struct reply_list *replies)
{
    for (int i = 0; i < transfer->count; i++) {
        int slot = node->redis->keys.keys[transfer->keys[i]].slot;
        bool is_open =
            node->migrating_to[slot] != MODEL_NONE || node->importing_from[slot] != MODEL_NONE;
        int owner = node->owner[slot];
        if (!node->is_state_ok) {
            model_reply_error(replies, "CLUSTERDOWN The cluster is down");
            return false;
        }
        if (!is_open && owner != node->index && owner != MODEL_NONE) {
            node->redis->moved_count++;
            model_reply_error(replies, "MOVED %d %s:%u", slot,
                              node->redis->nodes[owner]->address.host,
                              (unsigned)node->redis->nodes[owner]->address.port);
            return false;
        }
    }
    return true;
}

static void send(struct model_node *node,
                 struct model_node *target,
                 struct model_transfer *transfer,
                 int64_t timeout_us)
{
    struct model_redis *redis = node->redis;
    node->transfer = transfer->id;
    int64_t delay_us = network_stream_delay_us(redis->network, node->place, target->place);
    if (!target->is_up) {
        timeout_us = 200; /* connection refused */
    }
    schedule_add(redis->schedule, timeout_us,
                 &(struct happening){.run = timed_out, .owner = node, .tag = transfer->id});
    if (delay_us < 0 || !target->is_up) {
        free(transfer);
        return;
    }
    schedule_add(redis->schedule, delay_us + transfer->count * COPY_US_PER_KEY,
                 &(struct happening){.run = arrive,
                                     .release = free,
                                     .owner = target,
                                     .data = transfer,
                                     .tag = target->process});
}

/* Large arrays that are filled as far as 'count' says; not zeroed. */
static struct model_transfer *transfer_new(struct model_node *node)
{
    struct model_transfer *transfer = xmalloc(sizeof(*transfer));
    transfer->id = ++node->redis->next_transfer;
    transfer->source = node->index;
    transfer->target = MODEL_NONE;
    transfer->is_replace = false;
    transfer->is_copy = false;
    transfer->count = 0;
    transfer->size_bytes = 0;
    transfer->error[0] = '\0';
    return transfer;
}

enum model_verdict model_migrate_start(struct model_node *node, struct model_pipeline *pipeline)
{
    const struct command_list *commands = &pipeline->commands;
    struct reply_list *replies = &pipeline->replies;
    int index = pipeline->next;
    int64_t timeout_ms = 0;
    int64_t db = 0;
    if (commands->commands[index].arg_count < 6) {
        model_reply_error(replies, "ERR wrong number of arguments for 'migrate' command");
        return VERDICT_DONE;
    }
    if (!model_number(commands, index, 5, &timeout_ms) || !model_number(commands, index, 4, &db)) {
        model_reply_error(replies, "ERR value is not an integer or out of range");
        return VERDICT_DONE;
    }
    struct model_transfer *transfer = transfer_new(node);
    if (!read_request(node, commands, index, transfer, replies) ||
        !is_served_here(node, transfer, replies)) {
        free(transfer);
        return VERDICT_DONE;
    }
    if (transfer->count == 0) {
        node->redis->nokey_count++;
        model_reply_status(replies, "NOKEY");
        free(transfer);
        return VERDICT_DONE;
    }
    struct model_node *target = find_target(node, commands, index);
    if (target == NULL || target == node) {
        model_reply_error(replies, "IOERR error or timeout writing to target instance");
        free(transfer);
        return VERDICT_DONE;
    }
    node->redis->migrate_count++;
    transfer->target = target->index;
    send(node, target, transfer, (timeout_ms <= 0 ? 1000 : timeout_ms) * MS_US);
    return VERDICT_BLOCKED;
}
