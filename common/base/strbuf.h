/* strbuf.h — a growing byte string.
 *
 * Invariant: data[len] is '\0' whenever data is not NULL, so text can be handed to C functions; the
 * bytes before it may contain any value. A zeroed strbuf is valid and empty. */
#ifndef DROVER_BASE_STRBUF_H
#define DROVER_BASE_STRBUF_H

#include "common/base/err.h"

#include <stdbool.h>
#include <stddef.h>

struct strbuf {
    char *data;      /* owned; NULL while nothing was ever added */
    size_t len;      /* bytes in use, without the closing '\0' */
    size_t capacity; /* bytes allocated */
};

void strbuf_release(struct strbuf *buf);
/* Empties but keeps the memory. */
void strbuf_clear(struct strbuf *buf);
void strbuf_reserve(struct strbuf *buf, size_t more);
void strbuf_add(struct strbuf *buf, const void *data, size_t size);
void strbuf_add_text(struct strbuf *buf, const char *text);
void strbuf_add_char(struct strbuf *buf, char c);
void strbuf_addf(struct strbuf *buf, const char *format, ...) PRINTF_LIKE(2, 3);
/* Removes the first 'size' bytes (at most len). */
void strbuf_consume(struct strbuf *buf, size_t size);
/* The text, "" when empty. Valid until the next change. */
const char *strbuf_text(const struct strbuf *buf);
/* Hands the memory over to the caller, who frees it; never NULL. The strbuf is empty afterwards. */
char *strbuf_detach(struct strbuf *buf);

#endif
