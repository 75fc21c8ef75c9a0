/* mover_status.c — what a slot mover says of itself in reports. */
#include "agent/core/mover.h"

#include <stdio.h>
#include <string.h>

static enum order_state order_state_of(const struct slot_mover *m)
{
    switch ((enum mover_state)m->sm.state) {
    case MOVER_DONE:
        return ORDER_DONE;
    case MOVER_STOPPED:
        return ORDER_STOPPED;
    case MOVER_FAILED:
        return ORDER_FAILED;
    case MOVER_HELD:
        return ORDER_HELD;
    case MOVER_EXPIRED:
        return ORDER_EXPIRED;
    case MOVER_SURVEYING:
    case MOVER_COUNTING:
    case MOVER_MOVING:
    case MOVER_WAITING:
    case MOVER_TRACING:
    case MOVER_REPAIRING:
    case MOVER_SETTLING:
    case MOVER_UNMARKING:
    case MOVER_CLOSING:
    case MOVER_FREEZING:
    case MOVER_STATE_NR:
        break;
    }
    return ORDER_RUNNING;
}

void slot_mover_status(const struct slot_mover *m, struct order_status *status)
{
    *status = (struct order_status){
        .id = m->order.id,
        .state = order_state_of(m),
        .slots_done = m->done,
        .slots_open = mover_open_slot_count(m),
        .keys_moved = m->keys_moved,
        .bytes_moved = m->bytes_moved,
        .call_us_p50 = governor_call_us_p50(&m->governor),
        .call_us_max = m->governor.call_us_max,
        .retries = m->retries,
        .is_replica_synced = m->is_replica_synced,
        .big_key_count = m->big_key_count,
    };
    slotset_subtract(&status->slots_done, &m->unclosed);
    memcpy(status->big_keys, m->big_keys, sizeof(status->big_keys));
    const char *reason = m->doing;
    if (sm_is_terminal(&m->sm)) {
        status->reason_code = m->verdict.code;
        reason = m->verdict.reason;
    }
    (void)snprintf(status->reason, sizeof(status->reason), "%s", reason);
}
