/* bus_server.c — the listening end of bus.h.
 *
 * A bus_request is a slot with an nng context and aio of its own that goes round:
 *
 *   receiving --(nng: message)--> posted --(loop)--> waiting --(bus_reply)--> sending --(nng:
 * sent)--> receiving
 *                                                       +-----(bus_request_drop)-------------------------^
 *
 * nng's threads own a slot while it receives and sends, the loop while it is posted or waits. */
#include "common/io/bus.h"

#include "common/base/alloc.h"
#include "common/base/check.h"
#include "common/io/bus_transport.h"

#include <arpa/inet.h>
#include <nng/nng.h>
#include <nng/protocol/reqrep0/rep.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/banned.h" /* last: system headers may use what it bans */

#define SLOTS_STEP \
    16 /* slots are made so many at a time, as soon as fewer than half of that are free */
#define PEER_TEXT_SIZE 64

enum slot_phase { SLOT_RECEIVING, SLOT_POSTED, SLOT_WAITING, SLOT_SENDING };

struct bus_request {
    struct bus_server *server; /* NULL once the server is gone and only the post is left */
    struct loop *loop;
    nng_ctx ctx;
    nng_aio *aio;
    nng_msg *msg;     /* the request; owned while POSTED and WAITING */
    int error;        /* of the last receive */
    atomic_int phase; /* enum slot_phase */
    char peer[PEER_TEXT_SIZE];
};

struct bus_server {
    struct loop *loop;
    struct bus_handler handler;
    nng_socket socket;
    bool has_socket;
    nng_tls_config *tls;        /* owned; NULL without TLS */
    char *url;                  /* owned */
    struct bus_request **slots; /* owned */
    int slot_count;
    int slot_capacity;
    int waiting_count; /* posted slots that the loop has seen and that have no reply yet */
};

static int server_listen(struct bus_server *server,
                         const char *url,
                         const struct bus_options *options,
                         struct err *err);
static int listen_err(int rv, const char *url, struct err *err);
static void server_note_url(struct bus_server *server, nng_listener listener, const char *url);
static int server_grow(struct bus_server *server);
static void slot_receive(struct bus_request *slot);
static void slot_progress(void *user);
static void slot_received(void *user);
static void slot_free(struct bus_request *slot);
static void slot_note_peer(struct bus_request *slot);

struct bus_server *bus_server_new(struct loop *loop,
                                  const char *url,
                                  const struct bus_options *options,
                                  const struct bus_handler *handler,
                                  struct err *err)
{
    if (bus_transport_check_url(url, err) != 0) {
        return NULL;
    }
    struct bus_server *server = xcalloc(1, sizeof(*server));
    server->loop = loop;
    server->handler = *handler;
    if (server_listen(server, url, options, err) != 0) {
        bus_server_free(server);
        return NULL;
    }
    return server;
}

void bus_server_free(struct bus_server *server)
{
    if (server == NULL) {
        return;
    }
    if (server->has_socket) {
        (void)nng_close(server->socket); /* ends every context with ECLOSED */
    }
    for (int i = 0; i < server->slot_count; i++) {
        struct bus_request *slot = server->slots[i];
        nng_aio_wait(slot->aio);
        if (atomic_load(&slot->phase) == SLOT_POSTED) {
            slot->server = NULL; /* its post is on the way and frees it */
        } else {
            slot_free(slot);
        }
    }
    if (server->tls != NULL) {
        nng_tls_config_free(server->tls);
    }
    free(server->slots);
    free(server->url);
    free(server);
}

const char *bus_server_url(const struct bus_server *server)
{
    return server->url;
}

int bus_server_waiting_count(const struct bus_server *server)
{
    return server->waiting_count;
}

/* ---- requests ---- */

const char *bus_request_peer(const struct bus_request *request)
{
    return request->peer;
}

