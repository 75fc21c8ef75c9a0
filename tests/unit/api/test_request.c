/* test_request.c — bodies of POST plans and operations: taken strictly, refused by name. */
#include "common/base/alloc.h"
#include "coordinator/shell/api_internal.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct topology topology;
static struct coordinator_command command;
static struct err err;

/* Three primaries: aaaa... at a:1, bbbb... at b:2, bbbc... at b:3. */
static int setup(void **state)
{
    (void)state;
    topology_init(&topology);
    topology.node_count = 3;
    topology.nodes = xcalloc(3, sizeof(*topology.nodes));
    for (int i = 0; i < 3; i++) {
        struct topology_node *node = &topology.nodes[i];
        memset(node->id.text, i == 0 ? 'a' : 'b', NODE_ID_LEN);
        node->address.host[0] = i == 0 ? 'a' : 'b';
        node->address.port = (uint16_t)(i + 1);
        node->role = NODE_ROLE_PRIMARY;
        node->is_member = true;
        node->primary = NO_NODE;
    }
    topology.nodes[2].id.text[10] = 'c';
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    operation_request_release(&command.request);
    topology_release(&topology);
    return 0;
}

static int read_body(enum coordinator_command_kind kind, const char *text)
{
    json_t *body = json_loads(text, JSON_REJECT_DUPLICATES, NULL);
    assert_non_null(body);
    operation_request_release(&command.request);
    command = (struct coordinator_command){.kind = kind};
    err = (struct err){0};
    int code = api_read_command(&topology, body, &command, &err);
    json_decref(body);
    return code;
}

static void refused(const char *text, int code, const char *part)
{
    assert_int_equal(read_body(COMMAND_PLAN, text), code);
    if (strstr(err.text, part) == NULL && strstr(err.hint, part) == NULL) {
        fail_msg("\"%s\" is neither in \"%s\" nor in \"%s\"", part, err.text, err.hint);
    }
}

static void test_taken(void **state)
{
    (void)state;
    assert_int_equal(read_body(COMMAND_PLAN, "{\"kind\": \"rebalance\"}"), 0);
    assert_int_equal(command.request.kind, OPERATION_REBALANCE);
    assert_true(command.request.threshold_percent >
                0); /* the default, not "nothing is close enough" */
    assert_int_equal(
        read_body(COMMAND_PLAN,
                  "{\"kind\": \"rebalance\", \"threshold_percent\": 0, \"scan\": true, "
                  "\"weights\": {\"a:1\": 2, \"bbbbbbbbbbc\": 0.5}}"),
        0);
    assert_true(command.with_scan);
    assert_true(command.request.threshold_percent <= 0);
    assert_int_equal(command.request.weight_count, 2);
    assert_string_equal(command.request.weights[1].node.text, topology.nodes[2].id.text);
    assert_int_equal(
        read_body(COMMAND_START,
                  "{\"kind\": \"reshard\", \"target\": \"a:1\", \"sources\": [\"b:2\"], "
                  "\"slot_count\": 16384, "
                  "\"speed\": \"fast\", \"parallel_moves_max\": 3, \"needs_approval\": true, "
                  "\"requested_by\": \"ann\", \"topology_digest\": \"00000000deadbeef\"}"),
        0);
    assert_string_equal(command.request.target.text, topology.nodes[0].id.text);
    assert_int_equal(command.request.source_count, 1);
    assert_int_equal(command.request.slot_count, 16384);
    assert_int_equal(command.request.speed, MOVE_SPEED_FAST);
    assert_int_equal(command.request.parallel_moves_max, 3);
    assert_true(command.request.needs_approval);
    assert_string_equal(command.request.requested_by, "ann");
    assert_true(command.topology_digest == 0xdeadbeef);
    assert_int_equal(
        read_body(COMMAND_PLAN,
                  "{\"kind\": \"reshard\", \"target\": \"a:1\", \"slots\": \"5-9,11\"}"),
        0);
    assert_int_equal(command.request.slot_count, 6);
    assert_true(slotset_has(&command.request.slots, 11));
    assert_int_equal(command.request.flags, 0);
    static const char *const replacing[] = {
        "{\"kind\": \"rebalance\", \"replace\": true}",
        "{\"kind\": \"reshard\", \"target\": \"a:1\", \"slots\": \"5\", \"replace\": true}",
        "{\"kind\": \"drain\", \"node\": \"b:3\", \"replace\": true}"};
    for (size_t i = 0; i < sizeof(replacing) / sizeof(replacing[0]); i++) {
        assert_int_equal(read_body(COMMAND_START, replacing[i]), 0);
        assert_int_equal(command.request.flags, REQUEST_REPLACE);
    }
    assert_int_equal(read_body(COMMAND_PLAN, "{\"kind\": \"drain\", \"node\": \"b:3\"}"), 0);
    assert_string_equal(command.request.node.text, topology.nodes[2].id.text);
}

