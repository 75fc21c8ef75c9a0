/* helper_task.c — see helper_task.h. */
#include "helper_task.h"

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

struct crew_task {
    struct crew *crew;
    struct node_task *task; /* NULL once over */
    struct loop_timer *timer;
    struct order_status status;
    int pipelines_left; /* -1 = no cut */
    int change_count;
    bool is_cut;
};

struct crew {
    struct loop *loop;
    struct redis_pool *pool;
    struct crew_task tasks[CREW_TASKS_MAX];
    int count;
    bool has_log;
};

struct flight {
    struct crew_task *of;
    uint64_t req_id;
};

static void feed(struct crew_task *of, const struct agent_event *event);

static void on_done(void *user, struct redis_result *result)
{
    struct flight *flight = user;
    struct agent_event event = {.kind = AGENT_REDIS,
                                .now_ms = clock_now_ms(),
                                .req_id = flight->req_id,
                                .code = result->code,
                                .err = &result->err,
                                .replies = &result->replies,
                                .connection_id = result->connection_id,
                                .latency_us = result->latency_us};
    struct crew_task *of = flight->of;
    free(flight);
    feed(of, &event);
}

static bool is_change(const struct command_list *commands)
{
    static const char *const verbs[] = {"MEET",     "FORGET",        "RESET",     "REPLICATE",
                                        "FAILOVER", "ADDSLOTSRANGE", "BUMPEPOCH", "RESTORE"};
    for (size_t i = 0; i < sizeof(verbs) / sizeof(verbs[0]); i++) {
        if (commands_arg_is(commands, 0, 1, verbs[i])) {
            return true;
        }
    }
    return false;
}

static void send_pipeline(struct crew_task *of, const struct agent_effect *effect)
{
    if (of->pipelines_left == 0) {
        of->is_cut = true;
        return;
    }
    of->pipelines_left -= of->pipelines_left > 0;
    of->change_count += is_change(&effect->commands);
    struct flight *flight = xcalloc(1, sizeof(*flight));
    *flight = (struct flight){.of = of, .req_id = effect->req_id};
    struct redis_request request = {.address = &effect->address,
                                    .lane = (int)effect->lane,
                                    .commands = &effect->commands,
                                    .timeout_ms = effect->timeout_ms};
    redis_pool_submit(of->crew->pool, &request, on_done, flight);
}

static void feed(struct crew_task *of, const struct agent_event *event)
{
    if (of->task == NULL || of->is_cut) {
        return;
    }
    struct agent_effects fx = {0};
    node_task_step(of->task, event, &fx);
    for (int i = 0; i < fx.count && !of->is_cut; i++) {
        if (fx.items[i].kind == AGENT_FX_REDIS) {
            send_pipeline(of, &fx.items[i]);
        } else if (fx.items[i].kind == AGENT_FX_LOG && of->crew->has_log) {
            print_message("    %s%s\n", fx.items[i].log.name, strbuf_text(&fx.items[i].log.pairs));
        }
    }
    agent_effects_release(&fx);
    node_task_status(of->task, &of->status);
    bool is_over = of->is_cut || node_task_is_over(of->task);
    loop_timer_set(of->timer, is_over ? NEVER : node_task_deadline(of->task));
    if (is_over) {
        node_task_free(of->task);
        of->task = NULL;
    }
}

static void on_timer(void *user)
{
    struct agent_event event = {.kind = AGENT_TICK, .now_ms = clock_now_ms()};
    feed(user, &event);
}

struct crew *crew_new(void)
{
    struct crew *crew = xcalloc(1, sizeof(*crew));
    struct err err = {0};
    crew->loop = loop_new(&err);
    assert_non_null(crew->loop);
    crew->pool = redis_pool_new(crew->loop, &(struct redis_options){0}, &err);
    assert_non_null(crew->pool);
    crew->has_log = getenv("TASK_LOG") != NULL;
    return crew;
}

