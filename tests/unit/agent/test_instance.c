/* test_instance.c — TASK_START and TASK_STOP against a host and a server in memory: every refusal,
 * every failure, a crash of the agent after every step. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "agent/core/instance.h"
#include "common/base/alloc.h"
#include "common/model/removal_proof.h"

#define GIB (INT64_C(1024) * 1024 * 1024)
#define NODE "0123456789abcdef0123456789abcdef01234567"

/* The host: one folder, one process. */
static struct {
    bool has_folder;
    bool has_aside;
    int64_t pid;     /* of the folder's server */
    bool is_foreign; /* a stranger listens at the port, as process 999 */
    int dying_looks; /* so many looks find the port of a process that is no more */
    bool has_systemd;
    int64_t promised_bytes;
    bool launch_fails;
    bool dies_at_once;
    bool is_deaf;      /* SIGTERM does nothing */
    int answers_after; /* that many PINGs fail first */
    const char *error; /* answered instead of anything else */
    int64_t keys;
    int64_t slots;
    int64_t nodes;
    char conf[4096];
    int launches;
    int units;
    int terms;
    int kills;
    int calls;
} host;

static struct instance_settings settings;
static int64_t now_ms;
static char log_names[512];

static void reset(void)
{
    memset(&host, 0, sizeof(host));
    host.nodes = 1;
    now_ms = 1000;
    log_names[0] = '\0';
    settings = (struct instance_settings){
        .folder = "/srv/drover",
        .agent = "a1",
        .port_first = 7000,
        .port_last = 7009,
        .memory_bytes = 8 * GIB,
    };
}

static struct order make_order(enum task_kind kind, const char *detail)
{
    struct order order = {.id = {.operation_id = "op-7-1", .batch_index = 2, .attempt = 1},
                          .fence = 7,
                          .kind = ORDER_TASK};
    order.task.kind = kind;
    order.task.node_address = (struct address){.host = "10.0.0.4", .port = 7001};
    (void)snprintf(order.task.detail, sizeof(order.task.detail), "%s", detail);
    return order;
}

static struct order start_order(void)
{
    return make_order(TASK_START, "agent a1\nmaxmemory 1073741824\nextra maxclients 500\n");
}

static struct order stop_order(bool is_dead)
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
    removal_proof_format(&proof, settings.certificate_key, &text);
    struct order order = make_order(TASK_STOP, strbuf_text(&text));
    strbuf_release(&text);
    return order;
}

static void launch(const struct host_call *call, struct err *err)
{
    if (host.launch_fails) {
        (void)err_set(err, ERR_NOT_FOUND, "there is no program redis-server here");
        return;
    }
    if (host.pid == 0) {
        host.launches++;
        host.units += call->is_unit;
        host.pid = host.dies_at_once ? 0 : 100 + host.launches;
    }
}

static void carry_out(const struct host_call *call, struct err *err)
{
    switch (call->verb) {
    case HOST_LOOK:
        break;
    case HOST_WRITE:
        host.has_folder = true;
        (void)snprintf(host.conf, sizeof(host.conf), "%s", strbuf_text(&call->text));
        break;
    case HOST_LAUNCH:
        assert_true(host.has_folder);
        launch(call, err);
        break;
    case HOST_SIGNAL:
        host.terms += !call->is_kill;
        host.kills += call->is_kill;
        if (!host.is_deaf || call->is_kill) {
            host.pid = 0;
        }
        break;
    case HOST_RETIRE:
        assert_int_equal(host.pid, 0);
        assert_string_equal(call->aside, "7001.op-7-1.2.1");
        host.has_aside = host.has_aside || host.has_folder;
        host.has_folder = false;
        break;
    case HOST_OUTSIDE_START:
    case HOST_OUTSIDE_CANCEL:
        fail_msg("a call outside");
    }
}

