/* reconcile.h — one sentence: what the coordinator does, or why it waits. `drover why` prints it.
 *
 * Looks from the outside in: leadership, the store, the journal, the active operation, the
 * cluster's own state. Names what is wrong and not ours, with what to do. Decides nothing. Source:
 * docs/design.md section 8. */
#ifndef DROVER_COORDINATOR_CORE_RECONCILE_H
#define DROVER_COORDINATOR_CORE_RECONCILE_H

#include "coordinator/core/coordinator.h"

/* Appends the sentence, without a dot at the end. */
void reconcile_say(const struct coordinator *c, struct strbuf *out);

#endif
