/* test_planner.c — BEFORE/AFTER tables of the planner, and everything that it refuses. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "tests/unit/coordinator/helper_planner.h"

/* "BEFORE", what to do, "AFTER", slots moved. Primaries are separated by '|'. */
struct table_row {
    const char *before;
    const char *after;
    int moved;
    int batches;
    double weights[5]; /* REBALANCE, DRAIN: of node 0.. when has_weights */
    bool has_weights;
    double threshold_percent;
    int node;       /* DRAIN: whom; RESHARD: target */
    int slot_count; /* RESHARD */
    int sources[3]; /* RESHARD: index + 1; 0 = none */
};

static void run_row(enum operation_kind kind, const struct table_row *row, size_t number)
{
    struct topology topology;
    struct plan_options options;
    struct plan plan = {0};
    struct err err = {0};
    struct node_weight weights[5];
    struct node_id sources[3];
    struct strbuf after = {0};
    made_parse(&topology, row->before);
    plan_options_init(&options);
    struct operation_request request = {.kind = kind,
                                        .threshold_percent = row->threshold_percent,
                                        .weights = weights,
                                        .sources = sources,
                                        .target = topology.nodes[row->node].id,
                                        .node = topology.nodes[row->node].id,
                                        .slot_count = row->slot_count};
    for (int i = 0; row->has_weights && i < topology.shard_count; i++) {
        if (kind != OPERATION_DRAIN || i != row->node) {
            weights[request.weight_count++] =
                (struct node_weight){topology.nodes[i].id, row->weights[i]};
        }
    }
    for (int i = 0; i < 3 && row->sources[i] > 0; i++) {
        sources[request.source_count++] = topology.nodes[row->sources[i] - 1].id;
    }
    if (plan_make(&topology, &request, &options, &plan, &err) != 0) {
        fail_msg("row %zu: %s", number, err.text);
    }
    int16_t owner[SLOT_COUNT];
    memcpy(owner, topology.owner, sizeof(owner));
    assert_int_equal(plan_apply_to(&plan, &topology, owner, &err), 0);
    made_format(&topology, owner, &after);
    if (strcmp(strbuf_text(&after), row->after) != 0) {
        fail_msg("row %zu:\nBEFORE   %s\nEXPECTED %s\nAFTER    %s", number, row->before, row->after,
                 strbuf_text(&after));
    }
    if (plan.slot_count != row->moved || plan.batch_count != row->batches) {
        fail_msg("row %zu: moved %d in %d batches, expected %d in %d", number, plan.slot_count,
                 plan.batch_count, row->moved, row->batches);
    }
    strbuf_release(&after);
    plan_release(&plan);
    topology_release(&topology);
}

