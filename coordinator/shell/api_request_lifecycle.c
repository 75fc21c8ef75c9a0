/* api_request_lifecycle.c — the fields of operations on a node's life: create, add, remove, scale,
 * replicate, failover, repair; see api_request.c. Reads and writes them under the same names. */
#include "coordinator/shell/api_internal.h"

#include "common/base/alloc.h"
#include "common/base/check.h"

#include <string.h>

#define PRIMARIES_WANTED_MAX 1000 /* what gossip is made for */
#define REPLICAS_WANTED_MAX 100

struct flag_field {
    const char *name;
    uint32_t flag;
    enum operation_kind kind;
};

/* clang-format off */
static const struct flag_field flag_fields[] = {
    {"as_replica",     REQUEST_AS_REPLICA,     OPERATION_ADD},
    {"without_slots",  REQUEST_WITHOUT_SLOTS,  OPERATION_ADD},
    {"dead",           REQUEST_DEAD,           OPERATION_REMOVE},
    {"keep_running",   REQUEST_KEEP_RUNNING,   OPERATION_REMOVE},
    {"force",          REQUEST_FORCE,          OPERATION_CREATE},
    {"force",          REQUEST_FORCE,          OPERATION_FAILOVER},
    {"replace",        REQUEST_REPLACE,        OPERATION_REPAIR},
    {"unreachable_ok", REQUEST_UNREACHABLE_OK, OPERATION_REPAIR},
    {"meet_only",      REQUEST_MEET_ONLY,      OPERATION_REPAIR},
};
/* clang-format on */
#define FLAG_FIELD_COUNT (sizeof(flag_fields) / sizeof(flag_fields[0]))

static int read_flags(json_t *body, struct operation_request *out, struct err *err)
{
    int code = 0;
    for (size_t i = 0; code == 0 && i < FLAG_FIELD_COUNT; i++) {
        bool is_set = false;
        if (flag_fields[i].kind == out->kind) {
            code = api_field_bool(body, flag_fields[i].name, &is_set, err);
            out->flags |= is_set ? flag_fields[i].flag : 0;
        }
    }
    return code;
}

static int read_address(const json_t *value, struct operation_request *out, struct err *err)
{
    struct address *address = &out->addresses[out->address_count];
    if (!json_is_string(value) || strlen(json_string_value(value)) != json_string_length(value)) {
        return api_field_bad("addresses", "a list of \"host:port\"", err);
    }
    if (address_parse(address, json_string_value(value), err) != 0) {
        return err_wrap(err, "field \"addresses\"");
    }
    for (int i = 0; i < out->address_count; i++) {
        if (address_is_equal(&out->addresses[i], address)) {
            return err_set(err, ERR_INVALID, "field \"addresses\" names %.280s twice",
                           json_string_value(value));
        }
    }
    out->address_count++;
    return 0;
}

static int read_addresses(json_t *body, struct operation_request *out, struct err *err)
{
    json_t *list = json_object_get(body, "addresses");
    if (list == NULL) {
        int code = err_set(err, ERR_INVALID, "field \"addresses\" is missing");
        err_hint(err, "a list of nodes that run, as \"host:port\"");
        return code;
    }
    size_t count = json_array_size(list);
    if (!json_is_array(list) || count == 0) {
        return api_field_bad("addresses", "a list of \"host:port\"", err);
    }
    if (count > REQUEST_ADDRESSES_MAX) {
        return err_set(err, ERR_LIMIT, "%zu addresses are more than %d", count,
                       REQUEST_ADDRESSES_MAX);
    }
    out->addresses = xcalloc(count, sizeof(*out->addresses));
    int code = 0;
    for (size_t i = 0; code == 0 && i < count; i++) {
        code = read_address(json_array_get(list, i), out, err);
    }
    return code;
}

