/* coverage.h — how often each fault and each turn of events was seen over all seeds of a run of the
 * test.
 *
 * A simulator that never meets a case proves nothing about it: rows marked important must be seen
 * in a full run. */
#ifndef DROVER_SIM_COVERAGE_H
#define DROVER_SIM_COVERAGE_H

#include <stdbool.h>
#include <stdint.h>

/* X(name, is_important, text) */
#define FAULTS(X)                                                                  \
    X(FAULT_COORDINATOR_CRASH, true, "coordinator crash")                          \
    X(FAULT_COORDINATOR_PAUSE, true, "coordinator paused, some beyond its lease")  \
    X(FAULT_COORDINATOR_CUT, true, "coordinator cut off")                          \
    X(FAULT_COORDINATOR_HALF_CUT, true, "coordinator cut off from the store only") \
    X(FAULT_AGENT_CRASH, true, "agent crash")                                      \
    X(FAULT_AGENT_PAUSE, true, "agent paused")                                     \
    X(FAULT_AGENT_CUT, true, "agent cut off from coordinators")                    \
    X(FAULT_STORE_DOWN, true, "store refuses")                                     \
    X(FAULT_STORE_STUCK, true, "store hangs")                                      \
    X(FAULT_STORE_LOST_ANSWERS, true, "store loses answers")                       \
    X(FAULT_STORE_FULL, true, "store full")                                        \
    X(FAULT_LEADER_KEY_LOST, true, "leader key deleted by hand")                   \
    X(FAULT_NETWORK_LOSS, true, "messages lost")                                   \
    X(FAULT_NETWORK_SLOW, true, "a place is slow")                                 \
    X(FAULT_HOST_CUT, true, "host cut off from everything")                        \
    X(FAULT_REDIS_CRASH, true, "node crash and quick restart")                     \
    X(FAULT_REDIS_DEATH, true, "node down until a replica takes over")             \
    X(FAULT_REDIS_PAUSE, true, "node paused")                                      \
    X(FAULT_REDIS_FULL, true, "node out of memory")                                \
    X(FAULT_KEYS_VANISH, true, "all keys of an open slot vanish")                  \
    X(FAULT_OPERATOR_PAUSE, true, "operator pauses and resumes")                   \
    X(FAULT_OPERATOR_CANCEL, true, "operator cancels")                             \
    X(FAULT_EVERYTHING_DIES, true, "all of drover killed at once")

enum fault {
#define X(name, is_important, text) name,
    FAULTS(X)
#undef X
        FAULT_NR,
};

#define SIGHTS(X)                                                               \
    X(SIGHT_RUN, true, "runs")                                                  \
    X(SIGHT_STANDALONE, true, "runs with one agent for all nodes")              \
    X(SIGHT_REDIS_FAULTS, true, "runs with Redis faults")                       \
    X(SIGHT_OPERATION_DONE, true, "operations done")                            \
    X(SIGHT_OPERATION_CANCELLED, true, "operations cancelled")                  \
    X(SIGHT_OPERATION_FAILED, false, "operations failed")                       \
    X(SIGHT_OPERATION_HELD, false, "operations held")                           \
    X(SIGHT_ENDED_HELD, false, "runs that end held for a person")               \
    X(SIGHT_ELECTION, true, "leaders elected")                                  \
    X(SIGHT_FENCE_SAVED, true, "fences saved by agents")                        \
    X(SIGHT_SLOT_CLAIMED, true, "slots claimed by a target")                    \
    X(SIGHT_LATE_CLAIM, false, "claims that a node got too late")               \
    X(SIGHT_KEY_MOVED, true, "MIGRATE calls")                                   \
    X(SIGHT_FAULT_IN_MOVE, true, "faults while a slot was open")                \
    X(SIGHT_ASK, true, "ASK redirects")                                         \
    X(SIGHT_MOVED, true, "MOVED redirects")                                     \
    X(SIGHT_BUSYKEY, true, "BUSYKEY")                                           \
    X(SIGHT_IOERR, true, "IOERR")                                               \
    X(SIGHT_NOKEY, false, "NOKEY")                                              \
    X(SIGHT_TARGET_MOVED, false, "targets that refuse with MOVED")              \
    X(SIGHT_OOM, true, "targets out of memory")                                 \
    X(SIGHT_FAILOVER, true, "failovers")                                        \
    X(SIGHT_CLUSTERDOWN, true, "CLUSTERDOWN")                                   \
    X(SIGHT_COLLISION, false, "config epoch collisions")                        \
    X(SIGHT_DIRTY, false, "slots whose keys a node deleted as foreign")         \
    X(SIGHT_STORE_LOST_ANSWER, true, "store answers lost")                      \
    X(SIGHT_LEASE_END, true, "leases that ended")                               \
    X(SIGHT_CLIENT_WRITE, true, "client writes acknowledged")                   \
    X(SIGHT_CLIENT_READ, true, "client reads checked")                          \
    X(SIGHT_CLIENT_UNKNOWN, true, "client writes with unknown outcome")         \
    X(SIGHT_LEFT_OVER, false, "slots with copies left over by a failover")      \
    X(SIGHT_LOSS_EXPLAINED, false, "keys lost by Redis's own faults")           \
    X(SIGHT_REPLAN_EMPTY, true, "finished operations that plan nothing again")  \
    X(SIGHT_CAME_BACK, false, "second copies of keys that clients came to see") \
    X(SIGHT_UNKNOWN_COMMAND, false, "commands the model does not know")         \
    X(SIGHT_TICK_STORM, false, "cores that want to be woken without end")

enum sight {
#define X(name, is_important, text) name,
    SIGHTS(X)
#undef X
        SIGHT_NR,
};

struct coverage {
    uint64_t faults[FAULT_NR];
    uint64_t sights[SIGHT_NR];
    uint64_t happenings;
    int64_t virtual_ms;
};

void coverage_add(struct coverage *coverage, enum sight sight, uint64_t count);
void coverage_print(const struct coverage *coverage);
/* Number of important rows that were never seen; names them on stdout. */
int coverage_missing(const struct coverage *coverage);
const char *fault_text(enum fault fault);

#endif
