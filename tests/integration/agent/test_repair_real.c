/* test_repair_real.c — slots left half moved are repaired on real nodes, Redis and Valkey: whatever
 * state they are found in, and whichever side holds keys, every key is at the one owner afterwards.
 */
#include "helper_mover.h"

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static struct cluster three; /* three primaries with slots; shared by the tests of one server */
static struct driver *driver;
static const char *server;
static int tags_used;

/* A slot of the first primary that no test has used yet, with a tag of keys that go there. */
struct place {
    int slot;
    char text[16];
    char tag[16];
};

static struct place new_place(void)
{
    struct place place;
    do {
        (void)snprintf(place.tag, sizeof(place.tag), "r%d", ++tags_used);
        place.slot = (int)node_ask_int(&three.nodes[0], "CLUSTER KEYSLOT %s", place.tag);
    } while (place.slot >= SLOT_COUNT / 3);
    (void)snprintf(place.text, sizeof(place.text), "%d", place.slot);
    return place;
}

static void mark(int node, const char *verb, const struct place *place, int peer)
{
    node_order(&three.nodes[node], "CLUSTER SETSLOT %d %s %s", place->slot, verb,
               three.nodes[peer].id.text);
}

static void stable(int node, const struct place *place)
{
    node_order(&three.nodes[node], "CLUSTER SETSLOT %d STABLE", place->slot);
}

/* Keys first..last at a node, whoever owns the slot; the node must own or import it. */
static void fill(int node, const struct place *place, int first, int last, const char *word)
{
    for (int i = first; i <= last; i++) {
        node_order(&three.nodes[node], "ASKING");
        node_order(&three.nodes[node], "SET {%s}%d %s-%d", place->tag, i, word, i);
    }
}

/* Keys at a node that neither owns the slot nor has a mark for it. */
static void strand(int node, const struct place *place, int owner, int first, int last)
{
    mark(node, "IMPORTING", place, owner);
    fill(node, place, first, last, "value");
    stable(node, place);
}

static void check_keys(int node, const struct place *place, int first, int last)
{
    for (int i = first; i <= last; i++) {
        char wanted[32];
        (void)snprintf(wanted, sizeof(wanted), "value-%d", i);
        redisReply *reply = node_ask(&three.nodes[node], "GET {%s}%d", place->tag, i);
        if (reply->type != REDIS_REPLY_STRING || strcmp(reply->str, wanted) != 0) {
            fail_msg("key {%s}%d at node %d: %s", place->tag, i, node,
                     reply->str != NULL ? reply->str : "nil");
        }
        freeReplyObject(reply);
    }
}

/* All views, for who has to find out why one of them is wrong. */
static void print_views(const struct place *place, int node, int owner)
{
    for (int i = 0; i < three.count; i++) {
        redisReply *reply = node_ask(&three.nodes[i], "CLUSTER NODES");
        print_message("view of node %d:\n%s", i, reply->str);
        freeReplyObject(reply);
    }
    fail_msg("slot %d is not node %d's in the view of node %d", place->slot, owner, node);
}

/* One owner in every view, no mark for the slot, no key elsewhere. */
static void check_clean(const struct place *place, int owner)
{
    char wanted[16];
    (void)snprintf(wanted, sizeof(wanted), "[%d-", place->slot);
    for (int i = 0; i < three.count; i++) {
        char marks[512];
        open_marks(&three.nodes[i], marks, sizeof(marks));
        if (strstr(marks, wanted) != NULL) {
            fail_msg("node %d still has %s", i, marks);
        }
        struct node_id seen = owner_in_view(&three.nodes[i], place->slot);
        if (strcmp(seen.text, three.nodes[owner].id.text) != 0) {
            print_views(place, i, owner);
        }
        if (i != owner) {
            assert_int_equal(keys_in_slot(&three.nodes[i], place->slot), 0);
        }
    }
}

static void repair(const struct place *place, int node, int peer, struct order_status *status)
{
    struct order order;
    order_make_repair(&order, &three, node, peer, place->text);
    (void)driver_repair(driver, &order, -1, status);
}