/* Equal or weighted shares, least moves, few ranges, neighbours of what the target has. */
static void test_rebalance(void **state)
{
    (void)state;
    static const struct table_row rows[] = {
        /* two to three: each gives a third of its own, and the third gets one range */
        {.before = "0-8191 | 8192-16383 | ",
         .after = "0-5461 | 10923-16383 | 5462-10922",
         .moved = 5461,
         .batches = 12},
        /* level already, with the slot too many wherever it is: nothing moves */
        {.before = "0-5460 | 5461-10921 | 10922-16383",
         .after = "0-5460 | 5461-10921 | 10922-16383"},
        {.before = "0-5461 | 5462-10922 | 10923-16383",
         .after = "0-5461 | 5462-10922 | 10923-16383"},
        /* within the threshold nothing moves, above it the whole way is gone */
        {.before = "0-8200 | 8201-16383", .after = "0-8200 | 8201-16383", .threshold_percent = 2},
        {.before = "0-8391 | 8392-16383",
         .after = "0-8191 | 8192-16383",
         .moved = 200,
         .batches = 1,
         .threshold_percent = 2},
        /* the end of the range that touches the target's own slots, right or left */
        {.before = "0-9191 | 9192-16383",
         .after = "0-8191 | 8192-16383",
         .moved = 1000,
         .batches = 2},
        {.before = "0-7191 | 7192-16383",
         .after = "0-8191 | 8192-16383",
         .moved = 1000,
         .batches = 2},
        /* a whole range that is just what is wanted goes before the end of a neighbour */
        {.before = "0-8999 16184-16383 | 9000-16183",
         .after = "0-8191 | 8192-16383",
         .moved = 1008,
         .batches = 2},
        {.before = "0-8191 9000-9099 | 8192-8999 9100-16383",
         .after = "0-8191 | 8192-16383",
         .moved = 100,
         .batches = 1},
        /* weights; 0 empties a node */
        {.before = "0-8191 | 8192-16383",
         .after = "0-4095 | 4096-16383",
         .moved = 4096,
         .batches = 8,
         .has_weights = true,
         .weights = {1, 3}},
        {.before = "0-8191 | 8192-16383",
         .after = " | 0-16383",
         .moved = 8192,
         .batches = 16,
         .has_weights = true,
         .weights = {0, 0.5}},
        {.before = "0-16383 | ",
         .after = "1-16383 | 0",
         .moved = 1,
         .batches = 1,
         .has_weights = true,
         .weights = {16383, 1}},
        /* one primary */
        {.before = "0-16383", .after = "0-16383"},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        run_row(OPERATION_REBALANCE, &rows[i], i);
    }
}

static void test_reshard(void **state)
{
    (void)state;
    static const struct table_row rows[] = {
        /* from all, in proportion; what stands beside the target first */
        {.before = "0-8191 | 8192-12287 | 12288-16383",
         .after = "200-8191 | 8192-12187 | 0-199 12188-16383",
         .moved = 300,
         .batches = 2,
         .node = 2,
         .slot_count = 300},
        {.before = "0-8191 | 8192-12287 | 12288-16383",
         .after = "0-8191 | 8192-12187 | 12188-16383",
         .moved = 100,
         .batches = 1,
         .node = 2,
         .slot_count = 100,
         .sources = {2}},
        {.before = "0-8191 | 8192-12287 | 12288-16383",
         .after = " | 8192-12287 | 0-8191 12288-16383",
         .moved = 8192,
         .batches = 16,
         .node = 2,
         .slot_count = 8192,
         .sources = {1}},
        {.before = "0-16383 | ",
         .after = "1-16383 | 0",
         .moved = 1,
         .batches = 1,
         .node = 1,
         .slot_count = 1},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        run_row(OPERATION_RESHARD, &rows[i], i);
    }
}

static void test_drain(void **state)
{
    (void)state;
    static const struct table_row rows[] = {
        /* the survivors end level, each gets what stands beside its own */
        {.before = "0-5460 | 5461-10922 | 10923-16383",
         .after = "0-8191 |  | 8192-16383",
         .moved = 5462,
         .batches = 12,
         .node = 1},
        /* who has least gets first */
        {.before = "0-99 | 100-199 | 200-16383",
         .after = "0-99 200-16283 | 100-199 16284-16383 | ",
         .moved = 16184,
         .batches = 33,
         .node = 2,
         .has_weights = true,
         .weights = {1, 0.0124}},
        /* a primary without slots is left alone, unless it is named with a weight */
        {.before = "0-8191 | 8192-16383 | ",
         .after = " | 0-16383 | ",
         .moved = 8192,
         .batches = 16,
         .node = 0},
        {.before = "0-8191 | 8192-16383 | ",
         .after = " | 8192-16383 | 0-8191",
         .moved = 8192,
         .batches = 16,
         .node = 0,
         .has_weights = true,
         .weights = {0, 1, 1}},
        {.before = "0-8191 | 8192-16383 | ", .after = "0-8191 | 8192-16383 | ", .node = 2},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        run_row(OPERATION_DRAIN, &rows[i], i);
    }
}

/* The topology, request and options of a refusal; change them, then refused() them. */
struct setup {
    struct topology topology;
    struct operation_request request;
    struct plan_options options;
    struct node_weight weights[3];
    struct node_id ids[3];
    struct err err;
};

