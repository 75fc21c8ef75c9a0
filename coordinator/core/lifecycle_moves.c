/* lifecycle_moves.c — slots on their way: several nodes emptied in one plan, or shares made even.
 * See lifecycle_parts.h. */
#include "common/base/alloc.h"
#include "common/base/check.h"
#include "coordinator/core/balance.h"
#include "coordinator/core/estimate.h"
#include "coordinator/core/lifecycle_parts.h"
#include "coordinator/core/planner_cut.h"

#include <inttypes.h>
#include <stdlib.h>

/* Those that stay and may take slots. */
struct survivors {
    struct balance_node *shares; /* owned */
    int *nodes;                  /* owned */
    int count;
};

static bool is_named(const int *nodes, int count, int node)
{
    for (int i = 0; i < count; i++) {
        if (nodes[i] == node) {
            return true;
        }
    }
    return false;
}

/* The spec's limit goes before the configured one. */
static struct plan_options spec_options(const struct decision *d)
{
    struct plan_options options = *d->facts->options;
    const struct spec_record *spec = d->facts->spec;
    if (spec != NULL && spec->memory_limit_percent >= 1.0 && spec->memory_limit_percent <= 100.0) {
        options.memory_limit_percent = spec->memory_limit_percent;
    }
    return options;
}

/* Bytes that a slot of the leaving nodes takes on average; 0 = unknown. */
static int64_t bytes_per_slot(const struct topology *topology, const int *leaving, int count)
{
    int64_t bytes = 0;
    int64_t slots = 0;
    for (int i = 0; i < count; i++) {
        const struct topology_node *node = &topology->nodes[leaving[i]];
        if (node->used_memory_bytes < 0) {
            return 0;
        }
        bytes += node->used_memory_bytes;
        slots += node->slot_count;
    }
    return slots == 0 ? 0 : (bytes + slots - 1) / slots;
}

static int room_of(const struct topology_node *node,
                   const struct plan_options *options,
                   int64_t slot_bytes)
{
    int64_t limit = estimate_memory_limit(node, options);
    if (limit < 0 || slot_bytes == 0 || node->used_memory_bytes < 0) {
        return BALANCE_NO_CAP;
    }
    int64_t room = (limit - node->used_memory_bytes) / slot_bytes;
    return room < 0 ? 0 : room > SLOT_COUNT ? SLOT_COUNT : (int)room;
}

static void list_survivors(const struct decision *d,
                           const struct plan_options *options,
                           const int *leaving,
                           int count,
                           struct survivors *out)
{
    const struct topology *topology = d->topology;
    int64_t slot_bytes = bytes_per_slot(topology, leaving, count);
    out->shares = xcalloc((size_t)topology->shard_count + 1, sizeof(struct balance_node));
    out->nodes = xcalloc((size_t)topology->shard_count + 1, sizeof(int));
    for (int s = 0; s < topology->shard_count; s++) {
        int node = topology->shards[s].primary;
        const struct topology_node *subject = &topology->nodes[node];
        /* One without slots may just have been emptied itself. */
        if (is_live_primary(subject) && subject->slot_count > 0 &&
            !is_named(leaving, count, node)) {
            out->nodes[out->count] = node;
            out->shares[out->count++] =
                (struct balance_node){.weight = 1,
                                      .current = subject->slot_count,
                                      .cap = room_of(subject, options, slot_bytes)};
        }
    }
}

static int sum_slots(const struct topology *topology, const int *leaving, int count)
{
    int sum = 0;
    for (int i = 0; i < count; i++) {
        sum += topology->nodes[leaving[i]].slot_count;
    }
    return sum;
}

static void refuse_room(struct decision *d,
                        const struct plan_options *options,
                        int survivor_count,
                        int slots,
                        int homeless)
{
    decide_refuse(d, ERR_REFUSED,
                  "%d of %d slots find no room at the %d other primaries below %.4g %% of "
                  "maxmemory; raise it or add a node first",
                  homeless, slots, survivor_count, options->memory_limit_percent);
}