void crew_free(struct crew *crew)
{
    for (int i = 0; i < crew->count; i++) {
        node_task_free(crew->tasks[i].task);
        crew->tasks[i].task = NULL;
        loop_timer_free(crew->tasks[i].timer);
    }
    redis_pool_free(crew->pool);
    loop_free(crew->loop);
    free(crew);
}

void task_make(struct task *task,
               const struct cluster *cluster,
               enum task_kind kind,
               int node,
               int peer)
{
    *task = (struct task){.kind = kind,
                          .node = cluster->nodes[node].id,
                          .node_address = cluster->nodes[node].address};
    if (peer >= 0) {
        task->peer = cluster->nodes[peer].id;
        task->peer_address = cluster->nodes[peer].address;
    }
}

int crew_start_cut(struct crew *crew, const struct task *task, int pipelines)
{
    assert_true(crew->count < CREW_TASKS_MAX);
    struct err err = {0};
    if (task_validate(task, &err) != 0) {
        fail_msg("%s", err.text);
    }
    int number = crew->count++;
    struct order order = {.id = {.operation_id = "op-1-1", .batch_index = number},
                          .fence = 1,
                          .valid_for_ms = 30000,
                          .kind = ORDER_TASK,
                          .task = *task};
    struct crew_task *of = &crew->tasks[number];
    *of = (struct crew_task){.crew = crew, .pipelines_left = pipelines};
    of->task = node_task_new(&order, (uint32_t)number + 1, (uint64_t)number, clock_now_ms());
    of->timer = loop_timer_new(crew->loop, on_timer, of);
    loop_timer_set(of->timer, clock_now_ms());
    return number;
}

int crew_start(struct crew *crew, const struct task *task)
{
    return crew_start_cut(crew, task, -1);
}

bool crew_wait(struct crew *crew, int number, int64_t limit_ms, struct order_status *status)
{
    struct crew_task *of = &crew->tasks[number];
    int64_t give_up_ms = clock_now_ms() + limit_ms;
    while (of->task != NULL) {
        loop_turn(crew->loop, 100);
        if (clock_now_ms() >= give_up_ms) {
            fail_msg("the task hangs: %s", of->status.reason);
        }
    }
    *status = of->status;
    return !of->is_cut;
}

void crew_wait_word(struct crew *crew, int number, int64_t limit_ms, const char *part)
{
    struct crew_task *of = &crew->tasks[number];
    int64_t give_up_ms = clock_now_ms() + limit_ms;
    while (strstr(of->status.reason, part) == NULL) {
        loop_turn(crew->loop, 100);
        if (of->task == NULL || clock_now_ms() >= give_up_ms) {
            fail_msg("never said \"%s\", but %s: %s", part, order_state_name(of->status.state),
                     of->status.reason);
        }
    }
}

/* What the servers of a failed task say, for whoever reads the failure. */
static void tell_views(const struct task *task)
{
    const struct address *const addresses[] = {&task->node_address, &task->peer_address};
    for (int i = 0; i < 2; i++) {
        redisContext *link = redisConnect(addresses[i]->host, addresses[i]->port);
        redisReply *reply =
            link != NULL && link->err == 0 ? redisCommand(link, "CLUSTER NODES") : NULL;
        print_message("CLUSTER NODES of %s:%d:\n%s\n", addresses[i]->host, addresses[i]->port,
                      reply != NULL ? reply->str : "no answer");
        if (reply != NULL) {
            freeReplyObject(reply);
        }
        redisFree(link);
    }
}

void crew_do(struct crew *crew, const struct task *task)
{
    struct order_status status;
    (void)crew_wait(crew, crew_start(crew, task), 100000, &status);
    if (status.state != ORDER_DONE) {
        tell_views(task);
        fail_msg("%s: %s", order_state_name(status.state), status.reason);
    }
}

int crew_change_count(const struct crew *crew, int number)
{
    return crew->tasks[number].change_count;
}
