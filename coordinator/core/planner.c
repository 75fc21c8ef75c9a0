/* planner.c — see planner.h: who takes part, how much moves between whom, and what is refused.
 *
 * The slots themselves are picked in planner_cut.c, shares are counted in balance.c, keys and
 * memory in estimate.c. */
#include "coordinator/core/planner.h"

#include "common/base/alloc.h"
#include "common/base/check.h"
#include "coordinator/core/balance.h"
#include "coordinator/core/estimate.h"
#include "coordinator/core/planner_cut.h"

#include <stdlib.h>

#define WEIGHT_SCALE 10000 /* four decimals of a weight count */

_Static_assert(INT64_C(1) * PLAN_WEIGHT_MAX * WEIGHT_SCALE <= BALANCE_WEIGHT_MAX,
               "scaled weights stay exact");

/* The primaries that take part, with their node indices. */
struct cast {
    struct balance_node *nodes; /* owned */
    int *indices;               /* node index in the topology; owned */
    int count;
};

void plan_options_init(struct plan_options *options)
{
    *options = (struct plan_options){
        .batch_slots_max = PLAN_BATCH_SLOTS_DEFAULT,
        .memory_limit_percent = PLAN_MEMORY_LIMIT_PERCENT_DEFAULT,
        .moves_max = 16,
        .moves_per_target_max = 3,
        .rates = {.slots_per_s = 5000, .keys_per_s = 60000, .bytes_per_s = INT64_C(100000000)},
        .uses_empty_primaries = true,
    };
}

static void cast_release(struct cast *cast)
{
    free(cast->nodes);
    free(cast->indices);
    *cast = (struct cast){0};
}

static void cast_init(struct cast *cast, const struct topology *topology)
{
    cast->nodes = xcalloc((size_t)topology->shard_count + 1, sizeof(struct balance_node));
    cast->indices = xcalloc((size_t)topology->shard_count + 1, sizeof(int));
    cast->count = 0;
}

static void cast_add(struct cast *cast, const struct topology *topology, int node, int64_t weight)
{
    cast->indices[cast->count] = node;
    cast->nodes[cast->count++] = (struct balance_node){
        .weight = weight, .current = topology->nodes[node].slot_count, .cap = BALANCE_NO_CAP};
}

static bool is_excluded(const struct topology *topology,
                        int node,
                        const struct plan_options *options)
{
    for (int i = 0; i < options->excluded_count; i++) {
        if (node_id_is_equal(&topology->nodes[node].id, &options->excluded[i])) {
            return true;
        }
    }
    return false;
}

/* The index of a node named by id in a request. */
static int find_named(const struct topology *topology,
                      const struct node_id *id,
                      const char *as_what,
                      struct err *err)
{
    int node = topology_find_node(topology, id->text, err);
    if (node < 0) {
        err_wrap(err, "%s", as_what);
    }
    return node;
}

/* Like find_named(), and the node must be a primary that can work. */
static int find_primary(const struct topology *topology,
                        const struct node_id *id,
                        const char *as_what,
                        struct err *err)
{
    char name[TOPOLOGY_NAME_SIZE];
    int node = find_named(topology, id, as_what, err);
    if (node < 0) {
        return node;
    }
    const struct topology_node *found = &topology->nodes[node];
    topology_node_name(topology, node, name);
    if (!found->is_member) {
        int code = err_set(err, ERR_INVALID, "%s %s is not a member of the cluster", as_what, name);
        err_hint(err, "let it join first");
        return code;
    }
    if (found->role != NODE_ROLE_PRIMARY) {
        char primary[TOPOLOGY_NAME_SIZE];
        int code = err_set(err, ERR_INVALID, "%s %s is a replica: only primaries own slots",
                           as_what, name);
        err_hint(err, "its primary is %s", topology_node_name(topology, found->primary, primary));
        return code;
    }
    if (found->is_failed || !found->is_reachable) {
        return err_set(err, ERR_REFUSED, "%s %s is down", as_what, name);
    }
    return node;
}

