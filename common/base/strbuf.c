/* strbuf.c — see strbuf.h. */
#include "common/base/strbuf.h"

#include "common/base/alloc.h"
#include "common/base/check.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void strbuf_release(struct strbuf *buf)
{
    if (buf == NULL) {
        return;
    }
    free(buf->data);
    *buf = (struct strbuf){0};
}

void strbuf_clear(struct strbuf *buf)
{
    buf->len = 0;
    if (buf->data != NULL) {
        buf->data[0] = '\0';
    }
}

void strbuf_reserve(struct strbuf *buf, size_t more)
{
    CHECK(more < SIZE_MAX / 4);
    size_t need = buf->len + more + 1;
    if (need <= buf->capacity) {
        return;
    }
    size_t capacity = buf->capacity == 0 ? 64 : buf->capacity;
    while (capacity < need) {
        capacity *= 2;
    }
    buf->data = xrealloc(buf->data, capacity);
    buf->data[buf->len] = '\0';
    buf->capacity = capacity;
}

void strbuf_add(struct strbuf *buf, const void *data, size_t size)
{
    strbuf_reserve(buf, size);
    if (size > 0) {
        memcpy(buf->data + buf->len, data, size);
    }
    buf->len += size;
    buf->data[buf->len] = '\0';
}

void strbuf_add_text(struct strbuf *buf, const char *text)
{
    strbuf_add(buf, text, strlen(text));
}

void strbuf_add_char(struct strbuf *buf, char c)
{
    strbuf_add(buf, &c, 1);
}

void strbuf_addf(struct strbuf *buf, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    va_list again;
    va_copy(again, args);
    int len = vsnprintf(NULL, 0, format, args);
    va_end(args);
    CHECK(len >= 0);
    strbuf_reserve(buf, (size_t)len);
    (void)vsnprintf(buf->data + buf->len, (size_t)len + 1, format, again);
    va_end(again);
    buf->len += (size_t)len;
}

void strbuf_consume(struct strbuf *buf, size_t size)
{
    if (size >= buf->len) {
        strbuf_clear(buf);
        return;
    }
    memmove(buf->data, buf->data + size, buf->len - size + 1);
    buf->len -= size;
}

const char *strbuf_text(const struct strbuf *buf)
{
    return buf->data == NULL ? "" : buf->data;
}

char *strbuf_detach(struct strbuf *buf)
{
    strbuf_reserve(buf, 0);
    buf->data[buf->len] = '\0';
    char *data = buf->data;
    *buf = (struct strbuf){0};
    return data;
}