/* The flows that give every survivor what balance_fill() found for it. */
static void match_flows(const struct decision *d,
                        const struct survivors *survivors,
                        const int *leaving,
                        int count,
                        struct planner_flows *flows)
{
    struct planner_balance *balances =
        xcalloc((size_t)(survivors->count + count) + 1, sizeof(*balances));
    int n = 0;
    for (int i = 0; i < count; i++) {
        balances[n++] =
            (struct planner_balance){leaving[i], d->topology->nodes[leaving[i]].slot_count};
    }
    for (int i = 0; i < survivors->count; i++) {
        balances[n++] = (struct planner_balance){survivors->nodes[i], -survivors->shares[i].result};
    }
    planner_cut_match(balances, n, flows);
    free(balances);
}

static int make_plan(const struct decision *d,
                     const struct plan_options *options,
                     struct planner_flows *flows,
                     struct plan *plan,
                     struct err *err)
{
    plan->topology_digest = topology_digest(d->topology);
    planner_cut_slots(d->topology, flows);
    int code = planner_cut_batches(d->topology, flows, options->batch_slots_max, plan, err);
    if (code == 0) {
        estimate_plan(d->topology, options, plan);
        code = estimate_check_memory(d->topology, options, plan, err);
    }
    return code;
}

void decide_drain(struct decision *d, const int *leaving, int count)
{
    struct plan_options options = spec_options(d);
    struct survivors survivors = {0};
    struct planner_flows flows = {0};
    struct plan plan = {0};
    struct err err = {0};
    int slots = sum_slots(d->topology, leaving, count);
    if (slots == 0) {
        return;
    }
    list_survivors(d, &options, leaving, count, &survivors);
    int homeless =
        survivors.count == 0 ? slots : balance_fill(survivors.shares, survivors.count, slots);
    if (survivors.count == 0) {
        decide_refuse(d, ERR_REFUSED, "no other primary with slots could take %d slots; add one",
                      slots);
    } else if (homeless > 0) {
        refuse_room(d, &options, survivors.count, slots, homeless);
    } else {
        match_flows(d, &survivors, leaving, count, &flows);
        int code = make_plan(d, &options, &flows, &plan, &err);
        if (code == 0) {
            decide_plan(d, &plan);
        } else {
            decide_plan_failed(d, code, &err);
            plan_release(&plan);
        }
    }
    planner_flows_release(&flows);
    free(survivors.shares);
    free(survivors.nodes);
}

void decide_rebalance(struct decision *d, const int *chosen, int count)
{
    const struct topology *topology = d->topology;
    struct plan_options options = spec_options(d);
    struct operation_request request = {.kind = OPERATION_REBALANCE,
                                        .weights = d->request->weights,
                                        .weight_count = d->request->weight_count,
                                        .threshold_percent = d->request->threshold_percent};
    struct node_id *excluded =
        xcalloc((size_t)(topology->shard_count + options.excluded_count) + 1, sizeof(*excluded));
    struct plan plan = {0};
    struct err err = {0};
    int n = 0;
    if (request.threshold_percent <= 0.0) {
        request.threshold_percent = PLAN_THRESHOLD_PERCENT_DEFAULT;
    }
    for (int i = 0; i < options.excluded_count; i++) {
        excluded[n++] = options.excluded[i];
    }
    /* Whoever has no slots and was not asked for keeps none. */
    for (int s = 0; s < topology->shard_count; s++) {
        int node = topology->shards[s].primary;
        if (topology->nodes[node].slot_count == 0 && !is_named(chosen, count, node)) {
            excluded[n++] = topology->nodes[node].id;
        }
    }
    options.excluded = excluded;
    options.excluded_count = n;
    options.uses_empty_primaries = true;
    int code = plan_rebalance(topology, &request, &options, &plan, &err);
    if (code == 0) {
        decide_plan(d, &plan);
    } else {
        decide_plan_failed(d, code, &err);
    }
    free(excluded);
}
