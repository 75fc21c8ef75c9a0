/* lifecycle_reach.c — before a join every host tries the newcomer's ports. See lifecycle_parts.h.
 *
 * A cluster in which some nodes cannot reach the newcomer's bus port takes it in all the same and
 * then calls it dead, by and by. So every agent that serves members tries first (TASK_REACH), all
 * at the same time; one that fails ends the operation before anything is changed. What was tried in
 * this operation is not tried again. */
#include "coordinator/core/lifecycle_parts.h"

#include <stdio.h>
#include <string.h>

/* Of a larger fleet the first so many by agent id try: each costs an order, and what is closed to
 * none of them is hardly closed to the rest. The join itself waits for every member's own link. */
#define REACH_HOSTS_MAX 128

static bool serves_members(const struct topology *topology, const struct agent_id *agent)
{
    for (int i = 0; i < topology->node_count; i++) {
        const struct topology_node *node = &topology->nodes[i];
        if (is_live(node) && strcmp(node->agent.text, agent->text) == 0) {
            return true;
        }
    }
    return false;
}

static bool has_reached(const struct lifecycle_facts *facts, const struct task *task)
{
    for (int i = 0; i < facts->batch_count; i++) {
        const struct batch *batch = &facts->batches[i];
        if (batch->kind == BATCH_TASK && batch->task != NULL && batch->task->kind == TASK_REACH &&
            batch->state == BATCH_DONE &&
            address_is_equal(&batch->task->node_address, &task->node_address) &&
            strcmp(batch->task->detail, task->detail) == 0) {
            return true;
        }
    }
    return false;
}

bool decide_reach(struct decision *d, const struct address *address)
{
    int tried = 0;
    int before = d->answer->batch_count;
    for (int i = 0; i < d->facts->host_count && tried < REACH_HOSTS_MAX; i++) {
        const struct lifecycle_host *host = &d->facts->hosts[i];
        if (!host->is_connected || !serves_members(d->topology, &host->agent)) {
            continue;
        }
        tried++;
        struct task task = {.kind = TASK_REACH, .node_address = *address};
        (void)snprintf(task.detail, sizeof(task.detail), "agent %s\nhost %s\n", host->agent.text,
                       host->host[0] != '\0' ? host->host : host->agent.text);
        if (!has_reached(d->facts, &task)) {
            decide_task(d, &task);
        }
    }
    return d->answer->batch_count > before;
}
