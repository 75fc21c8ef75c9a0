/* test_life_outside.c — provisioners and drain hooks with the real decisions of lifecycle.c, in
 * virtual time: what an operation prepared outside the cluster is used, or taken back, whoever
 * cancels it, fails or dies in the middle. See helper_world.h. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "helper_world.h"

#define PRIMARIES 3

static void begin(struct world *w, int agents, int servers)
{
    world_init(w, PRIMARIES, 0, agents);
    for (int i = 0; i < servers; i++) {
        (void)world_add_spare(w);
    }
    for (int i = 0; i < agents; i++) {
        w->agents[i].moves_per_tick = 200;
        w->agents[i].offers_provision = true;
        w->agents[i].offers_traffic = i == 0;
    }
    world_start(w, 0);
    WORLD_UNTIL(w, 5000, strstr(world_why(w), "nothing to do") != NULL);
}

static const char *start(struct world *w, const struct operation_request *request)
{
    struct coordinator_command command = {.kind = COMMAND_START, .request = *request};
    int number = world_command(w, 0, &command);
    WORLD_UNTIL(w, 2000, world_answer(w, number)->is_done);
    assert_string_equal(world_answer(w, number)->err.text, "");
    return world_answer(w, number)->operation_id;
}

static const char *scale(struct world *w, int primaries)
{
    struct operation_request request = {
        .kind = OPERATION_SCALE, .primaries_wanted = primaries, .replicas_wanted = 0};
    return start(w, &request);
}

static const char *remove_node(struct world *w, int node)
{
    struct operation_request request = {.kind = OPERATION_REMOVE, .node = w->nodes[node].id};
    return start(w, &request);
}

static int count_made(const struct world *w)
{
    int count = 0;
    for (int n = 0; n < w->node_count; n++) {
        count += w->nodes[n].request[0] != '\0';
    }
    return count;
}

/* Made, neither a member nor given back. */
static int count_forgotten(const struct world *w)
{
    int count = 0;
    for (int n = 0; n < w->node_count; n++) {
        const struct world_node *node = &w->nodes[n];
        count += node->request[0] != '\0' && !node->is_member && !node->is_released;
    }
    return count;
}

static int count_drained(const struct world *w)
{
    int count = 0;
    for (int n = 0; n < w->node_count; n++) {
        count += w->nodes[n].is_member && w->nodes[n].is_drained;
    }
    return count;
}

static bool is_over(const struct world *w)
{
    enum operation_state state = world_state(w);
    return state == OPERATION_DONE || state == OPERATION_FAILED || state == OPERATION_CANCELLED ||
           state == OPERATION_HELD;
}

static int count_live(const struct world *w, enum task_kind kind)
{
    int count = 0;
    for (int i = 0; i < w->agent_count; i++) {
        for (int n = 0; n < w->agents[i].order_count; n++) {
            const struct world_order *order = &w->agents[i].orders[n];
            count += order->order.kind == ORDER_TASK && order->order.task.kind == kind &&
                     order->status.state == ORDER_RUNNING;
        }
    }
    return count;
}

/* Out, at most four at a time; in again, with client traffic off before the first slot leaves, and
 * every server given back; a second run has nothing to do. */
static void test_out_and_in(void **state)
{
    (void)state;
    struct world w;
    begin(&w, 2, 6);
    (void)scale(&w, 9);
    int most = 0;
    while (!is_over(&w) && w.now_ms < 300000) {
        world_run(&w, 20);
        int live = count_live(&w, TASK_PROVISION);
        most = live > most ? live : most;
    }
    assert_int_equal(world_state(&w), OPERATION_DONE);
    assert_int_equal(most, 4);
    assert_int_equal(count_made(&w), 6);
    assert_int_equal(count_forgotten(&w), 0);
    for (int n = 0; n < w.node_count; n++) {
        assert_true(world_slots_of(&w, n) > 1700);
    }
    WORLD_UNTIL(&w, 20000, strstr(world_why(&w), "nothing to do") != NULL);
    assert_string_equal(scale(&w, 9), "");
    for (int i = 0; i < w.agent_count; i++) {
        w.agents[i].offers_provision = i == 1; /* one is enough */
    }
    world_run(&w, 3000);
    (void)remove_node(&w, 8);
    WORLD_UNTIL(&w, 20000, w.nodes[8].is_drained);
    assert_true(world_slots_of(&w, 8) > 1700);
    WORLD_UNTIL(&w, 120000, is_over(&w));
    assert_int_equal(world_state(&w), OPERATION_DONE);
    assert_true(w.nodes[8].is_released);
    assert_int_equal(count_drained(&w), 0);
    WORLD_UNTIL(&w, 20000, strstr(world_why(&w), "nothing to do") != NULL);
    assert_string_equal(remove_node(&w, 8), "");
    world_release(&w);
}

