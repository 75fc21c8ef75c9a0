/* helper_loop.c — see helper_loop.h. */
#include "helper_loop.h"

#include "common/base/alloc.h"
#include "common/base/strbuf.h"
#include "common/io/clock.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

void wait_for(struct loop *loop, const bool *done)
{
    int64_t end_ms = clock_now_ms() + WAIT_MS_MAX;
    while (!*done) {
        assert_true(clock_now_ms() < end_ms);
        loop_turn(loop, 50);
    }
}

void wait_for_count(struct loop *loop, const int *count, int wanted)
{
    int64_t end_ms = clock_now_ms() + WAIT_MS_MAX;
    while (*count < wanted) {
        assert_true(clock_now_ms() < end_ms);
        loop_turn(loop, 50);
    }
}

void turn_for(struct loop *loop, int64_t ms)
{
    int64_t end_ms = clock_now_ms() + ms;
    while (clock_now_ms() < end_ms) {
        loop_turn(loop, end_ms - clock_now_ms() > 0 ? end_ms - clock_now_ms() : 0);
    }
}

int free_port(void)
{
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_true(fd >= 0);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    socklen_t size = sizeof(address);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &size), 0);
    close(fd);
    return ntohs(address.sin_port);
}

char *folder_new(void)
{
    const char *base = getenv("TMPDIR");
    char *path = xasprintf("%s/drover-io-XXXXXX", base != NULL ? base : "/tmp");
    assert_non_null(mkdtemp(path));
    return path;
}

void folder_remove(char *path)
{
    DIR *dir = opendir(path);
    if (dir != NULL) {
        for (const struct dirent *entry = readdir(dir); entry != NULL; entry = readdir(dir)) {
            char *file = xasprintf("%s/%s", path, entry->d_name);
            (void)unlink(file);
            free(file);
        }
        (void)closedir(dir);
    }
    (void)rmdir(path);
    free(path);
}

pid_t process_start(char *const *argv, const char *log)
{
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        int out = open(log != NULL ? log : "/dev/null", O_WRONLY | O_CREAT | O_APPEND, 0600);
        (void)dup2(out, STDOUT_FILENO);
        (void)dup2(out, STDERR_FILENO);
        (void)execvp(argv[0], argv);
        _exit(127);
    }
    return pid;
}

void process_kill(pid_t pid)
{
    if (pid <= 0) {
        return;
    }
    (void)kill(pid, SIGCONT);
    (void)kill(pid, SIGKILL);
    (void)waitpid(pid, NULL, 0);
}

int process_run(char *const *argv, char *out, size_t size)
{
    int fds[2];
    assert_int_equal(pipe(fds), 0);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        (void)dup2(fds[1], STDOUT_FILENO);
        (void)close(fds[0]);
        (void)close(fds[1]);
        int null = open("/dev/null", O_WRONLY);
        (void)dup2(null, STDERR_FILENO);
        (void)execvp(argv[0], argv);
        _exit(127);
    }
    (void)close(fds[1]);
    size_t len = 0;
    char part[4096];
    for (;;) {
        ssize_t count = read(fds[0], part, sizeof(part));
        if (count < 0 && errno == EINTR) {
            continue;
        }
        if (count <= 0) {
            break;
        }
        for (ssize_t i = 0; i < count && len + 1 < size; i++) {
            out[len++] = part[i];
        }
    }
    if (size > 0) {
        out[len] = '\0';
    }
    (void)close(fds[0]);
    int status = 0;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128;
}

int process_wait(struct loop *loop, pid_t pid)
{
    int64_t end_ms = clock_now_ms() + WAIT_MS_MAX;
    int status = 0;
    while (waitpid(pid, &status, WNOHANG) == 0) {
        assert_true(clock_now_ms() < end_ms);
        loop_turn(loop, 5);
    }
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128;
}

void file_text(const char *path, char *out, size_t size)
{
    out[0] = '\0';
    FILE *file = fopen(path, "r");
    if (file != NULL) {
        size_t len = fread(out, 1, size - 1, file);
        out[len] = '\0';
        (void)fclose(file);
    }
}

void wait_for_port(int port)
{
    int64_t end_ms = clock_now_ms() + WAIT_MS_MAX;
    for (;;) {
        int fd = socket(AF_INET, SOCK_STREAM, 0);
        struct sockaddr_in address = {.sin_family = AF_INET,
                                      .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
                                      .sin_port = htons((uint16_t)port)};
        int rc = connect(fd, (struct sockaddr *)&address, sizeof(address));
        close(fd);
        if (rc == 0) {
            return;
        }
        assert_true(clock_now_ms() < end_ms);
        (void)poll(NULL, 0, 20);
    }
}

bool certificates_make(const char *folder)
{
    char *script = xasprintf(
        "set -e; cd '%s'; "
        "openssl req -x509 -newkey rsa:2048 -nodes -keyout ca.key -out ca.pem -days 30 -subj "
        "/CN=test-ca; "
        "openssl req -newkey rsa:2048 -nodes -keyout key.pem -out cert.csr -subj /CN=localhost; "
        "printf 'subjectAltName=DNS:localhost,IP:127.0.0.1\\n' > ext; "
        "openssl x509 -req -in cert.csr -CA ca.pem -CAkey ca.key -CAcreateserial -out cert.pem "
        "-days 30 -extfile ext",
        folder);
    char *argv[] = {"sh", "-c", script, NULL};
    char out[16];
    int rc = process_run(argv, out, sizeof(out));
    free(script);
    return rc == 0;
}
