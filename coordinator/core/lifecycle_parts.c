/* lifecycle_parts.c — saying and asking; see lifecycle_parts.h. */
#include "coordinator/core/lifecycle_parts.h"

#include "common/base/alloc.h"
#include "common/base/check.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

bool decision_is_made(const struct decision *d)
{
    return d->answer->verdict != 0 || d->answer->batch_count > 0 || d->unseen[0] != '\0';
}

/* Only the first word counts. */
PRINTF_LIKE(4, 0)
static void say(struct decision *d,
                enum lifecycle_verdict verdict,
                int code,
                const char *format,
                va_list args)
{
    if (d->answer->verdict == LIFECYCLE_REFUSED || d->answer->verdict == LIFECYCLE_WAIT) {
        return;
    }
    d->answer->verdict = verdict;
    d->answer->code = code;
    (void)vsnprintf(d->answer->reason, sizeof(d->answer->reason), format, args);
}

void decide_refuse(struct decision *d, int code, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    say(d, LIFECYCLE_REFUSED, code, format, args);
    va_end(args);
}

void decide_wait(struct decision *d, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    say(d, LIFECYCLE_WAIT, 0, format, args);
    va_end(args);
}

void decide_note(struct decision *d, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    if (!decision_is_made(d)) {
        (void)vsnprintf(d->answer->reason, sizeof(d->answer->reason), format, args);
    }
    va_end(args);
}

void decide_settled(struct decision *d)
{
    struct strbuf why = {0};
    if (!topology_is_settled(d->topology, &why)) {
        decide_wait(d, "%s", strbuf_text(&why));
    }
    strbuf_release(&why);
}

static bool is_same_task(const struct task *a, const struct task *b)
{
    bool is_same_node = node_id_is_empty(&a->node) || node_id_is_empty(&b->node)
                            ? address_is_equal(&a->node_address, &b->node_address)
                            : node_id_is_equal(&a->node, &b->node);
    bool is_same_peer =
        a->kind == TASK_JOIN || a->kind == TASK_LEAVE || node_id_is_equal(&a->peer, &b->peer);
    bool is_same_host = a->kind != TASK_REACH || strcmp(a->detail, b->detail) == 0;
    return a->kind == b->kind && is_same_node && is_same_peer && is_same_host &&
           slotset_is_equal(&a->slots, &b->slots);
}

/* How often the task was done, and whether that was in the latest round: a round has tasks of one
 * kind only, beside those that show in no view. */
static int count_done(const struct lifecycle_facts *facts, const struct task *task, bool *is_latest)
{
    int count = 0;
    *is_latest = false;
    for (int i = 0; i < facts->batch_count; i++) {
        const struct batch *batch = &facts->batches[i];
        bool is_task = batch->kind == BATCH_TASK && batch->task != NULL;
        if (is_task && batch->task->kind == TASK_TRAFFIC) {
            continue;
        }
        if (!is_task || batch->task->kind != task->kind) {
            *is_latest = false;
        } else if (batch->state == BATCH_DONE && is_same_task(batch->task, task)) {
            *is_latest = true;
            count++;
        }
    }
    return count;
}

void decide_task(struct decision *d, const struct task *task)
{
    struct lifecycle_answer *answer = d->answer;
    char text[TEXT_SIZE];
    bool is_latest = false;
    int done_count = count_done(d->facts, task, &is_latest);
    task_format(task, text, sizeof(text));
    if (is_latest) {
        (void)snprintf(d->unseen, sizeof(d->unseen), "done, but not seen by all nodes yet: %.110s",
                       text);
        return;
    }
    if (done_count >= REPEATS_MAX) {
        decide_refuse(d, ERR_CONFLICT, "done %d times and undone again by somebody: %.100s",
                      done_count, text);
        return;
    }
    ARRAY_RESERVE(answer->batches, answer->batch_count, d->capacity);
    answer->batches[answer->batch_count++] = (struct batch){.kind = BATCH_TASK,
                                                            .task = xmemdup(task, sizeof(*task)),
                                                            .source = task->node,
                                                            .target = task->peer,
                                                            .state = BATCH_WAITING};
}

void decide_plan(struct decision *d, struct plan *plan)
{
    struct lifecycle_answer *answer = d->answer;
    for (int i = 0; i < plan->batch_count; i++) {
        ARRAY_RESERVE(answer->batches, answer->batch_count, d->capacity);
        batch_copy(&answer->batches[answer->batch_count++], &plan->batches[i]);
    }
    plan_release(plan);
}

