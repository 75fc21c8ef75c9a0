/* model_commands.c — the commands of a model node that are not CLUSTER or MIGRATE. See
 * model_redis.h.
 *
 * Source of the rules: redis-server 7.0.15, checked by tests/sim/conformance. */
#include "tests/sim/model_redis.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void model_reply_error(struct reply_list *replies, const char *format, ...)
{
    char text[256];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    reply_set_text(replies, replies_add(replies), REPLY_ERROR, text, strlen(text));
}

void model_reply_status(struct reply_list *replies, const char *text)
{
    reply_set_text(replies, replies_add(replies), REPLY_STATUS, text, strlen(text));
}

void model_reply_integer(struct reply_list *replies, int64_t value)
{
    struct reply *reply = replies_add(replies);
    reply->type = REPLY_INTEGER;
    reply->integer = value;
}

void model_reply_bulk(struct reply_list *replies, const void *data, size_t len)
{
    reply_set_text(replies, replies_add(replies), REPLY_STRING, data, len);
}

bool model_number(const struct command_list *commands, int index, int arg, int64_t *out)
{
    if (arg >= commands->commands[index].arg_count) {
        return false;
    }
    size_t len = 0;
    const char *data = commands_get(commands, index, arg, &len);
    char text[24];
    if (len == 0 || len >= sizeof(text)) {
        return false;
    }
    memcpy(text, data, len);
    text[len] = '\0';
    char *end = NULL;
    errno = 0;
    long long value = strtoll(text, &end, 10);
    if (errno != 0 || *end != '\0') {
        return false;
    }
    *out = value;
    return true;
}

static void info_replication(struct model_node *node, struct strbuf *out)
{
    int primary = model_node_primary(node);
    if (primary != MODEL_NONE) {
        const struct model_node *from = node->redis->nodes[primary];
        strbuf_addf(out,
                    "# "
                    "Replication\r\nrole:slave\r\nmaster_host:%s\r\nmaster_port:%u\r\nmaster_link_"
                    "status:%s\r\n"
                    "master_sync_in_progress:%d\r\nslave_read_repl_offset:%lld\r\nslave_repl_"
                    "offset:%lld\r\n"
                    "connected_slaves:0\r\nmaster_repl_offset:%lld\r\n",
                    from->address.host, (unsigned)from->address.port,
                    node->is_link_up ? "up" : "down", node->sync_due_us != 0,
                    (long long)node->offset, (long long)node->offset, (long long)node->offset);
        return;
    }
    int count = 0;
    struct strbuf rows = {0};
    for (int i = 0; i < node->redis->node_count; i++) {
        const struct model_node *other = node->redis->nodes[i];
        if (node->acked_offsets[i] >= 0 && other->is_up) {
            strbuf_addf(&rows, "slave%d:ip=%s,port=%u,state=%s,offset=%lld,lag=0\r\n", count++,
                        other->address.host, (unsigned)other->address.port,
                        other->is_link_up ? "online" : "wait_bgsave",
                        (long long)node->acked_offsets[i]);
        }
    }
    strbuf_addf(
        out, "# Replication\r\nrole:master\r\nconnected_slaves:%d\r\n%smaster_repl_offset:%lld\r\n",
        count, strbuf_text(&rows), (long long)node->offset);
    strbuf_release(&rows);
}

