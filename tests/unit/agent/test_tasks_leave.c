/* test_tasks_leave.c — how a node leaves, against nodes in memory, and who may not. Cuts and lost
 * answers: test_tasks_cut.c. */
#include "helper_town_task.h"

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void check_gone(int face)
{
    for (int n = 0; n < TOWN_NODES; n++) {
        assert_false(town->nodes[n].knows[face]);
    }
}

static void finish(struct node_task *runner)
{
    assert_true(town_run(town, runner, -1));
    node_task_status(runner, &status);
    node_task_free(runner);
}

/* Forgotten by all; reset while they refuse it, so that it cannot come back; asked again after 61
 * s.
 */
static void leaves(void **state)
{
    (void)state;
    town_introduce(town, 4);
    int face = town->nodes[4].face;
    int64_t begun_ms = town->now_ms;
    run(TASK_LEAVE, 4, 0, 0);
    check_done();
    check_gone(face);
    assert_true(town->now_ms - begun_ms >= 61000 && town->now_ms - begun_ms < 65000);
    assert_int_equal(town_said_count(town, "4 CLUSTER RESET HARD"), 1);
    assert_int_equal(town_said_count(town, "0 CLUSTER FORGET"), 1);
    assert_true(strstr(strbuf_text(&town->log), "RESET") >
                strstr(strbuf_text(&town->log), "2 CLUSTER FORGET"));
}

static void run_until(struct node_task *runner, const char *line_start)
{
    while (town_said_count(town, line_start) == 0) {
        assert_false(town_run_for(town, runner, 1));
    }
}

/* Clients with an old map are sent on by it for as long as the others refuse it. */
static void redirects_until_the_ban_is_nearly_over(void **state)
{
    (void)state;
    struct task task;
    town_introduce(town, 4);
    int face = town->nodes[4].face;
    town_task(town, &task, TASK_LEAVE, 4, 0);
    struct node_task *runner = town_runner(town, &task);
    run_until(runner, "2 CLUSTER FORGET");
    int64_t forgotten_ms = town->now_ms;
    while (town->now_ms < forgotten_ms + 49000 &&
           node_task_deadline(runner) < forgotten_ms + 49000) {
        assert_false(town_run_for(town, runner, 1));
        assert_int_equal(town->nodes[4].face, face);
    }
    assert_true(town->nodes[4].knows[town->nodes[0].face]);
    run_until(runner, "4 CLUSTER RESET");
    assert_true(town->now_ms - forgotten_ms < 59000);
    finish(runner);
    check_done();
    check_gone(face);
}

/* One that would introduce itself again is reset at once; so is one that came back. */
static void one_that_introduces_itself_is_reset_at_once(void **state)
{
    (void)state;
    struct task task;
    town_introduce(town, 4);
    int face = town->nodes[4].face;
    town->nodes[4].version = "7.2.4\r\nserver_name:valkey\r\nvalkey_version:8.1.3";
    town_task(town, &task, TASK_LEAVE, 4, 0);
    struct node_task *runner = town_runner(town, &task);
    run_until(runner, "2 CLUSTER FORGET");
    int64_t forgotten_ms = town->now_ms;
    run_until(runner, "4 CLUSTER RESET");
    assert_true(town->now_ms - forgotten_ms < 3000);
    finish(runner);
    check_done();
    check_gone(face);
}

static void one_that_came_back_is_reset_at_once(void **state)
{
    (void)state;
    struct task task;
    town_introduce(town, 4);
    int face = town->nodes[4].face;
    town_task(town, &task, TASK_LEAVE, 4, 0);
    struct node_task *runner = town_runner(town, &task);
    run_until(runner, "2 CLUSTER FORGET");
    while (town_said_count(town, "3 CLUSTER NODES") < 2 ||
           node_task_deadline(runner) < town->now_ms + 30000) {
        assert_false(town_run_for(town, runner, 1));
    }
    town->nodes[2].knows[face] = true;
    while (town_said_count(town, "2 CLUSTER FORGET") < 2) {
        assert_false(town_run_for(town, runner, 1));
    }
    int64_t forgotten_ms = town->now_ms;
    run_until(runner, "4 CLUSTER RESET");
    assert_true(town->now_ms - forgotten_ms < 3000);
    finish(runner);
    check_done();
    check_gone(face);
}

