/* world_agents.c — agents as processes: start, crash, pause, timers, and what their effects become.
 * See world.h. */
#include "tests/sim/world.h"

#include "common/base/alloc.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define RESTART_US_MIN (500 * MS_US)
#define RESTART_US_MAX (3 * SECOND_US)
#define DISK_US_MIN 200
#define DISK_US_MAX (15 * MS_US)
#define TICKS_PER_MS_MAX 2000

static void arm(struct world_agent *agent);

static void tick(struct happening *what)
{
    struct world_agent *agent = what->owner;
    if (agent->core == NULL || what->tag != agent->timer_tag ||
        world_hold_back(&agent->held, agent->is_paused, what)) {
        return;
    }
    agent->timer_us = NEVER;
    struct agent_event event = {.kind = AGENT_TICK};
    world_agent_feed(agent, &event);
}

/* A core that is due at once again and again would stop virtual time. */
static bool is_storm(struct world_agent *agent)
{
    int64_t now_ms = world_now_ms(agent->world);
    if (agent->tick_storm_ms != now_ms) {
        agent->tick_storm_ms = now_ms;
        agent->tick_storm_count = 0;
    }
    if (++agent->tick_storm_count == TICKS_PER_MS_MAX) {
        coverage_add(agent->world->coverage, SIGHT_TICK_STORM, 1);
        world_violated(agent->world, "agent %d is stepped %d times within one millisecond",
                       agent->index, TICKS_PER_MS_MAX);
    }
    return agent->tick_storm_count > 20;
}

static void arm(struct world_agent *agent)
{
    struct schedule *schedule = &agent->world->schedule;
    int64_t deadline_ms = agent_deadline(agent->core);
    if (deadline_ms == NEVER) {
        agent->timer_us = NEVER;
        agent->timer_tag++;
        return;
    }
    int64_t at_us = deadline_ms * MS_US;
    int64_t earliest_us = schedule->now_us + (is_storm(agent) ? MS_US : 1);
    at_us = at_us < earliest_us ? earliest_us : at_us;
    if (at_us == agent->timer_us) {
        return;
    }
    agent->timer_us = at_us;
    schedule_add(schedule, at_us - schedule->now_us,
                 &(struct happening){.run = tick, .owner = agent, .tag = ++agent->timer_tag});
}

static void fence_saved(struct happening *what)
{
    struct world_agent *agent = what->owner;
    if (agent->core == NULL || what->tag != agent->process ||
        world_hold_back(&agent->held, agent->is_paused, what)) {
        return;
    }
    int64_t *fence = what->data;
    if (*fence < agent->fence_disk) {
        world_violated(agent->world, "agent %d saves fence %lld below %lld", agent->index,
                       (long long)*fence, (long long)agent->fence_disk);
    }
    agent->fence_disk = *fence;
    agent->fence_saved_highest =
        *fence > agent->fence_saved_highest ? *fence : agent->fence_saved_highest;
    coverage_add(agent->world->coverage, SIGHT_FENCE_SAVED, 1);
    struct agent_event event = {.kind = AGENT_FENCE_SAVED, .fence = *fence};
    world_agent_feed(agent, &event);
}

static void discovered(struct happening *what)
{
    struct world_agent *agent = what->owner;
    if (agent->core == NULL || what->tag != agent->process ||
        world_hold_back(&agent->held, agent->is_paused, what)) {
        return;
    }
    struct address found[MODEL_NODES_MAX];
    int count = 0;
    for (int i = 0; i < agent->world->redis.node_count; i++) {
        const struct model_node *node = agent->world->redis.nodes[i];
        if (node->is_up && (node->place == agent->place || agent->world->setup.is_standalone)) {
            found[count++] = node->address;
        }
    }
    struct agent_event event = {
        .kind = AGENT_DISCOVERED, .addresses = found, .address_count = count};
    world_agent_feed(agent, &event);
}

/* Hosts of the simulation start no servers: every such wish is refused. */
static void host_refuses(struct happening *what)
{
    struct world_agent *agent = what->owner;
    if (agent->core == NULL || what->tag != agent->process ||
        world_hold_back(&agent->held, agent->is_paused, what)) {
        return;
    }
    struct host_facts facts = {0};
    const uint64_t *req_id = what->data;
    struct agent_event event = {
        .kind = AGENT_HOST, .req_id = *req_id, .code = ERR_REFUSED, .facts = &facts};
    world_agent_feed(agent, &event);
}

/* Every host of the simulation reaches every other. */
static void dialed(struct happening *what)
{
    struct world_agent *agent = what->owner;
    if (agent->core == NULL || what->tag != agent->process ||
        world_hold_back(&agent->held, agent->is_paused, what)) {
        return;
    }
    const uint64_t *req_id = what->data;
    struct agent_event event = {.kind = AGENT_DIALED, .req_id = *req_id};
    world_agent_feed(agent, &event);
}

static void restart(struct happening *what)
{
    struct world_agent *agent = what->owner;
    if (agent->core == NULL && what->tag == agent->process) {
        world_agent_start(agent);
    }
}

static void log_effect(struct world_agent *agent, const struct log_event *log)
{
    world_note(agent->world, "agent%d %s %s%s", agent->index, log_level_name(log->level), log->name,
               strbuf_text(&log->pairs));
}

