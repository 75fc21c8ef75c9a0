/* test_store_etcd.c — the store contract on a real etcd, and what only etcd can get wrong:
 * compaction, authentication, a full database, a restarted server. */
#include "helper_etcd_server.h"

#include "common/base/alloc.h"
#include "common/base/check.h"
#include "common/io/store_backend.h"

#include <jansson.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct suite_loop loop;
static struct etcd_cluster cluster;
static struct suite_backend backend;

static struct store *open_prefix(const char *prefix, const struct store_options *options)
{
    char *url = etcd_cluster_url(&cluster, 0, prefix);
    struct store *store = NULL;
    struct err err = {0};
    if (store_open(url, options, &loop.loop, &store, &err) != 0) {
        fail_msg("%s", err.text);
    }
    free(url);
    return store;
}

static void *env_open(void *env, int store_index)
{
    (void)env;
    char prefix[32];
    (void)snprintf(prefix, sizeof(prefix), "contract/%d", store_index);
    return open_prefix(prefix, NULL);
}

static void compact(int64_t revision)
{
    char body[64];
    (void)snprintf(body, sizeof(body), "{\"revision\":\"%lld\",\"physical\":true}",
                   (long long)revision);
    assert_int_equal(etcd_member_post(&cluster, 0, "/v3/kv/compaction", body, NULL, NULL), 200);
}

/* A watch from a revision that is compacted begins with a snapshot instead. */
static void test_watch_from_compacted(void **state)
{
    (void)state;
    struct store *store = open_prefix("compact", NULL);
    int64_t first = suite_put(&backend, store, "k", "1", 0);
    (void)suite_put(&backend, store, "k", "2", 0);
    int64_t last = suite_put(&backend, store, "l", "3", 0);
    compact(last);
    struct suite_watch watch;
    suite_watch_begin(&backend, store, &watch, "", first + 1);
    suite_watch_wait(&backend, &watch, "l", "3");
    assert_int_equal(watch.snapshot_count, 1);
    assert_int_equal(watch.count, 2);
    suite_watch_end(&backend, &watch);
    backend.close(store);
}

/* The server dies under a watch, history is compacted in the meantime: puts and deletions of the
 * gap are told, without a snapshot, because the watch knows what it told before. */
static void test_watch_over_restart(void **state)
{
    (void)state;
    struct store *store = open_prefix("restart", NULL);
    struct store *other = open_prefix("restart", NULL);
    struct suite_watch watch;
    (void)suite_put(&backend, other, "stays", "1", 0);
    (void)suite_put(&backend, other, "goes", "1", 0);
    suite_watch_begin(&backend, store, &watch, "", 0);
    suite_watch_wait(&backend, &watch, "goes", "1");
    (void)suite_put(&backend, other, "changes", "1", 0);
    suite_watch_wait(&backend, &watch, "changes", "1");

    /* The loop of the watch stands still in here: helper requests go by another loop. */
    struct suite_loop *own_loop = &loop;
    struct suite_loop gap;
    suite_loop_init(&gap);
    cluster.loop = &gap;
    etcd_member_kill(&cluster, 0);
    etcd_member_start(&cluster, 0);
    etcd_member_wait(&cluster, 0);
    static const char txn[] = /* put restart/new, change restart/changes, delete restart/goes */
        "{\"success\":[{\"request_put\":{\"key\":\"L3Jlc3RhcnQvbmV3\",\"value\":\"Mg==\"}},"
        "{\"request_put\":{\"key\":\"L3Jlc3RhcnQvY2hhbmdlcw==\",\"value\":\"Mg==\"}},"
        "{\"request_delete_range\":{\"key\":\"L3Jlc3RhcnQvZ29lcw==\"}}]}";
    char *answer = NULL;
    assert_int_equal(etcd_member_post(&cluster, 0, "/v3/kv/txn", txn, NULL, &answer), 200);
    json_t *root = json_loads(answer, 0, NULL);
    compact(strtoll(json_string_value(json_object_get(json_object_get(root, "header"), "revision")),
                    NULL, 10));
    json_decref(root);
    free(answer);
    suite_loop_release(&gap);
    cluster.loop = own_loop;

    suite_watch_wait(&backend, &watch, "new", "2");
    suite_watch_wait(&backend, &watch, "changes", "2");
    suite_watch_wait(&backend, &watch, "goes", NULL);
    assert_int_equal(watch.snapshot_count, 1);
    assert_int_equal(watch.count, 6); /* nothing twice */
    (void)suite_put(&backend, other, "after", "3", 0);
    suite_watch_wait(&backend, &watch, "after", "3");
    suite_watch_end(&backend, &watch);
    backend.close(other);
    backend.close(store);
}

