/* store_sqlite.c — the SQLite store's half on the loop: a queue in front of one worker.
 *
 * fsync takes milliseconds to seconds, so statements run in the thread pool: one batch at a time,
 * requests in order. After each batch, and on a timer for the changes of other processes, the
 * worker looks for news of the watches. Data moves to the worker inside struct sqlite_batch and
 * comes back with it: nothing is shared while it runs. Must not know SQL. */
#include "common/io/store_backend.h"
#include "common/io/store_sqlite_db.h"

#include "common/base/alloc.h"
#include "common/base/check.h"

#include <stdlib.h>
#include <string.h>

#define BATCH_CALLS_MAX 32 /* results of a long queue come back at least this often */
#define POLL_INTERVAL_MS \
    200 /* how late the change of another process, or the end of a lease, is told */
/* A request on the worker gives up waiting for locks by itself at its deadline and then knows that
 * nothing was done; only a disk that hangs makes the loop answer for it, this much later. */
#define WORKER_GRACE_MS 250

/* One watch's share of a batch. */
struct batch_watch {
    struct store_watch *watch; /* not touched by the worker */
    char *prefix;              /* owned */
    int64_t after_revision;
    struct sqlite_news news;
};

struct sqlite_batch {
    uv_work_t work;
    struct sqlite_store *store;
    struct sqlite_db *db;
    struct store_call_list calls;
    struct batch_watch *watches; /* owned */
    int watch_count;
    bool is_poll;           /* end expired leases too */
    int64_t known_revision; /* lowest revision of the watches: nothing to look for while the store
                               is still there */
};

struct sqlite_store {
    struct store base;
    struct sqlite_db *db;
    struct store_call_list queue;
    struct sqlite_batch *batch; /* on the worker; NULL = idle */
    bool is_poll_due;
    uv_timer_t poll_timer;
    uv_timer_t deadline_timer;
    int open_handles;
};

static void submit(struct store *base, struct store_call *call);
static void watch_begin(struct store *base, struct store_watch *watch);
static void watch_end(struct store *base, struct store_watch *watch);
static void sqlite_close(struct store *base);
static void sqlite_release(struct store *base);
static void batch_start(struct sqlite_store *store);
static void batch_run(uv_work_t *work);
static void batch_done(uv_work_t *work, int status);
static void close_if_idle(struct sqlite_store *store);

static const struct store_backend backend = {
    .submit = submit,
    .watch_begin = watch_begin,
    .watch_end = watch_end,
    .close = sqlite_close,
    .release = sqlite_release,
};

int store_sqlite_open(const char *rest, uv_loop_t *loop, struct store **out, struct err *err)
{
    if (rest[0] != '/' || rest[1] == '\0') {
        (void)err_set(err, ERR_CONFIG, "store URL 'sqlite://%.200s' has no absolute path", rest);
        err_hint(err, "write three slashes: sqlite:///var/lib/drover/drover.db");
        return ERR_CONFIG;
    }
    struct sqlite_db *db = NULL;
    int rc = sqlite_db_open(rest, &db, err);
    if (rc != 0) {
        return rc;
    }
    struct sqlite_store *store = xcalloc(1, sizeof(*store));
    store_init(&store->base, &backend, loop);
    store->db = db;
    CHECK(uv_timer_init(loop, &store->poll_timer) == 0);
    CHECK(uv_timer_init(loop, &store->deadline_timer) == 0);
    store->poll_timer.data = store;
    store->deadline_timer.data = store;
    store->open_handles = 2;
    *out = &store->base;
    return 0;
}

/* ---- deadlines ---- */

static void abandon_late(struct store_call_list *list,
                         int64_t now_ms,
                         int64_t grace_ms,
                         const struct err *err)
{
    for (struct store_call *call = list->head; call != NULL; call = call->next) {
        if (call->deadline_ms + grace_ms <= now_ms) {
            store_call_abandon(call, err);
        }
    }
}

static int64_t next_deadline(const struct store_call_list *list, int64_t grace_ms)
{
    int64_t next_ms = INT64_MAX;
    for (const struct store_call *call = list->head; call != NULL; call = call->next) {
        if (call->done != NULL && call->deadline_ms + grace_ms < next_ms) {
            next_ms = call->deadline_ms + grace_ms;
        }
    }
    return next_ms;
}

static void deadline_fired(uv_timer_t *timer);

