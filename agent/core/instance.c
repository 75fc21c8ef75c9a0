/* instance.c — see instance.h. */
#include "agent/core/instance.h"

#include "agent/core/instance_task.h"
#include "agent/core/redis_words.h"
#include "agent/core/request_ids.h"
#include "common/base/alloc.h"
#include "common/base/check.h"
#include "common/base/statemachine.h"
#include "common/model/info_text.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ASK_TIMEOUT_MS 2000
#define ASK_AGAIN_MS 200
#define LOOK_AGAIN_MS 200
#define PORT_FREED_MS 3000 /* a server of ours that was killed keeps its port until it is gone */
#define ANSWER_MS \
    30000 /* an empty server answers within a second; a loaded host gets half a minute */
#define STOP_MS 15000 /* SIGTERM: a server waits up to 10 s for its replicas */
#define KILL_MS 30000 /* from SIGTERM on: then there is nothing left to try */
#define CONFLICTS_MAX 3
#define CLAIM_MS 120000 /* systemctl may take a minute */

enum instance_state {
    INSTANCE_LOOKING,
    INSTANCE_CLEARING,
    INSTANCE_WRITING,
    INSTANCE_LAUNCHING,
    INSTANCE_ANSWERING,
    INSTANCE_ASKING,
    INSTANCE_STOPPING,
    INSTANCE_RETIRING,
    INSTANCE_ENDED,
    INSTANCE_STATE_NR
};

/* clang-format off */
static const struct sm_state instance_states[INSTANCE_STATE_NR] = {
    /*                      name         may go to                                                      deadline  meaning */
    [INSTANCE_LOOKING]   = {"looking",   SM_TO(INSTANCE_WRITING) | SM_TO(INSTANCE_ANSWERING)
                                         | SM_TO(INSTANCE_ASKING) | SM_TO(INSTANCE_RETIRING)
                                         | SM_TO(INSTANCE_CLEARING) | SM_TO(INSTANCE_ENDED),            CLAIM_MS, "sees what is at the address now"},
    [INSTANCE_CLEARING]  = {"clearing",  SM_TO(INSTANCE_LOOKING) | SM_TO(INSTANCE_ENDED),               CLAIM_MS, "puts the folder of an earlier server aside"},
    [INSTANCE_WRITING]   = {"writing",   SM_TO(INSTANCE_LAUNCHING) | SM_TO(INSTANCE_ENDED),             CLAIM_MS, "writes the server's conf"},
    [INSTANCE_LAUNCHING] = {"launching", SM_TO(INSTANCE_ANSWERING) | SM_TO(INSTANCE_STOPPING)
                                         | SM_TO(INSTANCE_ENDED),                                       CLAIM_MS, "starts the server"},
    [INSTANCE_ANSWERING] = {"answering", SM_TO(INSTANCE_LOOKING) | SM_TO(INSTANCE_STOPPING)
                                         | SM_TO(INSTANCE_ENDED),                                                   ANSWER_MS, "waits until the server answers"},
    [INSTANCE_ASKING]    = {"asking",    SM_TO(INSTANCE_STOPPING) | SM_TO(INSTANCE_ENDED),              ANSWER_MS, "asks the server whether it is empty and alone"},
    [INSTANCE_STOPPING]  = {"stopping",  SM_TO(INSTANCE_RETIRING) | SM_TO(INSTANCE_ENDED),              CLAIM_MS, "waits until the server's process has ended"},
    [INSTANCE_RETIRING]  = {"retiring",  SM_TO(INSTANCE_ENDED),                                         CLAIM_MS, "puts the server's folder aside"},
    [INSTANCE_ENDED]     = {"ended",     0,                                                             NEVER,    "done, stopped or given up"},
};
/* clang-format on */

