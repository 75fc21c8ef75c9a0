/* test_mover_clear.c — the slot mover claims nothing that the source could take back: config epochs
 * and failovers, against nodes in memory. */
#include "helper_fake.h"

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct fake *fake;
static struct slot_mover *mover;
static struct order_status status;

static int set_up(void **state)
{
    (void)state;
    fake = calloc(1, sizeof(*fake));
    fake_init(fake);
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

static void run(const char *slots)
{
    mover = fake_mover(fake, slots);
    fake_run(fake, mover, -1);
    slot_mover_status(mover, &status);
}

static void check_done(int slot, int keys)
{
    if (status.state != ORDER_DONE) {
        fail_msg("%s: %s\n%s", order_state_name(status.state), status.reason,
                 strbuf_text(&fake->log));
    }
    assert_int_equal(fake_count(fake, 0, slot), 0);
    assert_int_equal(fake_count(fake, 1, slot), keys);
    for (int n = 0; n < FAKE_NODES; n++) {
        assert_int_equal(fake->nodes[n].owner[slot], 1);
        assert_int_equal(fake->nodes[n].importing[slot], -1);
        assert_int_equal(fake->nodes[n].migrating[slot], -1);
    }
}

/* Runs until so much virtual time has gone. */
static void run_for(int64_t ms)
{
    int64_t until_ms = fake->now_ms + ms;
    while (fake->now_ms < until_ms && !slot_mover_is_over(mover)) {
        fake_run(fake, mover, 1);
    }
    slot_mover_status(mover, &status);
}

static void raise_source(int config_epoch)
{
    fake->nodes[0].config_epoch = config_epoch;
    fake->nodes[0].current_epoch = config_epoch;
}

static void hear_of(int current_epoch)
{
    fake->nodes[1].current_epoch = current_epoch;
    fake->nodes[2].current_epoch = current_epoch;
}

/* A target that has not heard of the source's config epoch would claim with a lower one, lose the
 * slot again and drop its keys: nothing is opened until it has. */
static void waits_until_the_target_has_heard_of_the_source(void **state)
{
    (void)state;
    fake_add_keys(fake, 0, 7, 30);
    raise_source(9);
    mover = fake_mover(fake, "7-8");
    run_for(20000);
    assert_int_equal(status.state, ORDER_RUNNING);
    assert_non_null(strstr(status.reason, "waits: target has not heard of the config epoch 9"));
    assert_int_equal(fake_said(fake, "1 CLUSTER SETSLOT"), -1);
    assert_in_range(fake_said_count(fake, "1 CLUSTER NODES"), 20, 40); /* no busy loop */
    hear_of(9);
    fake_run(fake, mover, -1);
    slot_mover_status(mover, &status);
    check_done(7, 30);
    assert_int_equal(fake->nodes[1].config_epoch, 10);
    assert_int_equal(status.retries, 0);
}

/* Of two primaries with the same config epoch one raises its own: if that is the source, in the
 * middle of a claim, the claim is lost. */
static void waits_while_another_primary_has_the_sources_epoch(void **state)
{
    (void)state;
    for (int other = 1; other < FAKE_NODES; other++) {
        fake_release(fake);
        fake_init(fake);
        slot_mover_free(mover);
        fake_add_keys(fake, 0, 7, 30);
        fake->nodes[other].config_epoch = 1;
        mover = fake_mover(fake, "7");
        run_for(5000);
        assert_non_null(strstr(status.reason, "have the same config epoch 1"));
        assert_int_equal(fake_said(fake, "1 CLUSTER SETSLOT"), -1);
        raise_source(4);
        hear_of(4);
        fake_run(fake, mover, -1);
        slot_mover_status(mover, &status);
        check_done(7, 30);
    }
}

/* Gossip that does not come within a minute never will. */
static void gives_up_on_epochs_that_stay_unsettled(void **state)
{
    (void)state;
    raise_source(9);
    int64_t begun_ms = fake->now_ms;
    run("7");
    assert_int_equal(status.state, ORDER_FAILED);
    assert_int_equal(status.reason_code, ERR_CONFLICT);
    assert_in_range(fake->now_ms - begun_ms, 60000, 70000);
    assert_int_equal(fake_said(fake, "1 CLUSTER SETSLOT"), -1);
}

/* The source raises its config epoch (by a move onto it, or by a collision) while its keys travel,
 * with slots of either kind, at any time before it gives its proof: seen, and waited for. Few
 * empty slots on Valkey, where they go in short bursts, so that none is proved by then. */
static void sees_the_source_raise_its_epoch(void **state)
{
    (void)state;
    static const char *const moments[] = {
        "0 INFO server",
        "0 CLUSTER COUNTKEYSINSLOT 7",
        "1 CLUSTER SETSLOT 7 IMPORTING",
        "0 CLUSTER GETKEYSINSLOT 7",
        "0 MEMORY USAGE",
        "0 MIGRATE",
    };
    for (size_t i = 0; i < 2 * sizeof(moments) / sizeof(moments[0]); i++) {
        fake_release(fake);
        fake_init(fake);
        slot_mover_free(mover);
        fake->is_valkey = i % 2 != 0;
        fake_add_keys(fake, 0, 7, 30);
        mover = fake_mover(fake, fake->is_valkey ? "7,100-101" : "7,100-299");
        while (fake_said(fake, moments[i / 2]) < 0) {
            fake_run(fake, mover, 1);
        }
        raise_source(fake->nodes[1].current_epoch + 1);
        run_for(3000);
        assert_int_equal(fake_said(fake, "1 CLUSTER SETSLOT 7 NODE"), -1);
        assert_non_null(strstr(status.reason, "has not heard"));
        hear_of(fake->nodes[0].config_epoch);
        fake_run(fake, mover, -1);
        slot_mover_status(mover, &status);
        check_done(7, 30);
        check_done(fake->is_valkey ? 101 : 299, 0);
    }
}

/* While the target sees the source failing, another node may be about to take its place. */
static void claims_nothing_while_the_source_is_failing(void **state)
{
    (void)state;
    fake_add_keys(fake, 0, 7, 30);
    mover = fake_mover(fake, "7");
    while (fake_said(fake, "0 MIGRATE") < 0) {
        fake_run(fake, mover, 1);
    }
    fake->nodes[1].failing_slots = 8192;
    run_for(20000);
    assert_non_null(strstr(status.reason, "sees source"));
    assert_int_equal(fake_said(fake, "1 CLUSTER SETSLOT 7 NODE"), -1);
    fake->nodes[1].failing_slots = 0;
    fake_run(fake, mover, -1);
    slot_mover_status(mover, &status);
    check_done(7, 30);
}

/* The target knows a successor of the source, of a higher config epoch, and the source does not
 * know it yet: nothing is opened, and nobody is told that the source owns the slot. One of a lower
 * config epoch was there before. */
static void waits_until_the_source_knows_its_successor(void **state)
{
    (void)state;
    for (int is_later = 0; is_later < 2; is_later++) {
        fake_release(fake);
        fake_init(fake);
        slot_mover_free(mover);
        fake->has_replica = true;
        raise_source(5);
        hear_of(9);
        fake->nodes[2].config_epoch = is_later != 0 ? 9 : 4;
        fake->nodes[1].owner[7] = 2;
        mover = fake_mover(fake, "7");
        run_for(5000);
        if (is_later != 0) {
            assert_non_null(strstr(status.reason, "does not know yet that cccccccccccc took"));
            assert_int_equal(fake_said(fake, "1 CLUSTER SETSLOT"), -1);
        } else {
            check_done(7, 0);
        }
    }
}

/* A replica that took the target's place: nothing is claimed by a target that does not know it yet.
 * One that replicates is waited for, and the slot is handed over. */
static void claims_nothing_for_a_target_that_was_replaced(void **state)
{
    (void)state;
    for (int is_promoted = 0; is_promoted < 2; is_promoted++) {
        fake_release(fake);
        fake_init(fake);
        slot_mover_free(mover);
        fake->target_has_replica = true;
        fake->replica_is_promoted = is_promoted != 0;
        fake_add_keys(fake, 0, 7, 30);
        run("7");
        assert_true(fake_said(fake, "2 ROLE") >= 0);
        if (is_promoted != 0) {
            assert_int_equal(status.state, ORDER_FAILED);
            assert_int_equal(status.reason_code, ERR_CONFLICT);
            assert_non_null(strstr(status.reason, "says that it is a primary"));
            assert_non_null(strstr(status.reason, "; up to 30 keys that its replicas"));
            assert_int_equal(fake_said(fake, "1 CLUSTER SETSLOT 7 NODE"), -1);
            assert_int_equal(fake->nodes[0].migrating[7], 1); /* a key has moved: it stays open */
        } else {
            assert_int_equal(status.state, ORDER_DONE);
            assert_int_equal(fake->nodes[1].owner[7], 1);
        }
    }
}

/* Keys that a target took with it are counted: those of slots that were not handed over yet. What
 * its replica has is none of them. */
static void says_how_many_keys_a_dead_target_has(void **state)
{
    (void)state;
    for (int is_synced = 0; is_synced < 2; is_synced++) {
        fake_release(fake);
        fake_init(fake);
        slot_mover_free(mover);
        fake->target_has_replica = true;
        fake_add_keys(fake, 0, 7, 30);
        mover = fake_mover(fake, "7");
        const char *moment = is_synced != 0 ? "2 ROLE" : "0 MIGRATE";
        while (fake_said(fake, moment) < 0) {
            fake_run(fake, mover, 1);
        }
        fake->nodes[1].is_down = true;
        fake_run(fake, mover, -1);
        slot_mover_status(mover, &status);
        assert_int_equal(status.state, ORDER_FAILED);
        assert_int_equal(status.reason_code, ERR_UNAVAILABLE);
        assert_non_null(strstr(status.reason, "target 10.0.0.2:7000"));
        bool is_told = strstr(status.reason, "; up to 30 keys that its replicas") != NULL;
        assert_int_equal(is_told, is_synced == 0);
    }
}

/* Another primary that fails holds nobody up for longer than a second look. */
static void goes_on_while_another_primary_is_failing(void **state)
{
    (void)state;
    fake_add_keys(fake, 0, 7, 30);
    mover = fake_mover(fake, "7,100-299");
    while (fake_said(fake, "0 MIGRATE") < 0) {
        fake_run(fake, mover, 1);
    }
    fake->nodes[1].failing_node = 2;
    fake->nodes[1].failing_slots = 8192;
    fake_run(fake, mover, -1);
    slot_mover_status(mover, &status);
    check_done(7, 30);
    assert_int_equal(status.retries, 1);
}

/* The proof is fresh: after it nothing but the claim is said to either end. The target is asked at
 * the same time, once a burst. */
static void asks_both_ends_once_before_each_claim(void **state)
{
    (void)state;
    for (int is_valkey = 0; is_valkey < 2; is_valkey++) {
        fake_release(fake);
        fake_init(fake);
        slot_mover_free(mover);
        fake->is_valkey = is_valkey != 0;
        fake_add_keys(fake, 0, 7, 30);
        run("7,1000-1127");
        check_done(7, 30);
        assert_int_equal(status.retries, 0);
        int asked_target = fake_said_count(fake, "1 CLUSTER INFO");
        int asked_source = fake_said_count(fake, "0 CLUSTER INFO");
        assert_true(asked_target > 2);
        assert_int_equal(asked_source, asked_target + 1); /* the slot with keys: opened, proved */
    }
}

/* An agent that was held up between proof and claim proves again: an election may have ended. But a
 * fleet that is always slow is not asked for ever. */
static void proves_again_when_the_proof_is_old(void **state)
{
    (void)state;
    for (int delays = 0; delays < 6; delays++) {
        fake_release(fake);
        fake_init(fake);
        slot_mover_free(mover);
        fake_add_keys(fake, 0, 7, 30);
        mover = fake_mover(fake, "7");
        while (fake_said(fake, "0 MIGRATE") < 0) {
            fake_run(fake, mover, 1);
        }
        for (int left = delays; left > 0 && fake_said(fake, "1 CLUSTER SETSLOT 7 NODE") < 0;) {
            bool is_proof = fake->flight_count > 0 &&
                            commands_arg_is(&fake->flights[0].commands, 0, 3, "MIGRATING");
            fake->now_ms += is_proof ? 1000 : 0;
            left -= is_proof;
            fake_run(fake, mover, 1);
        }
        fake_run(fake, mover, -1);
        slot_mover_status(mover, &status);
        check_done(7, 30);
        assert_int_equal(fake_said_count(fake, "0 CLUSTER SETSLOT 7 MIGRATING"),
                         2 + (delays < 3 ? delays : 3));
    }
}

/* A slot that the target lost again after it accepted it is not claimed once more as if nothing had
 * happened: somebody must hear of it. */
static void says_when_a_slot_was_taken_back(void **state)
{
    (void)state;
    fake_add_keys(fake, 0, 7, 30);
    mover = fake_mover(fake, "6-8");
    while (fake_said(fake, "2 CLUSTER SETSLOT 7 NODE") < 0) {
        fake_run(fake, mover, 1);
    }
    fake->nodes[1].owner[7] = 0;
    fake_run(fake, mover, -1);
    slot_mover_status(mover, &status);
    assert_int_equal(status.state, ORDER_FAILED);
    assert_int_equal(status.reason_code, ERR_CONFLICT);
    assert_non_null(strstr(status.reason, "slot 7 and 0 more went to aaaaaaaaaaaa"));
    assert_int_equal(fake_said_count(fake, "1 CLUSTER SETSLOT 7 NODE"), 1);
    assert_false(slotset_has(&status.slots_done, 7));
    assert_true(slotset_has(&status.slots_done, 8));
}

/* What the source held of a slot is dropped when somebody gives it to the target in mid-move: that
 * is no success, and somebody must hear of it. */
static void says_when_a_slot_was_given_away_in_mid_move(void **state)
{
    (void)state;
    fake_add_keys(fake, 0, 7, 30);
    mover = fake_mover(fake, "6-8");
    while (fake_said(fake, "0 MIGRATE") < 0) {
        fake_run(fake, mover, 1);
    }
    fake_fault(fake, 0, "MIGRATE", "MOVED 7 10.0.0.2:7000", 1);
    for (int n = 0; n < FAKE_NODES; n++) {
        fake->nodes[n].owner[7] = 1;
        fake->nodes[n].importing[7] = -1;
        fake->nodes[n].migrating[7] = -1;
    }
    fake_run(fake, mover, -1);
    slot_mover_status(mover, &status);
    assert_int_equal(status.state, ORDER_HELD);
    assert_int_equal(status.reason_code, ERR_CONFLICT);
    assert_non_null(strstr(status.reason, "slot 7: the target got it before"));
    assert_false(slotset_has(&status.slots_done, 7));
    assert_true(slotset_has(&status.slots_done, 6));
    assert_int_equal(fake_said_count(fake, "1 CLUSTER SETSLOT 7 NODE"), 0);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(waits_until_the_target_has_heard_of_the_source),
        TEST(waits_while_another_primary_has_the_sources_epoch),
        TEST(gives_up_on_epochs_that_stay_unsettled),
        TEST(sees_the_source_raise_its_epoch),
        TEST(claims_nothing_while_the_source_is_failing),
        TEST(goes_on_while_another_primary_is_failing),
        TEST(waits_until_the_source_knows_its_successor),
        TEST(claims_nothing_for_a_target_that_was_replaced),
        TEST(says_how_many_keys_a_dead_target_has),
        TEST(asks_both_ends_once_before_each_claim),
        TEST(proves_again_when_the_proof_is_old),
        TEST(says_when_a_slot_was_taken_back),
        TEST(says_when_a_slot_was_given_away_in_mid_move),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
