/* mover_risk.c — how many keys would be lost if the target failed over now.
 *
 * The source deletes a key as soon as the target has it, and the target's replicas get it a moment
 * later. A burst is handed over when they have caught up; until then a target that dies takes with
 * it what its successor has not got. Nothing can bring that back, so it is counted and said. The
 * count is an upper bound: the replicas may have more than they were asked about, and a call that
 * failed may have moved nothing. It is this mover's own; one that takes over after a crash begins
 * at 0. Source: docs/design.md section 6, rule 4. */
#include "agent/core/mover.h"

#include <stdio.h>

void mover_risk_add(struct slot_mover *m, int slot, int keys)
{
    m->keys_at_risk[slot] += (uint32_t)keys;
}

void mover_risk_clear(struct slot_mover *m, const struct burst *burst)
{
    for (int i = 0; i < burst->slot_count; i++) {
        if (burst_slot_is_live(&burst->slots[i])) {
            m->keys_at_risk[burst->slots[i].slot] = 0;
        }
    }
}

void mover_say_loss(const struct slot_mover *m, const char *what, char text[TEXT_SIZE])
{
    uint64_t keys = 0;
    for (int slot = 0; slot < SLOT_COUNT; slot++) {
        keys += m->keys_at_risk[slot];
    }
    if (keys == 0) {
        (void)snprintf(text, TEXT_SIZE, "%s", what);
        return;
    }
    (void)snprintf(text, TEXT_SIZE,
                   "%.80s; up to %llu keys that its replicas were not seen to have may be lost",
                   what, (unsigned long long)keys);
}