struct instance {
    struct order order;
    const struct instance_settings *settings;
    struct instance_turn *turn;
    struct instance_task task;
    struct err task_err; /* why it cannot be carried out here; code 0 = it can */
    struct request_ids ids;
    struct sm sm;
    uint64_t req_id; /* the one thing on its way; 0 = none */
    int64_t wake_ms; /* when the next one may go */
    int64_t begun_ms;
    struct host_facts facts; /* as of the last answer of the host */
    bool has_launched;       /* by this order; else the server was found running */
    bool is_new;             /* no other request's folder: what this order makes it may undo */
    bool is_loading;         /* its last answer said so */
    int conflicts;           /* answers of another process than the folder's */
    bool was_signalled;
    bool was_killed;
    int64_t stopping_since_ms;
    struct err failure; /* STOPPING, RETIRING: what is being undone; code 0 = a plain stop */
    int last_code;      /* why the server did not answer lately, for people */
    char last_reason[TEXT_SIZE];
    /* Asked to end from outside. */
    bool is_ending;
    int end_code;
    char end_reason[TEXT_SIZE];
    /* Once ENDED. */
    enum order_state result;
    int reason_code;
    char reason[TEXT_SIZE];
};

struct instance *instance_new(const struct order *order,
                              const struct instance_settings *settings,
                              struct instance_turn *turn,
                              uint32_t serial,
                              int64_t now_ms)
{
    CHECK(order->task.kind == TASK_START || order->task.kind == TASK_STOP);
    struct instance *x = xcalloc(1, sizeof(*x));
    x->order = *order;
    x->settings = settings;
    x->turn = turn;
    x->ids.serial = serial;
    x->wake_ms = now_ms;
    x->begun_ms = now_ms;
    sm_init(&x->sm, instance_states, INSTANCE_STATE_NR, INSTANCE_LOOKING, now_ms);
    /* A failure stays in task_err and ends the task at its first step. */
    (void)!instance_task_read(&x->task, &x->order.task, settings, &x->task_err);
    return x;
}

/* ---- the turn ---- */

static bool take_turn(struct instance *x)
{
    if (x->turn->holder == NULL) {
        x->turn->holder = x;
    }
    return x->turn->holder == x;
}

static void leave_turn(const struct instance *x)
{
    if (x->turn->holder == x) {
        x->turn->holder = NULL;
    }
}

void instance_free(struct instance *x)
{
    if (x != NULL) {
        leave_turn(x);
        free(x);
    }
}

/* ---- ending ---- */

static void end(struct instance *x, enum order_state result, int code, const char *reason)
{
    leave_turn(x);
    sm_move(&x->sm, INSTANCE_ENDED, x->sm.since_ms);
    x->result = result;
    x->reason_code = code;
    (void)snprintf(x->reason, sizeof(x->reason), "%s", reason);
    x->wake_ms = NEVER;
}

static void fail(struct instance *x, int code, const char *reason)
{
    end(x, ORDER_FAILED, code, reason);
}

static void end_as_asked(struct instance *x)
{
    end(x, x->end_code == 0 ? ORDER_STOPPED : ORDER_EXPIRED, x->end_code, x->end_reason);
}

void instance_end(struct instance *x, int code, const char *reason)
{
    if (x->sm.state == INSTANCE_ENDED || x->is_ending) {
        return;
    }
    x->is_ending = true;
    x->end_code = code;
    (void)snprintf(x->end_reason, sizeof(x->end_reason), "%s", reason);
    if (x->req_id == 0) {
        end_as_asked(x);
    }
}

/* ---- what goes out ---- */

static struct host_call *call_host(struct instance *x,
                                   enum host_verb verb,
                                   struct agent_effects *fx)
{
    struct agent_effect *effect = agent_effects_add(fx, AGENT_FX_HOST);
    x->req_id = request_ids_next(&x->ids);
    effect->req_id = x->req_id;
    effect->host.verb = verb;
    effect->host.address = x->order.task.node_address;
    effect->host.flavor = x->task.flavor == 0 ? FLAVOR_REDIS : x->task.flavor;
    return &effect->host;
}

