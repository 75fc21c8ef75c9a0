/* lifecycle_spares.c — where new nodes come from: those that run and are empty, and hosts that can
 * start some. See lifecycle_parts.h. */
#include "common/base/alloc.h"
#include "common/base/check.h"
#include "coordinator/core/lifecycle_parts.h"
#include "coordinator/core/removal.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define START_PORT_FIRST 7000 /* where a host does not say which ports it offers */
#define START_PORT_LAST 16999
#define STARTS_PER_HOST_MAX 64 /* whatever its memory says */
#define START_MEMORY_MIN (INT64_C(64) << 20)

static bool is_listed(const struct address *list, int count, const struct address *address)
{
    for (int i = 0; i < count; i++) {
        if (address_is_equal(&list[i], address)) {
            return true;
        }
    }
    return false;
}

static bool is_spare(const struct topology_node *node)
{
    return !node->is_member && node->is_reachable && node->is_cluster_enabled && node->is_alone &&
           !node->is_loading && node->keys <= 0 && node->slots_claimed <= 0 &&
           node->role != NODE_ROLE_REPLICA && node->address.port != 0;
}

/* A node at the address that is seen and is no spare: a member, or one that is used. */
static bool is_known_otherwise(const struct topology *topology, const struct address *address)
{
    for (int i = 0; i < topology->node_count; i++) {
        const struct topology_node *node = &topology->nodes[i];
        if (address_is_equal(&node->address, address) && !is_spare(node) &&
            (node->is_member || node->is_reachable)) {
            return true;
        }
    }
    return false;
}

static bool is_task_at(const struct batch *batch,
                       enum task_kind kind,
                       const struct address *address)
{
    return batch->kind == BATCH_TASK && batch->task != NULL && batch->task->kind == kind &&
           address_is_equal(&batch->task->node_address, address);
}

/* Who left in this operation is not fetched back by it, nor what was given back. */
static bool has_left(const struct decision *d, const struct address *address)
{
    for (int i = 0; i < d->facts->batch_count; i++) {
        const struct batch *batch = &d->facts->batches[i];
        if (is_task_at(batch, TASK_LEAVE, address) || is_task_at(batch, TASK_RELEASE, address)) {
            return true;
        }
    }
    return false;
}

static int compare_addresses(const void *a, const void *b)
{
    return address_compare(a, b);
}

/* Where a server came to be for this operation; port 0 = it is no such batch. */
static struct address made_by(const struct batch *batch)
{
    bool is_done = batch->kind == BATCH_TASK && batch->task != NULL && batch->state == BATCH_DONE;
    if (is_done && batch->task->kind == TASK_START) {
        return batch->task->node_address;
    }
    if (is_done && batch->task->kind == TASK_PROVISION) {
        return batch->made;
    }
    return (struct address){0};
}

bool find_coming(const struct decision *d, struct address *result)
{
    struct address *spares = NULL;
    int count = list_spares(d, &spares);
    bool is_found = false;
    for (int i = 0; i < d->facts->batch_count && !is_found; i++) {
        struct address address = made_by(&d->facts->batches[i]);
        if (address.port != 0 && !has_left(d, &address) && !is_listed(spares, count, &address) &&
            find_member_at(d->topology, &address) == NO_NODE) {
            *result = address;
            is_found = true;
        }
    }
    free(spares);
    return is_found;
}

int list_spares(const struct decision *d, struct address **result)
{
    const struct topology *topology = d->topology;
    int count = 0;
    struct address *list =
        xcalloc((size_t)(topology->node_count + d->facts->spare_count + d->facts->batch_count) + 1,
                sizeof(struct address));
    for (int i = 0; i < topology->node_count; i++) {
        const struct topology_node *node = &topology->nodes[i];
        if (is_spare(node) && !has_left(d, &node->address) &&
            !is_listed(list, count, &node->address)) {
            list[count++] = node->address;
        }
    }
    for (int i = 0; i < d->facts->spare_count; i++) {
        const struct address *spare = &d->facts->spares[i];
        if (!is_listed(list, count, spare) && !has_left(d, spare) &&
            !is_known_otherwise(topology, spare)) {
            list[count++] = *spare;
        }
    }
    for (int i = 0; i < d->facts->batch_count; i++) {
        const struct batch *batch = &d->facts->batches[i];
        struct address made = made_by(batch);
        if (made.port != 0 && batch->task->kind == TASK_PROVISION &&
            !is_listed(list, count, &made) && !has_left(d, &made) &&
            !is_known_otherwise(topology, &made)) {
            list[count++] = made;
        }
    }
    qsort(list, (size_t)count, sizeof(struct address), compare_addresses);
    *result = list;
    return count;
}

