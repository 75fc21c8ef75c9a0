/* helper_town.c — see helper_town.h. */
#include "helper_town.h"

#include "helper_town_rights.h"
#include "helper_town_text.h"

#include "common/base/alloc.h"

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define GOSSIP_MS 100
#define BAN_MS 60000
#define RUN_MS_MAX 600000

static int new_face(struct town *town, int node)
{
    assert_true(town->face_count < TOWN_FACES);
    int face = town->face_count++;
    town->faces[face] = (struct town_face){.node = node, .primary = -1};
    (void)snprintf(town->faces[face].id.text, sizeof(town->faces[face].id.text), "%040x",
                   0xa0 + face);
    return face;
}

void town_init(struct town *town)
{
    memset(town, 0, sizeof(*town));
    town->now_ms = 1000;
    for (int n = 0; n < TOWN_NODES; n++) {
        struct town_node *node = &town->nodes[n];
        (void)snprintf(node->address.host, sizeof(node->address.host), "10.0.0.%d", n + 1);
        node->address.port = 7000;
        node->version = "7.0.15";
        node->face = new_face(town, n);
        node->knows[node->face] = true;
        town->faces[node->face].epoch = n < 3 ? (uint64_t)n + 1 : 0;
    }
    for (int n = 0; n < 4; n++) {
        town_introduce(town, n);
    }
    town->faces[3].primary = 0;
    for (int slot = 0; slot < SLOT_COUNT; slot++) {
        town->owner[slot] = (int16_t)(slot * 3 / SLOT_COUNT);
    }
    for (int n = 0; n < 3; n++) {
        town->nodes[n].keys = 100;
    }
    town->nodes[3].keys = 100;
    town->nodes[3].filed_keys = 100;
}

void town_release(struct town *town)
{
    for (int i = 0; i < town->flight_count; i++) {
        commands_release(&town->flights[i].commands);
    }
    for (int face = 0; face < TOWN_FACES; face++) {
        strbuf_release(&town->slots[face]);
    }
    strbuf_release(&town->log);
}

struct town_fault *town_fault(struct town *town,
                              int node,
                              const char *command,
                              const char *error,
                              int count)
{
    struct town_fault *fault = &town->faults[town->fault_count++];
    *fault = (struct town_fault){.node = node, .count = count};
    (void)snprintf(fault->command, sizeof(fault->command), "%s", command);
    (void)snprintf(fault->error, sizeof(fault->error), "%s", error);
    return fault;
}

struct node_id town_id(const struct town *town, int node)
{
    return town->faces[town->nodes[node].face].id;
}

bool town_knows(const struct town *town, int node, int other)
{
    return town->nodes[node].knows[town->nodes[other].face];
}

void town_introduce(struct town *town, int node)
{
    for (int n = 0; n < TOWN_NODES; n++) {
        bool is_member = n == 0 || town->nodes[0].knows[town->nodes[n].face];
        if (is_member) {
            town->nodes[n].knows[town->nodes[node].face] = true;
            town->nodes[node].knows[town->nodes[n].face] = true;
        }
    }
}

int town_said_count(const struct town *town, const char *line_start)
{
    int count = 0;
    const char *log = strbuf_text(&town->log);
    for (const char *at = log; (at = strstr(at, line_start)) != NULL; at++) {
        count += at == log || at[-1] == '\n';
    }
    return count;
}

/* ---- gossip ---- */

static void learn(struct town *town, int node, int face, bool is_told)
{
    struct town_node *learner = &town->nodes[node];
    bool is_reachable =
        town_face_is_alive(town, face) && !town->nodes[town->faces[face].node].is_bus_shut;
    bool is_banned = town->now_ms < learner->banned_until_ms[face];
    if (is_reachable && (is_told || (!is_banned && !learner->is_deaf))) {
        learner->knows[face] = true;
    }
}

static void gossip(struct town *town)
{
    if (town->now_ms < town->gossiped_ms + GOSSIP_MS) {
        return;
    }
    town->gossiped_ms = town->now_ms;
    struct town_node before[TOWN_NODES];
    memcpy(before, town->nodes, sizeof(before));
    for (int a = 0; a < TOWN_NODES; a++) {
        for (int b = 0; b < TOWN_NODES; b++) {
            bool is_heard = !before[a].is_down && !before[b].is_down &&
                            before[a].knows[before[b].face] && before[b].knows[before[a].face];
            for (int face = 0; is_heard && face < town->face_count; face++) {
                if (before[b].knows[face]) {
                    learn(town, a, face, false);
                }
            }
        }
    }
}

