/* test_lifecycle_outside.c — provisioners and drain hooks: when servers are made and given back,
 * when client traffic goes off a node and comes back. Transcripts of whole operations on a model,
 * and single decisions after what cannot go wrong on a model. Rules: docs/lifecycle.md. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "tests/unit/coordinator/helper_lifecycle.h"

#include "common/base/alloc.h"
#include "common/base/check.h"

#define THREE "a@h1/z1 0-5460; b@h2/z2 5461-10922; c@h3/z3 10923-16383"
#define SIX THREE "; d@h2/z2 >a; e@h3/z3 >b; f@h1/z1 >c"
#define MADE "new-1:6379"

static struct operation_request scale_to(int primaries, int replicas)
{
    return (struct operation_request){
        .kind = OPERATION_SCALE, .primaries_wanted = primaries, .replicas_wanted = replicas};
}

static struct operation_request remove_node(const char *name, uint32_t flags)
{
    return (struct operation_request){
        .kind = OPERATION_REMOVE, .node = life_id(name), .flags = flags};
}

/* And a second run has nothing to do. */
static void expect(const char *cluster,
                   const struct operation_request *request,
                   const char *transcript)
{
    struct life life;
    life_init(&life, cluster);
    assert_string_equal(life_run(&life, request), transcript);
    if (strstr(transcript, "refused") == NULL) {
        assert_string_equal(life_run(&life, request), "done");
    }
    life_release(&life);
}

/* One round; the answer's tasks in words, or its verdict. Its batches become history. */
static bool is_reach(const struct lifecycle_answer *answer)
{
    return answer->batch_count > 0 && answer->batches[0].kind == BATCH_TASK &&
           answer->batches[0].task->kind == TASK_REACH;
}

/* That hosts try a newcomer's ports is left out. */
static const char *step(struct life *life,
                        const struct operation_request *request,
                        char text[TEXT_SIZE])
{
    struct lifecycle_answer answer;
    life_step(life, request, &answer);
    if (is_reach(&answer)) {
        lifecycle_answer_release(&answer);
        life_step(life, request, &answer);
    }
    (void)snprintf(text, TEXT_SIZE, "%s", answer.reason);
    if (answer.batch_count > 0) {
        CHECK(answer.batches[0].kind == BATCH_TASK);
        task_format(answer.batches[0].task, text, TEXT_SIZE);
    }
    lifecycle_answer_release(&answer);
    return text;
}

static struct batch *last_batch(struct life *life)
{
    return &life->model.batches[life->model.facts.batch_count - 1];
}

/* What lifecycle_undo() says now: its first task in words, or its reason. */
static enum lifecycle_verdict undo(struct life *life, char text[TEXT_SIZE], int *count)
{
    struct lifecycle_answer answer;
    lifecycle_undo(&life->model.facts, &answer);
    enum lifecycle_verdict verdict = answer.verdict;
    (void)snprintf(text, TEXT_SIZE, "%s", answer.reason);
    *count = answer.batch_count;
    for (int i = 0; i < answer.batch_count; i++) {
        struct err err = {0};
        assert_int_equal(task_validate(answer.batches[i].task, &err), 0);
        assert_true(lifecycle_is_undo(answer.batches[i].task));
        task_format(answer.batches[0].task, text, TEXT_SIZE);
    }
    lifecycle_model_apply(&life->model, &answer);
    lifecycle_answer_release(&answer);
    return verdict;
}

/* --- scale out ------------------------------------------------------------------------------- */

/* Spares go first, then hosts of ours, then the provisioner; all that is missing is asked for
 * before anything joins, in the zones that have least. */