/* It dies while it redirects: it is gone all the same, and the operator is told what is left. */
static void says_what_a_node_that_died_before_its_reset_still_knows(void **state)
{
    (void)state;
    struct task task;
    town_introduce(town, 4);
    int face = town->nodes[4].face;
    town_task(town, &task, TASK_LEAVE, 4, 0);
    struct node_task *runner = town_runner(town, &task);
    run_until(runner, "2 CLUSTER FORGET");
    town->nodes[4].is_down = true;
    finish(runner);
    check_done();
    assert_non_null(strstr(status.reason, "empty its folder"));
    for (int n = 0; n < 4; n++) {
        assert_false(town->nodes[n].knows[face]);
    }
}

/* A reset that is refused for good is an error with its reason, not an endless wait. */
static void a_reset_that_is_refused_is_said(void **state)
{
    (void)state;
    town_introduce(town, 4);
    town_fault(town, 4, "CLUSTER RESET", "ERR not today", 1 << 20);
    run(TASK_LEAVE, 4, 0, 0);
    assert_int_equal(status.state, ORDER_FAILED);
    assert_int_equal(status.reason_code, ERR_REFUSED);
    assert_non_null(strstr(status.reason, "not today"));
}

static void a_replica_leaves_with_its_copies(void **state)
{
    (void)state;
    int face = town->nodes[3].face;
    run(TASK_LEAVE, 3, 1, 0);
    check_done();
    check_gone(face);
    assert_int_equal(town->nodes[3].keys, 0);
    assert_int_equal(town->nodes[3].filed_keys, 0); /* switched on again it claims no slots */
    assert_int_equal(town->nodes[0].keys, 100);
}

static void a_node_that_lets_nobody_empty_its_files_leaves_all_the_same(void **state)
{
    (void)state;
    int face = town->nodes[3].face;
    town_fault(town, 3, "FLUSHALL", "NOPERM this user has no permissions", 9);
    run(TASK_LEAVE, 3, 1, 0);
    check_done();
    check_gone(face);
    assert_int_equal(town_said_count(town, "3 FLUSHALL"), 1);
}

/* Node 4 leaves; once it was reset somebody else uses its address. Not one of its files is touched.
 */
static void leave_beside_a_newcomer(int64_t keys, bool is_in_a_cluster)
{
    struct task task;
    town_introduce(town, 4);
    town_task(town, &task, TASK_LEAVE, 4, 0);
    struct node_task *runner = town_runner(town, &task);
    run_until(runner, "4 CLUSTER RESET");
    town->nodes[4].keys = keys;
    town->nodes[4].filed_keys = keys;
    town->nodes[4].knows[town->nodes[5].face] = is_in_a_cluster;
    finish(runner);
    check_done();
    assert_int_equal(town_said_count(town, "4 FLUSHALL"), 0);
    assert_int_equal(town_said_count(town, "4 SAVE"), 0);
    assert_int_equal(town->nodes[4].keys, keys);
    bool is_told = strstr(status.reason, "FLUSHALL and CLUSTER RESET HARD it") != NULL;
    assert_int_equal(is_told, keys > 0 && !is_in_a_cluster);
}

static void leave_deletes_no_key_of_a_newcomer(void **state)
{
    (void)state;
    leave_beside_a_newcomer(5, false);
}

static void leave_empties_no_member_of_another_cluster(void **state)
{
    (void)state;
    leave_beside_a_newcomer(0, true);
}

static void a_dead_node_leaves_and_stays_away(void **state)
{
    (void)state;
    int face = town->nodes[3].face;
    town->nodes[3].is_down = true;
    run(TASK_LEAVE, 3, 1, 0);
    check_refused(ERR_UNAVAILABLE, "remove it as dead");
    check_untouched();
    struct task task;
    town_task(town, &task, TASK_LEAVE, 3, 1);
    task.flags = TASK_DEAD;
    struct node_task *runner = town_runner(town, &task);
    while (town_said_count(town, "2 CLUSTER FORGET") == 0) {
        assert_false(town_run_for(town, runner, 1));
    }
    town->nodes[3].is_down = false; /* it is powered on again, with all it knew */
    finish(runner);
    check_done();
    for (int n = 0; n < 3; n++) {
        assert_false(town->nodes[n].knows[face]);
    }
}

