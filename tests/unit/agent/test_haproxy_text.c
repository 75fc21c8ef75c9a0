/* test_haproxy_text.c — what HAProxy 2.6 says, read; the texts are its own, shortened. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <cmocka.h>

#include "agent/core/haproxy_text.h"

#include <stdio.h>

static const char state_text[] =
    "1\n"
    "# be_id be_name srv_id srv_name srv_addr srv_op_state srv_admin_state srv_uweight srv_iweight "
    "srv_time_since_last_change srv_check_status srv_check_result srv_check_health srv_check_state "
    "srv_agent_state bk_f_forced_id srv_f_forced_id srv_fqdn srv_port srvrecord\n"
    "3 nodes 1 s0 10.0.0.1 2 0 1 1 5 1 0 0 0 0 0 0 - 6379 - 0 0 - - 0\n"
    "3 nodes 2 s1 10.0.0.2 2 0 1 1 5 1 0 0 0 0 0 0 - 6379 - 0 0 - - 0\n"
    "4 readers 1 a 10.0.0.2 2 0 1 1 5 1 0 0 0 0 0 0 node2.example 6379 - 0 0 - - 0\n"
    "4 readers 2 b 10.0.0.2 2 0 1 1 5 1 0 0 0 0 0 0 - 6380 - 0 0 - - 0\n";

static int find(struct haproxy_servers *servers, const char *text, const char *host, uint16_t port)
{
    struct address address = {.port = port};
    struct err err;
    (void)snprintf(address.host, sizeof(address.host), "%s", host);
    return haproxy_find_servers(servers, text, strlen(text), &address, &err);
}

/* A node is found in every backend, by address and port or by name. */
static void test_find(void **state)
{
    (void)state;
    struct haproxy_servers servers;
    assert_int_equal(find(&servers, state_text, "10.0.0.2", 6379), 0);
    assert_int_equal(servers.count, 2);
    assert_string_equal(servers.items[0].backend, "nodes");
    assert_string_equal(servers.items[0].name, "s1");
    assert_string_equal(servers.items[1].backend, "readers");
    assert_string_equal(servers.items[1].name, "a");
    assert_int_equal(find(&servers, state_text, "node2.example", 6379), 0);
    assert_int_equal(servers.count, 1);
    assert_int_equal(find(&servers, state_text, "10.0.0.2", 6381), 0);
    assert_int_equal(servers.count, 0);
    assert_int_equal(find(&servers, state_text, "10.0.0", 6379), 0);
    assert_int_equal(servers.count, 0);
}

/* Only what is in drain is let in again: 8 is drain, 1 maintenance, 32 an address that DNS lost. */
static void test_keep_drained(void **state)
{
    (void)state;
    struct haproxy_servers servers;
    assert_int_equal(find(&servers,
                          "1\n# be_name srv_name srv_addr srv_admin_state srv_port\n"
                          "b0 s ::1 0 7000\nb1 s ::1 8 7000\nb2 s ::1 1 7000\nb3 s ::1 9 7000\n"
                          "b4 s ::1 40 7000\nb5 s ::1 32 7000\n",
                          "::1", 7000),
                     0);
    assert_int_equal(servers.count, 6);
    haproxy_keep_drained(&servers);
    assert_int_equal(servers.count, 2);
    assert_string_equal(servers.items[0].backend, "b1");
    assert_string_equal(servers.items[1].backend, "b4");
    /* An HAProxy that does not say is told in any case. */
    assert_int_equal(
        find(&servers, "1\n# be_name srv_name srv_addr srv_port\nb s ::1 7000\n", "::1", 7000), 0);
    haproxy_keep_drained(&servers);
    assert_int_equal(servers.count, 1);
}

/* Columns are found by name, wherever they stand. */
static void test_other_columns(void **state)
{
    (void)state;
    struct haproxy_servers servers;
    assert_int_equal(
        find(&servers, "2\n# srv_port srv_addr srv_name be_name\n7000 ::1 x y\n7000 ::2 x z\n",
             "::1", 7000),
        0);
    assert_int_equal(servers.count, 1);
    assert_string_equal(servers.items[0].backend, "y");
}