/* A server that cannot join goes back; so do the others that were made with it. The operation
 * fails with the reason of the join. */
static void test_join_fails(void **state)
{
    (void)state;
    struct world w;
    begin(&w, 1, 2);
    w.agents[0].ends_as = ORDER_FAILED;
    w.agents[0].ends_code = ERR_REFUSED;
    w.agents[0].ends_reason = "its bus port is closed";
    w.agents[0].ends_kind = TASK_JOIN;
    (void)scale(&w, 5);
    WORLD_UNTIL(&w, 120000, is_over(&w));
    assert_int_equal(world_state(&w), OPERATION_FAILED);
    assert_int_equal(world_operation(&w)->reason_code, ERR_REFUSED);
    assert_non_null(strstr(world_operation(&w)->reason, "its bus port is closed"));
    assert_int_equal(count_made(&w), 2);
    assert_int_equal(count_forgotten(&w), 0);
    /* A new run asks anew. */
    assert_int_equal(world_add_spare(&w), 5);
    w.agents[0].ends_as = 0;
    WORLD_UNTIL(&w, 20000, strstr(world_why(&w), "nothing to do") != NULL);
    (void)scale(&w, 4);
    WORLD_UNTIL(&w, 120000, world_state(&w) == OPERATION_DONE);
    assert_true(w.nodes[5].is_member);
    world_release(&w);
}

/* Whatever a provisioner says no to leaves nothing behind. */
static void test_provisioner_fails(void **state)
{
    (void)state;
    struct world w;
    begin(&w, 2, 2);
    w.agents[1].ends_as = ORDER_FAILED;
    w.agents[1].ends_code = ERR_LIMIT;
    w.agents[1].ends_reason = "the quota is used up";
    w.agents[1].ends_kind = TASK_PROVISION;
    (void)scale(&w, 5);
    WORLD_UNTIL(&w, 120000, is_over(&w));
    assert_int_equal(world_state(&w), OPERATION_FAILED);
    assert_non_null(strstr(world_operation(&w)->reason, "the quota is used up"));
    assert_int_equal(count_made(&w), 1);
    assert_int_equal(count_forgotten(&w), 0);
    world_release(&w);
}

/* Cancelled after some were made: those that did not join go back. */
static void test_cancel_after_made(void **state)
{
    (void)state;
    struct world w;
    begin(&w, 1, 2);
    const char *id = scale(&w, 5);
    WORLD_UNTIL(&w, 20000, count_live(&w, TASK_JOIN) > 0);
    (void)world_verb(&w, 0, COMMAND_CANCEL, id);
    WORLD_UNTIL(&w, 60000, is_over(&w));
    assert_int_equal(world_state(&w), OPERATION_CANCELLED);
    assert_int_equal(count_made(&w), 2);
    assert_int_equal(count_forgotten(&w), 0);
    world_release(&w);
}

/* Cancelled while client traffic is off, before or during the drain: it comes back. */
static void test_cancel_after_traffic(void **state)
{
    (void)state;
    for (int slots_gone = 0; slots_gone < 2; slots_gone++) {
        struct world w;
        begin(&w, 1, 0);
        w.agents[0].moves_per_tick = 4;
        const char *id = remove_node(&w, 2);
        int before = world_slots_of(&w, 2);
        WORLD_UNTIL(&w, 20000, w.nodes[2].is_drained);
        WORLD_UNTIL(&w, 20000, slots_gone == 0 || world_slots_of(&w, 2) < before - 300);
        (void)world_verb(&w, 0, COMMAND_CANCEL, id);
        WORLD_UNTIL(&w, 60000, is_over(&w));
        assert_int_equal(world_state(&w), OPERATION_CANCELLED);
        assert_int_equal(count_drained(&w), 0);
        assert_true(world_slots_of(&w, 2) > 0);
        world_release(&w);
    }
}

/* A hook that says no: nothing moves, traffic comes back, the operation fails with its words. One
 * that cannot put it back either is named. */
