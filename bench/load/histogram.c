/* histogram.c — see histogram.h. */
#include "bench/load/histogram.h"

#define PARTS (UINT64_C(1) << HISTOGRAM_PART_BITS)
#define VALUE_MAX ((UINT64_C(1) << HISTOGRAM_VALUE_BITS) - 1)

/* Values below PARTS have a bucket each; above, the exponent picks a row and the next bits after
 * the top one a part. */
static size_t bucket_of(uint64_t value)
{
    if (value < PARTS) {
        return (size_t)value;
    }
    unsigned exponent = 63U - (unsigned)__builtin_clzll(value);
    unsigned shift = exponent - HISTOGRAM_PART_BITS;
    return ((size_t)(shift + 1) << HISTOGRAM_PART_BITS) + (size_t)((value >> shift) - PARTS);
}

static uint64_t bucket_top(size_t bucket)
{
    if (bucket < PARTS) {
        return bucket;
    }
    unsigned shift = (unsigned)(bucket >> HISTOGRAM_PART_BITS) - 1U;
    uint64_t part = (bucket & (PARTS - 1)) + PARTS;
    return ((part + 1) << shift) - 1;
}

void histogram_add(struct histogram *h, int64_t value_ns)
{
    if (value_ns < 0) {
        value_ns = 0;
    }
    if (value_ns > h->max_ns) {
        h->max_ns = value_ns;
    }
    uint64_t value = (uint64_t)value_ns;
    h->buckets[bucket_of(value > VALUE_MAX ? VALUE_MAX : value)]++;
    h->count++;
}

void histogram_merge(struct histogram *into, const struct histogram *from)
{
    for (size_t i = 0; i < HISTOGRAM_BUCKETS; i++) {
        into->buckets[i] += from->buckets[i];
    }
    into->count += from->count;
    if (from->max_ns > into->max_ns) {
        into->max_ns = from->max_ns;
    }
}

int64_t histogram_percentile(const struct histogram *h, unsigned per_mille)
{
    if (h->count == 0) {
        return 0;
    }
    uint64_t rank = (h->count * per_mille + 999) / 1000;
    uint64_t seen = 0;
    for (size_t i = 0; i < HISTOGRAM_BUCKETS; i++) {
        seen += h->buckets[i];
        if (seen >= rank && seen > 0) {
            int64_t top = (int64_t)bucket_top(i);
            return top < h->max_ns ? top : h->max_ns;
        }
    }
    return h->max_ns;
}
