/* signer.c — see signer.h. */
#include "common/io/signer.h"

#include "common/base/alloc.h"

#include <errno.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SIGNATURE_SIZE 64
#define PUBLIC_SIZE 32

struct signer {
    EVP_PKEY *key; /* owned */
    char key_id[SIGNER_KEY_ID_SIZE];
};

static int name_key(struct signer *signer)
{
    unsigned char raw[PUBLIC_SIZE];
    unsigned char hash[EVP_MAX_MD_SIZE];
    size_t size = sizeof(raw);
    unsigned int hash_size = 0;
    if (EVP_PKEY_get_raw_public_key(signer->key, raw, &size) != 1 ||
        EVP_Digest(raw, size, hash, &hash_size, EVP_sha256(), NULL) != 1) {
        return ERR_INTERNAL;
    }
    for (int i = 0; i < (SIGNER_KEY_ID_SIZE - 1) / 2; i++) {
        (void)snprintf(signer->key_id + (ptrdiff_t)2 * i, 3, "%02x", hash[i]);
    }
    return 0;
}

/* An encrypted key would ask on a terminal that a daemon has not. */
static int no_password(char *buffer, int size, int is_writing, void *user)
{
    (void)buffer, (void)size, (void)is_writing, (void)user;
    return -1;
}

struct signer *signer_new(const char *pem_file, struct err *err)
{
    FILE *file = fopen(pem_file, "r");
    if (file == NULL) {
        err_set(err, ERR_IO, "cannot read the key %.200s: %s", pem_file, strerror(errno));
        return NULL;
    }
    struct signer *signer = xcalloc(1, sizeof(*signer));
    signer->key = PEM_read_PrivateKey(file, NULL, no_password, NULL);
    (void)fclose(file);
    if (signer->key == NULL || EVP_PKEY_get_id(signer->key) != EVP_PKEY_ED25519 ||
        name_key(signer) != 0) {
        ERR_clear_error();
        err_set(err, ERR_CONFIG, "%.200s holds no Ed25519 private key in PEM form", pem_file);
        err_hint(err, "make one: openssl genpkey -algorithm ed25519 -out FILE");
        signer_free(signer);
        return NULL;
    }
    return signer;
}

void signer_free(struct signer *signer)
{
    if (signer != NULL) {
        EVP_PKEY_free(signer->key);
        free(signer);
    }
}

int signer_sign(const struct signer *signer,
                const void *data,
                size_t size,
                char out[SIGNER_TEXT_SIZE],
                struct err *err)
{
    unsigned char signature[SIGNATURE_SIZE];
    size_t signature_size = sizeof(signature);
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    bool is_signed = context != NULL &&
                     EVP_DigestSignInit(context, NULL, NULL, NULL, signer->key) == 1 &&
                     EVP_DigestSign(context, signature, &signature_size, data, size) == 1;
    EVP_MD_CTX_free(context);
    if (!is_signed) {
        ERR_clear_error();
        return err_set(err, ERR_INTERNAL, "signing failed");
    }
    (void)EVP_EncodeBlock((unsigned char *)out, signature, (int)signature_size);
    return 0;
}

bool signer_verify(const struct signer *signer,
                   const void *data,
                   size_t size,
                   const char *signature)
{
    unsigned char raw[SIGNER_TEXT_SIZE];
    size_t len = strlen(signature);
    /* 64 bytes are 88 characters, the last two of which are padding. */
    if (len != (size_t)(SIGNATURE_SIZE + 2) / 3 * 4 ||
        EVP_DecodeBlock(raw, (const unsigned char *)signature, (int)len) < SIGNATURE_SIZE) {
        return false;
    }
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    bool is_good = context != NULL &&
                   EVP_DigestVerifyInit(context, NULL, NULL, NULL, signer->key) == 1 &&
                   EVP_DigestVerify(context, raw, SIGNATURE_SIZE, data, size) == 1;
    EVP_MD_CTX_free(context);
    ERR_clear_error();
    return is_good;
}

const char *signer_key_id(const struct signer *signer)
{
    return signer->key_id;
}
