/* test_agent.c — the agent as coordinators see it: hello, reports, orders, expiry, fences. */
#include "helper_fake.h"

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SENDS_MAX 64

/* A coordinator played by the test: what was sent to it waits here until it is answered. */
struct post {
    uint64_t req_id;
    int coordinator;
    int64_t sent_ms;
    struct message message;
};

static struct fake *fake;
static struct agent *agent;
static struct post posts[SENDS_MAX];
static int post_count;
static int64_t fence_asked; /* a SAVE_FENCE waits for its answer; 0 = none */
static bool fence_is_slow;  /* the test answers SAVE_FENCE itself */
static bool has_exited;
static struct err exit_err;
static int lost_warnings; /* "session.lost" at level warn */

static void take(struct agent_effects *fx)
{
    fake_take(fake, fx);
    for (int i = 0; i < fx->count; i++) {
        struct agent_effect *effect = &fx->items[i];
        if (effect->kind == AGENT_FX_SEND) {
            assert_true(post_count < SENDS_MAX);
            posts[post_count++] = (struct post){effect->req_id, effect->coordinator_index,
                                                fake->now_ms, effect->message};
            memset(&effect->message, 0, sizeof(effect->message));
        } else if (effect->kind == AGENT_FX_SAVE_FENCE) {
            fence_asked = effect->fence;
        } else if (effect->kind == AGENT_FX_EXIT) {
            has_exited = true;
            exit_err = effect->err;
        } else if (effect->kind == AGENT_FX_LOG && effect->log.level == LOG_WARN) {
            lost_warnings += strcmp(effect->log.name, "session.lost") == 0;
        }
    }
    agent_effects_clear(fx);
}

static void feed(struct agent_event *event)
{
    struct agent_effects fx = {0};
    event->now_ms = fake->now_ms;
    agent_step(agent, event, &fx);
    take(&fx);
    agent_effects_release(&fx);
    if (fence_asked != 0 && !fence_is_slow) {
        struct agent_event saved = {.kind = AGENT_FENCE_SAVED, .fence = fence_asked};
        fence_asked = 0;
        feed(&saved);
    }
}

static void answer_redis(void)
{
    struct agent_event event;
    struct reply_list replies = {0};
    while (fake_answer(fake, &event, &replies)) {
        feed(&event);
        replies_release(&replies);
    }
}

/* Lets time pass: Redis answers at once, coordinators only when the test says so. */
static void pass(int64_t ms)
{
    int64_t until_ms = fake->now_ms + ms;
    for (;;) {
        answer_redis();
        int64_t deadline_ms = agent_deadline(agent);
        if (deadline_ms > until_ms || has_exited) {
            break;
        }
        fake->now_ms = deadline_ms > fake->now_ms ? deadline_ms : fake->now_ms;
        struct agent_event tick = {.kind = AGENT_TICK};
        feed(&tick);
    }
    fake->now_ms = until_ms > fake->now_ms ? until_ms : fake->now_ms;
}

/* Answers and removes the post at 'index'. */
static void reply(int index, const struct message *message, int code)
{
    assert_true(index < post_count);
    struct post post = posts[index];
    post_count--;
    memmove(&posts[index], &posts[index + 1], (size_t)(post_count - index) * sizeof(posts[0]));
    message_release(&post.message);
    struct agent_event event = {
        .kind = AGENT_MESSAGE, .req_id = post.req_id, .code = code, .message = message};
    feed(&event);
}

static void welcome(int64_t fence)
{
    assert_int_equal(posts[0].message.kind, MESSAGE_HELLO);
    struct message message = {.kind = MESSAGE_WELCOME};
    message.as.welcome =
        (struct welcome){.session = 77, .fence = fence, .report_interval_ms = 1000};
    reply(0, &message, 0);
}

static void instruct(int index, struct instructions *in, int64_t fence)
{
    struct message message = {.kind = MESSAGE_INSTRUCTIONS};
    in->fence = fence;
    message.as.instructions = *in;
    reply(index, &message, 0);
}

/* Lets everything time out that was sent, as when the network is gone. */
static void lose_posts(void)
{
    while (post_count > 0) {
        reply(0, NULL, ERR_TIMEOUT);
    }
}

