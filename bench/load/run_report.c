/* run_report.c — see run_report.h. The members of the JSON are described in bench/README.md and
 * only added to. */
#include "bench/load/run_report.h"

#include "bench/load/now.h"
#include "bench/load/report.h"
#include "common/base/alloc.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

/* What the phases add up to. */
struct summary {
    struct histogram latency;
    uint64_t requests;
    uint64_t not_sent;
    uint64_t findings[FINDING_NR];
    uint64_t wrong; /* while running and at the end */
    uint64_t client_errors;
    bool ok;
};

uint64_t phase_wrong(const struct phase *phase)
{
    return phase->findings[FINDING_LOST] + phase->findings[FINDING_BACKWARDS] +
           phase->findings[FINDING_CORRUPT];
}

static void add_up(struct summary *s, const struct run_totals *totals, const struct phases *phases)
{
    for (unsigned i = 0; i < phases->count; i++) {
        const struct phase *phase = phases->items[i];
        histogram_merge(&s->latency, &phase->latency);
        s->requests += phase->requests;
        s->not_sent += phase->not_sent;
        s->wrong += phase_wrong(phase);
        for (unsigned k = 0; k < FINDING_NR; k++) {
            s->findings[k] += phase->findings[k];
        }
    }
    for (unsigned k = FINDING_LOST; k < FINDING_NR; k++) {
        s->wrong += totals->read_back_findings[k];
    }
}

static void print_latency(const char *name, const struct histogram *h, uint64_t requests)
{
    (void)fprintf(stderr, "  %-16s %10" PRIu64 " %9.2f %9.2f %9.2f %9.2f\n", name, requests,
                  (double)histogram_percentile(h, 500) / 1e6,
                  (double)histogram_percentile(h, 990) / 1e6,
                  (double)histogram_percentile(h, 999) / 1e6, (double)h->max_ns / 1e6);
}

static void print_text(const struct summary *s,
                       const struct run_totals *totals,
                       const struct phases *phases,
                       const struct counters *counters)
{
    (void)fprintf(stderr,
                  "run: %.1f s, %" PRIu64 " reads, %" PRIu64
                  " writes\n  %-16s %10s %9s %9s %9s %9s\n",
                  totals->seconds, totals->reads, totals->writes, "latency in ms", "requests",
                  "p50", "p99", "p99.9", "max");
    for (unsigned i = 0; i < phases->count && phases->count > 1; i++) {
        const struct phase *phase = phases->items[i];
        print_latency(phase->name, &phase->latency, phase->requests);
    }
    print_latency("all", &s->latency, s->requests);
    (void)fprintf(stderr, "  redirections: %" PRIu64 " MOVED, %" PRIu64 " ASK\n  failures seen:",
                  counters->moved, counters->ask);
    for (unsigned i = 0; i < FAILURE_NR; i++) {
        (void)fprintf(stderr, " %s %" PRIu64, failure_word((enum failure)i), counters->failures[i]);
    }
    (void)fprintf(stderr,
                  ", repeated %" PRIu64 ", given up %" PRIu64 "\n  client errors: %" PRIu64
                  ", not sent: %" PRIu64 "\n  wrong while running: lost %" PRIu64
                  ", backwards %" PRIu64 ", corrupt %" PRIu64 "\n",
                  counters->retries, counters->gave_up, s->client_errors, s->not_sent,
                  s->findings[FINDING_LOST], s->findings[FINDING_BACKWARDS],
                  s->findings[FINDING_CORRUPT]);
    const uint64_t *found = totals->read_back_findings;
    (void)fprintf(stderr,
                  "  read back: %" PRIu64 " keys, lost %" PRIu64 ", backwards %" PRIu64
                  ", corrupt %" PRIu64 ", not read %" PRIu64 "\n",
                  totals->read_back, found[FINDING_LOST], found[FINDING_BACKWARDS],
                  found[FINDING_CORRUPT], totals->unread);
    if (totals->unprepared > 0) {
        (void)fprintf(stderr, "  not prepared: %" PRIu64 " keys\n", totals->unprepared);
    }
    (void)fprintf(stderr, "  %s\n", s->ok ? "all right" : "NOT all right");
}

