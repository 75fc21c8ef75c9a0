/* test_sim.c — runs many seeds of the simulator and prints, for a seed that fails, the one command
 * that repeats it.
 *
 *   test_sim [--seeds N] [--first S] [--seed S] [--verbose] [--key N] [--slot N] [--go-on]
 * [--mutation NAME] Without arguments: the pinned past failures, then DROVER_SIM_SEEDS seeds
 * (default 300), then the mutations, each of which must be caught by a checker. */
#include "common/base/alloc.h"
#include "tests/sim/world.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define SEEDS_DEFAULT 300
#define SEEDS_FOR_COVERAGE 200 /* fewer runs need not see everything */
#define FAILURES_SHOWN_MAX 8
#define MUTATION_SEEDS_MAX 60

static const char *const MUTATIONS[MUTATION_NR] = {"none",      "lying-count", "stale-fence",
                                                   "unguarded", "lost-claim",  "lost-write"};

struct options {
    uint64_t first;
    long count;
    bool is_single;
    bool is_verbose;
    bool goes_on;    /* after many failures too */
    long traced_key; /* -1 = none */
    long traced_slot;
    enum mutation mutation;
};

static bool run_seed(uint64_t seed,
                     const struct options *options,
                     struct coverage *coverage,
                     char violation[512])
{
    struct world *world = xmalloc(sizeof(*world));
    world_init(world, seed, options->mutation, options->is_verbose, coverage);
    world->traced_key = (int)options->traced_key;
    world->redis.traced_slot = (int)options->traced_slot;
    bool is_good = world_run(world) == 0;
    snprintf(violation, 512, "%s", world->violation);
    world_release(world);
    free(world);
    return is_good;
}

static bool try_seed(uint64_t seed,
                     const struct options *options,
                     struct coverage *coverage,
                     const char *program)
{
    char violation[512];
    if (run_seed(seed, options, coverage, violation)) {
        return true;
    }
    printf("FAILED seed %llu: %s\n  repeat: %s --seed %llu --verbose%s%s\n",
           (unsigned long long)seed, violation, program, (unsigned long long)seed,
           options->mutation == MUTATION_NONE ? "" : " --mutation ",
           options->mutation == MUTATION_NONE ? "" : MUTATIONS[options->mutation]);
    fflush(stdout);
    return false;
}

static int run_past_failures(const struct options *options,
                             struct coverage *coverage,
                             const char *program)
{
    FILE *file = fopen(TEST_SOURCE_DIR "/past_failures.txt", "r");
    if (file == NULL) {
        printf("cannot read %s/past_failures.txt\n", TEST_SOURCE_DIR);
        return 1;
    }
    char line[256];
    int failed = 0;
    int count = 0;
    while (fgets(line, sizeof(line), file) != NULL) {
        char *end = NULL;
        uint64_t seed = strtoull(line, &end, 10);
        if (end != line) {
            failed += !try_seed(seed, options, coverage, program);
            count++;
        }
    }
    (void)fclose(file);
    printf("%d past failures repeated, %d fail\n", count, failed);
    return failed;
}

static int run_range(const struct options *options, struct coverage *coverage, const char *program)
{
    struct timespec begin;
    struct timespec end;
    (void)clock_gettime(CLOCK_MONOTONIC, &begin);
    int failed = 0;
    long ran = 0;
    for (long i = 0; i < options->count && (options->goes_on || failed < FAILURES_SHOWN_MAX); i++) {
        failed += !try_seed(options->first + (uint64_t)i, options, coverage, program);
        ran++;
    }
    (void)clock_gettime(CLOCK_MONOTONIC, &end);
    double seconds =
        (double)(end.tv_sec - begin.tv_sec) + (double)(end.tv_nsec - begin.tv_nsec) / 1e9;
    printf("%ld seeds, %d fail, %.1f s, %.0f seeds/s\n", ran, failed, seconds,
           (double)ran / seconds);
    return failed;
}

/* Each broken guard must be noticed, or the checkers prove nothing. */
static int run_mutations(uint64_t first)
{
    int missed = 0;
    for (int m = 1; m < MUTATION_NR; m++) {
        struct options options = {
            .mutation = (enum mutation)m, .traced_key = -1, .traced_slot = -1};
        struct coverage coverage = {0};
        char violation[512] = "";
        uint64_t seed = first;
        while (seed < first + MUTATION_SEEDS_MAX &&
               run_seed(seed, &options, &coverage, violation)) {
            seed++;
        }
        if (seed == first + MUTATION_SEEDS_MAX) {
            printf("mutation %s is not noticed in %d seeds\n", MUTATIONS[m], MUTATION_SEEDS_MAX);
            missed++;
        } else {
            printf("mutation %s is caught by seed %llu: %s\n", MUTATIONS[m],
                   (unsigned long long)seed, violation);
        }
    }
    return missed;
}

static bool read_options(int argc, char **argv, struct options *options)
{
    for (int i = 1; i < argc; i++) {
        const char *value = i + 1 < argc ? argv[i + 1] : "";
        if (strcmp(argv[i], "--verbose") == 0) {
            options->is_verbose = true;
            continue;
        }
        if (strcmp(argv[i], "--go-on") == 0) {
            options->goes_on = true;
            continue;
        }
        i++;
        if (strcmp(argv[i - 1], "--seed") == 0) {
            options->first = strtoull(value, NULL, 10);
            options->count = 1;
            options->is_single = true;
        } else if (strcmp(argv[i - 1], "--first") == 0) {
            options->first = strtoull(value, NULL, 10);
        } else if (strcmp(argv[i - 1], "--key") == 0) {
            options->traced_key = strtol(value, NULL, 10);
        } else if (strcmp(argv[i - 1], "--slot") == 0) {
            options->traced_slot = strtol(value, NULL, 10);
        } else if (strcmp(argv[i - 1], "--seeds") == 0) {
            options->count = strtol(value, NULL, 10);
        } else if (strcmp(argv[i - 1], "--mutation") == 0) {
            int found = 0;
            for (int m = 1; m < MUTATION_NR; m++) {
                found = strcmp(value, MUTATIONS[m]) == 0 ? m : found;
            }
            options->mutation = (enum mutation)found;
        } else {
            printf("unknown option %s\n", argv[i - 1]);
            return false;
        }
    }
    return true;
}

int main(int argc, char **argv)
{
    const char *wanted = getenv("DROVER_SIM_SEEDS");
    struct options options = {.first = 1,
                              .traced_key = -1,
                              .traced_slot = -1,
                              .count = wanted != NULL ? strtol(wanted, NULL, 10) : SEEDS_DEFAULT};
    struct coverage coverage = {0};
    if (!read_options(argc, argv, &options)) {
        return 2;
    }
    if (options.is_single || options.mutation != MUTATION_NONE) {
        return run_range(&options, &coverage, argv[0]) == 0 ? 0 : 1;
    }
    int failed = run_past_failures(&options, &coverage, argv[0]);
    failed += run_range(&options, &coverage, argv[0]);
    coverage_print(&coverage);
    failed += options.count >= SEEDS_FOR_COVERAGE ? coverage_missing(&coverage) : 0;
    failed += run_mutations(options.first);
    return failed == 0 ? 0 : 1;
}
