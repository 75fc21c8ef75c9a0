/* test_units.c — numbers as people read them, tables, and the line that tells how far an operation
 * is. */
#include "ctl/progress.h"
#include "ctl/table.h"
#include "ctl/units.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define TEXT(call)           \
    do {                     \
        strbuf_clear(&text); \
        call;                \
    } while (0)

static void test_bytes(void **state)
{
    (void)state;
    static const struct {
        double bytes;
        const char *text;
    } rows[] = {
        {0, "0 B"},
        {1, "1 B"},
        {1023, "1023 B"},
        {1024, "1.0 KiB"},
        {1536, "1.5 KiB"},
        {1024.0 * 1024 - 1, "1.0 MiB"},
        {67108864, "64.0 MiB"},
        {1024.0 * 1024 * 1024 * 5, "5.0 GiB"},
        {1e18, "888.2 PiB"},
        {1e20, "88817.8 PiB"},
    };
    struct strbuf text = {0};
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        TEXT(units_add_bytes(&text, rows[i].bytes));
        assert_string_equal(strbuf_text(&text), rows[i].text);
    }
    strbuf_release(&text);
}

static void test_counts(void **state)
{
    (void)state;
    struct strbuf text = {0};
    TEXT(units_add_count(&text, 0));
    assert_string_equal(strbuf_text(&text), "0");
    TEXT(units_add_count(&text, 999));
    assert_string_equal(strbuf_text(&text), "999");
    TEXT(units_add_count(&text, 999.97));
    assert_string_equal(strbuf_text(&text), "1.0k");
    TEXT(units_add_count(&text, 12345));
    assert_string_equal(strbuf_text(&text), "12.3k");
    TEXT(units_add_count(&text, 1234567));
    assert_string_equal(strbuf_text(&text), "1.2M");
    TEXT(units_add_exact(&text, 1234567));
    assert_string_equal(strbuf_text(&text), "1,234,567");
    TEXT(units_add_exact(&text, 999));
    assert_string_equal(strbuf_text(&text), "999");
    TEXT(units_add_exact(&text, -1234));
    assert_string_equal(strbuf_text(&text), "-1,234");
    strbuf_release(&text);
}

static void test_durations(void **state)
{
    (void)state;
    static const struct {
        int64_t ms;
        const char *text;
    } rows[] = {
        {-1, "-"},
        {0, "0.0 s"},
        {400, "0.4 s"},
        {9949, "9.9 s"},
        {9950, "10 s"},
        {59499, "59 s"},
        {59500, "1m 00s"},
        {65000, "1m 05s"},
        {3599600, "1h 00m"},
        {7380000, "2h 03m"},
        {86400000LL * 3 + 3600000 * 4, "3d 04h"},
    };
    struct strbuf text = {0};
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        TEXT(units_add_duration(&text, rows[i].ms));
        assert_string_equal(strbuf_text(&text), rows[i].text);
    }
    TEXT(units_add_latency(&text, 80));
    assert_string_equal(strbuf_text(&text), "80 us");
    TEXT(units_add_latency(&text, 1200));
    assert_string_equal(strbuf_text(&text), "1.2 ms");
    TEXT(units_add_latency(&text, 2500000));
    assert_string_equal(strbuf_text(&text), "2.5 s");
    strbuf_release(&text);
}

/* 100 % is said only when all is done. */
static void test_percent(void **state)
{
    (void)state;
    struct strbuf text = {0};
    TEXT(units_add_percent(&text, 0, 100));
    assert_string_equal(strbuf_text(&text), "0%");
    TEXT(units_add_percent(&text, 16383, 16384));
    assert_string_equal(strbuf_text(&text), "99.9%");
    TEXT(units_add_percent(&text, 16384, 16384));
    assert_string_equal(strbuf_text(&text), "100%");
    TEXT(units_add_percent(&text, 0, 0));
    assert_string_equal(strbuf_text(&text), "100%");
    strbuf_release(&text);
}

