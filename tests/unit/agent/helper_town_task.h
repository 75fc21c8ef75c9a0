/* helper_town_task.h — one town for each test, one task after another in it, and what came of the
 * last: what the files test_tasks*.c share. */
#ifndef DROVER_TESTS_UNIT_AGENT_HELPER_TOWN_TASK_H
#define DROVER_TESTS_UNIT_AGENT_HELPER_TOWN_TASK_H

#include "helper_town.h"

extern struct town *town;          /* of the test that runs */
extern struct order_status status; /* of the last task */

int town_set_up(void **state);
int town_tear_down(void **state);

/* Carries a task out to its end. */
void run_task(const struct task *task);
void run(enum task_kind kind, int node, int peer, uint32_t flags);

void check_done(void);
void check_refused(int code, const char *part);
void check_untouched(void); /* nothing that changes anything was said to anybody */

#endif