/* A primary for every shard, and as many replicas for each: fewer nodes make no cluster. */
static int read_create(json_t *body, struct operation_request *out, struct err *err)
{
    int code = read_addresses(body, out, err);
    if (code == 0) {
        code = api_field_int(body, "replicas", 0, REPLICAS_WANTED_MAX, &out->replicas_wanted, err);
    }
    if (code == 0 && out->address_count < out->replicas_wanted + 1) {
        code = err_set(err, ERR_INVALID, "%d nodes are too few for %d replicas of each primary",
                       out->address_count, out->replicas_wanted);
        err_hint(err, "at least %d are needed for one shard", out->replicas_wanted + 1);
    }
    return code;
}

static int read_add(const struct topology *topology,
                    json_t *body,
                    struct operation_request *out,
                    struct err *err)
{
    int code = read_addresses(body, out, err);
    bool has_target = json_object_get(body, "target") != NULL;
    if (code == 0 && has_target) {
        out->flags |= REQUEST_AS_REPLICA;
        code = api_field_node(topology, body, "target", &out->target, err);
    }
    if (code == 0 && has_target && json_is_false(json_object_get(body, "as_replica"))) {
        code =
            err_set(err, ERR_INVALID, "field \"target\" is for replicas, \"as_replica\" is false");
    }
    if (code == 0 && (out->flags & REQUEST_AS_REPLICA) != 0 &&
        (out->flags & REQUEST_WITHOUT_SLOTS) != 0) {
        code = err_set(err, ERR_INVALID,
                       "a replica never has slots: \"without_slots\" says nothing of it");
    }
    return code;
}

static int read_scale(json_t *body, struct operation_request *out, struct err *err)
{
    int code =
        api_field_int(body, "primaries", 1, PRIMARIES_WANTED_MAX, &out->primaries_wanted, err);
    if (code == 0) {
        code = api_field_int(body, "replicas", 0, REPLICAS_WANTED_MAX, &out->replicas_wanted, err);
    }
    if (code == 0 && out->primaries_wanted == 0 && out->replicas_wanted < 0) {
        code = err_set(err, ERR_INVALID, "field \"primaries\" is missing");
        err_hint(err, "say how many \"primaries\", how many \"replicas\" of each, or both");
    }
    return code;
}

/* The replica that takes the shard over from a primary that leaves. */
static int read_heir(const struct topology *topology,
                     json_t *body,
                     struct operation_request *out,
                     struct err *err)
{
    if (json_object_get(body, "target") == NULL) {
        return 0;
    }
    int code = api_field_node(topology, body, "target", &out->target, err);
    if (code == 0 && (out->flags & REQUEST_DEAD) != 0) {
        code = err_set(err, ERR_INVALID, "field \"target\": a dead node hands nothing over");
        err_hint(err, "let the replica take over first: drover failover REPLICA --force");
    } else if (code == 0 && node_id_is_equal(&out->node, &out->target)) {
        code = err_set(err, ERR_INVALID, "a node cannot take over from itself");
    }
    return code;
}

/* A node that has left already may be named by its whole id: removing it again is no mistake. */
static int read_leaver(const struct topology *topology,
                       json_t *body,
                       struct operation_request *out,
                       struct err *err)
{
    const char *text = NULL;
    int code = api_field_text(body, "node", &text, err);
    if (code == 0 && text != NULL && strlen(text) == NODE_ID_LEN &&
        node_id_parse(&out->node, text, NODE_ID_LEN, NULL) == 0) {
        return 0;
    }
    return code != 0 ? code : api_field_node(topology, body, "node", &out->node, err);
}

static int read_remove(const struct topology *topology,
                       json_t *body,
                       struct operation_request *out,
                       struct err *err)
{
    int code = read_leaver(topology, body, out, err);
    return code != 0 ? code : read_heir(topology, body, out, err);
}

