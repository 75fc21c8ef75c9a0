/* events.h — every event name the coordinator logs, in one table, and the ring of the last ones for
 * people.
 *
 * Names are API: golden tests and alerts read them. Info: transitions and operators' actions. Warn:
 * degraded but handled. Error: someone must act. */
#ifndef DROVER_COORDINATOR_CORE_EVENTS_H
#define DROVER_COORDINATOR_CORE_EVENTS_H

#include "coordinator/core/coordinator.h"

#define EVENT_RING_MAX 1000 /* what `drover events` shows; about 200 bytes each */

/* X(id, level, name, meaning) */
#define COORDINATOR_EVENTS(X)                                                                      \
    X(EVENT_FOLLOWING, LOG_INFO, "election.following", "another coordinator leads")                \
    X(EVENT_CAMPAIGNING, LOG_INFO, "election.campaigning", "nobody leads; we claim it")            \
    X(EVENT_LEADING, LOG_INFO, "election.leading", "we lead under this fence")                     \
    X(EVENT_TERM_ENDED, LOG_WARN, "election.term_ended",                                           \
      "we lead no more; all work in hand dropped")                                                 \
    X(EVENT_RESIGNED, LOG_INFO, "election.resigned", "the lease was given back on stop")           \
    X(EVENT_STORE_FAILED, LOG_WARN, "store.failed",                                                \
      "the store does not answer or does not take writes")                                         \
    X(EVENT_STORE_BACK, LOG_INFO, "store.back", "the store answers again")                         \
    X(EVENT_STORE_UNREADABLE, LOG_ERROR, "store.unreadable", "a record this version cannot read")  \
    X(EVENT_JOURNAL_AMBIGUOUS, LOG_WARN, "journal.ambiguous",                                      \
      "a write timed out; it is read back")                                                        \
    X(EVENT_LOADED, LOG_INFO, "takeover.loaded", "the journal was read")                           \
    X(EVENT_AGENT_HELLO, LOG_INFO, "agent.hello", "an agent was registered")                       \
    X(EVENT_AGENT_REFUSED, LOG_WARN, "agent.refused", "an agent was turned away")                  \
    X(EVENT_AGENT_FENCED, LOG_INFO, "agent.fenced", "an agent confirmed our fence")                \
    X(EVENT_AGENT_LOST, LOG_WARN, "agent.lost", "an agent does not report any more")               \
    X(EVENT_AGENT_ASSIGNED, LOG_INFO, "agent.assigned",                                            \
      "an agent also serves a node of another host")                                               \
    X(EVENT_VIEW_REFUSED, LOG_WARN, "view.refused", "a CLUSTER NODES text could not be read")      \
    X(EVENT_TOPOLOGY_SETTLED, LOG_INFO, "topology.settled", "slots may be moved")                  \
    X(EVENT_TOPOLOGY_UNSETTLED, LOG_WARN, "topology.unsettled", "slots may not be moved")          \
    X(EVENT_OPERATION_STATE, LOG_INFO, "operation.state", "an operation changed its state")        \
    X(EVENT_OPERATION_HELD, LOG_ERROR, "operation.held", "an operation needs a person")            \
    X(EVENT_OPERATION_GROWN, LOG_INFO, "operation.grown", "what comes next was added to its plan") \
    X(EVENT_BATCH_ORDERED, LOG_INFO, "batch.ordered", "a batch was given to an agent")             \
    X(EVENT_BATCH_DONE, LOG_INFO, "batch.done", "every slot of a batch is the target's")           \
    X(EVENT_BATCH_STOPPED, LOG_INFO, "batch.stopped",                                              \
      "slots in hand finished, the rest not begun")                                                \
    X(EVENT_BATCH_RETRY, LOG_WARN, "batch.retry", "a batch failed and will be tried again")        \
    X(EVENT_BATCH_HELD, LOG_ERROR, "batch.held", "a batch needs a person")                         \
    X(EVENT_BATCH_SILENT, LOG_WARN, "batch.silent",                                                \
      "an order's agent is not heard; waits for its expiry")                                       \
    X(EVENT_BATCH_TAKEN_BACK, LOG_WARN, "batch.taken_back",                                        \
      "an order expired; the batch may go to anybody")                                             \
    X(EVENT_CLUSTER_ADOPTED, LOG_INFO, "cluster.adopted",                                          \
      "members of the adopted cluster are kept in the store")                                      \
    X(EVENT_BATCH_ADOPTED, LOG_INFO, "batch.adopted", "an order of an earlier term was found")     \
    X(EVENT_BATCH_RETARGETED, LOG_WARN, "batch.retargeted",                                        \
      "source or target failed over; the batch follows")                                           \
    X(EVENT_SCAN_STATE, LOG_INFO, "scan.state", "a scan for a plan began or ended")                \
    X(EVENT_COMMAND_REFUSED, LOG_INFO, "command.refused", "an operator's request was turned down")

enum event_id {
#define X(id, level, name, meaning) id,
    COORDINATOR_EVENTS(X)
#undef X
        EVENT_NR,
};

const char *event_name(enum event_id id);
enum log_level event_level(enum event_id id);
const char *event_meaning(enum event_id id);

/* Time and effects of the step under way; every module of the core works through it. */
struct turn {
    int64_t now_ms;
    int64_t wall_ms;
    struct coordinator_effects *fx; /* not owned; valid during the step */
    uint64_t req_id_last;           /* of STORE effects; never 0 */
};

/* Appends a LOG effect and returns its event for log_event_add*(); valid until the next effect. */
struct log_event *turn_log(struct turn *turn, enum event_id id);
/* Appends a STORE effect with a new req_id and returns it; valid until the next effect. */
struct coordinator_effect *turn_store(struct turn *turn,
                                      enum store_request_kind kind,
                                      int64_t timeout_ms);

struct event_ring_line {
    uint64_t sequence;
    int64_t wall_ms;
    enum event_id id;
    char *text; /* owned */
};

struct event_ring {
    struct event_ring_line *lines; /* EVENT_RING_MAX of them once the first came; owned */
    int first;
    int count;
    uint64_t sequence_last;
};

void event_ring_release(struct event_ring *ring);
/* Copies the log effects from index 'from' on that people want: info and above. */
void event_ring_take(struct event_ring *ring, const struct turn *turn, int from);

#endif
