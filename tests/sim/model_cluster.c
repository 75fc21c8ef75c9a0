/* model_cluster.c — one model node's view of the cluster, and the CLUSTER commands. See
 * model_redis.h.
 *
 * Source of the rules: redis-server 7.0.15, checked by tests/sim/conformance. */
#include "tests/sim/model_redis.h"

#include "common/base/crc16.h"

#include <stdio.h>
#include <string.h>

#define WRITABLE_DELAY_US (2 * SECOND_US)
#define REJOIN_DELAY_US_MIN (500 * MS_US)
#define REJOIN_DELAY_US_MAX (5 * SECOND_US)

bool model_node_is_primary(const struct model_node *node)
{
    return node->peers[node->index].is_primary;
}

int model_node_primary(const struct model_node *node)
{
    return model_node_is_primary(node) ? MODEL_NONE : node->peers[node->index].primary;
}

void model_view_set_owner(struct model_node *node, int slot, int owner)
{
    int old = node->owner[slot];
    if (node->has_unclaimed) {
        slotset_remove(&node->unclaimed, slot);
    }
    if (old != MODEL_NONE) {
        slotset_remove(&node->peers[old].slots, slot);
        strbuf_clear(&node->peers[old].slots_text);
        node->peers[old].slot_count--;
    }
    node->owner[slot] = (int8_t)owner;
    if (owner != MODEL_NONE) {
        slotset_add(&node->peers[owner].slots, slot);
        strbuf_clear(&node->peers[owner].slots_text);
        node->peers[owner].slot_count++;
    }
}

void model_view_set_migrating(struct model_node *node, int slot, int peer)
{
    node->migrating_count += (peer != MODEL_NONE) - (node->migrating_to[slot] != MODEL_NONE);
    node->migrating_to[slot] = (int8_t)peer;
}

void model_view_set_importing(struct model_node *node, int slot, int peer)
{
    node->importing_count += (peer != MODEL_NONE) - (node->importing_from[slot] != MODEL_NONE);
    node->importing_from[slot] = (int8_t)peer;
}

void model_view_update_state(struct model_node *node)
{
    int64_t now_us = node->redis->schedule->now_us;
    bool is_primary = model_node_is_primary(node);
    if (is_primary && !node->is_state_ok && now_us - node->started_us < WRITABLE_DELAY_US) {
        return;
    }
    int assigned = 0;
    int size = 0;
    int reachable = 0;
    bool is_failed_owner = false;
    for (int i = 0; i < MODEL_NODES_MAX; i++) {
        const struct model_peer *peer = &node->peers[i];
        if (!peer->is_known || peer->slot_count == 0) {
            continue;
        }
        assigned += peer->slot_count;
        is_failed_owner = is_failed_owner || peer->is_fail;
        size++;
        reachable += !peer->is_fail && !peer->is_pfail;
    }
    bool is_ok = !node->needs_full_coverage || (assigned == SLOT_COUNT && !is_failed_owner);
    if (reachable < size / 2 + 1) {
        is_ok = false;
        node->minority_since_us = now_us;
    }
    if (is_ok == node->is_state_ok) {
        return;
    }
    int64_t delay_us = node->redis->node_timeout_us;
    delay_us = delay_us < REJOIN_DELAY_US_MIN ? REJOIN_DELAY_US_MIN : delay_us;
    delay_us = delay_us > REJOIN_DELAY_US_MAX ? REJOIN_DELAY_US_MAX : delay_us;
    bool was_cut_off = node->minority_since_us != 0;
    if (is_ok && is_primary && was_cut_off && now_us - node->minority_since_us < delay_us) {
        return;
    }
    node->is_state_ok = is_ok;
    node->not_ok_since_us = now_us;
    model_node_note(node, "cluster_state:%s", is_ok ? "ok" : "fail");
}

