/* order_book.c — see order_book.h. */
#include "agent/core/order_book.h"

#include "common/base/alloc.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void order_book_init(struct order_book *book,
                     const struct mover_login *login,
                     uint64_t seed,
                     uint32_t *last_serial)
{
    *book = (struct order_book){.means.login = *login, .last_serial = last_serial};
    book->means.instance_turn = &book->turn;
    prng_init(&book->prng, seed);
}

static void entry_free(struct order_entry *entry)
{
    order_work_free(entry->work);
    free(entry);
}

void order_book_release(struct order_book *book)
{
    for (int i = 0; i < book->count; i++) {
        entry_free(book->entries[i]);
    }
    free(book->entries);
    *book = (struct order_book){0};
}

static struct order_entry *find(const struct order_book *book, const struct order_id *id)
{
    for (int i = 0; i < book->count; i++) {
        if (order_id_is_equal(&book->entries[i]->order.id, id)) {
            return book->entries[i];
        }
    }
    return NULL;
}

static void end_entry(struct order_book *book,
                      struct order_entry *entry,
                      enum order_state state,
                      int code,
                      const char *reason)
{
    entry->state = ENTRY_ENDED;
    entry->ended = (struct order_status){.id = entry->order.id,
                                         .state = state,
                                         .call_us_p50 = -1,
                                         .call_us_max = -1,
                                         .is_replica_synced = true,
                                         .reason_code = code};
    (void)snprintf(entry->ended.reason, sizeof(entry->ended.reason), "%s", reason);
    book->has_result = true;
}

static void drop_oldest_ended(struct order_book *book)
{
    for (int i = 0; i < book->count; i++) {
        if (book->entries[i]->state == ENTRY_ENDED) {
            order_book_forget(book, &book->entries[i]->order.id);
            return;
        }
    }
}

void order_book_give(struct order_book *book,
                     const struct order *order,
                     int64_t sent_ms,
                     int64_t fence)
{
    int64_t expires_ms = deadline_after(sent_ms, order->valid_for_ms);
    struct order_entry *known = find(book, &order->id);
    if (known != NULL) {
        if (order->fence == known->order.fence && expires_ms > known->expires_ms) {
            known->expires_ms = expires_ms;
        }
        return;
    }
    bool is_full = book->count >= ORDERS_MAX;
    if (is_full) {
        drop_oldest_ended(
            book); /* its result was reported at least once; the node tells the rest */
        is_full = book->count >= ORDERS_MAX;
    }
    if (book->count >= 2 * ORDERS_MAX) {
        return; /* not even room to say no; the order expires at the coordinator */
    }
    struct order_entry *entry = xcalloc(1, sizeof(*entry));
    entry->order = *order;
    entry->expires_ms = expires_ms;
    entry->waits_for = "waits to begin";
    ARRAY_RESERVE(book->entries, book->count, book->capacity);
    book->entries[book->count++] = entry;
    const char *fault = order_work_fault(order, &book->means);
    if (order->fence < fence) {
        end_entry(book, entry, ORDER_FAILED, ERR_FENCED,
                  "ordered under a fence that is no longer valid");
    } else if (fault != NULL) {
        end_entry(book, entry, ORDER_FAILED, ERR_INVALID, fault);
    } else if (is_full) {
        end_entry(book, entry, ORDER_FAILED, ERR_LIMIT, "this agent has too many orders");
    }
}

void order_book_renew(struct order_book *book, const struct renewal *renewal, int64_t sent_ms)
{
    struct order_entry *entry = find(book, &renewal->id);
    int64_t expires_ms = deadline_after(sent_ms, renewal->valid_for_ms);
    if (entry != NULL && expires_ms > entry->expires_ms) {
        entry->expires_ms = expires_ms;
    }
}

static void stop_entry(struct order_book *book, struct order_entry *entry)
{
    entry->is_stopping = true;
    if (entry->state == ENTRY_WAITING) {
        end_entry(book, entry, ORDER_STOPPED, 0, "stopped before it began");
    } else if (entry->work != NULL) {
        order_work_stop(entry->work);
    }
}

void order_book_stop(struct order_book *book, const struct order_id *id)
{
    struct order_entry *entry = find(book, id);
    if (entry != NULL && entry->state != ENTRY_ENDED) {
        stop_entry(book, entry);
    }
}

void order_book_stop_all(struct order_book *book)
{
    for (int i = 0; i < book->count; i++) {
        struct order_entry *entry = book->entries[i];
        bool is_asking = entry->work != NULL && entry->order.kind == ORDER_TASK &&
                         entry->order.task.kind == TASK_PROVISION;
        if (is_asking) {
            order_work_freeze(entry->work, ERR_UNAVAILABLE,
                              "the agent ends; who asks again gets the same server");
        } else if (entry->state != ENTRY_ENDED) {
            stop_entry(book, entry);
        }
    }
}