static void refuse(int index, int code, const char *leader_url)
{
    struct message message = {.kind = MESSAGE_REFUSAL};
    message.as.refusal.code = code;
    (void)snprintf(message.as.refusal.leader_url, sizeof(message.as.refusal.leader_url), "%s",
                   leader_url);
    reply(index, &message, 0);
}

static int find_report(bool is_held)
{
    for (int i = post_count - 1; i >= 0; i--) {
        const struct report *report = &posts[i].message.as.report;
        if (posts[i].message.kind == MESSAGE_REPORT && (report->wait_ms > 0) == is_held) {
            return i;
        }
    }
    return -1;
}

/* Lets time pass and answers progress reports with nothing, until a report tells how the only order
 * ended. */
static struct order_status told_end(int64_t fence)
{
    for (int round = 0; round < 300; round++) {
        for (int i = 0; i < post_count; i++) {
            const struct report *report = &posts[i].message.as.report;
            bool is_told = posts[i].message.kind == MESSAGE_REPORT && report->order_count == 1 &&
                           order_state_is_final(report->orders[0].state);
            if (is_told) {
                return report->orders[0];
            }
        }
        int progress = find_report(false);
        if (progress >= 0) {
            instruct(progress, &(struct instructions){0}, fence);
        }
        pass(100);
    }
    fail_msg("the order does not end");
    return (struct order_status){0};
}

static int set_up(void **state)
{
    static const char *const urls[] = {"tcp://one:1", "tcp://two:2"};
    (void)state;
    fake = calloc(1, sizeof(*fake));
    fake_init(fake);
    post_count = 0;
    fence_asked = 0;
    fence_is_slow = false;
    has_exited = false;
    lost_warnings = 0;
    struct agent_config config = {.id = {"host1"},
                                  .incarnation = 5,
                                  .seed = 3,
                                  .coordinator_count = 2,
                                  .coordinator_urls = urls,
                                  .nodes = &fake->nodes[0].address,
                                  .node_count = 1};
    agent = agent_new(&config, fake->now_ms);
    pass(10);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    for (int i = 0; i < post_count; i++) {
        message_release(&posts[i].message);
    }
    agent_free(agent);
    fake_release(fake);
    free(fake);
    return 0;
}

/* ---- session ---- */

/* After the welcome one report is held with all nodes in it; a full view only when it is asked for.
 */
static void reports_its_nodes(void **state)
{
    (void)state;
    welcome(4);
    pass(50);
    int held = find_report(true);
    assert_true(held >= 0);
    const struct report *report = &posts[held].message.as.report;
    assert_int_equal(report->session, 77);
    assert_true(report->has_nodes);
    assert_int_equal(report->node_count, 1);
    assert_true(report->nodes[0].is_reachable);
    assert_string_equal(report->nodes[0].id.text, fake->nodes[0].id.text);
    assert_int_equal(report->nodes[0].slots_owned, SLOT_COUNT / 2);
    assert_int_equal(report->view_count, 0);
    uint64_t digest = report->nodes[0].view_digest;
    assert_true(digest != 0);
    uint64_t wanted[] = {digest};
    instruct(held, &(struct instructions){.views_wanted = wanted, .view_wanted_count = 1}, 4);
    pass(50);
    int found = -1;
    for (int i = 0; i < post_count; i++) {
        found = posts[i].message.as.report.view_count == 1 ? i : found;
    }
    assert_true(found >= 0);
    assert_int_equal(posts[found].message.as.report.views[0].digest, digest);
    assert_non_null(strstr(posts[found].message.as.report.views[0].text, "myself,master"));
}

/* A refusal that names the leader sends the agent there at once; without a name it tries the next
 * one. */
static void follows_the_leader(void **state)
{
    (void)state;
    assert_int_equal(posts[0].coordinator, 0);
    refuse(0, ERR_NOT_LEADER, "tcp://two:2");
    pass(5);
    assert_int_equal(posts[0].coordinator, 1);
    refuse(0, ERR_NOT_LEADER, "");
    pass(2000);
    assert_int_equal(posts[0].coordinator, 0);
}

/* A coordinator that does not answer is left for the next one; the agent never gives up. */
static void rotates_when_nobody_answers(void **state)
{
    (void)state;
    int last = 1;
    for (int i = 0; i < 20; i++) {
        assert_int_equal(post_count, 1);
        assert_int_equal(posts[0].coordinator, 1 - last);
        last = posts[0].coordinator;
        reply(0, NULL, ERR_TIMEOUT);
        pass(2500);
    }
}

