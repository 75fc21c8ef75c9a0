/* task_leave.c — TASK_LEAVE: a node that nobody needs is forgotten by everybody, and stays away.
 *
 * The facts of the removal certificate are read in the round that acts: no slot and no replica in
 * any view, no key at the node. Then every member forgets it. They refuse it for 60 s after that;
 * one that was not told would bring it back to the others afterwards, so all are asked again when
 * the ban is over. The node itself still knows the cluster and redirects clients whose map is old;
 * only shortly before the ban ends is it reset, so that it knows nobody and has another id: once
 * reset it can but answer CLUSTERDOWN. A reset clears memory only: from its files a node that was a
 * replica last would read its keys again when it is switched on, and claim their slots, so these
 * are emptied, too. A node that does not answer leaves only when it is ordered as dead, and one
 * that answers never as dead. Source: DESIGN 7; facts F19, F20 (docs/redis_facts.md 18). */
#include "agent/core/task_parts.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FORGETS_AT_ONCE 256
#define LINKS_MS_MAX 20000 /* a node timeout of 15 s until the others notice that it is gone */
#define REDIRECTS_MS 50000 /* after it was forgotten; the shortest ban lasts 60 s */
#define RETURNS_MAX 3
#define RESETS_MAX 5
#define WIPES_MAX 3

enum leave_act { LEAVE_RESET, LEAVE_FORGET, LEAVE_WIPE };

static bool is_dead(const struct node_task *t)
{
    return (t->task->flags & TASK_DEAD) != 0;
}

/* The node that is to leave answers. Another one at its address is none of ours. */
static bool is_itself(const struct node_task *t)
{
    const struct nodes_row *own = task_own_row(&t->node);
    return own != NULL && node_id_is_equal(&own->id, &t->task->node);
}

/* ---- judging ---- */

static void clear_facts(struct node_task *t)
{
    t->leave.slots = 0;
    t->leave.replicas = 0;
    t->leave.live_links = 0;
    t->leave.who[0] = '\0';
    task_unsettle(t);
}

/* The others know where it is when the order does not. False: it has to be asked first. */
static bool find_address(struct node_task *t)
{
    const struct nodes_row *row = task_row(&t->peer.view, &t->task->node);
    if (t->node.address.port != 0 || row == NULL || row->port == 0 || row->host[0] == '\0') {
        return true;
    }
    nodes_row_address(row, &t->node.address);
    task_rest_until(t, t->now_ms);
    return false;
}

static bool is_answer_clear(struct node_task *t)
{
    char name[ADDRESS_TEXT_SIZE];
    task_node_name(t, name);
    if (t->node.code == ERR_AUTH) {
        task_fail(t, ERR_AUTH, "%s refuses the login: %s", name, t->node.why);
    } else if (t->node.is_answered && !t->node.has_view && !t->node.is_standalone) {
        task_say(t, "waits for %s: %s", name, t->node.why);
        task_rest(t);
    } else if (is_dead(t) && is_itself(t) && !t->leave.has_begun) {
        task_fail(t, ERR_REFUSED, "%s is not dead, it answers: remove it without saying so", name);
    } else if (is_itself(t) && task_own_row(&t->node)->slot_count > 0) {
        task_fail(t, ERR_REFUSED, "%s still owns %d slots: drain it first", name,
                  task_own_row(&t->node)->slot_count);
    } else if (is_itself(t) && t->node.view.open_count > 0) {
        task_fail(t, ERR_REFUSED, "%s has %d open slots: finish or repair them first", name,
                  t->node.view.open_count);
    } else {
        return true;
    }
    return false;
}

static bool leave_judge(struct node_task *t, struct agent_effects *fx)
{
    (void)fx;
    if (!task_peer_is_there(t)) {
        return false;
    }
    if (node_id_is_equal(&task_own_row(&t->peer)->id, &t->task->node)) {
        task_fail(t, ERR_INVALID, "a node cannot be asked to forget itself: name another member");
        return false;
    }
    clear_facts(t);
    t->leave.is_reset_needed = is_itself(t) && !is_dead(t);
    return find_address(t) && is_answer_clear(t);
}

