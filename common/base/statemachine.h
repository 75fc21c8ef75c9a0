/* statemachine.h — the frame every machine of drover stands on.
 *
 * A machine is an enum, a table of struct sm_state and one X_step() switch. Only sm_move() changes
 * the state: it checks the move against the table and sets the deadline of the new state. Model:
 * canonical/dqlite lib/sm. */
#ifndef DROVER_BASE_STATEMACHINE_H
#define DROVER_BASE_STATEMACHINE_H

#include "common/base/clocktype.h"

#include <stdbool.h>
#include <stdint.h>

#define SM_TO(state) (UINT64_C(1) << (state))

struct sm_state {
    const char *name;    /* as logs and `drover op show` print it */
    uint64_t may_go_to;  /* SM_TO() of each state that may follow; 0 in terminal states */
    int64_t deadline_ms; /* how long the state may last; NEVER in terminal and idle states */
    const char *meaning; /* one line for people; docs are printed from it */
};

struct sm {
    const struct sm_state *states; /* the table, state_count rows */
    int state_count;
    int state;           /* index into the table; changed by sm_move() only */
    int64_t deadline_ms; /* when the present state is overdue; NEVER for none */
    int64_t since_ms;    /* when the present state was entered */
};

void sm_init(struct sm *sm,
             const struct sm_state *states,
             int state_count,
             int first,
             int64_t now_ms);
/* Goes to 'state'; the table must allow it (a move to the same state renews its deadline and is
 * always allowed). */
void sm_move(struct sm *sm, int state, int64_t now_ms);
/* Moves the deadline of the present state, e.g. because there was progress. */
void sm_extend(struct sm *sm, int64_t now_ms);
bool sm_may_move(const struct sm *sm, int state);
bool sm_is_terminal(const struct sm *sm);
bool sm_is_overdue(const struct sm *sm, int64_t now_ms);
const char *sm_name(const struct sm *sm);

#endif
