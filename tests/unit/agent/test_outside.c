/* test_outside.c — TASK_PROVISION, TASK_RELEASE and TASK_TRAFFIC against provisioners, hooks and a
 * node in memory: what is asked, in which order, how failures and limits end, and that nothing
 * asked for is left behind. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "agent/core/outside.h"
#include "common/base/alloc.h"
#include "common/model/removal_proof.h"

#define NODE "0123456789abcdef0123456789abcdef01234567"
#define CALLS_MAX 64
#define SCRIPT_MAX 32

static struct outside_settings settings;
static struct outside *x;
static struct agent_effects pending;
static int64_t now_ms;

/* What was called, in order. */
static struct outside_call calls[CALLS_MAX];
static int call_count;
static int cancel_count;

/* What is answered to the calls in turn; after the last, its last one again. */
static struct outside_answer script[SCRIPT_MAX];
static int script_count;
static int script_at;

/* The node. */
static struct {
    bool is_silent;
    const char *error;
    int64_t keys;
    int64_t slots;
    int64_t nodes;
    int64_t ops_per_s;
    int clients; /* of others */
    int asks;
} node;

static int set_up(void **state)
{
    (void)state;
    memset(&node, 0, sizeof(node));
    node.nodes = 1;
    now_ms = 1000;
    call_count = cancel_count = script_count = script_at = 0;
    settings = (struct outside_settings){
        .provisioner = {OUTSIDE_EXEC, "/opt/drover/make-server"},
        .provision_timeout_ms = 100000,
        .hooks = {{OUTSIDE_HAPROXY, "unix:/run/haproxy"}},
        .hook_count = 1,
        .drain_limit_ms = 30000,
        .cluster = "shop",
        .agent = "a1",
    };
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    outside_free(x);
    x = NULL;
    agent_effects_release(&pending);
    return 0;
}

static void begin(enum task_kind kind, uint32_t flags, const char *detail)
{
    struct order order = {.id = {.operation_id = "op-7-1", .batch_index = 2, .attempt = 1},
                          .fence = 7,
                          .kind = ORDER_TASK};
    order.task.kind = kind;
    order.task.flags = flags;
    if (kind != TASK_PROVISION) {
        order.task.node_address = (struct address){.host = "10.0.0.4", .port = 7001};
        memcpy(order.task.node.text, NODE, sizeof(NODE));
    }
    (void)snprintf(order.task.detail, sizeof(order.task.detail), "%s", detail);
    outside_free(x);
    x = outside_new(&order, &settings, 9, 1, now_ms);
}

static void begin_provision(void)
{
    begin(TASK_PROVISION, 0,
          "agent a1\nrequest op-7-1-2\nmaxmemory 1048576\nzone z2\nrole replica\n");
}

static void begin_signed_release(const char *key, bool is_dead)
{
    struct removal_proof proof = {
        .node = {NODE},
        .address = {.host = "10.0.0.4", .port = 7001},
        .asked = 3,
        .is_dead = is_dead,
        .fence = 7,
        .operation_id = "op-7-1",
    };
    struct strbuf text = {0};
    strbuf_add_text(&text, "agent a1\n");
    removal_proof_format(&proof, key, &text);
    begin(TASK_RELEASE, 0, strbuf_text(&text));
    strbuf_release(&text);
}

static void begin_release(bool is_dead)
{
    begin_signed_release(settings.certificate_key, is_dead);
}

static void begin_traffic(uint32_t flags)
{
    begin(TASK_TRAFFIC, flags, "agent a1\nrole primary\n");
}

static struct outside_answer *will_answer(enum outside_state state, const char *message)
{
    assert_true(script_count < SCRIPT_MAX);
    struct outside_answer *answer = &script[script_count++];
    *answer = (struct outside_answer){.state = state,
                                      .is_over = true,
                                      .is_retryable = true,
                                      .is_maybe_received = true,
                                      .percent = -1};
    (void)snprintf(answer->message, sizeof(answer->message), "%s", message);
    if (state == OUTSIDE_READY) {
        answer->address = (struct address){.host = "10.0.0.9", .port = 7000};
    }
    return answer;
}

/* ---- the world answers ---- */

