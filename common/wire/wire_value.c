/* wire_value.c — see wire_value.h. */
#include "common/wire/wire_value.h"

#include "common/base/alloc.h"
#include "common/base/check.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "common/base/banned.h"

#define NODE_ID_BYTES (NODE_ID_LEN / 2)
#define CODE_MIN \
    (-255) /* far below the last ERR_*: codes of a newer peer pass, nonsense does not */

/* ---- reading ---- */

/* protobuf-c sees no memory left and gives up by itself. */
static void *budget_alloc(void *user, size_t size)
{
    struct wire_reader *reader = user;
    size_t need = size + 16;
    if (size > reader->budget_bytes || need > reader->budget_bytes) {
        return NULL;
    }
    reader->budget_bytes -= need;
    return arena_alloc(&reader->arena, size);
}

/* The arena gives everything back at once. */
static void budget_free(void *user, void *ptr)
{
    (void)user;
    (void)ptr;
}

ProtobufCMessage *wire_unpack(struct wire_reader *reader,
                              const ProtobufCMessageDescriptor *descriptor,
                              const void *data,
                              size_t size,
                              size_t size_max)
{
    if (size > size_max) {
        wire_refuse(reader, ERR_LIMIT, "%zu bytes are more than the %zu that are allowed", size,
                    size_max);
        return NULL;
    }
    reader->budget_bytes = size * WIRE_UNPACK_FACTOR + WIRE_UNPACK_SPARE;
    if (reader->budget_bytes > WIRE_UNPACK_MAX) {
        reader->budget_bytes = WIRE_UNPACK_MAX;
    }
    ProtobufCAllocator allocator = {
        .alloc = budget_alloc, .free = budget_free, .allocator_data = reader};
    ProtobufCMessage *message = protobuf_c_message_unpack(descriptor, &allocator, size, data);
    if (message == NULL) {
        wire_refuse(reader, ERR_PROTOCOL, "%zu bytes are not a drover message", size);
    }
    return message;
}

void wire_reader_release(struct wire_reader *reader)
{
    arena_release(&reader->arena);
}

void wire_scope(struct wire_reader *reader, const char *scope, int index)
{
    reader->scope = scope;
    reader->scope_index = index;
}

void wire_refuse(struct wire_reader *reader, int code, const char *format, ...)
{
    if (reader->code != 0) {
        return;
    }
    char text[ERR_TEXT_SIZE];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    reader->code = err_set(reader->err, code, "%s", text);
    if (reader->scope != NULL && reader->scope_index >= 0) {
        err_wrap(reader->err, "%s %d", reader->scope, reader->scope_index);
    } else if (reader->scope != NULL) {
        err_wrap(reader->err, "%s", reader->scope);
    }
    if (code == ERR_VERSION) {
        err_hint(reader->err, "the sender is newer than this program; upgrade this one");
    }
}

unsigned wire_unknown_field(const ProtobufCMessage *message)
{
    return message->n_unknown_fields == 0 ? 0 : message->unknown_fields[0].tag;
}

void wire_get_text(struct wire_reader *reader,
                   const char *field,
                   const ProtobufCBinaryData *from,
                   char *out,
                   size_t size)
{
    if (reader->code != 0) {
        return;
    }
    if (from->len >= size) {
        wire_refuse(reader, ERR_LIMIT, "%s has %zu bytes, %zu are allowed", field, from->len,
                    size - 1);
        return;
    }
    if (from->len > 0 && memchr(from->data, '\0', from->len) != NULL) {
        wire_refuse(reader, ERR_PROTOCOL, "%s has a NUL inside", field);
        return;
    }
    memset(out, 0, size);
    if (from->len > 0) {
        memcpy(out, from->data, from->len);
    }
}

void wire_get_node_id(struct wire_reader *reader,
                      const char *field,
                      const ProtobufCBinaryData *from,
                      struct node_id *out)
{
    static const char digits[] = "0123456789abcdef";
    if (reader->code != 0) {
        return;
    }
    *out = (struct node_id){0};
    if (from->len == 0) {
        return;
    }
    if (from->len != NODE_ID_BYTES) {
        wire_refuse(reader, ERR_PROTOCOL, "%s has %zu bytes, a node id has %d", field, from->len,
                    NODE_ID_BYTES);
        return;
    }
    for (size_t i = 0; i < NODE_ID_BYTES; i++) {
        out->text[2 * i] = digits[from->data[i] >> 4];
        out->text[2 * i + 1] = digits[from->data[i] & 15];
    }
}

void wire_need_node_id(struct wire_reader *reader,
                       const char *field,
                       const ProtobufCBinaryData *from,
                       struct node_id *out)
{
    if (from->len == 0) {
        wire_refuse(reader, ERR_PROTOCOL, "%s is missing", field);
    }
    wire_get_node_id(reader, field, from, out);
}

