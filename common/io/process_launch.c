/* process_launch.c — see process.h: programs that live on without us.
 *
 * Forked twice, so that the program belongs to init and leaves no zombie here. Between fork and
 * exec only functions are called that are safe there, since other threads (the bus) may have held
 * locks.
 */
#include "common/io/process.h"

#include "common/base/alloc.h"
#include "common/io/process_env.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/base/banned.h" /* last: system headers may use what it bans */

#define REPORT_FD                                                                  \
    3 /* where the child's end of the pipe is put, so that all above can be closed \
       */

void process_env_make(char *environment[PROCESS_ENV_MAX])
{
    static const char *const kept[] = {"PATH", "HOME", "LANG", "TZ"};
    int count = 0;
    for (size_t i = 0; i < sizeof(kept) / sizeof(kept[0]); i++) {
        const char *value = getenv(kept[i]);
        if (value != NULL) {
            environment[count++] = xasprintf("%s=%s", kept[i], value);
        }
    }
    environment[count] = NULL;
}

void process_env_release(char *environment[PROCESS_ENV_MAX])
{
    for (int i = 0; environment[i] != NULL; i++) {
        free(environment[i]);
        environment[i] = NULL;
    }
}

/* What the program's process tells us: its number, then why exec failed if it did. */
struct launch_report {
    int64_t pid;
    int error; /* errno; 0 = about to exec */
};

static void tell(int64_t pid, int error)
{
    struct launch_report report = {.pid = pid, .error = error};
    (void)!write(REPORT_FD, &report, sizeof(report)); /* the reader sees the end of the pipe else */
}

struct launch {
    const char *const *argv;
    const char *path; /* of the program */
    const char *folder;
    char **environment;
    int output;
    int report;
};

/* In the second child. Never returns. */
static void become(const struct launch *launch)
{
    int64_t pid = (int64_t)getpid();
    int none = open("/dev/null", O_RDONLY);
    bool is_ready = none >= 0 && dup2(none, 0) == 0 && dup2(launch->output, 1) == 1 &&
                    dup2(launch->output, 2) == 2 && dup2(launch->report, REPORT_FD) == REPORT_FD;
    if (!is_ready) {
        _exit(127);
    }
    (void)close_range(REPORT_FD + 1, ~0U, 0);
    (void)fcntl(REPORT_FD, F_SETFD, FD_CLOEXEC);
    sigset_t none_blocked;
    (void)sigemptyset(&none_blocked);
    (void)sigprocmask(SIG_SETMASK, &none_blocked, NULL);
    (void)signal(SIGPIPE, SIG_DFL); /* ignored by us, and that would be inherited */
    (void)umask(077);
    if (chdir(launch->folder) != 0) {
        tell(pid, errno);
        _exit(127);
    }
    tell(pid, 0);
    (void)execve(launch->path, (char *const *)(uintptr_t)launch->argv, launch->environment);
    tell(pid, errno);
    _exit(127);
}

/* Where the program is: itself when it holds a '/', else the first in PATH that may be run. NULL:
 * nowhere. Free it. */
static char *find_program(const char *name)
{
    if (strchr(name, '/') != NULL) {
        return xstrdup(name);
    }
    const char *path = getenv("PATH");
    for (const char *part = path == NULL ? "/usr/bin:/bin" : path; part != NULL;) {
        const char *end = strchr(part, ':');
        size_t len = end == NULL ? strlen(part) : (size_t)(end - part);
        char *candidate = xasprintf("%.*s/%s", (int)len, part, name);
        if (len > 0 && access(candidate, X_OK) == 0) {
            return candidate;
        }
        free(candidate);
        part = end == NULL ? NULL : end + 1;
    }
    return NULL;
}

static int fork_twice(const struct launch *launch)
{
    pid_t first = fork();
    if (first == 0) {
        if (setsid() < 0) {
            _exit(127);
        }
        pid_t second = fork();
        if (second == 0) {
            become(launch);
        }
        _exit(second < 0 ? 127 : 0);
    }
    if (first < 0) {
        return errno;
    }
    int status = 0;
    while (waitpid(first, &status, 0) < 0 && errno == EINTR) {
    }
    return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? 0 : EAGAIN;
}

/* Reads until the program runs (the pipe closes by exec) or says why it cannot. */
static int hear(int fd, int64_t *pid)
{
    struct launch_report report = {0};
    int error = EIO; /* nothing was said */
    for (;;) {
        ssize_t count = read(fd, &report, sizeof(report));
        if (count < 0 && errno == EINTR) {
            continue;
        }
        if (count != (ssize_t)sizeof(report)) {
            return error;
        }
        *pid = report.pid;
        error = report.error;
    }
}

int process_launch(const char *const *argv,
                   const char *folder,
                   const char *output,
                   int64_t *pid,
                   struct err *err)
{
    char *path = find_program(argv[0]);
    if (path == NULL) {
        return err_set(err, ERR_NOT_FOUND, "there is no program %s here", argv[0]);
    }
    char *environment[PROCESS_ENV_MAX];
    process_env_make(environment);
    int pipes[2] = {-1, -1};
    int64_t found = 0;
    int error = 0;
    int log = open(output, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (log < 0 || pipe2(pipes, O_CLOEXEC) != 0) {
        error = errno;
    } else {
        struct launch launch = {.argv = argv,
                                .path = path,
                                .folder = folder,
                                .environment = environment,
                                .output = log,
                                .report = pipes[1]};
        error = fork_twice(&launch);
        (void)close(pipes[1]);
        error = error == 0 ? hear(pipes[0], &found) : error;
        (void)close(pipes[0]);
    }
    if (log >= 0) {
        (void)close(log);
    }
    process_env_release(environment);
    int code = 0;
    if (error != 0) {
        code = err_set(err, error == ENOENT ? ERR_NOT_FOUND : ERR_IO, "cannot start %s: %s", path,
                       strerror(error));
    } else {
        *pid = found;
    }
    free(path);
    return code;
}
