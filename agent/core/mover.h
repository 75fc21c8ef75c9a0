/* mover.h — what the files of the slot mover share. Not for others: they use slot_mover.h.
 *
 *   slot_mover.c     the machine, its table, retries and endings
 *   mover_status.c   what it says of itself in reports
 *   mover_survey.c   both nodes asked; where every slot stands
 *   mover_open.c     bursts: empty slots first; IMPORTING, then MIGRATING
 *   mover_copy.c     keys listed, sized, and MIGRATEd one call at a time
 *   mover_conflict.c keys that are on both sides
 *   mover_fan.c      SETSLOT of many slots: in one pipeline, or side by side where each one waits
 *   mover_clear.c    config epochs and failovers: will the target's claim hold?
 *   mover_commit.c   replicas in step, proof, SETSLOT NODE at target, source, everyone
 *   mover_claim.c    the claim at the target, with a deadline
 *   mover_script.c   its words
 *   mover_risk.c     keys that the target's replicas may not have yet
 *   mover_failover.c the source is gone or demoted: find its successor, repair the target
 *   mover_close.c    all views checked at the end; slots that nothing was moved of are closed again
 *   mover_marks.c    marks that replicas of the two ends have left, taken away
 */
#ifndef DROVER_AGENT_CORE_MOVER_H
#define DROVER_AGENT_CORE_MOVER_H

#include "agent/core/governor.h"
#include "agent/core/owned_watch.h"
#include "agent/core/redis_words.h"
#include "agent/core/request_ids.h"
#include "agent/core/slot_mover.h"
#include "common/base/prng.h"
#include "common/base/statemachine.h"
#include "common/model/info_text.h"
#include "common/model/nodes_text.h"

enum mover_state {
    MOVER_SURVEYING, /* both nodes asked how things stand */
    MOVER_COUNTING,  /* keys of every slot counted at the source */
    MOVER_MOVING,    /* bursts on their way */
    MOVER_WAITING,   /* something failed: let go, wait, survey again */
    MOVER_TRACING,   /* the source is gone or demoted: asking the others who owns its slots */
    MOVER_REPAIRING, /* target told of the source's successor */
    MOVER_SETTLING,  /* every primary's view checked */
    MOVER_UNMARKING, /* marks left at replicas of the two ends taken away */
    MOVER_CLOSING,   /* ending badly: running commands awaited, untouched slots closed */
    MOVER_FREEZING,  /* no further command; the running one awaited */
    MOVER_DONE,
    MOVER_STOPPED,
    MOVER_FAILED,
    MOVER_HELD,
    MOVER_EXPIRED,
    MOVER_STATE_NR,
};

/* The life of a burst of slots. */
enum burst_state {
    BURST_FREE,
    BURST_IMPORTING, /* target told */
    BURST_MIGRATING, /* source told, keys counted */
    BURST_COPYING,   /* keys on their way */
    BURST_SYNCING,   /* target's replicas catching up */
    BURST_PROVING,   /* source asked once more: mark, ownership, 0 keys */
    BURST_CLAIMING,  /* target told that it owns; only forward now */
    BURST_TEACHING,  /* target's replicas must show the new owner */
    BURST_RELEASING, /* source told */
    BURST_TELLING,   /* every other primary told */
    BURST_STATE_NR,
};

/* What is known of a slot; bits. Kept over surveys. */
enum slot_flag {
    SLOT_OURS =
        1 << 0, /* opened by this mover while untouched, nobody restarted or changed owner since */
    SLOT_MARKED = 1 << 1, /* found open by the last survey */
    SLOT_TOUCHED =
        1 << 2, /* keys may have moved: a MIGRATE was sent, or somebody else had opened it */
    SLOT_CLAIMED =
        1 << 3, /* the target says it owns it already; source and others are to be told */
    SLOT_CLASHED = 1 << 4,  /* a key of it was on both sides */
    SLOT_HELD = 1 << 5,     /* left open for a person */
    SLOT_OPENED = 1 << 6,   /* this mover sent IMPORTING or MIGRATING and has not finished it */
    SLOT_UNPROVED = 1 << 7, /* opened by this mover with keys in it, which it has not seen leave; so
                               nobody may own it but the source */
};

