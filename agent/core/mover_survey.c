/* mover_survey.c — how do things stand? Both nodes are asked, and every slot of the order is put
 * where it belongs.
 *
 * Preconditions are checked here, when the order is carried out, and again after every failure: ids
 * at those addresses, roles, versions, room at the target, owner and open marks of every slot. A
 * slot may be found untouched, half moved in any way (by us before a crash, by another agent, by
 * redis-cli), or done. Open marks show only in a node's own line, so each end is asked about
 * itself. Source: docs/design.md section 6, rules 3, 5, 7, 11. */
#include "agent/core/mover.h"

#include "common/base/alloc.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FOREIGN_LOOKS \
    5 /* surveys, about 1.5 s, before a stranger's open mark is believed to be one */
#define COUNTS_PER_PIPELINE 512 /* about a quarter of a millisecond of the source's time */

void mover_survey_release(struct slot_mover *m)
{
    if (m->survey == NULL) {
        return;
    }
    nodes_view_release(&m->survey->source.view);
    nodes_view_release(&m->survey->target.view);
    free(m->survey);
    m->survey = NULL;
}

static void ask_side(struct slot_mover *m,
                     struct agent_effects *fx,
                     enum mover_request_kind kind,
                     const struct mover_end *side)
{
    struct mover_request request = {.kind = kind, .is_harmless = true};
    struct mover_where where = {
        .address = &side->node.address, .lane = LANE_CONTROL, .timeout_ms = MOVER_ASK_TIMEOUT_MS};
    struct command_list *commands = mover_ask(m, fx, &request, &where, NULL);
    commands_add(commands, "CLUSTER", "NODES", (char *)NULL);
    commands_add(commands, "CLUSTER", "INFO", (char *)NULL);
    commands_add(commands, "INFO", (char *)NULL);
}

void mover_survey_begin(struct slot_mover *m, struct agent_effects *fx)
{
    sm_move(&m->sm, MOVER_SURVEYING, m->now_ms);
    m->wake_ms = NEVER;
    mover_survey_release(m);
    m->survey = xcalloc(1, sizeof(*m->survey));
    m->source.control_connection = 0;
    m->source.copy_connection = 0;
    m->target.control_connection = 0;
    memset(m->source.fan_connections, 0, sizeof(m->source.fan_connections));
    memset(m->target.fan_connections, 0, sizeof(m->target.fan_connections));
    ask_side(m, fx, REQUEST_SURVEY_SOURCE, &m->source);
    ask_side(m, fx, REQUEST_SURVEY_TARGET, &m->target);
    struct mover_request request = {.kind = REQUEST_SURVEY_COPY, .is_harmless = true};
    struct mover_where where = {
        .address = &m->source.node.address, .lane = LANE_COPY, .timeout_ms = MOVER_ASK_TIMEOUT_MS};
    commands_add(mover_ask(m, fx, &request, &where, NULL), "INFO", "server", (char *)NULL);
}

/* ---- reading ---- */

static int read_side(struct survey_side *side,
                     const struct agent_event *ev,
                     const struct address *address)
{
    if (ev->code != 0) {
        if (ev->err != NULL) {
            side->err = *ev->err;
        } else {
            (void)err_set(&side->err, ev->code, "%s", err_word(ev->code));
        }
        return ev->code;
    }
    const struct reply *error = mover_first_error(ev->replies);
    if (error != NULL) {
        int code = redis_fault_of(error) == FAULT_AUTH ? ERR_AUTH : ERR_UNAVAILABLE;
        return err_set(&side->err, code, "%.100s", error->text);
    }
    if (ev->replies->count != 3) {
        return err_set(&side->err, ERR_PROTOCOL, "%d answers to 3 commands", ev->replies->count);
    }
    const struct reply *replies = ev->replies->replies;
    int code = nodes_view_parse(&side->view, replies[0].text, replies[0].len, &side->err);
    if (code != 0) {
        return code;
    }
    nodes_view_set_own_address(&side->view, address);
    code = cluster_info_parse(&side->cluster, replies[1].text, replies[1].len, &side->err);
    if (code != 0) {
        return code;
    }
    side->connection = ev->connection_id;
    return info_parse(&side->info, replies[2].text, replies[2].len, &side->err);
}

