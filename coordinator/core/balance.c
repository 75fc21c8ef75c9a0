/* balance.c — see balance.h. */
#include "coordinator/core/balance.h"

#include "common/base/alloc.h"
#include "common/base/check.h"
#include "common/base/slotset.h"

#include <stdlib.h>

_Static_assert(BALANCE_WEIGHT_MAX <= INT64_MAX / SLOT_COUNT / 4096,
               "shares of 4,096 nodes stay exact in 64 bits");

/* A node that could be rounded up, and how much it wants that. */
struct candidate {
    int index;
    bool keeps_slot; /* rounding up saves a move: it has more than its share rounded down */
    int64_t remainder;
};

static int64_t weight_sum(const struct balance_node *nodes, int count)
{
    int64_t sum = 0;
    for (int i = 0; i < count; i++) {
        CHECK(nodes[i].weight >= 0);
        CHECK(nodes[i].weight <= BALANCE_WEIGHT_MAX);
        sum += nodes[i].weight;
    }
    return sum;
}

static int slot_sum(const struct balance_node *nodes, int count)
{
    int sum = 0;
    for (int i = 0; i < count; i++) {
        CHECK(nodes[i].current >= 0);
        sum += nodes[i].current;
    }
    CHECK(sum <= SLOT_COUNT);
    return sum;
}

static int compare_candidates(const void *a, const void *b)
{
    const struct candidate *first = a;
    const struct candidate *second = b;
    if (first->keeps_slot != second->keeps_slot) {
        return first->keeps_slot ? -1 : 1;
    }
    if (first->remainder != second->remainder) {
        return first->remainder > second->remainder ? -1 : 1;
    }
    return first->index - second->index;
}

void balance_shares(struct balance_node *nodes, int count)
{
    int64_t total = slot_sum(nodes, count);
    int64_t weights = weight_sum(nodes, count);
    struct candidate *candidates = xcalloc((size_t)count + 1, sizeof(*candidates));
    int candidate_count = 0;
    int left = (int)total;
    CHECK(weights > 0);
    for (int i = 0; i < count; i++) {
        int64_t product = total * nodes[i].weight;
        nodes[i].result = (int)(product / weights);
        left -= nodes[i].result;
        if (product % weights != 0) {
            candidates[candidate_count++] =
                (struct candidate){.index = i,
                                   .keeps_slot = nodes[i].current > nodes[i].result,
                                   .remainder = product % weights};
        }
    }
    /* The remainders sum up to 'left' whole slots, each below one, so there are more candidates
     * than slots. */
    CHECK(left <= candidate_count);
    qsort(candidates, (size_t)candidate_count, sizeof(*candidates), compare_candidates);
    for (int i = 0; i < left; i++) {
        nodes[candidates[i].index].result++;
    }
    free(candidates);
}

void balance_take(struct balance_node *nodes, int count, int amount)
{
    int64_t total = slot_sum(nodes, count);
    struct candidate *candidates = xcalloc((size_t)count + 1, sizeof(*candidates));
    int candidate_count = 0;
    int left = amount;
    CHECK(amount >= 0);
    CHECK(amount <= total);
    for (int i = 0; i < count; i++) {
        nodes[i].result = 0;
    }
    for (int i = 0; i < count && total > 0; i++) {
        int64_t product = (int64_t)amount * nodes[i].current;
        nodes[i].result = (int)(product / total);
        left -= nodes[i].result;
        if (product % total != 0) {
            candidates[candidate_count++] =
                (struct candidate){.index = i, .remainder = product % total};
        }
    }
    CHECK(left <= candidate_count);
    qsort(candidates, (size_t)candidate_count, sizeof(*candidates), compare_candidates);
    for (int i = 0; i < left; i++) {
        nodes[candidates[i].index].result++;
    }
    free(candidates);
}

/* a/b < c/d for weights above 0, exactly: slot counts are small enough to multiply. */
static bool is_emptier(const struct balance_node *a, const struct balance_node *b)
{
    int64_t left = (int64_t)(a->current + a->result + 1) * b->weight;
    int64_t right = (int64_t)(b->current + b->result + 1) * a->weight;
    return left < right;
}

int balance_fill(struct balance_node *nodes, int count, int amount)
{
    (void)weight_sum(nodes, count);
    for (int i = 0; i < count; i++) {
        nodes[i].result = 0;
    }
    for (int given = 0; given < amount; given++) {
        int best = -1;
        for (int i = 0; i < count; i++) {
            bool has_room = nodes[i].weight > 0 && nodes[i].result < nodes[i].cap;
            if (has_room && (best < 0 || is_emptier(&nodes[i], &nodes[best]))) {
                best = i;
            }
        }
        if (best < 0) {
            return amount - given;
        }
        nodes[best].result++;
    }
    return 0;
}

bool balance_is_off(const struct balance_node *nodes, int count, double percent)
{
    double total = slot_sum(nodes, count);
    double weights = (double)weight_sum(nodes, count);
    CHECK(weights > 0);
    for (int i = 0; i < count; i++) {
        double share = total * (double)nodes[i].weight / weights;
        double distance =
            nodes[i].current > share ? nodes[i].current - share : share - nodes[i].current;
        if (distance > share * percent / 100.0) {
            return true;
        }
    }
    return false;
}

int balance_move_count(const struct balance_node *nodes, int count)
{
    int moved = 0;
    for (int i = 0; i < count; i++) {
        moved += nodes[i].current > nodes[i].result ? nodes[i].current - nodes[i].result : 0;
    }
    return moved;
}
