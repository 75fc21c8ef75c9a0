/* store_etcd_call.c — one request to etcd: its attempts, and what each failure says about whether
 * it was done.
 *
 *   WAITING (for a token) --> SENDING --> answered, refused, or no clear answer
 *        ^                       |
 *        +------- PAUSED <-------+ repeat: certainly not done, or safe to do twice
 *
 * The rule that everything hangs on: a TXN is repeated only while it certainly has not reached a
 * server. */
#include "common/io/store_etcd.h"

#include "common/base/alloc.h"
#include "common/base/check.h"

#include <stdlib.h>
#include <string.h>

#define SMALL_ANSWER_SIZE_MAX \
    1048576 /* everything but a RANGE; a TXN answers a few bytes a write */
#define RANGE_ANSWER_SIZE_MAX \
    (2 * (size_t)STORE_RANGE_BYTES_MAX) /* base64 and JSON around the bytes */

enum call_step {
    STEP_WAITING, /* for a token; leaves by etcd_calls_token() or the deadline */
    STEP_SENDING, /* the HTTP request has its own timeout within the deadline */
    STEP_PAUSED,  /* until wake_ms or the deadline */
};

struct etcd_attempt {
    struct store_call *call;
    struct http_call *http; /* SENDING */
    enum call_step step;
    enum etcd_lane lane;
    int endpoint;       /* of the running attempt */
    char *token_header; /* used by the running attempt; owned; NULL = none */
    int failures;       /* attempts so far that have to be repeated */
    bool is_reauthed;   /* a refused token was renewed once: the second refusal is final */
    bool is_renewing;   /* GRANT: the lease exists, now keep it alive */
    bool is_maybe_done; /* some attempt may have reached a server */
    int64_t wake_ms;    /* PAUSED */
    struct err last;    /* of the last attempt; code 0 before the first */
};

static void attempt_send(struct etcd_store *store, struct etcd_attempt *attempt);
static void attempt_done(void *user, struct http_response *response);
static void attempt_repeat(struct etcd_store *store,
                           struct etcd_attempt *attempt,
                           const struct err *err);
static void attempt_give_up(struct etcd_store *store, struct etcd_attempt *attempt);
static void attempt_fail(struct etcd_store *store,
                         struct etcd_attempt *attempt,
                         const struct err *err);

void etcd_call_begin(struct etcd_store *store, struct store_call *call)
{
    struct etcd_attempt *attempt = xcalloc(1, sizeof(*attempt));
    attempt->call = call;
    switch (call->request.kind) {
    case STORE_RANGE:
    case STORE_TXN:
        attempt->lane = ETCD_LANE_REQUEST;
        break;
    case STORE_LEASE_GRANT:
    case STORE_LEASE_KEEPALIVE:
    case STORE_LEASE_REVOKE:
        attempt->lane = ETCD_LANE_LEASE;
        break;
    }
    call->attempt = attempt;
    store_call_list_add(&store->calls, call);
    attempt_send(store, attempt);
}

int64_t etcd_calls_wake_ms(const struct etcd_store *store)
{
    int64_t wake_ms = NEVER;
    for (const struct store_call *call = store->calls.head; call != NULL; call = call->next) {
        const struct etcd_attempt *attempt = call->attempt;
        switch (attempt->step) {
        case STEP_WAITING:
            wake_ms = deadline_min(wake_ms, call->deadline_ms);
            break;
        case STEP_PAUSED:
            wake_ms = deadline_min(wake_ms, deadline_min(attempt->wake_ms, call->deadline_ms));
            break;
        case STEP_SENDING:
            break;
        }
    }
    return wake_ms;
}

void etcd_calls_wake(struct etcd_store *store, int64_t now_ms)
{
    struct store_call *next = NULL;
    for (struct store_call *call = store->calls.head; call != NULL; call = next) {
        next = call->next;
        struct etcd_attempt *attempt = call->attempt;
        if (attempt->step == STEP_SENDING) {
            continue;
        }
        if (call->deadline_ms <= now_ms) {
            attempt_give_up(store, attempt);
        } else if (attempt->step == STEP_PAUSED && attempt->wake_ms <= now_ms) {
            attempt_send(store, attempt);
        }
    }
}

void etcd_calls_token(struct etcd_store *store, const struct err *err, bool is_final)
{
    struct store_call *next = NULL;
    for (struct store_call *call = store->calls.head; call != NULL; call = next) {
        next = call->next;
        struct etcd_attempt *attempt = call->attempt;
        if (attempt->step != STEP_WAITING) {
            continue;
        }
        if (err == NULL) {
            attempt_send(store, attempt);
        } else if (is_final) {
            attempt_fail(store, attempt, err);
        } else {
            attempt_repeat(store, attempt, err);
        }
    }
}

