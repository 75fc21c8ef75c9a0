/* topology_separate.c — which of the live views are of the cluster that is looked after; see
 * topology_build.h.
 *
 * Agents also see servers that are no part of it: spares that know only themselves, nodes that
 * somebody named to be added, nodes of another cluster. Merging their views would make up
 * disagreements, or worse, owners. Two views belong together when one lists a member of the other.
 * Of these the views count of nodes that have slots, and of those that are listed there, and so on:
 * a node that was removed and comes back with its old files lists everybody, but nobody lists it.
 * A node that lists nobody and owns nothing is no cluster. Of several clusters the one counts that
 * has a node which is not merely a guest, then the one with the most slots, the most nodes, and the
 * lowest id. */
#include "common/model/topology_build.h"

#include "common/base/alloc.h"
#include "common/base/check.h"

#include <stdlib.h>

#define NO_CLUSTER (-1)

/* One set of views that belong together. */
struct cluster {
    int slot_count;     /* of the view that knows the most */
    int believer_count; /* live nodes */
    bool has_host;      /* a live node that is no guest */
    bool is_real;       /* has slots, or more than one node */
    const struct node_id *lowest;
};

int build_member_rows(const struct nodes_view *view, int *row)
{
    int count = 0;
    for (int i = 0; i < view->row_count; i++) {
        if ((view->rows[i].flags & NODES_FLAG_HANDSHAKE) == 0) {
            count++;
            *row = i;
        }
    }
    return count;
}

/* True when a member of the one is a member in the other: of nodes that know each other mostly the
 * first one asked for. */
static bool is_related(const struct nodes_view *a, const struct nodes_view *b)
{
    for (int i = 0; i < a->row_count; i++) {
        if ((a->rows[i].flags & NODES_FLAG_HANDSHAKE) != 0) {
            continue;
        }
        int row = nodes_view_find(b, &a->rows[i].id);
        if (row != NODES_NO_ROW && (b->rows[row].flags & NODES_FLAG_HANDSHAKE) == 0) {
            return true;
        }
    }
    return false;
}

static void join_labels(int *labels, int count, int from, int to)
{
    for (int i = 0; from != to && i < count; i++) {
        labels[i] = labels[i] == from ? to : labels[i];
    }
}

/* Gives views that belong together the same label: the index of one of them. */
static void label_views(const struct build *build, int *labels)
{
    for (int i = 0; i < build->view_count; i++) {
        labels[i] = i;
        for (int j = 0; j < i; j++) {
            if (labels[j] != labels[i] && is_related(build->views[i].view, build->views[j].view)) {
                join_labels(labels, i + 1, labels[i], labels[j]);
            }
        }
    }
}

static int slots_in(const struct nodes_view *view)
{
    int count = 0;
    for (int i = 0; i < view->row_count; i++) {
        count += view->rows[i].slot_count;
    }
    return count;
}

static void add_view(struct cluster *cluster, const struct build_view *view)
{
    int slots = slots_in(view->view);
    int row = NODES_NO_ROW;
    cluster->slot_count = slots > cluster->slot_count ? slots : cluster->slot_count;
    cluster->believer_count += view->believer_count;
    cluster->is_real = cluster->is_real || slots > 0 || build_member_rows(view->view, &row) > 1;
    for (int i = 0; i < view->view->row_count; i++) {
        const struct node_id *id = &view->view->rows[i].id;
        if (cluster->lowest == NULL || node_id_compare(id, cluster->lowest) < 0) {
            cluster->lowest = id;
        }
    }
}

/* The hosts of the house: nodes that are seen without having been asked for. */
static void find_hosts(const struct build *build, const int *labels, struct cluster *clusters)
{
    for (int i = 0; i < build->input->seen_count; i++) {
        const struct topology_seen *seen = &build->input->seen[i];
        for (int v = 0; !seen->is_guest && v < build->view_count; v++) {
            if (build->views[v].digest == seen->report->view_digest) {
                clusters[labels[v]].has_host = true;
            }
        }
    }
}

static bool is_greater(const struct cluster *a, const struct cluster *b)
{
    if (a->has_host != b->has_host) {
        return a->has_host;
    }
    if (a->slot_count != b->slot_count) {
        return a->slot_count > b->slot_count;
    }
    if (a->believer_count != b->believer_count) {
        return a->believer_count > b->believer_count;
    }
    return node_id_compare(a->lowest, b->lowest) < 0;
}

