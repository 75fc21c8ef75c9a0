/* tls_files.c — see tls_files.h. */
#include "common/io/tls_files.h"

#include "common/base/check.h"

#include <errno.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <string.h>
#include <unistd.h>

#include "common/base/banned.h" /* last: system headers may use what it bans */

static int file_err(const char *what, const char *kind, const char *path, struct err *err)
{
    const char *reason =
        access(path, R_OK) != 0 ? strerror(errno) : ERR_reason_error_string(ERR_peek_error());
    ERR_clear_error();
    err_set(err, ERR_CONFIG, "%s: cannot use the %s %.200s: %s", what, kind, path,
            reason != NULL ? reason : "not PEM");
    err_hint(err, "the file must be PEM and readable by this user");
    return ERR_CONFIG;
}

int tls_files_check_pair(const char *what,
                         const char *cert_path,
                         const char *key_path,
                         struct err *err)
{
    SSL_CTX *ctx = SSL_CTX_new(TLS_method());
    CHECK(ctx != NULL);
    ERR_clear_error();
    int rc = 0;
    if (SSL_CTX_use_certificate_chain_file(ctx, cert_path) != 1) {
        rc = file_err(what, "certificate", cert_path, err);
    } else if (SSL_CTX_use_PrivateKey_file(ctx, key_path, SSL_FILETYPE_PEM) != 1) {
        unsigned long code = ERR_peek_last_error();
        if (ERR_GET_REASON(code) == X509_R_KEY_VALUES_MISMATCH ||
            ERR_GET_REASON(code) == X509_R_KEY_TYPE_MISMATCH) {
            ERR_clear_error();
            rc = err_set(err, ERR_CONFIG,
                         "%s: the key %.200s does not belong to the certificate %.200s", what,
                         key_path, cert_path);
        } else {
            rc = file_err(what, "key", key_path, err);
        }
    }
    SSL_CTX_free(ctx);
    return rc;
}
