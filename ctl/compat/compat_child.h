/* compat_child.h — a `drover-coordinator` of our own as a child process. */
#ifndef DROVER_CTL_COMPAT_COMPAT_CHILD_H
#define DROVER_CTL_COMPAT_COMPAT_CHILD_H

#include "common/base/err.h"
#include "common/model/ids.h"
#include "ctl/compat/compat_options.h"

#include <stdbool.h>
#include <sys/types.h>

/* Starts it with store, agent state, socket and log in 'folder'. It ends when we do, however we
 * end. ERR_NOT_FOUND when there is no such program, ERR_REFUSED for options it cannot work with. */
int compat_child_start(pid_t *child,
                       const struct compat_options *options,
                       const struct address *addresses,
                       int address_count,
                       const char *folder,
                       struct err *err) WARN_UNUSED;
bool compat_child_is_running(pid_t child);
/* SIGTERM, then waits; it finishes the command in hand. */
void compat_child_stop(pid_t child);

#endif
