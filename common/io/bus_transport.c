/* bus_transport.c — see bus_transport.h. */
#include "common/io/bus_transport.h"

#include "common/base/check.h"
#include "common/io/file_state.h"
#include "common/io/tls_files.h"

#include <stdlib.h>
#include <string.h>

#include "common/base/banned.h" /* last: system headers may use what it bans */

#define HEADER_SIZE_MAX 64 /* nng counts its own header of a request as part of the message */
#define PEM_SIZE_MAX \
    524288 /* 512 KiB; a bundle of CAs; the system's whole store is about 220 KiB */

struct scheme {
    const char *prefix;
    bool has_port;
    bool is_tls;
};

static const struct scheme schemes[] = {
    {"tls+tcp://", true,
     true}, /* before tcp: none is a prefix of another, but people read top down */
    {"tcp://", true, false},
    {"inproc://", false, false},
    {"ipc://", false, false},
};

static const struct scheme *find_scheme(const char *url)
{
    for (size_t i = 0; i < sizeof(schemes) / sizeof(schemes[0]); i++) {
        if (strncmp(url, schemes[i].prefix, strlen(schemes[i].prefix)) == 0) {
            return &schemes[i];
        }
    }
    return NULL;
}

static int url_err(const char *url, const char *why, struct err *err)
{
    err_set(err, ERR_CONFIG, "bus URL \"%.200s\": %s", url, why);
    err_hint(err, "use inproc://name, tcp://host:port, tls+tcp://host:port or ipc:///path");
    return ERR_CONFIG;
}

int bus_transport_check_url(const char *url, struct err *err)
{
    const struct scheme *scheme = find_scheme(url);
    if (scheme == NULL) {
        return url_err(url, "unknown scheme", err);
    }
    const char *rest = url + strlen(scheme->prefix);
    if (*rest == '\0') {
        return url_err(url, "nothing after the scheme", err);
    }
    if (!scheme->has_port) {
        return 0;
    }
    const char *colon = strrchr(rest, ':');
    const char *bracket = strrchr(rest, ']');
    if (colon == NULL || (bracket != NULL && bracket > colon)) {
        return url_err(url, "no port", err);
    }
    char *end = NULL;
    unsigned long port = strtoul(colon + 1, &end, 10);
    if (end == colon + 1 || (*end != '\0' && strcmp(end, "/") != 0) || port > 65535) {
        return url_err(url, "the port must be a number up to 65535", err);
    }
    if (bracket == NULL && memchr(rest, ':', (size_t)(colon - rest)) != NULL) {
        return url_err(url, "an IPv6 address needs brackets", err);
    }
    return 0;
}

bool bus_transport_is_tls(const char *url)
{
    const struct scheme *scheme = find_scheme(url);
    return scheme != NULL && scheme->is_tls;
}

bool bus_transport_is_remote(const char *url)
{
    const struct scheme *scheme = find_scheme(url);
    return scheme != NULL && scheme->has_port;
}

/* ---- TLS ---- */

static bool is_given(const char *text)
{
    return text != NULL && *text != '\0';
}

static int read_pem(const char *path, const char *what, struct strbuf *out, struct err *err)
{
    if (file_state_read(path, PEM_SIZE_MAX, out, err) != 0) {
        (void)err_wrap(err, "bus TLS: %s", what);
        if (err != NULL) {
            err->code = ERR_CONFIG;
        }
        return ERR_CONFIG;
    }
    return 0;
}

static int tls_err(int rv, const char *what, const char *path, struct err *err)
{
    err_set(err, ERR_CONFIG, "bus TLS: cannot use the %s %s: %s", what, path, nng_strerror(rv));
    err_hint(err, "files must be PEM, and the key must belong to the certificate");
    return ERR_CONFIG;
}

static int tls_set_own(nng_tls_config *config, const struct bus_options *options, struct err *err)
{
    struct strbuf cert = {0};
    struct strbuf key = {0};
    const char *key_path = is_given(options->tls_key) ? options->tls_key : options->tls_cert;
    int rc = tls_files_check_pair("bus TLS", options->tls_cert, key_path,
                                  err); /* nng would take any two */
    if (rc == 0) {
        rc = read_pem(options->tls_cert, "certificate", &cert, err);
    }
    if (rc == 0) {
        rc = read_pem(key_path, "key", &key, err);
    }
    if (rc == 0) {
        int rv = nng_tls_config_own_cert(config, strbuf_text(&cert), strbuf_text(&key), NULL);
        if (rv != 0) {
            rc = tls_err(rv, "certificate and key", options->tls_cert, err);
        }
    }
    if (key.data != NULL) {
        explicit_bzero(key.data, key.len);
    }
    strbuf_release(&cert);
    strbuf_release(&key);
    return rc;
}

static int tls_set_ca(nng_tls_config *config, const struct bus_options *options, struct err *err)
{
    struct strbuf ca = {0};
    int rc = read_pem(options->tls_ca, "CA", &ca, err);
    if (rc == 0) {
        int rv = nng_tls_config_ca_chain(config, strbuf_text(&ca), NULL);
        if (rv != 0) {
            rc = tls_err(rv, "CA", options->tls_ca, err);
        }
    }
    strbuf_release(&ca);
    return rc;
}

