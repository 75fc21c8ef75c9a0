/* metrics.h — builds one page of the Prometheus text format (version 0.0.4).
 *
 * Usage: metrics_family() names a metric, the calls that follow add its samples, metrics_text()
 * ends the page. Names and label names are ours and checked; label values may be any text. Source:
 * Prometheus documentation, exposition formats. */
#ifndef DROVER_IO_METRICS_H
#define DROVER_IO_METRICS_H

#include "common/base/strbuf.h"

#include <stdint.h>

#define METRICS_CONTENT_TYPE "text/plain; version=0.0.4; charset=utf-8"
#define METRIC_BUCKETS_MAX 24

enum metric_kind { METRIC_COUNTER, METRIC_GAUGE, METRIC_HISTOGRAM };

struct metric_label {
    const char *name;
    const char *value;
};

/* A zeroed struct is an empty page. */
struct metrics {
    struct strbuf text;
    enum metric_kind kind; /* of the family being written */
    char family[128];
    struct strbuf names; /* families already used, each ended by '\n': one may come only once */
};

void metrics_release(struct metrics *metrics);
/* Starts a family. Counters end in "_total", nothing else does; histograms and gauges carry their
 * unit ("_seconds"). */
void metrics_family(struct metrics *metrics,
                    enum metric_kind kind,
                    const char *name,
                    const char *help);
/* One sample of the counter or gauge family. labels may be NULL when label_count is 0. */
void metrics_add(struct metrics *metrics,
                 const struct metric_label *labels,
                 int label_count,
                 double value);
/* The page so far; valid until the next change. */
const char *metrics_text(const struct metrics *metrics, size_t *size);

/* Counts of observations by size. Bounds ascend; the last bucket (+Inf) is not among them. */
struct metric_histogram {
    const double *bounds; /* bound_count upper bounds, at most METRIC_BUCKETS_MAX; not owned */
    int bound_count;
    uint64_t counts[METRIC_BUCKETS_MAX + 1]; /* one a bucket, not cumulative */
    uint64_t count;
    double sum;
};

void metric_histogram_init(struct metric_histogram *histogram,
                           const double *bounds,
                           int bound_count);
void metric_histogram_observe(struct metric_histogram *histogram, double value);
/* Its samples: _bucket, _sum, _count. */
void metrics_add_histogram(struct metrics *metrics,
                           const struct metric_label *labels,
                           int label_count,
                           const struct metric_histogram *histogram);

#endif
