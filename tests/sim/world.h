/* world.h — the whole system in one process: real cores of coordinators and agents, model servers,
 * network and store.
 *
 * One seed draws the fleet, the faults and the operator's wishes, then everything follows from the
 * schedule. Messages travel as encoded bytes, records are stored as encoded bytes. The world is the
 * shells of the real programs: it turns effects into happenings and happenings into events, and
 * decides nothing. Rules it asserts: checkers.h. */
#ifndef DROVER_SIM_WORLD_H
#define DROVER_SIM_WORLD_H

#include "agent/core/agent.h"
#include "coordinator/core/coordinator.h"
#include "tests/sim/coverage.h"
#include "tests/sim/model_redis.h"
#include "tests/sim/model_store.h"

#define WORLD_COORDINATORS_MAX 3
#define WORLD_HOSTS_MAX 8
#define WORLD_CLIENTS_MAX 4
#define CLIENT_KEYS_MAX 1024
#define LANES 4
#define TRANSCRIPT_SIZE_MAX (64 * 1024 * 1024)

/* Ways to break a guard on purpose, so that the checkers show that they can fail. They bend what
 * the world carries, never the cores. */
enum mutation {
    MUTATION_NONE = 0,
    MUTATION_LYING_COUNT, /* agents hear that slots are empty when they are not */
    MUTATION_STALE_FENCE, /* an agent's disk forgets its newest fence at a restart */
    MUTATION_UNGUARDED,   /* now and then the store drops the compares of a transaction */
    MUTATION_LOST_CLAIM,  /* SETSLOT NODE is answered but not done, except at the target */
    MUTATION_LOST_WRITE,  /* now and then a client's SET is answered but not done */
    MUTATION_NR,
};

struct world;

/* What an agent's REDIS effect became. */
struct redis_call {
    struct world *world;
    int agent;
    uint64_t agent_process;
    uint64_t req_id;
    int node;
    int lane;
    uint64_t connection_id;
    bool is_answered;
    int64_t sent_us;
    int holders; /* happenings and pipelines that point here */
};

struct world_lane {
    uint64_t connection_id; /* 0 = not connected */
    uint64_t node_process;
    int64_t last_arrival_us;
    int64_t stalled_us; /* nothing arrives before: the way was cut */
};

/* A thing that waits for a paused actor: run again when it goes on. */
struct held_back {
    struct happening *items; /* owned */
    int count;
    int capacity;
};

struct world_agent {
    struct world *world;
    int index;
    int place;
    struct agent *core; /* NULL while down */
    uint64_t process;
    bool is_paused;
    int64_t fence_disk;          /* survives */
    int64_t fence_saved_highest; /* ever on disk, for the checkers */
    int64_t fence_highest;       /* accepted by this process, for the checkers */
    int64_t timer_us;            /* the next tick is scheduled for; NEVER = none */
    uint64_t timer_tag;
    int64_t tick_storm_ms;
    int tick_storm_count;
    struct held_back held;
    struct world_lane lanes[MODEL_NODES_MAX][LANES];
};

struct world_coordinator {
    struct world *world;
    int index;
    int place;
    struct coordinator *core; /* NULL while down */
    uint64_t process;
    bool is_paused;
    int64_t timer_us;
    uint64_t timer_tag;
    int64_t tick_storm_ms;
    int tick_storm_count;
    struct held_back held;
    uint64_t watch;
};

/* A request of an agent on its way. */
struct bus_call {
    struct world *world;
    int agent;
    uint64_t agent_process;
    uint64_t req_id;
    int coordinator;
    uint64_t coordinator_process;
    uint64_t handle;
    bool is_answered;
    struct strbuf bytes; /* owned: the request, then the reply */
    int holders;
};

/* What a client knows of a key that only it writes. */
struct client_key {
    int number;        /* in model_keys */
    int64_t version;   /* acknowledged; 0 = never written */
    bool is_deleted;   /* the acknowledged state is "not there" */
    bool is_doubled;   /* when it was acknowledged, another primary held a copy too */
    bool is_free;      /* somebody else removed it: anything goes until the next write */
    bool is_uncertain; /* an attempt has an unknown outcome: the key is not written any more */
    int64_t attempt;
    bool attempt_is_deletion;
    int64_t acked_us;
    uint32_t holders; /* nodes that ever held the key since */
};

struct world_client {
    struct world *world;
    int index;
    struct client_key keys[CLIENT_KEYS_MAX];
    int key_count;
    int8_t owner[SLOT_COUNT]; /* as far as it knows */
    /* the request in flight */
    int key; /* index into keys */
    enum { CLIENT_GET, CLIENT_SET, CLIENT_DEL } verb;
    int node;
    bool is_asking;
    int tries;
    uint64_t request; /* number of the request; answers to others are late */
    int64_t began_us;
    bool is_stopped;
};

