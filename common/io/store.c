/* store.c — see store.h: chooses the backend, checks requests against the limits, runs every
 * callback once.
 *
 * Must not know how a backend executes. */
#include "common/io/store.h"

#include "common/base/alloc.h"
#include "common/base/check.h"
#include "common/io/store_backend.h"

#include <stdlib.h>
#include <string.h>

#define SQLITE_SCHEME "sqlite://"
#define ETCD_SCHEME "etcd://"

static int check_request(const struct store *store,
                         const struct store_request *request,
                         struct err *err);
static int check_txn(const struct store_request *request, struct err *err);
static int check_key(const char *key, bool may_be_empty, struct err *err);
static void flush_timer_fired(uv_timer_t *timer);
static void close_if_idle(struct store *store);

static int unknown_scheme(const char *url, struct err *err)
{
    int code = err_set(err, ERR_CONFIG, "store URL '%.200s' has no known scheme", url);
    err_hint(err, "use sqlite:///path/drover.db or etcd://host:2379,host:2379/prefix");
    return code;
}

int store_check_url(const char *url, struct err *err)
{
    if (strncmp(url, SQLITE_SCHEME, strlen(SQLITE_SCHEME)) == 0) {
        if (url[strlen(SQLITE_SCHEME)] == '/') {
            return 0;
        }
        int code = err_set(err, ERR_CONFIG, "store URL '%.200s' names no absolute path", url);
        err_hint(err, "three slashes: sqlite:///var/lib/drover/drover.db");
        return code;
    }
    if (strncmp(url, ETCD_SCHEME, strlen(ETCD_SCHEME)) == 0) {
        char first = url[strlen(ETCD_SCHEME)];
        return first != '\0' && first != '/'
                   ? 0
                   : err_set(err, ERR_CONFIG, "store URL '%.200s' names no endpoint", url);
    }
    return unknown_scheme(url, err);
}

int store_open(const char *url,
               const struct store_options *options,
               uv_loop_t *loop,
               struct store **out,
               struct err *err)
{
    static const struct store_options no_options = {0};
    const struct store_options *used = options == NULL ? &no_options : options;
    if (strncmp(url, SQLITE_SCHEME, strlen(SQLITE_SCHEME)) == 0) {
        return store_sqlite_open(url + strlen(SQLITE_SCHEME), loop, out, err);
    }
    if (strncmp(url, ETCD_SCHEME, strlen(ETCD_SCHEME)) == 0) {
        return store_etcd_open(url + strlen(ETCD_SCHEME), used, loop, out, err);
    }
    return unknown_scheme(url, err);
}

void store_submit(struct store *store,
                  struct store_request *request,
                  void (*done)(void *user, const struct store_result *result),
                  void *user)
{
    CHECK(done != NULL);
    struct store_call *call = xcalloc(1, sizeof(*call));
    *call = (struct store_call){.store = store, .request = *request, .done = done, .user = user};
    *request = (struct store_request){0};
    call->result.req_id = call->request.req_id;
    call->deadline_ms = store_now_ms() + call->request.timeout_ms;
    store->call_count++;
    struct err err = {0};
    if (store->is_closing) {
        (void)err_set(&err, ERR_UNAVAILABLE, "the store is closed");
        store_call_fail(call, &err);
        return;
    }
    if (check_request(store, &call->request, &err) != 0) {
        store_call_fail(call, &err);
        return;
    }
    store->backend->submit(store, call);
}

struct store_watch *store_watch(struct store *store,
                                const char *prefix,
                                int64_t from_revision,
                                void (*changed)(void *user, const struct store_changes *changes),
                                void *user)
{
    CHECK(!store->is_closing);
    CHECK(strlen(prefix) < STORE_KEY_SIZE_MAX);
    CHECK(from_revision >= 0);
    struct store_watch *watch = xcalloc(1, sizeof(*watch));
    *watch = (struct store_watch){.store = store,
                                  .prefix = xstrdup(prefix),
                                  .changed = changed,
                                  .user = user,
                                  .next = store->watches};
    watch->view.revision = from_revision > 0 ? from_revision - 1 : 0;
    store->watches = watch;
    store->backend->watch_begin(store, watch);
    return watch;
}

void store_unwatch(struct store_watch *watch)
{
    if (watch == NULL) {
        return;
    }
    CHECK(!watch->is_ended);
    watch->is_ended = true;
    watch->store->backend->watch_end(watch->store, watch);
}

