/* agent.c — the agent's table of contents: every event comes in here and goes to the part it
 * concerns.
 *
 *   session       talks with the leading coordinator
 *   fence_keeper  the highest fence: seen, on disk, acknowledged
 *   probe         how the nodes are
 *   order_book    what is to be done: slot_mover, scan
 * After each event every part runs what is due; then reports go out if there is something to tell.
 */
#include "agent/core/agent.h"

#include "agent/core/fence_keeper.h"
#include "agent/core/order_book.h"
#include "agent/core/probe.h"
#include "agent/core/session.h"
#include "common/base/alloc.h"
#include "common/base/check.h"

#include <stdlib.h>
#include <string.h>

#define DISCOVER_INTERVAL_MS 30000
#define STOP_WAIT_MS \
    30000 /* for the slots in hand; what is not finished then stays open and can be resumed */
#define VIEWS_WANTED_MAX 64                /* asked for at a time; the coordinator asks again */
#define VIEW_BYTES_MAX (4UL * 1024 * 1024) /* of texts in one report */

enum { SERIAL_SESSION = 1, SERIAL_PROBE = 2, SERIAL_HOST = 3, SERIAL_LAST_FIXED = 3 };

struct agent {
    struct agent_config config; /* with arrays of its own */
    char **coordinator_urls;    /* owned; config.coordinator_urls points here */
    int64_t now_ms;
    uint32_t last_serial;
    struct session session;
    struct fence_keeper fence;
    struct probe probe;
    struct order_book book;
    struct request_ids host_ids;
    uint64_t host_req;             /* a look at the host is on its way; 0 = none */
    bool is_host_known;            /* memory_promised_bytes is of after the last change */
    int64_t memory_promised_bytes; /* to servers of ours; -1 = not known */
    int64_t discover_due_ms;
    uint64_t views_wanted[VIEWS_WANTED_MAX];
    int view_wanted_count;
    bool is_probe_reported; /* false while a coordinator waits for nodes to be read at its word */
    bool is_stopping;
    int64_t stop_by_ms;
    bool is_over; /* EXIT was given out */
};

struct agent *agent_new(const struct agent_config *config, int64_t now_ms)
{
    CHECK(config->coordinator_count >= 1);
    struct agent *a = xcalloc(1, sizeof(*a));
    a->config = *config;
    a->config.nodes = NULL;
    a->config.coordinator_urls = NULL;
    if (config->coordinator_urls != NULL) {
        a->coordinator_urls =
            xcalloc((size_t)config->coordinator_count, sizeof(*a->coordinator_urls));
        for (int i = 0; i < config->coordinator_count; i++) {
            a->coordinator_urls[i] = xstrdup(config->coordinator_urls[i]);
        }
        a->config.coordinator_urls = (const char *const *)a->coordinator_urls;
    }
    a->now_ms = now_ms;
    a->stop_by_ms = NEVER;
    a->discover_due_ms = config->discovers ? now_ms : NEVER;
    a->last_serial = SERIAL_LAST_FIXED;
    struct mover_login login = {.user = ""};
    memcpy(login.user, config->redis_user, sizeof(login.user));
    memcpy(login.password, config->redis_password, sizeof(login.password));
    session_init(&a->session, &a->config, SERIAL_SESSION, now_ms);
    fence_keeper_init(&a->fence, config->fence_seen);
    a->is_probe_reported = true;
    a->host_ids.serial = SERIAL_HOST;
    a->memory_promised_bytes = -1;
    memcpy(a->config.instances.agent, config->id.text, sizeof(a->config.instances.agent));
    memcpy(a->config.instances.user, config->redis_user, sizeof(a->config.instances.user));
    memcpy(a->config.instances.password, config->redis_password,
           sizeof(a->config.instances.password));
    probe_init(&a->probe, SERIAL_PROBE, config->serves_all, config->probe_interval_ms);
    order_book_init(&a->book, &login, config->seed + 1, &a->last_serial);
    a->book.means.probe = &a->probe;
    a->book.means.instances = a->config.instances.folder[0] != '\0' ? &a->config.instances : NULL;
    struct outside_settings *outside = &a->config.outside;
    memcpy(outside->agent, config->id.text, sizeof(outside->agent));
    memcpy(outside->cluster, config->cluster, sizeof(outside->cluster));
    memcpy(outside->certificate_key, config->instances.certificate_key,
           sizeof(outside->certificate_key));
    bool has_outside = (int)outside->provisioner.way != 0 || outside->hook_count > 0;
    a->book.means.outside = has_outside ? outside : NULL;
    for (int i = 0; i < config->node_count; i++) {
        probe_add(&a->probe, &config->nodes[i], PROBE_CONFIGURED, now_ms);
    }
    return a;
}

