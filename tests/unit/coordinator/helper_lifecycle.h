/* helper_lifecycle.h — clusters written as text for the tests of node life, and what is done to
 * them as text.
 *
 * A cluster: nodes separated by ';', each "name@host/zone what", where what is
 *   0-5460,6000   a primary with these slots        >a      a replica of a
 *   empty         a primary without slots           spare   runs, is no member
 *   +words        dead (no slots lost), silent (not marked failed), keys=N, used=N, max=N
 * (memory), lag (a replica whose link is down), evicts nothing else and hosts that start servers as
 * "host/zone starts N" (room for N), whose agent has a provisioner as "host/zone provisions", or
 * drain hooks as "host/zone drains". Ids follow from names, so nodes are in order of name. */
#ifndef DROVER_TESTS_UNIT_COORDINATOR_HELPER_LIFECYCLE_H
#define DROVER_TESTS_UNIT_COORDINATOR_HELPER_LIFECYCLE_H

#include "common/base/prng.h"
#include "coordinator/core/lifecycle_model.h"

#define LIFE_HOSTS_MAX 64

struct life {
    struct lifecycle_model model;
    struct topology topology; /* as written */
    struct lifecycle_host hosts[LIFE_HOSTS_MAX];
    struct spec_record spec;
    struct plan_options options;
    struct lifecycle_facts facts;
    struct prng *chance; /* NULL = Redis attaches nothing by itself */
    bool tells_reach;    /* rounds in which hosts try a newcomer's ports are told too */
    char transcript[16384];
};

void life_init(struct life *life, const char *text);
void life_release(struct life *life);
struct node_id life_id(const char *name);
struct address life_address(const char *host);
/* The name of an id, or its first digits when it is nobody's. */
const char *life_name(const struct node_id *id, char text[48]);
/* Runs a request to its end on the model; each round is a line of short words, e.g.
 * "join s", "move a>s 1365, b>s 1366", "replicate d>b", "leave d", "stop 10.0.0.1:7000"; the last
 * line is "done", "wait: ..." or "refused: ...". Returns life->transcript. A new operation begins:
 * history is forgotten. */
const char *life_run(struct life *life, const struct operation_request *request);
/* One round: fills answer and carries it out when it is MORE. The answer is the caller's. */
void life_step(struct life *life,
               const struct operation_request *request,
               struct lifecycle_answer *answer);
/* Redis: primaries without slots that gave some away become replicas of a taker, with theirs. */
void life_attach(struct life *life, const struct lifecycle_answer *answer, bool is_sure);
void life_forget_history(struct life *life);

#endif
