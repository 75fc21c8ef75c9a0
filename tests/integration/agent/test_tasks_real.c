/* test_tasks_real.c — a node's life on real servers: joins and refused joins, replicas, failover,
 * removal of the living and the dead.
 *
 * Redis and Valkey (where it is installed) go through it side by side, so that the minute for which
 * members refuse a node they forgot is waited for once. The tests build on each other, in order. */
#include "helper_task.h"

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define KEYS 300
#define BAN_LIMIT_MS 100000

/* Three primaries with all slots, a replica of each of the first two, then lone servers. */
enum {
    FIRST,
    SECOND,
    THIRD,
    FIRST_REPLICA,
    SECOND_REPLICA,
    VIRGIN,
    SPARE,
    LONE_OWNER,
    LONE_KEYS,
    LONE_MEMBER,
    LONE_LOCKED,
    LONE_PLAIN,
    LONE_SHUT,
    NEW_FIRST,
    NEW_SECOND,
    NEW_REPLICA,
};

static struct town {
    const char *server;
    bool is_there;
    struct cluster cluster;
    int join_shut; /* task numbers */
    int leave_replica;
    int leave_empty;
    int leave_dead;
    int leave_half;
} towns[2] = {{.server = "redis-server"}, {.server = "valkey-server"}};
static struct crew *crew;

/* The first with NULL; NULL after the last. */
static struct town *next_town(struct town *town)
{
    for (town = town == NULL ? towns : town + 1; town < towns + 2; town++) {
        if (town->is_there) {
            return town;
        }
    }
    return NULL;
}

static const char library[] =
    "#!lua name=mylib\nredis.register_function('myfunc', function(keys, args) return 42 end)";

static bool is_installed(const char *server)
{
    char path[64];
    (void)snprintf(path, sizeof(path), "/usr/bin/%s", server);
    return access(path, X_OK) == 0;
}

static struct cluster_node *node_of(struct town *town, int node)
{
    return &town->cluster.nodes[node];
}

static void make(struct task *task, struct town *town, enum task_kind kind, int node, int peer)
{
    task_make(task, &town->cluster, kind, node, peer);
}

static void build(struct town *town)
{
    static const char *const locked[] = {"--requirepass", "else", NULL};
    static const char *const plain[] = {"--cluster-enabled", "no", NULL};
    static const char *const shut[] = {"--cluster-announce-bus-port", "1", NULL};
    struct cluster *cluster = &town->cluster;
    cluster_start(cluster, &(struct cluster_options){.primaries = 3,
                                                     .replicas = 2,
                                                     .replica_of = {FIRST, SECOND},
                                                     .node_timeout_ms = 2000,
                                                     .server = town->server});
    assert_int_equal(cluster_add(cluster, NULL), VIRGIN);
    assert_int_equal(cluster_add(cluster, NULL), SPARE);
    assert_int_equal(cluster_add(cluster, NULL), LONE_OWNER);
    assert_int_equal(cluster_add(cluster, NULL), LONE_KEYS);
    assert_int_equal(cluster_add(cluster, NULL), LONE_MEMBER);
    assert_int_equal(cluster_add(cluster, locked), LONE_LOCKED);
    assert_int_equal(cluster_add(cluster, plain), LONE_PLAIN);
    assert_int_equal(cluster_add(cluster, shut), LONE_SHUT);
    assert_int_equal(cluster_add(cluster, NULL), NEW_FIRST);
    assert_int_equal(cluster_add(cluster, NULL), NEW_SECOND);
    assert_int_equal(cluster_add(cluster, NULL), NEW_REPLICA);
    for (int i = FIRST; i <= THIRD; i++) {
        redisReply *reply = node_ask(node_of(town, i), "FUNCTION LOAD %s", library);
        assert_int_equal(reply->type, REDIS_REPLY_STRING);
        freeReplyObject(reply);
    }
}

static int set_up(void **state)
{
    (void)state;
    crew = crew_new();
    for (struct town *town = towns; town < towns + 2; town++) {
        town->is_there = is_installed(town->server);
        if (town->is_there) {
            build(town);
        } else {
            print_message("%s is not installed: not tested with it\n", town->server);
        }
    }
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    crew_free(crew);
    for (struct town *town = next_town(NULL); town != NULL; town = next_town(town)) {
        cluster_stop(&town->cluster);
    }
    return 0;
}

static bool lists(struct cluster_node *member, const struct node_id *id)
{
    redisReply *reply = node_ask(member, "CLUSTER NODES");
    bool has = strstr(reply->str, id->text) != NULL;
    freeReplyObject(reply);
    return has;
}

