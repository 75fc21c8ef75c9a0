/* world_coordinators.c — coordinators as processes, with their store and their agents' requests.
 * See world.h. */
#include "tests/sim/world.h"

#include "common/base/alloc.h"
#include "common/base/check.h"
#include "common/wire/record_codec.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define RESTART_US_MIN (500 * MS_US)
#define RESTART_US_MAX (4 * SECOND_US)
#define TICKS_PER_MS_MAX 2000

static void tick(struct happening *what)
{
    struct world_coordinator *coordinator = what->owner;
    if (coordinator->core == NULL || what->tag != coordinator->timer_tag ||
        world_hold_back(&coordinator->held, coordinator->is_paused, what)) {
        return;
    }
    coordinator->timer_us = NEVER;
    struct coordinator_event event = {.kind = COORDINATOR_TICK};
    world_coordinator_feed(coordinator, &event);
}

static bool is_storm(struct world_coordinator *coordinator)
{
    int64_t now_ms = world_now_ms(coordinator->world);
    if (coordinator->tick_storm_ms != now_ms) {
        coordinator->tick_storm_ms = now_ms;
        coordinator->tick_storm_count = 0;
    }
    if (++coordinator->tick_storm_count == TICKS_PER_MS_MAX) {
        coverage_add(coordinator->world->coverage, SIGHT_TICK_STORM, 1);
        world_violated(coordinator->world,
                       "coordinator %d is stepped %d times within one millisecond",
                       coordinator->index, TICKS_PER_MS_MAX);
    }
    return coordinator->tick_storm_count > 20;
}

static void arm(struct world_coordinator *coordinator)
{
    struct schedule *schedule = &coordinator->world->schedule;
    int64_t deadline_ms = coordinator_deadline(coordinator->core);
    if (deadline_ms == NEVER) {
        coordinator->timer_us = NEVER;
        coordinator->timer_tag++;
        return;
    }
    int64_t at_us = deadline_ms * MS_US;
    int64_t earliest_us = schedule->now_us + (is_storm(coordinator) ? MS_US : 1);
    at_us = at_us < earliest_us ? earliest_us : at_us;
    if (at_us == coordinator->timer_us) {
        return;
    }
    coordinator->timer_us = at_us;
    schedule_add(
        schedule, at_us - schedule->now_us,
        &(struct happening){.run = tick, .owner = coordinator, .tag = ++coordinator->timer_tag});
}

/* A store result with a life of its own, so that it can wait for a paused coordinator. */
struct arrival {
    uint64_t process;
    struct store_result result;
};

static void arrival_free(void *data)
{
    struct arrival *arrival = data;
    store_result_release(&arrival->result);
    free(arrival);
}

static void store_came_back(struct happening *what)
{
    struct world_coordinator *coordinator = what->owner;
    struct arrival *arrival = what->data;
    if (coordinator->core == NULL || coordinator->process != arrival->process ||
        world_hold_back(&coordinator->held, coordinator->is_paused, what)) {
        return;
    }
    const struct store_result *result = &arrival->result;
    struct stored_record *records = xcalloc((size_t)result->kv_count + 1, sizeof(*records));
    struct store_result told = *result;
    int count = 0;
    for (int i = 0; i < result->kv_count; i++) {
        const struct store_kv *kv = &result->kvs[i];
        struct err err = {0};
        records[count] = (struct stored_record){.key = kv->key,
                                                .create_revision = kv->create_revision,
                                                .mod_revision = kv->mod_revision,
                                                .lease_id = kv->lease_id};
        if (record_decode(kv->value.data, kv->value.len, &records[count].record, &err) != 0) {
            world_violated(coordinator->world, "record %s cannot be read: %s", kv->key, err.text);
            continue;
        }
        count++;
    }
    told.kvs = NULL;
    told.kv_count = 0;
    struct coordinator_event event = {
        .kind = COORDINATOR_STORE, .result = &told, .records = records, .record_count = count};
    world_coordinator_feed(coordinator, &event);
    for (int i = 0; i < count; i++) {
        record_release(&records[i].record);
    }
    free(records);
}

struct store_call {
    struct world_coordinator *coordinator;
    uint64_t process;
};

