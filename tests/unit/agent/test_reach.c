/* test_reach.c — can this host connect to a node? What is tried, in which order, and how it ends.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "agent/core/reach.h"

#include <stdio.h>
#include <string.h>

#define ID "07c37dfeb235213a872192d90877d0cd55635b91"

static struct reach *reach;
static struct agent_effects fx;
static int64_t now_ms;

static int set_up(void **state)
{
    (void)state;
    struct order order = {.kind = ORDER_TASK, .task = {.kind = TASK_REACH}};
    order.task.node_address = (struct address){.host = "10.0.0.9", .port = 7000};
    (void)snprintf(order.task.detail, sizeof(order.task.detail), "agent a\nhost h\n");
    now_ms = 1000;
    reach = reach_new(&order, 7, now_ms);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    reach_free(reach);
    agent_effects_release(&fx);
    return 0;
}

static void tick(void)
{
    struct agent_event event = {.kind = AGENT_TICK, .now_ms = now_ms};
    reach_step(reach, &event, &fx);
}

/* The one effect since the last look, taken off the list. */
static struct agent_effect take(enum agent_effect_kind kind)
{
    assert_int_equal(fx.count, 1);
    assert_int_equal(fx.items[0].kind, kind);
    struct agent_effect effect = fx.items[0];
    effect.commands = (struct command_list){0};
    agent_effects_clear(&fx);
    return effect;
}

static void answer_nodes_as(enum reply_type type, const char *text, int code)
{
    struct agent_effect asked = take(AGENT_FX_REDIS);
    struct reply_list replies = {0};
    if (text != NULL) {
        struct reply *reply = replies_add(&replies);
        reply_set_text(&replies, reply, type, text, strlen(text));
    }
    struct agent_event event = {.kind = AGENT_REDIS,
                                .now_ms = now_ms,
                                .req_id = asked.req_id,
                                .code = code,
                                .replies = &replies};
    reach_step(reach, &event, &fx);
    replies_release(&replies);
}

static void answer_nodes(const char *text, int code)
{
    answer_nodes_as(REPLY_STRING, text, code);
}

/* The dial on its way goes to this place, and ends so. */
static void answer_dial(const char *host, int port, int code)
{
    struct agent_effect dialed = take(AGENT_FX_DIAL);
    assert_string_equal(dialed.address.host, host);
    assert_int_equal(dialed.address.port, port);
    assert_int_equal(dialed.timeout_ms, REACH_TIMEOUT_MS);
    struct agent_event event = {
        .kind = AGENT_DIALED, .now_ms = now_ms, .req_id = dialed.req_id, .code = code};
    reach_step(reach, &event, &fx);
}

static void check_end(enum order_state state, int code, const char *part)
{
    struct order_status status;
    reach_status(reach, &status);
    assert_int_equal(status.state, state);
    assert_int_equal(status.reason_code, code);
    assert_non_null(strstr(status.reason, part));
    assert_true(reach_is_over(reach) == (state != ORDER_RUNNING));
}

/* What a node announces is what its peers will connect to. */
static void test_tries_what_is_announced(void **state)
{
    (void)state;
    tick();
    answer_nodes(ID " 192.168.1.5:6400@6401 myself,master - 0 0 0 connected\n", 0);
    answer_dial("192.168.1.5", 6400, 0);
    answer_dial("192.168.1.5", 6401, 0);
    check_end(ORDER_DONE, 0, "both ports answer");
    assert_int_equal(fx.count, 0);
    assert_true(reach_deadline(reach) == NEVER);
}

/* A node alone leaves its host out; one that wants a login says nothing. */
static void test_tries_what_was_ordered_where_nothing_is_announced(void **state)
{
    (void)state;
    tick();
    answer_nodes(ID " :7000@17000 myself,master - 0 0 0 connected\n", 0);
    answer_dial("10.0.0.9", 7000, 0);
    answer_dial("10.0.0.9", 17000, 0);
    check_end(ORDER_DONE, 0, "");
}

