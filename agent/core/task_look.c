/* task_look.c — the node and the peer asked at the start of a round, and what their answers say.
 *
 * Answers are read one by one: a node that loads its data answers INFO and refuses CLUSTER NODES
 * (Valkey 8 answers it, but the keys it counts are those read so far), and a node without cluster
 * mode does the same for another reason. */
#include "agent/core/task_parts.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum look_answer { LOOK_INFO, LOOK_NODES, LOOK_CLUSTER, LOOK_CLIENT, LOOK_NR };

const char *task_name(char text[ADDRESS_TEXT_SIZE],
                      const struct node_id *id,
                      const struct address *address)
{
    if (address->port != 0) {
        return address_format(address, text);
    }
    (void)snprintf(text, ADDRESS_TEXT_SIZE, "%.12s", id->text);
    return text;
}

const char *task_node_name(const struct node_task *t, char text[ADDRESS_TEXT_SIZE])
{
    return task_name(text, &t->node_id, &t->node.address);
}

const char *task_peer_name(const struct node_task *t, char text[ADDRESS_TEXT_SIZE])
{
    return task_name(text, &t->task->peer, &t->peer.address);
}

const struct nodes_row *task_own_row(const struct task_end *end)
{
    bool has_row = end->has_view && end->view.myself != NODES_NO_ROW;
    return has_row ? &end->view.rows[end->view.myself] : NULL;
}

const struct nodes_row *task_row(const struct nodes_view *view, const struct node_id *id)
{
    int row = nodes_view_find(view, id);
    return row == NODES_NO_ROW ? NULL : &view->rows[row];
}

/* ---- asking ---- */

void task_end_release(struct task_end *end)
{
    nodes_view_release(&end->view);
}

static void ask_end(struct node_task *t,
                    struct agent_effects *fx,
                    enum task_request_kind kind,
                    struct task_end *end)
{
    struct address address = end->address;
    task_end_release(end);
    *end = (struct task_end){.address = address, .code = ERR_UNAVAILABLE};
    (void)snprintf(end->why, sizeof(end->why), "its address is not known");
    if (address.port == 0) {
        return;
    }
    end->is_asked = true;
    t->look_awaited++;
    struct task_request request = {.kind = kind, .is_harmless = true};
    struct command_list *commands = task_ask(t, fx, &request, &address, TASK_ASK_TIMEOUT_MS);
    commands_add(commands, "INFO", (char *)NULL);
    commands_add(commands, "CLUSTER", "NODES", (char *)NULL);
    commands_add(commands, "CLUSTER", "INFO", (char *)NULL);
    commands_add(commands, "CLIENT", "INFO", (char *)NULL);
}

void task_look_begin(struct node_task *t, struct agent_effects *fx)
{
    if (!t->has_waited) {
        t->waiting_since_ms = NEVER; /* a round without trouble ends it */
    }
    t->has_waited = false;
    t->look_awaited = 0;
    ask_end(t, fx, TASK_REQUEST_PEER, &t->peer);
    ask_end(t, fx, TASK_REQUEST_NODE, &t->node);
}

/* ---- reading ---- */

/* Where the value of a line "name:value" begins, or NULL. */
static const char *find_line(const char *text, const char *name)
{
    size_t len = strlen(name);
    for (const char *at = text; (at = strstr(at, name)) != NULL; at += len) {
        if ((at == text || at[-1] == '\n') && at[len] == ':') {
            return at + len + 1;
        }
    }
    return NULL;
}

static uint64_t read_number(const char *text, const char *name)
{
    const char *value = find_line(text, name);
    return value != NULL ? strtoull(value, NULL, 10) : 0;
}

/* Keys of every database: "db0:keys=12,expires=0". Some servers have several in cluster mode. */
static int64_t count_keys(const char *text)
{
    int64_t keys = 0;
    for (const char *at = strstr(text, "\ndb"); at != NULL; at = strstr(at + 1, "\ndb")) {
        const char *end = at + 3 + strspn(at + 3, "0123456789");
        if (end > at + 3 && strncmp(end, ":keys=", 6) == 0) {
            keys += strtoll(end + 6, NULL, 10);
        }
    }
    return keys;
}

/* "laddr=10.0.0.4:7000": the node's own end of our connection. */
static void read_local_host(struct task_end *end, const struct reply *reply)
{
    const char *at = reply->type == REPLY_STRING ? strstr(reply->text, " laddr=") : NULL;
    if (at == NULL) {
        return;
    }
    at += strlen(" laddr=");
    const char *stop = at + strcspn(at, " \r\n");
    const char *colon = stop;
    while (colon > at && *colon != ':') {
        colon--;
    }
    bool is_bracketed = colon > at + 2 && *at == '[' && colon[-1] == ']';
    int len = (int)(colon - at) - (is_bracketed ? 2 : 0);
    if (len > 0 && (size_t)len < sizeof(end->local_host)) {
        (void)snprintf(end->local_host, sizeof(end->local_host), "%.*s", len,
                       is_bracketed ? at + 1 : at);
    }
}

static void fail_end(struct task_end *end, int code, const char *why)
{
    end->code = code;
    (void)snprintf(end->why, sizeof(end->why), "%.120s", why);
}