void etcd_calls_close(struct etcd_store *store)
{
    while (store->calls.head != NULL) {
        struct etcd_attempt *attempt = store->calls.head->attempt;
        struct err err = {0};
        bool is_unknown = attempt->call->request.kind == STORE_TXN && attempt->step == STEP_SENDING;
        if (is_unknown) {
            (void)err_set(
                &err, ERR_TIMEOUT,
                "the store was closed while etcd had the request: its outcome is unknown");
        } else {
            (void)err_set(&err, ERR_UNAVAILABLE, "the store was closed before etcd answered");
        }
        attempt_fail(store, attempt, &err);
    }
}

/* ---- ends of a call ---- */

static void attempt_release(struct etcd_store *store, struct etcd_attempt *attempt)
{
    if (attempt->http != NULL) {
        http_call_cancel(attempt->http);
    }
    store_call_list_remove(&store->calls, attempt->call);
    attempt->call->attempt = NULL;
    free(attempt->token_header);
    free(attempt);
}

static void attempt_fail(struct etcd_store *store,
                         struct etcd_attempt *attempt,
                         const struct err *err)
{
    struct store_call *call = attempt->call;
    attempt_release(store, attempt);
    store_call_fail(call, err);
}

/* The time is over and no attempt got through. */
static void attempt_give_up(struct etcd_store *store, struct etcd_attempt *attempt)
{
    const struct store_request *request = &attempt->call->request;
    bool is_unknown = attempt->is_maybe_done && request->kind != STORE_RANGE;
    struct err err = {0};
    (void)err_set(&err, is_unknown ? ERR_TIMEOUT : ERR_UNAVAILABLE,
                  "etcd gave no answer within %lld ms at %d endpoint%s; last: %.300s",
                  (long long)request->timeout_ms, store->endpoint_count,
                  store->endpoint_count == 1 ? "" : "s",
                  attempt->last.code == 0 ? "waiting for a token" : attempt->last.text);
    err_hint(&err, "%s",
             attempt->last.hint[0] != '\0'
                 ? attempt->last.hint
                 : "check that a majority of the etcd members runs and is reachable from here");
    attempt_fail(store, attempt, &err);
}

/* Again on the lane's endpoint; after a round of all endpoints with a pause. */
static void attempt_repeat(struct etcd_store *store,
                           struct etcd_attempt *attempt,
                           const struct err *err)
{
    attempt->last = *err;
    attempt->failures++;
    int64_t now_ms = store_now_ms();
    if (attempt->call->deadline_ms <= now_ms) {
        attempt_give_up(store, attempt);
        return;
    }
    int rounds = attempt->failures / store->endpoint_count;
    bool is_round_over = attempt->failures % store->endpoint_count == 0;
    attempt->step = STEP_PAUSED;
    attempt->wake_ms = now_ms + (is_round_over ? etcd_pause_ms(store, rounds) : 0);
    etcd_timer_arm(store);
}

/* ---- one attempt ---- */

static void attempt_send(struct etcd_store *store, struct etcd_attempt *attempt)
{
    const struct store_request *request = &attempt->call->request;
    if (!etcd_auth_ready(store)) {
        attempt->step = STEP_WAITING;
        return;
    }
    int64_t left_ms = attempt->call->deadline_ms - store_now_ms();
    if (left_ms <= 0) {
        attempt_give_up(store, attempt);
        return;
    }
    struct store_request renewal = {.kind = STORE_LEASE_KEEPALIVE, .lease_id = request->lease_id};
    const char *path = NULL;
    char *body =
        etcd_encode_request(attempt->is_renewing ? &renewal : request, store->prefix, &path);
    bool is_once = request->kind == STORE_TXN;
    struct http_request http = {
        .body = body,
        .body_size = strlen(body),
        .timeout_ms = is_once || left_ms < ETCD_ATTEMPT_MS_MAX ? left_ms : ETCD_ATTEMPT_MS_MAX,
        .response_size_max =
            request->kind == STORE_RANGE ? RANGE_ANSWER_SIZE_MAX : SMALL_ANSWER_SIZE_MAX,
        .done = attempt_done,
        .user = attempt};
    attempt->step = STEP_SENDING;
    attempt->endpoint = store->lanes[attempt->lane].endpoint;
    free(attempt->token_header);
    attempt->token_header = store->auth.header == NULL ? NULL : xstrdup(store->auth.header);
    attempt->http = etcd_post(store, attempt->lane, path, &http);
    free(body);
}