/* ---- views ---- */

PRINTF_LIKE(2, 3) static void note_user(struct node_task *t, const char *format, ...)
{
    if (t->leave.who[0] == '\0') {
        va_list args;
        va_start(args, format);
        (void)vsnprintf(t->leave.who, sizeof(t->leave.who), format, args);
        va_end(args);
    }
}

static int count_replicas(const struct node_task *t, const struct nodes_view *view)
{
    int count = 0;
    for (int i = 0; i < view->row_count; i++) {
        const struct nodes_row *row = &view->rows[i];
        bool is_replica = node_id_is_equal(&row->primary_id, &t->task->node);
        /* Of two dead nodes one has to be the first to go. */
        count += is_replica && !(is_dead(t) && (row->flags & NODES_FLAG_FAIL) != 0);
    }
    return count;
}

static void leave_hear_view(struct node_task *t,
                            struct task_member *member,
                            const struct nodes_view *view)
{
    char name[ADDRESS_TEXT_SIZE];
    task_name(name, &member->id, &member->address);
    const struct nodes_row *row = task_row(view, &t->task->node);
    int replicas = count_replicas(t, view);
    task_hear_membership(t, member, view);
    member->is_listing = row != NULL;
    if (row != NULL && row->slot_count > 0) {
        t->leave.slots += row->slot_count;
        note_user(t, "%s still shows it with %d slots: drain it first", name, row->slot_count);
    }
    if (replicas > 0) {
        t->leave.replicas += replicas;
        note_user(t, "%s still shows %d replicas of it: give them another primary", name, replicas);
    }
    t->leave.live_links += member->is_linked;
}

/* ---- deciding ---- */

/* The node is there and itself: the last look before the others forget it, or it is reset. */
static bool is_empty(struct node_task *t)
{
    char name[ADDRESS_TEXT_SIZE];
    task_node_name(t, name);
    bool is_primary = (task_own_row(&t->node)->flags & NODES_FLAG_PRIMARY) != 0;
    if (count_replicas(t, &t->node.view) > 0) {
        task_say(t, "%s itself shows replicas of it: give them another primary", name);
        task_wait(t, TASK_SETTLE_MS_MAX, "replicas left", ERR_REFUSED);
        return false;
    }
    if (is_primary && t->node.keys > 0) {
        task_say(t, "%s still holds %lld keys: move them, or FLUSHALL it", name,
                 (long long)t->node.keys);
        task_wait(t, TASK_SETTLE_MS_MAX, "keys left", ERR_REFUSED);
        return false;
    }
    return true;
}

static void reset(struct node_task *t, struct agent_effects *fx)
{
    task_say(t, "resets the node, so that it cannot come back");
    task_log(t, fx, LOG_INFO, "task.reset");
    t->leave.resets++;
    commands_add(task_act(t, fx, LEAVE_RESET, &t->node.address, TASK_SLOW_TIMEOUT_MS), "CLUSTER",
                 "RESET", "HARD", (char *)NULL);
}

/* Nobody else must keep it alive: neither the order nor a broken route of ours makes it dead. */
static bool is_gone(struct node_task *t, int listing)
{
    char name[ADDRESS_TEXT_SIZE];
    task_node_name(t, name);
    bool is_silent = !is_dead(t) && !t->node.has_view;
    if (t->leave.is_reset || (t->leave.has_begun && !is_silent) || listing == 0) {
        return true;
    }
    if (is_silent) {
        task_say(t, "%s does not answer (%.60s): start it, or remove it as dead", name,
                 t->node.why);
        task_wait(t, TASK_SILENCE_MS_MAX, "node silent", ERR_UNAVAILABLE);
        return false;
    }
    if (t->leave.live_links > 0) {
        task_say(t, "%d members still have a link to %s: it is not dead", t->leave.live_links,
                 name);
        task_wait(t, LINKS_MS_MAX, "still linked", ERR_REFUSED);
        return false;
    }
    return true;
}

