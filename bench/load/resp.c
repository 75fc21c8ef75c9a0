/* resp.c — see resp.h. Source: Redis serialization protocol 2. */
#include "bench/load/resp.h"

#include <string.h>

/* Writes "<mark><number>\r\n" without printf, which would be the dearest part of a small command.
 */
static void add_header(struct strbuf *out, char mark, uint64_t number)
{
    char text[24];
    size_t at = sizeof(text);
    text[--at] = '\n';
    text[--at] = '\r';
    do {
        text[--at] = (char)('0' + number % 10);
        number /= 10;
    } while (number > 0);
    text[--at] = mark;
    strbuf_add(out, text + at, sizeof(text) - at);
}

void resp_command(struct strbuf *out, unsigned count)
{
    add_header(out, '*', count);
}

void resp_bytes(struct strbuf *out, const void *data, size_t size)
{
    add_header(out, '$', size);
    strbuf_add(out, data, size);
    strbuf_add(out, "\r\n", 2);
}

void resp_text(struct strbuf *out, const char *text)
{
    resp_bytes(out, text, strlen(text));
}

void resp_number(struct strbuf *out, int64_t number)
{
    struct strbuf text = {0};
    strbuf_addf(&text, "%lld", (long long)number);
    resp_bytes(out, text.data, text.len);
    strbuf_release(&text);
}
