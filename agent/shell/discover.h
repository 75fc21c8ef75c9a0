/* discover.h — which Redis and Valkey servers in cluster mode run on this host, read from /proc.
 *
 * A server writes its address into its process title ("redis-server 10.0.0.1:6379 [cluster]"); that
 * is what is read. Servers of another network namespace are another host's and left out. A server
 * with a title of its own (set-proc-title no) is not found: name it with --node. */
#ifndef DROVER_AGENT_SHELL_DISCOVER_H
#define DROVER_AGENT_SHELL_DISCOVER_H

#include "common/model/ids.h"

#define DISCOVER_NODES_MAX 256 /* servers on one host; more are left out */

/* Fills at most DISCOVER_NODES_MAX addresses, sorted, each once; returns how many. "*" becomes
 * 127.0.0.1. A process that vanishes or may not be read meanwhile is left out. */
int discover_nodes(struct address addresses[DISCOVER_NODES_MAX]);

/* The address in one process title of 'len' bytes (words parted by spaces or '\0'); false when it
 * is no cluster node. */
bool discover_parse_title(const char *title, size_t len, struct address *address);

#endif
