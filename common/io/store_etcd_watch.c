/* store_etcd_watch.c — one watch on etcd: list, then stream, list again after every gap and every
 * half minute.
 *
 *   WAITING (token) --> LISTING --> OPENING --> STREAMING --(30 s)--> lists beside the stream
 *      ^                   ^           |            |
 *      |                   +-- PAUSED <+------------+ lost, cancelled, compacted, silent while
 * others see changes
 *
 * A stream may die without a sign (a stopped member keeps its connections): the list in between is
 * what makes the promise of store_watch() hold, the stream only makes it fast. */
#include "common/io/store_etcd.h"

#include "common/base/alloc.h"
#include "common/base/check.h"

#include <stdlib.h>
#include <string.h>

#define LIST_MS_MAX 3000
#define LIST_ANSWER_SIZE_MAX (2 * (size_t)STORE_RANGE_BYTES_MAX)
#define STREAM_LINE_SIZE_MAX \
    (32 * (size_t)1024 * 1024) /* beyond it the stream is dropped and a list does the work */
#define OPEN_MS_MAX 2000       /* until "created" */
#define RELIST_MS 30000
#define SUSPECT_MS 2000 /* a list was ahead of the stream: so long may the stream lag */

enum watch_step { WATCH_WAITING, WATCH_LISTING, WATCH_OPENING, WATCH_STREAMING, WATCH_PAUSED };

struct etcd_watch {
    struct etcd_store *store;
    struct store_watch *watch;
    enum watch_step step;
    struct http_call *list;   /* LISTING, or beside the stream in STREAMING */
    struct http_call *stream; /* OPENING, STREAMING */
    int list_endpoint;
    int stream_endpoint;
    char *token_header; /* of the last request; owned; NULL = none */
    size_t scanned;     /* bytes of the stream's buffer known to hold no line end */
    int failures;
    int64_t wake_ms;    /* PAUSED: go on; OPENING: give up; STREAMING: relist */
    int64_t suspect_ms; /* STREAMING: restart unless an event comes before; NEVER = not suspected */
    bool is_seeding;    /* the list asked for the past state that the consumer knows */
    bool is_past_gone;  /* that state is compacted: a snapshot must do */
    bool is_busy;       /* a callback of ours is on the stack: do not free */
    bool is_ended;
};

static void list_start(struct etcd_watch *own);
static void list_done(void *user, struct http_response *response);
static void stream_start(struct etcd_watch *own);
static void stream_received(void *user, struct strbuf *body);
static void stream_done(void *user, struct http_response *response);
static void restart(struct etcd_watch *own, int endpoint);

/* ---- life ---- */

void etcd_watch_begin(struct store *base, struct store_watch *watch)
{
    struct etcd_store *store = (struct etcd_store *)base;
    struct etcd_watch *own = xcalloc(1, sizeof(*own));
    own->store = store;
    own->watch = watch;
    own->suspect_ms = NEVER;
    watch->stream = own;
    list_start(own);
    etcd_timer_arm(store);
}

static void drop_requests(struct etcd_watch *own)
{
    if (own->list != NULL) {
        http_call_cancel(own->list);
        own->list = NULL;
    }
    if (own->stream != NULL) {
        http_call_cancel(own->stream);
        own->stream = NULL;
    }
    own->scanned = 0;
    own->suspect_ms = NEVER;
}

static void watch_free(struct etcd_watch *own)
{
    struct store_watch *watch = own->watch;
    watch->stream = NULL;
    free(own->token_header);
    free(own);
    store_watch_free(watch);
}

void etcd_watch_end(struct store *base, struct store_watch *watch)
{
    struct etcd_watch *own = watch->stream;
    (void)base;
    own->is_ended = true;
    drop_requests(own);
    if (!own->is_busy) {
        watch_free(own);
    }
}

/* Every callback begins and ends with these: the consumer may end the watch while being told. */
static void callback_enter(struct etcd_watch *own)
{
    CHECK(!own->is_busy);
    own->is_busy = true;
}

static void callback_leave(struct etcd_watch *own)
{
    struct etcd_store *store = own->store;
    own->is_busy = false;
    if (own->is_ended) {
        watch_free(own);
    }
    etcd_timer_arm(store);
}

/* ---- time ---- */

int64_t etcd_watches_wake_ms(const struct etcd_store *store)
{
    int64_t wake_ms = NEVER;
    for (const struct store_watch *watch = store->base.watches; watch != NULL;
         watch = watch->next) {
        const struct etcd_watch *own = watch->stream;
        if (own == NULL) {
            continue; /* just being begun */
        }
        switch (own->step) {
        case WATCH_PAUSED:
        case WATCH_OPENING:
            wake_ms = deadline_min(wake_ms, own->wake_ms);
            break;
        case WATCH_STREAMING:
            wake_ms = deadline_min(
                wake_ms, deadline_min(own->list == NULL ? own->wake_ms : NEVER, own->suspect_ms));
            break;
        case WATCH_WAITING: /* etcd_watches_token() follows */
        case WATCH_LISTING: /* the request has its own timeout */
            break;
        }
    }
    return wake_ms;
}

