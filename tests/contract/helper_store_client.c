/* helper_store_client.c — asking a store and waiting for it; see helper_store_suite.h. */
#include "helper_store_suite.h"

#include "common/base/alloc.h"
#include "common/base/check.h"
#include "common/io/store_backend.h"

#include <ftw.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

/* ---- asking and waiting ---- */

void suite_answer_done(void *user, const struct store_result *result)
{
    struct suite_answer *answer = user;
    assert_false(answer->is_done);
    answer->is_done = true;
    answer->result = *result;
    answer->result.kvs = NULL;
    answer->result.kv_count = 0;
    for (int i = 0; i < result->kv_count; i++) {
        const struct store_kv *kv = &result->kvs[i];
        struct store_kv *copy = store_result_add_kv(&answer->result, kv->key);
        strbuf_add(&copy->value, strbuf_text(&kv->value), kv->value.len);
        copy->create_revision = kv->create_revision;
        copy->mod_revision = kv->mod_revision;
        copy->lease_id = kv->lease_id;
    }
}

struct store_result suite_ask(struct suite_backend *backend,
                              void *client,
                              struct store_request *request)
{
    static uint64_t req_id;
    struct suite_answer answer = {0};
    request->req_id = ++req_id;
    request->timeout_ms = request->timeout_ms == 0 ? SUITE_TIMEOUT_MS : request->timeout_ms;
    backend->submit(client, request, suite_answer_done, &answer);
    assert_false(answer.is_done); /* never from inside submit */
    int64_t limit_ms = backend->now_ms(backend->env) + SUITE_ANSWER_MS_MAX;
    while (!answer.is_done && backend->now_ms(backend->env) < limit_ms) {
        backend->turn(backend->env, 100);
    }
    assert_true(answer.is_done);
    assert_int_equal(answer.result.req_id, req_id);
    if (answer.result.code != 0) {
        assert_int_equal(answer.result.code, answer.result.err.code);
        assert_true(answer.result.err.text[0] != '\0');
        assert_false(answer.result.succeeded);
    }
    return answer.result;
}

struct store_result suite_ask_ok(struct suite_backend *backend,
                                 void *client,
                                 struct store_request *request)
{
    struct store_result result = suite_ask(backend, client, request);
    if (result.code != 0) {
        fail_msg("%s: %s", err_word(result.code), result.err.text);
    }
    return result;
}

struct store_result suite_get(struct suite_backend *backend,
                              void *client,
                              const char *key,
                              bool is_prefix)
{
    struct store_request request = {
        .kind = STORE_RANGE, .key = xstrdup(key), .is_prefix = is_prefix};
    return suite_ask_ok(backend, client, &request);
}

void suite_request_put(struct store_request *request,
                       const char *key,
                       const char *value,
                       int64_t lease_id)
{
    strbuf_add_text(&store_request_add_put(request, key, lease_id)->value, value);
}

int64_t suite_put(struct suite_backend *backend,
                  void *client,
                  const char *key,
                  const char *value,
                  int64_t lease_id)
{
    struct store_request request = {.kind = STORE_TXN};
    suite_request_put(&request, key, value, lease_id);
    struct store_result result = suite_ask_ok(backend, client, &request);
    assert_true(result.succeeded);
    int64_t revision = result.revision;
    store_result_release(&result);
    return revision;
}

int suite_try_put(struct suite_backend *backend, void *client, const char *key, struct err *err)
{
    struct store_request request = {.kind = STORE_TXN, .timeout_ms = 3000};
    suite_request_put(&request, key, "x", 0);
    struct store_result result = suite_ask(backend, client, &request);
    *err = result.err;
    int code = result.code;
    store_result_release(&result);
    return code;
}

int64_t suite_delete(struct suite_backend *backend, void *client, const char *key)
{
    struct store_request request = {.kind = STORE_TXN};
    store_request_add_delete(&request, key);
    struct store_result result = suite_ask_ok(backend, client, &request);
    assert_true(result.succeeded);
    int64_t revision = result.revision;
    store_result_release(&result);
    return revision;
}

