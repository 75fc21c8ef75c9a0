/* model_election.c — who is down, and which replica takes over. See model_redis.h.
 *
 * Source of the rules: Redis cluster specification, "Failure detection" and "Replica election and
 * promotion". */
#include "tests/sim/model_redis.h"

#include <string.h>

static bool is_voter(const struct model_node *node, int index)
{
    const struct model_peer *peer = &node->peers[index];
    return peer->is_known && peer->is_primary && peer->slot_count > 0;
}

static int quorum(const struct model_node *node)
{
    int size = 0;
    for (int i = 0; i < node->redis->node_count; i++) {
        size += is_voter(node, i);
    }
    return size / 2 + 1;
}

static void mark_fail(struct model_node *node, int index)
{
    struct model_peer *peer = &node->peers[index];
    peer->is_pfail = false;
    peer->is_fail = true;
    peer->fail_since_us = node->redis->schedule->now_us;
    model_node_note(node, "holds %.8s to be down", node->redis->nodes[index]->id.text);
}

static void fail_if_agreed(struct model_node *node, int index)
{
    struct model_peer *peer = &node->peers[index];
    if (!peer->is_pfail || peer->is_fail) {
        return;
    }
    int64_t now_us = node->redis->schedule->now_us;
    int votes = is_voter(node, node->index);
    for (int i = 0; i < node->redis->node_count; i++) {
        bool is_fresh = peer->reported_us[i] != 0 &&
                        now_us - peer->reported_us[i] <= 2 * node->redis->node_timeout_us;
        votes += i != node->index && is_fresh && is_voter(node, i);
    }
    if (votes < quorum(node)) {
        return;
    }
    mark_fail(node, index);
    struct model_bus_message message;
    model_bus_fill(node, &message, BUS_FAIL);
    message.about = index;
    for (int i = 0; i < node->redis->node_count; i++) {
        if (i != node->index && node->peers[i].is_known) {
            model_bus_send(node, i, &message);
        }
    }
}

/* What others say about who is down, and that the sender itself is alive. */
void model_election_report(struct model_node *node, const struct model_bus_message *message)
{
    int64_t now_us = node->redis->schedule->now_us;
    struct model_peer *sender = &node->peers[message->from];
    if (message->kind == BUS_PONG) {
        sender->is_pfail = false;
        bool is_old = now_us - sender->fail_since_us > 2 * node->redis->node_timeout_us;
        if (sender->is_fail && (!sender->is_primary || sender->slot_count == 0 || is_old)) {
            sender->is_fail = false;
            model_node_note(node, "holds %.8s to be up again",
                            node->redis->nodes[message->from]->id.text);
        }
    }
    if (!is_voter(node, message->from)) {
        return;
    }
    for (int i = 0; i < node->redis->node_count; i++) {
        if (i == node->index || i == message->from || !(message->known >> i & 1)) {
            continue;
        }
        bool is_down = message->down >> i & 1;
        node->peers[i].reported_us[message->from] = is_down ? now_us : 0;
        if (is_down) {
            fail_if_agreed(node, i);
        }
    }
}

static void suspect(struct model_node *node)
{
    int64_t now_us = node->redis->schedule->now_us;
    for (int i = 0; i < node->redis->node_count; i++) {
        struct model_peer *peer = &node->peers[i];
        if (i == node->index || !peer->is_known || peer->is_pfail || peer->is_fail ||
            peer->ping_sent_us == 0) {
            continue;
        }
        int64_t since_us =
            peer->ping_sent_us > peer->heard_us ? peer->ping_sent_us : peer->heard_us;
        if (now_us - since_us > node->redis->node_timeout_us) {
            peer->is_pfail = true;
            fail_if_agreed(node, i);
        }
    }
}

/* How many better replicas of the same primary there are. */
static int rank_of(const struct model_node *node, int primary)
{
    int rank = 0;
    for (int i = 0; i < node->redis->node_count; i++) {
        const struct model_peer *peer = &node->peers[i];
        rank += i != node->index && peer->is_known && !peer->is_primary &&
                peer->primary == primary && peer->offset > node->offset;
    }
    return rank;
}

static bool is_data_fresh(const struct model_node *node)
{
    int64_t age_us =
        node->is_link_up ? 0 : node->redis->schedule->now_us - node->link_down_since_us;
    return node->sync_due_us == 0 && node->link_down_since_us >= 0 &&
           age_us < 10 * node->redis->node_timeout_us + 10 * SECOND_US;
}

