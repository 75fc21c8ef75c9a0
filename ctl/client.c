/* client.c — see client.h. */
#include "ctl/client.h"

#include "common/base/alloc.h"
#include "common/base/check.h"
#include "common/base/strbuf.h"
#include "ctl/fields.h"
#include "ctl/terminal.h"

#include <curl/curl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CONNECT_TIMEOUT_MS 2000
#define RETRY_MS 250
#define SETTLE_RETRY_MS 1000 /* as Retry-After says: each try is a command, and logged */
#define HOPS_MAX 4           /* from one coordinator to the next until one leads */

struct client {
    CURL *curl;
    struct settings settings;
    char leader[API_URL_SIZE]; /* who led last; "" = not known */
    char last[API_URL_SIZE];   /* who answered last */
    int64_t timeout_ms;
    char *ca_file;
};

struct client *client_new(const struct settings *settings, int64_t timeout_ms, const char *ca_file)
{
    CHECK(settings->url_count > 0);
    CURLcode failed = curl_global_init(CURL_GLOBAL_DEFAULT);
    CHECK(failed == CURLE_OK);
    struct client *client = xcalloc(1, sizeof(*client));
    client->curl = curl_easy_init();
    CHECK(client->curl != NULL);
    client->settings = *settings;
    client->timeout_ms = timeout_ms;
    client->ca_file = ca_file == NULL ? NULL : xstrdup(ca_file);
    memcpy(client->last, settings->urls[0], sizeof(client->last));
    return client;
}

void client_free(struct client *client)
{
    if (client == NULL) {
        return;
    }
    curl_easy_cleanup(client->curl);
    curl_global_cleanup();
    free(client->ca_file);
    free(client);
}

void client_set_timeout(struct client *client, int64_t timeout_ms)
{
    client->timeout_ms = timeout_ms;
}

const char *client_url(const struct client *client)
{
    return client->last;
}

/* ---- one exchange with one address ---- */

static size_t on_body(char *data, size_t size, size_t count, void *user)
{
    struct strbuf *body = user;
    size_t bytes = size * count;
    if (bytes > CLIENT_ANSWER_SIZE_MAX - body->len) {
        return 0;
    }
    strbuf_add(body, data, bytes);
    return bytes;
}

/* ERR_UNAVAILABLE only when another address may be tried: nothing can have been carried out. */
static int curl_err(CURL *curl,
                    const char *url,
                    CURLcode result,
                    const char *detail,
                    bool is_post,
                    struct err *err)
{
    const char *text = detail[0] != '\0' ? detail : curl_easy_strerror(result);
    curl_off_t connected_us = 0;
    int code = ERR_UNAVAILABLE;
    (void)curl_easy_getinfo(curl, CURLINFO_CONNECT_TIME_T, &connected_us);
    bool is_connected = connected_us > 0 && result != CURLE_COULDNT_CONNECT;
    if (result == CURLE_OPERATION_TIMEDOUT && is_connected) {
        code = ERR_TIMEOUT;
    } else if (result == CURLE_PEER_FAILED_VERIFICATION || result == CURLE_SSL_CACERT_BADFILE ||
               result == CURLE_SSL_CERTPROBLEM) {
        code = ERR_AUTH;
    } else if (result == CURLE_WRITE_ERROR) {
        code = ERR_LIMIT;
    } else if (result == CURLE_URL_MALFORMAT) {
        code = ERR_INVALID;
    } else if (is_post && is_connected) {
        code = ERR_IO;
    }
    err_set(err, code, "no answer from %s: %s", url, text);
    if (is_post && (code == ERR_IO || code == ERR_TIMEOUT)) {
        err_hint(err, "it may have been carried out all the same: see `drover ops`");
    }
    return code;
}

/* Common options of a request; "unix:///path" goes to the socket. Returns the list of headers for
 * freeing. */
static struct curl_slist *prepare(struct client *client,
                                  const char *base,
                                  const char *path,
                                  const char *accept)
{
    CURL *curl = client->curl;
    char *url = NULL;
    curl_easy_reset(curl);
    if (strncmp(base, "unix://", 7) == 0) {
        (void)curl_easy_setopt(curl, CURLOPT_UNIX_SOCKET_PATH, base + 7);
        url = xasprintf("http://localhost%s", path);
    } else {
        url = xasprintf("%s%s", base, path);
    }
    struct curl_slist *headers = curl_slist_append(NULL, accept);
    headers = curl_slist_append(headers, "Content-Type: application/json");
    headers = curl_slist_append(headers, "Expect:");
    (void)curl_easy_setopt(curl, CURLOPT_URL, url);
    (void)curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
    (void)curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT_MS, (long)CONNECT_TIMEOUT_MS);
    (void)curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http,https");
    (void)curl_easy_setopt(curl, CURLOPT_PROXY, "");
    (void)curl_easy_setopt(curl, CURLOPT_USERAGENT, "drover/" DROVER_VERSION);
    (void)curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers);
    if (client->ca_file != NULL) {
        (void)curl_easy_setopt(curl, CURLOPT_CAINFO, client->ca_file);
    }
    free(url);
    return headers;
}

