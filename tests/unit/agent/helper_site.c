/* helper_site.c — see helper_site.h. */
#include "helper_site.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "common/base/alloc.h"
#include "common/model/removal_proof.h"

struct site site;

void site_reset(void)
{
    memset(&site.host, 0, sizeof(site.host));
    site.turn.holder = NULL;
    site.host.nodes = 1;
    site.now_ms = 1000;
    site.log_names[0] = '\0';
    site.settings = (struct instance_settings){
        .folder = "/srv/drover",
        .agent = "a1",
        .port_first = 7000,
        .port_last = 7009,
        .memory_bytes = 8 * SITE_GIB,
    };
}

struct order site_order(enum task_kind kind, const char *detail)
{
    struct order order = {.id = {.operation_id = "op-7-1", .batch_index = 2, .attempt = 1},
                          .fence = 7,
                          .kind = ORDER_TASK};
    order.task.kind = kind;
    order.task.node_address = (struct address){.host = "10.0.0.4", .port = 7001};
    (void)snprintf(order.task.detail, sizeof(order.task.detail), "%s", detail);
    return order;
}

struct order site_start_order(void)
{
    return site_order(TASK_START, "agent a1\nmaxmemory 1073741824\nextra maxclients 500\n");
}

struct order site_stop_order(bool is_dead)
{
    struct removal_proof proof = {
        .node = {SITE_NODE},
        .address = {.host = "10.0.0.4", .port = 7001},
        .asked = 3,
        .is_dead = is_dead,
        .fence = 7,
        .operation_id = "op-7-1",
    };
    struct strbuf text = {0};
    strbuf_add_text(&text, "agent a1\n");
    removal_proof_format(&proof, site.settings.certificate_key, &text);
    struct order order = site_order(TASK_STOP, strbuf_text(&text));
    strbuf_release(&text);
    return order;
}

static void launch(const struct host_call *call, struct err *err)
{
    if (site.host.launch_fails) {
        (void)err_set(err, ERR_NOT_FOUND, "there is no program redis-server here");
        return;
    }
    if (site.host.pid == 0) {
        site.host.launches++;
        site.host.units += call->is_unit;
        site.host.pid = site.host.dies_at_once ? 0 : 100 + site.host.launches;
    }
}

static void carry_out(const struct host_call *call, struct err *err)
{
    switch (call->verb) {
    case HOST_LOOK:
        break;
    case HOST_WRITE:
        site.host.has_folder = true;
        (void)snprintf(site.host.conf, sizeof(site.host.conf), "%s", strbuf_text(&call->text));
        assert_int_equal(sscanf(site.host.conf, HOST_REQUEST_LINE "%63s", site.host.request), 1);
        break;
    case HOST_LAUNCH:
        assert_true(site.host.has_folder);
        launch(call, err);
        break;
    case HOST_SIGNAL:
        site.host.terms += !call->is_kill;
        site.host.kills += call->is_kill;
        if (!site.host.is_deaf || call->is_kill) {
            site.host.pid = 0;
        }
        break;
    case HOST_RETIRE:
        assert_int_equal(site.host.pid, 0);
        if (strcmp(call->aside, "7001.before-op-7-1.2.1") == 0) {
            site.host.has_old = true;
        } else {
            assert_string_equal(call->aside, "7001.op-7-1.2.1");
            site.host.has_aside = site.host.has_aside || site.host.has_folder;
        }
        site.host.has_folder = false;
        site.host.is_used = false;
        site.host.request[0] = '\0';
        site.host.node = NULL;
        break;
    case HOST_OUTSIDE_START:
    case HOST_OUTSIDE_CANCEL:
        fail_msg("a call outside");
    }
}

void site_answer_host(struct instance *x,
                      const struct agent_effect *effect,
                      struct agent_effects *fx)
{
    struct err err = {0};
    carry_out(&effect->host, &err);
    site.host.calls++;
    struct host_facts facts = {
        .has_folder = site.host.has_folder,
        .has_aside = site.host.has_aside,
        .pid = site.host.pid,
        .is_port_taken = site.host.pid != 0 || site.host.is_foreign || site.host.dying_looks-- > 0,
        .has_systemd = site.host.has_systemd,
        .memory_promised_bytes = site.host.promised_bytes,
        .is_used = site.host.is_used,
    };
    memcpy(facts.request, site.host.request, sizeof(facts.request));
    (void)snprintf(facts.node.text, sizeof(facts.node.text), "%s",
                   site.host.node == NULL ? "" : site.host.node);
    (void)snprintf(facts.last_words, sizeof(facts.last_words), "no bind: in use");
    struct agent_event event = {.kind = AGENT_HOST,
                                .now_ms = site.now_ms,
                                .req_id = effect->req_id,
                                .code = err.code,
                                .err = &err,
                                .host_verb = effect->host.verb,
                                .facts = &facts};
    instance_step(x, &event, fx);
}

