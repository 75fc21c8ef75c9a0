/* statemachine.c — see statemachine.h. */
#include "common/base/statemachine.h"

#include "common/base/check.h"

void sm_init(struct sm *sm,
             const struct sm_state *states,
             int state_count,
             int first,
             int64_t now_ms)
{
    CHECK(state_count >= 1 && state_count <= 64);
    CHECK(first >= 0 && first < state_count);
    *sm = (struct sm){
        .states = states, .state_count = state_count, .state = first, .since_ms = now_ms};
    sm->deadline_ms = deadline_after(now_ms, states[first].deadline_ms);
}

bool sm_may_move(const struct sm *sm, int state)
{
    return state == sm->state || (sm->states[sm->state].may_go_to & SM_TO(state)) != 0;
}

void sm_move(struct sm *sm, int state, int64_t now_ms)
{
    CHECK(state >= 0 && state < sm->state_count);
    CHECK(sm_may_move(sm, state));
    sm->state = state;
    sm->since_ms = now_ms;
    sm->deadline_ms = deadline_after(now_ms, sm->states[state].deadline_ms);
}

void sm_extend(struct sm *sm, int64_t now_ms)
{
    sm->deadline_ms = deadline_after(now_ms, sm->states[sm->state].deadline_ms);
}

bool sm_is_terminal(const struct sm *sm)
{
    return sm->states[sm->state].may_go_to == 0;
}

bool sm_is_overdue(const struct sm *sm, int64_t now_ms)
{
    return now_ms >= sm->deadline_ms;
}

const char *sm_name(const struct sm *sm)
{
    return sm->states[sm->state].name;
}
