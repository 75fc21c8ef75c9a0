/* spec.c — see spec.h. */
#include "common/model/spec.h"

#include "common/base/alloc.h"
#include "common/base/check.h"

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

enum spec_kind { SPEC_INT, SPEC_PERCENT };

struct spec_key {
    const char *name;
    enum spec_kind kind;
    size_t offset;
    double min;
    double max;
    double normal; /* the default */
    const char *meaning;
};

static const struct spec_key spec_keys[] = {
    {"primaries", SPEC_INT, offsetof(struct spec, primaries_wanted), 0, SPEC_PRIMARIES_MAX, 0,
     "primaries that the cluster shall have; 0 = as they are"},
    {"replicas_per_shard", SPEC_INT, offsetof(struct spec, replicas_per_shard), SPEC_AS_IS,
     SPEC_REPLICAS_MAX, SPEC_AS_IS, "replicas of each primary; -1 = as they are"},
    {"memory_limit_percent", SPEC_PERCENT, offsetof(struct spec, memory_limit_percent), 1, 100, 80,
     "part of maxmemory that a move may fill a target to"},
    {"threshold_percent", SPEC_PERCENT, offsetof(struct spec, threshold_percent), 0, 100, 2,
     "shares this close to what is wanted are left alone"},
    {"moves_max", SPEC_INT, offsetof(struct spec, moves_max), 1, 64, 16,
     "batches at the same time in all"},
    {"moves_per_source_max", SPEC_INT, offsetof(struct spec, moves_per_source_max), 1, 4, 1,
     "batches at the same time from one node"},
    {"moves_per_target_max", SPEC_INT, offsetof(struct spec, moves_per_target_max), 1, 16, 3,
     "batches at the same time into one node"},
    {"batch_slots_max", SPEC_INT, offsetof(struct spec, batch_slots_max), 1, BATCH_SLOTS_MAX, 512,
     "slots that one order carries at most"},
};

#define SPEC_KEY_COUNT (sizeof(spec_keys) / sizeof(spec_keys[0]))
#define WEIGHT_PREFIX "weight."

static void key_write(struct spec *spec, const struct spec_key *key, double value)
{
    if (key->kind == SPEC_INT) {
        int number = (int)value;
        memcpy((char *)spec + key->offset, &number, sizeof(number));
    } else {
        memcpy((char *)spec + key->offset, &value, sizeof(value));
    }
}

static double key_read(const struct spec *spec, const struct spec_key *key)
{
    double value = 0;
    int number = 0;
    if (key->kind == SPEC_INT) {
        memcpy(&number, (const char *)spec + key->offset, sizeof(number));
        return number;
    }
    memcpy(&value, (const char *)spec + key->offset, sizeof(value));
    return value;
}

void spec_init(struct spec *spec)
{
    *spec = (struct spec){.cluster_name = "cluster", .speed = MOVE_SPEED_BALANCED};
    for (size_t i = 0; i < SPEC_KEY_COUNT; i++) {
        key_write(spec, &spec_keys[i], spec_keys[i].normal);
    }
}

void spec_release(struct spec *spec)
{
    if (spec != NULL) {
        free(spec->weights);
        spec_init(spec);
    }
}

static int refuse(const char *key, const char *value, const char *allowed, struct err *err)
{
    return err_set(err, ERR_CONFIG, "%.60s: \"%.60s\" is not %s", key, value, allowed);
}

/* A decimal number that is the whole text. */
static bool parse_decimal(const char *text, double *value)
{
    char *end = NULL;
    /* strtod also reads hex, "inf" and "nan", which nobody means here. */
    if (text[0] == '\0' || strspn(text, "+-0123456789.eE") != strlen(text)) {
        return false;
    }
    errno = 0;
    *value = strtod(text, &end);
    return errno == 0 && *end == '\0' && end != text;
}

static int set_number(struct spec *spec,
                      const struct spec_key *key,
                      const char *value,
                      struct err *err)
{
    double number = 0;
    char allowed[64];
    struct strbuf text = {0};
    bool is_good = parse_decimal(value, &number) && number >= key->min && number <= key->max;
    if (is_good && key->kind == SPEC_INT) {
        is_good = (double)(int)number == number;
    }
    if (is_good) {
        key_write(spec, key, number);
        return 0;
    }
    strbuf_addf(&text, "a %snumber from %g to %g", key->kind == SPEC_INT ? "whole " : "", key->min,
                key->max);
    size_t len = text.len < sizeof(allowed) ? text.len : sizeof(allowed) - 1;
    memcpy(allowed, strbuf_text(&text), len);
    allowed[len] = '\0';
    strbuf_release(&text);
    int code = refuse(key->name, value, allowed, err);
    err_hint(err, "%s", key->meaning);
    return code;
}

