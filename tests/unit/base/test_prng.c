/* test_prng.c — seeded chance repeats itself, keeps its bounds and is spread evenly. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "common/base/prng.h"

/* The same seed gives the same numbers on every machine: recorded failing seeds depend on it. The
 * first numbers of xoshiro256** with its state filled by splitmix64 from 0, as the authors' code
 * gives them. */
static void test_repeats(void **state)
{
    (void)state;
    struct prng a;
    struct prng b;
    prng_init(&a, 0);
    assert_true(prng_next(&a) == UINT64_C(0x99ec5f36cb75f2b4));
    assert_true(prng_next(&a) == UINT64_C(0xbf6e1f784956452a));
    prng_init(&a, 7);
    prng_init(&b, 7);
    for (int i = 0; i < 1000; i++) {
        assert_true(prng_next(&a) == prng_next(&b));
    }
    prng_init(&b, 8);
    assert_false(prng_next(&a) == prng_next(&b));
}

static void test_bounds(void **state)
{
    (void)state;
    struct prng prng;
    int seen[10] = {0};
    int chances = 0;
    prng_init(&prng, 1);
    for (int i = 0; i < 100000; i++) {
        seen[prng_below(&prng, 10)]++;
        int64_t value = prng_range(&prng, -3, 3);
        assert_true(value >= -3 && value <= 3);
        chances += prng_chance(&prng, 1, 4);
    }
    for (int i = 0; i < 10; i++) {
        assert_in_range(seen[i], 9400, 10600);
    }
    assert_in_range(chances, 24000, 26000);
    assert_int_equal(prng_below(&prng, 1), 0);
    assert_int_equal(prng_range(&prng, 5, 5), 5);
    assert_false(prng_chance(&prng, 0, 9));
    assert_true(prng_chance(&prng, 9, 9));
}

/* Doubles up to the cap, always in the upper half, and not always the same. */
static void test_backoff(void **state)
{
    (void)state;
    struct prng prng;
    prng_init(&prng, 1);
    for (int attempt = 1; attempt < 70; attempt++) {
        int64_t full = attempt > 7 ? 10000 : 100 << (attempt - 1);
        full = full > 10000 ? 10000 : full;
        int64_t lowest = INT64_MAX;
        int64_t highest = 0;
        for (int i = 0; i < 200; i++) {
            int64_t delay = prng_backoff_ms(&prng, attempt, 100, 10000);
            assert_true(delay >= full / 2);
            assert_true(delay <= full);
            lowest = delay < lowest ? delay : lowest;
            highest = delay > highest ? delay : highest;
        }
        assert_true(highest - lowest > full / 4);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_repeats),
                                       cmocka_unit_test(test_bounds),
                                       cmocka_unit_test(test_backoff)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
