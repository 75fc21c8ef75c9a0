/* test_slot_mover.c — the slot mover against nodes in memory: the order of its commands, every
 * error, every cut. */
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

/* Rule 1, rule 2: target told first; keys moved; 0 counted with the mark set; NODE at target,
 * source, others. */
static void says_things_in_the_only_safe_order(void **state)
{
    (void)state;
    fake_add_keys(fake, 0, 7, 250);
    run("7");
    check_done(7, 250);
    long importing = fake_said(fake, "1 CLUSTER SETSLOT 7 IMPORTING <0>");
    long migrating = fake_said(fake, "0 CLUSTER SETSLOT 7 MIGRATING <1>");
    long migrate = fake_said(fake, "0 MIGRATE 10.0.0.2 7000");
    long target = fake_said(fake, "1 CLUSTER SETSLOT 7 NODE <1>");
    long source = fake_said(fake, "0 CLUSTER SETSLOT 7 NODE <1>");
    long other = fake_said(fake, "2 CLUSTER SETSLOT 7 NODE <1>");
    assert_true(importing >= 0 && importing < migrating);
    assert_true(migrating < migrate);
    assert_true(migrate < target);
    assert_true(target < source);
    assert_true(source < other);
    assert_int_equal(fake_said_count(fake, "0 CLUSTER SETSLOT 7 MIGRATING <1>"),
                     2); /* and once more as the proof */
    assert_int_equal(status.keys_moved, 250);
    assert_null(strstr(strbuf_text(&fake->log), "REPLACE"));
}

/* Requests on their way to a node that set slots. */
static int setting_at(int node)
{
    int count = 0;
    for (int i = 0; i < fake->flight_count; i++) {
        const struct agent_effect *effect = &fake->flights[i];
        count += address_is_equal(&effect->address, &fake->nodes[node].address) &&
                 commands_arg_is(&effect->commands, 0, 1, "SETSLOT");
    }
    return count;
}

/* Where each SETSLOT waits for replicas they go side by side, in the same order of steps, and the
 * source's marks are read before the claim. */
static void waits_side_by_side_on_valkey(void **state)
{
    (void)state;
    fake->is_valkey = true;
    for (int slot = 0; slot < 20; slot++) {
        fake_add_keys(fake, 0, slot, 50);
    }
    mover = fake_mover(fake, "0-19,100-199");
    int widest = 0;
    for (int i = 0; i < 100000 && !slot_mover_is_over(mover); i++) {
        fake_run(fake, mover, 1);
        int width = setting_at(1);
        widest = width > widest ? width : widest;
    }
    slot_mover_status(mover, &status);
    assert_true(widest >= LANE_FAN_COUNT);
    for (int slot = 0; slot < 20; slot++) {
        check_done(slot, 50);
    }
    check_done(150, 0);
    assert_true(fake_said(fake, "1 CLUSTER SETSLOT 7 IMPORTING <0>") <
                fake_said(fake, "0 CLUSTER SETSLOT 7 MIGRATING <1>"));
    assert_true(fake_said(fake, "0 CLUSTER SETSLOT 7 MIGRATING <1>") <
                fake_said(fake, "1 CLUSTER SETSLOT 7 NODE <1>"));
    assert_true(fake_said(fake, "1 CLUSTER SETSLOT 7 NODE <1>") <
                fake_said(fake, "0 CLUSTER SETSLOT 7 NODE <1>"));
    assert_int_equal(fake_said_count(fake, "0 CLUSTER SETSLOT 7 MIGRATING"), 1);
}

/* A mark that somebody takes off at the source before the claim is seen; so is a restart of the
 * target, which breaks the connections that a claim must use. */