void agent_free(struct agent *a)
{
    if (a == NULL) {
        return;
    }
    order_book_release(&a->book);
    probe_release(&a->probe);
    for (int i = 0; a->coordinator_urls != NULL && i < a->config.coordinator_count; i++) {
        free(a->coordinator_urls[i]);
    }
    free(a->coordinator_urls);
    free(a);
}

/* ---- what coordinators say ---- */

static void see_fence(struct agent *a, int64_t fence, struct agent_effects *fx)
{
    if (!fence_keeper_see(&a->fence, fence)) {
        return;
    }
    order_book_fence(&a->book, fence);
    struct agent_effect *effect = agent_effects_add(fx, AGENT_FX_LOG);
    log_event_init(&effect->log, LOG_INFO, "fence.raised");
    log_event_add_int(&effect->log, "fence", fence);
}

/* Adds to what is wanted already: answers to two reports may cross, and neither takes back what the
 * other asked. */
static void want_view(struct agent *a, uint64_t digest)
{
    for (int i = 0; i < a->view_wanted_count; i++) {
        if (a->views_wanted[i] == digest) {
            return;
        }
    }
    if (a->view_wanted_count < VIEWS_WANTED_MAX) {
        a->views_wanted[a->view_wanted_count++] = digest;
        probe_want_view(&a->probe, digest, a->now_ms);
    }
}

static void follow(struct agent *a,
                   const struct instructions *in,
                   int64_t sent_ms,
                   struct agent_effects *fx)
{
    see_fence(a, in->fence, fx);
    if (in->fence < a->fence.seen) {
        session_leave(&a->session, a->now_ms, "it leads under a fence that is no longer valid", fx);
        return;
    }
    for (int i = 0; i < in->order_count && !a->is_stopping; i++) {
        order_book_give(&a->book, &in->orders[i], sent_ms, a->fence.seen);
    }
    for (int i = 0; i < in->renewal_count; i++) {
        order_book_renew(&a->book, &in->renewals[i], sent_ms);
    }
    for (int i = 0; i < in->stop_count; i++) {
        order_book_stop(&a->book, &in->stops[i]);
    }
    for (int i = 0; i < in->forget_count; i++) {
        order_book_forget(&a->book, &in->forgets[i]);
    }
    for (int i = 0; i < in->node_count; i++) {
        probe_add(&a->probe, &in->nodes[i], PROBE_TOLD, a->now_ms);
    }
    if (in->probe_now) {
        probe_hurry_all(&a->probe, a->now_ms);
        a->is_probe_reported = false;
    }
    for (int i = 0; i < in->view_wanted_count; i++) {
        want_view(a, in->views_wanted[i]);
    }
}

static void hear_message(struct agent *a, const struct agent_event *event, struct agent_effects *fx)
{
    struct session_news news;
    if (!session_answer(&a->session, event, &news, fx)) {
        return;
    }
    if (news.fatal.code != 0) {
        agent_effects_add(fx, AGENT_FX_EXIT)->err = news.fatal;
        a->is_over = true;
        return;
    }
    if (news.fence > 0) {
        see_fence(a, news.fence, fx);
        if (a->config.probe_interval_ms == 0) {
            probe_set_interval(&a->probe, a->session.interval_ms);
        }
        if (news.fence < a->fence.seen) {
            session_leave(&a->session, a->now_ms, "it leads under a fence that is no longer valid",
                          fx);
        }
        a->session.is_urgent = true;
    }
    if (news.has_instructions) {
        follow(a, news.instructions, news.sent_ms, fx);
    }
}

/* ---- servers of ours on this host ---- */

/* How much memory is promised is read anew at the start and whenever a server came or went. */
static void look_at_host(struct agent *a, struct agent_effects *fx)
{
    if (a->is_host_known || a->host_req != 0 || a->config.instances.folder[0] == '\0') {
        return;
    }
    a->is_host_known = true;
    a->host_req = request_ids_next(&a->host_ids);
    struct agent_effect *effect = agent_effects_add(fx, AGENT_FX_HOST);
    effect->req_id = a->host_req;
    effect->host.verb = HOST_LOOK;
}

