/* planner_check.c — what can be done with a finished plan: check, invert, apply to an owner map,
 * print. See planner.h. */
#include "coordinator/core/planner.h"

#include "common/base/alloc.h"
#include "common/base/check.h"
#include "coordinator/core/estimate.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* The primary that a batch names, or ERR_CONFLICT. */
static int find_end(const struct topology *topology,
                    const struct node_id *id,
                    const char *as_what,
                    struct err *err)
{
    int node = topology_find(topology, id);
    if (node == NO_NODE || !topology->nodes[node].is_member) {
        return err_set(err, ERR_CONFLICT, "%s %.8s is no longer a member of the cluster", as_what,
                       id->text);
    }
    if (topology->nodes[node].role != NODE_ROLE_PRIMARY) {
        char name[TOPOLOGY_NAME_SIZE];
        return err_set(err, ERR_CONFLICT, "%s %s is no longer a primary", as_what,
                       topology_node_name(topology, node, name));
    }
    return node;
}

static bool owns_all(const struct topology *topology, const struct slotset *slots, int node)
{
    SLOTSET_FOREACH (slot, slots) {
        if (topology->owner[slot] != node) {
            return false;
        }
    }
    return true;
}

/* Every slot of the batch must be the source's, or with 'allows_moved' already the target's. */
static int check_batch(const struct topology *topology,
                       const struct batch *batch,
                       bool allows_moved,
                       struct err *err)
{
    if (batch->kind == BATCH_TASK) {
        return 0; /* the agent that carries it out looks at its conditions */
    }
    int target = find_end(topology, &batch->target, "target", err);
    if (target < 0) {
        return target;
    }
    /* Redis makes a primary that gave its last slot away a replica of who got it, so a source that
     * has nothing left to give may be anything. */
    if (allows_moved && owns_all(topology, &batch->slots, target)) {
        return 0;
    }
    int source = find_end(topology, &batch->source, "source", err);
    if (source < 0) {
        return source;
    }
    SLOTSET_FOREACH (slot, &batch->slots) {
        int owner = topology->owner[slot];
        if (owner != source && !(allows_moved && owner == target)) {
            char name[TOPOLOGY_NAME_SIZE];
            char source_name[TOPOLOGY_NAME_SIZE];
            return err_set(err, ERR_CONFLICT, "slot %d is owned by %s, the plan has it at %s", slot,
                           owner == NO_NODE ? "nobody" : topology_node_name(topology, owner, name),
                           topology_node_name(topology, source, source_name));
        }
    }
    return 0;
}

int plan_check(const struct plan *plan, const struct topology *topology, struct err *err)
{
    struct strbuf why = {0};
    int code = 0;
    if (plan->topology_digest == topology_digest(topology)) {
        return 0;
    }
    for (int i = 0; i < plan->batch_count && code == 0; i++) {
        code = check_batch(topology, &plan->batches[i], false, err);
    }
    if (code == 0 && topology->open_count > 0) {
        topology_format_open(topology, 0, &why);
        code = err_set(err, ERR_CONFLICT, "%s", strbuf_text(&why));
    } else if (code == 0) {
        code =
            err_set(err, ERR_CONFLICT, "members, roles or owners of other slots are different now");
    }
    strbuf_release(&why);
    code = err == NULL ? code : err_wrap(err, "the cluster changed since the plan was made");
    err_hint(err, "make a new plan");
    return code;
}

/* The batch that has the slot, or NULL. */
static const struct batch *batch_of(const struct plan *plan, int slot)
{
    for (int i = plan->settled_count; i < plan->batch_count; i++) {
        if (slotset_has(&plan->batches[i].slots, slot)) {
            return &plan->batches[i];
        }
    }
    return NULL;
}

int plan_check_begun(const struct plan *plan, const struct topology *topology, struct err *err)
{
    for (int i = plan->settled_count; i < plan->batch_count; i++) {
        int code = check_batch(topology, &plan->batches[i], true, err);
        if (code != 0) {
            return code;
        }
    }
    for (int i = 0; i < topology->open_count; i++) {
        const struct topology_open *open = &topology->opens[i];
        const struct batch *batch = batch_of(plan, open->slot);
        /* A replica's mark is a copy, and may be an old one: nobody moves a slot there. */
        if (batch == NULL || topology->nodes[open->node].role == NODE_ROLE_REPLICA) {
            continue;
        }
        const struct node_id *peer = open->is_importing ? &batch->source : &batch->target;
        if (!node_id_is_equal(&open->peer, peer)) {
            struct strbuf text = {0};
            topology_format_open(topology, i, &text);
            int code = err_set(err, ERR_CONFLICT, "%s, the plan has it going from %.8s to %.8s",
                               strbuf_text(&text), batch->source.text, batch->target.text);
            strbuf_release(&text);
            return code;
        }
    }
    return 0;
}

