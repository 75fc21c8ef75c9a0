/* sha256.h — SHA-256 (FIPS 180-4) and HMAC (RFC 2104) over it, in plain C, so that pure layers can
 * check a signature without a library. For short texts; speed is no aim. */
#ifndef DROVER_BASE_SHA256_H
#define DROVER_BASE_SHA256_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SHA256_SIZE 32                         /* bytes of a digest */
#define SHA256_TEXT_SIZE (2 * SHA256_SIZE + 1) /* as lower-case hex and '\0' */

void sha256(const void *data, size_t size, uint8_t digest[SHA256_SIZE]);
void hmac_sha256(const void *key,
                 size_t key_size,
                 const void *data,
                 size_t size,
                 uint8_t digest[SHA256_SIZE]);
void sha256_format(const uint8_t digest[SHA256_SIZE], char text[SHA256_TEXT_SIZE]);
/* Compares in a time that does not depend on where the digests differ. */
bool sha256_is_equal(const uint8_t a[SHA256_SIZE], const uint8_t b[SHA256_SIZE]);

#endif
