/* world.c — builds a world from a seed and runs it through its two phases. See world.h. */
#include "tests/sim/world.h"

#include "common/base/alloc.h"
#include "common/base/check.h"
#include "tests/sim/checkers.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* After the last fault everything must have ended within this: orders expire after 30 s plus 5 s,
 * leases after 10 s, and an operation may be given out a few times over. */
#define REST_US_MAX (600 * SECOND_US)
#define QUIET_US (3 * SECOND_US)

int64_t world_now_ms(const struct world *world)
{
    return schedule_now_ms(&world->schedule);
}

void world_note(struct world *world, const char *format, ...)
{
    if (!world->is_verbose) {
        return;
    }
    va_list args;
    va_start(args, format);
    printf("%10.3f  ", (double)world->schedule.now_us / 1e3);
    vprintf(format, args);
    printf("\n");
    va_end(args);
}

void world_violated(struct world *world, const char *format, ...)
{
    if (world->violation[0] != '\0') {
        return;
    }
    va_list args;
    va_start(args, format);
    vsnprintf(world->violation, sizeof(world->violation), format, args);
    va_end(args);
    world_note(world, "VIOLATION %s", world->violation);
}

bool world_hold_back(struct held_back *held, bool is_paused, struct happening *what)
{
    if (!is_paused) {
        return false;
    }
    ARRAY_RESERVE(held->items, held->count, held->capacity);
    held->items[held->count++] = *what;
    what->data = NULL;
    return true;
}

void world_release_held(struct world *world, struct held_back *held)
{
    for (int i = 0; i < held->count; i++) {
        schedule_add(&world->schedule, 0, &held->items[i]);
    }
    held->count = 0;
}

void world_drop_held(struct held_back *held)
{
    for (int i = 0; i < held->count; i++) {
        if (held->items[i].data != NULL && held->items[i].release != NULL) {
            held->items[i].release(held->items[i].data);
        }
    }
    held->count = 0;
}

static void draw_setup(struct world *world)
{
    struct world_setup *setup = &world->setup;
    struct prng *prng = &world->prng;
    setup->is_standalone = prng_chance(prng, 1, 6);
    setup->coordinator_count =
        setup->is_standalone ? 1 : (int)prng_range(prng, 1, WORLD_COORDINATORS_MAX);
    setup->primary_count = (int)prng_range(prng, 2, 4);
    setup->empty_primary_count = prng_chance(prng, 1, 2) ? 1 : 0;
    setup->replicas_per_primary = (int)prng_below(prng, 3) > 0 ? 1 : 0;
    setup->host_count =
        setup->is_standalone ? 1 : setup->primary_count + setup->empty_primary_count;
    setup->node_timeout_ms = prng_chance(prng, 1, 2) ? 5000 : prng_range(prng, 1000, 15000);
    setup->drains = prng_chance(prng, 1, 2);
    world->client_count = (int)prng_range(prng, 1, WORLD_CLIENTS_MAX);
    world_faults_draw(world);
}

static void build_redis(struct world *world)
{
    struct world_setup *setup = &world->setup;
    int primaries = setup->primary_count + setup->empty_primary_count;
    for (int i = 0; i < primaries * (1 + setup->replicas_per_primary); i++) {
        /* A replica lives on the host after its primary's. */
        int host = (i % primaries + i / primaries) % setup->host_count;
        char name[24];
        snprintf(name, sizeof(name), "10.0.0.%d", host + 1);
        (void)model_redis_add(&world->redis, host, name, (uint16_t)(7000 + i));
    }
    int small = setup->drains ? (int)prng_range(&world->prng, 1, 200) : 0;
    int first = 0;
    for (int i = 0; i < setup->primary_count; i++) {
        bool is_last = i == setup->primary_count - 1;
        int left = SLOT_COUNT - first;
        int share = is_last               ? left
                    : small > 0 && i == 0 ? small
                                          : left / (setup->primary_count - i);
        share -= is_last || i == 0 ? 0 : (int)prng_below(&world->prng, 100);
        model_redis_give(&world->redis, i, first, first + share - 1);
        first += share;
    }
    for (int i = primaries; i < world->redis.node_count; i++) {
        model_redis_replicate(&world->redis, i, i % primaries);
    }
    world->redis.node_timeout_us = setup->node_timeout_ms * MS_US;
    world->redis.replication_lag_us_max = prng_range(&world->prng, 1, 200) * MS_US;
    world->redis.persistence = prng_chance(&world->prng, 2, 3) ? PERSIST_ALL : PERSIST_LAG;
    model_redis_form(&world->redis);
}