static void claims_nothing_behind_a_change_on_valkey(void **state)
{
    (void)state;
    for (int is_restart = 0; is_restart < 2; is_restart++) {
        fake->is_valkey = true;
        fake_add_keys(fake, 0, 7, 50);
        fake_add_keys(fake, 0, 8, 50);
        mover = fake_mover(fake, "7-8");
        while (fake_said(fake, "0 MIGRATE") < 0) {
            fake_run(fake, mover, 1);
        }
        if (is_restart != 0) {
            fake_restart(fake, 1);
        } else {
            fake->nodes[0].migrating[7] = -1;
        }
        while (fake_said_count(fake, "1 CLUSTER NODES") < 2) { /* it lets go and looks again */
            fake_run(fake, mover, 1);
        }
        assert_int_equal(fake_said(fake, "1 CLUSTER SETSLOT 7 NODE"), -1);
        fake_run(fake, mover, -1);
        slot_mover_status(mover, &status);
        check_done(7, 50);
        check_done(8, 50);
        (void)tear_down(state);
        (void)set_up(state);
    }
}

/* Many empty slots go in bursts of 64, and never need a MIGRATE. */
static void moves_empty_slots_in_bursts(void **state)
{
    (void)state;
    run("0-999");
    check_done(0, 0);
    check_done(999, 0);
    assert_int_equal(slotset_count(&status.slots_done), 1000);
    assert_int_equal(fake_said(fake, "0 MIGRATE"), -1);
}

/* A slot that fills between the count and its mark is handed to the copying, not claimed. */
static void never_claims_a_slot_that_filled_meanwhile(void **state)
{
    (void)state;
    mover = fake_mover(fake, "0-99");
    while (fake_said(fake, "0 CLUSTER COUNTKEYSINSLOT 99") < 0) {
        fake_run(fake, mover, 1);
    }
    fake_add_keys(fake, 0, 50, 20);
    fake_run(fake, mover, -1);
    slot_mover_status(mover, &status);
    check_done(50, 20);
    check_done(99, 0);
}

/* Keys that appear behind the copying are seen by the proof and moved as well. */
static void goes_back_to_copying_when_the_proof_finds_keys(void **state)
{
    (void)state;
    fake_add_keys(fake, 0, 7, 30);
    mover = fake_mover(fake, "7");
    while (fake_said(fake, "0 MIGRATE") < 0) {
        fake_run(fake, mover, 1);
    }
    fake_add_keys(fake, 0, 7, 5);
    fake_run(fake, mover, -1);
    slot_mover_status(mover, &status);
    check_done(7, 35);
    assert_true(fake_said_count(fake, "0 MIGRATE") >= 2);
}

/* ---- errors of MIGRATE ---- */

/* A lost MIGRATE says nothing: look at both sides, list again. The keys that had arrived clash, and
 * since we opened the slot ourselves and nobody restarted, the source's copies are right: REPLACE,
 * for that slot only. */
static void after_a_lost_migrate_replaces_only_in_its_own_slot(void **state)
{
    (void)state;
    fake_add_keys(fake, 0, 7, 30);
    fake_add_keys(fake, 1, 7, 1);
    memcpy(fake->keys[30].name, fake->keys[3].name, sizeof(fake->keys[3].name));
    fake_fault(fake, 0, "MIGRATE", "IOERR error or timeout reading to target instance", 1);
    run("7");
    check_done(7, 30);
    assert_true(fake_said_count(fake, "0 MIGRATE 10.0.0.2 7000  0 3000 REPLACE") >= 1);
    assert_true(status.retries >= 1);
    assert_int_equal(fake_said(fake, "0 DUMP"), -1);
}

/* The source restarted in mid-slot: its copies may be old. Equal ones are dropped, different ones
 * are held, unless a person has said that the source's count. */
