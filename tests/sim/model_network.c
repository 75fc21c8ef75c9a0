/* model_network.c — see model_network.h. */
#include "tests/sim/model_network.h"

#include "common/base/check.h"

#include <string.h>

void network_init(struct model_network *network,
                  struct schedule *schedule,
                  uint64_t seed,
                  int place_count)
{
    CHECK(place_count <= NETWORK_PLACES_MAX);
    *network = (struct model_network){
        .schedule = schedule,
        .place_count = place_count,
        .delay_us_min = 50,
        .delay_us_max = 400,
    };
    prng_init(&network->prng, seed);
}

bool network_is_cut(const struct model_network *network, int from, int to)
{
    return network->is_cut[from][to];
}

static int64_t way_us(struct model_network *network, int from, int to)
{
    int64_t delay_us = prng_range(&network->prng, network->delay_us_min, network->delay_us_max);
    if (from == to) {
        return delay_us / 4 + 1;
    }
    return delay_us + network->slow_us[from] + network->slow_us[to];
}

int64_t network_delay_us(struct model_network *network, int from, int to)
{
    if (network->is_cut[from][to]) {
        return -1;
    }
    bool is_lost = from != to && network->loss_permille > 0 &&
                   prng_chance(&network->prng, (uint64_t)network->loss_permille, 1000);
    return is_lost ? -1 : way_us(network, from, to);
}

int64_t network_stream_delay_us(struct model_network *network, int from, int to)
{
    if (network->is_cut[from][to]) {
        return -1;
    }
    int64_t delay_us = way_us(network, from, to);
    bool is_resent = from != to && network->loss_permille > 0 &&
                     prng_chance(&network->prng, (uint64_t)network->loss_permille, 1000);
    return is_resent ? delay_us + 200 * MS_US : delay_us;
}

void network_cut(struct model_network *network, int from, int to)
{
    if (from != to) {
        network->is_cut[from][to] = true;
    }
}

void network_isolate(struct model_network *network, int place)
{
    for (int other = 0; other < network->place_count; other++) {
        network_cut(network, place, other);
        network_cut(network, other, place);
    }
}

void network_split(struct model_network *network, uint32_t side)
{
    for (int a = 0; a < network->place_count; a++) {
        for (int b = 0; b < network->place_count; b++) {
            if (((side >> a) & 1) != ((side >> b) & 1)) {
                network_cut(network, a, b);
            }
        }
    }
}

void network_heal(struct model_network *network)
{
    memset(network->is_cut, 0, sizeof(network->is_cut));
    memset(network->slow_us, 0, sizeof(network->slow_us));
}
