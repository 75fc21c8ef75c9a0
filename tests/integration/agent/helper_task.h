/* helper_task.h — runs tasks, several at once, against real nodes through the real Redis
 * connections, without a coordinator. */
#ifndef DROVER_TESTS_INTEGRATION_AGENT_HELPER_TASK_H
#define DROVER_TESTS_INTEGRATION_AGENT_HELPER_TASK_H

#include "agent/core/task_runner.h"
#include "helper_cluster.h"

#define CREW_TASKS_MAX 160

struct crew;

struct crew *crew_new(void);
void crew_free(struct crew *crew);

/* The node may be one that runs or one that does not; peer -1 = none. */
void task_make(struct task *task,
               const struct cluster *cluster,
               enum task_kind kind,
               int node,
               int peer);
/* Begins a task; its number. */
int crew_start(struct crew *crew, const struct task *task);
/* Begins one that is dropped, as by a crash, after that many Redis pipelines. */
int crew_start_cut(struct crew *crew, const struct task *task, int pipelines);
/* Turns the loop until the task is over; fails the test after limit_ms. False: it was cut. */
bool crew_wait(struct crew *crew, int number, int64_t limit_ms, struct order_status *status);
/* Turns the loop until 'part' is in what the task says of itself; fails the test after limit_ms. */
void crew_wait_word(struct crew *crew, int number, int64_t limit_ms, const char *part);
/* Both, for a task that must be done. */
void crew_do(struct crew *crew, const struct task *task);
/* Commands that change something, sent by that task. */
int crew_change_count(const struct crew *crew, int number);

#endif
