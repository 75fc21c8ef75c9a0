/* test_outside.c — TASK_PROVISION and TASK_RELEASE against provisioners and a node in memory: what
 * is asked, in which order, how failures and limits end, and that nothing asked for is left behind.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "helper_outside.h"

/* ---- PROVISION ---- */

/* A server is asked for with all that is known; its address is the result. */
static void test_ready(void **state)
{
    (void)state;
    errand_will_answer(OUTSIDE_READY, "");
    errand_begin_provision();
    struct order_status status = errand_finish();
    assert_int_equal(status.state, ORDER_DONE);
    assert_string_equal(status.made.host, "10.0.0.9");
    assert_int_equal(status.made.port, 7000);
    assert_int_equal(errands.call_count, 1);
    assert_int_equal(errands.calls[0].action, OUTSIDE_PROVISION);
    assert_string_equal(errands.calls[0].request_id, "op-7-1-2");
    assert_string_equal(errands.calls[0].cluster, "shop");
    assert_string_equal(errands.calls[0].zone, "z2");
    assert_string_equal(errands.calls[0].role, "replica");
    assert_int_equal(errands.calls[0].maxmemory_bytes, 1048576);
    assert_int_equal(errands.calls[0].address.port, 0);
}

/* Progress is told; what a program says while it runs is not its end. */
static void test_progress(void **state)
{
    (void)state;
    struct order_status status;
    struct outside_answer *boots = errand_will_answer(OUTSIDE_RUNNING, "boots");
    boots->is_over = false;
    boots->percent = 40;
    errand_begin_provision();
    errand_run(1);
    outside_status(errands.x, &status);
    assert_int_equal(status.state, ORDER_RUNNING);
    assert_string_equal(status.reason, "waits for make-server: 40 % boots");
    assert_int_equal(errands.call_count, 1);
}

/* A program that fails is tried once more, then quoted, and what it may have begun is given back.
 */
static void test_exec_fails(void **state)
{
    (void)state;
    errand_will_answer(OUTSIDE_FAILED, "ended with exit code 7: quota");
    errand_will_answer(OUTSIDE_FAILED, "ended with exit code 7: quota");
    errand_will_answer(OUTSIDE_DONE, "");
    errand_begin_provision();
    ENDS(ORDER_FAILED, ERR_UNAVAILABLE, "make-server: ended with exit code 7: quota");
    assert_int_equal(errands.call_count, 3);
    assert_int_equal(errands.calls[2].action, OUTSIDE_RELEASE);
    assert_string_equal(errands.calls[2].request_id, "op-7-1-2");
    assert_int_equal(errands.calls[2].address.port, 0);
}

/* "failed" with retry false is a last word: nothing is tried again, and nothing is left. */
static void test_fails_for_good(void **state)
{
    (void)state;
    errand_will_answer(OUTSIDE_FAILED, "no such zone")->is_retryable = false;
    errand_begin_provision();
    ENDS(ORDER_FAILED, ERR_UNAVAILABLE, "no such zone");
    assert_int_equal(errands.call_count, 1);
}

/* Not ready in time: the program is ended, the request given back. */
static void test_not_ready(void **state)
{
    (void)state;
    errand_begin_provision();
    errand_run(1);
    errands.now_ms += 100000;
    struct agent_event tick = {.kind = AGENT_TICK, .now_ms = errands.now_ms};
    outside_step(errands.x, &tick, &errands.pending);
    errand_will_answer(OUTSIDE_DONE, "");
    ENDS(ORDER_FAILED, ERR_TIMEOUT, "make-server is not ready after 100 s");
    assert_int_equal(errands.cancel_count, 1);
    assert_int_equal(errands.call_count, 2);
    assert_int_equal(errands.calls[1].action, OUTSIDE_RELEASE);
}

