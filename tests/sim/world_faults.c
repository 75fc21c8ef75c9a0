/* world_faults.c — what may go wrong, when, and how all of it ends. See world.h.
 *
 * Each seed draws a handful of fault kinds (swarm testing): a run that may see everything sees the
 * rare mixes too seldom. */
#include "tests/sim/world.h"

#include <assert.h>

#include <string.h>

#define REDIS_FAULTS                                                            \
    (1U << FAULT_HOST_CUT | 1U << FAULT_REDIS_CRASH | 1U << FAULT_REDIS_DEATH | \
     1U << FAULT_REDIS_PAUSE)

/* Moves are over in milliseconds: faults lie in wait for them. */
#define TRAP_ONE_IN 12
#define TRAP_GAP_US (1500 * MS_US)

/* The end of one fault. */
static void add_end(struct world *world,
                    int64_t after_us,
                    void (*run)(struct happening *what),
                    void *owner,
                    int to)
{
    schedule_add(&world->schedule, after_us,
                 &(struct happening){.run = run, .owner = owner, .to = to});
}

static void end_coordinator_pause(struct happening *what)
{
    world_coordinator_wake(what->owner);
}

static void end_agent_pause(struct happening *what)
{
    world_agent_wake(what->owner);
}

static void end_cut(struct happening *what)
{
    struct world *world = what->owner;
    network_heal(&world->network);
    world_note(world, "the network is whole again");
}

static void end_store(struct happening *what)
{
    struct world *world = what->owner;
    world->store.is_down = false;
    world->store.is_stuck = false;
    world->store.is_full = false;
    world->store.lost_answer_permille = 0;
    world_note(world, "the store is well again");
}

static void end_loss(struct happening *what)
{
    struct world *world = what->owner;
    world->network.loss_permille = 0;
}

static void end_redis(struct happening *what)
{
    struct model_node *node = what->owner;
    node->is_out_of_memory = false;
    if (!node->is_up) {
        model_node_start(node);
    } else {
        model_node_wake(node);
    }
}

static int64_t some_us(struct world *world, int64_t first_ms, int64_t last_ms)
{
    return prng_range(&world->prng, first_ms, last_ms) * MS_US;
}

static struct world_coordinator *some_coordinator(struct world *world)
{
    struct world_coordinator *leader = world_leader(world);
    if (leader != NULL && prng_chance(&world->prng, 2, 3)) {
        return leader;
    }
    return &world->coordinators[prng_below(&world->prng, (uint64_t)world->setup.coordinator_count)];
}

static struct model_node *some_node(struct world *world)
{
    /* Half of the time one that has an open slot, if there is any. */
    if (prng_chance(&world->prng, 1, 2)) {
        int first = (int)prng_below(&world->prng, (uint64_t)world->redis.node_count);
        for (int i = 0; i < world->redis.node_count; i++) {
            struct model_node *node = world->redis.nodes[(first + i) % world->redis.node_count];
            if (node->migrating_count + node->importing_count > 0) {
                return node;
            }
        }
    }
    return world->redis.nodes[prng_below(&world->prng, (uint64_t)world->redis.node_count)];
}

static void cut_coordinator(struct world *world, bool is_store_only)
{
    const struct world_coordinator *coordinator = some_coordinator(world);
    if (is_store_only) {
        network_cut(&world->network, coordinator->place, world->store.place);
        network_cut(&world->network, world->store.place, coordinator->place);
    } else {
        network_isolate(&world->network, coordinator->place);
    }
    world_note(world, "coordinator%d is cut off%s", coordinator->index,
               is_store_only ? " from the store" : "");
    add_end(world, some_us(world, 500, 30000), end_cut, world, 0);
}

static void cut_agent(struct world *world)
{
    const struct world_agent *agent =
        &world->agents[prng_below(&world->prng, (uint64_t)world->agent_count)];
    bool is_one_way = prng_chance(&world->prng, 1, 3);
    for (int i = 0; i < world->setup.coordinator_count; i++) {
        network_cut(&world->network, agent->place, world->coordinators[i].place);
        if (!is_one_way) {
            network_cut(&world->network, world->coordinators[i].place, agent->place);
        }
    }
    world_note(world, "agent%d is cut off from the coordinators", agent->index);
    add_end(world, some_us(world, 500, 50000), end_cut, world, 0);
}

static void break_store(struct world *world, enum fault fault)
{
    world->store.is_down = fault == FAULT_STORE_DOWN;
    world->store.is_stuck = fault == FAULT_STORE_STUCK;
    world->store.is_full = fault == FAULT_STORE_FULL;
    world->store.lost_answer_permille = fault == FAULT_STORE_LOST_ANSWERS ? 300 : 0;
    add_end(world, some_us(world, 300, 20000), end_store, world, 0);
}

