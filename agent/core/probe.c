/* probe.c — see probe.h. */
#include "agent/core/probe.h"

#include "agent/core/redis_words.h"
#include "common/base/alloc.h"
#include "common/base/check.h"
#include "common/model/info_text.h"
#include "common/model/nodes_text.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PROBE_TIMEOUT_MS 2000
#define FACTS_COMMANDS 3

void probe_init(struct probe *probe, uint32_t serial, bool serves_all, int64_t interval_ms)
{
    *probe = (struct probe){.ids = {.serial = serial}, .serves_all = serves_all};
    probe_set_interval(probe, interval_ms);
}

static void node_release(struct probe_node *node)
{
    node_report_release(&node->report);
    strbuf_release(&node->text);
    free(node->owned);
}

void probe_release(struct probe *probe)
{
    for (int i = 0; i < probe->count; i++) {
        node_release(&probe->nodes[i]);
    }
    free(probe->nodes);
    *probe = (struct probe){0};
}

void probe_set_interval(struct probe *probe, int64_t interval_ms)
{
    probe->interval_ms = interval_ms > 0 ? interval_ms : PROBE_INTERVAL_MS_DEFAULT;
}

void probe_add(struct probe *probe,
               const struct address *address,
               enum probe_origin origin,
               int64_t now_ms)
{
    if (address->port == 0 || address->host[0] == '\0' || probe->count >= PROBE_NODES_MAX) {
        return;
    }
    for (int i = 0; i < probe->count; i++) {
        if (address_is_equal(&probe->nodes[i].report.address, address)) {
            return;
        }
    }
    ARRAY_RESERVE(probe->nodes, probe->count, probe->capacity);
    struct probe_node *node = &probe->nodes[probe->count++];
    *node = (struct probe_node){.origin = origin, .due_ms = now_ms, .answered_ms = NEVER};
    node->report = (struct node_report){.address = *address, .reason_code = ERR_UNAVAILABLE};
    (void)snprintf(node->report.reason, sizeof(node->report.reason), "not asked yet");
}

void probe_let_go(struct probe *probe, const struct address *address)
{
    for (int i = 0; i < probe->count; i++) {
        struct probe_node *node = &probe->nodes[i];
        if (address_is_equal(&node->report.address, address)) {
            node_release(node);
            probe->count--;
            memmove(node, node + 1, (size_t)(probe->count - i) * sizeof(*node));
            probe->has_news = true;
            return;
        }
    }
}

/* ---- asking ---- */

static uint64_t ask(struct probe *probe,
                    const struct probe_node *node,
                    struct agent_effects *fx,
                    struct command_list **commands)
{
    struct agent_effect *effect = agent_effects_add(fx, AGENT_FX_REDIS);
    effect->req_id = request_ids_next(&probe->ids);
    effect->address = node->report.address;
    effect->lane = LANE_PROBE;
    effect->timeout_ms = PROBE_TIMEOUT_MS;
    *commands = &effect->commands;
    return effect->req_id;
}

void probe_run(struct probe *probe, int64_t now_ms, struct agent_effects *fx)
{
    for (int i = 0; i < probe->count; i++) {
        struct probe_node *node = &probe->nodes[i];
        if (node->is_alias || now_ms < node->due_ms || node->facts_req != 0 ||
            node->ping_req != 0) {
            continue;
        }
        struct command_list *commands = NULL;
        node->ping_req = ask(probe, node, fx, &commands);
        commands_add(commands, "PING", (char *)NULL);
        node->facts_req = ask(probe, node, fx, &commands);
        commands_add(commands, "INFO", (char *)NULL);
        commands_add(commands, "CLUSTER", "INFO", (char *)NULL);
        commands_add(commands, "CLUSTER", "NODES", (char *)NULL);
        node->due_ms = now_ms + probe->interval_ms;
        node->hurry = node->hurry == HURRY_WANTED ? HURRY_ASKED : node->hurry;
    }
}

