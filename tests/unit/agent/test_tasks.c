/* test_tasks.c — the tasks of a node's life against nodes in memory: how each goes, and what each
 * refuses. Waits of replicas:
 * test_tasks_replicas.c; leaving: test_tasks_leave.c; cuts and lost answers: test_tasks_cut.c. */
#include "helper_town_task.h"

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- join ---- */

static void joins(void **state)
{
    (void)state;
    (void)snprintf(town->nodes[0].functions, sizeof(town->nodes[0].functions), "lib");
    run(TASK_JOIN, 4, 0, 0);
    check_done();
    for (int n = 0; n < 4; n++) {
        assert_true(town_knows(town, n, 4));
        assert_true(town_knows(town, 4, n));
    }
    assert_string_equal(town->nodes[4].functions, "lib");
    assert_int_equal(town_said_count(town, "4 CLUSTER MEET 10.0.0.1 7000\n"), 1);
    int said = town_said_count(town, "4 CLUSTER MEET");
    run(TASK_JOIN, 4, 0, 0); /* a second time changes nothing */
    check_done();
    assert_int_equal(town_said_count(town, "4 CLUSTER MEET"), said);
}

/* Two joined nodes would share epoch 0. */
static void join_gives_a_config_epoch_of_its_own(void **state)
{
    (void)state;
    run(TASK_JOIN, 4, 0, 0);
    check_done();
    run(TASK_JOIN, 5, 0, 0);
    check_done();
    assert_true(town->faces[4].epoch != town->faces[5].epoch);
}

static void join_names_a_bus_port_of_its_own_kind(void **state)
{
    (void)state;
    town->nodes[0].announced_bus_port = 9000;
    run(TASK_JOIN, 4, 0, 0);
    check_done();
    assert_int_equal(town_said_count(town, "4 CLUSTER MEET 10.0.0.1 7000 9000\n"), 1);
}

/* MEET takes no names: the node's own end of our connection is an address. */
static void join_finds_the_address_behind_a_name(void **state)
{
    (void)state;
    town->nodes[0].shows_name = true;
    (void)snprintf(town->nodes[0].address.host, sizeof(town->nodes[0].address.host), "db-1");
    town->nodes[1].knows[0] = false; /* alone: nobody told it its address */
    struct task task;
    town_task(town, &task, TASK_JOIN, 4, 0);
    struct node_task *runner = town_runner(town, &task);
    (void)town_run_for(town, runner, 60);
    node_task_free(runner);
    assert_true(town_said_count(town, "4 CLUSTER MEET 10.0.0.7 7000\n") > 0);
}

/* Members that had forgotten it lately hear nothing by gossip: they are met directly. */
static void join_reaches_members_that_ban_it(void **state)
{
    (void)state;
    town->nodes[1].banned_until_ms[town->nodes[4].face] = NEVER;
    town->nodes[2].is_deaf = true;
    run(TASK_JOIN, 4, 0, 0);
    check_done();
    assert_true(town_knows(town, 1, 4));
    assert_true(town_knows(town, 2, 4));
}

static void join_refuses_a_node_with_slots(void **state)
{
    (void)state;
    town->owner[7] = (int16_t)town->nodes[4].face;
    run(TASK_JOIN, 4, 0, 0);
    check_refused(ERR_REFUSED, "owns 1 slots");
    check_untouched();
}

static void join_refuses_a_node_with_keys(void **state)
{
    (void)state;
    town->nodes[4].keys = 12;
    run(TASK_JOIN, 4, 0, 0);
    check_refused(ERR_REFUSED, "holds 12 keys");
    check_untouched();
}

static void join_refuses_a_member_of_another_cluster(void **state)
{
    (void)state;
    town->nodes[4].knows[town->nodes[5].face] = true;
    run(TASK_JOIN, 4, 0, 0);
    check_refused(ERR_REFUSED, "another cluster");
    check_untouched();
}