enum copy_phase {
    COPY_EMPTY,   /* no key left as far as we know; the proof decides */
    COPY_UNKNOWN, /* to be listed */
    COPY_LISTING, /* listing on its way */
    COPY_LISTED,  /* keys at hand */
    COPY_PARKED,  /* leaves the burst: handed back to the queue, or held */
};

enum key_verdict {
    KEY_PLAIN, /* MIGRATE without REPLACE */
    KEY_SAME,  /* equal on both sides: REPLACE drops the source's copy */
};

struct listed_key {
    size_t offset; /* into the listing's bytes */
    size_t len;
    int64_t bytes; /* MEMORY USAGE; -1 = not known yet, -2 = gone */
    enum key_verdict verdict;
    bool is_compared; /* with the target's copy, in slots where that is needed */
    bool is_sent;
};

#define KEY_BYTES_UNKNOWN (-1)
#define KEY_BYTES_GONE (-2)

/* Some of a slot's keys, as GETKEYSINSLOT gave them. */
struct key_listing {
    struct strbuf bytes;
    struct listed_key *keys; /* owned */
    int count;
    int capacity;
    int sized;      /* keys [0, sized) have their size */
    int size_count; /* so many more were asked for by size_req; 0 = none */
    uint64_t size_req;
    int next;         /* keys [0, next) are sent or big */
    int big_left;     /* big keys not sent yet */
    bool is_complete; /* the slot held no more keys when it was listed */
};

struct burst_slot {
    uint16_t slot;
    enum copy_phase phase;
    int64_t keys_left; /* as last counted */
    uint64_t list_req; /* the request that lists it */
    int list_limit;    /* keys asked for by that */
    struct key_listing listing;
};

#define MOVER_NO_LANE (-1)
#define BURST_SLOTS_MAX 64
#define BURSTS_MAX 3 /* one commits, one copies, one is opened ahead */

struct burst {
    struct sm sm;
    struct burst_slot slots[BURST_SLOTS_MAX];
    int slot_count;
    int answers_awaited;
    int64_t wake_ms;       /* next poll of a waiting state; NEVER */
    int64_t wait_until_ms; /* bound of a waiting state */
    int64_t target_offset; /* SYNCING: what the replicas must reach */
    bool is_behind;        /* an answer of this round said: not yet */
    bool is_proved;   /* the source holds no key of it, by its own word after the mark was set */
    bool is_marked;   /* MIGRATING: the source has taken all marks, the counts are asked for */
    bool is_of_empty; /* its slots were empty when counted */
    bool is_clear;    /* the target, asked last, has nothing against a claim */
    int clearances_awaited;
    int64_t proof_sent_ms;  /* when both ends were asked */
    int64_t target_time_us; /* the target's own clock as it answered that, since 1970 */
    int late_proofs;        /* that came too late to be used */
};

enum mover_request_kind {
    REQUEST_SURVEY_SOURCE = 1,
    REQUEST_SURVEY_COPY, /* the copy lane's own look at the source */
    REQUEST_SURVEY_TARGET,
    REQUEST_COUNT,     /* index = first slot */
    REQUEST_BURST,     /* the burst's present step; index = replica or peer */
    REQUEST_CLEARANCE, /* the target, before the burst is claimed */
    REQUEST_LIST,
    REQUEST_SIZE,    /* index = slot of the burst, first, count = keys */
    REQUEST_MIGRATE, /* index = slot of the burst */
    REQUEST_COMPARE, /* index = slot of the burst */
    REQUEST_TRACE,   /* index = witness */
    REQUEST_REPAIR,
    REQUEST_SETTLE, /* index = settle_node */
    REQUEST_SETTLE_TELL,
    REQUEST_MARKS, /* index = follower */
    REQUEST_MARKS_TELL,
    REQUEST_UNDO,
};

struct mover_request {
    uint64_t req_id;
    enum mover_request_kind kind;
    int burst;
    int index;
    int first;
    int count;
    bool is_target;   /* COMPARE: this is the target's half; BURST: sent to the target */
    int lane;         /* BURST: of a fan, from 0; MOVER_NO_LANE = the control lane */
    bool is_script;   /* BURST: a claim with a deadline */
    bool is_harmless; /* reads only: whoever must wait for running commands need not wait for this
                         one */
};

