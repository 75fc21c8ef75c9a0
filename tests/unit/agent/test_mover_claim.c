/* test_mover_claim.c — the slot mover's claims have a deadline by the target's own clock, against
 * nodes in memory. */
#include "helper_fake.h"

#include "agent/core/mover_script.h"

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DEADLINE_MS 400
#define SLOW_DEADLINE_MS 1500
#define SLOTS_FROM 7 /* the first argument of EVAL that is a slot */

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

static void begin_anew(void)
{
    slot_mover_free(mover);
    mover = NULL;
    fake_release(fake);
    fake_init(fake);
}

static void finish(void)
{
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
    }
}

static int logged_count(const char *name)
{
    int count = 0;
    for (const char *at = strbuf_text(&fake->events); (at = strstr(at, name)) != NULL; at++) {
        count++;
    }
    return count;
}

static const struct agent_effect *next_claim(void)
{
    bool is_claim =
        fake->flight_count > 0 && commands_arg_is(&fake->flights[0].commands, 0, 0, "EVAL");
    return is_claim ? &fake->flights[0] : NULL;
}

/* Runs until the oldest thing on its way is a claim; false when the mover ends before. */
static bool run_to_claim(void)
{
    while (!slot_mover_is_over(mover)) {
        if (next_claim() != NULL) {
            return true;
        }
        fake_run(fake, mover, 1);
    }
    return false;
}

static int64_t number_at(const struct agent_effect *effect, int arg)
{
    size_t len = 0;
    char text[24] = "";
    const char *number = commands_get(&effect->commands, 0, arg, &len);
    assert_true(len < sizeof(text));
    memcpy(text, number, len);
    return strtoll(text, NULL, 10);
}

/* All slots of a burst in one script, over the connection of the survey, good for 400 ms from the
 * target's own time. Nothing is claimed in another way. */
static void claims_with_a_deadline(void **state)
{
    (void)state;
    fake_add_keys(fake, 0, 7, 30);
    fake->nodes[1].clock_ms = -86400000; /* its clock only is compared with itself */
    mover = fake_mover(fake, "7,1000-1127");
    int claims = 0;
    int slots = 0;
    while (run_to_claim()) {
        const struct agent_effect *claim = next_claim();
        assert_int_equal(claim->commands.count, 1);
        assert_int_not_equal(claim->connection_id, 0);
        assert_int_equal(number_at(claim, 4) - number_at(claim, 3), DEADLINE_MS * 1000);
        claims++;
        slots += claim->commands.commands[0].arg_count - SLOTS_FROM;
        fake_run(fake, mover, 1);
    }
    slot_mover_status(mover, &status);
    check_done(7, 30);
    check_done(1127, 0);
    assert_int_equal(slots, 129);
    assert_in_range(claims, 3, 8);
    assert_int_equal(fake_said_count(fake, "1 EVAL"), claims);
    assert_int_equal(fake_said_count(fake, "1 TIME"), fake_said_count(fake, "1 CLUSTER INFO") - 1);
    assert_int_equal(status.retries, 0);
    assert_int_equal(logged_count("move.claims_plainly"), 0);
}

/* A target that slept with the claim unread does nothing; what is asked after that begins with a
 * survey. One that is always a little late gets more time, one that sleeps long never claims. */