struct world_operator {
    int operations_begun;
    bool is_waiting; /* for the answer to a command */
    enum coordinator_command_kind asked;
    char operation_id[OPERATION_ID_SIZE];
    bool is_final; /* the last operation of the run, after healing */
    int holds_resumed;
    int resumes_refused;
    bool is_replanning; /* the last operation is done: the same request must now plan nothing */
    int64_t next_us;
    bool has_plan; /* the request below was planned and its slots have keys */
    struct operation_request request;
    bool has_replanned;
};

/* Drawn from the seed: which faults this run may see, and how the fleet looks. */
struct world_setup {
    int coordinator_count;
    int host_count;
    int primary_count;
    int empty_primary_count;
    int replicas_per_primary;
    bool is_standalone; /* one agent serves all */
    uint32_t faults;    /* bits of enum fault */
    int64_t fault_gap_ms;
    int64_t phase_one_ms;
    int64_t node_timeout_ms;
    bool has_redis_faults;
    bool drains;
};

struct world {
    uint64_t seed;
    bool is_verbose;
    int traced_key; /* whose every change is told; MODEL_NONE = none */
    enum mutation mutation;
    struct world_setup setup;
    struct schedule schedule;
    struct model_network network;
    struct model_redis redis;
    struct model_store store;
    struct prng prng;
    struct world_agent agents[WORLD_HOSTS_MAX];
    int agent_count;
    struct world_coordinator coordinators[WORLD_COORDINATORS_MAX];
    struct world_client clients[WORLD_CLIENTS_MAX];
    int client_count;
    struct world_operator person;
    struct bus_call
        *pending[4096]; /* requests that coordinators hold, by handle % 4096; not owned */
    uint64_t next_number;
    bool is_healed; /* phase two: no more faults */
    int64_t healed_us;
    int64_t next_trap_us;
    int client_place;
    struct client_key
        *client_keys[MODEL_KEYS_MAX]; /* by number of the key; NULL = no client's; not owned */
    struct coverage *coverage;
    /* checkers */
    char violation[512]; /* the first one; "" = none */
    struct slot_mover_seen {
        int8_t agent;
        int8_t agent_before;
        int64_t at_us;
        int64_t at_before_us;
    } movers[SLOT_COUNT];
    int64_t disturbed_us[MODEL_NODES_MAX]; /* when a node last crashed, was promoted, demoted or
                                              copied anew */
    bool is_explained_held; /* the run ends held by a conflict that Redis's own faults made */
};

/* world.c */
void world_init(struct world *world,
                uint64_t seed,
                enum mutation mutation,
                bool is_verbose,
                struct coverage *coverage);
void world_release(struct world *world);
/* The whole run; 0, or -1 when a rule was broken (world->violation says which). */
int world_run(struct world *world);
void world_note(struct world *world, const char *format, ...) PRINTF_LIKE(2, 3);
void world_violated(struct world *world, const char *format, ...) PRINTF_LIKE(2, 3);
/* Runs 'what' now or, while the actor is paused, when it goes on. True when it was held back. */
bool world_hold_back(struct held_back *held, bool is_paused, struct happening *what);
void world_release_held(struct world *world, struct held_back *held);
void world_drop_held(struct held_back *held);
int64_t world_now_ms(const struct world *world);

/* world_agents.c */
void world_agent_start(struct world_agent *agent);
void world_agent_crash(struct world_agent *agent);
void world_agent_pause(struct world_agent *agent);
void world_agent_wake(struct world_agent *agent);
void world_agent_feed(struct world_agent *agent, struct agent_event *event);

/* world_lanes.c: agents to Redis */
void world_redis_send(struct world_agent *agent, const struct agent_effect *effect);

/* world_bus.c: agents to coordinators and back */
void world_bus_send(struct world_agent *agent, const struct agent_effect *effect);
void world_bus_reply(struct world_coordinator *coordinator,
                     uint64_t handle,
                     const struct message *message);

/* world_coordinators.c */
void world_coordinator_start(struct world_coordinator *coordinator);
void world_coordinator_crash(struct world_coordinator *coordinator);
void world_coordinator_pause(struct world_coordinator *coordinator);
void world_coordinator_wake(struct world_coordinator *coordinator);
void world_coordinator_feed(struct world_coordinator *coordinator, struct coordinator_event *event);
struct world_coordinator *world_leader(
    struct world *world); /* who believes to lead; NULL = nobody */

/* world_clients.c */
void world_clients_start(struct world *world);
/* Gives a slot new keys, already written and known to a client. */
void world_clients_add_slot(struct world *world, int slot, int keys);
/* The keys of a slot are about to be removed by somebody else; clients know. */
void world_clients_empty_slot(struct world *world, int slot);
void world_clients_check_end(struct world *world);

/* world_operator.c */
void world_operator_start(struct world *world);
void world_operator_answered(struct world *world, const struct coordinator_effect *effect);
bool world_operator_is_done(const struct world *world);

/* world_faults.c */
void world_faults_draw(struct world *world);
void world_faults_start(struct world *world);
/* A move takes a step: a fault may strike right now. */
void world_faults_tempt(struct world *world);
void world_heal(struct world *world);

#endif
