/* test_leadership.c — who leads, how a term ends, what a new leader does first: see helper_world.h.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "helper_world.h"

#include "common/base/alloc.h"

/* Of two that start at once one leads, and the other stands by and knows who. */
static void test_race(void **state)
{
    (void)state;
    struct world w;
    world_init(&w, 3, 0, 1);
    world_start(&w, 0);
    world_start(&w, 1);
    WORLD_UNTIL(&w, 3000, world_leader(&w) >= 0);
    int leader = world_leader(&w);
    world_run(&w, 10000);
    assert_int_equal(world_leader(&w), leader);
    assert_int_equal(w.coordinators[0].terms + w.coordinators[1].terms, 1);
    const struct leader_record *known = coordinator_known_leader(w.coordinators[1 - leader].core);
    assert_non_null(known);
    assert_int_equal(known->name[1], '0' + leader);
    assert_non_null(strstr(coordinator_why(w.coordinators[1 - leader].core), "stands by"));
    world_release(&w);
}

/* A leader that dies is followed within TTL + 2 s. */
static void test_leader_dies(void **state)
{
    (void)state;
    struct world w;
    world_init(&w, 3, 0, 1);
    world_start(&w, 0);
    WORLD_UNTIL(&w, 3000, world_leader(&w) == 0);
    world_start(&w, 1);
    world_run(&w, 3000);
    world_kill(&w, 0);
    WORLD_UNTIL(&w, 12000, world_leader(&w) == 1);
    world_release(&w);
}

/* A stop gives the lease back, so that the other leads at once. */
static void test_resign(void **state)
{
    (void)state;
    struct world w;
    world_init(&w, 3, 0, 1);
    world_start(&w, 0);
    WORLD_UNTIL(&w, 3000, world_leader(&w) == 0);
    world_start(&w, 1);
    world_run(&w, 3000);
    struct coordinator_event stop = {.kind = COORDINATOR_STOP};
    world_send(&w, 0, &stop);
    WORLD_UNTIL(&w, 500, world_leader(&w) == 1);
    assert_true(w.coordinators[0].has_exited);
    world_release(&w);
}

/* A leader that slept through its term does nothing on waking: the next event finds the deadline
 * passed. */
static void test_paused_leader(void **state)
{
    (void)state;
    struct world w;
    world_init(&w, 3, 0, 1);
    world_start(&w, 0);
    WORLD_UNTIL(&w, 3000, world_leader(&w) == 0);
    world_start(&w, 1);
    world_run(&w, 3000);
    w.coordinators[0].is_paused = true;
    WORLD_UNTIL(&w, 12000, world_leader(&w) == 1);
    w.coordinators[0].is_paused = false;
    struct coordinator_event tick = {.kind = COORDINATOR_TICK};
    world_send(&w, 0, &tick);
    assert_false(coordinator_is_leader(w.coordinators[0].core));
    world_run(&w, 5000);
    assert_int_equal(w.coordinators[0].terms, 1);
    assert_true(coordinator_is_leader(w.coordinators[1].core));
    world_release(&w);
}

/* Without keepalives the term ends a margin before the TTL, counted from when the last good one was
 * sent. */
static void test_term_ends_before_ttl(void **state)
{
    (void)state;
    struct world w;
    world_init(&w, 3, 0, 1);
    world_start(&w, 0);
    WORLD_UNTIL(&w, 3000, world_leader(&w) == 0);
    world_run(&w, 4100);
    int64_t term_end_ms = coordinator_term_end_ms(w.coordinators[0].core);
    w.store.fault[0] = STORE_LOST;
    WORLD_UNTIL(&w, 12000, world_leader(&w) < 0);
    assert_in_range(w.now_ms, term_end_ms, term_end_ms + 20);
    assert_int_equal(w.store.lease_count, 1); /* the store still holds it: we gave up first */
    assert_true(w.store.leases[0].ends_ms > w.now_ms);
    w.store.fault[0] = STORE_WELL;
    WORLD_UNTIL(
        &w, 15000,
        world_leader(&w) == 0); /* goes back to following and leads again without a restart */
    assert_int_equal(w.coordinators[0].terms, 2);
    world_release(&w);
}

