/* agent_shell.c — see agent_shell.h.
 *
 * One rule keeps it simple: the core is never stepped from inside a step. Answers that are ready at
 * once (the fence file, discovery) wait in 'pending' until the present effects are carried out. */
#include "agent/shell/agent_shell.h"

#include "agent/shell/discover.h"
#include "agent/shell/instance_host.h"
#include "agent/shell/outside_host.h"
#include "common/base/alloc.h"
#include "common/base/check.h"
#include "common/io/clock.h"
#include "common/io/dial.h"
#include "common/io/file_state.h"
#include "common/wire/message_codec.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FENCE_FILE "fence"
#define LOCK_FILE "lock"
#define FENCE_TEXT_MAX 32

/* One answer on its way to the core. */
struct call {
    struct agent_shell *shell; /* NULL once the shell is gone */
    struct call *previous;     /* the shell's list of open calls */
    struct call *next;
    uint64_t req_id;
};

struct agent_shell {
    struct loop *loop;
    struct log_sink *log;
    struct agent *core;
    struct agent_effects effects; /* of the step in hand; empty between steps */
    struct bus_client *bus;
    struct redis_pool *redis;
    struct dialer *dialer;
    struct instance_host *host;
    struct outside_host *outside;
    struct loop_timer *timer;
    char *fence_path;   /* owned */
    int lock;           /* descriptor of the lock file, -1 = none */
    struct call *calls; /* open ones; each ends in its io callback */
    /* Answers of effects that are done at once; fed in after the effects of the step. */
    bool is_fence_pending;
    int64_t fence;
    int fence_code;
    struct err fence_err;
    bool is_discovery_pending;
    bool is_stepping;
    bool has_exited;
    void (*on_exit)(void *user, const struct err *err);
    void *user;
};

static void step(struct agent_shell *shell, struct agent_event *event);

/* --- open calls ------------------------------------------------------------------------------- */

static struct call *call_new(struct agent_shell *shell, uint64_t req_id)
{
    struct call *call = xcalloc(1, sizeof(*call));
    *call = (struct call){.shell = shell, .next = shell->calls, .req_id = req_id};
    if (shell->calls != NULL) {
        shell->calls->previous = call;
    }
    shell->calls = call;
    return call;
}

/* Ends a call; returns the shell to step, or NULL when it is being freed. */
static struct agent_shell *call_end(struct call *call, uint64_t *req_id)
{
    struct agent_shell *shell = call->shell;
    *req_id = call->req_id;
    if (shell != NULL) {
        if (call->previous != NULL) {
            call->previous->next = call->next;
        } else {
            shell->calls = call->next;
        }
        if (call->next != NULL) {
            call->next->previous = call->previous;
        }
    }
    free(call);
    return shell;
}

/* --- answers become events -------------------------------------------------------------------- */

static void on_redis(void *user, struct redis_result *result)
{
    uint64_t req_id = 0;
    struct agent_shell *shell = call_end(user, &req_id);
    if (shell == NULL) {
        return;
    }
    struct agent_event event = {
        .kind = AGENT_REDIS,
        .req_id = req_id,
        .code = result->code,
        .err = &result->err,
        .replies = &result->replies,
        .connection_id = result->connection_id,
        .latency_us = result->latency_us,
    };
    step(shell, &event);
}

static void on_reply(void *user, const struct bus_result *result)
{
    uint64_t req_id = 0;
    struct agent_shell *shell = call_end(user, &req_id);
    if (shell == NULL) {
        return;
    }
    struct message message = {0};
    struct err err = result->err;
    int code = result->code;
    if (code == 0) {
        code = message_decode(result->data, result->size, &message, &err);
    }
    struct agent_event event = {
        .kind = AGENT_MESSAGE,
        .req_id = req_id,
        .code = code,
        .err = &err,
        .message = code == 0 ? &message : NULL,
    };
    step(shell, &event);
    if (code == 0) {
        message_release(&message);
    }
}

static void on_dialed(void *user, const struct err *err)
{
    uint64_t req_id = 0;
    struct agent_shell *shell = call_end(user, &req_id);
    if (shell != NULL) {
        struct agent_event event = {
            .kind = AGENT_DIALED, .req_id = req_id, .code = err->code, .err = err};
        step(shell, &event);
    }
}

static void on_host(void *user, struct agent_event *event)
{
    step(user, event);
}

static void on_timer(void *user)
{
    struct agent_event event = {.kind = AGENT_TICK};
    step(user, &event);
}

/* --- effects become calls --------------------------------------------------------------------- */

