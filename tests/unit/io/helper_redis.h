/* helper_redis.h — a real redis-server and one request to it through the pool, shared by the tests
 * of redis_link. */
#ifndef TESTS_UNIT_IO_HELPER_REDIS_H
#define TESTS_UNIT_IO_HELPER_REDIS_H

#include "helper_loop.h"

#include "common/io/redis_link.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* One server in its own folder, on a free port and a unix socket. */
struct redis_fixture {
    struct loop *loop;
    char *folder;
    int port;
    pid_t server;
    struct address address;
    struct address path; /* the same server's unix socket */
};

/* One request and what came of it. */
struct call {
    struct command_list commands;
    struct redis_result result; /* owns the replies */
    bool done;
    int order; /* when it ended, among the calls */
};

/* cmocka's group fixture: *state becomes a redis_fixture. */
int redis_fixture_setup(void **state);
int redis_fixture_teardown(void **state);

/* A pool with 'options', or with a client name only when NULL. The caller frees it. */
struct redis_pool *pool_with(struct redis_fixture *f, const struct redis_options *options);

/* Fits redis_pool_submit(): 'user' is a struct call. */
void call_done(void *user, struct redis_result *result);
/* Sends the call's commands; the call must live until it is done. */
void call_submit(struct redis_pool *pool,
                 const struct address *address,
                 int lane,
                 int64_t timeout_ms,
                 struct call *call);
void call_release(struct call *call);

#endif
