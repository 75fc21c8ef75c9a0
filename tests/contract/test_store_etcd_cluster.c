/* test_store_etcd_cluster.c — three real etcd members: what the store promises while they are
 * killed and stopped. */
#include "helper_etcd_server.h"

#include "common/base/alloc.h"
#include "common/base/check.h"
#include "common/io/store_backend.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* etcd elects within two election timeouts; our attempts and pauses come on top. */
#define RECOVERY_MS_MAX 8000

static struct suite_loop loop;
static struct etcd_cluster cluster;
static struct suite_backend backend;

static struct store *open_from(int first, const char *prefix)
{
    char *url = etcd_cluster_url(&cluster, first, prefix);
    struct store *store = NULL;
    struct err err = {0};
    if (store_open(url, NULL, &loop.loop, &store, &err) != 0) {
        fail_msg("%s", err.text);
    }
    free(url);
    return store;
}

static void revive(int index)
{
    etcd_member_start(&cluster, index);
    etcd_member_wait(&cluster, index);
}

/* Increments a counter under a MOD compare, the way the journal writes: what is unknown is read
 * back. Returns how long it took until the new value was confirmed. */
static int64_t counter_next(struct store *store, int value)
{
    int64_t start_ms = store_now_ms();
    char text[16];
    (void)snprintf(text, sizeof(text), "%d", value);
    for (;;) {
        assert_true(store_now_ms() - start_ms < 30000);
        struct store_request read = {
            .kind = STORE_RANGE, .key = xstrdup("counter"), .timeout_ms = 3000};
        struct store_result result = suite_ask(&backend, store, &read);
        if (result.code != 0) {
            assert_true(result.code == ERR_UNAVAILABLE || result.code == ERR_TIMEOUT);
            store_result_release(&result);
            continue;
        }
        int64_t revision = result.kv_count == 0 ? 0 : result.kvs[0].mod_revision;
        int stored =
            result.kv_count == 0 ? 0 : (int)strtol(strbuf_text(&result.kvs[0].value), NULL, 10);
        store_result_release(&result);
        if (stored == value) {
            return store_now_ms() - start_ms;
        }
        assert_int_equal(stored, value - 1); /* never two steps, never back */
        struct store_request write = {.kind = STORE_TXN, .timeout_ms = 3000};
        store_request_add_compare(&write, "counter", STORE_MOD_REVISION, revision);
        strbuf_add_text(&store_request_add_put(&write, "counter", 0)->value, text);
        result = suite_ask(&backend, store, &write);
        bool is_done = result.code == 0 && result.succeeded;
        assert_true(result.code == 0 || result.code == ERR_UNAVAILABLE ||
                    result.code == ERR_TIMEOUT);
        store_result_release(&result);
        if (is_done) {
            return store_now_ms() - start_ms;
        }
    }
}

static void assert_recovers(struct store *store, int *counter, const char *what)
{
    int64_t took_ms = 0;
    for (int i = 0; i < 5; i++) {
        int64_t ms = counter_next(store, ++*counter);
        took_ms = ms > took_ms ? ms : took_ms;
    }
    print_message("%s: slowest guarded write %lld ms\n", what, (long long)took_ms);
    assert_true(took_ms < RECOVERY_MS_MAX);
}

/* kill -9 of the member in use, then of the leader: guarded writes go on within seconds, none is
 * lost or done twice; the watch shows the last one. */
static void test_kill_members(void **state)
{
    (void)state;
    int leader = etcd_cluster_leader(&cluster);
    int follower = (leader + 1) % 3;
    struct store *store = open_from(follower, "kill");
    struct suite_watch watch;
    suite_watch_begin(&backend, store, &watch, "", 0);
    int counter = 0;
    assert_recovers(store, &counter, "all up");
    suite_watch_wait(&backend, &watch, "counter", "5");
    etcd_member_kill(&cluster, follower);
    assert_recovers(store, &counter, "follower killed");
    suite_watch_wait(&backend, &watch, "counter", "10");
    revive(follower);
    leader = etcd_cluster_leader(&cluster);
    etcd_member_kill(&cluster, leader);
    assert_recovers(store, &counter, "leader killed");
    suite_watch_wait(&backend, &watch, "counter", "15");
    revive(leader);
    assert_recovers(store, &counter, "all up again");
    suite_watch_wait(&backend, &watch, "counter", "20");
    suite_watch_end(&backend, &watch);
    backend.close(store);
}

