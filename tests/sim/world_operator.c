/* world_operator.c — a person who starts operations, pauses, resumes and cancels them, and expects
 * them to end. See world.h. */
#include "tests/sim/world.h"

#include "tests/sim/checkers.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define POLL_US (500 * MS_US)
#define ANSWER_US (20 * SECOND_US)
#define OPERATIONS_BEFORE_HEALING_MAX 4
#define HOLDS_RESUMED_MAX 3
#define RESUMES_REFUSED_MAX 3

static void command(struct world *world,
                    struct world_coordinator *leader,
                    struct coordinator_command *asked)
{
    struct world_operator *person = &world->person;
    person->is_waiting = true;
    person->asked = asked->kind;
    person->next_us = world->schedule.now_us + ANSWER_US;
    snprintf(asked->operation_id, sizeof(asked->operation_id), "%s", person->operation_id);
    struct coordinator_event event = {
        .kind = COORDINATOR_COMMAND, .handle = ++world->next_number, .command = asked};
    world_coordinator_feed(leader, &event);
}

static const struct model_node *some_primary(struct world *world, bool with_slots)
{
    const struct model_node *found[MODEL_NODES_MAX];
    uint64_t count = 0;
    for (int i = 0; i < world->redis.node_count; i++) {
        const struct model_node *node = world->redis.nodes[i];
        if (model_node_is_primary(node) && (!with_slots || node->peers[i].slot_count > 0)) {
            found[count++] = node;
        }
    }
    return count == 0 ? NULL : found[prng_below(&world->prng, count)];
}

static const struct model_node *smallest_primary(struct world *world)
{
    const struct model_node *found = NULL;
    int primaries = 0;
    for (int i = 0; i < world->redis.node_count; i++) {
        const struct model_node *node = world->redis.nodes[i];
        int slots = node->peers[i].slot_count;
        if (model_node_is_primary(node) && slots > 0) {
            primaries++;
            found = found == NULL || slots < found->peers[found->index].slot_count ? node : found;
        }
    }
    return primaries > 2 ? found : NULL; /* somebody must be left to move slots between */
}

/* What the person wishes; small enough that a run ends soon. */
static void draw_request(struct world *world, struct operation_request *request)
{
    const struct model_node *small = smallest_primary(world);
    const struct model_node *target = some_primary(world, false);
    snprintf(request->requested_by, sizeof(request->requested_by), "simulator");
    request->speed = (enum move_speed)prng_below(&world->prng, 3);
    if (world->setup.drains && small != NULL && small->peers[small->index].slot_count < 600 &&
        prng_chance(&world->prng, 1, 2)) {
        request->kind = OPERATION_DRAIN;
        request->node = small->id;
    } else if (target != NULL && !world->person.is_final && prng_chance(&world->prng, 7, 8)) {
        request->kind = OPERATION_RESHARD;
        request->target = target->id;
        request->slot_count =
            (int)prng_range(&world->prng, 1, prng_chance(&world->prng, 1, 4) ? 400 : 40);
    } else if (prng_chance(&world->prng, 1, 2)) {
        request->kind = OPERATION_REBALANCE;
    } else {
        request->kind = OPERATION_RESHARD;
        request->target = target->id;
        request->slot_count = (int)prng_range(&world->prng, 1, 20);
    }
}

/* First a dry run, so that the slots get keys; then the same for real. */
static void begin(struct world *world, struct world_coordinator *leader)
{
    struct world_operator *person = &world->person;
    struct coordinator_command asked = {.kind = person->has_plan ? COMMAND_START : COMMAND_PLAN};
    if (!person->has_plan) {
        operation_request_release(&person->request);
        person->request = (struct operation_request){0};
        draw_request(world, &person->request);
    }
    person->has_plan = false;
    operation_request_copy(&asked.request, &person->request);
    person->operation_id[0] = '\0';
    world_note(world, "operator asks for %s%s", operation_kind_name(asked.request.kind),
               asked.kind == COMMAND_PLAN ? ", dry run" : "");
    command(world, leader, &asked);
    operation_request_release(&asked.request);
}

/* I14: what is done plans nothing when it is asked for again. */
static void replan(struct world *world, struct world_coordinator *leader)
{
    struct world_operator *person = &world->person;
    if (person->request.kind != OPERATION_REBALANCE) {
        person->has_replanned = true; /* a reshard asks for so many slots more, each time */
        return;
    }
    struct coordinator_command asked = {.kind = COMMAND_PLAN};
    operation_request_copy(&asked.request, &person->request);
    command(world, leader, &asked);
    operation_request_release(&asked.request);
}

