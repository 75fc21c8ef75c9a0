/* fuzz_nodes_text.c — CLUSTER NODES of a server we do not trust: refused with a reason, or a view
 * that keeps its own rules, alone and merged with another into a topology. */
#include "tests/fuzz/fuzz.h"

#include "common/model/nodes_text.h"
#include "common/model/topology.h"

static void check_view(const struct nodes_view *view)
{
    CHECK(nodes_view_digest(view) != 0);
    for (int row = 0; row < view->row_count; row++) {
        struct slotset slots;
        struct address address;
        nodes_row_slots(view, row, &slots);
        nodes_row_address(&view->rows[row], &address);
        CHECK(nodes_view_find(view, &view->rows[row].id) == row);
        SLOTSET_FOREACH (slot, &slots) {
            CHECK(view->owner[slot] == row);
        }
    }
}

/* As if the one node that answered had reported it. */
static void check_topology(const struct nodes_view *view)
{
    struct node_report report = {.is_reachable = true,
                                 .is_cluster_enabled = true,
                                 .is_cluster_ok = true,
                                 .role = NODE_ROLE_PRIMARY};
    if (view->myself == NODES_NO_ROW) {
        return;
    }
    report.id = view->rows[view->myself].id;
    report.view_digest = nodes_view_digest(view);
    report.address = (struct address){.host = "10.0.0.1", .port = 6379};
    struct topology_seen seen = {.report = &report};
    struct topology_input input = {.seen = &seen,
                                   .seen_count = 1,
                                   .views = &view,
                                   .view_digests = &report.view_digest,
                                   .view_count = 1,
                                   .age_ms_max = 1000};
    struct topology topology = {0};
    struct err err = {0};
    if (topology_build(&topology, &input, &err) == 0) {
        CHECK(topology_digest(&topology) != 0);
    }
    topology_release(&topology);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct nodes_view view = {0};
    struct err err = {0};
    if (nodes_view_parse(&view, (const char *)data, size, &err) == 0) {
        check_view(&view);
        check_topology(&view);
    } else {
        CHECK(view.row_count == 0);
        CHECK(err.text[0] != '\0');
    }
    nodes_view_release(&view);
    return 0;
}
