/* test_http_client.c — the HTTP client against a server that misbehaves on purpose. */
#include "common/base/alloc.h"
#include "common/base/check.h"
#include "common/io/http_client.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* What the server does with a complete request, in the order of 'script'; the last letter repeats.
 *   a answer and keep the connection    c close without an answer    h hang
 *   b a body of one MiB                 s a stream of lines, then hang   p a partial body, then
 * close */
struct server {
    uv_loop_t loop;
    uv_timer_t timer;
    uv_tcp_t listener;
    int port;
    const char *script;
    int requests; /* complete ones */
    int connections;
    struct strbuf last; /* the last request, whole */
};

struct peer {
    uv_tcp_t tcp;
    struct server *server;
    struct strbuf in;
    char buffer[65536];
};

struct answer {
    int calls;
    int code;
    bool is_maybe_received;
    long status;
    struct strbuf body;
    struct err err;
};

static void peer_closed(uv_handle_t *handle)
{
    struct peer *peer = handle->data;
    strbuf_release(&peer->in);
    free(peer);
}

static void write_done(uv_write_t *write, int status)
{
    (void)status;
    free(write->data);
    free(write);
}

static void peer_write(struct peer *peer, const char *data, size_t size)
{
    uv_write_t *write = xcalloc(1, sizeof(*write));
    write->data = xmemdup(data, size);
    uv_buf_t buf = uv_buf_init(write->data, (unsigned)size);
    (void)uv_write(write, (uv_stream_t *)&peer->tcp, &buf, 1, write_done);
}

static void peer_write_text(struct peer *peer, const char *text)
{
    peer_write(peer, text, strlen(text));
}

static void peer_act(struct peer *peer)
{
    struct server *server = peer->server;
    int last = (int)strlen(server->script) - 1;
    int step = server->requests < last ? server->requests : last;
    server->requests++;
    switch (server->script[step]) {
    case 'a':
        peer_write_text(peer, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello");
        break;
    case 'b': {
        char *body = xcalloc(1, 1 << 20);
        memset(body, 'x', 1 << 20);
        peer_write_text(peer, "HTTP/1.1 200 OK\r\nContent-Length: 1048576\r\n\r\n");
        peer_write(peer, body, 1 << 20);
        free(body);
        break;
    }
    case 's':
        peer_write_text(peer,
                        "HTTP/1.1 200 OK\r\nTransfer-Encoding: "
                        "chunked\r\n\r\n6\r\none\ntw\r\n7\r\no\nthree\r\n");
        break;
    case 'p':
        peer_write_text(peer, "HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nhello");
        uv_close((uv_handle_t *)&peer->tcp, peer_closed);
        break;
    case 'c':
        uv_close((uv_handle_t *)&peer->tcp, peer_closed);
        break;
    default: /* hang */
        break;
    }
}

static void peer_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buf)
{
    struct peer *peer = handle->data;
    (void)suggested;
    *buf = uv_buf_init(peer->buffer, sizeof(peer->buffer));
}

static void peer_read(uv_stream_t *stream, ssize_t size, const uv_buf_t *buf)
{
    struct peer *peer = stream->data;
    if (size < 0) {
        uv_close((uv_handle_t *)stream, peer_closed);
        return;
    }
    strbuf_add(&peer->in, buf->base, (size_t)size);
    const char *head_end = strstr(strbuf_text(&peer->in), "\r\n\r\n");
    const char *length = strstr(strbuf_text(&peer->in), "Content-Length: ");
    if (head_end == NULL) {
        return;
    }
    size_t need = (size_t)(head_end - peer->in.data) + 4 +
                  (length == NULL ? 0 : strtoul(length + 16, NULL, 10));
    if (peer->in.len >= need) {
        strbuf_clear(&peer->server->last);
        strbuf_add(&peer->server->last, peer->in.data, need);
        strbuf_consume(&peer->in, need);
        peer_act(peer);
    }
}

static void accepted(uv_stream_t *listener, int status)
{
    struct server *server = listener->data;
    assert_int_equal(status, 0);
    struct peer *peer = xcalloc(1, sizeof(*peer));
    peer->server = server;
    peer->tcp.data = peer;
    server->connections++;
    assert_int_equal(uv_tcp_init(&server->loop, &peer->tcp), 0);
    assert_int_equal(uv_accept(listener, (uv_stream_t *)&peer->tcp), 0);
    assert_int_equal(uv_read_start((uv_stream_t *)&peer->tcp, peer_alloc, peer_read), 0);
}

static int server_setup(void **state)
{
    struct server *server = xcalloc(1, sizeof(*server));
    struct sockaddr_in address;
    struct sockaddr_storage bound;
    int size = sizeof(bound);
    assert_int_equal(uv_loop_init(&server->loop), 0);
    assert_int_equal(uv_timer_init(&server->loop, &server->timer), 0);
    assert_int_equal(uv_tcp_init(&server->loop, &server->listener), 0);
    server->listener.data = server;
    assert_int_equal(uv_ip4_addr("127.0.0.1", 0, &address), 0);
    assert_int_equal(uv_tcp_bind(&server->listener, (const struct sockaddr *)&address, 0), 0);
    assert_int_equal(uv_listen((uv_stream_t *)&server->listener, 16, accepted), 0);
    assert_int_equal(uv_tcp_getsockname(&server->listener, (struct sockaddr *)&bound, &size), 0);
    server->port = ntohs(((struct sockaddr_in *)&bound)->sin_port);
    *state = server;
    return 0;
}

