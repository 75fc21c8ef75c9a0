/* follow.c — keeps an operation true to what the nodes are: failovers, foreign changes, the proof
 * at the end. See executor.h. Source: docs/design.md section 6; Redis failover facts (a slot's new
 * owner is the promoted replica). */
#include "coordinator/core/executor.h"

#include "coordinator/core/planner.h"
#include "coordinator/core/state.h"

#include <stdio.h>
#include <string.h>

/* Orders for marks that replicas have left: pauses of 0, 2, 4, 8 and then 15 s, two minutes in all
 * for a replica to get its link back. */
#define MARK_ORDERS_MAX 10
#define MARK_PAUSE_MS 2000
#define MARK_PAUSE_MS_MAX 15000

/* Who stands for 'id' now: what we saw happen, else what the node itself has become. NULL = still
 * itself. */
static const struct node_id *stand_in(const struct coordinator *c, const struct node_id *id)
{
    const struct topology *topology = &c->observe.topology;
    int node = topology_find(topology, id);
    if (node != NO_NODE && topology->nodes[node].role == NODE_ROLE_PRIMARY &&
        topology->nodes[node].slot_count > 0) {
        return NULL;
    }
    const struct node_id *seen = observe_successor(&c->observe, id);
    if (seen != NULL) {
        return seen;
    }
    if (node != NO_NODE && topology->nodes[node].role == NODE_ROLE_REPLICA &&
        topology->nodes[node].primary != NO_NODE) {
        return &topology->nodes[topology->nodes[node].primary].id;
    }
    return NULL;
}

static bool owns_all(const struct topology *topology,
                     const struct slotset *slots,
                     const struct node_id *id)
{
    int node = topology_find(topology, id);
    if (node == NO_NODE || topology->nodes[node].role != NODE_ROLE_PRIMARY) {
        return false;
    }
    SLOTSET_FOREACH (slot, slots) {
        if (topology->owner[slot] != node) {
            return false;
        }
    }
    return true;
}

static void log_retarget(struct coordinator *c,
                         const struct operation_run *o,
                         int index,
                         const char *end,
                         const struct node_id *from,
                         const struct node_id *to)
{
    struct log_event *log = turn_log(&c->turn, EVENT_BATCH_RETARGETED);
    log_event_add(log, "op", o->op.id);
    log_event_add_int(log, "batch", index);
    log_event_add(log, "end", end);
    log_event_add(log, "from", from->text);
    log_event_add(log, "to", to->text);
}

/* The end of a batch that has a stand-in, checked against who owns the slots. */
static bool find_new_ends(const struct coordinator *c,
                          const struct batch *batch,
                          struct node_id *source,
                          struct node_id *target)
{
    const struct topology *topology = &c->observe.topology;
    struct slotset left = batch->slots;
    slotset_subtract(&left, &batch->slots_done);
    *source = batch->source;
    *target = batch->target;
    const struct node_id *new_target = stand_in(c, &batch->target);
    int target_now = new_target != NULL ? topology_find(topology, new_target) : NO_NODE;
    if (target_now != NO_NODE && topology->nodes[target_now].role == NODE_ROLE_PRIMARY &&
        !node_id_is_equal(new_target, &batch->source) &&
        owns_all(topology, &batch->slots_done, new_target)) {
        *target = *new_target;
    }
    if (!slotset_is_empty(&left)) {
        const struct node_id *new_source = stand_in(c, &batch->source);
        if (new_source != NULL && !node_id_is_equal(new_source, target) &&
            owns_all(topology, &left, new_source)) {
            *source = *new_source;
        }
    }
    return !node_id_is_equal(source, &batch->source) || !node_id_is_equal(target, &batch->target);
}

/* A replica of a primary that was replaced is not wanted any more: what is, is decided anew. */
static void follow_task(struct coordinator *c, struct operation_run *o, int index)
{
    struct batch *batch = &o->plan.batches[index];
    bool is_idle = !order_run_is_live(&o->runs[index]) &&
                   (batch->state == BATCH_WAITING || batch->state == BATCH_FAILED);
    if (!is_idle || batch->task->kind != TASK_REPLICATE ||
        stand_in(c, &batch->task->peer) == NULL) {
        return;
    }
    batch->state = BATCH_STOPPED;
    (void)snprintf(batch->reason, sizeof(batch->reason), "its primary was replaced");
    (void)record_batch(c, o, index);
}

