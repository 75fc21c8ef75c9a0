/* slotset.c — see slotset.h. */
#include "common/base/slotset.h"

#include "common/base/check.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define WORD_COUNT (SLOT_COUNT / 64)

void slotset_clear(struct slotset *set)
{
    memset(set, 0, sizeof(*set));
}

void slotset_fill(struct slotset *set)
{
    memset(set, 0xff, sizeof(*set));
}

void slotset_add(struct slotset *set, int slot)
{
    CHECK(slot >= 0 && slot < SLOT_COUNT);
    set->words[slot / 64] |= UINT64_C(1) << (slot % 64);
}

void slotset_add_range(struct slotset *set, int first, int last)
{
    for (int slot = first; slot <= last; slot++) {
        slotset_add(set, slot);
    }
}

void slotset_remove(struct slotset *set, int slot)
{
    CHECK(slot >= 0 && slot < SLOT_COUNT);
    set->words[slot / 64] &= ~(UINT64_C(1) << (slot % 64));
}

bool slotset_has(const struct slotset *set, int slot)
{
    CHECK(slot >= 0 && slot < SLOT_COUNT);
    return (set->words[slot / 64] >> (slot % 64)) & 1u;
}

int slotset_count(const struct slotset *set)
{
    int count = 0;
    for (int i = 0; i < WORD_COUNT; i++) {
        count += __builtin_popcountll(set->words[i]);
    }
    return count;
}

bool slotset_is_empty(const struct slotset *set)
{
    return slotset_next(set, 0) == SLOT_NONE;
}

bool slotset_is_equal(const struct slotset *a, const struct slotset *b)
{
    return memcmp(a, b, sizeof(*a)) == 0;
}

bool slotset_intersects(const struct slotset *a, const struct slotset *b)
{
    for (int i = 0; i < WORD_COUNT; i++) {
        if ((a->words[i] & b->words[i]) != 0) {
            return true;
        }
    }
    return false;
}

void slotset_union(struct slotset *set, const struct slotset *other)
{
    for (int i = 0; i < WORD_COUNT; i++) {
        set->words[i] |= other->words[i];
    }
}

void slotset_subtract(struct slotset *set, const struct slotset *other)
{
    for (int i = 0; i < WORD_COUNT; i++) {
        set->words[i] &= ~other->words[i];
    }
}

void slotset_intersect(struct slotset *set, const struct slotset *other)
{
    for (int i = 0; i < WORD_COUNT; i++) {
        set->words[i] &= other->words[i];
    }
}

int slotset_next(const struct slotset *set, int from)
{
    CHECK(from >= 0 && from <= SLOT_COUNT);
    int word = from / 64;
    if (word >= WORD_COUNT) {
        return SLOT_NONE;
    }
    uint64_t bits = set->words[word] & (~UINT64_C(0) << (from % 64));
    while (bits == 0) {
        if (++word == WORD_COUNT) {
            return SLOT_NONE;
        }
        bits = set->words[word];
    }
    return word * 64 + __builtin_ctzll(bits);
}

int slotset_run_end(const struct slotset *set, int first)
{
    CHECK(slotset_has(set, first));
    int last = first;
    while (last + 1 < SLOT_COUNT && slotset_has(set, last + 1)) {
        last++;
    }
    return last;
}

int slotset_range_count(const struct slotset *set)
{
    int count = 0;
    for (int slot = slotset_next(set, 0); slot != SLOT_NONE;) {
        count++;
        int last = slotset_run_end(set, slot);
        slot = last + 1 < SLOT_COUNT ? slotset_next(set, last + 1) : SLOT_NONE;
    }
    return count;
}

static int parse_slot(const char **text, struct err *err)
{
    char *end = NULL;
    errno = 0;
    if (**text < '0' || **text > '9') {
        return err_set(err, ERR_INVALID, "expected a slot number at \"%.20s\"", *text);
    }
    long slot = strtol(*text, &end, 10);
    if (errno != 0 || slot >= SLOT_COUNT) {
        int code = err_set(err, ERR_INVALID, "slot \"%.20s\" is over %d", *text, SLOT_COUNT - 1);
        err_hint(err, "slots are 0 to %d, as in 0-99,200", SLOT_COUNT - 1);
        return code;
    }
    *text = end;
    return (int)slot;
}

int slotset_parse(struct slotset *set, const char *text, struct err *err)
{
    struct slotset parsed = {0};
    while (*text != '\0') {
        int first = parse_slot(&text, err);
        if (first < 0) {
            return first;
        }
        int last = first;
        if (*text == '-') {
            text++;
            last = parse_slot(&text, err);
            if (last < 0) {
                return last;
            }
        }
        if (last < first) {
            return err_set(err, ERR_INVALID, "slot range %d-%d is reversed", first, last);
        }
        for (int slot = first; slot <= last; slot++) {
            if (slotset_has(&parsed, slot)) {
                return err_set(err, ERR_INVALID,
                               "slot range %d-%d overlaps: slot %d is named twice", first, last,
                               slot);
            }
            slotset_add(&parsed, slot);
        }
        if (*text == ',') {
            text++;
            if (*text == '\0') {
                return err_set(err, ERR_INVALID, "slot list ends with a comma");
            }
        } else if (*text != '\0') {
            return err_set(err, ERR_INVALID, "unexpected \"%.20s\" in a slot list", text);
        }
    }
    *set = parsed;
    return 0;
}

void slotset_format(const struct slotset *set, struct strbuf *out)
{
    const char *comma = "";
    for (int slot = slotset_next(set, 0); slot != SLOT_NONE;) {
        int last = slotset_run_end(set, slot);
        if (last == slot) {
            strbuf_addf(out, "%s%d", comma, slot);
        } else {
            strbuf_addf(out, "%s%d-%d", comma, slot, last);
        }
        comma = ",";
        slot = last + 1 < SLOT_COUNT ? slotset_next(set, last + 1) : SLOT_NONE;
    }
}
