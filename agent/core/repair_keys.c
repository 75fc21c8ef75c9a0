/* repair_keys.c — keys of one slot that lie at a node which does not own it are brought to the
 * owner.
 *
 *   list -> size -> [compare -> drop] -> move -> list ... until the holder names no key
 *
 * The holder has a mark that names the owner, so it runs MIGRATE; the owner takes RESTORE because
 * it owns the slot. Clients are served by the owner all the while, so its copy is the living one:
 * never REPLACE. A key that is on both sides is compared by DUMP; if the two are equal, or the
 * order says that the owner's counts, the holder's is deleted; else the slot is held with both
 * copies where they are. Source: docs/lifecycle.md "Rules of repair"; facts F10, F12, F13. */
#include "agent/core/repair_machine.h"

#include "common/base/alloc.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LIST_KEYS 100
#define COMPARE_KEYS_MAX 16
#define COMPARE_BYTES_MAX \
    (64LL * 1024 * 1024) /* one value of this size travels through the agent; no larger */
#define FETCH_FAILURES_MAX 5
#define FETCH_RETRY_MS_BASE 100
#define FETCH_RETRY_MS_CAP 2000
#define CALL_STEPS 4 /* MIGRATE's timeout is per step of I/O; connect, send, restore, answer */
#define CALL_MARGIN_MS 2000
#define BYTES_GONE (-1)
#define COMPARE_FAILED (-1) /* of answers */

void repair_fetch_release(struct repair *r)
{
    strbuf_release(&r->fetch.bytes);
    strbuf_release(&r->fetch.values);
    free(r->fetch.keys);
    r->fetch = (struct repair_fetch){0};
}

static struct command_list *ask(struct repair *r,
                                struct agent_effects *fx,
                                enum fetch_phase phase,
                                bool is_owner)
{
    struct repair_fetch *f = &r->fetch;
    int64_t timeout_ms = REPAIR_ASK_TIMEOUT_MS;
    if (phase == FETCH_MOVE) {
        timeout_ms =
            CALL_STEPS * governor_timeout_ms(&r->governor, f->batch_bytes) + CALL_MARGIN_MS;
    } else if (phase == FETCH_COMPARE) {
        timeout_ms = governor_timeout_ms(&r->governor, f->batch_bytes) + REPAIR_ASK_TIMEOUT_MS;
    }
    f->phase = phase;
    struct repair_request request = {.kind = REPAIR_ASK_KEYS,
                                     .index = is_owner ? 1 : 0,
                                     .is_harmless = phase != FETCH_DROP && phase != FETCH_MOVE};
    struct repair_where where = {.address = &r->picture.nodes[is_owner ? f->to : f->from].address,
                                 .lane = LANE_COPY,
                                 .timeout_ms = timeout_ms};
    return repair_ask(r, fx, &request, &where);
}

static const char *key_at(const struct repair_fetch *f, int index)
{
    return f->bytes.data + f->keys[index].offset;
}

/* A command about one key at the holder, which does not own it. */
static void add_for_key(struct repair *r,
                        struct command_list *commands,
                        const char *words[2],
                        int index)
{
    commands_add(commands, "ASKING", (char *)NULL);
    commands_begin(commands);
    commands_arg_text(commands, words[0]);
    if (words[1] != NULL) {
        commands_arg_text(commands, words[1]);
    }
    commands_arg(commands, key_at(&r->fetch, index), r->fetch.keys[index].len);
}

/* ---- listing ---- */

static void list_begin(struct repair *r, struct agent_effects *fx)
{
    struct repair_fetch *f = &r->fetch;
    r->wake_ms = NEVER;
    f->key_count = 0;
    f->batch_first = 0;
    f->batch_count = 0;
    strbuf_clear(&f->bytes);
    struct command_list *commands = ask(r, fx, FETCH_LIST, false);
    commands_add(commands, "CLUSTER", "NODES", (char *)NULL);
    words_list_keys(commands, f->slot, LIST_KEYS);
}

void repair_fetch_begin(struct repair *r, struct agent_effects *fx, int slot, int from, int to)
{
    repair_fetch_release(r);
    r->fetch.slot = slot;
    r->fetch.from = from;
    r->fetch.to = to;
    repair_say(r, "brings the keys of slot %d from %.12s to their owner %.12s", slot,
               r->picture.nodes[from].id.text, r->picture.nodes[to].id.text);
    list_begin(r, fx);
}