/* One member was not told: it brings the node back to the others when their ban is over. */
static void a_node_that_comes_back_is_forgotten_again(void **state)
{
    (void)state;
    town->nodes[3].is_down = true;
    struct task task;
    town_task(town, &task, TASK_LEAVE, 3, 1);
    task.flags = TASK_DEAD;
    struct node_task *runner = town_runner(town, &task);
    int64_t forgotten_ms = 0;
    while (forgotten_ms == 0 || town->now_ms < forgotten_ms + 5000) {
        assert_false(town_run_for(town, runner, 1));
        bool is_told = town_said_count(town, "2 CLUSTER FORGET") > 0;
        forgotten_ms = forgotten_ms == 0 && is_told ? town->now_ms : forgotten_ms;
        if (is_told && node_task_deadline(runner) > town->now_ms + 30000) {
            break;
        }
    }
    town->nodes[2].knows[3] = true; /* as told by a member that was away */
    finish(runner);
    check_done();
    assert_false(town->nodes[2].knows[3]);
    assert_int_equal(town_said_count(town, "2 CLUSTER FORGET"), 2);
}

/* Whoever died since it was heard cannot be told. */
static void a_member_that_dies_before_it_was_told_holds_nobody_up(void **state)
{
    (void)state;
    struct task task;
    town_introduce(town, 4);
    town_task(town, &task, TASK_LEAVE, 4, 0);
    struct node_task *runner = town_runner(town, &task);
    run_until(runner, "0 CLUSTER FORGET");
    town->nodes[2].is_down = true;
    finish(runner);
    check_done();
}

static void leave_refuses_who_is_needed(void **state)
{
    (void)state;
    run(TASK_LEAVE, 1, 0, 0);
    check_refused(ERR_REFUSED, "drain it first");
    for (int slot = 0; slot < SLOT_COUNT; slot++) {
        town->owner[slot] = town->owner[slot] == 0 ? 1 : town->owner[slot];
    }
    run(TASK_LEAVE, 0, 1, 0);
    check_refused(ERR_REFUSED, "replicas of it");
    town->faces[3].primary = 1;
    run(TASK_LEAVE, 0, 1, 0);
    check_refused(ERR_REFUSED, "still holds 100 keys");
    run(TASK_LEAVE, 0, 1, TASK_DEAD);
    check_refused(ERR_REFUSED, "is not dead");
    run(TASK_LEAVE, 0, 0, 0);
    check_refused(ERR_INVALID, "forget itself");
    check_untouched();
}

/* A slot that is half way to it may have keys there, and nobody else knows of it. */
static void leave_refuses_a_node_with_an_open_slot(void **state)
{
    (void)state;
    town_introduce(town, 4);
    town->nodes[4].importing = 7;
    town->nodes[4].importing_from = town->nodes[0].face + 1;
    run(TASK_LEAVE, 4, 0, 0);
    check_refused(ERR_REFUSED, "has 1 open slots: finish or repair them first");
    check_untouched();
    town->nodes[4].importing_from = 0;
    run(TASK_LEAVE, 4, 0, 0);
    check_done();
}

static void leave_refuses_the_dead_who_are_needed(void **state)
{
    (void)state;
    town->nodes[0].is_down = true;
    run(TASK_LEAVE, 0, 1, TASK_DEAD);
    check_refused(ERR_REFUSED, "slots");
    for (int slot = 0; slot < SLOT_COUNT; slot++) {
        town->owner[slot] = town->owner[slot] == 0 ? 1 : town->owner[slot];
    }
    run(TASK_LEAVE, 0, 1, TASK_DEAD);
    check_refused(ERR_REFUSED, "replicas of it");
    check_untouched();
}

/* Begins to let node 4 leave, which something still rests on, and goes on until that is said. */
static struct node_task *begin_too_early(uint32_t flags, const char *part)
{
    struct task task;
    town_task(town, &task, TASK_LEAVE, 4, 0);
    task.flags = flags;
    struct node_task *runner = town_runner(town, &task);
    do {
        assert_false(town_run_for(town, runner, 1));
        node_task_status(runner, &status);
    } while (strstr(status.reason, part) == NULL);
    assert_false(town_run_for(town, runner, 20));
    check_untouched();
    return runner;
}

static void end_well(struct node_task *runner)
{
    finish(runner);
    check_done();
}

/* What a view showed in one round is not held against the node in the next. */
static void leave_waits_for_views_that_lag(void **state)
{
    (void)state;
    town_introduce(town, 4);
    town->faces[3].primary = town->nodes[4].face;
    struct node_task *runner = begin_too_early(0, "still shows 1 replicas of it");
    town->faces[3].primary = town->nodes[0].face;
    end_well(runner);
}

static void leave_waits_until_the_slots_of_the_dead_are_taken_over(void **state)
{
    (void)state;
    town_introduce(town, 4);
    town->nodes[4].is_down = true;
    town->owner[7] = (int16_t)town->nodes[4].face;
    struct node_task *runner = begin_too_early(TASK_DEAD, "still shows it with 1 slots");
    town->owner[7] = (int16_t)town->nodes[0].face;
    end_well(runner);
}

