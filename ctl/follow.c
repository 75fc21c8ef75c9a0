/* follow.c — watches an operation to its end; see ctl.h. */
#include "ctl/ctl.h"

#include "common/base/alloc.h"
#include "ctl/fields.h"
#include "ctl/units.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define POLL_MS_MIN 25 /* small operations end at once */
#define POLL_SCREEN_MS_MAX 250
#define POLL_PLAIN_MS_MAX 500
#define POLL_AGE_SHARE 50    /* the end is noticed late by a fiftieth of the whole, at most */
#define PLAIN_LINE_MS 5000   /* at most one line so often where lines stay */
#define STALL_MS 5000        /* nothing moved for so long: say why */
#define STALL_AGAIN_MS 15000 /* and again after */
#define SILENCE_MS_MAX \
    120000 /* no answer for so long: give up watching; an election takes some 12 s */

struct follow {
    struct ctl *ctl;
    const char *id;
    char *path;
    int64_t begun_ms;
    int64_t heard_ms;    /* last answer */
    int64_t line_ms;     /* last plain line */
    char line_state[16]; /* state it told */
    int64_t slots_done;  /* at the last change */
    int64_t keys_done;
    int64_t steps_done;
    double fraction;  /* shown last */
    int64_t moved_ms; /* when one of them changed */
    int64_t why_ms;   /* when it was last said why nothing moves */
    bool has_bar;     /* a line stands on the screen without its end */
    bool is_quiet;    /* JSON: nothing until the end */
};

/* ---- lines ---- */

static void end_bar(struct follow *follow)
{
    if (follow->has_bar) {
        struct strbuf out = {0};
        strbuf_add_char(&out, '\n');
        terminal_write(&out);
        strbuf_release(&out);
        follow->has_bar = false;
    }
}

static void draw_bar(struct follow *follow, const struct progress *progress)
{
    struct strbuf out = {0};
    strbuf_add_text(&out, "\r\033[K");
    progress_add_line(&out, progress, terminal_width(&follow->ctl->terminal) - 1);
    terminal_write(&out);
    strbuf_release(&out);
    follow->has_bar = true;
}

static void draw_plain(struct follow *follow, const struct progress *progress, int64_t now_ms)
{
    bool is_new_state = strcmp(follow->line_state, progress->state) != 0;
    if (!is_new_state && now_ms - follow->line_ms < PLAIN_LINE_MS) {
        return;
    }
    struct strbuf out = {0};
    strbuf_addf(&out, "%s  ", follow->id);
    progress_add_plain(&out, progress);
    strbuf_add_char(&out, '\n');
    terminal_write(&out);
    strbuf_release(&out);
    follow->line_ms = now_ms;
    memcpy(follow->line_state, progress->state, sizeof(follow->line_state));
}

static void draw(struct follow *follow, const json_t *operation, int64_t now_ms)
{
    struct progress progress;
    field_progress(operation, &progress);
    if (follow->is_quiet) {
        return;
    }
    progress.fraction_min = follow->fraction;
    follow->fraction = progress_fraction(&progress);
    if (follow->ctl->terminal.is_out_screen) {
        draw_bar(follow, &progress);
    } else {
        draw_plain(follow, &progress, now_ms);
    }
}

/* Nothing moves: the coordinator knows what it waits for. */
static void say_why(struct follow *follow, int64_t now_ms)
{
    json_t *answer = NULL;
    if (client_ask_any(follow->ctl->client, "/v1/why", &answer, NULL) == 0) {
        struct strbuf out = {0};
        end_bar(follow);
        strbuf_addf(&out, "  %s\n", field_text(answer, "why"));
        terminal_write(&out);
        strbuf_release(&out);
        json_decref(answer);
    }
    follow->why_ms = now_ms;
}

static void look_for_stall(struct follow *follow, const json_t *operation, int64_t now_ms)
{
    struct progress progress;
    field_progress(operation, &progress);
    if (follow->moved_ms == 0 || progress.slots_done != follow->slots_done ||
        progress.keys_done != follow->keys_done || progress.steps_done != follow->steps_done) {
        follow->steps_done = progress.steps_done;
        follow->slots_done = progress.slots_done;
        follow->keys_done = progress.keys_done;
        follow->moved_ms = now_ms;
        follow->why_ms = 0;
        return;
    }
    bool is_due = follow->why_ms == 0 || now_ms - follow->why_ms >= STALL_AGAIN_MS;
    /* The step may say itself what it waits for. */
    bool is_told = strstr(progress.step, ": ") != NULL;
    if (!follow->is_quiet && !is_told && now_ms - follow->moved_ms >= STALL_MS && is_due) {
        say_why(follow, now_ms);
    }
}

/* ---- the end ---- */

static void say_done(const json_t *operation, struct strbuf *out)
{
    struct progress progress;
    field_progress(operation, &progress);
    strbuf_addf(out, "%s is done: ", field_text(operation, "id"));
    if (progress.plan_grows && progress.steps_done == 0) {
        strbuf_add_text(out, "there was nothing to do\n");
        return;
    }
    if (progress.plan_grows) {
        strbuf_addf(out, "%lld step%s", (long long)progress.steps_done,
                    progress.steps_done == 1 ? "" : "s");
    }
    if (!progress.plan_grows || progress.slots_done > 0) {
        strbuf_add_text(out, progress.plan_grows ? ", " : "");
        units_add_exact(out, progress.slots_done);
        strbuf_add_text(out, " slots, ");
        units_add_exact(out, progress.keys_done);
        strbuf_add_text(out, " keys, ");
        units_add_bytes(out, (double)progress.bytes_done);
    }
    strbuf_add_text(out, " in ");
    units_add_duration(out, progress.elapsed_ms);
    /* A mean over steps that move nothing tells nothing. */
    if (!progress.plan_grows && progress.elapsed_ms > 0 && progress.keys_done > 0) {
        strbuf_add_text(out, " (");
        units_add_count(out, (double)progress.keys_done * 1000 / (double)progress.elapsed_ms);
        strbuf_add_text(out, " keys/s)");
    }
    strbuf_add_char(out, '\n');
}