static void command_info(struct model_node *node, struct reply_list *replies)
{
    struct strbuf text = {0};
    int64_t uptime_s = (node->redis->schedule->now_us - node->started_us) / SECOND_US;
    strbuf_addf(
        &text,
        "# Server\r\nredis_version:7.0.15\r\nredis_mode:cluster\r\nprocess_id:%llu\r\nrun_id:%s\r\n"
        "tcp_port:%u\r\nuptime_in_seconds:%lld\r\n# "
        "Clients\r\nconnected_clients:4\r\nblocked_clients:0\r\n",
        (unsigned long long)node->process, node->run_id, (unsigned)node->address.port,
        (long long)uptime_s);
    strbuf_addf(
        &text,
        "# Memory\r\nused_memory:%lld\r\nused_memory_rss:8000000\r\nused_memory_dataset:%lld\r\n"
        "total_system_memory:8000000000\r\nmaxmemory:0\r\nmaxmemory_policy:noeviction\r\n",
        (long long)(2000000 + 100 * node->key_count), (long long)(100 * node->key_count));
    strbuf_addf(
        &text,
        "# Persistence\r\nloading:%d\r\naof_enabled:1\r\nrdb_last_bgsave_status:ok\r\n"
        "aof_last_write_status:ok\r\nrdb_bgsave_in_progress:0\r\naof_rewrite_in_progress:0\r\n"
        "# "
        "Stats\r\ntotal_commands_processed:1\r\ninstantaneous_ops_per_sec:10\r\nevicted_keys:0\r\n",
        node->is_loading);
    info_replication(node, &text);
    strbuf_add_text(&text, "# Cluster\r\ncluster_enabled:1\r\n# Keyspace\r\n");
    if (node->key_count > 0) {
        strbuf_addf(&text, "db0:keys=%d,expires=0,avg_ttl=0\r\n", node->key_count);
    }
    model_reply_bulk(replies, text.data, text.len);
    strbuf_release(&text);
}

static void command_role(struct model_node *node, struct reply_list *replies)
{
    int primary = model_node_primary(node);
    struct reply *reply = replies_add(replies);
    if (primary == MODEL_NONE) {
        reply_set_array(replies, reply, 3);
        reply_set_text(replies, &reply->items[0], REPLY_STRING, "master", 6);
        reply->items[1] =
            (struct reply){.type = REPLY_INTEGER, .text = "", .integer = node->offset};
        reply_set_array(replies, &reply->items[2], 0);
        return;
    }
    const struct model_node *from = node->redis->nodes[primary];
    const char *state = node->is_link_up         ? "connected"
                        : node->sync_due_us != 0 ? "sync"
                                                 : "connect";
    reply_set_array(replies, reply, 5);
    reply_set_text(replies, &reply->items[0], REPLY_STRING, "slave", 5);
    reply_set_text(replies, &reply->items[1], REPLY_STRING, from->address.host,
                   strlen(from->address.host));
    reply->items[2] =
        (struct reply){.type = REPLY_INTEGER, .text = "", .integer = from->address.port};
    reply_set_text(replies, &reply->items[3], REPLY_STRING, state, strlen(state));
    reply->items[4] = (struct reply){.type = REPLY_INTEGER, .text = "", .integer = node->offset};
}

static int key_argument(struct model_node *node,
                        const struct command_list *commands,
                        int index,
                        int arg)
{
    size_t len = 0;
    const char *name = commands_get(commands, index, arg, &len);
    return model_keys_number(&node->redis->keys, name, len);
}

static void command_set(struct model_node *node,
                        const struct command_list *commands,
                        int index,
                        struct reply_list *replies)
{
    if (node->is_out_of_memory) {
        model_reply_error(replies, "OOM command not allowed when used memory > 'maxmemory'.");
        return;
    }
    size_t len = 0;
    const char *value = commands_get(commands, index, 2, &len);
    struct model_stored stored = {.weight_bytes = 64};
    stored.len = (uint8_t)(len < MODEL_VALUE_SIZE ? len : MODEL_VALUE_SIZE);
    memcpy(stored.value, value, stored.len);
    int64_t px_ms = 0;
    if (commands_arg_is(commands, index, 3, "px") && model_number(commands, index, 4, &px_ms)) {
        stored.expire_us = node->redis->schedule->now_us + px_ms * MS_US;
    }
    model_node_put(node, key_argument(node, commands, index, 1), &stored);
    model_reply_status(replies, "OK");
}

static void command_get(struct model_node *node,
                        const struct command_list *commands,
                        int index,
                        struct reply_list *replies)
{
    const struct model_stored *stored =
        model_node_get(node, key_argument(node, commands, index, 1));
    if (stored == NULL) {
        replies_add(replies);
        return;
    }
    model_reply_bulk(replies, stored->value, stored->len);
}

static void command_del(struct model_node *node,
                        const struct command_list *commands,
                        int index,
                        struct reply_list *replies)
{
    int64_t count = 0;
    for (int arg = 1; arg < commands->commands[index].arg_count; arg++) {
        int key = key_argument(node, commands, index, arg);
        if (model_node_get(node, key) != NULL) {
            model_node_remove(node, key, REMOVED_BY_CLIENT);
            count++;
        }
    }
    model_reply_integer(replies, count);
}