/* Three primaries with all slots, node 3 and 4 are replicas of 0 and 1. */
static void setup_init(struct setup *setup, enum operation_kind kind)
{
    memset(setup, 0, sizeof(*setup));
    made_parse(&setup->topology, "0-5460 | 5461-10922 | 10923-16383");
    made_add_replica(&setup->topology, 0);
    made_add_replica(&setup->topology, 1);
    plan_options_init(&setup->options);
    setup->request.kind = kind;
    setup->request.weights = setup->weights;
    setup->request.sources = setup->ids;
    setup->request.node = setup->topology.nodes[0].id;
    setup->request.target = setup->topology.nodes[0].id;
    setup->request.slot_count = 100;
}

static void refused(struct setup *setup, int code, const char *part)
{
    struct plan plan = {0};
    int got = plan_make(&setup->topology, &setup->request, &setup->options, &plan, &setup->err);
    if (got != code || strstr(setup->err.text, part) == NULL) {
        fail_msg("expected %s \"%s\", got %s \"%s\"", err_word(code), part, err_word(got),
                 setup->err.text);
    }
    /* On failure the output is untouched. */
    assert_null(plan.batches);
    assert_int_equal(plan.batch_count, 0);
    topology_release(&setup->topology);
}

static void test_refuses_unsettled(void **state)
{
    (void)state;
    static const enum operation_kind kinds[] = {OPERATION_REBALANCE, OPERATION_RESHARD,
                                                OPERATION_DRAIN};
    for (size_t i = 0; i < 3; i++) {
        struct setup setup;
        setup_init(&setup, kinds[i]);
        made_give(&setup.topology, NO_NODE, 7, 7);
        refused(&setup, ERR_CONFLICT, "not settled: slot 7 has no owner");
        assert_int_equal(setup.err.retry_after_s, 0); /* that does not pass by itself */
        setup_init(&setup, kinds[i]);
        setup.topology.views_missing = 1;
        refused(&setup, ERR_CONFLICT, "not settled: ");
        assert_int_equal(setup.err.retry_after_s, 1);
        setup_init(&setup, kinds[i]);
        setup.topology.nodes[1].is_reachable = false;
        refused(&setup, ERR_CONFLICT, "10.0.0.2:6379 (a0010000) is out of reach");
    }
}

static void test_refuses_names(void **state)
{
    (void)state;
    struct setup setup;
    setup_init(&setup, OPERATION_DRAIN);
    snprintf(setup.request.node.text, sizeof(setup.request.node.text), "a001%036d", 77);
    refused(&setup, ERR_NOT_FOUND, "no node is named \"a001");
    assert_non_null(strstr(setup.err.hint, "10.0.0.2:6379"));
    setup_init(&setup, OPERATION_DRAIN);
    setup.request.node = setup.topology.nodes[3].id;
    refused(&setup, ERR_INVALID, "node to drain 10.0.0.4:6379 (a0030000) is a replica");
    assert_non_null(strstr(setup.err.hint, "10.0.0.1:6379"));
    setup_init(&setup, OPERATION_RESHARD);
    setup.request.target = setup.topology.nodes[4].id;
    refused(&setup, ERR_INVALID, "target 10.0.0.5:6379 (a0040000) is a replica");
    setup_init(&setup, OPERATION_RESHARD);
    setup.ids[setup.request.source_count++] = setup.topology.nodes[0].id;
    refused(&setup, ERR_INVALID, "is source and target");
    setup_init(&setup, OPERATION_RESHARD);
    setup.ids[setup.request.source_count++] = setup.topology.nodes[1].id;
    setup.ids[setup.request.source_count++] = setup.topology.nodes[1].id;
    refused(&setup, ERR_INVALID, "named twice");
    setup_init(&setup, OPERATION_RESHARD);
    setup.ids[setup.request.source_count++] = setup.topology.nodes[4].id;
    refused(&setup, ERR_INVALID, "source 10.0.0.5:6379 (a0040000) is a replica");
    setup_init(&setup, OPERATION_REBALANCE);
    setup.topology.nodes[4].is_member = false;
    setup.weights[setup.request.weight_count++] =
        (struct node_weight){setup.topology.nodes[4].id, 1};
    refused(&setup, ERR_INVALID, "not a member");
}

