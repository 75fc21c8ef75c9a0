/* compat_reshard.c — `reshard`; see compat_move.h.
 *
 * Which slots go is redis-cli's rule (compat_slots.h); how they go is drover's. */
#include "common/base/alloc.h"
#include "ctl/compat/compat_mover.h"
#include "ctl/compat/compat_move.h"
#include "ctl/compat/compat_print.h"
#include "ctl/compat/compat_slots.h"
#include "ctl/compat/compat_start.h"
#include "ctl/fields.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct reshard {
    struct compat_run *run;
    struct compat_cluster cluster;
    int count;    /* slots wanted */
    int target;   /* index of a node */
    int *sources; /* indices; owned */
    int source_count;
    struct compat_pick *picks; /* owned */
    int pick_count;
    bool is_printed[SLOT_COUNT]; /* the line of this slot was written */
    int64_t keys[SLOT_COUNT];    /* of a slot before it moved; 0 also when not known */
};

/* ---- questions ---- */

/* A primary by its id; says so when it is none. */
static int find_primary(const struct reshard *reshard, const char *id)
{
    int found = compat_cluster_find(&reshard->cluster, id);
    if (found < 0 || !reshard->cluster.nodes[found].is_primary) {
        compat_say(COMPAT_PLAIN,
                   "*** The specified node (%s) is not known or not a %s, please retry.", id,
                   compat_words(reshard->run->options->product)->primary);
        return -1;
    }
    return found;
}

static bool ask_count(struct reshard *reshard)
{
    struct strbuf answer = {0};
    bool is_read = true;
    reshard->count = reshard->run->options->slot_count;
    if (reshard->count > SLOT_COUNT && !reshard->run->options->is_strict) {
        compat_complain("*** %d slots are more than there are (%d)", reshard->count, SLOT_COUNT);
        return false;
    }
    while (is_read && reshard->count <= 0) {
        is_read = compat_ask("How many slots do you want to move (from 1 to 16384)? ", &answer);
        long count = is_read ? strtol(strbuf_text(&answer), NULL, 10) : 0;
        reshard->count = count >= 1 && count <= SLOT_COUNT ? (int)count : 0;
    }
    strbuf_release(&answer);
    return is_read;
}

static bool ask_target(struct reshard *reshard)
{
    const char *given = reshard->run->options->to;
    struct strbuf answer = {0};
    reshard->target = -1;
    if (given != NULL) {
        reshard->target = find_primary(reshard, given);
    } else {
        while (reshard->target < 0 && compat_ask("What is the receiving node ID? ", &answer)) {
            reshard->target = find_primary(reshard, strbuf_text(&answer));
        }
    }
    strbuf_release(&answer);
    return reshard->target >= 0;
}

static void add_all_sources(struct reshard *reshard)
{
    reshard->source_count = 0;
    for (int i = 0; i < reshard->cluster.count; i++) {
        if (i != reshard->target && reshard->cluster.nodes[i].is_primary) {
            reshard->sources[reshard->source_count++] = i;
        }
    }
}

/* False when it is none. The target as a source is told and left out. */
static bool add_source(struct reshard *reshard, const char *id)
{
    int found = find_primary(reshard, id);
    if (found < 0) {
        return false;
    }
    for (int i = 0; i < reshard->source_count; i++) {
        if (reshard->sources[i] == found) {
            return true;
        }
    }
    if (found == reshard->target) {
        compat_say(COMPAT_PLAIN, "*** It is not possible to use the target node as source node.");
        return true;
    }
    reshard->sources[reshard->source_count++] = found;
    return true;
}

static bool read_sources(struct reshard *reshard, const char *given)
{
    char *copy = xstrdup(given);
    char *rest = NULL;
    bool is_good = true;
    for (char *id = strtok_r(copy, ",", &rest); is_good && id != NULL;
         id = strtok_r(NULL, ",", &rest)) {
        if (strcmp(id, "all") == 0) {
            add_all_sources(reshard);
            break;
        }
        is_good = add_source(reshard, id);
    }
    free(copy);
    return is_good;
}

