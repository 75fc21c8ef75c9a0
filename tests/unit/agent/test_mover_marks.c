/* test_mover_marks.c — no replica of the two ends keeps a mark of a slot that was moved, and none
 * that is away holds the mover up. */
#include "helper_fake.h"

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

static struct fake *fake;
static struct slot_mover *mover;

static int set_up(void **state)
{
    (void)state;
    fake = calloc(1, sizeof(*fake));
    fake_init(fake);
    fake->is_valkey = true;
    fake->replica.primary = 1;
    fake->replica.is_down = false;
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    slot_mover_free(mover);
    mover = NULL;
    fake_release(fake);
    free(fake);
    return 0;
}

static void mark_replica(int slot, int peer)
{
    fake->replica.slot = slot;
    fake->replica.peer = peer;
    fake->replica.is_importing = fake->replica.primary == 1;
}

/* Until the source has handed the slot over: what the replica gets from here on, it gets late. */
static void run_to_hand_over(void)
{
    while (fake_said(fake, "0 CLUSTER SETSLOT 5 NODE <1>") < 0) {
        assert_false(slot_mover_is_over(mover));
        fake_run(fake, mover, 1);
    }
}

static void check_done(void)
{
    struct order_status status;
    slot_mover_status(mover, &status);
    if (status.state != ORDER_DONE) {
        fail_msg("%s: %s", order_state_name(status.state), status.reason);
    }
}

/* The target's replica gets the mark late: its primary is told once more that the slot is stable,
 * and the replica is asked whether that helped. */
static void takes_a_mark_from_the_targets_replica(void **state)
{
    (void)state;
    fake_add_keys(fake, 0, 5, 3);
    mover = fake_mover(fake, "5-6");
    run_to_hand_over();
    mark_replica(5, 0);
    fake_run(fake, mover, -1);
    check_done();
    assert_int_equal(fake->replica.slot, SLOT_NONE);
    assert_int_equal(fake_said_count(fake, "1 CLUSTER SETSLOT 5 STABLE"), 1);
    assert_int_equal(fake_said_count(fake, "1 CLUSTER SETSLOT 6 STABLE"), 0);
    assert_null(strstr(strbuf_text(&fake->events), "move.replica_marked"));
}

/* The source's replica keeps its mark: the source is told. */
static void takes_a_mark_from_the_sources_replica(void **state)
{
    (void)state;
    fake->replica.primary = 0;
    mover = fake_mover(fake, "5");
    run_to_hand_over();
    mark_replica(5, 1);
    fake_run(fake, mover, -1);
    check_done();
    assert_int_equal(fake->replica.slot, SLOT_NONE);
    assert_int_equal(fake_said_count(fake, "0 CLUSTER SETSLOT 5 STABLE"), 1);
    assert_int_equal(fake_said_count(fake, "1 CLUSTER SETSLOT 5 STABLE"), 0);
}

/* A slot that was done before the order came is looked at as well: so the coordinator has a mark
 * taken away that appeared after its batch. */
static void takes_a_mark_of_a_slot_that_was_done_before(void **state)
{
    (void)state;
    for (int n = 0; n < FAKE_NODES; n++) {
        fake->nodes[n].owner[5] = 1;
    }
    mark_replica(5, 0);
    mover = fake_mover(fake, "5");
    fake_run(fake, mover, -1);
    check_done();
    assert_int_equal(fake->replica.slot, SLOT_NONE);
    assert_int_equal(fake_said_count(fake, "1 CLUSTER SETSLOT 5 IMPORTING"), 0);
}

/* A mark of a slot that is not of this order, or not done, is not this mover's. */
static void leaves_other_marks_alone(void **state)
{
    (void)state;
    mover = fake_mover(fake, "5");
    run_to_hand_over();
    mark_replica(7, 0);
    fake_run(fake, mover, -1);
    check_done();
    assert_int_equal(fake->replica.slot, 7);
    assert_int_equal(fake_said_count(fake, "1 CLUSTER SETSLOT 7 STABLE"), 0);
}

/* The mark of a shard that takes no part is nobody's here: its replica is not even asked. */
static void asks_no_replica_of_others(void **state)
{
    (void)state;
    fake->replica.primary = 2;
    mark_replica(5, 0);
    mover = fake_mover(fake, "5");
    fake_run(fake, mover, -1);
    check_done();
    assert_int_equal(fake_said_count(fake, "9 CLUSTER NODES"), 0);
}

