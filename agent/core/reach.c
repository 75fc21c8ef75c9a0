/* reach.c — see reach.h. */
#include "agent/core/reach.h"

#include "agent/core/redis_words.h"
#include "agent/core/request_ids.h"
#include "common/base/alloc.h"
#include "common/base/check.h"
#include "common/base/statemachine.h"
#include "common/model/nodes_text.h"

#include <stdio.h>
#include <stdlib.h>

#define BUS_PORT_OFFSET 10000
#define WAITING_MS 60000 /* every request has a timeout of its own */

enum reach_state {
    REACH_ASKING,
    REACH_DATA,
    REACH_BUS,
    REACH_DONE,
    REACH_FAILED,
    REACH_STOPPED,
    REACH_EXPIRED,
    REACH_STATE_NR,
};

#define ENDED (SM_TO(REACH_FAILED) | SM_TO(REACH_STOPPED) | SM_TO(REACH_EXPIRED))

/* clang-format off */
static const struct sm_state reach_states[REACH_STATE_NR] = {
    /*                  name       may go to                        deadline    meaning */
    [REACH_ASKING]  = {"asking",   SM_TO(REACH_DATA) | ENDED,       WAITING_MS, "asks the node what address and ports it announces"},
    [REACH_DATA]    = {"data",     SM_TO(REACH_BUS) | ENDED,        WAITING_MS, "connects to the data port"},
    [REACH_BUS]     = {"bus",      SM_TO(REACH_DONE) | ENDED,       WAITING_MS, "connects to the cluster bus port"},
    [REACH_DONE]    = {"done",     0,                               NEVER,      "both ports answer"},
    [REACH_FAILED]  = {"failed",   0,                               NEVER,      "a port does not answer, or is no cluster's; the reason says it"},
    [REACH_STOPPED] = {"stopped",  0,                               NEVER,      "asked to stop"},
    [REACH_EXPIRED] = {"expired",  0,                               NEVER,      "not renewed in time"},
};
/* clang-format on */

struct reach {
    struct order order;
    struct request_ids ids;
    struct sm sm;
    uint64_t req_id;       /* on its way; 0 = none */
    int64_t wake_ms;       /* when the next try is due; NEVER = an answer is awaited */
    struct address target; /* as the node announces it */
    uint16_t bus_port;
    int tries; /* of the port in hand */
    int code;
    char reason[TEXT_SIZE];
};

struct reach *reach_new(const struct order *order, uint32_t serial, int64_t now_ms)
{
    CHECK(order->task.kind == TASK_REACH);
    struct reach *r = xcalloc(1, sizeof(*r));
    r->order = *order;
    r->ids.serial = serial;
    r->wake_ms = now_ms;
    r->target = order->task.node_address;
    sm_init(&r->sm, reach_states, REACH_STATE_NR, REACH_ASKING, now_ms);
    return r;
}

void reach_free(struct reach *r)
{
    free(r);
}

static void end(struct reach *r, enum reach_state state, int code, int64_t now_ms)
{
    sm_move(&r->sm, (int)state, now_ms);
    r->code = code;
    r->req_id = 0;
    r->wake_ms = NEVER;
}

/* ---- what goes out ---- */

static struct address port_in_hand(const struct reach *r)
{
    struct address address = r->target;
    if (r->sm.state == REACH_BUS) {
        address.port = r->bus_port;
    }
    return address;
}

static void ask(struct reach *r, struct agent_effects *fx)
{
    bool is_asking = r->sm.state == REACH_ASKING;
    struct agent_effect *effect = agent_effects_add(fx, is_asking ? AGENT_FX_REDIS : AGENT_FX_DIAL);
    r->req_id = request_ids_next(&r->ids);
    effect->req_id = r->req_id;
    effect->timeout_ms = REACH_TIMEOUT_MS;
    if (is_asking) {
        effect->address = r->order.task.node_address;
        effect->lane = LANE_CONTROL;
        commands_add(&effect->commands, "CLUSTER", "NODES", (char *)NULL);
    } else {
        effect->address = port_in_hand(r);
    }
    r->wake_ms = NEVER;
}

/* ---- answers ---- */

/* A node that never met anybody may leave its host out. */
static void read_announced(struct reach *r, const struct agent_event *ev)
{
    struct nodes_view view = {0};
    bool is_text =
        ev->code == 0 && ev->replies->count == 1 && ev->replies->replies[0].type == REPLY_STRING;
    r->bus_port = (uint16_t)(r->target.port + BUS_PORT_OFFSET);
    if (is_text &&
        nodes_view_parse(&view, ev->replies->replies[0].text, ev->replies->replies[0].len, NULL) ==
            0 &&
        view.myself != NODES_NO_ROW) {
        const struct nodes_row *own = &view.rows[view.myself];
        if (own->host[0] != '\0') {
            (void)snprintf(r->target.host, sizeof(r->target.host), "%s", own->host);
        }
        r->target.port = own->port != 0 ? own->port : r->target.port;
        r->bus_port = own->bus_port != 0 ? own->bus_port : r->bus_port;
    }
    nodes_view_release(&view);
}