static void read_fault(struct task_end *end, const struct reply *reply)
{
    if (redis_fault_of(reply) == FAULT_AUTH) {
        fail_end(end, ERR_AUTH, reply->text);
    } else if (reply_contains(reply, "cluster support disabled")) {
        end->is_standalone = true;
        fail_end(end, ERR_REFUSED, reply->text);
    } else {
        end->is_loading = end->is_loading || reply_contains(reply, "LOADING");
        fail_end(end, ERR_UNAVAILABLE, reply->text);
    }
}

static void read_view(struct task_end *end, const struct reply *replies)
{
    const struct reply *nodes = &replies[LOOK_NODES];
    struct err err = {0};
    if (nodes_view_parse(&end->view, nodes->text, nodes->len, &err) != 0 ||
        end->view.myself == NODES_NO_ROW) {
        fail_end(end, ERR_PROTOCOL, err.text);
        return;
    }
    end->has_view = true;
    end->code = 0;
    end->why[0] = '\0';
    const struct reply *cluster = &replies[LOOK_CLUSTER];
    if (reply_is_error(cluster) ||
        cluster_info_parse(&end->cluster, cluster->text, cluster->len, NULL) != 0) {
        end->cluster = (struct cluster_info){.known_nodes = INFO_UNKNOWN};
    }
}

static void read_info(struct task_end *end, const struct reply *reply)
{
    end->keys = count_keys(reply->text);
    end->is_loading = end->info.is_loading == 1;
    end->sync_progress = read_number(reply->text, "master_sync_read_bytes") +
                         read_number(reply->text, "loading_loaded_bytes") +
                         read_number(reply->text, "current_save_keys_processed");
}

static void read_end(struct task_end *end, const struct agent_event *ev)
{
    if (ev->code != 0) {
        fail_end(end, ev->code, ev->err != NULL ? ev->err->text : err_word(ev->code));
        return;
    }
    if (ev->replies->count != LOOK_NR) {
        fail_end(end, ERR_PROTOCOL, "not as many answers as commands");
        return;
    }
    const struct reply *replies = ev->replies->replies;
    end->is_answered = true;
    if (reply_is_error(&replies[LOOK_INFO])) {
        read_fault(end, &replies[LOOK_INFO]);
        return;
    }
    struct err err = {0};
    if (info_parse(&end->info, replies[LOOK_INFO].text, replies[LOOK_INFO].len, &err) != 0) {
        fail_end(end, ERR_PROTOCOL, err.text);
        return;
    }
    read_info(end, &replies[LOOK_INFO]);
    read_local_host(end, &replies[LOOK_CLIENT]);
    if (reply_is_error(&replies[LOOK_NODES])) {
        read_fault(end, &replies[LOOK_NODES]);
    } else if (end->is_loading) {
        fail_end(end, ERR_UNAVAILABLE, "it loads its data");
    } else {
        read_view(end, replies);
    }
}

void task_look_answer(struct node_task *t,
                      const struct task_request *request,
                      const struct agent_event *ev)
{
    t->look_awaited--;
    read_end(request->kind == TASK_REQUEST_NODE ? &t->node : &t->peer, ev);
}

/* ---- judging ---- */

static bool is_there(struct node_task *t,
                     const struct task_end *end,
                     const char *name,
                     const struct node_id *id,
                     const char *trouble)
{
    if (end->is_loading && !end->has_view && t->task->kind == TASK_JOIN) {
        task_say(t, "waits at most %d s for %s, which loads its data",
                 TASK_JOIN_LOADING_MS_MAX / 1000, name);
        task_wait(t, TASK_JOIN_LOADING_MS_MAX, "loading", ERR_TIMEOUT);
        return false;
    }
    if (end->is_loading && !end->has_view) {
        task_say(t, "waits for %s, which loads its data", name);
        t->waiting_since_ms = NEVER; /* ends by itself, however large the data */
        task_rest(t);
        return false;
    }
    if (end->code == ERR_AUTH) {
        task_fail(t, ERR_AUTH, "%s refuses the login: give it the cluster's password (%s)", name,
                  end->why);
        return false;
    }
    if (end->is_standalone) {
        task_fail(t, ERR_REFUSED, "%s runs without cluster mode: set cluster-enabled yes, restart",
                  name);
        return false;
    }
    if (!end->has_view) {
        task_say(t, "%s does not answer: %s", name, end->why);
        task_wait(t, TASK_SILENCE_MS_MAX, trouble, ERR_UNAVAILABLE);
        return false;
    }
    if (!node_id_is_empty(id) && !node_id_is_equal(&task_own_row(end)->id, id)) {
        task_fail(t, ERR_CONFLICT, "%s is now node %.12s, not %.12s as ordered", name,
                  task_own_row(end)->id.text, id->text);
        return false;
    }
    return true;
}

bool task_peer_is_there(struct node_task *t)
{
    char name[ADDRESS_TEXT_SIZE];
    return is_there(t, &t->peer, task_peer_name(t, name), &t->task->peer, "peer silent");
}

bool task_node_is_there(struct node_task *t)
{
    char name[ADDRESS_TEXT_SIZE];
    return is_there(t, &t->node, task_node_name(t, name), &t->task->node, "node silent");
}
