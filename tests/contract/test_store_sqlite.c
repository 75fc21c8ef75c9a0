/* test_store_sqlite.c — the store contract on SQLite, and what only SQLite can get wrong. */
#include "helper_store_suite.h"

#include "common/base/alloc.h"
#include "common/base/check.h"
#include "common/io/store_backend.h"
#include "common/io/store_sqlite_db.h"

#include <setjmp.h>
#include <sqlite3.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

struct sqlite_env {
    struct suite_loop loop; /* first */
    char *dir;
};

static struct sqlite_env env;
static struct suite_backend backend;

static struct store *open_file(const char *path)
{
    char *url = xasprintf("sqlite://%s", path);
    struct store *store = NULL;
    struct err err = {0};
    if (store_open(url, NULL, &env.loop.loop, &store, &err) != 0) {
        fail_msg("%s", err.text);
    }
    free(url);
    return store;
}

static void *env_open(void *user, int store_index)
{
    struct sqlite_env *own = user;
    char *path = xasprintf("%s/%d.db", own->dir, store_index);
    struct store *store = open_file(path);
    free(path);
    return store;
}

static int open_fails(const char *path, struct err *err)
{
    char *url = xasprintf("sqlite://%s", path);
    struct store *store = NULL;
    int rc = store_open(url, NULL, &env.loop.loop, &store, err);
    assert_int_not_equal(rc, 0);
    assert_null(store);
    assert_int_equal(err->code, rc);
    assert_true(err->hint[0] != '\0');
    free(url);
    return rc;
}

static char *file_path(const char *name)
{
    return xasprintf("%s/%s", env.dir, name);
}

static void file_sql(const char *path, const char *sql)
{
    sqlite3 *handle = NULL;
    assert_int_equal(sqlite3_open(path, &handle), SQLITE_OK);
    char *message = NULL;
    if (sqlite3_exec(handle, sql, NULL, NULL, &message) != SQLITE_OK) {
        fail_msg("%s", message);
    }
    assert_int_equal(sqlite3_close(handle), SQLITE_OK);
}

/* The file and its companions are for our user only, also when they were open before. */
static void test_file_mode(void **state)
{
    (void)state;
    char *path = file_path("mode.db");
    char *wal = file_path("mode.db-wal");
    struct store *store = open_file(path);
    (void)suite_put(&backend, store, "k", "v", 0);
    struct stat status;
    assert_int_equal(stat(path, &status), 0);
    assert_int_equal(status.st_mode & 0777, 0600);
    assert_int_equal(stat(wal, &status), 0);
    assert_int_equal(status.st_mode & 0777, 0600);
    backend.close(store);
    assert_int_equal(chmod(path, 0644), 0);
    backend.close(open_file(path));
    assert_int_equal(stat(path, &status), 0);
    assert_int_equal(status.st_mode & 0777, 0600);
    free(wal);
    free(path);
}

/* Every refusal to open names the path and says what to do. */
static void test_open_errors(void **state)
{
    (void)state;
    struct err err = {0};
    char *path = file_path("no/such/dir.db");
    assert_int_equal(open_fails(path, &err), ERR_IO);
    assert_non_null(strstr(err.text, path));
    free(path);

    assert_int_equal(open_fails(env.dir, &err), ERR_IO); /* a directory */
    assert_int_equal(open_fails("", &err), ERR_CONFIG);
    assert_int_equal(open_fails("relative.db", &err), ERR_CONFIG);

    path = file_path("text.db");
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    for (int i = 0; i < 1000; i++) {
        (void)fputs("this is no database\n", file);
    }
    assert_int_equal(fclose(file), 0);
    assert_int_equal(open_fails(path, &err), ERR_IO);
    assert_non_null(strstr(err.text, path));
    free(path);

    path = file_path("foreign.db");
    file_sql(path, "CREATE TABLE a (b)");
    assert_int_equal(open_fails(path, &err), ERR_CONFIG);
    free(path);

    path = file_path("newer.db");
    backend.close(open_file(path));
    file_sql(path, "PRAGMA user_version = 99");
    assert_int_equal(open_fails(path, &err), ERR_VERSION);
    free(path);
}

/* A damaged page is found when opening. */
static void test_damaged_file(void **state)
{
    (void)state;
    char *path = file_path("damaged.db");
    struct store *store = open_file(path);
    for (int i = 0; i < 200; i++) {
        char key[32];
        (void)snprintf(key, sizeof(key), "key/%d", i);
        (void)suite_put(&backend, store, key, "0123456789012345678901234567890123456789", 0);
    }
    backend.close(store);
    FILE *file = fopen(path, "r+");
    assert_non_null(file);
    for (long page = 1; page < 6; page++) {
        assert_int_equal(fseek(file, page * 4096, SEEK_SET), 0);
        for (int i = 0; i < 512; i++) {
            (void)fputc(0xee, file);
        }
    }
    assert_int_equal(fclose(file), 0);
    struct err err = {0};
    assert_int_equal(open_fails(path, &err), ERR_IO);
    assert_non_null(strstr(err.text, "damaged"));
    free(path);
}