/* If not even that works, it says so, and which request: something may be left. */
static void test_undo_fails(void **state)
{
    (void)state;
    errand_will_answer(OUTSIDE_FAILED, "quota");
    errand_begin_provision();
    ENDS(ORDER_FAILED, ERR_CONFLICT, "giving request op-7-1-2 back failed: make-server: quota");
    assert_int_equal(errands.call_count, 4);
}

/* What an earlier attempt may have begun, in the life of another agent, is given back, too: also
 * when this one never came through, or another batch asks under the id. Only the provisioner's own
 * word that nothing is left counts. */
static void test_gives_back_what_was_begun_before(void **state)
{
    (void)state;
    errands.settings.provisioner =
        (struct outside_target){OUTSIDE_WEBHOOK, "https://hooks.example/"};
    struct outside_answer *refused =
        errand_will_answer(OUTSIDE_FAILED, "certificate is not trusted");
    refused->is_retryable = false;
    refused->is_maybe_received = false;
    errand_will_answer(OUTSIDE_DONE, "");
    errand_begin_attempt(2, TASK_PROVISION, 0, PROVISION_DETAIL);
    ENDS(ORDER_FAILED, ERR_UNAVAILABLE, "certificate is not trusted");
    assert_int_equal(errands.call_count, 2);
    assert_int_equal(errands.calls[1].action, OUTSIDE_RELEASE);
    assert_string_equal(errands.calls[1].request_id, "op-7-1-2");

    errands.script_at = errands.call_count = 0;
    errand_begin(TASK_PROVISION, 0, "agent a1\nrole replica\nrequest op-7-1-0\n");
    outside_end(errands.x, 0, "stopped");
    errands.script_at = 1;
    ENDS(ORDER_STOPPED, 0, "stopped");
    assert_int_equal(errands.call_count, 1);
    assert_int_equal(errands.calls[0].action, OUTSIDE_RELEASE);
    assert_string_equal(errands.calls[0].request_id, "op-7-1-0");

    errands.script_at = errands.call_count = errands.script_count = 0;
    errand_will_answer(OUTSIDE_FAILED, "no such zone")->is_retryable = false;
    errand_begin_attempt(2, TASK_PROVISION, 0, PROVISION_DETAIL);
    ENDS(ORDER_FAILED, ERR_UNAVAILABLE, "no such zone");
    assert_int_equal(errands.call_count, 1);
}

/* Stopped: what was begun is given back first; nothing was begun: over at once. */
static void test_stopped(void **state)
{
    (void)state;
    errand_begin_provision();
    errand_run(1);
    outside_end(errands.x, 0, "stopped");
    errand_run(1);
    errand_will_answer(OUTSIDE_UNKNOWN, "");
    ENDS(ORDER_STOPPED, 0, "stopped");
    assert_int_equal(errands.cancel_count, 1);
    assert_int_equal(errands.calls[1].action, OUTSIDE_RELEASE);

    errands.call_count = 0;
    errand_begin_provision();
    outside_end(errands.x, 0, "stopped");
    ENDS(ORDER_STOPPED, 0, "stopped");
    assert_int_equal(errands.call_count, 0);
}

/* Not renewed: its calls end at once, and nothing more is said: whoever asks next goes on. */
static void test_expired(void **state)
{
    (void)state;
    errand_begin_provision();
    errand_run(1);
    outside_end(errands.x, ERR_TIMEOUT, "not renewed");
    assert_true(outside_deadline(errands.x) <= errands.now_ms);
    ENDS(ORDER_EXPIRED, ERR_TIMEOUT, "not renewed");
    assert_int_equal(errands.call_count, 1);
    assert_int_equal(errands.cancel_count, 1);
}

/* A webhook that fails in passing is tried until the time is over; one that works is asked for its
 * status; one that forgot is asked anew under the same id. */
