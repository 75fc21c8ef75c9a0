/* http_server.c — see http_server.h.
 *
 * libmicrohttpd runs without threads: its epoll descriptor stands in our loop, and so does its
 * timeout. A request whose answer is not ready is suspended; so is a stream with nothing to send.
 *
 *   reading -> asked -> answered -> gone            (answered inside on_request)
 *                 \-> suspended -> answered -> gone (answered later)
 */
#include "common/io/http_server.h"

#include "common/base/alloc.h"
#include "common/base/check.h"
#include "common/base/strbuf.h"
#include "common/io/clock.h"
#include "common/io/file_state.h"
#include "common/io/http_listener.h"
#include "common/io/tls_files.h"

#include <arpa/inet.h>
#include <microhttpd.h>
#include <netinet/in.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <uv.h>

#include "common/base/banned.h" /* last: system headers may use what it bans */

#define PEER_TEXT_SIZE 64
#define DISCARDED_BYTES_MAX \
    ((size_t)8 * HTTP_BODY_SIZE_MAX) /* of a body that is too big, before we hang up */
#define STREAM_BLOCK_SIZE 16384      /* bytes handed to a connection at once */

enum request_state { REQUEST_READING, REQUEST_ASKED, REQUEST_SUSPENDED, REQUEST_ANSWERED };

struct http_request {
    struct http_server *server;
    struct http_request *next;
    struct http_request *previous;
    struct MHD_Connection *connection;
    enum request_state state;
    char *path;         /* owned */
    const char *method; /* libmicrohttpd's, as long as the request */
    struct strbuf body;
    size_t discarded_bytes;
    char peer[PEER_TEXT_SIZE];
    int status;                    /* of the answer */
    struct MHD_Response *response; /* owned until it is queued */
    struct http_stream *stream;    /* the answer is a stream; not owned */
    bool is_stream_suspended;      /* the connection waits for bytes of the stream */
};

/* Owned by its MHD_Response: freed with it. */
struct http_stream {
    struct http_request *request; /* NULL once the connection has gone */
    struct strbuf buffer;         /* not yet taken by the connection */
    bool is_closing;              /* http_stream_close() was called; the user holds it no more */
    void (*closed)(void *user);
    void *user;
};

struct http_server {
    struct loop *loop;
    struct http_handler handler;
    struct MHD_Daemon *daemon;
    uint16_t port;
    uv_poll_t *poll; /* of libmicrohttpd's epoll descriptor; freed in its close callback */
    struct loop_timer *timer;
    struct http_request *requests; /* one a connection at most */
    struct strbuf cert;            /* PEM; libmicrohttpd keeps pointers */
    struct strbuf key;
    bool is_running;  /* inside MHD_run */
    bool has_resumed; /* a connection was resumed and not yet looked at */
};

static void server_run(struct http_server *server);
static void server_resume(struct http_server *server, struct MHD_Connection *connection);
static void server_run_later(void *user);
static void poll_ready(uv_poll_t *poll, int status, int events);
static int server_start(struct http_server *server,
                        const struct http_options *options,
                        struct err *err);
static enum MHD_Result handle(void *cls,
                              struct MHD_Connection *connection,
                              const char *url,
                              const char *method,
                              const char *version,
                              const char *upload,
                              size_t *upload_size,
                              void **state);
static void handled(void *cls,
                    struct MHD_Connection *connection,
                    void **state,
                    enum MHD_RequestTerminationCode code);
static void request_answer(struct http_request *request, int status, struct MHD_Response *response);

/* ---- the server ---- */

static int load_tls(struct http_server *server, const struct http_options *options, struct err *err)
{
    bool has_cert = options->tls_cert != NULL && *options->tls_cert != '\0';
    bool has_key = options->tls_key != NULL && *options->tls_key != '\0';
    if (!has_cert && !has_key) {
        return 0;
    }
    if (!has_cert || !has_key) {
        err_set(err, ERR_CONFIG, "HTTP TLS: the %s is missing", has_cert ? "key" : "certificate");
        err_hint(err, "give both or none");
        return ERR_CONFIG;
    }
    if (MHD_is_feature_supported(MHD_FEATURE_TLS) != MHD_YES) {
        return err_set(err, ERR_CONFIG, "HTTP TLS: this libmicrohttpd was built without TLS");
    }
    int rc = tls_files_check_pair("HTTP TLS", options->tls_cert, options->tls_key, err);
    if (rc == 0) {
        rc = file_state_read(options->tls_cert, FILE_STATE_SIZE_MAX, &server->cert, err);
    }
    if (rc == 0) {
        rc = file_state_read(options->tls_key, FILE_STATE_SIZE_MAX, &server->key, err);
    }
    return rc;
}