struct store_result suite_lease(struct suite_backend *backend,
                                void *client,
                                enum store_request_kind kind,
                                int64_t lease_id,
                                int64_t ttl_ms)
{
    struct store_request request = {.kind = kind, .lease_id = lease_id, .ttl_ms = ttl_ms};
    return suite_ask_ok(backend, client, &request);
}

int64_t suite_lease_ttl(struct suite_backend *backend,
                        void *client,
                        enum store_request_kind kind,
                        int64_t lease_id,
                        int64_t ttl_ms)
{
    struct store_result result = suite_lease(backend, client, kind, lease_id, ttl_ms);
    int64_t granted_ms = result.ttl_ms;
    store_result_release(&result);
    return granted_ms;
}

int64_t suite_lease_id(void)
{
    int64_t id = 0;
    assert_int_equal(getrandom(&id, sizeof(id), 0), sizeof(id));
    id &= INT64_MAX;
    return id == 0 ? 1 : id;
}

/* The only key of 'key', or NULL values when it is absent. */
void suite_assert_value(struct suite_backend *backend,
                        void *client,
                        const char *key,
                        const char *value)
{
    struct store_result result = suite_get(backend, client, key, false);
    if (value == NULL) {
        assert_int_equal(result.kv_count, 0);
    } else {
        assert_int_equal(result.kv_count, 1);
        assert_string_equal(result.kvs[0].key, key);
        assert_string_equal(strbuf_text(&result.kvs[0].value), value);
    }
    store_result_release(&result);
}

/* ---- watches ---- */

static void watch_changed(void *user, const struct store_changes *changes)
{
    struct suite_watch *watch = user;
    assert_true(changes->revision >= watch->revision);
    watch->revision = changes->revision;
    watch->snapshot_count += changes->is_snapshot ? 1 : 0;
    assert_true(changes->count > 0 || changes->is_snapshot);
    for (int i = 0; i < changes->count; i++) {
        const struct store_kv *kv = &changes->items[i].kv;
        assert_true(i == 0 || changes->is_snapshot ||
                    changes->items[i - 1].kv.mod_revision <= kv->mod_revision);
        assert_true(kv->mod_revision <= changes->revision);
        watch->items = xreallocarray(watch->items, (size_t)watch->count + 1, sizeof(*watch->items));
        struct store_change *copy = &watch->items[watch->count++];
        *copy = (struct store_change){.is_delete = changes->items[i].is_delete};
        copy->kv = (struct store_kv){.key = xstrdup(kv->key),
                                     .create_revision = kv->create_revision,
                                     .mod_revision = kv->mod_revision,
                                     .lease_id = kv->lease_id};
        strbuf_add(&copy->kv.value, strbuf_text(&kv->value), kv->value.len);
    }
}

void suite_watch_begin(struct suite_backend *backend,
                       void *client,
                       struct suite_watch *watch,
                       const char *prefix,
                       int64_t from_revision)
{
    *watch = (struct suite_watch){0};
    watch->handle = backend->watch(client, prefix, from_revision, watch_changed, watch);
}

void suite_watch_end(struct suite_backend *backend, struct suite_watch *watch)
{
    if (watch->handle != NULL) {
        backend->unwatch(watch->handle);
    }
    for (int i = 0; i < watch->count; i++) {
        store_kv_release(&watch->items[i].kv);
    }
    free(watch->items);
    *watch = (struct suite_watch){0};
}

bool suite_watch_shows(const struct suite_watch *watch, const char *key, const char *value)
{
    for (int i = watch->count - 1; i >= 0; i--) {
        const struct store_change *change = &watch->items[i];
        if (strcmp(change->kv.key, key) == 0) {
            return value == NULL
                       ? change->is_delete
                       : !change->is_delete && strcmp(strbuf_text(&change->kv.value), value) == 0;
        }
    }
    return false;
}

