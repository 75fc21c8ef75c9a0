/* test_lifecycle_repair.c — what repair does by itself, in which order, and what it leaves to
 * people. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "tests/unit/coordinator/helper_lifecycle.h"

#include "common/base/alloc.h"
#include "coordinator/core/doctor.h"

#define THREE "a@h1 0-5460; b@h2 5461-10922; c@h3 10923-16383"

static int find(const struct life *life, const char *name)
{
    struct node_id id = life_id(name);
    return topology_find(&life->model.topology, &id);
}

static void add_open(struct life *life,
                     int slot,
                     const char *node,
                     bool is_importing,
                     const char *peer)
{
    struct topology *topology = &life->model.topology;
    topology->opens =
        xreallocarray(topology->opens, (size_t)topology->open_count + 1, sizeof(*topology->opens));
    struct topology_open *open = &topology->opens[topology->open_count++];
    *open = (struct topology_open){.slot = (uint16_t)slot,
                                   .node = find(life, node),
                                   .is_importing = is_importing,
                                   .peer = life_id(peer)};
    open->peer_node = topology_find(topology, &open->peer);
}

static void add_stranger(struct life *life, const char *subject, const char *without)
{
    struct topology *topology = &life->model.topology;
    topology->disagreements =
        xreallocarray(topology->disagreements, (size_t)topology->disagreement_count + 1,
                      sizeof(*topology->disagreements));
    struct topology_disagreement *found = &topology->disagreements[topology->disagreement_count++];
    *found = (struct topology_disagreement){
        .kind = DISAGREE_MEMBERSHIP, .subject = find(life, subject), .opinion_count = 2};
    found->opinions[0] = (struct topology_opinion){
        .node = NO_NODE, .value = 1, .believer = find(life, "a"), .believer_count = 2};
    found->opinions[1] = (struct topology_opinion){
        .node = NO_NODE, .value = 0, .believer = find(life, without), .believer_count = 1};
}

static void add_ghost(struct life *life, const char *name, enum topology_ghost_kind kind)
{
    struct topology *topology = &life->model.topology;
    topology->ghosts = xreallocarray(topology->ghosts, (size_t)topology->ghost_count + 1,
                                     sizeof(*topology->ghosts));
    topology->ghosts[topology->ghost_count++] = (struct topology_ghost){
        .id = life_id(name), .kind = kind, .seen_by_count = 1, .seen_by = find(life, "a")};
}

/* The doctor calls something repairable when, and only when, repair begins something. */
static void check_doctor(const struct life *life, const char *transcript)
{
    struct doctor_findings findings = {0};
    struct doctor_input input = {.topology = &life->model.topology, .operation_id = ""};
    int count = 0;
    doctor_examine(&input, &findings);
    for (int i = 0; i < findings.count; i++) {
        count += findings.items[i].is_repairable;
    }
    bool begins = strncmp(transcript, "refused", 7) != 0 && strncmp(transcript, "wait", 4) != 0 &&
                  strcmp(transcript, "done") != 0;
    if (begins != (count > 0)) {
        fail_msg("%d findings are repairable, e.g. \"%s\", but repair says: %s", count,
                 findings.count > 0 ? findings.items[0].text : "", transcript);
    }
    doctor_findings_release(&findings);
}

static void expect(struct life *life, uint32_t flags, const char *transcript)
{
    if (flags == 0) {
        check_doctor(life, transcript);
    }
    struct operation_request request = {.kind = OPERATION_REPAIR, .flags = flags};
    assert_string_equal(life_run(life, &request), transcript);
    if (strstr(transcript, "done") != NULL) {
        assert_string_equal(life_run(life, &request), "done");
    }
    life_release(life);
}

static void test_nothing_to_mend(void **state)
{
    (void)state;
    struct life life;
    life_init(&life, THREE "; d@h4 >a; s@h4 spare");
    expect(&life, 0, "done");
}