static void join_refuses_what_cannot_be_a_member(void **state)
{
    (void)state;
    town->nodes[4].is_standalone = true;
    run(TASK_JOIN, 4, 0, 0);
    check_refused(ERR_REFUSED, "cluster-enabled");
    town->nodes[4].is_standalone = false;
    town->nodes[4].is_locked = true;
    run(TASK_JOIN, 4, 0, 0);
    check_refused(ERR_AUTH, "password");
    town->nodes[4].is_locked = false;
    town->nodes[4].version = "6.2.1";
    run(TASK_JOIN, 4, 0, 0);
    check_refused(ERR_VERSION, "older");
    town->nodes[4].version = "7.0.15";
    town->nodes[4].is_down = true;
    run(TASK_JOIN, 4, 0, 0);
    check_refused(ERR_UNAVAILABLE, "does not answer");
    town->nodes[4].is_down = false;
    (void)snprintf(town->nodes[4].functions, sizeof(town->nodes[4].functions), "other");
    run(TASK_JOIN, 4, 0, 0);
    check_refused(ERR_REFUSED, "function libraries");
    check_untouched();
}

static void join_waits_for_a_node_that_loads(void **state)
{
    (void)state;
    town->nodes[4].is_loading = true;
    struct task task;
    town_task(town, &task, TASK_JOIN, 4, 0);
    struct node_task *runner = town_runner(town, &task);
    assert_false(town_run_for(town, runner, 40));
    town->nodes[4].is_loading = false;
    assert_true(town_run(town, runner, -1));
    node_task_status(runner, &status);
    node_task_free(runner);
    check_done();
}

/* Two minutes at most; what was begun is undone. */
static void join_does_not_wait_for_ever_for_a_node_that_loads(void **state)
{
    (void)state;
    town->nodes[4].is_loading = true;
    int64_t begun_ms = town->now_ms;
    run(TASK_JOIN, 4, 0, 0);
    check_refused(ERR_TIMEOUT, "at most 120 s");
    assert_true(town->now_ms - begun_ms >= 120000 && town->now_ms - begun_ms < 130000);
    check_untouched();
}

/* A node that was met and then loads (it was restarted) gets its two minutes, not only what is left
 * of the one for joining; then it is taken back. */
static void join_that_loads_half_way_is_undone(void **state)
{
    (void)state;
    town->nodes[4].is_bus_shut = true;
    struct task task;
    town_task(town, &task, TASK_JOIN, 4, 0);
    struct node_task *runner = town_runner(town, &task);
    assert_false(town_run_for(town, runner, 60));
    assert_true(town_said_count(town, "4 CLUSTER MEET") > 0);
    town->nodes[4].is_loading = true;
    int64_t loading_ms = town->now_ms;
    assert_true(town_run(town, runner, -1));
    assert_true(town->now_ms - loading_ms >= 120000);
    node_task_status(runner, &status);
    node_task_free(runner);
    check_refused(ERR_TIMEOUT, "at most 120 s");
    for (int n = 0; n < 4; n++) {
        assert_false(town_knows(town, n, 4));
    }
}

/* What drover's user may not do is found before anything is changed, by DRYRUN or by trying. */
static void join_refuses_a_login_without_rights(void **state)
{
    (void)state;
    static const char *const commands[] = {"MIGRATE", "CLUSTER MEET", "RESTORE-ASKING", "FUNCTION"};
    static const char *const names[] = {"migrate", "cluster|meet", "restore-asking",
                                        "function|dump"};
    for (int turn = 0; turn < 2; turn++) {
        for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
            town->nodes[4].has_no_dryrun = turn == 1;
            town->nodes[4].denied = commands[i];
            run(TASK_JOIN, 4, 0, 0);
            check_refused(ERR_AUTH, names[i]);
            assert_non_null(strstr(status.reason, "user drover"));
        }
    }
    check_untouched();
    town->nodes[4].denied = NULL;
    run(TASK_JOIN, 4, 0, 0); /* tried, none lacks */
    check_done();
}

