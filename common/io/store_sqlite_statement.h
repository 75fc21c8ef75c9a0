/* store_sqlite_statement.h — prepared statements and error texts of the SQLite store. Private to
 * store_sqlite*.c. */
#ifndef DROVER_IO_STORE_SQLITE_STATEMENT_H
#define DROVER_IO_STORE_SQLITE_STATEMENT_H

#include "common/base/err.h"

#include <sqlite3.h>
#include <stdbool.h>
#include <stdint.h>

#define SQLITE_BOOT_ID_SIZE 64

enum statement {
    STMT_BEGIN_READ,
    STMT_BEGIN_WRITE,
    STMT_COMMIT,
    STMT_ROLLBACK,
    STMT_REVISION_GET,
    STMT_REVISION_SET,
    STMT_KEY_GET,
    STMT_KEY_LIST,
    STMT_KEY_PUT,
    STMT_KEY_DELETE,
    STMT_LEASE_KEYS,
    STMT_LEASE_EXPIRED,
    STMT_LEASE_GET,
    STMT_LEASE_PUT,
    STMT_LEASE_DELETE,
    STMT_LOG_ADD,
    STMT_LOG_TRIM,
    STMT_LOG_READ,
    STMT_NR
};

struct sqlite_db {
    char *path; /* owned */
    sqlite3 *handle;
    sqlite3_stmt *statements[STMT_NR];
    char boot_id[SQLITE_BOOT_ID_SIZE];
};

/* Prepares every statement of the enum. */
int sqlite_statements_prepare(struct sqlite_db *db, struct err *err) WARN_UNUSED;
void sqlite_statements_release(struct sqlite_db *db);

/* Resets the statement and its bindings; bind, then run. */
sqlite3_stmt *sqlite_statement_start(struct sqlite_db *db, enum statement which);
/* 'text' lives until the statement has run. */
void sqlite_bind_text(sqlite3_stmt *statement, int index, const char *text);
void sqlite_bind_int(sqlite3_stmt *statement, int index, int64_t value);
/* Steps a statement that yields at most one row that matters; that row's first column goes to
 * '*value'. Either pointer may be NULL. */
int sqlite_statement_run(struct sqlite_db *db,
                         enum statement which,
                         int64_t *value,
                         bool *is_row,
                         struct err *err) WARN_UNUSED;
/* start and run of a statement without parameters. */
int sqlite_statement_once(struct sqlite_db *db, enum statement which, struct err *err);
/* Leaves no transaction open, whatever SQLite has already undone by itself. */
void sqlite_rollback(struct sqlite_db *db);

/* The ERR_* of an SQLite result code; the text names the file, the hint the remedy. */
int sqlite_fail(const struct sqlite_db *db, int sqlite_code, const char *what, struct err *err);

#endif
