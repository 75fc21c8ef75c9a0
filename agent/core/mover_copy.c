/* mover_copy.c — the keys of open slots: listed, sized, then moved by one MIGRATE at a time.
 *
 * Listing and sizing run ahead on the control lane while the copy lane carries exactly one MIGRATE:
 * the source serves clients between two calls. Big keys are found by MEMORY USAGE before anything
 * of them is sent and travel alone at the end of their slot. A listing is never trusted twice:
 * after any error the slot is listed again, and a slot counts as empty only by the proof before its
 * commit. Source: docs/design.md section 6, rules 2, 7, 8, 9; facts F10 to F14. */
#include "agent/core/mover.h"

#include "common/base/alloc.h"
#include "common/base/check.h"

#include <stdio.h>
#include <string.h>

#define LIST_KEYS_MIN 100 /* a listing costs the source about 0.1 us a key */
#define LIST_KEYS_MAX 1000
#define SIZE_KEYS_MAX 250 /* MEMORY USAGE in one pipeline: about 0.25 ms of the source's time */
#define SIZES_AWAITED_MAX 2
#define SIZED_AHEAD_MAX 1000 /* keys sized and not yet sent */
#define CALL_STEPS 4 /* MIGRATE's timeout is per step of I/O; connect, send, restore, answer */
#define CALL_MARGIN_MS 5000

/* ---- listings ---- */

const char *listing_key(const struct key_listing *listing, int index)
{
    return listing->bytes.data + listing->keys[index].offset;
}

void listing_clear(struct key_listing *listing)
{
    strbuf_clear(&listing->bytes);
    listing->count = 0;
    listing->sized = 0;
    listing->size_count = 0;
    listing->size_req = 0;
    listing->next = 0;
    listing->big_left = 0;
    listing->is_complete = false;
}

static void ask_listings(struct slot_mover *m, struct burst *burst, struct agent_effects *fx)
{
    struct command_list *commands = NULL;
    uint64_t req_id = 0;
    for (int i = 0; i < burst->slot_count; i++) {
        struct burst_slot *slot = &burst->slots[i];
        if (slot->phase != COPY_UNKNOWN) {
            continue;
        }
        if (commands == NULL) {
            struct mover_request request = {
                .kind = REQUEST_LIST, .burst = mover_burst_index(m, burst), .is_harmless = true};
            struct mover_where where = {.address = &m->source.node.address,
                                        .lane = LANE_CONTROL,
                                        .connection_id = m->source.control_connection,
                                        .timeout_ms = MOVER_ASK_TIMEOUT_MS};
            commands = mover_ask(m, fx, &request, &where, &req_id);
        }
        int64_t wanted = slot->keys_left;
        wanted = wanted < LIST_KEYS_MIN ? LIST_KEYS_MIN : wanted;
        wanted = wanted > LIST_KEYS_MAX ? LIST_KEYS_MAX : wanted;
        words_list_keys(commands, slot->slot, (int)wanted);
        slot->list_limit = (int)wanted;
        slot->phase = COPY_LISTING;
        slot->list_req = req_id;
    }
}

static void take_listing(struct burst_slot *slot, const struct reply *reply)
{
    struct key_listing *listing = &slot->listing;
    listing_clear(listing);
    for (size_t i = 0; i < reply->count; i++) {
        const struct reply *key = &reply->items[i];
        ARRAY_RESERVE(listing->keys, listing->count, listing->capacity);
        listing->keys[listing->count++] = (struct listed_key){
            .offset = listing->bytes.len, .len = key->len, .bytes = KEY_BYTES_UNKNOWN};
        strbuf_add(&listing->bytes, key->text, key->len);
    }
    strbuf_add(&listing->bytes, "", 0); /* an empty key alone must have an address, too */
    listing->is_complete = listing->count < slot->list_limit;
    slot->phase = listing->count == 0 ? COPY_EMPTY : COPY_LISTED;
}

