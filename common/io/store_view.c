/* store_view.c — see store_view.h. */
#include "common/io/store_view.h"

#include "common/base/alloc.h"
#include "common/base/check.h"

#include <stdlib.h>
#include <string.h>

static int item_index(const struct store_view *view, const char *key, bool *is_found);

void store_view_release(struct store_view *view)
{
    if (view == NULL) {
        return;
    }
    for (int i = 0; i < view->count; i++) {
        free(view->items[i].key);
    }
    free(view->items);
    *view = (struct store_view){0};
}

void store_view_seed(struct store_view *view,
                     const struct store_kv *kvs,
                     int kv_count,
                     int64_t revision)
{
    store_view_release(view);
    view->items = xcalloc((size_t)kv_count, sizeof(*view->items));
    view->capacity = kv_count;
    view->count = kv_count;
    for (int i = 0; i < kv_count; i++) {
        CHECK(i == 0 || strcmp(kvs[i - 1].key, kvs[i].key) < 0);
        view->items[i] = (struct store_view_item){.key = xstrdup(kvs[i].key),
                                                  .mod_revision = kvs[i].mod_revision};
    }
    view->revision = revision;
    view->is_complete = true;
}

void store_view_apply(struct store_view *view, const struct store_change *change)
{
    bool is_found = false;
    int index = item_index(view, change->kv.key, &is_found);
    if (change->is_delete) {
        if (is_found) {
            free(view->items[index].key);
            view->count--;
            memmove(&view->items[index], &view->items[index + 1],
                    (size_t)(view->count - index) * sizeof(*view->items));
        }
        return;
    }
    if (is_found) {
        view->items[index].mod_revision = change->kv.mod_revision;
        return;
    }
    ARRAY_RESERVE(view->items, view->count, view->capacity);
    memmove(&view->items[index + 1], &view->items[index],
            (size_t)(view->count - index) * sizeof(*view->items));
    view->items[index] = (struct store_view_item){.key = xstrdup(change->kv.key),
                                                  .mod_revision = change->kv.mod_revision};
    view->count++;
}

void store_view_relist(struct store_view *view,
                       struct store_kv *kvs,
                       int kv_count,
                       int64_t revision,
                       struct store_change_list *changes)
{
    CHECK(revision >= view->revision);
    struct store_view next = {0};
    store_view_seed(&next, kvs, kv_count, revision);
    int known = 0;
    for (int i = 0; i <= kv_count; i++) {
        /* Known keys that sort before the listed one have vanished. The store no longer says when.
         */
        while (known < view->count &&
               (i == kv_count || strcmp(view->items[known].key, kvs[i].key) < 0)) {
            struct store_kv gone = {.key = xstrdup(view->items[known].key),
                                    .mod_revision = revision};
            store_change_list_add(changes, true, &gone);
            known++;
        }
        if (i == kv_count) {
            break;
        }
        bool is_known = known < view->count && strcmp(view->items[known].key, kvs[i].key) == 0;
        bool is_same = is_known && view->items[known].mod_revision == kvs[i].mod_revision;
        known += is_known ? 1 : 0;
        if (!is_same || !view->is_complete) {
            store_change_list_add(changes, false, &kvs[i]);
        }
    }
    store_view_release(view);
    *view = next;
}

void store_change_list_add(struct store_change_list *list, bool is_delete, struct store_kv *kv)
{
    ARRAY_RESERVE(list->items, list->count, list->capacity);
    list->items[list->count++] = (struct store_change){.is_delete = is_delete, .kv = *kv};
    *kv = (struct store_kv){0};
}

void store_change_list_release(struct store_change_list *list)
{
    if (list == NULL) {
        return;
    }
    for (int i = 0; i < list->count; i++) {
        store_kv_release(&list->items[i].kv);
    }
    free(list->items);
    *list = (struct store_change_list){0};
}

/* Where 'key' is, or where it belongs. */
static int item_index(const struct store_view *view, const char *key, bool *is_found)
{
    int low = 0;
    int high = view->count;
    while (low < high) {
        int middle = low + (high - low) / 2;
        int order = strcmp(view->items[middle].key, key);
        if (order == 0) {
            *is_found = true;
            return middle;
        }
        if (order < 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    *is_found = false;
    return low;
}
