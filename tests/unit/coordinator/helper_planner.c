/* helper_planner.c — see helper_planner.h. */
#include "tests/unit/coordinator/helper_planner.h"

#include "common/base/alloc.h"
#include "common/base/check.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct topology_node made_node(int index)
{
    struct topology_node node = {.address = {.port = 6379},
                                 .is_member = true,
                                 .role = NODE_ROLE_PRIMARY,
                                 .primary = NO_NODE,
                                 .shard = index,
                                 .config_epoch = (uint64_t)index + 1,
                                 .is_reachable = true,
                                 .is_cluster_ok = true,
                                 .is_cluster_enabled = true,
                                 .is_link_up = true,
                                 .view = 0,
                                 .keys = -1,
                                 .used_memory_bytes = -1,
                                 .maxmemory_bytes = -1,
                                 .system_memory_bytes = -1};
    snprintf(node.id.text, sizeof(node.id.text), "%04x%036x", 0xa000 + index, index);
    snprintf(node.address.host, sizeof(node.address.host), "10.0.%d.%d", index / 250,
             index % 250 + 1);
    return node;
}

void made_init(struct topology *topology, int primaries)
{
    size_t capacity = (size_t)primaries * 2 + 1;
    topology_init(topology);
    topology->nodes = xcalloc(capacity, sizeof(struct topology_node));
    topology->shards = xcalloc(capacity, sizeof(struct topology_shard));
    topology->replicas = xcalloc(capacity, sizeof(int));
    topology->node_count = primaries;
    topology->shard_count = primaries;
    for (int i = 0; i < primaries; i++) {
        topology->nodes[i] = made_node(i);
        topology->shards[i].primary = i;
    }
}

int made_add_replica(struct topology *topology, int primary)
{
    int index = topology->node_count++;
    CHECK(index <= topology->shard_count * 2);
    topology->nodes[index] = made_node(index);
    topology->nodes[index].role = NODE_ROLE_REPLICA;
    topology->nodes[index].primary = primary;
    topology->nodes[index].shard = primary;
    return index;
}

void made_give(struct topology *topology, int node, int first, int last)
{
    for (int slot = first; slot <= last; slot++) {
        int before = topology->owner[slot];
        if (before != NO_NODE) {
            topology->nodes[before].slot_count--;
        }
        topology->owner[slot] = (int16_t)node;
    }
    if (node != NO_NODE) {
        topology->nodes[node].slot_count += last - first + 1;
    }
}

void made_parse(struct topology *topology, const char *before)
{
    int parts = 1;
    int node = 0;
    for (const char *c = before; *c != '\0'; c++) {
        parts += *c == '|';
    }
    made_init(topology, parts);
    while (*before != '\0') {
        if (*before == '|' || *before == ' ') {
            node += *before == '|';
            before++;
            continue;
        }
        char *end = NULL;
        long first = strtol(before, &end, 10);
        long last = *end == '-' ? strtol(end + 1, &end, 10) : first;
        CHECK(end != before);
        made_give(topology, node, (int)first, (int)last);
        before = end;
    }
}

void made_format(const struct topology *topology,
                 const int16_t owner[SLOT_COUNT],
                 struct strbuf *out)
{
    for (int i = 0; i < topology->shard_count; i++) {
        struct slotset slots = {0};
        struct strbuf text = {0};
        for (int slot = 0; slot < SLOT_COUNT; slot++) {
            if (owner[slot] == i) {
                slotset_add(&slots, slot);
            }
        }
        slotset_format(&slots, &text);
        for (size_t j = 0; j < text.len; j++) {
            text.data[j] = text.data[j] == ',' ? ' ' : text.data[j];
        }
        strbuf_addf(out, "%s%s", i == 0 ? "" : " | ", strbuf_text(&text));
        strbuf_release(&text);
    }
}
