/* compat_cluster.h — the cluster as a seed and its friends tell it, and how it is printed.
 *
 * Every node that the seed names is asked for its own view. Source: what redis-cli 7.0.15 prints,
 * observed. */
#ifndef DROVER_CTL_COMPAT_COMPAT_CLUSTER_H
#define DROVER_CTL_COMPAT_COMPAT_CLUSTER_H

#include "common/base/slotset.h"
#include "common/base/strbuf.h"
#include "common/model/nodes_text.h"
#include "ctl/compat/compat_link.h"

struct compat_node {
    struct node_id id;
    struct address address;       /* as the seed knows it; the seed's own as it was typed */
    char text[ADDRESS_TEXT_SIZE]; /* host:port */
    bool is_primary;
    struct node_id primary_id; /* of a replica */
    struct slotset slots;
    int slot_count;
    int replica_count; /* of a primary, among the nodes that answered */
    int64_t keys;      /* -1 = not asked */
    struct nodes_view view;
};

struct compat_cluster {
    struct compat_node *nodes; /* that answered, the seed first; owned */
    int count;
    struct compat_node *missing; /* that the seed knows and that did not answer, or are marked
                                    failed; only id, address, role, slots; owned */
    int missing_count;
};

/* "Redis" or "Valkey", "masters" or "primaries", ... */
struct compat_words {
    const char *product;
    const char *primary;
    const char *primaries;
    const char *replicas;
};
const struct compat_words *compat_words(enum compat_product product);

/* Asks the seed, then all others. What fails is told on stderr as the original does it; the result
 * is 0 unless the seed does not answer or is no cluster node (err->text is the line). */
int compat_cluster_load(struct compat_cluster *cluster,
                        struct compat_link *link,
                        const struct compat_options *options,
                        const struct address *seed,
                        struct err *err) WARN_UNUSED;
/* The seed alone, as it sees itself. */
int compat_cluster_load_one(struct compat_cluster *cluster,
                            struct compat_link *link,
                            const struct compat_options *options,
                            const struct address *seed,
                            struct err *err) WARN_UNUSED;
void compat_cluster_release(struct compat_cluster *cluster);

/* Index of a node, by its id in any case of letters, or -1. */
int compat_cluster_find(const struct compat_cluster *cluster, const char *id);
/* The same by the start of an id, the first that fits: how weights name nodes. */
int compat_cluster_find_start(const struct compat_cluster *cluster, const char *start);

/* "M: id host:port" and the lines under it, each after 'indent' spaces. */
void compat_node_format(const struct compat_node *node, int indent, struct strbuf *out);
/* "[0-99],[200]" */
void compat_slots_format(const struct slotset *slots, struct strbuf *out);

/* One sentence for each way the nodes differ from a sound cluster. */
struct compat_verdict {
    bool views_differ;
    bool has_open;
    bool has_uncovered;
    bool has_many_owners;
};

/* Prints the list of `info`: keys, slots, replicas. Asks every primary for its keys. */
int compat_info_print(struct compat_cluster *cluster,
                      struct compat_link *link,
                      const struct compat_options *options);

/* Whether all nodes name the same owners of all slots. */
bool compat_views_agree(const struct compat_cluster *cluster);

/* Prints the check as the original does it; 'has_nodes': with the list of nodes. 'searches_owners'
 * adds the search for slots that several nodes claim. */
void compat_check_print(const struct compat_cluster *cluster,
                        bool has_nodes,
                        bool searches_owners,
                        struct compat_verdict *out);
bool compat_verdict_is_good(const struct compat_verdict *verdict);

/* Slots that no node that answered says it owns. */
void compat_uncovered(const struct compat_cluster *cluster, struct slotset *out);

#endif
