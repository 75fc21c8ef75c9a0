/* arena.h — memory that is freed all at once. A zeroed arena is valid and empty. */
#ifndef DROVER_BASE_ARENA_H
#define DROVER_BASE_ARENA_H

#include <stddef.h>

struct arena_chunk;

struct arena {
    struct arena_chunk *chunks; /* newest first; owned */
    size_t used_bytes;          /* handed out in total, for limits */
};

/* 16-byte aligned, zeroed; lives until arena_release(). */
void *arena_alloc(struct arena *arena, size_t size);
/* A copy of 'size' bytes with a '\0' after them. */
char *arena_copy(struct arena *arena, const void *data, size_t size);
void arena_release(struct arena *arena);

#endif
