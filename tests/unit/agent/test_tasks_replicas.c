/* test_tasks_replicas.c — replicas made and put in the place of their primary, against nodes in
 * memory: what is waited for, how long, and what is said when it does not come. The plain ways:
 * test_tasks.c. */
#include "helper_town_task.h"

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>

#include <string.h>

static struct node_task *begin(enum task_kind kind, int node, int peer, uint32_t flags)
{
    struct task task;
    town_task(town, &task, kind, node, peer);
    task.flags = flags;
    return town_runner(town, &task);
}

static void run_until_said(struct node_task *runner, const char *part)
{
    do {
        assert_false(town_run_for(town, runner, 1));
        node_task_status(runner, &status);
    } while (strstr(status.reason, part) == NULL);
}

static void run_until_done_to(struct node_task *runner, const char *line_start)
{
    while (town_said_count(town, line_start) == 0) {
        assert_false(town_run_for(town, runner, 1));
    }
}

/* It says so for as long as it is so, and goes on when it is not any more. */
static void still_waits(struct node_task *runner, const char *part)
{
    run_until_said(runner, part);
    assert_false(town_run_for(town, runner, 20));
    run_until_said(runner, part);
}

static void end(struct node_task *runner)
{
    assert_true(town_run(town, runner, -1));
    node_task_status(runner, &status);
    node_task_free(runner);
}

/* ---- failover ---- */

static void failover_refuses_a_primary_without_slots(void **state)
{
    (void)state;
    for (int slot = 0; slot < SLOT_COUNT; slot++) {
        town->owner[slot] = town->owner[slot] == 0 ? 1 : town->owner[slot];
    }
    run(TASK_FAILOVER, 3, 0, 0);
    check_refused(ERR_REFUSED, "owns no slots: nobody would vote");
    check_untouched();
}

static void failover_needs_the_replica(void **state)
{
    (void)state;
    town->nodes[3].is_down = true;
    run(TASK_FAILOVER, 3, 0, TASK_FORCE);
    check_refused(ERR_UNAVAILABLE, "10.0.0.4:7000 does not answer");
    check_untouched();
}

/* Done is what every member shows: the new primary, all of its slots, and the old one behind it. */
static void failover_waits_for_every_view(void **state)
{
    (void)state;
    int face = town->nodes[3].face;
    int old = town->nodes[0].face;
    town->nodes[2].knows[face] = false;
    town->nodes[2].is_deaf = true;
    struct node_task *runner = begin(TASK_FAILOVER, 3, 0, 0);
    run_until_done_to(runner, "3 CLUSTER FAILOVER");
    still_waits(runner, "member 10.0.0.3:7000 does not show it as the primary yet");
    town->nodes[2].knows[face] = true;
    town->owner[7] = 1;
    still_waits(runner, "does not show it with the slots yet");
    town->owner[7] = (int16_t)face;
    town->faces[old].primary = -1;
    still_waits(runner, "does not show the old primary as its replica yet");
    town->faces[old].primary = face;
    end(runner);
    check_done();
    assert_int_equal(town_said_count(town, "3 CLUSTER FAILOVER"), 1);
}

static void failover_does_not_wait_for_ever(void **state)
{
    (void)state;
    struct node_task *runner = begin(TASK_FAILOVER, 3, 0, 0);
    run_until_done_to(runner, "3 CLUSTER FAILOVER");
    town->faces[town->nodes[0].face].primary = -1;
    int64_t begun_ms = town->now_ms;
    end(runner);
    check_refused(ERR_TIMEOUT, "is the primary; ");
    assert_true(town->now_ms - begun_ms >= 60000);
}

/* One that is dead follows nobody, and need not. */
static void failover_by_force_does_not_wait_for_the_dead(void **state)
{
    (void)state;
    town->nodes[0].is_down = true;
    struct node_task *runner = begin(TASK_FAILOVER, 3, 0, TASK_FORCE);
    run_until_done_to(runner, "3 CLUSTER FAILOVER FORCE");
    town->faces[town->nodes[0].face].primary = -1;
    end(runner);
    check_done();
}

/* The server gives one up after 5 s: it is not asked again before. */
static void failover_is_not_asked_for_in_haste(void **state)
{
    (void)state;
    town_fault(town, 3, "CLUSTER FAILOVER", "", 100);
    int64_t begun_ms = town->now_ms;
    run(TASK_FAILOVER, 3, 0, 0);
    check_refused(ERR_TIMEOUT, "still a replica after 4 times");
    assert_true(town->now_ms - begun_ms >= 4 * 6000);
}

