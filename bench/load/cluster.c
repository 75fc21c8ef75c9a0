/* cluster.c — see cluster.h. Reading order: cluster_wait, upkeep, read_replies, on_error_reply,
 * fail_request. */
#include "bench/load/cluster.h"

#include "bench/load/now.h"
#include "bench/load/resp.h"
#include "common/base/alloc.h"
#include "common/base/check.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <time.h>
#include <unistd.h>

#define READ_SIZE (64 * 1024)
#define EVENTS_MAX 64
/* Upkeep (time limits, repetitions) runs at least this often. */
#define UPKEEP_NS (10 * NS_PER_MS)
/* One constant delay keeps the queue of repetitions ordered; short enough for TRYAGAIN, long enough
 * for CLUSTERDOWN. */
#define RETRY_DELAY_NS (10 * NS_PER_MS)
#define REDIRECTIONS_MAX 8
/* MOVED already tells the one slot that matters, so the full map, dear for a server with many
 * ranges, can wait. */
#define MAP_INTERVAL_NS NS_PER_S
#define MAP_INTERVAL_TROUBLE_NS (200 * NS_PER_MS)
#define CONNECT_LIMIT_NS (2 * NS_PER_S)
#define BACKOFF_FIRST_NS (50 * NS_PER_MS)
#define BACKOFF_DOUBLINGS_MAX 4
#define TAG_SIGNAL UINT64_MAX

static const char *const failure_words[FAILURE_NR] = {
#define X(name, word) word,
    FAILURES(X)
#undef X
};

static void want_map(struct cluster *c, uint16_t teller, int64_t interval_ns);
static void lose_link(struct cluster *c, struct link *link, int cause);

const char *failure_word(enum failure failure)
{
    return failure_words[failure];
}

static void queue_push(struct request_queue *queue, struct request *request)
{
    request->next = NULL;
    if (queue->last == NULL) {
        queue->first = request;
    } else {
        queue->last->next = request;
    }
    queue->last = request;
}

static struct request *queue_pop(struct request_queue *queue)
{
    struct request *request = queue->first;
    if (request != NULL) {
        queue->first = request->next;
        if (queue->first == NULL) {
            queue->last = NULL;
        }
    }
    return request;
}

static int watch_fd(struct cluster *c, int fd, uint64_t tag)
{
    struct epoll_event event = {.events = EPOLLIN, .data.u64 = tag};
    return epoll_ctl(c->epoll_fd, EPOLL_CTL_ADD, fd, &event);
}

int cluster_init(struct cluster *c, const struct cluster_config *cfg, struct err *err)
{
    CHECK(cfg->connections_per_node >= 1);
    *c = (struct cluster){.cfg = *cfg, .signal_fd = -1, .map_teller = NO_NODE};
    nodes_init(&c->nodes, cfg->connections_per_node);
    c->buffer = xmalloc(READ_SIZE);
    c->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (c->epoll_fd < 0) {
        return err_set(err, ERR_IO, "cannot make epoll: %s", strerror(errno));
    }
    /* Requests leave when they are due, not up to 50 us later. */
    (void)prctl(PR_SET_TIMERSLACK, 1UL);
    for (unsigned i = 0; i < cfg->seed_count; i++) {
        const char *host = NULL;
        size_t host_len = 0;
        uint16_t port = 0;
        if (!address_split(cfg->seeds[i], &host, &host_len, &port) ||
            nodes_intern(&c->nodes, host, host_len, port) == NO_NODE) {
            return err_set(err, ERR_INVALID, "seed node '%s' is not host:port", cfg->seeds[i]);
        }
    }
    return 0;
}

void cluster_release(struct cluster *c)
{
    nodes_release(&c->nodes);
    free(c->buffer);
    if (c->signal_fd >= 0) {
        close(c->signal_fd);
    }
    if (c->epoll_fd >= 0) {
        close(c->epoll_fd);
    }
}

