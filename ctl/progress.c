/* progress.c — see progress.h. */
#include "ctl/progress.h"

#include "ctl/table.h"
#include "ctl/units.h"

#include <string.h>

#define BAR_MIN 10
#define BAR_MAX 24 /* leaves room for every part on 100 columns, so that the line does not jump */

static double part(int64_t done, int64_t total)
{
    if (total <= 0 || done >= total) {
        return 1;
    }
    return done <= 0 ? 0 : (double)done / (double)total;
}

static double moves_fraction(const struct progress *progress)
{
    double slots = part(progress->slots_done, progress->slots_total);
    /* Keys are estimated; only slots say that all is done, and without keys they say it alone. */
    if (progress->keys_total <= 0 || slots >= 1) {
        return slots;
    }
    return (slots + part(progress->keys_done, progress->keys_total)) / 2;
}

double progress_fraction(const struct progress *progress)
{
    if (!progress->plan_grows) {
        return moves_fraction(progress);
    }
    if (strcmp(progress->state, "done") == 0) {
        return 1;
    }
    /* One more step than is known: whether there is none is only known at the end. */
    double steps = part(progress->steps_done, progress->steps_total + 1);
    double fraction = progress->slots_total <= 0 ? steps : (steps + moves_fraction(progress)) / 2;
    return fraction > progress->fraction_min ? fraction : progress->fraction_min;
}

void progress_add_bar(struct strbuf *out, double fraction, int width)
{
    int inner = width < 3 ? 1 : width - 2;
    int full = (int)(fraction * inner);
    full = full < 0 ? 0 : full > inner ? inner : full;
    strbuf_add_char(out, '[');
    for (int i = 0; i < inner; i++) {
        strbuf_add_char(out, i < full ? '#' : i == full && fraction > 0 ? '>' : '-');
    }
    strbuf_add_char(out, ']');
}

static void add_percent(struct strbuf *out, const struct progress *progress)
{
    units_add_percent(out, (int64_t)(progress_fraction(progress) * 1e6), 1000000);
}

/* An operation of steps alone has no slots, keys and bytes to tell. */
static bool has_moves(const struct progress *progress)
{
    return !progress->plan_grows || progress->slots_total > 0;
}

static void add_steps(struct strbuf *out, const struct progress *progress)
{
    if (progress->plan_grows && progress->steps_total > 0) {
        strbuf_addf(out, "%lld of %lld steps", (long long)progress->steps_done,
                    (long long)progress->steps_total);
    }
}

static void add_step(struct strbuf *out, const struct progress *progress)
{
    strbuf_add_text(out, progress->step);
}

static void add_slots(struct strbuf *out, const struct progress *progress)
{
    if (!has_moves(progress)) {
        return;
    }
    units_add_exact(out, progress->slots_done);
    strbuf_add_char(out, '/');
    units_add_exact(out, progress->slots_total);
    strbuf_add_text(out, " slots");
}

static void add_keys(struct strbuf *out, const struct progress *progress)
{
    if (!has_moves(progress)) {
        return;
    }
    units_add_count(out, (double)progress->keys_done);
    strbuf_add_text(out, " keys");
}

static void add_bytes(struct strbuf *out, const struct progress *progress)
{
    if (has_moves(progress)) {
        units_add_bytes(out, (double)progress->bytes_done);
    }
}

static void add_rate(struct strbuf *out, const struct progress *progress)
{
    bool is_idle = strcmp(progress->state, "running") != 0 && progress->slots_per_s <= 0;
    /* Between two moves of a plan that grows, a rate of nothing tells nothing. */
    bool is_between = progress->plan_grows && progress->slots_per_s < 1;
    if (is_idle || is_between || !has_moves(progress)) {
        return;
    }
    if (progress->keys_per_s >= 1) {
        units_add_count(out, progress->keys_per_s);
        strbuf_add_text(out, " keys/s");
    } else {
        units_add_count(out, progress->slots_per_s);
        strbuf_add_text(out, " slots/s");
    }
}

static void add_left(struct strbuf *out, const struct progress *progress)
{
    if (strcmp(progress->state, "running") != 0) {
        strbuf_add_text(out, progress->state);
    } else if (progress->plan_grows && (progress->step[0] != '\0' || progress->eta_ms < 0 ||
                                        progress->slots_done >= progress->slots_total)) {
        strbuf_add_text(
            out, progress->steps_done == progress->steps_total ? "looking what is next" : "");
    } else if (progress->slots_done >= progress->slots_total && progress->slots_total > 0) {
        strbuf_add_text(out, "checking every view");
    } else if (progress->eta_ms >= 0) {
        strbuf_add_text(out, "ETA ");
        units_add_duration(out, progress->eta_ms);
    } else {
        strbuf_add_text(out, "ETA -");
    }
}

static void (*const parts[])(struct strbuf *, const struct progress *) = {
    add_percent, add_left, add_steps, add_step, add_slots, add_keys, add_bytes, add_rate,
};
#define PART_COUNT (sizeof(parts) / sizeof(parts[0]))

void progress_add_line(struct strbuf *out, const struct progress *progress, int width)
{
    struct strbuf right = {0};
    int room = width - BAR_MIN;
    for (size_t i = 0; i < PART_COUNT; i++) {
        struct strbuf text = {0};
        strbuf_add_text(&text, "  ");
        parts[i](&text, progress);
        if (text.len > 2 &&
            text_width(strbuf_text(&right)) + text_width(strbuf_text(&text)) <= room) {
            strbuf_add(&right, text.data, text.len);
        }
        strbuf_release(&text);
    }
    int bar = width - text_width(strbuf_text(&right));
    bar = bar > BAR_MAX ? BAR_MAX : bar;
    if (bar >= 3) {
        progress_add_bar(out, progress_fraction(progress), bar);
    }
    strbuf_add(out, strbuf_text(&right), right.len);
    strbuf_release(&right);
}

void progress_add_plain(struct strbuf *out, const struct progress *progress)
{
    for (size_t i = 0; i < PART_COUNT; i++) {
        struct strbuf text = {0};
        parts[i](&text, progress);
        if (text.len > 0) {
            strbuf_addf(out, "%s%s", i == 0 ? "" : "  ", text.data);
        }
        strbuf_release(&text);
    }
}
