/* topology_build.c — the merge of reports and views into one topology; see topology.h.
 *
 * Order of work: which views are live, which ids there are, facts of each node, who owns each slot,
 * shards, the rest. Owners: among the nodes that a live view names as owner of a slot, those that
 * deny it in their own view drop out; of the others the highest config_epoch wins, then the lower
 * id, as when Redis resolves a collision. */
#include "common/model/topology_build.h"

#include "common/base/alloc.h"
#include "common/base/check.h"

#include <stdlib.h>
#include <string.h>

_Static_assert(TOPOLOGY_NODES_MAX <= INT16_MAX, "owner[] holds node indices");

static int check_input(const struct topology_input *input, struct err *err);
static int sort_seen(struct build *build, struct err *err);
static void collect_views(struct build *build);
static int collect_nodes(struct build *build, struct err *err);
static void map_views(struct build *build);
static void fill_nodes(struct build *build);
static void fill_owners(struct build *build);
static void fill_shards(struct topology *topology);
static void fill_opens(struct build *build);
static void fill_links(struct build *build);
static void build_release(struct build *build);

int topology_build(struct topology *topology, const struct topology_input *input, struct err *err)
{
    struct topology fresh;
    struct build build = {.input = input, .topology = &fresh};
    topology_init(&fresh);
    int code = check_input(input, err);
    if (code == 0) {
        code = sort_seen(&build, err);
    }
    if (code == 0) {
        collect_views(&build);
        code = collect_nodes(&build, err);
    }
    if (code == 0) {
        map_views(&build);
        fill_nodes(&build);
        fill_owners(&build);
        fill_shards(&fresh);
        fill_opens(&build);
        fill_links(&build);
        build_compare(&build);
        topology_release(topology);
        *topology = fresh;
    } else {
        topology_release(&fresh);
    }
    build_release(&build);
    return code;
}

const struct nodes_row *build_row(const struct build *build, int view, int node)
{
    int row = build->views[view].row_of_node[node];
    return row == NODES_NO_ROW ? NULL : &build->views[view].view->rows[row];
}

int build_owner(const struct build *build, int view, int slot)
{
    int row = build->views[view].view->owner[slot];
    return row == NODES_NO_ROW ? NO_NODE : build->views[view].node_of_row[row];
}

static void build_release(struct build *build)
{
    for (int i = 0; i < build->view_count; i++) {
        free(build->views[i].node_of_row);
        free(build->views[i].row_of_node);
    }
    free(build->views);
    free(build->foreign);
    free(build->seen);
}

static int check_input(const struct topology_input *input, struct err *err)
{
    if (input->seen_count > TOPOLOGY_NODES_MAX) {
        return err_set(err, ERR_LIMIT, "%d nodes are reported, %d are allowed", input->seen_count,
                       TOPOLOGY_NODES_MAX);
    }
    if (input->view_count > TOPOLOGY_VIEWS_MAX) {
        return err_set(err, ERR_LIMIT, "%d different views are reported, %d are allowed",
                       input->view_count, TOPOLOGY_VIEWS_MAX);
    }
    return 0;
}

static bool is_live(const struct build *build, const struct topology_seen *seen)
{
    return seen->report->is_reachable && seen->age_ms <= build->input->age_ms_max;
}

static int compare_seen(const void *a, const void *b)
{
    const struct topology_seen *first = *(const struct topology_seen *const *)a;
    const struct topology_seen *second = *(const struct topology_seen *const *)b;
    return node_id_compare(&first->report->id, &second->report->id);
}

static int sort_seen(struct build *build, struct err *err)
{
    int count = build->input->seen_count;
    build->seen = xcalloc((size_t)count + 1, sizeof(const struct topology_seen *));
    for (int i = 0; i < count; i++) {
        CHECK(!node_id_is_empty(&build->input->seen[i].report->id));
        build->seen[i] = &build->input->seen[i];
    }
    qsort(build->seen, (size_t)count, sizeof(const struct topology_seen *), compare_seen);
    for (int i = 1; i < count; i++) {
        if (node_id_is_equal(&build->seen[i]->report->id, &build->seen[i - 1]->report->id)) {
            return err_set(err, ERR_INVALID, "node %s is reported twice",
                           build->seen[i]->report->id.text);
        }
    }
    return 0;
}

