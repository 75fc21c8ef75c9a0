/* outside_exec.c — a provisioner or drain hook that is a program: request on its standard input,
 * answers a line each. Rules: docs/outside.md. */
#include "agent/shell/outside_job.h"
#include "agent/shell/outside_json.h"

#include <stdio.h>

static bool is_final(const struct outside_answer *answer)
{
    return (int)answer->state != 0 && answer->state != OUTSIDE_RUNNING;
}

/* Lines that are no answer are the talk of whatever the program runs. A final answer counts once
 * the program has ended. */
static void on_line(void *user, const char *line, size_t len)
{
    struct outside_job *job = user;
    struct outside_answer answer;
    if (job->is_dropped || job->answer.is_over) {
        return;
    }
    if (len > OUTSIDE_LINE_MAX) {
        outside_job_fail(job, ERR_LIMIT, "wrote a line that is longer than 64 KiB", false, true);
    } else if (outside_json_answer(line, len, &answer, NULL) != 0) {
        return;
    } else if (is_final(&answer)) {
        job->answer = answer;
        job->has_news = false;
    } else {
        outside_job_tell(job, &answer);
    }
}

static void on_end(void *user, const struct err *err, const char *output)
{
    (void)output;
    struct outside_job *job = user;
    struct outside_answer *answer = &job->answer;
    job->process = NULL;
    if (answer->is_over) {
        return;
    }
    bool has_said_failed = answer->state == OUTSIDE_FAILED;
    if (err->code == ERR_TIMEOUT || err->code == ERR_LIMIT) {
        outside_job_fail(job, err->code, err->text, err->code == ERR_TIMEOUT, true);
    } else if (has_said_failed) {
        char why[TEXT_SIZE];
        (void)snprintf(why, sizeof(why), "%s",
                       answer->message[0] != '\0' ? answer->message : "failed without a word why");
        outside_job_fail(job, answer->is_retryable ? ERR_UNAVAILABLE : ERR_REFUSED, why,
                         answer->is_retryable, true);
    } else if (err->code != 0) {
        outside_job_fail(job, ERR_UNAVAILABLE, err->text, true, true);
    } else if (is_final(answer)) {
        outside_job_end(job, answer);
    } else {
        outside_job_fail(job, ERR_PROTOCOL, "ended without a final answer", true, true);
    }
}

void outside_exec_start(struct outside_job *job)
{
    struct strbuf request = {0};
    struct err err;
    const char *argv[] = {job->call.target.place, NULL};
    outside_json_request(&job->call, &request);
    struct process_spec spec = {
        .argv = argv,
        .input = request.data,
        .input_size = request.len,
        .timeout_ms = job->call.timeout_ms,
        .on_line = on_line,
        .on_end = on_end,
        .user = job,
    };
    job->process = process_run(job->host->loop, &spec, &err);
    strbuf_release(&request);
    if (job->process == NULL) {
        outside_job_fail(job, ERR_CONFIG, err.text, false, false);
    }
}
