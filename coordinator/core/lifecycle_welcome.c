/* lifecycle_welcome.c — clients are let in to nodes that an operation brought into the cluster. See
 * lifecycle_parts.h and docs/outside.md.
 *
 * A node that left was drained first, and a proxy may still keep clients off its address when
 * another server joins there: HAProxy remembers, and so may other hooks. No view shows what they
 * remember, so every agent with hooks is told of every node that joined; who keeps nobody off has
 * nothing to do. It is the last that an operation does, however it ends: a proxy that does not
 * answer holds up no slot. */
#include "common/base/alloc.h"
#include "coordinator/core/lifecycle_parts.h"

#include <stdio.h>

static const struct task *task_of(const struct batch *batch, enum task_kind kind)
{
    bool is_it = batch->kind == BATCH_TASK && batch->task != NULL && batch->task->kind == kind;
    return is_it ? batch->task : NULL;
}

/* It joined, and nothing was ordered since that makes it leave. */
static bool has_come_to_stay(const struct lifecycle_facts *facts, int index)
{
    const struct task *join = task_of(&facts->batches[index], TASK_JOIN);
    if (join == NULL || facts->batches[index].state != BATCH_DONE) {
        return false;
    }
    for (int i = index + 1; i < facts->batch_count; i++) {
        const struct task *leave = task_of(&facts->batches[i], TASK_LEAVE);
        const struct task *again = task_of(&facts->batches[i], TASK_JOIN);
        bool is_leave =
            leave != NULL && address_is_equal(&leave->node_address, &join->node_address);
        bool is_again =
            again != NULL && address_is_equal(&again->node_address, &join->node_address);
        if (is_leave || is_again) { /* a later join has its own turn */
            return false;
        }
    }
    return true;
}

static void welcome(const struct lifecycle_facts *facts,
                    const struct topology_node *node,
                    struct lifecycle_answer *answer,
                    int *capacity)
{
    for (int i = 0; i < facts->host_count; i++) {
        const struct lifecycle_host *host = &facts->hosts[i];
        /* Whatever was ordered already is seen to its end as all traffic is. */
        if (!host->offers_traffic || !host->is_connected ||
            last_traffic(facts, &node->id, host->agent.text) != NULL) {
            continue;
        }
        struct task task = {.kind = TASK_TRAFFIC,
                            .flags = TASK_UP,
                            .node = node->id,
                            .node_address = node->address};
        (void)snprintf(task.detail, sizeof(task.detail), "agent %s\nrole %s\n", host->agent.text,
                       node->role == NODE_ROLE_REPLICA ? "replica" : "primary");
        ARRAY_RESERVE(answer->batches, answer->batch_count, *capacity);
        answer->batches[answer->batch_count++] =
            (struct batch){.kind = BATCH_TASK,
                           .task = xmemdup(&task, sizeof(task)),
                           .source = task.node,
                           .state = BATCH_WAITING};
    }
}

void welcome_joined(const struct lifecycle_facts *facts,
                    struct lifecycle_answer *answer,
                    int *capacity)
{
    for (int i = 0; i < facts->batch_count; i++) {
        if (!has_come_to_stay(facts, i)) {
            continue;
        }
        int node = find_member_at(facts->topology, &facts->batches[i].task->node_address);
        if (node != NO_NODE) {
            welcome(facts, &facts->topology->nodes[node], answer, capacity);
        }
    }
}
