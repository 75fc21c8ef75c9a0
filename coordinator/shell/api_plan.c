/* api_plan.c — dry runs and starts: POST /v1/plans and POST /v1/operations. */
#include "coordinator/shell/api_internal.h"

#include "common/base/check.h"
#include "coordinator/core/planner.h"

#include <string.h>

static void append(json_t *array, json_t *value)
{
    int failed = json_array_append_new(array, value);
    CHECK(failed == 0);
}

/* ---- plans as JSON ---- */

json_t *api_request_json(const struct operation_request *request, const struct topology *topology)
{
    json_t *out = json_object();
    api_set(out, "kind", json_string(operation_kind_name(request->kind)));
    if (request->weight_count > 0) {
        json_t *weights = json_object();
        for (int i = 0; i < request->weight_count; i++) {
            api_set(weights, request->weights[i].node.text, json_real(request->weights[i].weight));
        }
        api_set(out, "weights", weights);
    }
    if (request->kind == OPERATION_REBALANCE) {
        api_set(out, "threshold_percent", json_real(request->threshold_percent));
    }
    if (request->kind == OPERATION_RESHARD) {
        json_t *sources = json_array();
        for (int i = 0; i < request->source_count; i++) {
            append(sources, api_text(request->sources[i].text));
        }
        api_set(out, "sources", sources);
        api_set_node(out, "target", topology, &request->target);
        api_set(out, "slot_count", json_integer(request->slot_count));
        if (!slotset_is_empty(&request->slots)) {
            api_set(out, "slots", api_slots(&request->slots));
        }
    }
    if (request->kind == OPERATION_DRAIN) {
        api_set_node(out, "node", topology, &request->node);
    }
    if (request->kind < OPERATION_CREATE && (request->flags & REQUEST_REPLACE) != 0) {
        api_set(out, "replace", json_true());
    }
    if (request->kind >= OPERATION_CREATE) {
        api_set_lifecycle(out, request, topology);
    }
    api_set(out, "speed", json_string(move_speed_name(request->speed)));
    api_set(out, "parallel_moves_max", json_integer(request->parallel_moves_max));
    api_set(out, "needs_approval", json_boolean(request->needs_approval));
    api_set(out, "requested_by", api_text(request->requested_by));
    return out;
}

void api_set_task(json_t *out, const struct batch *batch)
{
    api_set(out, "kind", json_string(batch->kind == BATCH_TASK ? "task" : "move"));
    if (batch->kind != BATCH_TASK || batch->task == NULL) {
        return;
    }
    const struct task *task = batch->task;
    char text[ERR_TEXT_SIZE];
    char address[ADDRESS_TEXT_SIZE];
    json_t *value = json_object();
    task_format(task, text, sizeof(text));
    api_set(value, "kind", json_string(task_kind_name(task->kind)));
    api_set(value, "text", api_text(text));
    api_set(value, "node", api_text_or_null(task->node.text));
    api_set(value, "node_address",
            task->node_address.port == 0 ? json_null()
                                         : api_text(address_format(&task->node_address, address)));
    api_set(value, "peer", api_text_or_null(task->peer.text));
    api_set(value, "peer_address",
            task->peer_address.port == 0 ? json_null()
                                         : api_text(address_format(&task->peer_address, address)));
    api_set(value, "made",
            batch->made.port == 0 ? json_null() : api_text(address_format(&batch->made, address)));
    api_set(out, "task", value);
}

static json_t *batches_json(const struct plan *plan, const struct topology *topology)
{
    json_t *batches = json_array();
    for (int i = 0; i < plan->batch_count; i++) {
        const struct batch *batch = &plan->batches[i];
        json_t *row = json_object();
        api_set(row, "index", json_integer(batch->index));
        api_set_task(row, batch);
        api_set_node(row, "source", topology, &batch->source);
        api_set_node(row, "target", topology, &batch->target);
        api_set(row, "slots", api_slots(&batch->slots));
        api_set(row, "slot_count", json_integer(slotset_count(&batch->slots)));
        api_set(row, "keys_estimate", api_count(batch->keys_estimate));
        api_set(row, "bytes_estimate", api_count(batch->bytes_estimate));
        append(batches, row);
    }
    return batches;
}

static void set_plan(json_t *out, const struct plan *plan, const struct topology *topology)
{
    api_set(out, "topology_digest", api_hex(plan->topology_digest));
    api_set(out, "slot_count", json_integer(plan->slot_count));
    api_set(out, "batch_count", json_integer(plan->batch_count));
    api_set(out, "keys_estimate", api_count(plan->keys_estimate));
    api_set(out, "bytes_estimate", api_count(plan->bytes_estimate));
    api_set(out, "duration_estimate_ms", json_integer(plan->duration_estimate_ms));
    api_set(out, "batches", batches_json(plan, topology));
}

static bool has_tasks(const struct plan *plan)
{
    for (int i = 0; i < plan->batch_count; i++) {
        if (plan->batches[i].kind == BATCH_TASK) {
            return true;
        }
    }
    return false;
}

