/* bus.h — requests and replies between agents (who dial) and coordinators (who listen), as opaque
 * bytes.
 *
 * nng req0/rep0 with one context a request, so many requests are in flight at once and a reply may
 * come much later (long-poll). The URL picks the transport: inproc://name, tcp://host:port,
 * tls+tcp://host:port, ipc://path. Nothing is sent twice: a resend is the caller's decision. nng's
 * threads never reach the caller: all callbacks run on the loop. Encoding is common/wire's job.
 * Loop thread only. */
#ifndef DROVER_IO_BUS_H
#define DROVER_IO_BUS_H

#include "common/base/err.h"
#include "common/io/loop.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define BUS_MESSAGE_SIZE_MAX \
    8388608 /* 8 MiB; a full view of 1,000 nodes is about 300 KiB, more is nonsense */
#define BUS_SERVER_REQUESTS_MAX \
    4096 /* requests without a reply: 1,000 agents with a long-poll and 3 more each */
#define BUS_CLIENT_REQUESTS_MAX 1024 /* requests in flight of one client */
#define BUS_URLS_MAX 8               /* coordinators an agent may know */

/* All strings are copied. Zeroed: defaults. The TLS members matter for tls+tcp:// only; PEM files.
 */
struct bus_options {
    const char *tls_ca;   /* client: whom to trust (required); server: when set, clients must show a
                             certificate of it */
    const char *tls_cert; /* server: required; client: optional */
    const char *tls_key;
    const char *tls_name;     /* client: name to expect instead of the URL's host */
    bool tls_insecure;        /* client: do not check the server's certificate */
    int64_t reconnect_ms_min; /* 0: 100 */
    int64_t reconnect_ms_max; /* 0: 2000 */
};

/* Bytes of the caller's. */
struct bus_bytes {
    const void *data;
    size_t size;
};

/* ---- client ---- */

struct bus_client;

/* What came of one request; valid during the callback. */
struct bus_result {
    /* 0; ERR_TIMEOUT: no reply in time, also when there was never a connection; ERR_UNAVAILABLE:
     * the connection broke after the request was sent, or nng is out of resources; ERR_LIMIT:
     * message or queue too big; ERR_CANCELLED. */
    int code;
    struct err err;
    int url_index;
    bool was_sent;    /* on failure: the coordinator may have got the request */
    const void *data; /* the reply when code is 0 */
    size_t size;
};

/* Starts dialing every URL in the background and keeps reconnecting. A connection that stayed
 * silent during the whole of a request that timed out is made anew: the peer may have vanished
 * without a word. 1..BUS_URLS_MAX urls. ERR_CONFIG: bad URL, unknown scheme, TLS file unusable. An
 * unreachable coordinator is no error here. */
struct bus_client *bus_client_new(struct loop *loop,
                                  const char *const *urls,
                                  int url_count,
                                  const struct bus_options *options,
                                  struct err *err);

/* Every outstanding callback runs with ERR_CANCELLED before this returns. May wait a moment for
 * nng's threads. Not from inside a callback of this client. NULL is legal. */
void bus_client_free(struct bus_client *client);

/* Sends a copy of data (1..BUS_MESSAGE_SIZE_MAX bytes) to coordinator url_index. 'done' runs
 * exactly once, never from inside this call. timeout_ms >= 1 covers connecting and the reply. */
void bus_client_request(struct bus_client *client,
                        int url_index,
                        const struct bus_bytes *message,
                        int64_t timeout_ms,
                        void (*done)(void *user, const struct bus_result *result),
                        void *user);

/* True while there is a connection to that coordinator. A hint only: it may be gone by the next
 * line. */
bool bus_client_is_connected(const struct bus_client *client, int url_index);

/* ---- server ---- */

struct bus_server;
struct bus_request; /* one request that waits for its reply; owned by the bus, valid until replied
                       or dropped */

struct bus_handler {
    void (*on_request)(void *user, struct bus_request *request, const void *data, size_t size);
    void *user;
};

/* Listens. handler->on_request gets each request; its bytes are valid until bus_reply() or
 * bus_request_drop(). ERR_CONFIG with a hint: bad URL, unknown scheme, address in use or not ours,
 * TLS file unusable. */
struct bus_server *bus_server_new(struct loop *loop,
                                  const char *url,
                                  const struct bus_options *options,
                                  const struct bus_handler *handler,
                                  struct err *err);

/* Stops listening and drops what is unanswered: every struct bus_request is invalid afterwards.
 * NULL is legal. */
void bus_server_free(struct bus_server *server);

/* The URL really listened on, e.g. with the port that the system chose for tcp://127.0.0.1:0. */
const char *bus_server_url(const struct bus_server *server);

/* Requests that wait for a reply now. At BUS_SERVER_REQUESTS_MAX new ones wait unread until one is
 * answered. */
int bus_server_waiting_count(const struct bus_server *server);

/* The address of who asks, "10.0.0.1:4711" or "inproc", for logs only: it proves nothing. Valid as
 * long as request. */
const char *bus_request_peer(const struct bus_request *request);

/* Sends a copy of data (1..BUS_MESSAGE_SIZE_MAX bytes) and ends the request. A peer that is gone
 * makes no error. */
void bus_reply(struct bus_request *request, const void *data, size_t size);
/* Ends the request without a reply: the peer times out. For requests that cannot be decoded. */
void bus_request_drop(struct bus_request *request);

#endif
