/* api.c — see api.h. Routes, answers and the life of the server; what each route says is in
 * api_<noun>.c. */
#include "coordinator/shell/api_internal.h"
#include "coordinator/shell/api_web.h"

#include "common/base/alloc.h"
#include "common/base/check.h"
#include "common/io/clock.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef void api_handler(struct api *api, struct http_request *request, const char *rest);

struct api_route {
    const char *path;  /* whole path, or its start when it ends in '/' */
    bool needs_leader; /* others do not know the cluster */
    api_handler *get;  /* NULL: not allowed */
    api_handler *post;
};

/* clang-format off */
static const struct api_route routes[] = {
    /* path               leader  GET                  POST                     */
    {"/healthz",          false,  api_get_health,      NULL                     },
    {"/readyz",           false,  api_get_ready,       NULL                     },
    {"/metrics",          false,  api_get_metrics,     NULL                     },
    {"/v1/status",        false,  api_get_status,      NULL                     },
    {"/v1/why",           false,  api_get_why,         NULL                     },
    {"/v1/events",        false,  api_get_events,      NULL                     },
    {"/v1/nodes",         true,   api_get_nodes,       api_post_node            },
    {"/v1/slots",         true,   api_get_slots,       NULL                     },
    {"/v1/shards",        true,   api_get_shards,      NULL                     },
    {"/v1/agents",        true,   api_get_agents,      NULL                     },
    {"/v1/doctor",        true,   api_get_doctor,      NULL                     },
    {"/v1/certificates/", true,   api_get_certificate, NULL                     },
    {"/v1/plans",         true,   NULL,                api_post_plan            },
    {"/v1/operations",    true,   api_get_operations,  api_post_operation       },
    {"/v1/operations/",   true,   api_get_operation,   api_post_operation_verb  },
};
/* clang-format on */
#define ROUTE_COUNT (sizeof(routes) / sizeof(routes[0]))

/* ---- answers ---- */

const struct coordinator *api_core(const struct api *api)
{
    return coordinator_shell_core(api->shell);
}

static void count_answer(struct api *api, int status)
{
    api->answers[status >= 200 && status < 600 ? status / 100 : 0]++;
}

/* 'extra' (may be NULL): one more header. */
static void respond(struct api *api,
                    struct http_request *request,
                    int status,
                    json_t *body,
                    const struct http_header *extra)
{
    bool is_pretty = http_request_query(request, "pretty") != NULL;
    char *text =
        json_dumps(body, (is_pretty ? JSON_INDENT(2) : JSON_COMPACT) | JSON_REAL_PRECISION(9));
    CHECK(text != NULL);
    struct strbuf out = {0};
    strbuf_add_text(&out, text);
    strbuf_add_char(&out, '\n');
    struct http_header headers[2] = {{"Cache-Control", "no-store"}};
    int header_count = 1;
    if (extra != NULL) {
        headers[header_count++] = *extra;
    }
    struct http_response response = {.status = status,
                                     .content_type = "application/json",
                                     .headers = headers,
                                     .header_count = header_count,
                                     .body = out.data,
                                     .size = out.len};
    count_answer(api, status);
    http_respond(request, &response);
    strbuf_release(&out);
    free(text);
    json_decref(body);
}

void api_respond(struct api *api, struct http_request *request, int status, json_t *body)
{
    respond(api, request, status, body, NULL);
}

int api_status_of(int code)
{
    switch (code) {
    case ERR_INVALID:
        return 400;
    case ERR_AUTH:
        return 401;
    case ERR_NOT_FOUND:
        return 404;
    case ERR_EXISTS:
    case ERR_CONFLICT:
    case ERR_CANCELLED:
    case ERR_VERSION:
        return 409;
    case ERR_LIMIT:
        return 413;
    case ERR_REFUSED:
        return 422;
    case ERR_PROTOCOL:
        return 502;
    case ERR_NOT_LEADER:
    case ERR_FENCED:
    case ERR_UNAVAILABLE:
        return 503;
    case ERR_TIMEOUT:
        return 504;
    default:
        return 500;
    }
}

json_t *api_error_json(const struct api *api, const struct err *err)
{
    json_t *error = json_object();
    json_t *body = json_object();
    api_set(error, "code", json_string(err_word(err->code)));
    api_set(error, "text", api_text(err->text));
    api_set(error, "hint", api_text_or_null(err->hint));
    api_set(body, "error", error);
    if (err->code == ERR_NOT_LEADER) {
        const struct leader_record *leader = coordinator_known_leader(api_core(api));
        api_set(body, "leader", api_text_or_null(leader == NULL ? "" : leader->api_url));
    }
    return body;
}

void api_respond_error(struct api *api, struct http_request *request, const struct err *err)
{
    /* A leader that still reads its journal says when to come again: soon, and nothing was done.
     * So does one whose nodes do not agree yet. */
    int retry_after_s = err->retry_after_s;
    if (err->code == ERR_UNAVAILABLE &&
        coordinator_check_ready(api_core(api), NULL) == ERR_UNAVAILABLE) {
        retry_after_s = 1;
    }
    char seconds[16];
    (void)snprintf(seconds, sizeof(seconds), "%d", retry_after_s);
    respond(api, request, api_status_of(err->code), api_error_json(api, err),
            retry_after_s > 0 ? &(struct http_header){"Retry-After", seconds} : NULL);
}