static void carry_out(struct world_agent *agent, const struct agent_effect *effect)
{
    struct world *world = agent->world;
    switch (effect->kind) {
    case AGENT_FX_SEND:
        world_bus_send(agent, effect);
        break;
    case AGENT_FX_REDIS:
        world_redis_send(agent, effect);
        break;
    case AGENT_FX_SAVE_FENCE:
        schedule_add(&world->schedule, prng_range(&world->prng, DISK_US_MIN, DISK_US_MAX),
                     &(struct happening){.run = fence_saved,
                                         .release = free,
                                         .owner = agent,
                                         .data = xmemdup(&effect->fence, sizeof(effect->fence)),
                                         .tag = agent->process});
        break;
    case AGENT_FX_DISCOVER:
        schedule_add(&world->schedule, 2 * MS_US,
                     &(struct happening){.run = discovered, .owner = agent, .tag = agent->process});
        break;
    case AGENT_FX_HOST:
        schedule_add(&world->schedule, 2 * MS_US,
                     &(struct happening){.run = host_refuses,
                                         .release = free,
                                         .owner = agent,
                                         .data = xmemdup(&effect->req_id, sizeof(effect->req_id)),
                                         .tag = agent->process});
        break;
    case AGENT_FX_DIAL:
        schedule_add(&world->schedule, 2 * MS_US,
                     &(struct happening){.run = dialed,
                                         .release = free,
                                         .owner = agent,
                                         .data = xmemdup(&effect->req_id, sizeof(effect->req_id)),
                                         .tag = agent->process});
        break;
    case AGENT_FX_LOG:
        log_effect(agent, &effect->log);
        break;
    case AGENT_FX_EXIT:
        world_note(world, "agent%d exits: %s", agent->index, effect->err.text);
        break;
    }
}

void world_agent_feed(struct world_agent *agent, struct agent_event *event)
{
    struct agent_effects fx = {0};
    bool is_exit = false;
    event->now_ms = world_now_ms(agent->world);
    agent_step(agent->core, event, &fx);
    int64_t fence = agent_fence(agent->core);
    if (fence < agent->fence_highest) {
        world_violated(agent->world, "agent %d goes back from fence %lld to %lld", agent->index,
                       (long long)agent->fence_highest, (long long)fence);
    }
    agent->fence_highest = fence;
    for (int i = 0; i < fx.count; i++) {
        carry_out(agent, &fx.items[i]);
        is_exit = is_exit || fx.items[i].kind == AGENT_FX_EXIT;
    }
    agent_effects_release(&fx);
    if (is_exit) {
        world_agent_crash(agent);
    } else {
        arm(agent);
    }
}

void world_agent_start(struct world_agent *agent)
{
    struct world *world = agent->world;
    struct address nodes[MODEL_NODES_MAX];
    int count = 0;
    for (int i = 0; i < world->redis.node_count; i++) {
        if (world->redis.nodes[i]->place == agent->place || world->setup.is_standalone) {
            nodes[count++] = world->redis.nodes[i]->address;
        }
    }
    struct agent_config config = {
        .incarnation = prng_next(&world->prng) | 1,
        .seed = prng_next(&world->prng),
        .coordinator_count = world->setup.coordinator_count,
        .nodes = nodes,
        .node_count = count,
        .fence_seen = agent->fence_disk,
        .serves_all = world->setup.is_standalone,
        .cluster = "sim",
        .credential = "secret",
    };
    snprintf(config.id.text, sizeof(config.id.text), "host%d", agent->index);
    agent->process++;
    agent->is_paused = false;
    agent->fence_highest = agent->fence_disk;
    agent->timer_us = NEVER;
    agent->timer_tag++;
    memset(agent->lanes, 0, sizeof(agent->lanes));
    agent->core = agent_new(&config, world_now_ms(world));
    if (agent_fence(agent->core) < agent->fence_saved_highest) {
        world_violated(world, "I8: agent %d starts with fence %lld and once had %lld", agent->index,
                       (long long)agent_fence(agent->core), (long long)agent->fence_saved_highest);
    }
    world_note(world, "agent%d starts, fence %lld", agent->index, (long long)agent->fence_disk);
    struct agent_event event = {.kind = AGENT_TICK};
    world_agent_feed(agent, &event);
}

void world_agent_crash(struct world_agent *agent)
{
    struct world *world = agent->world;
    if (agent->core == NULL) {
        return;
    }
    world_note(world, "agent%d is gone", agent->index);
    agent_free(agent->core);
    agent->core = NULL;
    agent->process++;
    agent->timer_tag++;
    agent->is_paused = false;
    world_drop_held(&agent->held);
    if (world->mutation == MUTATION_STALE_FENCE && agent->fence_disk > 0) {
        agent->fence_disk = 0;
    }
    schedule_add(&world->schedule, prng_range(&world->prng, RESTART_US_MIN, RESTART_US_MAX),
                 &(struct happening){.run = restart, .owner = agent, .tag = agent->process});
}

void world_agent_pause(struct world_agent *agent)
{
    if (agent->core != NULL) {
        world_note(agent->world, "agent%d is paused", agent->index);
        agent->is_paused = true;
    }
}

void world_agent_wake(struct world_agent *agent)
{
    if (agent->core != NULL && agent->is_paused) {
        world_note(agent->world, "agent%d goes on", agent->index);
        agent->is_paused = false;
        world_release_held(agent->world, &agent->held);
    }
}
