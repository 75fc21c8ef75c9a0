/* invariants.c — see invariants.h. */
#include "common/model/invariants.h"

#include "common/base/alloc.h"

#include <inttypes.h>
#include <stdlib.h>

typedef bool (*invariant_rule)(const struct nodes_view *const *views,
                               int count,
                               struct strbuf *why);

/* "in the view of 3f2a91c0"; views always know whose they are. */
static void add_view_name(const struct nodes_view *view, struct strbuf *why)
{
    if (why != NULL) {
        strbuf_addf(why, "in the view of %.8s ",
                    view->myself == NODES_NO_ROW ? "nobody" : view->rows[view->myself].id.text);
    }
}

/* The id of a slot's owner in a view; "nobody" without one. */
static const char *owner_id(const struct nodes_view *view, int slot)
{
    int row = view->owner[slot];
    return row == NODES_NO_ROW ? "nobody" : view->rows[row].id.text;
}

bool invariant_slots_owned(const struct nodes_view *const *views, int count, struct strbuf *why)
{
    for (int i = 0; i < count; i++) {
        for (int slot = 0; slot < SLOT_COUNT; slot++) {
            int row = views[i]->owner[slot];
            bool is_owned =
                row != NODES_NO_ROW && (views[i]->rows[row].flags & NODES_FLAG_PRIMARY) != 0;
            if (is_owned) {
                continue;
            }
            add_view_name(views[i], why);
            if (why != NULL && row == NODES_NO_ROW) {
                strbuf_addf(why, "slot %d has no owner", slot);
            } else if (why != NULL) {
                strbuf_addf(why, "slot %d is owned by %.8s, which is no primary", slot,
                            owner_id(views[i], slot));
            }
            return false;
        }
    }
    return true;
}

/* Row of views[i] for each row of views[0], so that owners compare as numbers. */
static int16_t *map_rows(const struct nodes_view *from, const struct nodes_view *to)
{
    int16_t *map = xcalloc((size_t)from->row_count + 1, sizeof(int16_t));
    for (int row = 0; row < from->row_count; row++) {
        map[row] = (int16_t)nodes_view_find(to, &from->rows[row].id);
    }
    return map;
}

bool invariant_same_map(const struct nodes_view *const *views, int count, struct strbuf *why)
{
    for (int i = 1; i < count; i++) {
        int16_t *map = map_rows(views[0], views[i]);
        int differs = SLOT_NONE;
        for (int slot = 0; slot < SLOT_COUNT && differs == SLOT_NONE; slot++) {
            int first = views[0]->owner[slot];
            int expected = first == NODES_NO_ROW ? NODES_NO_ROW : map[first];
            bool is_unknown = first != NODES_NO_ROW && expected == NODES_NO_ROW;
            differs = is_unknown || expected != views[i]->owner[slot] ? slot : SLOT_NONE;
        }
        free(map);
        if (differs != SLOT_NONE) {
            add_view_name(views[0], why);
            if (why != NULL) {
                strbuf_addf(why, "slot %d is owned by %.8s, but ", differs,
                            owner_id(views[0], differs));
                add_view_name(views[i], why);
                strbuf_addf(why, "by %.8s", owner_id(views[i], differs));
            }
            return false;
        }
    }
    return true;
}

bool invariant_none_open(const struct nodes_view *const *views, int count, struct strbuf *why)
{
    for (int i = 0; i < count; i++) {
        if (views[i]->open_count == 0) {
            continue;
        }
        const struct open_slot *open = &views[i]->opens[0];
        add_view_name(views[i], why);
        if (why != NULL) {
            strbuf_addf(why, "slot %d is %s %.8s", open->slot,
                        open->is_importing ? "importing from" : "migrating to", open->peer.text);
        }
        return false;
    }
    return true;
}

/* A primary's row and the config_epoch that it is sorted by. */
struct epoch_key {
    uint64_t config_epoch;
    int row;
};

static int compare_epoch_keys(const void *a, const void *b)
{
    const struct epoch_key *first = a;
    const struct epoch_key *second = b;
    if (first->config_epoch != second->config_epoch) {
        return first->config_epoch > second->config_epoch ? 1 : -1;
    }
    return first->row - second->row;
}

static bool epochs_are_unique(const struct nodes_view *view, struct strbuf *why)
{
    struct epoch_key *keys = xcalloc((size_t)view->row_count + 1, sizeof(*keys));
    int count = 0;
    bool is_unique = true;
    for (int i = 0; i < view->row_count; i++) {
        const struct nodes_row *row = &view->rows[i];
        bool is_dead = (row->flags & NODES_FLAG_FAIL) != 0 && row->slot_count == 0;
        if ((row->flags & NODES_FLAG_PRIMARY) != 0 && !is_dead) {
            keys[count++] = (struct epoch_key){.config_epoch = row->config_epoch, .row = i};
        }
    }
    qsort(keys, (size_t)count, sizeof(*keys), compare_epoch_keys);
    for (int i = 1; i < count && is_unique; i++) {
        is_unique = keys[i - 1].config_epoch != keys[i].config_epoch;
        if (!is_unique && why != NULL) {
            add_view_name(view, why);
            strbuf_addf(why, "%.8s and %.8s both have config epoch %" PRIu64,
                        view->rows[keys[i - 1].row].id.text, view->rows[keys[i].row].id.text,
                        keys[i].config_epoch);
        }
    }
    free(keys);
    return is_unique;
}

bool invariant_epochs_unique(const struct nodes_view *const *views, int count, struct strbuf *why)
{
    for (int i = 0; i < count; i++) {
        if (!epochs_are_unique(views[i], why)) {
            return false;
        }
    }
    return true;
}

/* The first member of 'a' that 'b' does not list as a member, or NULL. */
static const struct nodes_row *find_unlisted(const struct nodes_view *a, const struct nodes_view *b)
{
    for (int row = 0; row < a->row_count; row++) {
        if ((a->rows[row].flags & NODES_FLAG_HANDSHAKE) != 0) {
            continue;
        }
        int other = nodes_view_find(b, &a->rows[row].id);
        if (other == NODES_NO_ROW || (b->rows[other].flags & NODES_FLAG_HANDSHAKE) != 0) {
            return &a->rows[row];
        }
    }
    return NULL;
}

bool invariant_same_members(const struct nodes_view *const *views, int count, struct strbuf *why)
{
    for (int i = 1; i < count; i++) {
        const struct nodes_view *lister = views[0];
        const struct nodes_view *other = views[i];
        const struct nodes_row *row = find_unlisted(lister, other);
        if (row == NULL) {
            lister = views[i];
            other = views[0];
            row = find_unlisted(lister, other);
        }
        if (row != NULL) {
            add_view_name(other, why);
            if (why != NULL) {
                strbuf_addf(why, "%.8s is missing, which is listed ", row->id.text);
                add_view_name(lister, why);
                why->data[--why->len] = '\0';
            }
            return false;
        }
    }
    return true;
}

bool invariants_hold_at_rest(const struct nodes_view *const *views, int count, struct strbuf *why)
{
    static const invariant_rule rules[] = {invariant_slots_owned, invariant_same_members,
                                           invariant_same_map, invariant_none_open,
                                           invariant_epochs_unique};
    for (size_t i = 0; i < sizeof(rules) / sizeof(rules[0]); i++) {
        if (!rules[i](views, count, why)) {
            return false;
        }
    }
    return true;
}
