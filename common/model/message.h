/* message.h — what agents and coordinators say to each other, as plain data.
 *
 * Agents ask (hello, report), coordinators answer (welcome, instructions, refusal): agents dial, so
 * hosts need no inbound port. A report may be held by the coordinator up to wait_ms and answered as
 * soon as there is something to do (long poll). Progress and results travel as reports with wait_ms
 * 0 beside the held one. common/wire turns these structs into protobuf and back; cores and the
 * simulator use them as they are. Source: docs/design.md section 5. */
#ifndef DROVER_MODEL_MESSAGE_H
#define DROVER_MODEL_MESSAGE_H

#include "common/base/slotset.h"
#include "common/model/ids.h"
#include "common/model/record.h"

#define PROTO_VERSION 1     /* grows when an old peer could misread us */
#define PROTO_VERSION_MIN 1 /* the oldest peer we work with */
#define REPORT_NODES_MAX 1024
#define OPEN_SLOTS_REPORTED_MAX 16384
#define VIEW_TEXT_SIZE_MAX (4UL * 1024 * 1024) /* CLUSTER NODES of 1,000 nodes is about 200 KiB */
#define MESSAGE_SIZE_MAX (16UL * 1024 * 1024)

/* A slot that a node itself says is half moved. */
struct open_slot {
    uint16_t slot;
    bool is_importing;   /* else migrating */
    struct node_id peer; /* from whom, or to whom */
};

enum node_role { NODE_ROLE_UNKNOWN = 0, NODE_ROLE_PRIMARY = 1, NODE_ROLE_REPLICA = 2 };

/* One node as its agent saw it. Absent numbers are -1. */
struct node_report {
    struct address address; /* as the agent reaches it */
    struct node_id id;      /* "" while never reached */
    bool is_reachable;
    int reason_code; /* ERR_* when not reachable or not usable */
    char reason[TEXT_SIZE];
    int64_t age_ms; /* since these facts were read */
    char run_id[RUN_ID_SIZE];
    char version[VERSION_SIZE];
    bool is_valkey;
    enum node_role role;
    bool is_loading;
    bool is_cluster_enabled;
    bool is_cluster_ok;  /* cluster_state:ok in its own view */
    bool is_link_up;     /* replica: master_link_status up */
    int64_t repl_offset; /* own: produced (primary) or processed (replica) */
    int64_t used_memory_bytes;
    int64_t maxmemory_bytes; /* 0 = no limit */
    bool evicts;             /* maxmemory_policy other than noeviction */
    int64_t system_memory_bytes;
    int64_t keys;
    int64_t ops_per_s;
    int64_t clients;
    int64_t ping_us; /* round trip of a PING: how late the event loop is */
    int64_t known_nodes;
    int64_t config_epoch;
    int64_t current_epoch;
    int32_t slots_owned;
    uint64_t view_digest;         /* canonical hash of its CLUSTER NODES; 0 = none */
    struct open_slot *open_slots; /* owned */
    int open_slot_count;
    struct node_id *links_down; /* nodes its bus link to which is down; owned */
    int link_down_count;
};

/* A whole CLUSTER NODES text, sent only when asked for or when its digest is new to the
 * coordinator. */
struct view_text {
    uint64_t digest;
    struct node_id node; /* whose view it is */
    char *text;          /* owned */
    size_t len;
};

enum order_kind {
    ORDER_MOVE = 1, /* move the slots */
    ORDER_SCAN = 2, /* count keys and bytes of the slots and find big keys; changes nothing */
    ORDER_TASK = 3, /* a step of a node's life; source and slots are not used */
};

struct order_id {
    char operation_id[OPERATION_ID_SIZE];
    int batch_index;
    int attempt;
};

/* What the coordinator wants done. Safe to receive twice: the same id is the same order. */
struct order {
    struct order_id id;
    int64_t fence;
    int64_t valid_for_ms; /* counted by the agent from when it SENT the report that this answers */
    enum order_kind kind;
    struct node_id source;
    struct node_id target; /* MOVE */
    struct address source_address;
    struct address target_address;
    /* When the batch was first ordered; "" = not known, or not the owner without a break since.
     * Told, not acted upon: an agent vouches only for slots that it has opened itself. */
    char source_run_id[RUN_ID_SIZE];
    struct slotset slots;
    enum move_speed speed;
    int64_t big_key_bytes_max; /* a larger key holds its slot; 0 = no limit */
    bool source_counts;        /* MOVE: of two values of a key the source's is the right one */
    struct task task;          /* TASK */
};

enum order_state {
    ORDER_RUNNING = 1,
    ORDER_DONE = 2,    /* every slot is the target's in every primary's view */
    ORDER_STOPPED = 3, /* asked to stop: slots in hand finished, nothing open */
    ORDER_FAILED = 4,  /* reason says why; open slots are reported with the node and may be resumed
                          by anybody */
    ORDER_HELD =
        5, /* a person must decide: conflicting copies of a key, a key over the limit, ... */
    ORDER_EXPIRED = 6, /* not renewed in time; left in a state that anyone can resume */
};

