/* model_gossip.c — the cluster bus of the model: pings, claims of slots, updates, epoch collisions.
 * See model_redis.h.
 *
 * Source of the rules: Redis cluster specification; redis-server 7.0.15 (clusterProcessPacket,
 * clusterUpdateSlotsConfigWith, clusterHandleConfigEpochCollision). */
#include "tests/sim/model_redis.h"

#include "common/base/alloc.h"
#include "common/base/check.h"

#include <stdlib.h>
#include <string.h>

static void arrive(struct happening *what)
{
    struct model_node *node = what->owner;
    if (!node->is_up || what->tag != node->process) {
        return;
    }
    struct model_bus_message *message = what->data;
    what->data = NULL;
    model_node_enqueue(node, &(struct model_work){.kind = WORK_BUS, .bus = message});
}

void model_bus_fill(struct model_node *node,
                    struct model_bus_message *message,
                    enum model_bus_kind kind)
{
    int primary = model_node_primary(node);
    const struct model_peer *claimant = &node->peers[primary == MODEL_NONE ? node->index : primary];
    *message = (struct model_bus_message){
        .kind = kind,
        .from = node->index,
        .is_primary = model_node_is_primary(node),
        .primary = primary,
        .current_epoch = node->current_epoch,
        .config_epoch = claimant->config_epoch,
        .offset = node->offset,
        .about = MODEL_NONE,
        .slots = claimant->slots,
    };
    for (int i = 0; i < node->redis->node_count; i++) {
        message->known |= node->peers[i].is_known ? UINT32_C(1) << i : 0;
        message->down |= node->peers[i].is_pfail || node->peers[i].is_fail ? UINT32_C(1) << i : 0;
    }
}

/* A stream between two nodes: what was sent while the way is cut is gone, since the link is then
 * dropped. */
void model_bus_send(struct model_node *node, int to, struct model_bus_message *message)
{
    struct model_redis *redis = node->redis;
    struct model_node *target = redis->nodes[to];
    int64_t delay_us = network_stream_delay_us(redis->network, node->place, target->place);
    if (delay_us < 0 || !target->is_up) {
        return;
    }
    schedule_add(redis->schedule, delay_us,
                 &(struct happening){.run = arrive,
                                     .release = free,
                                     .owner = target,
                                     .data = xmemdup(message, sizeof(*message)),
                                     .tag = target->process});
}

void model_gossip_broadcast(struct model_node *node)
{
    struct model_bus_message message;
    model_bus_fill(node, &message, BUS_PONG);
    for (int i = 0; i < node->redis->node_count; i++) {
        if (i != node->index && node->peers[i].is_known) {
            model_bus_send(node, i, &message);
        }
    }
}

static void ping(struct model_node *node, int to)
{
    struct model_bus_message message;
    model_bus_fill(node, &message, BUS_PING);
    if (node->peers[to].ping_sent_us == 0) {
        node->peers[to].ping_sent_us = node->redis->schedule->now_us;
    }
    model_bus_send(node, to, &message);
}

static void cron(struct happening *what)
{
    struct model_node *node = what->owner;
    struct model_redis *redis = node->redis;
    if (!node->is_up || what->tag != node->process) {
        return;
    }
    schedule_add(redis->schedule, redis->gossip_us,
                 &(struct happening){.run = cron, .owner = node, .tag = node->process});
    if (node->is_paused || node->transfer != 0) {
        return; /* the event loop does not turn */
    }
    int64_t now_us = redis->schedule->now_us;
    int random = (int)prng_below(&redis->prng, (uint64_t)redis->node_count);
    for (int i = 0; i < redis->node_count; i++) {
        struct model_peer *peer = &node->peers[i];
        if (i == node->index || !peer->is_known) {
            continue;
        }
        bool is_old =
            peer->ping_sent_us == 0 && now_us - peer->heard_us > redis->node_timeout_us / 2;
        bool is_lost =
            peer->ping_sent_us != 0 && now_us - peer->ping_sent_us > redis->node_timeout_us / 4;
        if ((i == random && peer->ping_sent_us == 0) || is_old || is_lost) {
            ping(node, i);
        }
    }
    model_election_cron(node);
    model_replication_cron(node);
    model_view_update_state(node);
}