static void act_on(struct world *world,
                   struct world_coordinator *leader,
                   enum coordinator_command_kind kind)
{
    struct coordinator_command asked = {.kind = kind};
    world_note(world, "operator sends command %d for %s", (int)kind, world->person.operation_id);
    command(world, leader, &asked);
}

static const struct operation *open_operation(const struct world_coordinator *leader)
{
    for (int i = 0; i < coordinator_operation_count(leader->core); i++) {
        const struct operation *operation = coordinator_operation(leader->core, i);
        if (!operation_state_is_final(operation->state)) {
            return operation;
        }
    }
    return NULL;
}

static void count_end(struct world *world, const struct operation *operation)
{
    enum sight sight = operation->state == OPERATION_DONE        ? SIGHT_OPERATION_DONE
                       : operation->state == OPERATION_CANCELLED ? SIGHT_OPERATION_CANCELLED
                                                                 : SIGHT_OPERATION_FAILED;
    coverage_add(world->coverage, sight, 1);
    world_note(world, "operation %s is %s: %s", operation->id,
               operation_state_name(operation->state), operation->reason);
}

static void tend(struct world *world,
                 struct world_coordinator *leader,
                 const struct operation *operation)
{
    struct world_operator *person = &world->person;
    snprintf(person->operation_id, sizeof(person->operation_id), "%s", operation->id);
    bool may_disturb = !world->is_healed;
    if (operation->state == OPERATION_PAUSED &&
        (world->is_healed || prng_chance(&world->prng, 1, 6))) {
        /* A failover may have made the plan's nodes others than they were: then the person gives
         * the plan up. */
        bool gives_up =
            world->setup.has_redis_faults && person->resumes_refused >= RESUMES_REFUSED_MAX;
        act_on(world, leader, gives_up ? COMMAND_CANCEL : COMMAND_RESUME);
    } else if (operation->state == OPERATION_HELD) {
        coverage_add(world->coverage, SIGHT_OPERATION_HELD, 1);
        if (person->holds_resumed < HOLDS_RESUMED_MAX) {
            person->holds_resumed += world->is_healed;
            world_note(world, "operation %s is held: %s", operation->id, operation->reason);
            act_on(world, leader, COMMAND_RESUME);
            person->next_us = world->schedule.now_us + 10 * SECOND_US;
        } else if (world->is_healed) {
            /* Two copies of a key after an unanswered MIGRATE and a crash of the agent that sent
             * it: a person decides. */
            world->is_explained_held = world->setup.has_redis_faults ||
                                       strstr(operation->reason, "different values") != NULL;
            person->has_replanned = true;
        }
    } else if (operation->state == OPERATION_PLANNED) {
        act_on(world, leader, COMMAND_APPROVE);
    } else if (operation->state == OPERATION_RUNNING && may_disturb) {
        if ((world->setup.faults >> FAULT_OPERATOR_PAUSE & 1) && prng_chance(&world->prng, 1, 30)) {
            world->coverage->faults[FAULT_OPERATOR_PAUSE]++;
            act_on(world, leader, COMMAND_PAUSE);
        } else if ((world->setup.faults >> FAULT_OPERATOR_CANCEL & 1) &&
                   prng_chance(&world->prng, 1, 40)) {
            world->coverage->faults[FAULT_OPERATOR_CANCEL]++;
            act_on(world, leader, COMMAND_CANCEL);
        }
    }
}

static const struct operation *last_operation(const struct world_coordinator *leader,
                                              const char *id)
{
    for (int i = 0; i < coordinator_operation_count(leader->core); i++) {
        if (strcmp(coordinator_operation(leader->core, i)->id, id) == 0) {
            return coordinator_operation(leader->core, i);
        }
    }
    return NULL;
}

/* After a fault of Redis a restarted node may hold old keys of slots that left it, behind an
 * importing mark. drover shows such slots and touches nothing; a person drops the old copies. */
static void clean_up_by_hand(struct world *world)
{
    for (int i = 0; i < world->redis.node_count; i++) {
        struct model_node *node = world->redis.nodes[i];
        SLOTSET_FOREACH (slot, &node->opened_at_start) {
            if (node->importing_from[slot] != MODEL_NONE && node->owner[slot] != i) {
                world_note(world, "operator drops what node%d holds of slot %d", i, slot);
                model_node_remove_slot(node, slot, REMOVED_BY_CLIENT);
                model_view_set_importing(node, slot, MODEL_NONE);
                model_view_set_migrating(node, slot, MODEL_NONE);
            }
        }
        slotset_clear(&node->opened_at_start);
    }
}

