/* test_growth.c — operations whose plan grows, in virtual time, with a scripted answer to "what
 * comes next": rounds, waits, refusals, pause, cancel, a new leader in the middle. See
 * helper_world.h.
 *
 * This file has its own lifecycle_next() instead of the real one, so that every turn can be forced;
 * its rules are those of coordinator/core/lifecycle.h: it looks at what is seen, not at what was
 * done. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "helper_world.h"

#include "common/base/alloc.h"
#include "coordinator/core/lifecycle.h"

#define SHARE 600 /* slots that a new node gets, in batches of 200 */

/* What the script says beside joining and sharing out. */
static struct {
    bool refuses;             /* at once */
    bool refuses_after_join;  /* when the node is a member */
    bool waits;               /* for ever */
    bool goes_in_circles;     /* the same task again and again, which changes nothing */
    bool keeps_without_slots; /* joins only */
    bool doubles;             /* names the new node in two tasks of a round */
    int asked;
} script;

/* ---- the script ---- */

static int find_address(const struct topology *topology, const struct address *address)
{
    for (int i = 0; i < topology->node_count; i++) {
        if (address_is_equal(&topology->nodes[i].address, address)) {
            return i;
        }
    }
    return NO_NODE;
}

static void answer_reason(struct lifecycle_answer *out,
                          enum lifecycle_verdict verdict,
                          int code,
                          const char *reason)
{
    out->verdict = verdict;
    out->code = code;
    (void)snprintf(out->reason, sizeof(out->reason), "%s", reason);
}

static struct batch *add_batch(struct lifecycle_answer *out)
{
    out->verdict = LIFECYCLE_MORE;
    out->batches = xreallocarray(out->batches, (size_t)out->batch_count + 1, sizeof(*out->batches));
    struct batch *batch = &out->batches[out->batch_count++];
    *batch = (struct batch){0};
    return batch;
}

static void add_task(struct lifecycle_answer *out,
                     enum task_kind kind,
                     const struct topology *topology,
                     int node,
                     int peer)
{
    struct batch *batch = add_batch(out);
    batch->kind = BATCH_TASK;
    batch->task = xcalloc(1, sizeof(*batch->task));
    *batch->task = (struct task){.kind = kind,
                                 .node = topology->nodes[node].id,
                                 .node_address = topology->nodes[node].address,
                                 .peer = topology->nodes[peer].id,
                                 .peer_address = topology->nodes[peer].address};
}

static void share_out(struct lifecycle_answer *out, const struct topology *topology, int node)
{
    int has = topology->nodes[node].slot_count;
    int slot = 0;
    while (has < SHARE) {
        struct batch *batch = add_batch(out);
        batch->source = topology->nodes[0].id;
        batch->target = topology->nodes[node].id;
        for (int n = 0; n < 200 && has < SHARE; slot++) {
            if (topology->owner[slot] == 0) {
                slotset_add(&batch->slots, slot);
                n++;
                has++;
            }
        }
    }
}

bool lifecycle_applies(enum operation_kind kind)
{
    return (int)kind >= OPERATION_CREATE;
}

void lifecycle_next(const struct operation_request *request,
                    const struct lifecycle_facts *facts,
                    struct lifecycle_answer *out)
{
    const struct topology *topology = facts->topology;
    *out = (struct lifecycle_answer){.verdict = LIFECYCLE_DONE};
    script.asked++;
    if (script.refuses) {
        answer_reason(out, LIFECYCLE_REFUSED, ERR_REFUSED, "not today");
        return;
    }
    if (script.waits) {
        answer_reason(out, LIFECYCLE_WAIT, 0, "waits for the moon");
        return;
    }
    if (script.goes_in_circles) {
        add_task(out, TASK_MEET, topology, 0, 1);
        return;
    }
    for (int i = 0; i < request->address_count; i++) {
        int node = find_address(topology, &request->addresses[i]);
        if (node == NO_NODE || !topology->nodes[node].is_reachable) {
            answer_reason(out, LIFECYCLE_WAIT, 0, "waits until an agent reaches the new node");
            return;
        }
        if (!topology->nodes[node].is_member) {
            add_task(out, TASK_JOIN, topology, node, 0);
            if (script.doubles) {
                add_task(out, TASK_MEET, topology, node, 0);
            }
        } else if (script.refuses_after_join) {
            answer_reason(out, LIFECYCLE_REFUSED, ERR_REFUSED, "not any more");
        } else if (!script.keeps_without_slots && topology->nodes[node].slot_count < SHARE) {
            share_out(out, topology, node);
        }
    }
}

