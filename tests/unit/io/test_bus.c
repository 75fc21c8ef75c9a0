/* test_bus.c — both ends of the bus over real nng sockets: replies, long polls, losses, limits,
 * TLS, bad URLs. */
#include "helper_loop.h"

#include "common/base/alloc.h"
#include "common/io/bus.h"
#include "common/io/clock.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define HELD_MAX 512

/* nng 1.5.2 loses a message that it is handed to send while its connection closes (rep0 and req0
 * give it to a closed aio, which takes it without telling anyone). Only messages are let off here;
 * contexts, aios and our own memory are not. */
const char *__lsan_default_suppressions(void);
const char *__lsan_default_suppressions(void)
{
    return "leak:bus_transport_message\n";
}

/* A server that answers "echo:<text>", holds what starts with "hold" and drops what starts with
 * "drop". */
struct echo {
    struct bus_server *server;
    struct bus_request *held[HELD_MAX];
    int held_count;
    int seen_count;
    char peer[64];
};

struct call {
    int code;
    bool was_sent;
    char text[ERR_TEXT_SIZE + ERR_HINT_SIZE + 4];
    char reply[64];
    size_t size;
    bool done;
};

static void on_request(void *user, struct bus_request *request, const void *data, size_t size)
{
    struct echo *echo = user;
    echo->seen_count++;
    (void)snprintf(echo->peer, sizeof(echo->peer), "%s", bus_request_peer(request));
    if (size >= 4 && memcmp(data, "hold", 4) == 0) {
        assert_true(echo->held_count < HELD_MAX);
        echo->held[echo->held_count++] = request;
        return;
    }
    if (size >= 4 && memcmp(data, "drop", 4) == 0) {
        bus_request_drop(request);
        return;
    }
    char *answer = xmalloc(size + 5);
    memcpy(answer, "echo:", 5);
    memcpy(answer + 5, data, size);
    bus_reply(request, answer, size + 5);
    free(answer);
}

static void call_done(void *user, const struct bus_result *result)
{
    struct call *call = user;
    assert_false(call->done);
    call->code = result->code;
    call->was_sent = result->was_sent;
    (void)snprintf(call->text, sizeof(call->text), "%s | %s", result->err.text, result->err.hint);
    call->size = result->size;
    if (result->code == 0) {
        size_t kept =
            result->size < sizeof(call->reply) - 1 ? result->size : sizeof(call->reply) - 1;
        memcpy(call->reply, result->data, kept);
        call->reply[kept] = '\0';
    }
    call->done = true;
}

static struct loop *loop;

static int setup(void **state)
{
    (void)state;
    struct err err = {0};
    loop = loop_new(&err);
    return loop != NULL ? 0 : -1;
}

static int teardown(void **state)
{
    (void)state;
    loop_free(loop);
    return 0;
}

static void echo_start(struct echo *echo, const char *url, const struct bus_options *options)
{
    struct bus_options none = {0};
    struct bus_handler handler = {.on_request = on_request, .user = echo};
    struct err err = {0};
    echo->server = bus_server_new(loop, url, options != NULL ? options : &none, &handler, &err);
    if (echo->server == NULL) {
        fail_msg("%s", err.text);
    }
}

static struct bus_client *client_of(const char *url, const struct bus_options *options)
{
    struct bus_options none = {0};
    struct err err = {0};
    struct bus_client *client =
        bus_client_new(loop, &url, 1, options != NULL ? options : &none, &err);
    if (client == NULL) {
        fail_msg("%s", err.text);
    }
    return client;
}

static void ask(struct bus_client *client, const char *text, int64_t timeout_ms, struct call *call)
{
    *call = (struct call){0};
    struct bus_bytes message = {.data = text, .size = strlen(text)};
    bus_client_request(client, 0, &message, timeout_ms, call_done, call);
    assert_false(call->done);
}

