/* fence_keeper.h — the highest fence this agent has seen, in memory, on disk, and acknowledged.
 *
 * A higher fence counts from the moment it is seen; it is acknowledged to its leader only when it
 * is safe on disk and no command ordered under an older one can still be running. Source:
 * docs/design.md section 5. */
#ifndef DROVER_AGENT_CORE_FENCE_KEEPER_H
#define DROVER_AGENT_CORE_FENCE_KEEPER_H

#include "agent/core/agent.h"

struct fence_keeper {
    int64_t seen;     /* orders below are refused; survives a restart through 'saved' */
    int64_t saved;    /* on disk */
    int64_t acked;    /* told to coordinators; acked <= saved <= seen */
    int64_t saving;   /* being written now; 0 = nothing */
    int64_t retry_ms; /* a write failed: again then; NEVER */
};

void fence_keeper_init(struct fence_keeper *keeper, int64_t fence_on_disk);
/* True when the fence is higher than any before: older orders must be frozen now. */
bool fence_keeper_see(struct fence_keeper *keeper, int64_t fence);
/* AGENT_FENCE_SAVED. */
void fence_keeper_saved(struct fence_keeper *keeper,
                        const struct agent_event *event,
                        struct agent_effects *fx);
/* Starts a write that is due. True when 'acked' has just risen; is_clear: nothing older runs any
 * more. */
bool fence_keeper_run(struct fence_keeper *keeper,
                      int64_t now_ms,
                      bool is_clear,
                      struct agent_effects *fx);
int64_t fence_keeper_deadline(const struct fence_keeper *keeper);
/* May work be begun that was ordered under the highest fence? */
bool fence_keeper_is_settled(const struct fence_keeper *keeper);

#endif
