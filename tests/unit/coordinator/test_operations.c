/* test_operations.c — operations from the order to the proof, in virtual time: see helper_world.h.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "helper_world.h"

static void begin(struct world *w, int primaries, int replicas_each, int agents)
{
    world_init(w, primaries, replicas_each, agents);
    world_start(w, 0);
    WORLD_UNTIL(w, 5000, strstr(world_why(w), "nothing to do") != NULL);
}

/* A drain ends in DONE with every slot elsewhere, and every batch is ordered exactly once when
 * nothing fails. */
static void test_drain(void **state)
{
    (void)state;
    struct world w;
    begin(&w, 3, 0, 3);
    int number = world_drain(&w, 0, 0);
    WORLD_UNTIL(&w, 1000, world_answer(&w, number)->is_done);
    assert_int_equal(world_answer(&w, number)->err.code, 0);
    assert_true(world_answer(&w, number)->plan.batch_count > 5);
    WORLD_UNTIL(&w, 60000, world_state(&w) == OPERATION_DONE);
    assert_int_equal(world_slots_of(&w, 0), 0);
    assert_int_equal(world_operation(&w)->slots_moved, world_operation(&w)->slots_total);
    assert_int_equal(world_log_count(&w, "batch.ordered"),
                     world_answer(&w, number)->plan.batch_count);
    WORLD_UNTIL(&w, 5000, strstr(world_why(&w), "nothing to do") != NULL);
    WORLD_UNTIL(&w, 5000, w.agents[0].order_count == 0); /* every result was told to be forgotten */
    world_release(&w);
}

/* A source never runs dry between two batches: the next order is at the agent before the present
 * one ends. */
static void test_no_bubble(void **state)
{
    (void)state;
    struct world w;
    begin(&w, 3, 0, 3);
    (void)world_drain(&w, 0, 0);
    WORLD_UNTIL(&w, 5000, w.agents[0].order_count > 0);
    int idle = 0;
    while (world_state(&w) == OPERATION_RUNNING && world_operation(&w)->slots_moved < 5000) {
        world_run(&w, 20);
        int running = 0;
        for (int i = 0; i < w.agents[0].order_count; i++) {
            running += w.agents[0].orders[i].status.state == ORDER_RUNNING ? 1 : 0;
        }
        idle += running == 0 ? 1 : 0;
    }
    assert_in_range(idle, 0, 1);
    world_release(&w);
}

/* Pairs of different sources run in parallel, within the limit of a target. */
static void test_parallel(void **state)
{
    (void)state;
    struct world w;
    begin(&w, 4, 0, 4);
    struct coordinator_command command = {.kind = COMMAND_START};
    command.request.kind = OPERATION_RESHARD;
    command.request.target = w.nodes[3].id;
    command.request.slot_count = 6000;
    (void)world_command(&w, 0, &command);
    int most = 0;
    while (world_state(&w) != OPERATION_DONE && w.now_ms < 120000) {
        world_run(&w, 20);
        int sources = 0;
        for (int i = 0; i < 4; i++) {
            sources += w.agents[i].order_count > 0 ? 1 : 0;
        }
        most = sources > most ? sources : most;
    }
    assert_int_equal(world_state(&w), OPERATION_DONE);
    assert_int_equal(most, 3);
    world_release(&w);
}

/* Pause lets the slots in hand end and stops; resume goes on to the end; both are answered when
 * they are durable. */