void wire_get_agent_id(struct wire_reader *reader,
                       const char *field,
                       const ProtobufCBinaryData *from,
                       struct agent_id *out)
{
    struct agent_id id = {0};
    wire_get_text(reader, field, from, id.text, sizeof(id.text));
    if (reader->code == 0 && id.text[0] != '\0' && !agent_id_is_valid(id.text)) {
        wire_refuse(reader, ERR_PROTOCOL,
                    "%s has other characters than letters, digits, '.', '-', '_'", field);
    }
    if (reader->code == 0) {
        *out = id;
    }
}

void wire_get_address(struct wire_reader *reader,
                      const char *field,
                      const Drover__Address *from,
                      struct address *out)
{
    if (reader->code != 0) {
        return;
    }
    struct address address = {0};
    if (from != NULL) {
        wire_get_text(reader, field, &from->host, address.host, sizeof(address.host));
        address.port = (uint16_t)wire_get_int(reader, field, from->port, 0, UINT16_MAX);
    }
    for (const char *c = address.host; *c != '\0'; c++) {
        if ((unsigned char)*c <= ' ' || *c == 0x7f) {
            wire_refuse(reader, ERR_PROTOCOL, "%s has a blank in its host", field);
            break;
        }
    }
    if (reader->code == 0) {
        *out = address;
    }
}

void wire_need_address(struct wire_reader *reader,
                       const char *field,
                       const Drover__Address *from,
                       struct address *out)
{
    if (from == NULL || from->host.len == 0 || from->port == 0) {
        wire_refuse(reader, ERR_PROTOCOL, "%s is missing", field);
    }
    wire_get_address(reader, field, from, out);
}

void wire_get_slots(struct wire_reader *reader,
                    const char *field,
                    const Drover__Slots *from,
                    struct slotset *out)
{
    if (reader->code != 0) {
        return;
    }
    slotset_clear(out);
    if (from == NULL) {
        return;
    }
    if (from->n_runs % 2 != 0) {
        wire_refuse(reader, ERR_PROTOCOL, "%s: a run lacks its length", field);
        return;
    }
    uint32_t next = 0; /* the first slot that may come */
    for (size_t i = 0; i < from->n_runs; i += 2) {
        uint32_t gap = from->runs[i];
        uint32_t length = from->runs[i + 1];
        bool is_joined = i > 0 && gap == 0;
        if (is_joined || length == 0 || gap >= SLOT_COUNT - next ||
            length > SLOT_COUNT - next - gap) {
            wire_refuse(reader, ERR_PROTOCOL, "%s: run %zu (gap %u, length %u) does not fit", field,
                        i / 2, gap, length);
            return;
        }
        slotset_add_range(out, (int)(next + gap), (int)(next + gap + length - 1));
        next += gap + length;
    }
}

int64_t wire_get_int(struct wire_reader *reader,
                     const char *field,
                     int64_t value,
                     int64_t min,
                     int64_t max)
{
    if (value < min || value > max) {
        wire_refuse(reader, ERR_PROTOCOL, "%s is %lld, allowed is %lld to %lld", field,
                    (long long)value, (long long)min, (long long)max);
        return 0;
    }
    return value;
}

int wire_get_count(struct wire_reader *reader, const char *field, uint32_t value, int max)
{
    return (int)wire_get_int(reader, field, (int64_t)value, 0, max);
}

int wire_get_code(struct wire_reader *reader, const char *field, int32_t value)
{
    return (int)wire_get_int(reader, field, value, CODE_MIN, 0);
}

int wire_get_enum(struct wire_reader *reader, const char *field, int value, int last)
{
    if (value == 0) {
        wire_refuse(reader, ERR_PROTOCOL, "%s is missing", field);
    } else if (value < 0 || value > last) {
        wire_refuse(reader, ERR_VERSION, "%s is %d, known are 1 to %d", field, value, last);
    }
    return reader->code == 0 ? value : 0;
}

enum move_speed wire_get_speed(struct wire_reader *reader, Drover__MoveSpeed value)
{
    switch (value) {
    case DROVER__MOVE_SPEED__MOVE_SPEED_UNSPECIFIED:
    case DROVER__MOVE_SPEED__MOVE_SPEED_BALANCED:
        return MOVE_SPEED_BALANCED;
    case DROVER__MOVE_SPEED__MOVE_SPEED_SOFT:
        return MOVE_SPEED_SOFT;
    case DROVER__MOVE_SPEED__MOVE_SPEED_FAST:
        return MOVE_SPEED_FAST;
    case _DROVER__MOVE_SPEED_IS_INT_SIZE:
        break;
    }
    wire_refuse(reader, ERR_VERSION, "speed is %d, known are 1 to 3", (int)value);
    return MOVE_SPEED_BALANCED;
}

double wire_get_double(struct wire_reader *reader,
                       const char *field,
                       double value,
                       double min,
                       double max)
{
    if (!isfinite(value) || value < min || value > max) {
        wire_refuse(reader, ERR_PROTOCOL, "%s is %g, allowed is %g to %g", field, value, min, max);
        return 0;
    }
    return value;
}

