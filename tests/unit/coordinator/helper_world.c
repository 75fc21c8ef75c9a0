/* helper_world.c — see helper_world.h. */
#include "helper_world_parts.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "common/base/alloc.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define AGENT_TICK_MS 20

/* ---- coordinators ---- */

static void check_write(const struct world *w, int i, const struct store_request *request)
{
    if (request->kind != STORE_TXN) {
        return;
    }
    assert_true(request->compare_count >= 1);
    assert_string_equal(request->compares[0].key, "leader");
    assert_int_equal(request->compares[0].field, STORE_CREATE_REVISION);
    bool is_claim = request->compares[0].revision == 0;
    const struct coordinator *core = w->coordinators[i].core;
    if (is_claim) {
        assert_int_equal(request->write_count, 1);
        assert_string_equal(request->writes[0].key, "leader");
    } else {
        assert_true(coordinator_is_leader(core));
        assert_int_equal(request->compares[0].revision, coordinator_fence(core));
    }
    for (int n = 0; n < request->write_count && !is_claim; n++) {
        bool is_compared = strcmp(request->writes[n].key, "leader") == 0;
        for (int k = 1; k < request->compare_count; k++) {
            is_compared =
                is_compared || (strcmp(request->compares[k].key, request->writes[n].key) == 0 &&
                                request->compares[k].field == STORE_MOD_REVISION);
        }
        assert_true(is_compared);
    }
}

static void take_store(struct world *w, int i, struct coordinator_effect *effect)
{
    struct world_store *store = &w->store;
    check_write(w, i, &effect->request);
    enum store_fault fault = store->fault[i];
    bool is_silent = fault == STORE_LOST || fault == STORE_DONE_SILENT;
    store->requests =
        xreallocarray(store->requests, (size_t)store->request_count + 1, sizeof(*store->requests));
    store->requests[store->request_count++] = (struct world_request){
        .coordinator = i,
        .effect = *effect,
        .due_ms = w->now_ms + (is_silent ? effect->request.timeout_ms : store->latency_ms),
        .fault = fault,
    };
    *effect = (struct coordinator_effect){0};
}

static void take_reply(struct world *w, const struct coordinator_effect *effect)
{
    bool is_lost =
        w->reply_loss_percent > 0 && prng_chance(&w->prng, (uint64_t)w->reply_loss_percent, 100);
    int agent = (int)(effect->handle % WORLD_AGENTS);
    bool is_for_this_process = effect->handle / WORLD_AGENTS > w->agents[agent].handle_floor;
    if (!is_lost && is_for_this_process && w->agents[agent].is_alive &&
        !w->agents[agent].is_paused && !w->agents[agent].is_cut) {
        agent_answer(w, agent, &effect->message, effect->handle);
    }
}

static void take_answer(struct world *w, struct coordinator_effect *effect)
{
    assert_true(effect->handle >= WORLD_COMMAND_BASE);
    struct world_answer *answer = &w->answers[effect->handle - WORLD_COMMAND_BASE];
    assert_false(answer->is_done); /* exactly once */
    answer->is_done = true;
    answer->err = effect->err;
    answer->plan = effect->plan;
    effect->plan = (struct plan){0};
    answer->description = effect->description;
    effect->description = NULL;
    memcpy(answer->operation_id, effect->operation_id, sizeof(answer->operation_id));
}

void world_send(struct world *w, int i, const struct coordinator_event *event)
{
    struct world_coordinator *coordinator = &w->coordinators[i];
    if (coordinator->core == NULL || coordinator->is_paused || coordinator->has_exited) {
        return;
    }
    struct coordinator_event timed = *event;
    timed.now_ms = w->now_ms;
    timed.wall_ms = 1700000000000 + w->now_ms;
    bool was_leader = coordinator_is_leader(coordinator->core);
    struct coordinator_effects fx = {0};
    coordinator_step(coordinator->core, &timed, &fx);
    w->steps++;
    if (!was_leader && coordinator_is_leader(coordinator->core)) {
        coordinator->terms++;
    }
    for (int n = 0; n < fx.count; n++) {
        struct coordinator_effect *effect = &fx.items[n];
        switch (effect->kind) {
        case COORDINATOR_FX_STORE:
            take_store(w, i, effect);
            break;
        case COORDINATOR_FX_REPLY:
            take_reply(w, effect);
            break;
        case COORDINATOR_FX_COMMAND_DONE:
            take_answer(w, effect);
            break;
        case COORDINATOR_FX_LOG:
            if (effect->log.level >= LOG_INFO) {
                strbuf_addf(&w->log, "[%6lld] c%d %s%s\n", (long long)w->now_ms, i,
                            effect->log.name, strbuf_text(&effect->log.pairs));
            }
            break;
        case COORDINATOR_FX_EXIT:
            coordinator->has_exited = true;
            break;
        }
    }
    coordinator_effects_release(&fx);
}

