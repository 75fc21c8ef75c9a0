/* start.c — plans and starts: plan, apply, rebalance, reshard, drain. */
#include "ctl/ctl.h"

#include "common/base/alloc.h"
#include "common/base/check.h"
#include "common/base/slotset.h"
#include "ctl/fields.h"

#include <errno.h>
#include <math.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define REQUESTED_BY_MAX 63

/* ---- the request ---- */

static void set(json_t *object, const char *key, json_t *value)
{
    int failed = value == NULL ? -1 : json_object_set_new(object, key, value);
    CHECK(failed == 0);
}

/* A text of the command line; what is no UTF-8 cannot be sent. */
static int set_text(json_t *object, const char *key, const char *text, struct err *err)
{
    json_t *value = json_string(text);
    if (value == NULL) {
        return err_set(err, ERR_INVALID, "\"%.60s\" is no UTF-8 text", text);
    }
    set(object, key, value);
    return 0;
}

static int add_number(json_t *request,
                      const char *key,
                      const struct arguments *arguments,
                      const char *option,
                      double max,
                      struct err *err)
{
    const char *text = arguments_text(arguments, option);
    char *end = NULL;
    if (text == NULL) {
        return 0;
    }
    errno = 0;
    double value = strtod(text, &end);
    if (*text == '\0' || *end != '\0' || errno != 0 || !isfinite(value) || value < 0 ||
        value > max) {
        return err_set(err, ERR_INVALID, "--%s is \"%.40s\", allowed is a number from 0 to %g",
                       option, text, max);
    }
    set(request, key, json_real(value));
    return 0;
}

/* --weight NODE=W */
static int add_weights(json_t *request, const struct arguments *arguments, struct err *err)
{
    json_t *weights = NULL;
    int index = 0;
    const char *text = NULL;
    while ((text = arguments_next(arguments, "weight", &index)) != NULL) {
        const char *equals = strrchr(text, '=');
        char *end = NULL;
        double value = equals == NULL ? -1 : strtod(equals + 1, &end);
        if (equals == NULL || equals == text || equals[1] == '\0' || *end != '\0' ||
            !isfinite(value) || value < 0) {
            int code =
                err_set(err, ERR_INVALID, "--weight is \"%.100s\", which is not NODE=W", text);
            err_hint(err, "as --weight 10.0.0.4:6379=2, with a weight of 0 or more");
            return code;
        }
        char *node = xmemdup(text, (size_t)(equals - text) + 1);
        node[equals - text] = '\0';
        if (weights == NULL) {
            weights = json_object();
            set(request, "weights", weights);
        }
        if (json_object_get(weights, node) != NULL) {
            int code = err_set(err, ERR_INVALID, "--weight of \"%.100s\" is given twice", node);
            free(node);
            return code;
        }
        set(weights, node, json_real(value));
        free(node);
    }
    return 0;
}

/* --from A,B --from C */
static int add_sources(json_t *request, const struct arguments *arguments, struct err *err)
{
    json_t *sources = NULL;
    int index = 0;
    int code = 0;
    const char *text = NULL;
    while (code == 0 && (text = arguments_next(arguments, "from", &index)) != NULL) {
        char *copy = xstrdup(text);
        char *rest = NULL;
        for (char *node = strtok_r(copy, ", ", &rest); node != NULL;
             node = strtok_r(NULL, ", ", &rest)) {
            if (sources == NULL) {
                sources = json_array();
                set(request, "sources", sources);
            }
            if (json_array_append_new(sources, json_string(node)) != 0) {
                code = err_set(err, ERR_INVALID, "--from \"%.60s\" is no node", node);
            }
        }
        free(copy);
    }
    return code;
}

static int add_reshard(json_t *request, const struct arguments *arguments, struct err *err)
{
    const char *to = arguments_text(arguments, "to");
    const char *ranges = arguments_text(arguments, "slot-ranges");
    long count = 0;
    int code = arguments_int(arguments, "slots", 1, SLOT_COUNT, 0, &count, err);
    if (code == 0 && ranges != NULL) {
        struct slotset slots;
        code = slotset_parse(&slots, ranges, err);
        if (code != 0) {
            err_wrap(err, "--slot-ranges");
            return code;
        }
        set(request, "slots", json_string(ranges));
    }
    if (code == 0 && (to == NULL || (count == 0) == (ranges == NULL))) {
        code = err_set(err, ERR_INVALID,
                       "a reshard needs --to NODE and one of --slots N and --slot-ranges RANGES");
        err_hint(err, "as in: drover reshard --slots 1000 --to 10.0.0.4:6379");
    }
    if (code != 0) {
        return code;
    }
    if (ranges == NULL) {
        set(request, "slot_count", json_integer(count));
    }
    code = set_text(request, "target", to, err);
    return code != 0 ? code : add_sources(request, arguments, err);
}

