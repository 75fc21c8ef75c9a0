/* outside_hear.c — see outside.h: what comes back from those who are called and from the node, and
 * what happens when the time is over. */
#include "agent/core/outside_parts.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define ASK_AGAIN_MS 1000
#define SILENT_ASKS_MAX 3 /* then the node is taken for gone */
#define POLL_MS 2000      /* for the status of a webhook's work, and for the sessions of a proxy */
#define RETRY_MS_BASE 1000
#define RETRY_MS_CAP 30000
#define EXEC_TRIES 2 /* a program has seen for itself; once more for what passes in a moment */

/* ---- hearing those who are called ---- */

static void hear_running(struct errand *errand, const struct outside_answer *answer, int64_t now_ms)
{
    errand->is_accepted = true;
    (void)snprintf(errand->said, sizeof(errand->said), "%s", answer->message);
    if (answer->percent >= 0) {
        (void)snprintf(errand->said, sizeof(errand->said), "%d %% %.120s", answer->percent,
                       answer->message);
    }
    if (answer->is_over) {
        errand->failures = 0;
        errand->is_polled = errand->target->way == OUTSIDE_WEBHOOK;
        errand->wake_ms = now_ms + POLL_MS;
    }
}

static void retry(struct outside *x,
                  struct errand *errand,
                  int64_t now_ms,
                  struct agent_effects *fx)
{
    char name[TEXT_SIZE];
    errand->wake_ms =
        now_ms + prng_backoff_ms(&x->prng, errand->failures, RETRY_MS_BASE, RETRY_MS_CAP);
    x->retries++;
    struct log_event *log = outside_log(x, LOG_WARN, "outside.retry", fx);
    log_event_add(log, "by", outside_name(errand->target, name, sizeof(name)));
    log_event_add(log, "reason", errand->said);
}

static void hear_failure(struct outside *x,
                         struct errand *errand,
                         const struct agent_event *ev,
                         struct agent_effects *fx)
{
    const struct outside_answer *answer = &ev->facts->outside;
    char name[TEXT_SIZE];
    char reason[TEXT_SIZE];
    errand->failures++;
    (void)snprintf(errand->said, sizeof(errand->said), "%s", answer->message);
    bool is_hopeless = !answer->is_retryable ||
                       (errand->target->way == OUTSIDE_EXEC && errand->failures >= EXEC_TRIES);
    if (!is_hopeless) {
        retry(x, errand, ev->now_ms, fx);
        return;
    }
    (void)snprintf(reason, sizeof(reason), "%s: %s",
                   outside_name(errand->target, name, sizeof(name)), answer->message);
    /* Its own word that it failed for good also says that nothing is left of it. */
    bool is_its_word = !answer->is_retryable && answer->is_maybe_received;
    x->has_begun = x->has_begun && !is_its_word;
    outside_give_up(x, ev->code != 0 ? ev->code : ERR_UNAVAILABLE, reason, ev->now_ms, fx);
}

static void hear_made(struct outside *x,
                      struct errand *errand,
                      const struct outside_answer *answer,
                      int64_t now_ms,
                      struct agent_effects *fx)
{
    char name[TEXT_SIZE];
    char text[ADDRESS_TEXT_SIZE];
    char reason[TEXT_SIZE];
    outside_name(errand->target, name, sizeof(name));
    if (answer->state == OUTSIDE_READY && answer->address.port != 0) {
        x->made = answer->address;
        (void)snprintf(reason, sizeof(reason), "%.80s: the server is at %.70s", name,
                       address_format(&answer->address, text));
        outside_finish(x, ORDER_DONE, 0, reason, fx);
        return;
    }
    (void)snprintf(reason, sizeof(reason), "%.100s says ready, but names no address", name);
    outside_give_up(x, ERR_PROTOCOL, reason, now_ms, fx);
}

