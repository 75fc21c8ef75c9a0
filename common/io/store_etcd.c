/* store_etcd.c — the store on etcd's v3 JSON gateway: opening, endpoints, closing.
 *
 * All I/O is libcurl's on the loop; one timer serves the pauses and deadlines of all calls and
 * watches. */
#include "common/io/store_etcd.h"

#include "common/base/alloc.h"
#include "common/base/check.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define DEFAULT_PREFIX "drover"
#define DEFAULT_PORT "2379"
#define PREFIX_LEN_MAX 128

static void submit(struct store *base, struct store_call *call);
static void etcd_close(struct store *base);
static void etcd_release(struct store *base);
static int parse_url(struct etcd_store *store, const char *rest, bool is_tls, struct err *err);
static int take_options(struct etcd_store *store,
                        const struct store_options *options,
                        struct err *err);
static void timer_fired(uv_timer_t *timer);

static const struct store_backend backend = {
    .submit = submit,
    .watch_begin = etcd_watch_begin,
    .watch_end = etcd_watch_end,
    .close = etcd_close,
    .release = etcd_release,
};

int store_etcd_open(const char *rest,
                    const struct store_options *options,
                    uv_loop_t *loop,
                    struct store **out,
                    struct err *err)
{
    struct etcd_store *store = xcalloc(1, sizeof(*store));
    store->is_tls = options->is_tls;
    int rc = parse_url(store, rest, options->is_tls, err);
    rc = rc != 0 ? rc : take_options(store, options, err);
    if (rc != 0) {
        etcd_release(&store->base);
        return rc;
    }
    store_init(&store->base, &backend, loop);
    CHECK(uv_timer_init(loop, &store->timer) == 0);
    store->timer.data = store;
    store->open_handles = 1;
    for (int i = 0; i < ETCD_LANE_NR; i++) {
        store->lanes[i].client = http_client_new(loop);
        store->open_handles++;
    }
    prng_init(&store->prng, uv_hrtime() ^ (uint64_t)getpid() << 32);
    *out = &store->base;
    return 0;
}

/* ---- URL and options ---- */

static int url_error(const char *rest, const char *what, struct err *err)
{
    (void)err_set(err, ERR_CONFIG, "store URL 'etcd://%.200s' %s", rest, what);
    err_hint(err,
             "write etcd://host:2379,host:2379,host:2379/prefix; user and password are options of "
             "their own");
    return ERR_CONFIG;
}