/* Columns are as wide as their widest cell; numbers stand right; no blanks at line ends. */
static void test_table(void **state)
{
    (void)state;
    struct table table = {0};
    struct strbuf text = {0};
    table_column(&table, "NODE", false);
    table_column(&table, "SLOTS", true);
    table_column(&table, "NOTE", false);
    table_cell(&table, "10.0.0.1:6379", PAINT_NONE);
    table_cellf(&table, PAINT_NONE, "%d", 5461);
    table_cell(&table, "", PAINT_NONE);
    table_cell(&table, "b", PAINT_NONE);
    table_cell(&table, "7", PAINT_NONE);
    table_cell(&table, "x\ny", PAINT_GOOD);
    assert_int_equal(table_row_count(&table), 2);
    table_format(&table, 0, 0, false, &text);
    assert_string_equal(strbuf_text(&text),
                        "NODE           SLOTS  NOTE\n"
                        "10.0.0.1:6379   5461\n"
                        "b                  7  x?y\n");
    TEXT(table_format(&table, 2, 12, false, &text));
    assert_string_equal(strbuf_text(&text),
                        "  NODE\n"
                        "  10.0.0....\n"
                        "  b\n");
    TEXT(table_format(&table, 0, 0, true, &text));
    assert_non_null(strstr(strbuf_text(&text), "\033[32mx?y\033[0m"));
    table_release(&table);
    strbuf_release(&text);
}

/* Text of several bytes a character does not disturb the columns. */
static void test_table_utf8(void **state)
{
    (void)state;
    struct table table = {0};
    struct strbuf text = {0};
    table_column(&table, "A", false);
    table_column(&table, "B", false);
    table_cell(&table, "Müller", PAINT_NONE);
    table_cell(&table, "1", PAINT_NONE);
    table_cell(&table, "Mueller", PAINT_NONE);
    table_cell(&table, "2", PAINT_NONE);
    table_format(&table, 0, 0, false, &text);
    assert_string_equal(strbuf_text(&text), "A        B\nMüller   1\nMueller  2\n");
    table_release(&table);
    strbuf_release(&text);
}

static const struct progress half = {
    .state = "running",
    .slots_done = 1843,
    .slots_total = 4096,
    .keys_done = 1234567,
    .keys_total = 2469134,
    .bytes_done = 325058560,
    .bytes_total = 650117120,
    .slots_per_s = 812.4,
    .keys_per_s = 60321,
    .eta_ms = 65000,
    .elapsed_ms = 30000,
};

static void test_progress_line(void **state)
{
    (void)state;
    struct strbuf text = {0};
    progress_add_plain(&text, &half);
    assert_string_equal(strbuf_text(&text),
                        "47%  ETA 1m 05s  1,843/4,096 slots  1.2M keys  310.0 MiB  60.3k keys/s");
    TEXT(progress_add_line(&text, &half, 120));
    assert_int_equal(text_width(strbuf_text(&text)), 24 + 72);
    assert_non_null(strstr(strbuf_text(&text), "[##########>-----------]"));
    /* On a narrow screen parts go, the bar stays. */
    for (int width = 3; width < 140; width++) {
        TEXT(progress_add_line(&text, &half, width));
        assert_true(text_width(strbuf_text(&text)) <= width);
        assert_int_equal(strbuf_text(&text)[0], '[');
    }
    strbuf_release(&text);
}

/* Slots and keys count half each; only all slots are all. */
static void test_progress_fraction(void **state)
{
    (void)state;
    struct progress progress = {
        .slots_done = 90, .slots_total = 100, .keys_done = 0, .keys_total = 1000};
    assert_true(progress_fraction(&progress) > 0.44 && progress_fraction(&progress) < 0.46);
    progress.keys_done = 5000;
    assert_true(progress_fraction(&progress) < 1.0);
    progress.keys_total = 0;
    assert_true(progress_fraction(&progress) > 0.89 && progress_fraction(&progress) < 0.91);
    progress.slots_done = 100;
    progress.keys_total = 9999999;
    assert_true(progress_fraction(&progress) >= 1.0);
    progress = (struct progress){0};
    assert_true(progress_fraction(&progress) >= 1.0);
}