static struct command_list *ask_server(struct instance *x, struct agent_effects *fx)
{
    struct agent_effect *effect = agent_effects_add(fx, AGENT_FX_REDIS);
    x->req_id = request_ids_next(&x->ids);
    effect->req_id = x->req_id;
    effect->address = x->order.task.node_address;
    effect->lane = LANE_CONTROL;
    effect->timeout_ms = ASK_TIMEOUT_MS;
    return &effect->commands;
}

static bool runs_as_unit(const struct instance *x)
{
    return x->settings->supervisor == SUPERVISOR_SYSTEMD ||
           (x->settings->supervisor == SUPERVISOR_AUTO && x->facts.has_systemd);
}

/* The same for every attempt at the same batch. */
static const char *name_request(const struct instance *x, char text[HOST_REQUEST_SIZE])
{
    (void)snprintf(text, HOST_REQUEST_SIZE, "%s-%d", x->order.id.operation_id,
                   x->order.id.batch_index);
    return text;
}

static void retire(struct instance *x, const char *why, struct agent_effects *fx)
{
    struct host_call *call = call_host(x, HOST_RETIRE, fx);
    (void)snprintf(call->aside, sizeof(call->aside), "%d.%s%s.%d.%d",
                   (int)x->order.task.node_address.port, why, x->order.id.operation_id,
                   x->order.id.batch_index, x->order.id.attempt);
}

static void look(struct instance *x, int64_t now_ms, struct agent_effects *fx)
{
    if (x->order.task.kind != TASK_START || take_turn(x)) {
        (void)call_host(x, HOST_LOOK, fx);
    } else {
        x->wake_ms = now_ms + LOOK_AGAIN_MS;
    }
}

static void act(struct instance *x, int64_t now_ms, struct agent_effects *fx)
{
    struct command_list *commands = NULL;
    struct host_call *call = NULL;
    char request[HOST_REQUEST_SIZE];
    switch ((enum instance_state)x->sm.state) {
    case INSTANCE_LOOKING:
        look(x, now_ms, fx);
        break;
    case INSTANCE_CLEARING:
        retire(x, "before-", fx);
        break;
    case INSTANCE_WRITING:
        call = call_host(x, HOST_WRITE, fx);
        strbuf_addf(&call->text, HOST_REQUEST_LINE "%s\n", name_request(x, request));
        redis_conf_render(&x->task.conf, &call->text);
        break;
    case INSTANCE_LAUNCHING:
        call = call_host(x, HOST_LAUNCH, fx);
        call->is_unit = runs_as_unit(x);
        break;
    case INSTANCE_ANSWERING:
        commands = ask_server(x, fx);
        commands_add(commands, "PING", NULL);
        commands_add(commands, "INFO", "server", NULL);
        break;
    case INSTANCE_ASKING:
        commands = ask_server(x, fx);
        commands_add(commands, "DBSIZE", NULL);
        commands_add(commands, "INFO", "server", NULL);
        commands_add(commands, "CLUSTER", "INFO", NULL);
        break;
    case INSTANCE_STOPPING:
        call = call_host(x, x->was_signalled ? HOST_LOOK : HOST_SIGNAL, fx);
        call->is_kill = x->was_killed;
        x->was_signalled = true;
        break;
    case INSTANCE_RETIRING:
        retire(x, "", fx);
        break;
    case INSTANCE_ENDED:
    case INSTANCE_STATE_NR:
        break;
    }
}

static void log_change(const struct instance *x, const char *name, struct agent_effects *fx)
{
    struct agent_effect *effect = agent_effects_add(fx, AGENT_FX_LOG);
    char address[ADDRESS_TEXT_SIZE];
    log_event_init(&effect->log, LOG_INFO, name);
    log_event_add(&effect->log, "server", address_format(&x->order.task.node_address, address));
    log_event_add(&effect->log, "operation", x->order.id.operation_id);
    log_event_add_int(&effect->log, "fence", x->order.fence);
    log_event_add_int(&effect->log, "pid", x->facts.pid);
}

/* ---- START ---- */

static void begin_stop(struct instance *x, int64_t now_ms)
{
    sm_move(&x->sm, INSTANCE_STOPPING, now_ms);
    x->stopping_since_ms = now_ms;
}

