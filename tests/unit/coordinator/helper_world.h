/* helper_world.h — a small world in virtual time for tests of the coordinator core: coordinators, a
 * store with leases, agents that obey orders, and a cluster whose nodes always agree.
 *
 * Everything that the core asks for is done by the world; faults are switched on by the test. After
 * every step the world checks the rules that may never break: no write without the fence of a
 * leader, no batch carried out by two agents. */
#ifndef DROVER_TESTS_UNIT_COORDINATOR_HELPER_WORLD_H
#define DROVER_TESTS_UNIT_COORDINATOR_HELPER_WORLD_H

#include "common/base/prng.h"
#include "common/model/topology.h"
#include "coordinator/core/coordinator.h"

#include <stdio.h>

#define WORLD_COORDINATORS 2
#define WORLD_AGENTS 4
#define WORLD_NODES 12
#define WORLD_AGENT_ORDERS 32

struct world_kv {
    char *key;
    struct record record;
    int64_t create_revision;
    int64_t mod_revision;
    int64_t lease_id;
};

struct world_lease {
    int64_t id;
    int64_t ttl_ms;
    int64_t ends_ms;
};

/* What the store does to requests while the fault lasts. */
enum store_fault {
    STORE_WELL,
    STORE_REFUSES,     /* ERR_UNAVAILABLE: certainly not done */
    STORE_DONE_SILENT, /* done, but the answer is ERR_TIMEOUT */
    STORE_LOST,        /* not done, ERR_TIMEOUT */
    STORE_FULL,        /* ERR_LIMIT for writes, the rest works */
};

struct world_request {
    int coordinator;
    struct coordinator_effect effect; /* STORE; owned */
    int64_t due_ms;
    enum store_fault fault;
};

struct world_store {
    struct world_kv *kvs;
    int kv_count;
    struct world_lease leases[16];
    int lease_count;
    int64_t revision;
    struct world_request *requests;
    int request_count;
    int64_t latency_ms;
    enum store_fault fault[WORLD_COORDINATORS]; /* seen by this coordinator */
    int txn_count;
};

struct world_coordinator {
    struct coordinator *core; /* NULL = not running */
    bool is_paused;           /* SIGSTOP: gets no events */
    struct coordinator_effects fx;
    bool has_exited;
    int terms;
};

struct world_order {
    struct order order;
    struct order_status status;
    int64_t expires_ms;
    int ticks; /* of a task */
};

struct world_agent {
    struct agent_id id;
    bool is_alive;
    bool is_paused;    /* does nothing, answers are lost */
    bool is_cut;       /* its messages and the answers are lost; it works on */
    bool does_nothing; /* takes orders but makes no progress */
    uint64_t incarnation;
    uint64_t handle_floor; /* answers to earlier requests were for its predecessor */
    int64_t fence_disk;
    int64_t ack_max; /* confirms no higher fence, as if a command still ran; 0 = no limit */
    int first_node;
    int node_count;        /* serves nodes[first_node ..) */
    int told[WORLD_NODES]; /* and these, because it was told to */
    int told_count;
    int coordinator;  /* talks to this one */
    uint64_t session; /* 0 = must say hello */
    uint64_t sequence;
    int64_t hello_due_ms;
    bool is_waiting; /* a hello or a held report is out */
    uint64_t waiting_handle;
    int64_t waiting_until_ms;
    int64_t nodes_due_ms;
    struct world_order orders[WORLD_AGENT_ORDERS];
    int order_count;
    uint64_t views_wanted[8];
    int view_wanted_count;
    /* What a test makes it answer: final state for the next order that would end. */
    enum order_state ends_as; /* 0 = DONE */
    int ends_code;
    const char *ends_reason;
    enum task_kind ends_kind; /* only tasks of this kind; 0 = all orders */
    /* Work outside the servers. The provisioner hands out servers of world_add_spare() in turn; the
     * same request gets the same one. */
    bool offers_provision;
    bool offers_traffic;
    int moves_per_tick; /* slots */
    int task_ticks;     /* that a task takes */
    int tasks_done;
    struct refusal last_refusal;
    int orders_received;
};