static void close_peer(uv_handle_t *handle, void *server)
{
    if (!uv_is_closing(handle)) {
        bool is_peer =
            handle->type == UV_TCP && handle != (uv_handle_t *)&((struct server *)server)->listener;
        uv_close(handle, is_peer ? peer_closed : NULL);
    }
}

static int server_teardown(void **state)
{
    struct server *server = *state;
    uv_walk(&server->loop, close_peer, server);
    (void)uv_run(&server->loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&server->loop), 0);
    strbuf_release(&server->last);
    free(server);
    return 0;
}

static void timer_fired(uv_timer_t *timer)
{
    (void)timer;
}

static void turn(struct server *server)
{
    uv_update_time(&server->loop);
    (void)uv_timer_start(&server->timer, timer_fired, 100, 0);
    (void)uv_run(&server->loop, UV_RUN_ONCE);
}

static void answer_done(void *user, struct http_response *response)
{
    struct answer *answer = user;
    answer->calls++;
    answer->code = response->code;
    answer->err = response->err;
    answer->status = response->status;
    answer->is_maybe_received = response->is_maybe_received;
    answer->body = response->body;
    response->body = (struct strbuf){0};
}

static struct http_request request_to(struct server *server, char url[64], struct answer *answer)
{
    (void)snprintf(url, 64, "http://127.0.0.1:%d/path", server->port);
    *answer = (struct answer){0};
    return (struct http_request){.method = "POST",
                                 .url = url,
                                 .headers = {"Content-Type: application/json", "X-One: 1"},
                                 .body = "{\"a\":1}",
                                 .body_size = 7,
                                 .timeout_ms = 5000,
                                 .connect_timeout_ms = 1000,
                                 .response_size_max = 1000,
                                 .done = answer_done,
                                 .user = answer};
}

static void wait_answer(struct server *server, struct answer *answer)
{
    for (int i = 0; i < 200 && answer->calls == 0; i++) {
        turn(server);
    }
    assert_int_equal(answer->calls, 1);
}

static void client_closed(void *user)
{
    *(bool *)user = true;
}

static void close_client(struct server *server, struct http_client *client)
{
    bool is_closed = false;
    http_client_close(client, client_closed, &is_closed);
    for (int i = 0; i < 200 && !is_closed; i++) {
        turn(server);
    }
    assert_true(is_closed);
}

/* Method, headers and body arrive as given; a second request uses the same connection. */
static void test_plain(void **state)
{
    struct server *server = *state;
    struct http_client *client = http_client_new(&server->loop);
    char url[64];
    struct answer answer;
    server->script = "a";
    for (int i = 0; i < 2; i++) {
        struct http_request request = request_to(server, url, &answer);
        (void)http_client_start(client, &request);
        assert_int_equal(answer.calls, 0);
        wait_answer(server, &answer);
        assert_int_equal(answer.code, 0);
        assert_int_equal(answer.status, 200);
        assert_string_equal(strbuf_text(&answer.body), "hello");
        strbuf_release(&answer.body);
        assert_non_null(strstr(strbuf_text(&server->last), "POST /path HTTP/1.1\r\n"));
        assert_non_null(strstr(strbuf_text(&server->last), "X-One: 1\r\n"));
        assert_non_null(strstr(strbuf_text(&server->last), "\r\n\r\n{\"a\":1}"));
    }
    assert_int_equal(server->connections, 1);
    struct http_request request = request_to(server, url, &answer);
    request.is_fresh = true;
    (void)http_client_start(client, &request);
    wait_answer(server, &answer);
    assert_int_equal(server->connections, 2);
    strbuf_release(&answer.body);
    request = request_to(server, url, &answer);
    request.method = "GET";
    request.body_size = 0;
    (void)http_client_start(client, &request);
    wait_answer(server, &answer);
    assert_non_null(strstr(strbuf_text(&server->last), "GET /path HTTP/1.1\r\n"));
    strbuf_release(&answer.body);
    close_client(server, client);
}

/* A kept connection that dies after the server has read the request: told, not silently sent a
 * second time. */
static void test_never_sent_twice(void **state)
{
    struct server *server = *state;
    struct http_client *client = http_client_new(&server->loop);
    char url[64];
    struct answer answer;
    server->script = "aca";
    struct http_request request = request_to(server, url, &answer);
    (void)http_client_start(client, &request);
    wait_answer(server, &answer);
    strbuf_release(&answer.body);
    request = request_to(server, url, &answer);
    (void)http_client_start(client, &request);
    wait_answer(server, &answer);
    assert_int_equal(answer.code, ERR_IO);
    assert_true(answer.is_maybe_received);
    assert_int_equal(server->requests, 2);
    strbuf_release(&answer.body);
    close_client(server, client);
}

