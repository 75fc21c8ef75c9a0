/* store_etcd.h — the parts of the etcd store among themselves. Private to store_etcd*.c.
 *
 *   store_etcd.c        opening, endpoints, closing, the one timer
 *   store_etcd_call.c   one request: attempts, rotation, what an error means
 *   store_etcd_auth.c   the token
 *   store_etcd_watch.c  one watch: list, stream, relist
 *   store_etcd_json.c   bodies
 */
#ifndef DROVER_IO_STORE_ETCD_H
#define DROVER_IO_STORE_ETCD_H

#include "common/base/clocktype.h"
#include "common/base/prng.h"
#include "common/io/http_client.h"
#include "common/io/store_backend.h"
#include "common/io/store_etcd_json.h"

#define ETCD_ENDPOINTS_MAX 16
#define ETCD_CONNECT_MS_MAX \
    300 /* within a site a TCP and TLS handshake takes a few ms; then the next endpoint's turn */
#define ETCD_ATTEMPT_MS_MAX                                                                      \
    1000 /* one attempt of a request that may be repeated: leaves time for others in a lease TTL \
          */
#define ETCD_PAUSE_MS_BASE 50 /* after every endpoint failed once, doubling */
#define ETCD_PAUSE_MS_MAX 1000

/* Each lane has its own connections and its own favourite endpoint, so that a slow request or a
 * watch on a stopped member never delays a keepalive. */
enum etcd_lane { ETCD_LANE_REQUEST, ETCD_LANE_LEASE, ETCD_LANE_WATCH, ETCD_LANE_NR };

struct etcd_lane_state {
    struct http_client *client;
    int endpoint;  /* index of the one to use */
    bool is_fresh; /* the last attempt failed: do not trust kept connections */
};

enum etcd_auth_state {
    ETCD_AUTH_OFF,  /* no user configured, or the cluster has authentication disabled */
    ETCD_AUTH_NONE, /* a token is needed */
    ETCD_AUTH_BUSY, /* asking for one; calls and watches wait */
    ETCD_AUTH_READY,
};

struct etcd_auth {
    enum etcd_auth_state state;
    char *user;     /* owned; NULL = none */
    char *password; /* owned; wiped on release */
    char *header;   /* "Authorization: <token>"; owned; NULL unless READY */
    struct http_call *http;
    int endpoint; /* asked last */
    int timeouts; /* in a row, counted up to a limit: gives the next try more time */
};

struct etcd_store {
    struct store base; /* first */
    char *prefix;      /* owned, "/drover/" */
    bool is_tls;
    char *ca_file;
    char *cert_file;
    char *key_file;
    char *endpoints[ETCD_ENDPOINTS_MAX]; /* owned, "https://host:2379" */
    int endpoint_count;
    struct etcd_lane_state lanes[ETCD_LANE_NR];
    int open_handles; /* lanes and the timer */
    uv_timer_t timer; /* the earliest wake_ms of calls and watches */
    struct store_call_list calls;
    struct etcd_auth auth;
    uint64_t cluster_id; /* of the first member that answered; 0 = none yet */
    uint64_t raft_term;  /* highest seen */
    struct prng prng;    /* jitter only */
};

/* ---- store_etcd.c ---- */

/* A POST to the lane's endpoint with the token; the caller sets body, limits and callbacks in
 * '*request'. */
struct http_call *etcd_post(struct etcd_store *store,
                            enum etcd_lane lane,
                            const char *path,
                            struct http_request *request);
/* The endpoint failed: the lane moves to the next one, unless it already has. */
void etcd_lane_rotate(struct etcd_store *store, enum etcd_lane lane, int endpoint);
void etcd_lane_succeeded(struct etcd_store *store, enum etcd_lane lane);
/* ERR_UNAVAILABLE for a member that lags behind an election, ERR_PROTOCOL for one of another
 * cluster. */
int etcd_check_header(struct etcd_store *store,
                      int endpoint,
                      const struct etcd_header *header,
                      struct err *err) WARN_UNUSED;
/* Re-arms the timer after any wake_ms has changed. */
void etcd_timer_arm(struct etcd_store *store);
/* Milliseconds to wait after 'failures' (>= 1) failed rounds. */
int64_t etcd_pause_ms(struct etcd_store *store, int failures);

/* ---- store_etcd_call.c ---- */

void etcd_call_begin(struct etcd_store *store, struct store_call *call);
int64_t etcd_calls_wake_ms(const struct etcd_store *store);
void etcd_calls_wake(struct etcd_store *store, int64_t now_ms);
/* The token has come, or cannot be had now (err: repeat later), or never (is_final). */
void etcd_calls_token(struct etcd_store *store, const struct err *err, bool is_final);
void etcd_calls_close(struct etcd_store *store);
/* True if this error reply means that the token must be renewed. */
bool etcd_error_is_token(const struct etcd_error *error);
/* ERR_* of an error reply, with text and hint. '*is_certain': the request was certainly not
 * executed. */
int etcd_error_class(const struct etcd_store *store,
                     int endpoint,
                     const struct etcd_error *error,
                     bool *is_certain,
                     struct err *err);

/* ---- store_etcd_auth.c ---- */

/* True when a request may be sent now; otherwise etcd_calls_token() and etcd_watches_token()
 * follow. */
bool etcd_auth_ready(struct etcd_store *store);
/* The token of 'header' (may be NULL) was refused: forget it, unless it has been renewed since. */
void etcd_auth_refused(struct etcd_store *store, const char *header);
void etcd_auth_close(struct etcd_store *store);
void etcd_auth_release(struct etcd_auth *auth);

/* ---- store_etcd_watch.c ---- */

void etcd_watch_begin(struct store *base, struct store_watch *watch);
void etcd_watch_end(struct store *base, struct store_watch *watch);
int64_t etcd_watches_wake_ms(const struct etcd_store *store);
void etcd_watches_wake(struct etcd_store *store, int64_t now_ms);
void etcd_watches_token(struct etcd_store *store, bool is_ready);
/* A request to this endpoint got no answer: streams on it may be as dead. */
void etcd_watches_suspect(struct etcd_store *store, int endpoint);

#endif
