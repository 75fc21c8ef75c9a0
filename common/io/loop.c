/* loop.c — see loop.h.
 *
 * Timers are a binary heap over one timerfd of CLOCK_BOOTTIME, because libuv's own timers stand
 * still while the machine is suspended. libuv memory is ours again only in the close callback:
 * handles that are freed one by one are freed there. */
#include "common/io/loop.h"

#include "common/base/alloc.h"
#include "common/base/check.h"
#include "common/io/clock.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/timerfd.h>
#include <unistd.h>
#include <uv.h>

#include "common/base/banned.h" /* last: system headers may use what it bans */

struct post {
    void (*function)(void *user);
    void *user;
};

struct loop_timer {
    struct loop *loop;
    void (*fired)(void *user);
    void *user;
    int64_t deadline_ms;
    uint64_t sequence; /* of the arming; ties fire in that order */
    int heap_index;    /* -1: not armed */
};

struct loop_signal {
    uv_signal_t handle;
    void (*caught)(void *user, int number);
    void *user;
};

struct loop {
    uv_loop_t uv;
    uv_async_t async;     /* wakes the loop for posts */
    uv_prepare_t prepare; /* sets the timerfd before the loop sleeps */
    uv_poll_t poll;       /* of the timerfd */
    int timer_fd;
    bool is_stopping;

    struct loop_timer **heap; /* owned array of pointers that are not */
    int heap_count;
    int heap_capacity;
    int64_t armed_ms; /* what the timerfd is set to; NEVER: not set */
    uint64_t sequence;
    int timer_count; /* that exist, armed or not */

    pthread_mutex_t mutex; /* for what follows */
    struct post *posts;
    int post_count;
    int post_capacity;
    bool
        has_async; /* false once the loop is being freed: posts are then collected without waking */
};

static void heap_put(struct loop *loop, int index, struct loop_timer *timer);
static void heap_up(struct loop *loop, int index);
static void heap_down(struct loop *loop, int index);
static void heap_remove(struct loop *loop, struct loop_timer *timer);
static void posts_run(struct loop *loop);
static void posts_run_once(struct loop *loop);
static void async_woken(uv_async_t *handle);
static void prepare_called(uv_prepare_t *handle);
static void timer_fd_readable(uv_poll_t *handle, int status, int events);
static void handle_must_be_closing(uv_handle_t *handle, void *user);

struct loop *loop_new(struct err *err)
{
    (void)signal(SIGPIPE, SIG_IGN);
    struct loop *loop = xcalloc(1, sizeof(*loop));
    loop->armed_ms = NEVER;
    loop->timer_fd = timerfd_create(CLOCK_BOOTTIME, TFD_NONBLOCK | TFD_CLOEXEC);
    if (loop->timer_fd < 0) {
        err_set(err, ERR_IO, "cannot make a timer: %s", strerror(errno));
        free(loop);
        return NULL;
    }
    int rc = uv_loop_init(&loop->uv);
    if (rc != 0) {
        err_set(err, ERR_IO, "cannot make an event loop: %s", uv_strerror(rc));
        err_hint(err, "raise the limit of open files (ulimit -n)");
        (void)close(loop->timer_fd);
        free(loop);
        return NULL;
    }
    loop->uv.data = loop;
    CHECK(pthread_mutex_init(&loop->mutex, NULL) == 0);
    CHECK(uv_async_init(&loop->uv, &loop->async, async_woken) == 0);
    loop->has_async = true;
    CHECK(uv_prepare_init(&loop->uv, &loop->prepare) == 0);
    CHECK(uv_prepare_start(&loop->prepare, prepare_called) == 0);
    CHECK(uv_poll_init(&loop->uv, &loop->poll, loop->timer_fd) == 0);
    CHECK(uv_poll_start(&loop->poll, UV_READABLE, timer_fd_readable) == 0);
    return loop;
}

void loop_free(struct loop *loop)
{
    if (loop == NULL) {
        return;
    }
    CHECK(pthread_mutex_lock(&loop->mutex) == 0);
    loop->has_async = false;
    CHECK(pthread_mutex_unlock(&loop->mutex) == 0);
    posts_run(loop);
    uv_close((uv_handle_t *)&loop->async, NULL);
    uv_close((uv_handle_t *)&loop->prepare, NULL);
    uv_close((uv_handle_t *)&loop->poll, NULL);
    uv_walk(&loop->uv, handle_must_be_closing, NULL);
    (void)uv_run(&loop->uv, UV_RUN_DEFAULT);
    posts_run(loop);
    CHECK(uv_loop_close(&loop->uv) == 0);
    CHECK(loop->timer_count == 0);
    (void)close(loop->timer_fd);
    (void)pthread_mutex_destroy(&loop->mutex);
    free(loop->heap);
    free(loop->posts);
    free(loop);
}

