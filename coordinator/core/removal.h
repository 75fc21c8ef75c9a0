/* removal.h — when a node may be switched off: the facts of the removal certificate.
 *
 * A node may be stopped, and its host handed back, only when nothing of the cluster rests on it and
 * nobody would bring it back. This is judged here, from the topology alone; who signs the
 * certificate and serves it as JSON knows only struct removal_certificate. Pure. Source:
 * docs/lifecycle.md, "The removal certificate". */
#ifndef DROVER_COORDINATOR_CORE_REMOVAL_H
#define DROVER_COORDINATOR_CORE_REMOVAL_H

#include "common/model/record.h"
#include "common/model/topology.h"

#include <stdbool.h>
#include <stdint.h>

/* Plain data; zero it before use. It holds, and says so, only what was looked at. */
struct removal_certificate {
    struct node_id node;
    struct address address; /* port 0 = no longer known */
    /* The facts, each as counted. -1 = could not be counted, which never counts as 0. */
    int slot_count;    /* most slots that any live view gives it */
    int64_t key_count; /* as it reports itself; 0 for a replica, whose keys are its primary's, and
                          for a node that was removed as dead (is_dead) */
    int replica_count; /* members that live views have as its replicas */
    int open_count;    /* open slots that name it, on either end */
    int known_by;      /* live members whose view still lists it */
    int asked;         /* live members whose view was looked at */
    bool is_dead;      /* it does not answer; what it holds cannot be counted and is given up */
    /* Who vouches. */
    int64_t fence;                        /* of the leader that judged */
    char operation_id[OPERATION_ID_SIZE]; /* that removed it; "" = none is known */
    uint64_t topology_digest;             /* of what was looked at */
    bool is_granted;                      /* all of it holds: the node may be stopped */
    char reason[TEXT_SIZE]; /* one sentence: why it is granted, or what stands against it */
};

/* Judges 'node' (by id; it need not be a member any more). 'address' is where it was, for a node
 * that the topology does not list; may be NULL. 'operation_id' may be "". Granted only for fence >
 * 0 and a named operation. */
void removal_certify(const struct topology *topology,
                     const struct node_id *node,
                     const struct address *address,
                     int64_t fence,
                     const char *operation_id,
                     struct removal_certificate *out);

/* Whether the task may go out as things are: a TASK_STOP or a TASK_RELEASE only if its certificate
 * is granted, all others always. 'reason' says why not; untouched when it may. */
bool removal_permits(const struct topology *topology,
                     int64_t fence,
                     const char *operation_id,
                     const struct task *task,
                     char reason[TEXT_SIZE]);

/* Completes the detail of a TASK_STOP or TASK_RELEASE: behind its first line, "agent NAME", comes
 * the certificate as text (removal_proof.h), as things are now. 'key' signs it; "" = unsigned.
 * False: none is granted, the task is untouched and must not go out. */
bool removal_fill_stop(const struct topology *topology,
                       int64_t fence,
                       const char *operation_id,
                       const char *key,
                       struct task *task) WARN_UNUSED;

#endif