static struct burst *burst_of(struct slot_mover *m, const struct mover_request *request)
{
    for (int i = 0; i < BURSTS_MAX; i++) {
        struct burst *burst = mover_burst_by_age(m, i);
        if (burst != NULL && mover_burst_index(m, burst) == request->burst) {
            return burst;
        }
    }
    return NULL;
}

static void list_answer(struct slot_mover *m,
                        const struct mover_request *request,
                        const struct agent_event *ev,
                        struct agent_effects *fx)
{
    struct burst *burst = burst_of(m, request);
    const struct reply *error = ev->code == 0 ? mover_first_error(ev->replies) : NULL;
    if (ev->code != 0 || error != NULL) {
        mover_retry_reply(m, fx, ev, error, "GETKEYSINSLOT at the source");
        return;
    }
    int answer = 0;
    for (int i = 0; burst != NULL && i < burst->slot_count; i++) {
        struct burst_slot *slot = &burst->slots[i];
        if (slot->phase == COPY_LISTING && slot->list_req == request->req_id &&
            answer < ev->replies->count) {
            take_listing(slot, &ev->replies->replies[answer++]);
        }
    }
}

/* ---- sizes ---- */

static int sized_ahead(struct slot_mover *m)
{
    int count = 0;
    for (int b = 0; b < BURSTS_MAX; b++) {
        for (int i = 0; i < m->bursts[b].slot_count; i++) {
            const struct key_listing *listing = &m->bursts[b].slots[i].listing;
            count += listing->sized + listing->size_count - listing->next;
        }
    }
    return count;
}

static int unsized_count(const struct burst_slot *slot)
{
    const struct key_listing *listing = &slot->listing;
    bool is_ready = slot->phase == COPY_LISTED && listing->size_count == 0;
    return is_ready ? listing->count - listing->sized : 0;
}

static void add_sizes(struct command_list *commands, struct key_listing *listing, int count)
{
    for (int i = listing->sized; i < listing->sized + count; i++) {
        commands_begin(commands);
        commands_arg_text(commands, "MEMORY");
        commands_arg_text(commands, "USAGE");
        commands_arg(commands, listing_key(listing, i), listing->keys[i].len);
    }
    listing->size_count = count;
}

/* Asks for the sizes of the burst's next keys, of several slots in one pipeline. Returns how many.
 */
static int ask_sizes(struct slot_mover *m, struct burst *burst, struct agent_effects *fx)
{
    struct command_list *commands = NULL;
    uint64_t req_id = 0;
    int asked = 0;
    for (int i = 0; i < burst->slot_count && asked < SIZE_KEYS_MAX; i++) {
        struct burst_slot *slot = &burst->slots[i];
        int count = unsized_count(slot);
        if (count == 0) {
            continue;
        }
        if (commands == NULL) {
            struct mover_request request = {
                .kind = REQUEST_SIZE, .burst = mover_burst_index(m, burst), .is_harmless = true};
            struct mover_where where = {.address = &m->source.node.address,
                                        .lane = LANE_CONTROL,
                                        .connection_id = m->source.control_connection,
                                        .timeout_ms = MOVER_ASK_TIMEOUT_MS};
            commands = mover_ask(m, fx, &request, &where, &req_id);
        }
        count = count < SIZE_KEYS_MAX - asked ? count : SIZE_KEYS_MAX - asked;
        add_sizes(commands, &slot->listing, count);
        slot->listing.size_req = req_id;
        asked += count;
    }
    m->sizes_awaited += asked > 0;
    return asked;
}

static void note_big_key(struct slot_mover *m, const struct burst_slot *slot, int key)
{
    if (m->big_key_count == BIG_KEYS_REPORTED_MAX) {
        return;
    }
    struct big_key *big = &m->big_keys[m->big_key_count++];
    key_text_format(big->key, listing_key(&slot->listing, key), slot->listing.keys[key].len);
    big->slot = slot->slot;
    big->bytes = slot->listing.keys[key].bytes;
}