void loop_run(struct loop *loop)
{
    while (!loop->is_stopping) {
        (void)uv_run(&loop->uv, UV_RUN_ONCE);
    }
    loop->is_stopping = false;
}

void loop_stop(struct loop *loop)
{
    loop->is_stopping = true;
}

static void turn_is_over(void *user)
{
    (void)user; /* waking the loop is all it is for */
}

void loop_turn(struct loop *loop, int64_t wait_ms)
{
    CHECK(wait_ms >= 0);
    if (wait_ms == 0) {
        prepare_called(&loop->prepare);
        (void)uv_run(&loop->uv, UV_RUN_NOWAIT);
        return;
    }
    struct loop_timer *timer = loop_timer_new(loop, turn_is_over, NULL);
    loop_timer_set(timer, deadline_after(clock_now_ms(), wait_ms));
    (void)uv_run(&loop->uv, UV_RUN_ONCE);
    loop_timer_free(timer);
}

void loop_post(struct loop *loop, void (*function)(void *user), void *user)
{
    CHECK(pthread_mutex_lock(&loop->mutex) == 0);
    ARRAY_RESERVE(loop->posts, loop->post_count, loop->post_capacity);
    loop->posts[loop->post_count++] = (struct post){.function = function, .user = user};
    if (loop->post_count == 1 && loop->has_async) { /* later ones are taken by the same wake-up */
        CHECK(uv_async_send(&loop->async) == 0);
    }
    CHECK(pthread_mutex_unlock(&loop->mutex) == 0);
}

struct loop_timer *loop_timer_new(struct loop *loop, void (*fired)(void *user), void *user)
{
    struct loop_timer *timer = xcalloc(1, sizeof(*timer));
    *timer = (struct loop_timer){
        .loop = loop, .fired = fired, .user = user, .deadline_ms = NEVER, .heap_index = -1};
    loop->timer_count++;
    return timer;
}

void loop_timer_set(struct loop_timer *timer, int64_t deadline_ms)
{
    struct loop *loop = timer->loop;
    if (timer->heap_index >= 0) {
        heap_remove(loop, timer);
    }
    timer->deadline_ms = deadline_ms;
    if (deadline_ms == NEVER) {
        return;
    }
    timer->sequence = ++loop->sequence;
    ARRAY_RESERVE(loop->heap, loop->heap_count,
                  loop->heap_capacity); /* NOLINT(bugprone-sizeof-expression) */
    heap_put(loop, loop->heap_count++, timer);
    heap_up(loop, timer->heap_index);
}

int64_t loop_timer_deadline(const struct loop_timer *timer)
{
    return timer->deadline_ms;
}

void loop_timer_free(struct loop_timer *timer)
{
    if (timer == NULL) {
        return;
    }
    loop_timer_set(timer, NEVER);
    timer->loop->timer_count--;
    free(timer);
}

static void signal_caught(uv_signal_t *handle, int number)
{
    struct loop_signal *owner = handle->data;
    owner->caught(owner->user, number);
}

struct loop_signal *loop_signal_new(struct loop *loop,
                                    int number,
                                    void (*caught)(void *user, int number),
                                    void *user,
                                    struct err *err)
{
    struct loop_signal *owner = xcalloc(1, sizeof(*owner));
    owner->caught = caught;
    owner->user = user;
    owner->handle.data = owner;
    CHECK(uv_signal_init(&loop->uv, &owner->handle) == 0);
    int rc = uv_signal_start(&owner->handle, signal_caught, number);
    if (rc != 0) {
        err_set(err, ERR_INVALID, "cannot watch for signal %d: %s", number, uv_strerror(rc));
        loop_signal_free(owner);
        return NULL;
    }
    return owner;
}

static void signal_closed(uv_handle_t *handle)
{
    free(handle->data);
}

void loop_signal_free(struct loop_signal *handle)
{
    if (handle != NULL) {
        uv_close((uv_handle_t *)&handle->handle, signal_closed);
    }
}

struct uv_loop_s *loop_uv(struct loop *loop)
{
    return &loop->uv;
}

