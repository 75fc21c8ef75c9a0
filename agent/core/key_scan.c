/* key_scan.c — see key_scan.h.
 *
 *   counting -> listing <-> sizing -> done
 * Every failure is tried again a few times, then reported: a scan is only advice. */
#include "agent/core/key_scan.h"

#include "agent/core/redis_words.h"
#include "agent/core/request_ids.h"
#include "common/base/alloc.h"
#include "common/base/statemachine.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SCAN_COUNTS_PER_PIPELINE 512
#define SCAN_SIZES_PER_PIPELINE 100
#define SCAN_REST_FACTOR \
    4 /* rests this many times as long as the last pipeline took: 20 % of one core at most */
#define SCAN_TIMEOUT_MS 5000
#define SCAN_FAILURES_MAX 5
#define SCAN_RETRY_MS 500

enum scan_state { SCAN_COUNTING, SCAN_LISTING, SCAN_SIZING, SCAN_ENDED, SCAN_STATE_NR };

/* clang-format off */
static const struct sm_state scan_states[SCAN_STATE_NR] = {
    /*                name         may go to                                    deadline  meaning */
    [SCAN_COUNTING] = {"counting", SM_TO(SCAN_LISTING) | SM_TO(SCAN_ENDED),      60000,   "keys of every slot are counted"},
    [SCAN_LISTING]  = {"listing",  SM_TO(SCAN_SIZING) | SM_TO(SCAN_ENDED),       60000,   "keys of a slot are listed"},
    [SCAN_SIZING]   = {"sizing",   SM_TO(SCAN_LISTING) | SM_TO(SCAN_ENDED),      60000,   "keys of a slot are sized"},
    [SCAN_ENDED]    = {"ended",    0,                                            NEVER,   "done, stopped or given up"},
};
/* clang-format on */

struct key_scan {
    struct order order;
    struct request_ids ids;
    struct sm sm;
    enum order_state result; /* once ENDED */
    int reason_code;
    char reason[TEXT_SIZE];
    uint64_t req_id; /* the one request on its way; 0 = none */
    int64_t wake_ms; /* when the next one may go; NEVER while one is on its way */
    int failures;
    int slot; /* counting: first slot of the next chunk; then the slot in hand; SLOT_NONE = no more
               */
    struct slotset filled; /* slots with keys */
    uint32_t counts[SLOT_COUNT];
    struct slotset done;
    uint64_t keys;
    uint64_t bytes;
    /* The slot in hand. */
    struct strbuf key_bytes;
    struct command_arg *key_args; /* owned */
    int key_count;
    int key_capacity;
    int sized;
    uint64_t slot_bytes;
    struct big_key big_keys[BIG_KEYS_REPORTED_MAX];
    int big_key_count;
};

struct key_scan *key_scan_new(const struct order *order, uint32_t serial, int64_t now_ms)
{
    struct key_scan *s = xcalloc(1, sizeof(*s));
    s->order = *order;
    s->ids.serial = serial;
    s->wake_ms = now_ms;
    s->slot = slotset_next(&order->slots, 0);
    sm_init(&s->sm, scan_states, SCAN_STATE_NR, SCAN_COUNTING, now_ms);
    return s;
}

void key_scan_free(struct key_scan *s)
{
    if (s == NULL) {
        return;
    }
    strbuf_release(&s->key_bytes);
    free(s->key_args);
    free(s);
}

static void end(struct key_scan *s, enum order_state result, int code, const char *reason)
{
    if (s->sm.state != SCAN_ENDED) {
        sm_move(&s->sm, SCAN_ENDED, s->sm.since_ms);
        s->result = result;
        s->reason_code = code;
        (void)snprintf(s->reason, sizeof(s->reason), "%s", reason);
        s->wake_ms = NEVER;
    }
}

void key_scan_end(struct key_scan *s, int code, const char *reason)
{
    end(s, code == 0 ? ORDER_STOPPED : ORDER_EXPIRED, code, reason);
}

static struct command_list *ask(struct key_scan *s, struct agent_effects *fx)
{
    s->req_id = request_ids_next(&s->ids);
    s->wake_ms = NEVER;
    struct agent_effect *effect = agent_effects_add(fx, AGENT_FX_REDIS);
    effect->req_id = s->req_id;
    effect->address = s->order.source_address;
    effect->lane = LANE_SCAN;
    effect->timeout_ms = SCAN_TIMEOUT_MS;
    return &effect->commands;
}