int cluster_watch_signals(struct cluster *c, struct err *err)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGTERM);
    if (sigprocmask(SIG_BLOCK, &set, NULL) == 0) {
        c->signal_fd = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
    }
    if (c->signal_fd < 0 || watch_fd(c, c->signal_fd, TAG_SIGNAL) != 0) {
        return err_set(err, ERR_IO, "cannot watch signals: %s", strerror(errno));
    }
    return 0;
}

/* --- failures
 * -------------------------------------------------------------------------------------------------
 */

static bool starts_with(const char *text, const char *start)
{
    return strncmp(text, start, strlen(start)) == 0;
}

static void note_error(struct cluster *c, const char *text)
{
    (void)snprintf(c->last_error, sizeof(c->last_error), "%s", text);
}

static void repeat_later(struct cluster *c, struct request *request)
{
    request->due_ns = now_ns() + RETRY_DELAY_NS;
    request->redirections = 0;
    queue_push(&c->retries, request);
}

/* The one place that decides whether a failed request is repeated. 'outcome' says what is known of
 * its execution. */
static void fail_request(struct cluster *c,
                         struct request *request,
                         enum failure failure,
                         enum outcome outcome)
{
    c->counters.failures[failure]++;
    bool tolerated = (c->cfg.tolerate & (1U << failure)) != 0;
    bool harmless = outcome == OUTCOME_REFUSED || request->repeatable;
    if (tolerated && harmless && now_ns() < request->give_up_ns) {
        c->counters.retries++;
        repeat_later(c, request);
        return;
    }
    if (tolerated && harmless) {
        c->counters.gave_up++;
    }
    request->outcome = outcome;
    queue_push(&c->finished, request);
}

/* --- links
 * ----------------------------------------------------------------------------------------------------
 */

static void push_auth(struct cluster *c, struct link *link)
{
    if (c->cfg.password == NULL) {
        return;
    }
    struct strbuf command = {0};
    resp_command(&command, c->cfg.user == NULL ? 2 : 3);
    resp_text(&command, "AUTH");
    if (c->cfg.user != NULL) {
        resp_text(&command, c->cfg.user);
    }
    resp_text(&command, c->cfg.password);
    link_push(link, (struct pending){QUESTION_AUTH, NULL, now_ns()}, &command);
    strbuf_release(&command);
}

static void back_off(struct link *link)
{
    unsigned doublings =
        link->failures < BACKOFF_DOUBLINGS_MAX ? link->failures : BACKOFF_DOUBLINGS_MAX;
    link->failures++;
    link->retry_at_ns = now_ns() + (BACKOFF_FIRST_NS << doublings);
}

static bool open_link(struct cluster *c, struct node *node, struct link *link)
{
    struct sockaddr_storage address;
    struct err err = {0};
    node->used = true;
    if (node_resolve(node, &address, &err) != 0 ||
        link_open(link, (const struct sockaddr *)&address, c->epoll_fd, &err) != 0) {
        note_error(c, err.text);
        back_off(link);
        return false;
    }
    push_auth(c, link);
    return true;
}

/* A link of the node that can take a request: one that is up, else one on its way up, else a new
 * one unless it failed a moment ago. NULL if none. */
static struct link *pick_link(struct cluster *c, uint16_t index)
{
    struct node *node = c->nodes.items[index];
    struct link *connecting = NULL;
    struct link *closed = NULL;
    for (unsigned i = 0; i < c->nodes.connections; i++) {
        struct link *link = &node->links[(node->next_link + i) % c->nodes.connections];
        if (link->state == LINK_UP) {
            node->next_link = (node->next_link + i + 1) % c->nodes.connections;
            return link;
        }
        if (link->state == LINK_CONNECTING) {
            connecting = link;
        } else if (link->retry_at_ns <= now_ns()) {
            closed = link;
        }
    }
    if (connecting != NULL) {
        return connecting;
    }
    return closed != NULL && open_link(c, node, closed) ? closed : NULL;
}