/* Repairs the slot for node 0 and its other end 1, and checks that keys 1..last are at 'owner'. */
static void repairs_to(const struct place *place, int owner, int last)
{
    struct order_status status;
    repair(place, 0, 1, &status);
    if (status.state != ORDER_DONE) {
        fail_msg("%s: %s", order_state_name(status.state), status.reason);
    }
    assert_true(slotset_has(&status.slots_done, place->slot));
    check_clean(place, owner);
    check_keys(owner, place, 1, last);
    assert_int_equal(keys_in_slot(&three.nodes[owner], place->slot), last);
    repair(place, 0, 1, &status); /* again: nothing is left to do */
    assert_int_equal(status.state, ORDER_DONE);
    assert_int_equal(status.keys_moved, 0);
}

/* ---- the states ---- */

/* The target imports, the source does not know (it failed over, or the opening was cut). */
static void importing_only(void **state)
{
    (void)state;
    struct place empty = new_place();
    mark(1, "IMPORTING", &empty, 0);
    repairs_to(&empty, 0, 0);
    struct place source = new_place();
    fill(0, &source, 1, 30, "value");
    mark(1, "IMPORTING", &source, 0);
    repairs_to(&source, 0, 30);
    struct place target = new_place();
    mark(1, "IMPORTING", &target, 0);
    fill(1, &target, 1, 30, "value");
    repairs_to(&target, 0, 30);
    struct place both = new_place();
    fill(0, &both, 1, 20, "value");
    mark(1, "IMPORTING", &both, 0);
    fill(1, &both, 21, 250, "value");
    repairs_to(&both, 0, 250);
}

static void migrating_only(void **state)
{
    (void)state;
    struct place empty = new_place();
    mark(0, "MIGRATING", &empty, 1);
    repairs_to(&empty, 0, 0);
    struct place source = new_place();
    fill(0, &source, 1, 30, "value");
    mark(0, "MIGRATING", &source, 1);
    repairs_to(&source, 0, 30);
    struct place target = new_place();
    strand(1, &target, 0, 1, 30);
    mark(0, "MIGRATING", &target, 1);
    repairs_to(&target, 1, 30);
    struct place both = new_place();
    fill(0, &both, 1, 20, "value");
    strand(1, &both, 0, 21, 40);
    mark(0, "MIGRATING", &both, 1);
    repairs_to(&both, 1, 40);
}

static void both_marked(void **state)
{
    (void)state;
    struct place empty = new_place();
    mark(1, "IMPORTING", &empty, 0);
    mark(0, "MIGRATING", &empty, 1);
    repairs_to(&empty, 1, 0);
    struct place both = new_place();
    fill(0, &both, 1, 60, "value");
    mark(1, "IMPORTING", &both, 0);
    mark(0, "MIGRATING", &both, 1);
    fill(1, &both, 61, 120, "value");
    repairs_to(&both, 1, 120);
}

/* Node 1's config epoch as each of the nodes has it. */
static bool has_heard_of_epoch(void *user)
{
    (void)user;
    char own[32] = "";
    char start[NODE_ID_LEN + 8]; /* of its line: marks name it too */
    (void)snprintf(start, sizeof(start), "%s 127", three.nodes[1].id.text);
    for (int i = 0; i < 3; i++) {
        int asked = (i + 1) % 3; /* itself first */
        redisReply *reply = node_ask(&three.nodes[asked], "CLUSTER NODES");
        char epoch[32] = "";
        const char *line = strstr(reply->str, start);
        assert_non_null(line);
        assert_int_equal(sscanf(line, "%*s %*s %*s %*s %*s %*s %31s", epoch), 1);
        freeReplyObject(reply);
        if (i == 0) {
            (void)snprintf(own, sizeof(own), "%s", epoch);
        } else if (strcmp(own, epoch) != 0) {
            return false;
        }
    }
    return true;
}

