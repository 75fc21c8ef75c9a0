/* order_book.h — the orders an agent has: accepted, waiting, running, ended and not yet forgotten.
 *
 * An order is known by its id: the same id twice is the same order. It is carried out under its
 * fence and until its expiry; renewals move the expiry. Once a higher fence is seen, orders of
 * older fences are frozen: their running command ends, nothing follows, and they are reported as
 * expired. Ended orders stay until the coordinator says that their result is safe. One source is
 * never worked on by two moves at once, a node never by two tasks, nor by a task and a move.
 * Source: docs/design.md section 5. */
#ifndef DROVER_AGENT_CORE_ORDER_BOOK_H
#define DROVER_AGENT_CORE_ORDER_BOOK_H

#include "agent/core/agent.h"
#include "agent/core/order_work.h"
#include "common/base/prng.h"

#define ORDERS_MAX 256 /* known at once, ended ones included; more are refused with ERR_LIMIT */
#define ORDERS_RUNNING_MAX 64 /* each has its own connections and buffers */

enum order_entry_state {
    ENTRY_WAITING, /* for its fence to be acknowledged, for its source to be free, or for room */
    ENTRY_RUNNING,
    ENTRY_ENDED,
};

struct order_entry {
    struct order order;
    enum order_entry_state state;
    int64_t expires_ms;
    bool is_stopping;
    struct order_work *work;   /* RUNNING; owned */
    uint32_t serial;           /* of its request ids */
    struct order_status ended; /* ENDED */
    const char *waits_for;     /* WAITING: in words */
};

struct order_book {
    struct order_entry **entries; /* in the order of arrival; owned */
    int count;
    int capacity;
    struct order_means means; /* set means.instances before the first order, to start servers */
    struct instance_turn turn;
    struct prng prng;
    uint32_t *last_serial; /* the agent's counter of serials */
    bool has_news;         /* something worth a progress report, soon */
    bool has_result;       /* an order ended: report at once */
};

void order_book_init(struct order_book *book,
                     const struct mover_login *login,
                     uint64_t seed,
                     uint32_t *last_serial);
void order_book_release(struct order_book *book);

/* Takes an order whose answer's report was sent at sent_ms. 'fence' is the highest seen: an order
 * under a lower one is refused, visibly, as FAILED with ERR_FENCED. A known id changes nothing but
 * its expiry. */
void order_book_give(struct order_book *book,
                     const struct order *order,
                     int64_t sent_ms,
                     int64_t fence);
void order_book_renew(struct order_book *book, const struct renewal *renewal, int64_t sent_ms);
void order_book_stop(struct order_book *book, const struct order_id *id);
/* The agent ends: as order_book_stop() for each, save that a server that is being made is left to
 * whoever asks for it next. */
void order_book_stop_all(struct order_book *book);
void order_book_forget(struct order_book *book, const struct order_id *id);

/* Freezes whatever was ordered under a fence lower than this. */
void order_book_fence(struct order_book *book, int64_t fence);
/* True when no command ordered under a lower fence can still be running. */
bool order_book_is_clear_below(const struct order_book *book, int64_t fence);

/* Starts, expires and ends orders. may_begin: the fence is acknowledged, so new work may start. */
void order_book_run(struct order_book *book,
                    int64_t now_ms,
                    bool may_begin,
                    struct agent_effects *fx);
/* AGENT_REDIS: true when the answer was for one of the orders. */
bool order_book_answer(struct order_book *book,
                       const struct agent_event *event,
                       struct agent_effects *fx);
int64_t order_book_deadline(const struct order_book *book, int64_t now_ms, bool may_begin);
int order_book_running_count(const struct order_book *book);
/* New array of 'count' statuses, for a report; NULL when there are none. */
struct order_status *order_book_statuses(const struct order_book *book, int *count);

#endif
