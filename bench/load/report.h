/* report.h — pieces of the JSON reports, and where they go. */
#ifndef DROVER_LOAD_REPORT_H
#define DROVER_LOAD_REPORT_H

#include "bench/load/cluster.h"
#include "bench/load/histogram.h"
#include "common/base/strbuf.h"

/* Appends a JSON string. Bytes that are not printable ASCII become \u00xx. */
void json_text(struct strbuf *out, const char *text);

/* Appends the members moved, ask, failures, retries, gave_up, reconnects, map_refreshes (no braces
 * around). */
void json_counters(struct strbuf *out, const struct counters *counters);

/* Appends {"p50":..,"p99":..,"p999":..,"max":..} in microseconds. */
void json_latency(struct strbuf *out, const struct histogram *h);

/* now - before, member by member. */
struct counters counters_since(const struct counters *now, const struct counters *before);

/* Failures that were not tolerated, plus those that were and did not go away. */
uint64_t counters_client_errors(const struct counters *counters, unsigned tolerate);

/* Writes one line of JSON to the file, or to standard output when path is NULL. */
int report_write(const char *path, const struct strbuf *json, struct err *err) WARN_UNUSED;

#endif
