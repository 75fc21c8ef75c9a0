/* logevent.c — see logevent.h. */
#include "common/base/logevent.h"

#include "common/base/check.h"

#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#define VALUE_SIZE_MAX 1024 /* one line stays readable; longer values are cut */

void log_event_init(struct log_event *event, enum log_level level, const char *name)
{
    *event = (struct log_event){.level = level};
    (void)snprintf(event->name, sizeof(event->name), "%s", name);
}

void log_event_release(struct log_event *event)
{
    if (event != NULL) {
        strbuf_release(&event->pairs);
    }
}

static bool needs_quotes(const char *value)
{
    if (*value == '\0') {
        return true;
    }
    for (const char *c = value; *c != '\0'; c++) {
        if ((unsigned char)*c <= ' ' || *c == '"' || *c == '=' || *c == 0x7f) {
            return true;
        }
    }
    return false;
}

void log_event_add(struct log_event *event, const char *key, const char *value)
{
    strbuf_addf(&event->pairs, " %s=", key);
    if (!needs_quotes(value)) {
        strbuf_addf(&event->pairs, "%.*s", VALUE_SIZE_MAX, value);
        return;
    }
    strbuf_add_char(&event->pairs, '"');
    int left = VALUE_SIZE_MAX;
    for (const char *c = value; *c != '\0' && left > 0; c++, left--) {
        if (*c == '"' || *c == '\\') {
            strbuf_addf(&event->pairs, "\\%c", *c);
        } else if (*c == '\n') {
            strbuf_add_text(&event->pairs, "\\n");
        } else if ((unsigned char)*c < ' ' || *c == 0x7f) {
            strbuf_addf(&event->pairs, "\\x%02x", (unsigned)(unsigned char)*c);
        } else {
            strbuf_add_char(&event->pairs, *c);
        }
    }
    strbuf_add_char(&event->pairs, '"');
}

void log_event_add_int(struct log_event *event, const char *key, int64_t value)
{
    strbuf_addf(&event->pairs, " %s=%lld", key, (long long)value);
}

void log_event_addf(struct log_event *event, const char *key, const char *format, ...)
{
    char value[VALUE_SIZE_MAX];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(value, sizeof(value), format, args);
    va_end(args);
    log_event_add(event, key, value);
}

const char *log_level_name(enum log_level level)
{
    switch (level) {
    case LOG_DEBUG:
        return "debug";
    case LOG_INFO:
        return "info";
    case LOG_WARN:
        return "warn";
    case LOG_ERROR:
        return "error";
    }
    UNREACHABLE("log level");
}
