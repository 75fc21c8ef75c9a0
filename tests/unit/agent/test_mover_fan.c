/* test_mover_fan.c — a claim reaches the very process that the keys were sent to: every SETSLOT
 * NODE at the target names the connection that it needs, wherever the move was cut before. */
#include "helper_fake.h"

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>

#include <stdlib.h>

static struct fake *fake;
static struct slot_mover *mover;
static int claims; /* requests that claimed slots, in the last run */

static int set_up(void **state)
{
    (void)state;
    fake = calloc(1, sizeof(*fake));
    fake_init(fake);
    fake->is_valkey = true;
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    slot_mover_free(mover);
    mover = NULL;
    fake_release(fake);
    free(fake);
    return 0;
}

static bool is_claim(const struct agent_effect *effect)
{
    return address_is_equal(&effect->address, &fake->nodes[1].address) &&
           commands_arg_is(&effect->commands, 0, 1, "SETSLOT") &&
           commands_arg_is(&effect->commands, 0, 3, "NODE");
}

/* So many events, or all of them: -1. What is on its way is looked at after each. */
static void run_checked(int steps)
{
    uint64_t last = 0;
    claims = 0;
    for (int i = 0; (steps < 0 || i < steps) && !slot_mover_is_over(mover); i++) {
        assert_true(i < 100000);
        fake_run(fake, mover, 1);
        for (int n = 0; n < fake->flight_count; n++) {
            const struct agent_effect *effect = &fake->flights[n];
            if (is_claim(effect) && effect->req_id > last) {
                last = effect->req_id;
                claims++;
                assert_int_not_equal(effect->connection_id, 0);
            }
        }
    }
}

/* Twenty slots go side by side, and each claim over a connection that opened some of them. */
static void claims_over_the_connections_that_opened_the_slots(void **state)
{
    (void)state;
    for (int slot = 0; slot < 20; slot++) {
        fake_add_keys(fake, 0, slot, 3);
    }
    mover = fake_mover(fake, "0-19");
    run_checked(-1);
    assert_true(claims >= LANE_FAN_COUNT);
}

/* Cut at every step and taken up by another: slots that the target has claimed already are not
 * opened again, so there is no connection of theirs. */
static void claims_again_over_the_connection_of_the_survey(void **state)
{
    (void)state;
    int narrow_count = 0;
    bool is_over = false;
    for (int steps = 0; !is_over; steps++) {
        assert_true(steps < 2000);
        for (int slot = 0; slot < 6; slot++) {
            fake_add_keys(fake, 0, slot, 2);
        }
        mover = fake_mover(fake, "0-5");
        run_checked(steps);
        is_over = slot_mover_is_over(mover);
        slot_mover_freeze(mover, ERR_FENCED, "another leader took over");
        fake_run(fake, mover, -1);
        slot_mover_free(mover);
        mover = fake_mover(fake, "0-5");
        run_checked(-1);
        narrow_count += claims == 1;
        struct order_status status;
        slot_mover_status(mover, &status);
        assert_int_equal(status.state, ORDER_DONE);
        (void)tear_down(state);
        (void)set_up(state);
    }
    assert_true(narrow_count > 0); /* it was met */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(claims_over_the_connections_that_opened_the_slots, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(claims_again_over_the_connection_of_the_survey, set_up,
                                        tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
