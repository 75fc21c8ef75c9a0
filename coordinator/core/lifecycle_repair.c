/* lifecycle_repair.c — what may be mended, in an order in which each mend makes the next safe. See
 * lifecycle.h and docs/lifecycle.md.
 *
 *   strangers meet -> open slots are closed, owners disputed are agreed on -> ghosts leave ->
 *   slots without owner get one
 *                                              -> outcasts are reset
 *
 * What Redis settles by itself is waited for. What is somebody's choice is refused with the command
 * that makes it. */
#include "common/base/alloc.h"
#include "coordinator/core/balance.h"
#include "coordinator/core/lifecycle_parts.h"

#include <stdlib.h>
#include <string.h>

/* One end of open slots and the other. */
struct pair {
    int owner;
    int peer; /* or NO_NODE */
};

static const struct topology_opinion *opinion_of(const struct topology_disagreement *found,
                                                 uint64_t value)
{
    for (int i = 0; i < found->opinion_count; i++) {
        if (found->opinions[i].value == value) {
            return &found->opinions[i];
        }
    }
    return NULL;
}

/* Members that answer and that somebody does not list. */
static void meet_missing(struct decision *d)
{
    const struct topology *topology = d->topology;
    for (int i = 0; i < topology->disagreement_count; i++) {
        const struct topology_disagreement *found = &topology->disagreements[i];
        if (found->kind != DISAGREE_MEMBERSHIP || !is_live(&topology->nodes[found->subject])) {
            continue;
        }
        const struct topology_opinion *without = opinion_of(found, 0);
        if (without != NULL && without->believer != NO_NODE) {
            struct task task;
            task_of_node(d, TASK_MEET, found->subject, without->believer, &task);
            decide_task(d, &task);
        }
    }
}

/* Whom an open slot belongs to: the owner by agreement, else who migrates it, else who imports it.
 */
static struct pair pair_of(const struct topology *topology, int index)
{
    const struct topology_open *open = &topology->opens[index];
    int owner = topology->owner[open->slot];
    int importing = open->is_importing ? open->node : open->peer_node;
    int migrating = open->is_importing ? open->peer_node : open->node;
    if (owner == NO_NODE) {
        owner = migrating != NO_NODE ? migrating : importing;
    }
    int peer = open->node != owner ? open->node : open->peer_node;
    return (struct pair){.owner = owner, .peer = peer == owner ? NO_NODE : peer};
}

static bool can_work(const struct topology *topology, const struct pair *pair)
{
    bool has_owner = pair->owner != NO_NODE && is_live(&topology->nodes[pair->owner]);
    return has_owner && (pair->peer == NO_NODE || topology->nodes[pair->peer].is_reachable);
}

/* A task takes the slots of one pair; a slot with several other ends takes them one by one. */
static void add_repair(struct decision *d, const struct pair *pair, struct slotset *taken)
{
    const struct topology *topology = d->topology;
    struct task task;
    int count = 0;
    task_of_node(d, TASK_REPAIR, pair->owner, pair->peer, &task);
    task.flags = (d->request->flags & REQUEST_REPLACE) != 0 ? TASK_REPLACE : 0;
    for (int i = 0; i < topology->open_count && count < BATCH_SLOTS_MAX; i++) {
        struct pair other = pair_of(topology, i);
        int slot = topology->opens[i].slot;
        if (other.owner == pair->owner && other.peer == pair->peer && !slotset_has(taken, slot)) {
            slotset_add(&task.slots, slot);
            slotset_add(taken, slot);
            count++;
        }
    }
    if (count > 0) {
        decide_task(d, &task);
    }
}

static void close_open(struct decision *d)
{
    const struct topology *topology = d->topology;
    struct slotset taken = {0};
    for (int i = 0; i < topology->open_count; i++) {
        struct pair pair = pair_of(topology, i);
        if (!slotset_has(&taken, topology->opens[i].slot) && can_work(topology, &pair)) {
            add_repair(d, &pair, &taken);
        }
    }
}

/* Slots whose owner, as it is agreed on, some nodes do not see, be it the owner itself. One task
 * for each owner; its agent finds out whether gossip has settled it meanwhile. */
