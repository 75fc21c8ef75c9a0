/* test_outside_traffic.c — TASK_TRAFFIC against drain hooks and a node in memory: clients are kept
 * off a node, watched, and let in again. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "helper_outside.h"

/* ---- TRAFFIC ---- */

/* A proxy is asked again until its sessions are gone, then the node itself. */
static void test_drain(void **state)
{
    (void)state;
    errand_will_answer(OUTSIDE_RUNNING, "2 sessions are left");
    errand_will_answer(OUTSIDE_RUNNING, "1 sessions are left");
    errand_will_answer(OUTSIDE_DONE, "");
    errand_begin_traffic(0);
    ENDS(ORDER_DONE, 0, "clients are kept off, and gone");
    assert_int_equal(errands.call_count, 3);
    for (int i = 0; i < errands.call_count; i++) {
        assert_int_equal(errands.calls[i].action, OUTSIDE_DRAIN);
        assert_int_equal(errands.calls[i].address.port, 7001);
    }
    assert_int_equal(errands.node.asks, 2); /* how many clients, then who they are */
}

/* Few clients with few commands are monitoring; many commands are traffic; many idle clients, too.
 */
static void test_drain_watches(void **state)
{
    (void)state;
    errand_will_answer(OUTSIDE_DONE, "");
    errands.node.clients = 3;
    errands.node.ops_per_s = 20;
    errand_begin_traffic(0);
    ENDS(ORDER_DONE, 0, "gone");
    errands.node.ops_per_s = 500;
    errand_begin_traffic(0);
    ENDS(ORDER_DONE, 0, "the limit of 30 s has passed; the node has 3 clients and 500 commands/s");
    errands.node.clients = 40;
    errands.node.ops_per_s = 0;
    errand_begin_traffic(0);
    ENDS(ORDER_DONE, 0, "40 clients");
    errands.node.clients = 5000; /* not listed one by one */
    errand_begin_traffic(0);
    ENDS(ORDER_DONE, 0, "5002 clients");
}

static void test_drain_of_a_silent_node(void **state)
{
    (void)state;
    errands.node.is_silent = true;
    errand_will_answer(OUTSIDE_DONE, "");
    errand_begin_traffic(0);
    ENDS(ORDER_DONE, 0, "does not answer");
}

/* Clients that stay do not hold the removal for ever. */
static void test_drain_limit(void **state)
{
    (void)state;
    errand_will_answer(OUTSIDE_RUNNING, "1 sessions are left");
    errand_begin_traffic(0);
    ENDS(ORDER_DONE, 0,
         "the limit of 30 s has passed; HAProxy unix:/run/haproxy: 1 sessions are left");
    assert_true(errands.now_ms >= 31000);
}

/* A hook that never took clients off does: a failure that names it and may be tried again. */
static void test_drain_hook_fails(void **state)
{
    (void)state;
    struct order_status status;
    errands.settings.hook_count = 2;
    errands.settings.hooks[1] = (struct outside_target){OUTSIDE_HAPROXY, "127.0.0.1:9999"};
    errand_will_answer(OUTSIDE_RUNNING, "1 sessions are left");
    errand_will_answer(OUTSIDE_FAILED, "connection refused");
    errand_begin_traffic(0);
    errand_run(2);
    outside_status(errands.x, &status); /* the one that fails is what people must see */
    assert_string_equal(status.reason, "waits for HAProxy 127.0.0.1:9999: connection refused");
    errands.settings.hook_count = 1;
    errands.script_at = 1;
    errand_begin_traffic(0);
    ENDS(ORDER_FAILED, ERR_UNAVAILABLE,
         "HAProxy unix:/run/haproxy did not do it within 30 s: connection refused");
}

/* All hooks are called, and "up" asks nothing of the errands.node. */
static void test_undrain(void **state)
{
    (void)state;
    errands.settings.hook_count = 2;
    errands.settings.hooks[1] = (struct outside_target){OUTSIDE_EXEC, "/opt/hook"};
    errand_will_answer(OUTSIDE_UNKNOWN, "");
    errand_will_answer(OUTSIDE_DONE, "");
    errand_begin_traffic(TASK_UP);
    ENDS(ORDER_DONE, 0, "let clients in");
    assert_int_equal(errands.call_count, 2);
    assert_int_equal(errands.calls[0].action, OUTSIDE_UNDRAIN);
    assert_int_equal(errands.calls[1].target.way, OUTSIDE_EXEC);
    assert_int_equal(errands.node.asks, 0);
}

/* A late answer to a call that was ended changes nothing. */
static void test_late_answer(void **state)
{
    (void)state;
    errand_begin_traffic(0);
    errand_run(1);
    outside_end(errands.x, ERR_FENCED, "another leader took over");
    errand_run(-1);
    struct host_facts facts = {.outside = {.state = OUTSIDE_DONE, .is_over = true}};
    struct agent_event event = {.kind = AGENT_HOST,
                                .now_ms = errands.now_ms,
                                .req_id = (UINT64_C(9) << 32) | 1,
                                .facts = &facts};
    outside_step(errands.x, &event, &errands.pending);
    ENDS(ORDER_EXPIRED, ERR_FENCED, "another leader");
    assert_int_equal(outside_deadline(errands.x), NEVER);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(test_drain),       CASE(test_drain_watches),    CASE(test_drain_of_a_silent_node),
        CASE(test_drain_limit), CASE(test_drain_hook_fails), CASE(test_undrain),
        CASE(test_late_answer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
