/* bus_transport.h — what both ends of the bus need from nng: URLs, TLS settings, errors in words.
 * Internal to bus. */
#ifndef DROVER_IO_BUS_TRANSPORT_H
#define DROVER_IO_BUS_TRANSPORT_H

#include "common/io/bus.h"

#include <nng/nng.h>
#include <nng/supplemental/tls/tls.h>

/* ERR_CONFIG unless the URL has a known scheme and a host (and port) that nng can read. */
int bus_transport_check_url(const char *url, struct err *err) WARN_UNUSED;
bool bus_transport_is_tls(const char *url);
/* Whether a connection to it can hang for long: it goes through a network. */
bool bus_transport_is_remote(const char *url);

/* A TLS configuration to be freed with nng_tls_config_free(). Reads the PEM files. ERR_CONFIG. */
int bus_transport_tls(const struct bus_options *options,
                      nng_tls_mode mode,
                      const char *url,
                      nng_tls_config **out,
                      struct err *err) WARN_UNUSED;

/* Sets the size limit of a message. */
void bus_transport_limit(nng_socket socket);

/* A message with a copy of the bytes, NULL when memory is out. Known: nng 1.5.2 loses the memory of
 * a message that it is handed to send in the moment its connection closes; at most one message a
 * lost connection. */
nng_msg *bus_transport_message(const void *data, size_t size);

/* The ERR_* that fits an nng error of a request on its way. */
int bus_transport_code(int nng_error);

/* Why this dialer has no connection, as far as nng's counters tell: what happened most often since
 * it was made, in words for people. NULL: unknown. Reads all of nng's counters, so not for every
 * request. */
const char *bus_transport_why(nng_dialer dialer);

#endif
