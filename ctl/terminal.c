/* terminal.c — see terminal.h. */
#include "ctl/terminal.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

/* Set by the signal handler, the only thing it may do. */
static volatile sig_atomic_t is_interrupted;

void terminal_init(struct terminal *terminal, bool no_color)
{
    const char *term = getenv("TERM");
    const char *no_color_env = getenv("NO_COLOR");
    bool is_off = no_color || (no_color_env != NULL && no_color_env[0] != '\0') || term == NULL ||
                  strcmp(term, "dumb") == 0;
    terminal->is_out_screen = isatty(STDOUT_FILENO) == 1;
    terminal->is_in_screen = isatty(STDIN_FILENO) == 1;
    terminal->has_color = terminal->is_out_screen && !is_off;
}

int terminal_width(const struct terminal *terminal)
{
    struct winsize size = {0};
    if (!terminal->is_out_screen || ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) != 0 ||
        size.ws_col == 0) {
        return 100;
    }
    return size.ws_col < 20 ? 20 : size.ws_col;
}

int terminal_height(const struct terminal *terminal)
{
    struct winsize size = {0};
    if (!terminal->is_out_screen || ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) != 0 ||
        size.ws_row == 0) {
        return 40;
    }
    return size.ws_row < 5 ? 5 : size.ws_row;
}

void terminal_write(const struct strbuf *text)
{
    (void)fwrite(strbuf_text(text), 1, text->len, stdout);
    (void)fflush(stdout);
}

bool terminal_ask(const char *question)
{
    char answer[64];
    (void)printf("%s [y/N] ", question);
    (void)fflush(stdout);
    if (fgets(answer, sizeof(answer), stdin) == NULL) {
        (void)printf("\n");
        return false;
    }
    answer[strcspn(answer, "\r\n")] = '\0';
    return strcasecmp(answer, "y") == 0 || strcasecmp(answer, "yes") == 0;
}

static void on_signal(int number)
{
    (void)number;
    is_interrupted = 1;
}

void terminal_catch_interrupt(void)
{
    struct sigaction action = {.sa_handler = on_signal};
    (void)sigemptyset(&action.sa_mask);
    (void)sigaction(SIGINT, &action, NULL);
    (void)sigaction(SIGTERM, &action, NULL);
}

bool terminal_is_interrupted(void)
{
    return is_interrupted != 0;
}

void terminal_wait(int64_t ms)
{
    if (!terminal_is_interrupted()) {
        (void)poll(NULL, 0, (int)ms);
    }
}

int64_t terminal_now_ms(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}
