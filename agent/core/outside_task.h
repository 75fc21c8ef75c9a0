/* outside_task.h — what a TASK_PROVISION, TASK_RELEASE or TASK_TRAFFIC asks for, read from its
 * detail and held against what this agent offers. Pure; internal to outside.c. */
#ifndef DROVER_AGENT_CORE_OUTSIDE_TASK_H
#define DROVER_AGENT_CORE_OUTSIDE_TASK_H

#include "agent/core/agent.h"
#include "common/model/removal_proof.h"
#include "common/model/task.h"

struct outside_task {
    char request_id[OUTSIDE_ID_SIZE]; /* PROVISION */
    int64_t maxmemory_bytes;          /* PROVISION: 0 = not said */
    char zone[64];                    /* PROVISION: "" = not said */
    char role[16];                    /* "primary", "replica" or "" */
    struct removal_proof proof;       /* RELEASE: of this address, checked */
    bool has_key;                     /* RELEASE: the proof's signature was checked */
};

/* ERR_INVALID: a line that is wrong or missing, or no certificate; ERR_REFUSED: not for this agent,
 * not what it offers, or a certificate that proves something else; ERR_AUTH: not signed by our key.
 */
int outside_task_read(struct outside_task *out,
                      const struct task *task,
                      const struct outside_settings *settings,
                      struct err *err) WARN_UNUSED;

#endif