/* A stopped member keeps its connections and answers nothing: requests, keepalives and the watch
 * leave it. */
static void test_stopped_member(void **state)
{
    (void)state;
    for (int is_leader = 0; is_leader < 2; is_leader++) {
        int leader = etcd_cluster_leader(&cluster);
        int stopped = is_leader ? leader : (leader + 1) % 3;
        struct store *store = open_from(stopped, is_leader ? "stop/leader" : "stop/follower");
        struct suite_watch watch;
        suite_watch_begin(&backend, store, &watch, "", 0);
        int64_t id = suite_lease_id();
        struct store_result result = suite_lease(&backend, store, STORE_LEASE_GRANT, id, 20000);
        store_result_release(&result);
        int counter = 0;
        assert_recovers(store, &counter, "all up");
        suite_watch_wait(&backend, &watch, "counter", "5");
        etcd_member_signal(&cluster, stopped, SIGSTOP);
        int64_t start_ms = store_now_ms();
        result = suite_lease(&backend, store, STORE_LEASE_KEEPALIVE, id, 0);
        int64_t took_ms = store_now_ms() - start_ms;
        assert_true(result.ttl_ms > 0);
        store_result_release(&result);
        print_message("keepalive past a stopped %s: %lld ms\n", is_leader ? "leader" : "follower",
                      (long long)took_ms);
        assert_true(took_ms < 5000);
        assert_recovers(store, &counter, is_leader ? "leader stopped" : "follower stopped");
        suite_watch_wait(&backend, &watch, "counter", "10");
        etcd_member_signal(&cluster, stopped, SIGCONT);
        etcd_member_wait(&cluster, stopped);
        assert_recovers(store, &counter, "continued");
        suite_watch_wait(&backend, &watch, "counter", "15");
        suite_watch_end(&backend, &watch);
        backend.close(store);
    }
}

/* The watch alone (no request notices that its member stopped): the list beside the stream shows
 * the change. */
static void test_silent_stream(void **state)
{
    (void)state;
    int leader = etcd_cluster_leader(&cluster);
    int stopped = (leader + 1) % 3;
    struct store *watching = open_from(stopped, "silent");
    struct store *writing = open_from(leader, "silent");
    struct suite_watch watch;
    (void)suite_put(&backend, writing, "k", "1", 0);
    suite_watch_begin(&backend, watching, &watch, "", 0);
    suite_watch_wait(&backend, &watch, "k", "1");
    /* Changes that only a stream can bring this soon: it is open now. */
    int64_t opened_ms = store_now_ms();
    (void)suite_put(&backend, writing, "open", "1", 0);
    suite_watch_wait(&backend, &watch, "open", "1");
    assert_true(store_now_ms() - opened_ms < 2000);
    etcd_member_signal(&cluster, stopped, SIGSTOP);
    (void)suite_put(&backend, writing, "k", "2", 0);
    int64_t start_ms = store_now_ms();
    while (watch.count < 3 && store_now_ms() - start_ms < 45000) {
        backend.turn(&loop, 100);
    }
    suite_watch_wait(&backend, &watch, "k", "2");
    print_message("silent stream noticed after %lld ms\n", (long long)(store_now_ms() - start_ms));
    (void)suite_put(&backend, writing, "k", "3", 0);
    suite_watch_wait(&backend, &watch, "k", "3"); /* now by a living stream */
    etcd_member_signal(&cluster, stopped, SIGCONT);
    etcd_member_wait(&cluster, stopped);
    suite_watch_end(&backend, &watch);
    backend.close(watching);
    backend.close(writing);
}

/* Without a majority a write is never reported as done, every request ends in time, and what was
 * unknown is decided by a read when the majority is back. */
