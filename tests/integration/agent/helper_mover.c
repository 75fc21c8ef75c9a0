/* helper_mover.c — see helper_mover.h. */
#include "helper_mover.h"

#include "agent/core/repair.h"
#include "common/base/alloc.h"
#include "common/io/clock.h"
#include "common/io/loop.h"
#include "common/io/redis_link.h"

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define RUN_MS_MAX 60000

struct driver {
    struct loop *loop;
    struct redis_pool *pool;
    struct loop_timer *timer;
    struct mover_login login;
    struct slot_mover *mover; /* the one that runs, or: */
    struct repair *repair;
    uint32_t serial;
    driver_watch watch;
    void *user;
    driver_look look;
    void *look_user;
    int pipelines_left; /* -1 = no cut */
    int migrate_count;
    enum driver_wish wish;
    bool is_cut;
    bool has_log;
};

struct flight {
    struct driver *driver;
    uint64_t req_id;
    uint32_t serial;
};

static void feed(struct driver *driver, const struct agent_event *event);

static bool is_running(const struct driver *driver)
{
    return driver->mover != NULL || driver->repair != NULL;
}

static void on_done(void *user, struct redis_result *result)
{
    struct flight *flight = user;
    struct driver *driver = flight->driver;
    struct agent_event event = {.kind = AGENT_REDIS,
                                .now_ms = clock_now_ms(),
                                .req_id = flight->req_id,
                                .code = result->code,
                                .err = &result->err,
                                .replies = &result->replies,
                                .connection_id = result->connection_id,
                                .latency_us = result->latency_us};
    bool is_current = is_running(driver) && flight->serial == driver->serial && !driver->is_cut;
    free(flight);
    if (is_current) {
        feed(driver, &event);
    }
}

static void send_pipeline(struct driver *driver, const struct agent_effect *effect)
{
    if (driver->pipelines_left == 0) {
        driver->is_cut = true;
        return;
    }
    driver->pipelines_left -= driver->pipelines_left > 0;
    if (driver->look != NULL) {
        driver->look(driver->look_user, effect);
    }
    driver->migrate_count += commands_arg_is(&effect->commands, 0, 0, "MIGRATE");
    struct flight *flight = xcalloc(1, sizeof(*flight));
    *flight = (struct flight){.driver = driver, .req_id = effect->req_id, .serial = driver->serial};
    struct redis_request request = {.address = &effect->address,
                                    .lane = (int)effect->lane,
                                    .commands = &effect->commands,
                                    .timeout_ms = effect->timeout_ms,
                                    .required_connection_id = effect->connection_id};
    redis_pool_submit(driver->pool, &request, on_done, flight);
}

static void feed(struct driver *driver, const struct agent_event *event)
{
    struct agent_effects fx = {0};
    if (driver->repair != NULL) {
        repair_step(driver->repair, event, &fx);
    } else if (driver->wish == WISH_STOP) {
        slot_mover_stop(driver->mover);
    } else if (driver->wish == WISH_FREEZE) {
        slot_mover_freeze(driver->mover, ERR_TIMEOUT, "not renewed");
    }
    driver->wish = WISH_NONE;
    if (driver->mover != NULL) {
        slot_mover_step(driver->mover, event, &fx);
    }
    for (int i = 0; i < fx.count && !driver->is_cut; i++) {
        if (fx.items[i].kind == AGENT_FX_REDIS) {
            send_pipeline(driver, &fx.items[i]);
        } else if (fx.items[i].kind == AGENT_FX_LOG && driver->has_log) {
            print_message("    %s%s\n", fx.items[i].log.name, strbuf_text(&fx.items[i].log.pairs));
        }
    }
    agent_effects_release(&fx);
    loop_timer_set(driver->timer, driver->repair != NULL ? repair_deadline(driver->repair)
                                                         : slot_mover_deadline(driver->mover));
    if (driver->watch != NULL && driver->watch(driver->user, driver->mover)) {
        driver->is_cut = true;
    }
}

static void on_timer(void *user)
{
    struct driver *driver = user;
    if (is_running(driver) && !driver->is_cut) {
        struct agent_event event = {.kind = AGENT_TICK, .now_ms = clock_now_ms()};
        feed(driver, &event);
    }
}

struct driver *driver_new(const char *password)
{
    struct driver *driver = xcalloc(1, sizeof(*driver));
    struct err err = {0};
    driver->loop = loop_new(&err);
    assert_non_null(driver->loop);
    driver->timer = loop_timer_new(driver->loop, on_timer, driver);
    driver->has_log = getenv("MOVER_LOG") != NULL;
    if (password != NULL) {
        (void)snprintf(driver->login.password, sizeof(driver->login.password), "%s", password);
    }
    return driver;
}

