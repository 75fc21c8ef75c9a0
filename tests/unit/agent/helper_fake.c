/* helper_fake.c — see helper_fake.h. */
#include "helper_fake.h"

#include "agent/core/mover_script.h"

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define REPLICA_ROW "%040d 10.0.0.9:7000@17000 "
#define FAKE_EPOCH_MS INT64_C(1700000000000) /* what clocks show when the fake's time is 0 */

/* ---- commands ---- */

struct call {
    struct fake *fake;
    int n;
    struct fake_node *node;
    const struct command_list *commands;
    int index;
    struct reply_list *replies;
    int code; /* not 0: the connection broke */
};

static const char *word(const struct call *call, int arg)
{
    static char texts[8][64];
    static int next = 0;
    next = (next + 1) % 8;
    if (arg >= call->commands->commands[call->index].arg_count) {
        return "";
    }
    size_t len = 0;
    const char *data = commands_get(call->commands, call->index, arg, &len);
    (void)snprintf(texts[next], sizeof(texts[next]), "%.*s", (int)(len < 63 ? len : 63), data);
    return texts[next];
}

static void say(struct call *call, enum reply_type type, const char *text)
{
    reply_set_text(call->replies, &call->replies->replies[call->replies->count - 1], type, text,
                   strlen(text));
}

static void say_integer(struct call *call, int64_t value)
{
    struct reply *reply = &call->replies->replies[call->replies->count - 1];
    reply->type = REPLY_INTEGER;
    reply->text = "";
    reply->integer = value;
}

static void add_slots(struct strbuf *text, const struct fake_node *node, int owner)
{
    for (int slot = 0; slot < SLOT_COUNT; slot++) {
        if (node->owner[slot] != owner) {
            continue;
        }
        int last = slot;
        while (last + 1 < SLOT_COUNT && node->owner[last + 1] == owner) {
            last++;
        }
        strbuf_addf(text, slot == last ? " %d" : " %d-%d", slot, last);
        slot = last;
    }
}

/* The replica's own view: the owners as its primary sees them, and its mark. */
static void replica_nodes(struct call *call)
{
    const struct fake *fake = call->fake;
    const struct fake_replica *replica = &fake->replica;
    struct strbuf text = {0};
    for (int i = 0; i < FAKE_NODES; i++) {
        const struct fake_node *row = &fake->nodes[i];
        strbuf_addf(&text, "%s %s:%d@1%d master - 0 1 %d connected", row->id.text,
                    row->address.host, row->address.port, row->address.port, row->config_epoch);
        add_slots(&text, &fake->nodes[replica->primary], i);
        strbuf_add_char(&text, '\n');
    }
    strbuf_addf(&text, REPLICA_ROW "myself,slave %s 0 1 3 connected", FAKE_REPLICA,
                fake->nodes[replica->primary].id.text);
    if (replica->slot != SLOT_NONE) {
        strbuf_addf(&text, " [%d-%c-%s]", replica->slot, replica->is_importing ? '<' : '>',
                    fake->nodes[replica->peer].id.text);
    }
    strbuf_add_char(&text, '\n');
    say(call, REPLY_STRING, strbuf_text(&text));
    strbuf_release(&text);
}

static void cluster_nodes(struct call *call)
{
    if (call->n == FAKE_REPLICA) {
        replica_nodes(call);
        return;
    }
    struct strbuf text = {0};
    for (int i = 0; i < FAKE_NODES; i++) {
        const struct fake_node *row = &call->fake->nodes[i];
        bool is_replica =
            call->n == 0 ? call->fake->has_replica : call->n == 1 && call->fake->target_has_replica;
        if (is_replica && i == 2) {
            strbuf_addf(&text, "%s %s:%d@1%d slave %s 0 1 1 connected\n", row->id.text,
                        row->address.host, row->address.port, row->address.port,
                        call->node->id.text);
            continue;
        }
        strbuf_addf(&text, "%s %s:%d@1%d %smaster%s - 0 %lld %d connected", row->id.text,
                    row->address.host, row->address.port, row->address.port,
                    i == call->n ? "myself," : "",
                    i == call->node->failing_node && call->node->failing_slots > 0 ? ",fail?" : "",
                    (long long)call->fake->now_ms, row->config_epoch);
        add_slots(&text, call->node, i);
        for (int slot = 0; i == call->n && slot < SLOT_COUNT; slot++) {
            if (call->node->migrating[slot] >= 0) {
                strbuf_addf(&text, " [%d->-%s]", slot,
                            call->fake->nodes[call->node->migrating[slot]].id.text);
            }
            if (call->node->importing[slot] >= 0) {
                strbuf_addf(&text, " [%d-<-%s]", slot,
                            call->fake->nodes[call->node->importing[slot]].id.text);
            }
        }
        strbuf_add_char(&text, '\n');
    }
    if (call->fake->is_valkey) {
        strbuf_addf(&text, REPLICA_ROW "slave %s 0 1 3 connected\n", FAKE_REPLICA,
                    call->fake->nodes[call->fake->replica.primary].id.text);
    }
    say(call, REPLY_STRING, strbuf_text(&text));
    strbuf_release(&text);
}

