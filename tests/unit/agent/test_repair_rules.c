/* test_repair_rules.c — the rules of repair, one by one: what is to be done next about a slot,
 * given what three primaries and two replicas say of it.
 *
 * Node 0 owns the slot, 1 is the other end, 2 a bystander; 3 replicates 0, 4 replicates 1. */
#include "agent/core/repair_rules.h"

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>

#include <string.h>

#define NODES 5

static struct repair_node nodes[NODES];
static struct repair_say says[NODES];
static struct repair_picture picture;
static struct repair_verdict verdict;

static int set_up(void **state)
{
    (void)state;
    for (int i = 0; i < NODES; i++) {
        says[i] = (struct repair_say){.owner = 0, .peer = REPAIR_NOBODY};
        nodes[i] =
            (struct repair_node){.is_primary = i < 3,
                                 .is_answered = true,
                                 .primary = i < 3 ? REPAIR_NOBODY : i - 3,
                                 .config_epoch = (uint64_t)i + 1,
                                 .address = {.host = "10.0.0.1", .port = (uint16_t)(7000 + i)},
                                 .says = &says[i]};
    }
    picture = (struct repair_picture){
        .nodes = nodes, .node_count = NODES, .slots = {7}, .slot_count = 1, .wanted = 0};
    return 0;
}

static void mark(int node, enum repair_mark kind, int peer)
{
    says[node].mark = kind;
    says[node].peer = peer;
}

static void judge(bool has_waited)
{
    repair_judge(&picture, 0, has_waited, &verdict);
}

static void check(enum repair_step step, int at, int other)
{
    if (verdict.step != step) {
        fail_msg("%s (%s), not %s", repair_step_name(verdict.step), verdict.reason,
                 repair_step_name(step));
    }
    assert_int_equal(verdict.at, at);
    assert_int_equal(verdict.other, other);
}

static void check_now(enum repair_step step, int at, int other)
{
    judge(false);
    check(step, at, other);
}

/* Nothing but looking on is done at first; then this. */
static void check_after_waiting(enum repair_step step, int at, int other)
{
    judge(false);
    assert_int_equal(verdict.step, REPAIR_WAIT);
    judge(true);
    check(step, at, other);
}

static void check_held(const char *words)
{
    judge(true);
    assert_int_equal(verdict.step, REPAIR_HOLD);
    if (strstr(verdict.reason, words) == NULL) {
        fail_msg("'%s' does not say '%s'", verdict.reason, words);
    }
}

static void clean(void **state)
{
    (void)state;
    says[0].keys = 5;
    says[3].keys = 5; /* a replica has its primary's keys */
    check_now(REPAIR_CLEAN, REPAIR_NOBODY, REPAIR_NOBODY);
}

static void importing_only(void **state)
{
    (void)state;
    mark(1, REPAIR_IMPORTING, 0);
    check_now(REPAIR_STABLE, 1, REPAIR_NOBODY);
    says[1].keys = 1;
    check_now(REPAIR_FETCH, 1, 0);
    says[1].owner = 2; /* it still believes in an owner of before a failover */
    check_now(REPAIR_TELL, 1, 0);
}

static void migrating_only(void **state)
{
    (void)state;
    mark(0, REPAIR_MIGRATING, 1);
    check_now(REPAIR_STABLE, 0, REPAIR_NOBODY);
    says[1].keys = 1;
    check_now(REPAIR_IMPORT, 1, 0);
    mark(1, REPAIR_IMPORTING, 2);
    check_now(REPAIR_IMPORT, 1, 0);
}

static void both_go_forward(void **state)
{
    (void)state;
    mark(0, REPAIR_MIGRATING, 1);
    mark(1, REPAIR_IMPORTING, 0);
    check_now(REPAIR_FORWARD, 0, 1);
    says[0].keys = 3;
    says[1].keys = 3;
    check_now(REPAIR_FORWARD, 0, 1);
    mark(2, REPAIR_IMPORTING, 0); /* others who import it: the empty ones first, the rest later */
    check_now(REPAIR_STABLE, 2, REPAIR_NOBODY);
    says[2].keys = 1;
    check_now(REPAIR_FORWARD, 0, 1);
}

static void stray_keys(void **state)
{
    (void)state;
    says[1].keys = 1;
    check_now(REPAIR_IMPORT, 1, 0);
    mark(1, REPAIR_MIGRATING, 2); /* a mark left from when it owned the slot */
    check_now(REPAIR_REMARK, 1, 0);
    says[1].keys = 0;
    check_now(REPAIR_STABLE, 1, REPAIR_NOBODY);
}

/* Two claim it: the higher epoch wins; the loser's keys are saved before gossip has it drop them.
 */
