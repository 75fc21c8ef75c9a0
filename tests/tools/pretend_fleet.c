/* pretend_fleet.c — speaks to a real coordinator as 50 agents with 20 nodes each would, over the
 * real bus.
 *
 * Half of the 1,000 nodes are primaries, half their replicas. For NEWS_MS a primary's config_epoch
 * grows every second and the agents learn of it one after another, so that the coordinator holds
 * several views of the cluster at a time; then the cluster is at rest. There are no Redis servers
 * behind it. For tests/integration/test_thousand_nodes.py: prints "ready" once every agent has
 * reported, runs until SIGTERM, then prints how many reports were answered.
 *
 * Usage: pretend_fleet URL */
#include "common/base/alloc.h"
#include "common/base/check.h"
#include "common/io/bus.h"
#include "common/io/clock.h"
#include "common/model/nodes_text.h"
#include "common/wire/message_codec.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ID_TEXT_SIZE (NODE_ID_LEN + 1)
#define AGENTS 50
#define NODES_PER_AGENT 20
#define NODES (AGENTS * NODES_PER_AGENT)
#define PRIMARIES (NODES / 2)
#define VERSIONS_KEPT 8 /* views of the cluster that differ at a time */
#define VERSION_MS 1000
#define NEWS_MS 25000 /* then the cluster is at rest, so that a plan can be made */
#define WAIT_MS 1000  /* a report is held so long */
#define GAP_MS 100    /* between an answer and the next report */
#define TIMEOUT_MS 20000

struct version {
    struct strbuf text; /* CLUSTER NODES without "myself" */
    uint64_t digest;
};

struct agent {
    struct fleet *fleet;
    int index;
    struct bus_client *bus;
    uint64_t session; /* 0 = says hello */
    uint64_t sequence;
    int64_t fence;
    int64_t due_ms; /* of the next request; NEVER while one is under way */
    uint64_t views_wanted[VERSIONS_KEPT];
    int view_wanted_count;
};

struct fleet {
    struct loop *loop;
    struct agent agents[AGENTS];
    struct version versions[VERSIONS_KEPT]; /* version v at v % VERSIONS_KEPT */
    int version;
    int64_t version_ms; /* when the next one comes */
    uint64_t reports;
    uint64_t refusals;
    bool is_at_rest; /* all agents know the last version */
    bool is_stopping;
};

static void node_id_of(int node, char text[ID_TEXT_SIZE])
{
    (void)snprintf(text, ID_TEXT_SIZE, "%040x", node + 1);
}

/* A primary's config_epoch grows when it is its turn. */
static int config_epoch(int primary, int version)
{
    int turns = version < primary ? 0 : (version - primary) / PRIMARIES + 1;
    return turns == 0 ? primary + 1 : NODES + primary + (turns - 1) * PRIMARIES;
}

static void version_make(struct version *out, int version)
{
    strbuf_release(&out->text);
    out->text = (struct strbuf){0};
    for (int i = 0; i < NODES; i++) {
        int primary = i % PRIMARIES;
        char id[ID_TEXT_SIZE];
        char primary_id[ID_TEXT_SIZE] = "-";
        node_id_of(i, id);
        if (i >= PRIMARIES) {
            node_id_of(primary, primary_id);
        }
        strbuf_addf(&out->text, "%s 10.%d.%d.1:6379@16379 %s%s %s 0 1700000000000 %d connected", id,
                    i / 250, i % 250, i == 0 ? "myself," : "", i < PRIMARIES ? "master" : "slave",
                    primary_id, config_epoch(primary, version));
        if (i < PRIMARIES) {
            strbuf_addf(&out->text, " %d-%d", i * SLOT_COUNT / PRIMARIES,
                        (i + 1) * SLOT_COUNT / PRIMARIES - 1);
        }
        strbuf_addf(&out->text, "\n");
    }
    struct nodes_view view = {0};
    struct err err = {0};
    int rc = nodes_view_parse(&view, out->text.data, out->text.len, &err);
    CHECK(rc == 0);
    out->digest = nodes_view_digest(&view);
    nodes_view_release(&view);
}

