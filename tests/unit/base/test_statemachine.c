/* test_statemachine.c — the frame of all machines: allowed moves, deadlines, and death on a
 * forbidden move. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "common/base/statemachine.h"

enum door { DOOR_CLOSED, DOOR_OPEN, DOOR_GONE, DOOR_NR };

static const struct sm_state doors[DOOR_NR] = {
    [DOOR_CLOSED] = {"closed", SM_TO(DOOR_OPEN), NEVER, "nobody passes"},
    [DOOR_OPEN] = {"open", SM_TO(DOOR_CLOSED) | SM_TO(DOOR_GONE), 100, "somebody passes"},
    [DOOR_GONE] = {"gone", 0, NEVER, "there is no door any more"},
};

static void test_moves(void **state)
{
    (void)state;
    struct sm sm;
    sm_init(&sm, doors, DOOR_NR, DOOR_CLOSED, 1000);
    assert_string_equal(sm_name(&sm), "closed");
    assert_true(sm.deadline_ms == NEVER);
    assert_false(sm_is_overdue(&sm, NEVER - 1));
    assert_true(sm_may_move(&sm, DOOR_OPEN));
    assert_false(sm_may_move(&sm, DOOR_GONE));
    sm_move(&sm, DOOR_OPEN, 2000);
    assert_int_equal(sm.since_ms, 2000);
    assert_int_equal(sm.deadline_ms, 2100);
    assert_false(sm_is_overdue(&sm, 2099));
    assert_true(sm_is_overdue(&sm, 2100));
    sm_extend(&sm, 2050);
    assert_int_equal(sm.deadline_ms, 2150);
    assert_int_equal(sm.since_ms, 2000);
    sm_move(&sm, DOOR_OPEN, 3000);
    assert_int_equal(sm.deadline_ms, 3100);
    assert_false(sm_is_terminal(&sm));
    sm_move(&sm, DOOR_GONE, 3001);
    assert_true(sm_is_terminal(&sm));
    assert_true(sm.deadline_ms == NEVER);
}

/* A move that the table forbids stops the program: the table is the contract. */
static void test_forbidden_move_dies(void **state)
{
    (void)state;
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        struct sm sm;
        signal(SIGABRT, SIG_DFL);
        (void)close(STDERR_FILENO);
        sm_init(&sm, doors, DOOR_NR, DOOR_CLOSED, 0);
        sm_move(&sm, DOOR_GONE, 1);
        _exit(0);
    }
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_false(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

static void test_deadline_arithmetic(void **state)
{
    (void)state;
    assert_true(deadline_after(5, NEVER) == NEVER);
    assert_true(deadline_after(NEVER - 5, 10) == NEVER);
    assert_int_equal(deadline_after(5, 10), 15);
    assert_int_equal(deadline_min(5, NEVER), 5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_moves),
                                       cmocka_unit_test(test_forbidden_move_dies),
                                       cmocka_unit_test(test_deadline_arithmetic)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
