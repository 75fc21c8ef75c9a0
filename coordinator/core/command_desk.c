/* command_desk.c — see command_desk.h. */
#include "coordinator/core/command_desk.h"

#include "common/base/alloc.h"
#include "common/base/check.h"
#include "coordinator/core/executor_facts.h"
#include "coordinator/core/planner.h"
#include "coordinator/core/state.h"

#include <stdio.h>
#include <string.h>

static struct coordinator_effect *answer(struct coordinator *c,
                                         uint64_t handle,
                                         const struct err *err)
{
    struct coordinator_effect *effect =
        coordinator_effects_add(c->turn.fx, COORDINATOR_FX_COMMAND_DONE);
    effect->handle = handle;
    if (err != NULL) {
        effect->err = *err;
    }
    return effect;
}

static void wait_for(struct coordinator *c,
                     uint64_t handle,
                     const struct operation_run *o,
                     bool wants_plan)
{
    struct command_desk *desk = &c->desk;
    CHECK(desk->count < COMMANDS_WAITING_MAX);
    struct command_waiting *waiting = &desk->items[desk->count++];
    *waiting =
        (struct command_waiting){.handle = handle, .ticket = o->ticket, .wants_plan = wants_plan};
    (void)snprintf(waiting->operation_id, sizeof(waiting->operation_id), "%s", o->op.id);
}

void command_desk_tick(struct coordinator *c)
{
    struct command_desk *desk = &c->desk;
    int kept = 0;
    for (int i = 0; i < desk->count; i++) {
        const struct command_waiting *waiting = &desk->items[i];
        if (!journal_is_durable(&c->journal, waiting->ticket)) {
            desk->items[kept++] = *waiting;
            continue;
        }
        struct coordinator_effect *effect = answer(c, waiting->handle, NULL);
        (void)snprintf(effect->operation_id, sizeof(effect->operation_id), "%s",
                       waiting->operation_id);
        const struct operation_run *o = executor_find(&c->executor, waiting->operation_id);
        if (waiting->wants_plan && o != NULL) {
            plan_copy(&effect->plan, &o->plan);
        }
    }
    desk->count = kept;
}

static int not_leader(const struct coordinator *c, struct err *err)
{
    (void)err_set(err, ERR_NOT_LEADER, "coordinator %s does not lead", c->config.self.name);
    if (c->election.is_leader_known) {
        err_hint(err, "ask %s at %s", c->election.leader.name, c->election.leader.api_url);
    } else {
        err_hint(err, "no leader is known at the moment; try again in a few seconds");
    }
    return ERR_NOT_LEADER;
}

void command_desk_end_term(struct coordinator *c)
{
    struct err err = {0};
    for (int i = 0; i < c->desk.count; i++) {
        (void)err_set(&err, ERR_FENCED,
                      "our term ended before %s was written; it may or may not have been",
                      c->desk.items[i].operation_id);
        err_hint(&err, "look with `drover ops`, then ask again if needed");
        (void)answer(c, c->desk.items[i].handle, &err);
    }
    c->desk.count = 0;
}

/* ---- what must hold before anything is accepted ---- */

int coordinator_check_ready(const struct coordinator *c, struct err *err)
{
    if (!election_is_leading(&c->election)) {
        return not_leader(c, err);
    }
    if (c->takeover.is_loading) {
        (void)err_set(err, ERR_UNAVAILABLE,
                      "coordinator %s has just begun to lead and reads its journal",
                      c->config.self.name);
        err_hint(err, "try again in a second");
        return ERR_UNAVAILABLE;
    }
    return 0;
}

static int check_may_write(const struct coordinator *c, struct err *err)
{
    if (c->executor.unreadable[0] != '\0') {
        (void)err_set(err, ERR_VERSION, "the store holds a record that drover %s cannot read: %s",
                      DROVER_VERSION, c->executor.unreadable);
        err_hint(err,
                 "run the version that wrote it, or remove the record after a look at the cluster");
        return ERR_VERSION;
    }
    if (journal_is_frozen(&c->journal)) {
        (void)err_set(err, ERR_UNAVAILABLE, "the store does not take writes: %s",
                      c->journal.err.text);
        err_hint(err, "nothing new is begun until it does; orders in hand run on");
        return ERR_UNAVAILABLE;
    }
    if (c->desk.count == COMMANDS_WAITING_MAX) {
        return err_set(err, ERR_LIMIT, "%d commands wait for the store already",
                       COMMANDS_WAITING_MAX);
    }
    return 0;
}