void lifecycle_answer_release(struct lifecycle_answer *answer)
{
    for (int i = 0; i < answer->batch_count; i++) {
        batch_release(&answer->batches[i]);
    }
    free(answer->batches);
    *answer = (struct lifecycle_answer){0};
}

void lifecycle_describe(const struct operation_request *request,
                        const struct lifecycle_facts *facts,
                        struct strbuf *out)
{
    strbuf_addf(out, "foreseen for %d addresses, %d spares seen\n", request->address_count,
                facts->spare_count);
}

/* ---- the world with one spare ---- */

static int begin(struct world *w, int agents)
{
    memset(&script, 0, sizeof(script));
    world_init(w, 3, 0, agents);
    int spare = world_add_spare(w);
    world_start(w, 0);
    WORLD_UNTIL(w, 5000, strstr(world_why(w), "nothing to do") != NULL);
    return spare;
}

static const struct plan *plan_of(const struct world *w)
{
    return coordinator_plan(world_core(w), world_operation(w)->id);
}

/* How many agents were told to look at the node. */
static int told_of(const struct world *w, int node)
{
    int count = 0;
    for (int i = 0; i < w->agent_count; i++) {
        for (int n = 0; n < w->agents[i].told_count; n++) {
            count += w->agents[i].told[n] == node ? 1 : 0;
        }
    }
    return count;
}

static int tasks_done(const struct world *w)
{
    int count = 0;
    for (int i = 0; i < w->agent_count; i++) {
        count += w->agents[i].tasks_done;
    }
    return count;
}

/* ---- tests ---- */

/* A node named by address is looked at by one agent, joins, and gets its slots in a second round;
 * the sums count slots only. */
static void test_add(void **state)
{
    (void)state;
    struct world w;
    int spare = begin(&w, 3);
    assert_int_equal(told_of(&w, spare), 0);
    int number = world_add(&w, 0, COMMAND_START, spare);
    WORLD_UNTIL(&w, 1000, world_answer(&w, number)->is_done);
    assert_int_equal(world_answer(&w, number)->err.code, 0);
    assert_int_equal(world_answer(&w, number)->plan.batch_count, 0);
    WORLD_UNTIL(&w, 10000, told_of(&w, spare) == 1);
    WORLD_UNTIL(&w, 60000, world_state(&w) == OPERATION_DONE);
    assert_int_equal(world_slots_of(&w, spare), SHARE);
    const struct operation *operation = world_operation(&w);
    assert_int_equal(operation->slots_total, SHARE);
    assert_int_equal(operation->slots_moved, SHARE);
    const struct plan *plan = plan_of(&w);
    assert_int_equal(plan->batch_count, 4);
    assert_int_equal(plan->settled_count, 1);
    assert_int_equal(plan->batches[0].task->kind, TASK_JOIN);
    assert_int_equal(world_log_count(&w, "operation.grown"), 2);
    assert_int_equal(world_log_count(&w, "batch.ordered"), 4);
    assert_int_equal(tasks_done(&w), 1);
    WORLD_UNTIL(&w, 5000, strstr(world_why(&w), "nothing to do") != NULL);
    /* The same again finds nothing to do, and makes no operation. */
    int again = world_add(&w, 0, COMMAND_START, spare);
    assert_true(world_answer(&w, again)->is_done);
    assert_int_equal(world_answer(&w, again)->operation_id[0], '\0');
    assert_non_null(strstr(world_answer(&w, again)->description, "nothing to do"));
    world_release(&w);
}

/* What is refused at the start is told at once, and is no operation. */
static void test_refused_at_start(void **state)
{
    (void)state;
    struct world w;
    int spare = begin(&w, 1);
    script.refuses = true;
    int number = world_add(&w, 0, COMMAND_START, spare);
    assert_true(world_answer(&w, number)->is_done);
    assert_int_equal(world_answer(&w, number)->err.code, ERR_REFUSED);
    assert_string_equal(world_answer(&w, number)->err.text, "not today");
    assert_null(world_operation(&w));
    world_release(&w);
}

/* A dry run has the addresses looked at, and shows the first steps and what is foreseen; after a
 * while the nodes are left alone again. */
