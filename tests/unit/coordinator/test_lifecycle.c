/* test_lifecycle.c — add, remove, scale, replicate, failover, create: who does what next, as
 * transcripts of whole operations on a model. The rules are those of docs/lifecycle.md. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "tests/unit/coordinator/helper_lifecycle.h"

#include "common/base/alloc.h"

/* Three shards with a replica each on four hosts in three zones, and two spares. */
#define FLEET                                                                           \
    "a@h1/z1 0-5460; b@h2/z2 5461-10922; c@h3/z3 10923-16383; d@h2/z2 >a; e@h3/z3 >b; " \
    "f@h4/z1 >c"

static struct address address_of(const struct life *life, const char *name)
{
    struct node_id id = life_id(name);
    int node = topology_find(&life->topology, &id);
    assert_int_not_equal(node, NO_NODE);
    return life->topology.nodes[node].address;
}

static void expect(const char *cluster,
                   const struct operation_request *request,
                   const char *transcript)
{
    struct life life;
    life_init(&life, cluster);
    assert_string_equal(life_run(&life, request), transcript);
    life_release(&life);
}

/* Likewise, and a second run has nothing to do. */
static void expect_twice(const char *cluster,
                         const struct operation_request *request,
                         const char *transcript)
{
    struct life life;
    life_init(&life, cluster);
    assert_string_equal(life_run(&life, request), transcript);
    assert_string_equal(life_run(&life, request), "done");
    life_release(&life);
}

static void expect_add(const char *cluster,
                       const char *names,
                       uint32_t flags,
                       const char *transcript)
{
    struct life life;
    struct address addresses[8];
    struct operation_request request = {
        .kind = OPERATION_ADD, .flags = flags, .addresses = addresses};
    life_init(&life, cluster);
    for (const char *c = names; *c != '\0'; c++) {
        char name[2] = {*c, '\0'};
        addresses[request.address_count++] = address_of(&life, name);
    }
    assert_string_equal(life_run(&life, &request), transcript);
    if (strstr(transcript, "done") != NULL) {
        assert_string_equal(life_run(&life, &request), "done");
    }
    life_release(&life);
}

/* --- add ------------------------------------------------------------------------------------- */

/* Nodes join one after the other; then all get slots in one rebalance. */
static void test_add_gives_slots_to_all_at_once(void **state)
{
    (void)state;
    expect_add(FLEET "; s@h4/z1 spare; t@h1/z1 spare", "st", 0,
               "join s\njoin t\nb>s 2185, a>t 2184, c>s 1092, c>t 1092\ndone");
}

static void test_add_without_slots_only_joins(void **state)
{
    (void)state;
    expect_add(FLEET "; s@h4/z1 spare", "s", REQUEST_WITHOUT_SLOTS, "join s\ndone");
}

/* A replica goes to the shard with the fewest, away from its primary's host and zone. */
static void test_add_as_replica_helps_the_poorest(void **state)
{
    (void)state;
    expect_add(
        "a@h1/z1 0-5460; b@h2/z2 5461-10922; c@h3/z3 10923-16383; d@h2/z2 >a; e@h3/z3 >b; "
        "s@h3/z3 spare",
        "s", REQUEST_AS_REPLICA, "join s\nreplicate s>c\ndone");
    expect_add(
        "a@h1/z1 0-5460; b@h2/z2 5461-10922; c@h3/z3 10923-16383; "
        "s@h1/z1 spare; t@h2/z2 spare; u@h3/z3 spare",
        "stu", REQUEST_AS_REPLICA,
        "join s\njoin t\njoin u\nreplicate s>c, replicate t>a, replicate u>b\ndone");
}

/* A node that holds keys or knows others is used: joining would destroy what it has. */
static void test_add_refuses_a_used_node(void **state)
{
    (void)state;
    expect_add(
        FLEET "; s@h4/z1 spare +keys=7", "s", 0,
        "refused: h4:7007 is used: it has keys; empty it first (FLUSHALL, then CLUSTER RESET "
        "HARD), its data would be lost");
}

/* While anything is unsettled, nothing begins, and the sentence says what. */
static void test_add_waits_for_a_settled_cluster(void **state)
{
    (void)state;
    expect_add("a@h1/z1 0-5460; b@h2/z2 5461-10922 +dead; c@h3/z3 10923-16383; s@h4 spare", "s", 0,
               "wait: h2:7002 (62000000) is out of reach: last report 0 s ago");
}

