/* compat_newcomer.h — a node that is to join: in cluster mode, alone and empty. */
#ifndef DROVER_CTL_COMPAT_COMPAT_NEWCOMER_H
#define DROVER_CTL_COMPAT_COMPAT_NEWCOMER_H

#include "ctl/compat/compat_read.h"

/* Fills *id with the node's id when it may join. Else ERR_*, and the line that says why was printed
 * as the original does; ERR_UNAVAILABLE when it does not answer. */
int compat_newcomer_check(struct compat_run *run,
                          const struct address *address,
                          struct node_id *id) WARN_UNUSED;

#endif
