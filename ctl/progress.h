/* progress.h — one line that tells how far an operation is. Pure: what is known comes in, text goes
 * out. */
#ifndef DROVER_CTL_PROGRESS_H
#define DROVER_CTL_PROGRESS_H

#include "common/base/strbuf.h"

#include <stdbool.h>
#include <stdint.h>

/* As the API tells it (progress of an operation). */
struct progress {
    char state[16]; /* "running" */
    int64_t slots_done;
    int64_t slots_total;
    int64_t keys_done;
    int64_t keys_total;
    int64_t bytes_done;
    int64_t bytes_total;
    double slots_per_s;
    double keys_per_s;
    double bytes_per_s;
    int64_t eta_ms;     /* -1 = not known */
    int64_t elapsed_ms; /* -1 = not begun */
    /* Of operations whose plan grows; steps_total counts the steps known so far. */
    bool plan_grows;
    int64_t steps_done;
    int64_t steps_total;
    double
        fraction_min; /* shown before: a plan that grows must not look like going back; 0 = none */
    char step[160];   /* what is under way besides moves; "" = nothing */
};

/* The part that is done, 0..1: slots and keys count half each, so that a plan does not look
 * finished when only its empty slots have moved. Bytes would tell more, but their estimate is too
 * rough. Where the plan grows, steps count half or, without slots, alone; then nothing is 1
 * before the state is "done". */
double progress_fraction(const struct progress *progress);
/* "[######>------]" of 'width' characters, at least 3. */
void progress_add_bar(struct strbuf *out, double fraction, int width);
/* A whole line without a line end, at most 'width' characters: bar, percent, slots, keys, bytes,
 * rate, time left; what does not fit is left out from the right, the bar shrinks first. */
void progress_add_line(struct strbuf *out, const struct progress *progress, int width);
/* The same without a bar, for logs. */
void progress_add_plain(struct strbuf *out, const struct progress *progress);

#endif
