/* coverage.c — see coverage.h. */
#include "tests/sim/coverage.h"

#include <stdio.h>

struct row {
    const char *text;
    bool is_important;
};

static const struct row FAULT_ROWS[] = {
#define X(name, is_important, text) {text, is_important},
    FAULTS(X)
#undef X
};

static const struct row SIGHT_ROWS[] = {
#define X(name, is_important, text) {text, is_important},
    SIGHTS(X)
#undef X
};

void coverage_add(struct coverage *coverage, enum sight sight, uint64_t count)
{
    coverage->sights[sight] += count;
}

void coverage_print(const struct coverage *coverage)
{
    printf("faults\n");
    for (int i = 0; i < FAULT_NR; i++) {
        printf("  %10llu  %s\n", (unsigned long long)coverage->faults[i], FAULT_ROWS[i].text);
    }
    printf("seen\n");
    for (int i = 0; i < SIGHT_NR; i++) {
        printf("  %10llu  %s\n", (unsigned long long)coverage->sights[i], SIGHT_ROWS[i].text);
    }
    printf("%llu happenings in %lld s of virtual time\n", (unsigned long long)coverage->happenings,
           (long long)(coverage->virtual_ms / 1000));
}

static int missing(const uint64_t *counts, const struct row *rows, int count)
{
    int found = 0;
    for (int i = 0; i < count; i++) {
        if (rows[i].is_important && counts[i] == 0) {
            printf("never seen: %s\n", rows[i].text);
            found++;
        }
    }
    return found;
}

int coverage_missing(const struct coverage *coverage)
{
    return missing(coverage->faults, FAULT_ROWS, FAULT_NR) +
           missing(coverage->sights, SIGHT_ROWS, SIGHT_NR);
}

const char *fault_text(enum fault fault)
{
    return FAULT_ROWS[fault].text;
}
