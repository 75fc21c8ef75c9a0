/* test_mover_epochs.c — the slot mover while the source's config epoch rises and the target has not
 * heard of it: no claim that the source takes back, no key lost. On Redis and on Valkey.
 *
 * Gossip is slowed down at the target: it drops the pings of others, so that it hears of them only
 * by the answers to its own. */
#include "helper_mover.h"

#include "common/model/nodes_text.h"

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define KEYS 50
#define ROUNDS 2
#define WAIT_MS 60000

enum { SOURCE = 0, OTHER = 1, TARGET = 3 };

static struct cluster cluster;
static struct driver *driver;

/* One round. */
static int slot;
static int migrates_before;
static bool is_raised;
static bool is_claimed;
static bool was_stale; /* the target had not heard of the source's new config epoch */
static bool has_waited;

static struct cluster_node *node(int index)
{
    return &cluster.nodes[index];
}

static int64_t info_of(int index, const char *field)
{
    redisReply *reply = node_ask(node(index), "CLUSTER INFO");
    const char *found = strstr(reply->str, field);
    assert_non_null(found);
    int64_t value = strtoll(found + strlen(field) + 1, NULL, 10);
    freeReplyObject(reply);
    return value;
}

/* The source's config epoch as the target lists it. */
static int64_t source_epoch_at_target(void)
{
    redisReply *reply = node_ask(node(TARGET), "CLUSTER NODES");
    struct nodes_view view = {0};
    assert_int_equal(nodes_view_parse(&view, reply->str, reply->len, NULL), 0);
    int row = nodes_view_find(&view, &node(SOURCE)->id);
    assert_int_not_equal(row, NODES_NO_ROW);
    int64_t epoch = (int64_t)view.rows[row].config_epoch;
    nodes_view_release(&view);
    freeReplyObject(reply);
    return epoch;
}

static void bump(int index)
{
    freeReplyObject(node_ask(node(index), "CLUSTER BUMPEPOCH"));
}

/* Another primary raises its config epoch, the source hears of it and raises its own above that. */
static void raise_source(void)
{
    bump(OTHER);
    int64_t give_up_ms = real_now_ms() + WAIT_MS;
    while (info_of(SOURCE, "cluster_current_epoch") < info_of(OTHER, "cluster_my_epoch")) {
        assert_true(real_now_ms() < give_up_ms);
        nap_ms(10);
    }
    bump(SOURCE);
    was_stale = was_stale ||
                info_of(TARGET, "cluster_current_epoch") + 1 < info_of(SOURCE, "cluster_my_epoch");
}

/* The agent is slow: between claim and release the target hears what the source says. */
static void be_slow(void)
{
    int64_t give_up_ms = real_now_ms() + WAIT_MS;
    while (source_epoch_at_target() < info_of(SOURCE, "cluster_my_epoch")) {
        assert_true(real_now_ms() < give_up_ms);
        nap_ms(50);
    }
    nap_ms(100);
}

static bool watch(void *user, const struct slot_mover *mover)
{
    (void)user;
    struct order_status status;
    slot_mover_status(mover, &status);
    has_waited = has_waited || strstr(status.reason, "waits: ") != NULL;
    if (!is_raised && driver_migrate_count(driver) > migrates_before) {
        is_raised = true;
        raise_source();
    } else if (is_raised && !is_claimed) {
        struct node_id owner = owner_in_view(node(TARGET), slot);
        is_claimed = node_id_is_equal(&owner, &node(TARGET)->id);
        if (is_claimed) {
            be_slow();
        }
    }
    return false;
}

static void choose_slot(int round, char *tag, size_t size)
{
    struct node_id owner;
    int i = round * 1000;
    do {
        (void)snprintf(tag, size, "{%d}", i++);
        slot = (int)node_ask_int(node(SOURCE), "CLUSTER KEYSLOT %s", tag);
        owner = owner_in_view(node(SOURCE), slot);
    } while (!node_id_is_equal(&owner, &node(SOURCE)->id));
}

static void run_round(int round)
{
    char tag[16];
    char text[16];
    struct order order;
    struct order_status status;
    choose_slot(round, tag, sizeof(tag));
    for (int i = 0; i < KEYS; i++) {
        node_order(node(SOURCE), "SET %s%d value", tag, i);
    }
    is_raised = false;
    is_claimed = false;
    migrates_before = driver_migrate_count(driver);
    (void)snprintf(text, sizeof(text), "%d", slot);
    order_make(&order, &cluster, SOURCE, TARGET, text);
    node_order(node(TARGET), "DEBUG DROP-CLUSTER-PACKET-FILTER 0");
    driver_run(driver, &order, watch, NULL, &status);
    node_order(node(TARGET), "DEBUG DROP-CLUSTER-PACKET-FILTER -1");
    if (status.state != ORDER_DONE) {
        fail_msg("%s: %s", order_state_name(status.state), status.reason);
    }
    assert_true(is_raised);
    assert_int_equal(keys_in_slot(node(TARGET), slot), KEYS);
    for (int i = 0; i < KEYS; i++) {
        redisReply *reply = node_ask(node(TARGET), "GET %s%d", tag, i);
        assert_int_equal(reply->type, REDIS_REPLY_STRING);
        freeReplyObject(reply);
    }
    assert_true(info_of(TARGET, "cluster_my_epoch") > info_of(SOURCE, "cluster_my_epoch"));
}

static int start(void **state)
{
    const char *server = *state;
    if (access(server, X_OK) == 0) {
        cluster_start(
            &cluster,
            &(struct cluster_options){
                .primaries = 3, .empty_primaries = 1, .node_timeout_ms = 15000, .server = server});
        driver = driver_new(NULL);
    }
    return 0;
}

static int stop(void **state)
{
    (void)state;
    if (driver != NULL) {
        driver_free(driver);
        cluster_stop(&cluster);
        driver = NULL;
    }
    return 0;
}

static void keeps_every_key_when_the_source_raises_its_epoch(void **state)
{
    if (driver == NULL) {
        print_message("skipped: %s is not there\n", (const char *)*state);
        return;
    }
    was_stale = false;
    has_waited = false;
    struct order order;
    struct order_status status;
    order_make(&order, &cluster, OTHER, TARGET, "9000-9010"); /* not to lose the first slot */
    driver_run(driver, &order, NULL, NULL, &status);
    assert_int_equal(status.state, ORDER_DONE);
    for (int round = 0; round < ROUNDS; round++) {
        run_round(round);
    }
    print_message("    the target %s; the mover %s\n",
                  was_stale ? "was behind" : "had always heard of all but the last",
                  has_waited ? "waited" : "did not need to wait");
}

int main(void)
{
    static char redis[] = "/usr/bin/redis-server";
    static char valkey[] = "/usr/bin/valkey-server";
#define TEST(name, server) cmocka_unit_test_prestate_setup_teardown(name, start, stop, server)
    const struct CMUnitTest tests[] = {
        TEST(keeps_every_key_when_the_source_raises_its_epoch, redis),
        TEST(keeps_every_key_when_the_source_raises_its_epoch, valkey),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
