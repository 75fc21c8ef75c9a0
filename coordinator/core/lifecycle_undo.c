/* lifecycle_undo.c — what an operation that ends without being done takes back. See lifecycle.h.
 *
 * Drain hooks and provisioners work outside the cluster, so no view shows what they did: this is
 * the one place where the operation's own batches are asked what is so now. */
#include "common/base/alloc.h"
#include "common/base/check.h"
#include "coordinator/core/lifecycle_parts.h"
#include "coordinator/core/removal.h"

#include <stdio.h>
#include <string.h>

/* Stands for a server that never told its id, where a certificate must name one. */
#define UNKNOWN_ID "0000000000000000000000000000000000000000"

struct undo {
    const struct lifecycle_facts *facts;
    struct lifecycle_answer *answer;
    int capacity;
    char waits[TEXT_SIZE];  /* what could be taken back, but not now */
    char failed[TEXT_SIZE]; /* what was tried and failed */
};

static const struct task *task_of(const struct lifecycle_facts *facts,
                                  int index,
                                  enum task_kind kind)
{
    const struct batch *batch = &facts->batches[index];
    bool is_it = batch->kind == BATCH_TASK && batch->task != NULL && batch->task->kind == kind;
    return is_it ? batch->task : NULL;
}

/* An agent may have begun it. */
static bool was_ordered(const struct batch *batch)
{
    return batch->attempt > 0 || batch->state == BATCH_DONE;
}

static bool names_agent(const struct task *task, const char *agent)
{
    char name[AGENT_ID_SIZE];
    return task_detail_get(task, "agent", name, sizeof(name)) && strcmp(name, agent) == 0;
}

const struct batch *last_traffic(const struct lifecycle_facts *facts,
                                 const struct node_id *node,
                                 const char *agent)
{
    for (int i = facts->batch_count - 1; i >= 0; i--) {
        const struct task *task = task_of(facts, i, TASK_TRAFFIC);
        if (task != NULL && was_ordered(&facts->batches[i]) &&
            node_id_is_equal(&task->node, node) && names_agent(task, agent)) {
            return &facts->batches[i];
        }
    }
    return NULL;
}

int count_traffic(const struct lifecycle_facts *facts,
                  const struct node_id *node,
                  const char *agent,
                  uint32_t flags)
{
    int count = 0;
    for (int i = 0; i < facts->batch_count; i++) {
        const struct task *task = task_of(facts, i, TASK_TRAFFIC);
        count += task != NULL && was_ordered(&facts->batches[i]) && task->flags == flags &&
                 node_id_is_equal(&task->node, node) && names_agent(task, agent);
    }
    return count;
}

static const struct lifecycle_host *find_agent(const struct lifecycle_facts *facts,
                                               const char *agent)
{
    for (int i = 0; i < facts->host_count; i++) {
        if (facts->hosts[i].is_connected && strcmp(facts->hosts[i].agent.text, agent) == 0) {
            return &facts->hosts[i];
        }
    }
    return NULL;
}

static void add_task(struct undo *u, const struct task *task)
{
    struct lifecycle_answer *answer = u->answer;
    ARRAY_RESERVE(answer->batches, answer->batch_count, u->capacity);
    answer->batches[answer->batch_count++] = (struct batch){.kind = BATCH_TASK,
                                                            .task = xmemdup(task, sizeof(*task)),
                                                            .source = task->node,
                                                            .state = BATCH_WAITING};
}

static void note_failed(struct undo *u, const struct task *task, const char *reason)
{
    char text[TEXT_SIZE];
    task_format(task, text, sizeof(text));
    if (u->failed[0] == '\0') {
        (void)snprintf(u->failed, sizeof(u->failed), "could not %.70s: %.70s", text, reason);
    }
}

/* ---- client traffic ---- */

/* A node that began to leave may be empty and alone already: no client is sent there again. */
static bool began_to_leave(const struct lifecycle_facts *facts, const struct node_id *node)
{
    for (int i = 0; i < facts->batch_count; i++) {
        const struct task *task = task_of(facts, i, TASK_LEAVE);
        if (task != NULL && was_ordered(&facts->batches[i]) &&
            node_id_is_equal(&task->node, node)) {
            return true;
        }
    }
    return false;
}

