/* filler.h — the commands `fill` and `verify`. */
#ifndef DROVER_LOAD_FILLER_H
#define DROVER_LOAD_FILLER_H

#include "bench/load/options.h"

/* Writes the whole data set. Returns an exit code; prints its report. */
enum exit_code fill(struct cluster *cluster, const struct options *o);

/* Reads the whole data set back. Returns an exit code; prints its report. */
enum exit_code verify(struct cluster *cluster, const struct options *o);

#endif
