/* task_join.c — TASK_JOIN: a virgin node becomes a member of the peer's cluster.
 *
 * MEET with a node that owns slots or keys deletes live data, so the node must know nobody and hold
 * nothing, or be half way in already. Function libraries are copied before the first MEET: then
 * "everybody lists it" means that all is done. MEET answers OK whatever becomes of it, so only the
 * members' own views count. Members that do not hear of the node by gossip (it may be banned there)
 * are met directly. Source: docs/redis_facts.md 16, 17; facts F17, F18, F24, F27. */
#include "agent/core/task_parts.h"

#include <stdio.h>
#include <string.h>

/* A join takes 1 to 3 s; a handshake that a node timeout of 15 s delays, and its repetition, fit.
 */
#define JOIN_MS_MAX 60000
#define MEET_INTERVAL_MS 3000 /* a handshake that fails is given up after 1 s or a node timeout */
#define MEETS_AT_ONCE 32
#define BUMP_INTERVAL_MS 3000 /* nodes solve most collisions by themselves within that */
#define EMPTY_DUMP_SIZE 10    /* FUNCTION DUMP without a library: version and checksum */

enum join_act {
    JOIN_RIGHTS,
    JOIN_FUNCTIONS_OF_PEER,
    JOIN_FUNCTIONS_OF_NODE,
    JOIN_RESTORE,
    JOIN_MEET,
    JOIN_BUMP
};

/* ---- preflight ---- */

static bool is_member(const struct node_task *t)
{
    const struct nodes_row *row = task_row(&t->peer.view, &t->node_id);
    return row != NULL && (row->flags & NODES_FLAG_HANDSHAKE) == 0;
}

static bool versions_fit(struct node_task *t)
{
    char name[ADDRESS_TEXT_SIZE];
    const struct info *node = &t->node.info;
    const struct info *peer = &t->peer.info;
    int node_version = version_number(node->redis_version) / 100;
    int peer_version = version_number(peer->redis_version) / 100;
    if (node_version != 0 && peer_version != 0 && node_version < peer_version) {
        task_fail(t, ERR_VERSION,
                  "%s runs %s, older than the cluster's %s: it may not read its keys; upgrade it",
                  task_node_name(t, name), node->redis_version, peer->redis_version);
        return false;
    }
    if (peer->kind == SERVER_VALKEY && node->kind == SERVER_REDIS) {
        task_fail(t, ERR_VERSION,
                  "%s runs Redis %s, the cluster Valkey %s: it may not read its keys",
                  task_node_name(t, name), node->version, peer->version);
        return false;
    }
    return true;
}

/* Nodes it knows that are not of this cluster. */
static int count_strangers(const struct node_task *t)
{
    int count = 0;
    const struct nodes_view *view = &t->node.view;
    for (int i = 0; i < view->row_count; i++) {
        bool is_ghost = (view->rows[i].flags & NODES_FLAG_HANDSHAKE) != 0;
        bool is_known = task_row(&t->peer.view, &view->rows[i].id) != NULL;
        count += i != view->myself && !is_ghost && !is_known;
    }
    return count;
}

static bool is_virgin(struct node_task *t)
{
    char name[ADDRESS_TEXT_SIZE];
    task_node_name(t, name);
    const struct nodes_row *own = task_own_row(&t->node);
    int strangers = count_strangers(t);
    if (own->slot_count > 0) {
        task_fail(t, ERR_REFUSED,
                  "%s owns %d slots already: joining it would delete keys; take an empty node%s",
                  name, own->slot_count,
                  strangers > 0 ? "" : ", or FLUSHALL and CLUSTER RESET HARD it");
    } else if (strangers > 0) {
        task_fail(t, ERR_REFUSED,
                  "%s belongs to another cluster, of %d nodes: remove it there, or CLUSTER RESET "
                  "HARD it",
                  name, strangers + 1);
    } else if ((own->flags & NODES_FLAG_PRIMARY) == 0) {
        task_fail(t, ERR_REFUSED, "%s is a replica already: CLUSTER RESET HARD it first", name);
    } else if (t->node.keys > 0) {
        task_fail(t, ERR_REFUSED, "%s holds %lld keys: FLUSHALL it, or take an empty node", name,
                  (long long)t->node.keys);
    } else {
        return true;
    }
    return false;
}