static void compares_values_after_a_restart(void **state)
{
    (void)state;
    for (int i = 0; i < 3; i++) {
        bool is_different = i > 0;
        bool source_counts = i == 2;
        fake_release(fake);
        fake_init(fake);
        slot_mover_free(mover);
        fake_add_keys(fake, 0, 7, 30);
        struct order order;
        fake_order(fake, &order, "7");
        order.source_counts = source_counts;
        mover = slot_mover_new(&order, &(struct mover_login){.user = ""}, 3000 + (uint32_t)i, 7,
                               fake->now_ms);
        while (fake_said(fake, "0 CLUSTER SETSLOT 7 MIGRATING") < 0) {
            fake_run(fake, mover, 1);
        }
        fake_restart(fake, 0);
        fake_add_keys(fake, 1, 7, 1);
        memcpy(fake->keys[30].name, fake->keys[3].name, sizeof(fake->keys[3].name));
        fake->keys[30].value = is_different ? 2 : 1;
        int64_t began_ms = fake->now_ms;
        fake_run(fake, mover, -1);
        slot_mover_status(mover, &status);
        assert_true(fake_said(fake, "1 DUMP") >= 0);
        if (!is_different || source_counts) {
            check_done(7, 30);
        } else {
            assert_int_equal(status.state, ORDER_HELD);
            assert_int_equal(status.reason_code, ERR_CONFLICT);
            assert_in_range(fake->now_ms - began_ms, 0, 5000); /* decided, not timed out */
            assert_int_equal(fake->nodes[0].owner[7], 0);
            assert_int_equal(fake->keys[30].value, 2);
        }
    }
}

/* A target that is full: some patience, then the order fails, with the source whole. */
static void gives_up_on_a_full_target(void **state)
{
    (void)state;
    fake_add_keys(fake, 0, 7, 30);
    fake_fault(fake, 0, "MIGRATE",
               "ERR Target instance replied with error: OOM command not allowed when used memory > "
               "'maxmemory'.",
               1000);
    run("7");
    assert_int_equal(status.state, ORDER_FAILED);
    assert_int_equal(status.reason_code, ERR_LIMIT);
    assert_int_equal(fake_count(fake, 0, 7), 30);
    assert_in_range(fake_said_count(fake, "0 MIGRATE"), 3, 6);
}

/* Wrong logins and missing rights do not mend by repetition. */
static void fails_at_once_on_a_refused_login(void **state)
{
    (void)state;
    static const char *const errors[] = {
        "ERR Target instance replied with error: NOAUTH Authentication required.",
        "ERR Target instance replied with error: WRONGPASS invalid username-password pair",
        "NOPERM this user has no permissions to run the 'migrate' command",
    };
    for (size_t i = 0; i < sizeof(errors) / sizeof(errors[0]); i++) {
        fake_release(fake);
        fake_init(fake);
        slot_mover_free(mover);
        fake_add_keys(fake, 0, 7, 30);
        fake_fault(fake, 0, "MIGRATE", errors[i], 1000);
        run("7");
        assert_int_equal(status.state, ORDER_FAILED);
        assert_int_equal(status.reason_code, ERR_AUTH);
        assert_int_equal(fake_said_count(fake, "0 MIGRATE"), 1);
    }
}

/* Errors that pass: wait, look again, go on. */
static void waits_out_errors_that_pass(void **state)
{
    (void)state;
    static const char *const errors[] = {
        "LOADING Redis is loading the dataset in memory",
        "CLUSTERDOWN The cluster is down",
        ("ERR Target instance replied with error: TRYAGAIN Multiple keys request during rehashing "
         "of slot"),
        "ERR Target instance replied with error: MOVED 7 10.0.0.1:7000",
        "READONLY You can't write against a read only replica.",
        "MISCONF Redis is configured to save RDB snapshots",
        "",
    };
    static const char *const commands[] = {"MIGRATE",
                                           "CLUSTER GETKEYSINSLOT",
                                           "MEMORY USAGE",
                                           "CLUSTER COUNTKEYSINSLOT",
                                           "CLUSTER SETSLOT 7 MIGRATING",
                                           "CLUSTER SETSLOT 7 NODE",
                                           "CLUSTER NODES",
                                           "INFO",
                                           "TIME",
                                           "EVAL"};
    for (size_t e = 0; e < sizeof(errors) / sizeof(errors[0]); e++) {
        for (size_t c = 0; c < sizeof(commands) / sizeof(commands[0]); c++) {
            for (int node = 0; node < 2; node++) {
                fake_release(fake);
                fake_init(fake);
                slot_mover_free(mover);
                fake_add_keys(fake, 0, 7, 130);
                fake_fault(fake, node, commands[c], errors[e], 2);
                run("7");
                check_done(7, 130);
            }
        }
    }
}

