/* redis_socket.c — see redis_socket.h.
 *
 *   resolving -> connecting -> [handshaking] -> open -> closing -> freed
 *                 ^     | refused, another address is left
 *                 +-----+
 */
#include "common/io/redis_socket.h"

#include "common/base/alloc.h"
#include "common/base/check.h"
#include "common/io/clock.h"
#include "common/io/redis_tls.h"

#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>
#include <uv.h>

#include "common/base/banned.h" /* last: system headers may use what it bans */

#define KEEPALIVE_S 15 /* a peer that vanished is noticed on an idle connection */

struct redis_socket {
    union {
        uv_handle_t handle;
        uv_stream_t stream;
        uv_tcp_t tcp;
        uv_pipe_t pipe;
    } uv;
    bool has_handle; /* uv is initialised and not yet closed */
    bool is_closing; /* the owner has let go */
    bool is_resolving;
    bool has_failed; /* told or about to be told */
    uv_getaddrinfo_t resolve;
    uv_connect_t connect;
    struct addrinfo *addresses; /* owned; NULL for numeric addresses and paths */
    struct addrinfo *next;      /* to try when the present one refuses */

    struct loop *loop;
    struct address address;
    struct redis_socket_buffers *buffers;
    struct redis_socket_handler handler;
    struct redis_tls *tls;         /* owned; NULL: plain */
    struct strbuf output;          /* encrypted bytes on their way out */
    struct loop_timer *fail_timer; /* carries a failure out of a call of ours */
    struct err failure;
};

struct pending_write {
    uv_write_t request;
    char data[];
};

static void fail_later(struct redis_socket *s, int code, const char *what, const char *why);
static void fail_now(struct redis_socket *s, int code, const char *what, const char *why);
static void fail_timer_fired(void *user);
static void start(struct redis_socket *s);
static void connect_to(struct redis_socket *s, const struct sockaddr *to);
static void resolve_done(uv_getaddrinfo_t *request, int status, struct addrinfo *found);
static void connect_done(uv_connect_t *request, int status);
static void handle_closed(uv_handle_t *handle);
static void send_raw(struct redis_socket *s, const char *data, size_t size);
static void free_if_done(struct redis_socket *s);

struct redis_socket *redis_socket_new(const struct redis_socket_place *place,
                                      const struct address *address,
                                      const struct redis_socket_handler *handler)
{
    struct redis_socket *s = xcalloc(1, sizeof(*s));
    s->loop = place->loop;
    s->buffers = place->buffers;
    s->address = *address;
    s->handler = *handler;
    s->fail_timer = loop_timer_new(s->loop, fail_timer_fired, s);
    if (place->context != NULL && address->host[0] != '/') {
        s->tls = redis_tls_new(place->context,
                               place->tls_name != NULL ? place->tls_name : address->host);
    }
    start(s);
    return s;
}

void redis_socket_write(struct redis_socket *s, const char *data, size_t size)
{
    CHECK(!s->is_closing);
    if (s->has_failed) {
        return; /* its owner is about to be told */
    }
    if (s->tls == NULL) {
        send_raw(s, data, size);
        return;
    }
    struct err err = {0};
    if (redis_tls_write(s->tls, data, size, &err) != 0) {
        fail_later(s, err.code, err.text, NULL);
        return;
    }
    strbuf_clear(&s->output);
    redis_tls_take_output(s->tls, &s->output);
    send_raw(s, s->output.data, s->output.len);
}

void redis_socket_close(struct redis_socket *s)
{
    if (s == NULL) {
        return;
    }
    CHECK(!s->is_closing);
    s->is_closing = true;
    loop_timer_set(s->fail_timer, NEVER);
    if (s->is_resolving) {
        (void)uv_cancel((uv_req_t *)&s->resolve); /* one that runs already is waited for */
    }
    if (s->has_handle && !uv_is_closing(&s->uv.handle)) {
        uv_close(&s->uv.handle, handle_closed);
    }
    free_if_done(s);
}

static void free_if_done(struct redis_socket *s)
{
    if (!s->is_closing || s->is_resolving || s->has_handle) {
        return;
    }
    uv_freeaddrinfo(s->addresses);
    redis_tls_free(s->tls);
    strbuf_release(&s->output);
    loop_timer_free(s->fail_timer);
    free(s);
}

/* ---- failing ---- */

