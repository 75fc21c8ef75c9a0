/* task_survey.c — the members of the cluster, each asked for its own view.
 *
 * Who is a member is told by the seed (the peer, or the node when there is no peer) and by every
 * member that knows more. A member that does not answer holds the task up, unless the others think
 * that it is down too: two independent signs. */
#include "agent/core/task_parts.h"

#include "common/base/alloc.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define VIEWS_AT_ONCE 16 /* each may be some 100 KiB */
#define BUS_PORT_OFFSET 10000

static bool is_suspect(const struct nodes_row *row)
{
    return (row->flags & (NODES_FLAG_FAIL | NODES_FLAG_PFAIL)) != 0;
}

static struct task_member *find_member(struct node_task *t, const struct node_id *id)
{
    for (int i = 0; i < t->member_count; i++) {
        if (node_id_is_equal(&t->members[i].id, id)) {
            return &t->members[i];
        }
    }
    return NULL;
}

static void note_member(struct node_task *t,
                        const struct nodes_row *row,
                        const struct address *address)
{
    bool is_useless = (row->flags & (NODES_FLAG_HANDSHAKE | NODES_FLAG_NOADDR)) != 0 ||
                      address->port == 0 || address->host[0] == '\0';
    if (is_useless || node_id_is_equal(&row->id, &t->node_id)) {
        return;
    }
    struct task_member *known = find_member(t, &row->id);
    if (known == NULL && t->member_count < TASK_MEMBERS_MAX) {
        ARRAY_RESERVE(t->members, t->member_count, t->member_capacity);
        known = &t->members[t->member_count++];
        *known = (struct task_member){.id = row->id};
    }
    if (known != NULL) {
        known->address = *address;
        known->is_suspect = is_suspect(row);
    }
}

static void note_members(struct node_task *t, const struct task_end *seed)
{
    for (int i = 0; i < seed->view.row_count; i++) {
        struct address address;
        nodes_row_address(&seed->view.rows[i], &address);
        note_member(t, &seed->view.rows[i], i == seed->view.myself ? &seed->address : &address);
    }
}

/* Members that the seed does not know (any more), or found to be somebody else by now, are asked
 * only if others name them. */
static void drop_strangers(struct node_task *t, const struct nodes_view *view)
{
    int kept = 0;
    for (int i = 0; i < t->member_count; i++) {
        const struct nodes_row *row = task_row(view, &t->members[i].id);
        if (row != NULL && (row->flags & NODES_FLAG_NOADDR) == 0) {
            t->members[kept++] = t->members[i];
        }
    }
    t->member_count = kept;
}

void task_survey_begin(struct node_task *t)
{
    const struct task_end *seed = t->peer.has_view ? &t->peer : &t->node;
    if (seed->has_view) {
        drop_strangers(t, &seed->view);
        note_members(t, seed);
    }
    t->cursor = 0;
    t->survey_awaited = 0;
    t->complaint_count = 0;
    t->complaint[0] = '\0';
    t->lost_count = 0;
}

void task_survey_run(struct node_task *t, struct agent_effects *fx)
{
    while (t->cursor < t->member_count && t->survey_awaited < VIEWS_AT_ONCE) {
        const struct task_member *member = &t->members[t->cursor];
        if (!member->is_settled) {
            struct task_request request = {
                .kind = TASK_REQUEST_VIEW, .index = t->cursor, .is_harmless = true};
            commands_add(task_ask(t, fx, &request, &member->address, TASK_ASK_TIMEOUT_MS),
                         "CLUSTER", "NODES", (char *)NULL);
            t->survey_awaited++;
        }
        t->cursor++;
    }
}

bool task_survey_is_over(const struct node_task *t)
{
    return t->cursor == t->member_count && t->survey_awaited == 0;
}

void task_unsettle(struct node_task *t)
{
    for (int i = 0; i < t->member_count; i++) {
        t->members[i].is_settled = false;
    }
}

void task_complain(struct node_task *t, const char *format, ...)
{
    t->complaint_count++;
    if (t->complaint_count == 1) {
        va_list args;
        va_start(args, format);
        (void)vsnprintf(t->complaint, sizeof(t->complaint), format, args);
        va_end(args);
    }
}

/* True when the member itself answered with a view that can be read. */
static bool read_member(const struct task_member *member,
                        const struct agent_event *ev,
                        struct nodes_view *view)
{
    if (ev->code != 0 || ev->replies->count != 1 || ev->replies->replies[0].type != REPLY_STRING) {
        return false;
    }
    const struct reply *reply = &ev->replies->replies[0];
    return nodes_view_parse(view, reply->text, reply->len, NULL) == 0 &&
           view->myself != NODES_NO_ROW &&
           node_id_is_equal(&view->rows[view->myself].id, &member->id);
}

