/* store_op.h — what the store can be asked and what it answers, as plain data.
 *
 * One contract for etcd, SQLite and the simulated store: keys are text relative to the store's
 * prefix, revisions are positive and grow by at least one with every committed change, a lease that
 * is not kept alive deletes its keys. Source: docs/design.md section 5; etcd v3 API. */
#ifndef DROVER_MODEL_STORE_OP_H
#define DROVER_MODEL_STORE_OP_H

#include "common/base/strbuf.h"

#include <stdbool.h>
#include <stdint.h>

#define STORE_KEY_SIZE_MAX 256 /* bytes of a key without the prefix */
#define STORE_VALUE_SIZE_MAX                                                             \
    (64UL * 1024)               /* bytes of a value: well under etcd's 1.5 MiB a request \
                                 */
#define STORE_TXN_WRITES_MAX 64 /* etcd allows 128 operations a transaction */

enum store_request_kind {
    STORE_RANGE,       /* read one key or all keys with a prefix */
    STORE_TXN,         /* if every compare holds, do every write; else nothing */
    STORE_LEASE_GRANT, /* new lease of ttl_ms with a client-chosen lease_id (> 0); granting it again
                          is success */
    STORE_LEASE_KEEPALIVE, /* renew; result ttl_ms 0 means that the lease is gone */
    STORE_LEASE_REVOKE,    /* end the lease and delete its keys */
};

enum store_compare_field { STORE_CREATE_REVISION, STORE_MOD_REVISION };

/* Holds when the field of the key equals 'revision'; 0 means that the key must not exist. */
struct store_compare {
    char *key; /* owned */
    enum store_compare_field field;
    int64_t revision;
};

struct store_write {
    char *key; /* owned; at most once in a transaction */
    bool is_delete;
    struct strbuf value;
    int64_t lease_id; /* 0 = the key outlives every lease */
};

struct store_request {
    uint64_t req_id; /* chosen by the caller, repeated in the result */
    enum store_request_kind kind;
    char *key;                      /* RANGE: key or prefix; owned */
    bool is_prefix;                 /* RANGE */
    struct store_compare *compares; /* TXN; owned */
    int compare_count;
    struct store_write *writes; /* TXN; owned */
    int write_count;
    int64_t lease_id;   /* leases */
    int64_t ttl_ms;     /* GRANT */
    int64_t timeout_ms; /* > 0: give up after this; for a TXN the outcome is then unknown */
};

struct store_kv {
    char *key; /* owned, relative to the prefix */
    struct strbuf value;
    int64_t create_revision;
    int64_t mod_revision;
    int64_t lease_id;
};

struct store_result {
    uint64_t req_id;
    /* 0; ERR_UNAVAILABLE: certainly not done; ERR_TIMEOUT: unknown whether done (read back before
     * going on); ERR_AUTH, ERR_LIMIT (store full), ERR_PROTOCOL, ERR_IO. 'err' has the text. */
    int code;
    struct err err;
    bool succeeded;   /* TXN: the compares held and the writes are durable */
    int64_t revision; /* of the store when answered; for a TXN that succeeded, the revision of its
                         writes */
    struct store_kv *kvs; /* RANGE, sorted by key; owned */
    int kv_count;
    int64_t ttl_ms; /* GRANT and KEEPALIVE: as the store granted it; 0 = the lease is gone */
};

/* One change seen by a watch. */
struct store_change {
    bool is_delete;
    struct store_kv kv; /* for a deletion only key and mod_revision are set */
};

void store_request_release(struct store_request *request);
void store_result_release(struct store_result *result);
void store_kv_release(struct store_kv *kv);
void store_request_add_compare(struct store_request *request,
                               const char *key,
                               enum store_compare_field field,
                               int64_t revision);
/* The returned write is valid until the next one is added; fill its value in. */
struct store_write *store_request_add_put(struct store_request *request,
                                          const char *key,
                                          int64_t lease_id);
void store_request_add_delete(struct store_request *request, const char *key);
struct store_kv *store_result_add_kv(struct store_result *result, const char *key);

#endif
