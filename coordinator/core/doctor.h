/* doctor.h — what is wrong with a cluster: every finding with who thinks what, since when, and what
 * to do about it.
 *
 * Pure: a topology and the reports behind it come in, findings go out; the same input gives the
 * same findings in the same order. It changes nothing and proposes no operation of its own: `drover
 * repair` (lifecycle.h) decides by itself what may be mended. Since when something holds is not in
 * any topology, so a small memory of first sightings is kept by the caller. Source: docs/design.md
 * sections 6 and 7. */
#ifndef DROVER_COORDINATOR_CORE_DOCTOR_H
#define DROVER_COORDINATOR_CORE_DOCTOR_H

#include "common/base/slotset.h"
#include "common/model/message.h"
#include "common/model/record.h"
#include "common/model/topology.h"

#include <stdbool.h>
#include <stdint.h>

#define DOCTOR_FINDINGS_MAX 512 /* as many as a person may ever read; more are counted */
#define DOCTOR_NODES_MAX 2      /* named in one finding */
#define DOCTOR_TEXT_SIZE 480
#define DOCTOR_REMEDY_SIZE 240
#define DOCTOR_LAG_BYTES (16L * 1024 * 1024) /* a replica this far behind would lose a lot */
#define DOCTOR_MEMORY_PERCENT_BAD 95.0 /* of maxmemory; over the spec's limit it is a warning */

enum doctor_severity {
    DOCTOR_ERROR = 1, /* keys are out of reach, or may be lost by one more fault */
    DOCTOR_WARNING,   /* should be mended soon; slots cannot be moved, or an outage is likely */
    DOCTOR_NOTE,      /* worth to know; nothing is wrong */
};

/* In the order in which findings are told. Words are API (docs/api.md). */
enum doctor_code {
    DOCTOR_SLOTS_UNCOVERED = 1, /* slots without an owner */
    DOCTOR_SLOTS_UNREACHABLE,   /* slots of a primary that is down */
    DOCTOR_SLOTS_DISPUTED,      /* nodes differ on who owns slots */
    DOCTOR_SLOTS_OPEN,          /* half moved */
    DOCTOR_STALE_MARKS,         /* a replica that has marks of half moved slots */
    DOCTOR_ORPHAN_KEYS,         /* keys at a primary without slots */
    DOCTOR_NODE_FAILED,         /* the cluster agreed that it is down */
    DOCTOR_NODE_UNREACHABLE,    /* no agent reads it */
    DOCTOR_NODE_SUSPECTED,
    DOCTOR_NODE_DOWN, /* its own view says cluster_state:fail */
    DOCTOR_NODE_LOADING,
    DOCTOR_NODE_MISSING,    /* some nodes do not list it */
    DOCTOR_VIEW_UNKNOWN,    /* what some node believes is not known */
    DOCTOR_LINK_DOWN,       /* a bus link between two members */
    DOCTOR_ROLE_DISPUTED,   /* primary or replica, and of whom */
    DOCTOR_EPOCH_COLLISION, /* two primaries with one config_epoch */
    DOCTOR_EPOCH_DISPUTED,
    DOCTOR_ADDRESS_DISPUTED, /* one node under two addresses */
    DOCTOR_ADDRESS_SHARED,   /* two nodes under one address */
    DOCTOR_GHOST,
    DOCTOR_REPLICA_LINK, /* a replica that does not hear its primary */
    DOCTOR_REPLICA_LAG,
    DOCTOR_MEMORY,
    DOCTOR_REPLICAS_FEW, /* a shard with fewer replicas than wanted, or than others */
    DOCTOR_HOST_SHARD,   /* one host holds a primary and all its replicas */
    DOCTOR_HOST_MAJORITY,
    DOCTOR_VERSIONS, /* servers of different versions */
    DOCTOR_SPARE,    /* a node in no cluster */
    DOCTOR_RETURNED, /* a node that was removed and does not know it */
};
#define DOCTOR_CODE_MAX DOCTOR_RETURNED

struct doctor_finding {
    enum doctor_code code;
    enum doctor_severity severity;
    struct node_id nodes[DOCTOR_NODES_MAX]; /* whom it is about, the first foremost */
    int node_count;
    struct slotset slots;            /* empty = not about slots */
    int64_t since_wall_ms;           /* first seen; 0 = not known */
    bool is_repairable;              /* `drover repair` mends it */
    bool is_ours;                    /* an operation of ours is at it: no reason for worry */
    char text[DOCTOR_TEXT_SIZE];     /* one sentence with names and numbers, no dot at the end */
    char remedy[DOCTOR_REMEDY_SIZE]; /* what to do; "" = nothing, it passes */
};

/* Everything is borrowed. */
struct doctor_input {
    const struct topology *topology;
    /* The last report of each node of the topology, by its index; NULL = none. */
    const struct node_report *const *reports;
    const struct spec_record *spec; /* NULL = nothing is wanted */
    /* Slots that the running operation moves, its plan, and its id; NULL and "" = none runs. */
    const struct slotset *moving;
    const struct plan *plan;
    const char *operation_id;
};

/* Zero it before use; release it. */
struct doctor_findings {
    struct doctor_finding *items; /* by severity, then code, then as found; owned */
    int count;
    int capacity;
    int left_out; /* beyond DOCTOR_FINDINGS_MAX */
};

/* First sightings; a zeroed one is empty. Lost with the process: then `since` counts from its
 * start.
 */
struct doctor_sighting {
    enum doctor_code code;
    struct node_id nodes[DOCTOR_NODES_MAX];
    int first_slot; /* -1 = not about slots */
    int64_t since_wall_ms;
    bool is_seen;
};

struct doctor_memory {
    struct doctor_sighting *items; /* owned */
    int count;
    int capacity;
};

/* Replaces what 'out' holds. */
void doctor_examine(const struct doctor_input *input, struct doctor_findings *out);
/* Fills since_wall_ms from earlier sightings and keeps this one's; what is gone is forgotten. */
void doctor_remember(struct doctor_memory *memory,
                     int64_t wall_ms,
                     struct doctor_findings *findings);
void doctor_findings_release(struct doctor_findings *findings);
void doctor_memory_release(struct doctor_memory *memory);
/* True when there is neither an error nor a warning. */
bool doctor_is_healthy(const struct doctor_findings *findings);
const char *doctor_code_word(enum doctor_code code);             /* "slots_open" */
const char *doctor_severity_word(enum doctor_severity severity); /* "error" "warning" "note" */

/* ---- for doctor*.c only ---- */

/* A member that answers and is not given up: repair works with it. */
bool doctor_is_live(const struct topology *topology, int node);

/* A new finding; never NULL. Over the limit it goes to a place that is thrown away. */
struct doctor_finding *doctor_add(struct doctor_findings *out,
                                  enum doctor_code code,
                                  enum doctor_severity severity);
/* Names a node of the topology, if it is not NO_NODE. */
void doctor_name(struct doctor_finding *finding, const struct topology *topology, int node);
/* "nodes differ on who owns slot 5: A says B; C and 2 more say nobody" */
void doctor_format_dispute(const struct topology *topology, int index, struct strbuf *out);
void doctor_examine_slots(const struct doctor_input *input, struct doctor_findings *out);
void doctor_examine_nodes(const struct doctor_input *input, struct doctor_findings *out);
void doctor_examine_gossip(const struct doctor_input *input, struct doctor_findings *out);
void doctor_examine_shards(const struct doctor_input *input, struct doctor_findings *out);

#endif
