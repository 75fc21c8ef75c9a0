/* test_redis_link.c — the pool against a real redis-server: answers, order, deadlines,
 * limits, closing. */
#include "helper_redis.h"

#include "common/base/alloc.h"
#include "common/io/clock.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

/* Keys hold any byte; every type of answer arrives as it was sent; several pipelines keep their
 * order. */
static void test_answers(void **state)
{
    struct redis_fixture *f = *state;
    struct redis_pool *pool = pool_with(f, NULL);
    struct call calls[3] = {0};
    char key[256];
    for (int i = 0; i < 256; i++) {
        key[i] = (char)i;
    }
    commands_begin(&calls[0].commands);
    commands_arg_text(&calls[0].commands, "SET");
    commands_arg(&calls[0].commands, key, sizeof(key));
    commands_arg(&calls[0].commands, "", 0);
    commands_add(&calls[0].commands, "KEYS", "*", NULL);
    commands_add(&calls[0].commands, "GET", "missing", NULL);
    commands_add(&calls[1].commands, "INCR", "n", NULL);
    commands_add(&calls[1].commands, "NOSUCH", NULL);
    commands_add(&calls[2].commands, "EVAL", "return {1, {}, {'a', {2, false}}}", "0", NULL);
    commands_add(&calls[2].commands, "CLIENT", "GETNAME", NULL);
    for (int i = 0; i < 3; i++) {
        call_submit(pool, &f->address, 0, 5000, &calls[i]);
    }
    wait_for(f->loop, &calls[2].done);
    assert_true(calls[0].order < calls[1].order && calls[1].order < calls[2].order);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(calls[i].result.code, 0);
        assert_int_equal(calls[i].result.connection_id, 1);
        assert_true(calls[i].result.latency_us > 0);
    }
    const struct reply *r = calls[0].result.replies.replies;
    assert_int_equal(calls[0].result.replies.count, 3);
    assert_true(reply_is_ok(&r[0]));
    assert_int_equal(r[1].type, REPLY_ARRAY);
    assert_int_equal(r[1].count, 1);
    assert_int_equal(r[1].items[0].len, 256);
    assert_memory_equal(r[1].items[0].text, key, 256);
    assert_int_equal(r[2].type, REPLY_NIL);
    r = calls[1].result.replies.replies;
    assert_int_equal(r[0].type, REPLY_INTEGER);
    assert_int_equal(r[0].integer, 1);
    assert_int_equal(r[1].type, REPLY_ERROR);
    assert_true(reply_has_prefix(&r[1], "ERR unknown command"));
    r = calls[2].result.replies.replies;
    assert_int_equal(r[0].count, 3);
    assert_int_equal(r[0].items[1].type, REPLY_ARRAY);
    assert_int_equal(r[0].items[1].count, 0);
    assert_int_equal(r[0].items[2].items[1].items[0].integer, 2);
    assert_int_equal(r[0].items[2].items[1].items[1].type, REPLY_NIL);
    assert_string_equal(r[1].text, "drover-test");
    for (int i = 0; i < 3; i++) {
        call_release(&calls[i]);
    }
    redis_pool_free(pool);
}

/* A blocking command on one lane does not delay another lane, nor the unix socket. */
static void test_lanes(void **state)
{
    struct redis_fixture *f = *state;
    struct redis_pool *pool = pool_with(f, NULL);
    struct call blocked = {0};
    struct call behind = {0};
    struct call free_lane = {0};
    struct call by_path = {0};
    commands_add(&blocked.commands, "BLPOP", "list", "0", NULL);
    commands_add(&behind.commands, "PING", NULL);
    commands_add(&free_lane.commands, "PING", NULL);
    commands_add(&by_path.commands, "RPUSH", "list", "x", NULL);
    call_submit(pool, &f->address, 0, 15000, &blocked);
    call_submit(pool, &f->address, 0, 15000, &behind);
    call_submit(pool, &f->address, 1, 15000, &free_lane);
    wait_for(f->loop, &free_lane.done);
    assert_int_equal(free_lane.result.code, 0);
    assert_false(blocked.done);
    assert_false(behind.done);
    assert_int_equal(redis_pool_connection_count(pool), 2);
    call_submit(pool, &f->path, 0, 15000, &by_path);
    wait_for(f->loop, &behind.done);
    assert_int_equal(by_path.result.code, 0);
    assert_int_equal(blocked.result.code, 0);
    assert_true(blocked.order < behind.order);
    assert_int_not_equal(blocked.result.connection_id, free_lane.result.connection_id);
    call_release(&blocked);
    call_release(&behind);
    call_release(&free_lane);
    call_release(&by_path);
    redis_pool_free(pool);
}

