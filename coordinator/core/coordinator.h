/* coordinator.h — the coordinator as a pure machine: events in, effects out.
 *
 * It campaigns for the lease, and while it leads it keeps the registry of agents, merges what they
 * observe, plans what operators ask for, journals every intent under its fence and hands batches to
 * agents as orders. It never talks to Redis. It knows no socket, clock, thread, file, JSON or
 * protobuf; the shell and the simulator both drive it. Rules: docs/design.md section 5. */
#ifndef DROVER_COORDINATOR_CORE_COORDINATOR_H
#define DROVER_COORDINATOR_CORE_COORDINATOR_H

#include "common/base/clocktype.h"
#include "common/base/logevent.h"
#include "common/model/message.h"
#include "common/model/record.h"
#include "common/model/store_op.h"

struct coordinator;

struct coordinator_config {
    struct leader_record self; /* name, instance and urls we campaign with */
    uint64_t seed;
    int64_t lease_ttl_ms;          /* default 10,000; >= 2,000 */
    int64_t lease_margin_ms;       /* our term ends this much before the TTL; default 20 % of it */
    int64_t keepalive_interval_ms; /* default 2,000 */
    int64_t report_interval_ms;    /* default 2,000 */
    int64_t order_valid_ms;        /* default 30,000 */
    int64_t order_margin_ms;   /* after an order's expiry before its batch may go to another agent;
                                  default 5,000 */
    int moves_per_source_max;  /* batches running at once from one node; default 1 */
    int moves_per_target_max;  /* into one node; default 3 */
    int moves_max;             /* in all; default 16 */
    int attempts_max;          /* per batch before the operation is held; default 8 */
    int batch_slots_max;       /* default 512, at most BATCH_SLOTS_MAX */
    int64_t big_key_bytes_max; /* default 512 MiB */
    bool auto_meet;            /* members that do not know each other are introduced unasked */
    char cluster[64];
    char agent_credential[128]; /* agents must show it; "" = none asked */
    char removal_key[128]; /* shared with agents: orders to stop a server are signed with it; "" =
                              unsigned */
};

enum coordinator_event_kind {
    COORDINATOR_TICK = 1,
    COORDINATOR_STORE,   /* the result of a STORE effect; its values already decoded into records */
    COORDINATOR_CHANGED, /* the watch saw the leader key put or deleted */
    COORDINATOR_MESSAGE, /* a request of an agent; must be answered once by REPLY with its handle */
    COORDINATOR_COMMAND, /* an operator's request; must be answered once by COMMAND_DONE with its
                            handle */
    COORDINATOR_STOP,    /* give the lease back, then EXIT */
};

enum coordinator_command_kind {
    COMMAND_PLAN = 1, /* make a plan and only return it (dry run) */
    COMMAND_START,    /* make an operation of it and run it (or wait for approval if asked) */
    COMMAND_APPROVE,
    COMMAND_PAUSE,
    COMMAND_RESUME,
    COMMAND_CANCEL,
    COMMAND_ADOPT, /* request.addresses: look at these nodes; the cluster of one that is a member is
                      kept over restarts */
};

struct coordinator_command {
    enum coordinator_command_kind kind;
    struct operation_request request; /* PLAN, START; not owned */
    uint64_t
        topology_digest; /* START: refuse unless the topology is still this one; 0 = do not ask */
    char operation_id[OPERATION_ID_SIZE]; /* the others */
    bool with_scan; /* PLAN: have the agents count keys and bytes and name big keys first; takes a
                       while */
};

/* One kv of a store result with its value decoded by the shell; a value it cannot decode arrives as
 * ERR_PROTOCOL. */
struct stored_record {
    const char *key;
    int64_t create_revision;
    int64_t mod_revision;
    int64_t lease_id;
    struct record record;
};

struct coordinator_event {
    enum coordinator_event_kind kind;
    int64_t now_ms;  /* monotonic, runs during suspend */
    int64_t wall_ms; /* unix time, for records only; no decision reads it */
    /* STORE */
    const struct store_result *result; /* without kvs */
    const struct stored_record *records;
    int record_count;
    /* CHANGED */
    bool is_deleted;
    /* MESSAGE, COMMAND */
    uint64_t handle;
    const struct message *message;
    const struct coordinator_command *command;
};

enum coordinator_effect_kind {
    COORDINATOR_FX_STORE = 1,    /* ask the store; answered by COORDINATOR_STORE, always */
    COORDINATOR_FX_REPLY,        /* answer an agent */
    COORDINATOR_FX_COMMAND_DONE, /* answer an operator */
    COORDINATOR_FX_LOG,
    COORDINATOR_FX_EXIT,
};

