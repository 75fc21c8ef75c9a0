/* doctor_gossip.c — rules of the doctor about what nodes believe of each other; see doctor.h. */
#include "coordinator/core/doctor.h"

#include <inttypes.h>
#include <stdio.h>

static void set_text(struct doctor_finding *finding, const struct strbuf *text, const char *remedy)
{
    (void)snprintf(finding->text, sizeof(finding->text), "%s", strbuf_text(text));
    (void)snprintf(finding->remedy, sizeof(finding->remedy), "%s", remedy);
}

/* ---- views that differ ---- */

struct dispute {
    enum doctor_code code;
    enum doctor_severity severity;
    bool is_repairable;
    const char *remedy;
};

static bool dispute_of(enum topology_disagreement_kind kind, struct dispute *out)
{
    switch (kind) {
    case DISAGREE_OWNER:
        return false; /* doctor_slots.c */
    case DISAGREE_MEMBERSHIP:
        *out = (struct dispute){DOCTOR_NODE_MISSING, DOCTOR_WARNING, true,
                                "gossip brings it within a minute when links are up; else `drover "
                                "repair` introduces it"};
        return true;
    case DISAGREE_ROLE:
        *out = (struct dispute){DOCTOR_ROLE_DISPUTED, DOCTOR_WARNING, false,
                                "passes within seconds after a failover; if it stays, look at the "
                                "bus links"};
        return true;
    case DISAGREE_EPOCH:
        *out = (struct dispute){DOCTOR_EPOCH_DISPUTED, DOCTOR_WARNING, false,
                                "passes within seconds; if it stays, look at the bus links"};
        return true;
    case DISAGREE_ADDRESS:
        *out =
            (struct dispute){DOCTOR_ADDRESS_DISPUTED, DOCTOR_WARNING, false,
                             "its address has changed: set cluster-announce-ip, or restart those "
                             "that keep the old one"};
        return true;
    }
    return false;
}

static void add_belief(const struct topology *topology,
                       const struct topology_disagreement *d,
                       const struct topology_opinion *opinion,
                       struct strbuf *out)
{
    char name[TOPOLOGY_NAME_SIZE];
    switch (d->kind) {
    case DISAGREE_OWNER:
        strbuf_add_text(out, opinion->node == NO_NODE
                                 ? "nobody"
                                 : topology_node_name(topology, opinion->node, name));
        return;
    case DISAGREE_MEMBERSHIP:
        strbuf_add_text(out, opinion->value != 0 ? "yes" : "no");
        return;
    case DISAGREE_ROLE:
        if (opinion->node != NO_NODE) {
            strbuf_addf(out, "a replica of %s", topology_node_name(topology, opinion->node, name));
        } else {
            strbuf_add_text(out, opinion->value != 0 ? "a primary" : "a replica of nobody");
        }
        return;
    case DISAGREE_EPOCH:
        strbuf_addf(out, "%" PRIu64, opinion->value);
        return;
    case DISAGREE_ADDRESS:
        strbuf_add_text(out, opinion->text);
        return;
    }
}

static void add_subject(const struct topology *topology,
                        const struct topology_disagreement *d,
                        struct strbuf *out)
{
    char name[TOPOLOGY_NAME_SIZE];
    (void)topology_node_name(topology, d->subject, name);
    switch (d->kind) {
    case DISAGREE_OWNER:
        if (d->first == d->last) {
            strbuf_addf(out, "who owns slot %d", d->first);
        } else {
            strbuf_addf(out, "who owns slots %d-%d", d->first, d->last);
        }
        return;
    case DISAGREE_MEMBERSHIP:
        strbuf_addf(out, "whether %s is a member", name);
        return;
    case DISAGREE_ROLE:
        strbuf_addf(out, "what %s is", name);
        return;
    case DISAGREE_EPOCH:
        strbuf_addf(out, "which config_epoch %s has", name);
        return;
    case DISAGREE_ADDRESS:
        strbuf_addf(out, "where %s is", name);
        return;
    }
}

