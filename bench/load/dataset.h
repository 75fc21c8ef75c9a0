/* dataset.h — the data that `fill` writes and `verify` expects: every name, value and expiry
 * follows from the key's number and a seed, so nothing has to be remembered between the two.
 *
 * Pure: makes commands and judges replies, sends nothing. Values cannot be compressed and contain
 * every byte value.
 *
 * Numbers: 0..keys-1 are the plain keys, then slot_pile_count keys of one slot, then expiring_count
 * keys that expire soon, then the one big string. */
#ifndef DROVER_LOAD_DATASET_H
#define DROVER_LOAD_DATASET_H

#include "common/base/strbuf.h"

#include <hiredis/hiredis.h>
#include <stdbool.h>
#include <stdint.h>

/* Room for "<key number>:<version>:" and some payload. */
#define VALUE_SIZE_MIN 32
#define PREFIX_DEFAULT "key:"
/* Members of each collection. */
#define MEMBERS 8
/* The expiry of key number i is EXPIRY_BASE_MS + i seconds since 1970, whatever the time of the
 * fill: far enough away never to come in a test (the year 2100). */
#define EXPIRY_BASE_MS INT64_C(4102444800000)

struct dataset {
    const char *prefix;
    uint64_t seed;
    uint64_t keys;
    uint64_t value_size;      /* bytes of a string value, >= VALUE_SIZE_MIN */
    bool all_types;           /* else strings with plain names and no expiry */
    uint64_t big_string_size; /* 0: none */
    unsigned slot_pile_slot;
    uint64_t slot_pile_count;
    uint64_t expiring_count;
    int64_t expiring_within_ms;
    bool allow_updated; /* strings may carry a later version, as `run` writes them */
    int64_t ttl_tolerance_ms;
    /* Found by dataset_prepare(). */
    char pile_tag[24];
};

enum verdict {
    VERDICT_RIGHT,
    VERDICT_LOST,    /* not there */
    VERDICT_WRONG,   /* there with another type or content */
    VERDICT_TTL,     /* there with another expiry */
    VERDICT_EXPIRED, /* not there, as it may be */
};

/* Completes a dataset; must be called before the functions below. */
void dataset_prepare(struct dataset *d);

/* All keys, special ones included. */
uint64_t dataset_count(const struct dataset *d);

/* Appends the name of key 'number'; may be empty. */
void dataset_name(const struct dataset *d, uint64_t number, struct strbuf *out);

/* Appends a value of exactly 'size' bytes (>= VALUE_SIZE_MIN) that says its number and version. */
void value_make(uint64_t seed, uint64_t number, uint64_t version, size_t size, struct strbuf *out);

/* Reads a value made by value_make(). True if number and every byte are right; the version is then
 * set. */
bool value_check(uint64_t seed, uint64_t number, const char *data, size_t size, uint64_t *version);

/* Writes into 'out' the command of step 'step' (0, 1, ...) that creates key 'number'; false when
 * there is no such step. The steps of a key must run in order; from step 0 on they may be repeated.
 */
bool dataset_fill_step(const struct dataset *d, uint64_t number, unsigned step, struct strbuf *out);

/* The same for reading it back. */
bool dataset_read_step(const struct dataset *d, uint64_t number, unsigned step, struct strbuf *out);

/* Wall clock of a read: its answer was true at some moment between the two, so what it says of a
 * remaining time to live is known no better than that. */
struct read_time {
    int64_t asked_ms;
    int64_t answered_ms;
};

/* Judges the reply to a read step. */
enum verdict dataset_judge(const struct dataset *d,
                           uint64_t number,
                           unsigned step,
                           const struct redisReply *reply,
                           const struct read_time *when);

/* True if the reply is an acceptable answer to a fill step. */
bool dataset_fill_accepts(const struct redisReply *reply);

#endif