void suite_watch_wait(struct suite_backend *backend,
                      struct suite_watch *watch,
                      const char *key,
                      const char *value)
{
    int64_t limit_ms = backend->now_ms(backend->env) + SUITE_ANSWER_MS_MAX;
    while (!suite_watch_shows(watch, key, value)) {
        if (backend->now_ms(backend->env) >= limit_ms) {
            fail_msg("the watch did not show %s = %s (%d changes seen)", key,
                     value == NULL ? "(deleted)" : value, watch->count);
        }
        backend->turn(backend->env, 100);
    }
}

void suite_wait_snapshot(struct suite_backend *backend, struct suite_watch *watch)
{
    int64_t limit_ms = backend->now_ms(backend->env) + SUITE_ANSWER_MS_MAX;
    while (watch->snapshot_count == 0 && backend->now_ms(backend->env) < limit_ms) {
        backend->turn(backend->env, 100);
    }
    assert_int_equal(watch->snapshot_count, 1);
}

/* ---- the real stores ---- */

static void real_closed(void *user)
{
    *(bool *)user = true;
}

static void real_close(void *client)
{
    struct store *store = client;
    uv_loop_t *loop = store->loop;
    bool is_closed = false;
    store_close(store, real_closed, &is_closed);
    int64_t limit_ms = store_now_ms() + SUITE_ANSWER_MS_MAX;
    while (!is_closed) {
        CHECK(store_now_ms() < limit_ms);
        (void)uv_run(loop, UV_RUN_ONCE);
    }
}

static void real_submit(void *client,
                        struct store_request *request,
                        void (*done)(void *user, const struct store_result *result),
                        void *user)
{
    store_submit(client, request, done, user);
}

static void *real_watch(void *client,
                        const char *prefix,
                        int64_t from_revision,
                        void (*changed)(void *user, const struct store_changes *changes),
                        void *user)
{
    return store_watch(client, prefix, from_revision, changed, user);
}

static void real_unwatch(void *watch)
{
    store_unwatch(watch);
}

static void timer_fired(uv_timer_t *timer)
{
    (void)timer;
}

static void real_turn(void *env, int64_t wait_ms)
{
    struct suite_loop *loop = env;
    uv_update_time(&loop->loop);
    CHECK(uv_timer_start(&loop->timer, timer_fired, (uint64_t)wait_ms, 0) == 0);
    (void)uv_run(&loop->loop, UV_RUN_ONCE);
}

static int64_t real_now_ms(void *env)
{
    (void)env;
    return store_now_ms();
}

void suite_loop_init(struct suite_loop *loop)
{
    (void)signal(SIGPIPE, SIG_IGN);
    CHECK(uv_loop_init(&loop->loop) == 0);
    CHECK(uv_timer_init(&loop->loop, &loop->timer) == 0);
}

void suite_loop_release(struct suite_loop *loop)
{
    uv_close((uv_handle_t *)&loop->timer, NULL);
    /* A failed test leaves its store open, and with it handles that never end by themselves. */
    int64_t limit_ms = store_now_ms() + SUITE_ANSWER_MS_MAX / 4;
    while (uv_loop_close(&loop->loop) == UV_EBUSY) {
        if (store_now_ms() >= limit_ms) {
            (void)fprintf(stderr, "handles are left open on the loop\n");
            exit(1);
        }
        (void)uv_run(&loop->loop, UV_RUN_NOWAIT);
        struct timespec pause = {.tv_nsec = 5000000};
        (void)nanosleep(&pause, NULL);
    }
}

void suite_backend_real(struct suite_backend *backend, struct suite_loop *loop)
{
    backend->env = loop;
    backend->close = real_close;
    backend->submit = real_submit;
    backend->watch = real_watch;
    backend->unwatch = real_unwatch;
    backend->turn = real_turn;
    backend->now_ms = real_now_ms;
}

char *suite_temp_dir(void)
{
    const char *base = getenv("TMPDIR");
    char *path = xasprintf("%s/drover-contract-XXXXXX", base == NULL ? "/tmp" : base);
    CHECK(mkdtemp(path) != NULL);
    return path;
}

static int remove_entry(const char *path, const struct stat *status, int type, struct FTW *walk)
{
    (void)status;
    (void)type;
    (void)walk;
    return remove(path);
}

void suite_remove_dir(const char *path)
{
    (void)nftw(path, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
}