static int check_options(const struct topology *topology,
                         const struct plan_options *options,
                         struct err *err)
{
    bool has_rates = options->rates.slots_per_s > 0 && options->rates.keys_per_s > 0 &&
                     options->rates.bytes_per_s > 0;
    if (options->batch_slots_max < 1 || options->batch_slots_max > BATCH_SLOTS_MAX) {
        return err_set(err, ERR_INVALID, "batch_slots_max %d is not 1 to %d",
                       options->batch_slots_max, BATCH_SLOTS_MAX);
    }
    if (!(options->memory_limit_percent >= 1.0 && options->memory_limit_percent <= 100.0)) {
        return err_set(err, ERR_INVALID, "memory_limit_percent %g is not 1 to 100",
                       options->memory_limit_percent);
    }
    if (options->moves_max < 1 || options->moves_per_target_max < 1 || !has_rates) {
        return err_set(err, ERR_INVALID, "limits of parallel moves and rates must be above 0");
    }
    for (int i = 0; i < options->excluded_count; i++) {
        int node = find_named(topology, &options->excluded[i], "excluded node", err);
        if (node < 0) {
            return node;
        }
    }
    return 0;
}

static int check_settled(const struct topology *topology, struct err *err)
{
    struct strbuf why = {0};
    int code = 0;
    if (!topology_is_settled(topology, &why)) {
        code = err_set(err, ERR_CONFLICT, "the cluster is not settled: %s", strbuf_text(&why));
        err_hint(err, "wait until it is; `drover why` says what is missing");
        err_retry_after(err, topology_will_settle(topology) ? 1 : 0);
    }
    strbuf_release(&why);
    return code;
}

static int check_begin(const struct topology *topology,
                       const struct plan_options *options,
                       struct err *err)
{
    int code = check_settled(topology, err);
    return code != 0 ? code : check_options(topology, options, err);
}

static int scale_weight(const struct topology *topology,
                        int node,
                        double weight,
                        int64_t *scaled,
                        struct err *err)
{
    /* Written so that "not a number" is refused too. */
    if (!(weight >= 0.0 && weight <= PLAN_WEIGHT_MAX)) {
        char name[TOPOLOGY_NAME_SIZE];
        return err_set(err, ERR_INVALID, "weight %g of %s is not 0 to %d", weight,
                       topology_node_name(topology, node, name), PLAN_WEIGHT_MAX);
    }
    *scaled = (int64_t)(weight * (double)WEIGHT_SCALE + 0.5);
    if (weight > 0.0 && *scaled == 0) {
        char name[TOPOLOGY_NAME_SIZE];
        return err_set(err, ERR_INVALID, "weight %g of %s is too small: four decimals count",
                       weight, topology_node_name(topology, node, name));
    }
    return 0;
}

/* The weights of all nodes: [node] scaled, -1 = not named. */
static int read_weights(const struct topology *topology,
                        const struct operation_request *request,
                        int64_t *weights,
                        struct err *err)
{
    for (int i = 0; i < topology->node_count; i++) {
        weights[i] = -1;
    }
    for (int i = 0; i < request->weight_count; i++) {
        int node = find_primary(topology, &request->weights[i].node, "weighted node", err);
        if (node < 0) {
            return node;
        }
        if (weights[node] >= 0) {
            char name[TOPOLOGY_NAME_SIZE];
            return err_set(err, ERR_INVALID, "%s has two weights",
                           topology_node_name(topology, node, name));
        }
        int code = scale_weight(topology, node, request->weights[i].weight, &weights[node], err);
        if (code != 0) {
            return code;
        }
    }
    return 0;
}

static bool is_able(const struct topology_node *node)
{
    return node->is_member && node->role == NODE_ROLE_PRIMARY && node->is_reachable &&
           !node->is_failed;
}

static int refuse_named(const struct topology *topology,
                        int node,
                        const char *why,
                        const char *hint,
                        struct err *err)
{
    char name[TOPOLOGY_NAME_SIZE];
    int code = err_set(err, ERR_INVALID, "%s %s", topology_node_name(topology, node, name), why);
    err_hint(err, "%s", hint);
    return code;
}

/* Turns the flows into a whole plan: slots, batches, estimates, memory. */
static int finish_plan(const struct topology *topology,
                       const struct plan_options *options,
                       struct planner_flows *flows,
                       struct plan *plan,
                       struct err *err)
{
    struct plan fresh = {.topology_digest = topology_digest(topology)};
    planner_cut_slots(topology, flows);
    int code = planner_cut_batches(topology, flows, options->batch_slots_max, &fresh, err);
    if (code == 0) {
        estimate_plan(topology, options, &fresh);
        code = estimate_check_memory(topology, options, &fresh, err);
    }
    if (code == 0) {
        *plan = fresh;
    } else {
        plan_release(&fresh);
    }
    return code;
}