static void test_dry_run(void **state)
{
    (void)state;
    struct world w;
    int spare = begin(&w, 2);
    int first = world_add(&w, 0, COMMAND_PLAN, spare);
    assert_int_equal(world_answer(&w, first)->plan.batch_count, 0);
    assert_non_null(strstr(world_answer(&w, first)->description, "0 spares seen"));
    world_run(&w, 3000);
    int second = world_add(&w, 0, COMMAND_PLAN, spare);
    assert_int_equal(world_answer(&w, second)->plan.batch_count, 1);
    assert_int_equal(world_answer(&w, second)->plan.batches[0].task->kind, TASK_JOIN);
    assert_int_not_equal(world_answer(&w, second)->plan.topology_digest, 0);
    assert_non_null(strstr(world_answer(&w, second)->description, "1 spares seen"));
    assert_null(world_operation(&w));
    /* A spare is in nobody's way. */
    assert_non_null(strstr(world_why(&w), "nothing to do"));
    WORLD_UNTIL(&w, 70000, told_of(&w, spare) == 0);
    world_release(&w);
}

/* A refusal after something was done holds the operation; once its cause is gone it goes on. */
static void test_refused_in_the_middle(void **state)
{
    (void)state;
    struct world w;
    int spare = begin(&w, 1);
    script.refuses_after_join = true;
    int number = world_add(&w, 0, COMMAND_START, spare);
    WORLD_UNTIL(&w, 60000, world_state(&w) == OPERATION_HELD);
    assert_int_equal(world_operation(&w)->reason_code, ERR_REFUSED);
    assert_string_equal(world_operation(&w)->reason, "not any more");
    script.refuses_after_join = false;
    (void)world_verb(&w, 0, COMMAND_RESUME, world_answer(&w, number)->operation_id);
    WORLD_UNTIL(&w, 60000, world_state(&w) == OPERATION_DONE);
    assert_int_equal(world_slots_of(&w, spare), SHARE);
    assert_int_equal(tasks_done(&w), 1);
    world_release(&w);
}

/* A first task that an agent turns down has done nothing: the operation fails with its words, and
 * the node is not looked at any more. */
static void test_task_turned_down(void **state)
{
    (void)state;
    struct world w;
    int spare = begin(&w, 2);
    for (int i = 0; i < 2; i++) {
        w.agents[i].ends_as = ORDER_FAILED;
        w.agents[i].ends_code = ERR_REFUSED;
        w.agents[i].ends_reason = "the node holds 3 keys";
    }
    (void)world_add(&w, 0, COMMAND_START, spare);
    WORLD_UNTIL(&w, 30000, world_state(&w) == OPERATION_FAILED);
    assert_int_equal(world_operation(&w)->reason_code, ERR_REFUSED);
    assert_non_null(strstr(world_operation(&w)->reason, "join 10.0.0.4:7004"));
    assert_non_null(strstr(world_operation(&w)->reason, "the node holds 3 keys"));
    WORLD_UNTIL(&w, 10000, told_of(&w, spare) == 0);
    world_release(&w);
}

/* A task that fails for the moment is tried three times; then a person is asked, and after `resume`
 * what comes next is decided anew. */
static void test_task_fails(void **state)
{
    (void)state;
    struct world w;
    int spare = begin(&w, 1);
    script.goes_in_circles = true; /* begins with a meeting */
    w.agents[0].ends_as = ORDER_FAILED;
    w.agents[0].ends_code = ERR_TIMEOUT;
    w.agents[0].ends_reason = "no answer";
    int number = world_add(&w, 0, COMMAND_START, spare);
    WORLD_UNTIL(&w, 300000, world_state(&w) == OPERATION_HELD);
    assert_int_equal(plan_of(&w)->batches[0].attempt, 3);
    script.goes_in_circles = false;
    w.agents[0].ends_as = 0;
    (void)world_verb(&w, 0, COMMAND_RESUME, world_answer(&w, number)->operation_id);
    WORLD_UNTIL(&w, 60000, world_state(&w) == OPERATION_DONE);
    assert_int_equal(plan_of(&w)->batches[0].state, BATCH_STOPPED);
    assert_int_equal(plan_of(&w)->batches[1].task->kind, TASK_JOIN);
    assert_int_equal(tasks_done(&w), 1);
    world_release(&w);
}