static int add_endpoint(struct etcd_store *store, const char *text, size_t len, bool is_tls)
{
    static const char allowed[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789.-_:[]";
    char *host = xmemdup(text, len + 1);
    host[len] = '\0';
    /* An IPv6 address stands in brackets; the port follows the last colon outside of them. */
    const char *bracket = strchr(host, ']');
    const char *colon = strrchr(bracket == NULL ? host : bracket, ':');
    bool is_valid = len > 0 && len < 256 && strspn(host, allowed) == len && host[0] != ':' &&
                    host[len - 1] != ':' && (bracket != NULL) == (host[0] == '[') &&
                    (bracket != NULL || colon == strchr(host, ':')) &&
                    (colon == NULL || strspn(colon + 1, "0123456789") == strlen(colon + 1)) &&
                    store->endpoint_count < ETCD_ENDPOINTS_MAX;
    if (is_valid) {
        store->endpoints[store->endpoint_count++] = xasprintf(
            "http%s://%s%s", is_tls ? "s" : "", host, colon == NULL ? ":" DEFAULT_PORT : "");
    }
    free(host);
    return is_valid ? 0 : ERR_CONFIG;
}

static int parse_url(struct etcd_store *store, const char *rest, bool is_tls, struct err *err)
{
    size_t hosts_len = strcspn(rest, "/");
    if (memchr(rest, '@', hosts_len) != NULL) {
        /* Not url_error(): its text would show the password. */
        (void)err_set(err, ERR_CONFIG, "the store URL holds a user name or password");
        err_hint(err, "give them as the store's user and password options");
        return ERR_CONFIG;
    }
    for (size_t start = 0; start <= hosts_len;) {
        size_t len = strcspn(rest + start, ",/");
        if (add_endpoint(store, rest + start, len, is_tls) != 0) {
            return url_error(rest, "has an empty or malformed endpoint, or more than 16", err);
        }
        start += len + 1;
    }
    const char *prefix = rest + hosts_len;
    prefix += strspn(prefix, "/");
    size_t len = strlen(prefix);
    while (len > 0 && prefix[len - 1] == '/') {
        len--;
    }
    if (len > PREFIX_LEN_MAX) {
        return url_error(rest, "has a prefix of more than 128 characters", err);
    }
    store->prefix =
        len == 0 ? xstrdup("/" DEFAULT_PREFIX "/") : xasprintf("/%.*s/", (int)len, prefix);
    return 0;
}

static int take_file(const char *path, const char *what, bool is_tls, char **out, struct err *err)
{
    if (path == NULL || path[0] == '\0') {
        return 0;
    }
    if (!is_tls) {
        (void)err_set(err, ERR_CONFIG, "a %s file is given for etcd but TLS is off", what);
        err_hint(err, "switch TLS on for the store");
        return ERR_CONFIG;
    }
    if (access(path, R_OK) != 0) {
        (void)err_set(err, ERR_CONFIG, "cannot read the %s file %s for etcd", what, path);
        err_hint(err, "check the path and that the user drover runs as may read it");
        return ERR_CONFIG;
    }
    *out = xstrdup(path);
    return 0;
}

static int take_options(struct etcd_store *store,
                        const struct store_options *options,
                        struct err *err)
{
    bool has_user = options->user != NULL && options->user[0] != '\0';
    bool has_password = options->password != NULL && options->password[0] != '\0';
    if (has_user != has_password) {
        return err_set(err, ERR_CONFIG, "etcd needs both a user and a password, or neither");
    }
    if (has_user) {
        store->auth = (struct etcd_auth){.state = ETCD_AUTH_NONE,
                                         .user = xstrdup(options->user),
                                         .password = xstrdup(options->password)};
    }
    int rc = take_file(options->ca_file, "CA", options->is_tls, &store->ca_file, err);
    rc = rc != 0 ? rc
                 : take_file(options->cert_file, "certificate", options->is_tls, &store->cert_file,
                             err);
    rc = rc != 0 ? rc : take_file(options->key_file, "key", options->is_tls, &store->key_file, err);
    if (rc == 0 && (store->cert_file == NULL) != (store->key_file == NULL)) {
        rc = err_set(err, ERR_CONFIG, "etcd needs both a certificate and a key file, or neither");
    }
    return rc;
}

/* ---- lanes ---- */

struct http_call *etcd_post(struct etcd_store *store,
                            enum etcd_lane lane,
                            const char *path,
                            struct http_request *request)
{
    struct etcd_lane_state *state = &store->lanes[lane];
    char *url = xasprintf("%s%s", store->endpoints[state->endpoint], path);
    int headers = 0;
    request->headers[headers++] = "Content-Type: application/json";
    if (store->auth.header != NULL) {
        request->headers[headers++] = store->auth.header;
    }
    if (lane == ETCD_LANE_WATCH) {
        /* A member that has lost its leader ends the stream instead of going silent. */
        request->headers[headers++] = "Grpc-Metadata-Hasleader: true";
    }
    request->method = "POST";
    request->url = url;
    request->connect_timeout_ms = ETCD_CONNECT_MS_MAX;
    request->is_fresh = state->is_fresh;
    request->ca_file = store->ca_file;
    request->cert_file = store->cert_file;
    request->key_file = store->key_file;
    struct http_call *http = http_client_start(state->client, request);
    free(url);
    return http;
}

void etcd_lane_rotate(struct etcd_store *store, enum etcd_lane lane, int endpoint)
{
    struct etcd_lane_state *state = &store->lanes[lane];
    if (state->endpoint == endpoint) {
        state->endpoint = (endpoint + 1) % store->endpoint_count;
    }
    state->is_fresh = true;
}

void etcd_lane_succeeded(struct etcd_store *store, enum etcd_lane lane)
{
    store->lanes[lane].is_fresh = false;
}

int etcd_check_header(struct etcd_store *store,
                      int endpoint,
                      const struct etcd_header *header,
                      struct err *err)
{
    if (store->cluster_id == 0) {
        store->cluster_id = header->cluster_id;
    }
    if (header->cluster_id != store->cluster_id) {
        (void)err_set(err, ERR_PROTOCOL, "%s belongs to etcd cluster %llx, the others to %llx",
                      store->endpoints[endpoint], (unsigned long long)header->cluster_id,
                      (unsigned long long)store->cluster_id);
        err_hint(
            err,
            "correct the list of endpoints; if etcd was restored from a backup, restart drover");
        return ERR_PROTOCOL;
    }
    if (header->raft_term < store->raft_term) {
        return err_set(err, ERR_UNAVAILABLE,
                       "%s lags behind: raft term %llu, the cluster is at %llu",
                       store->endpoints[endpoint], (unsigned long long)header->raft_term,
                       (unsigned long long)store->raft_term);
    }
    store->raft_term = header->raft_term;
    return 0;
}

/* ---- time ---- */

int64_t etcd_pause_ms(struct etcd_store *store, int failures)
{
    return prng_backoff_ms(&store->prng, failures, ETCD_PAUSE_MS_BASE, ETCD_PAUSE_MS_MAX);
}

void etcd_timer_arm(struct etcd_store *store)
{
    int64_t wake_ms = deadline_min(etcd_calls_wake_ms(store), etcd_watches_wake_ms(store));
    if (wake_ms == NEVER || store->base.is_closing) {
        (void)uv_timer_stop(&store->timer);
        return;
    }
    int64_t wait_ms = wake_ms - store_now_ms();
    uv_update_time(store->base.loop);
    CHECK(uv_timer_start(&store->timer, timer_fired, wait_ms < 0 ? 0 : (uint64_t)wait_ms, 0) == 0);
}

static void timer_fired(uv_timer_t *timer)
{
    struct etcd_store *store = timer->data;
    int64_t now_ms = store_now_ms();
    etcd_calls_wake(store, now_ms);
    etcd_watches_wake(store, now_ms);
    etcd_timer_arm(store);
}

/* ---- the backend's functions ---- */

static void submit(struct store *base, struct store_call *call)
{
    struct etcd_store *store = (struct etcd_store *)base;
    etcd_call_begin(store, call);
    etcd_timer_arm(store);
}

static void handle_gone(struct etcd_store *store)
{
    store->open_handles--;
    if (store->open_handles == 0) {
        store_backend_closed(&store->base);
    }
}

static void client_closed(void *user)
{
    handle_gone(user);
}

static void timer_closed(uv_handle_t *handle)
{
    handle_gone(handle->data);
}

static void etcd_close(struct store *base)
{
    struct etcd_store *store = (struct etcd_store *)base;
    etcd_auth_close(store);
    etcd_calls_close(store);
    for (int i = 0; i < ETCD_LANE_NR; i++) {
        http_client_close(store->lanes[i].client, client_closed, store);
    }
    uv_close((uv_handle_t *)&store->timer, timer_closed);
}

static void etcd_release(struct store *base)
{
    struct etcd_store *store = (struct etcd_store *)base;
    for (int i = 0; i < store->endpoint_count; i++) {
        free(store->endpoints[i]);
    }
    etcd_auth_release(&store->auth);
    free(store->prefix);
    free(store->ca_file);
    free(store->cert_file);
    free(store->key_file);
    free(store);
}
