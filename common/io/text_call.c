/* text_call.c — see text_call.h. */
#include "common/io/text_call.h"

#include "common/base/alloc.h"
#include "common/base/check.h"
#include "common/io/clock.h"
#include "common/model/ids.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>
#include <uv.h>

#include "common/base/banned.h" /* last: system headers may use what it bans */

struct text_call {
    union {
        uv_handle_t any;
        uv_stream_t stream;
        uv_tcp_t tcp;
        uv_pipe_t pipe;
    } peer;
    uv_getaddrinfo_t lookup;
    uv_connect_t connecting;
    uv_write_t writing;
    struct loop *loop;
    struct loop_timer *timer;
    char *place; /* owned */
    char *text;  /* owned */
    struct strbuf answer;
    size_t answer_size_max;
    int64_t deadline_ms;
    bool is_looking_up;
    bool has_peer; /* the handle is known to libuv */
    bool is_ended; /* done was called, or nobody wants it any more */
    void (*done)(void *user, const struct err *err, const struct strbuf *answer);
    void *user;
};

static void on_connected(uv_connect_t *request, int status);

int text_call_check(const char *place, struct err *err)
{
    size_t prefix_len = strlen(TEXT_CALL_UNIX_PREFIX);
    struct address address;
    if (strncmp(place, TEXT_CALL_UNIX_PREFIX, prefix_len) != 0) {
        return address_parse(&address, place, err);
    }
    if (place[prefix_len] != '/') {
        return err_set(err, ERR_INVALID, "%s: the socket's path is not absolute", place);
    }
    if (strlen(place + prefix_len) >= sizeof(((struct sockaddr_un *)NULL)->sun_path)) {
        return err_set(err, ERR_INVALID, "%s: the socket's path is too long", place);
    }
    return 0;
}

/* ---- ending ---- */

static void release(struct text_call *call)
{
    loop_timer_free(call->timer);
    strbuf_release(&call->answer);
    free(call->place);
    free(call->text);
    free(call);
}

static void on_closed(uv_handle_t *handle)
{
    struct text_call *call = handle->data;
    call->has_peer = false;
    if (!call->is_looking_up) {
        release(call);
    }
}

/* Memory goes once libuv has let go of handle and lookup. */
static void close_all(struct text_call *call)
{
    call->is_ended = true;
    loop_timer_set(call->timer, NEVER);
    if (call->is_looking_up) {
        (void)uv_cancel((uv_req_t *)&call->lookup); /* else its answer comes, and is dropped */
    }
    if (call->has_peer && !uv_is_closing(&call->peer.any)) {
        uv_close(&call->peer.any, on_closed);
    } else if (!call->has_peer && !call->is_looking_up) {
        release(call);
    }
}

static void finish(struct text_call *call, int code, const char *why)
{
    struct err err = {0};
    if (call->is_ended) {
        return;
    }
    call->is_ended = true;
    if (code != 0) {
        (void)err_set(&err, code, "%s: %s", call->place, why);
    }
    call->done(call->user, &err, &call->answer);
    close_all(call);
}

static void on_timer(void *user)
{
    struct text_call *call = user;
    if (clock_now_ms() >= call->deadline_ms) {
        finish(call, ERR_TIMEOUT, "no answer in time");
        return;
    }
    finish(call, ERR_INVALID, "no address that can be called");
}

void text_call_cancel(struct text_call *call)
{
    if (call != NULL) {
        close_all(call);
    }
}

/* ---- talking ---- */

static void on_buffer(uv_handle_t *handle, size_t wanted, uv_buf_t *buffer)
{
    (void)handle;
    size_t size = wanted < 16384 ? wanted : 16384;
    *buffer = uv_buf_init(xmalloc(size), (unsigned)size);
}

