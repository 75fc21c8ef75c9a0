/* session.c — see session.h. */
#include "agent/core/session.h"

#include "common/base/check.h"

#include <stdio.h>
#include <string.h>

#define HELLO_TIMEOUT_MS 3000
#define REPORT_MARGIN_MS 4000 /* on top of the time a report may be held */
#define PROGRESS_TIMEOUT_MS 4000
#define PROGRESS_INTERVAL_MS 500 /* of moves under way; results do not wait for it */
#define HELD_GAP_MS 20           /* between two held reports, whatever the coordinator does */
#define REST_MS_BASE 100
#define REST_MS_CAP 2000     /* a new leader should see its agents within seconds */
#define REST_MS_REFUSED 5000 /* a wrong credential or version does not mend by itself */
#define INTERVAL_MS_DEFAULT 2000
#define INTERVAL_MS_MIN 50
#define INTERVAL_MS_MAX 60000

/* clang-format off */
static const struct sm_state session_states[SESSION_STATE_NR] = {
    /*                   name        may go to                                       deadline  meaning */
    [SESSION_RESTING]  = {"resting",  SM_TO(SESSION_GREETING),                        NEVER,  "waits a little before it tries again"},
    [SESSION_GREETING] = {"greeting", SM_TO(SESSION_OPEN) | SM_TO(SESSION_RESTING),   NEVER,  "said hello; the answer or its timeout follows"},
    [SESSION_OPEN]     = {"open",     SM_TO(SESSION_RESTING),                         NEVER,  "reports; a report always ends by answer or timeout"},
};
/* clang-format on */

void session_init(struct session *s,
                  const struct agent_config *config,
                  uint32_t serial,
                  int64_t now_ms)
{
    CHECK(config->coordinator_count <= SESSION_COORDINATORS_MAX);
    *s = (struct session){.ids = {.serial = serial},
                          .config = config,
                          .interval_ms = INTERVAL_MS_DEFAULT,
                          .wake_ms = now_ms,
                          .held_due_ms = NEVER};
    prng_init(&s->prng, config->seed ^ serial);
    sm_init(&s->sm, session_states, SESSION_STATE_NR, SESSION_RESTING, now_ms);
}

static struct log_event *log_add(struct session *s,
                                 struct agent_effects *fx,
                                 enum log_level level,
                                 const char *name)
{
    struct agent_effect *effect = agent_effects_add(fx, AGENT_FX_LOG);
    log_event_init(&effect->log, level, name);
    log_event_add_int(&effect->log, "coordinator", s->coordinator);
    if (s->config->coordinator_urls != NULL) {
        log_event_add(&effect->log, "url", s->config->coordinator_urls[s->coordinator]);
    }
    return &effect->log;
}

/* To the rest state; next: which coordinator afterwards. */
static void rest(struct session *s, int64_t now_ms, int next, int64_t delay_ms)
{
    if (s->sm.state != SESSION_RESTING) {
        sm_move(&s->sm, SESSION_RESTING, now_ms);
    }
    s->coordinator = next;
    s->hello_req = 0;
    s->held_req = 0;
    s->progress_req = 0;
    s->held_due_ms = NEVER;
    s->wake_ms = now_ms + delay_ms;
}

static void rotate(struct session *s, int64_t now_ms)
{
    s->attempts++;
    /* One round over all coordinators is quick; only then the waits grow. */
    int round = 1 + s->attempts / s->config->coordinator_count;
    int64_t delay_ms = prng_backoff_ms(&s->prng, round, REST_MS_BASE, REST_MS_CAP);
    rest(s, now_ms, (s->coordinator + 1) % s->config->coordinator_count, delay_ms);
}

void session_leave(struct session *s, int64_t now_ms, const char *why, struct agent_effects *fx)
{
    log_event_add(log_add(s, fx, LOG_WARN, "session.left"), "reason", why);
    rotate(s, now_ms);
}

/* Index of the coordinator a refusal names, or -1. */
static int named_coordinator(const struct session *s, const char *url)
{
    for (int i = 0; s->config->coordinator_urls != NULL && i < s->config->coordinator_count; i++) {
        if (url[0] != '\0' && strcmp(s->config->coordinator_urls[i], url) == 0) {
            return i;
        }
    }
    return -1;
}

