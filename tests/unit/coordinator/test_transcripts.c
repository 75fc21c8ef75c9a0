/* test_transcripts.c — whole stories as logs, compared with tests/golden/coordinator/<name>.txt.
 *
 * Event names are API, so a changed line is a decision: DROVER_REWRITE=1 writes the files anew;
 * commit only what you can explain. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "helper_world.h"

static void read_golden(const char *path, struct strbuf *out)
{
    char bytes[4096];
    FILE *file = fopen(path, "r");
    if (file == NULL) {
        fail_msg("%s is missing: run with DROVER_REWRITE=1 and look at it", path);
        return;
    }
    size_t size = 0;
    while ((size = fread(bytes, 1, sizeof(bytes), file)) > 0) {
        strbuf_add(out, bytes, size);
    }
    (void)fclose(file);
}

static void compare(const struct world *w, const char *name, const char *title)
{
    char path[512];
    struct strbuf got = {0};
    struct strbuf want = {0};
    (void)snprintf(path, sizeof(path), "%s/../../golden/coordinator/%s.txt", TEST_SOURCE_DIR, name);
    strbuf_addf(&got, "# %s\n%s", title, strbuf_text(&w->log));
    if (getenv("DROVER_REWRITE") != NULL) {
        FILE *file = fopen(path, "w");
        assert_non_null(file);
        (void)fwrite(got.data, 1, got.len, file);
        (void)fclose(file);
    }
    read_golden(path, &want);
    if (strcmp(strbuf_text(&got), strbuf_text(&want)) != 0) {
        fprintf(stderr, "---- now:\n%s", strbuf_text(&got));
    }
    assert_string_equal(strbuf_text(&got), strbuf_text(&want));
    strbuf_release(&got);
    strbuf_release(&want);
}

/* A small plan keeps the transcript readable: 3 batches from node 0. */
static void begin(struct world *w, int replicas_each)
{
    world_init(w, 3, replicas_each, 1);
    w->config.batch_slots_max = 2048;
    world_start(w, 0);
    WORLD_UNTIL(w, 5000, strstr(world_why(w), "nothing to do") != NULL);
}

static void test_drain(void **state)
{
    (void)state;
    struct world w;
    begin(&w, 0);
    (void)world_drain(&w, 0, 0);
    WORLD_UNTIL(&w, 60000, world_state(&w) == OPERATION_DONE);
    compare(&w, "drain", "A drain from the order to the proof.");
    world_release(&w);
}

static void test_takeover(void **state)
{
    (void)state;
    struct world w;
    begin(&w, 0);
    world_start(&w, 1);
    (void)world_drain(&w, 0, 0);
    WORLD_UNTIL(&w, 20000,
                world_state(&w) == OPERATION_RUNNING && world_operation(&w)->slots_moved > 100);
    world_kill(&w, 0);
    WORLD_UNTIL(&w, 60000, world_state(&w) == OPERATION_DONE);
    compare(&w, "takeover",
            "The leader dies in the middle; the standby adopts what runs and finishes it.");
    world_release(&w);
}

static void test_source_fails_over(void **state)
{
    (void)state;
    struct world w;
    begin(&w, 1);
    (void)world_drain(&w, 0, 0);
    WORLD_UNTIL(&w, 20000,
                world_state(&w) == OPERATION_RUNNING && world_operation(&w)->slots_moved > 100);
    world_failover(&w, 0, 3);
    WORLD_UNTIL(&w, 60000, world_state(&w) == OPERATION_DONE);
    compare(&w, "source_fails_over",
            "The source fails over in the middle; the batches follow to its replica.");
    world_release(&w);
}

static void test_pause_and_cancel(void **state)
{
    (void)state;
    struct world w;
    begin(&w, 0);
    int start = world_drain(&w, 0, 0);
    WORLD_UNTIL(&w, 20000,
                world_state(&w) == OPERATION_RUNNING && world_operation(&w)->slots_moved > 100);
    const char *id = world_answer(&w, start)->operation_id;
    (void)world_verb(&w, 0, COMMAND_PAUSE, id);
    WORLD_UNTIL(&w, 10000, world_state(&w) == OPERATION_PAUSED);
    (void)world_verb(&w, 0, COMMAND_RESUME, id);
    world_run(&w, 500);
    (void)world_verb(&w, 0, COMMAND_CANCEL, id);
    WORLD_UNTIL(&w, 10000, world_state(&w) == OPERATION_CANCELLED);
    compare(&w, "pause_and_cancel",
            "Paused, resumed, cancelled: slots in hand end, nothing is left open.");
    world_release(&w);
}

static void test_lost_lease(void **state)
{
    (void)state;
    struct world w;
    begin(&w, 0);
    (void)world_drain(&w, 0, 0);
    WORLD_UNTIL(&w, 20000,
                world_state(&w) == OPERATION_RUNNING && world_operation(&w)->slots_moved > 100);
    w.store.fault[0] = STORE_LOST;
    WORLD_UNTIL(&w, 12000, world_leader(&w) < 0);
    w.store.fault[0] = STORE_WELL;
    WORLD_UNTIL(&w, 90000, world_state(&w) == OPERATION_DONE);
    compare(&w, "lost_lease",
            "The store is away for longer than the lease: the term ends, the next one goes on.");
    world_release(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_drain),
        cmocka_unit_test(test_takeover),
        cmocka_unit_test(test_source_fails_over),
        cmocka_unit_test(test_pause_and_cancel),
        cmocka_unit_test(test_lost_lease),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
