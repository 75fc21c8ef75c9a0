/* task_parts.h — what the files of the task runner share. Not for others: they use task_runner.h.
 *
 *   task_runner.c    the machine: look, survey, act, rest; its endings
 *   task_look.c      the node and the peer asked, and what their answers say
 *   task_survey.c    the members and their views
 *   task_join.c, task_join_rights.c, task_join_undo.c, task_replicate.c, task_failover.c,
 *   task_leave.c, task_meet.c, task_add_slots.c  the rules of each kind
 *
 * A kind has no states of its own: it judges what was seen this round and says what comes next. */
#ifndef DROVER_AGENT_CORE_TASK_PARTS_H
#define DROVER_AGENT_CORE_TASK_PARTS_H

#include "agent/core/redis_words.h"
#include "agent/core/request_ids.h"
#include "agent/core/task_runner.h"
#include "common/base/prng.h"
#include "common/base/statemachine.h"
#include "common/model/info_text.h"
#include "common/model/nodes_text.h"

enum runner_state {
    RUNNER_LOOKING,
    RUNNER_SURVEYING,
    RUNNER_ACTING,
    RUNNER_RESTING,
    RUNNER_FREEZING,
    RUNNER_DONE,
    RUNNER_STOPPED,
    RUNNER_FAILED,
    RUNNER_EXPIRED,
    RUNNER_STATE_NR,
};

#define TASK_ASK_TIMEOUT_MS 5000
/* A replica that is reset, or a library that is loaded, may keep its node busy for long. */
#define TASK_SLOW_TIMEOUT_MS 60000
#define TASK_SILENCE_MS_MAX 15000 /* a node that does not answer for so long is not there */
#define TASK_SETTLE_MS_MAX 5000   /* views that only lag meet within a second or two */
#define TASK_JOIN_LOADING_MS_MAX                                                                   \
    120000                                /* what is empty loads at once; a member may take longer \
                                           */
#define TASK_LAG_BYTES_MAX (1024L * 1024) /* some 10 ms of a primary at full speed */

/* The node of the task, or its peer, as last asked. Good until the next look. */
struct task_end {
    struct address address; /* port 0 = not known: is not asked */
    bool is_asked;
    bool is_answered;    /* something that speaks Redis is there; info is good */
    bool has_view;       /* view is good */
    bool is_loading;     /* it answers, but cannot serve yet */
    bool is_standalone;  /* runs without cluster mode */
    int code;            /* 0, or why there is no answer or no view */
    char why[TEXT_SIZE]; /* in words */
    struct nodes_view view;
    struct info info;
    struct cluster_info cluster;
    int64_t keys;           /* in all databases */
    uint64_t sync_progress; /* grows or changes while a full sync proceeds */
    char local_host[64];    /* its own end of our connection: an address even if we know a name */
};

struct task_member {
    struct node_id id;
    struct address address;
    bool is_suspect;   /* the view that named it says that it is down */
    bool is_settled;   /* its view is as it should be; not asked again */
    bool is_lost;      /* did not answer this round */
    bool is_answering; /* is_lost, but something there said an error: it may be loading */
    bool is_listing;   /* its view names the task's node */
    bool is_linked;    /* and holds a live link to it */
};

#define TASK_MEMBERS_MAX 2048

enum task_request_kind {
    TASK_REQUEST_NODE = 1,
    TASK_REQUEST_PEER,
    TASK_REQUEST_VIEW, /* index = member */
    TASK_REQUEST_ACT,  /* index as the kind set it */
};

struct task_request {
    uint64_t req_id;
    enum task_request_kind kind;
    int index;
    bool is_harmless; /* reads only */
};

struct node_task;

/* What makes a kind. */
struct task_rules {
    /* After the look, before anybody else is asked. False: it has ended the round itself. */
    bool (*judge)(struct node_task *t, struct agent_effects *fx);
    /* One member's view; calls task_complain() when it is not as it should be yet. */
    void (*hear_view)(struct node_task *t,
                      struct task_member *member,
                      const struct nodes_view *view);
    /* All views are in. Acts, rests or ends; what does none of these rests. */
    void (*decide)(struct node_task *t, struct agent_effects *fx);
    /* One answer to what was done; may be NULL: the next look shows what came of it. */
    void (*hear_act)(struct node_task *t,
                     const struct task_request *request,
                     const struct agent_event *ev,
                     struct agent_effects *fx);
    /* A stop was asked for. True: nothing is half done. False: goes on to a better point. */
    bool (*may_stop)(const struct node_task *t);
};