static void test_refused(void **state)
{
    (void)state;
    refused("{}", ERR_INVALID, "\"kind\" is missing");
    refused("{\"kind\": \"shuffle\"}", ERR_INVALID, "shuffle");
    refused("{\"kind\": \"rebalance\", \"wieghts\": {}}", ERR_INVALID, "\"wieghts\"");
    refused("{\"kind\": \"rebalance\", \"node\": \"a:1\"}", ERR_INVALID, "\"node\"");
    refused("{\"kind\": \"rebalance\", \"threshold_percent\": 101}", ERR_INVALID, "0 to 100");
    refused("{\"kind\": \"rebalance\", \"threshold_percent\": \"1\"}", ERR_INVALID, "a number");
    refused("{\"kind\": \"rebalance\", \"speed\": \"ludicrous\"}", ERR_INVALID, "ludicrous");
    refused("{\"kind\": \"rebalance\", \"weights\": [1]}", ERR_INVALID, "weights");
    refused("{\"kind\": \"rebalance\", \"replace\": \"yes\"}", ERR_INVALID, "true or false");
    refused("{\"kind\": \"rebalance\", \"weights\": {\"a:1\": -1}}", ERR_INVALID, "weights");
    refused("{\"kind\": \"rebalance\", \"weights\": {\"a:1\": 1, \"aaaa\": 1}}", ERR_INVALID,
            "two weights");
    refused("{\"kind\": \"rebalance\", \"weights\": {\"x:9\": 1}}", ERR_NOT_FOUND, "x:9");
    refused("{\"kind\": \"rebalance\", \"topology_digest\": \"0xdeadbeef\"}", ERR_INVALID,
            "16 hex digits");
    refused("{\"kind\": \"rebalance\", \"topology_digest\": \"00000000DEADBEEF\"}", ERR_INVALID,
            "16 hex digits");
    refused("{\"kind\": \"reshard\", \"target\": \"a:1\"}", ERR_INVALID, "slot_count");
    refused("{\"kind\": \"reshard\", \"target\": \"a:1\", \"slot_count\": 16385}", ERR_INVALID,
            "16384");
    refused("{\"kind\": \"reshard\", \"target\": \"a:1\", \"slot_count\": 1.5}", ERR_INVALID,
            "whole number");
    refused("{\"kind\": \"reshard\", \"target\": \"a:1\", \"slots\": \"5-10,8-12\"}", ERR_INVALID,
            "overlaps");
    refused("{\"kind\": \"reshard\", \"target\": \"a:1\", \"slots\": \"\"}", ERR_INVALID,
            "no slot");
    refused("{\"kind\": \"reshard\", \"slot_count\": 1}", ERR_INVALID, "\"target\" is missing");
    refused("{\"kind\": \"reshard\", \"slot_count\": 1, \"target\": \"a:1\", \"sources\": \"b:2\"}",
            ERR_INVALID, "sources");
    refused("{\"kind\": \"reshard\", \"slot_count\": 1, \"target\": \"a:1\", \"sources\": [7]}",
            ERR_INVALID, "sources");
    refused("{\"kind\": \"drain\", \"node\": 7}", ERR_INVALID, "a text");
    refused("{\"kind\": \"drain\", \"node\": \"bbbb\"}", ERR_INVALID,
            "bbbb"); /* two nodes begin so */
    refused("{\"kind\": \"drain\", \"node\": \"ffffffff\"}", ERR_NOT_FOUND, "ffffffff");
    refused(
        "{\"kind\": \"drain\", \"node\": \"a:1\", \"requested_by\": "
        "\"0123456789012345678901234567890123456789"
        "0123456789012345678901234\"}",
        ERR_INVALID, "requested_by");
    assert_int_equal(read_body(COMMAND_START, "{\"kind\": \"rebalance\", \"scan\": true}"),
                     ERR_INVALID);
}