/* DRYRUN itself may be what is not allowed. */
static void join_tries_when_it_may_not_ask(void **state)
{
    (void)state;
    town->nodes[4].has_no_dryrun = true;
    town->nodes[4].denied = "ACL";
    run(TASK_JOIN, 4, 0, 0);
    check_done();
}

static void join_works_without_functions(void **state)
{
    (void)state;
    town->nodes[0].has_no_functions = true;
    town->nodes[4].has_no_functions = true;
    run(TASK_JOIN, 4, 0, 0);
    check_done();
}

/* A bus port that nobody reaches: given up after a minute, and nothing of it is left. */
static void join_that_cannot_end_is_undone(void **state)
{
    (void)state;
    town->nodes[4].is_bus_shut = true;
    int old_face = town->nodes[4].face;
    int64_t begun_ms = town->now_ms;
    run(TASK_JOIN, 4, 0, 0);
    check_refused(ERR_TIMEOUT, "; undone");
    assert_true(town->now_ms - begun_ms >= 60000 && town->now_ms - begun_ms < 70000);
    assert_int_not_equal(town->nodes[4].face, old_face);
    for (int n = 0; n < 4; n++) {
        assert_false(town->nodes[n].knows[old_face]);
        assert_false(town_knows(town, n, 4));
    }
}

/* Whoever gave it slots or keys meanwhile needs it: it is neither reset nor forgotten. */
static void join_of_a_node_in_use_is_not_undone(void **state)
{
    (void)state;
    for (int i = 0; i < 2; i++) {
        struct task task;
        town->nodes[4].is_bus_shut = true;
        town_task(town, &task, TASK_JOIN, 4, 0);
        struct node_task *runner = town_runner(town, &task);
        assert_false(town_run_for(town, runner, 60));
        town->owner[9] = i == 0 ? (int16_t)town->nodes[4].face : 0;
        town->nodes[4].keys = i == 0 ? 0 : 5;
        assert_true(town_run(town, runner, -1));
        node_task_status(runner, &status);
        node_task_free(runner);
        check_refused(ERR_TIMEOUT, "; not undone: it is in use");
        assert_int_equal(town_said_count(town, "4 CLUSTER RESET"), 0);
        assert_int_equal(town_said_count(town, "0 CLUSTER FORGET"), 0);
        town_release(town);
        town_init(town);
    }
}

static void join_that_is_stopped_is_undone(void **state)
{
    (void)state;
    town->nodes[4].is_bus_shut = true;
    struct task task;
    town_task(town, &task, TASK_JOIN, 4, 0);
    struct node_task *runner = town_runner(town, &task);
    assert_false(town_run_for(town, runner, 60));
    assert_true(town_said_count(town, "4 CLUSTER MEET") > 0);
    node_task_stop(runner);
    assert_true(town_run(town, runner, -1));
    node_task_status(runner, &status);
    node_task_free(runner);
    assert_int_equal(status.state, ORDER_STOPPED);
    assert_int_equal(town_said_count(town, "4 CLUSTER RESET HARD"), 1);
}

/* ---- replicate ---- */

static void replicates(void **state)
{
    (void)state;
    town_introduce(town, 4);
    town->nodes[4].sync_left = 40;
    run(TASK_REPLICATE, 4, 1, 0);
    check_done();
    assert_int_equal(town->nodes[4].sync_left, 0); /* not before it was in step */
    assert_int_equal(town->faces[4].primary, 1);
    run(TASK_REPLICATE, 4, 1, 0);
    check_done();
    assert_int_equal(town_said_count(town, "4 CLUSTER REPLICATE"), 1);
}