/* The others take their time to notice that it is gone. */
static void leave_waits_until_all_links_to_the_dead_are_down(void **state)
{
    (void)state;
    struct task task;
    town_introduce(town, 4);
    town_task(town, &task, TASK_LEAVE, 4, 0);
    task.node_address.port = 1; /* we see it dead before they do */
    task.flags = TASK_DEAD;
    struct node_task *runner = town_runner(town, &task);
    do {
        assert_false(town_run_for(town, runner, 1));
        node_task_status(runner, &status);
    } while (strstr(status.reason, "still have a link") == NULL);
    town->nodes[4].is_down = true;
    end_well(runner);
    for (int n = 0; n < 4; n++) {
        assert_false(town_knows(town, n, 4));
    }
}

/* It is there and will answer, however long that takes: it is not one of the silent. */
static void leave_waits_for_a_node_that_loads(void **state)
{
    (void)state;
    struct task task;
    town_introduce(town, 4);
    town->nodes[4].is_loading = true;
    town_task(town, &task, TASK_LEAVE, 4, 0);
    struct node_task *runner = town_runner(town, &task);
    int64_t begun_ms = town->now_ms;
    while (town->now_ms < begun_ms + 120000) {
        assert_false(town_run_for(town, runner, 1));
    }
    check_untouched();
    town->nodes[4].is_loading = false;
    end_well(runner);
}

static void leave_says_that_the_login_is_refused(void **state)
{
    (void)state;
    town_introduce(town, 4);
    town->nodes[4].is_locked = true;
    run(TASK_LEAVE, 4, 0, 0);
    check_refused(ERR_AUTH, "refuses the login");
    check_untouched();
}

/* An order may name it by its id alone: the members know where it is. */
static void leave_finds_the_node_by_its_id(void **state)
{
    (void)state;
    struct task task;
    town_introduce(town, 4);
    int face = town->nodes[4].face;
    town_task(town, &task, TASK_LEAVE, 4, 0);
    task.node_address = (struct address){0};
    int64_t begun_ms = town->now_ms;
    run_task(&task);
    check_done();
    check_gone(face);
    assert_int_equal(town_said_count(town, "4 CLUSTER RESET HARD"), 1);
    assert_true(town->now_ms - begun_ms < 65000); /* it is asked as soon as that is known */
}

/* Nobody knows where it is, nor what it is: it has left. */
static void leave_of_one_whom_nobody_knows_is_done(void **state)
{
    (void)state;
    struct task task;
    town_task(town, &task, TASK_LEAVE, 4, 0);
    task.node_address = (struct address){0};
    task.flags = TASK_DEAD;
    run_task(&task);
    check_done();
    check_untouched();
}

/* Our route to it is broken, not the node. */
static void leave_believes_the_members_that_it_lives(void **state)
{
    (void)state;
    town_introduce(town, 4);
    struct task task;
    town_task(town, &task, TASK_LEAVE, 4, 0);
    task.node_address.port = 1;
    task.flags = TASK_DEAD;
    run_task(&task);
    check_refused(ERR_REFUSED, "still have a link");
    check_untouched();
}

/* Whoever cannot be told would bring it back. */
static void leave_waits_for_every_member(void **state)
{
    (void)state;
    town_introduce(town, 4);
    town_fault(town, 2, "CLUSTER NODES", "", 1 << 20);
    run(TASK_LEAVE, 4, 0, 0);
    check_refused(ERR_UNAVAILABLE, "does not answer");
    check_untouched();
}

/* Stopped at that command, whichever it is, the node is reset and known to nobody. */
static void stop_leave_at(const char *line_start)
{
    town_introduce(town, 4);
    int face = town->nodes[4].face;
    struct task task;
    town_task(town, &task, TASK_LEAVE, 4, 0);
    struct node_task *runner = town_runner(town, &task);
    run_until(runner, line_start);
    node_task_stop(runner);
    int64_t begun_ms = town->now_ms;
    finish(runner);
    assert_int_equal(status.state, ORDER_STOPPED);
    assert_true(town->now_ms - begun_ms < 10000);
    check_gone(face);
    assert_int_equal(town_said_count(town, "4 CLUSTER RESET"), 1);
}

static void leave_that_is_stopped_is_finished_but_for_the_ban(void **state)
{
    (void)state;
    stop_leave_at("0 CLUSTER FORGET");
}

static void leave_that_is_stopped_while_it_redirects_resets_the_node(void **state)
{
    (void)state;
    stop_leave_at("2 CLUSTER FORGET");
}

