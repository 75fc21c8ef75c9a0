/* clock.c — see clock.h. */
#include "common/io/clock.h"

#include "common/base/check.h"

#include <errno.h>
#include <stdio.h>
#include <sys/random.h>
#include <time.h>

#include "common/base/banned.h" /* last: system headers may use what it bans */

#define WALL_MS_MAX INT64_C(253402300799999) /* 9999-12-31T23:59:59.999Z */

int64_t clock_now_us(void)
{
    struct timespec now;
    int rc = clock_gettime(CLOCK_BOOTTIME, &now);
    CHECK(rc == 0);
    return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

int64_t clock_now_ms(void)
{
    return clock_now_us() / 1000;
}

int64_t clock_wall_ms(void)
{
    struct timespec now;
    int rc = clock_gettime(CLOCK_REALTIME, &now);
    CHECK(rc == 0);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

const char *clock_format(int64_t wall_ms, char text[CLOCK_TEXT_SIZE])
{
    if (wall_ms < 0) {
        wall_ms = 0;
    } else if (wall_ms > WALL_MS_MAX) {
        wall_ms = WALL_MS_MAX;
    }
    time_t seconds = (time_t)(wall_ms / 1000);
    struct tm parts;
    CHECK(gmtime_r(&seconds, &parts) != NULL);
    char date[CLOCK_TEXT_SIZE];
    size_t len = strftime(date, sizeof(date), "%Y-%m-%dT%H:%M:%S", &parts);
    CHECK(len == 19);
    (void)snprintf(text, CLOCK_TEXT_SIZE, "%.19s.%03dZ", date, (int)(wall_ms % 1000));
    return text;
}

void clock_random(void *data, size_t size)
{
    char *at = data;
    while (size > 0) {
        ssize_t got = getrandom(at, size, 0);
        if (got < 0 && errno == EINTR) {
            continue;
        }
        CHECK(got > 0);
        at += got;
        size -= (size_t)got;
    }
}

uint64_t clock_random_u64(void)
{
    uint64_t value = 0;
    clock_random(&value, sizeof(value));
    return value;
}
