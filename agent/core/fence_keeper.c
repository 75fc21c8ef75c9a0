/* fence_keeper.c — see fence_keeper.h. */
#include "agent/core/fence_keeper.h"

#include "common/base/check.h"

#define FENCE_RETRY_MS 1000

void fence_keeper_init(struct fence_keeper *keeper, int64_t fence_on_disk)
{
    *keeper = (struct fence_keeper){
        .seen = fence_on_disk, .saved = fence_on_disk, .acked = fence_on_disk, .retry_ms = NEVER};
}

bool fence_keeper_see(struct fence_keeper *keeper, int64_t fence)
{
    if (fence <= keeper->seen) {
        return false;
    }
    keeper->seen = fence;
    return true;
}

void fence_keeper_saved(struct fence_keeper *keeper,
                        const struct agent_event *event,
                        struct agent_effects *fx)
{
    if (event->fence != keeper->saving) {
        return;
    }
    keeper->saving = 0;
    if (event->code == 0) {
        keeper->saved = event->fence;
        return;
    }
    keeper->retry_ms = event->now_ms + FENCE_RETRY_MS;
    struct agent_effect *effect = agent_effects_add(fx, AGENT_FX_LOG);
    log_event_init(&effect->log, LOG_ERROR, "fence.not_saved");
    log_event_add_int(&effect->log, "fence", event->fence);
    log_event_add(&effect->log, "reason",
                  event->err != NULL ? event->err->text : err_word(event->code));
    log_event_add(&effect->log, "hint", "no order is begun until the state folder can be written");
}

bool fence_keeper_run(struct fence_keeper *keeper,
                      int64_t now_ms,
                      bool is_clear,
                      struct agent_effects *fx)
{
    bool is_due = keeper->retry_ms == NEVER || now_ms >= keeper->retry_ms;
    if (keeper->saved < keeper->seen && keeper->saving == 0 && is_due) {
        keeper->retry_ms = NEVER;
        keeper->saving = keeper->seen;
        agent_effects_add(fx, AGENT_FX_SAVE_FENCE)->fence = keeper->seen;
    }
    if (keeper->saved == keeper->seen && keeper->acked < keeper->seen && is_clear) {
        keeper->acked = keeper->seen;
        CHECK(keeper->acked <= keeper->saved);
        return true;
    }
    return false;
}

int64_t fence_keeper_deadline(const struct fence_keeper *keeper)
{
    return keeper->saved < keeper->seen && keeper->saving == 0 ? keeper->retry_ms : NEVER;
}

bool fence_keeper_is_settled(const struct fence_keeper *keeper)
{
    return keeper->acked == keeper->seen;
}