/* ---- commands ---- */

struct call {
    struct town *town;
    int n;
    struct town_node *node;
    const struct command_list *commands;
    int index;
    struct reply_list *replies;
    char words[TOWN_WORDS][TOWN_WORD_SIZE];
};

static void say(struct call *call, enum reply_type type, const char *text)
{
    reply_set_text(call->replies, &call->replies->replies[call->replies->count - 1], type, text,
                   strlen(text));
}

static int face_of(const struct call *call, const char *id)
{
    for (int face = 0; face < call->town->face_count; face++) {
        if (strcmp(call->town->faces[face].id.text, id) == 0) {
            return face;
        }
    }
    return -1;
}

static void cluster_nodes(struct call *call)
{
    struct strbuf text = {0};
    town_nodes_text(call->town, call->node, &text);
    say(call, REPLY_STRING, strbuf_text(&text));
    strbuf_release(&text);
}

static void info(struct call *call)
{
    struct strbuf text = {0};
    town_info_text(call->town, call->n, &text);
    say(call, REPLY_STRING, strbuf_text(&text));
    strbuf_release(&text);
}

static void meet(struct call *call)
{
    for (int n = 0; n < TOWN_NODES; n++) {
        const struct town_node *other = &call->town->nodes[n];
        if (strcmp(other->address.host, call->words[2]) == 0 && !other->is_down) {
            learn(call->town, call->n, other->face, true);
            learn(call->town, n, call->node->face, true);
        }
    }
    say(call, REPLY_STATUS, "OK");
}

static int replica_count(const struct call *call, int face)
{
    int count = 0;
    for (int i = 0; i < call->town->face_count; i++) {
        count += call->town->faces[i].primary == face && town_face_is_current(call->town, i);
    }
    return count;
}

static void forget(struct call *call)
{
    int face = face_of(call, call->words[2]);
    if (face < 0 || !call->node->knows[face]) {
        say(call, REPLY_ERROR, "ERR Unknown node");
    } else if (face == call->node->face) {
        say(call, REPLY_ERROR, "ERR I tried hard but I can't forget myself...");
    } else if (call->town->faces[call->node->face].primary == face) {
        say(call, REPLY_ERROR, "ERR Can't forget my master!");
    } else {
        /* What no task may ever do. */
        for (int slot = 0; slot < SLOT_COUNT; slot++) {
            assert_int_not_equal(call->town->owner[slot], face);
        }
        assert_true(replica_count(call, face) == 0);
        call->node->knows[face] = false;
        call->node->banned_until_ms[face] = call->town->now_ms + BAN_MS;
        say(call, REPLY_STATUS, "OK");
    }
}

static void reset(struct call *call)
{
    struct town_node *node = call->node;
    if (call->town->faces[node->face].primary < 0 && node->keys > 0) {
        say(call, REPLY_ERROR,
            "ERR CLUSTER RESET can't be called with master nodes containing keys");
        return;
    }
    for (int slot = 0; slot < SLOT_COUNT; slot++) {
        assert_int_not_equal(call->town->owner[slot], node->face);
    }
    node->face = new_face(call->town, call->n);
    memset(node->knows, 0, sizeof(node->knows));
    node->knows[node->face] = true;
    node->keys = 0;
    say(call, REPLY_STATUS, "OK");
}

static void replicate(struct call *call)
{
    int face = face_of(call, call->words[2]);
    bool is_filled = call->town->faces[call->node->face].primary < 0 && call->node->keys > 0;
    if (face < 0 || !call->node->knows[face]) {
        say(call, REPLY_ERROR, "ERR Unknown node");
    } else if (is_filled) {
        say(call, REPLY_ERROR,
            "ERR To set a master the node must be empty and without assigned slots.");
    } else {
        call->town->faces[call->node->face].primary = face;
        call->node->keys = call->town->nodes[call->town->faces[face].node].keys;
        call->node->filed_keys = call->node->keys;
        say(call, REPLY_STATUS, "OK");
    }
}

