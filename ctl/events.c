/* events.c — what happened, once or as it happens. */
#include "ctl/ctl.h"

#include "common/base/alloc.h"
#include "ctl/fields.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LIMIT_DEFAULT 50
#define LIMIT_MAX 1000
#define RECONNECT_MS 1000

static enum paint paint_of_level(const char *level)
{
    if (strcmp(level, "error") == 0) {
        return PAINT_BAD;
    }
    return strcmp(level, "warn") == 0 ? PAINT_WARN : PAINT_NONE;
}

void show_event(const struct ctl *ctl, const json_t *event, struct strbuf *out)
{
    struct strbuf level = {0};
    strbuf_addf(&level, "%-5s", field_text(event, "level"));
    paint_add(out, PAINT_DIM, ctl->terminal.has_color, field_text(event, "time"));
    strbuf_add_char(out, ' ');
    paint_add(out, paint_of_level(field_text(event, "level")), ctl->terminal.has_color,
              strbuf_text(&level));
    strbuf_add_char(out, ' ');
    paint_add(out, PAINT_BOLD, ctl->terminal.has_color, field_text(event, "name"));
    strbuf_addf(out, " %s\n", field_text(event, "text"));
    strbuf_release(&level);
}

/* ---- following ---- */

struct tail {
    struct ctl *ctl;
    int64_t last_sequence;
};

static bool on_line(void *user, const char *text)
{
    struct tail *tail = user;
    if (strncmp(text, "data: ", 6) == 0) {
        json_t *event = json_loads(text + 6, 0, NULL);
        struct strbuf out = {0};
        if (tail->ctl->format == CTL_JSON) {
            strbuf_addf(&out, "%s\n", text + 6);
        } else if (event != NULL) {
            show_event(tail->ctl, event, &out);
        }
        if (field_int(event, "sequence") > tail->last_sequence) {
            tail->last_sequence = field_int(event, "sequence");
        }
        terminal_write(&out);
        strbuf_release(&out);
        json_decref(event);
    }
    return !terminal_is_interrupted();
}

static int follow_events(struct ctl *ctl, int64_t after, struct err *err)
{
    struct tail tail = {.ctl = ctl, .last_sequence = after};
    json_t *status = NULL;
    terminal_catch_interrupt();
    while (!terminal_is_interrupted()) {
        /* Finds the leader, whose events are wanted. */
        int code = client_ask_any(ctl->client, "/v1/status", &status, err);
        json_decref(status);
        status = NULL;
        if (code != 0 && tail.last_sequence == after) {
            return code;
        }
        if (code == 0) {
            char *path = xasprintf("/v1/events?after=%lld", (long long)tail.last_sequence);
            code = client_stream(ctl->client, path, on_line, &tail, err);
            free(path);
        }
        if (!terminal_is_interrupted()) {
            (void)fprintf(stderr, "drover: %s; trying again\n", err->text);
            terminal_wait(RECONNECT_MS);
        }
    }
    return 0;
}

int verb_events(struct ctl *ctl, struct err *err)
{
    long after = 0;
    long limit = 0;
    int code = arguments_int(&ctl->arguments, "after", 0, LONG_MAX, 0, &after, err);
    if (code == 0) {
        code = arguments_int(&ctl->arguments, "limit", 1, LIMIT_MAX,
                             after > 0 ? LIMIT_MAX : LIMIT_DEFAULT, &limit, err);
    }
    if (code != 0) {
        return code;
    }
    if (arguments_has(&ctl->arguments, "follow")) {
        return follow_events(ctl, after, err);
    }
    json_t *answer = NULL;
    json_t *status = NULL;
    char *path = xasprintf("/v1/events?after=%ld&limit=%ld", after, limit);
    code = client_ask_any(ctl->client, "/v1/status", &status, err);
    if (code == 0) {
        code = client_ask(ctl->client, "GET", path, NULL, &answer, err);
    }
    json_decref(status);
    free(path);
    if (code != 0) {
        return code;
    }
    if (ctl->format == CTL_JSON) {
        ctl_print_json(answer);
    } else {
        struct strbuf out = {0};
        const json_t *events = field_list(answer, "events");
        for (size_t i = 0; i < json_array_size(events); i++) {
            show_event(ctl, json_array_get(events, i), &out);
        }
        if (json_array_size(events) == 0) {
            strbuf_add_text(&out, "No events.\n");
        }
        terminal_write(&out);
        strbuf_release(&out);
    }
    json_decref(answer);
    return 0;
}