static void test_refuses_numbers(void **state)
{
    (void)state;
    struct setup setup;
    setup_init(&setup, OPERATION_RESHARD);
    setup.request.slot_count = 10924;
    refused(&setup, ERR_INVALID, "10924 slots are asked for, but the 2 sources own only 10923");
    setup_init(&setup, OPERATION_RESHARD);
    setup.request.slot_count = 0;
    refused(&setup, ERR_INVALID, "0 slots are asked for");
    setup_init(&setup, OPERATION_RESHARD);
    setup.request.slot_count = 16385;
    refused(&setup, ERR_INVALID, "16385 slots are asked for");
    static const double bad[] = {-1, 1000001, 0.0 / 0.0, 1.0 / 0.0, 0.00001};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        setup_init(&setup, OPERATION_REBALANCE);
        setup.weights[setup.request.weight_count++] =
            (struct node_weight){setup.topology.nodes[0].id, bad[i]};
        refused(&setup, ERR_INVALID, "weight ");
    }
    setup_init(&setup, OPERATION_REBALANCE);
    for (int i = 0; i < 3; i++) {
        setup.weights[setup.request.weight_count++] =
            (struct node_weight){setup.topology.nodes[i].id, 0};
    }
    refused(&setup, ERR_INVALID, "all primaries have weight 0");
    setup_init(&setup, OPERATION_REBALANCE);
    setup.weights[setup.request.weight_count++] =
        (struct node_weight){setup.topology.nodes[0].id, 1};
    setup.weights[setup.request.weight_count++] =
        (struct node_weight){setup.topology.nodes[0].id, 2};
    refused(&setup, ERR_INVALID, "two weights");
    setup_init(&setup, OPERATION_REBALANCE);
    setup.request.threshold_percent = -0.1;
    refused(&setup, ERR_INVALID, "threshold");
    setup_init(&setup, OPERATION_REBALANCE);
    setup.options.batch_slots_max = BATCH_SLOTS_MAX + 1;
    refused(&setup, ERR_INVALID, "batch_slots_max 2049 is not 1 to 2048");
    setup_init(&setup, OPERATION_REBALANCE);
    setup.options.memory_limit_percent = 0;
    refused(&setup, ERR_INVALID, "memory_limit_percent");
    setup_init(&setup, OPERATION_REBALANCE);
    setup.request.kind = 0;
    refused(&setup, ERR_INVALID, "operation kind 0");
}

static void test_refuses_last_primary(void **state)
{
    (void)state;
    struct setup setup;
    setup_init(&setup, OPERATION_DRAIN);
    topology_release(&setup.topology);
    made_parse(&setup.topology, "0-16383");
    refused(&setup, ERR_REFUSED, "cannot be drained: no other primary");
    assert_string_equal(setup.err.hint, "add a primary first");
    setup_init(&setup, OPERATION_DRAIN);
    topology_release(&setup.topology);
    made_parse(&setup.topology, "0-16383 | ");
    refused(&setup, ERR_REFUSED, "cannot be drained");
    assert_non_null(strstr(setup.err.hint, "1 primary has no slots"));
    setup_init(&setup, OPERATION_DRAIN);
    setup.ids[0] = setup.topology.nodes[1].id;
    setup.ids[1] = setup.topology.nodes[2].id;
    setup.options.excluded = setup.ids;
    setup.options.excluded_count = 2;
    refused(&setup, ERR_REFUSED, "cannot be drained");
}

