/* api_request.c — what clients send, checked strictly: an unknown or misplaced field is an error
 * that names it. */
#include "coordinator/shell/api_internal.h"

#include "common/base/alloc.h"
#include "common/base/check.h"
#include "coordinator/core/planner.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define REQUEST_NODES_MAX \
    1024 /* weights or sources of one request; more do not fit the stored record */

static int read_speed(json_t *body, enum move_speed *out, struct err *err)
{
    const char *text = NULL;
    int code = api_field_text(body, "speed", &text, err);
    if (code != 0 || text == NULL) {
        return code;
    }
    for (int speed = MOVE_SPEED_BALANCED; speed <= MOVE_SPEED_FAST; speed++) {
        if (strcmp(text, move_speed_name((enum move_speed)speed)) == 0) {
            *out = (enum move_speed)speed;
            return 0;
        }
    }
    return err_set(err, ERR_INVALID, "speed \"%.40s\" is none; allowed are soft, balanced and fast",
                   text);
}

/* ---- lists ---- */

static int read_weights(const struct topology *topology,
                        json_t *body,
                        struct operation_request *out,
                        struct err *err)
{
    json_t *weights = json_object_get(body, "weights");
    if (weights == NULL) {
        return 0;
    }
    if (!json_is_object(weights)) {
        return api_field_bad("weights", "an object of node: weight", err);
    }
    if (json_object_size(weights) > REQUEST_NODES_MAX) {
        return err_set(err, ERR_LIMIT, "%zu weights are more than %d", json_object_size(weights),
                       REQUEST_NODES_MAX);
    }
    out->weights = xcalloc(json_object_size(weights) + 1, sizeof(*out->weights));
    const char *name = NULL;
    json_t *value = NULL;
    json_object_foreach(weights, name, value)
    {
        struct node_weight *weight = &out->weights[out->weight_count];
        int code = api_find_node(topology, name, &weight->node, err);
        if (code == 0) {
            code = api_field_double(value, "weights", 0, PLAN_WEIGHT_MAX, &weight->weight, err);
        }
        if (code != 0) {
            return code;
        }
        for (int i = 0; i < out->weight_count; i++) {
            if (node_id_is_equal(&out->weights[i].node, &weight->node)) {
                return err_set(err, ERR_INVALID, "node %.8s has two weights", weight->node.text);
            }
        }
        out->weight_count++;
    }
    return 0;
}

static int read_sources(const struct topology *topology,
                        json_t *body,
                        struct operation_request *out,
                        struct err *err)
{
    json_t *sources = json_object_get(body, "sources");
    if (sources == NULL) {
        return 0;
    }
    if (!json_is_array(sources)) {
        return api_field_bad("sources", "a list of nodes", err);
    }
    if (json_array_size(sources) > REQUEST_NODES_MAX) {
        return err_set(err, ERR_LIMIT, "%zu sources are more than %d", json_array_size(sources),
                       REQUEST_NODES_MAX);
    }
    out->sources = xcalloc(json_array_size(sources) + 1, sizeof(*out->sources));
    for (size_t i = 0; i < json_array_size(sources); i++) {
        json_t *value = json_array_get(sources, i);
        if (!json_is_string(value)) {
            return api_field_bad("sources", "a list of nodes", err);
        }
        int code = api_find_node(topology, json_string_value(value),
                                 &out->sources[out->source_count], err);
        if (code != 0) {
            return code;
        }
        out->source_count++;
    }
    return 0;
}

/* ---- the whole body ---- */

static const char *const common_fields[] = {
    "kind", "speed", "parallel_moves_max", "topology_digest", "needs_approval", "requested_by",
    "scan", NULL};
static const char *const rebalance_fields[] = {"weights", "threshold_percent", "replace", NULL};
static const char *const reshard_fields[] = {"sources", "target",  "slot_count",
                                             "slots",   "replace", NULL};
static const char *const drain_fields[] = {"node", "weights", "replace", NULL};

static bool is_in(const char *const *fields, const char *key)
{
    for (; *fields != NULL; fields++) {
        if (strcmp(*fields, key) == 0) {
            return true;
        }
    }
    return false;
}

