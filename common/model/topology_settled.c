/* topology_settled.c — may slots be moved now, and if not, why not, in one sentence. See
 * topology.h.
 *
 * The first reason in order of weight is told: what cannot be seen, what is down, what is disputed,
 * what is open. */
#include "common/model/topology.h"

#include "common/base/check.h"

#include <inttypes.h>

struct settled_rule {
    bool (*holds)(const struct topology *topology, struct strbuf *why);
    bool passes; /* what it finds usually passes by itself, with gossip */
};

/* A dead node without slots waits for its removal and is in nobody's way. */
static bool matters(const struct topology *topology, int node)
{
    const struct topology_node *subject = &topology->nodes[node];
    return subject->is_member && !(subject->is_failed && subject->slot_count == 0);
}

static void add_name(const struct topology *topology, int node, struct strbuf *out)
{
    char name[TOPOLOGY_NAME_SIZE];
    strbuf_add_text(out, topology_node_name(topology, node, name));
}

static void add_node_says(const struct topology *topology,
                          int node,
                          const char *words,
                          struct strbuf *out)
{
    add_name(topology, node, out);
    strbuf_addf(out, " %s", words);
}

static bool has_members(const struct topology *topology, struct strbuf *why)
{
    for (int i = 0; i < topology->node_count; i++) {
        if (topology->nodes[i].is_member && topology->nodes[i].is_reachable) {
            return true;
        }
    }
    bool has_reachable = false;
    for (int i = 0; i < topology->node_count; i++) {
        has_reachable = has_reachable || topology->nodes[i].is_reachable;
    }
    strbuf_add_text(why, topology->node_count == 0 ? "no node has been observed yet"
                         : has_reachable           ? "no node belongs to a cluster yet"
                                                   : "no member of the cluster can be reached");
    return false;
}

static bool all_reachable(const struct topology *topology, struct strbuf *why)
{
    for (int i = 0; i < topology->node_count; i++) {
        const struct topology_node *node = &topology->nodes[i];
        if (node->is_reachable || !matters(topology, i)) {
            continue;
        }
        add_name(topology, i, why);
        if (node->age_ms < 0) {
            strbuf_add_text(why, " is a member, but no agent reports it");
        } else {
            strbuf_addf(why, " is out of reach: last report %" PRId64 " s ago",
                        node->age_ms / 1000);
        }
        return false;
    }
    return true;
}

static bool all_views_known(const struct topology *topology, struct strbuf *why)
{
    if (topology->views_missing == 0) {
        return true;
    }
    strbuf_add_text(why, "the view of ");
    add_name(topology, topology->missing_view_of, why);
    if (topology->views_missing > 1) {
        strbuf_addf(why, " and %d other nodes", topology->views_missing - 1);
    }
    strbuf_add_text(why, topology->views_missing > 1 ? " are not known yet" : " is not known yet");
    return false;
}

static bool all_healthy(const struct topology *topology, struct strbuf *why)
{
    for (int i = 0; i < topology->node_count; i++) {
        const struct topology_node *node = &topology->nodes[i];
        const char *words = NULL;
        if (!matters(topology, i)) {
            continue;
        }
        if (node->is_failed) {
            words = "is marked as failed by the cluster";
        } else if (node->is_suspected && node->role == NODE_ROLE_PRIMARY) {
            words = "is suspected to be down by at least one node";
        } else if (node->is_loading && node->role == NODE_ROLE_PRIMARY) {
            words = "is still loading its data";
        } else if (node->role == NODE_ROLE_UNKNOWN) {
            words = "is neither primary nor replica yet";
        }
        if (words != NULL) {
            add_node_says(topology, i, words, why);
            return false;
        }
    }
    return true;
}

