/* test_planner_property.c — generated clusters and requests: what holds for every plan.
 *
 * Shares are proved least on 100,000 cases in test_balance.c; here whole plans are checked, in
 * numbers that take some seconds. DROVER_CASES=100000 runs more. A failing case prints its number;
 * DROVER_CASE=<number> runs that one alone. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "tests/unit/coordinator/helper_planner.h"

#include "common/base/prng.h"

#ifdef __OPTIMIZE__
#define CASES 40000
#else
#define CASES 8000
#endif
#define PRIMARIES_MAX 6

struct property {
    int number;
    int range_count; /* of the topology's owner map */
    struct topology topology;
    struct operation_request request;
    struct plan_options options;
    struct node_weight weights[PRIMARIES_MAX];
    int64_t weight_of[PRIMARIES_MAX]; /* as whole numbers; 1 when not named */
    struct node_id sources[PRIMARIES_MAX];
    struct node_id excluded[PRIMARIES_MAX];
};

#define MUST(property, condition)                                                  \
    do {                                                                           \
        if (!(condition)) {                                                        \
            fail_msg("case %d: " #condition " does not hold", (property)->number); \
        }                                                                          \
    } while (0)

/* Slots of each node; returns the number of ranges in the map. */
static int count_slots(const struct property *property,
                       const int16_t owner[SLOT_COUNT],
                       int counts[PRIMARIES_MAX])
{
    int ranges = 0;
    int first = 0;
    memset(counts, 0, PRIMARIES_MAX * sizeof(int));
    for (int slot = 1; slot <= SLOT_COUNT; slot++) {
        if (slot == SLOT_COUNT || owner[slot] != owner[first]) {
            MUST(property, owner[first] >= 0 && owner[first] < PRIMARIES_MAX);
            counts[owner[first]] += slot - first;
            first = slot;
            ranges++;
        }
    }
    return ranges;
}

/* All slots to random owners, in a few long or many short runs. */
static void random_slots(struct prng *prng, struct topology *topology, int owners)
{
    int run_max = prng_chance(prng, 1, 8) ? 40 : 8000;
    int first = 0;
    while (first < SLOT_COUNT) {
        int last = first + (int)prng_range(prng, 0, run_max);
        last = last >= SLOT_COUNT ? SLOT_COUNT - 1 : last;
        made_give(topology, (int)prng_below(prng, (uint64_t)owners), first, last);
        first = last + 1;
    }
}

static void random_request(struct prng *prng, struct property *property)
{
    struct operation_request *request = &property->request;
    const struct topology *topology = &property->topology;
    int count = topology->shard_count;
    int node = (int)prng_below(prng, (uint64_t)count);
    *request = (struct operation_request){.kind = (enum operation_kind)prng_range(prng, 1, 3),
                                          .weights = property->weights,
                                          .sources = property->sources,
                                          .node = topology->nodes[node].id,
                                          .target = topology->nodes[node].id};
    request->slot_count = prng_chance(prng, 1, 2) ? (int)prng_range(prng, 1, 200)
                                                  : (int)prng_range(prng, 1, SLOT_COUNT);
    for (int i = 0; i < count; i++) {
        property->weight_of[i] = 1;
        if (request->kind != OPERATION_RESHARD && prng_chance(prng, 1, 4)) {
            property->weight_of[i] = prng_range(prng, 0, 4);
            property->weights[request->weight_count++] =
                (struct node_weight){topology->nodes[i].id, (double)property->weight_of[i]};
        }
        if (request->kind == OPERATION_RESHARD && i != node && prng_chance(prng, 1, 4)) {
            property->sources[request->source_count++] = topology->nodes[i].id;
        }
        if (prng_chance(prng, 1, 20)) {
            property->excluded[property->options.excluded_count++] = topology->nodes[i].id;
        }
    }
    property->options.excluded = property->excluded;
}

/* 'property' is zeroed. */
static void random_property(struct property *property, int number)
{
    struct prng prng;
    prng_init(&prng, (uint64_t)number);
    property->number = number;
    int count = (int)prng_range(&prng, 1, PRIMARIES_MAX);
    made_init(&property->topology, count);
    random_slots(&prng, &property->topology, (int)prng_range(&prng, 1, count));
    int counts[PRIMARIES_MAX];
    property->range_count = count_slots(property, property->topology.owner, counts);
    plan_options_init(&property->options);
    property->options.batch_slots_max =
        prng_chance(&prng, 1, 2) ? 512 : (int)prng_range(&prng, 40, BATCH_SLOTS_MAX);
    property->options.uses_empty_primaries = prng_chance(&prng, 3, 4);
    random_request(&prng, property);
}

static bool is_excluded(const struct property *property, int node)
{
    for (int i = 0; i < property->options.excluded_count; i++) {
        if (node_id_is_equal(&property->excluded[i], &property->topology.nodes[node].id)) {
            return true;
        }
    }
    return false;
}

/* Shares are exact but for rounding, and brute force over every rounding finds none that moves
 * fewer slots. */
static void check_rebalance(const struct property *property,
                            const struct plan *plan,
                            const int counts[PRIMARIES_MAX])
{
    const struct topology *topology = &property->topology;
    int members[PRIMARIES_MAX];
    int count = 0;
    int64_t total = 0;
    int64_t weights = 0;
    int least = SLOT_COUNT + 1;
    for (int i = 0; i < topology->shard_count; i++) {
        bool is_left_empty =
            topology->nodes[i].slot_count == 0 && !property->options.uses_empty_primaries;
        if (is_excluded(property, i) || is_left_empty) {
            MUST(property, counts[i] == topology->nodes[i].slot_count);
            continue;
        }
        members[count++] = i;
        total += topology->nodes[i].slot_count;
        weights += property->weight_of[i];
    }
    for (unsigned choice = 0; choice < 1u << count; choice++) {
        int64_t sum = 0;
        int moves = 0;
        for (int i = 0; i < count; i++) {
            int64_t product = total * property->weight_of[members[i]];
            int64_t share =
                product / weights + (product % weights != 0 && ((choice >> i) & 1u) != 0);
            int current = topology->nodes[members[i]].slot_count;
            sum += share;
            moves += current > share ? current - (int)share : 0;
        }
        least = sum == total && moves < least ? moves : least;
    }
    for (int i = 0; i < count; i++) {
        int64_t distance = counts[members[i]] * weights - total * property->weight_of[members[i]];
        MUST(property, distance > -weights);
        MUST(property, distance < weights);
    }
    MUST(property, plan->slot_count == least);
}

static void check_drain(const struct property *property,
                        const struct plan *plan,
                        const int counts[PRIMARIES_MAX])
{
    const struct topology *topology = &property->topology;
    int drained = topology_find(topology, &property->request.node);
    MUST(property, counts[drained] == 0);
    MUST(property, plan->slot_count == topology->nodes[drained].slot_count);
    for (int i = 0; i < topology->shard_count; i++) {
        MUST(property, i == drained || counts[i] >= topology->nodes[i].slot_count);
        MUST(property, !is_excluded(property, i) || i == drained ||
                           counts[i] == topology->nodes[i].slot_count);
    }
}

/* Each batch has one source and one target, is within its limit, and no slot moves twice. Returns
 * pairs in use. */
static int check_batches(const struct property *property, const struct plan *plan)
{
    bool is_pair[PRIMARIES_MAX][PRIMARIES_MAX] = {{false}};
    bool gives[PRIMARIES_MAX] = {false};
    bool gets[PRIMARIES_MAX] = {false};
    struct slotset all = {0};
    int pairs = 0;
    int sum = 0;
    for (int i = 0; i < plan->batch_count; i++) {
        const struct batch *batch = &plan->batches[i];
        int source = topology_find(&property->topology, &batch->source);
        int target = topology_find(&property->topology, &batch->target);
        int count = slotset_count(&batch->slots);
        MUST(property, source != NO_NODE && target != NO_NODE && source != target);
        MUST(property, count >= 1 && count <= property->options.batch_slots_max);
        MUST(property, batch->index == i && batch->state == BATCH_WAITING && batch->attempt == 0);
        MUST(property, !slotset_intersects(&all, &batch->slots));
        slotset_union(&all, &batch->slots);
        pairs += !is_pair[source][target];
        is_pair[source][target] = true;
        gives[source] = gets[target] = true;
        sum += count;
    }
    for (int i = 0; i < PRIMARIES_MAX; i++) {
        MUST(property, !(gives[i] && gets[i]));
    }
    MUST(property, sum == plan->slot_count);
    return pairs;
}

static void check_plan(const struct property *property, const struct plan *plan)
{
    const struct topology *topology = &property->topology;
    int16_t owner[SLOT_COUNT];
    int counts[PRIMARIES_MAX];
    struct err err = {0};
    int pairs = check_batches(property, plan);
    memcpy(owner, topology->owner, sizeof(owner));
    MUST(property, plan_apply_to(plan, topology, owner, &err) == 0);
    /* A pair cuts at most one range in two. */
    MUST(property, count_slots(property, owner, counts) <= property->range_count + pairs);
    MUST(property, pairs < topology->shard_count);
    switch (property->request.kind) {
    case OPERATION_REBALANCE:
        check_rebalance(property, plan, counts);
        break;
    case OPERATION_RESHARD: {
        int target = topology_find(topology, &property->request.target);
        MUST(property, plan->slot_count == property->request.slot_count);
        MUST(property, counts[target] == topology->nodes[target].slot_count + plan->slot_count);
        break;
    }
    case OPERATION_DRAIN:
        check_drain(property, plan, counts);
        break;
    case OPERATION_CREATE:
    case OPERATION_ADD:
    case OPERATION_REMOVE:
    case OPERATION_SCALE:
    case OPERATION_REPLICATE:
    case OPERATION_FAILOVER:
    case OPERATION_REPAIR:
        break; /* not asked for here */
    }
}

/* Same input, same plan; and its inverse leads back. Checked on some, for time. */
static void check_again(struct property *property, const struct plan *plan)
{
    struct plan again = {0};
    struct plan inverse = {0};
    struct err err = {0};
    int16_t owner[SLOT_COUNT];
    MUST(property,
         plan_make(&property->topology, &property->request, &property->options, &again, &err) == 0);
    MUST(property, again.batch_count == plan->batch_count);
    for (int i = 0; i < plan->batch_count; i++) {
        MUST(property, slotset_is_equal(&again.batches[i].slots, &plan->batches[i].slots));
        MUST(property, node_id_is_equal(&again.batches[i].source, &plan->batches[i].source));
        MUST(property, node_id_is_equal(&again.batches[i].target, &plan->batches[i].target));
    }
    MUST(property, plan_check(plan, &property->topology, &err) == 0);
    MUST(property, plan_invert(plan, &property->topology, &property->options, &inverse, &err) == 0);
    memcpy(owner, property->topology.owner, sizeof(owner));
    MUST(property, plan_apply_to(plan, &property->topology, owner, &err) == 0);
    MUST(property,
         inverse.topology_digest == topology_digest_with_owners(&property->topology, owner));
    MUST(property, plan_apply_to(&inverse, &property->topology, owner, &err) == 0);
    MUST(property, memcmp(owner, property->topology.owner, sizeof(owner)) == 0);
    plan_release(&again);
    plan_release(&inverse);
}

static void test_every_plan(void **state)
{
    (void)state;
    const char *only = getenv("DROVER_CASE");
    const char *more = getenv("DROVER_CASES");
    int cases = more == NULL ? CASES : (int)strtol(more, NULL, 10);
    int first = only == NULL ? 0 : (int)strtol(only, NULL, 10);
    int last = only == NULL ? cases - 1 : first;
    int made[4] = {0};
    int refused = 0;
    for (int number = first; number <= last; number++) {
        struct property property = {0};
        struct plan plan = {0};
        struct err err = {0};
        random_property(&property, number);
        int code = plan_make(&property.topology, &property.request, &property.options, &plan, &err);
        if (code == 0) {
            check_plan(&property, &plan);
            if (number % 64 == 0) {
                check_again(&property, &plan);
            }
            made[property.request.kind]++;
        } else {
            /* Generated requests ask for senseless things too; then a sentence says so and nothing
             * is made. */
            MUST(&property, code == ERR_INVALID || code == ERR_REFUSED);
            MUST(&property, err.text[0] != '\0' && plan.batches == NULL);
            refused++;
        }
        plan_release(&plan);
        topology_release(&property.topology);
    }
    if (only == NULL) {
        printf("plans checked: %d rebalance, %d reshard, %d drain; %d requests refused\n", made[1],
               made[2], made[3], refused);
        assert_true(made[1] > cases / 6);
        assert_true(made[2] > cases / 10);
        assert_true(made[3] > cases / 10);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_every_plan)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