static void test_order_of_sources(void **state)
{
    (void)state;
    struct operation_request request = scale_to(6, 0);
    expect(THREE "; s@h4/z1 spare; h5/z2 starts 1; h1/z1 provisions", &request,
           "start h5:7000, provision primary in z1\njoin s\njoin h5:7000\njoin " MADE
           "\na>s 2730, b>new 2731, c>new 2730\ndone");
    request = scale_to(4, 1);
    expect(SIX "; h1/z1 provisions", &request,
           "provision primary in z1, provision replica in z2\njoin " MADE
           "\njoin new-2:6379\nreplicate new-2:6379>new\nb>new 1366, a>new 1365, c>new 1365\ndone");
    request = scale_to(5, 0);
    expect(THREE "; s@h4/z1 spare; h5/z2 starts 1; h1/z1 provisions", &request,
           "start h5:7000\njoin s\njoin h5:7000\n"
           "b>s 2185, a>new 2184, c>s 1092, c>new 1092\ndone");
    expect(
        "a@h1 0-5460; b@h2 5461-10922; c@h3 10923-16383", &request,
        "refused: 2 more nodes are needed; 0 spares run and hosts could start 0; provide 2 more");
}

/* Servers are started on the ports that the host offers, and no more than it has ports. */
static void test_ports(void **state)
{
    (void)state;
    struct life life;
    struct operation_request request = scale_to(5, 0);
    life_init(&life, THREE "; h1/z1 starts 9; h1/z1 provisions");
    struct lifecycle_host *host = &life.model.hosts[0];
    host->port_first = 7001; /* a is there */
    host->port_last = 7002;
    assert_string_equal(life_run(&life, &request),
                        "start h1:7002, provision primary in z2\njoin " MADE
                        "\njoin h1:7002\nb>new 2185, a>new 2184, c>new 1092, c>new 1092\ndone");
    life_release(&life);
}

/* What was started or made and does not show as a spare yet is waited for; no other is asked for.
 */
static void test_waits_for_what_was_made(void **state)
{
    (void)state;
    struct life life;
    char text[TEXT_SIZE];
    struct operation_request request = scale_to(4, 0);
    life_init(&life, THREE "; h1/z1 starts 1");
    assert_string_equal(step(&life, &request, text), "start a server at h1:7000");
    for (int i = 0; i < life.model.topology.node_count; i++) {
        if (!life.model.topology.nodes[i].is_member) {
            life.model.topology.nodes[i].is_reachable = false;
        }
    }
    life.model.hosts[0].port_first = 7500; /* whatever the host offers meanwhile */
    life.model.hosts[0].port_last = 7600;
    assert_string_equal(step(&life, &request, text), "the new server at h1:7000 does not show yet");
    life_release(&life);
    life_init(&life, THREE "; u@h7 spare +keys=3; h1/z1 provisions");
    assert_string_equal(step(&life, &request, text), "have a server made for a primary in zone z1");
    last_batch(&life)->made = life_address("h7:7004"); /* u, which is used */
    assert_string_equal(step(&life, &request, text), "the new server at h7:7004 does not show yet");
    life_release(&life);
}

/* --- client traffic ----------------------------------------------------------------------------
 */

/* By every agent that has hooks, before the first slot moves, a replica takes over, or it leaves.
 */
static void test_traffic_before_the_first_step(void **state)
{
    (void)state;
    struct operation_request request = remove_node("b", 0);
    expect(SIX "; h2/z2 drains; h3/z3 drains", &request,
           "traffic down b, traffic down b\nb>a 2731, b>c 2731\nreplicate e>a\nleave b\ndone");
    request.target = life_id("e");
    expect(SIX "; g@h1/z1 >b; h2/z2 drains", &request,
           "traffic down b\nfailover e>b\nleave b\ndone");
    request = remove_node("e", 0);
    expect(SIX "; g@h1/z1 >b; h2/z2 drains", &request, "traffic down e\nleave e\ndone");
    request = remove_node("e", REQUEST_DEAD);
    expect("a@h1 0-8000; b@h2 8001-16383; e@h3 >b +dead; h2/- drains", &request,
           "leave e dead\ndone");
}