/* A put whose value the shell encodes into the request's write of the same index. */
struct record_write {
    int write_index;      /* into request.writes */
    struct record record; /* owned */
};

struct coordinator_effect {
    enum coordinator_effect_kind kind;
    struct store_request request; /* STORE; owned */
    struct record_write *records; /* STORE; owned */
    int record_count;
    uint64_t handle;                      /* REPLY, COMMAND_DONE */
    struct message message;               /* REPLY; owned */
    struct err err;                       /* COMMAND_DONE, EXIT */
    char operation_id[OPERATION_ID_SIZE]; /* COMMAND_DONE */
    struct plan plan;                     /* COMMAND_DONE of PLAN and START; owned */
    char *description; /* COMMAND_DONE of a PLAN that grows, or of a START that finds nothing to do:
                          lines for people; else NULL; owned */
    struct log_event log; /* LOG; owned */
};

struct coordinator_effects {
    struct coordinator_effect *items;
    int count;
    int capacity;
};

struct coordinator_effect *coordinator_effects_add(struct coordinator_effects *fx,
                                                   enum coordinator_effect_kind kind);
void coordinator_effects_clear(struct coordinator_effects *fx);
void coordinator_effects_release(struct coordinator_effects *fx);

struct coordinator *coordinator_new(const struct coordinator_config *config, int64_t now_ms);
void coordinator_free(struct coordinator *coordinator);
void coordinator_step(struct coordinator *coordinator,
                      const struct coordinator_event *event,
                      struct coordinator_effects *fx);
int64_t coordinator_deadline(const struct coordinator *coordinator);

/* Read-only look at the state, for the API, metrics and checkers; valid until the next step. */
struct topology; /* common/model/topology.h */
bool coordinator_is_leader(const struct coordinator *coordinator);
int64_t coordinator_fence(const struct coordinator *coordinator); /* 0 when not leading */
/* Leading with its journal read and the store taking writes, or standing by with a known leader:
 * what /readyz asks. */
bool coordinator_is_ready(const struct coordinator *coordinator);
/* 0 when it leads and has read its journal: before that it knows of no operation. Otherwise
 * ERR_NOT_LEADER or ERR_UNAVAILABLE, and who or when to ask. */
int coordinator_check_ready(const struct coordinator *coordinator, struct err *err);
int64_t coordinator_term_end_ms(
    const struct coordinator *coordinator); /* monotonic; NEVER when not leading */
const struct spec_record *coordinator_spec(
    const struct coordinator *coordinator); /* NULL = none stored */
const struct leader_record *coordinator_known_leader(
    const struct coordinator *coordinator); /* NULL = unknown */
const char *coordinator_why(
    const struct coordinator *coordinator); /* one sentence: what it does or waits for */
const struct topology *coordinator_topology(const struct coordinator *coordinator);
int coordinator_operation_count(const struct coordinator *coordinator);
const struct operation *coordinator_operation(const struct coordinator *coordinator,
                                              int index); /* newest first */
const struct plan *coordinator_plan(const struct coordinator *coordinator,
                                    const char *operation_id); /* or NULL */
int coordinator_agent_count(const struct coordinator *coordinator);
struct agent_view {
    struct agent_id id;
    uint64_t incarnation;
    char version[VERSION_SIZE];
    int64_t last_report_ms; /* monotonic; NEVER = not in this session */
    int64_t fence_acked;
    int node_count;
    bool is_connected;
};
void coordinator_agent(const struct coordinator *coordinator,
                       int index,
                       struct agent_view *out); /* by id */
/* What the agent last said of a running order of this batch; NULL = nothing. */
const struct order_status *coordinator_order_status(const struct coordinator *coordinator,
                                                    const char *operation_id,
                                                    int batch_index);
/* The last node report of a node as an agent sent it, or NULL. */
const struct node_report *coordinator_node_report(const struct coordinator *coordinator,
                                                  const struct node_id *id);
/* The last events worth telling people, newest last: a ring of at most 1,000. */
struct event_line {
    uint64_t sequence;
    int64_t wall_ms;
    enum log_level level;
    const char *name;
    const char *text; /* logfmt pairs */
};
int coordinator_event_count(const struct coordinator *coordinator);
void coordinator_event_line(const struct coordinator *coordinator,
                            int index,
                            struct event_line *out);

#endif
