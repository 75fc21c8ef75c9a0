/* helper_fake.h — three Redis primaries in memory, just enough of them for the agent's core, with
 * faults on demand.
 *
 * Node 0 is the source, 1 the target, 2 another primary. Answers are given in the order of the
 * requests, each after one millisecond of virtual time. Every command is written to a log, so that
 * a test can ask in which order things were said. */
#ifndef DROVER_TESTS_UNIT_AGENT_HELPER_FAKE_H
#define DROVER_TESTS_UNIT_AGENT_HELPER_FAKE_H

#include "agent/core/agent.h"
#include "agent/core/repair.h"
#include "agent/core/slot_mover.h"

#define FAKE_NODES 3
#define FAKE_KEYS_MAX 4096
#define FAKE_FAULTS_MAX 16

struct fake_key {
    char name[32];
    int slot;
    int node;
    int value;
    int64_t bytes;
};

/* The next 'count' commands that begin with 'command' at 'node' get this answer instead of being
 * done. */
struct fake_fault {
    int node;
    char command[48]; /* "MIGRATE", "CLUSTER SETSLOT 7 NODE" */
    char error[160];  /* an error answer; "" = the connection breaks (ERR_UNAVAILABLE) */
    int count;
    bool is_done_too; /* done although the answer says otherwise */
};

struct fake_node {
    struct node_id id;
    struct address address;
    int owner[SLOT_COUNT];     /* its view: node index, -1 nobody */
    int importing[SLOT_COUNT]; /* node index, -1 none */
    int migrating[SLOT_COUNT];
    char run_id[RUN_ID_SIZE];
    uint64_t connection_id;
    bool is_down;
    bool is_state_fail;
    int config_epoch;  /* its own */
    int current_epoch; /* the highest that it has heard of */
    int failing_slots; /* of the primary that it sees failing: */
    int failing_node;
    int64_t clock_ms; /* how far its clock is ahead of the others' */
    int64_t maxmemory_bytes;
    const char *policy;
};

/* A replica, where is_valkey: it answers CLUSTER NODES and ROLE as node 9 of the log. Its primary's
 * NODE and STABLE reach it while its link is up; IMPORTING and MIGRATING never do, a test sets its
 * mark. */
struct fake_replica {
    int primary;
    int slot; /* that it has a mark for; SLOT_NONE */
    int peer; /* of the mark */
    bool is_importing;
    bool is_down;
    bool is_link_down;
};

#define FAKE_REPLICA 9

struct fake_flight {
    struct agent_effect effect; /* owned */
};

struct fake {
    struct fake_node nodes[FAKE_NODES];
    struct fake_key keys[FAKE_KEYS_MAX];
    int key_count;
    struct fake_fault faults[FAKE_FAULTS_MAX];
    int fault_count;
    struct strbuf
        log; /* "1 CLUSTER SETSLOT 7 IMPORTING <0>\n": node, command; node ids as <index> */
    struct strbuf events;             /* names of what the mover logged, a line each */
    struct agent_effect flights[256]; /* Redis requests on their way, oldest first; owned */
    int flight_count;
    int64_t now_ms;
    int sent_after_freeze;
    bool has_replica;        /* node 0 believes that node 2 replicates it; the others know better */
    bool target_has_replica; /* node 1 believes that node 2 replicates it; so it does, unless: */
    bool replica_is_promoted;
    bool is_valkey;              /* 8.0, and there is a replica: each SETSLOT waits */
    struct fake_replica replica; /* of node 2 and down, unless a test says otherwise */
};

void fake_init(struct fake *fake);
void fake_release(struct fake *fake);
void fake_add_keys(struct fake *fake, int node, int slot, int count);
struct fake_fault *fake_fault(struct fake *fake,
                              int node,
                              const char *command,
                              const char *error,
                              int count);
int fake_count(const struct fake *fake, int node, int slot);
/* As a restart of the process: other run id, other connections, open marks stay. */
void fake_restart(struct fake *fake, int node);
/* Where a line of the log begins with 'text' for the first time, or -1. */
long fake_said(const struct fake *fake, const char *text);
int fake_said_count(const struct fake *fake, const char *text);

/* Takes Redis effects over; others are left. */
void fake_take(struct fake *fake, struct agent_effects *fx);
/* Answers the oldest request through 'event' (whose replies live until fake_answered()). False when
 * there is none. */
bool fake_answer(struct fake *fake, struct agent_event *event, struct reply_list *replies);

/* Runs a mover until it is over or 'steps' events were fed; -1 = no limit (200,000). */
void fake_run(struct fake *fake, struct slot_mover *mover, int steps);
void fake_order(struct fake *fake, struct order *order, const char *slots);
struct slot_mover *fake_mover(struct fake *fake, const char *slots);
/* The same for repairs: an order for nodes 0 and 1, and one event more. */
struct repair *fake_repair(struct fake *fake, const char *slots, uint32_t flags);
void fake_feed_repair(struct fake *fake, struct repair *repair);

#endif