static void info(struct call *call)
{
    struct strbuf text = {0};
    if (call->fake->is_valkey) {
        strbuf_addf(&text, "%s", "# Server\r\nserver_name:valkey\r\nvalkey_version:8.0.1\r\n");
    }
    strbuf_addf(
        &text,
        "# Server\r\nredis_version:7.0.15\r\nrun_id:%s\r\n# "
        "Memory\r\nused_memory:1000000\r\nmaxmemory:%lld\r\n"
        "used_memory_dataset:500000\r\nmaxmemory_policy:%s\r\n# Persistence\r\nloading:0\r\n"
        "# Replication\r\nrole:master\r\nconnected_slaves:0\r\nmaster_repl_offset:0\r\n"
        "# Cluster\r\ncluster_enabled:1\r\n",
        call->node->run_id, (long long)call->node->maxmemory_bytes, call->node->policy);
    say(call, REPLY_STRING, strbuf_text(&text));
    strbuf_release(&text);
}

static void cluster_info(struct call *call)
{
    char text[256];
    (void)snprintf(text, sizeof(text),
                   "cluster_state:%s\r\ncluster_slots_pfail:%d\r\ncluster_slots_fail:0\r\n"
                   "cluster_known_nodes:%d\r\ncluster_current_epoch:%d\r\ncluster_my_epoch:%d\r\n",
                   call->node->is_state_fail ? "fail" : "ok", call->node->failing_slots, FAKE_NODES,
                   call->node->current_epoch, call->node->config_epoch);
    say(call, REPLY_STRING, text);
}

static int node_of(const struct call *call, const char *id)
{
    for (int i = 0; i < FAKE_NODES; i++) {
        if (strcmp(call->fake->nodes[i].id.text, id) == 0) {
            return i;
        }
    }
    return -1;
}

/* The claim of a slot that is imported raises the config epoch to one above what the node has heard
 * of, unless it is the highest. */
static void claim(const struct call *call, int slot)
{
    struct fake_node *node = call->node;
    int from = node->importing[slot];
    const struct fake_node *source = &call->fake->nodes[from];
    if (node->config_epoch != node->current_epoch) {
        node->config_epoch = ++node->current_epoch;
    }
    /* A real source takes the slot back with its next message, and the target drops the keys. */
    if (from != call->n && source->owner[slot] == from &&
        node->config_epoch <= source->config_epoch) {
        fail_msg("slot %d was claimed with a config epoch not above the source's", slot);
    }
}

/* SETSLOT as Redis 7.0.15 does it, with the gossip that follows cut short: others learn only by
 * being told. */
