/* http_client.c — see http_client.h.
 *
 * libcurl says which sockets and which timeout it wants watched; uv tells it what happened. No
 * callback of ours runs inside libcurl: what it reports is noted, and acted upon when
 * curl_multi_socket_action() has returned. */
#include "common/io/http_client.h"

#include "common/base/alloc.h"
#include "common/base/check.h"

#include <curl/curl.h>
#include <stdlib.h>
#include <string.h>

#define CONNECTIONS_KEPT_MAX 16

enum http_call_end { END_NONE, END_TOO_BIG };

struct http_call {
    struct http_client *client;
    struct http_call *next; /* in client->calls */
    CURL *easy;
    struct curl_slist *headers;
    char *url;  /* owned; for error texts */
    char *body; /* owned */
    size_t body_size;
    size_t body_sent;
    size_t response_size_max;
    struct strbuf response;
    bool is_dirty; /* stream: bytes arrived that were not delivered */
    bool is_dead;  /* cancelled or done; freed by sweep() */
    enum http_call_end end;
    CURLcode result; /* valid when is_complete */
    bool is_complete;
    void (*received)(void *user, struct strbuf *body);
    void (*done)(void *user, struct http_response *response);
    void *user;
    char error_text[CURL_ERROR_SIZE];
};

/* One socket of libcurl; lives from the first request to watch it until uv has closed the handle.
 */
struct http_socket {
    uv_poll_t poll;
    struct http_client *client;
    curl_socket_t fd;
};

struct http_client {
    uv_loop_t *loop;
    CURLM *multi;
    uv_timer_t timer;
    struct http_call *calls;
    int open_handles; /* uv handles that are not closed yet */
    bool is_busy;     /* inside process(): calls may be marked but not freed */
    bool is_closing;
    void (*closed)(void *user);
    void *closed_user;
};

static int socket_changed(CURL *easy,
                          curl_socket_t fd,
                          int what,
                          void *client_ptr,
                          void *socket_ptr);
static int timer_changed(CURLM *multi, long timeout_ms, void *client_ptr);
static size_t body_read(char *buffer, size_t size, size_t count, void *call_ptr);
static int body_seek(void *call_ptr, curl_off_t offset, int origin);
static size_t response_write(char *data, size_t size, size_t count, void *call_ptr);
static void call_set_options(struct http_call *call, const struct http_request *request);
static void process(struct http_client *client);
static void handle_closed(uv_handle_t *handle);
static void client_closed(struct http_client *client);

struct http_client *http_client_new(uv_loop_t *loop)
{
    struct http_client *client = xcalloc(1, sizeof(*client));
    client->loop = loop;
    CHECK(curl_global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK); /* counted by libcurl */
    client->multi = curl_multi_init();
    CHECK(client->multi != NULL);
    CHECK(uv_timer_init(loop, &client->timer) == 0);
    client->timer.data = client;
    client->open_handles = 1;
    CURLMcode code = curl_multi_setopt(client->multi, CURLMOPT_SOCKETFUNCTION, socket_changed);
    code = code != CURLM_OK ? code : curl_multi_setopt(client->multi, CURLMOPT_SOCKETDATA, client);
    code = code != CURLM_OK
               ? code
               : curl_multi_setopt(client->multi, CURLMOPT_TIMERFUNCTION, timer_changed);
    code = code != CURLM_OK ? code : curl_multi_setopt(client->multi, CURLMOPT_TIMERDATA, client);
    code = code != CURLM_OK
               ? code
               : curl_multi_setopt(client->multi, CURLMOPT_MAXCONNECTS, (long)CONNECTIONS_KEPT_MAX);
    CHECK(code == CURLM_OK);
    return client;
}

struct http_call *http_client_start(struct http_client *client, const struct http_request *request)
{
    CHECK(!client->is_closing);
    CHECK(request->connect_timeout_ms > 0);
    CHECK(request->response_size_max > 0);
    CHECK(request->done != NULL);
    struct http_call *call = xcalloc(1, sizeof(*call));
    call->client = client;
    call->url = xstrdup(request->url);
    call->body = xmemdup(request->body, request->body_size);
    call->body_size = request->body_size;
    call->response_size_max = request->response_size_max;
    call->received = request->received;
    call->done = request->done;
    call->user = request->user;
    call->easy = curl_easy_init();
    CHECK(call->easy != NULL);
    call_set_options(call, request);
    call->next = client->calls;
    client->calls = call;
    /* Makes libcurl call timer_changed(): it begins in the next turn of the loop. */
    CHECK(curl_multi_add_handle(client->multi, call->easy) == CURLM_OK);
    return call;
}

