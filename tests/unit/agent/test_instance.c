/* test_instance.c — TASK_START against a host and a server in memory: every refusal, every failure,
 * a crash of the agent after every step, what an earlier life has left. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "helper_site.h"

static void starts(void **state)
{
    (void)state;
    site_reset();
    site.host.answers_after = 5;
    struct order order = site_start_order();
    site_expect(&order, ORDER_DONE, 0, "answers");
    assert_int_equal(site.host.launches, 1);
    assert_int_equal(site.host.units, 0);
    assert_non_null(strstr(site.host.conf, "cluster-announce-ip 10.0.0.4\n"));
    assert_non_null(strstr(site.host.conf, "dir \"/srv/drover/7001\"\n"));
    assert_non_null(strstr(site.host.conf, "maxmemory 1073741824\n"));
    assert_non_null(strstr(site.host.conf, "maxclients 500\n"));
    assert_string_equal(site.log_names, "instance.started ");
    /* Again: nothing is started twice, and a conf in use is not touched. */
    site.host.conf[0] = '\0';
    site_expect(&order, ORDER_DONE, 0, "answers");
    assert_int_equal(site.host.launches, 1);
    assert_string_equal(site.host.conf, "");
}

static void systemd_where_it_runs(void **state)
{
    (void)state;
    struct order order;
    site_reset();
    site.host.has_systemd = true;
    order = site_start_order();
    site_expect(&order, ORDER_DONE, 0, "");
    assert_int_equal(site.host.units, 1);
    site_reset();
    site.host.has_systemd = true;
    site.settings.supervisor = SUPERVISOR_NONE;
    site_expect(&order, ORDER_DONE, 0, "");
    assert_int_equal(site.host.units, 0);
    site_reset();
    site.settings.supervisor = SUPERVISOR_SYSTEMD;
    site_expect(&order, ORDER_DONE, 0, "");
    assert_int_equal(site.host.units, 1);
}

/* A crash of the agent after any number of steps, then the same task again: one server, running. */
static void start_survives_crashes(void **state)
{
    (void)state;
    for (int steps = 0; steps < 12; steps++) {
        site_reset();
        site.host.answers_after = 2;
        struct order order = site_start_order();
        struct instance *x = instance_new(&order, &site.settings, &site.turn, 9, site.now_ms);
        site_run(x, steps);
        site_crash(x);
        site_expect(&order, ORDER_DONE, 0, "answers");
        assert_int_equal(site.host.launches, 1);
        assert_true(site.host.has_folder);
    }
}

/* Somebody else's process at the port is never touched. */
static void refuses_strangers(void **state)
{
    (void)state;
    site_reset();
    site.host.is_foreign = true;
    struct order order = site_start_order();
    site_expect(&order, ORDER_FAILED, ERR_EXISTS, "port 7001");
    assert_int_equal(site.host.launches + site.host.terms + site.host.kills, 0);
    assert_false(site.host.has_folder);
    /* Our process runs, and yet another one answers at its address. */
    site_reset();
    site.host.pid = 50;
    site.host.has_folder = true;
    site.host.is_foreign = true;
    site_expect(&order, ORDER_FAILED, ERR_CONFLICT, "process 999");
    assert_int_equal(site.host.terms + site.host.kills, 0);
    assert_int_equal(site.host.pid, 50);
}

/* A server of ours that was just killed keeps its port for a moment; a stranger keeps it for good.
 */
static void waits_for_its_own_port(void **state)
{
    (void)state;
    site_reset();
    site.host.has_folder = true;
    site.host.dying_looks = 4;
    struct order order = site_start_order();
    site_expect(&order, ORDER_DONE, 0, "answers");
    assert_int_equal(site.host.launches, 1);
    site_reset();
    site.host.has_folder = true;
    site.host.dying_looks = 1000;
    site_expect(&order, ORDER_FAILED, ERR_EXISTS, "port 7001");
    assert_int_equal(site.host.launches, 0);
}

