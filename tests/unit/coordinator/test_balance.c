/* test_balance.c — shares against brute force over every rounding, and the level filling of a
 * drain. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "common/base/prng.h"
#include "common/base/slotset.h"
#include "coordinator/core/balance.h"

#define NODES_MAX 6
#define CASES 100000

static int random_nodes(struct prng *prng, struct balance_node *nodes)
{
    int count = (int)prng_range(prng, 1, NODES_MAX);
    bool has_weight = false;
    for (int i = 0; i < count; i++) {
        nodes[i] = (struct balance_node){.weight = prng_range(prng, 0, 5) * 10000,
                                         .current = (int)prng_range(prng, 0, 40),
                                         .cap = BALANCE_NO_CAP};
        has_weight = has_weight || nodes[i].weight > 0;
    }
    if (!has_weight) {
        nodes[0].weight = 1;
    }
    return count;
}

static int sum_of_current(const struct balance_node *nodes, int count)
{
    int sum = 0;
    for (int i = 0; i < count; i++) {
        sum += nodes[i].current;
    }
    return sum;
}

/* The least moves over all ways to round every exact share down or up that keep the sum. */
static int least_moves(const struct balance_node *nodes, int count)
{
    int64_t total = sum_of_current(nodes, count);
    int64_t weights = 0;
    int least = SLOT_COUNT + 1;
    for (int i = 0; i < count; i++) {
        weights += nodes[i].weight;
    }
    for (unsigned choice = 0; choice < 1u << count; choice++) {
        int64_t sum = 0;
        int moves = 0;
        bool is_legal = true;
        for (int i = 0; i < count; i++) {
            int64_t share = total * nodes[i].weight / weights;
            bool is_up = (choice >> i) & 1u;
            is_legal = is_legal && !(is_up && total * nodes[i].weight % weights == 0);
            share += is_up;
            sum += share;
            moves += nodes[i].current > share ? nodes[i].current - (int)share : 0;
        }
        if (is_legal && sum == total && moves < least) {
            least = moves;
        }
    }
    return least;
}

/* Every share is the exact one rounded down or up, the sum is kept, and no other such rounding
 * moves fewer slots. */
static void test_shares_move_least(void **state)
{
    (void)state;
    struct prng prng;
    prng_init(&prng, 1);
    for (int n = 0; n < CASES; n++) {
        struct balance_node nodes[NODES_MAX];
        int count = random_nodes(&prng, nodes);
        int64_t total = sum_of_current(nodes, count);
        int64_t weights = 0;
        int64_t sum = 0;
        balance_shares(nodes, count);
        for (int i = 0; i < count; i++) {
            weights += nodes[i].weight;
            sum += nodes[i].result;
        }
        assert_int_equal(sum, total);
        for (int i = 0; i < count; i++) {
            int64_t distance = nodes[i].result * weights - total * nodes[i].weight;
            assert_true(distance > -weights);
            assert_true(distance < weights);
        }
        assert_int_equal(balance_move_count(nodes, count), least_moves(nodes, count));
    }
}

/* Taking is in proportion, never more than there is, and exact in sum. */
static void test_take(void **state)
{
    (void)state;
    struct prng prng;
    prng_init(&prng, 2);
    for (int n = 0; n < CASES; n++) {
        struct balance_node nodes[NODES_MAX];
        int count = random_nodes(&prng, nodes);
        int total = sum_of_current(nodes, count);
        int amount = (int)prng_range(&prng, 0, total);
        int sum = 0;
        balance_take(nodes, count, amount);
        for (int i = 0; i < count; i++) {
            sum += nodes[i].result;
            assert_in_range(nodes[i].result, 0, nodes[i].current);
            int distance = nodes[i].result * total - amount * nodes[i].current;
            assert_true(total == 0 || (distance > -total && distance < total));
        }
        assert_int_equal(sum, amount);
    }
}

/* After filling no slot could be given to another node that would then be emptier than the one that
 * has it. */
static void test_fill_is_level(void **state)
{
    (void)state;
    struct prng prng;
    prng_init(&prng, 3);
    for (int n = 0; n < CASES / 4; n++) {
        struct balance_node nodes[NODES_MAX];
        int count = random_nodes(&prng, nodes);
        int amount = (int)prng_range(&prng, 0, 60);
        int room = 0;
        int sum = 0;
        for (int i = 0; i < count; i++) {
            nodes[i].cap =
                prng_chance(&prng, 1, 3) ? (int)prng_range(&prng, 0, 20) : BALANCE_NO_CAP;
            room += nodes[i].weight == 0 ? 0 : nodes[i].cap < amount ? nodes[i].cap : amount;
        }
        int homeless = balance_fill(nodes, count, amount);
        for (int i = 0; i < count; i++) {
            sum += nodes[i].result;
            assert_true(nodes[i].result <= nodes[i].cap);
            assert_true(nodes[i].weight > 0 || nodes[i].result == 0);
        }
        assert_int_equal(sum + homeless, amount);
        assert_int_equal(homeless, room < amount ? amount - room : 0);
        for (int i = 0; i < count; i++) {
            for (int j = 0; j < count; j++) {
                bool could_move = i != j && nodes[i].result > 0 && nodes[j].weight > 0 &&
                                  nodes[j].result < nodes[j].cap;
                int64_t has = (nodes[i].current + nodes[i].result) * nodes[j].weight;
                int64_t would = (nodes[j].current + nodes[j].result + 1) * nodes[i].weight;
                assert_true(!could_move || has <= would);
            }
        }
    }
}

static void test_threshold(void **state)
{
    (void)state;
    struct balance_node nodes[2] = {{.weight = 1, .current = 8192 + 163},
                                    {.weight = 1, .current = 8192 - 163}};
    assert_false(balance_is_off(nodes, 2, 2.0));
    nodes[0].current++;
    nodes[1].current--;
    assert_true(balance_is_off(nodes, 2, 2.0));
    assert_false(balance_is_off(nodes, 2, 100.0));
    struct balance_node empty[2] = {{.weight = 1, .current = 16383}, {.weight = 0, .current = 1}};
    assert_true(balance_is_off(empty, 2, 100.0));
    struct balance_node level[3] = {
        {.weight = 7, .current = 5}, {.weight = 7, .current = 5}, {.weight = 0}};
    assert_false(balance_is_off(level, 3, 0.0));
}

/* 4,096 nodes with the largest weights stay exact. */
static void test_limit_is_exact(void **state)
{
    (void)state;
    static struct balance_node nodes[4096];
    int sum = 0;
    for (int i = 0; i < 4096; i++) {
        nodes[i] =
            (struct balance_node){.weight = BALANCE_WEIGHT_MAX, .current = i == 0 ? SLOT_COUNT : 0};
    }
    balance_shares(nodes, 4096);
    for (int i = 0; i < 4096; i++) {
        assert_int_equal(nodes[i].result, 4);
        sum += nodes[i].result;
    }
    assert_int_equal(sum, SLOT_COUNT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_shares_move_least), cmocka_unit_test(test_take),
        cmocka_unit_test(test_fill_is_level),     cmocka_unit_test(test_threshold),
        cmocka_unit_test(test_limit_is_exact),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
