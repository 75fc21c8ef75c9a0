/* redis_link.h — connections to Redis nodes: pipelines of commands in, answers out, each with a
 * deadline.
 *
 * A pool keeps at most one connection for each (address, lane). The lane is a small number chosen
 * by the caller, so that a blocking command on one lane does not delay another. Pipelines of one
 * lane are sent and answered in the order of their submission; several may be in flight. Nothing is
 * ever sent twice, and nothing is retried: that is the caller's decision. Knows no cluster, slot or
 * role. TCP (IPv4, IPv6, names), TLS, and unix sockets (a host that starts with '/'). RESP2, read
 * by hiredis. Loop thread only. */
#ifndef DROVER_IO_REDIS_LINK_H
#define DROVER_IO_REDIS_LINK_H

#include "common/base/err.h"
#include "common/io/loop.h"
#include "common/model/command.h"
#include "common/model/ids.h"
#include "common/model/reply.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define REDIS_LANE_MAX 255       /* lanes are 0..255 */
#define REDIS_COMMANDS_MAX 65536 /* commands in one pipeline; a slot table has 16,384 */
#define REDIS_REPLY_BYTES_MAX \
    536870912 /* 512 MiB: answers to one pipeline; Redis's own limit of one value */
#define REDIS_REPLY_ITEMS_MAX                                          \
    1048576 /* items of one array: GETKEYSINSLOT counts stay far below \
             */
#define REDIS_IN_FLIGHT_MAX \
    4096 /* pipelines waiting on one lane; more are refused with ERR_LIMIT */
/* Arrays nest at most 7 deep: hiredis's reader refuses more. */

/* All strings are copied. A zeroed struct means: plain connection, no login, defaults. */
struct redis_options {
    const char *user;        /* NULL or "": the default user */
    const char *password;    /* NULL or "": no AUTH is sent */
    const char *client_name; /* CLIENT SETNAME; NULL: none. No spaces. */
    bool use_tls;            /* not for unix sockets, which stay plain */
    bool tls_insecure;       /* do not check the server's certificate */
    bool tls_any_name;       /* check who signed it, but not for which name */
    const char *tls_ca;      /* PEM file, or a folder of them by hashed name; NULL: the system's */
    const char *tls_cert;    /* PEM files of our own certificate and key; NULL: none */
    const char *tls_key;
    const char *tls_ciphers;      /* for TLS 1.2, as OpenSSL writes them; NULL: OpenSSL's choice */
    const char *tls_ciphersuites; /* for TLS 1.3 */
    const char *tls_name;         /* name to send and to check instead of the address's host */
    int64_t
        connect_timeout_ms; /* name, connect, TLS and login together; 0: REDIS_CONNECT_TIMEOUT_MS */
    int64_t
        idle_close_ms; /* a connection without work is closed after this; 0: REDIS_IDLE_CLOSE_MS */
    int64_t reply_bytes_max; /* 1..REDIS_REPLY_BYTES_MAX; 0: that limit */
};

#define REDIS_CONNECT_TIMEOUT_MS 2000
#define REDIS_IDLE_CLOSE_MS 60000

/* What came of one pipeline. Valid during the callback only, save that the callback may take the
 * replies: copy the struct reply_list out and zero it here. */
struct redis_result {
    /* 0: every command has its answer (which may be an error answer).
     * ERR_TIMEOUT: no full answer in time; the connection was closed.
     * ERR_UNAVAILABLE: could not connect, or the connection was lost or is not the required one.
     * ERR_AUTH: login refused. ERR_PROTOCOL: not RESP, or TLS failed. ERR_LIMIT: answer too big,
     * lane too full. ERR_CANCELLED: the pool was freed. */
    int code;
    struct err err;    /* text and hint when code is not 0 */
    bool may_have_run; /* on failure: commands without an answer may have been carried out */
    struct reply_list
        replies; /* replies.count answers in the order of the commands, also on failure */
    uint64_t
        connection_id; /* 0: never got a connection; changes whenever the lane was connected anew */
    int64_t
        latency_us; /* from the write to the last answer (from the submission when never written) */
};

struct redis_request {
    const struct address *address;
    int lane; /* 0..REDIS_LANE_MAX */
    const struct command_list
        *commands;      /* 1..REDIS_COMMANDS_MAX; may be released as soon as submit returns */
    int64_t timeout_ms; /* >= 1; counted from the submission, with the connect included */
    uint64_t
        required_connection_id; /* not 0: fail instead of using (or making) any other connection */
};

struct redis_pool;

/* ERR_CONFIG when a TLS file cannot be used. Connects nothing yet. */
struct redis_pool *redis_pool_new(struct loop *loop,
                                  const struct redis_options *options,
                                  struct err *err);

/* Closes every connection. Every outstanding callback runs with ERR_CANCELLED before this returns.
 * Not from inside a callback of this pool. NULL is legal. */
void redis_pool_free(struct redis_pool *pool);

/* Another login for connections made from now on; those that exist keep theirs. */
void redis_pool_set_login(struct redis_pool *pool, const char *user, const char *password);

/* Sends the pipeline in one write. 'done' runs exactly once, never from inside this call. */
void redis_pool_submit(struct redis_pool *pool,
                       const struct redis_request *request,
                       void (*done)(void *user, struct redis_result *result),
                       void *user);

/* Closes the connections to an address on all lanes, e.g. because the node has left. Work in flight
 * ends with ERR_UNAVAILABLE. */
void redis_pool_disconnect(struct redis_pool *pool, const struct address *address);

/* Connections that are open or being opened now. */
int redis_pool_connection_count(const struct redis_pool *pool);

#endif
