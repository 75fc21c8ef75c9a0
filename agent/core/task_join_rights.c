/* task_join_rights.c — before a node joins: may the user that drover logs in with do there what
 * drover will have to do?
 *
 * ACL DRYRUN is asked for each command (Redis 7.0, Valkey). Where it is not known (6.2), or is
 * itself not allowed, the command is tried in a form that the server refuses or that changes
 * nothing on an empty node: a right that lacks is told by NOPERM, whatever else is wrong with the
 * command. Commands without such a form go unchecked there. A command that the server does not know
 * is not needed of it. */
#include "agent/core/task_parts.h"

#include <stdio.h>
#include <string.h>

#define RIGHTS_WORDS_MAX 9
#define MISSING_SHOWN 3

#define NO_KEY "drover:none"
#define NO_NODE_ID "0000000000000000000000000000000000000000"

struct right {
    bool is_dry_only; /* every form of it changes something */
    const char *words[RIGHTS_WORDS_MAX + 1];
};

/* clang-format off */
static const struct right rights[] = {
    {false, {"INFO"}},
    {false, {"ROLE"}},
    {false, {"DBSIZE"}},
    {false, {"CLUSTER", "NODES"}},
    {false, {"CLUSTER", "INFO"}},
    {false, {"CLUSTER", "MEET", "nowhere", "0"}},
    {false, {"CLUSTER", "FORGET", NO_NODE_ID}},
    {false, {"CLUSTER", "REPLICATE", NO_NODE_ID}},
    {false, {"CLUSTER", "RESET", "NEITHER"}},
    {false, {"CLUSTER", "FAILOVER", "NEITHER"}},
    {false, {"CLUSTER", "SETSLOT", "none", "STABLE"}},
    {false, {"CLUSTER", "COUNTKEYSINSLOT", "0"}},
    {false, {"CLUSTER", "GETKEYSINSLOT", "0", "1"}},
    {false, {"CLUSTER", "ADDSLOTS", "none"}},
    {false, {"CLUSTER", "ADDSLOTSRANGE", "none", "none"}},
    {false, {"CLUSTER", "SET-CONFIG-EPOCH", "-1"}},
    {true,  {"CLUSTER", "BUMPEPOCH"}},
    {false, {"MIGRATE", "127.0.0.1", "1", "", "0", "1000", "KEYS", NO_KEY}},
    {false, {"RESTORE-ASKING", NO_KEY, "0", "none"}}, /* what MIGRATE says to this node */
    {false, {"DUMP", NO_KEY}},
    {false, {"UNLINK", NO_KEY}},
    {false, {"MEMORY", "USAGE", NO_KEY}},
    {false, {"FUNCTION", "DUMP"}},
    {false, {"FUNCTION", "RESTORE", "none"}},
    {true,  {"FLUSHALL"}},
    {true,  {"SAVE"}},
};
/* clang-format on */

#define RIGHT_COUNT ((int)(sizeof(rights) / sizeof(rights[0])))

/* ---- asking ---- */

static void add_words(struct command_list *commands, const struct right *right, const char *user)
{
    commands_begin(commands);
    if (user != NULL) {
        commands_arg_text(commands, "ACL");
        commands_arg_text(commands, "DRYRUN");
        commands_arg_text(commands, user);
    }
    for (int i = 0; right->words[i] != NULL; i++) {
        commands_arg_text(commands, right->words[i]);
    }
}

void task_rights_run(struct node_task *t, struct agent_effects *fx, int act)
{
    task_say(t, "looks whether its user may do all that is needed");
    struct command_list *commands = task_act(t, fx, act, &t->node.address, TASK_ASK_TIMEOUT_MS);
    if (t->join.rights == RIGHTS_UNKNOWN) {
        commands_add(commands, "ACL", "WHOAMI", (char *)NULL);
        return;
    }
    bool is_dry = t->join.rights == RIGHTS_DRY;
    for (int i = 0; i < RIGHT_COUNT; i++) {
        if (is_dry || !rights[i].is_dry_only) {
            add_words(commands, &rights[i], is_dry ? t->join.user : NULL);
        }
    }
}