static bool coordinators_run(struct world *w)
{
    bool did = false;
    for (int i = 0; i < WORLD_COORDINATORS; i++) {
        struct world_coordinator *coordinator = &w->coordinators[i];
        if (coordinator->core == NULL || coordinator->is_paused || coordinator->has_exited) {
            continue;
        }
        int turns = 0;
        while (!coordinator->has_exited && coordinator_deadline(coordinator->core) <= w->now_ms) {
            struct coordinator_event event = {.kind = COORDINATOR_TICK};
            world_send(w, i, &event);
            did = true;
            if (++turns > 50) {
                fail_msg("coordinator %d does not come to rest at %lld", i, (long long)w->now_ms);
            }
        }
    }
    return did;
}

/* ---- the world ---- */

static void name_node(struct world_node *node, int i)
{
    *node = (struct world_node){.is_primary = true, .open_slot = -1};
    (void)snprintf(node->id.text, sizeof(node->id.text), "%040d", i + 1);
    node->address.port = (uint16_t)(7001 + i);
    (void)snprintf(node->address.host, sizeof(node->address.host), "10.0.0.%d", i + 1);
    (void)snprintf(node->run_id, sizeof(node->run_id), "%040d", 1000 + i);
}

int world_add_spare(struct world *w)
{
    assert_true(w->node_count < WORLD_NODES);
    name_node(&w->nodes[w->node_count], w->node_count);
    return w->node_count++;
}

void world_init(struct world *w, int primaries, int replicas_each, int agents)
{
    *w = (struct world){
        .now_ms = 0, .agent_count = agents, .node_count = primaries * (1 + replicas_each)};
    assert_true(w->node_count <= WORLD_NODES);
    assert_true(agents <= WORLD_AGENTS);
    prng_init(&w->prng, 42);
    w->store.latency_ms = 5;
    w->store.revision = 100;
    w->config = (struct coordinator_config){.lease_ttl_ms = 10000, .batch_slots_max = 512};
    for (int i = 0; i < w->node_count; i++) {
        name_node(&w->nodes[i], i);
        w->nodes[i].is_primary = i < primaries;
        w->nodes[i].primary = i % primaries;
        w->nodes[i].is_member = true;
    }
    for (int slot = 0; slot < SLOT_COUNT; slot++) {
        w->owner[slot] = (int16_t)(slot * primaries / SLOT_COUNT);
    }
    for (int i = 0; i < agents; i++) {
        struct world_agent *agent = &w->agents[i];
        *agent = (struct world_agent){.moves_per_tick = 16, .task_ticks = 10};
        (void)snprintf(agent->id.text, sizeof(agent->id.text), "h%d", i + 1);
        agent->first_node = w->node_count * i / agents;
        agent->node_count = w->node_count * (i + 1) / agents - agent->first_node;
        world_agent_start(w, i);
    }
}

void world_release(struct world *w)
{
    for (int i = 0; i < WORLD_COORDINATORS; i++) {
        coordinator_free(w->coordinators[i].core);
    }
    while (w->store.kv_count > 0) {
        store_delete(&w->store, w->store.kvs[0].key);
    }
    for (int i = 0; i < w->store.request_count; i++) {
        request_release(&w->store.requests[i]);
    }
    for (int i = 0; i < w->command_count; i++) {
        plan_release(&w->answers[i].plan);
        free(w->answers[i].description);
    }
    for (int i = 0; i < w->node_count; i++) {
        strbuf_release(&w->nodes[i].text);
    }
    free(w->store.kvs);
    free(w->store.requests);
    strbuf_release(&w->log);
}

