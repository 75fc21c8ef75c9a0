/* nodes.h — the nodes the client has heard of and who owns which slot, as CLUSTER SLOTS and MOVED
 * tell.
 *
 * Nodes are known by the address they announce and are never removed, so an index stays valid for
 * ever. Knows how to read addresses; does not send anything. Source: Redis cluster specification,
 * CLUSTER SLOTS and MOVED. */
#ifndef DROVER_LOAD_NODES_H
#define DROVER_LOAD_NODES_H

#include "bench/load/link.h"
#include "common/base/err.h"

#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>

#define SLOT_COUNT 16384
/* Announced addresses one run may meet: far above any test cluster, and it bounds what a broken
 * peer can make us keep. */
#define NODES_MAX 1024
#define NO_NODE UINT16_MAX
#define HOST_SIZE 256

struct node {
    char host[HOST_SIZE]; /* name, IPv4 or IPv6 without brackets */
    uint16_t port;
    bool owns_slots;    /* in the newest map */
    bool used;          /* connections were wanted, so they are opened again when lost */
    struct link *links; /* 'connections' of them */
    unsigned next_link; /* requests take the links in turn */
};

struct nodes {
    unsigned connections; /* links of each node; at least 1 */
    struct node *items[NODES_MAX];
    uint16_t count;
    uint16_t owner[SLOT_COUNT]; /* index into items, or NO_NODE */
};

void nodes_init(struct nodes *nodes, unsigned connections);
void nodes_release(struct nodes *nodes);

/* Index of the node with this address, added when new; NO_NODE when the name is too long or the
 * table full. */
uint16_t nodes_intern(struct nodes *nodes, const char *host, size_t host_len, uint16_t port);

/* Splits "host:port" ("::1:7000" and "[::1]:7000" too) at the last colon. 'host_len' may become 0.
 * Returns false if there is no port from 1 to 65535. */
bool address_split(const char *text, const char **host, size_t *host_len, uint16_t *port);

/* Reads a CLUSTER SLOTS reply given by node 'teller' and replaces the whole map by it. False
 * (nothing changed) if the reply has another shape or names no slot. */
bool nodes_read_map(struct nodes *nodes, const struct redisReply *reply, uint16_t teller);

/* Looks up the node's address (blocks while a name is resolved). */
int node_resolve(const struct node *node,
                 struct sockaddr_storage *address,
                 struct err *err) WARN_UNUSED;

#endif
