/* helper_store_suite.c — the cases of the store contract; see helper_store_suite.h. */
#include "helper_store_suite.h"

#include "common/base/alloc.h"
#include "common/base/check.h"
#include "common/io/store_backend.h"

#include <ftw.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include <cmocka.h>

/* ---- the cases ---- */

struct suite_case {
    struct suite_backend *backend;
    int store_index;
    void *a; /* two clients of the same store */
    void *b;
};

/* A range answers sorted keys that begin with the prefix, and nothing else. */
static void case_range(void **state)
{
    struct suite_case *c = *state;
    static const char *const keys[] = {"op/2", "op/1", "op", "op/10", "opx", "agent/1", "op0", "q"};
    for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
        (void)suite_put(c->backend, c->a, keys[i], keys[i], 0);
    }
    struct store_result result = suite_get(c->backend, c->b, "op/", true);
    assert_int_equal(result.kv_count, 3);
    assert_string_equal(result.kvs[0].key, "op/1");
    assert_string_equal(result.kvs[1].key, "op/10");
    assert_string_equal(result.kvs[2].key, "op/2");
    assert_true(result.revision >= result.kvs[2].mod_revision);
    store_result_release(&result);
    result = suite_get(c->backend, c->b, "", true);
    assert_int_equal(result.kv_count, 8);
    store_result_release(&result);
    suite_assert_value(c->backend, c->b, "op", "op");
    suite_assert_value(c->backend, c->b, "o", NULL);
    result = suite_get(c->backend, c->b, "zz", true);
    assert_int_equal(result.kv_count, 0);
    assert_true(result.revision > 0);
    store_result_release(&result);
}

/* create_revision stays while the key lives, mod_revision follows every put, both are new after a
 * deletion; a transaction gives all its writes one revision. */
static void case_revisions(void **state)
{
    struct suite_case *c = *state;
    int64_t first = suite_put(c->backend, c->a, "k", "1", 0);
    int64_t second = suite_put(c->backend, c->a, "k", "2", 0);
    assert_true(first > 0);
    assert_true(second > first);
    struct store_result result = suite_get(c->backend, c->b, "k", false);
    assert_int_equal(result.kvs[0].create_revision, first);
    assert_int_equal(result.kvs[0].mod_revision, second);
    assert_int_equal(result.kvs[0].lease_id, 0);
    store_result_release(&result);
    int64_t deleted = suite_delete(c->backend, c->a, "k");
    assert_true(deleted > second);
    suite_assert_value(c->backend, c->b, "k", NULL);
    int64_t idle = suite_delete(c->backend, c->a, "k"); /* deleting nothing succeeds */
    assert_true(idle >= deleted);
    struct store_request request = {.kind = STORE_TXN};
    suite_request_put(&request, "k", "3", 0);
    suite_request_put(&request, "l", "3", 0);
    result = suite_ask_ok(c->backend, c->a, &request);
    int64_t both = result.revision;
    assert_true(both > deleted);
    store_result_release(&result);
    result = suite_get(c->backend, c->b, "", true);
    assert_int_equal(result.kv_count, 2);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(result.kvs[i].create_revision, both);
        assert_int_equal(result.kvs[i].mod_revision, both);
    }
    store_result_release(&result);
}

static bool guarded_put(struct suite_case *c,
                        enum store_compare_field field,
                        int64_t revision,
                        const char *value)
{
    struct store_request request = {.kind = STORE_TXN};
    store_request_add_compare(&request, "guard", field, revision);
    suite_request_put(&request, "guarded", value, 0);
    struct store_result result = suite_ask_ok(c->backend, c->a, &request);
    bool is_succeeded = result.succeeded;
    assert_true(result.revision > 0);
    store_result_release(&result);
    suite_assert_value(c->backend, c->b, "guarded", is_succeeded ? value : NULL);
    if (is_succeeded) {
        (void)suite_delete(c->backend, c->a, "guarded");
    }
    return is_succeeded;
}

/* Each compare field holds for exactly its revision; a compare that does not hold writes nothing.
 */
