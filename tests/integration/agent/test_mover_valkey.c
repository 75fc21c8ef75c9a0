/* test_mover_valkey.c — the slot mover where each SETSLOT waits for replicas: Valkey, every primary
 * with one. Every key arrives, replicas know every owner and keep no mark, cut anywhere or not. */
#include "helper_mover.h"

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define SERVER "/usr/bin/valkey-server"

/* Primaries 0 and 1 with slots, 2 empty; 3, 4, 5 replicate them. */
static struct cluster pairs;
static struct driver *driver;

static void fill(int first, int last)
{
    for (int i = first; i <= last; i++) {
        for (int k = 0; k < 5; k++) {
            node_order(&pairs.nodes[0], "SET {%d}%d value", i, k);
        }
    }
}

/* Tags whose keys lie in slots that the first primary owns now. */
static int tags_of_first(struct slotset *slots, int tags[], int wanted)
{
    int count = 0;
    for (int i = 0; count < wanted; i++) {
        int slot = (int)node_ask_int(&pairs.nodes[0], "CLUSTER KEYSLOT %d", i);
        struct node_id owner = owner_in_view(&pairs.nodes[0], slot);
        if (node_id_is_equal(&owner, &pairs.nodes[0].id) && !slotset_has(slots, slot)) {
            slotset_add(slots, slot);
            tags[count++] = i;
        }
    }
    return count;
}

static struct slotset moved;

static bool views_are_right(void *user)
{
    (void)user;
    char marks[512];
    for (int i = 0; i < pairs.count; i++) {
        open_marks(&pairs.nodes[i], marks, sizeof(marks));
        if (marks[0] != '\0') {
            return false;
        }
        SLOTSET_FOREACH (slot, &moved) {
            struct node_id owner = owner_in_view(&pairs.nodes[i], slot);
            if (!node_id_is_equal(&owner, &pairs.nodes[2].id)) {
                return false;
            }
        }
    }
    return true;
}

static void check_moved(const int tags[], int count)
{
    assert_true(wait_until(views_are_right, NULL)); /* replicas hear of it a moment later */
    SLOTSET_FOREACH (slot, &moved) {
        assert_int_equal(keys_in_slot(&pairs.nodes[0], slot), 0);
    }
    for (int i = 0; i < count; i++) {
        for (int k = 0; k < 5; k++) {
            redisReply *reply = node_ask(&pairs.nodes[2], "GET {%d}%d", tags[i], k);
            assert_string_equal(reply->str, "value");
            freeReplyObject(reply);
        }
    }
}

static void make(struct order *order)
{
    order_make(order, &pairs, 0, 2, "");
    order->slots = moved;
}

static void moves_many_slots(void **state)
{
    (void)state;
    int tags[40];
    struct order order;
    struct order_status status;
    slotset_clear(&moved);
    (void)tags_of_first(&moved, tags, 40);
    for (int i = 0; i < 40; i++) {
        fill(tags[i], tags[i]);
    }
    slotset_add_range(&moved, 0, 60);
    make(&order);
    driver_run(driver, &order, NULL, NULL, &status);
    if (status.state != ORDER_DONE) {
        fail_msg("%s: %s", order_state_name(status.state), status.reason);
    }
    assert_true(status.is_replica_synced);
    check_moved(tags, 40);
}

static void cut_anywhere_it_goes_on(void **state)
{
    (void)state;
    for (int pipelines = 5; pipelines < 120; pipelines += 13) {
        int tags[6];
        struct order order;
        struct order_status status;
        slotset_clear(&moved);
        (void)tags_of_first(&moved, tags, 6);
        for (int i = 0; i < 6; i++) {
            fill(tags[i], tags[i]);
        }
        make(&order);
        (void)driver_run_cut(driver, &order, pipelines, &status);
        driver_run(driver, &order, NULL, NULL, &status);
        if (status.state != ORDER_DONE) {
            fail_msg("cut after %d: %s: %s", pipelines, order_state_name(status.state),
                     status.reason);
        }
        check_moved(tags, 6);
    }
}

static bool replica_is_linked(void *user)
{
    (void)user;
    redisReply *reply = node_ask(&pairs.nodes[5], "INFO replication");
    bool is_linked = strstr(reply->str, "master_link_status:up") != NULL;
    freeReplyObject(reply);
    return is_linked;
}