static void fail_over(struct call *call)
{
    struct town *town = call->town;
    int own = call->node->face;
    int old = town->faces[own].primary;
    if (old < 0) {
        say(call, REPLY_ERROR, "ERR You should send CLUSTER FAILOVER to a replica");
        return;
    }
    for (int slot = 0; slot < SLOT_COUNT; slot++) {
        town->owner[slot] = town->owner[slot] == old ? (int16_t)own : town->owner[slot];
    }
    town->faces[own].primary = -1;
    town->faces[own].epoch = 50;
    town->faces[old].primary = own;
    say(call, REPLY_STATUS, "OK");
}

static int number(const struct call *call, int arg)
{
    char text[16];
    size_t len = 0;
    const char *data = commands_get(call->commands, call->index, arg, &len);
    (void)snprintf(text, sizeof(text), "%.*s", (int)len, data);
    return (int)strtol(text, NULL, 10);
}

static void add_slots(struct call *call, bool is_range)
{
    int argc = call->commands->commands[call->index].arg_count;
    if (is_range && call->node->has_no_ranges) {
        say(call, REPLY_ERROR, "ERR Unknown subcommand or wrong number of arguments");
        return;
    }
    for (int i = 2; i < argc; i += is_range ? 2 : 1) {
        int first = number(call, i);
        int last = is_range ? number(call, i + 1) : first;
        for (int slot = first; slot <= last; slot++) {
            assert_int_equal(call->town->owner[slot], -1); /* never one that somebody has */
            call->town->owner[slot] = (int16_t)call->node->face;
        }
    }
    say(call, REPLY_STATUS, "OK");
}

/* Only what somebody is believed to own, and never of one that lives. */
static void del_slots(struct call *call, bool is_range)
{
    int argc = call->commands->commands[call->index].arg_count;
    if (is_range && call->node->has_no_ranges) {
        say(call, REPLY_ERROR, "ERR Unknown subcommand or wrong number of arguments");
        return;
    }
    for (int i = 2; i < argc; i += is_range ? 2 : 1) {
        int first = number(call, i);
        int last = is_range ? number(call, i + 1) : first;
        for (int slot = first; slot <= last; slot++) {
            assert_int_not_equal(call->town->owner[slot], -1);
            assert_false(town_face_is_alive(call->town, call->town->owner[slot]));
            call->town->owner[slot] = -1;
        }
    }
    say(call, REPLY_STATUS, "OK");
}

static void epoch(struct call *call, bool is_bump)
{
    struct town_face *face = &call->town->faces[call->node->face];
    int known = 0;
    for (int i = 0; i < call->town->face_count; i++) {
        known += call->node->knows[i];
    }
    if (!is_bump && known > 1) {
        say(call, REPLY_ERROR,
            "ERR The user can assign a config epoch only when the node does not "
            "know any other node.");
        return;
    }
    face->epoch = is_bump ? 100 + (uint64_t)call->node->face : strtoull(call->words[2], NULL, 10);
    say(call, REPLY_STATUS, is_bump ? "BUMPED" : "OK");
}

static void functions(struct call *call)
{
    if (call->node->has_no_functions) {
        say(call, REPLY_ERROR, "ERR unknown command 'FUNCTION'");
    } else if (strcmp(call->words[1], "DUMP") == 0) {
        char text[64];
        (void)snprintf(text, sizeof(text), "%s0123456789", call->node->functions);
        say(call, REPLY_STRING, text);
    } else {
        size_t len = strlen(call->words[2]);
        assert_true(len > 10);
        if (call->node->functions[0] != '\0') {
            say(call, REPLY_ERROR, "ERR Library lib already exists");
            return;
        }
        (void)snprintf(call->node->functions, sizeof(call->node->functions), "%.*s",
                       (int)(len - 10), call->words[2]);
        say(call, REPLY_STATUS, "OK");
    }
}