static bool is_loading(const struct task_end *end)
{
    return end->is_loading && !end->has_view;
}

static bool join_judge(struct node_task *t, struct agent_effects *fx)
{
    (void)fx;
    if (t->join.give_up_ms == 0) {
        t->join.give_up_ms = t->now_ms + JOIN_MS_MAX;
    }
    if (t->join.is_undoing) {
        t->join.is_in_use = false;
        t->join.is_greeted = false;
        return true;
    }
    if (is_loading(&t->node) || is_loading(&t->peer)) {
        t->join.give_up_ms = t->now_ms + JOIN_MS_MAX; /* that has a limit of its own */
    }
    if (t->is_stopping) { /* not the first time: has_met, else it would have been stopped */
        task_join_give_up(t, RUNNER_STOPPED, 0);
        return false;
    }
    if (t->now_ms >= t->join.give_up_ms) {
        char text[TEXT_SIZE];
        (void)snprintf(text, sizeof(text), "%s", t->doing);
        task_say(t, "not in within %d s; is its bus port open to all? %.100s", JOIN_MS_MAX / 1000,
                 text);
        task_join_give_up(t, RUNNER_FAILED, ERR_TIMEOUT);
        return false;
    }
    if (!task_peer_is_there(t) || !task_node_is_there(t)) {
        return false;
    }
    t->node_id = task_own_row(&t->node)->id;
    if (node_id_is_equal(&t->node_id, &task_own_row(&t->peer)->id)) {
        task_fail(t, ERR_INVALID, "the node and its peer are the same node %.12s", t->node_id.text);
        return false;
    }
    /* Half way in it may know nodes that have left the cluster since. */
    return versions_fit(t) && (is_member(t) || t->join.has_met || is_virgin(t));
}

static void join_hear_view(struct node_task *t,
                           struct task_member *member,
                           const struct nodes_view *view)
{
    task_hear_membership(t, member, view);
    if (!t->join.is_undoing) {
        return;
    }
    task_undo_hear_view(t, member, view);
}

/* ---- functions ---- */

static void ask_functions(struct node_task *t,
                          struct agent_effects *fx,
                          enum join_act act,
                          const struct address *address)
{
    struct command_list *commands = task_act(t, fx, (int)act, address, TASK_SLOW_TIMEOUT_MS);
    commands_add(commands, "FUNCTION", "DUMP", (char *)NULL);
}

static void restore_functions(struct node_task *t, struct agent_effects *fx)
{
    task_say(t, "copies the function libraries");
    struct command_list *commands =
        task_act(t, fx, JOIN_RESTORE, &t->node.address, TASK_SLOW_TIMEOUT_MS);
    commands_begin(commands);
    commands_arg_text(commands, "FUNCTION");
    commands_arg_text(commands, "RESTORE");
    commands_arg(commands, t->join.dump.data, t->join.dump.len);
}

static void hear_node_functions(struct node_task *t, const struct reply *reply)
{
    char name[ADDRESS_TEXT_SIZE];
    const struct strbuf *dump = &t->join.dump;
    bool is_same = reply->len == dump->len && memcmp(reply->text, dump->data, dump->len) == 0;
    bool has_none = reply->len <= EMPTY_DUMP_SIZE;
    if (is_same || (has_none && dump->len <= EMPTY_DUMP_SIZE)) {
        t->join.functions = FUNCTIONS_SAME;
    } else if (has_none) {
        t->join.functions = FUNCTIONS_TO_COPY;
    } else {
        task_fail(t, ERR_REFUSED,
                  "%s has function libraries that differ from the cluster's: FUNCTION FLUSH it",
                  task_node_name(t, name));
    }
}

