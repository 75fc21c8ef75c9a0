/* slotset.h — a set of hash slots as 16,384 bits.
 *
 * Text form: "0-99,200,300-310", ascending, no spaces; "" is the empty set. A zeroed slotset is
 * empty. */
#ifndef DROVER_BASE_SLOTSET_H
#define DROVER_BASE_SLOTSET_H

#include "common/base/err.h"
#include "common/base/strbuf.h"

#include <stdbool.h>
#include <stdint.h>

#define SLOT_COUNT 16384
#define SLOT_NONE (-1)

struct slotset {
    uint64_t words[SLOT_COUNT / 64];
};

void slotset_clear(struct slotset *set);
void slotset_fill(struct slotset *set); /* all 16,384 */
void slotset_add(struct slotset *set, int slot);
void slotset_add_range(struct slotset *set, int first, int last); /* both ends included */
void slotset_remove(struct slotset *set, int slot);
bool slotset_has(const struct slotset *set, int slot);
int slotset_count(const struct slotset *set);
bool slotset_is_empty(const struct slotset *set);
bool slotset_is_equal(const struct slotset *a, const struct slotset *b);
bool slotset_intersects(const struct slotset *a, const struct slotset *b);
void slotset_union(struct slotset *set, const struct slotset *other);
void slotset_subtract(struct slotset *set, const struct slotset *other);
void slotset_intersect(struct slotset *set, const struct slotset *other);

/* The lowest slot >= from, or SLOT_NONE. 'from' may be 0..SLOT_COUNT. */
int slotset_next(const struct slotset *set, int from);

/* The last slot of the run of neighbours that starts at 'first' (which must be in the set). */
int slotset_run_end(const struct slotset *set, int first);

/* Number of runs of neighbouring slots. */
int slotset_range_count(const struct slotset *set);

/* NOLINTBEGIN(bugprone-macro-parentheses): "slot" becomes the name of a variable */
#define SLOTSET_FOREACH(slot, set) \
    for (int slot = slotset_next((set), 0); slot != SLOT_NONE; slot = slotset_next((set), slot + 1))
/* NOLINTEND(bugprone-macro-parentheses) */

/* Parses the text form. Refuses slots over 16383, reversed ranges and a slot named twice
 * ("overlaps"). */
int slotset_parse(struct slotset *set, const char *text, struct err *err) WARN_UNUSED;
void slotset_format(const struct slotset *set, struct strbuf *out);

#endif