void model_gossip_start(struct model_node *node)
{
    int64_t first_us = (int64_t)prng_below(&node->redis->prng, (uint64_t)node->redis->gossip_us);
    schedule_add(node->redis->schedule, first_us,
                 &(struct happening){.run = cron, .owner = node, .tag = node->process});
}

void model_node_set_primary(struct model_node *node, int primary)
{
    struct model_peer *myself = &node->peers[node->index];
    CHECK(primary != node->index);
    if (!myself->is_primary && myself->primary == primary) {
        return;
    }
    bool was_primary = myself->is_primary;
    model_node_note(node, "becomes replica of %.8s", node->redis->nodes[primary]->id.text);
    if (was_primary) {
        for (int slot = 0; slot < SLOT_COUNT; slot++) {
            model_view_set_migrating(node, slot, MODEL_NONE);
            model_view_set_importing(node, slot, MODEL_NONE);
        }
    }
    myself->is_primary = false;
    myself->primary = primary;
    node->election_us = 0;
    model_replication_forget(node);
    if (was_primary && node->redis->hooks.demoted != NULL) {
        node->redis->hooks.demoted(node->redis->hooks.owner, node, primary);
    }
    node->is_pong_due = true;
}

/* 'sender' claims 'slots' under 'epoch': believe what is newer than what we know. */
static void take_claims(struct model_node *node,
                        int sender,
                        uint64_t epoch,
                        const struct slotset *slots)
{
    int primary = model_node_primary(node);
    int mine = primary == MODEL_NONE ? node->index : primary;
    if (sender == node->index) {
        return;
    }
    struct slotset was_unclaimed = node->unclaimed;
    if (node->has_unclaimed) {
        struct slotset confirmed = *slots;
        slotset_intersect(&confirmed, &node->peers[sender].slots);
        slotset_subtract(&node->unclaimed, &confirmed);
        was_unclaimed = node->unclaimed;
        node->has_unclaimed = !slotset_is_empty(&node->unclaimed);
    }
    if (slotset_is_equal(slots, &node->peers[sender].slots)) {
        return; /* nearly always */
    }
    struct slotset given_up = node->peers[sender].slots;
    slotset_subtract(&given_up, slots);
    struct slotset news = *slots;
    slotset_subtract(&news, &node->peers[sender].slots);
    struct slotset dirty = {0};
    int lost_by_mine = 0;
    SLOTSET_FOREACH (slot, &news) {
        int owner = node->owner[slot];
        if (node->importing_from[slot] != MODEL_NONE) {
            continue; /* finding 4 of the facts: an importing node is deaf to claims */
        }
        if (owner != MODEL_NONE && node->peers[owner].config_epoch >= epoch &&
            !slotset_has(&was_unclaimed, slot)) {
            continue;
        }
        if (owner == node->index && node->key_counts[slot] > 0) {
            slotset_add(&dirty, slot);
        }
        lost_by_mine += owner == mine;
        model_view_set_owner(node, slot, sender);
    }
    slotset_union(&node->unclaimed, &given_up);
    node->has_unclaimed = !slotset_is_empty(&node->unclaimed);
    bool is_replaced = lost_by_mine > 0 && node->peers[mine].slot_count == 0 &&
                       (node->may_migrate_replica || slotset_count(slots) == lost_by_mine);
    if (is_replaced) {
        model_node_set_primary(node, sender);
        return;
    }
    SLOTSET_FOREACH (slot, &dirty) {
        node->redis->dirty_count++;
        model_node_note(node, "deletes %d keys of slot %d, which %.8s claims",
                        node->key_counts[slot], slot, node->redis->nodes[sender]->id.text);
        model_node_remove_slot(node, slot, REMOVED_FOREIGN);
    }
}

/* The sender claims slots whose owner we know under a higher epoch: tell it. */
static void send_update(struct model_node *node,
                        int sender,
                        uint64_t epoch,
                        const struct slotset *slots)
{
    if (slotset_is_equal(slots, &node->peers[sender].slots)) {
        return;
    }
    struct slotset stale = *slots;
    slotset_subtract(&stale, &node->peers[sender].slots);
    SLOTSET_FOREACH (slot, &stale) {
        int owner = node->owner[slot];
        if (owner == MODEL_NONE || owner == sender || node->peers[owner].config_epoch <= epoch ||
            slotset_has(&node->unclaimed, slot)) {
            continue;
        }
        struct model_bus_message message;
        model_bus_fill(node, &message, BUS_UPDATE);
        message.about = owner;
        message.config_epoch = node->peers[owner].config_epoch;
        message.slots = node->peers[owner].slots;
        model_bus_send(node, sender, &message);
        return;
    }
}