static void hear_host(struct agent *a, const struct agent_event *event, struct agent_effects *fx)
{
    if (event->req_id == a->host_req) {
        a->host_req = 0;
        a->memory_promised_bytes = event->code == 0 ? event->facts->memory_promised_bytes : -1;
        return;
    }
    if (event->code == 0 && event->host_verb == HOST_LAUNCH) {
        probe_add(&a->probe, event->host_of, PROBE_DISCOVERED, a->now_ms);
        a->is_host_known = false;
    } else if (event->code == 0 && event->host_verb == HOST_RETIRE) {
        probe_let_go(&a->probe, event->host_of);
        a->is_host_known = false;
    }
    (void)order_book_answer(&a->book, event, fx);
}

static void describe_host(const struct agent *a, struct host_report *host)
{
    const struct instance_settings *offer = &a->config.instances;
    bool can_start = offer->folder[0] != '\0';
    *host = (struct host_report){.can_start = can_start, .memory_free_bytes = -1};
    memcpy(host->zone, a->config.zone, sizeof(host->zone));
    memcpy(host->host, offer->host, sizeof(host->host));
    if (can_start && offer->memory_bytes > 0 && a->memory_promised_bytes >= 0) {
        int64_t free_bytes = offer->memory_bytes - a->memory_promised_bytes;
        host->memory_free_bytes = free_bytes > 0 ? free_bytes : 0;
    }
    host->port_first = can_start ? offer->port_first : 0;
    host->port_last = can_start ? offer->port_last : 0;
    host->offers_provision = (int)a->config.outside.provisioner.way != 0;
    host->offers_traffic = a->config.outside.hook_count > 0;
}

/* ---- reports ---- */

static void add_views(struct agent *a, struct report *report)
{
    size_t bytes = 0;
    int kept = 0;
    for (int i = 0; i < a->view_wanted_count; i++) {
        const struct probe_node *node = probe_find_view(&a->probe, a->views_wanted[i]);
        if (node == NULL) {
            if (probe_is_view_due(&a->probe, a->views_wanted[i])) {
                a->views_wanted[kept++] = a->views_wanted[i]; /* its text is being read again */
            }
            continue; /* else the nodes have moved on; the report names their new digests */
        }
        if (bytes + node->text.len > VIEW_BYTES_MAX && report->view_count > 0) {
            a->views_wanted[kept++] = a->views_wanted[i];
            continue;
        }
        bytes += node->text.len;
        report->views =
            xreallocarray(report->views, (size_t)report->view_count + 1, sizeof(*report->views));
        struct view_text *view = &report->views[report->view_count++];
        *view = (struct view_text){
            .digest = a->views_wanted[i], .node = node->report.id, .len = node->text.len};
        view->text = xmalloc(node->text.len + 1);
        memcpy(view->text, strbuf_text(&node->text), node->text.len + 1);
    }
    a->view_wanted_count = kept;
}

/* What a coordinator asked to know of the nodes can be sent now. */
static bool has_urgent_nodes(const struct agent *a)
{
    if (!a->is_probe_reported && !probe_is_hurrying(&a->probe)) {
        return true;
    }
    for (int i = 0; i < a->view_wanted_count; i++) {
        if (probe_find_view(&a->probe, a->views_wanted[i]) != NULL) {
            return true;
        }
    }
    return false;
}

static void send_report(struct agent *a, bool is_held, struct agent_effects *fx)
{
    struct report report = {.fence_acked = a->fence.acked};
    report.orders = order_book_statuses(&a->book, &report.order_count);
    if (is_held || has_urgent_nodes(a)) {
        report.has_nodes = true;
        report.has_host = true;
        describe_host(a, &report.host);
        report.nodes = probe_reports(&a->probe, a->now_ms, &report.node_count);
        a->probe.has_news = false;
        a->is_probe_reported = a->is_probe_reported || !probe_is_hurrying(&a->probe);
    }
    add_views(a, &report);
    session_send(&a->session, &report, is_held, a->now_ms, fx);
    a->book.has_news = false;
    a->book.has_result = false;
}

static bool has_progress(const struct agent *a)
{
    return a->book.has_news || a->book.has_result || a->session.is_urgent;
}

static void report_what_is_due(struct agent *a, struct agent_effects *fx)
{
    if (a->book.has_result || has_urgent_nodes(a)) {
        a->session.is_urgent = true;
    }
    if (session_wants_held(&a->session, a->now_ms)) {
        send_report(a, true, fx);
    }
    if (has_progress(a) && session_wants_progress(&a->session, a->now_ms)) {
        send_report(a, false, fx);
    }
}

