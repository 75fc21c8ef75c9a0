/* options.c — see options.h. */
#include "bench/load/options.h"

#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Bounds of what a person may ask for; each keeps a typing error from eating the machine. */
#define KEYS_LIMIT 50000000LL
#define VALUE_SIZE_LIMIT (512LL * 1024 * 1024)
#define RATE_LIMIT 1000000LL
#define CONNECTIONS_LIMIT 256

enum option_id {
    OPTION_SEED_NODE = 256,
    OPTION_KEYS,
    OPTION_SIZE,
    OPTION_MIX,
    OPTION_SEED,
    OPTION_PREFIX,
    OPTION_BIG_STRING,
    OPTION_SLOT_PILE,
    OPTION_EXPIRING,
    OPTION_ALLOW_UPDATED,
    OPTION_TTL_TOLERANCE,
    OPTION_RATE,
    OPTION_DURATION,
    OPTION_UNTIL_FILE,
    OPTION_MARK_FILE,
    OPTION_READY_FILE,
    OPTION_GET_RATIO,
    OPTION_FILLED,
    OPTION_REALTIME,
    OPTION_TOLERATE,
    OPTION_CONNECTIONS,
    OPTION_USER,
    OPTION_PASSWORD,
    OPTION_TIMEOUT,
    OPTION_RETRY_FOR,
    OPTION_CONNECT_LIMIT,
    OPTION_JSON,
    OPTION_PROGRESS,
    OPTION_HELP,
};

static const struct option option_table[] = {
    {"seed-node", required_argument, NULL, OPTION_SEED_NODE},
    {"keys", required_argument, NULL, OPTION_KEYS},
    {"size", required_argument, NULL, OPTION_SIZE},
    {"mix", required_argument, NULL, OPTION_MIX},
    {"seed", required_argument, NULL, OPTION_SEED},
    {"prefix", required_argument, NULL, OPTION_PREFIX},
    {"big-string", required_argument, NULL, OPTION_BIG_STRING},
    {"slot-pile", required_argument, NULL, OPTION_SLOT_PILE},
    {"expiring", required_argument, NULL, OPTION_EXPIRING},
    {"allow-updated", no_argument, NULL, OPTION_ALLOW_UPDATED},
    {"ttl-tolerance-ms", required_argument, NULL, OPTION_TTL_TOLERANCE},
    {"rate", required_argument, NULL, OPTION_RATE},
    {"duration", required_argument, NULL, OPTION_DURATION},
    {"until-file", required_argument, NULL, OPTION_UNTIL_FILE},
    {"mark-file", required_argument, NULL, OPTION_MARK_FILE},
    {"ready-file", required_argument, NULL, OPTION_READY_FILE},
    {"get-ratio", required_argument, NULL, OPTION_GET_RATIO},
    {"filled", no_argument, NULL, OPTION_FILLED},
    {"realtime", no_argument, NULL, OPTION_REALTIME},
    {"tolerate", required_argument, NULL, OPTION_TOLERATE},
    {"connections-per-node", required_argument, NULL, OPTION_CONNECTIONS},
    {"user", required_argument, NULL, OPTION_USER},
    {"password", required_argument, NULL, OPTION_PASSWORD},
    {"timeout-ms", required_argument, NULL, OPTION_TIMEOUT},
    {"retry-for-ms", required_argument, NULL, OPTION_RETRY_FOR},
    {"connect-timeout-ms", required_argument, NULL, OPTION_CONNECT_LIMIT},
    {"json", required_argument, NULL, OPTION_JSON},
    {"progress", no_argument, NULL, OPTION_PROGRESS},
    {"help", no_argument, NULL, OPTION_HELP},
    {NULL, 0, NULL, 0},
};

