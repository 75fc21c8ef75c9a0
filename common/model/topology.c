/* topology.c — questions about a merged topology; the merge itself is in topology_build.c. See
 * topology.h. */
#include "common/model/topology.h"

#include "common/base/check.h"
#include "common/model/digest.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ID_PREFIX_LEN_MIN 4 /* shorter ones are typing errors more often than names */
#define NEAR_MATCHES_MAX 3

void topology_init(struct topology *topology)
{
    *topology = (struct topology){
        .missing_view_of = NO_NODE, .link_down_from = NO_NODE, .link_down_to = NO_NODE};
    for (int slot = 0; slot < SLOT_COUNT; slot++) {
        topology->owner[slot] = NO_NODE;
    }
}

void topology_release(struct topology *topology)
{
    if (topology == NULL) {
        return;
    }
    free(topology->nodes);
    free(topology->shards);
    free(topology->replicas);
    free(topology->opens);
    free(topology->ghosts);
    free(topology->disagreements);
    free(topology->collisions);
    free(topology->views);
    topology_init(topology);
}

static uint64_t digest_nodes(const struct topology *topology)
{
    uint64_t digest = DIGEST_START;
    for (int i = 0; i < topology->node_count; i++) {
        const struct topology_node *node = &topology->nodes[i];
        if (!node->is_member) {
            continue;
        }
        digest = digest_text(digest, node->id.text);
        digest = digest_number(digest, node->role);
        digest = digest_text(
            digest, node->primary == NO_NODE ? "" : topology->nodes[node->primary].id.text);
    }
    return digest;
}

uint64_t topology_digest_with_owners(const struct topology *topology,
                                     const int16_t owner[SLOT_COUNT])
{
    uint64_t digest = digest_nodes(topology);
    int before = NO_NODE;
    for (int slot = 0; slot < SLOT_COUNT; slot++) {
        if (owner[slot] != before) {
            digest = digest_number(digest, (uint64_t)slot);
            digest = digest_text(
                digest, owner[slot] == NO_NODE ? "" : topology->nodes[owner[slot]].id.text);
        }
        before = owner[slot];
    }
    for (int i = 0; i < topology->open_count; i++) {
        const struct topology_open *open = &topology->opens[i];
        digest = digest_number(digest, open->slot);
        digest = digest_text(digest, topology->nodes[open->node].id.text);
        digest = digest_number(digest, open->is_importing);
        digest = digest_text(digest, open->peer.text);
    }
    digest = digest_close(digest);
    return digest == 0 ? 1 : digest;
}

uint64_t topology_digest(const struct topology *topology)
{
    return topology_digest_with_owners(topology, topology->owner);
}

int topology_find(const struct topology *topology, const struct node_id *id)
{
    int low = 0;
    int high = topology->node_count - 1;
    while (low <= high) {
        int middle = low + (high - low) / 2;
        int order = node_id_compare(&topology->nodes[middle].id, id);
        if (order == 0) {
            return middle;
        }
        if (order < 0) {
            low = middle + 1;
        } else {
            high = middle - 1;
        }
    }
    return NO_NODE;
}

const char *topology_node_name(const struct topology *topology,
                               int node,
                               char text[TOPOLOGY_NAME_SIZE])
{
    char address[ADDRESS_TEXT_SIZE];
    if (node < 0 || node >= topology->node_count) {
        snprintf(text, TOPOLOGY_NAME_SIZE, "unknown node");
    } else if (topology->nodes[node].address.port == 0) {
        snprintf(text, TOPOLOGY_NAME_SIZE, "node %.8s", topology->nodes[node].id.text);
    } else {
        snprintf(text, TOPOLOGY_NAME_SIZE, "%s (%.8s)",
                 address_format(&topology->nodes[node].address, address),
                 topology->nodes[node].id.text);
    }
    return text;
}

void topology_node_slots(const struct topology *topology, int node, struct slotset *slots)
{
    slotset_clear(slots);
    for (int slot = 0; slot < SLOT_COUNT; slot++) {
        if (topology->owner[slot] == node) {
            slotset_add(slots, slot);
        }
    }
}

/* How unlike two texts are: differing leading characters after the common start, both ways. Cheap,
 * and good enough for "did you mean": people mistype ends of ports and ids. */