/* What an agent's nodes believe: agents learn news one after another. */
static const struct version *version_of(const struct fleet *fleet, int agent)
{
    int lag = fleet->is_at_rest ? 0 : agent % (VERSIONS_KEPT - 2);
    int version = fleet->version > lag ? fleet->version - lag : 0;
    return &fleet->versions[version % VERSIONS_KEPT];
}

/* ---- messages ---- */

static void fill_node(struct node_report *out, int node, const struct version *version)
{
    bool is_primary = node < PRIMARIES;
    *out = (struct node_report){
        .is_reachable = true,
        .role = is_primary ? NODE_ROLE_PRIMARY : NODE_ROLE_REPLICA,
        .is_cluster_enabled = true,
        .is_cluster_ok = true,
        .is_link_up = true,
        .age_ms = 10,
        .used_memory_bytes = 1 << 30,
        .system_memory_bytes = (int64_t)64 << 30,
        .keys = 1000000,
        .ops_per_s = 20000,
        .clients = 400,
        .ping_us = 300,
        .known_nodes = NODES,
        .slots_owned = is_primary ? SLOT_COUNT / PRIMARIES : 0,
        .view_digest = version->digest,
    };
    node_id_of(node, out->id.text);
    (void)snprintf(out->address.host, sizeof(out->address.host), "10.%d.%d.1", node / 250,
                   node % 250);
    out->address.port = 6379;
    node_id_of(node, out->run_id);
    (void)snprintf(out->version, sizeof(out->version), "7.0.15");
}

static void fill_report(struct agent *agent, struct report *out)
{
    const struct version *version = version_of(agent->fleet, agent->index);
    *out = (struct report){.session = agent->session,
                           .sequence = ++agent->sequence,
                           .fence_acked = agent->fence,
                           .wait_ms = WAIT_MS,
                           .has_nodes = true,
                           .node_count = NODES_PER_AGENT};
    (void)snprintf(out->agent.text, sizeof(out->agent.text), "host-%02d", agent->index);
    out->nodes = xcalloc(NODES_PER_AGENT, sizeof(*out->nodes));
    out->views = xcalloc(VERSIONS_KEPT, sizeof(*out->views));
    for (int i = 0; i < NODES_PER_AGENT; i++) {
        fill_node(&out->nodes[i], agent->index * NODES_PER_AGENT + i, version);
    }
    for (int i = 0; i < agent->view_wanted_count; i++) {
        for (int v = 0; v < VERSIONS_KEPT; v++) {
            const struct version *kept = &agent->fleet->versions[v];
            if (kept->digest == agent->views_wanted[i] && out->view_count < VERSIONS_KEPT) {
                out->views[out->view_count++] =
                    (struct view_text){.digest = kept->digest,
                                       .node = out->nodes[0].id,
                                       .text = xstrdup(strbuf_text(&kept->text)),
                                       .len = kept->text.len};
            }
        }
    }
    agent->view_wanted_count = 0;
}

static void hear_instructions(struct agent *agent, const struct instructions *instructions)
{
    agent->fence = instructions->fence;
    for (int i = 0; i < instructions->view_wanted_count && i < VERSIONS_KEPT; i++) {
        agent->views_wanted[i] = instructions->views_wanted[i];
        agent->view_wanted_count = i + 1;
    }
    agent->fleet->reports++;
}

static void on_answer(void *user, const struct bus_result *result)
{
    struct agent *agent = user;
    struct message message = {0};
    struct err err = {0};
    agent->due_ms = clock_now_ms() + GAP_MS;
    if (result->code != 0) {
        agent->session = 0;
        return;
    }
    int rc = message_decode(result->data, result->size, &message, &err);
    CHECK(rc == 0);
    switch (message.kind) {
    case MESSAGE_WELCOME:
        agent->session = message.as.welcome.session;
        agent->fence = message.as.welcome.fence;
        break;
    case MESSAGE_INSTRUCTIONS:
        hear_instructions(agent, &message.as.instructions);
        break;
    case MESSAGE_REFUSAL:
        agent->session = 0;
        agent->fleet->refusals++;
        break;
    case MESSAGE_HELLO:
    case MESSAGE_REPORT:
        UNREACHABLE("a coordinator sends none");
    }
    message_release(&message);
}