/* The source's answer after its last slot: it is a replica by now. That is success, once the owner
 * is seen. */
static void accepts_a_source_that_became_a_replica(void **state)
{
    (void)state;
    fake_add_keys(fake, 0, 7, 3);
    struct fake_fault *fault = fake_fault(fake, 0, "CLUSTER SETSLOT 7 NODE",
                                          "ERR Please use SETSLOT only with masters.", 1);
    fault->is_done_too = true;
    run("7");
    check_done(7, 3);
    assert_int_equal(status.retries, 0);
}

/* An answer that got lost after the command was carried out changes nothing in the end. */
static void survives_answers_lost_after_the_deed(void **state)
{
    (void)state;
    static const char *const commands[] = {"CLUSTER SETSLOT 7 IMPORTING",
                                           "CLUSTER SETSLOT 7 MIGRATING", "MIGRATE",
                                           "CLUSTER SETSLOT 7 NODE", "EVAL"};
    for (size_t c = 0; c < sizeof(commands) / sizeof(commands[0]); c++) {
        for (int node = 0; node < 3; node++) {
            fake_release(fake);
            fake_init(fake);
            slot_mover_free(mover);
            fake_add_keys(fake, 0, 7, 130);
            fake_fault(fake, node, commands[c], "", 1)->is_done_too = true;
            run("7");
            check_done(7, 130);
        }
    }
}

/* Another primary that is away is no obstacle: gossip tells it. */
static void goes_on_without_another_primary(void **state)
{
    (void)state;
    fake_add_keys(fake, 0, 7, 3);
    fake->nodes[2].is_down = true;
    run("7");
    assert_int_equal(status.state, ORDER_DONE);
    assert_int_equal(fake->nodes[1].owner[7], 1);
    assert_int_equal(fake->nodes[0].owner[7], 1);
}

/* So is one that was made a replica meanwhile and refuses to be told: it is not told of each burst,
 * only in the end, if gossip has not. */
static void goes_on_when_another_primary_refuses(void **state)
{
    (void)state;
    for (int slot = 0; slot < 500; slot++) { /* many bursts */
        fake_add_keys(fake, 0, slot, 1);
    }
    fake_fault(fake, 2, "CLUSTER SETSLOT", "ERR Please use SETSLOT only with masters.", 1000)
        ->is_done_too = true;
    run("0-499");
    assert_int_equal(status.state, ORDER_DONE);
    assert_int_equal(status.retries, 0);
    assert_true(fake_said(fake, "2 CLUSTER SETSLOT 0 NODE") >= 0);
    assert_true(fake_said(fake, "2 CLUSTER SETSLOT 100 NODE") >
                fake_said(fake, "0 CLUSTER SETSLOT 499 NODE"));
}

/* A source that stays away: some patience, then the order fails and nothing was half claimed. */
static void gives_up_on_a_source_that_stays_away(void **state)
{
    (void)state;
    fake->nodes[0].is_down = true;
    run("7");
    assert_int_equal(status.state, ORDER_FAILED);
    assert_int_equal(status.reason_code, ERR_UNAVAILABLE);
}

/* ---- undo ---- */

