/* journal.c — see journal.h. */
#include "coordinator/core/journal.h"

#include "common/base/alloc.h"
#include "common/base/check.h"
#include "coordinator/core/election.h"

#include <stdlib.h>
#include <string.h>

#define ANSWER_DEADLINE_MS \
    (JOURNAL_TIMEOUT_MS + 2000) /* results always come; this is for a shell that lost one */

_Static_assert(JOURNAL_GROUP_WRITES_MAX <= STORE_TXN_WRITES_MAX,
               "a group fits into one transaction");
_Static_assert(2 * JOURNAL_GROUP_WRITES_MAX + 1 <= 128, "etcd counts compares and writes");

/* clang-format off */
const struct sm_state journal_states[JOURNAL_NR] = {
    /*                         name            may go to                                                                  deadline            meaning                                       */
    [JOURNAL_IDLE]         = {"idle",         SM_TO(JOURNAL_WRITING),                                                     NEVER,              "nothing waits"                              },
    [JOURNAL_WRITING]      = {"writing",      SM_TO(JOURNAL_IDLE) | SM_TO(JOURNAL_READING_BACK) | SM_TO(JOURNAL_PAUSED),  ANSWER_DEADLINE_MS, "a transaction is on its way"                },
    [JOURNAL_READING_BACK] = {"reading-back", SM_TO(JOURNAL_IDLE) | SM_TO(JOURNAL_WRITING) | SM_TO(JOURNAL_PAUSED),       ANSWER_DEADLINE_MS, "its outcome is unknown; asks what is stored" },
    [JOURNAL_PAUSED]       = {"paused",       SM_TO(JOURNAL_IDLE) | SM_TO(JOURNAL_WRITING) | SM_TO(JOURNAL_READING_BACK), NEVER,              "the store does not take writes; tries again at retry_ms" },
};
/* clang-format on */

static void send_group(struct journal *journal, struct turn *turn);
static void send_read_back(struct journal *journal, struct turn *turn);
static void pause_group(struct journal *journal, struct turn *turn, bool is_read_next);
static void commit_group(struct journal *journal, struct turn *turn, int64_t revision);
static void note_failure(struct journal *journal,
                         struct turn *turn,
                         const struct store_result *result);

void journal_init(struct journal *journal, uint64_t seed, int64_t now_ms)
{
    *journal = (struct journal){.retry_ms = NEVER, .frozen_since_ms = NEVER};
    prng_init(&journal->prng, seed);
    sm_init(&journal->sm, journal_states, JOURNAL_NR, JOURNAL_IDLE, now_ms);
}

static void entry_release(struct journal_entry *entry)
{
    free(entry->key);
    record_release(entry->record);
    free(entry->record);
}

static void forget_all(struct journal *journal)
{
    for (int i = 0; i < journal->queue_count; i++) {
        entry_release(&journal->queue[i]);
    }
    for (int i = 0; i < journal->revision_count; i++) {
        free(journal->revisions[i].key);
    }
    journal->queue_count = 0;
    journal->group_count = 0;
    journal->revision_count = 0;
}

void journal_release(struct journal *journal)
{
    forget_all(journal);
    free(journal->queue);
    free(journal->revisions);
    *journal = (struct journal){0};
}

void journal_open(struct journal *journal, int64_t fence, int64_t now_ms)
{
    CHECK(fence > 0);
    CHECK(journal->fence == 0);
    journal_close(journal, now_ms);
    journal->fence = fence;
}

void journal_close(struct journal *journal, int64_t now_ms)
{
    forget_all(journal);
    journal->fence = 0;
    journal->req_id = 0;
    journal->failures = 0;
    journal->retry_ms = NEVER;
    journal->frozen_since_ms = NEVER;
    journal->err = (struct err){0};
    journal->is_refused = false;
    journal->ticket_durable = journal->ticket_last; /* nobody waits for them any more */
    sm_init(&journal->sm, journal_states, JOURNAL_NR, JOURNAL_IDLE, now_ms);
}