/* Excluded nodes neither give nor get. */
static void test_excluded(void **state)
{
    (void)state;
    struct setup setup;
    struct plan plan = {0};
    setup_init(&setup, OPERATION_REBALANCE);
    topology_release(&setup.topology);
    made_parse(&setup.topology, "0-9999 | 10000-11999 | 12000-16383");
    setup.ids[0] = setup.topology.nodes[0].id;
    setup.options.excluded = setup.ids;
    setup.options.excluded_count = 1;
    assert_int_equal(plan_make(&setup.topology, &setup.request, &setup.options, &plan, &setup.err),
                     0);
    int16_t owner[SLOT_COUNT];
    struct strbuf after = {0};
    memcpy(owner, setup.topology.owner, sizeof(owner));
    assert_int_equal(plan_apply_to(&plan, &setup.topology, owner, &setup.err), 0);
    made_format(&setup.topology, owner, &after);
    assert_string_equal(strbuf_text(&after), "0-9999 | 10000-13191 | 13192-16383");
    strbuf_release(&after);
    plan_release(&plan);
    topology_release(&setup.topology);
}

static void set_memory(struct topology *topology, int node, int64_t keys, int64_t used, int64_t max)
{
    topology->nodes[node].keys = keys;
    topology->nodes[node].used_memory_bytes = used;
    topology->nodes[node].maxmemory_bytes = max;
}

/* A target never gets more than the limit percent of its maxmemory; the refusal tells the numbers.
 */
static void test_memory(void **state)
{
    (void)state;
    struct setup setup;
    struct plan plan = {0};
    setup_init(&setup, OPERATION_DRAIN);
    set_memory(&setup.topology, 0, 1000000, 900000000, 0);
    set_memory(&setup.topology, 1, 1000000, 500000000, 1000000000);
    set_memory(&setup.topology, 2, 1000000, 600000000, 1000000000);
    refused(&setup, ERR_REFUSED,
            "target short of memory: draining 10.0.0.1:6379 (a0000000) moves about 900 MB, but "
            "the 2 other primaries have room for 500 MB");
    /* With more room in one of both that one gets what the other cannot take. */
    setup_init(&setup, OPERATION_DRAIN);
    set_memory(&setup.topology, 0, 1000000, 546100000, 0);          /* 100 kB a slot */
    set_memory(&setup.topology, 1, 1000000, 700000000, 1000000000); /* room for 1,000 slots */
    set_memory(&setup.topology, 2, 1000000, 100000000, 1000000000); /* room for 7,000 slots */
    assert_int_equal(plan_make(&setup.topology, &setup.request, &setup.options, &plan, &setup.err),
                     0);
    int16_t owner[SLOT_COUNT];
    int counts[3] = {0};
    memcpy(owner, setup.topology.owner, sizeof(owner));
    assert_int_equal(plan_apply_to(&plan, &setup.topology, owner, &setup.err), 0);
    for (int slot = 0; slot < SLOT_COUNT; slot++) {
        counts[owner[slot]]++;
    }
    assert_int_equal(counts[0], 0);
    assert_int_equal(counts[1], 5462 + 1000);
    assert_int_equal(counts[2], 5461 + 4461);
    plan_release(&plan);
    topology_release(&setup.topology);
    /* A reshard and a rebalance into a full node are refused too. */
    setup_init(&setup, OPERATION_RESHARD);
    setup.request.slot_count = 2000;
    set_memory(&setup.topology, 0, 10, 790000000, 1000000000);
    setup.topology.nodes[0].evicts = true;
    set_memory(&setup.topology, 1, 1000000, 546100000, 0);
    set_memory(&setup.topology, 2, 1000000, 546100000, 0);
    refused(&setup, ERR_REFUSED,
            "target 10.0.0.1:6379 (a0000000) is short of memory: it uses 790 MB, would get about "
            "200 MB more, and may hold 800 MB (80 % of its maxmemory of 1.0 GB); beyond that");
}

/* Keys and bytes of the batches add up to the share of what the source has; counted slots are used
 * when given. */