static void lose(int code, const char *why)
{
    struct err err = {0};
    err_set(&err, code, "%s", why);
    assert_int_equal(post_count, 1);
    uint64_t req_id = posts[0].req_id;
    message_release(&posts[--post_count].message);
    feed(&(struct agent_event){.kind = AGENT_MESSAGE, .req_id = req_id, .code = code, .err = &err});
    pass(2500);
}

/* A reason is warned of once a coordinator, a new one again, and all of them after a session. */
static void warns_of_each_reason_once(void **state)
{
    (void)state;
    for (int i = 0; i < 3; i++) {
        lose(ERR_TIMEOUT, "one: nobody listens");
        lose(ERR_TIMEOUT, "two: nobody listens");
    }
    assert_int_equal(lost_warnings, 2);
    lose(ERR_TIMEOUT, "one: not trusted");
    lose(ERR_TIMEOUT, "two: nobody listens");
    lose(ERR_TIMEOUT, "one: not trusted");
    assert_int_equal(lost_warnings, 3);
    welcome(4);
    pass(50);
    lose_posts();
    pass(2500);
    assert_int_equal(lost_warnings, 4);
}

/* An agent that was never let in ends with the reason, so that a person sees it. */
static void exits_when_its_credential_is_refused(void **state)
{
    (void)state;
    refuse(0, ERR_AUTH, "");
    assert_true(has_exited);
    assert_int_equal(exit_err.code, ERR_AUTH);
}

/* A leader that says "hello again" gets one, and the orders in hand go on. */
static void greets_again_when_told(void **state)
{
    (void)state;
    welcome(4);
    pass(50);
    refuse(find_report(true), ERR_CONFLICT, "");
    lose_posts();
    pass(500);
    assert_int_equal(posts[0].message.kind, MESSAGE_HELLO);
    assert_int_equal(posts[0].coordinator, 0);
}

/* ---- orders ---- */

static void give(struct order *order, int64_t fence)
{
    pass(50);
    int held = find_report(true);
    assert_true(held >= 0);
    instruct(held, &(struct instructions){.orders = order, .order_count = 1}, fence);
}

/* An order is carried out once, however often it is given, and its result is told until it may be
 * forgotten. */
static void carries_out_an_order_once(void **state)
{
    (void)state;
    fake_add_keys(fake, 0, 7, 30);
    welcome(4);
    struct order order;
    fake_order(fake, &order, "7");
    order.fence = 4;
    give(&order, 4);
    give(&order, 4);
    struct order_status status = told_end(4);
    assert_int_equal(status.state, ORDER_DONE);
    assert_int_equal(fake_count(fake, 1, 7), 30);
    give(&order, 4);
    pass(2000);
    int held = find_report(true);
    assert_int_equal(posts[held].message.as.report.order_count, 1);
    assert_int_equal(posts[held].message.as.report.orders[0].state, ORDER_DONE);
    assert_int_equal(fake_said_count(fake, "1 CLUSTER SETSLOT 7 NODE <1>"), 1);
    instruct(held, &(struct instructions){.forgets = &order.id, .forget_count = 1}, 4);
    pass(2000);
    assert_int_equal(posts[find_report(true)].message.as.report.order_count, 0);
}

/* Under a fence lower than one already seen nothing is begun: the instructions of such a leader are
 * not even read. */
static void refuses_a_leader_of_the_past(void **state)
{
    (void)state;
    welcome(4);
    pass(50);
    struct order order;
    fake_order(fake, &order, "7");
    order.fence = 3;
    give(&order, 3);
    pass(500);
    assert_int_equal(fake_said(fake, "1 CLUSTER SETSLOT"), -1);
    assert_int_equal(agent_fence(agent), 4);
    /* And an order with an old fence inside valid instructions is refused by name. */
    lose_posts();
    pass(3000);
    welcome(4);
    give(&order, 4);
    struct order_status status = told_end(4);
    assert_int_equal(status.state, ORDER_FAILED);
    assert_int_equal(status.reason_code, ERR_FENCED);
    assert_int_equal(fake_said(fake, "1 CLUSTER SETSLOT"), -1);
}