/* As long as it proceeds a sync may take; without progress it may not. */
static void replicate_ends_a_sync_that_stalls(void **state)
{
    (void)state;
    town_introduce(town, 4);
    town_fault(town, 4, "INFO", "LOADING still", 0);
    town->nodes[4].sync_left = 1 << 20;
    struct task task;
    town_task(town, &task, TASK_REPLICATE, 4, 1);
    struct node_task *runner = town_runner(town, &task);
    int64_t begun_ms = town->now_ms;
    while (town->now_ms < begun_ms + 300000) {
        assert_false(town_run_for(town, runner, 50));
    }
    node_task_free(runner);
    town_fault(town, 4, "CLUSTER REPLICATE", "", 1 << 20);
    town->faces[4].primary = -1;
    town->nodes[4].keys = 0;
    run(TASK_REPLICATE, 4, 1, 0);
    check_refused(ERR_TIMEOUT, "does not become a replica");
}

static void replicate_refuses(void **state)
{
    (void)state;
    run(TASK_REPLICATE, 1, 0, 0);
    check_refused(ERR_REFUSED, "slots: drain it first");
    run(TASK_REPLICATE, 4, 0, 0);
    check_refused(ERR_REFUSED, "join it first");
    town_introduce(town, 4);
    run(TASK_REPLICATE, 4, 3, 0);
    check_refused(ERR_CONFLICT, "is a replica itself");
    town->nodes[4].keys = 5;
    run(TASK_REPLICATE, 4, 0, 0);
    check_refused(ERR_REFUSED, "holds 5 keys");
    check_untouched();
}

/* ---- failover ---- */

static void fails_over(void **state)
{
    (void)state;
    run(TASK_FAILOVER, 3, 0, 0);
    check_done();
    assert_int_equal(town->faces[3].primary, -1);
    assert_int_equal(town->owner[0], 3);
    assert_int_equal(town_said_count(town, "3 CLUSTER FAILOVER\n"), 1);
    run(TASK_FAILOVER, 3, 0, 0);
    check_done();
    assert_int_equal(town_said_count(town, "3 CLUSTER FAILOVER"), 1);
}

static void failover_by_force_needs_no_primary(void **state)
{
    (void)state;
    town->nodes[0].is_down = true;
    struct task task;
    town_task(town, &task, TASK_FAILOVER, 3, 0);
    run_task(&task);
    check_refused(ERR_UNAVAILABLE, "does not answer");
    check_untouched();
    task.flags = TASK_FORCE;
    run_task(&task);
    check_done();
    assert_int_equal(town_said_count(town, "3 CLUSTER FAILOVER FORCE\n"), 1);
}

static void failover_refuses(void **state)
{
    (void)state;
    run(TASK_FAILOVER, 3, 1, 0);
    check_refused(ERR_CONFLICT, "replicates");
    run(TASK_FAILOVER, 1, 2, 0);
    check_refused(ERR_CONFLICT, "is a primary");
    town->nodes[3].sync_left = 1 << 20;
    run(TASK_FAILOVER, 3, 0, 0);
    check_refused(ERR_REFUSED, "link to the primary is down");
    check_untouched();
}

/* While the primary holds its clients up the replica has to catch up: not with megabytes to go. */
static void failover_waits_for_a_replica_that_is_behind(void **state)
{
    (void)state;
    town->nodes[3].behind_bytes = 1024 * 1024 + 1;
    run(TASK_FAILOVER, 3, 0, 0);
    check_refused(ERR_REFUSED, "it is 1048577 bytes behind its primary");
    check_untouched();
    struct task task;
    town_task(town, &task, TASK_FAILOVER, 3, 0);
    struct node_task *runner = town_runner(town, &task);
    assert_false(town_run_for(town, runner, 30));
    check_untouched();
    town->nodes[3].behind_bytes = 1024 * 1024;
    assert_true(town_run(town, runner, -1));
    node_task_status(runner, &status);
    node_task_free(runner);
    check_done();
}

static void failover_is_asked_for_a_few_times(void **state)
{
    (void)state;
    town_fault(town, 3, "CLUSTER FAILOVER", "", 100);
    run(TASK_FAILOVER, 3, 0, 0);
    check_refused(ERR_TIMEOUT, "still a replica after 4 times");
    town_fault(town, 3, "CLUSTER FAILOVER", "NOPERM this user has no permissions", 1);
    town->faults[0].count = 0;
    run(TASK_FAILOVER, 3, 0, 0);
    check_refused(ERR_AUTH, "NOPERM");
}