static void never_claims_late(void **state)
{
    (void)state;
    static const int lateness_ms[] = {DEADLINE_MS - 50, DEADLINE_MS + 50, SLOW_DEADLINE_MS - 50,
                                      SLOW_DEADLINE_MS + 50, -50};
    for (size_t i = 0; i < sizeof(lateness_ms) / sizeof(lateness_ms[0]); i++) {
        begin_anew();
        fake_add_keys(fake, 0, 7, 30);
        mover = fake_mover(fake, "7");
        int late = 0;
        while (run_to_claim()) {
            assert_int_equal(fake_said_count(fake, "1 CLUSTER NODES"), late + 1);
            assert_int_equal(fake_said(fake, "1 CLUSTER SETSLOT 7 NODE"), -1);
            fake->nodes[1].clock_ms += lateness_ms[i];
            fake_run(fake, mover, 1);
            late += fake_said(fake, "1 CLUSTER SETSLOT 7 NODE") < 0;
        }
        slot_mover_status(mover, &status);
        bool is_in_time = lateness_ms[i] >= 0 && lateness_ms[i] < DEADLINE_MS;
        bool is_slow = lateness_ms[i] >= 0 && lateness_ms[i] < SLOW_DEADLINE_MS;
        if (is_slow) {
            check_done(7, 30);
            assert_int_equal(late, is_in_time ? 0 : 3);
            assert_int_equal(status.retries, late);
        } else {
            assert_int_equal(status.state, ORDER_FAILED);
            assert_int_equal(status.reason_code, ERR_UNAVAILABLE);
            assert_non_null(strstr(status.reason, "got the claim too late"));
            assert_int_equal(late, 10);
            assert_int_equal(fake->nodes[0].owner[7], 0);
            assert_int_equal(fake->nodes[0].migrating[7], 1); /* keys have moved: it stays open */
        }
    }
}

/* After a claim that came too late the target's replicas are asked whether one took its place, of
 * empty slots too. */
static void asks_the_replicas_after_a_late_claim(void **state)
{
    (void)state;
    fake->target_has_replica = true;
    mover = fake_mover(fake, "100");
    assert_true(run_to_claim());
    assert_int_equal(fake_said(fake, "2 ROLE"), -1);
    fake->nodes[1].clock_ms += SLOW_DEADLINE_MS;
    fake->replica_is_promoted = true;
    finish();
    assert_true(fake_said(fake, "2 ROLE") > fake_said(fake, "1 EVAL"));
    assert_int_equal(fake_said_count(fake, "1 EVAL"), 1);
    assert_int_equal(fake_said(fake, "1 CLUSTER SETSLOT 100 NODE"), -1);
    assert_int_equal(status.state, ORDER_FAILED);
    assert_int_equal(status.reason_code, ERR_CONFLICT);
    assert_non_null(strstr(status.reason, "says that it is a primary"));
}

/* So they are when an answer to the proof was late: an end may have slept. */
static void asks_the_replicas_after_a_late_proof(void **state)
{
    (void)state;
    fake->target_has_replica = true;
    mover = fake_mover(fake, "100");
    while (fake_said(fake, "0 CLUSTER SETSLOT 100 MIGRATING") < 0) {
        if (fake->flight_count > 0 &&
            commands_arg_is(&fake->flights[0].commands, 0, 3, "MIGRATING")) {
            fake->now_ms += 1000;
            fake->replica_is_promoted = true;
        }
        fake_run(fake, mover, 1);
    }
    finish();
    assert_true(fake_said(fake, "2 ROLE") >= 0);
    assert_int_equal(fake_said(fake, "1 CLUSTER SETSLOT 100 NODE"), -1);
    assert_int_equal(status.state, ORDER_FAILED);
    assert_non_null(strstr(status.reason, "says that it is a primary"));
}