/* No client is troubled for what is refused. */
static void test_refused_before_traffic(void **state)
{
    (void)state;
    struct operation_request request = remove_node("e", 0);
    expect(SIX "; h2/z2 drains", &request,
           "refused: h2:7002 (62000000) would keep 0 online replicas, at least 1 are needed; add "
           "one first");
    request = remove_node("a", 0);
    expect("a@h1 0-16383; h1/- drains", &request,
           "refused: no other primary with slots could take 16384 slots; add one");
    request = scale_to(2, 0);
    expect(THREE "; h1/z1 drains", &request,
           "refused: 2 primaries cannot outvote a dead one; keep 3 or more");
}

/* Keys come and go while hooks run: the node whose clients left is the one that leaves. */
static void test_scale_in_keeps_its_choice(void **state)
{
    (void)state;
    struct life life;
    char text[TEXT_SIZE];
    struct operation_request request = scale_to(3, 0);
    struct node_id a = life_id("a");
    life_init(&life,
              "a@h1 0-4000 +keys=5; b@h2 4001-8000 +keys=6; c@h3 8001-12000 +keys=7; "
              "d@h4 12001-16383 +keys=8; h1/- drains");
    assert_string_equal(step(&life, &request, text), "take client traffic off h1:7001");
    life.model.topology.nodes[topology_find(&life.model.topology, &a)].keys = 900;
    struct lifecycle_answer answer;
    life_step(&life, &request, &answer);
    assert_int_equal(answer.batches[0].kind, BATCH_MOVE);
    assert_string_equal(answer.batches[0].source.text, a.text);
    lifecycle_answer_release(&answer);
    life_release(&life);
}

/* --- giving back -------------------------------------------------------------------------------
 */

/* After the stop, or instead of it; by every agent with a provisioner; not when it is to run on. */
static void test_release(void **state)
{
    (void)state;
    struct operation_request request = remove_node("b", 0);
    expect(THREE "; h2/z2 starts 1; h1/z1 provisions; h3/z3 provisions", &request,
           "b>a 2731, b>c 2731\nleave b\nstop b\nrelease b, release b\ndone");
    expect(THREE "; h1/z1 provisions", &request, "b>a 2731, b>c 2731\nleave b\nrelease b\ndone");
    request.flags = REQUEST_KEEP_RUNNING;
    expect(THREE "; h2/z2 starts 1; h1/z1 provisions", &request,
           "b>a 2731, b>c 2731\nleave b\ndone");
    request = remove_node("e", REQUEST_DEAD);
    expect("a@h1 0-8000; b@h2 8001-16383; e@h3 >b +dead; h2/- provisions", &request,
           "leave e dead\nrelease e\ndone");
    request = scale_to(3, 1);
    expect(
        "a@h1 0-4000; b@h2 4001-8000; c@h3 8001-12000; d@h4 12001-16383; e@h1 >b; f@h2 >c; "
        "g@h3 >d; i@h4 >a; h1/- drains; h1/- provisions",
        &request,
        "traffic down d\nd>a 1461, d>b 1461, d>c 1461\ntraffic down g\nleave g\nleave d\n"
        "release g, release d\ndone");
}

/* The certificate comes first: what holds keys is not given back. */
static void test_no_release_without_certificate(void **state)
{
    (void)state;
    struct life life;
    char text[TEXT_SIZE];
    struct operation_request request = remove_node("b", 0);
    life_init(&life, "a@h1 0-8000; c@h3 8001-16383; y@h2:7000 spare +keys=4; h1/- provisions");
    struct task leave = {.kind = TASK_LEAVE, .node = life_id("b")};
    leave.node_address = life_address("h2:7003"); /* where y is */
    life.model.batches[0] = (struct batch){
        .kind = BATCH_TASK, .task = xmemdup(&leave, sizeof(leave)), .state = BATCH_DONE};
    life.model.facts.batch_count = 1;
    assert_string_equal(step(&life, &request, text),
                        "h2:7003 is not given back yet: it holds 4 keys");
    life_release(&life);
}

