/* doctor.c — see doctor.h. The list of findings and the memory of first sightings; the rules are in
 * doctor_slots.c, doctor_nodes.c, doctor_gossip.c and doctor_shards.c. */
#include "coordinator/core/doctor.h"

#include "common/base/alloc.h"
#include "common/base/check.h"

#include <stdlib.h>
#include <string.h>

const char *doctor_severity_word(enum doctor_severity severity)
{
    switch (severity) {
    case DOCTOR_ERROR:
        return "error";
    case DOCTOR_WARNING:
        return "warning";
    case DOCTOR_NOTE:
        return "note";
    }
    return "unknown";
}

const char *doctor_code_word(enum doctor_code code)
{
    static const char *const words[DOCTOR_CODE_MAX + 1] = {
        [DOCTOR_SLOTS_UNCOVERED] = "slots_uncovered",
        [DOCTOR_SLOTS_UNREACHABLE] = "slots_unreachable",
        [DOCTOR_SLOTS_DISPUTED] = "slots_disputed",
        [DOCTOR_SLOTS_OPEN] = "slots_open",
        [DOCTOR_STALE_MARKS] = "stale_marks",
        [DOCTOR_ORPHAN_KEYS] = "orphan_keys",
        [DOCTOR_NODE_FAILED] = "node_failed",
        [DOCTOR_NODE_UNREACHABLE] = "node_unreachable",
        [DOCTOR_NODE_SUSPECTED] = "node_suspected",
        [DOCTOR_NODE_DOWN] = "node_down",
        [DOCTOR_NODE_LOADING] = "node_loading",
        [DOCTOR_NODE_MISSING] = "node_missing",
        [DOCTOR_VIEW_UNKNOWN] = "view_unknown",
        [DOCTOR_LINK_DOWN] = "link_down",
        [DOCTOR_ROLE_DISPUTED] = "role_disputed",
        [DOCTOR_EPOCH_COLLISION] = "epoch_collision",
        [DOCTOR_EPOCH_DISPUTED] = "epoch_disputed",
        [DOCTOR_ADDRESS_DISPUTED] = "address_disputed",
        [DOCTOR_ADDRESS_SHARED] = "address_shared",
        [DOCTOR_GHOST] = "ghost",
        [DOCTOR_REPLICA_LINK] = "replica_link",
        [DOCTOR_REPLICA_LAG] = "replica_lag",
        [DOCTOR_MEMORY] = "memory",
        [DOCTOR_REPLICAS_FEW] = "replicas_few",
        [DOCTOR_HOST_SHARD] = "host_shard",
        [DOCTOR_HOST_MAJORITY] = "host_majority",
        [DOCTOR_VERSIONS] = "versions",
        [DOCTOR_SPARE] = "spare",
        [DOCTOR_RETURNED] = "node_returned",
    };
    CHECK(code >= 1);
    CHECK(code <= DOCTOR_CODE_MAX);
    return words[code];
}

/* ---- the list ---- */

struct doctor_finding *doctor_add(struct doctor_findings *out,
                                  enum doctor_code code,
                                  enum doctor_severity severity)
{
    /* One place more than is kept: the last is where the rest goes. */
    if (out->count > DOCTOR_FINDINGS_MAX) {
        out->count--;
        out->left_out++;
    }
    if (out->count == out->capacity) {
        out->capacity = out->capacity == 0 ? 16 : out->capacity * 2;
        out->items = xreallocarray(out->items, (size_t)out->capacity, sizeof(*out->items));
    }
    struct doctor_finding *finding = &out->items[out->count++];
    *finding = (struct doctor_finding){.code = code, .severity = severity};
    return finding;
}

void doctor_name(struct doctor_finding *finding, const struct topology *topology, int node)
{
    if (node != NO_NODE && finding->node_count < DOCTOR_NODES_MAX) {
        finding->nodes[finding->node_count++] = topology->nodes[node].id;
    }
}