static void fail_fill(struct redis_socket *s, int code, const char *what, const char *why)
{
    if (why != NULL) {
        err_set(&s->failure, code, "%s: %s", what, why);
    } else {
        err_set(&s->failure, code, "%s", what);
    }
}

static void fail_later(struct redis_socket *s, int code, const char *what, const char *why)
{
    if (!s->has_failed && !s->is_closing) {
        s->has_failed = true;
        fail_fill(s, code, what, why);
        loop_timer_set(s->fail_timer, clock_now_ms());
    }
}

static void fail_now(struct redis_socket *s, int code, const char *what, const char *why)
{
    if (!s->has_failed && !s->is_closing) {
        s->has_failed = true;
        fail_fill(s, code, what, why);
        s->handler.failed(s->handler.user, &s->failure); /* closes us */
    }
}

static void fail_timer_fired(void *user)
{
    struct redis_socket *s = user;
    s->handler.failed(s->handler.user, &s->failure);
}

/* ---- connecting ---- */

static void start_path(struct redis_socket *s)
{
    struct sockaddr_un un;
    if (strlen(s->address.host) >= sizeof(un.sun_path)) {
        fail_later(s, ERR_UNAVAILABLE, "the path of the unix socket is too long", s->address.host);
        return;
    }
    CHECK(uv_pipe_init(loop_uv(s->loop), &s->uv.pipe, 0) == 0);
    s->has_handle = true;
    s->uv.handle.data = s;
    uv_pipe_connect(&s->connect, &s->uv.pipe, s->address.host, connect_done);
}

static void start(struct redis_socket *s)
{
    if (s->address.host[0] == '/') {
        start_path(s);
        return;
    }
    struct sockaddr_in v4;
    if (uv_ip4_addr(s->address.host, s->address.port, &v4) == 0) {
        connect_to(s, (const struct sockaddr *)&v4);
        return;
    }
    struct sockaddr_in6 v6;
    if (uv_ip6_addr(s->address.host, s->address.port, &v6) == 0) {
        connect_to(s, (const struct sockaddr *)&v6);
        return;
    }
    char port[8];
    (void)snprintf(port, sizeof(port), "%u", (unsigned)s->address.port);
    struct addrinfo hints = {
        .ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_flags = AI_ADDRCONFIG};
    int rc =
        uv_getaddrinfo(loop_uv(s->loop), &s->resolve, resolve_done, s->address.host, port, &hints);
    if (rc != 0) {
        fail_later(s, ERR_UNAVAILABLE, "cannot look up the name", uv_strerror(rc));
        return;
    }
    s->is_resolving = true;
}

static void resolve_done(uv_getaddrinfo_t *request, int status, struct addrinfo *found)
{
    struct redis_socket *s =
        (struct redis_socket *)((char *)request - offsetof(struct redis_socket, resolve));
    s->is_resolving = false;
    s->addresses = found;
    if (s->is_closing) {
        free_if_done(s);
        return;
    }
    if (status != 0 || found == NULL) {
        fail_now(s, ERR_UNAVAILABLE, "cannot look up the name",
                 status != 0 ? uv_strerror(status) : "no address");
        return;
    }
    s->next = found->ai_next;
    connect_to(s, found->ai_addr);
}

static void connect_to(struct redis_socket *s, const struct sockaddr *to)
{
    CHECK(!s->has_handle);
    CHECK(uv_tcp_init(loop_uv(s->loop), &s->uv.tcp) == 0);
    s->has_handle = true;
    s->uv.handle.data = s;
    int rc = uv_tcp_connect(&s->connect, &s->uv.tcp, to, connect_done);
    if (rc != 0) {
        fail_later(s, ERR_UNAVAILABLE, "cannot connect", uv_strerror(rc));
    }
}

static void buffer_wanted(uv_handle_t *handle, size_t suggested, uv_buf_t *buf)
{
    (void)suggested;
    struct redis_socket *s = handle->data;
    *buf = uv_buf_init(s->buffers->raw, sizeof(s->buffers->raw));
}