static void answer_call(const struct agent_effect *effect)
{
    assert_true(call_count < CALLS_MAX);
    assert_true(effect->host.outside->timeout_ms > 0);
    calls[call_count++] = *effect->host.outside;
    if (script_count == 0) {
        return; /* never answers */
    }
    struct host_facts facts = {.outside = script[script_at]};
    script_at += script_at + 1 < script_count;
    struct err err = {0};
    if (facts.outside.state == OUTSIDE_FAILED) {
        (void)err_set(&err, ERR_UNAVAILABLE, "%s", facts.outside.message);
    }
    struct agent_event event = {.kind = AGENT_HOST,
                                .now_ms = now_ms,
                                .req_id = effect->req_id,
                                .code = err.code,
                                .err = &err,
                                .host_verb = HOST_OUTSIDE_START,
                                .facts = &facts};
    outside_step(x, &event, &pending);
}

static void add_reply(struct reply_list *list, const struct command_list *commands, int index)
{
    char text[4096];
    size_t len = 0;
    struct reply *reply = replies_add(list);
    if (node.error != NULL) {
        reply_set_text(list, reply, REPLY_ERROR, node.error, strlen(node.error));
        return;
    }
    if (commands_arg_is(commands, index, 0, "DBSIZE")) {
        *reply = (struct reply){.type = REPLY_INTEGER, .integer = node.keys, .text = ""};
        return;
    }
    if (commands_arg_is(commands, index, 0, "CLUSTER")) {
        len = (size_t)snprintf(
            text, sizeof(text),
            "cluster_state:ok\r\ncluster_slots_assigned:%lld\r\ncluster_known_nodes:%lld\r\n",
            (long long)node.slots, (long long)node.nodes);
    } else if (commands_arg_is(commands, index, 0, "INFO")) {
        len = (size_t)snprintf(text, sizeof(text),
                               "redis_version:7.0.15\r\nconnected_clients:%d\r\n"
                               "instantaneous_ops_per_sec:%lld\r\n",
                               node.clients + 2, (long long)node.ops_per_s);
    } else {
        len = (size_t)snprintf(text, sizeof(text),
                               "id=1 addr=1 name=drover-agent age=1 flags=N db=0\n"
                               "id=2 addr=2 name= age=1 flags=S db=0\n");
        for (int i = 0; i < node.clients; i++) {
            len += (size_t)snprintf(text + len, sizeof(text) - len,
                                    "id=%d addr=3 name= age=1 flags=N db=0\n", i + 3);
        }
    }
    reply_set_text(list, reply, REPLY_STRING, text, len);
}

static void answer_node(const struct agent_effect *effect)
{
    struct reply_list list = {0};
    struct err err = {0};
    node.asks++;
    for (int i = 0; i < effect->commands.count && !node.is_silent; i++) {
        add_reply(&list, &effect->commands, i);
    }
    if (node.is_silent) {
        (void)err_set(&err, ERR_UNAVAILABLE, "connection refused");
    }
    struct agent_event event = {.kind = AGENT_REDIS,
                                .now_ms = now_ms,
                                .req_id = effect->req_id,
                                .code = err.code,
                                .err = &err,
                                .replies = &list};
    outside_step(x, &event, &pending);
    replies_release(&list);
}

static void answer_first(void)
{
    struct agent_effects one = {0};
    struct agent_effect effect = pending.items[0];
    pending.count--;
    memmove(pending.items, pending.items + 1, (size_t)pending.count * sizeof(effect));
    now_ms++;
    if (effect.kind == AGENT_FX_REDIS) {
        answer_node(&effect);
    } else if (effect.kind == AGENT_FX_HOST && effect.host.verb == HOST_OUTSIDE_START) {
        answer_call(&effect);
    } else if (effect.kind == AGENT_FX_HOST) {
        assert_int_equal(effect.host.verb, HOST_OUTSIDE_CANCEL);
        cancel_count++;
    } else {
        assert_int_equal(effect.kind, AGENT_FX_LOG);
    }
    one.items = xmemdup(&effect, sizeof(effect));
    one.count = one.capacity = 1;
    agent_effects_release(&one);
}

/* Steps of time and answers until it is over, or 'turns' of them were done; -1 = to the end. */
static void run(int turns)
{
    for (int i = 0; i != turns && (!outside_is_over(x) || pending.count > 0); i++) {
        assert_true(i < 5000);
        if (pending.count == 0) {
            int64_t due_ms = outside_deadline(x);
            assert_true(due_ms < NEVER);
            now_ms = due_ms > now_ms ? due_ms : now_ms;
            struct agent_event tick = {.kind = AGENT_TICK, .now_ms = now_ms};
            outside_step(x, &tick, &pending);
        }
        if (pending.count > 0) {
            answer_first();
        }
    }
}

