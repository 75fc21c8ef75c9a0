/* test_life_certificate.c — the removal certificate is asked for again in the moment in which an
 * order goes out: what was true when the plan grew may have changed since. See helper_world.h. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "helper_world.h"

#define LEAVER 2

static void begin(struct world *w)
{
    world_init(w, 3, 0, 1);
    w->agents[0].moves_per_tick = 500;
    w->agents[0].offers_provision = true;
    world_start(w, 0);
    WORLD_UNTIL(w, 5000, strstr(world_why(w), "nothing to do") != NULL);
}

static void remove_node(struct world *w, int node)
{
    struct coordinator_command command = {.kind = COMMAND_START};
    command.request.kind = OPERATION_REMOVE;
    command.request.node = w->nodes[node].id;
    int number = world_command(w, 0, &command);
    WORLD_UNTIL(w, 2000, world_answer(w, number)->is_done);
    assert_string_equal(world_answer(w, number)->err.text, "");
}

/* Orders to give a server back that the agent was ever given. */
static int count_releases(const struct world *w)
{
    const struct plan *plan = coordinator_plan(world_core(w), world_operation(w)->id);
    int count = 0;
    for (int i = 0; plan != NULL && i < plan->batch_count; i++) {
        const struct batch *batch = &plan->batches[i];
        count +=
            batch->kind == BATCH_TASK && batch->task->kind == TASK_RELEASE ? batch->attempt : 0;
    }
    return count;
}

/* The first try fails; before the second somebody introduces the node to the cluster again. */
static void test_no_order_without_certificate(void **state)
{
    (void)state;
    struct world w;
    begin(&w);
    w.agents[0].ends_as = ORDER_FAILED;
    w.agents[0].ends_code = ERR_TIMEOUT;
    w.agents[0].ends_reason = "the provisioner is busy";
    w.agents[0].ends_kind = TASK_RELEASE;
    remove_node(&w, LEAVER);
    WORLD_UNTIL(&w, 60000, w.nodes[LEAVER].is_member == false);
    w.agents[0].task_ticks = 1000000;
    WORLD_UNTIL(&w, 60000, count_releases(&w) == 1);
    w.nodes[LEAVER].is_member = true;
    world_run(&w, 3000); /* it is seen */
    w.agents[0].task_ticks = 0;
    WORLD_UNTIL(&w, 5000, world_log_count(&w, "the provisioner is busy") > 0);
    w.agents[0].ends_as = 0;
    WORLD_UNTIL(&w, 20000,
                strstr(world_why(&w), "waits for the removal certificate: ") != NULL &&
                    strstr(world_why(&w), "still know it") != NULL);
    world_run(&w, 20000);
    assert_int_equal(count_releases(&w), 1);
    assert_false(w.nodes[LEAVER].is_released);
    w.nodes[LEAVER].is_member = false;
    WORLD_UNTIL(&w, 60000, world_state(&w) == OPERATION_DONE);
    assert_int_equal(count_releases(&w), 2);
    assert_true(w.nodes[LEAVER].is_released);
    world_release(&w);
}

/* What is refused while the order is being written waits until it is granted, and fails nothing. */
static void test_refused_before_the_order_went_out(void **state)
{
    (void)state;
    struct world w;
    begin(&w);
    remove_node(&w, LEAVER);
    WORLD_UNTIL(&w, 60000, w.nodes[LEAVER].is_member == false);
    w.agents[0].task_ticks = 0;
    w.store.latency_ms = 900; /* until the order is durable the nodes are seen again */
    WORLD_UNTIL(&w, 60000, count_releases(&w) == 1);
    w.nodes[LEAVER].is_member = true;
    WORLD_UNTIL(&w, 20000, world_log_count(&w, "still know it") > 0);
    WORLD_UNTIL(&w, 20000, strstr(world_why(&w), "waits for the removal certificate: ") != NULL);
    assert_false(w.nodes[LEAVER].is_released);
    w.store.latency_ms = 5;
    w.nodes[LEAVER].is_member = false;
    WORLD_UNTIL(&w, 60000, world_state(&w) == OPERATION_DONE);
    assert_true(w.nodes[LEAVER].is_released);
    world_release(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_no_order_without_certificate),
        cmocka_unit_test(test_refused_before_the_order_went_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
