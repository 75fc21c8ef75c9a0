/* test_http_server.c — the HTTP server asked by curl: at once, later, as a stream, over TLS, over a
 * unix socket. */
#include "helper_loop.h"

#include "common/base/alloc.h"
#include "common/base/strbuf.h"
#include "common/io/clock.h"
#include "common/io/http_server.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include <cmocka.h>

#define CURL_ARGS_MAX 16

struct fixture {
    struct loop *loop;
    char *folder;
    struct http_server *server;
    struct http_request *held[32];
    int held_count;
    struct http_stream *stream;
    int stream_closed_count;
    int asked_count;
    char base[64]; /* "http://127.0.0.1:port" */
};

static void stream_closed(void *user)
{
    struct fixture *f = user;
    f->stream_closed_count++;
    f->stream = NULL;
}

/* Says back what came, so that curl's output can be compared. */
static void respond_echo(struct http_request *request)
{
    struct strbuf text = {0};
    size_t size = 0;
    const char *body = http_request_body(request, &size);
    const char *name = http_request_query(request, "name");
    const char *flag = http_request_query(request, "flag");
    const char *header = http_request_header(request, "x-test");
    strbuf_addf(&text,
                "%s %s name=%s flag=%s header=%s size=%zu body=", http_request_method(request),
                http_request_path(request), name != NULL ? name : "-", flag != NULL ? flag : "-",
                header != NULL ? header : "-", size);
    strbuf_add(&text, body, size < 100 ? size : 100);
    struct http_header headers[] = {{"X-One", "1"}, {"X-Bad", "a\r\nb: c"}};
    struct http_response response = {.status = 201,
                                     .content_type = "text/plain",
                                     .headers = headers,
                                     .header_count = 2,
                                     .body = text.data,
                                     .size = text.len};
    http_respond(request, &response);
    strbuf_release(&text);
}

static void on_request(void *user, struct http_request *request)
{
    struct fixture *f = user;
    const char *path = http_request_path(request);
    f->asked_count++;
    if (strcmp(path, "/hold") == 0) {
        assert_true(f->held_count < 32);
        f->held[f->held_count++] = request;
    } else if (strcmp(path, "/stream") == 0) {
        f->stream = http_stream_begin(request, "text/event-stream", stream_closed, f);
    } else if (strcmp(path, "/post") == 0 && strcmp(http_request_method(request), "POST") != 0) {
        http_respond_method_not_allowed(request, "POST");
    } else if (strncmp(path, "/nothing", 8) == 0) {
        http_respond_not_found(request);
    } else {
        respond_echo(request);
    }
}

static void server_start(struct fixture *f, const struct http_options *options)
{
    struct http_handler handler = {.on_request = on_request, .user = f};
    struct err err = {0};
    f->server = http_server_new(f->loop, options, &handler, &err);
    if (f->server == NULL) {
        fail_msg("%s", err.text);
    }
    (void)snprintf(f->base, sizeof(f->base), "%s://127.0.0.1:%d",
                   options->tls_cert != NULL ? "https" : "http", http_server_port(f->server));
}

static int setup(void **state)
{
    struct fixture *f = xcalloc(1, sizeof(*f));
    struct err err = {0};
    f->loop = loop_new(&err);
    f->folder = folder_new();
    struct http_options options = {0};
    server_start(f, &options);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    http_server_free(f->server);
    loop_free(f->loop);
    folder_remove(f->folder);
    free(f);
    return 0;
}

/* Starts curl; what it prints goes to folder/name. More arguments end with NULL. */
static pid_t curl_start(const struct fixture *f, const char *name, const char *path, ...)
{
    char *url = xasprintf("%s%s", f->base, path);
    char *log = xasprintf("%s/%s", f->folder, name);
    char *argv[CURL_ARGS_MAX] = {"curl", "-sS", "-N", "-m", "20", url};
    int count = 6;
    va_list args;
    va_start(args, path);
    for (char *arg = va_arg(args, char *); arg != NULL; arg = va_arg(args, char *)) {
        assert_true(count < CURL_ARGS_MAX - 1);
        argv[count++] = arg;
    }
    va_end(args);
    pid_t pid = process_start(argv, log);
    free(url);
    free(log);
    return pid;
}

static void curl_text(const struct fixture *f, const char *name, char *out, size_t size)
{
    char *log = xasprintf("%s/%s", f->folder, name);
    file_text(log, out, size);
    free(log);
}

#define CODE "-w", "|%{http_code}|%header{allow}|%header{x-one}|%header{x-bad}|"

/* Method, path, query, header and body arrive decoded; status, type and headers go back; bad
 * headers do not. */
