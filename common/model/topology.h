/* topology.h — what is: the reports of all agents and the views of all nodes, merged into one
 * picture.
 *
 * A node tells only its own open slots and believes what gossip brought it, so no single node is
 * asked for the truth: every node's view counts, claims are weighed as Redis weighs them
 * (config_epoch), and what does not fit is listed with who says what. Pure; knows no agent sessions
 * and no plans. Nodes are always in order of id, so that everything made from a topology is
 * deterministic. Source: docs/design.md sections 1 and 6; Redis cluster specification, "Hash slots
 * configuration propagation". */
#ifndef DROVER_MODEL_TOPOLOGY_H
#define DROVER_MODEL_TOPOLOGY_H

#include "common/base/err.h"
#include "common/base/slotset.h"
#include "common/base/strbuf.h"
#include "common/model/ids.h"
#include "common/model/message.h"
#include "common/model/nodes_text.h"

#include <stdbool.h>
#include <stdint.h>

#define TOPOLOGY_NODES_MAX 4096 /* as NODES_ROWS_MAX */
#define TOPOLOGY_VIEWS_MAX \
    1024 /* distinct views that are compared; one when the cluster is at rest */
#define TOPOLOGY_DISAGREEMENTS_MAX 128 /* told one by one; more are only counted */
#define TOPOLOGY_OPINIONS_MAX 8        /* different beliefs told about one thing */
#define TOPOLOGY_GHOSTS_MAX 128
#define NO_NODE (-1)
#define NO_SHARD (-1)
#define NO_VIEW (-1)

/* One observed node: the last report of it. When several agents report one id, hand in the youngest
 * only. */
struct topology_seen {
    const struct node_report *report; /* its id may not be empty */
    struct agent_id agent;            /* who serves it */
    int64_t age_ms; /* now - when the report was made: report->age_ms plus the way and the wait */
    bool is_guest;  /* looked at because somebody named its address: it belongs to the cluster only
                       once a member lists it */
};

/* Everything is borrowed for the length of topology_build(). */
struct topology_input {
    const struct topology_seen *seen; /* any order */
    int seen_count;
    /* Parsed views, any order, one for each digest that reports name; a missing one is a reason to
     * be unsettled. */
    const struct nodes_view *const *views;
    const uint64_t *view_digests; /* parallel to views */
    int view_count;
    int64_t age_ms_max; /* older reports count as unreachable */
};

struct topology_node {
    /* who */
    struct node_id id;
    struct address
        address; /* as the agent reaches it; else as other nodes know it; port 0 = unknown */
    struct agent_id agent; /* "" = no agent reports it */
    /* place in the cluster */
    bool is_member;  /* false: an agent sees it, but no live member lists it: a spare, removed, or
                        of another cluster, of which nothing else is taken over here */
    bool is_alone;   /* it knows nobody but itself */
    bool is_outcast; /* no member, but it lists members as if it were one, without a slot of its
                        own: it was removed and is on again with the files that it had before */
    int32_t slots_claimed; /* that it says are its own, member or not; -1 = not known */
    enum node_role role;
    int primary;           /* replica: node index of its primary or NO_NODE; primary: NO_NODE */
    int shard;             /* index into shards or NO_SHARD */
    uint64_t config_epoch; /* the highest that any live view knows */
    int slot_count;        /* by the merged owner map; 0 for replicas */
    /* health */
    bool is_reachable; /* an agent read it within age_ms_max */
    bool is_failed;    /* some live view has it as FAIL: the cluster agreed */
    bool is_suspected; /* some live view has it as PFAIL */
    bool is_cluster_ok;
    bool is_loading;
    bool is_link_up; /* replica */
    bool is_valkey;
    bool evicts; /* evicts keys when full instead of refusing writes */
    bool is_cluster_enabled;
    int view; /* index into views of what this node believes; NO_VIEW when unknown or not a member
               */
    int64_t age_ms; /* of the report; -1 = never reported */
    /* facts; -1 = unknown */
    int64_t keys;
    int64_t used_memory_bytes;
    int64_t maxmemory_bytes; /* 0 = no limit */
    int64_t system_memory_bytes;
    int64_t ops_per_s;
    int64_t ping_us;
    int64_t repl_offset;
    char version[VERSION_SIZE];
    char run_id[RUN_ID_SIZE];
};

/* A primary and its replicas. */
struct topology_shard {
    int primary;       /* node index */
    int first_replica; /* index into replicas */
    int replica_count;
};

struct topology_open {
    uint16_t slot;
    int node; /* whose state it is */
    bool is_importing;
    struct node_id peer;
    int peer_node; /* NO_NODE when the peer is no member */
};

enum topology_ghost_kind {
    GHOST_HANDSHAKE = 1, /* a meeting that has not ended; the id is made up */
    GHOST_NOADDR,        /* a member that lost its address, usually replaced by another id */
    GHOST_UNKNOWN,       /* listed only by nodes that are themselves out of reach */
};

struct topology_ghost {
    struct node_id id;
    struct address address;
    enum topology_ghost_kind kind;
    int seen_by_count; /* nodes that list it */
    int seen_by;       /* one of them: node index, or NO_NODE */
};

