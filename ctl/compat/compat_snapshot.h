/* compat_snapshot.h — fetches a node's RDB snapshot by SYNC into a file.
 *
 * Speaks on a socket of its own: what comes after SYNC is no RESP. */
#ifndef DROVER_CTL_COMPAT_COMPAT_SNAPSHOT_H
#define DROVER_CTL_COMPAT_COMPAT_SNAPSHOT_H

#include "common/base/err.h"
#include "common/io/loop.h"
#include "common/io/redis_link.h"
#include "common/model/ids.h"

/* Writes the snapshot to 'path' (made anew) and its bytes to *size. ERR_IO names the file,
 * ERR_TIMEOUT when nothing came for a minute, ERR_PROTOCOL when the node refuses. A part of a
 * snapshot is never left behind. */
int compat_snapshot_fetch(struct loop *loop,
                          const struct redis_options *redis,
                          const struct address *address,
                          const char *path,
                          int64_t *size,
                          struct err *err) WARN_UNUSED;

#endif
