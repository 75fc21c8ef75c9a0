/* doctor_slots.c — rules of the doctor about slots: owners, half moved ones, keys without a slot;
 * see doctor.h. */
#include "coordinator/core/doctor.h"

#include "common/base/alloc.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define SLOTS_TEXT_MAX 120 /* of a list of slots in a sentence; the finding has all of them */

static void add_slots(const struct slotset *slots, struct strbuf *out)
{
    struct strbuf text = {0};
    slotset_format(slots, &text);
    bool is_long = text.len > SLOTS_TEXT_MAX;
    strbuf_addf(out, "%s %.*s%s", slotset_count(slots) == 1 ? "slot" : "slots",
                is_long ? SLOTS_TEXT_MAX : (int)text.len, strbuf_text(&text), is_long ? "..." : "");
    strbuf_release(&text);
}

static void set_text(struct doctor_finding *finding, struct strbuf *text)
{
    (void)snprintf(finding->text, sizeof(finding->text), "%s", strbuf_text(text));
    strbuf_release(text);
}

/* ---- owners ---- */

/* Slots about which nodes differ: they have owners, only not one. */
static void collect_disputed(const struct topology *topology, struct slotset *out)
{
    for (int i = 0; i < topology->disagreement_count; i++) {
        const struct topology_disagreement *d = &topology->disagreements[i];
        if (d->kind == DISAGREE_OWNER) {
            slotset_add_range(out, d->first, d->last);
        }
    }
}

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

static bool has_live_replica(const struct topology *topology, int primary)
{
    for (int i = 0; i < topology->node_count; i++) {
        if (topology->nodes[i].primary == primary && doctor_is_live(topology, i)) {
            return true;
        }
    }
    return false;
}

static void find_uncovered(const struct doctor_input *input, struct doctor_findings *out)
{
    struct slotset missing;
    struct slotset disputed = {0};
    bool has_member = false;
    for (int i = 0; i < input->topology->node_count; i++) {
        has_member = has_member || input->topology->nodes[i].is_member;
    }
    topology_node_slots(input->topology, NO_NODE, &missing);
    collect_disputed(input->topology, &disputed);
    slotset_subtract(&missing, &disputed);
    if (!has_member || slotset_is_empty(&missing)) {
        return;
    }
    struct doctor_finding *finding = doctor_add(out, DOCTOR_SLOTS_UNCOVERED, DOCTOR_ERROR);
    struct strbuf text = {0};
    char name[TOPOLOGY_NAME_SIZE];
    int lost = find_lost_primary(input->topology);
    finding->slots = missing;
    finding->is_repairable = lost == NO_NODE;
    strbuf_addf(&text, "%d slots have no owner: ", slotset_count(&missing));
    add_slots(&missing, &text);
    set_text(finding, &text);
    if (lost == NO_NODE) {
        (void)snprintf(finding->remedy, sizeof(finding->remedy),
                       "`drover repair` gives them to who holds their keys, else to the primaries "
                       "with the fewest");
    } else {
        (void)snprintf(finding->remedy, sizeof(finding->remedy),
                       "%.50s is out of reach and may own them: bring it back, or drover repair "
                       "--unreachable-ok, which loses what only it holds",
                       topology_node_name(input->topology, lost, name));
    }
}

static void find_unreachable(const struct doctor_input *input, struct doctor_findings *out)
{
    const struct topology *topology = input->topology;
    for (int i = 0; i < topology->node_count; i++) {
        const struct topology_node *node = &topology->nodes[i];
        char name[TOPOLOGY_NAME_SIZE];
        if (node->slot_count == 0 || (!node->is_failed && node->is_reachable)) {
            continue;
        }
        struct doctor_finding *finding = doctor_add(
            out, DOCTOR_SLOTS_UNREACHABLE, node->is_failed ? DOCTOR_ERROR : DOCTOR_WARNING);
        doctor_name(finding, topology, i);
        topology_node_slots(topology, i, &finding->slots);
        (void)snprintf(finding->text, sizeof(finding->text), "%s has %d slots and %s",
                       topology_node_name(topology, i, name), node->slot_count,
                       node->is_failed ? "is down: commands on them fail"
                                       : "no agent reads it: they cannot be moved");
        (void)snprintf(finding->remedy, sizeof(finding->remedy), "%s",
                       !node->is_failed ? "see whether its host and agent run: drover agents"
                       : has_live_replica(topology, i)
                           ? "start it again; or let a replica of it take over: drover failover "
                             "REPLICA --force"
                           : "start it again; or give its slots to others, its keys are lost: "
                             "drover repair --unreachable-ok");
    }
}

