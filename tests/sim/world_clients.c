/* world_clients.c — clients that write increasing numbers and know exactly what each read must
 * answer. See world.h.
 *
 * A key is written by one client only and a client has one request in flight, so a read must answer
 * the last acknowledged state, or, once after an attempt with unknown outcome, that attempt's. */
#include "tests/sim/world.h"

#include "common/base/alloc.h"
#include "common/base/check.h"
#include "common/base/crc16.h"
#include "tests/sim/checkers.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define THINK_US_MIN (5 * MS_US)
#define THINK_US_MAX (60 * MS_US)
#define RETRY_US (40 * MS_US)
#define REQUEST_TIMEOUT_US (1500 * MS_US)

static void next_request(struct happening *what);
static void send_request(struct world_client *client);

static void think(struct world_client *client, int64_t delay_us)
{
    schedule_add(&client->world->schedule, delay_us,
                 &(struct happening){.run = next_request, .owner = client});
}

/* The shortest number whose text falls into each slot, found once for the whole process. */
static const int *slot_tags(void)
{
    static int tags[SLOT_COUNT];
    static bool is_filled;
    if (is_filled) {
        return tags;
    }
    int missing = SLOT_COUNT;
    memset(tags, 0xff, sizeof(tags));
    for (int number = 0; missing > 0; number++) {
        char text[16];
        int len = snprintf(text, sizeof(text), "%d", number);
        int slot = key_slot(text, (size_t)len);
        if (tags[slot] < 0) {
            tags[slot] = number;
            missing--;
        }
    }
    is_filled = true;
    return tags;
}

/* As if the client had written it a while ago. */
static void preload(struct world *world, struct client_key *key)
{
    int slot = world->redis.keys.keys[key->number].slot;
    for (int i = 0; i < world->redis.node_count; i++) {
        struct model_node *node = world->redis.nodes[i];
        if (node->is_up && model_node_is_primary(node) && node->owner[slot] == i &&
            node->migrating_to[slot] == MODEL_NONE && !world->setup.has_redis_faults) {
            struct model_stored stored = {.len = 1, .value = "1", .weight_bytes = 64};
            stored.weight_bytes = (int32_t)prng_range(&world->prng, 60, 100000);
            key->version = 1;
            key->attempt = 1;
            key->acked_us = world->schedule.now_us;
            model_node_put(node, key->number, &stored);
            return;
        }
    }
}

void world_clients_add_slot(struct world *world, int slot, int keys)
{
    for (int i = 0; i < keys; i++) {
        struct world_client *client =
            &world->clients[prng_below(&world->prng, (uint64_t)world->client_count)];
        if (client->key_count == CLIENT_KEYS_MAX || world->redis.keys.count + 64 > MODEL_KEYS_MAX) {
            return;
        }
        /* Names hold bytes that text formats trip over. */
        char name[48];
        int len = snprintf(name, sizeof(name), "{%d}c%d \r\n\"%%s %d", slot_tags()[slot],
                           client->index, client->key_count);
        name[len++] = '\0';
        name[len++] = (char)0xff;
        struct client_key *key = &client->keys[client->key_count++];
        *key =
            (struct client_key){.number = model_keys_number(&world->redis.keys, name, (size_t)len)};
        CHECK(world->redis.keys.keys[key->number].slot == slot);
        world->client_keys[key->number] = key;
        preload(world, key);
    }
}

static uint32_t holders_of(struct world *world, int number)
{
    uint32_t holders = 0;
    for (int i = 0; i < world->redis.node_count; i++) {
        const struct model_node *node = world->redis.nodes[i];
        if (number < node->stored_capacity && node->stored[number].is_present) {
            holders |= UINT32_C(1) << i;
        }
    }
    return holders;
}

/* A MIGRATE without an answer leaves a copy at the target. Should a client then delete the key at
 * the source, ASK leads to that copy: Redis cannot tell it from a new key, nor can drover. */
static bool is_doubled(struct world *world, const struct client_key *key, int serving)
{
    for (int i = 0; i < world->redis.node_count; i++) {
        const struct model_node *node = world->redis.nodes[i];
        if (i != serving && model_node_is_primary(node) && key->number < node->stored_capacity &&
            node->stored[key->number].is_present) {
            return true;
        }
    }
    return false;
}