/* What this order has made and cannot finish is taken back. A folder that was there before holds a
 * node, perhaps with data: that is left as it is. */
static void undo(struct instance *x, int code, const char *reason, int64_t now_ms)
{
    if (!x->is_new) {
        fail(x, code, reason);
        return;
    }
    (void)err_set(&x->failure, code, "%s", reason);
    begin_stop(x, now_ms);
}

static bool has_memory(const struct instance *x)
{
    int64_t wanted = x->task.conf.maxmemory_bytes;
    return x->settings->memory_bytes == 0 ||
           wanted <= x->settings->memory_bytes - x->facts.memory_promised_bytes;
}

static void begin_start(struct instance *x, int64_t now_ms)
{
    char reason[TEXT_SIZE];
    char request[HOST_REQUEST_SIZE];
    int port = x->order.task.node_address.port;
    bool is_taken = x->facts.is_port_taken || x->facts.is_bus_port_taken;
    bool is_own = !x->facts.is_used && strcmp(x->facts.request, name_request(x, request)) == 0;
    if (x->facts.pid != 0 && x->facts.is_used) {
        (void)snprintf(reason, sizeof(reason),
                       "a server of drover's runs at port %d that has slots or knows other nodes; "
                       "reset it, or stop it",
                       port);
        fail(x, ERR_REFUSED, reason);
    } else if (x->facts.pid != 0) {
        leave_turn(x);
        sm_move(&x->sm, INSTANCE_ANSWERING, now_ms);
    } else if (is_taken && x->facts.has_folder && now_ms - x->begun_ms < PORT_FREED_MS) {
        leave_turn(x);
        x->wake_ms = now_ms + LOOK_AGAIN_MS;
    } else if (is_taken) {
        (void)snprintf(reason, sizeof(reason), "port %d is taken by a process that is not drover's",
                       x->facts.is_port_taken ? port : port + 10000);
        fail(x, ERR_EXISTS, reason);
    } else if (!has_memory(x)) {
        (void)snprintf(reason, sizeof(reason),
                       "maxmemory %" PRId64 " does not fit: %" PRId64 " of %" PRId64
                       " bytes are promised to other servers",
                       x->task.conf.maxmemory_bytes, x->facts.memory_promised_bytes,
                       x->settings->memory_bytes);
        fail(x, ERR_LIMIT, reason);
    } else if (x->facts.has_folder && !is_own) {
        sm_move(&x->sm, INSTANCE_CLEARING, now_ms);
    } else {
        x->is_new = true;
        sm_move(&x->sm, INSTANCE_WRITING, now_ms);
    }
}

/* Nothing of the earlier server is lost, and nothing of it starts again. */
static void hear_cleared(struct instance *x, int64_t now_ms, struct agent_effects *fx)
{
    log_change(x, "instance.set_aside", fx);
    sm_move(&x->sm, INSTANCE_LOOKING, now_ms);
}

static void note(struct instance *x, int code, const char *reason)
{
    x->last_code = code;
    (void)snprintf(x->last_reason, sizeof(x->last_reason), "%s", reason);
}

/* The first answer that is an error, else NULL. */
static const struct reply *error_in(const struct reply_list *replies)
{
    for (int i = 0; i < replies->count; i++) {
        if (reply_is_error(&replies->replies[i])) {
            return &replies->replies[i];
        }
    }
    return NULL;
}

/* Whether the answers are there and are of the very process of the folder. Otherwise the failure is
 * noted. */