static void echo_round_trip(const char *url, const char *peer_prefix)
{
    struct echo echo = {0};
    echo_start(&echo, url, NULL);
    struct bus_client *client = client_of(bus_server_url(echo.server), NULL);
    struct call calls[20];
    for (int i = 0; i < 20; i++) {
        char text[16];
        (void)snprintf(text, sizeof(text), "hi %d", i);
        ask(client, text, 10000, &calls[i]);
    }
    for (int i = 0; i < 20; i++) {
        char text[24];
        wait_for(loop, &calls[i].done);
        (void)snprintf(text, sizeof(text), "echo:hi %d", i);
        assert_int_equal(calls[i].code, 0);
        assert_string_equal(calls[i].reply, text);
    }
    int64_t end_ms = clock_now_ms() + WAIT_MS_MAX;
    while (!bus_client_is_connected(client, 0)) { /* nng tells it some time after the first bytes */
        assert_true(clock_now_ms() < end_ms);
        loop_turn(loop, 1);
    }
    assert_int_equal(bus_server_waiting_count(echo.server), 0);
    assert_int_equal(strncmp(echo.peer, peer_prefix, strlen(peer_prefix)), 0);
    bus_client_free(client);
    bus_server_free(echo.server);
}

/* The same code serves every transport; port 0 is filled in. */
static void test_transports(void **state)
{
    (void)state;
    echo_round_trip("inproc://test-transports", "inproc");
    echo_round_trip("tcp://127.0.0.1:0", "127.0.0.1:");
    char *folder = folder_new();
    char *url = xasprintf("ipc://%s/bus", folder);
    echo_round_trip(url, "local");
    free(url);
    folder_remove(folder);
}

/* Many long polls wait at once, later requests overtake them, and their replies may come in any
 * order. */
static void test_long_poll(void **state)
{
    (void)state;
    struct echo echo = {0};
    echo_start(&echo, "tcp://127.0.0.1:0", NULL);
    struct bus_client *client = client_of(bus_server_url(echo.server), NULL);
    struct call *polls = xcalloc(300, sizeof(*polls));
    for (int i = 0; i < 300; i++) {
        ask(client, "hold", 15000, &polls[i]);
    }
    wait_for_count(loop, &echo.held_count, 300);
    assert_int_equal(bus_server_waiting_count(echo.server), 300);
    struct call quick;
    ask(client, "quick", 10000, &quick);
    wait_for(loop, &quick.done);
    assert_int_equal(quick.code, 0);
    for (int i = 299; i >= 0; i--) {
        assert_false(polls[i].done);
        bus_reply(echo.held[i], "late", 4);
    }
    for (int i = 0; i < 300; i++) {
        wait_for(loop, &polls[i].done);
        assert_int_equal(polls[i].code, 0);
        assert_string_equal(polls[i].reply, "late");
    }
    assert_int_equal(bus_server_waiting_count(echo.server), 0);
    free(polls);
    bus_client_free(client);
    bus_server_free(echo.server);
}

/* No reply: a timeout, sent or not; nothing is sent twice; a reply after the timeout harms nobody.
 */
static void test_timeouts(void **state)
{
    (void)state;
    int port = free_port();
    char *url = xasprintf("tcp://127.0.0.1:%d", port);
    struct bus_options quick = {.reconnect_ms_min = 20, .reconnect_ms_max = 50};
    struct bus_client *client = client_of(url, &quick);
    struct call call;
    ask(client, "nobody", 60, &call);
    wait_for(loop, &call.done);
    assert_int_equal(call.code, ERR_TIMEOUT);
    assert_false(call.was_sent);
    assert_non_null(strstr(call.text, url));
    struct echo echo = {0};
    echo_start(&echo, url, NULL);
    ask(client, "late server", 15000, &call);
    wait_for(loop, &call.done);
    assert_int_equal(call.code, 0);
    ask(client, "drop", 60, &call);
    wait_for(loop, &call.done);
    assert_int_equal(call.code, ERR_TIMEOUT);
    assert_true(call.was_sent);
    ask(client, "hold", 60, &call);
    wait_for(loop, &call.done);
    assert_int_equal(call.code, ERR_TIMEOUT);
    wait_for_count(loop, &echo.held_count, 1);
    bus_reply(echo.held[0], "too late", 8);
    ask(client, "after", 15000, &call);
    wait_for(loop, &call.done);
    assert_int_equal(call.code, 0);
    assert_string_equal(call.reply, "echo:after");
    assert_int_equal(echo.seen_count, 4);
    bus_client_free(client);
    bus_server_free(echo.server);
    free(url);
}