static int compare_views(const void *a, const void *b)
{
    uint64_t first = ((const struct build_view *)a)->digest;
    uint64_t second = ((const struct build_view *)b)->digest;
    return (first > second) - (first < second);
}

static void collect_views(struct build *build)
{
    const struct topology_input *input = build->input;
    build->views = xcalloc((size_t)input->view_count + 1, sizeof(struct build_view));
    for (int i = 0; i < input->view_count; i++) {
        struct build_view view = {.digest = input->view_digests[i], .view = input->views[i]};
        for (int j = 0; j < input->seen_count; j++) {
            if (input->seen[j].report->view_digest == view.digest &&
                is_live(build, &input->seen[j])) {
                view.believer_count++;
            }
        }
        if (view.believer_count > 0) {
            build->views[build->view_count++] = view;
        }
    }
    qsort(build->views, (size_t)build->view_count, sizeof(struct build_view), compare_views);
    int kept = 0;
    for (int i = 0; i < build->view_count; i++) {
        if (i == 0 || build->views[i].digest != build->views[i - 1].digest) {
            build->views[kept++] = build->views[i];
        }
    }
    build->view_count = kept;
    build_separate(build);
}

static int compare_nodes(const void *a, const void *b)
{
    return node_id_compare(&((const struct topology_node *)a)->id,
                           &((const struct topology_node *)b)->id);
}

/* Whether a row stands for a member: not a meeting under way, not a left-over without address and
 * slots. */
static bool is_member_row(const struct nodes_row *row)
{
    bool is_left_over = (row->flags & NODES_FLAG_NOADDR) != 0 && row->slot_count == 0;
    return (row->flags & NODES_FLAG_HANDSHAKE) == 0 && !is_left_over;
}

static bool has_node(const struct topology *topology, int sorted_count, const struct node_id *id)
{
    struct topology sorted = {.nodes = topology->nodes, .node_count = sorted_count};
    return topology_find(&sorted, id) != NO_NODE;
}

/* The ids of all that are seen and of all members that live views list, each once, in order. */
static int collect_nodes(struct build *build, struct err *err)
{
    struct topology *topology = build->topology;
    int capacity = 0;
    for (int i = 0; i < build->input->seen_count; i++) {
        ARRAY_RESERVE(topology->nodes, topology->node_count, capacity);
        topology->nodes[topology->node_count++] =
            (struct topology_node){.id = build->seen[i]->report->id};
    }
    for (int v = 0; v < build->view_count; v++) {
        const struct nodes_view *view = build->views[v].view;
        int sorted_count = topology->node_count;
        for (int row = 0; row < view->row_count; row++) {
            const struct node_id *id = &view->rows[row].id;
            if (!is_member_row(&view->rows[row]) || has_node(topology, sorted_count, id)) {
                continue;
            }
            if (topology->node_count == TOPOLOGY_NODES_MAX) {
                return err_set(err, ERR_LIMIT, "the views list more than %d nodes",
                               TOPOLOGY_NODES_MAX);
            }
            ARRAY_RESERVE(topology->nodes, topology->node_count, capacity);
            topology->nodes[topology->node_count++] = (struct topology_node){.id = *id};
        }
        if (topology->node_count > sorted_count) {
            qsort(topology->nodes, (size_t)topology->node_count, sizeof(struct topology_node),
                  compare_nodes);
        }
    }
    return 0;
}