static bool is_answer_ours(struct instance *x, const struct agent_event *ev, int count, int info_at)
{
    const struct reply *error = ev->code == 0 ? error_in(ev->replies) : NULL;
    x->is_loading = error != NULL && reply_has_prefix(error, "LOADING");
    if (ev->code == 0 && error == NULL && ev->replies->count != count) {
        note(x, ERR_PROTOCOL, "the server's answer is incomplete");
        return false;
    }
    if (ev->code != 0 || error != NULL) {
        bool is_auth =
            ev->code == ERR_AUTH || (error != NULL && redis_fault_of(error) == FAULT_AUTH);
        const char *text =
            ev->err != NULL && ev->err->text[0] != '\0' ? ev->err->text : err_word(ev->code);
        note(x, is_auth ? ERR_AUTH : ERR_UNAVAILABLE, error != NULL ? error->text : text);
        return false;
    }
    struct info info;
    struct err err;
    const struct reply *reply = &ev->replies->replies[info_at];
    if (info_parse(&info, reply->text, reply->len, &err) != 0) {
        note(x, ERR_PROTOCOL, err.text);
        return false;
    }
    if (info.process_id != x->facts.pid) {
        char text[TEXT_SIZE];
        (void)snprintf(text, sizeof(text),
                       "process %" PRId64 " answers there, not process %" PRId64 " of the folder",
                       info.process_id, x->facts.pid);
        note(x, ERR_CONFLICT, text);
        x->conflicts++;
        return false;
    }
    return true;
}

/* A supervisor may have started the process anew between two looks; a stranger stays. */
static bool is_hopeless(const struct instance *x)
{
    return x->last_code == ERR_AUTH ||
           (x->last_code == ERR_CONFLICT && x->conflicts >= CONFLICTS_MAX);
}

static void hear_answer(struct instance *x, const struct agent_event *ev, struct agent_effects *fx)
{
    if (is_answer_ours(x, ev, 2, 1)) {
        log_change(x, "instance.started", fx);
        end(x, ORDER_DONE, 0, "the server runs and answers");
        return;
    }
    if (x->is_loading) {
        sm_extend(&x->sm, ev->now_ms); /* it has data of before; that may take its time */
    }
    if (is_hopeless(x)) {
        undo(x, x->last_code, x->last_reason, ev->now_ms);
    }
}

/* ---- STOP ---- */

/* The certificate says that nothing rests on the node; whether it still holds, the node says. */
static const char *why_not_empty(const struct agent_event *ev, char text[TEXT_SIZE])
{
    struct cluster_info info;
    struct err err;
    const struct reply *size = &ev->replies->replies[0];
    const struct reply *reply = &ev->replies->replies[2];
    if (size->type != REPLY_INTEGER ||
        cluster_info_parse(&info, reply->text, reply->len, &err) != 0) {
        return "its answers make no sense";
    }
    if (size->integer != 0 || info.slots_assigned != 0 || info.known_nodes != 1) {
        (void)snprintf(text, TEXT_SIZE,
                       "refused: the server holds %" PRId64 " keys, knows of %" PRId64
                       " slots in use and of %" PRId64 " nodes",
                       size->integer, info.slots_assigned, info.known_nodes);
        return text;
    }
    return NULL;
}

static void hear_emptiness(struct instance *x, const struct agent_event *ev)
{
    char text[TEXT_SIZE];
    if (!is_answer_ours(x, ev, 3, 1)) {
        x->wake_ms = ev->now_ms + ASK_AGAIN_MS;
        if (is_hopeless(x)) {
            fail(x, x->last_code, x->last_reason);
        }
        return;
    }
    const char *obstacle = why_not_empty(ev, text);
    if (obstacle != NULL) {
        fail(x, ERR_REFUSED, obstacle);
    } else {
        begin_stop(x, ev->now_ms);
    }
}

/* A node that was removed as dead leaves no folder that could start again; but its process may run,
 * out of everybody's sight, or another node may have come to the folder. NULL: it is put aside. */
static const char *why_left_alone(const struct instance *x)
{
    const struct removal_proof *proof = &x->task.proof;
    bool is_named = x->facts.node.text[0] != '\0';
    if (x->facts.pid != 0 || !proof->is_dead) {
        return "its server runs: left alone; stop it and empty its folder, or it may come back";
    }
    if (is_named && !node_id_is_equal(&x->facts.node, &proof->node)) {
        return "its folder is another node's now: left alone";
    }
    return NULL;
}