static void test_answers(void **state)
{
    struct fixture *f = *state;
    char out[1024];
    pid_t pid = curl_start(f, "a", "/a%20b/c?name=x%26y&flag", "-H", "X-Test: 1", "-d", "hello",
                           CODE, NULL);
    assert_int_equal(process_wait(f->loop, pid), 0);
    curl_text(f, "a", out, sizeof(out));
    assert_string_equal(out, "POST /a b/c name=x&y flag= header=1 size=5 body=hello|201||1||");
    pid = curl_start(f, "b", "/nothing/here", CODE, NULL);
    assert_int_equal(process_wait(f->loop, pid), 0);
    curl_text(f, "b", out, sizeof(out));
    assert_string_equal(out, "nothing at /nothing/here\n|404||||");
    pid = curl_start(f, "c", "/post", CODE, NULL);
    assert_int_equal(process_wait(f->loop, pid), 0);
    curl_text(f, "c", out, sizeof(out));
    assert_string_equal(out, "allowed here: POST\n|405|POST|||");
}

/* A request may wait for its answer while others are served. */
static void test_late_answers(void **state)
{
    struct fixture *f = *state;
    pid_t pids[8];
    char name[8];
    f->held_count = 0;
    for (int i = 0; i < 8; i++) {
        (void)snprintf(name, sizeof(name), "l%d", i);
        pids[i] = curl_start(f, name, "/hold", NULL);
    }
    wait_for_count(f->loop, &f->held_count, 8);
    pid_t quick = curl_start(f, "quick", "/quick", NULL);
    assert_int_equal(process_wait(f->loop, quick), 0);
    for (int i = 7; i >= 0; i--) {
        http_respond_text(f->held[i], 200, "late");
    }
    for (int i = 0; i < 8; i++) {
        char out[64];
        assert_int_equal(process_wait(f->loop, pids[i]), 0);
        (void)snprintf(name, sizeof(name), "l%d", i);
        curl_text(f, name, out, sizeof(out));
        assert_string_equal(out, "late\n");
    }
}

/* A body of the limit passes, one byte more does not and the handler is not asked, with and without
 * a stated length. */
static void test_body_limit(void **state)
{
    struct fixture *f = *state;
    char out[256];
    char *path = xasprintf("%s/body", f->folder);
    char *arg = xasprintf("@%s", path);
    for (int more = 0; more <= 1; more++) {
        FILE *file = fopen(path, "w");
        assert_non_null(file);
        for (int i = 0; i < HTTP_BODY_SIZE_MAX + more; i++) {
            (void)fputc('x', file);
        }
        (void)fclose(file);
        int asked_count = f->asked_count;
        for (int chunked = 0; chunked <= 1; chunked++) {
            pid_t pid = curl_start(f, more != 0 ? "big" : "full", "/post", "--data-binary", arg,
                                   "-o", "/dev/null", "-w", "%{http_code} ",
                                   chunked != 0 ? "-H" : NULL, "Transfer-Encoding: chunked", NULL);
            (void)process_wait(f->loop, pid);
        }
        curl_text(f, more != 0 ? "big" : "full", out, sizeof(out));
        assert_string_equal(out, more != 0 ? "413 413 " : "201 201 ");
        assert_int_equal(f->asked_count - asked_count, more != 0 ? 0 : 2);
    }
    free(path);
    free(arg);
}

static void stream_wait_text(struct fixture *f, const char *name, const char *wanted)
{
    char out[1024];
    int64_t end_ms = clock_now_ms() + WAIT_MS_MAX;
    do {
        assert_true(clock_now_ms() < end_ms);
        loop_turn(f->loop, 5);
        curl_text(f, name, out, sizeof(out));
    } while (strcmp(out, wanted) != 0);
}

/* Each part of a stream arrives when it is sent, not at the end; close ends it; a client that goes
 * away is noticed with the next part; a reader that lags too far is told off. */
static void test_stream(void **state)
{
    struct fixture *f = *state;
    struct err err = {0};
    f->stream_closed_count = 0;
    pid_t pid = curl_start(f, "s", "/stream", NULL);
    int64_t end_ms = clock_now_ms() + WAIT_MS_MAX;
    while (f->stream == NULL) {
        assert_true(clock_now_ms() < end_ms);
        loop_turn(f->loop, 5);
    }
    assert_int_equal(http_stream_send(f->stream, "data: 1\n\n", 9, &err), 0);
    stream_wait_text(f, "s", "data: 1\n\n");
    assert_int_equal(http_stream_send(f->stream, "data: 2\n\n", 9, &err), 0);
    stream_wait_text(f, "s", "data: 1\n\ndata: 2\n\n");
    assert_int_equal(http_stream_send(f->stream, "bye", 3, &err), 0);
    http_stream_close(f->stream);
    f->stream = NULL;
    assert_int_equal(process_wait(f->loop, pid), 0);
    stream_wait_text(f, "s", "data: 1\n\ndata: 2\n\nbye");
    assert_int_equal(f->stream_closed_count, 0);

    pid = curl_start(f, "gone", "/stream", NULL);
    while (f->stream == NULL) {
        assert_true(clock_now_ms() < end_ms);
        loop_turn(f->loop, 5);
    }
    process_kill(pid);
    while (f->stream_closed_count == 0) {
        assert_true(clock_now_ms() < end_ms);
        assert_int_equal(http_stream_send(f->stream, "x", 1, &err), 0);
        loop_turn(f->loop, 5);
    }
    assert_null(f->stream);

    pid = curl_start(f, "slow", "/stream", NULL);
    while (f->stream == NULL) {
        assert_true(clock_now_ms() < end_ms);
        loop_turn(f->loop, 5);
    }
    assert_int_equal(kill(pid, SIGSTOP), 0);
    char *block = xcalloc(1, 100000);
    int rc = 0;
    for (int i = 0; i < 1000 && rc == 0; i++) {
        rc = http_stream_send(f->stream, block, 100000, &err);
        loop_turn(f->loop, 0);
    }
    assert_int_equal(rc, ERR_LIMIT);
    http_stream_close(f->stream);
    f->stream = NULL;
    process_kill(pid);
    free(block);
}