static void call_free(struct http_call *call)
{
    CHECK(curl_multi_remove_handle(call->client->multi, call->easy) == CURLM_OK);
    curl_easy_cleanup(call->easy);
    curl_slist_free_all(call->headers);
    strbuf_release(&call->response);
    free(call->url);
    free(call->body);
    free(call);
}

/* Frees what is dead, unless somebody up the stack still walks the list. */
static void sweep(struct http_client *client)
{
    if (client->is_busy) {
        return;
    }
    struct http_call **link = &client->calls;
    while (*link != NULL) {
        struct http_call *call = *link;
        if (call->is_dead) {
            *link = call->next;
            call_free(call);
        } else {
            link = &call->next;
        }
    }
}

void http_call_cancel(struct http_call *call)
{
    CHECK(!call->is_dead);
    call->is_dead = true;
    sweep(call->client);
}

void http_client_close(struct http_client *client, void (*closed)(void *user), void *user)
{
    CHECK(!client->is_closing);
    client->is_closing = true;
    client->closed = closed;
    client->closed_user = user;
    for (struct http_call *call = client->calls; call != NULL; call = call->next) {
        call->is_dead = true;
    }
    if (!client->is_busy) {
        client_closed(client);
    }
}

/* ---- options ---- */

static void set_long(struct http_call *call, CURLoption option, long value)
{
    CHECK(curl_easy_setopt(call->easy, option, value) == CURLE_OK);
}

static void set_text(struct http_call *call, CURLoption option, const char *text)
{
    CHECK(curl_easy_setopt(call->easy, option, text) == CURLE_OK);
}

static void call_add_header(struct http_call *call, const char *header)
{
    struct curl_slist *headers = curl_slist_append(call->headers, header);
    CHECK(headers != NULL);
    call->headers = headers;
}

static void call_set_body(struct http_call *call)
{
    /* A read function with a seek function that refuses: libcurl would otherwise send a POST again,
     * without asking, when a reused connection turns out to be dead, although the server may have
     * executed it. */
    set_long(call, CURLOPT_POST, 1);
    CHECK(curl_easy_setopt(call->easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)call->body_size) ==
          CURLE_OK);
    CHECK(curl_easy_setopt(call->easy, CURLOPT_READFUNCTION, body_read) == CURLE_OK);
    CHECK(curl_easy_setopt(call->easy, CURLOPT_READDATA, call) == CURLE_OK);
    CHECK(curl_easy_setopt(call->easy, CURLOPT_SEEKFUNCTION, body_seek) == CURLE_OK);
    CHECK(curl_easy_setopt(call->easy, CURLOPT_SEEKDATA, call) == CURLE_OK);
    call_add_header(call, "Expect:");
}

static void call_set_options(struct http_call *call, const struct http_request *request)
{
    for (int i = 0; i < HTTP_HEADERS_MAX && request->headers[i] != NULL; i++) {
        call_add_header(call, request->headers[i]);
    }
    if (request->body_size > 0) {
        call_set_body(call);
    }
    set_text(call, CURLOPT_URL, request->url);
    set_text(call, CURLOPT_CUSTOMREQUEST, request->method);
    set_text(call, CURLOPT_PROTOCOLS_STR, "http,https");
    set_text(call, CURLOPT_PROXY, "");
    set_text(call, CURLOPT_USERAGENT, "drover/" DROVER_VERSION);
    if (request->ca_file != NULL) {
        set_text(call, CURLOPT_CAINFO,
                 request->ca_file); /* NULL would mean no CA at all, not the system's */
    }
    set_text(call, CURLOPT_SSLCERT, request->cert_file);
    set_text(call, CURLOPT_SSLKEY, request->key_file);
    set_long(call, CURLOPT_SSLVERSION, CURL_SSLVERSION_TLSv1_2);
    set_long(call, CURLOPT_HTTP_VERSION, CURL_HTTP_VERSION_1_1);
    set_long(call, CURLOPT_NOSIGNAL, 1);
    set_long(call, CURLOPT_TCP_KEEPALIVE, 1);
    set_long(call, CURLOPT_TIMEOUT_MS, (long)request->timeout_ms);
    set_long(call, CURLOPT_CONNECTTIMEOUT_MS, (long)request->connect_timeout_ms);
    set_long(call, CURLOPT_FRESH_CONNECT, request->is_fresh ? 1 : 0);
    CHECK(curl_easy_setopt(call->easy, CURLOPT_HTTPHEADER, call->headers) == CURLE_OK);
    CHECK(curl_easy_setopt(call->easy, CURLOPT_WRITEFUNCTION, response_write) == CURLE_OK);
    CHECK(curl_easy_setopt(call->easy, CURLOPT_WRITEDATA, call) == CURLE_OK);
    CHECK(curl_easy_setopt(call->easy, CURLOPT_ERRORBUFFER, call->error_text) == CURLE_OK);
    CHECK(curl_easy_setopt(call->easy, CURLOPT_PRIVATE, call) == CURLE_OK);
}