/* Trouble: again after a rest, or another time. */
static void retry(struct repair *r, struct agent_effects *fx, int code, const char *what)
{
    struct repair_fetch *f = &r->fetch;
    f->failures++;
    r->retries++;
    struct log_event *log = repair_log(r, fx, LOG_WARN, "repair.retry");
    log_event_add_int(log, "slot", f->slot);
    log_event_add(log, "reason", what);
    if (code == ERR_AUTH) {
        repair_fail(r, fx, code, what);
        return;
    }
    if (f->failures >= FETCH_FAILURES_MAX) {
        repair_hold_slot(r, fx, f->slot, code, what);
        repair_fetch_over(r, fx);
        return;
    }
    f->phase = FETCH_LIST;
    r->wake_ms =
        r->now_ms + prng_backoff_ms(&r->prng, f->failures, FETCH_RETRY_MS_BASE, FETCH_RETRY_MS_CAP);
}

static void hold(struct repair *r, struct agent_effects *fx, const char *reason)
{
    repair_hold_slot(r, fx, r->fetch.slot, ERR_CONFLICT, reason);
    repair_fetch_over(r, fx);
}

/* The holder's own view: it still sees that owner, and where. */
static bool read_owner(struct repair *r, const struct reply *reply)
{
    struct repair_fetch *f = &r->fetch;
    struct nodes_view view = {0};
    if (reply->type != REPLY_STRING ||
        nodes_view_parse(&view, reply->text, reply->len, NULL) != 0) {
        return false;
    }
    int row = nodes_view_find(&view, &r->picture.nodes[f->to].id);
    if (row != NODES_NO_ROW) {
        nodes_row_address(&view.rows[row], &f->target);
    }
    bool is_same = view.myself != NODES_NO_ROW &&
                   node_id_is_equal(&view.rows[view.myself].id, &r->picture.nodes[f->from].id);
    nodes_view_release(&view);
    return row != NODES_NO_ROW && is_same && f->target.port != 0 && f->target.host[0] != '\0';
}

static void size_begin(struct repair *r, struct agent_effects *fx)
{
    const char *words[2] = {"MEMORY", "USAGE"};
    struct command_list *commands = ask(r, fx, FETCH_SIZE, false);
    for (int i = 0; i < r->fetch.key_count; i++) {
        add_for_key(r, commands, words, i);
    }
}

static void list_answer(struct repair *r, const struct agent_event *ev, struct agent_effects *fx)
{
    struct repair_fetch *f = &r->fetch;
    const struct reply *replies = ev->replies->replies;
    if (ev->replies->count != 2 || replies[1].type != REPLY_ARRAY || !read_owner(r, &replies[0])) {
        retry(r, fx, ERR_UNAVAILABLE, "the holder of its keys does not know the owner");
        return;
    }
    strbuf_reserve(&f->bytes, 1);
    for (size_t i = 0; i < replies[1].count; i++) {
        ARRAY_RESERVE(f->keys, f->key_count, f->key_capacity);
        f->keys[f->key_count++] =
            (struct fetch_key){.offset = f->bytes.len, .len = replies[1].items[i].len};
        strbuf_add(&f->bytes, replies[1].items[i].text, replies[1].items[i].len);
    }
    if (f->key_count == 0) {
        repair_fetch_over(r, fx);
        return;
    }
    size_begin(r, fx);
}

/* ---- what goes next ---- */

static bool is_waiting(const struct fetch_key *key)
{
    return !key->is_sent && !key->is_doubled && key->bytes != BYTES_GONE;
}

/* The next few keys that 'is_next', up to the limits; a big one goes alone. */
static bool choose(struct repair *r, bool is_comparing)
{
    struct repair_fetch *f = &r->fetch;
    int64_t bytes_max = governor_batch_bytes(&r->governor);
    int first = 0;
    while (first < f->key_count &&
           !(is_waiting(&f->keys[first]) && (!is_comparing || !f->keys[first].is_compared))) {
        first++;
    }
    int keys_max =
        is_comparing ? COMPARE_KEYS_MAX : governor_batch_keys(&r->governor, f->key_count - first);
    f->batch_first = first;
    f->batch_count = 0;
    f->batch_bytes = 0;
    for (int i = first; i < f->key_count && f->batch_count < keys_max; i++) {
        bool is_next = is_waiting(&f->keys[i]) && !f->keys[i].is_compared == is_comparing;
        if (!is_comparing) {
            is_next = is_waiting(&f->keys[i]);
        }
        if (!is_next || (f->batch_count > 0 && f->batch_bytes + f->keys[i].bytes > bytes_max)) {
            break;
        }
        f->batch_count++;
        f->batch_bytes += f->keys[i].bytes;
    }
    return f->batch_count > 0;
}

