/* schedule.h — virtual time: what will happen, in order of time and then of creation.
 *
 * The heart of the simulator: nothing happens except by a happening taken off this heap, so one
 * seed decides all. It knows nothing of Redis, stores or cores. Time is in microseconds from 0 so
 * that thousands of exchanges fit into one virtual second; cores see now_us / 1000. */
#ifndef DROVER_SIM_SCHEDULE_H
#define DROVER_SIM_SCHEDULE_H

#include <stdbool.h>
#include <stdint.h>

#define MS_US INT64_C(1000)
#define SECOND_US INT64_C(1000000)

struct happening {
    int64_t at_us;
    uint64_t sequence;                   /* set by schedule_add(): breaks ties by creation */
    void (*run)(struct happening *what); /* may take 'data' over by setting it to NULL */
    void (*release)(
        void *data); /* for data that run() left or that never ran; NULL = nothing to free */
    void *owner;     /* whose it is; not owned */
    void *data;      /* owned until run() takes it */
    int from;
    int to;
    uint64_t tag; /* e.g. the process number it was meant for */
};

struct schedule {
    struct happening *heap; /* owned */
    int count;
    int capacity;
    int64_t now_us;
    uint64_t next_sequence;
    uint64_t ran; /* happenings so far */
};

void schedule_release(struct schedule *schedule);
/* Adds 'what' at now + delay_us (>= 0). */
void schedule_add(struct schedule *schedule, int64_t delay_us, const struct happening *what);
/* Runs the next happening and moves the time to it. False when there is none at or before until_us;
 * then the time is until_us. */
bool schedule_step(struct schedule *schedule, int64_t until_us);
int64_t schedule_now_ms(const struct schedule *schedule);

#endif