static void test_estimates(void **state)
{
    (void)state;
    struct setup setup;
    struct plan plan = {0};
    setup_init(&setup, OPERATION_DRAIN);
    set_memory(&setup.topology, 0, 1000003, 99999989, 0);
    assert_int_equal(plan_make(&setup.topology, &setup.request, &setup.options, &plan, &setup.err),
                     0);
    assert_int_equal(plan.keys_estimate, 1000003);
    assert_int_equal(plan.bytes_estimate, 99999989);
    /* One source has one batch at a time: 5,461 slots at 5,000/s and 1,000,003 keys at 60,000/s. */
    assert_in_range(plan.duration_estimate_ms, 17700, 17800);
    plan_release(&plan);
    static int32_t slot_keys[SLOT_COUNT];
    for (int slot = 0; slot < SLOT_COUNT; slot++) {
        slot_keys[slot] = slot == 5 ? 1000 : 0;
    }
    set_memory(&setup.topology, 0, 1000, 1000000, 0);
    setup.options.slot_keys = slot_keys;
    assert_int_equal(plan_make(&setup.topology, &setup.request, &setup.options, &plan, &setup.err),
                     0);
    assert_int_equal(plan.keys_estimate, 1000);
    assert_int_equal(plan.bytes_estimate, 1000000);
    for (int i = 0; i < plan.batch_count; i++) {
        assert_int_equal(plan.batches[i].keys_estimate,
                         slotset_has(&plan.batches[i].slots, 5) ? 1000 : 0);
    }
    plan_release(&plan);
    topology_release(&setup.topology);
}

/* Batches of disjoint pairs stand side by side, and a source with several targets changes between
 * them. */
static void test_batch_order(void **state)
{
    (void)state;
    struct setup setup;
    struct plan plan = {0};
    setup_init(&setup, OPERATION_DRAIN);
    assert_int_equal(plan_make(&setup.topology, &setup.request, &setup.options, &plan, &setup.err),
                     0);
    for (int i = 1; i < plan.batch_count; i++) {
        assert_int_equal(plan.batches[i].index, i);
        assert_false(node_id_is_equal(&plan.batches[i].target, &plan.batches[i - 1].target));
        assert_in_range(slotset_count(&plan.batches[i].slots), 1, 512);
    }
    plan_release(&plan);
    topology_release(&setup.topology);
    setup_init(&setup, OPERATION_REBALANCE);
    topology_release(&setup.topology);
    made_parse(&setup.topology, "0-8191 | 8192-16383 | | ");
    assert_int_equal(plan_make(&setup.topology, &setup.request, &setup.options, &plan, &setup.err),
                     0);
    for (int i = 0; i + 1 < plan.batch_count; i += 2) {
        assert_false(node_id_is_equal(&plan.batches[i].source, &plan.batches[i + 1].source));
        assert_false(node_id_is_equal(&plan.batches[i].target, &plan.batches[i + 1].target));
    }
    plan_release(&plan);
    topology_release(&setup.topology);
}

/* Named slots are the ones that move, whoever of the sources has them; others are refused by name.
 */
static void test_reshard_named_slots(void **state)
{
    (void)state;
    struct setup setup;
    struct plan plan = {0};
    struct err err = {0};
    setup_init(&setup, OPERATION_RESHARD);
    struct topology *topology = &setup.topology;
    topology_release(topology);
    made_parse(topology, "0-8191 | 8192-16383 | ");
    setup.request.target = topology->nodes[2].id;
    slotset_add_range(&setup.request.slots, 8000, 8300);
    setup.request.slot_count = 301;
    assert_int_equal(plan_make(topology, &setup.request, &setup.options, &plan, &err), 0);
    struct slotset moved = {0};
    for (int i = 0; i < plan.batch_count; i++) {
        slotset_union(&moved, &plan.batches[i].slots);
        assert_true(node_id_is_equal(&plan.batches[i].target, &topology->nodes[2].id));
    }
    assert_true(slotset_is_equal(&moved, &setup.request.slots));
    assert_int_equal(plan.slot_count, 301);
    plan_release(&plan);
    setup.request.slot_count = 300;
    assert_int_equal(plan_make(topology, &setup.request, &setup.options, &plan, &err), ERR_INVALID);
    setup.request.slot_count = 301;
    setup.request.target = topology->nodes[1].id;
    assert_int_equal(plan_make(topology, &setup.request, &setup.options, &plan, &err), ERR_INVALID);
    assert_non_null(strstr(err.text, "slot 8192 is named but owned by"));
    topology_release(topology);
}