/* Stopped before anybody was asked nothing happens; after that it is seen to its end. */
static void failover_can_be_stopped_before_it_begins(void **state)
{
    (void)state;
    town->nodes[3].behind_bytes = 2000000;
    struct node_task *runner = begin(TASK_FAILOVER, 3, 0, 0);
    run_until_said(runner, "bytes behind");
    node_task_stop(runner);
    end(runner);
    assert_int_equal(status.state, ORDER_STOPPED);
    check_untouched();
    town->nodes[3].behind_bytes = 0;
    runner = begin(TASK_FAILOVER, 3, 0, 0);
    run_until_done_to(runner, "3 CLUSTER FAILOVER");
    node_task_stop(runner);
    end(runner);
    check_done();
}

/* ---- replicate ---- */

static void replicate_needs_both(void **state)
{
    (void)state;
    town_introduce(town, 4);
    town->nodes[1].is_down = true;
    run(TASK_REPLICATE, 4, 1, 0);
    check_refused(ERR_UNAVAILABLE, "10.0.0.2:7000 does not answer");
    town->nodes[1].is_down = false;
    town->nodes[4].is_down = true;
    run(TASK_REPLICATE, 4, 1, 0);
    check_refused(ERR_UNAVAILABLE, "10.0.0.5:7000 does not answer");
    town->nodes[4].is_down = false;
    run(TASK_REPLICATE, 4, 4, 0);
    check_refused(ERR_INVALID, "cannot replicate itself");
    check_untouched();
}

/* A replica that is behind protects nothing; one that comes no nearer never will. */
static void replicate_waits_until_the_replica_has_caught_up(void **state)
{
    (void)state;
    town_introduce(town, 4);
    town->nodes[4].behind_bytes = 3000000;
    struct node_task *runner = begin(TASK_REPLICATE, 4, 1, 0);
    still_waits(runner, "catches up: 3000000 bytes behind");
    int64_t begun_ms = town->now_ms;
    while (town->now_ms < begun_ms + 300000) { /* slowly */
        town->nodes[4].behind_bytes--;
        assert_false(town_run_for(town, runner, 50));
    }
    town->nodes[4].behind_bytes = 1024 * 1024;
    end(runner);
    check_done();
    town->nodes[4].behind_bytes++;
    begun_ms = town->now_ms;
    run(TASK_REPLICATE, 4, 1, 0);
    check_refused(ERR_TIMEOUT, "no progress for 120 s");
    assert_true(town->now_ms - begun_ms < 140000);
}

static void replicate_waits_for_every_view(void **state)
{
    (void)state;
    town_introduce(town, 4);
    int face = town->nodes[4].face;
    town->nodes[2].knows[face] = false;
    town->nodes[2].is_deaf = true;
    struct node_task *runner = begin(TASK_REPLICATE, 4, 1, 0);
    still_waits(runner, "in step; member 10.0.0.3:7000 does not show it as a replica of");
    town->nodes[2].knows[face] = true;
    end(runner);
    check_done();
}

/* What passes is tried again, what does not is said. */
static void replicate_says_why_it_was_refused(void **state)
{
    (void)state;
    town_introduce(town, 4);
    struct town_fault *fault =
        town_fault(town, 4, "CLUSTER REPLICATE", "NOPERM this user has no permissions", 1 << 20);
    run(TASK_REPLICATE, 4, 1, 0);
    check_refused(ERR_AUTH, "CLUSTER REPLICATE: NOPERM");
    fault->count = 0;
    fault = town_fault(town, 4, "CLUSTER REPLICATE",
                       "ERR To set a master the node must be empty and without assigned slots.",
                       1 << 20);
    run(TASK_REPLICATE, 4, 1, 0);
    check_refused(ERR_REFUSED, "CLUSTER REPLICATE: ERR To set a master");
    fault->count = 0;
    (void)town_fault(town, 4, "CLUSTER REPLICATE", "ERR Unknown node", 2);
    run(TASK_REPLICATE, 4, 1, 0);
    check_done();
    assert_int_equal(town_said_count(town, "4 CLUSTER REPLICATE"), 5);
}

#define EACH(test) cmocka_unit_test_setup_teardown(test, town_set_up, town_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        EACH(failover_refuses_a_primary_without_slots),
        EACH(failover_needs_the_replica),
        EACH(failover_waits_for_every_view),
        EACH(failover_does_not_wait_for_ever),
        EACH(failover_by_force_does_not_wait_for_the_dead),
        EACH(failover_is_not_asked_for_in_haste),
        EACH(failover_can_be_stopped_before_it_begins),
        EACH(replicate_needs_both),
        EACH(replicate_waits_until_the_replica_has_caught_up),
        EACH(replicate_waits_for_every_view),
        EACH(replicate_says_why_it_was_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
