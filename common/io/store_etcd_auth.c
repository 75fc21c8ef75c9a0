/* store_etcd_auth.c — the token of etcd's user and password authentication.
 *
 * One authenticate at a time, on the request lane; whoever needs a token waits for it. The token
 * goes raw into "Authorization" (etcd refuses "Bearer"). A cluster with authentication disabled
 * needs none. */
#include "common/io/store_etcd.h"

#include "common/base/alloc.h"
#include "common/base/check.h"

#include <stdlib.h>
#include <string.h>

/* etcd hashes the password with bcrypt: about 100 ms of CPU, seconds where that is scarce. What we
 * give up goes on there and makes the next try slower still, so after each round of endpoints that
 * all were too slow a try gets twice the time: one gets through in the end. */
#define AUTHENTICATE_MS_FIRST 2000
#define AUTHENTICATE_DOUBLINGS_MAX 3
#define TOKEN_ANSWER_SIZE_MAX 65536
#define GRPC_FAILED_PRECONDITION 9

static void authenticate(struct etcd_store *store);
static void authenticate_done(void *user, struct http_response *response);

bool etcd_auth_ready(struct etcd_store *store)
{
    switch (store->auth.state) {
    case ETCD_AUTH_OFF:
    case ETCD_AUTH_READY:
        return true;
    case ETCD_AUTH_BUSY:
        return false;
    case ETCD_AUTH_NONE:
        authenticate(store);
        return false;
    }
    UNREACHABLE("auth state");
}

void etcd_auth_refused(struct etcd_store *store, const char *header)
{
    struct etcd_auth *auth = &store->auth;
    bool is_same =
        auth->header == NULL ? header == NULL : header != NULL && strcmp(auth->header, header) == 0;
    if (auth->user == NULL || auth->state == ETCD_AUTH_BUSY || !is_same) {
        return;
    }
    free(auth->header);
    auth->header = NULL;
    auth->state = ETCD_AUTH_NONE;
}

void etcd_auth_close(struct etcd_store *store)
{
    if (store->auth.http != NULL) {
        http_call_cancel(store->auth.http);
        store->auth.http = NULL;
    }
}

void etcd_auth_release(struct etcd_auth *auth)
{
    if (auth->password != NULL) {
        explicit_bzero(auth->password, strlen(auth->password));
    }
    free(auth->user);
    free(auth->password);
    free(auth->header);
    *auth = (struct etcd_auth){0};
}

static void authenticate(struct etcd_store *store)
{
    struct etcd_auth *auth = &store->auth;
    char *body = etcd_encode_authenticate(auth->user, auth->password);
    int rounds = auth->timeouts / store->endpoint_count;
    int doublings = rounds < AUTHENTICATE_DOUBLINGS_MAX ? rounds : AUTHENTICATE_DOUBLINGS_MAX;
    struct http_request request = {.body = body,
                                   .body_size = strlen(body),
                                   .timeout_ms = (int64_t)AUTHENTICATE_MS_FIRST << doublings,
                                   .response_size_max = TOKEN_ANSWER_SIZE_MAX,
                                   .done = authenticate_done,
                                   .user = store};
    auth->state = ETCD_AUTH_BUSY;
    auth->endpoint = store->lanes[ETCD_LANE_REQUEST].endpoint;
    auth->http = etcd_post(store, ETCD_LANE_REQUEST, "/v3/auth/authenticate", &request);
    explicit_bzero(body, strlen(body));
    free(body);
}

static void tell(struct etcd_store *store, const struct err *err, bool is_final)
{
    etcd_calls_token(store, err, is_final);
    etcd_watches_token(store, err == NULL);
    etcd_timer_arm(store);
}

static void authenticate_done(void *user, struct http_response *response)
{
    struct etcd_store *store = user;
    struct etcd_auth *auth = &store->auth;
    struct err err = response->err;
    auth->http = NULL;
    auth->state = ETCD_AUTH_NONE;
    if (response->code != ERR_TIMEOUT) {
        auth->timeouts = 0;
    } else if (auth->timeouts < AUTHENTICATE_DOUBLINGS_MAX * store->endpoint_count) {
        auth->timeouts++;
    }
    char *token = NULL;
    if (response->code == 0 && response->status == 200 &&
        etcd_decode_token(&response->body, &token, &err) == 0) {
        auth->header = xasprintf("Authorization: %s", token);
        free(token);
        auth->state = ETCD_AUTH_READY;
        etcd_lane_succeeded(store, ETCD_LANE_REQUEST);
        tell(store, NULL, false);
        return;
    }
    bool is_final = false;
    if (response->code == 0 && response->status != 200) {
        struct etcd_error error;
        etcd_decode_error(&response->body, response->status, &error);
        if (error.code == GRPC_FAILED_PRECONDITION) {
            auth->state = ETCD_AUTH_OFF; /* authentication is not enabled */
            tell(store, NULL, false);
            return;
        }
        bool is_certain = false;
        int code = etcd_error_class(store, auth->endpoint, &error, &is_certain, &err);
        is_final = code == ERR_AUTH || code == ERR_INVALID;
        if (is_final) {
            (void)err_set(&err, ERR_AUTH, "etcd at %s refuses user '%s': %s",
                          store->endpoints[auth->endpoint], auth->user, error.message);
            err_hint(&err, "check the store's user and password");
        }
    }
    if (!is_final) {
        etcd_lane_rotate(store, ETCD_LANE_REQUEST, auth->endpoint);
    }
    tell(store, &err, is_final);
}