/* Running servers of the cluster that name the node, itself left out. */
static int listing_count(struct town *town, const struct node_id *id)
{
    int count = 0;
    for (int i = 0; i <= SPARE; i++) {
        struct cluster_node *member = node_of(town, i);
        bool is_itself = strcmp(member->id.text, id->text) == 0;
        count += member->pid != 0 && !is_itself && lists(member, id);
    }
    return count;
}

/* The same, of those that stay to the end. */
static int kept_count(struct town *town, int node)
{
    static const int kept[] = {FIRST, SECOND, VIRGIN};
    int count = 0;
    for (int i = 0; i < 3; i++) {
        count += lists(node_of(town, kept[i]), &node_of(town, node)->id);
    }
    return count;
}

static bool is_ok(void *user)
{
    redisReply *reply = node_ask(user, "CLUSTER INFO");
    bool is = strstr(reply->str, "cluster_state:ok") != NULL;
    freeReplyObject(reply);
    return is;
}

static bool knows_two(void *user)
{
    redisReply *reply = node_ask(user, "CLUSTER NODES");
    const char *newline = strchr(reply->str, '\n');
    bool is = newline != NULL && newline[1] != '\0' && strstr(reply->str, "handshake") == NULL;
    freeReplyObject(reply);
    return is;
}

/* Refusals are begun together and looked at together: some take a while to be sure. */
static struct expectation {
    const char *server;
    int number;
    int code;
    const char *part;
} expectations[32];
static int expectation_count;

static void expect_refused(struct town *town, const struct task *task, int code, const char *part)
{
    assert_true(expectation_count < 32);
    expectations[expectation_count++] =
        (struct expectation){town->server, crew_start(crew, task), code, part};
}

static void check_refused(void)
{
    for (int i = 0; i < expectation_count; i++) {
        const struct expectation *wanted = &expectations[i];
        struct order_status status;
        (void)crew_wait(crew, wanted->number, BAN_LIMIT_MS, &status);
        if (status.state != ORDER_FAILED || status.reason_code != wanted->code ||
            strstr(status.reason, wanted->part) == NULL) {
            fail_msg("%s: wanted \"%s\", got %s, code %d: %s", wanted->server, wanted->part,
                     order_state_name(status.state), status.reason_code, status.reason);
        }
        assert_int_equal(crew_change_count(crew, wanted->number), 0);
    }
    expectation_count = 0;
}

/* ---- joining ---- */

/* DESIGN 7: everybody lists it, functions are there, and a second run changes nothing. */
static void joins_a_virgin_node(void **state)
{
    (void)state;
    for (struct town *town = next_town(NULL); town != NULL; town = next_town(town)) {
        struct task task;
        make(&task, town, TASK_JOIN, VIRGIN, FIRST);
        task.node = (struct node_id){""}; /* known by its address only */
        crew_do(crew, &task);
        assert_int_equal(listing_count(town, &node_of(town, VIRGIN)->id), 5);
        assert_int_equal(node_ask_int(node_of(town, VIRGIN), "FCALL myfunc 0"), 42);
        struct order_status status;
        int again = crew_start(crew, &task);
        (void)crew_wait(crew, again, 20000, &status);
        assert_int_equal(status.state, ORDER_DONE);
        assert_int_equal(crew_change_count(crew, again), 0);
        make(&task, town, TASK_JOIN, SPARE, SECOND);
        crew_do(crew, &task);
    }
}

/* Takes a node out by hand, so that it may join once more. */
static void throw_out(struct town *town, int node)
{
    struct cluster_node *out = node_of(town, node);
    struct node_id id = out->id;
    node_order(out, "CLUSTER RESET HARD");
    for (int i = FIRST; i <= SECOND_REPLICA; i++) {
        node_order(node_of(town, i), "CLUSTER FORGET %s", id.text);
    }
    redisReply *reply = node_ask(out, "CLUSTER MYID");
    (void)snprintf(out->id.text, sizeof(out->id.text), "%s", reply->str);
    freeReplyObject(reply);
}