static void setslot(struct call *call)
{
    int slot = (int)strtol(word(call, 2), NULL, 10);
    const char *verb = word(call, 3);
    int other = node_of(call, word(call, 4));
    struct fake_node *node = call->node;
    struct fake_replica *replica = &call->fake->replica;
    bool is_closing = strcmp(verb, "STABLE") == 0 || strcmp(verb, "NODE") == 0;
    bool is_passed_on = replica->primary == call->n && !replica->is_link_down && !replica->is_down;
    if (call->fake->is_valkey && is_closing && is_passed_on && replica->slot == slot) {
        replica->slot = SLOT_NONE;
    }
    if (strcmp(verb, "STABLE") == 0) {
        node->importing[slot] = -1;
        node->migrating[slot] = -1;
    } else if (strcmp(verb, "IMPORTING") == 0 && node->owner[slot] == call->n) {
        say(call, REPLY_ERROR, "ERR I'm already the owner of hash slot");
        return;
    } else if (strcmp(verb, "IMPORTING") == 0) {
        node->importing[slot] = other;
    } else if (strcmp(verb, "MIGRATING") == 0 && node->owner[slot] != call->n) {
        say(call, REPLY_ERROR, "ERR I'm not the owner of hash slot");
        return;
    } else if (strcmp(verb, "MIGRATING") == 0) {
        node->migrating[slot] = other;
    } else {
        if (node->owner[slot] == call->n && other != call->n &&
            fake_count(call->fake, call->n, slot) > 0) {
            say(call, REPLY_ERROR,
                "ERR Can't assign hashslot to a different node while I still hold keys");
            return;
        }
        /* A real source deletes what it still holds as soon as it hears of the target's claim (F1).
         */
        if (other == call->n && fake_count(call->fake, 0, slot) > 0) {
            fail_msg("slot %d was claimed while the source held keys of it", slot);
        }
        if (other == call->n && node->importing[slot] >= 0) {
            claim(call, slot);
        }
        node->owner[slot] = other;
        node->migrating[slot] = -1;
        node->importing[slot] = -1;
    }
    say(call, REPLY_STATUS, "OK");
}

static void get_keys(struct call *call)
{
    int slot = (int)strtol(word(call, 2), NULL, 10);
    int limit = (int)strtol(word(call, 3), NULL, 10);
    int count = fake_count(call->fake, call->n, slot);
    count = count < limit ? count : limit;
    struct reply *reply = &call->replies->replies[call->replies->count - 1];
    reply_set_array(call->replies, reply, (size_t)count);
    for (int i = 0, k = 0; k < count; i++) {
        const struct fake_key *key = &call->fake->keys[i];
        if (key->node == call->n && key->slot == slot) {
            reply_set_text(call->replies, &reply->items[k++], REPLY_STRING, key->name,
                           strlen(key->name));
        }
    }
}

static struct fake_key *find_key(const struct call *call, int node, const char *name)
{
    for (int i = 0; i < call->fake->key_count; i++) {
        if (call->fake->keys[i].node == node && strcmp(call->fake->keys[i].name, name) == 0) {
            return &call->fake->keys[i];
        }
    }
    return NULL;
}

static void drop_key(struct call *call, struct fake_key *key)
{
    *key = call->fake->keys[--call->fake->key_count];
}

static void migrate(struct call *call)
{
    int argc = call->commands->commands[call->index].arg_count;
    int at = 6;
    bool has_replace = strcmp(word(call, at), "REPLACE") == 0;
    at += has_replace;
    int target = -1;
    for (int i = 0; i < FAKE_NODES; i++) {
        target = strcmp(call->fake->nodes[i].address.host, word(call, 1)) == 0 ? i : target;
    }
    assert_string_equal(word(call, at), "KEYS");
    bool is_busy = false;
    int moved = 0;
    for (int i = at + 1; i < argc; i++) {
        struct fake_key *key = find_key(call, call->n, word(call, i));
        if (key == NULL) {
            continue;
        }
        struct fake_node *to = &call->fake->nodes[target];
        if (to->importing[key->slot] != call->n && to->owner[key->slot] != target) {
            say(call, REPLY_ERROR, "ERR Target instance replied with error: MOVED 1 10.0.0.1:7000");
            return;
        }
        struct fake_key *copy = find_key(call, target, key->name);
        if (copy != NULL && !has_replace) {
            is_busy = true;
            continue;
        }
        if (copy != NULL) {
            copy->value = key->value;
            drop_key(call, find_key(call, call->n, word(call, i)));
        } else {
            key->node = target;
        }
        moved++;
    }
    if (is_busy) {
        say(call, REPLY_ERROR,
            "ERR Target instance replied with error: BUSYKEY Target key name already exists.");
    } else {
        say(call, REPLY_STATUS, moved > 0 ? "OK" : "NOKEY");
    }
}

static void dump(struct call *call)
{
    const struct fake_key *key = find_key(call, call->n, word(call, 1));
    if (key != NULL) {
        char text[32];
        (void)snprintf(text, sizeof(text), "value %d", key->value);
        say(call, REPLY_STRING, text);
    }
}

