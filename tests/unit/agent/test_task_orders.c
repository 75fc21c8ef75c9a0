/* test_task_orders.c — tasks in the order book: accepted, refused, in line for their node, frozen.
 */
#include "agent/core/order_book.h"
#include "helper_town.h"

#include "common/base/alloc.h"

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FENCE 5
#define TURN_MS_MAX 10000 /* orders are renewed in between */

static struct town *town;
static struct order_book book;
static uint32_t last_serial;

static int set_up(void **state)
{
    (void)state;
    town = xcalloc(1, sizeof(*town));
    town_init(town);
    town_introduce(town, 5);
    town->faces[5].epoch = 9;
    struct mover_login login = {.user = ""};
    order_book_init(&book, &login, 1, &last_serial);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    order_book_release(&book);
    town_release(town);
    free(town);
    return 0;
}

static void give(int batch, const struct task *task, int64_t fence)
{
    struct order order = {.id = {.operation_id = "op-1-1", .batch_index = batch, .attempt = 1},
                          .fence = fence,
                          .valid_for_ms = 30000,
                          .kind = ORDER_TASK,
                          .task = *task};
    order_book_give(&book, &order, town->now_ms, FENCE);
}

static void give_kind(int batch, enum task_kind kind, int node, int peer)
{
    struct task task;
    town_task(town, &task, kind, node, peer);
    give(batch, &task, FENCE);
}

static void give_move(int batch, int source, int target)
{
    struct order order = {.id = {.operation_id = "op-1-1", .batch_index = batch, .attempt = 1},
                          .fence = FENCE,
                          .valid_for_ms = 30000,
                          .kind = ORDER_MOVE,
                          .source = town_id(town, source),
                          .target = town_id(town, target),
                          .source_address = town->nodes[source].address,
                          .target_address = town->nodes[target].address};
    slotset_add(&order.slots, 7);
    order_book_give(&book, &order, town->now_ms, FENCE);
}

static struct order_status status_of(int batch)
{
    int count = 0;
    struct order_status found = {0};
    struct order_status *statuses = order_book_statuses(&book, &count);
    for (int i = 0; i < count; i++) {
        if (statuses[i].id.batch_index == batch) {
            found = statuses[i];
        }
    }
    free(statuses);
    assert_int_equal(found.id.batch_index, batch);
    return found;
}

/* One event: an answer when there is one, else the next deadline. */
static void turn(void)
{
    struct agent_effects fx = {0};
    struct reply_list replies = {0};
    struct agent_event event;
    if (town_answer(town, &event, &replies)) {
        (void)order_book_answer(&book, &event, &fx);
    } else {
        int64_t deadline_ms = order_book_deadline(&book, town->now_ms, true);
        assert_true(deadline_ms != NEVER);
        deadline_ms = deadline_min(deadline_ms, town->now_ms + TURN_MS_MAX);
        town->now_ms = deadline_ms > town->now_ms ? deadline_ms : town->now_ms;
    }
    order_book_run(&book, town->now_ms, true, &fx);
    town_take(town, &fx);
    agent_effects_release(&fx);
    replies_release(&replies);
}

static void run_to_end(int batch)
{
    for (int i = 0; !order_state_is_final(status_of(batch).state); i++) {
        struct renewal renewal = {.id = status_of(batch).id, .valid_for_ms = 30000};
        order_book_renew(&book, &renewal, town->now_ms);
        turn();
        assert_true(i < 5000);
    }
}

static void check_waits(int batch, const char *part)
{
    struct order_status status = status_of(batch);
    assert_int_equal(status.state, ORDER_RUNNING);
    if (strstr(status.reason, part) == NULL) {
        fail_msg("batch %d does not wait: %s", batch, status.reason);
    }
}

static void carries_a_task_out_once(void **state)
{
    (void)state;
    give_kind(1, TASK_REPLICATE, 5, 1);
    give_kind(1, TASK_REPLICATE, 5, 1);
    run_to_end(1);
    assert_int_equal(status_of(1).state, ORDER_DONE);
    assert_int_equal(town_said_count(town, "5 CLUSTER REPLICATE"), 1);
    give_kind(1, TASK_REPLICATE, 5, 1); /* still known */
    assert_int_equal(book.count, 1);
}

static void refuses_what_is_no_task(void **state)
{
    (void)state;
    struct task task;
    town_task(town, &task, TASK_LEAVE, 5, 0);
    task.peer_address.port = 0;
    give(1, &task, FENCE);
    assert_int_equal(status_of(1).state, ORDER_FAILED);
    assert_int_equal(status_of(1).reason_code, ERR_INVALID);
    town_task(town, &task, TASK_START, 5, 0);
    (void)snprintf(task.detail, sizeof(task.detail), "agent a");
    give(2, &task, FENCE);
    assert_int_equal(status_of(2).state, ORDER_FAILED); /* no folder for servers here */
    town_task(town, &task, TASK_LEAVE, 5, 0);
    give(3, &task, FENCE - 1);
    assert_int_equal(status_of(3).reason_code, ERR_FENCED);
    assert_int_equal(town_said_count(town, "5 "), 0);
}

