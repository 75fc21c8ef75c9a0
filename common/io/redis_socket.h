/* redis_socket.h — a byte stream to one address: name, connect, TLS, bytes out, bytes in.
 *
 * Knows no RESP and no queues. Internal to redis_link. libuv wants its memory until its close
 * callback: a closed socket frees itself there. */
#ifndef DROVER_IO_REDIS_SOCKET_H
#define DROVER_IO_REDIS_SOCKET_H

#include "common/base/err.h"
#include "common/io/loop.h"
#include "common/model/ids.h"

#include <stddef.h>

struct redis_socket;
struct redis_tls_context;

/* Room for one read, shared by all sockets of a loop: data is handed on before the next read. */
struct redis_socket_buffers {
    char raw[64 * 1024];   /* what libuv suggests too */
    char plain[16 * 1024]; /* the most a TLS record holds */
};

/* What sockets of a pool share; must outlive them until they are closed. */
struct redis_socket_place {
    struct loop *loop;
    struct redis_socket_buffers *buffers;
    struct redis_tls_context *context; /* NULL: no TLS. Unix sockets never use it */
    const char *tls_name;              /* NULL: the address's host */
};

/* All run on the loop, never from inside a call of this file. After 'failed' nothing more comes;
 * the owner closes. */
struct redis_socket_handler {
    void (*connected)(void *user);
    void (*received)(void *user, const char *data, size_t size);
    void (*failed)(void *user, const struct err *err); /* ERR_UNAVAILABLE or ERR_PROTOCOL */
    void *user;
};

/* Starts to connect; every failure is told by 'failed'. */
struct redis_socket *redis_socket_new(const struct redis_socket_place *place,
                                      const struct address *address,
                                      const struct redis_socket_handler *handler);

/* Sends 'size' bytes; what the kernel does not take at once is copied. A failure is told by
 * 'failed' later. */
void redis_socket_write(struct redis_socket *socket, const char *data, size_t size);

/* Ends it; no callback runs any more. NULL is legal. */
void redis_socket_close(struct redis_socket *socket);

#endif
