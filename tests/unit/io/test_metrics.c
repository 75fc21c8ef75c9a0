/* test_metrics.c — the page byte for byte, and promtool's opinion of it where promtool is
 * installed. */
#include "helper_loop.h"

#include "common/base/alloc.h"
#include "common/io/metrics.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static const double bounds[] = {0.005, 0.1, 2.5};

static void fill(struct metrics *metrics, struct metric_histogram *histogram)
{
    struct metric_label labels[] = {{"node", "a\"b\\c\nd"}, {"role", "primary"}};
    metrics_family(metrics, METRIC_COUNTER, "drover_moves_total", "Slots moved,\nwith \\ in it.");
    metrics_add(metrics, labels, 2, 12345678901.0);
    metrics_add(metrics, NULL, 0, 0.25);
    metrics_family(metrics, METRIC_GAUGE, "drover_lag_seconds", "Lag.");
    metrics_add(metrics, &labels[1], 1, -0.1);
    metrics_family(metrics, METRIC_GAUGE, "drover_odd_ratio", "Odd values.");
    metrics_add(metrics, &labels[1], 1, (double)INFINITY);
    metrics_family(metrics, METRIC_HISTOGRAM, "drover_call_seconds", "Calls.");
    metric_histogram_init(histogram, bounds, 3);
    metric_histogram_observe(histogram, 0.005);
    metric_histogram_observe(histogram, 0.0051);
    metric_histogram_observe(histogram, 9);
    metrics_add_histogram(metrics, &labels[1], 1, histogram);
}

/* Escapes, whole numbers, infinity and cumulative buckets are as the format wants them. */
static void test_page(void **state)
{
    (void)state;
    struct metrics metrics = {0};
    struct metric_histogram histogram;
    size_t size = 0;
    fill(&metrics, &histogram);
    assert_string_equal(
        metrics_text(&metrics, &size),
        "# HELP drover_moves_total Slots moved,\\nwith \\\\ in it.\n"
        "# TYPE drover_moves_total counter\n"
        "drover_moves_total{node=\"a\\\"b\\\\c\\nd\",role=\"primary\"} 12345678901\n"
        "drover_moves_total 0.25\n"
        "# HELP drover_lag_seconds Lag.\n"
        "# TYPE drover_lag_seconds gauge\n"
        "drover_lag_seconds{role=\"primary\"} -0.10000000000000001\n"
        "# HELP drover_odd_ratio Odd values.\n"
        "# TYPE drover_odd_ratio gauge\n"
        "drover_odd_ratio{role=\"primary\"} +Inf\n"
        "# HELP drover_call_seconds Calls.\n"
        "# TYPE drover_call_seconds histogram\n"
        "drover_call_seconds_bucket{role=\"primary\",le=\"0.005\"} 1\n"
        "drover_call_seconds_bucket{role=\"primary\",le=\"0.1\"} 2\n"
        "drover_call_seconds_bucket{role=\"primary\",le=\"2.5\"} 2\n"
        "drover_call_seconds_bucket{role=\"primary\",le=\"+Inf\"} 3\n"
        "drover_call_seconds_sum{role=\"primary\"} 9.0100999999999996\n"
        "drover_call_seconds_count{role=\"primary\"} 3\n");
    assert_int_equal(size, strlen(metrics_text(&metrics, &size)));
    metrics_release(&metrics);
    metrics_release(NULL);
}

static void test_promtool(void **state)
{
    (void)state;
    char *folder = folder_new();
    char *path = xasprintf("%s/page", folder);
    struct metrics metrics = {0};
    struct metric_histogram histogram;
    size_t size = 0;
    fill(&metrics, &histogram);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    const char *page = metrics_text(&metrics, &size);
    assert_int_equal(fwrite(page, 1, size, file), size);
    (void)fclose(file);
    metrics_release(&metrics);
    char *script = xasprintf(
        "command -v promtool >/dev/null || exit 99; promtool check metrics < '%s' 2>&1", path);
    char *argv[] = {"sh", "-c", script, NULL};
    char out[1024];
    int rc = process_run(argv, out, sizeof(out));
    free(script);
    free(path);
    folder_remove(folder);
    if (rc == 99) {
        print_message(
            "promtool is not installed: the page is compared with our own reading of the format "
            "only\n");
        skip();
    }
    if (rc != 0 || out[0] != '\0') {
        fail_msg("promtool: %s", out);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_page),
                                       cmocka_unit_test(test_promtool)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
