/* helper_instance.c — see helper_instance.h. */
#include "helper_instance.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "agent/shell/instance_facts.h"
#include "common/io/clock.h"
#include "common/model/removal_proof.h"
#include "tests/tools/port_lease.h"

#include <arpa/inet.h>
#include <ftw.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define WAIT_MS_MAX 60000

static bool is_free(uint16_t port)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int yes = 1;
    struct sockaddr_in place = {.sin_family = AF_INET, .sin_port = htons(port)};
    (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof(yes));
    bool is_good = bind(fd, (const struct sockaddr *)&place, sizeof(place)) == 0;
    (void)close(fd);
    return is_good;
}

static uint16_t choose_port(void)
{
    for (;;) {
        uint16_t port = (uint16_t)(11000 + clock_random_u64() % 11500);
        uint16_t bus_port = (uint16_t)(port + 10000);
        if (is_free(port) && is_free(bus_port) && port_lease(port) && port_lease(bus_port)) {
            return port;
        }
    }
}

void rig_init(struct rig *rig)
{
    *rig = (struct rig){.folder = "/tmp/drover-instance-XXXXXX"};
    assert_non_null(mkdtemp(rig->folder));
    uint16_t port = choose_port();
    rig->settings = (struct instance_settings){
        .agent = "a1", .host = "127.0.0.1", .port_first = port, .port_last = port};
    (void)snprintf(rig->settings.folder, sizeof(rig->settings.folder), "%s/servers", rig->folder);
    rig->settings.supervisor = SUPERVISOR_NONE;
}

/* --- events ----------------------------------------------------------------------------------- */

static void on_redis(void *user, struct redis_result *result);

struct asked {
    struct rig *rig;
    uint64_t req_id;
};

static void feed(struct rig *rig, struct agent_event *event)
{
    struct agent_effects fx = {0};
    event->now_ms = clock_now_ms();
    instance_step(rig->instance, event, &fx);
    for (int i = 0; i < fx.count; i++) {
        struct agent_effect *effect = &fx.items[i];
        if (effect->kind == AGENT_FX_HOST) {
            instance_host_submit(rig->host, effect->req_id, &effect->host);
        } else if (effect->kind == AGENT_FX_REDIS) {
            struct asked *asked = calloc(1, sizeof(*asked));
            *asked = (struct asked){.rig = rig, .req_id = effect->req_id};
            struct redis_request request = {.address = &effect->address,
                                            .lane = (int)effect->lane,
                                            .commands = &effect->commands,
                                            .timeout_ms = effect->timeout_ms};
            redis_pool_submit(rig->pool, &request, on_redis, asked);
        }
    }
    agent_effects_release(&fx);
}

static void on_redis(void *user, struct redis_result *result)
{
    struct asked *asked = user;
    struct agent_event event = {.kind = AGENT_REDIS,
                                .req_id = asked->req_id,
                                .code = result->code,
                                .err = &result->err,
                                .replies = &result->replies};
    if (asked->rig->instance != NULL) {
        feed(asked->rig, &event);
    }
    free(asked);
}

static void on_host(void *user, struct agent_event *event)
{
    struct rig *rig = user;
    rig->pid = event->facts->pid;
    feed(rig, event);
}

void rig_open(struct rig *rig)
{
    struct err err;
    rig->loop = loop_new(&err);
    assert_non_null(rig->loop);
    struct instance_host_options host = {
        .loop = rig->loop, .folder = rig->settings.folder, .done = on_host, .user = rig};
    rig->host = instance_host_new(&host, &err);
    if (rig->host == NULL) {
        fail_msg("%s", err.text);
    }
    rig->redis.user = rig->settings.user;
    rig->redis.password = rig->settings.password;
    rig->pool = redis_pool_new(rig->loop, &rig->redis, &err);
    if (rig->pool == NULL) {
        fail_msg("%s", err.text);
    }
}

