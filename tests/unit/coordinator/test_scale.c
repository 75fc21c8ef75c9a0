/* test_scale.c — 1,000 nodes behind 100 agents: what a coordinator costs at rest, in memory and in
 * time. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <cmocka.h>

#include "common/base/alloc.h"
#include "common/model/nodes_text.h"
#include "common/model/topology.h"
#include "coordinator/core/coordinator.h"

#define NODES 1000
#define AGENTS 100
#define NODES_PER_AGENT (NODES / AGENTS)
#define SECONDS 60
#if defined(__has_feature) /* clang */
#define IS_SANITIZED (__has_feature(address_sanitizer) || __has_feature(thread_sanitizer))
#elif defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define IS_SANITIZED 1
#else
#define IS_SANITIZED 0
#endif

#define RSS_KIB_MAX (32 * 1024)
#define CPU_PERCENT_MAX 5.0 /* of one core; unoptimised builds with sanitizers are slow */

struct fleet {
    struct coordinator *core;
    int64_t now_ms;
    int64_t revision;
    uint64_t session[AGENTS];
    uint64_t sequence[AGENTS];
    bool is_view_wanted;
    struct strbuf text;
    uint64_t digest;
};

static void make_text(struct strbuf *out)
{
    for (int i = 0; i < NODES; i++) {
        strbuf_addf(out, "%040x 10.%d.%d.1:6379@16379 %smaster - 0 0 %d connected", i + 1, i / 250,
                    i % 250, i == 0 ? "myself," : "", i + 1);
        strbuf_addf(out, " %d-%d\n", i * SLOT_COUNT / NODES, (i + 1) * SLOT_COUNT / NODES - 1);
    }
}

static void feed(struct fleet *f, struct coordinator_event *event);

/* The store of a fair day: everything succeeds at once. */
static void answer_store(struct fleet *f, const struct store_request *request)
{
    struct store_result result = {.req_id = request->req_id, .succeeded = true, .ttl_ms = 10000};
    result.revision = ++f->revision;
    struct coordinator_event event = {.kind = COORDINATOR_STORE, .result = &result};
    feed(f, &event);
}

static void take_reply(struct fleet *f, const struct coordinator_effect *effect)
{
    if (effect->message.kind == MESSAGE_WELCOME) {
        f->session[effect->handle] = effect->message.as.welcome.session;
    } else if (effect->message.kind == MESSAGE_INSTRUCTIONS) {
        f->is_view_wanted =
            f->is_view_wanted || effect->message.as.instructions.view_wanted_count > 0;
    }
}

static void feed(struct fleet *f, struct coordinator_event *event)
{
    struct coordinator_effects fx = {0};
    event->now_ms = f->now_ms;
    coordinator_step(f->core, event, &fx);
    for (int i = 0; i < fx.count; i++) {
        if (fx.items[i].kind == COORDINATOR_FX_REPLY) {
            take_reply(f, &fx.items[i]);
        }
    }
    for (int i = 0; i < fx.count; i++) {
        if (fx.items[i].kind == COORDINATOR_FX_STORE) {
            answer_store(f, &fx.items[i].request);
        }
    }
    coordinator_effects_release(&fx);
}

static void say_hello(struct fleet *f, int agent)
{
    struct message message = {.kind = MESSAGE_HELLO};
    (void)snprintf(message.as.hello.agent.text, sizeof(message.as.hello.agent.text), "host-%03d",
                   agent);
    message.as.hello.incarnation = (uint64_t)agent + 1;
    message.as.hello.proto_version = PROTO_VERSION;
    struct coordinator_event event = {
        .kind = COORDINATOR_MESSAGE, .handle = (uint64_t)agent, .message = &message};
    feed(f, &event);
}