/* The API's own words for a failure, or ours when somebody else answered. */
static int answer_err(const char *url, long status, const json_t *answer, struct err *err)
{
    const json_t *error = field_object(answer, "error");
    if (error == NULL) {
        int code =
            err_set(err, ERR_PROTOCOL, "%s answered with status %ld, which is no answer of drover",
                    url, status);
        err_hint(err, "is this the API of a drover-coordinator? see --api");
        return code;
    }
    int code =
        err_set(err, err_from_word(field_text(error, "code")), "%s", field_text(error, "text"));
    err_hint(err, "%s", field_text(error, "hint"));
    return code;
}

/* What a failure says about asking again. */
struct advice {
    char leader[API_URL_SIZE]; /* who leads, of an answer "not_leader" */
    bool is_soon;              /* Retry-After: nothing was carried out, and soon it can be */
};

static int exchange(struct client *client,
                    const char *base,
                    const char *method,
                    const char *path,
                    const char *body,
                    json_t **out,
                    struct advice *advice,
                    struct err *err)
{
    char detail[CURL_ERROR_SIZE] = "";
    struct strbuf answer = {0};
    struct curl_slist *headers = prepare(client, base, path, "Accept: application/json");
    CURL *curl = client->curl;
    long status = 0;
    curl_off_t retry_after_s = 0;
    *advice = (struct advice){0};
    (void)curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS, (long)client->timeout_ms);
    (void)curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, detail);
    (void)curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, on_body);
    (void)curl_easy_setopt(curl, CURLOPT_WRITEDATA, &answer);
    if (strcmp(method, "POST") == 0) {
        (void)curl_easy_setopt(curl, CURLOPT_POSTFIELDS, body == NULL ? "" : body);
        /* On a connection that had died libcurl would send it again by itself. */
        (void)curl_easy_setopt(curl, CURLOPT_FRESH_CONNECT, 1L);
    }
    CURLcode result = curl_easy_perform(curl);
    (void)curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status);
    (void)curl_easy_getinfo(curl, CURLINFO_RETRY_AFTER, &retry_after_s);
    curl_slist_free_all(headers);
    int code = 0;
    if (result != CURLE_OK) {
        code = curl_err(curl, base, result, detail, strcmp(method, "POST") == 0, err);
    } else {
        json_t *parsed = json_loadb(strbuf_text(&answer), answer.len, 0, NULL);
        (void)snprintf(client->last, sizeof(client->last), "%s", base);
        if (status >= 300 || !json_is_object(parsed)) {
            code = answer_err(base, status, parsed, err);
            (void)snprintf(advice->leader, API_URL_SIZE, "%s", field_text(parsed, "leader"));
            advice->is_soon = retry_after_s > 0;
            json_decref(parsed);
        } else {
            *out = parsed;
        }
    }
    strbuf_release(&answer);
    return code;
}

/* ---- who leads ---- */

/* What one round over the addresses came to. */
struct round {
    bool is_passing; /* somebody does not lead, or not quite yet */
    int code;
    struct err err;
};

/* Asks one address and follows where it points, a few times. */
static int ask_from(struct client *client,
                    const char *url,
                    const char *method,
                    const char *path,
                    const char *body,
                    json_t **out,
                    bool *is_soon,
                    struct err *err)
{
    char base[API_URL_SIZE];
    struct advice advice = {0};
    (void)snprintf(base, sizeof(base), "%s", url);
    int code = 0;
    for (int hop = 0; hop < HOPS_MAX; hop++) {
        code = exchange(client, base, method, path, body, out, &advice, err);
        *is_soon = advice.is_soon;
        if (code == 0) {
            (void)snprintf(client->leader, sizeof(client->leader), "%s", base);
        }
        if (code != ERR_NOT_LEADER || advice.leader[0] == '\0' ||
            strcmp(advice.leader, base) == 0) {
            return code;
        }
        memcpy(base, advice.leader, sizeof(base));
    }
    return code;
}

static void ask_round(struct client *client,
                      const char *method,
                      const char *path,
                      const char *body,
                      json_t **out,
                      struct round *round)
{
    *round = (struct round){.code = ERR_UNAVAILABLE};
    for (int i = -1; i < client->settings.url_count; i++) {
        const char *url = i < 0 ? client->leader : client->settings.urls[i];
        struct err err = {0};
        if (url[0] == '\0' || (i >= 0 && strcmp(url, client->leader) == 0)) {
            continue;
        }
        bool is_soon = false;
        int code = ask_from(client, url, method, path, body, out, &is_soon, &err);
        round->is_passing = round->is_passing || code == ERR_NOT_LEADER || is_soon;
        /* Of several failures the one that says most is told: a follower's word over silence. */
        if (round->err.code == 0 || code == 0 || round->err.code == ERR_UNAVAILABLE) {
            round->code = code;
            round->err = err;
        }
        if (code == 0 || (code != ERR_UNAVAILABLE && code != ERR_NOT_LEADER)) {
            round->code = code;
            round->err = err;
            return;
        }
        if (i < 0) {
            client->leader[0] = '\0';
        }
    }
}