static void test_pause_resume(void **state)
{
    (void)state;
    struct world w;
    begin(&w, 3, 0, 3);
    int start = world_drain(&w, 0, 0);
    WORLD_UNTIL(&w, 20000,
                world_state(&w) == OPERATION_RUNNING && world_operation(&w)->slots_moved > 700);
    const char *id = world_answer(&w, start)->operation_id;
    int pause = world_verb(&w, 0, COMMAND_PAUSE, id);
    WORLD_UNTIL(&w, 1000, world_answer(&w, pause)->is_done);
    assert_int_equal(world_answer(&w, pause)->err.code, 0);
    WORLD_UNTIL(&w, 10000, world_state(&w) == OPERATION_PAUSED);
    int moved = world_slots_of(&w, 0);
    world_run(&w, 5000);
    assert_int_equal(world_slots_of(&w, 0), moved);
    assert_true(moved > 0);
    int again = world_verb(&w, 0, COMMAND_PAUSE, id);
    WORLD_UNTIL(&w, 1000, world_answer(&w, again)->is_done);
    assert_int_equal(world_answer(&w, again)->err.code, 0); /* it is so already */
    int resume = world_verb(&w, 0, COMMAND_RESUME, id);
    WORLD_UNTIL(&w, 1000, world_answer(&w, resume)->is_done);
    assert_int_equal(world_answer(&w, resume)->err.code, 0);
    WORLD_UNTIL(&w, 60000, world_state(&w) == OPERATION_DONE);
    assert_int_equal(world_slots_of(&w, 0), 0);
    world_release(&w);
}

/* Cancel leaves what was moved where it is and nothing open, and the next operation may start. */
static void test_cancel(void **state)
{
    (void)state;
    struct world w;
    begin(&w, 3, 0, 3);
    int start = world_drain(&w, 0, 0);
    WORLD_UNTIL(&w, 20000,
                world_state(&w) == OPERATION_RUNNING && world_operation(&w)->slots_moved > 700);
    const char *id = world_answer(&w, start)->operation_id;
    int second = world_drain(&w, 0, 1);
    assert_int_equal(world_answer(&w, second)->err.code, ERR_CONFLICT);
    assert_non_null(strstr(world_answer(&w, second)->err.text, id));
    (void)world_verb(&w, 0, COMMAND_CANCEL, id);
    WORLD_UNTIL(&w, 10000, world_state(&w) == OPERATION_CANCELLED);
    assert_true(world_slots_of(&w, 0) > 0);
    int late = world_verb(&w, 0, COMMAND_RESUME, id);
    assert_int_equal(world_answer(&w, late)->err.code, ERR_CONFLICT);
    WORLD_UNTIL(&w, 5000, strstr(world_why(&w), "nothing to do") != NULL);
    (void)world_drain(&w, 0, 0);
    WORLD_UNTIL(&w, 60000, world_state(&w) == OPERATION_DONE);
    world_release(&w);
}

/* A slot that is the target's already and that somebody has opened the other way since: cancelling
 * leaves it alone and ends all the same. */
static void test_cancel_beside_a_move_back(void **state)
{
    (void)state;
    struct world w;
    begin(&w, 3, 0, 1);
    w.agents[0].moves_per_tick = 2;
    int start = world_drain(&w, 0, 0);
    WORLD_UNTIL(&w, 20000,
                world_state(&w) == OPERATION_RUNNING && world_operation(&w)->slots_moved > 20);
    const struct plan *plan = coordinator_plan(world_core(&w), world_operation(&w)->id);
    int live = 0;
    while (live < plan->batch_count && plan->batches[live].state != BATCH_ORDERED) {
        live++;
    }
    assert_true(live < plan->batch_count);
    int slot = SLOT_NONE;
    SLOTSET_FOREACH (last, &plan->batches[live].slots) {
        slot = last;
    }
    int target = node_id_is_equal(&w.nodes[1].id, &plan->batches[live].target) ? 1 : 2;
    w.owner[slot] = (int16_t)target;
    w.nodes[target].open_slot = slot;
    w.nodes[target].open_peer = 0;
    int orders = w.agents[0].orders_received;
    (void)world_verb(&w, 0, COMMAND_CANCEL, world_answer(&w, start)->operation_id);
    WORLD_UNTIL(&w, 10000, world_state(&w) == OPERATION_CANCELLED);
    assert_int_equal(w.agents[0].orders_received, orders);
    assert_int_equal(w.nodes[target].open_slot, slot);
    world_release(&w);
}

