/* outside_host.h — calls provisioners and drain hooks: programs, webhooks, HAProxy.
 *
 * Carries out HOST_OUTSIDE_START and HOST_OUTSIDE_CANCEL (agent/core/host_call.h), decides nothing.
 * Programs get the request on their standard input and no variable of ours; webhooks are called
 * with certificates verified. Loop thread only. Contract: docs/outside.md. */
#ifndef DROVER_AGENT_SHELL_OUTSIDE_HOST_H
#define DROVER_AGENT_SHELL_OUTSIDE_HOST_H

#include "agent/core/agent.h"
#include "common/io/loop.h"

struct outside_host;

/* Texts are copied. */
struct outside_host_options {
    struct loop *loop;
    const char *webhook_token; /* sent as a bearer token; NULL or "": none. Never logged */
    const char *webhook_ca;    /* PEM file of who signs the webhooks' certificates; NULL: the
                                  system's authorities */
    /* Called for each answer, never from inside the functions below. The event holds kind, req_id,
     * code, err, verb and facts, all valid during the call. */
    void (*done)(void *user, struct agent_event *event);
    void *user;
};

struct outside_host *outside_host_new(const struct outside_host_options *options);
/* Programs are killed, calls are dropped; nothing is answered any more. NULL is legal. */
void outside_host_free(struct outside_host *host);
/* 'call' is copied. */
void outside_host_submit(struct outside_host *host,
                         uint64_t req_id,
                         const struct outside_call *call);
/* Ends a call without an answer; an unknown req_id changes nothing. */
void outside_host_cancel(struct outside_host *host, uint64_t req_id);

#endif
