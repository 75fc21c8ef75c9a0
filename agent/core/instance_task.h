/* instance_task.h — what a TASK_START or TASK_STOP asks for, read from its detail and held against
 * what this host offers. The keys are listed in instance.h. Pure; internal to instance.c. */
#ifndef DROVER_AGENT_CORE_INSTANCE_TASK_H
#define DROVER_AGENT_CORE_INSTANCE_TASK_H

#include "agent/core/agent.h"
#include "agent/core/redis_conf.h"
#include "common/model/removal_proof.h"
#include "common/model/task.h"

/* Must not be moved in memory once read: conf points into it and into the settings. */
struct instance_task {
    enum server_flavor flavor;  /* START */
    struct redis_conf conf;     /* START: checked */
    struct removal_proof proof; /* STOP: of this address, checked */
    bool has_key; /* STOP: the proof's signature was checked, so that it may speak for a node that
                     does not answer */
    /* Memory that the above points to. */
    char text[TASK_DETAIL_SIZE];
    char folder[INSTANCE_PATH_SIZE + 8];
    const char *extra[REDIS_CONF_EXTRA_MAX];
};

/* ERR_INVALID: a line that is wrong, unknown, missing or twice; ERR_REFUSED: not for this agent, or
 * not what this host offers (port, address, memory of one server, extra line); as
 * removal_proof_parse() for STOP. */
int instance_task_read(struct instance_task *out,
                       const struct task *task,
                       const struct instance_settings *settings,
                       struct err *err) WARN_UNUSED;

#endif