static int end_code(const json_t *operation, struct err *err)
{
    const char *state = field_text(operation, "state");
    const char *word = field_text(operation, "reason_code");
    const char *reason = field_text(operation, "reason");
    const char *id = field_text(operation, "id");
    if (strcmp(state, "done") == 0) {
        return 0;
    }
    int code = word[0] == '\0' ? ERR_INTERNAL : err_from_word(word);
    if (strcmp(state, "cancelled") == 0) {
        return err_set(err, ERR_CANCELLED, "%s was cancelled%s%s", id,
                       reason[0] == '\0' ? "" : ": ", reason);
    }
    if (strcmp(state, "held") == 0) {
        code = err_set(err, word[0] == '\0' ? ERR_REFUSED : code, "%s is held: %s", id, reason);
        err_hint(err,
                 "when the reason is gone: drover op resume %s; or give it up: drover op cancel %s",
                 id, id);
        return code;
    }
    if (strcmp(state, "paused") == 0) {
        code = err_set(err, code, "%s was paused: %s", id, reason);
        err_hint(err, "go on: drover op resume %s; or give it up: drover op cancel %s", id, id);
        return code;
    }
    code = err_set(err, code, "%s failed: %s", id, reason);
    err_hint(err, "drover op show %s has the batches", id);
    return code;
}

/* Over for us: ended, or it waits for a person. A pause without a reason is a person's own, who
 * will go on. */
static bool is_over(const json_t *operation)
{
    const char *state = field_text(operation, "state");
    bool is_stuck = strcmp(state, "paused") == 0 && field_text(operation, "reason_code")[0] != '\0';
    return field_is(operation, "is_final") || strcmp(state, "held") == 0 || is_stuck;
}

static int finish(struct follow *follow, json_t *operation, struct err *err)
{
    draw(follow, operation, follow->line_ms + PLAIN_LINE_MS);
    end_bar(follow);
    int code = end_code(operation, err);
    if (follow->is_quiet) {
        json_t *out = json_object();
        if (json_object_set(out, "operation", operation) == 0) {
            ctl_print_json(out);
        }
        json_decref(out);
    } else if (code == 0) {
        struct strbuf out = {0};
        say_done(operation, &out);
        terminal_write(&out);
        strbuf_release(&out);
    }
    return code;
}

/* ---- watching ---- */

static int say_detached(struct follow *follow)
{
    end_bar(follow);
    (void)fprintf(stderr,
                  "drover: %s goes on without you\n  see it again: drover op follow %s\n"
                  "  stop it:      drover op pause %s, drover op cancel %s\n",
                  follow->id, follow->id, follow->id, follow->id);
    return CTL_DETACHED;
}

static int64_t poll_ms(const struct follow *follow, int64_t now_ms)
{
    int64_t max_ms = follow->ctl->terminal.is_out_screen ? POLL_SCREEN_MS_MAX : POLL_PLAIN_MS_MAX;
    int64_t ms = (now_ms - follow->begun_ms) / POLL_AGE_SHARE;
    ms = ms < max_ms ? ms : max_ms;
    return ms > POLL_MS_MIN ? ms : POLL_MS_MIN;
}

/* True when watching goes on although this answer failed: leaders change, and a new one needs a
 * moment. */
static bool is_passing(const struct follow *follow, int code, int64_t now_ms)
{
    bool can_pass = code == ERR_UNAVAILABLE || code == ERR_NOT_LEADER || code == ERR_TIMEOUT ||
                    code == ERR_FENCED || code == ERR_NOT_FOUND || code == ERR_PROTOCOL;
    int64_t silence_ms_max =
        code == ERR_NOT_FOUND || code == ERR_PROTOCOL ? SILENCE_MS_MAX / 8 : SILENCE_MS_MAX;
    return can_pass && follow->heard_ms > 0 && now_ms - follow->heard_ms < silence_ms_max;
}

static int watch(struct follow *follow, struct err *err)
{
    while (true) {
        json_t *operation = NULL;
        struct err now_err = {0};
        int code = client_ask(follow->ctl->client, "GET", follow->path, NULL, &operation, &now_err);
        int64_t now_ms = terminal_now_ms();
        if (terminal_is_interrupted()) {
            json_decref(operation);
            return say_detached(follow);
        }
        if (code == 0) {
            follow->heard_ms = now_ms;
            if (is_over(operation)) {
                code = finish(follow, operation, err);
                json_decref(operation);
                return code;
            }
            draw(follow, operation, now_ms);
            look_for_stall(follow, operation, now_ms);
            json_decref(operation);
        } else if (!is_passing(follow, code, now_ms)) {
            end_bar(follow);
            *err = now_err;
            if (follow->heard_ms > 0) {
                err_hint(err, "the operation may go on: drover op follow %s", follow->id);
            }
            return code;
        }
        terminal_wait(poll_ms(follow, now_ms));
    }
}

int follow_operation(struct ctl *ctl, const char *id, struct err *err)
{
    struct follow follow = {
        .ctl = ctl, .id = id, .begun_ms = terminal_now_ms(), .is_quiet = ctl->format == CTL_JSON};
    follow.path = xasprintf("/v1/operations/%s?batches=0", id);
    terminal_catch_interrupt();
    int code = watch(&follow, err);
    free(follow.path);
    return code;
}
