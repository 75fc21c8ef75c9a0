/* redis_link.c — see redis_link.h.
 *
 * The pool: finds or makes lanes, formats pipelines, and runs all callbacks from pool_drain(), so
 * that a callback may submit or disconnect without surprising the code that found the result. */
#include "common/io/redis_link.h"

#include "common/base/alloc.h"
#include "common/base/check.h"
#include "common/io/clock.h"
#include "common/io/redis_format.h"
#include "common/io/redis_lane.h"
#include "common/io/redis_tls.h"

#include <stdlib.h>
#include <string.h>

#include "common/base/banned.h" /* last: system headers may use what it bans */

#define BUCKET_COUNT 256 /* lanes are some per node; chains stay short up to a thousand nodes */
#define SCRATCH_KEPT_BYTES_MAX \
    1048576 /* a pipeline's bytes are built in kept memory up to this size */

struct redis_pool {
    struct redis_lane_owner owner; /* first: lanes hand it back to us */
    struct redis_lane *buckets[BUCKET_COUNT];
    struct redis_tls_context *tls_context; /* owned; NULL: plain */
    struct strbuf tls_name;
    struct loop_timer *drain_timer; /* runs results that were found inside a call of ours */
    struct strbuf scratch;          /* the pipeline being formatted */
    bool is_draining;
    bool is_closing;
};

static void pool_drain(struct redis_lane_owner *owner);
static void pool_drain_later(void *user);
static void pool_sweep(struct redis_pool *pool);
static struct redis_lane **pool_find(struct redis_pool *pool,
                                     const struct address *address,
                                     int number);

static int64_t or_default(int64_t value, int64_t fallback)
{
    return value > 0 ? value : fallback;
}

static void set_text(struct strbuf *buf, const char *text)
{
    if (buf->data != NULL) {
        explicit_bzero(buf->data, buf->capacity); /* it may be the password */
    }
    strbuf_clear(buf);
    strbuf_add_text(buf, text != NULL ? text : "");
}

struct redis_pool *redis_pool_new(struct loop *loop,
                                  const struct redis_options *options,
                                  struct err *err)
{
    CHECK(options->reply_bytes_max >= 0);
    CHECK(options->reply_bytes_max <= REDIS_REPLY_BYTES_MAX);
    struct redis_tls_context *context = NULL;
    if (options->use_tls) {
        context = redis_tls_context_new(options, err);
        if (context == NULL) {
            return NULL;
        }
    }
    struct redis_pool *pool = xcalloc(1, sizeof(*pool));
    pool->tls_context = context;
    set_text(&pool->tls_name, options->tls_name);
    pool->drain_timer = loop_timer_new(loop, pool_drain_later, pool);
    struct redis_lane_owner *owner = &pool->owner;
    owner->loop = loop;
    owner->connect_timeout_ms = or_default(options->connect_timeout_ms, REDIS_CONNECT_TIMEOUT_MS);
    owner->idle_close_ms = or_default(options->idle_close_ms, REDIS_IDLE_CLOSE_MS);
    owner->reply_bytes_max = or_default(options->reply_bytes_max, REDIS_REPLY_BYTES_MAX);
    owner->has_finished = pool_drain;
    owner->place = (struct redis_socket_place){
        .loop = loop,
        .buffers = xmalloc(sizeof(struct redis_socket_buffers)),
        .context = context,
        .tls_name = pool->tls_name.len > 0 ? strbuf_text(&pool->tls_name) : NULL,
    };
    set_text(&owner->client_name, options->client_name);
    redis_pool_set_login(pool, options->user, options->password);
    return pool;
}

void redis_pool_set_login(struct redis_pool *pool, const char *user, const char *password)
{
    set_text(&pool->owner.user, user);
    set_text(&pool->owner.password, password);
}

void redis_pool_free(struct redis_pool *pool)
{
    if (pool == NULL) {
        return;
    }
    CHECK(!pool->is_draining); /* not from inside a callback of this pool */
    pool->is_closing = true;
    struct err err = {0};
    err_set(&err, ERR_CANCELLED, "the connection pool is closing");
    for (int i = 0; i < BUCKET_COUNT; i++) {
        for (struct redis_lane *lane = pool->buckets[i]; lane != NULL;
             lane = lane->next_in_bucket) {
            redis_lane_fail(lane, &err);
        }
    }
    pool_drain(&pool->owner);
    pool_sweep(pool);
    CHECK(redis_pool_connection_count(pool) == 0);
    loop_timer_free(pool->drain_timer);
    redis_tls_context_free(pool->tls_context);
    strbuf_release(&pool->tls_name);
    strbuf_release(&pool->scratch);
    set_text(&pool->owner.password, "");
    strbuf_release(&pool->owner.user);
    strbuf_release(&pool->owner.password);
    strbuf_release(&pool->owner.client_name);
    free(pool->owner.place.buffers);
    free(pool);
}

/* ---- submitting ---- */