/* A replica that does not answer is not waited for. */
static void waits_for_no_replica_that_is_down(void **state)
{
    (void)state;
    mover = fake_mover(fake, "5");
    run_to_hand_over();
    mark_replica(5, 0);
    fake->replica.is_down = true;
    int64_t since_ms = fake->now_ms;
    fake_run(fake, mover, -1);
    check_done();
    assert_true(fake->now_ms - since_ms < 1000);
    assert_int_equal(fake->replica.slot, 5);
}

/* A link that comes back in time is enough; it is told again until then. */
static void tells_again_until_the_link_is_back(void **state)
{
    (void)state;
    mover = fake_mover(fake, "5");
    run_to_hand_over();
    mark_replica(5, 0);
    fake->replica.is_link_down = true;
    while (fake_said_count(fake, "1 CLUSTER SETSLOT 5 STABLE") < 3) {
        assert_false(slot_mover_is_over(mover));
        fake_run(fake, mover, 1);
    }
    fake->replica.is_link_down = false;
    fake_run(fake, mover, -1);
    check_done();
    assert_int_equal(fake->replica.slot, SLOT_NONE);
    assert_int_equal(fake_said_count(fake, "1 CLUSTER SETSLOT 5 STABLE"), 4);
}

/* One that does not: six rounds, a warning, and the move is done all the same. */
static void gives_up_after_six_rounds(void **state)
{
    (void)state;
    mover = fake_mover(fake, "5");
    run_to_hand_over();
    mark_replica(5, 0);
    fake->replica.is_link_down = true;
    int64_t since_ms = fake->now_ms;
    fake_run(fake, mover, -1);
    check_done();
    assert_int_equal(fake_said_count(fake, "1 CLUSTER SETSLOT 5 STABLE"), 6);
    assert_in_range(fake->now_ms - since_ms, 3000, 8000);
    assert_non_null(strstr(strbuf_text(&fake->events), "move.replica_marked"));
}

/* A primary that refuses is no reason to fail: the slots are where they belong. */
static void is_done_though_the_primary_refuses(void **state)
{
    (void)state;
    mover = fake_mover(fake, "5");
    run_to_hand_over();
    mark_replica(5, 0);
    (void)fake_fault(fake, 1, "CLUSTER SETSLOT 5 STABLE", "NOREPLICAS Not enough good replicas", 2);
    fake_run(fake, mover, -1);
    check_done();
    assert_int_equal(fake->replica.slot, SLOT_NONE);
}

/* Where SETSLOT is not passed on, replicas have no marks: nobody asks them. */
static void asks_nobody_where_setslot_stays(void **state)
{
    (void)state;
    fake->is_valkey = false;
    fake->target_has_replica = true;
    mover = fake_mover(fake, "5");
    run_to_hand_over();
    int asked = fake_said_count(fake, "2 CLUSTER NODES");
    fake_run(fake, mover, -1);
    check_done();
    assert_int_equal(fake_said_count(fake, "2 CLUSTER NODES"), asked);
}

/* Cut at every step after the hand-over, the next mover takes the mark away. */
static void goes_on_after_a_cut_at_any_step(void **state)
{
    bool is_over = false;
    for (int steps = 0; !is_over; steps++) {
        assert_true(steps < 200);
        mover = fake_mover(fake, "5");
        run_to_hand_over();
        mark_replica(5, 0);
        fake_run(fake, mover, steps);
        is_over = slot_mover_is_over(mover);
        slot_mover_freeze(mover, ERR_FENCED, "another leader took over");
        fake_run(fake, mover, -1);
        slot_mover_free(mover);
        mover = fake_mover(fake, "5");
        fake_run(fake, mover, -1);
        check_done();
        assert_int_equal(fake->replica.slot, SLOT_NONE);
        (void)tear_down(state);
        (void)set_up(state);
    }
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(takes_a_mark_from_the_targets_replica),
        CASE(takes_a_mark_from_the_sources_replica),
        CASE(takes_a_mark_of_a_slot_that_was_done_before),
        CASE(leaves_other_marks_alone),
        CASE(asks_no_replica_of_others),
        CASE(waits_for_no_replica_that_is_down),
        CASE(tells_again_until_the_link_is_back),
        CASE(gives_up_after_six_rounds),
        CASE(is_done_though_the_primary_refuses),
        CASE(asks_nobody_where_setslot_stays),
        CASE(goes_on_after_a_cut_at_any_step),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
