/* test_ids.c — ids, addresses and agent names from text and back. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "common/model/ids.h"

#define ID "07c37dfeb235213a872192d90877d0cd55635b91"

static void test_node_id(void **state)
{
    (void)state;
    struct node_id id = {0};
    struct err err = {0};
    assert_true(node_id_is_empty(&id));
    assert_int_equal(node_id_parse(&id, ID "junk", NODE_ID_LEN, &err), 0);
    assert_string_equal(id.text, ID);
    assert_true(node_id_is_valid(ID));
    assert_false(node_id_is_valid(ID "0"));
    assert_false(node_id_is_valid("07C37dfeb235213a872192d90877d0cd55635b91"));
    assert_false(node_id_is_valid(""));
    assert_int_equal(node_id_parse(&id, ID, 39, &err), ERR_INVALID);
    assert_int_equal(node_id_parse(&id, "g7c37dfeb235213a872192d90877d0cd55635b91", 40, &err),
                     ERR_INVALID);
    assert_non_null(strstr(err.text, "40 lower-case hex digits"));
    assert_string_equal(id.text, ID); /* untouched on failure */
    struct node_id other = {"17c37dfeb235213a872192d90877d0cd55635b91"};
    assert_true(node_id_compare(&id, &other) < 0);
    assert_false(node_id_is_equal(&id, &other));
}

static void test_address(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        const char *host;
        uint16_t port;
        const char *formatted;
    } good[] = {
        {"10.0.0.1:6379", "10.0.0.1", 6379, "10.0.0.1:6379"},
        {"node-1.example.org:1", "node-1.example.org", 1, "node-1.example.org:1"},
        {"[::1]:65535", "::1", 65535, "[::1]:65535"},
        {"2001:db8::1:7000", "2001:db8::1", 7000, "[2001:db8::1]:7000"},
    };
    static const char *const bad[] = {
        "",           "host",       ":6379",    "host:",   "host:0",
        "host:65536", "host:6379x", "a b:6379", "[]:6379", "[::1:6379",
        "host:-1",    "host:+1",    "host: 1",  "h\nst:1", "host:99999999999999999999"};
    struct err err = {0};
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        struct address address = {0};
        char text[ADDRESS_TEXT_SIZE];
        assert_int_equal(address_parse(&address, good[i].text, &err), 0);
        assert_string_equal(address.host, good[i].host);
        assert_int_equal(address.port, good[i].port);
        assert_string_equal(address_format(&address, text), good[i].formatted);
    }
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct address address = {.host = "kept", .port = 7};
        if (address_parse(&address, bad[i], &err) != ERR_INVALID) {
            fail_msg("\"%s\" is accepted", bad[i]);
        }
        assert_string_equal(address.host, "kept");
        assert_int_not_equal(err.hint[0] + err.text[0], 0);
    }
    char longest[HOST_SIZE + 8];
    struct address address;
    memset(longest, 'a', sizeof(longest));
    memcpy(longest + HOST_SIZE - 1, ":1", 3);
    assert_int_equal(address_parse(&address, longest, &err), 0);
    memcpy(longest + HOST_SIZE - 1, "a:1", 4);
    assert_int_equal(address_parse(&address, longest, &err), ERR_INVALID);
    struct address a = {.host = "a", .port = 2};
    struct address b = {.host = "a", .port = 10};
    assert_true(address_compare(&a, &b) < 0);
    assert_true(address_compare(&b, &a) > 0);
    assert_false(address_is_equal(&a, &b));
    assert_true(address_is_equal(&a, &a));
}

static void test_agent_id(void **state)
{
    (void)state;
    char text[AGENT_ID_SIZE + 1];
    assert_true(agent_id_is_valid("host-1.example_x"));
    assert_false(agent_id_is_valid(""));
    assert_false(agent_id_is_valid("a/b"));
    assert_false(agent_id_is_valid("a b"));
    memset(text, 'x', sizeof(text));
    text[AGENT_ID_SIZE - 1] = '\0';
    assert_true(agent_id_is_valid(text));
    text[AGENT_ID_SIZE - 1] = 'x';
    text[AGENT_ID_SIZE] = '\0';
    assert_false(agent_id_is_valid(text));
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_node_id),
                                       cmocka_unit_test(test_address),
                                       cmocka_unit_test(test_agent_id)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
