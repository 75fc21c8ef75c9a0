/* compat_fix.c — `fix`; see compat_move.h.
 *
 * The rules are drover's (docs/lifecycle.md, rules of repair): a move that had begun is finished
 * forward, a mark without keys is taken off, stray keys come to the owner. Slots that nobody has
 * are covered only after a yes on stdin, as in the original: --cluster-yes does not say it. */
#include "common/base/alloc.h"
#include "ctl/compat/compat_move.h"
#include "ctl/compat/compat_print.h"
#include "ctl/compat/compat_start.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Uncovered slots by how many nodes hold keys of them. */
struct uncovered {
    struct slotset all;
    struct slotset none;
    struct slotset one;
    struct slotset several;
};

static int count_holders(const struct compat_answer *answers, int count, int index)
{
    int holders = 0;
    for (int i = 0; i < count; i++) {
        if (answers[i].code == 0) {
            const struct reply *reply = &answers[i].replies.replies[index];
            holders += reply->type == REPLY_INTEGER && reply->integer > 0 ? 1 : 0;
        }
    }
    return holders;
}

static void look_for_keys(struct compat_run *run,
                          const struct compat_cluster *cluster,
                          struct uncovered *out)
{
    struct command_list commands = {0};
    struct address *addresses = xcalloc((size_t)cluster->count, sizeof(*addresses));
    struct compat_answer *answers = xcalloc((size_t)cluster->count, sizeof(*answers));
    int count = 0;
    int index = 0;
    for (int i = 0; i < cluster->count; i++) {
        if (cluster->nodes[i].is_primary) {
            addresses[count++] = cluster->nodes[i].address;
        }
    }
    SLOTSET_FOREACH (slot, &out->all) {
        commands_begin(&commands);
        commands_arg_text(&commands, "CLUSTER");
        commands_arg_text(&commands, "COUNTKEYSINSLOT");
        commands_arg_int(&commands, slot);
    }
    compat_link_ask_all(run->link, addresses, count, &commands, answers);
    SLOTSET_FOREACH (slot, &out->all) {
        int holders = count_holders(answers, count, index++);
        slotset_add(holders == 0 ? &out->none : holders == 1 ? &out->one : &out->several, slot);
    }
    for (int i = 0; i < count; i++) {
        replies_release(&answers[i].replies);
    }
    commands_release(&commands);
    free(answers);
    free(addresses);
}

static bool ask_about(const struct slotset *slots, const char *title, const char *question)
{
    if (slotset_is_empty(slots)) {
        return true;
    }
    struct strbuf text = {0};
    compat_slots_format(slots, &text);
    compat_write("%s\n%s\n", title, strbuf_text(&text));
    strbuf_release(&text);
    return compat_confirm(question);
}

/* Slots of primaries that are only silent may come back with them. */
static bool may_cover(struct compat_run *run,
                      const struct compat_cluster *cluster,
                      const struct slotset *uncovered)
{
    int silent = 0;
    for (int i = 0; i < cluster->missing_count; i++) {
        silent += slotset_intersects(&cluster->missing[i].slots, uncovered) ? 1 : 0;
    }
    if (silent == 0 || run->options->fixes_unreachable) {
        return true;
    }
    compat_say(COMPAT_BAD,
               "*** %d unreachable %s own uncovered slots. Covering these slots with other nodes "
               "loses their keys.\n"
               "To do it all the same give --cluster-fix-with-unreachable-%s.",
               silent, compat_words(run->options->product)->primaries,
               compat_words(run->options->product)->primaries);
    return false;
}