void order_book_forget(struct order_book *book, const struct order_id *id)
{
    for (int i = 0; i < book->count; i++) {
        struct order_entry *entry = book->entries[i];
        if (order_id_is_equal(&entry->order.id, id) && entry->state == ENTRY_ENDED) {
            entry_free(entry);
            book->count--;
            memmove(&book->entries[i], &book->entries[i + 1],
                    (size_t)(book->count - i) * sizeof(struct order_entry *));
            return;
        }
    }
}

/* ---- fence and expiry ---- */

static void freeze_entry(struct order_book *book,
                         struct order_entry *entry,
                         int code,
                         const char *reason)
{
    if (entry->state == ENTRY_WAITING) {
        end_entry(book, entry, ORDER_EXPIRED, code, reason);
    } else if (entry->work != NULL) {
        order_work_freeze(entry->work, code, reason);
    }
}

void order_book_fence(struct order_book *book, int64_t fence)
{
    for (int i = 0; i < book->count; i++) {
        struct order_entry *entry = book->entries[i];
        if (entry->state != ENTRY_ENDED && entry->order.fence < fence) {
            freeze_entry(book, entry, ERR_FENCED, "another leader took over");
        }
    }
}

bool order_book_is_clear_below(const struct order_book *book, int64_t fence)
{
    for (int i = 0; i < book->count; i++) {
        const struct order_entry *entry = book->entries[i];
        if (entry->order.fence < fence && entry->work != NULL &&
            order_work_may_change(entry->work)) {
            return false;
        }
    }
    return true;
}

/* ---- running ---- */

/* The nodes an order works on; a member that is only asked is none of them. */
struct worked_node {
    const struct node_id *id;
    const struct address *address;
};

static int worked_nodes(const struct order *order, struct worked_node nodes[2])
{
    const struct task *task = &order->task;
    switch (order->kind) {
    case ORDER_MOVE:
        nodes[0] = (struct worked_node){&order->source, &order->source_address};
        nodes[1] = (struct worked_node){&order->target, &order->target_address};
        return 2;
    case ORDER_SCAN:
        return 0;
    case ORDER_TASK:
        break;
    }
    nodes[0] = (struct worked_node){&task->node, &task->node_address};
    nodes[1] = (struct worked_node){&task->peer, &task->peer_address};
    bool is_for_both = task->kind == TASK_REPLICATE || task->kind == TASK_FAILOVER ||
                       (task->kind == TASK_REPAIR && task->peer_address.port != 0);
    return is_for_both ? 2 : 1;
}

static bool is_same_node(const struct worked_node *a, const struct worked_node *b)
{
    bool has_ids = !node_id_is_empty(a->id) && !node_id_is_empty(b->id);
    return has_ids ? node_id_is_equal(a->id, b->id)
                   : a->address->port != 0 && address_is_equal(a->address, b->address);
}

/* Two moves may share a target, and one's target may be the other's source; a task shares no node
 * with anybody. */
static bool is_clash(const struct order *a, const struct order *b)
{
    if (a->kind == ORDER_MOVE && b->kind == ORDER_MOVE) {
        return node_id_is_equal(&a->source, &b->source);
    }
    struct worked_node of_a[2];
    struct worked_node of_b[2];
    int count_a = worked_nodes(a, of_a);
    int count_b = worked_nodes(b, of_b);
    for (int i = 0; i < count_a; i++) {
        for (int k = 0; k < count_b; k++) {
            if (is_same_node(&of_a[i], &of_b[k])) {
                return true;
            }
        }
    }
    return false;
}

/* The first in line for a node goes; a scan disturbs nobody. */
static const char *obstacle(const struct order_book *book,
                            const struct order_entry *entry,
                            bool may_begin)
{
    if (!may_begin) {
        return "waits until the new leader's fence is safe on disk and older work has ended";
    }
    if (order_book_running_count(book) >= ORDERS_RUNNING_MAX) {
        return "waits: this agent runs as many orders as it may";
    }
    for (int i = 0; i < book->count; i++) {
        const struct order_entry *other = book->entries[i];
        if (other != entry && other->work != NULL && is_clash(&entry->order, &other->order)) {
            return other->order.kind == ORDER_MOVE ? "waits for another move of the same node"
                                                   : "waits for a task of the same node";
        }
    }
    return NULL;
}