/* Closes a link and settles all its questions. 'cause' is a negative errno. */
static void lose_link(struct cluster *c, struct link *link, int cause)
{
    bool was_up = link->state == LINK_UP;
    int64_t timeout_ns = c->cfg.timeout_ms * NS_PER_MS;
    const struct node *node = c->nodes.items[link->tag >> 32];
    bool idle = link->count == 0;
    link_close(link);
    back_off(link);
    c->counters.reconnects += was_up ? 1 : 0;
    if (!idle) {
        (void)snprintf(c->last_error, sizeof(c->last_error), "%s:%u: %s", node->host,
                       (unsigned)node->port, strerror(-cause));
    }
    struct pending pending;
    while (link_pop(link, &pending)) {
        if (pending.question == QUESTION_MAP) {
            c->map_asked = false;
            c->map_wanted = true;
        }
        if (pending.question != QUESTION_REQUEST) {
            continue;
        }
        bool overdue = was_up && now_ns() - pending.pushed_ns >= timeout_ns;
        fail_request(c, pending.request, overdue ? FAILURE_TIMEOUT : FAILURE_CONNECTION,
                     was_up ? OUTCOME_UNKNOWN : OUTCOME_REFUSED);
    }
    want_map(c, NO_NODE, MAP_INTERVAL_TROUBLE_NS);
}

/* --- slot map
 * -------------------------------------------------------------------------------------------------
 */

static void want_map(struct cluster *c, uint16_t teller, int64_t interval_ns)
{
    int64_t latest = now_ns() + interval_ns;
    if (c->map_next_ns > latest) {
        c->map_next_ns = latest;
    }
    c->map_wanted = true;
    c->map_teller = teller;
}

static struct link *map_link(struct cluster *c)
{
    if (c->map_teller != NO_NODE && c->nodes.items[c->map_teller]->links[0].state == LINK_UP) {
        return &c->nodes.items[c->map_teller]->links[0];
    }
    /* Start at another node each time: the one asked last may be the one that is cut off. */
    unsigned start = c->map_turn++ % c->nodes.count;
    for (int wanted_up = 1; wanted_up >= 0; wanted_up--) {
        for (unsigned i = 0; i < c->nodes.count; i++) {
            uint16_t index = (uint16_t)((start + i) % c->nodes.count);
            if (wanted_up == 1 && c->nodes.items[index]->links[0].state != LINK_UP) {
                continue;
            }
            struct link *link = pick_link(c, index);
            if (link != NULL) {
                return link;
            }
        }
    }
    return NULL;
}

static void ask_map(struct cluster *c)
{
    struct link *link = map_link(c);
    if (link == NULL) {
        c->map_next_ns = now_ns() + BACKOFF_FIRST_NS;
        return;
    }
    struct strbuf command = {0};
    resp_command(&command, 2);
    resp_text(&command, "CLUSTER");
    resp_text(&command, "SLOTS");
    link_push(link, (struct pending){QUESTION_MAP, NULL, now_ns()}, &command);
    strbuf_release(&command);
    c->map_asked = true;
    c->map_wanted = false;
    c->counters.map_refreshes++;
}

static void open_owners(struct cluster *c)
{
    for (unsigned i = 0; i < c->nodes.count; i++) {
        struct node *node = c->nodes.items[i];
        for (unsigned k = 0; node->owns_slots && k < c->nodes.connections; k++) {
            if (node->links[k].state == LINK_DOWN && node->links[k].retry_at_ns <= now_ns()) {
                (void)open_link(c, node, &node->links[k]);
            }
        }
    }
}

static void on_map(struct cluster *c, uint16_t teller, const struct redisReply *reply)
{
    c->map_asked = false;
    c->map_next_ns = now_ns() + MAP_INTERVAL_NS;
    if (nodes_read_map(&c->nodes, reply, teller)) {
        c->map_known = true;
        open_owners(c);
        return;
    }
    /* After a refused AUTH everything is refused; the first reason is the one that helps. */
    if (!starts_with(c->last_error, "WRONGPASS")) {
        note_error(c, reply->type == REDIS_REPLY_ERROR ? reply->str : "the node knows no slots");
    }
    c->map_wanted = true;
    c->map_next_ns = now_ns() + MAP_INTERVAL_TROUBLE_NS;
}

