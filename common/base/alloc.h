/* alloc.h — allocation that aborts when memory is out.
 *
 * All state that matters is durable, so a clean stop and a restart is the right answer to exhausted
 * memory. Sizes that come from outside are bounded by the caller before they get here. */
#ifndef DROVER_BASE_ALLOC_H
#define DROVER_BASE_ALLOC_H

#include <stddef.h>

void *xmalloc(size_t size);
void *xcalloc(size_t count, size_t size);
void *xrealloc(void *ptr, size_t size);
/* realloc of count * size with the multiplication checked. */
void *xreallocarray(void *ptr, size_t count, size_t size);
char *xstrdup(const char *text);
void *xmemdup(const void *data, size_t size);
/* printf into new memory; free() it. */
char *xasprintf(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Makes room for one more item in the array 'items' with 'count' used and 'capacity' allocated
 * items. */
#define ARRAY_RESERVE(items, count, capacity)                                       \
    do {                                                                            \
        if ((count) == (capacity)) {                                                \
            (capacity) = (capacity) == 0 ? 8 : (capacity)*2;                        \
            (items) = xreallocarray((items), (size_t)(capacity), sizeof(*(items))); \
        }                                                                           \
    } while (0)

#endif
