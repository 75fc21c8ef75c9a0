/* spec.h — what is wanted: the shape of the cluster, the shares of its nodes, and the limits of
 * moving.
 *
 * Reconcile compares it with the topology. Set from configuration or the API as keys and values in
 * text, so that one table names every key, its range and its default. Pure. The stored part is
 * struct spec_record. */
#ifndef DROVER_MODEL_SPEC_H
#define DROVER_MODEL_SPEC_H

#include "common/base/err.h"
#include "common/base/strbuf.h"
#include "common/model/record.h"
#include "common/model/topology.h"

#include <stdbool.h>

#define SPEC_PRIMARIES_MAX 1000 /* what the cluster bus is made for */
#define SPEC_REPLICAS_MAX 15    /* a shard with more resyncs for ever */
#define SPEC_WEIGHT_MAX 1000000
#define SPEC_AS_IS (-1) /* replicas_per_shard: leave them as they are */

struct spec {
    char cluster_name[64];  /* letters, digits, '.', '-', '_'; default "cluster" */
    int primaries_wanted;   /* 0 = as they are, else 1..SPEC_PRIMARIES_MAX */
    int replicas_per_shard; /* SPEC_AS_IS or 0..SPEC_REPLICAS_MAX */
    double
        memory_limit_percent; /* 1..100 of maxmemory that a move may fill a target to; default 80 */
    double threshold_percent; /* 0..100: shares this close are left alone; default 2 */
    int moves_max;            /* 1..64 batches at once; default 16 */
    int moves_per_source_max; /* 1..4; default 1: a second MIGRATE only waits for the first */
    int moves_per_target_max; /* 1..16; default 3 */
    int batch_slots_max;      /* 1..BATCH_SLOTS_MAX; default 512 */
    enum move_speed speed;    /* soft, balanced, fast; default balanced */
    struct node_weight *weights; /* nodes not named weigh 1; by id, each once; owned */
    int weight_count;
    int weight_capacity;
};

/* All defaults. */
void spec_init(struct spec *spec);
void spec_release(struct spec *spec);

/* Sets one key from text: the names of the members above ("primaries" for primaries_wanted), or
 * "weight.<node id>". ERR_CONFIG naming the key, the value and what is allowed; an unknown key gets
 * the nearest ones as hint. */
int spec_set(struct spec *spec, const char *key, const char *value, struct err *err) WARN_UNUSED;

/* Checks what single keys cannot: ERR_CONFIG when all weights are 0 while they name every wanted
 * primary, or a limit contradicts another. Also checks every range again, for structs that were
 * filled by hand. */
int spec_validate(const struct spec *spec, struct err *err) WARN_UNUSED;

void spec_to_record(const struct spec *spec, struct spec_record *record);
/* Overwrites the stored part only. ERR_CONFIG as spec_validate(). */
int spec_from_record(struct spec *spec,
                     const struct spec_record *record,
                     struct err *err) WARN_UNUSED;

/* True when the topology is as wanted; else 'why' (may be NULL) gets one sentence, e.g. "5
 * primaries are wanted, the cluster has 3". Weights and balance are the planner's question. */
bool spec_is_met(const struct spec *spec, const struct topology *topology, struct strbuf *why);

/* A line a key: name, allowed values, default, meaning; for --help and docs. */
void spec_format_keys(struct strbuf *out);

#endif
