/* test_valkey_takes.c — slots that came to their owner a moment ago, on Valkey: a node that is told
 * to import one takes it for good when it hears an old word of the owner (docs/redis_facts.md 13f).
 * Mover and repair let such words pass first, so no key is lost.
 *
 * Each case hands some slots over by hand, which is what makes old words linger on the bus, and
 * lets drover begin at once. */
#include "helper_mover.h"

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define SERVER "/usr/bin/valkey-server"
#define ROUNDS 4
#define KEYS 10
#define OTHERS 4 /* slots handed over just before */

static struct cluster three;
static struct driver *driver;
static int tags_used;
static int others_used;

struct place {
    int slot;
    char tag[16];
};

/* In the first primary's upper half; the lower one is for the others. */
static struct place new_place(void)
{
    struct place place;
    do {
        (void)snprintf(place.tag, sizeof(place.tag), "b%d", ++tags_used);
        place.slot = (int)node_ask_int(&three.nodes[0], "CLUSTER KEYSLOT %s", place.tag);
    } while (place.slot < SLOT_COUNT / 6 || place.slot >= SLOT_COUNT / 3);
    return place;
}

static void set_slot(int node, int slot, const char *verb, int peer)
{
    node_order(&three.nodes[node], "CLUSTER SETSLOT %d %s %s", slot, verb,
               three.nodes[peer].id.text);
}

/* What the case before left on the bus has passed, and the marks that this test sets by hand are as
 * safe as drover's. */
static void rest(void)
{
    int64_t begun_ms = real_now_ms();
    while (real_now_ms() - begun_ms < 3000) {
        nap_ms(100);
    }
}

static void hand_over(int slot, int from, int to)
{
    set_slot(to, slot, "IMPORTING", from);
    set_slot(from, slot, "MIGRATING", to);
    set_slot(to, slot, "NODE", to);
    set_slot(from, slot, "NODE", to);
    set_slot(3 - from - to, slot, "NODE", to);
}

static void hand_over_others(int from, int to)
{
    for (int i = 0; i < OTHERS; i++) {
        hand_over(others_used++, from, to);
    }
}

static void fill(int node, const struct place *place)
{
    for (int i = 0; i < KEYS; i++) {
        node_order(&three.nodes[node], "ASKING");
        node_order(&three.nodes[node], "SET {%s}%d value-%d", place->tag, i, i);
    }
}

static void check(int owner, const struct place *place)
{
    for (int i = 0; i < three.count; i++) {
        assert_int_equal(keys_in_slot(&three.nodes[i], place->slot), i == owner ? KEYS : 0);
    }
    for (int i = 0; i < KEYS; i++) {
        char wanted[32];
        (void)snprintf(wanted, sizeof(wanted), "value-%d", i);
        redisReply *reply = node_ask(&three.nodes[owner], "GET {%s}%d", place->tag, i);
        assert_int_equal(reply->type, REDIS_REPLY_STRING);
        assert_string_equal(reply->str, wanted);
        freeReplyObject(reply);
    }
}

static void a_move_back_at_once_loses_nothing(void **state)
{
    (void)state;
    for (int round = 0; round < ROUNDS; round++) {
        struct place place = new_place();
        rest();
        hand_over_others(0, 1);
        hand_over(place.slot, 0, 1);
        fill(1, &place);
        struct order order;
        struct order_status status;
        char slots[16];
        (void)snprintf(slots, sizeof(slots), "%d", place.slot);
        order_make(&order, &three, 1, 0, slots);
        driver_run(driver, &order, NULL, NULL, &status);
        if (status.state != ORDER_DONE) {
            fail_msg("%s: %s", order_state_name(status.state), status.reason);
        }
        assert_int_equal(status.keys_moved, KEYS);
        check(0, &place);
    }
}

/* No move is so quick that it is over before the old word comes. */
static void linger(void *user, const struct agent_effect *effect)
{
    (void)user;
    if (commands_arg_is(&effect->commands, 0, 0, "MIGRATE")) {
        nap_ms(500);
    }
}

struct heard {
    struct place place;
    int owner;
};

static bool is_heard_by_all(void *user)
{
    const struct heard *heard = user;
    for (int i = 0; i < three.count; i++) {
        struct node_id seen = owner_in_view(&three.nodes[i], heard->place.slot);
        if (!node_id_is_equal(&seen, &three.nodes[heard->owner].id)) {
            return false;
        }
    }
    return true;
}

/* Keys that the first primary holds of a slot that the second has just given to the third. */
static void keys_astray_reach_a_new_owner(void **state)
{
    (void)state;
    for (int round = 0; round < ROUNDS; round++) {
        struct heard heard = {new_place(), 1};
        const struct place *place = &heard.place;
        hand_over(place->slot, 0, 1);
        rest();
        assert_true(wait_until(is_heard_by_all, &heard));
        set_slot(0, place->slot, "IMPORTING", 1);
        fill(0, place);
        node_order(&three.nodes[0], "CLUSTER SETSLOT %d STABLE", place->slot);
        rest();
        int first = others_used;
        hand_over_others(0, 1);
        for (int i = 0; i < OTHERS; i++) {
            hand_over(first + i, 1, 2);
        }
        hand_over(place->slot, 1, 2);
        struct order order;
        struct order_status status;
        char slots[16];
        (void)snprintf(slots, sizeof(slots), "%d", place->slot);
        order_make_repair(&order, &three, 2, 0, slots);
        assert_true(driver_repair(driver, &order, -1, &status));
        if (status.state != ORDER_DONE) {
            fail_msg("%s: %s", order_state_name(status.state), status.reason);
        }
        check(2, place);
    }
}

int main(void)
{
    if (access(SERVER, X_OK) != 0) {
        print_message("skipped: %s is not there\n", SERVER);
        return 0;
    }
    struct cluster_options options = {.primaries = 3, .server = SERVER};
    cluster_start(&three, &options);
    driver = driver_new(NULL);
    driver_look_before(driver, linger, NULL);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_move_back_at_once_loses_nothing),
        cmocka_unit_test(keys_astray_reach_a_new_owner),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    driver_free(driver);
    cluster_stop(&three);
    return failed;
}