static void deadline_arm(struct sqlite_store *store)
{
    int64_t next_ms = next_deadline(&store->queue, 0);
    if (store->batch != NULL) {
        int64_t running_ms = next_deadline(&store->batch->calls, WORKER_GRACE_MS);
        next_ms = running_ms < next_ms ? running_ms : next_ms;
    }
    if (next_ms == INT64_MAX) {
        (void)uv_timer_stop(&store->deadline_timer);
        return;
    }
    int64_t wait_ms = next_ms - store_now_ms();
    uv_update_time(store->base.loop);
    CHECK(uv_timer_start(&store->deadline_timer, deadline_fired,
                         wait_ms < 0 ? 0 : (uint64_t)wait_ms, 0) == 0);
}

/* The worker may be reading batch->calls' requests now, but only this thread touches 'done', 'next'
 * of a finished batch and the deadline is constant: abandoning a running call is safe. */
static void deadline_fired(uv_timer_t *timer)
{
    struct sqlite_store *store = timer->data;
    int64_t now_ms = store_now_ms();
    struct err err = {0};
    struct store_call_list kept = {0};
    struct store_call *call = NULL;
    (void)err_set(&err, ERR_UNAVAILABLE,
                  "the SQLite store is busy with earlier requests; this one was not begun");
    err_hint(&err, "its disk is too slow: look at the latency of fsync there");
    while ((call = store_call_list_pop(&store->queue)) != NULL) {
        if (call->deadline_ms <= now_ms) {
            store_call_fail(call, &err);
        } else {
            store_call_list_add(&kept, call);
        }
    }
    store->queue = kept;
    if (store->batch != NULL) {
        (void)err_set(&err, ERR_TIMEOUT,
                      "the SQLite store does not answer; whether the request was done is unknown");
        err_hint(&err, "its disk hangs: see the system log");
        abandon_late(&store->batch->calls, now_ms, WORKER_GRACE_MS, &err);
    }
    store_flush(&store->base);
    deadline_arm(store);
}

/* ---- requests ---- */

static void submit(struct store *base, struct store_call *call)
{
    struct sqlite_store *store = (struct sqlite_store *)base;
    store_call_list_add(&store->queue, call);
    batch_start(store);
    deadline_arm(store);
}

static void batch_add_watches(struct sqlite_store *store, struct sqlite_batch *batch)
{
    int count = 0;
    for (struct store_watch *watch = store->base.watches; watch != NULL; watch = watch->next) {
        count++;
    }
    batch->watches = xcalloc((size_t)count, sizeof(*batch->watches));
    batch->known_revision = INT64_MAX;
    for (struct store_watch *watch = store->base.watches; watch != NULL; watch = watch->next) {
        int64_t revision = watch->view.revision;
        batch->watches[batch->watch_count++] = (struct batch_watch){
            .watch = watch, .prefix = xstrdup(watch->prefix), .after_revision = revision};
        batch->known_revision = revision < batch->known_revision ? revision : batch->known_revision;
    }
}

/* Gives the worker what has gathered, if it is idle. */
static void batch_start(struct sqlite_store *store)
{
    if (store->batch != NULL || (store->queue.head == NULL && !store->is_poll_due)) {
        return;
    }
    struct sqlite_batch *batch = xcalloc(1, sizeof(*batch));
    batch->store = store;
    batch->db = store->db;
    batch->work.data = batch;
    batch->is_poll = store->is_poll_due;
    store->is_poll_due = false;
    struct store_call *call = NULL;
    for (int i = 0; i < BATCH_CALLS_MAX && (call = store_call_list_pop(&store->queue)) != NULL;
         i++) {
        store_call_list_add(&batch->calls, call);
    }
    batch_add_watches(store, batch);
    store->batch = batch;
    CHECK(uv_queue_work(store->base.loop, &batch->work, batch_run, batch_done) == 0);
}

/* On the worker. */
static void batch_run(uv_work_t *work)
{
    struct sqlite_batch *batch = work->data;
    for (struct store_call *call = batch->calls.head; call != NULL; call = call->next) {
        sqlite_db_execute(batch->db, &call->request, call->deadline_ms, &call->result);
    }
    if (batch->watch_count == 0) {
        return;
    }
    if (batch->is_poll) {
        sqlite_db_expire(batch->db);
    }
    if (sqlite_db_revision(batch->db) == batch->known_revision) {
        return;
    }
    for (int i = 0; i < batch->watch_count; i++) {
        sqlite_db_news(batch->db, batch->watches[i].prefix, batch->watches[i].after_revision,
                       &batch->watches[i].news);
    }
}

