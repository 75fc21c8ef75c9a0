/* err.c — see err.h. */
#include "common/base/err.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

int err_set(struct err *err, int code, const char *format, ...)
{
    if (err != NULL) {
        va_list args;
        va_start(args, format);
        err->code = code;
        err->hint[0] = '\0';
        err->retry_after_s = 0;
        (void)vsnprintf(err->text, sizeof(err->text), format, args);
        va_end(args);
    }
    return code;
}

void err_hint(struct err *err, const char *format, ...)
{
    if (err == NULL) {
        return;
    }
    va_list args;
    va_start(args, format);
    (void)vsnprintf(err->hint, sizeof(err->hint), format, args);
    va_end(args);
}

void err_retry_after(struct err *err, int seconds)
{
    if (err != NULL) {
        err->retry_after_s = seconds;
    }
}

int err_wrap(struct err *err, const char *format, ...)
{
    if (err == NULL) {
        return ERR_INTERNAL;
    }
    char wrapped[2 * ERR_TEXT_SIZE];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(wrapped, ERR_TEXT_SIZE, format, args);
    va_end(args);
    size_t len = strlen(wrapped);
    (void)snprintf(wrapped + len, sizeof(wrapped) - len, ": %s", err->text);
    wrapped[sizeof(err->text) - 1] = '\0';
    memcpy(err->text, wrapped, strlen(wrapped) + 1);
    return err->code;
}

const char *err_word(int code)
{
    switch (code) {
    case ERR_OK:
        return "ok";
#define X(name, value, exit_code, word) \
    case name:                          \
        return word;
        ERR_CODES(X)
#undef X
    }
    return "unknown";
}

int err_exit_code(int code)
{
    switch (code) {
    case ERR_OK:
        return 0;
#define X(name, value, exit_code, word) \
    case name:                          \
        return exit_code;
        ERR_CODES(X)
#undef X
    }
    return 1;
}

int err_from_word(const char *word)
{
    if (strcmp(word, "ok") == 0) {
        return ERR_OK;
    }
#define X(name, value, exit_code, code_word) \
    if (strcmp(word, code_word) == 0) {      \
        return name;                         \
    }
    ERR_CODES(X)
#undef X
    return ERR_INTERNAL;
}
