/* store_view.h — what the consumer of a watch has been told, so that a gap can be closed by a list.
 * Private to store*.c.
 *
 * Rule: the view's revision only grows. A stream's change counts if it is newer than the view, a
 * list if it is not older; so stream and list may overtake each other and nothing is told twice or
 * brought back from the dead. */
#ifndef DROVER_IO_STORE_VIEW_H
#define DROVER_IO_STORE_VIEW_H

#include "common/model/store_op.h"

struct store_view_item {
    char *key; /* owned */
    int64_t mod_revision;
};

struct store_view {
    struct store_view_item *items; /* sorted by key; owned */
    int count;
    int capacity;
    int64_t revision; /* told up to here */
    bool is_complete; /* items are all keys at 'revision'; false until the first list */
};

struct store_change_list {
    struct store_change *items; /* owned */
    int count;
    int capacity;
};

void store_view_release(struct store_view *view);
/* Takes the listed keys as already known to the consumer. 'kvs' sorted by key. */
void store_view_seed(struct store_view *view,
                     const struct store_kv *kvs,
                     int kv_count,
                     int64_t revision);
/* Enters one change of a stream; the caller raises view->revision after the last change of a
 * message. */
void store_view_apply(struct store_view *view, const struct store_change *change);
/* Appends to 'changes' what a list at 'revision' (>= view->revision, sorted by key) has new; kvs
 * are moved out of 'list'. A view that is not complete yields every key: tell it as a snapshot.
 * Afterwards the view equals the list. */
void store_view_relist(struct store_view *view,
                       struct store_kv *kvs,
                       int kv_count,
                       int64_t revision,
                       struct store_change_list *changes);

/* Appends a change and takes '*kv' over. */
void store_change_list_add(struct store_change_list *list, bool is_delete, struct store_kv *kv);
void store_change_list_release(struct store_change_list *list);

#endif
