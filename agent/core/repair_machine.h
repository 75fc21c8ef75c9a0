/* repair_machine.h — what the files of the repair share. Not for others: they use repair.h.
 *
 *   repair.c       the machine: groups of slots, rounds, endings
 *   repair_steps.c what the rules said is done
 *   repair_look.c  all nodes asked: the picture
 *   repair_rules.c what to do next about a slot (pure)
 *   repair_keys.c  keys of one slot brought to its owner
 */
#ifndef DROVER_AGENT_CORE_REPAIR_MACHINE_H
#define DROVER_AGENT_CORE_REPAIR_MACHINE_H

#include "agent/core/governor.h"
#include "agent/core/owned_watch.h"
#include "agent/core/redis_words.h"
#include "agent/core/repair.h"
#include "agent/core/repair_rules.h"
#include "agent/core/request_ids.h"
#include "common/base/prng.h"
#include "common/base/statemachine.h"
#include "common/model/nodes_text.h"

enum repair_state {
    REPAIR_MAPPING,  /* the nodes named by the order asked who is in the cluster */
    REPAIR_LOOKING,  /* every node asked about itself and the slots in hand */
    REPAIR_ACTING,   /* marks and owners being set */
    REPAIR_FETCHING, /* keys of one slot brought to its owner */
    REPAIR_MOVING,   /* a slot mover finishes moves */
    REPAIR_RESTING,  /* looks again soon */
    REPAIR_FREEZING, /* no further command; the running ones awaited */
    REPAIR_DONE,
    REPAIR_STOPPED,
    REPAIR_FAILED,
    REPAIR_HELD,
    REPAIR_EXPIRED,
    REPAIR_STATE_NR,
};

enum repair_request_kind {
    REPAIR_ASK_MAP = 1, /* index = 0 the node, 1 the peer of the task */
    REPAIR_ASK_NODE,    /* index = node */
    REPAIR_ASK_SET,     /* index = node */
    REPAIR_ASK_KEYS,    /* the fetch's present step; index = 1 for the owner's half */
};

struct repair_request {
    uint64_t req_id;
    enum repair_request_kind kind;
    int index;
    bool is_harmless; /* reads only */
};

/* Where a fetch stands. */
enum fetch_phase {
    FETCH_LIST,    /* the holder names some keys, and where it sees the owner */
    FETCH_SIZE,    /* they are sized */
    FETCH_COMPARE, /* a key was on both sides: values of both asked for */
    FETCH_DROP,    /* copies whose equal is at the owner are taken away at the holder */
    FETCH_MOVE,    /* MIGRATE */
};

struct fetch_key {
    size_t offset;
    size_t len;
    int64_t bytes; /* MEMORY USAGE; -1 = gone */
    bool is_sent;
    bool is_compared;
    bool is_doubled; /* the owner has an equal, or counts in any case */
};

struct repair_fetch {
    enum fetch_phase phase;
    int slot;
    int from;              /* node: holds keys */
    int to;                /* node: the owner */
    struct address target; /* the owner, as the holder sees it */
    struct strbuf bytes;
    struct fetch_key *keys; /* owned */
    int key_count;
    int key_capacity;
    int batch_first; /* of the keys on their way */
    int batch_count;
    int64_t batch_bytes;
    bool is_clashed;       /* some key was on both sides: compare from now on */
    bool is_conflicting;   /* some key's values differ */
    int answers;           /* COMPARE: halves that have come */
    struct strbuf values;  /* COMPARE: of the half that came first */
    bool is_first_holders; /* ... which is the holder's */
    int failures;          /* in a row */
};

struct repair {
    /* Set once. */
    struct order order;
    struct mover_login login;
    struct request_ids ids;
    struct prng prng;
    uint64_t seed;

    struct sm sm;
    int64_t now_ms;
    bool is_begun;
    bool is_stopping;
    struct repair_request *requests; /* on their way; owned */
    int request_count;
    int request_capacity;

    /* The slots. */
    struct slotset todo;
    struct slotset done;
    struct slotset held;
    uint8_t tries[SLOT_COUNT];     /* steps taken for it */
    struct slotset replicas_told;  /* RETELL was done */
    struct repair_picture picture; /* of the slots in hand */
    struct nodes_view map;         /* row i is node i of the picture */
    int ask_cursor;                /* LOOKING: the next node to ask */
    /* Many slots wait together: while some wait for gossip, others are looked at. */
    int64_t begun_ms;
    uint32_t waits_since_ms[SLOT_COUNT]; /* after begun_ms; 0 = not looked at since its last step */
    /* Who claimed it when it was last to be imported from there, as a mark, and since when so. */
    uint32_t claim_marks[SLOT_COUNT];
    uint32_t claimed_since_ms[SLOT_COUNT]; /* after begun_ms */
    int64_t silent_since_ms;               /* a primary does not answer since; NEVER = all do */
    int64_t epochs_since_ms;         /* a move waits for config epochs since; NEVER = none does */
    struct repair_verdict *verdicts; /* [REPAIR_GROUP_MAX]; owned */