/* As after kill -9 of the agent: whatever was sent, the same order given again ends it. */
static void ends_a_join_that_was_cut_anywhere(void **state)
{
    (void)state;
    for (struct town *town = next_town(NULL); town != NULL; town = next_town(town)) {
        bool was_cut = true;
        for (int pipelines = 1; was_cut; pipelines += 9) { /* every one: test_tasks_cut.c */
            struct task task;
            struct order_status status;
            make(&task, town, TASK_JOIN, SPARE, FIRST);
            int number = crew_start_cut(crew, &task, pipelines);
            was_cut = !crew_wait(crew, number, 60000, &status);
            crew_do(crew, &task);
            assert_int_equal(listing_count(town, &node_of(town, SPARE)->id), 5);
            throw_out(town, SPARE);
            assert_true(pipelines < 1000);
        }
    }
}

/* As `create` does it: all met, slots and epochs given, a replica. */
static void makes_a_cluster(void **state)
{
    (void)state;
    for (struct town *town = next_town(NULL); town != NULL; town = next_town(town)) {
        struct task task;
        struct order_status status;
        make(&task, town, TASK_JOIN, NEW_SECOND, NEW_FIRST);
        crew_do(crew, &task);
        make(&task, town, TASK_JOIN, NEW_REPLICA, NEW_FIRST);
        crew_do(crew, &task);
        int numbers[2];
        for (int i = 0; i < 2; i++) {
            make(&task, town, TASK_ADD_SLOTS, NEW_FIRST + i, NEW_FIRST);
            slotset_add_range(&task.slots, i * 8192, i * 8192 + 8191);
            task.flags = TASK_EPOCH;
            (void)snprintf(task.detail, sizeof(task.detail), "%d", i + 1);
            numbers[i] = crew_start(crew, &task);
        }
        for (int i = 0; i < 2; i++) {
            (void)crew_wait(crew, numbers[i], 60000, &status);
            assert_int_equal(status.state, ORDER_DONE);
        }
        make(&task, town, TASK_REPLICATE, NEW_REPLICA, NEW_SECOND);
        crew_do(crew, &task);
        for (int i = NEW_FIRST; i <= NEW_REPLICA; i++) {
            assert_true(wait_until(is_ok, node_of(town, i)));
        }
        make(&task, town, TASK_MEET, NEW_SECOND, NEW_FIRST);
        crew_do(crew, &task); /* they know each other already */
        make(&task, town, TASK_MEET, NEW_SECOND, FIRST);
        expect_refused(town, &task, ERR_REFUSED, "two owners");
        check_refused();
    }
}

/* A node whose bus port nobody can reach: the join ends after a minute; looked at far below. Not in
 * the cluster of SPARE: half way in the node would go on meeting members whom it has heard of, and
 * a server that was reset by hand takes over all nodes that such a MEET names. */
static void begins_a_join_that_cannot_end(void **state)
{
    (void)state;
    for (struct town *town = next_town(NULL); town != NULL; town = next_town(town)) {
        struct task task;
        make(&task, town, TASK_JOIN, LONE_SHUT, NEW_FIRST);
        town->join_shut = crew_start(crew, &task);
    }
}

/* A used node would take its slots and keys into the cluster, or lose them: nobody meets it. */
static void refuses_used_nodes(void **state)
{
    (void)state;
    for (struct town *town = next_town(NULL); town != NULL; town = next_town(town)) {
        struct task task;
        struct cluster_node *owner = node_of(town, LONE_OWNER);
        node_order(owner, "CLUSTER ADDSLOTSRANGE 0 16383");
        assert_true(wait_until(is_ok, owner));
        for (int i = 0; i < KEYS; i++) {
            node_order(owner, "SET key:%d value", i);
        }
        make(&task, town, TASK_JOIN, LONE_OWNER, FIRST);
        expect_refused(town, &task, ERR_REFUSED, "owns 16384 slots");
        check_refused();
        assert_int_equal(node_ask_int(owner, "DBSIZE"), KEYS);

        struct cluster_node *keys = node_of(town, LONE_KEYS);
        node_order(keys, "CLUSTER ADDSLOTSRANGE 0 16383");
        assert_true(wait_until(is_ok, keys));
        node_order(keys, "SET foo bar");
        node_order(keys, "CLUSTER DELSLOTSRANGE 0 16383");
        make(&task, town, TASK_JOIN, LONE_KEYS, FIRST);
        expect_refused(town, &task, ERR_REFUSED, "holds 1 keys");

        node_order(owner, "CLUSTER MEET 127.0.0.1 %d", node_of(town, LONE_MEMBER)->address.port);
        assert_true(wait_until(knows_two, node_of(town, LONE_MEMBER)));
        make(&task, town, TASK_JOIN, LONE_MEMBER, FIRST);
        expect_refused(town, &task, ERR_REFUSED, "belongs to another cluster");
        check_refused();
        assert_int_equal(listing_count(town, &owner->id), 0);
        assert_int_equal(node_ask_int(owner, "DBSIZE"), KEYS);
    }
}

