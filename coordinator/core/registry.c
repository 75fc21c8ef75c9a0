/* registry.c — see registry.h. */
#include "coordinator/core/registry.h"

#include "common/base/alloc.h"
#include "common/base/check.h"
#include "coordinator/core/instructions.h"
#include "coordinator/core/state.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define HOLD_MS_MAX \
    10000 /* a report is held no longer, whatever it asks for: a lost answer is then found out */

static void agent_entry_clear(struct agent_entry *agent)
{
    for (int i = 0; i < agent->node_count; i++) {
        node_report_release(&agent->nodes[i]);
    }
    free(agent->nodes);
    free(agent->orders);
    free(agent->assigned);
    agent->nodes = NULL;
    agent->node_count = 0;
    agent->orders = NULL;
    agent->order_count = 0;
    agent->assigned = NULL;
    agent->assigned_count = 0;
    agent->has_host = false;
}

void registry_release(struct registry *registry)
{
    for (int i = 0; i < registry->count; i++) {
        agent_entry_clear(registry->entries[i]);
        free(registry->entries[i]);
    }
    free(registry->entries);
    *registry = (struct registry){0};
}

static int find_index(const struct registry *registry, const struct agent_id *id, bool *is_found)
{
    int low = 0;
    int high = registry->count;
    while (low < high) {
        int middle = low + (high - low) / 2;
        int order = strcmp(registry->entries[middle]->id.text, id->text);
        if (order == 0) {
            *is_found = true;
            return middle;
        }
        if (order < 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    *is_found = false;
    return low;
}

struct agent_entry *registry_find(const struct registry *registry, const struct agent_id *id)
{
    bool is_found = false;
    int index = find_index(registry, id, &is_found);
    return is_found ? registry->entries[index] : NULL;
}

const struct node_report *registry_find_unread(const struct registry *registry,
                                               const struct agent_entry **agent)
{
    for (int i = 0; i < registry->count; i++) {
        const struct agent_entry *entry = registry->entries[i];
        for (int n = 0; n < entry->node_count; n++) {
            if (!entry->nodes[n].is_reachable && entry->nodes[n].reason[0] != '\0') {
                *agent = entry;
                return &entry->nodes[n];
            }
        }
    }
    return NULL;
}

struct agent_entry *registry_add(struct registry *registry, const struct agent_id *id)
{
    bool is_found = false;
    int index = find_index(registry, id, &is_found);
    if (is_found) {
        return registry->entries[index];
    }
    if (registry->count == AGENTS_MAX) {
        return NULL;
    }
    ARRAY_RESERVE(registry->entries, registry->count, registry->capacity);
    memmove(&registry->entries[index + 1], &registry->entries[index],
            (size_t)(registry->count - index) * sizeof(*registry->entries));
    registry->count++;
    struct agent_entry *agent = xcalloc(1, sizeof(*agent));
    *agent = (struct agent_entry){
        .id = *id, .heard_ms = NEVER, .reported_ms = NEVER, .said_ms = NEVER, .is_same_disk = true};
    registry->entries[index] = agent;
    return agent;
}

static void registry_remove(struct registry *registry, int index)
{
    agent_entry_clear(registry->entries[index]);
    free(registry->entries[index]);
    registry->count--;
    memmove(&registry->entries[index], &registry->entries[index + 1],
            (size_t)(registry->count - index) * sizeof(*registry->entries));
}

static int64_t lost_after_ms(const struct coordinator *c)
{
    return AGENT_LOST_REPORTS * c->config.report_interval_ms + AGENT_SLACK_MS;
}

bool agent_is_connected(const struct coordinator *c, const struct agent_entry *agent)
{
    return agent->session != 0 && agent->heard_ms != NEVER &&
           c->turn.now_ms - agent->heard_ms <= lost_after_ms(c);
}

bool agent_is_ready(const struct coordinator *c, const struct agent_entry *agent)
{
    return agent_is_connected(c, agent) && agent->reported_ms != NEVER &&
           agent->fence_acked >= c->election.fence;
}

void refuse_agent(struct coordinator *c, uint64_t handle, int code, const char *text)
{
    struct coordinator_effect *effect = coordinator_effects_add(c->turn.fx, COORDINATOR_FX_REPLY);
    effect->handle = handle;
    effect->message.kind = MESSAGE_REFUSAL;
    struct refusal *refusal = &effect->message.as.refusal;
    refusal->code = code;
    (void)snprintf(refusal->text, sizeof(refusal->text), "%s", text);
    if (code == ERR_NOT_LEADER && c->election.is_leader_known) {
        (void)snprintf(refusal->leader_url, sizeof(refusal->leader_url), "%s",
                       c->election.leader.bus_url);
    }
}

/* ---- hello ---- */

/* Takes as long for a wrong secret as for the right one. */
static bool credential_is_equal(const char *wanted, const char *given)
{
    unsigned char differs = 0;
    size_t wanted_len = strlen(wanted);
    size_t given_len = strlen(given);
    for (size_t i = 0; i < sizeof(((struct hello *)NULL)->credential); i++) {
        unsigned char a = i < wanted_len ? (unsigned char)wanted[i] : 0;
        unsigned char b = i < given_len ? (unsigned char)given[i] : 0;
        differs |= (unsigned char)(a ^ b);
    }
    return differs == 0 && wanted_len == given_len;
}

/* 0, or why this agent is turned away. */
static int hello_check(struct coordinator *c, const struct hello *hello, char text[TEXT_SIZE])
{
    if (!agent_id_is_valid(hello->agent.text)) {
        (void)snprintf(text, TEXT_SIZE,
                       "an agent's id has 1 to %d letters, digits, '.', '-' or '_'",
                       AGENT_ID_SIZE - 1);
        return ERR_INVALID;
    }
    if (!credential_is_equal(c->config.agent_credential, hello->credential)) {
        (void)snprintf(text, TEXT_SIZE,
                       "wrong or missing credential: give the agent the coordinator's");
        return ERR_AUTH;
    }
    if (hello->proto_version < PROTO_VERSION_MIN || hello->proto_version > PROTO_VERSION) {
        (void)snprintf(
            text, TEXT_SIZE, "agent %.31s speaks protocol %d, coordinator %.31s speaks %d to %d",
            hello->version, hello->proto_version, DROVER_VERSION, PROTO_VERSION_MIN, PROTO_VERSION);
        return ERR_VERSION;
    }
    if (hello->cluster[0] != '\0' && c->config.cluster[0] != '\0' &&
        strcmp(hello->cluster, c->config.cluster) != 0) {
        (void)snprintf(text, TEXT_SIZE, "agent is for cluster %.40s, this coordinator for %.40s",
                       hello->cluster, c->config.cluster);
        return ERR_REFUSED;
    }
    if (hello->fence_seen > c->election.fence) {
        (void)snprintf(text, TEXT_SIZE,
                       "agent has seen fence %lld, ours is %lld: a newer leader was there",
                       (long long)hello->fence_seen, (long long)c->election.fence);
        return ERR_FENCED;
    }
    const struct agent_entry *agent = registry_find(&c->registry, &hello->agent);
    if (agent != NULL && agent->incarnation != 0 && agent->incarnation != hello->incarnation) {
        int64_t quiet_ms = c->turn.now_ms - agent->heard_ms;
        int64_t wait_ms = 2 * c->config.report_interval_ms + AGENT_SLACK_MS;
        if (quiet_ms < wait_ms) {
            (void)snprintf(text, TEXT_SIZE,
                           "another agent named %.40s reported %lld ms ago; ids must differ (after "
                           "a restart wait %lld ms)",
                           hello->agent.text, (long long)quiet_ms, (long long)(wait_ms - quiet_ms));
            return ERR_EXISTS;
        }
    }
    return 0;
}

static uint64_t record_agent(struct coordinator *c, struct agent_entry *agent, int64_t fence)
{
    char key[STORE_KEY_SIZE_MAX];
    (void)snprintf(key, sizeof(key), "agents/%s", agent->id.text);
    agent->is_recorded = true;
    agent->incarnation_recorded = agent->incarnation;
    agent->fence_recorded = fence;
    struct record record = {.kind = RECORD_AGENT};
    record.as.agent = (struct agent_record){
        .id = agent->id, .incarnation = agent->incarnation, .fence_acked = fence};
    return journal_put(&c->journal, key, &record);
}

static void answer_empty(struct coordinator *c, uint64_t handle)
{
    struct coordinator_effect *effect = coordinator_effects_add(c->turn.fx, COORDINATOR_FX_REPLY);
    effect->handle = handle;
    effect->message.kind = MESSAGE_INSTRUCTIONS;
    effect->message.as.instructions.fence = c->election.fence;
}

/* A request that a newer one of the same agent replaces still gets its one answer. */
static void drop_waiting(struct coordinator *c, struct agent_entry *agent)
{
    if (agent->is_hello_waiting) {
        agent->is_hello_waiting = false;
        refuse_agent(c, agent->hello_handle, ERR_CONFLICT, "a newer hello of this agent came");
    }
    if (agent->is_poll_held) {
        agent->is_poll_held = false;
        refuse_agent(c, agent->poll_handle, ERR_CONFLICT,
                     "this session has ended; say hello again");
    }
}

static void registry_hello(struct coordinator *c, uint64_t handle, const struct hello *hello)
{
    char text[TEXT_SIZE] = "";
    int code = hello_check(c, hello, text);
    struct agent_entry *agent = code == 0 ? registry_add(&c->registry, &hello->agent) : NULL;
    if (code == 0 && agent == NULL) {
        code = ERR_LIMIT;
        (void)snprintf(text, sizeof(text), "%d agents are known already", AGENTS_MAX);
    }
    if (code != 0) {
        struct log_event *log = turn_log(&c->turn, EVENT_AGENT_REFUSED);
        log_event_add(log, "agent", agent_id_is_valid(hello->agent.text) ? hello->agent.text : "?");
        log_event_add(log, "code", err_word(code));
        log_event_add(log, "text", text);
        refuse_agent(c, handle, code, text);
        if (code == ERR_FENCED) {
            election_changed(&c->election, &c->turn,
                             true); /* let a guarded write decide whether we still lead */
        }
        return;
    }
    drop_waiting(c, agent);
    bool is_new = agent->incarnation != hello->incarnation;
    if (is_new) {
        bool is_known_process =
            agent->is_recorded && agent->incarnation_recorded == hello->incarnation;
        agent->is_same_disk = is_known_process || hello->fence_seen >= agent->fence_recorded;
        agent_entry_clear(agent);
    }
    agent->incarnation = hello->incarnation;
    (void)snprintf(agent->version, sizeof(agent->version), "%s", hello->version);
    agent->session = prng_next(&c->prng) | 1;
    agent->sequence = 0;
    if (is_new) {
        agent->fence_acked = 0; /* only a report tells that no older command runs any more */
    }
    agent->heard_ms = c->turn.now_ms;
    agent->reported_ms = NEVER;
    agent->is_lost = false;
    agent->said_ms = NEVER;
    agent->is_hello_waiting = true;
    agent->hello_handle = handle;
    agent->hello_ticket = 0;
    if (is_new || !agent->is_recorded || agent->incarnation_recorded != agent->incarnation) {
        agent->hello_ticket = record_agent(c, agent, hello->fence_seen);
    }
    struct log_event *log = turn_log(&c->turn, EVENT_AGENT_HELLO);
    log_event_add(log, "agent", agent->id.text);
    log_event_add(log, "version", agent->version);
    log_event_add_int(log, "fence_seen", hello->fence_seen);
    log_event_add(log, "disk", agent->is_same_disk ? "same" : "lost");
    c->executor.is_dirty = true;
}

static void welcome(struct coordinator *c, struct agent_entry *agent)
{
    agent->is_hello_waiting = false;
    struct coordinator_effect *effect = coordinator_effects_add(c->turn.fx, COORDINATOR_FX_REPLY);
    effect->handle = agent->hello_handle;
    effect->message.kind = MESSAGE_WELCOME;
    struct welcome *out = &effect->message.as.welcome;
    out->session = agent->session;
    out->fence = c->election.fence;
    out->report_interval_ms = c->config.report_interval_ms;
    out->proto_version = PROTO_VERSION;
    (void)snprintf(out->version, sizeof(out->version), "%s", DROVER_VERSION);
}

/* ---- report ---- */

static void copy_nodes(struct agent_entry *agent, const struct report *report)
{
    for (int i = 0; i < agent->node_count; i++) {
        node_report_release(&agent->nodes[i]);
    }
    int count = report->node_count < REPORT_NODES_MAX ? report->node_count : REPORT_NODES_MAX;
    agent->nodes = xreallocarray(agent->nodes, (size_t)count + 1, sizeof(*agent->nodes));
    agent->node_count = count;
    for (int i = 0; i < count; i++) {
        const struct node_report *from = &report->nodes[i];
        struct node_report *to = &agent->nodes[i];
        *to = *from;
        to->open_slots = NULL;
        to->links_down = NULL;
        if (from->open_slot_count > 0) {
            to->open_slots = xmemdup(from->open_slots,
                                     (size_t)from->open_slot_count * sizeof(*from->open_slots));
        }
        if (from->link_down_count > 0) {
            to->links_down = xmemdup(from->links_down,
                                     (size_t)from->link_down_count * sizeof(*from->links_down));
        }
    }
}

static void ingest(struct coordinator *c, struct agent_entry *agent, const struct report *report)
{
    agent->sequence = report->sequence;
    agent->heard_ms = c->turn.now_ms;
    agent->reported_ms = c->turn.now_ms;
    agent->is_lost = false;
    if (report->fence_acked > agent->fence_acked) {
        agent->fence_acked = report->fence_acked;
        c->executor.is_dirty = true;
    }
    if (agent->fence_acked >= c->election.fence && agent->fence_recorded < agent->fence_acked) {
        (void)record_agent(c, agent, agent->fence_acked);
        log_event_add(turn_log(&c->turn, EVENT_AGENT_FENCED), "agent", agent->id.text);
    }
    if (report->has_nodes) {
        copy_nodes(agent, report);
        agent->nodes_received_ms = c->turn.now_ms;
        c->observe.is_dirty = true;
    }
    if (report->has_host) {
        agent->has_host = true;
        agent->host = report->host;
    }
    int order_count =
        report->order_count < AGENT_ORDERS_MAX ? report->order_count : AGENT_ORDERS_MAX;
    if (order_count > 0 || agent->order_count > 0) {
        c->executor.is_dirty = true;
    }
    agent->orders = xreallocarray(agent->orders, (size_t)order_count + 1, sizeof(*agent->orders));
    if (order_count > 0) {
        memcpy(agent->orders, report->orders, (size_t)order_count * sizeof(*agent->orders));
    }
    agent->order_count = order_count;
    agent->orders_sequence++;
    if (agent->said_ms == NEVER) {
        agent->has_news =
            true; /* else what it was just told may cross this report: see again in a while */
    }
    observe_views(c, report);
}

/* Answers with what there is to say; the validity of orders counts from when the report came. */
static void answer_report(struct coordinator *c,
                          struct agent_entry *agent,
                          uint64_t handle,
                          int64_t received_ms,
                          struct instructions *said)
{
    instructions_said(c, agent, said, received_ms);
    struct coordinator_effect *effect = coordinator_effects_add(c->turn.fx, COORDINATOR_FX_REPLY);
    effect->handle = handle;
    effect->message.kind = MESSAGE_INSTRUCTIONS;
    effect->message.as.instructions = *said;
    *said = (struct instructions){0};
}

static void registry_report(struct coordinator *c, uint64_t handle, const struct report *report)
{
    struct agent_entry *agent = registry_find(&c->registry, &report->agent);
    if (agent == NULL || agent->session == 0 || agent->session != report->session ||
        agent->is_hello_waiting) {
        refuse_agent(c, handle, ERR_CONFLICT, "no such session; say hello again");
        return;
    }
    if (report->sequence <= agent->sequence) {
        answer_empty(c, handle); /* late or twice: what it says is older than what we know */
        return;
    }
    if (report->fence_acked > c->election.fence) {
        refuse_agent(c, handle, ERR_FENCED, "a newer leader was there");
        election_changed(&c->election, &c->turn, true);
        return;
    }
    ingest(c, agent, report);
    if (report->wait_ms > 0) {
        if (agent->is_poll_held) {
            answer_empty(c, agent->poll_handle);
        }
        agent->is_poll_held = true;
        agent->poll_handle = handle;
        agent->poll_received_ms = c->turn.now_ms;
        /* Renewals travel with the answers, so an answer must come well within an order's validity.
         */
        int64_t hold_ms =
            deadline_min(report->wait_ms, deadline_min(HOLD_MS_MAX, c->config.order_valid_ms / 3));
        agent->poll_until_ms = c->turn.now_ms + hold_ms;
        return;
    }
    agent->is_quick_waiting = true;
    agent->quick_handle = handle;
}

void registry_message(struct coordinator *c, uint64_t handle, const struct message *message)
{
    switch (message->kind) {
    case MESSAGE_HELLO:
        registry_hello(c, handle, &message->as.hello);
        return;
    case MESSAGE_REPORT:
        registry_report(c, handle, &message->as.report);
        return;
    case MESSAGE_WELCOME:
    case MESSAGE_REFUSAL:
    case MESSAGE_INSTRUCTIONS:
        refuse_agent(c, handle, ERR_PROTOCOL, "agents ask, coordinators answer: this is an answer");
        return;
    }
    refuse_agent(c, handle, ERR_PROTOCOL, "unknown kind of message");
}

/* ---- time ---- */

static bool is_time_to_say(const struct coordinator *c, const struct agent_entry *agent)
{
    return agent->has_news ||
           (agent->said_ms != NEVER && c->turn.now_ms - agent->said_ms >= SAY_AGAIN_MS);
}

static void tick_answers(struct coordinator *c, struct agent_entry *agent)
{
    if (!agent->is_quick_waiting && !agent->is_poll_held) {
        return;
    }
    bool is_over = agent->is_poll_held && c->turn.now_ms >= agent->poll_until_ms;
    if (!agent->is_quick_waiting && !is_over && !is_time_to_say(c, agent)) {
        return;
    }
    struct instructions said = {0};
    enum instructions_weight weight = instructions_build(c, agent, &said);
    agent->has_news = false;
    agent->said_ms = weight == INSTRUCTIONS_DUE ? c->turn.now_ms : NEVER;
    if (agent->is_quick_waiting) {
        agent->is_quick_waiting = false;
        answer_report(c, agent, agent->quick_handle, c->turn.now_ms, &said);
    } else if (is_over || weight == INSTRUCTIONS_DUE) {
        agent->is_poll_held = false;
        answer_report(c, agent, agent->poll_handle, agent->poll_received_ms, &said);
    }
    instructions_release(&said);
}

void registry_tick(struct coordinator *c)
{
    for (int i = 0; i < c->registry.count; i++) {
        struct agent_entry *agent = c->registry.entries[i];
        if (agent->is_hello_waiting && journal_is_durable(&c->journal, agent->hello_ticket)) {
            welcome(c, agent);
        }
        tick_answers(c, agent);
        bool is_quiet = agent->session != 0 && !agent_is_connected(c, agent);
        if (is_quiet && !agent->is_lost) {
            agent->is_lost = true;
            c->observe.is_dirty = true;
            c->executor.is_dirty = true;
            struct log_event *log = turn_log(&c->turn, EVENT_AGENT_LOST);
            log_event_add(log, "agent", agent->id.text);
            log_event_add_int(log, "quiet_ms", c->turn.now_ms - agent->heard_ms);
        }
        if (is_quiet && c->turn.now_ms - agent->heard_ms > AGENT_FORGET_MS &&
            !executor_names_agent(c, &agent->id)) {
            drop_waiting(c, agent);
            registry_remove(&c->registry, i--);
        }
    }
}

int64_t registry_deadline(const struct coordinator *c)
{
    int64_t deadline_ms = NEVER;
    for (int i = 0; i < c->registry.count; i++) {
        const struct agent_entry *agent = c->registry.entries[i];
        if (agent->is_poll_held) {
            deadline_ms = deadline_min(deadline_ms, agent->poll_until_ms);
            if (agent->has_news) {
                return c->turn.now_ms;
            }
            if (agent->said_ms != NEVER) {
                deadline_ms = deadline_min(deadline_ms, agent->said_ms + SAY_AGAIN_MS);
            }
        }
        if (agent->session != 0 && !agent->is_lost) {
            deadline_ms = deadline_min(deadline_ms, agent->heard_ms + lost_after_ms(c) + 1);
        }
    }
    return deadline_ms;
}

void registry_end_term(struct coordinator *c)
{
    for (int i = 0; i < c->registry.count; i++) {
        struct agent_entry *agent = c->registry.entries[i];
        if (agent->is_hello_waiting) {
            refuse_agent(c, agent->hello_handle, ERR_NOT_LEADER,
                         "the term of this coordinator has ended");
        }
        if (agent->is_poll_held) {
            refuse_agent(c, agent->poll_handle, ERR_NOT_LEADER,
                         "the term of this coordinator has ended");
        }
        if (agent->is_quick_waiting) {
            refuse_agent(c, agent->quick_handle, ERR_NOT_LEADER,
                         "the term of this coordinator has ended");
        }
    }
    registry_release(&c->registry);
}