static void add_answer(struct reply_list *list, const struct command_list *commands, int index)
{
    char text[256];
    struct reply *reply = replies_add(list);
    if (site.host.error != NULL) {
        reply_set_text(list, reply, REPLY_ERROR, site.host.error, strlen(site.host.error));
    } else if (commands_arg_is(commands, index, 0, "PING")) {
        reply_set_text(list, reply, REPLY_STATUS, "PONG", 4);
    } else if (commands_arg_is(commands, index, 0, "DBSIZE")) {
        *reply = (struct reply){.type = REPLY_INTEGER, .integer = site.host.keys, .text = ""};
    } else if (commands_arg_is(commands, index, 0, "INFO")) {
        (void)snprintf(text, sizeof(text), "redis_version:7.0.15\r\nprocess_id:%lld\r\n",
                       site.host.is_foreign ? 999LL : (long long)site.host.pid);
        reply_set_text(list, reply, REPLY_STRING, text, strlen(text));
    } else {
        (void)snprintf(
            text, sizeof(text),
            "cluster_state:ok\r\ncluster_slots_assigned:%lld\r\ncluster_known_nodes:%lld\r\n",
            (long long)site.host.slots, (long long)site.host.nodes);
        reply_set_text(list, reply, REPLY_STRING, text, strlen(text));
    }
}

static void answer_redis(struct instance *x,
                         const struct agent_effect *effect,
                         struct agent_effects *fx)
{
    struct reply_list list = {0};
    struct err err = {0};
    bool is_up = (site.host.pid != 0 || site.host.is_foreign) && site.host.answers_after-- <= 0;
    if (is_up) {
        for (int i = 0; i < effect->commands.count; i++) {
            add_answer(&list, &effect->commands, i);
        }
    } else {
        (void)err_set(&err, ERR_UNAVAILABLE, "connection refused");
    }
    struct agent_event event = {.kind = AGENT_REDIS,
                                .now_ms = site.now_ms,
                                .req_id = effect->req_id,
                                .code = err.code,
                                .err = &err,
                                .replies = &list};
    instance_step(x, &event, fx);
    replies_release(&list);
}

static void answer_first(struct instance *x)
{
    struct agent_effects more = {0};
    struct agent_effect effect = site.pending.items[0];
    site.pending.count--;
    memmove(site.pending.items, site.pending.items + 1,
            (size_t)site.pending.count * sizeof(effect));
    site.now_ms++;
    if (effect.kind == AGENT_FX_HOST) {
        site_answer_host(x, &effect, &site.pending);
    } else if (effect.kind == AGENT_FX_REDIS) {
        answer_redis(x, &effect, &site.pending);
    } else {
        assert_int_equal(effect.kind, AGENT_FX_LOG);
        (void)snprintf(site.log_names + strlen(site.log_names),
                       sizeof(site.log_names) - strlen(site.log_names), "%s ", effect.log.name);
    }
    more.items = xmemdup(&effect, sizeof(effect));
    more.count = more.capacity = 1;
    agent_effects_release(&more);
}

/* Runs until it is over or 'steps' answers were given; -1 = to the end. */
void site_run(struct instance *x, int steps)
{
    for (int i = 0; i != steps && (!instance_is_over(x) || site.pending.count > 0); i++) {
        assert_true(i < 5000);
        if (site.pending.count == 0) {
            int64_t due_ms = instance_deadline(x);
            assert_true(due_ms < NEVER);
            site.now_ms = due_ms > site.now_ms ? due_ms : site.now_ms;
            struct agent_event tick = {.kind = AGENT_TICK, .now_ms = site.now_ms};
            instance_step(x, &tick, &site.pending);
        }
        if (site.pending.count > 0) {
            answer_first(x);
        }
    }
}

void site_crash(struct instance *x)
{
    agent_effects_clear(&site.pending);
    instance_free(x);
}

struct order_status site_finish(const struct order *order)
{
    struct order_status status;
    struct instance *x = instance_new(order, &site.settings, &site.turn, 9, site.now_ms);
    site_run(x, -1);
    instance_status(x, &status);
    instance_free(x);
    return status;
}

void site_expect(const struct order *order, enum order_state state, int code, const char *part)
{
    struct order_status status = site_finish(order);
    if (status.state != state || status.reason_code != code ||
        strstr(status.reason, part) == NULL) {
        fail_msg("%s, code %d: %s", order_state_name(status.state), status.reason_code,
                 status.reason);
    }
}

void site_put_server(void)
{
    site.host.has_folder = true;
    site.host.pid = 70;
}