static void test_webhook(void **state)
{
    (void)state;
    errands.settings.provisioner =
        (struct outside_target){OUTSIDE_WEBHOOK, "https://hooks.example/servers?key=secret"};
    for (int i = 0; i < 4; i++) {
        errand_will_answer(OUTSIDE_FAILED, "HTTP status 503");
    }
    errand_will_answer(OUTSIDE_RUNNING, "has begun");
    errand_will_answer(OUTSIDE_RUNNING, "boots");
    errand_will_answer(OUTSIDE_UNKNOWN, "");
    errand_will_answer(OUTSIDE_READY, "");
    errand_begin_provision();
    struct order_status status = errand_finish();
    assert_int_equal(status.state, ORDER_DONE);
    assert_null(strstr(status.reason, "secret"));
    assert_int_equal(errands.call_count, 8);
    assert_int_equal(errands.calls[4].action, OUTSIDE_PROVISION);
    assert_int_equal(errands.calls[5].action, OUTSIDE_STATUS);
    assert_int_equal(errands.calls[5].status_of, OUTSIDE_PROVISION);
    assert_int_equal(errands.calls[6].action, OUTSIDE_STATUS);
    assert_int_equal(errands.calls[7].action, OUTSIDE_PROVISION);
    for (int i = 0; i < errands.call_count; i++) {
        assert_string_equal(errands.calls[i].request_id, "op-7-1-2");
    }
}

/* What was never received has made nothing: not given back. */
static void test_never_received(void **state)
{
    (void)state;
    errands.settings.provisioner =
        (struct outside_target){OUTSIDE_WEBHOOK, "https://hooks.example/"};
    struct outside_answer *refused =
        errand_will_answer(OUTSIDE_FAILED, "certificate is not trusted");
    refused->is_retryable = false;
    refused->is_maybe_received = false;
    errand_begin_provision();
    ENDS(ORDER_FAILED, ERR_UNAVAILABLE, "https://hooks.example/: certificate is not trusted");
    assert_int_equal(errands.call_count, 1);
}

static void test_ready_without_address(void **state)
{
    (void)state;
    errand_will_answer(OUTSIDE_READY, "")->address.port = 0;
    errand_will_answer(OUTSIDE_DONE, "");
    errand_begin_provision();
    ENDS(ORDER_FAILED, ERR_PROTOCOL, "names no address");
    assert_int_equal(errands.calls[1].action, OUTSIDE_RELEASE);
}

/* ---- what is refused ---- */

static void test_refused(void **state)
{
    (void)state;
    errand_begin(TASK_PROVISION, 0, "agent a2\nrequest r1\n");
    ENDS(ORDER_FAILED, ERR_REFUSED, "for agent a2");
    errand_begin(TASK_PROVISION, 0, "agent a1\nrequest ../etc\n");
    ENDS(ORDER_FAILED, ERR_INVALID, "no request");
    errand_begin(TASK_PROVISION, 0, "agent a1\n");
    ENDS(ORDER_FAILED, ERR_INVALID, "no request");
    errand_begin(TASK_PROVISION, 0, "agent a1\nrequest r1\nmaxmemory 1gb\n");
    ENDS(ORDER_FAILED, ERR_INVALID, "maxmemory");
    errand_begin(TASK_RELEASE, 0, "agent a1\nnothing\n");
    ENDS(ORDER_FAILED, ERR_INVALID, "no removal certificate");
    errands.settings.hook_count = 0;
    errand_begin_traffic(0);
    ENDS(ORDER_FAILED, ERR_REFUSED, "no drain hook");
    errands.settings.provisioner.way = (enum outside_way)0;
    errand_begin_provision();
    ENDS(ORDER_FAILED, ERR_REFUSED, "no provisioner");
    assert_int_equal(errands.call_count, 0);
}

/* ---- RELEASE ---- */