static void ask_for_votes(struct model_node *node)
{
    node->is_election_asked = true;
    node->current_epoch++;
    node->election_epoch = node->current_epoch;
    node->votes = 0;
    struct model_bus_message message;
    model_bus_fill(node, &message, BUS_AUTH_REQUEST);
    for (int i = 0; i < node->redis->node_count; i++) {
        if (i != node->index && node->peers[i].is_known) {
            model_bus_send(node, i, &message);
        }
    }
}

static void promote(struct model_node *node)
{
    struct model_peer *myself = &node->peers[node->index];
    int old = myself->primary;
    node->election_us = 0;
    node->is_election_asked = false;
    myself->is_primary = true;
    myself->primary = MODEL_NONE;
    if (myself->config_epoch < node->election_epoch) {
        myself->config_epoch = node->election_epoch;
    }
    struct slotset slots = node->peers[old].slots;
    SLOTSET_FOREACH (slot, &slots) {
        model_view_set_owner(node, slot, node->index);
    }
    node->sync_due_us = 0;
    node->change_count = 0;
    node->change_base = node->offset;
    node->redis->failover_count++;
    model_node_note(node, "is promoted in place of %.8s", node->redis->nodes[old]->id.text);
    if (node->redis->hooks.promoted != NULL) {
        node->redis->hooks.promoted(node->redis->hooks.owner, node);
    }
    model_view_update_state(node);
    model_gossip_broadcast(node);
}

static void run_for_primary(struct model_node *node)
{
    int primary = model_node_primary(node);
    int64_t now_us = node->redis->schedule->now_us;
    if (primary == MODEL_NONE || !node->peers[primary].is_fail ||
        node->peers[primary].slot_count == 0 || !is_data_fresh(node)) {
        node->election_us = 0;
        return;
    }
    int64_t timeout_us = 2 * node->redis->node_timeout_us < 2 * SECOND_US
                             ? 2 * SECOND_US
                             : 2 * node->redis->node_timeout_us;
    if (node->election_us == 0 || now_us - node->election_us > 2 * timeout_us) {
        node->election_us = now_us + 500 * MS_US + prng_range(&node->redis->prng, 0, 500) * MS_US +
                            rank_of(node, primary) * SECOND_US;
        node->is_election_asked = false;
        return;
    }
    if (!node->is_election_asked && now_us >= node->election_us) {
        ask_for_votes(node);
    }
}

void model_election_cron(struct model_node *node)
{
    suspect(node);
    run_for_primary(node);
}

static void vote(struct model_node *node, const struct model_bus_message *message)
{
    const struct model_peer *candidate = &node->peers[message->from];
    int64_t now_us = node->redis->schedule->now_us;
    if (!is_voter(node, node->index) || message->current_epoch < node->current_epoch ||
        node->last_vote_epoch == node->current_epoch || candidate->is_primary ||
        candidate->primary == MODEL_NONE) {
        return;
    }
    struct model_peer *primary = &node->peers[candidate->primary];
    bool has_voted =
        primary->voted_us != 0 && now_us - primary->voted_us < 2 * node->redis->node_timeout_us;
    if (!primary->is_fail || has_voted) {
        return;
    }
    SLOTSET_FOREACH (slot, &message->slots) {
        int owner = node->owner[slot];
        if (owner != MODEL_NONE && node->peers[owner].config_epoch > message->config_epoch) {
            return;
        }
    }
    node->last_vote_epoch = node->current_epoch;
    primary->voted_us = now_us;
    struct model_bus_message answer;
    model_bus_fill(node, &answer, BUS_AUTH_ACK);
    model_bus_send(node, message->from, &answer);
}

static void count_vote(struct model_node *node, const struct model_bus_message *message)
{
    if (model_node_is_primary(node) || !node->is_election_asked || !is_voter(node, message->from) ||
        message->current_epoch < node->election_epoch) {
        return;
    }
    node->votes |= UINT32_C(1) << message->from;
    int count = 0;
    for (int i = 0; i < node->redis->node_count; i++) {
        count += (node->votes >> i & 1) != 0;
    }
    if (count >= quorum(node)) {
        promote(node);
    }
}

void model_election_handle(struct model_node *node, const struct model_bus_message *message)
{
    if (message->kind == BUS_FAIL) {
        if (message->about != node->index && !node->peers[message->about].is_fail) {
            mark_fail(node, message->about);
        }
    } else if (message->kind == BUS_AUTH_REQUEST) {
        vote(node, message);
    } else if (message->kind == BUS_AUTH_ACK) {
        count_vote(node, message);
    }
}