static void post_ok(const char *path, const char *body)
{
    assert_int_equal(etcd_member_post(&cluster, 0, path, body, NULL, NULL), 200);
}

static void auth_enable(void)
{
    post_ok("/v3/auth/user/add", "{\"name\":\"root\",\"password\":\"rootpw\"}");
    post_ok("/v3/auth/user/grant", "{\"user\":\"root\",\"role\":\"root\"}");
    post_ok("/v3/auth/role/add", "{\"name\":\"drover\"}");
    /* READWRITE on "/auth/" up to "/auth0". */
    post_ok("/v3/auth/role/grant",
            "{\"name\":\"drover\",\"perm\":{\"permType\":\"READWRITE\",\"key\":\"L2F1dGgv\","
            "\"range_end\":\"L2F1dGgw\"}}");
    post_ok("/v3/auth/user/add", "{\"name\":\"drover\",\"password\":\"secret\"}");
    post_ok("/v3/auth/user/grant", "{\"user\":\"drover\",\"role\":\"drover\"}");
    post_ok("/v3/auth/enable", "{}");
}

static void auth_disable(void)
{
    char *answer = NULL;
    assert_int_equal(etcd_member_post(&cluster, 0, "/v3/auth/authenticate",
                                      "{\"name\":\"root\",\"password\":\"rootpw\"}", NULL, &answer),
                     200);
    json_t *root = json_loads(answer, 0, NULL);
    const char *token = json_string_value(json_object_get(root, "token"));
    assert_int_equal(etcd_member_post(&cluster, 0, "/v3/auth/disable", "{}", token, NULL), 200);
    json_decref(root);
    free(answer);
}

/* With authentication on: the right user works, before, after a lost token and in a watch; a wrong
 * password, no user and a foreign prefix are ERR_AUTH with a text that names the remedy and never
 * the password. */
static void test_auth(void **state)
{
    (void)state;
    const struct store_options right = {.user = "drover", .password = "secret"};
    const struct store_options wrong = {.user = "drover", .password = "letmein"};
    struct store *early =
        open_prefix("auth", &right); /* authentication is off: no token is needed yet */
    (void)suite_put(&backend, early, "early", "1", 0);
    auth_enable();
    struct err err = {0};
    struct store *store = open_prefix("auth", &right);
    struct suite_watch watch;
    suite_watch_begin(&backend, store, &watch, "", 0);
    (void)suite_put(&backend, store, "k", "1", 0);
    (void)suite_put(&backend, early, "early", "2", 0);
    suite_watch_wait(&backend, &watch, "early", "2");

    struct store *bad = open_prefix("auth", &wrong);
    assert_int_equal(suite_try_put(&backend, bad, "k", &err), ERR_AUTH);
    assert_non_null(strstr(err.text, "drover"));
    assert_null(strstr(err.text, "letmein"));
    assert_non_null(strstr(err.hint, "password"));
    backend.close(bad);

    bad = open_prefix("auth", NULL);
    assert_int_equal(suite_try_put(&backend, bad, "k", &err), ERR_AUTH);
    assert_non_null(strstr(err.hint, "user"));
    backend.close(bad);

    bad = open_prefix("elsewhere", &right);
    assert_int_equal(suite_try_put(&backend, bad, "k", &err), ERR_AUTH);
    assert_non_null(strstr(err.hint, "prefix"));
    backend.close(bad);

    /* A restart forgets every token. */
    etcd_member_kill(&cluster, 0);
    etcd_member_start(&cluster, 0);
    etcd_member_wait(&cluster, 0);
    (void)suite_put(&backend, store, "k", "2", 0);
    suite_watch_wait(&backend, &watch, "k", "2");
    suite_watch_end(&backend, &watch);
    auth_disable();
    (void)suite_put(&backend, store, "k", "3", 0);
    backend.close(store);
    backend.close(early);
}

