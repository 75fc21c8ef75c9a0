/* planner_cut.c — see planner_cut.h. */
#include "coordinator/core/planner_cut.h"

#include "common/base/alloc.h"
#include "common/base/check.h"

#include <stdlib.h>
#include <string.h>

/* How good it is to take from a range; lower is better. Whole ranges never add to the number of
 * ranges in the cluster, ends next to the target's do not either, other ends add one. */
enum take_rank {
    TAKE_EXACT_NEIGHBOUR, /* the whole range, it is all that is wanted, beside the target's slots */
    TAKE_EXACT,
    TAKE_WHOLE_NEIGHBOUR, /* the whole range, more is wanted */
    TAKE_END_NEIGHBOUR,   /* the end of the range that touches the target's slots */
    TAKE_WHOLE,
    TAKE_END,
    TAKE_NONE,
};

/* One piece to take: 'first' and 'count'; 'len' of the range that it is cut from. */
struct take {
    enum take_rank rank;
    int first;
    int count;
    int len;
};

/* Neighbouring slots of one source. */
struct run {
    int first;
    int len;
};

void planner_flows_release(struct planner_flows *flows)
{
    if (flows == NULL) {
        return;
    }
    for (int i = 0; i < flows->count; i++) {
        free(flows->items[i].slots);
    }
    free(flows->items);
    *flows = (struct planner_flows){0};
}

void planner_flows_add(struct planner_flows *flows, int source, int target, int count)
{
    CHECK(count > 0);
    CHECK(source != target);
    ARRAY_RESERVE(flows->items, flows->count, flows->capacity);
    flows->items[flows->count++] =
        (struct planner_flow){.source = source, .target = target, .count = count};
}

static void match_exact(struct planner_balance *balances, int count, struct planner_flows *flows)
{
    for (int i = 0; i < count; i++) {
        for (int j = 0; balances[i].surplus > 0 && j < count; j++) {
            if (balances[j].surplus == -balances[i].surplus) {
                planner_flows_add(flows, balances[i].node, balances[j].node, balances[i].surplus);
                balances[i].surplus = 0;
                balances[j].surplus = 0;
            }
        }
    }
}

void planner_cut_match(struct planner_balance *balances, int count, struct planner_flows *flows)
{
    match_exact(balances, count, flows);
    while (true) {
        int giver = 0;
        int taker = 0;
        for (int i = 1; i < count; i++) {
            giver = balances[i].surplus > balances[giver].surplus ? i : giver;
            taker = balances[i].surplus < balances[taker].surplus ? i : taker;
        }
        if (count == 0 || balances[giver].surplus <= 0) {
            break;
        }
        int wanted = -balances[taker].surplus;
        int moved = balances[giver].surplus < wanted ? balances[giver].surplus : wanted;
        planner_flows_add(flows, balances[giver].node, balances[taker].node, moved);
        balances[giver].surplus -= moved;
        balances[taker].surplus += moved;
    }
    for (int i = 0; i < count; i++) {
        CHECK(balances[i].surplus == 0);
    }
}

/* The best way to take from a run for a target that still wants 'wanted'. */
static struct take range_take(const int16_t *owner, int target, const struct run *run, int wanted)
{
    int first = run->first;
    int len = run->len;
    bool touches_left = first > 0 && owner[first - 1] == target;
    bool touches_right = first + len < SLOT_COUNT && owner[first + len] == target;
    bool is_neighbour = touches_left || touches_right;
    struct take take = {.first = first, .count = len, .len = len};
    if (len == wanted) {
        take.rank = is_neighbour ? TAKE_EXACT_NEIGHBOUR : TAKE_EXACT;
    } else if (len < wanted) {
        take.rank = is_neighbour ? TAKE_WHOLE_NEIGHBOUR : TAKE_WHOLE;
    } else {
        take.rank = is_neighbour ? TAKE_END_NEIGHBOUR : TAKE_END;
        take.count = wanted;
        take.first = touches_right && !touches_left ? first + len - wanted : first;
    }
    return take;
}

