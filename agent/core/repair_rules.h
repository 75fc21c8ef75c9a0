/* repair_rules.h — what to do next about one slot, given what every node says of it. Pure.
 *
 * The picture is filled by repair_look.c; the rules are those of docs/lifecycle.md "Rules of
 * repair" and know no time, request or server. Each verdict is one step that is safe by itself:
 * after it, everybody is looked at again. */
#ifndef DROVER_AGENT_CORE_REPAIR_RULES_H
#define DROVER_AGENT_CORE_REPAIR_RULES_H

#include "common/model/ids.h"

#include <stdbool.h>
#include <stdint.h>

#define REPAIR_GROUP_MAX 128 /* slots looked at together */

#define EPOCH_UNKNOWN UINT64_MAX

/* Instead of an index into the picture's nodes. */
#define REPAIR_NOBODY (-1)
#define REPAIR_STRANGER (-2) /* an id that is not on the map */

enum repair_mark { REPAIR_UNMARKED, REPAIR_IMPORTING, REPAIR_MIGRATING };

/* What one node itself says of one slot. */
struct repair_say {
    int owner; /* index, REPAIR_NOBODY or REPAIR_STRANGER */
    enum repair_mark mark;
    int peer;     /* of the mark, as 'owner' */
    int64_t keys; /* it holds */
};

struct repair_node {
    struct node_id id;
    struct address address;
    bool is_primary;  /* in its own view if it answered, else on the map */
    bool is_answered; /* 'says' is filled */
    bool is_gone;     /* another id lives at its address, or it knows no other node: it was reset */
    bool takes_imports; /* Valkey from 8 on: what it imports it may take, see owned_watch.h */
    bool is_dead;       /* failed and without slots on the map: a leftover that nobody waits for */
    int primary;        /* of a replica: index, or REPAIR_NOBODY */
    uint64_t config_epoch; /* its own */
    /* [node_count]: each node's config epoch as this one lists it; EPOCH_UNKNOWN = not listed. NULL
     * = not heard. Owned by the picture. */
    uint64_t *epochs;
    struct repair_say *says; /* [slot_count]; owned by the picture */
};

struct repair_picture {
    struct repair_node *nodes; /* owned */
    int node_count;
    int slots[REPAIR_GROUP_MAX]; /* slot numbers */
    int slot_count;
    int wanted; /* whom the order names as the owner; index or REPAIR_NOBODY */
};

enum repair_step {
    REPAIR_CLEAN,   /* nothing to do: one owner, no mark, no key elsewhere */
    REPAIR_WAIT,    /* nodes may still hear of each other: look again */
    REPAIR_HOLD,    /* a person must decide */
    REPAIR_TELL,    /* at: SETSLOT NODE other */
    REPAIR_STABLE,  /* at: SETSLOT STABLE */
    REPAIR_IMPORT,  /* at: SETSLOT IMPORTING other */
    REPAIR_MIGRATE, /* at: SETSLOT MIGRATING other */
    REPAIR_REMARK,  /* at: SETSLOT STABLE, then IMPORTING other */
    REPAIR_CLAIM,   /* at: SETSLOT IMPORTING other, then NODE at: it takes the slot */
    REPAIR_FORWARD, /* the move from 'at' to 'other' is finished by a slot mover */
    REPAIR_FETCH,   /* keys of 'at' are moved to the owner 'other' */
    REPAIR_RETELL,  /* at: SETSLOT STABLE once more, for the sake of its replicas (Valkey) */
    REPAIR_STEP_NR,
};

struct repair_verdict {
    enum repair_step step;
    int at;
    int other;
    char reason[TEXT_SIZE]; /* WAIT, HOLD: a sentence without the slot's number */
};

/* Judges slots[index]. has_waited: nothing was done for long enough that gossip would have settled
 * what it can, and silent nodes were asked again. */
void repair_judge(const struct repair_picture *picture,
                  int index,
                  bool has_waited,
                  struct repair_verdict *verdict);

/* True when every primary that answers knows the node's config epoch, and no other has the same.
 * Otherwise the node may raise its epoch by itself at any time (of two that are equal, one yields),
 * also just when the target of a move has claimed a slot and the node still does: then its claim is
 * the higher one, and the target drops the slot with all its keys. */
bool repair_epoch_is_settled(const struct repair_picture *picture, int node);

const char *repair_step_name(enum repair_step step);

#endif