/* ---- hearing ---- */

/* "cluster|meet", as people write rights. */
static void name_right(const struct right *right, char *text, size_t size)
{
    bool has_sub = strcmp(right->words[0], "CLUSTER") == 0 ||
                   strcmp(right->words[0], "FUNCTION") == 0 ||
                   strcmp(right->words[0], "MEMORY") == 0;
    (void)snprintf(text, size, "%s%s%s", right->words[0], has_sub ? "|" : "",
                   has_sub ? right->words[1] : "");
    for (char *c = text; *c != '\0'; c++) {
        *c = (char)(*c >= 'A' && *c <= 'Z' ? *c - 'A' + 'a' : *c);
    }
}

static void refuse(struct node_task *t, const bool *is_missing, int count)
{
    char list[64] = "";
    size_t len = 0;
    int shown = 0;
    for (int i = 0; i < RIGHT_COUNT && shown < MISSING_SHOWN; i++) {
        char text[32];
        name_right(&rights[i], text, sizeof(text));
        if (is_missing[i] && len + strlen(text) + 3 < sizeof(list)) {
            len += (size_t)snprintf(list + len, sizeof(list) - len, "%s%s", shown > 0 ? ", " : "",
                                    text);
            shown++;
        }
    }
    char more[24] = "";
    if (count > shown) {
        (void)snprintf(more, sizeof(more), " and %d more", count - shown);
    }
    task_fail(t, ERR_AUTH, "user %.20s may not run %s%s there; ACL SETUSER it +@all ~* &*",
              t->join.user, list, more);
}

/* ACL DRYRUN answers OK, or in words what is not allowed. Errors: it does not know the command, or
 * asks for another number of arguments. */
static bool is_dry_missing(const struct reply *reply)
{
    return reply->type == REPLY_STRING && !reply_is_error(reply);
}

static bool is_dryrun_closed(const struct reply *reply)
{
    return reply_is_error(reply) &&
           (redis_fault_of(reply) == FAULT_AUTH || reply_contains(reply, "nknown subcommand") ||
            reply_contains(reply, "nknown command"));
}

static void hear_user(struct node_task *t, const struct reply *reply)
{
    bool is_name = reply->type == REPLY_STRING && reply->len < sizeof(t->join.user);
    (void)snprintf(t->join.user, sizeof(t->join.user), "%s", is_name ? reply->text : "of drover");
    t->join.rights = is_name ? RIGHTS_DRY : RIGHTS_TRIED;
}

void task_rights_hear(struct node_task *t, const struct agent_event *ev)
{
    if (ev->code != 0 || ev->replies->count == 0) {
        return; /* asked again next round */
    }
    const struct reply *replies = ev->replies->replies;
    for (int i = 0; i < ev->replies->count; i++) {
        if (reply_is_error(&replies[i]) && reply_has_prefix(&replies[i], "LOADING")) {
            return; /* nothing was judged: likewise */
        }
    }
    if (t->join.rights == RIGHTS_UNKNOWN) {
        hear_user(t, &replies[0]);
        return;
    }
    bool is_dry = t->join.rights == RIGHTS_DRY;
    if (is_dry && is_dryrun_closed(&replies[0])) {
        t->join.rights = RIGHTS_TRIED;
        return;
    }
    bool is_missing[RIGHT_COUNT] = {false};
    int count = 0;
    int at = 0;
    for (int i = 0; i < RIGHT_COUNT && at < ev->replies->count; i++) {
        if (!is_dry && rights[i].is_dry_only) {
            continue;
        }
        const struct reply *reply = &replies[at++];
        is_missing[i] = is_dry ? is_dry_missing(reply)
                               : reply_is_error(reply) && redis_fault_of(reply) == FAULT_AUTH;
        count += is_missing[i];
    }
    if (count > 0) {
        refuse(t, is_missing, count);
    } else {
        t->join.rights = RIGHTS_HELD;
    }
}