static const char *const *fields_of(enum operation_kind kind)
{
    switch (kind) {
    case OPERATION_REBALANCE:
        return rebalance_fields;
    case OPERATION_RESHARD:
        return reshard_fields;
    case OPERATION_DRAIN:
        return drain_fields;
    case OPERATION_CREATE:
    case OPERATION_ADD:
    case OPERATION_REMOVE:
    case OPERATION_SCALE:
    case OPERATION_REPLICATE:
    case OPERATION_FAILOVER:
    case OPERATION_REPAIR:
        return api_lifecycle_fields(kind);
    }
    UNREACHABLE("operation kind");
}

static void list_fields(const char *const *fields, struct strbuf *out)
{
    for (; *fields != NULL; fields++) {
        strbuf_addf(out, "%s%s", out->len == 0 ? "" : ", ", *fields);
    }
}

static int check_fields(json_t *body, enum operation_kind kind, struct err *err)
{
    const char *key = NULL;
    json_t *value = NULL;
    json_object_foreach(body, key, value)
    {
        if (!is_in(common_fields, key) && !is_in(fields_of(kind), key)) {
            struct strbuf known = {0};
            list_fields(fields_of(kind), &known);
            list_fields(common_fields, &known);
            int code = err_set(err, ERR_INVALID, "a %s has no field \"%.60s\"",
                               operation_kind_name(kind), key);
            err_hint(err, "known are %s", strbuf_text(&known));
            strbuf_release(&known);
            return code;
        }
    }
    return 0;
}

static int read_kind(json_t *body, enum operation_kind *out, struct err *err)
{
    const char *text = NULL;
    int code = api_field_text(body, "kind", &text, err);
    if (code != 0) {
        return code;
    }
    for (int kind = OPERATION_REBALANCE; text != NULL && kind <= OPERATION_KIND_MAX; kind++) {
        if (strcmp(text, operation_kind_name((enum operation_kind)kind)) == 0) {
            *out = (enum operation_kind)kind;
            return 0;
        }
    }
    if (text == NULL) {
        code = err_set(err, ERR_INVALID, "field \"kind\" is missing");
    } else {
        code = err_set(err, ERR_INVALID, "kind \"%.40s\" is none", text);
    }
    struct strbuf kinds = {0};
    for (int kind = OPERATION_REBALANCE; kind <= OPERATION_KIND_MAX; kind++) {
        strbuf_addf(&kinds, "%s%s", kinds.len == 0 ? "" : ", ",
                    operation_kind_name((enum operation_kind)kind));
    }
    err_hint(err, "kinds are %s", strbuf_text(&kinds));
    strbuf_release(&kinds);
    return code;
}

static int read_digest(json_t *body, uint64_t *out, struct err *err)
{
    const char *text = NULL;
    int code = api_field_text(body, "topology_digest", &text, err);
    if (code != 0 || text == NULL) {
        return code;
    }
    char *end = NULL;
    errno = 0;
    unsigned long long value = strtoull(text, &end, 16);
    if (strlen(text) != 16 || strspn(text, "0123456789abcdef") != 16 || *end != '\0' ||
        errno != 0) {
        return err_set(err, ERR_INVALID,
                       "topology_digest \"%.40s\" is not 16 hex digits as a plan carries them",
                       text);
    }
    *out = (uint64_t)value;
    return 0;
}

static int read_reshard(const struct topology *topology,
                        json_t *body,
                        struct operation_request *out,
                        struct err *err)
{
    const char *slots = NULL;
    int code = api_field_text(body, "slots", &slots, err);
    bool has_count = json_object_get(body, "slot_count") != NULL;
    if (code == 0 && slots == NULL && !has_count) {
        code = err_set(err, ERR_INVALID, "field \"slot_count\" is missing");
        err_hint(err, "say how many slots, or which by \"slots\"");
    }
    if (code == 0 && slots != NULL) {
        code = slotset_parse(&out->slots, slots, err);
        out->slot_count = slotset_count(&out->slots);
    }
    if (code != 0) {
        return code;
    }
    if (slots != NULL && out->slot_count == 0) {
        return err_set(err, ERR_INVALID, "field \"slots\" names no slot");
    }
    code = api_field_int(body, "slot_count", 1, SLOT_COUNT, &out->slot_count, err);
    if (code == 0) {
        code = api_field_node(topology, body, "target", &out->target, err);
    }
    return code != 0 ? code : read_sources(topology, body, out, err);
}