void bus_reply(struct bus_request *request, const void *data, size_t size)
{
    CHECK(atomic_load(&request->phase) == SLOT_WAITING);
    CHECK(size >= 1);
    CHECK(size <= BUS_MESSAGE_SIZE_MAX);
    nng_msg *reply = bus_transport_message(data, size);
    if (reply == NULL) {
        bus_request_drop(request);
        return;
    }
    nng_msg_free(request->msg);
    request->msg = NULL;
    request->server->waiting_count--;
    nng_aio_set_msg(request->aio, reply);
    atomic_store(&request->phase, SLOT_SENDING);
    nng_ctx_send(request->ctx, request->aio);
}

void bus_request_drop(struct bus_request *request)
{
    CHECK(atomic_load(&request->phase) == SLOT_WAITING);
    nng_msg_free(request->msg);
    request->msg = NULL;
    request->server->waiting_count--;
    slot_receive(request);
}

/* ---- slots ---- */

static void slot_receive(struct bus_request *slot)
{
    atomic_store(&slot->phase, SLOT_RECEIVING);
    nng_ctx_recv(slot->ctx, slot->aio);
}

/* On nng's threads: a receive or a send has ended. */
static void slot_progress(void *user)
{
    struct bus_request *slot = user;
    int rv = nng_aio_result(slot->aio);
    if (rv == NNG_ECLOSED || rv == NNG_ECANCELED) {
        if (atomic_load(&slot->phase) == SLOT_SENDING) {
            nng_msg_free(nng_aio_get_msg(slot->aio));
            nng_aio_set_msg(slot->aio, NULL);
        }
        return; /* the server is closing; nothing was posted, so it frees the slot itself */
    }
    if (atomic_load(&slot->phase) == SLOT_SENDING) {
        if (rv != 0) {
            nng_msg_free(
                nng_aio_get_msg(slot->aio)); /* the asker is gone: its own timeout tells it */
            nng_aio_set_msg(slot->aio, NULL);
        }
        slot_receive(slot);
        return;
    }
    slot->error = rv;
    if (rv == 0) {
        slot->msg = nng_aio_get_msg(slot->aio);
        nng_aio_set_msg(slot->aio, NULL);
        slot_note_peer(slot);
    }
    atomic_store(&slot->phase, SLOT_POSTED);
    loop_post(slot->loop, slot_received, slot);
}

static void slot_received(void *user)
{
    struct bus_request *slot = user;
    struct bus_server *server = slot->server;
    if (server == NULL) {
        slot_free(slot);
        return;
    }
    if (slot->error != 0) {
        slot_receive(slot); /* a broken message; by way of the loop, so that it cannot spin in nng's
                               threads */
        return;
    }
    atomic_store(&slot->phase, SLOT_WAITING);
    server->waiting_count++;
    if (server->slot_count - server->waiting_count < SLOTS_STEP / 2) {
        (void)server_grow(server); /* when it fails, askers wait for a slot that becomes free */
    }
    server->handler.on_request(server->handler.user, slot, nng_msg_body(slot->msg),
                               nng_msg_len(slot->msg));
}

static void slot_free(struct bus_request *slot)
{
    if (nng_ctx_id(slot->ctx) > 0) {
        (void)nng_ctx_close(slot->ctx);
    }
    if (slot->aio != NULL) {
        nng_aio_free(slot->aio);
    }
    if (slot->msg != NULL) {
        nng_msg_free(slot->msg);
    }
    free(slot);
}

static void slot_note_peer(struct bus_request *slot)
{
    nng_sockaddr address;
    char host[INET6_ADDRSTRLEN] = "";
    (void)snprintf(slot->peer, sizeof(slot->peer), "local");
    if (nng_pipe_get_addr(nng_msg_get_pipe(slot->msg), NNG_OPT_REMADDR, &address) != 0) {
        return;
    }
    if (address.s_family == NNG_AF_INET) {
        (void)inet_ntop(AF_INET, &address.s_in.sa_addr, host, sizeof(host));
        (void)snprintf(slot->peer, sizeof(slot->peer), "%s:%u", host,
                       (unsigned)ntohs(address.s_in.sa_port));
    } else if (address.s_family == NNG_AF_INET6) {
        (void)inet_ntop(AF_INET6, address.s_in6.sa_addr, host, sizeof(host));
        (void)snprintf(slot->peer, sizeof(slot->peer), "[%s]:%u", host,
                       (unsigned)ntohs(address.s_in6.sa_port));
    } else if (address.s_family == NNG_AF_INPROC) {
        (void)snprintf(slot->peer, sizeof(slot->peer), "inproc");
    }
}

