/* test_marks.c — a mark that only a replica has left is ordered away before an operation ends, in
 * virtual time: see helper_world.h. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "helper_world.h"

#define SLOTS 100
#define MARK_ORDERS_MAX 10 /* as in coordinator/core/follow.c */

/* Nodes 0, 1 and 2 are primaries; 3, 4 and 5 replicate them. SLOTS slots go from 0 to 1. */
static void begin(struct world *w)
{
    world_init(w, 3, 1, 3);
    world_start(w, 0);
    WORLD_UNTIL(w, 5000, strstr(world_why(w), "nothing to do") != NULL);
    struct coordinator_command command = {.kind = COMMAND_START};
    command.request.kind = OPERATION_RESHARD;
    command.request.target = w->nodes[1].id;
    command.request.slot_count = SLOTS;
    command.request.source_count = 1;
    command.request.sources = &w->nodes[0].id;
    (void)world_command(w, 0, &command);
}

/* The replica shows a mark of a slot that has moved. */
static int mark(struct world *w, int replica, int peer)
{
    int slot = 0;
    while (w->owner[slot] != 1) {
        slot++;
    }
    w->nodes[replica].open_slot = slot;
    w->nodes[replica].open_peer = peer;
    w->nodes[replica].is_importing = replica != 3;
    return slot;
}

static void run_to_last_slot(struct world *w)
{
    int before = world_slots_of(w, 1);
    WORLD_UNTIL(w, 60000, world_slots_of(w, 1) == before + SLOTS);
    assert_int_equal(world_state(w), OPERATION_RUNNING);
}

/* A mark that appears when every batch is done: the slot is ordered once more, and the operation
 * ends. Of the target's replica and of the source's. */
static void test_late_mark_is_ordered_away(void **state)
{
    (void)state;
    for (int replica = 3; replica <= 4; replica++) {
        struct world w;
        begin(&w);
        run_to_last_slot(&w);
        int orders = world_log_count(&w, "batch.ordered");
        (void)mark(&w, replica, 4 - replica);
        WORLD_UNTIL(&w, 20000, world_state(&w) == OPERATION_DONE);
        assert_int_equal(w.nodes[replica].open_slot, -1);
        assert_int_equal(world_log_count(&w, "batch.ordered"), orders + 1);
        assert_int_equal(world_operation(&w)->slots_moved, SLOTS);
        world_release(&w);
    }
}

/* Its link is down for a while: ordered again with pauses, until it is back. */
static void test_link_comes_back(void **state)
{
    (void)state;
    struct world w;
    begin(&w);
    run_to_last_slot(&w);
    (void)mark(&w, 4, 0);
    w.nodes[4].keeps_mark = true;
    world_run(&w, 60000);
    assert_int_equal(world_state(&w), OPERATION_RUNNING);
    w.nodes[4].keeps_mark = false;
    WORLD_UNTIL(&w, 30000, world_state(&w) == OPERATION_DONE);
    world_release(&w);
}

/* A mark that stays whatever is done: a bounded number of orders, then a person is asked, who may
 * have it tried again. */
static void test_mark_that_stays_is_held(void **state)
{
    (void)state;
    struct world w;
    begin(&w);
    run_to_last_slot(&w);
    int orders = world_log_count(&w, "batch.ordered");
    int slot = mark(&w, 4, 0);
    w.nodes[4].keeps_mark = true;
    WORLD_UNTIL(&w, 400000, world_state(&w) == OPERATION_HELD);
    char wanted[32];
    (void)snprintf(wanted, sizeof(wanted), "slot %d is open", slot);
    assert_non_null(strstr(world_operation(&w)->reason, wanted));
    assert_int_equal(world_log_count(&w, "batch.ordered"), orders + MARK_ORDERS_MAX);
    w.nodes[4].keeps_mark = false;
    (void)world_verb(&w, 0, COMMAND_RESUME, world_operation(&w)->id);
    WORLD_UNTIL(&w, 20000, world_state(&w) == OPERATION_DONE);
    world_release(&w);
}

/* A new leader finds the batch given back, and orders it. */
static void test_leader_changes_meanwhile(void **state)
{
    (void)state;
    struct world w;
    begin(&w);
    world_start(&w, 1);
    run_to_last_slot(&w);
    (void)mark(&w, 4, 0);
    w.nodes[4].keeps_mark = true;
    WORLD_UNTIL(&w, 20000, world_log_count(&w, "batch.retry") > 0);
    world_kill(&w, 0);
    w.nodes[4].keeps_mark = false;
    WORLD_UNTIL(&w, 60000, world_state(&w) == OPERATION_DONE);
    assert_int_equal(w.nodes[4].open_slot, -1);
    world_release(&w);
}

/* A primary's own mark is somebody's doing: no order, as ever. */
static void test_primarys_mark_is_not_ordered_away(void **state)
{
    (void)state;
    struct world w;
    begin(&w);
    run_to_last_slot(&w);
    int orders = world_log_count(&w, "batch.ordered");
    (void)mark(&w, 1, 0);
    WORLD_UNTIL(&w, 200000, world_state(&w) == OPERATION_HELD);
    assert_int_equal(world_log_count(&w, "batch.ordered"), orders);
    world_release(&w);
}

/* Nothing is ordered while an end cannot be reached: it would only wait. */
static void test_end_out_of_reach(void **state)
{
    (void)state;
    struct world w;
    begin(&w);
    run_to_last_slot(&w);
    int orders = world_log_count(&w, "batch.ordered");
    (void)mark(&w, 4, 0);
    w.nodes[0].is_locked = true;
    world_run(&w, 30000);
    assert_int_equal(world_log_count(&w, "batch.ordered"), orders);
    w.nodes[0].is_locked = false;
    WORLD_UNTIL(&w, 20000, world_state(&w) == OPERATION_DONE);
    world_release(&w);
}

/* While batches run a replica's mark is no sign that somebody else moves the slot, whomever it
 * names: it may be left from before a failover. */
static void test_replicas_mark_is_not_foreign(void **state)
{
    (void)state;
    struct world w;
    begin(&w);
    for (int i = 0; i < 3; i++) {
        w.agents[i].moves_per_tick = 1;
        w.agents[i].does_nothing = true;
    }
    WORLD_UNTIL(&w, 5000, world_log_count(&w, "batch.ordered") > 0);
    int slot = 0;
    const struct plan *plan = coordinator_plan(world_core(&w), world_operation(&w)->id);
    slot = slotset_next(&plan->batches[0].slots, 0);
    w.nodes[4].open_slot = slot;
    w.nodes[4].open_peer = 2;
    w.nodes[4].is_importing = true;
    world_run(&w, 20000);
    assert_int_equal(world_state(&w), OPERATION_RUNNING);
    assert_int_equal(world_log_count(&w, "somebody else"), 0);
    for (int i = 0; i < 3; i++) {
        w.agents[i].does_nothing = false;
    }
    WORLD_UNTIL(&w, 60000, world_state(&w) == OPERATION_DONE);
    world_release(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_late_mark_is_ordered_away),
        cmocka_unit_test(test_link_comes_back),
        cmocka_unit_test(test_mark_that_stays_is_held),
        cmocka_unit_test(test_leader_changes_meanwhile),
        cmocka_unit_test(test_primarys_mark_is_not_ordered_away),
        cmocka_unit_test(test_end_out_of_reach),
        cmocka_unit_test(test_replicas_mark_is_not_foreign),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