static void command_mget(struct model_node *node,
                         const struct command_list *commands,
                         int index,
                         struct reply_list *replies)
{
    int count = commands->commands[index].arg_count - 1;
    struct reply *reply = replies_add(replies);
    reply_set_array(replies, reply, (size_t)count);
    for (int i = 0; i < count; i++) {
        const struct model_stored *stored =
            model_node_get(node, key_argument(node, commands, index, i + 1));
        if (stored != NULL) {
            reply_set_text(replies, &reply->items[i], REPLY_STRING, stored->value, stored->len);
        }
    }
}

static void command_exists(struct model_node *node,
                           const struct command_list *commands,
                           int index,
                           struct reply_list *replies)
{
    int64_t count = 0;
    for (int arg = 1; arg < commands->commands[index].arg_count; arg++) {
        count += model_node_get(node, key_argument(node, commands, index, arg)) != NULL;
    }
    model_reply_integer(replies, count);
}

static void command_pttl(struct model_node *node,
                         const struct command_list *commands,
                         int index,
                         struct reply_list *replies)
{
    const struct model_stored *stored =
        model_node_get(node, key_argument(node, commands, index, 1));
    if (stored == NULL) {
        model_reply_integer(replies, -2);
    } else if (stored->expire_us == 0) {
        model_reply_integer(replies, -1);
    } else {
        model_reply_integer(replies, (stored->expire_us - node->redis->schedule->now_us) / MS_US);
    }
}

/* The payload is the value itself behind a mark: equal values give equal dumps, as in Redis. */
static void command_dump(struct model_node *node,
                         const struct command_list *commands,
                         int index,
                         struct reply_list *replies)
{
    const struct model_stored *stored =
        model_node_get(node, key_argument(node, commands, index, 1));
    if (stored == NULL) {
        replies_add(replies);
        return;
    }
    char payload[MODEL_VALUE_SIZE + 5] = "dump:";
    memcpy(payload + 5, stored->value, stored->len);
    model_reply_bulk(replies, payload, (size_t)stored->len + 5);
}

static void command_restore(struct model_node *node,
                            const struct command_list *commands,
                            int index,
                            struct reply_list *replies)
{
    int64_t ttl_ms = 0;
    size_t len = 0;
    const char *payload = commands_get(commands, index, 3, &len);
    int key = key_argument(node, commands, index, 1);
    bool is_replace = false;
    for (int arg = 4; arg < commands->commands[index].arg_count; arg++) {
        is_replace = is_replace || commands_arg_is(commands, index, arg, "replace");
    }
    if (!is_replace && model_node_get(node, key) != NULL) {
        model_reply_error(replies, "BUSYKEY Target key name already exists.");
    } else if (!model_number(commands, index, 2, &ttl_ms) || ttl_ms < 0) {
        model_reply_error(replies, "ERR Invalid TTL value, must be >= 0");
    } else if (len < 5 || len - 5 > MODEL_VALUE_SIZE || memcmp(payload, "dump:", 5) != 0) {
        model_reply_error(replies, "ERR DUMP payload version or checksum are wrong");
    } else {
        struct model_stored stored = {.len = (uint8_t)(len - 5), .weight_bytes = 64};
        memcpy(stored.value, payload + 5, len - 5);
        stored.expire_us = ttl_ms == 0 ? 0 : node->redis->schedule->now_us + ttl_ms * MS_US;
        model_node_put(node, key, &stored);
        model_reply_status(replies, "OK");
    }
}

static void command_memory(struct model_node *node,
                           const struct command_list *commands,
                           int index,
                           struct reply_list *replies)
{
    if (!commands_arg_is(commands, index, 1, "usage")) {
        model_reply_error(replies, "ERR unknown subcommand. Try MEMORY HELP.");
        return;
    }
    const struct model_stored *stored =
        model_node_get(node, key_argument(node, commands, index, 2));
    if (stored == NULL) {
        replies_add(replies);
        return;
    }
    model_reply_integer(replies, stored->weight_bytes);
}

