/* dispatch.c — which batch goes to which agent now. See executor.h.
 *
 * Limits count batches that run: of a source at most moves_per_source_max run, one more may wait at
 * the agent so that it has work without asking; a target takes part in at most
 * moves_per_target_max, all together in moves_max. Nothing is given out while an order for the same
 * source is not heard of: it may still run. */
#include "coordinator/core/executor.h"

#include "coordinator/core/state.h"

#include <stdio.h>
#include <string.h>

#define QUEUED_PER_SOURCE 1
#define LIVE_MAX 256 /* live orders looked at; MOVES_MAX running and as many queued */

_Static_assert(LIVE_MAX >= 2 * MOVES_MAX, "running and queued orders fit");

void batch_slots_left(const struct coordinator *c,
                      const struct operation_run *o,
                      int index,
                      struct slotset *slots)
{
    const struct batch *batch = &o->plan.batches[index];
    *slots = batch->slots;
    slotset_subtract(slots, &batch->slots_done);
    if (o->op.state == OPERATION_RUNNING) {
        return;
    }
    const struct topology *topology = &c->observe.topology;
    struct slotset open = {0};
    for (int i = 0; i < topology->open_count; i++) {
        const struct topology_open *item = &topology->opens[i];
        /* The other way round it is somebody else's: done by us, and opened again. Not by the peer:
         * a failover leaves marks that name the predecessor. */
        const struct node_id *end = item->is_importing ? &batch->target : &batch->source;
        if (node_id_is_equal(&topology->nodes[item->node].id, end)) {
            slotset_add(&open, item->slot);
        }
    }
    slotset_intersect(slots, &open);
}

/* Orders that live, seen from one candidate. */
struct load {
    int of_source;         /* live orders from its source */
    int of_pair;           /* and to its target */
    int running;           /* sources at work, each counted up to its limit */
    int running_to_target; /* likewise, only of those that go to its target */
    bool is_source_unsure; /* an order of its source is not heard of */
};

/* The batches with live orders; kept small by the limits, so that one look at all pairs of them is
 * cheap. */
struct live {
    int items[LIVE_MAX];
    int count;
};

/* Adds one source's share; called once for each source that has live orders. */
static void add_source_load(const struct coordinator *c,
                            const struct operation_run *o,
                            const struct live *live,
                            int first,
                            const struct batch *of,
                            struct load *load)
{
    const struct node_id *source = &o->plan.batches[live->items[first]].source;
    int count = 0;
    int to_target = 0;
    for (int i = first; i < live->count; i++) {
        const struct batch *batch = &o->plan.batches[live->items[i]];
        if (node_id_is_equal(&batch->source, source)) {
            count++;
            to_target += node_id_is_equal(&batch->target, &of->target) ? 1 : 0;
        }
    }
    int limit = c->config.moves_per_source_max;
    load->running += count < limit ? count : limit;
    load->running_to_target += to_target < limit ? to_target : limit;
    if (node_id_is_equal(source, &of->source)) {
        load->of_source = count;
        load->of_pair = to_target;
    }
}

static bool is_first_of_source(const struct operation_run *o, const struct live *live, int index)
{
    for (int i = 0; i < index; i++) {
        if (node_id_is_equal(&o->plan.batches[live->items[i]].source,
                             &o->plan.batches[live->items[index]].source)) {
            return false;
        }
    }
    return true;
}

static struct load measure_load(const struct coordinator *c,
                                const struct operation_run *o,
                                const struct live *live,
                                const struct batch *of)
{
    struct load load = {0};
    for (int i = 0; i < live->count; i++) {
        const struct order_run *run = &o->runs[live->items[i]];
        if ((run->sm.state == RUN_SILENT || run->sm.state == RUN_INHERITED) &&
            node_id_is_equal(&o->plan.batches[live->items[i]].source, &of->source)) {
            load.is_source_unsure = true;
        }
        if (is_first_of_source(o, live, i)) {
            add_source_load(c, o, live, i, of, &load);
        }
    }
    return load;
}

static bool is_within_limits(const struct coordinator *c,
                             const struct operation_run *o,
                             const struct live *live,
                             const struct batch *batch)
{
    if (live->count == LIVE_MAX) {
        return false;
    }
    struct load load = measure_load(c, o, live, batch);
    int per_source = c->config.moves_per_source_max;
    int all = c->config.moves_max;
    if (o->op.request.parallel_moves_max > 0 && o->op.request.parallel_moves_max < all) {
        all = o->op.request.parallel_moves_max;
    }
    if (load.is_source_unsure || load.of_source >= per_source + QUEUED_PER_SOURCE) {
        return false;
    }
    bool is_running_more = load.of_source < per_source;
    bool is_more_to_target = load.of_pair < per_source;
    return (!is_running_more || load.running < all) &&
           (!is_more_to_target || load.running_to_target < c->config.moves_per_target_max);
}

void operation_waits_for(struct operation_run *o, const char *what, const char *who)
{
    if (o->waits[0] == '\0') {
        (void)snprintf(o->waits, sizeof(o->waits), "%s %s", what, who);
    }
}