static void hear_refusal(struct session *s,
                         const struct refusal *refusal,
                         int64_t now_ms,
                         struct session_news *news,
                         struct agent_effects *fx)
{
    bool is_hopeless = refusal->code == ERR_AUTH || refusal->code == ERR_VERSION;
    enum log_level level =
        is_hopeless ? LOG_ERROR : (refusal->code == ERR_NOT_LEADER ? LOG_DEBUG : LOG_WARN);
    struct log_event *log = log_add(s, fx, level, "session.refused");
    log_event_add(log, "code", err_word(refusal->code));
    log_event_add(log, "reason", refusal->text);
    if (is_hopeless) {
        if (!s->was_ever_open) {
            (void)err_set(&news->fatal, refusal->code, "the coordinator refuses this agent: %s",
                          refusal->text);
            err_hint(&news->fatal, refusal->code == ERR_AUTH
                                       ? "check the agent's credential and cluster name"
                                       : "install the same version on both sides");
        }
        s->attempts++;
        rest(s, now_ms, (s->coordinator + 1) % s->config->coordinator_count, REST_MS_REFUSED);
        return;
    }
    int named = named_coordinator(s, refusal->leader_url);
    if (refusal->code == ERR_NOT_LEADER && named >= 0 && named != s->coordinator) {
        s->attempts++;
        rest(s, now_ms, named, s->attempts > 2 * s->config->coordinator_count ? REST_MS_BASE : 0);
    } else if (refusal->code == ERR_CONFLICT) {
        s->attempts++;
        rest(s, now_ms, s->coordinator,
             prng_backoff_ms(&s->prng, s->attempts, REST_MS_BASE / 4, REST_MS_CAP));
    } else {
        rotate(s, now_ms);
    }
}

static void hear_welcome(struct session *s,
                         const struct welcome *welcome,
                         int64_t now_ms,
                         struct session_news *news,
                         struct agent_effects *fx)
{
    s->hello_req = 0;
    s->id = welcome->session;
    s->attempts = 0;
    memset(s->told, 0, sizeof(s->told));
    s->was_ever_open = true;
    s->interval_ms =
        welcome->report_interval_ms > 0 ? welcome->report_interval_ms : INTERVAL_MS_DEFAULT;
    s->interval_ms = s->interval_ms < INTERVAL_MS_MIN ? INTERVAL_MS_MIN : s->interval_ms;
    s->interval_ms = s->interval_ms > INTERVAL_MS_MAX ? INTERVAL_MS_MAX : s->interval_ms;
    s->held_due_ms = now_ms;
    s->held_sent_ms = now_ms - HELD_GAP_MS;
    s->progress_sent_ms = now_ms - PROGRESS_INTERVAL_MS;
    sm_move(&s->sm, SESSION_OPEN, now_ms);
    news->fence = welcome->fence;
    struct log_event *log = log_add(s, fx, LOG_INFO, "session.open");
    log_event_add_int(log, "fence", welcome->fence);
    log_event_add(log, "version", welcome->version);
}

static void hear_instructions(struct session *s,
                              const struct agent_event *ev,
                              bool is_held,
                              struct session_news *news)
{
    news->has_instructions = true;
    news->instructions = &ev->message->as.instructions;
    news->sent_ms = is_held ? s->held_sent_ms : s->progress_sent_ms;
    if (!is_held) {
        s->progress_req = 0;
        return;
    }
    s->held_req = 0;
    const struct instructions *in = news->instructions;
    int probes = in->probe_now ? 1 : 0;
    bool is_empty = in->order_count + in->renewal_count + in->stop_count + in->forget_count +
                        in->view_wanted_count + in->node_count + probes ==
                    0;
    /* Who answers at once with nothing to say must not be asked in a tight loop. */
    int64_t gap_ms = is_empty ? s->interval_ms : HELD_GAP_MS;
    s->held_due_ms = s->held_sent_ms + gap_ms > ev->now_ms ? s->held_sent_ms + gap_ms : ev->now_ms;
}

/* Each reason is warned of once a coordinator: it may change, as when one comes up again with a
 * certificate that is not trusted. */
static void hear_failure(struct session *s, const struct agent_event *ev, struct agent_effects *fx)
{
    const char *reason =
        ev->err != NULL && ev->err->text[0] != '\0' ? ev->err->text : err_word(ev->code);
    char *told = s->told[s->coordinator];
    bool is_news = strncmp(told, reason, SESSION_TOLD_SIZE - 1) != 0;
    struct log_event *log = log_add(s, fx, is_news ? LOG_WARN : LOG_DEBUG, "session.lost");
    log_event_add(log, "reason", reason);
    (void)snprintf(told, SESSION_TOLD_SIZE, "%s", reason);
    rotate(s, ev->now_ms);
}

