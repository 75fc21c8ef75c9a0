/* election.h — who leads: one lease, one key, one fence.
 *
 *                    key absent            granted              txn succeeded
 *      FOLLOWING ----------------> GRANTING ------> CAMPAIGNING --------------> LEADING
 *        ^  ^                         |              |      | outcome unknown     ^  |
 *        |  +------- failed ----------+--- lost -----+      v                     |  |
 *        |                                              READING_BACK --- ours ----+  |
 *        |                                                  | not ours               |
 *        +--------------------------------------------------+------ term ended ------+
 *      stop, from anywhere: RESIGNING (lease revoked) -> STOPPED
 *
 * The fence is the create revision of the leader key. We lead by having created that key, never by
 * having read it; a read only tells when a campaign is worth trying. A term is counted from when
 * the keepalive (or the grant) was SENT and ends a margin before the TTL that the store granted.
 * Lease lost, guarded write refused or deadline passed: the term ends at once. Must not know agents
 * or operations. Source: docs/design.md section 5. */
#ifndef DROVER_COORDINATOR_CORE_ELECTION_H
#define DROVER_COORDINATOR_CORE_ELECTION_H

#include "common/base/prng.h"
#include "common/base/statemachine.h"
#include "coordinator/core/events.h"

#define LEADER_KEY "leader"
#define KEEPALIVE_TIMEOUT_MS \
    1000 /* several attempts, on other endpoints, must fit into the margin */
#define ELECTION_TIMEOUT_MS \
    3000 /* of grants, reads and claims: as long as an etcd election takes */
#define ELECTION_RETRY_MS \
    250 /* first pause after a failure; doubles up to the keepalive interval */
#define ELECTION_PAUSE_MS \
    500 /* after a lost term, so that a healthier coordinator may take over first */

enum election_state {
    ELECTION_FOLLOWING,
    ELECTION_GRANTING,
    ELECTION_CAMPAIGNING,
    ELECTION_READING_BACK,
    ELECTION_LEADING,
    ELECTION_RESIGNING,
    ELECTION_STOPPED,
    ELECTION_NR,
};

extern const struct sm_state election_states[ELECTION_NR];

struct election {
    struct sm sm;
    const struct coordinator_config *config; /* not owned */
    struct prng prng;
    /* What was last read; no proof of anything. Nothing here survives a restart. */
    struct leader_record leader;
    bool is_leader_known;
    /* Requests in flight; 0 = none. A result with another id is late and changes nothing. */
    uint64_t read_req;      /* FOLLOWING: of the leader key */
    uint64_t claim_req;     /* GRANTING, CAMPAIGNING, READING_BACK, RESIGNING */
    uint64_t keepalive_req; /* LEADING */
    uint64_t proof_req;     /* LEADING: a guarded write after a rumour that the key is gone */
    int64_t read_due_ms;    /* FOLLOWING */
    int64_t campaign_not_before_ms;
    int64_t claim_sent_ms; /* when the grant was sent: the term counts from it */
    int64_t keepalive_sent_ms;
    int64_t keepalive_due_ms;
    int64_t contact_ms;   /* LEADING: when the last successful keepalive was sent */
    int64_t proof_due_ms; /* NEVER = no rumour to check */
    int64_t lease_id;     /* of this claim; never used again afterwards */
    int64_t fence;        /* LEADING: > 0 */
    int64_t term_end_ms;
    int64_t leading_since_ms;
    int failures;         /* in a row */
    struct err store_err; /* code 0 = the store answered last time */
};

void election_init(struct election *election,
                   const struct coordinator_config *config,
                   uint64_t seed,
                   int64_t now_ms);

/* Lets time pass: sends what is due, ends a term whose deadline has passed. To be called first in
 * every step. */
void election_tick(struct election *election, struct turn *turn);
/* True when the result was one of ours. */
bool election_store_result(struct election *election,
                           struct turn *turn,
                           const struct coordinator_event *event);
/* The watch saw the leader key change. */
void election_changed(struct election *election, struct turn *turn, bool is_deleted);
/* Ends the term now, e.g. because a guarded write was refused. Only while LEADING. */
void election_end_term(struct election *election, struct turn *turn, const char *reason);
void election_stop(struct election *election, struct turn *turn);

bool election_is_leading(const struct election *election);
/* True while a keepalive succeeded lately, so that new work may be handed out. */
bool election_is_fresh(const struct election *election, int64_t now_ms);
int64_t election_deadline(const struct election *election);

#endif
