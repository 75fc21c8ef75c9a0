/* link.h — one non-blocking connection to one node: bytes out, replies in, what was asked in
 * between.
 *
 * Knows sockets and the order of questions. Does not know slots, redirections, retries or time
 * limits: cluster.h does. A link that failed keeps its unanswered questions until the cluster has
 * taken them with link_pop(). */
#ifndef DROVER_LOAD_LINK_H
#define DROVER_LOAD_LINK_H

#include "common/base/err.h"
#include "common/base/strbuf.h"

#include <hiredis/hiredis.h>
#include <stdbool.h>
#include <stdint.h>

struct request;

enum link_state {
    LINK_DOWN,       /* no socket */
    LINK_CONNECTING, /* connect() under way; what is pushed waits */
    LINK_UP,         /* connected; what is pushed may have been executed */
};

/* What an expected reply is for. */
enum question {
    QUESTION_REQUEST, /* a request of the load, fill or check */
    QUESTION_ASKING,  /* ASKING before a request; its answer means nothing */
    QUESTION_AUTH,
    QUESTION_MAP, /* CLUSTER SLOTS */
};

struct pending {
    enum question question;
    struct request *request; /* not owned; NULL unless QUESTION_REQUEST */
    int64_t pushed_ns;
};

struct link {
    /* Set by link_open(). */
    int fd;       /* -1 when down */
    int epoll_fd; /* not owned */
    uint64_t tag; /* epoll data of this link */
    enum link_state state;
    uint32_t epoll_events; /* what is registered now */
    struct redisReader *reader;
    int64_t opened_ns;
    /* Bytes to send; those before out_sent are gone already. */
    struct strbuf out;
    size_t out_sent;
    /* Ring of questions without answer, oldest at 'head'. */
    struct pending *ring;
    uint32_t head;
    uint32_t count;
    uint32_t capacity; /* 0 or a power of two */
    /* Survive a reconnection. */
    int64_t retry_at_ns; /* not opened again before this */
    unsigned failures;   /* in a row, since the last answer */
};

struct sockaddr;

/* Makes a zeroed link a valid one that is down. */
void link_init(struct link *link);
void link_release(struct link *link);

/* Starts to connect to 'address'. Returns 0 or ERR_IO. The link must be down. */
int link_open(struct link *link, const struct sockaddr *address, int epoll_fd, struct err *err)
    WARN_UNUSED;

/* Closes the socket and forgets unsent bytes; the questions stay for link_pop(). */
void link_close(struct link *link);

/* Appends a command and what its answer is for. 'request' may be NULL. */
void link_push(struct link *link, struct pending pending, const struct strbuf *command);

/* Takes the oldest question; false if there is none. */
bool link_pop(struct link *link, struct pending *pending);

/* The oldest question, NULL if there is none. */
const struct pending *link_peek(const struct link *link);

/* Sends what the socket takes. Returns 0 or a negative errno. */
int link_flush(struct link *link);

/* Ends a connect() that epoll reported ready. Returns 0 (the link is up) or a negative errno. */
int link_connected(struct link *link);

/* Reads once into 'buffer' and feeds the reply parser. Returns the number of bytes (0: nothing
 * there) or a negative errno, -EPIPE when the peer closed. */
int link_read(struct link *link, char *buffer, size_t size);

/* The next complete reply, NULL if none; the caller frees it with freeReplyObject(). Sets 'broken'
 * when the bytes are no RESP. */
struct redisReply *link_reply(struct link *link, bool *broken);

#endif
