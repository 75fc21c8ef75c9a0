/* phases.h — the load's time cut into named pieces, each with its own latencies and counts.
 *
 * A request belongs to the phase in which it was due. A phase begins when the content of the mark
 * file changes. */
#ifndef DROVER_LOAD_PHASES_H
#define DROVER_LOAD_PHASES_H

#include "bench/load/cluster.h"
#include "bench/load/histogram.h"
#include "bench/load/ledger.h"

/* A script that marks more phases than this gets the rest in the last one. */
#define PHASES_MAX 64
#define PHASE_NAME_SIZE 64

struct phase {
    char name[PHASE_NAME_SIZE];
    int64_t began_ns;
    int64_t ended_ns;
    struct counters at_start; /* of the cluster */
    struct counters counters; /* of this phase; set when it ends */
    struct histogram latency; /* of requests that were answered */
    uint64_t requests;
    uint64_t not_sent; /* due while too many were under way */
    uint64_t findings[FINDING_NR];
};

struct phases {
    struct phase *items[PHASES_MAX]; /* owned */
    unsigned count;                  /* at least 1 between phases_begin and phases_release */
    const char *mark_file;           /* NULL: one phase */
    int64_t next_look_ns;
};

/* Starts the first phase, named by the mark file's content if it has any, else "load". */
void phases_begin(struct phases *phases, const char *mark_file, const struct counters *counters);
void phases_release(struct phases *phases);

/* Looks at the mark file, at most every 10 ms, and starts the next phase if it changed. */
void phases_look(struct phases *phases, const struct counters *counters);

/* Ends the last phase. */
void phases_end(struct phases *phases, const struct counters *counters);

/* Index of the phase that now runs. */
unsigned phases_now(const struct phases *phases);

#endif