void decide_plan_failed(struct decision *d, int code, const struct err *err)
{
    if (code == ERR_CONFLICT) {
        decide_wait(d, "%s", err->text);
    } else if (err->hint[0] != '\0' && strlen(err->text) + strlen(err->hint) + 3 < TEXT_SIZE) {
        decide_refuse(d, code, "%s; %s", err->text, err->hint);
    } else {
        decide_refuse(d, code, "%s", err->text);
    }
}

void task_of_node(const struct decision *d,
                  enum task_kind kind,
                  int node,
                  int peer,
                  struct task *out)
{
    *out = (struct task){.kind = kind,
                         .node = d->topology->nodes[node].id,
                         .node_address = d->topology->nodes[node].address};
    if (peer != NO_NODE) {
        out->peer = d->topology->nodes[peer].id;
        out->peer_address = d->topology->nodes[peer].address;
    }
}

/* A node that is seen but no member, by address. */
static int find_stranger_at(const struct topology *topology, const struct address *address)
{
    for (int i = 0; i < topology->node_count; i++) {
        const struct topology_node *node = &topology->nodes[i];
        if (!node->is_member && node->is_reachable && address_is_equal(&node->address, address)) {
            return i;
        }
    }
    return NO_NODE;
}

void decide_join(struct decision *d, const struct address *address)
{
    char text[ADDRESS_TEXT_SIZE];
    int stranger = find_stranger_at(d->topology, address);
    int peer = find_peer(d->topology, NO_NODE);
    struct task task = {.kind = TASK_JOIN, .node_address = *address};
    address_format(address, text);
    if (peer == NO_NODE) {
        decide_wait(d, "%.100s can join nothing: no primary answers", text);
        return;
    }
    if (stranger != NO_NODE) {
        const struct topology_node *node = &d->topology->nodes[stranger];
        if (!node->is_cluster_enabled) {
            decide_refuse(d, ERR_REFUSED, "%.80s has cluster mode off; set cluster-enabled yes",
                          text);
            return;
        }
        const char *use = node->keys > 0                    ? "it has keys"
                          : node->slots_claimed > 0         ? "it has slots"
                          : node->role == NODE_ROLE_REPLICA ? "it is a replica"
                          : !node->is_alone                 ? "it knows other nodes"
                                                            : NULL;
        if (use != NULL) {
            decide_refuse(d, ERR_REFUSED,
                          "%.60s is used: %s; empty it first (FLUSHALL, then CLUSTER RESET HARD), "
                          "its data would be lost",
                          text, use);
            return;
        }
        task.node = node->id;
    }
    task.peer = d->topology->nodes[peer].id;
    task.peer_address = d->topology->nodes[peer].address;
    if (!decide_reach(d, address)) {
        decide_task(d, &task);
    }
}

void decide_replicate(struct decision *d, int node, int primary)
{
    struct task task;
    task_of_node(d, TASK_REPLICATE, node, primary, &task);
    decide_task(d, &task);
}

/* Any member, dead or alive, that names the node as its primary. */
static int find_replica_of(const struct topology *topology, int primary)
{
    for (int i = 0; i < topology->node_count; i++) {
        if (topology->nodes[i].is_member && topology->nodes[i].primary == primary) {
            return i;
        }
    }
    return NO_NODE;
}

void decide_leave(struct decision *d, int node, bool is_dead)
{
    char name[TOPOLOGY_NAME_SIZE];
    char other[TOPOLOGY_NAME_SIZE];
    int replica = find_replica_of(d->topology, node);
    int peer = find_peer(d->topology, node);
    struct task task;
    if (replica != NO_NODE && !(is_dead && !d->topology->nodes[replica].is_reachable)) {
        bool is_lost = !d->topology->nodes[replica].is_reachable;
        if (is_lost &&
            d->facts->batch_count > 0) { /* it may come back: not the moment to give up */
            decide_wait(d, "%.50s, a replica of %.50s, does not answer; remove it if it is dead",
                        name_of(d, replica, other), name_of(d, node, name));
            return;
        }
        decide_refuse(d, ERR_REFUSED, "%.50s is still the primary of %.50s; %s",
                      name_of(d, node, name), name_of(d, replica, other),
                      is_lost ? "remove that one as dead first" : "give that one another first");
        return;
    }
    if (peer == NO_NODE) {
        decide_refuse(d, ERR_REFUSED, "%.80s cannot leave: no other primary answers",
                      name_of(d, node, name));
        return;
    }
    if (!is_dead && decide_traffic_down(d, node)) {
        return;
    }
    task_of_node(d, TASK_LEAVE, node, peer, &task);
    task.flags = is_dead ? TASK_DEAD : 0;
    decide_task(d, &task);
}