static void find_disputed(const struct doctor_input *input, struct doctor_findings *out)
{
    const struct topology *topology = input->topology;
    for (int i = 0; i < topology->disagreement_count; i++) {
        const struct topology_disagreement *d = &topology->disagreements[i];
        if (d->kind != DISAGREE_OWNER) {
            continue;
        }
        struct strbuf text = {0};
        struct slotset slots = {0};
        slotset_add_range(&slots, d->first, d->last);
        bool is_ours = input->moving != NULL && slotset_intersects(input->moving, &slots);
        struct doctor_finding *finding =
            doctor_add(out, DOCTOR_SLOTS_DISPUTED, is_ours ? DOCTOR_NOTE : DOCTOR_ERROR);
        finding->slots = slots;
        finding->is_ours = is_ours;
        finding->is_repairable = !is_ours && doctor_is_live(topology, topology->owner[d->first]);
        for (int k = 0; k < d->opinion_count; k++) {
            doctor_name(finding, topology, d->opinions[k].node);
        }
        doctor_format_dispute(topology, i, &text);
        set_text(finding, &text);
        (void)snprintf(finding->remedy, sizeof(finding->remedy), "%s",
                       is_ours ? ""
                       : finding->is_repairable
                           ? "gossip heals it within seconds if links are up; else `drover repair`"
                           : "its owner does not answer: bring it back first");
    }
}

/* ---- half moved ---- */

struct open_group {
    int node;
    bool is_importing;
    struct node_id peer;
    struct slotset slots;
};

static bool is_in_group(const struct open_group *group, const struct topology_open *open)
{
    return group->node == open->node && group->is_importing == open->is_importing &&
           node_id_is_equal(&group->peer, &open->peer);
}

/* Whom the slots of the group belong to by agreement; false: not all to the same. */
static bool find_owner(const struct topology *topology, const struct slotset *slots, int *owner)
{
    *owner = topology->owner[slotset_next(slots, 0)];
    SLOTSET_FOREACH (slot, slots) {
        if (topology->owner[slot] != *owner) {
            return false;
        }
    }
    return true;
}

static void say_owner(const struct topology *topology,
                      const struct open_group *group,
                      struct strbuf *text)
{
    char name[TOPOLOGY_NAME_SIZE];
    int owner = NO_NODE;
    const char *verb = slotset_count(&group->slots) == 1 ? "it belongs" : "they belong";
    if (!find_owner(topology, &group->slots, &owner)) {
        strbuf_addf(text, "; %s to several nodes", verb);
    } else if (owner == NO_NODE) {
        strbuf_addf(text, "; %s to nobody", verb);
    } else if (owner != group->node) {
        strbuf_addf(text, "; %s to %s", verb, topology_node_name(topology, owner, name));
    }
}

static void say_open(const struct doctor_input *input,
                     const struct open_group *group,
                     struct doctor_finding *finding)
{
    const struct topology *topology = input->topology;
    int peer = topology_find(topology, &group->peer);
    char name[TOPOLOGY_NAME_SIZE];
    char peer_name[TOPOLOGY_NAME_SIZE];
    struct strbuf text = {0};
    strbuf_addf(&text, "%s has ", topology_node_name(topology, group->node, name));
    add_slots(&group->slots, &text);
    strbuf_addf(&text, " marked as %s %s", group->is_importing ? "importing from" : "migrating to",
                peer == NO_NODE ? group->peer.text : topology_node_name(topology, peer, peer_name));
    if (peer == NO_NODE) {
        strbuf_add_text(&text, ", which is no member");
    }
    say_owner(topology, group, &text);
    if (finding->is_ours) {
        strbuf_addf(&text, "; %s is at it", input->operation_id);
    } else if (finding->code == DOCTOR_SLOTS_OPEN) {
        strbuf_add_text(&text, ", and no operation of ours is at it");
    } else {
        strbuf_add_text(&text, ", although it is a replica");
    }
    set_text(finding, &text);
}

/* As repair sees it: it needs the owner, or who stands in for it, and the other end. */
static bool is_mendable(const struct topology *topology, const struct open_group *group)
{
    int owner = NO_NODE;
    int peer = topology_find(topology, &group->peer);
    bool has_one = find_owner(topology, &group->slots, &owner);
    if (has_one && owner == NO_NODE) {
        owner = group->is_importing && peer != NO_NODE ? peer : group->node;
    }
    bool is_peer_there = peer == NO_NODE || topology->nodes[peer].is_reachable;
    return is_peer_there && (!has_one || doctor_is_live(topology, owner));
}