/* The fence is acknowledged only when it is on disk and no older command runs any more; older
 * orders end as expired. */
static void acknowledges_a_fence_when_older_work_has_ended(void **state)
{
    (void)state;
    fake_add_keys(fake, 0, 7, 1000);
    welcome(4);
    struct order order;
    fake_order(fake, &order, "7");
    order.fence = 4;
    pass(50);
    instruct(find_report(true), &(struct instructions){.orders = &order, .order_count = 1}, 4);
    /* Up to a MIGRATE that is on its way. */
    for (int i = 0; i < 200 && (fake->flight_count == 0 ||
                                !commands_arg_is(&fake->flights[0].commands, 0, 0, "MIGRATE"));
         i++) {
        struct agent_event event;
        struct reply_list replies = {0};
        if (fake_answer(fake, &event, &replies)) {
            feed(&event);
        }
        replies_release(&replies);
    }
    assert_true(commands_arg_is(&fake->flights[0].commands, 0, 0, "MIGRATE"));
    fence_is_slow = true;
    int in_flight = fake->flight_count;
    int progress = find_report(false);
    instruct(progress >= 0 ? progress : find_report(true), &(struct instructions){0}, 9);
    assert_int_equal(agent_fence(agent), 9);
    assert_int_equal(fence_asked, 9);
    assert_int_equal(fake->flight_count, in_flight); /* nothing more is asked */
    fence_asked = 0;
    struct agent_event saved = {.kind = AGENT_FENCE_SAVED, .fence = 9};
    feed(&saved);
    for (int i = 0; i < post_count; i++) {
        assert_true(posts[i].message.as.report.fence_acked < 9); /* the MIGRATE still runs */
    }
    answer_redis();
    fence_is_slow = false;
    pass(600);
    int latest = find_report(false);
    assert_true(latest >= 0);
    assert_int_equal(posts[latest].message.as.report.fence_acked, 9);
    assert_int_equal(posts[latest].message.as.report.orders[0].state, ORDER_EXPIRED);
    assert_true(fake_count(fake, 0, 7) > 0);
    assert_int_equal(fake_said(fake, "1 CLUSTER SETSLOT 7 NODE"), -1);
}

/* A fence that cannot be written lets nothing begin. */
static void begins_nothing_before_the_fence_is_on_disk(void **state)
{
    (void)state;
    fence_is_slow = true;
    welcome(4);
    struct order order;
    fake_order(fake, &order, "7");
    order.fence = 4;
    give(&order, 4);
    pass(1500);
    assert_int_equal(fake_said(fake, "1 CLUSTER"), -1);
    struct agent_event failed = {.kind = AGENT_FENCE_SAVED, .fence = 4, .code = ERR_IO};
    feed(&failed);
    pass(1500);
    assert_int_equal(fake_said(fake, "1 CLUSTER"), -1);
    assert_int_equal(fence_asked, 4); /* tried again */
    fence_is_slow = false;
    struct agent_event saved = {.kind = AGENT_FENCE_SAVED, .fence = 4};
    feed(&saved);
    pass(1500);
    assert_true(fake_said(fake, "1 CLUSTER SETSLOT 7 NODE <1>") >= 0);
}

/* The expiry counts from when the report was SENT that the order answers; without renewal the order
 * ends there. */
static void lets_an_order_expire(void **state)
{
    (void)state;
    welcome(4);
    pass(50);
    fake->nodes[1].is_state_fail = true; /* the mover waits for the target */
    struct order order;
    fake_order(fake, &order, "7");
    order.fence = 4;
    order.valid_for_ms = 2000;
    int held = find_report(true);
    int64_t sent_ms = posts[held].sent_ms;
    pass(700); /* the answer is late; that does not lengthen the order */
    instruct(held, &(struct instructions){.orders = &order, .order_count = 1}, 4);
    pass(sent_ms + 1990 - fake->now_ms);
    assert_int_equal(agent_running_orders(agent), 1);
    pass(20);
    assert_int_equal(agent_running_orders(agent), 0);
    struct order_status status = told_end(4);
    assert_int_equal(status.state, ORDER_EXPIRED);
    fake->nodes[1].is_state_fail = false;
    pass(3000);
    assert_int_equal(fake_said(fake, "1 CLUSTER SETSLOT"), -1);
}

