/* request_ids.h — numbers for requests, so that an answer finds the part of the agent that asked.
 *
 * Each part of the agent (session, probe, every order) has a serial of its own, which is the upper
 * half of all its request ids. A part that has ended leaves a serial nobody owns: its late answers
 * change nothing. */
#ifndef DROVER_AGENT_CORE_REQUEST_IDS_H
#define DROVER_AGENT_CORE_REQUEST_IDS_H

#include <stdbool.h>
#include <stdint.h>

struct request_ids {
    uint32_t serial; /* >= 1; never used twice while the agent runs */
    uint32_t last;   /* 0 = none given out yet */
};

static inline uint64_t request_ids_next(struct request_ids *ids)
{
    ids->last++;
    return ((uint64_t)ids->serial << 32) | ids->last;
}

static inline bool request_ids_owns(const struct request_ids *ids, uint64_t req_id)
{
    return (uint32_t)(req_id >> 32) == ids->serial;
}

#endif
