/* estimate.c — see estimate.h. */
#include "coordinator/core/estimate.h"

#include "common/base/alloc.h"
#include "common/base/check.h"
#include "common/base/clocktype.h"
#include "coordinator/core/balance.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* part/whole of amount, rounded down, exact up to 2^63 although the product may not fit. */
static uint64_t share_of(uint64_t amount, uint64_t part, uint64_t whole)
{
    CHECK(whole > 0);
    CHECK(part <= whole);
    uint64_t quotient = amount / whole;
    uint64_t rest = amount % whole;
    if (part != 0 && rest > UINT64_MAX / part) {
        return quotient * part + (uint64_t)((double)rest * ((double)part / (double)whole));
    }
    return quotient * part + rest * part / whole;
}

/* Keys of the batch's slots when all of them were counted, else -1. */
static int64_t counted_keys(const struct plan_options *options, const struct batch *batch)
{
    int64_t keys = 0;
    if (options->slot_keys == NULL) {
        return -1;
    }
    SLOTSET_FOREACH (slot, &batch->slots) {
        if (options->slot_keys[slot] < 0) {
            return -1;
        }
        keys += options->slot_keys[slot];
    }
    return keys;
}

/* 'given' counts the slots that earlier batches take from the same source. */
static void estimate_batch(const struct topology_node *source,
                           const struct plan_options *options,
                           int *given,
                           struct batch *batch)
{
    int count = slotset_count(&batch->slots);
    uint64_t owned = (uint64_t)source->slot_count;
    uint64_t before = (uint64_t)*given;
    uint64_t after = before + (uint64_t)count;
    int64_t counted = counted_keys(options, batch);
    *given += count;
    batch->keys_estimate = 0;
    batch->bytes_estimate = 0;
    if (after > owned) {
        return;
    }
    if (counted >= 0) {
        batch->keys_estimate = (uint64_t)counted;
    } else if (source->keys > 0) {
        uint64_t keys = (uint64_t)source->keys;
        batch->keys_estimate = share_of(keys, after, owned) - share_of(keys, before, owned);
    }
    if (source->used_memory_bytes <= 0 || source->keys == 0) {
        return;
    }
    uint64_t bytes = (uint64_t)source->used_memory_bytes;
    if (counted >= 0 && source->keys >= counted && source->keys > 0) {
        batch->bytes_estimate = share_of(bytes, (uint64_t)counted, (uint64_t)source->keys);
    } else {
        batch->bytes_estimate = share_of(bytes, after, owned) - share_of(bytes, before, owned);
    }
}

void estimate_plan(const struct topology *topology,
                   const struct plan_options *options,
                   struct plan *plan)
{
    int *given = xcalloc((size_t)topology->node_count + 1, sizeof(int));
    plan->keys_estimate = 0;
    plan->bytes_estimate = 0;
    for (int i = 0; i < plan->batch_count; i++) {
        struct batch *batch = &plan->batches[i];
        int source = topology_find(topology, &batch->source);
        CHECK(source != NO_NODE);
        estimate_batch(&topology->nodes[source], options, &given[source], batch);
        plan->keys_estimate += batch->keys_estimate;
        plan->bytes_estimate += batch->bytes_estimate;
    }
    free(given);
    plan->duration_estimate_ms = estimate_duration_ms(topology, options, plan);
}

int64_t estimate_memory_limit(const struct topology_node *node, const struct plan_options *options)
{
    if (node->maxmemory_bytes <= 0 || node->used_memory_bytes < 0) {
        return -1;
    }
    return (int64_t)((double)node->maxmemory_bytes * options->memory_limit_percent / 100.0);
}

int estimate_room(const struct topology *topology,
                  int source,
                  int target,
                  const struct plan_options *options)
{
    const struct topology_node *from = &topology->nodes[source];
    const struct topology_node *to = &topology->nodes[target];
    int64_t limit = estimate_memory_limit(to, options);
    if (limit < 0 || from->used_memory_bytes <= 0 || from->keys == 0 || from->slot_count == 0) {
        return BALANCE_NO_CAP;
    }
    int64_t room = limit - to->used_memory_bytes;
    if (room <= 0) {
        return 0;
    }
    /* Rounded up, so that the sum of what fits never exceeds the room. */
    int64_t slot_bytes = (from->used_memory_bytes + from->slot_count - 1) / from->slot_count;
    int64_t slots = room / slot_bytes;
    return slots >= BALANCE_NO_CAP ? BALANCE_NO_CAP : (int)slots;
}

int estimate_check_memory(const struct topology *topology,
                          const struct plan_options *options,
                          const struct plan *plan,
                          struct err *err)
{
    uint64_t *gets = xcalloc((size_t)topology->node_count + 1, sizeof(uint64_t));
    int code = 0;
    for (int i = 0; i < plan->batch_count; i++) {
        int target = topology_find(topology, &plan->batches[i].target);
        CHECK(target != NO_NODE);
        gets[target] += plan->batches[i].bytes_estimate;
    }
    for (int i = 0; i < topology->node_count && code == 0; i++) {
        const struct topology_node *node = &topology->nodes[i];
        int64_t limit = estimate_memory_limit(node, options);
        if (gets[i] == 0 || limit < 0) {
            continue;
        }
        bool fits = node->used_memory_bytes <= limit &&
                    gets[i] <= (uint64_t)(limit - node->used_memory_bytes);
        if (!fits) {
            char name[TOPOLOGY_NAME_SIZE];
            char used[ESTIMATE_BYTES_TEXT_SIZE];
            char more[ESTIMATE_BYTES_TEXT_SIZE];
            char most[ESTIMATE_BYTES_TEXT_SIZE];
            char whole[ESTIMATE_BYTES_TEXT_SIZE];
            code = err_set(err, ERR_REFUSED,
                           "target %s is short of memory: it uses %s, would get about %s more, and "
                           "may hold %s "
                           "(%.4g %% of its maxmemory of %s)%s",
                           topology_node_name(topology, i, name),
                           estimate_format_bytes(node->used_memory_bytes, used),
                           estimate_format_bytes((int64_t)gets[i], more),
                           estimate_format_bytes(limit, most), options->memory_limit_percent,
                           estimate_format_bytes(node->maxmemory_bytes, whole),
                           node->evicts ? "; beyond that it would evict keys" : "");
            err_hint(err,
                     "raise its maxmemory, give it a lower weight or leave it out, or add a node");
        }
    }
    free(gets);
    return code;
}