/* A key over the order's limit: the slot stays where it is, for a person to decide. */
static bool refuse_big_key(struct slot_mover *m,
                           struct burst_slot *slot,
                           int64_t bytes,
                           struct agent_effects *fx)
{
    if (m->order.big_key_bytes_max <= 0 || bytes <= m->order.big_key_bytes_max) {
        return false;
    }
    char reason[TEXT_SIZE];
    (void)snprintf(reason, sizeof(reason), "a key of %lld bytes is over the limit of %lld",
                   (long long)bytes, (long long)m->order.big_key_bytes_max);
    mover_hold_slot(m, fx, slot->slot, ERR_LIMIT, reason);
    slot->phase = COPY_PARKED;
    return true;
}

static void take_sizes(struct slot_mover *m,
                       struct burst_slot *slot,
                       const struct reply *replies,
                       struct agent_effects *fx)
{
    struct key_listing *listing = &slot->listing;
    int first = listing->sized;
    for (int i = 0; i < listing->size_count; i++) {
        struct listed_key *key = &listing->keys[first + i];
        key->bytes = replies[i].type == REPLY_INTEGER ? replies[i].integer : KEY_BYTES_GONE;
        if (key->bytes >= GOVERNOR_BIG_KEY_BYTES) {
            listing->big_left++;
            note_big_key(m, slot, first + i);
            if (refuse_big_key(m, slot, key->bytes, fx)) {
                return;
            }
        }
    }
    listing->sized += listing->size_count;
    listing->size_count = 0;
}

static void size_answer(struct slot_mover *m,
                        const struct mover_request *request,
                        const struct agent_event *ev,
                        struct agent_effects *fx)
{
    m->sizes_awaited--;
    struct burst *burst = burst_of(m, request);
    const struct reply *error = ev->code == 0 ? mover_first_error(ev->replies) : NULL;
    if (ev->code != 0 || error != NULL) {
        mover_retry_reply(m, fx, ev, error, "MEMORY USAGE at the source");
        return;
    }
    int answer = 0;
    for (int i = 0; burst != NULL && i < burst->slot_count; i++) {
        struct burst_slot *slot = &burst->slots[i];
        int count = slot->listing.size_req == request->req_id ? slot->listing.size_count : 0;
        if (count > 0 && slot->phase == COPY_LISTED && answer + count <= ev->replies->count) {
            take_sizes(m, slot, &ev->replies->replies[answer], fx);
        }
        answer += count;
    }
}

/* ---- MIGRATE ---- */

/* Which keys go next: normal ones up to the limits, then big ones, each alone. Marks them as sent.
 */
struct key_batch {
    int indices[LIST_KEYS_MAX];
    int count;
    int64_t bytes;
    bool has_replace;
};

static bool needs_replace(const struct slot_mover *m,
                          const struct burst_slot *slot,
                          const struct listed_key *key)
{
    /* A clash in a slot that we opened untouched, with nobody restarted since: the source served
     * the key all along. */
    bool is_ours =
        (m->flags[slot->slot] & (SLOT_CLASHED | SLOT_OURS)) == (SLOT_CLASHED | SLOT_OURS);
    return is_ours || key->verdict == KEY_SAME;
}

static void batch_add(struct key_batch *batch, struct listed_key *key, int index)
{
    key->is_sent = true;
    batch->indices[batch->count++] = index;
    batch->bytes += key->bytes;
}

static void collect_normal(const struct slot_mover *m,
                           struct burst_slot *slot,
                           struct key_batch *batch)
{
    struct key_listing *listing = &slot->listing;
    int keys_max = governor_batch_keys(&m->governor, listing->count - listing->next);
    int64_t bytes_max = governor_batch_bytes(&m->governor);
    bool is_checked = mover_conflict_applies(m, slot->slot);
    while (listing->next < listing->sized && batch->count < keys_max &&
           batch->count < LIST_KEYS_MAX) {
        struct listed_key *key = &listing->keys[listing->next];
        bool is_skipped =
            key->bytes == KEY_BYTES_GONE || key->bytes >= GOVERNOR_BIG_KEY_BYTES || key->is_sent;
        if (is_skipped) {
            listing->next++;
            continue;
        }
        bool has_replace = needs_replace(m, slot, key);
        bool is_fitting = batch->count == 0 || (batch->bytes + key->bytes <= bytes_max &&
                                                has_replace == batch->has_replace);
        if (!is_fitting || (is_checked && !key->is_compared)) {
            break;
        }
        batch->has_replace = has_replace;
        batch_add(batch, key, listing->next);
        listing->next++;
    }
}

