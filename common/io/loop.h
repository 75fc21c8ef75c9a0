/* loop.h — the one event loop of a daemon: callbacks, timers, signals and work handed over by other
 * threads.
 *
 * A thin layer over libuv. Every function is for the loop's thread, save loop_post(), which any
 * thread may call. Callbacks run on the loop's thread, one at a time. Timers count CLOCK_BOOTTIME
 * (clock.h), so a machine that wakes from suspend sees overdue deadlines at once. */
#ifndef DROVER_IO_LOOP_H
#define DROVER_IO_LOOP_H

#include "common/base/clocktype.h"
#include "common/base/err.h"

#include <stdbool.h>
#include <stdint.h>

struct loop;
struct loop_timer;
struct loop_signal;
struct uv_loop_s;

/* A new loop; SIGPIPE is ignored in the process from now on. ERR_IO when the system gives no
 * descriptors. */
struct loop *loop_new(struct err *err);

/* Ends the loop. Whatever else lives on it (pools, servers, timers, signals) must have been freed
 * before; what these left closing is waited for here. Posts that have not run yet run here. NULL is
 * legal. */
void loop_free(struct loop *loop);

/* Runs callbacks until loop_stop(). */
void loop_run(struct loop *loop);
/* Makes loop_run() return after the present callback; before loop_run() it makes it return at once.
 */
void loop_stop(struct loop *loop);
/* One turn: waits for work at most wait_ms (>= 0), runs what is ready, returns. For tests and for
 * closing down. */
void loop_turn(struct loop *loop, int64_t wait_ms);

/* Any thread: runs function(user) on the loop's thread later, in the order of the posts. Every post
 * runs exactly once, at the latest inside loop_free(). The caller sees to it that nobody posts once
 * loop_free() has begun. */
void loop_post(struct loop *loop, void (*function)(void *user), void *user);

/* A timer that is not armed. */
struct loop_timer *loop_timer_new(struct loop *loop, void (*fired)(void *user), void *user);
/* Arms or re-arms: fires once when clock_now_ms() >= deadline_ms, never from inside this call.
 * NEVER disarms. */
void loop_timer_set(struct loop_timer *timer, int64_t deadline_ms);
/* The deadline it is armed for, NEVER when it is not. */
int64_t loop_timer_deadline(const struct loop_timer *timer);
/* May be called from the timer's own callback. NULL is legal. */
void loop_timer_free(struct loop_timer *timer);

/* Calls 'caught' on the loop for each signal of that number (several may be merged). NULL and 'err'
 * on failure. */
struct loop_signal *loop_signal_new(struct loop *loop,
                                    int number,
                                    void (*caught)(void *user, int number),
                                    void *user,
                                    struct err *err);
void loop_signal_free(struct loop_signal *handle);

/* For the other files of common/io only. */
struct uv_loop_s *loop_uv(struct loop *loop);

#endif
