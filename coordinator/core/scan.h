/* scan.h — counts the keys and bytes of a plan on the nodes before anything moves, and finds its
 * big keys.
 *
 * One scan at a time, asked for with a plan. Each batch becomes one SCAN order to the agent of its
 * source, a few at a time; scans change nothing on the nodes, so they are not journalled and die
 * with the term. */
#ifndef DROVER_COORDINATOR_CORE_SCAN_H
#define DROVER_COORDINATOR_CORE_SCAN_H

#include "coordinator/core/coordinator.h"

#define SCAN_MS_MAX 120000 /* then the command fails; plan without a scan instead */
#define SCANS_PER_SOURCE 1 /* at a time: a scan costs the source some CPU */
#define SCAN_BATCHES_MAX 4096

enum scan_item_state { SCAN_WAITING, SCAN_GIVEN, SCAN_ENDED };

struct scan_item {
    enum scan_item_state state;
    struct agent_id agent; /* GIVEN */
    bool is_listed;        /* GIVEN: the agent has it */
    int64_t sent_ms;       /* GIVEN: NEVER = not yet told */
    uint64_t incarnation;
};

struct scan {
    bool is_active;
    char id[OPERATION_ID_SIZE]; /* "scan-318-2" */
    uint64_t handle;            /* of the command that waits */
    struct plan plan;
    struct scan_item *items; /* one a batch; owned */
    int ended_count;
    int64_t deadline_ms;
    uint64_t number; /* of scans in this process */
};

/* Takes the plan over and answers the command 'handle' when all is counted. */
void scan_begin(struct coordinator *c, uint64_t handle, struct plan *plan);
/* The command is answered with this error; whatever agents still count is stopped as unknown. */
void scan_fail(struct coordinator *c, const struct err *err);
void scan_release(struct scan *scan);
void scan_tick(struct coordinator *c);
int64_t scan_deadline(const struct coordinator *c);
/* True when the order is one of the scan under way and is still wanted of this agent. */
bool scan_wants(const struct scan *scan, const struct order_id *id, const struct agent_id *agent);

#endif
