/* effects.c — the list of effects a step appends to; see agent.h for what each effect means and
 * owns. */
#include "agent/core/agent.h"

#include "common/base/alloc.h"

#include <stdlib.h>

struct agent_effect *agent_effects_add(struct agent_effects *fx, enum agent_effect_kind kind)
{
    ARRAY_RESERVE(fx->items, fx->count, fx->capacity);
    struct agent_effect *effect = &fx->items[fx->count++];
    *effect = (struct agent_effect){.kind = kind};
    return effect;
}

void agent_effects_clear(struct agent_effects *fx)
{
    for (int i = 0; i < fx->count; i++) {
        struct agent_effect *effect = &fx->items[i];
        if (effect->kind == AGENT_FX_SEND) {
            message_release(&effect->message);
        }
        commands_release(&effect->commands);
        log_event_release(&effect->log);
        strbuf_release(&effect->host.text);
        free(effect->host.outside);
    }
    fx->count = 0;
}

void agent_effects_release(struct agent_effects *fx)
{
    if (fx == NULL) {
        return;
    }
    agent_effects_clear(fx);
    free(fx->items);
    *fx = (struct agent_effects){0};
}