/* A rebalance, reshard or drain. */
static int read_moves(const struct topology *topology,
                      json_t *body,
                      struct operation_request *out,
                      struct err *err)
{
    bool replaces = false;
    int code = api_field_bool(body, "replace", &replaces, err);
    if (code != 0) {
        return code;
    }
    out->flags |= replaces ? REQUEST_REPLACE : 0;
    if (out->kind == OPERATION_RESHARD) {
        return read_reshard(topology, body, out, err);
    }
    if (out->kind == OPERATION_DRAIN) {
        code = api_field_node(topology, body, "node", &out->node, err);
    } else {
        out->threshold_percent = PLAN_THRESHOLD_PERCENT_DEFAULT;
        code = api_field_double(json_object_get(body, "threshold_percent"), "threshold_percent", 0,
                                100, &out->threshold_percent, err);
    }
    return code != 0 ? code : read_weights(topology, body, out, err);
}

static int read_kind_fields(const struct topology *topology,
                            json_t *body,
                            struct operation_request *out,
                            struct err *err)
{
    switch (out->kind) {
    case OPERATION_REBALANCE:
    case OPERATION_RESHARD:
    case OPERATION_DRAIN:
        return read_moves(topology, body, out, err);
    case OPERATION_CREATE:
    case OPERATION_ADD:
    case OPERATION_REMOVE:
    case OPERATION_SCALE:
    case OPERATION_REPLICATE:
    case OPERATION_FAILOVER:
    case OPERATION_REPAIR:
        return api_read_lifecycle(topology, body, out, err);
    }
    UNREACHABLE("operation kind");
}

int api_read_command(const struct topology *topology,
                     json_t *body,
                     struct coordinator_command *command,
                     struct err *err)
{
    struct operation_request *request = &command->request;
    const char *requested_by = NULL;
    int code = read_kind(body, &request->kind, err);
    if (code == 0) {
        code = check_fields(body, request->kind, err);
    }
    if (code == 0) {
        code = read_speed(body, &request->speed, err);
    }
    if (code == 0) {
        code = api_field_int(body, "parallel_moves_max", 0, PLAN_BATCHES_MAX,
                             &request->parallel_moves_max, err);
    }
    if (code == 0) {
        code = api_field_bool(body, "needs_approval", &request->needs_approval, err);
    }
    if (code == 0) {
        code = read_digest(body, &command->topology_digest, err);
    }
    if (code == 0) {
        code = api_field_bool(body, "scan", &command->with_scan, err);
    }
    if (code == 0 && command->with_scan && command->kind != COMMAND_PLAN) {
        return err_set(err, ERR_INVALID, "field \"scan\" is for plans only");
    }
    if (code == 0) {
        code = api_field_text(body, "requested_by", &requested_by, err);
    }
    if (code == 0 && requested_by != NULL) {
        if (strlen(requested_by) >= sizeof(request->requested_by)) {
            return err_set(err, ERR_INVALID, "requested_by has %zu bytes, %zu are allowed",
                           strlen(requested_by), sizeof(request->requested_by) - 1);
        }
        memcpy(request->requested_by, requested_by, strlen(requested_by) + 1);
    }
    return code != 0 ? code : read_kind_fields(topology, body, request, err);
}

json_t *api_read_body(const struct http_request *request, struct err *err)
{
    size_t size = 0;
    const char *text = http_request_body(request, &size);
    json_error_t error;
    json_t *body = json_loadb(text, size, JSON_REJECT_DUPLICATES, &error);
    if (body == NULL) {
        err_set(err, ERR_INVALID, "the body is not JSON: line %d column %d: %s", error.line,
                error.column, error.text);
        return NULL;
    }
    if (!json_is_object(body)) {
        err_set(err, ERR_INVALID, "the body is not a JSON object");
        json_decref(body);
        return NULL;
    }
    return body;
}

int api_query_int(const struct http_request *request,
                  const char *name,
                  int64_t min,
                  int64_t max,
                  int64_t fallback,
                  int64_t *out,
                  struct err *err)
{
    const char *text = http_request_query(request, name);
    if (text == NULL) {
        *out = fallback;
        return 0;
    }
    char *end = NULL;
    errno = 0;
    long long value = strtoll(text, &end, 10);
    if (*text == '\0' || *end != '\0' || errno != 0 || value < min || value > max) {
        return err_set(err, ERR_INVALID,
                       "query argument %s is \"%.40s\", allowed is a number from %lld to %lld",
                       name, text, (long long)min, (long long)max);
    }
    *out = value;
    return 0;
}
