/* planner_cut.h — from "who gives how many to whom" to ordered batches of slots.
 *
 * Part of the planner; knows no weights, no memory and no refusals. Pure and deterministic.
 *
 *   1. planner_cut_match() pairs those with too many with those with too few, with few pairs.
 *   2. planner_cut_slots() picks the slots: whole ranges first, then ends of ranges, next to what
 * the target has.
 *   3. planner_cut_batches() cuts each pair's slots into batches and orders them so that disjoint
 * pairs stand side by side and every source changes its target from batch to batch. */
#ifndef DROVER_COORDINATOR_CORE_PLANNER_CUT_H
#define DROVER_COORDINATOR_CORE_PLANNER_CUT_H

#include "common/base/err.h"
#include "common/model/record.h"
#include "common/model/topology.h"

#include <stdint.h>

/* 'count' slots from one node to another (node indices of the topology). */
struct planner_flow {
    int source;
    int target;
    int count;             /* > 0 */
    struct slotset *slots; /* owned; filled by planner_cut_slots() unless given */
};

struct planner_flows {
    struct planner_flow *items; /* owned */
    int count;
    int capacity;
};

/* How many slots too many (> 0) or too few (< 0) a node has. */
struct planner_balance {
    int node;
    int surplus;
};

void planner_flows_release(struct planner_flows *flows);
void planner_flows_add(struct planner_flows *flows, int source, int target, int count);

/* At most (givers + takers - 1) flows: exact matches first, then the largest giver with the largest
 * taker; on a tie the lower node index. The surpluses must sum up to 0; 'balances' is used up. */
void planner_cut_match(struct planner_balance *balances, int count, struct planner_flows *flows);

/* Picks the slots of every flow from the topology's owner map. No slot is picked twice. */
void planner_cut_slots(const struct topology *topology, struct planner_flows *flows);

/* Appends the batches to plan->batches and counts plan->slot_count. ERR_LIMIT over
 * PLAN_BATCHES_MAX. */
int planner_cut_batches(const struct topology *topology,
                        const struct planner_flows *flows,
                        int batch_slots_max,
                        struct plan *plan,
                        struct err *err) WARN_UNUSED;

#endif