static bool ask_sources(struct reshard *reshard)
{
    struct strbuf answer = {0};
    bool is_over = false;
    bool is_read = true;
    compat_write(
        "Please enter all the source node IDs.\n"
        "  Type 'all' to use all the nodes as source nodes for the hash slots.\n"
        "  Type 'done' once you entered all the source nodes IDs.\n");
    while (is_read && !is_over) {
        char question[40];
        (void)snprintf(question, sizeof(question), "Source node #%d: ", reshard->source_count + 1);
        is_read = compat_ask(question, &answer);
        const char *text = strbuf_text(&answer);
        if (is_read && strcmp(text, "all") == 0) {
            add_all_sources(reshard);
            is_over = true;
        } else if (is_read && strcmp(text, "done") == 0) {
            is_over = true;
        } else if (is_read) {
            (void)add_source(reshard, text);
        }
    }
    strbuf_release(&answer);
    return is_read;
}

static bool choose(struct reshard *reshard)
{
    const char *from = reshard->run->options->from;
    reshard->sources = xcalloc((size_t)reshard->cluster.count + 1, sizeof(*reshard->sources));
    if (!ask_count(reshard) || !ask_target(reshard)) {
        return false;
    }
    if (!(from != NULL ? read_sources(reshard, from) : ask_sources(reshard))) {
        return false;
    }
    if (reshard->source_count == 0) {
        compat_complain("*** No source nodes given, operation aborted.");
        return false;
    }
    return true;
}

/* ---- plan ---- */

static void print_node(const struct compat_node *node)
{
    struct strbuf text = {0};
    compat_node_format(node, 4, &text);
    compat_write("%s", strbuf_text(&text));
    strbuf_release(&text);
}

static void make_picks(struct reshard *reshard)
{
    struct slotset *sets = xcalloc((size_t)reshard->source_count, sizeof(*sets));
    for (int i = 0; i < reshard->source_count; i++) {
        sets[i] = reshard->cluster.nodes[reshard->sources[i]].slots;
    }
    reshard->picks = xcalloc((size_t)reshard->count, sizeof(*reshard->picks));
    reshard->pick_count =
        compat_pick_slots(sets, reshard->source_count, reshard->count, reshard->picks);
    free(sets);
}

static void print_plan(const struct reshard *reshard)
{
    const struct compat_node *nodes = reshard->cluster.nodes;
    compat_write("\nReady to move %d slots.\n", reshard->count);
    compat_write("  Source nodes:\n");
    for (int i = 0; i < reshard->source_count; i++) {
        print_node(&nodes[reshard->sources[i]]);
    }
    compat_write("  Destination node:\n");
    print_node(&nodes[reshard->target]);
    compat_write("  Resharding plan:\n");
    for (int i = 0; i < reshard->pick_count; i++) {
        (void)printf("    Moving slot %d from %s\n", reshard->picks[i].slot,
                     nodes[reshard->sources[reshard->picks[i].source]].id.text);
    }
    (void)fflush(stdout);
}

/* ---- moving ---- */

/* Counts the keys of all slots that go, for the dots of their lines. A source that does not answer
 * costs the dots only. */
static void count_keys(struct reshard *reshard)
{
    struct compat_run *run = reshard->run;
    int *slots = xcalloc((size_t)reshard->pick_count, sizeof(*slots));
    for (int source = 0; source < reshard->source_count; source++) {
        struct command_list commands = {0};
        struct reply_list replies = {0};
        int count = 0;
        for (int i = 0; i < reshard->pick_count; i++) {
            if (reshard->picks[i].source == source) {
                char text[12];
                slots[count++] = reshard->picks[i].slot;
                (void)snprintf(text, sizeof(text), "%d", reshard->picks[i].slot);
                commands_add(&commands, "CLUSTER", "COUNTKEYSINSLOT", text, NULL);
            }
        }
        const struct address *address = &reshard->cluster.nodes[reshard->sources[source]].address;
        if (count > 0 && compat_link_ask(run->link, address, &commands, &replies, NULL) == 0) {
            for (int i = 0; i < replies.count; i++) {
                bool is_number = replies.replies[i].type == REPLY_INTEGER;
                reshard->keys[slots[i]] = is_number ? replies.replies[i].integer : 0;
            }
        }
        commands_release(&commands);
        replies_release(&replies);
    }
    free(slots);
}