static void copy_result(struct store_result *to, const struct store_result *from)
{
    *to = *from;
    to->kvs = NULL;
    to->kv_count = 0;
    for (int i = 0; i < from->kv_count; i++) {
        struct store_kv *kv = store_result_add_kv(to, from->kvs[i].key);
        strbuf_add(&kv->value, from->kvs[i].value.data, from->kvs[i].value.len);
        kv->create_revision = from->kvs[i].create_revision;
        kv->mod_revision = from->kvs[i].mod_revision;
        kv->lease_id = from->kvs[i].lease_id;
    }
}

static void store_done(void *owner, const struct store_result *result)
{
    struct store_call *call = owner;
    struct arrival *arrival = xcalloc(1, sizeof(*arrival));
    arrival->process = call->process;
    copy_result(&arrival->result, result);
    schedule_add(&call->coordinator->world->schedule, 0,
                 &(struct happening){.run = store_came_back,
                                     .release = arrival_free,
                                     .owner = call->coordinator,
                                     .data = arrival});
    free(call);
}

static void send_to_store(struct world_coordinator *coordinator, struct coordinator_effect *effect)
{
    struct world *world = coordinator->world;
    for (int i = 0; i < effect->record_count; i++) {
        const struct record_write *write = &effect->records[i];
        CHECK(write->write_index >= 0);
        CHECK(write->write_index < effect->request.write_count);
        record_encode(&write->record, &effect->request.writes[write->write_index].value);
    }
    if (world->mutation == MUTATION_UNGUARDED && effect->request.compare_count > 0 &&
        prng_chance(&world->prng, 1, 10)) {
        for (int i = 0; i < effect->request.compare_count; i++) {
            free(effect->request.compares[i].key);
        }
        effect->request.compare_count = 0;
    }
    struct store_call *call = xcalloc(1, sizeof(*call));
    *call = (struct store_call){.coordinator = coordinator, .process = coordinator->process};
    model_store_submit(&world->store, coordinator->place, &effect->request, store_done, call);
}

static void leader_changed(struct happening *what)
{
    struct world_coordinator *coordinator = what->owner;
    if (coordinator->core == NULL ||
        world_hold_back(&coordinator->held, coordinator->is_paused, what)) {
        return;
    }
    struct coordinator_event event = {.kind = COORDINATOR_CHANGED, .is_deleted = what->from != 0};
    world_coordinator_feed(coordinator, &event);
}

static void watched(void *owner,
                    const struct store_change *changes,
                    int count,
                    int64_t revision,
                    bool is_snapshot)
{
    struct world_coordinator *coordinator = owner;
    (void)revision;
    (void)is_snapshot;
    for (int i = 0; i < count; i++) {
        if (strcmp(changes[i].kv.key, "leader") == 0) {
            schedule_add(
                &coordinator->world->schedule, 0,
                &(struct happening){
                    .run = leader_changed, .owner = coordinator, .from = changes[i].is_delete});
        }
    }
}

static void restart(struct happening *what)
{
    struct world_coordinator *coordinator = what->owner;
    if (coordinator->core == NULL && what->tag == coordinator->process) {
        world_coordinator_start(coordinator);
    }
}

static void carry_out(struct world_coordinator *coordinator, struct coordinator_effect *effect)
{
    struct world *world = coordinator->world;
    switch (effect->kind) {
    case COORDINATOR_FX_STORE:
        send_to_store(coordinator, effect);
        break;
    case COORDINATOR_FX_REPLY:
        world_bus_reply(coordinator, effect->handle, &effect->message);
        break;
    case COORDINATOR_FX_COMMAND_DONE:
        world_operator_answered(world, effect);
        break;
    case COORDINATOR_FX_LOG:
        world_note(world, "coordinator%d %s %s%s", coordinator->index,
                   log_level_name(effect->log.level), effect->log.name,
                   strbuf_text(&effect->log.pairs));
        break;
    case COORDINATOR_FX_EXIT:
        world_note(world, "coordinator%d exits: %s", coordinator->index, effect->err.text);
        break;
    }
}