/* ---- meet, add slots ---- */

static void introduces(void **state)
{
    (void)state;
    town->nodes[1].knows[3] = false;
    town->nodes[1].is_deaf = true;
    town->nodes[3].knows[2] = false;
    town->nodes[3].is_deaf = true;
    run(TASK_MEET, 3, 0, 0);
    check_done();
    assert_true(town_knows(town, 1, 3));
    assert_true(town_knows(town, 3, 2));
}

static void meet_refuses_two_owners_of_a_slot(void **state)
{
    (void)state;
    for (int n = 0; n < 4; n++) {
        town->nodes[n].knows[2] = n == 2;
        town->nodes[2].knows[n] = n == 2;
    }
    /* Slots of a node that a view does not know have no owner in that view: give it one. */
    town->owner[5] = 0;
    run(TASK_MEET, 2, 0, 0);
    check_done(); /* halves of one cluster without a clash */
}

static void adds_slots_that_nobody_has(void **state)
{
    (void)state;
    town_introduce(town, 4);
    struct task task;
    town_task(town, &task, TASK_ADD_SLOTS, 4, 0);
    town->owner[5] = -1;
    town->owner[6] = -1;
    town->owner[16000] = -1;
    slotset_add_range(&task.slots, 5, 6);
    slotset_add(&task.slots, 16000);
    town->nodes[4].has_no_ranges = true;
    run_task(&task);
    check_done();
    assert_int_equal(town->owner[5], town->nodes[4].face);
    assert_int_equal(town_said_count(town, "4 CLUSTER ADDSLOTS 5 6 16000"), 1);
    assert_int_equal(town_said_count(town, "4 CLUSTER BUMPEPOCH"), 0); /* nobody asked for one */
    slotset_add(&task.slots, 7);
    run_task(&task);
    check_refused(ERR_REFUSED, "slot 7 belongs to");
}

/* A member that is away may be the one that knows whose they are. */
static void adds_no_slots_while_a_member_is_silent(void **state)
{
    (void)state;
    struct task task;
    town_introduce(town, 4);
    town->owner[5] = -1;
    town_task(town, &task, TASK_ADD_SLOTS, 4, 0);
    slotset_add(&task.slots, 5);
    struct town_fault *fault = town_fault(town, 2, "CLUSTER NODES", "", 1 << 20);
    run_task(&task);
    check_refused(ERR_UNAVAILABLE, "does not answer");
    check_untouched();
    fault->count = 0;
    run_task(&task);
    check_done();
    assert_int_equal(town->owner[5], town->nodes[4].face);
}

/* Neither to one that is not there, nor on the word of one alone, nor to a replica. */
static void add_slots_refuses_the_wrong_node(void **state)
{
    (void)state;
    struct task task;
    town_introduce(town, 4);
    town->owner[5] = -1;
    town_task(town, &task, TASK_ADD_SLOTS, 4, 0);
    slotset_add(&task.slots, 5);
    town->nodes[4].is_down = true;
    run_task(&task);
    check_refused(ERR_UNAVAILABLE, "10.0.0.5:7000 does not answer");
    town->nodes[4].is_down = false;
    town->nodes[0].is_locked = true;
    run_task(&task);
    check_refused(ERR_AUTH, "10.0.0.1:7000 refuses the login");
    town->nodes[0].is_locked = false;
    town_task(town, &task, TASK_ADD_SLOTS, 3, 0);
    slotset_add(&task.slots, 5);
    run_task(&task);
    check_refused(ERR_CONFLICT, "is a replica: slots go to a primary");
    check_untouched();
}

/* What the node itself believes to be nobody's may be somebody's in the view of another. */
static void adds_no_slot_that_another_view_gives_to_somebody(void **state)
{
    (void)state;
    struct task task;
    town_introduce(town, 4);
    town->nodes[4].knows[1] = false;
    town->nodes[4].is_deaf = true;
    town_task(town, &task, TASK_ADD_SLOTS, 4, 0);
    slotset_add(&task.slots, 6000);
    run_task(&task);
    check_refused(ERR_REFUSED, "slot 6000 belongs to");
    check_untouched();
}

