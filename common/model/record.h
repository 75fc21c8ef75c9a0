/* record.h — what drover keeps in the store: operations, plans, batches, agents, the spec, the
 * leader.
 *
 * Plain structs; common/wire turns them into protobuf bytes and back. Keys (relative to the store's
 * prefix): leader                      struct leader_record, with the leader's lease; its create
 * revision is the fence spec                        struct spec_record agents/<agent id> struct
 * agent_record operations/<id>             struct operation plans/<operation id>        struct plan
 * without its batches batches/<operation id>/<index, 5 digits>   struct batch The journal is only
 * intent; what the nodes say is the truth. Every record stays under STORE_VALUE_SIZE_MAX. */
#ifndef DROVER_MODEL_RECORD_H
#define DROVER_MODEL_RECORD_H

#include "common/base/slotset.h"
#include "common/model/ids.h"
#include "common/model/task.h"

#include <stdbool.h>
#include <stdint.h>

#define OPERATION_ID_SIZE 32 /* "op-318-4": fence and a counter, never a clock */
#define BATCH_SLOTS_MAX \
    2048 /* a batch is what one order carries; more would make renewals coarse */
#define PLAN_BATCHES_MAX 16384
#define PLAN_SLOTS_MAX (64 * SLOT_COUNT) /* moved by one operation, each move counted */
#define SPEC_SEEDS_MAX 8                 /* that many members are not all gone at once */
#define PLAN_BIG_KEYS_MAX 64             /* as many as people read */

/* The first three have their whole plan from the start. The plan of the others grows: whenever all
 * its batches are done, the next ones follow from what the nodes show then (docs/lifecycle.md). */
enum operation_kind {
    OPERATION_REBALANCE = 1,
    OPERATION_RESHARD = 2,
    OPERATION_DRAIN = 3,
    OPERATION_CREATE = 4, /* addresses become a cluster, each primary with replicas_wanted */
    OPERATION_ADD = 5,    /* addresses join; then they get slots, or become replicas */
    OPERATION_REMOVE = 6, /* node is drained, its replicas re-homed, forgotten, stopped, released */
    OPERATION_SCALE = 7,  /* primaries_wanted and replicas_wanted are reached */
    OPERATION_REPLICATE = 8, /* node becomes a replica of target */
    OPERATION_FAILOVER = 9,  /* node takes over from its primary */
    OPERATION_REPAIR = 10,   /* everything that `doctor` finds and rules allow to mend */
};
#define OPERATION_KIND_MAX OPERATION_REPAIR

/* operation_request.flags */
#define REQUEST_AS_REPLICA (1u << 0)    /* ADD: of target, or of whom lacks one most */
#define REQUEST_WITHOUT_SLOTS (1u << 1) /* ADD: joins, gets no slots */
#define REQUEST_DEAD (1u << 2)          /* REMOVE: the node does not answer and never will */
#define REQUEST_FORCE \
    (1u << 3) /* FAILOVER without the primary's consent; CREATE of < 3 primaries */
#define REQUEST_REPLACE (1u << 4) /* moves, REPAIR: a key on both sides: the owner's copy wins */
#define REQUEST_KEEP_RUNNING (1u << 5) /* REMOVE: neither stopped nor released */
#define REQUEST_UNREACHABLE_OK \
    (1u << 6) /* REPAIR: cover the slots of primaries that do not answer; their keys are lost */
#define REQUEST_MEET_ONLY (1u << 7) /* REPAIR: introduces members to each other, nothing else */
#define REQUEST_FLAGS_ALL ((1u << 8) - 1)
#define REQUEST_ADDRESSES_MAX 1000
#define REQUEST_HOSTS_BYTES_MAX                                      \
    (40UL * 1024) /* of the addresses' hosts together: fits a record \
                   */

/* How hard a move may press on the nodes; facts: soft p99 2.5 ms, balanced 4.3 ms, fast 11 ms on 2
 * cores. */
