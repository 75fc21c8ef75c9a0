/* test_owned_watch.c — nobody is told to import a slot that its owner has only just got, where the
 * server might take it for good: Valkey from 8 on (docs/redis_facts.md 13f). */
#include "helper_fake.h"

#include "agent/core/owned_watch.h"
#include "agent/core/repair.h"

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SLOT 7

/* ---- the watch by itself ---- */

static void see(struct owned_watch *watch, const char *slots, int epoch, int64_t now_ms)
{
    char text[256];
    struct nodes_view view = {0};
    (void)snprintf(
        text, sizeof(text),
        "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa 10.0.0.1:7000@17000 myself,master - 0 0 "
        "%d connected %s\n",
        epoch, slots);
    assert_int_equal(nodes_view_parse(&view, text, strlen(text), NULL), 0);
    owned_watch_see(watch, &view, now_ms);
    nodes_view_release(&view);
}

/* How long these slots have to wait yet. */
static int64_t wait_of(const struct owned_watch *watch, const char *text, int64_t now_ms)
{
    struct slotset slots;
    assert_int_equal(slotset_parse(&slots, text, NULL), 0);
    int64_t ready_ms = owned_watch_ready_ms(watch, &slots, now_ms);
    return ready_ms > now_ms ? ready_ms - now_ms : 0;
}

static void slots_rest_from_when_they_were_seen(void **state)
{
    (void)state;
    static struct owned_watch watch;
    assert_int_equal(wait_of(&watch, "1", 1000), OWNED_REST_MS);
    see(&watch, "0-9", 3, 1000);
    assert_int_equal(wait_of(&watch, "0-9", 1000), OWNED_REST_MS);
    assert_int_equal(wait_of(&watch, "0-9", 2500), OWNED_REST_MS - 1500);
    owned_watch_see_same(&watch, 1000 + OWNED_REST_MS);
    assert_int_equal(wait_of(&watch, "0-9", 1000 + OWNED_REST_MS), 0);
    for (int64_t now_ms = 4000; now_ms < 20000; now_ms += 700) { /* and ever after */
        owned_watch_see_same(&watch, now_ms);
        assert_int_equal(wait_of(&watch, "0-9", now_ms), 0);
    }
}

static void slots_that_come_later_rest_later(void **state)
{
    (void)state;
    struct owned_watch watch = {0};
    see(&watch, "0-9", 3, 1000);
    see(&watch, "0-9", 3, 9000);
    see(&watch, "0-10", 3, 9500);
    assert_int_equal(wait_of(&watch, "0-9", 9500), 0);
    assert_int_equal(wait_of(&watch, "0-10", 9500), OWNED_REST_MS);
    see(&watch, "0-10", 3, 11500);
    assert_int_equal(wait_of(&watch, "10", 11500), OWNED_REST_MS);
    see(&watch, "0-10", 3, 13500);
    assert_int_equal(wait_of(&watch, "0-10", 13500), 0);
}

static void slots_that_were_away_rest_anew(void **state)
{
    (void)state;
    struct owned_watch watch = {0};
    see(&watch, "0-9", 3, 1000);
    see(&watch, "0-9", 3, 5000);
    see(&watch, "0-8", 3, 6000);
    see(&watch, "0-9", 3, 6100);
    assert_int_equal(wait_of(&watch, "0-8", 6100), 0);
    assert_int_equal(wait_of(&watch, "9", 6100), OWNED_REST_MS);
    see(&watch, "0-9", 3, 7100);
    see(&watch, "0-9", 3, 20000);
    see(&watch, "0-9", 3, 30000);
    assert_int_equal(wait_of(&watch, "9", 30000), 0);
    see(&watch, "0-9", 5, 30100); /* lost and won back between two looks: another epoch */
    assert_int_equal(wait_of(&watch, "0", 30100), OWNED_REST_MS);
}

/* ---- mover and repair ---- */

static struct fake *fake;
static struct slot_mover *mover;
static struct repair *machine;

static int set_up(void **state)
{
    (void)state;
    fake = calloc(1, sizeof(*fake));
    fake_init(fake);
    fake_add_keys(fake, 0, SLOT, 3);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    slot_mover_free(mover);
    mover = NULL;
    repair_free(machine);
    machine = NULL;
    fake_release(fake);
    free(fake);
    return 0;
}

/* Virtual time from the beginning until the target is told to import. */
static int64_t mover_waits(void)
{
    int64_t begun_ms = fake->now_ms;
    while (fake_said(fake, "1 CLUSTER SETSLOT 7 IMPORTING") < 0) {
        assert_false(slot_mover_is_over(mover));
        fake_run(fake, mover, 1);
    }
    return fake->now_ms - begun_ms;
}

