/* helper_cluster.c — see helper_cluster.h. */
#include "tests/unit/model/helper_cluster.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "common/base/alloc.h"

struct node_id fake_id(int index)
{
    struct node_id id;
    snprintf(id.text, sizeof(id.text), "%c%07x%032x", "0123456789abcdef"[index % 16], index, index);
    return id;
}

void fake_text(const struct fake_view *view, int count, int myself, struct strbuf *out)
{
    for (int i = 0; i < count; i++) {
        const struct fake_row *row = &view->rows[i];
        if (row->flags == NULL) {
            continue;
        }
        strbuf_addf(out, "%s 10.0.0.%d:6379@16379 %s%s %s 0 1700000000000 %d connected%s%s\n",
                    fake_id(i).text, i + 1, i == myself ? "myself," : "", row->flags,
                    row->primary < 0 ? "-" : fake_id(row->primary).text, row->config_epoch,
                    row->slots[0] == '\0' ? "" : " ", row->slots);
    }
}

void fake_init(struct fake_cluster *cluster, int primaries, bool has_replicas)
{
    static char ranges[FAKE_NODES_MAX][32];
    *cluster = (struct fake_cluster){.count = has_replicas ? primaries * 2 : primaries};
    for (int i = 0; i < primaries; i++) {
        snprintf(ranges[i], sizeof(ranges[i]), "%d-%d", SLOT_COUNT * i / primaries,
                 SLOT_COUNT * (i + 1) / primaries - 1);
    }
    for (int i = 0; i < cluster->count; i++) {
        bool is_primary = i < primaries;
        fake_set_all(cluster, i,
                     (struct fake_row){.flags = is_primary ? "master" : "slave",
                                       .primary = is_primary ? -1 : i - primaries,
                                       .config_epoch = i % primaries + 1,
                                       .slots = is_primary ? ranges[i] : ""});
        struct node_report *report = &cluster->reports[i];
        report->id = fake_id(i);
        snprintf(report->address.host, sizeof(report->address.host), "10.0.0.%d", i + 1);
        report->address.port = 6379;
        report->is_reachable = true;
        report->is_cluster_ok = true;
        report->is_cluster_enabled = true;
        report->is_link_up = true;
        report->role = is_primary ? NODE_ROLE_PRIMARY : NODE_ROLE_REPLICA;
        report->keys = 1000;
        report->used_memory_bytes = 1000000;
        report->maxmemory_bytes = 0;
    }
}

void fake_set_all(struct fake_cluster *cluster, int index, struct fake_row row)
{
    for (int i = 0; i < cluster->count; i++) {
        cluster->views[i].rows[index] = row;
    }
}

void fake_build(struct fake_cluster *cluster)
{
    const struct nodes_view *views[FAKE_NODES_MAX];
    uint64_t digests[FAKE_NODES_MAX];
    struct topology_seen seen[FAKE_NODES_MAX];
    struct topology_input input = {
        .seen = seen, .views = views, .view_digests = digests, .age_ms_max = 10000};
    for (int i = 0; i < cluster->count; i++) {
        struct strbuf text = {0};
        struct err err = {0};
        fake_text(&cluster->views[i], cluster->count, i, &text);
        if (nodes_view_parse(&cluster->parsed[i], strbuf_text(&text), text.len, &err) != 0) {
            fail_msg("%s in:\n%s", err.text, strbuf_text(&text));
        }
        strbuf_release(&text);
        struct node_report *report = &cluster->reports[i];
        report->view_digest = nodes_view_digest(&cluster->parsed[i]);
        report->open_slots = cluster->parsed[i].opens;
        report->open_slot_count = cluster->parsed[i].open_count;
        views[input.view_count] = &cluster->parsed[i];
        digests[input.view_count++] = report->view_digest;
        if (!cluster->is_unreported[i]) {
            seen[input.seen_count++] = (struct topology_seen){.report = report,
                                                              .agent = {.text = "agent"},
                                                              .age_ms = report->age_ms,
                                                              .is_guest = cluster->is_guest[i]};
        }
    }
    struct err err = {0};
    topology_init(&cluster->topology);
    if (topology_build(&cluster->topology, &input, &err) != 0) {
        fail_msg("%s", err.text);
    }
}

void fake_release(struct fake_cluster *cluster)
{
    for (int i = 0; i < cluster->count; i++) {
        nodes_view_release(&cluster->parsed[i]);
    }
    topology_release(&cluster->topology);
}

void fake_assert_unsettled(const struct fake_cluster *cluster, const char *part)
{
    struct strbuf why = {0};
    assert_false(topology_is_settled(&cluster->topology, &why));
    if (strstr(strbuf_text(&why), part) == NULL) {
        fail_msg("\"%s\" does not contain \"%s\"", strbuf_text(&why), part);
    }
    strbuf_release(&why);
}

char *sample_read(const char *name, size_t *len)
{
    char *path = xasprintf("%s/samples/%s", TEST_SOURCE_DIR, name);
    FILE *file = fopen(path, "rb");
    struct strbuf text = {0};
    char chunk[4096];
    assert_non_null(file);
    for (size_t got = fread(chunk, 1, sizeof(chunk), file); got > 0;
         got = fread(chunk, 1, sizeof(chunk), file)) {
        strbuf_add(&text, chunk, got);
    }
    fclose(file);
    free(path);
    *len = text.len;
    return strbuf_detach(&text);
}
