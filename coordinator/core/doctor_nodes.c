/* doctor_nodes.c — rules of the doctor about single nodes; see doctor.h. */
#include "coordinator/core/doctor.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define LINKS_NAMED 3 /* whom a node has lost, in one sentence */

static void say(struct doctor_finding *finding, const char *words)
{
    (void)snprintf(finding->remedy, sizeof(finding->remedy), "%s", words);
}

static struct doctor_finding *add_about(const struct doctor_input *input,
                                        struct doctor_findings *out,
                                        enum doctor_code code,
                                        enum doctor_severity severity,
                                        int node)
{
    struct doctor_finding *finding = doctor_add(out, code, severity);
    char name[TOPOLOGY_NAME_SIZE];
    doctor_name(finding, input->topology, node);
    (void)snprintf(finding->text, sizeof(finding->text), "%s",
                   topology_node_name(input->topology, node, name));
    return finding;
}

/* Appends to the sentence that begins with the node's name. */
static void append(struct doctor_finding *finding, const struct strbuf *words)
{
    struct strbuf text = {0};
    strbuf_addf(&text, "%s%s", finding->text, strbuf_text(words));
    (void)snprintf(finding->text, sizeof(finding->text), "%s", strbuf_text(&text));
    strbuf_release(&text);
}

static void append_text(struct doctor_finding *finding, const char *text)
{
    struct strbuf words = {0};
    strbuf_add_text(&words, text);
    append(finding, &words);
    strbuf_release(&words);
}

/* ---- one node ---- */

static void find_failed(const struct doctor_input *input, int index, struct doctor_findings *out)
{
    const struct topology_node *node = &input->topology->nodes[index];
    /* A dead primary with slots is told by its slots, which is worse. */
    if (node->is_failed && node->slot_count == 0) {
        struct doctor_finding *finding =
            add_about(input, out, DOCTOR_NODE_FAILED, DOCTOR_WARNING, index);
        append_text(finding,
                    node->is_reachable
                        ? " is marked as failed by the cluster, although its agent reads it"
                        : " is marked as failed by the cluster");
        say(finding, node->is_reachable
                         ? "look at the cluster bus port between it and the others"
                         : "start it again, or give it up: drover remove NODE --dead");
    } else if (node->is_suspected && !node->is_failed && node->is_reachable) {
        struct doctor_finding *finding =
            add_about(input, out, DOCTOR_NODE_SUSPECTED, DOCTOR_WARNING, index);
        append_text(finding, " is suspected to be down by at least one node");
        say(finding, "passes by itself when it was only slow; else look at its host and bus port");
    }
}

static void find_unread(const struct doctor_input *input, int index, struct doctor_findings *out)
{
    const struct topology_node *node = &input->topology->nodes[index];
    const struct node_report *report = input->reports == NULL ? NULL : input->reports[index];
    struct strbuf words = {0};
    if (node->is_reachable || !node->is_member || node->is_failed) {
        return;
    }
    struct doctor_finding *finding =
        add_about(input, out, DOCTOR_NODE_UNREACHABLE, DOCTOR_WARNING, index);
    if (report != NULL && report->reason[0] != '\0') {
        strbuf_addf(&words, " is not readable: %s", report->reason);
    } else if (node->age_ms < 0) {
        strbuf_add_text(&words, " is a member, but no agent reports it");
    } else {
        strbuf_addf(&words, " was last read %" PRId64 " s ago", node->age_ms / 1000);
    }
    append(finding, &words);
    strbuf_release(&words);
    say(finding, "see whether its host, its agent (drover agents) and its password are right");
}

static bool is_leaving(const struct doctor_input *input, int index)
{
    for (int i = 0; input->plan != NULL && i < input->plan->batch_count; i++) {
        const struct task *task = input->plan->batches[i].task;
        if (task != NULL && task->kind == TASK_LEAVE &&
            node_id_is_equal(&task->node, &input->topology->nodes[index].id)) {
            return true;
        }
    }
    return false;
}

/* It lists the members, none of whom lists it: clients that ask it are told the truth and sent on.
 */
