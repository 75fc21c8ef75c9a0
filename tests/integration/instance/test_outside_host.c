/* test_outside_host.c — programs and sockets outside, for real: what they are told, what counts as
 * their answer, and the bounds they are held to. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "agent/shell/outside_host.h"
#include "common/base/alloc.h"
#include "common/io/clock.h"

#include <arpa/inet.h>
#include <errno.h>
#include <ftw.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define WAIT_MS_MAX 60000

static struct {
    struct loop *loop;
    struct outside_host *host;
    char folder[64];
    char program[96];
    struct outside_answer last;
    int code;
    int progress_count;
    bool is_over;
} world;

static void on_answer(void *user, struct agent_event *event)
{
    (void)user;
    assert_int_equal(event->kind, AGENT_HOST);
    assert_int_equal(event->req_id, 7);
    assert_false(world.is_over);
    world.last = event->facts->outside;
    world.code = event->code;
    world.progress_count += !world.last.is_over;
    world.is_over = world.last.is_over;
}

static int set_up(void **state)
{
    (void)state;
    struct err err;
    memset(&world, 0, sizeof(world));
    (void)snprintf(world.folder, sizeof(world.folder), "/tmp/drover-outside-XXXXXX");
    assert_non_null(mkdtemp(world.folder));
    (void)snprintf(world.program, sizeof(world.program), "%s/program", world.folder);
    world.loop = loop_new(&err);
    struct outside_host_options options = {.loop = world.loop, .done = on_answer};
    world.host = outside_host_new(&options);
    return 0;
}

static int remove_file(const char *path, const struct stat *info, int kind, struct FTW *at)
{
    (void)info;
    (void)kind;
    (void)at;
    return remove(path);
}

static int tear_down(void **state)
{
    (void)state;
    outside_host_free(world.host);
    loop_free(world.loop);
    return nftw(world.folder, remove_file, 8, FTW_DEPTH | FTW_PHYS);
}

static void write_program(const char *script)
{
    FILE *file = fopen(world.program, "w");
    assert_non_null(file);
    assert_true(fprintf(file, "#!/bin/sh\ncd %s\n%s\n", world.folder, script) > 0);
    assert_int_equal(fclose(file), 0);
    assert_int_equal(chmod(world.program, 0700), 0);
}

static void submit(enum outside_way way, const char *place, int64_t timeout_ms)
{
    struct outside_call call = {
        .target = {.way = way},
        .action = OUTSIDE_RELEASE,
        .request_id = "op-1-2-3",
        .cluster = "shop \"A\"",
        .address = {.host = "10.0.0.4", .port = 7001},
        .role = "primary",
        .maxmemory_bytes = 1048576,
        .timeout_ms = timeout_ms,
    };
    (void)snprintf(call.target.place, sizeof(call.target.place), "%s", place);
    world.is_over = false;
    outside_host_submit(world.host, 7, &call);
}

static void run_to_end(void)
{
    int64_t end_ms = clock_now_ms() + WAIT_MS_MAX;
    while (!world.is_over) {
        assert_true(clock_now_ms() < end_ms);
        loop_turn(world.loop, 50);
    }
}

static void call_program(const char *script, int64_t timeout_ms)
{
    write_program(script);
    submit(OUTSIDE_EXEC, world.program, timeout_ms);
    run_to_end();
}

static void read_file(const char *name, char *text, size_t size)
{
    char path[128];
    (void)snprintf(path, sizeof(path), "%s/%s", world.folder, name);
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    text[fread(text, 1, size - 1, file)] = '\0';
    assert_int_equal(fclose(file), 0);
}

#define FAILS(wanted_code, words, retryable)                                \
    do {                                                                    \
        assert_int_equal(world.last.state, OUTSIDE_FAILED);                 \
        assert_int_equal(world.code, wanted_code);                          \
        if (strstr(world.last.message, words) == NULL) {                    \
            fail_msg("\"%s\" is not in \"%s\"", words, world.last.message); \
        }                                                                   \
        assert_int_equal(world.last.is_retryable, retryable);               \
    } while (0)

/* The request is one line of JSON; of our variables a program gets PATH, HOME, LANG and TZ. */
static void test_request(void **state)
{
    (void)state;
    char text[4096];
    assert_int_equal(setenv("DROVER_REDIS_PASSWORD", "secret", 1), 0);
    call_program("cat > request\nenv > environment\necho '{\"state\": \"done\"}'", WAIT_MS_MAX);
    assert_int_equal(unsetenv("DROVER_REDIS_PASSWORD"), 0);
    assert_int_equal(world.last.state, OUTSIDE_DONE);
    read_file("request", text, sizeof(text));
    assert_string_equal(text,
                        "{\"version\":1,\"action\":\"release\",\"request_id\":\"op-1-2-3\","
                        "\"cluster\":\"shop \\\"A\\\"\",\"address\":\"10.0.0.4:7001\","
                        "\"role\":\"primary\",\"maxmemory\":1048576}\n");
    read_file("environment", text, sizeof(text));
    assert_null(strstr(text, "secret"));
    assert_non_null(strstr(text, "PATH="));
}