static void move_begin(struct repair *r, struct agent_effects *fx)
{
    struct repair_fetch *f = &r->fetch;
    struct command_list *commands = ask(r, fx, FETCH_MOVE, false);
    words_migrate_begin(commands, &f->target, governor_timeout_ms(&r->governor, f->batch_bytes),
                        false, r->login.user, r->login.password);
    for (int i = f->batch_first; i < f->batch_first + f->batch_count; i++) {
        commands_arg(commands, key_at(f, i), f->keys[i].len);
        f->keys[i].is_sent = true;
    }
}

static void compare_begin(struct repair *r, struct agent_effects *fx)
{
    struct repair_fetch *f = &r->fetch;
    if (f->batch_bytes > COMPARE_BYTES_MAX) {
        hold(r, fx, "a key is on both sides and too big to compare");
        return;
    }
    const char *words[2] = {"DUMP", NULL};
    strbuf_clear(&f->values);
    f->answers = 0;
    int last = f->batch_first + f->batch_count;
    struct command_list *commands = ask(r, fx, FETCH_COMPARE, false);
    for (int i = f->batch_first; i < last; i++) {
        add_for_key(r, commands, words, i);
    }
    commands = ask(r, fx, FETCH_COMPARE, true);
    for (int i = f->batch_first; i < last; i++) {
        commands_begin(commands);
        commands_arg_text(commands, "DUMP");
        commands_arg(commands, key_at(f, i), f->keys[i].len);
    }
}

static bool drop_begin(struct repair *r, struct agent_effects *fx)
{
    struct repair_fetch *f = &r->fetch;
    struct command_list *commands = NULL;
    const char *words[2] = {"UNLINK", NULL};
    for (int i = 0; i < f->key_count; i++) {
        if (f->keys[i].is_doubled && !f->keys[i].is_sent) {
            if (commands == NULL) {
                commands = ask(r, fx, FETCH_DROP, false);
            }
            add_for_key(r, commands, words, i);
            f->keys[i].is_sent = true;
        }
    }
    return commands != NULL;
}

static void go_on(struct repair *r, struct agent_effects *fx)
{
    struct repair_fetch *f = &r->fetch;
    if (f->is_clashed && choose(r, true)) {
        compare_begin(r, fx);
        return;
    }
    if (drop_begin(r, fx)) {
        return;
    }
    if (choose(r, false)) {
        move_begin(r, fx);
        return;
    }
    if (f->is_conflicting) {
        hold(r, fx,
             "a key has different values at its owner and at a node that does not own it: decide "
             "which one counts");
        return;
    }
    list_begin(r, fx);
}

/* ---- answers ---- */

