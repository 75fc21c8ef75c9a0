/* dispatch_task.c — which task goes to which agent now. See executor.h.
 *
 * A task goes to the agent that serves its node, else to one that serves its peer, else to any:
 * what it does is told to nodes by their addresses, so the nearest agent is merely the best. Only
 * servers are started and stopped by the agent of their host and nobody else. A node takes part in
 * one task or in moves at a time; different nodes go side by side. Nothing is given out while an
 * order for the same node is not heard of: it still lives. */
#include "coordinator/core/executor.h"

#include "coordinator/core/lifecycle.h"
#include "coordinator/core/removal.h"
#include "coordinator/core/state.h"

#include <stdio.h>
#include <string.h>

/* A node as a batch names it: by id, by address, or both. */
struct batch_end {
    const struct node_id *id;      /* "" = not known */
    const struct address *address; /* NULL = not named */
};

#define BATCH_ENDS_MAX 2
#define PROVISIONS_MAX 4 /* at the same time: clouds and Terraform locks like few */

/* The tasks that change their peer, too, or burden it: others leave it alone meanwhile. */
static bool needs_peer_alone(enum task_kind kind)
{
    switch (kind) {
    case TASK_REPLICATE:
    case TASK_FAILOVER:
    case TASK_REPAIR:
        return true;
    case TASK_JOIN:
    case TASK_LEAVE:
    case TASK_START:
    case TASK_STOP:
    case TASK_MEET:
    case TASK_ADD_SLOTS:
    case TASK_PROVISION:
    case TASK_RELEASE:
    case TASK_TRAFFIC:
    case TASK_REACH:
        break;
    }
    return false;
}

/* The nodes that a batch has for itself. Returns their number. */
static int batch_ends(const struct batch *batch, struct batch_end ends[BATCH_ENDS_MAX])
{
    if (batch->kind == BATCH_MOVE) {
        ends[0] = (struct batch_end){.id = &batch->source};
        ends[1] = (struct batch_end){.id = &batch->target};
        return 2;
    }
    const struct task *task = batch->task;
    if (task->kind == TASK_REACH) {
        return 0; /* changes nothing: all hosts may try at once */
    }
    ends[0] = (struct batch_end){.id = &task->node, .address = &task->node_address};
    ends[1] = (struct batch_end){.id = &task->peer, .address = &task->peer_address};
    bool has_peer = !node_id_is_empty(&task->peer) || task->peer_address.port != 0;
    return has_peer && needs_peer_alone(task->kind) ? 2 : 1;
}

static bool is_same_end(const struct batch_end *a, const struct batch_end *b)
{
    if (!node_id_is_empty(a->id) && !node_id_is_empty(b->id)) {
        return node_id_is_equal(a->id, b->id);
    }
    return a->address != NULL && b->address != NULL && a->address->port != 0 &&
           address_is_equal(a->address, b->address);
}

static bool is_overlapping(const struct batch *a, const struct batch *b)
{
    struct batch_end of_a[BATCH_ENDS_MAX];
    struct batch_end of_b[BATCH_ENDS_MAX];
    int a_count = batch_ends(a, of_a);
    int b_count = batch_ends(b, of_b);
    for (int i = 0; i < a_count; i++) {
        for (int k = 0; k < b_count; k++) {
            if (is_same_end(&of_a[i], &of_b[k])) {
                return true;
            }
        }
    }
    return false;
}

bool is_in_use_by_task(const struct operation_run *o, const struct batch *batch)
{
    for (int i = o->plan.settled_count; i < o->plan.batch_count; i++) {
        const struct batch *other = &o->plan.batches[i];
        if (other->kind == BATCH_TASK && other != batch && order_run_is_live(&o->runs[i]) &&
            is_overlapping(batch, other)) {
            return true;
        }
    }
    return false;
}

static bool is_in_use(const struct operation_run *o, const struct batch *batch)
{
    for (int i = o->plan.settled_count; i < o->plan.batch_count; i++) {
        const struct batch *other = &o->plan.batches[i];
        if (other != batch && order_run_is_live(&o->runs[i]) && is_overlapping(batch, other)) {
            return true;
        }
    }
    return false;
}

static int count_live_tasks(const struct operation_run *o)
{
    int count = 0;
    for (int i = o->plan.settled_count; i < o->plan.batch_count; i++) {
        count += o->plan.batches[i].kind == BATCH_TASK && order_run_is_live(&o->runs[i]) ? 1 : 0;
    }
    return count;
}

static int count_live_provisions(const struct operation_run *o)
{
    int count = 0;
    for (int i = o->plan.settled_count; i < o->plan.batch_count; i++) {
        const struct batch *batch = &o->plan.batches[i];
        count += batch->kind == BATCH_TASK && batch->task->kind == TASK_PROVISION &&
                 order_run_is_live(&o->runs[i]);
    }
    return count;
}

/* ---- whose task it is ---- */

/* The connected agent that lists the node, reached or not. */
static struct agent_entry *find_server(const struct coordinator *c,
                                       const struct node_id *id,
                                       const struct address *address)
{
    const struct topology *topology = &c->observe.topology;
    int node = node_id_is_empty(id) ? NO_NODE : topology_find(topology, id);
    struct agent_entry *agent =
        node != NO_NODE ? registry_find(&c->registry, &topology->nodes[node].agent) : NULL;
    if (agent != NULL && agent_is_connected(c, agent)) {
        return agent;
    }
    for (int i = 0; address->port != 0 && i < c->registry.count; i++) {
        struct agent_entry *entry = c->registry.entries[i];
        for (int n = 0; agent_is_connected(c, entry) && n < entry->node_count; n++) {
            if (address_is_equal(&entry->nodes[n].address, address)) {
                return entry;
            }
        }
    }
    return NULL;
}

