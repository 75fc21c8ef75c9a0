/* test_slotset.c — sets of slots against a plain array of booleans, and their text form. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "common/base/prng.h"
#include "common/base/slotset.h"

static void assert_text(const struct slotset *set, const char *expected)
{
    struct strbuf text = {0};
    slotset_format(set, &text);
    assert_string_equal(strbuf_text(&text), expected);
    strbuf_release(&text);
}

static void test_borders(void **state)
{
    (void)state;
    struct slotset set = {0};
    assert_true(slotset_is_empty(&set));
    assert_int_equal(slotset_next(&set, 0), SLOT_NONE);
    assert_text(&set, "");
    slotset_add(&set, 0);
    slotset_add(&set, SLOT_COUNT - 1);
    assert_int_equal(slotset_count(&set), 2);
    assert_int_equal(slotset_next(&set, 1), SLOT_COUNT - 1);
    assert_int_equal(slotset_next(&set, SLOT_COUNT), SLOT_NONE);
    assert_int_equal(slotset_run_end(&set, SLOT_COUNT - 1), SLOT_COUNT - 1);
    assert_text(&set, "0,16383");
    slotset_fill(&set);
    assert_int_equal(slotset_count(&set), SLOT_COUNT);
    assert_int_equal(slotset_range_count(&set), 1);
    assert_text(&set, "0-16383");
    slotset_remove(&set, 64);
    assert_text(&set, "0-63,65-16383");
    slotset_clear(&set);
    slotset_add_range(&set, 63, 64);
    assert_int_equal(slotset_run_end(&set, 63), 64);
    assert_int_equal(slotset_range_count(&set), 1);
}

/* Every operation gives what a loop over booleans gives. */
static void test_against_booleans(void **state)
{
    (void)state;
    struct prng prng;
    prng_init(&prng, 1);
    for (int round = 0; round < 60; round++) {
        static bool a[SLOT_COUNT];
        static bool b[SLOT_COUNT];
        struct slotset set_a = {0};
        struct slotset set_b = {0};
        uint64_t density = (uint64_t)prng_range(&prng, 1, 99);
        int count = 0;
        int runs = 0;
        for (int slot = 0; slot < SLOT_COUNT; slot++) {
            a[slot] = prng_chance(&prng, density, 100);
            b[slot] = prng_chance(&prng, density, 100);
            count += a[slot];
            runs += a[slot] && (slot == 0 || !a[slot - 1]);
            if (a[slot]) {
                slotset_add(&set_a, slot);
            }
            if (b[slot]) {
                slotset_add(&set_b, slot);
            }
        }
        struct slotset both = set_a;
        struct slotset either = set_a;
        struct slotset only = set_a;
        slotset_intersect(&both, &set_b);
        slotset_union(&either, &set_b);
        slotset_subtract(&only, &set_b);
        assert_int_equal(slotset_count(&set_a), count);
        assert_int_equal(slotset_range_count(&set_a), runs);
        assert_int_equal(slotset_intersects(&set_a, &set_b), !slotset_is_empty(&both));
        int next = 0;
        SLOTSET_FOREACH (slot, &set_a) {
            while (!a[next]) {
                next++;
            }
            assert_int_equal(slot, next++);
        }
        for (int slot = 0; slot < SLOT_COUNT; slot++) {
            if (slotset_has(&both, slot) != (a[slot] && b[slot]) ||
                slotset_has(&either, slot) != (a[slot] || b[slot]) ||
                slotset_has(&only, slot) != (a[slot] && !b[slot])) {
                fail_msg("slot %d", slot);
            }
        }
        struct strbuf text = {0};
        struct slotset again;
        struct err err = {0};
        slotset_format(&set_a, &text);
        assert_int_equal(slotset_parse(&again, strbuf_text(&text), &err), 0);
        assert_true(slotset_is_equal(&again, &set_a));
        strbuf_release(&text);
    }
}

static void test_parse_refuses(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        const char *part;
    } cases[] = {
        {"16384", "over 16383"}, {"0-16384", "over 16383"}, {"9-8", "reversed"},
        {"1,1", "overlaps"},     {"0-5,5-9", "overlaps"},   {"1,", "ends with a comma"},
        {",1", "slot number"},   {"a", "slot number"},      {"1 2", "unexpected"},
        {"-1", "slot number"},   {"1-", "slot number"},     {"1-2-3", "unexpected"},
        {"+1", "slot number"},   {" 1", "slot number"},     {"99999999999999999999", "over 16383"}};
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct slotset set = {0};
        struct err err = {0};
        slotset_add(&set, 7);
        if (slotset_parse(&set, cases[i].text, &err) != ERR_INVALID ||
            strstr(err.text, cases[i].part) == NULL) {
            fail_msg("\"%s\": %s", cases[i].text, err.text);
        }
        /* Untouched on failure. */
        assert_int_equal(slotset_count(&set), 1);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_borders),
                                       cmocka_unit_test(test_against_booleans),
                                       cmocka_unit_test(test_parse_refuses)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
