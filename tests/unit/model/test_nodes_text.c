/* test_nodes_text.c — the CLUSTER NODES parser on text of real servers and on text made by the
 * rules of each version.
 *
 * samples/redis-7.0-* were printed by redis-server 7.0.15; the literals below follow the format
 * rules of the versions that they name. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "common/base/alloc.h"
#include "common/model/nodes_text.h"
#include "tests/unit/model/helper_cluster.h"

#define ID_A "07c37dfeb235213a872192d90877d0cd55635b91"
#define ID_B "67ed2db8d677e59ec4a4cefb06858cf2a1a89fa1"
#define ID_C "292f8b365bb7edb5e285caf0b7e6ddc7265d2f4f"

static void parse(struct nodes_view *view, const char *text)
{
    struct err err = {0};
    if (nodes_view_parse(view, text, strlen(text), &err) != 0) {
        fail_msg("%s in:\n%s", err.text, text);
    }
}

static void parse_sample(struct nodes_view *view, const char *name)
{
    struct err err = {0};
    size_t len = 0;
    char *text = sample_read(name, &len);
    if (nodes_view_parse(view, text, len, &err) != 0) {
        fail_msg("%s: %s", name, err.text);
    }
    free(text);
}

static void assert_refused(const char *text, int code, const char *part)
{
    struct nodes_view view = {0};
    struct err err = {0};
    assert_int_equal(nodes_view_parse(&view, text, strlen(text), &err), code);
    assert_int_equal(err.code, code);
    if (strstr(err.text, part) == NULL) {
        fail_msg("\"%s\" does not contain \"%s\"", err.text, part);
    }
    assert_int_equal(view.row_count, 0);
    nodes_view_release(&view);
}

static const struct nodes_row *row_of(const struct nodes_view *view, const char *id)
{
    struct node_id node_id;
    assert_int_equal(node_id_parse(&node_id, id, strlen(id), NULL), 0);
    int row = nodes_view_find(view, &node_id);
    assert_int_not_equal(row, NODES_NO_ROW);
    return &view->rows[row];
}

/* A real cluster at rest: six rows, three primaries with all slots, host names of two. */
static void test_real_at_rest(void **state)
{
    (void)state;
    struct nodes_view view = {0};
    parse_sample(&view, "redis-7.0-rest-1.txt");
    assert_int_equal(view.row_count, 6);
    assert_int_equal(view.range_count, 3);
    assert_int_equal(view.open_count, 0);
    const struct nodes_row *myself = &view.rows[view.myself];
    assert_string_equal(myself->id.text, "d95b488748cfd3b6a9635c98cddcfcb968cb68d9");
    assert_string_equal(myself->host, "127.0.0.1");
    assert_string_equal(myself->hostname, "node-1.example.org");
    assert_int_equal(myself->port, 21411);
    assert_int_equal(myself->bus_port, 31411);
    assert_int_equal(myself->slot_count, 5461);
    assert_int_equal(myself->config_epoch, 1);
    assert_true(myself->is_link_connected);
    const struct nodes_row *replica = row_of(&view, "009929ad8e78e2067d8a3179da27836567fd3cf2");
    assert_int_equal(replica->flags, NODES_FLAG_REPLICA);
    assert_string_equal(replica->primary_id.text, "43bea68338ada2e18f99412dc85288ec8f9e0ba8");
    for (int slot = 0; slot < SLOT_COUNT; slot++) {
        assert_int_not_equal(view.owner[slot], NODES_NO_ROW);
    }
    struct slotset slots;
    struct strbuf text = {0};
    nodes_row_slots(&view, view.myself, &slots);
    slotset_format(&slots, &text);
    assert_string_equal(strbuf_text(&text), "0-5460");
    strbuf_release(&text);
    nodes_view_release(&view);
}

