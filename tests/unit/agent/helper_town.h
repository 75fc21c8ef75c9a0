/* helper_town.h — some Redis nodes in memory that meet, forget, replicate and gossip, just enough
 * of them for the tasks of a node's life, with faults on demand.
 *
 * A node has an identity, which RESET HARD replaces; views name identities. Slots, roles and epochs
 * are one truth for all; who knows whom is each node's own. News of nodes spread by gossip every
 * 100 ms of virtual time, save to nodes that forgot them less than 60 s ago. */
#ifndef DROVER_TESTS_UNIT_AGENT_HELPER_TOWN_H
#define DROVER_TESTS_UNIT_AGENT_HELPER_TOWN_H

#include "agent/core/task_runner.h"

#define TOWN_NODES 6
#define TOWN_FACES 24 /* identities ever had */
#define TOWN_FLIGHTS_MAX 512

/* The next 'count' commands that begin so at 'node' get this answer; "" = the connection breaks. */
struct town_fault {
    int node;
    char command[48];
    char error[96];
    int count;
    bool is_done_too;
};

struct town_face {
    struct node_id id;
    int node;       /* who has it or had it */
    int primary;    /* face; -1 = is a primary */
    uint64_t epoch; /* of a primary */
};

struct town_node {
    struct address address;
    uint16_t announced_bus_port; /* 0 = port + 10000 */
    int face;
    bool knows[TOWN_FACES];
    int64_t banned_until_ms[TOWN_FACES];
    bool is_down;
    bool is_loading;
    bool is_open_while_loading; /* shows its view all the same, as Valkey 8 does */
    bool is_given_up;           /* the others have it as failed, though it answers */
    bool is_standalone;
    bool is_locked;   /* another password */
    bool is_bus_shut; /* nobody can connect to its bus port */
    bool is_deaf;     /* hears no gossip */
    bool shows_name;  /* never met anybody: leaves its host out */
    bool has_no_ranges;
    bool has_no_functions;
    bool has_no_dryrun;
    const char *denied; /* "MIGRATE", "CLUSTER MEET": what drover's user may not do there */
    int64_t keys;
    int64_t filed_keys; /* would be read again at its next start */
    int sync_left;      /* looks until a new replica is in step */
    int64_t synced_bytes;
    int64_t behind_bytes; /* of a replica: its offset behind its primary's */
    int importing;        /* a slot that it has open ... */
    int importing_from;   /* ... from this face, plus 1; 0 = none */
    const char *version;
    char functions[32]; /* "" = none */
};

struct town {
    struct town_node nodes[TOWN_NODES];
    struct town_face faces[TOWN_FACES];
    int face_count;
    int16_t owner[SLOT_COUNT]; /* face, -1 nobody */
    int16_t owner_shown[SLOT_COUNT];
    struct strbuf slots[TOWN_FACES]; /* as texts show owner_shown */
    struct town_fault faults[16];
    int fault_count;
    struct strbuf log; /* "1 CLUSTER MEET 10.0.0.2 7000\n" */
    struct agent_effect flights[TOWN_FLIGHTS_MAX];
    int flight_count;
    int64_t now_ms;
    int64_t gossiped_ms;
    int answered;   /* pipelines so far */
    int lose_at;    /* the pipeline of this number (from 1) gets no answer; 0 = none */
    bool lose_done; /* but was carried out */
};

/* Nodes 0..2 are primaries with all slots that know each other, 3 is a replica of 0 that they know,
 * 4 and 5 are alone. */
void town_init(struct town *town);
void town_release(struct town *town);
struct town_fault *town_fault(struct town *town,
                              int node,
                              const char *command,
                              const char *error,
                              int count);
struct node_id town_id(const struct town *town, int node);
bool town_knows(const struct town *town, int node, int other); /* under its present identity */
void town_introduce(struct town *town, int node);              /* everybody knows it, and it them */
int town_said_count(const struct town *town, const char *line_start);

void town_task(const struct town *town, struct task *task, enum task_kind kind, int node, int peer);
struct node_task *town_runner(struct town *town, const struct task *task);
/* For drivers of their own: takes Redis effects over; answers the oldest request through 'event',
 * whose replies the caller releases. False when there is none. */
void town_take(struct town *town, struct agent_effects *fx);
bool town_answer(struct town *town, struct agent_event *event, struct reply_list *replies);

/* Feeds it until it is over, or that many pipelines were sent, after which nothing is sent any
 * more, as by a crash (-1 = no limit, at most 10 virtual minutes). True when it is over. */
bool town_run(struct town *town, struct node_task *runner, int pipelines);
/* The same for so many events, to be continued. */
bool town_run_for(struct town *town, struct node_task *runner, int events);

#endif