static struct order_status finish(void)
{
    struct order_status status;
    run(-1);
    outside_status(x, &status);
    return status;
}

#define ENDS(wanted_state, wanted_code, words)                        \
    do {                                                              \
        struct order_status ended = finish();                         \
        if (strstr(ended.reason, words) == NULL) {                    \
            fail_msg("\"%s\" is not in \"%s\"", words, ended.reason); \
        }                                                             \
        assert_int_equal(ended.state, wanted_state);                  \
        assert_int_equal(ended.reason_code, wanted_code);             \
    } while (0)

/* ---- PROVISION ---- */

/* A server is asked for with all that is known; its address is the result. */
static void test_ready(void **state)
{
    (void)state;
    will_answer(OUTSIDE_READY, "");
    begin_provision();
    struct order_status status = finish();
    assert_int_equal(status.state, ORDER_DONE);
    assert_string_equal(status.made.host, "10.0.0.9");
    assert_int_equal(status.made.port, 7000);
    assert_int_equal(call_count, 1);
    assert_int_equal(calls[0].action, OUTSIDE_PROVISION);
    assert_string_equal(calls[0].request_id, "op-7-1-2");
    assert_string_equal(calls[0].cluster, "shop");
    assert_string_equal(calls[0].zone, "z2");
    assert_string_equal(calls[0].role, "replica");
    assert_int_equal(calls[0].maxmemory_bytes, 1048576);
    assert_int_equal(calls[0].address.port, 0);
}

/* Progress is told; what a program says while it runs is not its end. */
static void test_progress(void **state)
{
    (void)state;
    struct order_status status;
    struct outside_answer *boots = will_answer(OUTSIDE_RUNNING, "boots");
    boots->is_over = false;
    boots->percent = 40;
    begin_provision();
    run(1);
    outside_status(x, &status);
    assert_int_equal(status.state, ORDER_RUNNING);
    assert_string_equal(status.reason, "waits for make-server: 40 % boots");
    assert_int_equal(call_count, 1);
}

/* A program that fails is tried once more, then quoted, and what it may have begun is given back.
 */
static void test_exec_fails(void **state)
{
    (void)state;
    will_answer(OUTSIDE_FAILED, "ended with exit code 7: quota");
    will_answer(OUTSIDE_FAILED, "ended with exit code 7: quota");
    will_answer(OUTSIDE_DONE, "");
    begin_provision();
    ENDS(ORDER_FAILED, ERR_UNAVAILABLE, "make-server: ended with exit code 7: quota");
    assert_int_equal(call_count, 3);
    assert_int_equal(calls[2].action, OUTSIDE_RELEASE);
    assert_string_equal(calls[2].request_id, "op-7-1-2");
    assert_int_equal(calls[2].address.port, 0);
}

/* "failed" with retry false is a last word: nothing is tried again, and nothing is left. */
static void test_fails_for_good(void **state)
{
    (void)state;
    will_answer(OUTSIDE_FAILED, "no such zone")->is_retryable = false;
    begin_provision();
    ENDS(ORDER_FAILED, ERR_UNAVAILABLE, "no such zone");
    assert_int_equal(call_count, 1);
}

/* Not ready in time: the program is ended, the request given back. */
static void test_not_ready(void **state)
{
    (void)state;
    begin_provision();
    run(1);
    now_ms += 100000;
    struct agent_event tick = {.kind = AGENT_TICK, .now_ms = now_ms};
    outside_step(x, &tick, &pending);
    will_answer(OUTSIDE_DONE, "");
    ENDS(ORDER_FAILED, ERR_TIMEOUT, "make-server is not ready after 100 s");
    assert_int_equal(cancel_count, 1);
    assert_int_equal(call_count, 2);
    assert_int_equal(calls[1].action, OUTSIDE_RELEASE);
}

/* If not even that works, it says so. */
static void test_undo_fails(void **state)
{
    (void)state;
    will_answer(OUTSIDE_FAILED, "quota");
    begin_provision();
    ENDS(ORDER_FAILED, ERR_UNAVAILABLE, "giving it back failed: make-server: quota");
    assert_int_equal(call_count, 4);
}

