/* alloc.c — see alloc.h. */
#include "common/base/alloc.h"

#include "common/base/check.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void *xmalloc(size_t size)
{
    void *ptr = malloc(size == 0 ? 1 : size);
    CHECK(ptr != NULL);
    return ptr;
}

void *xcalloc(size_t count, size_t size)
{
    void *ptr = calloc(count == 0 ? 1 : count, size == 0 ? 1 : size);
    CHECK(ptr != NULL);
    return ptr;
}

void *xrealloc(void *ptr, size_t size)
{
    void *grown = realloc(ptr, size == 0 ? 1 : size);
    CHECK(grown != NULL);
    return grown;
}

void *xreallocarray(void *ptr, size_t count, size_t size)
{
    CHECK(size == 0 || count <= SIZE_MAX / size);
    return xrealloc(ptr, count * size);
}

char *xstrdup(const char *text)
{
    return xmemdup(text, strlen(text) + 1);
}

void *xmemdup(const void *data, size_t size)
{
    void *copy = xmalloc(size);
    if (size > 0) {
        memcpy(copy, data, size);
    }
    return copy;
}

char *xasprintf(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    va_list again;
    va_copy(again, args);
    int len = vsnprintf(NULL, 0, format, args);
    va_end(args);
    CHECK(len >= 0);
    char *text = xmalloc((size_t)len + 1);
    (void)vsnprintf(text, (size_t)len + 1, format, again);
    va_end(again);
    return text;
}