static void find_returned(const struct doctor_input *input, int index, struct doctor_findings *out)
{
    if (is_leaving(input, index)) {
        struct doctor_finding *leaving = add_about(input, out, DOCTOR_RETURNED, DOCTOR_NOTE, index);
        leaving->is_ours = true;
        append_text(leaving,
                    " leaves: all have forgotten it, and it redirects clients until it is "
                    "reset");
        return;
    }
    struct doctor_finding *finding = add_about(input, out, DOCTOR_RETURNED, DOCTOR_WARNING, index);
    finding->is_repairable = true;
    append_text(finding,
                " takes itself for a member, but no member lists it: it was removed, and "
                "is on again with the files that it had");
    say(finding, "switch it off, or let `drover repair` reset it; then it is a spare");
}

/* A node that is none of the cluster's: of use, or somebody else's. */
static void find_outsider(const struct doctor_input *input, int index, struct doctor_findings *out)
{
    const struct topology_node *node = &input->topology->nodes[index];
    const struct node_report *report = input->reports == NULL ? NULL : input->reports[index];
    struct doctor_finding *finding = add_about(input, out, DOCTOR_SPARE, DOCTOR_NOTE, index);
    struct strbuf words = {0};
    if (!node->is_cluster_enabled) {
        strbuf_add_text(&words, " runs without cluster mode");
    } else if (report != NULL && report->known_nodes <= 1 && report->slots_owned > 0) {
        strbuf_addf(&words,
                    " runs alone, with %d slots and %" PRId64
                    " keys: a cluster of its own, or it "
                    "was removed and has read its old files",
                    report->slots_owned, node->keys < 0 ? 0 : node->keys);
        say(finding,
            "if nobody needs its keys: FLUSHALL and CLUSTER RESET HARD it, then it is a "
            "spare");
    } else if (report != NULL && report->known_nodes > 1) {
        strbuf_addf(&words, " is in another cluster, of %" PRId64 " nodes, and has %d slots there",
                    report->known_nodes, report->slots_owned);
    } else if (node->keys > 0) {
        strbuf_addf(&words, " runs and is in no cluster, but holds %" PRId64 " keys", node->keys);
        say(finding, "if nobody needs them: FLUSHALL it, then it is a spare");
    } else {
        strbuf_add_text(&words, " runs and is in no cluster");
        say(finding, "make it useful: drover add HOST:PORT");
    }
    append(finding, &words);
    strbuf_release(&words);
}

static void find_state(const struct doctor_input *input, int index, struct doctor_findings *out)
{
    const struct topology_node *node = &input->topology->nodes[index];
    if (!node->is_reachable) {
        return;
    }
    if (node->is_loading) {
        append_text(add_about(input, out, DOCTOR_NODE_LOADING, DOCTOR_WARNING, index),
                    " is loading its data");
    } else if (node->is_member && node->is_cluster_enabled && !node->is_cluster_ok) {
        struct doctor_finding *finding =
            add_about(input, out, DOCTOR_NODE_DOWN, DOCTOR_ERROR, index);
        append_text(finding, " says cluster_state:fail: it refuses commands");
        say(finding,
            "follows from other findings: slots without owner, or no majority of primaries "
            "within its reach");
    }
    if (node->is_outcast) {
        find_returned(input, index, out);
    } else if (!node->is_member) {
        find_outsider(input, index, out);
    }
}

