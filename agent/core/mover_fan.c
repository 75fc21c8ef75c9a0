/* mover_fan.c — SETSLOT for all slots of a burst at one node.
 *
 * Most servers take a pipeline of them in one event-loop turn. Valkey 8 first tells its replicas of
 * each and lets the client wait for their answers, so that a pipeline takes a round trip a slot;
 * clients that wait at the same time share one. There the slots are spread over a few connections.
 * (MULTI or a script would not help: the server of 8.0 cannot block there and dies of it.)
 *
 * A claim must reach the very process that the keys were sent to. Its connections are those over
 * which the burst, or one before it, was opened since the last survey: a restart breaks them.
 * Source: valkey 8.0 clusterCommandSetSlot(); docs/redis_facts.md. */
#include "agent/core/mover.h"

#include "common/base/check.h"

#define FAN_PEERS_MAX 16 /* beyond it, that many more connections would cost more than the wait */

static bool is_wanted(const struct slot_mover *m,
                      const struct burst_slot *slot,
                      const struct mover_fan *fan)
{
    return burst_slot_is_live(slot) &&
           !(fan->skips_claimed && (m->flags[slot->slot] & SLOT_CLAIMED) != 0);
}

/* Fills 'lanes' with those that may be used; 0 = the control lane only. */
static int choose_lanes(const struct slot_mover *m,
                        const struct mover_fan *fan,
                        int slots,
                        int lanes[LANE_FAN_COUNT])
{
    int count = 0;
    bool is_fanning = m->setslot_waits && (fan->end != NULL || m->peer_count <= FAN_PEERS_MAX);
    for (int lane = 0; is_fanning && lane < LANE_FAN_COUNT && count < slots; lane++) {
        if (!fan->is_bound || fan->end->fan_connections[lane] != 0) {
            lanes[count++] = lane;
        }
    }
    return slots > 1 ? count : 0;
}

static struct command_list *begin(struct slot_mover *m,
                                  struct burst *burst,
                                  const struct mover_fan *fan,
                                  int lane,
                                  struct agent_effects *fx)
{
    struct mover_request request = {.kind = REQUEST_BURST,
                                    .burst = mover_burst_index(m, burst),
                                    .index = fan->index,
                                    .is_target = fan->is_target,
                                    .lane = lane};
    struct mover_where where = {
        .address = &fan->node->address, .lane = LANE_CONTROL, .timeout_ms = MOVER_ASK_TIMEOUT_MS};
    if (lane != MOVER_NO_LANE) {
        where.lane = (enum redis_lane)(LANE_FAN + lane);
    }
    if (fan->end != NULL) {
        where.connection_id =
            lane != MOVER_NO_LANE ? fan->end->fan_connections[lane] : fan->end->control_connection;
    }
    burst->answers_awaited++;
    return mover_ask(m, fx, &request, &where, NULL);
}

void mover_fan_out(struct slot_mover *m,
                   struct burst *burst,
                   const struct mover_fan *fan,
                   struct agent_effects *fx)
{
    int slots = 0;
    for (int i = 0; i < burst->slot_count; i++) {
        slots += is_wanted(m, &burst->slots[i], fan);
    }
    CHECK(slots > 0);
    int lanes[LANE_FAN_COUNT] = {MOVER_NO_LANE};
    int lane_count = choose_lanes(m, fan, slots, lanes);
    lane_count = lane_count > 0 ? lane_count : 1;
    for (int turn = 0; turn < lane_count; turn++) {
        struct command_list *commands = begin(m, burst, fan, lanes[turn], fx);
        int seen = 0;
        for (int i = 0; i < burst->slot_count; i++) {
            if (is_wanted(m, &burst->slots[i], fan) && seen++ % lane_count == turn) {
                words_setslot(commands, burst->slots[i].slot, fan->verb, fan->peer);
            }
        }
    }
}

bool mover_fan_answered(struct slot_mover *m,
                        struct burst *burst,
                        const struct mover_request *request,
                        const struct agent_event *ev)
{
    struct mover_end *end = request->is_target ? &m->target : &m->source;
    bool is_end = request->index == MOVER_FAN_END;
    if (is_end && request->lane != MOVER_NO_LANE && end->fan_connections[request->lane] == 0) {
        end->fan_connections[request->lane] = ev->connection_id;
    }
    burst->answers_awaited--;
    return burst->answers_awaited == 0;
}
