/* redis_lane.c — see redis_lane.h.
 *
 *            submit              connected           +OK            EOF, error, timeout, idle
 *   closed ----------> connecting ---------> login -------> ready ---------------------------->
 * closed |  without a login ------------>-^
 *                          +--- refused, too late: every waiting job fails, none was sent --->
 * closed
 *
 * A timeout of a written job closes the connection: later answers could not be told apart any more.
 */
#include "common/io/redis_lane.h"

#include "common/base/alloc.h"
#include "common/base/check.h"
#include "common/io/clock.h"
#include "common/io/redis_format.h"
#include "common/io/redis_reader.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/banned.h" /* last: system headers may use what it bans */

static void lane_connect(struct redis_lane *lane);
static void lane_connected(void *user);
static void lane_received(void *user, const char *data, size_t size);
static void lane_socket_failed(void *user, const struct err *err);
static void lane_timer_fired(void *user);
static void lane_arm(struct redis_lane *lane);
static void lane_ready(struct redis_lane *lane);
static int lane_read_login(struct redis_lane *lane, struct err *err);
static int lane_read_jobs(struct redis_lane *lane, struct err *err);
static void lane_close_socket(struct redis_lane *lane);
static void job_finish(struct redis_lane *lane, struct redis_job *job, const struct err *err);

/* ---- jobs ---- */

void redis_jobs_append(struct redis_jobs *jobs, struct redis_job *job)
{
    if (jobs->first == NULL) {
        jobs->last_next = &jobs->first;
    }
    job->next = NULL;
    *jobs->last_next = job;
    jobs->last_next = &job->next;
    jobs->count++;
}

struct redis_job *redis_jobs_take(struct redis_jobs *jobs)
{
    struct redis_job *job = jobs->first;
    if (job != NULL) {
        jobs->first = job->next;
        job->next = NULL;
        jobs->count--;
    }
    return job;
}

void redis_job_free(struct redis_job *job)
{
    strbuf_release(&job->bytes);
    replies_release(&job->result.replies);
    free(job);
}

/* Fills the result and hands the job to the pool. 'err' NULL: it has all its answers. */
static void job_finish(struct redis_lane *lane, struct redis_job *job, const struct err *err)
{
    struct redis_result *result = &job->result;
    result->latency_us = clock_now_us() - job->start_us;
    if (err != NULL) {
        char name[ADDRESS_TEXT_SIZE];
        result->err = *err;
        result->code = err->code;
        result->may_have_run = job->is_written && result->replies.count < job->command_count;
        err_wrap(&result->err, "redis %s", redis_address_name(&lane->address, name));
    }
    redis_jobs_append(&lane->owner->finished, job);
}

const char *redis_address_name(const struct address *address, char *text)
{
    if (address->host[0] == '/') {
        (void)snprintf(text, ADDRESS_TEXT_SIZE, "%s", address->host);
        return text;
    }
    return address_format(address, text);
}

/* ---- the lane ---- */

struct redis_lane *redis_lane_new(struct redis_lane_owner *owner,
                                  const struct address *address,
                                  int number)
{
    struct redis_lane *lane = xcalloc(1, sizeof(*lane));
    lane->owner = owner;
    lane->address = *address;
    lane->number = number;
    lane->timer = loop_timer_new(owner->loop, lane_timer_fired, lane);
    return lane;
}

void redis_lane_free(struct redis_lane *lane)
{
    CHECK(lane->jobs.count == 0);
    lane_close_socket(lane);
    loop_timer_free(lane->timer);
    free(lane);
}

bool redis_lane_is_unused(const struct redis_lane *lane)
{
    return lane->socket == NULL && lane->jobs.count == 0;
}

static void job_write(struct redis_lane *lane, struct redis_job *job, const struct strbuf *bytes)
{
    job->is_written = true;
    job->start_us = clock_now_us();
    job->result.connection_id = lane->connection_id;
    redis_socket_write(lane->socket, bytes->data, bytes->len);
}

void redis_lane_submit(struct redis_lane *lane, struct redis_job *job, struct strbuf *bytes)
{
    lane->used_ms = clock_now_ms();
    redis_jobs_append(&lane->jobs, job);
    if (lane->state == REDIS_LANE_READY) {
        job_write(lane, job, bytes);
    } else {
        job->bytes = *bytes;
        *bytes = (struct strbuf){0};
        if (lane->state == REDIS_LANE_CLOSED) {
            lane_connect(lane);
        }
    }
    if (job->deadline_ms < loop_timer_deadline(lane->timer)) {
        loop_timer_set(lane->timer, job->deadline_ms);
    }
}