static void log_nothing(void *user, const char *format, va_list args)
    __attribute__((format(printf, 2, 0)));
static void log_nothing(void *user, const char *format, va_list args)
{
    (void)user; /* what clients do wrong is answered to them */
    (void)format;
    (void)args;
}

static int server_start(struct http_server *server,
                        const struct http_options *options,
                        struct err *err)
{
    int rc = load_tls(server, options, err);
    if (rc != 0) {
        return rc;
    }
    int fd = http_listener_open(options, &server->port, err);
    if (fd < 0) {
        return fd;
    }
    bool has_tls = server->cert.len > 0;
    struct MHD_OptionItem tls[] = {
        {has_tls ? MHD_OPTION_HTTPS_MEM_CERT : MHD_OPTION_END, 0, server->cert.data},
        {has_tls ? MHD_OPTION_HTTPS_MEM_KEY : MHD_OPTION_END, 0, server->key.data},
        {MHD_OPTION_END, 0, NULL},
    };
    unsigned flags =
        MHD_USE_EPOLL | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_ERROR_LOG | (has_tls ? MHD_USE_TLS : 0U);
    server->daemon = MHD_start_daemon(
        flags, 0, NULL, NULL, handle, server, MHD_OPTION_EXTERNAL_LOGGER, log_nothing, NULL,
        MHD_OPTION_LISTEN_SOCKET, fd, MHD_OPTION_CONNECTION_LIMIT, (unsigned)HTTP_CONNECTIONS_MAX,
        MHD_OPTION_CONNECTION_TIMEOUT, (unsigned)HTTP_IDLE_TIMEOUT_S, MHD_OPTION_NOTIFY_COMPLETED,
        handled, server, MHD_OPTION_ARRAY, tls, MHD_OPTION_END);
    if (server->daemon == NULL) {
        (void)close(fd);
        return err_set(err, ERR_CONFIG, "cannot start the HTTP server%s",
                       has_tls ? " with that certificate" : "");
    }
    const union MHD_DaemonInfo *info =
        MHD_get_daemon_info(server->daemon, MHD_DAEMON_INFO_EPOLL_FD);
    CHECK(info != NULL);
    server->poll = xcalloc(1, sizeof(*server->poll));
    CHECK(uv_poll_init(loop_uv(server->loop), server->poll, info->epoll_fd) == 0);
    server->poll->data = server;
    CHECK(uv_poll_start(server->poll, UV_READABLE, poll_ready) == 0);
    return 0;
}

struct http_server *http_server_new(struct loop *loop,
                                    const struct http_options *options,
                                    const struct http_handler *handler,
                                    struct err *err)
{
    struct http_server *server = xcalloc(1, sizeof(*server));
    server->loop = loop;
    server->handler = *handler;
    server->timer = loop_timer_new(loop, server_run_later, server);
    if (server_start(server, options, err) != 0) {
        http_server_free(server);
        return NULL;
    }
    return server;
}

static void poll_closed(uv_handle_t *handle)
{
    free(handle);
}

void http_server_free(struct http_server *server)
{
    if (server == NULL) {
        return;
    }
    CHECK(!server->is_running);
    if (server->poll != NULL) {
        (void)uv_poll_stop(server->poll);
        uv_close((uv_handle_t *)server->poll, poll_closed);
    }
    if (server->daemon != NULL) {
        for (struct http_request *request = server->requests; request != NULL;
             request = request->next) {
            if (request->state == REQUEST_SUSPENDED || request->is_stream_suspended) {
                MHD_resume_connection(request->connection); /* it refuses to stop otherwise */
            }
        }
        server->is_running = true; /* callbacks of streams come from in here */
        MHD_stop_daemon(server->daemon);
    }
    CHECK(server->requests == NULL);
    loop_timer_free(server->timer);
    strbuf_release(&server->cert);
    if (server->key.data != NULL) {
        explicit_bzero(server->key.data, server->key.len);
    }
    strbuf_release(&server->key);
    free(server);
}

