/* takeover.h — a new leader reads the journal before it does anything else.
 *
 * Reads spec, agents, operations, plans and batches, in this order, each again until the store
 * answers. Batches whose order may still be obeyed by an agent are inherited: nothing is done with
 * them before that agent has our fence on its disk and says what became of the order, or until the
 * order must have expired, counted from the start of our term. The journal is intent: what was done
 * is asked of the nodes. Source: docs/design.md section 5. */
#ifndef DROVER_COORDINATOR_CORE_TAKEOVER_H
#define DROVER_COORDINATOR_CORE_TAKEOVER_H

#include "coordinator/core/coordinator.h"

#define TAKEOVER_TIMEOUT_MS 3000
#define TAKEOVER_RETRY_MS 200
#define TAKEOVER_RETRY_MS_MAX 2000

enum takeover_step {
    TAKEOVER_SPEC,
    TAKEOVER_AGENTS,
    TAKEOVER_OPERATIONS,
    TAKEOVER_PLANS,
    TAKEOVER_BATCHES,
    TAKEOVER_NR, /* all is read */
};

struct takeover {
    bool is_loading;
    enum takeover_step step;
    uint64_t req_id;
    int64_t retry_ms; /* NEVER = a request is on its way */
    int failures;
    struct err err; /* why the last read failed */
    bool has_spec;
    struct spec_record spec;
    char **orphans; /* keys of plans and batches without an operation: to be deleted; owned */
    int orphan_count;
    int orphan_capacity;
};

void takeover_begin(struct coordinator *c);
void takeover_end(struct coordinator *c);
void takeover_tick(struct coordinator *c);
/* True when the result was ours. */
bool takeover_store_result(struct coordinator *c, const struct coordinator_event *event);
int64_t takeover_deadline(const struct coordinator *c);

#endif
