/* outside_host.c — see outside_host.h: the list of calls and their answers. */
#include "agent/shell/outside_host.h"

#include "agent/shell/outside_job.h"
#include "common/base/alloc.h"
#include "common/base/check.h"
#include "common/io/clock.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* --- what the three ways tell ------------------------------------------------------------------
 */

static void wake(struct outside_host *host)
{
    loop_timer_set(host->timer, clock_now_ms());
}

void outside_job_tell(struct outside_job *job, const struct outside_answer *answer)
{
    job->answer = *answer;
    job->has_news = true;
    wake(job->host);
}

void outside_job_end(struct outside_job *job, const struct outside_answer *answer)
{
    struct outside_answer last = *answer;
    last.is_over = true;
    outside_job_tell(job, &last);
}

void outside_job_fail(struct outside_job *job,
                      int code,
                      const char *why,
                      bool is_retryable,
                      bool is_maybe_received)
{
    struct outside_answer answer = {.state = OUTSIDE_FAILED,
                                    .is_retryable = is_retryable,
                                    .is_maybe_received = is_maybe_received,
                                    .percent = -1};
    size_t len = strlen(job->call.target.place);
    if (strncmp(why, job->call.target.place, len) == 0) { /* the core names it shorter */
        why += len;
        why += strspn(why, ": ");
    }
    (void)snprintf(answer.message, sizeof(answer.message), "%s", why);
    (void)err_set(&job->err, code, "%s", why);
    outside_job_end(job, &answer);
}

/* --- answers -----------------------------------------------------------------------------------
 */

static void free_job(struct outside_job *job)
{
    process_cancel(job->process);
    if (job->http != NULL) {
        http_call_cancel(job->http);
    }
    text_call_cancel(job->text);
    free(job);
}

/* The first that wants something; taken from the list when it is over. */
static struct outside_job *take_due(struct outside_host *host)
{
    for (struct outside_job **at = &host->jobs; *at != NULL; at = &(*at)->next) {
        struct outside_job *job = *at;
        if (job->is_dropped || job->has_news) {
            if (job->is_dropped || job->answer.is_over) {
                *at = job->next;
            }
            return job;
        }
    }
    return NULL;
}

/* One a turn: the callback may submit and cancel. */
static void on_timer(void *user)
{
    struct outside_host *host = user;
    struct outside_job *job = take_due(host);
    if (job == NULL) {
        return;
    }
    wake(host);
    if (job->is_dropped) {
        free_job(job);
        return;
    }
    job->has_news = false;
    struct host_facts facts = {.outside = job->answer};
    struct err err = job->err;
    bool has_failed = job->answer.state == OUTSIDE_FAILED;
    struct agent_event event = {
        .kind = AGENT_HOST,
        .req_id = job->req_id,
        .code = has_failed ? err.code : 0,
        .err = &err,
        .host_verb = HOST_OUTSIDE_START,
        .host_of = &job->call.address,
        .facts = &facts,
    };
    bool is_over = job->answer.is_over;
    host->done(host->user, &event);
    if (is_over) {
        free_job(job);
    }
}

/* --- calls -------------------------------------------------------------------------------------
 */

void outside_host_submit(struct outside_host *host,
                         uint64_t req_id,
                         const struct outside_call *call)
{
    CHECK(call->timeout_ms > 0);
    struct outside_job *job = xcalloc(1, sizeof(*job));
    job->host = host;
    job->req_id = req_id;
    job->call = *call;
    struct outside_job **end = &host->jobs;
    while (*end != NULL) {
        end = &(*end)->next;
    }
    *end = job;
    switch (call->target.way) {
    case OUTSIDE_EXEC:
        outside_exec_start(job);
        return;
    case OUTSIDE_WEBHOOK:
        outside_webhook_start(job);
        return;
    case OUTSIDE_HAPROXY:
        outside_haproxy_start(job);
        return;
    }
    UNREACHABLE("way to call outside");
}

void outside_host_cancel(struct outside_host *host, uint64_t req_id)
{
    for (struct outside_job *job = host->jobs; job != NULL; job = job->next) {
        if (job->req_id == req_id) {
            job->is_dropped = true; /* ended from the loop: this may run inside its own callback */
            wake(host);
        }
    }
}

/* --- life --------------------------------------------------------------------------------------
 */

struct outside_host *outside_host_new(const struct outside_host_options *options)
{
    struct outside_host *host = xcalloc(1, sizeof(*host));
    host->loop = options->loop;
    host->timer = loop_timer_new(options->loop, on_timer, host);
    if (options->webhook_token != NULL && options->webhook_token[0] != '\0') {
        host->webhook_token = xstrdup(options->webhook_token);
    }
    host->webhook_ca = options->webhook_ca == NULL ? NULL : xstrdup(options->webhook_ca);
    host->done = options->done;
    host->user = options->user;
    return host;
}

void outside_host_free(struct outside_host *host)
{
    if (host == NULL) {
        return;
    }
    while (host->jobs != NULL) {
        struct outside_job *job = host->jobs;
        host->jobs = job->next;
        free_job(job);
    }
    if (host->http != NULL) {
        http_client_close(host->http, NULL, NULL);
    }
    loop_timer_free(host->timer);
    if (host->webhook_token != NULL) {
        explicit_bzero(host->webhook_token, strlen(host->webhook_token));
    }
    free(host->webhook_token);
    free(host->webhook_ca);
    free(host);
}