/* Six nodes that agree have one digest, whatever the order of their rows, times and myself. */
static void test_real_views_agree(void **state)
{
    (void)state;
    uint64_t digest = 0;
    for (int i = 1; i <= 6; i++) {
        struct nodes_view view = {0};
        char name[64];
        snprintf(name, sizeof(name), "redis-7.0-rest-%d.txt", i);
        parse_sample(&view, name);
        if (i == 1) {
            digest = nodes_view_digest(&view);
        }
        assert_int_equal(nodes_view_digest(&view), digest);
        nodes_view_release(&view);
    }
    assert_int_not_equal(digest, 0);
}

/* Open slots, meetings and failures do not change the digest: nodes need not agree about them. */
static void test_digest_leaves_out(void **state)
{
    (void)state;
    static const char *const names[] = {"redis-7.0-open-source.txt", "redis-7.0-open-target.txt",
                                        "redis-7.0-handshake.txt", "redis-7.0-failed-replica.txt",
                                        "redis-7.0-nodes-conf.txt"};
    struct nodes_view rest = {0};
    parse_sample(&rest, "redis-7.0-rest-1.txt");
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        struct nodes_view view = {0};
        parse_sample(&view, names[i]);
        if (nodes_view_digest(&view) != nodes_view_digest(&rest)) {
            fail_msg("%s has another digest", names[i]);
        }
        nodes_view_release(&view);
    }
    nodes_view_release(&rest);
}

static void test_real_open_slots(void **state)
{
    (void)state;
    struct nodes_view view = {0};
    parse_sample(&view, "redis-7.0-open-source.txt");
    assert_int_equal(view.open_count, 2);
    assert_int_equal(view.opens[0].slot, 42);
    assert_int_equal(view.opens[1].slot, 77);
    assert_false(view.opens[0].is_importing);
    assert_string_equal(view.opens[0].peer.text, "5541629a7c6378e111241d273bdcc1bae5a8a7b8");
    assert_int_equal(view.rows[view.myself].slot_count, 5461);
    nodes_view_release(&view);
    parse_sample(&view, "redis-7.0-open-target.txt");
    assert_int_equal(view.open_count, 1);
    assert_int_equal(view.opens[0].slot, 42);
    assert_true(view.opens[0].is_importing);
    assert_string_equal(view.opens[0].peer.text, "d95b488748cfd3b6a9635c98cddcfcb968cb68d9");
    nodes_view_release(&view);
}

static void test_real_handshake_and_failure(void **state)
{
    (void)state;
    struct nodes_view view = {0};
    parse_sample(&view, "redis-7.0-handshake.txt");
    assert_int_equal(view.row_count, 7);
    assert_int_equal(view.rows[0].flags, NODES_FLAG_HANDSHAKE);
    assert_false(view.rows[0].is_link_connected);
    nodes_view_release(&view);
    parse_sample(&view, "redis-7.0-failed-replica.txt");
    const struct nodes_row *failed = row_of(&view, "009929ad8e78e2067d8a3179da27836567fd3cf2");
    assert_int_equal(failed->flags, NODES_FLAG_REPLICA | NODES_FLAG_FAIL);
    assert_false(failed->is_link_connected);
    nodes_view_release(&view);
}

/* A node that never met another one leaves its own host out; the asker knows it. */
static void test_real_alone(void **state)
{
    (void)state;
    struct nodes_view view = {0};
    struct address address = {.host = "10.1.2.3", .port = 7000};
    parse_sample(&view, "redis-7.0-alone.txt");
    assert_int_equal(view.row_count, 1);
    assert_string_equal(view.rows[0].host, "");
    assert_int_equal(view.rows[0].port, 21417);
    uint64_t before = nodes_view_digest(&view);
    nodes_view_set_own_address(&view, &address);
    assert_string_equal(view.rows[0].host, "10.1.2.3");
    assert_int_equal(view.rows[0].port, 21417);
    assert_int_not_equal(nodes_view_digest(&view), before);
    struct address other = {.host = "10.9.9.9", .port = 7000};
    nodes_view_set_own_address(&view, &other);
    assert_string_equal(view.rows[0].host, "10.1.2.3");
    nodes_row_address(&view.rows[0], &other);
    assert_string_equal(other.host, "10.1.2.3");
    nodes_view_release(&view);
}