static void delete_leader_key(struct world *world)
{
    struct store_request request = {.kind = STORE_TXN, .timeout_ms = 1000};
    struct store_result result = {0};
    store_request_add_delete(&request, "leader");
    model_store_execute(&world->store, -1, &request, &result);
    store_request_release(&request);
    store_result_release(&result);
}

static void hurt_network(struct world *world, enum fault fault)
{
    if (fault == FAULT_NETWORK_LOSS) {
        world->network.loss_permille = (int)prng_range(&world->prng, 10, 300);
        add_end(world, some_us(world, 1000, 15000), end_loss, world, 0);
    } else if (fault == FAULT_NETWORK_SLOW) {
        int place = (int)prng_below(&world->prng, (uint64_t)world->network.place_count);
        world->network.slow_us[place] = some_us(world, 20, 400);
        add_end(world, some_us(world, 1000, 15000), end_cut, world, 0);
    } else {
        int host = (int)prng_below(&world->prng, (uint64_t)world->setup.host_count);
        network_isolate(&world->network, host);
        world_note(world, "host %d is cut off", host);
        add_end(world, some_us(world, 500, 20000), end_cut, world, 0);
    }
}

static void hurt_redis(struct world *world, enum fault fault)
{
    struct model_node *node = some_node(world);
    int64_t timeout_ms = world->setup.node_timeout_ms;
    if (!model_node_is_running(node)) {
        return;
    }
    world->disturbed_us[node->index] = world->schedule.now_us;
    if (fault == FAULT_REDIS_FULL) {
        node->is_out_of_memory = true;
        add_end(world, some_us(world, 500, 10000), end_redis, node, 0);
    } else if (fault == FAULT_REDIS_PAUSE) {
        model_node_pause(node);
        add_end(world, some_us(world, 50, 3 * timeout_ms), end_redis, node, 0);
    } else {
        bool is_long = fault == FAULT_REDIS_DEATH;
        model_node_crash(node);
        add_end(world,
                some_us(world, is_long ? 2 * timeout_ms : 50,
                        is_long ? 6 * timeout_ms : timeout_ms / 2),
                end_redis, node, 0);
    }
}

/* As mass expiry or FLUSHALL: every key of a slot that is being moved is gone at once, on both
 * sides. */
static void empty_slot(struct world *world)
{
    for (int i = 0; i < world->redis.node_count; i++) {
        struct model_node *node = world->redis.nodes[i];
        for (int slot = 0; slot < SLOT_COUNT && node->migrating_count > 0; slot++) {
            struct model_node *target = node->migrating_to[slot] == MODEL_NONE
                                            ? NULL
                                            : world->redis.nodes[node->migrating_to[slot]];
            if (target != NULL && model_node_is_running(node) && model_node_is_running(target) &&
                node->transfer == 0 && node->key_counts[slot] > 0) {
                world_clients_empty_slot(world, slot);
                model_node_remove_slot(node, slot, REMOVED_BY_CLIENT);
                model_node_remove_slot(target, slot, REMOVED_BY_CLIENT);
                return;
            }
        }
    }
}

static void kill_all(struct world *world)
{
    for (int i = 0; i < world->setup.coordinator_count; i++) {
        world_coordinator_crash(&world->coordinators[i]);
    }
    for (int i = 0; i < world->agent_count; i++) {
        world_agent_crash(&world->agents[i]);
    }
}

static void pause_someone(struct world *world, enum fault fault)
{
    if (fault == FAULT_COORDINATOR_PAUSE) {
        struct world_coordinator *coordinator = some_coordinator(world);
        world_coordinator_pause(coordinator);
        add_end(world, some_us(world, 100, 25000), end_coordinator_pause, coordinator, 0);
    } else {
        struct world_agent *agent =
            &world->agents[prng_below(&world->prng, (uint64_t)world->agent_count)];
        world_agent_pause(agent);
        add_end(world, some_us(world, 100, 50000), end_agent_pause, agent, 0);
    }
}

static void strike(struct world *world, enum fault fault)
{
    switch (fault) {
    case FAULT_COORDINATOR_CRASH:
        world_coordinator_crash(some_coordinator(world));
        break;
    case FAULT_AGENT_CRASH:
        world_agent_crash(&world->agents[prng_below(&world->prng, (uint64_t)world->agent_count)]);
        break;
    case FAULT_COORDINATOR_PAUSE:
    case FAULT_AGENT_PAUSE:
        pause_someone(world, fault);
        break;
    case FAULT_COORDINATOR_CUT:
    case FAULT_COORDINATOR_HALF_CUT:
        cut_coordinator(world, fault == FAULT_COORDINATOR_HALF_CUT);
        break;
    case FAULT_AGENT_CUT:
        cut_agent(world);
        break;
    case FAULT_STORE_DOWN:
    case FAULT_STORE_STUCK:
    case FAULT_STORE_LOST_ANSWERS:
    case FAULT_STORE_FULL:
        break_store(world, fault);
        break;
    case FAULT_LEADER_KEY_LOST:
        delete_leader_key(world);
        break;
    case FAULT_NETWORK_LOSS:
    case FAULT_NETWORK_SLOW:
    case FAULT_HOST_CUT:
        hurt_network(world, fault);
        break;
    case FAULT_REDIS_CRASH:
    case FAULT_REDIS_DEATH:
    case FAULT_REDIS_PAUSE:
    case FAULT_REDIS_FULL:
        hurt_redis(world, fault);
        break;
    case FAULT_KEYS_VANISH:
        empty_slot(world);
        break;
    case FAULT_EVERYTHING_DIES:
        kill_all(world);
        break;
    case FAULT_OPERATOR_PAUSE:
    case FAULT_OPERATOR_CANCEL: /* the operator does these by itself */
    case FAULT_NR:
        break;
    }
}