/* Redis makes a primary that has given its last slot away a replica of who got it: the plan that
 * emptied it is fulfilled, not disturbed. */
static void test_check_begun_source_is_empty(void **state)
{
    (void)state;
    struct setup setup;
    struct plan plan = {0};
    struct err err = {0};
    setup_init(&setup, OPERATION_DRAIN);
    struct topology *topology = &setup.topology;
    assert_int_equal(plan_make(topology, &setup.request, &setup.options, &plan, &err), 0);
    int source = topology_find(topology, &plan.batches[0].source);
    assert_int_equal(plan_apply_to(&plan, topology, topology->owner, &err), 0);
    topology->nodes[source].role = NODE_ROLE_REPLICA;
    topology->nodes[source].primary = topology_find(topology, &plan.batches[0].target);
    assert_int_equal(plan_check_begun(&plan, topology, &err), 0);
    made_give(topology, source, 5, 5);
    assert_int_equal(plan_check_begun(&plan, topology, &err), ERR_CONFLICT);
    plan_release(&plan);
    topology_release(topology);
}

/* A changed topology refuses the plan and the text names what differs. */
static void test_check(void **state)
{
    (void)state;
    struct setup setup;
    struct plan plan = {0};
    struct err err = {0};
    setup_init(&setup, OPERATION_DRAIN);
    struct topology *topology = &setup.topology;
    assert_int_equal(plan_make(topology, &setup.request, &setup.options, &plan, &err), 0);
    assert_int_equal(plan_check(&plan, topology, &err), 0);
    topology->nodes[0].config_epoch = 99;
    topology->nodes[1].keys = 99;
    assert_int_equal(plan_check(&plan, topology, &err), 0);
    made_give(topology, 1, 5, 5);
    assert_int_equal(plan_check(&plan, topology, &err), ERR_CONFLICT);
    assert_string_equal(
        err.text,
        "the cluster changed since the plan was made: slot 5 is owned by 10.0.0.2:6379 "
        "(a0010000), the plan has it at 10.0.0.1:6379 (a0000000)");
    /* With the plan begun this is what is expected of a slot that goes to node 1, but not of one
     * that goes to 2. */
    int to_one = -1;
    int to_two = -1;
    for (int i = 0; i < plan.batch_count; i++) {
        bool is_one = node_id_is_equal(&plan.batches[i].target, &topology->nodes[1].id);
        *(is_one ? &to_one : &to_two) = slotset_next(&plan.batches[i].slots, 0);
    }
    made_give(topology, 0, 5, 5);
    made_give(topology, 1, to_one, to_one);
    assert_int_equal(plan_check_begun(&plan, topology, &err), 0);
    made_give(topology, 1, to_two, to_two);
    assert_int_equal(plan_check_begun(&plan, topology, &err), ERR_CONFLICT);
    made_give(topology, 0, to_one, to_one);
    made_give(topology, 0, to_two, to_two);
    assert_int_equal(plan_check(&plan, topology, &err), 0);
    topology->nodes[2].role = NODE_ROLE_REPLICA;
    topology->nodes[2].primary = 1;
    assert_int_equal(plan_check(&plan, topology, &err), ERR_CONFLICT);
    assert_non_null(strstr(err.text, "target 10.0.0.3:6379 (a0020000) is no longer a primary"));
    topology->nodes[2].role = NODE_ROLE_PRIMARY;
    topology->nodes[2].primary = NO_NODE;
    topology->nodes[3].primary = 1;
    assert_int_equal(plan_check(&plan, topology, &err), ERR_CONFLICT);
    assert_non_null(strstr(err.text, "members, roles or owners of other slots"));
    plan_release(&plan);
    topology_release(topology);
}