static bool ask_coverage(struct compat_run *run, const struct compat_cluster *cluster)
{
    struct uncovered uncovered = {0};
    compat_uncovered(cluster, &uncovered.all);
    if (slotset_is_empty(&uncovered.all)) {
        return true;
    }
    compat_say(COMPAT_BOLD, ">>> Fixing slots coverage...");
    if (!may_cover(run, cluster, &uncovered.all)) {
        return false;
    }
    look_for_keys(run, cluster, &uncovered);
    return ask_about(&uncovered.none,
                     "The following uncovered slots have no keys across the cluster:",
                     "Fix these slots by covering with a random node? (type 'yes' to accept): ") &&
           ask_about(&uncovered.one, "The following uncovered slots have keys in just one node:",
                     "Fix these slots by covering with those nodes? (type 'yes' to accept): ") &&
           ask_about(&uncovered.several,
                     "The following uncovered slots have keys in multiple nodes:",
                     "Fix these slots by moving keys into a single node? (type 'yes' to accept): ");
}

/* ---- what is said while it works ---- */

static void say_open(const struct compat_cluster *cluster)
{
    struct slotset open = {0};
    for (int i = 0; i < cluster->count; i++) {
        for (int j = 0; j < cluster->nodes[i].view.open_count; j++) {
            slotset_add(&open, cluster->nodes[i].view.opens[j].slot);
        }
    }
    SLOTSET_FOREACH (slot, &open) {
        compat_say(COMPAT_BOLD, ">>> Fixing open slot %d", slot);
        for (int is_importing = 0; is_importing < 2; is_importing++) {
            /* A replica repeats its primary's marks from Valkey 8 and Redis 7.2 on. */
            for (int i = 0; i < cluster->count; i++) {
                for (int j = 0;
                     cluster->nodes[i].is_primary && j < cluster->nodes[i].view.open_count; j++) {
                    const struct open_slot *mark = &cluster->nodes[i].view.opens[j];
                    if (mark->slot == slot && mark->is_importing == (is_importing != 0)) {
                        compat_write("Set as %s in: %s\n",
                                     is_importing != 0 ? "importing" : "migrating",
                                     cluster->nodes[i].text);
                    }
                }
            }
        }
    }
}

static void say_covered(const struct compat_cluster *before, const struct compat_cluster *after)
{
    struct slotset uncovered;
    compat_uncovered(before, &uncovered);
    SLOTSET_FOREACH (slot, &uncovered) {
        for (int i = 0; i < after->count; i++) {
            if (slotset_has(&after->nodes[i].slots, slot)) {
                compat_say(COMPAT_BOLD, ">>> Covering slot %d with %s", slot, after->nodes[i].text);
            }
        }
    }
}

/* ---- doing it ---- */

static int repair(struct compat_run *run, const struct compat_cluster *cluster)
{
    struct err err = {0};
    json_t *request =
        json_pack("{s:s, s:b, s:b}", "kind", "repair", "replace", run->options->replaces,
                  "unreachable_ok", run->options->fixes_unreachable);
    say_open(cluster);
    int code = compat_start(run, cluster, request, NULL, NULL, &err);
    json_decref(request);
    if (code != 0) {
        compat_say(COMPAT_BAD, "[ERR] %s", err.text);
    }
    return code;
}

/* The result is what the nodes say afterwards, not how the repair thinks it went. */
static int mend(struct compat_run *run, const struct compat_cluster *cluster)
{
    struct compat_cluster after;
    struct compat_verdict verdict;
    if (!ask_coverage(run, cluster) || repair(run, cluster) != 0 || compat_load(run, &after) != 0) {
        return 1;
    }
    say_covered(cluster, &after);
    compat_check_print(&after, false, run->options->searches_owners, &verdict);
    compat_cluster_release(&after);
    return compat_verdict_is_good(&verdict) ? 0 : 1;
}

int compat_fix(struct compat_run *run)
{
    struct compat_cluster cluster;
    struct compat_verdict verdict;
    if (compat_load(run, &cluster) != 0) {
        return 1;
    }
    (void)compat_info_print(&cluster, run->link, run->options);
    compat_check_print(&cluster, true, run->options->searches_owners, &verdict);
    int exit_code = compat_verdict_is_good(&verdict) ? 0 : mend(run, &cluster);
    compat_cluster_release(&cluster);
    return exit_code;
}
