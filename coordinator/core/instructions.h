/* instructions.h — what an agent is told in answer to a report.
 *
 * Built anew each time from the state, so a lost answer costs nothing: orders are repeated until
 * the agent lists them, results are forgotten only once they are durable. Source: docs/design.md
 * section 5. */
#ifndef DROVER_COORDINATOR_CORE_INSTRUCTIONS_H
#define DROVER_COORDINATOR_CORE_INSTRUCTIONS_H

#include "coordinator/core/registry.h"

/* How much an answer matters. */
enum instructions_weight {
    INSTRUCTIONS_EMPTY, /* nothing but the fence and what the agent knows already */
    INSTRUCTIONS_DUE,   /* something to act on */
};

/* What there is to say to the agent now. 'out' is filled and owned by the caller. Nothing is marked
 * as said. */
enum instructions_weight instructions_build(struct coordinator *c,
                                            const struct agent_entry *agent,
                                            struct instructions *out);
/* Notes that these instructions go out in answer to a report received at 'received_ms': validity
 * counts from then. */
void instructions_said(struct coordinator *c,
                       struct agent_entry *agent,
                       const struct instructions *said,
                       int64_t received_ms);

#endif