/* A timeout closes the connection: answers that came are kept, the jobs behind it may have run, the
 * next submit gets a new connection with another id, and the old id is refused. */
static void test_timeout(void **state)
{
    struct redis_fixture *f = *state;
    struct redis_pool *pool = pool_with(f, NULL);
    struct call slow = {0};
    struct call behind = {0};
    struct call after = {0};
    struct call stale = {0};
    commands_add(&slow.commands, "PING", NULL);
    commands_add(&slow.commands, "BLPOP", "nothing", "0", NULL);
    commands_add(&behind.commands, "PING", NULL);
    commands_add(&after.commands, "PING", NULL);
    commands_add(&stale.commands, "PING", NULL);
    call_submit(pool, &f->address, 0, 5000, &after);
    wait_for(f->loop, &after.done);
    uint64_t first_id = after.result.connection_id;
    call_release(&after);
    commands_add(&after.commands, "PING", NULL);
    call_submit(pool, &f->address, 0, 100, &slow);
    call_submit(pool, &f->address, 0, 5000, &behind);
    wait_for(f->loop, &behind.done);
    assert_true(slow.done);
    assert_int_equal(slow.result.code, ERR_TIMEOUT);
    assert_int_equal(slow.result.replies.count, 1);
    assert_true(slow.result.may_have_run);
    assert_int_equal(slow.result.connection_id, first_id);
    assert_non_null(strstr(slow.result.err.text, "1 of 2 answers"));
    assert_int_equal(behind.result.code, ERR_UNAVAILABLE);
    assert_true(behind.result.may_have_run);
    struct redis_request request = {.address = &f->address,
                                    .commands = &stale.commands,
                                    .timeout_ms = 1000,
                                    .required_connection_id = first_id};
    redis_pool_submit(pool, &request, call_done, &stale);
    wait_for(f->loop, &stale.done);
    assert_int_equal(stale.result.code, ERR_UNAVAILABLE);
    assert_false(stale.result.may_have_run);
    call_submit(pool, &f->address, 0, 5000, &after);
    wait_for(f->loop, &after.done);
    assert_int_equal(after.result.code, 0);
    assert_int_not_equal(after.result.connection_id, first_id);
    call_release(&slow);
    call_release(&behind);
    call_release(&after);
    call_release(&stale);
    redis_pool_free(pool);
}

/* The required connection is used when it is still there. */
static void test_required_connection(void **state)
{
    struct redis_fixture *f = *state;
    struct redis_pool *pool = pool_with(f, NULL);
    struct call first = {0};
    struct call second = {0};
    commands_add(&first.commands, "PING", NULL);
    commands_add(&second.commands, "PING", NULL);
    call_submit(pool, &f->address, 3, 5000, &first);
    wait_for(f->loop, &first.done);
    struct redis_request request = {.address = &f->address,
                                    .lane = 3,
                                    .commands = &second.commands,
                                    .timeout_ms = 1000,
                                    .required_connection_id = first.result.connection_id};
    redis_pool_submit(pool, &request, call_done, &second);
    wait_for(f->loop, &second.done);
    assert_int_equal(second.result.code, 0);
    assert_int_equal(second.result.connection_id, first.result.connection_id);
    call_release(&first);
    call_release(&second);
    redis_pool_free(pool);
}

/* Nobody listens: an error at once, certainly not run. A name is looked up; one that does not exist
 * is an error. */
