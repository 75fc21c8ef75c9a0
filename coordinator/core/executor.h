/* executor.h — operations: from a plan to every slot verified at its target.
 *
 *   PLANNED --approve--> RUNNING --every batch done, verified in every view--> DONE
 *      |                 | ^  | \
 *      |            pause| |  |  +-- gave up, nothing moved --> FAILED      (from RUNNING)
 *      |                 v |  +----- a person must decide ----> HELD --resume--> RUNNING
 *      |            PAUSING |resume                              |
 *      |                 |  |                                    |
 *      |                 v  |                                    |
 *      |             PAUSED-+                                    |
 *      +--cancel----> CANCELLED <---- CANCELLING <---cancel------+ (and from RUNNING, PAUSING,
 * PAUSED)
 *
 * Only one operation is active (anything but PLANNED and the final states) at a time: its plan is
 * bound to a topology that another one would change. Batches of disjoint pairs run in parallel
 * within the limits of the configuration; one more than runs is queued a source, so that an agent
 * never waits for us. Every transition is journalled. Some plans grow while they run: see
 * executor_grow.c. Source: docs/design.md sections 5, 6 and 8.
 */
#ifndef DROVER_COORDINATOR_CORE_EXECUTOR_H
#define DROVER_COORDINATOR_CORE_EXECUTOR_H

#include "common/base/statemachine.h"
#include "coordinator/core/coordinator.h"
#include "coordinator/core/order_run.h"

#define OPERATIONS_KEPT_MAX 100   /* ended ones, for people; a record is about 1 KiB */
#define PLANS_KEPT_MAX 10         /* ended operations that keep their plan and batches */
#define OPERATIONS_PLANNED_MAX 20 /* that wait for approval */
#define FOREIGN_CHANGE_MS \
    10000 /* a topology that does not fit the plan for so long was changed by somebody else */
#define VERIFY_MS 120000 /* until every view must agree; gossip needs a few node timeouts */
#define CLOSE_MS 60000   /* until the open slots of a paused operation must be closed */
#define STUCK_MS 300000  /* nothing runs and nothing can be given out: a person should look */
#define MOVES_MAX 128    /* upper limit of moves_max */
#define WAIT_TEXT_SIZE 512

#define OPERATION_STATE_NR (OPERATION_HELD + 1)
extern const struct sm_state operation_states[OPERATION_STATE_NR];

/* One operation in memory. */
struct operation_run {
    struct sm sm;        /* enum operation_state; op.state is its copy */
    struct operation op; /* as stored; the sums also count what runs */
    bool has_plan;
    struct plan plan;       /* with batches */
    struct order_run *runs; /* one a batch; owned */
    uint64_t ticket;        /* of the last write of 'op' */
    /* Rebuilt after a restart. */
    int64_t quiet_since_ms;   /* when the last order ended */
    int64_t ending_since_ms;  /* since when it verifies or closes; NEVER = does not */
    int64_t foreign_since_ms; /* since when the topology does not fit; NEVER = it fits */
    int64_t stuck_since_ms; /* since when nothing runs though something is left; NEVER = it runs */
    int mark_orders;        /* rounds of orders for replicas' marks since it verified last */
    uint64_t checked_build; /* the topology that was checked last */
    bool is_fit;            /* it fitted the plan */
    char waits[WAIT_TEXT_SIZE]; /* what it waits for; "" = nothing */
    int64_t next_look_ms;       /* when to look again though nothing happened */
    /* Of a plan that grows. */
    int batches_recorded;       /* while loading: how many batches the stored plan counts */
    int idle_rounds;            /* in a row that changed nothing */
    int64_t grow_wait_since_ms; /* since when what comes next has to wait; NEVER = does not */
};

struct executor {
    struct operation_run **operations; /* in order of creation; owned */
    int count;
    int capacity;
    uint64_t operation_number;           /* of this term, for ids */
    bool is_dirty;                       /* look at the active operation in this step */
    char unreadable[STORE_KEY_SIZE_MAX]; /* a record that we cannot read: nothing may start; "" =
                                            none */
};

void executor_release(struct executor *executor);