/* What a request says is echoed under the names it came by, so that it can be sent again. */
static void echoed(const char *text)
{
    json_t *body = json_loads(text, 0, NULL);
    const char *key = NULL;
    json_t *value = NULL;
    assert_int_equal(read_body(COMMAND_PLAN, text), 0);
    json_t *echo = api_request_json(&command.request, &topology);
    json_object_foreach(body, key, value)
    {
        if (!json_equal(value, json_object_get(echo, key))) {
            char *got = json_dumps(echo, 0);
            fail_msg("field %s of %s came back in %s", key, text, got);
        }
    }
    json_decref(echo);
    json_decref(body);
}

#define A "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define B "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
#define GONE "0123456789012345678901234567890123456789"

static void test_lifecycle_taken(void **state)
{
    (void)state;
    assert_int_equal(read_body(COMMAND_START,
                               "{\"kind\": \"create\", \"addresses\": [\"10.0.0.1:7000\", "
                               "\"[fd00::2]:7001\"], \"replicas\": 1}"),
                     0);
    assert_int_equal(command.request.kind, OPERATION_CREATE);
    assert_int_equal(command.request.address_count, 2);
    assert_string_equal(command.request.addresses[1].host, "fd00::2");
    assert_int_equal(command.request.addresses[1].port, 7001);
    assert_int_equal(command.request.replicas_wanted, 1);
    assert_int_equal(read_body(COMMAND_PLAN, "{\"kind\": \"create\", \"addresses\": [\"h:1\"]}"),
                     0);
    assert_int_equal(command.request.replicas_wanted, 0);
    assert_int_equal(read_body(COMMAND_PLAN,
                               "{\"kind\": \"add\", \"addresses\": [\"h:1\"], "
                               "\"target\": \"a:1\"}"),
                     0);
    /* To name a primary is to ask for a replica of it. */
    assert_int_equal(command.request.flags, REQUEST_AS_REPLICA);
    assert_string_equal(command.request.target.text, A);
    assert_int_equal(read_body(COMMAND_PLAN, "{\"kind\": \"scale\", \"primaries\": 5}"), 0);
    assert_int_equal(command.request.primaries_wanted, 5);
    assert_int_equal(command.request.replicas_wanted, -1);
    assert_int_equal(read_body(COMMAND_PLAN, "{\"kind\": \"scale\", \"replicas\": 0}"), 0);
    assert_int_equal(command.request.primaries_wanted, 0);
    assert_int_equal(command.request.replicas_wanted, 0);
    assert_int_equal(read_body(COMMAND_PLAN, "{\"kind\": \"repair\"}"), 0);
    assert_int_equal(command.request.flags, 0);
    /* What has left already can be removed again. */
    assert_int_equal(read_body(COMMAND_PLAN, "{\"kind\": \"remove\", \"node\": \"" GONE "\"}"), 0);
    assert_string_equal(command.request.node.text, GONE);
    echoed(
        "{\"kind\": \"create\", \"addresses\": [\"10.0.0.1:7000\", \"10.0.0.2:7000\"], "
        "\"replicas\": 1}");
    echoed("{\"kind\": \"add\", \"addresses\": [\"h:1\"], \"as_replica\": true, \"target\": \"" A
           "\"}");
    echoed("{\"kind\": \"add\", \"addresses\": [\"h:1\"], \"without_slots\": true}");
    echoed("{\"kind\": \"remove\", \"node\": \"" A "\", \"dead\": true, \"keep_running\": true}");
    echoed("{\"kind\": \"remove\", \"node\": \"" A "\", \"target\": \"" B "\"}");
    echoed("{\"kind\": \"scale\", \"primaries\": 5, \"replicas\": 0}");
    echoed("{\"kind\": \"failover\", \"node\": \"" A "\", \"force\": true}");
    echoed("{\"kind\": \"repair\", \"replace\": true, \"unreachable_ok\": true}");
}