/* ---- libcurl's callbacks: note, never act ---- */

static size_t body_read(char *buffer, size_t size, size_t count, void *call_ptr)
{
    struct http_call *call = call_ptr;
    size_t room = size * count;
    size_t left = call->body_size - call->body_sent;
    size_t take = left < room ? left : room;
    memcpy(buffer, call->body + call->body_sent, take);
    call->body_sent += take;
    return take;
}

static int body_seek(void *call_ptr, curl_off_t offset, int origin)
{
    struct http_call *call = call_ptr;
    /* Nothing left our hands yet: nothing to fear. */
    return call->body_sent == 0 && offset == 0 && origin == SEEK_SET ? CURL_SEEKFUNC_OK
                                                                     : CURL_SEEKFUNC_FAIL;
}

static size_t response_write(char *data, size_t size, size_t count, void *call_ptr)
{
    struct http_call *call = call_ptr;
    size_t bytes = size * count;
    if (bytes > call->response_size_max - call->response.len) {
        call->end = END_TOO_BIG;
        return 0; /* ends the transfer with CURLE_WRITE_ERROR */
    }
    strbuf_add(&call->response, data, bytes);
    call->is_dirty = true;
    return bytes;
}

static void socket_event(uv_poll_t *poll, int status, int events);

static int socket_changed(CURL *easy,
                          curl_socket_t fd,
                          int what,
                          void *client_ptr,
                          void *socket_ptr)
{
    struct http_client *client = client_ptr;
    struct http_socket *sock = socket_ptr;
    (void)easy;
    if (what == CURL_POLL_REMOVE) {
        if (sock != NULL) {
            (void)curl_multi_assign(client->multi, fd,
                                    NULL); /* refused during curl_multi_cleanup(), ignoring */
            (void)uv_poll_stop(&sock->poll);
            uv_close((uv_handle_t *)&sock->poll, handle_closed);
        }
        return 0;
    }
    if (sock == NULL) {
        sock = xcalloc(1, sizeof(*sock));
        sock->client = client;
        sock->fd = fd;
        sock->poll.data = sock;
        CHECK(uv_poll_init_socket(client->loop, &sock->poll, fd) == 0);
        client->open_handles++;
        CHECK(curl_multi_assign(client->multi, fd, sock) == CURLM_OK);
    }
    int events = (what & CURL_POLL_IN ? UV_READABLE : 0) | (what & CURL_POLL_OUT ? UV_WRITABLE : 0);
    CHECK(uv_poll_start(&sock->poll, events, socket_event) == 0);
    return 0;
}

static void timer_fired(uv_timer_t *timer);

static int timer_changed(CURLM *multi, long timeout_ms, void *client_ptr)
{
    struct http_client *client = client_ptr;
    (void)multi;
    if (timeout_ms < 0 || client->is_closing) {
        (void)uv_timer_stop(&client->timer);
        return 0;
    }
    uv_update_time(client->loop);
    /* libcurl counts in microseconds and calls with a rounded-down value: one more millisecond
     * avoids an idle round. */
    CHECK(uv_timer_start(&client->timer, timer_fired,
                         timeout_ms == 0 ? 0 : (uint64_t)timeout_ms + 1, 0) == 0);
    return 0;
}

/* ---- uv's callbacks ---- */

static void socket_event(uv_poll_t *poll, int status, int events)
{
    struct http_socket *sock = poll->data;
    struct http_client *client = sock->client;
    int flags = status < 0 ? CURL_CSELECT_ERR : 0;
    flags |= events & UV_READABLE ? CURL_CSELECT_IN : 0;
    flags |= events & UV_WRITABLE ? CURL_CSELECT_OUT : 0;
    int running = 0;
    (void)curl_multi_socket_action(client->multi, sock->fd, flags, &running);
    process(client);
}

static void timer_fired(uv_timer_t *timer)
{
    struct http_client *client = timer->data;
    int running = 0;
    (void)curl_multi_socket_action(client->multi, CURL_SOCKET_TIMEOUT, 0, &running);
    process(client);
}