static void read_copy(struct slot_mover *m, const struct agent_event *ev)
{
    struct mover_survey *survey = m->survey;
    survey->is_copy_answered = true;
    survey->copy_code = ev->code;
    if (ev->code != 0 || ev->replies->count != 1 || reply_is_error(&ev->replies->replies[0])) {
        survey->copy_code = ev->code != 0 ? ev->code : ERR_UNAVAILABLE;
        return;
    }
    struct info info;
    survey->copy_code =
        info_parse(&info, ev->replies->replies[0].text, ev->replies->replies[0].len, NULL);
    if (survey->copy_code == 0) {
        (void)snprintf(survey->copy_run_id, sizeof(survey->copy_run_id), "%s", info.run_id);
        survey->copy_connection = ev->connection_id;
    }
}

/* ---- judging the two nodes ---- */

static const struct nodes_row *own_row(const struct nodes_view *view)
{
    return view->myself == NODES_NO_ROW ? NULL : &view->rows[view->myself];
}

static void end_with(struct slot_mover *m, struct agent_effects *fx, int code, const char *text)
{
    mover_end(m, fx, MOVER_FAILED, code, text);
}

/* A side that did not answer. */
static void judge_silence(struct slot_mover *m,
                          struct agent_effects *fx,
                          const struct survey_side *side,
                          const char *which,
                          const struct mover_node *node)
{
    char address[ADDRESS_TEXT_SIZE];
    char what[TEXT_SIZE];
    char text[TEXT_SIZE];
    (void)snprintf(what, sizeof(what), "%s %.40s: %.90s", which,
                   address_format(&node->address, address), side->err.text);
    if (node == &m->target.node) {
        mover_say_loss(m, what, text);
    } else {
        (void)snprintf(text, sizeof(text), "%s", what);
    }
    mover_retry(m, fx, side->code == ERR_AUTH ? FAULT_AUTH : FAULT_IO, text);
}

/* True when the node at the address is the one the order means. */
static bool judge_identity(struct slot_mover *m,
                           struct agent_effects *fx,
                           const struct survey_side *side,
                           const char *which,
                           const struct mover_node *node)
{
    const struct nodes_row *row = own_row(&side->view);
    if (row != NULL && node_id_is_equal(&row->id, &node->id)) {
        return true;
    }
    char address[ADDRESS_TEXT_SIZE];
    char text[TEXT_SIZE];
    (void)snprintf(text, sizeof(text), "%s %.40s is node %.12s, not %.12s", which,
                   address_format(&node->address, address), row != NULL ? row->id.text : "?",
                   node->id.text);
    end_with(m, fx, ERR_CONFLICT, text);
    return false;
}

/* What the target must hold afterwards, guessed from the source's share of slots. */
static int64_t guess_bytes(const struct slot_mover *m, const struct survey_side *source)
{
    const struct nodes_row *row = own_row(&source->view);
    int64_t dataset = source->info.used_memory_dataset_bytes;
    if (row == NULL || row->slot_count == 0 || dataset <= 0) {
        return 0;
    }
    int64_t slots = slotset_count(&m->order.slots);
    return dataset / row->slot_count * (slots < row->slot_count ? slots : row->slot_count);
}

#define EVICTING_FILL_PERCENT \
    90 /* an evicting target throws away other users' keys long before it says OOM */