/* An operation that needs approval waits for it, and may be cancelled or approved. */
static void test_approval(void **state)
{
    (void)state;
    struct world w;
    begin(&w, 3, 0, 1);
    struct coordinator_command command = {.kind = COMMAND_START};
    command.request.kind = OPERATION_DRAIN;
    command.request.node = w.nodes[2].id;
    command.request.needs_approval = true;
    int start = world_command(&w, 0, &command);
    WORLD_UNTIL(&w, 1000, world_answer(&w, start)->is_done);
    world_run(&w, 5000);
    assert_int_equal(world_state(&w), OPERATION_PLANNED);
    assert_int_equal(w.agents[0].orders_received, 0);
    (void)world_verb(&w, 0, COMMAND_APPROVE, world_answer(&w, start)->operation_id);
    WORLD_UNTIL(&w, 60000, world_state(&w) == OPERATION_DONE);
    world_release(&w);
}

/* An approval of a plan whose topology is gone is refused. */
static void test_approval_too_late(void **state)
{
    (void)state;
    struct world w;
    begin(&w, 3, 0, 1);
    struct coordinator_command command = {.kind = COMMAND_START};
    command.request.kind = OPERATION_DRAIN;
    command.request.node = w.nodes[2].id;
    command.request.needs_approval = true;
    int start = world_command(&w, 0, &command);
    WORLD_UNTIL(&w, 1000, world_answer(&w, start)->is_done);
    w.owner[0] = 1;
    world_run(&w, 5000);
    int approve = world_verb(&w, 0, COMMAND_APPROVE, world_answer(&w, start)->operation_id);
    assert_int_equal(world_answer(&w, approve)->err.code, ERR_CONFLICT);
    assert_int_equal(world_state(&w), OPERATION_PLANNED);
    world_release(&w);
}

/* Errors of commands are typed and say what to do. */
static void test_command_errors(void **state)
{
    (void)state;
    struct world w;
    begin(&w, 3, 0, 1);
    world_start(&w, 1);
    world_run(&w, 3000);
    int none = world_verb(&w, 0, COMMAND_PAUSE, "op-1-1");
    assert_int_equal(world_answer(&w, none)->err.code, ERR_NOT_FOUND);
    int standby = world_drain(&w, 1, 0);
    assert_int_equal(world_answer(&w, standby)->err.code, ERR_NOT_LEADER);
    assert_non_null(strstr(world_answer(&w, standby)->err.hint, "http://c0:7480"));
    struct coordinator_command command = {.kind = COMMAND_START, .topology_digest = 12345};
    command.request.kind = OPERATION_DRAIN;
    command.request.node = w.nodes[0].id;
    int old = world_command(&w, 0, &command);
    assert_int_equal(world_answer(&w, old)->err.code, ERR_CONFLICT);
    command.topology_digest = 0;
    (void)snprintf(command.request.node.text, sizeof(command.request.node.text), "%040d", 99);
    int unknown = world_command(&w, 0, &command);
    assert_int_equal(world_answer(&w, unknown)->err.code, ERR_NOT_FOUND);
    command.kind = COMMAND_PLAN;
    command.request.node = w.nodes[0].id;
    int plan = world_command(&w, 0, &command);
    assert_int_equal(world_answer(&w, plan)->err.code, 0);
    assert_true(world_answer(&w, plan)->plan.batch_count > 0);
    assert_null(world_operation(&w)); /* a dry run leaves nothing behind */
    world_release(&w);
}