static const char help_text[] =
    "drover-load: fills a Redis Cluster, loads it at a fixed rate, and checks every answer\n"
    "\n"
    "  drover-load fill   --seed-node H:P --keys N [--size B] [--mix strings|all]\n"
    "  drover-load verify (the same options as fill)\n"
    "  drover-load run    --seed-node H:P --keys N --rate R [--duration S] [--until-file PATH]\n"
    "\n"
    "Data (fill, verify; run where marked *)\n"
    "  --keys N *             plain keys\n"
    "  --size B *             bytes of a value, 32 or more (100)\n"
    "  --mix strings|all *    all: every type, odd names (all byte values, blanks, newlines, tags, "
    "almost\n"
    "                         empty), expiry times; for run: counters and lists among the strings "
    "(strings)\n"
    "  --seed S *             other seeds give other values (1)\n"
    "  --prefix P *           start of the key names (key:, or load: for a run without --filled)\n"
    "  --big-string BYTES     one more string of that size\n"
    "  --slot-pile SLOT:N     N more keys in that slot\n"
    "  --expiring N:MS        N more keys that expire within MS milliseconds\n"
    "  --allow-updated        verify: strings may carry later versions, as run writes them\n"
    "  --ttl-tolerance-ms T   verify: how far an expiry may be off (1000)\n"
    "Load (run)\n"
    "  --rate R               requests a second, sent on time whatever the answers do (1000)\n"
    "  --duration S           seconds; without it until --until-file exists or SIGINT or SIGTERM "
    "comes\n"
    "  --until-file PATH      end when PATH exists\n"
    "  --mark-file PATH       each new content of PATH starts a phase of that name in the report\n"
    "  --ready-file PATH      made when the load begins\n"
    "  --get-ratio G          share of reads, 0 to 1 (0.8)\n"
    "  --filled               the keys are there: fill --mix strings wrote them with the same "
    "options\n"
    "  --realtime             real-time scheduling, if allowed\n"
    "  --tolerate LIST        of tryagain, clusterdown, connection, timeout (connection includes "
    "timeout), all:\n"
    "                         repeat these instead of counting them as client errors\n"
    "Cluster\n"
    "  --seed-node H:P        where to learn the slot map; may be given again\n"
    "  --connections-per-node C   (fill, verify 1; run 4)\n"
    "  --user U --password P  sent as AUTH on each connection; the password may be in "
    "DROVER_LOAD_PASSWORD instead\n"
    "  --timeout-ms T         wait for one answer (5000)\n"
    "  --retry-for-ms T       how long tolerated failures are repeated (30000)\n"
    "  --connect-timeout-ms T wait for the first slot map (5000)\n"
    "Output\n"
    "  --json FILE            write the JSON report there instead of to standard output\n"
    "  --progress             a line a second on standard error\n"
    "\n"
    "Exit codes: 0 all right, 1 something lost, wrong or failed, 2 usage, 3 cannot connect.\n"
    "\n"
    "Examples\n"
    "  drover-load fill --seed-node 127.0.0.1:7000 --keys 300000 --mix all --expiring 1000:20000\n"
    "  drover-load verify --seed-node 127.0.0.1:7000 --keys 300000 --mix all --expiring "
    "1000:20000\n"
    "  drover-load run --seed-node 127.0.0.1:7000 --keys 10000 --rate 2000 --duration 30 --mix "
    "all\n"
    "  drover-load run --seed-node 127.0.0.1:7000 --keys 10000 --rate 2000 --until-file stop "
    "--mark-file phase \\\n"
    "      --tolerate clusterdown,connection --json load.json\n";

static int read_number(const char *name,
                       const char *text,
                       long long lowest,
                       long long highest,
                       long long *value,
                       struct err *err)
{
    char *end = NULL;
    errno = 0;
    long long number = strtoll(text, &end, 10);
    if (errno != 0 || end == text || *end != '\0' || number < lowest || number > highest) {
        return err_set(err, ERR_INVALID, "--%s takes a number from %lld to %lld, not '%s'", name,
                       lowest, highest, text);
    }
    *value = number;
    return 0;
}

static int read_real(const char *name,
                     const char *text,
                     double highest,
                     double *value,
                     struct err *err)
{
    char *end = NULL;
    double number = strtod(text, &end);
    if (end == text || *end != '\0' || !isfinite(number) || number < 0 || number > highest) {
        return err_set(err, ERR_INVALID, "--%s takes a number from 0 to %g, not '%s'", name,
                       highest, text);
    }
    *value = number;
    return 0;
}

/* "A:B" */
static int read_pair(const char *name,
                     const char *text,
                     long long first_max,
                     long long second_max,
                     long long pair[2],
                     struct err *err)
{
    char *colon = NULL;
    char *end = NULL;
    errno = 0;
    pair[0] = strtoll(text, &colon, 10);
    if (errno == 0 && colon != text && *colon == ':') {
        pair[1] = strtoll(colon + 1, &end, 10);
    }
    if (errno != 0 || end == NULL || end == colon + 1 || *end != '\0' || pair[0] < 0 ||
        pair[0] > first_max || pair[1] < 1 || pair[1] > second_max) {
        return err_set(err, ERR_INVALID, "--%s takes two numbers 0-%lld:1-%lld, not '%s'", name,
                       first_max, second_max, text);
    }
    return 0;
}

