/* test_lifecycle_removal.c — the facts of the removal certificate: each alone forbids it, and what
 * was not seen counts against the node. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "tests/unit/coordinator/helper_lifecycle.h"

#include "common/base/alloc.h"
#include "common/model/removal_proof.h"
#include "coordinator/core/removal.h"

#define THREE "a@h1 0-5460; b@h2 5461-10922; c@h3 10923-16383"

static void certify(const char *cluster, const char *name, struct removal_certificate *out)
{
    struct life life;
    struct node_id id = life_id(name);
    struct address address = {.host = "h9", .port = 7009};
    life_init(&life, cluster);
    removal_certify(&life.topology, &id, &address, 7, "op-7-1", out);
    life_release(&life);
}

static void expect_objection(const char *cluster, const char *name, const char *reason)
{
    struct removal_certificate certificate;
    certify(cluster, name, &certificate);
    assert_false(certificate.is_granted);
    assert_string_equal(certificate.reason, reason);
}

static void test_members_get_none(void **state)
{
    (void)state;
    expect_objection(THREE, "a", "it owns 5461 slots");
    expect_objection(THREE "; x@h9 empty; d@h4 >x", "x", "1 nodes are its replicas");
    expect_objection(THREE "; x@h9 empty", "x", "3 of 3 live nodes still know it");
    expect_objection(THREE "; x@h9 >a", "x", "3 of 3 live nodes still know it");
    expect_objection(THREE "; x@h9 empty +dead", "x", "3 of 3 live nodes still know it");
}

/* Forgotten, and what answers at its address under a new id is empty. */
static void test_granted(void **state)
{
    (void)state;
    struct removal_certificate certificate;
    certify(THREE, "x", &certificate);
    assert_true(certificate.is_granted);
    assert_true(certificate.is_dead);
    assert_int_equal(certificate.address.port, 7009);
    assert_int_equal(certificate.asked, 3);
    assert_string_equal(certificate.reason,
                        "0 slots, 0 keys, no replica, forgotten by all 3 live "
                        "nodes; it does not answer");
    certify(THREE "; y@h9:7005 spare", "x", &certificate);
    assert_true(certificate.is_granted);
    assert_false(certificate.is_dead);
    assert_int_equal(certificate.key_count, 0);
    assert_string_equal(certificate.reason,
                        "0 slots, 0 keys, no replica, forgotten by all 3 live nodes");
}

/* Whoever took its place must not be stopped in its stead. */
static void test_address_taken(void **state)
{
    (void)state;
    expect_objection(THREE "; y@h9:7005 >a", "x", "another member lives at its address now");
}

/* Keys at its address forbid it, and so do keys that nobody counted. */
static void test_keys(void **state)
{
    (void)state;
    expect_objection(THREE "; y@h9:7005 spare +keys=5", "x", "it holds 5 keys");
    expect_objection(THREE "; y@h9:7005 spare +keys=-1", "x", "it holds -1 keys");
}

/* What was not looked at is not zero. */
static void test_what_was_not_seen(void **state)
{
    (void)state;
    struct life life;
    struct removal_certificate certificate;
    struct node_id id = life_id("x");
    life_init(&life, THREE);
    life.topology.views_missing = 1;
    removal_certify(&life.topology, &id, NULL, 7, "op-7-1", &certificate);
    assert_false(certificate.is_granted);
    assert_string_equal(certificate.reason, "the views of 1 live nodes are not known yet");
    life.topology.views_missing = 0;
    removal_certify(&life.topology, &id, NULL, 7, "", &certificate);
    assert_false(certificate.is_granted);
    assert_string_equal(certificate.reason, "no operation is known that removed it");
    removal_certify(&life.topology, &id, NULL, 0, "op-7-1", &certificate);
    assert_false(certificate.is_granted);
    life.topology.ghosts = xcalloc(1, sizeof(struct topology_ghost));
    life.topology.ghosts[0] =
        (struct topology_ghost){.id = id, .kind = GHOST_NOADDR, .seen_by_count = 2, .seen_by = 0};
    life.topology.ghost_count = 1;
    removal_certify(&life.topology, &id, NULL, 7, "op-7-1", &certificate);
    assert_string_equal(certificate.reason, "2 of 3 live nodes still know it");
    /* The last view of a dead node is older than the removal, and no objection. */
    life.topology.ghosts[0].kind = GHOST_UNKNOWN;
    life.topology.ghosts[0].seen_by = NO_NODE;
    removal_certify(&life.topology, &id, NULL, 7, "op-7-1", &certificate);
    assert_true(certificate.is_granted);
    life_release(&life);
    life_init(&life, "a@h1 0-16383 +dead");
    removal_certify(&life.topology, &id, NULL, 7, "op-7-1", &certificate);
    assert_string_equal(certificate.reason, "no live node could be asked");
    life_release(&life);
}

/* A slot on its way to it, or from it, is not settled: whoever ends that move needs to know it. */
static void test_open_slots(void **state)
{
    (void)state;
    struct life life;
    struct removal_certificate certificate;
    struct node_id id = life_id("x");
    life_init(&life, THREE);
    life.topology.opens = xcalloc(1, sizeof(struct topology_open));
    life.topology.opens[0] = (struct topology_open){.slot = 7, .peer = id};
    life.topology.open_count = 1;
    removal_certify(&life.topology, &id, NULL, 7, "op-7-1", &certificate);
    assert_false(certificate.is_granted);
    assert_string_equal(certificate.reason, "1 open slots name it");
    life_release(&life);
}