static void test_no_quorum(void **state)
{
    (void)state;
    struct store *store = open_from(0, "quorum");
    (void)suite_put(&backend, store, "k", "1", 0);
    int64_t id = suite_lease_id();
    struct store_result result = suite_lease(&backend, store, STORE_LEASE_GRANT, id, 30000);
    store_result_release(&result);
    etcd_member_kill(&cluster, 1);
    etcd_member_kill(&cluster, 2);
    static const enum store_request_kind kinds[] = {STORE_RANGE, STORE_TXN, STORE_LEASE_KEEPALIVE,
                                                    STORE_LEASE_GRANT};
    int txn_code = 0;
    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        struct store_request request = {
            .kind = kinds[i], .timeout_ms = 2500, .lease_id = id, .ttl_ms = 30000};
        if (kinds[i] == STORE_RANGE) {
            request.key = xstrdup("k");
        } else if (kinds[i] == STORE_TXN) {
            strbuf_add_text(&store_request_add_put(&request, "k", 0)->value, "2");
        } else if (kinds[i] == STORE_LEASE_GRANT) {
            request.lease_id = suite_lease_id();
        }
        int64_t start_ms = store_now_ms();
        result = suite_ask(&backend, store, &request);
        print_message("no quorum, request kind %d: %s after %lld ms: %s\n", (int)kinds[i],
                      err_word(result.code), (long long)(store_now_ms() - start_ms),
                      result.err.text);
        assert_true(result.code == ERR_UNAVAILABLE || result.code == ERR_TIMEOUT);
        assert_true(kinds[i] != STORE_RANGE || result.code == ERR_UNAVAILABLE);
        assert_true(store_now_ms() - start_ms < 3000);
        assert_true(result.err.hint[0] != '\0' || result.code == ERR_TIMEOUT);
        txn_code = kinds[i] == STORE_TXN ? result.code : txn_code;
        store_result_release(&result);
    }
    etcd_member_start(&cluster, 1);
    etcd_member_start(&cluster, 2);
    etcd_member_wait(&cluster, 0);
    etcd_member_wait(&cluster, 1);
    etcd_member_wait(&cluster, 2);
    result = suite_get(&backend, store, "k", false);
    assert_int_equal(result.kv_count, 1);
    bool is_old = strcmp(strbuf_text(&result.kvs[0].value), "1") == 0;
    assert_true(is_old || txn_code == ERR_TIMEOUT); /* "certainly not done" was true */
    store_result_release(&result);
    (void)suite_put(&backend, store, "k", "3", 0);
    backend.close(store);
}

/* One endpoint of another cluster in the list: said by name, and nothing is read from it. */
static void test_foreign_member(void **state)
{
    (void)state;
    struct etcd_cluster other = {0};
    etcd_cluster_start(&other, &loop, 1);
    char *url = xasprintf("etcd://127.0.0.1:%d,127.0.0.1:%d/foreign",
                          cluster.members[0].client_port, other.members[0].client_port);
    struct store *store = NULL;
    assert_int_equal(store_open(url, NULL, &loop.loop, &store, NULL), 0);
    (void)suite_put(&backend, store, "k", "1", 0);
    etcd_member_kill(&cluster, 0);
    struct store_request request = {.kind = STORE_RANGE, .key = xstrdup("k"), .timeout_ms = 1500};
    struct store_result result = suite_ask(&backend, store, &request);
    assert_int_equal(result.code, ERR_UNAVAILABLE);
    store_result_release(&result);
    struct err err = {0};
    int code = suite_try_put(&backend, store, "k", &err);
    assert_int_equal(code, ERR_TIMEOUT);
    assert_non_null(strstr(err.text, "cluster"));
    revive(0);
    backend.close(store);
    free(url);
    etcd_cluster_stop(&other);
}

static void *env_open(void *env, int store_index)
{
    (void)env;
    char prefix[32];
    (void)snprintf(prefix, sizeof(prefix), "contract/%d", store_index);
    return open_from(store_index % 3, prefix);
}

int main(void)
{
    if (!etcd_is_installed()) {
        return 0;
    }
    suite_loop_init(&loop);
    backend = (struct suite_backend){.name = "store contract: three etcd members",
                                     .open = env_open,
                                     .lease_ttl_ms = 1000,
                                     .expiry_slack_ms = 4000};
    suite_backend_real(&backend, &loop);
    etcd_cluster_start(&cluster, &loop, 3);
    int failed = suite_run(&backend);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_kill_members),   cmocka_unit_test(test_stopped_member),
        cmocka_unit_test(test_silent_stream),  cmocka_unit_test(test_no_quorum),
        cmocka_unit_test(test_foreign_member),
    };
    failed += cmocka_run_group_tests_name("three members only", tests, NULL, NULL);
    if (failed > 0) {
        etcd_cluster_print_logs(&cluster);
    }
    etcd_cluster_stop(&cluster);
    suite_loop_release(&loop);
    return failed == 0 ? 0 : 1;
}