static void settle_owners(struct decision *d)
{
    const struct topology *topology = d->topology;
    for (int node = 0; node < topology->node_count; node++) {
        struct task task;
        int left = BATCH_SLOTS_MAX;
        if (!is_live_primary(&topology->nodes[node])) {
            continue;
        }
        task_of_node(d, TASK_REPAIR, node, NO_NODE, &task);
        task.flags = (d->request->flags & REQUEST_REPLACE) != 0 ? TASK_REPLACE : 0;
        for (int i = 0; i < topology->disagreement_count; i++) {
            const struct topology_disagreement *found = &topology->disagreements[i];
            int last = found->last - found->first < left ? found->last : found->first + left - 1;
            /* All nodes hold the same opinions on the whole range, so its owner is the same. */
            if (found->kind == DISAGREE_OWNER && topology->owner[found->first] == node &&
                left > 0) {
                slotset_add_range(&task.slots, found->first, last);
                left -= last - found->first + 1;
            }
        }
        if (!slotset_is_empty(&task.slots)) {
            decide_task(d, &task);
        }
    }
}

/* Open slots first: closing them settles most disputes about their owners. */
static void mend_slots(struct decision *d)
{
    close_open(d);
    if (!decision_is_made(d)) {
        settle_owners(d);
    }
}

static bool has_live_replica(const struct topology *topology, int node)
{
    for (int i = 0; i < topology->node_count; i++) {
        if (is_live(&topology->nodes[i]) && topology->nodes[i].primary == node) {
            return true;
        }
    }
    return false;
}

static void forget(struct decision *d, const struct node_id *id, const struct address *address)
{
    int peer = find_peer(d->topology, NO_NODE);
    struct task task = {
        .kind = TASK_LEAVE, .flags = TASK_DEAD, .node = *id, .node_address = *address};
    if (peer != NO_NODE) {
        task.peer = d->topology->nodes[peer].id;
        task.peer_address = d->topology->nodes[peer].address;
        decide_task(d, &task);
    }
}

/* Dead, without slots and replicas, and forgotten by some already: somebody removed it and was not
 * heard by all. A dead node that all still know may come back and is left alone. */
static void forget_ghosts(struct decision *d)
{
    const struct topology *topology = d->topology;
    for (int i = 0; i < topology->disagreement_count; i++) {
        const struct topology_disagreement *found = &topology->disagreements[i];
        int subject = found->subject;
        if (found->kind != DISAGREE_MEMBERSHIP) {
            continue;
        }
        const struct topology_node *node = &topology->nodes[subject];
        if (!node->is_reachable && node->slot_count == 0 && !has_live_replica(topology, subject)) {
            forget(d, &node->id, &node->address);
        }
    }
    for (int i = 0; i < topology->ghost_count; i++) {
        if (topology->ghosts[i].kind == GHOST_NOADDR) {
            forget(d, &topology->ghosts[i].id, &topology->ghosts[i].address);
        }
    }
}

/* Switched on again after it was removed, with the files it had: it follows the cluster as if it
 * were in it. It owns nothing; reset it is a spare. */
static void reset_outcasts(struct decision *d)
{
    for (int i = 0; i < d->topology->node_count; i++) {
        if (d->topology->nodes[i].is_outcast && d->topology->nodes[i].is_reachable) {
            decide_leave(d, i, false);
        }
    }
}

/* Slots whose keys cannot be reached: nobody's, and with leave those of dead primaries. */
static void list_uncovered(const struct decision *d, struct slotset *slots)
{
    const struct topology *topology = d->topology;
    bool takes_dead = (d->request->flags & REQUEST_UNREACHABLE_OK) != 0;
    slotset_clear(slots);
    for (int slot = 0; slot < SLOT_COUNT; slot++) {
        int owner = topology->owner[slot];
        bool is_dead = owner != NO_NODE && topology->nodes[owner].is_failed &&
                       !topology->nodes[owner].is_reachable && !has_live_replica(topology, owner);
        if (owner == NO_NODE || (is_dead && takes_dead)) {
            slotset_add(slots, slot);
        }
    }
    for (int i = 0; i < topology->open_count; i++) {
        slotset_remove(slots, topology->opens[i].slot);
    }
}

/* A member that is out of reach may have owned what nobody has now. */
static int find_lost_primary(const struct topology *topology)
{
    for (int i = 0; i < topology->node_count; i++) {
        const struct topology_node *node = &topology->nodes[i];
        if (node->is_member && node->role != NODE_ROLE_REPLICA && !node->is_reachable) {
            return i;
        }
    }
    return NO_NODE;
}

/* Nobody's slots: their keys may still lie where they were, so their agent looks for them first,
 * and whoever holds some takes the slot. */
static void cover_by_repair(struct decision *d, int node, const struct slotset *slots)
{
    struct task task;
    int count = 0;
    task_of_node(d, TASK_REPAIR, node, NO_NODE, &task);
    SLOTSET_FOREACH (slot, slots) {
        slotset_add(&task.slots, slot);
        if (++count == BATCH_SLOTS_MAX) {
            decide_task(d, &task);
            slotset_clear(&task.slots);
            count = 0;
        }
    }
    if (count > 0) {
        decide_task(d, &task);
    }
}

