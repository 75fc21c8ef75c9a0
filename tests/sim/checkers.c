/* checkers.c — see checkers.h. */
#include "tests/sim/checkers.h"

#include "common/base/check.h"

#include <string.h>

/* Two agents may work on one slot after another, never in turns: the fence and the orders' expiry
 * forbid it. */
#define TURNS_US (3 * SECOND_US)
/* How far back a fault of Redis explains a surprise: failover and resync take node timeout and
 * more. */
#define FAULT_ECHO_US (30 * SECOND_US)

static bool is_recently_disturbed(const struct world *world, int node)
{
    return world->disturbed_us[node] != 0 &&
           world->schedule.now_us - world->disturbed_us[node] < FAULT_ECHO_US;
}

/* Who really owns the slot: of those who believe to, the one with the highest config epoch. NULL =
 * nobody alive. */
static const struct model_node *true_owner(const struct world *world, int slot)
{
    const struct model_node *found = NULL;
    for (int i = 0; i < world->redis.node_count; i++) {
        const struct model_node *node = world->redis.nodes[i];
        bool is_owner = node->is_up && model_node_is_primary(node) && node->owner[slot] == i;
        if (is_owner && (found == NULL ||
                         node->peers[i].config_epoch > found->peers[found->index].config_epoch)) {
            found = node;
        }
    }
    return found;
}

/* I6: no claim while the owner still holds keys of the slot. */
static void see_claim(void *owner, struct model_node *node, int slot)
{
    struct world *world = owner;
    const struct model_node *other = true_owner(world, slot);
    coverage_add(world->coverage, SIGHT_SLOT_CLAIMED, 1);
    if (other != NULL && other != node && other->key_counts[slot] > 0 &&
        !is_recently_disturbed(world, other->index) && !is_recently_disturbed(world, node->index)) {
        world_violated(world, "I6: node %d claims slot %d while node %d holds %d keys of it",
                       node->index, slot, other->index, other->key_counts[slot]);
    }
}

static void see_stored(void *owner,
                       struct model_node *node,
                       int key,
                       const struct model_stored *stored)
{
    struct world *world = owner;
    if (key == world->traced_key) {
        world_note(world, "node%d stores key %d: %.*s", node->index, key, (int)stored->len,
                   stored->value);
    }
    if (world->client_keys[key] != NULL) {
        world->client_keys[key]->holders |= UINT32_C(1) << node->index;
    }
}

static const char *removal_text(enum model_removal why)
{
    switch (why) {
    case REMOVED_BY_CLIENT:
        return "deleted";
    case REMOVED_MOVED:
        return "moved";
    case REMOVED_FOREIGN:
        return "of a slot that another node claims";
    case REMOVED_EXPIRED:
        return "expired";
    case REMOVED_RESYNC:
        return "before copying anew";
    case REMOVED_LOST:
        return "crash";
    }
    return "?";
}

/* I2: a node that deletes keys as foreign must not delete the only copy. */
static void see_removed(void *owner, struct model_node *node, int key, enum model_removal why)
{
    struct world *world = owner;
    if (key == world->traced_key) {
        world_note(world, "node%d removes key %d (%s)", node->index, key, removal_text(why));
    }
    if (why == REMOVED_RESYNC || why == REMOVED_LOST) {
        world->disturbed_us[node->index] = world->schedule.now_us;
    }
    if (why != REMOVED_FOREIGN || world->setup.has_redis_faults) {
        return;
    }
    for (int i = 0; i < world->redis.node_count; i++) {
        const struct model_node *other = world->redis.nodes[i];
        if (i != node->index && key < other->stored_capacity && other->stored[key].is_present &&
            model_node_is_primary(other)) {
            return;
        }
    }
    world_violated(world, "I2: node %d deletes the only copy of key %d of slot %d", node->index,
                   key, world->redis.keys.keys[key].slot);
}

static void see_promoted(void *owner, struct model_node *node)
{
    struct world *world = owner;
    world->disturbed_us[node->index] = world->schedule.now_us;
}

static void see_demoted(void *owner, struct model_node *node, int primary)
{
    struct world *world = owner;
    (void)primary;
    if (world->setup.has_redis_faults) {
        world->disturbed_us[node->index] = world->schedule.now_us;
    }
}