static void role(struct call *call)
{
    bool is_replica = call->n == FAKE_REPLICA || (call->n == 2 && !call->fake->replica_is_promoted);
    struct reply *reply = &call->replies->replies[call->replies->count - 1];
    reply_set_array(call->replies, reply, is_replica ? 5 : 3);
    reply_set_text(call->replies, &reply->items[0], REPLY_STRING, is_replica ? "slave" : "master",
                   is_replica ? 5 : 6);
    struct reply *offset = &reply->items[is_replica ? 4 : 1];
    *offset = (struct reply){.type = REPLY_INTEGER, .text = "", .integer = 1000};
    if (is_replica) {
        reply_set_text(call->replies, &reply->items[3], REPLY_STRING, "connected", 9);
    }
}

static int64_t clock_us(const struct call *call)
{
    return (FAKE_EPOCH_MS + call->fake->now_ms + call->node->clock_ms) * 1000;
}

static void tell_time(struct call *call)
{
    char seconds[24];
    char rest[24];
    (void)snprintf(seconds, sizeof(seconds), "%lld", (long long)(clock_us(call) / 1000000));
    (void)snprintf(rest, sizeof(rest), "%lld", (long long)(clock_us(call) % 1000000));
    struct reply *reply = &call->replies->replies[call->replies->count - 1];
    reply_set_array(call->replies, reply, 2);
    reply_set_text(call->replies, &reply->items[0], REPLY_STRING, seconds, strlen(seconds));
    reply_set_text(call->replies, &reply->items[1], REPLY_STRING, rest, strlen(rest));
}

static void carry_out(struct call *call);
static void execute(struct call *call);

/* The marks that the script sets and takes away: no lines in the log. True unless it is an error.
 */
static bool script_mark(struct call *call, int arg, const char *verb)
{
    struct command_list commands = {0};
    struct reply_list replies = {0};
    struct call inner = {call->fake, call->n, call->node, &commands, 0, &replies, 0};
    bool has_source = strcmp(verb, "IMPORTING") == 0;
    commands_add(&commands, "CLUSTER", "SETSLOT", word(call, arg), verb,
                 has_source ? word(call, 6) : NULL, (char *)NULL);
    (void)replies_add(&replies);
    execute(&inner);
    bool is_done = !reply_is_error(&replies.replies[0]);
    commands_release(&commands);
    replies_release(&replies);
    return is_done;
}

/* One command of the script, with a line of the log and faults of its own. */
static void script_setslot(struct call *call, int arg, struct reply *answer)
{
    struct command_list commands = {0};
    struct reply_list replies = {0};
    struct call inner = {call->fake, call->n, call->node, &commands, 0, &replies, 0};
    commands_add(&commands, "CLUSTER", "SETSLOT", word(call, arg), "NODE", word(call, 5),
                 (char *)NULL);
    carry_out(&inner);
    call->code = inner.code;
    const struct reply *made = &replies.replies[0];
    reply_set_text(call->replies, answer, made->type, made->text, made->len);
    commands_release(&commands);
    replies_release(&replies);
}

/* The claim as a script, the only one that it knows. */
static void eval(struct call *call)
{
    size_t len = 0;
    const char *script = commands_get(call->commands, call->index, 1, &len);
    assert_int_equal(len, sizeof(MOVER_CLAIM_SCRIPT) - 1);
    assert_memory_equal(script, MOVER_CLAIM_SCRIPT, len);
    assert_string_equal(word(call, 2), "0");
    assert_false(call->fake->is_valkey); /* the 8.0.1 server dies of it */
    if (clock_us(call) < strtoll(word(call, 3), NULL, 10) ||
        clock_us(call) > strtoll(word(call, 4), NULL, 10)) {
        say(call, REPLY_ERROR, "LATE the claim is not of this time");
        return;
    }
    int slots = call->commands->commands[call->index].arg_count - 7;
    struct reply *reply = &call->replies->replies[call->replies->count - 1];
    reply_set_array(call->replies, reply, (size_t)slots);
    bool is_marked[SLOT_COUNT];
    int last = -1;
    assert_in_range(slots, 1, SLOT_COUNT);
    for (int i = 0; i < slots; i++) {
        is_marked[i] = script_mark(call, i + 7, "IMPORTING");
        last = is_marked[i] ? i : last;
    }
    for (int i = 0; i < slots && call->code == 0; i++) {
        if (i != last && is_marked[i]) {
            (void)script_mark(call, i + 7, "STABLE");
        }
        if (i != last) {
            script_setslot(call, i + 7, &reply->items[i]);
        }
    }
    if (last >= 0 && call->code == 0) {
        script_setslot(call, last + 7, &reply->items[last]);
    }
}