/* --- taking back -------------------------------------------------------------------------------
 */

/* Traffic goes back on a member, not on a node that began to leave; a hook that failed half way is
 * undone, too. */
static void test_undo_traffic(void **state)
{
    (void)state;
    struct life life;
    char text[TEXT_SIZE];
    int count = 0;
    struct operation_request request = remove_node("b", 0);
    life_init(&life, SIX "; h2/z2 drains; h3/z3 drains");
    assert_int_equal(undo(&life, text, &count), LIFECYCLE_DONE);
    assert_string_equal(step(&life, &request, text), "take client traffic off h2:7002");
    last_batch(&life)->state = BATCH_HELD; /* one of the two hooks */
    last_batch(&life)->attempt = 3;
    assert_int_equal(undo(&life, text, &count), LIFECYCLE_MORE);
    assert_int_equal(count, 2);
    assert_string_equal(text, "put client traffic back on h2:7002");
    assert_int_equal(undo(&life, text, &count), LIFECYCLE_DONE);
    /* The agent is away: it can be taken back later. */
    assert_string_equal(step(&life, &request, text), "take client traffic off h2:7002");
    life.model.hosts[1].is_connected = false;
    life.model.hosts[2].is_connected = false;
    assert_int_equal(undo(&life, text, &count), LIFECYCLE_WAIT);
    assert_non_null(strstr(text, "client traffic is still off h2:7002; agent h"));
    life.model.hosts[1].is_connected = true;
    life.model.hosts[2].is_connected = true;
    assert_int_equal(undo(&life, text, &count), LIFECYCLE_MORE);
    last_batch(&life)->state = BATCH_HELD;
    last_batch(&life)->attempt = 3;
    (void)snprintf(last_batch(&life)->reason, TEXT_SIZE, "no answer");
    assert_int_equal(undo(&life, text, &count), LIFECYCLE_REFUSED);
    assert_string_equal(text, "could not put client traffic back on h2:7002: no answer");
    life_release(&life);
}

/* A removal that is broken off in the wait after everybody has forgotten (paused; its agent lost)
 * is finished before anything rests on it. */
static void test_a_broken_removal_is_finished(void **state)
{
    (void)state;
    struct life life;
    char text[TEXT_SIZE];
    struct operation_request request = remove_node("g", 0);
    life_init(&life, THREE "; g@h1/z1 empty; h1/z1 starts 1; h2/z2 provisions");
    (void)step(&life, &request, text);
    assert_int_equal(last_batch(&life)->task->kind, TASK_LEAVE);
    last_batch(&life)->state = BATCH_STOPPED;
    last_batch(&life)->attempt = 1;
    (void)step(&life, &request, text);
    assert_int_equal(last_batch(&life)->task->kind, TASK_LEAVE);
    assert_int_equal(life.model.facts.batch_count, 2);
    (void)step(&life, &request, text); /* that one was done */
    assert_int_equal(last_batch(&life)->task->kind, TASK_STOP);
    life_release(&life);
}

static void test_no_traffic_for_who_leaves(void **state)
{
    (void)state;
    struct life life;
    char text[TEXT_SIZE];
    int count = 0;
    struct operation_request request = remove_node("e", 0);
    life_init(&life, SIX "; g@h1/z1 >b; h2/z2 drains");
    assert_string_equal(step(&life, &request, text), "take client traffic off h3:7005");
    struct task leave = {.kind = TASK_LEAVE, .node = life_id("e")};
    leave.node_address = last_batch(&life)->task->node_address;
    struct batch batch = {.kind = BATCH_TASK, .task = &leave, .state = BATCH_STOPPED, .attempt = 1};
    struct batch *batches = xcalloc(2, sizeof(*batches));
    batches[0] = *last_batch(&life);
    batches[1] = batch;
    struct lifecycle_facts facts = life.model.facts;
    struct lifecycle_answer answer;
    facts.batches = batches;
    facts.batch_count = 2;
    lifecycle_undo(&facts, &answer);
    assert_int_equal(answer.verdict, LIFECYCLE_DONE);
    batches[1].attempt = 0; /* nobody was told to */
    lifecycle_undo(&facts, &answer);
    assert_int_equal(answer.verdict, LIFECYCLE_MORE);
    lifecycle_answer_release(&answer);
    free(batches);
    life_release(&life);
    (void)count;
}

