/* bus_client.c — the dialing end of bus.h.
 *
 * Each request has its own nng context and aio. nng's threads run request_progress() only: it
 * starts the receive after the send and hands the end over to the loop with one post. Until that
 * post has run the request is nng's; after it, the loop's. The loop and nng's threads share nothing
 * else but the atomics of a link. */
#include "common/io/bus.h"

#include "common/base/alloc.h"
#include "common/base/check.h"
#include "common/io/bus_transport.h"
#include "common/io/clock.h"

#include <nng/nng.h>
#include <nng/protocol/reqrep0/req.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/banned.h" /* last: system headers may use what it bans */

#define RECONNECT_MS_MIN 100
#define RECONNECT_MS_MAX 2000
/* A connect attempt older than this is given up and made anew when a request times out: the system
 * itself would wait two minutes for a host that went away. */
#define DIAL_MS_MAX 3000

struct bus_link {
    char *url; /* owned */
    nng_socket socket;
    nng_dialer dialer;
    bool has_socket;
    bool has_dialer;
    nng_tls_config *tls; /* owned; NULL without TLS */
    int64_t dialed_ms;   /* when the dialer was last made */
    int64_t heard_ms;    /* when the last reply came */
    atomic_int pipe_id;  /* of the connection; 0: none. Set by nng's threads */
};

struct client_request {
    struct client_request *next;
    struct client_request *previous;
    struct bus_client *client; /* NULL once it was cancelled and only waits to be freed */
    int url_index;
    void (*done)(void *user, const struct bus_result *result);
    void *user;
    int64_t start_ms;
    int64_t deadline_ms;
    struct loop *loop;
    nng_ctx ctx;
    nng_aio *aio;
    /* Written by nng's threads before the post, read by the loop after it. */
    bool was_sent;
    int error;      /* of nng */
    nng_msg *reply; /* owned */
};

struct bus_client {
    struct loop *loop;
    struct bus_link links[BUS_URLS_MAX];
    int link_count;
    int reconnect_ms_min;
    int reconnect_ms_max;
    struct client_request *requests; /* in flight */
    int request_count;
    bool is_calling; /* inside a callback */
};

static int link_open(struct bus_client *client,
                     struct bus_link *link,
                     const char *url,
                     const struct bus_options *options,
                     struct err *err);
static int link_dial(const struct bus_client *client, struct bus_link *link);
static void link_close(struct bus_link *link);
static void link_pipe_changed(nng_pipe pipe, nng_pipe_ev event, void *user);
static void link_suspect(struct bus_client *client,
                         struct bus_link *link,
                         const struct client_request *request);
static void request_progress(void *user);
static void request_ended(void *user);
static void request_finish(struct bus_client *client,
                           struct client_request *request,
                           int code,
                           const struct err *err);
static void request_free(struct client_request *request);

/* ---- client ---- */

struct bus_client *bus_client_new(struct loop *loop,
                                  const char *const *urls,
                                  int url_count,
                                  const struct bus_options *options,
                                  struct err *err)
{
    if (url_count < 1 || url_count > BUS_URLS_MAX) {
        err_set(err, ERR_CONFIG, "%d bus URLs given, 1 to %d are possible", url_count,
                BUS_URLS_MAX);
        return NULL;
    }
    struct bus_client *client = xcalloc(1, sizeof(*client));
    client->loop = loop;
    client->reconnect_ms_min =
        options->reconnect_ms_min > 0 ? (int)options->reconnect_ms_min : RECONNECT_MS_MIN;
    client->reconnect_ms_max =
        options->reconnect_ms_max > 0 ? (int)options->reconnect_ms_max : RECONNECT_MS_MAX;
    for (int i = 0; i < url_count; i++) {
        client->link_count = i + 1;
        if (link_open(client, &client->links[i], urls[i], options, err) != 0) {
            bus_client_free(client);
            return NULL;
        }
    }
    return client;
}

void bus_client_free(struct bus_client *client)
{
    if (client == NULL) {
        return;
    }
    CHECK(!client->is_calling);
    for (int i = 0; i < client->link_count; i++) {
        link_close(&client->links[i]); /* ends every context with ECLOSED */
    }
    struct err err = {0};
    err_set(&err, ERR_CANCELLED, "the bus is closing");
    while (client->requests != NULL) {
        struct client_request *request = client->requests;
        if (request->aio != NULL) {
            nng_aio_wait(request->aio);
        }
        request_finish(client, request, ERR_CANCELLED, &err);
        request->client = NULL; /* its post is on the way and frees it */
    }
    free(client);
}

bool bus_client_is_connected(const struct bus_client *client, int url_index)
{
    CHECK(url_index >= 0);
    CHECK(url_index < client->link_count);
    return atomic_load(&client->links[url_index].pipe_id) != 0;
}

