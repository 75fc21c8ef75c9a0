/* outside.h — carries out TASK_PROVISION, TASK_RELEASE and TASK_TRAFFIC: what others do for us.
 *
 *   PROVISION  calling -> ended
 *                 \-> undoing -> ended       not ready in time, given up or stopped: released again
 *   RELEASE    asking -> calling -> ended    the certificate, and the node's own word, that it is
 * empty TRAFFIC    calling -> watching -> ended  the hooks, then the node's own clients
 *
 * Whoever is called answers at once, or says that it runs: a program tells so itself, a webhook is
 * asked for its status, HAProxy is asked again. What may pass is tried again, until the time is
 * over; a program only once more, since it has seen for itself. Every request has an id that stays
 * the same when it is made again, also by another agent, so the same server comes back.
 *
 * An order that is not renewed ends its calls; what they had begun goes on by the same id. Pure.
 * Contract: common/model/task.h, docs/outside.md. */
#ifndef DROVER_AGENT_CORE_OUTSIDE_H
#define DROVER_AGENT_CORE_OUTSIDE_H

#include "agent/core/agent.h"

struct outside; /* owned by whoever called outside_new() */

/* 'order' holds a valid task of the three kinds and is copied; 'settings' must outlive it. A task
 * that cannot be carried out here is over at its first step, with the reason in its status. */
struct outside *outside_new(const struct order *order,
                            const struct outside_settings *settings,
                            uint32_t serial,
                            uint64_t seed,
                            int64_t now_ms);
void outside_free(struct outside *outside);
/* AGENT_TICK, AGENT_REDIS and AGENT_HOST events; others change nothing. */
void outside_step(struct outside *outside,
                  const struct agent_event *event,
                  struct agent_effects *fx);
int64_t outside_deadline(const struct outside *outside);
/* Ends it: ORDER_STOPPED for code 0, once what a PROVISION has begun is released; ORDER_EXPIRED
 * otherwise, at the next step, with nothing released. */
void outside_end(struct outside *outside, int code, const char *reason);
bool outside_is_over(const struct outside *outside);
void outside_status(const struct outside *outside, struct order_status *status);

#endif