/* A single view that gives it slots, or that still lists it, counts. */
static void test_every_view_counts(void **state)
{
    (void)state;
    struct life life;
    struct removal_certificate certificate;
    struct node_id id = life_id("x");
    life_init(&life, THREE "; x@h9 empty +dead");
    int x = topology_find(&life.topology, &id);
    life.topology.disagreements = xcalloc(2, sizeof(struct topology_disagreement));
    life.topology.disagreements[0] = (struct topology_disagreement){
        .kind = DISAGREE_MEMBERSHIP, .subject = x, .opinion_count = 2};
    life.topology.disagreements[0].opinions[0] =
        (struct topology_opinion){.node = NO_NODE, .value = 0, .believer_count = 2};
    life.topology.disagreements[0].opinions[1] =
        (struct topology_opinion){.node = NO_NODE, .value = 1, .believer_count = 1};
    life.topology.disagreement_count = 1;
    removal_certify(&life.topology, &id, NULL, 7, "op-7-1", &certificate);
    assert_string_equal(certificate.reason, "1 of 3 live nodes still know it");
    life.topology.disagreements[1] = (struct topology_disagreement){
        .kind = DISAGREE_OWNER, .subject = NO_NODE, .first = 10, .last = 12, .opinion_count = 2};
    life.topology.disagreements[1].opinions[0] = (struct topology_opinion){.node = 0};
    life.topology.disagreements[1].opinions[1] = (struct topology_opinion){.node = x};
    life.topology.disagreement_count = 2;
    removal_certify(&life.topology, &id, NULL, 7, "op-7-1", &certificate);
    assert_string_equal(certificate.reason, "it owns 3 slots");
    life_release(&life);
}

/* What an agent is sent to stop a server is what it can read; without a certificate it cannot. */
static void test_stop_carries_the_certificate(void **state)
{
    (void)state;
    struct life life;
    struct removal_proof proof;
    struct err err = {0};
    struct task task = {.kind = TASK_STOP, .node = life_id("x"), .detail = "agent h9\n"};
    task.node_address = (struct address){.host = "h9", .port = 7009};
    life_init(&life, THREE);
    assert_true(removal_fill_stop(&life.topology, 7, "op-7-1", "", &task));
    assert_memory_equal(task.detail, "agent h9\n", 9);
    assert_int_equal(removal_proof_parse(&proof, task.detail + 9, "", &err), 0);
    assert_true(removal_fill_stop(&life.topology, 7, "op-7-1", "the key", &task));
    assert_int_equal(removal_proof_parse(&proof, task.detail + 9, "the key", &err), 0);
    assert_int_equal(removal_proof_parse(&proof, task.detail + 9, "another", &err), ERR_AUTH);
    assert_int_equal(proof.fence, 7);
    assert_int_equal(proof.asked, 3);
    assert_true(proof.is_dead);
    life_release(&life);
}

/* Nothing goes out in its stead, and whoever waits is told why. */
static void test_no_stop_without_the_certificate(void **state)
{
    (void)state;
    struct life life;
    char reason[TEXT_SIZE] = "";
    struct task task = {.kind = TASK_RELEASE, .node = life_id("x"), .detail = "agent h9\n"};
    task.node_address = (struct address){.host = "h9", .port = 7009};
    life_init(&life, THREE);
    assert_true(removal_permits(&life.topology, 7, "op-7-1", &task, reason));
    life.topology.views_missing = 1;
    assert_false(removal_fill_stop(&life.topology, 7, "op-7-1", "", &task));
    assert_string_equal(task.detail, "agent h9\n");
    assert_string_equal(reason, "");
    assert_false(removal_permits(&life.topology, 7, "op-7-1", &task, reason));
    assert_string_equal(reason, "the views of 1 live nodes are not known yet");
    task.kind = TASK_LEAVE;
    assert_true(removal_permits(&life.topology, 7, "op-7-1", &task, reason));
    life_release(&life);
}

/* ---- removed once more ---- */

static struct node_id make_outcast(struct life *life, const char *name)
{
    struct node_id id = life_id(name);
    struct topology_node *node =
        &life->model.topology.nodes[topology_find(&life->model.topology, &id)];
    node->is_alone = false;
    node->is_outcast = true;
    return id;
}

/* Its agent died after the others had forgotten it, and nobody took that up: the same command does.
 */
static void test_outcast_is_reset_and_stopped(void **state)
{
    (void)state;
    struct life life;
    life_init(&life, THREE "; d@h4/z4 spare; h4/z4 starts 1");
    struct operation_request request = {.kind = OPERATION_REMOVE};
    request.node = make_outcast(&life, "d");
    assert_string_equal(life_run(&life, &request), "leave d\nstop d\ndone");
    life_forget_history(&life);
    assert_string_equal(life_run(&life, &request), "done");
    life_release(&life);
}

static void test_outcast_that_was_removed_as_dead_is_left_alone(void **state)
{
    (void)state;
    struct life life;
    life_init(&life, THREE "; d@h4/z4 spare; h4/z4 starts 1");
    struct operation_request request = {.kind = OPERATION_REMOVE, .flags = REQUEST_DEAD};
    request.node = make_outcast(&life, "d");
    assert_string_equal(life_run(&life, &request), "done");
    life_release(&life);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_members_get_none),
        cmocka_unit_test(test_granted),
        cmocka_unit_test(test_address_taken),
        cmocka_unit_test(test_keys),
        cmocka_unit_test(test_what_was_not_seen),
        cmocka_unit_test(test_open_slots),
        cmocka_unit_test(test_every_view_counts),
        cmocka_unit_test(test_stop_carries_the_certificate),
        cmocka_unit_test(test_no_stop_without_the_certificate),
        cmocka_unit_test(test_outcast_is_reset_and_stopped),
        cmocka_unit_test(test_outcast_that_was_removed_as_dead_is_left_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
