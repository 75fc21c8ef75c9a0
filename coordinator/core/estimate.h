/* estimate.h — what a plan will move in keys and bytes, how long it may take, and whether it fits
 * in memory.
 *
 * Estimates from the facts of the nodes (keys, used memory), or from counted slots. Pure. An
 * unknown fact counts as nothing in sums and forbids nothing: the agents check again before they
 * move. */
#ifndef DROVER_COORDINATOR_CORE_ESTIMATE_H
#define DROVER_COORDINATOR_CORE_ESTIMATE_H

#include "common/base/err.h"
#include "common/model/record.h"
#include "common/model/topology.h"
#include "coordinator/core/planner.h"

#include <stdint.h>

/* Fills keys and bytes of every batch and the sums and duration of the plan. Per source the batches
 * add up to exactly its share, whatever the rounding. */
void estimate_plan(const struct topology *topology,
                   const struct plan_options *options,
                   struct plan *plan);

/* Bytes that a node may hold: the limit percent of maxmemory; -1 when it has no limit or it is not
 * known. */
int64_t estimate_memory_limit(const struct topology_node *node, const struct plan_options *options);

/* Slots of 'source' that fit into 'target' below its limit, or BALANCE_NO_CAP when facts are
 * missing. */
int estimate_room(const struct topology *topology,
                  int source,
                  int target,
                  const struct plan_options *options);

/* ERR_REFUSED naming the first target (by id) that the plan would fill beyond its limit, with
 * numbers. What a node gives away in the same plan is not counted as free: it goes only when it is
 * gone. */
int estimate_check_memory(const struct topology *topology,
                          const struct plan_options *options,
                          const struct plan *plan,
                          struct err *err) WARN_UNUSED;

/* Milliseconds for the batches in order with the options' limits on parallel moves. */
int64_t estimate_duration_ms(const struct topology *topology,
                             const struct plan_options *options,
                             const struct plan *plan);

/* "1.5 GB", decimal units as people say them. Returns text. */
#define ESTIMATE_BYTES_TEXT_SIZE 24
const char *estimate_format_bytes(int64_t bytes, char text[ESTIMATE_BYTES_TEXT_SIZE]);

#endif