/* Who asks: "ann@host". */
static void add_requested_by(json_t *request)
{
    char host[40] = "";
    const struct passwd *user = getpwuid(getuid());
    (void)gethostname(host, sizeof(host) - 1);
    char *text = xasprintf("%.20s@%s", user == NULL ? "?" : user->pw_name, host);
    json_t *value = json_string(text);
    if (value != NULL && strlen(text) <= REQUESTED_BY_MAX) {
        set(request, "requested_by", value);
    } else {
        json_decref(value);
    }
    free(text);
}

/* The body for POST plans and operations from the command line; a new reference or NULL with err.
 */
static json_t *make_request(const struct ctl *ctl, struct err *err)
{
    const struct arguments *arguments = &ctl->arguments;
    const char *name = arguments->verb->name;
    const char *kind = strncmp(name, "plan ", 5) == 0 ? name + 5 : name;
    json_t *request = json_object();
    long parallel = 0;
    set(request, "kind", json_string(kind));
    int code = arguments_int(arguments, "parallel", 1, 16384, 0, &parallel, err);
    if (code == 0 && parallel > 0) {
        set(request, "parallel_moves_max", json_integer(parallel));
    }
    if (code == 0 && arguments_text(arguments, "speed") != NULL) {
        code = set_text(request, "speed", arguments_text(arguments, "speed"), err);
    }
    if (code == 0) {
        code = add_weights(request, arguments, err);
    }
    if (code == 0 && strcmp(kind, "rebalance") == 0) {
        code = add_number(request, "threshold_percent", arguments, "threshold", 100, err);
    } else if (code == 0 && strcmp(kind, "reshard") == 0) {
        code = add_reshard(request, arguments, err);
    } else if (code == 0) {
        code = set_text(request, "node", arguments->words[0], err);
    }
    if (code != 0) {
        json_decref(request);
        return NULL;
    }
    if (arguments_has(arguments, "needs-approval")) {
        set(request, "needs_approval", json_true());
    }
    if (arguments_has(arguments, "scan")) {
        set(request, "scan", json_true());
    }
    add_requested_by(request);
    return request;
}

/* ---- plan ---- */

static int write_plan(const char *path, const json_t *answer, struct err *err)
{
    if (json_dump_file(answer, path, JSON_INDENT(2)) != 0) {
        return err_set(err, ERR_IO, "cannot write the plan to %.200s: %s", path, strerror(errno));
    }
    return 0;
}

/* Plans may take long: keys are counted first. */
static int ask_plan(struct ctl *ctl, const json_t *request, json_t **answer, struct err *err)
{
    if (!ctl->has_timeout) {
        client_set_timeout(ctl->client, CTL_PLAN_TIMEOUT_MS);
    }
    int code = client_ask(ctl->client, "POST", "/v1/plans", request, answer, err);
    client_set_timeout(ctl->client, ctl->timeout_ms);
    return code;
}

int verb_plan(struct ctl *ctl, struct err *err)
{
    const char *path = arguments_text(&ctl->arguments, "out");
    bool is_to_screen = path != NULL && strcmp(path, "-") == 0;
    json_t *answer = NULL;
    json_t *request = make_request(ctl, err);
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

static int confirm(const json_t *plan, struct err *err)
{
    char *question = xasprintf("\nMove %lld slots now?", (long long)field_int(plan, "slot_count"));
    bool is_yes = terminal_ask(question);
    free(question);
    return is_yes ? 0 : err_set(err, ERR_CANCELLED, "nothing was started");
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
    if (!is_json && !is_planned && plan != NULL) {
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
    if (json_array_size(field_list(plan, "batches")) > 0) {
        code = confirm(plan, err);
        if (code == 0) {
            code = set_text(request, "topology_digest", field_text(plan, "topology_digest"), err);
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
    int code = check_can_ask(ctl, err);
    json_t *request = code == 0 ? make_request(ctl, err) : NULL;
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
        code = set_text(request, "topology_digest", field_text(plan, "topology_digest"), err);
        add_requested_by(request);
    }
    if (code == 0 && arguments_has(&ctl->arguments, "needs-approval")) {
        set(request, "needs_approval", json_true());
    }
    bool is_empty = json_array_size(field_list(plan, "batches")) == 0;
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