void store_close(struct store *store, void (*closed)(void *user), void *user)
{
    if (store == NULL) {
        return;
    }
    CHECK(!store->is_closing);
    store->is_closing = true;
    store->closed = closed;
    store->closed_user = user;
    struct store_watch *next = NULL;
    for (struct store_watch *watch = store->watches; watch != NULL; watch = next) {
        next = watch->next;
        if (!watch->is_ended) {
            store_unwatch(watch);
        }
    }
    store->backend->close(store);
}

/* ---- for the backends ---- */

void store_init(struct store *store, const struct store_backend *backend, uv_loop_t *loop)
{
    store->backend = backend;
    store->loop = loop;
    CHECK(uv_timer_init(loop, &store->flush_timer) == 0);
    store->flush_timer.data = store;
}

int64_t store_now_ms(void)
{
    return (int64_t)(uv_hrtime() / 1000000);
}

void store_call_list_add(struct store_call_list *list, struct store_call *call)
{
    call->next = NULL;
    if (list->tail == NULL) {
        list->head = call;
    } else {
        list->tail->next = call;
    }
    list->tail = call;
}

struct store_call *store_call_list_pop(struct store_call_list *list)
{
    struct store_call *call = list->head;
    if (call != NULL) {
        list->head = call->next;
        list->tail = list->head == NULL ? NULL : list->tail;
        call->next = NULL;
    }
    return call;
}

void store_call_list_remove(struct store_call_list *list, struct store_call *call)
{
    struct store_call *before = NULL;
    struct store_call **link = &list->head;
    while (*link != call) {
        CHECK(*link != NULL);
        before = *link;
        link = &before->next;
    }
    *link = call->next;
    if (list->tail == call) {
        list->tail = before;
    }
    call->next = NULL;
}

void store_call_finish(struct store_call *call)
{
    struct store *store = call->store;
    CHECK(call->attempt == NULL);
    store_call_list_add(&store->finished, call);
    CHECK(uv_timer_start(&store->flush_timer, flush_timer_fired, 0, 0) == 0);
}

void store_call_fail(struct store_call *call, const struct err *err)
{
    CHECK(err->code != 0);
    uint64_t req_id = call->result.req_id;
    store_result_release(&call->result);
    call->result = (struct store_result){.req_id = req_id, .code = err->code, .err = *err};
    store_call_finish(call);
}

void store_call_abandon(struct store_call *call, const struct err *err)
{
    if (call->done == NULL) {
        return;
    }
    struct store_call *answer = xcalloc(1, sizeof(*answer));
    *answer = (struct store_call){.store = call->store, .done = call->done, .user = call->user};
    answer->result.req_id = call->request.req_id;
    call->done = NULL;
    call->store->call_count++;
    store_call_fail(answer, err);
}

void store_flush(struct store *store)
{
    if (store->is_flushing) {
        return;
    }
    store->is_flushing = true;
    /* What the callbacks finish anew waits for the next turn, so that a caller who repeats cannot
     * hold up the loop. */
    struct store_call_list list = store->finished;
    store->finished = (struct store_call_list){0};
    struct store_call *call = NULL;
    while ((call = store_call_list_pop(&list)) != NULL) {
        if (call->done != NULL) {
            call->done(call->user, &call->result);
        }
        store->call_count--;
        store_request_release(&call->request);
        store_result_release(&call->result);
        free(call);
    }
    store->is_flushing = false;
    close_if_idle(store);
}

void store_watch_tell(struct store_watch *watch,
                      const struct store_change_list *changes,
                      bool is_snapshot)
{
    if (watch->is_ended || (changes->count == 0 && !is_snapshot)) {
        return;
    }
    const struct store_changes told = {.items = changes->items,
                                       .count = changes->count,
                                       .revision = watch->view.revision,
                                       .is_snapshot = is_snapshot};
    watch->changed(watch->user, &told);
}

void store_watch_free(struct store_watch *watch)
{
    CHECK(watch->is_ended);
    struct store_watch **link = &watch->store->watches;
    while (*link != watch) {
        CHECK(*link != NULL);
        link = &(*link)->next;
    }
    *link = watch->next;
    store_view_release(&watch->view);
    free(watch->prefix);
    free(watch);
}

void store_backend_closed(struct store *store)
{
    CHECK(store->watches == NULL);
    store->is_backend_closed = true;
    CHECK(uv_timer_start(&store->flush_timer, flush_timer_fired, 0, 0) == 0);
}

