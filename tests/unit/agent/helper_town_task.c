/* helper_town_task.c — see helper_town_task.h. */
#include "helper_town_task.h"

#include "common/base/alloc.h"

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

struct town *town;
struct order_status status;

int town_set_up(void **state)
{
    (void)state;
    town = xcalloc(1, sizeof(*town));
    town_init(town);
    return 0;
}

int town_tear_down(void **state)
{
    (void)state;
    town_release(town);
    free(town);
    return 0;
}

void run_task(const struct task *task)
{
    struct node_task *runner = town_runner(town, task);
    (void)town_run(town, runner, -1);
    node_task_status(runner, &status);
    node_task_free(runner);
}

void run(enum task_kind kind, int node, int peer, uint32_t flags)
{
    struct task task;
    town_task(town, &task, kind, node, peer);
    task.flags = flags;
    run_task(&task);
}

void check_done(void)
{
    if (status.state != ORDER_DONE) {
        fail_msg("%s: %s\n%s", order_state_name(status.state), status.reason,
                 strbuf_text(&town->log));
    }
}

void check_refused(int code, const char *part)
{
    if (status.state != ORDER_FAILED || status.reason_code != code ||
        strstr(status.reason, part) == NULL) {
        fail_msg("wanted \"%s\", got %s, code %d: %s", part, order_state_name(status.state),
                 status.reason_code, status.reason);
    }
}

void check_untouched(void)
{
    static const char *const verbs[] = {"MEET",     "FORGET",           "RESET",    "REPLICATE",
                                        "FAILOVER", "ADDSLOTS",         "DELSLOTS", "BUMPEPOCH",
                                        "FLUSHALL", "SET-CONFIG-EPOCH", "SAVE"};
    for (size_t i = 0; i < sizeof(verbs) / sizeof(verbs[0]); i++) {
        assert_null(strstr(strbuf_text(&town->log), verbs[i]));
    }
}
