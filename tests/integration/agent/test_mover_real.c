/* test_mover_real.c — the slot mover on real Redis nodes: every key arrives, whatever state it
 * starts from. */
#include "helper_mover.h"

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct cluster
    three; /* two primaries with slots, one empty; shared by the tests of this file */
static struct driver *driver;

/* A hash tag whose slot belongs to the first primary, and that slot. */
static int tag_of(char tag[16], int number)
{
    for (int i = 0;; i++) {
        (void)snprintf(tag, 16, "t%d-%d", number, i);
        int64_t slot = node_ask_int(&three.nodes[0], "CLUSTER KEYSLOT %s", tag);
        if (slot < SLOT_COUNT / 2) {
            return (int)slot;
        }
    }
}

static void fill(struct cluster_node *node, const char *tag, int count)
{
    for (int i = 0; i < count; i++) {
        redisAppendCommand(node->link, "SET {%s}%d value-%d", tag, i, i);
    }
    for (int i = 0; i < count; i++) {
        redisReply *reply = NULL;
        assert_int_equal(redisGetReply(node->link, (void **)&reply), REDIS_OK);
        assert_int_equal(reply->type, REDIS_REPLY_STATUS);
        freeReplyObject(reply);
    }
}

static void check_filled(struct cluster_node *node, const char *tag, int count)
{
    for (int i = 0; i < count; i++) {
        redisAppendCommand(node->link, "GET {%s}%d", tag, i);
    }
    for (int i = 0; i < count; i++) {
        redisReply *reply = NULL;
        char wanted[32];
        (void)snprintf(wanted, sizeof(wanted), "value-%d", i);
        assert_int_equal(redisGetReply(node->link, (void **)&reply), REDIS_OK);
        if (reply->type != REDIS_REPLY_STRING || strcmp(reply->str, wanted) != 0) {
            fail_msg("key {%s}%d: %s", tag, i, reply->str != NULL ? reply->str : "nil");
        }
        freeReplyObject(reply);
    }
}

/* The slot is the target's in every view, nothing is open, the source holds nothing. */
static void check_moved(struct cluster *cluster, int source, int target, int slot)
{
    char marks[512];
    for (int i = 0; i < cluster->count; i++) {
        if (cluster->nodes[i].pid > 0) {
            struct node_id owner = owner_in_view(&cluster->nodes[i], slot);
            assert_string_equal(owner.text, cluster->nodes[target].id.text);
            open_marks(&cluster->nodes[i], marks, sizeof(marks));
            assert_string_equal(marks, "");
        }
    }
    assert_int_equal(keys_in_slot(&cluster->nodes[source], slot), 0);
}

static void move(struct cluster *cluster,
                 int source,
                 int target,
                 const char *slots,
                 struct order_status *status)
{
    struct order order;
    order_make(&order, cluster, source, target, slots);
    driver_run(driver, &order, NULL, NULL, status);
    if (status->state != ORDER_DONE) {
        fail_msg("%s: %s", order_state_name(status->state), status->reason);
    }
    assert_true(slotset_is_equal(&status->slots_done, &order.slots));
}

static void text_of_slot(char text[16], int slot)
{
    (void)snprintf(text, 16, "%d", slot);
}

