/* ledger.h — what each key of a run must hold, kept from what was sent and what was acknowledged.
 *
 * Every write of a key carries the next higher counter, and a key has at most one write under way.
 * So at any time the true value lies between the highest counter that was acknowledged or seen, and
 * the highest that was ever sent. A reply outside of that is an error: below means that a value
 * went backwards, nothing at all means that it was lost. A write whose fate is unknown only widens
 * the range. Pure; no I/O.
 *
 *     0 ......... floor ....... sent
 *     filled      certain       maybe */
#ifndef DROVER_LOAD_LEDGER_H
#define DROVER_LOAD_LEDGER_H

#include <hiredis/hiredis.h>
#include <stdbool.h>
#include <stdint.h>

/* Bounds the lists a long run grows; a full list is only read from then on. */
#define LIST_LENGTH_MAX 2000

enum key_type { KEY_STRING, KEY_COUNTER, KEY_LIST };

struct key_state {
    uint32_t sent;    /* highest counter ever sent */
    uint32_t floor;   /* highest counter acknowledged or seen */
    uint32_t before;  /* the floor when the write under way was sent */
    uint32_t certain; /* list: acknowledged elements */
    uint8_t writing;  /* a write is under way */
    uint8_t touched;  /* written at least once in this run */
};

struct ledger {
    struct key_state *keys; /* owned */
    uint64_t count;
    uint64_t seed;
    uint64_t value_size;
    bool all_types;        /* counters and lists among the strings */
    uint64_t version_base; /* versions of this run are base + counter; above every earlier run's */
};

/* Trouble found in a reply. */
enum finding {
    FINDING_NONE,
    FINDING_LOST,      /* nothing there, or an acknowledged list element is missing */
    FINDING_BACKWARDS, /* an older value than one known to have been there */
    FINDING_CORRUPT,   /* bytes that nobody wrote, of another key, or from the future */
    FINDING_NR
};

/* Word of a finding for reports. Never NULL. */
const char *finding_word(enum finding finding);

void ledger_init(struct ledger *ledger, uint64_t count, bool all_types);
void ledger_release(struct ledger *ledger);

enum key_type ledger_type(const struct ledger *ledger, uint64_t key);

/* True if a write of the key may be sent now. */
bool ledger_may_write(const struct ledger *ledger, uint64_t key);

/* Notes that a write is sent and returns its counter. */
uint32_t ledger_write(struct ledger *ledger, uint64_t key);

/* Ends the write under way: 'applied' and its reply, or certainly not applied (withdrawn), or
 * unknown. */
enum finding ledger_acknowledge(struct ledger *ledger,
                                uint64_t key,
                                uint32_t counter,
                                const struct redisReply *reply);
void ledger_withdraw(struct ledger *ledger, uint64_t key, uint32_t counter);
void ledger_unknown(struct ledger *ledger, uint64_t key);

/* Judges a read: GET for strings and counters, LRANGE key -1 -1 for lists. 'floor' is the key's
 * floor when the read was sent. A right answer raises the floor. */
enum finding ledger_read(struct ledger *ledger,
                         uint64_t key,
                         uint32_t floor,
                         const struct redisReply *reply);

/* Judges the last read-back of a key, with no write under way: as ledger_read, but for lists LRANGE
 * key 0 -1. */
enum finding ledger_read_all(struct ledger *ledger, uint64_t key, const struct redisReply *reply);

#endif
