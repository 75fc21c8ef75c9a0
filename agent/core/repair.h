/* repair.h — carries out one ORDER_TASK of kind TASK_REPAIR: closes slots that somebody left half
 * moved, and brings keys that lie at a node which does not own their slot to the owner.
 *
 * It looks at every primary (its own view, its own marks, its keys), decides slot by slot by the
 * rules of docs/lifecycle.md "Rules of repair", does one step, and looks again. Nothing is deleted
 * or overwritten but a copy whose equal is at the owner (or, with TASK_REPLACE, any second copy).
 * What the rules do not decide is held and said. It may be cut at any time and leaves every slot in
 * a state from which it, or anybody, can go on. It knows no coordinator, fence or report: the order
 * book does. */
#ifndef DROVER_AGENT_CORE_REPAIR_H
#define DROVER_AGENT_CORE_REPAIR_H

#include "agent/core/agent.h"
#include "agent/core/slot_mover.h"

struct repair;

/* 'order' (its task is valid and of kind TASK_REPAIR) and 'login' are copied. 'serial' is the
 * repair's own for request ids, also for those of the slot movers that it runs inside. Nothing is
 * sent before the first step. */
struct repair *repair_new(const struct order *order,
                          const struct mover_login *login,
                          uint32_t serial,
                          uint64_t seed,
                          int64_t now_ms);
void repair_free(struct repair *repair);

/* Feeds AGENT_REDIS (answers to its own requests; others change nothing) or AGENT_TICK. The first
 * step begins the work, whatever the event. */
void repair_step(struct repair *repair, const struct agent_event *event, struct agent_effects *fx);
/* When AGENT_TICK is due; NEVER while only answers are awaited. */
int64_t repair_deadline(const struct repair *repair);

/* Finish the slots in hand, take no other, then ORDER_STOPPED. */
void repair_stop(struct repair *repair);

/* Send no further command; once the running ones have ended the state is ORDER_EXPIRED with this
 * reason. Takes effect at once and for good. */
void repair_expire(struct repair *repair, int code, const char *reason);

/* True when no command of this repair can still be running. */
bool repair_is_quiet(const struct repair *repair);
/* True once the state is final and no request is on its way. */
bool repair_is_over(const struct repair *repair);

/* The order's status as reports carry it; fills everything. slots_done: slots that are seen clean
 * (one owner in every view, no mark, no key elsewhere). ORDER_DONE: all are; ORDER_HELD: at least
 * one needs a person, reason says which and why; ORDER_FAILED: a node could not be worked with. */
void repair_status(const struct repair *repair, struct order_status *status);

/* The machine's state as logs print it. */
const char *repair_state_name(const struct repair *repair);

#endif
