/* compat_slots.c — see compat_slots.h. */
#include "ctl/compat/compat_slots.h"

#include "common/base/alloc.h"

#include <math.h>
#include <stdlib.h>

/* A stable sort by falling slot count; there are a few hundred sources at most. */
static void sort_sources(const struct slotset *sources, int count, int *order)
{
    for (int i = 0; i < count; i++) {
        int slots = slotset_count(&sources[i]);
        int at = i;
        while (at > 0 && slotset_count(&sources[order[at - 1]]) < slots) {
            order[at] = order[at - 1];
            at--;
        }
        order[at] = i;
    }
}

int compat_pick_slots(const struct slotset *sources,
                      int source_count,
                      int count,
                      struct compat_pick *picks)
{
    int *order = xcalloc((size_t)source_count + 1, sizeof(*order));
    int total = 0;
    int picked = 0;
    sort_sources(sources, source_count, order);
    for (int i = 0; i < source_count; i++) {
        total += slotset_count(&sources[i]);
    }
    for (int i = 0; i < source_count && total > 0; i++) {
        const struct slotset *slots = &sources[order[i]];
        double share = (double)count / total * slotset_count(slots);
        int wanted = (int)(i == 0 ? ceil(share) : floor(share));
        int taken = 0;
        SLOTSET_FOREACH (slot, slots) {
            if (taken >= wanted || picked >= count) {
                break;
            }
            picks[picked++] = (struct compat_pick){.source = order[i], .slot = slot};
            taken++;
        }
    }
    free(order);
    return picked;
}

bool compat_balance_is_due(const struct compat_share *shares, int count, double threshold_percent)
{
    double total = 0;
    bool is_due = false;
    for (int i = 0; i < count; i++) {
        total += shares[i].weight;
    }
    for (int i = 0; i < count && total > 0; i++) {
        int expected = (int)(SLOT_COUNT / total * shares[i].weight);
        if (shares[i].slot_count > 0) {
            double off = fabs(100.0 - 100.0 * expected / shares[i].slot_count);
            is_due = is_due || off > threshold_percent;
        } else if (expected > 1) {
            is_due = true;
        }
    }
    return is_due;
}