/* ---- the server ---- */

static int server_grow(struct bus_server *server)
{
    for (int i = 0; i < SLOTS_STEP && server->slot_count < BUS_SERVER_REQUESTS_MAX; i++) {
        struct bus_request *slot = xcalloc(1, sizeof(*slot));
        slot->server = server;
        slot->loop = server->loop;
        int rv = nng_aio_alloc(&slot->aio, slot_progress, slot);
        if (rv == 0) {
            rv = nng_ctx_open(&slot->ctx, server->socket);
        }
        if (rv != 0) {
            slot_free(slot);
            return rv;
        }
        ARRAY_RESERVE(server->slots, server->slot_count,
                      server->slot_capacity); /* NOLINT(bugprone-sizeof-expression) */
        server->slots[server->slot_count++] = slot;
        slot_receive(slot);
    }
    return 0;
}

static int server_listen(struct bus_server *server,
                         const char *url,
                         const struct bus_options *options,
                         struct err *err)
{
    if (bus_transport_is_tls(url)) {
        int rc = bus_transport_tls(options, NNG_TLS_MODE_SERVER, url, &server->tls, err);
        if (rc != 0) {
            return rc;
        }
    }
    int rv = nng_rep0_open(&server->socket);
    if (rv != 0) {
        return err_set(err, ERR_IO, "cannot open the bus: %s", nng_strerror(rv));
    }
    server->has_socket = true;
    bus_transport_limit(server->socket);
    nng_listener listener;
    rv = nng_listener_create(&listener, server->socket, url);
    if (rv != 0) {
        return listen_err(rv, url, err);
    }
    if (bus_transport_is_remote(url)) {
        (void)nng_listener_set_bool(listener, NNG_OPT_TCP_KEEPALIVE, true);
        (void)nng_listener_set_bool(listener, NNG_OPT_TCP_NODELAY, true);
    }
    if (server->tls != NULL) {
        rv = nng_listener_set_ptr(listener, NNG_OPT_TLS_CONFIG, server->tls);
    }
    if (rv == 0) {
        rv = server_grow(server);
    }
    if (rv == 0) {
        rv = nng_listener_start(listener, 0);
    }
    if (rv != 0) {
        return listen_err(rv, url, err);
    }
    server_note_url(server, listener, url);
    return 0;
}

static int listen_err(int rv, const char *url, struct err *err)
{
    err_set(err, ERR_CONFIG, "cannot listen on %.200s: %s", url, nng_strerror(rv));
    if (rv == NNG_EADDRINUSE) {
        err_hint(err, "another process listens there: stop it or choose another port");
    } else if (rv == NNG_EADDRINVAL) {
        err_hint(err, "the address must be one of this host's");
    } else if (rv == NNG_EPERM) {
        err_hint(err, "ports below 1024 need the right to bind them; choose another port");
    } else {
        err_hint(err, "check host and port");
    }
    return ERR_CONFIG;
}

/* Puts the port that the system chose in the place of ":0". */
static void server_note_url(struct bus_server *server, nng_listener listener, const char *url)
{
    int port = 0;
    const char *colon = strrchr(url, ':');
    if (bus_transport_is_remote(url) && colon != NULL &&
        nng_listener_get_int(listener, NNG_OPT_TCP_BOUND_PORT, &port) == 0) {
        server->url = xasprintf("%.*s:%d", (int)(colon - url), url, port);
        return;
    }
    server->url = xstrdup(url);
}
