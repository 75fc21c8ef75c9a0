/* message_codec.h — messages of the bus to bytes and back (proto/drover.proto).
 *
 * The one door between common/model/message.h and protobuf. Pure: no I/O, no clock. */
#ifndef DROVER_WIRE_MESSAGE_CODEC_H
#define DROVER_WIRE_MESSAGE_CODEC_H

#include "common/base/strbuf.h"
#include "common/model/message.h"

#include <stddef.h>

#define MESSAGE_ORDERS_MAX \
    1024 /* orders, renewals, stops, forgets of one message: far over what one agent runs */
#define MESSAGE_VIEWS_MAX 1024 /* one a node */
#define MESSAGE_WAIT_MS_MAX (10L * 60 * 1000)
#define MESSAGE_INTERVAL_MS_MAX (60L * 60 * 1000)

/* Appends the bytes to 'out'. The message is ours, so counts over their *_MAX, a kind that is none
 * and ids that are no ids are CHECKed. Views must fit the bus together: the caller sends few at a
 * time. */
void message_encode(const struct message *message, struct strbuf *out);

/* Reads 'size' bytes from a peer into 'out', which needs no init and is untouched on failure; the
 * caller releases it with message_release(). Every size, count, range, id and enum value is checked
 * first; memory stays within a small multiple of 'size', which is at most MESSAGE_SIZE_MAX. Errors:
 * ERR_LIMIT too big or too many; ERR_VERSION a kind or enum value this program does not know (the
 * hint says so); ERR_PROTOCOL anything else that is wrong. Unknown fields are skipped. */
int message_decode(const void *data, size_t size, struct message *out, struct err *err) WARN_UNUSED;

#endif