static void test_cannot_connect(void **state)
{
    struct redis_fixture *f = *state;
    struct redis_pool *pool = pool_with(f, NULL);
    struct address nobody = {.host = "127.0.0.1", .port = (uint16_t)free_port()};
    struct address by_name = {.host = "localhost", .port = (uint16_t)f->port};
    struct address no_name = {.host = "no-such-host.invalid", .port = 1};
    struct address no_path = {.host = "/nonexistent/redis.sock"};
    const struct address *addresses[4] = {&nobody, &by_name, &no_name, &no_path};
    struct call calls[4] = {0};
    for (int i = 0; i < 4; i++) {
        commands_add(&calls[i].commands, "PING", NULL);
        call_submit(pool, addresses[i], 0, 15000, &calls[i]);
    }
    for (int i = 0; i < 4; i++) {
        wait_for(f->loop, &calls[i].done);
        assert_int_equal(calls[i].result.code, i == 1 ? 0 : ERR_UNAVAILABLE);
        assert_false(calls[i].result.may_have_run);
        call_release(&calls[i]);
    }
    redis_pool_free(pool);
}

/* A listener that never answers: the connect limit counts, with login and without. */
static void test_silent_server(void **state)
{
    struct redis_fixture *f = *state;
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof(at);
    assert_int_equal(bind(listener, (struct sockaddr *)&at, size), 0);
    assert_int_equal(listen(listener, 8), 0);
    assert_int_equal(getsockname(listener, (struct sockaddr *)&at, &size), 0);
    struct redis_options options = {.client_name = "x", .connect_timeout_ms = 150};
    struct redis_pool *pool = pool_with(f, &options);
    struct address silent = {.host = "127.0.0.1", .port = ntohs(at.sin_port)};
    struct call short_wait = {0};
    struct call long_wait = {0};
    commands_add(&short_wait.commands, "PING", NULL);
    commands_add(&long_wait.commands, "PING", NULL);
    call_submit(pool, &silent, 0, 50, &short_wait);
    call_submit(pool, &silent, 0, 10000, &long_wait);
    wait_for(f->loop, &long_wait.done);
    assert_int_equal(short_wait.result.code, ERR_TIMEOUT);
    assert_false(short_wait.result.may_have_run);
    assert_int_equal(long_wait.result.code, ERR_UNAVAILABLE);
    assert_false(long_wait.result.may_have_run);
    call_release(&short_wait);
    call_release(&long_wait);
    redis_pool_free(pool);
    close(listener);
}

/* What is not RESP is an error that says so, and so are bytes nobody asked for. */
static void test_not_redis(void **state)
{
    struct redis_fixture *f = *state;
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof(at);
    assert_int_equal(bind(listener, (struct sockaddr *)&at, size), 0);
    assert_int_equal(listen(listener, 8), 0);
    assert_int_equal(getsockname(listener, (struct sockaddr *)&at, &size), 0);
    struct address address = {.host = "127.0.0.1", .port = ntohs(at.sin_port)};
    static const char *const answers[] = {"HTTP/1.1 400 Bad Request\r\n", "+OK\r\n+MORE\r\n",
                                          "*2000000000\r\n",
                                          "-ERR max number of clients reached\r\n"};
    static const int codes[] = {ERR_PROTOCOL, 0, ERR_LIMIT, 0};
    for (int i = 0; i < 4; i++) {
        struct redis_options options = {.idle_close_ms = 100000};
        struct redis_pool *pool = pool_with(f, &options);
        struct call call = {0};
        commands_add(&call.commands, "PING", NULL);
        call_submit(pool, &address, 0, 15000, &call);
        loop_turn(f->loop, 0);
        int fd = accept(listener, NULL, NULL);
        assert_true(fd >= 0);
        assert_true(write(fd, answers[i], strlen(answers[i])) > 0);
        wait_for(f->loop, &call.done);
        assert_int_equal(call.result.code, codes[i]);
        if (i == 1) { /* the connection with stray bytes is not used again */
            assert_int_equal(redis_pool_connection_count(pool), 0);
        }
        call_release(&call);
        redis_pool_free(pool);
        close(fd);
    }
    close(listener);
}

