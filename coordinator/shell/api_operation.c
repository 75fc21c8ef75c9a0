/* api_operation.c — operations: what they are, how far they are, and pause, resume, cancel,
 * approve. */
#include "coordinator/shell/api_internal.h"

#include "common/base/check.h"
#include "common/io/clock.h"

#include <stdio.h>
#include <string.h>

static void append(json_t *array, json_t *value)
{
    int failed = json_array_append_new(array, value);
    CHECK(failed == 0);
}

/* ---- how much is done ---- */

/* What the agent says of the order that a batch is in, or NULL when it is in none. */
static const struct order_status *live_status(const struct coordinator *core,
                                              const char *operation_id,
                                              const struct batch *batch)
{
    if (batch->state != BATCH_ORDERED) {
        return NULL;
    }
    const struct order_status *status = coordinator_order_status(core, operation_id, batch->index);
    return status != NULL && status->id.attempt == batch->attempt ? status : NULL;
}

static int batch_slots_done(const struct batch *batch, const struct order_status *status)
{
    struct slotset done = batch->slots_done;
    if (status != NULL) {
        slotset_union(&done, &status->slots_done);
    }
    slotset_intersect(&done, &batch->slots);
    return slotset_count(&done);
}

void api_operation_amounts(const struct coordinator *core,
                           const struct operation *operation,
                           struct progress_amount *done,
                           struct progress_amount *total)
{
    const struct plan *plan = coordinator_plan(core, operation->id);
    *done = (struct progress_amount){operation->slots_moved, operation->keys_moved,
                                     operation->bytes_moved};
    *total = (struct progress_amount){operation->slots_total, operation->keys_moved,
                                      operation->bytes_moved};
    if (plan == NULL || plan->batches == NULL) {
        return;
    }
    struct progress_amount sum = {0};
    for (int i = 0; i < plan->batch_count; i++) {
        const struct batch *batch = &plan->batches[i];
        const struct order_status *status = live_status(core, operation->id, batch);
        sum.slots += batch_slots_done(batch, status);
        sum.keys += batch->keys_moved + (status == NULL ? 0 : status->keys_moved);
        sum.bytes += batch->bytes_moved + (status == NULL ? 0 : status->bytes_moved);
    }
    done->slots = sum.slots > done->slots ? sum.slots : done->slots;
    done->keys = sum.keys > done->keys ? sum.keys : done->keys;
    done->bytes = sum.bytes > done->bytes ? sum.bytes : done->bytes;
    bool is_over = operation->state == OPERATION_DONE;
    total->slots = plan->slot_count;
    /* Estimates may be too low or too high; what was moved is known. */
    total->keys = is_over || plan->keys_estimate < done->keys ? done->keys : plan->keys_estimate;
    total->bytes =
        is_over || plan->bytes_estimate < done->bytes ? done->bytes : plan->bytes_estimate;
}

static bool is_moving(enum operation_state state)
{
    return state == OPERATION_RUNNING || state == OPERATION_PAUSING ||
           state == OPERATION_CANCELLING;
}

const struct progress_meter *api_meter(const struct api *api, const char *operation_id)
{
    for (int i = 0; i < API_METERS_MAX; i++) {
        if (strcmp(api->meters[i].operation_id, operation_id) == 0) {
            return &api->meters[i].meter;
        }
    }
    return NULL;
}

static struct api_meter *meter_of(struct api *api, const char *operation_id)
{
    struct api_meter *spare = NULL;
    for (int i = 0; i < API_METERS_MAX; i++) {
        if (strcmp(api->meters[i].operation_id, operation_id) == 0) {
            return &api->meters[i];
        }
        if (spare == NULL && api->meters[i].operation_id[0] == '\0') {
            spare = &api->meters[i];
        }
    }
    if (spare != NULL) {
        *spare = (struct api_meter){0};
        (void)snprintf(spare->operation_id, sizeof(spare->operation_id), "%s", operation_id);
    }
    return spare;
}

static void sample(struct api *api, const struct operation *operation, int64_t now_ms)
{
    struct api_meter *meter = meter_of(api, operation->id);
    struct progress_amount done;
    struct progress_amount total;
    if (meter != NULL) {
        api_operation_amounts(api_core(api), operation, &done, &total);
        progress_meter_add(&meter->meter, now_ms, &done);
    }
}