void probe_hurry_all(struct probe *probe, int64_t now_ms)
{
    for (int i = 0; i < probe->count; i++) {
        probe->nodes[i].hurry = HURRY_WANTED;
        probe->nodes[i].due_ms = now_ms;
    }
}

bool probe_is_hurrying(const struct probe *probe)
{
    for (int i = 0; i < probe->count; i++) {
        if (probe->nodes[i].hurry != HURRY_NONE && !probe->nodes[i].is_alias) {
            return true;
        }
    }
    return false;
}

int64_t probe_deadline(const struct probe *probe)
{
    int64_t deadline_ms = NEVER;
    for (int i = 0; i < probe->count; i++) {
        const struct probe_node *node = &probe->nodes[i];
        if (!node->is_alias && node->facts_req == 0 && node->ping_req == 0) {
            deadline_ms = deadline_min(deadline_ms, node->due_ms);
        }
    }
    return deadline_ms;
}

/* ---- reading ---- */

/* FNV-1a over the text without the fields that change by themselves: when pings were sent and pongs
 * came. */
static uint64_t hash_text(const char *text, size_t len)
{
    uint64_t hash = UINT64_C(14695981039346656037);
    int field = 0;
    for (size_t i = 0; i < len; i++) {
        if (text[i] == '\n') {
            field = 0;
        } else if (text[i] == ' ') {
            field++;
        }
        if (field != 4 && field != 5) {
            hash = (hash ^ (unsigned char)text[i]) * UINT64_C(1099511628211);
        }
    }
    return hash == 0 ? 1 : hash;
}

static void set_reason(struct node_report *report, int code, const char *text)
{
    report->reason_code = code;
    (void)snprintf(report->reason, sizeof(report->reason), "%s", text);
}

static void read_info(struct node_report *report, const struct info *info)
{
    (void)snprintf(report->run_id, sizeof(report->run_id), "%s", info->run_id);
    (void)snprintf(report->version, sizeof(report->version), "%s", info->version);
    report->is_valkey = info->kind == SERVER_VALKEY;
    report->is_loading = info->is_loading == 1;
    report->is_cluster_enabled = info->is_cluster_enabled == 1;
    report->is_link_up = info->is_primary_link_up == 1;
    report->role = info->role;
    bool is_replica = info->role == NODE_ROLE_REPLICA;
    report->repl_offset = is_replica ? info->replica_offset : info->primary_offset;
    report->used_memory_bytes = info->used_memory_bytes;
    report->maxmemory_bytes = info->maxmemory_bytes;
    report->evicts =
        info->maxmemory_policy[0] != '\0' && strcmp(info->maxmemory_policy, "noeviction") != 0;
    report->system_memory_bytes = info->system_memory_bytes;
    report->keys = info->keys;
    report->ops_per_s = info->ops_per_s;
    report->clients = info->connected_clients;
}

static void read_links(struct node_report *report, const struct nodes_view *view)
{
    free(report->links_down);
    report->links_down = NULL;
    report->link_down_count = 0;
    int capacity = 0;
    for (int i = 0; i < view->row_count; i++) {
        const struct nodes_row *row = &view->rows[i];
        int unreal = NODES_FLAG_MYSELF | NODES_FLAG_HANDSHAKE | NODES_FLAG_NOADDR;
        if (!row->is_link_connected && (row->flags & unreal) == 0) {
            ARRAY_RESERVE(report->links_down, report->link_down_count, capacity);
            report->links_down[report->link_down_count++] = row->id;
        }
    }
}

static uint64_t mix(uint64_t digest, uint64_t flags, const char *text)
{
    for (const char *c = text; *c != '\0'; c++) {
        digest = (digest ^ (flags << 8 | (unsigned char)*c)) * UINT64_C(0x100000001b3);
    }
    return digest;
}

/* The coordinator keeps one text a digest and reads from it who is held to be down and with whom a
 * meeting has not ended, too: views that differ in that are different texts. A node that is being
 * met has another id at each try, so it is known by its address. */
