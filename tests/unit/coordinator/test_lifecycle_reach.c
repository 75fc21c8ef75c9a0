/* test_lifecycle_reach.c — before nodes meet, every host tries their ports: of a newcomer those
 * that serve members, of a new cluster those that serve its nodes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "helper_lifecycle.h"

#include <stdio.h>
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

/* --- a new cluster ---------------------------------------------------------------------------- */

/* As servers are before they meet: alone, each in a view of its own. */
static const struct operation_request *create_of(struct life *life, const char *cluster)
{
    static struct address addresses[8];
    static struct operation_request request;
    request = (struct operation_request){
        .kind = OPERATION_CREATE, .addresses = addresses, .replicas_wanted = 0};
    life_init(life, cluster);
    life->tells_reach = true;
    for (int i = 0; i < life->model.topology.node_count; i++) {
        life->model.topology.nodes[i].is_cluster_ok = false;
        addresses[request.address_count++] = life->model.topology.nodes[i].address;
    }
    return &request;
}

#define JOINS                                                                                 \
    "\njoin b, join c\nadd-slots a 5461 epoch 1, add-slots b 5462 epoch 2, add-slots c 5461 " \
    "epoch "                                                                                  \
    "3\ndone"

/* Every host tries all nodes, its own too, in one round; one that serves none has no say. */
static void test_a_new_cluster_is_tried_from_all_its_hosts(void **state)
{
    (void)state;
    struct life life;
    const struct operation_request *request =
        create_of(&life, "a@h1/z1 spare; b@h2/z2 spare; c@h2/z2 spare; h4/z4 starts 1");
    assert_string_equal(life_run(&life, request),
                        "reach h1:7001 from h1, reach h1:7001 from h2, "
                        "reach h2:7002 from h2, reach h2:7002 from h1, "
                        "reach h2:7003 from h1, reach h2:7003 from h2" JOINS);
    assert_string_equal(life_run(&life, request), "done");
    life_release(&life);
}

/* Standalone: one agent, one round. */
static void test_a_new_cluster_of_one_agent(void **state)
{
    (void)state;
    struct life life;
    const struct operation_request *request =
        create_of(&life, "a@h1 spare; b@h2 spare; c@h3 spare; h9/z9 starts 1");
    for (int i = 0; i < 3; i++) {
        (void)snprintf(life.model.topology.nodes[i].agent.text, AGENT_ID_SIZE, "h9");
    }
    assert_string_equal(
        life_run(&life, request),
        "reach h1:7001 from h9, reach h2:7002 from h9, reach h3:7003 from h9" JOINS);
    life_release(&life);
}

/* A port that is closed to one host ends it before anybody has met: nothing else is given out. */
static void test_a_closed_port_ends_a_creation(void **state)
{
    (void)state;
    struct life life;
    struct lifecycle_answer answer;
    const struct operation_request *request =
        create_of(&life, "a@h1 spare; b@h2 spare; c@h3 spare");
    life_step(&life, request, &answer);
    assert_int_equal(answer.batch_count, 9);
    lifecycle_answer_release(&answer);
    life.model.batches[4].state = BATCH_HELD;
    lifecycle_next(request, &life.model.facts, &answer);
    assert_int_equal(answer.batch_count, 1);
    assert_int_equal(answer.batches[0].task->kind, TASK_REACH);
    lifecycle_answer_release(&answer);
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
        cmocka_unit_test(test_a_new_cluster_is_tried_from_all_its_hosts),
        cmocka_unit_test(test_a_new_cluster_of_one_agent),
        cmocka_unit_test(test_a_closed_port_ends_a_creation),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