/* With a single primary left there is nothing that could be moved. */
static bool is_single(const struct world *world)
{
    int primaries = 0;
    for (int i = 0; i < world->redis.node_count; i++) {
        primaries += model_node_is_primary(world->redis.nodes[i]);
    }
    return primaries == 1;
}

static void look(struct world *world)
{
    struct world_operator *person = &world->person;
    struct world_coordinator *leader = world_leader(world);
    if (leader == NULL || person->has_replanned) {
        return;
    }
    const struct operation *operation = open_operation(leader);
    if (operation != NULL) {
        tend(world, leader, operation);
        return;
    }
    if (world->setup.has_redis_faults) {
        clean_up_by_hand(world);
    }
    if (person->operation_id[0] != '\0') {
        operation = last_operation(leader, person->operation_id);
        if (operation == NULL) {
            return; /* a new leader that has not read its journal yet */
        }
        count_end(world, operation);
        bool is_done = operation->state == OPERATION_DONE;
        person->operation_id[0] = '\0';
        if (person->is_final && is_done) {
            person->is_replanning = true;
        }
    }
    if (person->is_replanning) {
        replan(world, leader);
        return;
    }
    if (world->is_healed && checkers_is_quiet(world) && is_single(world)) {
        person->has_replanned = true;
        return;
    }
    if (world->is_healed ? checkers_is_quiet(world)
                         : person->operations_begun < OPERATIONS_BEFORE_HEALING_MAX) {
        person->is_final = world->is_healed;
        begin(world, leader);
    }
}

static void poll(struct happening *what)
{
    struct world *world = what->owner;
    struct world_operator *person = &world->person;
    if (world->schedule.now_us >= person->next_us) {
        person->is_waiting = false;
        look(world);
    }
    schedule_add(&world->schedule, POLL_US, &(struct happening){.run = poll, .owner = world});
}

/* Keys are put where the plan will work, so that moves meet data. */
static void fill_slots(struct world *world, const struct plan *plan)
{
    for (int i = 0; i < plan->batch_count; i++) {
        SLOTSET_FOREACH (slot, &plan->batches[i].slots) {
            if (prng_chance(&world->prng, 1, plan->slot_count > 600 ? 100 : 6)) {
                world_clients_add_slot(world, slot, (int)prng_range(&world->prng, 1, 4));
            } else if (prng_chance(&world->prng, 1, plan->slot_count > 600 ? 1000 : 60)) {
                world_clients_add_slot(world, slot, (int)prng_range(&world->prng, 50, 300));
            }
        }
    }
}

void world_operator_answered(struct world *world, const struct coordinator_effect *effect)
{
    struct world_operator *person = &world->person;
    person->is_waiting = false;
    person->next_us = world->schedule.now_us + SECOND_US;
    if (effect->err.code != 0) {
        world_note(world, "operator is told: %s: %s", err_word(effect->err.code), effect->err.text);
        person->resumes_refused += person->asked == COMMAND_RESUME;
        if (person->asked == COMMAND_START) {
            person->operation_id[0] = '\0';
        }
        return;
    }
    person->resumes_refused = person->asked == COMMAND_RESUME ? 0 : person->resumes_refused;
    if (person->asked == COMMAND_PLAN && person->is_replanning) {
        if (effect->plan.batch_count > 0) {
            world_violated(world, "I14: a finished rebalance plans %d batches more",
                           effect->plan.batch_count);
        }
        coverage_add(world->coverage, SIGHT_REPLAN_EMPTY, 1);
        person->has_replanned = true;
    } else if (person->asked == COMMAND_PLAN) {
        fill_slots(world, &effect->plan);
        person->has_plan = true;
    } else if (person->asked == COMMAND_START) {
        person->operations_begun++;
        snprintf(person->operation_id, sizeof(person->operation_id), "%s", effect->operation_id);
        world_note(world, "operation %s begins: %d batches, %d slots", effect->operation_id,
                   effect->plan.batch_count, effect->plan.slot_count);
    }
}

bool world_operator_is_done(const struct world *world)
{
    return world->person.has_replanned;
}

void world_operator_start(struct world *world)
{
    schedule_add(&world->schedule, prng_range(&world->prng, 1, 5) * SECOND_US,
                 &(struct happening){.run = poll, .owner = world});
}