struct order_status {
    struct order_id id;
    enum order_state state;
    struct slotset slots_done; /* MOVE: the target owns them and everyone was told; SCAN: counted */
    int slots_open;            /* now between IMPORTING and the last SETSLOT NODE */
    uint64_t keys_moved;       /* SCAN: keys counted */
    uint64_t bytes_moved;      /* SCAN: bytes estimated */
    int64_t call_us_p50;       /* of MIGRATE calls lately; -1 = none */
    int64_t call_us_max;
    uint64_t retries;
    bool is_replica_synced; /* every commit waited for the target's replicas */
    int reason_code;
    char reason[TEXT_SIZE]; /* also while running: what it is doing or waiting for */
    struct big_key big_keys[BIG_KEYS_REPORTED_MAX];
    int big_key_count;
    struct address made; /* TASK PROVISION, done: where the new server is; port 0 = none */
};

struct hello {
    struct agent_id agent;
    uint64_t incarnation; /* random, new at each start */
    int proto_version;
    char version[VERSION_SIZE]; /* of the software */
    char cluster[64];           /* the cluster name it was configured for; "" = any */
    char credential[128];       /* its enrolled secret; "" = none. Never logged */
    int64_t fence_seen;         /* highest on its disk */
};

struct welcome {
    uint64_t session; /* to be repeated in reports */
    int64_t fence;
    int64_t report_interval_ms; /* nodes are probed and reported at least so often */
    int proto_version;          /* spoken from now on */
    char version[VERSION_SIZE];
};

/* Any request that is not served. */
struct refusal {
    int code; /* ERR_NOT_LEADER, ERR_AUTH, ERR_VERSION, ERR_CONFLICT (say hello again), ... */
    char text[TEXT_SIZE];
    char leader_url[HOST_SIZE + 32]; /* NOT_LEADER: who leads, "" if unknown */
};

/* The agent's host, for who places servers. */
struct host_report {
    char zone[64];             /* failure domain; "" = not said: a zone of its own */
    char host[HOST_SIZE];      /* as servers there announce themselves; "" = not said */
    bool can_start;            /* the agent starts servers when told to */
    int64_t memory_free_bytes; /* that new servers may take; -1 = not known */
    uint16_t port_first; /* ports that new servers may have, both ends included; 0 = not said */
    uint16_t port_last;
    bool offers_provision; /* the agent has a provisioner: TASK_PROVISION, TASK_RELEASE */
    bool offers_traffic;   /* the agent has drain hooks: TASK_TRAFFIC */
};

struct report {
    struct agent_id agent;
    uint64_t session;
    uint64_t sequence; /* grows by one a report; late ones are dropped by it */
    int64_t
        fence_acked; /* highest fence that is on its disk, with no older command still running */
    int64_t wait_ms; /* how long the answer may be held when there is nothing to say; 0 = answer at
                        once */
    bool has_nodes;  /* nodes below are complete; else this is only progress */
    struct node_report *nodes; /* owned */
    int node_count;
    bool has_host; /* host below is said; it counts until it is said anew */
    struct host_report host;
    struct order_status
        *orders; /* every order it runs or ended and was not yet told to forget; owned */
    int order_count;
    struct view_text *views; /* owned */
    int view_count;
};

struct renewal {
    struct order_id id;
    int64_t valid_for_ms; /* as in struct order */
};

/* The answer to a report. */
struct instructions {
    int64_t fence;
    struct order *orders; /* new ones; owned */
    int order_count;
    struct renewal *renewals; /* owned */
    int renewal_count;
    struct order_id *stops; /* finish the slots in hand, then stop; owned */
    int stop_count;
    struct order_id *forgets; /* results that are safe in the journal; owned */
    int forget_count;
    bool probe_now;         /* read every node now and report as soon as all have answered */
    uint64_t *views_wanted; /* digests whose text the coordinator lacks; owned */
    int view_wanted_count;
    struct address
        *nodes; /* nodes on hosts without an agent that this one shall serve too; owned */
    int node_count;
};

enum message_kind {
    MESSAGE_HELLO = 1,
    MESSAGE_WELCOME = 2,
    MESSAGE_REFUSAL = 3,
    MESSAGE_REPORT = 4,
    MESSAGE_INSTRUCTIONS = 5,
};

struct message {
    enum message_kind kind;
    union {
        struct hello hello;
        struct welcome welcome;
        struct refusal refusal;
        struct report report;
        struct instructions instructions;
    } as;
};

void node_report_release(struct node_report *node);
void report_release(struct report *report);
void instructions_release(struct instructions *instructions);
void message_release(struct message *message);
bool order_id_is_equal(const struct order_id *a, const struct order_id *b);
const char *order_state_name(enum order_state state);
bool order_state_is_final(enum order_state state); /* everything but RUNNING */

#endif