static void answer_host(struct instance *x,
                        const struct agent_effect *effect,
                        struct agent_effects *fx)
{
    struct err err = {0};
    carry_out(&effect->host, &err);
    host.calls++;
    struct host_facts facts = {
        .has_folder = host.has_folder,
        .has_aside = host.has_aside,
        .pid = host.pid,
        .is_port_taken = host.pid != 0 || host.is_foreign || host.dying_looks-- > 0,
        .has_systemd = host.has_systemd,
        .memory_promised_bytes = host.promised_bytes,
    };
    (void)snprintf(facts.last_words, sizeof(facts.last_words), "no bind: in use");
    struct agent_event event = {.kind = AGENT_HOST,
                                .now_ms = now_ms,
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
    if (host.error != NULL) {
        reply_set_text(list, reply, REPLY_ERROR, host.error, strlen(host.error));
    } else if (commands_arg_is(commands, index, 0, "PING")) {
        reply_set_text(list, reply, REPLY_STATUS, "PONG", 4);
    } else if (commands_arg_is(commands, index, 0, "DBSIZE")) {
        *reply = (struct reply){.type = REPLY_INTEGER, .integer = host.keys, .text = ""};
    } else if (commands_arg_is(commands, index, 0, "INFO")) {
        (void)snprintf(text, sizeof(text), "redis_version:7.0.15\r\nprocess_id:%lld\r\n",
                       host.is_foreign ? 999LL : (long long)host.pid);
        reply_set_text(list, reply, REPLY_STRING, text, strlen(text));
    } else {
        (void)snprintf(
            text, sizeof(text),
            "cluster_state:ok\r\ncluster_slots_assigned:%lld\r\ncluster_known_nodes:%lld\r\n",
            (long long)host.slots, (long long)host.nodes);
        reply_set_text(list, reply, REPLY_STRING, text, strlen(text));
    }
}

static void answer_redis(struct instance *x,
                         const struct agent_effect *effect,
                         struct agent_effects *fx)
{
    struct reply_list list = {0};
    struct err err = {0};
    bool is_up = (host.pid != 0 || host.is_foreign) && host.answers_after-- <= 0;
    if (is_up) {
        for (int i = 0; i < effect->commands.count; i++) {
            add_answer(&list, &effect->commands, i);
        }
    } else {
        (void)err_set(&err, ERR_UNAVAILABLE, "connection refused");
    }
    struct agent_event event = {.kind = AGENT_REDIS,
                                .now_ms = now_ms,
                                .req_id = effect->req_id,
                                .code = err.code,
                                .err = &err,
                                .replies = &list};
    instance_step(x, &event, fx);
    replies_release(&list);
}

static struct agent_effects pending; /* what the machine waits for */

static void answer_first(struct instance *x)
{
    struct agent_effects more = {0};
    struct agent_effect effect = pending.items[0];
    pending.count--;
    memmove(pending.items, pending.items + 1, (size_t)pending.count * sizeof(effect));
    now_ms++;
    if (effect.kind == AGENT_FX_HOST) {
        answer_host(x, &effect, &pending);
    } else if (effect.kind == AGENT_FX_REDIS) {
        answer_redis(x, &effect, &pending);
    } else {
        assert_int_equal(effect.kind, AGENT_FX_LOG);
        (void)snprintf(log_names + strlen(log_names), sizeof(log_names) - strlen(log_names), "%s ",
                       effect.log.name);
    }
    more.items = xmemdup(&effect, sizeof(effect));
    more.count = more.capacity = 1;
    agent_effects_release(&more);
}

/* Runs until it is over or 'steps' answers were given; -1 = to the end. */
static void run(struct instance *x, int steps)
{
    for (int i = 0; i != steps && (!instance_is_over(x) || pending.count > 0); i++) {
        assert_true(i < 5000);
        if (pending.count == 0) {
            int64_t due_ms = instance_deadline(x);
            assert_true(due_ms < NEVER);
            now_ms = due_ms > now_ms ? due_ms : now_ms;
            struct agent_event tick = {.kind = AGENT_TICK, .now_ms = now_ms};
            instance_step(x, &tick, &pending);
        }
        if (pending.count > 0) {
            answer_first(x);
        }
    }
}

static void crash(struct instance *x)
{
    agent_effects_clear(&pending);
    instance_free(x);
}

static struct order_status finish(const struct order *order)
{
    struct order_status status;
    struct instance *x = instance_new(order, &settings, 9, now_ms);
    run(x, -1);
    instance_status(x, &status);
    instance_free(x);
    return status;
}

static void expect(const struct order *order, enum order_state state, int code, const char *part)
{
    struct order_status status = finish(order);
    if (status.state != state || status.reason_code != code ||
        strstr(status.reason, part) == NULL) {
        fail_msg("%s, code %d: %s", order_state_name(status.state), status.reason_code,
                 status.reason);
    }
}

/* ---- START ---- */

static void starts(void **state)
{
    (void)state;
    reset();
    host.answers_after = 5;
    struct order order = start_order();
    expect(&order, ORDER_DONE, 0, "answers");
    assert_int_equal(host.launches, 1);
    assert_int_equal(host.units, 0);
    assert_non_null(strstr(host.conf, "cluster-announce-ip 10.0.0.4\n"));
    assert_non_null(strstr(host.conf, "dir \"/srv/drover/7001\"\n"));
    assert_non_null(strstr(host.conf, "maxmemory 1073741824\n"));
    assert_non_null(strstr(host.conf, "maxclients 500\n"));
    assert_string_equal(log_names, "instance.started ");
    /* Again: nothing is started twice, and a conf in use is not touched. */
    host.conf[0] = '\0';
    expect(&order, ORDER_DONE, 0, "answers");
    assert_int_equal(host.launches, 1);
    assert_string_equal(host.conf, "");
}

static void systemd_where_it_runs(void **state)
{
    (void)state;
    struct order order;
    reset();
    host.has_systemd = true;
    order = start_order();
    expect(&order, ORDER_DONE, 0, "");
    assert_int_equal(host.units, 1);
    reset();
    host.has_systemd = true;
    settings.supervisor = SUPERVISOR_NONE;
    expect(&order, ORDER_DONE, 0, "");
    assert_int_equal(host.units, 0);
    reset();
    settings.supervisor = SUPERVISOR_SYSTEMD;
    expect(&order, ORDER_DONE, 0, "");
    assert_int_equal(host.units, 1);
}

/* A crash of the agent after any number of steps, then the same task again: one server, running. */
static void start_survives_crashes(void **state)
{
    (void)state;
    for (int steps = 0; steps < 12; steps++) {
        reset();
        host.answers_after = 2;
        struct order order = start_order();
        struct instance *x = instance_new(&order, &settings, 9, now_ms);
        run(x, steps);
        crash(x);
        expect(&order, ORDER_DONE, 0, "answers");
        assert_int_equal(host.launches, 1);
        assert_true(host.has_folder);
    }
}

/* Somebody else's process at the port is never touched. */
static void refuses_strangers(void **state)
{
    (void)state;
    reset();
    host.is_foreign = true;
    struct order order = start_order();
    expect(&order, ORDER_FAILED, ERR_EXISTS, "port 7001");
    assert_int_equal(host.launches + host.terms + host.kills, 0);
    assert_false(host.has_folder);
    /* Our process runs, and yet another one answers at its address. */
    reset();
    host.pid = 50;
    host.has_folder = true;
    host.is_foreign = true;
    expect(&order, ORDER_FAILED, ERR_CONFLICT, "process 999");
    assert_int_equal(host.terms + host.kills, 0);
    assert_int_equal(host.pid, 50);
}

/* A server of ours that was just killed keeps its port for a moment; a stranger keeps it for good.
 */
static void waits_for_its_own_port(void **state)
{
    (void)state;
    reset();
    host.has_folder = true;
    host.dying_looks = 4;
    struct order order = start_order();
    expect(&order, ORDER_DONE, 0, "answers");
    assert_int_equal(host.launches, 1);
    reset();
    host.has_folder = true;
    host.dying_looks = 1000;
    expect(&order, ORDER_FAILED, ERR_EXISTS, "port 7001");
    assert_int_equal(host.launches, 0);
}

/* What was made is taken back, and why is told. */
static void undoes(void **state)
{
    (void)state;
    struct order order = (reset(), start_order());
    host.dies_at_once = true;
    expect(&order, ORDER_FAILED, ERR_UNAVAILABLE, "no bind: in use");
    assert_true(host.has_aside);
    assert_false(host.has_folder);
    reset();
    host.launch_fails = true;
    expect(&order, ORDER_FAILED, ERR_NOT_FOUND, "no program");
    assert_false(host.has_folder);
    reset();
    host.answers_after = 100000;
    expect(&order, ORDER_FAILED, ERR_TIMEOUT, "connection refused");
    assert_int_equal(host.pid, 0);
    assert_int_equal(host.terms, 1);
    assert_false(host.has_folder);
    reset();
    host.error = "WRONGPASS invalid username-password pair";
    expect(&order, ORDER_FAILED, ERR_AUTH, "WRONGPASS");
    assert_false(host.has_folder);
    assert_non_null(strstr(log_names, "instance.undone"));
}

/* Found running, and gone at the next look: it is started. */
static void starts_what_just_ended(void **state)
{
    (void)state;
    reset();
    host.has_folder = true;
    host.pid = 50;
    struct order order = start_order();
    struct instance *x = instance_new(&order, &settings, 9, now_ms);
    run(x, 1);
    host.pid = 0;
    run(x, -1);
    struct order_status status;
    instance_status(x, &status);
    assert_int_equal(status.state, ORDER_DONE);
    assert_int_equal(host.launches, 1);
    instance_free(x);
}

/* A folder that was there before may hold a node's data: it is never put aside by a start. */
static void keeps_what_was_there(void **state)
{
    (void)state;
    reset();
    host.has_folder = true;
    host.answers_after = 100000;
    struct order order = start_order();
    expect(&order, ORDER_FAILED, ERR_TIMEOUT, "");
    assert_true(host.has_folder);
    assert_int_equal(host.terms, 0);
}

/* A server that loads its data is waited for, however long. */
static void waits_for_loading(void **state)
{
    (void)state;
    reset();
    host.has_folder = true;
    host.error = "LOADING Redis is loading the dataset in memory";
    struct order order = start_order();
    struct instance *x = instance_new(&order, &settings, 9, now_ms);
    run(x, 1000);
    assert_false(instance_is_over(x));
    assert_true(now_ms > 60000);
    host.error = NULL;
    run(x, -1);
    struct order_status status;
    instance_status(x, &status);
    assert_int_equal(status.state, ORDER_DONE);
    instance_free(x);
}

static void keeps_the_offer(void **state)
{
    (void)state;
    reset();
    struct order order = start_order();
    order.task.node_address.port = 7010;
    expect(&order, ORDER_FAILED, ERR_REFUSED, "7000 to 7009");
    order = start_order();
    (void)snprintf(settings.host, sizeof(settings.host), "10.0.0.5");
    expect(&order, ORDER_FAILED, ERR_REFUSED, "10.0.0.5");
    reset();
    host.promised_bytes = 8 * GIB - 1024;
    expect(&order, ORDER_FAILED, ERR_LIMIT, "does not fit");
    reset();
    host.promised_bytes = 7 * GIB;
    expect(&order, ORDER_DONE, 0, "");
    reset();
    settings.memory_bytes = GIB - 1;
    expect(&order, ORDER_FAILED, ERR_REFUSED, "offered");
    reset();
    settings.folder[0] = '\0';
    expect(&order, ORDER_FAILED, ERR_REFUSED, "starts and stops no servers");
    assert_int_equal(host.calls, 0);
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
        reset();
        struct order order = make_order(TASK_START, cases[i].detail);
        expect(&order, ORDER_FAILED, cases[i].code, cases[i].part);
        assert_int_equal(host.calls, 0);
    }
    reset();
    struct order order = make_order(TASK_START,
                                    "agent a1\nflavor valkey\nmaxmemory 1073741824\n"
                                    "node-timeout 2000\nmigration-barrier 0\n"
                                    "appendonly no\nbus-port 27001\n");
    expect(&order, ORDER_DONE, 0, "");
    assert_non_null(strstr(host.conf, "cluster-node-timeout 2000\n"));
    assert_non_null(strstr(host.conf, "cluster-migration-barrier 0\n"));
    assert_non_null(strstr(host.conf, "appendonly no\n"));
    assert_non_null(strstr(host.conf, "cluster-announce-bus-port 27001\n"));
}

