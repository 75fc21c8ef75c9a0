/* effects.c — the list of what a step wants done. See coordinator.h. */
#include "coordinator/core/coordinator.h"

#include "common/base/alloc.h"

#include <stdlib.h>

struct coordinator_effect *coordinator_effects_add(struct coordinator_effects *fx,
                                                   enum coordinator_effect_kind kind)
{
    ARRAY_RESERVE(fx->items, fx->count, fx->capacity);
    struct coordinator_effect *effect = &fx->items[fx->count++];
    *effect = (struct coordinator_effect){.kind = kind};
    return effect;
}

static void effect_release(struct coordinator_effect *effect)
{
    store_request_release(&effect->request);
    for (int i = 0; i < effect->record_count; i++) {
        record_release(&effect->records[i].record);
    }
    free(effect->records);
    message_release(&effect->message);
    plan_release(&effect->plan);
    free(effect->description);
    log_event_release(&effect->log);
    *effect = (struct coordinator_effect){0};
}

void coordinator_effects_clear(struct coordinator_effects *fx)
{
    for (int i = 0; i < fx->count; i++) {
        effect_release(&fx->items[i]);
    }
    fx->count = 0;
}

void coordinator_effects_release(struct coordinator_effects *fx)
{
    if (fx == NULL) {
        return;
    }
    coordinator_effects_clear(fx);
    free(fx->items);
    *fx = (struct coordinator_effects){0};
}