static void forget(struct node_task *t, struct agent_effects *fx, int listing)
{
    task_say(t, "forgotten by %d of %d members", t->member_count - listing, t->member_count);
    if (t->leave.ban_until_ms != NEVER) {
        task_log(t, fx, LOG_WARN, "task.returned");
        t->leave.returns++;
        t->leave.ban_until_ms = NEVER;
    }
    if (t->leave.returns > RETURNS_MAX) {
        task_fail(t, ERR_CONFLICT, "it came back %d times: somebody still brings it in",
                  t->leave.returns);
        return;
    }
    t->leave.has_begun = true;
    for (int i = 0; i < t->member_count; i++) {
        if (t->members[i].is_listing && !t->members[i].is_lost) {
            commands_add(task_act(t, fx, LEAVE_FORGET, &t->members[i].address, TASK_ASK_TIMEOUT_MS),
                         "CLUSTER", "FORGET", t->task->node.text, (char *)NULL);
        }
    }
    task_rest_after(t);
}

/* Alone at its address without slots nobody can have given it a key that is not in its files. */
static bool is_wipe_needed(const struct node_task *t)
{
    const struct nodes_row *own = task_own_row(&t->node);
    bool is_reset = own != NULL && !is_itself(t) && t->node.view.row_count == 1;
    return is_reset && !is_dead(t) && !t->leave.is_wiped && t->leave.wipes < WIPES_MAX &&
           own->slot_count == 0 && t->node.keys == 0;
}

/* FLUSHALL empties the AOF, and the RDB where it is kept up; SAVE one that a sync left behind. */
static void wipe(struct node_task *t, struct agent_effects *fx)
{
    task_say(t, "empties the files of the node that left");
    t->leave.wipes++;
    struct command_list *commands =
        task_act(t, fx, LEAVE_WIPE, &t->node.address, TASK_SLOW_TIMEOUT_MS);
    commands_add(commands, "FLUSHALL", (char *)NULL);
    commands_add(commands, "SAVE", (char *)NULL);
}

/* From 8.1 on Valkey introduces itself again to whoever has no link to it, and ends the ban. */
static bool may_introduce_itself(const struct node_task *t)
{
    char *end = NULL;
    long major = strtol(t->node.info.version, &end, 10);
    long minor = *end == '.' ? strtol(end + 1, NULL, 10) : 0;
    return t->node.info.kind == SERVER_VALKEY && (major > 8 || (major == 8 && minor >= 1));
}

/* Forgotten by all, it is reset last: until then it sends clients on to the owners. */
static void redirect_or_reset(struct node_task *t, struct agent_effects *fx)
{
    bool is_pressing = t->leave.returns > 0 || may_introduce_itself(t);
    int64_t due_ms = t->leave.ban_until_ms - TASK_BAN_MS + (is_pressing ? 0 : REDIRECTS_MS);
    if (t->now_ms < due_ms && !t->is_stopping) {
        task_say(t, "forgotten by all %d members; redirects clients until it is reset",
                 t->member_count);
        task_rest_until(t, due_ms);
    } else if (t->leave.resets >= RESETS_MAX) {
        task_fail(t, ERR_REFUSED, "forgotten by all %d members, but %s", t->member_count,
                  t->leave.refusal);
    } else {
        reset(t, fx);
    }
}

/* It ended before its files were emptied and has read them, or somebody else has come to its
 * address: whose keys these are only a person can say. */
static bool has_old_keys(const struct node_task *t)
{
    const struct nodes_row *own = task_own_row(&t->node);
    return own != NULL && !is_itself(t) && !is_dead(t) && t->leave.resets > 0 &&
           t->node.view.row_count == 1 && (t->node.keys > 0 || own->slot_count > 0);
}

