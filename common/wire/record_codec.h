/* record_codec.h — what the store keeps, to bytes and back (proto/record.proto).
 *
 * The one door between common/model/record.h and protobuf. Records written by any earlier version
 * stay readable. Pure. */
#ifndef DROVER_WIRE_RECORD_CODEC_H
#define DROVER_WIRE_RECORD_CODEC_H

#include "common/base/strbuf.h"
#include "common/model/record.h"

#include <stddef.h>

/* Weights or sources of one request: with both full, or with sources and every second slot named,
 * an operation stays under STORE_VALUE_SIZE_MAX. No kind of operation has all three. */
#define REQUEST_NODES_MAX 1024

/* Appends the bytes to 'out', always fewer than STORE_VALUE_SIZE_MAX. A plan goes without its
 * batches, revisions are not written. CHECKs the kind, counts over their *_MAX and ids. */
void record_encode(const struct record *record, struct strbuf *out);

/* Reads a stored value into 'out', which needs no init and is untouched on failure; the caller
 * releases it with record_release(). mod_revision is 0 and a plan has no batches (batch_count is
 * their number as stored, batches NULL). Errors as message_decode(): ERR_LIMIT, ERR_VERSION,
 * ERR_PROTOCOL. */
int record_decode(const void *data, size_t size, struct record *out, struct err *err) WARN_UNUSED;

#endif
