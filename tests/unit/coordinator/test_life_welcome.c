/* test_life_welcome.c — drain hooks let clients in to what joined: a proxy may still keep them off
 * an address whose last node was drained. See helper_world.h. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "helper_world.h"

/* Three primaries and a server at an address that the hooks of the first of two agents have
 * drained. */
static int begin(struct world *w)
{
    world_init(w, 3, 0, 2);
    int spare = world_add_spare(w);
    w->nodes[spare].is_drained = true;
    for (int i = 0; i < 2; i++) {
        w->agents[i].moves_per_tick = 200;
        w->agents[i].offers_traffic = i == 0;
    }
    world_start(w, 0);
    WORLD_UNTIL(w, 5000, strstr(world_why(w), "nothing to do") != NULL);
    return spare;
}

/* TRAFFIC orders of the newest operation, and that all of them let clients in. */
static int count_welcomes(const struct world *w)
{
    const struct plan *plan = coordinator_plan(world_core(w), world_operation(w)->id);
    int count = 0;
    for (int i = 0; i < plan->batch_count; i++) {
        const struct batch *batch = &plan->batches[i];
        if (batch->kind == BATCH_TASK && batch->task->kind == TASK_TRAFFIC) {
            assert_int_equal(batch->task->flags, TASK_UP);
            count++;
        }
    }
    return count;
}

static const char *add(struct world *w, int spare)
{
    int number = world_add(w, 0, COMMAND_START, spare);
    WORLD_UNTIL(w, 2000, world_answer(w, number)->is_done);
    assert_string_equal(world_answer(w, number)->err.text, "");
    return world_answer(w, number)->operation_id;
}

/* With its share of slots; a second run has nothing to do; and a node that leaves stays drained. */
static void test_join(void **state)
{
    (void)state;
    struct world w;
    int spare = begin(&w);
    (void)add(&w, spare);
    WORLD_UNTIL(&w, 60000, world_state(&w) == OPERATION_DONE);
    assert_int_equal(world_slots_of(&w, spare), SLOT_COUNT / 4);
    assert_int_equal(count_welcomes(&w), 1);
    assert_false(w.nodes[spare].is_drained);
    WORLD_UNTIL(&w, 20000, strstr(world_why(&w), "nothing to do") != NULL);
    assert_string_equal(add(&w, spare), "");
    struct coordinator_command command = {.kind = COMMAND_START};
    command.request.kind = OPERATION_REMOVE;
    command.request.node = w.nodes[spare].id;
    (void)world_command(&w, 0, &command);
    WORLD_UNTIL(&w, 60000, !w.nodes[spare].is_member);
    WORLD_UNTIL(&w, 60000, world_state(&w) == OPERATION_DONE);
    assert_true(w.nodes[spare].is_drained);
    world_release(&w);
}

/* Cancelled while its slots come: it is a member and stays one, so clients are let in. */
static void test_cancel(void **state)
{
    (void)state;
    struct world w;
    int spare = begin(&w);
    for (int i = 0; i < 2; i++) {
        w.agents[i].moves_per_tick = 4;
    }
    const char *id = add(&w, spare);
    WORLD_UNTIL(&w, 60000, world_slots_of(&w, spare) > 50);
    (void)world_verb(&w, 0, COMMAND_CANCEL, id);
    WORLD_UNTIL(&w, 60000, world_state(&w) == OPERATION_CANCELLED);
    assert_true(w.nodes[spare].is_member);
    assert_false(w.nodes[spare].is_drained);
    world_release(&w);
}

/* A proxy that does not answer holds up no slot; it is named, and `resume` asks it again. */
static void test_hook_fails(void **state)
{
    (void)state;
    struct world w;
    int spare = begin(&w);
    w.agents[0].ends_as = ORDER_FAILED;
    w.agents[0].ends_code = ERR_TIMEOUT;
    w.agents[0].ends_reason = "HAProxy does not answer";
    w.agents[0].ends_kind = TASK_TRAFFIC;
    char id[OPERATION_ID_SIZE];
    (void)snprintf(id, sizeof(id), "%s", add(&w, spare));
    WORLD_UNTIL(&w, 300000, world_state(&w) == OPERATION_HELD);
    assert_int_equal(world_slots_of(&w, spare), SLOT_COUNT / 4);
    assert_non_null(strstr(world_operation(&w)->reason, "HAProxy does not answer"));
    assert_true(w.nodes[spare].is_drained);
    w.agents[0].ends_as = 0;
    (void)world_verb(&w, 0, COMMAND_RESUME, id);
    WORLD_UNTIL(&w, 60000, world_state(&w) == OPERATION_DONE);
    assert_false(w.nodes[spare].is_drained);
    world_release(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_join),
        cmocka_unit_test(test_cancel),
        cmocka_unit_test(test_hook_fails),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