/* Answers over the stated limit are refused and the connection ends. */
static void test_reply_limit(void **state)
{
    struct redis_fixture *f = *state;
    struct redis_options options = {.reply_bytes_max = 100000};
    struct redis_pool *pool = pool_with(f, &options);
    struct call call = {0};
    commands_add(&call.commands, "SETRANGE", "big", "99000", "x", NULL);
    commands_add(&call.commands, "GET", "big", NULL);
    call_submit(pool, &f->address, 0, 5000, &call);
    wait_for(f->loop, &call.done);
    assert_int_equal(call.result.code, 0);
    assert_int_equal(call.result.replies.replies[1].len, 99001);
    call_release(&call);
    commands_add(&call.commands, "SETRANGE", "big", "100001", "x", NULL);
    commands_add(&call.commands, "GET", "big", NULL);
    call_submit(pool, &f->address, 0, 5000, &call);
    wait_for(f->loop, &call.done);
    assert_int_equal(call.result.code, ERR_LIMIT);
    assert_int_equal(call.result.replies.count, 1);
    call_release(&call);
    redis_pool_free(pool);
}

/* 16 MiB out and back: partial writes and reads are put together. */
static void test_big_values(void **state)
{
    struct redis_fixture *f = *state;
    struct redis_pool *pool = pool_with(f, NULL);
    struct call call = {0};
    size_t size = 16 * 1024 * 1024 + 7;
    char *value = xmalloc(size);
    for (size_t i = 0; i < size; i++) {
        value[i] = (char)(i * 31 + i / 4096);
    }
    commands_begin(&call.commands);
    commands_arg_text(&call.commands, "SET");
    commands_arg_text(&call.commands, "big");
    commands_arg(&call.commands, value, size);
    commands_add(&call.commands, "GET", "big", NULL);
    call_submit(pool, &f->address, 0, 15000, &call);
    wait_for(f->loop, &call.done);
    assert_int_equal(call.result.code, 0);
    assert_int_equal(call.result.replies.replies[1].len, size);
    assert_memory_equal(call.result.replies.replies[1].text, value, size);
    call_release(&call);
    free(value);
    redis_pool_free(pool);
}

/* The server dies: what is in flight may have run; after it is back the lane connects anew by
 * itself. A frozen server makes a timeout. */
static void test_server_stops(void **state)
{
    struct redis_fixture *f = *state;
    struct redis_pool *pool = pool_with(f, NULL);
    struct call call = {0};
    commands_add(&call.commands, "PING", NULL);
    call_submit(pool, &f->address, 0, 5000, &call);
    wait_for(f->loop, &call.done);
    call_release(&call);
    assert_int_equal(kill(f->server, SIGSTOP), 0);
    commands_add(&call.commands, "PING", NULL);
    call_submit(pool, &f->address, 0, 100, &call);
    wait_for(f->loop, &call.done);
    assert_int_equal(call.result.code, ERR_TIMEOUT);
    call_release(&call);
    assert_int_equal(kill(f->server, SIGCONT), 0);
    commands_add(&call.commands, "BLPOP", "nothing", "0", NULL);
    struct call killer = {0};
    commands_add(&killer.commands, "CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes", NULL);
    call_submit(pool, &f->address, 0, 15000, &call);
    struct call blocked = {0};
    int64_t end_ms = clock_now_ms() + WAIT_MS_MAX;
    int64_t blocked_count = 0;
    while (blocked_count == 0) { /* until the server has BLPOP */
        assert_true(clock_now_ms() < end_ms);
        commands_add(&blocked.commands, "CLIENT", "LIST", NULL);
        call_submit(pool, &f->address, 1, 5000, &blocked);
        wait_for(f->loop, &blocked.done);
        blocked_count = reply_contains(&blocked.result.replies.replies[0], "cmd=blpop") ? 1 : 0;
        call_release(&blocked);
    }
    call_submit(pool, &f->address, 1, 5000, &killer);
    wait_for(f->loop, &call.done);
    assert_int_equal(call.result.code, ERR_UNAVAILABLE);
    assert_true(call.result.may_have_run);
    call_release(&call);
    call_release(&killer);
    redis_pool_free(pool);
}