static void refuses_nodes_that_cannot_be_members(void **state)
{
    (void)state;
    for (struct town *town = next_town(NULL); town != NULL; town = next_town(town)) {
        struct task task;
        make(&task, town, TASK_JOIN, LONE_LOCKED, FIRST);
        expect_refused(town, &task, ERR_AUTH, "password");
        make(&task, town, TASK_JOIN, LONE_PLAIN, FIRST);
        expect_refused(town, &task, ERR_REFUSED, "cluster-enabled yes");
    }
    if (towns[0].is_there && towns[1].is_there) {
        struct task task; /* Redis 7.0 is older than what Valkey 8 writes */
        make(&task, &towns[1], TASK_JOIN, LONE_KEYS, FIRST);
        task.node = node_of(&towns[0], LONE_KEYS)->id;
        task.node_address = node_of(&towns[0], LONE_KEYS)->address;
        expect_refused(&towns[1], &task, ERR_VERSION, "older");
    }
    check_refused();
}

/* ---- replicas ---- */

static bool has_info(struct cluster_node *node, const char *part)
{
    redisReply *reply = node_ask(node, "INFO replication");
    bool has = strstr(reply->str, part) != NULL;
    freeReplyObject(reply);
    return has;
}

static void replicates_and_takes_over(void **state)
{
    (void)state;
    for (struct town *town = next_town(NULL); town != NULL; town = next_town(town)) {
        struct task task;
        for (int i = 0; i < KEYS; i++) {
            node_order(node_of(town, THIRD), "SET {t}%d value", i);
        }
        make(&task, town, TASK_REPLICATE, SECOND, THIRD);
        expect_refused(town, &task, ERR_REFUSED, "owns");
        make(&task, town, TASK_REPLICATE, VIRGIN, FIRST_REPLICA);
        expect_refused(town, &task, ERR_CONFLICT, "is a replica itself");
        check_refused();
        make(&task, town, TASK_REPLICATE, VIRGIN, THIRD);
        crew_do(crew, &task);
        assert_int_equal(node_ask_int(node_of(town, VIRGIN), "DBSIZE"), KEYS);

        make(&task, town, TASK_FAILOVER, VIRGIN, FIRST);
        expect_refused(town, &task, ERR_CONFLICT, "replicates");
        check_refused();
        make(&task, town, TASK_FAILOVER, VIRGIN, THIRD);
        crew_do(crew, &task);
        assert_true(has_info(node_of(town, VIRGIN), "role:master"));
        assert_true(has_info(node_of(town, THIRD), "role:slave"));
        assert_string_equal(owner_in_view(node_of(town, FIRST), 16383).text,
                            node_of(town, VIRGIN)->id.text);
        crew_do(crew, &task); /* done already */
    }
}

/* ---- leaving ---- */

static void refuses_to_forget_who_is_needed(void **state)
{
    (void)state;
    for (struct town *town = next_town(NULL); town != NULL; town = next_town(town)) {
        struct task task;
        make(&task, town, TASK_LEAVE, SECOND, FIRST);
        expect_refused(town, &task, ERR_REFUSED, "slots: drain it first");
        make(&task, town, TASK_LEAVE, SPARE, FIRST);
        task.flags = TASK_DEAD;
        expect_refused(town, &task, ERR_REFUSED, "is not dead");
        check_refused();
        assert_int_equal(listing_count(town, &node_of(town, SPARE)->id), 6);
    }
}

/* A dead primary with slots or with a replica that lives must not be forgotten. */
static void refuses_to_forget_the_dead_who_are_needed(void **state)
{
    (void)state;
    for (struct town *town = next_town(NULL); town != NULL; town = next_town(town)) {
        struct task task;
        cluster_kill(&town->cluster, SECOND_REPLICA);
        make(&task, town, TASK_LEAVE, SECOND, FIRST);
        task.node_address.port = 1; /* nobody answers there: as seen by an agent without a route */
        task.flags = TASK_DEAD;
        expect_refused(town, &task, ERR_REFUSED, "slots");
        make(&task, town, TASK_LEAVE, SPARE, FIRST);
        task.node_address.port = 1;
        expect_refused(town, &task, ERR_UNAVAILABLE, "remove it as dead");
        task.flags = TASK_DEAD;
        expect_refused(town, &task, ERR_REFUSED, "still have a link");
    }
    check_refused();
}