void doctor_format_dispute(const struct topology *topology, int index, struct strbuf *out)
{
    const struct topology_disagreement *d = &topology->disagreements[index];
    char name[TOPOLOGY_NAME_SIZE];
    strbuf_add_text(out, "nodes differ on ");
    add_subject(topology, d, out);
    for (int i = 0; i < d->opinion_count; i++) {
        const struct topology_opinion *opinion = &d->opinions[i];
        strbuf_addf(out, "%s%s", i == 0 ? ": " : "; ",
                    topology_node_name(topology, opinion->believer, name));
        if (opinion->believer_count > 1) {
            strbuf_addf(out, " and %d more say ", opinion->believer_count - 1);
        } else {
            strbuf_add_text(out, " says ");
        }
        add_belief(topology, d, opinion, out);
    }
}

/* As repair sees it: who lives is introduced, who is dead and of no use is forgotten. */
static bool is_mendable(const struct topology *topology, int index)
{
    int subject = topology->disagreements[index].subject;
    const struct topology_node *node = &topology->nodes[subject];
    if (node->is_reachable) {
        return !node->is_failed;
    }
    for (int i = 0; i < topology->node_count; i++) {
        if (topology->nodes[i].primary == subject && doctor_is_live(topology, i)) {
            return false;
        }
    }
    return node->slot_count == 0;
}

static void find_disputes(const struct doctor_input *input, struct doctor_findings *out)
{
    const struct topology *topology = input->topology;
    for (int i = 0; i < topology->disagreement_count; i++) {
        struct dispute dispute;
        struct strbuf text = {0};
        if (!dispute_of(topology->disagreements[i].kind, &dispute)) {
            continue;
        }
        struct doctor_finding *finding = doctor_add(out, dispute.code, dispute.severity);
        doctor_name(finding, topology, topology->disagreements[i].subject);
        finding->is_repairable = dispute.is_repairable && is_mendable(topology, i);
        doctor_format_dispute(topology, i, &text);
        set_text(finding, &text, dispute.remedy);
        strbuf_release(&text);
    }
    out->left_out += topology->disagreements_left_out;
}

static void find_unknown_view(const struct doctor_input *input, struct doctor_findings *out)
{
    const struct topology *topology = input->topology;
    char name[TOPOLOGY_NAME_SIZE];
    struct strbuf text = {0};
    if (topology->views_missing == 0) {
        return;
    }
    struct doctor_finding *finding = doctor_add(out, DOCTOR_VIEW_UNKNOWN, DOCTOR_WARNING);
    doctor_name(finding, topology, topology->missing_view_of);
    strbuf_addf(&text, "what %s", topology_node_name(topology, topology->missing_view_of, name));
    if (topology->views_missing > 1) {
        strbuf_addf(&text, " and %d others believe", topology->views_missing - 1);
    } else {
        strbuf_add_text(&text, " believes");
    }
    strbuf_add_text(&text, " is not known yet");
    set_text(finding, &text, "passes within seconds; if it stays, see whether its agent reports");
    strbuf_release(&text);
}

/* ---- config_epochs, addresses ---- */

static void find_collisions(const struct doctor_input *input, struct doctor_findings *out)
{
    const struct topology *topology = input->topology;
    for (int i = 0; i < topology->collision_count; i++) {
        const struct topology_collision *collision = &topology->collisions[i];
        char a[TOPOLOGY_NAME_SIZE];
        char b[TOPOLOGY_NAME_SIZE];
        struct strbuf text = {0};
        struct doctor_finding *finding = doctor_add(out, DOCTOR_EPOCH_COLLISION, DOCTOR_WARNING);
        doctor_name(finding, topology, collision->a);
        doctor_name(finding, topology, collision->b);
        strbuf_addf(&text, "primaries %s and %s both have config_epoch %" PRIu64,
                    topology_node_name(topology, collision->a, a),
                    topology_node_name(topology, collision->b, b), collision->config_epoch);
        set_text(finding, &text,
                 "the servers settle it by themselves once they hear each other; if it stays, look "
                 "at their bus links");
        strbuf_release(&text);
    }
}