void api_meters_tick(struct api *api, int64_t now_ms)
{
    const struct coordinator *core = api_core(api);
    bool is_used[API_METERS_MAX] = {0};
    for (int i = 0; i < coordinator_operation_count(core); i++) {
        const struct operation *operation = coordinator_operation(core, i);
        if (is_moving(operation->state)) {
            sample(api, operation, now_ms);
            const struct api_meter *meter = meter_of(api, operation->id);
            if (meter != NULL) {
                is_used[meter - api->meters] = true;
            }
        }
    }
    for (int i = 0; i < API_METERS_MAX; i++) {
        if (!is_used[i]) {
            api->meters[i].operation_id[0] = '\0';
        }
    }
}

/* ---- as JSON ---- */

static json_t *rate_json(double per_s)
{
    return json_real(per_s < 0 ? 0 : (double)(int64_t)(per_s * 10 + 0.5) / 10);
}

static void set_rates(json_t *out, const struct progress_rate *rate)
{
    api_set(out, "slots_per_s", rate_json(rate->slots_per_s));
    api_set(out, "keys_per_s", rate_json(rate->keys_per_s));
    api_set(out, "bytes_per_s", rate_json(rate->bytes_per_s));
    api_set(out, "eta_ms", api_known(rate->eta_ms));
}

/* Slots tell it where there are any, steps else; nothing is all done before the operation is. */
static double part_done(const struct coordinator *core,
                        const struct operation *operation,
                        const struct progress_amount *done,
                        const struct progress_amount *total)
{
    const struct plan *plan = coordinator_plan(core, operation->id);
    if (total->slots > 0) {
        return (double)done->slots / (double)total->slots;
    }
    if (operation->state == OPERATION_DONE || plan == NULL) {
        return operation->state == OPERATION_DONE ? 1 : 0;
    }
    int steps = 0;
    for (int i = 0; plan->batches != NULL && i < plan->batch_count; i++) {
        steps += plan->batches[i].state == BATCH_DONE;
    }
    return plan->batch_count == 0 ? 0 : (double)steps / (double)plan->batch_count;
}

static json_t *progress_json(struct api *api,
                             const struct operation *operation,
                             const struct progress_amount *done,
                             const struct progress_amount *total)
{
    const struct progress_amount left = {total->slots - done->slots, total->keys - done->keys,
                                         total->bytes - done->bytes};
    struct progress_rate rate = {.eta_ms = -1};
    if (is_moving(operation->state)) {
        struct api_meter *meter = meter_of(api, operation->id);
        int64_t now_ms = clock_now_ms();
        if (meter != NULL) {
            progress_meter_add(&meter->meter, now_ms, done);
            progress_meter_rate(&meter->meter, now_ms, &left, &rate);
        }
    }
    int64_t end_ms = operation->ended_wall_ms > 0 ? operation->ended_wall_ms : clock_wall_ms();
    double percent = 100.0 * part_done(api_core(api), operation, done, total);
    json_t *out = json_object();
    api_set(out, "slots_done", json_integer(done->slots));
    api_set(out, "slots_total", json_integer(total->slots));
    api_set(out, "keys_done", api_count(done->keys));
    api_set(out, "keys_total", api_count(total->keys));
    api_set(out, "bytes_done", api_count(done->bytes));
    api_set(out, "bytes_total", api_count(total->bytes));
    api_set(out, "percent", json_real((double)(int64_t)(percent * 10) / 10));
    set_rates(out, &rate);
    api_set(out, "elapsed_ms",
            api_known(operation->started_wall_ms == 0 ? -1 : end_ms - operation->started_wall_ms));
    return out;
}

static json_t *batch_json(const struct coordinator *core,
                          const struct topology *topology,
                          const char *operation_id,
                          const struct batch *batch)
{
    const struct order_status *status = live_status(core, operation_id, batch);
    json_t *out = json_object();
    api_set(out, "index", json_integer(batch->index));
    api_set_task(out, batch);
    api_set(out, "state", json_string(batch_state_name(batch->state)));
    api_set_node(out, "source", topology, &batch->source);
    api_set_node(out, "target", topology, &batch->target);
    api_set(out, "slots", api_slots(&batch->slots));
    api_set(out, "slot_count", json_integer(slotset_count(&batch->slots)));
    api_set(out, "slots_done", json_integer(batch_slots_done(batch, status)));
    api_set(out, "keys_estimate", api_count(batch->keys_estimate));
    api_set(out, "bytes_estimate", api_count(batch->bytes_estimate));
    api_set(out, "keys_moved",
            api_count(batch->keys_moved + (status == NULL ? 0 : status->keys_moved)));
    api_set(out, "bytes_moved",
            api_count(batch->bytes_moved + (status == NULL ? 0 : status->bytes_moved)));
    api_set(out, "attempt", json_integer(batch->attempt));
    api_set(out, "agent", api_text_or_null(batch->agent.text));
    api_set(out, "reason_code",
            batch->reason_code == 0 ? json_null() : json_string(err_word(batch->reason_code)));
    api_set(out, "reason", api_text_or_null(batch->reason));
    if (status != NULL) {
        json_t *order = json_object();
        api_set(order, "state", json_string(order_state_name(status->state)));
        api_set(order, "doing", api_text_or_null(status->reason));
        api_set(order, "slots_open", json_integer(status->slots_open));
        api_set(order, "call_us_p50", api_known(status->call_us_p50));
        api_set(order, "call_us_max", api_known(status->call_us_max));
        api_set(order, "retries", api_count(status->retries));
        api_set(order, "is_replica_synced", json_boolean(status->is_replica_synced));
        api_set(out, "order", order);
    }
    return out;
}