static void command_config(struct model_node *node,
                           const struct command_list *commands,
                           int index,
                           struct reply_list *replies)
{
    bool *setting = commands_arg_is(commands, index, 2, "cluster-allow-replica-migration")
                        ? &node->may_migrate_replica
                    : commands_arg_is(commands, index, 2, "cluster-require-full-coverage")
                        ? &node->needs_full_coverage
                        : NULL;
    if (commands_arg_is(commands, index, 1, "set") && setting != NULL) {
        *setting = commands_arg_is(commands, index, 3, "yes");
        model_reply_status(replies, "OK");
        return;
    }
    size_t len = 0;
    const char *name = commands_get(commands, index, 2, &len);
    char timeout[24];
    snprintf(timeout, sizeof(timeout), "%lld", (long long)(node->redis->node_timeout_us / MS_US));
    const char *value = setting != NULL ? (*setting ? "yes" : "no")
                        : commands_arg_is(commands, index, 2, "cluster-node-timeout") ? timeout
                                                                                      : NULL;
    struct reply *reply = replies_add(replies);
    reply_set_array(replies, reply, value != NULL ? 2 : 0);
    if (value != NULL) {
        reply_set_text(replies, &reply->items[0], REPLY_STRING, name, len);
        reply_set_text(replies, &reply->items[1], REPLY_STRING, value, strlen(value));
    }
}

static void command_ping(struct model_node *node,
                         const struct command_list *commands,
                         int index,
                         struct reply_list *replies)
{
    (void)node;
    if (commands->commands[index].arg_count == 2) {
        size_t len = 0;
        const char *text = commands_get(commands, index, 1, &len);
        model_reply_bulk(replies, text, len);
        return;
    }
    model_reply_status(replies, "PONG");
}

enum key_use { KEYS_NONE, KEYS_FIRST, KEYS_ALL, KEYS_SECOND };

static const struct {
    const char *name;
    int arg_count_min;
    enum key_use keys;
    bool is_write;
    bool is_asking; /* as if ASKING came before */
    void (*run)(struct model_node *node,
                const struct command_list *commands,
                int index,
                struct reply_list *replies);
} COMMANDS[] = {
    {"ping", 1, KEYS_NONE, false, false, command_ping},
    {"get", 2, KEYS_FIRST, false, false, command_get},
    {"set", 3, KEYS_FIRST, true, false, command_set},
    {"cluster", 2, KEYS_NONE, false, false, model_cluster_command},
    {"mget", 2, KEYS_ALL, false, false, command_mget},
    {"del", 2, KEYS_ALL, true, false, command_del},
    {"unlink", 2, KEYS_ALL, true, false, command_del},
    {"exists", 2, KEYS_ALL, false, false, command_exists},
    {"pttl", 2, KEYS_FIRST, false, false, command_pttl},
    {"dump", 2, KEYS_FIRST, false, false, command_dump},
    {"restore", 4, KEYS_FIRST, true, false, command_restore},
    {"restore-asking", 4, KEYS_FIRST, true, true, command_restore},
    {"memory", 3, KEYS_SECOND, false, false, command_memory},
    {"config", 3, KEYS_NONE, false, false, command_config},
    {"time", 1, KEYS_NONE, false, false, model_command_time},
    {"eval", 3, KEYS_NONE, false, false, model_command_eval},
};

