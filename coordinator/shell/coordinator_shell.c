/* coordinator_shell.c — see coordinator_shell.h.
 *
 * The core is never stepped from inside a step: io answers come from the loop, and an operator's
 * command that the core answers at once is answered while its effects are carried out. */
#include "coordinator/shell/coordinator_shell.h"

#include "common/base/alloc.h"
#include "common/base/check.h"
#include "common/io/clock.h"
#include "common/io/store.h"
#include "common/wire/message_codec.h"
#include "common/wire/record_codec.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LEADER_KEY "leader"

/* A question whose answer somebody waits for: an agent's request or an operator's command. */
struct waiting {
    uint64_t handle;
    struct bus_request *request; /* of an agent, or NULL */
    void (*done)(void *user,
                 const struct err *err,
                 const char *operation_id,
                 const struct plan *plan,
                 const char *description);
    void *user;
    bool is_forgotten; /* the operator is gone */
};

/* A store request under way. Outlives the shell when the store answers late. */
struct store_call {
    struct coordinator_shell *shell; /* NULL once the shell is gone */
    struct store_call *previous;
    struct store_call *next;
    int64_t started_us;
};

struct coordinator_shell {
    struct loop *loop;
    struct store *store;
    struct log_sink *log;
    struct coordinator_config config;
    struct coordinator *core;
    struct coordinator_effects effects; /* of the step in hand; empty between steps */
    struct bus_server *bus;
    struct store_watch *watch;
    struct loop_timer *timer;
    struct store_call *calls;
    struct waiting *waiting; /* owned, by handle, ascending */
    int waiting_count;
    int waiting_capacity;
    uint64_t next_handle;
    struct coordinator_counters counters;
    struct err store_err; /* of the last failure; code 0 = the last answer was none */
    bool has_store_answered;
    bool was_leader;
    bool is_stepping;
    bool has_exited;
    bool has_news; /* this step logged an event or answered a command */
    void (*changed)(void *user);
    void *changed_user;
    void (*on_exit)(void *user, const struct err *err);
    void *user;
};

static void step(struct coordinator_shell *shell, struct coordinator_event *event);

/* --- who waits for an answer ------------------------------------------------------------------ */

static struct waiting *waiting_add(struct coordinator_shell *shell)
{
    ARRAY_RESERVE(shell->waiting, shell->waiting_count, shell->waiting_capacity);
    struct waiting *waiting = &shell->waiting[shell->waiting_count++];
    *waiting = (struct waiting){.handle = ++shell->next_handle};
    return waiting;
}

/* Takes the one with this handle out; false when there is none. */
static bool waiting_take(struct coordinator_shell *shell, uint64_t handle, struct waiting *taken)
{
    for (int i = 0; i < shell->waiting_count; i++) {
        if (shell->waiting[i].handle == handle) {
            *taken = shell->waiting[i];
            shell->waiting_count--;
            memmove(&shell->waiting[i], &shell->waiting[i + 1],
                    (size_t)(shell->waiting_count - i) * sizeof(shell->waiting[0]));
            return true;
        }
    }
    return false;
}

/* --- the store -------------------------------------------------------------------------------- */

static struct coordinator_shell *call_end(struct store_call *call)
{
    struct coordinator_shell *shell = call->shell;
    if (shell != NULL) {
        if (call->previous != NULL) {
            call->previous->next = call->next;
        } else {
            shell->calls = call->next;
        }
        if (call->next != NULL) {
            call->next->previous = call->previous;
        }
        shell->counters.store_latency_us_sum += (uint64_t)(clock_now_us() - call->started_us);
    }
    free(call);
    return shell;
}

/* Decodes every value. One that is no record of ours goes on with kind 0: the core knows what
 * depends on it. Returns how many there were; 'err' names the last. */