/* Nobody listens: certainly not done, within the request's time. */
static void test_unreachable(void **state)
{
    (void)state;
    struct store *store = NULL;
    struct err err = {0};
    assert_int_equal(store_open("etcd://127.0.0.1:1,127.0.0.1:2/x", NULL, &loop.loop, &store, &err),
                     0);
    int64_t start_ms = store_now_ms();
    assert_int_equal(suite_try_put(&backend, store, "k", &err), ERR_UNAVAILABLE);
    assert_true(store_now_ms() - start_ms < 4000);
    assert_non_null(strstr(err.text, "127.0.0.1"));
    assert_true(err.hint[0] != '\0');
    backend.close(store);
}

/* A URL or option that cannot work is refused when opening. */
static void test_bad_urls(void **state)
{
    (void)state;
    static const char *const urls[] = {
        "etcd://",      "etcd:///p",          "etcd://a,,b", "etcd://a:b",  "etcd://a b",
        "etcd://a:1:2", "etcd://u:pw@a:2379", "redis://a",   "etcd://[::1", "etcd://::1",
        "http://a"};
    for (size_t i = 0; i < sizeof(urls) / sizeof(urls[0]); i++) {
        struct store *store = NULL;
        struct err err = {0};
        assert_int_equal(store_open(urls[i], NULL, &loop.loop, &store, &err), ERR_CONFIG);
        assert_null(store);
        assert_true(err.hint[0] != '\0');
        assert_null(strstr(err.text, "pw"));
    }
    const struct store_options options[] = {
        {.user = "u"},
        {.password = "p"},
        {.ca_file = "/etc/hostname"},
        {.is_tls = true, .ca_file = "/no/such/file"},
        {.is_tls = true, .cert_file = "/etc/hostname"},
    };
    for (size_t i = 0; i < sizeof(options) / sizeof(options[0]); i++) {
        struct store *store = NULL;
        assert_int_equal(store_open("etcd://a", &options[i], &loop.loop, &store, NULL), ERR_CONFIG);
    }
}

/* A full etcd: a transaction has an unknown outcome (the one that finds it full is applied all the
 * same), a lease is ERR_LIMIT; reading and deleting go on. */
static void test_no_space(void **state)
{
    (void)state;
    struct etcd_cluster small = {.quota_bytes = "3000000"};
    struct etcd_cluster saved = cluster;
    etcd_cluster_start(&small, &loop, 1);
    cluster = small;
    struct store *store = open_prefix("full", NULL);
    cluster = saved;
    int code = 0;
    struct err err = {0};
    char key[32] = "";
    for (int i = 0; code == 0 && i < 400; i++) {
        (void)snprintf(key, sizeof(key), "fill/%d", i);
        struct store_request request = {.kind = STORE_TXN};
        struct strbuf *value = &store_request_add_put(&request, key, 0)->value;
        strbuf_reserve(value, 60000);
        for (int j = 0; j < 60000; j++) {
            strbuf_add_char(value, (char)j);
        }
        struct store_result result = suite_ask(&backend, store, &request);
        code = result.code;
        err = result.err;
        store_result_release(&result);
    }
    assert_int_equal(code, ERR_TIMEOUT);
    assert_non_null(strstr(err.text, "space"));
    assert_non_null(strstr(err.hint, "etcdctl"));
    struct store_request request = {
        .kind = STORE_LEASE_GRANT, .lease_id = suite_lease_id(), .ttl_ms = 5000};
    struct store_result result = suite_ask(&backend, store, &request);
    assert_int_equal(result.code, ERR_LIMIT);
    store_result_release(&result);
    request = (struct store_request){.kind = STORE_TXN};
    store_request_add_delete(&request, "fill/0");
    result = suite_ask(&backend, store, &request);
    assert_int_equal(result.code, 0);
    assert_true(result.succeeded);
    store_result_release(&result);
    result = suite_get(&backend, store, "fill/0", false);
    assert_int_equal(result.kv_count, 0);
    store_result_release(&result);
    backend.close(store);
    etcd_cluster_stop(&small);
}

