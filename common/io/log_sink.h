/* log_sink.h — writes log events as lines: wall time, level, event name, pairs (logfmt).
 *
 *   2026-01-31T23:59:59.123Z info  move.claiming slot=42 from=s1 to=s3
 *
 * A line is written whole or not at all, and a reader that does not read is not waited for: lines
 * that do not fit are counted and told later ("log.dropped lines=12"). Loop thread only. */
#ifndef DROVER_IO_LOG_SINK_H
#define DROVER_IO_LOG_SINK_H

#include "common/base/err.h"
#include "common/base/logevent.h"

#include <stdint.h>

#define LOG_LINE_SIZE_MAX \
    4096 /* a pipe that is writable takes this much at once (PIPE_BUF); longer lines are cut */
#define LOG_LINES_A_SECOND \
    50 /* of one event name; what is more is counted: "suppressed=N" on its next line */
#define LOG_NAMES_MAX \
    512 /* event names that are told apart for that; the table of names is smaller */

struct log_sink;

struct log_options {
    const char *path;     /* NULL or "": stderr; else a file to append to, made with mode 0640 */
    enum log_level level; /* lines below are not written */
};

/* ERR_IO with the path when the file cannot be opened. */
struct log_sink *log_sink_new(const struct log_options *options, struct err *err);
/* Tells what is still suppressed, then closes. NULL is legal. */
void log_sink_free(struct log_sink *sink);
void log_sink_set_level(struct log_sink *sink, enum log_level level);
/* For log rotation: opens the path anew. On failure the old file stays in use. */
int log_sink_reopen(struct log_sink *sink, struct err *err) WARN_UNUSED;
/* now_ms: clock_now_ms(). The event stays the caller's. */
void log_sink_write(struct log_sink *sink, const struct log_event *event, int64_t now_ms);
/* Tells what was suppressed or dropped and is not yet told. Call now and then, e.g. each minute. */
void log_sink_flush(struct log_sink *sink, int64_t now_ms);

#endif
