/* compat_nodes.c — `add-node` and `del-node`; see compat_move.h. */
#include "ctl/compat/compat_move.h"
#include "ctl/compat/compat_newcomer.h"
#include "ctl/compat/compat_print.h"
#include "ctl/compat/compat_start.h"

#include <string.h>

/* ---- add-node ---- */

/* The primary to replicate: named, or the one with the fewest replicas. -1 after saying why. */
static int choose_primary(struct compat_run *run, const struct compat_cluster *cluster)
{
    const char *id = run->options->primary_id;
    if (id != NULL) {
        int found = compat_cluster_find(cluster, id);
        if (found < 0 || !cluster->nodes[found].is_primary) {
            compat_say(COMPAT_BAD, "[ERR] No such %s ID %s",
                       compat_words(run->options->product)->primary, id);
            return -1;
        }
        return found;
    }
    int best = -1;
    for (int i = 0; i < cluster->count; i++) {
        const struct compat_node *node = &cluster->nodes[i];
        if (node->is_primary &&
            (best < 0 || node->replica_count < cluster->nodes[best].replica_count)) {
            best = i;
        }
    }
    if (best >= 0) {
        compat_write("Automatically selected %s %s\n", compat_words(run->options->product)->primary,
                     cluster->nodes[best].text);
    }
    return best;
}

/* The join itself copies the libraries of functions (agent/core/task_join.c), and again looks
 * before it does. False after saying why not: a newcomer with libraries of its own keeps them. */
static bool may_get_functions(struct compat_run *run,
                              const struct compat_cluster *cluster,
                              const struct address *newcomer)
{
    struct command_list commands = {0};
    struct reply_list ours = {0};
    struct reply_list theirs = {0};
    char text[ADDRESS_TEXT_SIZE];
    commands_add(&commands, "FUNCTION", "LIST", NULL);
    compat_say(COMPAT_BOLD, ">>> Getting functions from cluster");
    bool is_known =
        compat_link_ask(run->link, &cluster->nodes[0].address, &commands, &ours, NULL) == 0 &&
        !reply_is_error(&ours.replies[0]);
    bool is_free = true;
    if (is_known) {
        compat_say(COMPAT_BOLD,
                   ">>> Send FUNCTION LIST to %s to verify there is no functions in it",
                   compat_address_format(newcomer, text));
        is_free = compat_link_ask(run->link, newcomer, &commands, &theirs, NULL) != 0 ||
                  theirs.replies[0].count == 0;
    }
    if (!is_free) {
        compat_say(COMPAT_BAD,
                   ">>> New node already contains functions and can not be added to the cluster. "
                   "Use FUNCTION FLUSH and try again.");
    } else if (is_known) {
        compat_say(COMPAT_BOLD, ">>> Send FUNCTION RESTORE to %s",
                   compat_address_format(newcomer, text));
    }
    commands_release(&commands);
    replies_release(&ours);
    replies_release(&theirs);
    return is_free;
}

static int join(struct compat_run *run,
                const struct compat_cluster *cluster,
                const struct address *newcomer,
                int primary)
{
    char text[ADDRESS_TEXT_SIZE];
    struct err err = {0};
    compat_say(COMPAT_BOLD, ">>> Send CLUSTER MEET to node %s to make it join the cluster.",
               compat_address_format(newcomer, text));
    (void)address_format(newcomer, text);
    json_t *request = json_pack("{s:s, s:[s]}", "kind", "add", "addresses", text);
    if (primary >= 0) {
        compat_write("Waiting for the cluster to join\n\n");
        compat_say(COMPAT_BOLD, ">>> Configure node as replica of %s.",
                   cluster->nodes[primary].text);
        (void)json_object_set_new(request, "target", json_string(cluster->nodes[primary].id.text));
    } else {
        (void)json_object_set_new(request, "without_slots", json_true());
    }
    struct compat_mover *mover = compat_open(run, cluster, newcomer, true, &err);
    int code = mover == NULL ? err.code : compat_work(mover, request, NULL, NULL, &err);
    compat_mover_close(mover);
    json_decref(request);
    if (code != 0) {
        compat_say(COMPAT_BAD, "[ERR] %s", err.text);
        return 1;
    }
    compat_say(COMPAT_GOOD, "[OK] New node added correctly.");
    return 0;
}

