/* prng.h — seeded chance for machines and simulations; never for secrets. Source: xoshiro256**,
 * Blackman and Vigna. */
#ifndef DROVER_BASE_PRNG_H
#define DROVER_BASE_PRNG_H

#include <stdbool.h>
#include <stdint.h>

struct prng {
    uint64_t state[4];
};

void prng_init(struct prng *prng, uint64_t seed);
uint64_t prng_next(struct prng *prng);
/* 0 <= result < bound; bound >= 1. */
uint64_t prng_below(struct prng *prng, uint64_t bound);
/* first <= result <= last. */
int64_t prng_range(struct prng *prng, int64_t first, int64_t last);
/* True in numerator of denominator cases. */
bool prng_chance(struct prng *prng, uint64_t numerator, uint64_t denominator);

/* Delay before try number 'attempt' (1 = first retry): doubles from base_ms up to cap_ms, then
 * takes a random part of the upper half, so that many waiters do not come back together. */
int64_t prng_backoff_ms(struct prng *prng, int attempt, int64_t base_ms, int64_t cap_ms);

#endif
