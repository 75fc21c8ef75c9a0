/* lifecycle_request.c — requests to provisioners whose end nobody knows. See lifecycle_parts.h.
 *
 * A provisioner is asked by an agent, and agents are lost: then it may have made a server of which
 * no leader ever heard. The same request under the same id gives the same server (docs/outside.md),
 * so it is asked for once more, by the same agent, and what comes is given back like anything that
 * was made and is not needed. All that is known stands in the operation's own batches:
 *
 *   DONE                      known: its address is journalled
 *   its agent's word          known: an agent that fails or is stopped gives back what it began,
 *                             unless it says ERR_CONFLICT: then it could not
 *   no word                   lost: the order expired, or its agent never came back
 *   ERR_CANCELLED             lost, and a person was told
 */
#include "coordinator/core/lifecycle_parts.h"

#include <stdio.h>
#include <string.h>

static const struct task *provision_of(const struct batch *batch)
{
    bool is_it =
        batch->kind == BATCH_TASK && batch->task != NULL && batch->task->kind == TASK_PROVISION;
    return is_it ? batch->task : NULL;
}

bool is_asked_again(const struct task *task)
{
    char id[REQUEST_ID_SIZE];
    return task->kind == TASK_PROVISION && task_detail_get(task, "request", id, sizeof(id));
}

/* As instructions.c names it when the order is sent. */
static void name_request(const struct lifecycle_facts *facts,
                         const struct batch *batch,
                         char id[REQUEST_ID_SIZE])
{
    if (!task_detail_get(batch->task, "request", id, REQUEST_ID_SIZE)) {
        (void)snprintf(id, REQUEST_ID_SIZE, "%s-%d",
                       facts->operation_id == NULL ? "" : facts->operation_id, batch->index);
    }
}

/* Whether the last attempt of the batch may have left something behind. Given to an agent it was.
 */
static bool is_end_unknown(const struct batch *batch)
{
    switch (batch->state) {
    case BATCH_DONE:
        return false;
    case BATCH_WAITING:
    case BATCH_ORDERED:
        return true;
    case BATCH_STOPPED:
        if (batch->reason[0] == '\0') { /* the last attempt was not told; what of those before? */
            return batch->attempt > 1;
        }
        break;
    case BATCH_FAILED:
    case BATCH_HELD:
        break;
    }
    return batch->reason_code == ERR_CONFLICT || batch->reason_code == ERR_CANCELLED;
}

bool find_lost_request(const struct lifecycle_facts *facts, int index, struct lost_request *out)
{
    const struct batch *first = &facts->batches[index];
    const struct task *task = provision_of(first);
    if (task == NULL || is_asked_again(task) || first->attempt == 0) {
        return false;
    }
    *out = (struct lost_request){.first = first, .last = first};
    name_request(facts, first, out->id);
    (void)task_detail_get(task, "agent", out->agent, sizeof(out->agent));
    bool is_lost = is_end_unknown(first);
    for (int i = index + 1; i < facts->batch_count; i++) {
        const struct batch *batch = &facts->batches[i];
        char id[REQUEST_ID_SIZE];
        task = provision_of(batch);
        if (task == NULL || !task_detail_get(task, "request", id, sizeof(id)) ||
            strcmp(id, out->id) != 0) {
            continue;
        }
        bool was_given = batch->attempt > 0 || batch->state == BATCH_DONE;
        is_lost = was_given ? is_end_unknown(batch) : is_lost;
        out->last = batch;
        out->is_asked_again = true;
        out->ask_count++;
    }
    return is_lost;
}

void describe_lost_request(const struct lost_request *lost, bool is_away, char reason[TEXT_SIZE])
{
    (void)snprintf(reason, TEXT_SIZE, "request %.40s may have left a server; agent %.30s %s",
                   lost->id, lost->agent, is_away ? "is not connected" : "could not give it back");
}

int lifecycle_lost_request(const struct lifecycle_facts *facts, int from, char reason[TEXT_SIZE])
{
    struct lost_request lost;
    for (int i = from; i < facts->batch_count; i++) {
        if (find_lost_request(facts, i, &lost) && lost.last->reason_code != ERR_CANCELLED) {
            describe_lost_request(&lost, true, reason);
            return (int)(lost.last - facts->batches);
        }
    }
    return -1;
}
