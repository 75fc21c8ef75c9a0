/* helper_mover.h — drives slot movers and repairs against real nodes through the real Redis
 * connections, without a coordinator. */
#ifndef DROVER_TESTS_INTEGRATION_AGENT_HELPER_MOVER_H
#define DROVER_TESTS_INTEGRATION_AGENT_HELPER_MOVER_H

#include "agent/core/slot_mover.h"
#include "helper_cluster.h"

struct driver;

/* Looked at after every step of the mover; return true to end the run there. */
typedef bool (*driver_watch)(void *user, const struct slot_mover *mover);

struct driver *driver_new(const char *password);
void driver_free(struct driver *driver);

void order_make(struct order *order,
                const struct cluster *cluster,
                int source,
                int target,
                const char *slots);
/* Runs a new mover until it is over, or 'watch' says so, or 60 s have gone (fails the test). The
 * mover is dropped then, as by a crash: its connections are cut. */
void driver_run(struct driver *driver,
                const struct order *order,
                driver_watch watch,
                void *user,
                struct order_status *status);
/* As above, cut after that many Redis pipelines were handed out; true when the mover had ended
 * before. */
bool driver_run_cut(struct driver *driver,
                    const struct order *order,
                    int pipelines,
                    struct order_status *status);
/* The same for orders of kind TASK_REPAIR. pipelines -1 = no cut. */
void order_make_repair(struct order *order,
                       const struct cluster *cluster,
                       int node,
                       int peer,
                       const char *slots);
bool driver_repair(struct driver *driver,
                   const struct order *order,
                   int pipelines,
                   struct order_status *status);
/* Called with every pipeline before it is sent, in all runs from here on; NULL = no more. */
typedef void (*driver_look)(void *user, const struct agent_effect *effect);
void driver_look_before(struct driver *driver, driver_look look, void *user);
/* MIGRATE commands sent since driver_new(). */
int driver_migrate_count(const struct driver *driver);
/* From here on: calls stop/freeze of the running mover at its next step. */
enum driver_wish { WISH_NONE, WISH_STOP, WISH_FREEZE };
void driver_wish(struct driver *driver, enum driver_wish wish);

#endif
