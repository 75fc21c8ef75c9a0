/* http_server.h — HTTP/1.1 for the API, the dashboard and the probes, on the loop.
 *
 * libmicrohttpd without threads. A handler gets each complete request and answers at once or later;
 * a response may also be a stream (Server-Sent Events). Knows no routes and no JSON. Loop thread
 * only. */
#ifndef DROVER_IO_HTTP_SERVER_H
#define DROVER_IO_HTTP_SERVER_H

#include "common/base/err.h"
#include "common/io/loop.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define HTTP_BODY_SIZE_MAX \
    1048576 /* 1 MiB; a request with more is answered 413 without asking the handler */
#define HTTP_CONNECTIONS_MAX 512 /* open connections; more wait in the listen queue */
#define HTTP_IDLE_TIMEOUT_S \
    60 /* a silent connection is closed; not while an answer is being made */
#define HTTP_STREAM_BUFFER_MAX 1048576 /* 1 MiB; bytes a slow reader of a stream may lag behind */
#define HTTP_HEADERS_MAX 16            /* extra headers of one response */

struct http_server;
struct http_request; /* valid until it is answered (http_respond*, http_stream_begin) */
struct http_stream;  /* valid until http_stream_close() or until its 'closed' callback has run */

struct http_options {
    const char *address;  /* numeric IPv4 or IPv6, NULL: 127.0.0.1; "/path": a unix socket (an old
                             one is replaced) */
    uint16_t port;        /* 0: the system chooses */
    const char *tls_cert; /* PEM files; both or none */
    const char *tls_key;
};

struct http_handler {
    void (*on_request)(void *user,
                       struct http_request *request); /* must answer now or later, exactly once */
    void *user;
};

/* ERR_CONFIG with a hint: address in use or not ours, no right to the port, TLS file unusable. */
struct http_server *http_server_new(struct loop *loop,
                                    const struct http_options *options,
                                    const struct http_handler *handler,
                                    struct err *err);
/* Closes all connections. Requests without an answer and open streams become invalid; their
 * 'closed' callbacks run before this returns. Not from inside a callback of this server. NULL is
 * legal. */
void http_server_free(struct http_server *server);
/* The port listened on; 0 for a unix socket. */
uint16_t http_server_port(const struct http_server *server);

/* ---- the request; all texts live as long as the request ---- */
const char *http_request_method(const struct http_request *request); /* "GET" */
const char *http_request_path(
    const struct http_request *request); /* decoded, without the query: "/api/v1/ops" */
/* The decoded value of a query argument; "" for one without a value; NULL when it is absent. */
const char *http_request_query(const struct http_request *request, const char *name);
/* A header's value, name in any case; NULL when absent. */
const char *http_request_header(const struct http_request *request, const char *name);
/* The body, at most HTTP_BODY_SIZE_MAX bytes, with a '\0' after it; never NULL. */
const char *http_request_body(const struct http_request *request, size_t *size);
const char *http_request_peer(const struct http_request *request); /* "10.0.0.1:4711" or "unix" */

/* ---- the answer ---- */
struct http_header {
    const char *name;
    const char *value;
};

/* Everything is copied. A header with a line break in it is left out. */
struct http_response {
    int status;                        /* 200..599 */
    const char *content_type;          /* NULL: none */
    const struct http_header *headers; /* header_count extra headers, at most HTTP_HEADERS_MAX */
    int header_count;
    const void *body; /* 'size' bytes */
    size_t size;
};

/* Answers and ends the request. */
void http_respond(struct http_request *request, const struct http_response *response);
/* Short answers: a text/plain line. */
void http_respond_text(struct http_request *request, int status, const char *text);
/* 404 naming the path; 405 with "Allow: <allowed>", e.g. "GET, POST". */
void http_respond_not_found(struct http_request *request);
void http_respond_method_not_allowed(struct http_request *request, const char *allowed);

/* Answers 200 with a body that grows until closed, ends the request. 'closed' runs once, when the
 * client has gone or the server is freed; it does not run after http_stream_close(). */
struct http_stream *http_stream_begin(struct http_request *request,
                                      const char *content_type,
                                      void (*closed)(void *user),
                                      void *user);
/* Appends a copy. ERR_LIMIT when the reader lags by more than HTTP_STREAM_BUFFER_MAX: nothing was
 * added; close it. */
int http_stream_send(struct http_stream *stream, const void *data, size_t size, struct err *err)
    WARN_UNUSED;
/* Ends the body once everything has been sent; the stream is invalid afterwards. */
void http_stream_close(struct http_stream *stream);

#endif