static bool is_name(const char *text)
{
    /* The same letters as an agent's name, and the same length. */
    return agent_id_is_valid(text);
}

static int set_speed(struct spec *spec, const char *value, struct err *err)
{
    static const enum move_speed speeds[] = {MOVE_SPEED_SOFT, MOVE_SPEED_BALANCED, MOVE_SPEED_FAST};
    for (size_t i = 0; i < sizeof(speeds) / sizeof(speeds[0]); i++) {
        if (strcmp(value, move_speed_name(speeds[i])) == 0) {
            spec->speed = speeds[i];
            return 0;
        }
    }
    return refuse("speed", value, "soft, balanced or fast", err);
}

static int set_weight(struct spec *spec, const char *key, const char *value, struct err *err)
{
    struct node_id id;
    double weight = 0;
    const char *text = key + strlen(WEIGHT_PREFIX);
    if (node_id_parse(&id, text, strlen(text), err) != 0) {
        err_wrap(err, "%.20s", WEIGHT_PREFIX);
        if (err != NULL) {
            err->code = ERR_CONFIG;
        }
        err_hint(err, "write weight.<node id>: 40 hex digits as CLUSTER MYID tells");
        return ERR_CONFIG;
    }
    if (!parse_decimal(value, &weight) || !(weight >= 0 && weight <= SPEC_WEIGHT_MAX)) {
        return refuse(key, value, "a number from 0 to 1000000", err);
    }
    int place = 0;
    while (place < spec->weight_count && node_id_compare(&spec->weights[place].node, &id) < 0) {
        place++;
    }
    if (place < spec->weight_count && node_id_is_equal(&spec->weights[place].node, &id)) {
        spec->weights[place].weight = weight;
        return 0;
    }
    if (spec->weight_count == SPEC_PRIMARIES_MAX) {
        return err_set(err, ERR_CONFIG, "%.60s: more than %d weights", key, SPEC_PRIMARIES_MAX);
    }
    ARRAY_RESERVE(spec->weights, spec->weight_count, spec->weight_capacity);
    memmove(&spec->weights[place + 1], &spec->weights[place],
            (size_t)(spec->weight_count - place) * sizeof(struct node_weight));
    spec->weights[place] = (struct node_weight){.node = id, .weight = weight};
    spec->weight_count++;
    return 0;
}

int spec_set(struct spec *spec, const char *key, const char *value, struct err *err)
{
    for (size_t i = 0; i < SPEC_KEY_COUNT; i++) {
        if (strcmp(key, spec_keys[i].name) == 0) {
            return set_number(spec, &spec_keys[i], value, err);
        }
    }
    if (strcmp(key, "cluster_name") == 0) {
        if (!is_name(value)) {
            return refuse(key, value, "1 to 63 letters, digits, '.', '-' or '_'", err);
        }
        memset(spec->cluster_name, 0, sizeof(spec->cluster_name));
        memcpy(spec->cluster_name, value, strlen(value));
        return 0;
    }
    if (strcmp(key, "speed") == 0) {
        return set_speed(spec, value, err);
    }
    if (strncmp(key, WEIGHT_PREFIX, strlen(WEIGHT_PREFIX)) == 0) {
        return set_weight(spec, key, value, err);
    }
    int code = err_set(err, ERR_CONFIG, "%.60s: there is no such key", key);
    struct strbuf keys = {0};
    for (size_t i = 0; i < SPEC_KEY_COUNT; i++) {
        strbuf_addf(&keys, "%s, ", spec_keys[i].name);
    }
    err_hint(err, "keys are %scluster_name, speed, weight.<node id>", strbuf_text(&keys));
    strbuf_release(&keys);
    return code;
}

static int validate_weights(const struct spec *spec, struct err *err)
{
    bool has_weight = spec->weight_count < spec->primaries_wanted || spec->primaries_wanted == 0;
    for (int i = 0; i < spec->weight_count; i++) {
        double weight = spec->weights[i].weight;
        if (!(weight >= 0 && weight <= SPEC_WEIGHT_MAX)) {
            return err_set(err, ERR_CONFIG, "weight.%s: %g is not a number from 0 to %d",
                           spec->weights[i].node.text, weight, SPEC_WEIGHT_MAX);
        }
        if (i > 0 && node_id_compare(&spec->weights[i - 1].node, &spec->weights[i].node) >= 0) {
            return err_set(err, ERR_CONFIG, "weight.%s: named twice or not in order",
                           spec->weights[i].node.text);
        }
        has_weight = has_weight || weight > 0;
    }
    if (!has_weight) {
        int code =
            err_set(err, ERR_CONFIG, "weight: all %d primaries have weight 0", spec->weight_count);
        err_hint(err, "the slots have to be somewhere: give one a weight above 0");
        return code;
    }
    return 0;
}

