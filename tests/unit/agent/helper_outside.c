/* helper_outside.c — see helper_outside.h. */
#include "helper_outside.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "common/base/alloc.h"
#include "common/model/removal_proof.h"

struct errands errands;

int errand_set_up(void **state)
{
    (void)state;
    memset(&errands.node, 0, sizeof(errands.node));
    errands.node.nodes = 1;
    errands.now_ms = 1000;
    errands.call_count = errands.cancel_count = errands.script_count = errands.script_at = 0;
    errands.settings = (struct outside_settings){
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

int errand_tear_down(void **state)
{
    (void)state;
    outside_free(errands.x);
    errands.x = NULL;
    agent_effects_release(&errands.pending);
    return 0;
}

void errand_begin_attempt(int attempt, enum task_kind kind, uint32_t flags, const char *detail)
{
    struct order order = {.id = {.operation_id = "op-7-1", .batch_index = 2, .attempt = attempt},
                          .fence = 7,
                          .kind = ORDER_TASK};
    order.task.kind = kind;
    order.task.flags = flags;
    if (kind != TASK_PROVISION) {
        order.task.node_address = (struct address){.host = "10.0.0.4", .port = 7001};
        memcpy(order.task.node.text, ERRAND_NODE, sizeof(ERRAND_NODE));
    }
    (void)snprintf(order.task.detail, sizeof(order.task.detail), "%s", detail);
    outside_free(errands.x);
    errands.x = outside_new(&order, &errands.settings, 9, 1, errands.now_ms);
}

void errand_begin(enum task_kind kind, uint32_t flags, const char *detail)
{
    errand_begin_attempt(1, kind, flags, detail);
}

void errand_begin_provision(void)
{
    errand_begin(TASK_PROVISION, 0, PROVISION_DETAIL);
}

void errand_begin_signed_release(const char *key, bool is_dead)
{
    struct removal_proof proof = {
        .node = {ERRAND_NODE},
        .address = {.host = "10.0.0.4", .port = 7001},
        .asked = 3,
        .is_dead = is_dead,
        .fence = 7,
        .operation_id = "op-7-1",
    };
    struct strbuf text = {0};
    strbuf_add_text(&text, "agent a1\n");
    removal_proof_format(&proof, key, &text);
    errand_begin(TASK_RELEASE, 0, strbuf_text(&text));
    strbuf_release(&text);
}

void errand_begin_release(bool is_dead)
{
    errand_begin_signed_release(errands.settings.certificate_key, is_dead);
}

void errand_begin_traffic(uint32_t flags)
{
    errand_begin(TASK_TRAFFIC, flags, "agent a1\nrole primary\n");
}

struct outside_answer *errand_will_answer(enum outside_state state, const char *message)
{
    assert_true(errands.script_count < ERRAND_SCRIPT_MAX);
    struct outside_answer *answer = &errands.script[errands.script_count++];
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
    assert_true(errands.call_count < ERRAND_CALLS_MAX);
    assert_true(effect->host.outside->timeout_ms > 0);
    errands.calls[errands.call_count++] = *effect->host.outside;
    if (errands.script_count == 0) {
        return; /* never answers */
    }
    struct host_facts facts = {.outside = errands.script[errands.script_at]};
    errands.script_at += errands.script_at + 1 < errands.script_count;
    struct err err = {0};
    if (facts.outside.state == OUTSIDE_FAILED) {
        (void)err_set(&err, ERR_UNAVAILABLE, "%s", facts.outside.message);
    }
    struct agent_event event = {.kind = AGENT_HOST,
                                .now_ms = errands.now_ms,
                                .req_id = effect->req_id,
                                .code = err.code,
                                .err = &err,
                                .host_verb = HOST_OUTSIDE_START,
                                .facts = &facts};
    outside_step(errands.x, &event, &errands.pending);
}

static void add_reply(struct reply_list *list, const struct command_list *commands, int index)
{
    char text[4096];
    size_t len = 0;
    struct reply *reply = replies_add(list);
    if (errands.node.error != NULL) {
        reply_set_text(list, reply, REPLY_ERROR, errands.node.error, strlen(errands.node.error));
        return;
    }
    if (commands_arg_is(commands, index, 0, "DBSIZE")) {
        *reply = (struct reply){.type = REPLY_INTEGER, .integer = errands.node.keys, .text = ""};
        return;
    }
    if (commands_arg_is(commands, index, 0, "CLUSTER")) {
        len = (size_t)snprintf(
            text, sizeof(text),
            "cluster_state:ok\r\ncluster_slots_assigned:%lld\r\ncluster_known_nodes:%lld\r\n",
            (long long)errands.node.slots, (long long)errands.node.nodes);
    } else if (commands_arg_is(commands, index, 0, "INFO")) {
        len = (size_t)snprintf(text, sizeof(text),
                               "redis_version:7.0.15\r\nconnected_clients:%d\r\n"
                               "instantaneous_ops_per_sec:%lld\r\n",
                               errands.node.clients + 2, (long long)errands.node.ops_per_s);
    } else {
        len = (size_t)snprintf(text, sizeof(text),
                               "id=1 addr=1 name=drover-agent age=1 flags=N db=0\n"
                               "id=2 addr=2 name= age=1 flags=S db=0\n");
        for (int i = 0; i < errands.node.clients; i++) {
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
    errands.node.asks++;
    for (int i = 0; i < effect->commands.count && !errands.node.is_silent; i++) {
        add_reply(&list, &effect->commands, i);
    }
    if (errands.node.is_silent) {
        (void)err_set(&err, ERR_UNAVAILABLE, "connection refused");
    }
    struct agent_event event = {.kind = AGENT_REDIS,
                                .now_ms = errands.now_ms,
                                .req_id = effect->req_id,
                                .code = err.code,
                                .err = &err,
                                .replies = &list};
    outside_step(errands.x, &event, &errands.pending);
    replies_release(&list);
}

static void answer_first(void)
{
    struct agent_effects one = {0};
    struct agent_effect effect = errands.pending.items[0];
    errands.pending.count--;
    memmove(errands.pending.items, errands.pending.items + 1,
            (size_t)errands.pending.count * sizeof(effect));
    errands.now_ms++;
    if (effect.kind == AGENT_FX_REDIS) {
        answer_node(&effect);
    } else if (effect.kind == AGENT_FX_HOST && effect.host.verb == HOST_OUTSIDE_START) {
        answer_call(&effect);
    } else if (effect.kind == AGENT_FX_HOST) {
        assert_int_equal(effect.host.verb, HOST_OUTSIDE_CANCEL);
        errands.cancel_count++;
    } else {
        assert_int_equal(effect.kind, AGENT_FX_LOG);
    }
    one.items = xmemdup(&effect, sizeof(effect));
    one.count = one.capacity = 1;
    agent_effects_release(&one);
}

/* Steps of time and answers until it is over, or 'turns' of them were done; -1 = to the end. */
void errand_run(int turns)
{
    for (int i = 0; i != turns && (!outside_is_over(errands.x) || errands.pending.count > 0); i++) {
        assert_true(i < 5000);
        if (errands.pending.count == 0) {
            int64_t due_ms = outside_deadline(errands.x);
            assert_true(due_ms < NEVER);
            errands.now_ms = due_ms > errands.now_ms ? due_ms : errands.now_ms;
            struct agent_event tick = {.kind = AGENT_TICK, .now_ms = errands.now_ms};
            outside_step(errands.x, &tick, &errands.pending);
        }
        if (errands.pending.count > 0) {
            answer_first();
        }
    }
}

struct order_status errand_finish(void)
{
    struct order_status status;
    errand_run(-1);
    outside_status(errands.x, &status);
    return status;
}