static bool has_no_functions(const struct reply *reply)
{
    return reply_is_error(reply) && (reply_contains(reply, "unknown command") ||
                                     reply_contains(reply, "unknown subcommand"));
}

/* It was restarted since the look, and loads: the next look says how long that is waited for. */
static void wait_for_server(struct node_task *t, const char *what, const struct reply *error)
{
    task_say(t, "%s: %.120s", what, error->text);
    task_rest_after(t);
}

static void hear_functions(struct node_task *t, enum join_act act, const struct agent_event *ev)
{
    if (ev->code != 0 || ev->replies->count != 1) {
        /* Asked again next round; what was to be copied may be there already. */
        t->join.functions = act == JOIN_RESTORE ? FUNCTIONS_UNKNOWN : t->join.functions;
        return;
    }
    const struct reply *reply = &ev->replies->replies[0];
    /* NOLINTNEXTLINE(bugprone-branch-clone): the last case is another one */
    if (has_no_functions(reply)) {
        t->join.functions = FUNCTIONS_SAME;
    } else if (redis_fault_of(reply) == FAULT_WAIT) {
        wait_for_server(t, "copying the function libraries", reply);
    } else if (reply_is_error(reply)) {
        task_fail(t, redis_fault_of(reply) == FAULT_AUTH ? ERR_AUTH : ERR_REFUSED,
                  "copying the function libraries: %s", reply->text);
    } else if (act == JOIN_FUNCTIONS_OF_PEER) {
        strbuf_clear(&t->join.dump);
        strbuf_add(&t->join.dump, reply->text, reply->len);
    } else if (act == JOIN_FUNCTIONS_OF_NODE) {
        hear_node_functions(t, reply);
    } else {
        t->join.functions = FUNCTIONS_SAME;
    }
}

static void run_functions(struct node_task *t, struct agent_effects *fx)
{
    if (t->join.functions == FUNCTIONS_TO_COPY) {
        restore_functions(t, fx);
    } else if (t->join.dump.len == 0) {
        task_say(t, "reads the function libraries");
        ask_functions(t, fx, JOIN_FUNCTIONS_OF_PEER, &t->peer.address);
    } else {
        ask_functions(t, fx, JOIN_FUNCTIONS_OF_NODE, &t->node.address);
    }
}

/* ---- meeting ---- */

static void meet_by_node(struct node_task *t, struct agent_effects *fx)
{
    struct command_list *commands =
        task_act(t, fx, JOIN_MEET, &t->node.address, TASK_ASK_TIMEOUT_MS);
    const struct node_id *peer = &task_own_row(&t->peer)->id;
    task_words_meet(commands, task_meet_host(&t->peer), t->peer.address.port,
                    task_bus_port(&t->peer));
    int count = 1;
    for (int i = 0; t->join.meets > 0 && i < t->member_count && count < MEETS_AT_ONCE; i++) {
        const struct nodes_row *row = task_row(&t->peer.view, &t->members[i].id);
        bool is_peer = node_id_is_equal(&t->members[i].id, peer);
        if (!t->members[i].is_linked && !t->members[i].is_lost && row != NULL && !is_peer) {
            task_words_meet(commands, row->host, row->port, row->bus_port);
            count++;
        }
    }
}

/* From the node first: it is the newcomer's connection that proves who it is. Later from the peer
 * as well, in case only that way is open. */
static void meet(struct node_task *t, struct agent_effects *fx)
{
    meet_by_node(t, fx);
    if (t->join.meets > 0) {
        task_words_meet(task_act(t, fx, JOIN_MEET, &t->peer.address, TASK_ASK_TIMEOUT_MS),
                        task_meet_host(&t->node), t->node.address.port, task_bus_port(&t->node));
    }
    task_log(t, fx, LOG_INFO, "task.meet");
    t->join.meets++;
    t->join.has_met = true;
    t->join.next_meet_ms = t->now_ms + MEET_INTERVAL_MS;
    task_rest_after(t);
}