/* A lease that was revoked behind our back ends the term with the next keepalive or the watch. */
static void test_lease_revoked(void **state)
{
    (void)state;
    struct world w;
    world_init(&w, 3, 0, 1);
    world_start(&w, 0);
    WORLD_UNTIL(&w, 3000, world_leader(&w) == 0);
    world_run(&w, 1000);
    w.store.leases[0].ends_ms = w.now_ms;
    WORLD_UNTIL(&w, 2500, world_log_count(&w, "election.term_ended") == 1);
    WORLD_UNTIL(&w, 3000, world_leader(&w) == 0);
    world_release(&w);
}

/* A claim whose outcome is unknown is read back: ours only if instance and lease are ours. */
static void test_ambiguous_claim(void **state)
{
    (void)state;
    for (int fault = STORE_DONE_SILENT; fault <= STORE_LOST; fault++) {
        struct world w;
        world_init(&w, 3, 0, 1);
        world_start(&w, 0);
        WORLD_UNTIL(&w, 3000, world_log_count(&w, "election.campaigning") == 1);
        world_run(&w, 5);
        /* The grant is on its way; what follows is the claim. */
        w.store.fault[0] = (enum store_fault)fault;
        world_run(&w, 100);
        w.store.fault[0] = STORE_WELL;
        WORLD_UNTIL(&w, 20000, world_leader(&w) == 0);
        assert_int_equal(w.coordinators[0].terms, 1);
        world_release(&w);
    }
}

/* A deleted leader key is a rumour until a guarded write fails. */
static void test_rumour(void **state)
{
    (void)state;
    struct world w;
    world_init(&w, 3, 0, 1);
    world_start(&w, 0);
    WORLD_UNTIL(&w, 3000, world_leader(&w) == 0);
    struct coordinator_event rumour = {.kind = COORDINATOR_CHANGED, .is_deleted = true};
    world_send(&w, 0, &rumour);
    world_run(&w, 1000);
    assert_int_equal(world_leader(&w), 0);
    assert_int_equal(w.coordinators[0].terms, 1);
    world_release(&w);
}

/* Coordinator 0 leads and has moved some of the slots of a drain, 1 stands by. The number of the
 * command that began it. */
static int drain_half_way(struct world *w)
{
    world_init(w, 3, 0, 3);
    world_start(w, 0);
    WORLD_UNTIL(w, 5000, strstr(world_why(w), "nothing to do") != NULL);
    world_start(w, 1);
    int start = world_drain(w, 0, 0);
    WORLD_UNTIL(w, 20000,
                world_state(w) == OPERATION_RUNNING && world_operation(w)->slots_moved > 700);
    return start;
}

/* The standby finishes what the dead leader began: it loads the journal, has its fence confirmed,
 * and goes on. */
static void test_takeover(void **state)
{
    (void)state;
    struct world w;
    (void)drain_half_way(&w);
    char id[OPERATION_ID_SIZE];
    memcpy(id, world_operation(&w)->id, sizeof(id));
    struct err err = {0};
    assert_int_equal(coordinator_check_ready(w.coordinators[0].core, &err), 0);
    assert_int_equal(coordinator_check_ready(w.coordinators[1].core, &err), ERR_NOT_LEADER);
    world_kill(&w, 0);
    WORLD_UNTIL(&w, 12000, coordinator_is_leader(w.coordinators[1].core));
    /* It may not know of the operation yet, and does not say that there is none. */
    assert_int_equal(coordinator_check_ready(w.coordinators[1].core, &err), ERR_UNAVAILABLE);
    WORLD_UNTIL(&w, 3000, coordinator_check_ready(w.coordinators[1].core, &err) == 0);
    assert_int_equal(world_state(&w), OPERATION_RUNNING);
    assert_string_equal(world_operation(&w)->id, id);
    WORLD_UNTIL(&w, 60000, world_state(&w) == OPERATION_DONE);
    assert_int_equal(world_slots_of(&w, 0), 0);
    assert_true(world_log_count(&w, "batch.adopted") > 0);
    world_release(&w);
}

