/* observe_assign.c — which agent also looks at which nodes of other hosts; see observe.h.
 *
 * Members that no agent reports, and nodes that somebody named (to be added, to make a cluster of)
 * and that no agent has found by itself. What an agent on the spot serves, and what is wanted no
 * more, is taken back. */
#include "coordinator/core/observe.h"

#include "common/base/alloc.h"
#include "coordinator/core/state.h"

#include <stdlib.h>
#include <string.h>

bool agent_is_assigned(const struct agent_entry *agent, const struct address *address)
{
    for (int i = 0; i < agent->assigned_count; i++) {
        if (address_is_equal(&agent->assigned[i], address)) {
            return true;
        }
    }
    return false;
}

/* ---- wishes ---- */

static void forget_old_wishes(struct coordinator *c)
{
    struct observe *observe = &c->observe;
    int kept = 0;
    for (int i = 0; i < observe->wish_count; i++) {
        if (observe->wishes[i].until_ms > c->turn.now_ms) {
            observe->wishes[kept++] = observe->wishes[i];
        }
    }
    observe->wish_count = kept;
}

void observe_wish(struct coordinator *c, const struct address *addresses, int count)
{
    struct observe *observe = &c->observe;
    forget_old_wishes(c);
    if (observe->wishes == NULL && count > 0) {
        observe->wishes = xcalloc(WISHES_MAX, sizeof(*observe->wishes));
    }
    for (int i = 0; i < count; i++) {
        int at = 0;
        while (at < observe->wish_count &&
               !address_is_equal(&observe->wishes[at].address, &addresses[i])) {
            at++;
        }
        if (at == WISHES_MAX) {
            break;
        }
        observe->wishes[at] =
            (struct wish){.address = addresses[i], .until_ms = c->turn.now_ms + WISH_MS};
        observe->wish_count = at == observe->wish_count ? at + 1 : observe->wish_count;
    }
    observe->is_dirty = true;
}

static bool is_in_request(const struct operation_run *o, const struct address *address)
{
    for (int i = 0; i < o->op.request.address_count; i++) {
        if (address_is_equal(&o->op.request.addresses[i], address)) {
            return true;
        }
    }
    return false;
}

/* Servers that the operation starts, has made, or has joined by address. */
static bool is_in_tasks(const struct operation_run *o, const struct address *address)
{
    for (int i = 0; i < o->plan.batch_count; i++) {
        const struct batch *batch = &o->plan.batches[i];
        bool is_new = batch->kind == BATCH_TASK &&
                      (batch->task->kind == TASK_START || batch->task->kind == TASK_JOIN);
        if (is_new && address_is_equal(&batch->task->node_address, address)) {
            return true;
        }
        if (batch->made.port != 0 && address_is_equal(&batch->made, address)) {
            return true;
        }
    }
    return false;
}

bool observe_is_wished(const struct coordinator *c, const struct address *address)
{
    const struct operation_run *o = executor_active(c);
    if (o != NULL && (is_in_request(o, address) || is_in_tasks(o, address))) {
        return true;
    }
    for (int i = 0; i < c->observe.wish_count; i++) {
        if (c->observe.wishes[i].until_ms > c->turn.now_ms &&
            address_is_equal(&c->observe.wishes[i].address, address)) {
            return true;
        }
    }
    return false;
}

/* ---- taking back ---- */

static void drop_assigned(struct agent_entry *agent, int index)
{
    agent->assigned_count--;
    memmove(&agent->assigned[index], &agent->assigned[index + 1],
            (size_t)(agent->assigned_count - index) * sizeof(*agent->assigned));
    agent->is_assignment_new = true;
    agent->has_news = true;
}

/* A connected agent, other than this one, that has the node without having been told. */
static bool is_served_by_other(const struct coordinator *c,
                               const struct agent_entry *agent,
                               const struct address *address)
{
    for (int i = 0; i < c->registry.count; i++) {
        const struct agent_entry *other = c->registry.entries[i];
        if (other == agent || !agent_is_connected(c, other) || agent_is_assigned(other, address)) {
            continue;
        }
        for (int n = 0; n < other->node_count; n++) {
            if (address_is_equal(&other->nodes[n].address, address)) {
                return true;
            }
        }
    }
    return false;
}

static bool is_needed(const struct coordinator *c,
                      const struct agent_entry *agent,
                      const struct address *address)
{
    const struct topology *topology = &c->observe.topology;
    for (int t = 0; t < topology->node_count; t++) {
        const struct topology_node *node = &topology->nodes[t];
        if (node->is_member && address_is_equal(&node->address, address) &&
            (node->agent.text[0] == '\0' || strcmp(node->agent.text, agent->id.text) == 0)) {
            return true;
        }
    }
    bool is_wanted = observe_is_wished(c, address) || adopted_wants(c, address);
    return is_wanted && !is_served_by_other(c, agent, address);
}

