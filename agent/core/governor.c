/* governor.c — see governor.h. */
#include "agent/core/governor.h"

#include "common/base/check.h"

#include <stdlib.h>
#include <string.h>

#define WINDOW 16 /* calls between two looks at the median */
#define SLOW_FACTOR \
    6 /* a call may take this many aims before batches shrink: 3 ms in balanced mode */
#define TIMEOUT_MS_FIRST 1500
#define BIG_KEY_MS_PER_MB \
    20 /* measured: 10 ms a MB on a small machine; twice that before we call it lost */
#define BIG_KEY_MS_MARGIN 3000

static const struct {
    int keys_max;
    int64_t bytes_max;
    int64_t call_us_aim;
    struct {
        int keyed;
        int empty;
    } burst_slots[2]; /* [1]: each slot is announced to every node, which a long burst makes felt */
} speeds[] = {
    [MOVE_SPEED_BALANCED] = {100, 256L * 1024, 500, {{16, 64}, {16, 8}}},
    [MOVE_SPEED_SOFT] = {20, 64L * 1024, 200, {{8, 32}, {8, 2}}},
    [MOVE_SPEED_FAST] = {300, 1536L * 1024, 2000, {{32, 64}, {32, 64}}}, /* no gain beyond 64 */
};

void governor_init(struct governor *governor, enum move_speed speed)
{
    if ((int)speed < 0 || (size_t)speed >= sizeof(speeds) / sizeof(speeds[0])) {
        speed = MOVE_SPEED_BALANCED;
    }
    *governor = (struct governor){
        .speed = speed,
        .keys_max = speeds[speed].keys_max,
        .bytes_max = speeds[speed].bytes_max,
        .call_us_aim = speeds[speed].call_us_aim,
        .scale_percent = 100,
        .timeout_ms = TIMEOUT_MS_FIRST,
    };
    governor_set_node_timeout(governor, 0);
}

void governor_set_node_timeout(struct governor *governor, int64_t node_timeout_ms)
{
    int64_t timeout_ms = node_timeout_ms > 0 ? node_timeout_ms : GOVERNOR_NODE_TIMEOUT_MS;
    governor->timeout_ms_max = timeout_ms / 4 > 100 ? timeout_ms / 4 : 100;
    if (governor->timeout_ms > governor->timeout_ms_max) {
        governor->timeout_ms = governor->timeout_ms_max;
    }
}

int governor_batch_keys(const struct governor *governor, int left)
{
    int keys = governor->keys_max * governor->scale_percent / 100;
    int keys_max = keys > 1 ? keys : 1;
    int calls = left > keys_max ? (left + keys_max - 1) / keys_max : 1;
    return left > calls ? (left + calls - 1) / calls : 1;
}

int64_t governor_batch_bytes(const struct governor *governor)
{
    return governor->bytes_max * governor->scale_percent / 100;
}

int governor_burst_slots(const struct governor *governor, bool is_empty, bool is_announced_singly)
{
    int keyed = speeds[governor->speed].burst_slots[is_announced_singly].keyed;
    int empty = speeds[governor->speed].burst_slots[is_announced_singly].empty;
    return is_empty ? empty : keyed;
}

static int compare_us(const void *a, const void *b)
{
    int64_t left = *(const int64_t *)a;
    int64_t right = *(const int64_t *)b;
    return left < right ? -1 : left > right;
}

/* The value below which 'percent' of the last 'count' calls are. */
static int64_t percentile_of_last(const struct governor *governor, uint64_t count, uint64_t percent)
{
    int64_t sorted[GOVERNOR_CALLS_KEPT];
    CHECK(count >= 1 && count <= GOVERNOR_CALLS_KEPT);
    for (uint64_t i = 0; i < count; i++) {
        sorted[i] = governor->calls_us[(governor->call_count - 1 - i) % GOVERNOR_CALLS_KEPT];
    }
    qsort(sorted, count, sizeof(sorted[0]), compare_us);
    return sorted[count * percent / 100];
}

void governor_called(struct governor *governor, int64_t latency_us)
{
    governor->calls_us[governor->call_count % GOVERNOR_CALLS_KEPT] = latency_us;
    governor->call_count++;
    if (latency_us > governor->call_us_max) {
        governor->call_us_max = latency_us;
    }
    if (governor->call_count % WINDOW != 0) {
        return;
    }
    /* The quick calls tell what a batch costs the source; the slow ones only that the machine is
     * busy, and then more and smaller calls would make it worse for everybody. */
    int64_t call_us = percentile_of_last(governor, WINDOW, 20);
    if (call_us > SLOW_FACTOR * governor->call_us_aim) {
        governor->scale_percent = governor->scale_percent * 3 / 4;
    } else if (call_us < SLOW_FACTOR * governor->call_us_aim / 2) {
        governor->scale_percent = governor->scale_percent * 5 / 4 + 1;
    }
    if (governor->scale_percent > 100) {
        governor->scale_percent = 100;
    }
    if (governor->scale_percent < GOVERNOR_SCALE_MIN) {
        governor->scale_percent = GOVERNOR_SCALE_MIN;
    }
}

void governor_lost(struct governor *governor)
{
    governor->scale_percent = governor->scale_percent / 2;
    if (governor->scale_percent < GOVERNOR_SCALE_MIN) {
        governor->scale_percent = GOVERNOR_SCALE_MIN;
    }
    governor->timeout_ms *= 2;
    if (governor->timeout_ms > governor->timeout_ms_max) {
        governor->timeout_ms = governor->timeout_ms_max;
    }
}

int64_t governor_timeout_ms(const struct governor *governor, int64_t bytes)
{
    if (bytes < GOVERNOR_BIG_KEY_BYTES) {
        return governor->timeout_ms;
    }
    int64_t by_size_ms = bytes / (1024L * 1024) * BIG_KEY_MS_PER_MB + BIG_KEY_MS_MARGIN;
    return by_size_ms > governor->timeout_ms ? by_size_ms : governor->timeout_ms;
}

int64_t governor_call_us_p50(const struct governor *governor)
{
    if (governor->call_count == 0) {
        return -1;
    }
    uint64_t count =
        governor->call_count < GOVERNOR_CALLS_KEPT ? governor->call_count : GOVERNOR_CALLS_KEPT;
    return percentile_of_last(governor, count, 50);
}