void world_init(struct world *world,
                uint64_t seed,
                enum mutation mutation,
                bool is_verbose,
                struct coverage *coverage)
{
    memset(world, 0, sizeof(*world));
    world->seed = seed;
    world->mutation = mutation;
    world->is_verbose = is_verbose;
    world->coverage = coverage;
    world->traced_key = MODEL_NONE;
    prng_init(&world->prng, seed);
    draw_setup(world);
    const struct world_setup *setup = &world->setup;
    int places = setup->host_count + setup->coordinator_count + 2;
    world->client_place = places - 1;
    network_init(&world->network, &world->schedule, prng_next(&world->prng), places);
    int64_t slowness = prng_range(&world->prng, 0, 2); /* one rack, one town, or far away */
    world->network.delay_us_min = slowness == 0 ? 50 : slowness == 1 ? MS_US : 8 * MS_US;
    world->network.delay_us_max = slowness == 0 ? 400 : slowness == 1 ? 5 * MS_US : 30 * MS_US;
    model_store_init(&world->store, &world->schedule, &world->network, places - 2,
                     prng_next(&world->prng));
    world->store.orphaned = free;
    model_redis_init(&world->redis, &world->schedule, &world->network, prng_next(&world->prng));
    checkers_attach(world);
    build_redis(world);
    world->agent_count = setup->host_count;
    for (int i = 0; i < world->agent_count; i++) {
        world->agents[i] =
            (struct world_agent){.world = world, .index = i, .place = i, .timer_us = NEVER};
    }
    for (int i = 0; i < setup->coordinator_count; i++) {
        world->coordinators[i] = (struct world_coordinator){
            .world = world, .index = i, .place = setup->host_count + i, .timer_us = NEVER};
    }
}

static void start(struct world *world)
{
    const struct world_setup *setup = &world->setup;
    world_note(world,
               "seed %llu: %d coordinators, %d hosts, %d primaries, %d empty, %d replicas each%s, "
               "node timeout %lld ms, "
               "%d clients, faults %x every %lld ms",
               (unsigned long long)world->seed, setup->coordinator_count, setup->host_count,
               setup->primary_count, setup->empty_primary_count, setup->replicas_per_primary,
               setup->is_standalone ? ", standalone" : "", (long long)setup->node_timeout_ms,
               world->client_count, setup->faults, (long long)setup->fault_gap_ms);
    for (int i = 0; i < setup->coordinator_count; i++) {
        world_coordinator_start(&world->coordinators[i]);
    }
    for (int i = 0; i < world->agent_count; i++) {
        world_agent_start(&world->agents[i]);
    }
    world_clients_start(world);
    for (int i = 0; i < 40; i++) {
        world_clients_add_slot(world, (int)prng_below(&world->prng, SLOT_COUNT), 1);
    }
    world_operator_start(world);
    world_faults_start(world);
}

static bool run_until(struct world *world, int64_t until_us)
{
    while (world->violation[0] == '\0' && schedule_step(&world->schedule, until_us)) {
    }
    return world->violation[0] == '\0';
}

static void explain_restlessness(struct world *world)
{
    const struct world_coordinator *leader = world_leader(world);
    world_violated(world, "I13: not at rest %lld s after the last fault: %s; operator %s; %s",
                   (long long)(REST_US_MAX / SECOND_US),
                   checkers_is_quiet(world) ? "cluster quiet" : "cluster not quiet",
                   world_operator_is_done(world) ? "done" : "not done",
                   leader == NULL ? "nobody leads" : coordinator_why(leader->core));
}