static void do_send(struct agent_shell *shell, const struct agent_effect *effect)
{
    struct strbuf bytes = {0};
    message_encode(&effect->message, &bytes);
    struct bus_bytes message = {.data = bytes.data, .size = bytes.len};
    bus_client_request(shell->bus, effect->coordinator_index, &message, effect->timeout_ms,
                       on_reply, call_new(shell, effect->req_id));
    strbuf_release(&bytes);
}

static void do_redis(struct agent_shell *shell, const struct agent_effect *effect)
{
    struct redis_request request = {
        .address = &effect->address,
        .lane = (int)effect->lane,
        .commands = &effect->commands,
        .timeout_ms = effect->timeout_ms,
        .required_connection_id = effect->connection_id,
    };
    redis_pool_submit(shell->redis, &request, on_redis, call_new(shell, effect->req_id));
}

static void do_save_fence(struct agent_shell *shell, int64_t fence)
{
    char text[FENCE_TEXT_MAX];
    int len = snprintf(text, sizeof(text), "%" PRId64 "\n", fence);
    shell->fence_code = file_state_write(shell->fence_path, text, (size_t)len, &shell->fence_err);
    shell->fence = fence;
    shell->is_fence_pending = true;
}

static void do_host(struct agent_shell *shell, const struct agent_effect *effect)
{
    if (effect->host.verb == HOST_OUTSIDE_START) {
        outside_host_submit(shell->outside, effect->req_id, effect->host.outside);
    } else if (effect->host.verb == HOST_OUTSIDE_CANCEL) {
        outside_host_cancel(shell->outside, effect->req_id);
    } else {
        instance_host_submit(shell->host, effect->req_id, &effect->host);
    }
}

static void do_effect(struct agent_shell *shell, const struct agent_effect *effect)
{
    switch (effect->kind) {
    case AGENT_FX_SEND:
        do_send(shell, effect);
        return;
    case AGENT_FX_REDIS:
        do_redis(shell, effect);
        return;
    case AGENT_FX_SAVE_FENCE:
        do_save_fence(shell, effect->fence);
        return;
    case AGENT_FX_DISCOVER:
        shell->is_discovery_pending = true;
        return;
    case AGENT_FX_LOG:
        if (shell->log != NULL) {
            log_sink_write(shell->log, &effect->log, clock_now_ms());
        }
        return;
    case AGENT_FX_HOST:
        do_host(shell, effect);
        return;
    case AGENT_FX_DIAL:
        dialer_dial(shell->dialer, &effect->address, effect->timeout_ms, on_dialed,
                    call_new(shell, effect->req_id));
        return;
    case AGENT_FX_EXIT:
        shell->has_exited = true;
        loop_timer_set(shell->timer, NEVER);
        shell->on_exit(shell->user, &effect->err);
        return;
    }
    UNREACHABLE("agent effect");
}

static void step_once(struct agent_shell *shell, struct agent_event *event)
{
    event->now_ms = clock_now_ms();
    agent_step(shell->core, event, &shell->effects);
    /* on_exit may not free us, so the list stays valid while it is carried out. */
    for (int i = 0; i < shell->effects.count && !shell->has_exited; i++) {
        do_effect(shell, &shell->effects.items[i]);
    }
    agent_effects_clear(&shell->effects);
}

static void feed_pending(struct agent_shell *shell)
{
    while (!shell->has_exited && (shell->is_fence_pending || shell->is_discovery_pending)) {
        if (shell->is_fence_pending) {
            shell->is_fence_pending = false;
            struct err err = shell->fence_err;
            struct agent_event saved = {.kind = AGENT_FENCE_SAVED,
                                        .fence = shell->fence,
                                        .code = shell->fence_code,
                                        .err = &err};
            step_once(shell, &saved);
        } else {
            shell->is_discovery_pending = false;
            struct address *addresses = xcalloc(DISCOVER_NODES_MAX, sizeof(*addresses));
            struct agent_event found = {.kind = AGENT_DISCOVERED, .addresses = addresses};
            found.address_count = discover_nodes(addresses);
            step_once(shell, &found);
            free(addresses);
        }
    }
}

static void step(struct agent_shell *shell, struct agent_event *event)
{
    if (shell->has_exited) {
        return;
    }
    CHECK(!shell->is_stepping);
    shell->is_stepping = true;
    step_once(shell, event);
    feed_pending(shell);
    shell->is_stepping = false;
    if (!shell->has_exited) {
        loop_timer_set(shell->timer, agent_deadline(shell->core));
    }
}

/* --- life ------------------------------------------------------------------------------------- */