    struct repair_fetch fetch;
    struct governor governor;
    struct slot_mover *mover; /* MOVING; owned */

    /* Trouble. */
    int failures;    /* maps in a row that could not be had */
    int troubles;    /* rounds in a row that were refused */
    bool is_refused; /* ACTING: an answer of this round was an error */
    int64_t wake_ms;
    enum order_state result; /* once it ends */
    int code;
    char reason[TEXT_SIZE];
    int held_code;
    char held_reason[TEXT_SIZE];

    /* Told in reports. */
    uint64_t keys_moved;
    uint64_t bytes_moved;
    uint64_t keys_dropped;
    uint64_t retries;
    bool is_replica_synced;
    char doing[TEXT_SIZE];
};

#define REPAIR_ASK_TIMEOUT_MS 5000 /* of every request but MIGRATE */
#define REPAIR_TRIES_MAX 16        /* steps for one slot; the longest way has seven */
#define REPAIR_SPEED MOVE_SPEED_BALANCED

/* ---- repair.c ---- */

/* Sends a pipeline and remembers it; fill the returned list before the next effect is added. */
struct repair_where {
    const struct address *address;
    enum redis_lane lane;
    int64_t timeout_ms;
};
struct command_list *repair_ask(struct repair *r,
                                struct agent_effects *fx,
                                const struct repair_request *request,
                                const struct repair_where *where);
void repair_say(struct repair *r, const char *format, ...) PRINTF_LIKE(2, 3);
struct log_event *repair_log(struct repair *r,
                             struct agent_effects *fx,
                             enum log_level level,
                             const char *name);
/* Another round, or the end when no slot is left. */
void repair_look_again(struct repair *r, struct agent_effects *fx);
/* The picture is complete: judges every slot in hand and begins what is to be done. */
void repair_decide(struct repair *r, struct agent_effects *fx);
/* The slot needs a person (or, with ERR_UNAVAILABLE, another time); the others go on. */
void repair_hold_slot(struct repair *r,
                      struct agent_effects *fx,
                      int slot,
                      int code,
                      const char *reason);
/* Ends for good. */
void repair_fail(struct repair *r, struct agent_effects *fx, int code, const char *reason);
/* Looks again after a while. */
void repair_rest(struct repair *r, int64_t delay_ms);
/* As above after a refusal: longer each time. */
void repair_trouble(struct repair *r);
/* An answer that did not come or is an error, in words. */
void repair_describe(const struct agent_event *ev, char *text, size_t size);
const struct reply *repair_first_error(const struct reply_list *replies);

/* ---- repair_look.c ---- */
void repair_map_begin(struct repair *r, struct agent_effects *fx);
void repair_map_answer(struct repair *r,
                       const struct repair_request *request,
                       const struct agent_event *ev,
                       struct agent_effects *fx);
void repair_look_answer(struct repair *r,
                        const struct repair_request *request,
                        const struct agent_event *ev,
                        struct agent_effects *fx);
void repair_picture_release(struct repair *r);

/* ---- repair_keys.c ---- */
void repair_fetch_begin(struct repair *r, struct agent_effects *fx, int slot, int from, int to);
void repair_fetch_answer(struct repair *r,
                         const struct repair_request *request,
                         const struct agent_event *ev,
                         struct agent_effects *fx);
/* Tries again after a rest, when the time has come. */
void repair_fetch_run(struct repair *r, struct agent_effects *fx);
void repair_fetch_release(struct repair *r);

/* ---- repair_steps.c: each true when something was begun ---- */
bool repair_set_all(struct repair *r, struct agent_effects *fx);
void repair_set_answer(struct repair *r, const struct agent_event *ev, struct agent_effects *fx);
bool repair_fetch_next(struct repair *r, struct agent_effects *fx);
/* Nothing more is to be done with this slot's keys now. */
void repair_fetch_over(struct repair *r, struct agent_effects *fx);
bool repair_move_next(struct repair *r, struct agent_effects *fx);
/* Feeds the slot mover inside. */
void repair_move_run(struct repair *r, const struct agent_event *event, struct agent_effects *fx);

#endif
