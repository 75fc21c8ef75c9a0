/* report.c — see report.h. */
#include "bench/load/report.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

void json_text(struct strbuf *out, const char *text)
{
    strbuf_add_char(out, '"');
    for (; *text != '\0'; text++) {
        unsigned char c = (unsigned char)*text;
        if (c == '"' || c == '\\') {
            strbuf_addf(out, "\\%c", c);
        } else if (c < 0x20 || c > 0x7e) {
            strbuf_addf(out, "\\u%04x", c);
        } else {
            strbuf_add_char(out, (char)c);
        }
    }
    strbuf_add_char(out, '"');
}

void json_counters(struct strbuf *out, const struct counters *counters)
{
    strbuf_addf(out, "\"moved\":%" PRIu64 ",\"ask\":%" PRIu64 ",\"failures\":{", counters->moved,
                counters->ask);
    for (unsigned i = 0; i < FAILURE_NR; i++) {
        strbuf_addf(out, "%s\"%s\":%" PRIu64, i > 0 ? "," : "", failure_word((enum failure)i),
                    counters->failures[i]);
    }
    strbuf_addf(out,
                "},\"retries\":%" PRIu64 ",\"gave_up\":%" PRIu64 ",\"reconnects\":%" PRIu64
                ",\"map_refreshes\":%" PRIu64,
                counters->retries, counters->gave_up, counters->reconnects,
                counters->map_refreshes);
}

void json_latency(struct strbuf *out, const struct histogram *h)
{
    strbuf_addf(out, "{\"p50\":%.1f,\"p99\":%.1f,\"p999\":%.1f,\"max\":%.1f}",
                (double)histogram_percentile(h, 500) / 1e3,
                (double)histogram_percentile(h, 990) / 1e3,
                (double)histogram_percentile(h, 999) / 1e3, (double)h->max_ns / 1e3);
}

struct counters counters_since(const struct counters *now, const struct counters *before)
{
    struct counters since = {
        .moved = now->moved - before->moved,
        .ask = now->ask - before->ask,
        .retries = now->retries - before->retries,
        .gave_up = now->gave_up - before->gave_up,
        .reconnects = now->reconnects - before->reconnects,
        .map_refreshes = now->map_refreshes - before->map_refreshes,
    };
    for (unsigned i = 0; i < FAILURE_NR; i++) {
        since.failures[i] = now->failures[i] - before->failures[i];
    }
    return since;
}

uint64_t counters_client_errors(const struct counters *counters, unsigned tolerate)
{
    uint64_t errors = counters->gave_up;
    for (unsigned i = 0; i < FAILURE_NR; i++) {
        errors += (tolerate & (1U << i)) == 0 ? counters->failures[i] : 0;
    }
    return errors;
}

int report_write(const char *path, const struct strbuf *json, struct err *err)
{
    FILE *file = path == NULL ? stdout : fopen(path, "w");
    if (file == NULL) {
        return err_set(err, ERR_IO, "cannot write %s: %s", path, strerror(errno));
    }
    (void)fprintf(file, "%s\n", strbuf_text(json));
    int failed = ferror(file) != 0;
    failed |= path == NULL ? fflush(file) : fclose(file);
    return failed ? err_set(err, ERR_IO, "cannot write the report") : 0;
}
