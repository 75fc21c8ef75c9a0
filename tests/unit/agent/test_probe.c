/* test_probe.c — which views count as the same: the coordinator keeps one text for each, and asks
 * for another only when it is told another digest. And for how long a node has owned its slots. */
#include "agent/core/probe.h"

#include "common/model/reply.h"

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#define OWN "9c218d4754aee395897524909dcdbf0a5d587835 10.0.0.1:7000@17000 myself,master - 0 0 1 "
#define OTHER "990452572de654d208bad0ca69d88abbdf0d70b8 10.0.0.2:7000@17000 master%s - 0 %d 2 "
#define MEETING "%040d 10.0.0.3:%d@17000 handshake - 0 0 0 disconnected\n"

static struct probe probe;
static int64_t now_ms;
static const char *version; /* what INFO says of it */

static void answer(struct reply_list *replies, const char *text)
{
    reply_set_text(replies, replies_add(replies), REPLY_STRING, text, strlen(text));
}

/* The digest that is reported once the node has shown this view. */
static uint64_t digest_of(const char *nodes)
{
    struct agent_effects fx = {0};
    probe_hurry_all(&probe, now_ms);
    probe_run(&probe, now_ms, &fx);
    for (int i = 0; i < fx.count; i++) {
        struct reply_list replies = {0};
        if (fx.items[i].kind != AGENT_FX_REDIS) {
            continue;
        }
        if (fx.items[i].commands.count > 1) {
            char info[160];
            (void)snprintf(info, sizeof(info),
                           "%sredis_version:7.0.15\r\nrun_id:a\r\nrole:master\r\n", version);
            answer(&replies, info);
            answer(&replies, "cluster_state:ok\r\ncluster_known_nodes:2\r\n");
            answer(&replies, nodes);
        } else {
            answer(&replies, "PONG");
        }
        struct agent_event event = {.kind = AGENT_REDIS,
                                    .now_ms = now_ms,
                                    .req_id = fx.items[i].req_id,
                                    .replies = &replies};
        struct agent_effects unused = {0};
        assert_true(probe_answer(&probe, &event, &unused));
        agent_effects_release(&unused);
        replies_release(&replies);
    }
    agent_effects_release(&fx);
    now_ms += 1000;
    assert_true(probe.nodes[0].report.is_reachable);
    return probe.nodes[0].report.view_digest;
}

/* 'port': of a node that is being met, under a made up id; 0 = none is. */
static uint64_t digest_with(const char *flags, int pong, int id, int port)
{
    char nodes[1024];
    char meeting[256];
    (void)snprintf(meeting, sizeof(meeting), MEETING, id, port);
    (void)snprintf(nodes, sizeof(nodes), OWN "connected 0-8191\n" OTHER "connected 8192-16383\n%s",
                   flags, pong, port == 0 ? "" : meeting);
    return digest_of(nodes);
}

static int set_up(void **state)
{
    (void)state;
    struct address address = {.host = "10.0.0.1", .port = 7000};
    now_ms = 1000;
    version = "";
    probe_init(&probe, 1, false, 2000);
    probe_add(&probe, &address, PROBE_CONFIGURED, now_ms);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    probe_release(&probe);
    return 0;
}

static void pongs_do_not_make_another_view(void **state)
{
    (void)state;
    uint64_t digest = digest_with("", 5, 0, 0);
    assert_true(digest != 0);
    assert_true(digest_with("", 6, 0, 0) == digest);
}

static void who_is_held_to_be_down_makes_another_view(void **state)
{
    (void)state;
    uint64_t digest = digest_with("", 5, 0, 0);
    uint64_t suspected = digest_with(",fail?", 5, 0, 0);
    assert_true(suspected != digest);
    assert_true(digest_with(",fail", 5, 0, 0) != suspected);
    assert_true(digest_with("", 5, 0, 0) == digest);
}

/* Else its end is never heard of, and whoever waits for it waits for ever. */
static void a_meeting_that_has_not_ended_makes_another_view(void **state)
{
    (void)state;
    uint64_t digest = digest_with("", 5, 0, 0);
    uint64_t meeting = digest_with("", 5, 7, 7000);
    assert_true(meeting != digest);
    assert_true(digest_with("", 5, 8, 7000) == meeting); /* the next try at it */
    assert_true(digest_with("", 5, 8, 7001) != meeting);
    assert_true(digest_with("", 5, 0, 0) == digest);
}

/* So that a mover need not wait there; the text is read although it is the same. */
static void a_valkey_nodes_slots_are_watched(void **state)
{
    (void)state;
    struct node_id id = {"9c218d4754aee395897524909dcdbf0a5d587835"};
    struct slotset slots = {0};
    slotset_add_range(&slots, 0, 8191);
    (void)digest_with("", 5, 0, 0);
    assert_null(probe_owned(&probe, &id));
    version = "server_name:valkey\r\nvalkey_version:8.0.1\r\n";
    (void)digest_with("", 5, 0, 0);
    const struct owned_watch *watch = probe_owned(&probe, &id);
    assert_non_null(watch);
    assert_true(owned_watch_ready_ms(watch, &slots, now_ms) > now_ms);
    for (int i = 0; i < 4; i++) {
        (void)digest_with("", 6 + i, 0, 0);
    }
    assert_true(owned_watch_ready_ms(watch, &slots, now_ms) <= now_ms);
    slotset_add(&slots, 8192); /* the other node's */
    assert_true(owned_watch_ready_ms(watch, &slots, now_ms) > now_ms);
    version = "";
    (void)digest_with("", 5, 0, 0);
    assert_null(probe_owned(&probe, &id));
}

#define EACH(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        EACH(pongs_do_not_make_another_view),
        EACH(who_is_held_to_be_down_makes_another_view),
        EACH(a_meeting_that_has_not_ended_makes_another_view),
        EACH(a_valkey_nodes_slots_are_watched),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
