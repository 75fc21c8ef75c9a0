/* governor.h — how hard a move may press on its source: sizes of batches and bursts, timeouts.
 *
 * MIGRATE blocks the source until the target has answered, so what clients feel is the time of one
 * call. The governor starts from a speed's limits, watches the measured call times and shrinks the
 * batches while even the quicker calls take much longer than aimed at. Pure. Source: measured call
 * times, docs/design.md section 6 rule 9; F11 for the timeouts. */
#ifndef DROVER_AGENT_CORE_GOVERNOR_H
#define DROVER_AGENT_CORE_GOVERNOR_H

#include "common/model/record.h"

#include <stdint.h>

#define GOVERNOR_CALLS_KEPT 64 /* the window of the median that orders report */

/* A node is suspected by its peers after cluster-node-timeout without an answer; a MIGRATE must end
 * well before. The setting cannot be read with a narrow ACL, so the default of Redis is assumed
 * when nothing else is known. */
#define GOVERNOR_NODE_TIMEOUT_MS 15000

#define GOVERNOR_BIG_KEY_BYTES \
    (1024L * 1024) /* keys from here on travel alone, at the end of their slot */

struct governor {
    enum move_speed speed;
    int keys_max;      /* of one MIGRATE call, at full scale */
    int64_t bytes_max; /* likewise, as MEMORY USAGE counts */
    int64_t call_us_aim;
    int scale_percent;  /* GOVERNOR_SCALE_MIN..100: what the measured times allow of the two limits
                         */
    int64_t timeout_ms; /* of a normal call; doubles after a lost one, up to a quarter of the node
                           timeout */
    int64_t timeout_ms_max;
    int64_t calls_us[GOVERNOR_CALLS_KEPT]; /* ring */
    uint64_t call_count;                   /* in all */
    int64_t call_us_max;
};

#define GOVERNOR_SCALE_MIN \
    30 /* percent: below this the fixed cost of a call outweighs what a shorter one saves */

void governor_init(struct governor *governor, enum move_speed speed);
/* 0 restores the assumption above. */
void governor_set_node_timeout(struct governor *governor, int64_t node_timeout_ms);
/* Keys of the next call when 'left' keys are left: as few calls as the limit allows, all of about
 * the same size, since the longest is what clients feel. At least 1. */
int governor_batch_keys(const struct governor *governor, int left);
int64_t governor_batch_bytes(const struct governor *governor);
/* Slots opened in one go: empty ones cost the same however many, unless the target announces each
 * of them to every node; with keys each open slot costs clients an ASK. */
int governor_burst_slots(const struct governor *governor, bool is_empty, bool is_announced_singly);
/* A call came back after latency_us. */
void governor_called(struct governor *governor, int64_t latency_us);
/* A call was lost (IOERR): smaller batches, more patience. */
void governor_lost(struct governor *governor);
/* MIGRATE's timeout for a call that carries 'bytes': one step of I/O may take as long as restoring
 * the biggest key. */
int64_t governor_timeout_ms(const struct governor *governor, int64_t bytes);
/* Median of the window, -1 without calls. */
int64_t governor_call_us_p50(const struct governor *governor);

#endif