enum topology_disagreement_kind {
    DISAGREE_OWNER = 1,  /* who owns slots first..last */
    DISAGREE_MEMBERSHIP, /* whether a node is in the cluster */
    DISAGREE_ROLE,       /* whether a node is a primary, or of whom it is a replica */
    DISAGREE_EPOCH,      /* a primary's config_epoch */
    DISAGREE_ADDRESS,    /* where a node listens: told, but does not make the topology unsettled */
};

/* What a group of nodes believes. Of OWNER: node = owner or NO_NODE. MEMBERSHIP: value 1 listed, 0
 * not. ROLE: node = its primary, NO_NODE with value 1 = is a primary, value 0 = a replica without
 * primary. EPOCH: value. */
struct topology_opinion {
    int node;
    uint64_t value;
    int believer;       /* one node that thinks so */
    int believer_count; /* how many do */
    char text[64];      /* ADDRESS: as written there, cut; else "" */
};

struct topology_disagreement {
    enum topology_disagreement_kind kind;
    int subject;    /* node index; OWNER: NO_NODE */
    uint16_t first; /* OWNER: slots first..last on which the very same opinions are held */
    uint16_t last;
    int opinion_count;
    struct topology_opinion opinions[TOPOLOGY_OPINIONS_MAX];
};

/* Two primaries with the same config_epoch: Redis solves it by itself; nothing may be moved until
 * then. */
struct topology_collision {
    int a; /* node indices, a < b */
    int b;
    uint64_t config_epoch;
};

struct topology_view {
    uint64_t digest;
    int believer;       /* one of them: node index */
    int believer_count; /* reachable nodes that hold it */
};

struct topology {
    struct topology_node *nodes; /* by id; owned, like all arrays here */
    int node_count;
    struct topology_shard *shards; /* in order of the primary's id */
    int shard_count;
    int *replicas; /* node indices, grouped by shard, by id */
    int replica_count;
    int16_t owner[SLOT_COUNT];   /* node index of a primary, or NO_NODE; by agreement */
    struct topology_open *opens; /* by slot, then node */
    int open_count;
    struct topology_ghost *ghosts; /* by id */
    int ghost_count;
    struct topology_disagreement *disagreements;
    int disagreement_count;
    int disagreements_left_out; /* beyond TOPOLOGY_DISAGREEMENTS_MAX */
    struct topology_collision *collisions;
    int collision_count;
    struct topology_view *views; /* what live members believe, by digest */
    int view_count;
    int views_missing;    /* reachable nodes whose view was not handed in */
    int missing_view_of;  /* one of them, or NO_NODE */
    int links_down_count; /* bus links between members that one end reports as down */
    int link_down_from;   /* one of them: node indices, or NO_NODE */
    int link_down_to;
};

/* A topology without nodes. A zeroed struct may be released but not read. */
void topology_init(struct topology *topology);
void topology_release(struct topology *topology);

/* Builds 'topology' (initialised or built before; its old content is freed). Takes about 1 KiB a
 * node, 16,384 slots in 32 KiB. ERR_LIMIT over the limits above, ERR_INVALID when one id is handed
 * in twice; on failure it is unchanged. */
int topology_build(struct topology *topology,
                   const struct topology_input *input,
                   struct err *err) WARN_UNUSED;

/* What a plan is bound to: ids, roles, primaries, slot owners and open slots; neither config_epochs
 * nor health nor addresses. Never 0. */
uint64_t topology_digest(const struct topology *topology);
/* The same with another owner map, e.g. the one that a plan leads to. */
uint64_t topology_digest_with_owners(const struct topology *topology,
                                     const int16_t owner[SLOT_COUNT]);

/* True when slots may be moved: every slot has one owner in every view, no open slot, no collision,
 * no handshake, no member with slots out of reach, every view known and the cluster ok. Else 'why'
 * (may be NULL) gets one sentence appended, with names. A failed node without slots does not
 * matter. */
bool topology_is_settled(const struct topology *topology, struct strbuf *why);
/* True when it is not settled, and the first reason is one that usually passes by itself within
 * seconds: views that are not known yet or disagree, a handshake, a link, an epoch collision, a
 * node that says the cluster is not ok though nobody is down. */
bool topology_will_settle(const struct topology *topology);

/* Index of a node, or NO_NODE. */
int topology_find(const struct topology *topology, const struct node_id *id);

/* The node a person means: full id, unique start of an id (4 characters or more), host:port.
 * Returns its index or ERR_NOT_FOUND with near matches in the hint, ERR_INVALID for an ambiguous or
 * too short start. */
int topology_find_node(const struct topology *topology,
                       const char *text,
                       struct err *err) WARN_UNUSED;

/* How people read a node: "10.0.0.1:6379 (3f2a91c0)"; "unknown node" for NO_NODE. Returns text. */
#define TOPOLOGY_NAME_SIZE (ADDRESS_TEXT_SIZE + 16)
const char *topology_node_name(const struct topology *topology,
                               int node,
                               char text[TOPOLOGY_NAME_SIZE]);

/* The slots that a node owns. */
void topology_node_slots(const struct topology *topology, int node, struct slotset *slots);

/* One sentence without a dot at the end, appended to 'out'. */
void topology_format_disagreement(const struct topology *topology, int index, struct strbuf *out);
void topology_format_open(const struct topology *topology, int index, struct strbuf *out);

#endif