static void map_views(struct build *build)
{
    struct topology *topology = build->topology;
    topology->views = xcalloc((size_t)build->view_count + 1, sizeof(struct topology_view));
    topology->view_count = build->view_count;
    for (int v = 0; v < build->view_count; v++) {
        struct build_view *mapped = &build->views[v];
        const struct nodes_view *view = mapped->view;
        mapped->node_of_row = xcalloc((size_t)view->row_count + 1, sizeof(int16_t));
        mapped->row_of_node = xcalloc((size_t)topology->node_count + 1, sizeof(int16_t));
        for (int node = 0; node < topology->node_count; node++) {
            mapped->row_of_node[node] = NODES_NO_ROW;
        }
        for (int row = 0; row < view->row_count; row++) {
            bool is_handshake = (view->rows[row].flags & NODES_FLAG_HANDSHAKE) != 0;
            int node = is_handshake ? NO_NODE : topology_find(topology, &view->rows[row].id);
            mapped->node_of_row[row] = (int16_t)node;
            if (node != NO_NODE) {
                mapped->row_of_node[node] = (int16_t)row;
            }
        }
        topology->views[v] = (struct topology_view){.digest = mapped->digest,
                                                    .believer = NO_NODE,
                                                    .believer_count = mapped->believer_count};
    }
}

static int find_view(const struct build *build, uint64_t digest)
{
    for (int v = 0; v < build->view_count; v++) {
        if (build->views[v].digest == digest) {
            return v;
        }
    }
    return NO_VIEW;
}

/* The view as it was handed in, of this cluster or not. */
static const struct nodes_view *view_handed_in(const struct build *build, uint64_t digest)
{
    for (int i = 0; i < build->input->view_count; i++) {
        if (build->input->view_digests[i] == digest) {
            return build->input->views[i];
        }
    }
    return NULL;
}

static void node_set_report(struct build *build, int index, const struct topology_seen *seen)
{
    struct topology *topology = build->topology;
    struct topology_node *node = &topology->nodes[index];
    const struct node_report *report = seen->report;
    node->address = report->address;
    node->agent = seen->agent;
    node->role = report->role;
    node->is_reachable = is_live(build, seen);
    node->is_cluster_ok = report->is_cluster_ok;
    node->is_cluster_enabled = report->is_cluster_enabled;
    node->slots_claimed = report->slots_owned;
    node->is_loading = report->is_loading;
    node->is_link_up = report->is_link_up;
    node->is_valkey = report->is_valkey;
    node->evicts = report->evicts;
    node->age_ms = seen->age_ms;
    node->keys = report->keys;
    node->used_memory_bytes = report->used_memory_bytes;
    node->maxmemory_bytes = report->maxmemory_bytes;
    node->system_memory_bytes = report->system_memory_bytes;
    node->ops_per_s = report->ops_per_s;
    node->ping_us = report->ping_us;
    node->repl_offset = report->repl_offset;
    memcpy(node->version, report->version, VERSION_SIZE);
    memcpy(node->run_id, report->run_id, RUN_ID_SIZE);
    node->version[VERSION_SIZE - 1] = '\0';
    node->run_id[RUN_ID_SIZE - 1] = '\0';
    if (!node->is_reachable) {
        return;
    }
    const struct nodes_view *own = view_handed_in(build, report->view_digest);
    int row = NODES_NO_ROW;
    /* A node's count of nodes comes with every report, its view only once it was asked for. */
    node->is_alone = own != NULL ? build_member_rows(own, &row) == 1 : report->known_nodes == 1;
    node->view = find_view(build, report->view_digest);
    if (node->view != NO_VIEW) {
        struct topology_view *view = &topology->views[node->view];
        view->believer = view->believer == NO_NODE ? index : view->believer;
    } else if (own != NULL) {
        node->is_outcast = build_is_outcast(build, own, &report->address);
    } else if (!seen->is_guest && !(node->is_alone && report->slots_owned == 0)) {
        /* Unknown until its view is there. One that knows nobody and owns nothing is no member. */
        node->is_member = true;
        topology->missing_view_of =
            topology->views_missing == 0 ? index : topology->missing_view_of;
        topology->views_missing++;
    }
}

