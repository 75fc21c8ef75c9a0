/* executor_facts.h — what the coordinator sees, put together for lifecycle.h.
 *
 * A snapshot of the topology, the agents' hosts and the spares, borrowed from the coordinator:
 * valid until its next step. */
#ifndef DROVER_COORDINATOR_CORE_EXECUTOR_FACTS_H
#define DROVER_COORDINATOR_CORE_EXECUTOR_FACTS_H

#include "coordinator/core/coordinator.h"
#include "coordinator/core/lifecycle.h"

struct executor_facts {
    struct lifecycle_facts facts; /* points into the rest; give this to lifecycle_next() */
    struct plan_options options;
    struct spec_record spec;
    struct lifecycle_host *hosts; /* owned */
    struct address *spares;       /* owned */
};

/* Limits of the configuration and the request, for planner.h. */
void executor_plan_options(const struct coordinator *c,
                           const struct operation_request *request,
                           struct plan_options *out);

/* 'batches' (borrowed) is what the operation has done so far, NULL for none. */
void executor_facts_init(struct executor_facts *facts,
                         const struct coordinator *c,
                         const struct operation_request *request,
                         const struct batch *batches,
                         int batch_count);
void executor_facts_release(struct executor_facts *facts);

#endif
