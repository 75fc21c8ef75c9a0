/* order_run.h — one batch on its way through an agent.
 *
 *            journalled       told          listed as running      final, journalled
 *   IDLE --> ORDERING --> OFFERED --> SENT --> RUNNING ----------> ENDING --> IDLE
 *     ^                      |         |          |                   ^
 *     |<--- never told ------+         +-> SILENT <--- not heard -----+ (a final state may come
 * from any of them) |                                      |
 *     +<---- order expired + margin ---------+---- INHERITED (found in the journal by a new leader)
 *
 * Rule: a batch has at most one live order. A new one is made in IDLE only, and IDLE is reached
 * only when the old order was never told, has ended, is unknown to the very agent that has our
 * fence on disk, or has expired with a margin. What the batch itself is (waiting, done, held, ...)
 * stands in struct batch. Source: docs/design.md section 5. */
#ifndef DROVER_COORDINATOR_CORE_ORDER_RUN_H
#define DROVER_COORDINATOR_CORE_ORDER_RUN_H

#include "common/base/statemachine.h"
#include "coordinator/core/registry.h"

#define RETRY_MS 500 /* first pause after a failed order; doubles */
#define RETRY_MS_MAX 30000
#define TASK_ATTEMPTS_MAX 3 /* a task tries for a while itself; more only lets people wait */

struct operation_run;

enum run_state {
    RUN_IDLE,
    RUN_ORDERING,
    RUN_OFFERED,
    RUN_SENT,
    RUN_RUNNING,
    RUN_SILENT,
    RUN_INHERITED,
    RUN_ENDING,
    RUN_NR,
};

extern const struct sm_state run_states[RUN_NR];

/* The live side of one batch; nothing of it is stored. */
struct order_run {
    struct sm sm;
    int64_t expires_ms;    /* live: the agent obeys the order no longer than this */
    int64_t sent_ms;       /* SENT: last time it was told */
    int64_t not_before_ms; /* IDLE: pause after a failure */
    int failures;          /* in a row without a slot done */
    uint64_t ticket;       /* ORDERING, ENDING: the write that is waited for */
    uint64_t incarnation;  /* of the agent that it was given to */
    bool is_stop_wanted;
    bool is_closing;             /* carries only slots that are open, to leave none behind */
    struct slotset *slots;       /* of the live order, none of a task's; NULL in IDLE; owned */
    struct order_status *status; /* last heard of the live order; NULL = nothing; owned */
};

void order_run_init(struct order_run *run, int64_t now_ms);
void order_run_release(struct order_run *run);
bool order_run_is_live(const struct order_run *run); /* anything but IDLE */

/* Makes the order: attempt and agent are journalled, then it is offered. Only in IDLE. 'slots' is
 * copied. */
void order_run_start(struct coordinator *c,
                     struct operation_run *o,
                     int index,
                     struct agent_entry *agent,
                     const struct slotset *slots);
/* An order that an earlier leader gave; it may be obeyed until 'expires_ms'. */
void order_run_inherit(struct coordinator *c,
                       struct operation_run *o,
                       int index,
                       int64_t expires_ms);
/* A batch that was done gets these slots back, to be ordered once more after the pause; 'reason' is
 * logged and kept. Only in IDLE. */
void order_run_again(struct coordinator *c,
                     struct operation_run *o,
                     int index,
                     const struct slotset *slots,
                     int64_t pause_ms,
                     const char *reason);
/* Lets time, reports and the journal move it on. */
void order_run_tick(struct coordinator *c, struct operation_run *o, int index);
int64_t order_run_deadline(const struct coordinator *c, const struct order_run *run);

/* True for codes with which no second try can help: a person must change something first. */
bool code_is_permanent(int code);
/* Writes a batch record; returns the ticket. */
uint64_t record_batch(struct coordinator *c, const struct operation_run *o, int index);

#endif