static void count_sights(struct world *world)
{
    struct coverage *coverage = world->coverage;
    const struct model_redis *redis = &world->redis;
    coverage_add(coverage, SIGHT_RUN, 1);
    coverage_add(coverage, SIGHT_STANDALONE, world->setup.is_standalone);
    coverage_add(coverage, SIGHT_REDIS_FAULTS, world->setup.has_redis_faults);
    coverage_add(coverage, SIGHT_KEY_MOVED, (uint64_t)redis->migrate_count);
    coverage_add(coverage, SIGHT_LATE_CLAIM, (uint64_t)redis->late_claim_count);
    coverage_add(coverage, SIGHT_ASK, (uint64_t)redis->ask_count);
    coverage_add(coverage, SIGHT_MOVED, (uint64_t)redis->moved_count);
    coverage_add(coverage, SIGHT_BUSYKEY, (uint64_t)redis->busykey_count);
    coverage_add(coverage, SIGHT_IOERR, (uint64_t)redis->ioerr_count);
    coverage_add(coverage, SIGHT_NOKEY, (uint64_t)redis->nokey_count);
    coverage_add(coverage, SIGHT_TARGET_MOVED, (uint64_t)redis->target_moved_count);
    coverage_add(coverage, SIGHT_OOM, (uint64_t)redis->oom_count);
    coverage_add(coverage, SIGHT_FAILOVER, (uint64_t)redis->failover_count);
    coverage_add(coverage, SIGHT_CLUSTERDOWN, (uint64_t)redis->clusterdown_count);
    coverage_add(coverage, SIGHT_COLLISION, (uint64_t)redis->collision_count);
    coverage_add(coverage, SIGHT_DIRTY, (uint64_t)redis->dirty_count);
    coverage_add(coverage, SIGHT_STORE_LOST_ANSWER, (uint64_t)world->store.lost_answer_count);
    coverage_add(coverage, SIGHT_LEASE_END, (uint64_t)world->store.lease_end_count);
    coverage->happenings += world->schedule.ran;
    coverage->virtual_ms += world_now_ms(world);
}

static void stop_clients(struct world *world)
{
    for (int i = 0; i < world->client_count; i++) {
        world->clients[i].is_stopped = true;
    }
}

/* Every node's view, for whoever reads the transcript of a failed run. */
static void show_views(struct world *world)
{
    for (int i = 0; i < world->redis.node_count && world->is_verbose; i++) {
        struct strbuf text = {0};
        model_view_format(world->redis.nodes[i], &text);
        world_note(world, "node%d sees\n%s", i, strbuf_text(&text));
        strbuf_release(&text);
    }
}

int world_run(struct world *world)
{
    start(world);
    if (run_until(world, world->setup.phase_one_ms * MS_US)) {
        world_heal(world);
        int64_t last_us = world->healed_us + REST_US_MAX;
        while (world->schedule.now_us < last_us &&
               run_until(world, world->schedule.now_us + SECOND_US)) {
            if (world_operator_is_done(world) &&
                (checkers_is_quiet(world) || world->is_explained_held)) {
                break;
            }
        }
        if (world->schedule.now_us >= last_us) {
            explain_restlessness(world);
        }
        stop_clients(world);
        if (run_until(world, world->schedule.now_us + QUIET_US)) {
            checkers_check_end(world);
        }
    }
    if (world->violation[0] != '\0') {
        show_views(world);
    }
    coverage_add(world->coverage, SIGHT_ENDED_HELD, world->is_explained_held);
    count_sights(world);
    return world->violation[0] == '\0' ? 0 : -1;
}

void world_release(struct world *world)
{
    for (int i = 0; i < world->agent_count; i++) {
        if (world->agents[i].core != NULL) {
            agent_free(world->agents[i].core);
        }
        world_drop_held(&world->agents[i].held);
        free(world->agents[i].held.items);
    }
    for (int i = 0; i < world->setup.coordinator_count; i++) {
        if (world->coordinators[i].core != NULL) {
            coordinator_free(world->coordinators[i].core);
        }
        world_drop_held(&world->coordinators[i].held);
        free(world->coordinators[i].held.items);
    }
    operation_request_release(&world->person.request);
    world->redis.hooks = (struct model_hooks){0};
    model_redis_release(&world->redis);
    schedule_release(&world->schedule);
    model_store_release(&world->store);
}