static bool is_any_slot_open(const struct world *world)
{
    for (int i = 0; i < world->redis.node_count; i++) {
        if (world->redis.nodes[i]->migrating_count + world->redis.nodes[i]->importing_count > 0) {
            return true;
        }
    }
    return false;
}

static void strike_something(struct world *world)
{
    enum fault fault = FAULT_NR;
    do {
        fault = (enum fault)prng_below(&world->prng, FAULT_NR);
    } while (!(world->setup.faults >> fault & 1));
    if (fault == FAULT_OPERATOR_PAUSE || fault == FAULT_OPERATOR_CANCEL) {
        return;
    }
    world_note(world, "fault: %s", fault_text(fault));
    world->coverage->faults[fault]++;
    coverage_add(world->coverage, SIGHT_FAULT_IN_MOVE, is_any_slot_open(world));
    strike(world, fault);
}

static void next_fault(struct happening *what)
{
    struct world *world = what->owner;
    if (world->is_healed || world->setup.faults == 0) {
        return;
    }
    strike_something(world);
    schedule_add(&world->schedule,
                 some_us(world, world->setup.fault_gap_ms / 4, world->setup.fault_gap_ms * 2),
                 &(struct happening){.run = next_fault, .owner = world});
}

static void spring(struct happening *what)
{
    struct world *world = what->owner;
    if (!world->is_healed) {
        strike_something(world);
    }
}

void world_faults_tempt(struct world *world)
{
    if (world->is_healed || world->setup.faults == 0 ||
        world->schedule.now_us < world->next_trap_us ||
        !prng_chance(&world->prng, 1, TRAP_ONE_IN)) {
        return;
    }
    world->next_trap_us = world->schedule.now_us + TRAP_GAP_US;
    int64_t within_us = INT64_C(1) << prng_below(
                            &world->prng, 17); /* up to 65 ms, short ones as often as long ones */
    schedule_add(&world->schedule, within_us, &(struct happening){.run = spring, .owner = world});
}

void world_faults_draw(struct world *world)
{
    struct world_setup *setup = &world->setup;
    int kinds = (int)prng_below(&world->prng, 6); /* 0: a calm run */
    for (int i = 0; i < kinds; i++) {
        setup->faults |= 1U << prng_below(&world->prng, FAULT_NR);
    }
    if (prng_chance(&world->prng, 3, 5)) {
        setup->faults &= ~REDIS_FAULTS;
    } else {
        setup->faults |= 1U << prng_range(&world->prng, FAULT_HOST_CUT, FAULT_REDIS_PAUSE);
    }
    setup->has_redis_faults = (setup->faults & REDIS_FAULTS) != 0;
    setup->fault_gap_ms = prng_range(&world->prng, 400, 12000);
    setup->phase_one_ms = prng_range(&world->prng, 15000, 90000);
    static_assert(FAULT_NR <= 32, "faults are bits of a uint32_t");
}

void world_faults_start(struct world *world)
{
    schedule_add(&world->schedule, some_us(world, 3000, 12000),
                 &(struct happening){.run = next_fault, .owner = world});
}

void world_heal(struct world *world)
{
    world_note(world, "all faults end");
    world->is_healed = true;
    world->healed_us = world->schedule.now_us;
    network_heal(&world->network);
    world->network.loss_permille = 0;
    world->network.is_calm = true;
    world->store.is_down = false;
    world->store.is_stuck = false;
    world->store.is_full = false;
    world->store.lost_answer_permille = 0;
    for (int i = 0; i < world->redis.node_count; i++) {
        struct model_node *node = world->redis.nodes[i];
        node->is_out_of_memory = false;
        if (node->is_up) {
            model_node_wake(node);
        } else {
            model_node_start(node);
        }
    }
    for (int i = 0; i < world->setup.coordinator_count; i++) {
        world_coordinator_wake(&world->coordinators[i]);
    }
    for (int i = 0; i < world->agent_count; i++) {
        world_agent_wake(&world->agents[i]);
    }
}