/* Of two pieces of one rank the longer range is taken whole, but the shortest that suffices is cut:
 * long ranges stay long. On a tie the lower slot, which is the one found first. */
static bool take_is_better(const struct take *take, const struct take *best)
{
    if (take->rank != best->rank) {
        return take->rank < best->rank;
    }
    bool is_cut = take->rank == TAKE_END || take->rank == TAKE_END_NEIGHBOUR;
    return is_cut ? take->len < best->len : take->len > best->len;
}

/* The runs of slots that a source still has of what it had at first: what it was given in this plan
 * is not passed on. Returns how many; 'runs' has room for SLOT_COUNT / 2 + 1. */
static int find_runs(const struct topology *topology,
                     const int16_t *owner,
                     int source,
                     struct run *runs)
{
    int count = 0;
    bool is_inside = false;
    for (int slot = 0; slot < SLOT_COUNT; slot++) {
        bool has = owner[slot] == source && topology->owner[slot] == source;
        if (has && !is_inside) {
            runs[count++] = (struct run){.first = slot};
        }
        if (has) {
            runs[count - 1].len++;
        }
        is_inside = has;
    }
    return count;
}

/* Takes the piece out of the run: it is whole or one of its ends. */
static void run_cut(struct run *run, const struct take *take)
{
    run->first = take->first == run->first ? run->first + take->count : run->first;
    run->len -= take->count;
}

static void flow_pick(struct planner_flow *flow, int16_t *owner, struct run *runs, int run_count)
{
    int wanted = flow->count;
    while (wanted > 0) {
        struct take best = {.rank = TAKE_NONE};
        int best_run = 0;
        for (int i = 0; i < run_count; i++) {
            if (runs[i].len == 0) {
                continue;
            }
            struct take take = range_take(owner, flow->target, &runs[i], wanted);
            if (take_is_better(&take, &best)) {
                best = take;
                best_run = i;
            }
        }
        CHECK(best.rank != TAKE_NONE);
        for (int slot = best.first; slot < best.first + best.count; slot++) {
            slotset_add(flow->slots, slot);
            owner[slot] = (int16_t)flow->target;
        }
        run_cut(&runs[best_run], &best);
        wanted -= best.count;
    }
}

void planner_cut_slots(const struct topology *topology, struct planner_flows *flows)
{
    int16_t *owner = xmemdup(topology->owner, sizeof(topology->owner));
    struct run *runs = xcalloc(SLOT_COUNT / 2 + 1, sizeof(struct run));
    for (int i = 0; i < flows->count; i++) {
        struct planner_flow *flow = &flows->items[i];
        if (flow->slots != NULL) {
            continue;
        }
        flow->slots = xcalloc(1, sizeof(*flow->slots));
        flow_pick(flow, owner, runs, find_runs(topology, owner, flow->source, runs));
    }
    free(runs);
    free(owner);
}

/* Moves the lowest 'count' slots of 'from' to 'to'. */
static void slots_cut(struct slotset *from, int count, struct slotset *to)
{
    int slot = slotset_next(from, 0);
    for (int i = 0; i < count; i++) {
        CHECK(slot != SLOT_NONE);
        slotset_add(to, slot);
        slotset_remove(from, slot);
        slot = slotset_next(from, slot);
    }
}

/* Pairs with work left, and who is busy in the present round. */
struct roster {
    struct slotset *left; /* [flow] slots not yet in a batch */
    int *batches_left;    /* [flow] */
    int *slots_left;      /* [flow] */
    int *round_of_source; /* [node] the last round in which it gave */
    int *round_of_target; /* [node] likewise */
    int *served;          /* [flow] the last round in which it had a turn */
};

