/* test_process.c — programs run to their end and launched to live on: what they get from us, what
 * we hear of them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "common/io/clock.h"
#include "common/io/file_state.h"
#include "common/io/process.h"

#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define WAIT_MS_MAX 20000

static struct loop *loop;
static char folder[64];
static bool has_ended;
static struct err end_err;
static struct strbuf output;
static struct strbuf lines;

static int set_up(void **state)
{
    (void)state;
    struct err err;
    loop = loop_new(&err);
    (void)snprintf(folder, sizeof(folder), "/tmp/drover-process-XXXXXX");
    return loop == NULL || mkdtemp(folder) == NULL;
}

static int tear_down(void **state)
{
    (void)state;
    char path[128];
    (void)snprintf(path, sizeof(path), "%s/out", folder);
    (void)unlink(path);
    (void)rmdir(folder);
    strbuf_release(&output);
    strbuf_release(&lines);
    loop_free(loop);
    return 0;
}

static void on_line(void *user, const char *line, size_t len)
{
    (void)user;
    strbuf_add_char(&lines, '[');
    strbuf_add(&lines, line, len);
    strbuf_add_char(&lines, ']');
}

static void on_end(void *user, const struct err *err, const char *text)
{
    (void)user;
    assert_false(has_ended);
    has_ended = true;
    end_err = *err;
    strbuf_add_text(&output, text);
}

static struct process *begin(const char *script, const char *input, int64_t timeout_ms)
{
    const char *argv[] = {"sh", "-c", script, NULL};
    struct process_spec spec = {.argv = argv,
                                .input = input,
                                .input_size = strlen(input),
                                .timeout_ms = timeout_ms,
                                .on_line = on_line,
                                .on_end = on_end};
    struct err err;
    has_ended = false;
    strbuf_clear(&output);
    strbuf_clear(&lines);
    struct process *process = process_run(loop, &spec, &err);
    assert_non_null(process);
    assert_false(has_ended);
    return process;
}

static void run(const char *script, const char *input, int64_t timeout_ms)
{
    (void)begin(script, input, timeout_ms);
    int64_t give_up_ms = clock_now_ms() + WAIT_MS_MAX;
    while (!has_ended) {
        assert_true(clock_now_ms() < give_up_ms);
        loop_turn(loop, 50);
    }
}

static void talks(void **state)
{
    (void)state;
    run("read word; echo \"got $word\"; echo oops >&2; printf 'no end'", "hello\n", 10000);
    assert_int_equal(end_err.code, 0);
    assert_string_equal(strbuf_text(&lines), "[got hello][no end]");
    assert_non_null(strstr(strbuf_text(&output), "oops"));
    /* A program that reads nothing of a large input. */
    char *large = calloc(1, 300001);
    memset(large, 'x', 300000);
    run("exit 0", large, 10000);
    assert_int_equal(end_err.code, 0);
    free(large);
}

static void tells_failures(void **state)
{
    (void)state;
    run("echo first; echo last words >&2; exit 3", "", 10000);
    assert_int_equal(end_err.code, ERR_UNAVAILABLE);
    assert_non_null(strstr(end_err.text, "exit code 3"));
    assert_non_null(strstr(end_err.text, "last words"));
    run("kill -9 $$", "", 10000);
    assert_int_equal(end_err.code, ERR_UNAVAILABLE);
    assert_non_null(strstr(end_err.text, "signal 9"));
    run("yes", "", 10000);
    assert_int_equal(end_err.code, ERR_LIMIT);
    const char *argv[] = {"/there/is/no/such/program", NULL};
    struct process_spec spec = {.argv = argv, .timeout_ms = 1, .on_end = on_end};
    struct err err;
    has_ended = false;
    assert_null(process_run(loop, &spec, &err));
    assert_int_equal(err.code, ERR_NOT_FOUND);
    loop_turn(loop, 0);
    assert_false(has_ended);
}

