/* run.h — the command `run`: an open loop at a fixed rate in which every answer is checked.
 *
 * Requests leave when they are due, whatever the answers do, and a latency counts from the moment
 * the request was due: a stall is felt by every request that came due during it. Phases cut the
 * report in pieces. */
#ifndef DROVER_LOAD_RUN_H
#define DROVER_LOAD_RUN_H

#include "bench/load/options.h"

/* Fills the keys unless o->filled, runs the load, reads everything written back, prints the report.
 */
enum exit_code run(struct cluster *cluster, const struct options *o);

#endif
