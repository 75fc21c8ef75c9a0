/* model_redis.h — a Redis Cluster in virtual time: slots, config epochs, gossip, failover, keys and
 * commands.
 *
 * It behaves as redis-server 7.0.15 does wherever drover can see it; tests/sim/conformance holds
 * scripts that run on both and compare. It does only what drover and the clients of the simulator
 * need: no pub/sub, no data types but strings. A node handles one piece of work at a time and none
 * while a MIGRATE of its own runs, while it is paused (SIGSTOP) or down. It knows nothing of
 * drover. Source: docs/simulator.md; Redis cluster specification. */
#ifndef DROVER_SIM_MODEL_REDIS_H
#define DROVER_SIM_MODEL_REDIS_H

#include "common/base/prng.h"
#include "common/base/slotset.h"
#include "common/model/command.h"
#include "common/model/ids.h"
#include "common/model/reply.h"
#include "tests/sim/model_network.h"
#include "tests/sim/schedule.h"

#define MODEL_NODES_MAX 16
#define MODEL_KEYS_MAX 8192
#define MODEL_VALUE_SIZE 24
#define MODEL_NONE (-1)
#define MODEL_COMMAND_KEYS_MAX 1024

/* What a node holds of one key; the array is indexed by the number of the key. */
struct model_stored {
    bool is_present;
    uint8_t len;
    char value[MODEL_VALUE_SIZE];
    int32_t weight_bytes; /* as MEMORY USAGE tells it */
    int64_t expire_us;    /* 0 = never */
};

/* Every name any node ever saw; kept once for the whole cluster, so that a key is a small number
 * everywhere. */
struct model_keys {
    struct model_key {
        char *name; /* owned; any bytes */
        size_t len;
        uint16_t slot;
        int next_in_slot; /* number of another key of the slot, or MODEL_NONE */
        int next_in_hash;
    } * keys;
    int count;
    int capacity;
    int first_in_slot[SLOT_COUNT];
    int hash[4096];
};

/* What one node believes of another (or of itself). Part of nodes.conf unless said. */
struct model_peer {
    bool is_known;
    bool is_primary;
    int primary; /* of a replica; MODEL_NONE = not known */
    uint64_t config_epoch;
    bool is_fail;
    int64_t fail_since_us;
    struct slotset slots; /* those owner[] gives it */
    int slot_count;
    struct strbuf slots_text; /* as CLUSTER NODES writes them; owned; empty = to be written anew */
    /* lost at a restart */
    bool is_pfail;
    int64_t heard_us;
    int64_t ping_sent_us;                 /* 0 = none on the way */
    int64_t reported_us[MODEL_NODES_MAX]; /* by whom it was last said to be down; 0 = not */
    int64_t voted_us;
    int64_t offset;
};

enum model_bus_kind { BUS_PING, BUS_PONG, BUS_UPDATE, BUS_FAIL, BUS_AUTH_REQUEST, BUS_AUTH_ACK };

struct model_bus_message {
    enum model_bus_kind kind;
    int from;
    bool is_primary;
    int primary;
    uint64_t current_epoch;
    uint64_t config_epoch; /* of 'from', of its primary, or of the node an UPDATE is about */
    int64_t offset;
    uint32_t down; /* bit i: 'from' holds node i to be down or suspects it */
    uint32_t known;
    int about; /* UPDATE, FAIL */
    struct slotset slots;
};

/* A client connection as the server sees it. Owned by whoever connects; must outlive its pipelines.
 */
struct model_session {
    bool is_asking;
    bool is_readonly;
};

/* Commands on their way through one node. When all is answered, or the node dies, 'done' takes it
 * back. */
struct model_pipeline {
    struct model_session *session; /* NULL = its own */
    struct model_session own;
    struct command_list commands; /* owned */
    struct reply_list replies;    /* owned */
    int next;
    uint64_t stream; /* pipelines of one stream stay in order; 0 = no order */
    bool is_broken;  /* the node died or the connection broke; replies may be too few */
    void (*done)(void *owner, struct model_pipeline *pipeline); /* takes the pipeline over */
    void (*orphaned)(
        void *owner); /* instead of 'done' when the model ends; NULL = nobody to tell */
    void *owner;
    uint64_t tag; /* the owner's */
    int place;    /* of the one who asks */
    int64_t sent_us;
};

/* One MIGRATE on its way. */
struct model_transfer {
    uint64_t id;
    int source;
    int target;
    bool is_replace;
    bool is_copy;
    int count;
    int64_t size_bytes;
    int keys[MODEL_COMMAND_KEYS_MAX];
    struct model_stored values[MODEL_COMMAND_KEYS_MAX];
    enum {
        TRANSFER_OK,
        TRANSFER_BUSY,
        TRANSFER_MOVED,
        TRANSFER_OOM,
        TRANSFER_ASIDE
    } outcomes[MODEL_COMMAND_KEYS_MAX];
    char error[96]; /* the first one of the target; "" = none */
};

enum model_work_kind { WORK_PIPELINE, WORK_BUS, WORK_RESTORE };