static const char *describe(struct world *world, const struct client_key *key, char text[120])
{
    snprintf(text, 120, "key %d of slot %d (acknowledged %lld%s, attempted %lld%s)", key->number,
             world->redis.keys.keys[key->number].slot, (long long)key->version,
             key->is_deleted ? " deleted" : "", (long long)key->attempt,
             key->is_uncertain ? ", outcome unknown" : "");
    return text;
}

/* 0 = not there. What was read must be what was acknowledged, or the attempt whose outcome nobody
 * knows. */
static void check_read(struct world_client *client, struct client_key *key, int64_t seen)
{
    struct world *world = client->world;
    int64_t expected = key->is_deleted ? 0 : key->version;
    int64_t possible = key->attempt_is_deletion ? 0 : key->attempt;
    coverage_add(world->coverage, SIGHT_CLIENT_READ, 1);
    if (seen == expected || key->is_free) {
        return;
    }
    if (key->is_uncertain && seen == possible) {
        key->version = key->attempt;
        key->is_deleted = key->attempt_is_deletion;
        return;
    }
    char text[120];
    if (key->is_doubled && (key->is_deleted || world->setup.has_redis_faults)) {
        coverage_add(world->coverage, SIGHT_CAME_BACK, 1);
        world_note(world, "a second copy shows: %s reads %lld", describe(world, key, text),
                   (long long)seen);
        key->version = seen;
        key->is_deleted = seen == 0;
        return;
    }
    if (world->setup.has_redis_faults &&
        checkers_is_source_lost(world, world->redis.keys.keys[key->number].slot)) {
        return; /* a promoted source knows nothing of keys that have moved until somebody repairs
                   the slot (fact F7) */
    }
    if (world->setup.has_redis_faults &&
        checkers_is_explained(world, key->holders, key->acked_us)) {
        coverage_add(world->coverage, SIGHT_LOSS_EXPLAINED, 1);
        world_note(world, "lost by a fault of Redis: %s reads %lld", describe(world, key, text),
                   (long long)seen);
        key->version = seen;
        key->is_deleted = seen == 0;
        return;
    }
    world_violated(world, "I2/I3: client %d: %s reads %lld", client->index,
                   describe(world, key, text), (long long)seen);
}

static int node_of_address(struct world *world, const char *text)
{
    struct address address;
    struct err err;
    if (address_parse(&address, text, &err) != 0) {
        return MODEL_NONE;
    }
    const struct model_node *node = model_redis_find(&world->redis, &address);
    return node == NULL ? MODEL_NONE : node->index;
}

static void finish(struct world_client *client)
{
    client->request = ++client->world->next_number;
    think(client, prng_range(&client->world->prng, THINK_US_MIN, THINK_US_MAX));
}

static void resend(struct happening *what)
{
    struct world_client *client = what->owner;
    if (what->tag == client->request) {
        send_request(client);
    }
}

static void retry(struct world_client *client, int64_t delay_us)
{
    client->is_asking = false;
    client->request = ++client->world->next_number;
    schedule_add(&client->world->schedule, delay_us,
                 &(struct happening){.run = resend, .owner = client, .tag = client->request});
}

/* Nobody knows whether the request was carried out. */
static void unknown(struct world_client *client)
{
    struct client_key *key = &client->keys[client->key];
    if (client->verb != CLIENT_GET) {
        key->is_uncertain = true;
        coverage_add(client->world->coverage, SIGHT_CLIENT_UNKNOWN, 1);
    }
    client->owner[client->world->redis.keys.keys[key->number].slot] =
        (int8_t)prng_below(&client->world->prng, (uint64_t)client->world->redis.node_count);
    finish(client);
}

static void time_out(struct happening *what)
{
    struct world_client *client = what->owner;
    if (what->tag == client->request) {
        unknown(client);
    }
}