static void test_hook_fails(void **state)
{
    (void)state;
    struct world w;
    begin(&w, 2, 0);
    w.agents[1].offers_traffic = true;
    world_run(&w, 3000);
    w.agents[1].ends_as = ORDER_FAILED;
    w.agents[1].ends_code = ERR_REFUSED;
    w.agents[1].ends_reason = "the proxy says no";
    w.agents[1].ends_kind = TASK_TRAFFIC;
    int before = world_slots_of(&w, 2);
    (void)remove_node(&w, 2);
    WORLD_UNTIL(&w, 120000, is_over(&w));
    assert_int_equal(world_state(&w), OPERATION_FAILED);
    assert_int_equal(world_operation(&w)->reason_code, ERR_REFUSED);
    assert_non_null(strstr(world_operation(&w)->reason, "take client traffic off"));
    assert_non_null(strstr(world_operation(&w)->reason, "could not put client traffic back"));
    assert_int_equal(world_slots_of(&w, 2), before);
    assert_int_equal(count_drained(&w), 0);
    world_release(&w);
}

/* An agent that dies in the middle of a request: the next attempt is the same request, so there is
 * one server. */
static void test_agent_dies(void **state)
{
    (void)state;
    struct world w;
    begin(&w, 2, 3);
    w.agents[0].offers_provision = false;
    world_run(&w, 3000);
    w.agents[1].task_ticks = 50;
    (void)scale(&w, 4);
    WORLD_UNTIL(&w, 20000, count_live(&w, TASK_PROVISION) > 0);
    char request[48];
    assert_true(
        task_detail_get(&w.agents[1].orders[0].order.task, "request", request, sizeof(request)));
    memcpy(w.nodes[3].request, request, sizeof(request)); /* its provisioner has begun */
    world_agent_kill(&w, 1);
    world_run(&w, 2000);
    world_agent_start(&w, 1);
    WORLD_UNTIL(&w, 120000, is_over(&w));
    assert_int_equal(world_state(&w), OPERATION_DONE);
    assert_int_equal(count_made(&w), 1);
    assert_true(w.nodes[3].is_member);
    world_release(&w);
}

/* An agent is lost while its provisioner works, and the operation is cancelled meanwhile. */
static const char *lose_a_request(struct world *w)
{
    begin(w, 2, 3);
    w->agents[0].offers_provision = false;
    world_run(w, 3000);
    w->agents[1].task_ticks = 50;
    const char *id = scale(w, 4);
    WORLD_UNTIL(w, 20000, count_live(w, TASK_PROVISION) > 0);
    assert_true(task_detail_get(&w->agents[1].orders[0].order.task, "request", w->nodes[3].request,
                                sizeof(w->nodes[3].request)));
    world_agent_kill(w, 1);
    (void)world_verb(w, 0, COMMAND_CANCEL, id);
    return id;
}

/* It comes back: what was made is learnt under the same id, and given back. */
static void test_lost_request_is_given_back(void **state)
{
    (void)state;
    for (int64_t away_ms = 100; away_ms < 60000; away_ms += 19000) {
        struct world w;
        (void)lose_a_request(&w);
        world_run(&w, away_ms);
        assert_int_equal(world_state(&w), OPERATION_CANCELLING);
        world_agent_start(&w, 1);
        WORLD_UNTIL(&w, 120000, is_over(&w));
        assert_int_equal(world_state(&w), OPERATION_CANCELLED);
        assert_string_equal(world_operation(&w)->reason, "cancelled by an operator");
        assert_int_equal(count_made(&w), 1);
        assert_int_equal(count_forgotten(&w), 0);
        world_release(&w);
    }
}

/* It does not: the operation is held and names the request. Cancelled once more it asks, if the
 * agent is there, or ends, saying what may be left. */
