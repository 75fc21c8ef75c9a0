/* redis_tls.c — see redis_tls.h. */
#include "common/io/redis_tls.h"

#include "common/base/alloc.h"
#include "common/base/check.h"
#include "common/io/redis_link.h"
#include "common/io/tls_files.h"

#include <arpa/inet.h>
#include <limits.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "common/base/banned.h" /* last: system headers may use what it bans */

struct redis_tls_context {
    SSL_CTX *ctx;
    bool checks_name;
};

struct redis_tls {
    SSL *ssl; /* owns both BIOs */
    BIO *in;  /* from the peer */
    BIO *out; /* to the peer */
    bool is_ready;
};

/* The oldest error of OpenSSL's queue as text; empties the queue. */
static const char *openssl_reason(void)
{
    unsigned long code = ERR_get_error();
    ERR_clear_error();
    const char *reason = code != 0 ? ERR_reason_error_string(code) : NULL;
    return reason != NULL ? reason : "unknown reason";
}

static bool is_given(const char *text)
{
    return text != NULL && *text != '\0';
}

static int context_load_pair(SSL_CTX *ctx, const struct redis_options *options, struct err *err)
{
    if (!is_given(options->tls_cert)) {
        return 0;
    }
    const char *key = is_given(options->tls_key) ? options->tls_key : options->tls_cert;
    int rc = tls_files_check_pair("Redis TLS", options->tls_cert, key, err);
    if (rc != 0) {
        return rc;
    }
    if (SSL_CTX_use_certificate_chain_file(ctx, options->tls_cert) != 1 ||
        SSL_CTX_use_PrivateKey_file(ctx, key, SSL_FILETYPE_PEM) != 1) {
        return err_set(err, ERR_CONFIG, "Redis TLS: cannot use the certificate %s: %s",
                       options->tls_cert, openssl_reason());
    }
    return 0;
}

static int context_load(SSL_CTX *ctx, const struct redis_options *options, struct err *err)
{
    bool has_ca = is_given(options->tls_ca);
    struct stat found = {0};
    bool is_folder = has_ca && stat(options->tls_ca, &found) == 0 && S_ISDIR(found.st_mode);
    if (has_ca && SSL_CTX_load_verify_locations(ctx, is_folder ? NULL : options->tls_ca,
                                                is_folder ? options->tls_ca : NULL) != 1) {
        return err_set(err, ERR_CONFIG, "Redis TLS: cannot use the CA file %s: %s", options->tls_ca,
                       openssl_reason());
    }
    if (!has_ca && SSL_CTX_set_default_verify_paths(ctx) != 1) {
        return err_set(err, ERR_CONFIG, "Redis TLS: cannot use the system's CA store: %s",
                       openssl_reason());
    }
    if (is_given(options->tls_ciphers) && SSL_CTX_set_cipher_list(ctx, options->tls_ciphers) != 1) {
        return err_set(err, ERR_CONFIG, "Redis TLS: no cipher of \"%.100s\" is known: %s",
                       options->tls_ciphers, openssl_reason());
    }
    if (is_given(options->tls_ciphersuites) &&
        SSL_CTX_set_ciphersuites(ctx, options->tls_ciphersuites) != 1) {
        return err_set(err, ERR_CONFIG, "Redis TLS: a cipher suite of \"%.100s\" is not known: %s",
                       options->tls_ciphersuites, openssl_reason());
    }
    return context_load_pair(ctx, options, err);
}

struct redis_tls_context *redis_tls_context_new(const struct redis_options *options,
                                                struct err *err)
{
    SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
    CHECK(ctx != NULL);
    CHECK(SSL_CTX_set_min_proto_version(ctx, TLS1_2_VERSION) == 1);
    SSL_CTX_set_verify(ctx, options->tls_insecure ? SSL_VERIFY_NONE : SSL_VERIFY_PEER, NULL);
    if (context_load(ctx, options, err) != 0) {
        SSL_CTX_free(ctx);
        return NULL;
    }
    struct redis_tls_context *context = xcalloc(1, sizeof(*context));
    context->ctx = ctx;
    context->checks_name = !options->tls_insecure && !options->tls_any_name;
    return context;
}

void redis_tls_context_free(struct redis_tls_context *context)
{
    if (context != NULL) {
        SSL_CTX_free(context->ctx);
        free(context);
    }
}

static bool is_ip_address(const char *name)
{
    struct in6_addr address;
    return inet_pton(AF_INET, name, &address) == 1 || inet_pton(AF_INET6, name, &address) == 1;
}

