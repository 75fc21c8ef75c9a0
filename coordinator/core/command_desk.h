/* command_desk.h — what operators ask for: plan, start, approve, pause, resume, cancel.
 *
 * Every request is answered exactly once: at once with an error or a plan, or when what it asks for
 * is durable. Asking for what already is so succeeds. Source: docs/design.md section 8. */
#ifndef DROVER_COORDINATOR_CORE_COMMAND_DESK_H
#define DROVER_COORDINATOR_CORE_COMMAND_DESK_H

#include "coordinator/core/coordinator.h"

#define COMMANDS_WAITING_MAX 256

struct command_waiting {
    uint64_t handle;
    uint64_t ticket;
    char operation_id[OPERATION_ID_SIZE];
    bool wants_plan;
};

struct command_desk {
    struct command_waiting items[COMMANDS_WAITING_MAX];
    int count;
};

void command_desk_take(struct coordinator *c,
                       uint64_t handle,
                       const struct coordinator_command *command);
/* Answers commands whose writes are durable. */
void command_desk_tick(struct coordinator *c);
/* The term is over: what waits is told that its outcome is not known here. */
void command_desk_end_term(struct coordinator *c);

#endif
