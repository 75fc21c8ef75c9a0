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
        cmocka_unit_test(test_text),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
