/* test_store_sim.c — the store contract on the model store of the simulator, in virtual time.
 *
 * What the simulator proves about the coordinator is worth as much as its store is like the real
 * ones. */
#include "helper_store_suite.h"

#include "common/base/alloc.h"
#include "common/base/clocktype.h"
#include "tests/sim/model_store.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

#define STORES_MAX 64

struct sim_env {
    struct schedule schedule;
    struct model_network network;
    struct model_store *stores[STORES_MAX];
};

struct sim_client {
    struct sim_env *env;
    struct model_store *store;
    struct sim_watch *watches;
    int open_count; /* requests without an answer */
};

struct sim_call {
    struct sim_client *client;
    void (*done)(void *owner, const struct store_result *result);
    void *owner;
};

struct sim_watch {
    struct sim_client *client;
    uint64_t number;
    bool is_ended;
    void (*changed)(void *user, const struct store_changes *changes);
    void *user;
    struct sim_watch *next;
};

static void *sim_open(void *user, int store_index)
{
    struct sim_env *env = user;
    assert_in_range(store_index, 0, STORES_MAX - 1);
    if (env->stores[store_index] == NULL) {
        env->stores[store_index] = xcalloc(1, sizeof(struct model_store));
        model_store_init(env->stores[store_index], &env->schedule, &env->network, 0,
                         (uint64_t)store_index);
    }
    struct sim_client *client = xcalloc(1, sizeof(*client));
    client->env = env;
    client->store = env->stores[store_index];
    return client;
}

static void sim_close(void *user)
{
    struct sim_client *client = user;
    while (client->open_count > 0) {
        assert_true(schedule_step(&client->env->schedule, NEVER));
    }
    while (client->watches != NULL) {
        struct sim_watch *watch = client->watches;
        client->watches = watch->next;
        if (!watch->is_ended) {
            model_store_unwatch(client->store, watch->number);
        }
        free(watch);
    }
    free(client);
}

static void sim_done(void *user, const struct store_result *result)
{
    struct sim_call *call = user;
    call->client->open_count--;
    call->done(call->owner, result);
    free(call);
}

static void sim_submit(void *user,
                       struct store_request *request,
                       void (*done)(void *owner, const struct store_result *result),
                       void *owner)
{
    struct sim_client *client = user;
    struct sim_call *call = xcalloc(1, sizeof(*call));
    *call = (struct sim_call){.client = client, .done = done, .owner = owner};
    client->open_count++;
    model_store_submit(client->store, 1, request, sim_done, call);
}

static void sim_changed(void *user,
                        const struct store_change *changes,
                        int count,
                        int64_t revision,
                        bool is_snapshot)
{
    struct sim_watch *watch = user;
    struct store_changes told = {
        .items = changes, .count = count, .revision = revision, .is_snapshot = is_snapshot};
    watch->changed(watch->user, &told);
}

static void *sim_watch(void *user,
                       const char *prefix,
                       int64_t from_revision,
                       void (*changed)(void *owner, const struct store_changes *changes),
                       void *owner)
{
    struct sim_client *client = user;
    struct sim_watch *watch = xcalloc(1, sizeof(*watch));
    watch->client = client;
    watch->changed = changed;
    watch->user = owner;
    watch->next = client->watches;
    client->watches = watch;
    watch->number = model_store_watch(client->store, 1, prefix, from_revision, sim_changed, watch);
    return watch;
}

static void sim_unwatch(void *user)
{
    struct sim_watch *watch = user;
    if (watch != NULL) {
        watch->is_ended = true;
        model_store_unwatch(watch->client->store, watch->number);
    }
}

static void sim_turn(void *user, int64_t wait_ms)
{
    struct sim_env *env = user;
    (void)schedule_step(&env->schedule, env->schedule.now_us + wait_ms * MS_US);
}

static int64_t sim_now_ms(void *user)
{
    struct sim_env *env = user;
    return schedule_now_ms(&env->schedule);
}

int main(void)
{
    struct sim_env *env = xcalloc(1, sizeof(*env));
    network_init(&env->network, &env->schedule, 1, 2);
    struct suite_backend backend = {
        .name = "sim",
        .env = env,
        .open = sim_open,
        .close = sim_close,
        .submit = sim_submit,
        .watch = sim_watch,
        .unwatch = sim_unwatch,
        .turn = sim_turn,
        .now_ms = sim_now_ms,
        .lease_ttl_ms = 200,
        .expiry_slack_ms = 100,
    };
    int failed = suite_run(&backend);
    for (int i = 0; i < STORES_MAX; i++) {
        if (env->stores[i] != NULL) {
            model_store_release(env->stores[i]);
            free(env->stores[i]);
        }
    }
    schedule_release(&env->schedule);
    free(env);
    return failed;
}