static void on_read(uv_stream_t *stream, ssize_t count, const uv_buf_t *buffer)
{
    struct text_call *call = stream->data;
    if (count > 0 && call->answer.len + (size_t)count > call->answer_size_max) {
        finish(call, ERR_LIMIT, "the answer is too long");
    } else if (count > 0) {
        strbuf_add(&call->answer, buffer->base, (size_t)count);
    } else if (count == UV_EOF) {
        finish(call, 0, "");
    } else if (count < 0) {
        finish(call, ERR_UNAVAILABLE, uv_strerror((int)count));
    }
    free(buffer->base);
}

static void on_written(uv_write_t *request, int status)
{
    struct text_call *call = request->data;
    if (status < 0 && status != UV_ECANCELED) {
        finish(call, ERR_UNAVAILABLE, uv_strerror(status));
    }
}

static void on_connected(uv_connect_t *request, int status)
{
    struct text_call *call = request->data;
    if (call->is_ended) {
        return;
    }
    if (status < 0) {
        finish(call, ERR_UNAVAILABLE, uv_strerror(status));
        return;
    }
    uv_buf_t buffer = uv_buf_init(call->text, (unsigned)strlen(call->text));
    call->writing.data = call;
    int code = uv_write(&call->writing, &call->peer.stream, &buffer, 1, on_written);
    code = code == 0 ? uv_read_start(&call->peer.stream, on_buffer, on_read) : code;
    if (code != 0) {
        finish(call, ERR_UNAVAILABLE, uv_strerror(code));
    }
}

/* ---- connecting ---- */

static void on_looked_up(uv_getaddrinfo_t *request, int status, struct addrinfo *found)
{
    struct text_call *call = request->data;
    call->is_looking_up = false;
    if (call->is_ended) {
        uv_freeaddrinfo(found);
        if (!call->has_peer) {
            release(call);
        }
        return;
    }
    if (status < 0) {
        finish(call, ERR_UNAVAILABLE, uv_strerror(status));
        return;
    }
    CHECK(uv_tcp_init(loop_uv(call->loop), &call->peer.tcp) == 0);
    call->peer.any.data = call;
    call->has_peer = true;
    int code = uv_tcp_connect(&call->connecting, &call->peer.tcp, found->ai_addr, on_connected);
    uv_freeaddrinfo(found);
    if (code != 0) {
        finish(call, ERR_UNAVAILABLE, uv_strerror(code));
    }
}

static int look_up(struct text_call *call)
{
    struct address address;
    char service[8];
    struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
    int code = address_parse(&address, call->place, NULL);
    if (code != 0) {
        return code;
    }
    (void)snprintf(service, sizeof(service), "%d", (int)address.port);
    call->lookup.data = call;
    code = uv_getaddrinfo(loop_uv(call->loop), &call->lookup, on_looked_up, address.host, service,
                          &hints);
    call->is_looking_up = code == 0;
    return code;
}

struct text_call *text_call_start(struct loop *loop, const struct text_call_spec *spec)
{
    CHECK(spec->timeout_ms > 0);
    struct text_call *call = xcalloc(1, sizeof(*call));
    call->loop = loop;
    call->place = xstrdup(spec->place);
    call->text = xstrdup(spec->text);
    call->answer_size_max = spec->answer_size_max;
    call->done = spec->done;
    call->user = spec->user;
    call->connecting.data = call;
    call->timer = loop_timer_new(loop, on_timer, call);
    call->deadline_ms = clock_now_ms() + spec->timeout_ms;
    loop_timer_set(call->timer, call->deadline_ms);
    size_t prefix_len = strlen(TEXT_CALL_UNIX_PREFIX);
    bool is_unix = strncmp(spec->place, TEXT_CALL_UNIX_PREFIX, prefix_len) == 0;
    bool is_good = text_call_check(spec->place, NULL) == 0 && (is_unix || look_up(call) == 0);
    if (!is_good) {
        loop_timer_set(call->timer, clock_now_ms());
    } else if (is_unix) {
        CHECK(uv_pipe_init(loop_uv(loop), &call->peer.pipe, 0) == 0);
        call->peer.any.data = call;
        call->has_peer = true;
        uv_pipe_connect(&call->connecting, &call->peer.pipe, spec->place + prefix_len,
                        on_connected);
    }
    return call;
}
