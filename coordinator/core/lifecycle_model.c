/* lifecycle_model.c — see lifecycle_model.h. */
#include "coordinator/core/lifecycle_model.h"

#include "common/base/alloc.h"
#include "common/base/check.h"
#include "common/model/digest.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void *copy_of(const void *data, int count, int more, size_t size)
{
    char *copy = xcalloc((size_t)(count + more) + 1, size);
    if (count > 0) {
        memcpy(copy, data, (size_t)count * size);
    }
    return copy;
}

static void topology_copy(struct topology *to, const struct topology *from)
{
    *to = *from;
    to->nodes = copy_of(from->nodes, from->node_count, 0, sizeof(*to->nodes));
    to->shards = copy_of(from->shards, from->shard_count, 0, sizeof(*to->shards));
    to->replicas = copy_of(from->replicas, from->replica_count, 0, sizeof(*to->replicas));
    to->opens = copy_of(from->opens, from->open_count, 0, sizeof(*to->opens));
    to->ghosts = copy_of(from->ghosts, from->ghost_count, 0, sizeof(*to->ghosts));
    to->disagreements =
        copy_of(from->disagreements, from->disagreement_count, 0, sizeof(*to->disagreements));
    to->collisions = copy_of(from->collisions, from->collision_count, 0, sizeof(*to->collisions));
    to->views = copy_of(from->views, from->view_count, 0, sizeof(*to->views));
}

void lifecycle_model_init(struct lifecycle_model *model, const struct lifecycle_facts *facts)
{
    *model = (struct lifecycle_model){.facts = *facts};
    topology_copy(&model->topology, facts->topology);
    model->spares = copy_of(facts->spares, facts->spare_count, 0, sizeof(*model->spares));
    model->spare_capacity = facts->spare_count;
    model->hosts = copy_of(facts->hosts, facts->host_count, 0, sizeof(*model->hosts));
    model->batches = xcalloc((size_t)facts->batch_count + 1, sizeof(struct batch));
    model->batch_capacity = facts->batch_count;
    for (int i = 0; i < facts->batch_count; i++) {
        batch_copy(&model->batches[i], &facts->batches[i]);
    }
    model->facts.topology = &model->topology;
    model->facts.spares = model->spares;
    model->facts.hosts = model->hosts;
    model->facts.batches = model->batches;
}

void lifecycle_model_release(struct lifecycle_model *model)
{
    topology_release(&model->topology);
    for (int i = 0; i < model->facts.batch_count; i++) {
        batch_release(&model->batches[i]);
    }
    free(model->spares);
    free(model->hosts);
    free(model->batches);
    *model = (struct lifecycle_model){0};
}

/* ---- shards and counts ---- */

static void rebuild_shards(struct topology *topology)
{
    free(topology->shards);
    free(topology->replicas);
    topology->shards = xcalloc((size_t)topology->node_count + 1, sizeof(*topology->shards));
    topology->replicas = xcalloc((size_t)topology->node_count + 1, sizeof(int));
    topology->shard_count = 0;
    topology->replica_count = 0;
    for (int i = 0; i < topology->node_count; i++) {
        struct topology_node *node = &topology->nodes[i];
        node->shard = NO_SHARD;
        if (!node->is_member || node->role != NODE_ROLE_PRIMARY) {
            continue;
        }
        struct topology_shard *shard = &topology->shards[topology->shard_count];
        *shard = (struct topology_shard){.primary = i, .first_replica = topology->replica_count};
        node->shard = topology->shard_count++;
        for (int j = 0; j < topology->node_count; j++) {
            struct topology_node *other = &topology->nodes[j];
            if (other->is_member && other->role == NODE_ROLE_REPLICA && other->primary == i) {
                topology->replicas[topology->replica_count++] = j;
                shard->replica_count++;
                other->shard = node->shard;
            }
        }
    }
}

void lifecycle_model_rebuild(struct topology *topology)
{
    for (int i = 0; i < topology->node_count; i++) {
        topology->nodes[i].slot_count = 0;
    }
    for (int slot = 0; slot < SLOT_COUNT; slot++) {
        if (topology->owner[slot] != NO_NODE) {
            topology->nodes[topology->owner[slot]].slot_count++;
        }
    }
    rebuild_shards(topology);
}

