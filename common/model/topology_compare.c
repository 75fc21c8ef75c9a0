/* topology_compare.c — what does not fit between live views: disagreements, config_epoch
 * collisions, ghosts.
 *
 * Part of the merge, see topology_build.h. Only views of reachable members are compared: what a
 * node believed before it went away is no disagreement. */
#include "common/model/topology_build.h"

#include "common/base/alloc.h"
#include "common/base/check.h"
#include "common/model/digest.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Opinions are collected here first and kept only when there are two different ones. */
struct ballot {
    struct build *build;
    struct topology_disagreement found;
};

static void compare_owners(struct build *build);
static void compare_nodes(struct build *build);
static void find_collisions(struct topology *topology);
static void find_ghosts(struct build *build);

void build_compare(struct build *build)
{
    if (build->view_count > 1) {
        compare_nodes(build);
        compare_owners(build);
    }
    find_collisions(build->topology);
    find_ghosts(build);
}

static void ballot_begin(struct ballot *ballot, enum topology_disagreement_kind kind, int subject)
{
    ballot->found = (struct topology_disagreement){.kind = kind, .subject = subject};
}

static void ballot_vote(struct ballot *ballot, int view, int node, uint64_t value)
{
    struct topology_disagreement *found = &ballot->found;
    const struct topology_view *voter = &ballot->build->topology->views[view];
    for (int i = 0; i < found->opinion_count; i++) {
        if (found->opinions[i].node == node && found->opinions[i].value == value) {
            found->opinions[i].believer_count += voter->believer_count;
            return;
        }
    }
    if (found->opinion_count < TOPOLOGY_OPINIONS_MAX) {
        found->opinions[found->opinion_count++] =
            (struct topology_opinion){.node = node,
                                      .value = value,
                                      .believer = voter->believer,
                                      .believer_count = voter->believer_count};
    }
}

static void ballot_close(struct ballot *ballot)
{
    struct topology *topology = ballot->build->topology;
    if (ballot->found.opinion_count < 2) {
        return;
    }
    if (topology->disagreement_count == TOPOLOGY_DISAGREEMENTS_MAX) {
        topology->disagreements_left_out++;
        return;
    }
    if (topology->disagreements == NULL) {
        topology->disagreements =
            xcalloc(TOPOLOGY_DISAGREEMENTS_MAX, sizeof(struct topology_disagreement));
    }
    topology->disagreements[topology->disagreement_count++] = ballot->found;
}

/* One disagreement for each run of slots on which every view keeps to its opinion. */
static void compare_owners(struct build *build)
{
    int16_t *opinions = xcalloc((size_t)build->view_count, sizeof(int16_t));
    struct ballot ballot = {.build = build};
    int first = 0;
    for (int slot = 0; slot <= SLOT_COUNT; slot++) {
        bool is_same = slot > 0 && slot < SLOT_COUNT;
        for (int v = 0; is_same && v < build->view_count; v++) {
            is_same = build_owner(build, v, slot) == opinions[v];
        }
        if (is_same) {
            continue;
        }
        if (slot > 0) {
            ballot_begin(&ballot, DISAGREE_OWNER, NO_NODE);
            ballot.found.first = (uint16_t)first;
            ballot.found.last = (uint16_t)(slot - 1);
            for (int v = 0; v < build->view_count; v++) {
                ballot_vote(&ballot, v, opinions[v], 0);
            }
            ballot_close(&ballot);
        }
        first = slot;
        for (int v = 0; slot < SLOT_COUNT && v < build->view_count; v++) {
            opinions[v] = (int16_t)build_owner(build, v, slot);
        }
    }
    free(opinions);
}

static void compare_membership(struct build *build, int node)
{
    struct ballot ballot = {.build = build};
    ballot_begin(&ballot, DISAGREE_MEMBERSHIP, node);
    for (int v = 0; v < build->view_count; v++) {
        ballot_vote(&ballot, v, NO_NODE, build_row(build, v, node) != NULL);
    }
    ballot_close(&ballot);
}

static void compare_roles(struct build *build, int node)
{
    struct ballot ballot = {.build = build};
    ballot_begin(&ballot, DISAGREE_ROLE, node);
    for (int v = 0; v < build->view_count; v++) {
        const struct nodes_row *row = build_row(build, v, node);
        if (row == NULL) {
            continue;
        }
        bool is_primary = (row->flags & NODES_FLAG_PRIMARY) != 0;
        int primary = is_primary ? NO_NODE : topology_find(build->topology, &row->primary_id);
        ballot_vote(&ballot, v, primary, is_primary);
    }
    ballot_close(&ballot);
}

static void compare_epochs(struct build *build, int node)
{
    struct ballot ballot = {.build = build};
    ballot_begin(&ballot, DISAGREE_EPOCH, node);
    for (int v = 0; v < build->view_count; v++) {
        const struct nodes_row *row = build_row(build, v, node);
        if (row != NULL && (row->flags & NODES_FLAG_PRIMARY) != 0) {
            ballot_vote(&ballot, v, NO_NODE, row->config_epoch);
        }
    }
    ballot_close(&ballot);
}

/* A node's own idea of its address is left out: behind a translator it knows only its inner one. */
static void compare_addresses(struct build *build, int node)
{
    struct ballot ballot = {.build = build};
    ballot_begin(&ballot, DISAGREE_ADDRESS, node);
    for (int v = 0; v < build->view_count; v++) {
        const struct nodes_row *row = build_row(build, v, node);
        bool is_only_own =
            build->topology->nodes[node].view == v && build->views[v].believer_count == 1;
        if (row == NULL || row->host[0] == '\0' || is_only_own) {
            continue;
        }
        int before = ballot.found.opinion_count;
        ballot_vote(&ballot, v, NO_NODE,
                    digest_number(digest_text(DIGEST_START, row->host), row->port));
        if (ballot.found.opinion_count > before) {
            struct address address;
            char text[ADDRESS_TEXT_SIZE];
            struct topology_opinion *opinion = &ballot.found.opinions[before];
            nodes_row_address(row, &address);
            snprintf(opinion->text, sizeof(opinion->text), "%.63s", address_format(&address, text));
        }
    }
    ballot_close(&ballot);
}

