/* test_repair.c — the repair against nodes in memory: what it says in which order, every error,
 * every cut, every state that three nodes can be found in. */
#include "helper_fake.h"

#include "agent/core/repair.h"

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SLOT 7

static struct fake *fake;
static struct repair *machine;
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
    repair_free(machine);
    machine = NULL;
    fake_release(fake);
    free(fake);
    return 0;
}

static void begin(const char *slots, uint32_t flags)
{
    repair_free(machine);
    machine = fake_repair(fake, slots, flags);
}

/* Until it is over, or so many events were fed; then what is on its way is lost. */
static bool run_for(int steps)
{
    for (int i = 0; (steps < 0 ? i < 20000 : i < steps) && !repair_is_over(machine); i++) {
        fake_feed_repair(fake, machine);
    }
    repair_status(machine, &status);
    bool is_over = repair_is_over(machine);
    assert_true(steps >= 0 || is_over);
    struct agent_event event;
    struct reply_list replies = {0};
    while (fake->flight_count > 0) { /* what was sent is done, though nobody hears the answer */
        (void)fake_answer(fake, &event, &replies);
        replies_release(&replies);
        replies = (struct reply_list){0};
    }
    return is_over;
}

static void run(const char *slots, uint32_t flags)
{
    begin(slots, flags);
    (void)run_for(-1);
}

static void check_done(int owner, int keys)
{
    if (status.state != ORDER_DONE) {
        fail_msg("%s: %s\n%s", order_state_name(status.state), status.reason,
                 strbuf_text(&fake->log));
    }
    for (int n = 0; n < FAKE_NODES; n++) {
        assert_int_equal(fake_count(fake, n, SLOT), n == owner ? keys : 0);
        assert_int_equal(fake->nodes[n].owner[SLOT], owner);
        assert_int_equal(fake->nodes[n].importing[SLOT], -1);
        assert_int_equal(fake->nodes[n].migrating[SLOT], -1);
    }
}

static void check_order(const char *first, const char *second)
{
    long a = fake_said(fake, first);
    long b = fake_said(fake, second);
    if (a < 0 || b < 0 || a >= b) {
        fail_msg("'%s' at %ld, '%s' at %ld\n%s", first, a, second, b, strbuf_text(&fake->log));
    }
}

/* ---- what it says ---- */

static void a_clean_slot_is_only_looked_at(void **state)
{
    (void)state;
    fake_add_keys(fake, 0, SLOT, 3);
    run("7", 0);
    check_done(0, 3);
    assert_null(strstr(strbuf_text(&fake->log), "SETSLOT"));
    assert_null(strstr(strbuf_text(&fake->log), "MIGRATE"));
}

static void keys_go_to_the_owner_without_replace(void **state)
{
    (void)state;
    fake_add_keys(fake, 0, SLOT, 3);
    fake_add_keys(fake, 1, SLOT, 250);
    run("7", 0);
    check_done(0, 253);
    check_order("1 CLUSTER SETSLOT 7 IMPORTING <0>", "1 MIGRATE 10.0.0.1 7000");
    check_order("1 MIGRATE 10.0.0.1 7000", "1 CLUSTER SETSLOT 7 STABLE");
    assert_null(strstr(strbuf_text(&fake->log), "REPLACE"));
    assert_int_equal(status.keys_moved, 250);
}

static void a_mark_goes_only_after_the_keys(void **state)
{
    (void)state;
    fake->nodes[1].importing[SLOT] = 0;
    fake_add_keys(fake, 1, SLOT, 5);
    run("7", 0);
    check_done(0, 5);
    check_order("1 MIGRATE 10.0.0.1 7000", "1 CLUSTER SETSLOT 7 STABLE");
    assert_int_equal(fake_said_count(fake, "1 CLUSTER SETSLOT 7 IMPORTING"), 0);
}