static int text_distance(const char *a, const char *b)
{
    size_t same = 0;
    size_t end = 0;
    size_t a_len = strlen(a);
    size_t b_len = strlen(b);
    size_t shorter = a_len < b_len ? a_len : b_len;
    while (same < shorter && a[same] == b[same]) {
        same++;
    }
    while (end < shorter - same && a[a_len - 1 - end] == b[b_len - 1 - end]) {
        end++;
    }
    return (int)(a_len + b_len - 2 * (same + end));
}

/* The hint "did you mean ..." with the names nearest to what was written. */
static void hint_near(const struct topology *topology, const char *text, struct err *err)
{
    int best[NEAR_MATCHES_MAX];
    int distances[NEAR_MATCHES_MAX];
    int count = 0;
    size_t text_len = strlen(text);
    for (int i = 0; i < topology->node_count; i++) {
        char address[ADDRESS_TEXT_SIZE];
        char prefix[NODE_ID_LEN + 1];
        snprintf(prefix, sizeof(prefix), "%.*s",
                 text_len < NODE_ID_LEN ? (int)text_len : NODE_ID_LEN, topology->nodes[i].id.text);
        int distance = text_distance(text, address_format(&topology->nodes[i].address, address));
        int by_id = text_distance(text, prefix);
        distance = by_id < distance ? by_id : distance;
        int place = count;
        while (place > 0 && distances[place - 1] > distance) {
            place--;
        }
        if (place == NEAR_MATCHES_MAX) {
            continue;
        }
        count = count < NEAR_MATCHES_MAX ? count + 1 : count;
        for (int j = count - 1; j > place; j--) {
            best[j] = best[j - 1];
            distances[j] = distances[j - 1];
        }
        best[place] = i;
        distances[place] = distance;
    }
    struct strbuf hint = {0};
    for (int i = 0; i < count; i++) {
        char name[TOPOLOGY_NAME_SIZE];
        const char *joint = i == 0 ? "" : i + 1 == count ? " or " : ", ";
        strbuf_addf(&hint, "%s%s", joint, topology_node_name(topology, best[i], name));
    }
    if (count == 0) {
        err_hint(err, "no node has been observed yet");
    } else {
        err_hint(err, "did you mean %s? `drover nodes` lists all", strbuf_text(&hint));
    }
    strbuf_release(&hint);
}

static int find_by_address(const struct topology *topology, const char *text)
{
    struct address address;
    int found = NO_NODE;
    if (address_parse(&address, text, NULL) != 0) {
        return NO_NODE;
    }
    for (int i = 0; i < topology->node_count; i++) {
        /* A member goes before a left-over that once lived at the same place. */
        bool is_better =
            found == NO_NODE || (topology->nodes[i].is_member && !topology->nodes[found].is_member);
        if (address_is_equal(&topology->nodes[i].address, &address) && is_better) {
            found = i;
        }
    }
    return found;
}

static bool has_prefix_form(const char *text)
{
    size_t len = strspn(text, "0123456789abcdef");
    return text[len] == '\0' && len > 0 && len <= NODE_ID_LEN;
}

int topology_find_node(const struct topology *topology, const char *text, struct err *err)
{
    char name[TOPOLOGY_NAME_SIZE];
    char other_name[TOPOLOGY_NAME_SIZE];
    size_t len = strlen(text);
    int found = strchr(text, ':') != NULL ? find_by_address(topology, text) : NO_NODE;
    if (found != NO_NODE) {
        return found;
    }
    if (has_prefix_form(text) && len < ID_PREFIX_LEN_MIN) {
        int code = err_set(err, ERR_INVALID, "\"%s\" is too short to name a node", text);
        err_hint(err, "write %d or more characters of its id, or host:port", ID_PREFIX_LEN_MIN);
        return code;
    }
    for (int i = 0; has_prefix_form(text) && i < topology->node_count; i++) {
        if (strncmp(topology->nodes[i].id.text, text, len) != 0) {
            continue;
        }
        if (found != NO_NODE) {
            int code =
                err_set(err, ERR_INVALID, "\"%.40s\" names more than one node: %.100s and %.100s",
                        text, topology_node_name(topology, found, name),
                        topology_node_name(topology, i, other_name));
            err_hint(err, "write more characters of the id");
            return code;
        }
        found = i;
    }
    if (found != NO_NODE) {
        return found;
    }
    int code = err_set(err, ERR_NOT_FOUND, "no node is named \"%.100s\"", text);
    hint_near(topology, text, err);
    return code;
}
