/* test_tasks_cut.c — the tasks of a node's life, cut at every point.
 *
 * Each runs with a crash after every single pipeline, with the loss of every single answer, and
 * frozen at every event: a new runner, or the same, must reach the same end. */
#include "helper_town_task.h"

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct trial {
    enum task_kind kind;
    int node;
    int peer;
    uint32_t flags;
} trials[] = {
    {TASK_JOIN, 4, 0, 0},      {TASK_REPLICATE, 5, 1, 0}, {TASK_FAILOVER, 3, 0, 0},
    {TASK_LEAVE, 5, 0, 0},     {TASK_LEAVE, 3, 1, 0},     {TASK_LEAVE, 3, 1, TASK_DEAD},
    {TASK_ADD_SLOTS, 5, 0, 0}, {TASK_MEET, 3, 0, 0},      {TASK_ADD_SLOTS, 5, 0, TASK_FORCE},
};

static void prepare(const struct trial *trial, struct task *task)
{
    town_release(town);
    town_init(town);
    town_introduce(town, 5);
    (void)snprintf(town->nodes[0].functions, sizeof(town->nodes[0].functions), "lib");
    town->nodes[5].sync_left = 3;
    town->faces[5].epoch = 9;
    town->nodes[3].is_down = trial->flags == TASK_DEAD;
    town_task(town, task, trial->kind, trial->node, trial->peer);
    task->flags = trial->flags;
    if (trial->flags == TASK_FORCE) {
        town->nodes[1].is_down = true;
        town->faces[1].epoch = 40;
        slotset_add_range(&task->slots, 6000, 6009);
    }
    if (trial->kind == TASK_ADD_SLOTS) {
        town->owner[9] = -1;
        slotset_add(&task->slots, 9);
    }
    if (trial->kind == TASK_MEET) {
        town->nodes[2].knows[3] = false;
        town->nodes[2].is_deaf = true;
    }
}

static void check_end(const struct trial *trial, int step)
{
    if (status.state != ORDER_DONE) {
        fail_msg("%s, cut at step %d: %s: %s\n%s", task_kind_name(trial->kind), step,
                 order_state_name(status.state), status.reason, strbuf_text(&town->log));
    }
    switch (trial->kind) {
    case TASK_JOIN:
        for (int n = 0; n < 4; n++) {
            assert_true(town_knows(town, n, 4));
        }
        assert_string_equal(town->nodes[4].functions, "lib");
        break;
    case TASK_REPLICATE:
        assert_int_equal(town->faces[5].primary, 1);
        assert_int_equal(town->nodes[5].sync_left, 0);
        break;
    case TASK_FAILOVER:
        assert_int_equal(town->owner[0], 3);
        break;
    case TASK_LEAVE:
        for (int n = 0; n < 3; n++) {
            assert_false(town->nodes[n].knows[trial->node]);
        }
        if (trial->flags != TASK_DEAD) {
            assert_int_equal(town->nodes[trial->node].filed_keys, 0);
        }
        break;
    case TASK_ADD_SLOTS:
        assert_int_equal(town->owner[9], 5);
        assert_int_equal(town->owner[6000], trial->flags == TASK_FORCE ? 5 : 1);
        assert_true(trial->flags != TASK_FORCE || town->faces[5].epoch > 40);
        break;
    case TASK_MEET:
        assert_true(town_knows(town, 2, 3));
        break;
    case TASK_REPAIR:
    case TASK_START:
    case TASK_STOP:
    case TASK_PROVISION:
    case TASK_RELEASE:
    case TASK_TRAFFIC:
    case TASK_REACH:
        break;
    }
}

/* A crash after every pipeline: with it carried out, a new runner reaches the same end. */
static void a_new_runner_ends_what_another_began(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(trials) / sizeof(trials[0]); i++) {
        bool is_over = false;
        for (int step = 1; !is_over; step++) {
            struct task task;
            prepare(&trials[i], &task);
            struct node_task *runner = town_runner(town, &task);
            is_over = town_run(town, runner, step);
            node_task_free(runner);
            run_task(&task);
            check_end(&trials[i], step);
            assert_true(step < 2000);
        }
    }
}

/* The loss of any answer, with the commands carried out or not. */
static void survives_the_loss_of_any_answer(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(trials) / sizeof(trials[0]); i++) {
        for (int done = 0; done < 2; done++) {
            bool was_lost = true;
            for (int step = 1; was_lost; step++) {
                struct task task;
                prepare(&trials[i], &task);
                town->lose_at = step;
                town->lose_done = done == 1;
                run_task(&task);
                check_end(&trials[i], step);
                was_lost = town->answered >= step;
                assert_true(step < 2000);
            }
        }
    }
}

/* Frozen at any point it sends nothing more, and is over once its running commands have ended. */
static void freezes_at_any_point(void **state)
{
    (void)state;
    bool is_over = false;
    for (int events = 1; !is_over; events++) {
        struct task task;
        prepare(&trials[3], &task);
        struct node_task *runner = town_runner(town, &task);
        is_over = town_run_for(town, runner, events);
        if (!is_over) {
            int flights = town->flight_count;
            int answered = town->answered;
            node_task_freeze(runner, ERR_TIMEOUT, "not renewed");
            assert_true(town_run(town, runner, -1));
            assert_true(town->answered - answered <= flights);
            node_task_status(runner, &status);
            assert_int_equal(status.state, ORDER_EXPIRED);
            assert_int_equal(node_task_deadline(runner), NEVER);
        }
        node_task_free(runner);
    }
}

#define EACH(test) cmocka_unit_test_setup_teardown(test, town_set_up, town_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        EACH(a_new_runner_ends_what_another_began),
        EACH(survives_the_loss_of_any_answer),
        EACH(freezes_at_any_point),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