static int check_no_active(const struct coordinator *c, struct err *err)
{
    const struct operation_run *active = executor_active(c);
    if (active == NULL) {
        return 0;
    }
    (void)err_set(err, ERR_CONFLICT, "operation %s (%s) is %s; one runs at a time", active->op.id,
                  operation_kind_name(active->op.request.kind),
                  operation_state_name(active->op.state));
    err_hint(err, "wait for it, or `drover op resume %s` or `drover op cancel %s`", active->op.id,
             active->op.id);
    return ERR_CONFLICT;
}

/* ---- plans ---- */

/* Nobody reports a node, or none that could be read: then the agent's own words say why. */
static int refuse_without_nodes(const struct coordinator *c, struct err *err)
{
    const struct agent_entry *agent = NULL;
    const struct node_report *node = registry_find_unread(&c->registry, &agent);
    if (node == NULL) {
        (void)err_set(err, ERR_UNAVAILABLE, "no agent has reported a node yet");
        err_hint(err, "start drover-agent on the hosts, or see `drover why`");
        return ERR_UNAVAILABLE;
    }
    int code = node->reason_code == ERR_AUTH ? ERR_AUTH : ERR_UNAVAILABLE;
    (void)err_set(err, code, "agent %.60s reaches none of its %d nodes: %.100s", agent->id.text,
                  agent->node_count, node->reason);
    err_hint(err, "%s",
             code == ERR_AUTH ? "give the agent the user and password of the cluster"
                              : "see `drover why` and the log of that agent");
    return code;
}

/* 0 when there is something to plan on, and it is what the person has seen. */
static int check_seen(struct coordinator *c,
                      const struct coordinator_command *command,
                      struct err *err)
{
    observe_tick(c, true);
    /* Nodes that are named by address are looked at because of the request, and waited for. */
    bool may_be_empty = command->request.address_count > 0;
    if (c->observe.topology.node_count == 0 && !may_be_empty) {
        return refuse_without_nodes(c, err);
    }
    if (command->topology_digest != 0 && command->topology_digest != c->observe.digest) {
        (void)err_set(err, ERR_CONFLICT, "the cluster has changed since the plan was made");
        err_hint(err, "plan again and look at the new plan");
        return ERR_CONFLICT;
    }
    if (c->observe.views_stale > 0) {
        (void)err_set(err, ERR_CONFLICT, "the cluster is just changing: %s",
                      strbuf_text(&c->observe.unsettled));
        err_hint(err, "try again in a few seconds");
        err_retry_after(err, 1);
        return ERR_CONFLICT;
    }
    return 0;
}

static int make_plan(struct coordinator *c,
                     const struct coordinator_command *command,
                     struct plan *plan,
                     struct err *err)
{
    int code = check_seen(c, command, err);
    if (code != 0) {
        return code;
    }
    struct plan_options options;
    executor_plan_options(c, &command->request, &options);
    return plan_make(&c->observe.topology, &command->request, &options, plan, err);
}

/* ---- plans that grow ---- */

/* What would be done first, or ERR_* with the reason when nothing would be. */
static int ask_first(struct coordinator *c,
                     const struct coordinator_command *command,
                     struct lifecycle_answer *first,
                     struct err *err)
{
    int code = check_seen(c, command, err);
    if (code != 0) {
        return code;
    }
    grow_ask(c, &command->request, NULL, first);
    if (first->verdict == LIFECYCLE_REFUSED) {
        code = err_set(err, first->code != 0 ? first->code : ERR_REFUSED, "%s", first->reason);
        lifecycle_answer_release(first);
    }
    return code;
}