static void flush_timer_fired(uv_timer_t *timer)
{
    store_flush(timer->data);
}

static void flush_timer_closed(uv_handle_t *handle)
{
    struct store *store = handle->data;
    void (*closed)(void *user) = store->closed;
    void *user = store->closed_user;
    store->backend->release(store);
    if (closed != NULL) {
        closed(user);
    }
}

static void close_if_idle(struct store *store)
{
    uv_handle_t *handle = (uv_handle_t *)&store->flush_timer;
    if (store->is_backend_closed && store->call_count == 0 && !uv_is_closing(handle)) {
        uv_close(handle, flush_timer_closed);
    }
}

/* ---- limits ---- */

static int check_request(const struct store *store,
                         const struct store_request *request,
                         struct err *err)
{
    if (store->call_count > STORE_CALLS_MAX) {
        (void)err_set(err, ERR_LIMIT, "%d store requests are already open", STORE_CALLS_MAX);
        err_hint(err, "wait for answers before asking more");
        return ERR_LIMIT;
    }
    if (request->timeout_ms <= 0) {
        return err_set(err, ERR_INVALID, "store request without a timeout");
    }
    switch (request->kind) {
    case STORE_RANGE:
        return check_key(request->key, request->is_prefix, err);
    case STORE_TXN:
        return check_txn(request, err);
    case STORE_LEASE_GRANT:
        if (request->ttl_ms <= 0 || request->ttl_ms > STORE_LEASE_TTL_MS_MAX) {
            return err_set(err, ERR_LIMIT, "lease TTL of %lld ms is outside 1 to %d",
                           (long long)request->ttl_ms, STORE_LEASE_TTL_MS_MAX);
        }
        break;
    case STORE_LEASE_KEEPALIVE:
    case STORE_LEASE_REVOKE:
        break;
    }
    if (request->lease_id <= 0) {
        return err_set(err, ERR_INVALID, "lease id %lld is not positive",
                       (long long)request->lease_id);
    }
    return 0;
}

static int check_txn(const struct store_request *request, struct err *err)
{
    if (request->write_count > STORE_TXN_WRITES_MAX ||
        request->compare_count > STORE_TXN_WRITES_MAX) {
        return err_set(err, ERR_LIMIT,
                       "transaction with %d compares and %d writes; at most %d of each",
                       request->compare_count, request->write_count, STORE_TXN_WRITES_MAX);
    }
    for (int i = 0; i < request->compare_count; i++) {
        int rc = check_key(request->compares[i].key, false, err);
        if (rc != 0) {
            return rc;
        }
        if (request->compares[i].revision < 0) {
            return err_set(err, ERR_INVALID, "compare of '%s' with a negative revision",
                           request->compares[i].key);
        }
    }
    size_t bytes = 0;
    for (int i = 0; i < request->write_count; i++) {
        const struct store_write *write = &request->writes[i];
        int rc = check_key(write->key, false, err);
        if (rc != 0) {
            return rc;
        }
        if (write->value.len > (size_t)STORE_VALUE_SIZE_MAX) {
            return err_set(err, ERR_LIMIT, "value of '%s' has %zu bytes; at most %lu", write->key,
                           write->value.len, STORE_VALUE_SIZE_MAX);
        }
        bytes += write->value.len;
        if (write->lease_id < 0) {
            return err_set(err, ERR_INVALID, "write of '%s' with a negative lease id", write->key);
        }
        for (int j = 0; j < i; j++) {
            if (strcmp(request->writes[j].key, write->key) == 0) {
                return err_set(err, ERR_INVALID, "'%s' is written twice in one transaction",
                               write->key);
            }
        }
    }
    if (bytes > STORE_TXN_BYTES_MAX) {
        return err_set(err, ERR_LIMIT, "transaction writes %zu bytes; at most %d", bytes,
                       STORE_TXN_BYTES_MAX);
    }
    return 0;
}

static int check_key(const char *key, bool may_be_empty, struct err *err)
{
    size_t len = key == NULL ? 0 : strlen(key);
    if (key == NULL || (len == 0 && !may_be_empty)) {
        return err_set(err, ERR_INVALID, "store request with an empty key");
    }
    if (len >= STORE_KEY_SIZE_MAX) {
        return err_set(err, ERR_LIMIT, "key '%.64s…' has %zu bytes; at most %d", key, len,
                       STORE_KEY_SIZE_MAX - 1);
    }
    return 0;
}
