/* file_state.h — small files that must survive a power cut: the fence an agent has seen, its
 * identity.
 *
 * A write is all or nothing: a temporary file in the same folder, fsync, rename, fsync of the
 * folder. Mode 0600. */
#ifndef DROVER_IO_FILE_STATE_H
#define DROVER_IO_FILE_STATE_H

#include "common/base/err.h"
#include "common/base/strbuf.h"

#include <stddef.h>

#define FILE_STATE_SIZE_MAX \
    1048576 /* bytes of one file (1 MiB); everything kept so is far smaller */

/* Replaces the file by 'size' bytes. When this returns 0 they are on the disk. ERR_IO names the
 * path. Blocks on fsync. */
int file_state_write(const char *path, const void *data, size_t size, struct err *err) WARN_UNUSED;

/* Reads the whole file, at most size_max bytes (<= FILE_STATE_SIZE_MAX), into 'out' (cleared
 * first). ERR_NOT_FOUND: no such file. ERR_LIMIT: bigger. ERR_IO. */
int file_state_read(const char *path, size_t size_max, struct strbuf *out, struct err *err)
    WARN_UNUSED;

/* As file_state_read for passwords and keys: ERR_CONFIG when group or others may read the file;
 * cuts one trailing line end. */
int file_state_read_secret(const char *path, size_t size_max, struct strbuf *out, struct err *err)
    WARN_UNUSED;

/* Makes the folder with mode 0700 when it is missing (not its parents). */
int file_state_make_folder(const char *path, struct err *err) WARN_UNUSED;

/* Takes the lock file 'path' for this process, so that two daemons never share a state folder.
 * Returns a descriptor
 * >= 0 that holds the lock until it is closed or the process ends, or ERR_EXISTS (somebody holds
 * it), ERR_IO. */
int file_state_lock(const char *path, struct err *err) WARN_UNUSED;
void file_state_unlock(int descriptor);

#endif