/* --- remove ---------------------------------------------------------------------------------- */

static struct operation_request remove_of(const char *name, const char *target, uint32_t flags)
{
    struct operation_request request = {
        .kind = OPERATION_REMOVE, .node = life_id(name), .flags = flags};
    if (target[0] != '\0') {
        request.target = life_id(target);
    }
    return request;
}

static void expect_remove(const char *cluster,
                          const char *name,
                          const char *target,
                          uint32_t flags,
                          const char *transcript)
{
    struct operation_request request = remove_of(name, target, flags);
    if (strstr(transcript, "done") != NULL) {
        expect_twice(cluster, &request, transcript);
    } else {
        expect(cluster, &request, transcript);
    }
}

#define FOUR                                                                                   \
    "a@h1/z1 0-4095; b@h2/z2 4096-8191; c@h3/z3 8192-12287; d@h4/z1 12288-16383; e@h2/z2 >a; " \
    "f@h3/z3 >b; g@h1/z1 >c; h@h3/z3 >d"

/* Slots first, in one pass; then its replica gets another primary; then it leaves. */
static void test_remove_primary(void **state)
{
    (void)state;
    expect_remove(FOUR, "d", "", 0, "d>a 1366, d>b 1365, d>c 1365\nreplicate h>a\nleave d\ndone");
}

/* Who has no room gets no more than fits; when nobody has room it is refused with numbers. */
static void test_remove_looks_at_memory(void **state)
{
    (void)state;
    expect_remove(
        "a@h1 0-5000 +used=700 +max=1000; b@h2 5001-10000 +used=100 +max=1000; "
        "c@h3 10001-15000 +used=100 +max=1000; d@h4 15001-16383 +used=300 +max=1000",
        "d", "", 0, "d>b 642, d>c 641, d>a 100\nleave d\ndone");
    expect_remove(
        "a@h1 0-5000 +used=790 +max=1000; b@h2 5001-10000 +used=790 +max=1000; "
        "c@h3 10001-15000 +used=780 +max=1000; d@h4 15001-16383 +used=300 +max=1000",
        "d", "", 0,
        "refused: 1343 of 1383 slots find no room at the 3 other primaries below 80 % of "
        "maxmemory; raise it or add a node first");
}

/* Redis makes a drained primary a replica of whoever got its last slot, and its replicas go along:
 * what is too much there is evened out, and the node leaves as a replica. */
static void test_remove_primary_that_became_a_replica(void **state)
{
    (void)state;
    struct life life;
    struct lifecycle_answer answer;
    struct operation_request request = remove_of("d", "", 0);
    life_init(&life, FOUR);
    life_step(&life, &request, &answer);
    life_attach(&life, &answer, true);
    lifecycle_answer_release(&answer);
    struct node_id id = life_id("d");
    int d = topology_find(&life.model.topology, &id);
    assert_int_equal(life.model.topology.nodes[d].role, NODE_ROLE_REPLICA);
    struct strbuf text = {0};
    lifecycle_describe(&request, &life.model.facts, &text);
    assert_non_null(strstr(strbuf_text(&text), "step 1: forget h4:7004\nthen it is done"));
    strbuf_release(&text);
    life_release(&life);
}

/* A last primary, or one that others need, stays. */
static void test_remove_refuses_what_others_need(void **state)
{
    (void)state;
    expect_remove("a@h1 0-16383; b@h2 >a; c@h3 >a", "a", "", 0,
                  "refused: no other primary with slots could take 16384 slots; add one");
    expect_remove(
        FOUR, "h", "", 0,
        "refused: h4:7004 (64000000) would keep 0 online replicas, at least 1 are needed; "
        "add one first");
}

/* The second replica may go, and so may one that is not in step, or one where nobody has any. */
static void test_remove_replica(void **state)
{
    (void)state;
    expect_remove(FOUR "; i@h1/z1 >d", "h", "", 0, "leave h\ndone");
    expect_remove("a@h1 0-8000; b@h2 8001-16383; c@h3 >a +lag; d@h4 >b", "c", "", 0,
                  "leave c\ndone");
    expect_remove("a@h1 0-8000; b@h2 8001-16383; c@h3 >a", "c", "", 0, "leave c\ndone");
}

