/* reach.h — carries out TASK_REACH: can the host of this agent connect to a node, at its data port
 * and at its cluster bus port?
 *
 *   asking -> dialing the data port -> dialing the bus port -> ended
 *
 * The node is asked for its own line of CLUSTER NODES first: the address and ports that it
 * announces are those that members will connect to. One that does not say (no login, no cluster
 * mode) is tried where the order says, at the usual bus port. A port is tried three times, then
 * the task fails with ERR_REFUSED naming the port. Changes nothing, so it may be cut anywhere.
 * Pure. Source: docs/lifecycle.md, "Before a join". */
#ifndef DROVER_AGENT_CORE_REACH_H
#define DROVER_AGENT_CORE_REACH_H

#include "agent/core/agent.h"

#define REACH_TIMEOUT_MS 3000 /* one try: a SYN that is lost is sent again after 1 s */
#define REACH_TRIES 3
#define REACH_PAUSE_MS 500

struct reach;

/* 'order' holds a valid TASK_REACH and is copied. */
struct reach *reach_new(const struct order *order, uint32_t serial, int64_t now_ms);
void reach_free(struct reach *reach);
/* AGENT_TICK, AGENT_REDIS and AGENT_DIALED events; others change nothing. */
void reach_step(struct reach *reach, const struct agent_event *event, struct agent_effects *fx);
int64_t reach_deadline(const struct reach *reach);
/* Ends it at once: ORDER_STOPPED for code 0, ORDER_EXPIRED otherwise. */
void reach_end(struct reach *reach, int code, const char *reason);
bool reach_is_over(const struct reach *reach);
void reach_status(const struct reach *reach, struct order_status *status);

#endif