/* ---- STOP ---- */

static void put_server(void)
{
    host.has_folder = true;
    host.pid = 70;
}

static void stops(void **state)
{
    (void)state;
    reset();
    put_server();
    struct order order = stop_order(false);
    expect(&order, ORDER_DONE, 0, "put aside");
    assert_int_equal(host.terms, 1);
    assert_int_equal(host.kills, 0);
    assert_true(host.has_aside);
    assert_string_equal(log_names, "instance.stopped ");
    expect(&order, ORDER_DONE, 0, "put aside"); /* again */
    assert_int_equal(host.terms, 1);
    reset();
    expect(&order, ORDER_DONE, 0, "no server of drover's is there");
}

static void stop_survives_crashes(void **state)
{
    (void)state;
    for (int steps = 0; steps < 8; steps++) {
        reset();
        put_server();
        struct order order = stop_order(false);
        struct instance *x = instance_new(&order, &settings, 9, now_ms);
        run(x, steps);
        crash(x);
        expect(&order, ORDER_DONE, 0, "put aside");
        assert_int_equal(host.pid, 0);
        assert_true(host.has_aside);
    }
}

/* Whatever the certificate says: a node that holds or knows anything runs on. */
static void stop_asks_the_node(void **state)
{
    (void)state;
    for (int i = 0; i < 3; i++) {
        reset();
        put_server();
        host.keys = i == 0 ? 1 : 0;
        host.slots = i == 1 ? 16384 : 0;
        host.nodes = i == 2 ? 2 : 1;
        struct order order = stop_order(false);
        expect(&order, ORDER_FAILED, ERR_REFUSED, "refused: the server holds");
        assert_int_equal(host.pid, 70);
        assert_int_equal(host.terms + host.kills, 0);
    }
    reset();
    put_server();
    host.answers_after = 100000;
    struct order order = stop_order(false);
    expect(&order, ORDER_FAILED, ERR_TIMEOUT, "connection refused");
    assert_int_equal(host.pid, 70);
}

