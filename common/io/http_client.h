/* http_client.h — HTTP requests on the loop, by libcurl's multi interface.
 *
 * Generic: the etcd gateway, webhooks and the Prometheus API use it. HTTP/1.1 only (one request a
 * connection at a time, so a slow answer delays nobody else), no redirects, no proxy from the
 * environment, certificates always verified. Must not know what is asked. The process must ignore
 * SIGPIPE (loop_new() does): OpenSSL writes to broken connections. Source: curl's libcurl-multi(3),
 * libcurl-errors(3). */
#ifndef DROVER_IO_HTTP_CLIENT_H
#define DROVER_IO_HTTP_CLIENT_H

#include "common/base/err.h"
#include "common/base/strbuf.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

#define HTTP_HEADERS_MAX 16

struct http_response;
struct http_client; /* opaque: a pool of connections; from http_client_new() to http_client_close()
                     */
struct http_call;   /* opaque: one request on its way; gone when its 'done' runs or after
                       http_call_cancel() */

/* Everything is copied by http_client_start(). */
struct http_request {
    const char *method;                    /* "GET", "POST", ... */
    const char *url;                       /* http:// or https:// */
    const char *headers[HTTP_HEADERS_MAX]; /* "Name: value", up to the first NULL */
    const void *body;
    size_t body_size;           /* 0 = no body */
    int64_t timeout_ms;         /* for the whole exchange; 0 = none, for streams */
    int64_t connect_timeout_ms; /* > 0; name, TCP and TLS */
    size_t response_size_max;   /* > 0; for a stream: of what one delivery may hold */
    bool is_fresh;         /* do not reuse a connection: after a failure the old ones are suspect */
    const char *ca_file;   /* PEM; NULL = the system's */
    const char *cert_file; /* PEM client certificate, with key_file; NULL = none */
    const char *key_file;
    /* Not NULL makes it a stream: body bytes are handed over as they come and response.body stays
     * empty. The callee consumes what it wants from 'body'; the rest is there again next time. It
     * may cancel the call. */
    void (*received)(void *user, struct strbuf *body);
    void (*done)(void *user,
                 struct http_response *response); /* once, from the loop; not after a cancel */
    void *user;
};

struct http_response {
    /* 0: an answer arrived completely, whatever its status. ERR_UNAVAILABLE: no connection;
     * ERR_TIMEOUT; ERR_LIMIT: answer too big; ERR_AUTH: TLS refused by either side; ERR_INVALID:
     * bad URL or unreadable certificate file; ERR_IO: lost on the way. */
    int code;
    struct err err;
    bool is_maybe_received; /* false: certainly no byte of the body reached the server */
    long status;            /* HTTP status; 0 = none */
    struct strbuf body;     /* valid during the callback; may be taken over with strbuf_detach() */
};

struct http_client *http_client_new(uv_loop_t *loop);

/* Starts a request; 'done' runs later from the loop, never from inside this call. A request is sent
 * at most once: libcurl is kept from repeating it when a kept-alive connection breaks. */
struct http_call *http_client_start(struct http_client *client, const struct http_request *request);

/* Ends a request without its callback. Not from inside libcurl's own callbacks, which this API
 * never exposes. */
void http_call_cancel(struct http_call *call);

/* Cancels every request, then runs 'closed' (may be NULL) from the loop; the client is gone after
 * it. */
void http_client_close(struct http_client *client, void (*closed)(void *user), void *user);

#endif