static void leave_that_is_stopped_after_the_reset_ends_at_once(void **state)
{
    (void)state;
    stop_leave_at("4 CLUSTER RESET");
}

/* An agent died when all had forgotten the node, the next is stopped at its first look: the node
 * does not stay as it is, known to nobody and believing itself a member. */
static void leave_that_is_stopped_at_its_first_look_resets_who_is_forgotten(void **state)
{
    (void)state;
    struct task task;
    int face = town->nodes[3].face;
    town_task(town, &task, TASK_LEAVE, 3, 1);
    struct node_task *runner = town_runner(town, &task);
    run_until(runner, "2 CLUSTER FORGET");
    node_task_free(runner);
    assert_int_equal(town_said_count(town, "3 CLUSTER RESET"), 0);
    runner = town_runner(town, &task);
    node_task_stop(runner);
    int64_t begun_ms = town->now_ms;
    finish(runner);
    assert_int_equal(status.state, ORDER_STOPPED);
    assert_true(town->now_ms - begun_ms < 10000);
    check_gone(face);
    assert_int_equal(town_said_count(town, "3 CLUSTER RESET"), 1);
    assert_int_equal(town->nodes[3].filed_keys, 0);
}

/* Nobody was told yet: nothing is done. */
static void leave_that_is_stopped_before_it_began_changes_nothing(void **state)
{
    (void)state;
    struct task task;
    town_introduce(town, 4);
    town_task(town, &task, TASK_LEAVE, 4, 0);
    struct node_task *runner = town_runner(town, &task);
    node_task_stop(runner);
    finish(runner);
    assert_int_equal(status.state, ORDER_STOPPED);
    check_untouched();
}

/* The dead are not reset, and whoever is silent is not waited for. */
static void leave_of_the_dead_may_be_stopped_at_its_first_look(void **state)
{
    (void)state;
    struct task task;
    town->nodes[3].is_down = true;
    for (int n = 0; n < 3; n++) {
        town->nodes[n].knows[town->nodes[3].face] = false;
    }
    for (int i = 0; i < 2; i++) {
        town_task(town, &task, TASK_LEAVE, 3, 1);
        task.flags = i == 0 ? 0 : TASK_DEAD;
        struct node_task *runner = town_runner(town, &task);
        node_task_stop(runner);
        finish(runner);
        assert_int_equal(status.state, ORDER_STOPPED);
    }
    check_untouched();
}

#define EACH(test) cmocka_unit_test_setup_teardown(test, town_set_up, town_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        EACH(leaves),
        EACH(redirects_until_the_ban_is_nearly_over),
        EACH(one_that_introduces_itself_is_reset_at_once),
        EACH(one_that_came_back_is_reset_at_once),
        EACH(says_what_a_node_that_died_before_its_reset_still_knows),
        EACH(a_reset_that_is_refused_is_said),
        EACH(a_replica_leaves_with_its_copies),
        EACH(a_node_that_lets_nobody_empty_its_files_leaves_all_the_same),
        EACH(leave_deletes_no_key_of_a_newcomer),
        EACH(leave_empties_no_member_of_another_cluster),
        EACH(a_dead_node_leaves_and_stays_away),
        EACH(a_node_that_comes_back_is_forgotten_again),
        EACH(a_member_that_dies_before_it_was_told_holds_nobody_up),
        EACH(leave_refuses_who_is_needed),
        EACH(leave_refuses_a_node_with_an_open_slot),
        EACH(leave_refuses_the_dead_who_are_needed),
        EACH(leave_waits_for_views_that_lag),
        EACH(leave_waits_until_the_slots_of_the_dead_are_taken_over),
        EACH(leave_waits_until_all_links_to_the_dead_are_down),
        EACH(leave_waits_for_a_node_that_loads),
        EACH(leave_says_that_the_login_is_refused),
        EACH(leave_finds_the_node_by_its_id),
        EACH(leave_of_one_whom_nobody_knows_is_done),
        EACH(leave_believes_the_members_that_it_lives),
        EACH(leave_waits_for_every_member),
        EACH(leave_that_is_stopped_is_finished_but_for_the_ban),
        EACH(leave_that_is_stopped_while_it_redirects_resets_the_node),
        EACH(leave_that_is_stopped_after_the_reset_ends_at_once),
        EACH(leave_that_is_stopped_at_its_first_look_resets_who_is_forgotten),
        EACH(leave_that_is_stopped_before_it_began_changes_nothing),
        EACH(leave_of_the_dead_may_be_stopped_at_its_first_look),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
