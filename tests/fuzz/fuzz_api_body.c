/* fuzz_api_body.c — the JSON body of a command to the API, from JSON text to a command of the core,
 * with a cluster of two nodes whose names bodies may use: 10.0.0.1:6379 and 10.0.0.2:6379. */
#include "tests/fuzz/fuzz.h"

#include "coordinator/shell/api_internal.h"

#define ID_A "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define ID_B "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"

static const char cluster_text[] =
    ID_A " 10.0.0.1:6379@16379 myself,master - 0 0 1 connected 0-8191\n" ID_B
         " 10.0.0.2:6379@16379 master - 0 0 2 connected 8192-16383\n";

static void make_topology(struct topology *topology)
{
    struct nodes_view view = {0};
    struct err err = {0};
    int rc = nodes_view_parse(&view, cluster_text, sizeof(cluster_text) - 1, &err);
    CHECK(rc == 0);
    struct node_report report = {.is_reachable = true,
                                 .is_cluster_enabled = true,
                                 .is_cluster_ok = true,
                                 .role = NODE_ROLE_PRIMARY,
                                 .id.text = ID_A,
                                 .address = {.host = "10.0.0.1", .port = 6379},
                                 .view_digest = nodes_view_digest(&view)};
    const struct nodes_view *views = &view;
    struct topology_seen seen = {.report = &report};
    struct topology_input input = {.seen = &seen,
                                   .seen_count = 1,
                                   .views = &views,
                                   .view_digests = &report.view_digest,
                                   .view_count = 1,
                                   .age_ms_max = 1000};
    rc = topology_build(topology, &input, &err);
    CHECK(rc == 0);
    nodes_view_release(&view);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct topology topology = {0};
    struct coordinator_command command = {0};
    struct err err = {0};
    json_t *body = json_loadb((const char *)data, size, JSON_REJECT_DUPLICATES, NULL);
    if (json_is_object(body)) {
        make_topology(&topology);
        if (api_read_command(&topology, body, &command, &err) != 0) {
            CHECK(err.text[0] != '\0');
        }
        operation_request_release(&command.request);
        topology_release(&topology);
    }
    json_decref(body);
    return 0;
}
