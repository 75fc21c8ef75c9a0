/* message_parts.h — the two big bodies of a message, one file each; for message_codec.c only. */
#ifndef DROVER_WIRE_MESSAGE_PARTS_H
#define DROVER_WIRE_MESSAGE_PARTS_H

#include "common/model/message.h"
#include "common/wire/wire_value.h"
#include "drover.pb-c.h"

/* 'out' is zeroed. On an error (reader->code) it is half filled and may be released. */
void wire_get_report(struct wire_reader *reader, const Drover__Report *from, struct report *out);
void wire_get_instructions(struct wire_reader *reader,
                           const Drover__Instructions *from,
                           struct instructions *out);
void wire_get_order_id(struct wire_reader *reader,
                       const Drover__OrderId *from,
                       struct order_id *out);
void wire_get_node_report(struct wire_reader *reader,
                          const Drover__NodeReport *from,
                          struct node_report *out);

/* The results live in the arena and point into the plain structs. */
Drover__Report *wire_put_report(struct arena *arena, const struct report *report);
Drover__Instructions *wire_put_instructions(struct arena *arena,
                                            const struct instructions *instructions);
Drover__OrderId *wire_put_order_id(struct arena *arena, const struct order_id *id);
Drover__NodeReport *wire_put_node_report(struct arena *arena, const struct node_report *node);

#endif
