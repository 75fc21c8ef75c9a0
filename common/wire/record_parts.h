/* record_parts.h — the body of an operation, in a file of its own; for record_codec.c only. */
#ifndef DROVER_WIRE_RECORD_PARTS_H
#define DROVER_WIRE_RECORD_PARTS_H

#include "common/model/record.h"
#include "common/wire/wire_value.h"
#include "record.pb-c.h"

/* 'out' is zeroed. On an error (reader->code) it is half filled and may be released. */
void wire_get_operation(struct wire_reader *reader,
                        const Drover__Operation *from,
                        struct operation *out);
Drover__Operation *wire_put_operation(struct arena *arena, const struct operation *operation);

#endif