static void execute(struct call *call)
{
    const char *first = word(call, 0);
    const char *second = word(call, 1);
    if (strcmp(first, "TIME") == 0) {
        tell_time(call);
    } else if (strcmp(first, "EVAL") == 0) {
        eval(call);
    } else if (strcmp(first, "CLUSTER") == 0 && strcmp(second, "NODES") == 0) {
        cluster_nodes(call);
    } else if (strcmp(first, "CLUSTER") == 0 && strcmp(second, "INFO") == 0) {
        cluster_info(call);
    } else if (strcmp(first, "ROLE") == 0) {
        role(call);
    } else if (strcmp(first, "INFO") == 0) {
        info(call);
    } else if (strcmp(first, "CLUSTER") == 0 && strcmp(second, "SETSLOT") == 0) {
        setslot(call);
    } else if (strcmp(second, "COUNTKEYSINSLOT") == 0) {
        say_integer(call, fake_count(call->fake, call->n, (int)strtol(word(call, 2), NULL, 10)));
    } else if (strcmp(second, "GETKEYSINSLOT") == 0) {
        get_keys(call);
    } else if (strcmp(first, "MEMORY") == 0) {
        const struct fake_key *key = find_key(call, call->n, word(call, 2));
        if (key != NULL) {
            say_integer(call, key->bytes);
        }
    } else if (strcmp(first, "MIGRATE") == 0) {
        migrate(call);
    } else if (strcmp(first, "DUMP") == 0) {
        dump(call);
    } else if (strcmp(first, "UNLINK") == 0) {
        struct fake_key *key = find_key(call, call->n, second);
        say_integer(call, key != NULL);
        if (key != NULL) {
            drop_key(call, key);
        }
    } else if (strcmp(first, "ASKING") == 0 || strcmp(first, "PING") == 0) {
        say(call, REPLY_STATUS, "OK");
    } else {
        fail_msg("the fake does not know %s %s", first, second);
    }
}

static void write_log(struct call *call)
{
    strbuf_addf(&call->fake->log, "%d", call->n);
    int argc = call->commands->commands[call->index].arg_count;
    for (int i = 0; i < argc && i < 8; i++) {
        if (i == 1 && strcmp(word(call, 0), "EVAL") == 0) {
            strbuf_add_text(&call->fake->log, " <claim>");
            continue;
        }
        int node = node_of(call, word(call, i));
        if (node >= 0) {
            strbuf_addf(&call->fake->log, " <%d>", node);
        } else {
            strbuf_addf(&call->fake->log, " %s", word(call, i));
        }
    }
    strbuf_add_char(&call->fake->log, '\n');
}

static struct fake_fault *find_fault(struct call *call)
{
    struct strbuf text = {0};
    for (int i = 0; i < 5; i++) {
        strbuf_addf(&text, i == 0 ? "%s" : " %s", word(call, i));
    }
    struct fake_fault *found = NULL;
    for (int i = 0; i < call->fake->fault_count && found == NULL; i++) {
        struct fake_fault *fault = &call->fake->faults[i];
        bool is_same = strncmp(strbuf_text(&text), fault->command, strlen(fault->command)) == 0;
        if (fault->count > 0 && fault->node == call->n && is_same) {
            found = fault;
        }
    }
    strbuf_release(&text);
    return found;
}

static void carry_out(struct call *call)
{
    write_log(call);
    struct fake_fault *fault = find_fault(call);
    (void)replies_add(call->replies);
    call->replies->replies[call->replies->count - 1].text = "";
    if (fault == NULL || fault->is_done_too) {
        execute(call);
    }
    if (fault == NULL) {
        return;
    }
    fault->count--;
    if (fault->error[0] == '\0') {
        call->node->connection_id++;
        call->code = ERR_UNAVAILABLE;
    } else {
        say(call, REPLY_ERROR, fault->error);
    }
}