/* A join that is given up was undone by its agent: nothing is left of it, the operation fails. */
static void test_join_fails(void **state)
{
    (void)state;
    struct world w;
    int spare = begin(&w, 1);
    w.agents[0].ends_as = ORDER_FAILED;
    w.agents[0].ends_code = ERR_TIMEOUT;
    w.agents[0].ends_reason = "no answer";
    (void)world_add(&w, 0, COMMAND_START, spare);
    WORLD_UNTIL(&w, 300000, world_state(&w) == OPERATION_FAILED);
    assert_int_equal(world_operation(&w)->reason_code, ERR_TIMEOUT);
    assert_non_null(strstr(world_operation(&w)->reason, "gave up after 3 attempts"));
    world_release(&w);
}

/* Steps that change nothing do not go on for ever. */
static void test_circles(void **state)
{
    (void)state;
    struct world w;
    int spare = begin(&w, 1);
    script.goes_in_circles = true;
    (void)world_add(&w, 0, COMMAND_START, spare);
    WORLD_UNTIL(&w, 120000, world_state(&w) == OPERATION_HELD);
    assert_in_range(tasks_done(&w), 2, 8);
    assert_non_null(strstr(world_operation(&w)->reason, "changed nothing"));
    world_release(&w);
}

/* Nor does a wait: with nothing done the operation fails and makes room for others. */
static void test_waits_too_long(void **state)
{
    (void)state;
    struct world w;
    int spare = begin(&w, 1);
    script.waits = true;
    (void)world_add(&w, 0, COMMAND_START, spare);
    world_run(&w, 5000);
    assert_non_null(strstr(world_why(&w), "waits for the moon"));
    WORLD_UNTIL(&w, 310000, world_state(&w) == OPERATION_FAILED);
    assert_int_equal(world_operation(&w)->reason_code, ERR_TIMEOUT);
    world_release(&w);
}

/* Pause in the middle of a task stops it; resume decides anew; nothing is done twice. */
static void test_pause_in_task(void **state)
{
    (void)state;
    struct world w;
    int spare = begin(&w, 1);
    w.agents[0].task_ticks = 100;
    int number = world_add(&w, 0, COMMAND_START, spare);
    WORLD_UNTIL(&w, 20000, w.agents[0].order_count > 0);
    const char *id = world_answer(&w, number)->operation_id;
    (void)world_verb(&w, 0, COMMAND_PAUSE, id);
    WORLD_UNTIL(&w, 10000, world_state(&w) == OPERATION_PAUSED);
    assert_int_equal(tasks_done(&w), 0);
    int asked = script.asked;
    world_run(&w, 5000);
    assert_int_equal(script.asked, asked); /* a paused operation plans nothing */
    (void)world_verb(&w, 0, COMMAND_RESUME, id);
    WORLD_UNTIL(&w, 60000, world_state(&w) == OPERATION_DONE);
    assert_int_equal(tasks_done(&w), 1);
    assert_int_equal(world_slots_of(&w, spare), SHARE);
    world_release(&w);
}

/* Cancel in the second round undoes nothing and leaves no slot open; a new operation may start. */
static void test_cancel_in_moves(void **state)
{
    (void)state;
    struct world w;
    int spare = begin(&w, 1);
    w.agents[0].moves_per_tick = 2;
    int number = world_add(&w, 0, COMMAND_START, spare);
    WORLD_UNTIL(&w, 60000, world_slots_of(&w, spare) > 50);
    (void)world_verb(&w, 0, COMMAND_CANCEL, world_answer(&w, number)->operation_id);
    WORLD_UNTIL(&w, 10000, world_state(&w) == OPERATION_CANCELLED);
    int moved = world_slots_of(&w, spare);
    assert_in_range(moved, 50, SHARE - 1);
    assert_true(w.nodes[spare].is_member);
    for (int i = 0; i < w.node_count; i++) {
        assert_int_equal(w.nodes[i].open_slot, -1);
    }
    WORLD_UNTIL(&w, 5000, strstr(world_why(&w), "nothing to do") != NULL);
    (void)world_add(&w, 0, COMMAND_START, spare);
    WORLD_UNTIL(&w, 60000, world_state(&w) == OPERATION_DONE);
    assert_int_equal(world_slots_of(&w, spare), SHARE);
    world_release(&w);
}

