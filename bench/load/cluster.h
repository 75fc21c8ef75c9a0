/* cluster.h — a Redis Cluster as the load client sees it: requests go in, each comes out exactly
 * once.
 *
 * Routes by slot, follows MOVED and ASK, refreshes the slot map, reconnects with back-off, counts
 * every kind of trouble and repeats what it was told to tolerate. Does not know keys, values or
 * latencies. One thread, no locks. Source: Redis cluster specification, redirections. */
#ifndef DROVER_LOAD_CLUSTER_H
#define DROVER_LOAD_CLUSTER_H

#include "bench/load/nodes.h"
#include "common/base/err.h"
#include "common/base/strbuf.h"

#include <stdbool.h>
#include <stdint.h>

/* Kinds of trouble that a client of the cluster sees. X(NAME, word of --tolerate and JSON) */
#define FAILURES(X)                                                              \
    X(FAILURE_TRYAGAIN, "tryagain")       /* a key of several is on its way */   \
    X(FAILURE_CLUSTERDOWN, "clusterdown") /* CLUSTERDOWN, LOADING, MASTERDOWN */ \
    X(FAILURE_CONNECTION, "connection")   /* refused, reset, unreachable */      \
    X(FAILURE_TIMEOUT, "timeout")         /* no answer within timeout_ms */      \
    X(FAILURE_OTHER, "other")             /* any other error reply, endless redirections */

enum failure {
#define X(name, word) name,
    FAILURES(X)
#undef X
        FAILURE_NR
};

/* The word of a failure. Never NULL. */
const char *failure_word(enum failure failure);

/* Every failure that is worth repeating. */
#define TOLERATE_ALL (~(1U << FAILURE_OTHER))

/* How a request ended. */
enum outcome {
    OUTCOME_REPLY,   /* the node that serves the key answered, maybe with an error reply */
    OUTCOME_REFUSED, /* certainly not executed */
    OUTCOME_UNKNOWN, /* sent, and the answer was lost: executed or not */
};

struct request {
    /* Set by the caller before cluster_submit(). The caller owns the struct and 'command'; both
     * must live until 'done'. */
    struct strbuf command;
    uint16_t slot;
    bool repeatable; /* executing it twice does no harm, so it may be sent again when its fate is
                        unknown */
    void *owner;     /* for the caller */
    /* Called once, from within cluster_wait(). 'reply' is NULL unless OUTCOME_REPLY and valid only
     * during the call. */
    void (*done)(struct request *request, enum outcome outcome, const struct redisReply *reply);
    /* The cluster's own. */
    struct request *next;
    int64_t due_ns; /* when it is sent again */
    int64_t give_up_ns;
    unsigned redirections;
    enum outcome outcome;
};

/* First in, first out. */
struct request_queue {
    struct request *first;
    struct request *last;
};

struct counters {
    uint64_t moved;
    uint64_t ask;
    uint64_t failures[FAILURE_NR]; /* tolerated ones too */
    uint64_t retries;              /* sent again after a failure */
    uint64_t gave_up;              /* tolerated, repeated, and still not done in time */
    uint64_t reconnects;           /* connections that were up and were lost */
    uint64_t map_refreshes;
};

struct cluster_config {
    const char *const *seeds; /* "host:port" */
    unsigned seed_count;
    const char *user;     /* may be NULL */
    const char *password; /* NULL: no AUTH */
    unsigned connections_per_node;
    int64_t timeout_ms;   /* wait for one answer */
    int64_t retry_for_ms; /* from submission until a tolerated failure is final */
    unsigned tolerate;    /* bit set of 1 << FAILURE_* that are repeated */
};

struct cluster {
    struct cluster_config cfg;
    struct nodes nodes;
    struct counters counters;
    uint64_t in_flight; /* submitted and not done */
    int64_t read_at_ns; /* when the bytes of the answer at hand were read: the end of its latency */
    char last_error[640]; /* newest unexpected error, "" if none */
    bool stopped;         /* a watched signal came */
    /* Private. */
    int epoll_fd;
    int signal_fd; /* -1 unless cluster_watch_signals() */
    bool map_known;
    bool map_asked; /* an answer is on its way */
    bool map_wanted;
    int64_t map_next_ns;           /* not asked before this */
    uint16_t map_teller;           /* who probably knows best */
    unsigned map_turn;             /* whom to ask when nobody knows best */
    struct request_queue retries;  /* ordered by due_ns */
    struct request_queue finished; /* failed for good, 'done' not yet called */
    char *buffer;
};

/* Makes an unconnected cluster; the strings of cfg must live as long as it does. */
int cluster_init(struct cluster *c, const struct cluster_config *cfg, struct err *err) WARN_UNUSED;
void cluster_release(struct cluster *c);

/* Learns the slot map from a seed within 'limit_ms'. Returns 0, ERR_UNAVAILABLE, ERR_AUTH or
 * ERR_PROTOCOL. */
int cluster_connect(struct cluster *c, int64_t limit_ms, struct err *err) WARN_UNUSED;

/* From now on SIGINT and SIGTERM set c->stopped instead of ending the process. */
int cluster_watch_signals(struct cluster *c, struct err *err) WARN_UNUSED;

/* Changes which failures are repeated; for requests that fail from now on. */
void cluster_tolerate(struct cluster *c, unsigned tolerate);

/* Takes a request on; see struct request. Never calls 'done' itself. */
void cluster_submit(struct cluster *c, struct request *request);

/* Sends what is queued, waits until something happens or 'until_ns' is reached, and handles it. */
void cluster_wait(struct cluster *c, int64_t until_ns);
/* The same, but sleeps until then whatever happens. */
void cluster_rest(struct cluster *c, int64_t until_ns);

#endif
