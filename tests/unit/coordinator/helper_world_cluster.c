/* helper_world_cluster.c — nodes that always agree. */
#include "helper_world_parts.h"

#include "common/model/removal_proof.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "common/base/alloc.h"
#include "common/model/nodes_text.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void nodes_text(const struct world *w, int myself, struct strbuf *out)
{
    for (int i = 0; i < w->node_count; i++) {
        const struct world_node *node = &w->nodes[i];
        if (i != myself && !(node->is_member && w->nodes[myself].is_member)) {
            continue;
        }
        strbuf_addf(out, "%s %s:%u@%u %s%s%s %s 0 0 %d %s", node->id.text, node->address.host,
                    node->address.port, node->address.port + 10000, i == myself ? "myself," : "",
                    node->is_primary ? "master" : "slave", node->is_failed ? ",fail" : "",
                    node->is_primary ? "-" : w->nodes[node->primary].id.text, i + 1,
                    node->is_failed ? "disconnected" : "connected");
        for (int slot = 0; slot < SLOT_COUNT; slot++) {
            if (w->owner[slot] != i) {
                continue;
            }
            int last = slot;
            while (last + 1 < SLOT_COUNT && w->owner[last + 1] == i) {
                last++;
            }
            if (last == slot) {
                strbuf_addf(out, " %d", slot);
            } else {
                strbuf_addf(out, " %d-%d", slot, last);
            }
            slot = last;
        }
        strbuf_add_text(out, "\n");
    }
}

/* The agent probes the node: what it reports from now on is this. */
static uint64_t nodes_probe(struct world *w, int n)
{
    struct world_node *node = &w->nodes[n];
    struct nodes_view view = {0};
    struct err err = {0};
    strbuf_clear(&node->text);
    nodes_text(w, n, &node->text);
    if (nodes_view_parse(&view, strbuf_text(&node->text), node->text.len, &err) != 0) {
        fail_msg("%s", err.text);
    }
    node->digest = nodes_view_digest(&view);
    nodes_view_release(&view);
    return node->digest;
}

void fill_node(struct world *w, int n, struct node_report *out)
{
    const struct world_node *node = &w->nodes[n];
    if (node->is_locked) {
        *out = (struct node_report){.address = node->address,
                                    .reason_code = ERR_AUTH,
                                    .reason = "10.0.0.1:7001: WRONGPASS invalid password"};
        return;
    }
    *out = (struct node_report){
        .address = node->address,
        .id = node->id,
        .is_reachable = !node->is_failed,
        .role = node->is_primary ? NODE_ROLE_PRIMARY : NODE_ROLE_REPLICA,
        .is_cluster_enabled = true,
        .is_cluster_ok = node->is_member,
        .known_nodes = node->is_member ? w->node_count : 1,
        .is_link_up = true,
        .used_memory_bytes = 1000000,
        .keys = 100 * world_slots_of(w, n),
        .config_epoch = n + 1,
        .current_epoch = 100,
        .slots_owned = world_slots_of(w, n),
        .view_digest = node->is_failed ? 0 : nodes_probe(w, n),
    };
    (void)snprintf(out->version, sizeof(out->version), "7.0.15");
    memcpy(out->run_id, node->run_id, sizeof(out->run_id));
    if (node->open_slot >= 0) {
        out->open_slots = xcalloc(1, sizeof(*out->open_slots));
        out->open_slots[0] = (struct open_slot){.slot = (uint16_t)node->open_slot,
                                                .is_importing = node->is_importing,
                                                .peer = w->nodes[node->open_peer].id};
        out->open_slot_count = 1;
    }
}

int world_slots_of(const struct world *w, int node)
{
    int count = 0;
    for (int slot = 0; slot < SLOT_COUNT; slot++) {
        count += w->owner[slot] == node ? 1 : 0;
    }
    return count;
}

void world_failover(struct world *w, int node, int replica)
{
    for (int slot = 0; slot < SLOT_COUNT; slot++) {
        if (w->owner[slot] == node) {
            w->owner[slot] = (int16_t)replica;
        }
    }
    w->nodes[node].is_failed = true;
    w->nodes[replica].is_primary = true;
}

int find_node(const struct world *w, const struct node_id *id)
{
    for (int i = 0; i < w->node_count; i++) {
        if (node_id_is_equal(&w->nodes[i].id, id)) {
            return i;
        }
    }
    return -1;
}

static int find_by_address(const struct world *w, const struct address *address)
{
    for (int i = 0; i < w->node_count; i++) {
        if (address_is_equal(&w->nodes[i].address, address)) {
            return i;
        }
    }
    return -1;
}

/* As an agent reads it: behind the line that names the agent. */
static void check_certificate(const struct task *task)
{
    struct removal_proof proof;
    struct err err = {0};
    const char *text = strchr(task->detail, '\n');
    assert_non_null(text);
    if (removal_proof_parse(&proof, text + 1, "", &err) != 0) {
        fail_msg("%s: %s", err.text, task->detail);
    }
    assert_true(address_is_equal(&proof.address, &task->node_address));
}

void carry_out(struct world *w, const struct task *task)
{
    int n = find_by_address(w, &task->node_address);
    int peer = find_by_address(w, &task->peer_address);
    assert_true(n >= 0);
    struct world_node *node = &w->nodes[n];
    switch (task->kind) {
    case TASK_JOIN:
        assert_true(peer >= 0);
        node->is_member = true;
        w->nodes[peer].is_member = true; /* the first of a new cluster was alone, too */
        break;
    case TASK_REPLICATE:
        assert_int_equal(world_slots_of(w, n), 0);
        node->is_primary = false;
        node->primary = peer;
        break;
    case TASK_LEAVE:
        assert_int_equal(world_slots_of(w, n), 0);
        node->is_member = false;
        node->is_primary = true;
        break;
    case TASK_ADD_SLOTS:
        SLOTSET_FOREACH (slot, &task->slots) {
            w->owner[slot] = (int16_t)n;
        }
        break;
    case TASK_FAILOVER:
        assert_true(peer >= 0);
        world_failover(w, peer, n);
        w->nodes[peer].is_failed = false;
        w->nodes[peer].is_primary = false;
        w->nodes[peer].primary = n;
        break;
    case TASK_TRAFFIC:
        node->is_drained = (task->flags & TASK_UP) == 0;
        break;
    case TASK_RELEASE:
        check_certificate(task);
        assert_false(node->is_member);
        assert_false(node->is_released);
        node->is_released = true;
        break;
    case TASK_REPAIR:
    case TASK_START:
    case TASK_STOP:
    case TASK_MEET:
    case TASK_PROVISION:
    case TASK_REACH:
        break;
    }
}
