/* test_status.c — the numbers of GET /v1/status: what the cluster has, not what else is seen. */
#include "common/base/alloc.h"
#include "coordinator/shell/api_internal.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static void put(struct topology *topology, char name, enum node_role role, bool is_member)
{
    struct topology_node *node = &topology->nodes[topology->node_count++];
    *node = (struct topology_node){.role = role,
                                   .is_member = is_member,
                                   .is_reachable = true,
                                   .primary = NO_NODE,
                                   .shard = NO_SHARD,
                                   .view = NO_VIEW,
                                   .keys = 100,
                                   .used_memory_bytes = 1000,
                                   .ops_per_s = 10};
    memset(node->id.text, name, NODE_ID_LEN);
}

static void check(const json_t *status, const char *name, json_int_t value)
{
    const json_t *field = json_object_get(status, name);
    if (!json_is_integer(field) || json_integer_value(field) != value) {
        fail_msg("%s is %" JSON_INTEGER_FORMAT ", not %" JSON_INTEGER_FORMAT, name,
                 json_integer_value(field), value);
    }
}

/* A spare and a node of another cluster on the same hosts are seen, and that is all. */
static void test_members_only(void **state)
{
    (void)state;
    struct topology topology;
    topology_init(&topology);
    topology.nodes = xcalloc(4, sizeof(*topology.nodes));
    put(&topology, 'a', NODE_ROLE_PRIMARY, true);
    put(&topology, 'b', NODE_ROLE_REPLICA, true);
    put(&topology, 'c', NODE_ROLE_PRIMARY, false);
    put(&topology, 'd', NODE_ROLE_REPLICA, false);
    json_t *status = json_object();
    api_set_cluster(status, &topology);
    check(status, "nodes", 4);
    check(status, "nodes_reachable", 4);
    check(status, "primaries", 1);
    check(status, "replicas", 1);
    check(status, "keys", 100);
    check(status, "used_memory_bytes", 1000);
    check(status, "ops_per_s", 10);
    json_decref(status);
    topology_release(&topology);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_members_only),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
