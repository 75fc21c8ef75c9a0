/* sha256.c — see sha256.h. */
#include "common/base/sha256.h"

#include <stdio.h>
#include <string.h>

#define BLOCK_SIZE 64
#define ROUNDS 64

/* The first 32 bits of the fractional parts of the cube roots of the first 64 primes. */
static const uint32_t constants[ROUNDS] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2,
};

struct hash {
    uint32_t h[8];
    uint8_t block[BLOCK_SIZE];
    size_t used; /* of block */
    uint64_t size;
};

static uint32_t rotate(uint32_t x, int by)
{
    return (x >> by) | (x << (32 - by));
}

static void expand(const uint8_t block[BLOCK_SIZE], uint32_t w[ROUNDS])
{
    for (int i = 0; i < 16; i++) {
        const uint8_t *at = block + (size_t)i * 4;
        w[i] = (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3];
    }
    for (int i = 16; i < ROUNDS; i++) {
        uint32_t a = w[i - 15];
        uint32_t b = w[i - 2];
        uint32_t s0 = rotate(a, 7) ^ rotate(a, 18) ^ (a >> 3);
        uint32_t s1 = rotate(b, 17) ^ rotate(b, 19) ^ (b >> 10);
        w[i] = w[i - 16] + s0 + w[i - 7] + s1;
    }
}

static void compress(struct hash *hash)
{
    uint32_t w[ROUNDS];
    uint32_t v[8];
    expand(hash->block, w);
    memcpy(v, hash->h, sizeof(v));
    for (int i = 0; i < ROUNDS; i++) {
        uint32_t s1 = rotate(v[4], 6) ^ rotate(v[4], 11) ^ rotate(v[4], 25);
        uint32_t choice = (v[4] & v[5]) ^ (~v[4] & v[6]);
        uint32_t t1 = v[7] + s1 + choice + constants[i] + w[i];
        uint32_t s0 = rotate(v[0], 2) ^ rotate(v[0], 13) ^ rotate(v[0], 22);
        uint32_t majority = (v[0] & v[1]) ^ (v[0] & v[2]) ^ (v[1] & v[2]);
        memmove(v + 1, v, 7 * sizeof(v[0]));
        v[4] += t1;
        v[0] = t1 + s0 + majority;
    }
    for (int i = 0; i < 8; i++) {
        hash->h[i] += v[i];
    }
    hash->used = 0;
}

static void begin(struct hash *hash)
{
    *hash = (struct hash){.h = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f,
                                0x9b05688c, 0x1f83d9ab, 0x5be0cd19}};
}

static void add(struct hash *hash, const void *data, size_t size)
{
    const uint8_t *bytes = data;
    hash->size += size;
    for (size_t i = 0; i < size; i++) {
        hash->block[hash->used++] = bytes[i];
        if (hash->used == BLOCK_SIZE) {
            compress(hash);
        }
    }
}

static void finish(struct hash *hash, uint8_t digest[SHA256_SIZE])
{
    uint64_t bits = hash->size * 8;
    static const uint8_t one = 0x80;
    static const uint8_t zero = 0;
    add(hash, &one, 1);
    while (hash->used != BLOCK_SIZE - 8) {
        add(hash, &zero, 1);
    }
    for (int i = 7; i >= 0; i--) {
        uint8_t byte = (uint8_t)(bits >> (8 * i));
        add(hash, &byte, 1);
    }
    for (int i = 0; i < SHA256_SIZE; i++) {
        digest[i] = (uint8_t)(hash->h[i / 4] >> (24 - 8 * (i % 4)));
    }
}

void sha256(const void *data, size_t size, uint8_t digest[SHA256_SIZE])
{
    struct hash hash;
    begin(&hash);
    add(&hash, data, size);
    finish(&hash, digest);
}

void hmac_sha256(const void *key,
                 size_t key_size,
                 const void *data,
                 size_t size,
                 uint8_t digest[SHA256_SIZE])
{
    uint8_t block[BLOCK_SIZE] = {0};
    if (key_size > BLOCK_SIZE) {
        sha256(key, key_size, block);
    } else {
        memcpy(block, key, key_size);
    }
    uint8_t pad[BLOCK_SIZE];
    struct hash hash;
    begin(&hash);
    for (int i = 0; i < BLOCK_SIZE; i++) {
        pad[i] = block[i] ^ 0x36;
    }
    add(&hash, pad, sizeof(pad));
    add(&hash, data, size);
    finish(&hash, digest);
    begin(&hash);
    for (int i = 0; i < BLOCK_SIZE; i++) {
        pad[i] = block[i] ^ 0x5c;
    }
    add(&hash, pad, sizeof(pad));
    add(&hash, digest, SHA256_SIZE);
    finish(&hash, digest);
}

void sha256_format(const uint8_t digest[SHA256_SIZE], char text[SHA256_TEXT_SIZE])
{
    for (int i = 0; i < SHA256_SIZE; i++) {
        (void)snprintf(text + (size_t)2 * (size_t)i, 3, "%02x", digest[i]);
    }
}

bool sha256_is_equal(const uint8_t a[SHA256_SIZE], const uint8_t b[SHA256_SIZE])
{
    uint8_t difference = 0;
    for (int i = 0; i < SHA256_SIZE; i++) {
        difference |= (uint8_t)(a[i] ^ b[i]);
    }
    return difference == 0;
}