static uint64_t text_digest(const struct nodes_view *view)
{
    uint64_t digest = nodes_view_digest(view);
    for (int i = 0; i < view->row_count; i++) {
        const struct nodes_row *row = &view->rows[i];
        uint64_t down = row->flags & (NODES_FLAG_FAIL | NODES_FLAG_PFAIL);
        if ((row->flags & NODES_FLAG_HANDSHAKE) != 0) {
            digest = mix(digest, (uint64_t)NODES_FLAG_HANDSHAKE << 16 | row->port, row->host);
        } else if (down != 0) {
            digest = mix(digest, down, row->id.text);
        }
    }
    return digest == 0 ? 1 : digest;
}

static void read_view(struct node_report *report, const struct nodes_view *view)
{
    if (view->myself != NODES_NO_ROW) {
        report->id = view->rows[view->myself].id;
        report->slots_owned = view->rows[view->myself].slot_count;
        report->config_epoch = (int64_t)view->rows[view->myself].config_epoch;
    }
    report->view_digest = text_digest(view);
    free(report->open_slots);
    report->open_slots = NULL;
    report->open_slot_count =
        view->open_count < OPEN_SLOTS_REPORTED_MAX ? view->open_count : OPEN_SLOTS_REPORTED_MAX;
    if (report->open_slot_count > 0) {
        report->open_slots =
            xmemdup(view->opens, (size_t)report->open_slot_count * sizeof(*view->opens));
    }
    read_links(report, view);
}

const struct probe_node *probe_find_view(const struct probe *probe, uint64_t digest)
{
    for (int i = 0; i < probe->count; i++) {
        if (probe->nodes[i].report.view_digest == digest && probe->nodes[i].text.len > 0) {
            return &probe->nodes[i];
        }
    }
    return NULL;
}

const struct owned_watch *probe_owned(const struct probe *probe, const struct node_id *id)
{
    for (int i = 0; i < probe->count; i++) {
        const struct probe_node *node = &probe->nodes[i];
        if (node->owned != NULL && !node->is_alias && node_id_is_equal(&node->report.id, id)) {
            return node->owned;
        }
    }
    return NULL;
}

bool probe_is_view_due(const struct probe *probe, uint64_t digest)
{
    for (int i = 0; i < probe->count; i++) {
        if (probe->nodes[i].report.view_digest == digest && probe->nodes[i].text_hash == 0) {
            return true;
        }
    }
    return false;
}

void probe_want_view(struct probe *probe, uint64_t digest, int64_t now_ms)
{
    for (int i = 0; i < probe->count && probe_find_view(probe, digest) == NULL; i++) {
        if (probe->nodes[i].report.view_digest == digest) {
            probe->nodes[i].text_hash = 0;
            probe->nodes[i].due_ms = now_ms;
            return;
        }
    }
}

/* Nodes that a fresh view names and nobody asks yet, when this agent serves all. */
static void learn(struct probe *probe, const struct nodes_view *view, int64_t now_ms)
{
    for (int i = 0; i < view->row_count; i++) {
        const struct nodes_row *row = &view->rows[i];
        int unreal = NODES_FLAG_HANDSHAKE | NODES_FLAG_NOADDR;
        bool is_known = (row->flags & unreal) != 0;
        for (int k = 0; k < probe->count && !is_known; k++) {
            is_known = node_id_is_equal(&probe->nodes[k].report.id, &row->id);
        }
        if (!is_known) {
            struct address address;
            nodes_row_address(row, &address);
            probe_add(probe, &address, PROBE_LEARNED, now_ms);
        }
    }
}

/* A learned node that does not answer and that this fresh view does not list has left the cluster.
 */
static void unlearn(struct probe *probe, const struct nodes_view *view)
{
    for (int i = probe->count - 1; i >= 0; i--) {
        struct probe_node *node = &probe->nodes[i];
        bool is_lost = node->origin == PROBE_LEARNED && node->failures >= PROBE_LOST_AFTER &&
                       node->facts_req == 0 && node->ping_req == 0;
        if (is_lost && nodes_view_find(view, &node->report.id) == NODES_NO_ROW) {
            node_release(node);
            probe->count--;
            memmove(node, node + 1, (size_t)(probe->count - i) * sizeof(*node));
        }
    }
}

