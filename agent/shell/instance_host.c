/* instance_host.c — see instance_host.h. What is looked up: instance_facts.c. */
#include "agent/shell/instance_host.h"

#include "agent/shell/instance_facts.h"
#include "common/base/alloc.h"
#include "common/base/check.h"
#include "common/io/clock.h"
#include "common/io/file_state.h"
#include "common/io/process.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "common/base/banned.h" /* last: system headers may use what it bans */

#define SYSTEMCTL_MS 60000 /* a unit that does not stop is killed by systemd before that */

/* One call on its way. */
struct job {
    struct job *next;
    struct instance_host *host;
    uint64_t req_id;
    struct host_call call; /* without its text */
    struct process *process;
    bool is_finished;
    struct err err;
};

struct instance_host {
    char *folder;
    char *programs[FLAVOR_VALKEY + 1];
    struct loop *loop;
    struct loop_timer *timer; /* fires when a job is finished */
    struct job *jobs;         /* oldest first */
    void (*done)(void *user, struct agent_event *event);
    void *user;
};

static void finish(struct job *job)
{
    job->is_finished = true;
    loop_timer_set(job->host->timer, clock_now_ms());
}

static void fail_io(struct job *job, const char *what, const char *path)
{
    (void)err_set(&job->err, ERR_IO, "cannot %s %s: %s", what, path, strerror(errno));
}

/* --- the verbs -------------------------------------------------------------------------------- */

static void do_write(struct job *job, const char *folder, const struct strbuf *text)
{
    if (file_state_make_folder(folder, &job->err) != 0) {
        return;
    }
    char *path = xasprintf("%s/%s", folder, HOST_CONF_NAME);
    /* The error, if any, stays in the job. */
    (void)!file_state_write(path, strbuf_text(text), text->len, &job->err);
    free(path);
}

static void on_systemctl(void *user, const struct err *err, const char *output)
{
    (void)output;
    struct job *job = user;
    job->process = NULL;
    job->err = *err;
    finish(job);
}

/* Asks systemd; the job is finished when it has answered. */
static void ask_systemd(struct job *job, const char *verb, const char *unit)
{
    const char *argv[] = {"systemctl", "--no-ask-password", verb, unit, NULL};
    struct process_spec spec = {
        .argv = argv, .timeout_ms = SYSTEMCTL_MS, .on_end = on_systemctl, .user = job};
    job->process = process_run(job->host->loop, &spec, &job->err);
    if (job->process == NULL) {
        finish(job);
    }
}

static void launch_process(struct job *job, const char *folder)
{
    char *conf = xasprintf("%s/%s", folder, HOST_CONF_NAME);
    char *log = xasprintf("%s/%s", folder, HOST_LOG_NAME);
    const char *argv[] = {job->host->programs[job->call.flavor], conf, NULL};
    int64_t pid = 0;
    (void)!process_launch(argv, folder, log, &pid, &job->err);
    free(conf);
    free(log);
}

static void do_launch(struct job *job, const char *folder)
{
    if (instance_facts_pid(folder) != 0) {
        finish(job);
    } else if (job->call.is_unit) {
        char unit[HOST_UNIT_SIZE];
        (void)snprintf(unit, sizeof(unit), "drover-%s@%d.service",
                       job->call.flavor == FLAVOR_VALKEY ? "valkey" : "redis",
                       (int)job->call.address.port);
        ask_systemd(job, "start", unit);
    } else {
        launch_process(job, folder);
        finish(job);
    }
}

static void do_signal(struct job *job, const char *folder)
{
    int64_t pid = instance_facts_pid(folder);
    char unit[HOST_UNIT_SIZE];
    if (pid == 0) {
        finish(job);
    } else if (instance_facts_unit(pid, job->call.address.port, unit)) {
        ask_systemd(job, "stop", unit);
    } else {
        if (kill((pid_t)pid, job->call.is_kill ? SIGKILL : SIGTERM) != 0 && errno != ESRCH) {
            fail_io(job, "end the server of", folder);
        }
        finish(job);
    }
}

static void do_retire(struct job *job, const char *folder)
{
    char *shelf = xasprintf("%s/aside", job->host->folder);
    char *aside = xasprintf("%s/%s", shelf, job->call.aside);
    if (instance_facts_pid(folder) != 0) {
        (void)err_set(&job->err, ERR_REFUSED, "a server still runs in %s", folder);
    } else if (instance_facts_is_folder(folder)) {
        if (instance_facts_is_folder(aside)) {
            (void)err_set(&job->err, ERR_EXISTS, "%s is there already", aside);
        } else if (file_state_make_folder(shelf, &job->err) == 0 && rename(folder, aside) != 0) {
            fail_io(job, "put aside", folder);
        }
    }
    free(shelf);
    free(aside);
}