/* A node the mover talks to. */
struct mover_node {
    struct node_id id;
    struct address address;
    bool is_lost;     /* did not answer last time: gossip has to tell it */
    bool is_given_up; /* a replica that later bursts do not wait for */
    bool is_settled;  /* SETTLING: its view is right; UNMARKING: nothing is left to do about it */
    bool is_replica;
};

/* Source or target, as the last survey found it. */
struct mover_end {
    struct mover_node node;
    char run_id[RUN_ID_SIZE];
    uint64_t control_connection;              /* 0 = any */
    uint64_t copy_connection;                 /* source only */
    uint64_t fan_connections[LANE_FAN_COUNT]; /* 0 = not used since the survey */
};

/* One side of a running survey. */
struct survey_side {
    bool is_answered;
    int code; /* 0, or why it did not answer */
    struct err err;
    struct nodes_view view;
    struct cluster_info cluster;
    struct info info;
    uint64_t connection;
};

struct mover_survey {
    struct survey_side source;
    struct survey_side target;
    bool is_copy_answered;
    int copy_code;
    char copy_run_id[RUN_ID_SIZE];
    uint64_t copy_connection;
};

/* The MIGRATE call on its way: at most one a source, ever. */
struct mover_call {
    bool is_running;
    uint16_t slot;
    int key_count;
    int64_t bytes;
    bool has_replace;
};

/* How it ends, once it is known that it ends. */
struct mover_verdict {
    enum mover_state state; /* one of the terminal ones */
    int code;
    char reason[TEXT_SIZE];
};

#define MOVER_PEERS_MAX 1024
#define MOVER_REPLICAS_MAX 16
#define MOVER_FOLLOWERS_MAX 32 /* as many of each end */

struct slot_mover {
    /* Set once. */
    struct order order;
    struct mover_login login;
    struct request_ids own_ids;
    struct request_ids *ids; /* own_ids, or those of the machine that it works for */
    struct prng prng;

    struct sm sm;
    int64_t now_ms; /* of the step that runs */
    bool is_begun;
    bool is_stopping;
    struct mover_verdict verdict;
    struct mover_request *requests; /* on their way; owned */
    int request_count;
    int request_capacity;

    /* From the last survey. */
    struct mover_survey *survey; /* while surveying; owned */
    struct mover_end source;
    struct mover_end target;
    struct address target_seen_by_source; /* what MIGRATE must name */
    struct mover_node *peers;             /* other primaries; owned */
    int peer_count;
    struct mover_node replicas[MOVER_REPLICAS_MAX]; /* of the target */
    int replica_count;
    struct mover_node
        *witnesses; /* whom to ask about a lost source: its replicas, then the peers; owned */
    int witness_count;
    int trace_awaited;
    bool setslot_waits; /* each SETSLOT waits for the node's replicas (Valkey 8): see mover_fan.c */
    bool has_scripts;   /* the target's claims can be a script: see mover_claim.c */
    int64_t source_epoch;     /* the source's config epoch */
    int64_t failing_slots;    /* of primaries that the target saw failing */
    struct node_id successor; /* found by tracing */
    struct owned_watch owned; /* the source's slots, for how long */

    /* The slots. */
    uint8_t flags[SLOT_COUNT];
    struct slotset todo_empty; /* not begun, empty when counted */
    struct slotset todo_keys;  /* not begun, with keys */
    struct slotset done;       /* the target owns them and everyone was told */
    struct slotset unclosed;   /* of done: found so, with a mark still on; not reported before
                                  settling took it away */
    struct slotset held;
    struct slotset repairs; /* the target thinks that the source's predecessor owns them */
    struct burst bursts[BURSTS_MAX];
    int bursts_begun; /* counts up; the oldest burst has the lowest number */
    int burst_numbers[BURSTS_MAX];

    /* Copying. */
    struct governor governor;
    struct mover_call call;
    int sizes_awaited;
    bool is_comparing;
    int compare_answers;          /* of the two sides */
    struct strbuf compare_values; /* of the side that answered first */