static int add_to(struct compat_run *run,
                  const struct compat_cluster *cluster,
                  const struct address *newcomer)
{
    struct compat_verdict verdict;
    char text[ADDRESS_TEXT_SIZE];
    struct node_id id;
    int primary = -1;
    compat_check_print(cluster, true, false, &verdict);
    if (!compat_verdict_is_good(&verdict)) {
        return 1;
    }
    if (run->options->as_replica && (primary = choose_primary(run, cluster)) < 0) {
        return 1;
    }
    int code = compat_newcomer_check(run, newcomer, &id);
    if (code == ERR_UNAVAILABLE || code == ERR_TIMEOUT) {
        compat_say(COMPAT_BAD, "[ERR] Sorry, can't connect to node %s",
                   compat_address_format(newcomer, text));
    }
    /* A replica gets them from its primary. */
    bool may_join = code == 0 && (primary >= 0 || may_get_functions(run, cluster, newcomer));
    return may_join ? join(run, cluster, newcomer, primary) : 1;
}

int compat_add_node(struct compat_run *run)
{
    struct compat_cluster cluster;
    struct address newcomer;
    struct err err = {0};
    if (compat_address_parse(&newcomer, run->options->words[0], &err) != 0) {
        compat_complain("[ERR] %s", err.text);
        return 1;
    }
    compat_say(COMPAT_BOLD, ">>> Adding node %s to cluster %s", run->options->words[0],
               run->options->words[1]);
    if (compat_load(run, &cluster) != 0) {
        return 1;
    }
    int exit_code = add_to(run, &cluster, &newcomer);
    compat_cluster_release(&cluster);
    return exit_code;
}

/* ---- del-node ---- */

static const struct compat_node *find_missing(const struct compat_cluster *cluster, const char *id)
{
    for (int i = 0; i < cluster->missing_count; i++) {
        if (strcmp(cluster->missing[i].id.text, id) == 0) {
            return &cluster->missing[i];
        }
    }
    return NULL;
}

static int leave(struct compat_run *run,
                 const struct compat_cluster *cluster,
                 const struct compat_node *node,
                 bool is_dead)
{
    struct err err = {0};
    if (node->slot_count > 0) {
        compat_say(COMPAT_BAD, "[ERR] Node %s is not empty! Reshard data away and try again.",
                   node->text);
        return 1;
    }
    json_t *request = json_pack("{s:s, s:s, s:b, s:b}", "kind", "remove", "node", node->id.text,
                                "dead", is_dead, "keep_running", true);
    compat_say(COMPAT_BOLD, ">>> Sending CLUSTER FORGET messages to the cluster...");
    if (!is_dead) {
        compat_say(COMPAT_BOLD, ">>> Sending CLUSTER RESET SOFT to the deleted node.");
    }
    compat_write("Waiting a minute, until no node can bring it back\n");
    int code = compat_start(run, cluster, request, NULL, NULL, &err);
    json_decref(request);
    if (code != 0) {
        compat_say(COMPAT_BAD, "[ERR] %s", err.text);
    }
    return code == 0 ? 0 : 1;
}

int compat_del_node(struct compat_run *run)
{
    const char *id = run->options->words[1];
    struct compat_cluster cluster;
    int exit_code = 1;
    compat_say(COMPAT_BOLD, ">>> Removing node %s from cluster %s", id, run->options->words[0]);
    if (compat_load(run, &cluster) != 0) {
        return 1;
    }
    int found = compat_cluster_find(&cluster, id);
    const struct compat_node *dead = run->options->is_strict ? NULL : find_missing(&cluster, id);
    if (found >= 0) {
        exit_code = leave(run, &cluster, &cluster.nodes[found], false);
    } else if (dead != NULL) {
        exit_code = leave(run, &cluster, dead, true);
    } else {
        compat_say(COMPAT_BAD, "[ERR] No such node ID %s", id);
    }
    compat_cluster_release(&cluster);
    return exit_code;
}