/* A failing batch is tried again with pauses, then held with its reason; resume tries again. */
static void test_gives_up_and_resumes(void **state)
{
    (void)state;
    struct world w;
    world_init(&w, 3, 0, 1);
    w.config.attempts_max = 3;
    world_start(&w, 0);
    WORLD_UNTIL(&w, 5000, strstr(world_why(&w), "nothing to do") != NULL);
    w.agents[0].ends_as = ORDER_FAILED;
    w.agents[0].ends_code = ERR_TIMEOUT;
    w.agents[0].ends_reason = "MIGRATE timed out";
    int start = world_drain(&w, 0, 0);
    WORLD_UNTIL(&w, 1000, world_answer(&w, start)->is_done);
    WORLD_UNTIL(&w, 200000,
                world_state(&w) == OPERATION_HELD || world_state(&w) == OPERATION_FAILED);
    assert_int_equal(world_state(&w), OPERATION_FAILED); /* nothing was moved, nothing is open */
    assert_non_null(strstr(world_operation(&w)->reason, "gave up after 3 attempts"));
    assert_int_equal(world_operation(&w)->reason_code, ERR_TIMEOUT);
    w.agents[0].ends_as = ORDER_HELD;
    w.agents[0].ends_code = ERR_CONFLICT;
    w.agents[0].ends_reason = "two copies of key a differ";
    start = world_drain(&w, 0, 0);
    WORLD_UNTIL(&w, 200000, world_state(&w) == OPERATION_HELD);
    assert_non_null(strstr(world_why(&w), "two copies of key a differ"));
    w.agents[0].ends_as = 0;
    (void)world_verb(&w, 0, COMMAND_RESUME, world_answer(&w, start)->operation_id);
    WORLD_UNTIL(&w, 60000, world_state(&w) == OPERATION_DONE);
    world_release(&w);
}

/* Wrong credentials are no reason to try eight times. */
static void test_permanent_failure(void **state)
{
    (void)state;
    struct world w;
    begin(&w, 3, 0, 1);
    w.agents[0].ends_as = ORDER_FAILED;
    w.agents[0].ends_code = ERR_AUTH;
    w.agents[0].ends_reason = "NOAUTH";
    (void)world_drain(&w, 0, 0);
    WORLD_UNTIL(&w, 30000, world_state(&w) == OPERATION_FAILED);
    assert_int_equal(world_log_count(&w, "batch.retry"), 0);
    world_release(&w);
}

/* An agent that vanishes in the middle: its batch goes to nobody before the order's expiry and the
 * margin. */
static void test_agent_vanishes(void **state)
{
    (void)state;
    struct world w;
    begin(&w, 3, 0, 3);
    (void)world_drain(&w, 0, 0);
    WORLD_UNTIL(&w, 20000,
                world_state(&w) == OPERATION_RUNNING && world_operation(&w)->slots_moved > 700);
    w.agents[0].is_cut = true; /* it works on, unheard */
    int64_t cut_ms = w.now_ms;
    WORLD_UNTIL(&w, 60000, world_log_count(&w, "batch.taken_back") > 0);
    assert_true(w.now_ms - cut_ms >=
                30000); /* valid 30 s, counted from the last report, plus 5 s */
    assert_true(w.now_ms - cut_ms <= 37000);
    /* Its node is given to another agent, which finishes. */
    WORLD_UNTIL(&w, 90000, world_state(&w) == OPERATION_DONE);
    world_release(&w);
}

/* An agent that is killed and comes back with the same disk is given its batch again at once. */
static void test_agent_restarts(void **state)
{
    (void)state;
    struct world w;
    begin(&w, 3, 0, 3);
    (void)world_drain(&w, 0, 0);
    WORLD_UNTIL(&w, 20000,
                world_state(&w) == OPERATION_RUNNING && world_operation(&w)->slots_moved > 700);
    world_agent_kill(&w, 0);
    world_run(&w, 1000);
    world_agent_start(&w, 0);
    WORLD_UNTIL(&w, 12000, world_log_count(&w, "its agent does not know the order") > 0);
    WORLD_UNTIL(&w, 60000, world_state(&w) == OPERATION_DONE);
    world_release(&w);
}

/* One that comes back without its disk may be another machine: its old orders are waited out. */
static void test_agent_loses_disk(void **state)
{
    (void)state;
    struct world w;
    begin(&w, 3, 0, 3);
    (void)world_drain(&w, 0, 0);
    WORLD_UNTIL(&w, 20000,
                world_state(&w) == OPERATION_RUNNING && world_operation(&w)->slots_moved > 700);
    world_agent_kill(&w, 0);
    int64_t killed_ms = w.now_ms;
    world_run(&w, 1000);
    w.agents[0].fence_disk = 0;
    world_agent_start(&w, 0);
    WORLD_UNTIL(&w, 60000, world_log_count(&w, "batch.taken_back") > 0);
    assert_true(w.now_ms - killed_ms >= 30000);
    assert_int_equal(world_log_count(&w, "its agent does not know the order"), 0);
    WORLD_UNTIL(&w, 60000, world_state(&w) == OPERATION_DONE);
    world_release(&w);
}