static int read_replicate(const struct topology *topology,
                          json_t *body,
                          struct operation_request *out,
                          struct err *err)
{
    int code = api_field_node(topology, body, "node", &out->node, err);
    if (code == 0) {
        code = api_field_node(topology, body, "target", &out->target, err);
    }
    if (code == 0 && node_id_is_equal(&out->node, &out->target)) {
        code = err_set(err, ERR_INVALID, "a node cannot be a replica of itself");
    }
    return code;
}

int api_read_lifecycle(const struct topology *topology,
                       json_t *body,
                       struct operation_request *out,
                       struct err *err)
{
    out->replicas_wanted = out->kind == OPERATION_CREATE ? 0 : -1;
    int code = read_flags(body, out, err);
    if (code != 0) {
        return code;
    }
    switch (out->kind) {
    case OPERATION_CREATE:
        return read_create(body, out, err);
    case OPERATION_ADD:
        return read_add(topology, body, out, err);
    case OPERATION_REMOVE:
        return read_remove(topology, body, out, err);
    case OPERATION_SCALE:
        return read_scale(body, out, err);
    case OPERATION_REPLICATE:
        return read_replicate(topology, body, out, err);
    case OPERATION_FAILOVER:
        return api_field_node(topology, body, "node", &out->node, err);
    case OPERATION_REPAIR:
        return 0;
    case OPERATION_REBALANCE:
    case OPERATION_RESHARD:
    case OPERATION_DRAIN:
        break;
    }
    UNREACHABLE("operation kind");
}

const char *const *api_lifecycle_fields(enum operation_kind kind)
{
    static const char *const create[] = {"addresses", "replicas", "force", NULL};
    static const char *const add[] = {"addresses", "as_replica", "target", "without_slots", NULL};
    static const char *const remove_[] = {"node", "target", "dead", "keep_running", NULL};
    static const char *const scale[] = {"primaries", "replicas", NULL};
    static const char *const replicate[] = {"node", "target", NULL};
    static const char *const failover[] = {"node", "force", NULL};
    static const char *const repair[] = {"replace", "unreachable_ok", "meet_only", NULL};
    switch (kind) {
    case OPERATION_CREATE:
        return create;
    case OPERATION_ADD:
        return add;
    case OPERATION_REMOVE:
        return remove_;
    case OPERATION_SCALE:
        return scale;
    case OPERATION_REPLICATE:
        return replicate;
    case OPERATION_FAILOVER:
        return failover;
    case OPERATION_REPAIR:
        return repair;
    case OPERATION_REBALANCE:
    case OPERATION_RESHARD:
    case OPERATION_DRAIN:
        break;
    }
    UNREACHABLE("operation kind");
}

/* ---- the other way ---- */

static void set_addresses(json_t *out, const struct operation_request *request)
{
    char text[ADDRESS_TEXT_SIZE];
    json_t *list = json_array();
    for (int i = 0; i < request->address_count; i++) {
        int failed =
            json_array_append_new(list, api_text(address_format(&request->addresses[i], text)));
        CHECK(failed == 0);
    }
    api_set(out, "addresses", list);
}

void api_set_lifecycle(json_t *out,
                       const struct operation_request *request,
                       const struct topology *topology)
{
    if (request->address_count > 0) {
        set_addresses(out, request);
    }
    if (!node_id_is_empty(&request->node)) {
        api_set_node(out, "node", topology, &request->node);
    }
    if (!node_id_is_empty(&request->target)) {
        api_set_node(out, "target", topology, &request->target);
    }
    if (request->primaries_wanted > 0) {
        api_set(out, "primaries", json_integer(request->primaries_wanted));
    }
    if (request->replicas_wanted >= 0 &&
        (request->kind == OPERATION_SCALE || request->kind == OPERATION_CREATE)) {
        api_set(out, "replicas", json_integer(request->replicas_wanted));
    }
    for (size_t i = 0; i < FLAG_FIELD_COUNT; i++) {
        if (flag_fields[i].kind == request->kind) {
            api_set(out, flag_fields[i].name,
                    json_boolean((request->flags & flag_fields[i].flag) != 0));
        }
    }
}