/* Talk is passed over, progress is told, the last answer counts, and only once the program ended.
 */
static void test_answers(void **state)
{
    (void)state;
    call_program(
        "echo 'creates a machine ...'\n"
        "echo '{\"state\": \"running\", \"percent\": 40, \"message\": \"bo\\u0007ots\"}'\n"
        "while [ ! -e go ]; do touch go; sleep 0.2; done\n"
        "echo '{\"state\": \"ready\", \"address\": \"10.0.0.9:7000\", \"later\": [1]}'",
        WAIT_MS_MAX);
    assert_int_equal(world.last.state, OUTSIDE_READY);
    assert_string_equal(world.last.address.host, "10.0.0.9");
    assert_int_equal(world.last.address.port, 7000);
    assert_int_equal(world.progress_count, 1);
    assert_int_equal(world.code, 0);
}

static void test_failures(void **state)
{
    (void)state;
    call_program("echo 'no quota' >&2; exit 3", WAIT_MS_MAX);
    FAILS(ERR_UNAVAILABLE, "ended with exit code 3: no quota", true);
    assert_string_not_equal(world.last.message, world.program);
    call_program(
        "echo '{\"state\": \"failed\", \"message\": \"no such zone\", \"retry\": false}'; exit 1",
        WAIT_MS_MAX);
    FAILS(ERR_REFUSED, "no such zone", false);
    call_program("echo '{\"state\": \"ready\", \"address\": \"10.0.0.9:7000\"}'; exit 1",
                 WAIT_MS_MAX);
    FAILS(ERR_UNAVAILABLE, "exit code 1", true);
    call_program("echo '{\"state\": \"running\"}'", WAIT_MS_MAX);
    FAILS(ERR_PROTOCOL, "without a final answer", true);
    call_program("echo '{\"state\": \"ready\", \"address\": \"nonsense\"}'", WAIT_MS_MAX);
    FAILS(ERR_PROTOCOL, "without a final answer", true);
    call_program("kill -9 $$", WAIT_MS_MAX);
    FAILS(ERR_UNAVAILABLE, "signal 9", true);
    submit(OUTSIDE_EXEC, "/nowhere/program", WAIT_MS_MAX);
    run_to_end();
    FAILS(ERR_CONFIG, "cannot start", false);
}

/* A line of more than 64 KiB, and more than 1 MiB in all, end it. */
static void test_bounds(void **state)
{
    (void)state;
    call_program("head -c 70000 /dev/zero | tr '\\0' x\necho\necho '{\"state\": \"done\"}'",
                 WAIT_MS_MAX);
    FAILS(ERR_LIMIT, "64 KiB", false);
    call_program("yes | head -c 2000000\necho '{\"state\": \"done\"}'", WAIT_MS_MAX);
    FAILS(ERR_LIMIT, "1048576 bytes", false);
}

static void wait_gone(const char *name)
{
    char text[64];
    int64_t end_ms = clock_now_ms() + WAIT_MS_MAX;
    read_file(name, text, sizeof(text));
    pid_t pid = (pid_t)strtol(text, NULL, 10);
    assert_true(pid > 1);
    for (;;) {
        char path[64];
        char stat[256] = "";
        (void)snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
        FILE *file = fopen(path, "r");
        if (file == NULL) {
            return;
        }
        stat[fread(stat, 1, sizeof(stat) - 1, file)] = '\0';
        (void)fclose(file);
        if (strstr(stat, ") Z ") != NULL) {
            return;
        }
        assert_true(clock_now_ms() < end_ms);
        loop_turn(world.loop, 50);
    }
}

