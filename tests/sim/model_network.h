/* model_network.h — who can reach whom, how slowly, and what is lost.
 *
 * Places are hosts, coordinators, the store and the clients, named by a small number. A cut is
 * one-way, so a partition is two cuts. It decides delays and losses only; those who send use the
 * schedule themselves. */
#ifndef DROVER_SIM_MODEL_NETWORK_H
#define DROVER_SIM_MODEL_NETWORK_H

#include "common/base/prng.h"
#include "tests/sim/schedule.h"

#define NETWORK_PLACES_MAX 32

struct model_network {
    struct schedule *schedule;
    struct prng prng;
    int place_count;
    bool is_cut[NETWORK_PLACES_MAX][NETWORK_PLACES_MAX]; /* [from][to] */
    int64_t slow_us[NETWORK_PLACES_MAX]; /* added to everything from or to a place */
    int64_t delay_us_min;
    int64_t delay_us_max;
    int loss_permille; /* of datagram-like traffic; streams resend instead */
    bool is_calm;      /* no loss and no extra slowness any more: the run is healing */
};

void network_init(struct model_network *network,
                  struct schedule *schedule,
                  uint64_t seed,
                  int place_count);
/* Delay of one message in microseconds; -1 = it is lost. */
int64_t network_delay_us(struct model_network *network, int from, int to);
/* The same for a stream, where a lost packet is only late; -1 only while the way is cut. */
int64_t network_stream_delay_us(struct model_network *network, int from, int to);
bool network_is_cut(const struct model_network *network, int from, int to);
void network_cut(struct model_network *network, int from, int to);
/* Cuts a place off from all others in both directions. */
void network_isolate(struct model_network *network, int place);
/* Cuts every way between places whose bit is set in 'side' and the others. */
void network_split(struct model_network *network, uint32_t side);
void network_heal(struct model_network *network);

#endif