static struct place handed_over;

static bool is_handed_over(void *user)
{
    for (int i = 0; i < 3; i++) {
        struct node_id seen = owner_in_view(&three.nodes[i], handed_over.slot);
        if (strcmp(seen.text, three.nodes[1].id.text) != 0) {
            return false;
        }
    }
    return has_heard_of_epoch(user);
}

static int64_t pongs_received(int node)
{
    redisReply *reply = node_ask(&three.nodes[node], "CLUSTER INFO");
    static const char name[] = "cluster_stats_messages_pong_received:";
    const char *line = strstr(reply->str, name);
    int64_t count = line == NULL ? 0 : strtoll(line + sizeof(name) - 1, NULL, 10);
    freeReplyObject(reply);
    return count;
}

struct talk {
    int node;
    int64_t pongs;
};

static bool has_talked(void *user)
{
    const struct talk *talk = user;
    return pongs_received(talk->node) >= talk->pongs;
}

/* The nodes have heard each other anew. Valkey 8 needs it: a node that imports a slot takes it,
 * with a new config epoch, when it hears from the source that the source does not claim it, and a
 * word from before the source's claim says that (docs/redis_facts.md 13f). drover waits until such
 * words have passed (test_valkey_takes.c); the marks that this test sets by hand must wait, too. */
static void let_talk(void)
{
    for (int i = 0; i < three.count; i++) {
        struct talk talk = {i, pongs_received(i) + 6};
        assert_true(wait_until(has_talked, &talk));
    }
}

/* The slot is node 1's in every view, for good: until all know its new config epoch, a message that
 * node 0 sent before may take the slot back in the view of node 2. */
static void hand_over(const struct place *place)
{
    mark(1, "IMPORTING", place, 0);
    mark(0, "MIGRATING", place, 1);
    mark(1, "NODE", place, 1);
    mark(0, "NODE", place, 1);
    mark(2, "NODE", place, 1);
    handed_over = *place;
    assert_true(wait_until(is_handed_over, NULL));
    let_talk();
}

static void target_owns_and_keys_left(void **state)
{
    (void)state;
    struct place unmarked = new_place();
    hand_over(&unmarked);
    fill(1, &unmarked, 1, 20, "value");
    strand(0, &unmarked, 1, 21, 40);
    repairs_to(&unmarked, 1, 40);
    struct place marked = new_place();
    hand_over(&marked);
    mark(0, "IMPORTING", &marked, 1); /* as a node that restarts with such keys marks them */
    fill(0, &marked, 1, 40, "value");
    repairs_to(&marked, 1, 40);
}

static void many_import(void **state)
{
    (void)state;
    struct place unowned = new_place(); /* nobody migrates: all to the owner */
    fill(0, &unowned, 1, 10, "value");
    mark(1, "IMPORTING", &unowned, 0);
    fill(1, &unowned, 11, 20, "value");
    mark(2, "IMPORTING", &unowned, 0);
    fill(2, &unowned, 21, 30, "value");
    repairs_to(&unowned, 0, 30);
    struct place moving = new_place(); /* the owner migrates: all to its target */
    fill(0, &moving, 1, 10, "value");
    mark(1, "IMPORTING", &moving, 0);
    fill(1, &moving, 11, 20, "value");
    mark(2, "IMPORTING", &moving, 0);
    fill(2, &moving, 21, 30, "value");
    mark(0, "MIGRATING", &moving, 1);
    repairs_to(&moving, 1, 30);
}

static void orphan_keys(void **state)
{
    (void)state;
    struct place place = new_place();
    fill(0, &place, 1, 10, "value");
    strand(1, &place, 0, 11, 20);
    strand(2, &place, 0, 21, 30);
    repairs_to(&place, 0, 30);
}

/* ---- a key on both sides ---- */