/* One task for each pair of owner and other end; strangers are introduced before that. */
static void test_order_of_mending(void **state)
{
    (void)state;
    struct life life;
    life_init(&life, THREE "; g@h4 empty +dead");
    add_open(&life, 1, "a", false, "b");
    add_open(&life, 1, "b", true, "a");
    add_open(&life, 2, "b", true, "a");
    add_open(&life, 3, "c", true, "a");
    add_open(&life, 6000, "b", false, "c");
    add_stranger(&life, "b", "c");
    add_stranger(&life, "g", "c");
    add_ghost(&life, "old", GHOST_NOADDR);
    expect(&life, 0,
           "meet b>c\n"
           "repair a<b 2, repair a<c 1, repair b<c 1\n"
           "leave g dead, leave old dead\n"
           "done");
}

/* What drover may do unasked: introduce members, and nothing beside it. */
static void test_meet_only(void **state)
{
    (void)state;
    struct life life;
    life_init(&life, THREE);
    add_open(&life, 1, "a", false, "b");
    add_stranger(&life, "b", "c");
    add_ghost(&life, "old", GHOST_NOADDR);
    expect(&life, REQUEST_MEET_ONLY, "meet b>c\ndone");
}

/* A slot whose owner already has it, with the other end still importing: the owner's. */
static void test_slot_without_owner_goes_to_who_migrates(void **state)
{
    (void)state;
    struct life life;
    life_init(&life, "a@h1 1-5460; b@h2 5461-10922; c@h3 10923-16383");
    add_open(&life, 0, "b", true, "a");
    expect(&life, 0, "repair a<b 1\ndone");
    life_init(&life, "a@h1 1-5460; b@h2 5461-10922; c@h3 10923-16383");
    add_open(&life, 0, "b", true, "zz");
    expect(&life, 0, "repair b 1\ndone");
}

/* One order carries 2048 slots at most: the rest follows in the next round. */
static void test_many_open_slots(void **state)
{
    (void)state;
    struct life life;
    life_init(&life, THREE);
    for (int slot = 0; slot < 3000; slot++) {
        add_open(&life, slot, "a", false, "b");
    }
    expect(&life, 0, "repair a<b 2048, repair a<b 952\ndone");
}

/* Nobody's slots are covered in few ranges, most by whom has fewest. */
static void test_uncovered_slots(void **state)
{
    (void)state;
    struct life life;
    life_init(&life, "a@h1 0-5000; b@h2 6000-10922; c@h3 10923-16383");
    expect(&life, 0, "repair a 461, repair b 538\ndone");
    life_init(&life, "a@h1 0-5000; b@h2 11000-11001; c@h3 11002-16383");
    expect(&life, 0,
           "repair a 461, repair b 2048, repair b 2048, repair b 1363, repair c 79\ndone");
}

static void add_dispute(struct life *life, int first, int last, const char *without)
{
    struct topology *topology = &life->model.topology;
    topology->disagreements =
        xreallocarray(topology->disagreements, (size_t)topology->disagreement_count + 1,
                      sizeof(*topology->disagreements));
    struct topology_disagreement *found = &topology->disagreements[topology->disagreement_count++];
    *found = (struct topology_disagreement){.kind = DISAGREE_OWNER,
                                            .subject = NO_NODE,
                                            .first = (uint16_t)first,
                                            .last = (uint16_t)last,
                                            .opinion_count = 2};
    found->opinions[0] = (struct topology_opinion){
        .node = topology->owner[first], .believer = find(life, "a"), .believer_count = 2};
    found->opinions[1] = (struct topology_opinion){
        .node = NO_NODE, .believer = find(life, without), .believer_count = 1};
}

/* An owner that denies its slots, or somebody who sees no owner: the agent of the owner settles it.
 */
static void test_disputed_owners(void **state)
{
    (void)state;
    struct life life;
    life_init(&life, THREE);
    add_dispute(&life, 11000, 11009, "c");
    add_dispute(&life, 12000, 12000, "b");
    add_dispute(&life, 5461, 10000, "c");
    expect(&life, 0, "repair b 2048, repair c 11\nrepair b 2048\nrepair b 444\ndone");
    life_init(&life, "a@h1 0-5460; b@h2 5461-10922 +dead; c@h3 10923-16383");
    add_dispute(&life, 5461, 5461, "c");
    expect(&life, 0,
           "refused: h2:7002 (62000000) is dead with 5462 slots and no replica; bring it back, or "
           "say unreachable-ok: keys are lost");
}