static int command_plan_growing(struct coordinator *c,
                                uint64_t handle,
                                const struct coordinator_command *command,
                                struct err *err)
{
    struct lifecycle_answer first;
    observe_wish(c, command->request.addresses, command->request.address_count);
    int code = ask_first(c, command, &first, err);
    if (code != 0) {
        return code;
    }
    struct executor_facts facts;
    struct strbuf text = {0};
    executor_facts_init(&facts, c, &command->request, NULL, 0);
    lifecycle_describe(&command->request, &facts.facts, &text);
    executor_facts_release(&facts);
    struct coordinator_effect *effect = answer(c, handle, NULL);
    effect->description = strbuf_detach(&text);
    grow_plan(c, &command->request, &first, &effect->plan);
    lifecycle_answer_release(&first);
    return 0;
}

static int command_plan(struct coordinator *c,
                        uint64_t handle,
                        const struct coordinator_command *command,
                        struct err *err)
{
    struct plan plan = {0};
    if (lifecycle_applies(command->request.kind)) {
        return command_plan_growing(c, handle, command, err);
    }
    int code = make_plan(c, command, &plan, err);
    if (code != 0) {
        return code;
    }
    if (!command->with_scan || plan.batch_count == 0) {
        answer(c, handle, NULL)->plan = plan;
        return 0;
    }
    if (c->scan.is_active || plan.batch_count > SCAN_BATCHES_MAX) {
        plan_release(&plan);
        (void)err_set(err, ERR_LIMIT,
                      c->scan.is_active ? "a scan is under way already"
                                        : "the plan has too many batches to be scanned");
        err_hint(err, "plan without a scan, or try later");
        return ERR_LIMIT;
    }
    scan_begin(c, handle, &plan);
    return 0;
}

static int count_planned(const struct executor *executor)
{
    int count = 0;
    for (int i = 0; i < executor->count; i++) {
        count += executor->operations[i]->op.state == OPERATION_PLANNED ? 1 : 0;
    }
    return count;
}

/* The new operation, journalled and begun or waiting for approval; takes the plan over. */
static void begin_operation(struct coordinator *c,
                            uint64_t handle,
                            const struct coordinator_command *command,
                            struct plan *plan)
{
    struct operation_run *o = executor_add(c, &command->request, plan);
    executor_record_plan(c, o);
    if (command->request.needs_approval) {
        executor_record_operation(c, o);
        struct log_event *log = turn_log(&c->turn, EVENT_OPERATION_STATE);
        log_event_add(log, "op", o->op.id);
        log_event_add(log, "to", operation_state_name(OPERATION_PLANNED));
    } else {
        operation_move(c, o, OPERATION_RUNNING, 0, "");
    }
    wait_for(c, handle, o, true);
}

/* A plan that grows begins with nothing: its first steps are decided once every node was read. */
static int command_start_growing(struct coordinator *c,
                                 uint64_t handle,
                                 const struct coordinator_command *command,
                                 struct err *err)
{
    struct lifecycle_answer first;
    int code = ask_first(c, command, &first, err);
    if (code != 0) {
        return code;
    }
    struct plan plan = {.topology_digest = c->observe.digest};
    if (first.verdict == LIFECYCLE_DONE) {
        struct coordinator_effect *effect = answer(c, handle, NULL);
        effect->plan = plan;
        effect->description = xstrdup("nothing to do\n");
    } else {
        begin_operation(c, handle, command, &plan);
    }
    lifecycle_answer_release(&first);
    return 0;
}

/* A record has room for nodes by id, or by address, not for both. */
static int check_request(const struct operation_request *request, struct err *err)
{
    if (request->address_count > 0 && request->weight_count + request->source_count > 0) {
        return err_set(err, ERR_INVALID, "a %s names nodes by address, not by weight or source",
                       operation_kind_name(request->kind));
    }
    if (request->address_count > REQUEST_ADDRESSES_MAX) {
        return err_set(err, ERR_LIMIT, "%d addresses are named, %d are allowed",
                       request->address_count, REQUEST_ADDRESSES_MAX);
    }
    size_t bytes = 0;
    for (int i = 0; i < request->address_count; i++) {
        bytes += strlen(request->addresses[i].host);
    }
    if (bytes > REQUEST_HOSTS_BYTES_MAX) {
        (void)err_set(err, ERR_LIMIT, "the names of %d hosts take %zu bytes, %lu are allowed",
                      request->address_count, bytes, REQUEST_HOSTS_BYTES_MAX);
        err_hint(err, "name fewer nodes at a time");
        return ERR_LIMIT;
    }
    return 0;
}

