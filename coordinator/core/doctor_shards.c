/* doctor_shards.c — rules of the doctor about primaries with their replicas: links, lag, how many,
 * and where they are; see doctor.h. */
#include "coordinator/core/doctor.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static void say(struct doctor_finding *finding, const char *remedy)
{
    (void)snprintf(finding->remedy, sizeof(finding->remedy), "%s", remedy);
}

/* ---- replicas ---- */

static void find_replica(const struct doctor_input *input, int index, struct doctor_findings *out)
{
    const struct topology *topology = input->topology;
    const struct topology_node *node = &topology->nodes[index];
    char name[TOPOLOGY_NAME_SIZE];
    char primary_name[TOPOLOGY_NAME_SIZE];
    if (node->role != NODE_ROLE_REPLICA || !node->is_reachable || !node->is_member) {
        return;
    }
    (void)topology_node_name(topology, index, name);
    (void)topology_node_name(topology, node->primary, primary_name);
    if (!node->is_link_up && !node->is_loading) {
        struct doctor_finding *finding = doctor_add(out, DOCTOR_REPLICA_LINK, DOCTOR_WARNING);
        doctor_name(finding, topology, index);
        doctor_name(finding, topology, node->primary);
        (void)snprintf(finding->text, sizeof(finding->text),
                       "replica %s does not hear its primary %s", name, primary_name);
        say(finding,
            "it may be copying (look at its log); else look at the network between them, "
            "masterauth and masteruser");
        return;
    }
    const struct topology_node *primary =
        node->primary == NO_NODE ? NULL : &topology->nodes[node->primary];
    if (primary == NULL || primary->repl_offset < 0 || node->repl_offset < 0 ||
        primary->repl_offset - node->repl_offset < DOCTOR_LAG_BYTES) {
        return;
    }
    struct doctor_finding *finding = doctor_add(out, DOCTOR_REPLICA_LAG, DOCTOR_WARNING);
    doctor_name(finding, topology, index);
    doctor_name(finding, topology, node->primary);
    (void)snprintf(finding->text, sizeof(finding->text),
                   "replica %s is %" PRId64 " MiB of writes behind its primary %s", name,
                   (primary->repl_offset - node->repl_offset) >> 20, primary_name);
    say(finding,
        "if it does not catch up: slower moves (--speed soft), or a faster network or disk");
}

static int live_replicas(const struct topology *topology, const struct topology_shard *shard)
{
    int count = 0;
    for (int i = 0; i < shard->replica_count; i++) {
        const struct topology_node *node =
            &topology->nodes[topology->replicas[shard->first_replica + i]];
        count += node->is_reachable && !node->is_failed;
    }
    return count;
}

/* A primary that has slots to answer for. */
static bool carries(const struct topology *topology, const struct topology_shard *shard)
{
    return topology->nodes[shard->primary].slot_count > 0;
}

static void find_few(const struct doctor_input *input,
                     const struct topology_shard *shard,
                     int most,
                     struct doctor_findings *out)
{
    const struct topology *topology = input->topology;
    int live = live_replicas(topology, shard);
    int wanted = input->spec == NULL ? -1 : input->spec->replicas_per_shard;
    char name[TOPOLOGY_NAME_SIZE];
    bool is_short = wanted >= 0 ? live < wanted : live == 0;
    if (!is_short || !carries(topology, shard)) {
        return;
    }
    /* Nobody has replicas, and none are asked for: a cache, on purpose. */
    enum doctor_severity severity = wanted < 0 && most == 0 ? DOCTOR_NOTE : DOCTOR_WARNING;
    struct doctor_finding *finding = doctor_add(out, DOCTOR_REPLICAS_FEW, severity);
    doctor_name(finding, topology, shard->primary);
    if (wanted >= 0) {
        (void)snprintf(finding->text, sizeof(finding->text),
                       "primary %s has %d live replicas, %d are wanted",
                       topology_node_name(topology, shard->primary, name), live, wanted);
    } else {
        (void)snprintf(finding->text, sizeof(finding->text),
                       "primary %s has no live replica: when it is lost, so are its %d slots",
                       topology_node_name(topology, shard->primary, name),
                       topology->nodes[shard->primary].slot_count);
    }
    say(finding, "drover add HOST:PORT --as-replica, or drover scale --replicas N");
}