static void watch_tell(struct batch_watch *item)
{
    struct store_watch *watch = item->watch;
    struct sqlite_news *news = &item->news;
    if (watch->is_ended || news->revision == 0) {
        return;
    }
    CHECK(watch->view.revision == item->after_revision);
    if (news->is_list) {
        bool is_snapshot = !watch->view.is_complete;
        struct store_change_list changes = {0};
        /* The file was replaced by an older one: what it holds is the truth now. */
        watch->view.revision =
            news->revision < watch->view.revision ? news->revision : watch->view.revision;
        store_view_relist(&watch->view, news->list.kvs, news->list.kv_count, news->revision,
                          &changes);
        store_watch_tell(watch, &changes, is_snapshot);
        store_change_list_release(&changes);
        return;
    }
    for (int i = 0; i < news->changes.count; i++) {
        store_view_apply(&watch->view, &news->changes.items[i]);
    }
    watch->view.revision = news->revision;
    store_watch_tell(watch, &news->changes, false);
}

static void batch_done(uv_work_t *work, int status)
{
    struct sqlite_batch *batch = work->data;
    struct sqlite_store *store = batch->store;
    CHECK(status == 0); /* the work is never cancelled */
    struct store_call *call = NULL;
    while ((call = store_call_list_pop(&batch->calls)) != NULL) {
        store_call_finish(call);
    }
    store_flush(&store->base);
    for (int i = 0; i < batch->watch_count; i++) {
        watch_tell(&batch->watches[i]);
    }
    /* From here on nothing points to the ended watches any more. */
    store->batch = NULL;
    for (int i = 0; i < batch->watch_count; i++) {
        if (batch->watches[i].watch->is_ended) {
            store_watch_free(batch->watches[i].watch);
        }
        sqlite_news_release(&batch->watches[i].news);
        free(batch->watches[i].prefix);
    }
    free(batch->watches);
    free(batch);
    if (store->base.is_closing) {
        close_if_idle(store);
        return;
    }
    batch_start(store);
    deadline_arm(store);
}

/* ---- watches ---- */

static void poll_fired(uv_timer_t *timer)
{
    struct sqlite_store *store = timer->data;
    store->is_poll_due = true;
    batch_start(store);
}

static void watch_begin(struct store *base, struct store_watch *watch)
{
    struct sqlite_store *store = (struct sqlite_store *)base;
    (void)watch;
    if (!uv_is_active((uv_handle_t *)&store->poll_timer)) {
        CHECK(uv_timer_start(&store->poll_timer, poll_fired, 0, POLL_INTERVAL_MS) == 0);
    }
    store->is_poll_due = true;
    batch_start(store);
}

static void watch_end(struct store *base, struct store_watch *watch)
{
    struct sqlite_store *store = (struct sqlite_store *)base;
    bool is_in_batch = false;
    for (int i = 0; store->batch != NULL && i < store->batch->watch_count; i++) {
        is_in_batch = is_in_batch || store->batch->watches[i].watch == watch;
    }
    if (!is_in_batch) {
        store_watch_free(watch);
    }
    if (base->watches == NULL) {
        (void)uv_timer_stop(&store->poll_timer);
    }
}

/* ---- closing ---- */

static void sqlite_close(struct store *base)
{
    struct sqlite_store *store = (struct sqlite_store *)base;
    struct err err = {0};
    (void)err_set(&err, ERR_UNAVAILABLE, "the store was closed before the request was begun");
    struct store_call *call = NULL;
    while ((call = store_call_list_pop(&store->queue)) != NULL) {
        store_call_fail(call, &err);
    }
    (void)uv_timer_stop(&store->poll_timer);
    close_if_idle(store);
}

static void handle_closed(uv_handle_t *handle)
{
    struct sqlite_store *store = handle->data;
    store->open_handles--;
    if (store->open_handles == 0) {
        store_backend_closed(&store->base);
    }
}

/* Waits for the worker: SQLite must not be closed under it. */
static void close_if_idle(struct sqlite_store *store)
{
    if (store->batch != NULL || uv_is_closing((uv_handle_t *)&store->poll_timer)) {
        return;
    }
    sqlite_db_close(store->db);
    store->db = NULL;
    uv_close((uv_handle_t *)&store->poll_timer, handle_closed);
    uv_close((uv_handle_t *)&store->deadline_timer, handle_closed);
}

static void sqlite_release(struct store *base)
{
    free((struct sqlite_store *)base);
}