/* As large as the largest primary may become: shards should not differ. */
static int64_t memory_wanted(const struct topology *topology)
{
    int64_t limit = 0;
    int64_t used = 0;
    for (int i = 0; i < topology->node_count; i++) {
        const struct topology_node *node = &topology->nodes[i];
        if (node->is_member) {
            limit = node->maxmemory_bytes > limit ? node->maxmemory_bytes : limit;
            used = node->used_memory_bytes > used ? node->used_memory_bytes : used;
        }
    }
    int64_t wanted = limit > 0 ? limit : 2 * used;
    return wanted < START_MEMORY_MIN ? START_MEMORY_MIN : wanted;
}

static bool is_port_used(const struct decision *d, const char *host, int port)
{
    struct address address = {.port = (uint16_t)port};
    (void)snprintf(address.host, sizeof(address.host), "%s", host);
    for (int i = 0; i < d->topology->node_count; i++) {
        const struct topology_node *node = &d->topology->nodes[i];
        if (address_is_equal(&node->address, &address)) {
            return true;
        }
    }
    for (int i = 0; i < d->answer->batch_count; i++) {
        const struct batch *batch = &d->answer->batches[i];
        if (batch->task != NULL && address_is_equal(&batch->task->node_address, &address)) {
            return true;
        }
    }
    return is_listed(d->facts->spares, d->facts->spare_count, &address);
}

/* The first port of the host that nobody has, from 'first' on; 0 when there is none. */
static int next_port(const struct decision *d, const struct lifecycle_host *host, int first)
{
    int lowest = host->port_first != 0 ? host->port_first : START_PORT_FIRST;
    int last = host->port_first != 0 ? host->port_last : START_PORT_LAST;
    for (int port = first > lowest ? first : lowest; port <= last; port++) {
        if (!is_port_used(d, host->host, port)) {
            return port;
        }
    }
    return 0;
}

/* As many as its memory and its ports allow; unknown memory is taken for room for one. */
static int startable_on(const struct decision *d,
                        const struct lifecycle_host *host,
                        int64_t memory_bytes)
{
    if (!host->can_start || !host->is_connected || host->host[0] == '\0') {
        return 0;
    }
    int64_t room = host->memory_free_bytes < 0 ? 1 : host->memory_free_bytes / memory_bytes;
    int count = 0;
    int port = next_port(d, host, 0);
    while (port != 0 && count < room && count < STARTS_PER_HOST_MAX) {
        count++;
        port = next_port(d, host, port + 1);
    }
    return count;
}

int count_startable(const struct decision *d)
{
    int64_t memory_bytes = memory_wanted(d->topology);
    int count = 0;
    for (int i = 0; i < d->facts->host_count; i++) {
        count += startable_on(d, &d->facts->hosts[i], memory_bytes);
    }
    return count;
}

static void start_on(struct decision *d, const struct lifecycle_host *host)
{
    struct task task = {.kind = TASK_START};
    int port = next_port(d, host, 0);
    bool is_valkey = false;
    for (int i = 0; i < d->topology->node_count; i++) {
        is_valkey =
            is_valkey || (d->topology->nodes[i].is_member && d->topology->nodes[i].is_valkey);
    }
    (void)snprintf(task.node_address.host, sizeof(task.node_address.host), "%s", host->host);
    task.node_address.port = (uint16_t)port;
    (void)snprintf(task.detail, sizeof(task.detail), "agent %s\nmaxmemory %" PRId64 "\nflavor %s\n",
                   host->agent.text, memory_wanted(d->topology), is_valkey ? "valkey" : "redis");
    decide_task(d, &task);
}

/* Fewest primaries first for a primary, else fewest nodes; index of the host or -1. */
static int pick_host(struct decision *d, const int *sites, const int *left, bool is_primary)
{
    int count = d->facts->host_count;
    bool *is_taken = xcalloc((size_t)count + 1, sizeof(bool));
    for (int i = 0; i < count; i++) {
        is_taken[i] = left[i] == 0;
    }
    int best = is_primary ? placement_pick_primary(&d->placement, sites, is_taken, count)
                          : placement_pick_spread(&d->placement, sites, is_taken, count);
    free(is_taken);
    return best;
}