/* Redis 6.2: no host name field; IPv6 is written without brackets. */
static void test_redis_6_2_ipv6(void **state)
{
    (void)state;
    struct nodes_view view = {0};
    parse(&view, ID_A " 2001:db8::1:30004@31004 slave " ID_B " 0 1426238317239 4 connected\n" ID_B
                      " ::1:30001@31001 myself,master - 0 0 1 connected 0-16383\n");
    assert_string_equal(view.rows[0].host, "2001:db8::1");
    assert_int_equal(view.rows[0].port, 30004);
    assert_string_equal(view.rows[1].host, "::1");
    assert_int_equal(view.rows[1].bus_port, 31001);
    assert_string_equal(view.rows[1].hostname, "");
    nodes_view_release(&view);
}

/* Redis 7.2 and later, Valkey 7.2 to 9: host name (may be empty), then aux fields. */
static void test_aux_fields(void **state)
{
    (void)state;
    struct nodes_view view = {0};
    parse(&view, ID_A
          " [::1]:6379@16379,,shard-id=69bc080733d1355567173199cff4a6a039a2f024 myself,master - 0 "
          "0 1 "
          "connected 0-5 7 9-16383\n" ID_B
          " 10.0.0.2:0@16380,db-2.example.org,tls-port=6390,"
          "shard-id=114f6674a35b84949fe567f5dfd41415ee776261 replica " ID_A
          " 0 0 1 connected\n" ID_C
          " 10.0.0.3:6379@16379,tls-port=0,shard-id=ab noaddr,fail,master,"
          "newflag - 0 0 0 disconnected\n");
    assert_string_equal(view.rows[0].host, "::1");
    assert_string_equal(view.rows[0].hostname, "");
    assert_string_equal(view.rows[0].shard_id, "69bc080733d1355567173199cff4a6a039a2f024");
    assert_int_equal(view.rows[0].range_count, 3);
    assert_int_equal(view.rows[0].slot_count, 16382);
    assert_int_equal(view.owner[6], NODES_NO_ROW);
    assert_int_equal(view.owner[7], 0);
    assert_int_equal(view.rows[1].port, 0);
    assert_string_equal(view.rows[1].hostname, "db-2.example.org");
    assert_int_equal(view.rows[1].flags, NODES_FLAG_REPLICA);
    assert_string_equal(view.rows[2].hostname, "");
    assert_string_equal(view.rows[2].shard_id, "ab");
    assert_int_equal(view.rows[2].flags,
                     NODES_FLAG_NOADDR | NODES_FLAG_FAIL | NODES_FLAG_PRIMARY | NODES_FLAG_OTHER);
    nodes_view_release(&view);
}

static void test_odd_rows(void **state)
{
    (void)state;
    struct nodes_view view = {0};
    /* A lost address, an unknown endpoint, no bus port (before Redis 4), every flag, windows line
     * ends, a blank line. */
    parse(&view, ID_A " :0@0 master,noaddr - 1 2 3 disconnected\r\n\r\n" ID_B
                      " ?:6379@16379 myself,slave,fail?,nofailover " ID_A
                      " 0 0 18446744073709551615 connected\r\n" ID_C
                      " 10.0.0.9:7001 noflags - 0 0 0 connected");
    assert_int_equal(view.row_count, 3);
    assert_string_equal(view.rows[0].host, "");
    assert_int_equal(view.rows[0].port, 0);
    assert_string_equal(view.rows[1].host, "");
    assert_int_equal(view.rows[1].flags, NODES_FLAG_MYSELF | NODES_FLAG_REPLICA | NODES_FLAG_PFAIL |
                                             NODES_FLAG_NOFAILOVER);
    assert_true(view.rows[1].config_epoch == UINT64_MAX);
    assert_int_equal(view.rows[2].flags, 0);
    assert_int_equal(view.rows[2].bus_port, 0);
    assert_int_equal(view.rows[2].port, 7001);
    nodes_view_release(&view);
}