/* --- requests
 * -------------------------------------------------------------------------------------------------
 */

static void send_to(struct cluster *c, struct request *request, uint16_t index, bool asking)
{
    struct link *link = pick_link(c, index);
    if (link == NULL) {
        want_map(c, NO_NODE, MAP_INTERVAL_TROUBLE_NS);
        fail_request(c, request, FAILURE_CONNECTION, OUTCOME_REFUSED);
        return;
    }
    int64_t now = now_ns();
    if (asking) {
        struct strbuf command = {0};
        resp_command(&command, 1);
        resp_text(&command, "ASKING");
        link_push(link, (struct pending){QUESTION_ASKING, NULL, now}, &command);
        strbuf_release(&command);
    }
    link_push(link, (struct pending){QUESTION_REQUEST, request, now}, &request->command);
}

static void route(struct cluster *c, struct request *request)
{
    uint16_t owner = c->nodes.owner[request->slot];
    /* Nobody owns the slot as far as we know: any node will say CLUSTERDOWN or where to go. */
    send_to(c, request, owner == NO_NODE ? 0 : owner, false);
}

void cluster_tolerate(struct cluster *c, unsigned tolerate)
{
    c->cfg.tolerate = tolerate;
}

void cluster_submit(struct cluster *c, struct request *request)
{
    CHECK(request->slot < SLOT_COUNT);
    request->give_up_ns = now_ns() + c->cfg.retry_for_ms * NS_PER_MS;
    request->redirections = 0;
    c->in_flight++;
    route(c, request);
}

/* "MOVED 42 host:port" or "ASK 42 host:port"; an empty host means the host of the node that says
 * so. */
static bool read_redirection(struct cluster *c,
                             const char *text,
                             uint16_t teller,
                             uint16_t *slot,
                             uint16_t *target)
{
    const char *number = strchr(text, ' ');
    if (number == NULL) {
        return false;
    }
    char *end = NULL;
    long value = strtol(number + 1, &end, 10);
    const char *host = NULL;
    size_t host_len = 0;
    uint16_t port = 0;
    if (*end != ' ' || value < 0 || value >= SLOT_COUNT ||
        !address_split(end + 1, &host, &host_len, &port)) {
        return false;
    }
    if (host_len == 0 || (host_len == 1 && host[0] == '?')) {
        host = c->nodes.items[teller]->host;
        host_len = strlen(host);
    }
    *slot = (uint16_t)value;
    *target = nodes_intern(&c->nodes, host, host_len, port);
    return *target != NO_NODE;
}

static void redirect(struct cluster *c, struct request *request, uint16_t teller, const char *text)
{
    bool moved = text[0] == 'M';
    uint16_t slot = 0;
    uint16_t target = NO_NODE;
    if (!read_redirection(c, text, teller, &slot, &target)) {
        note_error(c, text);
        fail_request(c, request, FAILURE_OTHER, OUTCOME_REFUSED);
        return;
    }
    if (moved) {
        c->counters.moved++;
        c->nodes.owner[slot] = target;
        c->nodes.items[target]->owns_slots = true;
        want_map(c, target, MAP_INTERVAL_NS);
    } else {
        c->counters.ask++;
    }
    if (++request->redirections < REDIRECTIONS_MAX) {
        send_to(c, request, target, !moved);
    } else if (now_ns() < request->give_up_ns) {
        /* Two nodes point at each other for as long as gossip takes; that is no error yet. */
        repeat_later(c, request);
    } else {
        note_error(c, text);
        fail_request(c, request, FAILURE_OTHER, OUTCOME_REFUSED);
    }
}