static void stop_needs_the_certificate(void **state)
{
    (void)state;
    reset();
    put_server();
    struct order order = make_order(TASK_STOP, "agent a1\nplease\n");
    expect(&order, ORDER_FAILED, ERR_INVALID, "no removal certificate");
    order = make_order(TASK_STOP, "agent a1");
    expect(&order, ORDER_FAILED, ERR_INVALID, "agent");
    order = stop_order(false);
    (void)snprintf(settings.certificate_key, sizeof(settings.certificate_key), "key");
    expect(&order, ORDER_FAILED, ERR_AUTH, "not signed");
    order = stop_order(false);
    order.task.node_address.port = 7002;
    expect(&order, ORDER_FAILED, ERR_REFUSED, "10.0.0.4:7001");
    order = stop_order(false);
    (void)snprintf(settings.agent, sizeof(settings.agent), "a2");
    expect(&order, ORDER_FAILED, ERR_REFUSED, "a2");
    assert_int_equal(host.pid, 70);
    assert_int_equal(host.calls, 0);
}

/* A dead node cannot speak for itself, so its certificate must be signed. */
static void stop_of_the_dead(void **state)
{
    (void)state;
    reset();
    put_server();
    host.answers_after = 100000;
    struct order order = stop_order(true);
    expect(&order, ORDER_FAILED, ERR_REFUSED, "must be signed");
    (void)snprintf(settings.certificate_key, sizeof(settings.certificate_key), "key");
    host.answers_after = 0;
    host.keys = 3; /* it was only out of sight */
    order = stop_order(true);
    expect(&order, ORDER_FAILED, ERR_REFUSED, "holds 3 keys");
    host.answers_after = 100000;
    expect(&order, ORDER_DONE, 0, "put aside");
    assert_int_equal(host.pid, 0);
}

