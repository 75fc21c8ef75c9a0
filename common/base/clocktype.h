/* clocktype.h — how time is written: int64_t milliseconds, monotonic; NEVER for "no deadline". */
#ifndef DROVER_BASE_CLOCKTYPE_H
#define DROVER_BASE_CLOCKTYPE_H

#include <stdint.h>

#define NEVER INT64_MAX

static inline int64_t deadline_min(int64_t a_ms, int64_t b_ms)
{
    return a_ms < b_ms ? a_ms : b_ms;
}

/* now + delay without overflow; NEVER stays NEVER. */
static inline int64_t deadline_after(int64_t now_ms, int64_t delay_ms)
{
    return delay_ms == NEVER || now_ms > NEVER - delay_ms ? NEVER : now_ms + delay_ms;
}

#endif
