/* run_report.h — the totals of a run and the report made of them. */
#ifndef DROVER_LOAD_RUN_REPORT_H
#define DROVER_LOAD_RUN_REPORT_H

#include "bench/load/options.h"
#include "bench/load/phases.h"

/* Keys named one by one on standard error; more would bury the numbers. */
#define RUN_NAMED_MAX 10

struct run_totals {
    double seconds;
    uint64_t reads;
    uint64_t writes;
    uint64_t unanswered; /* ended without a proper answer */
    uint64_t unprepared; /* keys that could not be written before the load */
    uint64_t read_back;  /* keys read at the end */
    uint64_t read_back_findings[FINDING_NR];
    uint64_t unread; /* keys that could not be read at the end */
    uint64_t named;
};

/* Findings of a phase that are no FINDING_NONE. */
uint64_t phase_wrong(const struct phase *phase);

/* Prints the report as text on standard error and as JSON (see report_write). 'counters' are those
 * of the load alone. Returns the exit code of the run. */
enum exit_code run_report(const struct run_totals *totals,
                          const struct phases *phases,
                          const struct counters *counters,
                          const char *last_error,
                          const struct options *o);

#endif
