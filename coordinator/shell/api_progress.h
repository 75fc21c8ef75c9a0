/* api_progress.h — how fast an operation goes and when it will be done, from samples of what it has
 * done so far.
 *
 * Rates are taken over a sliding window, so that a pause or a slow start does not spoil them. Pure:
 * time comes in. */
#ifndef DROVER_COORDINATOR_SHELL_API_PROGRESS_H
#define DROVER_COORDINATOR_SHELL_API_PROGRESS_H

#include <stdbool.h>
#include <stdint.h>

#define PROGRESS_SAMPLES 32 /* with at least PROGRESS_SPACING_MS between them: a window of 8 s */
#define PROGRESS_SPACING_MS 250
#define PROGRESS_STALE_MS 15000 /* nothing moved for so long: no time can be told */

/* What an operation has done or has to do. */
struct progress_amount {
    int64_t slots;
    uint64_t keys;
    uint64_t bytes;
};

struct progress_sample {
    int64_t now_ms; /* monotonic */
    struct progress_amount done;
};

/* A zeroed meter is empty. */
struct progress_meter {
    struct progress_sample samples[PROGRESS_SAMPLES]; /* a ring */
    int first;
    int count;
    int64_t moved_ms; /* when 'done' last grew */
};

struct progress_rate {
    double slots_per_s;
    double keys_per_s;
    double bytes_per_s;
    int64_t eta_ms; /* until everything is done; -1 = cannot be told */
};

/* Notes how much is done. Samples that come too fast replace the last one; when 'done' shrinks (a
 * batch was taken back) the meter starts anew. */
void progress_meter_add(struct progress_meter *meter,
                        int64_t now_ms,
                        const struct progress_amount *done);
/* Rates over the window, and the time left for 'left'. The time follows whichever of slots and
 * bytes is slower, since empty slots and big keys each dominate some plans. */
void progress_meter_rate(const struct progress_meter *meter,
                         int64_t now_ms,
                         const struct progress_amount *left,
                         struct progress_rate *out);

#endif