static void see_unknown(void *owner, const struct command_list *commands, int index)
{
    struct world *world = owner;
    size_t len = 0;
    const char *name = commands_get(commands, index, 0, &len);
    coverage_add(world->coverage, SIGHT_UNKNOWN_COMMAND, 1);
    world_note(world, "the model does not know the command %.*s", (int)len, name);
}

static void see_note(void *owner, const struct model_node *node, const char *text)
{
    world_note(owner, "node%d %.8s %s", node->index, node->id.text, text);
}

static const struct store_compare *leader_compare(const struct store_request *request)
{
    for (int i = 0; i < request->compare_count; i++) {
        if (strcmp(request->compares[i].key, "leader") == 0 &&
            request->compares[i].field == STORE_CREATE_REVISION) {
            return &request->compares[i];
        }
    }
    return NULL;
}

/* I7, I9: whoever writes proves that it leads at that very revision. */
static void see_executed(void *owner,
                         int place,
                         const struct store_request *request,
                         const struct store_result *result)
{
    struct world *world = owner;
    if (place < 0 || request->kind != STORE_TXN || !result->succeeded) {
        return;
    }
    const struct store_compare *guard = leader_compare(request);
    for (int i = 0; i < request->write_count; i++) {
        bool is_leader_key =
            strcmp(request->writes[i].key, "leader") == 0 && !request->writes[i].is_delete;
        if (guard == NULL || (guard->revision == 0 && !is_leader_key)) {
            world_violated(world, "I9: %s is written without proof of leadership",
                           request->writes[i].key);
            return;
        }
        if (is_leader_key && request->writes[i].lease_id == 0) {
            world_violated(world, "I9: the leader key is written without a lease");
        }
    }
}

void checkers_attach(struct world *world)
{
    world->redis.hooks = (struct model_hooks){
        .owner = world,
        .claiming = see_claim,
        .stored = see_stored,
        .removed = see_removed,
        .promoted = see_promoted,
        .demoted = see_demoted,
        .unknown_command = see_unknown,
        .note = see_note,
    };
    world->store.executed = see_executed;
    world->store.executed_owner = world;
    for (int slot = 0; slot < SLOT_COUNT; slot++) {
        world->movers[slot] =
            (struct slot_mover_seen){.agent = MODEL_NONE, .agent_before = MODEL_NONE};
    }
}

static void see_mover(struct world_agent *agent, int slot)
{
    struct world *world = agent->world;
    struct slot_mover_seen *seen = &world->movers[slot];
    int64_t now_us = world->schedule.now_us;
    if (seen->agent != agent->index) {
        if (seen->agent_before == agent->index && now_us - seen->at_before_us < TURNS_US) {
            world_violated(world, "I8: agents %d and %d work on slot %d in turns", agent->index,
                           seen->agent, slot);
        }
        seen->agent_before = seen->agent;
        seen->at_before_us = seen->at_us;
        seen->agent = (int8_t)agent->index;
    }
    seen->at_us = now_us;
}

void checkers_see_commands(struct world_agent *agent,
                           struct model_node *node,
                           const struct command_list *commands)
{
    struct world *world = agent->world;
    bool is_step = false;
    (void)node;
    for (int i = 0; i < commands->count; i++) {
        int64_t slot = 0;
        if (commands_arg_is(commands, i, 0, "cluster") &&
            commands_arg_is(commands, i, 1, "setslot") && model_number(commands, i, 2, &slot) &&
            slot >= 0 && slot < SLOT_COUNT) {
            see_mover(agent, (int)slot);
            is_step = true;
        } else if (commands_arg_is(commands, i, 0, "eval")) {
            for (int arg = 6; arg < commands->commands[i].arg_count; arg++) {
                if (model_number(commands, i, arg, &slot) && slot >= 0 && slot < SLOT_COUNT) {
                    see_mover(agent, (int)slot);
                }
            }
            is_step = true;
        } else if (commands_arg_is(commands, i, 0, "migrate") &&
                   commands->commands[i].arg_count > 6) {
            size_t len = 0;
            const char *name = commands_get(commands, i, commands->commands[i].arg_count - 1, &len);
            see_mover(
                agent,
                world->redis.keys.keys[model_keys_number(&world->redis.keys, name, len)].slot);
            is_step = true;
        }
    }
    if (is_step) {
        world_faults_tempt(world);
    }
}

