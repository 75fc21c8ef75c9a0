/* test_mover_claim.c — claims have a deadline: a target that freezes with one unread, and whose
 * replica is elected meanwhile, does not take its shard back when it wakes up. And where drover's
 * user may run no scripts slots are claimed plainly. Redis only; Valkey 8 refuses such a claim
 * itself. */
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

#define KEYS 20
#define NEW_KEYS 20
#define WAIT_MS 60000
#define FAILOVER_MS 5500
#define PATIENCE 4 /* so many times the helper's 20 s for a state */

enum { OTHER = 0, SOURCE = 1, PAIR_FIRST = 2, PAIR_SECOND = 3 };

static struct cluster cluster;
static struct driver *driver;
static int target;    /* of the pair that shares a shard: the one with the smaller id */
static int successor; /* the other */

static char moving_tag[16]; /* of a slot of the source */
static int moving_slot;
static const char shard_tag[] = "{t}"; /* slot 15891, of the pair */

static struct cluster_node *node(int index)
{
    return &cluster.nodes[index];
}

static bool answer_has(int index, const char *command, const char *part)
{
    redisReply *reply = node_ask(node(index), command);
    bool is_there = reply->type == REDIS_REPLY_STRING && strstr(reply->str, part) != NULL;
    freeReplyObject(reply);
    return is_there;
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

/* In the view of every node. */
static bool roles_are_right(void *user)
{
    (void)user;
    char row[NODE_ID_LEN + 16];
    (void)snprintf(row, sizeof(row), "slave %s ", node(target)->id.text);
    bool is_right = answer_has(target, "CLUSTER NODES", "myself,master") &&
                    answer_has(successor, "CLUSTER NODES", "myself,slave") &&
                    answer_has(successor, "INFO replication", "master_link_status:up");
    for (int i = 0; i < cluster.count && is_right; i++) {
        struct node_id owner = owner_in_view(node(i), 15891);
        is_right = node_id_is_equal(&owner, &node(target)->id) &&
                   answer_has(i, "CLUSTER NODES", row) &&
                   answer_has(i, "CLUSTER INFO", "cluster_state:ok");
    }
    return is_right;
}

/* Of two with the same config epoch the one with the smaller id raises its own: that one must be
 * the target. */
static void choose_target(void)
{
    bool is_first = strcmp(node(PAIR_FIRST)->id.text, node(PAIR_SECOND)->id.text) < 0;
    target = is_first ? PAIR_FIRST : PAIR_SECOND;
    successor = is_first ? PAIR_SECOND : PAIR_FIRST;
    int64_t give_up_ms = real_now_ms() + WAIT_MS;
    int64_t again_ms = 0;
    while (!roles_are_right(NULL)) {
        assert_true(real_now_ms() < give_up_ms);
        bool is_due = real_now_ms() >= again_ms; /* a busy machine may miss the server's own 5 s */
        if (is_due && answer_has(target, "CLUSTER NODES", "myself,slave")) {
            freeReplyObject(node_ask(node(target), "CLUSTER FAILOVER"));
            again_ms = real_now_ms() + FAILOVER_MS;
        }
        nap_ms(50);
    }
}

static bool all_have_heard(void *user)
{
    (void)user;
    for (int i = 0; i < cluster.count; i++) {
        if (info_of(i, "cluster_current_epoch") < info_of(OTHER, "cluster_my_epoch")) {
            return false;
        }
    }
    return true;
}

static void fill_a_slot_of_the_source(void)
{
    struct node_id owner;
    int i = 0;
    do {
        (void)snprintf(moving_tag, sizeof(moving_tag), "{%d}", i++);
        moving_slot = (int)node_ask_int(node(SOURCE), "CLUSTER KEYSLOT %s", moving_tag);
        owner = owner_in_view(node(SOURCE), moving_slot);
    } while (!node_id_is_equal(&owner, &node(SOURCE)->id));
    for (int k = 0; k < KEYS; k++) {
        node_order(node(SOURCE), "SET %s%d value", moving_tag, k);
    }
}

static int start_with(int node_timeout_ms)
{
    cluster_start(&cluster, &(struct cluster_options){.primaries = 3,
                                                      .replicas = 1,
                                                      .replica_of = {PAIR_FIRST},
                                                      .node_timeout_ms = node_timeout_ms});
    driver = driver_new(NULL);
    target = PAIR_FIRST;
    fill_a_slot_of_the_source();
    return 0;
}

static int start_with_elections(void **state)
{
    (void)state;
    return start_with(1500);
}

static int start_calmly(void **state)
{
    (void)state;
    return start_with(15000);
}

static int stop(void **state)
{
    (void)state;
    driver_free(driver);
    cluster_stop(&cluster);
    return 0;
}

static void run(int to, struct order_status *status)
{
    struct order order;
    char slots[16];
    (void)snprintf(slots, sizeof(slots), "%d", moving_slot);
    order_make(&order, &cluster, SOURCE, to, slots);
    driver_run(driver, &order, NULL, NULL, status);
}

static void run_to_done(int to)
{
    struct order_status status;
    run(to, &status);
    if (status.state != ORDER_DONE) {
        fail_msg("%s: %s", order_state_name(status.state), status.reason);
    }
    assert_int_equal(keys_in_slot(node(to), moving_slot), KEYS);
    for (int k = 0; k < KEYS; k++) {
        redisReply *reply = node_ask(node(to), "GET %s%d", moving_tag, k);
        assert_int_equal(reply->type, REDIS_REPLY_STRING);
        freeReplyObject(reply);
    }
}

/* ---- a target that freezes with a claim before it ---- */

static pid_t waker;

/* Runs beside the mover: waits for the successor, writes to it as a client would, wakes the target
 * up. Its exit code says whether the writes were acknowledged. */
static int wake_after_writes(void)
{
    redisContext *link = redisConnect("127.0.0.1", node(successor)->address.port);
    int64_t give_up_ms = real_now_ms() + WAIT_MS;
    int written = 0;
    while (link != NULL && link->err == 0 && written < NEW_KEYS && real_now_ms() < give_up_ms) {
        redisReply *reply = redisCommand(link, "SET %snew-%d value", shard_tag, written);
        if (reply != NULL && reply->type == REDIS_REPLY_STATUS) {
            written++;
        } else {
            nap_ms(5); /* a replica yet, or its cluster_state is not ok yet */
        }
        freeReplyObject(reply);
    }
    (void)kill(node(target)->pid, SIGCONT);
    return written == NEW_KEYS ? 0 : 1;
}

static bool is_claim(const struct agent_effect *effect)
{
    bool is_node = commands_arg_is(&effect->commands, 0, 1, "SETSLOT") &&
                   commands_arg_is(&effect->commands, 0, 3, "NODE");
    return address_is_equal(&effect->address, &node(target)->address) &&
           (is_node || commands_arg_is(&effect->commands, 0, 0, "EVAL"));
}

/* The target stands still when the first claim is sent: asked, and not told yet. */
static void freeze_before_claim(void *user, const struct agent_effect *effect)
{
    (void)user;
    if (waker != 0 || !is_claim(effect)) {
        return;
    }
    int how = 0;
    assert_int_equal(kill(node(target)->pid, SIGSTOP), 0);
    assert_int_equal(waitpid(node(target)->pid, &how, WUNTRACED), node(target)->pid);
    assert_true(WIFSTOPPED(how));
    waker = fork();
    if (waker == 0) {
        _exit(wake_after_writes());
    }
    assert_true(waker > 0);
}

static bool target_is_replica(void *user)
{
    (void)user;
    return answer_has(target, "CLUSTER NODES", "myself,slave");
}

static void carries_out_no_claim_late(void **state)
{
    (void)state;
    choose_target();
    freeReplyObject(
        node_ask(node(OTHER), "CLUSTER BUMPEPOCH")); /* the target has not the highest */
    assert_true(wait_until(all_have_heard, NULL));
    waker = 0;
    driver_look_before(driver, freeze_before_claim, NULL);
    struct order_status status;
    run(target, &status);
    driver_look_before(driver, NULL, NULL);
    assert_true(waker > 0);
    int result = 0;
    assert_int_equal(waitpid(waker, &result, 0), waker);
    assert_int_equal(result, 0);
    print_message("    the move to the frozen one ended %s: %s\n", order_state_name(status.state),
                  status.reason);
    bool is_replica = false;
    for (int i = 0; i < PATIENCE && !is_replica; i++) {
        is_replica = wait_until(target_is_replica, NULL);
    }
    if (!is_replica) {
        fail_msg("the target woke up and took its shard back, with %lld of %d keys",
                 (long long)keys_in_slot(node(target), 15891), NEW_KEYS);
    }
    assert_int_equal(status.state, ORDER_FAILED);
    for (int k = 0; k < NEW_KEYS; k++) {
        redisReply *reply = node_ask(node(successor), "GET %snew-%d", shard_tag, k);
        assert_int_equal(reply->type, REDIS_REPLY_STRING);
        freeReplyObject(reply);
    }
    run_to_done(successor);
}

/* ---- no right to run scripts ---- */

static int evals;
static int plain_claims;

static void count_claims(void *user, const struct agent_effect *effect)
{
    (void)user;
    if (is_claim(effect)) {
        bool is_eval = commands_arg_is(&effect->commands, 0, 0, "EVAL");
        evals += is_eval;
        plain_claims += !is_eval;
    }
}

static void claims_plainly_without_the_right(void **state)
{
    (void)state;
    static const char *const rules[] = {"+eval", "-eval", "-time"};
    for (size_t i = 0; i < sizeof(rules) / sizeof(rules[0]); i++) {
        evals = 0;
        plain_claims = 0;
        target = i % 2 == 0 ? PAIR_FIRST : OTHER;
        node_order(node(target), "ACL SETUSER default allcommands");
        node_order(node(target), "ACL SETUSER default %s", rules[i]);
        driver_look_before(driver, count_claims, NULL);
        fill_a_slot_of_the_source();
        run_to_done(target);
        assert_int_equal(evals > 0, i != 2);
        assert_int_equal(plain_claims > 0, i != 0);
    }
}

int main(void)
{
#define TEST(name, begin) cmocka_unit_test_setup_teardown(name, begin, stop)
    const struct CMUnitTest tests[] = {
        TEST(carries_out_no_claim_late, start_with_elections),
        TEST(claims_plainly_without_the_right, start_calmly),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
