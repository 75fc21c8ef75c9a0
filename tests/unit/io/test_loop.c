/* test_loop.c — timers in order and on time, posts from other threads, signals, the clock's texts.
 */
#include "helper_loop.h"

#include "common/io/clock.h"

#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define TIMER_COUNT 100
#define POST_COUNT 5000
#define THREAD_COUNT 4

struct fixture {
    struct loop *loop;
    struct loop_timer *timers[TIMER_COUNT];
    int fired[TIMER_COUNT]; /* index of the timer, in the order they fired */
    int fired_count;
};

struct timer_user {
    struct fixture *fixture;
    int index;
};

static void fired(void *user)
{
    const struct timer_user *t = user;
    t->fixture->fired[t->fixture->fired_count++] = t->index;
}

static struct loop *new_loop(void)
{
    struct err err = {0};
    struct loop *loop = loop_new(&err);
    assert_non_null(loop);
    return loop;
}

/* Timers fire once, in the order of their deadlines, not before them; disarmed ones never. */
static void test_timers(void **state)
{
    (void)state;
    struct fixture f = {.loop = new_loop()};
    struct timer_user users[TIMER_COUNT];
    int64_t now_ms = clock_now_ms();
    for (int i = 0; i < TIMER_COUNT; i++) {
        users[i] = (struct timer_user){.fixture = &f, .index = i};
        f.timers[i] = loop_timer_new(f.loop, fired, &users[i]);
        loop_timer_set(f.timers[i], now_ms + 5 + (i * 37) % TIMER_COUNT); /* every delay once */
    }
    for (int i = 0; i < TIMER_COUNT; i += 10) {
        loop_timer_set(f.timers[i], NEVER);
    }
    assert_int_equal(loop_timer_deadline(f.timers[10]), NEVER);
    assert_int_equal(loop_timer_deadline(f.timers[1]), now_ms + 5 + 37);
    wait_for_count(f.loop, &f.fired_count, TIMER_COUNT - 10);
    assert_true(clock_now_ms() >= now_ms + 5 + TIMER_COUNT - 2);
    for (int i = 1; i < f.fired_count; i++) {
        assert_true((f.fired[i - 1] * 37) % TIMER_COUNT < (f.fired[i] * 37) % TIMER_COUNT);
    }
    turn_for(f.loop, 20);
    assert_int_equal(f.fired_count, TIMER_COUNT - 10);
    for (int i = 0; i < TIMER_COUNT; i++) {
        loop_timer_free(f.timers[i]);
    }
    loop_timer_free(NULL);
    loop_free(f.loop);
}

struct ticker {
    struct loop_timer *timer;
    int count;
    bool is_freed;
};

static void tick(void *user)
{
    struct ticker *t = user;
    if (++t->count == 10) {
        loop_timer_free(t->timer);
        t->is_freed = true;
    } else {
        loop_timer_set(t->timer, 0); /* long past */
    }
}

/* A timer may re-arm itself, even for the past, without holding up the loop, and may free itself.
 */
static void test_timer_from_callback(void **state)
{
    (void)state;
    struct loop *loop = new_loop();
    struct ticker t = {.timer = NULL};
    t.timer = loop_timer_new(loop, tick, &t);
    loop_timer_set(t.timer, -5);
    loop_turn(loop, 1000);
    assert_int_equal(t.count, 1);
    wait_for(loop, &t.is_freed);
    assert_int_equal(t.count, 10);
    loop_free(loop);
}

struct poster {
    struct loop *loop;
    int thread;
    int next[THREAD_COUNT]; /* expected number of each thread */
    int total;
};

struct item {
    struct poster *poster;
    int thread;
    int number;
};

static struct poster poster;
static struct item items[THREAD_COUNT][POST_COUNT];

static void take(void *user)
{
    const struct item *item = user;
    assert_int_equal(item->poster->next[item->thread]++, item->number);
    item->poster->total++;
}

static void *post_all(void *user)
{
    const int *thread = user;
    for (int i = 0; i < POST_COUNT; i++) {
        struct item *item = &items[*thread][i];
        *item = (struct item){.poster = &poster, .thread = *thread, .number = i};
        loop_post(poster.loop, take, item);
    }
    return NULL;
}

static void take_more(void *user)
{
    int *left = user;
    if (--*left > 0) {
        loop_post(poster.loop, take_more, user);
    }
}

/* Every post of every thread runs once, in its thread's order; what is left runs in loop_free(). */
static void test_posts(void **state)
{
    (void)state;
    poster = (struct poster){.loop = new_loop()};
    pthread_t threads[THREAD_COUNT];
    int numbers[THREAD_COUNT];
    for (int i = 0; i < THREAD_COUNT; i++) {
        numbers[i] = i;
        assert_int_equal(pthread_create(&threads[i], NULL, post_all, &numbers[i]), 0);
    }
    wait_for_count(poster.loop, &poster.total, THREAD_COUNT * POST_COUNT);
    for (int i = 0; i < THREAD_COUNT; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    }
    int left = 3;
    loop_post(poster.loop, take_more, &left);
    loop_free(poster.loop);
    assert_int_equal(left, 0);
}

static struct loop *stopped_loop;

static void caught(void *user, int number)
{
    *(int *)user = number;
    loop_stop(stopped_loop);
}

/* loop_run() runs until loop_stop(), here called by a signal. A number that cannot be caught is an
 * error. */
static void test_signal_and_stop(void **state)
{
    (void)state;
    struct loop *loop = new_loop();
    stopped_loop = loop;
    int seen = 0;
    struct err err = {0};
    struct loop_signal *handle = loop_signal_new(loop, SIGUSR1, caught, &seen, &err);
    assert_non_null(handle);
    assert_null(loop_signal_new(loop, SIGKILL, caught, &seen, &err));
    assert_int_equal(err.code, ERR_INVALID);
    assert_int_equal(kill(getpid(), SIGUSR1), 0);
    loop_run(loop);
    assert_int_equal(seen, SIGUSR1);
    loop_stop(loop);
    loop_run(loop);
    loop_signal_free(handle);
    loop_signal_free(NULL);
    loop_free(loop);
    loop_free(NULL);
}

/* Times are ISO 8601 in UTC; chance differs from call to call; the clock does not go back. */
static void test_clock(void **state)
{
    (void)state;
    char text[CLOCK_TEXT_SIZE];
    assert_string_equal(clock_format(0, text), "1970-01-01T00:00:00.000Z");
    assert_string_equal(clock_format(INT64_C(1709251199999), text), "2024-02-29T23:59:59.999Z");
    assert_string_equal(clock_format(-5, text), "1970-01-01T00:00:00.000Z");
    assert_string_equal(clock_format(INT64_MAX, text), "9999-12-31T23:59:59.999Z");
    assert_int_equal(strlen(clock_format(clock_wall_ms(), text)), 24);
    assert_true(clock_random_u64() != clock_random_u64());
    int64_t before_us = clock_now_us();
    assert_true(clock_now_us() >= before_us);
    assert_true(clock_now_ms() - before_us / 1000 < 10000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_timers), cmocka_unit_test(test_timer_from_callback),
        cmocka_unit_test(test_posts),  cmocka_unit_test(test_signal_and_stop),
        cmocka_unit_test(test_clock),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
