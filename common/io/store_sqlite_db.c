/* store_sqlite_db.c — see store_sqlite_db.h.
 *
 * WAL with synchronous=FULL: a committed transaction is on disk. Processes on one machine may share
 * the file: every write runs under BEGIN IMMEDIATE, so compares and writes are one step. A lease
 * ends when CLOCK_BOOTTIME (which runs during suspend) passes its expiry, or when the machine's
 * boot id differs from the one it was granted under: after a reboot no holder can be alive. Expired
 * leases are ended inside whichever transaction looks first, so nobody ever sees a key whose lease
 * has ended. The file must not be shared between machines. Source: sqlite.org/wal.html,
 * sqlite.org/pragma.html. */
#include "common/io/store_sqlite_db.h"

#include "common/base/alloc.h"
#include "common/base/check.h"
#include "common/io/store_backend.h"
#include "common/io/store_sqlite_statement.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

static int run_range(struct sqlite_db *db,
                     const struct store_request *request,
                     struct store_result *result,
                     struct err *err);
static int run_write(struct sqlite_db *db,
                     const struct store_request *request,
                     struct store_result *result,
                     struct err *err);
static int expire_leases(struct sqlite_db *db, int64_t *revision, struct err *err);

static int64_t boottime_ms(void)
{
    struct timespec now;
    CHECK(clock_gettime(CLOCK_BOOTTIME, &now) == 0);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* ---- pieces ---- */

static int revision_get(struct sqlite_db *db, int64_t *revision, struct err *err)
{
    (void)sqlite_statement_start(db, STMT_REVISION_GET);
    bool is_row = false;
    int rc = sqlite_statement_run(db, STMT_REVISION_GET, revision, &is_row, err);
    return rc == 0 && !is_row ? sqlite_fail(db, SQLITE_CORRUPT, "read the revision", err) : rc;
}

static int revision_set(struct sqlite_db *db, int64_t revision, struct err *err)
{
    sqlite_bind_int(sqlite_statement_start(db, STMT_REVISION_SET), 1, revision);
    int rc = sqlite_statement_run(db, STMT_REVISION_SET, NULL, NULL, err);
    if (rc != 0) {
        return rc;
    }
    sqlite_bind_int(sqlite_statement_start(db, STMT_LOG_TRIM), 1, revision - SQLITE_LOG_REVISIONS);
    return sqlite_statement_run(db, STMT_LOG_TRIM, NULL, NULL, err);
}

static int log_add(struct sqlite_db *db,
                   int64_t revision,
                   const char *key,
                   bool is_delete,
                   struct err *err)
{
    sqlite3_stmt *statement = sqlite_statement_start(db, STMT_LOG_ADD);
    sqlite_bind_int(statement, 1, revision);
    sqlite_bind_text(statement, 2, key);
    sqlite_bind_int(statement, 3, is_delete ? 1 : 0);
    return sqlite_statement_run(db, STMT_LOG_ADD, NULL, NULL, err);
}

/* Rows of the form key, value, create_revision, mod_revision, lease_id. */
static int rows_read(struct sqlite_db *db,
                     enum statement which,
                     struct store_result *result,
                     struct err *err)
{
    sqlite3_stmt *statement = db->statements[which];
    size_t bytes = 0;
    int rc = 0;
    int code = SQLITE_ROW;
    while (rc == 0 && (code = sqlite3_step(statement)) == SQLITE_ROW) {
        struct store_kv *kv =
            store_result_add_kv(result, (const char *)sqlite3_column_text(statement, 0));
        strbuf_add(&kv->value, sqlite3_column_blob(statement, 1),
                   (size_t)sqlite3_column_bytes(statement, 1));
        kv->create_revision = sqlite3_column_int64(statement, 2);
        kv->mod_revision = sqlite3_column_int64(statement, 3);
        kv->lease_id = sqlite3_column_int64(statement, 4);
        bytes += kv->value.len + strlen(kv->key);
        if (bytes > STORE_RANGE_BYTES_MAX) {
            rc = err_set(err, ERR_LIMIT, "range in store file %s holds more than %d bytes",
                         db->path, STORE_RANGE_BYTES_MAX);
        }
    }
    if (rc == 0 && code != SQLITE_DONE) {
        rc = sqlite_fail(db, code, "read", err);
    }
    (void)sqlite3_reset(statement);
    return rc;
}

static int keys_read(struct sqlite_db *db,
                     const char *key,
                     bool is_prefix,
                     struct store_result *result,
                     struct err *err)
{
    enum statement which = is_prefix ? STMT_KEY_LIST : STMT_KEY_GET;
    sqlite3_stmt *statement = sqlite_statement_start(db, which);
    sqlite_bind_text(statement, 1, key);
    if (is_prefix) {
        sqlite_bind_int(statement, 2, (int64_t)strlen(key));
    }
    return rows_read(db, which, result, err);
}

/* ---- requests ---- */

void sqlite_db_execute(struct sqlite_db *db,
                       const struct store_request *request,
                       int64_t deadline_ms,
                       struct store_result *result)
{
    struct err err = {0};
    int64_t left_ms = deadline_ms - store_now_ms();
    int rc = 0;
    if (left_ms <= 0) {
        rc = err_set(&err, ERR_UNAVAILABLE, "store file %s: busy with earlier requests for %lld ms",
                     db->path, (long long)request->timeout_ms);
        err_hint(&err, "its disk is too slow: look at the latency of fsync there");
    } else {
        (void)sqlite3_busy_timeout(db->handle, left_ms > 60000 ? 60000 : (int)left_ms);
        rc = request->kind == STORE_RANGE ? run_range(db, request, result, &err)
                                          : run_write(db, request, result, &err);
    }
    if (rc != 0) {
        sqlite_rollback(db);
        uint64_t req_id = result->req_id;
        store_result_release(result);
        *result = (struct store_result){.req_id = req_id, .code = rc, .err = err};
    }
}

static int lease_next_expired(struct sqlite_db *db,
                              int64_t *lease_id,
                              bool *is_any,
                              struct err *err)
{
    sqlite3_stmt *statement = sqlite_statement_start(db, STMT_LEASE_EXPIRED);
    sqlite_bind_int(statement, 1, boottime_ms());
    sqlite_bind_text(statement, 2, db->boot_id);
    return sqlite_statement_run(db, STMT_LEASE_EXPIRED, lease_id, is_any, err);
}

static int run_range(struct sqlite_db *db,
                     const struct store_request *request,
                     struct store_result *result,
                     struct err *err)
{
    int64_t lease_id = 0;
    int64_t revision = 0;
    bool is_any_expired = false;
    int rc = sqlite_statement_once(db, STMT_BEGIN_READ, err);
    rc = rc != 0 ? rc : lease_next_expired(db, &lease_id, &is_any_expired, err);
    if (rc == 0 && is_any_expired) {
        /* A read transaction cannot become a writing one without the risk of SQLITE_BUSY: begin
         * again. */
        sqlite_rollback(db);
        rc = sqlite_statement_once(db, STMT_BEGIN_WRITE, err);
        rc = rc != 0 ? rc : revision_get(db, &revision, err);
        rc = rc != 0 ? rc : expire_leases(db, &revision, err);
    }
    rc = rc != 0 ? rc : revision_get(db, &result->revision, err);
    rc = rc != 0 ? rc : keys_read(db, request->key, request->is_prefix, result, err);
    return rc != 0 ? rc : sqlite_statement_once(db, STMT_COMMIT, err);
}

/* Deletes the keys of a lease at revision '*revision' + 1 and the lease itself. */
static int lease_end(struct sqlite_db *db, int64_t lease_id, int64_t *revision, struct err *err)
{
    int64_t at_revision = *revision + 1;
    bool is_changed = false;
    int rc = 0;
    int code = SQLITE_ROW;
    sqlite3_stmt *keys = sqlite_statement_start(db, STMT_LEASE_KEYS);
    sqlite_bind_int(keys, 1, lease_id);
    struct store_result owned = {0};
    while ((code = sqlite3_step(keys)) == SQLITE_ROW) {
        (void)store_result_add_kv(&owned, (const char *)sqlite3_column_text(keys, 0));
    }
    (void)sqlite3_reset(keys);
    if (code != SQLITE_DONE) {
        rc = sqlite_fail(db, code, "read the keys of a lease", err);
    }
    for (int i = 0; rc == 0 && i < owned.kv_count; i++) {
        sqlite_bind_text(sqlite_statement_start(db, STMT_KEY_DELETE), 1, owned.kvs[i].key);
        rc = sqlite_statement_run(db, STMT_KEY_DELETE, NULL, NULL, err);
        rc = rc != 0 ? rc : log_add(db, at_revision, owned.kvs[i].key, true, err);
        is_changed = true;
    }
    store_result_release(&owned);
    if (rc == 0) {
        sqlite_bind_int(sqlite_statement_start(db, STMT_LEASE_DELETE), 1, lease_id);
        rc = sqlite_statement_run(db, STMT_LEASE_DELETE, NULL, NULL, err);
    }
    if (rc == 0 && is_changed) {
        rc = revision_set(db, at_revision, err);
        *revision = at_revision;
    }
    return rc;
}

static int expire_leases(struct sqlite_db *db, int64_t *revision, struct err *err)
{
    for (;;) {
        int64_t lease_id = 0;
        bool is_any = false;
        int rc = lease_next_expired(db, &lease_id, &is_any, err);
        if (rc != 0 || !is_any) {
            return rc;
        }
        rc = lease_end(db, lease_id, revision, err);
        if (rc != 0) {
            return rc;
        }
    }
}

static int compares_hold(struct sqlite_db *db,
                         const struct store_request *request,
                         bool *is_held,
                         struct err *err)
{
    *is_held = true;
    for (int i = 0; i < request->compare_count; i++) {
        const struct store_compare *compare = &request->compares[i];
        struct store_result found = {0};
        int rc = keys_read(db, compare->key, false, &found, err);
        int64_t revision = 0;
        if (rc == 0 && found.kv_count == 1) {
            switch (compare->field) {
            case STORE_CREATE_REVISION:
                revision = found.kvs[0].create_revision;
                break;
            case STORE_MOD_REVISION:
                revision = found.kvs[0].mod_revision;
                break;
            }
        }
        store_result_release(&found);
        if (rc != 0) {
            return rc;
        }
        *is_held = *is_held && revision == compare->revision;
    }
    return 0;
}

static int lease_get(struct sqlite_db *db,
                     int64_t lease_id,
                     int64_t *ttl_ms,
                     bool *is_found,
                     struct err *err)
{
    sqlite_bind_int(sqlite_statement_start(db, STMT_LEASE_GET), 1, lease_id);
    return sqlite_statement_run(db, STMT_LEASE_GET, ttl_ms, is_found, err);
}

static int write_put(struct sqlite_db *db,
                     const struct store_write *write,
                     int64_t revision,
                     struct err *err)
{
    if (write->lease_id != 0) {
        bool is_found = false;
        int rc = lease_get(db, write->lease_id, NULL, &is_found, err);
        if (rc != 0) {
            return rc;
        }
        if (!is_found) {
            return err_set(
                err, ERR_NOT_FOUND,
                "lease %lld of key '%s' does not exist or has ended; nothing was written",
                (long long)write->lease_id, write->key);
        }
    }
    sqlite3_stmt *statement = sqlite_statement_start(db, STMT_KEY_PUT);
    sqlite_bind_text(statement, 1, write->key);
    CHECK(sqlite3_bind_blob64(statement, 2, strbuf_text(&write->value), write->value.len,
                              SQLITE_STATIC) == SQLITE_OK);
    sqlite_bind_int(statement, 3, revision);
    sqlite_bind_int(statement, 4, write->lease_id);
    int rc = sqlite_statement_run(db, STMT_KEY_PUT, NULL, NULL, err);
    return rc != 0 ? rc : log_add(db, revision, write->key, false, err);
}

static int run_txn(struct sqlite_db *db,
                   const struct store_request *request,
                   int64_t *revision,
                   struct store_result *result,
                   struct err *err)
{
    int rc = compares_hold(db, request, &result->succeeded, err);
    if (rc != 0 || !result->succeeded) {
        return rc;
    }
    int64_t at_revision = *revision + 1;
    bool is_changed = false;
    for (int i = 0; rc == 0 && i < request->write_count; i++) {
        const struct store_write *write = &request->writes[i];
        if (!write->is_delete) {
            rc = write_put(db, write, at_revision, err);
            is_changed = true;
            continue;
        }
        sqlite_bind_text(sqlite_statement_start(db, STMT_KEY_DELETE), 1, write->key);
        rc = sqlite_statement_run(db, STMT_KEY_DELETE, NULL, NULL, err);
        if (rc == 0 && sqlite3_changes(db->handle) > 0) {
            rc = log_add(db, at_revision, write->key, true, err);
            is_changed = true;
        }
    }
    if (rc == 0 && is_changed) {
        rc = revision_set(db, at_revision, err);
        *revision = at_revision;
    }
    return rc;
}

static int lease_put(struct sqlite_db *db,
                     int64_t lease_id,
                     int64_t ttl_ms,
                     struct store_result *result,
                     struct err *err)
{
    sqlite3_stmt *statement = sqlite_statement_start(db, STMT_LEASE_PUT);
    sqlite_bind_int(statement, 1, lease_id);
    sqlite_bind_int(statement, 2, ttl_ms);
    sqlite_bind_int(statement, 3, boottime_ms() + ttl_ms);
    sqlite_bind_text(statement, 4, db->boot_id);
    result->ttl_ms = ttl_ms;
    return sqlite_statement_run(db, STMT_LEASE_PUT, NULL, NULL, err);
}

static int run_lease(struct sqlite_db *db,
                     const struct store_request *request,
                     int64_t *revision,
                     struct store_result *result,
                     struct err *err)
{
    int64_t ttl_ms = request->ttl_ms;
    bool is_found = false;
    int rc = lease_get(db, request->lease_id, &ttl_ms, &is_found, err);
    if (rc != 0) {
        return rc;
    }
    if (request->kind == STORE_LEASE_GRANT) {
        return lease_put(db, request->lease_id, ttl_ms, result, err);
    }
    if (!is_found) {
        return 0;
    }
    return request->kind == STORE_LEASE_KEEPALIVE
               ? lease_put(db, request->lease_id, ttl_ms, result, err)
               : lease_end(db, request->lease_id, revision, err);
}

static int run_write(struct sqlite_db *db,
                     const struct store_request *request,
                     struct store_result *result,
                     struct err *err)
{
    int64_t revision = 0;
    int rc = sqlite_statement_once(db, STMT_BEGIN_WRITE, err);
    rc = rc != 0 ? rc : revision_get(db, &revision, err);
    rc = rc != 0 ? rc : expire_leases(db, &revision, err);
    if (rc == 0) {
        rc = request->kind == STORE_TXN ? run_txn(db, request, &revision, result, err)
                                        : run_lease(db, request, &revision, result, err);
    }
    if (rc != 0) {
        return rc;
    }
    result->revision = revision;
    rc = sqlite_statement_once(db, STMT_COMMIT, err);
    if (rc == ERR_IO) {
        /* The commit record may be in the WAL although its fsync failed: only a read tells. */
        int code = err->code;
        rc = err_wrap(err, "outcome unknown");
        CHECK(rc == code);
        err->code = ERR_TIMEOUT;
        rc = ERR_TIMEOUT;
    }
    return rc;
}

/* ---- news for watches ---- */

void sqlite_db_expire(struct sqlite_db *db)
{
    int64_t lease_id = 0;
    int64_t revision = 0;
    bool is_any = false;
    /* Failing is harmless: the next poll or request comes back to it. */
    (void)sqlite3_busy_timeout(db->handle, 0);
    if (lease_next_expired(db, &lease_id, &is_any, NULL) != 0 || !is_any) {
        return;
    }
    int rc = sqlite_statement_once(db, STMT_BEGIN_WRITE, NULL);
    rc = rc != 0 ? rc : revision_get(db, &revision, NULL);
    rc = rc != 0 ? rc : expire_leases(db, &revision, NULL);
    rc = rc != 0 ? rc : sqlite_statement_once(db, STMT_COMMIT, NULL);
    if (rc != 0) {
        sqlite_rollback(db);
    }
}

int64_t sqlite_db_revision(struct sqlite_db *db)
{
    int64_t revision = 0;
    (void)sqlite3_busy_timeout(db->handle, 0);
    return revision_get(db, &revision, NULL) == 0 ? revision : 0;
}

/* Changes of the log; a put that a later change replaced has no value any more and is left out. */
static int log_read(struct sqlite_db *db,
                    const char *prefix,
                    int64_t after_revision,
                    struct store_change_list *changes)
{
    sqlite3_stmt *statement = sqlite_statement_start(db, STMT_LOG_READ);
    sqlite_bind_text(statement, 1, prefix);
    sqlite_bind_int(statement, 2, (int64_t)strlen(prefix));
    sqlite_bind_int(statement, 3, after_revision);
    int code = SQLITE_ROW;
    while ((code = sqlite3_step(statement)) == SQLITE_ROW) {
        bool is_delete = sqlite3_column_int(statement, 2) != 0;
        if (!is_delete && sqlite3_column_type(statement, 4) == SQLITE_NULL) {
            continue;
        }
        struct store_kv kv = {.key = xstrdup((const char *)sqlite3_column_text(statement, 1)),
                              .mod_revision = sqlite3_column_int64(statement, 0)};
        if (!is_delete) {
            strbuf_add(&kv.value, sqlite3_column_blob(statement, 3),
                       (size_t)sqlite3_column_bytes(statement, 3));
            kv.create_revision = sqlite3_column_int64(statement, 4);
            kv.lease_id = sqlite3_column_int64(statement, 5);
        }
        store_change_list_add(changes, is_delete, &kv);
    }
    (void)sqlite3_reset(statement);
    return code == SQLITE_DONE ? 0 : ERR_IO;
}

void sqlite_db_news(struct sqlite_db *db,
                    const char *prefix,
                    int64_t after_revision,
                    struct sqlite_news *news)
{
    int64_t revision = 0;
    int rc = sqlite_statement_once(db, STMT_BEGIN_READ, NULL);
    rc = rc != 0 ? rc : revision_get(db, &revision, NULL);
    if (rc == 0) {
        /* A revision beyond ours means that the file was replaced by an older one. */
        news->is_list = after_revision == 0 || revision < after_revision ||
                        revision - after_revision > SQLITE_LOG_REVISIONS;
        if (news->is_list) {
            rc = keys_read(db, prefix, true, &news->list, NULL);
        } else if (revision > after_revision) {
            rc = log_read(db, prefix, after_revision, &news->changes);
        }
    }
    sqlite_rollback(db);
    if (rc != 0) {
        sqlite_news_release(news);
        return;
    }
    news->revision = revision;
    news->list.revision = revision;
}

void sqlite_news_release(struct sqlite_news *news)
{
    store_change_list_release(&news->changes);
    store_result_release(&news->list);
    *news = (struct sqlite_news){0};
}