static int decode_records(const struct store_result *result,
                          struct stored_record *records,
                          struct err *err)
{
    int unreadable = 0;
    for (int i = 0; i < result->kv_count; i++) {
        const struct store_kv *kv = &result->kvs[i];
        struct err detail = {0};
        records[i].key = kv->key;
        records[i].create_revision = kv->create_revision;
        records[i].mod_revision = kv->mod_revision;
        records[i].lease_id = kv->lease_id;
        if (record_decode(kv->value.data, kv->value.len, &records[i].record, &detail) != 0) {
            records[i].record = (struct record){0};
            unreadable++;
            (void)err_set(err, ERR_PROTOCOL, "stored record \"%s\" cannot be read: %s", kv->key,
                          detail.text);
            err_hint(err,
                     "is another program using this prefix, or was it written by a newer drover?");
        }
    }
    return unreadable;
}

static void on_stored(void *user, const struct store_result *result)
{
    struct coordinator_shell *shell = call_end(user);
    if (shell == NULL) {
        return;
    }
    struct store_result seen = *result;
    seen.kvs = NULL;
    seen.kv_count = 0;
    struct stored_record *records = xcalloc((size_t)result->kv_count, sizeof(*records));
    shell->has_store_answered = true;
    shell->store_err = (struct err){0};
    if (result->code == 0) {
        int unreadable = decode_records(result, records, &shell->store_err);
        shell->counters.store_undecodable += (uint64_t)unreadable;
    } else {
        shell->counters.store_failures++;
        shell->store_err = result->err;
        shell->store_err.code = result->code;
    }
    struct coordinator_event event = {
        .kind = COORDINATOR_STORE,
        .result = &seen,
        .records = records,
        .record_count = result->code == 0 ? result->kv_count : 0,
    };
    step(shell, &event);
    for (int i = 0; i < result->kv_count; i++) {
        record_release(&records[i].record);
    }
    free(records);
}

static void do_store(struct coordinator_shell *shell, struct coordinator_effect *effect)
{
    for (int i = 0; i < effect->record_count; i++) {
        struct record_write *write = &effect->records[i];
        CHECK(write->write_index >= 0 && write->write_index < effect->request.write_count);
        record_encode(&write->record, &effect->request.writes[write->write_index].value);
    }
    struct store_call *call = xcalloc(1, sizeof(*call));
    *call = (struct store_call){.shell = shell, .next = shell->calls, .started_us = clock_now_us()};
    if (shell->calls != NULL) {
        shell->calls->previous = call;
    }
    shell->calls = call;
    shell->counters.store_requests++;
    store_submit(shell->store, &effect->request, on_stored, call);
}

static void on_leader_changed(void *user, const struct store_changes *changes)
{
    struct coordinator_shell *shell = user;
    bool is_seen = false;
    bool is_deleted = changes->is_snapshot;
    for (int i = 0; i < changes->count; i++) {
        if (strcmp(changes->items[i].kv.key, LEADER_KEY) == 0) {
            is_seen = true;
            is_deleted = changes->items[i].is_delete;
        }
    }
    if (is_seen || changes->is_snapshot) {
        struct coordinator_event event = {.kind = COORDINATOR_CHANGED, .is_deleted = is_deleted};
        step(shell, &event);
    }
}

/* --- agents ----------------------------------------------------------------------------------- */

static void reply(struct bus_request *request, const struct message *message)
{
    struct strbuf bytes = {0};
    message_encode(message, &bytes);
    bus_reply(request, bytes.data, bytes.len);
    strbuf_release(&bytes);
}

static void on_request(void *user, struct bus_request *request, const void *data, size_t size)
{
    struct coordinator_shell *shell = user;
    struct message message = {0};
    struct err err = {0};
    shell->counters.messages_received++;
    if (message_decode(data, size, &message, &err) != 0) {
        shell->counters.messages_refused++;
        struct message refusal = {.kind = MESSAGE_REFUSAL, .as.refusal.code = err.code};
        (void)snprintf(refusal.as.refusal.text, sizeof(refusal.as.refusal.text), "%.*s",
                       TEXT_SIZE - 1, err.text);
        reply(request, &refusal);
        return;
    }
    struct waiting *waiting = waiting_add(shell);
    waiting->request = request;
    struct coordinator_event event = {
        .kind = COORDINATOR_MESSAGE, .handle = waiting->handle, .message = &message};
    step(shell, &event);
    message_release(&message);
}