void follow_failovers(struct coordinator *c, struct operation_run *o)
{
    for (int i = o->plan.settled_count; i < o->plan.batch_count; i++) {
        struct batch *batch = &o->plan.batches[i];
        struct order_run *run = &o->runs[i];
        if (batch->kind == BATCH_TASK) {
            follow_task(c, o, i);
            continue;
        }
        struct node_id source;
        struct node_id target;
        if (!find_new_ends(c, batch, &source, &target)) {
            continue;
        }
        if (order_run_is_live(run)) {
            if (!run->is_stop_wanted && run->sm.state != RUN_ENDING) {
                run->is_stop_wanted =
                    true; /* its pair is gone; a new order follows when it has ended */
                struct agent_entry *agent = registry_find(&c->registry, &batch->agent);
                if (agent != NULL) {
                    agent->has_news = true;
                }
            }
            continue;
        }
        if (!node_id_is_equal(&source, &batch->source)) {
            log_retarget(c, o, i, "source", &batch->source, &source);
            batch->source = source;
            batch->source_run_id[0] = '\0';
        }
        if (!node_id_is_equal(&target, &batch->target)) {
            log_retarget(c, o, i, "target", &batch->target, &target);
            batch->target = target;
        }
        (void)record_batch(c, o, i);
        run->not_before_ms = 0;
        run->failures = 0;
        if (batch->state == BATCH_FAILED ||
            (batch->state == BATCH_STOPPED && o->op.state == OPERATION_RUNNING)) {
            batch->state = BATCH_WAITING;
        }
        o->checked_build = 0;
    }
}

/* Before anything is judged foreign, the nodes that the plan names must have been heard of. */
static bool is_all_reported(const struct coordinator *c, struct operation_run *o)
{
    const struct topology *topology = &c->observe.topology;
    if (c->observe.builds == 0 || topology->views_missing > 0) {
        (void)snprintf(o->waits, sizeof(o->waits), "waits for the nodes' reports");
        return false;
    }
    for (int i = o->plan.settled_count; i < o->plan.batch_count; i++) {
        const struct batch *batch = &o->plan.batches[i];
        if (batch->state == BATCH_DONE || batch->kind == BATCH_TASK) {
            continue;
        }
        const struct node_id *ends[] = {&batch->source, &batch->target};
        for (int e = 0; e < 2; e++) {
            int node = topology_find(topology, ends[e]);
            if (node == NO_NODE || !topology->nodes[node].is_reachable) {
                char name[TOPOLOGY_NAME_SIZE];
                (void)snprintf(
                    o->waits, sizeof(o->waits), "waits until an agent reaches %s",
                    node == NO_NODE ? ends[e]->text : topology_node_name(topology, node, name));
                return false;
            }
        }
    }
    return true;
}

bool follow_topology(struct coordinator *c, struct operation_run *o)
{
    if (o->checked_build == c->observe.builds && o->is_fit) {
        return true;
    }
    struct err err = {0};
    if (c->observe.builds > 0 && plan_check_begun(&o->plan, &c->observe.topology, &err) == 0) {
        o->checked_build = c->observe.builds;
        o->is_fit = true;
        o->foreign_since_ms = NEVER;
        return true;
    }
    if (!is_all_reported(c, o)) {
        /* Views lag behind while slots move, and failovers take their time: what fitted may go on,
         * agents check every order against the nodes anyway. */
        o->foreign_since_ms = NEVER;
        return o->is_fit;
    }
    o->is_fit = false;
    if (o->foreign_since_ms == NEVER) {
        o->foreign_since_ms = c->turn.now_ms;
    }
    (void)snprintf(o->waits, sizeof(o->waits), "does not fit the plan: %.*s", TEXT_SIZE * 2,
                   err.text);
    if (c->turn.now_ms - o->foreign_since_ms >= FOREIGN_CHANGE_MS) {
        char reason[TEXT_SIZE];
        (void)snprintf(reason, sizeof(reason), "somebody else changed the cluster: %.120s",
                       err.text);
        operation_move(c, o, OPERATION_PAUSING, ERR_CONFLICT, reason);
    }
    return false;
}

/* A slot that was done and is its source's again, e.g. because the target died before its replica
 * knew: again. */
static int undo_lost(struct coordinator *c, struct operation_run *o)
{
    const struct topology *topology = &c->observe.topology;
    int lost = 0;
    for (int i = o->plan.settled_count; i < o->plan.batch_count; i++) {
        struct batch *batch = &o->plan.batches[i];
        if (batch->kind == BATCH_TASK) {
            continue;
        }
        int source = topology_find(topology, &batch->source);
        int before = lost;
        SLOTSET_FOREACH (slot, &batch->slots) {
            if (source != NO_NODE && topology->owner[slot] == source &&
                slotset_has(&batch->slots_done, slot)) {
                slotset_remove(&batch->slots_done, slot);
                lost++;
            }
        }
        if (lost > before) {
            batch->state = BATCH_WAITING;
            batch->source_run_id[0] = '\0'; /* it was not the owner all the time */
            (void)record_batch(c, o, i);
        }
    }
    return lost;
}

static int verify_views(const struct coordinator *c, const struct operation_run *o, struct err *err)
{
    const struct topology *topology = &c->observe.topology;
    char name[TOPOLOGY_NAME_SIZE];
    if (c->observe.builds == 0 || topology->views_missing > 0 || c->observe.views_stale > 0) {
        return err_set(err, ERR_CONFLICT, "%d views are not known yet",
                       topology->views_missing + c->observe.views_stale);
    }
    for (int i = 0; i < topology->node_count; i++) {
        if (topology->nodes[i].is_reachable && !observe_is_fresh(c, i, o->quiet_since_ms)) {
            return err_set(err, ERR_CONFLICT, "%s was not read since",
                           topology_node_name(topology, i, name));
        }
    }
    return 0;
}

