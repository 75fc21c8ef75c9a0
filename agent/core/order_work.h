/* order_work.h — the machine that carries out one order, whichever it is.
 *
 * A move is a slot_mover's, a scan a key_scan's, a task a node_task's, a repair's, an instance's or
 * a reach's. The order book treats them all alike; only this file knows which is which. */
#ifndef DROVER_AGENT_CORE_ORDER_WORK_H
#define DROVER_AGENT_CORE_ORDER_WORK_H

#include "agent/core/agent.h"
#include "agent/core/instance.h"
#include "agent/core/slot_mover.h"

struct order_work; /* owned by whoever called order_work_new() */

struct probe;

/* What the machines need besides the order. */
struct order_means {
    const struct probe *probe; /* not owned; NULL: of the nodes nothing is known beforehand */
    struct mover_login login;
    const struct instance_settings *instances; /* not owned; NULL: this agent starts no servers */
    struct instance_turn *instance_turn;       /* not owned; theirs */
    const struct outside_settings *outside;    /* not owned; NULL: it knows nobody outside */
};

/* NULL when this agent can carry the order out, else why not, in words. */
const char *order_work_fault(const struct order *order, const struct order_means *means);

/* 'order' is copied and must be without fault; 'means' must outlive the work. */
struct order_work *order_work_new(const struct order *order,
                                  const struct order_means *means,
                                  uint32_t serial,
                                  uint64_t seed,
                                  int64_t now_ms);
void order_work_free(struct order_work *work);
void order_work_step(struct order_work *work,
                     const struct agent_event *event,
                     struct agent_effects *fx);
int64_t order_work_deadline(const struct order_work *work);
/* Come to a good end, begin nothing new; it may be over only later. */
void order_work_stop(struct order_work *work);
/* No further command; once the running ones have ended it is ORDER_EXPIRED with this reason. */
void order_work_freeze(struct order_work *work, int code, const char *reason);
bool order_work_is_over(const struct order_work *work);
/* A command that changes something may still be running. */
bool order_work_may_change(const struct order_work *work);
void order_work_status(const struct order_work *work, struct order_status *status);

#endif