static int rebalance_cast(const struct topology *topology,
                          const struct operation_request *request,
                          const struct plan_options *options,
                          struct cast *cast,
                          struct err *err)
{
    int64_t *weights = xcalloc((size_t)topology->node_count + 1, sizeof(int64_t));
    int64_t sum = 0;
    int code = read_weights(topology, request, weights, err);
    for (int s = 0; s < topology->shard_count && code == 0; s++) {
        int node = topology->shards[s].primary;
        bool is_out = is_excluded(topology, node, options);
        bool is_left_empty =
            topology->nodes[node].slot_count == 0 && !options->uses_empty_primaries;
        if (weights[node] >= 0 && is_out) {
            code = refuse_named(topology, node, "has a weight but is excluded",
                                "give it only one of both", err);
        } else if (weights[node] > 0 && is_left_empty) {
            code = refuse_named(topology, node, "has a weight but no slots",
                                "say that empty primaries are used", err);
        } else if (!is_out && !is_left_empty && is_able(&topology->nodes[node])) {
            int64_t weight = weights[node] >= 0 ? weights[node] : WEIGHT_SCALE;
            cast_add(cast, topology, node, weight);
            sum += weight;
        }
    }
    if (code == 0 && cast->count == 0) {
        code = err_set(err, ERR_INVALID, "no primary takes part: all are excluded or empty");
    } else if (code == 0 && sum == 0) {
        code = err_set(err, ERR_INVALID,
                       "all primaries have weight 0: the slots have to be somewhere");
        err_hint(err, "give at least one primary a weight above 0");
    }
    free(weights);
    return code;
}

int plan_rebalance(const struct topology *topology,
                   const struct operation_request *request,
                   const struct plan_options *options,
                   struct plan *plan,
                   struct err *err)
{
    struct cast cast = {0};
    struct planner_flows flows = {0};
    struct planner_balance *balances = NULL;
    int code = check_begin(topology, options, err);
    if (code == 0 && !(request->threshold_percent >= 0.0 && request->threshold_percent <= 100.0)) {
        code = err_set(err, ERR_INVALID, "threshold %g %% is not 0 to 100",
                       request->threshold_percent);
    }
    if (code != 0) {
        return code;
    }
    cast_init(&cast, topology);
    code = rebalance_cast(topology, request, options, &cast, err);
    if (code != 0) {
        goto out;
    }
    if (balance_is_off(cast.nodes, cast.count, request->threshold_percent)) {
        balance_shares(cast.nodes, cast.count);
        balances = xcalloc((size_t)cast.count, sizeof(*balances));
        for (int i = 0; i < cast.count; i++) {
            balances[i] = (struct planner_balance){cast.indices[i],
                                                   cast.nodes[i].current - cast.nodes[i].result};
        }
        planner_cut_match(balances, cast.count, &flows);
    }
    code = finish_plan(topology, options, &flows, plan, err);
out:
    free(balances);
    planner_flows_release(&flows);
    cast_release(&cast);
    return code;
}

static int reshard_sources(const struct topology *topology,
                           const struct operation_request *request,
                           const struct plan_options *options,
                           int target,
                           bool *is_source,
                           struct err *err)
{
    for (int s = 0; s < topology->shard_count && request->source_count == 0; s++) {
        int node = topology->shards[s].primary;
        is_source[node] = node != target && is_able(&topology->nodes[node]) &&
                          !is_excluded(topology, node, options);
    }
    for (int i = 0; i < request->source_count; i++) {
        int node = find_primary(topology, &request->sources[i], "source", err);
        if (node < 0) {
            return node;
        }
        if (node == target) {
            return refuse_named(topology, node, "is source and target", "name other sources", err);
        }
        if (is_source[node]) {
            return refuse_named(topology, node, "is named twice as a source", "name it once", err);
        }
        if (is_excluded(topology, node, options)) {
            return refuse_named(topology, node, "is a source but excluded",
                                "give it only one of both", err);
        }
        is_source[node] = true;
    }
    return 0;
}

static int reshard_cast(const struct topology *topology,
                        const struct operation_request *request,
                        const struct plan_options *options,
                        int target,
                        struct cast *cast,
                        struct err *err)
{
    bool *is_source = xcalloc((size_t)topology->node_count + 1, sizeof(bool));
    int total = 0;
    int code = reshard_sources(topology, request, options, target, is_source, err);
    for (int i = 0; i < topology->node_count && code == 0; i++) {
        if (is_source[i]) {
            cast_add(cast, topology, i, 0);
            total += topology->nodes[i].slot_count;
        }
    }
    if (code == 0 && request->slot_count > total) {
        code = err_set(err, ERR_INVALID, "%d slots are asked for, but the %d source%s own only %d",
                       request->slot_count, cast->count, cast->count == 1 ? "" : "s", total);
        err_hint(err, "ask for at most %d, or name more sources", total);
    }
    free(is_source);
    return code;
}

