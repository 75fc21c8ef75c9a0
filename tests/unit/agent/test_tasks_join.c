/* test_tasks_join.c — who loads its data while nodes join or are introduced, against nodes in
 * memory. How nodes join otherwise: test_tasks.c. */
#include "helper_town_task.h"

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#define LOADING "LOADING Redis is loading the dataset in memory"

/* What it counts are the keys that it has read so far: it is not judged by them. */
static void a_node_that_shows_its_view_while_it_loads_is_waited_for(void **state)
{
    (void)state;
    struct task task;
    town->nodes[4].is_loading = true;
    town->nodes[4].is_open_while_loading = true;
    town_task(town, &task, TASK_JOIN, 4, 0);
    struct node_task *runner = town_runner(town, &task);
    assert_false(town_run_for(town, runner, 40));
    node_task_status(runner, &status);
    assert_non_null(strstr(status.reason, "loads its data"));
    check_untouched();
    town->nodes[4].is_loading = false;
    town->nodes[4].keys = 12;
    assert_true(town_run(town, runner, -1));
    node_task_status(runner, &status);
    node_task_free(runner);
    check_refused(ERR_REFUSED, "holds 12 keys");
    check_untouched();
}

/* Restarted between the look and the command: looked at again, as if it had been seen loading. */
static void who_loads_when_it_is_told_something_is_waited_for(void **state)
{
    (void)state;
    static const struct {
        int node;
        const char *command;
    } told[] = {
        {0, "FUNCTION DUMP"}, {4, "FUNCTION DUMP"}, {4, "FUNCTION RESTORE"}, {4, "CLUSTER MEET"}};
    for (size_t i = 0; i < sizeof(told) / sizeof(told[0]); i++) {
        (void)snprintf(town->nodes[0].functions, sizeof(town->nodes[0].functions), "lib");
        struct town_fault *fault = town_fault(town, told[i].node, told[i].command, LOADING, 2);
        run(TASK_JOIN, 4, 0, 0);
        check_done();
        assert_int_equal(fault->count, 0);
        assert_string_equal(town->nodes[4].functions, "lib");
        town_release(town);
        town_init(town);
    }
}

/* Who loads has not said that everything is allowed. */
static void rights_are_asked_again_when_it_loads(void **state)
{
    (void)state;
    town->nodes[4].has_no_dryrun = true;
    town->nodes[4].denied = "CLUSTER MEET";
    struct town_fault *fault = town_fault(town, 4, "ACL", LOADING, 24); /* who it is, and rights */
    run(TASK_JOIN, 4, 0, 0);
    check_refused(ERR_AUTH, "may not run cluster|meet");
    assert_int_equal(fault->count, 0);
    check_untouched();
}

/* Nor is that for ever. */
static void who_never_ends_to_load_is_given_up(void **state)
{
    (void)state;
    (void)town_fault(town, 0, "FUNCTION DUMP", LOADING, 1 << 20);
    int64_t begun_ms = town->now_ms;
    run(TASK_JOIN, 4, 0, 0);
    check_refused(ERR_TIMEOUT, "LOADING");
    assert_true(town->now_ms - begun_ms >= 60000 && town->now_ms - begun_ms < 70000);
    assert_in_range(town_said_count(town, "0 FUNCTION DUMP"), 20, 200);
    check_untouched();
}

static void who_loads_when_it_is_introduced_is_waited_for(void **state)
{
    (void)state;
    town->nodes[1].knows[3] = false;
    town->nodes[1].is_deaf = true;
    struct town_fault *fault = town_fault(town, 1, "CLUSTER MEET", LOADING, 1);
    run(TASK_MEET, 3, 0, 0);
    check_done();
    assert_int_equal(fault->count, 0);
    assert_true(town_knows(town, 1, 3));
}

static void who_loads_when_it_is_to_take_over_is_waited_for(void **state)
{
    (void)state;
    struct town_fault *fault = town_fault(town, 3, "CLUSTER FAILOVER", LOADING, 1);
    run(TASK_FAILOVER, 3, 0, 0);
    check_done();
    assert_int_equal(fault->count, 0);
}

#define EACH(test) cmocka_unit_test_setup_teardown(test, town_set_up, town_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        EACH(a_node_that_shows_its_view_while_it_loads_is_waited_for),
        EACH(who_loads_when_it_is_told_something_is_waited_for),
        EACH(rights_are_asked_again_when_it_loads),
        EACH(who_never_ends_to_load_is_given_up),
        EACH(who_loads_when_it_is_introduced_is_waited_for),
        EACH(who_loads_when_it_is_to_take_over_is_waited_for),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
