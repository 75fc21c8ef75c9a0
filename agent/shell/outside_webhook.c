/* outside_webhook.c — a provisioner or drain hook behind a URL: one POST a call, JSON both ways.
 * Rules: docs/outside.md. */
#include "agent/shell/outside_job.h"
#include "agent/shell/outside_json.h"
#include "common/base/alloc.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CONNECT_MS 10000
#define HTTP_TOO_MANY 429
#define HTTP_TIMEOUT 408

static void hear_failure(struct outside_job *job, const struct http_response *response)
{
    int code = response->code;
    bool is_hopeless = code == ERR_AUTH || code == ERR_INVALID || code == ERR_LIMIT;
    outside_job_fail(job, code, response->err.text, !is_hopeless, response->is_maybe_received);
}

static void hear_status(struct outside_job *job, const struct http_response *response)
{
    struct outside_answer said = {0};
    char why[TEXT_SIZE];
    bool has_said =
        outside_json_answer(strbuf_text(&response->body), response->body.len, &said, NULL) == 0 &&
        said.message[0] != '\0';
    bool is_passing = response->status >= 500 || response->status == HTTP_TOO_MANY ||
                      response->status == HTTP_TIMEOUT;
    (void)snprintf(why, sizeof(why), "HTTP status %ld%s%.120s", response->status,
                   has_said ? ": " : "", has_said ? said.message : "");
    outside_job_fail(job, is_passing ? ERR_UNAVAILABLE : ERR_REFUSED, why, is_passing, is_passing);
}

static void hear_body(struct outside_job *job, const struct http_response *response)
{
    struct outside_answer answer;
    struct err err;
    if (outside_json_answer(strbuf_text(&response->body), response->body.len, &answer, &err) != 0) {
        outside_job_fail(job, ERR_PROTOCOL, err.text, false, true);
    } else if (answer.state == OUTSIDE_FAILED) {
        outside_job_fail(job, answer.is_retryable ? ERR_UNAVAILABLE : ERR_REFUSED,
                         answer.message[0] != '\0' ? answer.message : "failed without a word why",
                         answer.is_retryable, true);
    } else {
        outside_job_end(job, &answer);
    }
}

static void on_done(void *user, struct http_response *response)
{
    struct outside_job *job = user;
    job->http = NULL;
    if (response->code != 0) {
        hear_failure(job, response);
    } else if (response->status < 200 || response->status > 299) {
        hear_status(job, response);
    } else {
        hear_body(job, response);
    }
}

void outside_webhook_start(struct outside_job *job)
{
    struct outside_host *host = job->host;
    struct strbuf body = {0};
    char *bearer = host->webhook_token == NULL
                       ? NULL
                       : xasprintf("Authorization: Bearer %s", host->webhook_token);
    if (host->http == NULL) {
        host->http = http_client_new(loop_uv(host->loop));
    }
    outside_json_request(&job->call, &body);
    struct http_request request = {
        .method = "POST",
        .url = job->call.target.place,
        .headers = {"Content-Type: application/json", bearer},
        .body = body.data,
        .body_size = body.len,
        .timeout_ms = job->call.timeout_ms,
        .connect_timeout_ms = job->call.timeout_ms < CONNECT_MS ? job->call.timeout_ms : CONNECT_MS,
        .response_size_max = OUTSIDE_BODY_MAX,
        .ca_file = host->webhook_ca,
        .done = on_done,
        .user = job,
    };
    job->http = http_client_start(host->http, &request);
    strbuf_release(&body);
    if (bearer != NULL) {
        explicit_bzero(bearer, strlen(bearer));
    }
    free(bearer);
}
