/* compat_create.c — `create`; see compat_move.h.
 *
 * The layout that is proposed is drover's own (coordinator/core/lifecycle_create.c): primaries
 * spread over the hosts in the order given, equal neighbouring ranges. Where a replica goes is
 * foreseen here; on several hosts the coordinator may find a better place. */
#include "common/base/alloc.h"
#include "ctl/compat/compat_move.h"
#include "ctl/compat/compat_newcomer.h"
#include "ctl/compat/compat_print.h"
#include "ctl/compat/compat_start.h"

#include <stdlib.h>
#include <string.h>

#define PRIMARIES_MIN 3 /* fewer cannot outvote a lost one */

struct create {
    struct compat_run *run;
    struct address *addresses; /* owned; in the order given */
    struct node_id *ids;       /* owned */
    int count;
    int primaries;
    int *rank;   /* of a primary 0.., -1 = a replica; owned */
    int *leader; /* of a replica: index of its primary; owned */
};

static int primaries_on(const struct create *create, const char *host)
{
    int count = 0;
    for (int i = 0; i < create->count; i++) {
        count += create->rank[i] >= 0 && strcmp(create->addresses[i].host, host) == 0 ? 1 : 0;
    }
    return count;
}

/* Each time the first address of the host that has the fewest primaries so far. */
static void choose_primaries(struct create *create)
{
    for (int rank = 0; rank < create->primaries; rank++) {
        int best = -1;
        int fewest = 0;
        for (int i = 0; i < create->count; i++) {
            int there = primaries_on(create, create->addresses[i].host);
            if (create->rank[i] < 0 && (best < 0 || there < fewest)) {
                best = i;
                fewest = there;
            }
        }
        create->rank[best] = rank;
    }
}

static bool shares_host(const struct create *create, int replica, int primary)
{
    return strcmp(create->addresses[replica].host, create->addresses[primary].host) == 0;
}

/* A replica beside its own primary changes places with one for which both are better off. */
static void part_from_primaries(struct create *create)
{
    for (int i = 0; i < create->count; i++) {
        bool is_parted = create->rank[i] >= 0 || !shares_host(create, i, create->leader[i]);
        for (int j = 0; !is_parted && j < create->count; j++) {
            if (create->rank[j] < 0 && !shares_host(create, i, create->leader[j]) &&
                !shares_host(create, j, create->leader[i])) {
                int leader = create->leader[i];
                create->leader[i] = create->leader[j];
                create->leader[j] = leader;
                is_parted = true;
            }
        }
    }
}

/* To the primary with the fewest replicas, if it can be on another host. */
static void choose_leaders(struct create *create)
{
    int *replicas = xcalloc((size_t)create->count, sizeof(*replicas));
    for (int i = 0; i < create->count; i++) {
        int best = -1;
        int cost_min = 0;
        for (int j = 0; create->rank[i] < 0 && j < create->count; j++) {
            int cost = replicas[j] * 2 + (shares_host(create, i, j) ? 1 : 0);
            if (create->rank[j] >= 0 && (best < 0 || cost < cost_min)) {
                best = j;
                cost_min = cost;
            }
        }
        if (best >= 0) {
            replicas[best]++;
        }
        create->leader[i] = best;
    }
    free(replicas);
    part_from_primaries(create);
}

static int by_rank(const struct create *create, int rank)
{
    int at = 0;
    while (create->rank[at] != rank) {
        at++;
    }
    return at;
}

static void range_of(const struct create *create, int rank, int *first, int *last)
{
    *first = (2 * rank * SLOT_COUNT + create->primaries) / (2 * create->primaries);
    *last = (2 * (rank + 1) * SLOT_COUNT + create->primaries) / (2 * create->primaries) - 1;
}

static void print_node(const struct create *create, int index)
{
    char text[ADDRESS_TEXT_SIZE];
    int first = 0;
    int last = 0;
    (void)compat_address_format(&create->addresses[index], text);
    compat_write("%s: %s %s\n", create->rank[index] >= 0 ? "M" : "S", create->ids[index].text,
                 text);
    if (create->rank[index] >= 0) {
        range_of(create, create->rank[index], &first, &last);
        compat_write("   slots:[%d-%d] (%d slots) master\n", first, last, last - first + 1);
    } else {
        compat_write("   replicates %s\n", create->ids[create->leader[index]].text);
    }
}

static void say_affinity(const struct create *create)
{
    const struct compat_words *words = compat_words(create->run->options->product);
    int beside = 0;
    compat_say(COMPAT_BOLD, ">>> Trying to optimize %s allocation for anti-affinity",
               words->replicas);
    for (int i = 0; i < create->count; i++) {
        beside += create->rank[i] < 0 && shares_host(create, i, create->leader[i]) ? 1 : 0;
    }
    if (beside == 0) {
        compat_say(COMPAT_GOOD, "[OK] Perfect anti-affinity obtained!");
    } else {
        compat_say(COMPAT_WARN, "[WARNING] Some %s are in the same host as their %s",
                   words->replicas, words->primary);
    }
}

