/* test_lifecycle_reach.c — before a join every host that serves members tries the newcomer's
 * ports. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "helper_lifecycle.h"

#include <string.h>

#define FLEET                                                                                   \
    "a@h1/z1 0-5460; b@h2/z2 5461-10922; c@h3/z3 10923-16383; d@h2/z2 >a; e@h3/z3 >b; f@h1/z1 " \
    ">c; "

static const struct operation_request *add_of(const char *const *places, int count)
{
    static struct address addresses[4];
    static struct operation_request request;
    request = (struct operation_request){.kind = OPERATION_ADD,
                                         .flags = REQUEST_WITHOUT_SLOTS,
                                         .addresses = addresses,
                                         .address_count = count};
    for (int i = 0; i < count; i++) {
        addresses[i] = life_address(places[i]);
    }
    return &request;
}

/* All hosts try all newcomers at the same time; then these join one after the other. The host of
 * the first has a member by then, and so tries the second, too. */
static void test_all_hosts_try_all_newcomers_first(void **state)
{
    (void)state;
    struct life life;
    const char *const places[] = {"h4:7007", "h1:7008"};
    life_init(&life, FLEET "s@h4/z1 spare; t@h1/z1 spare");
    life.tells_reach = true;
    assert_string_equal(life_run(&life, add_of(places, 2)),
                        "reach h4:7007 from h1, reach h4:7007 from h2, reach h4:7007 from h3, "
                        "reach h1:7008 from h1, reach h1:7008 from h2, reach h1:7008 from h3\n"
                        "join s\nreach h1:7008 from h4\njoin t\ndone");
    assert_string_equal(life_run(&life, add_of(places, 2)), "done");
    life_release(&life);
}

/* An agent that is away cannot be asked; one without members (h4's) has none to lose. */
static void test_only_connected_agents_with_members_are_asked(void **state)
{
    (void)state;
    struct life life;
    const char *const places[] = {"h4:7007"};
    life_init(&life, FLEET "s@h4/z1 spare");
    life.tells_reach = true;
    life.model.hosts[1].is_connected = false;
    assert_string_equal(life_run(&life, add_of(places, 1)),
                        "reach h4:7007 from h1, reach h4:7007 from h3\njoin s\ndone");
    life_release(&life);
}

/* A host that connects in between is asked, too, and the others not again. */
static void test_a_host_that_comes_later_is_asked_too(void **state)
{
    (void)state;
    struct life life;
    struct lifecycle_answer answer;
    const char *const places[] = {"h4:7007"};
    const struct operation_request *request = add_of(places, 1);
    life_init(&life, FLEET "s@h4/z1 spare");
    life.model.hosts[1].is_connected = false;
    life_step(&life, request, &answer);
    assert_int_equal(answer.batch_count, 2);
    lifecycle_answer_release(&answer);
    life.model.hosts[1].is_connected = true;
    life_step(&life, request, &answer);
    assert_int_equal(answer.verdict, LIFECYCLE_MORE);
    assert_int_equal(answer.batch_count, 1);
    assert_int_equal(answer.batches[0].task->kind, TASK_REACH);
    assert_non_null(strstr(answer.batches[0].task->detail, "agent h2\n"));
    lifecycle_answer_release(&answer);
    life_step(&life, request, &answer);
    assert_int_equal(answer.batches[0].task->kind, TASK_JOIN);
    lifecycle_answer_release(&answer);
    life_release(&life);
}

/* What was tried for one address says nothing of another; a batch that was not done says nothing.
 */
static void test_only_what_was_done_counts(void **state)
{
    (void)state;
    struct life life;
    struct lifecycle_answer answer;
    const char *const places[] = {"h4:7007"};
    const struct operation_request *request = add_of(places, 1);
    life_init(&life, FLEET "s@h4/z1 spare");
    life_step(&life, request, &answer);
    lifecycle_answer_release(&answer);
    life.model.batches[0].state = BATCH_HELD;
    life.model.batches[1].task->node_address.port++;
    lifecycle_next(request, &life.model.facts, &answer);
    assert_int_equal(answer.batch_count, 2);
    assert_int_equal(answer.batches[0].task->kind, TASK_REACH);
    lifecycle_answer_release(&answer);
    life_release(&life);
}

/* A scale-out tries each spare before it joins; the dry run tells it in one line a node. */
static void test_scale_and_its_dry_run(void **state)
{
    (void)state;
    struct life life;
    struct strbuf text = {0};
    const struct operation_request request = {
        .kind = OPERATION_SCALE, .primaries_wanted = 4, .replicas_wanted = 1};
    life_init(&life, FLEET "s@h4/z1 spare; t@h1/z1 spare");
    lifecycle_describe(&request, &life.model.facts, &text);
    assert_non_null(strstr(strbuf_text(&text), "reach h4:7007 from 3 hosts, data and bus port\n"));
    assert_null(strstr(strbuf_text(&text), "from 2 hosts"));
    strbuf_release(&text);
    life.tells_reach = true;
    const char *told = life_run(&life, &request);
    assert_true(strstr(told, "reach h4:7007 from h1") < strstr(told, "join s"));
    assert_true(strstr(told, "join s") < strstr(told, "reach h1:7008 from h1"));
    assert_true(strstr(told, "reach h1:7008 from h1") < strstr(told, "join t"));
    life_release(&life);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_all_hosts_try_all_newcomers_first),
        cmocka_unit_test(test_only_connected_agents_with_members_are_asked),
        cmocka_unit_test(test_a_host_that_comes_later_is_asked_too),
        cmocka_unit_test(test_only_what_was_done_counts),
        cmocka_unit_test(test_scale_and_its_dry_run),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
