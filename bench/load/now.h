/* now.h — the two clocks of the load client.
 *
 * The load client measures time, so unlike the cores it reads clocks itself, here and nowhere else.
 */
#ifndef DROVER_LOAD_NOW_H
#define DROVER_LOAD_NOW_H

#include <stdint.h>

#define NS_PER_MS INT64_C(1000000)
#define NS_PER_S INT64_C(1000000000)

/* Monotonic nanoseconds: for latencies, deadlines and pacing. */
int64_t now_ns(void);

/* Wall clock milliseconds since 1970: for expiry times of keys and for reports. */
int64_t wall_ms(void);

#endif