static int request_start(struct client_request *request, const struct bus_bytes *message)
{
    struct bus_client *client = request->client;
    if (client->request_count > BUS_CLIENT_REQUESTS_MAX || message->size > BUS_MESSAGE_SIZE_MAX) {
        return NNG_EMSGSIZE;
    }
    int rv = nng_aio_alloc(&request->aio, request_progress, request);
    if (rv != 0) {
        return rv;
    }
    rv = nng_ctx_open(&request->ctx, client->links[request->url_index].socket);
    if (rv != 0) {
        return rv;
    }
    nng_msg *msg = bus_transport_message(message->data, message->size);
    if (msg == NULL) {
        return NNG_ENOMEM;
    }
    nng_aio_set_msg(request->aio, msg);
    nng_aio_set_timeout(request->aio, (nng_duration)(request->deadline_ms - request->start_ms));
    nng_ctx_send(request->ctx, request->aio);
    return 0;
}

void bus_client_request(struct bus_client *client,
                        int url_index,
                        const struct bus_bytes *message,
                        int64_t timeout_ms,
                        void (*done)(void *user, const struct bus_result *result),
                        void *user)
{
    CHECK(url_index >= 0);
    CHECK(url_index < client->link_count);
    CHECK(message->size >= 1);
    CHECK(timeout_ms >= 1);
    CHECK(timeout_ms <= INT32_MAX);
    struct client_request *request = xcalloc(1, sizeof(*request));
    request->client = client;
    request->loop = client->loop;
    request->url_index = url_index;
    request->done = done;
    request->user = user;
    request->start_ms = clock_now_ms();
    request->deadline_ms = deadline_after(request->start_ms, timeout_ms);
    request->next = client->requests;
    if (request->next != NULL) {
        request->next->previous = request;
    }
    client->requests = request;
    client->request_count++;
    int rv = request_start(request, message);
    if (rv != 0) { /* else it is nng's from here on */
        request->error = rv;
        loop_post(client->loop, request_ended, request);
    }
}

/* ---- requests; this one runs on nng's threads ---- */

static void request_progress(void *user)
{
    struct client_request *request = user;
    int rv = nng_aio_result(request->aio);
    if (rv == 0 && !request->was_sent) {
        request->was_sent = true;
        int64_t left_ms = request->deadline_ms - clock_now_ms();
        nng_aio_set_timeout(request->aio, left_ms > 0 ? (nng_duration)left_ms : 1);
        nng_ctx_recv(request->ctx, request->aio);
        return;
    }
    request->error = rv;
    if (rv == 0) {
        request->reply = nng_aio_get_msg(request->aio);
    } else if (!request->was_sent) {
        nng_msg_free(nng_aio_get_msg(request->aio)); /* a message not sent is ours again */
    }
    nng_aio_set_msg(request->aio, NULL);
    loop_post(request->loop, request_ended, request);
}

static void request_ended(void *user)
{
    struct client_request *request = user;
    struct bus_client *client = request->client;
    if (client != NULL) {
        struct bus_link *link = &client->links[request->url_index];
        struct err err = {0};
        int code = 0;
        if (request->error == 0) {
            link->heard_ms = clock_now_ms();
        } else {
            code = bus_transport_code(request->error);
            long long limit_ms = (long long)(request->deadline_ms - request->start_ms);
            if (code == ERR_TIMEOUT && !request->was_sent) {
                const char *why = link->has_dialer ? bus_transport_why(link->dialer) : NULL;
                err_set(&err, code, "coordinator %s: not connected within %lld ms%s%s", link->url,
                        limit_ms, why != NULL ? ": " : "", why != NULL ? why : "");
                err_hint(
                    &err,
                    "check that it runs and listens there, and that its certificate is trusted");
            } else if (code == ERR_TIMEOUT) {
                err_set(&err, code, "coordinator %s: no reply within %lld ms", link->url, limit_ms);
            } else if (code == ERR_LIMIT) {
                err_set(&err, code,
                        "coordinator %s: the message is over %d bytes or %d requests are in flight",
                        link->url, BUS_MESSAGE_SIZE_MAX, BUS_CLIENT_REQUESTS_MAX);
            } else {
                err_set(&err, code, "coordinator %s: %s", link->url, nng_strerror(request->error));
            }
        }
        request_finish(client, request, code, &err);
        link_suspect(client, link, request);
    }
    request_free(request);
}

/* Takes it off the client's list and tells its owner. */
static void request_finish(struct bus_client *client,
                           struct client_request *request,
                           int code,
                           const struct err *err)
{
    if (request->previous != NULL) {
        request->previous->next = request->next;
    } else {
        client->requests = request->next;
    }
    if (request->next != NULL) {
        request->next->previous = request->previous;
    }
    client->request_count--;
    struct bus_result result = {
        .code = code, .err = *err, .url_index = request->url_index, .was_sent = request->was_sent};
    if (code == 0) {
        result.data = nng_msg_body(request->reply);
        result.size = nng_msg_len(request->reply);
    }
    client->is_calling = true;
    request->done(request->user, &result);
    client->is_calling = false;
}

