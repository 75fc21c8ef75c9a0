/* redis_lane.h — one lane to one address: its connection, login, and the pipelines that wait for
 * answers.
 *
 * Internal to redis_link. A lane never runs a caller's callback itself: it puts finished jobs on
 * the pool's list, and the pool runs them from one place. */
#ifndef DROVER_IO_REDIS_LANE_H
#define DROVER_IO_REDIS_LANE_H

#include "common/base/strbuf.h"
#include "common/io/redis_link.h"
#include "common/io/redis_socket.h"

#include <stdbool.h>
#include <stdint.h>

/* One submitted pipeline. */
struct redis_job {
    struct redis_job *next;
    void (*done)(void *user, struct redis_result *result);
    void *user;
    int command_count;
    int64_t deadline_ms;
    int64_t start_us; /* submitted; from the write on: written */
    bool is_written;
    struct strbuf bytes; /* formatted, while it waits for the connection */
    struct redis_result result;
};

struct redis_jobs {
    struct redis_job *first;
    struct redis_job **last_next; /* where the next one is hooked in; NULL means &first */
    int count;
};

void redis_jobs_append(struct redis_jobs *jobs, struct redis_job *job);
struct redis_job *redis_jobs_take(struct redis_jobs *jobs); /* NULL when empty */
void redis_job_free(struct redis_job *job);

/* "host:port", or the path of a unix socket; 'text' holds ADDRESS_TEXT_SIZE bytes. */
const char *redis_address_name(const struct address *address, char *text);

/* What lanes share. */
struct redis_lane_owner {
    struct loop *loop;
    struct redis_socket_place place;
    struct strbuf user;     /* "" = the default user */
    struct strbuf password; /* "" = no AUTH; wiped when freed */
    struct strbuf client_name;
    int64_t connect_timeout_ms;
    int64_t idle_close_ms;
    int64_t reply_bytes_max;
    uint64_t connection_count;  /* ids handed out */
    struct redis_jobs finished; /* results are filled in; the pool runs their callbacks */
    bool has_unused_lane;       /* some lane closed: look for ones to free */
    void (*has_finished)(
        struct redis_lane_owner *owner); /* after each turn of a lane: drains 'finished' */
};

enum redis_lane_state {
    REDIS_LANE_CLOSED,     /* no socket */
    REDIS_LANE_CONNECTING, /* socket on its way; jobs wait */
    REDIS_LANE_LOGIN,      /* AUTH and SETNAME sent */
    REDIS_LANE_READY,
};

struct redis_lane {
    struct redis_lane *next_in_bucket; /* the pool's */
    struct redis_lane_owner *owner;
    struct address address;
    int number;
    enum redis_lane_state state;
    struct redis_socket *socket; /* owned */
    struct redis_reader *reader; /* owned; of this connection */
    uint64_t connection_id;      /* 0 while not READY */
    int64_t connect_deadline_ms;
    int64_t used_ms;          /* last time a job came or went */
    struct loop_timer *timer; /* armed for the nearest deadline or sooner */
    struct reply_list login;  /* answers to the login */
    int login_count;          /* answers expected */
    struct redis_jobs jobs;   /* in order; written ones first */
};

struct redis_lane *redis_lane_new(struct redis_lane_owner *owner,
                                  const struct address *address,
                                  int number);
/* The lane must have no jobs: redis_lane_fail() first. */
void redis_lane_free(struct redis_lane *lane);

/* Takes the job over; 'bytes' is its pipeline for the wire, emptied when the lane keeps it. */
void redis_lane_submit(struct redis_lane *lane, struct redis_job *job, struct strbuf *bytes);

/* Closes the connection; all jobs are finished with this error. */
void redis_lane_fail(struct redis_lane *lane, const struct err *err);

/* Nothing open, nothing waiting: may be freed. */
bool redis_lane_is_unused(const struct redis_lane *lane);

#endif
