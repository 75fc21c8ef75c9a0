/* adopted.h — a cluster that was adopted at run time is found again after a restart.
 *
 * A few of its members are kept in the spec record as seeds. While no member is in reach they are
 * handed to agents, as if somebody had configured them. When one of them has left, others take its
 * place. Source: docs/cli.md, `adopt`. */
#ifndef DROVER_COORDINATOR_CORE_ADOPTED_H
#define DROVER_COORDINATOR_CORE_ADOPTED_H

#include "common/model/ids.h"

#include <stdbool.h>
#include <stdint.h>

struct coordinator;

/* Emptied with the term. */
struct adopted {
    uint64_t checked_build; /* of the topology */
};

/* Keeps the cluster that 'address' is a member of, if it is in reach; else does nothing. */
void adopted_keep(struct coordinator *c, const struct address *address);
/* After the topology was built: seeds that left are replaced. */
void adopted_tick(struct coordinator *c);
/* True while this address is to be looked at for want of members. */
bool adopted_wants(const struct coordinator *c, const struct address *address);

#endif