/* TLS with a private CA: works with the right files; a server of another CA or a client without
 * certificate is refused with a text that says so. */
static void test_tls(void **state)
{
    (void)state;
    struct etcd_cluster secure = {.is_tls = true};
    struct etcd_cluster saved = cluster;
    etcd_cluster_start(&secure, &loop, 1);
    cluster = secure;
    struct store_options options = {.is_tls = true,
                                    .ca_file = secure.ca_file,
                                    .cert_file = secure.cert_file,
                                    .key_file = secure.key_file};
    struct store *store = open_prefix("tls", &options);
    struct suite_watch watch;
    suite_watch_begin(&backend, store, &watch, "", 0);
    (void)suite_put(&backend, store, "k", "1", 0);
    suite_watch_wait(&backend, &watch, "k", "1");
    suite_watch_end(&backend, &watch);
    backend.close(store);

    struct err err = {0};
    options.ca_file = secure.other_ca_file;
    store = open_prefix("tls", &options);
    assert_int_equal(suite_try_put(&backend, store, "k", &err), ERR_AUTH);
    assert_non_null(strstr(err.hint, "CA"));
    backend.close(store);

    options = (struct store_options){.is_tls = true, .ca_file = secure.ca_file};
    store = open_prefix("tls", &options);
    int code = suite_try_put(&backend, store, "k", &err);
    assert_true(code == ERR_AUTH || code == ERR_TIMEOUT ||
                code == ERR_UNAVAILABLE); /* TLS 1.3 tells it late */
    print_message("without a client certificate: %s: %s\n", err_word(code), err.text);
    assert_true(strstr(err.text, "certificate") != NULL || strstr(err.hint, "certificate") != NULL);
    backend.close(store);

    store = open_prefix("tls", NULL); /* plain HTTP to a TLS port */
    code = suite_try_put(&backend, store, "k", &err);
    assert_true(code != 0);
    backend.close(store);
    cluster = saved;
    etcd_cluster_stop(&secure);
}

int main(void)
{
    if (!etcd_is_installed()) {
        return 0;
    }
    suite_loop_init(&loop);
    backend = (struct suite_backend){.name = "store contract: etcd",
                                     .open = env_open,
                                     .lease_ttl_ms = 1000,
                                     .expiry_slack_ms = 4000};
    suite_backend_real(&backend, &loop);
    etcd_cluster_start(&cluster, &loop, 1);
    int failed = suite_run(&backend);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_watch_from_compacted),
        cmocka_unit_test(test_watch_over_restart),
        cmocka_unit_test(test_auth),
        cmocka_unit_test(test_unreachable),
        cmocka_unit_test(test_bad_urls),
        cmocka_unit_test(test_no_space),
        cmocka_unit_test(test_tls),
    };
    failed += cmocka_run_group_tests_name("etcd only", tests, NULL, NULL);
    if (failed > 0) {
        etcd_cluster_print_logs(&cluster);
    }
    etcd_cluster_stop(&cluster);
    suite_loop_release(&loop);
    return failed == 0 ? 0 : 1;
}