/* A range with keys of all kinds of names and types moves whole, with its expiry times. */
static void moves_keys_of_every_kind(void **state)
{
    (void)state;
    struct cluster_node *source = &three.nodes[0];
    struct cluster_node *target = &three.nodes[2];
    char tag[16];
    int slot = tag_of(tag, 1);
    fill(source, tag, 250);
    for (int byte = 0; byte < 256; byte++) {
        char key[32];
        int len = snprintf(key, sizeof(key), "{%s}_ ", tag);
        key[len - 1] = (char)byte;
        const char *argv[] = {"SET", key, key};
        const size_t lens[] = {3, (size_t)len, (size_t)len};
        freeReplyObject(node_ask_args(source, 3, argv, lens));
    }
    node_order(source, "HSET {%s}hash f1 v1 f2 v2", tag);
    node_order(source, "RPUSH {%s}list a b c", tag);
    node_order(source, "ZADD {%s}zset 1 a 2 b", tag);
    node_order(source, "XADD {%s}stream * f v", tag);
    node_order(source, "SET {%s}ttl x PX 100000", tag);
    char slots[64];
    (void)snprintf(slots, sizeof(slots), "%d-%d", slot > 20 ? slot - 20 : 0, slot);
    struct order_status status;
    move(&three, 0, 2, slots, &status);
    check_moved(&three, 0, 2, slot);
    check_filled(target, tag, 250);
    for (int byte = 0; byte < 256; byte++) {
        char key[32];
        int len = snprintf(key, sizeof(key), "{%s}_ ", tag);
        key[len - 1] = (char)byte;
        const char *argv[] = {"GET", key};
        const size_t lens[] = {3, (size_t)len};
        redisReply *reply = node_ask_args(target, 2, argv, lens);
        assert_int_equal(reply->type, REDIS_REPLY_STRING);
        assert_memory_equal(reply->str, key, (size_t)len);
        freeReplyObject(reply);
    }
    assert_int_equal(node_ask_int(target, "HLEN {%s}hash", tag), 2);
    assert_int_equal(node_ask_int(target, "LLEN {%s}list", tag), 3);
    assert_int_equal(node_ask_int(target, "ZCARD {%s}zset", tag), 2);
    assert_int_equal(node_ask_int(target, "XLEN {%s}stream", tag), 1);
    assert_in_range(node_ask_int(target, "PTTL {%s}ttl", tag), 90000, 100000);
    assert_int_equal(status.keys_moved, 250 + 256 + 5);
    assert_true(status.slots_open == 0);
}

/* A slot of 50,000 keys takes many batches and many listings. */
static void moves_a_slot_of_50000_keys(void **state)
{
    (void)state;
    char tag[16];
    char slots[16];
    int slot = tag_of(tag, 2);
    text_of_slot(slots, slot);
    fill(&three.nodes[0], tag, 50000);
    struct order_status status;
    move(&three, 0, 2, slots, &status);
    check_moved(&three, 0, 2, slot);
    check_filled(&three.nodes[2], tag, 50000);
}

/* A key of 64 MB is found before the move, told, and travels with a timeout of its own. */
static void moves_a_key_of_64_mb(void **state)
{
    (void)state;
    char tag[16];
    char slots[16];
    int slot = tag_of(tag, 3);
    text_of_slot(slots, slot);
    fill(&three.nodes[0], tag, 10);
    node_order(&three.nodes[0], "SETRANGE {%s}big %d x", tag, 64 * 1024 * 1024 - 1);
    struct order_status status;
    move(&three, 0, 2, slots, &status);
    check_moved(&three, 0, 2, slot);
    check_filled(&three.nodes[2], tag, 10);
    assert_int_equal(node_ask_int(&three.nodes[2], "STRLEN {%s}big", tag), 64 * 1024 * 1024);
    assert_int_equal(status.big_key_count, 1);
    assert_true(status.big_keys[0].bytes >= 64 * 1024 * 1024);
    node_order(&three.nodes[2], "DEL {%s}big", tag);
}

/* A key over the limit holds its slot, which is closed again since nothing of it has moved. */
static void holds_a_slot_with_a_key_over_the_limit(void **state)
{
    (void)state;
    char tag[16];
    char slots[16];
    int slot = tag_of(tag, 4);
    text_of_slot(slots, slot);
    fill(&three.nodes[0], tag, 3);
    node_order(&three.nodes[0], "SETRANGE {%s}big %d x", tag, 8 * 1024 * 1024);
    struct order order;
    order_make(&order, &three, 0, 2, slots);
    order.big_key_bytes_max = 4 * 1024 * 1024;
    struct order_status status;
    driver_run(driver, &order, NULL, NULL, &status);
    assert_int_equal(status.state, ORDER_HELD);
    assert_int_equal(status.reason_code, ERR_LIMIT);
    char marks[512];
    open_marks(&three.nodes[0], marks, sizeof(marks));
    assert_string_equal(marks, "");
    open_marks(&three.nodes[2], marks, sizeof(marks));
    assert_string_equal(marks, "");
    check_filled(&three.nodes[0], tag, 3);
    node_order(&three.nodes[0], "DEL {%s}big", tag);
}

static bool flush_in_the_middle(void *user, const struct slot_mover *mover)
{
    (void)mover;
    bool *is_flushed = user;
    if (!*is_flushed && driver_migrate_count(driver) > 0) {
        node_order(&three.nodes[0], "FLUSHALL");
        *is_flushed = true;
    }
    return false;
}

