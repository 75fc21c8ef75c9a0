/* observe.c — see observe.h. */
#include "coordinator/core/observe.h"

#include "common/base/alloc.h"
#include "common/base/check.h"
#include "coordinator/core/state.h"

#include <stdlib.h>
#include <string.h>

void observe_init(struct observe *observe)
{
    *observe = (struct observe){.built_ms = NEVER, .unserved_since_ms = NEVER};
    topology_init(&observe->topology);
}

static void drop_views(struct observe *observe)
{
    for (int i = 0; i < observe->view_count; i++) {
        nodes_view_release(observe->views[i].view);
        free(observe->views[i].view);
    }
    free(observe->views);
    observe->views = NULL;
    observe->view_count = 0;
}

void observe_release(struct observe *observe)
{
    drop_views(observe);
    free(observe->successions);
    free(observe->lineages);
    free(observe->last_views);
    free(observe->wishes);
    strbuf_release(&observe->unsettled);
    topology_release(&observe->topology);
    *observe = (struct observe){0};
}

void observe_reset(struct observe *observe)
{
    observe_release(observe);
    observe_init(observe);
}

/* ---- views ---- */

static int find_view(const struct observe *observe, uint64_t digest)
{
    for (int i = 0; i < observe->view_count; i++) {
        if (observe->views[i].digest == digest) {
            return i;
        }
    }
    return -1;
}

static void forget_wanted(struct observe *observe, uint64_t digest)
{
    for (int i = 0; i < observe->wanted_count; i++) {
        if (observe->wanted[i].digest == digest) {
            observe->wanted[i] = observe->wanted[--observe->wanted_count];
            return;
        }
    }
}

/* A node that never met another does not name its own address; its agent does. */
static void complete_view(struct coordinator *c,
                          const struct report *report,
                          const struct view_text *text,
                          struct nodes_view *view)
{
    const struct agent_entry *agent = registry_find(&c->registry, &report->agent);
    for (int i = 0; agent != NULL && i < agent->node_count; i++) {
        if (node_id_is_equal(&agent->nodes[i].id, &text->node)) {
            nodes_view_set_own_address(view, &agent->nodes[i].address);
        }
    }
}

static bool has_room(const struct observe *observe, const struct nodes_view *view)
{
    int big = 0;
    for (int i = 0; i < observe->view_count; i++) {
        big += observe->views[i].view->row_count > SMALL_VIEW_ROWS ? 1 : 0;
    }
    return observe->view_count < TOPOLOGY_VIEWS_MAX &&
           (view->row_count <= SMALL_VIEW_ROWS || big < VIEWS_KEPT_MAX);
}

static void keep_view(struct coordinator *c,
                      const struct report *report,
                      const struct view_text *text)
{
    struct observe *observe = &c->observe;
    if (text->digest == 0 || find_view(observe, text->digest) >= 0) {
        return;
    }
    struct nodes_view *view = xcalloc(1, sizeof(*view));
    struct err err = {0};
    if (text->len > VIEW_TEXT_SIZE_MAX ||
        nodes_view_parse(view, text->text, text->len, &err) != 0) {
        struct log_event *log = turn_log(&c->turn, EVENT_VIEW_REFUSED);
        log_event_add(log, "agent", report->agent.text);
        log_event_add(log, "node", text->node.text);
        log_event_add(log, "text", err.code != 0 ? err.text : "too long");
        free(view);
        return; /* stays wanted and is asked for again after a while */
    }
    if (!has_room(observe, view)) {
        nodes_view_release(view);
        free(view);
        return;
    }
    complete_view(c, report, text, view);
    observe->views =
        xreallocarray(observe->views, (size_t)observe->view_count + 1, sizeof(*observe->views));
    observe->views[observe->view_count++] =
        (struct kept_view){.digest = text->digest, .view = view, .is_used = true};
    observe->is_dirty = true;
}

void observe_views(struct coordinator *c, const struct report *report)
{
    for (int i = 0; i < report->view_count; i++) {
        forget_wanted(&c->observe, report->views[i].digest);
        keep_view(c, report, &report->views[i]);
    }
}

static void drop_unused_views(struct observe *observe)
{
    int kept = 0;
    for (int i = 0; i < observe->view_count; i++) {
        if (observe->views[i].is_used) {
            observe->views[kept++] = observe->views[i];
        } else {
            nodes_view_release(observe->views[i].view);
            free(observe->views[i].view);
        }
    }
    observe->view_count = kept;
}

/* ---- picking the best report of each node ---- */

struct candidate {
    struct topology_seen seen;
    bool is_own; /* the agent found it by itself: most likely it runs on the same host */
};