static int read_fence(const char *path, int64_t *fence, struct err *err)
{
    struct strbuf text = {0};
    int code = file_state_read(path, FENCE_TEXT_MAX, &text, err);
    if (code == ERR_NOT_FOUND) {
        *fence = 0;
        code = 0;
    } else if (code == 0) {
        char *end = NULL;
        long long value = strtoll(strbuf_text(&text), &end, 10);
        if (value < 0 || end == strbuf_text(&text) || *end != '\n') {
            code = err_set(err, ERR_IO, "fence file %s is damaged", path);
            err_hint(err, "stop all orders to this host, then remove the file and start again");
        } else {
            *fence = value;
        }
    }
    strbuf_release(&text);
    return code;
}

static int open_state(struct agent_shell *shell,
                      const char *folder,
                      int64_t *fence,
                      struct err *err)
{
    int code = file_state_make_folder(folder, err);
    if (code != 0) {
        return code;
    }
    char *lock_path = xasprintf("%s/%s", folder, LOCK_FILE);
    shell->lock = file_state_lock(lock_path, err);
    free(lock_path);
    if (shell->lock < 0) {
        return shell->lock;
    }
    shell->fence_path = xasprintf("%s/%s", folder, FENCE_FILE);
    return read_fence(shell->fence_path, fence, err);
}

static void start_core(struct agent_shell *shell,
                       const struct agent_shell_options *options,
                       int64_t fence)
{
    struct agent_config config = options->config;
    config.incarnation = clock_random_u64();
    config.seed = clock_random_u64();
    config.coordinator_count = options->coordinator_url_count;
    config.coordinator_urls = options->coordinator_urls;
    config.discovers = options->discovers;
    config.fence_seen = fence;
    if (options->redis.user != NULL) {
        (void)snprintf(config.redis_user, sizeof(config.redis_user), "%s", options->redis.user);
    }
    if (options->redis.password != NULL) {
        (void)snprintf(config.redis_password, sizeof(config.redis_password), "%s",
                       options->redis.password);
    }
    shell->core = agent_new(&config, clock_now_ms());
    explicit_bzero(config.redis_password, sizeof(config.redis_password));
}

struct agent_shell *agent_shell_new(const struct agent_shell_options *options, struct err *err)
{
    struct agent_shell *shell = xcalloc(1, sizeof(*shell));
    *shell = (struct agent_shell){
        .loop = options->loop,
        .log = options->log,
        .lock = -1,
        .on_exit = options->on_exit,
        .user = options->user,
    };
    int64_t fence = 0;
    if (open_state(shell, options->state_folder, &fence, err) != 0) {
        goto fail;
    }
    shell->redis = redis_pool_new(options->loop, &options->redis, err);
    if (shell->redis == NULL) {
        goto fail;
    }
    shell->dialer = dialer_new(options->loop);
    shell->bus = bus_client_new(options->loop, options->coordinator_urls,
                                options->coordinator_url_count, &options->bus, err);
    if (shell->bus == NULL) {
        goto fail;
    }
    struct instance_host_options host = {.loop = options->loop,
                                         .folder = options->config.instances.folder,
                                         .redis_program = options->redis_program,
                                         .valkey_program = options->valkey_program,
                                         .done = on_host,
                                         .user = shell};
    shell->host = instance_host_new(&host, err);
    if (shell->host == NULL) {
        goto fail;
    }
    struct outside_host_options outside = {.loop = options->loop,
                                           .webhook_token = options->webhook_token,
                                           .webhook_ca = options->webhook_ca,
                                           .done = on_host,
                                           .user = shell};
    shell->outside = outside_host_new(&outside);
    shell->timer = loop_timer_new(options->loop, on_timer, shell);
    start_core(shell, options, fence);
    loop_timer_set(shell->timer, clock_now_ms());
    return shell;
fail:
    agent_shell_free(shell);
    return NULL;
}

void agent_shell_free(struct agent_shell *shell)
{
    if (shell == NULL) {
        return;
    }
    for (struct call *call = shell->calls; call != NULL; call = call->next) {
        call->shell = NULL;
    }
    bus_client_free(shell->bus);
    redis_pool_free(shell->redis);
    dialer_free(shell->dialer);
    instance_host_free(shell->host);
    outside_host_free(shell->outside);
    loop_timer_free(shell->timer);
    agent_effects_release(&shell->effects);
    agent_free(shell->core);
    if (shell->lock >= 0) {
        file_state_unlock(shell->lock);
    }
    free(shell->fence_path);
    free(shell);
}

void agent_shell_stop(struct agent_shell *shell)
{
    struct agent_event event = {.kind = AGENT_STOP};
    step(shell, &event);
}

const struct agent *agent_shell_core(const struct agent_shell *shell)
{
    return shell->core;
}