static void lane_close_socket(struct redis_lane *lane)
{
    redis_socket_close(lane->socket);
    lane->socket = NULL;
    redis_reader_free(lane->reader);
    lane->reader = NULL;
    replies_release(&lane->login);
    lane->connection_id = 0;
    lane->state = REDIS_LANE_CLOSED;
    lane->owner->has_unused_lane = true;
    loop_timer_set(lane->timer, NEVER);
}

void redis_lane_fail(struct redis_lane *lane, const struct err *err)
{
    struct err copy = *err; /* it may live in the socket */
    lane_close_socket(lane);
    struct redis_job *job = NULL;
    while ((job = redis_jobs_take(&lane->jobs)) != NULL) {
        job_finish(lane, job, &copy);
    }
}

static void lane_connect(struct redis_lane *lane)
{
    struct redis_lane_owner *owner = lane->owner;
    struct redis_socket_handler handler = {
        .connected = lane_connected,
        .received = lane_received,
        .failed = lane_socket_failed,
        .user = lane,
    };
    lane->state = REDIS_LANE_CONNECTING;
    lane->reader = redis_reader_new(owner->reply_bytes_max);
    lane->socket = redis_socket_new(&owner->place, &lane->address, &handler);
    lane->connect_deadline_ms = deadline_after(clock_now_ms(), owner->connect_timeout_ms);
    loop_timer_set(lane->timer, lane->connect_deadline_ms);
}

static void lane_socket_failed(void *user, const struct err *err)
{
    struct redis_lane *lane = user;
    redis_lane_fail(lane, err);
    lane->owner->has_finished(lane->owner);
}

/* ---- login ---- */

static void login_fill(const struct redis_lane_owner *owner, struct command_list *commands)
{
    if (owner->password.len > 0 && owner->user.len > 0) {
        commands_add(commands, "AUTH", strbuf_text(&owner->user), strbuf_text(&owner->password),
                     NULL);
    } else if (owner->password.len > 0) {
        commands_add(commands, "AUTH", strbuf_text(&owner->password), NULL);
    }
    if (owner->client_name.len > 0) {
        commands_add(commands, "CLIENT", "SETNAME", strbuf_text(&owner->client_name), NULL);
    }
}

static void lane_connected(void *user)
{
    struct redis_lane *lane = user;
    struct command_list commands = {0};
    login_fill(lane->owner, &commands);
    lane->login_count = commands.count;
    if (commands.count == 0) {
        lane_ready(lane);
        return;
    }
    struct strbuf out = {0};
    redis_format(&commands, &out);
    lane->state = REDIS_LANE_LOGIN;
    redis_socket_write(lane->socket, out.data, out.len);
    explicit_bzero(out.data, out.len); /* it may hold the password */
    explicit_bzero(commands.bytes.data, commands.bytes.len);
    strbuf_release(&out);
    commands_release(&commands);
}

static int login_err(const struct reply *reply, struct err *err)
{
    if (reply_contains(reply, "max number of clients")) {
        err_set(err, ERR_UNAVAILABLE, "the server takes no more clients: %.200s", reply->text);
        err_hint(err, "raise maxclients of that node");
        return ERR_UNAVAILABLE;
    }
    err_set(err, ERR_AUTH, "login refused: %.200s", reply->text);
    err_hint(err, "check the Redis user and password that drover is given, and the node's ACL");
    return ERR_AUTH;
}

/* 1 when the login is complete, 0 when answers are missing. */
static int lane_read_login(struct redis_lane *lane, struct err *err)
{
    while (lane->login.count < lane->login_count) {
        int rc = redis_reader_next(lane->reader, &lane->login, err);
        if (rc <= 0) {
            return rc;
        }
    }
    bool has_auth = lane->owner->password.len > 0;
    for (int i = 0; i < lane->login.count; i++) {
        const struct reply *reply = &lane->login.replies[i];
        /* A refused SETNAME costs only the name, unless it says that a login is missing. */
        bool is_fatal = (has_auth && i == 0) || reply_has_prefix(reply, "NOAUTH");
        if (reply_is_error(reply) && is_fatal) {
            return login_err(reply, err);
        }
    }
    return 1;
}

static void lane_ready(struct redis_lane *lane)
{
    replies_release(&lane->login);
    redis_reader_restart(lane->reader);
    lane->state = REDIS_LANE_READY;
    lane->connection_id = ++lane->owner->connection_count;
    for (struct redis_job *job = lane->jobs.first; job != NULL; job = job->next) {
        job_write(lane, job, &job->bytes);
        strbuf_release(&job->bytes);
    }
    lane_arm(lane);
}

/* ---- answers ---- */