/* With a replica named, the shard stays where that one is, and no slot moves. */
static void test_remove_hands_over(void **state)
{
    (void)state;
    expect_remove(FOUR "; i@h1/z1 >d", "d", "h", 0, "failover h>d\nleave d\ndone");
    expect_remove(FOUR, "d", "h", 0,
                  "refused: h3:7008 (68000000) would keep 0 online replicas, at least 1 are "
                  "needed; add one first");
    expect_remove(
        FOUR, "d", "g", 0,
        "refused: 67000000 is no replica of h4:7004 (64000000); name one of its replicas");
}

/* A replica that falls silent on the way is waited for; before anything began it is refused. */
static void test_remove_waits_for_a_silent_replica(void **state)
{
    (void)state;
    expect_remove("a@h1 0-8000; b@h2 8001-16383; c@h3 >b +dead", "b", "", 0,
                  "b>a 8383\nwait: h3:7003 (63000000), a replica of h2:7002 (62000000), does not "
                  "answer; remove it if it is dead");
    expect_remove("a@h1 0-8000; b@h2 8001-16383; i@h3 empty; c@h3 >i +dead", "i", "", 0,
                  "refused: h3:7003 (69000000) is still the primary of h3:7004 (63000000); remove "
                  "that one as dead first");
}

/* The dead leave only when they are dead for all, own nothing and feed nobody. */
static void test_remove_dead(void **state)
{
    (void)state;
    expect_remove(FOUR "; i@h1 empty +dead", "i", "", REQUEST_DEAD, "leave i dead\ndone");
    expect_remove(FOUR "; i@h1 >a +dead", "i", "", REQUEST_DEAD, "leave i dead\ndone");
    expect_remove(
        FOUR "; i@h1 >a +dead", "i", "", 0,
        "refused: h1:7009 (69000000) does not answer; if it never will, remove it as dead");
    expect_remove(FOUR "; i@h1 >a +silent", "i", "", REQUEST_DEAD,
                  "refused: h1:7009 (69000000) does not answer, but the cluster has not marked it "
                  "failed");
    expect_remove(FOUR, "h", "", REQUEST_DEAD,
                  "refused: h3:7008 (68000000) answers; remove it without saying that it is dead");
    expect_remove("a@h1 0-8000; b@h2 8001-16383 +dead; c@h3 >b", "b", "", REQUEST_DEAD,
                  "refused: h2:7002 (62000000) owns 8383 slots; let a replica take over or repair "
                  "with unreachable-ok first");
    expect_remove("a@h1 0-8000; b@h2 8001-16383; i@h3 empty +dead; c@h3 >i", "i", "", REQUEST_DEAD,
                  "refused: h3:7003 (69000000) is still the primary of h3:7004 (63000000); give "
                  "that one another first");
    expect_remove("a@h1 0-8000; b@h2 8001-16382; i@h3 empty +dead", "i", "", REQUEST_DEAD,
                  "refused: 1 slots have no owner; repair the cluster first");
}

/* A server that drover's host may have started is stopped, unless it is to keep running. */
static void test_remove_stops_ours(void **state)
{
    (void)state;
    expect_remove("a@h1/z1 0-8000; b@h2/z2 8001-16383; c@h3/z3 empty; h3/z3 starts 1", "c", "", 0,
                  "leave c\nstop c\ndone");
    expect_remove("a@h1/z1 0-8000; b@h2/z2 8001-16383; c@h3/z3 empty; h3/z3 starts 1", "c", "",
                  REQUEST_KEEP_RUNNING, "leave c\ndone");
}

/* What a dead one leaves on a host that starts servers is put aside, lest the next server there
 * finds it: when the host's agent is there, and nobody answers at the address. */