static void collect_big(const struct slot_mover *m,
                        struct burst_slot *slot,
                        struct key_batch *batch)
{
    struct key_listing *listing = &slot->listing;
    bool is_checked = mover_conflict_applies(m, slot->slot);
    for (int i = 0; i < listing->count && batch->count == 0; i++) {
        struct listed_key *key = &listing->keys[i];
        bool is_ready = !is_checked || key->is_compared;
        if (!key->is_sent && key->bytes >= GOVERNOR_BIG_KEY_BYTES && is_ready) {
            batch->has_replace = needs_replace(m, slot, key);
            batch_add(batch, key, i);
            listing->big_left--;
        }
    }
}

static void send_call(struct slot_mover *m,
                      struct burst *burst,
                      int index,
                      const struct key_batch *batch,
                      struct agent_effects *fx)
{
    struct burst_slot *slot = &burst->slots[index];
    int64_t timeout_ms = governor_timeout_ms(&m->governor, batch->bytes);
    struct mover_request request = {
        .kind = REQUEST_MIGRATE, .burst = mover_burst_index(m, burst), .index = index};
    struct mover_where where = {.address = &m->source.node.address,
                                .lane = LANE_COPY,
                                .connection_id = m->source.copy_connection,
                                .timeout_ms = CALL_STEPS * timeout_ms + CALL_MARGIN_MS};
    struct command_list *commands = mover_ask(m, fx, &request, &where, NULL);
    words_migrate_begin(commands, &m->target_seen_by_source, timeout_ms, batch->has_replace,
                        m->login.user, m->login.password);
    for (int i = 0; i < batch->count; i++) {
        int key = batch->indices[i];
        commands_arg(commands, listing_key(&slot->listing, key), slot->listing.keys[key].len);
    }
    m->flags[slot->slot] |= SLOT_TOUCHED;
    m->call = (struct mover_call){.is_running = true,
                                  .slot = slot->slot,
                                  .key_count = batch->count,
                                  .bytes = batch->bytes,
                                  .has_replace = batch->has_replace};
}

/* A listing that is used up: list again unless the slot was listed whole; then the proof has the
 * last word. */
static void finish_listing(struct burst_slot *slot)
{
    const struct key_listing *listing = &slot->listing;
    if (slot->phase == COPY_LISTED && listing->next == listing->count && listing->big_left == 0) {
        slot->keys_left -= listing->count;
        slot->phase = listing->is_complete ? COPY_EMPTY : COPY_UNKNOWN;
    }
}

/* Sends a MIGRATE of this slot if some of its keys are ready. */
static bool try_slot(struct slot_mover *m, struct burst *burst, int index, struct agent_effects *fx)
{
    struct burst_slot *slot = &burst->slots[index];
    if (slot->phase != COPY_LISTED) {
        return false;
    }
    if (mover_conflict_applies(m, slot->slot)) {
        if (slot->listing.sized < slot->listing.count) {
            return false; /* first all sizes, then the comparison, then the copy */
        }
        mover_conflict_begin(m, burst, index, fx);
        if (slot->phase != COPY_LISTED) {
            return false;
        }
    }
    struct key_batch batch;
    batch.count = 0;
    batch.bytes = 0;
    batch.has_replace = false;
    collect_normal(m, slot, &batch);
    if (batch.count == 0 && slot->listing.next == slot->listing.count &&
        slot->listing.big_left > 0) {
        collect_big(m, slot, &batch);
    }
    if (batch.count == 0) {
        finish_listing(slot);
        return false;
    }
    send_call(m, burst, index, &batch, fx);
    return true;
}