static void test_bar(void **state)
{
    (void)state;
    struct strbuf text = {0};
    TEXT(progress_add_bar(&text, 0, 12));
    assert_string_equal(strbuf_text(&text), "[----------]");
    TEXT(progress_add_bar(&text, 0.5, 12));
    assert_string_equal(strbuf_text(&text), "[#####>----]");
    TEXT(progress_add_bar(&text, 1, 12));
    assert_string_equal(strbuf_text(&text), "[##########]");
    TEXT(progress_add_bar(&text, 7, 3));
    assert_string_equal(strbuf_text(&text), "[#]");
    strbuf_release(&text);
}

/* What is not running says so instead of a time. */
static void test_progress_states(void **state)
{
    (void)state;
    struct progress paused = half;
    struct strbuf text = {0};
    (void)snprintf(paused.state, sizeof(paused.state), "paused");
    progress_add_plain(&text, &paused);
    assert_non_null(strstr(strbuf_text(&text), "47%  paused  1,843"));
    struct progress done = half;
    (void)snprintf(done.state, sizeof(done.state), "done");
    done.slots_done = done.slots_total;
    done.slots_per_s = done.keys_per_s = 0;
    TEXT(progress_add_plain(&text, &done));
    assert_string_equal(strbuf_text(&text), "100%  done  4,096/4,096 slots  1.2M keys  310.0 MiB");
    struct progress fresh = half;
    fresh.eta_ms = -1;
    fresh.keys_per_s = 0;
    TEXT(progress_add_plain(&text, &fresh));
    assert_non_null(strstr(strbuf_text(&text), "ETA -"));
    assert_non_null(strstr(strbuf_text(&text), "812 slots/s"));
    strbuf_release(&text);
}

/* A plan that grows tells its steps; slots, keys and rates only when it moves some. */
static void test_progress_steps(void **state)
{
    (void)state;
    struct progress joining = {.state = "running",
                               .plan_grows = true,
                               .steps_done = 2,
                               .steps_total = 3,
                               .eta_ms = -1,
                               .step = "join 10.0.0.4:7000 to the cluster of 10.0.0.1:7000"};
    struct strbuf text = {0};
    progress_add_plain(&text, &joining);
    assert_string_equal(strbuf_text(&text),
                        "50%  2 of 3 steps  join 10.0.0.4:7000 to the cluster of 10.0.0.1:7000");
    /* Nothing is all done while more may follow. */
    joining.steps_done = 3;
    joining.step[0] = '\0';
    TEXT(progress_add_plain(&text, &joining));
    assert_string_equal(strbuf_text(&text), "75%  looking what is next  3 of 3 steps");
    struct progress moving = half;
    moving.plan_grows = true;
    moving.steps_done = 1;
    moving.steps_total = 3;
    TEXT(progress_add_plain(&text, &moving));
    assert_string_equal(
        strbuf_text(&text),
        "36%  ETA 1m 05s  1 of 3 steps  1,843/4,096 slots  1.2M keys  310.0 MiB  60.3k keys/s");
    for (int width = 3; width < 160; width++) {
        TEXT(progress_add_line(&text, &moving, width));
        assert_true(text_width(strbuf_text(&text)) <= width);
    }
    (void)snprintf(joining.state, sizeof(joining.state), "done");
    TEXT(progress_add_plain(&text, &joining));
    assert_string_equal(strbuf_text(&text), "100%  done  3 of 3 steps");
    strbuf_release(&text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bytes),
        cmocka_unit_test(test_counts),
        cmocka_unit_test(test_durations),
        cmocka_unit_test(test_percent),
        cmocka_unit_test(test_table),
        cmocka_unit_test(test_table_utf8),
        cmocka_unit_test(test_progress_line),
        cmocka_unit_test(test_progress_fraction),
        cmocka_unit_test(test_bar),
        cmocka_unit_test(test_progress_states),
        cmocka_unit_test(test_progress_steps),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