/* A key over the limit: nothing of the slot has moved, so it is closed again, the source first. */
static void closes_a_slot_of_which_nothing_moved(void **state)
{
    (void)state;
    fake_add_keys(fake, 0, 7, 3);
    fake->keys[1].bytes = 50 * 1024 * 1024;
    struct order order;
    fake_order(fake, &order, "7");
    order.big_key_bytes_max = 10 * 1024 * 1024;
    mover = slot_mover_new(&order, &(struct mover_login){.user = ""}, 5, 1, fake->now_ms);
    fake_run(fake, mover, -1);
    slot_mover_status(mover, &status);
    assert_int_equal(status.state, ORDER_HELD);
    assert_int_equal(status.big_key_count, 1);
    assert_int_equal(fake->nodes[0].migrating[7], -1);
    assert_int_equal(fake->nodes[1].importing[7], -1);
    assert_true(fake_said(fake, "0 CLUSTER SETSLOT 7 STABLE") <
                fake_said(fake, "1 CLUSTER SETSLOT 7 STABLE"));
}

/* A client put a key at the target behind our back: past that there is only forward, so the slot is
 * opened again. */
static void opens_again_when_the_target_got_a_key(void **state)
{
    (void)state;
    fake_add_keys(fake, 0, 7, 3);
    fake->keys[1].bytes = 50 * 1024 * 1024;
    struct order order;
    fake_order(fake, &order, "7");
    order.big_key_bytes_max = 10 * 1024 * 1024;
    mover = slot_mover_new(&order, &(struct mover_login){.user = ""}, 5, 1, fake->now_ms);
    while (fake_said(fake, "0 CLUSTER SETSLOT 7 STABLE") < 0) {
        fake_run(fake, mover, 1);
    }
    fake_add_keys(fake, 1, 7, 1);
    fake_run(fake, mover, -1);
    slot_mover_status(mover, &status);
    assert_int_equal(status.state, ORDER_HELD);
    assert_int_equal(fake->nodes[0].migrating[7], 1);
    assert_int_equal(fake->nodes[1].importing[7], 0);
}

/* ---- cuts ---- */

/* Frozen after any number of events: nothing more is sent, the state ends as expired, and a
 * successor finishes. */
static void can_be_frozen_and_resumed_at_every_step(void **state)
{
    (void)state;
    bool is_over = false;
    for (int step = 0; !is_over; step++) {
        fake_release(fake);
        fake_init(fake);
        slot_mover_free(mover);
        fake_add_keys(fake, 0, 7, 130);
        fake_add_keys(fake, 0, 8, 3);
        mover = fake_mover(fake, "5-9");
        fake_run(fake, mover, step);
        is_over = slot_mover_is_over(mover);
        slot_mover_freeze(mover, ERR_FENCED, "another leader took over");
        for (int i = fake->flight_count; i > 0; i--) {
            int before = fake->flight_count;
            fake_run(fake, mover, 1);
            assert_true(fake->flight_count <= before); /* answers are taken, nothing is asked */
        }
        fake_run(fake, mover, -1);
        slot_mover_status(mover, &status);
        assert_int_equal(status.state, is_over ? ORDER_DONE : ORDER_EXPIRED);
        slot_mover_free(mover);
        run("5-9");
        check_done(7, 130);
        check_done(8, 3);
        check_done(5, 0);
        assert_true(step < 2000);
    }
}

/* Stopped after any number of events: each slot is wholly on one side, nothing is open. */
static void can_be_stopped_at_every_step(void **state)
{
    (void)state;
    bool is_over = false;
    int stopped_count = 0;
    for (int step = 0; !is_over; step += 3) {
        fake_release(fake);
        fake_init(fake);
        slot_mover_free(mover);
        for (int slot = 0; slot < 60; slot++) {
            fake_add_keys(fake, 0, slot, slot % 4);
        }
        mover = fake_mover(fake, "0-59");
        fake_run(fake, mover, step);
        is_over = slot_mover_is_over(mover);
        slot_mover_stop(mover);
        fake_run(fake, mover, -1);
        slot_mover_status(mover, &status);
        assert_true(status.state == ORDER_STOPPED || status.state == ORDER_DONE);
        stopped_count += status.state == ORDER_STOPPED;
        for (int slot = 0; slot < 60; slot++) {
            assert_int_equal(fake->nodes[0].migrating[slot], -1);
            assert_int_equal(fake->nodes[1].importing[slot], -1);
            bool is_done = slotset_has(&status.slots_done, slot);
            assert_int_equal(fake_count(fake, is_done ? 0 : 1, slot), 0);
            assert_int_equal(fake->nodes[1].owner[slot], is_done ? 1 : 0);
        }
    }
    assert_true(stopped_count > 5);
}