/* Too slow: it is killed with all it started, though a child of its holds the output open. */
static void kills_the_slow(void **state)
{
    (void)state;
    char pid[32];
    run("sleep 1000 & echo $!; wait", "", 300);
    assert_int_equal(end_err.code, ERR_TIMEOUT);
    (void)snprintf(pid, sizeof(pid), "%s", strbuf_text(&lines) + 1);
    pid_t child = (pid_t)strtol(pid, NULL, 10);
    assert_true(child > 1);
    int64_t give_up_ms = clock_now_ms() + WAIT_MS_MAX;
    char path[64];
    char text[512] = "Z";
    (void)snprintf(path, sizeof(path), "/proc/%d/stat", (int)child);
    for (bool is_alive = true; is_alive; (void)poll(NULL, 0, 10)) {
        FILE *file = fopen(path, "re");
        is_alive = file != NULL && fgets(text, sizeof(text), file) != NULL &&
                   strstr(text, ") Z ") == NULL; /* a zombie is dead, only not collected */
        if (file != NULL) {
            (void)fclose(file);
        }
        assert_true(clock_now_ms() < give_up_ms);
    }
}

static void cancels(void **state)
{
    (void)state;
    process_cancel(begin("sleep 1000", "", 600000));
    for (int i = 0; i < 5; i++) {
        loop_turn(loop, 20);
    }
    assert_false(has_ended);
    process_cancel(NULL);
}

/* What a launched program finds: our PATH, none of our settings, its folder, no input. */
static void launches(void **state)
{
    (void)state;
    char path[128];
    struct strbuf text = {0};
    struct err err;
    int64_t pid = 0;
    (void)snprintf(path, sizeof(path), "%s/out", folder);
    (void)setenv("DROVER_REDIS_PASSWORD", "secret", 1);
    const char *argv[] = {"sh", "-c", "env; pwd; read x || echo no input; umask; echo over", NULL};
    assert_int_equal(process_launch(argv, folder, path, &pid, &err), 0);
    assert_true(pid > 1);
    int64_t give_up_ms = clock_now_ms() + WAIT_MS_MAX;
    while (strstr(strbuf_text(&text), "over\n") == NULL) {
        assert_int_equal(file_state_read(path, 65536, &text, &err), 0);
        assert_true(clock_now_ms() < give_up_ms);
        (void)poll(NULL, 0, 10);
    }
    (void)unsetenv("DROVER_REDIS_PASSWORD");
    assert_non_null(strstr(strbuf_text(&text), "PATH="));
    assert_null(strstr(strbuf_text(&text), "DROVER_"));
    assert_non_null(strstr(strbuf_text(&text), folder));
    assert_non_null(strstr(strbuf_text(&text), "no input"));
    assert_non_null(strstr(strbuf_text(&text), "0077"));
    strbuf_release(&text);
}

static void launch_failures(void **state)
{
    (void)state;
    char path[128];
    struct err err;
    int64_t pid = 0;
    (void)snprintf(path, sizeof(path), "%s/out", folder);
    const char *none[] = {"there-is-no-such-program", NULL};
    assert_int_equal(process_launch(none, folder, path, &pid, &err), ERR_NOT_FOUND);
    const char *nowhere[] = {"/there/is/none", NULL};
    assert_int_equal(process_launch(nowhere, folder, path, &pid, &err), ERR_NOT_FOUND);
    const char *no_program[] = {"/etc/passwd", NULL};
    assert_int_equal(process_launch(no_program, folder, path, &pid, &err), ERR_IO);
    const char *good[] = {"true", NULL};
    assert_int_equal(process_launch(good, "/there/is/no/folder", path, &pid, &err), ERR_NOT_FOUND);
    assert_int_equal(process_launch(good, folder, "/there/is/no/file", &pid, &err), ERR_NOT_FOUND);
    assert_int_equal(pid, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(talks, set_up, tear_down),
        cmocka_unit_test_setup_teardown(tells_failures, set_up, tear_down),
        cmocka_unit_test_setup_teardown(kills_the_slow, set_up, tear_down),
        cmocka_unit_test_setup_teardown(cancels, set_up, tear_down),
        cmocka_unit_test_setup_teardown(launches, set_up, tear_down),
        cmocka_unit_test_setup_teardown(launch_failures, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