/* Where scripts are not to be had the slots are claimed one by one, and it is said once. */
static void claims_plainly_where_it_may_run_no_script(void **state)
{
    (void)state;
    static const struct {
        const char *command;
        const char *error;
    } refusals[] = {
        {"EVAL", "NOPERM this user has no permissions to run the 'eval' command"},
        {"EVAL", "ERR unknown command 'EVAL', with args beginning with: "},
        {"TIME", "NOPERM this user has no permissions to run the 'time' command"},
        {"TIME", "ERR unknown command `TIME`, with args beginning with: "},
    };
    for (size_t i = 0; i < sizeof(refusals) / sizeof(refusals[0]); i++) {
        begin_anew();
        fake_add_keys(fake, 0, 7, 30);
        fake_fault(fake, 1, refusals[i].command, refusals[i].error, 1000);
        mover = fake_mover(fake, "7,100-163");
        finish();
        check_done(7, 30);
        check_done(163, 0);
        assert_int_equal(status.retries, 0);
        assert_int_equal(logged_count("move.claims_plainly"), 1);
        assert_in_range(fake_said_count(fake, "1 EVAL"), 0, 2); /* two bursts are under way */
        assert_in_range(fake_said_count(fake, "1 TIME"), 1, 3);
    }
    begin_anew();
    fake_fault(fake, 1, "CLUSTER SETSLOT 100 NODE",
               "ERR This Redis command is not allowed from script", 1);
    mover = fake_mover(fake, "100");
    finish();
    check_done(100, 0);
    assert_int_equal(logged_count("move.claims_plainly"), 1);
}

/* A slot that the target refuses is seen in the script's answer, and the others' outcome is known.
 */
static void sees_which_slot_was_refused(void **state)
{
    (void)state;
    fake_fault(fake, 1, "CLUSTER SETSLOT 101 NODE", "ERR Unknown node bbbbbbbbbbbb", 1);
    mover = fake_mover(fake, "100-102");
    while (fake_said(fake, "1 CLUSTER SETSLOT 102 NODE") < 0) {
        fake_run(fake, mover, 1);
    }
    assert_int_equal(fake->nodes[1].owner[100], 1);
    assert_int_equal(fake->nodes[1].owner[101], 0);
    slot_mover_status(mover, &status);
    assert_non_null(strstr(status.reason, "SETSLOT NODE at the target: ERR Unknown node"));
    finish();
    for (int slot = 100; slot < 103; slot++) {
        check_done(slot, 0);
    }
    assert_int_equal(status.retries, 1);
}

/* The 8.0.1 server dies of SETSLOT in a script. */
static void never_sends_a_script_to_valkey_8(void **state)
{
    (void)state;
    fake->is_valkey = true;
    fake_add_keys(fake, 0, 7, 30);
    mover = fake_mover(fake, "7,100-163");
    finish();
    check_done(7, 30);
    assert_int_equal(fake_said(fake, "1 EVAL"), -1);
    assert_int_equal(fake_said(fake, "1 TIME"), -1);
}

/* What TIME may answer, and what not. */
static void reads_the_time(void **state)
{
    (void)state;
    static const struct {
        const char *texts[2];
        int64_t time_us; /* -1 = not to be read */
    } cases[] = {
        {{"1700000000", "7"}, 1700000000000007},
        {{"1700000000", "999999"}, 1700000000999999},
        {{"0", "0"}, 0},
        {{"1700000000", "1000000"}, -1},
        {{"1700000000", "-1"}, -1},
        {{"-1", "0"}, -1},
        {{"170000000000000000", "0"}, -1},
        {{"99999999999999999999", "0"}, -1},
        {{"", "0"}, -1},
        {{"1700000000", "7 "}, -1},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct reply_list list = {0};
        struct reply *reply = replies_add(&list);
        reply_set_array(&list, reply, 2);
        for (int k = 0; k < 2; k++) {
            reply_set_text(&list, &reply->items[k], REPLY_STRING, cases[i].texts[k],
                           strlen(cases[i].texts[k]));
        }
        int64_t time_us = -7;
        assert_int_equal(mover_script_read_time(reply, &time_us), cases[i].time_us >= 0);
        assert_true(time_us == (cases[i].time_us >= 0 ? cases[i].time_us : -7));
        replies_release(&list);
    }
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(claims_with_a_deadline),
        TEST(never_claims_late),
        TEST(asks_the_replicas_after_a_late_claim),
        TEST(asks_the_replicas_after_a_late_proof),
        TEST(claims_plainly_where_it_may_run_no_script),
        TEST(sees_which_slot_was_refused),
        TEST(never_sends_a_script_to_valkey_8),
        cmocka_unit_test(reads_the_time),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