static void cluster(struct call *call)
{
    const char *verb = call->words[1];
    if (call->node->is_standalone) {
        say(call, REPLY_ERROR, "ERR This instance has cluster support disabled");
    } else if (call->node->is_loading &&
               !(call->node->is_open_while_loading && strcmp(verb, "NODES") == 0)) {
        say(call, REPLY_ERROR, "LOADING Redis is loading the dataset in memory");
    } else if (strcmp(verb, "NODES") == 0) {
        cluster_nodes(call);
    } else if (strcmp(verb, "INFO") == 0) {
        say(call, REPLY_STRING, "cluster_state:ok\r\ncluster_known_nodes:4\r\n");
    } else if (strcmp(verb, "MEET") == 0) {
        meet(call);
    } else if (strcmp(verb, "FORGET") == 0) {
        forget(call);
    } else if (strcmp(verb, "RESET") == 0) {
        reset(call);
    } else if (strcmp(verb, "REPLICATE") == 0) {
        replicate(call);
    } else if (strcmp(verb, "FAILOVER") == 0) {
        fail_over(call);
    } else if (strcmp(verb, "ADDSLOTSRANGE") == 0 || strcmp(verb, "ADDSLOTS") == 0) {
        add_slots(call, verb[8] != '\0');
    } else if (strcmp(verb, "DELSLOTSRANGE") == 0 || strcmp(verb, "DELSLOTS") == 0) {
        del_slots(call, verb[8] != '\0');
    } else if (strcmp(verb, "BUMPEPOCH") == 0 || strcmp(verb, "SET-CONFIG-EPOCH") == 0) {
        epoch(call, verb[0] == 'B');
    } else {
        fail_msg("the town does not know CLUSTER %s", verb);
    }
}

static void execute(struct call *call)
{
    const char *text = NULL;
    enum reply_type type = town_rights_answer(call->node, call->words, &text);
    if (text != NULL) {
        say(call, type, text);
        return;
    }
    const char *first = call->words[0];
    if (strcmp(first, "INFO") == 0) {
        info(call);
    } else if (strcmp(first, "CLUSTER") == 0) {
        cluster(call);
    } else if (strcmp(first, "CLIENT") == 0) {
        say(call, REPLY_STRING, "id=1 addr=10.0.0.9:1 laddr=10.0.0.7:7000 fd=8\n");
    } else if (strcmp(first, "FUNCTION") == 0) {
        functions(call);
    } else if (strcmp(first, "FLUSHALL") == 0) {
        assert_int_equal(call->node->keys, 0); /* drover deletes no key that somebody can read */
        call->node->filed_keys = 0;
        say(call, REPLY_STATUS, "OK");
    } else if (strcmp(first, "SAVE") == 0) {
        say(call, REPLY_STATUS, "OK");
    } else {
        fail_msg("the town does not know %s", first);
    }
}

static void read_words(struct call *call, struct strbuf *line)
{
    int argc = call->commands->commands[call->index].arg_count;
    strbuf_addf(line, "%d", call->n);
    for (int i = 0; i < argc && i < TOWN_WORDS; i++) {
        size_t len = 0;
        const char *data = commands_get(call->commands, call->index, i, &len);
        (void)snprintf(call->words[i], sizeof(call->words[i]), "%.*s", (int)len, data);
        strbuf_addf(line, " %s", call->words[i]);
    }
    if (town_rights_is_question(call->node, call->words)) {
        strbuf_clear(line); /* nothing is done: the log tells what was done */
        strbuf_addf(line, "%d ACL", call->n);
    }
}

static struct town_fault *find_fault(struct call *call, const char *line)
{
    for (int i = 0; i < call->town->fault_count; i++) {
        struct town_fault *fault = &call->town->faults[i];
        const char *command = strchr(line, ' ') + 1;
        if (fault->node == call->n && fault->count > 0 &&
            strncmp(command, fault->command, strlen(fault->command)) == 0) {
            return fault;
        }
    }
    return NULL;
}

static int run_command(struct call *call)
{
    struct strbuf line = {0};
    read_words(call, &line);
    strbuf_addf(&call->town->log, "%s\n", strbuf_text(&line));
    struct town_fault *fault = find_fault(call, strbuf_text(&line));
    strbuf_release(&line);
    replies_add(call->replies)->text = "";
    if (fault == NULL || fault->is_done_too) {
        execute(call);
    }
    if (fault == NULL) {
        return 0;
    }
    fault->count--;
    if (fault->error[0] == '\0') {
        return ERR_UNAVAILABLE;
    }
    say(call, REPLY_ERROR, fault->error);
    return 0;
}

static int serve(struct town *town, const struct agent_effect *effect, struct reply_list *replies)
{
    int n = -1;
    for (int i = 0; i < TOWN_NODES; i++) {
        n = address_is_equal(&town->nodes[i].address, &effect->address) ? i : n;
    }
    if (n < 0 || town->nodes[n].is_down) {
        return ERR_UNAVAILABLE;
    }
    if (town->nodes[n].is_locked) {
        return ERR_AUTH;
    }
    town->answered++;
    bool is_lost = town->answered == town->lose_at;
    int code = is_lost ? ERR_TIMEOUT : 0;
    for (int i = 0; i < effect->commands.count && (!is_lost || town->lose_done); i++) {
        struct call call = {.town = town,
                            .n = n,
                            .node = &town->nodes[n],
                            .commands = &effect->commands,
                            .index = i,
                            .replies = replies};
        int failed = run_command(&call);
        code = code == 0 ? failed : code;
    }
    return code;
}