/* What was made is taken back, and why is told. */
static void undoes(void **state)
{
    (void)state;
    struct order order = (site_reset(), site_start_order());
    site.host.dies_at_once = true;
    site_expect(&order, ORDER_FAILED, ERR_UNAVAILABLE, "no bind: in use");
    assert_true(site.host.has_aside);
    assert_false(site.host.has_folder);
    site_reset();
    site.host.launch_fails = true;
    site_expect(&order, ORDER_FAILED, ERR_NOT_FOUND, "no program");
    assert_false(site.host.has_folder);
    site_reset();
    site.host.answers_after = 100000;
    site_expect(&order, ORDER_FAILED, ERR_TIMEOUT, "connection refused");
    assert_int_equal(site.host.pid, 0);
    assert_int_equal(site.host.terms, 1);
    assert_false(site.host.has_folder);
    site_reset();
    site.host.error = "WRONGPASS invalid username-password pair";
    site_expect(&order, ORDER_FAILED, ERR_AUTH, "WRONGPASS");
    assert_false(site.host.has_folder);
    assert_non_null(strstr(site.log_names, "instance.undone"));
}

/* Found running, and gone at the next look: it is started. */
static void starts_what_just_ended(void **state)
{
    (void)state;
    site_reset();
    site.host.has_folder = true;
    site.host.pid = 50;
    struct order order = site_start_order();
    struct instance *x = instance_new(&order, &site.settings, &site.turn, 9, site.now_ms);
    site_run(x, 1);
    site.host.pid = 0;
    site_run(x, -1);
    struct order_status status;
    instance_status(x, &status);
    assert_int_equal(status.state, ORDER_DONE);
    assert_int_equal(site.host.launches, 1);
    instance_free(x);
}

/* A folder of an earlier life is put aside, with whatever it holds, before anything starts there:
 * of another request, of none, or of this one's name (a store that was made anew) once it was used.
 */
static void puts_earlier_folders_aside(void **state)
{
    (void)state;
    static const char *const requests[] = {"op-3-1-0", "", "op-7-1-2"};
    struct order order = site_start_order();
    for (size_t i = 0; i < 3; i++) {
        site_reset();
        site.host.has_folder = true;
        site.host.is_used = i == 2;
        (void)snprintf(site.host.request, sizeof(site.host.request), "%s", requests[i]);
        site_expect(&order, ORDER_DONE, 0, "answers");
        assert_true(site.host.has_old);
        assert_int_equal(site.host.launches, 1);
        assert_string_equal(site.host.request, "op-7-1-2");
        assert_string_equal(site.log_names, "instance.set_aside instance.started ");
    }
    /* Of this request, begun by an earlier attempt: gone on with. */
    site_reset();
    site.host.has_folder = true;
    (void)snprintf(site.host.request, sizeof(site.host.request), "op-7-1-2");
    site_expect(&order, ORDER_DONE, 0, "answers");
    assert_false(site.host.has_old);
    /* A refusal leaves it where it is. */
    site_reset();
    site.host.has_folder = true;
    site.host.promised_bytes = 8 * SITE_GIB;
    site_expect(&order, ORDER_FAILED, ERR_LIMIT, "does not fit");
    assert_true(site.host.has_folder);
}

/* A server of ours that runs and is somebody in a cluster is not taken for a new one. */
static void refuses_a_used_server(void **state)
{
    (void)state;
    struct order order = site_start_order();
    site_reset();
    site.host.has_folder = true;
    site.host.pid = 50;
    site.host.is_used = true;
    site_expect(&order, ORDER_FAILED, ERR_REFUSED, "has slots or knows other nodes");
    assert_int_equal(site.host.pid, 50);
    assert_true(site.host.has_folder);
    site.host.is_used = false; /* an empty one that an earlier request left */
    site_expect(&order, ORDER_DONE, 0, "answers");
    assert_int_equal(site.host.launches, 0);
}

/* Two that begin at once count each other: whoever comes second sees what the first was promised.
 */