/* The inverse leads back to where the plan began, and is bound to where the plan ends. */
static void test_invert(void **state)
{
    (void)state;
    struct setup setup;
    struct plan plan = {0};
    struct plan inverse = {0};
    struct err err = {0};
    setup_init(&setup, OPERATION_DRAIN);
    int16_t owner[SLOT_COUNT];
    memcpy(owner, setup.topology.owner, sizeof(owner));
    assert_int_equal(plan_make(&setup.topology, &setup.request, &setup.options, &plan, &err), 0);
    assert_int_equal(plan_invert(&plan, &setup.topology, &setup.options, &inverse, &err), 0);
    assert_int_equal(plan_apply_to(&plan, &setup.topology, owner, &err), 0);
    assert_int_equal(inverse.topology_digest, topology_digest_with_owners(&setup.topology, owner));
    assert_int_equal(plan_apply_to(&plan, &setup.topology, owner, &err), ERR_CONFLICT);
    assert_int_equal(plan_apply_to(&inverse, &setup.topology, owner, &err), 0);
    assert_memory_equal(owner, setup.topology.owner, sizeof(owner));
    assert_int_equal(inverse.slot_count, plan.slot_count);
    made_give(&setup.topology, 1, 0, 0);
    struct plan other = {0};
    assert_int_equal(plan_invert(&plan, &setup.topology, &setup.options, &other, &err),
                     ERR_CONFLICT);
    plan_release(&plan);
    plan_release(&inverse);
    topology_release(&setup.topology);
}

static void test_format(void **state)
{
    (void)state;
    struct setup setup;
    struct plan plan = {0};
    struct strbuf text = {0};
    setup_init(&setup, OPERATION_RESHARD);
    set_memory(&setup.topology, 1, 54620, 5462000, 0);
    setup.ids[setup.request.source_count++] = setup.topology.nodes[1].id;
    setup.request.slot_count = 3;
    setup.options.batch_slots_max = 2;
    assert_int_equal(plan_make(&setup.topology, &setup.request, &setup.options, &plan, &setup.err),
                     0);
    plan_format(&plan, &setup.topology, &text);
    assert_string_equal(strbuf_text(&text),
                        "batch 0: 10.0.0.2:6379 (a0010000) -> 10.0.0.1:6379 (a0000000): 5461-5462 "
                        "(2 slots, about 20 keys, 2.0 kB)\n"
                        "batch 1: 10.0.0.2:6379 (a0010000) -> 10.0.0.1:6379 (a0000000): 5463 (1 "
                        "slot, about 10 keys, 1.0 kB)\n"
                        "in all 2 batches: 3 slots, about 30 keys, 3.0 kB; about 0 min 1 s\n");
    strbuf_clear(&text);
    plan_release(&plan);
    plan_format(&plan, &setup.topology, &text);
    assert_string_equal(strbuf_text(&text), "nothing to move\n");
    strbuf_release(&text);
    topology_release(&setup.topology);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rebalance),
        cmocka_unit_test(test_reshard),
        cmocka_unit_test(test_drain),
        cmocka_unit_test(test_refuses_unsettled),
        cmocka_unit_test(test_refuses_names),
        cmocka_unit_test(test_refuses_numbers),
        cmocka_unit_test(test_refuses_last_primary),
        cmocka_unit_test(test_excluded),
        cmocka_unit_test(test_memory),
        cmocka_unit_test(test_estimates),
        cmocka_unit_test(test_batch_order),
        cmocka_unit_test(test_check),
        cmocka_unit_test(test_reshard_named_slots),
        cmocka_unit_test(test_check_begun_source_is_empty),
        cmocka_unit_test(test_invert),
        cmocka_unit_test(test_format),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