/* A new leader finds a task under way: it waits for the agent's word, and the task is done once. */
static void test_takeover_in_task(void **state)
{
    (void)state;
    struct world w;
    int spare = begin(&w, 1);
    world_start(&w, 1);
    w.agents[0].task_ticks = 40;
    (void)world_add(&w, 0, COMMAND_START, spare);
    WORLD_UNTIL(&w, 20000, w.agents[0].order_count > 0);
    world_run(&w, 200);
    world_kill(&w, 0);
    WORLD_UNTIL(&w, 12000, world_leader(&w) == 1);
    WORLD_UNTIL(&w, 90000, world_state(&w) == OPERATION_DONE);
    assert_int_equal(tasks_done(&w), 1);
    assert_int_equal(world_slots_of(&w, spare), SHARE);
    assert_int_equal(plan_of(&w)->batch_count >= 4, 1);
    world_release(&w);
}

/* A leader that dies anywhere in the operation: whatever was journalled of a round, the next one
 * comes to the same end. */
static void test_takeover_anywhere(void **state)
{
    (void)state;
    for (int64_t after_ms = 0; after_ms < 4000; after_ms += 90) {
        struct world w;
        int spare = begin(&w, 2);
        w.store.latency_ms = 40; /* wide gaps between one transaction and the next */
        world_start(&w, 1);
        (void)world_add(&w, 0, COMMAND_START, spare);
        world_run(&w, after_ms);
        bool is_begun = world_operation(&w) != NULL;
        world_kill(&w, 0);
        WORLD_UNTIL(&w, 15000, world_leader(&w) == 1);
        world_run(&w, 2000);
        if (world_operation(&w) == NULL) {
            assert_true(!is_begun || after_ms < 200); /* it died before the start was durable */
            (void)world_add(&w, 1, COMMAND_START, spare);
        }
        WORLD_UNTIL(&w, 90000, world_state(&w) == OPERATION_DONE);
        assert_int_equal(world_slots_of(&w, spare), SHARE);
        assert_int_equal(tasks_done(&w), 1);
        world_release(&w);
    }
}

/* Stops the world in the second round, with its journal falsified as a death in the middle of
 * writing it would leave it. */
static void falsify(struct world *w, int spare, int plan_counts, int batches_kept)
{
    world_start(w, 1);
    w->agents[0].does_nothing = false;
    (void)world_add(w, 0, COMMAND_START, spare);
    WORLD_UNTIL(w, 60000, world_log_count(w, "operation.grown") == 2);
    char id[OPERATION_ID_SIZE];
    memcpy(id, world_operation(w)->id, sizeof(id));
    w->agents[0].is_cut = true; /* never hears of the orders */
    world_run(w, 300);
    world_kill(w, 0);
    char key[STORE_KEY_SIZE_MAX];
    (void)snprintf(key, sizeof(key), "plans/%s", id);
    struct world_kv *plan = world_stored(w, key);
    assert_non_null(plan);
    assert_int_equal(plan->record.as.plan.batch_count, 4);
    plan->record.as.plan.batch_count = plan_counts;
    plan->record.as.plan.slot_count = plan_counts == 1 ? 0 : SHARE;
    for (int i = 1; i < 4; i++) {
        (void)snprintf(key, sizeof(key), "batches/%s/%05d", id, i);
        struct world_kv *batch = world_stored(w, key);
        assert_non_null(batch);
        struct record fresh = {.kind = RECORD_BATCH};
        batch_copy(&fresh.as.batch, &batch->record.as.batch);
        fresh.as.batch.state = BATCH_WAITING;
        fresh.as.batch.attempt = 0;
        world_store_put(w, key, &fresh);
        record_release(&fresh);
        if (i >= batches_kept) {
            world_stored(w, key)->record.as.batch.index = 9999; /* as good as not there */
        }
    }
    w->agents[0].is_cut = false;
}

/* Batches without the plan that counts them, or the reverse: what was never begun is asked for
 * anew. */
static void test_half_grown(void **state)
{
    (void)state;
    static const struct {
        int plan_counts;
        int batches_kept;
    } cases[] = {{1, 4}, {1, 2}, {4, 1}, {4, 3}};
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct world w;
        int spare = begin(&w, 1);
        falsify(&w, spare, cases[i].plan_counts, cases[i].batches_kept);
        WORLD_UNTIL(&w, 15000, world_leader(&w) == 1);
        WORLD_UNTIL(&w, 120000, world_state(&w) == OPERATION_DONE);
        assert_int_equal(world_slots_of(&w, spare), SHARE);
        assert_int_equal(tasks_done(&w), 1);
        assert_int_equal(world_operation(&w)->slots_total, plan_of(&w)->slot_count);
        world_release(&w);
    }
}

