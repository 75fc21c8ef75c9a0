/* lifecycle_parts.h — what the decisions of lifecycle.h share; nobody else includes this.
 *
 * One decision is made in stages. A stage adds tasks or moves, or waits, or refuses; the first that
 * says anything ends the decision. A stage whose wish is already seen says nothing. */
#ifndef DROVER_COORDINATOR_CORE_LIFECYCLE_PARTS_H
#define DROVER_COORDINATOR_CORE_LIFECYCLE_PARTS_H

#include "coordinator/core/lifecycle.h"
#include "coordinator/core/placement.h"

#define REPLICAS_BARRIER 1       /* cluster-migration-barrier as Redis has it by default */
#define PRIMARIES_FOR_FAILOVER 3 /* fewer cannot outvote a dead one */
#define REPEATS_MAX 3 /* a task that was undone by somebody so often is not asked for again */

struct decision {
    const struct operation_request *request;
    const struct lifecycle_facts *facts;
    const struct topology *topology;
    struct lifecycle_answer *answer;
    int capacity;               /* of answer->batches */
    struct placement placement; /* as things are */
    char unseen[TEXT_SIZE];     /* a task that is done but not seen yet; "" = none */
    struct strbuf *why;         /* reasons of choices, a line each; NULL = not wanted */
};

/* --- saying ----------------------------------------------------------------------------------*/
/* True when something was said: later stages have to wait. */
bool decision_is_made(const struct decision *d);
void decide_refuse(struct decision *d, int code, const char *format, ...) PRINTF_LIKE(3, 4);
void decide_wait(struct decision *d, const char *format, ...) PRINTF_LIKE(2, 3);
/* What DONE says; nothing is ended by it. */
void decide_note(struct decision *d, const char *format, ...) PRINTF_LIKE(2, 3);
/* Waits unless the topology is settled. */
void decide_settled(struct decision *d);
/* Takes 'task' over as a batch, unless the same is done already and just not seen. */
void decide_task(struct decision *d, const struct task *task);
/* Takes the batches of a plan over and releases it. */
void decide_plan(struct decision *d, struct plan *plan);
/* A plan that could not be made: unsettled waits, the rest is refused. */
void decide_plan_failed(struct decision *d, int code, const struct err *err);

/* --- tasks that many need --------------------------------------------------------------------*/
void task_of_node(const struct decision *d,
                  enum task_kind kind,
                  int node,
                  int peer,
                  struct task *out);
/* Joins, once every host has reached it. */
void decide_join(struct decision *d, const struct address *address);
/* Every host that serves members tries the ports at the address; false when all have, or there are
 * none. */
bool decide_reach(struct decision *d, const struct address *address);
/* Every host that serves one of 'nodes' (count >= 1) tries the ports of all of them. */
void decide_reach_each_other(struct decision *d, const int *nodes, int count);
void decide_replicate(struct decision *d, int node, int primary);
/* Leaves, or refuses when something still rests on it. */
void decide_leave(struct decision *d, int node, bool is_dead);
/* A removal that this operation began, and that was broken off when nobody listed the node any more
 * (paused, or its agent was lost), is finished: what is missing is the look after the ban. */
void decide_unfinished_leaves(struct decision *d);
/* Servers of ours that left in this operation are stopped; what the dead left on a host that starts
 * servers is put aside. */
void decide_stops(struct decision *d);

/* --- work outside the servers (lifecycle_outside.c, lifecycle_welcome.c, lifecycle_undo.c) -----*/
/* Every agent with drain hooks takes client traffic off the node. False when all have done so, or
 * there are none. */
bool decide_traffic_down(struct decision *d, int node);
/* What was decided waits until client traffic is off all of these nodes. */
void decide_traffic_first(struct decision *d, const int *nodes, int count);
/* Every agent with drain hooks lets clients in to the nodes that joined in this operation: appended
 * to the answer, unless ordered before. */
void welcome_joined(const struct lifecycle_facts *facts,
                    struct lifecycle_answer *answer,
                    int *capacity);
/* This operation took client traffic off the node. */
bool is_traffic_down(const struct decision *d, int node);
bool can_provision(const struct decision *d);
/* Provisioners make 'count' more servers, 'primaries' of them for primaries. */
void decide_provisions(struct decision *d, int count, int primaries);
/* Servers that left in this operation go back to the provisioners. */
void decide_releases(struct decision *d);
/* The last TRAFFIC of the node that was given to the agent, or NULL; how many with these flags. */
const struct batch *last_traffic(const struct lifecycle_facts *facts,
                                 const struct node_id *node,
                                 const char *agent);
int count_traffic(const struct lifecycle_facts *facts,
                  const struct node_id *node,
                  const char *agent,
                  uint32_t flags);