bool doctor_is_live(const struct topology *topology, int node)
{
    return node != NO_NODE && topology->nodes[node].is_member &&
           topology->nodes[node].is_reachable && !topology->nodes[node].is_failed;
}

static int by_weight(const void *a, const void *b)
{
    const struct doctor_finding *x = a;
    const struct doctor_finding *y = b;
    if (x->severity != y->severity) {
        return x->severity < y->severity ? -1 : 1;
    }
    if (x->code != y->code) {
        return x->code < y->code ? -1 : 1;
    }
    int order = node_id_compare(&x->nodes[0], &y->nodes[0]);
    if (order == 0) {
        order = node_id_compare(&x->nodes[1], &y->nodes[1]);
    }
    return order != 0 ? order : slotset_next(&x->slots, 0) - slotset_next(&y->slots, 0);
}

void doctor_examine(const struct doctor_input *input, struct doctor_findings *out)
{
    out->count = 0;
    out->left_out = 0;
    doctor_examine_slots(input, out);
    doctor_examine_nodes(input, out);
    doctor_examine_gossip(input, out);
    doctor_examine_shards(input, out);
    if (out->count > DOCTOR_FINDINGS_MAX) {
        out->count--;
        out->left_out++;
    }
    if (out->count > 1) {
        qsort(out->items, (size_t)out->count, sizeof(*out->items), by_weight);
    }
}

bool doctor_is_healthy(const struct doctor_findings *findings)
{
    for (int i = 0; i < findings->count; i++) {
        if (findings->items[i].severity != DOCTOR_NOTE) {
            return false;
        }
    }
    return true;
}

void doctor_findings_release(struct doctor_findings *findings)
{
    if (findings != NULL) {
        free(findings->items);
        *findings = (struct doctor_findings){0};
    }
}

/* ---- since when ---- */

static bool is_sighting_of(const struct doctor_sighting *sighting,
                           const struct doctor_finding *finding)
{
    return sighting->code == finding->code &&
           node_id_is_equal(&sighting->nodes[0], &finding->nodes[0]) &&
           node_id_is_equal(&sighting->nodes[1], &finding->nodes[1]) &&
           sighting->first_slot == slotset_next(&finding->slots, 0);
}

static struct doctor_sighting *find_sighting(struct doctor_memory *memory,
                                             const struct doctor_finding *finding)
{
    for (int i = 0; i < memory->count; i++) {
        if (is_sighting_of(&memory->items[i], finding)) {
            return &memory->items[i];
        }
    }
    if (memory->count == memory->capacity) {
        memory->capacity = memory->capacity == 0 ? 16 : memory->capacity * 2;
        memory->items =
            xreallocarray(memory->items, (size_t)memory->capacity, sizeof(*memory->items));
    }
    struct doctor_sighting *sighting = &memory->items[memory->count++];
    *sighting = (struct doctor_sighting){.code = finding->code,
                                         .first_slot = slotset_next(&finding->slots, 0)};
    memcpy(sighting->nodes, finding->nodes, sizeof(sighting->nodes));
    return sighting;
}

void doctor_remember(struct doctor_memory *memory,
                     int64_t wall_ms,
                     struct doctor_findings *findings)
{
    for (int i = 0; i < memory->count; i++) {
        memory->items[i].is_seen = false;
    }
    for (int i = 0; i < findings->count; i++) {
        struct doctor_sighting *sighting = find_sighting(memory, &findings->items[i]);
        sighting->is_seen = true;
        if (sighting->since_wall_ms == 0) {
            sighting->since_wall_ms = wall_ms;
        }
        findings->items[i].since_wall_ms = sighting->since_wall_ms;
    }
    int kept = 0;
    for (int i = 0; i < memory->count; i++) {
        if (memory->items[i].is_seen) {
            memory->items[kept++] = memory->items[i];
        }
    }
    memory->count = kept;
}

void doctor_memory_release(struct doctor_memory *memory)
{
    if (memory != NULL) {
        free(memory->items);
        *memory = (struct doctor_memory){0};
    }
}