static void do_reply(struct coordinator_shell *shell, const struct coordinator_effect *effect)
{
    struct waiting waiting;
    if (waiting_take(shell, effect->handle, &waiting)) {
        reply(waiting.request, &effect->message);
    }
}

/* --- operators -------------------------------------------------------------------------------- */

void coordinator_shell_command(struct coordinator_shell *shell,
                               const struct coordinator_command *command,
                               void (*done)(void *user,
                                            const struct err *err,
                                            const char *operation_id,
                                            const struct plan *plan,
                                            const char *description),
                               void *user)
{
    if (shell->has_exited) {
        struct err err = {0};
        (void)err_set(&err, ERR_CANCELLED, "the coordinator is stopping");
        done(user, &err, "", NULL, NULL);
        return;
    }
    shell->counters.commands++;
    struct waiting *waiting = waiting_add(shell);
    waiting->done = done;
    waiting->user = user;
    struct coordinator_event event = {
        .kind = COORDINATOR_COMMAND, .handle = waiting->handle, .command = command};
    step(shell, &event);
}

void coordinator_shell_command_forget(struct coordinator_shell *shell, void *user)
{
    for (int i = 0; i < shell->waiting_count; i++) {
        if (shell->waiting[i].done != NULL && shell->waiting[i].user == user) {
            shell->waiting[i].is_forgotten = true;
        }
    }
}

static void do_command_done(struct coordinator_shell *shell,
                            const struct coordinator_effect *effect)
{
    struct waiting waiting;
    shell->has_news = true;
    if (waiting_take(shell, effect->handle, &waiting) && !waiting.is_forgotten) {
        bool has_plan = effect->plan.operation_id[0] != '\0' || effect->plan.topology_digest != 0 ||
                        effect->description != NULL;
        waiting.done(waiting.user, &effect->err, effect->operation_id,
                     has_plan ? &effect->plan : NULL, effect->description);
    }
}

/* --- steps ------------------------------------------------------------------------------------ */

static void do_log(struct coordinator_shell *shell, const struct log_event *event)
{
    shell->counters.log_events[event->level]++;
    shell->has_news = true;
    if (shell->log != NULL) {
        log_sink_write(shell->log, event, clock_now_ms());
    }
}

static void do_effect(struct coordinator_shell *shell, struct coordinator_effect *effect)
{
    switch (effect->kind) {
    case COORDINATOR_FX_STORE:
        do_store(shell, effect);
        return;
    case COORDINATOR_FX_REPLY:
        do_reply(shell, effect);
        return;
    case COORDINATOR_FX_COMMAND_DONE:
        do_command_done(shell, effect);
        return;
    case COORDINATOR_FX_LOG:
        do_log(shell, &effect->log);
        return;
    case COORDINATOR_FX_EXIT:
        shell->has_exited = true;
        loop_timer_set(shell->timer, NEVER);
        shell->on_exit(shell->user, &effect->err);
        return;
    }
    UNREACHABLE("coordinator effect");
}

static void step(struct coordinator_shell *shell, struct coordinator_event *event)
{
    if (shell->has_exited) {
        return;
    }
    CHECK(!shell->is_stepping);
    shell->is_stepping = true;
    shell->has_news = false;
    shell->counters.steps++;
    event->now_ms = clock_now_ms();
    event->wall_ms = clock_wall_ms();
    coordinator_step(shell->core, event, &shell->effects);
    for (int i = 0; i < shell->effects.count && !shell->has_exited; i++) {
        do_effect(shell, &shell->effects.items[i]);
    }
    coordinator_effects_clear(&shell->effects);
    bool is_leader = coordinator_is_leader(shell->core);
    shell->counters.terms += is_leader && !shell->was_leader ? 1 : 0;
    shell->was_leader = is_leader;
    shell->is_stepping = false;
    if (!shell->has_exited) {
        loop_timer_set(shell->timer, coordinator_deadline(shell->core));
    }
    if (shell->has_news && shell->changed != NULL) {
        shell->changed(shell->changed_user);
    }
}

static void on_timer(void *user)
{
    struct coordinator_event event = {.kind = COORDINATOR_TICK};
    step(user, &event);
}