int client_ask(struct client *client,
               const char *method,
               const char *path,
               const json_t *body,
               json_t **out,
               struct err *err)
{
    char *text = body == NULL ? NULL : json_dumps(body, JSON_COMPACT);
    int64_t begun_ms = terminal_now_ms();
    int64_t patience_ms = 0;
    struct round round;
    do {
        ask_round(client, method, path, text, out, &round);
        bool is_settling = round.code == ERR_CONFLICT;
        bool is_kind = is_settling || round.code == ERR_NOT_LEADER || round.code == ERR_UNAVAILABLE;
        if (!round.is_passing || !is_kind || terminal_is_interrupted()) {
            break;
        }
        patience_ms = is_settling ? CLIENT_SETTLE_PATIENCE_MS : CLIENT_PATIENCE_MS;
        terminal_wait(is_settling ? SETTLE_RETRY_MS : RETRY_MS);
    } while (terminal_now_ms() - begun_ms < patience_ms);
    free(text);
    if (round.code == 0) {
        return 0;
    }
    if (err != NULL) {
        *err = round.err;
    }
    if (round.code == ERR_UNAVAILABLE && round.err.hint[0] == '\0') {
        err_hint(err, "is drover-coordinator running there? name the API by --api or $DROVER_API");
    }
    return round.code;
}

int client_ask_any(struct client *client, const char *path, json_t **out, struct err *err)
{
    struct round round;
    json_t *answer = NULL;
    ask_round(client, "GET", path, NULL, &answer, &round);
    if (round.code != 0) {
        if (err != NULL) {
            *err = round.err;
        }
        err_hint(err, "is drover-coordinator running there? name the API by --api or $DROVER_API");
        return round.code;
    }
    char base[API_URL_SIZE];
    (void)snprintf(base, sizeof(base), "%s", field_text(field_object(answer, "leader"), "api_url"));
    if (!field_is(answer, "leading") && base[0] != '\0' && strcmp(base, client->last) != 0) {
        json_t *led = NULL;
        struct advice ignored;
        char first[API_URL_SIZE];
        memcpy(first, client->last, sizeof(first));
        if (exchange(client, base, "GET", path, NULL, &led, &ignored, NULL) == 0) {
            json_decref(answer);
            answer = led;
            memcpy(client->leader, base, sizeof(base));
        } else {
            memcpy(client->last, first, sizeof(first));
        }
    }
    *out = answer;
    return 0;
}

/* ---- streams ---- */

struct stream {
    bool (*line)(void *user, const char *text);
    void *user;
    struct strbuf pending;
    bool is_stopped;
};

static size_t on_stream(char *data, size_t size, size_t count, void *user)
{
    struct stream *stream = user;
    strbuf_add(&stream->pending, data, size * count);
    char *end = NULL;
    while (!stream->is_stopped && stream->pending.len > 0 &&
           (end = memchr(stream->pending.data, '\n', stream->pending.len)) != NULL) {
        *end = '\0';
        stream->is_stopped = !stream->line(stream->user, stream->pending.data);
        strbuf_consume(&stream->pending, (size_t)(end - stream->pending.data) + 1);
    }
    return stream->is_stopped || stream->pending.len > CLIENT_ANSWER_SIZE_MAX ? 0 : size * count;
}

static int on_progress(void *user, curl_off_t a, curl_off_t b, curl_off_t c, curl_off_t d)
{
    (void)user, (void)a, (void)b, (void)c, (void)d;
    return terminal_is_interrupted() ? 1 : 0;
}

int client_stream(struct client *client,
                  const char *path,
                  bool (*line)(void *user, const char *text),
                  void *user,
                  struct err *err)
{
    char detail[CURL_ERROR_SIZE] = "";
    const char *base = client->leader[0] != '\0' ? client->leader : client->settings.urls[0];
    struct curl_slist *headers = prepare(client, base, path, "Accept: text/event-stream");
    struct stream stream = {.line = line, .user = user};
    CURL *curl = client->curl;
    (void)curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, detail);
    (void)curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, on_stream);
    (void)curl_easy_setopt(curl, CURLOPT_WRITEDATA, &stream);
    (void)curl_easy_setopt(curl, CURLOPT_XFERINFOFUNCTION, on_progress);
    (void)curl_easy_setopt(curl, CURLOPT_NOPROGRESS, 0L);
    (void)curl_easy_setopt(curl, CURLOPT_FAILONERROR, 1L);
    CURLcode result = curl_easy_perform(curl);
    curl_slist_free_all(headers);
    strbuf_release(&stream.pending);
    if (stream.is_stopped || terminal_is_interrupted()) {
        return 0;
    }
    if (result == CURLE_OK) {
        return err_set(err, ERR_UNAVAILABLE, "%s ended the stream", base);
    }
    return curl_err(curl, base, result, detail, false, err);
}
