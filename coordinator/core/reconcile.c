/* reconcile.c — see reconcile.h. */
#include "coordinator/core/reconcile.h"

#include "coordinator/core/lifecycle.h"
#include "coordinator/core/state.h"

#include <stdio.h>

static void say_following(const struct coordinator *c, struct strbuf *out)
{
    const struct election *election = &c->election;
    switch ((enum election_state)election->sm.state) {
    case ELECTION_FOLLOWING:
        if (election->store_err.code != 0) {
            strbuf_addf(out, "does not lead and cannot reach the store: %s",
                        election->store_err.text);
        } else if (election->is_leader_known) {
            strbuf_addf(out, "stands by: %s leads", election->leader.name);
        } else {
            strbuf_add_text(out, "stands by: nobody is known to lead, will campaign");
        }
        return;
    case ELECTION_GRANTING:
    case ELECTION_CAMPAIGNING:
    case ELECTION_READING_BACK:
        strbuf_add_text(out, "campaigns for the lease");
        return;
    case ELECTION_RESIGNING:
    case ELECTION_STOPPED:
        strbuf_add_text(out, "is stopping");
        return;
    case ELECTION_LEADING:
    case ELECTION_NR:
        return;
    }
}

static void say_orders(const struct operation_run *o, struct strbuf *out)
{
    int running = 0;
    int waiting = 0;
    for (int i = 0; i < o->plan.batch_count; i++) {
        running += o->runs[i].sm.state == RUN_RUNNING ? 1 : 0;
        waiting += order_run_is_live(&o->runs[i]) && o->runs[i].sm.state != RUN_RUNNING ? 1 : 0;
    }
    strbuf_addf(out, "; %d orders run", running);
    if (waiting > 0) {
        strbuf_addf(out, ", %d are on their way", waiting);
    }
}

/* An order that is not heard of is the most likely reason for standing still: name it. */
static void say_silent(const struct coordinator *c,
                       const struct operation_run *o,
                       struct strbuf *out)
{
    for (int i = 0; i < o->plan.batch_count; i++) {
        const struct order_run *run = &o->runs[i];
        if (run->sm.state != RUN_SILENT && run->sm.state != RUN_INHERITED) {
            continue;
        }
        int64_t left_ms = run->expires_ms + c->config.order_margin_ms - c->turn.now_ms;
        strbuf_addf(out, "; batch %d waits for agent %s to %s, or %lld s for its order to expire",
                    i, o->plan.batches[i].agent.text,
                    run->sm.state == RUN_INHERITED ? "confirm our fence" : "be heard again",
                    (long long)(left_ms > 0 ? (left_ms + 999) / 1000 : 0));
        return;
    }
}

/* Of a plan that grows: how far it is, and the first task under way. */
static void say_steps(const struct operation_run *o, struct strbuf *out)
{
    if (!lifecycle_applies(o->op.request.kind)) {
        return;
    }
    int done = 0;
    const struct batch *doing = NULL;
    for (int i = 0; i < o->plan.batch_count; i++) {
        const struct batch *batch = &o->plan.batches[i];
        done += batch->state == BATCH_DONE ? 1 : 0;
        bool is_doing = batch->kind == BATCH_TASK && order_run_is_live(&o->runs[i]);
        doing = doing == NULL && is_doing ? batch : doing;
    }
    strbuf_addf(out, "%d of %d steps known so far done", done, o->plan.batch_count);
    if (doing != NULL) {
        char text[TEXT_SIZE];
        task_format(doing->task, text, sizeof(text));
        strbuf_addf(out, ", now: %s", text);
    }
    if (o->op.slots_total > 0) {
        strbuf_add_text(out, ", ");
    }
}

static void say_operation(const struct coordinator *c,
                          const struct operation_run *o,
                          struct strbuf *out)
{
    const struct operation *op = &o->op;
    strbuf_addf(out, "%s (%s) is %s: ", op->id, operation_kind_name(op->request.kind),
                operation_state_name(op->state));
    say_steps(o, out);
    if (op->slots_total > 0 || !lifecycle_applies(op->request.kind)) {
        int percent =
            op->slots_total > 0 ? (int)((int64_t)100 * op->slots_moved / op->slots_total) : 0;
        strbuf_addf(out, "%d of %d slots moved (%d %%)", op->slots_moved, op->slots_total, percent);
    }
    switch (op->state) {
    case OPERATION_RUNNING:
    case OPERATION_PAUSING:
    case OPERATION_CANCELLING:
        say_orders(o, out);
        if (o->waits[0] != '\0') {
            strbuf_addf(out, "; %s", o->waits);
        }
        say_silent(c, o, out);
        if (op->reason[0] != '\0') {
            strbuf_addf(out, " (%s)", op->reason);
        }
        return;
    case OPERATION_PAUSED:
        strbuf_addf(out, "; %s%swaits for `drover op resume %s` or `drover op cancel %s`",
                    op->reason, op->reason[0] != '\0' ? "; " : "", op->id, op->id);
        return;
    case OPERATION_HELD:
        strbuf_addf(out,
                    "; %s; a person must decide: `drover op resume %s` or `drover op cancel %s`",
                    op->reason, op->id, op->id);
        return;
    case OPERATION_PLANNED:
    case OPERATION_DONE:
    case OPERATION_CANCELLED:
    case OPERATION_FAILED:
        return;
    }
}

