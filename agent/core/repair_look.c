/* repair_look.c — how do things stand? First the nodes named by the order tell who is in the
 * cluster, then every node is asked for its own view, its own marks and its keys.
 *
 * Replicas are asked too: one may have taken over, and Valkey's keep marks. A node that was reset
 * answers under another id or knows nobody; its word does not count. Nothing is kept from one look
 * to the next. Source: docs/design.md section 6 rules 3 and 11. */
#include "agent/core/repair_machine.h"

#include "common/base/alloc.h"
#include "common/model/info_text.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ASK_AT_ONCE 16      /* views asked for at a time: each may be some 100 KiB */
#define LOOK_COMMANDS 2     /* before the counts of keys */
#define MAP_FAILURES_MAX 10 /* rounds in which neither node named by the order answers */
#define MAP_RETRY_MS_BASE 100
#define MAP_RETRY_MS_CAP 3000

void repair_picture_release(struct repair *r)
{
    for (int i = 0; i < r->picture.node_count; i++) {
        free(r->picture.nodes[i].says);
        free(r->picture.nodes[i].epochs);
    }
    free(r->picture.nodes);
    r->picture.nodes = NULL;
    r->picture.node_count = 0;
    nodes_view_release(&r->map);
}

/* ---- the map ---- */

void repair_map_begin(struct repair *r, struct agent_effects *fx)
{
    sm_move(&r->sm, REPAIR_MAPPING, r->now_ms);
    r->wake_ms = NEVER;
    repair_picture_release(r);
    const struct task *task = &r->order.task;
    const struct address *seeds[2] = {&task->node_address, &task->peer_address};
    for (int i = 0; i < 2; i++) {
        if (seeds[i]->port != 0) {
            struct repair_request request = {
                .kind = REPAIR_ASK_MAP, .index = i, .is_harmless = true};
            struct repair_where where = {
                .address = seeds[i], .lane = LANE_CONTROL, .timeout_ms = REPAIR_ASK_TIMEOUT_MS};
            commands_add(repair_ask(r, fx, &request, &where), "CLUSTER", "NODES", (char *)NULL);
        }
    }
}

static bool read_view(struct nodes_view *view, const struct agent_event *ev, struct err *err)
{
    return ev->replies->count > 0 && ev->replies->replies[0].type == REPLY_STRING &&
           nodes_view_parse(view, ev->replies->replies[0].text, ev->replies->replies[0].len, err) ==
               0;
}

static bool lists_an_end(const struct repair *r, const struct nodes_view *view)
{
    const struct task *task = &r->order.task;
    return nodes_view_find(view, &task->node) != NODES_NO_ROW ||
           (!node_id_is_empty(&task->peer) && nodes_view_find(view, &task->peer) != NODES_NO_ROW);
}

/* The larger of two maps is the better one: a node that was reset knows only itself. */
static void take_map(struct repair *r, const struct agent_event *ev, const struct address *address)
{
    struct nodes_view view = {0};
    if (!read_view(&view, ev, NULL)) {
        return;
    }
    if (!lists_an_end(r, &view) || view.row_count <= r->map.row_count) {
        nodes_view_release(&view);
        return;
    }
    nodes_view_release(&r->map);
    r->map = view;
    nodes_view_set_own_address(&r->map, address);
}

static void fill_node(const struct repair *r, struct repair_node *node, int row_index)
{
    const struct nodes_row *row = &r->map.rows[row_index];
    const struct task *task = &r->order.task;
    *node = (struct repair_node){.id = row->id,
                                 .is_primary = (row->flags & NODES_FLAG_PRIMARY) != 0,
                                 .config_epoch = row->config_epoch,
                                 .primary = REPAIR_NOBODY};
    nodes_row_address(row, &node->address);
    if (node_id_is_equal(&row->id, &task->node)) {
        node->address = task->node_address;
    } else if (node_id_is_equal(&row->id, &task->peer) && task->peer_address.port != 0) {
        node->address = task->peer_address;
    }
    if (!node_id_is_empty(&row->primary_id)) {
        int primary = nodes_view_find(&r->map, &row->primary_id);
        node->primary = primary == NODES_NO_ROW ? REPAIR_NOBODY : primary;
    }
    bool is_failed = (row->flags & (NODES_FLAG_FAIL | NODES_FLAG_NOADDR)) != 0;
    bool is_stray = (row->flags & NODES_FLAG_HANDSHAKE) != 0;
    node->is_dead = is_stray || (is_failed && row->slot_count == 0);
    node->says = xcalloc((size_t)r->picture.slot_count, sizeof(*node->says));
    for (int i = 0; i < r->picture.slot_count; i++) {
        node->says[i] = (struct repair_say){.owner = REPAIR_NOBODY, .peer = REPAIR_NOBODY};
    }
}