/* Stopped: what was begun is given back first; nothing was begun: over at once. */
static void test_stopped(void **state)
{
    (void)state;
    begin_provision();
    run(1);
    outside_end(x, 0, "stopped");
    run(1);
    will_answer(OUTSIDE_UNKNOWN, "");
    ENDS(ORDER_STOPPED, 0, "stopped");
    assert_int_equal(cancel_count, 1);
    assert_int_equal(calls[1].action, OUTSIDE_RELEASE);

    call_count = 0;
    begin_provision();
    outside_end(x, 0, "stopped");
    ENDS(ORDER_STOPPED, 0, "stopped");
    assert_int_equal(call_count, 0);
}

/* Not renewed: its calls end at once, and nothing more is said: whoever asks next goes on. */
static void test_expired(void **state)
{
    (void)state;
    begin_provision();
    run(1);
    outside_end(x, ERR_TIMEOUT, "not renewed");
    assert_true(outside_deadline(x) <= now_ms);
    ENDS(ORDER_EXPIRED, ERR_TIMEOUT, "not renewed");
    assert_int_equal(call_count, 1);
    assert_int_equal(cancel_count, 1);
}

/* A webhook that fails in passing is tried until the time is over; one that works is asked for its
 * status; one that forgot is asked anew under the same id. */
static void test_webhook(void **state)
{
    (void)state;
    settings.provisioner =
        (struct outside_target){OUTSIDE_WEBHOOK, "https://hooks.example/servers?key=secret"};
    for (int i = 0; i < 4; i++) {
        will_answer(OUTSIDE_FAILED, "HTTP status 503");
    }
    will_answer(OUTSIDE_RUNNING, "has begun");
    will_answer(OUTSIDE_RUNNING, "boots");
    will_answer(OUTSIDE_UNKNOWN, "");
    will_answer(OUTSIDE_READY, "");
    begin_provision();
    struct order_status status = finish();
    assert_int_equal(status.state, ORDER_DONE);
    assert_null(strstr(status.reason, "secret"));
    assert_int_equal(call_count, 8);
    assert_int_equal(calls[4].action, OUTSIDE_PROVISION);
    assert_int_equal(calls[5].action, OUTSIDE_STATUS);
    assert_int_equal(calls[5].status_of, OUTSIDE_PROVISION);
    assert_int_equal(calls[6].action, OUTSIDE_STATUS);
    assert_int_equal(calls[7].action, OUTSIDE_PROVISION);
    for (int i = 0; i < call_count; i++) {
        assert_string_equal(calls[i].request_id, "op-7-1-2");
    }
}

/* What was never received has made nothing: not given back. */
static void test_never_received(void **state)
{
    (void)state;
    settings.provisioner = (struct outside_target){OUTSIDE_WEBHOOK, "https://hooks.example/"};
    struct outside_answer *refused = will_answer(OUTSIDE_FAILED, "certificate is not trusted");
    refused->is_retryable = false;
    refused->is_maybe_received = false;
    begin_provision();
    ENDS(ORDER_FAILED, ERR_UNAVAILABLE, "https://hooks.example/: certificate is not trusted");
    assert_int_equal(call_count, 1);
}

static void test_ready_without_address(void **state)
{
    (void)state;
    will_answer(OUTSIDE_READY, "")->address.port = 0;
    will_answer(OUTSIDE_DONE, "");
    begin_provision();
    ENDS(ORDER_FAILED, ERR_PROTOCOL, "names no address");
    assert_int_equal(calls[1].action, OUTSIDE_RELEASE);
}

/* ---- what is refused ---- */

