/* test_store_etcd_gateway.c — the etcd store against gateways that answer by script: what a real
 * cluster shows too seldom.
 *
 * Each scripted gateway answers the n-th request for a path with the n-th line of its script for
 * that path; the last line repeats. */
#include "helper_store_suite.h"

#include "common/base/alloc.h"
#include "common/io/store_backend.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define HEADER(term)                                                                         \
    "\"header\":{\"cluster_id\":\"9\",\"member_id\":\"1\",\"revision\":\"7\",\"raft_term\":" \
    "\"" term "\"}"
#define RANGE_OK "200 {" HEADER("5") "}"
#define TXN_OK "200 {" HEADER("5") ",\"succeeded\":true}"
#define LINES_MAX 8
#define LATE_MS 3000

struct line {
    const char *path;
    const char *answer; /* "STATUS BODY", sent LATE_MS later with a '~' before it; "" = close the
                           connection; NULL ends the script */
};

struct gateway {
    uv_tcp_t listener;
    int port;
    const struct line *script;
    int used[LINES_MAX]; /* how often each line was given */
    int requests;
    struct strbuf last;
};

struct peer {
    uv_tcp_t tcp;
    struct gateway *gateway;
    struct strbuf in;
    struct late *late; /* NULL = nothing is to be sent later */
    char buffer[16384];
};

/* An answer that waits for its time. */
struct late {
    uv_timer_t timer;
    struct peer *peer; /* NULL = it has gone */
    const char *answer;
};

static int late_count;
static struct suite_loop loop;
static struct suite_backend backend;
static struct gateway gateways[2];

static void peer_closed(uv_handle_t *handle)
{
    struct peer *peer = handle->data;
    if (peer->late != NULL) {
        peer->late->peer = NULL;
    }
    strbuf_release(&peer->in);
    free(peer);
}

static void write_done(uv_write_t *write, int status)
{
    (void)status;
    free(write->data);
    free(write);
}

static const char *script_next(struct gateway *gateway, const char *request)
{
    int found = -1;
    for (int i = 0; gateway->script[i].answer != NULL; i++) {
        size_t len = strlen(gateway->script[i].path);
        if (strncmp(request + strlen("POST "), gateway->script[i].path, len) == 0) {
            found = i;
            if (gateway->used[i] == 0) {
                break;
            }
        }
    }
    if (found < 0) {
        return "404 ";
    }
    gateway->used[found]++;
    return gateway->script[found].answer;
}

static void peer_answer(struct peer *peer, const char *answer)
{
    if (answer[0] == '\0') {
        uv_close((uv_handle_t *)&peer->tcp, peer_closed);
        return;
    }
    uv_write_t *write = xcalloc(1, sizeof(*write));
    write->data = xasprintf("HTTP/1.1 %.3s X\r\nContent-Length: %zu\r\n\r\n%s", answer,
                            strlen(answer + 4), answer + 4);
    uv_buf_t buf = uv_buf_init(write->data, (unsigned)strlen(write->data));
    (void)uv_write(write, (uv_stream_t *)&peer->tcp, &buf, 1, write_done);
}

static void late_closed(uv_handle_t *handle)
{
    free(handle->data);
    late_count--;
}

static void late_due(uv_timer_t *timer)
{
    struct late *late = timer->data;
    if (late->peer != NULL) {
        late->peer->late = NULL;
        peer_answer(late->peer, late->answer);
    }
    uv_close((uv_handle_t *)timer, late_closed);
}

