/* compat_rebalance.c — `rebalance`; see compat_move.h.
 *
 * Whether it is due is redis-cli's rule (compat_slots.h); the plan is drover's, to the same shares.
 */
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

/* Slots from one node to another. */
struct pair {
    const char *source; /* addresses, of the cluster's nodes */
    const char *target;
    int slot_count;
    int done;
    bool is_printed;
};

struct rebalance {
    struct compat_run *run;
    struct compat_cluster cluster;
    double *weights; /* by node; -1 = a replica; owned */
    double total_weight;
    int involved;
    json_t *plan;       /* owned */
    struct pair *pairs; /* owned */
    int pair_count;
};

/* ---- weights ---- */

static int set_weights(struct rebalance *rebalance)
{
    const struct compat_options *options = rebalance->run->options;
    const struct compat_cluster *cluster = &rebalance->cluster;
    rebalance->weights = xcalloc((size_t)cluster->count, sizeof(*rebalance->weights));
    for (int i = 0; i < cluster->count; i++) {
        bool is_left_out = cluster->nodes[i].slot_count == 0 && !options->uses_empty;
        rebalance->weights[i] = !cluster->nodes[i].is_primary ? -1 : is_left_out ? 0 : 1;
    }
    for (int i = 0; i < options->weight_count; i++) {
        const char *equals = strchr(options->weights[i], '=');
        char *id = xstrdup(options->weights[i]);
        id[strcspn(id, "=")] = '\0';
        int found = compat_cluster_find_start(cluster, id);
        double weight = equals == NULL ? 0 : strtod(equals + 1, NULL);
        if (found < 0) {
            compat_say(COMPAT_PLAIN, "*** No such %s node %s",
                       compat_words(options->product)->primary, id);
            free(id);
            return 1;
        }
        free(id);
        if (!(weight >= 0)) {
            compat_complain("*** The weight of %s is less than 0", cluster->nodes[found].text);
            return 1;
        }
        if (rebalance->weights[found] > 0 || cluster->nodes[found].slot_count > 0) {
            rebalance->weights[found] = weight;
        }
    }
    for (int i = 0; i < cluster->count; i++) {
        bool takes_part = cluster->nodes[i].is_primary &&
                          (options->uses_empty || cluster->nodes[i].slot_count > 0);
        rebalance->total_weight += rebalance->weights[i] > 0 ? rebalance->weights[i] : 0;
        rebalance->involved += takes_part ? 1 : 0;
    }
    return 0;
}

static bool is_due(const struct rebalance *rebalance)
{
    const struct compat_cluster *cluster = &rebalance->cluster;
    struct compat_share *shares = xcalloc((size_t)cluster->count, sizeof(*shares));
    int count = 0;
    for (int i = 0; i < cluster->count; i++) {
        if (cluster->nodes[i].is_primary &&
            (rebalance->weights[i] > 0 || cluster->nodes[i].slot_count > 0)) {
            shares[count++] = (struct compat_share){.weight = rebalance->weights[i],
                                                    .slot_count = cluster->nodes[i].slot_count};
        }
    }
    bool due = compat_balance_is_due(shares, count, rebalance->run->options->threshold_percent);
    free(shares);
    return due;
}

static json_t *make_request(const struct rebalance *rebalance)
{
    json_t *weights = json_object();
    for (int i = 0; i < rebalance->cluster.count; i++) {
        if (rebalance->weights[i] >= 0) {
            (void)json_object_set_new(weights, rebalance->cluster.nodes[i].id.text,
                                      json_real(rebalance->weights[i]));
        }
    }
    json_t *request = json_pack("{s:s, s:o, s:f}", "kind", "rebalance", "weights", weights,
                                "threshold_percent", 0.0);
    if (rebalance->run->options->replaces) {
        (void)json_object_set_new(request, "replace", json_true());
    }
    return request;
}

/* ---- the plan's pairs ---- */

static const char *text_of(const struct rebalance *rebalance, const char *id)
{
    int found = compat_cluster_find(&rebalance->cluster, id);
    return found < 0 ? id : rebalance->cluster.nodes[found].text;
}

static struct pair *find_pair(struct rebalance *rebalance, const json_t *batch)
{
    const char *source = text_of(rebalance, field_text(batch, "source"));
    const char *target = text_of(rebalance, field_text(batch, "target"));
    for (int i = 0; i < rebalance->pair_count; i++) {
        struct pair *pair = &rebalance->pairs[i];
        if (strcmp(pair->source, source) == 0 && strcmp(pair->target, target) == 0) {
            return pair;
        }
    }
    return NULL;
}