/* Sends what TLS wants to say and hands over what it has decrypted. */
static void tls_received(struct redis_socket *s, const char *data, size_t size)
{
    struct err err = {0};
    bool was_ready = redis_tls_is_ready(s->tls);
    int rc = redis_tls_feed(s->tls, data, size, &err);
    strbuf_clear(&s->output);
    redis_tls_take_output(s->tls, &s->output); /* an alert too tells the peer why */
    if (s->output.len > 0) {
        send_raw(s, s->output.data, s->output.len);
    }
    if (rc != 0) {
        fail_now(s, rc, err.text, NULL);
        return;
    }
    if (!redis_tls_is_ready(s->tls)) {
        return;
    }
    if (!was_ready) {
        s->handler.connected(s->handler.user);
    }
    while (!s->is_closing && !s->has_failed) {
        int count = redis_tls_read(s->tls, s->buffers->plain, (int)sizeof(s->buffers->plain), &err);
        if (count < 0) {
            fail_now(s, count, err.text, NULL);
        }
        if (count <= 0) {
            return;
        }
        s->handler.received(s->handler.user, s->buffers->plain, (size_t)count);
    }
}

static void stream_read(uv_stream_t *stream, ssize_t count, const uv_buf_t *buf)
{
    struct redis_socket *s = stream->data;
    if (count > 0) {
        if (s->tls != NULL) {
            tls_received(s, buf->base, (size_t)count);
        } else {
            s->handler.received(s->handler.user, buf->base, (size_t)count);
        }
    } else if (count == UV_EOF) {
        fail_now(s, ERR_UNAVAILABLE, "the server closed the connection", NULL);
    } else if (count < 0) {
        fail_now(s, ERR_UNAVAILABLE, "the connection broke", uv_strerror((int)count));
    }
}

static void connect_done(uv_connect_t *request, int status)
{
    struct redis_socket *s = request->handle->data;
    if (s->is_closing || s->has_failed) {
        return; /* the close callback frees */
    }
    if (status != 0 && s->next != NULL) {
        uv_close(&s->uv.handle, handle_closed); /* goes on with the next address */
        return;
    }
    if (status != 0) {
        fail_now(s, ERR_UNAVAILABLE, "cannot connect", uv_strerror(status));
        return;
    }
    if (s->uv.handle.type == UV_TCP) {
        (void)uv_tcp_nodelay(&s->uv.tcp, 1);
        (void)uv_tcp_keepalive(&s->uv.tcp, 1, KEEPALIVE_S);
    }
    int rc = uv_read_start(&s->uv.stream, buffer_wanted, stream_read);
    if (rc != 0) {
        fail_now(s, ERR_UNAVAILABLE, "cannot read", uv_strerror(rc));
        return;
    }
    if (s->tls == NULL) {
        s->handler.connected(s->handler.user);
        return;
    }
    strbuf_clear(&s->output);
    redis_tls_take_output(s->tls, &s->output);
    send_raw(s, s->output.data, s->output.len);
}

static void handle_closed(uv_handle_t *handle)
{
    struct redis_socket *s = handle->data;
    s->has_handle = false;
    if (s->is_closing) {
        free_if_done(s);
        return;
    }
    CHECK(s->next != NULL);
    const struct addrinfo *to = s->next;
    s->next = to->ai_next;
    connect_to(s, to->ai_addr);
}

/* ---- writing ---- */

static void write_done(uv_write_t *request, int status)
{
    struct redis_socket *s = request->handle->data;
    free(request->data);
    if (status != 0 && status != UV_ECANCELED) {
        fail_now(s, ERR_UNAVAILABLE, "cannot send", uv_strerror(status));
    }
}

static void send_raw(struct redis_socket *s, const char *data, size_t size)
{
    uv_buf_t buf = uv_buf_init((char *)data, (unsigned)size);
    CHECK(buf.len == size);
    int sent = uv_try_write(&s->uv.stream, &buf, 1);
    if (sent < 0 && sent != UV_EAGAIN) {
        fail_later(s, ERR_UNAVAILABLE, "cannot send", uv_strerror(sent));
        return;
    }
    size_t done = sent > 0 ? (size_t)sent : 0;
    if (done == size) {
        return;
    }
    struct pending_write *pending = xmalloc(sizeof(*pending) + size - done);
    memcpy(pending->data, data + done, size - done);
    pending->request.data = pending;
    buf = uv_buf_init(pending->data, (unsigned)(size - done));
    int rc = uv_write(&pending->request, &s->uv.stream, &buf, 1, write_done);
    if (rc != 0) {
        free(pending);
        fail_later(s, ERR_UNAVAILABLE, "cannot send", uv_strerror(rc));
    }
}