uint16_t http_server_port(const struct http_server *server)
{
    return server->port;
}

static void server_run(struct http_server *server)
{
    server->is_running = true;
    server->has_resumed = false;
    (void)MHD_run(server->daemon);
    server->is_running = false;
    MHD_UNSIGNED_LONG_LONG wait_ms = 0;
    if (server->has_resumed) {
        loop_timer_set(server->timer, clock_now_ms());
    } else if (MHD_get_timeout(server->daemon, &wait_ms) == MHD_YES) {
        loop_timer_set(server->timer, deadline_after(clock_now_ms(), (int64_t)wait_ms));
    } else {
        loop_timer_set(server->timer, NEVER);
    }
}

/* Driven from outside, libmicrohttpd has no way to wake itself: we see to it that it runs soon. */
static void server_resume(struct http_server *server, struct MHD_Connection *connection)
{
    MHD_resume_connection(connection);
    server->has_resumed = true;
    if (!server->is_running) {
        loop_timer_set(server->timer, clock_now_ms());
    }
}

static void server_run_later(void *user)
{
    server_run(user);
}

static void poll_ready(uv_poll_t *poll, int status, int events)
{
    (void)status;
    (void)events;
    server_run(poll->data);
}

/* ---- taking a request ---- */

static void note_peer(struct http_request *request)
{
    char host[INET6_ADDRSTRLEN] = "";
    (void)snprintf(request->peer, sizeof(request->peer), "unix");
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(request->connection, MHD_CONNECTION_INFO_CLIENT_ADDRESS);
    if (info == NULL || info->client_addr == NULL) {
        return;
    }
    if (info->client_addr->sa_family == AF_INET) {
        const struct sockaddr_in *v4 = (const struct sockaddr_in *)(const void *)info->client_addr;
        (void)inet_ntop(AF_INET, &v4->sin_addr, host, sizeof(host));
        (void)snprintf(request->peer, sizeof(request->peer), "%s:%u", host,
                       (unsigned)ntohs(v4->sin_port));
    } else if (info->client_addr->sa_family == AF_INET6) {
        const struct sockaddr_in6 *v6 =
            (const struct sockaddr_in6 *)(const void *)info->client_addr;
        (void)inet_ntop(AF_INET6, &v6->sin6_addr, host, sizeof(host));
        (void)snprintf(request->peer, sizeof(request->peer), "[%s]:%u", host,
                       (unsigned)ntohs(v6->sin6_port));
    }
}

static struct http_request *request_new(struct http_server *server,
                                        struct MHD_Connection *connection,
                                        const char *url,
                                        const char *method)
{
    struct http_request *request = xcalloc(1, sizeof(*request));
    request->server = server;
    request->connection = connection;
    request->path = xstrdup(url);
    request->method = method;
    request->next = server->requests;
    if (request->next != NULL) {
        request->next->previous = request;
    }
    server->requests = request;
    note_peer(request);
    return request;
}

/* Takes a part of the body; too much is read and thrown away, because an answer in the middle of it
 * would be lost. */
static enum MHD_Result take_body(struct http_request *request, const char *data, size_t *size)
{
    if (request->discarded_bytes == 0 && request->body.len + *size <= HTTP_BODY_SIZE_MAX) {
        strbuf_add(&request->body, data, *size);
    } else {
        request->discarded_bytes += *size;
    }
    *size = 0;
    return request->discarded_bytes > DISCARDED_BYTES_MAX ? MHD_NO : MHD_YES;
}

static enum MHD_Result queue_answer(struct http_request *request)
{
    struct MHD_Response *response = request->response;
    request->response = NULL;
    enum MHD_Result rc =
        MHD_queue_response(request->connection, (unsigned)request->status, response);
    MHD_destroy_response(response); /* the connection has its own reference */
    return rc;
}

static enum MHD_Result refuse_body(struct http_request *request)
{
    http_respond_text(request, MHD_HTTP_CONTENT_TOO_LARGE, "the request's body is too big");
    return queue_answer(request);
}