/* Servers that were made and never joined are given back to who made them; what joined stays. */
static void test_undo_made(void **state)
{
    (void)state;
    struct life life;
    char text[TEXT_SIZE];
    int count = 0;
    struct operation_request request = scale_to(5, 0);
    life_init(&life, THREE "; h1/z1 provisions; h2/z2 provisions");
    assert_non_null(strstr(step(&life, &request, text), "have a server made"));
    assert_string_equal(step(&life, &request, text), "join new-1:6379 to the cluster of h1:7001");
    assert_int_equal(undo(&life, text, &count), LIFECYCLE_MORE);
    assert_int_equal(count, 1);
    assert_string_equal(text, "give the server at new-2:6379 back");
    assert_string_equal(last_batch(&life)->task->detail, "agent h2\n");
    assert_int_equal(undo(&life, text, &count), LIFECYCLE_DONE);
    life_release(&life);
}

/* Not while a certificate would be refused, nor without a provisioner; and not for ever. */
static void test_undo_made_waits(void **state)
{
    (void)state;
    struct life life;
    char text[TEXT_SIZE];
    int count = 0;
    struct operation_request request = scale_to(4, 0);
    life_init(&life, THREE "; u@h7 spare +keys=3; h1/z1 provisions; h2/z2 provisions");
    assert_non_null(strstr(step(&life, &request, text), "have a server made"));
    last_batch(&life)->made = life_address("h7:7004");
    assert_int_equal(undo(&life, text, &count), LIFECYCLE_WAIT);
    assert_string_equal(text, "h7:7004 was made and is not given back: it holds 3 keys");
    last_batch(&life)->made = life_address("h8:7000");
    life.model.hosts[0].is_connected = false;
    life.model.hosts[1].is_connected = false;
    assert_int_equal(undo(&life, text, &count), LIFECYCLE_WAIT);
    assert_non_null(strstr(text, "no agent has a provisioner now"));
    life.model.hosts[1].is_connected = true; /* another one */
    for (int i = 0; i < 3; i++) {
        assert_int_equal(undo(&life, text, &count), LIFECYCLE_MORE);
        assert_string_equal(last_batch(&life)->task->detail, "agent h2\n");
        last_batch(&life)->state = BATCH_STOPPED;
        last_batch(&life)->attempt = 1;
    }
    assert_int_equal(undo(&life, text, &count), LIFECYCLE_REFUSED);
    assert_non_null(strstr(text, "could not give the server at h8:7000 back"));
    life_release(&life);
}

/* A request whose agent was lost may have left a server: it is asked for once more under its id, by
 * that agent alone, and what comes is given back. */
