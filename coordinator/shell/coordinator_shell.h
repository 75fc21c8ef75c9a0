/* coordinator_shell.h — the coordinator core on a real loop: store, bus, timers; and the door for
 * the HTTP API.
 *
 * Turns effects into calls of common/io and what comes back into events. It makes no decision about
 * the cluster. The API (api.h) reads the core through it and hands operators' commands in. Loop
 * thread only.
 *
 * coordinator/main.c: coordinator_shell_new() -> api_new() -> loop_run() -> api_free() ->
 * coordinator_shell_free(). */
#ifndef DROVER_COORDINATOR_SHELL_COORDINATOR_SHELL_H
#define DROVER_COORDINATOR_SHELL_COORDINATOR_SHELL_H

#include "common/base/err.h"
#include "common/io/bus.h"
#include "common/io/log_sink.h"
#include "common/io/loop.h"
#include "coordinator/core/coordinator.h"

#include <stdbool.h>
#include <stdint.h>

struct coordinator_shell;
struct store; /* common/io/store.h */

/* Texts are copied; loop, store and log stay the caller's and must outlive the shell. */
struct coordinator_shell_options {
    struct loop *loop;
    struct store *store;
    struct log_sink *log; /* NULL: log events are counted and dropped */
    const char *bus_url;
    struct bus_options bus;
    struct coordinator_config config; /* self.instance and seed are drawn by the shell when empty */
    /* Called once, when the core has ended by itself or after coordinator_shell_stop(); err->code 0
     * = clean. */
    void (*on_exit)(void *user, const struct err *err);
    void *user;
};

/* What the shell counted since it started. */
struct coordinator_counters {
    uint64_t steps;
    uint64_t messages_received;
    uint64_t messages_refused; /* could not be decoded */
    uint64_t store_requests;
    uint64_t store_failures;    /* results with a code */
    uint64_t store_undecodable; /* values that are no records of ours */
    uint64_t store_latency_us_sum;
    uint64_t commands;
    uint64_t terms;         /* times we became leader */
    uint64_t log_events[4]; /* by enum log_level */
};

/* Listens on the bus and starts the core. ERR_CONFIG: bad URL, address in use. */
struct coordinator_shell *coordinator_shell_new(const struct coordinator_shell_options *options,
                                                struct err *err);
/* Frees everything; commands still waiting are answered with ERR_CANCELLED first. NULL is legal. */
void coordinator_shell_free(struct coordinator_shell *shell);
/* Asks the core to give its lease back; on_exit follows. Safe to call twice. */
void coordinator_shell_stop(struct coordinator_shell *shell);

/* ---- for the API ---- */

/* Read-only; what its functions return is valid until control goes back to the loop. */
const struct coordinator *coordinator_shell_core(const struct coordinator_shell *shell);
struct loop *coordinator_shell_loop(const struct coordinator_shell *shell);
const struct coordinator_config *coordinator_shell_config(const struct coordinator_shell *shell);
const struct coordinator_counters *coordinator_shell_counters(
    const struct coordinator_shell *shell);
/* The bus URL really listened on. */
const char *coordinator_shell_bus_url(const struct coordinator_shell *shell);
/* True when the last answer of the store was no failure: what /readyz asks. 'err' (may be NULL)
 * gets the last failure. */
bool coordinator_shell_store_is_up(const struct coordinator_shell *shell, struct err *err);

/* Hands a command to the core; it is copied. 'done' runs exactly once: later, or from inside this
 * call when the core answers at once (an error, a plan without a scan). err->code 0 = done;
 * operation_id is "" and plan and description are NULL when the command has none; 'description' is
 * lines for people, of a plan that grows. All of it is valid during the callback only. */
void coordinator_shell_command(struct coordinator_shell *shell,
                               const struct coordinator_command *command,
                               void (*done)(void *user,
                                            const struct err *err,
                                            const char *operation_id,
                                            const struct plan *plan,
                                            const char *description),
                               void *user);
/* A caller that is gone (the HTTP client hung up): its 'done' will not run. The command itself goes
 * on. */
void coordinator_shell_command_forget(struct coordinator_shell *shell, void *user);

/* 'changed' runs after every step of the core that logged an event or answered a command, for
 * streams to the dashboard; one listener, NULL removes it. It must not call
 * coordinator_shell_command() or _free(). */
void coordinator_shell_listen(struct coordinator_shell *shell,
                              void (*changed)(void *user),
                              void *user);

#endif