/* This program once more, in another part. Threads of the pool are there by now, so that a child
 * that only forks might wait for ever for a lock that one of them held. */
static pid_t run_as(const char *part, const char *path, const char *more)
{
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        (void)execl("/proc/self/exe", "test_store_sqlite", part, path, more, (char *)NULL);
        _exit(127);
    }
    return child;
}

/* Writes "k", says so and waits to be killed. */
static int write_and_wait(const char *path, int ready)
{
    struct sqlite_db *db = NULL;
    struct store_result result = {0};
    struct store_request request = {.kind = STORE_TXN, .timeout_ms = 5000};
    strbuf_add_text(&store_request_add_put(&request, "k", 0)->value, "v");
    if (sqlite_db_open(path, &db, NULL) == 0) {
        sqlite_db_execute(db, &request, store_now_ms() + 5000, &result);
    }
    (void)!write(ready, result.succeeded ? "y" : "n", 1);
    (void)pause();
    return 1;
}

/* What was answered is in the file, also when the process dies at once. */
static void test_survives_kill(void **state)
{
    (void)state;
    char *path = file_path("kill.db");
    int ready[2];
    char number[16];
    assert_int_equal(pipe(ready), 0);
    (void)snprintf(number, sizeof(number), "%d", ready[1]);
    pid_t child = run_as("write-and-wait", path, number);
    char answer = 0;
    assert_int_equal(read(ready[0], &answer, 1), 1);
    assert_int_equal(answer, 'y');
    assert_int_equal(kill(child, SIGKILL), 0);
    assert_int_equal(waitpid(child, NULL, 0), child);
    (void)close(ready[0]);
    (void)close(ready[1]);
    struct store *store = open_file(path);
    struct store_result result = suite_get(&backend, store, "k", false);
    assert_int_equal(result.kv_count, 1);
    store_result_release(&result);
    backend.close(store);
    free(path);
}

