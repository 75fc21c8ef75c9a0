/* ledger.c — see ledger.h. */
#include "bench/load/ledger.h"

#include "bench/load/dataset.h"
#include "bench/load/now.h"
#include "common/base/alloc.h"
#include "common/base/check.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

const char *finding_word(enum finding finding)
{
    static const char *const words[FINDING_NR] = {"none", "lost", "backwards", "corrupt"};
    return words[finding];
}

void ledger_init(struct ledger *ledger, uint64_t count, bool all_types)
{
    *ledger = (struct ledger){.count = count, .all_types = all_types};
    ledger->keys = xcalloc(count, sizeof(*ledger->keys));
    ledger->version_base = (uint64_t)wall_ms() << 16;
}

void ledger_release(struct ledger *ledger)
{
    free(ledger->keys);
    ledger->keys = NULL;
}

enum key_type ledger_type(const struct ledger *ledger, uint64_t key)
{
    if (!ledger->all_types || key % 16 > 1) {
        return KEY_STRING;
    }
    return key % 16 == 0 ? KEY_COUNTER : KEY_LIST;
}

bool ledger_may_write(const struct ledger *ledger, uint64_t key)
{
    const struct key_state *state = &ledger->keys[key];
    bool full = ledger_type(ledger, key) == KEY_LIST && state->sent >= LIST_LENGTH_MAX;
    return state->writing == 0 && !full && state->sent < UINT32_MAX;
}

uint32_t ledger_write(struct ledger *ledger, uint64_t key)
{
    struct key_state *state = &ledger->keys[key];
    CHECK(state->writing == 0);
    state->writing = 1;
    state->touched = 1;
    state->before = state->floor;
    return ++state->sent;
}

static void raise_floor(struct key_state *state, uint32_t counter)
{
    if (counter > state->floor) {
        state->floor = counter;
    }
}

/* INCR answers the new value. 'sent' stays: an unknown INCR may yet be executed by a server that
 * was only slow. */
static enum finding acknowledge_counter(struct key_state *state, const struct redisReply *reply)
{
    if (reply->type != REDIS_REPLY_INTEGER || reply->integer > state->sent) {
        return FINDING_CORRUPT;
    }
    /* Not the present floor: a read on another connection may have seen this INCR already. */
    if (reply->integer <= state->before) {
        return reply->integer == 1 ? FINDING_LOST : FINDING_BACKWARDS;
    }
    raise_floor(state, (uint32_t)reply->integer);
    return FINDING_NONE;
}

/* RPUSH answers the new length: at least all acknowledged elements, at most all ever sent. */
static enum finding acknowledge_element(struct key_state *state,
                                        uint32_t counter,
                                        const struct redisReply *reply)
{
    raise_floor(state, counter);
    state->certain++;
    if (reply->type != REDIS_REPLY_INTEGER || reply->integer > state->sent) {
        return FINDING_CORRUPT;
    }
    return reply->integer < state->certain ? FINDING_LOST : FINDING_NONE;
}

enum finding ledger_acknowledge(struct ledger *ledger,
                                uint64_t key,
                                uint32_t counter,
                                const struct redisReply *reply)
{
    struct key_state *state = &ledger->keys[key];
    CHECK(state->writing == 1);
    state->writing = 0;
    switch (ledger_type(ledger, key)) {
    case KEY_STRING:
        raise_floor(state, counter);
        return FINDING_NONE;
    case KEY_COUNTER:
        return acknowledge_counter(state, reply);
    case KEY_LIST:
        return acknowledge_element(state, counter, reply);
    }
    UNREACHABLE("key type");
}

void ledger_withdraw(struct ledger *ledger, uint64_t key, uint32_t counter)
{
    struct key_state *state = &ledger->keys[key];
    CHECK(state->writing == 1);
    CHECK(state->sent == counter);
    state->writing = 0;
    if (state->floor < counter) {
        state->sent--;
    }
}

void ledger_unknown(struct ledger *ledger, uint64_t key)
{
    ledger->keys[key].writing = 0;
}

/* Reads the counter out of a value. A string of the fill or of an earlier run counts as 0. */
static enum finding read_value(const struct ledger *ledger,
                               uint64_t key,
                               const struct redisReply *value,
                               uint64_t *counter)
{
    if (value->type != REDIS_REPLY_STRING) {
        return FINDING_CORRUPT;
    }
    if (ledger_type(ledger, key) == KEY_COUNTER) {
        char *end = NULL;
        errno = 0;
        *counter = strtoull(value->str, &end, 10);
        return errno == 0 && end != value->str && *end == '\0' ? FINDING_NONE : FINDING_CORRUPT;
    }
    uint64_t version = 0;
    if (value->len != ledger->value_size ||
        !value_check(ledger->seed, key, value->str, value->len, &version)) {
        return FINDING_CORRUPT;
    }
    *counter = version > ledger->version_base ? version - ledger->version_base : 0;
    return FINDING_NONE;
}

static enum finding judge_counter(struct key_state *state, uint32_t floor, uint64_t counter)
{
    if (counter < floor) {
        return FINDING_BACKWARDS;
    }
    if (counter > state->sent) {
        return FINDING_CORRUPT;
    }
    raise_floor(state, (uint32_t)counter);
    return FINDING_NONE;
}

enum finding ledger_read(struct ledger *ledger,
                         uint64_t key,
                         uint32_t floor,
                         const struct redisReply *reply)
{
    if (ledger_type(ledger, key) == KEY_LIST) {
        if (reply->type != REDIS_REPLY_ARRAY || reply->elements > 1) {
            return FINDING_CORRUPT;
        }
        if (reply->elements == 0) {
            return floor == 0 ? FINDING_NONE : FINDING_LOST;
        }
        reply = reply->element[0];
    }
    if (reply->type == REDIS_REPLY_NIL) {
        return FINDING_LOST;
    }
    uint64_t counter = 0;
    enum finding finding = read_value(ledger, key, reply, &counter);
    return finding != FINDING_NONE ? finding : judge_counter(&ledger->keys[key], floor, counter);
}

enum finding ledger_read_all(struct ledger *ledger, uint64_t key, const struct redisReply *reply)
{
    struct key_state *state = &ledger->keys[key];
    if (ledger_type(ledger, key) != KEY_LIST) {
        return ledger_read(ledger, key, state->floor, reply);
    }
    if (reply->type != REDIS_REPLY_ARRAY) {
        return FINDING_CORRUPT;
    }
    if (reply->elements < state->certain) {
        return FINDING_LOST;
    }
    uint64_t before = 0;
    for (size_t i = 0; i < reply->elements; i++) {
        uint64_t counter = 0;
        if (read_value(ledger, key, reply->element[i], &counter) != FINDING_NONE ||
            counter <= before || counter > state->sent) {
            return FINDING_CORRUPT;
        }
        before = counter;
    }
    return before < state->floor ? FINDING_BACKWARDS : FINDING_NONE;
}
