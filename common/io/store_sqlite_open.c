/* store_sqlite_open.c — opening the SQLite store: file mode, foreign and newer files, damage,
 * schema.
 *
 * The only place that knows CREATE TABLE. */
#include "common/io/store_sqlite_db.h"

#include "common/base/alloc.h"
#include "common/base/check.h"
#include "common/io/store_sqlite_statement.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define APPLICATION_ID 0x64726f76 /* "drov": tells our file from any other SQLite file */
#define OPEN_BUSY_MS 2000         /* another process may be creating the tables or checkpointing */
#define WAL_BUSY_MS 20

static const char schema[] =
    "CREATE TABLE meta (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;"
    "INSERT INTO meta (name, value) VALUES ('revision', 1);"
    "CREATE TABLE kv (key TEXT PRIMARY KEY, value BLOB NOT NULL, create_revision INTEGER NOT NULL,"
    " mod_revision INTEGER NOT NULL, lease_id INTEGER NOT NULL) WITHOUT ROWID;"
    "CREATE INDEX kv_lease ON kv (lease_id) WHERE lease_id <> 0;"
    "CREATE TABLE lease (id INTEGER PRIMARY KEY, ttl_ms INTEGER NOT NULL, expires_boottime_ms "
    "INTEGER NOT NULL,"
    " boot_id TEXT NOT NULL);"
    "CREATE TABLE change (revision INTEGER NOT NULL, key TEXT NOT NULL, is_delete INTEGER NOT NULL,"
    " PRIMARY KEY (revision, key)) WITHOUT ROWID;";

static int create_file(const char *path, struct err *err);
static int prepare_file(struct sqlite_db *db, struct err *err);
static int create_schema(struct sqlite_db *db, struct err *err);
static int boot_id_read(char text[SQLITE_BOOT_ID_SIZE], struct err *err);

int sqlite_db_open(const char *path, struct sqlite_db **out, struct err *err)
{
    struct sqlite_db *db = xcalloc(1, sizeof(*db));
    db->path = xstrdup(path);
    int rc = boot_id_read(db->boot_id, err);
    if (rc != 0) {
        goto out;
    }
    rc = create_file(path, err);
    if (rc != 0) {
        goto out;
    }
    /* NOMUTEX: the handle moves between worker threads, but only one uses it at a time. */
    int code =
        sqlite3_open_v2(path, &db->handle, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, NULL);
    if (code != SQLITE_OK) {
        rc = sqlite_fail(db, code, "open", err);
        goto out;
    }
    rc = prepare_file(db, err);
    if (rc != 0) {
        goto out;
    }
    rc = sqlite_statements_prepare(db, err);
    if (rc != 0) {
        goto out;
    }
    *out = db;
    return 0;
out:
    sqlite_db_close(db);
    return rc;
}

void sqlite_db_close(struct sqlite_db *db)
{
    if (db == NULL) {
        return;
    }
    sqlite_statements_release(db);
    int code = sqlite3_close(db->handle);
    CHECK(code == SQLITE_OK);
    free(db->path);
    free(db);
}

/* Creates the file ourselves: SQLite would use 0644, and its -wal and -shm files copy the mode of
 * the main file. */
static int create_file(const char *path, struct err *err)
{
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, S_IRUSR | S_IWUSR);
    if (fd < 0) {
        int reason = errno;
        (void)err_set(err, ERR_IO, "store file %s: %s", path, strerror(reason));
        if (reason == ENOENT || reason == ENOTDIR) {
            err_hint(err, "create the directory first, owned by the user drover runs as");
        } else if (reason == EACCES || reason == EPERM) {
            err_hint(err,
                     "give the user drover runs as write access to the file and its directory");
        } else if (reason == EROFS) {
            err_hint(
                err,
                "the file system is read-only: remount it or choose another path with --store");
        } else if (reason == EISDIR) {
            err_hint(err, "name a file, e.g. sqlite://%s/drover.db", path);
        } else if (reason == ENOSPC || reason == EDQUOT) {
            err_hint(err, "free space on that file system");
        }
        return ERR_IO;
    }
    struct stat status;
    int rc = 0;
    if (fstat(fd, &status) != 0) {
        rc = err_set(err, ERR_IO, "store file %s: %s", path, strerror(errno));
    } else if (!S_ISREG(status.st_mode)) {
        rc = err_set(err, ERR_CONFIG, "store file %s is not a regular file", path);
    } else if ((status.st_mode & (S_IRWXG | S_IRWXO)) != 0 && fchmod(fd, S_IRUSR | S_IWUSR) != 0) {
        rc = err_set(err, ERR_IO,
                     "store file %s is open to other users and its mode cannot be changed: %s",
                     path, strerror(errno));
        err_hint(err, "chown it to the user drover runs as and chmod 600");
    }
    (void)close(fd);
    return rc;
}