    /* Trouble. */
    int failures;          /* since there was progress */
    int64_t wake_ms;       /* WAITING, SETTLING, CLOSING */
    int64_t lost_since_ms; /* the source does not answer; NEVER = it does */
    int64_t
        resting_since_ms; /* the source's slots are too new to be imported; NEVER = they are not */
    int64_t unclear_since_ms; /* a claim might not hold, see mover_clear.c; NEVER = it would */
    bool is_script_refused;   /* the target let us run none */
    int late_claims;          /* that the target got too late */
    int settle_round;
    int settle_cursor; /* the next node to ask in this round */
    int settle_awaited;
    struct mover_node followers[MOVER_FOLLOWERS_MAX]; /* replicas of both ends, by the target's last
                                                         view while settling */
    int follower_count;
    int close_step;      /* of undoing */
    struct slotset undo; /* slots that are being closed again */

    /* Told in reports. */
    uint64_t keys_moved;
    uint64_t bytes_moved;
    uint32_t keys_at_risk[SLOT_COUNT]; /* that the target's replicas were not seen to have */
    uint64_t retries;
    bool is_replica_synced;
    int held_code;
    char held_reason[TEXT_SIZE];
    char doing[TEXT_SIZE];
    struct big_key big_keys[BIG_KEYS_REPORTED_MAX];
    int big_key_count;
};

#define MOVER_ASK_TIMEOUT_MS 5000 /* of every request but MIGRATE */

/* ---- slot_mover.c ---- */

/* Sends a pipeline and remembers it; fill the returned list before the next effect is added.
 * connection_id 0 = any. */
struct mover_where {
    const struct address *address;
    enum redis_lane lane;
    uint64_t connection_id;
    int64_t timeout_ms;
};
struct command_list *mover_ask(struct slot_mover *m,
                               struct agent_effects *fx,
                               const struct mover_request *request,
                               const struct mover_where *where,
                               uint64_t *req_id);
/* Control lanes of the two ends, bound to the connections of the survey. */
struct command_list *mover_ask_source(struct slot_mover *m,
                                      struct agent_effects *fx,
                                      const struct mover_request *request);
struct command_list *mover_ask_target(struct slot_mover *m,
                                      struct agent_effects *fx,
                                      const struct mover_request *request);

/* Lets go of everything in hand and surveys again after a backoff. The fault decides whether that
 * makes sense at all: a wrong login ends the order at once. 'what' says what failed. */
void mover_retry(struct slot_mover *m,
                 struct agent_effects *fx,
                 enum redis_fault fault,
                 const char *what);
/* The same for what is no failure and passes by itself, within a minute or never: gossip that has
 * not arrived. */
void mover_await(struct slot_mover *m, struct agent_effects *fx, const char *what);
/* Surveys again at that time; no failure either, unless it goes on for a minute. */
void mover_rest(struct slot_mover *m, struct agent_effects *fx, int64_t until_ms, const char *what);
/* Of an answer that did not come (code not 0) or is an error: picks the fault and the words, then
 * mover_retry(). */
void mover_retry_reply(struct slot_mover *m,
                       struct agent_effects *fx,
                       const struct agent_event *ev,
                       const struct reply *reply,
                       const char *what);
/* Ends with FAILED or HELD after the commands on their way have ended. */
void mover_end(struct slot_mover *m,
               struct agent_effects *fx,
               enum mover_state state,
               int code,
               const char *reason);
/* A slot cannot go on without a person; the others do. */
void mover_hold_slot(struct slot_mover *m,
                     struct agent_effects *fx,
                     int slot,
                     int code,
                     const char *reason);
void mover_progress(struct slot_mover *m);
void mover_say(struct slot_mover *m, const char *format, ...) PRINTF_LIKE(2, 3);
struct log_event *mover_log(struct slot_mover *m,
                            struct agent_effects *fx,
                            enum log_level level,
                            const char *name);
/* The first reply that is an error, or NULL. */
const struct reply *mover_first_error(const struct reply_list *replies);
bool mover_may_begin(const struct slot_mover *m);

/* ---- mover_survey.c ---- */
void mover_survey_begin(struct slot_mover *m, struct agent_effects *fx);
void mover_survey_answer(struct slot_mover *m,
                         const struct mover_request *request,
                         const struct agent_event *ev,
                         struct agent_effects *fx);
void mover_survey_release(struct slot_mover *m);
void mover_count_answer(struct slot_mover *m,
                        const struct mover_request *request,
                        const struct agent_event *ev,
                        struct agent_effects *fx);