/* How the rights of drover's user on a new node are found out. */
enum rights_phase {
    RIGHTS_UNKNOWN, /* who am I? */
    RIGHTS_DRY,     /* ACL DRYRUN */
    RIGHTS_TRIED,   /* without it: harmless forms are tried */
    RIGHTS_HELD,    /* all that is needed */
};

enum function_phase { FUNCTIONS_UNKNOWN, FUNCTIONS_TO_COPY, FUNCTIONS_SAME };

struct node_task {
    /* Set once. */
    struct order order;
    const struct task *task; /* in the order */
    const struct task_rules *rules;
    struct request_ids ids;
    struct prng prng;

    struct sm sm;
    int64_t now_ms; /* of the step that runs */
    int64_t begun_ms;
    bool is_begun;
    bool is_stopping;
    int code; /* of the end */
    char reason[TEXT_SIZE];
    char doing[TEXT_SIZE];
    uint64_t retries;
    struct task_request *requests; /* on their way; owned */
    int request_count;
    int request_capacity;

    /* The round: what was seen since the last look. */
    struct node_id node_id; /* of the task; JOIN: as the node itself says */
    struct task_end node;
    struct task_end peer;
    int look_awaited;
    struct task_member *members; /* everybody but the node; owned; kept over rounds */
    int member_count;
    int member_capacity;
    int cursor; /* next member to ask */
    int survey_awaited;
    int act_awaited;
    int complaint_count;       /* views that are not as they should be */
    char complaint[TEXT_SIZE]; /* the first of them */
    char lost[TEXT_SIZE];      /* one of the next */
    int lost_count;            /* members that did not answer, though the others think them well */
    int64_t wake_ms;           /* RESTING */
    int round;                 /* looks since there was progress */

    /* Trouble that may pass. */
    int64_t waiting_since_ms; /* NEVER = none */
    bool has_waited;          /* in the round that ends now */
    const char *waiting_for;  /* which trouble, a constant of the code */
    int64_t progress_ms;      /* when something last moved on */
    uint64_t progress_mark;

    /* Of one kind each. */
    struct {
        enum rights_phase rights;
        char user[128]; /* that drover is logged in as, by the node's own word */
        enum function_phase functions;
        bool has_met;    /* this runner introduced it to somebody */
        bool is_undoing; /* gives up: the node is taken out again */
        enum runner_state verdict;
        int code;
        int64_t next_meet_ms;
        int64_t next_bump_ms;
        int64_t undo_until_ms;
        int64_t give_up_ms;
        int meets;
        bool is_in_use;     /* undo: a view gives it slots or replicas */
        bool is_greeted;    /* undo: somebody is still in handshake with its address */
        struct strbuf dump; /* FUNCTION DUMP of the peer */
    } join;
    struct {
        struct slotset slots; /* what the peer had */
        int tries;
        int64_t next_ms;
    } failover;
    struct {
        int slots; /* the node's, in whatever view said most */
        int replicas;
        int live_links;
        char who[TEXT_SIZE];
        bool has_begun;       /* this runner told somebody to forget it */
        bool is_reset_needed; /* as last seen it answers, and knows who it was */
        bool is_reset;        /* by this runner */
        int resets;           /* tries */
        char refusal[160];    /* of the last try */
        int64_t ban_until_ms; /* NEVER = not forgotten by all yet */
        int returns;
        int wipes;     /* tries */
        bool is_wiped; /* or never will be: it refused */
    } leave;
    struct {
        bool has_no_ranges; /* the server is older than ADDSLOTSRANGE */
        bool is_epoch_set;
        int foreign_slot; /* a slot somebody else owns; SLOT_NONE */
        struct node_id foreign_owner;
        int64_t next_ms;
    } add;
};

extern const struct task_rules task_join_rules;
extern const struct task_rules task_replicate_rules;
extern const struct task_rules task_failover_rules;
extern const struct task_rules task_leave_rules;
extern const struct task_rules task_meet_rules;
extern const struct task_rules task_add_slots_rules;

/* ---- task_runner.c ---- */

/* Sends a pipeline and remembers it; fill the returned list before the next effect is added. */
struct command_list *task_ask(struct node_task *t,
                              struct agent_effects *fx,
                              const struct task_request *request,
                              const struct address *address,
                              int64_t timeout_ms);
