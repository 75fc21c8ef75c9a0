/* watch.c — a live picture on the screen: status, what moves, the nodes, the last events. */
#include "ctl/ctl.h"

#include "ctl/fields.h"
#include "ctl/progress.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define INTERVAL_MS 1000
#define EVENTS_SHOWN 8
#define SCREEN_BEGIN "\033[?1049h\033[?25l" /* another screen, no cursor */
#define SCREEN_END "\033[?25h\033[?1049l"
#define SCREEN_HOME "\033[H"
#define LINE_END "\033[K\n" /* clears what the last picture left behind */
#define SCREEN_REST "\033[J"

static void add_operations(const struct ctl *ctl, const json_t *operations, struct strbuf *out)
{
    int width = terminal_width(&ctl->terminal);
    for (size_t i = 0; i < json_array_size(operations); i++) {
        const json_t *operation = json_array_get(operations, i);
        struct progress progress;
        if (field_is(operation, "is_final")) {
            continue;
        }
        field_progress(operation, &progress);
        strbuf_addf(out, "\n%s  %s  ", field_text(operation, "id"), field_text(operation, "kind"));
        paint_add(out, paint_of_state(progress.state), ctl->terminal.has_color, progress.state);
        strbuf_addf(out, "  %s\n", field_text(operation, "reason"));
        progress_add_line(out, &progress, width - 1);
        strbuf_add_char(out, '\n');
    }
}

static void add_events(const struct ctl *ctl, const json_t *events, struct strbuf *out)
{
    for (size_t i = 0; i < json_array_size(events); i++) {
        show_event(ctl, json_array_get(events, i), out);
    }
}

/* One picture. Parts that cannot be had are left out; without any status the error is the picture.
 */
static void draw_picture(struct ctl *ctl, struct strbuf *out)
{
    struct err err = {0};
    json_t *status = NULL;
    json_t *part = NULL;
    char path[64];
    if (client_ask_any(ctl->client, "/v1/status", &status, &err) != 0) {
        strbuf_addf(out, "%s\n%s\n", err.text, err.hint);
        return;
    }
    show_status_head(ctl, status, out);
    if (field_is(status, "leading")) {
        if (client_ask(ctl->client, "GET", "/v1/operations?limit=20", NULL, &part, NULL) == 0) {
            add_operations(ctl, field_list(part, "operations"), out);
            json_decref(part);
        }
        if (client_ask(ctl->client, "GET", "/v1/nodes", NULL, &part, NULL) == 0) {
            strbuf_add_char(out, '\n');
            show_nodes_table(ctl, field_list(part, "nodes"), false, terminal_width(&ctl->terminal),
                             out);
            json_decref(part);
        }
    }
    (void)snprintf(path, sizeof(path), "/v1/events?limit=%d", EVENTS_SHOWN);
    if (client_ask(ctl->client, "GET", path, NULL, &part, NULL) == 0) {
        strbuf_add_char(out, '\n');
        add_events(ctl, field_list(part, "events"), out);
        json_decref(part);
    }
    json_decref(status);
}

/* Bytes of a colour sequence at 'text', 0 when there is none. */
static size_t escape_size(const char *text)
{
    if (text[0] != '\033') {
        return 0;
    }
    const char *end = strchr(text, 'm');
    return end == NULL ? 1 : (size_t)(end - text) + 1;
}

/* The picture cut to the screen, each line cleared to its end. */
static void fit(const struct strbuf *picture, int width, int height, struct strbuf *out)
{
    int row = 0;
    int column = 0;
    const char *text = strbuf_text(picture);
    while (*text != '\0' && row < height - 1) {
        size_t escape = escape_size(text);
        if (*text == '\n') {
            strbuf_add_text(out, LINE_END);
            row++;
            column = 0;
            text++;
        } else if (escape > 0) {
            strbuf_add(out, text, escape);
            text += escape;
        } else {
            column += ((unsigned char)*text & 0xc0) != 0x80;
            if (column < width) {
                strbuf_add_char(out, *text);
            }
            text++;
        }
    }
}

static void show_screen(struct ctl *ctl)
{
    struct strbuf picture = {0};
    struct strbuf out = {0};
    draw_picture(ctl, &picture);
    strbuf_add_text(&out, SCREEN_HOME);
    fit(&picture, terminal_width(&ctl->terminal), terminal_height(&ctl->terminal), &out);
    strbuf_add_text(&out, SCREEN_REST);
    terminal_write(&out);
    strbuf_release(&picture);
    strbuf_release(&out);
}

static void write_text(const char *text)
{
    struct strbuf out = {0};
    strbuf_add_text(&out, text);
    terminal_write(&out);
    strbuf_release(&out);
}

int verb_watch(struct ctl *ctl, struct err *err)
{
    long interval_ms = 0;
    long count = 0;
    int code = arguments_duration(&ctl->arguments, "interval", INTERVAL_MS, &interval_ms, err);
    if (code == 0) {
        code = arguments_int(&ctl->arguments, "count", 1, 1000000, 0, &count, err);
    }
    if (code != 0) {
        return code;
    }
    if (ctl->format == CTL_JSON) {
        return err_set(err, ERR_INVALID,
                       "\"drover watch\" draws on a screen; for JSON ask `drover status -o json`");
    }
    interval_ms = interval_ms < 100 ? 100 : interval_ms;
    terminal_catch_interrupt();
    if (!ctl->terminal.is_out_screen) {
        struct strbuf picture = {0};
        draw_picture(ctl, &picture);
        terminal_write(&picture);
        strbuf_release(&picture);
        return 0;
    }
    write_text(SCREEN_BEGIN);
    for (long drawn = 1; !terminal_is_interrupted(); drawn++) {
        show_screen(ctl);
        if (count > 0 && drawn >= count) {
            break;
        }
        terminal_wait(interval_ms);
    }
    write_text(SCREEN_END);
    return 0;
}