static void test_undo_asks_for_what_was_lost(void **state)
{
    (void)state;
    struct life life;
    char text[TEXT_SIZE];
    char id[64];
    int count = 0;
    struct operation_request request = scale_to(4, 0);
    life_init(&life, THREE "; h1/z1 provisions; h2/z2 provisions");
    life.model.facts.operation_id = "op-7-1";
    assert_non_null(strstr(step(&life, &request, text), "have a server made"));
    struct batch *asked = &life.model.batches[0];
    asked->made = (struct address){.port = 0};
    asked->attempt = 0;
    asked->state = BATCH_WAITING; /* nobody was told */
    assert_int_equal(undo(&life, text, &count), LIFECYCLE_DONE);
    asked->attempt = 1;
    life.model.hosts[0].is_connected = false; /* h2 may have another provisioner */
    assert_int_equal(undo(&life, text, &count), LIFECYCLE_WAIT);
    assert_string_equal(text, "request op-7-1-0 may have left a server; agent h1 is not connected");
    assert_int_equal(lifecycle_lost_request(&life.model.facts, 0, text), 0);
    life.model.hosts[0].is_connected = true;
    assert_int_equal(undo(&life, text, &count), LIFECYCLE_MORE);
    assert_int_equal(count, 1);
    assert_int_equal(last_batch(&life)->task->kind, TASK_PROVISION);
    assert_true(task_detail_get(last_batch(&life)->task, "request", id, sizeof(id)));
    assert_string_equal(id, "op-7-1-0");
    assert_true(task_detail_get(last_batch(&life)->task, "agent", id, sizeof(id)));
    assert_string_equal(id, "h1");
    assert_int_equal(undo(&life, text, &count), LIFECYCLE_MORE);
    assert_non_null(strstr(text, "give the server at new-"));
    assert_int_equal(undo(&life, text, &count), LIFECYCLE_DONE);
    assert_int_equal(lifecycle_lost_request(&life.model.facts, 0, text), -1);
    life_release(&life);
}

/* Which ends are known: the agent's own word that nothing is left, and no other. */
static void test_what_counts_as_lost(void **state)
{
    (void)state;
    static const struct {
        enum batch_state state;
        int attempt;
        int code;
        const char *reason;
        bool is_lost;
    } cases[] = {
        {BATCH_WAITING, 1, 0, "", true},
        {BATCH_ORDERED, 1, 0, "", true},
        {BATCH_STOPPED, 1, 0, "stopped", false},
        {BATCH_STOPPED, 1, 0, "", false}, /* was never told */
        {BATCH_STOPPED, 2, 0, "", true},  /* nor was this one; the one before was */
        {BATCH_STOPPED, 1, ERR_CONFLICT, "its order was not renewed", true},
        {BATCH_FAILED, 1, ERR_UNAVAILABLE, "quota", false},
        {BATCH_HELD, 3, ERR_REFUSED, "no such zone", false},
        {BATCH_HELD, 3, ERR_CONFLICT, "giving request op-7-1-0 back failed", true},
        {BATCH_HELD, 1, ERR_CANCELLED, "told", true},
        {BATCH_DONE, 1, 0, "", false},
    };
    struct life life;
    char text[TEXT_SIZE];
    int count = 0;
    struct operation_request request = scale_to(4, 0);
    life_init(&life, THREE "; h1/z1 provisions");
    assert_non_null(strstr(step(&life, &request, text), "have a server made"));
    life.model.facts.operation_id = "op-7-1";
    life.model.batches[0].made = (struct address){.port = 0};
    life.model.hosts[0].is_connected = false;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct batch *batch = &life.model.batches[0];
        batch->state = cases[i].state;
        batch->attempt = cases[i].attempt;
        batch->reason_code = cases[i].code;
        (void)snprintf(batch->reason, sizeof(batch->reason), "%s", cases[i].reason);
        enum lifecycle_verdict verdict = undo(&life, text, &count);
        assert_int_equal(verdict != LIFECYCLE_DONE, cases[i].is_lost);
        /* Once a person was told, nothing is waited for. */
        assert_int_equal(verdict == LIFECYCLE_REFUSED, cases[i].code == ERR_CANCELLED);
    }
    life_release(&life);
}