/* ---- mover_open.c ---- */
void mover_moving_run(struct slot_mover *m, struct agent_effects *fx);
void mover_burst_answer(struct slot_mover *m,
                        const struct mover_request *request,
                        const struct agent_event *ev,
                        struct agent_effects *fx);
void mover_bursts_drop(struct slot_mover *m);
bool mover_bursts_are_free(const struct slot_mover *m);
int mover_open_slot_count(const struct slot_mover *m);
/* The burst's slots that are still to be committed. */
bool burst_slot_is_live(const struct burst_slot *slot);
/* Bursts in the order in which they were begun; index 0..BURSTS_MAX-1; NULL when there are fewer
 * alive. */
struct burst *mover_burst_by_age(struct slot_mover *m, int index);
int mover_burst_index(const struct slot_mover *m, const struct burst *burst);
void mover_burst_free(struct slot_mover *m, struct burst *burst);

/* ---- mover_copy.c ---- */
void mover_copy_run(struct slot_mover *m, struct agent_effects *fx);
void mover_copy_answer(struct slot_mover *m,
                       const struct mover_request *request,
                       const struct agent_event *ev,
                       struct agent_effects *fx);
const char *listing_key(const struct key_listing *listing, int index);
void listing_clear(struct key_listing *listing);

/* ---- mover_conflict.c ---- */
/* True when the slot's keys must be compared with the target's before they are moved. */
bool mover_conflict_applies(const struct slot_mover *m, int slot);
/* Asks both sides for the next keys that are not compared yet; nothing when there is none or some
 * are on their way. */
void mover_conflict_begin(struct slot_mover *m,
                          struct burst *burst,
                          int index,
                          struct agent_effects *fx);
void mover_conflict_answer(struct slot_mover *m,
                           const struct mover_request *request,
                           const struct agent_event *ev,
                           struct agent_effects *fx);

/* ---- mover_fan.c ---- */

#define MOVER_FAN_END (-1)
/* Where SETSLOTs of a burst go. */
struct mover_fan {
    const struct mover_node *node;
    struct mover_end *end; /* of 'node', or NULL for another primary */
    bool is_target;
    int index;        /* of the requests: MOVER_FAN_END, or the peer's */
    const char *verb; /* "IMPORTING", "MIGRATING", "NODE" */
    const struct node_id *peer;
    bool skips_claimed; /* leaves out what the target has claimed already */
    bool is_bound;      /* only over connections that were used since the survey */
};
/* Tells a node about the live slots of a burst and adds to burst->answers_awaited. */
void mover_fan_out(struct slot_mover *m,
                   struct burst *burst,
                   const struct mover_fan *fan,
                   struct agent_effects *fx);
/* Of every answer to it, first of all: keeps the connection. True when it was the last one. */
bool mover_fan_answered(struct slot_mover *m,
                        struct burst *burst,
                        const struct mover_request *request,
                        const struct agent_event *ev);

/* ---- mover_clear.c ---- */
/* Of a survey. False when the mover waits instead, since the source does not know its successor
 * yet, or since a claim might not hold. */
bool mover_judge_successor(struct slot_mover *m, struct agent_effects *fx);
bool mover_judge_epochs(struct slot_mover *m, struct agent_effects *fx);
/* False when the mover waits: the target would take what it imports (Valkey), see owned_watch.h. */
bool mover_judge_rest(struct slot_mover *m, struct agent_effects *fx);
/* The last answer of 'ev' is the source's CLUSTER INFO: as surveyed? Otherwise the mover looks
 * again. */
bool mover_source_is_clear(struct slot_mover *m,
                           const struct agent_event *ev,
                           struct agent_effects *fx);
/* Asks the target anew; the source is asked at the same time. */
void mover_clearance_ask(struct slot_mover *m, struct burst *burst, struct agent_effects *fx);
/* True when the burst has become clear by it. */
bool mover_clearance_answer(struct slot_mover *m,
                            struct burst *burst,
                            const struct agent_event *ev,
                            struct agent_effects *fx);

/* ---- mover_claim.c ---- */

/* A replica that has heard that its primary failed asks for votes after 500 ms at the earliest; the
 * target hears of the failure when the replica does. */