int spec_validate(const struct spec *spec, struct err *err)
{
    for (size_t i = 0; i < SPEC_KEY_COUNT; i++) {
        double value = key_read(spec, &spec_keys[i]);
        if (!(value >= spec_keys[i].min && value <= spec_keys[i].max)) {
            int code = err_set(err, ERR_CONFIG, "%s: %g is not from %g to %g", spec_keys[i].name,
                               value, spec_keys[i].min, spec_keys[i].max);
            err_hint(err, "%s", spec_keys[i].meaning);
            return code;
        }
    }
    if (!is_name(spec->cluster_name)) {
        return refuse("cluster_name", spec->cluster_name,
                      "1 to 63 letters, digits, '.', '-' or '_'", err);
    }
    if (spec->moves_per_target_max > spec->moves_max ||
        spec->moves_per_source_max > spec->moves_max) {
        int code =
            err_set(err, ERR_CONFIG,
                    "moves_max: %d is less than moves_per_source_max %d or moves_per_target_max %d",
                    spec->moves_max, spec->moves_per_source_max, spec->moves_per_target_max);
        err_hint(err, "moves_max counts all batches at the same time");
        return code;
    }
    return validate_weights(spec, err);
}

void spec_to_record(const struct spec *spec, struct spec_record *record)
{
    *record = (struct spec_record){.primaries_wanted = spec->primaries_wanted,
                                   .replicas_per_shard = spec->replicas_per_shard,
                                   .memory_limit_percent = spec->memory_limit_percent};
    memcpy(record->cluster_name, spec->cluster_name, sizeof(record->cluster_name));
}

int spec_from_record(struct spec *spec, const struct spec_record *record, struct err *err)
{
    struct spec fresh = *spec;
    memcpy(fresh.cluster_name, record->cluster_name, sizeof(fresh.cluster_name));
    fresh.cluster_name[sizeof(fresh.cluster_name) - 1] = '\0';
    fresh.primaries_wanted = record->primaries_wanted;
    fresh.replicas_per_shard = record->replicas_per_shard;
    fresh.memory_limit_percent = record->memory_limit_percent;
    int code = spec_validate(&fresh, err);
    if (code == 0) {
        *spec = fresh;
    }
    return code;
}

bool spec_is_met(const struct spec *spec, const struct topology *topology, struct strbuf *why)
{
    int primaries = topology->shard_count;
    if (spec->primaries_wanted != 0 && spec->primaries_wanted != primaries) {
        if (why != NULL) {
            strbuf_addf(why, "%d primar%s wanted, the cluster has %d", spec->primaries_wanted,
                        spec->primaries_wanted == 1 ? "y is" : "ies are", primaries);
        }
        return false;
    }
    for (int s = 0; s < topology->shard_count && spec->replicas_per_shard != SPEC_AS_IS; s++) {
        const struct topology_shard *shard = &topology->shards[s];
        if (shard->replica_count != spec->replicas_per_shard) {
            char name[TOPOLOGY_NAME_SIZE];
            if (why != NULL) {
                strbuf_addf(
                    why, "%d replica%s wanted of each primary, %s has %d", spec->replicas_per_shard,
                    spec->replicas_per_shard == 1 ? " is" : "s are",
                    topology_node_name(topology, shard->primary, name), shard->replica_count);
            }
            return false;
        }
    }
    return true;
}

void spec_format_keys(struct strbuf *out)
{
    strbuf_add_text(out,
                    "cluster_name: 1 to 63 letters, digits, '.', '-', '_'; default cluster; name "
                    "of the cluster\n");
    for (size_t i = 0; i < SPEC_KEY_COUNT; i++) {
        strbuf_addf(out, "%s: %g to %g; default %g; %s\n", spec_keys[i].name, spec_keys[i].min,
                    spec_keys[i].max, spec_keys[i].normal, spec_keys[i].meaning);
    }
    strbuf_add_text(
        out,
        "speed: soft, balanced, fast; default balanced; how hard moves may press on the nodes\n");
    strbuf_addf(out, "weight.<node id>: 0 to %d; default 1; share of the slots\n", SPEC_WEIGHT_MAX);
}
