/* lifecycle_reach.c — before nodes meet every host tries their ports. See lifecycle_parts.h.
 *
 * A cluster in which some nodes cannot reach the newcomer's bus port takes it in all the same and
 * then calls it dead, by and by. So every agent that serves members tries first (TASK_REACH), all
 * at the same time; one that fails ends the operation before anything is changed. Of a new cluster
 * the agents that serve its nodes try all of them. What was tried in this operation is not tried
 * again.
 */
#include "common/base/alloc.h"
#include "coordinator/core/lifecycle_parts.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Of a larger fleet the first so many by agent id try: each costs an order, and what is closed to
 * none of them is hardly closed to the rest. The join itself waits for every member's own link. */
#define REACH_HOSTS_MAX 128

/* Of a new cluster: so many of N nodes times M hosts, evenly. Also the bound of what is looked up.
 */
#define REACH_TASKS_MAX 2048

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

static void reach_from(struct decision *d,
                       const struct lifecycle_host *host,
                       const struct address *address)
{
    struct task task = {.kind = TASK_REACH, .node_address = *address};
    (void)snprintf(task.detail, sizeof(task.detail), "agent %s\nhost %s\n", host->agent.text,
                   host->host[0] != '\0' ? host->host : host->agent.text);
    if (!has_reached(d->facts, &task)) {
        decide_task(d, &task);
    }
}

bool decide_reach(struct decision *d, const struct address *address)
{
    int tried = 0;
    int before = d->answer->batch_count;
    for (int i = 0; i < d->facts->host_count && tried < REACH_HOSTS_MAX; i++) {
        const struct lifecycle_host *host = &d->facts->hosts[i];
        if (host->is_connected && serves_members(d->topology, &host->agent)) {
            tried++;
            reach_from(d, host, address);
        }
    }
    return d->answer->batch_count > before;
}

/* ---- a new cluster ---- */

static bool serves_any(const struct decision *d,
                       const struct lifecycle_host *host,
                       const int *nodes,
                       int count)
{
    for (int i = 0; i < count && host->is_connected; i++) {
        if (strcmp(d->topology->nodes[nodes[i]].agent.text, host->agent.text) == 0) {
            return true;
        }
    }
    return false;
}

void decide_reach_each_other(struct decision *d, const int *nodes, int count)
{
    int host_count = 0;
    const struct lifecycle_host **hosts =
        xcalloc((size_t)d->facts->host_count + 1, sizeof(const struct lifecycle_host *));
    for (int i = 0; i < d->facts->host_count; i++) {
        if (serves_any(d, &d->facts->hosts[i], nodes, count)) {
            hosts[host_count++] = &d->facts->hosts[i];
        }
    }
    int each = count < REACH_TASKS_MAX ? REACH_TASKS_MAX / count : 1;
    each = each < host_count ? each : host_count;
    for (int i = 0; i < count; i++) {
        for (int k = 0; k < each; k++) { /* others for each node, where not all can */
            reach_from(d, hosts[(i + k) % host_count], &d->topology->nodes[nodes[i]].address);
        }
    }
    free(hosts);
}
