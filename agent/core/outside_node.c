/* outside_node.c — see outside_node.h. */
#include "agent/core/outside_node.h"

#include "common/model/info_text.h"

#include <inttypes.h>
#include <string.h>

#define OUR_NAME " name=drover-"

/* All answers there and none an error. */
static int check_answers(const struct reply_list *replies, int count, struct err *err)
{
    for (int i = 0; i < replies->count; i++) {
        if (reply_is_error(&replies->replies[i])) {
            return err_set(err, ERR_UNAVAILABLE, "the server says: %.100s",
                           replies->replies[i].text);
        }
    }
    return replies->count >= count
               ? 0
               : err_set(err, ERR_PROTOCOL, "the server's answer is incomplete");
}

void outside_node_ask_empty(struct command_list *commands)
{
    commands_add(commands, "DBSIZE", NULL);
    commands_add(commands, "CLUSTER", "INFO", NULL);
}

int outside_node_is_empty(const struct reply_list *replies, struct err *err)
{
    struct cluster_info info;
    int code = check_answers(replies, 2, err);
    if (code != 0) {
        return code;
    }
    const struct reply *size = &replies->replies[0];
    const struct reply *reply = &replies->replies[1];
    if (size->type != REPLY_INTEGER) {
        return err_set(err, ERR_PROTOCOL, "DBSIZE answered no number");
    }
    code = cluster_info_parse(&info, reply->text, reply->len, err);
    if (code != 0) {
        return code;
    }
    if (size->integer != 0 || info.slots_assigned != 0 || info.known_nodes != 1) {
        return err_set(err, ERR_REFUSED,
                       "refused: the server holds %" PRId64 " keys, knows of %" PRId64
                       " slots in use and of %" PRId64 " nodes",
                       size->integer, info.slots_assigned, info.known_nodes);
    }
    return 0;
}

void outside_node_ask_load(struct command_list *commands, bool lists)
{
    commands_add(commands, "INFO", NULL);
    if (lists) {
        commands_add(commands, "CLIENT", "LIST", NULL);
    }
}

static bool has_part(const char *line, size_t len, const char *part)
{
    const char *found = memmem(line, len, part, strlen(part));
    return found != NULL;
}

/* flags=S and flags=M are the links between a primary and its replicas. */
static bool is_foreign(const char *line, size_t len)
{
    return !has_part(line, len, OUR_NAME) && !has_part(line, len, " flags=S ") &&
           !has_part(line, len, " flags=M ");
}

static int64_t count_foreign(const struct reply *list)
{
    int64_t count = 0;
    const char *at = list->text;
    size_t left = list->len;
    while (left > 0) {
        const char *end = memchr(at, '\n', left);
        size_t len = end == NULL ? left : (size_t)(end - at);
        count += len > 1 && is_foreign(at, len);
        at += end == NULL ? len : len + 1;
        left -= end == NULL ? len : len + 1;
    }
    return count;
}

int outside_node_load(struct outside_load *load, const struct reply_list *replies, struct err *err)
{
    struct info info;
    int code = check_answers(replies, 1, err);
    if (code == 0) {
        code = info_parse(&info, replies->replies[0].text, replies->replies[0].len, err);
    }
    if (code != 0) {
        return code;
    }
    *load = (struct outside_load){.clients = info.connected_clients, .ops_per_s = info.ops_per_s};
    if (replies->count > 1 && replies->replies[1].type == REPLY_STRING) {
        load->clients = count_foreign(&replies->replies[1]);
        load->is_listed = true;
    }
    return 0;
}

bool outside_load_is_low(const struct outside_load *load)
{
    if (!load->is_listed) {
        return false;
    }
    return load->clients == 0 ||
           (load->clients <= QUIET_CLIENTS_MAX && load->ops_per_s <= QUIET_OPS_PER_S_MAX);
}