void *wire_get_items(struct wire_reader *reader,
                     const char *field,
                     size_t count,
                     int count_max,
                     size_t size)
{
    if (reader->code != 0 || count == 0) {
        return NULL;
    }
    if (count > (size_t)count_max) {
        wire_refuse(reader, ERR_LIMIT, "%zu %s are more than the %d that are allowed", count, field,
                    count_max);
        return NULL;
    }
    return xcalloc(count, size);
}

void wire_get_big_keys(struct wire_reader *reader,
                       Drover__BigKey *const *from,
                       size_t from_count,
                       struct big_key *out)
{
    for (size_t i = 0; reader->code == 0 && i < from_count; i++) {
        wire_get_text(reader, "big key", &from[i]->key, out[i].key, sizeof(out[i].key));
        out[i].slot =
            (uint16_t)wire_get_count(reader, "slot of a big key", from[i]->slot, SLOT_COUNT - 1);
        out[i].bytes = wire_get_int(reader, "size of a big key", from[i]->size_bytes, 0, INT64_MAX);
    }
}

/* ---- writing ---- */

ProtobufCBinaryData wire_put_text(const char *text)
{
    /* protobuf-c wants bytes it could change, but packing only reads them. */
    union {
        const char *text;
        uint8_t *bytes;
    } view = {.text = text};
    return (ProtobufCBinaryData){.len = strlen(text), .data = view.bytes};
}

static uint8_t hex_value(char digit)
{
    return (uint8_t)(digit <= '9' ? digit - '0' : digit - 'a' + 10);
}

ProtobufCBinaryData wire_put_node_id(struct arena *arena, const struct node_id *id)
{
    if (node_id_is_empty(id)) {
        return (ProtobufCBinaryData){0};
    }
    CHECK(node_id_is_valid(id->text));
    uint8_t *bytes = arena_alloc(arena, NODE_ID_BYTES);
    for (size_t i = 0; i < NODE_ID_BYTES; i++) {
        bytes[i] = (uint8_t)(hex_value(id->text[2 * i]) << 4 | hex_value(id->text[2 * i + 1]));
    }
    return (ProtobufCBinaryData){.len = NODE_ID_BYTES, .data = bytes};
}

Drover__Address *wire_put_address(struct arena *arena, const struct address *address)
{
    if (address->host[0] == '\0' && address->port == 0) {
        return NULL;
    }
    Drover__Address *out = arena_alloc(arena, sizeof(*out));
    drover__address__init(out);
    out->host = wire_put_text(address->host);
    out->port = address->port;
    return out;
}

Drover__Slots *wire_put_slots(struct arena *arena, const struct slotset *slots)
{
    if (slotset_is_empty(slots)) {
        return NULL;
    }
    Drover__Slots *out = arena_alloc(arena, sizeof(*out));
    drover__slots__init(out);
    out->runs = arena_alloc(arena, 2 * (size_t)slotset_range_count(slots) * sizeof(*out->runs));
    int next = 0;
    for (int first = slotset_next(slots, 0); first != SLOT_NONE;
         first = slotset_next(slots, next)) {
        int last = slotset_run_end(slots, first);
        out->runs[out->n_runs++] = (uint32_t)(first - next);
        out->runs[out->n_runs++] = (uint32_t)(last - first + 1);
        next = last + 1;
    }
    return out;
}

Drover__MoveSpeed wire_put_speed(enum move_speed speed)
{
    switch (speed) {
    case MOVE_SPEED_BALANCED:
        return DROVER__MOVE_SPEED__MOVE_SPEED_BALANCED;
    case MOVE_SPEED_SOFT:
        return DROVER__MOVE_SPEED__MOVE_SPEED_SOFT;
    case MOVE_SPEED_FAST:
        return DROVER__MOVE_SPEED__MOVE_SPEED_FAST;
    }
    UNREACHABLE("move speed");
}

Drover__BigKey **wire_put_big_keys(struct arena *arena, const struct big_key *keys, int count)
{
    Drover__BigKey **out = wire_put_pointers(arena, count);
    for (int i = 0; i < count; i++) {
        out[i] = arena_alloc(arena, sizeof(*out[i]));
        drover__big_key__init(out[i]);
        out[i]->key = wire_put_text(keys[i].key);
        out[i]->slot = keys[i].slot;
        out[i]->size_bytes = keys[i].bytes;
    }
    return out;
}

uint32_t wire_put_count(int count, int max)
{
    CHECK(count >= 0);
    CHECK(count <= max);
    return (uint32_t)count;
}

void *wire_put_pointers(struct arena *arena, int count)
{
    return count == 0 ? NULL : arena_alloc(arena, (size_t)count * sizeof(void *));
}

void wire_pack(const ProtobufCMessage *message, struct strbuf *out)
{
    size_t size = protobuf_c_message_get_packed_size(message);
    strbuf_reserve(out, size);
    size_t packed = protobuf_c_message_pack(message, (uint8_t *)out->data + out->len);
    CHECK(packed == size);
    out->len += size;
    out->data[out->len] = '\0';
}