/* Where a node went when one was put in (change 1) or taken out (change -1) at 'at'. */
static int shifted(int node, int at, int change)
{
    if (node == NO_NODE || node < at) {
        return node;
    }
    return change < 0 && node == at ? NO_NODE : node + change;
}

static void shift_all(struct topology *topology, int at, int change)
{
    for (int i = 0; i < topology->node_count; i++) {
        topology->nodes[i].primary = shifted(topology->nodes[i].primary, at, change);
    }
    for (int slot = 0; slot < SLOT_COUNT; slot++) {
        topology->owner[slot] = (int16_t)shifted(topology->owner[slot], at, change);
    }
    for (int i = 0; i < topology->open_count; i++) {
        topology->opens[i].node = shifted(topology->opens[i].node, at, change);
        topology->opens[i].peer_node = shifted(topology->opens[i].peer_node, at, change);
    }
    for (int i = 0; i < topology->view_count; i++) {
        topology->views[i].believer = shifted(topology->views[i].believer, at, change);
    }
    for (int i = 0; i < topology->ghost_count; i++) {
        topology->ghosts[i].seen_by = shifted(topology->ghosts[i].seen_by, at, change);
    }
    for (int i = 0; i < topology->disagreement_count; i++) {
        struct topology_disagreement *found = &topology->disagreements[i];
        found->subject = shifted(found->subject, at, change);
        for (int j = 0; j < found->opinion_count; j++) {
            found->opinions[j].node = shifted(found->opinions[j].node, at, change);
            found->opinions[j].believer = shifted(found->opinions[j].believer, at, change);
        }
    }
}

static void drop_disagreements(struct topology *topology,
                               enum topology_disagreement_kind kind,
                               int subject)
{
    int kept = 0;
    for (int i = 0; i < topology->disagreement_count; i++) {
        if (topology->disagreements[i].kind != kind ||
            (subject != NO_NODE && topology->disagreements[i].subject != subject)) {
            topology->disagreements[kept++] = topology->disagreements[i];
        }
    }
    topology->disagreement_count = kept;
}

static void node_take_out(struct topology *topology, int at)
{
    for (int kind = DISAGREE_MEMBERSHIP; kind <= DISAGREE_ADDRESS; kind++) {
        drop_disagreements(topology, (enum topology_disagreement_kind)kind, at);
    }
    memmove(&topology->nodes[at], &topology->nodes[at + 1],
            (size_t)(topology->node_count - at - 1) * sizeof(*topology->nodes));
    topology->node_count--;
    shift_all(topology, at, -1);
}

static int node_put_in(struct topology *topology, const struct topology_node *node)
{
    int at = 0;
    while (at < topology->node_count && node_id_compare(&topology->nodes[at].id, &node->id) < 0) {
        at++;
    }
    topology->nodes =
        xreallocarray(topology->nodes, (size_t)topology->node_count + 1, sizeof(*topology->nodes));
    memmove(&topology->nodes[at + 1], &topology->nodes[at],
            (size_t)(topology->node_count - at) * sizeof(*topology->nodes));
    topology->nodes[at] = *node;
    topology->node_count++;
    topology->nodes[at].primary = NO_NODE;
    /* The new node's own place must not be shifted. */
    struct topology_node kept = topology->nodes[at];
    shift_all(topology, at, 1);
    topology->nodes[at] = kept;
    return at;
}

/* ---- steps ---- */

static struct topology_node fresh_node(const struct address *address)
{
    char text[ADDRESS_TEXT_SIZE];
    struct topology_node node = {.address = *address,
                                 .role = NODE_ROLE_PRIMARY,
                                 .primary = NO_NODE,
                                 .shard = NO_SHARD,
                                 .is_reachable = true,
                                 .is_cluster_ok = true,
                                 .is_cluster_enabled = true,
                                 .is_alone = true,
                                 .keys = 0,
                                 .used_memory_bytes = -1,
                                 .maxmemory_bytes = -1,
                                 .system_memory_bytes = -1};
    uint64_t digest = digest_text(DIGEST_START, address_format(address, text));
    (void)snprintf(node.id.text, sizeof(node.id.text), "%016" PRIx64 "%024x", digest,
                   address->port);
    return node;
}