/* A renewal keeps it going. */
static void goes_on_with_a_renewed_order(void **state)
{
    (void)state;
    welcome(4);
    fake->nodes[1].is_state_fail = true;
    struct order order;
    fake_order(fake, &order, "7");
    order.fence = 4;
    order.valid_for_ms = 3000;
    give(&order, 4);
    for (int i = 0; i < 4; i++) {
        pass(1000);
        struct renewal renewal = {.id = order.id, .valid_for_ms = 3000};
        int held = find_report(true);
        assert_true(held >= 0);
        instruct(held, &(struct instructions){.renewals = &renewal, .renewal_count = 1}, 4);
    }
    assert_int_equal(agent_running_orders(agent), 1);
    fake->nodes[1].is_state_fail = false;
    struct order_status status = told_end(4);
    assert_int_equal(status.state, ORDER_DONE);
}

/* Two moves from one source go one after the other. */
static void works_on_a_source_with_one_move_at_a_time(void **state)
{
    (void)state;
    fake_add_keys(fake, 0, 7, 400);
    fake_add_keys(fake, 0, 8, 400);
    welcome(4);
    struct order orders[2];
    fake_order(fake, &orders[0], "7");
    fake_order(fake, &orders[1], "8");
    orders[0].fence = 4;
    orders[1].fence = 4;
    orders[1].id.batch_index = 1;
    pass(50);
    instruct(find_report(true), &(struct instructions){.orders = orders, .order_count = 2}, 4);
    pass(2000);
    assert_int_equal(fake_count(fake, 1, 7), 400);
    assert_int_equal(fake_count(fake, 1, 8), 400);
    assert_true(fake_said(fake, "0 CLUSTER SETSLOT 7 NODE") <
                fake_said(fake, "1 CLUSTER SETSLOT 8 IMPORTING"));
}

/* A stop request finishes the slots in hand; then the agent goes. */
static void leaves_when_asked_to(void **state)
{
    (void)state;
    fake_add_keys(fake, 0, 7, 300);
    welcome(4);
    struct order order;
    fake_order(fake, &order, "0-2000");
    order.fence = 4;
    give(&order, 4);
    struct agent_event stop = {.kind = AGENT_STOP};
    feed(&stop);
    pass(31000);
    assert_true(has_exited);
    assert_int_equal(exit_err.code, 0);
    for (int slot = 0; slot <= 2000; slot++) {
        assert_int_equal(fake->nodes[0].migrating[slot], -1);
        assert_int_equal(fake->nodes[1].importing[slot], -1);
    }
}

/* A scan counts and sizes, changes nothing, and names big keys. */
static void scans_slots(void **state)
{
    (void)state;
    fake_add_keys(fake, 0, 7, 30);
    fake_add_keys(fake, 0, 9, 10);
    fake->keys[4].bytes = 5 * 1024 * 1024;
    welcome(4);
    struct order order;
    fake_order(fake, &order, "5-9");
    order.fence = 4;
    order.kind = ORDER_SCAN;
    give(&order, 4);
    struct order_status status = told_end(4);
    assert_int_equal(status.state, ORDER_DONE);
    assert_int_equal(status.keys_moved, 40);
    assert_int_equal(status.bytes_moved, 39 * 100 + 5 * 1024 * 1024);
    assert_int_equal(status.big_key_count, 1);
    assert_int_equal(slotset_count(&status.slots_done), 5);
    assert_int_equal(fake_said(fake, "0 CLUSTER SETSLOT"), -1);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(reports_its_nodes),
        TEST(follows_the_leader),
        TEST(rotates_when_nobody_answers),
        TEST(warns_of_each_reason_once),
        TEST(exits_when_its_credential_is_refused),
        TEST(greets_again_when_told),
        TEST(carries_out_an_order_once),
        TEST(refuses_a_leader_of_the_past),
        TEST(acknowledges_a_fence_when_older_work_has_ended),
        TEST(begins_nothing_before_the_fence_is_on_disk),
        TEST(lets_an_order_expire),
        TEST(goes_on_with_a_renewed_order),
        TEST(works_on_a_source_with_one_move_at_a_time),
        TEST(leaves_when_asked_to),
        TEST(scans_slots),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
