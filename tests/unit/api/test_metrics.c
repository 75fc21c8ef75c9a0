/* test_metrics.c — GET /metrics: what is summed over nodes is the cluster's, not what else is seen.
 */
#include "common/base/alloc.h"
#include "common/io/metrics.h"
#include "coordinator/shell/api_internal.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void put(struct topology *topology, char name, bool is_member, bool is_reachable)
{
    struct topology_node *node = &topology->nodes[topology->node_count++];
    *node = (struct topology_node){.role = NODE_ROLE_PRIMARY,
                                   .is_member = is_member,
                                   .is_reachable = is_reachable,
                                   .address = {.host = "h", .port = (uint16_t)name},
                                   .primary = NO_NODE,
                                   .shard = NO_SHARD,
                                   .view = NO_VIEW,
                                   .slot_count = 5,
                                   .keys = 100,
                                   .used_memory_bytes = 1000,
                                   .maxmemory_bytes = 0,
                                   .ops_per_s = 10,
                                   .ping_us = 500};
    memset(node->id.text, name, NODE_ID_LEN);
}

/* As `sum(NAME)` in Prometheus; *count: samples. */
static double sum(const char *page, const char *name, int *count)
{
    double total = 0;
    size_t len = strlen(name);
    *count = 0;
    for (const char *line = page; line != NULL; line = strchr(line, '\n')) {
        line += *line == '\n';
        if (strncmp(line, name, len) == 0 && (line[len] == '{' || line[len] == ' ')) {
            const char *value = strstr(line, "} ");
            total += strtod(value != NULL && line[len] == '{' ? value + 2 : line + len, NULL);
            ++*count;
        }
    }
    return total;
}

static void check(const char *page, const char *name, double value, int samples)
{
    int count = 0;
    double found = sum(page, name, &count);
    if (count != samples || found < value - 1e-9 || found > value + 1e-9) {
        fail_msg("%s: %d samples, in all %g; wanted %d and %g\n%s", name, count, found, samples,
                 value, page);
    }
}

/* A spare is not counted, nor the keys that a dead primary had: its replica has them now. */
static void test_sums_are_the_clusters(void **state)
{
    (void)state;
    struct topology topology;
    struct metrics metrics = {0};
    size_t size = 0;
    topology_init(&topology);
    topology.nodes = xcalloc(4, sizeof(*topology.nodes));
    put(&topology, 'a', true, true);
    put(&topology, 'b', true, true);
    put(&topology, 'c', true, false);
    put(&topology, 'd', false, true);
    api_metrics_topology(&metrics, &topology);
    const char *page = metrics_text(&metrics, &size);
    check(page, "drover_node_up", 2, 3);
    check(page, "drover_node_slots", 15, 3);
    check(page, "drover_node_keys", 200, 2);
    check(page, "drover_node_used_memory_bytes", 2000, 2);
    check(page, "drover_node_maxmemory_bytes", 0, 2);
    check(page, "drover_node_operations_per_second", 20, 2);
    check(page, "drover_node_ping_seconds", 0.001, 2);
    check(page, "drover_servers_outside", 1, 1);
    metrics_release(&metrics);
    topology_release(&topology);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sums_are_the_clusters),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
