/* store_sqlite_statement.c — see store_sqlite_statement.h. Every SQL text that runs after opening
 * stands here. */
#include "common/io/store_sqlite_statement.h"

#include "common/base/check.h"

#include <stddef.h>

static const char *const statement_texts[STMT_NR] = {
    [STMT_BEGIN_READ] = "BEGIN",
    [STMT_BEGIN_WRITE] = "BEGIN IMMEDIATE",
    [STMT_COMMIT] = "COMMIT",
    [STMT_ROLLBACK] = "ROLLBACK",
    [STMT_REVISION_GET] = "SELECT value FROM meta WHERE name = 'revision'",
    [STMT_REVISION_SET] = "UPDATE meta SET value = ?1 WHERE name = 'revision'",
    [STMT_KEY_GET] =
        "SELECT key, value, create_revision, mod_revision, lease_id FROM kv WHERE key = ?1",
    [STMT_KEY_LIST] =
        ("SELECT key, value, create_revision, mod_revision, lease_id FROM kv"
         " WHERE key >= ?1 AND substr(CAST(key AS BLOB), 1, ?2) = CAST(?1 AS BLOB) ORDER BY key"),
    [STMT_KEY_PUT] =
        ("INSERT INTO kv (key, value, create_revision, mod_revision, lease_id) VALUES (?1, ?2, ?3, "
         "?3, ?4)"
         " ON CONFLICT (key) DO UPDATE SET value = ?2, mod_revision = ?3, lease_id = ?4"),
    [STMT_KEY_DELETE] = "DELETE FROM kv WHERE key = ?1",
    [STMT_LEASE_KEYS] = "SELECT key FROM kv WHERE lease_id = ?1 ORDER BY key",
    [STMT_LEASE_EXPIRED] =
        "SELECT id FROM lease WHERE expires_boottime_ms <= ?1 OR boot_id <> ?2 ORDER BY id LIMIT 1",
    [STMT_LEASE_GET] = "SELECT ttl_ms FROM lease WHERE id = ?1",
    [STMT_LEASE_PUT] = ("INSERT OR REPLACE INTO lease (id, ttl_ms, expires_boottime_ms, boot_id)"
                        " VALUES (?1, ?2, ?3, ?4)"),
    [STMT_LEASE_DELETE] = "DELETE FROM lease WHERE id = ?1",
    [STMT_LOG_ADD] = "INSERT OR REPLACE INTO change (revision, key, is_delete) VALUES (?1, ?2, ?3)",
    [STMT_LOG_TRIM] = "DELETE FROM change WHERE revision <= ?1",
    [STMT_LOG_READ] =
        ("SELECT c.revision, c.key, c.is_delete, kv.value, kv.create_revision, kv.lease_id FROM "
         "change c"
         " LEFT JOIN kv ON kv.key = c.key AND kv.mod_revision = c.revision"
         " WHERE c.revision > ?3 AND substr(CAST(c.key AS BLOB), 1, ?2) = CAST(?1 AS BLOB)"
         " ORDER BY c.revision, c.key"),
};

int sqlite_statements_prepare(struct sqlite_db *db, struct err *err)
{
    for (int i = 0; i < STMT_NR; i++) {
        int code = sqlite3_prepare_v3(db->handle, statement_texts[i], -1, SQLITE_PREPARE_PERSISTENT,
                                      &db->statements[i], NULL);
        if (code != SQLITE_OK) {
            return sqlite_fail(db, code, "prepare statements", err);
        }
    }
    return 0;
}

void sqlite_statements_release(struct sqlite_db *db)
{
    for (int i = 0; i < STMT_NR; i++) {
        (void)sqlite3_finalize(db->statements[i]);
    }
}

sqlite3_stmt *sqlite_statement_start(struct sqlite_db *db, enum statement which)
{
    sqlite3_stmt *statement = db->statements[which];
    (void)sqlite3_reset(statement);
    (void)sqlite3_clear_bindings(statement);
    return statement;
}

void sqlite_bind_text(sqlite3_stmt *statement, int index, const char *text)
{
    CHECK(sqlite3_bind_text(statement, index, text, -1, SQLITE_STATIC) == SQLITE_OK);
}

void sqlite_bind_int(sqlite3_stmt *statement, int index, int64_t value)
{
    CHECK(sqlite3_bind_int64(statement, index, value) == SQLITE_OK);
}

int sqlite_statement_run(struct sqlite_db *db,
                         enum statement which,
                         int64_t *value,
                         bool *is_row,
                         struct err *err)
{
    sqlite3_stmt *statement = db->statements[which];
    int code = sqlite3_step(statement);
    if (is_row != NULL) {
        *is_row = code == SQLITE_ROW;
    }
    if (code == SQLITE_ROW && value != NULL) {
        *value = sqlite3_column_int64(statement, 0);
    }
    int rc = code == SQLITE_ROW || code == SQLITE_DONE ? 0 : sqlite_fail(db, code, "use", err);
    (void)sqlite3_reset(statement);
    return rc;
}

int sqlite_statement_once(struct sqlite_db *db, enum statement which, struct err *err)
{
    (void)sqlite_statement_start(db, which);
    return sqlite_statement_run(db, which, NULL, NULL, err);
}

void sqlite_rollback(struct sqlite_db *db)
{
    if (sqlite3_get_autocommit(db->handle) == 0) {
        (void)sqlite_statement_once(db, STMT_ROLLBACK, NULL);
    }
}

int sqlite_fail(const struct sqlite_db *db, int sqlite_code, const char *what, struct err *err)
{
    const char *reason =
        db->handle == NULL ? sqlite3_errstr(sqlite_code) : sqlite3_errmsg(db->handle);
    int code = ERR_IO;
    const char *hint = "see the system log for disk errors";
    switch (sqlite_code & 0xff) {
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
        code = ERR_UNAVAILABLE;
        reason = "locked by another process";
        hint =
            "find who holds it with 'fuser' on the file; a backup must use the SQLite backup API";
        break;
    case SQLITE_FULL:
        code = ERR_LIMIT;
        reason = "no space left on its file system";
        hint = "free space there; nothing was written";
        break;
    case SQLITE_READONLY:
    case SQLITE_PERM:
    case SQLITE_AUTH:
        reason = "not writable";
        hint =
            "give the user drover runs as write access to the file, its directory and its -wal and "
            "-shm files";
        break;
    case SQLITE_CANTOPEN:
        hint = "the directory must exist and be writable for the user drover runs as";
        break;
    case SQLITE_CORRUPT:
        reason = "the file is damaged";
        hint =
            "restore a backup, or move the file away: the cluster itself holds the truth, only "
            "open operations are lost";
        break;
    case SQLITE_NOTADB:
        reason = "not an SQLite file";
        hint = "name another file with --store";
        break;
    default:
        break;
    }
    (void)err_set(err, code, "store file %s: cannot %s: %s (SQLite code %d)", db->path, what,
                  reason, sqlite_code);
    err_hint(err, "%s", hint);
    return code;
}