static void a_half_moved_slot_is_moved_on(void **state)
{
    (void)state;
    fake->nodes[1].importing[SLOT] = 0;
    fake->nodes[0].migrating[SLOT] = 1;
    fake_add_keys(fake, 0, SLOT, 5);
    fake_add_keys(fake, 1, SLOT, 5);
    run("7", 0);
    check_done(1, 10);
    check_order("0 MIGRATE 10.0.0.2 7000", "1 CLUSTER SETSLOT 7 NODE <1>");
    check_order("1 CLUSTER SETSLOT 7 NODE <1>", "0 CLUSTER SETSLOT 7 NODE <1>");
}

static void many_marks_go_in_one_pipeline(void **state)
{
    (void)state;
    for (int slot = 0; slot < 100; slot++) {
        fake->nodes[1].importing[slot] = 0;
    }
    run("0-99", 0);
    assert_int_equal(status.state, ORDER_DONE);
    assert_int_equal(slotset_count(&status.slots_done), 100);
    assert_int_equal(fake_said_count(fake, "1 CLUSTER NODES"), 4); /* two maps and two looks */
}

/* ---- a key on both sides ---- */

/* Slots that nobody owns any more go to who holds their keys; all of them wait at the same time. */
static void unowned_slots_wait_together(void **state)
{
    (void)state;
    for (int slot = 0; slot < 1000; slot++) {
        for (int n = 0; n < FAKE_NODES; n++) {
            fake->nodes[n].owner[slot] = -1;
        }
    }
    fake_add_keys(fake, 1, SLOT, 3);
    int64_t begun_ms = fake->now_ms;
    run("0-999", 0);
    check_done(1, 3);
    assert_int_equal(fake->nodes[2].owner[8], 0); /* the one that was ordered */
    assert_true(fake->now_ms - begun_ms >= 3000);
    assert_true(fake->now_ms - begun_ms < 15000);
}

static void give_copy(int value)
{
    struct fake_key copy = fake->keys[0];
    copy.node = 1;
    copy.value = value;
    fake->keys[fake->key_count++] = copy;
}

static void an_equal_copy_is_dropped(void **state)
{
    (void)state;
    fake->nodes[1].importing[SLOT] = 0;
    fake_add_keys(fake, 0, SLOT, 2);
    give_copy(1);
    fake_add_keys(fake, 1, SLOT, 3);
    run("7", 0);
    check_done(0, 5);
    check_order("1 DUMP", "1 UNLINK");
    check_order("0 DUMP", "1 UNLINK");
    assert_null(strstr(strbuf_text(&fake->log), "REPLACE"));
}

static void a_different_copy_is_held(void **state)
{
    (void)state;
    fake->nodes[1].importing[SLOT] = 0;
    fake_add_keys(fake, 0, SLOT, 2);
    give_copy(2);
    fake_add_keys(fake, 1, SLOT, 3);
    run("7", 0);
    assert_int_equal(status.state, ORDER_HELD);
    assert_non_null(strstr(status.reason, "slot 7: a key has different values"));
    assert_int_equal(fake_count(fake, 0, SLOT), 5);
    assert_int_equal(fake_count(fake, 1, SLOT), 1);
    assert_int_equal(fake->nodes[1].importing[SLOT], 0); /* the mark stays with the key */
    assert_null(strstr(strbuf_text(&fake->log), "UNLINK"));
    run("7", TASK_REPLACE);
    check_done(0, 5);
    assert_int_equal(fake->keys[0].value, 1);
}

/* ---- faults ---- */

static const struct {
    int node;
    const char *command;
    const char *error;
    bool is_done_too;
} faults[] = {
    {0, "CLUSTER NODES", "", false},
    {1, "CLUSTER NODES", "LOADING Redis is loading the dataset in memory", false},
    {2, "CLUSTER NODES", "", false},
    {1, "CLUSTER COUNTKEYSINSLOT", "ERR strange", false},
    {1, "CLUSTER SETSLOT 7 IMPORTING", "", false},
    {1, "CLUSTER SETSLOT 7 IMPORTING", "", true},
    {1, "CLUSTER SETSLOT 7 IMPORTING", "ERR I don't know about node", false},
    {1, "CLUSTER GETKEYSINSLOT", "", false},
    {1, "ASKING", "", false},
    {1, "MEMORY USAGE", "TRYAGAIN", false},
    {1, "MIGRATE", "IOERR error or timeout reading to target instance", false},
    {1, "MIGRATE", "IOERR error or timeout reading to target instance", true},
    {1, "MIGRATE", "", true},
    {1, "MIGRATE", "CLUSTERDOWN Hash slot not served", false},
    {1, "MIGRATE", "ERR Target instance replied with error: MOVED 7 10.0.0.3:7000", false},
    {1, "CLUSTER SETSLOT 7 STABLE", "", false},
    {1, "CLUSTER SETSLOT 7 STABLE", "", true},
};