/* The agent that may move this batch now, or NULL with the reason in o->waits. */
static struct agent_entry *choose_agent(struct coordinator *c,
                                        struct operation_run *o,
                                        const struct batch *batch)
{
    const struct topology *topology = &c->observe.topology;
    char name[TOPOLOGY_NAME_SIZE];
    const struct node_id *ends[] = {&batch->source, &batch->target};
    for (int e = 0; e < 2; e++) {
        int node = topology_find(topology, ends[e]);
        if (node == NO_NODE || topology->nodes[node].address.port == 0) {
            operation_waits_for(o, "waits for a report of node", ends[e]->text);
            return NULL;
        }
        if (!topology->nodes[node].is_reachable) {
            operation_waits_for(o, "waits until an agent reaches",
                                topology_node_name(topology, node, name));
            return NULL;
        }
    }
    int source = topology_find(topology, &batch->source);
    struct agent_entry *agent = registry_find(&c->registry, &topology->nodes[source].agent);
    if (agent == NULL || !agent_is_connected(c, agent)) {
        operation_waits_for(o, "waits for an agent that serves",
                            topology_node_name(topology, source, name));
        return NULL;
    }
    if (!agent_is_ready(c, agent)) {
        operation_waits_for(o, "waits for our fence to be confirmed by agent", agent->id.text);
        return NULL;
    }
    return agent;
}

/* What the nodes say counts more than a result that was lost: slots that are the target's need no
 * order. */
static void count_moved(struct coordinator *c, struct operation_run *o, int index)
{
    const struct topology *topology = &c->observe.topology;
    struct batch *batch = &o->plan.batches[index];
    int target = topology_find(topology, &batch->target);
    int source = topology_find(topology, &batch->source);
    /* Only the source itself tells that its mark is still on; a slot with a mark needs an order. */
    if (source == NO_NODE || !topology->nodes[source].is_reachable ||
        !observe_is_fresh(c, source, o->quiet_since_ms)) {
        return;
    }
    if (batch->attempt == 0 || target == NO_NODE || !topology->nodes[target].is_reachable ||
        topology->views_missing > 0 || c->observe.views_stale > 0 ||
        !observe_is_fresh(c, target, o->quiet_since_ms) || topology->disagreement_count > 0) {
        return;
    }
    struct slotset moved;
    topology_node_slots(topology, target, &moved);
    slotset_intersect(&moved, &batch->slots);
    for (int i = 0; i < topology->open_count; i++) {
        slotset_remove(&moved, topology->opens[i].slot);
    }
    slotset_union(&batch->slots_done, &moved);
}

static void finish_without_order(struct coordinator *c, struct operation_run *o, int index)
{
    struct batch *batch = &o->plan.batches[index];
    batch->state = BATCH_DONE;
    batch->reason_code = 0;
    batch->reason[0] = '\0';
    o->runs[index].ticket = record_batch(c, o, index);
    sm_move(&o->runs[index].sm, RUN_ENDING, c->turn.now_ms);
}

bool is_dispatchable(const struct operation_run *o, const struct batch *batch)
{
    switch (batch->state) {
    case BATCH_WAITING:
    case BATCH_FAILED:
        return true;
    case BATCH_STOPPED:
        /* To close what is open; `resume` makes it waiting again. A task that was stopped is over:
         * what comes instead is decided anew. */
        return o->op.state != OPERATION_RUNNING && batch->kind == BATCH_MOVE;
    case BATCH_ORDERED:
    case BATCH_DONE:
    case BATCH_HELD:
        return false;
    }
    return false;
}

/* Which process had the slots when the batch first touched them: travels with every order of it and
 * is journalled with the first. */
static void note_source(const struct coordinator *c, struct batch *batch)
{
    const struct topology *topology = &c->observe.topology;
    int source = topology_find(topology, &batch->source);
    if (batch->attempt == 0 && source != NO_NODE) {
        (void)snprintf(batch->source_run_id, sizeof(batch->source_run_id), "%s",
                       topology->nodes[source].run_id);
    }
}

int dispatch_batches(struct coordinator *c, struct operation_run *o)
{
    int open = dispatch_tasks(c, o);
    struct live live = {.count = 0};
    for (int i = o->plan.settled_count; i < o->plan.batch_count && live.count < LIVE_MAX; i++) {
        if (order_run_is_live(&o->runs[i]) && o->plan.batches[i].kind == BATCH_MOVE) {
            live.items[live.count++] = i;
        }
    }
    for (int i = o->plan.settled_count; i < o->plan.batch_count; i++) {
        struct batch *batch = &o->plan.batches[i];
        struct order_run *run = &o->runs[i];
        if (batch->kind != BATCH_MOVE || order_run_is_live(run) || !is_dispatchable(o, batch)) {
            continue;
        }
        count_moved(c, o, i);
        struct slotset slots;
        batch_slots_left(c, o, i, &slots);
        if (slotset_is_empty(&slots)) {
            if (slotset_is_equal(&batch->slots, &batch->slots_done)) {
                finish_without_order(c, o, i);
            }
            continue;
        }
        open++;
        if (journal_is_frozen(&c->journal)) {
            operation_waits_for(o, "waits for", "the store to take writes");
            continue;
        }
        if (run->not_before_ms > c->turn.now_ms) {
            operation_waits_for(o, "pauses after a failure:", batch->reason);
            continue;
        }
        if (!is_within_limits(c, o, &live, batch) || is_in_use_by_task(o, batch)) {
            continue;
        }
        struct agent_entry *agent = choose_agent(c, o, batch);
        if (agent != NULL) {
            note_source(c, batch);
            order_run_start(c, o, i, agent, &slots);
            live.items[live.count++] = i;
        }
    }
    return open;
}