#define GOOD " 10.0.0.1:6379@16379 myself,master - 0 0 1 connected"

/* Whatever is malformed is refused with line and reason. */
static void test_refusals(void **state)
{
    (void)state;
    assert_refused("", ERR_PROTOCOL, "lists no node");
    assert_refused("xyz", ERR_PROTOCOL, "line 1: node id \"xyz\"");
    assert_refused(ID_A "0" GOOD "\n", ERR_PROTOCOL, "41 characters");
    assert_refused(ID_A " 10.0.0.1:6379@16379 master - 0 0 1 connected\n", ERR_PROTOCOL,
                   "no line that is myself");
    assert_refused(ID_A GOOD "\n" ID_B GOOD "\n", ERR_PROTOCOL, "line 2: " ID_B " is myself, but");
    assert_refused(ID_A GOOD " 0-5\n" ID_A " 10.0.0.2:6379@16379 master - 0 0 1 connected\n",
                   ERR_PROTOCOL, "twice");
    assert_refused(ID_A GOOD " 0-5 5\n", ERR_PROTOCOL, "slot 5 is already listed");
    assert_refused(ID_A GOOD " 0-16384\n", ERR_PROTOCOL, "bad slot range \"0-16384\"");
    assert_refused(ID_A GOOD " 9-8\n", ERR_PROTOCOL, "bad slot range \"9-8\"");
    assert_refused(ID_A GOOD " 9-\n", ERR_PROTOCOL, "bad slot range");
    assert_refused(ID_A GOOD " -9\n", ERR_PROTOCOL, "bad slot range");
    assert_refused(ID_A GOOD " 1-2-3\n", ERR_PROTOCOL, "bad slot range");
    assert_refused(ID_A GOOD " [1->-" ID_B "\n", ERR_PROTOCOL, "not closed");
    assert_refused(ID_A GOOD " [1-=-" ID_B "]\n", ERR_PROTOCOL, "bad open slot");
    assert_refused(ID_A GOOD " [99999->-" ID_B "]\n", ERR_PROTOCOL, "bad open slot");
    assert_refused(ID_A GOOD " [1->-abc]\n", ERR_PROTOCOL, "3 characters");
    assert_refused(ID_A GOOD " []\n", ERR_PROTOCOL, "bad open slot");
    assert_refused(ID_A GOOD "\n" ID_B " 10.0.0.2:6379@16379 master - 0 0 1 connected [1->-" ID_A
                             "]\n",
                   ERR_PROTOCOL, "not myself");
    assert_refused(ID_A " 10.0.0.1@16379 myself,master - 0 0 1 connected\n", ERR_PROTOCOL,
                   "no port");
    assert_refused(ID_A " 10.0.0.1:x@16379 myself,master - 0 0 1 connected\n", ERR_PROTOCOL,
                   "bad port");
    assert_refused(ID_A " 10.0.0.1:6379@99999 myself,master - 0 0 1 connected\n", ERR_PROTOCOL,
                   "bad bus port");
    assert_refused(ID_A " 10.0.0.1:6379@1 myself,master,slave - 0 0 1 connected\n", ERR_PROTOCOL,
                   "both roles");
    assert_refused(ID_A " 10.0.0.1:6379@1 myself,master zz 0 0 1 connected\n", ERR_PROTOCOL,
                   "node id \"zz\"");
    assert_refused(ID_A " 10.0.0.1:6379@1 myself,master - x 0 1 connected\n", ERR_PROTOCOL,
                   "not a number");
    assert_refused(ID_A " 10.0.0.1:6379@1 myself,master - 0 0 -1 connected\n", ERR_PROTOCOL,
                   "config epoch");
    assert_refused(ID_A " 10.0.0.1:6379@1 myself,master - 0 0 1 maybe\n", ERR_PROTOCOL,
                   "\"maybe\"");
    assert_refused(ID_A " 10.0.0.1:6379@1 myself,master - 0 0\n", ERR_PROTOCOL, "config epoch");
    assert_refused(ID_A "\n", ERR_PROTOCOL, "no port");
    char long_host[400];
    memset(long_host, 'h', sizeof(long_host));
    memcpy(long_host, ID_A " ", 41);
    snprintf(long_host + 360, 40, ":1@1 myself,master - 0 0 1 connected\n");
    assert_refused(long_host, ERR_PROTOCOL, "255 are allowed");
}