static void every_fault_is_survived(void **state)
{
    for (size_t i = 0; i < sizeof(faults) / sizeof(faults[0]); i++) {
        fake_add_keys(fake, 0, SLOT, 3);
        fake_add_keys(fake, 1, SLOT, 30);
        struct fake_fault *fault =
            fake_fault(fake, faults[i].node, faults[i].command, faults[i].error, 2);
        fault->is_done_too = faults[i].is_done_too;
        run("7", 0);
        assert_true(fault->count < 2); /* it was met */
        check_done(0, 33);
        (void)tear_down(state);
        (void)set_up(state);
    }
}

static void a_wrong_login_ends_it(void **state)
{
    (void)state;
    fake_add_keys(fake, 1, SLOT, 3);
    (void)fake_fault(fake, 1, "MIGRATE",
                     "ERR Target instance replied with error: NOAUTH Authentication required.", 99);
    run("7", 0);
    assert_int_equal(status.state, ORDER_FAILED);
    assert_int_equal(status.reason_code, ERR_AUTH);
    assert_int_equal(fake_count(fake, 1, SLOT), 3);
}

static void a_full_owner_holds_the_slot(void **state)
{
    (void)state;
    fake_add_keys(fake, 1, SLOT, 3);
    fake_add_keys(fake, 1, 8, 3);
    (void)fake_fault(fake, 1, "MIGRATE",
                     "ERR Target instance replied with error: OOM command not allowed", 5);
    run("7-8", 0);
    assert_int_equal(status.state, ORDER_HELD);
    assert_int_equal(status.reason_code, ERR_LIMIT);
    assert_int_equal(fake_count(fake, 1, SLOT), 3);
    assert_int_equal(fake_count(fake, 0, 8), 3); /* the other slot goes on */
}

static void nobody_answers(void **state)
{
    (void)state;
    fake->nodes[0].is_down = true;
    fake->nodes[1].is_down = true;
    run("7", 0);
    assert_int_equal(status.state, ORDER_FAILED);
    assert_int_equal(status.reason_code, ERR_UNAVAILABLE);
}

static void a_target_that_does_not_answer_holds(void **state)
{
    (void)state;
    fake->nodes[0].migrating[SLOT] = 1;
    fake->nodes[1].is_down = true;
    run("7", 0);
    assert_int_equal(status.state, ORDER_HELD);
    assert_non_null(strstr(status.reason, "does not answer"));
    assert_int_equal(fake->nodes[0].migrating[SLOT], 1);
}

/* ---- stopped, expired, cut ---- */

static void expired_says_nothing_more(void **state)
{
    for (int steps = 0; steps < 60; steps++) {
        fake_add_keys(fake, 0, SLOT, 3);
        fake_add_keys(fake, 1, SLOT, 150);
        begin("7", 0);
        for (int i = 0; i < steps && !repair_is_over(machine); i++) {
            fake_feed_repair(fake, machine);
        }
        bool was_over = repair_is_over(machine);
        repair_expire(machine, ERR_TIMEOUT, "not renewed");
        assert_true(repair_is_over(machine) || !repair_is_quiet(machine));
        while (!repair_is_over(machine)) {
            struct agent_effects fx = {0};
            struct reply_list replies = {0};
            struct agent_event event;
            assert_true(fake_answer(fake, &event, &replies));
            repair_step(machine, &event, &fx);
            for (int i = 0; i < fx.count; i++) {
                assert_int_not_equal(fx.items[i].kind, AGENT_FX_REDIS);
            }
            agent_effects_release(&fx);
            replies_release(&replies);
        }
        repair_status(machine, &status);
        assert_int_equal(status.state, was_over ? ORDER_DONE : ORDER_EXPIRED);
        (void)run_for(0);
        run("7", 0);
        check_done(0, 153);
        (void)tear_down(state);
        (void)set_up(state);
    }
}