/* No HTTP answer. */
static void attempt_lost(struct etcd_store *store,
                         struct etcd_attempt *attempt,
                         const struct http_response *response)
{
    const struct store_request *request = &attempt->call->request;
    struct err err = response->err;
    etcd_lane_rotate(store, attempt->lane, attempt->endpoint);
    if (response->code == ERR_TIMEOUT) {
        etcd_watches_suspect(store, attempt->endpoint);
    }
    if (response->code == ERR_IO && store->is_tls && store->cert_file == NULL) {
        /* With TLS 1.3 the server refuses after the handshake; libcurl's text seldom says why. */
        err_hint(&err,
                 "if etcd asks for client certificates, give the store a certificate and a key");
    }
    if (response->code == ERR_LIMIT && request->kind == STORE_RANGE) {
        attempt_fail(store, attempt, &err);
        return;
    }
    if (request->kind == STORE_TXN && response->is_maybe_received) {
        (void)err_wrap(&err, "no clear answer to a transaction, its outcome is unknown");
        err.code = ERR_TIMEOUT;
        attempt_fail(store, attempt, &err);
        return;
    }
    attempt->is_maybe_done = attempt->is_maybe_done || response->is_maybe_received;
    bool is_setup = response->code == ERR_AUTH ||
                    response->code == ERR_INVALID; /* TLS: waiting mends nothing */
    if (is_setup && attempt->failures + 1 >= store->endpoint_count) {
        attempt_fail(store, attempt, &err);
        return;
    }
    attempt_repeat(store, attempt, &err);
}

/* An error reply. */
static void attempt_refused(struct etcd_store *store,
                            struct etcd_attempt *attempt,
                            const struct etcd_error *error)
{
    struct store_call *call = attempt->call;
    struct err err = {0};
    bool is_certain = false;
    int code = etcd_error_class(store, attempt->endpoint, error, &is_certain, &err);
    if (etcd_error_is_token(error) && store->auth.user != NULL && !attempt->is_reauthed) {
        attempt->is_reauthed = true;
        etcd_auth_refused(store, attempt->token_header);
        attempt_send(store, attempt);
        return;
    }
    if (call->request.kind == STORE_LEASE_GRANT && code == ERR_EXISTS) {
        attempt->is_renewing = true;
        attempt_send(store, attempt);
        return;
    }
    bool is_gone_lease =
        call->request.kind == STORE_LEASE_REVOKE || call->request.kind == STORE_LEASE_KEEPALIVE;
    if (is_gone_lease && code == ERR_NOT_FOUND) {
        attempt_release(store, attempt);
        store_call_finish(call); /* as preset: code 0, TTL 0 */
        return;
    }
    if (!is_certain && call->request.kind == STORE_TXN) {
        (void)err_wrap(&err, "no clear answer to a transaction, its outcome is unknown");
        err.code = ERR_TIMEOUT;
        etcd_lane_rotate(store, attempt->lane, attempt->endpoint);
        attempt_fail(store, attempt, &err);
        return;
    }
    if (code == ERR_UNAVAILABLE) {
        attempt->is_maybe_done = attempt->is_maybe_done || !is_certain;
        etcd_lane_rotate(store, attempt->lane, attempt->endpoint);
        attempt_repeat(store, attempt, &err);
        return;
    }
    attempt_fail(store, attempt, &err);
}

/* Status 200. */
static void attempt_answered(struct etcd_store *store,
                             struct etcd_attempt *attempt,
                             struct http_response *response)
{
    struct store_call *call = attempt->call;
    bool is_txn = call->request.kind == STORE_TXN;
    struct store_request renewal = {.kind = STORE_LEASE_KEEPALIVE,
                                    .lease_id = call->request.lease_id};
    const struct store_request *asked = attempt->is_renewing ? &renewal : &call->request;
    struct etcd_header header = {0};
    struct store_result result = {.req_id = call->result.req_id};
    struct err err = {0};
    int rc = etcd_decode_result(asked, store->prefix, &response->body, &header, &result, &err);
    if (rc == 0) {
        rc = etcd_check_header(store, attempt->endpoint, &header, &err);
        if (rc == ERR_UNAVAILABLE && is_txn) {
            rc = 0; /* a transaction was ordered by raft, whatever term the member believes in */
        }
    } else {
        (void)err_wrap(&err, "%s", store->endpoints[attempt->endpoint]);
    }
    if (rc != 0) {
        store_result_release(&result);
        etcd_lane_rotate(store, attempt->lane, attempt->endpoint);
        if (is_txn) {
            (void)err_wrap(&err, "no clear answer to a transaction, its outcome is unknown");
            err.code = ERR_TIMEOUT;
            attempt_fail(store, attempt, &err);
            return;
        }
        attempt->is_maybe_done = true;
        attempt_repeat(store, attempt, &err);
        return;
    }
    etcd_lane_succeeded(store, attempt->lane);
    if (attempt->is_renewing && result.ttl_ms == 0) {
        attempt->is_renewing = false; /* it ended in between: grant it anew */
        store_result_release(&result);
        (void)err_set(&err, ERR_UNAVAILABLE, "lease %lld ended while it was granted again",
                      (long long)asked->lease_id);
        attempt_repeat(store, attempt, &err);
        return;
    }
    attempt_release(store, attempt);
    call->result = result;
    store_call_finish(call);
}

