/* conformance_text.c — see conformance_text.h. */
#include "tests/sim/conformance_text.h"

#include "common/base/alloc.h"
#include "common/base/check.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void format_bytes(struct strbuf *out, const char *text, size_t len)
{
    strbuf_add_char(out, '"');
    strbuf_add(out, text, len);
    strbuf_add_char(out, '"');
}

static int compare_texts(const void *a, const void *b)
{
    const char *const *left = a;
    const char *const *right = b;
    return strcmp(*left, *right);
}

void conformance_format_reply(struct strbuf *out, const struct reply *reply)
{
    char *items[64];
    switch (reply->type) {
    case REPLY_NIL:
        strbuf_add_text(out, "nil");
        break;
    case REPLY_STATUS:
        strbuf_addf(out, "+%s", reply->text);
        break;
    case REPLY_ERROR:
        strbuf_addf(out, "-%s", reply->text);
        break;
    case REPLY_INTEGER:
        strbuf_addf(out, ":%lld", (long long)reply->integer);
        break;
    case REPLY_STRING:
        format_bytes(out, reply->text, reply->len);
        break;
    case REPLY_ARRAY:
        CHECK(reply->count <= 64);
        for (size_t i = 0; i < reply->count; i++) {
            items[i] =
                reply->items[i].type == REPLY_NIL ? xstrdup("nil") : xstrdup(reply->items[i].text);
        }
        qsort(items, reply->count, sizeof(items[0]), compare_texts);
        strbuf_add_char(out, '[');
        for (size_t i = 0; i < reply->count; i++) {
            strbuf_addf(out, "%s%s", i > 0 ? " " : "", items[i]);
            free(items[i]);
        }
        strbuf_add_char(out, ']');
        break;
    }
}

/* Replaces each occurrence. */
static void replace(struct strbuf *text, const char *what, const char *by)
{
    struct strbuf out = {0};
    const char *rest = strbuf_text(text);
    for (const char *at = strstr(rest, what); at != NULL; at = strstr(rest, what)) {
        strbuf_add(&out, rest, (size_t)(at - rest));
        strbuf_add_text(&out, by);
        rest = at + strlen(what);
    }
    strbuf_add_text(&out, rest);
    strbuf_release(text);
    *text = out;
}

void conformance_replace_names(const struct conformance_names *names, struct strbuf *text)
{
    for (int i = 0; i < CONFORMANCE_NODES; i++) {
        char what[64];
        char by[8];
        snprintf(by, sizeof(by), "$%c", 'A' + i);
        replace(text, names->ids[i], by);
        snprintf(what, sizeof(what), "127.0.0.1:%u@%u", names->ports[i], names->ports[i] + 10000U);
        replace(text, what, "-");
        snprintf(what, sizeof(what), "127.0.0.1:%u", names->ports[i]);
        snprintf(by, sizeof(by), "@%c", 'A' + i);
        replace(text, what, by);
    }
}

/* Rows in order, without addresses and times. */
void conformance_normalise_nodes(struct strbuf *text)
{
    char *rows[CONFORMANCE_NODES + 3];
    int count = 0;
    char *copy = xstrdup(strbuf_text(text) + 1);
    char *line_end = NULL;
    for (char *line = copy; *line != '\0' && *line != '"' && count < CONFORMANCE_NODES + 3;
         line = line_end + 1) {
        line_end = strchr(line, '\n');
        CHECK(line_end != NULL);
        *line_end = '\0';
        char id[64];
        char flags[64];
        char primary[64];
        char epoch[32];
        char link[32];
        int at = 0;
        int found = sscanf(line, "%60s %*s %60s %60s %*s %*s %30s %30s%n", id, flags, primary,
                           epoch, link, &at);
        CHECK(found == 5);
        rows[count++] =
            xasprintf("    %s %s %s %s %s%s", id, flags, primary, epoch, link, line + at);
    }
    free(copy);
    qsort(rows, (size_t)count, sizeof(rows[0]), compare_texts);
    strbuf_clear(text);
    for (int i = 0; i < count; i++) {
        strbuf_addf(text, "\n%s", rows[i]);
        free(rows[i]);
    }
}

void conformance_normalise_info(struct strbuf *text)
{
    static const char *const kept[] = {
        "cluster_state:",       "cluster_slots_assigned:", "cluster_slots_ok:",
        "cluster_slots_pfail:", "cluster_slots_fail:",     "cluster_known_nodes:",
        "cluster_size:",        "cluster_current_epoch:",  "cluster_my_epoch:"};
    struct strbuf out = {0};
    for (size_t i = 0; i < sizeof(kept) / sizeof(kept[0]); i++) {
        const char *at = strstr(strbuf_text(text), kept[i]);
        CHECK(at != NULL);
        strbuf_addf(&out, "\n    %.*s", (int)strcspn(at, "\r\n"), at);
    }
    strbuf_release(text);
    *text = out;
}