static void test_not_haproxy(void **state)
{
    (void)state;
    struct haproxy_servers servers;
    assert_int_equal(find(&servers, "", "10.0.0.2", 6379), ERR_PROTOCOL);
    assert_int_equal(find(&servers, "-ERR unknown command\r\n", "10.0.0.2", 6379), ERR_PROTOCOL);
    assert_int_equal(find(&servers, "# be_name srv_name srv_addr\na b 10.0.0.2\n", "10.0.0.2", 0),
                     ERR_PROTOCOL);
    assert_int_equal(find(&servers, "#\n# \n\n\n", "10.0.0.2", 1), ERR_PROTOCOL);
}

/* More backends than there is room for, and names that are too long, are errors and nothing worse.
 */
static void test_limits(void **state)
{
    (void)state;
    struct haproxy_servers servers;
    struct strbuf text = {0};
    strbuf_add_text(&text, "1\n# be_name srv_name srv_addr srv_port\n");
    for (int i = 0; i < HAPROXY_SERVERS_MAX; i++) {
        strbuf_addf(&text, "b%d s 10.0.0.2 6379\n", i);
    }
    assert_int_equal(find(&servers, strbuf_text(&text), "10.0.0.2", 6379), 0);
    assert_int_equal(servers.count, HAPROXY_SERVERS_MAX);
    strbuf_add_text(&text, "one-more s 10.0.0.2 6379\n");
    assert_int_equal(find(&servers, strbuf_text(&text), "10.0.0.2", 6379), ERR_LIMIT);
    strbuf_clear(&text);
    strbuf_add_text(&text, "1\n# be_name srv_name srv_addr srv_port\n");
    for (int i = 0; i < HAPROXY_NAME_SIZE; i++) {
        strbuf_add_char(&text, 'n');
    }
    strbuf_add_text(&text, " s 10.0.0.2 6379\n");
    assert_int_equal(find(&servers, strbuf_text(&text), "10.0.0.2", 6379), ERR_LIMIT);
    strbuf_release(&text);
}

static const struct haproxy_servers both = {
    .items = {{"nodes", "s1", false}, {"readers", "a", false}},
    .count = 2};

static void test_commands(void **state)
{
    (void)state;
    struct strbuf text = {0};
    haproxy_add_commands(&both, true, &text);
    assert_string_equal(strbuf_text(&text),
                        "set server nodes/s1 state drain;set server readers/a state drain;"
                        "show stat -1 4 -1\n");
    strbuf_clear(&text);
    haproxy_add_commands(&both, false, &text);
    assert_non_null(strstr(strbuf_text(&text), "set server readers/a state ready;"));
    strbuf_release(&text);
}

static int sessions(const char *text, int64_t *count, struct err *err)
{
    return haproxy_read_sessions(&both, text, strlen(text), count, err);
}

static void test_sessions(void **state)
{
    (void)state;
    int64_t count = -1;
    struct err err;
    assert_int_equal(sessions("\n\n# pxname,svname,qcur,qmax,scur,smax,slim\n"
                              "nodes,s0,0,0,100,5,\nnodes,s1,0,0,3,5,\nreaders,a,0,0,4,5,\n"
                              "readers,s1,0,0,50,5,\n\n",
                              &count, &err),
                     0);
    assert_int_equal(count, 7);
    assert_int_equal(
        sessions("No such server.\n\n# pxname,svname,scur\nnodes,s1,1\n", &count, &err), 0);
    assert_int_equal(count, 1);
    assert_int_equal(sessions("# pxname,svname,scur\n", &count, &err), 0);
    assert_int_equal(count, 0);
}

/* A socket that may only be read says so; that is no drain. */
static void test_refusals(void **state)
{
    (void)state;
    int64_t count = -1;
    struct err err;
    assert_int_equal(sessions("Permission denied\n\n# pxname,svname,scur\n", &count, &err),
                     ERR_REFUSED);
    assert_string_equal(err.text, "HAProxy says: Permission denied");
    assert_int_equal(sessions("\n\n", &count, &err), ERR_PROTOCOL);
    assert_int_equal(count, -1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_find),          cmocka_unit_test(test_keep_drained),
        cmocka_unit_test(test_other_columns), cmocka_unit_test(test_not_haproxy),
        cmocka_unit_test(test_limits),        cmocka_unit_test(test_commands),
        cmocka_unit_test(test_sessions),      cmocka_unit_test(test_refusals),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
