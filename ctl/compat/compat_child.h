/* compat_child.h — a `drover-coordinator` of our own as a child process. */
#ifndef DROVER_CTL_COMPAT_COMPAT_CHILD_H
#define DROVER_CTL_COMPAT_COMPAT_CHILD_H

#include "common/base/err.h"
#include "common/model/ids.h"
#include "ctl/compat/compat_options.h"
#include "ctl/compat/compat_place.h"

#include <stdbool.h>
#include <sys/types.h>

/* Starts it with store, agent state, socket and log in the place's folder. It ends when we do,
 * however we end, and holds the place's lock until then: who comes next finds nobody there.
 * ERR_NOT_FOUND when there is no such program. */
int compat_child_start(pid_t *child,
                       const struct compat_options *options,
                       const struct address *addresses,
                       int address_count,
                       const struct compat_place *place,
                       struct err *err) WARN_UNUSED;
bool compat_child_is_running(pid_t child);
/* SIGTERM, then waits; it finishes the command in hand. */
void compat_child_stop(pid_t child);

#endif