bool checkers_is_explained(const struct world *world, uint32_t holders, int64_t since_us)
{
    for (int i = 0; i < world->redis.node_count; i++) {
        bool is_holder = holders >> i & 1;
        if (is_holder && world->disturbed_us[i] != 0 &&
            world->disturbed_us[i] + FAULT_ECHO_US >= since_us) {
            return true;
        }
    }
    return false;
}

bool checkers_is_source_lost(const struct world *world, int slot)
{
    const struct model_node *owner = true_owner(world, slot);
    for (int i = 0; i < world->redis.node_count; i++) {
        int from = world->redis.nodes[i]->importing_from[slot];
        if (from != MODEL_NONE &&
            (owner == NULL || owner->index != from || owner->migrating_to[slot] != i)) {
            return true;
        }
    }
    return false;
}

static bool views_agree(const struct world *world, int slot)
{
    int owner = world->redis.nodes[0]->owner[slot];
    for (int i = 1; i < world->redis.node_count; i++) {
        if (world->redis.nodes[i]->owner[slot] != owner) {
            return false;
        }
    }
    return owner != MODEL_NONE && model_node_is_primary(world->redis.nodes[owner]);
}

bool checkers_is_quiet(struct world *world)
{
    for (int i = 0; i < world->redis.node_count; i++) {
        const struct model_node *node = world->redis.nodes[i];
        if (!model_node_is_running(node) || !node->is_state_ok ||
            node->migrating_count + node->importing_count > 0 ||
            (!model_node_is_primary(node) && !node->is_link_up)) {
            return false;
        }
        for (int j = 0; j < world->redis.node_count; j++) {
            if (node->peers[j].is_fail || node->peers[j].is_pfail) {
                return false;
            }
        }
    }
    for (int i = 0; i < world->redis.node_count; i++) {
        const struct model_node *node = world->redis.nodes[i];
        if (memcmp(node->owner, world->redis.nodes[0]->owner, sizeof(node->owner)) != 0 ||
            (node->peers[i].slot_count > 0 && !model_node_is_primary(node))) {
            return false;
        }
    }
    return true;
}

/* I4: keys live with the owner of their slot and with its replicas only. */
static void check_places(struct world *world, int slot)
{
    int owner = world->redis.nodes[0]->owner[slot];
    for (int i = 0; i < world->redis.node_count; i++) {
        const struct model_node *node = world->redis.nodes[i];
        bool is_wrong =
            node->key_counts[slot] > 0 && i != owner && model_node_primary(node) != owner;
        if (is_wrong && world->setup.has_redis_faults && world->disturbed_us[i] != 0) {
            /* A promoted replica may have missed deletions; nobody serves these copies. */
            coverage_add(world->coverage, SIGHT_LEFT_OVER, 1);
        } else if (is_wrong) {
            world_violated(world, "I4: node %d holds %d keys of slot %d, which node %d owns", i,
                           node->key_counts[slot], slot, owner);
        }
    }
}

void checkers_check_end(struct world *world)
{
    for (int slot = 0; slot < SLOT_COUNT && world->violation[0] == '\0'; slot++) {
        if (!views_agree(world, slot) && !world->is_explained_held) {
            world_violated(world, "I1: the nodes do not agree about slot %d", slot);
        }
        for (int i = 0; i < world->redis.node_count; i++) {
            const struct model_node *node = world->redis.nodes[i];
            if ((node->migrating_to[slot] != MODEL_NONE ||
                 node->importing_from[slot] != MODEL_NONE) &&
                !world->is_explained_held) {
                world_violated(world, "I5: slot %d is open at node %d", slot, i);
            }
        }
        if (!world->is_explained_held) {
            check_places(world, slot);
        }
    }
    for (int i = 0; i < world->redis.node_count; i++) {
        for (int j = 0; j < i; j++) {
            const struct model_node *a = world->redis.nodes[i];
            const struct model_node *b = world->redis.nodes[j];
            if (model_node_is_primary(a) && model_node_is_primary(b) &&
                a->peers[i].config_epoch == b->peers[j].config_epoch) {
                world_violated(world, "I11: nodes %d and %d share config epoch %llu", i, j,
                               (unsigned long long)a->peers[i].config_epoch);
            }
        }
    }
    world_clients_check_end(world);
}
