/* compat_newcomer.c — see compat_newcomer.h. */
#include "ctl/compat/compat_newcomer.h"

#include "ctl/compat/compat_print.h"

#include <string.h>

/* Knows others, has slots, or has keys. */
static bool is_used(const struct compat_cluster *cluster, const struct reply *keys)
{
    const struct nodes_view *view = &cluster->nodes[0].view;
    return view->row_count > 1 || cluster->nodes[0].slot_count > 0 ||
           (keys->type == REPLY_INTEGER && keys->integer > 0);
}

int compat_newcomer_check(struct compat_run *run, const struct address *address, struct node_id *id)
{
    struct compat_cluster cluster;
    struct reply_list replies = {0};
    struct command_list commands = {0};
    struct err err = {0};
    int code = compat_cluster_load_one(&cluster, run->link, run->options, address, &err);
    if (code != 0) {
        compat_complain("%s", err.text);
        return code;
    }
    commands_add(&commands, "DBSIZE", NULL);
    code = compat_link_ask(run->link, address, &commands, &replies, &err);
    if (code != 0) {
        compat_complain("[ERR] Node %s: %s", cluster.nodes[0].text, err.text);
    } else if (is_used(&cluster, &replies.replies[0])) {
        compat_say(COMPAT_BAD,
                   "[ERR] Node %s is not empty. Either the node already knows other nodes (check "
                   "with CLUSTER NODES) or contains some key in database 0.",
                   cluster.nodes[0].text);
        code = ERR_REFUSED;
    } else {
        *id = cluster.nodes[0].id;
    }
    commands_release(&commands);
    replies_release(&replies);
    compat_cluster_release(&cluster);
    return code;
}