/* Redirects of a command with keys, as Redis decides them; true when the command may run here. */
static bool may_serve(struct model_node *node,
                      const struct command_list *commands,
                      int index,
                      enum key_use use,
                      bool is_asking,
                      struct reply_list *replies)
{
    struct model_redis *redis = node->redis;
    int first = use == KEYS_SECOND ? 2 : 1;
    int last = use == KEYS_ALL ? commands->commands[index].arg_count - 1 : first;
    int first_key = key_argument(node, commands, index, first);
    int slot = redis->keys.keys[first_key].slot;
    int missing = 0;
    for (int arg = first; arg <= last; arg++) {
        int key = key_argument(node, commands, index, arg);
        if (redis->keys.keys[key].slot != slot) {
            model_reply_error(replies, "CROSSSLOT Keys in request don't hash to the same slot");
            return false;
        }
        missing += model_node_get(node, key) == NULL;
    }
    int owner = node->owner[slot];
    if (!node->is_state_ok || owner == MODEL_NONE) {
        redis->clusterdown_count++;
        model_reply_error(replies, owner == MODEL_NONE && node->is_state_ok
                                       ? "CLUSTERDOWN Hash slot not served"
                                       : "CLUSTERDOWN The cluster is down");
        return false;
    }
    int to = node->migrating_to[slot];
    if (owner == node->index && to != MODEL_NONE && missing > 0) {
        bool is_split = missing < last - first + 1;
        if (is_split) {
            redis->tryagain_count++;
            model_reply_error(replies, "TRYAGAIN Multiple keys request during rehashing of slot");
        } else {
            redis->ask_count++;
            model_reply_error(replies, "ASK %d %s:%u", slot, redis->nodes[to]->address.host,
                              (unsigned)redis->nodes[to]->address.port);
        }
        return false;
    }
    if (owner != node->index && node->importing_from[slot] != MODEL_NONE && is_asking) {
        if (missing > 0 && last > first) {
            redis->tryagain_count++;
            model_reply_error(replies, "TRYAGAIN Multiple keys request during rehashing of slot");
            return false;
        }
        return true;
    }
    if (owner == node->index) {
        return true;
    }
    redis->moved_count++;
    model_reply_error(replies, "MOVED %d %s:%u", slot, redis->nodes[owner]->address.host,
                      (unsigned)redis->nodes[owner]->address.port);
    return false;
}

static bool execute_flag(struct model_pipeline *pipeline, int index)
{
    if (commands_arg_is(&pipeline->commands, index, 0, "asking")) {
        pipeline->session->is_asking = true;
    } else if (commands_arg_is(&pipeline->commands, index, 0, "readonly")) {
        pipeline->session->is_readonly = true;
    } else if (commands_arg_is(&pipeline->commands, index, 0, "readwrite")) {
        pipeline->session->is_readonly = false;
    } else if (!commands_arg_is(&pipeline->commands, index, 0, "auth") &&
               !commands_arg_is(&pipeline->commands, index, 0, "client")) {
        return false;
    }
    model_reply_status(&pipeline->replies, "OK");
    return true;
}

enum model_verdict model_node_execute(struct model_node *node, struct model_pipeline *pipeline)
{
    const struct command_list *commands = &pipeline->commands;
    struct reply_list *replies = &pipeline->replies;
    int index = pipeline->next;
    if (execute_flag(pipeline, index)) {
        return VERDICT_DONE;
    }
    bool is_asking = pipeline->session->is_asking;
    pipeline->session->is_asking = false;
    if (commands_arg_is(commands, index, 0, "migrate")) {
        return model_migrate_start(node, pipeline);
    }
    if (commands_arg_is(commands, index, 0, "info")) {
        command_info(node, replies);
        return VERDICT_DONE;
    }
    if (commands_arg_is(commands, index, 0, "role")) {
        command_role(node, replies);
        return VERDICT_DONE;
    }
    for (size_t i = 0; i < sizeof(COMMANDS) / sizeof(COMMANDS[0]); i++) {
        if (!commands_arg_is(commands, index, 0, COMMANDS[i].name)) {
            continue;
        }
        if (commands->commands[index].arg_count < COMMANDS[i].arg_count_min) {
            model_reply_error(replies, "ERR wrong number of arguments for '%s' command",
                              COMMANDS[i].name);
        } else if (COMMANDS[i].keys == KEYS_NONE ||
                   may_serve(node, commands, index, COMMANDS[i].keys,
                             is_asking || COMMANDS[i].is_asking, replies)) {
            COMMANDS[i].run(node, commands, index, replies);
        }
        return VERDICT_DONE;
    }
    if (node->redis->hooks.unknown_command != NULL) {
        node->redis->hooks.unknown_command(node->redis->hooks.owner, commands, index);
    }
    size_t len = 0;
    const char *name = commands_get(commands, index, 0, &len);
    model_reply_error(replies, "ERR unknown command '%.*s'", (int)len, name);
    return VERDICT_DONE;
}