static void forgotten(struct node_task *t)
{
    if (t->is_stopping) {
        task_stopped(t, "forgotten by all members; not asked again after the ban");
    } else if (t->now_ms < t->leave.ban_until_ms) {
        task_rest_until(t, t->leave.ban_until_ms);
    } else if (has_old_keys(t)) {
        task_say(t,
                 "forgotten by all %d members; but it holds %lld keys again, of its old files: if "
                 "nobody needs them, FLUSHALL and CLUSTER RESET HARD it",
                 t->member_count, (long long)t->node.keys);
        task_done(t);
    } else {
        bool is_left_as_it_was =
            !is_dead(t) && t->leave.has_begun && !t->leave.is_reset && !t->node.is_answered;
        task_say(t, "forgotten by all %d members, also after their ban%s", t->member_count,
                 is_left_as_it_was
                     ? "; it fell silent before it was reset: empty its folder before "
                       "it is started again"
                     : "");
        task_done(t);
    }
}

static void leave_decide(struct node_task *t, struct agent_effects *fx)
{
    int listing = task_listing_count(t);
    if (t->leave.slots > 0 || t->leave.replicas > 0) {
        task_say(t, "%s", t->leave.who);
        task_wait(t, TASK_SETTLE_MS_MAX, "still used", ERR_REFUSED);
        return;
    }
    if (!task_members_are_there(t)) {
        return;
    }
    if (t->leave.is_reset_needed ? !is_empty(t) : !is_gone(t, listing)) {
        return;
    }
    if (listing > 0) {
        forget(t, fx, listing);
        return;
    }
    if (t->leave.ban_until_ms == NEVER) {
        t->leave.ban_until_ms = t->now_ms + TASK_BAN_MS;
        task_say(t, "forgotten by all %d members; asks them again when their ban is over",
                 t->member_count);
    }
    if (t->leave.is_reset_needed) {
        redirect_or_reset(t, fx);
    } else if (is_wipe_needed(t)) {
        wipe(t, fx);
    } else {
        forgotten(t);
    }
}

static void leave_hear_act(struct node_task *t,
                           const struct task_request *request,
                           const struct agent_event *ev,
                           struct agent_effects *fx)
{
    const struct reply *error = ev->code == 0 ? task_first_error(ev) : NULL;
    if (request->index == LEAVE_WIPE) {
        t->leave.is_wiped = ev->code == 0;
        if (error != NULL) { /* it has left all the same */
            log_event_add(task_log(t, fx, LOG_WARN, "task.files_left"), "why", error->text);
        }
        return;
    }
    const char *what = request->index == LEAVE_RESET ? "RESET HARD" : "FORGET";
    t->leave.is_reset |= request->index == LEAVE_RESET && ev->code == 0 && error == NULL;
    if (error == NULL || t->sm.state != RUNNER_ACTING) {
        return;
    }
    if (redis_fault_of(error) == FAULT_AUTH) {
        task_fail(t, ERR_AUTH, "CLUSTER %s: %s", what, error->text);
        return;
    }
    if (request->index == LEAVE_RESET) {
        (void)snprintf(t->leave.refusal, sizeof(t->leave.refusal), "CLUSTER RESET HARD: %.120s",
                       error->text);
        task_rest_after(t); /* the next look says why, e.g. keys */
    }
}

/* An earlier runner ended before the reset: forgotten, but still what it was. */
static bool is_half_gone(const struct node_task *t)
{
    return !is_dead(t) && is_itself(t) && t->peer.has_view &&
           task_row(&t->peer.view, &t->task->node) == NULL;
}

/* Between the first member told and the reset, the node would be half gone. */
static bool leave_may_stop(const struct node_task *t)
{
    bool is_forgotten = t->leave.ban_until_ms != NEVER;
    bool has_begun = t->leave.has_begun || is_forgotten || is_half_gone(t);
    return !has_begun || (is_forgotten && !t->leave.is_reset_needed);
}

const struct task_rules task_leave_rules = {
    .judge = leave_judge,
    .hear_view = leave_hear_view,
    .decide = leave_decide,
    .hear_act = leave_hear_act,
    .may_stop = leave_may_stop,
};