static bool judge_room(struct slot_mover *m, struct agent_effects *fx)
{
    const struct info *info = &m->survey->target.info;
    if (info->maxmemory_bytes <= 0) {
        return true;
    }
    bool evicts =
        info->maxmemory_policy[0] != '\0' && strcmp(info->maxmemory_policy, "noeviction") != 0;
    int64_t limit = info->maxmemory_bytes / 100 * (evicts ? EVICTING_FILL_PERCENT : 100);
    bool is_touched =
        m->keys_moved > 0; /* what has moved counts twice in the guess: only judge at first */
    if (is_touched || info->used_memory_bytes + guess_bytes(m, &m->survey->source) <= limit) {
        return true;
    }
    char text[TEXT_SIZE];
    (void)snprintf(text, sizeof(text),
                   "target has %lld of %lld bytes in use (%s) and would get about %lld more",
                   (long long)info->used_memory_bytes, (long long)info->maxmemory_bytes,
                   evicts ? info->maxmemory_policy : "noeviction",
                   (long long)guess_bytes(m, &m->survey->source));
    end_with(m, fx, evicts ? ERR_REFUSED : ERR_LIMIT, text);
    return false;
}

static bool judge_versions(struct slot_mover *m, struct agent_effects *fx)
{
    int source = version_number(m->survey->source.info.redis_version) / 100;
    int target = version_number(m->survey->target.info.redis_version) / 100;
    if (source == 0 || target == 0 || target >= source) {
        return true;
    }
    char text[TEXT_SIZE];
    (void)snprintf(text, sizeof(text),
                   "target runs %s, older than the source's %s: it may not read its keys",
                   m->survey->target.info.redis_version, m->survey->source.info.redis_version);
    end_with(m, fx, ERR_VERSION, text);
    return false;
}

/* Nobody restarted or took over since the last survey? Otherwise what we opened counts as found
 * open. */
static void compare_run_ids(struct slot_mover *m)
{
    bool is_same = strcmp(m->source.run_id, m->survey->source.info.run_id) == 0 &&
                   strcmp(m->target.run_id, m->survey->target.info.run_id) == 0;
    if (!is_same && m->source.run_id[0] != '\0') {
        for (int slot = 0; slot < SLOT_COUNT; slot++) {
            if ((m->flags[slot] & SLOT_OURS) != 0) {
                m->flags[slot] = (uint8_t)((m->flags[slot] & ~SLOT_OURS) | SLOT_TOUCHED);
            }
        }
    }
    (void)snprintf(m->source.run_id, sizeof(m->source.run_id), "%s", m->survey->source.info.run_id);
    (void)snprintf(m->target.run_id, sizeof(m->target.run_id), "%s", m->survey->target.info.run_id);
    m->source.control_connection = m->survey->source.connection;
    m->source.copy_connection = m->survey->copy_connection;
    m->target.control_connection = m->survey->target.connection;
}

static void judge_setslot(struct slot_mover *m)
{
    bool has_replicas = false;
    for (int i = 0; i < m->survey->target.view.row_count; i++) {
        has_replicas =
            has_replicas || (m->survey->target.view.rows[i].flags & NODES_FLAG_REPLICA) != 0;
    }
    mover_judge_scripts(m, &m->survey->target.info);
    m->setslot_waits = has_replicas && (info_is_valkey_8(&m->survey->source.info) ||
                                        info_is_valkey_8(&m->survey->target.info));
}

/* ---- who else is there ---- */

static void collect_nodes(struct slot_mover *m, const struct nodes_view *view)
{
    free(m->peers);
    free(m->witnesses);
    m->peers = xcalloc((size_t)view->row_count + 1, sizeof(*m->peers));
    m->witnesses = xcalloc((size_t)view->row_count + 1, sizeof(*m->witnesses));
    m->peer_count = 0;
    m->witness_count = 0;
    m->replica_count = 0;
    for (int i = 0; i < view->row_count; i++) {
        const struct nodes_row *row = &view->rows[i];
        struct mover_node node = {.id = row->id,
                                  .is_replica = (row->flags & NODES_FLAG_REPLICA) != 0};
        nodes_row_address(row, &node.address);
        bool is_end = node_id_is_equal(&row->id, &m->order.source) ||
                      node_id_is_equal(&row->id, &m->order.target);
        int useless = NODES_FLAG_HANDSHAKE | NODES_FLAG_NOADDR | NODES_FLAG_FAIL;
        bool is_of_target = node_id_is_equal(&row->primary_id, &m->order.target);
        if (is_of_target && (row->flags & NODES_FLAG_FAIL) != 0) {
            m->is_replica_synced = false; /* nobody waits for a dead one */
        }
        if (is_end || (row->flags & useless) != 0 || node.address.port == 0) {
            continue;
        }
        if (!node.is_replica && m->peer_count < MOVER_PEERS_MAX) {
            m->peers[m->peer_count++] = node;
        }
        if (is_of_target && m->replica_count < MOVER_REPLICAS_MAX) {
            m->replicas[m->replica_count++] = node;
        }
        if (!node.is_replica || node_id_is_equal(&row->primary_id, &m->order.source)) {
            m->witnesses[m->witness_count++] = node;
        }
    }
}

