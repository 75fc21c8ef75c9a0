/* An agent and a coordinator whose protocols differ refuse each other in plain words, over the real
 * bus and store: the coordinator answers a hello of another protocol with ERR_VERSION, names both
 * versions, and goes on serving others. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/base/alloc.h"
#include "common/io/bus.h"
#include "common/io/clock.h"
#include "common/io/store.h"
#include "common/wire/message_codec.h"
#include "coordinator/shell/coordinator_shell.h"

#define BUS_URL "inproc://version-test"
#define WAIT_MS_MAX 20000

struct rig {
    char folder[64];
    struct loop *loop;
    struct store *store;
    bool is_store_closed;
    struct coordinator_shell *shell;
    struct bus_client *client;
    bool is_answered;
    struct message answer;
};

static void on_exit_of_core(void *user, const struct err *err)
{
    (void)user;
    (void)err;
}

static void on_answer(void *user, const struct bus_result *result)
{
    struct rig *rig = user;
    struct err err = {0};
    assert_int_equal(result->code, 0);
    assert_int_equal(message_decode(result->data, result->size, &rig->answer, &err), 0);
    rig->is_answered = true;
}

static int set_up(void **state)
{
    struct rig *rig = xcalloc(1, sizeof(*rig));
    struct err err = {0};
    (void)snprintf(rig->folder, sizeof(rig->folder), "/tmp/drover-version-XXXXXX");
    assert_non_null(mkdtemp(rig->folder));
    rig->loop = loop_new(&err);
    assert_non_null(rig->loop);
    char *url = xasprintf("sqlite://%s/drover.db", rig->folder);
    assert_int_equal(store_open(url, NULL, loop_uv(rig->loop), &rig->store, &err), 0);
    free(url);
    struct coordinator_shell_options options = {
        .loop = rig->loop, .store = rig->store, .bus_url = BUS_URL, .on_exit = on_exit_of_core};
    rig->shell = coordinator_shell_new(&options, &err);
    assert_non_null(rig->shell);
    const char *urls[] = {BUS_URL};
    rig->client = bus_client_new(rig->loop, urls, 1, &(struct bus_options){0}, &err);
    assert_non_null(rig->client);
    int64_t until_ms = clock_now_ms() + WAIT_MS_MAX;
    while (!coordinator_is_ready(coordinator_shell_core(rig->shell))) {
        assert_true(clock_now_ms() < until_ms);
        loop_turn(rig->loop, 50);
    }
    *state = rig;
    return 0;
}

static void store_closed(void *user)
{
    struct rig *rig = user;
    rig->is_store_closed = true;
}

static int tear_down(void **state)
{
    struct rig *rig = *state;
    message_release(&rig->answer);
    bus_client_free(rig->client);
    coordinator_shell_free(rig->shell);
    store_close(rig->store, store_closed, rig);
    while (!rig->is_store_closed) {
        loop_turn(rig->loop, 50);
    }
    loop_free(rig->loop);
    const char *const names[] = {"drover.db", "drover.db-wal", "drover.db-shm"};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        char *path = xasprintf("%s/%s", rig->folder, names[i]);
        (void)unlink(path);
        free(path);
    }
    (void)rmdir(rig->folder);
    free(rig);
    return 0;
}

/* Says hello with this protocol version and waits for the answer. */
static const struct message *say_hello(struct rig *rig, int proto_version)
{
    struct message hello = {.kind = MESSAGE_HELLO};
    (void)snprintf(hello.as.hello.agent.text, sizeof(hello.as.hello.agent.text), "a%d",
                   proto_version);
    (void)snprintf(hello.as.hello.version, sizeof(hello.as.hello.version), "9.9.9");
    hello.as.hello.incarnation = 7;
    hello.as.hello.proto_version = proto_version;
    struct strbuf bytes = {0};
    message_encode(&hello, &bytes);
    struct bus_bytes message = {.data = bytes.data, .size = bytes.len};
    message_release(&rig->answer);
    rig->is_answered = false;
    bus_client_request(rig->client, 0, &message, WAIT_MS_MAX, on_answer, rig);
    strbuf_release(&bytes);
    int64_t until_ms = clock_now_ms() + WAIT_MS_MAX;
    while (!rig->is_answered) {
        assert_true(clock_now_ms() < until_ms);
        loop_turn(rig->loop, 50);
    }
    return &rig->answer;
}

static void test_other_protocol_is_refused(void **state)
{
    struct rig *rig = *state;
    const struct message *answer = say_hello(rig, PROTO_VERSION + 98);
    assert_int_equal(answer->kind, MESSAGE_REFUSAL);
    assert_int_equal(answer->as.refusal.code, ERR_VERSION);
    assert_non_null(strstr(answer->as.refusal.text, "99"));
    answer = say_hello(rig, PROTO_VERSION);
    assert_int_equal(answer->kind, MESSAGE_WELCOME);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_other_protocol_is_refused, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