static void take_role(struct model_node *node, const struct model_bus_message *message)
{
    struct model_peer *peer = &node->peers[message->from];
    if (message->is_primary) {
        peer->is_primary = true;
        peer->primary = MODEL_NONE;
        return;
    }
    if (peer->is_primary && peer->slot_count > 0) {
        for (int slot = 0; slot < SLOT_COUNT; slot++) {
            if (node->owner[slot] == message->from) {
                model_view_set_owner(node, slot, MODEL_NONE);
            }
        }
    }
    peer->is_primary = false;
    peer->primary = message->primary;
}

static void resolve_collision(struct model_node *node, const struct model_bus_message *message)
{
    struct model_peer *myself = &node->peers[node->index];
    if (!message->is_primary || !myself->is_primary ||
        message->config_epoch != myself->config_epoch ||
        node_id_compare(&node->redis->nodes[message->from]->id, &node->id) <= 0) {
        return;
    }
    node->redis->collision_count++;
    node->current_epoch++;
    myself->config_epoch = node->current_epoch;
    model_node_note(node, "takes config epoch %llu after a collision",
                    (unsigned long long)node->current_epoch);
}

/* A replica whose primary turned out to be a replica itself follows the chain. */
static void follow_primary(struct model_node *node)
{
    int primary = model_node_primary(node);
    if (primary == MODEL_NONE || node->peers[primary].is_primary) {
        return;
    }
    int above = node->peers[primary].primary;
    if (above != MODEL_NONE && above != node->index) {
        model_node_set_primary(node, above);
    }
}

static void handle_heartbeat(struct model_node *node, const struct model_bus_message *message)
{
    struct model_peer *peer = &node->peers[message->from];
    take_role(node, message);
    int claimant = message->is_primary ? message->from : message->primary;
    if (claimant != MODEL_NONE && message->is_primary) {
        if (message->config_epoch > peer->config_epoch) {
            peer->config_epoch = message->config_epoch;
        }
        take_claims(node, claimant, message->config_epoch, &message->slots);
    }
    if (claimant != MODEL_NONE && claimant != node->index) {
        send_update(node, claimant, message->config_epoch, &message->slots);
    }
    resolve_collision(node, message);
    follow_primary(node);
    model_election_report(node, message);
    if (message->kind == BUS_PING) {
        struct model_bus_message answer;
        model_bus_fill(node, &answer, BUS_PONG);
        model_bus_send(node, message->from, &answer);
    } else {
        peer->ping_sent_us = 0;
    }
}

static void handle_update(struct model_node *node, const struct model_bus_message *message)
{
    struct model_peer *about = &node->peers[message->about];
    if (about->config_epoch >= message->config_epoch || message->about == node->index) {
        return;
    }
    if (!about->is_primary) {
        about->is_primary = true;
        about->primary = MODEL_NONE;
    }
    about->config_epoch = message->config_epoch;
    take_claims(node, message->about, message->config_epoch, &message->slots);
}

void model_gossip_handle(struct model_node *node, const struct model_bus_message *message)
{
    struct model_peer *peer = &node->peers[message->from];
    int64_t now_us = node->redis->schedule->now_us;
    if (!peer->is_known) {
        return;
    }
    peer->heard_us = now_us;
    peer->offset = message->offset;
    if (message->current_epoch > node->current_epoch) {
        node->current_epoch = message->current_epoch;
    }
    switch (message->kind) {
    case BUS_PING:
    case BUS_PONG:
        handle_heartbeat(node, message);
        break;
    case BUS_UPDATE:
        handle_update(node, message);
        break;
    case BUS_FAIL:
    case BUS_AUTH_REQUEST:
    case BUS_AUTH_ACK:
        model_election_handle(node, message);
        break;
    }
    model_view_update_state(node);
}
