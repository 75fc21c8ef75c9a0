/* run.c — see run.h. What each key must hold is known by ledger.h, the report is made by
 * run_report.c. */
#include "bench/load/run.h"

#include "bench/load/jobs.h"
#include "bench/load/now.h"
#include "bench/load/phases.h"
#include "bench/load/report.h"
#include "bench/load/resp.h"
#include "bench/load/run_report.h"
#include "common/base/alloc.h"
#include "common/base/crc16.h"
#include "common/base/prng.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Requests under way at once: ten seconds of standstill at 10,000 a second. What comes due beyond
 * is counted, not sent. */
#define IN_FLIGHT_MAX 100000
/* Sent before answers are read again, so that a late loop catches up without starving its reader.
 */
#define BURST_MAX 128
/* Keys tried to find one without a write under way; then the request reads instead. */
#define WRITE_TRIES 8
#define LOOK_NS (20 * NS_PER_MS)

struct run;

/* One request of the load. Recycled through run->spare. */
struct op {
    struct request request;
    struct run *run;
    struct op *next_spare;
    uint64_t key;
    int64_t due_ns;
    uint32_t counter; /* of a write */
    uint32_t floor;   /* of a read: what it must at least see */
    unsigned phase;
    bool writes;
};

struct run {
    struct cluster *cluster;
    const struct options *o;
    struct ledger ledger;
    struct phases phases;
    struct prng prng;
    struct run_totals totals;
    struct op *spare;
    struct strbuf name;   /* scratch */
    struct strbuf value;  /* scratch */
    int64_t next_look_ns; /* at the end file */
    int64_t next_tell_ns;
};

/* --- commands
 * -------------------------------------------------------------------------------------------------
 */

static const char *key_name(struct run *run, uint64_t key, uint16_t *slot)
{
    strbuf_clear(&run->name);
    strbuf_addf(&run->name, "%s%" PRIu64, run->o->data.prefix, key);
    *slot = key_slot(run->name.data, run->name.len);
    return run->name.data;
}

static void add_value(struct run *run, uint64_t key, uint32_t counter, struct strbuf *out)
{
    const struct ledger *ledger = &run->ledger;
    strbuf_clear(&run->value);
    value_make(ledger->seed, key, counter == 0 ? 0 : ledger->version_base + counter,
               (size_t)ledger->value_size, &run->value);
    resp_bytes(out, run->value.data, run->value.len);
}

static void add_write(struct run *run,
                      uint64_t key,
                      uint32_t counter,
                      struct strbuf *out,
                      uint16_t *slot)
{
    const char *name = key_name(run, key, slot);
    switch (ledger_type(&run->ledger, key)) {
    case KEY_STRING:
        resp_command(out, 3);
        resp_text(out, "SET");
        resp_text(out, name);
        add_value(run, key, counter, out);
        break;
    case KEY_COUNTER:
        resp_command(out, 2);
        resp_text(out, "INCR");
        resp_text(out, name);
        break;
    case KEY_LIST:
        resp_command(out, 3);
        resp_text(out, "RPUSH");
        resp_text(out, name);
        add_value(run, key, counter, out);
        break;
    }
}

/* 'from' is the first list element wanted, "-1" for the last alone. */
static void add_read(struct run *run,
                     uint64_t key,
                     const char *from,
                     struct strbuf *out,
                     uint16_t *slot)
{
    const char *name = key_name(run, key, slot);
    bool list = ledger_type(&run->ledger, key) == KEY_LIST;
    resp_command(out, list ? 4 : 2);
    resp_text(out, list ? "LRANGE" : "GET");
    resp_text(out, name);
    if (list) {
        resp_text(out, from);
        resp_text(out, "-1");
    }
}

/* The state before the load: strings of version 0, counters at 0, lists empty. */
static void add_reset(struct run *run, uint64_t key, struct strbuf *out, uint16_t *slot)
{
    if (ledger_type(&run->ledger, key) == KEY_STRING) {
        add_write(run, key, 0, out, slot);
        return;
    }
    const char *name = key_name(run, key, slot);
    bool list = ledger_type(&run->ledger, key) == KEY_LIST;
    resp_command(out, list ? 2 : 3);
    resp_text(out, list ? "DEL" : "SET");
    resp_text(out, name);
    if (!list) {
        resp_text(out, "0");
    }
}

