/* planner.h — which slots go where: rebalance, reshard and drain, as plans of ordered batches.
 *
 * Pure and deterministic: a topology and options in, struct plan (record.h) out. It moves the least
 * number of slots that reaches the shares asked for, and keeps ranges few. It knows nothing of
 * agents, orders, the store or time. A plan is bound to its topology by digest. Who carries it out
 * is executor's business. Source: docs/design.md; the shares are Hamilton's (largest remainder),
 * with ties given to who has the slots. */
#ifndef DROVER_COORDINATOR_CORE_PLANNER_H
#define DROVER_COORDINATOR_CORE_PLANNER_H

#include "common/base/err.h"
#include "common/base/strbuf.h"
#include "common/model/record.h"
#include "common/model/topology.h"

#include <stdbool.h>
#include <stdint.h>

#define PLAN_BATCH_SLOTS_DEFAULT 512
#define PLAN_MEMORY_LIMIT_PERCENT_DEFAULT 80.0
#define PLAN_THRESHOLD_PERCENT_DEFAULT 2.0
#define PLAN_WEIGHT_MAX 1000000 /* keeps the share arithmetic exact in 64 bits */

/* Measured speed of one source (facts: 100-byte keys, MIGRATE, two cores); an estimate is never a
 * promise. */
struct plan_rates {
    int64_t slots_per_s; /* opening and committing; default 5,000 */
    int64_t keys_per_s;  /* default 60,000 */
    int64_t bytes_per_s; /* default 100 MB */
};

struct plan_options {
    int batch_slots_max; /* 1..BATCH_SLOTS_MAX; default 512 */
    double
        memory_limit_percent; /* of maxmemory that a target may be filled to; 1..100; default 80 */
    int moves_max;            /* batches at once, for the estimate; default 16 */
    int moves_per_target_max; /* likewise; a source has one at a time; default 3 */
    struct plan_rates rates;
    /* Keys of each slot when they were counted; -1 = unknown. NULL = share the node's keys out
     * evenly. Borrowed. */
    const int32_t *slot_keys;       /* [SLOT_COUNT] */
    const struct node_id *excluded; /* take no part: give nothing and get nothing; borrowed */
    int excluded_count;
    bool
        uses_empty_primaries; /* REBALANCE: primaries without slots get their share; default true */
};

void plan_options_init(struct plan_options *options);

/* Equal or weighted shares over the primaries. Weight 0 empties a node. A plan of 0 batches means
 * that every share is within the threshold. Errors, for all three: ERR_CONFLICT unsettled topology
 * (with the sentence); ERR_NOT_FOUND unknown node; ERR_INVALID senseless request; ERR_REFUSED last
 * primary, memory. 'plan' is filled on success only and then owned by the caller; operation_id
 * stays "". */
int plan_rebalance(const struct topology *topology,
                   const struct operation_request *request,
                   const struct plan_options *options,
                   struct plan *plan,
                   struct err *err) WARN_UNUSED;

/* request->slot_count slots (request->slots if any are named) from the sources (none named: all
 * other primaries with slots), in proportion to what each has, to request->target. */
int plan_reshard(const struct topology *topology,
                 const struct operation_request *request,
                 const struct plan_options *options,
                 struct plan *plan,
                 struct err *err) WARN_UNUSED;

/* Every slot of request->node over the other primaries, to whoever has the least for its weight
 * (request->weights) and has room. */
int plan_drain(const struct topology *topology,
               const struct operation_request *request,
               const struct plan_options *options,
               struct plan *plan,
               struct err *err) WARN_UNUSED;

/* The one of the three that request->kind names. */
int plan_make(const struct topology *topology,
              const struct operation_request *request,
              const struct plan_options *options,
              struct plan *plan,
              struct err *err) WARN_UNUSED;

/* 0 while the topology is the one that the plan was made from, else ERR_CONFLICT naming what
 * differs. */
int plan_check(const struct plan *plan,
               const struct topology *topology,
               struct err *err) WARN_UNUSED;

/* For a plan that has begun: 0 while every slot of it is its source's or already its target's, both
 * are primaries, and no open slot of it points elsewhere; else ERR_CONFLICT naming the first that
 * is not. */
int plan_check_begun(const struct plan *plan,
                     const struct topology *topology,
                     struct err *err) WARN_UNUSED;

/* The plan that leads back: batches reversed in order and direction, bound to the topology that
 * 'plan' leads to. 'topology' is the one that 'plan' was made from (ERR_CONFLICT otherwise). */
int plan_invert(const struct plan *plan,
                const struct topology *topology,
                const struct plan_options *options,
                struct plan *inverse,
                struct err *err) WARN_UNUSED;

/* Changes an owner map (node indices of 'topology') as the plan would. ERR_CONFLICT when a slot is
 * not its source's. */
int plan_apply_to(const struct plan *plan,
                  const struct topology *topology,
                  int16_t owner[SLOT_COUNT],
                  struct err *err) WARN_UNUSED;

/* The dry run for people: a line a batch with slots, keys, bytes, then sums and the estimated time.
 */
void plan_format(const struct plan *plan, const struct topology *topology, struct strbuf *out);

#endif
