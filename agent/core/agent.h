/* agent.h — the agent as a pure machine: events in, effects out.
 *
 * It probes the nodes it serves, reports them to the leading coordinator, and carries out orders
 * (slot moves, scans), each under a fence and an expiry. It knows no socket, clock, thread or file;
 * the shell and the simulator both drive it. Rules: docs/design.md sections 5 and 6. */
#ifndef DROVER_AGENT_CORE_AGENT_H
#define DROVER_AGENT_CORE_AGENT_H

#include "agent/core/host_call.h"
#include "common/base/clocktype.h"
#include "common/base/logevent.h"
#include "common/model/command.h"
#include "common/model/message.h"
#include "common/model/reply.h"

struct agent; /* owned by whoever called agent_new() */

enum instance_supervisor {
    SUPERVISOR_AUTO =
        0, /* systemd where it is the host's init, else a process of its own session */
    SUPERVISOR_SYSTEMD,
    SUPERVISOR_NONE,
};

#define INSTANCE_PATH_SIZE 512

/* What this host offers for servers that drover starts (TASK_START). Plain data. */
struct instance_settings {
    char folder[INSTANCE_PATH_SIZE]; /* absolute; "" = this agent starts no servers */
    char agent[AGENT_ID_SIZE];       /* filled in by the agent */
    char host[HOST_SIZE];          /* IP address that servers announce; "" = any may be asked for */
    char bind[INSTANCE_PATH_SIZE]; /* addresses to listen at; "" = the announced one and loopback */
    uint16_t port_first;           /* ports that servers may have, both ends included */
    uint16_t port_last;
    int64_t memory_bytes; /* for all servers of ours together; 0 = no limit */
    enum instance_supervisor supervisor;
    char user[128];     /* that drover logs in with, made in every conf; "" = the default user */
    char password[128]; /* "" = servers without a password */
    bool is_tls;
    char tls_cert[INSTANCE_PATH_SIZE];
    char tls_key[INSTANCE_PATH_SIZE];
    char tls_ca[INSTANCE_PATH_SIZE];
    char certificate_key[128]; /* shared with the coordinators: removal certificates must be signed
                                  with it; "" = signatures are not looked at */
};

/* Each hook of a kind, and HAProxy's processes. */
#define OUTSIDE_HOOKS_MAX 18

/* Who outside makes servers, and who keeps clients off them (docs/outside.md). Plain data. */
struct outside_settings {
    struct outside_target provisioner; /* way 0 = none */
    int64_t provision_timeout_ms;      /* > 0: for a server to be ready, or to be released */
    struct outside_target hooks[OUTSIDE_HOOKS_MAX];
    int hook_count;         /* all are called */
    int64_t drain_limit_ms; /* > 0: so long is waited for clients to leave */
    /* Filled in by the agent. */
    char cluster[64];
    char agent[AGENT_ID_SIZE];
    char certificate_key[128]; /* as in instance_settings */
};

struct agent_config {
    struct agent_id id;
    uint64_t incarnation;  /* random, new at each start; the shell draws it */
    uint64_t seed;         /* for jitter */
    int coordinator_count; /* >= 1; SEND effects name them by index */
    /* coordinator_count of them, copied. NULL: a refusal's leader_url is not followed, they are
     * tried in turn. */
    const char *const *coordinator_urls;
    struct address *nodes; /* configured nodes to serve; not owned, copied */
    int node_count;
    bool discovers;  /* look for servers on this host (AGENT_FX_DISCOVER) at start and now and again
                      */
    bool serves_all; /* standalone: also serve every node its nodes know of */
    int64_t fence_seen; /* highest fence on disk; 0 = none yet */
    char cluster[64];
    char credential[128];
    char redis_user[128];      /* for MIGRATE's AUTH; "" = default user */
    char redis_password[128];  /* "" = none */
    int64_t probe_interval_ms; /* 0 = what the coordinator says */
    char zone[64];             /* where the host stands, told to coordinators; "" = not said */
    struct instance_settings instances;
    struct outside_settings outside;
};

enum agent_event_kind {
    AGENT_TICK = 1,    /* the time agent_deadline() named has come, or earlier */
    AGENT_MESSAGE,     /* the answer to a SEND, or its failure */
    AGENT_REDIS,       /* the answers to a REDIS effect, or its failure */
    AGENT_FENCE_SAVED, /* the fence is on disk (code 0), or could not be written */
    AGENT_DISCOVERED,  /* servers that run on this host */
    AGENT_STOP,        /* finish what must not be cut, then EXIT */
    AGENT_HOST,        /* the answer to a HOST effect */
    AGENT_DIALED,      /* the answer to a DIAL effect */
};

