/* nodes.c — see nodes.h. */
#include "bench/load/nodes.h"

#include "common/base/alloc.h"

#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

void nodes_init(struct nodes *nodes, unsigned connections)
{
    *nodes = (struct nodes){.connections = connections};
    for (unsigned slot = 0; slot < SLOT_COUNT; slot++) {
        nodes->owner[slot] = NO_NODE;
    }
}

void nodes_release(struct nodes *nodes)
{
    for (unsigned i = 0; i < nodes->count; i++) {
        for (unsigned k = 0; k < nodes->connections; k++) {
            link_release(&nodes->items[i]->links[k]);
        }
        free(nodes->items[i]->links);
        free(nodes->items[i]);
    }
    nodes->count = 0;
}

uint16_t nodes_intern(struct nodes *nodes, const char *host, size_t host_len, uint16_t port)
{
    for (uint16_t i = 0; i < nodes->count; i++) {
        const struct node *node = nodes->items[i];
        if (node->port == port && strlen(node->host) == host_len &&
            memcmp(node->host, host, host_len) == 0) {
            return i;
        }
    }
    if (nodes->count == NODES_MAX || host_len == 0 || host_len >= HOST_SIZE) {
        return NO_NODE;
    }
    struct node *node = xcalloc(1, sizeof(*node));
    memcpy(node->host, host, host_len);
    node->port = port;
    node->links = xcalloc(nodes->connections, sizeof(*node->links));
    for (unsigned k = 0; k < nodes->connections; k++) {
        link_init(&node->links[k]);
        node->links[k].tag = ((uint64_t)nodes->count << 32) | k;
    }
    nodes->items[nodes->count] = node;
    return nodes->count++;
}

bool address_split(const char *text, const char **host, size_t *host_len, uint16_t *port)
{
    const char *colon = strrchr(text, ':');
    if (colon == NULL) {
        return false;
    }
    char *end = NULL;
    long number = strtol(colon + 1, &end, 10);
    if (end == colon + 1 || *end != '\0' || number < 1 || number > 65535) {
        return false;
    }
    *host = text;
    *host_len = (size_t)(colon - text);
    if (*host_len >= 2 && text[0] == '[' && colon[-1] == ']') {
        *host += 1;
        *host_len -= 2;
    }
    *port = (uint16_t)number;
    return true;
}

/* One owner: [host, port, ...]. An absent, empty or unknown ("?") host means: the host that was
 * asked. */
static uint16_t read_owner(struct nodes *nodes, const struct redisReply *owner, uint16_t teller)
{
    if (owner->type != REDIS_REPLY_ARRAY || owner->elements < 2 ||
        owner->element[1]->type != REDIS_REPLY_INTEGER || owner->element[1]->integer < 1 ||
        owner->element[1]->integer > 65535) {
        return NO_NODE;
    }
    const struct redisReply *host = owner->element[0];
    uint16_t port = (uint16_t)owner->element[1]->integer;
    if (host->type != REDIS_REPLY_STRING || host->len == 0 || strcmp(host->str, "?") == 0) {
        const char *asked = nodes->items[teller]->host;
        return nodes_intern(nodes, asked, strlen(asked), port);
    }
    return nodes_intern(nodes, host->str, host->len, port);
}

static bool range_is_valid(const struct redisReply *range)
{
    return range->type == REDIS_REPLY_ARRAY && range->elements >= 3 &&
           range->element[0]->type == REDIS_REPLY_INTEGER &&
           range->element[1]->type == REDIS_REPLY_INTEGER && range->element[0]->integer >= 0 &&
           range->element[0]->integer <= range->element[1]->integer &&
           range->element[1]->integer < SLOT_COUNT;
}

bool nodes_read_map(struct nodes *nodes, const struct redisReply *reply, uint16_t teller)
{
    if (reply->type != REDIS_REPLY_ARRAY || reply->elements == 0) {
        return false;
    }
    for (size_t i = 0; i < reply->elements; i++) {
        if (!range_is_valid(reply->element[i])) {
            return false;
        }
    }
    for (unsigned slot = 0; slot < SLOT_COUNT; slot++) {
        nodes->owner[slot] = NO_NODE;
    }
    for (uint16_t i = 0; i < nodes->count; i++) {
        nodes->items[i]->owns_slots = false;
    }
    for (size_t i = 0; i < reply->elements; i++) {
        const struct redisReply *range = reply->element[i];
        uint16_t owner = read_owner(nodes, range->element[2], teller);
        if (owner == NO_NODE) {
            continue;
        }
        nodes->items[owner]->owns_slots = true;
        for (long long slot = range->element[0]->integer; slot <= range->element[1]->integer;
             slot++) {
            nodes->owner[slot] = owner;
        }
        /* Replicas are remembered as places to ask for the map when their primary is gone. */
        for (size_t k = 3; k < range->elements; k++) {
            (void)read_owner(nodes, range->element[k], teller);
        }
    }
    return true;
}

int node_resolve(const struct node *node, struct sockaddr_storage *address, struct err *err)
{
    char port[8];
    (void)snprintf(port, sizeof(port), "%u", (unsigned)node->port);
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV};
    struct addrinfo *found = NULL;
    int rc = getaddrinfo(node->host, port, &hints, &found);
    if (rc != 0) {
        return err_set(err, ERR_UNAVAILABLE, "cannot resolve %s: %s", node->host, gai_strerror(rc));
    }
    memcpy(address, found->ai_addr, found->ai_addrlen);
    freeaddrinfo(found);
    return 0;
}
