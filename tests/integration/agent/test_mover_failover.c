/* test_mover_failover.c — the slot mover while shards lose nodes: replicas waited for, successors
 * found, targets repaired.
 *
 * An election needs most of the primaries that have slots, so there are three of these. Each test
 * has its own cluster. */
#include "helper_mover.h"

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define KEYS 1500
#define REPAIR_MS_MAX 2000

enum { OTHER = 0, SOURCE = 2, TARGET = 3, SOURCE_REPLICA = 4, TARGET_REPLICA = 5 };

static struct cluster cluster;
static struct driver *driver;

static const char tag[] = "t"; /* {t} hashes to slot 15891, of the third primary */
static int slot;

static struct cluster_node *source(void)
{
    return &cluster.nodes[SOURCE];
}

static int start_with(int node_timeout_ms)
{
    cluster_start(&cluster, &(struct cluster_options){.primaries = 3,
                                                      .empty_primaries = 1,
                                                      .replicas = 2,
                                                      .replica_of = {SOURCE, TARGET},
                                                      .node_timeout_ms = node_timeout_ms});
    driver = driver_new(NULL);
    slot = (int)node_ask_int(source(), "CLUSTER KEYSLOT {%s}", tag);
    for (int i = 0; i < KEYS; i++) {
        node_order(source(), "SET {%s}%d value-%d", tag, i, i);
    }
    return 0;
}

static int start(void **state)
{
    (void)state;
    return start_with(1500);
}

static int stop(void **state)
{
    (void)state;
    driver_free(driver);
    cluster_stop(&cluster);
    return 0;
}

static void make(struct order *order, int from, int to)
{
    char slots[16];
    (void)snprintf(slots, sizeof(slots), "%d", slot);
    order_make(order, &cluster, from, to, slots);
}

static void check_keys(struct cluster_node *node)
{
    assert_int_equal(keys_in_slot(node, slot), KEYS);
    for (int i = 0; i < KEYS; i++) {
        char wanted[32];
        (void)snprintf(wanted, sizeof(wanted), "value-%d", i);
        redisReply *reply = node_ask(node, "GET {%s}%d", tag, i);
        assert_int_equal(reply->type, REDIS_REPLY_STRING);
        assert_string_equal(reply->str, wanted);
        freeReplyObject(reply);
    }
}

static void run_to_done(int from, int to, struct order_status *status)
{
    struct order order;
    make(&order, from, to);
    driver_run(driver, &order, NULL, NULL, status);
    if (status->state != ORDER_DONE) {
        fail_msg("%s: %s", order_state_name(status->state), status->reason);
    }
}

/* A slot is handed over only when the target's replica has its keys and knows the new owner. */
static void waits_for_the_targets_replica(void **state)
{
    (void)state;
    struct order_status status;
    run_to_done(SOURCE, TARGET, &status);
    assert_true(status.is_replica_synced);
    check_keys(&cluster.nodes[TARGET]);
    assert_int_equal(keys_in_slot(&cluster.nodes[TARGET_REPLICA], slot), KEYS);
    assert_string_equal(owner_in_view(&cluster.nodes[TARGET_REPLICA], slot).text,
                        cluster.nodes[TARGET].id.text);
}

/* A dead replica delays the move for a bounded time, and the report says so. */
static void goes_on_without_a_dead_replica(void **state)
{
    (void)state;
    cluster_kill(&cluster, TARGET_REPLICA);
    struct order_status status;
    run_to_done(SOURCE, TARGET, &status);
    assert_false(status.is_replica_synced);
    check_keys(&cluster.nodes[TARGET]);
}

/* ---- the source fails over in mid-slot ---- */

static bool has_sent_two(void *user, const struct slot_mover *mover)
{
    (void)user;
    (void)mover;
    return driver_migrate_count(driver) >= 3;
}

