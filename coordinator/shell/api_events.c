/* api_events.c — what happened: the last events as a list, or as a stream of Server-Sent Events. */
#include "coordinator/shell/api_internal.h"

#include "common/base/alloc.h"
#include "common/base/check.h"

#include <stdlib.h>
#include <string.h>

struct api_stream {
    struct api *api;
    struct http_stream *http;
    uint64_t sequence; /* of the last event that was sent */
    struct api_stream *next;
};

static json_t *event_json(const struct event_line *line)
{
    json_t *out = json_object();
    api_set(out, "sequence", api_count(line->sequence));
    api_set(out, "wall_ms", json_integer(line->wall_ms));
    api_set(out, "time", api_wall_time(line->wall_ms));
    api_set(out, "level", json_string(log_level_name(line->level)));
    api_set(out, "name", api_text(line->name));
    /* Pairs come with a leading blank. */
    api_set(out, "text", api_text(line->text[0] == ' ' ? line->text + 1 : line->text));
    return out;
}

/* ---- streams ---- */

static void stream_unlink(struct api_stream *stream)
{
    struct api_stream **link = &stream->api->streams;
    while (*link != stream) {
        CHECK(*link != NULL);
        link = &(*link)->next;
    }
    *link = stream->next;
    stream->api->stream_count--;
}

static void stream_closed(void *user)
{
    struct api_stream *stream = user;
    stream_unlink(stream);
    free(stream);
}

/* Sends, or ends the stream of a reader that lags too far. False when it is gone. */
static bool stream_send(struct api_stream *stream, const struct strbuf *text)
{
    if (http_stream_send(stream->http, text->data, text->len, NULL) == 0) {
        return true;
    }
    http_stream_close(stream->http);
    stream_closed(stream);
    return false;
}

static void stream_flush(struct api_stream *stream)
{
    const struct coordinator *core = api_core(stream->api);
    struct strbuf text = {0};
    for (int i = 0; i < coordinator_event_count(core); i++) {
        struct event_line line;
        coordinator_event_line(core, i, &line);
        if (line.sequence <= stream->sequence) {
            continue;
        }
        json_t *event = event_json(&line);
        char *data = json_dumps(event, JSON_COMPACT);
        CHECK(data != NULL);
        strbuf_addf(&text, "id: %llu\nevent: event\ndata: %s\n\n",
                    (unsigned long long)line.sequence, data);
        free(data);
        json_decref(event);
        stream->sequence = line.sequence;
    }
    if (text.len > 0) {
        (void)stream_send(stream, &text);
    }
    strbuf_release(&text);
}

void api_streams_flush(struct api *api)
{
    for (struct api_stream *stream = api->streams, *next = NULL; stream != NULL; stream = next) {
        next = stream->next;
        stream_flush(stream);
    }
}

void api_streams_keepalive(struct api *api)
{
    struct strbuf text = {0};
    strbuf_add_text(&text, ": still here\n\n");
    for (struct api_stream *stream = api->streams, *next = NULL; stream != NULL; stream = next) {
        next = stream->next;
        (void)stream_send(stream, &text);
    }
    strbuf_release(&text);
}

void api_streams_free(struct api *api)
{
    while (api->streams != NULL) {
        struct api_stream *stream = api->streams;
        http_stream_close(stream->http);
        stream_closed(stream);
    }
}

static void stream_begin(struct api *api, struct http_request *request, uint64_t after)
{
    if (api->stream_count >= API_STREAMS_MAX) {
        struct err err = {0};
        err_set(&err, ERR_UNAVAILABLE, "%d event streams are open, more are not served",
                api->stream_count);
        err_hint(&err, "close one, or ask without text/event-stream");
        api_respond_error(api, request, &err);
        return;
    }
    struct api_stream *stream = xcalloc(1, sizeof(*stream));
    *stream = (struct api_stream){.api = api, .sequence = after, .next = api->streams};
    api->streams = stream;
    api->stream_count++;
    api->answers[2]++;
    stream->http = http_stream_begin(request, "text/event-stream", stream_closed, stream);
    stream_flush(stream);
}

/* ---- handler ---- */

void api_get_events(struct api *api, struct http_request *request, const char *rest)
{
    (void)rest;
    const struct coordinator *core = api_core(api);
    const char *accept = http_request_header(request, "Accept");
    const char *last_seen = http_request_header(request, "Last-Event-ID");
    struct err err = {0};
    int64_t after = 0;
    int64_t limit = 0;
    if (api_query_int(request, "after", 0, INT64_MAX, 0, &after, &err) != 0 ||
        api_query_int(request, "limit", 1, 1000, 1000, &limit, &err) != 0) {
        api_respond_error(api, request, &err);
        return;
    }
    if (accept != NULL && strstr(accept, "text/event-stream") != NULL) {
        uint64_t seen = last_seen == NULL ? 0 : strtoull(last_seen, NULL, 10);
        stream_begin(api, request, seen > (uint64_t)after ? seen : (uint64_t)after);
        return;
    }
    int count = coordinator_event_count(core);
    int first = 0;
    struct event_line line = {0};
    uint64_t last_sequence = 0;
    for (; first < count; first++) {
        coordinator_event_line(core, first, &line);
        if (line.sequence > (uint64_t)after) {
            break;
        }
    }
    /* Without a start the newest are wanted, else the ones that follow it. */
    if (after == 0 && count - first > limit) {
        first = count - (int)limit;
    }
    json_t *events = json_array();
    for (int i = first; i < count && i - first < limit; i++) {
        coordinator_event_line(core, i, &line);
        int failed = json_array_append_new(events, event_json(&line));
        CHECK(failed == 0);
        last_sequence = line.sequence;
    }
    json_t *out = json_object();
    api_set(out, "events", events);
    api_set(out, "last_sequence", api_count(last_sequence > 0 ? last_sequence : (uint64_t)after));
    api_respond(api, request, 200, out);
}
