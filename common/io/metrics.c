/* metrics.c — see metrics.h. */
#include "common/io/metrics.h"

#include "common/base/check.h"

#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "common/base/banned.h" /* last: system headers may use what it bans */

#define INTEGER_MAX 9007199254740992.0 /* 2^53: whole numbers below are printed as such */

static bool is_name(const char *name, bool may_have_colon)
{
    for (const char *c = name; *c != '\0'; c++) {
        bool is_letter = (*c >= 'a' && *c <= 'z') || (*c >= 'A' && *c <= 'Z') || *c == '_';
        bool is_digit = *c >= '0' && *c <= '9';
        if (!is_letter && !(is_digit && c != name) && !(*c == ':' && may_have_colon)) {
            return false;
        }
    }
    return *name != '\0';
}

static bool has_suffix(const char *text, const char *suffix)
{
    size_t len = strlen(text);
    size_t suffix_len = strlen(suffix);
    return len >= suffix_len && strcmp(text + len - suffix_len, suffix) == 0;
}

static bool was_used(const struct metrics *metrics, const char *name)
{
    size_t len = strlen(name);
    const char *line = strbuf_text(&metrics->names);
    while (*line != '\0') {
        const char *end = strchr(line, '\n');
        if ((size_t)(end - line) == len && memcmp(line, name, len) == 0) {
            return true;
        }
        line = end + 1;
    }
    return false;
}

static void add_escaped(struct strbuf *out, const char *text, bool is_label)
{
    for (const char *c = text; *c != '\0'; c++) {
        if (*c == '\\') {
            strbuf_add_text(out, "\\\\");
        } else if (*c == '\n') {
            strbuf_add_text(out, "\\n");
        } else if (*c == '"' && is_label) {
            strbuf_add_text(out, "\\\"");
        } else {
            strbuf_add_char(out, *c);
        }
    }
}

static void add_number(struct strbuf *out, double value)
{
    if (isnan(value)) {
        strbuf_add_text(out, "NaN");
    } else if (isinf(value)) {
        strbuf_add_text(out, value > 0 ? "+Inf" : "-Inf");
    } else if (value < INTEGER_MAX && value > -INTEGER_MAX && value == (double)(int64_t)value) {
        strbuf_addf(out, "%.0f", value);
    } else {
        strbuf_addf(out, "%.17g", value);
    }
}

/* One line; 'bound' is the value of the label "le", NULL for none. */
static void add_sample(struct metrics *metrics,
                       const char *suffix,
                       const struct metric_label *labels,
                       int label_count,
                       const double *bound,
                       double value)
{
    struct strbuf *out = &metrics->text;
    strbuf_addf(out, "%s%s", metrics->family, suffix);
    for (int i = 0; i < label_count; i++) {
        CHECK(is_name(labels[i].name, false));
        CHECK(strcmp(labels[i].name, "le") != 0);
        strbuf_addf(out, "%s%s=\"", i == 0 ? "{" : ",", labels[i].name);
        add_escaped(out, labels[i].value, true);
        strbuf_add_char(out, '"');
    }
    if (bound != NULL) {
        strbuf_add_text(out, label_count == 0 ? "{le=\"" : ",le=\"");
        if (isinf(*bound)) {
            strbuf_add_text(out, "+Inf");
        } else {
            strbuf_addf(out, "%.12g",
                        *bound); /* people write 0.005; %.17g would show the binary tail */
        }
        strbuf_add_char(out, '"');
    }
    strbuf_add_text(out, label_count > 0 || bound != NULL ? "} " : " ");
    add_number(out, value);
    strbuf_add_char(out, '\n');
}

void metrics_release(struct metrics *metrics)
{
    if (metrics != NULL) {
        strbuf_release(&metrics->text);
        strbuf_release(&metrics->names);
    }
}

void metrics_family(struct metrics *metrics,
                    enum metric_kind kind,
                    const char *name,
                    const char *help)
{
    static const char *const kinds[] = {
        [METRIC_COUNTER] = "counter", [METRIC_GAUGE] = "gauge", [METRIC_HISTOGRAM] = "histogram"};
    CHECK(is_name(name, true));
    CHECK(strlen(name) < sizeof(metrics->family));
    CHECK(has_suffix(name, "_total") == (kind == METRIC_COUNTER));
    CHECK(!was_used(metrics, name));
    strbuf_addf(&metrics->names, "%s\n", name);
    (void)snprintf(metrics->family, sizeof(metrics->family), "%s", name);
    metrics->kind = kind;
    strbuf_addf(&metrics->text, "# HELP %s ", name);
    add_escaped(&metrics->text, help, false);
    strbuf_addf(&metrics->text, "\n# TYPE %s %s\n", name, kinds[kind]);
}

void metrics_add(struct metrics *metrics,
                 const struct metric_label *labels,
                 int label_count,
                 double value)
{
    CHECK(metrics->family[0] != '\0');
    CHECK(metrics->kind != METRIC_HISTOGRAM);
    add_sample(metrics, "", labels, label_count, NULL, value);
}

const char *metrics_text(const struct metrics *metrics, size_t *size)
{
    *size = metrics->text.len;
    return strbuf_text(&metrics->text);
}

/* ---- histograms ---- */

void metric_histogram_init(struct metric_histogram *histogram,
                           const double *bounds,
                           int bound_count)
{
    CHECK(bound_count >= 1);
    CHECK(bound_count <= METRIC_BUCKETS_MAX);
    for (int i = 1; i < bound_count; i++) {
        CHECK(bounds[i - 1] < bounds[i]);
    }
    *histogram = (struct metric_histogram){.bounds = bounds, .bound_count = bound_count};
}

void metric_histogram_observe(struct metric_histogram *histogram, double value)
{
    int bucket = 0;
    while (bucket < histogram->bound_count && value > histogram->bounds[bucket]) {
        bucket++;
    }
    histogram->counts[bucket]++;
    histogram->count++;
    histogram->sum += value;
}

void metrics_add_histogram(struct metrics *metrics,
                           const struct metric_label *labels,
                           int label_count,
                           const struct metric_histogram *histogram)
{
    CHECK(metrics->kind == METRIC_HISTOGRAM);
    uint64_t below = 0;
    for (int i = 0; i <= histogram->bound_count; i++) {
        double bound = i < histogram->bound_count ? histogram->bounds[i] : (double)INFINITY;
        below += histogram->counts[i];
        add_sample(metrics, "_bucket", labels, label_count, &bound, (double)below);
    }
    add_sample(metrics, "_sum", labels, label_count, NULL, histogram->sum);
    add_sample(metrics, "_count", labels, label_count, NULL, (double)histogram->count);
}
