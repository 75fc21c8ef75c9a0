/* redis_words.c — see redis_words.h. */
#include "agent/core/redis_words.h"

#include "common/model/message.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

/* First match wins: a target's error arrives inside MIGRATE's own text, so parts are looked for
 * anywhere. */
static const struct {
    const char *part;
    enum redis_fault fault;
} fault_words[] = {
    {"IOERR", FAULT_IO},
    {"BUSYKEY", FAULT_KEY_EXISTS},
    {"OOM command not allowed", FAULT_MEMORY},
    {"NOAUTH", FAULT_AUTH},
    {"WRONGPASS", FAULT_AUTH},
    {"NOPERM", FAULT_AUTH},
    {"invalid password", FAULT_AUTH},
    {"AUTH <password> called without", FAULT_AUTH},
    {"LOADING", FAULT_WAIT},
    {"MASTERDOWN", FAULT_WAIT},
    {"CLUSTERDOWN", FAULT_WAIT},
    {"TRYAGAIN", FAULT_WAIT},
    {"MISCONF", FAULT_WAIT},
    {"NOREPLICAS", FAULT_WAIT},
    {"BUSY ", FAULT_WAIT},
    {"MOVED ", FAULT_OWNERSHIP},
    {"ASK ", FAULT_OWNERSHIP},
    {"READONLY", FAULT_OWNERSHIP},
    {"SETSLOT only with", FAULT_OWNERSHIP},
    {"not the owner of hash slot", FAULT_OWNERSHIP},
    {"already the owner of hash slot", FAULT_OWNERSHIP},
    {"while I still hold keys", FAULT_OWNERSHIP},
    {"know about node", FAULT_OWNERSHIP},
    {"Unknown node", FAULT_OWNERSHIP},
    {"Target node is not a master", FAULT_OWNERSHIP},
};

enum redis_fault redis_fault_of(const struct reply *reply)
{
    if (!reply_is_error(reply)) {
        return FAULT_NONE;
    }
    for (size_t i = 0; i < sizeof(fault_words) / sizeof(fault_words[0]); i++) {
        if (reply_contains(reply, fault_words[i].part)) {
            return fault_words[i].fault;
        }
    }
    return FAULT_OTHER;
}

const char *redis_fault_name(enum redis_fault fault)
{
    switch (fault) {
    case FAULT_NONE:
        return "none";
    case FAULT_WAIT:
        return "wait";
    case FAULT_AUTH:
        return "auth";
    case FAULT_OWNERSHIP:
        return "ownership";
    case FAULT_MEMORY:
        return "memory";
    case FAULT_KEY_EXISTS:
        return "key_exists";
    case FAULT_IO:
        return "io";
    case FAULT_OTHER:
        return "other";
    }
    return "other";
}

static void begin_cluster(struct command_list *list, const char *sub, int slot)
{
    commands_begin(list);
    commands_arg_text(list, "CLUSTER");
    commands_arg_text(list, sub);
    commands_arg_int(list, slot);
}

void words_setslot(struct command_list *list,
                   int slot,
                   const char *verb,
                   const struct node_id *node)
{
    begin_cluster(list, "SETSLOT", slot);
    commands_arg_text(list, verb);
    commands_arg_text(list, node->text);
}

void words_setslot_stable(struct command_list *list, int slot)
{
    begin_cluster(list, "SETSLOT", slot);
    commands_arg_text(list, "STABLE");
}

void words_count_keys(struct command_list *list, int slot)
{
    begin_cluster(list, "COUNTKEYSINSLOT", slot);
}

void words_list_keys(struct command_list *list, int slot, int count)
{
    begin_cluster(list, "GETKEYSINSLOT", slot);
    commands_arg_int(list, count);
}

void words_migrate_begin(struct command_list *list,
                         const struct address *target,
                         int64_t timeout_ms,
                         bool has_replace,
                         const char *user,
                         const char *password)
{
    commands_begin(list);
    commands_arg_text(list, "MIGRATE");
    commands_arg_text(list, target->host);
    commands_arg_int(list, target->port);
    commands_arg_text(list, "");
    commands_arg_int(list, 0);
    commands_arg_int(list, timeout_ms);
    if (has_replace) {
        commands_arg_text(list, "REPLACE");
    }
    if (password[0] != '\0' && user[0] != '\0') {
        commands_arg_text(list, "AUTH2");
        commands_arg_text(list, user);
        commands_arg_text(list, password);
    } else if (password[0] != '\0') {
        commands_arg_text(list, "AUTH");
        commands_arg_text(list, password);
    }
    commands_arg_text(list, "KEYS");
}

bool words_is_already_owner(const struct reply *reply)
{
    return reply_is_error(reply) && reply_contains(reply, "already the owner of hash slot");
}

bool words_is_release_accepted(const struct reply *reply)
{
    return reply_is_error(reply) &&
           (reply_contains(reply, "SETSLOT only with") || reply_contains(reply, "UNBLOCKED") ||
            reply_contains(reply, "NOREPLICAS"));
}

static bool text_is(const struct reply *reply, const char *text)
{
    return (reply->type == REPLY_STRING || reply->type == REPLY_STATUS) &&
           reply->len == strlen(text) && memcmp(reply->text, text, reply->len) == 0;
}

bool words_parse_role(struct role_answer *role, const struct reply *reply)
{
    if (reply->type != REPLY_ARRAY || reply->count < 3) {
        return false;
    }
    if (text_is(&reply->items[0], "master")) {
        if (reply->items[1].type != REPLY_INTEGER) {
            return false;
        }
        *role = (struct role_answer){.is_primary = true, .offset = reply->items[1].integer};
        return true;
    }
    if (text_is(&reply->items[0], "slave") && reply->count >= 5) {
        if (reply->items[4].type != REPLY_INTEGER) {
            return false;
        }
        *role = (struct role_answer){.is_connected = text_is(&reply->items[3], "connected"),
                                     .offset = reply->items[4].integer};
        return true;
    }
    return false;
}

void key_text_format(char *text, const char *key, size_t len)
{
    size_t used = 0;
    for (size_t i = 0; i < len && used + sizeof("\\xff") <= KEY_TEXT_SIZE; i++) {
        unsigned char c = (unsigned char)key[i];
        bool is_plain = c < 0x80 && isprint(c) != 0 && c != '\\';
        used += (size_t)snprintf(text + used, KEY_TEXT_SIZE - used, is_plain ? "%c" : "\\x%02x", c);
    }
    text[used] = '\0';
}