static int command_start(struct coordinator *c,
                         uint64_t handle,
                         const struct coordinator_command *command,
                         struct err *err)
{
    bool needs_approval = command->request.needs_approval;
    int code = check_request(&command->request, err);
    if (code == 0) {
        code = check_may_write(c, err);
    }
    if (code == 0 && !needs_approval) {
        code = check_no_active(c, err);
    }
    if (code == 0 && needs_approval && count_planned(&c->executor) >= OPERATIONS_PLANNED_MAX) {
        code = err_set(err, ERR_LIMIT, "%d operations wait for approval already",
                       OPERATIONS_PLANNED_MAX);
    }
    if (code == 0 && lifecycle_applies(command->request.kind)) {
        return command_start_growing(c, handle, command, err);
    }
    struct plan plan = {0};
    if (code == 0) {
        code = make_plan(c, command, &plan, err);
    }
    if (code != 0) {
        return code;
    }
    if (plan.batch_count == 0) {
        answer(c, handle, NULL)->plan =
            plan; /* nothing to move is a success without an operation */
        return 0;
    }
    begin_operation(c, handle, command, &plan);
    return 0;
}

/* ---- the others ---- */

static int wrong_state(const struct operation_run *o,
                       const char *verb,
                       const char *wanted,
                       struct err *err)
{
    (void)err_set(err, ERR_CONFLICT, "operation %s is %s: only one that is %s can be %s", o->op.id,
                  operation_state_name(o->op.state), wanted, verb);
    err_hint(err, "see `drover op show %s`", o->op.id);
    return ERR_CONFLICT;
}

static int command_approve(struct coordinator *c, struct operation_run *o, struct err *err)
{
    if (o->op.state == OPERATION_RUNNING) {
        return 0;
    }
    if (o->op.state != OPERATION_PLANNED) {
        return wrong_state(o, "approved", "planned", err);
    }
    int code = check_no_active(c, err);
    observe_tick(c, true);
    if (code == 0 && !lifecycle_applies(o->op.request.kind)) {
        code = plan_check(&o->plan, &c->observe.topology, err);
    }
    if (code == 0) {
        operation_move(c, o, OPERATION_RUNNING, 0, "");
    } else if (code == ERR_CONFLICT && err->hint[0] == '\0') {
        err_hint(err, "`drover op cancel %s` and plan again", o->op.id);
    }
    return code;
}

static int command_pause(struct coordinator *c, struct operation_run *o, struct err *err)
{
    if (o->op.state == OPERATION_PAUSING || o->op.state == OPERATION_PAUSED) {
        return 0;
    }
    if (o->op.state != OPERATION_RUNNING) {
        return wrong_state(o, "paused", "running", err);
    }
    operation_move(c, o, OPERATION_PAUSING, 0, "");
    return 0;
}

static int command_resume(struct coordinator *c, struct operation_run *o, struct err *err)
{
    if (o->op.state == OPERATION_RUNNING) {
        return 0;
    }
    if (o->op.state != OPERATION_PAUSED && o->op.state != OPERATION_HELD) {
        return wrong_state(o, "resumed", "paused or held", err);
    }
    observe_tick(c, true);
    follow_failovers(c, o);
    int code = plan_check_begun(&o->plan, &c->observe.topology, err);
    if (code != 0) {
        if (err->hint[0] == '\0') {
            err_hint(err, "`drover op cancel %s` and plan again", o->op.id);
        }
        return code;
    }
    for (int i = 0; i < o->plan.batch_count; i++) {
        struct batch *batch = &o->plan.batches[i];
        bool is_over = batch->state == BATCH_DONE ||
                       (batch->kind == BATCH_TASK && batch->state == BATCH_STOPPED);
        if (order_run_is_live(&o->runs[i]) || is_over || batch->state == BATCH_WAITING) {
            continue;
        }
        /* A task that failed may not be what is wanted now: the next round decides. */
        batch->state = batch->kind == BATCH_TASK ? BATCH_STOPPED : BATCH_WAITING;
        o->runs[i].failures = 0;
        o->runs[i].not_before_ms = 0;
        (void)record_batch(c, o, i);
    }
    o->idle_rounds = 0;
    operation_move(c, o, OPERATION_RUNNING, 0, "");
    return 0;
}