void decide_starts(struct decision *d, int count, int primaries)
{
    int64_t memory_bytes = memory_wanted(d->topology);
    int host_count = d->facts->host_count;
    int *sites = xcalloc((size_t)host_count + 1, sizeof(int));
    int *left = xcalloc((size_t)host_count + 1, sizeof(int));
    for (int i = 0; i < host_count; i++) {
        struct address address = {0};
        (void)snprintf(address.host, sizeof(address.host), "%s", d->facts->hosts[i].host);
        sites[i] = placement_site_at(&d->placement, &address);
        left[i] = startable_on(d, &d->facts->hosts[i], memory_bytes);
    }
    for (int i = 0; i < count; i++) {
        int host = pick_host(d, sites, left, i < primaries);
        if (host < 0) {
            decide_refuse(d, ERR_REFUSED, "%d more nodes are needed, and no host can start them",
                          count - i);
            break;
        }
        if (d->why != NULL && i < primaries) {
            strbuf_add_text(d->why, "  a primary starts there: ");
            placement_explain_primary(&d->placement, sites[host], d->why);
            strbuf_add_char(d->why, '\n');
        }
        start_on(d, &d->facts->hosts[host]);
        left[host]--;
        placement_note(&d->placement, sites[host], i < primaries);
    }
    free(sites);
    free(left);
}

void decide_join_spare(struct decision *d, bool is_primary)
{
    struct address *spares = NULL;
    int count = list_spares(d, &spares);
    int *sites = xcalloc((size_t)count + 1, sizeof(int));
    bool *is_taken = xcalloc((size_t)count + 1, sizeof(bool));
    for (int i = 0; i < count; i++) {
        sites[i] = placement_site_at(&d->placement, &spares[i]);
    }
    int best = is_primary ? placement_pick_primary(&d->placement, sites, is_taken, count)
                          : placement_pick_spread(&d->placement, sites, is_taken, count);
    if (best < 0) {
        decide_refuse(
            d, ERR_REFUSED,
            "one more node is needed, and no spare is left; start one or name one with add");
    } else {
        decide_join(d, &spares[best]);
        bool is_joining = d->answer->batch_count > 0 && d->answer->batches[0].kind == BATCH_TASK &&
                          d->answer->batches[0].task->kind == TASK_JOIN;
        if (d->why != NULL && is_primary && is_joining) {
            strbuf_add_text(d->why, "  chosen: ");
            placement_explain_primary(&d->placement, sites[best], d->why);
            strbuf_add_char(d->why, '\n');
        }
    }
    free(spares);
    free(sites);
    free(is_taken);
}

/* A stop that failed is asked for again: without it `resume` would end well, the server running. */
static bool was_stopped(const struct decision *d, const struct address *address)
{
    for (int i = 0; i < d->facts->batch_count; i++) {
        const struct batch *batch = &d->facts->batches[i];
        if (is_task_at(batch, TASK_STOP, address) && batch->state == BATCH_DONE) {
            return true;
        }
    }
    return false;
}

/* The host that may have started a server, or NULL. */
static const struct lifecycle_host *find_starter(const struct decision *d, const char *name)
{
    for (int i = 0; i < d->facts->host_count; i++) {
        const struct lifecycle_host *host = &d->facts->hosts[i];
        if (host->can_start && host->is_connected && strcmp(host->host, name) == 0) {
            return host;
        }
    }
    return NULL;
}

/* Only once the certificate would be granted: it is asked for again when the order is sent. Of the
 * dead only the folder is put aside, so that nothing starts from it again; not when somebody
 * answers at the address: that is left alone. */
static void stop_left(struct decision *d,
                      const struct task *leave,
                      const struct lifecycle_host *host)
{
    struct removal_certificate facts;
    struct task task = {.kind = TASK_STOP,
                        .flags = leave->flags & TASK_DEAD,
                        .node = leave->node,
                        .node_address = leave->node_address};
    removal_certify(d->topology, &leave->node, &leave->node_address, 1, "?", &facts);
    bool is_dead = (task.flags & TASK_DEAD) != 0;
    if (is_dead && (!facts.is_dead || is_known_otherwise(d->topology, &leave->node_address))) {
        return;
    }
    if (!facts.is_granted) {
        char text[ADDRESS_TEXT_SIZE];
        decide_wait(d, "%.60s is not stopped yet: %.80s",
                    address_format(&leave->node_address, text), facts.reason);
        return;
    }
    (void)snprintf(task.detail, sizeof(task.detail), "agent %s\n", host->agent.text);
    decide_task(d, &task);
}

/* Whether a server was ours only its host knows; a host that starts none has none of ours. The
 * certificate is added by who sends the task: only that one knows fence and operation. */
void decide_stops(struct decision *d)
{
    for (int i = 0; i < d->facts->batch_count; i++) {
        const struct batch *batch = &d->facts->batches[i];
        bool is_leave = batch->kind == BATCH_TASK && batch->task != NULL &&
                        batch->task->kind == TASK_LEAVE && batch->state == BATCH_DONE &&
                        batch->task->node_address.port != 0;
        const struct lifecycle_host *host =
            is_leave ? find_starter(d, batch->task->node_address.host) : NULL;
        if (host != NULL && !was_stopped(d, &batch->task->node_address)) {
            stop_left(d, batch->task, host);
        }
    }
}