static void starts_take_turns(void **state)
{
    (void)state;
    struct agent_effects fx[2] = {{0}, {0}};
    struct instance *both[2];
    struct order order = site_start_order();
    struct order other = site_start_order();
    struct order_status status;
    site_reset();
    site.settings.memory_bytes = SITE_GIB + 1024;
    other.task.node_address.port = 7002;
    for (int i = 0; i < 2; i++) {
        struct agent_event tick = {.kind = AGENT_TICK, .now_ms = site.now_ms};
        both[i] =
            instance_new(i == 0 ? &order : &other, &site.settings, &site.turn, 9, site.now_ms);
        instance_step(both[i], &tick, &fx[i]);
    }
    assert_int_equal(fx[0].count, 1);
    assert_int_equal(fx[1].count, 0);
    for (int i = 0; i < 2; i++) { /* the look, then the conf */
        struct agent_effects more = {0};
        struct agent_event tick = {.kind = AGENT_TICK, .now_ms = site.now_ms += 300};
        instance_step(both[1], &tick, &fx[1]);
        assert_int_equal(fx[1].count, 0);
        site_answer_host(both[0], &fx[0].items[0], &more);
        agent_effects_release(&fx[0]);
        fx[0] = more;
    }
    site.host.has_folder = false; /* the other's port */
    site.host.promised_bytes = SITE_GIB;
    struct agent_event tick = {.kind = AGENT_TICK, .now_ms = site.now_ms += 300};
    struct agent_effects more = {0};
    instance_step(both[1], &tick, &fx[1]);
    assert_int_equal(fx[1].count, 1);
    site_answer_host(both[1], &fx[1].items[0], &more);
    instance_status(both[1], &status);
    assert_int_equal(status.reason_code, ERR_LIMIT);
    assert_null(site.turn.holder);
    for (int i = 0; i < 2; i++) {
        instance_free(both[i]);
        agent_effects_release(&fx[i]);
    }
    agent_effects_release(&more);
}

/* Whoever is given up in the middle keeps nobody waiting. */
static void turn_ends_with_its_holder(void **state)
{
    (void)state;
    struct order order = site_start_order();
    for (int steps = 0; steps < 4; steps++) {
        site_reset();
        struct instance *x = instance_new(&order, &site.settings, &site.turn, 9, site.now_ms);
        site_run(x, steps);
        site_crash(x);
        assert_null(site.turn.holder);
    }
}

/* A server that loads its data is waited for, however long. */
static void waits_for_loading(void **state)
{
    (void)state;
    site_reset();
    site_put_server();
    site.host.error = "LOADING Redis is loading the dataset in memory";
    struct order order = site_start_order();
    struct instance *x = instance_new(&order, &site.settings, &site.turn, 9, site.now_ms);
    site_run(x, 1000);
    assert_false(instance_is_over(x));
    assert_true(site.now_ms > 60000);
    site.host.error = NULL;
    site_run(x, -1);
    struct order_status status;
    instance_status(x, &status);
    assert_int_equal(status.state, ORDER_DONE);
    instance_free(x);
}

static void keeps_the_offer(void **state)
{
    (void)state;
    site_reset();
    struct order order = site_start_order();
    order.task.node_address.port = 7010;
    site_expect(&order, ORDER_FAILED, ERR_REFUSED, "7000 to 7009");
    order = site_start_order();
    (void)snprintf(site.settings.host, sizeof(site.settings.host), "10.0.0.5");
    site_expect(&order, ORDER_FAILED, ERR_REFUSED, "10.0.0.5");
    site_reset();
    site.host.promised_bytes = 8 * SITE_GIB - 1024;
    site_expect(&order, ORDER_FAILED, ERR_LIMIT, "does not fit");
    site_reset();
    site.host.promised_bytes = 7 * SITE_GIB;
    site_expect(&order, ORDER_DONE, 0, "");
    site_reset();
    site.settings.memory_bytes = SITE_GIB - 1;
    site_expect(&order, ORDER_FAILED, ERR_REFUSED, "offered");
    site_reset();
    site.settings.folder[0] = '\0';
    site_expect(&order, ORDER_FAILED, ERR_REFUSED, "starts and stops no servers");
    assert_int_equal(site.host.calls, 0);
}