static void set_batches(json_t *out,
                        const struct coordinator *core,
                        const struct operation *operation)
{
    const struct plan *plan = coordinator_plan(core, operation->id);
    json_t *batches = json_array();
    for (int i = 0; plan != NULL && plan->batches != NULL && i < plan->batch_count; i++) {
        append(batches,
               batch_json(core, coordinator_topology(core), operation->id, &plan->batches[i]));
    }
    api_set(out, "topology_digest", plan == NULL ? json_null() : api_hex(plan->topology_digest));
    api_set(out, "duration_estimate_ms",
            plan == NULL ? json_null() : json_integer(plan->duration_estimate_ms));
    api_set(out, "batches", batches);
}

/* What is under way, in words: the first task that is not done. Moves have their own numbers. */
static void set_step(json_t *out,
                     const struct coordinator *core,
                     const struct operation *operation,
                     const struct batch *doing)
{
    char text[ERR_TEXT_SIZE] = "";
    if (doing != NULL && doing->kind == BATCH_TASK && doing->task != NULL &&
        !operation_state_is_final(operation->state)) {
        const struct order_status *status = live_status(core, operation->id, doing);
        task_format(doing->task, text, sizeof(text));
        if (status != NULL && status->reason[0] != '\0') {
            size_t len = strlen(text);
            (void)snprintf(text + len, sizeof(text) - len, ": %s", status->reason);
        }
    }
    api_set(out, "step", api_text_or_null(text));
    api_set(out, "plan_grows", json_boolean(operation->request.kind >= OPERATION_CREATE));
}

static void set_batch_counts(json_t *out,
                             const struct coordinator *core,
                             const struct operation *operation)
{
    const struct plan *plan = coordinator_plan(core, operation->id);
    int done = 0;
    int running = 0;
    const struct batch *doing = NULL;
    for (int i = 0; plan != NULL && plan->batches != NULL && i < plan->batch_count; i++) {
        const struct batch *batch = &plan->batches[i];
        done += batch->state == BATCH_DONE;
        running += batch->state == BATCH_ORDERED;
        bool is_open = batch->state != BATCH_DONE && batch->state != BATCH_STOPPED;
        doing = doing == NULL && is_open ? batch : doing;
    }
    set_step(out, core, operation, doing);
    api_set(out, "batches_total", plan == NULL ? json_null() : json_integer(plan->batch_count));
    api_set(out, "batches_done", plan == NULL ? json_null() : json_integer(done));
    api_set(out, "batches_running", json_integer(running));
}

json_t *api_operation_json(struct api *api, const struct operation *operation, bool has_batches)
{
    const struct coordinator *core = api_core(api);
    struct progress_amount done;
    struct progress_amount total;
    api_operation_amounts(core, operation, &done, &total);
    json_t *out = json_object();
    api_set(out, "id", api_text(operation->id));
    api_set(out, "kind", json_string(operation_kind_name(operation->request.kind)));
    api_set(out, "state", json_string(operation_state_name(operation->state)));
    api_set(out, "is_final", json_boolean(operation_state_is_final(operation->state)));
    api_set(
        out, "reason_code",
        operation->reason_code == 0 ? json_null() : json_string(err_word(operation->reason_code)));
    api_set(out, "reason", api_text_or_null(operation->reason));
    api_set(out, "requested_by", api_text_or_null(operation->request.requested_by));
    api_set(out, "created_wall_ms", json_integer(operation->created_wall_ms));
    api_set(out, "started_wall_ms", json_integer(operation->started_wall_ms));
    api_set(out, "ended_wall_ms", json_integer(operation->ended_wall_ms));
    api_set(out, "created", api_wall_time(operation->created_wall_ms));
    api_set(out, "slots_total", json_integer(total.slots));
    api_set(out, "slots_moved", json_integer(done.slots));
    api_set(out, "keys_moved", api_count(done.keys));
    api_set(out, "bytes_moved", api_count(done.bytes));
    set_batch_counts(out, core, operation);
    api_set(out, "progress", progress_json(api, operation, &done, &total));
    api_set(out, "request", api_request_json(&operation->request, coordinator_topology(core)));
    if (has_batches) {
        set_batches(out, core, operation);
    }
    return out;
}

