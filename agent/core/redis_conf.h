/* redis_conf.h — the conf of a server that drover starts, for Redis 6.2 and later and every Valkey.
 *
 * Every conf carries the lines that cluster life rests on: cluster-enabled, a cluster-config-file
 * of its own, cluster-node-timeout, cluster-migration-barrier, cluster-announce-ip, -port and
 * -bus-port, appendonly, save, maxmemory, the login and TLS. Extra lines may add to them and never
 * override them: the last line of a conf wins, so such lines are refused by name. Knows nothing of
 * folders, processes or orders. Pure. Source: redis.io, valkey.io: the commented conf of each
 * version. */
#ifndef DROVER_AGENT_CORE_REDIS_CONF_H
#define DROVER_AGENT_CORE_REDIS_CONF_H

#include "common/base/err.h"
#include "common/base/strbuf.h"

#include <stdbool.h>
#include <stdint.h>

#define REDIS_CONF_EXTRA_MAX 64      /* extra lines */
#define REDIS_CONF_EXTRA_LEN_MAX 512 /* characters of one */
#define REDIS_CONF_PORT_MAX 55535    /* the bus port is the port + 10000 */
#define REDIS_CONF_NODE_TIMEOUT_MS 15000
#define REDIS_CONF_NODE_TIMEOUT_MS_MIN 500
#define REDIS_CONF_NODE_TIMEOUT_MS_MAX 600000
#define REDIS_CONF_BARRIER_MAX 100
#define REDIS_CONF_MAXMEMORY_MIN (1024L * 1024) /* bytes; less is no server, but a wrong unit */

/* All texts are borrowed. */
struct redis_conf {
    const char *folder;      /* absolute: where the server works and keeps its data */
    const char *announce_ip; /* numeric, IPv4 or IPv6 */
    const char *bind;        /* addresses parted by spaces; "" = announce_ip and loopback */
    int port;                /* 1..REDIS_CONF_PORT_MAX, announced too; of TLS when is_tls */
    int bus_port;            /* announced; 0 = port + 10000. The server listens at port + 10000 */
    int64_t maxmemory_bytes; /* >= REDIS_CONF_MAXMEMORY_MIN */
    int64_t node_timeout_ms;
    int migration_barrier;
    bool appendonly;
    const char *user;     /* that drover and the replicas log in with; "" = the default user */
    const char *password; /* "" = no login at all; then user is "" too */
    bool is_tls;
    const char *tls_cert; /* absolute paths, all three when is_tls */
    const char *tls_key;
    const char *tls_ca;
    const char *const *extra; /* extra_count lines */
    int extra_count;
};

/* ERR_INVALID naming the member and what is allowed; ERR_REFUSED naming the extra line that may not
 * be. */
int redis_conf_check(const struct redis_conf *conf, struct err *err) WARN_UNUSED;

/* Appends the whole conf to 'out'. The conf must have passed redis_conf_check(). */
void redis_conf_render(const struct redis_conf *conf, struct strbuf *out);

/* One extra line by itself: one directive, printable, quotes closed, not one of those that are
 * drover's. 'user': as in the struct. ERR_INVALID, ERR_REFUSED. */
int redis_conf_check_extra(const char *line, const char *user, struct err *err) WARN_UNUSED;

#endif