static int read_tolerate(const char *text, unsigned *tolerate, struct err *err)
{
    while (*text != '\0') {
        size_t len = strcspn(text, ",");
        unsigned found = len == 3 && memcmp(text, "all", 3) == 0 ? TOLERATE_ALL : 0;
        for (unsigned i = 0; i < FAILURE_OTHER; i++) {
            const char *word = failure_word((enum failure)i);
            if (strlen(word) == len && memcmp(word, text, len) == 0) {
                found |= 1U << i;
            }
        }
        if (found == 0) {
            return err_set(
                err, ERR_INVALID,
                "--tolerate takes tryagain, clusterdown, connection, timeout or all, not '%.*s'",
                (int)len, text);
        }
        if ((found & 1U << FAILURE_CONNECTION) != 0) {
            found |= 1U << FAILURE_TIMEOUT;
        }
        *tolerate |= found;
        text += len + (text[len] == ',' ? 1 : 0);
    }
    return 0;
}

static int set_mix(struct options *o, const char *text, struct err *err)
{
    bool all = strcmp(text, "all") == 0;
    if (!all && strcmp(text, "strings") != 0) {
        return err_set(err, ERR_INVALID, "--mix takes strings or all, not '%s'", text);
    }
    o->data.all_types = all;
    return 0;
}

static int add_seed(struct options *o, const char *text, struct err *err)
{
    if (o->cluster.seed_count == SEEDS_MAX) {
        return err_set(err, ERR_INVALID, "more than %d --seed-node", SEEDS_MAX);
    }
    o->seeds[o->cluster.seed_count++] = text;
    return 0;
}

/* Options with a number. Returns 1 if 'id' is none of them. */
static int set_number(struct options *o,
                      int id,
                      const char *name,
                      const char *text,
                      struct err *err)
{
    long long value = 0;
    long long pair[2] = {0, 0};
    int rc = 0;
    switch (id) {
    case OPTION_KEYS:
        rc = read_number(name, text, 0, KEYS_LIMIT, &value, err);
        o->data.keys = (uint64_t)value;
        return rc;
    case OPTION_SIZE:
        rc = read_number(name, text, VALUE_SIZE_MIN, VALUE_SIZE_LIMIT, &value, err);
        o->data.value_size = (uint64_t)value;
        return rc;
    case OPTION_SEED:
        rc = read_number(name, text, 0, LLONG_MAX, &value, err);
        o->data.seed = (uint64_t)value;
        return rc;
    case OPTION_BIG_STRING:
        rc = read_number(name, text, VALUE_SIZE_MIN, VALUE_SIZE_LIMIT, &value, err);
        o->data.big_string_size = (uint64_t)value;
        return rc;
    case OPTION_SLOT_PILE:
        rc = read_pair(name, text, SLOT_COUNT - 1, KEYS_LIMIT, pair, err);
        o->data.slot_pile_slot = (unsigned)pair[0];
        o->data.slot_pile_count = (uint64_t)pair[1];
        return rc;
    case OPTION_EXPIRING:
        rc = read_pair(name, text, KEYS_LIMIT, INT_MAX, pair, err);
        o->data.expiring_count = (uint64_t)pair[0];
        o->data.expiring_within_ms = pair[1];
        return rc;
    case OPTION_TTL_TOLERANCE:
        rc = read_number(name, text, 0, INT_MAX, &value, err);
        o->data.ttl_tolerance_ms = value;
        return rc;
    case OPTION_CONNECTIONS:
        rc = read_number(name, text, 1, CONNECTIONS_LIMIT, &value, err);
        o->cluster.connections_per_node = (unsigned)value;
        return rc;
    case OPTION_TIMEOUT:
        return read_number(name, text, 1, INT_MAX, (long long *)&o->cluster.timeout_ms, err);
    case OPTION_RETRY_FOR:
        return read_number(name, text, 0, INT_MAX, (long long *)&o->cluster.retry_for_ms, err);
    case OPTION_CONNECT_LIMIT:
        return read_number(name, text, 1, INT_MAX, (long long *)&o->connect_limit_ms, err);
    case OPTION_RATE:
        return read_real(name, text, (double)RATE_LIMIT, &o->rate, err);
    case OPTION_DURATION:
        return read_real(name, text, 1e7, &o->duration_s, err);
    case OPTION_GET_RATIO:
        return read_real(name, text, 1, &o->get_ratio, err);
    default:
        return 1;
    }
}

