/* test_progress.c — rates and the time left, from samples. */
#include "coordinator/shell/api_progress.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static struct progress_amount amount(int64_t slots, uint64_t keys, uint64_t bytes)
{
    return (struct progress_amount){slots, keys, bytes};
}

static void add(struct progress_meter *meter,
                int64_t now_ms,
                int64_t slots,
                uint64_t keys,
                uint64_t bytes)
{
    struct progress_amount done = amount(slots, keys, bytes);
    progress_meter_add(meter, now_ms, &done);
}

static struct progress_rate rate(const struct progress_meter *meter,
                                 int64_t now_ms,
                                 int64_t slots,
                                 uint64_t keys)
{
    struct progress_rate out;
    struct progress_amount left = amount(slots, keys, 0);
    progress_meter_rate(meter, now_ms, &left, &out);
    return out;
}

static bool is_near(double a, double b)
{
    return a > b * 0.99 - 0.001 && a < b * 1.01 + 0.001;
}

/* Without two samples no speed is told; with nothing left the time is 0. */
static void test_empty(void **state)
{
    (void)state;
    struct progress_meter meter = {0};
    assert_int_equal(rate(&meter, 1000, 10, 10).eta_ms, -1);
    assert_int_equal(rate(&meter, 1000, 0, 0).eta_ms, 0);
    add(&meter, 1000, 0, 0, 0);
    assert_int_equal(rate(&meter, 1000, 10, 10).eta_ms, -1);
}

/* Steady work: the rate is the work by the time, the time left follows the slower of slots and
 * bytes. */
static void test_steady(void **state)
{
    (void)state;
    struct progress_meter meter = {0};
    for (int i = 0; i <= 20; i++) {
        add(&meter, 1000 + i * 500, i * 50, (uint64_t)i * 1000, (uint64_t)i * 100000);
    }
    struct progress_rate now = rate(&meter, 11000, 1000, 2000);
    assert_true(is_near(now.slots_per_s, 100));
    assert_true(is_near(now.keys_per_s, 2000));
    assert_true(is_near(now.bytes_per_s, 200000));
    assert_true(is_near((double)now.eta_ms, 10000)); /* slots: 1000 at 100 a second */
    now = rate(&meter, 11000, 100, 200000);
    assert_true(is_near((double)now.eta_ms, 100000)); /* keys: 200,000 at 2,000 a second */
}

/* Something is left that does not move: no time can be told from the other. */
static void test_one_stands(void **state)
{
    (void)state;
    struct progress_meter meter = {0};
    add(&meter, 0, 0, 0, 0);
    add(&meter, 1000, 0, 10, 1000);
    assert_int_equal(rate(&meter, 1000, 10, 0).eta_ms, -1);
    add(&meter, 2000, 10, 10, 1000);
    assert_true(rate(&meter, 2000, 10, 0).eta_ms > 0);
    meter = (struct progress_meter){0};
    add(&meter, 0, 0, 0, 0);
    add(&meter, 1000, 10, 0, 0);
    assert_int_equal(rate(&meter, 1000, 10, 1000).eta_ms, -1);
}

/* The window slides: after a slow start the present speed counts. */
static void test_window(void **state)
{
    (void)state;
    struct progress_meter meter = {0};
    int64_t slots = 0;
    for (int i = 0; i < 100; i++) {
        slots += i < 50 ? 1 : 100;
        add(&meter, i * 1000, slots, 0, 0);
    }
    assert_true(is_near(rate(&meter, 99000, 100, 0).slots_per_s, 100));
}

/* Samples that come in a burst do not shrink the window. */
static void test_burst(void **state)
{
    (void)state;
    struct progress_meter meter = {0};
    for (int i = 0; i <= 8000; i++) {
        add(&meter, i, i, 0, 0);
    }
    assert_true(is_near(rate(&meter, 8000, 100, 0).slots_per_s, 1000));
    assert_true(meter.samples[meter.first].now_ms <= 1000);
}

/* Nothing moved for long: the old speed is not told any more. A batch that is taken back starts
 * anew. */
static void test_stalled_and_taken_back(void **state)
{
    (void)state;
    struct progress_meter meter = {0};
    add(&meter, 0, 0, 0, 0);
    add(&meter, 1000, 100, 0, 0);
    for (int i = 2; i < 40; i++) {
        add(&meter, i * 1000, 100, 0, 0);
    }
    assert_int_equal(rate(&meter, 39000, 100, 0).eta_ms, -1);
    assert_true(rate(&meter, 39000, 100, 0).slots_per_s < 0.001);
    add(&meter, 40000, 50, 0, 0);
    assert_int_equal(meter.count, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_empty),      cmocka_unit_test(test_steady),
        cmocka_unit_test(test_one_stands), cmocka_unit_test(test_window),
        cmocka_unit_test(test_burst),      cmocka_unit_test(test_stalled_and_taken_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