/* ---- running ---- */

void town_task(const struct town *town, struct task *task, enum task_kind kind, int node, int peer)
{
    *task = (struct task){.kind = kind,
                          .node = town_id(town, node),
                          .node_address = town->nodes[node].address,
                          .peer = town_id(town, peer),
                          .peer_address = town->nodes[peer].address};
}

struct node_task *town_runner(struct town *town, const struct task *task)
{
    static uint32_t serial = 0;
    struct order order = {.id = {.operation_id = "op-1-1", .attempt = 1},
                          .fence = 1,
                          .valid_for_ms = 30000,
                          .kind = ORDER_TASK,
                          .task = *task};
    for (int i = 0; i < town->flight_count; i++) { /* of a runner that was cut */
        struct reply_list replies = {0};
        (void)serve(town, &town->flights[i], &replies);
        commands_release(&town->flights[i].commands);
        replies_release(&replies);
    }
    town->flight_count = 0;
    serial++;
    return node_task_new(&order, serial, serial, town->now_ms);
}

static void take(struct town *town, struct agent_effects *fx, int *pipelines)
{
    for (int i = 0; i < fx->count; i++) {
        if (fx->items[i].kind == AGENT_FX_REDIS && *pipelines != 0) {
            assert_true(town->flight_count < TOWN_FLIGHTS_MAX);
            town->flights[town->flight_count++] = fx->items[i];
            fx->items[i].commands = (struct command_list){0};
            *pipelines -= *pipelines > 0;
        }
    }
}

void town_take(struct town *town, struct agent_effects *fx)
{
    int pipelines = -1;
    take(town, fx, &pipelines);
}

bool town_answer(struct town *town, struct agent_event *event, struct reply_list *replies)
{
    if (town->flight_count == 0) {
        return false;
    }
    struct agent_effect effect = town->flights[0];
    town->flight_count--;
    memmove(&town->flights[0], &town->flights[1],
            (size_t)town->flight_count * sizeof(town->flights[0]));
    town->now_ms++;
    *event = (struct agent_event){.kind = AGENT_REDIS,
                                  .now_ms = town->now_ms,
                                  .req_id = effect.req_id,
                                  .replies = replies,
                                  .latency_us = 300};
    event->code = serve(town, &effect, replies);
    commands_release(&effect.commands);
    return true;
}

static void answer(struct town *town, struct node_task *runner, struct agent_effects *fx)
{
    struct reply_list replies = {0};
    struct agent_event event;
    if (town_answer(town, &event, &replies)) {
        node_task_step(runner, &event, fx);
    }
    replies_release(&replies);
}

static bool run(struct town *town, struct node_task *runner, int pipelines, int events)
{
    int64_t give_up_ms = town->now_ms + RUN_MS_MAX;
    while (!node_task_is_over(runner) && pipelines != 0 && events != 0) {
        events -= events > 0;
        struct agent_effects fx = {0};
        gossip(town);
        if (town->flight_count > 0) {
            answer(town, runner, &fx);
        } else {
            int64_t deadline_ms = node_task_deadline(runner);
            assert_true(deadline_ms != NEVER);
            int64_t next_ms = deadline_min(deadline_ms, town->now_ms + GOSSIP_MS);
            town->now_ms = next_ms > town->now_ms ? next_ms : town->now_ms;
            struct agent_event event = {.kind = AGENT_TICK, .now_ms = town->now_ms};
            if (town->now_ms >= deadline_ms) {
                node_task_step(runner, &event, &fx);
            }
        }
        take(town, &fx, &pipelines);
        agent_effects_release(&fx);
        if (town->now_ms >= give_up_ms) {
            struct order_status status;
            node_task_status(runner, &status);
            fail_msg("it hangs: %s", status.reason);
        }
    }
    return node_task_is_over(runner);
}

bool town_run(struct town *town, struct node_task *runner, int pipelines)
{
    return run(town, runner, pipelines, -1);
}

bool town_run_for(struct town *town, struct node_task *runner, int events)
{
    return run(town, runner, -1, events);
}