/* A new leader does not touch the batches of an agent that does not confirm the fence before the
 * order has expired. */
static void test_takeover_waits(void **state)
{
    (void)state;
    struct world w;
    (void)drain_half_way(&w);
    w.agents[0].is_cut = true;
    world_kill(&w, 0);
    WORLD_UNTIL(&w, 12000, world_leader(&w) == 1);
    int64_t led_ms = w.now_ms;
    world_run(&w, 10000);
    assert_non_null(strstr(world_why(&w), "confirm our fence"));
    WORLD_UNTIL(&w, 60000, world_log_count(&w, "batch.taken_back") > 0);
    assert_true(w.now_ms - led_ms >= 34900);
    WORLD_UNTIL(&w, 90000, world_state(&w) == OPERATION_DONE);
    world_release(&w);
}

/* An agent that was told the new fence but has not confirmed it may still run a command of the old
 * leader: it gets nothing to do, and what it does not list is not believed to be gone. */
static void test_fence_is_waited_for(void **state)
{
    (void)state;
    struct world w;
    (void)drain_half_way(&w);
    w.agents[0].ack_max = w.agents[0].fence_disk;
    w.agents[0].order_count = 0; /* lists nothing */
    world_kill(&w, 0);
    WORLD_UNTIL(&w, 12000, world_leader(&w) == 1);
    int received = w.agents[0].orders_received;
    world_run(&w, 15000);
    assert_true(w.agents[0].fence_disk > w.agents[0].ack_max); /* it was told */
    assert_int_equal(w.agents[0].orders_received, received);
    assert_non_null(strstr(world_why(&w), "confirm our fence"));
    w.agents[0].ack_max = 0;
    WORLD_UNTIL(&w, 3000, w.agents[0].orders_received > received);
    WORLD_UNTIL(&w, 60000, world_state(&w) == OPERATION_DONE);
    world_release(&w);
}

/* An agent that comes back with an empty disk may be another machine of the same name: what its
 * predecessor was ordered lives until it expires, counted from the start of the new term. */
static void test_inherited_order_lives(void **state)
{
    (void)state;
    struct world w;
    (void)drain_half_way(&w);
    world_kill(&w, 0);
    world_agent_kill(&w, 0);
    w.agents[0].fence_disk = 0;
    WORLD_UNTIL(&w, 12000, world_leader(&w) == 1);
    int64_t led_ms = w.now_ms;
    int received = w.agents[0].orders_received;
    world_run(&w, 8000);
    world_agent_start(&w, 0);
    WORLD_UNTIL(&w, 60000, w.agents[0].orders_received > received);
    assert_true(w.now_ms - led_ms >= 34900); /* 30 s of validity and 5 s of margin */
    WORLD_UNTIL(&w, 60000, world_state(&w) == OPERATION_DONE);
    world_release(&w);
}

/* A pause and a cancel asked of one leader are carried out by the next. */
static void test_takeover_in_other_states(void **state)
{
    (void)state;
    for (int i = 0; i < 2; i++) {
        struct world w;
        int start = drain_half_way(&w);
        w.agents[0].does_nothing = true;
        (void)world_verb(&w, 0, i == 0 ? COMMAND_PAUSE : COMMAND_CANCEL,
                         world_answer(&w, start)->operation_id);
        world_run(&w, 200);
        world_kill(&w, 0);
        WORLD_UNTIL(&w, 12000, world_leader(&w) == 1);
        WORLD_UNTIL(&w, 60000,
                    world_state(&w) == (i == 0 ? OPERATION_PAUSED : OPERATION_CANCELLED));
        world_release(&w);
    }
}

