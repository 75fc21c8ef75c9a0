/* test_crc16.c — slots of keys: known values, hash tags, and 2,000 random keys against a real
 * redis-server. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include <cmocka.h>

#include "common/base/crc16.h"
#include "common/base/prng.h"
#include "common/base/strbuf.h"

#define KEYS 2000
#define START_TRIES 100 /* of 100 ms each */

static int slot_of(const char *key)
{
    return key_slot(key, strlen(key));
}

/* The check value of CRC16-XMODEM, and keys of the cluster specification. */
static void test_known_values(void **state)
{
    (void)state;
    assert_int_equal(crc16("123456789", 9), 0x31c3);
    assert_int_equal(crc16("", 0), 0);
    assert_int_equal(slot_of("foo"), 12182);
    assert_int_equal(slot_of("hello"), 866);
    assert_int_equal(slot_of(""), 0);
    assert_int_equal(slot_of("{user1000}.following"), slot_of("{user1000}.followers"));
    assert_int_equal(slot_of("{user1000}.following"), slot_of("user1000"));
    /* An empty tag and an open one count for nothing; only the first tag counts. */
    assert_int_equal(slot_of("foo{}{bar}"), crc16("foo{}{bar}", 10) & 16383);
    assert_int_equal(slot_of("foo{bar"), crc16("foo{bar", 7) & 16383);
    assert_int_equal(slot_of("foo{{bar}}zap"), slot_of("{bar"));
    assert_int_equal(slot_of("foo{bar}{zap}"), slot_of("bar"));
    assert_int_equal(key_slot("a\0b", 3), crc16("a\0b", 3) & 16383);
}

static uint16_t bind_port(int fd, uint16_t port)
{
    struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int on = 1;
    (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    return bind(fd, (struct sockaddr *)&address, sizeof(address)) == 0 ? port : 0;
}

/* A port that is free together with its bus port, below the range that clients get theirs from. */
static uint16_t free_port(struct prng *prng)
{
    for (int i = 0; i < 1000; i++) {
        uint16_t port = (uint16_t)prng_range(prng, 11000, 22000);
        int fd = socket(AF_INET, SOCK_STREAM, 0);
        int bus_fd = socket(AF_INET, SOCK_STREAM, 0);
        bool is_free = bind_port(fd, port) != 0 && bind_port(bus_fd, (uint16_t)(port + 10000)) != 0;
        (void)close(fd);
        (void)close(bus_fd);
        if (is_free) {
            return port;
        }
    }
    fail_msg("no free port");
    return 0;
}

static pid_t start_server(const char *dir, uint16_t port)
{
    char port_text[8];
    snprintf(port_text, sizeof(port_text), "%u", (unsigned)port);
    pid_t parent = getpid();
    pid_t child = fork();
    if (child == 0) {
        /* It dies with the test, however that ends. */
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        int null_fd = open("/dev/null", O_RDWR);
        if (getppid() != parent || null_fd < 0 || dup2(null_fd, STDOUT_FILENO) < 0) {
            _exit(126);
        }
        (void)execlp("redis-server", "redis-server", "--port", port_text, "--bind", "127.0.0.1",
                     "--cluster-enabled", "yes", "--save", "", "--dir", dir, (char *)NULL);
        _exit(127);
    }
    return child;
}

static int connect_server(uint16_t port, pid_t server)
{
    struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    for (int i = 0; i < START_TRIES; i++) {
        int fd = socket(AF_INET, SOCK_STREAM, 0);
        if (connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0) {
            return fd;
        }
        (void)close(fd);
        int status = 0;
        if (waitpid(server, &status, WNOHANG) == server) {
            return -1;
        }
        struct timespec pause = {.tv_nsec = 100 * 1000 * 1000};
        (void)nanosleep(&pause, NULL);
    }
    return -1;
}

/* Half of the keys have braces in them, so that tags are met in every form. */
static size_t random_key(struct prng *prng, char *key)
{
    size_t len = (size_t)prng_range(prng, 0, 40);
    bool has_braces = prng_chance(prng, 1, 2);
    for (size_t i = 0; i < len; i++) {
        bool is_brace = has_braces && prng_chance(prng, 1, 4);
        key[i] = is_brace ? "{}"[prng_below(prng, 2)] : (char)prng_below(prng, 256);
    }
    return len;
}

static void compare_keys(int fd, struct prng *prng)
{
    static int slots[KEYS];
    struct strbuf out = {0};
    struct strbuf in = {0};
    char key[64];
    for (int i = 0; i < KEYS; i++) {
        size_t len = random_key(prng, key);
        slots[i] = key_slot(key, len);
        strbuf_addf(&out, "*3\r\n$7\r\nCLUSTER\r\n$7\r\nKEYSLOT\r\n$%zu\r\n", len);
        strbuf_add(&out, key, len);
        strbuf_add_text(&out, "\r\n");
    }
    for (size_t sent = 0; sent < out.len;) {
        ssize_t n = write(fd, out.data + sent, out.len - sent);
        assert_true(n > 0);
        sent += (size_t)n;
    }
    int answers = 0;
    while (answers < KEYS) {
        char chunk[4096];
        ssize_t n = read(fd, chunk, sizeof(chunk));
        assert_true(n > 0);
        strbuf_add(&in, chunk, (size_t)n);
        char *end = memchr(strbuf_text(&in), '\n', in.len);
        while (end != NULL) {
            assert_int_equal(in.data[0], ':');
            assert_int_equal(strtol(in.data + 1, NULL, 10), slots[answers]);
            answers++;
            strbuf_consume(&in, (size_t)(end - in.data) + 1);
            end = memchr(strbuf_text(&in), '\n', in.len);
        }
    }
    strbuf_release(&out);
    strbuf_release(&in);
}

static int remove_entry(const char *path, const struct stat *status, int type, struct FTW *walk)
{
    (void)status;
    (void)type;
    (void)walk;
    return remove(path);
}

static void test_against_server(void **state)
{
    (void)state;
    char dir[] = "/tmp/drover-crc16-XXXXXX";
    struct prng prng;
    int fd = -1;
    if (access("/usr/bin/redis-server", X_OK) != 0) {
        printf("skipped: there is no /usr/bin/redis-server\n");
        skip();
    }
    assert_non_null(mkdtemp(dir));
    prng_init(&prng, (uint64_t)getpid());
    for (int i = 0; i < 5 && fd < 0; i++) {
        uint16_t port = free_port(&prng);
        pid_t server = start_server(dir, port);
        assert_true(server > 0);
        fd = connect_server(port, server);
        if (fd >= 0) {
            compare_keys(fd, &prng);
            (void)close(fd);
        }
        (void)kill(server, SIGKILL);
        (void)waitpid(server, NULL, 0);
    }
    (void)nftw(dir, remove_entry, 8, FTW_DEPTH | FTW_PHYS);
    assert_true(fd >= 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_known_values),
                                       cmocka_unit_test(test_against_server)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