bool model_view_bump_epoch(struct model_node *node)
{
    uint64_t highest = node->current_epoch;
    for (int i = 0; i < MODEL_NODES_MAX; i++) {
        if (node->peers[i].is_known && node->peers[i].config_epoch > highest) {
            highest = node->peers[i].config_epoch;
        }
    }
    struct model_peer *myself = &node->peers[node->index];
    if (myself->config_epoch != 0 && myself->config_epoch == highest) {
        return false;
    }
    node->current_epoch = highest + 1;
    myself->config_epoch = node->current_epoch;
    return true;
}

static void format_ranges(const struct slotset *slots, struct strbuf *out)
{
    for (int slot = slotset_next(slots, 0); slot != SLOT_NONE;) {
        int end = slotset_run_end(slots, slot);
        if (end == slot) {
            strbuf_addf(out, " %d", slot);
        } else {
            strbuf_addf(out, " %d-%d", slot, end);
        }
        slot = slotset_next(slots, end + 1);
    }
}

static void format_slots(struct model_node *node, int index, struct strbuf *out)
{
    struct model_peer *peer = &node->peers[index];
    if (peer->slots_text.len == 0) {
        format_ranges(&peer->slots, &peer->slots_text);
    }
    strbuf_add(out, strbuf_text(&peer->slots_text), peer->slots_text.len);
    if (index != node->index || node->migrating_count + node->importing_count == 0) {
        return;
    }
    for (int slot = 0; slot < SLOT_COUNT; slot++) {
        if (node->migrating_to[slot] != MODEL_NONE) {
            strbuf_addf(out, " [%d->-%s]", slot,
                        node->redis->nodes[node->migrating_to[slot]]->id.text);
        } else if (node->importing_from[slot] != MODEL_NONE) {
            strbuf_addf(out, " [%d-<-%s]", slot,
                        node->redis->nodes[node->importing_from[slot]]->id.text);
        }
    }
}

static void format_row(struct model_node *node, int index, struct strbuf *out)
{
    const struct model_peer *peer = &node->peers[index];
    const struct model_node *other = node->redis->nodes[index];
    bool is_self = index == node->index;
    bool has_primary = !peer->is_primary && peer->primary != MODEL_NONE;
    uint64_t epoch = has_primary ? node->peers[peer->primary].config_epoch : peer->config_epoch;
    bool is_connected = is_self || (other->is_up && !peer->is_pfail && !peer->is_fail);
    strbuf_addf(out, "%s %s:%u@%u %s%s%s %s %lld %lld %llu %s", other->id.text, other->address.host,
                (unsigned)other->address.port, (unsigned)other->address.port + 10000U,
                is_self ? "myself," : "", peer->is_primary ? "master" : "slave",
                peer->is_fail    ? ",fail"
                : peer->is_pfail ? ",fail?"
                                 : "",
                has_primary ? node->redis->nodes[peer->primary]->id.text : "-",
                (long long)(is_self ? 0 : peer->ping_sent_us / MS_US),
                (long long)(is_self ? 0 : peer->heard_us / MS_US), (unsigned long long)epoch,
                is_connected ? "connected" : "disconnected");
    format_slots(node, index, out);
    strbuf_add_char(out, '\n');
}

void model_view_format(struct model_node *node, struct strbuf *out)
{
    for (int i = 0; i < node->redis->node_count; i++) {
        if (node->peers[i].is_known) {
            format_row(node, i, out);
        }
    }
}

