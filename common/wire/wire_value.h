/* wire_value.h — the values that messages and records share, to and from protobuf-c; for the files
 * of common/wire only.
 *
 * Reading is sticky: after the first bad field the reader keeps its error and every later call does
 * nothing, so a decoder is a flat list of fields and looks at reader.code once. Nothing from
 * outside is trusted: lengths, ranges, enum values and counts are checked before they reach a plain
 * struct. Rules: proto/types.proto. */
#ifndef DROVER_WIRE_WIRE_VALUE_H
#define DROVER_WIRE_WIRE_VALUE_H

#include "common/base/arena.h"
#include "common/base/slotset.h"
#include "common/base/strbuf.h"
#include "common/model/ids.h"
#include "common/model/record.h"
#include "record.pb-c.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Memory that unpacking may take: size * FACTOR + SPARE, at most MAX. A part of two bytes on the
 * wire can become a struct of 500, so a small forged message could otherwise ask for far more than
 * an honest one ever needs. */
#define WIRE_UNPACK_FACTOR 32
#define WIRE_UNPACK_SPARE (2UL * 1024 * 1024)
#define WIRE_UNPACK_MAX (64UL * 1024 * 1024)

/* ---- reading ---- */

struct wire_reader {
    struct err *err;     /* may be NULL */
    int code;            /* 0 until a field is bad, then the first error's code */
    const char *scope;   /* which part is being read, for the error's text: "report node" */
    int scope_index;     /* its number, or -1 */
    struct arena arena;  /* holds what protobuf-c unpacked */
    size_t budget_bytes; /* what the arena may still hand out */
};

/* Unpacks 'size' bytes into the reader's memory. NULL with reader->code set: ERR_LIMIT over
 * size_max, else ERR_PROTOCOL. The result lives until wire_reader_release(). */
ProtobufCMessage *wire_unpack(struct wire_reader *reader,
                              const ProtobufCMessageDescriptor *descriptor,
                              const void *data,
                              size_t size,
                              size_t size_max);
void wire_reader_release(struct wire_reader *reader);
/* Names the part that the next fields belong to. index -1: there is only one. */
void wire_scope(struct wire_reader *reader, const char *scope, int index);
/* Refuses, unless something was refused before. */
void wire_refuse(struct wire_reader *reader, int code, const char *format, ...) PRINTF_LIKE(3, 4);
/* The number of an unknown body: the first unknown field, 0 if there is none. */
unsigned wire_unknown_field(const ProtobufCMessage *message);

/* Text without NUL of at most size - 1 bytes into out[size]. */
void wire_get_text(struct wire_reader *reader,
                   const char *field,
                   const ProtobufCBinaryData *from,
                   char *out,
                   size_t size);
void wire_get_node_id(struct wire_reader *reader,
                      const char *field,
                      const ProtobufCBinaryData *from,
                      struct node_id *out);
/* As wire_get_node_id, but none is refused. */
void wire_need_node_id(struct wire_reader *reader,
                       const char *field,
                       const ProtobufCBinaryData *from,
                       struct node_id *out);
void wire_get_agent_id(struct wire_reader *reader,
                       const char *field,
                       const ProtobufCBinaryData *from,
                       struct agent_id *out);
/* Host without blanks; NULL gives an empty address. */
void wire_get_address(struct wire_reader *reader,
                      const char *field,
                      const Drover__Address *from,
                      struct address *out);
/* As wire_get_address, but host and port must be there. */
void wire_need_address(struct wire_reader *reader,
                       const char *field,
                       const Drover__Address *from,
                       struct address *out);
/* NULL gives the empty set. */
void wire_get_slots(struct wire_reader *reader,
                    const char *field,
                    const Drover__Slots *from,
                    struct slotset *out);
/* A valid task (task_validate()); NULL is refused. */
void wire_get_task(struct wire_reader *reader, const Drover__Task *from, struct task *out);
/* min <= value <= max, or 0. */
int64_t wire_get_int(struct wire_reader *reader,
                     const char *field,
                     int64_t value,
                     int64_t min,
                     int64_t max);
/* The same for 32-bit counts and numbers of things. */
int wire_get_count(struct wire_reader *reader, const char *field, uint32_t value, int max);
/* 0 or a negative code. */
int wire_get_code(struct wire_reader *reader, const char *field, int32_t value);
/* 1..last: 0 is a missing field, above is a newer peer. 0 on error. */
int wire_get_enum(struct wire_reader *reader, const char *field, int value, int last);
enum move_speed wire_get_speed(struct wire_reader *reader, Drover__MoveSpeed value);
/* A finite number, min <= value <= max. */
double wire_get_double(struct wire_reader *reader,
                       const char *field,
                       double value,
                       double min,
                       double max);
/* Zeroed memory for 'count' items of 'size' bytes, for free(); NULL when count is 0, too big or an
 * error stands. */
void *wire_get_items(struct wire_reader *reader,
                     const char *field,
                     size_t count,
                     int count_max,
                     size_t size);

/* Fills out[from_count] after wire_get_items() or a count check. */
void wire_get_big_keys(struct wire_reader *reader,
                       Drover__BigKey *const *from,
                       size_t from_count,
                       struct big_key *out);

/* ---- writing; everything lives in the arena or points into the plain struct ---- */

/* The text up to its '\0', without copying. */
ProtobufCBinaryData wire_put_text(const char *text);
ProtobufCBinaryData wire_put_node_id(struct arena *arena, const struct node_id *id);
Drover__Address *wire_put_address(struct arena *arena, const struct address *address);
Drover__Task *wire_put_task(struct arena *arena, const struct task *task);
Drover__Slots *wire_put_slots(struct arena *arena, const struct slotset *slots);
Drover__MoveSpeed wire_put_speed(enum move_speed speed);
Drover__BigKey **wire_put_big_keys(struct arena *arena, const struct big_key *keys, int count);
/* 'count' as protobuf carries it; CHECKs 0 <= count <= max. */
uint32_t wire_put_count(int count, int max);
/* An array of 'count' pointers, or NULL for none. */
void *wire_put_pointers(struct arena *arena, int count);
/* Appends the packed message. */
void wire_pack(const ProtobufCMessage *message, struct strbuf *out);

#endif
