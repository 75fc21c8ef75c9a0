/* start.c — plans and starts: plan, apply, and every verb that makes an operation. */
#include "ctl/ctl.h"

#include "common/base/alloc.h"
#include "ctl/fields.h"
#include "ctl/request.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LOOK_MS 10000 /* how long a plan waits for agents to look at the nodes that it names */
#define LOOK_AGAIN_MS 500
#define ADDRESSES_NAMED 6 /* in a question; more are counted */

/* ---- plan ---- */

static int write_plan(const char *path, const json_t *answer, struct err *err)
{
    if (json_dump_file(answer, path, JSON_INDENT(2)) != 0) {
        return err_set(err, ERR_IO, "cannot write the plan to %.200s: %s", path, strerror(errno));
    }
    return 0;
}

/* Nodes that are named by address are first looked for by the agents. */
static bool is_looked_for(const json_t *answer)
{
    const json_t *steps = field_list(field_object(answer, "plan"), "steps");
    const char *first = json_string_value(json_array_get(steps, 0));
    return first != NULL && strncmp(first, "waits:", strlen("waits:")) == 0;
}

/* Plans may take long: keys are counted first. */
static int ask_plan(struct ctl *ctl, const json_t *request, json_t **answer, struct err *err)
{
    int64_t end_ms = terminal_now_ms() + LOOK_MS;
    if (!ctl->has_timeout) {
        client_set_timeout(ctl->client, CTL_PLAN_TIMEOUT_MS);
    }
    int code = client_ask(ctl->client, "POST", "/v1/plans", request, answer, err);
    while (code == 0 && json_object_get(request, "addresses") != NULL && is_looked_for(*answer) &&
           terminal_now_ms() < end_ms) {
        terminal_wait(LOOK_AGAIN_MS);
        json_decref(*answer);
        *answer = NULL;
        code = client_ask(ctl->client, "POST", "/v1/plans", request, answer, err);
    }
    client_set_timeout(ctl->client, ctl->timeout_ms);
    return code;
}

int verb_plan(struct ctl *ctl, struct err *err)
{
    const char *path = arguments_text(&ctl->arguments, "out");
    bool is_to_screen = path != NULL && strcmp(path, "-") == 0;
    json_t *answer = NULL;
    json_t *request = request_make(&ctl->arguments, err);
    if (request == NULL) {
        return err->code;
    }
    int code = ask_plan(ctl, request, &answer, err);
    json_decref(request);
    if (code != 0) {
        return code;
    }
    if (path != NULL && !is_to_screen) {
        code = write_plan(path, answer, err);
    }
    if (code == 0 && (ctl->format == CTL_JSON || is_to_screen)) {
        ctl_print_json(answer);
    } else if (code == 0) {
        struct strbuf out = {0};
        show_plan(ctl, field_object(answer, "plan"), true, &out);
        if (path != NULL) {
            strbuf_addf(&out, "\nWritten to %s; start it with: drover apply %s\n", path, path);
        }
        terminal_write(&out);
        strbuf_release(&out);
    }
    json_decref(answer);
    return code;
}

/* ---- start ---- */

/* Without a terminal there is nobody to ask. */
static int check_can_ask(const struct ctl *ctl, struct err *err)
{
    if (arguments_has(&ctl->arguments, "yes") ||
        (ctl->terminal.is_in_screen && ctl->terminal.is_out_screen)) {
        return 0;
    }
    int code = err_set(err, ERR_INVALID,
                       "\"drover %s\" asks before it starts, and there is no terminal to ask on",
                       ctl->arguments.verb->name);
    err_hint(err, "give --yes to start without asking");
    return code;
}

/* A node as the plan names it, else as it was asked for. */
static void add_node(const json_t *request, const char *key, struct strbuf *out)
{
    struct strbuf address_key = {0};
    strbuf_addf(&address_key, "%s_address", key);
    const char *address = field_text(request, strbuf_text(&address_key));
    const char *name = field_text(request, key);
    if (address[0] != '\0') {
        strbuf_addf(out, "%s (%.8s)", address, name);
    } else {
        strbuf_add_text(out, name);
    }
    strbuf_release(&address_key);
}

static void add_addresses(const json_t *request, struct strbuf *out)
{
    const json_t *addresses = field_list(request, "addresses");
    size_t count = json_array_size(addresses);
    for (size_t i = 0; i < count && i < ADDRESSES_NAMED; i++) {
        strbuf_addf(out, "%s%s", i == 0 ? "" : ", ",
                    json_string_value(json_array_get(addresses, i)));
    }
    if (count > ADDRESSES_NAMED) {
        strbuf_addf(out, " and %zu more", count - ADDRESSES_NAMED);
    }
}