static void peer_answer_later(struct peer *peer, const char *answer)
{
    struct late *late = xcalloc(1, sizeof(*late));
    late->peer = peer;
    late->answer = answer;
    late->timer.data = late;
    assert_null(peer->late);
    peer->late = late;
    late_count++;
    assert_int_equal(uv_timer_init(&loop.loop, &late->timer), 0);
    assert_int_equal(uv_timer_start(&late->timer, late_due, LATE_MS, 0), 0);
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
    if (head_end == NULL || length == NULL) {
        return;
    }
    size_t need = (size_t)(head_end - peer->in.data) + 4 + strtoul(length + 16, NULL, 10);
    if (peer->in.len < need) {
        return;
    }
    struct gateway *gateway = peer->gateway;
    strbuf_clear(&gateway->last);
    strbuf_add(&gateway->last, peer->in.data, need);
    strbuf_consume(&peer->in, need);
    gateway->requests++;
    const char *answer = script_next(gateway, strbuf_text(&gateway->last));
    if (answer[0] == '~') {
        peer_answer_later(peer, answer + 1);
    } else {
        peer_answer(peer, answer);
    }
}

static void accepted(uv_stream_t *listener, int status)
{
    assert_int_equal(status, 0);
    struct peer *peer = xcalloc(1, sizeof(*peer));
    peer->gateway = listener->data;
    peer->tcp.data = peer;
    assert_int_equal(uv_tcp_init(&loop.loop, &peer->tcp), 0);
    assert_int_equal(uv_accept(listener, (uv_stream_t *)&peer->tcp), 0);
    assert_int_equal(uv_read_start((uv_stream_t *)&peer->tcp, peer_alloc, peer_read), 0);
}

static void gateway_listen(struct gateway *gateway)
{
    struct sockaddr_in address;
    struct sockaddr_storage bound;
    int size = sizeof(bound);
    assert_int_equal(uv_tcp_init(&loop.loop, &gateway->listener), 0);
    gateway->listener.data = gateway;
    assert_int_equal(uv_ip4_addr("127.0.0.1", 0, &address), 0);
    assert_int_equal(uv_tcp_bind(&gateway->listener, (const struct sockaddr *)&address, 0), 0);
    assert_int_equal(uv_listen((uv_stream_t *)&gateway->listener, 16, accepted), 0);
    assert_int_equal(uv_tcp_getsockname(&gateway->listener, (struct sockaddr *)&bound, &size), 0);
    gateway->port = ntohs(((struct sockaddr_in *)&bound)->sin_port);
}

static struct store *open_scripts(const struct line *first,
                                  const struct line *second,
                                  bool has_user)
{
    const struct line *const scripts[] = {first, second};
    struct strbuf url = {0};
    for (int i = 0; i < 2; i++) {
        gateways[i].script = scripts[i];
        gateways[i].requests = 0;
        memset(gateways[i].used, 0, sizeof(gateways[i].used));
        if (scripts[i] != NULL) {
            strbuf_addf(&url, "%s127.0.0.1:%d", i == 0 ? "etcd://" : ",", gateways[i].port);
        }
    }
    const struct store_options options = {.user = has_user ? "u" : NULL,
                                          .password = has_user ? "p" : NULL};
    struct store *store = NULL;
    assert_int_equal(store_open(strbuf_text(&url), &options, &loop.loop, &store, NULL), 0);
    strbuf_release(&url);
    return store;
}

static struct store_result ask(struct store *store, enum store_request_kind kind)
{
    struct store_request request = {
        .kind = kind, .timeout_ms = 1500, .lease_id = 3, .ttl_ms = 5000};
    if (kind == STORE_RANGE) {
        request.key = xstrdup("k");
    } else if (kind == STORE_TXN) {
        suite_request_put(&request, "k", "v", 0);
    }
    return suite_ask(&backend, store, &request);
}

static void assert_code(struct store *store, enum store_request_kind kind, int code)
{
    struct store_result result = ask(store, kind);
    if (result.code != code) {
        fail_msg("got %s (%s) instead of %s", err_word(result.code), result.err.text,
                 err_word(code));
    }
    store_result_release(&result);
}

/* Replies after which a transaction may still be committed are unknown and not repeated; the others
 * are certain. */
