/* compat_slots.h — which slots a reshard takes, and whether a rebalance is due: redis-cli's rules.
 *
 * Pure. Source: redis-cli 7.0.15, observed. */
#ifndef DROVER_CTL_COMPAT_COMPAT_SLOTS_H
#define DROVER_CTL_COMPAT_COMPAT_SLOTS_H

#include "common/base/slotset.h"

struct compat_pick {
    int source; /* index into the sources as they were given */
    int slot;
};

/* Sources in order of their slot count, the largest first (equal ones as given); each gives its
 * share of 'count' by its slots, the first rounded up, the others down, lowest slot first. 'picks'
 * has room for 'count'; returns how many there are, at most 'count'. */
int compat_pick_slots(const struct slotset *sources,
                      int source_count,
                      int count,
                      struct compat_pick *picks);

/* One primary of a rebalance. */
struct compat_share {
    double weight; /* 0 = wants none */
    int slot_count;
};

/* True when a share is off by more than 'threshold_percent'. All weights 0: false. */
bool compat_balance_is_due(const struct compat_share *shares, int count, double threshold_percent);

#endif