static void compare_nodes(struct build *build)
{
    for (int node = 0; node < build->topology->node_count; node++) {
        if (build->topology->nodes[node].is_member) {
            compare_membership(build, node);
            compare_roles(build, node);
            compare_epochs(build, node);
            compare_addresses(build, node);
        }
    }
}

/* A primary and the config_epoch that it is sorted by. */
struct epoch_key {
    uint64_t config_epoch;
    int node;
};

static int compare_epoch_keys(const void *a, const void *b)
{
    const struct epoch_key *first = a;
    const struct epoch_key *second = b;
    if (first->config_epoch != second->config_epoch) {
        return first->config_epoch > second->config_epoch ? 1 : -1;
    }
    return first->node - second->node;
}

/* Neighbours in the order of config_epoch are enough: three alike give two pairs. */
static void find_collisions(struct topology *topology)
{
    struct epoch_key *keys = xcalloc((size_t)topology->shard_count + 1, sizeof(*keys));
    int count = 0;
    int capacity = 0;
    for (int s = 0; s < topology->shard_count; s++) {
        int primary = topology->shards[s].primary;
        const struct topology_node *node = &topology->nodes[primary];
        /* The dead cannot resolve a collision; one without slots harms nobody. */
        if (!node->is_failed || node->slot_count > 0) {
            keys[count++] = (struct epoch_key){.config_epoch = node->config_epoch, .node = primary};
        }
    }
    qsort(keys, (size_t)count, sizeof(*keys), compare_epoch_keys);
    for (int i = 1; i < count; i++) {
        if (keys[i].config_epoch == keys[i - 1].config_epoch) {
            ARRAY_RESERVE(topology->collisions, topology->collision_count, capacity);
            topology->collisions[topology->collision_count++] = (struct topology_collision){
                .a = keys[i - 1].node, .b = keys[i].node, .config_epoch = keys[i].config_epoch};
        }
    }
    free(keys);
}

static struct topology_ghost *ghost_find(struct topology *topology, const struct node_id *id)
{
    for (int i = 0; i < topology->ghost_count; i++) {
        if (node_id_is_equal(&topology->ghosts[i].id, id)) {
            return &topology->ghosts[i];
        }
    }
    return NULL;
}

static void ghost_add(struct topology *topology,
                      const struct nodes_row *row,
                      enum topology_ghost_kind kind,
                      int seen_by_count,
                      int seen_by)
{
    struct topology_ghost *ghost = ghost_find(topology, &row->id);
    if (ghost != NULL) {
        ghost->seen_by_count += seen_by_count;
        return;
    }
    if (topology->ghost_count == TOPOLOGY_GHOSTS_MAX) {
        return;
    }
    if (topology->ghosts == NULL) {
        topology->ghosts = xcalloc(TOPOLOGY_GHOSTS_MAX, sizeof(struct topology_ghost));
    }
    ghost = &topology->ghosts[topology->ghost_count++];
    *ghost = (struct topology_ghost){
        .id = row->id, .kind = kind, .seen_by_count = seen_by_count, .seen_by = seen_by};
    nodes_row_address(row, &ghost->address);
}

static bool is_live_digest(const struct build *build, uint64_t digest)
{
    for (int v = 0; v < build->view_count; v++) {
        if (build->views[v].digest == digest) {
            return true;
        }
    }
    return false;
}

static bool is_foreign_digest(const struct build *build, uint64_t digest)
{
    for (int i = 0; i < build->foreign_count; i++) {
        if (build->foreign[i] == digest) {
            return true;
        }
    }
    return false;
}

static int compare_ghosts(const void *a, const void *b)
{
    return node_id_compare(&((const struct topology_ghost *)a)->id,
                           &((const struct topology_ghost *)b)->id);
}

static void find_ghosts(struct build *build)
{
    struct topology *topology = build->topology;
    for (int v = 0; v < build->view_count; v++) {
        const struct nodes_view *view = build->views[v].view;
        for (int i = 0; i < view->row_count; i++) {
            const struct nodes_row *row = &view->rows[i];
            if (build->views[v].node_of_row[i] != NO_NODE) {
                continue;
            }
            bool is_handshake = (row->flags & NODES_FLAG_HANDSHAKE) != 0;
            ghost_add(topology, row, is_handshake ? GHOST_HANDSHAKE : GHOST_NOADDR,
                      topology->views[v].believer_count, topology->views[v].believer);
        }
    }
    for (int i = 0; i < build->input->view_count; i++) {
        const struct nodes_view *view = build->input->views[i];
        if (is_live_digest(build, build->input->view_digests[i]) ||
            is_foreign_digest(build, build->input->view_digests[i])) {
            continue;
        }
        for (int row = 0; row < view->row_count; row++) {
            const struct topology_ghost *ghost = ghost_find(topology, &view->rows[row].id);
            bool is_seen_live = ghost != NULL && ghost->kind != GHOST_UNKNOWN;
            if (!is_seen_live && topology_find(topology, &view->rows[row].id) == NO_NODE) {
                ghost_add(topology, &view->rows[row], GHOST_UNKNOWN, 1, NO_NODE);
            }
        }
    }
    if (topology->ghost_count > 0) {
        qsort(topology->ghosts, (size_t)topology->ghost_count, sizeof(struct topology_ghost),
              compare_ghosts);
    }
}