static void test_refused(void **state)
{
    (void)state;
    begin(TASK_PROVISION, 0, "agent a2\nrequest r1\n");
    ENDS(ORDER_FAILED, ERR_REFUSED, "for agent a2");
    begin(TASK_PROVISION, 0, "agent a1\nrequest ../etc\n");
    ENDS(ORDER_FAILED, ERR_INVALID, "no request");
    begin(TASK_PROVISION, 0, "agent a1\n");
    ENDS(ORDER_FAILED, ERR_INVALID, "no request");
    begin(TASK_PROVISION, 0, "agent a1\nrequest r1\nmaxmemory 1gb\n");
    ENDS(ORDER_FAILED, ERR_INVALID, "maxmemory");
    begin(TASK_RELEASE, 0, "agent a1\nnothing\n");
    ENDS(ORDER_FAILED, ERR_INVALID, "no removal certificate");
    settings.hook_count = 0;
    begin_traffic(0);
    ENDS(ORDER_FAILED, ERR_REFUSED, "no drain hook");
    settings.provisioner.way = (enum outside_way)0;
    begin_provision();
    ENDS(ORDER_FAILED, ERR_REFUSED, "no provisioner");
    assert_int_equal(call_count, 0);
}

/* ---- RELEASE ---- */

static void test_release(void **state)
{
    (void)state;
    will_answer(OUTSIDE_DONE, "");
    begin_release(false);
    ENDS(ORDER_DONE, 0, "make-server: done");
    assert_int_equal(node.asks, 1);
    assert_int_equal(call_count, 1);
    assert_int_equal(calls[0].action, OUTSIDE_RELEASE);
    assert_string_equal(calls[0].request_id, "op-7-1-2");
    assert_int_equal(calls[0].address.port, 7001);
    assert_string_equal(calls[0].node.text, NODE);

    script_count = script_at = 0; /* a server that is not of this provisioner */
    will_answer(OUTSIDE_UNKNOWN, "");
    begin_release(false);
    ENDS(ORDER_DONE, 0, "none of its servers");
}

/* The certificate alone is not enough while the node says otherwise. */
static void test_release_of_a_used_server(void **state)
{
    (void)state;
    node.keys = 3;
    begin_release(false);
    ENDS(ORDER_FAILED, ERR_REFUSED, "holds 3 keys");
    node.keys = 0;
    node.slots = 16384;
    begin_release(false);
    ENDS(ORDER_FAILED, ERR_REFUSED, "16384 slots in use");
    node.slots = 0;
    node.nodes = 4;
    begin_release(false);
    ENDS(ORDER_FAILED, ERR_REFUSED, "4 nodes");
    node.error = "NOAUTH Authentication required.";
    begin_release(false);
    ENDS(ORDER_FAILED, ERR_TIMEOUT, "NOAUTH");
    assert_int_equal(call_count, 0);
}

/* A server that does not run any more cannot be asked; the certificate stands. */
static void test_release_of_a_silent_server(void **state)
{
    (void)state;
    node.is_silent = true;
    will_answer(OUTSIDE_DONE, "");
    begin_release(false);
    ENDS(ORDER_DONE, 0, "done");
    assert_int_equal(node.asks, 3);
}

/* A node that was removed as dead speaks by its certificate alone, and so that must be signed. */
static void test_release_of_the_dead(void **state)
{
    (void)state;
    begin_release(true);
    ENDS(ORDER_FAILED, ERR_REFUSED, "must be signed");
    (void)snprintf(settings.certificate_key, sizeof(settings.certificate_key), "k");
    node.keys = 3; /* it has come back */
    begin_release(true);
    ENDS(ORDER_FAILED, ERR_REFUSED, "holds 3 keys");
    assert_int_equal(call_count, 0);
    node.is_silent = true;
    will_answer(OUTSIDE_DONE, "");
    begin_release(true);
    ENDS(ORDER_DONE, 0, "done");
    call_count = 0;
    (void)snprintf(settings.certificate_key, sizeof(settings.certificate_key), "other");
    begin_signed_release("k", false);
    ENDS(ORDER_FAILED, ERR_AUTH, "not signed by the key");
    assert_int_equal(call_count, 0);
}

/* ---- TRAFFIC ---- */

/* A proxy is asked again until its sessions are gone, then the node itself. */
static void test_drain(void **state)
{
    (void)state;
    will_answer(OUTSIDE_RUNNING, "2 sessions are left");
    will_answer(OUTSIDE_RUNNING, "1 sessions are left");
    will_answer(OUTSIDE_DONE, "");
    begin_traffic(0);
    ENDS(ORDER_DONE, 0, "clients are kept off, and gone");
    assert_int_equal(call_count, 3);
    for (int i = 0; i < call_count; i++) {
        assert_int_equal(calls[i].action, OUTSIDE_DRAIN);
        assert_int_equal(calls[i].address.port, 7001);
    }
    assert_int_equal(node.asks, 2); /* how many clients, then who they are */
}

