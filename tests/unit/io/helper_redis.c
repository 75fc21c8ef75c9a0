/* helper_redis.c — see helper_redis.h. */
#include "helper_redis.h"

#include "common/base/alloc.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

static int ended_count;

void call_done(void *user, struct redis_result *result)
{
    struct call *call = user;
    assert_false(call->done);
    call->result = *result;
    result->replies = (struct reply_list){0};
    call->done = true;
    call->order = ++ended_count;
}

void call_release(struct call *call)
{
    commands_release(&call->commands);
    replies_release(&call->result.replies);
    *call = (struct call){0};
}

void call_submit(struct redis_pool *pool,
                 const struct address *address,
                 int lane,
                 int64_t timeout_ms,
                 struct call *call)
{
    struct redis_request request = {
        .address = address, .lane = lane, .commands = &call->commands, .timeout_ms = timeout_ms};
    redis_pool_submit(pool, &request, call_done, call);
    assert_false(call->done); /* never from inside submit */
}

struct redis_pool *pool_with(struct redis_fixture *f, const struct redis_options *options)
{
    struct err err = {0};
    struct redis_options defaults = {.client_name = "drover-test"};
    struct redis_pool *pool = redis_pool_new(f->loop, options != NULL ? options : &defaults, &err);
    assert_non_null(pool);
    return pool;
}

int redis_fixture_setup(void **state)
{
    struct redis_fixture *f = xcalloc(1, sizeof(*f));
    struct err err = {0};
    f->loop = loop_new(&err);
    assert_non_null(f->loop);
    f->folder = folder_new();
    f->port = free_port();
    char port[8];
    (void)snprintf(port, sizeof(port), "%d", f->port);
    (void)snprintf(f->path.host, sizeof(f->path.host), "%s/redis.sock", f->folder);
    char *argv[] = {"redis-server",
                    "--port",
                    port,
                    "--bind",
                    "127.0.0.1",
                    "--save",
                    "",
                    "--dir",
                    f->folder,
                    "--unixsocket",
                    f->path.host,
                    "--enable-debug-command",
                    "yes",
                    NULL};
    f->server = process_start(argv, NULL);
    wait_for_port(f->port);
    (void)snprintf(f->address.host, sizeof(f->address.host), "127.0.0.1");
    f->address.port = (uint16_t)f->port;
    *state = f;
    return 0;
}

int redis_fixture_teardown(void **state)
{
    struct redis_fixture *f = *state;
    process_kill(f->server);
    loop_free(f->loop);
    folder_remove(f->folder);
    free(f);
    return 0;
}
