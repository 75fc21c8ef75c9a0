/* session.h — the talk with the leading coordinator: hello, then reports, each answered by
 * instructions.
 *
 *   greeting -> open -> resting -> greeting (the next coordinator)
 *
 * One report is held by the coordinator at any time (long poll), so an order arrives without
 * waiting; progress and results travel beside it as reports with wait_ms 0. Whatever fails leads
 * through a short rest to the next coordinator, or to the one a refusal names. Orders in hand go on
 * meanwhile, until they expire. The session carries messages; what they say is the agent's
 * business. Source: docs/design.md section 5. */
#ifndef DROVER_AGENT_CORE_SESSION_H
#define DROVER_AGENT_CORE_SESSION_H

#include "agent/core/agent.h"
#include "agent/core/request_ids.h"
#include "common/base/prng.h"
#include "common/base/statemachine.h"

#define SESSION_COORDINATORS_MAX 8
#define SESSION_TOLD_SIZE 160

enum session_state { SESSION_RESTING, SESSION_GREETING, SESSION_OPEN, SESSION_STATE_NR };

struct session {
    struct sm sm;
    struct request_ids ids;
    struct prng prng;
    const struct agent_config *config; /* the agent's copy */
    int coordinator;                   /* index of the one we talk to */
    uint64_t id;                       /* as the welcome gave it */
    uint64_t sequence;                 /* of the last report */
    int64_t interval_ms;
    int attempts;       /* failed ones in a row */
    int64_t wake_ms;    /* RESTING: when to greet again */
    bool was_ever_open; /* since this agent started */
    uint64_t hello_req; /* 0 = none on its way */
    uint64_t held_req;
    uint64_t progress_req;
    int64_t held_sent_ms;
    int64_t progress_sent_ms;
    int64_t held_due_ms; /* when the next held report may go; NEVER while one is on its way */
    bool is_urgent;      /* progress must not wait for its turn */
    /* Why each coordinator was lost, as last warned of since the session was open; "" = not. */
    char told[SESSION_COORDINATORS_MAX][SESSION_TOLD_SIZE];
};

/* What came of an event that was for the session. */
struct session_news {
    bool has_instructions;
    const struct instructions *instructions; /* of the event */
    int64_t sent_ms;                         /* when the report was sent that this answers */
    int64_t fence;                           /* told by the welcome; 0 = none */
    struct err fatal; /* code not 0: the agent cannot work like this and should exit */
};

void session_init(struct session *session,
                  const struct agent_config *config,
                  uint32_t serial,
                  int64_t now_ms);
/* AGENT_MESSAGE: false when it was not for the session. */
bool session_answer(struct session *session,
                    const struct agent_event *event,
                    struct session_news *news,
                    struct agent_effects *fx);
/* Sends a hello that is due. Never sends reports: these the agent makes, when the two functions
 * below say so. */
void session_run(struct session *session,
                 int64_t now_ms,
                 int64_t fence_seen,
                 struct agent_effects *fx);
bool session_wants_held(const struct session *session, int64_t now_ms);
bool session_wants_progress(const struct session *session, int64_t now_ms);
/* Sends a report, whose struct is taken over; fills agent, session, sequence. */
void session_send(struct session *session,
                  struct report *report,
                  bool is_held,
                  int64_t now_ms,
                  struct agent_effects *fx);
/* Leaves this coordinator, e.g. because its fence is lower than one already seen. */
void session_leave(struct session *session,
                   int64_t now_ms,
                   const char *why,
                   struct agent_effects *fx);
/* has_news: there is progress to tell. */
int64_t session_deadline(const struct session *session, bool has_news);

#endif