struct redis_tls *redis_tls_new(struct redis_tls_context *context, const char *name)
{
    struct redis_tls *tls = xcalloc(1, sizeof(*tls));
    tls->ssl = SSL_new(context->ctx);
    tls->in = BIO_new(BIO_s_mem());
    tls->out = BIO_new(BIO_s_mem());
    CHECK(tls->ssl != NULL);
    CHECK(tls->in != NULL);
    CHECK(tls->out != NULL);
    BIO_set_mem_eof_return(tls->in, -1); /* empty means "not yet", not the end */
    SSL_set_bio(tls->ssl, tls->in, tls->out);
    SSL_set_connect_state(tls->ssl);
    if (is_ip_address(name)) {
        if (context->checks_name) {
            CHECK(X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(tls->ssl), name) == 1);
        }
    } else {
        (void)SSL_set_tlsext_host_name(tls->ssl, name);
        if (context->checks_name) {
            CHECK(SSL_set1_host(tls->ssl, name) == 1);
        }
    }
    ERR_clear_error();
    (void)SSL_do_handshake(tls->ssl); /* wants to read; the first flight is in the output */
    ERR_clear_error();
    return tls;
}

void redis_tls_free(struct redis_tls *tls)
{
    if (tls != NULL) {
        SSL_free(tls->ssl);
        free(tls);
    }
}

static int handshake_err(struct redis_tls *tls, struct err *err)
{
    long verify = SSL_get_verify_result(tls->ssl);
    if (verify != X509_V_OK && SSL_get_verify_mode(tls->ssl) != SSL_VERIFY_NONE) {
        ERR_clear_error();
        err_set(err, ERR_PROTOCOL, "TLS: the server's certificate is not trusted: %s",
                X509_verify_cert_error_string(verify));
        err_hint(err, "check the CA file and the name in the certificate");
        return ERR_PROTOCOL;
    }
    err_set(err, ERR_PROTOCOL, "TLS handshake failed: %s", openssl_reason());
    err_hint(err,
             "check that this is the server's TLS port and whether it wants a client certificate");
    return ERR_PROTOCOL;
}

int redis_tls_feed(struct redis_tls *tls, const void *data, size_t size, struct err *err)
{
    CHECK(size <= INT_MAX);
    CHECK(BIO_write(tls->in, data, (int)size) == (int)size);
    if (tls->is_ready) {
        return 0;
    }
    ERR_clear_error();
    int rc = SSL_do_handshake(tls->ssl);
    if (rc == 1) {
        tls->is_ready = true;
        return 0;
    }
    int reason = SSL_get_error(tls->ssl, rc);
    if (reason == SSL_ERROR_WANT_READ || reason == SSL_ERROR_WANT_WRITE) {
        return 0;
    }
    return handshake_err(tls, err);
}

bool redis_tls_is_ready(const struct redis_tls *tls)
{
    return tls->is_ready;
}

int redis_tls_read(struct redis_tls *tls, char *data, int size, struct err *err)
{
    ERR_clear_error();
    int count = SSL_read(tls->ssl, data, size);
    if (count > 0) {
        return count;
    }
    int reason = SSL_get_error(tls->ssl, count);
    if (reason == SSL_ERROR_WANT_READ || reason == SSL_ERROR_WANT_WRITE) {
        return 0;
    }
    if (reason == SSL_ERROR_ZERO_RETURN) {
        return err_set(err, ERR_UNAVAILABLE, "the server closed the connection");
    }
    err_set(err, ERR_PROTOCOL, "TLS failed: %s", openssl_reason());
    err_hint(err, "a server that wants a client certificate refuses at this point");
    return ERR_PROTOCOL;
}

int redis_tls_write(struct redis_tls *tls, const char *data, size_t size, struct err *err)
{
    CHECK(tls->is_ready);
    while (size > 0) {
        int part = size > INT_MAX ? INT_MAX : (int)size;
        ERR_clear_error();
        int count = SSL_write(tls->ssl, data, part);
        if (count <= 0) {
            return err_set(err, ERR_PROTOCOL, "TLS failed: %s", openssl_reason());
        }
        data += count;
        size -= (size_t)count;
    }
    return 0;
}

void redis_tls_take_output(struct redis_tls *tls, struct strbuf *out)
{
    char *data = NULL;
    long size = BIO_get_mem_data(tls->out, &data);
    if (size > 0) {
        strbuf_add(out, data, (size_t)size);
        (void)BIO_reset(tls->out);
    }
}