struct world_node {
    struct node_id id;
    struct address address;
    bool is_primary;
    int primary;      /* of a replica */
    bool is_failed;   /* FAIL in every view, not reachable */
    bool is_locked;   /* refuses the agent's password */
    bool is_member;   /* else it knows only itself, and nobody knows it */
    bool is_drained;  /* drain hooks took clients off it */
    bool is_released; /* its provisioner has it back */
    char request[48]; /* it was made for; "" = none */
    char run_id[RUN_ID_SIZE];
    int open_slot; /* -1 = none; migrating to open_peer, or: */
    int open_peer;
    bool is_importing;
    bool keeps_mark;    /* of a replica: no order takes its mark away */
    struct strbuf text; /* CLUSTER NODES as its agent last read it */
    uint64_t digest;    /* of 'text' */
};

struct world_answer {
    bool is_done;
    struct err err;
    char operation_id[OPERATION_ID_SIZE];
    struct plan plan;
    char *description; /* NULL = none; owned */
};

struct world {
    int64_t now_ms;
    struct prng prng;
    struct coordinator_config config;
    struct world_store store;
    struct world_coordinator coordinators[WORLD_COORDINATORS];
    struct world_agent agents[WORLD_AGENTS];
    int agent_count;
    struct world_node nodes[WORLD_NODES];
    int node_count;
    int16_t owner[SLOT_COUNT];
    uint64_t handle_last;
    struct world_answer answers[64]; /* of commands, by handle - WORLD_COMMAND_BASE */
    int command_count;
    int reply_loss_percent;
    struct strbuf log; /* transcript: "[     0] c0 election.leading ..." of levels info and above */
    int steps;
};

#define WORLD_COMMAND_BASE 1000000

/* 'primaries' primaries with equal shares, replicas_each replicas each; agent i serves node i's
 * host... see the .c. */
void world_init(struct world *w, int primaries, int replicas_each, int agents);
void world_release(struct world *w);
/* Adds a server that runs, is empty, is known to nobody, and is looked at by no agent unless told.
 * Returns its number. Before the first world_run(). */
int world_add_spare(struct world *w);
/* Starts coordinator i (again). */
void world_start(struct world *w, int i);
/* kill -9. */
void world_kill(struct world *w, int i);
void world_agent_kill(struct world *w, int i);
void world_agent_start(struct world *w, int i); /* a new incarnation, same disk */

/* Lets time pass. */
void world_run(struct world *w, int64_t ms);
/* Until the condition holds, at most limit_ms; fails the test otherwise. */
#define WORLD_UNTIL(w, limit_ms, condition)                                         \
    do {                                                                            \
        int64_t end_ms_ = (w)->now_ms + (limit_ms);                                 \
        while (!(condition) && (w)->now_ms < end_ms_) {                             \
            world_run((w), 20);                                                     \
        }                                                                           \
        if (!(condition)) {                                                         \
            fprintf(stderr, "%s\nwhy: %s\n", strbuf_text(&(w)->log), world_why(w)); \
            fail_msg("not within %lld ms: %s", (long long)(limit_ms), #condition);  \
        }                                                                           \
    } while (0)

/* The leading coordinator, or -1. */
int world_leader(const struct world *w);
const struct coordinator *world_core(const struct world *w); /* of the leader; NULL = none */
const char *world_why(const struct world *w);

/* Commands, to coordinator i; the answer appears in world_answer(). Returns the number of the
 * command. */
int world_command(struct world *w, int i, const struct coordinator_command *command);
const struct world_answer *world_answer(const struct world *w, int number);
int world_drain(struct world *w, int i, int node); /* START of a drain */
/* START (or PLAN) of an ADD of this node, by its address. */
int world_add(struct world *w, int i, enum coordinator_command_kind kind, int node);
int world_verb(struct world *w,
               int i,
               enum coordinator_command_kind kind,
               const char *operation_id);
/* State of the newest operation; 0 = none. */
enum operation_state world_state(const struct world *w);
const struct operation *world_operation(const struct world *w); /* newest, or NULL */
int world_slots_of(const struct world *w, int node);
/* node becomes FAIL, its replica takes its slots. */
void world_failover(struct world *w, int node, int replica);
/* The stored record of the key, to be read or falsified; NULL = none. */
struct world_kv *world_stored(struct world *w, const char *key);
void world_store_put(struct world *w, const char *key, const struct record *record);
void world_send(struct world *w, int i, const struct coordinator_event *event);
/* Number of lines of the transcript that contain the text. */
int world_log_count(const struct world *w, const char *text);

#endif