/* What a MIGRATE that failed means for its slot. */
static void call_failed(struct slot_mover *m,
                        const struct mover_request *request,
                        const struct agent_event *ev,
                        struct agent_effects *fx)
{
    const struct reply *error = ev->code == 0 ? &ev->replies->replies[0] : NULL;
    enum redis_fault fault = error != NULL ? redis_fault_of(error) : FAULT_IO;
    struct burst *burst = burst_of(m, request);
    if (fault == FAULT_IO) {
        governor_lost(&m->governor);
    }
    if (fault == FAULT_KEY_EXISTS && burst != NULL) {
        /* The other keys of the call have moved. The survey that follows tells whether we may still
         * trust the source. */
        m->flags[burst->slots[request->index].slot] |= SLOT_CLASHED;
    }
    mover_retry_reply(m, fx, ev, error, "MIGRATE");
}

/* A call that ended with this error may have moved keys before. */
static bool may_have_moved(const struct reply *error)
{
    enum redis_fault fault = redis_fault_of(error);
    return fault == FAULT_IO || fault == FAULT_KEY_EXISTS || fault == FAULT_MEMORY;
}

static void migrate_answer(struct slot_mover *m,
                           const struct mover_request *request,
                           const struct agent_event *ev,
                           struct agent_effects *fx)
{
    struct mover_call call = m->call;
    m->call.is_running = false;
    bool has_answer = ev->code == 0 && ev->replies->count == 1;
    bool is_gone = has_answer && reply_has_prefix(&ev->replies->replies[0], "NOKEY");
    if (has_answer && (is_gone || reply_is_ok(&ev->replies->replies[0]))) {
        governor_called(&m->governor, ev->latency_us);
        if (!is_gone) {
            mover_risk_add(m, call.slot, call.key_count);
            m->keys_moved += (uint64_t)call.key_count;
            m->bytes_moved += (uint64_t)call.bytes;
        }
        if (m->sm.state == MOVER_MOVING) {
            mover_progress(m);
            struct burst *burst = burst_of(m, request);
            if (burst != NULL) {
                sm_extend(&burst->sm, m->now_ms);
                finish_listing(&burst->slots[request->index]);
            }
        }
        return;
    }
    if (!has_answer || may_have_moved(&ev->replies->replies[0])) {
        mover_risk_add(m, call.slot, call.key_count);
    }
    if (m->sm.state == MOVER_MOVING) {
        call_failed(m, request, ev, fx);
    }
}

/* ---- run ---- */

void mover_copy_answer(struct slot_mover *m,
                       const struct mover_request *request,
                       const struct agent_event *ev,
                       struct agent_effects *fx)
{
    if (request->kind == REQUEST_LIST) {
        list_answer(m, request, ev, fx);
    } else if (request->kind == REQUEST_SIZE) {
        size_answer(m, request, ev, fx);
    } else {
        CHECK(request->kind == REQUEST_MIGRATE);
        migrate_answer(m, request, ev, fx);
    }
}

static void prefetch(struct slot_mover *m, struct agent_effects *fx)
{
    int ahead = sized_ahead(m);
    for (int age = 0; age < BURSTS_MAX; age++) {
        struct burst *burst = mover_burst_by_age(m, age);
        if (burst == NULL || burst->sm.state != BURST_COPYING) {
            continue;
        }
        ask_listings(m, burst, fx);
        while (m->sizes_awaited < SIZES_AWAITED_MAX && ahead < SIZED_AHEAD_MAX) {
            int asked = ask_sizes(m, burst, fx);
            if (asked == 0) {
                break;
            }
            ahead += asked;
        }
    }
}

void mover_copy_run(struct slot_mover *m, struct agent_effects *fx)
{
    for (int age = 0; age < BURSTS_MAX && !m->call.is_running; age++) {
        struct burst *burst = mover_burst_by_age(m, age);
        if (burst == NULL || burst->sm.state != BURST_COPYING) {
            continue;
        }
        for (int i = 0; i < burst->slot_count && !m->call.is_running; i++) {
            (void)try_slot(m, burst, i, fx);
        }
    }
    prefetch(m, fx);
}