static void stopped_finishes_what_it_began(void **state)
{
    (void)state;
    for (int slot = 0; slot < 300; slot++) {
        fake_add_keys(fake, 1, slot, 2);
    }
    begin("0-299", 0);
    while (fake_said(fake, "1 MIGRATE") < 0) {
        fake_feed_repair(fake, machine);
    }
    repair_stop(machine);
    (void)run_for(-1);
    assert_int_equal(status.state, ORDER_STOPPED);
    assert_int_equal(slotset_count(&status.slots_done), 128); /* one group */
    for (int slot = 0; slot < 300; slot++) {
        assert_int_equal(fake->nodes[1].importing[slot], -1);
        assert_int_equal(fake_count(fake, 0, slot), slot < 128 ? 2 : 0);
    }
}

static int total_keys(void)
{
    int count = 0;
    for (int n = 0; n < FAKE_NODES; n++) {
        count += fake_count(fake, n, SLOT);
    }
    return count;
}

/* Owner 0; every combination of marks and keys of the three. Cuts are spread over the states. */
static void build(unsigned code)
{
    static const int migrating[3] = {-1, 1, 2};
    static const int importing[2][3] = {{-1, 0, 2}, {-1, 0, 1}};
    fake->nodes[0].migrating[SLOT] = migrating[code % 3];
    fake->nodes[1].importing[SLOT] = importing[0][code / 3 % 3];
    fake->nodes[2].importing[SLOT] = importing[1][code / 9 % 3];
    for (int n = 0; n < FAKE_NODES; n++) {
        if ((code / 27 >> n) % 2 != 0) {
            fake_add_keys(fake, n, SLOT, 2);
        }
    }
}

static void every_state_cut_anywhere_loses_nothing(void **state)
{
    for (unsigned code = 0; code < 27 * 8; code++) {
        bool is_whole = false;
        for (int steps = 3 + (int)(code % 9); !is_whole; steps += 9) {
            build(code);
            int keys = total_keys();
            begin("7", 0);
            is_whole = run_for(steps);
            assert_int_equal(total_keys(), keys);
            run("7", 0);
            int owner = fake->nodes[0].owner[SLOT];
            if (status.state != ORDER_DONE) {
                fail_msg("state %u cut after %d: %s: %s\n%s", code, steps,
                         order_state_name(status.state), status.reason, strbuf_text(&fake->log));
            }
            check_done(owner, keys);
            (void)tear_down(state);
            (void)set_up(state);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_clean_slot_is_only_looked_at, set_up, tear_down),
        cmocka_unit_test_setup_teardown(keys_go_to_the_owner_without_replace, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_mark_goes_only_after_the_keys, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_half_moved_slot_is_moved_on, set_up, tear_down),
        cmocka_unit_test_setup_teardown(many_marks_go_in_one_pipeline, set_up, tear_down),
        cmocka_unit_test_setup_teardown(unowned_slots_wait_together, set_up, tear_down),
        cmocka_unit_test_setup_teardown(an_equal_copy_is_dropped, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_different_copy_is_held, set_up, tear_down),
        cmocka_unit_test_setup_teardown(every_fault_is_survived, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_wrong_login_ends_it, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_full_owner_holds_the_slot, set_up, tear_down),
        cmocka_unit_test_setup_teardown(nobody_answers, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_target_that_does_not_answer_holds, set_up, tear_down),
        cmocka_unit_test_setup_teardown(expired_says_nothing_more, set_up, tear_down),
        cmocka_unit_test_setup_teardown(stopped_finishes_what_it_began, set_up, tear_down),
        cmocka_unit_test_setup_teardown(every_state_cut_anywhere_loses_nothing, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