static void json_findings(struct strbuf *out, const uint64_t findings[FINDING_NR])
{
    for (unsigned k = FINDING_LOST; k < FINDING_NR; k++) {
        strbuf_addf(out, "%s\"%s\":%" PRIu64, k > FINDING_LOST ? "," : "",
                    finding_word((enum finding)k), findings[k]);
    }
}

static void json_phase(struct strbuf *out, const struct phase *phase, unsigned tolerate)
{
    strbuf_add_text(out, "{\"name\":");
    json_text(out, phase->name);
    strbuf_addf(out,
                ",\"seconds\":%.3f,\"requests\":%" PRIu64 ",\"client_errors\":%" PRIu64
                ",\"not_sent\":%" PRIu64 ",\"wrong\":%" PRIu64 ",",
                (double)(phase->ended_ns - phase->began_ns) / (double)NS_PER_S, phase->requests,
                counters_client_errors(&phase->counters, tolerate), phase->not_sent,
                phase_wrong(phase));
    json_counters(out, &phase->counters);
    strbuf_add_text(out, ",\"findings\":{");
    json_findings(out, phase->findings);
    strbuf_add_text(out, "},\"latency_us\":");
    json_latency(out, &phase->latency);
    strbuf_add_text(out, "}");
}

static void make_json(struct strbuf *out,
                      const struct summary *s,
                      const struct run_totals *totals,
                      const struct phases *phases,
                      const struct counters *counters,
                      unsigned tolerate)
{
    strbuf_addf(out,
                "{\"tool\":\"drover-load\",\"command\":\"run\",\"ok\":%s,\"seconds\":%.3f,"
                "\"requests\":%" PRIu64 ",\"reads\":%" PRIu64 ",\"writes\":%" PRIu64
                ",\"unanswered\":%" PRIu64 ",\"not_sent\":%" PRIu64 ",\"unprepared\":%" PRIu64
                ",\"client_errors\":%" PRIu64 ",\"wrong\":%" PRIu64 ",",
                s->ok ? "true" : "false", totals->seconds, s->requests, totals->reads,
                totals->writes, totals->unanswered, s->not_sent, totals->unprepared,
                s->client_errors, s->wrong);
    json_counters(out, counters);
    strbuf_add_text(out, ",\"findings\":{");
    json_findings(out, s->findings);
    strbuf_addf(out, "},\"read_back\":{\"keys\":%" PRIu64 ",\"unread\":%" PRIu64 ",",
                totals->read_back, totals->unread);
    json_findings(out, totals->read_back_findings);
    strbuf_add_text(out, "},\"latency_us\":");
    json_latency(out, &s->latency);
    strbuf_add_text(out, ",\"phases\":[");
    for (unsigned i = 0; i < phases->count; i++) {
        strbuf_add_text(out, i > 0 ? "," : "");
        json_phase(out, phases->items[i], tolerate);
    }
    strbuf_add_text(out, "],\"last_error\":");
}

enum exit_code run_report(const struct run_totals *totals,
                          const struct phases *phases,
                          const struct counters *counters,
                          const char *last_error,
                          const struct options *o)
{
    struct summary *s = xcalloc(1, sizeof(*s));
    add_up(s, totals, phases);
    s->client_errors = counters_client_errors(counters, o->cluster.tolerate);
    s->ok = s->wrong + s->client_errors + s->not_sent + totals->unprepared + totals->unread == 0;
    print_text(s, totals, phases, counters);
    struct strbuf json = {0};
    make_json(&json, s, totals, phases, counters, o->cluster.tolerate);
    json_text(&json, last_error);
    strbuf_add_text(&json, "}");
    struct err err = {0};
    enum exit_code code = s->ok ? EXIT_OK : EXIT_CHECK_FAILED;
    if (report_write(o->json_path, &json, &err) != 0) {
        (void)fprintf(stderr, "drover-load: %s\n", err.text);
        code = EXIT_CHECK_FAILED;
    }
    strbuf_release(&json);
    free(s);
    return code;
}