static void command_info(struct model_node *node, struct reply_list *replies)
{
    int assigned = 0;
    int pfail = 0;
    int fail = 0;
    int size = 0;
    int known = 0;
    for (int i = 0; i < MODEL_NODES_MAX; i++) {
        const struct model_peer *peer = &node->peers[i];
        known += peer->is_known;
        if (!peer->is_known || peer->slot_count == 0) {
            continue;
        }
        size++;
        assigned += peer->slot_count;
        fail += peer->is_fail ? peer->slot_count : 0;
        pfail += peer->is_pfail && !peer->is_fail ? peer->slot_count : 0;
    }
    int primary = model_node_primary(node);
    uint64_t epoch = node->peers[primary == MODEL_NONE ? node->index : primary].config_epoch;
    struct strbuf text = {0};
    strbuf_addf(&text,
                "cluster_state:%s\r\ncluster_slots_assigned:%d\r\ncluster_slots_ok:%d\r\ncluster_"
                "slots_pfail:%d\r\n"
                "cluster_slots_fail:%d\r\ncluster_known_nodes:%d\r\ncluster_size:%d\r\ncluster_"
                "current_epoch:%llu\r\n"
                "cluster_my_epoch:%llu\r\n",
                node->is_state_ok ? "ok" : "fail", assigned, assigned - fail - pfail, pfail, fail,
                known, size, (unsigned long long)node->current_epoch, (unsigned long long)epoch);
    model_reply_bulk(replies, text.data, text.len);
    strbuf_release(&text);
}

static int find_id(const struct model_node *node,
                   const struct command_list *commands,
                   int index,
                   int arg)
{
    size_t len = 0;
    const char *text = commands_get(commands, index, arg, &len);
    for (int i = 0; i < node->redis->node_count; i++) {
        if (node->peers[i].is_known && len == NODE_ID_LEN &&
            memcmp(node->redis->nodes[i]->id.text, text, len) == 0) {
            return i;
        }
    }
    return MODEL_NONE;
}

static bool slot_argument(const struct command_list *commands, int index, int arg, int *slot)
{
    int64_t number = 0;
    if (!model_number(commands, index, arg, &number) || number < 0 || number >= SLOT_COUNT) {
        return false;
    }
    *slot = (int)number;
    return true;
}

static void reply_unknown_node(const struct command_list *commands,
                               int index,
                               const char *what,
                               struct reply_list *replies)
{
    size_t len = 0;
    const char *text = commands_get(commands, index, 4, &len);
    model_reply_error(replies, "ERR %s %.*s", what, (int)len, text);
}

/* SETSLOT <slot> NODE <id>. The target makes no check at all: finding 1 of the facts. */
static void assign_slot(struct model_node *node, int slot, int owner, struct reply_list *replies)
{
    bool was_mine = node->owner[slot] == node->index;
    if (was_mine && owner != node->index && node->key_counts[slot] != 0) {
        model_reply_error(replies,
                          "ERR Can't assign hashslot %d to a different node while I still hold "
                          "keys for this hash "
                          "slot.",
                          slot);
        return;
    }
    if (owner == node->index && !was_mine && node->redis->hooks.claiming != NULL) {
        node->redis->hooks.claiming(node->redis->hooks.owner, node, slot);
    }
    if (node->key_counts[slot] == 0 && node->migrating_to[slot] != MODEL_NONE) {
        model_view_set_migrating(node, slot, MODEL_NONE);
    }
    model_view_set_owner(node, slot, owner);
    if (was_mine && owner != node->index && node->peers[node->index].slot_count == 0 &&
        node->may_migrate_replica) {
        model_node_set_primary(node, owner);
    }
    if (owner == node->index && node->importing_from[slot] != MODEL_NONE) {
        model_view_bump_epoch(node);
        model_view_set_importing(node, slot, MODEL_NONE);
        node->is_pong_due = true;
    }
    model_reply_status(replies, "OK");
}