static void test_lifecycle_refused(void **state)
{
    (void)state;
    refused("{\"kind\": \"create\"}", ERR_INVALID, "\"addresses\" is missing");
    refused("{\"kind\": \"create\", \"addresses\": \"h:1\"}", ERR_INVALID, "a list");
    refused("{\"kind\": \"create\", \"addresses\": []}", ERR_INVALID, "a list");
    refused("{\"kind\": \"create\", \"addresses\": [\"h\"]}", ERR_INVALID, "addresses");
    refused("{\"kind\": \"create\", \"addresses\": [7]}", ERR_INVALID, "a list");
    refused("{\"kind\": \"create\", \"addresses\": [\"h:1\", \"h:1\"]}", ERR_INVALID, "twice");
    refused("{\"kind\": \"create\", \"addresses\": [\"h:1\"], \"replicas\": 1}", ERR_INVALID,
            "at least 2");
    refused("{\"kind\": \"create\", \"addresses\": [\"h:1\"], \"replicas\": -1}", ERR_INVALID,
            "0 to");
    refused("{\"kind\": \"create\", \"addresses\": [\"h:1\"], \"dead\": true}", ERR_INVALID,
            "known are addresses, replicas");
    refused("{\"kind\": \"add\", \"addresses\": [\"h:1\"], \"target\": \"x:9\"}", ERR_NOT_FOUND,
            "x:9");
    refused(
        "{\"kind\": \"add\", \"addresses\": [\"h:1\"], \"target\": \"a:1\", \"as_replica\": "
        "false}",
        ERR_INVALID, "as_replica");
    refused(
        "{\"kind\": \"add\", \"addresses\": [\"h:1\"], \"as_replica\": true, "
        "\"without_slots\": true}",
        ERR_INVALID, "without_slots");
    refused("{\"kind\": \"add\", \"addresses\": [\"h:1\"], \"without_slots\": 1}", ERR_INVALID,
            "true or false");
    refused("{\"kind\": \"remove\"}", ERR_INVALID, "\"node\" is missing");
    refused("{\"kind\": \"remove\", \"node\": \"x:9\"}", ERR_NOT_FOUND, "x:9");
    refused("{\"kind\": \"remove\", \"node\": \"a:1\", \"target\": \"a:1\"}", ERR_INVALID,
            "from itself");
    refused("{\"kind\": \"remove\", \"node\": \"a:1\", \"target\": \"x:9\"}", ERR_NOT_FOUND, "x:9");
    refused("{\"kind\": \"remove\", \"node\": \"a:1\", \"target\": \"b:2\", \"dead\": true}",
            ERR_INVALID, "hands nothing over");
    refused("{\"kind\": \"scale\"}", ERR_INVALID, "primaries");
    refused("{\"kind\": \"scale\", \"primaries\": 0}", ERR_INVALID, "1 to");
    refused("{\"kind\": \"scale\", \"primaries\": 1001}", ERR_INVALID, "1000");
    refused("{\"kind\": \"replicate\", \"node\": \"a:1\"}", ERR_INVALID, "\"target\" is missing");
    refused("{\"kind\": \"replicate\", \"node\": \"a:1\", \"target\": \"aaaa\"}", ERR_INVALID,
            "itself");
    refused("{\"kind\": \"failover\"}", ERR_INVALID, "\"node\" is missing");
    refused("{\"kind\": \"repair\", \"node\": \"a:1\"}", ERR_INVALID, "\"node\"");
    refused("{\"kind\": \"shuffle\"}", ERR_INVALID, "failover, repair");
}

