/* compat_check.c — `check` and `info`: what is printed of a loaded cluster; see compat_cluster.h.
 */
#include "ctl/compat/compat_cluster.h"

#include "common/base/alloc.h"
#include "ctl/compat/compat_print.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- info ---- */

static void ask_keys(struct compat_cluster *cluster, struct compat_link *link)
{
    struct command_list commands = {0};
    struct address *addresses = xcalloc((size_t)cluster->count, sizeof(*addresses));
    struct compat_answer *answers = xcalloc((size_t)cluster->count, sizeof(*answers));
    commands_add(&commands, "DBSIZE", NULL);
    for (int i = 0; i < cluster->count; i++) {
        addresses[i] = cluster->nodes[i].address;
    }
    compat_link_ask_all(link, addresses, cluster->count, &commands, answers);
    for (int i = 0; i < cluster->count; i++) {
        bool has_keys = answers[i].code == 0 && answers[i].replies.replies[0].type == REPLY_INTEGER;
        cluster->nodes[i].keys = has_keys ? answers[i].replies.replies[0].integer : -1;
        replies_release(&answers[i].replies);
    }
    commands_release(&commands);
    free(addresses);
    free(answers);
}

int compat_info_print(struct compat_cluster *cluster,
                      struct compat_link *link,
                      const struct compat_options *options)
{
    const struct compat_words *words = compat_words(options->product);
    int64_t keys = 0;
    int primaries = 0;
    int failures = 0;
    ask_keys(cluster, link);
    for (int i = 0; i < cluster->count; i++) {
        const struct compat_node *node = &cluster->nodes[i];
        if (!node->is_primary) {
            continue;
        }
        primaries++;
        if (node->keys < 0) {
            compat_complain("[ERR] Node %s did not say how many keys it has", node->text);
            failures++;
            continue;
        }
        keys += node->keys;
        compat_say(COMPAT_PLAIN, "%s (%.8s...) -> %lld keys | %d slots | %d %s.", node->text,
                   node->id.text, (long long)node->keys, node->slot_count, node->replica_count,
                   words->replicas);
    }
    compat_say(COMPAT_GOOD, "[OK] %lld keys in %d %s.", (long long)keys, primaries,
               words->primaries);
    compat_say(COMPAT_PLAIN, "%.2f keys per slot on average.", (double)keys / SLOT_COUNT);
    return failures;
}

/* ---- check ---- */