int plan_apply_to(const struct plan *plan,
                  const struct topology *topology,
                  int16_t owner[SLOT_COUNT],
                  struct err *err)
{
    int16_t *after = xmemdup(owner, SLOT_COUNT * sizeof(int16_t));
    int code = 0;
    for (int i = 0; i < plan->batch_count && code == 0; i++) {
        const struct batch *batch = &plan->batches[i];
        int source = topology_find(topology, &batch->source);
        int target = topology_find(topology, &batch->target);
        if (source == NO_NODE || target == NO_NODE) {
            code = err_set(err, ERR_CONFLICT, "batch %d: source or target is unknown", i);
            break;
        }
        SLOTSET_FOREACH (slot, &batch->slots) {
            if (after[slot] != source) {
                code = err_set(err, ERR_CONFLICT, "batch %d: slot %d is not its source's", i, slot);
                break;
            }
            after[slot] = (int16_t)target;
        }
    }
    if (code == 0) {
        memcpy(owner, after, SLOT_COUNT * sizeof(int16_t));
    }
    free(after);
    return code;
}

int plan_invert(const struct plan *plan,
                const struct topology *topology,
                const struct plan_options *options,
                struct plan *inverse,
                struct err *err)
{
    int16_t *after = xmemdup(topology->owner, sizeof(topology->owner));
    int code = plan_check(plan, topology, err);
    if (code == 0) {
        code = plan_apply_to(plan, topology, after, err);
    }
    if (code == 0) {
        struct plan fresh = {.topology_digest = topology_digest_with_owners(topology, after),
                             .batch_count = plan->batch_count,
                             .slot_count = plan->slot_count,
                             .keys_estimate = plan->keys_estimate,
                             .bytes_estimate = plan->bytes_estimate};
        fresh.batches = plan->batch_count == 0
                            ? NULL
                            : xcalloc((size_t)plan->batch_count, sizeof(struct batch));
        for (int i = 0; i < plan->batch_count; i++) {
            const struct batch *batch = &plan->batches[plan->batch_count - 1 - i];
            fresh.batches[i] = (struct batch){.index = i,
                                              .source = batch->target,
                                              .target = batch->source,
                                              .slots = batch->slots,
                                              .keys_estimate = batch->keys_estimate,
                                              .bytes_estimate = batch->bytes_estimate,
                                              .state = BATCH_WAITING};
        }
        fresh.duration_estimate_ms = estimate_duration_ms(topology, options, &fresh);
        *inverse = fresh;
    }
    free(after);
    return code;
}

static void format_name(const struct topology *topology,
                        const struct node_id *id,
                        struct strbuf *out)
{
    char name[TOPOLOGY_NAME_SIZE];
    int node = topology_find(topology, id);
    if (node == NO_NODE) {
        strbuf_addf(out, "node %.8s", id->text);
    } else {
        strbuf_add_text(out, topology_node_name(topology, node, name));
    }
}

static void format_sums(int slots, uint64_t keys, uint64_t bytes, struct strbuf *out)
{
    char text[ESTIMATE_BYTES_TEXT_SIZE];
    strbuf_addf(out, "%d slot%s, about %" PRIu64 " key%s, %s", slots, slots == 1 ? "" : "s", keys,
                keys == 1 ? "" : "s", estimate_format_bytes((int64_t)bytes, text));
}

void plan_format(const struct plan *plan, const struct topology *topology, struct strbuf *out)
{
    if (plan->batch_count == 0) {
        strbuf_add_text(out, "nothing to move\n");
        return;
    }
    for (int i = 0; i < plan->batch_count; i++) {
        const struct batch *batch = &plan->batches[i];
        strbuf_addf(out, "batch %d: ", batch->index);
        if (batch->kind == BATCH_TASK) {
            char text[TEXT_SIZE];
            task_format(batch->task, text, sizeof(text));
            strbuf_addf(out, "%s\n", text);
            continue;
        }
        format_name(topology, &batch->source, out);
        strbuf_add_text(out, " -> ");
        format_name(topology, &batch->target, out);
        strbuf_add_text(out, ": ");
        slotset_format(&batch->slots, out);
        strbuf_add_text(out, " (");
        format_sums(slotset_count(&batch->slots), batch->keys_estimate, batch->bytes_estimate, out);
        strbuf_add_text(out, ")\n");
    }
    int64_t seconds = (plan->duration_estimate_ms + 999) / 1000;
    strbuf_addf(out, "in all %d batch%s: ", plan->batch_count, plan->batch_count == 1 ? "" : "es");
    format_sums(plan->slot_count, plan->keys_estimate, plan->bytes_estimate, out);
    strbuf_addf(out, "; about %" PRId64 " min %" PRId64 " s\n", seconds / 60, seconds % 60);
}
