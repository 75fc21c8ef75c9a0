/* terminal.h — where output goes: a screen or not, colours, questions, Ctrl-C; and the time. */
#ifndef DROVER_CTL_TERMINAL_H
#define DROVER_CTL_TERMINAL_H

#include "common/base/strbuf.h"

#include <stdbool.h>
#include <stdint.h>

struct terminal {
    bool is_out_screen; /* stdout is a terminal */
    bool is_in_screen;  /* stdin is one: questions can be asked */
    bool has_color;
};

/* NO_COLOR, TERM=dumb and --no-color switch colours off. */
void terminal_init(struct terminal *terminal, bool no_color);
/* Columns and rows of the screen now; 100 and 40 when stdout is none. */
int terminal_width(const struct terminal *terminal);
int terminal_height(const struct terminal *terminal);
/* Writes to stdout and flushes. */
void terminal_write(const struct strbuf *text);
/* Asks on the terminal; true for "y" or "yes". */
bool terminal_ask(const char *question);
/* From now on Ctrl-C and SIGTERM only set a flag. */
void terminal_catch_interrupt(void);
bool terminal_is_interrupted(void);
/* Waits; ends early on an interrupt. */
void terminal_wait(int64_t ms);
/* Monotonic milliseconds. */
int64_t terminal_now_ms(void);

#endif