static void the_mover_waits_on_valkey_alone(void **state)
{
    (void)state;
    mover = fake_mover(fake, "7");
    assert_in_range(mover_waits(), 0, OWNED_REST_MS / 10);
    slot_mover_free(mover);
    mover = NULL;
    fake_release(fake);
    fake_init(fake);
    fake->is_valkey = true;
    fake_add_keys(fake, 0, SLOT, 3);
    mover = fake_mover(fake, "7");
    assert_in_range(mover_waits(), OWNED_REST_MS, 2 * OWNED_REST_MS);
    fake_run(fake, mover, -1);
    struct order_status status;
    slot_mover_status(mover, &status);
    assert_int_equal(status.state, ORDER_DONE);
    assert_int_equal(status.retries, 0);
}

static void the_mover_waits_for_nothing_that_is_known(void **state)
{
    (void)state;
    fake->is_valkey = true;
    struct owned_watch watch = {0};
    see(&watch, "0-16383", fake->nodes[0].config_epoch, fake->now_ms);
    fake->now_ms += OWNED_REST_MS;
    mover = fake_mover(fake, "7");
    slot_mover_know_owned(mover, &watch);
    assert_in_range(mover_waits(), 0, OWNED_REST_MS / 10);
    slot_mover_free(mover);
    fake_release(fake);
    fake_init(fake);
    fake->is_valkey = true;
    fake_add_keys(fake, 0, SLOT, 3);
    watch.epoch++; /* since then it lost slots and won some */
    mover = fake_mover(fake, "7");
    slot_mover_know_owned(mover, &watch);
    assert_in_range(mover_waits(), OWNED_REST_MS, 2 * OWNED_REST_MS);
}

/* A source that goes on winning slots: the order does not wait for ever. */
static void the_mover_gives_up_on_slots_that_stay_new(void **state)
{
    (void)state;
    struct order_status status;
    fake->is_valkey = true;
    mover = fake_mover(fake, "7");
    int64_t begun_ms = fake->now_ms;
    int64_t raised_ms = begun_ms;
    while (!slot_mover_is_over(mover)) {
        if (fake->now_ms - raised_ms >= OWNED_REST_MS / 2) {
            raised_ms = fake->now_ms;
            int epoch = ++fake->nodes[0].config_epoch;
            for (int n = 0; n < FAKE_NODES; n++) {
                fake->nodes[n].current_epoch = epoch;
            }
        }
        fake_run(fake, mover, 1);
    }
    slot_mover_status(mover, &status);
    assert_int_equal(status.state, ORDER_FAILED);
    assert_int_equal(status.reason_code, ERR_CONFLICT);
    assert_non_null(strstr(status.reason, "old words of the source"));
    assert_in_range(fake->now_ms - begun_ms, 60000, 70000);
    assert_int_equal(fake_said(fake, "1 CLUSTER SETSLOT"), -1);
}

/* The mark is there already: to wait would only keep clients on ASK for longer. */
static void the_mover_goes_on_with_what_is_open(void **state)
{
    (void)state;
    fake->is_valkey = true;
    fake->nodes[1].importing[SLOT] = 0;
    fake->nodes[0].migrating[SLOT] = 1;
    mover = fake_mover(fake, "7");
    assert_in_range(mover_waits(), 0, OWNED_REST_MS / 10);
}

static int64_t repair_waits(void)
{
    int64_t begun_ms = fake->now_ms;
    repair_free(machine);
    machine = fake_repair(fake, "7", 0);
    while (fake_said(fake, "1 CLUSTER SETSLOT 7 IMPORTING") < 0) {
        assert_false(repair_is_over(machine));
        fake_feed_repair(fake, machine);
    }
    int64_t waited_ms = fake->now_ms - begun_ms;
    while (!repair_is_over(machine)) {
        fake_feed_repair(fake, machine);
    }
    struct order_status status;
    repair_status(machine, &status);
    assert_int_equal(status.state, ORDER_DONE);
    assert_int_equal(fake_count(fake, 0, SLOT), 5);
    return waited_ms;
}

static void the_repair_waits_on_valkey_alone(void **state)
{
    (void)state;
    fake_add_keys(fake, 1, SLOT, 2); /* astray: node 0 owns the slot */
    assert_in_range(repair_waits(), 0, OWNED_REST_MS / 10);
    fake_release(fake);
    fake_init(fake);
    fake->is_valkey = true;
    fake_add_keys(fake, 0, SLOT, 3);
    fake_add_keys(fake, 1, SLOT, 2);
    assert_in_range(repair_waits(), OWNED_REST_MS, 2 * OWNED_REST_MS);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(slots_rest_from_when_they_were_seen),
        cmocka_unit_test(slots_that_come_later_rest_later),
        cmocka_unit_test(slots_that_were_away_rest_anew),
        TEST(the_mover_waits_on_valkey_alone),
        TEST(the_mover_waits_for_nothing_that_is_known),
        TEST(the_mover_gives_up_on_slots_that_stay_new),
        TEST(the_mover_goes_on_with_what_is_open),
        TEST(the_repair_waits_on_valkey_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
