/* journal.h — every write of a leader: guarded by its fence, in order, one transaction at a time.
 *
 *      IDLE --- something waits ---> WRITING --- committed ---> IDLE
 *                                     |   ^ |
 *                 certainly not done  |   | | outcome unknown
 *                                     v   | v
 *                                  PAUSED  READING_BACK --- it is there ---> IDLE
 *                                     ^      |  it is not there: the same transaction again
 *                                     +------+  no answer: read again after a pause
 *
 * All that waits goes into the next transaction (group commit), so writes become durable in the
 * order in which they were asked for, and a ticket number says everything: what has a ticket <=
 * ticket_durable is in the store. Every transaction compares the create revision of the leader key
 * with our fence and the mod revision of every key with what we know. A transaction that fails
 * these compares ends our term (is_refused). While the store does not take writes the journal is
 * frozen: nothing new becomes durable, so nothing new starts. Must not know what the records mean.
 * Source: docs/design.md section 5. */
#ifndef DROVER_COORDINATOR_CORE_JOURNAL_H
#define DROVER_COORDINATOR_CORE_JOURNAL_H

#include "common/base/prng.h"
#include "common/base/statemachine.h"
#include "coordinator/core/events.h"

#define JOURNAL_TIMEOUT_MS 3000
#define JOURNAL_RETRY_MS 200 /* first pause; doubles up to the next */
#define JOURNAL_RETRY_MS_MAX 2000
#define JOURNAL_GROUP_BYTES_MAX \
    (512L * 1024) /* of values in one transaction, as we estimate them; etcd takes 1.5 MiB */
#define JOURNAL_GROUP_WRITES_MAX \
    60 /* with as many compares and one more: under etcd's 128 operations */

enum journal_state {
    JOURNAL_IDLE,
    JOURNAL_WRITING,
    JOURNAL_READING_BACK,
    JOURNAL_PAUSED,
    JOURNAL_NR,
};

extern const struct sm_state journal_states[JOURNAL_NR];

struct journal_entry {
    char *key;             /* owned */
    struct record *record; /* NULL = delete the key; owned */
};

struct journal_revision {
    char *key; /* owned */
    int64_t mod_revision;
};

struct journal {
    struct sm sm;
    struct prng prng;
    int64_t fence; /* of this term; 0 = closed, nothing may be written */
    struct journal_entry
        *queue; /* oldest first; the first group_count are the transaction in hand; owned */
    int queue_count;
    int queue_capacity;
    int group_count;
    struct journal_revision *revisions; /* by key: all keys that exist as far as we know; owned */
    int revision_count;
    int revision_capacity;
    uint64_t ticket_last;    /* of the newest write asked for */
    uint64_t ticket_durable; /* all writes up to this one are in the store */
    uint64_t req_id;
    bool is_read_next;       /* PAUSED: read back before anything else */
    int64_t retry_ms;        /* PAUSED: until then */
    int failures;            /* in a row */
    int64_t frozen_since_ms; /* NEVER = the store takes writes */
    struct err err;          /* why it is frozen */
    bool is_refused;         /* a compare failed: the term is over */
};

void journal_init(struct journal *journal, uint64_t seed, int64_t now_ms);
void journal_release(struct journal *journal);
/* A new term under 'fence': knows no keys yet. */
void journal_open(struct journal *journal, int64_t fence, int64_t now_ms);
/* The term is over: all that waits is dropped, late results change nothing. */
void journal_close(struct journal *journal, int64_t now_ms);
/* While loading: a key that exists. */
void journal_learn(struct journal *journal, const char *key, int64_t mod_revision);

/* Asks for a write and returns its ticket. 'record' is copied. */
uint64_t journal_put(struct journal *journal, const char *key, const struct record *record);
uint64_t journal_delete(struct journal *journal, const char *key);
bool journal_is_durable(const struct journal *journal, uint64_t ticket);
bool journal_is_frozen(const struct journal *journal);

/* Sends what waits and what is due again. To be called last in every step. */
void journal_pump(struct journal *journal, struct turn *turn);
/* True when the result was ours. */
bool journal_store_result(struct journal *journal,
                          struct turn *turn,
                          const struct coordinator_event *event);
int64_t journal_deadline(const struct journal *journal);

/* A deep copy; 'to' is released by record_release(). */
void record_copy(struct record *to, const struct record *from);

#endif