/* Done is what every member shows. */
static void add_slots_waits_for_every_view(void **state)
{
    (void)state;
    struct task task;
    int face = town->nodes[4].face;
    town_introduce(town, 4);
    town->owner[5] = -1;
    town->nodes[2].knows[face] = false;
    town->nodes[2].is_deaf = true;
    town_task(town, &task, TASK_ADD_SLOTS, 4, 0);
    slotset_add(&task.slots, 5);
    struct node_task *runner = town_runner(town, &task);
    do {
        assert_false(town_run_for(town, runner, 1));
        node_task_status(runner, &status);
    } while (strstr(status.reason, "10.0.0.3:7000 does not show it as the owner") == NULL);
    assert_false(town_run_for(town, runner, 20));
    town->nodes[2].knows[face] = true;
    assert_true(town_run(town, runner, -1));
    node_task_status(runner, &status);
    node_task_free(runner);
    check_done();
}

static void adds_slots_with_an_epoch(void **state)
{
    (void)state;
    struct task task;
    for (int slot = 0; slot < SLOT_COUNT; slot++) {
        town->owner[slot] = -1;
    }
    town_task(town, &task, TASK_ADD_SLOTS, 4, 0);
    task.peer_address.port = 0; /* alone: before it meets anybody */
    task.flags = TASK_EPOCH;
    (void)snprintf(task.detail, sizeof(task.detail), "7");
    slotset_add_range(&task.slots, 0, 100);
    run_task(&task);
    check_done();
    assert_int_equal(town->faces[4].epoch, 7);
    assert_int_equal(town_said_count(town, "4 CLUSTER ADDSLOTSRANGE 0 100"), 1);
    town_introduce(town, 5);
    town->faces[5].epoch = 0;
    town_task(town, &task, TASK_ADD_SLOTS, 5, 0);
    task.flags = TASK_EPOCH;
    (void)snprintf(task.detail, sizeof(task.detail), "8");
    slotset_clear(&task.slots);
    slotset_add(&task.slots, 200);
    run_task(&task);
    check_done();
    assert_int_equal(town_said_count(town, "5 CLUSTER BUMPEPOCH"), 1); /* it knows others */
}

/* Of two primaries with one epoch each may lose slots to the other: it gets another one, and the
 * task does not end well without it. */
static void add_slots_ends_with_an_epoch_of_its_own(void **state)
{
    (void)state;
    struct task task;
    town_introduce(town, 4);
    town->faces[4].epoch = town->faces[1].epoch;
    town->owner[5] = -1;
    town_task(town, &task, TASK_ADD_SLOTS, 4, 0);
    task.flags = TASK_EPOCH;
    slotset_add(&task.slots, 5);
    struct town_fault *fault = town_fault(town, 4, "CLUSTER BUMPEPOCH", "ERR not now", 1 << 20);
    run_task(&task);
    check_refused(ERR_TIMEOUT, "no config epoch of its own");
    assert_in_range(town_said_count(town, "4 CLUSTER BUMPEPOCH"), 2, 21);
    fault->count = 0;
    run_task(&task);
    check_done();
    assert_true(town->faces[4].epoch != town->faces[1].epoch);
}