/* Flows of the very slots that are named, each from its owner, who must be among the sources. */
static int add_named_flows(const struct topology *topology,
                           const struct slotset *named,
                           const struct cast *cast,
                           int target,
                           struct planner_flows *flows,
                           struct err *err)
{
    struct slotset left = *named;
    for (int i = 0; i < cast->count; i++) {
        struct slotset own = {0};
        topology_node_slots(topology, cast->indices[i], &own);
        slotset_intersect(&own, named);
        if (!slotset_is_empty(&own)) {
            planner_flows_add(flows, cast->indices[i], target, slotset_count(&own));
            flows->items[flows->count - 1].slots = xmemdup(&own, sizeof(own));
            slotset_subtract(&left, &own);
        }
    }
    int slot = slotset_next(&left, 0);
    if (slot == SLOT_NONE) {
        return 0;
    }
    char name[TOPOLOGY_NAME_SIZE];
    int owner = topology->owner[slot];
    (void)err_set(err, ERR_INVALID, "slot %d is named but owned by %s%s", slot,
                  topology_node_name(topology, owner, name),
                  owner == target ? ", the target" : ", which is no source");
    err_hint(err, "leave it out%s", owner == target ? "" : ", or name its owner as a source");
    return ERR_INVALID;
}

/* Flows of request->slot_count slots, from each source in proportion to what it has. */
static void add_counted_flows(const struct operation_request *request,
                              struct cast *cast,
                              int target,
                              struct planner_flows *flows)
{
    balance_take(cast->nodes, cast->count, request->slot_count);
    for (int i = 0; i < cast->count; i++) {
        if (cast->nodes[i].result > 0) {
            planner_flows_add(flows, cast->indices[i], target, cast->nodes[i].result);
        }
    }
}

int plan_reshard(const struct topology *topology,
                 const struct operation_request *request,
                 const struct plan_options *options,
                 struct plan *plan,
                 struct err *err)
{
    struct cast cast = {0};
    struct planner_flows flows = {0};
    int code = check_begin(topology, options, err);
    if (code == 0 && !slotset_is_empty(&request->slots) &&
        slotset_count(&request->slots) != request->slot_count) {
        code = err_set(err, ERR_INVALID, "%d slots are named, but %d are asked for",
                       slotset_count(&request->slots), request->slot_count);
    } else if (code == 0 && (request->slot_count < 1 || request->slot_count > SLOT_COUNT)) {
        code = err_set(err, ERR_INVALID, "%d slots are asked for, 1 to %d make sense",
                       request->slot_count, SLOT_COUNT);
    }
    if (code != 0) {
        return code;
    }
    int target = find_primary(topology, &request->target, "target", err);
    if (target < 0) {
        return target;
    }
    if (is_excluded(topology, target, options)) {
        return refuse_named(topology, target, "is the target but excluded",
                            "give it only one of both", err);
    }
    cast_init(&cast, topology);
    code = reshard_cast(topology, request, options, target, &cast, err);
    if (code == 0 && !slotset_is_empty(&request->slots)) {
        code = add_named_flows(topology, &request->slots, &cast, target, &flows, err);
    } else if (code == 0) {
        add_counted_flows(request, &cast, target, &flows);
    }
    if (code == 0) {
        code = finish_plan(topology, options, &flows, plan, err);
    }
    planner_flows_release(&flows);
    cast_release(&cast);
    return code;
}

/* A primary without slots gets none of a drain unless it is named with a weight: it may just have
 * been drained itself and wait for its removal. */
