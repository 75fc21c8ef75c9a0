/* test_server_versions.c — the parsers on what newer servers answer.
 *
 * The samples were printed by the servers named in the table, each with three primaries and three
 * replicas; tests/optional/record_samples.py records them and those of the next version. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "common/base/alloc.h"
#include "common/model/info_text.h"
#include "common/model/nodes_text.h"
#include "tests/unit/model/helper_cluster.h"

static const struct {
    const char *name;
    const char *version;
    const char *redis_version; /* what it claims to be compatible with */
    enum server_kind kind;
} servers[] = {
    {"redis-8.0", "8.0.2", "8.0.2", SERVER_REDIS},
    {"redis-8.6", "8.6.3", "8.6.3", SERVER_REDIS},
    {"valkey-8.1", "8.1.1", "7.2.4", SERVER_VALKEY},
    {"valkey-9.1", "9.1.2", "7.2.4", SERVER_VALKEY},
};
enum { SERVERS = sizeof(servers) / sizeof(servers[0]) };

static char *read_of(int server, const char *what, size_t *len)
{
    char name[64];
    snprintf(name, sizeof(name), "%s-%s.txt", servers[server].name, what);
    return sample_read(name, len);
}

static void parse_nodes(struct nodes_view *view, int server, const char *what)
{
    struct err err = {0};
    size_t len = 0;
    char *text = read_of(server, what, &len);
    if (nodes_view_parse(view, text, len, &err) != 0) {
        fail_msg("%s-%s: %s", servers[server].name, what, err.text);
    }
    free(text);
}

static void parse_info(struct info *info, int server, const char *what)
{
    struct err err = {0};
    size_t len = 0;
    char *text = read_of(server, what, &len);
    if (info_parse(info, text, len, &err) != 0) {
        fail_msg("%s-%s: %s", servers[server].name, what, err.text);
    }
    free(text);
}

/* Six rows, all slots owned, no flag that the parser does not know. */
static void test_nodes(void **state)
{
    (void)state;
    for (int i = 0; i < SERVERS; i++) {
        struct nodes_view view = {0};
        parse_nodes(&view, i, "nodes");
        assert_int_equal(view.row_count, 6);
        assert_int_equal(view.open_count, 0);
        int slot_count = 0;
        int replica_count = 0;
        for (int row = 0; row < view.row_count; row++) {
            assert_int_equal(view.rows[row].flags & NODES_FLAG_OTHER, 0);
            assert_true(view.rows[row].is_link_connected);
            slot_count += view.rows[row].slot_count;
            replica_count += (view.rows[row].flags & NODES_FLAG_REPLICA) != 0;
        }
        assert_int_equal(slot_count, SLOT_COUNT);
        assert_int_equal(replica_count, 3);
        const struct nodes_row *myself = &view.rows[view.myself];
        assert_string_equal(myself->hostname, "node-1.example.org");
        assert_int_equal(myself->bus_port, myself->port + 10000);
        assert_int_equal(myself->slot_count, 5461);
        nodes_view_release(&view);
    }
}

/* A replica, the node file and a node with open slots tell the same map as a primary at rest. */
static void test_same_map(void **state)
{
    (void)state;
    static const char *const others[] = {"nodes-replica", "nodes-conf", "open-source",
                                         "open-target"};
    for (int i = 0; i < SERVERS; i++) {
        struct nodes_view rest = {0};
        parse_nodes(&rest, i, "nodes");
        for (size_t k = 0; k < sizeof(others) / sizeof(others[0]); k++) {
            struct nodes_view view = {0};
            parse_nodes(&view, i, others[k]);
            if (nodes_view_digest(&view) != nodes_view_digest(&rest)) {
                fail_msg("%s-%s has another digest", servers[i].name, others[k]);
            }
            nodes_view_release(&view);
        }
        nodes_view_release(&rest);
    }
}

/* Both ends of two open slots name each other. */
static void test_open_slots(void **state)
{
    (void)state;
    for (int i = 0; i < SERVERS; i++) {
        struct nodes_view source = {0};
        struct nodes_view target = {0};
        parse_nodes(&source, i, "open-source");
        parse_nodes(&target, i, "open-target");
        assert_int_equal(source.open_count, 2);
        assert_int_equal(target.open_count, 2);
        for (int k = 0; k < 2; k++) {
            assert_int_equal(source.opens[k].slot, k == 0 ? 42 : 77);
            assert_int_equal(target.opens[k].slot, source.opens[k].slot);
            assert_false(source.opens[k].is_importing);
            assert_true(target.opens[k].is_importing);
            assert_string_equal(source.opens[k].peer.text, target.rows[target.myself].id.text);
            assert_string_equal(target.opens[k].peer.text, source.rows[source.myself].id.text);
        }
        nodes_view_release(&source);
        nodes_view_release(&target);
    }
}

