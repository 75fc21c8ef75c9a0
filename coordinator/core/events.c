/* events.c — see events.h. */
#include "coordinator/core/events.h"

#include "common/base/alloc.h"
#include "common/base/check.h"

#include <stdlib.h>
#include <string.h>

struct event_row {
    enum log_level level;
    const char *name;
    const char *meaning;
};

static const struct event_row rows[EVENT_NR] = {
#define X(id, level, name, meaning) [id] = {level, name, meaning},
    COORDINATOR_EVENTS(X)
#undef X
};

const char *event_name(enum event_id id)
{
    CHECK(id < EVENT_NR);
    return rows[id].name;
}

enum log_level event_level(enum event_id id)
{
    CHECK(id < EVENT_NR);
    return rows[id].level;
}

const char *event_meaning(enum event_id id)
{
    CHECK(id < EVENT_NR);
    return rows[id].meaning;
}

struct log_event *turn_log(struct turn *turn, enum event_id id)
{
    struct coordinator_effect *effect = coordinator_effects_add(turn->fx, COORDINATOR_FX_LOG);
    log_event_init(&effect->log, event_level(id), event_name(id));
    return &effect->log;
}

struct coordinator_effect *turn_store(struct turn *turn,
                                      enum store_request_kind kind,
                                      int64_t timeout_ms)
{
    CHECK(timeout_ms > 0);
    struct coordinator_effect *effect = coordinator_effects_add(turn->fx, COORDINATOR_FX_STORE);
    effect->request.req_id = ++turn->req_id_last;
    effect->request.kind = kind;
    effect->request.timeout_ms = timeout_ms;
    return effect;
}

void event_ring_release(struct event_ring *ring)
{
    for (int i = 0; i < ring->count; i++) {
        free(ring->lines[(ring->first + i) % EVENT_RING_MAX].text);
    }
    free(ring->lines);
    *ring = (struct event_ring){0};
}

static void ring_add(struct event_ring *ring,
                     const struct turn *turn,
                     const struct log_event *event)
{
    enum event_id id = 0;
    while (id < EVENT_NR && strcmp(rows[id].name, event->name) != 0) {
        id++;
    }
    CHECK(id < EVENT_NR);
    if (ring->lines == NULL) {
        ring->lines = xcalloc(EVENT_RING_MAX, sizeof(*ring->lines));
    }
    if (ring->count == EVENT_RING_MAX) {
        free(ring->lines[ring->first].text);
        ring->first = (ring->first + 1) % EVENT_RING_MAX;
        ring->count--;
    }
    const char *text = strbuf_text(&event->pairs);
    ring->lines[(ring->first + ring->count) % EVENT_RING_MAX] = (struct event_ring_line){
        .sequence = ++ring->sequence_last,
        .wall_ms = turn->wall_ms,
        .id = id,
        .text = xstrdup(*text == ' ' ? text + 1 : text),
    };
    ring->count++;
}

void event_ring_take(struct event_ring *ring, const struct turn *turn, int from)
{
    for (int i = from; i < turn->fx->count; i++) {
        const struct coordinator_effect *effect = &turn->fx->items[i];
        if (effect->kind == COORDINATOR_FX_LOG && effect->log.level >= LOG_INFO) {
            ring_add(ring, turn, &effect->log);
        }
    }
}