/* FLUSHALL on the way: the count becomes 0, which is an end, not an error. */
static void survives_flushall_on_the_way(void **state)
{
    (void)state;
    char tag[16];
    char slots[16];
    int slot = tag_of(tag, 5);
    text_of_slot(slots, slot);
    fill(&three.nodes[0], tag, 5000);
    driver_free(driver);
    driver = driver_new(NULL);
    struct order order;
    order_make(&order, &three, 0, 2, slots);
    bool is_flushed = false;
    struct order_status status;
    driver_run(driver, &order, flush_in_the_middle, &is_flushed, &status);
    assert_true(is_flushed);
    assert_int_equal(status.state, ORDER_DONE);
    check_moved(&three, 0, 2, slot);
}

/* Keys that expire between listing and MIGRATE are no error. */
static void survives_keys_that_expire(void **state)
{
    (void)state;
    char tag[16];
    char slots[16];
    int slot = tag_of(tag, 6);
    text_of_slot(slots, slot);
    for (int i = 0; i < 3000; i++) {
        node_order(&three.nodes[0], "SET {%s}x%d v PX %d", tag, i, 1 + i % 300);
    }
    fill(&three.nodes[0], tag, 100);
    struct order_status status;
    move(&three, 0, 2, slots, &status);
    check_moved(&three, 0, 2, slot);
    check_filled(&three.nodes[2], tag, 100);
}

/* Whatever half state a slot is left in, the order ends with the slot moved and every key there. */
static void resumes_from_every_half_state(void **state)
{
    (void)state;
    struct cluster_node *source = &three.nodes[0];
    struct cluster_node *target = &three.nodes[2];
    for (int half = 0; half < 5; half++) {
        char tag[16];
        char slots[16];
        int slot = tag_of(tag, 10 + half);
        text_of_slot(slots, slot);
        fill(source, tag, 300);
        if (half != 1) {
            node_order(target, "CLUSTER SETSLOT %d IMPORTING %s", slot, source->id.text);
        }
        if (half >= 1) {
            node_order(source, "CLUSTER SETSLOT %d MIGRATING %s", slot, target->id.text);
        }
        for (int i = 0; half >= 3 && i < (half == 4 ? 300 : 150); i++) {
            node_order(source, "MIGRATE 127.0.0.1 %d {%s}%d 0 1000", target->address.port, tag, i);
        }
        if (half == 4) {
            node_order(target, "CLUSTER SETSLOT %d NODE %s", slot, target->id.text);
        }
        struct order_status status;
        move(&three, 0, 2, slots, &status);
        check_moved(&three, 0, 2, slot);
        check_filled(target, tag, 300);
    }
}

/* An agent that dies after any number of pipelines leaves what its successor can finish. */
static void resumes_after_a_crash_at_every_step(void **state)
{
    (void)state;
    bool is_over = false;
    for (int step = 1; !is_over; step++) {
        char tag[16];
        char slots[64];
        int slot = tag_of(tag, 100 + step);
        (void)snprintf(slots, sizeof(slots), "%d", slot);
        fill(&three.nodes[0], tag, 350);
        struct order order;
        order_make(&order, &three, 0, 2, slots);
        struct order_status status;
        is_over = driver_run_cut(driver, &order, step, &status);
        assert_true(step < 200);
        driver_run(driver, &order, NULL, NULL, &status);
        if (status.state != ORDER_DONE) {
            fail_msg("after a crash behind pipeline %d: %s: %s", step,
                     order_state_name(status.state), status.reason);
        }
        check_moved(&three, 0, 2, slot);
        check_filled(&three.nodes[2], tag, 350);
    }
}

static bool wish_freeze(void *user, const struct slot_mover *mover)
{
    (void)mover;
    int *wanted = user;
    if (driver_migrate_count(driver) == *wanted) {
        driver_wish(driver, WISH_FREEZE);
    }
    return false;
}

/* An order that is not renewed ends its running command, sends nothing more, and can be resumed. */
static void freezes_and_resumes(void **state)
{
    (void)state;
    char tag[16];
    char slots[16];
    int slot = tag_of(tag, 7);
    text_of_slot(slots, slot);
    fill(&three.nodes[0], tag, 2000);
    driver_free(driver);
    driver = driver_new(NULL);
    struct order order;
    order_make(&order, &three, 0, 2, slots);
    int wanted = 3;
    struct order_status status;
    driver_run(driver, &order, wish_freeze, &wanted, &status);
    assert_int_equal(status.state, ORDER_EXPIRED);
    assert_int_equal(driver_migrate_count(driver), 3);
    assert_true(keys_in_slot(&three.nodes[0], slot) > 0);
    assert_true(keys_in_slot(&three.nodes[2], slot) > 0);
    move(&three, 0, 2, slots, &status);
    check_moved(&three, 0, 2, slot);
    check_filled(&three.nodes[2], tag, 2000);
}

