/* store.h — the durable, guarded memory of the coordinators: one API over etcd and SQLite.
 *
 * What can be asked and answered is plain data in common/model/store_op.h; this file is how a shell
 * gets it done on its loop. URLs: sqlite:///var/lib/drover/drover.db      one machine; an absolute
 * path, taken literally; created with mode 0600 etcd://h1:2379,h2:2379,h3:2379/drover   v3 JSON
 * gateway; keys live below "/drover/" (the default prefix) One thread only: every function is
 * called from, and every callback runs on, the thread of the loop. Must not know what the keys
 * mean. Source: docs/store.md; docs/design.md sections 4 and 5. */
#ifndef DROVER_IO_STORE_H
#define DROVER_IO_STORE_H

#include "common/base/err.h"
#include "common/model/store_op.h"

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

#define STORE_CALLS_MAX 1024 /* requests open at a time; more are refused with ERR_LIMIT */
#define STORE_LEASE_TTL_MS_MAX 86400000 /* a claim that outlives a day is a mistake */
#define STORE_TXN_BYTES_MAX \
    1048576 /* values of one TXN; etcd takes 1.5 MiB a request with everything */
#define STORE_RANGE_BYTES_MAX 33554432 /* keys and values of one RANGE; more is ERR_LIMIT */

struct store;       /* opaque; from store_open() to store_close() */
struct store_watch; /* opaque; from store_watch() to store_unwatch() or store_close() */

/* All texts are borrowed during store_open() only; NULL or "" = not given. SQLite ignores every
 * member. */
struct store_options {
    const char *user;      /* etcd user; with 'password' */
    const char *password;  /* never logged, never part of an error text */
    const char *ca_file;   /* PEM; NULL = the system's certificates */
    const char *cert_file; /* PEM client certificate, together with key_file */
    const char *key_file;  /* PEM */
    bool is_tls;           /* https to the endpoints; certificates are always verified */
};

/* What a watch saw since its last callback. Valid during the callback only. */
struct store_changes {
    const struct store_change
        *items;       /* in order of their revision; a key may occur more than once */
    int count;        /* may be 0 when is_snapshot */
    int64_t revision; /* the watch has told everything up to this revision */
    bool is_snapshot; /* items are all keys there are, as puts: what the consumer knows beyond them
                         is gone */
};

/* 0 when the URL names a store we know, without opening or asking it; else ERR_CONFIG. For
 * --check-config. */
int store_check_url(const char *url, struct err *err) WARN_UNUSED;

/* Opens the store and fills '*out'. SQLite: opens or creates the file now (ERR_IO, ERR_UNAVAILABLE
 * when locked, ERR_VERSION for a newer schema, ERR_CONFIG for a foreign file). etcd: checks URL and
 * options only (ERR_CONFIG); whether the servers answer shows in the results. 'loop' outlives the
 * store. '*out' is untouched on failure. */
int store_open(const char *url,
               const struct store_options *options,
               uv_loop_t *loop,
               struct store **out,
               struct err *err) WARN_UNUSED;

/* Hands '*request' over (it is empty afterwards) and returns at once. 'done' runs exactly once,
 * from the loop, never from inside store_submit(); the result is borrowed during the callback.
 * Requests that violate a limit of store_op.h or of this file get ERR_LIMIT, malformed ones (no
 * timeout, a key twice in a transaction) ERR_INVALID, by the same callback. Besides the codes in
 * store_op.h: a put with a lease that does not exist is ERR_NOT_FOUND and nothing is written.
 *   RANGE, leases: are repeated on other endpoints until timeout_ms is over; all of them are safe
 * to repeat. TXN: is repeated only while it certainly has not reached a server; otherwise
 * ERR_TIMEOUT at once or at timeout_ms. A full etcd is ERR_TIMEOUT too, since it may have written
 * before it said so; a full disk under SQLite is ERR_LIMIT. GRANT of a lease that exists renews it,
 * so that ttl_ms counts from this request. TTLs are rounded up to what the store can do (etcd:
 * whole seconds, and never under its own minimum): act on the result's ttl_ms. REVOKE of a lease
 * that does not exist is success; etcd then tells no revision (0). After store_close() the callback
 * brings ERR_UNAVAILABLE. */
void store_submit(struct store *store,
                  struct store_request *request,
                  void (*done)(void *user, const struct store_result *result),
                  void *user);

/* Tells every change of keys that begin with 'prefix' ("" = all), from the loop, until
 * store_unwatch(). from_revision 0: the first callback is a snapshot. from_revision > 0: the
 * consumer knows the state at from_revision - 1 (a RANGE answers with its revision); changes from
 *   from_revision on follow. If the store no longer knows them, the first callback is a snapshot.
 * After a gap (connection lost, history compacted) the watch relists and tells what differs: puts
 * for keys that changed, deletions for keys that vanished. Changes in between may be folded: the
 * final state of a key is never missed, its intermediate ones may be. An unreachable store is
 * silence, not an error: requests tell that. Never returns NULL. */
struct store_watch *store_watch(struct store *store,
                                const char *prefix,
                                int64_t from_revision,
                                void (*changed)(void *user, const struct store_changes *changes),
                                void *user);

/* Ends the watch; no callback runs after this, also when called from one. NULL is legal. */
void store_unwatch(struct store_watch *watch);

/* Ends every watch, answers every open request with ERR_UNAVAILABLE (a TXN that may have reached
 * etcd with ERR_TIMEOUT; one that SQLite is executing with its true result) and then runs 'closed'
 * (may be NULL) from the loop; the store is gone after it. NULL is legal: 'closed' does not run
 * then. Leases are left alone: they end by their TTL or by REVOKE. */
void store_close(struct store *store, void (*closed)(void *user), void *user);

#endif