static void test_tries_without_an_answer(void **state)
{
    (void)state;
    tick();
    answer_nodes(NULL, ERR_AUTH);
    answer_dial("10.0.0.9", 7000, 0);
    answer_dial("10.0.0.9", 17000, 0);
    check_end(ORDER_DONE, 0, "");
}

/* Three tries with a pause; the port that fails is named, with how it fails. */
static void test_gives_up_after_three_tries(void **state)
{
    (void)state;
    tick();
    answer_nodes(NULL, ERR_UNAVAILABLE);
    answer_dial("10.0.0.9", 7000, ERR_TIMEOUT); /* one that gets lost does no harm */
    assert_int_equal(fx.count, 0);
    now_ms = reach_deadline(reach);
    tick();
    answer_dial("10.0.0.9", 7000, 0);
    for (int i = 0; i < REACH_TRIES; i++) {
        check_end(ORDER_RUNNING, 0, "");
        answer_dial("10.0.0.9", 17000, i == REACH_TRIES - 1 ? ERR_TIMEOUT : ERR_UNAVAILABLE);
        if (i < REACH_TRIES - 1) {
            assert_true(reach_deadline(reach) == now_ms + REACH_PAUSE_MS);
            tick(); /* too early: nothing is sent */
            assert_int_equal(fx.count, 0);
            now_ms = reach_deadline(reach);
            tick();
        }
    }
    check_end(ORDER_FAILED, ERR_REFUSED, "bus port 10.0.0.9:17000 is silent");
}

static void test_says_that_it_was_refused(void **state)
{
    (void)state;
    tick();
    answer_nodes(NULL, ERR_UNAVAILABLE);
    for (int i = 0; i < REACH_TRIES; i++) {
        answer_dial("10.0.0.9", 7000, ERR_UNAVAILABLE);
        now_ms += REACH_PAUSE_MS;
        if (i < REACH_TRIES - 1) {
            tick();
        }
    }
    check_end(ORDER_FAILED, ERR_REFUSED, "data port 10.0.0.9:7000 refuses");
}

/* Late answers change nothing. */
/* Without cluster mode there is no bus port: to speak of a firewall would lead people astray. */
static void test_says_that_there_is_no_cluster_mode(void **state)
{
    (void)state;
    tick();
    answer_nodes_as(REPLY_ERROR, "ERR This instance has cluster support disabled", 0);
    check_end(ORDER_FAILED, ERR_REFUSED, "it runs without cluster mode: set cluster-enabled yes");
    assert_int_equal(fx.count, 0);
    assert_true(reach_deadline(reach) == NEVER);
}

/* Whoever refuses the login, or loads, has ports all the same. */
static void test_tries_after_another_error(void **state)
{
    (void)state;
    tick();
    answer_nodes_as(REPLY_ERROR, "NOAUTH Authentication required.", 0);
    answer_dial("10.0.0.9", 7000, 0);
    answer_dial("10.0.0.9", 17000, 0);
    check_end(ORDER_DONE, 0, "both ports answer");
}

static void test_stops_and_expires_at_once(void **state)
{
    (void)state;
    tick();
    struct agent_effect asked = take(AGENT_FX_REDIS);
    reach_end(reach, ERR_TIMEOUT, "not renewed");
    check_end(ORDER_EXPIRED, ERR_TIMEOUT, "not renewed");
    struct reply_list none = {0};
    struct agent_event event = {
        .kind = AGENT_REDIS, .now_ms = now_ms, .req_id = asked.req_id, .replies = &none};
    reach_step(reach, &event, &fx);
    reach_end(reach, 0, "stopped");
    check_end(ORDER_EXPIRED, ERR_TIMEOUT, "not renewed");
    assert_int_equal(fx.count, 0);
}

#define EACH(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        EACH(test_tries_what_is_announced),
        EACH(test_tries_what_was_ordered_where_nothing_is_announced),
        EACH(test_tries_without_an_answer),
        EACH(test_gives_up_after_three_tries),
        EACH(test_says_that_it_was_refused),
        EACH(test_says_that_there_is_no_cluster_mode),
        EACH(test_tries_after_another_error),
        EACH(test_stops_and_expires_at_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
