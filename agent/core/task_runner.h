/* task_runner.h — carries out one ORDER_TASK: a step of a node's life besides moving slots.
 *
 * A task is a loop: look at the node and at a member, ask every member for its own view, decide by
 * what was seen, act, look again. Nothing is remembered that matters, so a runner that starts
 * half way (after a crash, or at another agent) reaches the same end. It may be frozen at any time.
 * Whether the order is still valid is the order book's business. Kinds: common/model/task.h; rules:
 * docs/lifecycle.md and docs/redis_facts.md. */
#ifndef DROVER_AGENT_CORE_TASK_RUNNER_H
#define DROVER_AGENT_CORE_TASK_RUNNER_H

#include "agent/core/agent.h"

/* How long the members refuse a node that they were told to forget (60 s), and a second for timers:
 * a node seen in no view after that was told by nobody. */
#define TASK_BAN_MS 61000

struct node_task;

/* True for the kinds this machine carries out. */
bool node_task_knows(enum task_kind kind);

/* 'order' is copied; its task must be valid and of a kind that node_task_knows(). 'serial' is the
 * task's own for request ids. Nothing is sent before the first step. */
struct node_task *node_task_new(const struct order *order,
                                uint32_t serial,
                                uint64_t seed,
                                int64_t now_ms);
void node_task_free(struct node_task *task);

/* Feeds AGENT_REDIS (answers to its own requests; others change nothing) or AGENT_TICK. */
void node_task_step(struct node_task *task,
                    const struct agent_event *event,
                    struct agent_effects *fx);
int64_t node_task_deadline(const struct node_task *task);

/* Ends with ORDER_STOPPED where nothing is half done; a join that has begun is undone first, a
 * removal that has begun is finished but for the last check. */
void node_task_stop(struct node_task *task);

/* Sends no further command; once the running ones have ended the state is ORDER_EXPIRED with this
 * reason. At once and for good. */
void node_task_freeze(struct node_task *task, int code, const char *reason);

/* True once the state is final; no command of it can be running then. */
bool node_task_is_over(const struct node_task *task);

/* The order's status as reports carry it; fills everything. */
void node_task_status(const struct node_task *task, struct order_status *status);

/* The machine's state as logs print it. */
const char *node_task_state_name(const struct node_task *task);

#endif