static void finish(struct cluster *c, struct request *request, const struct redisReply *reply)
{
    c->in_flight--;
    request->done(request, OUTCOME_REPLY, reply);
}

static void on_error_reply(struct cluster *c,
                           struct request *request,
                           uint16_t teller,
                           const struct redisReply *reply)
{
    const char *text = reply->str;
    if (starts_with(text, "MOVED ") || starts_with(text, "ASK ")) {
        redirect(c, request, teller, text);
        return;
    }
    if (starts_with(text, "TRYAGAIN")) {
        fail_request(c, request, FAILURE_TRYAGAIN, OUTCOME_REFUSED);
        return;
    }
    if (starts_with(text, "CLUSTERDOWN") || starts_with(text, "LOADING") ||
        starts_with(text, "MASTERDOWN")) {
        note_error(c, text);
        want_map(c, NO_NODE, MAP_INTERVAL_TROUBLE_NS);
        fail_request(c, request, FAILURE_CLUSTERDOWN, OUTCOME_REFUSED);
        return;
    }
    note_error(c, text);
    c->counters.failures[FAILURE_OTHER]++;
    finish(c, request, reply);
}

static void on_reply(struct cluster *c, struct link *link, const struct redisReply *reply)
{
    struct pending pending;
    uint16_t teller = (uint16_t)(link->tag >> 32);
    if (!link_pop(link, &pending)) {
        return;
    }
    switch (pending.question) {
    case QUESTION_REQUEST:
        if (reply->type == REDIS_REPLY_ERROR) {
            on_error_reply(c, pending.request, teller, reply);
        } else {
            finish(c, pending.request, reply);
        }
        break;
    case QUESTION_ASKING:
        break;
    case QUESTION_AUTH:
        if (reply->type == REDIS_REPLY_ERROR) {
            note_error(c, reply->str);
        }
        break;
    case QUESTION_MAP:
        on_map(c, teller, reply);
        break;
    }
}

static void read_replies(struct cluster *c, struct link *link)
{
    int got = link_read(link, c->buffer, READ_SIZE);
    if (got < 0) {
        lose_link(c, link, got);
        return;
    }
    c->read_at_ns = now_ns();
    bool broken = false;
    struct redisReply *reply = NULL;
    while (got > 0 && (reply = link_reply(link, &broken)) != NULL) {
        link->failures = 0;
        on_reply(c, link, reply);
        freeReplyObject(reply);
    }
    if (broken) {
        lose_link(c, link, -EPROTO);
    }
}

/* --- the turn
 * -------------------------------------------------------------------------------------------------
 */

static void check_limits(struct cluster *c, struct link *link, int64_t now)
{
    if (link->state == LINK_CONNECTING && now - link->opened_ns > CONNECT_LIMIT_NS) {
        lose_link(c, link, -ETIMEDOUT);
        return;
    }
    const struct pending *oldest = link_peek(link);
    if (link->state == LINK_UP && oldest != NULL &&
        now - oldest->pushed_ns > c->cfg.timeout_ms * NS_PER_MS) {
        lose_link(c, link, -ETIMEDOUT);
    }
}

static void flush_links(struct cluster *c, int64_t now)
{
    for (unsigned i = 0; i < c->nodes.count; i++) {
        struct node *node = c->nodes.items[i];
        for (unsigned k = 0; node->used && k < c->nodes.connections; k++) {
            struct link *link = &node->links[k];
            check_limits(c, link, now);
            bool waiting_for_room = (link->epoll_events & EPOLLOUT) != 0;
            if (link->out.len == 0 || waiting_for_room) {
                continue;
            }
            int rc = link_flush(link);
            if (rc < 0) {
                lose_link(c, link, rc);
            }
        }
    }
}

