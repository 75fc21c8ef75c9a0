/* world_lanes.c — the agents' connections to Redis: one stream a node and lane, as the real pool
 * has. See world.h.
 *
 * A time-out closes the connection, but commands that were sent may still reach the server and be
 * carried out there: at once, after a pause of the server, or when a cut way is open again. */
#include "tests/sim/world.h"

#include "common/base/alloc.h"
#include "common/base/check.h"
#include "tests/sim/checkers.h"

#include <stdlib.h>

#define REFUSED_US 300
#define CUT_RETRY_US (200 * MS_US)

static void call_drop(void *data)
{
    struct redis_call *call = data;
    if (--call->holders == 0) {
        free(call);
    }
}

static void hold(struct redis_call *call, int64_t delay_us, void (*run)(struct happening *what))
{
    call->holders++;
    schedule_add(&call->world->schedule, delay_us,
                 &(struct happening){.run = run,
                                     .release = call_drop,
                                     .owner = &call->world->agents[call->agent],
                                     .data = call});
}

static struct world_lane *lane_of(const struct redis_call *call)
{
    return &call->world->agents[call->agent].lanes[call->node][call->lane];
}

static bool is_wanted(const struct redis_call *call)
{
    const struct world_agent *agent = &call->world->agents[call->agent];
    return agent->core != NULL && agent->process == call->agent_process && !call->is_answered;
}

static void answer(struct redis_call *call,
                   int code,
                   const struct reply_list *replies,
                   const char *text)
{
    struct world_agent *agent = &call->world->agents[call->agent];
    struct err err = {0};
    struct reply_list none = {0};
    call->is_answered = true;
    if (code != 0) {
        (void)err_set(&err, code, "%s", text);
    }
    struct agent_event event = {.kind = AGENT_REDIS,
                                .req_id = call->req_id,
                                .code = code,
                                .err = code != 0 ? &err : NULL,
                                .replies = replies != NULL ? replies : &none,
                                .connection_id = call->connection_id,
                                .latency_us = call->world->schedule.now_us - call->sent_us};
    world_agent_feed(agent, &event);
}

static void drop_connection(struct redis_call *call)
{
    struct world_lane *lane = lane_of(call);
    if (lane->connection_id == call->connection_id) {
        lane->connection_id = 0;
    }
}

static void time_out(struct happening *what)
{
    struct redis_call *call = what->data;
    struct world_agent *agent = what->owner;
    if (!is_wanted(call) || world_hold_back(&agent->held, agent->is_paused, what)) {
        return;
    }
    drop_connection(call);
    answer(call, ERR_TIMEOUT, NULL, "no answer in time");
}

static void refuse(struct happening *what)
{
    struct redis_call *call = what->data;
    struct world_agent *agent = what->owner;
    if (!is_wanted(call) || world_hold_back(&agent->held, agent->is_paused, what)) {
        return;
    }
    drop_connection(call);
    answer(call, ERR_UNAVAILABLE, NULL, "the connection is not up");
}

struct arrival {
    struct redis_call *call;
    struct model_pipeline *pipeline;
};

static void arrival_free(void *data)
{
    struct arrival *arrival = data;
    call_drop(arrival->call);
    model_pipeline_free(arrival->pipeline);
    free(arrival);
}

static void bend_answers(struct model_pipeline *pipeline)
{
    for (int i = 0; i < pipeline->replies.count; i++) {
        struct reply *reply = &pipeline->replies.replies[i];
        if (commands_arg_is(&pipeline->commands, i, 1, "countkeysinslot")) {
            reply->integer = 0;
        } else if (commands_arg_is(&pipeline->commands, i, 1, "getkeysinslot")) {
            reply->count = 0;
        }
    }
}

/* The answers are back at the agent's host. */
static void come_back(struct happening *what)
{
    struct arrival *arrival = what->data;
    struct redis_call *call = arrival->call;
    struct world_agent *agent = what->owner;
    if (!is_wanted(call) || world_hold_back(&agent->held, agent->is_paused, what)) {
        return;
    }
    if (call->world->mutation == MUTATION_LYING_COUNT) {
        bend_answers(arrival->pipeline);
    }
    if (arrival->pipeline->is_broken) {
        drop_connection(call);
        answer(call, ERR_UNAVAILABLE, &arrival->pipeline->replies, "the connection broke");
    } else if (lane_of(call)->connection_id != call->connection_id) {
        answer(call, ERR_UNAVAILABLE, NULL, "the connection was closed");
    } else {
        answer(call, 0, &arrival->pipeline->replies, "");
    }
}

static void answered(void *owner, struct model_pipeline *pipeline)
{
    struct redis_call *call = owner;
    struct world *world = call->world;
    pipeline->orphaned = NULL;
    struct model_node *node = world->redis.nodes[call->node];
    struct world_agent *agent = &world->agents[call->agent];
    struct arrival *arrival = xmalloc(sizeof(*arrival));
    *arrival = (struct arrival){.call = call, .pipeline = pipeline};
    int64_t delay_us = network_stream_delay_us(&world->network, node->place, agent->place);
    if (delay_us < 0) {
        arrival_free(arrival);
        return;
    }
    schedule_add(&world->schedule, delay_us,
                 &(struct happening){
                     .run = come_back, .release = arrival_free, .owner = agent, .data = arrival});
}