/* Without a name the peer's certificate would be checked for its signer only. */
static int tls_set_name(nng_tls_config *config,
                        const struct bus_options *options,
                        const char *url,
                        struct err *err)
{
    if (is_given(options->tls_name)) {
        return nng_tls_config_server_name(config, options->tls_name) == 0
                   ? 0
                   : err_set(err, ERR_CONFIG, "bus TLS: cannot use the name %s", options->tls_name);
    }
    nng_url *parts = NULL;
    int rv = nng_url_parse(&parts, url);
    if (rv != 0) {
        return url_err(url, nng_strerror(rv), err);
    }
    rv = nng_tls_config_server_name(config, parts->u_hostname);
    nng_url_free(parts);
    return rv == 0 ? 0 : err_set(err, ERR_CONFIG, "bus TLS: cannot use the host of %s", url);
}

static int tls_fill(nng_tls_config *config,
                    const struct bus_options *options,
                    nng_tls_mode mode,
                    const char *url,
                    struct err *err)
{
    int rc = 0;
    nng_tls_auth_mode auth = NNG_TLS_AUTH_MODE_NONE;
    if (mode == NNG_TLS_MODE_SERVER && !is_given(options->tls_cert)) {
        err_set(err, ERR_CONFIG, "%s needs a certificate", url);
        err_hint(err, "give the bus a TLS certificate and key");
        return ERR_CONFIG;
    }
    if (mode == NNG_TLS_MODE_CLIENT && !options->tls_insecure && !is_given(options->tls_ca)) {
        err_set(err, ERR_CONFIG, "%s needs to know which CA to trust", url);
        err_hint(err, "give the bus a CA file");
        return ERR_CONFIG;
    }
    if (is_given(options->tls_ca)) {
        rc = tls_set_ca(config, options, err);
        auth = NNG_TLS_AUTH_MODE_REQUIRED;
    }
    if (mode == NNG_TLS_MODE_CLIENT && options->tls_insecure) {
        auth = NNG_TLS_AUTH_MODE_NONE;
    }
    if (rc == 0 && is_given(options->tls_cert)) {
        rc = tls_set_own(config, options, err);
    }
    if (rc == 0 && mode == NNG_TLS_MODE_CLIENT) {
        rc = tls_set_name(config, options, url, err);
    }
    if (rc == 0 && nng_tls_config_auth_mode(config, auth) != 0) {
        rc = err_set(err, ERR_CONFIG, "bus TLS: cannot set the check of certificates");
    }
    return rc;
}

int bus_transport_tls(const struct bus_options *options,
                      nng_tls_mode mode,
                      const char *url,
                      nng_tls_config **out,
                      struct err *err)
{
    nng_tls_config *config = NULL;
    int rv = nng_tls_config_alloc(&config, mode);
    if (rv != 0) {
        err_set(err, ERR_CONFIG, "%s: this nng library has no TLS: %s", url, nng_strerror(rv));
        err_hint(err, "install an nng built with mbedtls, or use tcp:// inside a private network");
        return ERR_CONFIG;
    }
    int rc = tls_fill(config, options, mode, url, err);
    if (rc != 0) {
        nng_tls_config_free(config);
        return rc;
    }
    *out = config;
    return 0;
}

/* ---- the rest ---- */

void bus_transport_limit(nng_socket socket)
{
    CHECK(nng_socket_set_size(socket, NNG_OPT_RECVMAXSZ, BUS_MESSAGE_SIZE_MAX + HEADER_SIZE_MAX) ==
          0);
}

nng_msg *bus_transport_message(const void *data, size_t size)
{
    nng_msg *msg = NULL;
    if (nng_msg_alloc(&msg, 0) != 0) {
        return NULL;
    }
    if (nng_msg_append(msg, data, size) != 0) {
        nng_msg_free(msg);
        return NULL;
    }
    return msg;
}

int bus_transport_code(int nng_error)
{
    if (nng_error == NNG_ETIMEDOUT) {
        return ERR_TIMEOUT;
    }
    if (nng_error == NNG_ECANCELED || nng_error == NNG_ECLOSED) {
        return ERR_CANCELLED;
    }
    if (nng_error == NNG_EMSGSIZE) {
        return ERR_LIMIT;
    }
    return ERR_UNAVAILABLE;
}

/* ---- why a connection does not come about ---- */

struct cause {
    const char *counter; /* of nng's dialer */
    const char *text;
};

/* The commonest comes first when several were counted equally often. */
static const struct cause causes[] = {
    {"auth", "one side does not trust the other's certificate, or it names another host"},
    {"refused", "nobody listens there"},
    {"timeout", "the host does not answer"},
    {"proto", "what listens there is no coordinator"},
    {"other",
     "the host has no such name, or one side speaks TLS and the other does not, or the "
     "coordinator wants a certificate"},
};

const char *bus_transport_why(nng_dialer dialer)
{
    nng_stat *all = NULL;
    if (nng_stats_get(&all) != 0) {
        return NULL;
    }
    const char *text = NULL;
    uint64_t most = 0;
    nng_stat *counters = nng_stat_find_dialer(all, dialer);
    for (size_t i = 0; counters != NULL && i < sizeof(causes) / sizeof(causes[0]); i++) {
        nng_stat *counter = nng_stat_find(counters, causes[i].counter);
        if (counter != NULL && nng_stat_value(counter) > most) {
            most = nng_stat_value(counter);
            text = causes[i].text;
        }
    }
    nng_stats_free(all);
    return text;
}