static void equal_copies_become_one(void **state)
{
    (void)state;
    struct place place = new_place();
    fill(0, &place, 1, 20, "value");
    mark(1, "IMPORTING", &place, 0);
    fill(1, &place, 11, 40, "value");
    repairs_to(&place, 0, 40);
    struct place moving = new_place();
    fill(0, &moving, 1, 20, "value");
    mark(1, "IMPORTING", &moving, 0);
    mark(0, "MIGRATING", &moving, 1);
    fill(1, &moving, 11, 40, "value");
    repairs_to(&moving, 1, 40);
}

static void different_copies_are_held(void **state)
{
    (void)state;
    struct place place = new_place();
    struct order_status status;
    fill(0, &place, 1, 20, "value");
    mark(1, "IMPORTING", &place, 0);
    fill(1, &place, 20, 20, "other");
    fill(1, &place, 21, 30, "value");
    repair(&place, 0, 1, &status);
    assert_int_equal(status.state, ORDER_HELD);
    assert_int_equal(status.reason_code, ERR_CONFLICT);
    assert_non_null(strstr(status.reason, place.text));
    check_keys(0, &place, 1, 30); /* what could be moved is at the owner */
    node_order(&three.nodes[1], "ASKING");
    redisReply *reply = node_ask(&three.nodes[1], "GET {%s}20", place.tag);
    assert_string_equal(reply->str, "other-20"); /* and the second copy is where it was */
    freeReplyObject(reply);
    struct order order;
    order_make_repair(&order, &three, 0, 1, place.text);
    order.task.flags = TASK_REPLACE; /* a person says: the owner's counts */
    (void)driver_repair(driver, &order, -1, &status);
    assert_int_equal(status.state, ORDER_DONE);
    check_clean(&place, 0);
    check_keys(0, &place, 1, 30);
}

static void different_copies_in_a_move_are_held(void **state)
{
    (void)state;
    struct place place = new_place();
    struct order_status status;
    fill(0, &place, 1, 20, "value");
    mark(1, "IMPORTING", &place, 0);
    mark(0, "MIGRATING", &place, 1);
    fill(1, &place, 20, 20, "other");
    repair(&place, 0, 1, &status);
    assert_int_equal(status.state, ORDER_HELD);
    assert_int_equal(
        keys_in_slot(&three.nodes[1], place.slot) + keys_in_slot(&three.nodes[0], place.slot), 21);
    struct order order;
    order_make_repair(&order, &three, 0, 1, place.text);
    order.task.flags = TASK_REPLACE;
    (void)driver_repair(driver, &order, -1, &status);
    assert_int_equal(status.state, ORDER_DONE);
    check_clean(&place, 1);
    check_keys(1, &place, 1, 20);
}

/* ---- cut anywhere ---- */

static void open_case(const struct place *place, int number)
{
    fill(0, place, 1, 12, "value");
    if (number == 1) {
        strand(2, place, 0, 25, 30);
    } else if (number == 2) {
        mark(2, "IMPORTING", place, 0);
        fill(2, place, 25, 30, "value");
    }
    mark(1, "IMPORTING", place, 0);
    fill(1, place, 13, 24, "value");
    if (number != 1) {
        mark(0, "MIGRATING", place, 1);
    }
}

/* Cut after any number of pipelines, as by a crash or an expired order, and run again. */
static void cut_at_every_step(void **state)
{
    (void)state;
    for (int number = 0; number < 3; number++) {
        int last = number == 0 ? 24 : 30;
        int owner = number == 1 ? 0 : 1;
        bool is_whole = false;
        for (int pipelines = 1; !is_whole; pipelines += pipelines < 24 ? 1 : 5) {
            struct place place = new_place();
            struct order order;
            struct order_status status;
            open_case(&place, number);
            order_make_repair(&order, &three, 0, 1, place.text);
            is_whole = driver_repair(driver, &order, pipelines, &status);
            repair(&place, 0, 1, &status);
            if (status.state != ORDER_DONE) {
                fail_msg("case %d cut after %d: %s: %s", number, pipelines,
                         order_state_name(status.state), status.reason);
            }
            check_clean(&place, owner);
            check_keys(owner, &place, 1, last);
        }
    }
}

