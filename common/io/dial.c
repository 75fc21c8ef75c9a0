/* dial.c — see dial.h. */
#include "common/io/dial.h"

#include "common/base/alloc.h"
#include "common/base/check.h"
#include "common/io/clock.h"
#include "common/io/redis_socket.h"

#include <inttypes.h>
#include <stdlib.h>

struct dial {
    struct dialer *dialer;
    struct dial *previous; /* the dialer's list */
    struct dial *next;
    struct redis_socket *socket;
    struct loop_timer *timer;
    int64_t timeout_ms;
    void (*done)(void *user, const struct err *err);
    void *user;
};

struct dialer {
    struct redis_socket_place place; /* its buffers are owned */
    struct loop *loop;
    struct dial *dials;
};

struct dialer *dialer_new(struct loop *loop)
{
    struct dialer *dialer = xcalloc(1, sizeof(*dialer));
    dialer->loop = loop;
    dialer->place = (struct redis_socket_place){
        .loop = loop, .buffers = xmalloc(sizeof(struct redis_socket_buffers))};
    return dialer;
}

static void end(struct dial *dial, const struct err *err)
{
    void (*done)(void *user, const struct err *err) = dial->done;
    void *user = dial->user;
    const struct err told = *err; /* it may live in the socket */
    if (dial->previous != NULL) {
        dial->previous->next = dial->next;
    } else {
        dial->dialer->dials = dial->next;
    }
    if (dial->next != NULL) {
        dial->next->previous = dial->previous;
    }
    redis_socket_close(dial->socket);
    loop_timer_free(dial->timer);
    free(dial);
    done(user, &told);
}

void dialer_free(struct dialer *dialer)
{
    if (dialer == NULL) {
        return;
    }
    struct err err = {0};
    (void)err_set(&err, ERR_CANCELLED, "the agent is closing");
    while (dialer->dials != NULL) {
        end(dialer->dials, &err);
    }
    free(dialer->place.buffers);
    free(dialer);
}

static void on_connected(void *user)
{
    const struct err none = {0};
    end(user, &none);
}

/* A peer that speaks first is there as well; its words are nobody's business. */
static void on_received(void *user, const char *data, size_t size)
{
    (void)user;
    (void)data;
    (void)size;
}

static void on_failed(void *user, const struct err *err)
{
    end(user, err);
}

static void on_timeout(void *user)
{
    struct dial *dial = user;
    struct err err = {0};
    (void)err_set(&err, ERR_TIMEOUT, "no connection within %" PRId64 " ms", dial->timeout_ms);
    end(dial, &err);
}

void dialer_dial(struct dialer *dialer,
                 const struct address *address,
                 int64_t timeout_ms,
                 void (*done)(void *user, const struct err *err),
                 void *user)
{
    CHECK(timeout_ms > 0);
    struct dial *dial = xcalloc(1, sizeof(*dial));
    *dial = (struct dial){.dialer = dialer,
                          .next = dialer->dials,
                          .timeout_ms = timeout_ms,
                          .done = done,
                          .user = user};
    if (dialer->dials != NULL) {
        dialer->dials->previous = dial;
    }
    dialer->dials = dial;
    dial->timer = loop_timer_new(dialer->loop, on_timeout, dial);
    loop_timer_set(dial->timer, clock_now_ms() + timeout_ms);
    struct redis_socket_handler handler = {
        .connected = on_connected, .received = on_received, .failed = on_failed, .user = dial};
    dial->socket = redis_socket_new(&dialer->place, address, &handler);
}