/* --- requests to provisioners (lifecycle_request.c) --------------------------------------------*/
#define REQUEST_ID_SIZE 64

/* A request whose end nobody knows: its provisioner may have made a server. */
struct lost_request {
    char id[REQUEST_ID_SIZE];
    char agent[AGENT_ID_SIZE]; /* nobody else's provisioner need know it */
    const struct batch *first; /* that asked first; borrowed */
    const struct batch *last;  /* that was given to the agent last, or waits for it; borrowed */
    bool is_asked_again;       /* 'last' asks once more, to give back what comes */
    int ask_count;             /* how often it was asked for so */
};

/* Of the request that batch 'index' asked for first; false when that is no such batch, or all is
 * known. */
bool find_lost_request(const struct lifecycle_facts *facts, int index, struct lost_request *out);
/* The sentence for people. */
void describe_lost_request(const struct lost_request *lost, bool is_away, char reason[TEXT_SIZE]);
/* A PROVISION under the id of an earlier one, to learn what it made. */
bool is_asked_again(const struct task *task);

/* --- asking ----------------------------------------------------------------------------------*/
/* A live primary to ask, always the same one: with slots if there is any, then by id; never
 * 'not_this'. NO_NODE when there is none. */
int find_peer(const struct topology *topology, int not_this);
/* The member at an address, or NO_NODE. */
int find_member_at(const struct topology *topology, const struct address *address);
bool is_live(const struct topology_node *node); /* member, reachable, not failed */
bool is_live_primary(const struct topology_node *node);
bool is_online_replica(const struct topology_node *node); /* live, and its link is up */
int count_online_replicas(const struct topology *topology, int primary);
/* Online replicas that a primary must keep: 1, or 0 where the spec or the fleet does without. */
int barrier_of(const struct decision *d, int primary);
/* This operation moved slots away from the node, it has none any more, and it was given no other
 * duty since. */
bool was_emptied(const struct decision *d, int node);
int count_uncovered(const struct topology *topology);
const char *name_of(const struct decision *d, int node, char text[TOPOLOGY_NAME_SIZE]);

/* --- moves (lifecycle_moves.c) ---------------------------------------------------------------*/
/* All slots of the 'leaving' nodes to the other primaries that have slots, each slot moved once, by
 * who has least and has room. */
void decide_drain(struct decision *d, const int *leaving, int count);
/* Even shares over all primaries with slots and over 'chosen', which may have none yet. */
void decide_rebalance(struct decision *d, const int *chosen, int count);

/* --- nodes and replicas (lifecycle_spares.c, lifecycle_replicas.c) -----------------------------*/
/* Nodes that run and may join: reachable, empty, no members; and servers that were made for this
 * operation, seen or not. result is owned by the caller. */
int list_spares(const struct decision *d, struct address **result);
/* A server that this operation started or had made and that is not seen yet as one that may join.
 * False when there is none. */
bool find_coming(const struct decision *d, struct address *result);
/* How many more servers the hosts could start. */
int count_startable(const struct decision *d);
/* Starts 'count' more servers, 'primaries' of them placed as primaries. */
void decide_starts(struct decision *d, int count, int primaries);
/* The spare that is best for one more primary joins, or for one more replica. */
void decide_join_spare(struct decision *d, bool is_primary);
struct replica_wish {
    int wanted;           /* of each shard; -1 = as many as there are */
    bool may_leave;       /* members that serve nothing leave */
    const int *newcomers; /* primaries that get slots next; borrowed */
    int newcomer_count;
};
/* Every shard gets its replicas: first from those that are over or serve nothing, then from spares.
 * What is over leaves. With newcomers only they get any, nobody leaves, and until those are in step
 * it waits. */
void decide_replicas(struct decision *d, const struct replica_wish *wish);
/* Replicas of a primary that was emptied find other primaries, those with the fewest first; what
 * Redis attached to whoever took its last slot is evened out. */
void decide_rehome(struct decision *d, int node);
/* Gives 'count' nodes to the shards that lack replicas most. */
void decide_replicate_to_poorest(struct decision *d, const int *nodes, int count);

/* --- the kinds -------------------------------------------------------------------------------*/
void decide_create(struct decision *d);
void decide_add(struct decision *d);
void decide_remove(struct decision *d);
void decide_scale(struct decision *d);
void decide_replicate_request(struct decision *d);
void decide_failover(struct decision *d);
void decide_repair(struct decision *d);
/* A replica takes over from its primary: checks and the task. */
void decide_handover(struct decision *d, int replica, bool is_forced);

/* lifecycle_next() with the reasons of choices. */
void lifecycle_decide(const struct operation_request *request,
                      const struct lifecycle_facts *facts,
                      struct lifecycle_answer *out,
                      struct strbuf *why);

#endif
