/* lifecycle.h — operations whose plan grows: what comes next, from what is wanted and what is seen.
 *
 * Whenever every batch of such an operation is done, lifecycle_next() is asked for more. Its answer
 * follows from the request, the spec and the topology as it is now, never from what was intended
 * before: a new leader, or a second run of the same command, comes to the same answer, and nothing
 * is done twice. Moves come from planner.h. Pure. Source: docs/lifecycle.md. */
#ifndef DROVER_COORDINATOR_CORE_LIFECYCLE_H
#define DROVER_COORDINATOR_CORE_LIFECYCLE_H

#include "common/model/record.h"
#include "common/model/topology.h"
#include "coordinator/core/planner.h"

/* A host as its agent advertises it. */
struct lifecycle_host {
    struct agent_id agent;
    char zone[64]; /* "" = not said: every host is its own zone */
    char host[HOST_SIZE];
    bool can_start; /* offers capacity for servers of ours */
    int64_t memory_free_bytes;
    uint16_t port_first; /* that servers of ours may have, both ends included; 0 = not said */
    uint16_t port_last;
    bool offers_provision; /* its agent has servers made and takes them back */
    bool offers_traffic;   /* its agent takes client traffic off nodes and puts it back */
    bool is_connected;
};

/* All that a decision may look at. Borrowed. */
struct lifecycle_facts {
    const struct topology *topology;
    const struct spec_record *spec;
    const struct plan_options *options;
    const struct lifecycle_host *hosts;
    int host_count;
    const struct address *spares; /* nodes that run, are empty and known to no cluster yet */
    int spare_count;
    /* What the operation has done so far, oldest first; answers must not depend on it except to see
     * what was tried and failed. */
    const struct batch *batches;
    int batch_count;
    const char *operation_id; /* names its requests to provisioners; NULL = it has not begun */
};

enum lifecycle_verdict {
    LIFECYCLE_MORE = 1, /* batches to do next; they may run in parallel */
    LIFECYCLE_DONE,     /* all that is wanted is seen */
    LIFECYCLE_WAIT,     /* something outside has to show first; 'reason' says what */
    LIFECYCLE_REFUSED,  /* cannot or must not be done; 'code' and 'reason' say why */
};

struct lifecycle_answer {
    enum lifecycle_verdict verdict;
    struct batch *batches; /* MORE; owned; index and state are set by the caller */
    int batch_count;
    int code; /* REFUSED: ERR_* */
    char reason[TEXT_SIZE];
};

/* True for the kinds whose plan grows. */
bool lifecycle_applies(enum operation_kind kind);
void lifecycle_next(const struct operation_request *request,
                    const struct lifecycle_facts *facts,
                    struct lifecycle_answer *out);
void lifecycle_answer_release(struct lifecycle_answer *answer);
/* What an operation that ends must take back, from its own batches (lifecycle_undo.c): client
 * traffic goes back on members that it was taken off and that did not begin to leave; servers that
 * were made for it and never joined are released; a provisioner whose agent was lost is asked once
 * more for what it may have made. MORE: these tasks; WAIT: something cannot be taken back now;
 * REFUSED: what is left was tried and failed, or a person was told of it; DONE: nothing is left.
 * Release the answer.
 */
void lifecycle_undo(const struct lifecycle_facts *facts, struct lifecycle_answer *out);
/* The first request, from batch 'from' on, that may have left a server with its provisioner and of
 * which no person was told: the index of the batch that had the last word on it, with a sentence
 * that names the request. -1 = there is none. Whoever tells a person sets that batch to HELD with
 * ERR_CANCELLED (lifecycle_request.c). */
int lifecycle_lost_request(const struct lifecycle_facts *facts, int from, char reason[TEXT_SIZE]);
/* True for tasks as lifecycle_undo() gives them. */
bool lifecycle_is_undo(const struct task *task);
/* The dry run: every step foreseen, a line each, from now to the end as far as it can be known. */
void lifecycle_describe(const struct operation_request *request,
                        const struct lifecycle_facts *facts,
                        struct strbuf *out);

#endif
