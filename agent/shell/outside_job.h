/* outside_job.h — one call of a provisioner or drain hook on its way. Internal to outside_host.c
 * and the three ways to call: outside_exec.c, outside_webhook.c, outside_haproxy.c. */
#ifndef DROVER_AGENT_SHELL_OUTSIDE_JOB_H
#define DROVER_AGENT_SHELL_OUTSIDE_JOB_H

#include "agent/core/haproxy_text.h"
#include "agent/shell/outside_host.h"
#include "common/io/http_client.h"
#include "common/io/process.h"
#include "common/io/text_call.h"

#define OUTSIDE_LINE_MAX (64UL * 1024)   /* of a program's answer */
#define OUTSIDE_BODY_MAX (1024UL * 1024) /* of a webhook's answer */

struct outside_job {
    struct outside_job *next;
    struct outside_host *host;
    uint64_t req_id;
    struct outside_call call;
    struct outside_answer answer; /* the last one */
    struct err err;               /* with a FAILED one */
    bool has_news;                /* the answer is to be given */
    bool is_dropped;              /* to be ended without an answer */
    /* One of them; NULL before and after. */
    struct process *process;
    struct http_call *http;
    struct text_call *text;
    struct haproxy_servers servers;
    bool has_servers;
};

struct outside_host {
    struct loop *loop;
    struct http_client *http; /* made at the first call of a webhook */
    struct loop_timer *timer; /* fires when an answer is to be given or a job to be ended */
    struct outside_job *jobs; /* oldest first */
    char *webhook_token;      /* owned; NULL = none */
    char *webhook_ca;         /* owned; NULL = the system's */
    void (*done)(void *user, struct agent_event *event);
    void *user;
};

/* The three ways; each ends in outside_job_end() or outside_job_fail(), perhaps at once. */
void outside_exec_start(struct outside_job *job);
void outside_webhook_start(struct outside_job *job);
void outside_haproxy_start(struct outside_job *job);

/* The answer is told from the loop soon; an older one that was not told yet is forgotten. */
void outside_job_tell(struct outside_job *job, const struct outside_answer *answer);
/* The same for the last answer. */
void outside_job_end(struct outside_job *job, const struct outside_answer *answer);
/* The last answer is FAILED; code is not 0. */
void outside_job_fail(struct outside_job *job,
                      int code,
                      const char *why,
                      bool is_retryable,
                      bool is_maybe_received);

#endif
