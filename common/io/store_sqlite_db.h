/* store_sqlite_db.h — the SQLite file: schema, transactions, leases, change log. Private to
 * store_sqlite*.c.
 *
 * Every function but open blocks and runs on a worker thread, one at a time; nothing here knows the
 * loop. */
#ifndef DROVER_IO_STORE_SQLITE_DB_H
#define DROVER_IO_STORE_SQLITE_DB_H

#include "common/io/store_view.h"
#include "common/model/store_op.h"

#include <stdbool.h>
#include <stdint.h>

#define SQLITE_SCHEMA_VERSION 1
/* Revisions whose changes are remembered. A watch polls several times a second: only one that stood
 * still for ten thousand changes has to relist. */
#define SQLITE_LOG_REVISIONS 10000

struct sqlite_db;

/* Opens or creates 'path' with mode 0600; waits up to two seconds for another process's lock. */
int sqlite_db_open(const char *path, struct sqlite_db **out, struct err *err) WARN_UNUSED;
void sqlite_db_close(struct sqlite_db *db);

/* Executes one request; waits for other processes' locks until 'deadline_ms' on store_now_ms().
 * result->req_id is kept. */
void sqlite_db_execute(struct sqlite_db *db,
                       const struct store_request *request,
                       int64_t deadline_ms,
                       struct store_result *result);

/* What is new under 'prefix' after 'after_revision'. */
struct sqlite_news {
    int64_t revision; /* news up to here; 0 after a failure */
    bool is_list;     /* 'list' holds every key because the log does not reach back far enough */
    struct store_change_list
        changes; /* in order; folded: only the last change of a key has a value */
    struct store_result list;
};

/* Ends expired leases, of every process, so that a watch sees it; cheap when there are none. */
void sqlite_db_expire(struct sqlite_db *db);
/* The store's revision without waiting for anybody; 0 after a failure. */
int64_t sqlite_db_revision(struct sqlite_db *db);
/* 'after_revision' 0 asks for the list. */
void sqlite_db_news(struct sqlite_db *db,
                    const char *prefix,
                    int64_t after_revision,
                    struct sqlite_news *news);
void sqlite_news_release(struct sqlite_news *news);

#endif
