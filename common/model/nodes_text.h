/* nodes_text.h — one node's view of its cluster, read from the text that CLUSTER NODES answers.
 *
 * A view is what one node believes; topology.h merges the views of all nodes. Pure: text in, plain
 * structs out. The text of Redis 6.2 to 8.x and Valkey 7.2 to 9.x is understood. This is the only
 * file that knows "master" and "slave". Source: redis.io CLUSTER NODES; redis 7.0.15
 * clusterGenNodeDescription(); facts on open slots in docs/design.md 6. */
#ifndef DROVER_MODEL_NODES_TEXT_H
#define DROVER_MODEL_NODES_TEXT_H

#include "common/base/arena.h"
#include "common/base/err.h"
#include "common/base/slotset.h"
#include "common/base/strbuf.h"
#include "common/model/ids.h"
#include "common/model/message.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define NODES_ROWS_MAX 4096  /* gossip is made for 1,000 nodes; ghosts may add to that */
#define NODES_OPENS_MAX 4096 /* open slots of one node: drover opens a few hundred at most */
#define NODES_NO_ROW (-1)

/* Bits of nodes_row.flags. Words that no known version writes set NODES_FLAG_OTHER. */
enum nodes_flag {
    NODES_FLAG_MYSELF = 1 << 0,
    NODES_FLAG_PRIMARY = 1 << 1,
    NODES_FLAG_REPLICA = 1 << 2,
    NODES_FLAG_FAIL = 1 << 3,      /* the cluster agrees that it is down */
    NODES_FLAG_PFAIL = 1 << 4,     /* only this node suspects it ("fail?") */
    NODES_FLAG_HANDSHAKE = 1 << 5, /* not a member yet; its id is made up until it answers */
    NODES_FLAG_NOADDR = 1 << 6,    /* nobody knows where it is */
    NODES_FLAG_NOFAILOVER = 1 << 7,
    NODES_FLAG_OTHER = 1 << 8,
};

/* Slots first..last, both ends included. */
struct nodes_range {
    uint16_t first;
    uint16_t last;
};

struct nodes_row {
    struct node_id id;
    struct node_id
        primary_id;   /* of a replica; "" for a primary and for a replica that does not know yet */
    const char *host; /* in the view's arena; "" = unknown; IPv6 without brackets */
    const char *hostname; /* announced name, in the arena; "" = none */
    const char *shard_id; /* in the arena; "" = not told */
    uint64_t config_epoch;
    int64_t ping_sent_ms; /* wall clock of the answering node; 0 = none on the way */
    int64_t pong_received_ms;
    uint16_t port;     /* 0 = unknown */
    uint16_t bus_port; /* 0 = unknown */
    uint16_t flags;    /* bits of enum nodes_flag */
    bool is_link_connected;
    int range_first; /* index into view.ranges */
    int range_count;
    int slot_count;
};

/* About 180 bytes a row, 4 a range and 36 KiB fixed, so that many views of 1,000 nodes fit. A
 * zeroed view is valid and empty, except that owner[] is only meaningful after nodes_view_parse().
 */
struct nodes_view {
    struct nodes_row *rows; /* in the order of the text; owned */
    int row_count;
    int row_capacity;
    int myself;                 /* row of the node that answered, or NODES_NO_ROW */
    struct nodes_range *ranges; /* grouped by row, as written in the text; owned */
    int range_count;
    int range_capacity;
    struct open_slot *opens; /* of myself only: no node tells another's; sorted by slot; owned */
    int open_count;
    int open_capacity;
    int16_t *rows_by_id;       /* row indices in order of id; owned */
    int16_t owner[SLOT_COUNT]; /* row index or NODES_NO_ROW */
    struct arena arena;        /* owns the texts of the rows */
};

/* Reads 'len' bytes (any bytes; no '\0' needed after them) into 'view', which must be zeroed or
 * released before. Errors: ERR_PROTOCOL with line number and reason for anything malformed, an id
 * twice, a slot with two owners, no or two "myself"; ERR_LIMIT for more than the limits above or
 * VIEW_TEXT_SIZE_MAX. On failure the view is empty. */
int nodes_view_parse(struct nodes_view *view, const char *text, size_t len, struct err *err)
    WARN_UNUSED;
void nodes_view_release(struct nodes_view *view);

/* Row of an id, or NODES_NO_ROW. */
int nodes_view_find(const struct nodes_view *view, const struct node_id *id);

/* A node that never met another one does not know its own address and leaves it out. Fills the host
 * (and the port when it is 0) of the myself row with the address by which it was asked; does
 * nothing when the node knows its host. */
void nodes_view_set_own_address(struct nodes_view *view, const struct address *address);

/* Where a row's node listens. Host is "" and port 0 when unknown. */
void nodes_row_address(const struct nodes_row *row, struct address *address);

/* A hash of all that nodes should agree on: ids, roles, primaries, addresses, config epochs of
 * primaries and slots. Left out: myself, ping, pong, link, fail and pfail, host names, rows in
 * handshake. Two nodes that agree have the same digest, in whatever order their rows and slots
 * come. Never 0, so that 0 can mean "no view". */
uint64_t nodes_view_digest(const struct nodes_view *view);

/* A row's slots as a set. */
void nodes_row_slots(const struct nodes_view *view, int row, struct slotset *slots);

#endif