/* Many slots in one order, each in a state of its own. */
static void many_slots_at_once(void **state)
{
    (void)state;
    struct place places[150];
    struct order order;
    struct order_status status;
    order_make_repair(&order, &three, 0, 1, "");
    for (int i = 0; i < 150; i++) {
        places[i] = new_place();
        slotset_add(&order.task.slots, places[i].slot);
        if (i % 5 == 0) {
            strand(2, &places[i], 0, 1, 3);
        } else if (i % 5 == 1) {
            mark(1, "IMPORTING", &places[i], 0);
        } else if (i % 5 == 2) {
            mark(0, "MIGRATING", &places[i], 1);
        } else if (i % 5 == 3) {
            fill(0, &places[i], 1, 3, "value");
            mark(1, "IMPORTING", &places[i], 0);
            mark(0, "MIGRATING", &places[i], 1);
        }
    }
    (void)driver_repair(driver, &order, -1, &status);
    if (status.state != ORDER_DONE) {
        fail_msg("%s: %s", order_state_name(status.state), status.reason);
    }
    assert_true(slotset_is_equal(&status.slots_done, &order.task.slots));
    for (int i = 0; i < 150; i++) {
        int owner = i % 5 == 3 ? 1 : 0;
        check_clean(&places[i], owner);
        check_keys(owner, &places[i], 1, i % 5 == 0 || i % 5 == 3 ? 3 : 0);
    }
}

/* ---- last, since it takes the cluster apart: the source is reset ---- */

static void source_was_reset(void **state)
{
    (void)state;
    struct place place = new_place();
    struct order order;
    struct order_status status;
    mark(1, "IMPORTING", &place, 0);
    mark(0, "MIGRATING", &place, 1);
    fill(1, &place, 1, 20, "value");
    node_order(&three.nodes[0], "FLUSHALL"); /* a reset is refused while there are keys */
    node_order(&three.nodes[0], "CLUSTER RESET %s", server[0] == 'r' ? "SOFT" : "HARD");
    order_make_repair(&order, &three, 0, 1, place.text);
    (void)driver_repair(driver, &order, -1, &status);
    if (status.state != ORDER_DONE) {
        fail_msg("%s: %s", order_state_name(status.state), status.reason);
    }
    for (int i = 1; i < 3; i++) {
        struct node_id owner = owner_in_view(&three.nodes[i], place.slot);
        assert_string_equal(owner.text, three.nodes[1].id.text);
        char marks[512];
        open_marks(&three.nodes[i], marks, sizeof(marks));
        assert_string_equal(marks, "");
    }
    check_keys(1, &place, 1, 20);
}

static int run_on(const char *program)
{
    server = program;
    tags_used = 0;
    struct cluster_options options = {
        .primaries = 3, .node_timeout_ms = 3000, .no_full_coverage = true, .server = program};
    cluster_start(&three, &options);
    driver = driver_new(NULL);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(importing_only),
        cmocka_unit_test(migrating_only),
        cmocka_unit_test(both_marked),
        cmocka_unit_test(target_owns_and_keys_left),
        cmocka_unit_test(many_import),
        cmocka_unit_test(orphan_keys),
        cmocka_unit_test(equal_copies_become_one),
        cmocka_unit_test(different_copies_are_held),
        cmocka_unit_test(different_copies_in_a_move_are_held),
        cmocka_unit_test(many_slots_at_once),
        cmocka_unit_test(cut_at_every_step),
        cmocka_unit_test(source_was_reset),
    };
    int failed = cmocka_run_group_tests_name(program, tests, NULL, NULL);
    driver_free(driver);
    cluster_stop(&three);
    return failed;
}

int main(void)
{
    int failed = run_on("redis-server");
    if (access("/usr/bin/valkey-server", X_OK) == 0) {
        failed += run_on("valkey-server");
    } else {
        print_message("skipped on Valkey: /usr/bin/valkey-server is not there\n");
    }
    return failed;
}