/* The view that decides a node's role: its own, else the one that most nodes hold. */
static int authority_view(const struct build *build, int node)
{
    int own = build->topology->nodes[node].view;
    int best = NO_VIEW;
    if (own != NO_VIEW && build_row(build, own, node) != NULL) {
        return own;
    }
    for (int v = 0; v < build->view_count; v++) {
        bool is_better =
            best == NO_VIEW || build->views[v].believer_count > build->views[best].believer_count;
        if (build_row(build, v, node) != NULL && is_better) {
            best = v;
        }
    }
    return best;
}

static void node_set_place(struct build *build, int index)
{
    struct topology_node *node = &build->topology->nodes[index];
    int authority = authority_view(build, index);
    if (authority == NO_VIEW) {
        return;
    }
    const struct nodes_row *row = build_row(build, authority, index);
    node->is_member = true;
    node->role = (row->flags & NODES_FLAG_PRIMARY) != 0   ? NODE_ROLE_PRIMARY
                 : (row->flags & NODES_FLAG_REPLICA) != 0 ? NODE_ROLE_REPLICA
                                                          : NODE_ROLE_UNKNOWN;
    if (node->role == NODE_ROLE_REPLICA && !node_id_is_empty(&row->primary_id)) {
        node->primary = topology_find(build->topology, &row->primary_id);
    }
    for (int v = 0; v < build->view_count; v++) {
        const struct nodes_row *other = build_row(build, v, index);
        if (other == NULL) {
            continue;
        }
        node->is_failed = node->is_failed || (other->flags & NODES_FLAG_FAIL) != 0;
        node->is_suspected = node->is_suspected || (other->flags & NODES_FLAG_PFAIL) != 0;
        if ((other->flags & NODES_FLAG_PRIMARY) != 0 && other->config_epoch > node->config_epoch) {
            node->config_epoch = other->config_epoch;
        }
        if (node->address.port == 0 && other->host[0] != '\0') {
            nodes_row_address(other, &node->address);
        }
    }
}

static void fill_nodes(struct build *build)
{
    struct topology *topology = build->topology;
    int next = 0;
    for (int i = 0; i < topology->node_count; i++) {
        struct topology_node *node = &topology->nodes[i];
        *node = (struct topology_node){.id = node->id,
                                       .primary = NO_NODE,
                                       .shard = NO_SHARD,
                                       .view = NO_VIEW,
                                       .age_ms = -1,
                                       .slots_claimed = -1,
                                       .keys = -1,
                                       .used_memory_bytes = -1,
                                       .maxmemory_bytes = -1,
                                       .system_memory_bytes = -1,
                                       .ops_per_s = -1,
                                       .ping_us = -1,
                                       .repl_offset = -1};
        if (next < build->input->seen_count &&
            node_id_is_equal(&build->seen[next]->report->id, &node->id)) {
            node_set_report(build, i, build->seen[next]);
            next++;
        }
        node_set_place(build, i);
    }
}

/* False when the node is alive and says itself that the slot is not its own. */
static bool may_claim(const struct build *build, int node, int slot)
{
    int own = build->topology->nodes[node].view;
    return own == NO_VIEW || build_owner(build, own, slot) == node;
}

static bool is_stronger(const struct topology *topology, int a, int b)
{
    uint64_t first = topology->nodes[a].config_epoch;
    uint64_t second = topology->nodes[b].config_epoch;
    return first != second ? first > second : a < b;
}

static int agree_owner(const struct build *build, int slot)
{
    int claimed = NO_NODE;
    int proper = NO_NODE;
    for (int v = 0; v < build->view_count; v++) {
        int node = build_owner(build, v, slot);
        if (node == NO_NODE || node == proper) {
            continue;
        }
        if (claimed == NO_NODE || is_stronger(build->topology, node, claimed)) {
            claimed = node;
        }
        bool is_better = proper == NO_NODE || is_stronger(build->topology, node, proper);
        if (is_better && may_claim(build, node, slot)) {
            proper = node;
        }
    }
    return proper != NO_NODE ? proper : claimed;
}