/* Usually the dead entry of a server that was set up anew at its old place. */
static void tell_shared(const struct doctor_input *input,
                        int gone,
                        int other,
                        struct doctor_findings *out)
{
    const struct topology *topology = input->topology;
    const struct topology_node *node = &topology->nodes[gone];
    char address[ADDRESS_TEXT_SIZE];
    struct strbuf text = {0};
    struct doctor_finding *finding = doctor_add(out, DOCTOR_ADDRESS_SHARED, DOCTOR_WARNING);
    doctor_name(finding, topology, gone);
    doctor_name(finding, topology, other);
    strbuf_addf(&text, "nodes %.8s and %.8s both are at %s", node->id.text,
                topology->nodes[other].id.text, address_format(&node->address, address));
    set_text(finding, &text, "");
    (void)snprintf(finding->remedy, sizeof(finding->remedy),
                   "%.8s does not answer there; when it is gone for good: drover remove %s --dead",
                   node->id.text, node->id.text);
    strbuf_release(&text);
}

/* Only one of two can answer there, so it is enough to look at those that do not. */
static void find_shared(const struct doctor_input *input, struct doctor_findings *out)
{
    const struct topology *topology = input->topology;
    for (int i = 0; i < topology->node_count; i++) {
        const struct topology_node *gone = &topology->nodes[i];
        for (int k = 0; k < topology->node_count && !gone->is_reachable; k++) {
            const struct topology_node *other = &topology->nodes[k];
            bool is_told = !other->is_reachable && k < i;
            if (k != i && !is_told && gone->address.port != 0 &&
                address_is_equal(&gone->address, &other->address)) {
                tell_shared(input, i, k, out);
            }
        }
    }
}

/* ---- ghosts ---- */

static const char *ghost_words(enum topology_ghost_kind kind)
{
    switch (kind) {
    case GHOST_HANDSHAKE:
        return "is in handshake: a meeting that has not ended";
    case GHOST_NOADDR:
        return "has no address any more";
    case GHOST_UNKNOWN:
        return "is listed only by nodes that are themselves out of reach";
    }
    return "is unknown";
}

static void find_ghosts(const struct doctor_input *input, struct doctor_findings *out)
{
    const struct topology *topology = input->topology;
    for (int i = 0; i < topology->ghost_count; i++) {
        const struct topology_ghost *ghost = &topology->ghosts[i];
        char address[ADDRESS_TEXT_SIZE];
        char name[TOPOLOGY_NAME_SIZE];
        struct strbuf text = {0};
        bool is_handshake = ghost->kind == GHOST_HANDSHAKE;
        struct doctor_finding *finding =
            doctor_add(out, DOCTOR_GHOST, is_handshake ? DOCTOR_NOTE : DOCTOR_WARNING);
        finding->nodes[finding->node_count++] = ghost->id;
        doctor_name(finding, topology, ghost->seen_by);
        finding->is_repairable = ghost->kind == GHOST_NOADDR;
        strbuf_addf(&text, "ghost %.8s%s%s %s; %d nodes list it", ghost->id.text,
                    ghost->address.port == 0 ? "" : " at ",
                    ghost->address.port == 0 ? "" : address_format(&ghost->address, address),
                    ghost_words(ghost->kind), ghost->seen_by_count);
        if (ghost->seen_by != NO_NODE) {
            strbuf_addf(&text, ", e.g. %s", topology_node_name(topology, ghost->seen_by, name));
        }
        set_text(finding, &text,
                 is_handshake ? "passes within a minute; if it comes back, look at its bus port"
                 : finding->is_repairable
                     ? "`drover repair` has all nodes forget it when none needs it"
                     : "bring those nodes back, or remove them: drover remove NODE --dead");
        strbuf_release(&text);
    }
}

void doctor_examine_gossip(const struct doctor_input *input, struct doctor_findings *out)
{
    find_disputes(input, out);
    find_unknown_view(input, out);
    find_collisions(input, out);
    find_shared(input, out);
    find_ghosts(input, out);
}