static void report(struct fleet *f, int agent)
{
    struct node_report nodes[NODES_PER_AGENT];
    struct message message = {.kind = MESSAGE_REPORT};
    struct report *out = &message.as.report;
    (void)snprintf(out->agent.text, sizeof(out->agent.text), "host-%03d", agent);
    out->session = f->session[agent];
    out->sequence = ++f->sequence[agent];
    out->fence_acked = coordinator_fence(f->core);
    out->wait_ms = 2000;
    out->has_nodes = true;
    out->nodes = nodes;
    out->node_count = NODES_PER_AGENT;
    for (int i = 0; i < NODES_PER_AGENT; i++) {
        int n = agent * NODES_PER_AGENT + i;
        nodes[i] = (struct node_report){.is_reachable = true,
                                        .role = NODE_ROLE_PRIMARY,
                                        .is_cluster_enabled = true,
                                        .is_cluster_ok = true,
                                        .keys = 1000,
                                        .view_digest = f->digest};
        (void)snprintf(nodes[i].id.text, sizeof(nodes[i].id.text), "%040x", n + 1);
        (void)snprintf(nodes[i].address.host, sizeof(nodes[i].address.host), "10.%d.%d.1", n / 250,
                       n % 250);
        nodes[i].address.port = 6379;
    }
    struct view_text view = {
        .digest = f->digest, .node = nodes[0].id, .text = f->text.data, .len = f->text.len};
    if (f->is_view_wanted) {
        out->views = &view;
        out->view_count = 1;
        f->is_view_wanted = false;
    }
    struct coordinator_event event = {
        .kind = COORDINATOR_MESSAGE, .handle = (uint64_t)agent, .message = &message};
    feed(f, &event);
}

static long rss_kib(void)
{
    long kib = -1;
    char line[256];
    FILE *file = fopen("/proc/self/status", "r");
    assert_non_null(file);
    while (fgets(line, sizeof(line), file) != NULL) {
        if (strncmp(line, "VmRSS:", 6) == 0) {
            kib = strtol(line + 6, NULL, 10);
        }
    }
    (void)fclose(file);
    return kib;
}

static void let_pass(struct fleet *f, int64_t until_ms)
{
    while (f->now_ms < until_ms) {
        int64_t deadline_ms = coordinator_deadline(f->core);
        f->now_ms =
            deadline_ms < until_ms ? (deadline_ms > f->now_ms ? deadline_ms : f->now_ms) : until_ms;
        struct coordinator_event tick = {.kind = COORDINATOR_TICK};
        if (deadline_ms <= until_ms) {
            feed(f, &tick);
        }
    }
}

static void test_thousand_nodes(void **state)
{
    (void)state;
    long base_kib = rss_kib();
    struct fleet f = {.revision = 10};
    struct coordinator_config config = {.seed = 1};
    struct nodes_view view = {0};
    struct err err = {0};
    make_text(&f.text);
    assert_int_equal(nodes_view_parse(&view, f.text.data, f.text.len, &err), 0);
    f.digest = nodes_view_digest(&view);
    nodes_view_release(&view);
    f.core = coordinator_new(&config, 0);
    let_pass(&f, 1000);
    assert_true(coordinator_is_leader(f.core));
    for (int i = 0; i < AGENTS; i++) {
        say_hello(&f, i);
    }
    clock_t begun = clock();
    for (int64_t second = 1; second <= SECONDS; second += 2) {
        for (int i = 0; i < AGENTS; i++) {
            report(&f, i);
            let_pass(&f, f.now_ms + 2000 / AGENTS);
        }
    }
    double cpu_percent = 100.0 * (double)(clock() - begun) / CLOCKS_PER_SEC / SECONDS;
    long kib = rss_kib();
    print_message(
        "1,000 nodes, 100 agents: %ld KiB RSS (%ld of them before), %.2f %% of a core; %s\n", kib,
        base_kib, cpu_percent, coordinator_why(f.core));
    assert_int_equal(coordinator_topology(f.core)->node_count, NODES);
    assert_non_null(strstr(coordinator_why(f.core), "nothing to do: 1000 shards"));
    if (IS_SANITIZED) {
        print_message("skipped: the limits, since a sanitizer has costs of its own\n");
    } else {
        assert_true(kib < RSS_KIB_MAX);
        assert_true(cpu_percent < CPU_PERCENT_MAX);
    }
    coordinator_free(f.core);
    strbuf_release(&f.text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_thousand_nodes)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