/* What the client says the body's size will be. */
static bool says_too_much(const struct http_request *request)
{
    const char *text = http_request_header(request, MHD_HTTP_HEADER_CONTENT_LENGTH);
    return text != NULL && strtoull(text, NULL, 10) > HTTP_BODY_SIZE_MAX;
}

/* libmicrohttpd's signature. NOLINTNEXTLINE(readability-function-size) */
static enum MHD_Result handle(void *cls,
                              struct MHD_Connection *connection,
                              const char *url,
                              const char *method,
                              const char *version,
                              const char *upload,
                              size_t *upload_size,
                              void **state)
{
    (void)version;
    struct http_server *server = cls;
    struct http_request *request = *state;
    if (request == NULL) {
        request = request_new(server, connection, url, method);
        *state = request;
        return says_too_much(request) ? refuse_body(request) : MHD_YES;
    }
    if (*upload_size > 0) {
        return take_body(request, upload, upload_size);
    }
    if (request->state == REQUEST_READING) {
        if (request->discarded_bytes > 0) {
            return refuse_body(request);
        }
        request->state = REQUEST_ASKED;
        server->handler.on_request(server->handler.user, request);
        if (request->state == REQUEST_ASKED) {
            request->state = REQUEST_SUSPENDED;
            MHD_suspend_connection(connection);
            return MHD_YES;
        }
    }
    if (request->state == REQUEST_ANSWERED && request->response != NULL) {
        return queue_answer(request);
    }
    return MHD_YES;
}

/* The connection is done with this request, for good or bad. */
static void handled(void *cls,
                    struct MHD_Connection *connection,
                    void **state,
                    enum MHD_RequestTerminationCode code)
{
    (void)connection;
    (void)code;
    struct http_server *server = cls;
    struct http_request *request = *state;
    if (request == NULL) {
        return;
    }
    *state = NULL;
    if (request->previous != NULL) {
        request->previous->next = request->next;
    } else {
        server->requests = request->next;
    }
    if (request->next != NULL) {
        request->next->previous = request->previous;
    }
    if (request->stream != NULL) {
        request->stream->request = NULL;
    }
    if (request->response != NULL) {
        MHD_destroy_response(request->response);
    }
    strbuf_release(&request->body);
    free(request->path);
    free(request);
}

/* ---- reading a request ---- */

const char *http_request_method(const struct http_request *request)
{
    return request->method;
}

const char *http_request_path(const struct http_request *request)
{
    return request->path;
}

const char *http_request_query(const struct http_request *request, const char *name)
{
    const char *value = NULL;
    size_t size = 0;
    if (MHD_lookup_connection_value_n(request->connection, MHD_GET_ARGUMENT_KIND, name,
                                      strlen(name), &value, &size) != MHD_YES) {
        return NULL;
    }
    return value != NULL ? value : "";
}

const char *http_request_header(const struct http_request *request, const char *name)
{
    return MHD_lookup_connection_value(request->connection, MHD_HEADER_KIND, name);
}

const char *http_request_body(const struct http_request *request, size_t *size)
{
    *size = request->body.len;
    return strbuf_text(&request->body);
}

const char *http_request_peer(const struct http_request *request)
{
    return request->peer;
}

/* ---- answering ---- */

static void request_answer(struct http_request *request, int status, struct MHD_Response *response)
{
    CHECK(request->state != REQUEST_ANSWERED);
    CHECK(response != NULL);
    bool was_suspended = request->state == REQUEST_SUSPENDED;
    request->state = REQUEST_ANSWERED;
    request->status = status;
    request->response = response;
    if (was_suspended) {
        server_resume(request->server, request->connection); /* handle() is called again */
    }
}

void http_respond(struct http_request *request, const struct http_response *response)
{
    CHECK(response->status >= 200);
    CHECK(response->status <= 599);
    CHECK(response->header_count <= HTTP_HEADERS_MAX);
    struct MHD_Response *made = MHD_create_response_from_buffer(
        response->size, (void *)response->body, MHD_RESPMEM_MUST_COPY);
    CHECK(made != NULL);
    if (response->content_type != NULL) {
        (void)MHD_add_response_header(made, MHD_HTTP_HEADER_CONTENT_TYPE, response->content_type);
    }
    for (int i = 0; i < response->header_count; i++) {
        (void)MHD_add_response_header(made, response->headers[i].name, response->headers[i].value);
    }
    request_answer(request, response->status, made);
}