static struct agent_entry *find_any(const struct coordinator *c)
{
    for (int i = 0; i < c->registry.count; i++) {
        if (agent_is_ready(c, c->registry.entries[i])) {
            return c->registry.entries[i];
        }
    }
    return NULL;
}

static bool is_bound(const struct batch *batch)
{
    return task_kind_is_bound(batch->task->kind) && batch->agent.text[0] != '\0';
}

/* A provisioner that was asked may have made a server: whoever waits should know of which request.
 */
static void wait_for_agent(struct operation_run *o, const struct batch *batch, const char *what)
{
    char name[TEXT_SIZE];
    char request[TEXT_SIZE / 2];
    if (batch->task->kind != TASK_PROVISION || batch->attempt == 0) {
        operation_waits_for(o, what, batch->agent.text);
        return;
    }
    if (!task_detail_get(batch->task, "request", request, sizeof(request))) {
        (void)snprintf(request, sizeof(request), "%s-%d", o->op.id, batch->index);
    }
    (void)snprintf(name, sizeof(name), "%.60s, which was asked for request %.60s",
                   batch->agent.text, request);
    operation_waits_for(o, what, name);
}

/* The agent that may carry the task out now, or NULL with the reason in o->waits. */
static struct agent_entry *choose_agent(struct coordinator *c,
                                        struct operation_run *o,
                                        const struct batch *batch)
{
    const struct task *task = batch->task;
    struct agent_entry *agent = NULL;
    if (is_bound(batch)) {
        agent = registry_find(&c->registry, &batch->agent);
        if (agent == NULL || !agent_is_connected(c, agent)) {
            wait_for_agent(o, batch, "waits for agent");
            return NULL;
        }
        /* Its refusal would say nothing of what an earlier attempt has begun. */
        if (task->kind == TASK_PROVISION && !(agent->has_host && agent->host.offers_provision)) {
            wait_for_agent(o, batch, "waits for a provisioner of agent");
            return NULL;
        }
    } else {
        agent = find_server(c, &task->node, &task->node_address);
        agent = agent != NULL ? agent : find_server(c, &task->peer, &task->peer_address);
        agent = agent != NULL ? agent : find_any(c);
    }
    if (agent == NULL) {
        operation_waits_for(o, "waits for", "an agent");
        return NULL;
    }
    if (!agent_is_ready(c, agent)) {
        operation_waits_for(o, "waits for our fence to be confirmed by agent", agent->id.text);
        return NULL;
    }
    return agent;
}

/* ---- giving out ---- */

/* A server is stopped or given back only with the removal certificate, which goes out with the
 * order: not before a new leader has heard of the nodes, nor when something rests on it again. */
static bool has_certificate(const struct coordinator *c,
                            struct operation_run *o,
                            const struct task *task)
{
    char reason[TEXT_SIZE];
    if (removal_permits(&c->observe.topology, c->election.fence, o->op.id, task, reason)) {
        return true;
    }
    operation_waits_for(o, "waits for the removal certificate:", reason);
    return false;
}

static void dispatch_task(struct coordinator *c, struct operation_run *o, int index)
{
    const struct batch *batch = &o->plan.batches[index];
    if (journal_is_frozen(&c->journal)) {
        operation_waits_for(o, "waits for", "the store to take writes");
        return;
    }
    if (o->runs[index].not_before_ms > c->turn.now_ms) {
        operation_waits_for(o, "pauses after a failure:", batch->reason);
        return;
    }
    if (is_in_use(o, batch) || count_live_tasks(o) >= c->config.moves_max ||
        (batch->task->kind == TASK_PROVISION && count_live_provisions(o) >= PROVISIONS_MAX)) {
        return;
    }
    struct agent_entry *agent =
        has_certificate(c, o, batch->task) ? choose_agent(c, o, batch) : NULL;
    if (agent != NULL) {
        const struct slotset none = {0};
        order_run_start(c, o, index, agent, &none);
    }
}

int dispatch_tasks(struct coordinator *c, struct operation_run *o)
{
    int open = 0;
    /* What ends early begins nothing, but takes back what it prepared. */
    bool is_undoing = o->op.state == OPERATION_CANCELLING;
    if (o->op.state != OPERATION_RUNNING && !is_undoing) {
        return 0;
    }
    for (int i = o->plan.settled_count; i < o->plan.batch_count; i++) {
        const struct batch *batch = &o->plan.batches[i];
        if (batch->kind == BATCH_TASK && !order_run_is_live(&o->runs[i]) &&
            is_dispatchable(o, batch) && (!is_undoing || lifecycle_is_undo(batch->task))) {
            open++;
            dispatch_task(c, o, i);
        }
    }
    return open;
}

/* ---- addresses, as they are now ---- */

static void refresh(const struct topology *topology,
                    const struct node_id *id,
                    struct address *address)
{
    int node = node_id_is_empty(id) ? NO_NODE : topology_find(topology, id);
    if (node != NO_NODE && topology->nodes[node].address.port != 0) {
        *address = topology->nodes[node].address;
    }
}

void task_order_fill(const struct coordinator *c, const struct batch *batch, struct task *out)
{
    *out = *batch->task;
    refresh(&c->observe.topology, &out->node, &out->node_address);
    refresh(&c->observe.topology, &out->peer, &out->peer_address);
}