static void move_half(void)
{
    struct order order;
    struct order_status status;
    make(&order, SOURCE, TARGET);
    driver_run(driver, &order, has_sent_two, NULL, &status);
    assert_int_equal(status.state, ORDER_RUNNING);
    assert_true(keys_in_slot(&cluster.nodes[TARGET], slot) > 0);
    assert_true(keys_in_slot(source(), slot) > 0);
}

static bool target_is_ok(void *user)
{
    redisReply *reply = node_ask(user, "CLUSTER INFO");
    bool is_ok = strstr(reply->str, "cluster_state:ok") != NULL;
    freeReplyObject(reply);
    return is_ok;
}

static bool successor_is_primary(void *user)
{
    (void)user;
    redisReply *reply = node_ask(&cluster.nodes[SOURCE_REPLICA], "CLUSTER NODES");
    bool is_primary = strstr(reply->str, "myself,master") != NULL;
    freeReplyObject(reply);
    return is_primary;
}

static bool source_is_replica(void *user)
{
    (void)user;
    redisReply *reply = node_ask(&cluster.nodes[SOURCE], "CLUSTER NODES");
    bool is_replica = strstr(reply->str, "myself,slave") != NULL;
    freeReplyObject(reply);
    return is_replica;
}

static void fail_over_by_hand(void)
{
    bool is_promoted = false;
    for (int i = 0; i < 3 && !is_promoted; i++) { /* a busy machine may miss the server's own 5 s */
        node_order(&cluster.nodes[SOURCE_REPLICA], "CLUSTER FAILOVER");
        is_promoted = wait_until(successor_is_primary, NULL);
    }
    assert_true(is_promoted);
    assert_true(wait_until(source_is_replica, NULL));
}

/* The old order finds the successor, repairs the target at once and ends; a new order finishes the
 * slot. */
static void repairs_the_target_after_a_failover_of_the_source(void **state)
{
    (void)state;
    move_half();
    fail_over_by_hand();
    struct order order;
    make(&order, SOURCE, TARGET);
    struct order_status status;
    int64_t begin_ms = real_now_ms();
    driver_run(driver, &order, NULL, NULL, &status);
    assert_int_equal(status.state, ORDER_FAILED);
    assert_int_equal(status.reason_code, ERR_CONFLICT);
    assert_non_null(strstr(status.reason, cluster.nodes[SOURCE_REPLICA].id.text));
    assert_true(wait_until(target_is_ok, &cluster.nodes[TARGET]));
    assert_in_range(real_now_ms() - begin_ms, 0, REPAIR_MS_MAX);
    run_to_done(SOURCE_REPLICA, TARGET, &status);
    check_keys(&cluster.nodes[TARGET]);
    assert_int_equal(keys_in_slot(&cluster.nodes[SOURCE_REPLICA], slot), 0);
}

/* Nobody repaired: a new order from the successor does it itself and goes on. */
static void takes_over_from_the_successor_without_a_repair_before(void **state)
{
    (void)state;
    move_half();
    fail_over_by_hand();
    struct order_status status;
    run_to_done(SOURCE_REPLICA, TARGET, &status);
    check_keys(&cluster.nodes[TARGET]);
    assert_true(target_is_ok(&cluster.nodes[TARGET]));
}

static int64_t killed_ms;
static int64_t promoted_ms;

static bool kill_source_after_three(void *user, const struct slot_mover *mover)
{
    (void)user;
    (void)mover;
    if (killed_ms == 0 && driver_migrate_count(driver) >= 3) {
        cluster_kill(&cluster, SOURCE);
        killed_ms = real_now_ms();
    }
    if (killed_ms != 0 && promoted_ms == 0 && successor_is_primary(NULL)) {
        promoted_ms = real_now_ms();
    }
    return false;
}

/* kill -9 of the source while the mover runs: the target is repaired within 2 s of the promotion.
 */
