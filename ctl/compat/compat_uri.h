/* compat_uri.h — the value of -u: "redis://user:password@host:port/database", "rediss://" with TLS.
 *
 * Of a cluster's command line only the login and TLS count: the nodes are named by the sub-command.
 * Pure. Source: redis-cli 7.0.15 and valkey-cli 8.0.1, observed. */
#ifndef DROVER_CTL_COMPAT_COMPAT_URI_H
#define DROVER_CTL_COMPAT_COMPAT_URI_H

#include "common/base/err.h"

#include <stdbool.h>

#define COMPAT_URI_TEXT_SIZE 1024 /* a user's name or a password, with its end */

struct compat_uri {
    bool use_tls;
    bool has_user;
    bool has_password;
    char user[COMPAT_URI_TEXT_SIZE];
    char password[COMPAT_URI_TEXT_SIZE];
};

/* "%40" in user and password stands for "@". Without a colon before the "@" there is a password
 * only. ERR_INVALID for a scheme that is none of redis, rediss, valkey, valkeys, for a port that is
 * none, and for texts that are too long. */
int compat_uri_parse(struct compat_uri *out, const char *text, struct err *err) WARN_UNUSED;

#endif