static void agent_speak(struct agent *agent)
{
    struct message message = {.kind = agent->session == 0 ? MESSAGE_HELLO : MESSAGE_REPORT};
    if (agent->session == 0) {
        struct hello *hello = &message.as.hello;
        (void)snprintf(hello->agent.text, sizeof(hello->agent.text), "host-%02d", agent->index);
        (void)snprintf(hello->version, sizeof(hello->version), "%s", DROVER_VERSION);
        hello->incarnation = (uint64_t)agent->index + 1;
        hello->proto_version = PROTO_VERSION;
    } else {
        fill_report(agent, &message.as.report);
    }
    struct strbuf bytes = {0};
    message_encode(&message, &bytes);
    message_release(&message);
    struct bus_bytes data = {.data = bytes.data, .size = bytes.len};
    agent->due_ms = NEVER;
    bus_client_request(agent->bus, 0, &data, TIMEOUT_MS, on_answer, agent);
    strbuf_release(&bytes);
}

/* ---- life ---- */

static void on_signal(void *user, int number)
{
    (void)number;
    struct fleet *fleet = user;
    fleet->is_stopping = true;
}

static bool have_all_reported(const struct fleet *fleet)
{
    for (int i = 0; i < AGENTS; i++) {
        if (fleet->agents[i].sequence < 2) {
            return false;
        }
    }
    return true;
}

static void fleet_turn(struct fleet *fleet)
{
    int64_t now_ms = clock_now_ms();
    if (now_ms >= fleet->version_ms) {
        fleet->version++;
        bool is_news_over = fleet->version >= VERSIONS_KEPT + NEWS_MS / VERSION_MS;
        fleet->is_at_rest = is_news_over;
        fleet->version_ms = is_news_over ? NEVER : now_ms + VERSION_MS;
        version_make(&fleet->versions[fleet->version % VERSIONS_KEPT], fleet->version);
    }
    for (int i = 0; i < AGENTS; i++) {
        if (now_ms >= fleet->agents[i].due_ms) {
            agent_speak(&fleet->agents[i]);
        }
    }
    loop_turn(fleet->loop, 20);
}

static int fleet_run(struct fleet *fleet)
{
    bool is_ready = false;
    while (!fleet->is_stopping) {
        fleet_turn(fleet);
        if (!is_ready && have_all_reported(fleet)) {
            is_ready = true;
            (void)printf("ready\n");
            (void)fflush(stdout);
        }
    }
    (void)printf("reports %llu refusals %llu versions %d\n", (unsigned long long)fleet->reports,
                 (unsigned long long)fleet->refusals, fleet->version);
    return is_ready ? 0 : 1;
}

int main(int argc, char **argv)
{
    struct err err = {0};
    if (argc != 2) {
        (void)fprintf(stderr, "usage: pretend_fleet URL\n");
        return 2;
    }
    struct fleet *fleet = xcalloc(1, sizeof(*fleet));
    fleet->loop = loop_new(&err);
    CHECK(fleet->loop != NULL);
    for (int v = 0; v < VERSIONS_KEPT; v++) {
        version_make(&fleet->versions[v], v);
    }
    fleet->version = VERSIONS_KEPT - 1;
    struct loop_signal *signal = loop_signal_new(fleet->loop, SIGTERM, on_signal, fleet, &err);
    CHECK(signal != NULL);
    const char *urls[] = {argv[1]};
    for (int i = 0; i < AGENTS; i++) {
        struct agent *agent = &fleet->agents[i];
        agent->fleet = fleet;
        agent->index = i;
        agent->bus = bus_client_new(fleet->loop, urls, 1, &(struct bus_options){0}, &err);
        CHECK(agent->bus != NULL);
    }
    int rc = fleet_run(fleet);
    for (int i = 0; i < AGENTS; i++) {
        bus_client_free(fleet->agents[i].bus);
    }
    for (int v = 0; v < VERSIONS_KEPT; v++) {
        strbuf_release(&fleet->versions[v].text);
    }
    loop_signal_free(signal);
    loop_free(fleet->loop);
    free(fleet);
    return rc;
}