/* What is to be done, as the question before it. */
static void add_question(const json_t *plan, struct strbuf *out)
{
    const json_t *request = field_object(plan, "request");
    const char *kind = field_text(request, "kind");
    if (strcmp(kind, "create") == 0) {
        strbuf_add_text(out, "Make one cluster of ");
        add_addresses(request, out);
        strbuf_add_text(out, " now?");
    } else if (strcmp(kind, "add") == 0) {
        strbuf_add_text(out, "Add ");
        add_addresses(request, out);
        strbuf_add_text(out, field_is(request, "as_replica") ? " as a replica now?" : " now?");
    } else if (strcmp(kind, "remove") == 0) {
        strbuf_add_text(out, "Remove ");
        add_node(request, "node", out);
        if (field_text(request, "target")[0] != '\0') {
            strbuf_add_text(out, " and let ");
            add_node(request, "target", out);
            strbuf_add_text(out, " take over,");
        }
        strbuf_add_text(out, field_is(request, "dead")
                                 ? " for good? What it holds alone is given up."
                                 : " for good?");
    } else if (strcmp(kind, "replicate") == 0) {
        strbuf_add_text(out, "Make ");
        add_node(request, "node", out);
        strbuf_add_text(out, " a replica of ");
        add_node(request, "target", out);
        strbuf_add_text(out, " now?");
    } else if (strcmp(kind, "failover") == 0) {
        strbuf_add_text(out, "Let ");
        add_node(request, "node", out);
        strbuf_add_text(out, field_is(request, "force")
                                 ? " take over by force? Writes that did not reach it are lost."
                                 : " take over now?");
    } else if (strcmp(kind, "scale") == 0) {
        strbuf_add_text(out, "Scale the cluster now?");
    } else if (strcmp(kind, "repair") == 0) {
        strbuf_add_text(out, field_is(request, "unreachable_ok")
                                 ? "Repair this now? Keys of primaries that do not answer are lost."
                                 : "Repair this now?");
    } else {
        strbuf_addf(out, "Move %lld slots now?", (long long)field_int(plan, "slot_count"));
    }
}

static int confirm(const json_t *plan, struct err *err)
{
    struct strbuf question = {0};
    strbuf_add_char(&question, '\n');
    add_question(plan, &question);
    bool is_yes = terminal_ask(question.data);
    strbuf_release(&question);
    return is_yes ? 0 : err_set(err, ERR_CANCELLED, "nothing was started");
}

static bool has_work(const json_t *plan)
{
    return !field_is(plan, "is_fulfilled") && (json_array_size(field_list(plan, "batches")) > 0 ||
                                               json_array_size(field_list(plan, "steps")) > 0);
}

static void say_started(const struct ctl *ctl, const json_t *operation, bool is_new)
{
    struct strbuf out = {0};
    const char *id = field_text(operation, "id");
    if (!is_new) {
        strbuf_addf(&out, "%s was started before and is %s.\n", id, field_text(operation, "state"));
    } else if (strcmp(field_text(operation, "state"), "planned") == 0) {
        strbuf_addf(&out, "%s waits for approval: drover op approve %s\n", id, id);
    } else {
        strbuf_addf(&out, "Started %s.%s\n", id,
                    arguments_has(&ctl->arguments, "detach") ? " Watch it with: drover watch" : "");
    }
    terminal_write(&out);
    strbuf_release(&out);
}

/* Sends the start and follows it. With 'is_planned' the plan was shown already. */
static int start(struct ctl *ctl, const json_t *request, bool is_planned, struct err *err)
{
    json_t *answer = NULL;
    bool is_json = ctl->format == CTL_JSON;
    if (!ctl->has_timeout) {
        client_set_timeout(ctl->client, CTL_PLAN_TIMEOUT_MS);
    }
    int code = client_ask(ctl->client, "POST", "/v1/operations", request, &answer, err);
    client_set_timeout(ctl->client, ctl->timeout_ms);
    if (code != 0) {
        return code;
    }
    const json_t *operation = field_object(answer, "operation");
    const json_t *plan = field_object(answer, "plan");
    bool is_left = arguments_has(&ctl->arguments, "detach") || operation == NULL ||
                   strcmp(field_text(operation, "state"), "planned") == 0;
    /* A plan that grows begins with nothing. */
    bool is_shown = plan != NULL && (operation == NULL || has_work(plan));
    if (!is_json && !is_planned && is_shown) {
        struct strbuf out = {0};
        show_plan(ctl, plan, false, &out);
        terminal_write(&out);
        strbuf_release(&out);
    }
    if (is_json && is_left) {
        ctl_print_json(answer);
    } else if (!is_json && operation != NULL) {
        say_started(ctl, operation, plan != NULL);
    }
    if (!is_left) {
        code = follow_operation(ctl, field_text(operation, "id"), err);
    }
    json_decref(answer);
    return code;
}