struct operation_run *executor_find(const struct executor *executor, const char *operation_id);
/* The one that is neither planned nor ended, or NULL. */
struct operation_run *executor_active(const struct coordinator *c);
bool executor_names_agent(const struct coordinator *c, const struct agent_id *agent);
/* Takes plan and request over and returns the new operation in PLANNED, not yet journalled. */
struct operation_run *executor_add(struct coordinator *c,
                                   const struct operation_request *request,
                                   struct plan *plan);
/* Puts a loaded one in its place. */
struct operation_run *executor_load(struct coordinator *c, const struct operation *operation);
/* Journals the plan with all its batches, and then the operation: one that is found has all its
 * batches. A caller that moves the operation on right away leaves the second to operation_move().
 */
void executor_record_plan(struct coordinator *c, struct operation_run *o);
void executor_record_operation(struct coordinator *c, struct operation_run *o);
/* After loading: the plan is complete in o->plan. */
void executor_make_runs(struct coordinator *c, struct operation_run *o);

/* Changes the state, journals and logs it. 'reason' may be "". */
void operation_move(struct coordinator *c,
                    struct operation_run *o,
                    enum operation_state state,
                    int code,
                    const char *reason);

/* Moves the active operation on. Safe to call often: does nothing while nothing has happened. */
void executor_tick(struct coordinator *c);
int64_t executor_deadline(const struct coordinator *c);

/* dispatch.c: gives idle batches to agents. Returns the number of batches that can still be given,
 * now or later. */
int dispatch_batches(struct coordinator *c, struct operation_run *o);
/* True when the batch's state lets it be ordered. */
bool is_dispatchable(const struct operation_run *o, const struct batch *batch);
/* "<what> <who>" into o->waits, unless something stands there. */
void operation_waits_for(struct operation_run *o, const char *what, const char *who);

/* dispatch_task.c: the same for the tasks among them. */
int dispatch_tasks(struct coordinator *c, struct operation_run *o);
/* True while a task that lives has a node of this batch for itself. */
bool is_in_use_by_task(const struct operation_run *o, const struct batch *batch);
/* The task with the addresses that its nodes have now. */
void task_order_fill(const struct coordinator *c, const struct batch *batch, struct task *out);

/* The slots of a batch that are still to move; when the operation ends early only those that are
 * open. */
void batch_slots_left(const struct coordinator *c,
                      const struct operation_run *o,
                      int index,
                      struct slotset *slots);

/* executor_grow.c: plans that grow. */
struct lifecycle_answer;
/* What comes next for the request, of operation 'o' or (NULL) of none yet. Release the answer. */
void grow_ask(const struct coordinator *c,
              const struct operation_request *request,
              const struct operation_run *o,
              struct lifecycle_answer *out);
/* The plan of a dry run: the batches of the answer, which are taken over. */
void grow_plan(const struct coordinator *c,
               const struct operation_request *request,
               struct lifecycle_answer *answer,
               struct plan *out);
/* All batches have ended and were verified: asks what comes next and begins it. True when that is
 * nothing. */
bool grow_tick(struct coordinator *c, struct operation_run *o);
/* True when an agent may have done something that is not taken back: not when all it was asked was
 * turned down. */
bool grow_has_begun(const struct operation_run *o);
/* The operation gives up: HELD, or when nothing came of it FAILED, which first takes back what was
 * prepared (CANCELLING with this code). */
void grow_give_up(struct coordinator *c,
                  struct operation_run *o,
                  bool is_untouched,
                  int code,
                  const char *reason);
/* CANCELLING, with all orders ended: takes back what was prepared. True when nothing is left of it,
 * or nothing more can be done; then the rest is told in 'rest'. */
bool grow_undo(struct coordinator *c, struct operation_run *o, char rest[TEXT_SIZE]);
/* After loading: drops what was journalled of a round that was never begun. False when the journal
 * contradicts itself. */
bool grow_adopt(struct coordinator *c, struct operation_run *o);
/* Has every node read soon, at most a few times a second. */
void executor_ask_for_probes(struct coordinator *c);

/* follow.c: keeps the plan true to the nodes. */
void follow_failovers(struct coordinator *c, struct operation_run *o);
/* True while the topology fits the plan; pauses the operation when somebody else changed it. */
bool follow_topology(struct coordinator *c, struct operation_run *o);
/* 0 when every slot of the plan is seen at its target by every node; ERR_CONFLICT while not, with
 * the sentence. */
int verify_operation(struct coordinator *c, struct operation_run *o, struct err *err) WARN_UNUSED;

#endif