static void kills_the_deaf(void **state)
{
    (void)state;
    reset();
    put_server();
    host.is_deaf = true;
    struct order order = stop_order(false);
    expect(&order, ORDER_DONE, 0, "put aside");
    assert_int_equal(host.terms, 1);
    assert_int_equal(host.kills, 1);
}

/* Asked to end: what is on its way is waited for, nothing follows. */
static void ends_when_told(void **state)
{
    (void)state;
    reset();
    struct order order = start_order();
    struct agent_effects fx = {0};
    struct order_status status;
    struct instance *x = instance_new(&order, &settings, 9, now_ms);
    struct agent_event tick = {.kind = AGENT_TICK, .now_ms = now_ms};
    instance_step(x, &tick, &fx);
    assert_int_equal(fx.count, 1);
    instance_end(x, ERR_FENCED, "another leader took over");
    assert_false(instance_is_over(x));
    struct agent_effects more = {0};
    answer_host(x, &fx.items[0], &more);
    assert_int_equal(more.count, 0);
    instance_status(x, &status);
    assert_int_equal(status.state, ORDER_EXPIRED);
    assert_int_equal(status.reason_code, ERR_FENCED);
    instance_free(x);
    agent_effects_release(&fx);
    agent_effects_release(&more);
    x = instance_new(&order, &settings, 9, now_ms);
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
        cmocka_unit_test(keeps_what_was_there),
        cmocka_unit_test(waits_for_loading),
        cmocka_unit_test(keeps_the_offer),
        cmocka_unit_test(reads_its_detail),
        cmocka_unit_test(stops),
        cmocka_unit_test(stop_survives_crashes),
        cmocka_unit_test(stop_asks_the_node),
        cmocka_unit_test(stop_needs_the_certificate),
        cmocka_unit_test(stop_of_the_dead),
        cmocka_unit_test(kills_the_deaf),
        cmocka_unit_test(ends_when_told),
    };
    int failures = cmocka_run_group_tests(tests, NULL, NULL);
    agent_effects_release(&pending);
    return failures;
}
