/* test_log_sink.c — lines as written, level, limits, a reader that does not read, rotation. */
#include "helper_loop.h"

#include "common/base/alloc.h"
#include "common/io/clock.h"
#include "common/io/log_sink.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static char text[512 * 1024];

static void emit(struct log_sink *sink,
                 enum log_level level,
                 const char *name,
                 const char *value,
                 int64_t now_ms)
{
    struct log_event event;
    log_event_init(&event, level, name);
    log_event_add(&event, "value", value);
    log_sink_write(sink, &event, now_ms);
    log_event_release(&event);
}

static int line_count(const char *part)
{
    int count = 0;
    for (const char *at = strstr(text, part); at != NULL; at = strstr(at + 1, part)) {
        count++;
    }
    return count;
}

/* "time level event pairs"; lower levels are left out; a rotated file is made anew. */
static void test_lines(void **state)
{
    (void)state;
    char *folder = folder_new();
    char *path = xasprintf("%s/log", folder);
    char *old = xasprintf("%s/log.1", folder);
    struct err err = {0};
    struct log_options options = {.path = path, .level = LOG_INFO};
    struct log_sink *sink = log_sink_new(&options, &err);
    assert_non_null(sink);
    emit(sink, LOG_DEBUG, "a.debug", "x", 0);
    emit(sink, LOG_INFO, "a.info", "two words", 0);
    log_sink_set_level(sink, LOG_DEBUG);
    emit(sink, LOG_DEBUG, "a.debug", "x", 0);
    file_text(path, text, sizeof(text));
    assert_int_equal(text[10], 'T');
    assert_string_equal(strchr(text, ' ') != NULL ? strstr(text, " info") : "",
                        strstr(text, " info  a.info value=\"two words\"\n"));
    assert_non_null(strstr(text, "Z debug a.debug value=x\n"));
    assert_int_equal(line_count("\n"), 2);
    assert_int_equal(rename(path, old), 0);
    assert_int_equal(log_sink_reopen(sink, &err), 0);
    emit(sink, LOG_ERROR, "b", "new", 0);
    file_text(path, text, sizeof(text));
    assert_int_equal(line_count("\n"), 1);
    struct stat info;
    assert_int_equal(stat(path, &info), 0);
    assert_int_equal(info.st_mode & 0137, 0);
    log_sink_free(sink);
    options.path = "/nonexistent/log";
    assert_null(log_sink_new(&options, &err));
    assert_int_equal(err.code, ERR_IO);
    assert_non_null(strstr(err.text, "/nonexistent/log"));
    folder_remove(folder);
    free(path);
    free(old);
}

/* One event name gets LOG_LINES_A_SECOND lines a second; the rest is counted on its next line or by
 * flush. Others are not touched. A long line is cut. */
static void test_limits(void **state)
{
    (void)state;
    char *folder = folder_new();
    char *path = xasprintf("%s/log", folder);
    struct err err = {0};
    struct log_options options = {.path = path, .level = LOG_DEBUG};
    struct log_sink *sink = log_sink_new(&options, &err);
    for (int i = 0; i < LOG_LINES_A_SECOND + 7; i++) {
        emit(sink, LOG_INFO, "flood", "x", 1000 + i);
        emit(sink, LOG_INFO, "other", "x", 1000 + i * 100);
    }
    file_text(path, text, sizeof(text));
    assert_int_equal(line_count(" flood "), LOG_LINES_A_SECOND);
    assert_int_equal(line_count(" other "), LOG_LINES_A_SECOND + 7);
    emit(sink, LOG_INFO, "flood", "x", 3000);
    file_text(path, text, sizeof(text));
    assert_non_null(strstr(text, "flood value=x suppressed=7\n"));
    for (int i = 0; i < LOG_LINES_A_SECOND + 2; i++) {
        emit(sink, LOG_INFO, "flood", "x", 5000);
    }
    log_sink_flush(sink, 5000);
    file_text(path, text, sizeof(text));
    assert_non_null(strstr(text, "log.suppressed event=flood suppressed=2\n"));
    struct log_event event;
    log_event_init(&event, LOG_INFO, "long");
    for (int i = 0; i < 10; i++) {
        char value[1024];
        memset(value, 'y', sizeof(value) - 1);
        value[sizeof(value) - 1] = '\0';
        log_event_add(&event, "v", value);
    }
    log_sink_write(sink, &event, 0);
    log_event_release(&event);
    file_text(path, text, sizeof(text));
    const char *line = strstr(text, " long ");
    assert_non_null(line);
    assert_string_equal(text + strlen(text) - 4, "...\n");
    assert_true(strlen(line) < LOG_LINE_SIZE_MAX);
    log_sink_free(sink);
    folder_remove(folder);
    free(path);
}

/* A full pipe does not hold the daemon; what was lost is told when there is room again. */
static void test_full_pipe(void **state)
{
    (void)state;
    char *folder = folder_new();
    char *path = xasprintf("%s/pipe", folder);
    assert_int_equal(mkfifo(path, 0600), 0);
    int reader = open(path, O_RDONLY | O_NONBLOCK);
    assert_true(reader >= 0);
    struct err err = {0};
    struct log_options options = {.path = path, .level = LOG_DEBUG};
    struct log_sink *sink = log_sink_new(&options, &err);
    char name[16];
    for (int i = 0; i < 20000; i++) {
        (void)snprintf(name, sizeof(name), "e%d", i % 400);
        emit(sink, LOG_INFO, name, "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
             1000 + (int64_t)i * 10);
    }
    ssize_t count = 0;
    while (read(reader, text, sizeof(text)) > 0) {
        count++;
    }
    assert_true(count > 0);
    log_sink_flush(sink, 300000);
    count = read(reader, text, sizeof(text) - 1);
    assert_true(count > 0);
    text[count] = '\0';
    assert_non_null(strstr(text, "log.dropped lines="));
    log_sink_free(sink);
    close(reader);
    folder_remove(folder);
    free(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_lines), cmocka_unit_test(test_limits),
                                       cmocka_unit_test(test_full_pipe)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