/* It has no bus port to try, and nobody's firewall is to blame. */
static bool is_standalone(const struct agent_event *ev)
{
    return ev->code == 0 && ev->replies->count == 1 && reply_is_error(&ev->replies->replies[0]) &&
           reply_contains(&ev->replies->replies[0], "cluster support disabled");
}

static void hear_announced(struct reach *r, const struct agent_event *ev)
{
    if (is_standalone(ev)) {
        (void)snprintf(r->reason, sizeof(r->reason),
                       "it runs without cluster mode: set cluster-enabled yes, restart");
        end(r, REACH_FAILED, ERR_REFUSED, ev->now_ms);
        return;
    }
    read_announced(r, ev);
    sm_move(&r->sm, REACH_DATA, ev->now_ms);
    r->wake_ms = ev->now_ms;
}

static void fail(struct reach *r, const struct agent_event *ev)
{
    char to[ADDRESS_TEXT_SIZE];
    struct address address = port_in_hand(r);
    /* From which host is told by the task's own words. */
    (void)snprintf(r->reason, sizeof(r->reason),
                   "%s port %.60s %s: open the firewall or correct cluster-announce-*",
                   r->sm.state == REACH_BUS ? "bus" : "data", address_format(&address, to),
                   ev->code == ERR_TIMEOUT ? "is silent" : "refuses");
    end(r, REACH_FAILED, ERR_REFUSED, ev->now_ms);
}

static void hear_dial(struct reach *r, const struct agent_event *ev)
{
    if (ev->code == 0 && r->sm.state == REACH_DATA) {
        sm_move(&r->sm, REACH_BUS, ev->now_ms);
        r->tries = 0;
        r->wake_ms = ev->now_ms;
    } else if (ev->code == 0) {
        (void)snprintf(r->reason, sizeof(r->reason), "both ports answer");
        end(r, REACH_DONE, 0, ev->now_ms);
    } else if (++r->tries >= REACH_TRIES) {
        fail(r, ev);
    } else {
        r->wake_ms = ev->now_ms + REACH_PAUSE_MS;
    }
}

void reach_step(struct reach *r, const struct agent_event *event, struct agent_effects *fx)
{
    if (sm_is_terminal(&r->sm)) {
        return;
    }
    bool is_answer = r->req_id != 0 && event->req_id == r->req_id;
    if (is_answer && event->kind == AGENT_REDIS) {
        r->req_id = 0;
        hear_announced(r, event);
    } else if (is_answer && event->kind == AGENT_DIALED) {
        r->req_id = 0;
        hear_dial(r, event);
    }
    if (r->req_id == 0 && event->now_ms >= r->wake_ms && !sm_is_terminal(&r->sm)) {
        ask(r, fx);
    }
}

int64_t reach_deadline(const struct reach *r)
{
    return r->wake_ms;
}

void reach_end(struct reach *r, int code, const char *reason)
{
    if (!sm_is_terminal(&r->sm)) {
        (void)snprintf(r->reason, sizeof(r->reason), "%s", reason);
        end(r, code == 0 ? REACH_STOPPED : REACH_EXPIRED, code, r->sm.since_ms);
    }
}

bool reach_is_over(const struct reach *r)
{
    return sm_is_terminal(&r->sm);
}

static enum order_state order_state_of(const struct reach *r)
{
    switch ((enum reach_state)r->sm.state) {
    case REACH_DONE:
        return ORDER_DONE;
    case REACH_FAILED:
        return ORDER_FAILED;
    case REACH_STOPPED:
        return ORDER_STOPPED;
    case REACH_EXPIRED:
        return ORDER_EXPIRED;
    case REACH_ASKING:
    case REACH_DATA:
    case REACH_BUS:
    case REACH_STATE_NR:
        break;
    }
    return ORDER_RUNNING;
}

void reach_status(const struct reach *r, struct order_status *status)
{
    *status = (struct order_status){
        .id = r->order.id,
        .state = order_state_of(r),
        .call_us_p50 = -1,
        .call_us_max = -1,
        .is_replica_synced = true,
        .reason_code = r->code,
    };
    (void)snprintf(status->reason, sizeof(status->reason), "%s",
                   reach_is_over(r) ? r->reason : reach_states[r->sm.state].meaning);
}
