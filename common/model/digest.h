/* digest.h — small non-cryptographic 64-bit hashing for "is it still the same".
 *
 * Never for secrets or against an attacker. The values are kept in records and cross the wire, so
 * the functions may not change. Source: FNV-1a (Fowler, Noll, Vo), closed with the mixer of
 * splitmix64 (Vigna). */
#ifndef DROVER_MODEL_DIGEST_H
#define DROVER_MODEL_DIGEST_H

#include <stddef.h>
#include <stdint.h>

#define DIGEST_START UINT64_C(0xcbf29ce484222325)

static inline uint64_t digest_bytes(uint64_t digest, const void *data, size_t size)
{
    const unsigned char *bytes = data;
    for (size_t i = 0; i < size; i++) {
        digest = (digest ^ bytes[i]) * UINT64_C(0x100000001b3);
    }
    return digest;
}

/* The text and its end, so that "ab","c" and "a","bc" differ. */
static inline uint64_t digest_text(uint64_t digest, const char *text)
{
    size_t len = 0;
    while (text[len] != '\0') {
        len++;
    }
    return digest_bytes(digest, text, len + 1);
}

/* The same on machines of either byte order. */
static inline uint64_t digest_number(uint64_t digest, uint64_t number)
{
    unsigned char bytes[8];
    for (int i = 0; i < 8; i++) {
        bytes[i] = (unsigned char)(number >> (8 * i));
    }
    return digest_bytes(digest, bytes, sizeof(bytes));
}

/* Spreads every bit over the whole word, so that digests of parts may be summed. */
static inline uint64_t digest_close(uint64_t digest)
{
    digest = (digest ^ (digest >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    digest = (digest ^ (digest >> 27)) * UINT64_C(0x94d049bb133111eb);
    return digest ^ (digest >> 31);
}

#endif
