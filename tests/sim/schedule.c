/* schedule.c — see schedule.h. A binary heap in one array. */
#include "tests/sim/schedule.h"

#include "common/base/alloc.h"
#include "common/base/check.h"

#include <stdlib.h>

static bool is_before(const struct happening *a, const struct happening *b)
{
    return a->at_us != b->at_us ? a->at_us < b->at_us : a->sequence < b->sequence;
}

static void swap(struct happening *a, struct happening *b)
{
    struct happening kept = *a;
    *a = *b;
    *b = kept;
}

void schedule_release(struct schedule *schedule)
{
    for (int i = 0; i < schedule->count; i++) {
        if (schedule->heap[i].data != NULL && schedule->heap[i].release != NULL) {
            schedule->heap[i].release(schedule->heap[i].data);
        }
    }
    free(schedule->heap);
    *schedule = (struct schedule){0};
}

void schedule_add(struct schedule *schedule, int64_t delay_us, const struct happening *what)
{
    CHECK(delay_us >= 0);
    CHECK(what->run != NULL);
    ARRAY_RESERVE(schedule->heap, schedule->count, schedule->capacity);
    int i = schedule->count++;
    schedule->heap[i] = *what;
    schedule->heap[i].at_us = schedule->now_us + delay_us;
    schedule->heap[i].sequence = schedule->next_sequence++;
    while (i > 0 && is_before(&schedule->heap[i], &schedule->heap[(i - 1) / 2])) {
        swap(&schedule->heap[i], &schedule->heap[(i - 1) / 2]);
        i = (i - 1) / 2;
    }
}

static struct happening take_first(struct schedule *schedule)
{
    struct happening first = schedule->heap[0];
    schedule->heap[0] = schedule->heap[--schedule->count];
    int i = 0;
    for (;;) {
        int least = i;
        for (int child = 2 * i + 1; child <= 2 * i + 2 && child < schedule->count; child++) {
            if (is_before(&schedule->heap[child], &schedule->heap[least])) {
                least = child;
            }
        }
        if (least == i) {
            return first;
        }
        swap(&schedule->heap[i], &schedule->heap[least]);
        i = least;
    }
}

bool schedule_step(struct schedule *schedule, int64_t until_us)
{
    if (schedule->count == 0 || schedule->heap[0].at_us > until_us) {
        schedule->now_us = schedule->now_us > until_us ? schedule->now_us : until_us;
        return false;
    }
    struct happening what = take_first(schedule);
    schedule->now_us = what.at_us;
    schedule->ran++;
    what.run(&what);
    if (what.data != NULL && what.release != NULL) {
        what.release(what.data);
    }
    return true;
}

int64_t schedule_now_ms(const struct schedule *schedule)
{
    return schedule->now_us / MS_US;
}
