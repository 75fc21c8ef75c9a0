/* jobs.h — runs a numbered list of small command sequences through the cluster as fast as it
 * answers.
 *
 * Closed loop with a bounded window; used to fill, to verify and to read back. Failures that the
 * cluster could not repeat away restart the job from its first step. */
#ifndef DROVER_LOAD_JOBS_H
#define DROVER_LOAD_JOBS_H

#include "bench/load/cluster.h"

struct jobs {
    struct cluster *cluster;
    uint64_t count;       /* jobs 0..count-1 */
    size_t job_bytes_max; /* the larger of a typical command and reply; bounds the window */
    bool progress;        /* a line a second on stderr */
    const char *title;    /* of that line */
    void *user;
    /* Writes the command of a step and its key's slot; false when the job has no such step. */
    bool (
        *step)(void *user, uint64_t number, unsigned step, struct strbuf *command, uint16_t *slot);
    /* Takes a reply (may be an error reply) to what was asked at asked_ms of the wall clock; true
     * if the job goes on to its next step, false if it ends here. */
    bool (*answer)(void *user,
                   uint64_t number,
                   unsigned step,
                   const struct redisReply *reply,
                   int64_t asked_ms);
    /* A job could not be finished, however often it was tried. */
    void (*failed)(void *user, uint64_t number);
};

/* Runs all jobs; returns when the last has ended or c->stopped is set and no request is in flight.
 */
void jobs_run(const struct jobs *jobs);

#endif
