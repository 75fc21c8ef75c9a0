/* mover_conflict.c — a key is on both sides, and nobody can vouch for the source's copy.
 *
 * That happens after a restart or a failover in mid-slot: the source may have brought back an old
 * value of a key that had moved and was changed at the target since. So the two values are compared
 * as DUMP gives them. Equal: the source's copy is dropped (MIGRATE REPLACE). Different: the slot is
 * held and shown to a person. Absent at the target: an ordinary key. Source: docs/design.md section
 * 6 rule 7; facts F12, F13. */
#include "agent/core/mover.h"

#include <stdio.h>
#include <string.h>

#define COMPARE_KEYS_MAX 16
#define COMPARE_BYTES_MAX \
    (64LL * 1024 * 1024) /* one value of this size travels through the agent; no larger */

bool mover_conflict_applies(const struct slot_mover *m, int slot)
{
    return (m->flags[slot] & SLOT_CLASHED) != 0 && (m->flags[slot] & SLOT_OURS) == 0;
}

static struct listed_key *next_unknown(struct key_listing *listing, int *index)
{
    while (*index < listing->count) {
        struct listed_key *key = &listing->keys[*index];
        if (!key->is_sent && !key->is_compared && key->bytes != KEY_BYTES_GONE) {
            return key;
        }
        (*index)++;
    }
    return NULL;
}

static void add_dump(struct command_list *commands, const struct key_listing *listing, int index)
{
    commands_begin(commands);
    commands_arg_text(commands, "DUMP");
    commands_arg(commands, listing_key(listing, index), listing->keys[index].len);
}

/* The next few keys of the slot whose copies were not compared yet; COMPARE_KEYS_MAX keys or one
 * big one. */
static int choose_keys(struct key_listing *listing, int first, int *last)
{
    int index = first;
    int count = 0;
    int64_t bytes = 0;
    while (count < COMPARE_KEYS_MAX && next_unknown(listing, &index) != NULL) {
        bytes += listing->keys[index].bytes;
        if (count > 0 && bytes > GOVERNOR_BIG_KEY_BYTES) {
            break;
        }
        count++;
        *last = index++;
    }
    return count;
}

void mover_conflict_begin(struct slot_mover *m,
                          struct burst *burst,
                          int index,
                          struct agent_effects *fx)
{
    if (m->is_comparing) {
        return;
    }
    struct burst_slot *slot = &burst->slots[index];
    struct key_listing *listing = &slot->listing;
    int first = 0;
    if (next_unknown(listing, &first) == NULL) {
        return;
    }
    if (listing->keys[first].bytes > COMPARE_BYTES_MAX) {
        mover_hold_slot(m, fx, slot->slot, ERR_CONFLICT,
                        "a key is on both sides and too big to compare");
        slot->phase = COPY_PARKED;
        return;
    }
    int last = first;
    (void)choose_keys(listing, first, &last);
    struct mover_request request = {.kind = REQUEST_COMPARE,
                                    .burst = mover_burst_index(m, burst),
                                    .index = index,
                                    .first = first,
                                    .count = last - first + 1,
                                    .is_harmless = true};
    m->is_comparing = true;
    m->compare_answers = 0;
    strbuf_clear(&m->compare_values);
    for (int side = 0; side < 2; side++) {
        struct command_list *commands =
            side == 0 ? mover_ask_source(m, fx, &request) : mover_ask_target(m, fx, &request);
        request.is_target = true;
        for (int i = first; i <= last; i++) {
            if (side == 1) {
                commands_add(commands, "ASKING", (char *)NULL);
            }
            add_dump(commands, listing, i);
        }
    }
}

/* Keeps each value behind its length; absent is length -1. */
static void keep_values(struct strbuf *kept, const struct reply_list *replies, int step)
{
    for (int i = step - 1; i < replies->count; i += step) {
        const struct reply *reply = &replies->replies[i];
        int64_t len = reply->type == REPLY_STRING ? (int64_t)reply->len : -1;
        strbuf_add(kept, &len, sizeof(len));
        if (len > 0) {
            strbuf_add(kept, reply->text, (size_t)len);
        }
    }
}

static int64_t value_len(const struct strbuf *values, size_t at)
{
    int64_t len = -1;
    if (at + sizeof(len) <= values->len) {
        memcpy(&len, values->data + at, sizeof(len));
    }
    return len;
}

/* Compares the kept values of one side with those of the other and notes a verdict a key. */
static void judge_keys(struct slot_mover *m,
                       struct burst_slot *slot,
                       const struct mover_request *request,
                       const struct strbuf *other,
                       struct agent_effects *fx)
{
    size_t at = 0;
    size_t other_at = 0;
    for (int i = 0; i < request->count; i++) {
        int64_t len = value_len(&m->compare_values, at);
        int64_t other_len = value_len(other, other_at);
        at += sizeof(len);
        other_at += sizeof(other_len);
        struct listed_key *key = &slot->listing.keys[request->first + i];
        key->is_compared = true;
        if (len >= 0 && other_len >= 0) {
            bool is_same = m->order.source_counts || /* a person said so */
                           (len == other_len && memcmp(m->compare_values.data + at,
                                                       other->data + other_at, (size_t)len) == 0);
            if (!is_same) {
                mover_hold_slot(
                    m, fx, slot->slot, ERR_CONFLICT,
                    "a key has different values at source and target, and the source or target "
                    "restarted meanwhile: decide which one counts");
                slot->phase = COPY_PARKED;
                return;
            }
            key->verdict = KEY_SAME;
        }
        at += len > 0 ? (size_t)len : 0;
        other_at += other_len > 0 ? (size_t)other_len : 0;
    }
}

void mover_conflict_answer(struct slot_mover *m,
                           const struct mover_request *request,
                           const struct agent_event *ev,
                           struct agent_effects *fx)
{
    const struct reply *error = ev->code == 0 ? mover_first_error(ev->replies) : NULL;
    if (ev->code != 0 || error != NULL) {
        mover_retry_reply(m, fx, ev, error, "comparing a key of both sides");
        return;
    }
    int step = request->is_target ? 2 : 1; /* ASKING has an answer, too */
    m->compare_answers++;
    if (m->compare_answers == 1) {
        keep_values(&m->compare_values, ev->replies, step);
        return;
    }
    m->is_comparing = false;
    struct strbuf other = {0};
    keep_values(&other, ev->replies, step);
    for (int i = 0; i < BURSTS_MAX; i++) {
        struct burst *burst = mover_burst_by_age(m, i);
        if (burst == NULL || mover_burst_index(m, burst) != request->burst) {
            continue;
        }
        struct burst_slot *slot = &burst->slots[request->index];
        if (slot->phase == COPY_LISTED) {
            judge_keys(m, slot, request, &other, fx);
        }
    }
    strbuf_release(&other);
    strbuf_release(&m->compare_values);
}
