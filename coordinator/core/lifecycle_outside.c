/* lifecycle_outside.c — servers that a provisioner makes and takes back, and client traffic that
 * drain hooks take off a node before it goes. See lifecycle_parts.h and lifecycle_undo.c.
 *
 * Each agent may have hooks and a provisioner of its own: traffic is taken off by all of them, and
 * a server is offered to every provisioner, since one that did not make it has nothing to do. */
#include "common/base/alloc.h"
#include "coordinator/core/lifecycle_parts.h"
#include "coordinator/core/removal.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void add_task(struct decision *d, const struct task *task)
{
    struct lifecycle_answer *answer = d->answer;
    ARRAY_RESERVE(answer->batches, answer->batch_count, d->capacity);
    answer->batches[answer->batch_count++] = (struct batch){.kind = BATCH_TASK,
                                                            .task = xmemdup(task, sizeof(*task)),
                                                            .source = task->node,
                                                            .state = BATCH_WAITING};
}

/* ---- client traffic ---- */

static bool is_down(const struct batch *last)
{
    return last != NULL && last->state == BATCH_DONE && (last->task->flags & TASK_UP) == 0;
}

bool is_traffic_down(const struct decision *d, int node)
{
    for (int i = 0; i < d->facts->host_count; i++) {
        const struct lifecycle_host *host = &d->facts->hosts[i];
        if (host->offers_traffic &&
            is_down(last_traffic(d->facts, &d->topology->nodes[node].id, host->agent.text))) {
            return true;
        }
    }
    return false;
}

bool decide_traffic_down(struct decision *d, int node)
{
    const struct topology_node *subject = &d->topology->nodes[node];
    bool is_said = false;
    for (int i = 0; i < d->facts->host_count; i++) {
        const struct lifecycle_host *host = &d->facts->hosts[i];
        if (!host->offers_traffic || !host->is_connected ||
            is_down(last_traffic(d->facts, &subject->id, host->agent.text))) {
            continue;
        }
        is_said = true;
        if (count_traffic(d->facts, &subject->id, host->agent.text, 0) >= REPEATS_MAX) {
            char name[TOPOLOGY_NAME_SIZE];
            decide_refuse(d, ERR_CONFLICT,
                          "client traffic was taken off %.60s %d times and put back again",
                          name_of(d, node, name), REPEATS_MAX);
            continue;
        }
        struct task task = {
            .kind = TASK_TRAFFIC, .node = subject->id, .node_address = subject->address};
        (void)snprintf(task.detail, sizeof(task.detail), "agent %s\nrole %s\n", host->agent.text,
                       subject->role == NODE_ROLE_REPLICA ? "replica" : "primary");
        add_task(d, &task);
    }
    return is_said;
}

void decide_traffic_first(struct decision *d, const int *nodes, int count)
{
    struct lifecycle_answer *answer = d->answer;
    if (answer->batch_count == 0 || answer->verdict != 0) {
        return; /* refused, or nothing to do: no client is troubled for that */
    }
    struct lifecycle_answer kept = *answer;
    int capacity = d->capacity;
    bool is_said = false;
    *answer = (struct lifecycle_answer){0};
    d->capacity = 0;
    for (int i = 0; i < count; i++) {
        is_said = decide_traffic_down(d, nodes[i]) || is_said;
    }
    if (is_said) {
        lifecycle_answer_release(&kept);
    } else {
        *answer = kept;
        d->capacity = capacity;
    }
}

/* ---- servers to be made ---- */

/* As the largest primary; 0 = there is no limit. */
static int64_t memory_limit_wanted(const struct topology *topology)
{
    int64_t limit = 0;
    for (int i = 0; i < topology->node_count; i++) {
        const struct topology_node *node = &topology->nodes[i];
        if (node->is_member && node->maxmemory_bytes > limit) {
            limit = node->maxmemory_bytes;
        }
    }
    return limit;
}

bool can_provision(const struct decision *d)
{
    for (int i = 0; i < d->facts->host_count; i++) {
        if (d->facts->hosts[i].offers_provision && d->facts->hosts[i].is_connected) {
            return true;
        }
    }
    return false;
}

/* The agents in turn. */
static const struct lifecycle_host *next_provisioner(const struct decision *d, int *at)
{
    int count = d->facts->host_count;
    for (int i = 0; i < count; i++) {
        const struct lifecycle_host *host = &d->facts->hosts[*at % count];
        ++*at;
        if (host->offers_provision && host->is_connected) {
            return host;
        }
    }
    return NULL;
}