/* The time is over: the program and what it started are killed. */
static void test_timeout(void **state)
{
    (void)state;
    call_program("sleep 1000 & echo $! > child\necho '{\"state\": \"running\"}'\nwait", 1000);
    FAILS(ERR_TIMEOUT, "did not end in time", true);
    wait_gone("child");
}

static bool is_there(const char *name)
{
    char path[128];
    (void)snprintf(path, sizeof(path), "%s/%s", world.folder, name);
    return access(path, F_OK) == 0;
}

/* A call that is ended is killed in the same way and never answers. */
static void test_cancel(void **state)
{
    (void)state;
    write_program("sleep 1000 & echo $! > child.new\nmv child.new child\nwait");
    submit(OUTSIDE_EXEC, world.program, WAIT_MS_MAX);
    int64_t end_ms = clock_now_ms() + WAIT_MS_MAX;
    while (!is_there("child")) {
        assert_true(clock_now_ms() < end_ms);
        loop_turn(world.loop, 20);
    }
    outside_host_cancel(world.host, 7);
    outside_host_cancel(world.host, 8);
    wait_gone("child");
    assert_false(world.is_over);
    assert_int_equal(world.progress_count, 0);
}

/* A server that the program leaves running keeps its output open; that holds nobody up. */
static void test_output_left_open(void **state)
{
    (void)state;
    char text[64];
    call_program("setsid sleep 1000 & echo $! > child\necho '{\"state\": \"done\"}'", WAIT_MS_MAX);
    assert_int_equal(world.last.state, OUTSIDE_DONE);
    read_file("child", text, sizeof(text));
    pid_t pid = (pid_t)strtol(text, NULL, 10);
    assert_int_equal(kill(pid, 0), 0); /* it was not ended with the program */
    assert_int_equal(kill(pid, SIGKILL), 0);
}

static int listen_somewhere(char *place, size_t size)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(address);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, len), 0);
    assert_int_equal(listen(fd, 1), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &len), 0);
    (void)snprintf(place, size, "127.0.0.1:%d", ntohs(address.sin_port));
    return fd;
}

/* A proxy that is not there, or does not answer, may be there later. */
static void test_proxy(void **state)
{
    (void)state;
    char place[128];
    (void)snprintf(place, sizeof(place), "unix:%s/none", world.folder);
    submit(OUTSIDE_HAPROXY, place, WAIT_MS_MAX);
    run_to_end();
    FAILS(ERR_UNAVAILABLE, "no such file", true);

    int fd = listen_somewhere(place, sizeof(place));
    submit(OUTSIDE_HAPROXY, place, 500);
    run_to_end();
    FAILS(ERR_TIMEOUT, "no answer in time", true);
    (void)close(fd);
    submit(OUTSIDE_HAPROXY, place, WAIT_MS_MAX);
    run_to_end();
    FAILS(ERR_UNAVAILABLE, "connection refused", true);

    submit(OUTSIDE_HAPROXY, place, WAIT_MS_MAX); /* freed or ended while it is on its way */
    outside_host_cancel(world.host, 7);
    loop_turn(world.loop, 0);
    submit(OUTSIDE_HAPROXY, place, WAIT_MS_MAX);
}

/* No answer but a refusal of the connection: nothing can have begun. */
static void test_webhook_refused(void **state)
{
    (void)state;
    char place[64];
    char url[96];
    (void)close(listen_somewhere(place, sizeof(place)));
    (void)snprintf(url, sizeof(url), "https://%s/hook", place);
    submit(OUTSIDE_WEBHOOK, url, WAIT_MS_MAX);
    run_to_end();
    FAILS(ERR_UNAVAILABLE, "onnect", true);
    assert_false(world.last.is_maybe_received);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(test_request),          CASE(test_answers), CASE(test_failures),
        CASE(test_bounds),           CASE(test_timeout), CASE(test_cancel),
        CASE(test_output_left_open), CASE(test_proxy),   CASE(test_webhook_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
