/* compat_print.h — lines for people and scripts: colours on a terminal only.
 *
 * Log lines go to stdout, complaints about the command line and about unreachable nodes to stderr,
 * as in the original. */
#ifndef DROVER_CTL_COMPAT_COMPAT_PRINT_H
#define DROVER_CTL_COMPAT_COMPAT_PRINT_H

#include "common/base/err.h"
#include "common/base/strbuf.h"

#include <stdbool.h>

enum compat_tone { COMPAT_PLAIN, COMPAT_BOLD, COMPAT_GOOD, COMPAT_WARN, COMPAT_BAD };

/* One line (the line end is added) to stdout. */
void compat_say(enum compat_tone tone, const char *format, ...) PRINTF_LIKE(2, 3);
/* Text as it is, no line end added. */
void compat_write(const char *format, ...) PRINTF_LIKE(1, 2);
/* One line to stderr. */
void compat_complain(const char *format, ...) PRINTF_LIKE(1, 2);

/* Asks on stdout and reads a line from stdin without its end. False at the end of the input: the
 * original asks for ever then. */
bool compat_ask(const char *question, struct strbuf *answer);
/* True when the answer is "yes". */
bool compat_confirm(const char *question);
/* Reads a secret from the terminal without showing it, or from stdin when it is none. */
bool compat_ask_secret(const char *question, struct strbuf *answer);

#endif