static void tell_group(const struct doctor_input *input,
                       const struct open_group *group,
                       struct doctor_findings *out)
{
    const struct topology *topology = input->topology;
    bool is_replica = topology->nodes[group->node].role == NODE_ROLE_REPLICA;
    bool is_ours = input->moving != NULL && slotset_intersects(input->moving, &group->slots);
    enum doctor_code code = is_replica ? DOCTOR_STALE_MARKS : DOCTOR_SLOTS_OPEN;
    struct doctor_finding *finding = doctor_add(out, code, is_ours ? DOCTOR_NOTE : DOCTOR_WARNING);
    doctor_name(finding, topology, group->node);
    doctor_name(finding, topology, topology_find(topology, &group->peer));
    finding->slots = group->slots;
    finding->is_ours = is_ours;
    finding->is_repairable = !is_ours && is_mendable(topology, group);
    say_open(input, group, finding);
    if (!is_ours) {
        (void)snprintf(finding->remedy, sizeof(finding->remedy), "%s",
                       !finding->is_repairable ? "one end does not answer: bring it back first"
                       : is_replica
                           ? "harmless until it takes over; `drover repair` clears them"
                           : "`drover repair` brings every key to the owner and closes them; make "
                             "sure that no other tool is moving them");
    }
}

/* Newer servers hand their marks on to their replicas: such a mark is the primary's own, told once.
 * Open slots are in order of slot, so it stands near by. */
static bool is_primarys_mark(const struct topology *topology, int index)
{
    const struct topology_open *open = &topology->opens[index];
    int primary = topology->nodes[open->node].primary;
    int first = index;
    while (first > 0 && topology->opens[first - 1].slot == open->slot) {
        first--;
    }
    for (int i = first; i < topology->open_count && topology->opens[i].slot == open->slot; i++) {
        const struct topology_open *other = &topology->opens[i];
        if (primary != NO_NODE && other->node == primary &&
            other->is_importing == open->is_importing &&
            node_id_is_equal(&other->peer, &open->peer)) {
            return true;
        }
    }
    return false;
}

/* Slots of one node, direction and peer are one finding; ours and others' are told apart. */
static void find_open(const struct doctor_input *input, struct doctor_findings *out)
{
    const struct topology *topology = input->topology;
    bool *is_told = xcalloc((size_t)topology->open_count + 1, sizeof(*is_told));
    for (int i = 0; i < topology->open_count; i++) {
        const struct topology_open *open = &topology->opens[i];
        if (is_told[i] || is_primarys_mark(topology, i)) {
            continue;
        }
        struct open_group group = {
            .node = open->node, .is_importing = open->is_importing, .peer = open->peer};
        bool is_ours = input->moving != NULL && slotset_has(input->moving, open->slot);
        for (int k = i; k < topology->open_count; k++) {
            const struct topology_open *other = &topology->opens[k];
            bool is_other_ours = input->moving != NULL && slotset_has(input->moving, other->slot);
            if (!is_told[k] && is_in_group(&group, other) && is_other_ours == is_ours &&
                !is_primarys_mark(topology, k)) {
                slotset_add(&group.slots, other->slot);
                is_told[k] = true;
            }
        }
        tell_group(input, &group, out);
    }
    free(is_told);
}

/* ---- keys ---- */

/* A primary without slots answers no client for the keys that it holds. */
static void find_orphans(const struct doctor_input *input, struct doctor_findings *out)
{
    const struct topology *topology = input->topology;
    for (int i = 0; i < topology->node_count; i++) {
        const struct topology_node *node = &topology->nodes[i];
        char name[TOPOLOGY_NAME_SIZE];
        if (!node->is_member || !node->is_reachable || node->role != NODE_ROLE_PRIMARY ||
            node->slot_count > 0 || node->keys <= 0) {
            continue;
        }
        struct doctor_finding *finding = doctor_add(out, DOCTOR_ORPHAN_KEYS, DOCTOR_WARNING);
        doctor_name(finding, topology, i);
        (void)snprintf(finding->text, sizeof(finding->text),
                       "%s has no slot but %" PRId64 " keys, which no client can reach",
                       topology_node_name(topology, i, name), node->keys);
        (void)snprintf(finding->remedy, sizeof(finding->remedy),
                       "drover does not delete them: look at them, and empty the node (FLUSHALL) "
                       "when they are not needed");
    }
}

void doctor_examine_slots(const struct doctor_input *input, struct doctor_findings *out)
{
    find_uncovered(input, out);
    find_unreachable(input, out);
    find_disputed(input, out);
    find_open(input, out);
    find_orphans(input, out);
}
