/* histogram.h — latencies in a log-linear histogram of fixed size.
 *
 * Values are nanoseconds from 0 to 2^40 (18 minutes; larger ones count as the largest). Each power
 * of two is cut into 64 equal parts, so a reported value is at most 1.6 % above the true one. The
 * maximum is kept exactly. */
#ifndef DROVER_LOAD_HISTOGRAM_H
#define DROVER_LOAD_HISTOGRAM_H

#include <stddef.h>
#include <stdint.h>

#define HISTOGRAM_PART_BITS 6
#define HISTOGRAM_VALUE_BITS 40
#define HISTOGRAM_BUCKETS \
    ((size_t)(HISTOGRAM_VALUE_BITS - HISTOGRAM_PART_BITS + 1) << HISTOGRAM_PART_BITS)

struct histogram {
    uint64_t buckets[HISTOGRAM_BUCKETS];
    uint64_t count; /* values recorded */
    int64_t max_ns; /* exact; 0 when empty */
};

/* Negative values count as 0. */
void histogram_add(struct histogram *h, int64_t value_ns);

/* Adds all values of 'from' to 'into'. */
void histogram_merge(struct histogram *into, const struct histogram *from);

/* Upper bound of the bucket that holds the value at 'per_mille' (0..1000) of all values, never
 * above the maximum; 0 if empty. 500 is the median. */
int64_t histogram_percentile(const struct histogram *h, unsigned per_mille);

#endif
