/* test_file_state.c — write, replace, read, secrets, locks; mode and leftovers. */
#include "helper_loop.h"

#include "common/base/alloc.h"
#include "common/io/file_state.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static void test_write_read(void **state)
{
    (void)state;
    char *folder = folder_new();
    char *path = xasprintf("%s/fence", folder);
    char *draft = xasprintf("%s/fence.new", folder);
    struct strbuf out = {0};
    struct err err = {0};
    assert_int_equal(file_state_read(path, 100, &out, &err), ERR_NOT_FOUND);
    FILE *left = fopen(draft, "w"); /* a draft left by a crash, readable by all */
    assert_non_null(left);
    (void)fclose(left);
    assert_int_equal(chmod(draft, 0666), 0);
    assert_int_equal(file_state_write(path, "one\0two", 7, &err), 0);
    assert_int_equal(file_state_read(path, 7, &out, &err), 0);
    assert_int_equal(out.len, 7);
    assert_memory_equal(out.data, "one\0two", 7);
    struct stat info;
    assert_int_equal(stat(path, &info), 0);
    assert_int_equal(info.st_mode & 0777, 0600);
    assert_int_equal(access(draft, F_OK), -1);
    assert_int_equal(file_state_write(path, "", 0, &err), 0);
    assert_int_equal(file_state_read(path, 0, &out, &err), 0);
    assert_int_equal(out.len, 0);
    assert_int_equal(file_state_write(path, "12345", 5, &err), 0);
    strbuf_add_text(&out, "kept");
    assert_int_equal(file_state_read(path, 4, &out, &err), ERR_LIMIT);
    assert_string_equal(strbuf_text(&out), "kept");
    assert_int_equal(file_state_read(folder, 4, &out, &err), ERR_IO);
    assert_int_equal(file_state_write("/nonexistent/file", "x", 1, &err), ERR_IO);
    assert_non_null(strstr(err.text, "/nonexistent/file"));
    strbuf_release(&out);
    folder_remove(folder);
    free(path);
    free(draft);
}

/* A secret that others may read is refused; the newline that editors add is cut. */
static void test_secret(void **state)
{
    (void)state;
    char *folder = folder_new();
    char *path = xasprintf("%s/password", folder);
    struct strbuf out = {0};
    struct err err = {0};
    assert_int_equal(file_state_write(path, "s3cret\n", 7, &err), 0);
    assert_int_equal(file_state_read_secret(path, 100, &out, &err), 0);
    assert_string_equal(strbuf_text(&out), "s3cret");
    assert_int_equal(chmod(path, 0640), 0);
    assert_int_equal(file_state_read_secret(path, 100, &out, &err), ERR_CONFIG);
    assert_non_null(strstr(err.text, "640"));
    assert_non_null(strstr(err.hint, "chmod 600"));
    assert_null(strstr(err.text, "s3cret"));
    strbuf_release(&out);
    folder_remove(folder);
    free(path);
}

/* One process holds a lock; it goes with the process or by unlock. */
static void test_lock(void **state)
{
    (void)state;
    char *folder = folder_new();
    char *path = xasprintf("%s/lock", folder);
    struct err err = {0};
    int first = file_state_lock(path, &err);
    assert_true(first >= 0);
    pid_t pid = fork();
    if (pid == 0) {
        _exit(file_state_lock(path, NULL) == ERR_EXISTS ? 0 : 1);
    }
    int status = -1;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    assert_int_equal(file_state_lock(path, &err), ERR_EXISTS);
    assert_non_null(strstr(err.text, path));
    file_state_unlock(first);
    int second = file_state_lock(path, &err);
    assert_true(second >= 0);
    file_state_unlock(second);
    char *sub = xasprintf("%s/sub", folder);
    assert_int_equal(file_state_make_folder(sub, &err), 0);
    assert_int_equal(file_state_make_folder(sub, &err), 0);
    assert_int_equal(rmdir(sub), 0);
    assert_int_equal(file_state_make_folder(path, &err), ERR_IO);
    folder_remove(folder);
    free(path);
    free(sub);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_write_read),
                                       cmocka_unit_test(test_secret), cmocka_unit_test(test_lock)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