static void respond_not_leader(struct api *api, struct http_request *request)
{
    const struct leader_record *leader = coordinator_known_leader(api_core(api));
    const char *name = coordinator_shell_config(api->shell)->self.name;
    struct err err = {0};
    if (leader == NULL) {
        err_set(&err, ERR_NOT_LEADER, "%s does not lead, and no leader is known", name);
        err_hint(&err, "%s", coordinator_why(api_core(api)));
    } else {
        err_set(&err, ERR_NOT_LEADER, "%s does not lead, %s does", name, leader->name);
        err_hint(&err, "ask %s", leader->api_url);
    }
    api_respond_error(api, request, &err);
}

/* ---- routes ---- */

static const struct api_route *find_route(const char *path, const char **rest)
{
    for (size_t i = 0; i < ROUTE_COUNT; i++) {
        size_t len = strlen(routes[i].path);
        bool is_prefix = routes[i].path[len - 1] == '/';
        if (strncmp(path, routes[i].path, len) == 0 && (path[len] == '\0' || is_prefix)) {
            *rest = path + len;
            return &routes[i];
        }
    }
    return NULL;
}

static void respond_not_allowed(struct api *api,
                                struct http_request *request,
                                const struct api_route *route)
{
    const char *allow = route->get == NULL ? "POST" : route->post == NULL ? "GET" : "GET, POST";
    struct err err = {0};
    err_set(&err, ERR_INVALID, "%.20s is not possible at %.200s", http_request_method(request),
            http_request_path(request));
    err_hint(&err, "possible here: %s", allow);
    respond(api, request, 405, api_error_json(api, &err), &(struct http_header){"Allow", allow});
}

/* Browsers name the page that a request comes from: a page of another site must not start or stop
 * anything with the help of somebody who can reach us. */
static bool is_foreign_page(const struct http_request *request)
{
    const char *origin = http_request_header(request, "Origin");
    const char *host = http_request_header(request, "Host");
    if (origin == NULL) {
        return false;
    }
    const char *name = strstr(origin, "://");
    return name == NULL || host == NULL || strcmp(name + 3, host) != 0;
}

static void on_request(void *user, struct http_request *request)
{
    struct api *api = user;
    const char *rest = "";
    const char *method = http_request_method(request);
    bool is_get = strcmp(method, "GET") == 0 || strcmp(method, "HEAD") == 0;
    const struct api_route *route = find_route(http_request_path(request), &rest);
    if (route == NULL && is_get && api_web_respond(request)) {
        count_answer(api, 200);
        return;
    }
    if (route == NULL) {
        struct err err = {0};
        err_set(&err, ERR_NOT_FOUND, "there is nothing at %.200s", http_request_path(request));
        err_hint(&err, "see docs/api.md for the routes");
        api_respond_error(api, request, &err);
        return;
    }
    api_handler *handler = is_get ? route->get : strcmp(method, "POST") == 0 ? route->post : NULL;
    if (handler == NULL) {
        respond_not_allowed(api, request, route);
        return;
    }
    if (!is_get && is_foreign_page(request)) {
        struct err err = {0};
        err_set(&err, ERR_AUTH, "a page of another site (%.100s) may not change anything here",
                http_request_header(request, "Origin"));
        api_respond_error(api, request, &err);
        return;
    }
    if (route->needs_leader && !coordinator_is_leader(api_core(api))) {
        respond_not_leader(api, request);
        return;
    }
    handler(api, request, rest);
}

/* ---- life ---- */

static void on_changed(void *user)
{
    api_streams_flush(user);
}

static void on_timer(void *user)
{
    struct api *api = user;
    int64_t now_ms = clock_now_ms();
    api_meters_tick(api, now_ms);
    if (now_ms >= api->keepalive_ms) {
        api_streams_keepalive(api);
        api->keepalive_ms = now_ms + API_KEEPALIVE_MS;
    }
    if (now_ms >= api->doctor_ms) {
        api_doctor_tick(api);
        api->doctor_ms = now_ms + API_DOCTOR_MS;
    }
    loop_timer_set(api->timer, now_ms + API_TICK_MS);
}

struct api *api_new(const struct api_options *options, struct err *err)
{
    struct api *api = xcalloc(1, sizeof(*api));
    struct http_handler handler = {.on_request = on_request, .user = api};
    struct loop *loop = coordinator_shell_loop(options->shell);
    api->shell = options->shell;
    api->signer = options->signer;
    api->started_ms = clock_now_ms();
    api->server = http_server_new(loop, &options->http, &handler, err);
    if (api->server == NULL) {
        free(api);
        return NULL;
    }
    coordinator_shell_listen(api->shell, on_changed, api);
    api->timer = loop_timer_new(loop, on_timer, api);
    loop_timer_set(api->timer, api->started_ms + API_TICK_MS);
    return api;
}

void api_free(struct api *api)
{
    if (api == NULL) {
        return;
    }
    coordinator_shell_listen(api->shell, NULL, NULL);
    loop_timer_free(api->timer);
    api_pending_free(api);
    api_streams_free(api);
    doctor_memory_release(&api->doctor_memory);
    http_server_free(api->server);
    free(api);
}

uint16_t api_port(const struct api *api)
{
    return http_server_port(api->server);
}
