/* checkers.h — the rules that must hold at any moment, and those that must hold once the world is
 * at rest.
 *
 * They look at the model servers and the store, never into a core (except for what a core says it
 * accepted). The first broken rule ends the run. Numbers I1 to I14: docs/simulator.md. */
#ifndef DROVER_SIM_CHECKERS_H
#define DROVER_SIM_CHECKERS_H

#include "tests/sim/world.h"

/* Hooks the checkers into the models. */
void checkers_attach(struct world *world);
/* What an agent sends to a node, when it sends it. */
void checkers_see_commands(struct world_agent *agent,
                           struct model_node *node,
                           const struct command_list *commands);
/* True when no slot is open anywhere, all views agree and nobody is suspected. */
bool checkers_is_quiet(struct world *world);
/* The rules of a world at rest. */
void checkers_check_end(struct world *world);
/* Whether Redis's own faults explain that a key went back or away since 'since_us'; 'holders' had
 * it. */
bool checkers_is_explained(const struct world *world, uint32_t holders, int64_t since_us);

/* True while a slot is half moved from a node that is not its owner any more. */
bool checkers_is_source_lost(const struct world *world, int slot);

#endif