/* A source that fails over in the middle: the rest follows to the promoted replica, without a
 * person. */
static void test_source_fails_over(void **state)
{
    (void)state;
    struct world w;
    begin(&w, 3, 1, 1);
    (void)world_drain(&w, 0, 0);
    WORLD_UNTIL(&w, 20000,
                world_state(&w) == OPERATION_RUNNING && world_operation(&w)->slots_moved > 700);
    world_failover(&w, 0, 3);
    WORLD_UNTIL(&w, 60000, world_state(&w) == OPERATION_DONE);
    assert_true(world_log_count(&w, "batch.retargeted") > 0);
    assert_int_equal(world_slots_of(&w, 3), 0);
    world_release(&w);
}

/* Likewise a target. */
static void test_target_fails_over(void **state)
{
    (void)state;
    struct world w;
    begin(&w, 3, 1, 1);
    (void)world_drain(&w, 0, 0);
    WORLD_UNTIL(&w, 20000,
                world_state(&w) == OPERATION_RUNNING && world_operation(&w)->slots_moved > 700);
    world_failover(&w, 1, 4);
    WORLD_UNTIL(&w, 60000, world_state(&w) == OPERATION_DONE);
    assert_int_equal(world_slots_of(&w, 0), 0);
    assert_true(world_slots_of(&w, 4) > 5462);
    world_release(&w);
}

/* Somebody else moves a slot of the plan away: the operation pauses and says so; it never fights.
 */
static void test_foreign_change(void **state)
{
    (void)state;
    struct world w;
    begin(&w, 4, 0, 1);
    w.agents[0].moves_per_tick = 2;
    (void)world_drain(&w, 0, 0);
    WORLD_UNTIL(&w, 20000,
                world_state(&w) == OPERATION_RUNNING && world_operation(&w)->slots_moved > 20);
    const struct plan *plan = coordinator_plan(world_core(&w), world_operation(&w)->id);
    const struct batch *last = &plan->batches[plan->batch_count - 1];
    int slot = slotset_next(&last->slots, 0);
    int target = w.nodes[1].id.text[NODE_ID_LEN - 1] == last->target.text[NODE_ID_LEN - 1] ? 2 : 1;
    w.owner[slot] = (int16_t)target;
    WORLD_UNTIL(&w, 40000, world_state(&w) == OPERATION_PAUSED);
    assert_non_null(strstr(world_operation(&w)->reason, "somebody else changed the cluster"));
    world_release(&w);
}

/* The store goes away: nothing new is ordered or renewed, and it goes on by itself when the store
 * is back. */
static void test_store_away(void **state)
{
    (void)state;
    struct world w;
    begin(&w, 3, 0, 1);
    (void)world_drain(&w, 0, 0);
    WORLD_UNTIL(&w, 20000,
                world_state(&w) == OPERATION_RUNNING && world_operation(&w)->slots_moved > 700);
    w.store.fault[0] = STORE_FULL; /* keepalives work, writes do not */
    world_run(&w, 4000);
    int ordered = world_log_count(&w, "batch.ordered");
    assert_non_null(strstr(world_why(&w), "takes no writes"));
    int received = w.agents[0].orders_received;
    world_run(&w, 20000);
    assert_int_equal(w.agents[0].orders_received, received);
    assert_int_equal(world_log_count(&w, "batch.ordered"), ordered);
    int refused = world_verb(&w, 0, COMMAND_PAUSE, world_operation(&w)->id);
    assert_int_equal(world_answer(&w, refused)->err.code, ERR_UNAVAILABLE);
    w.store.fault[0] = STORE_WELL;
    WORLD_UNTIL(&w, 60000, world_state(&w) == OPERATION_DONE);
    world_release(&w);
}