struct model_work {
    enum model_work_kind kind;
    struct model_pipeline *pipeline; /* owned, by kind */
    struct model_bus_message *bus;
    struct model_transfer *transfer;
    struct model_work *next;
};

/* One change of a primary's data, for its replicas. */
struct model_change {
    int key;
    struct model_stored stored;
};

struct model_node {
    int index;
    struct node_id id;
    struct address address;
    int place; /* of its host in the network */
    struct model_redis *redis;
    bool is_up;
    bool is_paused;
    uint64_t process; /* grows with every start */
    char run_id[RUN_ID_SIZE];
    int64_t started_us;
    /* nodes.conf */
    struct model_peer peers[MODEL_NODES_MAX];
    int8_t owner[SLOT_COUNT];
    int8_t migrating_to[SLOT_COUNT];
    int8_t importing_from[SLOT_COUNT];
    int migrating_count;
    int importing_count;
    struct slotset opened_at_start; /* slots opened because the restarted process found keys of them
                                       (fact F25) */
    uint64_t current_epoch;
    uint64_t last_vote_epoch;
    /* memory */
    struct slotset
        unclaimed; /* slots whose owner, as far as we know, claims them no more: anybody may */
    bool has_unclaimed;
    bool is_state_ok;
    int64_t not_ok_since_us;
    int64_t minority_since_us; /* when it last was in a minority; 0 = never */
    bool is_pong_due;          /* broadcast after this turn */
    bool is_loading;
    bool is_out_of_memory;       /* refuses commands that need memory */
    bool may_migrate_replica;    /* cluster-allow-replica-migration */
    bool needs_full_coverage;    /* cluster-require-full-coverage */
    struct model_stored *stored; /* by number of key; owned */
    int stored_capacity;
    uint16_t key_counts[SLOT_COUNT];
    int key_count;
    struct model_stored *disk; /* what a restart finds when the node persists; owned */
    int disk_count;
    /* election, of a replica */
    int64_t election_us; /* when to ask for votes; 0 = none planned */
    bool is_election_asked;
    uint64_t election_epoch;
    uint32_t votes;
    /* replication */
    int64_t offset;               /* produced (primary) or applied (replica) */
    struct model_change *changes; /* of a primary: since change_base; owned */
    int change_count;
    int change_capacity;
    int64_t change_base; /* offset of changes[0] */
    bool is_link_up;     /* of a replica */
    int64_t link_down_since_us;
    int64_t sync_due_us;                    /* full sync ends then; 0 = none runs */
    bool is_push_due;                       /* of a primary: replicas will be told soon */
    int64_t acked_offsets[MODEL_NODES_MAX]; /* of a primary: what replicas told it; -1 = not
                                               connected */
    /* work */
    struct model_work *first;
    struct model_work *last;
    bool is_pump_due;
    uint64_t transfer;              /* id of the MIGRATE that blocks the node; 0 = none */
    struct model_pipeline *blocked; /* whose command it is; owned */
};

enum model_persistence { PERSIST_ALL, PERSIST_LAG, PERSIST_NONE };
enum model_removal {
    REMOVED_BY_CLIENT,
    REMOVED_MOVED,
    REMOVED_FOREIGN,
    REMOVED_EXPIRED,
    REMOVED_RESYNC,
    REMOVED_LOST
};

/* What checkers listen to; each may be NULL. */
struct model_hooks {
    void *owner;
    /* A SETSLOT NODE that makes 'node' the owner of 'slot', before it is done. */
    void (*claiming)(void *owner, struct model_node *node, int slot);
    void (*stored)(void *owner,
                   struct model_node *node,
                   int key,
                   const struct model_stored *stored);
    void (*removed)(void *owner, struct model_node *node, int key, enum model_removal why);
    void (*promoted)(void *owner, struct model_node *node);
    void (*demoted)(void *owner, struct model_node *node, int primary);
    void (*unknown_command)(void *owner, const struct command_list *commands, int index);
    void (*note)(void *owner, const struct model_node *node, const char *text);
};

struct model_redis {
    struct schedule *schedule;
    struct model_network *network;
    struct prng prng;
    struct model_node *nodes[MODEL_NODES_MAX]; /* owned */
    int node_count;
    struct model_keys keys;
    struct model_hooks hooks;
    int64_t node_timeout_us;
    int64_t gossip_us;
    int64_t replication_lag_us_max;
    enum model_persistence persistence;
    bool has_valkey_rules; /* SETSLOT reaches replicas, as from Valkey 8 and Redis 7.2.. on; unused
                              by 7.0 */
    uint64_t next_transfer;
    int traced_slot; /* whose SETSLOTs are noted; MODEL_NONE = none */
    /* how often things were seen, for the coverage table */
    int ask_count, moved_count, tryagain_count, busykey_count, ioerr_count, nokey_count,
        failover_count, dirty_count;
    int clusterdown_count, migrate_count, resync_count, target_moved_count, oom_count,
        collision_count, late_claim_count;
};

