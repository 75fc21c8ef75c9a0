/* outside_haproxy.c — a drain hook that is an HAProxy process: finds its servers that are the node,
 * sets them to drain or ready, and tells how many sessions they still have.
 *
 * A call is two questions: which servers, then what to do with them and their sessions. DRAIN is
 * RUNNING while there are sessions; asking again is safe. UNDRAIN ends a drain and nothing else: a
 * server that somebody has put into maintenance stays there. Rules: docs/outside.md. */
#include "agent/shell/outside_job.h"

#include <inttypes.h>
#include <stdio.h>

#define ANSWER_MAX (8UL * 1024 * 1024) /* "show stat" of some 10,000 servers */

static void on_answer(void *user, const struct err *err, const struct strbuf *answer);

static void ask(struct outside_job *job, const char *text)
{
    struct text_call_spec spec = {
        .place = job->call.target.place,
        .text = text,
        .timeout_ms = job->call.timeout_ms,
        .answer_size_max = ANSWER_MAX,
        .done = on_answer,
        .user = job,
    };
    job->text = text_call_start(job->host->loop, &spec);
}

static int hear_servers(struct outside_job *job, const struct strbuf *answer, struct err *err)
{
    int code = haproxy_find_servers(&job->servers, strbuf_text(answer), answer->len,
                                    &job->call.address, err);
    if (code != 0) {
        return code;
    }
    bool is_known = job->servers.count > 0;
    if (job->call.action == OUTSIDE_UNDRAIN) {
        haproxy_keep_drained(&job->servers);
    }
    if (job->servers.count == 0) {
        struct outside_answer nothing = {.state = is_known ? OUTSIDE_DONE : OUTSIDE_UNKNOWN,
                                         .percent = -1};
        outside_job_end(job, &nothing);
        return 0;
    }
    struct strbuf commands = {0};
    job->has_servers = true;
    haproxy_add_commands(&job->servers, job->call.action == OUTSIDE_DRAIN, &commands);
    ask(job, strbuf_text(&commands));
    strbuf_release(&commands);
    return 0;
}

static int hear_sessions(struct outside_job *job, const struct strbuf *answer, struct err *err)
{
    int64_t sessions = 0;
    int code =
        haproxy_read_sessions(&job->servers, strbuf_text(answer), answer->len, &sessions, err);
    if (code != 0) {
        return code;
    }
    bool is_draining = job->call.action == OUTSIDE_DRAIN && sessions > 0;
    struct outside_answer told = {.state = is_draining ? OUTSIDE_RUNNING : OUTSIDE_DONE,
                                  .is_maybe_received = true,
                                  .percent = -1};
    if (is_draining) {
        (void)snprintf(told.message, sizeof(told.message), "%" PRId64 " sessions are left",
                       sessions);
    }
    outside_job_end(job, &told);
    return 0;
}

static void on_answer(void *user, const struct err *err, const struct strbuf *answer)
{
    struct outside_job *job = user;
    struct err failure = *err;
    job->text = NULL;
    int code = err->code;
    if (code == 0) {
        code = job->has_servers ? hear_sessions(job, answer, &failure)
                                : hear_servers(job, answer, &failure);
    }
    if (code != 0) {
        bool is_passing = code == ERR_UNAVAILABLE || code == ERR_TIMEOUT;
        outside_job_fail(job, code, failure.text, is_passing, job->has_servers);
    }
}

void outside_haproxy_start(struct outside_job *job)
{
    ask(job, "show servers state\n");
}
