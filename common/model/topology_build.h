/* topology_build.h — what the files of the merge share; nobody else includes this.
 *
 * topology_separate.c picks the views of one cluster, topology_build.c makes the nodes and the
 * owner map, topology_compare.c finds what does not fit.
 */
#ifndef DROVER_MODEL_TOPOLOGY_BUILD_H
#define DROVER_MODEL_TOPOLOGY_BUILD_H

#include "common/model/topology.h"

/* A live view: one that at least one reachable member holds. Parallel to topology.views. */
struct build_view {
    uint64_t digest;
    const struct nodes_view *view;
    int believer_count;
    int16_t *node_of_row; /* [view->row_count] node index or NO_NODE (handshake, ghost) */
    int16_t *row_of_node; /* [node_count] row or NODES_NO_ROW */
};

struct build {
    const struct topology_input *input;
    struct topology *topology;         /* being made */
    const struct topology_seen **seen; /* by id */
    struct build_view *views;          /* by digest */
    int view_count;
    uint64_t *foreign; /* digests of live views that are of no or another cluster */
    int foreign_count;
};

/* The row of a node in a live view, or NULL when it is not listed there. */
const struct nodes_row *build_row(const struct build *build, int view, int node);
/* How many members a view lists, itself included; one of their rows in 'row'. */
int build_member_rows(const struct nodes_view *view, int *row);
/* Sets apart what does not belong together: drops the live views that are of no or another cluster.
 */
void build_separate(struct build *build);
/* True when a node that sees the world like this was set apart although it lists nodes of the
 * cluster, and nobody is about to meet it at this address. */
bool build_is_outcast(const struct build *build,
                      const struct nodes_view *own,
                      const struct address *address);
/* Who owns the slot in a live view: node index or NO_NODE. */
int build_owner(const struct build *build, int view, int slot);
/* Fills disagreements, collisions and ghosts. */
void build_compare(struct build *build);

#endif
