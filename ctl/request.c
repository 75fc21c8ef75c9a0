/* request.c — see request.h. */
#include "ctl/request.h"

#include "common/base/alloc.h"
#include "common/base/check.h"
#include "common/base/slotset.h"

#include <errno.h>
#include <math.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define REQUESTED_BY_MAX 63

void request_set(json_t *object, const char *key, json_t *value)
{
    int failed = value == NULL ? -1 : json_object_set_new(object, key, value);
    CHECK(failed == 0);
}

/* A text of the command line; what is no UTF-8 cannot be sent. */
int request_set_text(json_t *object, const char *key, const char *text, struct err *err)
{
    json_t *value = json_string(text);
    if (value == NULL) {
        return err_set(err, ERR_INVALID, "\"%.60s\" is no UTF-8 text", text);
    }
    request_set(object, key, value);
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
    request_set(request, key, json_real(value));
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
            request_set(request, "weights", weights);
        }
        if (json_object_get(weights, node) != NULL) {
            int code = err_set(err, ERR_INVALID, "--weight of \"%.100s\" is given twice", node);
            free(node);
            return code;
        }
        request_set(weights, node, json_real(value));
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
                request_set(request, "sources", sources);
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
        request_set(request, "slots", json_string(ranges));
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
        request_set(request, "slot_count", json_integer(count));
    }
    code = request_set_text(request, "target", to, err);
    return code != 0 ? code : add_sources(request, arguments, err);
}

/* Who asks: "ann@host". */
void request_sign(json_t *request)
{
    char host[40] = "";
    const struct passwd *user = getpwuid(getuid());
    (void)gethostname(host, sizeof(host) - 1);
    char *text = xasprintf("%.20s@%s", user == NULL ? "?" : user->pw_name, host);
    json_t *value = json_string(text);
    if (value != NULL && strlen(text) <= REQUESTED_BY_MAX) {
        request_set(request, "requested_by", value);
    } else {
        json_decref(value);
    }
    free(text);
}

/* ---- a node's life ---- */

static int add_addresses(json_t *request, const struct arguments *arguments, struct err *err)
{
    json_t *addresses = json_array();
    request_set(request, "addresses", addresses);
    for (int i = 0; i < arguments->word_count; i++) {
        struct address address;
        int code = address_parse(&address, arguments->words[i], err);
        if (code == 0 && json_array_append_new(addresses, json_string(arguments->words[i])) != 0) {
            code = err_set(err, ERR_INVALID, "\"%.60s\" is no UTF-8 text", arguments->words[i]);
        }
        if (code != 0) {
            return code;
        }
    }
    return 0;
}

static int add_count(json_t *request,
                     const char *key,
                     const struct arguments *arguments,
                     long min,
                     struct err *err)
{
    long count = 0;
    int code = arguments_int(arguments, key, min, 1000, -1, &count, err);
    if (code == 0 && count >= 0) {
        request_set(request, key, json_integer(count));
    }
    return code;
}

/* A switch of the command line as a field of the request. */
static void add_switch(json_t *request,
                       const char *key,
                       const struct arguments *arguments,
                       const char *option)
{
    if (arguments_has(arguments, option)) {
        request_set(request, key, json_true());
    }
}

static int add_add(json_t *request, const struct arguments *arguments, struct err *err)
{
    const char *primary = arguments_text(arguments, "replica-of");
    bool is_replica = primary != NULL || arguments_has(arguments, "as-replica");
    if (is_replica && arguments_has(arguments, "no-slots")) {
        return err_set(err, ERR_INVALID, "--no-slots is for primaries: a replica never has slots");
    }
    add_switch(request, "without_slots", arguments, "no-slots");
    if (is_replica) {
        request_set(request, "as_replica", json_true());
    }
    int code = add_addresses(request, arguments, err);
    return code != 0 || primary == NULL ? code : request_set_text(request, "target", primary, err);
}