void world_coordinator_feed(struct world_coordinator *coordinator, struct coordinator_event *event)
{
    struct coordinator_effects fx = {0};
    struct world *world = coordinator->world;
    bool was_leader = coordinator_is_leader(coordinator->core);
    bool is_exit = false;
    event->now_ms = world_now_ms(world);
    event->wall_ms = event->now_ms + INT64_C(1700000000000);
    coordinator_step(coordinator->core, event, &fx);
    bool is_leader = coordinator_is_leader(coordinator->core);
    if (is_leader && !was_leader) {
        world_note(world, "coordinator%d leads with fence %lld", coordinator->index,
                   (long long)coordinator_fence(coordinator->core));
        coverage_add(world->coverage, SIGHT_ELECTION, 1);
    }
    for (int i = 0; i < fx.count; i++) {
        carry_out(coordinator, &fx.items[i]);
        is_exit = is_exit || fx.items[i].kind == COORDINATOR_FX_EXIT;
    }
    coordinator_effects_release(&fx);
    if (is_exit) {
        world_coordinator_crash(coordinator);
    } else if (coordinator->core != NULL) {
        arm(coordinator);
    }
}

void world_coordinator_start(struct world_coordinator *coordinator)
{
    struct world *world = coordinator->world;
    struct coordinator_config config = {
        .seed = prng_next(&world->prng),
        .lease_ttl_ms = 10000,
        .lease_margin_ms = 2000,
        .keepalive_interval_ms = 2000,
        .report_interval_ms = 2000,
        .order_valid_ms = 30000,
        .order_margin_ms = 5000,
        .moves_per_source_max = 1,
        .moves_per_target_max = 3,
        .moves_max = 16,
        .attempts_max = 8,
        .batch_slots_max = (int)prng_range(&world->prng, 8, 256),
        .big_key_bytes_max = INT64_C(512) << 20,
        .cluster = "sim",
        .agent_credential = "secret",
    };
    snprintf(config.self.name, sizeof(config.self.name), "coordinator%d", coordinator->index);
    snprintf(config.self.instance, sizeof(config.self.instance), "%016llx%016llx",
             (unsigned long long)prng_next(&world->prng),
             (unsigned long long)prng_next(&world->prng));
    snprintf(config.self.bus_url, sizeof(config.self.bus_url), "tcp://coordinator%d:7800",
             coordinator->index);
    snprintf(config.self.api_url, sizeof(config.self.api_url), "http://coordinator%d:7801",
             coordinator->index);
    coordinator->process++;
    coordinator->is_paused = false;
    coordinator->timer_us = NEVER;
    coordinator->timer_tag++;
    coordinator->core = coordinator_new(&config, world_now_ms(world));
    coordinator->watch =
        model_store_watch(&world->store, coordinator->place, "leader", 0, watched, coordinator);
    world_note(world, "coordinator%d starts", coordinator->index);
    struct coordinator_event event = {.kind = COORDINATOR_TICK};
    world_coordinator_feed(coordinator, &event);
}

void world_coordinator_crash(struct world_coordinator *coordinator)
{
    struct world *world = coordinator->world;
    if (coordinator->core == NULL) {
        return;
    }
    world_note(world, "coordinator%d is gone", coordinator->index);
    model_store_unwatch(&world->store, coordinator->watch);
    coordinator_free(coordinator->core);
    coordinator->core = NULL;
    coordinator->process++;
    coordinator->timer_tag++;
    coordinator->is_paused = false;
    world_drop_held(&coordinator->held);
    schedule_add(
        &world->schedule, prng_range(&world->prng, RESTART_US_MIN, RESTART_US_MAX),
        &(struct happening){.run = restart, .owner = coordinator, .tag = coordinator->process});
}

void world_coordinator_pause(struct world_coordinator *coordinator)
{
    if (coordinator->core != NULL) {
        world_note(coordinator->world, "coordinator%d is paused", coordinator->index);
        coordinator->is_paused = true;
    }
}

void world_coordinator_wake(struct world_coordinator *coordinator)
{
    if (coordinator->core != NULL && coordinator->is_paused) {
        world_note(coordinator->world, "coordinator%d goes on", coordinator->index);
        coordinator->is_paused = false;
        world_release_held(coordinator->world, &coordinator->held);
    }
}

struct world_coordinator *world_leader(struct world *world)
{
    struct world_coordinator *found = NULL;
    for (int i = 0; i < world->setup.coordinator_count; i++) {
        struct world_coordinator *coordinator = &world->coordinators[i];
        if (coordinator->core != NULL && !coordinator->is_paused &&
            coordinator_is_leader(coordinator->core) &&
            (found == NULL ||
             coordinator_fence(coordinator->core) > coordinator_fence(found->core))) {
            found = coordinator;
        }
    }
    return found;
}