static void test_remove_dead_clears_its_folder(void **state)
{
    (void)state;
    static const char cluster[] =
        "a@h1/z1 0-8000; b@h2/z2 8001-16383; c@h3/z3 empty +dead; h3/z3 starts 1";
    expect_remove(cluster, "c", "", REQUEST_DEAD, "leave c dead\nstop c dead\ndone");
    expect_remove(cluster, "c", "", REQUEST_DEAD | REQUEST_KEEP_RUNNING, "leave c dead\ndone");
    for (int i = 0; i < 2; i++) {
        struct life life;
        struct lifecycle_answer answer = {0};
        struct operation_request request = {
            .kind = OPERATION_REMOVE, .flags = REQUEST_DEAD, .node = life_id("c")};
        life_init(&life,
                  "a@h1/z1 0-8000; b@h2/z2 8001-16383; c@h3/z3 empty +dead; h3/z3 starts 1; "
                  "s@h3/z3 spare");
        life_step(&life, &request, &answer);
        assert_int_equal(answer.batches[0].task->kind, TASK_LEAVE);
        if (i == 0) {
            life.model.hosts[2].is_connected = false;
        } else { /* it is on again, with another id */
            struct node_id s = life_id("s");
            life.model.topology.nodes[topology_find(&life.model.topology, &s)].address =
                answer.batches[0].task->node_address;
        }
        lifecycle_answer_release(&answer);
        life_step(&life, &request, &answer);
        assert_int_equal(answer.verdict, LIFECYCLE_DONE);
        lifecycle_answer_release(&answer);
        life_release(&life);
    }
}

/* What was refused or failed is not taken for done when somebody resumes the operation. */
static void test_failed_stop_is_asked_for_again(void **state)
{
    (void)state;
    struct life life;
    struct operation_request request = {.kind = OPERATION_REMOVE, .node = life_id("c")};
    life_init(&life, "a@h1/z1 0-8000; b@h2/z2 8001-16383; c@h3/z3 empty; h3/z3 starts 1");
    for (int round = 0; round < 4; round++) {
        struct lifecycle_answer answer = {0};
        life_step(&life, &request, &answer);
        assert_int_equal(answer.verdict, round < 3 ? LIFECYCLE_MORE : LIFECYCLE_DONE);
        assert_true(round != 1 || answer.batches[0].task->kind == TASK_STOP);
        assert_true(round != 2 || answer.batches[0].task->kind == TASK_STOP);
        lifecycle_answer_release(&answer);
        if (round == 1) {
            life.model.batches[life.model.facts.batch_count - 1].state = BATCH_HELD;
        }
    }
    life_release(&life);
}

/* --- scale ----------------------------------------------------------------------------------- */

static struct operation_request scale_to(int primaries, int replicas)
{
    return (struct operation_request){
        .kind = OPERATION_SCALE, .primaries_wanted = primaries, .replicas_wanted = replicas};
}

static void expect_scale(const char *cluster, int primaries, int replicas, const char *transcript)
{
    struct operation_request request = scale_to(primaries, replicas);
    if (strstr(transcript, "done") != NULL) {
        expect_twice(cluster, &request, transcript);
    } else {
        expect(cluster, &request, transcript);
    }
}

/* Out: primaries join, then their replicas; only then one rebalance for all. */
static void test_scale_out(void **state)
{
    (void)state;
    expect_scale(FLEET "; s@h4/z1 spare; t@h1/z1 spare; u@h2/z2 spare; v@h3/z3 spare", 5, 1,
                 "join s\njoin u\n"
                 "join v\njoin t\n"
                 "replicate t>u, replicate v>s\n"
                 "b>s 2185, a>u 2184, c>s 1092, c>u 1092\ndone");
}

/* In: all that leave are emptied in one plan, nothing moves onto a node that leaves too. */
static void test_scale_in(void **state)
{
    (void)state;
    expect_scale(
        "a@h1/z1 0-3276; b@h2/z2 3277-6553; c@h3/z3 6554-9829; d@h4/z1 9830-13106; "
        "e@h2/z2 13107-16383; f@h2/z2 >a; g@h3/z3 >b; h@h4/z1 >c; i@h3/z3 >d; j@h1/z1 >e",
        3, 1,
        "e>a 2185, d>c 2185, e>b 1092, d>b 1092\nleave i, leave j\nleave d, leave e\n"
        "done");
}

/* Whoever was given a replica by a run that was broken off is the one that gets slots; a replica
 * counts once it is in step; other shards get theirs after the slots. */
static void test_scale_out_gives_slots_to_who_has_a_replica(void **state)
{
    (void)state;
    expect_scale(FLEET "; s@h4/z1 empty; t@h1/z1 empty; u@h2/z2 >t", 4, 1,
                 "b>t 1366, a>t 1365, c>t 1365\nleave s\ndone");
    expect_scale(FLEET "; s@h4/z1 empty; t@h1/z1 empty; u@h2/z2 >t +lag", 4, 1,
                 "wait: h2:7009 (75000000) is still copying from its primary");
    expect_scale(
        "a@h1/z1 0-5460; b@h2/z2 5461-10922; c@h3/z3 10923-16383; s@h4/z1 spare; "
        "t@h1/z1 spare; u@h2/z2 spare; v@h3/z3 spare; w@h4/z1 spare",
        4, 1,
        "join s\njoin u\nreplicate u>s\n"
        "b>s 1366, a>s 1365, c>s 1365\n"
        "join v\njoin t\njoin w\n"
        "replicate t>b, replicate v>a, replicate w>c\ndone");
}