/* The zone, of those that hosts name, where one more node of this role is needed most; "" when none
 * is named. It is noted there. */
static const char *pick_zone(struct decision *d, bool is_primary)
{
    int count = d->facts->host_count;
    int *sites = xcalloc((size_t)count + 1, sizeof(int));
    bool *is_taken = xcalloc((size_t)count + 1, sizeof(bool));
    for (int i = 0; i < count; i++) {
        struct address address = {0};
        (void)snprintf(address.host, sizeof(address.host), "%s", d->facts->hosts[i].host);
        is_taken[i] = d->facts->hosts[i].zone[0] == '\0' || address.host[0] == '\0';
        sites[i] = is_taken[i] ? 0 : placement_site_at(&d->placement, &address);
    }
    int best = is_primary ? placement_pick_primary(&d->placement, sites, is_taken, count)
                          : placement_pick_spread(&d->placement, sites, is_taken, count);
    if (best >= 0) {
        placement_note(&d->placement, sites[best], is_primary);
    }
    free(sites);
    free(is_taken);
    return best < 0 ? "" : d->facts->hosts[best].zone;
}

void decide_provisions(struct decision *d, int count, int primaries)
{
    int at = 0;
    for (int i = 0; i < count; i++) {
        struct task task = {.kind = TASK_PROVISION};
        const struct lifecycle_host *host = next_provisioner(d, &at);
        const char *zone = pick_zone(d, i < primaries);
        zone = strpbrk(zone, "\r\n") == NULL ? zone : ""; /* detail is lines */
        if (host == NULL) {
            decide_refuse(d, ERR_REFUSED,
                          "%d more nodes are needed, and no agent can have any made", count - i);
            return;
        }
        (void)snprintf(task.detail, sizeof(task.detail),
                       "agent %s\nmaxmemory %" PRId64 "\n%s%s%srole %s\n", host->agent.text,
                       memory_limit_wanted(d->topology), zone[0] == '\0' ? "" : "zone ", zone,
                       zone[0] == '\0' ? "" : "\n", i < primaries ? "primary" : "replica");
        add_task(d, &task);
    }
}

/* ---- servers that go back ---- */

static bool was_released(const struct decision *d,
                         const struct address *address,
                         const struct lifecycle_host *host)
{
    char name[AGENT_ID_SIZE];
    for (int i = 0; i < d->facts->batch_count; i++) {
        const struct batch *batch = &d->facts->batches[i];
        if (batch->kind == BATCH_TASK && batch->task != NULL && batch->state == BATCH_DONE &&
            batch->task->kind == TASK_RELEASE &&
            address_is_equal(&batch->task->node_address, address) &&
            task_detail_get(batch->task, "agent", name, sizeof(name)) &&
            strcmp(name, host->agent.text) == 0) {
            return true;
        }
    }
    return false;
}

/* Only once the certificate would be granted, as for a stop. */
static void release_left(struct decision *d,
                         const struct task *leave,
                         const struct lifecycle_host *host)
{
    struct removal_certificate facts;
    struct task task = {
        .kind = TASK_RELEASE, .node = leave->node, .node_address = leave->node_address};
    removal_certify(d->topology, &leave->node, &leave->node_address, 1, "?", &facts);
    if (!facts.is_granted) {
        char text[ADDRESS_TEXT_SIZE];
        decide_wait(d, "%.60s is not given back yet: %.80s",
                    address_format(&leave->node_address, text), facts.reason);
        return;
    }
    (void)snprintf(task.detail, sizeof(task.detail), "agent %s\n", host->agent.text);
    add_task(d, &task);
}

void decide_releases(struct decision *d)
{
    for (int i = 0; i < d->facts->batch_count; i++) {
        const struct batch *batch = &d->facts->batches[i];
        bool is_leave = batch->kind == BATCH_TASK && batch->task != NULL &&
                        batch->task->kind == TASK_LEAVE && batch->state == BATCH_DONE;
        /* Whoever lives at its address now is not what left. */
        if (!is_leave || batch->task->node_address.port == 0 ||
            find_member_at(d->topology, &batch->task->node_address) != NO_NODE) {
            continue;
        }
        for (int h = 0; h < d->facts->host_count; h++) {
            const struct lifecycle_host *host = &d->facts->hosts[h];
            if (host->offers_provision && host->is_connected &&
                !was_released(d, &batch->task->node_address, host)) {
                release_left(d, batch->task, host);
            }
        }
    }
}