static int set_option(struct options *o,
                      int id,
                      const char *name,
                      const char *text,
                      struct err *err)
{
    int rc = set_number(o, id, name, text, err);
    if (rc <= 0) {
        return rc;
    }
    switch (id) {
    case OPTION_SEED_NODE:
        return add_seed(o, text, err);
    case OPTION_MIX:
        return set_mix(o, text, err);
    case OPTION_PREFIX:
        o->prefix = text;
        break;
    case OPTION_ALLOW_UPDATED:
        o->data.allow_updated = true;
        break;
    case OPTION_UNTIL_FILE:
        o->until_file = text;
        break;
    case OPTION_MARK_FILE:
        o->mark_file = text;
        break;
    case OPTION_READY_FILE:
        o->ready_file = text;
        break;
    case OPTION_FILLED:
        o->filled = true;
        break;
    case OPTION_REALTIME:
        o->realtime = true;
        break;
    case OPTION_TOLERATE:
        return read_tolerate(text, &o->cluster.tolerate, err);
    case OPTION_USER:
        o->cluster.user = text;
        break;
    case OPTION_PASSWORD:
        o->cluster.password = text;
        break;
    case OPTION_JSON:
        o->json_path = text;
        break;
    case OPTION_PROGRESS:
        o->progress = true;
        break;
    default:
        return err_set(err, ERR_INVALID, "unknown option");
    }
    return 0;
}

static int check_options(struct options *o, struct err *err)
{
    if (o->cluster.seed_count == 0) {
        return err_set(err, ERR_INVALID, "--seed-node is missing");
    }
    if (dataset_count(&o->data) == 0) {
        return err_set(err, ERR_INVALID, "--keys is missing");
    }
    if (o->cluster.user != NULL && o->cluster.password == NULL) {
        return err_set(err, ERR_INVALID, "--user needs --password");
    }
    if (o->command != COMMAND_RUN) {
        return 0;
    }
    if (o->data.keys == 0 || o->rate <= 0) {
        return err_set(err, ERR_INVALID, "run needs --keys and a --rate above 0");
    }
    if (o->filled && o->data.all_types) {
        return err_set(err, ERR_INVALID, "--filled goes with --mix strings only");
    }
    if (dataset_count(&o->data) != o->data.keys) {
        return err_set(err, ERR_INVALID,
                       "--big-string, --slot-pile and --expiring belong to fill and verify");
    }
    return 0;
}

static void set_defaults(struct options *o)
{
    *o = (struct options){
        .cluster = {.seeds = o->seeds, .timeout_ms = 5000, .retry_for_ms = 30000},
        .connect_limit_ms = 5000,
        .data = {.seed = 1, .value_size = 100, .ttl_tolerance_ms = 1000},
        .rate = 1000,
        .get_ratio = 0.8,
    };
    o->cluster.password = getenv("DROVER_LOAD_PASSWORD");
}

static void complete(struct options *o)
{
    bool runs = o->command == COMMAND_RUN;
    if (o->cluster.connections_per_node == 0) {
        o->cluster.connections_per_node = runs ? 4 : 1;
    }
    o->data.prefix = o->prefix != NULL ? o->prefix : runs && !o->filled ? "load:" : PREFIX_DEFAULT;
    if (!runs) {
        /* Filling and checking are about data, not about what clients see on the way. */
        o->cluster.tolerate = TOLERATE_ALL;
    }
    dataset_prepare(&o->data);
}

enum parsed options_parse(struct options *o, int argc, char **argv, struct err *err)
{
    static const char *const commands[] = {"fill", "verify", "run"};
    set_defaults(o);
    const char *verb = argc > 1 ? argv[1] : "";
    bool known = false;
    for (unsigned i = 0; i < 3; i++) {
        if (strcmp(verb, commands[i]) == 0) {
            o->command = (enum command)i;
            known = true;
        }
    }
    if (strcmp(verb, "--help") == 0 || strcmp(verb, "help") == 0) {
        (void)fputs(help_text, stdout);
        return PARSED_HELP;
    }
    if (!known) {
        (void)err_set(err, ERR_INVALID, "the first word must be fill, verify or run, not '%s'",
                      verb);
        return PARSED_BAD;
    }
    optind = 2;
    opterr = 0;
    int id = 0;
    int row = 0;
    while ((id = getopt_long(argc, argv, "", option_table, &row)) != -1) {
        if (id == OPTION_HELP) {
            (void)fputs(help_text, stdout);
            return PARSED_HELP;
        }
        if (id == '?') {
            (void)err_set(err, ERR_INVALID, "unknown option or missing value: '%s'",
                          argv[optind - 1]);
            return PARSED_BAD;
        }
        if (set_option(o, id, option_table[row].name, optarg, err) != 0) {
            return PARSED_BAD;
        }
    }
    if (optind < argc) {
        (void)err_set(err, ERR_INVALID, "unexpected word '%s'", argv[optind]);
        return PARSED_BAD;
    }
    if (check_options(o, err) != 0) {
        return PARSED_BAD;
    }
    complete(o);
    return PARSED_RUN;
}