static bool wish_stop(void *user, const struct slot_mover *mover)
{
    (void)user;
    (void)mover;
    if (driver_migrate_count(driver) == 3) {
        driver_wish(driver, WISH_STOP);
    }
    return false;
}

/* A stop finishes the slots in hand: nothing open, each slot wholly on one side. */
static void stops_with_nothing_open(void **state)
{
    (void)state;
    char slots[32];
    for (int slot = 3000; slot < 3200; slot++) {
        redisReply *reply = node_ask(&three.nodes[0], "CLUSTER COUNTKEYSINSLOT %d", slot);
        freeReplyObject(reply);
    }
    for (int i = 0; i < 20000; i++) {
        redisReply *reply = node_ask(&three.nodes[0], "SET k%d v", i);
        freeReplyObject(reply); /* keys of other nodes are refused */
    }
    (void)snprintf(slots, sizeof(slots), "3000-3199");
    driver_free(driver);
    driver = driver_new(NULL);
    struct order order;
    order_make(&order, &three, 0, 2, slots);
    struct order_status status;
    driver_run(driver, &order, wish_stop, NULL, &status);
    assert_int_equal(status.state, ORDER_STOPPED);
    int done = slotset_count(&status.slots_done);
    assert_in_range(done, 1, 199);
    char marks[512];
    open_marks(&three.nodes[0], marks, sizeof(marks));
    assert_string_equal(marks, "");
    open_marks(&three.nodes[2], marks, sizeof(marks));
    assert_string_equal(marks, "");
    assert_int_equal(keys_in_slot(&three.nodes[2], 3199), 0);
}

static int64_t pongs_sent(struct cluster_node *node)
{
    static const char name[] = "cluster_stats_messages_pong_sent:";
    redisReply *reply = node_ask(node, "CLUSTER INFO");
    const char *at = strstr(reply->str, name);
    int64_t count = at == NULL ? 0 : strtoll(at + sizeof(name) - 1, NULL, 10);
    freeReplyObject(reply);
    return count;
}

/* Thousands of empty slots cost a few pipelines, and the cluster hears of a burst of them in one
 * message a node: bare claims would send two for each slot here. */
static void moves_empty_slots(void **state)
{
    (void)state;
    struct order_status status;
    int64_t pongs = pongs_sent(&three.nodes[2]);
    move(&three, 1, 2, "12000-13999", &status);
    assert_in_range(pongs_sent(&three.nodes[2]) - pongs, 1, 1000);
    check_moved(&three, 1, 2, 12000);
    check_moved(&three, 1, 2, 13999);
    move(&three, 2, 1, "12000-13999", &status);
    check_moved(&three, 2, 1, 13000);
}

/* A slot that somebody else is moving elsewhere is held, and both are named. */
static void holds_a_slot_that_somebody_else_moves(void **state)
{
    (void)state;
    char tag[16];
    char slots[16];
    int slot = tag_of(tag, 8);
    text_of_slot(slots, slot);
    node_order(&three.nodes[0], "CLUSTER SETSLOT %d MIGRATING %s", slot, three.nodes[1].id.text);
    struct order order;
    order_make(&order, &three, 0, 2, slots);
    struct order_status status;
    driver_run(driver, &order, NULL, NULL, &status);
    assert_int_equal(status.state, ORDER_HELD);
    assert_int_equal(status.reason_code, ERR_CONFLICT);
    assert_non_null(strstr(status.reason, "migrating"));
    node_order(&three.nodes[0], "CLUSTER SETSLOT %d STABLE", slot);
}

/* A slot of which somebody else is the owner ends the order with a name. */
static void refuses_a_slot_of_another_owner(void **state)
{
    (void)state;
    struct order order;
    order_make(&order, &three, 0, 2, "16000");
    struct order_status status;
    driver_run(driver, &order, NULL, NULL, &status);
    assert_int_equal(status.state, ORDER_FAILED);
    assert_int_equal(status.reason_code, ERR_CONFLICT);
    assert_non_null(strstr(status.reason, three.nodes[1].id.text));
}