static void case_compares(void **state)
{
    struct suite_case *c = *state;
    assert_true(guarded_put(c, STORE_CREATE_REVISION, 0, "absent"));
    assert_true(guarded_put(c, STORE_MOD_REVISION, 0, "absent"));
    assert_false(guarded_put(c, STORE_CREATE_REVISION, 1, "x"));
    assert_false(guarded_put(c, STORE_MOD_REVISION, 1, "x"));
    int64_t created = suite_put(c->backend, c->a, "guard", "1", 0);
    int64_t changed = suite_put(c->backend, c->a, "guard", "2", 0);
    assert_true(guarded_put(c, STORE_CREATE_REVISION, created, "created"));
    assert_true(guarded_put(c, STORE_MOD_REVISION, changed, "changed"));
    static const int64_t offsets[] = {-1, 1, 1000000};
    for (size_t i = 0; i < sizeof(offsets) / sizeof(offsets[0]); i++) {
        assert_false(guarded_put(c, STORE_CREATE_REVISION, created + offsets[i], "x"));
        assert_false(guarded_put(c, STORE_MOD_REVISION, changed + offsets[i], "x"));
    }
    assert_false(guarded_put(c, STORE_CREATE_REVISION, changed, "x"));
    assert_false(guarded_put(c, STORE_MOD_REVISION, created, "x"));
    assert_false(guarded_put(c, STORE_CREATE_REVISION, 0, "x"));
    assert_false(guarded_put(c, STORE_MOD_REVISION, 0, "x"));
    assert_false(guarded_put(c, STORE_CREATE_REVISION, INT64_MAX, "x"));
}

/* One compare of many that does not hold stops every put and every deletion. */
static void case_all_or_nothing(void **state)
{
    struct suite_case *c = *state;
    int64_t kept = suite_put(c->backend, c->a, "kept", "old", 0);
    for (int bad = 0; bad < 3; bad++) {
        struct store_request request = {.kind = STORE_TXN};
        store_request_add_compare(&request, "kept", STORE_MOD_REVISION, bad == 0 ? kept + 1 : kept);
        store_request_add_compare(&request, "absent", STORE_CREATE_REVISION, bad == 1 ? 7 : 0);
        store_request_add_compare(&request, "kept", STORE_CREATE_REVISION, bad == 2 ? 0 : kept);
        suite_request_put(&request, "new", "x", 0);
        store_request_add_delete(&request, "kept");
        struct store_result result = suite_ask_ok(c->backend, c->a, &request);
        assert_false(result.succeeded);
        store_result_release(&result);
        suite_assert_value(c->backend, c->b, "kept", "old");
        suite_assert_value(c->backend, c->b, "new", NULL);
    }
}

/* Values are bytes: every value, zeros, and none at all. */
static void case_values(void **state)
{
    struct suite_case *c = *state;
    char bytes[1024];
    for (size_t i = 0; i < sizeof(bytes); i++) {
        bytes[i] = (char)(i & 0xff);
    }
    for (size_t size = 0; size <= sizeof(bytes); size = size == 0 ? 1 : size + 257) {
        struct store_request request = {.kind = STORE_TXN};
        strbuf_add(&store_request_add_put(&request, "bytes \"key\"\\ \xc3\xa4/\x01", 0)->value,
                   bytes, size);
        struct store_result result = suite_ask_ok(c->backend, c->a, &request);
        store_result_release(&result);
        result = suite_get(c->backend, c->b, "bytes \"key\"\\ \xc3\xa4/\x01", false);
        assert_int_equal(result.kv_count, 1);
        assert_int_equal(result.kvs[0].value.len, size);
        assert_memory_equal(strbuf_text(&result.kvs[0].value), bytes, size);
        store_result_release(&result);
    }
}

/* The largest values, keys and transactions go through; one more is refused and nothing is written.
 */