/* Too few nodes: refused before anything begins, with what is missing. */
static void test_scale_out_needs_nodes(void **state)
{
    (void)state;
    expect_scale(FLEET "; s@h4/z1 spare", 5, 1,
                 "refused: 4 more nodes are needed; 1 spares run and hosts could start 0; provide "
                 "3 more");
}

/* Hosts start what is missing, each kind where the fewest are. */
static void test_scale_out_starts_servers(void **state)
{
    (void)state;
    expect_scale(
        "a@h1/z1 0-5460; b@h2/z2 5461-10922; c@h3/z3 10923-16383; d@h2/z2 >a; e@h3/z3 "
        ">b; f@h1/z1 >c; h4/z4 starts 1; h5/z5 starts 4",
        4, 1,
        "start h4:7000, start h5:7000\njoin h4:7000\njoin h5:7000\n"
        "replicate h5:7000>new\n"
        "b>new 1366, a>new 1365, c>new 1365\ndone");
}

/* When the only free node stands beside the primary that lacks a replica, it serves another shard,
 * whose replica moves over: never on one host, and nobody without a replica meanwhile. */
static void test_scale_by_a_detour(void **state)
{
    (void)state;
    expect_scale("a@h1 0-5460; b@h2 5461-10922; c@h3 10923-16383; d@h4 >a; e@h4 >b; s@h3 spare", 0,
                 1, "join s\nreplicate s>a\nreplicate d>c\ndone");
}

/* The dry run tells every step to the end, with numbers, and why a place was chosen. */
static void test_describe(void **state)
{
    (void)state;
    struct life life;
    struct strbuf text = {0};
    struct operation_request request = scale_to(4, 1);
    life_init(&life,
              "a@h1/z1 0-5460 +keys=900 +used=2000000; b@h2/z2 5461-10922 +keys=900 "
              "+used=2000000; c@h3/z3 10923-16383 +keys=900 +used=2000000; d@h2/z2 >a; "
              "e@h3/z3 >b; f@h4/z1 >c; s@h4/z1 spare; t@h3/z3 spare");
    lifecycle_describe(&request, &life.facts, &text);
    assert_string_equal(
        strbuf_text(&text),
        "step 1: reach h4:7007 from 4 hosts, data and bus port\n"
        "step 2: join h4:7007 to the cluster of h1:7001\n"
        "  chosen: host h4 has 0 of 3 primaries, its zone z1 1\n"
        "step 3: reach h3:7008 from 4 hosts, data and bus port\n"
        "step 4: join h3:7008 to the cluster of h1:7001\n"
        "step 5: make h3:7008 a replica of h4:7007\n"
        "  h3:7008 (74000000): host h3 shares no zone with the shard's other nodes\n"
        "step 6: move 1366 slots from h2:7002 (62000000) to h4:7007 (73000000), about 225 keys, "
        "500 kB\n"
        "step 7: move 1365 slots from h1:7001 (61000000) to h4:7007 (73000000), about 224 keys, "
        "500 kB\n"
        "step 8: move 1365 slots from h3:7003 (63000000) to h4:7007 (73000000), about 224 keys, "
        "500 kB\n"
        "then it is done: 4 primaries with slots, each with 1 replica\n");
    strbuf_clear(&text);
    request = scale_to(2, -1);
    lifecycle_describe(&request, &life.facts, &text);
    assert_string_equal(strbuf_text(&text),
                        "refused: 2 primaries cannot outvote a dead one; keep 3 or more\n");
    strbuf_release(&text);
    life_release(&life);
}

static void test_scale_in_keeps_a_majority_possible(void **state)
{
    (void)state;
    expect_scale(FLEET, 2, 1, "refused: 2 primaries cannot outvote a dead one; keep 3 or more");
}