static void test_lost_request_is_a_persons(void **state)
{
    (void)state;
    for (int comes_back = 0; comes_back < 2; comes_back++) {
        struct world w;
        const char *id = lose_a_request(&w);
        WORLD_UNTIL(&w, 200000, world_state(&w) == OPERATION_HELD);
        char words[64];
        (void)snprintf(words, sizeof(words), "request %s-0 may have left a server", id);
        assert_non_null(strstr(world_operation(&w)->reason, words));
        assert_non_null(strstr(world_operation(&w)->reason, "then cancel again"));
        if (comes_back > 0) {
            world_agent_start(&w, 1);
            world_run(&w, 5000);
        } else {
            /* Another leader knows it as well, or finds out anew when that was not written yet. */
            world_start(&w, 1);
            world_kill(&w, 0);
            WORLD_UNTIL(&w, 15000, world_leader(&w) == 1);
            WORLD_UNTIL(&w, 200000, world_state(&w) == OPERATION_HELD);
            WORLD_UNTIL(&w, 20000, strstr(world_why(&w), words) != NULL);
        }
        (void)world_verb(&w, world_leader(&w), COMMAND_CANCEL, id);
        WORLD_UNTIL(&w, 120000, world_state(&w) == OPERATION_CANCELLED);
        assert_int_equal(count_forgotten(&w), comes_back > 0 ? 0 : 1);
        assert_int_equal(strstr(world_operation(&w)->reason, words) == NULL, comes_back > 0);
        world_release(&w);
    }
}

/* Nobody cancels: it is waited for, then held, and the reason names the request. */
static void test_lost_request_is_named_while_it_waits(void **state)
{
    (void)state;
    struct world w;
    begin(&w, 2, 3);
    w.agents[0].offers_provision = false;
    world_run(&w, 3000);
    w.agents[1].task_ticks = 50;
    const char *id = scale(&w, 4);
    WORLD_UNTIL(&w, 20000, count_live(&w, TASK_PROVISION) > 0);
    world_agent_kill(&w, 1);
    WORLD_UNTIL(&w, 500000, world_state(&w) == OPERATION_HELD);
    char words[96];
    (void)snprintf(words, sizeof(words), "waits for agent h2, which was asked for request %s-0",
                   id);
    assert_non_null(strstr(world_operation(&w)->reason, words));
    world_release(&w);
}

/* A leader that dies anywhere: every server that was made is a member in the end. */
static void test_leader_dies_anywhere(void **state)
{
    (void)state;
    for (int64_t after_ms = 0; after_ms < 4000; after_ms += 170) {
        struct world w;
        begin(&w, 2, 2);
        w.store.latency_ms = 40;
        world_start(&w, 1);
        (void)scale(&w, 5);
        world_run(&w, after_ms);
        world_kill(&w, 0);
        WORLD_UNTIL(&w, 15000, world_leader(&w) == 1);
        WORLD_UNTIL(&w, 120000, world_operation(&w) != NULL && is_over(&w));
        assert_int_equal(world_state(&w), OPERATION_DONE);
        assert_int_equal(count_made(&w), 2);
        assert_int_equal(count_forgotten(&w), 0);
        world_release(&w);
    }
}

/* A leader that dies while an operation is cancelled: the next one takes back what is left. */
static void test_leader_dies_while_cancelling(void **state)
{
    (void)state;
    for (int64_t after_ms = 0; after_ms < 2000; after_ms += 110) {
        struct world w;
        begin(&w, 1, 2);
        w.store.latency_ms = 40;
        world_start(&w, 1);
        const char *id = scale(&w, 5);
        WORLD_UNTIL(&w, 20000, count_live(&w, TASK_JOIN) > 0);
        (void)world_verb(&w, 0, COMMAND_CANCEL, id);
        world_run(&w, 200 + after_ms);
        world_kill(&w, 0);
        WORLD_UNTIL(&w, 15000, world_leader(&w) == 1);
        WORLD_UNTIL(&w, 120000, world_operation(&w) != NULL && is_over(&w));
        assert_int_equal(world_state(&w), OPERATION_CANCELLED);
        assert_int_equal(count_made(&w), 2);
        assert_int_equal(count_forgotten(&w), 0);
        world_release(&w);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_out_and_in),
        cmocka_unit_test(test_join_fails),
        cmocka_unit_test(test_provisioner_fails),
        cmocka_unit_test(test_cancel_after_made),
        cmocka_unit_test(test_cancel_after_traffic),
        cmocka_unit_test(test_hook_fails),
        cmocka_unit_test(test_agent_dies),
        cmocka_unit_test(test_lost_request_is_given_back),
        cmocka_unit_test(test_lost_request_is_a_persons),
        cmocka_unit_test(test_lost_request_is_named_while_it_waits),
        cmocka_unit_test(test_leader_dies_anywhere),
        cmocka_unit_test(test_leader_dies_while_cancelling),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
