/* compat_start.h — what the sub-commands that change a cluster share: a sound cluster to start
 * from, and one operation from start to end. */
#ifndef DROVER_CTL_COMPAT_COMPAT_START_H
#define DROVER_CTL_COMPAT_COMPAT_START_H

#include "ctl/compat/compat_mover.h"
#include "ctl/compat/compat_read.h"

/* A mover for the loaded cluster. 'extra' (may be NULL): a node that is no member yet. */
struct compat_mover *compat_open(struct compat_run *run,
                                 const struct compat_cluster *cluster,
                                 const struct address *extra,
                                 bool awaits_settled,
                                 struct err *err);

/* Starts 'request' and follows it to its end; 'changed' as in compat_mover_follow(). 0 also when
 * there was nothing to do. */
int compat_start(struct compat_run *run,
                 const struct compat_cluster *cluster,
                 const json_t *request,
                 void (*changed)(void *user, const json_t *operation),
                 void *user,
                 struct err *err) WARN_UNUSED;

/* The same with a mover that is open. */
int compat_work(struct compat_mover *mover,
                const json_t *request,
                void (*changed)(void *user, const json_t *operation),
                void *user,
                struct err *err) WARN_UNUSED;

/* Loads the cluster and prints its check ('has_nodes': with the list of nodes). What an interrupted
 * run left open is finished first (not with --cluster-compat strict). 0, else 1 when it cannot be
 * loaded (said so) or -1 when it has problems; only for 0 is there something to release. */
int compat_load_sound(struct compat_run *run,
                      struct compat_cluster *cluster,
                      bool has_nodes) WARN_UNUSED;

/* False after saying why: --cluster-use-atomic-slot-migration was given and the seed cannot. */
bool compat_can_move_so(struct compat_run *run);

#endif
