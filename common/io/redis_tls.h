/* redis_tls.h — TLS of one connection over memory: encrypted bytes in and out, plain bytes in and
 * out.
 *
 * OpenSSL with memory BIOs; knows no sockets and no Redis. Internal to redis_link. */
#ifndef DROVER_IO_REDIS_TLS_H
#define DROVER_IO_REDIS_TLS_H

#include "common/base/err.h"
#include "common/base/strbuf.h"

#include <stdbool.h>

struct redis_options;
struct redis_tls_context; /* certificates and rules, shared by all connections of a pool */
struct redis_tls;

/* ERR_CONFIG names the file that cannot be used. */
struct redis_tls_context *redis_tls_context_new(const struct redis_options *options,
                                                struct err *err);
void redis_tls_context_free(struct redis_tls_context *context);

/* One client side. 'name': the host or IP address that the certificate must name. The handshake's
 * first bytes are in the output at once. */
struct redis_tls *redis_tls_new(struct redis_tls_context *context, const char *name);
void redis_tls_free(struct redis_tls *tls);

/* Takes encrypted bytes from the peer and goes on with the handshake. ERR_PROTOCOL: TLS failed, the
 * text says why. */
int redis_tls_feed(struct redis_tls *tls, const void *data, size_t size, struct err *err)
    WARN_UNUSED;
bool redis_tls_is_ready(const struct redis_tls *tls);

/* Plain bytes that have arrived: > 0 is their number in 'data' (of 'size' bytes), 0 when more must
 * be fed, ERR_UNAVAILABLE when the peer has closed, ERR_PROTOCOL. */
int redis_tls_read(struct redis_tls *tls, char *data, int size, struct err *err) WARN_UNUSED;

/* Encrypts into the output. Only once it is ready. */
int redis_tls_write(struct redis_tls *tls, const char *data, size_t size, struct err *err)
    WARN_UNUSED;

/* Moves what must go to the peer to the end of 'out'. */
void redis_tls_take_output(struct redis_tls *tls, struct strbuf *out);

#endif