/* A primary out of reach may have owned them: only a person says that its keys are given up. */
static void test_slots_of_the_dead(void **state)
{
    (void)state;
    struct life life;
    life_init(&life, "a@h1 0-5460; b@h2 5461-10922 +dead; c@h3 10923-16383");
    expect(&life, 0,
           "refused: h2:7002 (62000000) is dead with 5462 slots and no replica; bring it back, or "
           "say unreachable-ok: keys are lost");
    life_init(&life, "a@h1 0-5460; b@h2 5461-10922 +dead; c@h3 10923-16383; d@h4 >b");
    expect(&life, REQUEST_UNREACHABLE_OK,
           "refused: h2:7002 (62000000) is dead with 5462 slots; force a failover to its replica, "
           "if Redis does not");
    life_init(&life, "a@h1 0-5460; b@h2 5461-10922 +dead; c@h3 10923-16383");
    expect(&life, REQUEST_UNREACHABLE_OK, "add-slots a 2731, add-slots c 2731\ndone");
    life_init(&life, "a@h1 0-5460; b@h2 empty +dead; c@h3 5462-16383");
    expect(&life, 0,
           "refused: 1 slots have no owner; they may be of h2:7002 (62000000), out of reach: bring "
           "it back, or say unreachable-ok");
}

/* What cannot be decided while a node is away is said, not guessed. */
static void test_open_slot_of_a_dead_node(void **state)
{
    (void)state;
    struct life life;
    life_init(&life, "a@h1 0-5460; b@h2 5461-10922 +dead; c@h3 10923-16383; d@h4 >b");
    add_open(&life, 6000, "a", true, "b");
    expect(&life, 0,
           "refused: slot 6000 is open, and h2:7002 (62000000) does not answer; bring it back");
}

/* Equal config epochs: Redis gives one of them another by itself. */
static void test_collision_is_waited_for(void **state)
{
    (void)state;
    struct life life;
    life_init(&life, THREE);
    free(life.model.topology.collisions);
    life.model.topology.collisions = xcalloc(1, sizeof(struct topology_collision));
    life.model.topology.collisions[0] =
        (struct topology_collision){.a = 0, .b = 1, .config_epoch = 7};
    life.model.topology.collision_count = 1;
    expect(&life, 0, "wait: h1:7001 (61000000) and h2:7002 (62000000) both have config epoch 7");
}

/* A dead node that everybody still knows may come back: it is no ghost. */
static void test_dead_member_is_left_alone(void **state)
{
    (void)state;
    struct life life;
    life_init(&life, THREE "; d@h4 >a +dead");
    expect(&life, 0, "done");
}

/* A node that was removed and is on again with its old files is reset, not taken in. */
static void test_outcast_is_reset(void **state)
{
    (void)state;
    struct life life;
    life_init(&life, THREE "; d@h4 spare");
    struct topology_node *node = &life.model.topology.nodes[find(&life, "d")];
    node->is_alone = false;
    node->is_outcast = true;
    expect(&life, 0, "leave d\ndone");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_nothing_to_mend),
        cmocka_unit_test(test_order_of_mending),
        cmocka_unit_test(test_meet_only),
        cmocka_unit_test(test_slot_without_owner_goes_to_who_migrates),
        cmocka_unit_test(test_many_open_slots),
        cmocka_unit_test(test_uncovered_slots),
        cmocka_unit_test(test_disputed_owners),
        cmocka_unit_test(test_slots_of_the_dead),
        cmocka_unit_test(test_open_slot_of_a_dead_node),
        cmocka_unit_test(test_collision_is_waited_for),
        cmocka_unit_test(test_dead_member_is_left_alone),
        cmocka_unit_test(test_outcast_is_reset),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