static int command_cancel(struct coordinator *c, struct operation_run *o, struct err *err)
{
    switch (o->op.state) {
    case OPERATION_CANCELLED:
    case OPERATION_CANCELLING:
        return 0;
    case OPERATION_PLANNED:
        operation_move(c, o, OPERATION_CANCELLED, ERR_CANCELLED, "cancelled before it began");
        return 0;
    case OPERATION_RUNNING:
    case OPERATION_PAUSING:
    case OPERATION_PAUSED:
    case OPERATION_HELD:
        operation_move(c, o, OPERATION_CANCELLING, ERR_CANCELLED, "cancelled by an operator");
        return 0;
    case OPERATION_DONE:
    case OPERATION_FAILED:
        break;
    }
    return wrong_state(o, "cancelled", "not ended", err);
}

static int command_on_operation(struct coordinator *c,
                                uint64_t handle,
                                const struct coordinator_command *command,
                                struct err *err)
{
    int code = check_may_write(c, err);
    if (code != 0) {
        return code;
    }
    struct operation_run *o = executor_find(&c->executor, command->operation_id);
    if (o == NULL) {
        (void)err_set(err, ERR_NOT_FOUND, "no operation \"%.31s\"", command->operation_id);
        err_hint(err, "`drover ops` lists them");
        return ERR_NOT_FOUND;
    }
    if (!o->has_plan && !operation_state_is_final(o->op.state)) {
        return err_set(err, ERR_INTERNAL, "the plan of %s is missing in the store", o->op.id);
    }
    switch (command->kind) {
    case COMMAND_APPROVE:
        code = command_approve(c, o, err);
        break;
    case COMMAND_PAUSE:
        code = command_pause(c, o, err);
        break;
    case COMMAND_RESUME:
        code = command_resume(c, o, err);
        break;
    case COMMAND_CANCEL:
        code = command_cancel(c, o, err);
        break;
    case COMMAND_PLAN:
    case COMMAND_START:
    case COMMAND_ADOPT:
        break;
    }
    if (code == 0) {
        wait_for(c, handle, o, false);
    }
    return code;
}

/* Asked for again until the node shows as a member, and then kept. */
static void command_adopt(struct coordinator *c,
                          uint64_t handle,
                          const struct coordinator_command *command)
{
    observe_wish(c, command->request.addresses, command->request.address_count);
    for (int i = 0; i < command->request.address_count; i++) {
        adopted_keep(c, &command->request.addresses[i]);
    }
    (void)answer(c, handle, NULL);
}

void command_desk_take(struct coordinator *c,
                       uint64_t handle,
                       const struct coordinator_command *command)
{
    struct err err = {0};
    int code = coordinator_check_ready(c, &err);
    if (code == 0) {
        switch (command->kind) {
        case COMMAND_PLAN:
            code = command_plan(c, handle, command, &err);
            break;
        case COMMAND_START:
            code = command_start(c, handle, command, &err);
            break;
        case COMMAND_APPROVE:
        case COMMAND_PAUSE:
        case COMMAND_RESUME:
        case COMMAND_CANCEL:
            code = command_on_operation(c, handle, command, &err);
            break;
        case COMMAND_ADOPT:
            command_adopt(c, handle, command);
            break;
        }
    }
    if (code != 0) {
        struct log_event *log = turn_log(&c->turn, EVENT_COMMAND_REFUSED);
        log_event_add(log, "code", err_word(code));
        log_event_add(log, "text", err.text);
        (void)answer(c, handle, &err);
    }
}