static bool all_slots_owned(const struct topology *topology, struct strbuf *why)
{
    struct slotset missing;
    topology_node_slots(topology, NO_NODE, &missing);
    int count = slotset_count(&missing);
    if (count == 0) {
        return true;
    }
    int first = slotset_next(&missing, 0);
    int last = slotset_run_end(&missing, first);
    if (count == 1) {
        strbuf_addf(why, "slot %d has no owner", first);
    } else if (last - first + 1 == count) {
        strbuf_addf(why, "slots %d-%d have no owner", first, last);
    } else {
        strbuf_addf(why, "%d slots have no owner, the first is %d", count, first);
    }
    return false;
}

static bool all_agree(const struct topology *topology, struct strbuf *why)
{
    for (int i = 0; i < topology->disagreement_count; i++) {
        const struct topology_disagreement *found = &topology->disagreements[i];
        bool is_about_owner = found->kind == DISAGREE_OWNER;
        if (found->kind == DISAGREE_ADDRESS ||
            (!is_about_owner && !matters(topology, found->subject))) {
            continue;
        }
        strbuf_add_text(why, "nodes disagree: ");
        topology_format_disagreement(topology, i, why);
        int others = topology->disagreement_count + topology->disagreements_left_out - 1;
        if (others > 0) {
            strbuf_addf(why, "; and %d more", others);
        }
        return false;
    }
    if (topology->disagreements_left_out > 0) {
        strbuf_addf(why, "nodes disagree about %d things",
                    topology->disagreement_count + topology->disagreements_left_out);
        return false;
    }
    return true;
}

static bool none_open(const struct topology *topology, struct strbuf *why)
{
    if (topology->open_count == 0) {
        return true;
    }
    topology_format_open(topology, 0, why);
    if (topology->open_count > 1) {
        strbuf_addf(why, "; and %d more", topology->open_count - 1);
    }
    return false;
}

static bool epochs_unique(const struct topology *topology, struct strbuf *why)
{
    if (topology->collision_count == 0) {
        return true;
    }
    const struct topology_collision *collision = &topology->collisions[0];
    add_name(topology, collision->a, why);
    strbuf_add_text(why, " and ");
    add_name(topology, collision->b, why);
    strbuf_addf(why, " both have config epoch %" PRIu64, collision->config_epoch);
    return false;
}

static bool none_meeting(const struct topology *topology, struct strbuf *why)
{
    for (int i = 0; i < topology->ghost_count; i++) {
        const struct topology_ghost *ghost = &topology->ghosts[i];
        if (ghost->kind == GHOST_HANDSHAKE) {
            char address[ADDRESS_TEXT_SIZE];
            add_name(topology, ghost->seen_by, why);
            strbuf_addf(why, " is in handshake with %s", address_format(&ghost->address, address));
            return false;
        }
    }
    return true;
}

static bool all_linked(const struct topology *topology, struct strbuf *why)
{
    if (topology->links_down_count == 0) {
        return true;
    }
    strbuf_add_text(why, "the bus link from ");
    add_name(topology, topology->link_down_from, why);
    strbuf_add_text(why, " to ");
    add_name(topology, topology->link_down_to, why);
    strbuf_add_text(why, " is down");
    return false;
}

static bool all_clusters_ok(const struct topology *topology, struct strbuf *why)
{
    for (int i = 0; i < topology->node_count; i++) {
        if (matters(topology, i) && !topology->nodes[i].is_cluster_ok) {
            add_node_says(topology, i, "says that the cluster is not ok", why);
            return false;
        }
    }
    return true;
}

static const struct settled_rule settled_rules[] = {
    {has_members, false}, {all_views_known, true},  {all_reachable, false},
    {all_healthy, false}, {all_slots_owned, false}, {all_agree, true},
    {none_open, false},   {epochs_unique, true},    {none_meeting, true},
    {all_linked, true},   {all_clusters_ok, true},
};

/* The first rule that does not hold, or NULL. */
static const struct settled_rule *find_broken(const struct topology *topology, struct strbuf *why)
{
    for (size_t i = 0; i < sizeof(settled_rules) / sizeof(settled_rules[0]); i++) {
        if (!settled_rules[i].holds(topology, why)) {
            return &settled_rules[i];
        }
    }
    return NULL;
}

