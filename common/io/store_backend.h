/* store_backend.h — what store.c and a backend owe each other. Private to common/io/store*.c.
 *
 * store.c checks requests, counts them and runs callbacks; a backend executes. A backend's struct
 * begins with struct store. */
#ifndef DROVER_IO_STORE_BACKEND_H
#define DROVER_IO_STORE_BACKEND_H

#include "common/io/store.h"
#include "common/io/store_view.h"

/* One request on its way. Owned by the backend from submit() until store_call_finish(). */
struct store_call {
    struct store_call *next; /* for the list of whoever owns it */
    struct store *store;
    struct store_request request; /* owned */
    struct store_result result;   /* owned; the backend fills it in, req_id and err are preset */
    void (*done)(void *user, const struct store_result *result); /* NULL: already answered */
    void *user;
    int64_t deadline_ms; /* on store_now_ms() */
    void *attempt;       /* the backend's own state; NULL before submit() and when finished */
};

struct store_call_list {
    struct store_call *head;
    struct store_call *tail;
};

struct store_watch {
    struct store *store;
    struct store_watch *next; /* in store->watches */
    char *prefix;             /* owned */
    void (*changed)(void *user, const struct store_changes *changes);
    void *user;
    struct store_view view; /* what the consumer was told */
    bool is_ended;          /* unwatched: no callback any more; freed by the backend's reap */
    void *stream;           /* the backend's own state */
};

struct store_backend {
    void (*submit)(struct store *store, struct store_call *call);
    void (*watch_begin)(struct store *store, struct store_watch *watch);
    /* The watch is ended; the backend calls store_watch_free() now or when nothing of its own
     * points to it. */
    void (*watch_end)(struct store *store, struct store_watch *watch);
    /* Finish every call, end every watch, then store_backend_closed(), all in this or a later turn
     * of the loop. */
    void (*close)(struct store *store);
    void (*release)(struct store *store); /* frees the backend's struct; handles are closed */
};

struct store {
    const struct store_backend *backend;
    uv_loop_t *loop;
    uv_timer_t flush_timer; /* 0 ms: brings callbacks out of submit() */
    struct store_call_list finished;
    int call_count; /* submitted and not yet called back */
    struct store_watch *watches;
    bool is_closing;
    bool is_backend_closed;
    bool is_flushing;
    void (*closed)(void *user);
    void *closed_user;
};

void store_init(struct store *store, const struct store_backend *backend, uv_loop_t *loop);
int64_t store_now_ms(void); /* CLOCK_MONOTONIC: for timeouts only */

void store_call_list_add(struct store_call_list *list, struct store_call *call);
struct store_call *store_call_list_pop(struct store_call_list *list);
void store_call_list_remove(struct store_call_list *list, struct store_call *call);

/* The result is complete: the callback runs in a later turn of the loop, or in the next
 * store_flush(). */
void store_call_finish(struct store_call *call);
/* store_call_finish() with an error; 'err' is copied. */
void store_call_fail(struct store_call *call, const struct err *err);
/* Answers the caller now but leaves 'call' with its owner, who finishes it later without a second
 * callback. */
void store_call_abandon(struct store_call *call, const struct err *err);
/* Runs the callbacks of finished calls. Only from a callback of the loop. */
void store_flush(struct store *store);

/* Tells the consumer, unless the watch is ended. */
void store_watch_tell(struct store_watch *watch,
                      const struct store_change_list *changes,
                      bool is_snapshot);
/* Unlinks and frees. */
void store_watch_free(struct store_watch *watch);

void store_backend_closed(struct store *store);

/* The backends. 'rest' is the URL after "scheme://". */
int store_sqlite_open(const char *rest, uv_loop_t *loop, struct store **out, struct err *err)
    WARN_UNUSED;
int store_etcd_open(const char *rest,
                    const struct store_options *options,
                    uv_loop_t *loop,
                    struct store **out,
                    struct err *err) WARN_UNUSED;

#endif