/* Fields that the probe reads, with the additions of each version around them. */
static void test_info_primary(void **state)
{
    (void)state;
    for (int i = 0; i < SERVERS; i++) {
        struct nodes_view view = {0};
        struct info info;
        parse_nodes(&view, i, "nodes");
        parse_info(&info, i, "info");
        assert_int_equal(info.kind, servers[i].kind);
        assert_string_equal(info.version, servers[i].version);
        assert_string_equal(info.redis_version, servers[i].redis_version);
        assert_int_equal(strlen(info.run_id), 40);
        assert_int_equal(info.tcp_port, view.rows[view.myself].port);
        assert_int_equal(info.role, NODE_ROLE_PRIMARY);
        assert_int_equal(info.is_cluster_enabled, 1);
        assert_int_equal(info.is_loading, 0);
        assert_int_equal(info.is_aof_enabled, 0);
        assert_int_equal(info.is_rdb_save_ok, 1);
        assert_int_equal(info.is_rdb_saving, 0);
        assert_int_equal(info.maxmemory_bytes, 0);
        assert_string_equal(info.maxmemory_policy, "noeviction");
        assert_true(info.used_memory_bytes > 500000);
        assert_true(info.used_memory_rss_bytes > 500000);
        assert_true(info.used_memory_dataset_bytes > 0);
        assert_true(info.system_memory_bytes > info.used_memory_bytes);
        assert_true(info.connected_clients >= 1);
        assert_int_equal(info.blocked_clients, 0);
        assert_true(info.total_commands > 0);
        assert_true(info.ops_per_s >= 0);
        assert_int_equal(info.evicted_keys, 0);
        assert_int_equal(info.replica_count, 1);
        assert_int_equal(info.replicas_kept, 1);
        assert_true(info.replicas[0].is_online);
        assert_true(info.replicas[0].lag_s >= 0);
        assert_true(info.primary_offset >= info.replicas[0].offset);
        assert_int_equal(info.keys, 33);
        assert_int_equal(info.expires, 11);
        nodes_view_release(&view);
    }
}

static void test_info_replica(void **state)
{
    (void)state;
    for (int i = 0; i < SERVERS; i++) {
        struct nodes_view view = {0};
        struct info info;
        parse_nodes(&view, i, "nodes");
        parse_info(&info, i, "info-replica");
        assert_int_equal(info.kind, servers[i].kind);
        assert_string_equal(info.version, servers[i].version);
        assert_int_equal(info.role, NODE_ROLE_REPLICA);
        assert_int_equal(info.primary_address.port, view.rows[view.myself].port);
        assert_int_equal(info.is_primary_link_up, 1);
        assert_int_equal(info.is_full_sync_running, 0);
        assert_true(info.replica_offset > 0);
        assert_int_equal(info.replica_count, 0);
        assert_int_equal(info.keys, 33);
        nodes_view_release(&view);
    }
}

static void test_cluster_info(void **state)
{
    (void)state;
    for (int i = 0; i < SERVERS; i++) {
        struct cluster_info info;
        struct err err = {0};
        size_t len = 0;
        char *text = read_of(i, "cluster-info", &len);
        assert_int_equal(cluster_info_parse(&info, text, len, &err), 0);
        free(text);
        assert_true(info.is_state_ok);
        assert_int_equal(info.slots_assigned, SLOT_COUNT);
        assert_int_equal(info.slots_ok, SLOT_COUNT);
        assert_int_equal(info.slots_pfail, 0);
        assert_int_equal(info.slots_fail, 0);
        assert_int_equal(info.known_nodes, 6);
        assert_int_equal(info.size, 3);
        assert_int_equal(info.current_epoch, 5);
        assert_int_equal(info.my_epoch, 1);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_nodes),        cmocka_unit_test(test_same_map),
        cmocka_unit_test(test_open_slots),   cmocka_unit_test(test_info_primary),
        cmocka_unit_test(test_info_replica), cmocka_unit_test(test_cluster_info),
    };
    return cmocka_run_group_tests_name("server versions", tests, NULL, NULL);
}