/* ---- the step ---- */

static void begin_stop(struct agent *a)
{
    if (!a->is_stopping) {
        a->is_stopping = true;
        a->stop_by_ms = a->now_ms + STOP_WAIT_MS;
        order_book_stop_all(&a->book);
    }
}

static void run_stop(struct agent *a, struct agent_effects *fx)
{
    if (!a->is_stopping || a->is_over) {
        return;
    }
    bool is_told = !has_progress(a) || a->session.sm.state != SESSION_OPEN;
    bool is_quiet = order_book_running_count(&a->book) == 0 && is_told;
    if (is_quiet || a->now_ms >= a->stop_by_ms) {
        agent_effects_add(fx, AGENT_FX_EXIT);
        a->is_over = true;
    }
}

static void discover(struct agent *a, struct agent_effects *fx)
{
    if (a->now_ms >= a->discover_due_ms) {
        (void)agent_effects_add(fx, AGENT_FX_DISCOVER);
        a->discover_due_ms = a->now_ms + DISCOVER_INTERVAL_MS;
    }
}

static bool may_begin(const struct agent *a)
{
    return fence_keeper_is_settled(&a->fence) && !a->is_stopping;
}

static void run_parts(struct agent *a, struct agent_effects *fx)
{
    discover(a, fx);
    look_at_host(a, fx);
    probe_run(&a->probe, a->now_ms, fx);
    order_book_run(&a->book, a->now_ms, may_begin(a), fx);
    bool is_clear = order_book_is_clear_below(&a->book, a->fence.seen);
    if (fence_keeper_run(&a->fence, a->now_ms, is_clear, fx)) {
        a->session.is_urgent = true; /* the new leader waits for this */
        order_book_run(&a->book, a->now_ms, may_begin(a), fx);
    }
    session_run(&a->session, a->now_ms, a->fence.seen, fx);
    report_what_is_due(a, fx);
    run_stop(a, fx);
}

void agent_step(struct agent *a, const struct agent_event *event, struct agent_effects *fx)
{
    if (a->is_over) {
        return;
    }
    CHECK(event->now_ms >= a->now_ms);
    a->now_ms = event->now_ms;
    switch (event->kind) {
    case AGENT_TICK:
        break;
    case AGENT_MESSAGE:
        hear_message(a, event, fx);
        break;
    case AGENT_REDIS:
        if (!probe_answer(&a->probe, event, fx)) {
            (void)order_book_answer(&a->book, event, fx);
        }
        break;
    case AGENT_FENCE_SAVED:
        fence_keeper_saved(&a->fence, event, fx);
        break;
    case AGENT_DISCOVERED:
        for (int i = 0; i < event->address_count; i++) {
            probe_add(&a->probe, &event->addresses[i], PROBE_DISCOVERED, a->now_ms);
        }
        break;
    case AGENT_STOP:
        begin_stop(a);
        break;
    case AGENT_HOST:
        hear_host(a, event, fx);
        break;
    case AGENT_DIALED:
        (void)order_book_answer(&a->book, event, fx);
        break;
    }
    if (!a->is_over) {
        run_parts(a, fx);
    }
}

int64_t agent_deadline(const struct agent *a)
{
    if (a->is_over) {
        return NEVER;
    }
    int64_t deadline_ms = deadline_min(a->discover_due_ms, a->stop_by_ms);
    if (!a->is_host_known && a->host_req == 0 && a->config.instances.folder[0] != '\0') {
        deadline_ms = a->now_ms;
    }
    deadline_ms = deadline_min(deadline_ms, probe_deadline(&a->probe));
    deadline_ms = deadline_min(deadline_ms, order_book_deadline(&a->book, a->now_ms, may_begin(a)));
    deadline_ms = deadline_min(deadline_ms, fence_keeper_deadline(&a->fence));
    return deadline_min(deadline_ms, session_deadline(&a->session, has_progress(a)));
}

int64_t agent_fence(const struct agent *a)
{
    return a->fence.seen;
}

bool agent_is_in_session(const struct agent *a)
{
    return a->session.sm.state == SESSION_OPEN;
}

int agent_running_orders(const struct agent *a)
{
    return order_book_running_count(&a->book);
}

int agent_node_count(const struct agent *a)
{
    return a->probe.count;
}