static bool is_askable(const struct repair *r, int node)
{
    const struct nodes_row *row = &r->map.rows[node];
    return (row->flags & NODES_FLAG_HANDSHAKE) == 0 && r->picture.nodes[node].address.port != 0 &&
           !r->picture.nodes[node].is_dead;
}

static void ask_nodes(struct repair *r, struct agent_effects *fx)
{
    while (r->ask_cursor < r->picture.node_count && r->request_count < ASK_AT_ONCE) {
        int node = r->ask_cursor++;
        if (!is_askable(r, node)) {
            continue;
        }
        struct repair_request request = {
            .kind = REPAIR_ASK_NODE, .index = node, .is_harmless = true};
        struct repair_where where = {.address = &r->picture.nodes[node].address,
                                     .lane = LANE_CONTROL,
                                     .timeout_ms = REPAIR_ASK_TIMEOUT_MS};
        struct command_list *commands = repair_ask(r, fx, &request, &where);
        commands_add(commands, "CLUSTER", "NODES", (char *)NULL);
        commands_add(commands, "INFO", "server", (char *)NULL);
        for (int i = 0; i < r->picture.slot_count; i++) {
            words_count_keys(commands, r->picture.slots[i]);
        }
    }
}

static void look_begin(struct repair *r, struct agent_effects *fx)
{
    struct repair_picture *picture = &r->picture;
    picture->node_count = r->map.row_count;
    picture->nodes = xcalloc((size_t)picture->node_count, sizeof(*picture->nodes));
    for (int i = 0; i < picture->node_count; i++) {
        fill_node(r, &picture->nodes[i], i);
    }
    int wanted = nodes_view_find(&r->map, &r->order.task.node);
    picture->wanted = wanted == NODES_NO_ROW ? REPAIR_NOBODY : wanted;
    sm_move(&r->sm, REPAIR_LOOKING, r->now_ms);
    r->ask_cursor = 0;
    ask_nodes(r, fx);
    if (r->request_count == 0) {
        repair_decide(r, fx);
    }
}

void repair_map_answer(struct repair *r,
                       const struct repair_request *request,
                       const struct agent_event *ev,
                       struct agent_effects *fx)
{
    const struct task *task = &r->order.task;
    const struct address *address = request->index == 0 ? &task->node_address : &task->peer_address;
    const struct reply *error = ev->code == 0 ? repair_first_error(ev->replies) : NULL;
    if (ev->code == ERR_AUTH || (error != NULL && redis_fault_of(error) == FAULT_AUTH)) {
        char text[TEXT_SIZE];
        repair_describe(ev, text, sizeof(text));
        repair_fail(r, fx, ERR_AUTH, text);
        return;
    }
    if (ev->code == 0 && error == NULL) {
        take_map(r, ev, address);
    }
    if (r->request_count > 0) {
        return;
    }
    if (r->map.row_count > 0) {
        r->failures = 0;
        look_begin(r, fx);
        return;
    }
    char why[TEXT_SIZE];
    char where[ADDRESS_TEXT_SIZE];
    repair_describe(ev, why, sizeof(why));
    char text[TEXT_SIZE];
    bool is_answer = ev->code == 0 && error == NULL;
    (void)snprintf(text, sizeof(text), "%.60s: %.80s", address_format(address, where),
                   is_answer ? "it does not know the node of the order" : why);
    r->failures++;
    r->retries++;
    if (r->failures >= MAP_FAILURES_MAX) {
        repair_fail(r, fx, is_answer ? ERR_CONFLICT : ERR_UNAVAILABLE, text);
        return;
    }
    repair_say(r, "tries again: %s", text);
    repair_rest(r, prng_backoff_ms(&r->prng, r->failures, MAP_RETRY_MS_BASE, MAP_RETRY_MS_CAP));
}

