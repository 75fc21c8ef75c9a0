/* test_life.c — a node's life with the real decisions of lifecycle.c, in virtual time: a cluster is
 * made, grows, gets replicas, shrinks. Each command is run twice: the second time there is nothing
 * to do. See helper_world.h. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "helper_world.h"

static void begin(struct world *w, int primaries, int replicas_each, int agents, int spares)
{
    world_init(w, primaries, replicas_each, agents);
    for (int i = 0; i < spares; i++) {
        (void)world_add_spare(w);
    }
    for (int i = 0; i < agents; i++) {
        w->agents[i].moves_per_tick = 200;
    }
    world_start(w, 0);
    WORLD_UNTIL(w, 5000, strstr(world_why(w), "nothing to do") != NULL);
}

static int start(struct world *w, const struct operation_request *request)
{
    struct coordinator_command command = {.kind = COMMAND_START, .request = *request};
    int number = world_command(w, 0, &command);
    WORLD_UNTIL(w, 2000, world_answer(w, number)->is_done);
    if (world_answer(w, number)->err.code != 0) {
        print_message("%s\n", strbuf_text(&w->log));
        fail_msg("%s", world_answer(w, number)->err.text);
    }
    return number;
}

/* Runs it to its end, and once more. */
static void do_twice(struct world *w, const struct operation_request *request)
{
    (void)start(w, request);
    WORLD_UNTIL(w, 120000,
                world_state(w) == OPERATION_DONE || world_state(w) == OPERATION_HELD ||
                    world_state(w) == OPERATION_FAILED);
    if (world_state(w) != OPERATION_DONE) {
        print_message("%s\n", strbuf_text(&w->log));
        fail_msg("%s", world_operation(w)->reason);
    }
    WORLD_UNTIL(w, 20000, strstr(world_why(w), "nothing to do") != NULL);
    int again = start(w, request);
    assert_int_equal(world_answer(w, again)->operation_id[0], '\0');
}

static int replicas_of(const struct world *w, int primary)
{
    int count = 0;
    for (int i = 0; i < w->node_count; i++) {
        const struct world_node *node = &w->nodes[i];
        count += node->is_member && !node->is_primary && node->primary == primary ? 1 : 0;
    }
    return count;
}

/* Servers that know only themselves become a cluster with every slot owned, each primary with its
 * replica. */
static void test_create(void **state)
{
    (void)state;
    struct world w;
    world_init(&w, 6, 0, 3);
    struct address addresses[6];
    for (int i = 0; i < 6; i++) {
        w.nodes[i].is_member = false;
        addresses[i] = w.nodes[i].address;
    }
    for (int slot = 0; slot < SLOT_COUNT; slot++) {
        w.owner[slot] = -1;
    }
    world_start(&w, 0);
    WORLD_UNTIL(&w, 5000, strstr(world_why(&w), "no node belongs to a cluster yet") != NULL);
    struct operation_request request = {
        .kind = OPERATION_CREATE, .addresses = addresses, .address_count = 6, .replicas_wanted = 1};
    do_twice(&w, &request);
    int primaries = 0;
    for (int i = 0; i < 6; i++) {
        assert_true(w.nodes[i].is_member);
        if (w.nodes[i].is_primary) {
            primaries++;
            assert_in_range(world_slots_of(&w, i), 5461, 5462);
            assert_int_equal(replicas_of(&w, i), 1);
        }
    }
    assert_int_equal(primaries, 3);
    world_release(&w);
}

/* A server that no agent has found is named by its address, joins and gets its share. */
static void test_add(void **state)
{
    (void)state;
    struct world w;
    begin(&w, 3, 0, 2, 1);
    struct operation_request request = {
        .kind = OPERATION_ADD, .addresses = &w.nodes[3].address, .address_count = 1};
    do_twice(&w, &request);
    for (int i = 0; i < 4; i++) {
        assert_in_range(world_slots_of(&w, i), 4000, 4200);
    }
    world_release(&w);
}

/* As a replica it goes to the primary that lacks one. */
static void test_add_replica(void **state)
{
    (void)state;
    struct world w;
    begin(&w, 3, 0, 2, 2);
    struct address addresses[2] = {w.nodes[3].address, w.nodes[4].address};
    struct operation_request request = {.kind = OPERATION_ADD,
                                        .addresses = addresses,
                                        .address_count = 2,
                                        .flags = REQUEST_AS_REPLICA};
    do_twice(&w, &request);
    for (int i = 0; i < 3; i++) {
        assert_in_range(replicas_of(&w, i), 0, 1);
    }
    assert_int_equal(replicas_of(&w, 0) + replicas_of(&w, 1) + replicas_of(&w, 2), 2);
    world_release(&w);
}

/* A primary with slots leaves: its slots go first, then itself. */
static void test_remove(void **state)
{
    (void)state;
    struct world w;
    begin(&w, 4, 0, 2, 0);
    struct operation_request request = {
        .kind = OPERATION_REMOVE, .node = w.nodes[1].id, .flags = REQUEST_KEEP_RUNNING};
    (void)start(&w, &request);
    WORLD_UNTIL(&w, 120000, world_state(&w) == OPERATION_DONE);
    assert_int_equal(world_slots_of(&w, 1), 0);
    assert_false(w.nodes[1].is_member);
    world_release(&w);
}

/* A planned failover: replica and primary change places, nothing else moves. */
static void test_failover(void **state)
{
    (void)state;
    struct world w;
    begin(&w, 3, 1, 3, 0);
    struct operation_request request = {.kind = OPERATION_FAILOVER, .node = w.nodes[3].id};
    do_twice(&w, &request);
    assert_true(w.nodes[3].is_primary);
    assert_false(w.nodes[0].is_primary);
    assert_in_range(world_slots_of(&w, 3), 5461, 5462);
    world_release(&w);
}

/* The leader dies at any time while a node is added: the next one comes to the same end. */
static void test_add_with_takeovers(void **state)
{
    (void)state;
    for (int64_t after_ms = 100; after_ms < 4000; after_ms += 350) {
        struct world w;
        begin(&w, 3, 0, 2, 1);
        world_start(&w, 1);
        struct operation_request request = {
            .kind = OPERATION_ADD, .addresses = &w.nodes[3].address, .address_count = 1};
        (void)start(&w, &request);
        world_run(&w, after_ms);
        world_kill(&w, 0);
        WORLD_UNTIL(&w, 15000, world_leader(&w) == 1);
        WORLD_UNTIL(&w, 120000, world_state(&w) == OPERATION_DONE);
        assert_in_range(world_slots_of(&w, 3), 4000, 4200);
        world_release(&w);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_create),      cmocka_unit_test(test_add),
        cmocka_unit_test(test_add_replica), cmocka_unit_test(test_remove),
        cmocka_unit_test(test_failover),    cmocka_unit_test(test_add_with_takeovers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
