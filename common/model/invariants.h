/* invariants.h — rules that hold in every healthy cluster, checked on the views of its nodes.
 *
 * Pure, and made to be independent of topology.h and the planner: tests, the simulator and the end
 * of an operation use them to catch mistakes of those. Each rule returns true, or false with the
 * broken rule in one sentence appended to 'why' (may be NULL). "At rest" means: no move is under
 * way. Views of dead nodes must be left out by the caller. Source: docs/design.md section 6, rule
 * 12; Redis cluster specification. */
#ifndef DROVER_MODEL_INVARIANTS_H
#define DROVER_MODEL_INVARIANTS_H

#include "common/base/strbuf.h"
#include "common/model/nodes_text.h"

#include <stdbool.h>

/* At rest and during moves: in each view every slot has an owner, and the owner is a primary. (Two
 * owners in one view cannot be: the parser refuses that text.) */
bool invariant_slots_owned(const struct nodes_view *const *views, int count, struct strbuf *why);

/* At rest: all views have the same owner for every slot. */
bool invariant_same_map(const struct nodes_view *const *views, int count, struct strbuf *why);

/* At rest: no node has a slot marked MIGRATING or IMPORTING; replicas included. */
bool invariant_none_open(const struct nodes_view *const *views, int count, struct strbuf *why);

/* At rest: no two primaries of a view have the same config_epoch, those marked as failed without
 * slots left out. */
bool invariant_epochs_unique(const struct nodes_view *const *views, int count, struct strbuf *why);

/* At rest: all views list the same members; rows in handshake do not count. */
bool invariant_same_members(const struct nodes_view *const *views, int count, struct strbuf *why);

/* All of the above; the first broken one is told. */
bool invariants_hold_at_rest(const struct nodes_view *const *views, int count, struct strbuf *why);

#endif