static void take_error(struct world_client *client, const struct reply *reply)
{
    struct world *world = client->world;
    int slot = world->redis.keys.keys[client->keys[client->key].number].slot;
    const char *at = strrchr(reply->text, ' ');
    int node = at == NULL ? MODEL_NONE : node_of_address(world, at + 1);
    if (reply_has_prefix(reply, "MOVED ") && node != MODEL_NONE) {
        client->owner[slot] = (int8_t)node;
        client->node = node;
        retry(client, client->tries++ < 5 ? 1 : RETRY_US);
    } else if (reply_has_prefix(reply, "ASK ") && node != MODEL_NONE) {
        client->request = ++world->next_number;
        client->node = node;
        client->is_asking = true;
        send_request(client);
    } else {
        retry(client, RETRY_US);
        client->node = client->owner[slot];
    }
}

static void take_answer(struct world_client *client, const struct reply *reply)
{
    struct world *world = client->world;
    struct client_key *key = &client->keys[client->key];
    if (reply_is_error(reply)) {
        take_error(client, reply);
        return;
    }
    if (client->verb == CLIENT_GET) {
        check_read(client, key, reply->type == REPLY_NIL ? 0 : atoll(reply->text));
    } else {
        coverage_add(world->coverage, SIGHT_CLIENT_WRITE, 1);
        key->version = key->attempt;
        key->is_deleted = key->attempt_is_deletion;
        key->is_free = key->is_free &&
                       key->acked_us >= client->began_us; /* it may have been removed just after */
        key->acked_us = world->schedule.now_us;
        key->is_doubled = is_doubled(world, key, client->node);
        key->holders = holders_of(world, key->number) | UINT32_C(1) << client->node;
    }
    finish(client);
}

struct flight {
    struct world_client *client;
    uint64_t request;
    struct model_pipeline *pipeline;
};

static void flight_free(void *data)
{
    struct flight *flight = data;
    model_pipeline_free(flight->pipeline);
    free(flight);
}

static void come_back(struct happening *what)
{
    struct flight *flight = what->data;
    struct world_client *client = flight->client;
    if (flight->request != client->request) {
        return;
    }
    const struct reply_list *replies = &flight->pipeline->replies;
    if (flight->pipeline->is_broken || replies->count < flight->pipeline->commands.count) {
        unknown(client);
        return;
    }
    take_answer(client, &replies->replies[replies->count - 1]);
}

static void orphaned(void *owner)
{
    struct flight *flight = owner;
    free(flight);
}

static void answered(void *owner, struct model_pipeline *pipeline)
{
    struct flight *flight = owner;
    struct world *world = flight->client->world;
    pipeline->orphaned = NULL;
    flight->pipeline = pipeline;
    int64_t delay_us =
        network_stream_delay_us(&world->network, pipeline->place, world->client_place);
    if (delay_us < 0) {
        flight_free(flight);
        return;
    }
    schedule_add(&world->schedule, delay_us,
                 &(struct happening){.run = come_back, .release = flight_free, .data = flight});
}

static void arrive(struct happening *what)
{
    struct flight *flight = what->data;
    struct model_pipeline *pipeline = flight->pipeline;
    what->data = NULL;
    flight->pipeline = NULL;
    pipeline->owner = flight;
    pipeline->orphaned = orphaned;
    model_node_submit(what->owner, pipeline);
}

static void build(struct world_client *client, struct command_list *commands)
{
    const struct client_key *key = &client->keys[client->key];
    const struct model_key *name = &client->world->redis.keys.keys[key->number];
    bool is_lost = client->world->mutation == MUTATION_LOST_WRITE && client->verb == CLIENT_SET &&
                   prng_chance(&client->world->prng, 1, 100);
    if (client->is_asking || is_lost) {
        commands_add(commands, "ASKING", NULL);
    }
    if (is_lost) {
        return;
    }
    commands_begin(commands);
    commands_arg_text(commands, client->verb == CLIENT_GET   ? "GET"
                                : client->verb == CLIENT_SET ? "SET"
                                                             : "DEL");
    commands_arg(commands, name->name, name->len);
    if (client->verb == CLIENT_SET) {
        commands_arg_int(commands, key->attempt);
    }
}