/* The kernel sends again until the way is open; what follows in the stream waits behind it. */
static bool is_stalled(const struct redis_call *call, bool is_cut)
{
    struct world_lane *lane = lane_of(call);
    int64_t now_us = call->world->schedule.now_us;
    if (is_cut) {
        lane->stalled_us = (now_us / CUT_RETRY_US + 1) * CUT_RETRY_US;
    }
    return lane->stalled_us > now_us;
}

static void arrive(struct happening *what)
{
    struct arrival *arrival = what->data;
    struct redis_call *call = arrival->call;
    struct world *world = call->world;
    struct model_node *node = world->redis.nodes[call->node];
    if (is_stalled(
            call, network_is_cut(&world->network, world->agents[call->agent].place, node->place))) {
        struct happening again = *what;
        what->data = NULL;
        schedule_add(&world->schedule, lane_of(call)->stalled_us - world->schedule.now_us, &again);
        return;
    }
    struct model_pipeline *pipeline = arrival->pipeline;
    what->data = NULL;
    free(arrival);
    if (node->process != pipeline->tag) {
        pipeline->is_broken = true;
        answered(call, pipeline);
        return;
    }
    pipeline->orphaned = call_drop;
    model_node_submit(node, pipeline);
}

/* SETSLOT NODE for anybody but the node it names. */
static bool is_claim_for_others(const struct command_list *commands,
                                int index,
                                const struct model_node *node)
{
    return commands_arg_is(commands, index, 0, "cluster") &&
           commands_arg_is(commands, index, 1, "setslot") &&
           commands_arg_is(commands, index, 3, "node") &&
           !commands_arg_is(commands, index, 4, node->id.text);
}

static void copy_commands(struct command_list *to,
                          const struct command_list *from,
                          const struct model_node *node,
                          enum mutation mutation)
{
    for (int i = 0; i < from->count; i++) {
        if (mutation == MUTATION_LOST_CLAIM && is_claim_for_others(from, i, node)) {
            commands_add(to, "ASKING", NULL); /* answers OK and does nothing */
            continue;
        }
        commands_begin(to);
        for (int arg = 0; arg < from->commands[i].arg_count; arg++) {
            size_t len = 0;
            const char *data = commands_get(from, i, arg, &len);
            commands_arg(to, data, len);
        }
    }
}

static bool connect(struct world_agent *agent,
                    struct world_lane *lane,
                    const struct model_node *node)
{
    if (lane->connection_id != 0 && lane->node_process == node->process) {
        return true;
    }
    lane->connection_id = 0;
    if (!node->is_up) {
        return false;
    }
    *lane = (struct world_lane){.connection_id = ++agent->world->next_number,
                                .node_process = node->process};
    return true;
}

void world_redis_send(struct world_agent *agent, const struct agent_effect *effect)
{
    struct world *world = agent->world;
    struct model_node *node = model_redis_find(&world->redis, &effect->address);
    CHECK(effect->timeout_ms > 0);
    CHECK(effect->lane < LANES);
    struct redis_call *call = xcalloc(1, sizeof(*call));
    *call = (struct redis_call){.world = world,
                                .agent = agent->index,
                                .agent_process = agent->process,
                                .req_id = effect->req_id,
                                .node = node == NULL ? 0 : node->index,
                                .lane = (int)effect->lane,
                                .sent_us = world->schedule.now_us};
    struct world_lane *lane = lane_of(call);
    bool is_other =
        effect->connection_id != 0 && node != NULL &&
        (lane->connection_id != effect->connection_id || lane->node_process != node->process);
    if (node == NULL || is_other || !connect(agent, lane, node)) {
        hold(call, REFUSED_US, refuse);
        return;
    }
    call->connection_id = lane->connection_id;
    checkers_see_commands(agent, node, &effect->commands);
    hold(call, effect->timeout_ms * MS_US, time_out);
    struct model_pipeline *pipeline = model_pipeline_new();
    copy_commands(&pipeline->commands, &effect->commands, node, world->mutation);
    pipeline->stream = lane->connection_id;
    pipeline->done = answered;
    pipeline->owner = call;
    pipeline->tag = node->process;
    int64_t delay_us = network_stream_delay_us(&world->network, agent->place, node->place);
    int64_t at_us = world->schedule.now_us + (delay_us < 0 ? CUT_RETRY_US : delay_us);
    lane->last_arrival_us = at_us > lane->last_arrival_us ? at_us : lane->last_arrival_us + 1;
    struct arrival *arrival = xmalloc(sizeof(*arrival));
    *arrival = (struct arrival){.call = call, .pipeline = pipeline};
    call->holders++;
    schedule_add(&world->schedule, lane->last_arrival_us - world->schedule.now_us,
                 &(struct happening){
                     .run = arrive, .release = arrival_free, .owner = agent, .data = arrival});
}