static void test_txn_errors(void **state)
{
    (void)state;
    static const struct {
        const char *answer;
        int code;
        int requests; /* how often it may have been sent in all */
    } cases[] = {
        {"503 {\"error\":\"etcdserver: request timed out\",\"code\":14}", ERR_TIMEOUT, 1},
        {"500 {\"error\":\"context deadline exceeded\",\"code\":4}", ERR_TIMEOUT, 1},
        {"500 {\"error\":\"etcdserver: not a primary lessor\",\"code\":2}", ERR_TIMEOUT, 1},
        {"502 <html>bad gateway</html>", ERR_TIMEOUT, 1},
        {"429 {\"message\":\"etcdserver: mvcc: database space exceeded\",\"code\":8}", ERR_TIMEOUT,
         1},
        {"200 {\"broken", ERR_TIMEOUT, 1},
        {"200 {}", ERR_TIMEOUT, 1},
        {"", ERR_TIMEOUT, 1},
        {"404 {\"error\":\"etcdserver: requested lease not found\",\"code\":5}", ERR_NOT_FOUND, 1},
        {"403 {\"error\":\"etcdserver: permission denied\",\"code\":7}", ERR_AUTH, 1},
        {"400 {\"error\":\"etcdserver: request is too large\",\"code\":3}", ERR_LIMIT, 1},
        {"404 Not Found", ERR_PROTOCOL, 1},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        const struct line script[] = {
            {"/v3/kv/txn", cases[i].answer}, {"/v3/kv/txn", TXN_OK}, {NULL, NULL}};
        struct store *store = open_scripts(script, script, false);
        assert_code(store, STORE_TXN, cases[i].code);
        assert_int_equal(gateways[0].requests + gateways[1].requests, cases[i].requests);
        backend.close(store);
    }
    /* "Too many requests" is a refusal before the proposal: the next endpoint gets it. */
    static const struct line busy[] = {
        {"/v3/kv/txn", "429 {\"message\":\"etcdserver: too many requests\",\"code\":8}"},
        {NULL, NULL}};
    static const struct line fine[] = {{"/v3/kv/txn", TXN_OK}, {NULL, NULL}};
    struct store *store = open_scripts(busy, fine, false);
    assert_code(store, STORE_TXN, 0);
    assert_int_equal(gateways[0].requests, 1);
    assert_int_equal(gateways[1].requests, 1);
    backend.close(store);
}

/* What is safe to repeat is repeated elsewhere, whatever the failure was. */
static void test_repeats(void **state)
{
    (void)state;
    static const char *const failures[] = {
        "503 {\"error\":\"etcdserver: request timed out\",\"code\":14}",
        "500 {\"error\":\"etcdserver: not a primary lessor\",\"code\":2}",
        "502 <html>bad gateway</html>",
        "200 {\"broken",
        "200 {}",
        ""};
    for (size_t i = 0; i < sizeof(failures) / sizeof(failures[0]); i++) {
        const struct line bad[] = {{"/v3/", failures[i]}, {NULL, NULL}};
        static const struct line good[] = {
            {"/v3/kv/range", RANGE_OK},
            {"/v3/lease/keepalive",
             "200 {\"result\":{" HEADER("5") ",\"ID\":\"3\",\"TTL\":\"10\"}}"},
            {"/v3/lease/revoke", "200 {" HEADER("5") "}"},
            {NULL, NULL}};
        struct store *store = open_scripts(bad, good, false);
        assert_code(store, STORE_RANGE, 0);
        assert_code(store, STORE_LEASE_KEEPALIVE, 0);
        assert_code(store, STORE_LEASE_REVOKE, 0);
        assert_int_equal(gateways[0].requests, 2); /* once a lane, then never again */
        backend.close(store);
    }
}

/* A member with a lower raft term is skipped for reads and keepalives; a transaction it reports as
 * done was done. */
