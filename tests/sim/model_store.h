/* model_store.h — the store of the coordinators in virtual time: revisions, leases, watches, and
 * every way to be late.
 *
 * It honours the contract of common/model/store_op.h (the contract suite runs on it) and adds
 * faults: no answer, an answer that comes too late, a change made whose answer is lost. Values are
 * bytes; it knows no record. */
#ifndef DROVER_SIM_MODEL_STORE_H
#define DROVER_SIM_MODEL_STORE_H

#include "common/model/store_op.h"
#include "tests/sim/model_network.h"

#define MODEL_LEASES_MAX 64
#define MODEL_WATCHES_MAX 64

/* One committed change, kept for watches that begin in the past. */
struct model_change_log {
    bool is_delete;
    struct store_kv kv; /* owned */
};

struct model_lease {
    int64_t id; /* 0 = free place */
    int64_t ttl_us;
    int64_t expires_us;
};

struct model_watch {
    bool is_used;
    uint64_t number; /* never used again */
    int place;
    char prefix[STORE_KEY_SIZE_MAX];
    int64_t told_revision;
    bool wants_snapshot;
    void (*changed)(void *owner,
                    const struct store_change *changes,
                    int count,
                    int64_t revision,
                    bool is_snapshot);
    void *owner;
};

struct model_store {
    struct schedule *schedule;
    struct model_network *network;
    struct prng prng;
    int place;
    int64_t revision;
    struct store_kv *kvs; /* sorted by key; owned */
    int kv_count;
    int kv_capacity;
    struct model_change_log *log; /* owned */
    int log_count;
    int log_capacity;
    struct model_lease leases[MODEL_LEASES_MAX];
    struct model_watch watches[MODEL_WATCHES_MAX];
    uint64_t next_watch;
    bool is_down;             /* refuses at once: nothing is done */
    bool is_stuck;            /* takes requests and leaves them lying until it goes on */
    bool is_full;             /* writes are refused, renewals still work (the NOSPACE alarm) */
    int lost_answer_permille; /* done, but the caller times out */
    int64_t slow_us;          /* added to each request */
    /* Checkers: after each request was executed; NULL = nobody listens. */
    void (*executed)(void *owner,
                     int place,
                     const struct store_request *request,
                     const struct store_result *result);
    void *executed_owner;
    void (*orphaned)(void *owner); /* instead of 'done' for requests that the end of the run leaves
                                      open; may be NULL */
    int lost_answer_count, late_count, lease_end_count, refused_count;
};

void model_store_init(struct model_store *store,
                      struct schedule *schedule,
                      struct model_network *network,
                      int place,
                      uint64_t seed);
void model_store_release(struct model_store *store);
/* Takes '*request' over; 'done' runs once, later, and must not keep the result. */
void model_store_submit(struct model_store *store,
                        int place,
                        struct store_request *request,
                        void (*done)(void *owner, const struct store_result *result),
                        void *owner);
/* As store_watch() of the real stores; returns the number of the watch. */
uint64_t model_store_watch(struct model_store *store,
                           int place,
                           const char *prefix,
                           int64_t from_revision,
                           void (*changed)(void *owner,
                                           const struct store_change *changes,
                                           int count,
                                           int64_t revision,
                                           bool is_snapshot),
                           void *owner);
void model_store_unwatch(struct model_store *store, uint64_t number);
/* Executes at once, without network or faults. */
void model_store_execute(struct model_store *store,
                         int place,
                         const struct store_request *request,
                         struct store_result *result);
const struct store_kv *model_store_find(const struct model_store *store, const char *key);

#endif