static void lose_member(struct node_task *t, struct task_member *member)
{
    char name[ADDRESS_TEXT_SIZE];
    member->is_lost = true;
    if (!member->is_suspect) {
        t->lost_count++;
        task_name(name, &member->id, &member->address);
        (void)snprintf(t->lost, sizeof(t->lost), "member %s does not answer", name);
        task_complain(t, "%s", t->lost);
    }
}

void task_survey_answer(struct node_task *t,
                        const struct task_request *request,
                        const struct agent_event *ev)
{
    t->survey_awaited--;
    struct nodes_view view = {0};
    if (!read_member(&t->members[request->index], ev, &view)) {
        struct task_member *lost = &t->members[request->index];
        lose_member(t, lost);
        lost->is_answering =
            ev->code == 0 && ev->replies->count == 1 && reply_is_error(&ev->replies->replies[0]);
        nodes_view_release(&view);
        return;
    }
    for (int i = 0; i < view.row_count; i++) { /* whom only this one knows is asked too */
        struct address address;
        nodes_row_address(&view.rows[i], &address);
        if (!is_suspect(&view.rows[i]) && find_member(t, &view.rows[i].id) == NULL) {
            note_member(t, &view.rows[i], &address);
        }
    }
    struct task_member *member = &t->members[request->index]; /* the array may have moved */
    member->is_lost = false;
    int before = t->complaint_count;
    t->rules->hear_view(t, member, &view);
    member->is_settled = t->complaint_count == before;
    nodes_view_release(&view);
}

int task_listing_count(const struct node_task *t)
{
    int count = 0;
    for (int i = 0; i < t->member_count; i++) {
        count += t->members[i].is_listing && !t->members[i].is_lost;
    }
    return count;
}

bool task_members_are_there(struct node_task *t)
{
    if (t->lost_count == 0) {
        return true;
    }
    task_say(t, "%s", t->lost);
    task_wait(t, TASK_SILENCE_MS_MAX, "member silent", ERR_UNAVAILABLE);
    return false;
}

/* ---- who knows whom ---- */

static bool is_linked(const struct nodes_row *row)
{
    return row != NULL && row->is_link_connected &&
           (row->flags &
            (NODES_FLAG_HANDSHAKE | NODES_FLAG_NOADDR | NODES_FLAG_FAIL | NODES_FLAG_PFAIL)) == 0;
}

void task_hear_membership(struct node_task *t,
                          struct task_member *member,
                          const struct nodes_view *view)
{
    char name[ADDRESS_TEXT_SIZE];
    const struct nodes_row *row = task_row(view, &t->node_id);
    member->is_listing = row != NULL && (row->flags & NODES_FLAG_HANDSHAKE) == 0;
    member->is_linked = is_linked(row);
    if (!member->is_linked) {
        task_complain(t, "member %s %s", task_name(name, &member->id, &member->address),
                      member->is_listing ? "lists it, but has no link to its bus port"
                                         : "does not list it yet");
    }
}

const struct task_member *task_unknown_member(const struct node_task *t)
{
    for (int i = 0; i < t->member_count; i++) {
        const struct task_member *member = &t->members[i];
        bool is_excused = member->is_lost && member->is_suspect;
        if (!is_excused && !is_linked(task_row(&t->node.view, &member->id))) {
            return member;
        }
    }
    return NULL;
}

static bool is_ip(const char *host)
{
    return host[0] != '\0' &&
           (strchr(host, ':') != NULL || host[strspn(host, "0123456789.")] == '\0');
}

const char *task_meet_host(const struct task_end *end)
{
    const struct nodes_row *row = task_own_row(end);
    if (row != NULL && is_ip(row->host)) {
        return row->host;
    }
    return is_ip(end->address.host) || end->local_host[0] == '\0' ? end->address.host
                                                                  : end->local_host;
}

uint16_t task_bus_port(const struct task_end *end)
{
    const struct nodes_row *row = task_own_row(end);
    return row != NULL ? row->bus_port : 0;
}

void task_words_meet(struct command_list *commands,
                     const char *host,
                     uint16_t port,
                     uint16_t bus_port)
{
    commands_begin(commands);
    commands_arg_text(commands, "CLUSTER");
    commands_arg_text(commands, "MEET");
    commands_arg_text(commands, host);
    commands_arg_int(commands, port);
    if (bus_port != 0 && bus_port != port + BUS_PORT_OFFSET) {
        commands_arg_int(commands, bus_port);
    }
}