static void size_answer(struct repair *r, const struct agent_event *ev, struct agent_effects *fx)
{
    struct repair_fetch *f = &r->fetch;
    if (ev->replies->count != 2 * f->key_count) {
        retry(r, fx, ERR_PROTOCOL, "sizes of keys: answers are missing");
        return;
    }
    for (int i = 0; i < f->key_count; i++) {
        const struct reply *reply = &ev->replies->replies[2 * i + 1];
        f->keys[i].bytes = reply->type == REPLY_INTEGER ? reply->integer : BYTES_GONE;
    }
    go_on(r, fx);
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

static int64_t take_len(const struct strbuf *values, size_t *at)
{
    int64_t len = -1;
    if (*at + sizeof(len) <= values->len) {
        memcpy(&len, values->data + *at, sizeof(len));
    }
    *at += sizeof(len);
    return len;
}

static void judge_values(struct repair *r, const struct strbuf *holder, const struct strbuf *owner)
{
    struct repair_fetch *f = &r->fetch;
    bool owner_counts = (r->order.task.flags & TASK_REPLACE) != 0;
    size_t at = 0;
    size_t owner_at = 0;
    for (int i = f->batch_first; i < f->batch_first + f->batch_count; i++) {
        int64_t len = take_len(holder, &at);
        int64_t owner_len = take_len(owner, &owner_at);
        struct fetch_key *key = &f->keys[i];
        key->is_compared = true;
        bool is_equal = len >= 0 && len == owner_len &&
                        memcmp(holder->data + at, owner->data + owner_at, (size_t)len) == 0;
        if (len < 0) {
            key->bytes = BYTES_GONE;
        } else if (owner_len >= 0 && (is_equal || owner_counts)) {
            key->is_doubled = true;
        } else if (owner_len >= 0) {
            key->is_sent = true; /* stays where it is */
            f->is_conflicting = true;
        }
        at += len > 0 ? (size_t)len : 0;
        owner_at += owner_len > 0 ? (size_t)owner_len : 0;
    }
}

static void compare_answer(struct repair *r,
                           const struct repair_request *request,
                           const struct agent_event *ev,
                           struct agent_effects *fx)
{
    struct repair_fetch *f = &r->fetch;
    bool is_owner = request->index == 1;
    f->answers++;
    if (f->answers == 1) {
        keep_values(&f->values, ev->replies, is_owner ? 1 : 2);
        f->is_first_holders = !is_owner;
        return;
    }
    struct strbuf other = {0};
    keep_values(&other, ev->replies, is_owner ? 1 : 2);
    judge_values(r, f->is_first_holders ? &f->values : &other,
                 f->is_first_holders ? &other : &f->values);
    strbuf_release(&other);
    strbuf_release(&f->values);
    go_on(r, fx);
}

static void drop_answer(struct repair *r, const struct agent_event *ev, struct agent_effects *fx)
{
    for (int i = 1; i < ev->replies->count; i += 2) {
        r->keys_dropped += ev->replies->replies[i].integer == 1;
    }
    go_on(r, fx);
}

static void move_answer(struct repair *r, const struct agent_event *ev, struct agent_effects *fx)
{
    struct repair_fetch *f = &r->fetch;
    governor_called(&r->governor, ev->latency_us);
    if (!reply_has_prefix(&ev->replies->replies[0], "NOKEY")) {
        r->keys_moved += (uint64_t)f->batch_count;
        r->bytes_moved += (uint64_t)f->batch_bytes;
        r->is_replica_synced = false; /* the owner's replicas get them in their own time */
    }
    f->failures = 0;
    sm_extend(&r->sm, r->now_ms);
    go_on(r, fx);
}

static void refused(struct repair *r, const struct agent_event *ev, struct agent_effects *fx)
{
    struct repair_fetch *f = &r->fetch;
    char text[TEXT_SIZE];
    repair_describe(ev, text, sizeof(text));
    const struct reply *error = ev->code == 0 ? repair_first_error(ev->replies) : NULL;
    enum redis_fault fault = error != NULL ? redis_fault_of(error) : FAULT_IO;
    int code = ERR_UNAVAILABLE;
    switch (fault) {
    case FAULT_KEY_EXISTS: /* the other keys of the call have moved */
        if (!f->is_clashed) {
            f->is_clashed = true;
            list_begin(r, fx);
            return;
        }
        break; /* written at the owner between the comparison and the move: compare again */
    case FAULT_AUTH:
        code = ERR_AUTH;
        break;
    case FAULT_MEMORY:
        code = ERR_LIMIT;
        break;
    case FAULT_IO:
        governor_lost(&r->governor);
        break;
    case FAULT_OWNERSHIP: /* the picture is old: look again at everything */
        repair_fetch_release(r);
        repair_trouble(r);
        return;
    case FAULT_NONE:
    case FAULT_WAIT:
    case FAULT_OTHER:
        break;
    }
    retry(r, fx, ev->code == ERR_AUTH ? ERR_AUTH : code, text);
}

void repair_fetch_answer(struct repair *r,
                         const struct repair_request *request,
                         const struct agent_event *ev,
                         struct agent_effects *fx)
{
    const struct reply *error = ev->code == 0 ? repair_first_error(ev->replies) : NULL;
    if (ev->code != 0 || error != NULL || ev->replies->count == 0) {
        if (r->request_count == 0) {
            refused(r, ev, fx);
        } else {
            r->fetch.answers = COMPARE_FAILED; /* its other half is still on its way */
        }
        return;
    }
    if (r->fetch.phase == FETCH_COMPARE && r->fetch.answers == COMPARE_FAILED) {
        retry(r, fx, ERR_UNAVAILABLE, "comparing a key of both sides");
        return;
    }
    switch (r->fetch.phase) {
    case FETCH_LIST:
        list_answer(r, ev, fx);
        break;
    case FETCH_SIZE:
        size_answer(r, ev, fx);
        break;
    case FETCH_COMPARE:
        compare_answer(r, request, ev, fx);
        break;
    case FETCH_DROP:
        drop_answer(r, ev, fx);
        break;
    case FETCH_MOVE:
        move_answer(r, ev, fx);
        break;
    }
}

void repair_fetch_run(struct repair *r, struct agent_effects *fx)
{
    if (r->request_count == 0 && r->wake_ms != NEVER && r->now_ms >= r->wake_ms) {
        list_begin(r, fx);
    }
}