/* One that was not seen when the certificate was given may be silent still: then the certificate
 * alone speaks, and so it must be signed. If it does answer, its own word counts. */
static void begin_task_stop(struct instance *x, int64_t now_ms)
{
    if ((x->order.task.flags & TASK_DEAD) != 0 && why_left_alone(x) != NULL) {
        end(x, ORDER_DONE, 0, why_left_alone(x));
    } else if (x->facts.pid == 0) {
        sm_move(&x->sm, INSTANCE_RETIRING, now_ms);
    } else {
        sm_move(&x->sm, INSTANCE_ASKING, now_ms);
    }
}

static void hear_stopping(struct instance *x, int64_t now_ms)
{
    if (x->facts.pid == 0) {
        sm_move(&x->sm, INSTANCE_RETIRING, now_ms);
        return;
    }
    x->wake_ms = now_ms + LOOK_AGAIN_MS;
    int64_t waited_ms = now_ms - x->stopping_since_ms;
    if (waited_ms >= KILL_MS) {
        fail(x, ERR_TIMEOUT, "the server's process does not end");
    } else if (waited_ms >= STOP_MS && !x->was_killed) {
        x->was_killed = true; /* nothing is in it that could be lost */
        x->was_signalled = false;
    }
}

static void hear_retired(struct instance *x, struct agent_effects *fx)
{
    if (x->facts.has_aside) {
        log_change(x, x->failure.code == 0 ? "instance.stopped" : "instance.undone", fx);
    }
    if (x->failure.code != 0) {
        fail(x, x->failure.code, x->failure.text);
    } else if (x->facts.has_aside) {
        end(x, ORDER_DONE, 0, "the server was stopped, its folder put aside");
    } else {
        end(x, ORDER_DONE, 0, "no server of drover's is there");
    }
}

/* ---- hearing ---- */

static void hear_host_failure(struct instance *x, const struct agent_event *ev)
{
    const char *text =
        ev->err != NULL && ev->err->text[0] != '\0' ? ev->err->text : err_word(ev->code);
    if (x->sm.state == INSTANCE_LAUNCHING && ev->facts->pid != 0) {
        sm_move(&x->sm, INSTANCE_ANSWERING, ev->now_ms); /* it runs all the same */
    } else if (x->sm.state == INSTANCE_LAUNCHING) {
        undo(x, ev->code, text, ev->now_ms);
    } else if (x->sm.state == INSTANCE_STOPPING && ev->facts->pid == 0) {
        hear_stopping(x, ev->now_ms);
    } else {
        fail(x, ev->code, x->failure.code != 0 ? x->failure.text : text);
    }
}

static void hear_host(struct instance *x, const struct agent_event *ev, struct agent_effects *fx)
{
    x->facts = *ev->facts;
    if (ev->code != 0) {
        hear_host_failure(x, ev);
        return;
    }
    switch ((enum instance_state)x->sm.state) {
    case INSTANCE_LOOKING:
        if (x->order.task.kind == TASK_START) {
            begin_start(x, ev->now_ms);
        } else {
            begin_task_stop(x, ev->now_ms);
        }
        break;
    case INSTANCE_CLEARING:
        hear_cleared(x, ev->now_ms, fx);
        break;
    case INSTANCE_WRITING:
        leave_turn(x);
        sm_move(&x->sm, INSTANCE_LAUNCHING, ev->now_ms);
        x->has_launched = true;
        break;
    case INSTANCE_LAUNCHING:
        sm_move(&x->sm, INSTANCE_ANSWERING, ev->now_ms);
        break;
    case INSTANCE_ANSWERING: /* looked again, since it did not answer */
        x->wake_ms = ev->now_ms + ASK_AGAIN_MS;
        if (x->facts.pid == 0 && !x->has_launched) {
            sm_move(&x->sm, INSTANCE_LOOKING, ev->now_ms); /* it was just ending when it was seen */
        } else if (x->facts.pid == 0) {
            char reason[TEXT_SIZE];
            (void)snprintf(reason, sizeof(reason), "the server ended at once: %.120s",
                           x->facts.last_words);
            undo(x, ERR_UNAVAILABLE, reason, ev->now_ms);
        }
        break;
    case INSTANCE_STOPPING:
        hear_stopping(x, ev->now_ms);
        break;
    case INSTANCE_RETIRING:
        hear_retired(x, fx);
        break;
    case INSTANCE_ASKING:
    case INSTANCE_ENDED:
    case INSTANCE_STATE_NR:
        break;
    }
}