void driver_free(struct driver *driver)
{
    loop_timer_free(driver->timer);
    loop_free(driver->loop);
    free(driver);
}

void order_make(struct order *order,
                const struct cluster *cluster,
                int source,
                int target,
                const char *slots)
{
    static int batches = 0;
    *order = (struct order){.id = {.operation_id = "op-1-1", .batch_index = ++batches},
                            .fence = 1,
                            .valid_for_ms = 30000,
                            .kind = ORDER_MOVE,
                            .source = cluster->nodes[source].id,
                            .target = cluster->nodes[target].id,
                            .source_address = cluster->nodes[source].address,
                            .target_address = cluster->nodes[target].address};
    struct err err = {0};
    assert_int_equal(slotset_parse(&order->slots, slots, &err), 0);
}

void order_make_repair(struct order *order,
                       const struct cluster *cluster,
                       int node,
                       int peer,
                       const char *slots)
{
    order_make(order, cluster, node, peer, slots);
    order->kind = ORDER_TASK;
    order->task = (struct task){.kind = TASK_REPAIR,
                                .node = order->source,
                                .node_address = order->source_address,
                                .peer = order->target,
                                .peer_address = order->target_address,
                                .slots = order->slots};
    slotset_clear(&order->slots);
}

static void begin(struct driver *driver, const struct order *order)
{
    struct redis_options options = {.password = driver->login.password};
    struct err err = {0};
    driver->pool = redis_pool_new(driver->loop, &options, &err);
    assert_non_null(driver->pool);
    driver->serial++;
    driver->is_cut = false;
    driver->wish = WISH_NONE;
    if (order->kind == ORDER_TASK) {
        driver->repair =
            repair_new(order, &driver->login, driver->serial, driver->serial, clock_now_ms());
    } else {
        driver->mover =
            slot_mover_new(order, &driver->login, driver->serial, driver->serial, clock_now_ms());
    }
    loop_timer_set(driver->timer, clock_now_ms());
}

static bool is_over(const struct driver *driver)
{
    return driver->repair != NULL ? repair_is_over(driver->repair)
                                  : slot_mover_is_over(driver->mover);
}

static void read_status(const struct driver *driver, struct order_status *status)
{
    if (driver->repair != NULL) {
        repair_status(driver->repair, status);
    } else {
        slot_mover_status(driver->mover, status);
    }
}

static void run(struct driver *driver, const struct order *order, struct order_status *status)
{
    begin(driver, order);
    int64_t give_up_ms = clock_now_ms() + RUN_MS_MAX;
    while (!is_over(driver) && !driver->is_cut) {
        loop_turn(driver->loop, 100);
        if (clock_now_ms() >= give_up_ms) {
            read_status(driver, status);
            fail_msg("the %s hangs in %s: %s", driver->repair != NULL ? "repair" : "mover",
                     driver->repair != NULL ? repair_state_name(driver->repair)
                                            : slot_mover_state_name(driver->mover),
                     status->reason);
        }
    }
    driver->is_cut = true;
    read_status(driver, status);
    redis_pool_free(driver->pool);
    slot_mover_free(driver->mover);
    repair_free(driver->repair);
    driver->mover = NULL;
    driver->repair = NULL;
    loop_timer_set(driver->timer, NEVER);
}

bool driver_repair(struct driver *driver,
                   const struct order *order,
                   int pipelines,
                   struct order_status *status)
{
    driver->watch = NULL;
    driver->pipelines_left = pipelines;
    run(driver, order, status);
    return order_state_is_final(status->state);
}

void driver_run(struct driver *driver,
                const struct order *order,
                driver_watch watch,
                void *user,
                struct order_status *status)
{
    driver->watch = watch;
    driver->user = user;
    driver->pipelines_left = -1;
    run(driver, order, status);
}

bool driver_run_cut(struct driver *driver,
                    const struct order *order,
                    int pipelines,
                    struct order_status *status)
{
    driver->watch = NULL;
    driver->pipelines_left = pipelines;
    run(driver, order, status);
    return order_state_is_final(status->state);
}

void driver_look_before(struct driver *driver, driver_look look, void *user)
{
    driver->look = look;
    driver->look_user = user;
}

int driver_migrate_count(const struct driver *driver)
{
    return driver->migrate_count;
}

void driver_wish(struct driver *driver, enum driver_wish wish)
{
    driver->wish = wish;
}