void rig_close(struct rig *rig)
{
    redis_pool_free(rig->pool);
    instance_host_free(rig->host);
    loop_free(rig->loop);
    replies_release(&rig->replies);
    rig->loop = NULL;
}

static int remove_one(const char *path, const struct stat *info, int kind, struct FTW *where)
{
    (void)info;
    (void)kind;
    (void)where;
    return remove(path);
}

void rig_release(struct rig *rig)
{
    char path[512];
    char port[16];
    if (rig->loop != NULL) {
        rig_close(rig);
    }
    (void)snprintf(port, sizeof(port), "servers/%d", (int)rig_port(rig));
    int64_t pid = instance_facts_pid(rig_path(rig, port, path));
    if (pid != 0) {
        (void)kill((pid_t)pid, SIGKILL);
    }
    for (int i = 0; instance_facts_pid(path) != 0 && i < 1000; i++) {
        (void)poll(NULL, 0, 10);
    }
    (void)nftw(rig->folder, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

/* --- orders ----------------------------------------------------------------------------------- */

uint16_t rig_port(const struct rig *rig)
{
    return rig->settings.port_first;
}

const char *rig_path(const struct rig *rig, const char *name, char path[512])
{
    (void)snprintf(path, 512, "%s/%s", rig->folder, name);
    return path;
}

struct order rig_order(const struct rig *rig, enum task_kind kind, const char *detail)
{
    struct order order = {.id = {.operation_id = "op-7-1"}, .fence = 7, .kind = ORDER_TASK};
    order.task.kind = kind;
    order.task.node_address = (struct address){.host = "127.0.0.1", .port = rig_port(rig)};
    (void)snprintf(order.task.detail, sizeof(order.task.detail), "agent a1\n%s", detail);
    return order;
}

struct order rig_stop_order(const struct rig *rig)
{
    struct removal_proof proof = {.node = {"0123456789abcdef0123456789abcdef01234567"},
                                  .address = {.host = "127.0.0.1", .port = rig_port(rig)},
                                  .asked = 1,
                                  .fence = 7,
                                  .operation_id = "op-7-1"};
    struct strbuf text = {0};
    removal_proof_format(&proof, rig->settings.certificate_key, &text);
    struct order order = rig_order(rig, TASK_STOP, strbuf_text(&text));
    strbuf_release(&text);
    return order;
}

struct order_status rig_run(struct rig *rig, const struct order *order)
{
    rig->instance = instance_new(order, &rig->settings, &rig->turn, ++rig->serial, clock_now_ms());
    int64_t give_up_ms = clock_now_ms() + WAIT_MS_MAX;
    while (!instance_is_over(rig->instance)) {
        if (clock_now_ms() >= instance_deadline(rig->instance)) {
            struct agent_event tick = {.kind = AGENT_TICK};
            feed(rig, &tick);
        }
        if (clock_now_ms() > give_up_ms) {
            fail_msg("the task does not end");
        }
        loop_turn(rig->loop, 20);
    }
    struct order_status status;
    instance_status(rig->instance, &status);
    instance_free(rig->instance);
    rig->instance = NULL;
    return status;
}

static void on_answer(void *user, struct redis_result *result)
{
    struct rig *rig = user;
    replies_release(&rig->replies);
    rig->replies = result->replies;
    result->replies = (struct reply_list){0};
    rig->answer_code = result->code;
    rig->has_answer = true;
}

const char *rig_ask(struct rig *rig, const char *first, const char *second, const char *third)
{
    struct command_list commands = {0};
    struct address address = {.host = "127.0.0.1", .port = rig_port(rig)};
    commands_add(&commands, first, second, third, NULL);
    struct redis_request request = {
        .address = &address, .lane = 1, .commands = &commands, .timeout_ms = 5000};
    rig->has_answer = false;
    redis_pool_submit(rig->pool, &request, on_answer, rig);
    commands_release(&commands);
    while (!rig->has_answer) {
        loop_turn(rig->loop, 20);
    }
    return rig->answer_code == 0 ? rig->replies.replies[0].text : "";
}
