/* slot_mover.h — carries out one order: moves its slots from the source to the target with MIGRATE.
 *
 * The mover looks at both nodes, finds out where every slot stands (untouched, half moved, done),
 * and takes each to its end by the rules of docs/design.md section 6: target told first, nothing
 * claimed before the source counts 0 while its mark is set, never REPLACE blindly, forward only
 * once a key has moved. Whatever goes wrong, it lets go and looks again; the nodes are the truth.
 * It may be frozen at any time and leaves every slot in a state from which anyone can go on. It
 * knows no coordinator, fence or report: the order book does. */
#ifndef DROVER_AGENT_CORE_SLOT_MOVER_H
#define DROVER_AGENT_CORE_SLOT_MOVER_H

#include "agent/core/agent.h"
#include "agent/core/owned_watch.h"
#include "agent/core/request_ids.h"

#define MOVER_LOGIN_SIZE 128

struct slot_mover;

/* How MIGRATE logs in at the target. */
struct mover_login {
    char user[MOVER_LOGIN_SIZE];     /* "" = default user */
    char password[MOVER_LOGIN_SIZE]; /* "" = none */
};

/* 'order' and 'login' are copied. 'serial' is the mover's own for request ids. Nothing is sent
 * before the first step. */
struct slot_mover *slot_mover_new(const struct order *order,
                                  const struct mover_login *login,
                                  uint32_t serial,
                                  uint64_t seed,
                                  int64_t now_ms);
void slot_mover_free(struct slot_mover *mover);
/* For a mover that works for another machine of the agent: its request ids are taken from that
 * one's, which must live longer. To be called before the first step. */
void slot_mover_share_ids(struct slot_mover *mover, struct request_ids *ids);

/* What is known already of the source's slots; copied. Without it the mover finds out by itself,
 * and waits for as long. To be called before the first step. */
void slot_mover_know_owned(struct slot_mover *mover, const struct owned_watch *owned);

/* Feeds AGENT_REDIS (answers to its own requests; others change nothing) or AGENT_TICK. */
void slot_mover_step(struct slot_mover *mover,
                     const struct agent_event *event,
                     struct agent_effects *fx);
int64_t slot_mover_deadline(const struct slot_mover *mover);

/* Finish the slots in hand, begin no other, then ORDER_STOPPED. */
void slot_mover_stop(struct slot_mover *mover);

/* Send no further command; once the running one has ended the state is ORDER_EXPIRED with this
 * reason. For an order that was not renewed and for one of an older fence. Takes effect at once and
 * for good. */
void slot_mover_freeze(struct slot_mover *mover, int code, const char *reason);

/* True when no command of this mover can still be running. */
bool slot_mover_is_quiet(const struct slot_mover *mover);

/* True once the state is final and no request is on its way. */
bool slot_mover_is_over(const struct slot_mover *mover);

/* The order's status as reports carry it; fills everything. */
void slot_mover_status(const struct slot_mover *mover, struct order_status *status);

/* The machine's state as logs print it. */
const char *slot_mover_state_name(const struct slot_mover *mover);

#endif