static void case_limits(void **state)
{
    struct suite_case *c = *state;
    char *value = xmalloc(STORE_VALUE_SIZE_MAX + 1);
    memset(value, 'v', STORE_VALUE_SIZE_MAX + 1);
    char key[STORE_KEY_SIZE_MAX];
    memset(key, 'k', sizeof(key));
    key[sizeof(key) - 1] = '\0';
    struct store_request request = {.kind = STORE_TXN};
    strbuf_add(&store_request_add_put(&request, key, 0)->value, value, STORE_VALUE_SIZE_MAX);
    struct store_result result = suite_ask_ok(c->backend, c->a, &request);
    assert_true(result.succeeded);
    store_result_release(&result);
    result = suite_get(c->backend, c->b, key, false);
    assert_int_equal(result.kvs[0].value.len, STORE_VALUE_SIZE_MAX);
    store_result_release(&result);

    request = (struct store_request){.kind = STORE_TXN};
    strbuf_add(&store_request_add_put(&request, "big", 0)->value, value, STORE_VALUE_SIZE_MAX + 1);
    result = suite_ask(c->backend, c->a, &request);
    assert_int_equal(result.code, ERR_LIMIT);
    store_result_release(&result);
    suite_assert_value(c->backend, c->b, "big", NULL);
    free(value);

    request = (struct store_request){.kind = STORE_TXN};
    for (int i = 0; i < STORE_TXN_WRITES_MAX; i++) {
        char name[32];
        (void)snprintf(name, sizeof(name), "many/%d", i);
        store_request_add_compare(&request, name, STORE_MOD_REVISION, 0);
        suite_request_put(&request, name, name, 0);
    }
    result = suite_ask_ok(c->backend, c->a, &request);
    assert_true(result.succeeded);
    store_result_release(&result);
    result = suite_get(c->backend, c->b, "many/", true);
    assert_int_equal(result.kv_count, STORE_TXN_WRITES_MAX);
    store_result_release(&result);

    request = (struct store_request){.kind = STORE_TXN};
    suite_request_put(&request, "twice", "1", 0);
    suite_request_put(&request, "twice", "2", 0);
    result = suite_ask(c->backend, c->a, &request);
    assert_int_equal(result.code, ERR_INVALID);
    store_result_release(&result);
    suite_assert_value(c->backend, c->b, "twice", NULL);
}

/* A lease is granted, granted again, renewed and revoked; revoking deletes its keys and only those.
 */
static void case_lease(void **state)
{
    struct suite_case *c = *state;
    int64_t id = suite_lease_id();
    int64_t ttl_ms = suite_lease_ttl(c->backend, c->a, STORE_LEASE_GRANT, id, 10000);
    assert_true(ttl_ms >= 10000);
    assert_true(suite_lease_ttl(c->backend, c->a, STORE_LEASE_GRANT, id, 10000) >=
                10000); /* after a lost answer */
    assert_int_equal(suite_lease_ttl(c->backend, c->a, STORE_LEASE_KEEPALIVE, id, 0), ttl_ms);
    (void)suite_put(c->backend, c->a, "leased", "1", id);
    (void)suite_put(c->backend, c->a, "freed", "1", id);
    (void)suite_put(c->backend, c->a, "freed", "2", 0); /* the last put decides */
    (void)suite_put(c->backend, c->a, "plain", "1", 0);
    struct store_result result = suite_get(c->backend, c->b, "leased", false);
    assert_int_equal(result.kvs[0].lease_id, id);
    store_result_release(&result);
    result = suite_lease(c->backend, c->b, STORE_LEASE_REVOKE, id, 0);
    store_result_release(&result);
    suite_assert_value(c->backend, c->b, "leased", NULL);
    suite_assert_value(c->backend, c->b, "freed", "2");
    suite_assert_value(c->backend, c->b, "plain", "1");
    result = suite_lease(c->backend, c->b, STORE_LEASE_REVOKE, id, 0); /* after a lost answer */
    store_result_release(&result);
    assert_int_equal(suite_lease_ttl(c->backend, c->a, STORE_LEASE_KEEPALIVE, id, 0), 0);
    assert_int_equal(suite_lease_ttl(c->backend, c->a, STORE_LEASE_KEEPALIVE, suite_lease_id(), 0),
                     0);
}

/* A put with a lease that is not there writes nothing, of the whole transaction. */
static void case_lease_missing(void **state)
{
    struct suite_case *c = *state;
    struct store_request request = {.kind = STORE_TXN};
    suite_request_put(&request, "other", "x", 0);
    suite_request_put(&request, "orphan", "x", suite_lease_id());
    struct store_result result = suite_ask(c->backend, c->a, &request);
    assert_int_equal(result.code, ERR_NOT_FOUND);
    store_result_release(&result);
    suite_assert_value(c->backend, c->b, "other", NULL);
    suite_assert_value(c->backend, c->b, "orphan", NULL);
}