#define MOVER_PROOF_MS_MAX 400
#define MOVER_LATE_PROOFS_MAX \
    3 /* in a row: then the nodes are slow, and no other proof would be faster */

/* Of a survey: can the target be told by script? */
void mover_judge_scripts(struct slot_mover *m, const struct info *target);
bool mover_claims_by_script(const struct slot_mover *m);
/* The target's answer to TIME, asked with its clearance. False when it cannot be read. */
bool mover_claim_take_time(struct slot_mover *m,
                           struct burst *burst,
                           const struct reply *reply,
                           struct agent_effects *fx);
/* Tells the target that it owns the burst's slots, now or never. */
void mover_claim(struct slot_mover *m, struct burst *burst, struct agent_effects *fx);
enum claim_outcome {
    CLAIM_OPEN,  /* more answers to come, or the mover lets go */
    CLAIM_HELD,  /* the target owns every slot */
    CLAIM_AGAIN, /* nothing was done: prove anew */
};
enum claim_outcome mover_claim_answer(struct slot_mover *m,
                                      struct burst *burst,
                                      const struct mover_request *request,
                                      const struct agent_event *ev,
                                      struct agent_effects *fx);

/* ---- mover_risk.c ---- */
/* That many keys have moved, or may have. */
void mover_risk_add(struct slot_mover *m, int slot, int keys);
/* The target's replicas have all of the burst. */
void mover_risk_clear(struct slot_mover *m, const struct burst *burst);
/* 'what' tells that the target failed over, or is gone; adds what may be lost by that. */
void mover_say_loss(const struct slot_mover *m, const char *what, char text[TEXT_SIZE]);

/* ---- mover_commit.c ---- */
/* The target has nothing against a claim: claims if the source's proof is there, too. */
void mover_commit_cleared(struct slot_mover *m, struct burst *burst, struct agent_effects *fx);
void mover_commit_begin(struct slot_mover *m, struct burst *burst, struct agent_effects *fx);
void mover_commit_answer(struct slot_mover *m,
                         struct burst *burst,
                         const struct mover_request *request,
                         const struct agent_event *ev,
                         struct agent_effects *fx);
/* Polls that are due. */
void mover_commit_run(struct slot_mover *m, struct burst *burst, struct agent_effects *fx);

/* ---- mover_failover.c ---- */
void mover_trace_begin(struct slot_mover *m, struct agent_effects *fx, const char *why);
void mover_trace_answer(struct slot_mover *m,
                        const struct mover_request *request,
                        const struct agent_event *ev,
                        struct agent_effects *fx);
/* Tells the target that 'successor' owns the slots which it imports from the source or its
 * predecessor. */
void mover_repair_begin(struct slot_mover *m,
                        const struct slotset *slots,
                        const struct node_id *successor,
                        struct agent_effects *fx);
void mover_repair_answer(struct slot_mover *m,
                         const struct agent_event *ev,
                         struct agent_effects *fx);

/* ---- mover_close.c ---- */
void mover_settle_begin(struct slot_mover *m, struct agent_effects *fx);
void mover_settle_run(struct slot_mover *m, struct agent_effects *fx);
void mover_settle_answer(struct slot_mover *m,
                         const struct mover_request *request,
                         const struct agent_event *ev,
                         struct agent_effects *fx);
/* Everybody was looked at: done, stopped or held. */
void mover_settle_over(struct slot_mover *m, struct agent_effects *fx);
void mover_close_run(struct slot_mover *m, struct agent_effects *fx);
void mover_close_answer(struct slot_mover *m,
                        const struct mover_request *request,
                        const struct agent_event *ev,
                        struct agent_effects *fx);

/* ---- mover_marks.c ---- */
/* Takes the replicas of both ends from the target's own view. */
void mover_marks_collect(struct slot_mover *m, const struct nodes_view *view);
/* Every primary shows the new owner. Ends in mover_settle_over(), soon. */
void mover_marks_begin(struct slot_mover *m, struct agent_effects *fx);
void mover_marks_run(struct slot_mover *m, struct agent_effects *fx);
void mover_marks_answer(struct slot_mover *m,
                        const struct mover_request *request,
                        const struct agent_event *ev,
                        struct agent_effects *fx);

#endif