static void request_free(struct client_request *request)
{
    if (nng_ctx_id(request->ctx) > 0) {
        (void)nng_ctx_close(request->ctx);
    }
    if (request->aio != NULL) {
        nng_aio_free(request->aio);
    }
    if (request->reply != NULL) {
        nng_msg_free(request->reply);
    }
    free(request);
}

/* ---- links ---- */

static int link_open(struct bus_client *client,
                     struct bus_link *link,
                     const char *url,
                     const struct bus_options *options,
                     struct err *err)
{
    link->url = xstrdup(url);
    int rc = bus_transport_check_url(url, err);
    if (rc != 0) {
        return rc;
    }
    if (bus_transport_is_tls(url)) {
        rc = bus_transport_tls(options, NNG_TLS_MODE_CLIENT, url, &link->tls, err);
        if (rc != 0) {
            return rc;
        }
    }
    int rv = nng_req0_open(&link->socket);
    if (rv != 0) {
        return err_set(err, ERR_IO, "cannot open the bus: %s", nng_strerror(rv));
    }
    link->has_socket = true;
    /* nng would send a request again by itself, also over a new connection: the caller decides
     * that. */
    CHECK(nng_socket_set_ms(link->socket, NNG_OPT_REQ_RESENDTIME, NNG_DURATION_INFINITE) == 0);
    bus_transport_limit(link->socket);
    CHECK(nng_pipe_notify(link->socket, NNG_PIPE_EV_ADD_POST, link_pipe_changed, link) == 0);
    CHECK(nng_pipe_notify(link->socket, NNG_PIPE_EV_REM_POST, link_pipe_changed, link) == 0);
    rv = link_dial(client, link);
    if (rv != 0) {
        err_set(err, ERR_CONFIG, "bus URL \"%.200s\": %s", url, nng_strerror(rv));
        err_hint(err, "check host and port");
        return ERR_CONFIG;
    }
    return 0;
}

static int link_dial(const struct bus_client *client, struct bus_link *link)
{
    int rv = nng_dialer_create(&link->dialer, link->socket, link->url);
    if (rv != 0) {
        return rv;
    }
    link->has_dialer = true;
    link->dialed_ms = clock_now_ms();
    (void)nng_dialer_set_ms(link->dialer, NNG_OPT_RECONNMINT, client->reconnect_ms_min);
    (void)nng_dialer_set_ms(link->dialer, NNG_OPT_RECONNMAXT, client->reconnect_ms_max);
    if (bus_transport_is_remote(link->url)) {
        (void)nng_dialer_set_bool(link->dialer, NNG_OPT_TCP_KEEPALIVE, true);
        (void)nng_dialer_set_bool(link->dialer, NNG_OPT_TCP_NODELAY, true);
    }
    if (link->tls != NULL) {
        rv = nng_dialer_set_ptr(link->dialer, NNG_OPT_TLS_CONFIG, link->tls);
        if (rv != 0) {
            return rv;
        }
    }
    return nng_dialer_start(link->dialer, NNG_FLAG_NONBLOCK);
}

static void link_close(struct bus_link *link)
{
    if (link->has_socket) {
        (void)nng_close(link->socket);
    }
    if (link->tls != NULL) {
        nng_tls_config_free(link->tls);
    }
    free(link->url);
    *link = (struct bus_link){0};
}

/* On nng's threads. */
static void link_pipe_changed(nng_pipe pipe, nng_pipe_ev event, void *user)
{
    struct bus_link *link = user;
    int id = nng_pipe_id(pipe);
    if (event == NNG_PIPE_EV_ADD_POST) {
        atomic_store(&link->pipe_id, id);
    } else {
        (void)atomic_compare_exchange_strong(&link->pipe_id, &id, 0);
    }
}

/* A request timed out: makes a connection anew that has been silent all the while, and a connect
 * attempt that hangs. */
static void link_suspect(struct bus_client *client,
                         struct bus_link *link,
                         const struct client_request *request)
{
    if (bus_transport_code(request->error) != ERR_TIMEOUT || request->error == 0) {
        return;
    }
    int id = atomic_load(&link->pipe_id);
    if (id != 0) {
        if (request->was_sent && link->heard_ms < request->start_ms) {
            (void)nng_pipe_close((nng_pipe){.id = (uint32_t)id});
        }
        return;
    }
    if (bus_transport_is_remote(link->url) && clock_now_ms() - link->dialed_ms >= DIAL_MS_MAX) {
        if (link->has_dialer) {
            (void)nng_dialer_close(link->dialer);
            link->has_dialer = false;
        }
        (void)link_dial(
            client, link); /* the URL was good before; if not now, the next timeout tries again */
    }
}