/* --- one request
 * ---------------------------------------------------------------------------------------------- */

static void note_finding(struct run *run, const struct op *op, enum finding finding)
{
    uint16_t slot = 0;
    if (finding == FINDING_NONE) {
        return;
    }
    run->phases.items[op->phase]->findings[finding]++;
    if (run->totals.named++ < RUN_NAMED_MAX) {
        const char *name = key_name(run, op->key, &slot);
        (void)fprintf(stderr,
                      "key %s in slot %u: %s after a %s (at least %u expected, at most %u)\n", name,
                      slot, finding_word(finding), op->writes ? "write" : "read", op->floor,
                      run->ledger.keys[op->key].sent);
    }
}

static enum finding settle_write(struct run *run,
                                 const struct op *op,
                                 enum outcome outcome,
                                 const struct redisReply *reply)
{
    if (outcome == OUTCOME_REPLY && reply->type != REDIS_REPLY_ERROR) {
        return ledger_acknowledge(&run->ledger, op->key, op->counter, reply);
    }
    if (outcome == OUTCOME_UNKNOWN) {
        ledger_unknown(&run->ledger, op->key);
    } else {
        ledger_withdraw(&run->ledger, op->key, op->counter);
    }
    return FINDING_NONE;
}

static void op_done(struct request *request, enum outcome outcome, const struct redisReply *reply)
{
    struct op *op = request->owner;
    struct run *run = op->run;
    bool answered = outcome == OUTCOME_REPLY && reply->type != REDIS_REPLY_ERROR;
    enum finding finding = FINDING_NONE;
    if (op->writes) {
        finding = settle_write(run, op, outcome, reply);
    } else if (answered) {
        finding = ledger_read(&run->ledger, op->key, op->floor, reply);
    }
    note_finding(run, op, finding);
    if (answered) {
        histogram_add(&run->phases.items[op->phase]->latency,
                      run->cluster->read_at_ns - op->due_ns);
    } else {
        run->totals.unanswered++;
    }
    op->next_spare = run->spare;
    run->spare = op;
}

static struct op *take_op(struct run *run)
{
    struct op *op = run->spare;
    if (op == NULL) {
        op = xcalloc(1, sizeof(*op));
        op->run = run;
        op->request.owner = op;
        op->request.done = op_done;
        return op;
    }
    run->spare = op->next_spare;
    return op;
}

/* Chooses a key and says whether it is written: never while a write of it is under way. */
static uint64_t choose_key(struct run *run, bool *writes)
{
    uint64_t key = prng_below(&run->prng, run->ledger.count);
    *writes = (double)(prng_next(&run->prng) >> 11) * 0x1p-53 >= run->o->get_ratio;
    for (unsigned tries = 0; *writes && !ledger_may_write(&run->ledger, key); tries++) {
        key = prng_below(&run->prng, run->ledger.count);
        *writes = tries < WRITE_TRIES;
    }
    return key;
}

static void send_op(struct run *run, int64_t due_ns)
{
    struct phase *phase = run->phases.items[phases_now(&run->phases)];
    phase->requests++;
    if (run->cluster->in_flight >= IN_FLIGHT_MAX) {
        phase->not_sent++;
        return;
    }
    struct op *op = take_op(run);
    op->key = choose_key(run, &op->writes);
    op->due_ns = due_ns;
    op->phase = phases_now(&run->phases);
    op->floor = run->ledger.keys[op->key].floor;
    strbuf_clear(&op->request.command);
    if (op->writes) {
        op->counter = ledger_write(&run->ledger, op->key);
        add_write(run, op->key, op->counter, &op->request.command, &op->request.slot);
        run->totals.writes++;
    } else {
        add_read(run, op->key, "-1", &op->request.command, &op->request.slot);
        run->totals.reads++;
    }
    /* A SET of the same version twice is one SET; an INCR or RPUSH is not. */
    op->request.repeatable = !op->writes || ledger_type(&run->ledger, op->key) == KEY_STRING;
    cluster_submit(run->cluster, &op->request);
}

