/* compat_mover.h — the coordinator that does the work, from a sub-command's point of view.
 *
 * One that manages the cluster already ($DROVER_API, the configuration file, this machine's default
 * address) is used and named. Else the `drover-coordinator` beside our own file is started as a
 * child, alone with its agent and a store in a private folder of the user, and ended afterwards.
 * The folder is named after the cluster and locked: a second run waits for the first. What a killed
 * run left behind stands in the folder's store, and is finished by the next run. */
#ifndef DROVER_CTL_COMPAT_COMPAT_MOVER_H
#define DROVER_CTL_COMPAT_COMPAT_MOVER_H

#include "ctl/client.h"
#include "ctl/compat/compat_cluster.h"

#include <jansson.h>

struct compat_mover;

struct compat_mover_options {
    const struct compat_options *options;
    const struct address *addresses; /* nodes to serve, the seed first */
    int address_count;
    bool serves_all_given; /* the nodes do not know each other yet: all must be named */
    const char *name; /* what names the cluster: the id of one of its nodes that stays the same */
    bool awaits_settled; /* slots are to be moved: wait until all nodes agree */
};

/* Finds or starts it and waits until it leads, has seen the cluster and has finished what an
 * interrupted run left. NULL on failure; err->text is the reason. */
struct compat_mover *compat_mover_open(const struct compat_mover_options *options, struct err *err);
/* Waits until no other run of this user works on the cluster of that name. True when it had to. */
bool compat_mover_wait_others(const char *name);
/* Ends a coordinator of our own. NULL is legal. */
void compat_mover_close(struct compat_mover *mover);

/* A dry run: *out gets {"plan": ...}. */
int compat_mover_plan(struct compat_mover *mover,
                      const json_t *request,
                      json_t **out,
                      struct err *err) WARN_UNUSED;

/* Starts an operation; *out gets {"operation": ..., "plan": ...}; operation is null when there is
 * nothing to do. */
int compat_mover_start(struct compat_mover *mover,
                       const json_t *request,
                       json_t **out,
                       struct err *err) WARN_UNUSED;

/* Follows it to its end. 'changed' (may be NULL) gets each new state of the operation, with its
 * batches. On Ctrl-C it is cancelled, which finishes the slots in hand. What cannot go on without a
 * person is cancelled too. 0 = done, else the reason's code. */
int compat_mover_follow(struct compat_mover *mover,
                        const char *id,
                        void (*changed)(void *user, const json_t *operation),
                        void *user,
                        struct err *err) WARN_UNUSED;

#endif