static void repairs_the_target_after_the_source_was_killed(void **state)
{
    (void)state;
    killed_ms = 0;
    promoted_ms = 0;
    struct order order;
    make(&order, SOURCE, TARGET);
    struct order_status status;
    driver_run(driver, &order, kill_source_after_three, NULL, &status);
    assert_int_equal(status.state, ORDER_FAILED);
    assert_int_equal(status.reason_code, ERR_CONFLICT);
    assert_true(promoted_ms > 0);
    assert_true(wait_until(target_is_ok, &cluster.nodes[TARGET]));
    assert_in_range(real_now_ms() - promoted_ms, 0, REPAIR_MS_MAX);
    run_to_done(SOURCE_REPLICA, TARGET, &status);
    check_keys(&cluster.nodes[TARGET]);
}

/* ---- the source sleeps through its own failover ---- */

#define NEW_KEYS 20

static pid_t waker;

/* Runs beside the mover: waits for the successor, writes to it as a client would, wakes the source
 * up. Its exit code says whether the writes were acknowledged. */
static int wake_after_writes(void)
{
    redisContext *link = redisConnect("127.0.0.1", cluster.nodes[SOURCE_REPLICA].address.port);
    int64_t give_up_ms = real_now_ms() + 60000;
    int written = 0;
    while (link != NULL && link->err == 0 && written < NEW_KEYS && real_now_ms() < give_up_ms) {
        redisReply *reply = redisCommand(link, "SET {%s}new-%d value", tag, written);
        if (reply != NULL && reply->type == REDIS_REPLY_STATUS) {
            written++;
        } else {
            nap_ms(5); /* a replica yet, or its cluster_state is not ok yet */
        }
        freeReplyObject(reply);
    }
    (void)kill(source()->pid, SIGCONT);
    return written == NEW_KEYS ? 0 : 1;
}

/* Puts the source to sleep once its last key has moved, before it is asked for its proof. */
static bool sleep_when_empty(void *user, const struct slot_mover *mover)
{
    (void)user;
    (void)mover;
    if (waker == 0 && driver_migrate_count(driver) >= 3 && keys_in_slot(source(), slot) == 0) {
        (void)kill(source()->pid, SIGSTOP);
        waker = fork();
        if (waker == 0) {
            _exit(wake_after_writes());
        }
        assert_true(waker > 0);
    }
    return false;
}

/* It wakes up with the question for its proof before it and does not know of its successor yet: it
 * still owns the slot, marks it, and holds no key of it. But the successor has been written to. */
static void believes_no_source_that_slept_through_its_failover(void **state)
{
    (void)state;
    waker = 0;
    struct order order;
    struct order_status status;
    make(&order, SOURCE, TARGET);
    driver_run(driver, &order, sleep_when_empty, NULL, &status);
    assert_true(waker > 0);
    int result = 0;
    assert_int_equal(waitpid(waker, &result, 0), waker);
    assert_int_equal(result, 0);
    assert_true(wait_until(source_is_replica, NULL));
    if (status.state != ORDER_FAILED || status.reason_code != ERR_CONFLICT) {
        fail_msg("%s: %s", order_state_name(status.state), status.reason);
    }
    run_to_done(SOURCE_REPLICA, TARGET, &status);
    assert_int_equal(keys_in_slot(&cluster.nodes[TARGET], slot), KEYS + NEW_KEYS);
    for (int i = 0; i < NEW_KEYS; i++) {
        redisReply *reply = node_ask(&cluster.nodes[TARGET], "GET {%s}new-%d", tag, i);
        assert_int_equal(reply->type, REDIS_REPLY_STRING);
        freeReplyObject(reply);
    }
}

/* ---- the target fails over in mid-slot ---- */

static bool replica_of_target_is_primary(void *user)
{
    (void)user;
    redisReply *reply = node_ask(&cluster.nodes[TARGET_REPLICA], "CLUSTER NODES");
    bool is_primary = strstr(reply->str, "myself,master") != NULL;
    freeReplyObject(reply);
    return is_primary;
}