/* ---- handlers ---- */

/* A leader that still reads its journal must not say that there is no such operation: whoever
 * follows one would believe it. */
static bool refuse_unready(struct api *api, struct http_request *request)
{
    struct err err = {0};
    if (coordinator_check_ready(api_core(api), &err) == 0) {
        return false;
    }
    api_respond_error(api, request, &err);
    return true;
}

void api_get_operations(struct api *api, struct http_request *request, const char *rest)
{
    (void)rest;
    const struct coordinator *core = api_core(api);
    const char *state = http_request_query(request, "state");
    struct err err = {0};
    int64_t limit = 0;
    if (api_query_int(request, "limit", 1, 10000, 100, &limit, &err) != 0) {
        api_respond_error(api, request, &err);
        return;
    }
    if (refuse_unready(api, request)) {
        return;
    }
    json_t *operations = json_array();
    for (int i = 0; i < coordinator_operation_count(core) && limit > 0; i++) {
        const struct operation *operation = coordinator_operation(core, i);
        if (state == NULL || strcmp(state, operation_state_name(operation->state)) == 0) {
            append(operations, api_operation_json(api, operation, false));
            limit--;
        }
    }
    json_t *out = json_object();
    api_set(out, "operations", operations);
    api_respond(api, request, 200, out);
}

static const struct operation *find_operation(const struct coordinator *core,
                                              const char *id,
                                              struct err *err)
{
    for (int i = 0; i < coordinator_operation_count(core); i++) {
        const struct operation *operation = coordinator_operation(core, i);
        if (strcmp(operation->id, id) == 0) {
            return operation;
        }
    }
    err_set(err, ERR_NOT_FOUND, "there is no operation \"%.60s\"", id);
    err_hint(err, "`drover ops` lists those that are known");
    return NULL;
}

void api_get_operation(struct api *api, struct http_request *request, const char *rest)
{
    if (refuse_unready(api, request)) {
        return;
    }
    struct err err = {0};
    const struct operation *operation = find_operation(api_core(api), rest, &err);
    if (operation == NULL) {
        api_respond_error(api, request, &err);
        return;
    }
    const char *batches = http_request_query(request, "batches");
    bool has_batches = batches == NULL || strcmp(batches, "0") != 0;
    api_respond(api, request, 200, api_operation_json(api, operation, has_batches));
}

struct verb {
    const char *word;
    enum coordinator_command_kind kind;
};

static const struct verb verbs[] = {
    {"approve", COMMAND_APPROVE},
    {"pause", COMMAND_PAUSE},
    {"resume", COMMAND_RESUME},
    {"cancel", COMMAND_CANCEL},
};

void api_post_operation_verb(struct api *api, struct http_request *request, const char *rest)
{
    struct err err = {0};
    struct coordinator_command command = {0};
    const char *slash = strchr(rest, '/');
    size_t len = slash == NULL ? strlen(rest) : (size_t)(slash - rest);
    for (size_t i = 0; slash != NULL && i < sizeof(verbs) / sizeof(verbs[0]); i++) {
        if (strcmp(slash + 1, verbs[i].word) == 0) {
            command.kind = verbs[i].kind;
        }
    }
    if (command.kind == 0) {
        err_set(&err, ERR_NOT_FOUND, "there is nothing to POST to at %.200s",
                http_request_path(request));
        err_hint(&err, "an operation can be approved, paused, resumed and cancelled");
        api_respond_error(api, request, &err);
        return;
    }
    if (len < sizeof(command.operation_id)) {
        memcpy(command.operation_id, rest, len);
        command.operation_id[len] = '\0';
    }
    if (refuse_unready(api, request)) {
        return;
    }
    if (find_operation(api_core(api), command.operation_id, &err) == NULL) {
        api_respond_error(api, request, &err);
        return;
    }
    api_command(api, request, &command, NULL);
}
