/* key_scan.h — carries out one ORDER_SCAN: counts keys and bytes of slots and finds big keys;
 * changes nothing.
 *
 * Counting is exact. Bytes come from MEMORY USAGE of at most SCAN_KEYS_PER_SLOT keys a slot, scaled
 * up where a slot has more. It works on a lane of its own and rests after every chunk, so that the
 * node has most of its time for clients. */
#ifndef DROVER_AGENT_CORE_KEY_SCAN_H
#define DROVER_AGENT_CORE_KEY_SCAN_H

#include "agent/core/agent.h"

#define SCAN_KEYS_PER_SLOT                                                \
    2000 /* sized at most; a larger slot's bytes are estimated from these \
          */
#define SCAN_BIG_KEY_BYTES (1024L * 1024)

struct key_scan;

struct key_scan *key_scan_new(const struct order *order, uint32_t serial, int64_t now_ms);
void key_scan_free(struct key_scan *scan);
void key_scan_step(struct key_scan *scan,
                   const struct agent_event *event,
                   struct agent_effects *fx);
int64_t key_scan_deadline(const struct key_scan *scan);
/* Ends it: ORDER_STOPPED for code 0, ORDER_EXPIRED otherwise. Nothing of it can hurt anybody, so it
 * ends at once. */
void key_scan_end(struct key_scan *scan, int code, const char *reason);
bool key_scan_is_over(const struct key_scan *scan);
void key_scan_status(const struct key_scan *scan, struct order_status *status);

#endif
