/* instance_host.h — carries out what the core asks of this host (agent/core/host_call.h): folders,
 * confs and processes of the servers that drover starts here.
 *
 * The server of a folder is the process whose program is redis-server or valkey-server and whose
 * working folder it is: that holds over restarts of the agent, and no pid file can lie. Decides
 * nothing. Loop thread only. */
#ifndef DROVER_AGENT_SHELL_INSTANCE_HOST_H
#define DROVER_AGENT_SHELL_INSTANCE_HOST_H

#include "agent/core/agent.h"
#include "common/io/loop.h"

struct instance_host;

struct instance_host_options {
    struct loop *loop;
    const char *folder;         /* absolute; made (0700) when missing; "" = every call is refused */
    const char *redis_program;  /* path or name; NULL: redis-server */
    const char *valkey_program; /* path or name; NULL: valkey-server */
    /* Called once for each call, never from inside instance_host_submit(). The event holds kind,
     * req_id, code, err and the facts, all valid during the call. */
    void (*done)(void *user, struct agent_event *event);
    void *user;
};

/* ERR_CONFIG: the folder's path is not absolute; ERR_IO: it cannot be made. NULL and 'err' then. */
struct instance_host *instance_host_new(const struct instance_host_options *options,
                                        struct err *err);
/* Calls without an answer get none. Servers run on. NULL is legal. */
void instance_host_free(struct instance_host *host);
/* The call is copied. */
void instance_host_submit(struct instance_host *host,
                          uint64_t req_id,
                          const struct host_call *call);

#endif