enum move_speed { MOVE_SPEED_BALANCED = 0, MOVE_SPEED_SOFT = 1, MOVE_SPEED_FAST = 2 };

enum operation_state {
    OPERATION_PLANNED = 1, /* has a plan; waits for approval (or was a dry run kept for `apply`) */
    OPERATION_RUNNING = 2,
    OPERATION_PAUSING = 3, /* no new batch; agents finish the slots in hand */
    OPERATION_PAUSED = 4,
    OPERATION_CANCELLING = 5, /* as pausing, then CANCELLED */
    OPERATION_DONE = 6,       /* verified in every view */
    OPERATION_CANCELLED = 7,  /* nothing left open */
    OPERATION_FAILED =
        8, /* gave up with a reason; no slot lost, none left open unless the reason says so */
    OPERATION_HELD = 9, /* a person must decide; the reason says what */
};

enum batch_state {
    BATCH_WAITING = 1, /* not given to anybody, or taken back after its order expired */
    BATCH_ORDERED = 2, /* given to an agent; the order may still be valid */
    BATCH_DONE = 3,
    BATCH_FAILED = 4,  /* will be tried again until the attempts are used up */
    BATCH_HELD = 5,    /* needs a person */
    BATCH_STOPPED = 6, /* pause or cancel: slots in hand finished, the rest not begun */
};

/* Keys that one report of an agent names; biggest first. */
#define BIG_KEYS_REPORTED_MAX 32
#define KEY_TEXT_SIZE 128 /* of a key as people see it: escaped and cut */

struct big_key {
    char key[KEY_TEXT_SIZE];
    uint16_t slot;
    int64_t bytes;
};

struct node_weight {
    struct node_id node;
    double weight; /* >= 0; 0 = wants no slots */
};

/* What was asked for. Arrays are owned. */
struct operation_request {
    enum operation_kind kind;
    struct node_weight *weights; /* REBALANCE: nodes not named weigh 1 */
    int weight_count;
    double threshold_percent; /* REBALANCE: 0..100; nothing moves while every share is this close */
    struct node_id *sources;  /* RESHARD: empty = all other primaries */
    int source_count;
    struct node_id target;     /* RESHARD */
    int slot_count;            /* RESHARD: 1..16384 */
    struct slotset slots;      /* RESHARD: these very slots, slot_count of them; empty = any */
    struct node_id node;       /* DRAIN, REMOVE, REPLICATE, FAILOVER */
    struct address *addresses; /* CREATE, ADD: in the order given; owned */
    int address_count;
    int primaries_wanted; /* SCALE; 0 = as they are */
    int replicas_wanted;  /* CREATE, SCALE: of each primary; -1 = as they are */
    uint32_t flags;       /* REQUEST_* */
    enum move_speed speed;
    int parallel_moves_max; /* batches at the same time; 0 = the configured limit */
    bool needs_approval;    /* stop at PLANNED until `op approve` */
    char requested_by[64];  /* who, for the record */
};

struct operation {
    char id[OPERATION_ID_SIZE];
    struct operation_request request;
    enum operation_state state;
    int reason_code;         /* 0 or ERR_*: why it ended or is held */
    char reason[TEXT_SIZE];  /* the sentence that goes with it */
    int64_t created_wall_ms; /* unix time, for people only */
    int64_t started_wall_ms; /* 0 = not yet */
    int64_t ended_wall_ms;   /* 0 = not yet */
    /* Sums over the batches, kept for ended operations whose batches are gone. */
    int slots_total;
    int slots_moved;
    uint64_t keys_moved;
    uint64_t bytes_moved;
    int64_t mod_revision; /* of the stored record; not stored itself */
};

enum batch_kind {
    BATCH_MOVE = 0, /* slots from source to target */
    BATCH_TASK = 1, /* a task; source is its node and target its peer, "" where it has none */
};

