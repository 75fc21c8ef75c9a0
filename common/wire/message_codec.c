/* message_codec.c — see message_codec.h. The envelope and the three small bodies. */
#include "common/wire/message_codec.h"

#include <assert.h>

#include "common/base/check.h"
#include "common/wire/message_parts.h"

static_assert(2 * MESSAGE_SIZE_MAX <= WIRE_UNPACK_MAX,
              "the texts of the largest message fit the unpack budget");

/* ---- decode ---- */

static void get_hello(struct wire_reader *reader, const Drover__Hello *from, struct hello *out)
{
    wire_scope(reader, "hello", -1);
    wire_get_agent_id(reader, "agent", &from->agent, &out->agent);
    if (out->agent.text[0] == '\0') {
        wire_refuse(reader, ERR_PROTOCOL, "agent is missing");
    }
    out->incarnation = from->incarnation;
    out->proto_version =
        (int)wire_get_int(reader, "proto_version", from->proto_version, 1, INT32_MAX);
    wire_get_text(reader, "version", &from->version, out->version, sizeof(out->version));
    wire_get_text(reader, "cluster", &from->cluster, out->cluster, sizeof(out->cluster));
    wire_get_text(reader, "credential", &from->credential, out->credential,
                  sizeof(out->credential));
    out->fence_seen = wire_get_int(reader, "fence_seen", from->fence_seen, 0, INT64_MAX);
}

static void get_welcome(struct wire_reader *reader,
                        const Drover__Welcome *from,
                        struct welcome *out)
{
    wire_scope(reader, "welcome", -1);
    out->session = from->session;
    out->fence = wire_get_int(reader, "fence", from->fence, 0, INT64_MAX);
    out->report_interval_ms = wire_get_int(reader, "report_interval_ms", from->report_interval_ms,
                                           0, MESSAGE_INTERVAL_MS_MAX);
    out->proto_version =
        (int)wire_get_int(reader, "proto_version", from->proto_version, 1, INT32_MAX);
    wire_get_text(reader, "version", &from->version, out->version, sizeof(out->version));
}

static void get_refusal(struct wire_reader *reader,
                        const Drover__Refusal *from,
                        struct refusal *out)
{
    wire_scope(reader, "refusal", -1);
    out->code = wire_get_code(reader, "code", from->code);
    if (out->code == 0) {
        wire_refuse(reader, ERR_PROTOCOL, "code is missing");
    }
    wire_get_text(reader, "text", &from->text, out->text, sizeof(out->text));
    wire_get_text(reader, "leader_url", &from->leader_url, out->leader_url,
                  sizeof(out->leader_url));
}

static void get_body(struct wire_reader *reader, const Drover__Message *from, struct message *out)
{
    switch (from->body_case) {
    case DROVER__MESSAGE__BODY_HELLO:
        out->kind = MESSAGE_HELLO;
        get_hello(reader, from->hello, &out->as.hello);
        return;
    case DROVER__MESSAGE__BODY_WELCOME:
        out->kind = MESSAGE_WELCOME;
        get_welcome(reader, from->welcome, &out->as.welcome);
        return;
    case DROVER__MESSAGE__BODY_REFUSAL:
        out->kind = MESSAGE_REFUSAL;
        get_refusal(reader, from->refusal, &out->as.refusal);
        return;
    case DROVER__MESSAGE__BODY_REPORT:
        out->kind = MESSAGE_REPORT;
        wire_get_report(reader, from->report, &out->as.report);
        return;
    case DROVER__MESSAGE__BODY_INSTRUCTIONS:
        out->kind = MESSAGE_INSTRUCTIONS;
        wire_get_instructions(reader, from->instructions, &out->as.instructions);
        return;
    case DROVER__MESSAGE__BODY__NOT_SET:
    case _DROVER__MESSAGE__BODY__CASE_IS_INT_SIZE:
        break;
    }
    unsigned field = wire_unknown_field(&from->base);
    if (field == 0) {
        wire_refuse(reader, ERR_PROTOCOL, "the message is empty");
    } else {
        wire_refuse(reader, ERR_VERSION, "message kind %u is not known", field);
    }
}

int message_decode(const void *data, size_t size, struct message *out, struct err *err)
{
    struct wire_reader reader = {.err = err};
    struct message message = {0};
    const ProtobufCMessage *base =
        wire_unpack(&reader, &drover__message__descriptor, data, size, MESSAGE_SIZE_MAX);
    if (base != NULL) {
        get_body(&reader, (const Drover__Message *)base, &message);
    }
    wire_reader_release(&reader);
    if (reader.code != 0) {
        if (message.kind != 0) {
            message_release(&message);
        }
        return reader.code;
    }
    *out = message;
    return 0;
}

/* ---- encode ---- */

static Drover__Hello *put_hello(struct arena *arena, const struct hello *hello)
{
    Drover__Hello *out = arena_alloc(arena, sizeof(*out));
    drover__hello__init(out);
    out->agent = wire_put_text(hello->agent.text);
    out->incarnation = hello->incarnation;
    out->proto_version = wire_put_count(hello->proto_version, INT32_MAX);
    out->version = wire_put_text(hello->version);
    out->cluster = wire_put_text(hello->cluster);
    out->credential = wire_put_text(hello->credential);
    out->fence_seen = hello->fence_seen;
    return out;
}

static Drover__Welcome *put_welcome(struct arena *arena, const struct welcome *welcome)
{
    Drover__Welcome *out = arena_alloc(arena, sizeof(*out));
    drover__welcome__init(out);
    out->session = welcome->session;
    out->fence = welcome->fence;
    out->report_interval_ms = welcome->report_interval_ms;
    out->proto_version = wire_put_count(welcome->proto_version, INT32_MAX);
    out->version = wire_put_text(welcome->version);
    return out;
}

static Drover__Refusal *put_refusal(struct arena *arena, const struct refusal *refusal)
{
    Drover__Refusal *out = arena_alloc(arena, sizeof(*out));
    drover__refusal__init(out);
    out->code = refusal->code;
    out->text = wire_put_text(refusal->text);
    out->leader_url = wire_put_text(refusal->leader_url);
    return out;
}

static void put_body(struct arena *arena, const struct message *message, Drover__Message *out)
{
    switch (message->kind) {
    case MESSAGE_HELLO:
        out->body_case = DROVER__MESSAGE__BODY_HELLO;
        out->hello = put_hello(arena, &message->as.hello);
        return;
    case MESSAGE_WELCOME:
        out->body_case = DROVER__MESSAGE__BODY_WELCOME;
        out->welcome = put_welcome(arena, &message->as.welcome);
        return;
    case MESSAGE_REFUSAL:
        out->body_case = DROVER__MESSAGE__BODY_REFUSAL;
        out->refusal = put_refusal(arena, &message->as.refusal);
        return;
    case MESSAGE_REPORT:
        out->body_case = DROVER__MESSAGE__BODY_REPORT;
        out->report = wire_put_report(arena, &message->as.report);
        return;
    case MESSAGE_INSTRUCTIONS:
        out->body_case = DROVER__MESSAGE__BODY_INSTRUCTIONS;
        out->instructions = wire_put_instructions(arena, &message->as.instructions);
        return;
    }
    UNREACHABLE("message kind");
}

void message_encode(const struct message *message, struct strbuf *out)
{
    struct arena arena = {0};
    Drover__Message body = DROVER__MESSAGE__INIT;
    put_body(&arena, message, &body);
    wire_pack(&body.base, out);
    arena_release(&arena);
}
