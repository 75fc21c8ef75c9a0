/* test_instance_stop.c — TASK_STOP against a host and a server in memory: only with a certificate,
 * only what says itself that it is empty, and what is left of the dead. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "helper_site.h"

static void stops(void **state)
{
    (void)state;
    site_reset();
    site_put_server();
    struct order order = site_stop_order(false);
    site_expect(&order, ORDER_DONE, 0, "put aside");
    assert_int_equal(site.host.terms, 1);
    assert_int_equal(site.host.kills, 0);
    assert_true(site.host.has_aside);
    assert_string_equal(site.log_names, "instance.stopped ");
    site_expect(&order, ORDER_DONE, 0, "put aside"); /* again */
    assert_int_equal(site.host.terms, 1);
    site_reset();
    site_expect(&order, ORDER_DONE, 0, "no server of drover's is there");
}

static void stop_survives_crashes(void **state)
{
    (void)state;
    for (int steps = 0; steps < 8; steps++) {
        site_reset();
        site_put_server();
        struct order order = site_stop_order(false);
        struct instance *x = instance_new(&order, &site.settings, &site.turn, 9, site.now_ms);
        site_run(x, steps);
        site_crash(x);
        site_expect(&order, ORDER_DONE, 0, "put aside");
        assert_int_equal(site.host.pid, 0);
        assert_true(site.host.has_aside);
    }
}

/* Whatever the certificate says: a node that holds or knows anything runs on. */
static void stop_asks_the_node(void **state)
{
    (void)state;
    for (int i = 0; i < 3; i++) {
        site_reset();
        site_put_server();
        site.host.keys = i == 0 ? 1 : 0;
        site.host.slots = i == 1 ? 16384 : 0;
        site.host.nodes = i == 2 ? 2 : 1;
        struct order order = site_stop_order(false);
        site_expect(&order, ORDER_FAILED, ERR_REFUSED, "refused: the server holds");
        assert_int_equal(site.host.pid, 70);
        assert_int_equal(site.host.terms + site.host.kills, 0);
    }
    site_reset();
    site_put_server();
    site.host.answers_after = 100000;
    struct order order = site_stop_order(false);
    site_expect(&order, ORDER_FAILED, ERR_TIMEOUT, "connection refused");
    assert_int_equal(site.host.pid, 70);
}

static void stop_needs_the_certificate(void **state)
{
    (void)state;
    site_reset();
    site_put_server();
    struct order order = site_order(TASK_STOP, "agent a1\nplease\n");
    site_expect(&order, ORDER_FAILED, ERR_INVALID, "no removal certificate");
    order = site_order(TASK_STOP, "agent a1");
    site_expect(&order, ORDER_FAILED, ERR_INVALID, "agent");
    order = site_stop_order(false);
    (void)snprintf(site.settings.certificate_key, sizeof(site.settings.certificate_key), "key");
    site_expect(&order, ORDER_FAILED, ERR_AUTH, "not signed");
    order = site_stop_order(false);
    order.task.node_address.port = 7002;
    site_expect(&order, ORDER_FAILED, ERR_REFUSED, "10.0.0.4:7001");
    order = site_stop_order(false);
    (void)snprintf(site.settings.agent, sizeof(site.settings.agent), "a2");
    site_expect(&order, ORDER_FAILED, ERR_REFUSED, "a2");
    assert_int_equal(site.host.pid, 70);
    assert_int_equal(site.host.calls, 0);
}

/* A dead node cannot speak for itself, so its certificate must be signed. */
static void stop_of_the_dead(void **state)
{
    (void)state;
    site_reset();
    site_put_server();
    site.host.answers_after = 100000;
    struct order order = site_stop_order(true);
    site_expect(&order, ORDER_FAILED, ERR_REFUSED, "must be signed");
    (void)snprintf(site.settings.certificate_key, sizeof(site.settings.certificate_key), "key");
    site.host.answers_after = 0;
    site.host.keys = 3; /* it was only out of sight */
    order = site_stop_order(true);
    site_expect(&order, ORDER_FAILED, ERR_REFUSED, "holds 3 keys");
    site.host.answers_after = 100000;
    site_expect(&order, ORDER_DONE, 0, "put aside");
    assert_int_equal(site.host.pid, 0);
}

/* Of a node that was removed as dead the folder goes aside, and nothing else is done: not while a
 * process of it runs, nor when somebody answers there, nor to another node's folder. */
static void clears_after_the_dead(void **state)
{
    (void)state;
    site_reset();
    site.host.has_folder = true;
    site.host.node = SITE_NODE;
    site.host.is_used = true;
    struct order order = site_stop_order(true);
    order.task.flags = TASK_DEAD;
    site_expect(&order, ORDER_DONE, 0, "put aside");
    assert_true(site.host.has_aside);
    site_reset();
    site_expect(&order, ORDER_DONE, 0, "no server of drover's is there");
    site_reset();
    site_put_server();
    site.host.answers_after = 100000;
    site_expect(&order, ORDER_DONE, 0, "its server runs: left alone");
    assert_int_equal(site.host.pid, 70);
    assert_true(site.host.has_folder);
    site_reset();
    site.host.has_folder = true;
    site.host.node = "1123456789abcdef0123456789abcdef01234567";
    site_expect(&order, ORDER_DONE, 0, "another node's now");
    assert_true(site.host.has_folder);
    site_reset();
    site.host.has_folder = true;
    order = site_stop_order(false); /* somebody answered when the certificate was given */
    order.task.flags = TASK_DEAD;
    site_expect(&order, ORDER_DONE, 0, "left alone");
    assert_true(site.host.has_folder);
}

static void kills_the_deaf(void **state)
{
    (void)state;
    site_reset();
    site_put_server();
    site.host.is_deaf = true;
    struct order order = site_stop_order(false);
    site_expect(&order, ORDER_DONE, 0, "put aside");
    assert_int_equal(site.host.terms, 1);
    assert_int_equal(site.host.kills, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(stops),
        cmocka_unit_test(stop_survives_crashes),
        cmocka_unit_test(stop_asks_the_node),
        cmocka_unit_test(stop_needs_the_certificate),
        cmocka_unit_test(stop_of_the_dead),
        cmocka_unit_test(clears_after_the_dead),
        cmocka_unit_test(kills_the_deaf),
    };
    int failures = cmocka_run_group_tests(tests, NULL, NULL);
    agent_effects_release(&site.pending);
    return failures;
}
