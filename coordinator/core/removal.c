/* removal.c — see removal.h. What cannot be seen speaks against the node: a view that is missing, a
 * disagreement that was left out, keys that nobody counted. */
#include "coordinator/core/removal.h"

#include "common/base/check.h"
#include "common/model/removal_proof.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* The node's place in the topology by id, else whatever answers at its address and is no member: a
 * node that was reset has a new id. */
static int find_removed(const struct topology *topology,
                        const struct node_id *node,
                        const struct address *address)
{
    int found = topology_find(topology, node);
    for (int i = 0; i < topology->node_count && found == NO_NODE && address != NULL; i++) {
        const struct topology_node *other = &topology->nodes[i];
        if (!other->is_member && other->is_reachable &&
            address_is_equal(&other->address, address)) {
            found = i;
        }
    }
    return found;
}

/* Slots by the merged map and by every view that differs from it. */
static int count_slots(const struct topology *topology, int node)
{
    int count = topology->nodes[node].slot_count;
    for (int i = 0; i < topology->disagreement_count; i++) {
        const struct topology_disagreement *found = &topology->disagreements[i];
        if (found->kind != DISAGREE_OWNER || topology->owner[found->first] == node) {
            continue;
        }
        for (int j = 0; j < found->opinion_count; j++) {
            count += found->opinions[j].node == node ? found->last - found->first + 1 : 0;
        }
    }
    return count;
}

static bool is_thought_replica(const struct topology *topology, int subject, int node)
{
    for (int i = 0; i < topology->disagreement_count; i++) {
        const struct topology_disagreement *found = &topology->disagreements[i];
        for (int j = 0; j < found->opinion_count; j++) {
            if (found->kind == DISAGREE_ROLE && found->subject == subject &&
                found->opinions[j].node == node) {
                return true;
            }
        }
    }
    return false;
}

static int count_replicas(const struct topology *topology, int node)
{
    int count = 0;
    for (int i = 0; i < topology->node_count; i++) {
        const struct topology_node *other = &topology->nodes[i];
        bool is_replica = other->is_member && other->primary == node;
        count += is_replica || is_thought_replica(topology, i, node);
    }
    return count;
}

static int count_opens(const struct topology *topology, const struct node_id *node)
{
    int count = 0;
    for (int i = 0; i < topology->open_count; i++) {
        const struct topology_open *open = &topology->opens[i];
        count += node_id_is_equal(&topology->nodes[open->node].id, node) ||
                 node_id_is_equal(&open->peer, node);
    }
    return count;
}

/* Live members other than the node. */
static int count_asked(const struct topology *topology, int node)
{
    int count = 0;
    for (int i = 0; i < topology->node_count; i++) {
        const struct topology_node *other = &topology->nodes[i];
        count += i != node && other->is_member && other->is_reachable && other->view != NO_VIEW;
    }
    return count;
}

static int count_knowing(const struct topology *topology, const struct node_id *id, int asked)
{
    int node = topology_find(topology, id);
    for (int i = 0; i < topology->ghost_count; i++) {
        const struct topology_ghost *ghost = &topology->ghosts[i];
        if (node_id_is_equal(&ghost->id, id)) {
            /* What a dead node knew when it was last asked is not known to a live one. */
            return ghost->kind == GHOST_UNKNOWN ? 0 : ghost->seen_by_count;
        }
    }
    if (node == NO_NODE || !topology->nodes[node].is_member) {
        return 0;
    }
    for (int i = 0; i < topology->disagreement_count; i++) {
        const struct topology_disagreement *found = &topology->disagreements[i];
        if (found->kind != DISAGREE_MEMBERSHIP || found->subject != node) {
            continue;
        }
        for (int j = 0; j < found->opinion_count; j++) {
            if (found->opinions[j].value != 0) {
                /* Its own view lists it too, and is not asked. */
                bool is_own = topology->nodes[node].view != NO_VIEW;
                return found->opinions[j].believer_count - (is_own ? 1 : 0);
            }
        }
    }
    return asked;
}

/* Another member that lives where the node was: stopping a server there would stop that one. */
static bool is_address_taken(const struct topology *topology,
                             const struct removal_certificate *certificate)
{
    for (int i = 0; i < topology->node_count && certificate->address.port != 0; i++) {
        const struct topology_node *other = &topology->nodes[i];
        if (other->is_member && !node_id_is_equal(&other->id, &certificate->node) &&
            address_is_equal(&other->address, &certificate->address)) {
            return true;
        }
    }
    return false;
}

