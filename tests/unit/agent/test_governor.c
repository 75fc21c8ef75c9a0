/* test_governor.c — sizes of calls and bursts, and how long a call may take. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "agent/core/governor.h"

static struct governor governor;

static int set_up(void **state)
{
    (void)state;
    governor_init(&governor, MOVE_SPEED_BALANCED);
    return 0;
}

static void call_repeatedly(int count, int64_t latency_us)
{
    for (int i = 0; i < count; i++) {
        governor_called(&governor, latency_us);
    }
}

/* However many keys a slot has: all of them, no call over the limit, no more calls than needed, and
 * none that is two keys longer than another one. */
static void calls_are_even(void **state)
{
    (void)state;
    int limit = governor_batch_keys(&governor, 1000000);
    assert_in_range(limit, 50, 100);
    for (int keys = 1; keys < 5 * limit; keys++) {
        int calls = 0;
        int longest = 0;
        int shortest = limit;
        for (int left = keys; left > 0; calls++) {
            int next = governor_batch_keys(&governor, left);
            assert_in_range(next, 1, left < limit ? left : limit);
            longest = next > longest ? next : longest;
            shortest = next < shortest ? next : shortest;
            left -= next;
        }
        assert_int_equal(calls, (keys + limit - 1) / limit);
        assert_in_range(longest - shortest, 0, 1);
    }
    assert_int_equal(governor_batch_keys(&governor, 0), 1);
}

/* Slow calls make the next ones smaller, but never tiny; quick ones bring the size back. */
static void follows_the_time_of_calls(void **state)
{
    (void)state;
    int keys = governor_batch_keys(&governor, 1000000);
    int64_t bytes = governor_batch_bytes(&governor);
    call_repeatedly(16, 50 * governor.call_us_aim);
    assert_true(governor_batch_keys(&governor, 1000000) < keys);
    assert_true(governor_batch_bytes(&governor) < bytes);
    call_repeatedly(1000, 50 * governor.call_us_aim);
    assert_int_equal(governor.scale_percent, GOVERNOR_SCALE_MIN);
    assert_true(governor_batch_keys(&governor, 1000000) > 1);
    assert_int_equal(governor_call_us_p50(&governor), 50 * governor.call_us_aim);
    call_repeatedly(1000, governor.call_us_aim);
    assert_int_equal(governor_batch_keys(&governor, 1000000), keys);
    assert_int_equal(governor_batch_bytes(&governor), bytes);
}

/* A machine that is busy delays many calls, but not all: smaller ones would only be more of them.
 */
static void some_slow_calls_change_nothing(void **state)
{
    (void)state;
    int keys = governor_batch_keys(&governor, 1000000);
    for (int i = 0; i < 1000; i++) {
        governor_called(&governor, i % 2 == 0 ? governor.call_us_aim : 1000 * governor.call_us_aim);
    }
    assert_int_equal(governor_batch_keys(&governor, 1000000), keys);
    assert_int_equal(governor.call_us_max, 1000 * governor.call_us_aim);
}

/* A call that hangs must end before the source's peers suspect it; only a big key gets the time
 * that its size takes. */
static void timeouts_end_before_a_node_is_suspected(void **state)
{
    (void)state;
    static const int64_t node_timeouts_ms[] = {0, 1000, 15000, 60000};
    for (size_t i = 0; i < sizeof(node_timeouts_ms) / sizeof(node_timeouts_ms[0]); i++) {
        governor_init(&governor, MOVE_SPEED_FAST);
        governor_set_node_timeout(&governor, node_timeouts_ms[i]);
        int64_t limit_ms =
            (node_timeouts_ms[i] == 0 ? GOVERNOR_NODE_TIMEOUT_MS : node_timeouts_ms[i]) / 4;
        int64_t first_ms = governor_timeout_ms(&governor, 1000);
        assert_in_range(first_ms, 100, limit_ms);
        for (int k = 0; k < 20; k++) {
            governor_lost(&governor);
        }
        assert_int_equal(governor_timeout_ms(&governor, 1000), limit_ms);
        assert_int_equal(governor.scale_percent, GOVERNOR_SCALE_MIN);
    }
    int64_t small_ms = governor_timeout_ms(&governor, GOVERNOR_BIG_KEY_BYTES - 1);
    int64_t big_ms = governor_timeout_ms(&governor, 500 * GOVERNOR_BIG_KEY_BYTES);
    assert_true(small_ms <= governor.timeout_ms_max);
    assert_true(big_ms >= 500 * 10); /* 10 ms a MB is what a small machine takes */
}

/* Speeds are in order, and one that is not known is the default. */
static void speeds_differ(void **state)
{
    (void)state;
    static const enum move_speed order[] = {MOVE_SPEED_SOFT, MOVE_SPEED_BALANCED, MOVE_SPEED_FAST};
    int keys = 0;
    int slots = 0;
    for (size_t i = 0; i < 3; i++) {
        governor_init(&governor, order[i]);
        assert_true(governor_batch_keys(&governor, 1000000) > keys);
        assert_true(governor_burst_slots(&governor, false, false) > slots);
        assert_true(governor_burst_slots(&governor, true, false) >=
                    governor_burst_slots(&governor, true, true));
        keys = governor_batch_keys(&governor, 1000000);
        slots = governor_burst_slots(&governor, false, false);
    }
    governor_init(&governor, (enum move_speed)77);
    assert_int_equal(governor.speed, MOVE_SPEED_BALANCED);
}

int main(void)
{
#define EACH(test) cmocka_unit_test_setup(test, set_up)
    const struct CMUnitTest tests[] = {
        EACH(calls_are_even),
        EACH(follows_the_time_of_calls),
        EACH(some_slow_calls_change_nothing),
        EACH(timeouts_end_before_a_node_is_suspected),
        EACH(speeds_differ),
    };
#undef EACH
    return cmocka_run_group_tests(tests, NULL, NULL);
}