static int result_code(const struct http_call *call)
{
    if (call->end == END_TOO_BIG) {
        return ERR_LIMIT;
    }
    switch ((int)call->result) {
    case CURLE_OK:
        return 0;
    case CURLE_COULDNT_RESOLVE_HOST:
    case CURLE_COULDNT_CONNECT:
        return ERR_UNAVAILABLE;
    case CURLE_OPERATION_TIMEDOUT:
        return ERR_TIMEOUT;
    case CURLE_SSL_CONNECT_ERROR:
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_ISSUER_ERROR:
        return ERR_AUTH;
    case CURLE_URL_MALFORMAT:
    case CURLE_UNSUPPORTED_PROTOCOL:
    case CURLE_SSL_CERTPROBLEM:
    case CURLE_SSL_CACERT_BADFILE:
        return ERR_INVALID;
    default:
        return ERR_IO;
    }
}

/* Fills in everything but the body. */
static void response_fill(struct http_call *call, struct http_response *response)
{
    long request_bytes = 0;
    (void)curl_easy_getinfo(call->easy, CURLINFO_RESPONSE_CODE, &response->status);
    (void)curl_easy_getinfo(call->easy, CURLINFO_REQUEST_SIZE, &request_bytes);
    response->is_maybe_received = request_bytes > 0 || call->body_sent > 0;
    int code = result_code(call);
    if (code == ERR_TIMEOUT && !response->is_maybe_received) {
        code = ERR_UNAVAILABLE; /* the connection itself took too long */
    }
    if (code == 0) {
        return;
    }
    response->code = code;
    if (code == ERR_LIMIT) {
        (void)err_set(&response->err, code, "%s: answer is bigger than %zu bytes", call->url,
                      call->response_size_max);
        return;
    }
    const char *reason =
        call->error_text[0] != '\0' ? call->error_text : curl_easy_strerror(call->result);
    (void)err_set(&response->err, code, "%s: %s", call->url, reason);
    if (code == ERR_AUTH) {
        err_hint(&response->err,
                 "check the CA file and that the server's certificate names this host");
    } else if (code == ERR_INVALID) {
        err_hint(&response->err, "check the paths and rights of the CA, certificate and key files");
    }
}

static void call_complete(struct http_call *call)
{
    struct http_response response = {0};
    response_fill(call, &response);
    if (call->received == NULL) {
        response.body = call->response;
        call->response = (struct strbuf){0};
    }
    call->is_dead = true;
    call->done(call->user, &response);
    strbuf_release(&response.body);
}

/* Callbacks may start, cancel and close: the list only grows at its head while this runs, and
 * nothing is freed. */
static void process(struct http_client *client)
{
    CHECK(!client->is_busy);
    client->is_busy = true;
    CURLMsg *message = NULL;
    int left = 0;
    while ((message = curl_multi_info_read(client->multi, &left)) != NULL) {
        if (message->msg == CURLMSG_DONE) {
            void *data = NULL;
            CURLcode result = message->data.result;
            CHECK(curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, &data) == CURLE_OK);
            struct http_call *call = data;
            call->result = result;
            call->is_complete = true;
        }
    }
    for (struct http_call *call = client->calls; call != NULL; call = call->next) {
        if (!call->is_dead && call->received != NULL && call->is_dirty) {
            call->is_dirty = false;
            call->received(call->user, &call->response);
        }
        if (!call->is_dead && call->is_complete) {
            call_complete(call);
        }
    }
    client->is_busy = false;
    if (client->is_closing) {
        client_closed(client);
    } else {
        sweep(client);
    }
}

/* ---- closing ---- */

static void client_closed(struct http_client *client)
{
    sweep(client);
    CHECK(client->calls == NULL);
    /* Closes the kept connections, which calls socket_changed(). */
    CHECK(curl_multi_cleanup(client->multi) == CURLM_OK);
    client->multi = NULL;
    uv_close((uv_handle_t *)&client->timer, handle_closed);
}

static void handle_closed(uv_handle_t *handle)
{
    struct http_client *client = NULL;
    if (handle->type == UV_TIMER) {
        client = handle->data;
    } else {
        struct http_socket *sock = handle->data;
        client = sock->client;
        free(sock);
    }
    client->open_handles--;
    if (client->open_handles > 0 || !client->is_closing || client->multi != NULL) {
        return;
    }
    void (*closed)(void *user) = client->closed;
    void *user = client->closed_user;
    free(client);
    curl_global_cleanup();
    if (closed != NULL) {
        closed(user);
    }
}