static void hear_redis(struct instance *x, const struct agent_event *ev, struct agent_effects *fx)
{
    if (x->sm.state == INSTANCE_ANSWERING) {
        hear_answer(x, ev, fx);
        if (x->sm.state == INSTANCE_ANSWERING) {
            (void)call_host(x, HOST_LOOK, fx); /* does it still run? Then it is asked again */
        }
    } else if (x->sm.state == INSTANCE_ASKING) {
        hear_emptiness(x, ev);
    }
}

static void hear_overdue(struct instance *x, int64_t now_ms)
{
    char reason[TEXT_SIZE];
    (void)snprintf(reason, sizeof(reason), "%s took too long: %.110s", sm_name(&x->sm),
                   x->last_reason);
    if (x->sm.state == INSTANCE_ANSWERING) {
        undo(x, ERR_TIMEOUT, reason, now_ms);
    } else if (x->sm.state == INSTANCE_ASKING && x->task.proof.is_dead && x->task.has_key) {
        begin_stop(x, now_ms); /* signed, and silent to the end */
    } else if (x->sm.state == INSTANCE_ASKING && x->task.proof.is_dead) {
        fail(x, ERR_REFUSED,
             "the certificate of a dead node must be signed, and no key is set here");
    } else {
        fail(x, ERR_TIMEOUT, reason);
    }
}

void instance_step(struct instance *x, const struct agent_event *event, struct agent_effects *fx)
{
    if (x->sm.state == INSTANCE_ENDED) {
        return;
    }
    bool is_answer = x->req_id != 0 && event->req_id == x->req_id &&
                     (event->kind == AGENT_HOST || event->kind == AGENT_REDIS);
    if (is_answer) {
        x->req_id = 0;
        x->wake_ms = event->now_ms;
    }
    if (x->is_ending && x->req_id == 0) {
        end_as_asked(x);
    } else if (x->task_err.code != 0) {
        fail(x, x->task_err.code, x->task_err.text);
    } else if (is_answer && event->kind == AGENT_HOST) {
        hear_host(x, event, fx);
    } else if (is_answer) {
        hear_redis(x, event, fx);
    }
    if (x->sm.state != INSTANCE_ENDED && x->req_id == 0 && sm_is_overdue(&x->sm, event->now_ms)) {
        hear_overdue(x, event->now_ms);
    }
    if (x->sm.state != INSTANCE_ENDED && x->req_id == 0 && event->now_ms >= x->wake_ms) {
        act(x, event->now_ms, fx);
    }
}

int64_t instance_deadline(const struct instance *x)
{
    if (x->sm.state == INSTANCE_ENDED || x->req_id != 0) {
        return NEVER; /* what is on its way is always answered */
    }
    return x->task_err.code != 0 ? x->sm.since_ms : deadline_min(x->wake_ms, x->sm.deadline_ms);
}

bool instance_is_over(const struct instance *x)
{
    return x->sm.state == INSTANCE_ENDED;
}

void instance_status(const struct instance *x, struct order_status *status)
{
    *status = (struct order_status){
        .id = x->order.id,
        .state = instance_is_over(x) ? x->result : ORDER_RUNNING,
        .call_us_p50 = -1,
        .call_us_max = -1,
        .is_replica_synced = true,
        .reason_code = x->reason_code,
    };
    (void)snprintf(status->reason, sizeof(status->reason), "%s",
                   instance_is_over(x) ? x->reason : instance_states[x->sm.state].meaning);
}