/* Parses a view whose text has changed. 'index' and not a pointer: learning may move the array. */
static int read_text(struct probe *probe,
                     int index,
                     const struct agent_event *ev,
                     uint64_t hash,
                     struct err *err)
{
    struct nodes_view view = {0};
    const struct reply *reply = &ev->replies->replies[FACTS_COMMANDS - 1];
    int code = nodes_view_parse(&view, reply->text, reply->len, err);
    if (code != 0) {
        return code;
    }
    struct probe_node *node = &probe->nodes[index];
    nodes_view_set_own_address(&view, &node->report.address);
    node->text_hash = hash;
    strbuf_clear(&node->text);
    read_view(&node->report, &view);
    if (node->owned != NULL) {
        owned_watch_see(node->owned, &view, ev->now_ms);
    }
    if (probe_find_view(probe, node->report.view_digest) == NULL) {
        strbuf_add(&node->text, reply->text, reply->len);
    } else {
        strbuf_release(&node->text);
    }
    if (probe->serves_all) {
        learn(probe, &view, ev->now_ms);
        unlearn(probe, &view);
    }
    nodes_view_release(&view);
    return 0;
}

static int read_facts(struct probe *probe, int index, const struct agent_event *ev, struct err *err)
{
    if (ev->code != 0) {
        const char *text =
            ev->err != NULL && ev->err->text[0] != '\0' ? ev->err->text : err_word(ev->code);
        return err_set(err, ev->code, "%s", text);
    }
    if (ev->replies->count != FACTS_COMMANDS) {
        return err_set(err, ERR_PROTOCOL, "%d answers to %d commands", ev->replies->count,
                       FACTS_COMMANDS);
    }
    const struct reply *replies = ev->replies->replies;
    for (int i = 0; i < FACTS_COMMANDS; i++) {
        if (reply_is_error(&replies[i])) {
            int code = redis_fault_of(&replies[i]) == FAULT_AUTH ? ERR_AUTH : ERR_REFUSED;
            return err_set(err, code, "%.120s", replies[i].text);
        }
    }
    struct info info;
    struct cluster_info cluster;
    int code = info_parse(&info, replies[0].text, replies[0].len, err);
    if (code == 0) {
        code = cluster_info_parse(&cluster, replies[1].text, replies[1].len, err);
    }
    if (code != 0) {
        return code;
    }
    struct node_report *report = &probe->nodes[index].report;
    read_info(report, &info);
    report->is_cluster_ok = cluster.is_state_ok;
    report->known_nodes = cluster.known_nodes;
    report->current_epoch = cluster.current_epoch;
    uint64_t hash = hash_text(replies[2].text, replies[2].len);
    if (!info_is_valkey_8(&info)) {
        free(probe->nodes[index].owned);
        probe->nodes[index].owned = NULL;
    } else if (probe->nodes[index].owned == NULL) {
        probe->nodes[index].owned = xcalloc(1, sizeof(struct owned_watch));
        probe->nodes[index].text_hash = 0; /* this view must be read */
    }
    if (hash == probe->nodes[index].text_hash) {
        if (probe->nodes[index].owned != NULL) {
            owned_watch_see_same(probe->nodes[index].owned, ev->now_ms);
        }
        return 0;
    }
    return read_text(probe, index, ev, hash, err);
}

static void log_change(const struct probe_node *node, bool was_reachable, struct agent_effects *fx)
{
    const struct node_report *report = &node->report;
    if (was_reachable == report->is_reachable && node->failures != 1) {
        return;
    }
    struct agent_effect *effect = agent_effects_add(fx, AGENT_FX_LOG);
    char address[ADDRESS_TEXT_SIZE];
    log_event_init(&effect->log, report->is_reachable ? LOG_INFO : LOG_WARN,
                   report->is_reachable ? "node.reached" : "node.lost");
    log_event_add(&effect->log, "address", address_format(&report->address, address));
    log_event_add(&effect->log, "node", report->id.text);
    if (!report->is_reachable) {
        log_event_add(&effect->log, "reason", report->reason);
    }
}

