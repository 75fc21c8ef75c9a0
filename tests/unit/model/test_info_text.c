/* test_info_text.c — INFO and CLUSTER INFO of a real redis-server 7.0.15 and literals of other
 * versions. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "common/base/alloc.h"
#include "common/model/info_text.h"
#include "tests/unit/model/helper_cluster.h"

static void parse_sample(struct info *info, const char *name)
{
    struct err err = {0};
    size_t len = 0;
    char *text = sample_read(name, &len);
    if (info_parse(info, text, len, &err) != 0) {
        fail_msg("%s: %s", name, err.text);
    }
    free(text);
}

static void test_real_primary(void **state)
{
    (void)state;
    struct info info;
    parse_sample(&info, "redis-7.0-info-primary.txt");
    assert_int_equal(info.kind, SERVER_REDIS);
    assert_string_equal(info.version, "7.0.15");
    assert_int_equal(strlen(info.run_id), 40);
    assert_int_equal(info.tcp_port, 21411);
    assert_int_equal(info.role, NODE_ROLE_PRIMARY);
    assert_int_equal(info.is_cluster_enabled, 1);
    assert_int_equal(info.is_loading, 0);
    assert_int_equal(info.is_aof_enabled, 0);
    assert_int_equal(info.is_rdb_save_ok, 1);
    assert_int_equal(info.maxmemory_bytes, 0);
    assert_string_equal(info.maxmemory_policy, "noeviction");
    assert_true(info.used_memory_bytes > 1000000);
    assert_true(info.system_memory_bytes > info.used_memory_bytes);
    assert_true(info.connected_clients >= 1);
    assert_true(info.primary_offset >= 0);
    assert_int_equal(info.is_primary_link_up, INFO_UNKNOWN);
    assert_int_equal(info.replica_count, 1);
    assert_int_equal(info.replicas_kept, 1);
    assert_int_equal(info.replicas[0].address.port, 21414);
    /* Caught in its first synchronisation. */
    assert_false(info.replicas[0].is_online);
    assert_int_equal(info.replicas[0].offset, 0);
    /* The keyspace section is there but empty. */
    assert_int_equal(info.keys, 0);
    assert_int_equal(info.expires, 0);
}

static void test_real_replica(void **state)
{
    (void)state;
    struct info info;
    parse_sample(&info, "redis-7.0-info-replica.txt");
    assert_int_equal(info.role, NODE_ROLE_REPLICA);
    assert_int_equal(info.is_primary_link_up, 0);
    assert_string_equal(info.primary_address.host, "127.0.0.1");
    assert_int_equal(info.primary_address.port, 21411);
    assert_int_equal(info.replica_offset, 0);
    assert_int_equal(info.replica_count, 0);
    assert_int_equal(info.is_full_sync_running, 0);
}

static void test_real_cluster_info(void **state)
{
    (void)state;
    struct cluster_info info;
    struct err err = {0};
    size_t len = 0;
    char *text = sample_read("redis-7.0-cluster-info.txt", &len);
    assert_int_equal(cluster_info_parse(&info, text, len, &err), 0);
    assert_true(info.is_state_ok);
    assert_int_equal(info.slots_assigned, 16384);
    assert_int_equal(info.slots_ok, 16384);
    assert_int_equal(info.slots_pfail, 0);
    assert_int_equal(info.slots_fail, 0);
    assert_int_equal(info.known_nodes, 6);
    assert_int_equal(info.size, 3);
    assert_int_equal(info.current_epoch, 6);
    assert_int_equal(info.my_epoch, 1);
    free(text);
}

/* Valkey tells its own version beside the one of Redis that it is compatible with, in either order.
 */
static void test_valkey(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "# "
        "Server\r\nredis_version:7.2.4\r\nserver_name:valkey\r\nvalkey_version:8.0.1\r\nrole:"
        "primary\r\n"
        "# Keyspace\r\ndb0:keys=12,expires=3,avg_ttl=0\r\n",
        "valkey_version:8.0.1\nredis_version:7.2.4\nrole:master\ndb0:keys=12,expires=3,avg_ttl=0,"
        "subexpiry=0"};
    for (size_t i = 0; i < 2; i++) {
        struct info info;
        struct err err = {0};
        assert_int_equal(info_parse(&info, texts[i], strlen(texts[i]), &err), 0);
        assert_int_equal(info.kind, SERVER_VALKEY);
        assert_string_equal(info.version, "8.0.1");
        assert_string_equal(info.redis_version, "7.2.4");
        assert_int_equal(info.role, NODE_ROLE_PRIMARY);
        assert_int_equal(info.keys, 12);
        assert_int_equal(info.expires, 3);
        assert_int_equal(info.used_memory_bytes, INFO_UNKNOWN);
    }
    assert_string_equal(server_kind_name(SERVER_VALKEY), "valkey");
}