void http_respond_text(struct http_request *request, int status, const char *text)
{
    struct strbuf line = {0};
    strbuf_addf(&line, "%s\n", text);
    struct http_response response = {.status = status,
                                     .content_type = "text/plain; charset=utf-8",
                                     .body = line.data,
                                     .size = line.len};
    http_respond(request, &response);
    strbuf_release(&line);
}

void http_respond_not_found(struct http_request *request)
{
    char text[256];
    (void)snprintf(text, sizeof(text), "nothing at %.200s", request->path);
    http_respond_text(request, MHD_HTTP_NOT_FOUND, text);
}

void http_respond_method_not_allowed(struct http_request *request, const char *allowed)
{
    char text[128];
    (void)snprintf(text, sizeof(text), "allowed here: %.100s\n", allowed);
    struct http_header allow = {.name = MHD_HTTP_HEADER_ALLOW, .value = allowed};
    struct http_response response = {.status = MHD_HTTP_METHOD_NOT_ALLOWED,
                                     .content_type = "text/plain; charset=utf-8",
                                     .headers = &allow,
                                     .header_count = 1,
                                     .body = text,
                                     .size = strlen(text)};
    http_respond(request, &response);
}

/* ---- streams ---- */

/* libmicrohttpd asks for bytes. */
static ssize_t stream_read(void *cls, uint64_t position, char *data, size_t size)
{
    (void)position;
    struct http_stream *stream = cls;
    if (stream->buffer.len > 0) {
        size_t count = stream->buffer.len < size ? stream->buffer.len : size;
        memcpy(data, stream->buffer.data, count);
        strbuf_consume(&stream->buffer, count);
        return (ssize_t)count;
    }
    if (stream->is_closing || stream->request == NULL) {
        return MHD_CONTENT_READER_END_OF_STREAM;
    }
    stream->request->is_stream_suspended = true;
    MHD_suspend_connection(stream->request->connection);
    return 0;
}

/* The response goes, and the stream with it. */
static void stream_free(void *cls)
{
    struct http_stream *stream = cls;
    if (stream->request != NULL) {
        stream->request->stream = NULL;
    }
    if (!stream->is_closing && stream->closed != NULL) {
        stream->closed(stream->user);
    }
    strbuf_release(&stream->buffer);
    free(stream);
}

struct http_stream *http_stream_begin(struct http_request *request,
                                      const char *content_type,
                                      void (*closed)(void *user),
                                      void *user)
{
    struct http_stream *stream = xcalloc(1, sizeof(*stream));
    stream->request = request;
    stream->closed = closed;
    stream->user = user;
    request->stream = stream;
    struct MHD_Response *made = MHD_create_response_from_callback(
        MHD_SIZE_UNKNOWN, STREAM_BLOCK_SIZE, stream_read, stream, stream_free);
    CHECK(made != NULL);
    (void)MHD_add_response_header(made, MHD_HTTP_HEADER_CONTENT_TYPE, content_type);
    (void)MHD_add_response_header(made, MHD_HTTP_HEADER_CACHE_CONTROL, "no-store");
    request_answer(request, MHD_HTTP_OK, made);
    return stream;
}

static void stream_wake(struct http_stream *stream)
{
    struct http_request *request = stream->request;
    if (request != NULL && request->is_stream_suspended) {
        request->is_stream_suspended = false;
        server_resume(request->server, request->connection);
    }
}

int http_stream_send(struct http_stream *stream, const void *data, size_t size, struct err *err)
{
    CHECK(!stream->is_closing);
    if (stream->buffer.len + size > HTTP_STREAM_BUFFER_MAX) {
        return err_set(err, ERR_LIMIT, "the reader of the stream lags by %zu bytes",
                       stream->buffer.len);
    }
    strbuf_add(&stream->buffer, data, size);
    stream_wake(stream);
    return 0;
}

void http_stream_close(struct http_stream *stream)
{
    CHECK(!stream->is_closing);
    stream->is_closing = true;
    stream_wake(stream);
}