/* MIGRATING and IMPORTING. */
static void open_slot(struct model_node *node,
                      const struct command_list *commands,
                      int index,
                      struct reply_list *replies)
{
    int slot = 0;
    (void)slot_argument(commands, index, 2, &slot);
    bool is_importing = commands_arg_is(commands, index, 3, "importing");
    bool is_mine = node->owner[slot] == node->index;
    if (!is_importing && !is_mine) {
        model_reply_error(replies, "ERR I'm not the owner of hash slot %d", slot);
        return;
    }
    if (is_importing && is_mine) {
        model_reply_error(replies, "ERR I'm already the owner of hash slot %d", slot);
        return;
    }
    int peer = find_id(node, commands, index, 4);
    if (peer == MODEL_NONE) {
        reply_unknown_node(commands, index, "I don't know about node", replies);
        return;
    }
    if (!node->peers[peer].is_primary) {
        model_reply_error(replies, "ERR Target node is not a master");
        return;
    }
    if (is_importing) {
        model_view_set_importing(node, slot, peer);
    } else {
        model_view_set_migrating(node, slot, peer);
    }
    model_reply_status(replies, "OK");
}

static void trace(struct model_node *node, int slot, const struct command_list *commands, int index)
{
    if (slot != node->redis->traced_slot) {
        return;
    }
    size_t len = 0;
    const char *what = commands_get(commands, index, 3, &len);
    int peer =
        commands->commands[index].arg_count == 5 ? find_id(node, commands, index, 4) : MODEL_NONE;
    model_node_note(node, "gets SETSLOT %d %.*s node%d; owner node%d, %d keys here", slot, (int)len,
                    what, peer, node->owner[slot], node->key_counts[slot]);
}

static void command_setslot(struct model_node *node,
                            const struct command_list *commands,
                            int index,
                            struct reply_list *replies)
{
    int slot = 0;
    int count = commands->commands[index].arg_count;
    if (!model_node_is_primary(node)) {
        model_reply_error(replies, "ERR Please use SETSLOT only with masters.");
        return;
    }
    if (!slot_argument(commands, index, 2, &slot)) {
        model_reply_error(replies, "ERR Invalid or out of range slot");
        return;
    }
    trace(node, slot, commands, index);
    bool is_open = commands_arg_is(commands, index, 3, "migrating") ||
                   commands_arg_is(commands, index, 3, "importing");
    if (is_open && count == 5) {
        open_slot(node, commands, index, replies);
    } else if (commands_arg_is(commands, index, 3, "stable") && count == 4) {
        model_view_set_migrating(node, slot, MODEL_NONE);
        model_view_set_importing(node, slot, MODEL_NONE);
        model_reply_status(replies, "OK");
    } else if (commands_arg_is(commands, index, 3, "node") && count == 5) {
        int owner = find_id(node, commands, index, 4);
        if (owner == MODEL_NONE) {
            reply_unknown_node(commands, index, "Unknown node", replies);
        } else if (!node->peers[owner].is_primary) {
            model_reply_error(replies, "ERR Target node is not a master");
        } else {
            assign_slot(node, slot, owner, replies);
        }
    } else {
        model_reply_error(
            replies, "ERR Invalid CLUSTER SETSLOT action or number of arguments. Try CLUSTER HELP");
    }
    model_view_update_state(node);
}

static void command_getkeys(struct model_node *node,
                            const struct command_list *commands,
                            int index,
                            struct reply_list *replies)
{
    int slot = 0;
    int64_t limit = 0;
    if (!slot_argument(commands, index, 2, &slot)) {
        model_reply_error(replies, "ERR Invalid slot or number of keys");
        return;
    }
    if (!model_number(commands, index, 3, &limit) || limit < 0) {
        model_reply_error(replies, "ERR Invalid slot or number of keys");
        return;
    }
    const struct model_keys *keys = &node->redis->keys;
    size_t count = node->key_counts[slot] < limit ? node->key_counts[slot] : (size_t)limit;
    struct reply *reply = replies_add(replies);
    reply_set_array(replies, reply, count);
    size_t filled = 0;
    for (int key = keys->first_in_slot[slot]; key != MODEL_NONE && filled < count;
         key = keys->keys[key].next_in_slot) {
        /* Expired keys that nobody touched are still listed and counted, as in Redis. */
        if (key < node->stored_capacity && node->stored[key].is_present) {
            reply_set_text(replies, &reply->items[filled++], REPLY_STRING, keys->keys[key].name,
                           keys->keys[key].len);
        }
    }
}