static bool source_knows_new_target(void *user)
{
    (void)user;
    return strcmp(owner_in_view(source(), 11000).text, cluster.nodes[TARGET_REPLICA].id.text) == 0;
}

/* The promoted replica of the target imports the rest: the source's mark names the old one, which
 * is no stranger. */
static void goes_on_with_the_successor_of_the_target(void **state)
{
    (void)state;
    struct order order;
    struct order_status status;
    order_make(&order, &cluster, SOURCE, TARGET,
               "11000-11010"); /* a primary without slots is not replaced */
    driver_run(driver, &order, NULL, NULL, &status);
    assert_int_equal(status.state, ORDER_DONE);
    move_half();
    int64_t moved = keys_in_slot(&cluster.nodes[TARGET], slot);
    assert_int_equal(node_ask_int(&cluster.nodes[TARGET], "WAIT 1 2000") >= 0, 1);
    nap_ms(200);
    assert_true(keys_in_slot(&cluster.nodes[TARGET_REPLICA], slot) == moved);
    cluster_kill(&cluster, TARGET);
    assert_true(wait_until(replica_of_target_is_primary, NULL));
    assert_true(wait_until(source_knows_new_target, NULL));
    assert_true(wait_until(target_is_ok, &cluster.nodes[TARGET_REPLICA]));
    assert_true(wait_until(target_is_ok, source()));
    run_to_done(SOURCE, TARGET_REPLICA, &status);
    check_keys(&cluster.nodes[TARGET_REPLICA]);
}

/* ---- the last slot ---- */

/* A source that loses its last slot may become a replica of the target on the spot: that is an end,
 * not an error. */
static void takes_the_last_slot(void **state)
{
    (void)state;
    struct order order;
    struct order_status status;
    order_make(&order, &cluster, SOURCE, TARGET, "10922-16383");
    driver_run(driver, &order, NULL, NULL, &status);
    if (status.state != ORDER_DONE) {
        fail_msg("%s: %s", order_state_name(status.state), status.reason);
    }
    check_keys(&cluster.nodes[TARGET]);
}

/* A login that MIGRATE cannot use ends the order at once. */
static void fails_at_once_without_the_password(void **state)
{
    (void)state;
    struct cluster locked;
    cluster_start(&locked, &(struct cluster_options){
                               .primaries = 1, .empty_primaries = 1, .password = "sesame"});
    struct driver *stranger = driver_new(NULL);
    struct driver *member = driver_new("sesame");
    struct order order;
    struct order_status status;
    node_order(&locked.nodes[0], "SET {t}1 v");
    order_make(&order, &locked, 0, 1, "15891");
    driver_run(stranger, &order, NULL, NULL, &status);
    assert_int_equal(status.state, ORDER_FAILED);
    assert_int_equal(status.reason_code, ERR_AUTH);
    order_make(&order, &locked, 0, 1, "0-16383");
    driver_run(member, &order, NULL, NULL, &status);
    assert_int_equal(status.state, ORDER_DONE);
    assert_int_equal(status.keys_moved, 1);
    driver_free(stranger);
    driver_free(member);
    cluster_stop(&locked);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(waits_for_the_targets_replica, start, stop),
        cmocka_unit_test_setup_teardown(goes_on_without_a_dead_replica, start, stop),
        cmocka_unit_test_setup_teardown(repairs_the_target_after_a_failover_of_the_source, start,
                                        stop),
        cmocka_unit_test_setup_teardown(takes_over_from_the_successor_without_a_repair_before,
                                        start, stop),
        cmocka_unit_test_setup_teardown(repairs_the_target_after_the_source_was_killed, start,
                                        stop),
        cmocka_unit_test_setup_teardown(believes_no_source_that_slept_through_its_failover, start,
                                        stop),
        cmocka_unit_test_setup_teardown(goes_on_with_the_successor_of_the_target, start, stop),
        cmocka_unit_test_setup_teardown(takes_the_last_slot, start, stop),
        cmocka_unit_test(fails_at_once_without_the_password),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
