/* compat_place.c — see compat_place.h. */
#include "ctl/compat/compat_place.h"

#include "common/base/alloc.h"
#include "common/base/strbuf.h"
#include "ctl/compat/compat_print.h"
#include "ctl/terminal.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#define LOCK_NAME "lock"
#define LOOK_MS 100

/* A folder that is ours alone; made when it is not there. */
static int make_private(const char *path, struct err *err)
{
    struct stat seen;
    if (mkdir(path, 0700) != 0 && errno != EEXIST) {
        return err_set(err, ERR_IO, "cannot make %.300s: %s", path, strerror(errno));
    }
    if (lstat(path, &seen) != 0 || !S_ISDIR(seen.st_mode) || seen.st_uid != geteuid() ||
        (seen.st_mode & 077) != 0) {
        return err_set(err, ERR_REFUSED, "%.300s is not a folder of ours alone", path);
    }
    return 0;
}

/* $XDG_RUNTIME_DIR is private by definition; without it a folder in /tmp that is checked to be. */
static char *base_folder(void)
{
    const char *runtime = getenv("XDG_RUNTIME_DIR");
    struct stat seen;
    if (runtime != NULL && runtime[0] == '/' && stat(runtime, &seen) == 0 &&
        seen.st_uid == geteuid() && (seen.st_mode & 077) == 0 && access(runtime, W_OK) == 0) {
        return xasprintf("%s/drover", runtime);
    }
    return xasprintf("/tmp/drover-%u", (unsigned)geteuid());
}

static int take_lock(struct compat_place *place, struct err *err)
{
    char *path = xasprintf("%s/" LOCK_NAME, place->folder);
    place->lock = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    int code = 0;
    if (place->lock < 0) {
        code = err_set(err, ERR_IO, "cannot open %.300s: %s", path, strerror(errno));
    } else if (flock(place->lock, LOCK_EX | LOCK_NB) != 0) {
        place->has_waited = true;
        compat_say(COMPAT_WARN, "*** Another run works on this cluster, waiting for it to end...");
        while (code == 0 && flock(place->lock, LOCK_EX | LOCK_NB) != 0) {
            terminal_wait(LOOK_MS);
            code = terminal_is_interrupted() ? err_set(err, ERR_CANCELLED, "interrupted") : 0;
        }
    }
    free(path);
    return code;
}

int compat_place_open(struct compat_place *place, const char *name, struct err *err)
{
    char *base = base_folder();
    *place = (struct compat_place){.folder = xasprintf("%s/%s", base, name), .lock = -1};
    int code = make_private(base, err);
    code = code == 0 ? make_private(place->folder, err) : code;
    code = code == 0 ? take_lock(place, err) : code;
    free(base);
    if (code != 0) {
        compat_place_close(place, false);
    }
    return code;
}

/* What a coordinator puts there: files, and one folder of files. */
static void remove_files(const char *folder, bool has_folders)
{
    DIR *dir = opendir(folder);
    struct dirent *entry = NULL;
    while (dir != NULL && (entry = readdir(dir)) != NULL) {
        if (entry->d_name[0] == '.' || strcmp(entry->d_name, LOCK_NAME) == 0) {
            continue;
        }
        char *path = xasprintf("%s/%s", folder, entry->d_name);
        if (unlink(path) != 0 && errno == EISDIR && has_folders) {
            DIR *inner = opendir(path);
            struct dirent *file = NULL;
            while (inner != NULL && (file = readdir(inner)) != NULL) {
                char *inner_path = xasprintf("%s/%s", path, file->d_name);
                (void)unlink(inner_path);
                free(inner_path);
            }
            if (inner != NULL) {
                (void)closedir(inner);
            }
            (void)rmdir(path);
        }
        free(path);
    }
    if (dir != NULL) {
        (void)closedir(dir);
    }
}

/* The lock file stays: who waits for it would else hold the lock of a file that is gone. */
void compat_place_close(struct compat_place *place, bool removes)
{
    if (place->folder != NULL && place->lock >= 0 && removes) {
        remove_files(place->folder, true);
    }
    if (place->lock >= 0) {
        (void)close(place->lock);
    }
    free(place->folder);
    *place = (struct compat_place){.lock = -1};
}