/* Slots of the dead, with a config epoch that its claim cannot beat when it comes back. */
static void takes_slots_of_the_dead(void **state)
{
    (void)state;
    struct task task;
    town_introduce(town, 4);
    town->nodes[1].is_down = true;
    town->faces[1].epoch = 40;
    town_task(town, &task, TASK_ADD_SLOTS, 4, 0);
    slotset_add_range(&task.slots, 6000, 6001);
    run_task(&task);
    check_refused(ERR_REFUSED, "slot 6000 belongs to"); /* nobody said so */
    task.flags = TASK_FORCE;
    run_task(&task);
    check_done();
    assert_int_equal(town->owner[6000], town->nodes[4].face);
    assert_int_equal(town->owner[6002], 1);
    assert_true(town->faces[4].epoch > 40);
    assert_int_equal(town_said_count(town, "4 CLUSTER DELSLOTSRANGE 6000 6001"), 1);
    assert_int_equal(town_said_count(town, "4 CLUSTER BUMPEPOCH"), 1);
    assert_true(strstr(strbuf_text(&town->log), "4 CLUSTER BUMPEPOCH") <
                strstr(strbuf_text(&town->log), "4 CLUSTER DELSLOTS"));
    run_task(&task);
    check_done(); /* again: nothing to do */
    assert_int_equal(town_said_count(town, "4 CLUSTER BUMPEPOCH"), 1);
}

/* Whoever lives, wakes up, or has a replica that lives keeps its slots, whatever was ordered. */
static void takes_no_slots_of_the_living(void **state)
{
    (void)state;
    struct task task;
    town_introduce(town, 4);
    town_task(town, &task, TASK_ADD_SLOTS, 4, 2);
    task.flags = TASK_FORCE;
    slotset_add(&task.slots, 6000);
    run_task(&task);
    check_refused(ERR_REFUSED, "slot 6000 belongs to");
    town->nodes[0].is_down = true; /* 3 is its replica */
    slotset_clear(&task.slots);
    slotset_add(&task.slots, 0);
    run_task(&task);
    check_refused(ERR_REFUSED, "has a replica that does");
    town->nodes[0].is_down = false;
    town->nodes[1].is_given_up = true;
    town->nodes[1].is_loading = true;
    slotset_clear(&task.slots);
    slotset_add(&task.slots, 6000);
    run_task(&task);
    check_refused(ERR_CONFLICT, "answers again");
    assert_int_equal(town_said_count(town, "4 CLUSTER DELSLOTS"), 0);
}

#define EACH(test) cmocka_unit_test_setup_teardown(test, town_set_up, town_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        EACH(joins),
        EACH(join_gives_a_config_epoch_of_its_own),
        EACH(join_names_a_bus_port_of_its_own_kind),
        EACH(join_finds_the_address_behind_a_name),
        EACH(join_reaches_members_that_ban_it),
        EACH(join_refuses_a_node_with_slots),
        EACH(join_refuses_a_node_with_keys),
        EACH(join_refuses_a_member_of_another_cluster),
        EACH(join_refuses_what_cannot_be_a_member),
        EACH(join_waits_for_a_node_that_loads),
        EACH(join_does_not_wait_for_ever_for_a_node_that_loads),
        EACH(join_that_loads_half_way_is_undone),
        EACH(join_refuses_a_login_without_rights),
        EACH(join_tries_when_it_may_not_ask),
        EACH(join_works_without_functions),
        EACH(join_that_cannot_end_is_undone),
        EACH(join_of_a_node_in_use_is_not_undone),
        EACH(join_that_is_stopped_is_undone),
        EACH(replicates),
        EACH(replicate_ends_a_sync_that_stalls),
        EACH(replicate_refuses),
        EACH(fails_over),
        EACH(failover_by_force_needs_no_primary),
        EACH(failover_refuses),
        EACH(failover_waits_for_a_replica_that_is_behind),
        EACH(failover_is_asked_for_a_few_times),
        EACH(introduces),
        EACH(meet_refuses_two_owners_of_a_slot),
        EACH(adds_slots_that_nobody_has),
        EACH(adds_no_slots_while_a_member_is_silent),
        EACH(add_slots_refuses_the_wrong_node),
        EACH(adds_no_slot_that_another_view_gives_to_somebody),
        EACH(add_slots_waits_for_every_view),
        EACH(adds_slots_with_an_epoch),
        EACH(add_slots_ends_with_an_epoch_of_its_own),
        EACH(takes_slots_of_the_dead),
        EACH(takes_no_slots_of_the_living),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
