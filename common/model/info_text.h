/* info_text.h — the fields drover uses of INFO and CLUSTER INFO.
 *
 * Both answers are lines "name:value"; sections and order differ between versions, so fields are
 * looked up by name and a missing one keeps its "unknown" value. Pure. Source: redis.io INFO,
 * CLUSTER INFO; valkey.io INFO. */
#ifndef DROVER_MODEL_INFO_TEXT_H
#define DROVER_MODEL_INFO_TEXT_H

#include "common/base/err.h"
#include "common/model/ids.h"
#include "common/model/message.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define INFO_TEXT_SIZE_MAX ((size_t)256 * 1024) /* bytes: a busy server has under 64 KiB */
#define INFO_REPLICAS_MAX 16 /* slaveN lines kept; a shard with more is not sensible */
#define INFO_UNKNOWN (-1)    /* integers that the text did not hold */
#define INFO_POLICY_SIZE 24  /* "allkeys-lru" and the like */

enum server_kind { SERVER_UNKNOWN, SERVER_REDIS, SERVER_VALKEY };

/* One slaveN line of a primary. */
struct info_replica {
    struct address address;
    bool is_online;
    int64_t offset; /* what the replica has acknowledged, in bytes of the replication stream */
    int64_t lag_s;  /* seconds since its last acknowledgement, or INFO_UNKNOWN */
};

/* Integers are INFO_UNKNOWN when absent. */
struct info {
    /* server */
    enum server_kind kind;
    char version[VERSION_SIZE]; /* of the product itself: valkey_version on Valkey; "" unknown */
    char redis_version[VERSION_SIZE]; /* what it claims to be compatible with */
    char run_id[RUN_ID_SIZE];
    int64_t process_id;
    int64_t tcp_port;
    int64_t uptime_s;
    /* clients, stats */
    int64_t connected_clients;
    int64_t blocked_clients;
    int64_t ops_per_s;
    int64_t evicted_keys;
    int64_t total_commands;
    /* memory, in bytes */
    int64_t used_memory_bytes;
    int64_t used_memory_rss_bytes;
    int64_t used_memory_dataset_bytes;
    int64_t maxmemory_bytes; /* 0 = no limit set */
    int64_t system_memory_bytes;
    char maxmemory_policy[INFO_POLICY_SIZE];
    /* persistence */
    int64_t is_loading;     /* 0, 1 or INFO_UNKNOWN */
    int64_t is_aof_enabled; /* likewise */
    int64_t is_rdb_save_ok; /* last background save */
    int64_t is_aof_write_ok;
    int64_t is_rdb_saving;
    int64_t is_aof_rewriting;
    /* replication */
    enum node_role role;
    struct address primary_address; /* of a replica */
    int64_t is_primary_link_up;     /* of a replica: 0, 1 or INFO_UNKNOWN */
    int64_t is_full_sync_running;   /* of a replica */
    int64_t primary_offset;         /* master_repl_offset */
    int64_t replica_offset;         /* slave_repl_offset of a replica */
    int64_t replica_count;          /* connected_slaves, may exceed replicas[] */
    struct info_replica replicas[INFO_REPLICAS_MAX];
    int replicas_kept;
    /* cluster, keyspace */
    int64_t is_cluster_enabled;
    int64_t keys;    /* of db0; 0 when a keyspace section without db0 was seen */
    int64_t expires; /* keys of db0 with a time to live */
};

/* Reads 'len' bytes, never past them. ERR_LIMIT over INFO_TEXT_SIZE_MAX; ERR_PROTOCOL when not one
 * known field is in it. Numbers out of range count as absent. 'info' needs no init and is untouched
 * on failure. */
int info_parse(struct info *info, const char *text, size_t len, struct err *err) WARN_UNUSED;

/* CLUSTER INFO. Integers are INFO_UNKNOWN when absent. */
struct cluster_info {
    bool is_state_ok; /* cluster_state:ok */
    int64_t slots_assigned;
    int64_t slots_ok;
    int64_t slots_pfail;
    int64_t slots_fail;
    int64_t known_nodes; /* handshake ghosts included */
    int64_t size;        /* primaries with slots */
    int64_t current_epoch;
    int64_t my_epoch;
};

int cluster_info_parse(struct cluster_info *info, const char *text, size_t len, struct err *err)
    WARN_UNUSED;

/* Valkey from 8 on: SETSLOT goes to replicas first, and what it imports it may take by itself. */
bool info_is_valkey_8(const struct info *info);

/* "redis", "valkey" or "unknown". */
const char *server_kind_name(enum server_kind kind);

/* A dotted version as one comparable number: "7.0.15" is 70015, "8.4" is 80400; 0 when it is none.
 */
int version_number(const char *version);

#endif
