/* text_call.h — one question to a server that speaks plain text and then hangs up: connect, send,
 * read to the end.
 *
 * For HAProxy's runtime API and the like, over a Unix socket or TCP. The answer is bounded, the
 * whole exchange has one deadline. Must not know what is said. Loop thread only. */
#ifndef DROVER_IO_TEXT_CALL_H
#define DROVER_IO_TEXT_CALL_H

#include "common/base/err.h"
#include "common/base/strbuf.h"
#include "common/io/loop.h"

#include <stdint.h>

#define TEXT_CALL_UNIX_PREFIX "unix:"

struct text_call;

/* All borrowed for the call of text_call_start() only. */
struct text_call_spec {
    const char *place; /* "unix:/path" or "host:port" */
    const char *text;  /* sent as it is */
    int64_t timeout_ms;
    size_t answer_size_max; /* > 0, bytes */
    /* Called once, never from inside text_call_start(). err->code 0: the server said 'answer' and
     * closed; ERR_INVALID: the place is none; ERR_UNAVAILABLE: no connection, or it broke;
     * ERR_TIMEOUT; ERR_LIMIT: it says too much. 'answer' is valid during the call. */
    void (*done)(void *user, const struct err *err, const struct strbuf *answer);
    void *user;
};

/* 0 when 'place' can be called; ERR_INVALID says what is wrong with it. */
int text_call_check(const char *place, struct err *err) WARN_UNUSED;

struct text_call *text_call_start(struct loop *loop, const struct text_call_spec *spec);
/* done is not called. Only before it. NULL is legal. */
void text_call_cancel(struct text_call *call);

#endif