static void reads_its_detail(void **state)
{
    (void)state;
    static const struct {
        const char *detail;
        int code;
        const char *part;
    } cases[] = {
        {"agent a2\nmaxmemory 1073741824\n", ERR_REFUSED, "agent a2"},
        {"maxmemory 1073741824\n", ERR_INVALID, "agent is missing"},
        {"agent a1\n", ERR_INVALID, "maxmemory is missing"},
        {"agent a1\nmaxmemory 12\n", ERR_INVALID, "maxmemory"},
        {"agent a1\nmaxmemory 1gb\n", ERR_INVALID, "1gb"},
        {"agent a1\nmaxmemory -1\n", ERR_INVALID, "-1"},
        {"agent a1\nmaxmemory 99999999999999999999\n", ERR_INVALID, "99999"},
        {"agent a1\nmaxmemory 1073741824\nmaxmemory 1073741824\n", ERR_INVALID, "twice"},
        {"agent a1\nmaxmemory 1073741824\nflavour redis\n", ERR_INVALID, "flavour"},
        {"agent a1\nmaxmemory 1073741824\nflavor keydb\n", ERR_INVALID, "keydb"},
        {"agent a1\nmaxmemory 1073741824\nappendonly maybe\n", ERR_INVALID, "maybe"},
        {"agent a1\nmaxmemory 1073741824\nnode-timeout 5\n", ERR_INVALID, "node-timeout"},
        {"agent a1\nmaxmemory 1073741824\nmigration-barrier 101\n", ERR_INVALID,
         "migration-barrier"},
        {"agent a1\nmaxmemory 1073741824\nbus-port 70000\n", ERR_INVALID, "bus port"},
        {"agent a1\nmaxmemory 1073741824\nextra save 1 1\n", ERR_REFUSED, "save"},
        {"agent a1\nmaxmemory 1073741824\nextra\n", ERR_INVALID, "extra"},
        {"agent a1\nmaxmemory 1073741824\n\n", ERR_INVALID, "key value"},
        {"{\"agent\":\"a1\"}", ERR_INVALID, ""},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        site_reset();
        struct order order = site_order(TASK_START, cases[i].detail);
        site_expect(&order, ORDER_FAILED, cases[i].code, cases[i].part);
        assert_int_equal(site.host.calls, 0);
    }
    site_reset();
    struct order order = site_order(TASK_START,
                                    "agent a1\nflavor valkey\nmaxmemory 1073741824\n"
                                    "node-timeout 2000\nmigration-barrier 0\n"
                                    "appendonly no\nbus-port 27001\n");
    site_expect(&order, ORDER_DONE, 0, "");
    assert_non_null(strstr(site.host.conf, "cluster-node-timeout 2000\n"));
    assert_non_null(strstr(site.host.conf, "cluster-migration-barrier 0\n"));
    assert_non_null(strstr(site.host.conf, "appendonly no\n"));
    assert_non_null(strstr(site.host.conf, "cluster-announce-bus-port 27001\n"));
}

/* Asked to end: what is on its way is waited for, nothing follows. */
static void ends_when_told(void **state)
{
    (void)state;
    site_reset();
    struct order order = site_start_order();
    struct agent_effects fx = {0};
    struct order_status status;
    struct instance *x = instance_new(&order, &site.settings, &site.turn, 9, site.now_ms);
    struct agent_event tick = {.kind = AGENT_TICK, .now_ms = site.now_ms};
    instance_step(x, &tick, &fx);
    assert_int_equal(fx.count, 1);
    instance_end(x, ERR_FENCED, "another leader took over");
    assert_false(instance_is_over(x));
    struct agent_effects more = {0};
    site_answer_host(x, &fx.items[0], &more);
    assert_int_equal(more.count, 0);
    instance_status(x, &status);
    assert_int_equal(status.state, ORDER_EXPIRED);
    assert_int_equal(status.reason_code, ERR_FENCED);
    instance_free(x);
    agent_effects_release(&fx);
    agent_effects_release(&more);
    x = instance_new(&order, &site.settings, &site.turn, 9, site.now_ms);
    instance_end(x, 0, "stopped");
    instance_status(x, &status);
    assert_int_equal(status.state, ORDER_STOPPED);
    instance_free(x);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(starts),
        cmocka_unit_test(systemd_where_it_runs),
        cmocka_unit_test(start_survives_crashes),
        cmocka_unit_test(refuses_strangers),
        cmocka_unit_test(waits_for_its_own_port),
        cmocka_unit_test(undoes),
        cmocka_unit_test(starts_what_just_ended),
        cmocka_unit_test(puts_earlier_folders_aside),
        cmocka_unit_test(refuses_a_used_server),
        cmocka_unit_test(starts_take_turns),
        cmocka_unit_test(turn_ends_with_its_holder),
        cmocka_unit_test(waits_for_loading),
        cmocka_unit_test(keeps_the_offer),
        cmocka_unit_test(reads_its_detail),
        cmocka_unit_test(ends_when_told),
    };
    int failures = cmocka_run_group_tests(tests, NULL, NULL);
    agent_effects_release(&site.pending);
    return failures;
}