/* Few clients with few commands are monitoring; many commands are traffic; many idle clients, too.
 */
static void test_drain_watches(void **state)
{
    (void)state;
    will_answer(OUTSIDE_DONE, "");
    node.clients = 3;
    node.ops_per_s = 20;
    begin_traffic(0);
    ENDS(ORDER_DONE, 0, "gone");
    node.ops_per_s = 500;
    begin_traffic(0);
    ENDS(ORDER_DONE, 0, "the limit of 30 s has passed; the node has 3 clients and 500 commands/s");
    node.clients = 40;
    node.ops_per_s = 0;
    begin_traffic(0);
    ENDS(ORDER_DONE, 0, "40 clients");
    node.clients = 5000; /* not listed one by one */
    begin_traffic(0);
    ENDS(ORDER_DONE, 0, "5002 clients");
}

static void test_drain_of_a_silent_node(void **state)
{
    (void)state;
    node.is_silent = true;
    will_answer(OUTSIDE_DONE, "");
    begin_traffic(0);
    ENDS(ORDER_DONE, 0, "does not answer");
}

/* Clients that stay do not hold the removal for ever. */
static void test_drain_limit(void **state)
{
    (void)state;
    will_answer(OUTSIDE_RUNNING, "1 sessions are left");
    begin_traffic(0);
    ENDS(ORDER_DONE, 0,
         "the limit of 30 s has passed; HAProxy unix:/run/haproxy: 1 sessions are left");
    assert_true(now_ms >= 31000);
}

/* A hook that never took clients off does: a failure that names it and may be tried again. */
static void test_drain_hook_fails(void **state)
{
    (void)state;
    struct order_status status;
    settings.hook_count = 2;
    settings.hooks[1] = (struct outside_target){OUTSIDE_HAPROXY, "127.0.0.1:9999"};
    will_answer(OUTSIDE_RUNNING, "1 sessions are left");
    will_answer(OUTSIDE_FAILED, "connection refused");
    begin_traffic(0);
    run(2);
    outside_status(x, &status); /* the one that fails is what people must see */
    assert_string_equal(status.reason, "waits for HAProxy 127.0.0.1:9999: connection refused");
    settings.hook_count = 1;
    script_at = 1;
    begin_traffic(0);
    ENDS(ORDER_FAILED, ERR_UNAVAILABLE,
         "HAProxy unix:/run/haproxy did not do it within 30 s: connection refused");
}

/* All hooks are called, and "up" asks nothing of the node. */
static void test_undrain(void **state)
{
    (void)state;
    settings.hook_count = 2;
    settings.hooks[1] = (struct outside_target){OUTSIDE_EXEC, "/opt/hook"};
    will_answer(OUTSIDE_UNKNOWN, "");
    will_answer(OUTSIDE_DONE, "");
    begin_traffic(TASK_UP);
    ENDS(ORDER_DONE, 0, "let clients in");
    assert_int_equal(call_count, 2);
    assert_int_equal(calls[0].action, OUTSIDE_UNDRAIN);
    assert_int_equal(calls[1].target.way, OUTSIDE_EXEC);
    assert_int_equal(node.asks, 0);
}

/* A late answer to a call that was ended changes nothing. */
static void test_late_answer(void **state)
{
    (void)state;
    begin_traffic(0);
    run(1);
    outside_end(x, ERR_FENCED, "another leader took over");
    run(-1);
    struct host_facts facts = {.outside = {.state = OUTSIDE_DONE, .is_over = true}};
    struct agent_event event = {
        .kind = AGENT_HOST, .now_ms = now_ms, .req_id = (UINT64_C(9) << 32) | 1, .facts = &facts};
    outside_step(x, &event, &pending);
    ENDS(ORDER_EXPIRED, ERR_FENCED, "another leader");
    assert_int_equal(outside_deadline(x), NEVER);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(test_ready),
        CASE(test_progress),
        CASE(test_exec_fails),
        CASE(test_fails_for_good),
        CASE(test_not_ready),
        CASE(test_undo_fails),
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
        CASE(test_drain),
        CASE(test_drain_watches),
        CASE(test_drain_of_a_silent_node),
        CASE(test_drain_limit),
        CASE(test_drain_hook_fails),
        CASE(test_undrain),
        CASE(test_late_answer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