static void fill_owners(struct build *build)
{
    struct topology *topology = build->topology;
    for (int slot = 0; slot < SLOT_COUNT; slot++) {
        int node = agree_owner(build, slot);
        topology->owner[slot] = (int16_t)node;
        if (node != NO_NODE) {
            topology->nodes[node].slot_count++;
        }
    }
}

static void fill_shards(struct topology *topology)
{
    topology->shards = xcalloc((size_t)topology->node_count + 1, sizeof(struct topology_shard));
    topology->replicas = xcalloc((size_t)topology->node_count + 1, sizeof(int));
    for (int i = 0; i < topology->node_count; i++) {
        struct topology_node *node = &topology->nodes[i];
        if (node->is_member && node->role == NODE_ROLE_PRIMARY) {
            node->shard = topology->shard_count;
            topology->shards[topology->shard_count++] = (struct topology_shard){.primary = i};
        }
    }
    for (int i = 0; i < topology->node_count; i++) {
        struct topology_node *node = &topology->nodes[i];
        bool has_primary =
            node->is_member && node->role == NODE_ROLE_REPLICA && node->primary != NO_NODE;
        node->shard = has_primary ? topology->nodes[node->primary].shard : node->shard;
        if (has_primary && node->shard != NO_SHARD) {
            topology->shards[node->shard].replica_count++;
        }
    }
    int *filled = xcalloc((size_t)topology->shard_count + 1, sizeof(int));
    for (int s = 0; s < topology->shard_count; s++) {
        topology->shards[s].first_replica = topology->replica_count;
        topology->replica_count += topology->shards[s].replica_count;
    }
    for (int i = 0; i < topology->node_count; i++) {
        const struct topology_node *node = &topology->nodes[i];
        if (node->is_member && node->role == NODE_ROLE_REPLICA && node->shard != NO_SHARD) {
            topology
                ->replicas[topology->shards[node->shard].first_replica + filled[node->shard]++] = i;
        }
    }
    free(filled);
}

static int compare_opens(const void *a, const void *b)
{
    const struct topology_open *first = a;
    const struct topology_open *second = b;
    return first->slot != second->slot ? first->slot - second->slot : first->node - second->node;
}

static void fill_opens(struct build *build)
{
    struct topology *topology = build->topology;
    int capacity = 0;
    for (int i = 0; i < build->input->seen_count; i++) {
        const struct node_report *report = build->seen[i]->report;
        int node = topology_find(topology, &report->id);
        if (!is_live(build, build->seen[i]) || !topology->nodes[node].is_member) {
            continue;
        }
        for (int j = 0; j < report->open_slot_count; j++) {
            const struct open_slot *open = &report->open_slots[j];
            if (open->slot >= SLOT_COUNT) {
                continue;
            }
            ARRAY_RESERVE(topology->opens, topology->open_count, capacity);
            topology->opens[topology->open_count++] =
                (struct topology_open){.slot = open->slot,
                                       .node = node,
                                       .is_importing = open->is_importing,
                                       .peer = open->peer,
                                       .peer_node = topology_find(topology, &open->peer)};
        }
    }
    if (topology->open_count > 0) {
        qsort(topology->opens, (size_t)topology->open_count, sizeof(struct topology_open),
              compare_opens);
    }
}

static void fill_links(struct build *build)
{
    struct topology *topology = build->topology;
    for (int i = 0; i < build->input->seen_count; i++) {
        const struct node_report *report = build->seen[i]->report;
        int from = topology_find(topology, &report->id);
        if (!is_live(build, build->seen[i]) || !topology->nodes[from].is_member) {
            continue;
        }
        for (int j = 0; j < report->link_down_count; j++) {
            int to = topology_find(topology, &report->links_down[j]);
            /* A link to a node that is down is no news of its own. */
            if (to == NO_NODE || !topology->nodes[to].is_member ||
                !topology->nodes[to].is_reachable) {
                continue;
            }
            if (topology->links_down_count == 0) {
                topology->link_down_from = from;
                topology->link_down_to = to;
            }
            topology->links_down_count++;
        }
    }
}
