/* outside_node.h — what a node itself says before others are told to take it away: is it empty, are
 * its clients gone? Pure; internal to outside.c. */
#ifndef DROVER_AGENT_CORE_OUTSIDE_NODE_H
#define DROVER_AGENT_CORE_OUTSIDE_NODE_H

#include "common/base/err.h"
#include "common/model/command.h"
#include "common/model/reply.h"

#include <stdbool.h>
#include <stdint.h>

/* Our own connections (named drover-...) and monitoring stay: so many clients
 * with so few commands are no traffic. */
#define QUIET_CLIENTS_MAX 4
#define QUIET_OPS_PER_S_MAX 20
#define CLIENTS_LISTED_MAX 64 /* a longer list is not asked for */

/* DBSIZE and CLUSTER INFO. */
void outside_node_ask_empty(struct command_list *commands);
/* 0: nothing is in it and it knows nobody. ERR_REFUSED: something is, in words; ERR_UNAVAILABLE: it
 * answered with an error; ERR_PROTOCOL. */
int outside_node_is_empty(const struct reply_list *replies, struct err *err) WARN_UNUSED;

struct outside_load {
    int64_t clients; /* ours and replicas left out when is_listed */
    int64_t ops_per_s;
    bool is_listed;
};

/* INFO, and with 'lists' CLIENT LIST. */
void outside_node_ask_load(struct command_list *commands, bool lists);
/* ERR_UNAVAILABLE: it answered with an error; ERR_PROTOCOL. */
int outside_node_load(struct outside_load *load,
                      const struct reply_list *replies,
                      struct err *err) WARN_UNUSED;
bool outside_load_is_low(const struct outside_load *load);

#endif