static void two_owners(void **state)
{
    (void)state;
    says[1].owner = 1;
    says[0].keys = 4;
    check_now(REPAIR_MIGRATE, 0, 1);
    mark(0, REPAIR_MIGRATING, 1);
    check_now(REPAIR_FETCH, 0, 1);
    says[0].keys = 0;
    check_after_waiting(REPAIR_TELL, 0, 1);
    nodes[0].config_epoch = nodes[1].config_epoch;
    check_held("one config epoch");
}

/* A source whose epoch others do not know, or share, may raise it while its slot is moved. */
static void epochs_settle(void **state)
{
    (void)state;
    uint64_t known[NODES] = {1, 2, 3, 4, 5};
    assert_true(repair_epoch_is_settled(&picture, 0));
    nodes[2].epochs = known;
    assert_true(repair_epoch_is_settled(&picture, 0));
    known[0] = 9; /* as it was before */
    assert_false(repair_epoch_is_settled(&picture, 0));
    known[0] = EPOCH_UNKNOWN;
    assert_false(repair_epoch_is_settled(&picture, 0));
    nodes[2].is_answered = false; /* its word is not to be had */
    assert_true(repair_epoch_is_settled(&picture, 0));
    nodes[1].config_epoch = nodes[0].config_epoch;
    assert_false(repair_epoch_is_settled(&picture, 0));
    assert_false(repair_epoch_is_settled(&picture, 1));
    nodes[3].config_epoch = nodes[2].config_epoch; /* a replica shows its primary's */
    assert_true(repair_epoch_is_settled(&picture, 2));
}

static void lone_claim_needs_votes(void **state)
{
    (void)state;
    says[1].owner = 2;
    says[2].owner = 1; /* both name somebody who disclaims */
    check_held("name another owner");
    says[2].owner = 0;
    check_after_waiting(REPAIR_TELL, 1, 0);
    mark(1, REPAIR_IMPORTING, 0); /* a node that imports has no say, and is told at once */
    says[2].owner = 0;
    check_now(REPAIR_TELL, 1, 0);
}

static void nobody_claims(void **state)
{
    (void)state;
    nodes[0].is_gone = true; /* reset */
    says[0].owner = REPAIR_NOBODY;
    says[1].keys = 3;
    check_after_waiting(REPAIR_CLAIM, 1, 2);
    says[2].keys = 4;
    check_after_waiting(REPAIR_CLAIM, 2, 1); /* who holds the most; the others' keys come to it */
    mark(1, REPAIR_IMPORTING, 0);
    check_held("several or none"); /* a move was under way: which keys are the newer ones? */
    mark(1, REPAIR_UNMARKED, REPAIR_NOBODY);
    says[1].keys = 5;
    picture.wanted = 2;
    judge(true);
    check(REPAIR_CLAIM, 2, 1);
    says[1].keys = 0;
    says[2].keys = 0;
    picture.wanted = 0;
    check_held("several or none");
    mark(1, REPAIR_IMPORTING, 0);
    judge(true);
    check(REPAIR_CLAIM, 1, 2);
    nodes[0].is_gone = false;
    nodes[0].is_answered = false; /* the owner may come back with its keys */
    check_held("does not answer");
}

static void target_cannot_be_seen(void **state)
{
    (void)state;
    mark(0, REPAIR_MIGRATING, 1);
    nodes[1].is_answered = false;
    check_held("cannot be seen");
    mark(0, REPAIR_MIGRATING, REPAIR_STRANGER);
    nodes[1].is_answered = true;
    check_held("nobody knows");
    mark(0, REPAIR_MIGRATING, 1);
    nodes[1].is_gone = true; /* reset: it cannot hold a key */
    check_now(REPAIR_STABLE, 0, REPAIR_NOBODY);
}

/* The owner's mark names a node that was replaced by its replica. */
static void target_failed_over(void **state)
{
    (void)state;
    mark(0, REPAIR_MIGRATING, 1);
    nodes[1].is_primary = false;
    nodes[1].primary = 4;
    nodes[4].is_primary = true;
    nodes[4].primary = REPAIR_NOBODY;
    check_now(REPAIR_STABLE, 0, REPAIR_NOBODY); /* nothing has moved */
    says[4].keys = 2;
    check_now(REPAIR_IMPORT, 4, 0);
    mark(4, REPAIR_IMPORTING, 0);
    check_now(REPAIR_MIGRATE, 0, 4);
    mark(0, REPAIR_MIGRATING, 4);
    check_now(REPAIR_FORWARD, 0, 4);
}