/* A lease that is kept alive outlives its TTL; one that is not takes its keys along, and the watch
 * says so. */
static void case_lease_expiry(void **state)
{
    struct suite_case *c = *state;
    int64_t kept = suite_lease_id();
    int64_t lost = suite_lease_id();
    struct suite_watch watch;
    suite_watch_begin(c->backend, c->b, &watch, "", 0);
    int64_t ttl_ms =
        suite_lease_ttl(c->backend, c->a, STORE_LEASE_GRANT, kept, c->backend->lease_ttl_ms);
    int64_t start_ms = c->backend->now_ms(c->backend->env);
    assert_true(
        suite_lease_ttl(c->backend, c->a, STORE_LEASE_GRANT, lost, c->backend->lease_ttl_ms) > 0);
    (void)suite_put(c->backend, c->a, "kept", "1", kept);
    (void)suite_put(c->backend, c->a, "lost", "1", lost);
    suite_watch_wait(c->backend, &watch, "lost", "1");
    int64_t next_ms = start_ms;
    while (!suite_watch_shows(&watch, "lost", NULL)) {
        int64_t now_ms = c->backend->now_ms(c->backend->env);
        assert_true(now_ms < start_ms + ttl_ms + c->backend->expiry_slack_ms);
        if (now_ms >= next_ms) {
            assert_true(suite_lease_ttl(c->backend, c->a, STORE_LEASE_KEEPALIVE, kept, 0) > 0);
            next_ms = now_ms + ttl_ms / 4;
        }
        c->backend->turn(c->backend->env, 50);
    }
    assert_true(c->backend->now_ms(c->backend->env) >= start_ms + ttl_ms - 50); /* never early */
    suite_assert_value(c->backend, c->b, "lost", NULL);
    suite_assert_value(c->backend, c->b, "kept", "1");
    assert_int_equal(suite_lease_ttl(c->backend, c->a, STORE_LEASE_KEEPALIVE, lost, 0), 0);
    suite_watch_end(c->backend, &watch);
}

static bool campaign(struct suite_case *c,
                     void *client,
                     const char *name,
                     int64_t lease_id,
                     int64_t *fence)
{
    struct store_request request = {.kind = STORE_TXN};
    store_request_add_compare(&request, "leader", STORE_CREATE_REVISION, 0);
    suite_request_put(&request, "leader", name, lease_id);
    struct store_result result = suite_ask_ok(c->backend, client, &request);
    *fence = result.revision;
    bool is_won = result.succeeded;
    store_result_release(&result);
    return is_won;
}

static bool fenced_put(struct suite_case *c, void *client, int64_t fence, const char *value)
{
    struct store_request request = {.kind = STORE_TXN};
    store_request_add_compare(&request, "leader", STORE_CREATE_REVISION, fence);
    suite_request_put(&request, "journal", value, 0);
    struct store_result result = suite_ask_ok(c->backend, client, &request);
    bool is_succeeded = result.succeeded;
    store_result_release(&result);
    return is_succeeded;
}

/* Of two that campaign exactly one wins; the loser and the one whose lease ended cannot write; the
 * next term has a higher fence. */