/* At most one task a node, and never a task and a move. */
static void works_on_a_node_with_one_task_at_a_time(void **state)
{
    (void)state;
    give_kind(1, TASK_REPLICATE, 5, 1);
    give_kind(2, TASK_LEAVE, 5, 0);
    give_move(3, 1, 2); /* the primary that is being replicated */
    give_move(4, 0, 2); /* nobody's concern */
    struct task task;
    town_task(town, &task, TASK_JOIN, 5, 2); /* the same node by its address */
    task.node = (struct node_id){""};
    give(5, &task, FENCE);
    turn();
    check_waits(2, "task of the same node");
    check_waits(3, "task of the same node");
    check_waits(5, "task of the same node");
    assert_null(strstr(status_of(4).reason, "waits for a task"));
}

static void waits_for_a_move_of_its_node(void **state)
{
    (void)state;
    give_move(1, 0, 5);
    give_kind(2, TASK_LEAVE, 5, 1);
    give_kind(3, TASK_FAILOVER, 3, 0); /* its primary is a move's source */
    give_kind(4, TASK_JOIN, 4, 0);     /* that one is only asked */
    turn();
    check_waits(2, "move of the same node");
    check_waits(3, "move of the same node");
    assert_null(strstr(status_of(4).reason, "waits for"));
}

/* An older leader's task sends nothing more; the new one waits for what is on its way. */
static void another_leader_freezes_it(void **state)
{
    (void)state;
    give_kind(1, TASK_REPLICATE, 5, 1);
    while (strstr(status_of(1).reason, "CLUSTER REPLICATE") == NULL) {
        turn();
    }
    assert_int_equal(town->flight_count, 1); /* sent, not answered */
    order_book_fence(&book, FENCE + 1);
    assert_false(order_book_is_clear_below(&book, FENCE + 1));
    turn();
    assert_true(order_book_is_clear_below(&book, FENCE + 1));
    assert_int_equal(status_of(1).state, ORDER_EXPIRED);
    assert_int_equal(status_of(1).reason_code, ERR_FENCED);
    assert_int_equal(town->flight_count, 0);
}

static void expires_when_it_is_not_renewed(void **state)
{
    (void)state;
    int64_t begun_ms = town->now_ms;
    struct task task;
    town_task(town, &task, TASK_LEAVE, 5, 0); /* takes 61 s */
    give(1, &task, FENCE);
    while (!order_state_is_final(status_of(1).state)) {
        turn();
    }
    assert_int_equal(status_of(1).state, ORDER_EXPIRED);
    assert_int_equal(status_of(1).reason_code, ERR_TIMEOUT);
    assert_true(town->now_ms - begun_ms <= 30001);
    give(2, &task, FENCE); /* anybody may go on */
    run_to_end(2);
    assert_int_equal(status_of(2).state, ORDER_DONE);
    assert_int_equal(town_said_count(town, "5 CLUSTER RESET"), 1);
}

/* Answers may come before the tick that sees the expiry: they too lead to no further command. */
static void an_answer_after_the_expiry_leads_to_nothing(void **state)
{
    (void)state;
    give_kind(1, TASK_REPLICATE, 5, 1);
    turn();
    assert_int_equal(town->flight_count, 2); /* the node and its peer are asked */
    town->now_ms += 30000;
    struct reply_list replies = {0};
    struct agent_event event;
    while (town_answer(town, &event, &replies)) {
        struct agent_effects fx = {0};
        (void)order_book_answer(&book, &event, &fx);
        for (int i = 0; i < fx.count; i++) {
            assert_int_not_equal(fx.items[i].kind, AGENT_FX_REDIS);
        }
        agent_effects_release(&fx);
        replies_release(&replies);
    }
    assert_int_equal(status_of(1).state, ORDER_EXPIRED);
}

static void stops_a_task(void **state)
{
    (void)state;
    give_kind(1, TASK_LEAVE, 5, 0);
    for (int i = 0; i < 4; i++) {
        turn();
    }
    struct order_id id = status_of(1).id;
    order_book_stop(&book, &id);
    run_to_end(1);
    assert_int_equal(status_of(1).state, ORDER_STOPPED);
    order_book_forget(&book, &id);
    assert_int_equal(book.count, 0);
}

#define EACH(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        EACH(carries_a_task_out_once),
        EACH(refuses_what_is_no_task),
        EACH(works_on_a_node_with_one_task_at_a_time),
        EACH(waits_for_a_move_of_its_node),
        EACH(another_leader_freezes_it),
        EACH(expires_when_it_is_not_renewed),
        EACH(an_answer_after_the_expiry_leads_to_nothing),
        EACH(stops_a_task),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
