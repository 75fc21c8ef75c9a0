/* task.h — one step of a node's life: what an agent does to a node besides moving slots.
 *
 * A task is carried out under an order of kind ORDER_TASK, with the same rules as a move: fence,
 * expiry, safe to repeat (check the postcondition, act, check again), finished or left in a state
 * that anybody can resume. Plain structs, pure. Source: docs/lifecycle.md. */
#ifndef DROVER_MODEL_TASK_H
#define DROVER_MODEL_TASK_H

#include "common/base/err.h"
#include "common/base/slotset.h"
#include "common/model/ids.h"

#include <stdbool.h>
#include <stdint.h>

enum task_kind {
    /* 'node' (at node_address; its id may be "" when only the address is known) becomes a member of
     * the cluster of 'peer': preflight, MEET, functions copied, every member's own view lists it
     * with its link connected, unique config epoch. A join that does not end in time is undone. */
    TASK_JOIN = 1,
    /* 'node' becomes a replica of primary 'peer', full sync done and lag low. Refused while 'node'
     * owns slots or holds keys as a primary. */
    TASK_REPLICATE = 2,
    /* 'node', an in-step replica, takes over from its primary 'peer' (CLUSTER FAILOVER, never FORCE
     * unless TASK_FORCE). */
    TASK_FAILOVER = 3,
    /* 'node' leaves: made sure to have no slot, key or replica; reset (HARD) when it answers;
     * FORGET at every member, asked again after the ban (61 s) has passed; 'peer' is a member to
     * ask. A node that does not answer leaves only with TASK_DEAD. */
    TASK_LEAVE = 4,
    /* Slots left open or unowned are closed by the stated rules of docs/lifecycle.md; 'node' is
     * whom the slots belong to, 'peer' the other end if there is one. */
    TASK_REPAIR = 5,
    /* The agent starts a server as detail (lines "key value", see agent/core/instance.h) says;
     * 'node_address' is what it will announce. Done when it answers PING. */
    TASK_START = 6,
    /* The agent stops the server it started at 'node_address' and puts its data aside. Needs the
     * removal certificate in 'detail'. With TASK_DEAD only the data is put aside: a process that
     * runs there after all is left alone. */
    TASK_STOP = 7,
    /* Nodes that do not know each other are introduced: every member without 'node' in its view
     * MEETs it. */
    TASK_MEET = 8,
    /* 'node' takes the unowned slots of 'slots' (ADDSLOTSRANGE) and, with TASK_EPOCH, gets a config
     * epoch of its own: making a cluster, or covering slots that nobody has. */
    TASK_ADD_SLOTS = 9,
    /* The agent asks its provisioner for one more server. detail: "agent NAME", "request ID" (added
     * when it is sent: "<operation id>-<batch index>", so the same for every attempt), "maxmemory
     * BYTES" (0 = not said), "zone ZONE" (may be missing), "role primary" or "role replica". Done
     * when the provisioner says ready; its address is order_status.made. A request that is not
     * ready in the configured time, or is stopped, is released again before the task ends. */
    TASK_PROVISION = 10,
    /* The server at 'node_address' goes back to the agent's provisioner, for good. detail: "agent
     * NAME", then the removal certificate, checked as for STOP. A provisioner that does not know
     * the server has nothing to give back: done. */
    TASK_RELEASE = 11,
    /* The agent's drain hooks take client traffic off 'node': done when they say so and the node's
     * clients and operations are few, or when the hooks' limit has passed (the reason says so).
     * With TASK_UP they put it back. detail: "agent NAME", "role primary" or "role replica". */
    TASK_TRAFFIC = 12,
    /* The agent's host connects to the data port and the bus port that the node at 'node_address'
     * announces; changes nothing. Asked of every host before a JOIN, since a cluster whose nodes
     * cannot all reach each other calls its healthy nodes dead. detail: "agent NAME", "host HOST"
     * (as people know it, for the reason of a failure). */
    TASK_REACH = 13,
};
#define TASK_KIND_MAX TASK_REACH

/* task.flags */
#define TASK_DEAD (1u << 0) /* LEAVE, STOP: the node is known not to answer */
#define TASK_FORCE                                                                                \
    (1u << 1)                /* FAILOVER: without the primary's consent. ADD_SLOTS: also slots of \
                                an owner that is failed and does not answer */
#define TASK_EPOCH (1u << 2) /* ADD_SLOTS: detail holds the config epoch to set, in decimal */
#define TASK_REPLACE (1u << 3) /* REPAIR: a key that is on both sides: the owner's copy wins */
#define TASK_UP (1u << 4)      /* TRAFFIC: clients may use the node again */
#define TASK_FLAGS_ALL (TASK_DEAD | TASK_FORCE | TASK_EPOCH | TASK_REPLACE | TASK_UP)

#define TASK_DETAIL_SIZE 2048

struct task {
    enum task_kind kind;
    uint32_t flags;
    struct node_id
        node; /* "" = known by address only (JOIN, START, RELEASE), or none (PROVISION) */
    struct address node_address; /* port 0 = none yet (PROVISION) */
    struct node_id peer;         /* "" = none */
    struct address peer_address; /* port 0 = none */
    struct slotset slots;        /* REPAIR, ADD_SLOTS; at most BATCH_SLOTS_MAX for REPAIR */
    char detail[TASK_DETAIL_SIZE];
};

const char *task_kind_name(enum task_kind kind); /* "join" ... "reach" */
/* True for the kinds that one agent and nobody else can carry out: the first line of their detail,
 * "agent NAME", names it. */
bool task_kind_is_bound(enum task_kind kind);
/* The value of the first line "<word> <value>" of the detail into 'value', cut to its size; false
 * and "" when there is none. */
bool task_detail_get(const struct task *task, const char *word, char *value, size_t size);
/* One line for people: "join 10.0.0.4:7000", "make 3f2a... a replica of 91c0...". */
void task_format(const struct task *task, char *text, size_t size);
/* ERR_INVALID naming what is missing or too much for its kind. */
int task_validate(const struct task *task, struct err *err) WARN_UNUSED;

#endif