/* ---- posts ---- */

/* Runs what is there now; when the loop is being freed (and nobody else posts any more) everything.
 */
static void posts_run(struct loop *loop)
{
    do {
        posts_run_once(loop);
    } while (!loop->has_async && loop->post_count > 0);
}

static void posts_run_once(struct loop *loop)
{
    CHECK(pthread_mutex_lock(&loop->mutex) == 0);
    struct post *posts = loop->posts;
    int count = loop->post_count;
    loop->posts = NULL;
    loop->post_count = 0;
    loop->post_capacity = 0;
    CHECK(pthread_mutex_unlock(&loop->mutex) == 0);
    for (int i = 0; i < count; i++) {
        posts[i].function(posts[i].user);
    }
    free(posts);
}

static void async_woken(uv_async_t *handle)
{
    posts_run(handle->loop->data);
}

static void handle_must_be_closing(uv_handle_t *handle, void *user)
{
    (void)user;
    CHECK(uv_is_closing(handle)); /* else its owner was not freed, and the loop would never end */
}

/* ---- timers ---- */

static bool is_before(const struct loop_timer *a, const struct loop_timer *b)
{
    if (a->deadline_ms != b->deadline_ms) {
        return a->deadline_ms < b->deadline_ms;
    }
    return a->sequence < b->sequence;
}

static void heap_put(struct loop *loop, int index, struct loop_timer *timer)
{
    loop->heap[index] = timer;
    timer->heap_index = index;
}

static void heap_up(struct loop *loop, int index)
{
    struct loop_timer *timer = loop->heap[index];
    while (index > 0 && is_before(timer, loop->heap[(index - 1) / 2])) {
        heap_put(loop, index, loop->heap[(index - 1) / 2]);
        index = (index - 1) / 2;
    }
    heap_put(loop, index, timer);
}

static void heap_down(struct loop *loop, int index)
{
    struct loop_timer *timer = loop->heap[index];
    for (;;) {
        int child = 2 * index + 1;
        if (child >= loop->heap_count) {
            break;
        }
        if (child + 1 < loop->heap_count && is_before(loop->heap[child + 1], loop->heap[child])) {
            child++;
        }
        if (!is_before(loop->heap[child], timer)) {
            break;
        }
        heap_put(loop, index, loop->heap[child]);
        index = child;
    }
    heap_put(loop, index, timer);
}

static void heap_remove(struct loop *loop, struct loop_timer *timer)
{
    int index = timer->heap_index;
    CHECK(loop->heap[index] == timer);
    timer->heap_index = -1;
    struct loop_timer *last = loop->heap[--loop->heap_count];
    if (last == timer) {
        return;
    }
    heap_put(loop, index, last);
    heap_up(loop, index);
    heap_down(loop, last->heap_index);
}

static void prepare_called(uv_prepare_t *handle)
{
    struct loop *loop = handle->loop->data;
    int64_t next_ms = loop->heap_count > 0 ? loop->heap[0]->deadline_ms : NEVER;
    if (next_ms >= loop->armed_ms) {
        return; /* waking too early costs less than setting the timer each turn */
    }
    struct itimerspec at = {0};
    if (next_ms > 0) {
        at.it_value.tv_sec = (time_t)(next_ms / 1000);
        at.it_value.tv_nsec = (long)(next_ms % 1000) * 1000000L;
    } else {
        at.it_value.tv_nsec = 1; /* all zero would disarm */
    }
    CHECK(timerfd_settime(loop->timer_fd, TFD_TIMER_ABSTIME, &at, NULL) == 0);
    loop->armed_ms = next_ms;
}

static void timer_fd_readable(uv_poll_t *handle, int status, int events)
{
    (void)status;
    (void)events;
    struct loop *loop = handle->loop->data;
    uint64_t ticks = 0;
    (void)!read(loop->timer_fd, &ticks, sizeof(ticks)); /* the clock is asked below */
    loop->armed_ms = NEVER;
    int64_t now_ms = clock_now_ms();
    uint64_t last_sequence = loop->sequence;
    while (loop->heap_count > 0) {
        struct loop_timer *timer = loop->heap[0];
        if (timer->deadline_ms > now_ms || timer->sequence > last_sequence) {
            break; /* one armed by a callback waits for the next turn, so that descriptors get
                      theirs */
        }
        heap_remove(loop, timer);
        timer->deadline_ms = NEVER;
        timer->fired(timer->user);
    }
}