/* Late, doubled and foreign answers change nothing. */
static void ignores_answers_it_did_not_ask_for(void **state)
{
    (void)state;
    fake_add_keys(fake, 0, 7, 30);
    mover = fake_mover(fake, "7");
    struct reply_list replies = {0};
    for (int i = 0; !slot_mover_is_over(mover); i++) {
        fake_run(fake, mover, 1);
        struct agent_effects fx = {0};
        for (uint64_t id = 1; id < 4; id++) {
            struct agent_event event = {
                .kind = AGENT_REDIS, .now_ms = fake->now_ms, .req_id = id, .replies = &replies};
            slot_mover_step(mover, &event, &fx);
        }
        fake_take(fake, &fx);
        agent_effects_release(&fx);
    }
    slot_mover_status(mover, &status);
    check_done(7, 30);
}

/* Somebody else moves the slot elsewhere: held, both named, the other slots go on. */
static void holds_only_the_slot_of_a_stranger(void **state)
{
    (void)state;
    fake->nodes[0].migrating[7] = 2;
    fake_add_keys(fake, 0, 8, 3);
    run("7-8");
    assert_int_equal(status.state, ORDER_HELD);
    assert_int_equal(status.reason_code, ERR_CONFLICT);
    assert_int_equal(fake->nodes[0].migrating[7], 2);
    assert_true(slotset_has(&status.slots_done, 8));
}

/* An evicting target without head-room would throw away other people's keys. */
static void refuses_a_target_that_would_evict(void **state)
{
    (void)state;
    fake->nodes[1].maxmemory_bytes = 1050000;
    fake->nodes[1].policy = "allkeys-lru";
    run("0-99");
    assert_int_equal(status.state, ORDER_FAILED);
    assert_int_equal(status.reason_code, ERR_REFUSED);
    assert_int_equal(fake_said(fake, "1 CLUSTER SETSLOT"), -1);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(says_things_in_the_only_safe_order),
        TEST(moves_empty_slots_in_bursts),
        TEST(waits_side_by_side_on_valkey),
        TEST(claims_nothing_behind_a_change_on_valkey),
        TEST(never_claims_a_slot_that_filled_meanwhile),
        TEST(goes_back_to_copying_when_the_proof_finds_keys),
        TEST(after_a_lost_migrate_replaces_only_in_its_own_slot),
        TEST(compares_values_after_a_restart),
        TEST(gives_up_on_a_full_target),
        TEST(fails_at_once_on_a_refused_login),
        TEST(waits_out_errors_that_pass),
        TEST(accepts_a_source_that_became_a_replica),
        TEST(survives_answers_lost_after_the_deed),
        TEST(goes_on_without_another_primary),
        TEST(goes_on_when_another_primary_refuses),
        TEST(gives_up_on_a_source_that_stays_away),
        TEST(closes_a_slot_of_which_nothing_moved),
        TEST(opens_again_when_the_target_got_a_key),
        TEST(can_be_frozen_and_resumed_at_every_step),
        TEST(can_be_stopped_at_every_step),
        TEST(ignores_answers_it_did_not_ask_for),
        TEST(holds_only_the_slot_of_a_stranger),
        TEST(refuses_a_target_that_would_evict),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