/* By id; then the better one first: youngest class, own host, lowest agent. */
static int candidate_compare(const void *left, const void *right)
{
    const struct candidate *a = left;
    const struct candidate *b = right;
    int order = node_id_compare(&a->seen.report->id, &b->seen.report->id);
    if (order != 0) {
        return order;
    }
    if (a->seen.report->is_reachable != b->seen.report->is_reachable) {
        return a->seen.report->is_reachable ? -1 : 1;
    }
    if (a->is_own != b->is_own) {
        return a->is_own ? -1 : 1;
    }
    return strcmp(a->seen.agent.text, b->seen.agent.text);
}

static int collect(const struct coordinator *c, struct candidate **out)
{
    int count = 0;
    int capacity = 0;
    struct candidate *items = NULL;
    for (int i = 0; i < c->registry.count; i++) {
        const struct agent_entry *agent = c->registry.entries[i];
        if (!agent_is_connected(c, agent)) {
            continue;
        }
        int64_t waited_ms = c->turn.now_ms - agent->nodes_received_ms;
        for (int n = 0; n < agent->node_count; n++) {
            const struct node_report *report = &agent->nodes[n];
            if (node_id_is_empty(&report->id)) {
                continue;
            }
            ARRAY_RESERVE(items, count, capacity);
            items[count++] = (struct candidate){
                .seen = {.report = report,
                         .agent = agent->id,
                         .age_ms = report->age_ms + waited_ms,
                         .is_guest = observe_is_wished(c, &report->address)},
                .is_own = !agent_is_assigned(agent, &report->address),
            };
        }
    }
    if (count > 1) {
        qsort(items, (size_t)count, sizeof(*items), candidate_compare);
    }
    int kept = 0;
    for (int i = 0; i < count; i++) {
        if (kept == 0 ||
            !node_id_is_equal(&items[kept - 1].seen.report->id, &items[i].seen.report->id)) {
            items[kept++] = items[i];
        }
    }
    *out = items;
    return kept < TOPOLOGY_NODES_MAX ? kept : TOPOLOGY_NODES_MAX;
}

/* ---- who took over from whom ---- */

static void add_succession(struct observe *observe,
                           const struct node_id *from,
                           const struct node_id *to)
{
    for (int i = 0; i < observe->succession_count; i++) {
        if (node_id_is_equal(&observe->successions[i].from, from)) {
            observe->successions[i].to = *to;
            return;
        }
    }
    if (observe->successions == NULL) {
        observe->successions = xcalloc(SUCCESSIONS_MAX, sizeof(*observe->successions));
    }
    if (observe->succession_count == SUCCESSIONS_MAX) {
        observe->succession_count--;
        memmove(observe->successions, observe->successions + 1,
                (size_t)observe->succession_count * sizeof(*observe->successions));
    }
    observe->successions[observe->succession_count++] =
        (struct succession){.from = *from, .to = *to};
}

static void forget_succession(struct observe *observe, const struct node_id *from)
{
    for (int i = 0; i < observe->succession_count; i++) {
        if (node_id_is_equal(&observe->successions[i].from, from)) {
            observe->succession_count--;
            memmove(&observe->successions[i], &observe->successions[i + 1],
                    (size_t)(observe->succession_count - i) * sizeof(*observe->successions));
            return;
        }
    }
}