/* Index of the key, or where it belongs. */
static int find_revision(const struct journal *journal, const char *key, bool *is_found)
{
    int low = 0;
    int high = journal->revision_count;
    while (low < high) {
        int middle = low + (high - low) / 2;
        int order = strcmp(journal->revisions[middle].key, key);
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

void journal_learn(struct journal *journal, const char *key, int64_t mod_revision)
{
    bool is_found = false;
    int index = find_revision(journal, key, &is_found);
    if (!is_found) {
        ARRAY_RESERVE(journal->revisions, journal->revision_count, journal->revision_capacity);
        struct journal_revision *at = &journal->revisions[index];
        memmove(at + 1, at, (size_t)(journal->revision_count - index) * sizeof(*at));
        journal->revision_count++;
        at->key = xstrdup(key);
    }
    journal->revisions[index].mod_revision = mod_revision;
}

static void forget_revision(struct journal *journal, const char *key)
{
    bool is_found = false;
    int index = find_revision(journal, key, &is_found);
    if (is_found) {
        struct journal_revision *at = &journal->revisions[index];
        free(at->key);
        journal->revision_count--;
        memmove(at, at + 1, (size_t)(journal->revision_count - index) * sizeof(*at));
    }
}

static int64_t known_revision(const struct journal *journal, const char *key)
{
    bool is_found = false;
    int index = find_revision(journal, key, &is_found);
    return is_found ? journal->revisions[index].mod_revision : 0;
}

void record_copy(struct record *to, const struct record *from)
{
    *to = *from;
    switch (from->kind) {
    case RECORD_OPERATION:
        operation_request_copy(&to->as.operation.request, &from->as.operation.request);
        break;
    case RECORD_PLAN:
        to->as.plan.batches = NULL; /* stored one by one */
        to->as.plan.big_keys = NULL;
        if (from->as.plan.big_key_count > 0) {
            to->as.plan.big_keys =
                xmemdup(from->as.plan.big_keys,
                        (size_t)from->as.plan.big_key_count * sizeof(*from->as.plan.big_keys));
        }
        break;
    case RECORD_BATCH:
        batch_copy(&to->as.batch, &from->as.batch);
        break;
    case RECORD_LEADER:
    case RECORD_SPEC:
    case RECORD_AGENT:
        break;
    }
}

static struct journal_entry *add_entry(struct journal *journal, const char *key)
{
    CHECK(journal->fence > 0);
    ARRAY_RESERVE(journal->queue, journal->queue_count, journal->queue_capacity);
    struct journal_entry *entry = &journal->queue[journal->queue_count++];
    *entry = (struct journal_entry){.key = xstrdup(key)};
    journal->ticket_last++;
    return entry;
}

uint64_t journal_put(struct journal *journal, const char *key, const struct record *record)
{
    struct journal_entry *entry = add_entry(journal, key);
    entry->record = xcalloc(1, sizeof(*entry->record));
    record_copy(entry->record, record);
    return journal->ticket_last;
}

uint64_t journal_delete(struct journal *journal, const char *key)
{
    (void)add_entry(journal, key);
    return journal->ticket_last;
}

bool journal_is_durable(const struct journal *journal, uint64_t ticket)
{
    return ticket <= journal->ticket_durable;
}

bool journal_is_frozen(const struct journal *journal)
{
    return journal->frozen_since_ms != NEVER;
}

void journal_pump(struct journal *journal, struct turn *turn)
{
    if (journal->fence == 0 || journal->is_refused) {
        return;
    }
    switch ((enum journal_state)journal->sm.state) {
    case JOURNAL_IDLE:
        if (journal->queue_count > 0) {
            send_group(journal, turn);
        }
        break;
    case JOURNAL_WRITING:
    case JOURNAL_READING_BACK:
        if (sm_is_overdue(&journal->sm, turn->now_ms)) {
            journal->failures++;
            pause_group(journal, turn, true);
        }
        break;
    case JOURNAL_PAUSED:
        if (turn->now_ms < journal->retry_ms) {
            break;
        }
        if (journal->is_read_next) {
            send_read_back(journal, turn);
        } else {
            send_group(journal, turn);
        }
        break;
    case JOURNAL_NR:
        UNREACHABLE("journal state");
    }
}

static void group_written(struct journal *journal,
                          struct turn *turn,
                          const struct store_result *result)
{
    if (result->code == 0) {
        if (result->succeeded) {
            commit_group(journal, turn, result->revision);
        } else {
            journal->is_refused = true;
        }
        return;
    }
    note_failure(journal, turn, result);
    bool is_unknown =
        result->code == ERR_TIMEOUT || result->code == ERR_IO || result->code == ERR_PROTOCOL;
    if (is_unknown) {
        struct log_event *log = turn_log(turn, EVENT_JOURNAL_AMBIGUOUS);
        log_event_add(log, "key", journal->queue[0].key);
        log_event_add_int(log, "writes", journal->group_count);
        send_read_back(journal, turn);
    } else {
        pause_group(journal, turn, false);
    }
}

/* True when two batch or operation records are the same decision. */
static bool record_is_same(const struct record *a, const struct record *b)
{
    if (a->kind != b->kind) {
        return false;
    }
    switch (a->kind) {
    case RECORD_LEADER:
        return strcmp(a->as.leader.instance, b->as.leader.instance) == 0;
    case RECORD_SPEC:
        return strcmp(a->as.spec.cluster_name, b->as.spec.cluster_name) == 0;
    case RECORD_AGENT:
        return a->as.agent.incarnation == b->as.agent.incarnation &&
               a->as.agent.fence_acked == b->as.agent.fence_acked;
    case RECORD_OPERATION:
        return a->as.operation.state == b->as.operation.state &&
               strcmp(a->as.operation.reason, b->as.operation.reason) == 0;
    case RECORD_PLAN:
        return a->as.plan.topology_digest == b->as.plan.topology_digest &&
               a->as.plan.batch_count == b->as.plan.batch_count;
    case RECORD_BATCH:
        return a->as.batch.state == b->as.batch.state &&
               a->as.batch.attempt == b->as.batch.attempt &&
               strcmp(a->as.batch.agent.text, b->as.batch.agent.text) == 0 &&
               slotset_is_equal(&a->as.batch.slots_done, &b->as.batch.slots_done);
    }
    return false;
}

/* A group is all or nothing, so its first key tells about all of them. */
static void group_read_back(struct journal *journal,
                            struct turn *turn,
                            const struct coordinator_event *event)
{
    const struct journal_entry *first = &journal->queue[0];
    if (event->result->code != 0) {
        note_failure(journal, turn, event->result);
        pause_group(journal, turn, true);
        return;
    }
    const struct stored_record *stored = NULL;
    for (int i = 0; i < event->record_count; i++) {
        if (strcmp(event->records[i].key, first->key) == 0) {
            stored = &event->records[i];
        }
    }
    int64_t known = known_revision(journal, first->key);
    int64_t found = stored != NULL ? stored->mod_revision : 0;
    if (found == known) {
        send_group(journal, turn); /* not there; should it land after all, the compares see to it */
    } else if (stored == NULL
                   ? first->record == NULL
                   : first->record != NULL && record_is_same(first->record, &stored->record)) {
        /* A deletion has no revision to learn; later writes of other keys of the group compare with
         * theirs. */
        commit_group(journal, turn,
                     stored != NULL ? stored->mod_revision : event->result->revision);
    } else {
        journal->is_refused = true; /* somebody else wrote it */
    }
}

bool journal_store_result(struct journal *journal,
                          struct turn *turn,
                          const struct coordinator_event *event)
{
    if (journal->req_id == 0 || event->result->req_id != journal->req_id) {
        return false;
    }
    journal->req_id = 0;
    if (journal->sm.state == JOURNAL_WRITING) {
        group_written(journal, turn, event->result);
    } else if (journal->sm.state == JOURNAL_READING_BACK) {
        group_read_back(journal, turn, event);
    }
    return true;
}

int64_t journal_deadline(const struct journal *journal)
{
    if (journal->fence == 0 || journal->is_refused) {
        return NEVER;
    }
    return journal->sm.state == JOURNAL_PAUSED ? journal->retry_ms : journal->sm.deadline_ms;
}

/* A generous guess of the encoded size: texts, and about 12 bytes a slot range. */
static int64_t entry_bytes(const struct journal_entry *entry)
{
    const struct record *record = entry->record;
    if (record == NULL) {
        return 64;
    }
    switch (record->kind) {
    case RECORD_BATCH:
        return 1024 +
               12 * (slotset_range_count(&record->as.batch.slots) +
                     slotset_range_count(&record->as.batch.slots_done)) +
               (record->as.batch.task != NULL
                    ? TASK_DETAIL_SIZE + 1024 +
                          12 * slotset_range_count(&record->as.batch.task->slots)
                    : 0);
    case RECORD_OPERATION:
        return 1024 +
               64 * (record->as.operation.request.weight_count +
                     record->as.operation.request.source_count) +
               (HOST_SIZE + 16) * record->as.operation.request.address_count;
    case RECORD_PLAN:
        return 512 + 256 * record->as.plan.big_key_count;
    case RECORD_LEADER:
    case RECORD_SPEC:
    case RECORD_AGENT:
        break;
    }
    return 1024;
}

static bool is_key_among(const struct journal *journal, int count, const char *key)
{
    for (int i = 0; i < count; i++) {
        if (strcmp(journal->queue[i].key, key) == 0) {
            return true;
        }
    }
    return false;
}

/* As many entries as fit; a key may occur once only. A group that was sent before stays what it
 * was. */
static void choose_group(struct journal *journal)
{
    int64_t bytes = 0;
    int count = 0;
    while (count < journal->queue_count && count < JOURNAL_GROUP_WRITES_MAX) {
        const struct journal_entry *entry = &journal->queue[count];
        bytes += entry_bytes(entry);
        if (count > 0 &&
            (bytes > JOURNAL_GROUP_BYTES_MAX || is_key_among(journal, count, entry->key))) {
            break;
        }
        count++;
    }
    journal->group_count = count;
}

static void send_group(struct journal *journal, struct turn *turn)
{
    if (journal->group_count == 0) {
        choose_group(journal);
    }
    CHECK(journal->group_count > 0);
    CHECK(journal->fence > 0);
    struct coordinator_effect *effect = turn_store(turn, STORE_TXN, JOURNAL_TIMEOUT_MS);
    struct store_request *request = &effect->request;
    effect->records = xcalloc((size_t)journal->group_count, sizeof(*effect->records));
    store_request_add_compare(request, LEADER_KEY, STORE_CREATE_REVISION, journal->fence);
    for (int i = 0; i < journal->group_count; i++) {
        const struct journal_entry *entry = &journal->queue[i];
        store_request_add_compare(request, entry->key, STORE_MOD_REVISION,
                                  known_revision(journal, entry->key));
        if (entry->record == NULL) {
            store_request_add_delete(request, entry->key);
            continue;
        }
        (void)store_request_add_put(request, entry->key, 0);
        struct record_write *write = &effect->records[effect->record_count++];
        write->write_index = request->write_count - 1;
        record_copy(&write->record, entry->record);
    }
    journal->req_id = request->req_id;
    journal->retry_ms = NEVER;
    sm_move(&journal->sm, JOURNAL_WRITING, turn->now_ms);
}

static void send_read_back(struct journal *journal, struct turn *turn)
{
    struct coordinator_effect *effect = turn_store(turn, STORE_RANGE, JOURNAL_TIMEOUT_MS);
    effect->request.key = xstrdup(journal->queue[0].key);
    journal->req_id = effect->request.req_id;
    journal->retry_ms = NEVER;
    sm_move(&journal->sm, JOURNAL_READING_BACK, turn->now_ms);
}

static void pause_group(struct journal *journal, struct turn *turn, bool is_read_next)
{
    journal->req_id = 0;
    journal->is_read_next = is_read_next;
    journal->retry_ms = turn->now_ms + prng_backoff_ms(&journal->prng, journal->failures,
                                                       JOURNAL_RETRY_MS, JOURNAL_RETRY_MS_MAX);
    sm_move(&journal->sm, JOURNAL_PAUSED, turn->now_ms);
}

static void commit_group(struct journal *journal, struct turn *turn, int64_t revision)
{
    int count = journal->group_count;
    for (int i = 0; i < count; i++) {
        struct journal_entry *entry = &journal->queue[i];
        if (entry->record == NULL) {
            forget_revision(journal, entry->key);
        } else {
            journal_learn(journal, entry->key, revision);
        }
        entry_release(entry);
    }
    journal->queue_count -= count;
    memmove(journal->queue, journal->queue + count,
            (size_t)journal->queue_count * sizeof(*journal->queue));
    journal->group_count = 0;
    journal->ticket_durable += (uint64_t)count;
    CHECK(journal->ticket_durable + (uint64_t)journal->queue_count == journal->ticket_last);
    if (journal->frozen_since_ms != NEVER) {
        struct log_event *log = turn_log(turn, EVENT_STORE_BACK);
        log_event_add_int(log, "frozen_ms", turn->now_ms - journal->frozen_since_ms);
    }
    journal->failures = 0;
    journal->frozen_since_ms = NEVER;
    sm_move(&journal->sm, JOURNAL_IDLE, turn->now_ms);
}

static void note_failure(struct journal *journal,
                         struct turn *turn,
                         const struct store_result *result)
{
    journal->failures++;
    journal->err = result->err;
    journal->err.code = result->code;
    if (journal->frozen_since_ms == NEVER) {
        journal->frozen_since_ms = turn->now_ms;
        struct log_event *log = turn_log(turn, EVENT_STORE_FAILED);
        log_event_add(log, "code", err_word(result->code));
        log_event_add(log, "text", result->err.text);
    }
}
