/* filler.c — see filler.h. Rules of the data stand in dataset.h; the sending in jobs.h. */
#include "bench/load/filler.h"

#include "bench/load/jobs.h"
#include "bench/load/now.h"
#include "bench/load/report.h"
#include "common/base/crc16.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>

/* Keys named one by one on standard error; more would bury the numbers. */
#define NAMED_MAX 10

struct work {
    const struct dataset *data;
    uint64_t verdicts[VERDICT_EXPIRED + 1];
    uint64_t failed; /* keys that could not be written or read */
    uint64_t named;
};

static void set_slot(const struct dataset *d, uint64_t number, uint16_t *slot)
{
    struct strbuf name = {0};
    dataset_name(d, number, &name);
    *slot = key_slot(strbuf_text(&name), name.len);
    strbuf_release(&name);
}

static void name_key(struct work *work, uint64_t number, const char *what)
{
    if (work->named++ >= NAMED_MAX) {
        return;
    }
    struct strbuf name = {0};
    dataset_name(work->data, number, &name);
    (void)fprintf(stderr, "key %" PRIu64 " \"", number);
    for (size_t i = 0; i < name.len; i++) {
        unsigned char c = (unsigned char)name.data[i];
        (void)fprintf(stderr, isprint(c) && c != '"' && c != '\\' ? "%c" : "\\x%02x", c);
    }
    (void)fprintf(stderr, "\" in slot %u: %s\n", key_slot(strbuf_text(&name), name.len), what);
    strbuf_release(&name);
}

static bool fill_step(void *user,
                      uint64_t number,
                      unsigned step,
                      struct strbuf *command,
                      uint16_t *slot)
{
    const struct work *work = user;
    set_slot(work->data, number, slot);
    return dataset_fill_step(work->data, number, step, command);
}

static bool fill_answer(void *user,
                        uint64_t number,
                        unsigned step,
                        const struct redisReply *reply,
                        int64_t asked_ms)
{
    (void)asked_ms;
    struct work *work = user;
    (void)step;
    if (dataset_fill_accepts(reply)) {
        return true;
    }
    work->failed++;
    name_key(work, number, reply->type == REDIS_REPLY_ERROR ? reply->str : "not written");
    return false;
}

static bool verify_step(void *user,
                        uint64_t number,
                        unsigned step,
                        struct strbuf *command,
                        uint16_t *slot)
{
    const struct work *work = user;
    set_slot(work->data, number, slot);
    return dataset_read_step(work->data, number, step, command);
}

static bool verify_answer(void *user,
                          uint64_t number,
                          unsigned step,
                          const struct redisReply *reply,
                          int64_t asked_ms)
{
    static const char *const words[] = {"right", "lost", "wrong", "expiry is off", "expired"};
    struct work *work = user;
    struct read_time when = {.asked_ms = asked_ms, .answered_ms = wall_ms()};
    enum verdict verdict = dataset_judge(work->data, number, step, reply, &when);
    /* A key is counted once: as right at its first step unless that or a later one finds otherwise.
     */
    if (step == 0 || verdict != VERDICT_RIGHT) {
        work->verdicts[verdict]++;
        work->verdicts[VERDICT_RIGHT] -= step > 0 ? 1 : 0;
    }
    if (verdict == VERDICT_RIGHT) {
        return true;
    }
    if (verdict != VERDICT_EXPIRED) {
        name_key(work, number, words[verdict]);
    }
    return false;
}

static void give_up(void *user, uint64_t number)
{
    struct work *work = user;
    work->failed++;
    name_key(work, number, "no answer from the cluster");
}

static struct jobs make_jobs(struct cluster *cluster, const struct options *o, struct work *work)
{
    const struct dataset *d = &o->data;
    bool fills = o->command == COMMAND_FILL;
    return (struct jobs){
        .cluster = cluster,
        .count = dataset_count(d),
        .job_bytes_max =
            (size_t)(d->value_size > d->big_string_size / 64 ? d->value_size
                                                             : d->big_string_size / 64),
        .progress = o->progress,
        .title = fills ? "fill" : "verify",
        .user = work,
        .step = fills ? fill_step : verify_step,
        .answer = fills ? fill_answer : verify_answer,
        .failed = give_up,
    };
}