static int find_task_node(struct topology *topology, const struct task *task)
{
    int node = node_id_is_empty(&task->node) ? NO_NODE : topology_find(topology, &task->node);
    for (int i = 0; i < topology->node_count && node == NO_NODE; i++) {
        if (node_id_is_empty(&task->node) &&
            address_is_equal(&topology->nodes[i].address, &task->node_address)) {
            node = i;
        }
    }
    return node;
}

static void drop_spare(struct lifecycle_model *model, const struct address *address)
{
    int kept = 0;
    for (int i = 0; i < model->facts.spare_count; i++) {
        if (!address_is_equal(&model->spares[i], address)) {
            model->spares[kept++] = model->spares[i];
        }
    }
    model->facts.spare_count = kept;
}

static uint64_t highest_epoch(const struct topology *topology)
{
    uint64_t highest = 0;
    for (int i = 0; i < topology->node_count; i++) {
        uint64_t epoch = topology->nodes[i].config_epoch;
        highest = epoch > highest ? epoch : highest;
    }
    return highest;
}

static void apply_join(struct lifecycle_model *model, const struct task *task)
{
    struct topology *topology = &model->topology;
    int node = find_task_node(topology, task);
    if (node == NO_NODE) {
        struct topology_node fresh = fresh_node(&task->node_address);
        node = node_put_in(topology, &fresh);
    }
    int peer = topology_find(topology, &task->peer);
    struct topology_node *joined = &topology->nodes[node];
    drop_spare(model, &task->node_address);
    joined->is_member = true;
    joined->is_cluster_ok = true;
    joined->is_alone = false;
    joined->role = NODE_ROLE_PRIMARY;
    joined->config_epoch = highest_epoch(topology) + 1;
    joined->view = peer == NO_NODE ? 0 : topology->nodes[peer].view;
    if (peer != NO_NODE) { /* of two lone servers a cluster is made: the other one is in it too */
        topology->nodes[peer].is_member = true;
        topology->nodes[peer].is_alone = false;
    }
    drop_disagreements(topology, DISAGREE_MEMBERSHIP, NO_NODE);
}

static void apply_replicate(struct topology *topology, int node, int primary)
{
    CHECK(node != NO_NODE);
    CHECK(primary != NO_NODE);
    topology->nodes[node].role = NODE_ROLE_REPLICA;
    topology->nodes[node].primary = primary;
    topology->nodes[node].is_link_up = true;
}

static void apply_failover(struct topology *topology, int node)
{
    int old = topology->nodes[node].primary;
    CHECK(old != NO_NODE);
    for (int slot = 0; slot < SLOT_COUNT; slot++) {
        if (topology->owner[slot] == old) {
            topology->owner[slot] = (int16_t)node;
        }
    }
    for (int i = 0; i < topology->node_count; i++) {
        if (topology->nodes[i].primary == old) {
            topology->nodes[i].primary = node;
        }
    }
    topology->nodes[node].role = NODE_ROLE_PRIMARY;
    topology->nodes[node].primary = NO_NODE;
    topology->nodes[node].config_epoch = highest_epoch(topology) + 1;
    topology->nodes[old].role = NODE_ROLE_REPLICA;
    topology->nodes[old].primary = node;
    topology->nodes[old].is_link_up = true;
}

static void drop_ghost(struct topology *topology, const struct node_id *id)
{
    int kept = 0;
    for (int i = 0; i < topology->ghost_count; i++) {
        if (!node_id_is_equal(&topology->ghosts[i].id, id)) {
            topology->ghosts[kept++] = topology->ghosts[i];
        }
    }
    topology->ghost_count = kept;
}

/* Tasks take a dispute from its low end. */
static void trim_disputes(struct topology *topology, const struct slotset *slots)
{
    int kept = 0;
    for (int i = 0; i < topology->disagreement_count; i++) {
        struct topology_disagreement found = topology->disagreements[i];
        while (found.kind == DISAGREE_OWNER && found.first <= found.last &&
               slotset_has(slots, found.first)) {
            found.first++;
        }
        if (found.kind != DISAGREE_OWNER || found.first <= found.last) {
            topology->disagreements[kept++] = found;
        }
    }
    topology->disagreement_count = kept;
}

static void apply_repair(struct topology *topology, const struct task *task)
{
    int owner = topology_find(topology, &task->node);
    int kept = 0;
    for (int i = 0; i < topology->open_count; i++) {
        if (!slotset_has(&task->slots, topology->opens[i].slot)) {
            topology->opens[kept++] = topology->opens[i];
        }
    }
    topology->open_count = kept;
    SLOTSET_FOREACH (slot, &task->slots) {
        topology->owner[slot] = (int16_t)owner;
    }
    trim_disputes(topology, &task->slots);
}

