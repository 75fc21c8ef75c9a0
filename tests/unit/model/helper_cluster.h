/* helper_cluster.h — made-up clusters for the tests of common/model: CLUSTER NODES texts, views and
 * reports. */
#ifndef DROVER_TESTS_UNIT_MODEL_HELPER_CLUSTER_H
#define DROVER_TESTS_UNIT_MODEL_HELPER_CLUSTER_H

#include "common/base/strbuf.h"
#include "common/model/nodes_text.h"
#include "common/model/topology.h"

#define FAKE_NODES_MAX 16

/* One row as it stands in a node's text. */
struct fake_row {
    const char
        *flags;  /* "master"; "myself," is put before it where it belongs; NULL = not listed */
    int primary; /* index or -1 */
    int config_epoch;
    const char *slots; /* "0-99 200", may hold open slots; "" */
};

/* What one node believes: a row for each node of the cluster. */
struct fake_view {
    struct fake_row rows[FAKE_NODES_MAX];
};

/* A cluster in which every node may believe something else and be seen or not. */
struct fake_cluster {
    int count;
    struct fake_view views[FAKE_NODES_MAX];
    struct node_report reports[FAKE_NODES_MAX];
    bool is_unreported[FAKE_NODES_MAX];
    bool is_guest[FAKE_NODES_MAX]; /* looked at because somebody named it */
    /* filled by fake_build() */
    struct nodes_view parsed[FAKE_NODES_MAX];
    struct topology topology;
};

struct node_id fake_id(int index);
/* Node 'index' lives at 10.0.0.<index + 1>:6379. */
void fake_text(const struct fake_view *view, int count, int myself, struct strbuf *out);
/* 'primaries' primaries with even slots and config_epochs 1.., each with one replica if asked; all
 * agree. */
void fake_init(struct fake_cluster *cluster, int primaries, bool has_replicas);
/* Changes what every node believes of one node. */
void fake_set_all(struct fake_cluster *cluster, int index, struct fake_row row);
/* Parses all views, fills digests and open slots into the reports, and merges. */
void fake_build(struct fake_cluster *cluster);
void fake_release(struct fake_cluster *cluster);
/* Asserts that the topology is not settled and that the sentence contains 'part'. */
void fake_assert_unsettled(const struct fake_cluster *cluster, const char *part);
/* A whole file of samples/; free() it. */
char *sample_read(const char *name, size_t *len);

#endif