/* ---- where every slot stands ---- */

/* In this view the node is a replica of 'end', or dead and without slots: 'end' has taken its
 * place, or may. */
static bool has_successor(const struct nodes_view *view,
                          const struct node_id *node,
                          const struct node_id *end)
{
    int row = nodes_view_find(view, node);
    if (row == NODES_NO_ROW) {
        return true; /* nobody knows that node any more */
    }
    const struct nodes_row *found = &view->rows[row];
    bool is_dead = (found->flags & NODES_FLAG_FAIL) != 0 && found->slot_count == 0;
    return is_dead || node_id_is_equal(&found->primary_id, end);
}

/* An open mark that names this node was made for the same move: by us, or for an end that has
 * failed over since. One of the two views may lag behind the failover. */
static bool is_same_shard(const struct slot_mover *m,
                          const struct node_id *marked,
                          const struct node_id *end)
{
    return node_id_is_equal(marked, end) || has_successor(&m->survey->source.view, marked, end) ||
           has_successor(&m->survey->target.view, marked, end);
}

struct slot_marks {
    const struct open_slot *at_source;
    const struct open_slot *at_target;
};

static const struct open_slot *find_open(const struct nodes_view *view, int slot)
{
    int low = 0;
    int high = view->open_count;
    while (low < high) {
        int middle = (low + high) / 2;
        if (view->opens[middle].slot < slot) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low < view->open_count && view->opens[low].slot == slot ? &view->opens[low] : NULL;
}

/* False, with the reason, when somebody else is moving the slot. */
static bool marks_are_ours(const struct slot_mover *m,
                           int slot,
                           const struct slot_marks *marks,
                           char *reason)
{
    const struct open_slot *at_source = marks->at_source;
    const struct open_slot *at_target = marks->at_target;
    if (at_source != NULL &&
        (at_source->is_importing || !is_same_shard(m, &at_source->peer, &m->order.target))) {
        (void)snprintf(reason, TEXT_SIZE,
                       "slot %d is %s at source %.12s with node %.12s, not with target %.12s", slot,
                       at_source->is_importing ? "importing" : "migrating", m->order.source.text,
                       at_source->peer.text, m->order.target.text);
        return false;
    }
    if (at_target != NULL &&
        (!at_target->is_importing || !is_same_shard(m, &at_target->peer, &m->order.source))) {
        (void)snprintf(reason, TEXT_SIZE,
                       "slot %d is %s at target %.12s with node %.12s, not with source %.12s", slot,
                       at_target->is_importing ? "importing" : "migrating", m->order.target.text,
                       at_target->peer.text, m->order.source.text);
        return false;
    }
    return true;
}

static const struct node_id *owner_in(const struct nodes_view *view, int slot)
{
    static const struct node_id nobody = {""};
    int row = view->owner[slot];
    return row == NODES_NO_ROW ? &nobody : &view->rows[row].id;
}

/* The target still believes in a predecessor of the source (F6), or in nobody: that one is a
 * replica by now, and a replica's slots are not shown. */
static bool is_predecessor(const struct slot_mover *m, const struct node_id *owner)
{
    return node_id_is_empty(owner) || (!node_id_is_equal(owner, &m->order.target) &&
                                       is_same_shard(m, owner, &m->order.source));
}

/* Puts one slot into todo_keys, done, held or repairs. False with a reason when the order cannot go
 * on. */
static bool place_slot(struct slot_mover *m, int slot, struct agent_effects *fx, char *reason)
{
    const struct nodes_view *at_source = &m->survey->source.view;
    const struct nodes_view *at_target = &m->survey->target.view;
    struct slot_marks marks = {find_open(at_source, slot), find_open(at_target, slot)};
    if (!marks_are_ours(m, slot, &marks, reason)) {
        if (m->failures < FOREIGN_LOOKS) {
            return false; /* right after a failover no view shows yet who replaced whom */
        }
        mover_hold_slot(m, fx, slot, ERR_CONFLICT, reason);
        return true;
    }
    const struct node_id *by_source = owner_in(at_source, slot);
    const struct node_id *by_target = owner_in(at_target, slot);
    bool source_is_owner = node_id_is_equal(by_source, &m->order.source);
    bool target_claims = node_id_is_equal(by_target, &m->order.target);
    uint8_t *flags = &m->flags[slot];
    *flags = (uint8_t)(*flags & ~(SLOT_MARKED | SLOT_CLAIMED));
    if (target_claims && !source_is_owner && node_id_is_equal(by_source, &m->order.target)) {
        bool is_taken = (*flags & SLOT_UNPROVED) != 0;
        if (is_taken) { /* by other hands, or by the server itself: nothing brings back what is gone
                         */
            *flags = 0;
            mover_hold_slot(m, fx, slot, ERR_CONFLICT,
                            "the target got it before this move had taken all its keys there: "
                            "what the source still held is gone");
            return true;
        }
        slotset_add(&m->done, slot);
        if (marks.at_source != NULL || marks.at_target != NULL) {
            slotset_add(&m->unclosed,
                        slot); /* gossip tells who owns a slot but takes no mark away */
        }
        *flags = 0;
        return true;
    }
    if (!source_is_owner) {
        (void)snprintf(reason, TEXT_SIZE, "slot %d belongs to %.40s in the view of source %.12s",
                       slot, by_source->text[0] != '\0' ? by_source->text : "nobody",
                       m->order.source.text);
        return false;
    }
    if (marks.at_source != NULL || marks.at_target != NULL || target_claims) {
        *flags |= SLOT_MARKED;
        if ((*flags & SLOT_OURS) == 0) {
            *flags |= SLOT_TOUCHED;
        }
    }
    if (target_claims) {
        *flags |= SLOT_CLAIMED;
    } else if (!node_id_is_equal(by_target, &m->order.source)) {
        if (!is_predecessor(m, by_target)) {
            (void)snprintf(
                reason, TEXT_SIZE, "slot %d belongs to %.40s in the view of target %.12s", slot,
                by_target->text[0] != '\0' ? by_target->text : "nobody", m->order.target.text);
            return false;
        }
        slotset_add(&m->repairs, slot);
    }
    slotset_add(&m->todo_keys, slot);
    return true;
}

static bool place_slots(struct slot_mover *m, struct agent_effects *fx)
{
    slotset_clear(&m->todo_empty);
    slotset_clear(&m->todo_keys);
    slotset_clear(&m->repairs);
    SLOTSET_FOREACH (slot, &m->order.slots) {
        char reason[TEXT_SIZE] = "";
        if (slotset_has(&m->held, slot) || slotset_has(&m->done, slot)) {
            continue;
        }
        if (!place_slot(m, slot, fx, reason)) {
            mover_retry(m, fx, FAULT_OWNERSHIP,
                        reason); /* views may be about to meet; a few more looks */
            return false;
        }
    }
    return true;
}

/* ---- counting ---- */

static void count_begin(struct slot_mover *m, struct agent_effects *fx)
{
    sm_move(&m->sm, MOVER_COUNTING, m->now_ms);
    mover_say(m, "counts the keys of %d slots", slotset_count(&m->todo_keys));
    int slot = slotset_next(&m->todo_keys, 0);
    while (slot != SLOT_NONE) {
        struct mover_request request = {.kind = REQUEST_COUNT, .index = slot, .is_harmless = true};
        struct command_list *commands = mover_ask_source(m, fx, &request);
        for (int count = 0; slot != SLOT_NONE && count < COUNTS_PER_PIPELINE; count++) {
            words_count_keys(commands, slot);
            slot = slotset_next(&m->todo_keys, slot + 1);
        }
    }
}

void mover_count_answer(struct slot_mover *m,
                        const struct mover_request *request,
                        const struct agent_event *ev,
                        struct agent_effects *fx)
{
    const struct reply *error = ev->code == 0 ? mover_first_error(ev->replies) : NULL;
    if (ev->code != 0 || error != NULL) {
        mover_retry_reply(m, fx, ev, error, "counting keys at the source");
        return;
    }
    /* Slots leave todo_keys only here and each answer covers its own stretch, so the order is still
     * as it was asked. */
    int slot = request->index;
    for (int i = 0; i < ev->replies->count && slot != SLOT_NONE; i++) {
        int next = slotset_next(&m->todo_keys, slot + 1);
        if (ev->replies->replies[i].integer == 0) {
            slotset_add(&m->todo_empty, slot);
            slotset_remove(&m->todo_keys, slot);
        }
        slot = next;
    }
    if (m->request_count == 0) {
        sm_move(&m->sm, MOVER_MOVING, m->now_ms);
        mover_say(m, "moves %d slots, %d of them empty",
                  slotset_count(&m->todo_keys) + slotset_count(&m->todo_empty),
                  slotset_count(&m->todo_empty));
        struct log_event *log = mover_log(m, fx, LOG_INFO, "move.moving");
        log_event_addf(log, "from", "%.12s", m->order.source.text);
        log_event_addf(log, "to", "%.12s", m->order.target.text);
        log_event_add_int(log, "slots_with_keys", slotset_count(&m->todo_keys));
        log_event_add_int(log, "slots_empty", slotset_count(&m->todo_empty));
        log_event_add_int(log, "slots_done", slotset_count(&m->done));
        log_event_add_int(log, "replicas", m->replica_count);
    }
}

/* ---- all together ---- */

static bool is_primary(const struct survey_side *side)
{
    const struct nodes_row *row = own_row(&side->view);
    return row != NULL && (row->flags & NODES_FLAG_PRIMARY) != 0;
}

/* The nodes answer and are who they should be; are they fit? */
static bool judge_fitness(struct slot_mover *m, struct agent_effects *fx)
{
    struct mover_survey *survey = m->survey;
    if (survey->source.info.is_loading == 1 || survey->target.info.is_loading == 1) {
        mover_retry(m, fx, FAULT_WAIT, "source or target still loads its data");
        return false;
    }
    if (survey->copy_code != 0 || strcmp(survey->copy_run_id, survey->source.info.run_id) != 0) {
        mover_retry(m, fx, survey->copy_code == ERR_AUTH ? FAULT_AUTH : FAULT_IO,
                    "source restarted while asked");
        return false;
    }
    return judge_versions(m, fx) && judge_room(m, fx);
}

static bool judge_state(struct slot_mover *m, struct agent_effects *fx)
{
    if (m->survey->source.cluster.is_state_ok && m->survey->target.cluster.is_state_ok) {
        return true;
    }
    char text[TEXT_SIZE];
    (void)snprintf(text, sizeof(text), "cluster state is not ok at the %s",
                   m->survey->source.cluster.is_state_ok ? "target" : "source");
    mover_retry(m, fx, FAULT_WAIT, text);
    return false;
}

/* The order's address of the target may be good only where it was seen from, e.g. a loopback
 * address of another host. When the target is not there, the address by which the source knows it
 * is tried. True when a new survey is begun. */
static bool try_other_address(struct slot_mover *m, struct agent_effects *fx)
{
    const struct survey_side *side = &m->survey->target;
    const struct nodes_row *row = side->code == 0 ? own_row(&side->view) : NULL;
    int known = nodes_view_find(&m->survey->source.view, &m->order.target);
    bool is_there = row != NULL && node_id_is_equal(&row->id, &m->order.target);
    if (is_there || side->code == ERR_AUTH || known == NODES_NO_ROW) {
        return false;
    }
    struct address address;
    nodes_row_address(&m->survey->source.view.rows[known], &address);
    if (address.port == 0 || address.host[0] == '\0' ||
        address_is_equal(&address, &m->target.node.address)) {
        return false;
    }
    m->target.node.address = address;
    mover_survey_begin(m, fx);
    return true;
}

/* Both ends answer, are who the order means and know each other. False when the survey ends here:
 * what follows is begun. */
static bool judge_ends(struct slot_mover *m, struct agent_effects *fx)
{
    struct mover_survey *survey = m->survey;
    if (survey->target.code == 0) {
        collect_nodes(m, &survey->target.view);
    }
    if (survey->source.code != 0) {
        if (survey->target.code == 0 && survey->source.code != ERR_AUTH) {
            mover_trace_begin(m, fx, survey->source.err.text);
            return false;
        }
        judge_silence(m, fx, &survey->source, "source", &m->source.node);
        return false;
    }
    if (try_other_address(m, fx)) {
        return false;
    }
    if (survey->target.code != 0) {
        judge_silence(m, fx, &survey->target, "target", &m->target.node);
        return false;
    }
    if (!judge_identity(m, fx, &survey->source, "source", &m->source.node) ||
        !judge_identity(m, fx, &survey->target, "target", &m->target.node)) {
        return false;
    }
    if (!is_primary(&survey->target)) {
        char text[TEXT_SIZE];
        mover_say_loss(m, "target is a replica now", text);
        end_with(m, fx, ERR_CONFLICT, text);
        return false;
    }
    int target_row = nodes_view_find(&survey->source.view, &m->order.target);
    /* A source that lost its last slot may be a replica of the target by now. */
    bool is_all_done = true;
    SLOTSET_FOREACH (slot, &m->order.slots) {
        is_all_done = is_all_done && target_row != NODES_NO_ROW &&
                      survey->source.view.owner[slot] == target_row;
    }
    if (!is_primary(&survey->source) && !is_all_done) {
        mover_trace_begin(m, fx, "source is a replica now");
        return false;
    }
    m->lost_since_ms = NEVER;
    if (target_row == NODES_NO_ROW ||
        nodes_view_find(&survey->target.view, &m->order.source) == NODES_NO_ROW) {
        mover_retry(m, fx, FAULT_OWNERSHIP, "source and target do not know each other");
        return false;
    }
    nodes_row_address(&survey->source.view.rows[target_row], &m->target_seen_by_source);
    return true;
}

static void judge(struct slot_mover *m, struct agent_effects *fx)
{
    if (!judge_ends(m, fx) || !judge_fitness(m, fx)) {
        return;
    }
    compare_run_ids(m);
    judge_setslot(m);
    if (!mover_judge_successor(m, fx) || !place_slots(m, fx)) {
        return;
    }
    if (!slotset_is_empty(&m->repairs)) {
        struct slotset repairs = m->repairs;
        mover_repair_begin(m, &repairs, &m->order.source, fx);
        return;
    }
    if (!judge_state(m, fx)) {
        return;
    }
    if (!slotset_is_empty(&m->todo_keys) &&
        (!mover_judge_epochs(m, fx) || !mover_judge_rest(m, fx))) {
        return;
    }
    mover_survey_release(m);
    if (slotset_is_empty(&m->todo_keys)) {
        mover_settle_begin(m, fx);
        return;
    }
    count_begin(m, fx);
}

void mover_survey_answer(struct slot_mover *m,
                         const struct mover_request *request,
                         const struct agent_event *ev,
                         struct agent_effects *fx)
{
    struct mover_survey *survey = m->survey;
    if (request->kind == REQUEST_SURVEY_COPY) {
        read_copy(m, ev);
    } else {
        bool is_source = request->kind == REQUEST_SURVEY_SOURCE;
        struct survey_side *side = is_source ? &survey->source : &survey->target;
        side->is_answered = true;
        side->code =
            read_side(side, ev, is_source ? &m->source.node.address : &m->target.node.address);
    }
    if (survey->is_copy_answered && survey->source.is_answered && survey->target.is_answered) {
        judge(m, fx);
    }
}