/* Idle connections are closed; disconnect() ends what is in flight; free() cancels. */
static void test_closing(void **state)
{
    struct redis_fixture *f = *state;
    struct redis_options options = {.idle_close_ms = 50};
    struct redis_pool *pool = pool_with(f, &options);
    struct call call = {0};
    struct call other = {0};
    commands_add(&call.commands, "PING", NULL);
    call_submit(pool, &f->address, 0, 5000, &call);
    wait_for(f->loop, &call.done);
    assert_int_equal(redis_pool_connection_count(pool), 1);
    int64_t end_ms = clock_now_ms() + WAIT_MS_MAX;
    while (redis_pool_connection_count(pool) > 0) {
        assert_true(clock_now_ms() < end_ms);
        loop_turn(f->loop, 20);
    }
    call_release(&call);
    commands_add(&call.commands, "BLPOP", "nothing", "0", NULL);
    commands_add(&other.commands, "BLPOP", "nothing", "0", NULL);
    call_submit(pool, &f->address, 0, 15000, &call);
    turn_for(f->loop, 60); /* busy is not idle */
    assert_false(call.done);
    redis_pool_disconnect(pool, &f->address);
    assert_false(call.done);
    call_submit(pool, &f->address, 0, 15000, &other);
    wait_for(f->loop, &call.done);
    assert_int_equal(call.result.code, ERR_UNAVAILABLE);
    assert_false(other.done);
    redis_pool_free(pool);
    assert_true(other.done);
    assert_int_equal(other.result.code, ERR_CANCELLED);
    call_release(&call);
    call_release(&other);
}

/* A lane takes REDIS_IN_FLIGHT_MAX pipelines; one more is refused. All the others are answered. */
static void test_in_flight_limit(void **state)
{
    struct redis_fixture *f = *state;
    struct redis_pool *pool = pool_with(f, NULL);
    struct call *calls = xcalloc(REDIS_IN_FLIGHT_MAX + 1, sizeof(*calls));
    for (int i = 0; i <= REDIS_IN_FLIGHT_MAX; i++) {
        commands_add(&calls[i].commands, "PING", NULL);
        call_submit(pool, &f->address, 0, 15000, &calls[i]);
    }
    for (int i = 0; i <= REDIS_IN_FLIGHT_MAX; i++) {
        wait_for(f->loop, &calls[i].done);
        assert_int_equal(calls[i].result.code, i == REDIS_IN_FLIGHT_MAX ? ERR_LIMIT : 0);
        call_release(&calls[i]);
    }
    free(calls);
    redis_pool_free(pool);
}

/* A burst of 64 commands costs microseconds, not milliseconds: printed, and held to a bound that
 * only a mistake (a write a command, a timer a command) would break. */
static void test_burst_cost(void **state)
{
    struct redis_fixture *f = *state;
    struct redis_pool *pool = pool_with(f, NULL);
    int64_t start_us = 0;
    for (int round = 0; round <= 1000; round++) {
        struct call call = {0};
        for (int i = 0; i < 64; i++) {
            commands_add(&call.commands, "CLUSTER", "SETSLOT", "12345", "IMPORTING",
                         "0123456789012345678901234567890123456789", NULL);
        }
        call_submit(pool, &f->address, 0, 5000, &call);
        wait_for(f->loop, &call.done);
        assert_int_equal(call.result.code, 0);
        call_release(&call);
        if (round == 0) {
            start_us = clock_now_us();
        }
    }
    int64_t burst_us = (clock_now_us() - start_us) / 1000;
    print_message("burst of 64 commands, round trip: %lld us\n", (long long)burst_us);
    assert_true(burst_us < 20000);
    redis_pool_free(pool);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_answers),        cmocka_unit_test(test_lanes),
        cmocka_unit_test(test_timeout),        cmocka_unit_test(test_required_connection),
        cmocka_unit_test(test_cannot_connect), cmocka_unit_test(test_silent_server),

        cmocka_unit_test(test_not_redis),      cmocka_unit_test(test_reply_limit),
        cmocka_unit_test(test_big_values),     cmocka_unit_test(test_server_stops),
        cmocka_unit_test(test_closing),        cmocka_unit_test(test_in_flight_limit),
        cmocka_unit_test(test_burst_cost),
    };
    return cmocka_run_group_tests(tests, redis_fixture_setup, redis_fixture_teardown);
}
