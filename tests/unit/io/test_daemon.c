/* test_daemon.c — a daemon whose work is done ends, whatever hangs on its way out. */
#include "common/base/check.h"
#include "common/io/daemon.h"

#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define WAIT_S 60

static const struct option rows[] = {DAEMON_ROWS_GENERAL};

static void stop(struct daemon *daemon)
{
    (void)err_set(&daemon->exit_err, ERR_LIMIT, "a reason");
    loop_stop(daemon->loop);
}

/* Is asked to stop, and then never comes back. */
static int run_and_hang(struct daemon *daemon, struct err *err)
{
    int code = daemon_start(daemon, err);
    if (code != 0) {
        return code;
    }
    (void)raise(SIGTERM);
    daemon_loop(daemon);
    for (;;) {
        (void)pause();
    }
}

static pid_t start(int log_fd)
{
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        (void)alarm(WAIT_S);
        (void)dup2(log_fd, STDERR_FILENO);
        char name[] = "test";
        char *argv[] = {name, NULL};
        struct daemon daemon = {.name = name,
                                .rows = rows,
                                .usage = "",
                                .examples = "",
                                .run = run_and_hang,
                                .on_signal = stop};
        _exit(daemon_main(&daemon, 1, argv));
    }
    return pid;
}

static void pipe_make(int ends[2])
{
    assert_int_equal(pipe(ends), 0);
}

static void fill(int fd)
{
    char block[4096] = {0};
    assert_int_equal(fcntl(fd, F_SETFL, O_NONBLOCK), 0);
    while (write(fd, block, sizeof(block)) > 0) {
    }
    assert_int_equal(fcntl(fd, F_SETFL, 0), 0);
}

/* The exit code is the one of the reason also when the log's reader is gone, or does not read. */
static void test_hang_on_the_way_out(void **state)
{
    (void)state;
    int read_by_us[2];
    int gone[2];
    int full[2];
    pipe_make(read_by_us);
    pipe_make(gone);
    pipe_make(full);
    (void)close(gone[0]);
    fill(full[1]);
    pid_t pids[3] = {start(read_by_us[1]), start(gone[1]), start(full[1])};
    for (int i = 0; i < 3; i++) {
        int status = 0;
        assert_int_equal(waitpid(pids[i], &status, 0), pids[i]);
        assert_true(WIFEXITED(status));
        assert_int_equal(WEXITSTATUS(status), err_exit_code(ERR_LIMIT));
    }
    (void)close(read_by_us[1]);
    char text[256] = {0};
    assert_true(read(read_by_us[0], text, sizeof(text) - 1) > 0);
    assert_non_null(strstr(text, "took too long"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_hang_on_the_way_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