static int pragma_int(struct sqlite_db *db, const char *sql, int64_t *value, struct err *err)
{
    sqlite3_stmt *statement = NULL;
    int code = sqlite3_prepare_v2(db->handle, sql, -1, &statement, NULL);
    if (code == SQLITE_OK) {
        code = sqlite3_step(statement);
        *value = code == SQLITE_ROW ? sqlite3_column_int64(statement, 0) : 0;
    }
    (void)sqlite3_finalize(statement);
    return code == SQLITE_ROW || code == SQLITE_DONE ? 0 : sqlite_fail(db, code, "read", err);
}

static int prepare_file(struct sqlite_db *db, struct err *err)
{
    (void)sqlite3_extended_result_codes(db->handle, 1);
    (void)sqlite3_busy_timeout(db->handle, OPEN_BUSY_MS);
    int64_t application = 0;
    int64_t version = 0;
    int64_t tables = 0;
    /* In this order: whoever makes the file at the same time commits tables and application id
     * together, so an id that is read after the tables belongs to them. */
    int rc = pragma_int(db, "SELECT count(*) FROM sqlite_schema", &tables, err);
    rc = rc != 0 ? rc : pragma_int(db, "PRAGMA application_id", &application, err);
    rc = rc != 0 ? rc : pragma_int(db, "PRAGMA user_version", &version, err);
    if (rc != 0) {
        return rc;
    }
    if (tables > 0 && application != APPLICATION_ID) {
        (void)err_set(err, ERR_CONFIG, "store file %s is the SQLite file of another program",
                      db->path);
        err_hint(err, "name another file with --store");
        return ERR_CONFIG;
    }
    if (version > SQLITE_SCHEMA_VERSION) {
        (void)err_set(err, ERR_VERSION,
                      "store file %s has schema %lld; this program knows up to %d", db->path,
                      (long long)version, SQLITE_SCHEMA_VERSION);
        err_hint(err, "it was written by a newer drover: upgrade this one");
        return ERR_VERSION;
    }
    static const char settings[] =
        "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA temp_store = MEMORY;"
        "PRAGMA journal_size_limit = 16777216; PRAGMA cell_size_check = ON; PRAGMA trusted_schema "
        "= OFF;";
    int code = sqlite3_exec(db->handle, settings, NULL, NULL, NULL);
    /* SQLite's own busy timeout does not cover a change of the journal mode. */
    for (int waited_ms = 0; (code & 0xff) == SQLITE_BUSY && waited_ms < OPEN_BUSY_MS;
         waited_ms += WAL_BUSY_MS) {
        (void)sqlite3_sleep(WAL_BUSY_MS);
        code = sqlite3_exec(db->handle, settings, NULL, NULL, NULL);
    }
    if (code != SQLITE_OK) {
        return sqlite_fail(db, code, "switch to WAL", err);
    }
    int64_t problems = 0;
    /* No argument: newer SQLite takes the 1 of pragma_quick_check(1) for the name of a table. */
    rc = pragma_int(db, "SELECT count(*) FROM pragma_quick_check WHERE quick_check <> 'ok'",
                    &problems, err);
    if (rc != 0) {
        return rc;
    }
    return problems > 0 ? sqlite_fail(db, SQLITE_CORRUPT, "check", err) : create_schema(db, err);
}

/* Two processes may meet here: the second one finds the tables made. */
static int create_schema(struct sqlite_db *db, struct err *err)
{
    int code = sqlite3_exec(db->handle, "BEGIN IMMEDIATE", NULL, NULL, NULL);
    if (code != SQLITE_OK) {
        return sqlite_fail(db, code, "lock", err);
    }
    int64_t tables = 0;
    int rc = pragma_int(db, "SELECT count(*) FROM sqlite_schema", &tables, err);
    if (rc == 0 && tables == 0) {
        char *numbers = xasprintf("PRAGMA application_id = %d; PRAGMA user_version = %d",
                                  APPLICATION_ID, SQLITE_SCHEMA_VERSION);
        code = sqlite3_exec(db->handle, schema, NULL, NULL, NULL);
        code = code != SQLITE_OK ? code : sqlite3_exec(db->handle, numbers, NULL, NULL, NULL);
        free(numbers);
        rc = code != SQLITE_OK ? sqlite_fail(db, code, "create tables", err) : 0;
    }
    if (rc != 0) {
        (void)sqlite3_exec(db->handle, "ROLLBACK", NULL, NULL, NULL);
        return rc;
    }
    code = sqlite3_exec(db->handle, "COMMIT", NULL, NULL, NULL);
    return code != SQLITE_OK ? sqlite_fail(db, code, "create tables", err) : 0;
}

static int boot_id_read(char text[SQLITE_BOOT_ID_SIZE], struct err *err)
{
    static const char path[] = "/proc/sys/kernel/random/boot_id";
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t len = fd < 0 ? -1 : read(fd, text, SQLITE_BOOT_ID_SIZE - 1);
    if (fd >= 0) {
        (void)close(fd);
    }
    if (len <= 0) {
        (void)err_set(err, ERR_IO, "cannot read %s, which tells leases of before a reboot", path);
        err_hint(err, "mount /proc");
        return ERR_IO;
    }
    text[len] = '\0';
    text[strcspn(text, "\n")] = '\0';
    return 0;
}
