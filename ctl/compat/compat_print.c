/* compat_print.c — see compat_print.h. */
#include "ctl/compat/compat_print.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

#define LINE_MAX_BYTES 4096

static const char *tone_start(enum compat_tone tone)
{
    if (isatty(STDOUT_FILENO) == 0) {
        return "";
    }
    switch (tone) {
    case COMPAT_PLAIN:
        return "";
    case COMPAT_BOLD:
        return "\033[29;1m";
    case COMPAT_GOOD:
        return "\033[32;1m";
    case COMPAT_WARN:
        return "\033[33;1m";
    case COMPAT_BAD:
        return "\033[31;1m";
    }
    return "";
}

void compat_say(enum compat_tone tone, const char *format, ...)
{
    const char *start = tone_start(tone);
    va_list args;
    va_start(args, format);
    (void)fputs(start, stdout);
    (void)vprintf(format, args);
    (void)printf("%s\n", start[0] == '\0' ? "" : "\033[0m");
    va_end(args);
    (void)fflush(stdout);
}

void compat_write(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    (void)vprintf(format, args);
    va_end(args);
    (void)fflush(stdout);
}

void compat_complain(const char *format, ...)
{
    va_list args;
    (void)fflush(stdout);
    va_start(args, format);
    (void)vfprintf(stderr, format, args);
    va_end(args);
    (void)fputc('\n', stderr);
}

bool compat_ask(const char *question, struct strbuf *answer)
{
    char line[LINE_MAX_BYTES];
    (void)fputs(question, stdout);
    (void)fflush(stdout);
    strbuf_clear(answer);
    if (fgets(line, sizeof(line), stdin) == NULL) {
        (void)fputc('\n', stdout);
        return false;
    }
    line[strcspn(line, "\r\n")] = '\0';
    strbuf_add_text(answer, line);
    return true;
}

bool compat_confirm(const char *question)
{
    struct strbuf answer = {0};
    bool is_yes = compat_ask(question, &answer) && strcmp(strbuf_text(&answer), "yes") == 0;
    strbuf_release(&answer);
    return is_yes;
}

bool compat_ask_secret(const char *question, struct strbuf *answer)
{
    struct termios before;
    bool is_hidden = tcgetattr(STDIN_FILENO, &before) == 0;
    if (is_hidden) {
        struct termios quiet = before;
        quiet.c_lflag &= (tcflag_t)~ECHO;
        is_hidden = tcsetattr(STDIN_FILENO, TCSAFLUSH, &quiet) == 0;
    }
    bool is_read = compat_ask(question, answer);
    if (is_hidden) {
        (void)tcsetattr(STDIN_FILENO, TCSAFLUSH, &before);
        (void)fputc('\n', stdout);
    }
    return is_read;
}
