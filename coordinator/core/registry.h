/* registry.h — the agents: who they are, what they last said, and the answers they wait for.
 *
 * An agent says hello (version, credential, cluster name, incarnation), is journalled under our
 * fence and then welcomed with a session. It reports in sequence; a report may be held until there
 * is something to say. The registry lives for one term: a new leader is told everything anew. What
 * an answer says is instructions.h's business; what the reports mean is observe.h's and
 * executor.h's. Source: docs/design.md section 5. */
#ifndef DROVER_COORDINATOR_CORE_REGISTRY_H
#define DROVER_COORDINATOR_CORE_REGISTRY_H

#include "coordinator/core/coordinator.h"

#define AGENTS_MAX 2048 /* twice the hosts of the biggest cluster that gossip carries */
#define AGENT_ORDERS_MAX \
    256 /* statuses of one report: one running and one waiting a source, on a crowded host */
#define AGENT_LOST_REPORTS 3   /* intervals without a report after which an agent counts as lost */
#define AGENT_SLACK_MS 1000    /* added to that: network and a busy host */
#define AGENT_FORGET_MS 600000 /* without a word: its entry goes, unless an order names it */
#define SAY_AGAIN_MS \
    1000 /* an instruction that the agent does not seem to have heard is repeated this often */

struct agent_entry {
    struct agent_id id;
    /* From the store, and written to it. */
    bool is_recorded;
    uint64_t incarnation_recorded;
    int64_t fence_recorded;
    /* Of this term. */
    uint64_t incarnation; /* 0 = not seen in this term */
    char version[VERSION_SIZE];
    uint64_t session;  /* 0 = none */
    uint64_t sequence; /* of its last report */
    int64_t fence_acked;
    int64_t heard_ms;    /* last hello or report */
    int64_t reported_ms; /* last report; NEVER = none in this session */
    bool is_lost;        /* told once */
    /* False when it came back with an emptier disk than it had: it may be another machine with the
     * same name, so its predecessor's orders are waited out. */
    bool is_same_disk;
    /* A hello that waits for the journal. */
    bool is_hello_waiting;
    uint64_t hello_handle;
    uint64_t hello_ticket;
    /* A held report. */
    bool is_poll_held;
    uint64_t poll_handle;
    int64_t poll_received_ms;
    int64_t poll_until_ms;
    bool wants_probe; /* its nodes are to be read again before an operation may be called done */
    int64_t probe_asked_ms; /* when it was last told so; 0 = never */
    bool has_news;          /* something may have to be said since the last look */
    int64_t said_ms; /* when it was last told something to act on; NEVER = nothing is outstanding */
    /* A report that wants its answer within the step that brought it. */
    bool is_quick_waiting;
    uint64_t quick_handle;
    /* What it last said. */
    struct node_report *nodes; /* owned */
    int node_count;
    int64_t nodes_received_ms;
    bool has_host; /* 'host' was said */
    struct host_report host;
    struct order_status *orders; /* owned */
    int order_count;
    uint64_t orders_sequence; /* counts reports, so that "not listed any more" can be told from "not
                                 heard" */
    /* Nodes of other hosts that it was told to serve; owned, ascending. */
    struct address *assigned;
    int assigned_count;
    bool is_assignment_new; /* not yet told */
};

struct registry {
    struct agent_entry **entries; /* by id; owned */
    int count;
    int capacity;
};

void registry_release(struct registry *registry);

struct agent_entry *registry_find(const struct registry *registry, const struct agent_id *id);
/* Finds or makes an entry; NULL at AGENTS_MAX. */
struct agent_entry *registry_add(struct registry *registry, const struct agent_id *id);

/* A node that its agent could not read and said why; 'agent' becomes whose. NULL = there is none.
 */
const struct node_report *registry_find_unread(const struct registry *registry,
                                               const struct agent_entry **agent);

/* A request of an agent while we lead and have loaded the journal; answered now or later, once. */
void registry_message(struct coordinator *c, uint64_t handle, const struct message *message);
/* Welcomes whose records are durable, lost agents, held reports that are due or have news. */
void registry_tick(struct coordinator *c);
int64_t registry_deadline(const struct coordinator *c);
/* The term is over: every waiting agent is told who leads, if known, and everything is forgotten.
 */
void registry_end_term(struct coordinator *c);

/* In session and heard lately. */
bool agent_is_connected(const struct coordinator *c, const struct agent_entry *agent);
/* May be given orders: connected and has our fence on its disk. */
bool agent_is_ready(const struct coordinator *c, const struct agent_entry *agent);

/* Answers an agent's request with a refusal. */
void refuse_agent(struct coordinator *c, uint64_t handle, int code, const char *text);

#endif