static int verify_slots(const struct topology *topology,
                        const struct slotset *planned,
                        struct err *err)
{
    for (int i = 0; i < topology->open_count; i++) {
        if (slotset_has(planned, topology->opens[i].slot)) {
            struct strbuf text = {0};
            topology_format_open(topology, i, &text);
            (void)err_set(err, ERR_CONFLICT, "%s", strbuf_text(&text));
            strbuf_release(&text);
            return ERR_CONFLICT;
        }
    }
    for (int i = 0; i < topology->disagreement_count; i++) {
        const struct topology_disagreement *item = &topology->disagreements[i];
        int slot = item->kind == DISAGREE_OWNER ? slotset_next(planned, item->first) : SLOT_NONE;
        if (slot != SLOT_NONE && slot <= item->last) {
            struct strbuf text = {0};
            topology_format_disagreement(topology, i, &text);
            (void)err_set(err, ERR_CONFLICT, "%s", strbuf_text(&text));
            strbuf_release(&text);
            return ERR_CONFLICT;
        }
    }
    if (topology->disagreements_left_out > 0) {
        return err_set(err, ERR_CONFLICT, "the nodes disagree about many things");
    }
    return 0;
}

/* Slots of a done batch that a replica of one of its ends still has a mark for. An end that cannot
 * be reached could not be told: none then. */
static void find_marked(const struct topology *topology,
                        const struct batch *batch,
                        struct slotset *marked)
{
    int source = topology_find(topology, &batch->source);
    int target = topology_find(topology, &batch->target);
    *marked = (struct slotset){0};
    if (source == NO_NODE || target == NO_NODE || !topology->nodes[source].is_reachable ||
        !topology->nodes[target].is_reachable) {
        return;
    }
    for (int i = 0; i < topology->open_count; i++) {
        const struct topology_node *node = &topology->nodes[topology->opens[i].node];
        bool is_of_end =
            node->role == NODE_ROLE_REPLICA && (node->primary == source || node->primary == target);
        if (is_of_end && slotset_has(&batch->slots_done, topology->opens[i].slot)) {
            slotset_add(marked, topology->opens[i].slot);
        }
    }
}

/* A replica whose link was down may get a mark, or keep one, after its batch has ended; nothing but
 * its primary takes that away, and a mover has it do so at its end (agent/core/mover_marks.c). So
 * the slot is ordered once more: nothing of it is moved any more. */
static void order_marked(struct coordinator *c, struct operation_run *o, const char *reason)
{
    if (o->mark_orders >= MARK_ORDERS_MAX) {
        return;
    }
    int shift = o->mark_orders < 4 ? o->mark_orders : 4;
    int64_t pause_ms = o->mark_orders == 0 ? 0 : (int64_t)MARK_PAUSE_MS << (shift - 1);
    pause_ms = pause_ms < MARK_PAUSE_MS_MAX ? pause_ms : MARK_PAUSE_MS_MAX;
    bool has_ordered = false;
    for (int i = o->plan.settled_count; i < o->plan.batch_count; i++) {
        struct batch *batch = &o->plan.batches[i];
        struct slotset marked;
        if (batch->kind != BATCH_MOVE || batch->state != BATCH_DONE) {
            continue;
        }
        find_marked(&c->observe.topology, batch, &marked);
        if (!slotset_is_empty(&marked)) {
            order_run_again(c, o, i, &marked, pause_ms, reason);
            has_ordered = true;
        }
    }
    o->mark_orders += has_ordered;
}

int verify_operation(struct coordinator *c, struct operation_run *o, struct err *err)
{
    const struct topology *topology = &c->observe.topology;
    struct slotset planned = {0};
    for (int i = o->plan.settled_count; i < o->plan.batch_count; i++) {
        slotset_union(&planned, &o->plan.batches[i].slots);
    }
    int code = verify_views(c, o, err);
    if (code == 0 && !slotset_is_empty(&planned)) {
        code = verify_slots(topology, &planned, err);
        if (code != 0) {
            order_marked(c, o, err->text);
        }
    }
    if (code != 0) {
        return code;
    }
    int lost = undo_lost(c, o);
    if (lost > 0) {
        return err_set(err, ERR_CONFLICT,
                       "%d slots are their source's again and will be moved once more", lost);
    }
    for (int i = o->plan.settled_count; i < o->plan.batch_count; i++) {
        const struct batch *batch = &o->plan.batches[i];
        if (batch->kind == BATCH_MOVE && !owns_all(topology, &batch->slots, &batch->target)) {
            return err_set(err, ERR_CONFLICT, "not all slots of batch %d are owned by %.8s", i,
                           batch->target.text);
        }
    }
    o->mark_orders = 0;
    return 0;
}
