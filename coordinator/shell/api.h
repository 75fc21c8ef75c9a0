/* api.h — the HTTP API of the coordinator: JSON for operators and tools, probes, metrics, a stream
 * of events.
 *
 * Routes, fields and errors: docs/api.md. Reads the core through coordinator_shell and hands
 * operators' commands in; it decides nothing about the cluster. Every coordinator answers; one that
 * does not lead says who does. Loop thread only. It must not know the store, the bus or protobuf.
 */
#ifndef DROVER_COORDINATOR_SHELL_API_H
#define DROVER_COORDINATOR_SHELL_API_H

#include "common/base/err.h"
#include "common/io/http_server.h"
#include "common/io/signer.h"
#include "coordinator/shell/coordinator_shell.h"

#include <stdint.h>

struct api;

struct api_options {
    struct coordinator_shell *shell; /* stays the caller's; must outlive the API */
    struct http_options http;        /* where to listen; copied */
    struct signer *signer; /* of removal certificates; NULL = they are not signed; stays the
                              caller's, must outlive the API */
};

/* Listens. NULL and 'err' on failure: ERR_CONFIG, e.g. the address is in use. */
struct api *api_new(const struct api_options *options, struct err *err);
/* Closes all connections; commands that were handed in go on without an answer. NULL is legal. */
void api_free(struct api *api);
/* The port really listened on. */
uint16_t api_port(const struct api *api);

#endif
