/* instance.h — carries out TASK_START and TASK_STOP: a server of ours begins or ends on this host.
 *
 *   START  looking -> writing -> launching -> answering -> ended
 *             \-> clearing -> looking                \-> stopping -> retiring -> ended (undone)
 *   STOP   looking -> asking -> stopping -> retiring -> ended
 *
 * A server is named by its port (host_call.h). START is done when the process of the folder answers
 * PING at its address, whoever launched it; a stranger at the port is refused. What was launched
 * and does not answer in time is stopped again and its folder put aside. The conf names the request
 * that a server was started for: a folder of an earlier life is put aside before anything starts in
 * it, and a server of one that still runs and knows others is refused. Servers are begun one at a
 * time until their conf is written: from then on what they may take is counted as promised.
 *
 * STOP asks for the removal certificate *and* for the node's own word (no slot, no key, knows
 * nobody but itself); the folder is put aside, never deleted. With TASK_DEAD only the folder is,
 * when no process of it runs and it is the dead node's. A server that runs survives this agent.
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

/* Whose START looks at the host and has not written its conf yet; shared by all of an agent. */
struct instance_turn {
    const struct instance *holder; /* NULL = nobody's */
};

/* 'order' holds a valid TASK_START or TASK_STOP and is copied; 'settings' and 'turn' must outlive
 * it. A task that cannot be carried out here is over at its first step, with the reason in its
 * status. */
struct instance *instance_new(const struct order *order,
                              const struct instance_settings *settings,
                              struct instance_turn *turn,
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