static void test_release(void **state)
{
    (void)state;
    errand_will_answer(OUTSIDE_DONE, "");
    errand_begin_release(false);
    ENDS(ORDER_DONE, 0, "make-server: done");
    assert_int_equal(errands.node.asks, 1);
    assert_int_equal(errands.call_count, 1);
    assert_int_equal(errands.calls[0].action, OUTSIDE_RELEASE);
    assert_string_equal(errands.calls[0].request_id, "op-7-1-2");
    assert_int_equal(errands.calls[0].address.port, 7001);
    assert_string_equal(errands.calls[0].node.text, ERRAND_NODE);

    errands.script_count = errands.script_at = 0; /* a server that is not of this provisioner */
    errand_will_answer(OUTSIDE_UNKNOWN, "");
    errand_begin_release(false);
    ENDS(ORDER_DONE, 0, "none of its servers");
}

/* The certificate alone is not enough while the node says otherwise. */
static void test_release_of_a_used_server(void **state)
{
    (void)state;
    errands.node.keys = 3;
    errand_begin_release(false);
    ENDS(ORDER_FAILED, ERR_REFUSED, "holds 3 keys");
    errands.node.keys = 0;
    errands.node.slots = 16384;
    errand_begin_release(false);
    ENDS(ORDER_FAILED, ERR_REFUSED, "16384 slots in use");
    errands.node.slots = 0;
    errands.node.nodes = 4;
    errand_begin_release(false);
    ENDS(ORDER_FAILED, ERR_REFUSED, "4 nodes");
    errands.node.error = "NOAUTH Authentication required.";
    errand_begin_release(false);
    ENDS(ORDER_FAILED, ERR_TIMEOUT, "NOAUTH");
    assert_int_equal(errands.call_count, 0);
}

/* A server that does not run any more cannot be asked; the certificate stands. */
static void test_release_of_a_silent_server(void **state)
{
    (void)state;
    errands.node.is_silent = true;
    errand_will_answer(OUTSIDE_DONE, "");
    errand_begin_release(false);
    ENDS(ORDER_DONE, 0, "done");
    assert_int_equal(errands.node.asks, 3);
}

/* A node that was removed as dead speaks by its certificate alone, and so that must be signed: as
 * long as it is silent. One that nobody had seen yet answers, and its own word is enough. */
static void test_release_of_the_dead(void **state)
{
    (void)state;
    errands.node.is_silent = true;
    errand_begin_release(true);
    ENDS(ORDER_FAILED, ERR_REFUSED, "must be signed");
    assert_int_equal(errands.call_count, 0);
    errands.node.is_silent = false;
    errand_will_answer(OUTSIDE_DONE, "");
    errand_begin_release(true);
    ENDS(ORDER_DONE, 0, "done");
    errands.call_count = errands.script_count = errands.script_at = 0;
    (void)snprintf(errands.settings.certificate_key, sizeof(errands.settings.certificate_key), "k");
    errands.node.keys = 3; /* it has come back */
    errand_begin_release(true);
    ENDS(ORDER_FAILED, ERR_REFUSED, "holds 3 keys");
    assert_int_equal(errands.call_count, 0);
    errands.node.is_silent = true;
    errand_will_answer(OUTSIDE_DONE, "");
    errand_begin_release(true);
    ENDS(ORDER_DONE, 0, "done");
    errands.call_count = 0;
    (void)snprintf(errands.settings.certificate_key, sizeof(errands.settings.certificate_key),
                   "other");
    errand_begin_signed_release("k", false);
    ENDS(ORDER_FAILED, ERR_AUTH, "not signed by the key");
    assert_int_equal(errands.call_count, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(test_ready),
        CASE(test_progress),
        CASE(test_exec_fails),
        CASE(test_fails_for_good),
        CASE(test_not_ready),
        CASE(test_undo_fails),
        CASE(test_gives_back_what_was_begun_before),
        CASE(test_stopped),
        CASE(test_expired),
        CASE(test_webhook),
        CASE(test_never_received),
        CASE(test_ready_without_address),
        CASE(test_refused),
        CASE(test_release),
        CASE(test_release_of_a_used_server),
        CASE(test_release_of_a_silent_server),
        CASE(test_release_of_the_dead),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