/* Each way to fail has its code, and says truly whether the request may have arrived. */
static void test_failures(void **state)
{
    struct server *server = *state;
    struct http_client *client = http_client_new(&server->loop);
    static const struct {
        const char *script;
        int code;
    } cases[] = {{"c", ERR_IO}, {"h", ERR_TIMEOUT}, {"b", ERR_LIMIT}, {"p", ERR_IO}};
    char url[64];
    struct answer answer;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        server->script = cases[i].script;
        struct http_request request = request_to(server, url, &answer);
        request.timeout_ms = 500;
        request.is_fresh = true;
        (void)http_client_start(client, &request);
        wait_answer(server, &answer);
        assert_int_equal(answer.code, cases[i].code);
        assert_true(answer.is_maybe_received);
        assert_non_null(strstr(answer.err.text, "127.0.0.1"));
        strbuf_release(&answer.body);
    }
    static const struct {
        const char *url;
        int code;
    } nowhere[] = {{"http://127.0.0.1:1/", ERR_UNAVAILABLE},
                   {"http://no-such-host.invalid/", ERR_UNAVAILABLE},
                   {"ftp://127.0.0.1/", ERR_INVALID},
                   {"http://", ERR_INVALID}};
    for (size_t i = 0; i < sizeof(nowhere) / sizeof(nowhere[0]); i++) {
        struct http_request request = request_to(server, url, &answer);
        request.url = nowhere[i].url;
        (void)http_client_start(client, &request);
        wait_answer(server, &answer);
        assert_int_equal(answer.code, nowhere[i].code);
        assert_false(answer.is_maybe_received);
        strbuf_release(&answer.body);
    }
    /* Something that listens but speaks no TLS. */
    server->script = "h";
    struct http_request request = request_to(server, url, &answer);
    char secure[64];
    (void)snprintf(secure, sizeof(secure), "https://127.0.0.1:%d/", server->port);
    request.url = secure;
    request.timeout_ms = 300;
    (void)http_client_start(client, &request);
    wait_answer(server, &answer);
    assert_int_equal(answer.code, ERR_UNAVAILABLE);
    assert_false(answer.is_maybe_received);
    strbuf_release(&answer.body);
    close_client(server, client);
}

struct stream {
    struct http_call *call;
    int lines;
    int lines_wanted;
    struct answer answer;
};

static void stream_received(void *user, struct strbuf *body)
{
    struct stream *stream = user;
    char *end = NULL;
    while (body->len > 0 && (end = memchr(body->data, '\n', body->len)) != NULL) {
        strbuf_consume(body, (size_t)(end - body->data) + 1);
        stream->lines++;
    }
    if (stream->lines == stream->lines_wanted) {
        http_call_cancel(stream->call);
        stream->call = NULL;
    }
}

static void stream_done(void *user, struct http_response *response)
{
    answer_done(&((struct stream *)user)->answer, response);
}

/* A stream hands over what has come and keeps what was not taken; cancelling from the callback is
 * final. */
static void test_stream(void **state)
{
    struct server *server = *state;
    struct http_client *client = http_client_new(&server->loop);
    char url[64];
    struct stream stream = {.lines_wanted = 2};
    server->script = "s";
    struct http_request request = request_to(server, url, &stream.answer);
    request.timeout_ms = 0;
    request.received = stream_received;
    request.done = stream_done;
    request.user = &stream;
    stream.call = http_client_start(client, &request);
    for (int i = 0; i < 200 && stream.call != NULL; i++) {
        turn(server);
    }
    assert_null(stream.call);
    assert_int_equal(stream.lines, 2);
    turn(server);
    assert_int_equal(stream.answer.calls, 0);
    close_client(server, client);
}

struct closing {
    struct http_client *client;
    bool is_closed;
    int calls;
};

static void close_in_done(void *user, struct http_response *response)
{
    struct closing *closing = user;
    (void)response;
    closing->calls++;
    if (closing->calls == 1) {
        http_client_close(closing->client, client_closed, &closing->is_closed);
    }
}

/* Closing from a callback, with other requests open: no further callback, nothing leaks. */
static void test_close_in_callback(void **state)
{
    struct server *server = *state;
    struct closing closing = {.client = http_client_new(&server->loop)};
    char url[64];
    struct answer unused;
    server->script = "ah";
    for (int i = 0; i < 3; i++) {
        struct http_request request = request_to(server, url, &unused);
        request.done = close_in_done;
        request.user = &closing;
        (void)http_client_start(closing.client, &request);
    }
    for (int i = 0; i < 200 && !closing.is_closed; i++) {
        turn(server);
    }
    assert_true(closing.is_closed);
    assert_int_equal(closing.calls, 1);
}

#define CASE(function) cmocka_unit_test_setup_teardown(function, server_setup, server_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(test_plain),  CASE(test_never_sent_twice),  CASE(test_failures),
        CASE(test_stream), CASE(test_close_in_callback),
    };
    return cmocka_run_group_tests_name("http client", tests, NULL, NULL);
}