/* Absent, malformed and huge values are unknown; the rest still counts. */
static void test_odd_values(void **state)
{
    (void)state;
    struct info info;
    struct err err = {0};
    struct strbuf text = {0};
    strbuf_add_text(
        &text,
        "used_memory:99999999999999999999\nmaxmemory:-1\nconnected_clients:12x\nloading:\n"
        "run_id:with "
        "space\nmaxmemory_policy:far-too-long-to-be-the-name-of-a-policy\nrole:sentinel\n"
        "master_link_status:down\nslave:ip=1\nslavex:ip=1\nnocolon\n:novalue\n\n");
    for (int i = 0; i < INFO_REPLICAS_MAX + 3; i++) {
        strbuf_addf(&text, "slave%d:ip=10.0.0.%d,port=%d,state=%s,offset=%d,lag=%d\n", i, i,
                    i == 1 ? 70000 : 6379, i == 2 ? "wait_bgsave" : "online", i * 10, i);
    }
    assert_int_equal(info_parse(&info, text.data, text.len, &err), 0);
    assert_int_equal(info.used_memory_bytes, INFO_UNKNOWN);
    assert_int_equal(info.maxmemory_bytes, INFO_UNKNOWN);
    assert_int_equal(info.connected_clients, INFO_UNKNOWN);
    assert_int_equal(info.is_loading, INFO_UNKNOWN);
    assert_string_equal(info.run_id, "");
    assert_string_equal(info.maxmemory_policy, "");
    assert_int_equal(info.role, NODE_ROLE_UNKNOWN);
    assert_int_equal(info.is_primary_link_up, 0);
    assert_int_equal(info.keys, INFO_UNKNOWN);
    assert_int_equal(info.replicas_kept, INFO_REPLICAS_MAX);
    assert_int_equal(info.replicas[0].offset, 0);
    assert_int_equal(info.replicas[1].address.port, 0);
    assert_true(info.replicas[1].is_online);
    assert_false(info.replicas[2].is_online);
    assert_int_equal(info.replicas[3].lag_s, 3);
    strbuf_release(&text);
}

static void test_refusals(void **state)
{
    (void)state;
    struct info info = {.keys = 77};
    struct cluster_info cluster_info = {.size = 77};
    struct err err = {0};
    assert_int_equal(info_parse(&info, "", 0, &err), ERR_PROTOCOL);
    assert_int_equal(info_parse(&info, "hello\nworld:1\n", 14, &err), ERR_PROTOCOL);
    assert_int_equal(cluster_info_parse(&cluster_info, "cluster_size:3\n", 15, &err), ERR_PROTOCOL);
    char *big = xcalloc(1, INFO_TEXT_SIZE_MAX + 1);
    assert_int_equal(info_parse(&info, big, INFO_TEXT_SIZE_MAX + 1, &err), ERR_LIMIT);
    assert_int_equal(cluster_info_parse(&cluster_info, big, INFO_TEXT_SIZE_MAX + 1, &err),
                     ERR_LIMIT);
    free(big);
    assert_int_equal(info.keys, 77);
    assert_int_equal(cluster_info.size, 77);
    /* Only 'len' bytes count. */
    assert_int_equal(info_parse(&info, "used_memory:123456", 14, &err), 0);
    assert_int_equal(info.used_memory_bytes, 12);
}

static void test_version_number(void **state)
{
    (void)state;
    assert_int_equal(version_number("7.0.15"), 70015);
    assert_int_equal(version_number("8.4"), 80400);
    assert_int_equal(version_number("10"), 100000);
    assert_int_equal(version_number("7.2.4-rc1"), 70204);
    assert_int_equal(version_number("255.255.255"), 2559999);
    assert_int_equal(version_number(""), 0);
    assert_int_equal(version_number("unstable"), 0);
    assert_int_equal(version_number("99999999999999999999"), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_real_primary),      cmocka_unit_test(test_real_replica),
        cmocka_unit_test(test_real_cluster_info), cmocka_unit_test(test_valkey),
        cmocka_unit_test(test_odd_values),        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_version_number),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