static enum exit_code report(const struct options *o,
                             const struct cluster *cluster,
                             const struct strbuf *body,
                             bool ok)
{
    struct strbuf json = {0};
    struct err err = {0};
    strbuf_addf(&json, "{\"tool\":\"drover-load\",\"command\":\"%s\",\"ok\":%s,%s,",
                o->command == COMMAND_FILL ? "fill" : "verify", ok ? "true" : "false",
                strbuf_text(body));
    json_counters(&json, &cluster->counters);
    strbuf_add_text(&json, ",\"last_error\":");
    json_text(&json, cluster->last_error);
    strbuf_add_text(&json, "}");
    int rc = report_write(o->json_path, &json, &err);
    strbuf_release(&json);
    if (rc != 0) {
        (void)fprintf(stderr, "drover-load: %s\n", err.text);
        return EXIT_CHECK_FAILED;
    }
    return ok ? EXIT_OK : EXIT_CHECK_FAILED;
}

enum exit_code fill(struct cluster *cluster, const struct options *o)
{
    struct work work = {.data = &o->data};
    struct jobs jobs = make_jobs(cluster, o, &work);
    int64_t began_ns = now_ns();
    jobs_run(&jobs);
    double seconds = (double)(now_ns() - began_ns) / (double)NS_PER_S;
    (void)fprintf(stderr, "fill: %" PRIu64 " keys in %.2f s (%.0f/s), %" PRIu64 " failed\n",
                  jobs.count, seconds, (double)jobs.count / seconds, work.failed);
    struct strbuf body = {0};
    strbuf_addf(&body, "\"keys\":%" PRIu64 ",\"failed\":%" PRIu64 ",\"seconds\":%.3f", jobs.count,
                work.failed, seconds);
    enum exit_code code = report(o, cluster, &body, work.failed == 0);
    strbuf_release(&body);
    return code;
}

enum exit_code verify(struct cluster *cluster, const struct options *o)
{
    struct work work = {.data = &o->data};
    struct jobs jobs = make_jobs(cluster, o, &work);
    int64_t began_ns = now_ns();
    jobs_run(&jobs);
    double seconds = (double)(now_ns() - began_ns) / (double)NS_PER_S;
    const uint64_t *v = work.verdicts;
    (void)fprintf(stderr,
                  "verify: %" PRIu64 " keys in %.2f s: %" PRIu64 " right, %" PRIu64
                  " expired, %" PRIu64 " lost, %" PRIu64 " wrong, %" PRIu64
                  " with an expiry that is off, %" PRIu64 " not read\n",
                  jobs.count, seconds, v[VERDICT_RIGHT], v[VERDICT_EXPIRED], v[VERDICT_LOST],
                  v[VERDICT_WRONG], v[VERDICT_TTL], work.failed);
    struct strbuf body = {0};
    strbuf_addf(&body,
                "\"keys\":%" PRIu64 ",\"right\":%" PRIu64 ",\"expired\":%" PRIu64
                ",\"lost\":%" PRIu64 ",\"wrong\":%" PRIu64 ",\"ttl_errors\":%" PRIu64
                ",\"failed\":%" PRIu64 ",\"seconds\":%.3f",
                jobs.count, v[VERDICT_RIGHT], v[VERDICT_EXPIRED], v[VERDICT_LOST], v[VERDICT_WRONG],
                v[VERDICT_TTL], work.failed, seconds);
    bool ok = v[VERDICT_LOST] + v[VERDICT_WRONG] + v[VERDICT_TTL] + work.failed == 0;
    enum exit_code code = report(o, cluster, &body, ok);
    strbuf_release(&body);
    return code;
}