/* What stands against it, in order of weight; false when nothing does. */
static bool find_objection(const struct topology *topology, struct removal_certificate *out)
{
    char *text = out->reason;
    size_t size = sizeof(out->reason);
    if (out->slot_count > 0) {
        (void)snprintf(text, size, "it owns %d slots", out->slot_count);
    } else if (out->open_count > 0) {
        (void)snprintf(text, size, "%d open slots name it", out->open_count);
    } else if (out->replica_count > 0) {
        (void)snprintf(text, size, "%d nodes are its replicas", out->replica_count);
    } else if (out->known_by > 0) {
        (void)snprintf(text, size, "%d of %d live nodes still know it", out->known_by, out->asked);
    } else if (is_address_taken(topology, out)) {
        (void)snprintf(text, size, "another member lives at its address now");
    } else if (out->key_count != 0) {
        (void)snprintf(text, size, "it holds %" PRId64 " keys", out->key_count);
    } else if (out->asked == 0) {
        (void)snprintf(text, size, "no live node could be asked");
    } else if (topology->views_missing > 0) {
        (void)snprintf(text, size, "the views of %d live nodes are not known yet",
                       topology->views_missing);
    } else if (topology->disagreements_left_out > 0) {
        (void)snprintf(text, size, "the nodes disagree about too much");
    } else if (out->fence <= 0 || out->operation_id[0] == '\0') {
        (void)snprintf(text, size, "no operation is known that removed it");
    } else {
        return false;
    }
    return true;
}

void removal_certify(const struct topology *topology,
                     const struct node_id *node,
                     const struct address *address,
                     int64_t fence,
                     const char *operation_id,
                     struct removal_certificate *out)
{
    CHECK(operation_id != NULL);
    *out = (struct removal_certificate){
        .node = *node, .fence = fence, .topology_digest = topology_digest(topology)};
    (void)snprintf(out->operation_id, sizeof(out->operation_id), "%s", operation_id);
    int by_id = topology_find(topology, node);
    int found = find_removed(topology, node, address);
    if (found != NO_NODE) {
        out->address = topology->nodes[found].address;
    } else if (address != NULL) {
        out->address = *address;
    }
    out->slot_count = by_id == NO_NODE ? 0 : count_slots(topology, by_id);
    out->replica_count = by_id == NO_NODE ? 0 : count_replicas(topology, by_id);
    out->open_count = count_opens(topology, node);
    out->asked = count_asked(topology, by_id);
    out->known_by = count_knowing(topology, node, out->asked);
    out->is_dead = found == NO_NODE || !topology->nodes[found].is_reachable;
    bool is_replica = !out->is_dead && topology->nodes[found].role == NODE_ROLE_REPLICA;
    out->key_count = out->is_dead || is_replica ? 0 : topology->nodes[found].keys;
    out->is_granted = !find_objection(topology, out);
    if (out->is_granted) {
        (void)snprintf(out->reason, sizeof(out->reason),
                       "0 slots, 0 keys, no replica, forgotten by all %d live nodes%s", out->asked,
                       out->is_dead ? "; it does not answer" : "");
    }
}

bool removal_permits(const struct topology *topology,
                     int64_t fence,
                     const char *operation_id,
                     const struct task *task,
                     char reason[TEXT_SIZE])
{
    struct removal_certificate facts;
    if (task->kind != TASK_STOP && task->kind != TASK_RELEASE) {
        return true;
    }
    removal_certify(topology, &task->node, &task->node_address, fence, operation_id, &facts);
    if (!facts.is_granted) {
        (void)snprintf(reason, TEXT_SIZE, "%s", facts.reason);
    }
    return facts.is_granted;
}

bool removal_fill_stop(const struct topology *topology,
                       int64_t fence,
                       const char *operation_id,
                       const char *key,
                       struct task *task)
{
    struct removal_certificate facts;
    struct strbuf text = {0};
    CHECK(task->kind == TASK_STOP || task->kind == TASK_RELEASE);
    removal_certify(topology, &task->node, &task->node_address, fence, operation_id, &facts);
    if (!facts.is_granted) {
        return false;
    }
    struct removal_proof proof = {.node = facts.node,
                                  .address = task->node_address,
                                  .slots = facts.slot_count,
                                  .keys = facts.key_count,
                                  .replicas = facts.replica_count,
                                  .open = facts.open_count,
                                  .known_by = facts.known_by,
                                  .asked = facts.asked,
                                  .is_dead = facts.is_dead,
                                  .fence = fence};
    (void)snprintf(proof.operation_id, sizeof(proof.operation_id), "%s", operation_id);
    strbuf_add(&text, task->detail, strcspn(task->detail, "\n"));
    strbuf_add_char(&text, '\n');
    removal_proof_format(&proof, key, &text);
    CHECK(text.len < sizeof(task->detail));
    memcpy(task->detail, strbuf_text(&text), text.len + 1);
    strbuf_release(&text);
    return true;
}