static void take_back(struct coordinator *c)
{
    for (int i = 0; i < c->registry.count; i++) {
        struct agent_entry *agent = c->registry.entries[i];
        for (int n = agent->assigned_count - 1; n >= 0; n--) {
            if (!is_needed(c, agent, &agent->assigned[n])) {
                drop_assigned(agent, n);
            }
        }
    }
}

/* ---- handing out ---- */

/* An agent that serves a node of the same host can certainly reach it. */
static bool is_on_host(const struct agent_entry *agent, const char *host)
{
    for (int n = 0; n < agent->node_count; n++) {
        if (strcmp(agent->nodes[n].address.host, host) == 0) {
            return true;
        }
    }
    return agent->has_host && strcmp(agent->host.host, host) == 0;
}

static bool is_better(const struct agent_entry *a, const struct agent_entry *b, const char *host)
{
    bool is_a_near = is_on_host(a, host);
    if (is_a_near != is_on_host(b, host)) {
        return is_a_near;
    }
    return a->node_count + a->assigned_count < b->node_count + b->assigned_count;
}

static void assign(struct coordinator *c, const struct address *address)
{
    struct agent_entry *best = NULL;
    for (int i = 0; i < c->registry.count; i++) {
        struct agent_entry *agent = c->registry.entries[i];
        if (!agent_is_connected(c, agent)) {
            continue;
        }
        if (agent_is_assigned(agent, address)) {
            return; /* told already; it may need a moment, or cannot reach the node either */
        }
        if (best == NULL || is_better(agent, best, address->host)) {
            best = agent;
        }
    }
    if (best == NULL || best->assigned_count >= REPORT_NODES_MAX) {
        return;
    }
    best->assigned =
        xreallocarray(best->assigned, (size_t)best->assigned_count + 1, sizeof(*best->assigned));
    best->assigned[best->assigned_count++] = *address;
    best->is_assignment_new = true;
    best->has_news = true;
    char text[ADDRESS_TEXT_SIZE];
    struct log_event *log = turn_log(&c->turn, EVENT_AGENT_ASSIGNED);
    log_event_add(log, "agent", best->id.text);
    log_event_add(log, "node", address_format(address, text));
}

static void assign_unserved(struct coordinator *c)
{
    struct observe *observe = &c->observe;
    bool is_all_served = true;
    for (int t = 0; t < observe->topology.node_count; t++) {
        const struct topology_node *node = &observe->topology.nodes[t];
        if (node->agent.text[0] == '\0' && node->address.port != 0) {
            is_all_served = false;
            if (observe->unserved_since_ms != NEVER &&
                c->turn.now_ms - observe->unserved_since_ms >= UNSERVED_MS) {
                assign(c, &node->address);
            }
        }
    }
    if (is_all_served) {
        observe->unserved_since_ms = NEVER;
    } else if (observe->unserved_since_ms == NEVER) {
        observe->unserved_since_ms = c->turn.now_ms;
    }
}

static void assign_wish(struct coordinator *c, const struct address *address)
{
    if (!is_served_by_other(c, NULL, address)) {
        assign(c, address);
    }
}

static void assign_wished(struct coordinator *c)
{
    const struct operation_run *o = executor_active(c);
    for (int i = 0; o != NULL && i < o->op.request.address_count; i++) {
        assign_wish(c, &o->op.request.addresses[i]);
    }
    for (int i = 0; o != NULL && i < o->plan.batch_count; i++) {
        const struct batch *batch = &o->plan.batches[i];
        if (batch->kind == BATCH_TASK && batch->state == BATCH_DONE &&
            batch->task->kind == TASK_START) {
            assign_wish(c, &batch->task->node_address);
        }
        if (batch->made.port != 0) {
            assign_wish(c, &batch->made);
        }
    }
    for (int i = 0; i < c->observe.wish_count; i++) {
        assign_wish(c, &c->observe.wishes[i].address);
    }
    const struct spec_record *spec = &c->takeover.spec;
    for (int i = 0; c->takeover.has_spec && i < spec->seed_count; i++) {
        if (adopted_wants(c, &spec->seeds[i])) {
            assign_wish(c, &spec->seeds[i]);
        }
    }
}

void observe_assign(struct coordinator *c)
{
    forget_old_wishes(c);
    take_back(c);
    assign_unserved(c);
    assign_wished(c);
}