/* ---- hosts ---- */

static bool is_same_host(const struct topology_node *a, const struct topology_node *b)
{
    return strcmp(a->address.host, b->address.host) == 0;
}

/* True when some member runs elsewhere, so that it could be better. */
static bool has_other_host(const struct topology *topology, const struct topology_node *node)
{
    for (int i = 0; i < topology->node_count; i++) {
        const struct topology_node *other = &topology->nodes[i];
        if (other->is_member && !is_same_host(other, node)) {
            return true;
        }
    }
    return false;
}

static void find_host_shard(const struct doctor_input *input,
                            const struct topology_shard *shard,
                            struct doctor_findings *out)
{
    const struct topology *topology = input->topology;
    const struct topology_node *primary = &topology->nodes[shard->primary];
    char name[TOPOLOGY_NAME_SIZE];
    if (shard->replica_count == 0 || !has_other_host(topology, primary)) {
        return;
    }
    for (int i = 0; i < shard->replica_count; i++) {
        int replica = topology->replicas[shard->first_replica + i];
        if (!is_same_host(&topology->nodes[replica], primary)) {
            return;
        }
    }
    struct doctor_finding *finding = doctor_add(out, DOCTOR_HOST_SHARD, DOCTOR_WARNING);
    doctor_name(finding, topology, shard->primary);
    (void)snprintf(finding->text, sizeof(finding->text),
                   "host %.120s holds primary %s and all %d of its replicas", primary->address.host,
                   topology_node_name(topology, shard->primary, name), shard->replica_count);
    say(finding,
        "move a replica: drover add HOST:PORT --replica-of NODE on another host, then "
        "remove one here");
}

/* A host with half or more of the primaries takes the majority, which failovers need, with it. */
static void find_majority(const struct doctor_input *input, struct doctor_findings *out)
{
    const struct topology *topology = input->topology;
    int primaries = 0;
    for (int i = 0; i < topology->shard_count; i++) {
        primaries += carries(topology, &topology->shards[i]);
    }
    for (int i = 0; i < topology->shard_count && primaries > 2; i++) {
        const struct topology_node *first = &topology->nodes[topology->shards[i].primary];
        int here = 0;
        bool is_told = false;
        for (int k = 0; k < topology->shard_count; k++) {
            const struct topology_node *other = &topology->nodes[topology->shards[k].primary];
            if (carries(topology, &topology->shards[k]) && is_same_host(first, other)) {
                is_told = is_told || k < i;
                here++;
            }
        }
        if (here * 2 < primaries || is_told || !has_other_host(topology, first)) {
            continue;
        }
        struct doctor_finding *finding = doctor_add(out, DOCTOR_HOST_MAJORITY, DOCTOR_WARNING);
        doctor_name(finding, topology, topology->shards[i].primary);
        (void)snprintf(finding->text, sizeof(finding->text),
                       "host %.120s holds %d of %d primaries: without it no replica can take over",
                       first->address.host, here, primaries);
        say(finding, "let replicas on other hosts take over: drover failover REPLICA");
    }
}

void doctor_examine_shards(const struct doctor_input *input, struct doctor_findings *out)
{
    const struct topology *topology = input->topology;
    int most = 0;
    for (int i = 0; i < topology->shard_count; i++) {
        int live = live_replicas(topology, &topology->shards[i]);
        most = live > most ? live : most;
    }
    for (int i = 0; i < topology->node_count; i++) {
        find_replica(input, i, out);
    }
    for (int i = 0; i < topology->shard_count; i++) {
        find_few(input, &topology->shards[i], most, out);
        find_host_shard(input, &topology->shards[i], out);
    }
    find_majority(input, out);
}
