/* api_progress.c — see api_progress.h. */
#include "coordinator/shell/api_progress.h"

static const struct progress_sample *sample_at(const struct progress_meter *meter, int index)
{
    return &meter->samples[(meter->first + index) % PROGRESS_SAMPLES];
}

static bool is_less(const struct progress_amount *a, const struct progress_amount *b)
{
    return a->slots < b->slots || a->keys < b->keys || a->bytes < b->bytes;
}

void progress_meter_add(struct progress_meter *meter,
                        int64_t now_ms,
                        const struct progress_amount *done)
{
    if (meter->count > 0) {
        const struct progress_sample *last = sample_at(meter, meter->count - 1);
        if (is_less(done, &last->done)) {
            meter->count = 0;
        } else if (is_less(&last->done, done)) {
            meter->moved_ms = now_ms;
        }
    }
    if (meter->count == 0) {
        meter->first = 0;
        meter->moved_ms = now_ms;
    } else if (meter->count > 1 &&
               now_ms - sample_at(meter, meter->count - 2)->now_ms < PROGRESS_SPACING_MS) {
        meter->count--;
    }
    if (meter->count == PROGRESS_SAMPLES) {
        meter->first = (meter->first + 1) % PROGRESS_SAMPLES;
        meter->count--;
    }
    meter->samples[(meter->first + meter->count) % PROGRESS_SAMPLES] =
        (struct progress_sample){.now_ms = now_ms, .done = *done};
    meter->count++;
}

/* Time for 'left' at 'per_s'; -1 when there is something left and no speed. */
static double time_s(double left, double per_s)
{
    if (left <= 0) {
        return 0;
    }
    return per_s > 0 ? left / per_s : -1;
}

void progress_meter_rate(const struct progress_meter *meter,
                         int64_t now_ms,
                         const struct progress_amount *left,
                         struct progress_rate *out)
{
    *out = (struct progress_rate){.eta_ms = -1};
    if (left->slots <= 0) {
        out->eta_ms = 0;
    }
    if (meter->count < 2 || now_ms - meter->moved_ms > PROGRESS_STALE_MS) {
        return;
    }
    const struct progress_sample *first = sample_at(meter, 0);
    const struct progress_sample *last = sample_at(meter, meter->count - 1);
    double seconds = (double)(last->now_ms - first->now_ms) / 1000.0;
    if (seconds <= 0) {
        return;
    }
    out->slots_per_s = (double)(last->done.slots - first->done.slots) / seconds;
    out->keys_per_s = (double)(last->done.keys - first->done.keys) / seconds;
    out->bytes_per_s = (double)(last->done.bytes - first->done.bytes) / seconds;
    if (left->slots <= 0) {
        return;
    }
    double by_slots = time_s((double)left->slots, out->slots_per_s);
    double by_keys = time_s((double)left->keys, out->keys_per_s);
    double seconds_left = by_slots > by_keys ? by_slots : by_keys;
    if (by_slots >= 0 && by_keys >= 0 && seconds_left < 1e9) {
        out->eta_ms = (int64_t)(seconds_left * 1000.0);
    }
}