static const struct lineage *find_lineage(const struct observe *observe, const struct node_id *node)
{
    int low = 0;
    int high = observe->lineage_count;
    while (low < high) {
        int middle = low + (high - low) / 2;
        int order = node_id_compare(&observe->lineages[middle].node, node);
        if (order == 0) {
            return &observe->lineages[middle];
        }
        if (order < 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return NULL;
}

/* A node that was a replica when last seen and is a primary with slots now, while its old primary
 * has none, has taken over. In between it may be seen as a primary without slots: its views are
 * slower than its role. */
static bool is_lineage_kept(struct observe *observe,
                            const struct topology_node *node,
                            struct lineage *out)
{
    if (node->role == NODE_ROLE_REPLICA && node->primary != NO_NODE) {
        *out = (struct lineage){.node = node->id,
                                .primary = observe->topology.nodes[node->primary].id};
        return true;
    }
    const struct lineage *was = find_lineage(observe, &node->id);
    if (was == NULL) {
        return false;
    }
    *out = *was;
    if (node->role != NODE_ROLE_PRIMARY || node->slot_count == 0) {
        return true;
    }
    int old = topology_find(&observe->topology, &was->primary);
    if (old == NO_NODE || observe->topology.nodes[old].slot_count == 0) {
        add_succession(observe, &was->primary, &node->id);
    }
    return false;
}

static void note_successions(struct observe *observe)
{
    const struct topology *topology = &observe->topology;
    if (topology->node_count == 0) {
        return; /* no agent is heard: what was known stays known */
    }
    struct lineage *kept = xcalloc((size_t)topology->node_count, sizeof(*kept));
    int count = 0;
    for (int i = 0; i < topology->node_count; i++) {
        const struct topology_node *node = &topology->nodes[i];
        if (node->role == NODE_ROLE_PRIMARY && node->slot_count > 0) {
            forget_succession(observe, &node->id);
        }
        if (is_lineage_kept(observe, node, &kept[count])) {
            count++;
        }
    }
    free(observe->lineages);
    observe->lineages = kept;
    observe->lineage_count = count;
}

const struct node_id *observe_successor(const struct observe *observe, const struct node_id *id)
{
    const struct node_id *found = NULL;
    for (int hops = 0; hops <= observe->succession_count; hops++) {
        const struct node_id *next = NULL;
        for (int i = 0; i < observe->succession_count; i++) {
            if (node_id_is_equal(&observe->successions[i].from, found != NULL ? found : id)) {
                next = &observe->successions[i].to;
            }
        }
        if (next == NULL) {
            break;
        }
        found = next;
    }
    return found;
}

/* ---- views that are lacking, nodes that nobody serves ---- */

static bool is_wanted(const struct observe *observe, uint64_t digest)
{
    for (int i = 0; i < observe->wanted_count; i++) {
        if (observe->wanted[i].digest == digest) {
            return true;
        }
    }
    return false;
}

static void want_view(struct coordinator *c, uint64_t digest, const struct agent_id *from)
{
    struct observe *observe = &c->observe;
    if (digest == 0 || observe->wanted_count == VIEWS_WANTED_MAX || is_wanted(observe, digest)) {
        return;
    }
    struct agent_entry *agent = registry_find(&c->registry, from);
    if (agent == NULL) {
        return;
    }
    observe->wanted[observe->wanted_count++] =
        (struct wanted_view){.digest = digest, .agent = *from, .asked_ms = NEVER};
    agent->has_news = true;
}

static void drop_stale_wanted(struct coordinator *c, const struct candidate *items, int count)
{
    struct observe *observe = &c->observe;
    for (int i = observe->wanted_count - 1; i >= 0; i--) {
        const struct wanted_view *wanted = &observe->wanted[i];
        bool is_named = false;
        for (int n = 0; n < count && !is_named; n++) {
            is_named = items[n].seen.report->view_digest == wanted->digest;
        }
        bool is_late =
            wanted->asked_ms != NEVER && c->turn.now_ms - wanted->asked_ms >= VIEW_ASK_AGAIN_MS;
        if (!is_named || is_late || registry_find(&c->registry, &wanted->agent) == NULL) {
            observe->wanted[i] = observe->wanted[--observe->wanted_count];
        }
    }
}

/* The last known digest of a node, 0 if none. Both lists are in order of id. */
static uint64_t last_digest(const struct observe *observe, const struct node_id *id)
{
    int low = 0;
    int high = observe->last_view_count;
    while (low < high) {
        int middle = low + (high - low) / 2;
        int order = node_id_compare(&observe->last_views[middle].node, id);
        if (order == 0) {
            return observe->last_views[middle].digest;
        }
        if (order < 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return 0;
}

/* Gives every report a view that we have: its own, or the node's last one. 'reports' are copies
 * that we may change. */
static void choose_views(struct coordinator *c,
                         const struct candidate *items,
                         int count,
                         struct node_report *reports)
{
    struct observe *observe = &c->observe;
    struct last_view *last = xcalloc((size_t)count + 1, sizeof(*last));
    int last_count = 0;
    observe->views_stale = 0;
    for (int i = 0; i < count; i++) {
        reports[i] = *items[i].seen.report;
        int view = find_view(observe, reports[i].view_digest);
        if (view < 0 && reports[i].view_digest != 0) {
            want_view(c, reports[i].view_digest, &items[i].seen.agent);
            uint64_t digest = last_digest(observe, &reports[i].id);
            view = digest != 0 ? find_view(observe, digest) : -1;
            if (view >= 0) {
                reports[i].view_digest = digest;
                observe->views_stale++;
            }
        }
        if (view >= 0) {
            observe->views[view].is_used = true;
            last[last_count++] =
                (struct last_view){.node = reports[i].id, .digest = reports[i].view_digest};
        }
    }
    free(observe->last_views);
    observe->last_views = last;
    observe->last_view_count = last_count;
}

static int build_topology(struct coordinator *c,
                          const struct candidate *items,
                          int count,
                          struct topology *out)
{
    struct observe *observe = &c->observe;
    for (int i = 0; i < observe->view_count; i++) {
        observe->views[i].is_used = false;
    }
    drop_stale_wanted(c, items, count);
    struct topology_seen *seen = xcalloc((size_t)count + 1, sizeof(*seen));
    struct node_report *reports = xcalloc((size_t)count + 1, sizeof(*reports));
    choose_views(c, items, count, reports);
    for (int i = 0; i < count; i++) {
        seen[i] = items[i].seen;
        seen[i].report = &reports[i];
    }
    drop_unused_views(observe);
    const struct nodes_view **views = xcalloc((size_t)observe->view_count + 1, sizeof(*views));
    uint64_t *digests = xcalloc((size_t)observe->view_count + 1, sizeof(*digests));
    for (int i = 0; i < observe->view_count; i++) {
        views[i] = observe->views[i].view;
        digests[i] = observe->views[i].digest;
    }
    struct topology_input input = {
        .seen = seen,
        .seen_count = count,
        .views = views,
        .view_digests = digests,
        .view_count = observe->view_count,
        .age_ms_max = AGENT_LOST_REPORTS * c->config.report_interval_ms + AGENT_SLACK_MS,
    };
    struct err err = {0};
    int code = topology_build(out, &input, &err);
    if (code != 0) {
        log_event_add(turn_log(&c->turn, EVENT_VIEW_REFUSED), "text", err.text);
    }
    free(seen);
    free(reports);
    free(views);
    free(digests);
    return code;
}

/* ---- the build ---- */

static void note_settled(struct coordinator *c)
{
    struct observe *observe = &c->observe;
    bool was_settled = observe->is_settled;
    strbuf_clear(&observe->unsettled);
    observe->is_settled = topology_is_settled(&observe->topology, &observe->unsettled);
    if (observe->is_settled && observe->views_stale > 0) {
        observe->is_settled = false;
        strbuf_addf(&observe->unsettled, "%d nodes have changed their view a moment ago",
                    observe->views_stale);
    }
    if (observe->is_settled != was_settled && executor_active(c) == NULL) {
        struct log_event *log = turn_log(
            &c->turn, observe->is_settled ? EVENT_TOPOLOGY_SETTLED : EVENT_TOPOLOGY_UNSETTLED);
        if (!observe->is_settled) {
            log_event_add(log, "text", strbuf_text(&observe->unsettled));
        } else {
            log_event_add_int(log, "nodes", observe->topology.node_count);
        }
    }
}

static int64_t build_due_ms(const struct coordinator *c)
{
    if (!c->observe.is_dirty) {
        return NEVER;
    }
    if (c->observe.built_ms == NEVER) {
        return c->turn.now_ms;
    }
    int64_t interval_ms = TOPOLOGY_IDLE_INTERVAL_MS;
    if (executor_active(c) != NULL) {
        interval_ms = TOPOLOGY_NODE_MS * (int64_t)c->observe.topology.node_count;
        interval_ms = interval_ms < TOPOLOGY_INTERVAL_MS ? interval_ms : TOPOLOGY_INTERVAL_MS;
    }
    return c->observe.built_ms + interval_ms;
}

void observe_tick(struct coordinator *c, bool is_now)
{
    struct observe *observe = &c->observe;
    if (!observe->is_dirty || (!is_now && c->turn.now_ms < build_due_ms(c))) {
        return;
    }
    struct candidate *items = NULL;
    int count = collect(c, &items);
    struct topology built;
    topology_init(&built);
    if (build_topology(c, items, count, &built) == 0) {
        topology_release(&observe->topology);
        observe->topology = built;
        note_successions(observe);
        observe->digest = topology_digest(&observe->topology);
        note_settled(c);
    } else {
        topology_release(&built);
    }
    free(items);
    observe->is_dirty = false;
    observe->built_ms = c->turn.now_ms;
    observe->builds++;
    observe_assign(c);
    c->executor.is_dirty = true;
}

int64_t observe_deadline(const struct coordinator *c)
{
    return build_due_ms(c);
}

bool observe_is_fresh(const struct coordinator *c, int node, int64_t since_ms)
{
    const struct topology_node *seen = &c->observe.topology.nodes[node];
    return seen->is_reachable && seen->age_ms >= 0 &&
           c->observe.built_ms - seen->age_ms >= since_ms;
}