static void hear_success(struct outside *x,
                         struct errand *errand,
                         const struct outside_answer *answer,
                         int64_t now_ms,
                         struct agent_effects *fx)
{
    char name[TEXT_SIZE];
    if (answer->state == OUTSIDE_UNKNOWN && errand->is_polled) {
        errand->is_polled = false; /* it has lost the request: made once more, under the same id */
        errand->failures++;
        (void)snprintf(errand->said, sizeof(errand->said), "knows nothing of the request any more");
        retry(x, errand, now_ms, fx);
        return;
    }
    if (outside_action_now(x) == OUTSIDE_PROVISION) {
        hear_made(x, errand, answer, now_ms, fx);
        return;
    }
    errand->is_over = true;
    (void)snprintf(errand->said, sizeof(errand->said), "%.100s: %s",
                   outside_name(errand->target, name, sizeof(name)),
                   answer->state == OUTSIDE_UNKNOWN ? "none of its servers" : "done");
    outside_go_on(x, now_ms, fx);
}

static struct errand *find_errand(struct outside *x, uint64_t req_id)
{
    for (int i = 0; i < x->errand_count; i++) {
        if (x->errands[i].req_id == req_id) {
            return &x->errands[i];
        }
    }
    return NULL;
}

void outside_hear_host(struct outside *x, const struct agent_event *ev, struct agent_effects *fx)
{
    struct errand *errand = find_errand(x, ev->req_id);
    const struct outside_answer *answer = &ev->facts->outside;
    if (errand == NULL) {
        return;
    }
    bool is_running = answer->state == OUTSIDE_RUNNING;
    x->has_begun = x->has_begun || is_running || answer->is_maybe_received;
    if (!answer->is_over && !is_running) {
        return;
    }
    if (answer->is_over) {
        errand->req_id = 0;
    }
    switch (answer->state) {
    case OUTSIDE_RUNNING:
        hear_running(errand, answer, ev->now_ms);
        break;
    case OUTSIDE_READY:
    case OUTSIDE_DONE:
    case OUTSIDE_UNKNOWN:
        hear_success(x, errand, answer, ev->now_ms, fx);
        break;
    case OUTSIDE_FAILED:
        hear_failure(x, errand, ev, fx);
        break;
    }
}

/* ---- hearing the node ---- */

static bool is_silence(int code)
{
    return code == ERR_UNAVAILABLE || code == ERR_TIMEOUT || code == ERR_IO;
}

/* True once it has been asked often enough. */
static bool has_gone_silent(struct outside *x, const struct agent_event *ev)
{
    x->node_wake_ms = ev->now_ms + ASK_AGAIN_MS;
    x->node_silences++;
    return x->node_silences >= SILENT_ASKS_MAX;
}

/* The certificate says that nothing rests on the node; whether it still holds, the node says, if it
 * runs: also one that was removed as dead or was not seen yet. Where nobody was heard, neither when
 * the certificate was given nor now, it speaks alone, and so it must be signed. */
static void hear_emptiness(struct outside *x,
                           const struct agent_event *ev,
                           struct agent_effects *fx)
{
    struct err err = {0};
    int code = ev->code;
    if (code == 0) {
        code = outside_node_is_empty(ev->replies, &err);
        x->node_silences = 0;
    } else if (is_silence(code) && !has_gone_silent(x, ev)) {
        return;
    } else if (is_silence(code) && x->task.proof.is_dead && !x->task.has_key) {
        code = err_set(&err, ERR_REFUSED,
                       "the certificate of a dead node must be signed, and no key is set here");
    } else if (is_silence(code)) {
        code = 0;
    } else if (ev->err != NULL) {
        err = *ev->err;
    }
    if (code == 0) {
        outside_enter(x, ERRAND_CALLING, ev->now_ms, outside_limit(x));
        x->errands[0].wake_ms = ev->now_ms;
    } else if (code == ERR_UNAVAILABLE) {
        x->node_wake_ms = ev->now_ms + ASK_AGAIN_MS; /* it loads, or is otherwise not itself yet */
        (void)snprintf(x->errands[0].said, TEXT_SIZE, "%s", err.text);
    } else {
        outside_finish(x, ORDER_FAILED, code, err.text[0] != '\0' ? err.text : err_word(code), fx);
    }
}