static void read_pairs(struct rebalance *rebalance)
{
    const json_t *batches = field_list(rebalance->plan, "batches");
    rebalance->pairs = xcalloc(json_array_size(batches) + 1, sizeof(*rebalance->pairs));
    for (size_t i = 0; i < json_array_size(batches); i++) {
        const json_t *batch = json_array_get(batches, i);
        struct pair *pair = find_pair(rebalance, batch);
        if (pair == NULL) {
            pair = &rebalance->pairs[rebalance->pair_count++];
            pair->source = text_of(rebalance, field_text(batch, "source"));
            pair->target = text_of(rebalance, field_text(batch, "target"));
        }
        pair->slot_count += (int)field_int(batch, "slot_count");
    }
}

static void print_pair(struct pair *pair)
{
    (void)printf("Moving %d slots from %s to %s\n", pair->slot_count, pair->source, pair->target);
    for (int i = 0; i < pair->slot_count; i++) {
        (void)putchar('#');
    }
    (void)putchar('\n');
    (void)fflush(stdout);
    pair->is_printed = true;
}

static void operation_changed(void *user, const json_t *operation)
{
    struct rebalance *rebalance = user;
    const json_t *batches = field_list(operation, "batches");
    for (int i = 0; i < rebalance->pair_count; i++) {
        rebalance->pairs[i].done = 0;
    }
    for (size_t i = 0; i < json_array_size(batches); i++) {
        const json_t *batch = json_array_get(batches, i);
        struct pair *pair = find_pair(rebalance, batch);
        if (pair != NULL) {
            pair->done += (int)field_int(batch, "slots_done");
        }
    }
    for (int i = 0; i < rebalance->pair_count; i++) {
        struct pair *pair = &rebalance->pairs[i];
        if (!pair->is_printed && pair->done >= pair->slot_count) {
            print_pair(pair);
        }
    }
}

/* ---- doing it ---- */

static int work(struct rebalance *rebalance,
                struct compat_mover *mover,
                const json_t *request,
                struct err *err)
{
    json_t *answer = NULL;
    bool simulates = rebalance->run->options->simulates;
    int code = simulates ? compat_mover_plan(mover, request, &answer, err)
                         : compat_mover_start(mover, request, &answer, err);
    if (code != 0) {
        return code;
    }
    rebalance->plan = json_incref(field_object(answer, "plan"));
    read_pairs(rebalance);
    const json_t *operation = field_object(answer, "operation");
    if (simulates) {
        for (int i = 0; i < rebalance->pair_count; i++) {
            print_pair(&rebalance->pairs[i]);
        }
    } else if (operation != NULL) {
        code = compat_mover_follow(mover, field_text(operation, "id"), operation_changed, rebalance,
                                   err);
    }
    json_decref(answer);
    return code;
}

static int run_rebalance(struct rebalance *rebalance)
{
    const struct compat_options *options = rebalance->run->options;
    if (!compat_can_move_so(rebalance->run)) {
        return 1;
    }
    if (!is_due(rebalance)) {
        compat_say(COMPAT_WARN,
                   "*** No rebalancing needed! All nodes are within the %.2f%% threshold.",
                   options->threshold_percent);
        return 0;
    }
    struct err err = {0};
    struct compat_mover *mover = compat_open(rebalance->run, &rebalance->cluster, NULL, true, &err);
    int code = mover == NULL ? err.code : 0;
    if (code == 0) {
        json_t *request = make_request(rebalance);
        compat_say(COMPAT_BOLD, ">>> Rebalancing across %d nodes. Total weight = %.2f",
                   rebalance->involved, rebalance->total_weight);
        code = work(rebalance, mover, request, &err);
        json_decref(request);
    }
    compat_mover_close(mover);
    if (code != 0) {
        compat_say(COMPAT_BAD, "*** clusterManagerMoveSlot: %s", err.text);
    }
    return code == 0 ? 0 : 1;
}

/* The weights are judged before the check, as the original does. */
int compat_rebalance(struct compat_run *run)
{
    struct rebalance rebalance = {.run = run};
    int exit_code = 1;
    if (compat_load(run, &rebalance.cluster) != 0) {
        return 1;
    }
    int code = set_weights(&rebalance);
    compat_cluster_release(&rebalance.cluster);
    free(rebalance.weights);
    rebalance = (struct rebalance){.run = run};
    if (code != 0) {
        return 1;
    }
    int state = compat_load_sound(run, &rebalance.cluster, false);
    if (state == 0) {
        exit_code = set_weights(&rebalance) == 0 ? run_rebalance(&rebalance) : 1;
        compat_cluster_release(&rebalance.cluster);
    } else if (state < 0) {
        compat_say(COMPAT_PLAIN, "*** Please fix your cluster problems before rebalancing");
    }
    free(rebalance.pairs);
    free(rebalance.weights);
    json_decref(rebalance.plan);
    return exit_code;
}