static void find_links(const struct doctor_input *input, int index, struct doctor_findings *out)
{
    const struct topology *topology = input->topology;
    const struct node_report *report = input->reports == NULL ? NULL : input->reports[index];
    struct doctor_finding *finding = NULL;
    struct strbuf words = {0};
    int told = 0;
    if (report == NULL || !topology->nodes[index].is_reachable) {
        return;
    }
    for (int i = 0; i < report->link_down_count; i++) {
        char name[TOPOLOGY_NAME_SIZE];
        int other = topology_find(topology, &report->links_down[i]);
        /* Of a node that is down nothing else is to be expected. */
        if (other == NO_NODE || !topology->nodes[other].is_member ||
            topology->nodes[other].is_failed || !topology->nodes[other].is_reachable) {
            continue;
        }
        if (finding == NULL) {
            finding = add_about(input, out, DOCTOR_LINK_DOWN, DOCTOR_WARNING, index);
            doctor_name(finding, topology, other);
        }
        if (told < LINKS_NAMED) {
            strbuf_addf(&words, "%s%s", told == 0 ? " has no bus link to " : ", ",
                        topology_node_name(topology, other, name));
        }
        told++;
    }
    if (finding != NULL) {
        if (told > LINKS_NAMED) {
            strbuf_addf(&words, " and %d more", told - LINKS_NAMED);
        }
        append(finding, &words);
        say(finding,
            "look at the firewall for the cluster bus port (by default the port + 10000), "
            "in both directions");
    }
    strbuf_release(&words);
}

/* ---- memory ---- */

static void find_memory(const struct doctor_input *input, int index, struct doctor_findings *out)
{
    const struct topology_node *node = &input->topology->nodes[index];
    double limit = input->spec != NULL && input->spec->memory_limit_percent > 0
                       ? input->spec->memory_limit_percent
                       : 80.0;
    int64_t room = node->maxmemory_bytes > 0 ? node->maxmemory_bytes : node->system_memory_bytes;
    if (!node->is_reachable || room <= 0 || node->used_memory_bytes < 0) {
        return;
    }
    double percent = 100.0 * (double)node->used_memory_bytes / (double)room;
    if (percent < limit) {
        return;
    }
    struct strbuf words = {0};
    /* A cache that evicts is meant to be full. */
    enum doctor_severity severity = node->evicts                           ? DOCTOR_NOTE
                                    : percent >= DOCTOR_MEMORY_PERCENT_BAD ? DOCTOR_ERROR
                                                                           : DOCTOR_WARNING;
    struct doctor_finding *finding = add_about(input, out, DOCTOR_MEMORY, severity, index);
    strbuf_addf(&words,
                " uses %.0f %% of its %s (%" PRId64 " of %" PRId64 " MiB), the limit is %.0f %%",
                percent, node->maxmemory_bytes > 0 ? "maxmemory" : "machine's memory",
                node->used_memory_bytes >> 20, room >> 20, limit);
    append(finding, &words);
    say(finding, node->evicts ? "it evicts keys to stay below"
                              : "give slots away (drover rebalance), add primaries (drover scale), "
                                "or raise maxmemory");
    strbuf_release(&words);
}

static void find_versions(const struct doctor_input *input, struct doctor_findings *out)
{
    const struct topology *topology = input->topology;
    int first = NO_NODE;
    for (int i = 0; i < topology->node_count; i++) {
        const struct topology_node *node = &topology->nodes[i];
        if (!node->is_member || node->version[0] == '\0') {
            continue;
        }
        first = first == NO_NODE ? i : first;
        const struct topology_node *other = &topology->nodes[first];
        if (node->is_valkey == other->is_valkey && strcmp(node->version, other->version) == 0) {
            continue;
        }
        struct strbuf words = {0};
        char name[TOPOLOGY_NAME_SIZE];
        struct doctor_finding *finding = add_about(input, out, DOCTOR_VERSIONS, DOCTOR_NOTE, first);
        doctor_name(finding, topology, i);
        strbuf_addf(&words, " runs %s %s, %s runs %s %s", other->is_valkey ? "valkey" : "redis",
                    other->version, topology_node_name(topology, i, name),
                    node->is_valkey ? "valkey" : "redis", node->version);
        append(finding, &words);
        say(finding, "keys move from older to newer servers, not always back: do not leave it so");
        strbuf_release(&words);
        return;
    }
}

void doctor_examine_nodes(const struct doctor_input *input, struct doctor_findings *out)
{
    for (int i = 0; i < input->topology->node_count; i++) {
        find_failed(input, i, out);
        find_unread(input, i, out);
        find_state(input, i, out);
        find_links(input, i, out);
        find_memory(input, i, out);
    }
    find_versions(input, out);
}