/* Fewer replicas: those in bad places leave first. */
static void test_scale_replicas_down_and_up(void **state)
{
    (void)state;
    expect_scale("a@h1/z1 0-8000; b@h2/z2 8001-16383; c@h1/z1 >a; d@h3/z3 >a; e@h3/z3 >b", 0, 1,
                 "leave c\ndone");
    expect_scale("a@h1/z1 0-8000; b@h2/z2 8001-16383; c@h2/z2 >a; d@h3/z3 >a; s@h1/z1 spare", 0, 1,
                 "replicate d>b\ndone");
}

/* --- replicate and failover ------------------------------------------------------------------ */

static void test_replicate(void **state)
{
    (void)state;
    struct operation_request request = {
        .kind = OPERATION_REPLICATE, .node = life_id("s"), .target = life_id("a")};
    expect_twice("a@h1 0-8000; b@h2 8001-16383; s@h3 empty", &request, "replicate s>a\ndone");
    expect("a@h1 0-8000; s@h2 8001-16383", &request,
           "refused: h2:7002 (73000000) owns 8383 slots; drain it first");
    expect("a@h1 >b; b@h2 0-16383; s@h3 empty", &request,
           "refused: h1:7001 (61000000) is a replica; name its primary h2:7002 (62000000)");
    expect("a@h1 0-8000; b@h2 8001-16383; s@h3 >b; t@h4 >a", &request,
           "refused: h2:7002 (62000000) would keep 0 online replicas, at least 1 are needed; add "
           "one first");
    expect("a@h1 0-8000; b@h2 8001-16383; s@h3 >a +lag", &request,
           "wait: h3:7003 (73000000) is still copying from its primary");
}

static void test_failover(void **state)
{
    (void)state;
    struct operation_request request = {.kind = OPERATION_FAILOVER, .node = life_id("c")};
    struct operation_request forced = request;
    forced.flags = REQUEST_FORCE;
    expect_twice("a@h1 0-8000; b@h2 8001-16383; c@h3 >a", &request, "failover c>a\ndone");
    expect("a@h1 0-8000; b@h2 8001-16383; c@h3 >a +lag", &request,
           "refused: h3:7003 (63000000) is not in step with its primary; wait for it");
    expect("a@h1 0-8000 +dead; b@h2 8001-16383; c@h3 >a +lag", &forced, "failover c>a\ndone");
}

/* --- create ---------------------------------------------------------------------------------- */

/* Before they meet, each node is a cluster of its own, in its own view. */
static void make_strangers(struct life *life)
{
    struct topology *topology = &life->model.topology;
    free(topology->disagreements);
    topology->disagreements = xcalloc(64, sizeof(*topology->disagreements));
    for (int i = 0; i < topology->node_count; i++) {
        topology->nodes[i].view = i;
        topology->nodes[i].is_alone = true;
        topology->disagreements[topology->disagreement_count++] = (struct topology_disagreement){
            .kind = DISAGREE_MEMBERSHIP, .subject = i, .opinion_count = 0};
    }
}

static const char *create_with(struct life *life, const char *cluster, int replicas, uint32_t flags)
{
    struct address addresses[16];
    struct operation_request request = {.kind = OPERATION_CREATE,
                                        .addresses = addresses,
                                        .replicas_wanted = replicas,
                                        .flags = flags};
    life_init(life, cluster);
    make_strangers(life);
    for (int i = 0; i < life->topology.node_count; i++) {
        addresses[request.address_count++] = life->topology.nodes[i].address;
    }
    const char *transcript = life_run(life, &request);
    if (strstr(transcript, "done") != NULL) {
        char *first = strdup(transcript);
        assert_string_equal(life_run(life, &request), "done");
        (void)snprintf(life->transcript, sizeof(life->transcript), "%s", first);
        free(first);
    }
    return transcript;
}

static const char *create(struct life *life, const char *cluster, int replicas)
{
    return create_with(life, cluster, replicas, 0);
}

/* Primaries in different zones, replicas away from their primaries, distinct config epochs. */
static void test_create(void **state)
{
    (void)state;
    struct life life;
    assert_string_equal(
        create(&life,
               "a@h1/z1 empty; b@h1/z1 empty; c@h2/z2 empty; d@h2/z2 empty; e@h3/z3 empty; "
               "f@h3/z3 empty",
               1),
        "join b, join c, join d, join e, join f\n"
        "add-slots a 5461 epoch 1, add-slots c 5462 epoch 2, add-slots e 5461 epoch 3\n"
        "replicate b>e, replicate d>a, replicate f>c\ndone");
    life_release(&life);
}