/* ---- asking ---- */

static void ask_next(struct key_scan *s, struct agent_effects *fx)
{
    switch ((enum scan_state)s->sm.state) {
    case SCAN_COUNTING: {
        struct command_list *commands = ask(s, fx);
        int slot = s->slot;
        for (int i = 0; i < SCAN_COUNTS_PER_PIPELINE && slot != SLOT_NONE; i++) {
            words_count_keys(commands, slot);
            slot = slotset_next(&s->order.slots, slot + 1);
        }
        break;
    }
    case SCAN_LISTING:
        words_list_keys(ask(s, fx), s->slot, SCAN_KEYS_PER_SLOT);
        break;
    case SCAN_SIZING: {
        struct command_list *commands = ask(s, fx);
        for (int i = s->sized; i < s->key_count && i < s->sized + SCAN_SIZES_PER_PIPELINE; i++) {
            commands_begin(commands);
            commands_arg_text(commands, "MEMORY");
            commands_arg_text(commands, "USAGE");
            commands_arg(commands, s->key_bytes.data + s->key_args[i].offset, s->key_args[i].len);
        }
        break;
    }
    case SCAN_ENDED:
    case SCAN_STATE_NR:
        break;
    }
}

/* ---- hearing ---- */

static void take_slot(struct key_scan *s, int64_t now_ms)
{
    if (s->slot == SLOT_NONE) {
        end(s, ORDER_DONE, 0, "");
    } else {
        sm_move(&s->sm, SCAN_LISTING, now_ms);
    }
}

static void hear_counts(struct key_scan *s, const struct reply_list *replies, int64_t now_ms)
{
    for (int i = 0; i < replies->count && s->slot != SLOT_NONE; i++) {
        int64_t count = replies->replies[i].integer;
        s->counts[s->slot] = count < 0 ? 0 : (uint32_t)count;
        s->keys += s->counts[s->slot];
        if (count > 0) {
            slotset_add(&s->filled, s->slot);
        } else {
            slotset_add(&s->done, s->slot);
        }
        s->slot = slotset_next(&s->order.slots, s->slot + 1);
    }
    if (s->slot == SLOT_NONE) {
        s->slot = slotset_next(&s->filled, 0);
        take_slot(s, now_ms);
    }
}

static void finish_slot(struct key_scan *s, int64_t now_ms)
{
    if (s->key_count > 0 && s->counts[s->slot] > (uint32_t)s->key_count) {
        s->slot_bytes = s->slot_bytes / (uint64_t)s->key_count * s->counts[s->slot];
    }
    s->bytes += s->slot_bytes;
    slotset_add(&s->done, s->slot);
    s->slot = slotset_next(&s->filled, s->slot + 1);
    take_slot(s, now_ms);
}

static void hear_listing(struct key_scan *s, const struct reply *reply, int64_t now_ms)
{
    strbuf_clear(&s->key_bytes);
    s->key_count = 0;
    s->sized = 0;
    s->slot_bytes = 0;
    strbuf_reserve(&s->key_bytes, 1);
    for (size_t i = 0; i < reply->count; i++) {
        ARRAY_RESERVE(s->key_args, s->key_count, s->key_capacity);
        s->key_args[s->key_count++] =
            (struct command_arg){.offset = s->key_bytes.len, .len = reply->items[i].len};
        strbuf_add(&s->key_bytes, reply->items[i].text, reply->items[i].len);
    }
    sm_move(&s->sm, SCAN_SIZING, now_ms);
    if (s->key_count == 0) {
        finish_slot(s, now_ms);
    }
}

static void note_big_key(struct key_scan *s, int key, int64_t bytes)
{
    if (bytes < SCAN_BIG_KEY_BYTES || s->big_key_count == BIG_KEYS_REPORTED_MAX) {
        return;
    }
    struct big_key *big = &s->big_keys[s->big_key_count++];
    key_text_format(big->key, s->key_bytes.data + s->key_args[key].offset, s->key_args[key].len);
    big->slot = (uint16_t)s->slot;
    big->bytes = bytes;
}

