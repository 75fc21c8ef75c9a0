/* test_chaos.c — random faults in random order: whatever happens, no write without a leader's
 * fence, no batch that two orders carry out, and in the end everything is finished. The world
 * checks the first two after every step.
 *
 * A failing seed is repeated with DROVER_CHAOS_SEED=<seed> DROVER_CHAOS_RUNS=1. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "helper_world.h"

#define RUNS 30
#define FAULTS 25

static void heal(struct world *w)
{
    w->reply_loss_percent = 0;
    for (int i = 0; i < WORLD_COORDINATORS; i++) {
        w->store.fault[i] = STORE_WELL;
        w->coordinators[i].is_paused = false;
        if (w->coordinators[i].core == NULL) {
            world_start(w, i);
        }
    }
    for (int i = 0; i < w->agent_count; i++) {
        w->agents[i].is_cut = false;
        w->agents[i].is_paused = false;
        w->agents[i].does_nothing = false;
        w->agents[i].ends_as = 0;
        if (!w->agents[i].is_alive) {
            world_agent_start(w, i);
        }
    }
}

static void hurt_coordinator(struct world *w, struct prng *prng)
{
    int i = (int)prng_below(prng, WORLD_COORDINATORS);
    switch (prng_below(prng, 4)) {
    case 0:
        if (w->coordinators[i].core != NULL) {
            world_kill(w, i);
        } else {
            world_start(w, i);
        }
        break;
    case 1:
        w->coordinators[i].is_paused = !w->coordinators[i].is_paused;
        break;
    case 2:
        w->store.fault[i] = (enum store_fault)prng_below(prng, STORE_FULL + 1);
        break;
    default:
        w->store.fault[i] = STORE_WELL;
        break;
    }
}

static void hurt_agent(struct world *w, struct prng *prng)
{
    struct world_agent *agent = &w->agents[prng_below(prng, (uint64_t)w->agent_count)];
    int i = (int)(agent - w->agents);
    switch (prng_below(prng, 6)) {
    case 0:
        if (agent->is_alive) {
            world_agent_kill(w, i);
        } else {
            world_agent_start(w, i);
        }
        break;
    case 1:
        agent->is_cut = !agent->is_cut;
        break;
    case 2:
        agent->is_paused = !agent->is_paused;
        break;
    case 3:
        agent->does_nothing = !agent->does_nothing;
        break;
    case 4:
        agent->ends_as = prng_chance(prng, 1, 2) ? ORDER_FAILED : 0;
        agent->ends_code = ERR_TIMEOUT;
        break;
    default:
        w->reply_loss_percent = (int)prng_below(prng, 40);
        break;
    }
}

static void ask(struct world *w, struct prng *prng)
{
    const struct operation *operation = world_operation(w);
    int leader = world_leader(w);
    if (operation == NULL || leader < 0 || w->command_count > 40) {
        return;
    }
    char id[OPERATION_ID_SIZE];
    memcpy(id, operation->id, sizeof(id));
    (void)world_verb(w, leader, prng_chance(prng, 1, 2) ? COMMAND_PAUSE : COMMAND_RESUME, id);
}

static void check_end(const struct world *w, int spare)
{
    if (world_state(w) != OPERATION_DONE) {
        return;
    }
    if (spare < 0) {
        assert_int_equal(world_slots_of(w, 0), 0);
        return;
    }
    assert_true(w->nodes[spare].is_member);
    assert_in_range(world_slots_of(w, spare), 4000, 4200);
}

/* Every other seed adds a node, whose plan grows; the others drain one. */
static void run_seed(uint64_t seed)
{
    struct world w;
    struct prng prng;
    prng_init(&prng, seed);
    world_init(&w, 3, 0, 3);
    int spare = seed % 2 == 0 ? world_add_spare(&w) : -1;
    prng_init(&w.prng, seed ^ 77);
    w.config.lease_ttl_ms = 4000;
    w.config.keepalive_interval_ms = 800;
    w.config.report_interval_ms = 500;
    w.config.order_valid_ms = 12000;
    w.config.order_margin_ms = 1000;
    for (int i = 0; i < 3; i++) {
        w.agents[i].moves_per_tick = 3;
    }
    world_start(&w, 0);
    world_start(&w, 1);
    WORLD_UNTIL(&w, 10000, strstr(world_why(&w), "nothing to do") != NULL);
    if (spare >= 0) {
        (void)world_add(&w, world_leader(&w), COMMAND_START, spare);
    } else {
        (void)world_drain(&w, world_leader(&w), 0);
    }
    for (int i = 0; i < FAULTS; i++) {
        world_run(&w, (int64_t)prng_below(&prng, 6000));
        uint64_t what = prng_below(&prng, 10);
        if (what < 4) {
            hurt_coordinator(&w, &prng);
        } else if (what < 9) {
            hurt_agent(&w, &prng);
        } else {
            ask(&w, &prng);
        }
    }
    heal(&w);
    WORLD_UNTIL(&w, 60000, world_leader(&w) >= 0 && world_operation(&w) != NULL);
    for (int tries = 0; tries < 200 && world_state(&w) != OPERATION_DONE; tries++) {
        enum operation_state state = world_state(&w);
        int leader = world_leader(&w);
        bool is_waiting = state == OPERATION_PAUSED || state == OPERATION_HELD;
        if (leader >= 0 && is_waiting && w.command_count < 60) {
            char id[OPERATION_ID_SIZE];
            memcpy(id, world_operation(&w)->id, sizeof(id));
            (void)world_verb(&w, leader, COMMAND_RESUME, id);
        }
        if (state == OPERATION_FAILED || state == OPERATION_CANCELLED) {
            break;
        }
        world_run(&w, 2000);
    }
    if (world_state(&w) != OPERATION_DONE && world_state(&w) != OPERATION_FAILED) {
        fprintf(stderr, "%s\nwhy: %s\n", strbuf_text(&w.log), world_why(&w));
        fail_msg("the operation does not end: DROVER_CHAOS_SEED=%llu DROVER_CHAOS_RUNS=1",
                 (unsigned long long)seed);
    }
    check_end(&w, spare);
    world_release(&w);
}

static void test_chaos(void **state)
{
    (void)state;
    const char *first = getenv("DROVER_CHAOS_SEED");
    const char *runs = getenv("DROVER_CHAOS_RUNS");
    uint64_t seed = first != NULL ? strtoull(first, NULL, 10) : 1;
    uint64_t count = runs != NULL ? strtoull(runs, NULL, 10) : RUNS;
    for (uint64_t i = 0; i < count; i++) {
        fprintf(stderr, "seed %llu\n", (unsigned long long)(seed + i));
        run_seed(seed + i);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_chaos)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