/* The dry run of a creation from servers that no cluster knows tells every step to its end. */
static void test_describe_create(void **state)
{
    (void)state;
    struct life life;
    struct address addresses[6];
    struct operation_request request = {
        .kind = OPERATION_CREATE, .addresses = addresses, .replicas_wanted = 1};
    struct strbuf text = {0};
    life_init(&life,
              "a@h1/z1 spare; b@h1/z1 spare; c@h2/z2 spare; d@h2/z2 spare; e@h3/z3 spare; "
              "f@h3/z3 spare");
    for (int i = 0; i < life.topology.node_count; i++) {
        life.topology.nodes[i].is_cluster_ok = false; /* as any server without slots says */
        life.topology.nodes[i].view = NO_VIEW;
        addresses[request.address_count++] = life.topology.nodes[i].address;
    }
    lifecycle_describe(&request, &life.facts, &text);
    assert_non_null(strstr(strbuf_text(&text),
                           "step 6: reach h3:7006 from 3 hosts, data and bus port\nstep 7: join"));
    assert_non_null(strstr(strbuf_text(&text), "step 12: give"));
    assert_non_null(strstr(strbuf_text(&text), "step 15: make"));
    assert_non_null(strstr(strbuf_text(&text), "then it is done: 3 primaries, 3 replicas"));
    strbuf_release(&text);
    life_release(&life);
}

static void test_create_refuses(void **state)
{
    (void)state;
    struct life life;
    assert_string_equal(create(&life, "a@h1 empty; b@h2 empty; c@h3 empty; d@h4 empty", 1),
                        "refused: 4 nodes with 1 replicas each make 2 primaries; a cluster needs 3 "
                        "or more");
    life_release(&life);
    /* Unless a person says so. */
    assert_non_null(strstr(create_with(&life, "a@h1 empty; b@h2 empty", 1, REQUEST_FORCE), "done"));
    life_release(&life);
    assert_string_equal(
        create(&life, "a@h1 empty; b@h2 empty +keys=3; c@h3 empty", 0),
        "refused: h2:7002 (62000000) is used: it has keys, which would be lost; FLUSHALL "
        "it first");
    life_release(&life);
    assert_string_equal(
        create(&life, "a@h1 empty; b@h2 0-100; c@h3 empty", 0),
        "refused: slot 0 is owned by h2:7002 (62000000) already; that is a cluster");
    life_release(&life);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_add_gives_slots_to_all_at_once),
        cmocka_unit_test(test_add_without_slots_only_joins),
        cmocka_unit_test(test_add_as_replica_helps_the_poorest),
        cmocka_unit_test(test_add_refuses_a_used_node),
        cmocka_unit_test(test_add_waits_for_a_settled_cluster),
        cmocka_unit_test(test_remove_primary),
        cmocka_unit_test(test_remove_looks_at_memory),
        cmocka_unit_test(test_remove_primary_that_became_a_replica),
        cmocka_unit_test(test_remove_refuses_what_others_need),
        cmocka_unit_test(test_remove_replica),
        cmocka_unit_test(test_remove_hands_over),
        cmocka_unit_test(test_remove_waits_for_a_silent_replica),
        cmocka_unit_test(test_remove_dead),
        cmocka_unit_test(test_remove_stops_ours),
        cmocka_unit_test(test_remove_dead_clears_its_folder),
        cmocka_unit_test(test_failed_stop_is_asked_for_again),
        cmocka_unit_test(test_scale_out),
        cmocka_unit_test(test_scale_in),
        cmocka_unit_test(test_scale_out_gives_slots_to_who_has_a_replica),
        cmocka_unit_test(test_scale_out_needs_nodes),
        cmocka_unit_test(test_scale_out_starts_servers),
        cmocka_unit_test(test_scale_by_a_detour),
        cmocka_unit_test(test_describe),
        cmocka_unit_test(test_scale_in_keeps_a_majority_possible),
        cmocka_unit_test(test_scale_replicas_down_and_up),
        cmocka_unit_test(test_replicate),
        cmocka_unit_test(test_failover),
        cmocka_unit_test(test_create),
        cmocka_unit_test(test_create_refuses),
        cmocka_unit_test(test_describe_create),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