/* ---- requests ---- */

void fake_take(struct fake *fake, struct agent_effects *fx)
{
    for (int i = 0; i < fx->count; i++) {
        if (fx->items[i].kind == AGENT_FX_REDIS) {
            assert_true(fake->flight_count < 256);
            fake->flights[fake->flight_count++] = fx->items[i];
            fx->items[i].commands = (struct command_list){0};
        } else if (fx->items[i].kind == AGENT_FX_LOG) {
            strbuf_addf(&fake->events, "%s\n", fx->items[i].log.name);
        }
    }
}

static int fail_with(struct agent_event *event, int code)
{
    event->code = code;
    return code;
}

static int serve_replica(struct fake *fake,
                         const struct agent_effect *effect,
                         struct reply_list *replies)
{
    for (int i = 0; i < effect->commands.count; i++) {
        struct call call = {fake, FAKE_REPLICA, NULL, &effect->commands, i, replies, 0};
        assert_false(commands_arg_is(&effect->commands, i, 1, "SETSLOT")); /* a real one refuses */
        carry_out(&call);
    }
    return 0;
}

static int serve(struct fake *fake,
                 const struct agent_effect *effect,
                 struct agent_event *event,
                 struct reply_list *replies)
{
    int n = -1;
    for (int i = 0; i < FAKE_NODES; i++) {
        n = address_is_equal(&fake->nodes[i].address, &effect->address) ? i : n;
    }
    bool is_replica = fake->is_valkey && strcmp(effect->address.host, "10.0.0.9") == 0;
    if (is_replica && !fake->replica.is_down) {
        return serve_replica(fake, effect, replies);
    }
    struct fake_node *node = n >= 0 ? &fake->nodes[n] : NULL;
    if (node == NULL || node->is_down) {
        return fail_with(event, ERR_UNAVAILABLE);
    }
    event->connection_id = node->connection_id * 10 + (uint64_t)effect->lane;
    if (effect->connection_id != 0 && effect->connection_id != event->connection_id) {
        return fail_with(event, ERR_UNAVAILABLE);
    }
    for (int i = 0; i < effect->commands.count; i++) {
        struct call call = {fake, n, node, &effect->commands, i, replies, 0};
        carry_out(&call);
        if (call.code != 0) {
            return fail_with(event, call.code);
        }
    }
    return 0;
}

bool fake_answer(struct fake *fake, struct agent_event *event, struct reply_list *replies)
{
    if (fake->flight_count == 0) {
        return false;
    }
    struct agent_effect effect = fake->flights[0];
    fake->flight_count--;
    memmove(&fake->flights[0], &fake->flights[1],
            (size_t)fake->flight_count * sizeof(fake->flights[0]));
    fake->now_ms++;
    *event = (struct agent_event){.kind = AGENT_REDIS,
                                  .now_ms = fake->now_ms,
                                  .req_id = effect.req_id,
                                  .replies = replies,
                                  .latency_us = 300};
    (void)serve(fake, &effect, event, replies);
    commands_release(&effect.commands);
    return true;
}

void fake_run(struct fake *fake, struct slot_mover *mover, int steps)
{
    int limit = steps < 0 ? 200000 : steps;
    for (int i = 0; i < limit && !slot_mover_is_over(mover); i++) {
        struct agent_effects fx = {0};
        struct reply_list replies = {0};
        struct agent_event event = {.kind = AGENT_TICK};
        if (fake->now_ms >= slot_mover_deadline(mover) || !fake_answer(fake, &event, &replies)) {
            int64_t deadline_ms = slot_mover_deadline(mover);
            assert_true(deadline_ms != NEVER);
            fake->now_ms = deadline_ms > fake->now_ms ? deadline_ms : fake->now_ms;
            event = (struct agent_event){.kind = AGENT_TICK, .now_ms = fake->now_ms};
        }
        slot_mover_step(mover, &event, &fx);
        fake_take(fake, &fx);
        agent_effects_release(&fx);
        replies_release(&replies);
    }
    assert_true(steps >= 0 || slot_mover_is_over(mover));
}