static void watch_wake(struct etcd_watch *own, int64_t now_ms)
{
    switch (own->step) {
    case WATCH_PAUSED:
        if (own->wake_ms <= now_ms) {
            list_start(own);
        }
        break;
    case WATCH_OPENING:
        if (own->wake_ms <= now_ms) {
            restart(own, own->stream_endpoint);
        }
        break;
    case WATCH_STREAMING:
        if (own->suspect_ms <= now_ms) {
            restart(own, own->stream_endpoint);
        } else if (own->list == NULL && own->wake_ms <= now_ms) {
            list_start(own);
        }
        break;
    case WATCH_WAITING:
    case WATCH_LISTING:
        break;
    }
}

/* Nothing below calls the consumer, so the list of watches stays as it is. */
void etcd_watches_wake(struct etcd_store *store, int64_t now_ms)
{
    for (struct store_watch *watch = store->base.watches; watch != NULL; watch = watch->next) {
        watch_wake(watch->stream, now_ms);
    }
}

void etcd_watches_token(struct etcd_store *store, bool is_ready)
{
    for (struct store_watch *watch = store->base.watches; watch != NULL; watch = watch->next) {
        struct etcd_watch *own = watch->stream;
        if (own->step != WATCH_WAITING) {
            continue;
        }
        if (is_ready) {
            list_start(own);
        } else {
            restart(own, store->lanes[ETCD_LANE_WATCH].endpoint);
        }
    }
}

void etcd_watches_suspect(struct etcd_store *store, int endpoint)
{
    if (store->endpoint_count == 1) {
        return; /* there is nowhere else to go */
    }
    for (struct store_watch *watch = store->base.watches; watch != NULL; watch = watch->next) {
        struct etcd_watch *own = watch->stream;
        if ((own->step == WATCH_OPENING || own->step == WATCH_STREAMING) &&
            own->stream_endpoint == endpoint) {
            restart(own, endpoint);
        }
    }
}

/* Leaves the endpoint, then lists and streams anew. */
static void restart(struct etcd_watch *own, int endpoint)
{
    drop_requests(own);
    etcd_lane_rotate(own->store, ETCD_LANE_WATCH, endpoint);
    own->failures++;
    own->step = WATCH_PAUSED;
    own->wake_ms = store_now_ms() + etcd_pause_ms(own->store, own->failures);
    etcd_timer_arm(own->store);
}

/* An answer that is an error: a refused token is renewed, everything else is tried elsewhere. */
static void refused(struct etcd_watch *own, int endpoint, const struct etcd_error *error)
{
    if (etcd_error_is_token(error)) {
        etcd_auth_refused(own->store, own->token_header);
    }
    restart(own, endpoint);
}

static struct http_call *post(struct etcd_watch *own,
                              const char *path,
                              char *body,
                              struct http_request *request)
{
    struct etcd_store *store = own->store;
    free(own->token_header);
    own->token_header = store->auth.header == NULL ? NULL : xstrdup(store->auth.header);
    request->body = body;
    request->body_size = strlen(body);
    request->user = own;
    struct http_call *http = etcd_post(store, ETCD_LANE_WATCH, path, request);
    free(body);
    return http;
}

/* ---- lists ---- */

static void list_start(struct etcd_watch *own)
{
    const struct store_watch *watch = own->watch;
    CHECK(own->list == NULL);
    bool is_beside = own->step == WATCH_STREAMING;
    if (!etcd_auth_ready(own->store)) {
        if (is_beside) {
            own->wake_ms =
                store_now_ms() + RELIST_MS; /* the token is being renewed: the next time will do */
        } else {
            own->step = WATCH_WAITING;
        }
        return;
    }
    own->is_seeding = !watch->view.is_complete && watch->view.revision > 0 && !own->is_past_gone;
    char *body = etcd_encode_list(own->store->prefix, watch->prefix,
                                  own->is_seeding ? watch->view.revision : 0);
    struct http_request request = {
        .timeout_ms = LIST_MS_MAX, .response_size_max = LIST_ANSWER_SIZE_MAX, .done = list_done};
    own->step = is_beside ? WATCH_STREAMING : WATCH_LISTING;
    own->list_endpoint = own->store->lanes[ETCD_LANE_WATCH].endpoint;
    own->list = post(own, "/v3/kv/range", body, &request);
}

/* Enters a list into the view and tells what is new. */
static void list_apply(struct etcd_watch *own, struct store_result *list)
{
    struct store_watch *watch = own->watch;
    if (own->is_seeding) {
        store_view_seed(&watch->view, list->kvs, list->kv_count, watch->view.revision);
        return;
    }
    if (list->revision < watch->view.revision) {
        return; /* the stream was faster */
    }
    bool is_snapshot = !watch->view.is_complete;
    struct store_change_list changes = {0};
    store_view_relist(&watch->view, list->kvs, list->kv_count, list->revision, &changes);
    if (own->step == WATCH_STREAMING && changes.count > 0 && own->suspect_ms == NEVER) {
        own->suspect_ms = store_now_ms() + SUSPECT_MS;
    }
    store_watch_tell(watch, &changes, is_snapshot);
    store_change_list_release(&changes);
}