static void hear_sizes(struct key_scan *s, const struct reply_list *replies, int64_t now_ms)
{
    for (int i = 0; i < replies->count && s->sized < s->key_count; i++) {
        const struct reply *reply = &replies->replies[i];
        if (reply->type == REPLY_INTEGER && reply->integer > 0) {
            s->slot_bytes += (uint64_t)reply->integer;
            note_big_key(s, s->sized, reply->integer);
        }
        s->sized++;
    }
    sm_extend(&s->sm, now_ms);
    if (s->sized == s->key_count) {
        finish_slot(s, now_ms);
    }
}

static void hear(struct key_scan *s, const struct agent_event *ev)
{
    s->req_id = 0;
    const struct reply *error = NULL;
    for (int i = 0; ev->code == 0 && i < ev->replies->count && error == NULL; i++) {
        error = reply_is_error(&ev->replies->replies[i]) ? &ev->replies->replies[i] : NULL;
    }
    if (ev->code != 0 || error != NULL) {
        s->failures++;
        s->wake_ms = ev->now_ms + SCAN_RETRY_MS;
        bool is_auth =
            ev->code == ERR_AUTH || (error != NULL && redis_fault_of(error) == FAULT_AUTH);
        if (is_auth || s->failures >= SCAN_FAILURES_MAX) {
            char reason[TEXT_SIZE];
            (void)snprintf(reason, sizeof(reason), "scan at slot %d: %.100s", s->slot,
                           error != NULL ? error->text : err_word(ev->code));
            end(s, ORDER_FAILED, is_auth ? ERR_AUTH : ERR_UNAVAILABLE, reason);
        }
        return;
    }
    s->failures = 0;
    int64_t rest_ms = ev->latency_us * SCAN_REST_FACTOR / 1000;
    s->wake_ms = ev->now_ms + (rest_ms > 1 ? rest_ms : 1);
    switch ((enum scan_state)s->sm.state) {
    case SCAN_COUNTING:
        hear_counts(s, ev->replies, ev->now_ms);
        break;
    case SCAN_LISTING:
        if (ev->replies->count == 1) {
            hear_listing(s, &ev->replies->replies[0], ev->now_ms);
        }
        break;
    case SCAN_SIZING:
        hear_sizes(s, ev->replies, ev->now_ms);
        break;
    case SCAN_ENDED:
    case SCAN_STATE_NR:
        break;
    }
}

void key_scan_step(struct key_scan *s, const struct agent_event *event, struct agent_effects *fx)
{
    if (s->sm.state == SCAN_ENDED) {
        return;
    }
    if (event->kind == AGENT_REDIS && event->req_id == s->req_id) {
        hear(s, event);
    }
    if (s->sm.state != SCAN_ENDED && s->req_id == 0 && s->slot == SLOT_NONE) {
        end(s, ORDER_DONE, 0, "");
    }
    if (s->sm.state != SCAN_ENDED && s->req_id == 0 && event->now_ms >= s->wake_ms) {
        ask_next(s, fx);
    }
}

int64_t key_scan_deadline(const struct key_scan *s)
{
    return s->sm.state == SCAN_ENDED ? NEVER
                                     : s->wake_ms; /* a request on its way is always answered */
}

bool key_scan_is_over(const struct key_scan *s)
{
    return s->sm.state == SCAN_ENDED;
}

void key_scan_status(const struct key_scan *s, struct order_status *status)
{
    *status = (struct order_status){
        .id = s->order.id,
        .state = key_scan_is_over(s) ? s->result : ORDER_RUNNING,
        .slots_done = s->done,
        .keys_moved = s->keys,
        .bytes_moved = s->bytes,
        .call_us_p50 = -1,
        .call_us_max = -1,
        .retries = (uint64_t)s->failures,
        .is_replica_synced = true,
        .reason_code = s->reason_code,
        .big_key_count = s->big_key_count,
    };
    memcpy(status->big_keys, s->big_keys, sizeof(status->big_keys));
    (void)snprintf(status->reason, sizeof(status->reason), "%s",
                   key_scan_is_over(s) ? s->reason : sm_name(&s->sm));
}
