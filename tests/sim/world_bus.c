/* world_bus.c — messages between agents and coordinators, encoded as on the real bus. See world.h.
 */
#include "tests/sim/world.h"

#include "common/base/alloc.h"
#include "common/base/check.h"
#include "common/wire/message_codec.h"

#include <stdlib.h>

static void call_drop(void *data)
{
    struct bus_call *call = data;
    if (--call->holders > 0) {
        return;
    }
    struct bus_call **place = &call->world->pending[call->handle % 4096];
    if (*place == call) {
        *place = NULL;
    }
    strbuf_release(&call->bytes);
    free(call);
}

static void hold(struct bus_call *call,
                 int64_t delay_us,
                 void (*run)(struct happening *what),
                 void *owner)
{
    call->holders++;
    schedule_add(
        &call->world->schedule, delay_us,
        &(struct happening){.run = run, .release = call_drop, .owner = owner, .data = call});
}

static bool is_wanted(const struct bus_call *call)
{
    const struct world_agent *agent = &call->world->agents[call->agent];
    return agent->core != NULL && agent->process == call->agent_process && !call->is_answered;
}

static void fail(struct happening *what)
{
    struct bus_call *call = what->data;
    struct world_agent *agent = what->owner;
    if (!is_wanted(call) || world_hold_back(&agent->held, agent->is_paused, what)) {
        return;
    }
    call->is_answered = true;
    struct err err = {0};
    struct agent_event event = {.kind = AGENT_MESSAGE, .req_id = call->req_id};
    event.code = err_set(&err, ERR_TIMEOUT, "no answer of coordinator %d", call->coordinator);
    event.err = &err;
    world_agent_feed(agent, &event);
}

static void come_back(struct happening *what)
{
    struct bus_call *call = what->data;
    struct world_agent *agent = what->owner;
    if (!is_wanted(call) || world_hold_back(&agent->held, agent->is_paused, what)) {
        return;
    }
    call->is_answered = true;
    struct message message;
    struct err err = {0};
    if (message_decode(call->bytes.data, call->bytes.len, &message, &err) != 0) {
        world_violated(call->world, "agent %d cannot read an answer: %s", call->agent, err.text);
        return;
    }
    struct agent_event event = {.kind = AGENT_MESSAGE, .req_id = call->req_id, .message = &message};
    world_agent_feed(agent, &event);
    message_release(&message);
}

static void arrive(struct happening *what)
{
    struct bus_call *call = what->data;
    struct world_coordinator *coordinator = what->owner;
    struct world *world = call->world;
    if (coordinator->core == NULL ||
        world_hold_back(&coordinator->held, coordinator->is_paused, what)) {
        return;
    }
    struct message message;
    struct err err = {0};
    if (message_decode(call->bytes.data, call->bytes.len, &message, &err) != 0) {
        world_violated(world, "coordinator %d cannot read a request: %s", coordinator->index,
                       err.text);
        return;
    }
    call->handle = ++world->next_number;
    call->coordinator_process = coordinator->process;
    CHECK(world->pending[call->handle % 4096] == NULL);
    world->pending[call->handle % 4096] = call; /* lives at least until the agent's time-out */
    struct coordinator_event event = {
        .kind = COORDINATOR_MESSAGE, .handle = call->handle, .message = &message};
    world_coordinator_feed(coordinator, &event);
    message_release(&message);
}

void world_bus_send(struct world_agent *agent, const struct agent_effect *effect)
{
    struct world *world = agent->world;
    CHECK(effect->coordinator_index >= 0);
    CHECK(effect->coordinator_index < world->setup.coordinator_count);
    CHECK(effect->timeout_ms > 0);
    struct world_coordinator *coordinator = &world->coordinators[effect->coordinator_index];
    struct bus_call *call = xcalloc(1, sizeof(*call));
    *call = (struct bus_call){.world = world,
                              .agent = agent->index,
                              .agent_process = agent->process,
                              .req_id = effect->req_id,
                              .coordinator = coordinator->index};
    message_encode(&effect->message, &call->bytes);
    hold(call, effect->timeout_ms * MS_US, fail, agent);
    int64_t delay_us = network_delay_us(&world->network, agent->place, coordinator->place);
    if (delay_us >= 0) {
        hold(call, delay_us, arrive, coordinator);
    }
}

void world_bus_reply(struct world_coordinator *coordinator,
                     uint64_t handle,
                     const struct message *message)
{
    struct world *world = coordinator->world;
    struct bus_call *call = world->pending[handle % 4096];
    if (call == NULL || call->handle != handle) {
        return; /* the agent gave up long ago */
    }
    world->pending[handle % 4096] = NULL;
    strbuf_clear(&call->bytes);
    message_encode(message, &call->bytes);
    int64_t delay_us =
        network_delay_us(&world->network, coordinator->place, world->agents[call->agent].place);
    if (delay_us >= 0) {
        hold(call, delay_us, come_back, &world->agents[call->agent]);
    }
}
