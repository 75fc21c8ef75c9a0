/* file_state.c — see file_state.h. */
#include "common/io/file_state.h"

#include "common/base/alloc.h"
#include "common/base/check.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/base/banned.h" /* last: system headers may use what it bans */

static int io_err(const char *what, const char *path, struct err *err)
{
    return err_set(err, ERR_IO, "cannot %s %.300s: %s", what, path, strerror(errno));
}

static int write_all(int fd, const char *data, size_t size)
{
    while (size > 0) {
        ssize_t count = write(fd, data, size);
        if (count < 0 && errno == EINTR) {
            continue;
        }
        if (count < 0) {
            return -1;
        }
        data += count;
        size -= (size_t)count;
    }
    return 0;
}

/* fsync of the folder makes the rename last. */
static int sync_folder_of(const char *path, struct err *err)
{
    char *folder = xstrdup(path);
    char *slash = strrchr(folder, '/');
    if (slash == NULL) {
        folder[0] = '.';
        folder[1] = '\0'; /* a path has at least one character */
    } else {
        slash[slash == folder ? 1 : 0] = '\0';
    }
    int rc = 0;
    int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0 || fsync(fd) != 0) {
        rc = io_err("sync the folder", folder, err);
    }
    if (fd >= 0) {
        (void)close(fd);
    }
    free(folder);
    return rc;
}

int file_state_write(const char *path, const void *data, size_t size, struct err *err)
{
    CHECK(*path != '\0');
    CHECK(size <= FILE_STATE_SIZE_MAX);
    char *draft = xasprintf("%s.new", path);
    int rc = 0;
    /* A draft left by a crash may have another mode: it is made anew. */
    (void)unlink(draft);
    int fd = open(draft, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0) {
        rc = io_err("create", draft, err);
        goto out;
    }
    if (write_all(fd, data, size) != 0 || fsync(fd) != 0) {
        rc = io_err("write", draft, err);
        (void)close(fd);
        (void)unlink(draft);
        goto out;
    }
    if (close(fd) != 0 || rename(draft, path) != 0) {
        rc = io_err("replace", path, err);
        (void)unlink(draft);
        goto out;
    }
    rc = sync_folder_of(path, err);
out:
    free(draft);
    return rc;
}

static int read_open(const char *path, int *fd, struct stat *info, struct err *err)
{
    *fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* a pipe must not hold us */
    if (*fd < 0) {
        if (errno == ENOENT) {
            return err_set(err, ERR_NOT_FOUND, "no file %.300s", path);
        }
        return io_err("open", path, err);
    }
    if (fstat(*fd, info) != 0) {
        return io_err("look at", path, err);
    }
    if (!S_ISREG(info->st_mode)) {
        return err_set(err, ERR_IO, "%.300s is not a file", path);
    }
    return 0;
}

static int read_all(int fd, const char *path, size_t size_max, struct strbuf *out, struct err *err)
{
    char part[16384];
    for (;;) {
        ssize_t count = read(fd, part, sizeof(part));
        if (count < 0 && errno == EINTR) {
            continue;
        }
        if (count < 0) {
            return io_err("read", path, err);
        }
        if (count == 0) {
            return 0;
        }
        if (out->len + (size_t)count > size_max) {
            return err_set(err, ERR_LIMIT, "%.300s is bigger than %zu bytes", path, size_max);
        }
        strbuf_add(out, part, (size_t)count);
    }
}

static int read_file(const char *path,
                     size_t size_max,
                     bool is_secret,
                     struct strbuf *out,
                     struct err *err)
{
    CHECK(size_max <= FILE_STATE_SIZE_MAX);
    int fd = -1;
    struct stat info = {0};
    struct strbuf text = {0};
    int rc = read_open(path, &fd, &info, err);
    if (rc == 0 && is_secret && (info.st_mode & (S_IRWXG | S_IRWXO)) != 0) {
        rc = err_set(err, ERR_CONFIG, "%.300s holds a secret but others may read it (mode %03o)",
                     path, (unsigned)(info.st_mode & 0777));
        err_hint(err, "chmod 600 %.200s", path);
    }
    if (rc == 0) {
        rc = read_all(fd, path, size_max, &text, err);
    }
    if (fd >= 0) {
        (void)close(fd);
    }
    if (rc != 0) {
        strbuf_release(&text);
        return rc;
    }
    strbuf_release(out);
    *out = text;
    return 0;
}

int file_state_read(const char *path, size_t size_max, struct strbuf *out, struct err *err)
{
    return read_file(path, size_max, false, out, err);
}

int file_state_read_secret(const char *path, size_t size_max, struct strbuf *out, struct err *err)
{
    int rc = read_file(path, size_max, true, out, err);
    if (rc == 0 && out->len > 0 && out->data[out->len - 1] == '\n') {
        out->data[--out->len] = '\0';
    }
    return rc;
}

int file_state_make_folder(const char *path, struct err *err)
{
    if (mkdir(path, 0700) == 0) {
        return sync_folder_of(path, err);
    }
    struct stat info;
    if (errno == EEXIST && stat(path, &info) == 0 && S_ISDIR(info.st_mode)) {
        return 0;
    }
    return io_err("make the folder", path, err);
}

int file_state_lock(const char *path, struct err *err)
{
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0) {
        return io_err("open the lock", path, err);
    }
    if (flock(fd, LOCK_EX | LOCK_NB) == 0) {
        return fd;
    }
    int rc = 0;
    if (errno == EWOULDBLOCK) {
        rc = err_set(err, ERR_EXISTS, "another process holds %.300s", path);
        err_hint(err,
                 "only one daemon may use a state folder; stop the other or give this one its own");
    } else {
        rc = io_err("lock", path, err);
    }
    (void)close(fd);
    return rc;
}

void file_state_unlock(int descriptor)
{
    if (descriptor >= 0) {
        (void)close(descriptor);
    }
}