static void list_answered(struct etcd_watch *own, const struct http_response *response)
{
    struct etcd_store *store = own->store;
    struct store_request asked = {.kind = STORE_RANGE};
    struct store_result list = {0};
    struct etcd_header header = {0};
    struct err err = {0};
    int rc = etcd_decode_result(&asked, store->prefix, &response->body, &header, &list, &err);
    rc = rc != 0 ? rc : etcd_check_header(store, own->list_endpoint, &header, &err);
    if (rc != 0) {
        store_result_release(&list);
        restart(own, own->list_endpoint);
        return;
    }
    list_apply(own, &list);
    store_result_release(&list);
    if (own->is_ended) {
        return;
    }
    if (own->step == WATCH_STREAMING) {
        own->wake_ms = store_now_ms() + RELIST_MS;
    } else {
        stream_start(own);
    }
}

static void list_done(void *user, struct http_response *response)
{
    struct etcd_watch *own = user;
    callback_enter(own);
    own->list = NULL;
    if (response->code != 0) {
        restart(own, own->list_endpoint);
    } else if (response->status == 200) {
        list_answered(own, response);
    } else {
        struct etcd_error error;
        bool is_certain = false;
        etcd_decode_error(&response->body, response->status, &error);
        int code = etcd_error_class(own->store, own->list_endpoint, &error, &is_certain, NULL);
        if (own->is_seeding && code == ERR_NOT_FOUND) {
            own->is_past_gone = true; /* compacted, or of another history */
            list_start(own);
        } else {
            refused(own, own->list_endpoint, &error);
        }
    }
    callback_leave(own);
}

/* ---- the stream ---- */

static void stream_start(struct etcd_watch *own)
{
    CHECK(own->stream == NULL);
    char *body =
        etcd_encode_watch(own->store->prefix, own->watch->prefix, own->watch->view.revision + 1);
    struct http_request request = {.response_size_max = STREAM_LINE_SIZE_MAX,
                                   .received = stream_received,
                                   .done = stream_done};
    own->step = WATCH_OPENING;
    own->wake_ms = store_now_ms() + OPEN_MS_MAX;
    own->stream_endpoint = own->store->lanes[ETCD_LANE_WATCH].endpoint;
    own->stream = post(own, "/v3/watch", body, &request);
}

/* Tells the events that are newer than the view. */
static void stream_apply(struct etcd_watch *own, struct store_change_list *events)
{
    struct store_watch *watch = own->watch;
    struct store_change_list news = {0};
    int64_t revision = watch->view.revision;
    own->suspect_ms = NEVER;
    for (int i = 0; i < events->count; i++) {
        struct store_change *event = &events->items[i];
        if (event->kv.mod_revision <= watch->view.revision) {
            continue; /* a list told it already */
        }
        revision = event->kv.mod_revision > revision ? event->kv.mod_revision : revision;
        store_view_apply(&watch->view, event);
        store_change_list_add(&news, event->is_delete, &event->kv);
    }
    watch->view.revision = revision;
    store_watch_tell(watch, &news, false);
    store_change_list_release(&news);
}

static void message_apply(struct etcd_watch *own, struct etcd_watch_message *message)
{
    struct err err = {0};
    if (message->is_error) {
        refused(own, own->stream_endpoint, &message->error);
        return;
    }
    if (etcd_check_header(own->store, own->stream_endpoint, &message->header, &err) != 0 ||
        message->is_canceled) {
        restart(own, own->stream_endpoint); /* compacted ones too: the list closes every gap */
        return;
    }
    if (message->is_created && own->step == WATCH_OPENING) {
        own->step = WATCH_STREAMING;
        own->wake_ms = store_now_ms() + RELIST_MS;
        own->failures = 0;
        etcd_lane_succeeded(own->store, ETCD_LANE_WATCH);
    }
    if (message->changes.count > 0) {
        stream_apply(own, &message->changes);
    }
}

static void stream_received(void *user, struct strbuf *body)
{
    struct etcd_watch *own = user;
    callback_enter(own);
    while (own->stream != NULL && body->len > own->scanned) {
        const char *end = memchr(body->data + own->scanned, '\n', body->len - own->scanned);
        if (end == NULL) {
            own->scanned = body->len;
            break;
        }
        size_t size = (size_t)(end - body->data);
        struct etcd_watch_message message;
        int rc =
            size == 0 ? 0 : etcd_decode_watch(body->data, size, own->store->prefix, &message, NULL);
        strbuf_consume(body, size + 1);
        own->scanned = 0;
        if (rc != 0) {
            restart(own, own->stream_endpoint);
        } else if (size > 0) {
            message_apply(own, &message);
            store_change_list_release(&message.changes);
        }
    }
    callback_leave(own);
}

static void stream_done(void *user, struct http_response *response)
{
    struct etcd_watch *own = user;
    (void)response;
    callback_enter(own);
    own->stream = NULL;
    restart(own, own->stream_endpoint);
    callback_leave(own);
}