static int choose_cluster(const struct build *build, const int *labels)
{
    struct cluster *clusters = xcalloc((size_t)build->view_count + 1, sizeof(*clusters));
    int best = NO_CLUSTER;
    for (int i = 0; i < build->view_count; i++) {
        add_view(&clusters[labels[i]], &build->views[i]);
    }
    find_hosts(build, labels, clusters);
    for (int i = 0; i < build->view_count; i++) {
        if (labels[i] == i && clusters[i].is_real &&
            (best == NO_CLUSTER || is_greater(&clusters[i], &clusters[best]))) {
            best = i;
        }
    }
    free(clusters);
    return best;
}

/* ---- outcasts ---- */

static bool is_listed(const struct nodes_view *view, const struct node_id *id)
{
    int row = nodes_view_find(view, id);
    return row != NODES_NO_ROW && (view->rows[row].flags & NODES_FLAG_HANDSHAKE) == 0;
}

static bool is_believed_by(const struct build *build, int view, const struct topology_seen *seen)
{
    return seen->report->view_digest == build->views[view].digest && seen->report->is_reachable &&
           seen->age_ms <= build->input->age_ms_max;
}

/* Somebody who believes in the view has slots there. */
static bool is_of_owner(const struct build *build, int view)
{
    const struct nodes_view *text = build->views[view].view;
    for (int i = 0; i < build->input->seen_count; i++) {
        const struct topology_seen *seen = &build->input->seen[i];
        int row = is_believed_by(build, view, seen) ? nodes_view_find(text, &seen->report->id)
                                                    : NODES_NO_ROW;
        if (row != NODES_NO_ROW && text->rows[row].slot_count > 0) {
            return true;
        }
    }
    return false;
}

/* Somebody who believes in the view is listed in one that counts. */
static bool is_of_member(const struct build *build, int view, const bool *counts)
{
    for (int i = 0; i < build->input->seen_count; i++) {
        const struct topology_seen *seen = &build->input->seen[i];
        for (int v = 0; is_believed_by(build, view, seen) && v < build->view_count; v++) {
            if (counts[v] && is_listed(build->views[v].view, &seen->report->id)) {
                return true;
            }
        }
    }
    return false;
}

/* Takes the label from views of the chosen cluster that do not count. Without any owner of slots,
 * as in a cluster that is being made, all count. */
static void label_outcasts(const struct build *build, int *labels, int chosen)
{
    bool *counts = xcalloc((size_t)build->view_count + 1, sizeof(bool));
    bool has_grown = false;
    for (int v = 0; v < build->view_count; v++) {
        counts[v] = labels[v] == chosen && is_of_owner(build, v);
        has_grown = has_grown || counts[v];
    }
    bool has_owners = has_grown;
    while (has_grown) {
        has_grown = false;
        for (int v = 0; v < build->view_count; v++) {
            if (labels[v] == chosen && !counts[v] && is_of_member(build, v, counts)) {
                counts[v] = true;
                has_grown = true;
            }
        }
    }
    for (int v = 0; has_owners && v < build->view_count; v++) {
        labels[v] = counts[v] ? labels[v] : NO_CLUSTER;
    }
    free(counts);
}

bool build_is_outcast(const struct build *build,
                      const struct nodes_view *own,
                      const struct address *address)
{
    bool is_ours = false;
    for (int v = 0; v < build->view_count; v++) {
        const struct nodes_view *view = build->views[v].view;
        is_ours = is_ours || is_related(own, view);
        for (int row = 0; row < view->row_count; row++) {
            struct address place;
            bool is_meeting = (view->rows[row].flags & NODES_FLAG_HANDSHAKE) != 0;
            nodes_row_address(&view->rows[row], &place);
            if (is_meeting && address_is_equal(&place, address)) {
                return false;
            }
        }
    }
    return is_ours;
}

void build_separate(struct build *build)
{
    int *labels = xcalloc((size_t)build->view_count + 1, sizeof(int));
    label_views(build, labels);
    int chosen = choose_cluster(build, labels);
    int kept = 0;
    label_outcasts(build, labels, chosen);
    build->foreign = xcalloc((size_t)build->view_count + 1, sizeof(uint64_t));
    for (int i = 0; i < build->view_count; i++) {
        if (labels[i] == chosen && chosen != NO_CLUSTER) {
            build->views[kept++] = build->views[i];
        } else {
            build->foreign[build->foreign_count++] = build->views[i].digest;
        }
    }
    build->view_count = kept;
    free(labels);
}