/* The last time that the removal of its node was asked for. */
static bool is_last_leave(const struct lifecycle_facts *facts, int index)
{
    for (int i = index + 1; i < facts->batch_count; i++) {
        const struct batch *batch = &facts->batches[i];
        if (batch->kind == BATCH_TASK && batch->task != NULL && batch->task->kind == TASK_LEAVE &&
            node_id_is_equal(&batch->task->node, &facts->batches[index].task->node)) {
            return false;
        }
    }
    return true;
}

void decide_unfinished_leaves(struct decision *d)
{
    for (int i = 0; i < d->facts->batch_count; i++) {
        const struct batch *batch = &d->facts->batches[i];
        bool is_unfinished = batch->kind == BATCH_TASK && batch->task != NULL &&
                             batch->task->kind == TASK_LEAVE && batch->attempt > 0 &&
                             batch->state != BATCH_DONE && is_last_leave(d->facts, i);
        int node = is_unfinished ? topology_find(d->topology, &batch->task->node) : NO_NODE;
        if (!is_unfinished || (node != NO_NODE && d->topology->nodes[node].is_member)) {
            continue; /* a member is judged anew */
        }
        int peer = find_peer(d->topology, NO_NODE);
        if (peer == NO_NODE) {
            decide_wait(d, "no primary answers");
            return;
        }
        struct task task = *batch->task;
        task.peer = d->topology->nodes[peer].id;
        task.peer_address = d->topology->nodes[peer].address;
        decide_task(d, &task);
    }
}

int find_peer(const struct topology *topology, int not_this)
{
    int empty = NO_NODE;
    for (int s = 0; s < topology->shard_count; s++) {
        int node = topology->shards[s].primary;
        if (node == not_this || !is_live(&topology->nodes[node])) {
            continue;
        }
        if (topology->nodes[node].slot_count > 0) {
            return node;
        }
        empty = empty == NO_NODE ? node : empty;
    }
    return empty;
}

int find_member_at(const struct topology *topology, const struct address *address)
{
    for (int i = 0; i < topology->node_count; i++) {
        if (topology->nodes[i].is_member &&
            address_is_equal(&topology->nodes[i].address, address)) {
            return i;
        }
    }
    return NO_NODE;
}

bool is_live(const struct topology_node *node)
{
    return node->is_member && node->is_reachable && !node->is_failed;
}

bool is_live_primary(const struct topology_node *node)
{
    return is_live(node) && node->role == NODE_ROLE_PRIMARY;
}

bool is_online_replica(const struct topology_node *node)
{
    return is_live(node) && node->role == NODE_ROLE_REPLICA && node->is_link_up;
}

int count_online_replicas(const struct topology *topology, int primary)
{
    int count = 0;
    for (int i = 0; i < topology->node_count; i++) {
        count += topology->nodes[i].primary == primary && is_online_replica(&topology->nodes[i]);
    }
    return count;
}

int barrier_of(const struct decision *d, int primary)
{
    const struct spec_record *spec = d->facts->spec;
    if (spec != NULL && spec->replicas_per_shard >= 0) {
        return spec->replicas_per_shard < REPLICAS_BARRIER ? spec->replicas_per_shard
                                                           : REPLICAS_BARRIER;
    }
    for (int i = 0; i < d->topology->node_count; i++) {
        const struct topology_node *node = &d->topology->nodes[i];
        if (is_online_replica(node) && node->primary != primary) {
            return REPLICAS_BARRIER;
        }
    }
    return 0;
}

bool was_emptied(const struct decision *d, int node)
{
    const struct topology_node *subject = &d->topology->nodes[node];
    bool is_emptied = false;
    for (int i = 0; i < d->facts->batch_count && subject->slot_count == 0; i++) {
        const struct batch *batch = &d->facts->batches[i];
        if (batch->state != BATCH_DONE || !node_id_is_equal(&batch->source, &subject->id)) {
            continue;
        }
        if (batch->kind == BATCH_MOVE) {
            is_emptied = true;
        } else if (batch->task != NULL && batch->task->kind == TASK_REPLICATE) {
            is_emptied = false;
        }
    }
    return is_emptied;
}

int count_uncovered(const struct topology *topology)
{
    int count = 0;
    for (int slot = 0; slot < SLOT_COUNT; slot++) {
        count += topology->owner[slot] == NO_NODE;
    }
    return count;
}

const char *name_of(const struct decision *d, int node, char text[TOPOLOGY_NAME_SIZE])
{
    return topology_node_name(d->topology, node, text);
}
