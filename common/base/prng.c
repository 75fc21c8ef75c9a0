/* prng.c — see prng.h. */
#include "common/base/prng.h"

#include "common/base/check.h"

static uint64_t rotate_left(uint64_t value, int bits)
{
    return (value << bits) | (value >> (64 - bits));
}

void prng_init(struct prng *prng, uint64_t seed)
{
    /* splitmix64 spreads any seed, 0 included, over the state. */
    for (int i = 0; i < 4; i++) {
        seed += UINT64_C(0x9e3779b97f4a7c15);
        uint64_t z = seed;
        z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
        z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
        prng->state[i] = z ^ (z >> 31);
    }
}

uint64_t prng_next(struct prng *prng)
{
    uint64_t *s = prng->state;
    uint64_t result = rotate_left(s[1] * 5, 7) * 9;
    uint64_t t = s[1] << 17;
    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= t;
    s[3] = rotate_left(s[3], 45);
    return result;
}

uint64_t prng_below(struct prng *prng, uint64_t bound)
{
    CHECK(bound >= 1);
    return prng_next(prng) % bound;
}

int64_t prng_range(struct prng *prng, int64_t first, int64_t last)
{
    CHECK(first <= last);
    return first + (int64_t)prng_below(prng, (uint64_t)(last - first) + 1);
}

bool prng_chance(struct prng *prng, uint64_t numerator, uint64_t denominator)
{
    return prng_below(prng, denominator) < numerator;
}

int64_t prng_backoff_ms(struct prng *prng, int attempt, int64_t base_ms, int64_t cap_ms)
{
    CHECK(attempt >= 1);
    CHECK(base_ms >= 1);
    int64_t delay_ms = base_ms;
    for (int i = 1; i < attempt && delay_ms < cap_ms; i++) {
        delay_ms *= 2;
    }
    if (delay_ms > cap_ms) {
        delay_ms = cap_ms;
    }
    return delay_ms / 2 + prng_range(prng, 0, delay_ms - delay_ms / 2);
}
