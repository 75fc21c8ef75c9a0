/* tls_files.h — judges certificate and key files before a library gets them that would only say
 * "crypto error". Internal to common/io. */
#ifndef DROVER_IO_TLS_FILES_H
#define DROVER_IO_TLS_FILES_H

#include "common/base/err.h"

/* 0 when both are PEM and the key belongs to the certificate. Else ERR_CONFIG; the text starts with
 * 'what' ("bus TLS") and names the file. */
int tls_files_check_pair(const char *what,
                         const char *cert_path,
                         const char *key_path,
                         struct err *err) WARN_UNUSED;

#endif