static void attempt_done(void *user, struct http_response *response)
{
    struct etcd_attempt *attempt = user;
    struct etcd_store *store = (struct etcd_store *)attempt->call->store;
    attempt->http = NULL;
    /* A streaming method can answer 200 and then say what went wrong. */
    static const char stream_error[] = "{\"error\"";
    bool is_stream_error = response->body.len >= sizeof(stream_error) - 1 &&
                           memcmp(response->body.data, stream_error, sizeof(stream_error) - 1) == 0;
    if (response->code != 0) {
        attempt_lost(store, attempt, response);
    } else if (response->status == 200 && !is_stream_error) {
        attempt_answered(store, attempt, response);
    } else {
        struct etcd_error error = {0};
        etcd_decode_error(&response->body, response->status, &error);
        attempt_refused(store, attempt, &error);
    }
    etcd_timer_arm(store);
}

/* ---- what an error reply means ---- */

bool etcd_error_is_token(const struct etcd_error *error)
{
    return error->http_status == 401 || error->code == 16 ||
           strstr(error->message, "user name is empty") != NULL ||
           strstr(error->message, "auth store is old") != NULL ||
           strstr(error->message, "invalid auth token") != NULL;
}

/* gRPC codes, google.golang.org/grpc/codes; texts from etcd's api/v3rpc/rpctypes/error.go. */
int etcd_error_class(const struct etcd_store *store,
                     int endpoint,
                     const struct etcd_error *error,
                     bool *is_certain,
                     struct err *err)
{
    const char *text = error->message;
    int code = ERR_UNAVAILABLE;
    const char *hint = "";
    *is_certain = true;
    switch (etcd_error_is_token(error) ? 16 : error->code) {
    case 3: /* INVALID_ARGUMENT */
        code = strstr(text, "too large") != NULL || strstr(text, "too many operations") != NULL
                   ? ERR_LIMIT
               : strstr(text, "authentication failed") != NULL ? ERR_AUTH
                                                               : ERR_INVALID;
        break;
    case 5: /* NOT_FOUND: a lease, or a path that this server does not know */
        code = strstr(text, "lease") != NULL ? ERR_NOT_FOUND : ERR_PROTOCOL;
        break;
    case 7: /* PERMISSION_DENIED */
        code = ERR_AUTH;
        hint = "give the etcd user readwrite on the store's prefix";
        break;
    case 8: /* RESOURCE_EXHAUSTED: full, or too many requests */
        code = strstr(text, "space") != NULL ? ERR_LIMIT : ERR_UNAVAILABLE;
        /* The request that finds the quota exceeded is applied and answered with this error all the
         * same (etcd #16659); only the later ones are refused, and the answers look alike. */
        *is_certain = code != ERR_LIMIT;
        hint = code == ERR_LIMIT
                   ? "compact and defragment etcd or raise its quota, then 'etcdctl alarm disarm'"
                   : "";
        break;
    case 9: /* FAILED_PRECONDITION */
        code = strstr(text, "lease already exists") != NULL ? ERR_EXISTS : ERR_UNAVAILABLE;
        break;
    case 11: /* OUT_OF_RANGE: compacted, or a revision to come */
        code = ERR_NOT_FOUND;
        break;
    case 12: /* UNIMPLEMENTED */
        code = ERR_PROTOCOL;
        break;
    case 16: /* UNAUTHENTICATED */
        code = ERR_AUTH;
        hint = store->auth.user == NULL
                   ? "etcd has authentication enabled: give the store a user and a password"
                   : "check the store's user and password";
        break;
    case -1: /* not an etcd error at all */
        code =
            error->http_status == 404 || error->http_status == 405 ? ERR_PROTOCOL : ERR_UNAVAILABLE;
        *is_certain = code == ERR_PROTOCOL;
        hint = code == ERR_PROTOCOL ? "is this an etcd 3.4 or newer with its JSON gateway?" : "";
        break;
    default: /* UNAVAILABLE, DEADLINE_EXCEEDED, UNKNOWN, INTERNAL, ...: the proposal may still be
                applied */
        *is_certain = false;
        break;
    }
    (void)err_set(err, code, "etcd at %s: %s", store->endpoints[endpoint], text);
    err_hint(err, "%s", hint);
    return code;
}
