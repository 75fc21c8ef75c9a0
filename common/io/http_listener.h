/* http_listener.h — the socket an HTTP server listens on, with errors that say what to do. Internal
 * to http_server. */
#ifndef DROVER_IO_HTTP_LISTENER_H
#define DROVER_IO_HTTP_LISTENER_H

#include "common/io/http_server.h"

/* A listening descriptor (>= 0) and its port (0 for a unix socket), or ERR_CONFIG. */
int http_listener_open(const struct http_options *options,
                       uint16_t *port,
                       struct err *err) WARN_UNUSED;

#endif