/* The coordinator goes away with a request in hand: the agent learns it at once, the request is not
 * sent to the next coordinator, and the connection comes back by itself. */
static void test_server_restarts(void **state)
{
    (void)state;
    char *url = xasprintf("tcp://127.0.0.1:%d", free_port());
    struct echo first = {0};
    echo_start(&first, url, NULL);
    struct bus_options quick = {.reconnect_ms_min = 20, .reconnect_ms_max = 50};
    struct bus_client *client = client_of(url, &quick);
    struct call call;
    ask(client, "hold", 15000, &call);
    wait_for_count(loop, &first.held_count, 1);
    bus_server_free(first.server);
    wait_for(loop, &call.done);
    assert_int_equal(call.code, ERR_UNAVAILABLE);
    assert_true(call.was_sent);
    struct echo second = {0};
    echo_start(&second, url, NULL);
    ask(client, "again", 15000, &call);
    wait_for(loop, &call.done);
    assert_int_equal(call.code, 0);
    assert_int_equal(second.seen_count, 1);
    bus_client_free(client);
    bus_server_free(second.server);
    free(url);
}

/* Messages up to the limit pass, one byte more is refused. */
static void test_size_limit(void **state)
{
    (void)state;
    struct echo echo = {0};
    echo_start(&echo, "tcp://127.0.0.1:0", NULL);
    struct bus_client *client = client_of(bus_server_url(echo.server), NULL);
    char *data = xcalloc(1, BUS_MESSAGE_SIZE_MAX + 1);
    struct call call = {0};
    struct bus_bytes message = {.data = data, .size = BUS_MESSAGE_SIZE_MAX - 5};
    bus_client_request(client, 0, &message, 15000, call_done, &call);
    wait_for(loop, &call.done);
    assert_int_equal(call.code, 0);
    assert_int_equal(call.size, BUS_MESSAGE_SIZE_MAX);
    message.size = BUS_MESSAGE_SIZE_MAX + 1;
    call = (struct call){0};
    bus_client_request(client, 0, &message, 15000, call_done, &call);
    wait_for(loop, &call.done);
    assert_int_equal(call.code, ERR_LIMIT);
    free(data);
    bus_client_free(client);
    bus_server_free(echo.server);
}

/* Freeing either end with work in hand cancels it and leaks nothing. */
static void test_closing(void **state)
{
    (void)state;
    struct echo echo = {0};
    echo_start(&echo, "inproc://test-closing", NULL);
    struct bus_client *client = client_of("inproc://test-closing", NULL);
    struct call calls[40];
    for (int i = 0; i < 40; i++) {
        ask(client, i % 2 == 0 ? "hold" : "x", 15000, &calls[i]);
    }
    wait_for_count(loop, &echo.held_count, 5);
    bus_client_free(client);
    for (int i = 0; i < 40; i++) {
        assert_true(calls[i].done);
        assert_true(calls[i].code == 0 || calls[i].code == ERR_CANCELLED);
    }
    bus_server_free(echo.server);
    client = client_of("inproc://test-nobody", NULL);
    for (int i = 0; i < 40; i++) {
        ask(client, "never sent", 15000, &calls[i]);
    }
    bus_client_free(client);
    for (int i = 0; i < 40; i++) {
        assert_int_equal(calls[i].code, ERR_CANCELLED);
        assert_false(calls[i].was_sent);
    }
    bus_client_free(NULL);
    bus_server_free(NULL);
    loop_turn(loop, 0);
}