static void test_lagging_member(void **state)
{
    (void)state;
    static const struct line old[] = {
        {"/v3/kv/range", "200 {" HEADER("4") "}"},
        {"/v3/kv/txn", "200 {" HEADER("4") ",\"succeeded\":true}"},
        {"/v3/lease/keepalive", "200 {\"result\":{" HEADER("4") ",\"ID\":\"3\",\"TTL\":\"10\"}}"},
        {NULL, NULL}};
    static const struct line now[] = {
        {"/v3/kv/range", "200 {" HEADER("5") "}"},
        {"/v3/kv/range", ""},
        {"/v3/kv/txn", "503 {\"message\":\"x\",\"code\":14}"},
        {"/v3/lease/keepalive", "200 {\"result\":{" HEADER("5") ",\"ID\":\"3\"}}"},
        {NULL, NULL}};
    struct store *store = open_scripts(now, old, false);
    assert_code(store, STORE_RANGE, 0);
    assert_code(store, STORE_RANGE, ERR_UNAVAILABLE); /* only the lagging member is left */
    struct store_result result = ask(store, STORE_LEASE_KEEPALIVE);
    assert_int_equal(result.code, 0);
    assert_int_equal(result.ttl_ms, 0); /* by the member that knows the term */
    store_result_release(&result);
    backend.close(store);

    static const struct line first[] = {
        {"/v3/kv/range", "200 {" HEADER("5") "}"}, {"/v3/kv/txn", ""}, {NULL, NULL}};
    store = open_scripts(first, old, false);
    assert_code(store, STORE_RANGE, 0);
    assert_code(store, STORE_TXN,
                ERR_TIMEOUT); /* the connection broke: rotates to the lagging member */
    assert_code(store, STORE_TXN, 0);
    backend.close(store);
}

/* A refused token is renewed once; a second refusal is final. The token goes raw into the header.
 */
static void test_token(void **state)
{
    (void)state;
    static const char *const refusals[] = {
        "401 {\"error\":\"etcdserver: invalid auth token\",\"code\":16}",
        "400 {\"code\":3,\"message\":\"etcdserver: user name is empty\"}",
        "400 {\"code\":3,\"message\":\"etcdserver: revision of auth store is old\"}"};
    for (size_t i = 0; i < sizeof(refusals) / sizeof(refusals[0]); i++) {
        const struct line once[] = {{"/v3/auth/", "200 {\"token\":\"first\"}"},
                                    {"/v3/auth/", "200 {\"token\":\"second\"}"},
                                    {"/v3/kv/txn", refusals[i]},
                                    {"/v3/kv/txn", TXN_OK},
                                    {NULL, NULL}};
        struct store *store = open_scripts(once, NULL, true);
        assert_code(store, STORE_TXN, 0);
        assert_int_equal(gateways[0].requests, 4);
        assert_non_null(strstr(strbuf_text(&gateways[0].last), "\r\nAuthorization: second\r\n"));
        backend.close(store);
        const struct line always[] = {
            {"/v3/auth/", "200 {\"token\":\"t\"}"}, {"/v3/kv/txn", refusals[i]}, {NULL, NULL}};
        store = open_scripts(always, NULL, true);
        assert_code(store, STORE_TXN, ERR_AUTH);
        assert_int_equal(gateways[0].requests, 4);
        backend.close(store);
    }
    /* Many requests wait for one token. */
    static const struct line script[] = {
        {"/v3/auth/", "200 {\"token\":\"t\"}"}, {"/v3/kv/range", RANGE_OK}, {NULL, NULL}};
    struct store *store = open_scripts(script, NULL, true);
    enum { COUNT = 20 };
    struct suite_answer answers[COUNT] = {{false, {0}}};
    for (int i = 0; i < COUNT; i++) {
        struct store_request request = {
            .kind = STORE_RANGE, .key = xstrdup("k"), .timeout_ms = 3000};
        backend.submit(store, &request, suite_answer_done, &answers[i]);
    }
    for (int i = 0; i < COUNT; i++) {
        for (int j = 0; j < 200 && !answers[i].is_done; j++) {
            backend.turn(&loop, 100);
        }
        assert_true(answers[i].is_done);
        assert_int_equal(answers[i].result.code, 0);
    }
    assert_int_equal(gateways[0].used[0], 1);
    backend.close(store);
}