/* Of two entries for one node the better known one stays: configured before found before told
 * before learned. When that one is lost, the others are asked again. */
static void mark_aliases(struct probe *probe, const struct probe_node *heard, int64_t now_ms)
{
    if (node_id_is_empty(&heard->report.id)) {
        return;
    }
    struct probe_node *best = NULL;
    for (int i = 0; i < probe->count; i++) {
        struct probe_node *node = &probe->nodes[i];
        bool is_same = node_id_is_equal(&node->report.id, &heard->report.id);
        if (is_same && node->report.is_reachable && (best == NULL || node->origin < best->origin)) {
            best = node;
        }
    }
    for (int i = 0; i < probe->count; i++) {
        struct probe_node *node = &probe->nodes[i];
        if (node_id_is_equal(&node->report.id, &heard->report.id)) {
            bool is_alias = best != NULL && node != best && node->report.is_reachable;
            node->due_ms = node->is_alias && !is_alias ? now_ms : node->due_ms;
            node->is_alias = is_alias;
        }
    }
}

static struct probe_node *find_address(struct probe *probe, const struct address *address)
{
    for (int i = 0; i < probe->count; i++) {
        if (address_is_equal(&probe->nodes[i].report.address, address)) {
            return &probe->nodes[i];
        }
    }
    return NULL;
}

static void hear_facts(struct probe *probe,
                       int index,
                       const struct agent_event *ev,
                       struct agent_effects *fx)
{
    struct address address = probe->nodes[index].report.address;
    struct err err = {0};
    int code = read_facts(probe, index, ev, &err);
    struct probe_node *node =
        find_address(probe, &address); /* reading a view may add and drop nodes */
    CHECK(node != NULL);
    bool was_reachable = node->report.is_reachable;
    node->facts_req = 0;
    node->report.is_reachable = code == 0;
    if (code == 0) {
        node->failures = 0;
        node->answered_ms = ev->now_ms;
        set_reason(&node->report, 0, "");
    } else {
        node->failures++;
        set_reason(&node->report, code, err.text);
    }
    node->hurry = node->hurry == HURRY_ASKED ? HURRY_NONE : node->hurry;
    probe->has_news = true;
    log_change(node, was_reachable, fx);
    mark_aliases(probe, node, ev->now_ms);
}

bool probe_answer(struct probe *probe, const struct agent_event *event, struct agent_effects *fx)
{
    if (!request_ids_owns(&probe->ids, event->req_id)) {
        return false;
    }
    for (int i = 0; i < probe->count; i++) {
        struct probe_node *node = &probe->nodes[i];
        if (node->ping_req == event->req_id) {
            node->ping_req = 0;
            node->report.ping_us = event->code == 0 ? event->latency_us : -1;
            return true;
        }
        if (node->facts_req == event->req_id) {
            hear_facts(probe, i, event, fx);
            return true;
        }
    }
    return true;
}

/* ---- reporting ---- */

struct node_report *probe_reports(const struct probe *probe, int64_t now_ms, int *count)
{
    *count = 0;
    if (probe->count == 0) {
        return NULL;
    }
    struct node_report *reports = xcalloc((size_t)probe->count, sizeof(*reports));
    for (int i = 0; i < probe->count; i++) {
        const struct probe_node *node = &probe->nodes[i];
        if (node->is_alias) {
            continue;
        }
        struct node_report *report = &reports[(*count)++];
        *report = node->report;
        report->age_ms = node->answered_ms == NEVER ? -1 : now_ms - node->answered_ms;
        if (report->open_slot_count > 0) {
            report->open_slots = xmemdup(
                report->open_slots, (size_t)report->open_slot_count * sizeof(*report->open_slots));
        }
        if (report->link_down_count > 0) {
            report->links_down = xmemdup(
                report->links_down, (size_t)report->link_down_count * sizeof(*report->links_down));
        }
    }
    return reports;
}
