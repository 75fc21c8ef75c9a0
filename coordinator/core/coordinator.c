/* coordinator.c — the coordinator's table of contents: which event goes to whom, and in which order
 * a step runs.
 *
 * A step: time passes for the election first, so that a term whose deadline has gone by ends before
 * anything is done under it; then the event is handed to its part; then every part looks at what
 * changed; the journal goes last, so that all writes of a step travel in one transaction. See
 * coordinator.h. */
#include "coordinator/core/coordinator.h"

#include "common/base/alloc.h"
#include "common/base/check.h"
#include "coordinator/core/reconcile.h"
#include "coordinator/core/state.h"

#include <stdlib.h>
#include <string.h>

static int64_t or_default(int64_t value, int64_t fallback)
{
    return value > 0 ? value : fallback;
}

static int clamp(int value, int fallback, int max)
{
    int chosen = value > 0 ? value : fallback;
    return chosen < max ? chosen : max;
}

static void complete_config(struct coordinator_config *config)
{
    config->lease_ttl_ms = or_default(config->lease_ttl_ms, 10000);
    config->lease_margin_ms = or_default(config->lease_margin_ms, config->lease_ttl_ms / 5);
    config->keepalive_interval_ms = or_default(config->keepalive_interval_ms, 2000);
    config->report_interval_ms = or_default(config->report_interval_ms, 2000);
    config->order_valid_ms = or_default(config->order_valid_ms, 30000);
    config->order_margin_ms = or_default(config->order_margin_ms, 5000);
    config->moves_per_source_max = clamp(config->moves_per_source_max, 1, MOVES_MAX);
    config->moves_per_target_max = clamp(config->moves_per_target_max, 3, MOVES_MAX);
    config->moves_max = clamp(config->moves_max, 16, MOVES_MAX);
    config->attempts_max = clamp(config->attempts_max, 8, 1000);
    config->batch_slots_max = clamp(config->batch_slots_max, 512, BATCH_SLOTS_MAX);
    config->big_key_bytes_max = config->big_key_bytes_max >= 0 ? config->big_key_bytes_max : 0;
    CHECK(config->lease_margin_ms < config->lease_ttl_ms);
}

struct coordinator *coordinator_new(const struct coordinator_config *config, int64_t now_ms)
{
    struct coordinator *c = xcalloc(1, sizeof(*c));
    c->config = *config;
    complete_config(&c->config);
    prng_init(&c->prng, config->seed);
    c->turn.now_ms = now_ms;
    election_init(&c->election, &c->config, prng_next(&c->prng), now_ms);
    journal_init(&c->journal, prng_next(&c->prng), now_ms);
    c->takeover.retry_ms = NEVER;
    c->scan.deadline_ms = NEVER;
    observe_init(&c->observe);
    return c;
}

void coordinator_free(struct coordinator *coordinator)
{
    if (coordinator == NULL) {
        return;
    }
    journal_release(&coordinator->journal);
    takeover_end(coordinator);
    registry_release(&coordinator->registry);
    observe_release(&coordinator->observe);
    executor_release(&coordinator->executor);
    scan_release(&coordinator->scan);
    event_ring_release(&coordinator->ring);
    strbuf_release(&coordinator->why);
    free(coordinator);
}

/* ---- terms ---- */

static void begin_term(struct coordinator *c)
{
    journal_open(&c->journal, c->election.fence, c->turn.now_ms);
    takeover_begin(c);
}

/* Whatever was in hand is dropped: the journal and the nodes tell the next leader. */
static void end_term(struct coordinator *c)
{
    struct err err = {0};
    (void)err_set(&err, ERR_NOT_LEADER, "our term ended during the scan");
    err_hint(&err, "ask the leader");
    scan_fail(c, &err);
    command_desk_end_term(c);
    registry_end_term(c);
    journal_close(&c->journal, c->turn.now_ms);
    takeover_end(c);
    executor_release(&c->executor);
    observe_reset(&c->observe);
    c->adopted = (struct adopted){0};
    c->auto_meet = (struct auto_meet){0};
}

/* Follows the election: 'fence' is the term that the rest of the coordinator is in. */
static void follow_term(struct coordinator *c)
{
    if (c->journal.fence == c->election.fence) {
        return;
    }
    if (c->journal.fence != 0) {
        end_term(c);
    }
    if (c->election.fence != 0) {
        begin_term(c);
    }
}