/* Nothing after 'len' is read, and bytes of any value are fine to hand in. */
static void test_length_is_obeyed(void **state)
{
    (void)state;
    const char *text = ID_A GOOD " 0-99\ngarbage";
    struct nodes_view view = {0};
    struct err err = {0};
    size_t len = strlen(ID_A GOOD " 0-99\n");
    char *copy = xmemdup(text, len); /* so that ASan sees a read beyond */
    assert_int_equal(nodes_view_parse(&view, copy, len, &err), 0);
    assert_int_equal(view.rows[0].slot_count, 100);
    nodes_view_release(&view);
    copy[50] = '\0';
    assert_int_not_equal(nodes_view_parse(&view, copy, len, &err), 0);
    free(copy);
    assert_int_equal(nodes_view_parse(&view, NULL, 0, &err), ERR_PROTOCOL);
}

/* One row more than allowed is refused, and so are too many bytes and open slots; the limits
 * themselves are fine. */
static void test_limits(void **state)
{
    (void)state;
    struct nodes_view view = {0};
    struct err err = {0};
    struct strbuf text = {0};
    for (int i = 0; i <= NODES_ROWS_MAX; i++) {
        strbuf_addf(&text, "%040x 10.0.%d.%d:1@2 %smaster - 0 0 %d connected\n", i, i / 250,
                    i % 250, i == 0 ? "myself," : "", i);
        if (i == NODES_ROWS_MAX - 1) {
            assert_int_equal(nodes_view_parse(&view, text.data, text.len, &err), 0);
            assert_int_equal(view.row_count, NODES_ROWS_MAX);
            nodes_view_release(&view);
        }
    }
    assert_int_equal(nodes_view_parse(&view, text.data, text.len, &err), ERR_LIMIT);
    strbuf_clear(&text);
    strbuf_add_text(&text, ID_A GOOD " 0-16383");
    for (int i = 0; i <= NODES_OPENS_MAX; i++) {
        strbuf_addf(&text, " [%d->-" ID_B "]", i);
    }
    assert_int_equal(nodes_view_parse(&view, text.data, text.len, &err), ERR_LIMIT);
    strbuf_clear(&text);
    strbuf_reserve(&text, VIEW_TEXT_SIZE_MAX + 1);
    memset(text.data, '\n', VIEW_TEXT_SIZE_MAX + 1);
    assert_int_equal(nodes_view_parse(&view, text.data, VIEW_TEXT_SIZE_MAX, &err), ERR_PROTOCOL);
    assert_int_equal(nodes_view_parse(&view, text.data, VIEW_TEXT_SIZE_MAX + 1, &err), ERR_LIMIT);
    strbuf_release(&text);
}

/* Every slot its own range: the worst text for ranges. */
static void test_most_ranges(void **state)
{
    (void)state;
    struct nodes_view view = {0};
    struct strbuf even = {0};
    struct strbuf odd = {0};
    for (int slot = 0; slot < SLOT_COUNT; slot += 2) {
        strbuf_addf(&even, " %d", slot);
        strbuf_addf(&odd, " %d", slot + 1);
    }
    struct strbuf text = {0};
    strbuf_addf(&text, ID_A GOOD "%s\n" ID_B " 10.0.0.2:1@1 master - 0 0 2 connected%s\n",
                even.data, odd.data);
    parse(&view, text.data);
    assert_int_equal(view.range_count, SLOT_COUNT);
    assert_int_equal(view.rows[1].range_count, SLOT_COUNT / 2);
    nodes_view_release(&view);
    strbuf_release(&text);
    strbuf_release(&even);
    strbuf_release(&odd);
}

