/* haproxy_text.h — what HAProxy's runtime API says, read: which of its servers are a node, and how
 * many sessions they have.
 *
 * Columns are found by the names in the header line, so that versions may add some. Pure. Source:
 * HAProxy management guide 2.2 and newer, "show servers state", "show stat", "set server". */
#ifndef DROVER_AGENT_CORE_HAPROXY_TEXT_H
#define DROVER_AGENT_CORE_HAPROXY_TEXT_H

#include "common/base/err.h"
#include "common/base/strbuf.h"
#include "common/model/ids.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define HAPROXY_SERVERS_MAX 64 /* backends that may have one node */
#define HAPROXY_NAME_SIZE 128

struct haproxy_server {
    char backend[HAPROXY_NAME_SIZE];
    char name[HAPROXY_NAME_SIZE];
    bool is_drained; /* it is in drain, by whoever's word; unknown counts as true */
};

struct haproxy_servers {
    struct haproxy_server items[HAPROXY_SERVERS_MAX];
    int count;
};

/* The servers of "show servers state" whose address (or name) and port are the node's; none is no
 * error. ERR_PROTOCOL: this is no such text; ERR_LIMIT: too many, or a name too long. */
int haproxy_find_servers(struct haproxy_servers *servers,
                         const char *text,
                         size_t len,
                         const struct address *address,
                         struct err *err) WARN_UNUSED;

/* Leaves out those that are not in drain: what somebody has put into maintenance stays there. */
void haproxy_keep_drained(struct haproxy_servers *servers);

/* Appends the commands, as one line, that set the servers to "drain" or "ready" and then ask for
 * their sessions. count >= 1. */
void haproxy_add_commands(const struct haproxy_servers *servers, bool is_drain, struct strbuf *out);

/* Sum of the current sessions in the answer to haproxy_add_commands(). What HAProxy says against a
 * "set server" is in the text before the statistics: ERR_REFUSED with its words, save "No such
 * server", which has left meanwhile. ERR_PROTOCOL: no statistics. */
int haproxy_read_sessions(const struct haproxy_servers *servers,
                          const char *text,
                          size_t len,
                          int64_t *sessions,
                          struct err *err) WARN_UNUSED;

#endif