/* model_redis.c: life of the cluster and its nodes */
void model_redis_init(struct model_redis *redis,
                      struct schedule *schedule,
                      struct model_network *network,
                      uint64_t seed);
void model_redis_release(struct model_redis *redis);
/* Adds a node that listens at host:port; it knows only itself. */
struct model_node *model_redis_add(struct model_redis *redis,
                                   int place,
                                   const char *host,
                                   uint16_t port);
/* Makes all nodes know each other and starts their gossip; before that, model_redis_give() sets
 * owners and roles. */
void model_redis_give(struct model_redis *redis, int node, int first_slot, int last_slot);
void model_redis_replicate(struct model_redis *redis, int replica, int primary);
void model_redis_form(struct model_redis *redis);
struct model_node *model_redis_find(struct model_redis *redis, const struct address *address);
/* Hands a pipeline over; it arrives at once. A node that is down breaks it. */
void model_node_submit(struct model_node *node, struct model_pipeline *pipeline);
void model_node_crash(struct model_node *node);
void model_node_start(struct model_node *node);
void model_node_pause(struct model_node *node);
void model_node_wake(struct model_node *node);
void model_node_enqueue(struct model_node *node, const struct model_work *work);
void model_node_pump_soon(struct model_node *node, int64_t delay_us);
bool model_node_is_running(const struct model_node *node);
struct model_pipeline *model_pipeline_new(void);
void model_pipeline_free(struct model_pipeline *pipeline);
void model_node_note(struct model_node *node, const char *format, ...) PRINTF_LIKE(2, 3);

/* model_keys.c */
void model_keys_init(struct model_keys *keys);
void model_keys_release(struct model_keys *keys);
int model_keys_number(struct model_keys *keys, const void *name, size_t len); /* adds it when new */
int model_keys_find(const struct model_keys *keys,
                    const void *name,
                    size_t len); /* or MODEL_NONE */
/* The stored value, or NULL when absent or expired (it is then removed). */
struct model_stored *model_node_get(struct model_node *node, int key);
void model_node_put(struct model_node *node, int key, const struct model_stored *stored);
void model_node_remove(struct model_node *node, int key, enum model_removal why);
void model_node_remove_all(struct model_node *node, enum model_removal why);
void model_node_remove_slot(struct model_node *node, int slot, enum model_removal why);
/* What a restart of the process will find. */
void model_node_persist(struct model_node *node);

/* model_cluster.c: one node's view and CLUSTER commands */
void model_view_set_owner(struct model_node *node,
                          int slot,
                          int owner); /* MODEL_NONE takes it away */
void model_view_set_migrating(struct model_node *node, int slot, int peer);
void model_view_set_importing(struct model_node *node, int slot, int peer);
void model_view_update_state(struct model_node *node);
bool model_view_bump_epoch(struct model_node *node);
bool model_node_is_primary(const struct model_node *node);
int model_node_primary(const struct model_node *node); /* of a replica; MODEL_NONE for a primary */
void model_cluster_command(struct model_node *node,
                           const struct command_list *commands,
                           int index,
                           struct reply_list *replies);
void model_view_format(struct model_node *node, struct strbuf *out);

/* model_gossip.c */
void model_gossip_start(struct model_node *node);
void model_gossip_handle(struct model_node *node, const struct model_bus_message *message);
void model_gossip_broadcast(struct model_node *node);
void model_node_set_primary(struct model_node *node, int primary); /* becomes its replica */

/* model_election.c: suspicion, failure, votes */
void model_election_cron(struct model_node *node);
void model_election_report(struct model_node *node, const struct model_bus_message *message);
void model_election_handle(struct model_node *node, const struct model_bus_message *message);
void model_bus_send(struct model_node *node, int to, struct model_bus_message *message);
void model_bus_fill(struct model_node *node,
                    struct model_bus_message *message,
                    enum model_bus_kind kind);

/* model_commands.c */
enum model_verdict { VERDICT_DONE, VERDICT_BLOCKED };
enum model_verdict model_node_execute(struct model_node *node, struct model_pipeline *pipeline);
void model_reply_error(struct reply_list *replies, const char *format, ...) PRINTF_LIKE(2, 3);
void model_reply_status(struct reply_list *replies, const char *text);
void model_reply_integer(struct reply_list *replies, int64_t value);
void model_reply_bulk(struct reply_list *replies, const void *data, size_t len);
bool model_number(const struct command_list *commands, int index, int arg, int64_t *out);

/* model_script.c */
void model_command_time(struct model_node *node,
                        const struct command_list *commands,
                        int index,
                        struct reply_list *replies);
void model_command_eval(struct model_node *node,
                        const struct command_list *commands,
                        int index,
                        struct reply_list *replies);

/* model_migrate.c */
enum model_verdict model_migrate_start(struct model_node *node, struct model_pipeline *pipeline);
void model_migrate_restore(struct model_node *target, struct model_transfer *transfer);

/* model_replication.c */
void model_replication_cron(struct model_node *node);
void model_replication_record(struct model_node *node, int key);
void model_replication_forget(struct model_node *node); /* link gone; sync anew */

#endif
