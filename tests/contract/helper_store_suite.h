/* helper_store_suite.h — the store's contract as one suite of cases, run against every backend.
 *
 * A backend takes part by a struct suite_backend; nothing in the cases knows which one runs. Time
 * passes only inside 'turn', so a simulated store can run in virtual time. */
#ifndef DROVER_TESTS_CONTRACT_HELPER_STORE_SUITE_H
#define DROVER_TESTS_CONTRACT_HELPER_STORE_SUITE_H

#include "common/io/store.h"

#include <stdbool.h>
#include <stdint.h>

struct suite_backend {
    const char *name;
    void *env; /* handed to open, turn and now_ms */
    /* A new client of the store number 'store_index'; clients of one index share the data, other
     * indexes see nothing of it. Aborts the test on failure. */
    void *(*open)(void *env, int store_index);
    void (*close)(void *client); /* waits until the client is gone */
    void (*submit)(void *client,
                   struct store_request *request,
                   void (*done)(void *user, const struct store_result *result),
                   void *user);
    void *(*watch)(void *client,
                   const char *prefix,
                   int64_t from_revision,
                   void (*changed)(void *user, const struct store_changes *changes),
                   void *user);
    void (*unwatch)(void *watch);
    void (*turn)(void *env,
                 int64_t wait_ms); /* lets at most wait_ms pass, less when something happened */
    int64_t (*now_ms)(void *env);
    int64_t lease_ttl_ms;    /* the shortest lease the backend grants */
    int64_t expiry_slack_ms; /* how late after its TTL a lease may be seen to end */
};

/* Runs every case; returns the number that failed. */
int suite_run(struct suite_backend *backend);

/* ---- helper_store_client.c: pieces of the cases and of the backends' own tests ---- */

#define SUITE_ANSWER_MS_MAX \
    60000 /* far beyond every timeout used: no answer at all is the failure looked for */
#define SUITE_TIMEOUT_MS 15000 /* of a request that says nothing else */

/* Where suite_answer_done() puts a copy of the result. */
struct suite_answer {
    bool is_done;
    struct store_result result; /* the test releases it */
};
void suite_answer_done(void *user, const struct store_result *result);

/* One request, waited for; the caller releases the result. Fails the test when no answer comes. */
struct store_result suite_ask(struct suite_backend *backend,
                              void *client,
                              struct store_request *request);
/* The same; fails the test on any error. */
struct store_result suite_ask_ok(struct suite_backend *backend,
                                 void *client,
                                 struct store_request *request);
void suite_request_put(struct store_request *request,
                       const char *key,
                       const char *value,
                       int64_t lease_id);
struct store_result suite_get(struct suite_backend *backend,
                              void *client,
                              const char *key,
                              bool is_prefix);
/* A put without compares; fails the test on any error; returns the revision. */
int64_t suite_put(struct suite_backend *backend,
                  void *client,
                  const char *key,
                  const char *value,
                  int64_t lease_id);
int64_t suite_delete(struct suite_backend *backend, void *client, const char *key);
/* The key holds exactly 'value'; NULL: it is absent. */
void suite_assert_value(struct suite_backend *backend,
                        void *client,
                        const char *key,
                        const char *value);
/* An unguarded put whose code is returned. */
int suite_try_put(struct suite_backend *backend, void *client, const char *key, struct err *err);
struct store_result suite_lease(struct suite_backend *backend,
                                void *client,
                                enum store_request_kind kind,
                                int64_t lease_id,
                                int64_t ttl_ms);
/* The same, answering only the TTL. */
int64_t suite_lease_ttl(struct suite_backend *backend,
                        void *client,
                        enum store_request_kind kind,
                        int64_t lease_id,
                        int64_t ttl_ms);
int64_t suite_lease_id(void); /* never used before on this machine */

/* Collects what a watch tells. */
struct suite_watch {
    void *handle;
    struct store_change *items; /* copies; owned */
    int count;
    int64_t revision;
    int snapshot_count;
};
void suite_watch_begin(struct suite_backend *backend,
                       void *client,
                       struct suite_watch *watch,
                       const char *prefix,
                       int64_t from_revision);
void suite_watch_end(struct suite_backend *backend, struct suite_watch *watch);
/* The last change told of 'key' is a put of 'value', or a deletion for NULL. */
bool suite_watch_shows(const struct suite_watch *watch, const char *key, const char *value);
/* Waits for the first snapshot. */
void suite_wait_snapshot(struct suite_backend *backend, struct suite_watch *watch);
/* Waits until the last change told of 'key' is a put of 'value', or a deletion for NULL. */
void suite_watch_wait(struct suite_backend *backend,
                      struct suite_watch *watch,
                      const char *key,
                      const char *value);

/* The real stores: struct store on one uv loop. 'env' of such a backend begins with struct
 * suite_loop. */
struct suite_loop {
    uv_loop_t loop;
    uv_timer_t timer;
};
void suite_loop_init(struct suite_loop *loop);
void suite_loop_release(struct suite_loop *loop);
/* Fills the members that are the same for every real store; 'open' stays the caller's. */
void suite_backend_real(struct suite_backend *backend, struct suite_loop *loop);

/* A private directory below TMPDIR. */
char *suite_temp_dir(void);
void suite_remove_dir(const char *path);

#endif