/* --- the loop
 * -------------------------------------------------------------------------------------------------
 */

static void tell_progress(struct run *run)
{
    int64_t now = now_ns();
    if (!run->o->progress || now < run->next_tell_ns) {
        return;
    }
    run->next_tell_ns = now + NS_PER_S;
    const struct counters *counters = &run->cluster->counters;
    const struct phase *phase = run->phases.items[phases_now(&run->phases)];
    (void)fprintf(stderr,
                  "%s: %.0f s, %" PRIu64 " requests, p99 %.2f ms, max %.2f ms, moved %" PRIu64
                  ", ask %" PRIu64 ", errors %" PRIu64 ", wrong %" PRIu64 "\n",
                  phase->name, (double)(now - phase->began_ns) / (double)NS_PER_S, phase->requests,
                  (double)histogram_percentile(&phase->latency, 990) / 1e6,
                  (double)phase->latency.max_ns / 1e6, counters->moved, counters->ask,
                  counters_client_errors(counters, run->o->cluster.tolerate), phase_wrong(phase));
}

static bool is_over(struct run *run, int64_t began_ns)
{
    int64_t now = now_ns();
    if (run->cluster->stopped) {
        return true;
    }
    if (run->o->duration_s > 0 &&
        (double)(now - began_ns) >= run->o->duration_s * (double)NS_PER_S) {
        return true;
    }
    if (run->o->until_file == NULL || now < run->next_look_ns) {
        return false;
    }
    run->next_look_ns = now + LOOK_NS;
    return access(run->o->until_file, F_OK) == 0;
}

/* The load sleeps so long whatever arrives: a wake-up for each request and one for each answer
 * would take a third of a processor at 10,000 requests a second, which the servers then lack. What
 * it measures may be that much too long, never too short. */
#define TICK_NS (NS_PER_MS / 5)

static void load(struct run *run)
{
    double interval_ns = (double)NS_PER_S / run->o->rate;
    int64_t began_ns = now_ns();
    uint64_t sent = 0;
    int64_t due_ns = began_ns;
    while (!is_over(run, began_ns)) {
        for (unsigned burst = 0; due_ns <= now_ns() && burst < BURST_MAX; burst++) {
            send_op(run, due_ns);
            sent++;
            due_ns = began_ns + (int64_t)((double)sent * interval_ns);
        }
        int64_t now = now_ns();
        int64_t tick_ns = due_ns > now ? now + TICK_NS : now; /* behind: no rest */
        cluster_rest(run->cluster, due_ns > tick_ns ? due_ns : tick_ns);
        phases_look(&run->phases, &run->cluster->counters);
        tell_progress(run);
    }
    /* Each request ends: answered, failed, or overdue. */
    while (run->cluster->in_flight > 0) {
        cluster_wait(run->cluster, now_ns() + NS_PER_S);
    }
    phases_end(&run->phases, &run->cluster->counters);
    run->totals.seconds = (double)(now_ns() - began_ns) / (double)NS_PER_S;
}

/* --- before and after
 * ----------------------------------------------------------------------------------------- */

static bool reset_step(void *user,
                       uint64_t number,
                       unsigned step,
                       struct strbuf *command,
                       uint16_t *slot)
{
    if (step == 0) {
        add_reset(user, number, command, slot);
    }
    return step == 0;
}

static bool reset_answer(void *user,
                         uint64_t number,
                         unsigned step,
                         const struct redisReply *reply,
                         int64_t asked_ms)
{
    (void)asked_ms;
    struct run *run = user;
    (void)number;
    (void)step;
    run->totals.unprepared += reply->type == REDIS_REPLY_ERROR ? 1 : 0;
    return false;
}

static void reset_failed(void *user, uint64_t number)
{
    struct run *run = user;
    (void)number;
    run->totals.unprepared++;
}

