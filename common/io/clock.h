/* clock.h — the only door to time and chance of the machine.
 *
 * Cores get time in their events and chance from a seeded struct prng; shells take both from here.
 */
#ifndef DROVER_IO_CLOCK_H
#define DROVER_IO_CLOCK_H

#include <stddef.h>
#include <stdint.h>

/* Milliseconds of CLOCK_BOOTTIME: never goes back, runs on while the machine is suspended (a lease
 * must not look young after a suspend). The origin means nothing; never store it or send it to
 * another host. */
int64_t clock_now_ms(void);

/* The same clock in microseconds, for latencies. */
int64_t clock_now_us(void);

/* Wall time in milliseconds since 1970 UTC. For people and records only: it may jump. */
int64_t clock_wall_ms(void);

#define CLOCK_TEXT_SIZE 32
/* Writes "2026-01-31T23:59:59.123Z" into 'text' and returns it. wall_ms: 0 .. year 9999; out of
 * range is clamped. */
const char *clock_format(int64_t wall_ms, char text[CLOCK_TEXT_SIZE]);

/* 'size' bytes from the kernel's random source (getrandom), fit for secrets and for seeds. Aborts
 * when there is none. */
void clock_random(void *data, size_t size);
uint64_t clock_random_u64(void);

#endif