/* ---- one node's word ---- */

static int index_of(const struct repair *r, const struct node_id *id)
{
    int row = nodes_view_find(&r->map, id);
    return row == NODES_NO_ROW ? REPAIR_STRANGER : row;
}

static void hear_slots(struct repair *r,
                       struct repair_node *node,
                       const struct nodes_view *view,
                       const struct reply_list *replies)
{
    const struct repair_picture *picture = &r->picture;
    for (int i = 0; i < picture->slot_count; i++) {
        struct repair_say *say = &node->says[i];
        int row = view->owner[picture->slots[i]];
        say->owner = row == NODES_NO_ROW ? REPAIR_NOBODY : index_of(r, &view->rows[row].id);
        say->keys = replies->replies[LOOK_COMMANDS + i].integer;
    }
    for (int i = 0; i < view->open_count; i++) {
        const struct open_slot *open = &view->opens[i];
        for (int k = 0; k < picture->slot_count; k++) {
            if (picture->slots[k] == open->slot) {
                node->says[k].mark = open->is_importing ? REPAIR_IMPORTING : REPAIR_MIGRATING;
                node->says[k].peer = index_of(r, &open->peer);
            }
        }
    }
}

static void hear_epochs(struct repair *r, struct repair_node *node, const struct nodes_view *view)
{
    if (node->epochs == NULL) {
        node->epochs = xcalloc((size_t)r->picture.node_count, sizeof(*node->epochs));
    }
    for (int i = 0; i < r->picture.node_count; i++) {
        int row = nodes_view_find(view, &r->picture.nodes[i].id);
        node->epochs[i] = row == NODES_NO_ROW ? EPOCH_UNKNOWN : view->rows[row].config_epoch;
    }
}

static void hear_role(struct repair *r, struct repair_node *node, const struct nodes_view *view)
{
    const struct nodes_row *row = &view->rows[view->myself];
    node->is_primary = (row->flags & NODES_FLAG_PRIMARY) != 0;
    node->config_epoch = row->config_epoch;
    node->primary = REPAIR_NOBODY;
    if (!node->is_primary && !node_id_is_empty(&row->primary_id)) {
        int primary = nodes_view_find(&r->map, &row->primary_id);
        node->primary = primary == NODES_NO_ROW ? REPAIR_NOBODY : primary;
    }
    bool is_alone = view->row_count == 1 && r->map.row_count > 1;
    node->is_gone = is_alone || !node_id_is_equal(&row->id, &node->id);
}

static void hear_node(struct repair *r, struct repair_node *node, const struct agent_event *ev)
{
    if (ev->code != 0 || repair_first_error(ev->replies) != NULL ||
        ev->replies->count != r->picture.slot_count + LOOK_COMMANDS) {
        return;
    }
    struct nodes_view view = {0};
    if (!read_view(&view, ev, NULL)) {
        return;
    }
    if (view.myself != NODES_NO_ROW) {
        node->is_answered = true;
        hear_role(r, node, &view);
        hear_epochs(r, node, &view);
        hear_slots(r, node, &view, ev->replies);
        struct info info;
        const struct reply *server = &ev->replies->replies[1];
        node->takes_imports =
            info_parse(&info, server->text, server->len, NULL) == 0 && info_is_valkey_8(&info);
    }
    nodes_view_release(&view);
}

void repair_look_answer(struct repair *r,
                        const struct repair_request *request,
                        const struct agent_event *ev,
                        struct agent_effects *fx)
{
    hear_node(r, &r->picture.nodes[request->index], ev);
    ask_nodes(r, fx);
    if (r->request_count == 0) {
        repair_decide(r, fx);
    }
}