static bool read_back_step(void *user,
                           uint64_t number,
                           unsigned step,
                           struct strbuf *command,
                           uint16_t *slot)
{
    struct run *run = user;
    bool wanted = step == 0 && (!run->o->filled || run->ledger.keys[number].touched != 0);
    if (wanted) {
        add_read(run, number, "0", command, slot);
    }
    return wanted;
}

static bool read_back_answer(void *user,
                             uint64_t number,
                             unsigned step,
                             const struct redisReply *reply,
                             int64_t asked_ms)
{
    (void)asked_ms;
    struct run *run = user;
    (void)step;
    uint16_t slot = 0;
    enum finding finding = ledger_read_all(&run->ledger, number, reply);
    run->totals.read_back++;
    run->totals.read_back_findings[finding]++;
    if (finding != FINDING_NONE && run->totals.named++ < RUN_NAMED_MAX) {
        const struct key_state *state = &run->ledger.keys[number];
        const char *name = key_name(run, number, &slot);
        (void)fprintf(stderr,
                      "key %s in slot %u: %s at the end (at least %u expected, at most %u)\n", name,
                      slot, finding_word(finding), state->floor, state->sent);
    }
    return false;
}

static void read_back_failed(void *user, uint64_t number)
{
    struct run *run = user;
    (void)number;
    run->totals.unread++;
}

static void all_keys(struct run *run, bool reset)
{
    struct jobs jobs = {
        .cluster = run->cluster,
        .count = run->ledger.count,
        .job_bytes_max = (size_t)run->ledger.value_size,
        .progress = run->o->progress,
        .title = reset ? "prepare" : "read back",
        .user = run,
        .step = reset ? reset_step : read_back_step,
        .answer = reset ? reset_answer : read_back_answer,
        .failed = reset ? reset_failed : read_back_failed,
    };
    cluster_tolerate(run->cluster, TOLERATE_ALL);
    jobs_run(&jobs);
    cluster_tolerate(run->cluster, run->o->cluster.tolerate);
}

static void go_realtime(void)
{
    struct sched_param param = {.sched_priority = 1};
    if (sched_setscheduler(0, SCHED_FIFO | SCHED_RESET_ON_FORK, &param) != 0) {
        (void)fprintf(stderr, "drover-load: no real-time scheduling: %s, ignoring\n",
                      strerror(errno));
    }
}

static void touch(const char *path)
{
    int fd = path == NULL ? -1 : open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
    if (fd >= 0) {
        close(fd);
    } else if (path != NULL) {
        (void)fprintf(stderr, "drover-load: cannot make %s: %s, ignoring\n", path, strerror(errno));
    }
}

static void run_release(struct run *run)
{
    while (run->spare != NULL) {
        struct op *op = run->spare;
        run->spare = op->next_spare;
        strbuf_release(&op->request.command);
        free(op);
    }
    phases_release(&run->phases);
    ledger_release(&run->ledger);
    strbuf_release(&run->name);
    strbuf_release(&run->value);
}

enum exit_code run(struct cluster *cluster, const struct options *o)
{
    struct run run = {.cluster = cluster, .o = o};
    struct err err = {0};
    if (cluster_watch_signals(cluster, &err) != 0) {
        (void)fprintf(stderr, "drover-load: %s\n", err.text);
        return EXIT_CHECK_FAILED;
    }
    ledger_init(&run.ledger, o->data.keys, o->data.all_types);
    run.ledger.seed = o->data.seed;
    run.ledger.value_size = o->data.value_size;
    prng_init(&run.prng, o->data.seed ^ run.ledger.version_base);
    if (!o->filled) {
        all_keys(&run, true);
    }
    cluster->counters = (struct counters){0};
    if (o->realtime) {
        go_realtime();
    }
    phases_begin(&run.phases, o->mark_file, &cluster->counters);
    touch(o->ready_file);
    load(&run);
    struct counters counters = cluster->counters;
    /* A stop signal ends the load, not the check of what it wrote. */
    cluster->stopped = false;
    all_keys(&run, false);
    enum exit_code code = run_report(&run.totals, &run.phases, &counters, cluster->last_error, o);
    run_release(&run);
    return code;
}
