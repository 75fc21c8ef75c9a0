/* balance.h — how many slots each node should have; counts only, no slots and no nodes.
 *
 * Pure integer arithmetic under the planner. Weights are whole numbers (the planner scales
 * decimals), so results are exact and the same on every machine. Source: largest remainder method
 * (Hamilton). */
#ifndef DROVER_COORDINATOR_CORE_BALANCE_H
#define DROVER_COORDINATOR_CORE_BALANCE_H

#include <stdbool.h>
#include <stdint.h>

/* The product of the largest weight, the number of nodes and SLOT_COUNT stays below 2^63. */
#define BALANCE_WEIGHT_MAX INT64_C(10000000000)
#define BALANCE_NO_CAP INT32_MAX

struct balance_node {
    int64_t weight; /* 0..BALANCE_WEIGHT_MAX */
    int current;    /* slots it has */
    int cap;        /* balance_fill(): slots it may get at most, or BALANCE_NO_CAP */
    int result;     /* filled: see each function */
};

/* result = the slots each node should have: its exact share of the sum of 'current' by weight,
 * rounded up or down so that the sum is kept. Who has more than its share rounded down is rounded
 * up first: no other rounding of the shares moves fewer slots. Then larger remainders, then lower
 * index. At least one weight must be above 0. */
void balance_shares(struct balance_node *nodes, int count);

/* result = slots each node gives so that 'amount' come together in proportion to what they have.
 * amount <= sum. */
void balance_take(struct balance_node *nodes, int count, int amount);

/* result = slots each node gets out of 'amount', one by one to whoever then has the least for its
 * weight and is below its cap; weight 0 gets nothing. Returns how many found no room (0 when all
 * did). */
int balance_fill(struct balance_node *nodes, int count, int amount);

/* True when a node is further from its exact share than 'percent' of that share, or has slots and
 * weight 0. */
bool balance_is_off(const struct balance_node *nodes, int count, double percent);

/* Slots that must change owner to go from current to result. */
int balance_move_count(const struct balance_node *nodes, int count);

#endif
