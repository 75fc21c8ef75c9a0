/* owned_watch.c — see owned_watch.h. */
#include "agent/core/owned_watch.h"

#include "common/base/clocktype.h"

static void see(struct owned_watch *watch, int64_t now_ms)
{
    slotset_intersect(&watch->older, &watch->last);
    slotset_intersect(&watch->newer, &watch->last);
    /* Two sets do for what is asked: what has rested for long, and what comes next. */
    if (now_ms - watch->newer_ms >= OWNED_REST_MS) {
        watch->older = watch->newer;
        watch->older_ms = watch->newer_ms;
        watch->newer = watch->last;
        watch->newer_ms = now_ms;
    }
}

void owned_watch_see(struct owned_watch *watch, const struct nodes_view *view, int64_t now_ms)
{
    if (view->myself == NODES_NO_ROW) {
        return;
    }
    slotset_clear(&watch->last);
    for (int slot = 0; slot < SLOT_COUNT; slot++) {
        if (view->owner[slot] == view->myself) {
            slotset_add(&watch->last, slot);
        }
    }
    uint64_t epoch = view->rows[view->myself].config_epoch;
    if (!watch->is_begun || watch->epoch != epoch) {
        watch->is_begun = true;
        watch->epoch = epoch;
        watch->newer = watch->last;
        watch->newer_ms = now_ms;
        slotset_clear(&watch->older);
        watch->older_ms = NEVER;
        return;
    }
    see(watch, now_ms);
}

void owned_watch_see_same(struct owned_watch *watch, int64_t now_ms)
{
    if (watch->is_begun) {
        see(watch, now_ms);
    }
}

int64_t owned_watch_ready_ms(const struct owned_watch *watch,
                             const struct slotset *slots,
                             int64_t now_ms)
{
    struct slotset rest = *slots;
    if (watch->is_begun && watch->older_ms != NEVER) {
        slotset_subtract(&rest, &watch->older);
        if (slotset_is_empty(&rest)) {
            return watch->older_ms + OWNED_REST_MS;
        }
    }
    rest = *slots;
    if (watch->is_begun) {
        slotset_subtract(&rest, &watch->newer);
        if (slotset_is_empty(&rest)) {
            return watch->newer_ms + OWNED_REST_MS;
        }
    }
    return now_ms + OWNED_REST_MS;
}