bool session_answer(struct session *s,
                    const struct agent_event *ev,
                    struct session_news *news,
                    struct agent_effects *fx)
{
    *news = (struct session_news){0};
    if (!request_ids_owns(&s->ids, ev->req_id)) {
        return false;
    }
    bool is_hello = ev->req_id == s->hello_req && s->hello_req != 0;
    bool is_held = ev->req_id == s->held_req && s->held_req != 0;
    bool is_progress = ev->req_id == s->progress_req && s->progress_req != 0;
    if (!is_hello && !is_held && !is_progress) {
        return true; /* late: of a session that was left */
    }
    if (ev->code != 0 || ev->message == NULL) {
        if (is_progress) {
            s->progress_req = 0; /* the held report tells whether the coordinator is gone */
        } else {
            hear_failure(s, ev, fx);
        }
        return true;
    }
    switch (ev->message->kind) {
    case MESSAGE_REFUSAL:
        hear_refusal(s, &ev->message->as.refusal, ev->now_ms, news, fx);
        break;
    case MESSAGE_WELCOME:
        if (is_hello) {
            hear_welcome(s, &ev->message->as.welcome, ev->now_ms, news, fx);
        }
        break;
    case MESSAGE_INSTRUCTIONS:
        if (!is_hello) {
            hear_instructions(s, ev, is_held, news);
        }
        break;
    case MESSAGE_HELLO:
    case MESSAGE_REPORT:
        session_leave(s, ev->now_ms, "an answer that makes no sense", fx);
        break;
    }
    return true;
}

void session_run(struct session *s, int64_t now_ms, int64_t fence_seen, struct agent_effects *fx)
{
    if (s->sm.state != SESSION_RESTING || now_ms < s->wake_ms) {
        return;
    }
    sm_move(&s->sm, SESSION_GREETING, now_ms);
    s->hello_req = request_ids_next(&s->ids);
    struct agent_effect *effect = agent_effects_add(fx, AGENT_FX_SEND);
    effect->req_id = s->hello_req;
    effect->coordinator_index = s->coordinator;
    effect->timeout_ms = HELLO_TIMEOUT_MS;
    effect->message.kind = MESSAGE_HELLO;
    struct hello *hello = &effect->message.as.hello;
    hello->agent = s->config->id;
    hello->incarnation = s->config->incarnation;
    hello->proto_version = PROTO_VERSION;
    hello->fence_seen = fence_seen;
    (void)snprintf(hello->version, sizeof(hello->version), "%s", DROVER_VERSION);
    (void)snprintf(hello->cluster, sizeof(hello->cluster), "%s", s->config->cluster);
    (void)snprintf(hello->credential, sizeof(hello->credential), "%s", s->config->credential);
}

bool session_wants_held(const struct session *s, int64_t now_ms)
{
    return s->sm.state == SESSION_OPEN && s->held_req == 0 && now_ms >= s->held_due_ms;
}

static int64_t progress_due(const struct session *s)
{
    return s->progress_sent_ms + (s->is_urgent ? HELD_GAP_MS : PROGRESS_INTERVAL_MS);
}

bool session_wants_progress(const struct session *s, int64_t now_ms)
{
    return s->sm.state == SESSION_OPEN && s->progress_req == 0 && now_ms >= progress_due(s);
}

void session_send(struct session *s,
                  struct report *report,
                  bool is_held,
                  int64_t now_ms,
                  struct agent_effects *fx)
{
    report->agent = s->config->id;
    report->session = s->id;
    report->sequence = ++s->sequence;
    report->wait_ms = is_held ? s->interval_ms : 0;
    struct agent_effect *effect = agent_effects_add(fx, AGENT_FX_SEND);
    effect->req_id = request_ids_next(&s->ids);
    effect->coordinator_index = s->coordinator;
    effect->timeout_ms = is_held ? report->wait_ms + REPORT_MARGIN_MS : PROGRESS_TIMEOUT_MS;
    effect->message.kind = MESSAGE_REPORT;
    effect->message.as.report = *report;
    if (is_held) {
        s->held_req = effect->req_id;
        s->held_sent_ms = now_ms;
        s->held_due_ms = NEVER;
    } else {
        s->progress_req = effect->req_id;
        s->progress_sent_ms = now_ms;
    }
    s->is_urgent = false;
}

int64_t session_deadline(const struct session *s, bool has_news)
{
    if (s->sm.state == SESSION_RESTING) {
        return s->wake_ms;
    }
    if (s->sm.state != SESSION_OPEN) {
        return NEVER;
    }
    int64_t deadline_ms = s->held_req == 0 ? s->held_due_ms : NEVER;
    if (has_news && s->progress_req == 0) {
        deadline_ms = deadline_min(deadline_ms, progress_due(s));
    }
    return deadline_ms;
}
