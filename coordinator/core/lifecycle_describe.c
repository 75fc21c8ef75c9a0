/* lifecycle_describe.c — the dry run: every step foreseen, in words and numbers.
 *
 * The decision is made again and again on a model in which each step went well. What cannot be
 * known ahead is told as far as it goes: the last line says how it ends. */
#include "coordinator/core/estimate.h"
#include "coordinator/core/lifecycle_model.h"
#include "coordinator/core/lifecycle_parts.h"

#include <inttypes.h>

#define ROUNDS_MAX 3000 /* REQUEST_ADDRESSES_MAX joins one by one, and the rest */

/* Moves of one pair that follow each other are one line. */
struct flow {
    struct node_id source;
    struct node_id target;
    int slots;
    uint64_t keys;
    uint64_t bytes;
};

static void add_name(const struct topology *topology, const struct node_id *id, struct strbuf *out)
{
    char name[TOPOLOGY_NAME_SIZE];
    strbuf_add_text(out, topology_node_name(topology, topology_find(topology, id), name));
}

static void add_flow(const struct topology *topology, const struct flow *flow, struct strbuf *out)
{
    char text[ESTIMATE_BYTES_TEXT_SIZE];
    strbuf_addf(out, "move %d slot%s from ", flow->slots, flow->slots == 1 ? "" : "s");
    add_name(topology, &flow->source, out);
    strbuf_add_text(out, " to ");
    add_name(topology, &flow->target, out);
    strbuf_addf(out, ", about %" PRIu64 " keys, %s\n", flow->keys,
                estimate_format_bytes((int64_t)flow->bytes, text));
}

static struct flow sum_flow(const struct lifecycle_answer *answer, int first)
{
    const struct batch *like = &answer->batches[first];
    struct flow flow = {.source = like->source, .target = like->target};
    for (int i = first; i < answer->batch_count; i++) {
        const struct batch *batch = &answer->batches[i];
        if (batch->kind == BATCH_MOVE && node_id_is_equal(&batch->source, &flow.source) &&
            node_id_is_equal(&batch->target, &flow.target)) {
            flow.slots += slotset_count(&batch->slots);
            flow.keys += batch->keys_estimate;
            flow.bytes += batch->bytes_estimate;
        }
    }
    return flow;
}

static bool was_told(const struct lifecycle_answer *answer, int index)
{
    for (int i = 0; i < index; i++) {
        if (answer->batches[i].kind == BATCH_MOVE &&
            node_id_is_equal(&answer->batches[i].source, &answer->batches[index].source) &&
            node_id_is_equal(&answer->batches[i].target, &answer->batches[index].target)) {
            return true;
        }
    }
    return false;
}

static bool is_same_reach(const struct batch *a, const struct batch *b)
{
    return a->kind == BATCH_TASK && a->task->kind == TASK_REACH && b->kind == BATCH_TASK &&
           b->task->kind == TASK_REACH &&
           address_is_equal(&a->task->node_address, &b->task->node_address);
}

/* All hosts that try one node are one line, at the first of them. False for the others. */
static bool add_reach(const struct lifecycle_answer *answer, int index, struct strbuf *out)
{
    char address[ADDRESS_TEXT_SIZE];
    int hosts = 0;
    for (int i = 0; i < answer->batch_count; i++) {
        bool is_same = is_same_reach(&answer->batches[i], &answer->batches[index]);
        if (is_same && i < index) {
            return false;
        }
        hosts += is_same;
    }
    strbuf_addf(out, "reach %s from %d host%s, data and bus port\n",
                address_format(&answer->batches[index].task->node_address, address), hosts,
                hosts == 1 ? "" : "s");
    return true;
}

/* One line a task, one a pair of nodes between which slots move. Returns the number of lines. */
static int add_round(const struct topology *topology,
                     const struct lifecycle_answer *answer,
                     int number,
                     struct strbuf *out)
{
    int lines = 0;
    for (int i = 0; i < answer->batch_count; i++) {
        const struct batch *batch = &answer->batches[i];
        if (batch->kind == BATCH_TASK && batch->task->kind == TASK_REACH) {
            struct strbuf line = {0};
            if (add_reach(answer, i, &line)) {
                strbuf_addf(out, "step %d: %s", number + lines++, strbuf_text(&line));
            }
            strbuf_release(&line);
        } else if (batch->kind == BATCH_TASK) {
            char text[TEXT_SIZE * 4];
            task_format(batch->task, text, sizeof(text));
            strbuf_addf(out, "step %d: %s\n", number + lines++, text);
        } else if (!was_told(answer, i)) {
            struct flow flow = sum_flow(answer, i);
            strbuf_addf(out, "step %d: ", number + lines++);
            add_flow(topology, &flow, out);
        }
    }
    return lines;
}

static void add_end(const struct lifecycle_answer *answer, int lines, struct strbuf *out)
{
    switch (answer->verdict) {
    case LIFECYCLE_MORE:
        strbuf_addf(out, "and more: only the first %d steps are foreseen\n", lines);
        return;
    case LIFECYCLE_DONE:
        strbuf_addf(out, "%s: %s\n", lines == 0 ? "nothing to do" : "then it is done",
                    answer->reason);
        return;
    case LIFECYCLE_WAIT:
        strbuf_addf(out, "waits: %s\n", answer->reason);
        return;
    case LIFECYCLE_REFUSED:
        strbuf_addf(out, "refused: %s\n", answer->reason);
        return;
    }
}

void lifecycle_describe(const struct operation_request *request,
                        const struct lifecycle_facts *facts,
                        struct strbuf *out)
{
    struct lifecycle_model model;
    struct lifecycle_answer answer = {0};
    int lines = 0;
    lifecycle_model_init(&model, facts);
    for (int round = 0; round < ROUNDS_MAX; round++) {
        struct strbuf why = {0};
        lifecycle_decide(request, &model.facts, &answer, &why);
        if (answer.verdict != LIFECYCLE_MORE) {
            strbuf_release(&why);
            break;
        }
        lines += add_round(&model.topology, &answer, lines + 1, out);
        strbuf_add_text(out, strbuf_text(&why));
        strbuf_release(&why);
        lifecycle_model_apply(&model, &answer);
        lifecycle_answer_release(&answer);
    }
    if (answer.verdict == 0) {
        answer.verdict = LIFECYCLE_MORE;
    }
    add_end(&answer, lines, out);
    lifecycle_answer_release(&answer);
    lifecycle_model_release(&model);
}