/* It is asked for three times at most, and not again by an agent that could not give it back. */
static void test_undo_gives_a_request_up(void **state)
{
    (void)state;
    struct life life;
    char text[TEXT_SIZE];
    int count = 0;
    struct operation_request request = scale_to(4, 0);
    life_init(&life, THREE "; h1/z1 provisions");
    life.model.facts.operation_id = "op-7-1";
    assert_non_null(strstr(step(&life, &request, text), "have a server made"));
    last_batch(&life)->made = (struct address){.port = 0};
    for (int i = 0; i < 4; i++) {
        last_batch(&life)->state = BATCH_STOPPED;
        last_batch(&life)->attempt = 1;
        last_batch(&life)->reason_code = ERR_CONFLICT;
        (void)snprintf(last_batch(&life)->reason, TEXT_SIZE, "not renewed");
        assert_int_equal(undo(&life, text, &count), i < 3 ? LIFECYCLE_MORE : LIFECYCLE_REFUSED);
        last_batch(&life)->made = (struct address){.port = 0};
    }
    assert_string_equal(text,
                        "request op-7-1-0 may have left a server; agent h1 could not give it back");
    life_release(&life);
}

/* What was prepared and is not needed after all is taken back before the operation is done. */
static void test_done_takes_back(void **state)
{
    (void)state;
    struct life life;
    char text[TEXT_SIZE];
    struct operation_request request = scale_to(4, 0);
    life_init(&life, THREE "; t@h6 spare +dead; h1/z1 provisions");
    assert_non_null(strstr(step(&life, &request, text), "have a server made"));
    struct node_id t = life_id("t");
    struct topology_node *spare =
        &life.model.topology.nodes[topology_find(&life.model.topology, &t)];
    spare->is_reachable = true; /* it comes back before the made one is taken */
    spare->is_failed = false;
    assert_string_equal(step(&life, &request, text), "join h6:7004 to the cluster of h1:7001");
    struct lifecycle_answer answer;
    life_step(&life, &request, &answer);
    assert_int_equal(answer.batches[0].kind, BATCH_MOVE);
    lifecycle_answer_release(&answer);
    assert_string_equal(step(&life, &request, text), "give the server at " MADE " back");
    assert_string_equal(step(&life, &request, text),
                        "4 primaries with slots, each with 0 replicas");
    life_release(&life);
}

/* The dry run names these steps. */
static void test_describe(void **state)
{
    (void)state;
    struct life life;
    struct strbuf text = {0};
    struct operation_request request = scale_to(4, 0);
    life_init(&life, THREE "; h1/z1 provisions");
    lifecycle_describe(&request, &life.facts, &text);
    assert_non_null(strstr(strbuf_text(&text),
                           "step 1: have a server made for a primary in zone z1\n"
                           "step 2: reach " MADE " from 3 hosts, data and bus port\n"
                           "step 3: join " MADE " to the cluster of h1:7001\n"));
    strbuf_clear(&text);
    life_release(&life);
    request = remove_node("b", 0);
    life_init(&life, THREE "; h1/z1 provisions; h2/z2 drains");
    lifecycle_describe(&request, &life.facts, &text);
    assert_non_null(strstr(strbuf_text(&text), "step 1: take client traffic off h2:7002\n"));
    assert_non_null(strstr(strbuf_text(&text), ": give the server at h2:7002 back\nthen"));
    strbuf_release(&text);
    life_release(&life);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_order_of_sources),
        cmocka_unit_test(test_ports),
        cmocka_unit_test(test_waits_for_what_was_made),
        cmocka_unit_test(test_traffic_before_the_first_step),
        cmocka_unit_test(test_refused_before_traffic),
        cmocka_unit_test(test_scale_in_keeps_its_choice),
        cmocka_unit_test(test_release),
        cmocka_unit_test(test_no_release_without_certificate),
        cmocka_unit_test(test_undo_traffic),
        cmocka_unit_test(test_a_broken_removal_is_finished),
        cmocka_unit_test(test_no_traffic_for_who_leaves),
        cmocka_unit_test(test_undo_made),
        cmocka_unit_test(test_undo_made_waits),
        cmocka_unit_test(test_undo_asks_for_what_was_lost),
        cmocka_unit_test(test_what_counts_as_lost),
        cmocka_unit_test(test_undo_gives_a_request_up),
        cmocka_unit_test(test_done_takes_back),
        cmocka_unit_test(test_describe),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
