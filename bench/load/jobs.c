/* jobs.c — see jobs.h. */
#include "bench/load/jobs.h"

#include "bench/load/now.h"
#include "common/base/alloc.h"

#include <stdio.h>
#include <stdlib.h>

#define WINDOW_MAX 4096
/* Commands and replies under way at once: enough for any bandwidth, and servers keep room for their
 * own buffers. */
#define WINDOW_BYTES (32U * 1024 * 1024)
/* Restarts of one job; each already contains the cluster's own repetitions. */
#define RESTARTS_MAX 3

struct runner;

struct job {
    struct request request;
    struct runner *runner;
    uint64_t number;
    unsigned step;
    unsigned restarts;
    int64_t asked_ms; /* wall clock: when this step was first sent */
};

struct runner {
    const struct jobs *jobs;
    uint64_t next; /* number of the job not yet started */
    uint64_t ended;
    uint64_t active; /* jobs in the window */
};

static void job_done(struct request *request, enum outcome outcome, const struct redisReply *reply);

static bool send_step(struct job *job)
{
    const struct jobs *jobs = job->runner->jobs;
    strbuf_clear(&job->request.command);
    if (!jobs->step(jobs->user, job->number, job->step, &job->request.command,
                    &job->request.slot)) {
        return false;
    }
    job->request.repeatable = job->step == 0;
    job->asked_ms = wall_ms();
    cluster_submit(jobs->cluster, &job->request);
    return true;
}

/* Gives the next job to a free place of the window. */
static bool start_next(struct runner *runner, struct job *job)
{
    while (runner->next < runner->jobs->count && !runner->jobs->cluster->stopped) {
        job->number = runner->next++;
        job->step = 0;
        job->restarts = 0;
        if (send_step(job)) {
            return true;
        }
        runner->ended++;
    }
    return false;
}

static void end_job(struct job *job)
{
    job->runner->ended++;
    if (!start_next(job->runner, job)) {
        job->runner->active--;
    }
}

static void job_done(struct request *request, enum outcome outcome, const struct redisReply *reply)
{
    struct job *job = request->owner;
    const struct jobs *jobs = job->runner->jobs;
    if (outcome != OUTCOME_REPLY) {
        job->step = 0;
        if (++job->restarts <= RESTARTS_MAX && send_step(job)) {
            return;
        }
        jobs->failed(jobs->user, job->number);
        end_job(job);
        return;
    }
    bool goes_on = jobs->answer(jobs->user, job->number, job->step, reply, job->asked_ms);
    job->step++;
    if (!goes_on || !send_step(job)) {
        end_job(job);
    }
}

static size_t window_size(const struct jobs *jobs)
{
    size_t fits = WINDOW_BYTES / (jobs->job_bytes_max == 0 ? 1 : jobs->job_bytes_max);
    size_t size = fits < 1 ? 1 : fits > WINDOW_MAX ? WINDOW_MAX : fits;
    return jobs->count < size ? (size_t)jobs->count : size;
}

static void tell_progress(const struct runner *runner, int64_t began_ns)
{
    double seconds = (double)(now_ns() - began_ns) / (double)NS_PER_S;
    (void)fprintf(stderr, "%s: %llu of %llu, %.0f/s\n", runner->jobs->title,
                  (unsigned long long)runner->ended, (unsigned long long)runner->jobs->count,
                  (double)runner->ended / seconds);
}

void jobs_run(const struct jobs *jobs)
{
    struct runner runner = {.jobs = jobs};
    size_t window = window_size(jobs);
    struct job *slots = xcalloc(window == 0 ? 1 : window, sizeof(*slots));
    for (size_t i = 0; i < window; i++) {
        slots[i].runner = &runner;
        slots[i].request.owner = &slots[i];
        slots[i].request.done = job_done;
        runner.active++;
        if (!start_next(&runner, &slots[i])) {
            runner.active--;
        }
    }
    int64_t began_ns = now_ns();
    int64_t tell_ns = began_ns + NS_PER_S;
    while (runner.active > 0) {
        cluster_wait(jobs->cluster, now_ns() + NS_PER_S);
        if (jobs->progress && now_ns() >= tell_ns) {
            tell_progress(&runner, began_ns);
            tell_ns += NS_PER_S;
        }
    }
    for (size_t i = 0; i < window; i++) {
        strbuf_release(&slots[i].request.command);
    }
    free(slots);
}