bool topology_is_settled(const struct topology *topology, struct strbuf *why)
{
    struct strbuf reason = {0};
    bool is_settled = find_broken(topology, &reason) == NULL;
    if (why != NULL) {
        strbuf_add(why, strbuf_text(&reason), reason.len);
    }
    strbuf_release(&reason);
    return is_settled;
}

bool topology_will_settle(const struct topology *topology)
{
    struct strbuf reason = {0};
    const struct settled_rule *broken = find_broken(topology, &reason);
    strbuf_release(&reason);
    return broken != NULL && broken->passes;
}

static void add_opinion(const struct topology *topology,
                        const struct topology_disagreement *found,
                        const struct topology_opinion *opinion,
                        struct strbuf *out)
{
    switch (found->kind) {
    case DISAGREE_OWNER:
        if (opinion->node == NO_NODE) {
            strbuf_add_text(out, "nobody");
        } else {
            add_name(topology, opinion->node, out);
        }
        break;
    case DISAGREE_MEMBERSHIP:
        strbuf_add_text(out, opinion->value != 0 ? "yes" : "no");
        break;
    case DISAGREE_ROLE:
        if (opinion->value != 0) {
            strbuf_add_text(out, "a primary");
        } else if (opinion->node == NO_NODE) {
            strbuf_add_text(out, "a replica without primary");
        } else {
            strbuf_add_text(out, "a replica of ");
            add_name(topology, opinion->node, out);
        }
        break;
    case DISAGREE_EPOCH:
        strbuf_addf(out, "%" PRIu64, opinion->value);
        break;
    case DISAGREE_ADDRESS:
        strbuf_add_text(out, opinion->text);
        break;
    }
}

static void add_question(const struct topology *topology,
                         const struct topology_disagreement *found,
                         struct strbuf *out)
{
    switch (found->kind) {
    case DISAGREE_OWNER:
        if (found->first == found->last) {
            strbuf_addf(out, "owner of slot %d", found->first);
        } else {
            strbuf_addf(out, "owner of slots %d-%d", found->first, found->last);
        }
        return;
    case DISAGREE_MEMBERSHIP:
        strbuf_add_text(out, "whether the cluster has ");
        break;
    case DISAGREE_ROLE:
        strbuf_add_text(out, "role of ");
        break;
    case DISAGREE_EPOCH:
        strbuf_add_text(out, "config epoch of ");
        break;
    case DISAGREE_ADDRESS:
        strbuf_add_text(out, "address of ");
        break;
    }
    add_name(topology, found->subject, out);
}

void topology_format_disagreement(const struct topology *topology, int index, struct strbuf *out)
{
    CHECK(index >= 0);
    CHECK(index < topology->disagreement_count);
    const struct topology_disagreement *found = &topology->disagreements[index];
    add_question(topology, found, out);
    for (int i = 0; i < found->opinion_count; i++) {
        const struct topology_opinion *opinion = &found->opinions[i];
        strbuf_add_text(out, i == 0 ? ": " : ", ");
        add_opinion(topology, found, opinion, out);
        strbuf_add_text(out, " says ");
        add_name(topology, opinion->believer, out);
        if (opinion->believer_count > 1) {
            strbuf_addf(out, " and %d more", opinion->believer_count - 1);
        }
    }
}

void topology_format_open(const struct topology *topology, int index, struct strbuf *out)
{
    CHECK(index >= 0);
    CHECK(index < topology->open_count);
    const struct topology_open *open = &topology->opens[index];
    strbuf_addf(out, "slot %d is open: ", open->slot);
    add_name(topology, open->node, out);
    strbuf_add_text(out, open->is_importing ? " imports it from " : " migrates it to ");
    if (open->peer_node == NO_NODE) {
        strbuf_addf(out, "node %.8s, which is no member", open->peer.text);
    } else {
        add_name(topology, open->peer_node, out);
    }
}