/* All at once: a replica, an emptied primary, a dead replica, one that another tool half forgot. */
static void forgets_for_good(void **state)
{
    (void)state;
    for (struct town *town = next_town(NULL); town != NULL; town = next_town(town)) {
        struct task task;
        make(&task, town, TASK_LEAVE, THIRD, FIRST); /* VIRGIN's replica by now, with its keys */
        town->leave_replica = crew_start(crew, &task);
        make(&task, town, TASK_LEAVE, SPARE, SECOND);
        town->leave_empty = crew_start(crew, &task);
        cluster_kill(&town->cluster, FIRST_REPLICA);
        node_order(node_of(town, SECOND), "CLUSTER FORGET %s",
                   node_of(town, SECOND_REPLICA)->id.text);
        make(&task, town, TASK_LEAVE, SECOND_REPLICA, FIRST);
        task.flags = TASK_DEAD;
        town->leave_half = crew_start(crew, &task);
        make(&task, town, TASK_LEAVE, FIRST_REPLICA, FIRST);
        task.flags = TASK_DEAD;
        town->leave_dead = crew_start(crew, &task);
    }
    for (struct town *town = next_town(NULL); town != NULL; town = next_town(town)) {
        crew_wait_word(crew, town->leave_replica, 30000, "forgotten by all");
        crew_wait_word(crew, town->leave_empty, 30000, "forgotten by all");
        crew_wait_word(crew, town->leave_half, 30000, "forgotten by all");
        crew_wait_word(crew, town->leave_dead, 30000, "forgotten by all");
        /* Powered on again it still knows everybody, but nobody knows it. */
        cluster_restart(&town->cluster, FIRST_REPLICA);
        assert_int_equal(kept_count(town, FIRST_REPLICA), 0);
    }
    for (struct town *town = next_town(NULL); town != NULL; town = next_town(town)) {
        const int numbers[] = {town->leave_replica, town->leave_empty, town->leave_half,
                               town->leave_dead};
        for (int i = 0; i < 4; i++) {
            struct order_status status;
            (void)crew_wait(crew, numbers[i], BAN_LIMIT_MS, &status);
            if (status.state != ORDER_DONE) {
                fail_msg("%s: task %d: %s: %s", town->server, i, order_state_name(status.state),
                         status.reason);
            }
        }
        assert_int_equal(kept_count(town, FIRST_REPLICA), 0);
        assert_int_equal(kept_count(town, SECOND_REPLICA), 0);
        assert_int_equal(kept_count(town, THIRD), 0);
        assert_int_equal(kept_count(town, SPARE), 0);
        assert_int_equal(node_ask_int(node_of(town, THIRD), "DBSIZE"), 0);
        assert_int_equal(node_ask_int(node_of(town, VIRGIN), "DBSIZE"), KEYS);
    }
}

/* The join that could not end was undone: nobody knows the node, and it knows nobody. */
static void undid_the_join_that_could_not_end(void **state)
{
    (void)state;
    for (struct town *town = next_town(NULL); town != NULL; town = next_town(town)) {
        struct order_status status;
        (void)crew_wait(crew, town->join_shut, BAN_LIMIT_MS, &status);
        assert_int_equal(status.state, ORDER_FAILED);
        assert_int_equal(status.reason_code, ERR_TIMEOUT);
        assert_non_null(strstr(status.reason, "undone"));
        for (int i = NEW_FIRST; i <= NEW_REPLICA; i++) {
            assert_false(lists(node_of(town, i), &node_of(town, LONE_SHUT)->id));
        }
        redisReply *reply = node_ask(node_of(town, LONE_SHUT), "CLUSTER INFO");
        assert_non_null(strstr(reply->str, "cluster_known_nodes:1\r"));
        freeReplyObject(reply);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ends_a_join_that_was_cut_anywhere),
        cmocka_unit_test(joins_a_virgin_node),
        cmocka_unit_test(makes_a_cluster),
        cmocka_unit_test(begins_a_join_that_cannot_end),
        cmocka_unit_test(refuses_used_nodes),
        cmocka_unit_test(refuses_nodes_that_cannot_be_members),
        cmocka_unit_test(replicates_and_takes_over),
        cmocka_unit_test(refuses_to_forget_who_is_needed),
        cmocka_unit_test(refuses_to_forget_the_dead_who_are_needed),
        cmocka_unit_test(forgets_for_good),
        cmocka_unit_test(undid_the_join_that_could_not_end),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