/* The digest changes with each thing that nodes must agree on, and with nothing else. */
static void test_digest(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        bool is_same;
    } cases[] = {
        {ID_B " h2:2@2 slave " ID_A " 5 6 9 disconnected\n" ID_A
              " h1:1@1 master,myself - 7 8 3 connected 0-9 10-20",
         true},
        {ID_A " h1:1@1 master,fail? - 0 0 3 connected 0-20\n" ID_B
              " h2:2@2,name,shard-id=1 myself,slave " ID_A " 0 0 3 connected",
         true},
        {ID_A " h1:1@1 myself,master - 0 0 3 connected 10-20 0-9\n" ID_B " h2:2@2 slave " ID_A
              " 0 0 3 connected\n" ID_C " h3:3@3 handshake - 0 0 0 disconnected",
         true},
        {ID_A " h1:1@1 myself,master - 0 0 4 connected 0-20\n" ID_B " h2:2@2 slave " ID_A
              " 0 0 3 connected",
         false},
        {ID_A " h1:1@1 myself,master - 0 0 3 connected 0-19\n" ID_B " h2:2@2 slave " ID_A
              " 0 0 3 connected",
         false},
        {ID_A " h1:1@1 myself,master - 0 0 3 connected 0-20\n" ID_B
              " h2:2@2 master - 0 0 3 connected",
         false},
        {ID_A " h1:1@1 myself,master - 0 0 3 connected 0-20\n" ID_B " h2:3@2 slave " ID_A
              " 0 0 3 connected",
         false},
        {ID_A " h1:1@1 myself,master - 0 0 3 connected 0-20\n" ID_B " h3:2@2 slave " ID_A
              " 0 0 3 connected",
         false},
        {ID_A " h1:1@1 myself,master - 0 0 3 connected 0-20\n" ID_B " h2:2@2 slave " ID_C
              " 0 0 3 connected",
         false},
        {ID_A " h1:1@1 myself,master - 0 0 3 connected 0-20\n" ID_C " h2:2@2 slave " ID_A
              " 0 0 3 connected",
         false},
        {ID_A " h1:1@1 myself,master - 0 0 3 connected 0-20", false},
        {ID_A " h1:1@1 myself,master - 0 0 3 connected\n" ID_B " h2:2@2 slave " ID_A
              " 0 0 3 connected 0-20",
         false},
    };
    struct nodes_view view = {0};
    parse(&view, ID_A " h1:1@1 myself,master - 0 0 3 connected 0-20\n" ID_B " h2:2@2 slave " ID_A
                      " 0 0 3 connected");
    uint64_t digest = nodes_view_digest(&view);
    nodes_view_release(&view);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        parse(&view, cases[i].text);
        if ((nodes_view_digest(&view) == digest) != cases[i].is_same) {
            fail_msg("case %zu: digest should %sbe the same", i, cases[i].is_same ? "" : "not ");
        }
        nodes_view_release(&view);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_real_at_rest),
        cmocka_unit_test(test_real_views_agree),
        cmocka_unit_test(test_digest_leaves_out),
        cmocka_unit_test(test_real_open_slots),
        cmocka_unit_test(test_real_handshake_and_failure),
        cmocka_unit_test(test_real_alone),
        cmocka_unit_test(test_redis_6_2_ipv6),
        cmocka_unit_test(test_aux_fields),
        cmocka_unit_test(test_odd_rows),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_length_is_obeyed),
        cmocka_unit_test(test_limits),
        cmocka_unit_test(test_most_ranges),
        cmocka_unit_test(test_digest),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
