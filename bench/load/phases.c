/* phases.c — see phases.h. */
#include "bench/load/phases.h"

#include "bench/load/now.h"
#include "bench/load/report.h"
#include "common/base/alloc.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LOOK_NS (10 * NS_PER_MS)

/* First line of the file; "" if there is none. */
static void read_mark(const char *path, char name[PHASE_NAME_SIZE])
{
    name[0] = '\0';
    int fd = path == NULL ? -1 : open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return;
    }
    ssize_t got = read(fd, name, PHASE_NAME_SIZE - 1);
    close(fd);
    name[got > 0 ? got : 0] = '\0';
    name[strcspn(name, "\r\n")] = '\0';
}

static void start_phase(struct phases *phases, const char *name, const struct counters *counters)
{
    struct phase *phase = xcalloc(1, sizeof(*phase));
    (void)snprintf(phase->name, sizeof(phase->name), "%s", name);
    phase->began_ns = now_ns();
    phase->at_start = *counters;
    phases->items[phases->count++] = phase;
}

void phases_begin(struct phases *phases, const char *mark_file, const struct counters *counters)
{
    char name[PHASE_NAME_SIZE];
    *phases = (struct phases){.mark_file = mark_file};
    read_mark(mark_file, name);
    start_phase(phases, name[0] == '\0' ? "load" : name, counters);
}

void phases_release(struct phases *phases)
{
    for (unsigned i = 0; i < phases->count; i++) {
        free(phases->items[i]);
    }
    phases->count = 0;
}

unsigned phases_now(const struct phases *phases)
{
    return phases->count - 1;
}

void phases_end(struct phases *phases, const struct counters *counters)
{
    struct phase *phase = phases->items[phases_now(phases)];
    phase->ended_ns = now_ns();
    phase->counters = counters_since(counters, &phase->at_start);
}

void phases_look(struct phases *phases, const struct counters *counters)
{
    int64_t now = now_ns();
    if (phases->mark_file == NULL || now < phases->next_look_ns || phases->count == PHASES_MAX) {
        return;
    }
    phases->next_look_ns = now + LOOK_NS;
    char name[PHASE_NAME_SIZE];
    read_mark(phases->mark_file, name);
    /* Empty: the script has truncated the file and not yet written the new name. */
    if (name[0] != '\0' && strcmp(name, phases->items[phases_now(phases)]->name) != 0) {
        phases_end(phases, counters);
        start_phase(phases, name, counters);
    }
}