static void hear_load(struct outside *x, const struct agent_event *ev, struct agent_effects *fx)
{
    struct err err;
    struct outside_load load;
    if (ev->code != 0 || outside_node_load(&load, ev->replies, &err) != 0) {
        if (has_gone_silent(x, ev)) {
            outside_finish(x, ORDER_DONE, 0,
                           "clients are kept off; the node itself does not answer", fx);
        }
        return;
    }
    x->node_silences = 0;
    bool is_first = x->load.clients == 0;
    x->load = load;
    x->node_wake_ms = is_first && !load.is_listed ? ev->now_ms : ev->now_ms + ASK_AGAIN_MS;
    if (outside_load_is_low(&load)) {
        outside_finish(x, ORDER_DONE, 0, "clients are kept off, and gone", fx);
    }
}

/* ---- too late ---- */

void outside_say_load(const struct outside *x, char *text, size_t size)
{
    (void)snprintf(text, size, "the node has %" PRId64 " clients and %" PRId64 " commands/s",
                   x->load.clients, x->load.ops_per_s);
}

/* Clients that do not leave may not hold a removal for ever; a hook that never took them off may.
 */
static void overdue_traffic(struct outside *x, int64_t now_ms, struct agent_effects *fx)
{
    char reason[TEXT_SIZE];
    char left[TEXT_SIZE];
    char name[TEXT_SIZE];
    int64_t limit_s = outside_limit(x) / 1000;
    outside_say_load(x, left, sizeof(left));
    for (int i = 0; i < x->errand_count; i++) {
        const struct errand *errand = &x->errands[i];
        if (errand->is_over) {
            continue;
        }
        outside_name(errand->target, name, sizeof(name));
        if (!errand->is_accepted || outside_is_up(x)) {
            (void)snprintf(reason, sizeof(reason),
                           "%.70s did not do it within %" PRId64 " s: %.50s", name, limit_s,
                           errand->said);
            outside_give_up(x, ERR_UNAVAILABLE, reason, now_ms, fx);
            return;
        }
        (void)snprintf(left, sizeof(left), "%.80s: %.60s", name, errand->said);
    }
    (void)snprintf(reason, sizeof(reason), "the limit of %" PRId64 " s has passed; %.110s", limit_s,
                   left);
    outside_finish(x, ORDER_DONE, 0, reason, fx);
}

void outside_hear_overdue(struct outside *x, int64_t now_ms, struct agent_effects *fx)
{
    char reason[TEXT_SIZE];
    char name[TEXT_SIZE];
    const struct errand *errand = &x->errands[0];
    if (x->sm.state == ERRAND_WATCHING || outside_task_of(x)->kind == TASK_TRAFFIC) {
        overdue_traffic(x, now_ms, fx);
        return;
    }
    if (x->sm.state == ERRAND_ASKING) {
        (void)snprintf(reason, sizeof(reason),
                       "the server does not say whether it is empty: %.100s", errand->said);
    } else {
        (void)snprintf(reason, sizeof(reason), "%.70s is not ready after %" PRId64 " s: %.50s",
                       outside_name(errand->target, name, sizeof(name)),
                       x->settings->provision_timeout_ms / 1000, errand->said);
        x->has_begun = true;
    }
    outside_give_up(x, ERR_TIMEOUT, reason, now_ms, fx);
}

void outside_hear_node(struct outside *x, const struct agent_event *ev, struct agent_effects *fx)
{
    x->node_req = 0;
    if (x->sm.state == ERRAND_ASKING) {
        hear_emptiness(x, ev, fx);
    } else if (x->sm.state == ERRAND_WATCHING) {
        hear_load(x, ev, fx);
    }
}