/* The source was replaced by its replica, which has no mark (before Redis 7.2). */
static void source_failed_over(void **state)
{
    (void)state;
    nodes[0].is_primary = false;
    nodes[0].primary = 3;
    nodes[3].is_primary = true;
    nodes[3].primary = REPAIR_NOBODY;
    for (int i = 0; i < NODES; i++) {
        says[i].owner = i == 1 ? 0 : 3;
    }
    mark(1, REPAIR_IMPORTING, 0);
    says[1].keys = 9;
    check_now(REPAIR_TELL, 1, 3);
    says[1].owner = 3;
    check_now(REPAIR_FETCH, 1, 3);
}

static void too_few_answer(void **state)
{
    (void)state;
    nodes[1].is_answered = false;
    judge(false);
    assert_int_equal(verdict.step, REPAIR_WAIT);
    judge(true);
    check(REPAIR_CLEAN, REPAIR_NOBODY, REPAIR_NOBODY);
    nodes[2].is_answered = false;
    check_held("1 of 3 primaries");
    nodes[1].is_dead = true; /* failed and without slots: not counted */
    nodes[2].is_dead = true;
    judge(false);
    check(REPAIR_CLEAN, REPAIR_NOBODY, REPAIR_NOBODY);
}

static void replica_keeps_a_mark(void **state)
{
    (void)state;
    mark(4, REPAIR_IMPORTING, 0);
    check_after_waiting(REPAIR_RETELL, 1, REPAIR_NOBODY);
}

static void owner_imports(void **state)
{
    (void)state;
    mark(0, REPAIR_IMPORTING, 1);
    says[1].keys = 1; /* first the keys */
    check_now(REPAIR_IMPORT, 1, 0);
    says[1].keys = 0;
    check_now(REPAIR_STABLE, 0, REPAIR_NOBODY);
    nodes[1].is_answered = false;
    check_held("imports it from");
}

/* Whatever is seen: no mark is taken off while the node that it leads to, or that bears it, holds
 * keys; no slot is claimed over a node that claims it; nothing is decided about nodes that did not
 * answer. All states of three primaries, one after the other. */
static void no_state_loses_keys(void **state)
{
    (void)state;
    int states = 0;
    for (unsigned code = 0; code < 6U * 6U * 6U * 512U; code++) {
        (void)set_up(NULL);
        unsigned rest = code;
        for (int i = 0; i < 3; i++) {
            says[i].mark = (enum repair_mark)(rest % 3);
            rest /= 3;
            says[i].keys = rest % 2;
            rest /= 2;
        }
        for (int i = 0; i < 3; i++) {
            says[i].owner = (int)(rest % 4) - 1;
            rest /= 4;
            says[i].peer = (i + 1 + (int)(rest % 2)) % 3;
            rest /= 2;
        }
        judge(true);
        states++;
        int at = verdict.at;
        if (verdict.step == REPAIR_STABLE) {
            int led = says[at].mark == REPAIR_MIGRATING ? says[at].peer : at;
            bool is_owner = says[at].owner == at;
            bool is_safe = is_owner ? says[led].keys == 0 || led == at : says[at].keys == 0;
            assert_true(is_safe);
        } else if (verdict.step == REPAIR_CLAIM) {
            for (int i = 0; i < 3; i++) {
                assert_true(says[i].owner != i);
            }
        } else if (verdict.step == REPAIR_FETCH || verdict.step == REPAIR_FORWARD) {
            int owner = verdict.step == REPAIR_FETCH ? verdict.other : at;
            assert_int_equal(says[owner].owner, owner);
            assert_true(verdict.at != verdict.other);
            assert_true(says[at].mark != REPAIR_UNMARKED);
        } else if (verdict.step == REPAIR_TELL) {
            assert_int_equal(says[verdict.other].owner, verdict.other);
            assert_true(says[at].owner != at || says[at].keys == 0);
        }
    }
    assert_int_equal(states, 6 * 6 * 6 * 512);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(clean, set_up),
        cmocka_unit_test_setup(importing_only, set_up),
        cmocka_unit_test_setup(migrating_only, set_up),
        cmocka_unit_test_setup(both_go_forward, set_up),
        cmocka_unit_test_setup(stray_keys, set_up),
        cmocka_unit_test_setup(two_owners, set_up),
        cmocka_unit_test_setup(epochs_settle, set_up),
        cmocka_unit_test_setup(lone_claim_needs_votes, set_up),
        cmocka_unit_test_setup(nobody_claims, set_up),
        cmocka_unit_test_setup(target_cannot_be_seen, set_up),
        cmocka_unit_test_setup(target_failed_over, set_up),
        cmocka_unit_test_setup(source_failed_over, set_up),
        cmocka_unit_test_setup(too_few_answer, set_up),
        cmocka_unit_test_setup(replica_keeps_a_mark, set_up),
        cmocka_unit_test_setup(owner_imports, set_up),
        cmocka_unit_test(no_state_loses_keys),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
