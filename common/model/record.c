/* record.c — see record.h. */
#include "common/model/record.h"

#include "common/base/alloc.h"
#include "common/base/check.h"

#include <stdlib.h>

void operation_request_release(struct operation_request *request)
{
    if (request == NULL) {
        return;
    }
    free(request->weights);
    free(request->sources);
    free(request->addresses);
    *request = (struct operation_request){0};
}

void operation_request_copy(struct operation_request *to, const struct operation_request *from)
{
    CHECK(to != from);
    *to = *from;
    to->weights = NULL;
    to->sources = NULL;
    to->addresses = NULL;
    if (from->weight_count > 0) {
        to->weights = xmemdup(from->weights, (size_t)from->weight_count * sizeof(*from->weights));
    }
    if (from->source_count > 0) {
        to->sources = xmemdup(from->sources, (size_t)from->source_count * sizeof(*from->sources));
    }
    if (from->address_count > 0) {
        to->addresses =
            xmemdup(from->addresses, (size_t)from->address_count * sizeof(*from->addresses));
    }
}

void operation_release(struct operation *operation)
{
    if (operation != NULL) {
        operation_request_release(&operation->request);
        *operation = (struct operation){0};
    }
}

void batch_release(struct batch *batch)
{
    free(batch->task);
    *batch = (struct batch){0};
}

void batch_copy(struct batch *to, const struct batch *from)
{
    CHECK(to != from);
    *to = *from;
    if (from->task != NULL) {
        to->task = xmemdup(from->task, sizeof(*from->task));
    }
}

void plan_copy(struct plan *to, const struct plan *from)
{
    CHECK(to != from);
    *to = *from;
    to->batches = NULL;
    to->big_keys = NULL;
    if (from->batch_count > 0) {
        to->batches = xcalloc((size_t)from->batch_count, sizeof(*to->batches));
    }
    for (int i = 0; i < from->batch_count; i++) {
        batch_copy(&to->batches[i], &from->batches[i]);
    }
    if (from->big_key_count > 0) {
        to->big_keys =
            xmemdup(from->big_keys, (size_t)from->big_key_count * sizeof(*from->big_keys));
    }
}

void plan_release(struct plan *plan)
{
    if (plan != NULL) {
        for (int i = 0; plan->batches != NULL && i < plan->batch_count; i++) {
            batch_release(&plan->batches[i]);
        }
        free(plan->batches);
        free(plan->big_keys);
        *plan = (struct plan){0};
    }
}

void record_release(struct record *record)
{
    if (record == NULL) {
        return;
    }
    switch (record->kind) {
    case RECORD_OPERATION:
        operation_release(&record->as.operation);
        break;
    case RECORD_PLAN:
        plan_release(&record->as.plan);
        break;
    case RECORD_BATCH:
        batch_release(&record->as.batch);
        break;
    case RECORD_LEADER:
    case RECORD_SPEC:
    case RECORD_AGENT:
        break;
    }
    *record = (struct record){0};
}

const char *operation_kind_name(enum operation_kind kind)
{
    switch (kind) {
    case OPERATION_REBALANCE:
        return "rebalance";
    case OPERATION_RESHARD:
        return "reshard";
    case OPERATION_DRAIN:
        return "drain";
    case OPERATION_CREATE:
        return "create";
    case OPERATION_ADD:
        return "add";
    case OPERATION_REMOVE:
        return "remove";
    case OPERATION_SCALE:
        return "scale";
    case OPERATION_REPLICATE:
        return "replicate";
    case OPERATION_FAILOVER:
        return "failover";
    case OPERATION_REPAIR:
        return "repair";
    }
    return "unknown";
}

const char *operation_state_name(enum operation_state state)
{
    switch (state) {
    case OPERATION_PLANNED:
        return "planned";
    case OPERATION_RUNNING:
        return "running";
    case OPERATION_PAUSING:
        return "pausing";
    case OPERATION_PAUSED:
        return "paused";
    case OPERATION_CANCELLING:
        return "cancelling";
    case OPERATION_DONE:
        return "done";
    case OPERATION_CANCELLED:
        return "cancelled";
    case OPERATION_FAILED:
        return "failed";
    case OPERATION_HELD:
        return "held";
    }
    return "unknown";
}

bool operation_state_is_final(enum operation_state state)
{
    return state == OPERATION_DONE || state == OPERATION_CANCELLED || state == OPERATION_FAILED;
}

const char *batch_state_name(enum batch_state state)
{
    switch (state) {
    case BATCH_WAITING:
        return "waiting";
    case BATCH_ORDERED:
        return "ordered";
    case BATCH_DONE:
        return "done";
    case BATCH_FAILED:
        return "failed";
    case BATCH_HELD:
        return "held";
    case BATCH_STOPPED:
        return "stopped";
    }
    return "unknown";
}

const char *move_speed_name(enum move_speed speed)
{
    switch (speed) {
    case MOVE_SPEED_BALANCED:
        return "balanced";
    case MOVE_SPEED_SOFT:
        return "soft";
    case MOVE_SPEED_FAST:
        return "fast";
    }
    return "unknown";
}