json_t *api_plan_json(const struct plan *plan, const struct topology *topology)
{
    json_t *out = json_object();
    set_plan(out, plan, topology);
    json_t *big_keys = json_array();
    for (int i = 0; i < plan->big_key_count; i++) {
        json_t *row = json_object();
        api_set(row, "key", api_text(plan->big_keys[i].key));
        api_set(row, "slot", json_integer(plan->big_keys[i].slot));
        api_set(row, "bytes", json_integer(plan->big_keys[i].bytes));
        append(big_keys, row);
    }
    api_set(out, "is_scanned", json_boolean(plan->is_scanned));
    api_set(out, "big_keys", big_keys);
    struct plan inverse = {0};
    struct plan_options options;
    plan_options_init(&options);
    /* The topology may have changed while the plan was scanned: then there is no inverse of it to
     * tell. Nor is there one of steps that are no moves. */
    if (topology != NULL && !has_tasks(plan) &&
        plan_invert(plan, topology, &options, &inverse, NULL) == 0) {
        json_t *back = json_object();
        set_plan(back, &inverse, topology);
        api_set(out, "inverse", back);
        plan_release(&inverse);
    } else {
        api_set(out, "inverse", json_null());
    }
    return out;
}

/* A plan that grows is foreseen in words; its first line tells when there is nothing to do. */
void api_set_steps(json_t *plan, const char *description)
{
    static const char nothing[] = "nothing to do";
    json_t *steps = json_array();
    bool is_fulfilled = description == NULL ? json_array_size(json_object_get(plan, "batches")) == 0
                                            : strncmp(description, nothing, strlen(nothing)) == 0;
    for (const char *line = description; line != NULL && *line != '\0';) {
        size_t len = strcspn(line, "\n");
        struct strbuf text = {0};
        strbuf_add(&text, line, len);
        append(steps, api_text(strbuf_text(&text)));
        strbuf_release(&text);
        line += len + (line[len] == '\n');
    }
    api_set(plan, "steps", steps);
    api_set(plan, "is_fulfilled", json_boolean(is_fulfilled));
}

/* ---- handlers ---- */

static bool is_same_request(const struct operation_request *a, const struct operation_request *b)
{
    bool is_same =
        a->kind == b->kind && a->weight_count == b->weight_count &&
        a->source_count == b->source_count && a->slot_count == b->slot_count &&
        a->threshold_percent == b->threshold_percent && slotset_is_equal(&a->slots, &b->slots) &&
        node_id_is_equal(&a->target, &b->target) && node_id_is_equal(&a->node, &b->node) &&
        a->flags == b->flags && a->address_count == b->address_count &&
        a->primaries_wanted == b->primaries_wanted && a->replicas_wanted == b->replicas_wanted;
    for (int i = 0; is_same && i < a->address_count; i++) {
        is_same = address_is_equal(&a->addresses[i], &b->addresses[i]);
    }
    for (int i = 0; is_same && i < a->weight_count; i++) {
        is_same = node_id_is_equal(&a->weights[i].node, &b->weights[i].node) &&
                  a->weights[i].weight == b->weights[i].weight;
    }
    for (int i = 0; is_same && i < a->source_count; i++) {
        is_same = node_id_is_equal(&a->sources[i], &b->sources[i]);
    }
    return is_same;
}

/* A start that names the digest of its plan may be sent twice, e.g. after a lost answer: the
 * operation that the first one made is the answer to the second. */
static const struct operation *find_started(const struct coordinator *core,
                                            const struct coordinator_command *command)
{
    for (int i = 0; command->topology_digest != 0 && i < coordinator_operation_count(core); i++) {
        const struct operation *operation = coordinator_operation(core, i);
        const struct plan *plan = coordinator_plan(core, operation->id);
        if (!operation_state_is_final(operation->state) && plan != NULL &&
            plan->topology_digest == command->topology_digest &&
            is_same_request(&operation->request, &command->request)) {
            return operation;
        }
    }
    return NULL;
}

static void post_command(struct api *api,
                         struct http_request *request,
                         enum coordinator_command_kind kind)
{
    struct err err = {0};
    struct coordinator_command command = {.kind = kind};
    json_t *body = api_read_body(request, &err);
    int code = body == NULL
                   ? err.code
                   : api_read_command(coordinator_topology(api_core(api)), body, &command, &err);
    if (code == 0 && command.request.requested_by[0] == '\0') {
        struct strbuf who = {0};
        strbuf_addf(&who, "api %.50s", http_request_peer(request));
        memcpy(command.request.requested_by, who.data, who.len + 1);
        strbuf_release(&who);
    }
    const struct operation *started =
        code == 0 && kind == COMMAND_START ? find_started(api_core(api), &command) : NULL;
    if (code != 0) {
        api_respond_error(api, request, &err);
    } else if (started != NULL) {
        json_t *out = json_object();
        api_set(out, "operation", api_operation_json(api, started, false));
        api_respond(api, request, 200, out);
    } else {
        api_command(api, request, &command, NULL);
    }
    operation_request_release(&command.request);
    json_decref(body);
}

void api_post_plan(struct api *api, struct http_request *request, const char *rest)
{
    (void)rest;
    post_command(api, request, COMMAND_PLAN);
}

void api_post_operation(struct api *api, struct http_request *request, const char *rest)
{
    (void)rest;
    post_command(api, request, COMMAND_START);
}