/* A target that imports a slot whose source was replaced stays down until it is told who owns the
 * slot (Redis < 8). */
static bool say_stuck_target(const struct topology *topology, struct strbuf *out)
{
    for (int i = 0; i < topology->open_count; i++) {
        const struct topology_open *open = &topology->opens[i];
        const struct topology_node *node = &topology->nodes[open->node];
        int owner = topology->owner[open->slot];
        bool is_stuck = open->is_importing && node->is_reachable && !node->is_cluster_ok &&
                        owner != open->peer_node;
        if (!is_stuck || owner == NO_NODE) {
            continue;
        }
        char name[TOPOLOGY_NAME_SIZE];
        char owner_name[TOPOLOGY_NAME_SIZE];
        strbuf_addf(out, "%s is down because it imports slot %d from a node that %s has replaced: ",
                    topology_node_name(topology, open->node, name), open->slot,
                    topology_node_name(topology, owner, owner_name));
        strbuf_addf(out, "send it CLUSTER SETSLOT %d NODE %s", open->slot,
                    topology->nodes[owner].id.text);
        return true;
    }
    return false;
}

/* Agents are there but no node is: the reason that one of them gives. */
static void say_no_node(const struct coordinator *c, int connected, struct strbuf *out)
{
    const struct agent_entry *agent = NULL;
    const struct node_report *node = registry_find_unread(&c->registry, &agent);
    if (node != NULL) {
        strbuf_addf(out, "agent %s reaches none of its %d nodes: %s", agent->id.text,
                    agent->node_count, node->reason);
        return;
    }
    strbuf_addf(out, "leads; %d agents are connected, none has reported a node yet", connected);
}

static void say_idle(const struct coordinator *c, struct strbuf *out)
{
    const struct topology *topology = &c->observe.topology;
    int connected = 0;
    for (int i = 0; i < c->registry.count; i++) {
        connected += agent_is_connected(c, c->registry.entries[i]) ? 1 : 0;
    }
    if (connected == 0) {
        strbuf_add_text(
            out,
            "leads, but no agent is connected: start drover-agent on the hosts of the cluster");
        return;
    }
    if (topology->node_count == 0) {
        say_no_node(c, connected, out);
        return;
    }
    if (say_stuck_target(topology, out)) {
        return;
    }
    if (!c->observe.is_settled) {
        strbuf_addf(out, "slots may not be moved now: %s", strbuf_text(&c->observe.unsettled));
        if (topology->open_count > 0) {
            strbuf_add_text(out,
                            " (open slots that are not drover's: somebody else moves them, or left "
                            "them behind)");
        }
        return;
    }
    int planned = 0;
    for (int i = 0; i < c->executor.count; i++) {
        planned += c->executor.operations[i]->op.state == OPERATION_PLANNED ? 1 : 0;
    }
    strbuf_addf(
        out,
        "nothing to do: %d shards, %d nodes, %d agents, every slot has one owner in every view",
        topology->shard_count, topology->node_count, connected);
    if (planned > 0) {
        strbuf_addf(out, "; %d operations wait for `drover op approve`", planned);
    }
}

void reconcile_say(const struct coordinator *c, struct strbuf *out)
{
    if (!election_is_leading(&c->election)) {
        say_following(c, out);
        return;
    }
    if (c->takeover.is_loading) {
        strbuf_add_text(out, "leads and reads the journal");
        if (c->takeover.failures > 0) {
            strbuf_addf(out, ", but the store does not answer: %s", c->takeover.err.text);
        }
        return;
    }
    if (c->executor.unreadable[0] != '\0') {
        strbuf_addf(out, "does nothing: the store holds a record that this version cannot read: %s",
                    c->executor.unreadable);
        return;
    }
    if (journal_is_frozen(&c->journal)) {
        strbuf_addf(out, "nothing new is begun: the store takes no writes since %lld s: %s; ",
                    (long long)((c->turn.now_ms - c->journal.frozen_since_ms) / 1000),
                    c->journal.err.text);
    }
    const struct operation_run *active = executor_active(c);
    if (active != NULL) {
        say_operation(c, active, out);
    } else if (c->scan.is_active) {
        strbuf_addf(out, "scans for a plan: %d of %d batches counted", c->scan.ended_count,
                    c->scan.plan.batch_count);
    } else {
        say_idle(c, out);
    }
}