static int lane_read_jobs(struct redis_lane *lane, struct err *err)
{
    while (lane->jobs.first != NULL) {
        struct redis_job *job = lane->jobs.first;
        int rc = redis_reader_next(lane->reader, &job->result.replies, err);
        if (rc <= 0) {
            return rc;
        }
        if (job->result.replies.count == job->command_count) {
            (void)redis_jobs_take(&lane->jobs);
            redis_reader_restart(lane->reader);
            lane->used_ms = clock_now_ms();
            job_finish(lane, job, NULL);
        }
    }
    return 0;
}

/* Bytes that answer no command: an error before a close says why the server closes. */
static int lane_read_unasked(struct redis_lane *lane, struct err *err)
{
    if (redis_reader_left(lane->reader) == 0) {
        return 0;
    }
    struct reply_list replies = {0};
    int rc = redis_reader_next(lane->reader, &replies, err);
    if (rc == 1 && reply_is_error(&replies.replies[0])) {
        rc = err_set(err, ERR_UNAVAILABLE, "the server says: %.200s", replies.replies[0].text);
    } else if (rc >= 0) {
        rc = err_set(err, ERR_PROTOCOL, "the server sent bytes that answer nothing");
    }
    replies_release(&replies);
    return rc;
}

static void lane_received(void *user, const char *data, size_t size)
{
    struct redis_lane *lane = user;
    struct err err = {0};
    int rc = redis_reader_feed(lane->reader, data, size, &err);
    if (rc == 0 && lane->state == REDIS_LANE_LOGIN) {
        rc = lane_read_login(lane, &err);
        if (rc == 1) {
            lane_ready(lane);
        }
    }
    if (rc >= 0 && lane->state == REDIS_LANE_READY) {
        rc = lane_read_jobs(lane, &err);
        if (rc == 0 && lane->jobs.first == NULL) {
            rc = lane_read_unasked(lane, &err);
        }
    }
    if (rc < 0) {
        redis_lane_fail(lane, &err);
    }
    lane->owner->has_finished(lane->owner);
}

/* ---- deadlines ---- */

static void lane_arm(struct redis_lane *lane)
{
    int64_t next_ms = NEVER;
    if (lane->state == REDIS_LANE_CONNECTING || lane->state == REDIS_LANE_LOGIN) {
        next_ms = lane->connect_deadline_ms;
    } else if (lane->state == REDIS_LANE_READY && lane->jobs.count == 0) {
        next_ms = deadline_after(lane->used_ms, lane->owner->idle_close_ms);
    }
    for (const struct redis_job *job = lane->jobs.first; job != NULL; job = job->next) {
        next_ms = deadline_min(next_ms, job->deadline_ms);
    }
    loop_timer_set(lane->timer, next_ms);
}

/* Takes overdue jobs out of the queue; true when one of them was written, so that the connection
 * must end. */
static bool lane_expire_jobs(struct redis_lane *lane, int64_t now_ms)
{
    bool has_written = false;
    struct redis_jobs kept = {0};
    struct redis_job *job = NULL;
    while ((job = redis_jobs_take(&lane->jobs)) != NULL) {
        if (job->deadline_ms > now_ms) {
            redis_jobs_append(&kept, job);
            continue;
        }
        has_written = has_written || job->is_written;
        struct err err = {0};
        if (job->is_written) {
            err_set(&err, ERR_TIMEOUT, "no answer within %lld ms (%d of %d answers came)",
                    (long long)((clock_now_us() - job->start_us) / 1000), job->result.replies.count,
                    job->command_count);
        } else {
            err_set(&err, ERR_TIMEOUT, "not connected within %lld ms",
                    (long long)((clock_now_us() - job->start_us) / 1000));
        }
        job_finish(lane, job, &err);
    }
    while ((job = redis_jobs_take(&kept)) != NULL) {
        redis_jobs_append(&lane->jobs, job);
    }
    return has_written;
}

static void lane_timer_fired(void *user)
{
    struct redis_lane *lane = user;
    int64_t now_ms = clock_now_ms();
    struct err err = {0};
    if (lane_expire_jobs(lane, now_ms)) {
        err_set(&err, ERR_UNAVAILABLE,
                "the connection was closed because an earlier command got no answer in time");
        redis_lane_fail(lane, &err);
    } else if (lane->state != REDIS_LANE_READY && lane->state != REDIS_LANE_CLOSED &&
               now_ms >= lane->connect_deadline_ms) {
        err_set(&err, ERR_UNAVAILABLE, "not connected within %lld ms",
                (long long)lane->owner->connect_timeout_ms);
        err_hint(&err, "check that the node runs and that no firewall is between");
        redis_lane_fail(lane, &err);
    } else if (lane->state == REDIS_LANE_READY && lane->jobs.count == 0 &&
               now_ms - lane->used_ms >= lane->owner->idle_close_ms) {
        lane_close_socket(lane);
    } else {
        lane_arm(lane);
    }
    lane->owner->has_finished(lane->owner);
}