static bool is_first_of_pair(const struct lifecycle_facts *facts, int index, const char *agent)
{
    const struct task *task = facts->batches[index].task;
    for (int i = 0; i < index; i++) {
        const struct task *other = task_of(facts, i, TASK_TRAFFIC);
        if (other != NULL && was_ordered(&facts->batches[i]) &&
            node_id_is_equal(&other->node, &task->node) && names_agent(other, agent)) {
            return false;
        }
    }
    return true;
}

static void undo_traffic(struct undo *u, int index)
{
    const struct lifecycle_facts *facts = u->facts;
    const struct task *down = task_of(facts, index, TASK_TRAFFIC);
    char agent[AGENT_ID_SIZE];
    if (down == NULL || !was_ordered(&facts->batches[index]) ||
        !task_detail_get(down, "agent", agent, sizeof(agent)) ||
        !is_first_of_pair(facts, index, agent)) {
        return;
    }
    int node = topology_find(facts->topology, &down->node);
    const struct batch *last = last_traffic(facts, &down->node, agent);
    bool is_up = last->state == BATCH_DONE && (last->task->flags & TASK_UP) != 0;
    if (is_up || node == NO_NODE || !facts->topology->nodes[node].is_member ||
        began_to_leave(facts, &down->node)) {
        return;
    }
    struct task up = *down;
    up.flags = TASK_UP;
    up.node_address = facts->topology->nodes[node].address;
    const struct lifecycle_host *host = find_agent(facts, agent);
    if ((last->task->flags & TASK_UP) != 0 &&
        (last->state == BATCH_HELD ||
         count_traffic(facts, &down->node, agent, TASK_UP) >= REPEATS_MAX)) {
        note_failed(u, &up, last->reason);
    } else if (host == NULL || !host->offers_traffic) {
        char text[ADDRESS_TEXT_SIZE];
        (void)snprintf(u->waits, sizeof(u->waits),
                       "client traffic is still off %.60s; agent %.60s is not connected",
                       address_format(&up.node_address, text), agent);
    } else {
        add_task(u, &up);
    }
}

/* ---- servers that were made ---- */

static bool is_at(const struct task *task, const struct address *address)
{
    return task != NULL && address_is_equal(&task->node_address, address);
}

static bool has_done(const struct lifecycle_facts *facts,
                     enum task_kind kind,
                     const struct address *address)
{
    for (int i = 0; i < facts->batch_count; i++) {
        if (facts->batches[i].state == BATCH_DONE && is_at(task_of(facts, i, kind), address)) {
            return true;
        }
    }
    return false;
}

/* The agent that had the server made, else any other that has a provisioner. */
static const struct lifecycle_host *find_releaser(const struct lifecycle_facts *facts,
                                                  const char *maker)
{
    const struct lifecycle_host *host = find_agent(facts, maker);
    for (int i = 0; i < facts->host_count && (host == NULL || !host->offers_provision); i++) {
        if (facts->hosts[i].is_connected && facts->hosts[i].offers_provision) {
            host = &facts->hosts[i];
        }
    }
    return host != NULL && host->offers_provision ? host : NULL;
}

/* The server as it is seen, member or not. */
static int find_at(const struct topology *topology, const struct address *address)
{
    int found = NO_NODE;
    for (int i = 0; i < topology->node_count; i++) {
        if (address_is_equal(&topology->nodes[i].address, address) &&
            (found == NO_NODE || topology->nodes[i].is_member)) {
            found = i;
        }
    }
    return found;
}

/* How often its release was ordered, and the last of those. */
static int count_releases(const struct lifecycle_facts *facts,
                          const struct address *address,
                          const struct batch **last)
{
    int count = 0;
    *last = NULL;
    for (int i = 0; i < facts->batch_count; i++) {
        if (was_ordered(&facts->batches[i]) && is_at(task_of(facts, i, TASK_RELEASE), address)) {
            *last = &facts->batches[i];
            count++;
        }
    }
    return count;
}