static bool replica_is_marked(void *user)
{
    char wanted[16];
    char marks[512];
    (void)snprintf(wanted, sizeof(wanted), "[%d-<-", *(int *)user);
    open_marks(&pairs.nodes[5], marks, sizeof(marks));
    return strstr(marks, wanted) != NULL;
}

/* Hands the slot over so that the target's replica keeps a mark of it: its link breaks before it
 * has read IMPORTING, the rest is said while it is away, it hears of the new owner by gossip, and
 * then gets IMPORTING from the backlog. */
static void hand_over_past_the_replica(int slot)
{
    struct cluster_node *source = &pairs.nodes[0];
    struct cluster_node *target = &pairs.nodes[2];
    struct cluster_node *replica = &pairs.nodes[5];
    assert_true(wait_until(replica_is_linked, NULL));
    assert_int_equal(kill(replica->pid, SIGSTOP), 0);
    /* It reads this first when it goes on. */
    assert_int_equal(redisAppendCommand(replica->link, "CLIENT KILL TYPE master"), REDIS_OK);
    int is_written = 0;
    while (is_written == 0) {
        assert_int_equal(redisBufferWrite(replica->link, &is_written), REDIS_OK);
    }
    redisReply *reply =
        node_ask(target, "CLUSTER SETSLOT %d IMPORTING %s TIMEOUT 300", slot, source->id.text);
    assert_int_equal(reply->type, REDIS_REPLY_ERROR); /* NOREPLICAS */
    freeReplyObject(reply);
    assert_int_equal(node_ask_int(target, "CLIENT KILL TYPE replica"), 1);
    node_order(target, "CLUSTER SETSLOT %d IMPORTING %s", slot, source->id.text);
    node_order(source, "CLUSTER SETSLOT %d MIGRATING %s", slot, target->id.text);
    node_order(target, "CLUSTER SETSLOT %d NODE %s", slot, target->id.text);
    node_order(source, "CLUSTER SETSLOT %d NODE %s", slot, target->id.text);
    assert_int_equal(kill(replica->pid, SIGCONT), 0);
    void *killed = NULL;
    assert_int_equal(redisGetReply(replica->link, &killed), REDIS_OK);
    freeReplyObject(killed);
    assert_true(wait_until(replica_is_marked, &slot));
    assert_true(wait_until(replica_is_linked, NULL));
}

static void move_again(struct order_status *status)
{
    struct order order;
    make(&order);
    driver_run(driver, &order, NULL, NULL, status);
    if (status->state != ORDER_DONE) {
        fail_msg("%s: %s", order_state_name(status->state), status->reason);
    }
}

/* A mark that only a replica of the target has left goes at the end of a move, also of one that
 * finds everything else done. */
static void takes_away_what_a_replica_got_late(void **state)
{
    (void)state;
    int tag = 0;
    struct order_status status;
    slotset_clear(&moved);
    (void)tags_of_first(&moved, &tag, 1);
    hand_over_past_the_replica(slotset_next(&moved, 0));
    move_again(&status);
    check_moved(&tag, 0);
}

/* A replica that does not answer holds nobody up; its mark goes with the next move of the slot. */
static void waits_for_no_silent_replica(void **state)
{
    (void)state;
    int tag = 0;
    struct order_status status;
    slotset_clear(&moved);
    (void)tags_of_first(&moved, &tag, 1);
    int slot = slotset_next(&moved, 0);
    hand_over_past_the_replica(slot);
    assert_int_equal(kill(pairs.nodes[5].pid, SIGSTOP), 0);
    move_again(&status); /* gives up on it by itself; how soon: unit/agent/test_mover_marks */
    assert_int_equal(kill(pairs.nodes[5].pid, SIGCONT), 0);
    assert_true(replica_is_marked(&slot));
    assert_true(wait_until(replica_is_linked, NULL));
    move_again(&status);
    check_moved(&tag, 0);
}

int main(void)
{
    if (access(SERVER, X_OK) != 0) {
        print_message("skipped: %s is not there\n", SERVER);
        return 0;
    }
    struct cluster_options options = {.primaries = 2,
                                      .empty_primaries = 1,
                                      .replicas = 3,
                                      .replica_of = {0, 1, 2},
                                      .server = SERVER};
    cluster_start(&pairs, &options);
    driver = driver_new(NULL);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(moves_many_slots),
        cmocka_unit_test(cut_anywhere_it_goes_on),
        cmocka_unit_test(takes_away_what_a_replica_got_late),
        cmocka_unit_test(waits_for_no_silent_replica),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    driver_free(driver);
    cluster_stop(&pairs);
    return failed;
}
