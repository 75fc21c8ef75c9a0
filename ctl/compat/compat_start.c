/* compat_start.c — see compat_start.h. */
#include "ctl/compat/compat_start.h"

#include "common/base/alloc.h"
#include "ctl/compat/compat_print.h"
#include "ctl/fields.h"

#include <stdlib.h>
#include <string.h>

/* The smallest id that the seed knows: the same from whichever node one looks. */
static const char *cluster_name(const struct compat_cluster *cluster)
{
    const struct nodes_view *view = &cluster->nodes[0].view;
    const char *name = view->rows[0].id.text;
    for (int row = 1; row < view->row_count; row++) {
        if (strcmp(view->rows[row].id.text, name) < 0) {
            name = view->rows[row].id.text;
        }
    }
    return name;
}

struct compat_mover *compat_open(struct compat_run *run,
                                 const struct compat_cluster *cluster,
                                 const struct address *extra,
                                 bool awaits_settled,
                                 struct err *err)
{
    struct address *addresses = xcalloc((size_t)cluster->count + 1, sizeof(*addresses));
    int count = 0;
    if (extra != NULL) {
        addresses[count++] = *extra;
    }
    for (int i = 0; i < cluster->count; i++) {
        addresses[count++] = cluster->nodes[i].address;
    }
    for (int i = 0; i < count; i++) {
        compat_link_resolve(run->link, &addresses[i]);
    }
    struct compat_mover_options options = {
        .options = run->options,
        .addresses = addresses,
        .address_count = count,
        .name = cluster_name(cluster),
        .awaits_settled = awaits_settled,
    };
    struct compat_mover *mover = compat_mover_open(&options, err);
    free(addresses);
    return mover;
}

int compat_work(struct compat_mover *mover,
                const json_t *request,
                void (*changed)(void *user, const json_t *operation),
                void *user,
                struct err *err)
{
    json_t *answer = NULL;
    int code = compat_mover_start(mover, request, &answer, err);
    const json_t *operation = code == 0 ? field_object(answer, "operation") : NULL;
    if (operation != NULL) {
        code = compat_mover_follow(mover, field_text(operation, "id"), changed, user, err);
    }
    json_decref(answer);
    return code;
}

int compat_start(struct compat_run *run,
                 const struct compat_cluster *cluster,
                 const json_t *request,
                 void (*changed)(void *user, const json_t *operation),
                 void *user,
                 struct err *err)
{
    bool is_repair = strcmp(field_text(request, "kind"), "repair") == 0;
    struct compat_mover *mover = compat_open(run, cluster, NULL, !is_repair, err);
    if (mover == NULL) {
        return err->code;
    }
    int code = compat_work(mover, request, changed, user, err);
    compat_mover_close(mover);
    return code;
}

/* Open slots are brought to their end: first what the private store knows of, then by the rules of
 * `fix`. Failing is no error here: the check that follows says what is wrong. */
static void finish_open(struct compat_run *run, const struct compat_cluster *cluster)
{
    struct err err = {0};
    json_t *request = json_pack("{s:s, s:b}", "kind", "repair", "replace", run->options->replaces);
    compat_say(COMPAT_BOLD, ">>> Finishing the slots that are open...");
    if (compat_start(run, cluster, request, NULL, NULL, &err) != 0) {
        compat_say(COMPAT_BAD, "[ERR] %s", err.text);
    }
    json_decref(request);
}

int compat_load_sound(struct compat_run *run, struct compat_cluster *cluster, bool has_nodes)
{
    struct compat_verdict verdict;
    if (compat_load(run, cluster) != 0) {
        return 1;
    }
    compat_check_print(cluster, has_nodes, false, &verdict);
    bool is_good = compat_verdict_is_good(&verdict);
    /* What another run of ours is about looks like problems until it is through. */
    if (!is_good && !run->options->is_strict && compat_mover_wait_others(cluster_name(cluster))) {
        compat_cluster_release(cluster);
        if (compat_load(run, cluster) != 0) {
            return 1;
        }
        compat_check_print(cluster, has_nodes, false, &verdict);
        is_good = compat_verdict_is_good(&verdict);
    }
    if (verdict.has_open && !verdict.has_uncovered && !run->options->is_strict) {
        finish_open(run, cluster);
        compat_cluster_release(cluster);
        if (compat_load(run, cluster) != 0) {
            return 1;
        }
        compat_check_print(cluster, has_nodes, false, &verdict);
        is_good = compat_verdict_is_good(&verdict);
    }
    if (!is_good) {
        compat_cluster_release(cluster);
        return -1;
    }
    return 0;
}

/* Valkey 9 and Redis 8.4 have names of their own for it; asking for a list changes nothing. */
bool compat_can_move_so(struct compat_run *run)
{
    struct command_list commands = {0};
    struct reply_list replies = {0};
    struct err err = {0};
    bool can = true;
    if (!run->options->uses_atomic) {
        return true;
    }
    commands_add(&commands, "CLUSTER", "GETSLOTMIGRATIONS", NULL);
    commands_add(&commands, "CLUSTER", "MIGRATION", "STATUS", "ALL", NULL);
    if (compat_link_ask(run->link, &run->seed, &commands, &replies, &err) != 0) {
        compat_complain("[ERR] %s", err.text);
        can = false;
    } else if (reply_is_error(&replies.replies[0]) && reply_is_error(&replies.replies[1])) {
        compat_say(COMPAT_BAD, "[ERR] Node %s:%d replied with error:\n%s", run->seed.host,
                   run->seed.port, replies.replies[0].text);
        can = false;
    }
    commands_release(&commands);
    replies_release(&replies);
    return can;
}