static void command_addslots(struct model_node *node,
                             const struct command_list *commands,
                             int index,
                             struct reply_list *replies)
{
    bool is_range = commands_arg_is(commands, index, 1, "addslotsrange");
    for (int arg = 2; arg < commands->commands[index].arg_count; arg += is_range ? 2 : 1) {
        int first = 0;
        int last = 0;
        if (!slot_argument(commands, index, arg, &first) ||
            !slot_argument(commands, index, is_range ? arg + 1 : arg, &last)) {
            model_reply_error(replies, "ERR Invalid or out of range slot");
            return;
        }
        for (int slot = first; slot <= last; slot++) {
            if (node->owner[slot] != MODEL_NONE) {
                model_reply_error(replies, "ERR Slot %d is already busy", slot);
                return;
            }
            model_view_set_owner(node, slot, node->index);
        }
    }
    model_view_update_state(node);
    model_reply_status(replies, "OK");
}

static void command_keyslot(const struct command_list *commands,
                            int index,
                            struct reply_list *replies)
{
    size_t len = 0;
    const char *name = commands_get(commands, index, 2, &len);
    model_reply_integer(replies, key_slot(name, len));
}

static void command_countkeys(struct model_node *node,
                              const struct command_list *commands,
                              int index,
                              struct reply_list *replies)
{
    int slot = 0;
    if (!slot_argument(commands, index, 2, &slot)) {
        model_reply_error(replies, "ERR Invalid slot");
        return;
    }
    model_reply_integer(replies, node->key_counts[slot]);
}

void model_cluster_command(struct model_node *node,
                           const struct command_list *commands,
                           int index,
                           struct reply_list *replies)
{
    int count = commands->commands[index].arg_count;
    if (commands_arg_is(commands, index, 1, "myid") && count == 2) {
        model_reply_bulk(replies, node->id.text, NODE_ID_LEN);
    } else if (commands_arg_is(commands, index, 1, "nodes") && count == 2) {
        struct strbuf text = {0};
        model_view_format(node, &text);
        model_reply_bulk(replies, text.data, text.len);
        strbuf_release(&text);
    } else if (commands_arg_is(commands, index, 1, "info") && count == 2) {
        command_info(node, replies);
    } else if (commands_arg_is(commands, index, 1, "setslot") && count >= 4) {
        command_setslot(node, commands, index, replies);
    } else if (commands_arg_is(commands, index, 1, "countkeysinslot") && count == 3) {
        command_countkeys(node, commands, index, replies);
    } else if (commands_arg_is(commands, index, 1, "getkeysinslot") && count == 4) {
        command_getkeys(node, commands, index, replies);
    } else if (commands_arg_is(commands, index, 1, "keyslot") && count == 3) {
        command_keyslot(commands, index, replies);
    } else if (commands_arg_is(commands, index, 1, "addslots") ||
               commands_arg_is(commands, index, 1, "addslotsrange")) {
        command_addslots(node, commands, index, replies);
    } else if (commands_arg_is(commands, index, 1, "bumpepoch") && count == 2) {
        bool is_bumped = model_view_bump_epoch(node);
        char text[40];
        snprintf(text, sizeof(text), "%s %llu", is_bumped ? "BUMPED" : "STILL",
                 (unsigned long long)node->peers[node->index].config_epoch);
        model_reply_status(replies, text);
    } else {
        size_t len = 0;
        const char *name = commands_get(commands, index, 1, &len);
        if (node->redis->hooks.unknown_command != NULL) {
            node->redis->hooks.unknown_command(node->redis->hooks.owner, commands, index);
        }
        model_reply_error(replies, "ERR unknown subcommand '%.*s'. Try CLUSTER HELP.", (int)len,
                          name);
    }
}