/* The same for a command that changes something; the round acts from here on. */
struct command_list *task_act(struct node_task *t,
                              struct agent_effects *fx,
                              int index,
                              const struct address *address,
                              int64_t timeout_ms);
void task_say(struct node_task *t, const char *format, ...) PRINTF_LIKE(2, 3);
struct log_event *task_log(struct node_task *t,
                           struct agent_effects *fx,
                           enum log_level level,
                           const char *name);
/* Looks again soon, later each time while nothing moves on. What it waits for was said. */
void task_rest(struct node_task *t);
void task_rest_until(struct node_task *t, int64_t wake_ms);
/* After task_act(): a pause before the next look, for gossip or an election to do its part. */
void task_rest_after(struct node_task *t);
/* Rests because of trouble that may pass; when the same trouble lasts limit_ms the task fails with
 * 'code' and these words. */
void task_wait(struct node_task *t, int64_t limit_ms, const char *trouble, int code);
/* Something moved on: waits and pauses count anew. */
void task_progress(struct node_task *t);
void task_done(struct node_task *t);
void task_stopped(struct node_task *t, const char *reason);
void task_fail(struct node_task *t, int code, const char *format, ...) PRINTF_LIKE(3, 4);
const struct reply *task_first_error(const struct agent_event *ev);

/* ---- task_look.c ---- */

void task_look_begin(struct node_task *t, struct agent_effects *fx);
void task_look_answer(struct node_task *t,
                      const struct task_request *request,
                      const struct agent_event *ev);
void task_end_release(struct task_end *end);
/* Each says why the round must end here, or returns true. */
bool task_peer_is_there(struct node_task *t);
bool task_node_is_there(struct node_task *t); /* answers, and has the id that was ordered */
const struct nodes_row *task_own_row(const struct task_end *end);
const struct nodes_row *task_row(const struct nodes_view *view, const struct node_id *id);
/* "10.0.0.4:7000", or the first digits of the id when the port is 0; returns text. */
const char *task_name(char text[ADDRESS_TEXT_SIZE],
                      const struct node_id *id,
                      const struct address *address);
/* The names of the task's node and peer. */
const char *task_node_name(const struct node_task *t, char text[ADDRESS_TEXT_SIZE]);
const char *task_peer_name(const struct node_task *t, char text[ADDRESS_TEXT_SIZE]);

/* ---- task_survey.c ---- */

/* Takes over the members that the seed's view names, then asks those that are not settled. */
void task_survey_begin(struct node_task *t);
void task_survey_run(struct node_task *t, struct agent_effects *fx);
void task_survey_answer(struct node_task *t,
                        const struct task_request *request,
                        const struct agent_event *ev);
bool task_survey_is_over(const struct node_task *t);
void task_unsettle(struct node_task *t);
void task_complain(struct node_task *t, const char *format, ...) PRINTF_LIKE(2, 3);
/* Members whose view names the node. */
int task_listing_count(const struct node_task *t);
/* Waits for members that do not answer; false: the round has ended. */
bool task_members_are_there(struct node_task *t);
/* Notes in the member how this view knows the task's node; a complaint unless listed and linked. */
void task_hear_membership(struct node_task *t,
                          struct task_member *member,
                          const struct nodes_view *view);
/* A member that the node itself does not know, or has no link to; NULL = it knows all. */
const struct task_member *task_unknown_member(const struct node_task *t);
/* CLUSTER MEET of a node at this address, with its bus port when that is not the usual one. */
void task_words_meet(struct command_list *commands,
                     const char *host,
                     uint16_t port,
                     uint16_t bus_port);
/* What a MEET towards this end must name: an address, as MEET takes no names. */
const char *task_meet_host(const struct task_end *end);
uint16_t task_bus_port(const struct task_end *end);

/* ---- task_join_rights.c ---- */

/* Asks, as 'act' of the round; the answer goes to task_rights_hear(). Until join.rights is
 * RIGHTS_HELD; a right that lacks ends the task. */
void task_rights_run(struct node_task *t, struct agent_effects *fx, int act);
void task_rights_hear(struct node_task *t, const struct agent_event *ev);

/* ---- task_join_undo.c ---- */

/* Takes the node out again, then ends as failed with this; fails at once when nobody was told of
 * it. */
void task_join_give_up(struct node_task *t, enum runner_state verdict, int code);
void task_undo_hear_view(struct node_task *t,
                         struct task_member *member,
                         const struct nodes_view *view);
void task_undo_decide(struct node_task *t, struct agent_effects *fx);

#endif