/* A dot for every key it had. */
static void print_moved(const struct reshard *reshard, const struct compat_pick *pick)
{
    const struct compat_node *nodes = reshard->cluster.nodes;
    (void)printf("Moving slot %d from %s to %s: ", pick->slot,
                 nodes[reshard->sources[pick->source]].text, nodes[reshard->target].text);
    for (int64_t i = 0; i < reshard->keys[pick->slot]; i++) {
        (void)putchar('.');
    }
    (void)putchar('\n');
}

/* A line for every slot of a batch that is done. */
static void operation_changed(void *user, const json_t *operation)
{
    struct reshard *reshard = user;
    const json_t *batches = field_list(operation, "batches");
    struct slotset done = {0};
    for (size_t i = 0; i < json_array_size(batches); i++) {
        const json_t *batch = json_array_get(batches, i);
        struct slotset slots = {0};
        if (strcmp(field_text(batch, "state"), "done") == 0 &&
            slotset_parse(&slots, field_text(batch, "slots"), NULL) == 0) {
            slotset_union(&done, &slots);
        }
    }
    for (int i = 0; i < reshard->pick_count; i++) {
        int slot = reshard->picks[i].slot;
        if (slotset_has(&done, slot) && !reshard->is_printed[slot]) {
            reshard->is_printed[slot] = true;
            print_moved(reshard, &reshard->picks[i]);
        }
    }
    (void)fflush(stdout);
}

static int move(struct reshard *reshard)
{
    struct slotset slots = {0};
    struct strbuf text = {0};
    struct err err = {0};
    for (int i = 0; i < reshard->pick_count; i++) {
        slotset_add(&slots, reshard->picks[i].slot);
    }
    slotset_format(&slots, &text);
    count_keys(reshard);
    json_t *request = json_pack("{s:s, s:s, s:s}", "kind", "reshard", "slots", strbuf_text(&text),
                                "target", reshard->cluster.nodes[reshard->target].id.text);
    if (reshard->run->options->replaces) {
        (void)json_object_set_new(request, "replace", json_true());
    }
    int code =
        compat_start(reshard->run, &reshard->cluster, request, operation_changed, reshard, &err);
    if (code != 0) {
        compat_say(COMPAT_BAD, "clusterManagerMoveSlot failed: %s", err.text);
    }
    json_decref(request);
    strbuf_release(&text);
    return code == 0 ? 0 : 1;
}

static int run_reshard(struct reshard *reshard)
{
    if (!compat_can_move_so(reshard->run) || !choose(reshard)) {
        return 1;
    }
    make_picks(reshard);
    print_plan(reshard);
    if (!reshard->run->options->says_yes &&
        !compat_confirm("Do you want to proceed with the proposed reshard plan (yes/no)? ")) {
        return 1;
    }
    return reshard->pick_count == 0 ? 0 : move(reshard);
}

int compat_reshard(struct compat_run *run)
{
    struct reshard *reshard = xcalloc(1, sizeof(*reshard));
    int exit_code = 1;
    reshard->run = run;
    int state = compat_load_sound(run, &reshard->cluster, true);
    if (state == 0) {
        exit_code = run_reshard(reshard);
        compat_cluster_release(&reshard->cluster);
    } else if (state < 0) {
        compat_complain("*** Please fix your cluster problems before resharding");
    }
    free(reshard->sources);
    free(reshard->picks);
    free(reshard);
    return exit_code;
}