struct agent_event {
    enum agent_event_kind kind;
    int64_t now_ms;        /* monotonic; never goes back */
    uint64_t req_id;       /* MESSAGE, REDIS, HOST, DIALED: of the effect that this answers */
    int code;              /* MESSAGE, REDIS, FENCE_SAVED, HOST, DIALED: 0 or ERR_* */
    const struct err *err; /* detail when code is not 0; may be NULL */
    const struct message *message;    /* MESSAGE with code 0 */
    const struct reply_list *replies; /* REDIS: what arrived; all of it when code is 0 */
    uint64_t connection_id; /* REDIS: which connection; changes when the lane was connected anew */
    int64_t latency_us;     /* REDIS: from write to last answer */
    int64_t fence;          /* FENCE_SAVED */
    const struct address *addresses; /* DISCOVERED */
    int address_count;
    enum host_verb host_verb;       /* HOST: what was asked for */
    const struct address *host_of;  /* HOST: of which server */
    const struct host_facts *facts; /* HOST: never NULL, also when code is not 0 */
};

enum agent_effect_kind {
    AGENT_FX_SEND =
        1, /* send a message to a coordinator; answered by AGENT_MESSAGE with req_id, always */
    AGENT_FX_REDIS, /* send a pipeline to a node; answered by AGENT_REDIS with req_id, always */
    AGENT_FX_SAVE_FENCE, /* make the fence durable; answered by AGENT_FENCE_SAVED */
    AGENT_FX_DISCOVER,   /* look for servers on this host; answered by AGENT_DISCOVERED */
    AGENT_FX_LOG,
    AGENT_FX_EXIT, /* last effect ever */
    AGENT_FX_HOST, /* files and processes of a server of ours; answered by AGENT_HOST, always */
    AGENT_FX_DIAL, /* connect and close again, saying nothing; answered by AGENT_DIALED, always */
};

/* Lanes: pipelines to one node wait for each other within a lane only. LANE_FAN is the first of
 * LANE_FAN_COUNT lanes for commands that each wait for something, so that they wait together. */
#define LANE_FAN_COUNT 16
enum redis_lane {
    LANE_PROBE = 0,
    LANE_CONTROL = 1,
    LANE_COPY = 2,
    LANE_SCAN = 3,
    LANE_FAN = 4,
    LANE_FAN_LAST = LANE_FAN + LANE_FAN_COUNT - 1
};

struct agent_effect {
    enum agent_effect_kind kind;
    uint64_t req_id;              /* SEND, REDIS, HOST, DIAL */
    int coordinator_index;        /* SEND */
    struct message message;       /* SEND; owned by the effect */
    int64_t timeout_ms;           /* SEND, REDIS, DIAL */
    struct address address;       /* REDIS, DIAL */
    enum redis_lane lane;         /* REDIS */
    struct command_list commands; /* REDIS; owned by the effect */
    uint64_t connection_id; /* REDIS: fail with ERR_UNAVAILABLE unless this very connection is up; 0
                               = any */
    int64_t fence;          /* SAVE_FENCE */
    struct log_event log;   /* LOG; owned by the effect */
    struct err err;         /* EXIT: code 0 = clean */
    struct host_call host;  /* HOST; owned by the effect */
};

struct agent_effects {
    struct agent_effect *items; /* owned */
    int count;
    int capacity;
};

/* Appends a zeroed effect of a kind and returns it; valid until the next append. */
struct agent_effect *agent_effects_add(struct agent_effects *fx, enum agent_effect_kind kind);
void agent_effects_clear(struct agent_effects *fx); /* frees the items' contents */
void agent_effects_release(struct agent_effects *fx);

struct agent *agent_new(const struct agent_config *config, int64_t now_ms);
void agent_free(struct agent *agent);

/* Feeds one fact in and appends what must be done. Never blocks. Answers with an unknown req_id
 * change nothing. */
void agent_step(struct agent *agent, const struct agent_event *event, struct agent_effects *fx);

/* When AGENT_TICK is due next; NEVER if only answers are awaited. */
int64_t agent_deadline(const struct agent *agent);

/* For the checkers of the simulator: highest fence accepted. */
int64_t agent_fence(const struct agent *agent);

/* Read-only look, for metrics and tests. */
bool agent_is_in_session(const struct agent *agent);
int agent_running_orders(const struct agent *agent);
int agent_node_count(const struct agent *agent);

#endif