static int drain_cast(const struct topology *topology,
                      const struct operation_request *request,
                      const struct plan_options *options,
                      int drained,
                      struct cast *cast,
                      struct err *err)
{
    int64_t *weights = xcalloc((size_t)topology->node_count + 1, sizeof(int64_t));
    int empty_count = 0;
    int code = read_weights(topology, request, weights, err);
    for (int s = 0; s < topology->shard_count && code == 0; s++) {
        int node = topology->shards[s].primary;
        bool is_empty = topology->nodes[node].slot_count == 0;
        if (node == drained || !is_able(&topology->nodes[node]) ||
            is_excluded(topology, node, options)) {
            continue;
        }
        if (is_empty && weights[node] <= 0) {
            empty_count++;
            continue;
        }
        int64_t weight = weights[node] >= 0 ? weights[node] : WEIGHT_SCALE;
        if (weight > 0) {
            cast_add(cast, topology, node, weight);
            cast->nodes[cast->count - 1].cap = estimate_room(topology, drained, node, options);
        }
    }
    free(weights);
    if (code == 0 && cast->count == 0) {
        char name[TOPOLOGY_NAME_SIZE];
        topology_node_name(topology, drained, name);
        code = err_set(err, ERR_REFUSED,
                       "%s cannot be drained: no other primary may take its slots", name);
        if (empty_count > 0) {
            err_hint(err, "%d primar%s no slots; give one a weight to move the slots there",
                     empty_count, empty_count == 1 ? "y has" : "ies have");
        } else {
            err_hint(err, "add a primary first");
        }
    }
    return code;
}

static int refuse_drain_room(const struct topology *topology,
                             const struct plan_options *options,
                             int drained,
                             const struct cast *cast,
                             int homeless,
                             struct err *err)
{
    const struct topology_node *node = &topology->nodes[drained];
    int64_t room = 0;
    char name[TOPOLOGY_NAME_SIZE];
    char bytes[ESTIMATE_BYTES_TEXT_SIZE];
    char room_text[ESTIMATE_BYTES_TEXT_SIZE];
    for (int i = 0; i < cast->count; i++) {
        const struct topology_node *target = &topology->nodes[cast->indices[i]];
        int64_t limit = estimate_memory_limit(target, options);
        room += limit > target->used_memory_bytes ? limit - target->used_memory_bytes : 0;
    }
    int code =
        err_set(err, ERR_REFUSED,
                "target short of memory: draining %s moves about %s, but the %d other primar%s "
                "room for %s below "
                "%.4g %% of maxmemory; %d of %d slots would find no place",
                topology_node_name(topology, drained, name),
                estimate_format_bytes(node->used_memory_bytes, bytes), cast->count,
                cast->count == 1 ? "y has" : "ies have", estimate_format_bytes(room, room_text),
                options->memory_limit_percent, homeless, node->slot_count);
    err_hint(err, "raise maxmemory or add a node first");
    return code;
}

int plan_drain(const struct topology *topology,
               const struct operation_request *request,
               const struct plan_options *options,
               struct plan *plan,
               struct err *err)
{
    struct cast cast = {0};
    struct planner_flows flows = {0};
    int code = check_begin(topology, options, err);
    if (code != 0) {
        return code;
    }
    int drained = find_primary(topology, &request->node, "node to drain", err);
    if (drained < 0) {
        return drained;
    }
    if (topology->nodes[drained].slot_count == 0) {
        return finish_plan(topology, options, &flows, plan, err);
    }
    cast_init(&cast, topology);
    code = drain_cast(topology, request, options, drained, &cast, err);
    if (code == 0) {
        int homeless = balance_fill(cast.nodes, cast.count, topology->nodes[drained].slot_count);
        if (homeless > 0) {
            code = refuse_drain_room(topology, options, drained, &cast, homeless, err);
        }
    }
    if (code == 0) {
        for (int i = 0; i < cast.count; i++) {
            if (cast.nodes[i].result > 0) {
                planner_flows_add(&flows, drained, cast.indices[i], cast.nodes[i].result);
            }
        }
        code = finish_plan(topology, options, &flows, plan, err);
    }
    planner_flows_release(&flows);
    cast_release(&cast);
    return code;
}

int plan_make(const struct topology *topology,
              const struct operation_request *request,
              const struct plan_options *options,
              struct plan *plan,
              struct err *err)
{
    switch (request->kind) {
    case OPERATION_REBALANCE:
        return plan_rebalance(topology, request, options, plan, err);
    case OPERATION_RESHARD:
        return plan_reshard(topology, request, options, plan, err);
    case OPERATION_DRAIN:
        return plan_drain(topology, request, options, plan, err);
    case OPERATION_CREATE:
    case OPERATION_ADD:
    case OPERATION_REMOVE:
    case OPERATION_SCALE:
    case OPERATION_REPLICATE:
    case OPERATION_FAILOVER:
    case OPERATION_REPAIR:
        break; /* their plans grow: lifecycle.h */
    }
    return err_set(err, ERR_INVALID, "operation kind %d is not a plan of moves",
                   (int)request->kind);
}