static void carry_out(struct job *job, const struct host_call *call)
{
    struct instance_host *host = job->host;
    char *folder = xasprintf("%s/%d", host->folder, (int)call->address.port);
    bool needs_server = call->verb != HOST_LOOK;
    if (host->folder[0] == '\0' || (needs_server && call->address.port == 0)) {
        (void)err_set(&job->err, ERR_REFUSED, "this agent starts and stops no servers");
        finish(job);
        free(folder);
        return;
    }
    switch (call->verb) {
    case HOST_LOOK:
        finish(job);
        break;
    case HOST_WRITE:
        do_write(job, folder, &call->text);
        finish(job);
        break;
    case HOST_LAUNCH:
        do_launch(job, folder);
        break;
    case HOST_SIGNAL:
        do_signal(job, folder);
        break;
    case HOST_RETIRE:
        do_retire(job, folder);
        finish(job);
        break;
    case HOST_OUTSIDE_START: /* outside_host.c */
    case HOST_OUTSIDE_CANCEL:
        UNREACHABLE("a call outside at the host's folders");
    }
    free(folder);
}

/* --- answers ---------------------------------------------------------------------------------- */

static struct job *take_finished(struct instance_host *host)
{
    for (struct job **at = &host->jobs; *at != NULL; at = &(*at)->next) {
        if ((*at)->is_finished) {
            struct job *job = *at;
            *at = job->next;
            return job;
        }
    }
    return NULL;
}

/* One answer a turn: the callback may submit more. */
static void on_timer(void *user)
{
    struct instance_host *host = user;
    struct job *job = take_finished(host);
    if (job == NULL) {
        return;
    }
    loop_timer_set(host->timer, clock_now_ms());
    struct host_facts facts = {0};
    if (host->folder[0] != '\0') {
        instance_facts_read(host->folder, &job->call, &facts);
    }
    struct agent_event event = {
        .kind = AGENT_HOST,
        .req_id = job->req_id,
        .code = job->err.code,
        .err = &job->err,
        .host_verb = job->call.verb,
        .host_of = &job->call.address,
        .facts = &facts,
    };
    host->done(host->user, &event);
    free(job);
}

void instance_host_submit(struct instance_host *host, uint64_t req_id, const struct host_call *call)
{
    struct job *job = xcalloc(1, sizeof(*job));
    job->host = host;
    job->req_id = req_id;
    job->call = *call;
    job->call.text = (struct strbuf){0};
    struct job **end = &host->jobs;
    while (*end != NULL) {
        end = &(*end)->next;
    }
    *end = job;
    carry_out(job, call);
}

/* --- life ------------------------------------------------------------------------------------- */

struct instance_host *instance_host_new(const struct instance_host_options *options,
                                        struct err *err)
{
    if (options->folder[0] != '\0') {
        if (options->folder[0] != '/') {
            (void)err_set(err, ERR_CONFIG, "the folder for servers, %s, is not an absolute path",
                          options->folder);
            return NULL;
        }
        if (file_state_make_folder(options->folder, err) != 0) {
            return NULL;
        }
    }
    struct instance_host *host = xcalloc(1, sizeof(*host));
    host->folder = xstrdup(options->folder);
    host->programs[FLAVOR_REDIS] =
        xstrdup(options->redis_program != NULL ? options->redis_program : "redis-server");
    host->programs[FLAVOR_VALKEY] =
        xstrdup(options->valkey_program != NULL ? options->valkey_program : "valkey-server");
    host->loop = options->loop;
    host->timer = loop_timer_new(options->loop, on_timer, host);
    host->done = options->done;
    host->user = options->user;
    return host;
}

void instance_host_free(struct instance_host *host)
{
    if (host == NULL) {
        return;
    }
    while (host->jobs != NULL) {
        struct job *job = host->jobs;
        host->jobs = job->next;
        process_cancel(job->process);
        free(job);
    }
    loop_timer_free(host->timer);
    free(host->programs[FLAVOR_REDIS]);
    free(host->programs[FLAVOR_VALKEY]);
    free(host->folder);
    free(host);
}