/* ---- events ---- */

static void on_store(struct coordinator *c, const struct coordinator_event *event)
{
    if (election_store_result(&c->election, &c->turn, event)) {
        return;
    }
    if (!election_is_leading(&c->election)) {
        return;
    }
    if (journal_store_result(&c->journal, &c->turn, event)) {
        if (c->journal.is_refused) {
            election_end_term(&c->election, &c->turn, "the store refused a write under our fence");
        }
        c->executor.is_dirty = true;
        return;
    }
    (void)takeover_store_result(c, event);
}

static void on_message(struct coordinator *c, const struct coordinator_event *event)
{
    if (!election_is_leading(&c->election)) {
        refuse_agent(c, event->handle, ERR_NOT_LEADER, "this coordinator does not lead");
    } else if (c->takeover.is_loading) {
        refuse_agent(c, event->handle, ERR_UNAVAILABLE,
                     "this coordinator has just begun to lead; say it again in a second");
    } else {
        registry_message(c, event->handle, event->message);
    }
}

static void handle_event(struct coordinator *c, const struct coordinator_event *event)
{
    switch (event->kind) {
    case COORDINATOR_TICK:
        break;
    case COORDINATOR_STORE:
        on_store(c, event);
        break;
    case COORDINATOR_CHANGED:
        election_changed(&c->election, &c->turn, event->is_deleted);
        break;
    case COORDINATOR_MESSAGE:
        on_message(c, event);
        break;
    case COORDINATOR_COMMAND:
        command_desk_take(c, event->handle, event->command);
        break;
    case COORDINATOR_STOP:
        c->is_stopping = true;
        election_stop(&c->election, &c->turn);
        break;
    }
}

/* Everything that may follow from what just happened, each part once. */
static void follow_up(struct coordinator *c)
{
    if (!election_is_leading(&c->election)) {
        return;
    }
    takeover_tick(c);
    if (!c->takeover.is_loading) {
        observe_tick(c, false);
        adopted_tick(c);
        auto_meet_tick(c);
        if (c->executor.is_dirty || c->turn.now_ms >= executor_deadline(c)) {
            executor_tick(c);
        }
        scan_tick(c);
        registry_tick(c);
    }
    command_desk_tick(c);
    journal_pump(&c->journal, &c->turn);
}

void coordinator_step(struct coordinator *coordinator,
                      const struct coordinator_event *event,
                      struct coordinator_effects *fx)
{
    struct coordinator *c = coordinator;
    int first = fx->count;
    CHECK(event->now_ms >= c->turn.now_ms);
    if (c->has_exited) {
        return;
    }
    c->turn.now_ms = event->now_ms;
    c->turn.wall_ms = event->wall_ms;
    c->turn.fx = fx;
    election_tick(&c->election, &c->turn);
    follow_term(c);
    handle_event(c, event);
    follow_term(c);
    follow_up(c);
    follow_term(c);
    if (c->is_stopping && c->election.sm.state == ELECTION_STOPPED) {
        c->has_exited = true;
        (void)coordinator_effects_add(fx, COORDINATOR_FX_EXIT);
    }
    event_ring_take(&c->ring, &c->turn, first);
    CHECK(c->journal.fence == c->election.fence);
    c->turn.fx = NULL;
}

int64_t coordinator_deadline(const struct coordinator *coordinator)
{
    const struct coordinator *c = coordinator;
    if (c->has_exited) {
        return NEVER;
    }
    int64_t deadline_ms = election_deadline(&c->election);
    if (election_is_leading(&c->election)) {
        deadline_ms = deadline_min(deadline_ms, takeover_deadline(c));
        deadline_ms = deadline_min(deadline_ms, journal_deadline(&c->journal));
        if (!c->takeover.is_loading) {
            deadline_ms = deadline_min(deadline_ms, registry_deadline(c));
            deadline_ms = deadline_min(deadline_ms, observe_deadline(c));
            deadline_ms = deadline_min(deadline_ms, executor_deadline(c));
            deadline_ms = deadline_min(deadline_ms, scan_deadline(c));
        }
    }
    return deadline_ms;
}