static void case_election(void **state)
{
    struct suite_case *c = *state;
    int64_t lease_a = suite_lease_id();
    int64_t lease_b = suite_lease_id();
    (void)suite_lease_ttl(c->backend, c->a, STORE_LEASE_GRANT, lease_a, 10000);
    (void)suite_lease_ttl(c->backend, c->b, STORE_LEASE_GRANT, lease_b, 10000);

    /* Both at once. */
    struct suite_answer answers[2] = {{0}, {0}};
    for (int i = 0; i < 2; i++) {
        struct store_request request = {.kind = STORE_TXN, .timeout_ms = SUITE_TIMEOUT_MS};
        store_request_add_compare(&request, "leader", STORE_CREATE_REVISION, 0);
        suite_request_put(&request, "leader", i == 0 ? "a" : "b", i == 0 ? lease_a : lease_b);
        c->backend->submit(i == 0 ? c->a : c->b, &request, suite_answer_done, &answers[i]);
    }
    int64_t limit_ms = c->backend->now_ms(c->backend->env) + SUITE_ANSWER_MS_MAX;
    while ((!answers[0].is_done || !answers[1].is_done) &&
           c->backend->now_ms(c->backend->env) < limit_ms) {
        c->backend->turn(c->backend->env, 100);
    }
    assert_int_equal(answers[0].result.code, 0);
    assert_int_equal(answers[1].result.code, 0);
    assert_int_equal((int)answers[0].result.succeeded + (int)answers[1].result.succeeded, 1);
    int winner = answers[0].result.succeeded ? 0 : 1;
    int64_t fence = answers[winner].result.revision;
    store_result_release(&answers[0].result);
    store_result_release(&answers[1].result);
    struct store_result result = suite_get(c->backend, c->a, "leader", false);
    assert_int_equal(result.kvs[0].create_revision,
                     fence); /* the fence is the revision that the winner was told */
    assert_string_equal(strbuf_text(&result.kvs[0].value), winner == 0 ? "a" : "b");
    store_result_release(&result);

    void *leader = winner == 0 ? c->a : c->b;
    void *other = winner == 0 ? c->b : c->a;
    int64_t ignored = 0;
    assert_false(campaign(c, other, "late", winner == 0 ? lease_b : lease_a, &ignored));
    assert_true(fenced_put(c, leader, fence, "1"));
    assert_false(fenced_put(c, other, fence + 1, "2"));
    assert_false(fenced_put(c, other, 1, "2"));
    suite_assert_value(c->backend, c->a, "journal", "1");

    /* The lease ends: the old leader is late from now on, also after somebody else leads. */
    result = suite_lease(c->backend, other, STORE_LEASE_REVOKE, winner == 0 ? lease_a : lease_b, 0);
    store_result_release(&result);
    assert_false(fenced_put(c, leader, fence, "late"));
    int64_t next_fence = 0;
    assert_true(campaign(c, other, "next", winner == 0 ? lease_b : lease_a, &next_fence));
    assert_true(next_fence > fence);
    assert_false(fenced_put(c, leader, fence, "late"));
    assert_true(fenced_put(c, other, next_fence, "3"));
    suite_assert_value(c->backend, c->a, "journal", "3");
}

/* A watch begins with a snapshot, then tells puts and deletions of its prefix in order, of every
 * client. */
static void case_watch(void **state)
{
    struct suite_case *c = *state;
    (void)suite_put(c->backend, c->a, "w/old", "0", 0);
    (void)suite_put(c->backend, c->a, "other", "0", 0);
    struct suite_watch watch;
    suite_watch_begin(c->backend, c->b, &watch, "w/", 0);
    suite_wait_snapshot(c->backend, &watch);
    assert_int_equal(watch.count, 1);
    assert_string_equal(watch.items[0].kv.key, "w/old");
    int64_t put = suite_put(c->backend, c->a, "w/1", "one", 0);
    suite_watch_wait(c->backend, &watch, "w/1", "one");
    int64_t deleted = suite_delete(c->backend, c->a, "w/1");
    suite_watch_wait(c->backend, &watch, "w/1", NULL);
    (void)suite_put(c->backend, c->a, "other", "1", 0);
    (void)suite_put(c->backend, c->b, "w/2", "two", 0);
    suite_watch_wait(c->backend, &watch, "w/2", "two");
    assert_int_equal(watch.count, 4);
    assert_int_equal(watch.items[1].kv.create_revision, put);
    assert_int_equal(watch.items[1].kv.mod_revision, put);
    assert_true(watch.items[2].is_delete);
    assert_int_equal(watch.items[2].kv.mod_revision, deleted);
    assert_int_equal(watch.snapshot_count, 1);
    suite_watch_end(c->backend, &watch);
}

/* A watch from a revision tells what came since, deletions of keys it never told included, and no
 * snapshot. */
