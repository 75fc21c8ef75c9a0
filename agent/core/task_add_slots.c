/* task_add_slots.c — TASK_ADD_SLOTS: the node takes slots that nobody has.
 *
 * For making a cluster and for covering slots that were lost. A slot with an owner in any view is
 * never taken: its owner would delete its keys. Only with TASK_FORCE are slots taken from an owner
 * that every view has as failed, that does not answer, and that no live replica could follow: its
 * keys are given up. The config epoch is set before anybody is met where that is allowed, else
 * bumped (facts F1, F24); with TASK_FORCE it is raised above those of all dead primaries first, so
 * that one that comes back is told that it lost its slots instead of winning them again. */
#include "agent/core/task_parts.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define ADD_MS_MAX 60000
#define ADD_INTERVAL_MS                                                      \
    3000 /* gossip tells everybody within that; then epochs are bumped again \
          */

enum add_act { ADD_SLOTS, ADD_EPOCH };

static bool is_forced(const struct node_task *t)
{
    return (t->task->flags & TASK_FORCE) != 0;
}

/* Failed in this view, and nobody in it could take over. */
static bool is_lost_for_good(const struct nodes_view *view, const struct nodes_row *owner)
{
    for (int i = 0; i < view->row_count; i++) {
        const struct nodes_row *row = &view->rows[i];
        bool is_down = (row->flags & (NODES_FLAG_FAIL | NODES_FLAG_NOADDR)) != 0;
        if (node_id_is_equal(&row->primary_id, &owner->id) && !is_down) {
            return false;
        }
    }
    return (owner->flags & NODES_FLAG_FAIL) != 0;
}

static void note_foreign(struct node_task *t, const struct nodes_view *view)
{
    int allowed = NODES_NO_ROW; /* the row that was found lost for good last */
    SLOTSET_FOREACH (slot, &t->task->slots) {
        int owner = view->owner[slot];
        bool is_foreign =
            owner != NODES_NO_ROW && !node_id_is_equal(&view->rows[owner].id, &t->task->node);
        if (!is_foreign || owner == allowed) {
            continue;
        }
        if (is_forced(t) && is_lost_for_good(view, &view->rows[owner])) {
            allowed = owner;
        } else if (t->add.foreign_slot == SLOT_NONE) {
            t->add.foreign_slot = slot;
            t->add.foreign_owner = view->rows[owner].id;
        }
    }
}

static bool add_judge(struct node_task *t, struct agent_effects *fx)
{
    (void)fx;
    char name[ADDRESS_TEXT_SIZE];
    bool has_peer = t->peer.address.port != 0;
    if ((has_peer && !task_peer_is_there(t)) || !task_node_is_there(t)) {
        return false;
    }
    if ((task_own_row(&t->node)->flags & NODES_FLAG_PRIMARY) == 0) {
        task_fail(t, ERR_CONFLICT, "%s is a replica: slots go to a primary",
                  task_node_name(t, name));
        return false;
    }
    t->add.foreign_slot = SLOT_NONE;
    note_foreign(t, &t->node.view);
    return true;
}

static void add_hear_view(struct node_task *t,
                          struct task_member *member,
                          const struct nodes_view *view)
{
    char name[ADDRESS_TEXT_SIZE];
    note_foreign(t, view);
    SLOTSET_FOREACH (slot, &t->task->slots) {
        int owner = view->owner[slot];
        if (owner == NODES_NO_ROW || !node_id_is_equal(&view->rows[owner].id, &t->task->node)) {
            task_complain(t, "member %s does not show it as the owner of slot %d yet",
                          task_name(name, &member->id, &member->address), slot);
            return;
        }
    }
}

static void find_missing(const struct node_task *t, struct slotset *missing)
{
    struct slotset owned = {0};
    nodes_row_slots(&t->node.view, t->node.view.myself, &owned);
    *missing = t->task->slots;
    slotset_subtract(missing, &owned);
}

/* What the node itself believes to be somebody else's: it takes only what it believes nobody's. */
static void find_taken(const struct node_task *t,
                       const struct slotset *missing,
                       struct slotset *taken)
{
    slotset_clear(taken);
    SLOTSET_FOREACH (slot, missing) {
        if (t->node.view.owner[slot] != NODES_NO_ROW) {
            slotset_add(taken, slot);
        }
    }
}

/* verb: "ADD" or "DEL". */
static void words_slots(struct command_list *commands,
                        const char *verb,
                        const struct slotset *slots,
                        bool has_no_ranges)
{
    char text[24];
    (void)snprintf(text, sizeof(text), "%sSLOTS%s", verb, has_no_ranges ? "" : "RANGE");
    commands_begin(commands);
    commands_arg_text(commands, "CLUSTER");
    commands_arg_text(commands, text);
    int slot = slotset_next(slots, 0);
    while (slot != SLOT_NONE) {
        int last = has_no_ranges ? slot : slotset_run_end(slots, slot);
        commands_arg_int(commands, slot);
        if (!has_no_ranges) {
            commands_arg_int(commands, last);
        }
        slot = slotset_next(slots, last + 1);
    }
}

/* ---- config epoch ---- */

static bool is_epoch_good(const struct node_task *t)
{
    const struct nodes_row *own = task_own_row(&t->node);
    if ((t->task->flags & (TASK_EPOCH | TASK_FORCE)) == 0) {
        return true;
    }
    for (int i = 0; i < t->node.view.row_count; i++) {
        const struct nodes_row *row = &t->node.view.rows[i];
        bool is_other = (row->flags & NODES_FLAG_PRIMARY) != 0 &&
                        (row->flags & NODES_FLAG_HANDSHAKE) == 0 && row != own;
        bool is_dead = is_forced(t) && (row->flags & NODES_FLAG_FAIL) != 0;
        if (is_other && (row->config_epoch == own->config_epoch ||
                         (is_dead && row->config_epoch > own->config_epoch))) {
            return false;
        }
    }
    return own->config_epoch != 0;
}