static void start_entry(struct order_book *book, struct order_entry *entry, int64_t now_ms)
{
    entry->state = ENTRY_RUNNING;
    entry->serial = ++*book->last_serial;
    entry->work =
        order_work_new(&entry->order, &book->means, entry->serial, prng_next(&book->prng), now_ms);
    book->has_news = true;
}

static void step_entry(struct order_book *book,
                       struct order_entry *entry,
                       const struct agent_event *event,
                       struct agent_effects *fx)
{
    order_work_step(entry->work, event, fx);
    book->has_news = true;
}

static void collect_result(struct order_book *book, struct order_entry *entry)
{
    if (entry->work == NULL || !order_work_is_over(entry->work)) {
        return;
    }
    order_work_status(entry->work, &entry->ended);
    order_work_free(entry->work);
    entry->work = NULL;
    entry->state = ENTRY_ENDED;
    book->has_result = true;
}

static int64_t entry_deadline(const struct order_entry *entry)
{
    return entry->work != NULL ? order_work_deadline(entry->work) : NEVER;
}

void order_book_run(struct order_book *book,
                    int64_t now_ms,
                    bool may_begin,
                    struct agent_effects *fx)
{
    struct agent_event tick = {.kind = AGENT_TICK, .now_ms = now_ms};
    for (int i = 0; i < book->count; i++) {
        struct order_entry *entry = book->entries[i];
        if (entry->state == ENTRY_ENDED) {
            continue;
        }
        if (now_ms >= entry->expires_ms) {
            freeze_entry(book, entry, ERR_TIMEOUT, "the order was not renewed in time");
        }
        if (entry->state == ENTRY_WAITING) {
            entry->waits_for = obstacle(book, entry, may_begin);
            if (entry->waits_for == NULL) {
                start_entry(book, entry, now_ms);
            }
        }
        if (entry->state == ENTRY_RUNNING && now_ms >= entry_deadline(entry)) {
            step_entry(book, entry, &tick, fx);
        }
        collect_result(book, entry);
    }
}

bool order_book_answer(struct order_book *book,
                       const struct agent_event *event,
                       struct agent_effects *fx)
{
    uint32_t serial = (uint32_t)(event->req_id >> 32);
    for (int i = 0; i < book->count; i++) {
        struct order_entry *entry = book->entries[i];
        if (entry->state == ENTRY_RUNNING && entry->serial == serial) {
            /* An expired order sends nothing more: frozen before its answer is looked at. */
            if (event->now_ms >= entry->expires_ms) {
                freeze_entry(book, entry, ERR_TIMEOUT, "the order was not renewed in time");
            }
            step_entry(book, entry, event, fx);
            collect_result(book, entry);
            return true;
        }
    }
    return false;
}

int64_t order_book_deadline(const struct order_book *book, int64_t now_ms, bool may_begin)
{
    int64_t deadline_ms = NEVER;
    for (int i = 0; i < book->count; i++) {
        const struct order_entry *entry = book->entries[i];
        if (entry->state == ENTRY_ENDED) {
            continue;
        }
        bool is_expired = now_ms >= entry->expires_ms; /* frozen already: awaits an answer */
        deadline_ms = deadline_min(deadline_ms, is_expired ? NEVER : entry->expires_ms);
        deadline_ms = deadline_min(deadline_ms, entry_deadline(entry));
        if (entry->state == ENTRY_WAITING && obstacle(book, entry, may_begin) == NULL) {
            deadline_ms = now_ms;
        }
    }
    return deadline_ms;
}

int order_book_running_count(const struct order_book *book)
{
    int count = 0;
    for (int i = 0; i < book->count; i++) {
        count += book->entries[i]->state == ENTRY_RUNNING;
    }
    return count;
}

struct order_status *order_book_statuses(const struct order_book *book, int *count)
{
    *count = book->count;
    if (book->count == 0) {
        return NULL;
    }
    struct order_status *statuses = xcalloc((size_t)book->count, sizeof(*statuses));
    for (int i = 0; i < book->count; i++) {
        const struct order_entry *entry = book->entries[i];
        if (entry->work != NULL) {
            order_work_status(entry->work, &statuses[i]);
        } else if (entry->state == ENTRY_ENDED) {
            statuses[i] = entry->ended;
        } else {
            statuses[i] = (struct order_status){.id = entry->order.id,
                                                .state = ORDER_RUNNING,
                                                .call_us_p50 = -1,
                                                .call_us_max = -1};
            (void)snprintf(statuses[i].reason, sizeof(statuses[i].reason), "%s",
                           entry->waits_for != NULL ? entry->waits_for : "begins");
        }
    }
    return statuses;
}