/* What a node believes about who owns which slots: a line a primary, sorted. */
static int compare_lines(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static char *signature(const struct compat_node *node)
{
    const struct nodes_view *view = &node->view;
    char **lines = xcalloc((size_t)view->row_count + 1, sizeof(*lines));
    struct strbuf out = {0};
    int count = 0;
    for (int row = 0; row < view->row_count; row++) {
        if (view->rows[row].slot_count > 0) {
            struct strbuf line = {0};
            struct slotset slots = {0};
            nodes_row_slots(view, row, &slots);
            strbuf_addf(&line, "%s:", view->rows[row].id.text);
            slotset_format(&slots, &line);
            lines[count++] = strbuf_detach(&line);
        }
    }
    qsort(lines, (size_t)count, sizeof(*lines), compare_lines);
    for (int i = 0; i < count; i++) {
        strbuf_addf(&out, "%s|", lines[i]);
        free(lines[i]);
    }
    free(lines);
    return strbuf_detach(&out);
}

bool compat_views_agree(const struct compat_cluster *cluster)
{
    char *first = signature(&cluster->nodes[0]);
    bool is_same = true;
    for (int i = 1; is_same && i < cluster->count; i++) {
        char *other = signature(&cluster->nodes[i]);
        is_same = strcmp(first, other) == 0;
        free(other);
    }
    free(first);
    return is_same;
}

static void add_slot_list(const struct slotset *slots, struct strbuf *out)
{
    bool is_first = true;
    SLOTSET_FOREACH (slot, slots) {
        strbuf_addf(out, "%s%d", is_first ? "" : ",", slot);
        is_first = false;
    }
}

static void warn_open(const struct compat_node *node, bool is_importing, struct slotset *all)
{
    struct slotset slots = {0};
    for (int i = 0; i < node->view.open_count; i++) {
        if (node->view.opens[i].is_importing == is_importing) {
            slotset_add(&slots, node->view.opens[i].slot);
        }
    }
    if (!slotset_is_empty(&slots)) {
        struct strbuf text = {0};
        add_slot_list(&slots, &text);
        compat_say(COMPAT_BAD, "[WARNING] Node %s has slots in %s state %s.", node->text,
                   is_importing ? "importing" : "migrating", strbuf_text(&text));
        strbuf_release(&text);
        slotset_union(all, &slots);
    }
}

static bool print_open(const struct compat_cluster *cluster)
{
    struct slotset all = {0};
    compat_say(COMPAT_BOLD, ">>> Check for open slots...");
    for (int i = 0; i < cluster->count; i++) {
        warn_open(&cluster->nodes[i], false, &all);
        warn_open(&cluster->nodes[i], true, &all);
    }
    if (slotset_is_empty(&all)) {
        return false;
    }
    struct strbuf text = {0};
    add_slot_list(&all, &text);
    compat_say(COMPAT_BAD, "[WARNING] The following slots are open: %s.", strbuf_text(&text));
    strbuf_release(&text);
    return true;
}

void compat_uncovered(const struct compat_cluster *cluster, struct slotset *out)
{
    slotset_fill(out);
    for (int i = 0; i < cluster->count; i++) {
        slotset_subtract(out, &cluster->nodes[i].slots);
    }
}

static bool print_coverage(const struct compat_cluster *cluster)
{
    struct slotset uncovered;
    compat_uncovered(cluster, &uncovered);
    compat_say(COMPAT_BOLD, ">>> Check slots coverage...");
    if (slotset_is_empty(&uncovered)) {
        compat_say(COMPAT_GOOD, "[OK] All %d slots covered.", SLOT_COUNT);
        return false;
    }
    compat_say(COMPAT_BAD, "[ERR] Not all %d slots are covered by nodes.\n", SLOT_COUNT);
    return true;
}

/* Several nodes that each call a slot their own. */
static bool print_owners(const struct compat_cluster *cluster)
{
    bool has_many = false;
    compat_say(COMPAT_BOLD, ">>> Check for multiple slot owners...");
    for (int slot = 0; slot < SLOT_COUNT; slot++) {
        int owners = 0;
        for (int i = 0; i < cluster->count; i++) {
            owners += slotset_has(&cluster->nodes[i].slots, slot) ? 1 : 0;
        }
        if (owners < 2) {
            continue;
        }
        has_many = true;
        compat_say(COMPAT_WARN, "[WARNING] Slot %d has %d owners:", slot, owners);
        for (int i = 0; i < cluster->count; i++) {
            if (slotset_has(&cluster->nodes[i].slots, slot)) {
                compat_say(COMPAT_PLAIN, "    %s", cluster->nodes[i].text);
            }
        }
    }
    if (!has_many) {
        compat_say(COMPAT_GOOD, "[OK] No multiple owners found.");
    }
    return has_many;
}

void compat_check_print(const struct compat_cluster *cluster,
                        bool has_nodes,
                        bool searches_owners,
                        struct compat_verdict *out)
{
    *out = (struct compat_verdict){0};
    compat_say(COMPAT_BOLD, ">>> Performing Cluster Check (using node %s)", cluster->nodes[0].text);
    for (int i = 0; has_nodes && i < cluster->count; i++) {
        struct strbuf text = {0};
        compat_node_format(&cluster->nodes[i], 0, &text);
        compat_write("%s", strbuf_text(&text));
        strbuf_release(&text);
    }
    out->views_differ = !compat_views_agree(cluster);
    if (out->views_differ) {
        compat_say(COMPAT_BAD, "[ERR] Nodes don't agree about configuration!");
    } else {
        compat_say(COMPAT_GOOD, "[OK] All nodes agree about slots configuration.");
    }
    out->has_open = print_open(cluster);
    out->has_uncovered = print_coverage(cluster);
    if (searches_owners) {
        out->has_many_owners = print_owners(cluster);
    }
}

bool compat_verdict_is_good(const struct compat_verdict *verdict)
{
    return !verdict->views_differ && !verdict->has_open && !verdict->has_uncovered &&
           !verdict->has_many_owners;
}
