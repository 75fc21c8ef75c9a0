/* observe.h — from what agents report to one topology.
 *
 * Keeps the views (CLUSTER NODES texts, parsed) that live reports name by digest, asks one agent
 * for each that it lacks, picks the best report of each node and builds the topology of
 * common/model. Also hands nodes that no agent reports to an agent that can. Remembers which node
 * took over from which. Knows no operations. Source: docs/design.md 4 and 6. */
#ifndef DROVER_COORDINATOR_CORE_OBSERVE_H
#define DROVER_COORDINATOR_CORE_OBSERVE_H

#include "common/model/topology.h"
#include "coordinator/core/coordinator.h"

#define VIEWS_KEPT_MAX \
    64 /* parsed views; 220 KiB each at 1,000 nodes, so 14 MiB at the very most */
#define VIEWS_WANTED_MAX 8 /* texts asked for at a time */
#define VIEW_ASK_AGAIN_MS 5000
/* Between two builds while an operation runs: what waits for news, a failover or the end of the
 * operation, waits for this. A build costs more the more nodes there are, so few nodes are looked
 * at sooner. */
#define TOPOLOGY_INTERVAL_MS 250
#define TOPOLOGY_NODE_MS 5 /* of that, a node */
#define TOPOLOGY_IDLE_INTERVAL_MS 1000
#define UNSERVED_MS 6000 /* a node that no agent reports for so long is given to one */
#define SUCCESSIONS_MAX 256
#define WISHES_MAX 1024 /* addresses that dry runs named lately */
#define WISH_MS 60000   /* after a dry run its addresses are looked at for so long */
#define SMALL_VIEW_ROWS                                                          \
    8 /* views of so few nodes are kept beyond VIEWS_KEPT_MAX: many lone servers \
         may become one cluster */

struct kept_view {
    uint64_t digest;
    struct nodes_view *view; /* owned */
    bool is_used;            /* by a report of the last build */
};

struct wanted_view {
    uint64_t digest;
    struct agent_id agent; /* who is asked */
    int64_t asked_ms;      /* NEVER = not yet told */
};

/* 'from' was a primary; 'to' was its replica and has its slots now. */
struct succession {
    struct node_id from;
    struct node_id to;
};

/* The last view of a node whose text we had. While the text of its present view is on its way, this
 * one stands in. */
struct last_view {
    struct node_id node;
    uint64_t digest;
};

/* A replica as last seen. */
struct lineage {
    struct node_id node;
    struct node_id primary;
};

/* An address that somebody named: its node is wanted in the reports though no member lists it. */
struct wish {
    struct address address;
    int64_t until_ms;
};

struct observe {
    struct topology topology;
    uint64_t digest; /* of the topology */
    bool is_settled;
    struct strbuf unsettled; /* why it is not; "" when settled */
    bool is_dirty;           /* a report came since the last build */
    int64_t built_ms;        /* NEVER = not in this term */
    uint64_t builds;         /* in this term */
    struct kept_view *views; /* by digest; owned */
    int view_count;
    struct last_view *last_views; /* by node; owned */
    int last_view_count;
    int views_stale; /* nodes of the topology for which an older view stands in: nothing new may be
                        planned on it */
    struct wanted_view wanted[VIEWS_WANTED_MAX];
    int wanted_count;
    struct succession *successions; /* oldest first; owned */
    int succession_count;
    struct lineage *lineages; /* by node; owned */
    int lineage_count;
    int64_t unserved_since_ms; /* NEVER = every node is served */
    struct wish *wishes;       /* of dry runs; owned */
    int wish_count;
};

void observe_init(struct observe *observe);
void observe_release(struct observe *observe);
/* A new term: forgets everything. */
void observe_reset(struct observe *observe);

/* Takes over the views of a report. */
void observe_views(struct coordinator *c, const struct report *report);
/* Builds the topology if it is due, or now when 'is_now'. */
void observe_tick(struct coordinator *c, bool is_now);
int64_t observe_deadline(const struct coordinator *c);

/* Has the addresses' nodes looked at for a while. Those of the active operation are looked at
 * without asking. */
void observe_wish(struct coordinator *c, const struct address *addresses, int count);
/* observe_assign.c: hands nodes that no agent reports to an agent that can. After each build. */
void observe_assign(struct coordinator *c);
struct agent_entry;
bool agent_is_assigned(const struct agent_entry *agent, const struct address *address);
/* True when the node at this address is looked at because somebody named it. */
bool observe_is_wished(const struct coordinator *c, const struct address *address);

/* Who took the slots of 'id', as far as known; NULL = nobody. Follows chains. */
const struct node_id *observe_successor(const struct observe *observe, const struct node_id *id);
/* True when a report of the node was read at or after 'since_ms'. */
bool observe_is_fresh(const struct coordinator *c, int node, int64_t since_ms);

#endif