static void print_layout(const struct create *create)
{
    compat_say(COMPAT_BOLD, ">>> Performing hash slots allocation on %d nodes...", create->count);
    for (int rank = 0; rank < create->primaries; rank++) {
        int first = 0;
        int last = 0;
        range_of(create, rank, &first, &last);
        compat_write("%s[%d] -> Slots %d - %d\n",
                     create->run->options->product == COMPAT_VALKEY ? "Primary" : "Master", rank,
                     first, last);
    }
    for (int i = 0; i < create->count; i++) {
        char replica[ADDRESS_TEXT_SIZE];
        char primary[ADDRESS_TEXT_SIZE];
        if (create->rank[i] < 0) {
            compat_write("Adding replica %s to %s\n",
                         compat_address_format(&create->addresses[i], replica),
                         compat_address_format(&create->addresses[create->leader[i]], primary));
        }
    }
    if (create->primaries < create->count) {
        say_affinity(create);
    }
    for (int rank = 0; rank < create->primaries; rank++) {
        print_node(create, by_rank(create, rank));
    }
    for (int i = 0; i < create->count; i++) {
        if (create->rank[i] < 0) {
            print_node(create, i);
        }
    }
}

/* ---- checks ---- */

static bool read_nodes(struct create *create)
{
    struct err err = {0};
    for (int i = 0; i < create->count; i++) {
        if (compat_address_parse(&create->addresses[i], create->run->options->words[i], &err) !=
            0) {
            compat_complain("%s", err.text);
            return false;
        }
        for (int j = 0; j < i; j++) {
            if (address_is_equal(&create->addresses[i], &create->addresses[j])) {
                compat_complain("[ERR] %s is given twice", create->run->options->words[i]);
                return false;
            }
        }
    }
    for (int i = 0; i < create->count; i++) {
        create->rank[i] = -1;
        if (compat_newcomer_check(create->run, &create->addresses[i], &create->ids[i]) != 0) {
            return false;
        }
    }
    return true;
}

static bool has_enough(struct create *create)
{
    int replicas = create->run->options->replicas > 0 ? create->run->options->replicas : 0;
    create->primaries = replicas >= create->count ? 0 : create->count / (replicas + 1);
    if (create->primaries >= PRIMARIES_MIN) {
        return true;
    }
    /* valkey-cli asks since version 9. */
    if (create->run->options->product == COMPAT_VALKEY && create->primaries > 0) {
        compat_write(
            "Requested to create a cluster with %d primaries and %d replicas per primary.\n",
            create->primaries, replicas);
        return create->run->options->says_yes ||
               compat_confirm(
                   "Valkey cluster requires at least 3 primary nodes for automatic "
                   "failover. Are you sure? (type 'yes' to accept): ");
    }
    compat_say(COMPAT_BAD,
               "*** ERROR: Invalid configuration for cluster creation.\n"
               "*** %s Cluster requires at least %d %s nodes.\n"
               "*** This is not possible with %d nodes and %d replicas per node.\n"
               "*** At least %d nodes are required.",
               compat_words(create->run->options->product)->product, PRIMARIES_MIN,
               compat_words(create->run->options->product)->primary, create->count, replicas,
               PRIMARIES_MIN * (replicas + 1));
    return false;
}

/* ---- doing it ---- */

static int final_check(struct create *create)
{
    struct compat_cluster cluster;
    struct compat_verdict verdict;
    if (compat_load(create->run, &cluster) != 0) {
        return 1;
    }
    compat_check_print(&cluster, true, false, &verdict);
    compat_cluster_release(&cluster);
    return compat_verdict_is_good(&verdict) || create->run->options->is_strict ? 0 : 1;
}

static int make(struct create *create)
{
    struct err err = {0};
    json_t *addresses = json_array();
    for (int i = 0; i < create->count; i++) {
        char text[ADDRESS_TEXT_SIZE];
        (void)json_array_append_new(addresses,
                                    json_string(address_format(&create->addresses[i], text)));
    }
    int replicas = create->run->options->replicas > 0 ? create->run->options->replicas : 0;
    json_t *request = json_pack("{s:s, s:o, s:i}", "kind", "create", "addresses", addresses,
                                "replicas", replicas);
    if (create->primaries < PRIMARIES_MIN) {
        (void)json_object_set_new(request, "force", json_true());
    }
    struct compat_mover_options options = {
        .options = create->run->options,
        .addresses = create->addresses,
        .address_count = create->count,
        .serves_all_given = true,
        .name = create->ids[0].text,
    };
    compat_say(COMPAT_BOLD, ">>> Nodes configuration updated");
    compat_say(COMPAT_BOLD, ">>> Assign a different config epoch to each node");
    compat_say(COMPAT_BOLD, ">>> Sending CLUSTER MEET messages to join the cluster");
    compat_write("Waiting for the cluster to join\n\n");
    struct compat_mover *mover = compat_mover_open(&options, &err);
    int code = mover == NULL ? err.code : compat_work(mover, request, NULL, NULL, &err);
    compat_mover_close(mover);
    json_decref(request);
    if (code != 0) {
        compat_say(COMPAT_BAD, "[ERR] %s", err.text);
        return 1;
    }
    return final_check(create);
}

int compat_create(struct compat_run *run)
{
    int count = run->options->word_count;
    struct create create = {
        .run = run,
        .count = count,
        .addresses = xcalloc((size_t)count, sizeof(*create.addresses)),
        .ids = xcalloc((size_t)count, sizeof(*create.ids)),
        .rank = xcalloc((size_t)count, sizeof(*create.rank)),
        .leader = xcalloc((size_t)count, sizeof(*create.leader)),
    };
    int exit_code = 1;
    if (read_nodes(&create) && has_enough(&create)) {
        choose_primaries(&create);
        choose_leaders(&create);
        print_layout(&create);
        bool is_yes = run->options->says_yes ||
                      compat_confirm("Can I set the above configuration? (type 'yes' to accept): ");
        exit_code = is_yes ? make(&create) : run->options->is_strict ? 0 : 1;
    }
    free(create.addresses);
    free(create.ids);
    free(create.rank);
    free(create.leader);
    return exit_code;
}