static void case_watch_from_revision(void **state)
{
    struct suite_case *c = *state;
    (void)suite_put(c->backend, c->a, "w/gone", "0", 0);
    int64_t revision = suite_put(c->backend, c->a, "w/same", "0", 0);
    (void)suite_put(c->backend, c->a, "w/new", "1", 0);
    (void)suite_delete(c->backend, c->a, "w/gone");
    struct suite_watch watch;
    suite_watch_begin(c->backend, c->b, &watch, "w/", revision + 1);
    suite_watch_wait(c->backend, &watch, "w/gone", NULL);
    (void)suite_put(c->backend, c->a, "w/new", "2", 0);
    suite_watch_wait(c->backend, &watch, "w/new", "2");
    assert_int_equal(watch.count, 3);
    assert_int_equal(watch.snapshot_count, 0);
    assert_string_equal(watch.items[0].kv.key, "w/new");
    suite_watch_end(c->backend, &watch);
}

static void unwatch_self(void *user, const struct store_changes *changes)
{
    (void)changes;
    struct suite_case *c = ((void **)user)[0];
    int *calls = ((void **)user)[2];
    (*calls)++;
    c->backend->unwatch(((void **)user)[1]);
}

/* Ending a watch from its own callback is legal and final; other watches go on. */
static void case_unwatch(void **state)
{
    struct suite_case *c = *state;
    int calls = 0;
    void *shared[3] = {c, NULL, &calls};
    struct suite_watch other;
    shared[1] = c->backend->watch(c->a, "", 0, unwatch_self, shared);
    suite_watch_begin(c->backend, c->a, &other, "", 0);
    (void)suite_put(c->backend, c->b, "k", "1", 0);
    suite_watch_wait(c->backend, &other, "k", "1");
    (void)suite_put(c->backend, c->b, "k", "2", 0);
    suite_watch_wait(c->backend, &other, "k", "2");
    assert_int_equal(calls, 1);
    suite_watch_end(c->backend, &other);
}

/* Closing answers every open request, exactly once. */
static void case_close(void **state)
{
    struct suite_case *c = *state;
    enum { COUNT = 100 };
    struct suite_answer answers[COUNT] = {{false, {0}}};
    for (int i = 0; i < COUNT; i++) {
        struct store_request request = {.kind = STORE_TXN, .timeout_ms = SUITE_TIMEOUT_MS};
        char key[16];
        (void)snprintf(key, sizeof(key), "close/%d", i);
        suite_request_put(&request, key, "x", 0);
        c->backend->submit(c->a, &request, suite_answer_done, &answers[i]);
    }
    c->backend->close(c->a);
    c->a = NULL;
    for (int i = 0; i < COUNT; i++) {
        assert_true(answers[i].is_done);
        int code = answers[i].result.code;
        assert_true(code == 0 || code == ERR_UNAVAILABLE || code == ERR_TIMEOUT);
        char key[16];
        (void)snprintf(key, sizeof(key), "close/%d", i);
        if (code == 0 || code == ERR_UNAVAILABLE) { /* certain: must be true */
            suite_assert_value(c->backend, c->b, key, code == 0 ? "x" : NULL);
        }
        store_result_release(&answers[i].result);
    }
}

/* ---- running ---- */

static struct suite_backend *running; /* cmocka's setup has no other way to learn it */

static int case_setup(void **state)
{
    static int store_index;
    struct suite_case *c = xcalloc(1, sizeof(*c));
    c->backend = running;
    c->store_index = ++store_index;
    c->a = running->open(running->env, c->store_index);
    c->b = running->open(running->env, c->store_index);
    *state = c;
    return 0;
}

static int case_teardown(void **state)
{
    struct suite_case *c = *state;
    if (c->a != NULL) {
        running->close(c->a);
    }
    running->close(c->b);
    free(c);
    return 0;
}

#define CASE(function) cmocka_unit_test_setup_teardown(function, case_setup, case_teardown)

int suite_run(struct suite_backend *backend)
{
    running = backend;
    const struct CMUnitTest tests[] = {
        CASE(case_range),          CASE(case_revisions),     CASE(case_compares),
        CASE(case_all_or_nothing), CASE(case_values),        CASE(case_limits),
        CASE(case_lease),          CASE(case_lease_missing), CASE(case_lease_expiry),
        CASE(case_election),       CASE(case_watch),         CASE(case_watch_from_revision),
        CASE(case_unwatch),        CASE(case_close),
    };
    return _cmocka_run_group_tests(backend->name, tests, sizeof(tests) / sizeof(tests[0]), NULL,
                                   NULL);
}
