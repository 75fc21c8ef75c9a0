/* compat_move.h — sub-commands that change the cluster. Each returns the exit code and has printed
 * why.
 *
 * The work is a coordinator's: one that manages the cluster already, else one of our own
 * (compat_mover.h). */
#ifndef DROVER_CTL_COMPAT_COMPAT_MOVE_H
#define DROVER_CTL_COMPAT_COMPAT_MOVE_H

#include "ctl/compat/compat_read.h"

int compat_reshard(struct compat_run *run);
int compat_rebalance(struct compat_run *run);
int compat_fix(struct compat_run *run);
int compat_create(struct compat_run *run);
int compat_add_node(struct compat_run *run);
int compat_del_node(struct compat_run *run);
int compat_import(struct compat_run *run);

#endif