/* In runs of neighbours, so that ranges stay few; who has fewest gets most. */
static void cover(struct decision *d, struct slotset *slots)
{
    const struct topology *topology = d->topology;
    struct balance_node *shares = xcalloc((size_t)topology->shard_count + 1, sizeof(*shares));
    int *nodes = xcalloc((size_t)topology->shard_count + 1, sizeof(int));
    int count = 0;
    for (int s = 0; s < topology->shard_count; s++) {
        int node = topology->shards[s].primary;
        if (is_live_primary(&topology->nodes[node])) {
            nodes[count] = node;
            shares[count++] = (struct balance_node){
                .weight = 1, .current = topology->nodes[node].slot_count, .cap = BALANCE_NO_CAP};
        }
    }
    if (count == 0) {
        decide_wait(d, "no primary answers that could take the slots");
    } else {
        (void)balance_fill(shares, count, slotset_count(slots));
    }
    int slot = 0;
    for (int i = 0; i < count; i++) {
        struct task task;
        struct slotset unowned = {0};
        task_of_node(d, TASK_ADD_SLOTS, nodes[i], NO_NODE, &task);
        task.flags = TASK_FORCE;
        for (int n = 0; n < shares[i].result; n++) {
            slot = slotset_next(slots, slot);
            bool has_owner = topology->owner[slot] != NO_NODE; /* a dead one */
            slotset_add(has_owner ? &task.slots : &unowned, slot++);
        }
        if (!slotset_is_empty(&task.slots)) {
            decide_task(d, &task);
        }
        cover_by_repair(d, nodes[i], &unowned);
    }
    free(shares);
    free(nodes);
}

static void cover_slots(struct decision *d)
{
    struct slotset slots;
    char name[TOPOLOGY_NAME_SIZE];
    int lost = find_lost_primary(d->topology);
    list_uncovered(d, &slots);
    if (slotset_is_empty(&slots)) {
        return;
    }
    if (lost != NO_NODE && (d->request->flags & REQUEST_UNREACHABLE_OK) == 0) {
        decide_refuse(d, ERR_REFUSED,
                      "%d slots have no owner; they may be of %.50s, out of reach: bring it back, "
                      "or say unreachable-ok",
                      slotset_count(&slots), name_of(d, lost, name));
        return;
    }
    cover(d, &slots);
}

/* Open slots that no rule could close, and slots of the dead. */
static void refuse_undecidable(struct decision *d)
{
    const struct topology *topology = d->topology;
    char name[TOPOLOGY_NAME_SIZE];
    for (int i = 0; i < topology->open_count; i++) {
        struct pair pair = pair_of(topology, i);
        if (!can_work(topology, &pair)) {
            int missing = pair.owner == NO_NODE || !is_live(&topology->nodes[pair.owner])
                              ? pair.owner
                              : pair.peer;
            decide_refuse(d, ERR_REFUSED,
                          "slot %d is open, and %.70s does not answer; bring it back",
                          topology->opens[i].slot, name_of(d, missing, name));
            return;
        }
    }
    for (int i = 0; i < topology->node_count; i++) {
        const struct topology_node *node = &topology->nodes[i];
        if (!node->is_member || !node->is_failed || node->is_reachable || node->slot_count == 0) {
            continue;
        }
        if (has_live_replica(topology, i)) {
            decide_refuse(d, ERR_REFUSED,
                          "%.50s is dead with %d slots; force a failover to its "
                          "replica, if Redis does not",
                          name_of(d, i, name), node->slot_count);
        } else {
            decide_refuse(d, ERR_REFUSED,
                          "%.50s is dead with %d slots and no replica; bring it "
                          "back, or say unreachable-ok: keys are lost",
                          name_of(d, i, name), node->slot_count);
        }
        return;
    }
}

void decide_repair(struct decision *d)
{
    static void (*const stages[])(struct decision *) = {
        meet_missing,   mend_slots,         forget_ghosts,  cover_slots,
        reset_outcasts, refuse_undecidable, decide_settled,
    };
    if (find_peer(d->topology, NO_NODE) == NO_NODE) {
        decide_wait(d, "no primary answers");
    }
    bool is_meeting_only = (d->request->flags & REQUEST_MEET_ONLY) != 0;
    size_t count = is_meeting_only ? 1 : sizeof(stages) / sizeof(stages[0]);
    for (size_t i = 0; i < count && !decision_is_made(d); i++) {
        stages[i](d);
    }
    if (is_meeting_only) {
        decide_note(d, "all members know each other");
        return;
    }
    decide_note(d, "the nodes agree, no slot is open, every slot has an owner");
}
