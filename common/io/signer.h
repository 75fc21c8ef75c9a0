/* signer.h — signs texts with an Ed25519 key, so that others can check who said them.
 *
 * OpenSSL. The key is a PEM file as `openssl genpkey -algorithm ed25519` writes it. Must not know
 * what it signs. */
#ifndef DROVER_IO_SIGNER_H
#define DROVER_IO_SIGNER_H

#include "common/base/err.h"

#include <stdbool.h>
#include <stddef.h>

#define SIGNER_TEXT_SIZE 96   /* a signature of 64 bytes as base64, and '\0' */
#define SIGNER_KEY_ID_SIZE 17 /* 16 hex digits of the public key's SHA-256, and '\0' */

struct signer;

/* Reads the private key. NULL and 'err' when it cannot be read (ERR_IO) or is no Ed25519 private
 * key (ERR_CONFIG). */
struct signer *signer_new(const char *pem_file, struct err *err);
void signer_free(struct signer *signer);
/* Signs 'size' bytes; the signature as base64. */
int signer_sign(const struct signer *signer,
                const void *data,
                size_t size,
                char out[SIGNER_TEXT_SIZE],
                struct err *err) WARN_UNUSED;
/* True when 'signature' (base64) is the key's own of these bytes. */
bool signer_verify(const struct signer *signer,
                   const void *data,
                   size_t size,
                   const char *signature);
/* Which key it is: the first half of the SHA-256 of its raw public key, cut, in hex. */
const char *signer_key_id(const struct signer *signer);

#endif
