/* test_dial.c — connecting and saying nothing: to a port that listens, to one that does not, to one
 * that never answers, and to none. */
#include "helper_loop.h"

#include "common/io/dial.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

struct outcome {
    bool is_done;
    int calls;
    struct err err;
};

static void note(void *user, const struct err *err)
{
    struct outcome *outcome = user;
    outcome->is_done = true;
    outcome->calls++;
    outcome->err = *err;
}

static struct sockaddr_in address_of(int port)
{
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return in;
}

static int listen_at(int port, int backlog)
{
    struct sockaddr_in in = address_of(port);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_true(fd >= 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&in, sizeof(in)), 0);
    assert_int_equal(listen(fd, backlog), 0);
    return fd;
}

static struct address place(const char *host, int port)
{
    struct address address = {.port = (uint16_t)port};
    (void)snprintf(address.host, sizeof(address.host), "%s", host);
    return address;
}

/* By number and by name; the connection is closed without a byte. */
static void test_a_port_that_listens(void **state)
{
    (void)state;
    struct err err = {0};
    struct loop *loop = loop_new(&err);
    struct dialer *dialer = dialer_new(loop);
    int port = free_port();
    int listener = listen_at(port, 8);
    const char *const hosts[] = {"127.0.0.1", "localhost"};
    for (size_t i = 0; i < 2; i++) {
        struct outcome outcome = {0};
        struct address address = place(hosts[i], port);
        dialer_dial(dialer, &address, WAIT_MS_MAX, note, &outcome);
        assert_false(outcome.is_done); /* never from inside the call */
        wait_for(loop, &outcome.is_done);
        assert_int_equal(outcome.err.code, 0);
        int peer = accept(listener, NULL, NULL);
        char byte;
        assert_true(peer >= 0);
        turn_for(loop, 20);
        assert_int_equal(read(peer, &byte, 1), 0);
        (void)close(peer);
    }
    (void)close(listener);
    dialer_free(dialer);
    loop_free(loop);
}

static void test_a_port_that_refuses_and_a_name_nobody_has(void **state)
{
    (void)state;
    struct err err = {0};
    struct loop *loop = loop_new(&err);
    struct dialer *dialer = dialer_new(loop);
    struct address addresses[] = {place("127.0.0.1", free_port()),
                                  place("no-such-host.invalid", 7000)};
    for (size_t i = 0; i < 2; i++) {
        struct outcome outcome = {0};
        dialer_dial(dialer, &addresses[i], WAIT_MS_MAX, note, &outcome);
        wait_for(loop, &outcome.is_done);
        assert_int_equal(outcome.err.code, ERR_UNAVAILABLE);
    }
    dialer_free(dialer);
    loop_free(loop);
}

/* A listener whose queue is full answers no SYN, as a firewall that drops. */
static void test_a_port_that_is_silent(void **state)
{
    (void)state;
    struct err err = {0};
    struct outcome outcome = {0};
    struct loop *loop = loop_new(&err);
    struct dialer *dialer = dialer_new(loop);
    int port = free_port();
    int listener = listen_at(port, 0);
    int queued[4];
    struct sockaddr_in in = address_of(port);
    for (int i = 0; i < 4; i++) {
        queued[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
        (void)connect(queued[i], (struct sockaddr *)&in, sizeof(in));
    }
    struct address address = place("127.0.0.1", port);
    dialer_dial(dialer, &address, 300, note, &outcome);
    wait_for(loop, &outcome.is_done);
    assert_int_equal(outcome.err.code, ERR_TIMEOUT);
    for (int i = 0; i < 4; i++) {
        (void)close(queued[i]);
    }
    (void)close(listener);
    dialer_free(dialer);
    loop_free(loop);
}

/* What is on its way when the dialer goes is told so, once. */
static void test_closing(void **state)
{
    (void)state;
    struct err err = {0};
    struct outcome outcomes[2] = {0};
    struct loop *loop = loop_new(&err);
    struct dialer *dialer = dialer_new(loop);
    struct address address = place("127.0.0.1", free_port());
    dialer_dial(dialer, &address, WAIT_MS_MAX, note, &outcomes[0]);
    dialer_dial(dialer, &address, WAIT_MS_MAX, note, &outcomes[1]);
    dialer_free(dialer);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(outcomes[i].calls, 1);
        assert_int_equal(outcomes[i].err.code, ERR_CANCELLED);
    }
    loop_free(loop);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_port_that_listens),
        cmocka_unit_test(test_a_port_that_refuses_and_a_name_nobody_has),
        cmocka_unit_test(test_a_port_that_is_silent),
        cmocka_unit_test(test_closing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