/* A task stands beside moves, in words and in fields. */
static void test_task(void **state)
{
    (void)state;
    struct task task = {
        .kind = TASK_JOIN, .node_address = {"10.0.0.4", 7000}, .peer_address = {"10.0.0.1", 7000}};
    struct task provision = {.kind = TASK_PROVISION, .detail = "agent a1\nrole replica\n"};
    struct batch batches[3] = {
        {.kind = BATCH_MOVE},
        {.index = 1, .kind = BATCH_TASK, .task = &task},
        {.index = 2, .kind = BATCH_TASK, .task = &provision, .made = {"10.0.0.9", 7000}}};
    struct plan plan = {.batches = batches, .batch_count = 3};
    json_t *out = api_plan_json(&plan, &topology);
    json_t *rows = json_object_get(out, "batches");
    json_t *row = json_array_get(rows, 1);
    json_t *told = json_object_get(row, "task");
    assert_string_equal(json_string_value(json_object_get(json_array_get(rows, 0), "kind")),
                        "move");
    assert_null(json_object_get(json_array_get(rows, 0), "task"));
    assert_string_equal(json_string_value(json_object_get(row, "kind")), "task");
    assert_string_equal(json_string_value(json_object_get(told, "kind")), "join");
    assert_string_equal(json_string_value(json_object_get(told, "text")),
                        "join 10.0.0.4:7000 to the cluster of 10.0.0.1:7000");
    assert_string_equal(json_string_value(json_object_get(told, "node_address")), "10.0.0.4:7000");
    assert_true(json_is_null(json_object_get(told, "node")));
    assert_true(json_is_null(json_object_get(told, "made")));
    /* Work outside the servers has no node, but may have made one. */
    told = json_object_get(json_array_get(rows, 2), "task");
    assert_string_equal(json_string_value(json_object_get(told, "kind")), "provision");
    assert_string_equal(json_string_value(json_object_get(told, "text")),
                        "have a server made for a replica");
    assert_true(json_is_null(json_object_get(told, "node_address")));
    assert_string_equal(json_string_value(json_object_get(told, "made")), "10.0.0.9:7000");
    /* There is no way back from a step that is no move. */
    assert_true(json_is_null(json_object_get(out, "inverse")));
    json_decref(out);
}

/* A plan that grows is told in lines; nothing to do is told as such. */
static void test_steps(void **state)
{
    (void)state;
    json_t *plan = json_pack("{s:[]}", "batches");
    api_set_steps(plan, "step 1: join a:1 to the cluster of b:2\nthen it is done: all that\n");
    assert_int_equal(json_array_size(json_object_get(plan, "steps")), 2);
    assert_string_equal(json_string_value(json_array_get(json_object_get(plan, "steps"), 1)),
                        "then it is done: all that");
    assert_true(json_is_false(json_object_get(plan, "is_fulfilled")));
    api_set_steps(plan, "nothing to do: it is a member\n");
    assert_true(json_is_true(json_object_get(plan, "is_fulfilled")));
    api_set_steps(plan, NULL);
    assert_int_equal(json_array_size(json_object_get(plan, "steps")), 0);
    assert_true(json_is_true(json_object_get(plan, "is_fulfilled")));
    json_decref(plan);
}

/* Texts of servers need not be UTF-8; the answer must be. */
static void test_text(void **state)
{
    (void)state;
    json_t *value = api_text(
        "a\xff"
        "b");
    assert_string_equal(json_string_value(value), "a?b");
    json_decref(value);
    value = api_text("M\xc3\xbcller");
    assert_string_equal(json_string_value(value), "M\xc3\xbcller");
    json_decref(value);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_taken),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_lifecycle_taken),
        cmocka_unit_test(test_lifecycle_refused),
        cmocka_unit_test(test_task),
        cmocka_unit_test(test_steps),
        cmocka_unit_test(test_text),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
