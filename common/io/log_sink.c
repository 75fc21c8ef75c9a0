/* log_sink.c — see log_sink.h.
 *
 * A descriptor is asked with poll() before each write, because setting O_NONBLOCK on stderr would
 * change it for every process that shares it. */
#include "common/io/log_sink.h"

#include "common/base/alloc.h"
#include "common/base/check.h"
#include "common/base/strbuf.h"
#include "common/io/clock.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/base/banned.h" /* last: system headers may use what it bans */

#define WINDOW_MS 1000 /* LOG_LINES_A_SECOND counts per window of this length */

struct log_name {
    char name[LOG_EVENT_NAME_SIZE];
    int64_t window_ms;        /* when the present window began */
    int line_count;           /* written in it */
    int64_t suppressed_count; /* not written since the last line */
};

struct log_sink {
    char *path; /* owned; NULL: stderr */
    int fd;
    enum log_level level;
    struct log_name *names; /* owned; LOG_NAMES_MAX, sorted by hash with open addressing */
    int name_count;
    int64_t dropped_count; /* lines the reader had no room for */
    struct strbuf line;
};

static struct log_name *find_name(struct log_sink *sink, const char *name);
static bool write_line(struct log_sink *sink,
                       enum log_level level,
                       const char *name,
                       const char *pairs);

struct log_sink *log_sink_new(const struct log_options *options, struct err *err)
{
    struct log_sink *sink = xcalloc(1, sizeof(*sink));
    sink->fd = STDERR_FILENO;
    sink->level = options->level;
    sink->names = xcalloc(LOG_NAMES_MAX, sizeof(*sink->names));
    if (options->path != NULL && *options->path != '\0') {
        sink->fd = -1;
        sink->path = xstrdup(options->path);
        if (log_sink_reopen(sink, err) != 0) {
            log_sink_free(sink);
            return NULL;
        }
    }
    return sink;
}

void log_sink_free(struct log_sink *sink)
{
    if (sink == NULL) {
        return;
    }
    if (sink->fd >= 0) {
        log_sink_flush(sink, clock_now_ms());
    }
    if (sink->path != NULL && sink->fd >= 0) {
        (void)close(sink->fd);
    }
    strbuf_release(&sink->line);
    free(sink->path);
    free(sink->names);
    free(sink);
}

void log_sink_set_level(struct log_sink *sink, enum log_level level)
{
    sink->level = level;
}

int log_sink_reopen(struct log_sink *sink, struct err *err)
{
    if (sink->path == NULL) {
        return 0;
    }
    int fd = open(sink->path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0640);
    if (fd < 0) {
        return err_set(err, ERR_IO, "cannot open the log file %.300s: %s", sink->path,
                       strerror(errno));
    }
    if (sink->fd >= 0) {
        (void)close(sink->fd);
    }
    sink->fd = fd;
    return 0;
}

void log_sink_write(struct log_sink *sink, const struct log_event *event, int64_t now_ms)
{
    if (event->level < sink->level) {
        return;
    }
    struct log_name *name = find_name(sink, event->name);
    if (now_ms - name->window_ms >= WINDOW_MS || now_ms < name->window_ms) {
        name->window_ms = now_ms;
        name->line_count = 0;
    }
    if (name->line_count >= LOG_LINES_A_SECOND) {
        name->suppressed_count++;
        return;
    }
    name->line_count++;
    const char *pairs = strbuf_text(&event->pairs);
    char *more = NULL;
    if (name->suppressed_count > 0) {
        more = xasprintf("%s suppressed=%lld", pairs, (long long)name->suppressed_count);
    }
    if (write_line(sink, event->level, event->name, more != NULL ? more : pairs)) {
        name->suppressed_count = 0;
    } else {
        sink->dropped_count++;
    }
    free(more);
}

void log_sink_flush(struct log_sink *sink, int64_t now_ms)
{
    char pairs[LOG_EVENT_NAME_SIZE + 64];
    for (int i = 0; i < LOG_NAMES_MAX; i++) {
        struct log_name *name = &sink->names[i];
        if (name->suppressed_count == 0) {
            continue;
        }
        (void)snprintf(pairs, sizeof(pairs), " event=%s suppressed=%lld", name->name,
                       (long long)name->suppressed_count);
        if (write_line(sink, LOG_WARN, "log.suppressed", pairs)) {
            name->suppressed_count = 0;
            name->window_ms = now_ms;
        }
    }
    if (sink->dropped_count > 0) {
        (void)snprintf(pairs, sizeof(pairs), " lines=%lld", (long long)sink->dropped_count);
        if (write_line(sink, LOG_WARN, "log.dropped", pairs)) {
            sink->dropped_count = 0;
        }
    }
}

/* The row of that name, made when it is new. When the table is full, all further names share the
 * last row looked at: they are limited together, never lost without a count. */
static struct log_name *find_name(struct log_sink *sink, const char *name)
{
    uint32_t hash = 2166136261U; /* FNV-1a */
    for (const char *c = name; *c != '\0'; c++) {
        hash = (hash ^ (unsigned char)*c) * 16777619U;
    }
    struct log_name *row = NULL;
    for (uint32_t i = 0; i < LOG_NAMES_MAX; i++) {
        row = &sink->names[(hash + i) % LOG_NAMES_MAX];
        if (strcmp(row->name, name) == 0) {
            return row;
        }
        if (row->name[0] == '\0') {
            (void)snprintf(row->name, sizeof(row->name), "%s", name);
            sink->name_count++;
            return row;
        }
    }
    return row;
}

static bool write_line(struct log_sink *sink,
                       enum log_level level,
                       const char *name,
                       const char *pairs)
{
    char time[CLOCK_TEXT_SIZE];
    struct strbuf *line = &sink->line;
    strbuf_clear(line);
    strbuf_addf(line, "%s %-5s %s%s", clock_format(clock_wall_ms(), time), log_level_name(level),
                name, pairs);
    if (line->len > LOG_LINE_SIZE_MAX - 1) {
        static const char cut[] = "...";
        line->len = LOG_LINE_SIZE_MAX - 1 - (sizeof(cut) - 1);
        strbuf_add(line, cut, sizeof(cut) - 1);
    }
    strbuf_add_char(line, '\n');
    struct pollfd room = {.fd = sink->fd, .events = POLLOUT};
    if (poll(&room, 1, 0) != 1 || (room.revents & POLLOUT) == 0) {
        return false;
    }
    ssize_t count = -1;
    do {
        count = write(sink->fd, line->data, line->len);
    } while (count < 0 && errno == EINTR);
    return count == (ssize_t)line->len;
}