/* A lease granted before is renewed, so that its TTL counts from now; one that ended in between is
 * granted anew. */
static void test_grant_again(void **state)
{
    (void)state;
    static const char exists[] = "412 {\"error\":\"etcdserver: lease already exists\",\"code\":9}";
    const struct line renewed[] = {
        {"/v3/lease/grant", exists},
        {"/v3/lease/keepalive", "200 {\"result\":{" HEADER("5") ",\"ID\":\"3\",\"TTL\":\"10\"}}"},
        {NULL, NULL}};
    struct store *store = open_scripts(renewed, NULL, false);
    struct store_result result = ask(store, STORE_LEASE_GRANT);
    assert_int_equal(result.code, 0);
    assert_int_equal(result.ttl_ms, 10000);
    store_result_release(&result);
    backend.close(store);
    const struct line ended[] = {
        {"/v3/lease/grant", exists},
        {"/v3/lease/grant", "200 {" HEADER("5") ",\"ID\":\"3\",\"TTL\":\"5\"}"},
        {"/v3/lease/keepalive", "200 {\"result\":{" HEADER("5") ",\"ID\":\"3\"}}"},
        {NULL, NULL}};
    store = open_scripts(ended, NULL, false);
    result = ask(store, STORE_LEASE_GRANT);
    assert_int_equal(result.code, 0);
    assert_int_equal(result.ttl_ms, 5000);
    store_result_release(&result);
    backend.close(store);
}

/* A server that is slow to hash the password: each try is given longer, so that one gets through,
 * although the requests that wait for it have long ended. */
static void test_slow_login(void **state)
{
    (void)state;
    static const struct line script[] = {
        {"/v3/auth/", "~200 {\"token\":\"t\"}"}, {"/v3/kv/range", RANGE_OK}, {NULL, NULL}};
    struct store *store = open_scripts(script, NULL, true);
    int64_t limit_ms = store_now_ms() + 60000;
    struct store_result result = {0};
    do {
        store_result_release(&result);
        result = ask(store, STORE_RANGE);
    } while (result.code == ERR_UNAVAILABLE && store_now_ms() < limit_ms);
    assert_int_equal(result.code, 0);
    assert_int_equal(gateways[0].used[0], 2);
    store_result_release(&result);
    backend.close(store);
    while (late_count > 0) {
        (void)uv_run(&loop.loop, UV_RUN_ONCE);
    }
}

static void close_all(uv_handle_t *handle, void *unused)
{
    (void)unused;
    bool is_peer = handle->type == UV_TCP && handle != (uv_handle_t *)&gateways[0].listener &&
                   handle != (uv_handle_t *)&gateways[1].listener;
    if (handle->type == UV_TCP && !uv_is_closing(handle)) {
        uv_close(handle, is_peer ? peer_closed : NULL);
    }
}

int main(void)
{
    suite_loop_init(&loop);
    backend = (struct suite_backend){.name = "scripted gateway"};
    suite_backend_real(&backend, &loop);
    gateway_listen(&gateways[0]);
    gateway_listen(&gateways[1]);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_txn_errors),     cmocka_unit_test(test_repeats),
        cmocka_unit_test(test_lagging_member), cmocka_unit_test(test_token),
        cmocka_unit_test(test_grant_again),    cmocka_unit_test(test_slow_login),
    };
    int failed = cmocka_run_group_tests_name("scripted gateway", tests, NULL, NULL);
    uv_walk(&loop.loop, close_all, NULL);
    suite_loop_release(&loop);
    strbuf_release(&gateways[0].last);
    strbuf_release(&gateways[1].last);
    return failed == 0 ? 0 : 1;
}