/* A second server on the port, a foreign address, no address: each its own sentence. */
static void test_cannot_listen(void **state)
{
    struct fixture *f = *state;
    struct http_handler handler = {.on_request = on_request, .user = f};
    char port[16];
    (void)snprintf(port, sizeof(port), ":%d", http_server_port(f->server));
    struct http_options options[] = {
        {.port = http_server_port(f->server)},
        {.address = "203.0.113.7"},
        {.address = "somewhere"},
        {.address = "/nonexistent/socket"},
        {.tls_cert = "/nonexistent/cert", .tls_key = "/nonexistent/key"},
        {.tls_cert = "/nonexistent/cert"},
    };
    static const char *const words[] = {
        NULL,     "203.0.113.7", "no IP address", "/nonexistent/socket", "/nonexistent/cert",
        "missing"};
    for (int i = 0; i < 6; i++) {
        struct err err = {0};
        assert_null(http_server_new(f->loop, &options[i], &handler, &err));
        assert_int_equal(err.code, ERR_CONFIG);
        assert_non_null(strstr(err.text, words[i] != NULL ? words[i] : port));
        if (i == 0) {
            assert_non_null(strstr(err.hint, "another port"));
        }
    }
}

/* The same over a unix socket, twice: the file of a dead server is replaced; over TLS with the
 * right CA only. */
static void test_other_listeners(void **state)
{
    struct fixture *f = *state;
    struct http_server *tcp = f->server;
    char *path = xasprintf("%s/http.sock", f->folder);
    char out[256];
    for (int i = 0; i < 2; i++) {
        struct http_options options = {.address = path};
        server_start(f, &options);
        (void)snprintf(f->base, sizeof(f->base), "http://localhost");
        pid_t pid = curl_start(f, i == 0 ? "u0" : "u1", "/nothing", "--unix-socket", path, NULL);
        assert_int_equal(process_wait(f->loop, pid), 0);
        curl_text(f, i == 0 ? "u0" : "u1", out, sizeof(out));
        assert_string_equal(out, "nothing at /nothing\n");
        http_server_free(f->server);
    }
    free(path);
    if (certificates_make(f->folder)) {
        char *cert = xasprintf("%s/cert.pem", f->folder);
        char *key = xasprintf("%s/key.pem", f->folder);
        char *ca = xasprintf("%s/ca.pem", f->folder);
        struct http_options options = {.tls_cert = cert, .tls_key = key};
        server_start(f, &options);
        pid_t pid = curl_start(f, "t", "/nothing", "--cacert", ca, NULL);
        assert_int_equal(process_wait(f->loop, pid), 0);
        curl_text(f, "t", out, sizeof(out));
        assert_string_equal(out, "nothing at /nothing\n");
        pid = curl_start(f, "t2", "/nothing", NULL);
        assert_int_equal(process_wait(f->loop, pid), 60); /* curl: certificate not trusted */
        http_server_free(f->server);
        free(cert);
        free(key);
        free(ca);
    }
    f->server = tcp;
    (void)snprintf(f->base, sizeof(f->base), "http://127.0.0.1:%d", http_server_port(tcp));
}

/* Freeing the server with requests and streams open ends them; 'closed' runs. */
static void test_free_busy(void **state)
{
    struct fixture *f = *state;
    struct http_server *first = f->server;
    struct http_options options = {0};
    server_start(f, &options);
    f->held_count = 0;
    f->stream_closed_count = 0;
    pid_t held = curl_start(f, "h", "/hold", NULL);
    wait_for_count(f->loop, &f->held_count, 1);
    pid_t streaming = curl_start(f, "st", "/stream", NULL);
    int64_t end_ms = clock_now_ms() + WAIT_MS_MAX;
    while (f->stream == NULL) {
        assert_true(clock_now_ms() < end_ms);
        loop_turn(f->loop, 5);
    }
    loop_turn(f->loop, 20);
    http_server_free(f->server);
    assert_int_equal(f->stream_closed_count, 1);
    assert_int_not_equal(process_wait(f->loop, held), 0);
    (void)process_wait(f->loop, streaming);
    f->server = first;
    (void)snprintf(f->base, sizeof(f->base), "http://127.0.0.1:%d", http_server_port(first));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_answers),       cmocka_unit_test(test_late_answers),
        cmocka_unit_test(test_body_limit),    cmocka_unit_test(test_stream),
        cmocka_unit_test(test_cannot_listen), cmocka_unit_test(test_other_listeners),
        cmocka_unit_test(test_free_busy),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