/* --- life ------------------------------------------------------------------------------------- */

static void draw_identity(struct coordinator_config *config, const char *bus_url)
{
    if (config->self.instance[0] == '\0') {
        (void)snprintf(config->self.instance, sizeof(config->self.instance),
                       "%016" PRIx64 "%016" PRIx64, clock_random_u64(), clock_random_u64());
    }
    if (config->self.bus_url[0] == '\0') {
        (void)snprintf(config->self.bus_url, sizeof(config->self.bus_url), "%s", bus_url);
    }
    if (config->seed == 0) {
        config->seed = clock_random_u64();
    }
}

struct coordinator_shell *coordinator_shell_new(const struct coordinator_shell_options *options,
                                                struct err *err)
{
    struct coordinator_shell *shell = xcalloc(1, sizeof(*shell));
    *shell = (struct coordinator_shell){
        .loop = options->loop,
        .store = options->store,
        .log = options->log,
        .config = options->config,
        .on_exit = options->on_exit,
        .user = options->user,
    };
    struct bus_handler handler = {.on_request = on_request, .user = shell};
    shell->bus = bus_server_new(options->loop, options->bus_url, &options->bus, &handler, err);
    if (shell->bus == NULL) {
        coordinator_shell_free(shell);
        return NULL;
    }
    draw_identity(&shell->config, bus_server_url(shell->bus));
    shell->core = coordinator_new(&shell->config, clock_now_ms());
    shell->timer = loop_timer_new(options->loop, on_timer, shell);
    shell->watch = store_watch(options->store, LEADER_KEY, 0, on_leader_changed, shell);
    loop_timer_set(shell->timer, clock_now_ms());
    return shell;
}

static void cancel_commands(struct coordinator_shell *shell)
{
    struct err err = {0};
    (void)err_set(&err, ERR_CANCELLED,
                  "the coordinator is stopping; a command that was journalled goes on");
    while (shell->waiting_count > 0) {
        struct waiting waiting = shell->waiting[--shell->waiting_count];
        if (waiting.done != NULL && !waiting.is_forgotten) {
            waiting.done(waiting.user, &err, "", NULL, NULL);
        }
    }
}

void coordinator_shell_free(struct coordinator_shell *shell)
{
    if (shell == NULL) {
        return;
    }
    shell->has_exited = true;
    cancel_commands(shell);
    for (struct store_call *call = shell->calls; call != NULL; call = call->next) {
        call->shell = NULL;
    }
    store_unwatch(shell->watch);
    bus_server_free(shell->bus);
    loop_timer_free(shell->timer);
    coordinator_effects_release(&shell->effects);
    coordinator_free(shell->core);
    free(shell->waiting);
    free(shell);
}

void coordinator_shell_stop(struct coordinator_shell *shell)
{
    struct coordinator_event event = {.kind = COORDINATOR_STOP};
    step(shell, &event);
}

const struct coordinator *coordinator_shell_core(const struct coordinator_shell *shell)
{
    return shell->core;
}

struct loop *coordinator_shell_loop(const struct coordinator_shell *shell)
{
    return shell->loop;
}

const struct coordinator_config *coordinator_shell_config(const struct coordinator_shell *shell)
{
    return &shell->config;
}

const struct coordinator_counters *coordinator_shell_counters(const struct coordinator_shell *shell)
{
    return &shell->counters;
}

const char *coordinator_shell_bus_url(const struct coordinator_shell *shell)
{
    return bus_server_url(shell->bus);
}

bool coordinator_shell_store_is_up(const struct coordinator_shell *shell, struct err *err)
{
    if (shell->has_store_answered && shell->store_err.code == 0) {
        return true;
    }
    if (err != NULL) {
        *err = shell->store_err;
        if (!shell->has_store_answered) {
            (void)err_set(err, ERR_UNAVAILABLE, "the store has not answered yet");
        }
    }
    return false;
}

void coordinator_shell_listen(struct coordinator_shell *shell,
                              void (*changed)(void *user),
                              void *user)
{
    shell->changed = changed;
    shell->changed_user = user;
}