static void join_hear_act(struct node_task *t,
                          const struct task_request *request,
                          const struct agent_event *ev,
                          struct agent_effects *fx)
{
    (void)fx;
    enum join_act act = (enum join_act)request->index;
    const struct reply *error = ev->code == 0 ? task_first_error(ev) : NULL;
    switch (act) {
    case JOIN_RIGHTS:
        task_rights_hear(t, ev);
        break;
    case JOIN_FUNCTIONS_OF_PEER:
    case JOIN_FUNCTIONS_OF_NODE:
    case JOIN_RESTORE:
        hear_functions(t, act, ev);
        break;
    case JOIN_MEET:
        if (error == NULL || t->join.is_undoing) {
            break;
        }
        if (redis_fault_of(error) == FAULT_WAIT) {
            wait_for_server(t, "CLUSTER MEET", error);
            break;
        }
        task_say(t, "CLUSTER MEET was refused: %s", error->text);
        task_join_give_up(t, RUNNER_FAILED, ERR_REFUSED);
        break;
    case JOIN_BUMP:
        break;
    }
}

/* ---- config epoch ---- */

static bool is_epoch_unique(const struct node_task *t)
{
    const struct nodes_row *own = task_own_row(&t->node);
    for (int i = 0; i < t->node.view.row_count; i++) {
        const struct nodes_row *row = &t->node.view.rows[i];
        bool is_other = (row->flags & NODES_FLAG_PRIMARY) != 0 &&
                        (row->flags & NODES_FLAG_HANDSHAKE) == 0 && row != own;
        if (is_other && row->config_epoch == own->config_epoch) {
            return false;
        }
    }
    return true;
}

static void bump(struct node_task *t, struct agent_effects *fx)
{
    task_say(t, "gets a config epoch of its own");
    if (t->now_ms < t->join.next_bump_ms) {
        task_rest(t);
        return;
    }
    t->join.next_bump_ms = t->now_ms + BUMP_INTERVAL_MS;
    commands_add(task_act(t, fx, JOIN_BUMP, &t->node.address, TASK_ASK_TIMEOUT_MS), "CLUSTER",
                 "BUMPEPOCH", (char *)NULL);
    task_rest_after(t);
}

/* ---- deciding ---- */

static void join_decide(struct node_task *t, struct agent_effects *fx)
{
    char name[ADDRESS_TEXT_SIZE];
    if (t->join.is_undoing) {
        task_undo_decide(t, fx);
        return;
    }
    const struct nodes_row *own = task_own_row(&t->node);
    const struct task_member *unknown = task_unknown_member(t);
    bool is_listed = t->complaint_count == 0 && unknown == NULL;
    bool is_primary = (own->flags & NODES_FLAG_PRIMARY) != 0;
    if (!is_member(t) && t->join.rights != RIGHTS_HELD) {
        task_rights_run(t, fx, JOIN_RIGHTS);
    } else if (!is_member(t) && t->join.functions != FUNCTIONS_SAME) {
        run_functions(t, fx);
    } else if (is_listed && is_primary && !is_epoch_unique(t)) {
        bump(t, fx);
    } else if (is_listed) {
        task_say(t, "joined: all %d members list it", t->member_count);
        task_done(t);
    } else {
        if (t->complaint_count > 0) {
            task_say(t, "joins: %s", t->complaint);
        } else {
            task_say(t, "joins: the new node has no link to member %s yet",
                     task_name(name, &unknown->id, &unknown->address));
        }
        if (t->now_ms >= t->join.next_meet_ms) {
            meet(t, fx);
        } else {
            task_rest(t);
        }
    }
}

static bool join_may_stop(const struct node_task *t)
{
    return !t->join.has_met;
}

const struct task_rules task_join_rules = {
    .judge = join_judge,
    .hear_view = join_hear_view,
    .decide = join_decide,
    .hear_act = join_hear_act,
    .may_stop = join_may_stop,
};