static void roster_init(struct roster *roster,
                        const struct planner_flows *flows,
                        int node_count,
                        int batch_slots_max)
{
    size_t count = (size_t)flows->count + 1;
    *roster = (struct roster){.left = xcalloc(count, sizeof(struct slotset)),
                              .batches_left = xcalloc(count, sizeof(int)),
                              .slots_left = xcalloc(count, sizeof(int)),
                              .served = xcalloc(count, sizeof(int)),
                              .round_of_source = xcalloc((size_t)node_count + 1, sizeof(int)),
                              .round_of_target = xcalloc((size_t)node_count + 1, sizeof(int))};
    for (int i = 0; i < flows->count; i++) {
        roster->left[i] = *flows->items[i].slots;
        roster->slots_left[i] = flows->items[i].count;
        roster->batches_left[i] = (flows->items[i].count + batch_slots_max - 1) / batch_slots_max;
    }
}

static void roster_release(struct roster *roster)
{
    free(roster->left);
    free(roster->batches_left);
    free(roster->slots_left);
    free(roster->served);
    free(roster->round_of_source);
    free(roster->round_of_target);
}

/* The flow that goes next in a round: source and target free, longest without a turn, most batches
 * left. */
static int roster_next(const struct roster *roster, const struct planner_flows *flows, int round)
{
    int best = -1;
    for (int i = 0; i < flows->count; i++) {
        const struct planner_flow *flow = &flows->items[i];
        bool is_busy = roster->round_of_source[flow->source] == round ||
                       roster->round_of_target[flow->target] == round;
        if (roster->batches_left[i] == 0 || is_busy) {
            continue;
        }
        bool is_better = best < 0 || roster->served[i] < roster->served[best] ||
                         (roster->served[i] == roster->served[best] &&
                          roster->batches_left[i] > roster->batches_left[best]);
        best = is_better ? i : best;
    }
    return best;
}

static void roster_emit(struct roster *roster,
                        const struct topology *topology,
                        const struct planner_flows *flows,
                        int index,
                        struct plan *plan)
{
    const struct planner_flow *flow = &flows->items[index];
    /* Even parts: 1,025 slots in batches of at most 512 are 342, 342 and 341, not 512, 512 and 1.
     */
    int size =
        (roster->slots_left[index] + roster->batches_left[index] - 1) / roster->batches_left[index];
    CHECK(plan->batches != NULL);
    struct batch *batch = &plan->batches[plan->batch_count];
    *batch = (struct batch){.index = plan->batch_count,
                            .source = topology->nodes[flow->source].id,
                            .target = topology->nodes[flow->target].id,
                            .state = BATCH_WAITING};
    slots_cut(&roster->left[index], size, &batch->slots);
    roster->slots_left[index] -= size;
    roster->batches_left[index]--;
    plan->batch_count++;
    plan->slot_count += size;
}

int planner_cut_batches(const struct topology *topology,
                        const struct planner_flows *flows,
                        int batch_slots_max,
                        struct plan *plan,
                        struct err *err)
{
    struct roster roster;
    int total = 0;
    CHECK(batch_slots_max >= 1);
    CHECK(batch_slots_max <= BATCH_SLOTS_MAX);
    for (int i = 0; i < flows->count; i++) {
        total += (flows->items[i].count + batch_slots_max - 1) / batch_slots_max;
    }
    if (total > PLAN_BATCHES_MAX) {
        return err_set(err, ERR_LIMIT, "the plan would have %d batches, %d are allowed", total,
                       PLAN_BATCHES_MAX);
    }
    plan->batches = total == 0 ? NULL : xcalloc((size_t)total, sizeof(struct batch));
    roster_init(&roster, flows, topology->node_count, batch_slots_max);
    for (int round = 1; plan->batch_count < total; round++) {
        int index = roster_next(&roster, flows, round);
        CHECK(index >= 0);
        while (index >= 0) {
            roster.round_of_source[flows->items[index].source] = round;
            roster.round_of_target[flows->items[index].target] = round;
            roster.served[index] = round;
            roster_emit(&roster, topology, flows, index, plan);
            index = roster_next(&roster, flows, round);
        }
    }
    roster_release(&roster);
    return 0;
}
