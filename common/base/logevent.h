/* logevent.h — one log line as data: a level, an event name and key=value pairs (logfmt).
 *
 * Cores emit these as effects; the sink of the shell adds wall time and writes them. Event names
 * are API: golden tests and people's alerts read them. Never put a secret in. */
#ifndef DROVER_BASE_LOGEVENT_H
#define DROVER_BASE_LOGEVENT_H

#include "common/base/strbuf.h"

#include <stdint.h>

enum log_level { LOG_DEBUG, LOG_INFO, LOG_WARN, LOG_ERROR };

#define LOG_EVENT_NAME_SIZE 48

struct log_event {
    enum log_level level;
    char name[LOG_EVENT_NAME_SIZE]; /* "move.claiming" */
    struct strbuf pairs;            /* " slot=42 from=s1"; owned */
};

void log_event_init(struct log_event *event, enum log_level level, const char *name);
void log_event_release(struct log_event *event);
/* Values with spaces, quotes or control bytes are quoted and escaped. */
void log_event_add(struct log_event *event, const char *key, const char *value);
void log_event_add_int(struct log_event *event, const char *key, int64_t value);
void log_event_addf(struct log_event *event, const char *key, const char *format, ...)
    PRINTF_LIKE(3, 4);
const char *log_level_name(enum log_level level); /* "debug" "info" "warn" "error" */

#endif