/* SET-CONFIG-EPOCH is for a node that knows nobody; later only the next free one can be had. */
static void set_epoch(struct node_task *t, struct agent_effects *fx)
{
    task_say(t, "gets a config epoch of its own");
    if (t->now_ms - t->begun_ms >= ADD_MS_MAX) {
        task_fail(t, ERR_TIMEOUT, "owns the slots, but no config epoch of its own: see its log");
        return;
    }
    if (t->now_ms < t->add.next_ms) {
        task_rest(t);
        return;
    }
    t->add.next_ms = t->now_ms + ADD_INTERVAL_MS;
    uint64_t epoch = strtoull(t->task->detail, NULL, 10);
    bool is_alone = t->node.view.row_count == 1 && task_own_row(&t->node)->config_epoch == 0;
    struct command_list *commands =
        task_act(t, fx, ADD_EPOCH, &t->node.address, TASK_ASK_TIMEOUT_MS);
    if (is_alone && epoch > 0 && epoch <= INT64_MAX) {
        char text[24];
        (void)snprintf(text, sizeof(text), "%" PRIu64, epoch);
        commands_add(commands, "CLUSTER", "SET-CONFIG-EPOCH", text, (char *)NULL);
    } else {
        commands_add(commands, "CLUSTER", "BUMPEPOCH", (char *)NULL);
    }
    task_rest_after(t);
}

/* ---- deciding ---- */

static void refuse_foreign(struct node_task *t)
{
    if (!is_forced(t)) {
        task_fail(t, ERR_REFUSED, "slot %d belongs to %.12s: move it, do not add it",
                  t->add.foreign_slot, t->add.foreign_owner.text);
        return;
    }
    task_say(t, "slot %d belongs to %.12s, which lives in some view, or has a replica that does",
             t->add.foreign_slot, t->add.foreign_owner.text);
    task_wait(t, TASK_SETTLE_MS_MAX, "owner lives", ERR_REFUSED);
}

/* A member that is thought dead, but says something: it may be loading its keys. */
static bool is_dead_awake(struct node_task *t)
{
    char name[ADDRESS_TEXT_SIZE];
    for (int i = 0; is_forced(t) && i < t->member_count; i++) {
        const struct task_member *member = &t->members[i];
        if (member->is_lost && member->is_answering) {
            task_say(t, "%s answers again: its slots are not given to others",
                     task_name(name, &member->id, &member->address));
            task_wait(t, TASK_SILENCE_MS_MAX, "the dead answer", ERR_CONFLICT);
            return true;
        }
    }
    return false;
}

static void take(struct node_task *t, struct agent_effects *fx, const struct slotset *missing)
{
    struct slotset taken;
    find_taken(t, missing, &taken);
    task_say(t, "takes %d slots", slotset_count(missing));
    task_log(t, fx, LOG_INFO, "task.add_slots");
    struct command_list *commands =
        task_act(t, fx, ADD_SLOTS, &t->node.address, TASK_ASK_TIMEOUT_MS);
    if (is_forced(t) && !is_epoch_good(t)) {
        commands_add(commands, "CLUSTER", "BUMPEPOCH", (char *)NULL);
    }
    if (!slotset_is_empty(&taken)) {
        words_slots(commands, "DEL", &taken, t->add.has_no_ranges);
    }
    words_slots(commands, "ADD", missing, t->add.has_no_ranges);
}

static void add_decide(struct node_task *t, struct agent_effects *fx)
{
    struct slotset missing;
    find_missing(t, &missing);
    if (t->add.foreign_slot != SLOT_NONE) {
        refuse_foreign(t);
    } else if (!slotset_is_empty(&missing)) {
        if (task_members_are_there(t) && !is_dead_awake(t)) {
            take(t, fx, &missing);
        }
    } else if (!is_epoch_good(t)) {
        set_epoch(t, fx);
    } else if (t->complaint_count == 0) {
        task_say(t, "owns all %d slots in every view", slotset_count(&t->task->slots));
        task_done(t);
    } else {
        task_say(t, "owns the slots; %s", t->complaint);
        task_wait(t, ADD_MS_MAX, "views lag", ERR_TIMEOUT);
    }
}

static void add_hear_act(struct node_task *t,
                         const struct task_request *request,
                         const struct agent_event *ev,
                         struct agent_effects *fx)
{
    (void)fx;
    const struct reply *error = ev->code == 0 ? task_first_error(ev) : NULL;
    if (error == NULL || request->index != ADD_SLOTS) {
        return;
    }
    bool is_old =
        reply_contains(error, "unknown subcommand") || reply_contains(error, "Unknown subcommand");
    if (is_old && !t->add.has_no_ranges) {
        t->add.has_no_ranges = true;
    } else if (redis_fault_of(error) == FAULT_AUTH) {
        task_fail(t, ERR_AUTH, "CLUSTER ADDSLOTS: %s", error->text);
    } else {
        task_say(t, "CLUSTER ADDSLOTS: %s", error->text); /* busy by now, or loading: look again */
        task_wait(t, TASK_SILENCE_MS_MAX, "not added", ERR_REFUSED);
    }
}

static bool add_may_stop(const struct node_task *t)
{
    (void)t;
    return true;
}

const struct task_rules task_add_slots_rules = {
    .judge = add_judge,
    .hear_view = add_hear_view,
    .decide = add_decide,
    .hear_act = add_hear_act,
    .may_stop = add_may_stop,
};