struct batch {
    int index; /* 0.. in plan order */
    enum batch_kind kind;
    struct task *task; /* TASK; owned */
    struct node_id source;
    struct node_id target;
    /* MOVE: of the source's process when the batch was first ordered; "" = not known, or the slots
     * have not been the source's without a break since. */
    char source_run_id[RUN_ID_SIZE];
    struct slotset slots;
    uint64_t keys_estimate;
    uint64_t bytes_estimate; /* of key and value memory, as the nodes count it */
    enum batch_state state;
    int attempt;           /* 0 = never ordered; order id is (operation, index, attempt) */
    struct agent_id agent; /* whom it was given to last */
    struct slotset slots_done;
    uint64_t keys_moved;
    uint64_t bytes_moved;
    int reason_code;
    char reason[TEXT_SIZE];
    struct address made;  /* TASK PROVISION, done: where the new server is; port 0 = none */
    int64_t mod_revision; /* of the stored record; not stored itself */
};

struct plan {
    char operation_id[OPERATION_ID_SIZE];
    uint64_t topology_digest; /* the topology it was made from; another one refuses it */
    struct batch *batches;    /* owned */
    int batch_count;
    int settled_count; /* a plan that grows: the first so many batches ended and were verified in an
                          earlier round; they bind nothing any more */
    int slot_count;    /* moved in all; a plan that grows may move a slot more than once */
    uint64_t keys_estimate;
    uint64_t bytes_estimate;
    int64_t duration_estimate_ms;
    bool is_scanned; /* keys and bytes were counted on the nodes, not estimated */
    struct big_key
        *big_keys; /* found by the scan, biggest first, at most PLAN_BIG_KEYS_MAX; owned */
    int big_key_count;
};

struct leader_record {
    char name[64];                /* of the coordinator, as configured */
    char instance[33];            /* random hex, new at each start */
    char bus_url[HOST_SIZE + 32]; /* where agents find it */
    char api_url[HOST_SIZE + 32];
};

struct agent_record {
    struct agent_id id;
    uint64_t incarnation; /* random, new at each start of the agent */
    int64_t fence_acked;  /* highest fence it confirmed on disk */
};

struct spec_record {
    char cluster_name[64];
    int primaries_wanted;        /* 0 = as they are */
    int replicas_per_shard;      /* -1 = as they are */
    double memory_limit_percent; /* of maxmemory that a move may fill a target to; default 80 */
    /* Members of a cluster that was adopted at run time: where to find it after a restart. */
    struct address seeds[SPEC_SEEDS_MAX];
    int seed_count;
};

enum record_kind {
    RECORD_LEADER = 1,
    RECORD_SPEC = 2,
    RECORD_AGENT = 3,
    RECORD_OPERATION = 4,
    RECORD_PLAN = 5, /* without batches */
    RECORD_BATCH = 6,
};

struct record {
    enum record_kind kind;
    union {
        struct leader_record leader;
        struct spec_record spec;
        struct agent_record agent;
        struct operation operation;
        struct plan plan;
        struct batch batch;
    } as;
};

void operation_request_release(struct operation_request *request);
void operation_request_copy(struct operation_request *to, const struct operation_request *from);
void operation_release(struct operation *operation);
void batch_release(struct batch *batch);
/* A deep copy; release it. */
void batch_copy(struct batch *to, const struct batch *from);
/* Likewise, with its batches and big keys. */
void plan_copy(struct plan *to, const struct plan *from);
void plan_release(struct plan *plan);
void record_release(struct record *record);
const char *operation_kind_name(enum operation_kind kind);    /* "rebalance" */
const char *operation_state_name(enum operation_state state); /* "running" */
bool operation_state_is_final(enum operation_state state);    /* DONE, CANCELLED, FAILED */
const char *batch_state_name(enum batch_state state);
const char *move_speed_name(enum move_speed speed); /* "balanced" "soft" "fast" */

#endif