/* While another process holds the write lock, writes end as certainly not done, reads go on. */
static void test_locked(void **state)
{
    (void)state;
    char *path = file_path("locked.db");
    struct store *store = open_file(path);
    (void)suite_put(&backend, store, "before", "1", 0);
    sqlite3 *other = NULL;
    assert_int_equal(sqlite3_open(path, &other), SQLITE_OK);
    assert_int_equal(sqlite3_exec(other, "BEGIN IMMEDIATE", NULL, NULL, NULL), SQLITE_OK);
    struct store_request request = {.kind = STORE_TXN, .timeout_ms = 300};
    strbuf_add_text(&store_request_add_put(&request, "k", 0)->value, "v");
    struct store_result result = suite_ask(&backend, store, &request);
    assert_int_equal(result.code, ERR_UNAVAILABLE);
    assert_non_null(strstr(result.err.text, path));
    store_result_release(&result);
    result = suite_get(&backend, store, "before", false);
    assert_int_equal(result.kv_count, 1);
    store_result_release(&result);
    assert_int_equal(sqlite3_exec(other, "ROLLBACK", NULL, NULL, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_close(other), SQLITE_OK);
    result = suite_get(&backend, store, "k", false);
    assert_int_equal(result.kv_count, 0);
    store_result_release(&result);
    (void)suite_put(&backend, store, "k", "v", 0);
    backend.close(store);
    free(path);
}

/* A lease of before a reboot has ended, whatever its clock says. */
static void test_reboot_ends_leases(void **state)
{
    (void)state;
    char *path = file_path("reboot.db");
    struct store *store = open_file(path);
    int64_t id = suite_lease_id();
    struct store_result result = suite_lease(&backend, store, STORE_LEASE_GRANT, id, 3600000);
    store_result_release(&result);
    int64_t put = suite_put(&backend, store, "leader", "a", id);
    backend.close(store);
    file_sql(path, "UPDATE lease SET boot_id = 'an earlier boot'");
    store = open_file(path);
    result = suite_get(&backend, store, "leader", false);
    assert_int_equal(result.kv_count, 0);
    assert_true(result.revision > put);
    store_result_release(&result);
    backend.close(store);
    free(path);
}

/* A watch that stood still for longer than the log reaches gets a snapshot. */
static void test_log_trimmed(void **state)
{
    (void)state;
    char *path = file_path("trim.db");
    struct store *store = open_file(path);
    int64_t revision = suite_put(&backend, store, "gone", "1", 0);
    (void)suite_put(&backend, store, "kept", "1", 0);
    backend.close(store);
    file_sql(path,
             "UPDATE meta SET value = value + 20000 WHERE name = 'revision'; DELETE FROM kv WHERE "
             "key = 'gone'");
    store = open_file(path);
    struct suite_watch watch;
    suite_watch_begin(&backend, store, &watch, "", revision + 1);
    suite_watch_wait(&backend, &watch, "kept", "1");
    assert_int_equal(watch.snapshot_count, 1);
    assert_int_equal(watch.count, 1);
    /* From now on the watch knows all keys: a second gap is told as differences. */
    file_sql(path,
             "UPDATE meta SET value = value + 20000 WHERE name = 'revision'; DELETE FROM kv WHERE "
             "key = 'kept'");
    suite_watch_wait(&backend, &watch, "kept", NULL);
    assert_int_equal(watch.snapshot_count, 1);
    suite_watch_end(&backend, &watch);
    backend.close(store);
    free(path);
}

/* A full disk is a limit with nothing written, and the store works again when there is room. */
static void test_disk_full(void **state)
{
    (void)state;
    char *dir = file_path("small");
    assert_int_equal(mkdir(dir, 0700), 0);
    if (mount("tmpfs", dir, "tmpfs", 0, "size=512k") != 0) {
        print_message("no right to mount a small tmpfs: the full disk is not tested\n");
        free(dir);
        skip();
    }
    char *path = xasprintf("%s/full.db", dir);
    struct store *store = open_file(path);
    int code = 0;
    struct err err = {0};
    char key[32] = "";
    for (int i = 0; code == 0 && i < 200; i++) {
        (void)snprintf(key, sizeof(key), "fill/%d", i);
        struct store_request request = {.kind = STORE_TXN};
        struct strbuf *value = &store_request_add_put(&request, key, 0)->value;
        strbuf_reserve(value, 16384);
        for (int j = 0; j < 16384; j++) {
            strbuf_add_char(value, 'x');
        }
        struct store_result result = suite_ask(&backend, store, &request);
        code = result.code;
        err = result.err;
        store_result_release(&result);
    }
    assert_int_equal(code, ERR_LIMIT);
    assert_non_null(strstr(err.text, path));
    struct store_result result = suite_get(&backend, store, key, false);
    assert_int_equal(result.kv_count, 0);
    store_result_release(&result);
    assert_int_equal(mount("tmpfs", dir, "tmpfs", MS_REMOUNT, "size=4m"), 0);
    (void)suite_put(&backend, store, key, "v", 0);
    backend.close(store);
    assert_int_equal(umount(dir), 0);
    free(path);
    free(dir);
}

enum { PROCESSES = 4, INCREMENTS = 25 };

/* Increments "counter" under a MOD compare until it has done so INCREMENTS times; returns 0 when
 * all went well. */
static int increment_in_child(const char *path)
{
    struct sqlite_db *db = NULL;
    struct err err = {0};
    if (sqlite_db_open(path, &db, &err) != 0) {
        print_error("a child cannot open the file: %s\n", err.text);
        return 1;
    }
    for (int done = 0; done < INCREMENTS;) {
        struct store_request read = {
            .kind = STORE_RANGE, .key = xstrdup("counter"), .timeout_ms = 20000};
        struct store_request write = {.kind = STORE_TXN, .timeout_ms = 20000};
        struct store_result found = {0};
        struct store_result written = {0};
        sqlite_db_execute(db, &read, store_now_ms() + 20000, &found);
        long value = found.kv_count == 0 ? 0 : strtol(strbuf_text(&found.kvs[0].value), NULL, 10);
        store_request_add_compare(&write, "counter", STORE_MOD_REVISION,
                                  found.kv_count == 0 ? 0 : found.kvs[0].mod_revision);
        strbuf_addf(&store_request_add_put(&write, "counter", 0)->value, "%ld", value + 1);
        sqlite_db_execute(db, &write, store_now_ms() + 20000, &written);
        int code = found.code != 0 ? found.code : written.code;
        done += written.succeeded ? 1 : 0;
        store_request_release(&read);
        store_request_release(&write);
        store_result_release(&found);
        store_result_release(&written);
        if (code != 0) {
            return 2;
        }
    }
    sqlite_db_close(db);
    return 0;
}

/* Processes that write the same file at once, creating it too: no guarded write is lost or done on
 * a stale read, and a watch in yet another process sees the last one. */
static void test_processes(void **state)
{
    (void)state;
    char *path = file_path("shared.db");
    pid_t children[PROCESSES];
    for (int i = 0; i < PROCESSES; i++) {
        children[i] = run_as("increment", path, NULL);
    }
    struct store *store = open_file(path);
    struct suite_watch watch;
    suite_watch_begin(&backend, store, &watch, "", 0);
    char last[16];
    (void)snprintf(last, sizeof(last), "%d", PROCESSES * INCREMENTS);
    for (int i = 0; i < PROCESSES; i++) { /* however long a busy disk makes them */
        int status = 0;
        assert_int_equal(waitpid(children[i], &status, 0), children[i]);
        assert_int_equal(status, 0);
    }
    suite_watch_wait(&backend, &watch, "counter", last);
    suite_assert_value(&backend, store, "counter", last);
    suite_watch_end(&backend, &watch);
    backend.close(store);
    free(path);
}

/* Keeps the pool's threads busy. It must outlive them: the loop hears of each end later. */
struct pool_jam {
    uv_sem_t gate;
    int blocked;
};

static void pool_block(uv_work_t *work)
{
    struct pool_jam *jam = work->data;
    uv_sem_wait(&jam->gate);
}

static void pool_unblocked(uv_work_t *work, int status)
{
    struct pool_jam *jam = work->data;
    (void)status;
    jam->blocked--;
}

/* The worker hangs (a disk that does not answer): the loop answers in time that the outcome is
 * unknown, what has not been begun is certainly not done, and closing waits for the worker. */
static void test_worker_hangs(void **state)
{
    (void)state;
    enum { POOL = 4 }; /* libuv's default number of threads */
    uv_work_t works[POOL];
    struct pool_jam jam = {.blocked = POOL};
    assert_int_equal(uv_sem_init(&jam.gate, 0), 0);
    char *path = file_path("hang.db");
    struct store *store = open_file(path);
    for (int i = 0; i < POOL; i++) {
        works[i].data = &jam;
        assert_int_equal(uv_queue_work(&env.loop.loop, &works[i], pool_block, pool_unblocked), 0);
    }
    struct suite_answer answers[2] = {{0}, {0}};
    for (int i = 0; i < 2; i++) {
        struct store_request request = {.kind = STORE_TXN, .timeout_ms = 200};
        suite_request_put(&request, i == 0 ? "running" : "queued", "x", 0);
        backend.submit(store, &request, suite_answer_done, &answers[i]);
    }
    int64_t start_ms = store_now_ms();
    while (!answers[0].is_done || !answers[1].is_done) {
        assert_true(store_now_ms() - start_ms < SUITE_ANSWER_MS_MAX);
        backend.turn(&env, 100);
    }
    assert_true(store_now_ms() - start_ms < 2000);
    assert_int_equal(answers[0].result.code, ERR_TIMEOUT);
    assert_int_equal(answers[1].result.code, ERR_UNAVAILABLE);
    for (int i = 0; i < POOL; i++) {
        uv_sem_post(&jam.gate);
    }
    while (jam.blocked > 0) {
        backend.turn(&env, 100);
    }
    struct store_result result = suite_get(&backend, store, "queued", false);
    assert_int_equal(result.kv_count, 0);
    store_result_release(&result);
    backend.close(store);
    uv_sem_destroy(&jam.gate);
    free(path);
}

int main(int argc, char **argv)
{
    if (argc > 2 && strcmp(argv[1], "increment") == 0) {
        return increment_in_child(argv[2]);
    }
    if (argc > 3 && strcmp(argv[1], "write-and-wait") == 0) {
        return write_and_wait(argv[2], atoi(argv[3]));
    }
    suite_loop_init(&env.loop);
    env.dir = suite_temp_dir();
    backend = (struct suite_backend){.name = "store contract: sqlite",
                                     .open = env_open,
                                     .lease_ttl_ms = 1000,
                                     .expiry_slack_ms = 2000};
    suite_backend_real(&backend, &env.loop);
    int failed = suite_run(&backend);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_file_mode),    cmocka_unit_test(test_open_errors),
        cmocka_unit_test(test_damaged_file), cmocka_unit_test(test_survives_kill),
        cmocka_unit_test(test_locked),       cmocka_unit_test(test_reboot_ends_leases),
        cmocka_unit_test(test_log_trimmed),  cmocka_unit_test(test_disk_full),
        cmocka_unit_test(test_worker_hangs), cmocka_unit_test(test_processes),
    };
    failed += cmocka_run_group_tests_name("sqlite only", tests, NULL, NULL);
    suite_loop_release(&env.loop);
    suite_remove_dir(env.dir);
    free(env.dir);
    return failed == 0 ? 0 : 1;
}