/* Each mistake has its own sentence. */
static void test_bad_urls(void **state)
{
    (void)state;
    static const char *const urls[] = {
        "http://x:1",  "tcp://", "tcp://host", "tcp://host:port",      "tcp://h:70000",
        "tcp://::1:5", "",       "inproc://",  "tls+tcp://127.0.0.1:0"};
    struct bus_options none = {0};
    struct bus_handler handler = {.on_request = on_request};
    for (size_t i = 0; i < sizeof(urls) / sizeof(urls[0]); i++) {
        struct err err = {0};
        assert_null(bus_server_new(loop, urls[i], &none, &handler, &err));
        assert_int_equal(err.code, ERR_CONFIG);
        assert_true(strlen(err.hint) > 0);
        err = (struct err){0};
        assert_null(bus_client_new(loop, &urls[i], 1, &none, &err));
        assert_int_equal(err.code, ERR_CONFIG);
        assert_true(strlen(err.hint) > 0);
    }
    struct echo echo = {0};
    echo_start(&echo, "tcp://127.0.0.1:0", NULL);
    struct err err = {0};
    assert_null(bus_server_new(loop, bus_server_url(echo.server), &none, &handler, &err));
    assert_int_equal(err.code, ERR_CONFIG);
    assert_non_null(strstr(err.text, bus_server_url(echo.server)));
    assert_non_null(strstr(err.hint, "another process"));
    bus_server_free(echo.server);
    err = (struct err){0};
    assert_null(bus_server_new(loop, "tcp://203.0.113.7:7000", &none, &handler, &err));
    assert_int_equal(err.code, ERR_CONFIG);
}

/* TLS: the right CA passes; a wrong name, a missing CA and a client without the wanted certificate
 * do not. */
static void test_tls(void **state)
{
    (void)state;
    char *folder = folder_new();
    if (!certificates_make(folder)) {
        print_message("no openssl program: TLS is not tested\n");
        folder_remove(folder);
        skip();
    }
    char *ca = xasprintf("%s/ca.pem", folder);
    char *cert = xasprintf("%s/cert.pem", folder);
    char *key = xasprintf("%s/key.pem", folder);
    struct bus_options server_options = {.tls_cert = cert, .tls_key = key};
    struct echo echo = {0};
    echo_start(&echo, "tls+tcp://127.0.0.1:0", &server_options);
    struct bus_options options[3] = {
        {.tls_ca = ca, .tls_name = "localhost"},
        {.tls_ca = ca, .tls_name = "elsewhere"},
        {.tls_insecure = true},
    };
    for (int i = 0; i < 3; i++) {
        struct bus_client *client = client_of(bus_server_url(echo.server), &options[i]);
        struct call call;
        ask(client, "secret", i == 1 ? 700 : 15000, &call);
        wait_for(loop, &call.done);
        assert_int_equal(call.code, i == 1 ? ERR_TIMEOUT : 0);
        bus_client_free(client);
    }
    bus_server_free(echo.server);
    /* The server wants a certificate of its CA. */
    server_options.tls_ca = ca;
    echo_start(&echo, "tls+tcp://127.0.0.1:0", &server_options);
    struct bus_options with = {
        .tls_ca = ca, .tls_name = "localhost", .tls_cert = cert, .tls_key = key};
    for (int i = 0; i < 2; i++) {
        struct bus_client *client =
            client_of(bus_server_url(echo.server), i == 0 ? &with : &options[0]);
        struct call call;
        ask(client, "secret", i == 1 ? 700 : 15000, &call);
        wait_for(loop, &call.done);
        assert_true(i == 0 ? call.code == 0 : call.code != 0);
        bus_client_free(client);
    }
    bus_server_free(echo.server);
    struct bus_options wrong = {.tls_cert = ca, .tls_key = key};
    struct bus_handler handler = {.on_request = on_request};
    struct err err = {0};
    assert_null(bus_server_new(loop, "tls+tcp://127.0.0.1:0", &wrong, &handler, &err));
    assert_int_equal(err.code, ERR_CONFIG);
    wrong.tls_cert = "/nonexistent.pem";
    assert_null(bus_server_new(loop, "tls+tcp://127.0.0.1:0", &wrong, &handler, &err));
    assert_non_null(strstr(err.text, "/nonexistent.pem"));
    free(ca);
    free(cert);
    free(key);
    folder_remove(folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_transports), cmocka_unit_test(test_long_poll),
        cmocka_unit_test(test_timeouts),   cmocka_unit_test(test_server_restarts),
        cmocka_unit_test(test_size_limit), cmocka_unit_test(test_closing),
        cmocka_unit_test(test_bad_urls),   cmocka_unit_test(test_tls),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