/* The record of this batch, of whichever operation; NULL = none. */
static struct world_kv *stored_batch(struct world *w, int index)
{
    char end[16];
    (void)snprintf(end, sizeof(end), "/%05d", index);
    for (int i = 0; i < w->store.kv_count; i++) {
        const char *key = w->store.kvs[i].key;
        if (strncmp(key, "batches/", 8) == 0 && strcmp(key + strlen(key) - strlen(end), end) == 0) {
            return &w->store.kvs[i];
        }
    }
    return NULL;
}

/* A batch that the plan does not count cannot have been ordered: where one was, the store is not as
 * a leader of ours leaves it. Its agent may still work: nothing is dropped and nothing is done. */
static void test_ordered_but_not_counted(void **state)
{
    (void)state;
    struct world w;
    int spare = begin(&w, 1);
    falsify(&w, spare, 1, 4);
    stored_batch(&w, 2)->record.as.batch.attempt = 1;
    WORLD_UNTIL(&w, 15000, world_leader(&w) == 1);
    int orders = world_log_count(&w, "batch.ordered");
    WORLD_UNTIL(&w, 15000, strstr(world_why(&w), "plans/") != NULL);
    world_run(&w, 30000);
    assert_int_equal(world_state(&w), OPERATION_RUNNING);
    assert_int_equal(world_log_count(&w, "batch.ordered"), orders);
    for (int i = 0; i < 4; i++) {
        assert_non_null(stored_batch(&w, i));
    }
    world_release(&w);
}

/* The most orders that lived at once until the operation was done. */
static int most_running(struct world *w)
{
    int most = 0;
    while (world_state(w) != OPERATION_DONE && w->now_ms < 60000) {
        world_run(w, 20);
        int running = 0;
        for (int i = 0; i < w->agent_count; i++) {
            for (int n = 0; n < w->agents[i].order_count; n++) {
                running += w->agents[i].orders[n].status.state == ORDER_RUNNING ? 1 : 0;
            }
        }
        most = running > most ? running : most;
    }
    assert_int_equal(world_state(w), OPERATION_DONE);
    return most;
}

/* Tasks of different nodes go side by side; a node is in one at a time. */
static void test_parallel(void **state)
{
    (void)state;
    struct world w;
    memset(&script, 0, sizeof(script));
    script.keeps_without_slots = true;
    world_init(&w, 2, 0, 2);
    struct address addresses[4];
    for (int i = 0; i < 4; i++) {
        addresses[i] = w.nodes[world_add_spare(&w)].address;
    }
    world_start(&w, 0);
    WORLD_UNTIL(&w, 5000, strstr(world_why(&w), "nothing to do") != NULL);
    struct coordinator_command command = {.kind = COMMAND_START};
    command.request.kind = OPERATION_ADD;
    command.request.addresses = addresses;
    command.request.address_count = 4;
    (void)world_command(&w, 0, &command);
    assert_int_equal(most_running(&w), 4);
    assert_int_equal(tasks_done(&w), 4);
    world_release(&w);
}

/* A node is in one task at a time, and in none while slots move to it. */
static void test_one_at_a_time(void **state)
{
    (void)state;
    struct world w;
    int spare = begin(&w, 2);
    script.doubles = true;
    (void)world_add(&w, 0, COMMAND_START, spare);
    script.keeps_without_slots = true;
    assert_int_equal(most_running(&w), 1);
    assert_int_equal(tasks_done(&w), 2);
    world_release(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_add),
        cmocka_unit_test(test_refused_at_start),
        cmocka_unit_test(test_dry_run),
        cmocka_unit_test(test_refused_in_the_middle),
        cmocka_unit_test(test_task_turned_down),
        cmocka_unit_test(test_task_fails),
        cmocka_unit_test(test_join_fails),
        cmocka_unit_test(test_circles),
        cmocka_unit_test(test_waits_too_long),
        cmocka_unit_test(test_pause_in_task),
        cmocka_unit_test(test_cancel_in_moves),
        cmocka_unit_test(test_takeover_in_task),
        cmocka_unit_test(test_takeover_anywhere),
        cmocka_unit_test(test_half_grown),
        cmocka_unit_test(test_ordered_but_not_counted),
        cmocka_unit_test(test_parallel),
        cmocka_unit_test(test_one_at_a_time),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