/* The node at the address must be the one that the order means. */
static void refuses_another_node_at_the_address(void **state)
{
    (void)state;
    struct order order;
    order_make(&order, &three, 0, 2, "5");
    order.source = three.nodes[1].id;
    struct order_status status;
    driver_run(driver, &order, NULL, NULL, &status);
    assert_int_equal(status.state, ORDER_FAILED);
    assert_int_equal(status.reason_code, ERR_CONFLICT);
}

/* Half moved by somebody, the same key on both sides: equal values go on, different ones are held.
 */
static void decides_a_key_on_both_sides(void **state)
{
    (void)state;
    struct cluster_node *source = &three.nodes[0];
    struct cluster_node *target = &three.nodes[2];
    for (int is_different = 0; is_different < 2; is_different++) {
        char tag[16];
        char slots[16];
        int slot = tag_of(tag, 20 + is_different);
        text_of_slot(slots, slot);
        fill(source, tag, 150);
        node_order(target, "CLUSTER SETSLOT %d IMPORTING %s", slot, source->id.text);
        node_order(source, "CLUSTER SETSLOT %d MIGRATING %s", slot, target->id.text);
        node_order(source, "MIGRATE 127.0.0.1 %d {%s}7 0 1000 COPY", target->address.port, tag);
        if (is_different == 1) {
            node_order(source, "SET {%s}7 other", tag);
        }
        struct order order;
        order_make(&order, &three, 0, 2, slots);
        struct order_status status;
        driver_run(driver, &order, NULL, NULL, &status);
        if (is_different == 0) {
            assert_int_equal(status.state, ORDER_DONE);
            check_moved(&three, 0, 2, slot);
            check_filled(target, tag, 150);
        } else {
            assert_int_equal(status.state, ORDER_HELD);
            assert_int_equal(status.reason_code, ERR_CONFLICT);
            assert_int_equal(keys_in_slot(source, slot), 1);
            node_order(source, "DEL {%s}7", tag);
            move(&three, 0, 2, slots, &status);
        }
    }
}

/* A target without room ends the order before anything is touched. */
static void refuses_a_target_without_room(void **state)
{
    (void)state;
    char tag[16];
    char slots[16];
    int slot = tag_of(tag, 9);
    text_of_slot(slots, slot);
    fill(&three.nodes[0], tag, 1000);
    node_order(&three.nodes[2], "CONFIG SET maxmemory 1mb");
    struct order order;
    order_make(&order, &three, 0, 2, slots);
    struct order_status status;
    driver_run(driver, &order, NULL, NULL, &status);
    node_order(&three.nodes[2], "CONFIG SET maxmemory 0");
    assert_int_equal(status.state, ORDER_FAILED);
    assert_int_equal(status.reason_code, ERR_LIMIT);
    char marks[512];
    open_marks(&three.nodes[0], marks, sizeof(marks));
    assert_string_equal(marks, "");
    assert_int_equal(keys_in_slot(&three.nodes[0], slot), 1000);
}

static int start(void **state)
{
    (void)state;
    cluster_start(&three, &(struct cluster_options){.primaries = 2, .empty_primaries = 1});
    driver = driver_new(NULL);
    return 0;
}

static int stop(void **state)
{
    (void)state;
    driver_free(driver);
    cluster_stop(&three);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(moves_keys_of_every_kind),
        cmocka_unit_test(moves_a_slot_of_50000_keys),
        cmocka_unit_test(moves_a_key_of_64_mb),
        cmocka_unit_test(holds_a_slot_with_a_key_over_the_limit),
        cmocka_unit_test(survives_keys_that_expire),
        cmocka_unit_test(resumes_from_every_half_state),
        cmocka_unit_test(resumes_after_a_crash_at_every_step),
        cmocka_unit_test(freezes_and_resumes),
        cmocka_unit_test(decides_a_key_on_both_sides),
        cmocka_unit_test(refuses_a_target_without_room),
        cmocka_unit_test(stops_with_nothing_open),
        cmocka_unit_test(moves_empty_slots),
        cmocka_unit_test(holds_a_slot_that_somebody_else_moves),
        cmocka_unit_test(refuses_a_slot_of_another_owner),
        cmocka_unit_test(refuses_another_node_at_the_address),
        cmocka_unit_test(survives_flushall_on_the_way),
    };
    return cmocka_run_group_tests(tests, start, stop);
}