static int64_t batch_duration_ms(const struct plan_options *options, const struct batch *batch)
{
    double slots_s = (double)slotset_count(&batch->slots) / (double)options->rates.slots_per_s;
    double keys_s = (double)batch->keys_estimate / (double)options->rates.keys_per_s;
    double bytes_s = (double)batch->bytes_estimate / (double)options->rates.bytes_per_s;
    double copy_s = keys_s > bytes_s ? keys_s : bytes_s;
    double ms = (slots_s + copy_s) * 1000.0;
    return ms < 1.0 ? 1 : ms > 1e15 ? INT64_C(1000000000000000) : (int64_t)ms;
}

/* The rehearsal of a plan: batches start in order as soon as their nodes are free. */
struct rehearsal {
    int64_t *ends_ms; /* [batch] NEVER = not started */
    int *sources;     /* [batch] node index */
    int *targets;     /* [batch] */
    bool *is_giving;  /* [node] */
    int *getting;     /* [node] batches under way */
    int *running;     /* batch indices; 'running_count' of them */
    int running_count;
    int first_waiting; /* every batch before it has started */
};

static void rehearsal_start(struct rehearsal *run,
                            const struct plan_options *options,
                            const struct plan *plan,
                            int64_t now_ms)
{
    for (int i = run->first_waiting;
         i < plan->batch_count && run->running_count < options->moves_max; i++) {
        bool is_free = run->ends_ms[i] == NEVER && !run->is_giving[run->sources[i]] &&
                       run->getting[run->targets[i]] < options->moves_per_target_max;
        if (is_free) {
            run->ends_ms[i] = now_ms + batch_duration_ms(options, &plan->batches[i]);
            run->is_giving[run->sources[i]] = true;
            run->getting[run->targets[i]]++;
            run->running[run->running_count++] = i;
        }
        if (i == run->first_waiting && run->ends_ms[i] != NEVER) {
            run->first_waiting++;
        }
    }
}

/* Ends the batch that is done first and returns when. */
static int64_t rehearsal_end(struct rehearsal *run)
{
    int first = 0;
    CHECK(run->running_count > 0);
    for (int i = 1; i < run->running_count; i++) {
        first = run->ends_ms[run->running[i]] < run->ends_ms[run->running[first]] ? i : first;
    }
    int batch = run->running[first];
    run->running[first] = run->running[--run->running_count];
    run->is_giving[run->sources[batch]] = false;
    run->getting[run->targets[batch]]--;
    return run->ends_ms[batch];
}

int64_t estimate_duration_ms(const struct topology *topology,
                             const struct plan_options *options,
                             const struct plan *plan)
{
    size_t batches = (size_t)plan->batch_count + 1;
    size_t nodes = (size_t)topology->node_count + 1;
    int64_t now_ms = 0;
    struct rehearsal run = {.ends_ms = xcalloc(batches, sizeof(int64_t)),
                            .sources = xcalloc(batches, sizeof(int)),
                            .targets = xcalloc(batches, sizeof(int)),
                            .running = xcalloc(batches, sizeof(int)),
                            .is_giving = xcalloc(nodes, sizeof(bool)),
                            .getting = xcalloc(nodes, sizeof(int))};
    for (int i = 0; i < plan->batch_count; i++) {
        run.ends_ms[i] = NEVER;
        run.sources[i] = topology_find(topology, &plan->batches[i].source);
        run.targets[i] = topology_find(topology, &plan->batches[i].target);
        CHECK(run.sources[i] != NO_NODE);
        CHECK(run.targets[i] != NO_NODE);
    }
    rehearsal_start(&run, options, plan, now_ms);
    while (run.running_count > 0) {
        now_ms = rehearsal_end(&run);
        rehearsal_start(&run, options, plan, now_ms);
    }
    free(run.ends_ms);
    free(run.sources);
    free(run.targets);
    free(run.running);
    free(run.is_giving);
    free(run.getting);
    return now_ms;
}

const char *estimate_format_bytes(int64_t bytes, char text[ESTIMATE_BYTES_TEXT_SIZE])
{
    static const char *const units[] = {"B", "kB", "MB", "GB", "TB", "PB"};
    double value = (double)bytes;
    size_t unit = 0;
    while (value >= 999.5 && unit + 1 < sizeof(units) / sizeof(units[0])) {
        value /= 1000.0;
        unit++;
    }
    snprintf(text, ESTIMATE_BYTES_TEXT_SIZE, unit == 0 || value >= 99.5 ? "%.0f %s" : "%.1f %s",
             value, units[unit]);
    return text;
}
