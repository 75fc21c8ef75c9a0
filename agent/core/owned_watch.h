/* owned_watch.h — for how long has a node owned its slots, by its own word?
 *
 * Valkey from 8 on takes a slot that it imports as soon as it hears from the source that the source
 * does not own it, and a word from before the source came to own it says just that. Such a word may
 * linger on the cluster bus: the server sends with Nagle's algorithm on, so it waits for the
 * receiver's delayed acknowledgement (40 ms seen; Linux allows 200), longer where packets get lost.
 * It is a time, no proof: nothing that a server tells shows when such words have passed. So nobody
 * is told to import a slot before its owner has had it for OWNED_REST_MS. Source: valkey 8.0.1
 * cluster_legacy.c, clusterUpdateSlotsConfigWith(); docs/redis_facts.md 13f.
 */
#ifndef DROVER_AGENT_CORE_OWNED_WATCH_H
#define DROVER_AGENT_CORE_OWNED_WATCH_H

#include "common/base/slotset.h"
#include "common/model/nodes_text.h"

/* A delayed acknowledgement and three packets lost in a row (200 + 200 + 400 + 800 ms). */
#define OWNED_REST_MS 2000

/* Zeroed = nothing seen. */
struct owned_watch {
    struct slotset last;  /* as last seen */
    struct slotset older; /* seen at older_ms and ever since */
    struct slotset newer; /* the same for newer_ms, which comes later */
    int64_t older_ms;     /* when the answer came; NEVER = not yet */
    int64_t newer_ms;
    uint64_t epoch; /* the node's config epoch. A slot lost and won back between two looks shows as
                       another one, and all begins anew. */
    bool is_begun;
};

/* The node's own view, just come. Views of others change nothing. */
void owned_watch_see(struct owned_watch *watch, const struct nodes_view *view, int64_t now_ms);
/* The node has answered again, and nothing but its clocks has changed. */
void owned_watch_see_same(struct owned_watch *watch, int64_t now_ms);

/* When all of these slots have rested if the node keeps them; now_ms or before = they have. */
int64_t owned_watch_ready_ms(const struct owned_watch *watch,
                             const struct slotset *slots,
                             int64_t now_ms);

#endif
