/* compat_read.h — sub-commands that talk to the nodes themselves: check, info, call, set-timeout,
 * backup, help. */
#ifndef DROVER_CTL_COMPAT_COMPAT_READ_H
#define DROVER_CTL_COMPAT_COMPAT_READ_H

#include "ctl/compat/compat_cluster.h"

/* All that a sub-command needs. Borrowed. */
struct compat_run {
    const struct compat_options *options;
    struct compat_link *link;
    struct address seed;
    int words_used; /* by the seed */
};

/* Each returns the exit code, 0 or 1, and has printed why. */
int compat_check(struct compat_run *run);
int compat_info(struct compat_run *run);
int compat_call(struct compat_run *run);
int compat_set_timeout(struct compat_run *run);
int compat_backup(struct compat_run *run);
int compat_help(struct compat_run *run);

/* Loads the cluster of the seed; 1 when it cannot, and has said so. */
int compat_load(struct compat_run *run, struct compat_cluster *cluster) WARN_UNUSED;

#endif