/* Nobody knows where it will be: "new-1" stands for the first. It is in the zone that was asked
 * for. */
static struct address apply_provision(struct lifecycle_model *model, const struct task *task)
{
    struct address made = {.port = 6379};
    struct lifecycle_host host = {.memory_free_bytes = -1};
    int number = 1;
    for (int i = 0; i < model->facts.batch_count; i++) {
        number += model->batches[i].task != NULL && model->batches[i].task->kind == TASK_PROVISION;
    }
    (void)snprintf(made.host, sizeof(made.host), "new-%d", number);
    (void)snprintf(host.host, sizeof(host.host), "%s", made.host);
    if (task_detail_get(task, "zone", host.zone, sizeof(host.zone))) {
        model->hosts =
            xreallocarray(model->hosts, (size_t)model->facts.host_count + 1, sizeof(host));
        model->hosts[model->facts.host_count++] = host;
        model->facts.hosts = model->hosts;
    }
    return made;
}

/* Once every slot has an owner all nodes are content. */
static void apply_add_slots(struct topology *topology, int node, const struct slotset *slots)
{
    bool is_covered = true;
    SLOTSET_FOREACH (slot, slots) {
        topology->owner[slot] = (int16_t)node;
    }
    for (int slot = 0; slot < SLOT_COUNT && is_covered; slot++) {
        is_covered = topology->owner[slot] != NO_NODE;
    }
    for (int i = 0; i < topology->node_count && is_covered; i++) {
        struct topology_node *member = &topology->nodes[i];
        member->is_cluster_ok =
            member->is_cluster_ok || (member->is_member && member->is_reachable);
    }
}

static void apply_task(struct lifecycle_model *model, const struct task *task)
{
    struct topology *topology = &model->topology;
    int node = find_task_node(topology, task);
    switch (task->kind) {
    case TASK_JOIN:
        apply_join(model, task);
        break;
    case TASK_REPLICATE:
        apply_replicate(topology, node, topology_find(topology, &task->peer));
        break;
    case TASK_FAILOVER:
        apply_failover(topology, node);
        break;
    case TASK_LEAVE:
        drop_ghost(topology, &task->node);
        if (node != NO_NODE) {
            node_take_out(topology, node);
        }
        break;
    case TASK_REPAIR:
        apply_repair(topology, task);
        break;
    case TASK_START: {
        struct topology_node fresh = fresh_node(&task->node_address);
        (void)node_put_in(topology, &fresh);
        break;
    }
    case TASK_STOP:
    case TASK_PROVISION:
    case TASK_RELEASE:
    case TASK_TRAFFIC:
    case TASK_REACH:
        break;
    case TASK_MEET:
        drop_disagreements(topology, DISAGREE_MEMBERSHIP, node);
        break;
    case TASK_ADD_SLOTS:
        apply_add_slots(topology, node, &task->slots);
        break;
    }
}

static void apply_move(struct topology *topology, const struct batch *batch)
{
    int target = topology_find(topology, &batch->target);
    CHECK(target != NO_NODE);
    SLOTSET_FOREACH (slot, &batch->slots) {
        topology->owner[slot] = (int16_t)target;
    }
}

void lifecycle_model_apply(struct lifecycle_model *model, const struct lifecycle_answer *answer)
{
    for (int i = 0; i < answer->batch_count; i++) {
        const struct batch *batch = &answer->batches[i];
        if (batch->kind == BATCH_MOVE) {
            apply_move(&model->topology, batch);
        } else {
            apply_task(model, batch->task);
        }
        struct address made = {0};
        if (batch->task != NULL && batch->task->kind == TASK_PROVISION) {
            made = apply_provision(model, batch->task);
        }
        lifecycle_model_rebuild(&model->topology);
        ARRAY_RESERVE(model->batches, model->facts.batch_count, model->batch_capacity);
        struct batch *kept = &model->batches[model->facts.batch_count];
        batch_copy(kept, batch);
        kept->index = model->facts.batch_count++;
        kept->state = BATCH_DONE;
        kept->made = made;
    }
    model->facts.batches = model->batches;
}
