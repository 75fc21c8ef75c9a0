/* helper_planner.h — topologies made directly for the planner's tests, and BEFORE/AFTER tables as
 * text. */
#ifndef DROVER_TESTS_UNIT_COORDINATOR_HELPER_PLANNER_H
#define DROVER_TESTS_UNIT_COORDINATOR_HELPER_PLANNER_H

#include "coordinator/core/planner.h"

/* A settled topology of 'primaries' empty primaries, ids "a000...", "b000..." and so on,
 * at 10.0.0.<index + 1>:6379, keys and memory unknown. Release with topology_release(). */
void made_init(struct topology *topology, int primaries);
/* Adds a replica of a primary; must come after all primaries. Returns its index. */
int made_add_replica(struct topology *topology, int primary);
/* Gives slots first..last to a node and keeps slot counts right. */
void made_give(struct topology *topology, int node, int first, int last);
/* From "0-99 200 | 300-399 | ": the slots of node 0, 1, 2; "" is none. The number of parts is the
 * number of primaries. Slots not named are shared out to nobody. */
void made_parse(struct topology *topology, const char *before);
/* The same text from an owner map. */
void made_format(const struct topology *topology,
                 const int16_t owner[SLOT_COUNT],
                 struct strbuf *out);

#endif