static void send_request(struct world_client *client)
{
    struct world *world = client->world;
    struct model_node *node = world->redis.nodes[client->node];
    client->request = ++world->next_number;
    schedule_add(&world->schedule, REQUEST_TIMEOUT_US,
                 &(struct happening){.run = time_out, .owner = client, .tag = client->request});
    int64_t delay_us = network_stream_delay_us(&world->network, world->client_place, node->place);
    if (delay_us < 0) {
        return;
    }
    struct flight *flight = xcalloc(1, sizeof(*flight));
    *flight = (struct flight){
        .client = client, .request = client->request, .pipeline = model_pipeline_new()};
    flight->pipeline->done = answered;
    flight->pipeline->place = node->place;
    build(client, &flight->pipeline->commands);
    schedule_add(
        &world->schedule, delay_us,
        &(struct happening){.run = arrive, .release = flight_free, .owner = node, .data = flight});
}

static void next_request(struct happening *what)
{
    struct world_client *client = what->owner;
    struct world *world = client->world;
    if (client->is_stopped) {
        return;
    }
    if (client->key_count == 0) {
        think(client, THINK_US_MAX);
        return;
    }
    /* The newest keys are where the operator works now. */
    int newest = client->key_count < 32 ? client->key_count : 32;
    client->key = prng_chance(&world->prng, 1, 2)
                      ? client->key_count - 1 - (int)prng_below(&world->prng, (uint64_t)newest)
                      : (int)prng_below(&world->prng, (uint64_t)client->key_count);
    struct client_key *key = &client->keys[client->key];
    client->verb = CLIENT_GET;
    if (!key->is_uncertain && prng_chance(&world->prng, 3, 5)) {
        client->verb =
            key->version > 0 && prng_chance(&world->prng, 1, 10) ? CLIENT_DEL : CLIENT_SET;
        key->attempt = key->version > key->attempt ? key->version + 1 : key->attempt + 1;
        key->attempt_is_deletion = client->verb == CLIENT_DEL;
    }
    client->is_asking = false;
    client->tries = 0;
    client->began_us = world->schedule.now_us;
    client->node = client->owner[world->redis.keys.keys[key->number].slot];
    send_request(client);
}

void world_clients_start(struct world *world)
{
    for (int i = 0; i < world->client_count; i++) {
        struct world_client *client = &world->clients[i];
        client->world = world;
        client->index = i;
        for (int slot = 0; slot < SLOT_COUNT; slot++) {
            int owner = world->redis.nodes[0]->owner[slot];
            client->owner[slot] = (int8_t)(owner == MODEL_NONE ? 0 : owner);
        }
        think(client, prng_range(&world->prng, 0, THINK_US_MAX));
    }
}

void world_clients_empty_slot(struct world *world, int slot)
{
    for (int i = 0; i < world->client_count; i++) {
        struct world_client *client = &world->clients[i];
        for (int k = 0; k < client->key_count; k++) {
            struct client_key *key = &client->keys[k];
            if (world->redis.keys.keys[key->number].slot != slot) {
                continue;
            }
            /* A write of its own may come after, and an unanswered MIGRATE may still bring a copy
             * back. */
            key->is_free = true;
            key->is_deleted = true;
            key->acked_us = world->schedule.now_us;
        }
    }
}

/* Where a client would find the key: at the owner of its slot or, while the slot is open, at the
 * importing node. */
static const struct model_stored *find_stored(struct world *world, const struct client_key *key)
{
    int slot = world->redis.keys.keys[key->number].slot;
    int owner = world->redis.nodes[0]->owner[slot];
    const struct model_stored *stored = NULL;
    if (owner != MODEL_NONE) {
        stored = model_node_get(world->redis.nodes[owner], key->number);
    }
    for (int i = 0; i < world->redis.node_count && stored == NULL; i++) {
        if (world->redis.nodes[i]->importing_from[slot] != MODEL_NONE) {
            stored = model_node_get(world->redis.nodes[i], key->number);
        }
    }
    return stored;
}

void world_clients_check_end(struct world *world)
{
    for (int i = 0; i < world->client_count; i++) {
        struct world_client *client = &world->clients[i];
        for (int k = 0; k < client->key_count; k++) {
            struct client_key *key = &client->keys[k];
            const struct model_stored *stored = find_stored(world, key);
            char value[MODEL_VALUE_SIZE + 1] = {0};
            if (stored != NULL) {
                memcpy(value, stored->value, stored->len);
            }
            if (client->key == k && client->verb != CLIENT_GET) {
                key->is_uncertain = true; /* the run may have ended before the answer */
            }
            check_read(client, key, stored == NULL ? 0 : atoll(value));
        }
    }
}
