/* redis_reader.h — turns bytes from Redis into struct reply, straight into the arena of a
 * reply_list.
 *
 * hiredis parses, our functions build. Knows no sockets. Internal to redis_link. */
#ifndef DROVER_IO_REDIS_READER_H
#define DROVER_IO_REDIS_READER_H

#include "common/base/err.h"
#include "common/model/reply.h"

#include <stdint.h>

struct redis_reader;

/* bytes_max: how much may arrive between two calls of redis_reader_restart(). */
struct redis_reader *redis_reader_new(int64_t bytes_max);
void redis_reader_free(struct redis_reader *reader);

/* Takes 'size' bytes. ERR_LIMIT when bytes_max is passed. */
int redis_reader_feed(struct redis_reader *reader, const char *data, size_t size, struct err *err)
    WARN_UNUSED;

/* Appends the next whole answer to 'list': 1; 0 when more bytes are needed (call again with the
 * same list, an answer may be half done in its arena); ERR_PROTOCOL or ERR_LIMIT, after which the
 * reader is of no more use. */
int redis_reader_next(struct redis_reader *reader,
                      struct reply_list *list,
                      struct err *err) WARN_UNUSED;

/* Starts counting bytes anew: a pipeline is complete. */
void redis_reader_restart(struct redis_reader *reader);

/* Bytes fed but not yet part of an answer. */
size_t redis_reader_left(const struct redis_reader *reader);

#endif