static void undo_made(struct undo *u, int index)
{
    const struct lifecycle_facts *facts = u->facts;
    const struct task *provision = task_of(facts, index, TASK_PROVISION);
    const struct address *made = &facts->batches[index].made;
    if (provision == NULL || facts->batches[index].state != BATCH_DONE || made->port == 0) {
        return;
    }
    int node = find_at(facts->topology, made);
    if ((node != NO_NODE && facts->topology->nodes[node].is_member) ||
        has_done(facts, TASK_JOIN, made) || has_done(facts, TASK_RELEASE, made)) {
        return;
    }
    struct task task = {.kind = TASK_RELEASE, .node_address = *made};
    struct removal_certificate certificate;
    const struct batch *last = NULL;
    char maker[AGENT_ID_SIZE];
    char text[ADDRESS_TEXT_SIZE];
    (void)task_detail_get(provision, "agent", maker, sizeof(maker));
    (void)snprintf(task.node.text, sizeof(task.node.text), "%s",
                   node == NO_NODE ? UNKNOWN_ID : facts->topology->nodes[node].id.text);
    const struct lifecycle_host *host = find_releaser(facts, maker);
    removal_certify(facts->topology, &task.node, made, 1, "?", &certificate);
    int count = count_releases(facts, made, &last);
    if (last != NULL && (last->state == BATCH_HELD || count >= REPEATS_MAX)) {
        note_failed(u, &task, last->reason);
    } else if (host == NULL || !certificate.is_granted) {
        (void)snprintf(u->waits, sizeof(u->waits), "%.60s was made and is not given back: %.70s",
                       address_format(made, text),
                       host == NULL ? "no agent has a provisioner now" : certificate.reason);
    } else {
        (void)snprintf(task.detail, sizeof(task.detail), "agent %s\n", host->agent.text);
        add_task(u, &task);
    }
}

/* ---- servers that may have been made ---- */

/* The answer to it is a server like any that was made: undo_made() gives it back, unless it has
 * become a member. */
static void ask_again(struct undo *u, const struct lost_request *lost)
{
    struct task task = *lost->first->task;
    size_t len = strlen(task.detail);
    int added = snprintf(task.detail + len, sizeof(task.detail) - len, "request %s\n", lost->id);
    CHECK(added > 0);
    CHECK((size_t)added < sizeof(task.detail) - len);
    add_task(u, &task);
}

static void undo_lost(struct undo *u, int index)
{
    struct lost_request lost;
    if (!find_lost_request(u->facts, index, &lost)) {
        return;
    }
    const struct lifecycle_host *host = find_agent(u->facts, lost.agent);
    bool is_there = host != NULL && host->offers_provision;
    bool is_held = lost.last->state == BATCH_HELD;
    bool is_under_way = lost.is_asked_again &&
                        (lost.last->state == BATCH_WAITING || lost.last->state == BATCH_FAILED);
    bool is_told = lost.last->reason_code == ERR_CANCELLED;
    bool is_given_up = lost.is_asked_again && is_held && !is_told;
    if (!is_under_way && is_there && !is_given_up && lost.ask_count < REPEATS_MAX) {
        ask_again(u, &lost);
    } else if (!is_under_way && (is_there || is_told || is_given_up)) {
        if (u->failed[0] == '\0') {
            describe_lost_request(&lost, !is_there, u->failed);
        }
    } else {
        describe_lost_request(&lost, true, u->waits);
    }
}

/* ---- all of it ---- */

bool lifecycle_is_undo(const struct task *task)
{
    return task->kind == TASK_RELEASE || is_asked_again(task) ||
           (task->kind == TASK_TRAFFIC && (task->flags & TASK_UP) != 0);
}

void lifecycle_undo(const struct lifecycle_facts *facts, struct lifecycle_answer *out)
{
    *out = (struct lifecycle_answer){.verdict = LIFECYCLE_DONE};
    struct undo u = {.facts = facts, .answer = out};
    for (int i = 0; i < facts->batch_count; i++) {
        undo_traffic(&u, i);
        undo_made(&u, i);
        undo_lost(&u, i);
    }
    welcome_joined(facts, out, &u.capacity);
    if (out->batch_count > 0) {
        out->verdict = LIFECYCLE_MORE;
    } else if (u.waits[0] != '\0') {
        out->verdict = LIFECYCLE_WAIT;
        memcpy(out->reason, u.waits, sizeof(out->reason));
    } else if (u.failed[0] != '\0') {
        out->verdict = LIFECYCLE_REFUSED;
        out->code = ERR_CONFLICT;
        memcpy(out->reason, u.failed, sizeof(out->reason));
    }
}