void world_start(struct world *w, int i)
{
    struct world_coordinator *coordinator = &w->coordinators[i];
    assert_null(coordinator->core);
    struct coordinator_config config = w->config;
    config.seed = prng_next(&w->prng);
    (void)snprintf(config.self.name, sizeof(config.self.name), "c%d", i);
    (void)snprintf(config.self.instance, sizeof(config.self.instance), "%016llx",
                   (unsigned long long)prng_next(&w->prng));
    (void)snprintf(config.self.bus_url, sizeof(config.self.bus_url), "tcp://c%d:7400", i);
    (void)snprintf(config.self.api_url, sizeof(config.self.api_url), "http://c%d:7480", i);
    *coordinator = (struct world_coordinator){.core = coordinator_new(&config, w->now_ms)};
}

void world_kill(struct world *w, int i)
{
    struct world_store *store = &w->store;
    coordinator_free(w->coordinators[i].core);
    w->coordinators[i] = (struct world_coordinator){0};
    for (int n = store->request_count - 1; n >= 0; n--) {
        if (store->requests[n].coordinator == i) {
            request_release(&store->requests[n]);
            store->request_count--;
            memmove(&store->requests[n], &store->requests[n + 1],
                    (size_t)(store->request_count - n) * sizeof(*store->requests));
        }
    }
    for (int n = 0; n < w->agent_count; n++) {
        w->agents[n].is_waiting = w->agents[n].is_waiting && w->agents[n].coordinator != i;
    }
}

static void settle(struct world *w)
{
    int rounds = 0;
    while (store_run(w) || coordinators_run(w)) {
        if (++rounds > 1000) {
            fail_msg("the world does not come to rest at %lld", (long long)w->now_ms);
        }
    }
}

void world_run(struct world *w, int64_t ms)
{
    int64_t end_ms = w->now_ms + ms;
    while (w->now_ms < end_ms) {
        settle(w);
        if (w->now_ms % AGENT_TICK_MS == 0) {
            agents_run(w);
            settle(w);
        }
        w->now_ms += 5;
    }
    settle(w);
}

int world_leader(const struct world *w)
{
    for (int i = 0; i < WORLD_COORDINATORS; i++) {
        const struct world_coordinator *coordinator = &w->coordinators[i];
        if (coordinator->core != NULL && !coordinator->is_paused && !coordinator->has_exited &&
            coordinator_is_leader(coordinator->core)) {
            return i;
        }
    }
    return -1;
}

const struct coordinator *world_core(const struct world *w)
{
    int leader = world_leader(w);
    return leader >= 0 ? w->coordinators[leader].core : NULL;
}

const char *world_why(const struct world *w)
{
    const struct coordinator *core = world_core(w);
    return core != NULL ? coordinator_why(core) : "nobody leads";
}

int world_command(struct world *w, int i, const struct coordinator_command *command)
{
    int number = w->command_count++;
    assert_true(number < 64);
    struct coordinator_event event = {.kind = COORDINATOR_COMMAND,
                                      .handle = WORLD_COMMAND_BASE + (uint64_t)number,
                                      .command = command};
    world_send(w, i, &event);
    settle(w);
    return number;
}

const struct world_answer *world_answer(const struct world *w, int number)
{
    return &w->answers[number];
}

int world_drain(struct world *w, int i, int node)
{
    struct coordinator_command command = {.kind = COMMAND_START};
    command.request.kind = OPERATION_DRAIN;
    command.request.node = w->nodes[node].id;
    return world_command(w, i, &command);
}

int world_add(struct world *w, int i, enum coordinator_command_kind kind, int node)
{
    struct coordinator_command command = {.kind = kind};
    command.request.kind = OPERATION_ADD;
    command.request.addresses = &w->nodes[node].address;
    command.request.address_count = 1;
    return world_command(w, i, &command);
}

int world_verb(struct world *w, int i, enum coordinator_command_kind kind, const char *operation_id)
{
    struct coordinator_command command = {.kind = kind};
    (void)snprintf(command.operation_id, sizeof(command.operation_id), "%s", operation_id);
    return world_command(w, i, &command);
}

const struct operation *world_operation(const struct world *w)
{
    const struct coordinator *core = world_core(w);
    return core != NULL && coordinator_operation_count(core) > 0 ? coordinator_operation(core, 0)
                                                                 : NULL;
}

enum operation_state world_state(const struct world *w)
{
    const struct operation *operation = world_operation(w);
    return operation != NULL ? operation->state : 0;
}

int world_log_count(const struct world *w, const char *text)
{
    int count = 0;
    for (const char *at = strstr(strbuf_text(&w->log), text); at != NULL;
         at = strstr(at + 1, text)) {
        count++;
    }
    return count;
}
