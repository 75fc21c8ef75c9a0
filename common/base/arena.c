/* arena.c — see arena.h. */
#include "common/base/arena.h"

#include "common/base/alloc.h"
#include "common/base/check.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define CHUNK_SIZE_MIN 1024
#define CHUNK_SIZE_MAX (256UL * 1024)

struct arena_chunk {
    struct arena_chunk *next;
    size_t size;
    size_t used;
    _Alignas(16) unsigned char data[];
};

void *arena_alloc(struct arena *arena, size_t size)
{
    CHECK(size < SIZE_MAX / 4);
    size_t need = (size + 15u) & ~(size_t)15u;
    struct arena_chunk *chunk = arena->chunks;
    if (chunk == NULL || chunk->size - chunk->used < need) {
        size_t chunk_size = chunk == NULL ? CHUNK_SIZE_MIN : chunk->size * 2;
        if (chunk_size > CHUNK_SIZE_MAX) {
            chunk_size = CHUNK_SIZE_MAX;
        }
        if (chunk_size < need) {
            chunk_size = need;
        }
        struct arena_chunk *fresh = xmalloc(sizeof(*fresh) + chunk_size);
        *fresh = (struct arena_chunk){.next = chunk, .size = chunk_size};
        arena->chunks = fresh;
        chunk = fresh;
    }
    void *ptr = chunk->data + chunk->used;
    chunk->used += need;
    arena->used_bytes += need;
    memset(ptr, 0, need);
    return ptr;
}

char *arena_copy(struct arena *arena, const void *data, size_t size)
{
    char *copy = arena_alloc(arena, size + 1);
    if (size > 0) {
        memcpy(copy, data, size);
    }
    return copy;
}

void arena_release(struct arena *arena)
{
    if (arena == NULL) {
        return;
    }
    struct arena_chunk *chunk = arena->chunks;
    while (chunk != NULL) {
        struct arena_chunk *next = chunk->next;
        free(chunk);
        chunk = next;
    }
    *arena = (struct arena){0};
}