/* A write that times out is read back and decided by what is there, whether it landed or not. */
static void test_ambiguous_writes(void **state)
{
    (void)state;
    for (int fault = STORE_DONE_SILENT; fault <= STORE_LOST; fault++) {
        struct world w;
        begin(&w, 3, 0, 1);
        w.store.fault[0] = (enum store_fault)fault;
        int start = world_drain(&w, 0, 0);
        world_run(&w, 100);
        w.store.fault[0] = STORE_WELL;
        WORLD_UNTIL(&w, 20000, world_answer(&w, start)->is_done);
        assert_int_equal(world_answer(&w, start)->err.code, 0);
        WORLD_UNTIL(&w, 60000, world_state(&w) == OPERATION_DONE);
        assert_int_equal(w.coordinators[0].terms, 1);
        assert_true(world_log_count(&w, "journal.ambiguous") > 0);
        world_release(&w);
    }
}

/* A scan counts before anything moves, and its numbers and big keys come back with the plan. */
static void test_scan(void **state)
{
    (void)state;
    struct world w;
    begin(&w, 3, 0, 3);
    struct coordinator_command command = {.kind = COMMAND_PLAN, .with_scan = true};
    command.request.kind = OPERATION_DRAIN;
    command.request.node = w.nodes[0].id;
    int plan = world_command(&w, 0, &command);
    assert_false(world_answer(&w, plan)->is_done);
    WORLD_UNTIL(&w, 30000, world_answer(&w, plan)->is_done);
    assert_int_equal(world_answer(&w, plan)->err.code, 0);
    assert_true(world_answer(&w, plan)->plan.is_scanned);
    assert_int_equal(world_answer(&w, plan)->plan.keys_estimate, 10 * world_slots_of(&w, 0));
    assert_int_equal(world_slots_of(&w, 0), 5462);
    WORLD_UNTIL(&w, 5000, w.agents[0].order_count == 0);
    world_release(&w);
}

/* Nothing can be planned on nodes that nobody can read; the agent's own words say why. */
static void test_no_node_can_be_read(void **state)
{
    (void)state;
    struct world w;
    world_init(&w, 3, 0, 1);
    for (int n = 0; n < w.node_count; n++) {
        w.nodes[n].is_locked = true;
    }
    world_start(&w, 0);
    WORLD_UNTIL(&w, 5000, strstr(world_why(&w), "WRONGPASS") != NULL);
    int number = world_drain(&w, 0, 0);
    WORLD_UNTIL(&w, 2000, world_answer(&w, number)->is_done);
    assert_int_equal(world_answer(&w, number)->err.code, ERR_AUTH);
    assert_string_equal(
        world_answer(&w, number)->err.text,
        "agent h1 reaches none of its 3 nodes: 10.0.0.1:7001: WRONGPASS invalid password");
    assert_non_null(strstr(world_answer(&w, number)->err.hint, "user and password"));
    world_agent_kill(&w, 0);
    world_release(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_no_node_can_be_read),
        cmocka_unit_test(test_drain),
        cmocka_unit_test(test_no_bubble),
        cmocka_unit_test(test_parallel),
        cmocka_unit_test(test_pause_resume),
        cmocka_unit_test(test_cancel),
        cmocka_unit_test(test_cancel_beside_a_move_back),
        cmocka_unit_test(test_approval),
        cmocka_unit_test(test_approval_too_late),
        cmocka_unit_test(test_command_errors),
        cmocka_unit_test(test_gives_up_and_resumes),
        cmocka_unit_test(test_permanent_failure),
        cmocka_unit_test(test_agent_vanishes),
        cmocka_unit_test(test_agent_restarts),
        cmocka_unit_test(test_agent_loses_disk),
        cmocka_unit_test(test_source_fails_over),
        cmocka_unit_test(test_target_fails_over),
        cmocka_unit_test(test_foreign_change),
        cmocka_unit_test(test_store_away),
        cmocka_unit_test(test_ambiguous_writes),
        cmocka_unit_test(test_scan),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