/* What forbids the request, or 0. */
static int refuse(const struct redis_pool *pool,
                  const struct redis_lane *lane,
                  const struct redis_request *request,
                  struct err *err)
{
    if (pool->is_closing) {
        return err_set(err, ERR_CANCELLED, "the connection pool is closing");
    }
    uint64_t required = request->required_connection_id;
    if (required != 0 && (lane == NULL || lane->connection_id != required)) {
        return err_set(err, ERR_UNAVAILABLE, "the connection the command needs is gone (was #%llu)",
                       (unsigned long long)required);
    }
    if (lane != NULL && lane->jobs.count >= REDIS_IN_FLIGHT_MAX) {
        return err_set(err, ERR_LIMIT, "%d pipelines already wait on this connection",
                       lane->jobs.count);
    }
    return 0;
}

void redis_pool_submit(struct redis_pool *pool,
                       const struct redis_request *request,
                       void (*done)(void *user, struct redis_result *result),
                       void *user)
{
    CHECK(request->lane >= 0);
    CHECK(request->lane <= REDIS_LANE_MAX);
    CHECK(request->timeout_ms >= 1);
    CHECK(request->commands->count >= 1);
    CHECK(request->commands->count <= REDIS_COMMANDS_MAX);
    struct redis_job *job = xcalloc(1, sizeof(*job));
    job->done = done;
    job->user = user;
    job->command_count = request->commands->count;
    job->deadline_ms = deadline_after(clock_now_ms(), request->timeout_ms);
    job->start_us = clock_now_us();
    struct redis_lane **place = pool_find(pool, request->address, request->lane);
    struct err err = {0};
    if (refuse(pool, *place, request, &err) != 0) {
        char name[ADDRESS_TEXT_SIZE];
        err_wrap(&err, "redis %s", redis_address_name(request->address, name));
        job->result.code = err.code;
        job->result.err = err;
        redis_jobs_append(&pool->owner.finished, job);
        loop_timer_set(pool->drain_timer, clock_now_ms());
        return;
    }
    if (*place == NULL) {
        *place = redis_lane_new(&pool->owner, request->address, request->lane);
    }
    strbuf_clear(&pool->scratch);
    redis_format(request->commands, &pool->scratch);
    redis_lane_submit(*place, job, &pool->scratch);
    if (pool->scratch.capacity > SCRATCH_KEPT_BYTES_MAX) {
        strbuf_release(&pool->scratch);
    }
}

void redis_pool_disconnect(struct redis_pool *pool, const struct address *address)
{
    struct err err = {0};
    err_set(&err, ERR_UNAVAILABLE, "the connection was closed on purpose");
    for (int i = 0; i < BUCKET_COUNT; i++) {
        for (struct redis_lane *lane = pool->buckets[i]; lane != NULL;
             lane = lane->next_in_bucket) {
            if (address_is_equal(&lane->address, address)) {
                redis_lane_fail(lane, &err);
            }
        }
    }
    loop_timer_set(pool->drain_timer, clock_now_ms());
}

int redis_pool_connection_count(const struct redis_pool *pool)
{
    int count = 0;
    for (int i = 0; i < BUCKET_COUNT; i++) {
        for (const struct redis_lane *lane = pool->buckets[i]; lane != NULL;
             lane = lane->next_in_bucket) {
            count += lane->socket != NULL ? 1 : 0;
        }
    }
    return count;
}

/* ---- lanes ---- */

/* Where the lane hangs, or where a new one would: never NULL. */
static struct redis_lane **pool_find(struct redis_pool *pool,
                                     const struct address *address,
                                     int number)
{
    uint32_t hash = 2166136261U; /* FNV-1a */
    for (const char *c = address->host; *c != '\0'; c++) {
        hash = (hash ^ (unsigned char)*c) * 16777619U;
    }
    hash = (hash ^ address->port) * 16777619U;
    hash = (hash ^ (uint32_t)number) * 16777619U;
    struct redis_lane **place = &pool->buckets[(hash ^ (hash >> 16)) % BUCKET_COUNT];
    while (*place != NULL &&
           ((*place)->number != number || !address_is_equal(&(*place)->address, address))) {
        place = &(*place)->next_in_bucket;
    }
    return place;
}

/* Frees lanes that neither have nor want a connection, so that addresses of the past do not pile
 * up. */
static void pool_sweep(struct redis_pool *pool)
{
    for (int i = 0; i < BUCKET_COUNT; i++) {
        struct redis_lane **place = &pool->buckets[i];
        while (*place != NULL) {
            struct redis_lane *lane = *place;
            if (!redis_lane_is_unused(lane)) {
                place = &lane->next_in_bucket;
                continue;
            }
            *place = lane->next_in_bucket;
            redis_lane_free(lane);
        }
    }
}

/* ---- results ---- */

static void pool_drain(struct redis_lane_owner *owner)
{
    struct redis_pool *pool = (struct redis_pool *)owner;
    CHECK(!pool->is_draining);
    pool->is_draining = true;
    struct redis_job *job = NULL;
    while ((job = redis_jobs_take(&owner->finished)) != NULL) {
        job->done(job->user, &job->result);
        redis_job_free(job);
    }
    pool->is_draining = false;
    if (owner->has_unused_lane) { /* the caller may be that lane: it is freed later */
        owner->has_unused_lane = false;
        loop_timer_set(pool->drain_timer, clock_now_ms());
    }
}

static void pool_drain_later(void *user)
{
    struct redis_pool *pool = user;
    pool_drain(&pool->owner);
    pool_sweep(pool);
}
