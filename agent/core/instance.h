/* instance.h — carries out TASK_START and TASK_STOP: a server of ours begins or ends on this host.
 *
 *   START  looking -> writing -> launching -> answering -> ended
 *                                                  \-> stopping -> retiring -> ended (undone)
 *   STOP   looking -> asking -> stopping -> retiring -> ended
 *
 * A server is named by its port (host_call.h). START is done when the process of the folder answers
 * PING at its address, whoever launched it; a stranger at the port is refused. What was launched
 * and does not answer in time is stopped again and its folder put aside. STOP asks for the removal
 * certificate *and* for the node's own word (no slot, no key, knows nobody but itself); the folder
 * is put aside, never deleted. A server that runs survives this agent.
 *
 * task.detail is text, one "key value" a line, each key once except 'extra':
 *   START  agent NAME               must be this agent
 *          maxmemory BYTES          >= 1 MiB
 *          flavor redis|valkey      redis without it
 *          node-timeout MS          500..600000; 15000 without it
 *          migration-barrier N      0..100; 1 without it
 *          appendonly yes|no        yes without it
 *          bus-port N               announced; the port + 10000 without it
 *          extra LINE               one more line of the conf; see redis_conf.h for what is refused
 *   STOP   agent NAME               must be this agent, and the first line
 *          ...                      the removal certificate, as common/model/removal_proof.h writes
 * it Unknown keys are refused. Pure. Source: docs/lifecycle.md. */
#ifndef DROVER_AGENT_CORE_INSTANCE_H
#define DROVER_AGENT_CORE_INSTANCE_H

#include "agent/core/agent.h"

struct instance;

/* 'order' holds a valid TASK_START or TASK_STOP and is copied; 'settings' must outlive it. A task
 * that cannot be carried out here is over at its first step, with the reason in its status. */
struct instance *instance_new(const struct order *order,
                              const struct instance_settings *settings,
                              uint32_t serial,
                              int64_t now_ms);
void instance_free(struct instance *instance);
/* AGENT_TICK, AGENT_REDIS and AGENT_HOST events; others change nothing. */
void instance_step(struct instance *instance,
                   const struct agent_event *event,
                   struct agent_effects *fx);
int64_t instance_deadline(const struct instance *instance);
/* Ends it: ORDER_STOPPED for code 0, ORDER_EXPIRED otherwise. What is on its way is waited for, so
 * it may be over only later; nothing new is begun, and the same task given again goes on. */
void instance_end(struct instance *instance, int code, const char *reason);
bool instance_is_over(const struct instance *instance);
void instance_status(const struct instance *instance, struct order_status *status);

#endif