static void upkeep(struct cluster *c)
{
    int64_t now = now_ns();
    while (c->retries.first != NULL && c->retries.first->due_ns <= now) {
        route(c, queue_pop(&c->retries));
    }
    struct request *request = NULL;
    while ((request = queue_pop(&c->finished)) != NULL) {
        c->in_flight--;
        request->done(request, request->outcome, NULL);
    }
    if (c->map_wanted && !c->map_asked && now >= c->map_next_ns) {
        ask_map(c);
    }
    flush_links(c, now);
}

static void on_event(struct cluster *c, const struct epoll_event *event)
{
    if (event->data.u64 == TAG_SIGNAL) {
        struct signalfd_siginfo info;
        c->stopped = c->stopped || read(c->signal_fd, &info, sizeof(info)) == (ssize_t)sizeof(info);
        return;
    }
    struct link *link = &c->nodes.items[event->data.u64 >> 32]->links[(uint32_t)event->data.u64];
    if (link->state == LINK_CONNECTING) {
        int rc = link_connected(link);
        if (rc < 0) {
            lose_link(c, link, rc);
        }
        return;
    }
    if (link->state == LINK_UP && (event->events & EPOLLOUT) != 0) {
        int rc = link_flush(link);
        if (rc < 0) {
            lose_link(c, link, rc);
            return;
        }
    }
    if (link->state == LINK_UP && (event->events & ~(uint32_t)EPOLLOUT) != 0) {
        read_replies(c, link);
    }
}

/* One call of the kernel a turn, two before Linux 5.11. */
static int wait_events(struct cluster *c, int64_t rest_ns, struct epoll_event *events)
{
    struct timespec rest = {.tv_sec = rest_ns / NS_PER_S, .tv_nsec = rest_ns % NS_PER_S};
    int count = epoll_pwait2(c->epoll_fd, events, EVENTS_MAX, &rest, NULL);
    if (count < 0 && errno == ENOSYS) {
        struct pollfd any = {.fd = c->epoll_fd, .events = POLLIN};
        (void)ppoll(&any, 1, &rest, NULL);
        count = epoll_wait(c->epoll_fd, events, EVENTS_MAX, 0);
    }
    return count;
}

void cluster_wait(struct cluster *c, int64_t until_ns)
{
    upkeep(c);
    int64_t now = now_ns();
    int64_t wake = until_ns < now + UPKEEP_NS ? until_ns : now + UPKEEP_NS;
    struct epoll_event events[EVENTS_MAX];
    int count = wait_events(c, wake > now ? wake - now : 0, events);
    for (int i = 0; i < count; i++) {
        on_event(c, &events[i]);
    }
}

void cluster_rest(struct cluster *c, int64_t until_ns)
{
    upkeep(c);
    struct timespec until = {.tv_sec = until_ns / NS_PER_S, .tv_nsec = until_ns % NS_PER_S};
    (void)clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL);
    cluster_wait(c, 0);
}

int cluster_connect(struct cluster *c, int64_t limit_ms, struct err *err)
{
    int64_t deadline = now_ns() + limit_ms * NS_PER_MS;
    c->map_wanted = true;
    while (!c->map_known && now_ns() < deadline) {
        cluster_wait(c, deadline);
        if (starts_with(c->last_error, "WRONGPASS") || starts_with(c->last_error, "NOAUTH") ||
            starts_with(c->last_error, "NOPERM")) {
            return err_set(err, ERR_AUTH, "the cluster refuses us: %s", c->last_error);
        }
        if (starts_with(c->last_error, "ERR This instance has cluster support disabled")) {
            return err_set(err, ERR_PROTOCOL, "%s: %s", c->cfg.seeds[0], c->last_error);
        }
    }
    if (!c->map_known) {
        return err_set(err, ERR_UNAVAILABLE, "no slot map within %lld ms from %s%s: %s",
                       (long long)limit_ms, c->cfg.seeds[0],
                       c->cfg.seed_count > 1 ? " and other seeds" : "",
                       c->last_error[0] != '\0' ? c->last_error : "no answer");
    }
    c->last_error[0] = '\0';
    memset(&c->counters, 0, sizeof(c->counters));
    return 0;
}