/* A record that cannot be read stops everything that could contradict it, and the sentence names
 * it. */
static void test_unreadable_record(void **state)
{
    (void)state;
    struct world w;
    world_init(&w, 3, 0, 1);
    w.store.kvs = xcalloc(1, sizeof(*w.store.kvs));
    w.store.kvs[w.store.kv_count++] = (struct world_kv){
        .key = xstrdup("operations/op-9-1"), .create_revision = 1, .mod_revision = 1};
    world_start(&w, 0);
    WORLD_UNTIL(&w, 3000, world_leader(&w) == 0);
    world_run(&w, 3000);
    assert_non_null(strstr(world_why(&w), "operations/op-9-1"));
    int drain = world_drain(&w, 0, 0);
    assert_int_equal(world_answer(&w, drain)->err.code, ERR_VERSION);
    assert_int_equal(w.store.kv_count > 0, 1);
    world_release(&w);
}

/* Agents that cannot be served are told why, and a wrong one is never registered. */
static void test_refused_agents(void **state)
{
    (void)state;
    struct world w;
    world_init(&w, 3, 0, 2);
    (void)snprintf(w.config.agent_credential, sizeof(w.config.agent_credential), "right");
    world_start(&w, 0);
    (void)snprintf(w.config.agent_credential, sizeof(w.config.agent_credential), "wrong");
    world_run(&w, 3000);
    assert_int_equal(w.agents[0].last_refusal.code, ERR_AUTH);
    assert_int_equal(coordinator_agent_count(world_core(&w)), 0);
    (void)snprintf(w.config.agent_credential, sizeof(w.config.agent_credential), "right");
    WORLD_UNTIL(&w, 3000, w.agents[0].session != 0 && w.agents[1].session != 0);
    /* A second machine with the same name is turned away while the first one reports. */
    w.agents[1].id = w.agents[0].id;
    w.agents[1].session = 0;
    w.agents[1].is_waiting = false;
    world_run(&w, 3000);
    assert_int_equal(w.agents[1].last_refusal.code, ERR_EXISTS);
    assert_non_null(strstr(w.agents[1].last_refusal.text, "h1"));
    assert_true(w.agents[0].session != 0);
    /* A message that is no request is refused, not obeyed. */
    struct message message = {.kind = MESSAGE_HELLO};
    (void)snprintf(message.as.hello.agent.text, sizeof(message.as.hello.agent.text), "h9");
    (void)snprintf(message.as.hello.credential, sizeof(message.as.hello.credential), "right");
    message.as.hello.proto_version = PROTO_VERSION + 1;
    struct coordinator_event event = {
        .kind = COORDINATOR_MESSAGE, .handle = 100001, .message = &message};
    world_send(&w, 0, &event);
    assert_int_equal(w.agents[1].last_refusal.code, ERR_VERSION); /* the handle is agent 1's */
    assert_true(world_log_count(&w, "code=version") == 1);
    world_release(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_race),
        cmocka_unit_test(test_leader_dies),
        cmocka_unit_test(test_resign),
        cmocka_unit_test(test_paused_leader),
        cmocka_unit_test(test_term_ends_before_ttl),
        cmocka_unit_test(test_lease_revoked),
        cmocka_unit_test(test_ambiguous_claim),
        cmocka_unit_test(test_rumour),
        cmocka_unit_test(test_takeover),
        cmocka_unit_test(test_takeover_waits),
        cmocka_unit_test(test_fence_is_waited_for),
        cmocka_unit_test(test_inherited_order_lives),
        cmocka_unit_test(test_takeover_in_other_states),
        cmocka_unit_test(test_unreadable_record),
        cmocka_unit_test(test_refused_agents),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
