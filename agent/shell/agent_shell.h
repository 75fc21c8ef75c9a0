/* agent_shell.h — the agent core on a real loop: bus, Redis connections, fence file, discovery,
 * timer.
 *
 * Turns effects into calls of common/io and what comes back into events; decides nothing. Used by
 * drover-agent and by the standalone coordinator, which runs one inside its own process. Loop
 * thread only. */
#ifndef DROVER_AGENT_SHELL_AGENT_SHELL_H
#define DROVER_AGENT_SHELL_AGENT_SHELL_H

#include "agent/core/agent.h"
#include "common/base/err.h"
#include "common/io/bus.h"
#include "common/io/log_sink.h"
#include "common/io/loop.h"
#include "common/io/redis_link.h"

#include <stdint.h>

struct agent_shell;

/* Texts are copied; loop and log stay the caller's and must outlive the shell. */
struct agent_shell_options {
    struct loop *loop;
    struct log_sink *log;                /* NULL: log events are dropped */
    const char *const *coordinator_urls; /* 1..BUS_URLS_MAX */
    int coordinator_url_count;
    struct bus_options bus;
    struct redis_options redis; /* its user and password are also the core's, for MIGRATE */
    const char
        *state_folder; /* keeps the fence; made with mode 0700 when missing, locked while we run */
    bool discovers;    /* serve the redis-server and valkey-server processes of this host */
    const char *redis_program;  /* for servers started here; NULL: redis-server, from PATH */
    const char *valkey_program; /* likewise; NULL: valkey-server */
    const char *webhook_token;  /* for webhooks of config.outside; NULL: none. Never logged */
    const char *webhook_ca;     /* PEM file of who signs their certificates; NULL: the system's */
    struct agent_config config; /* incarnation, seed and fence_seen are filled in by the shell */
    /* Called once, when the core has ended by itself or after agent_shell_stop(); err->code 0 =
     * clean. */
    void (*on_exit)(void *user, const struct err *err);
    void *user;
};

/* Reads the fence, dials the coordinators and starts the core. ERR_CONFIG: bad URL or TLS file;
 * ERR_EXISTS: another agent uses the state folder; ERR_IO: the folder or the fence file cannot be
 * used. */
struct agent_shell *agent_shell_new(const struct agent_shell_options *options, struct err *err);

/* Frees everything at once; answers still awaited are dropped. NULL is legal. */
void agent_shell_free(struct agent_shell *shell);

/* Asks the core to finish what must not be cut; on_exit follows. Safe to call twice. */
void agent_shell_stop(struct agent_shell *shell);

/* Read-only, for tests and metrics. */
const struct agent *agent_shell_core(const struct agent_shell *shell);

#endif