static int add_scale(json_t *request, const struct arguments *arguments, struct err *err)
{
    int code = add_count(request, "primaries", arguments, 1, err);
    if (code == 0) {
        code = add_count(request, "replicas", arguments, 0, err);
    }
    if (code == 0 && json_object_get(request, "primaries") == NULL &&
        json_object_get(request, "replicas") == NULL) {
        code =
            err_set(err, ERR_INVALID, "\"drover scale\" needs --primaries N, --replicas R or both");
        err_hint(err, "as in: drover scale --primaries 5 --replicas 1");
    }
    return code;
}

static int add_remove(json_t *request, const struct arguments *arguments, struct err *err)
{
    const char *heir = arguments_text(arguments, "target");
    add_switch(request, "dead", arguments, "dead");
    add_switch(request, "keep_running", arguments, "keep-running");
    if (heir != NULL && arguments_has(arguments, "dead")) {
        int code = err_set(err, ERR_INVALID,
                           "--target is for a node that lives: a dead one hands nothing over");
        err_hint(err, "let the replica take over first: drover failover REPLICA --force");
        return code;
    }
    int code = request_set_text(request, "node", arguments->words[0], err);
    return code != 0 || heir == NULL ? code : request_set_text(request, "target", heir, err);
}

static int add_replicate(json_t *request, const struct arguments *arguments, struct err *err)
{
    const char *primary = arguments_text(arguments, "of");
    if (primary == NULL) {
        int code = err_set(err, ERR_INVALID, "\"drover replicate\" needs --of NODE");
        err_hint(err, "as in: drover replicate 10.0.0.4:6379 --of 10.0.0.1:6379");
        return code;
    }
    int code = request_set_text(request, "node", arguments->words[0], err);
    return code != 0 ? code : request_set_text(request, "target", primary, err);
}

/* ---- the whole ---- */

static int add_kind(json_t *request,
                    const char *kind,
                    const struct arguments *arguments,
                    struct err *err)
{
    if (strcmp(kind, "rebalance") == 0) {
        return add_number(request, "threshold_percent", arguments, "threshold", 100, err);
    }
    if (strcmp(kind, "reshard") == 0) {
        return add_reshard(request, arguments, err);
    }
    if (strcmp(kind, "create") == 0) {
        int code = add_addresses(request, arguments, err);
        return code != 0 ? code : add_count(request, "replicas", arguments, 0, err);
    }
    if (strcmp(kind, "add") == 0) {
        return add_add(request, arguments, err);
    }
    if (strcmp(kind, "scale") == 0) {
        return add_scale(request, arguments, err);
    }
    if (strcmp(kind, "replicate") == 0) {
        return add_replicate(request, arguments, err);
    }
    if (strcmp(kind, "repair") == 0) {
        add_switch(request, "replace", arguments, "replace");
        add_switch(request, "unreachable_ok", arguments, "unreachable-ok");
        add_switch(request, "meet_only", arguments, "meet-only");
        return 0;
    }
    if (strcmp(kind, "remove") == 0) {
        return add_remove(request, arguments, err);
    }
    add_switch(request, "force", arguments, "force");
    return request_set_text(request, "node", arguments->words[0], err);
}

const char *request_kind(const struct arguments *arguments)
{
    const char *name = arguments->verb->name;
    return strncmp(name, "plan ", 5) == 0 ? name + 5 : name;
}

json_t *request_make(const struct arguments *arguments, struct err *err)
{
    const char *kind = request_kind(arguments);
    json_t *request = json_object();
    long parallel = 0;
    request_set(request, "kind", json_string(kind));
    int code = arguments_int(arguments, "parallel", 1, 16384, 0, &parallel, err);
    if (code == 0 && parallel > 0) {
        request_set(request, "parallel_moves_max", json_integer(parallel));
    }
    if (code == 0 && arguments_text(arguments, "speed") != NULL) {
        code = request_set_text(request, "speed", arguments_text(arguments, "speed"), err);
    }
    if (code == 0) {
        code = add_weights(request, arguments, err);
    }
    if (code == 0) {
        code = add_kind(request, kind, arguments, err);
    }
    if (code != 0) {
        json_decref(request);
        return NULL;
    }
    add_switch(request, "needs_approval", arguments, "needs-approval");
    add_switch(request, "scan", arguments, "scan");
    request_sign(request);
    return request;
}