/* Shows the plan, asks, and starts what was shown: bound to the topology of the plan. */
static int plan_then_start(struct ctl *ctl, json_t *request, struct err *err)
{
    json_t *answer = NULL;
    int code = ask_plan(ctl, request, &answer, err);
    if (code != 0) {
        return code;
    }
    const json_t *plan = field_object(answer, "plan");
    struct strbuf out = {0};
    show_plan(ctl, plan, false, &out);
    terminal_write(&out);
    strbuf_release(&out);
    if (has_work(plan)) {
        code = confirm(plan, err);
        if (code == 0) {
            code = request_set_text(request, "topology_digest", field_text(plan, "topology_digest"),
                                    err);
        }
        if (code == 0) {
            code = start(ctl, request, true, err);
        }
    }
    json_decref(answer);
    return code;
}

int verb_start(struct ctl *ctl, struct err *err)
{
    if (arguments_has(&ctl->arguments, "dry-run")) {
        return verb_plan(ctl, err);
    }
    int code = check_can_ask(ctl, err);
    json_t *request = code == 0 ? request_make(&ctl->arguments, err) : NULL;
    if (request == NULL) {
        return code != 0 ? code : err->code;
    }
    if (arguments_has(&ctl->arguments, "yes")) {
        code = start(ctl, request, false, err);
    } else {
        code = plan_then_start(ctl, request, err);
    }
    json_decref(request);
    return code;
}

/* ---- apply ---- */

/* The request in a plan file, as the API takes it: without what was added for people. */
static int clean_request(json_t *request, struct err *err)
{
    static const char *const derived[] = {"target_address", "node_address", "requested_by",
                                          "needs_approval"};
    for (size_t i = 0; i < sizeof(derived) / sizeof(derived[0]); i++) {
        (void)json_object_del(request, derived[i]);
    }
    if (field_text(request, "kind")[0] == '\0') {
        return err_set(err, ERR_INVALID, "the file holds no plan of drover");
    }
    return 0;
}

int verb_apply(struct ctl *ctl, struct err *err)
{
    const char *path = ctl->arguments.words[0];
    json_error_t error;
    int code = check_can_ask(ctl, err);
    if (code != 0) {
        return code;
    }
    json_t *file = json_load_file(path, JSON_REJECT_DUPLICATES, &error);
    if (file == NULL) {
        code = access(path, R_OK) != 0
                   ? err_set(err, ERR_NOT_FOUND, "cannot read %.200s: %s", path, strerror(errno))
                   : err_set(err, ERR_INVALID, "%.200s:%d:%d: %s", path, error.line, error.column,
                             error.text);
        return code;
    }
    const json_t *plan = field_object(file, "plan");
    json_t *request = json_deep_copy(field_object(plan, "request"));
    code = request == NULL ? err_set(err, ERR_INVALID, "%.200s holds no plan of drover", path)
                           : clean_request(request, err);
    if (code == 0) {
        code =
            request_set_text(request, "topology_digest", field_text(plan, "topology_digest"), err);
        request_sign(request);
    }
    if (code == 0 && arguments_has(&ctl->arguments, "needs-approval")) {
        request_set(request, "needs_approval", json_true());
    }
    bool is_empty = !has_work(plan);
    if (code == 0 && ctl->format != CTL_JSON) {
        struct strbuf out = {0};
        show_plan(ctl, plan, false, &out);
        terminal_write(&out);
        strbuf_release(&out);
    }
    if (code == 0 && !is_empty && !arguments_has(&ctl->arguments, "yes")) {
        code = confirm(plan, err);
    }
    if (code == 0 && !is_empty) {
        code = start(ctl, request, true, err);
    }
    json_decref(request);
    json_decref(file);
    return code;
}
