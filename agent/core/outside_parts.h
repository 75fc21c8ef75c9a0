/* outside_parts.h — what outside.c and outside_hear.c share: the machine's state. Internal to them.
 */
#ifndef DROVER_AGENT_CORE_OUTSIDE_PARTS_H
#define DROVER_AGENT_CORE_OUTSIDE_PARTS_H

#include "agent/core/outside.h"
#include "agent/core/outside_node.h"
#include "agent/core/outside_task.h"
#include "agent/core/request_ids.h"
#include "common/base/prng.h"
#include "common/base/statemachine.h"

enum errand_state {
    ERRAND_ASKING,
    ERRAND_CALLING,
    ERRAND_WATCHING,
    ERRAND_UNDOING,
    ERRAND_ENDED,
    ERRAND_STATE_NR
};

/* One that is called. */
struct errand {
    const struct outside_target *target;
    uint64_t req_id;  /* the call on its way; 0 = none */
    int64_t wake_ms;  /* when the next one may go */
    int failures;     /* in a row */
    bool is_polled;   /* WEBHOOK: it works on it; the next call asks how that stands */
    bool is_accepted; /* it said that it is on it */
    bool is_over;
    char said[TEXT_SIZE]; /* its last message, or why it failed */
};

struct outside {
    struct order order;
    const struct outside_settings *settings;
    struct outside_task task;
    struct err task_err; /* why it cannot be carried out here; code 0 = it can */
    struct request_ids ids;
    struct prng prng;
    struct sm sm;
    int64_t begun_ms;
    struct errand errands[OUTSIDE_HOOKS_MAX];
    int errand_count;
    bool has_begun; /* PROVISION: something may have been made */
    uint64_t retries;
    /* ASKING, WATCHING: the node itself. */
    uint64_t node_req; /* 0 = none on its way */
    int64_t node_wake_ms;
    int node_silences;
    struct outside_load load;
    /* UNDOING: what it ends as. */
    enum order_state undo_result;
    int undo_code;
    char undo_reason[TEXT_SIZE];
    /* Asked to end from outside. */
    bool is_ending;
    int end_code;
    char end_reason[TEXT_SIZE];
    /* Once ENDED. */
    enum order_state result;
    struct address made;
    int reason_code;
    char reason[TEXT_SIZE];
};

static inline const struct task *outside_task_of(const struct outside *x)
{
    return &x->order.task;
}

static inline bool outside_is_up(const struct outside *x)
{
    return (outside_task_of(x)->flags & TASK_UP) != 0;
}

/* As people know it: a program's name, a URL without what may be a secret. Returns text. */
const char *outside_name(const struct outside_target *target, char *text, size_t size);
enum outside_action outside_action_now(const struct outside *x);
/* How long the present task may take with those who are called. */
int64_t outside_limit(const struct outside *x);
void outside_enter(struct outside *x, enum errand_state state, int64_t now_ms, int64_t limit_ms);
struct log_event *outside_log(const struct outside *x,
                              enum log_level level,
                              const char *name,
                              struct agent_effects *fx);
/* Ends the calls on their way, and the task. */
void outside_finish(struct outside *x,
                    enum order_state result,
                    int code,
                    const char *reason,
                    struct agent_effects *fx);
/* Fails, after what a PROVISION has begun is given back. */
void outside_give_up(struct outside *x,
                     int code,
                     const char *reason,
                     int64_t now_ms,
                     struct agent_effects *fx);
/* One of those who are called is over: goes on when all are. */
void outside_go_on(struct outside *x, int64_t now_ms, struct agent_effects *fx);

/* outside_hear.c: answers of those who are called and of the node, and the limit. */
void outside_hear_host(struct outside *x, const struct agent_event *ev, struct agent_effects *fx);
void outside_hear_node(struct outside *x, const struct agent_event *ev, struct agent_effects *fx);
void outside_hear_overdue(struct outside *x, int64_t now_ms, struct agent_effects *fx);
void outside_say_load(const struct outside *x, char *text, size_t size);

#endif
