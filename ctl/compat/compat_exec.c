/* compat_exec.c — see compat_exec.h. */
#include "ctl/compat/compat_exec.h"

#include "common/base/alloc.h"
#include "ctl/compat/compat_print.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define OWN_PATH "/proc/self/exe"
#define EXIT_NOT_FOUND 127 /* as a shell says it */

const char *compat_base_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash == NULL ? path : slash + 1;
}

static bool is_program(const char *path, bool may_be_us)
{
    struct stat own;
    struct stat other;
    if (access(path, X_OK) != 0 || stat(path, &other) != 0 || !S_ISREG(other.st_mode)) {
        return false;
    }
    bool is_us =
        stat(OWN_PATH, &own) == 0 && own.st_dev == other.st_dev && own.st_ino == other.st_ino;
    return may_be_us || !is_us;
}

/* A program of PATH; with may_be_us false our own file under any name is passed over. */
static char *find_in_path(const char *name, bool may_be_us)
{
    const char *path = getenv("PATH");
    char *copy = xstrdup(path == NULL ? "/usr/local/bin:/usr/bin:/bin" : path);
    char *rest = NULL;
    char *found = NULL;
    for (char *folder = strtok_r(copy, ":", &rest); found == NULL && folder != NULL;
         folder = strtok_r(NULL, ":", &rest)) {
        char *full = xasprintf("%s/%s", folder, name);
        if (is_program(full, may_be_us)) {
            found = full;
        } else {
            free(full);
        }
    }
    free(copy);
    return found;
}

int compat_exec_real(const char *name, char *const *argv)
{
    char *path = find_in_path(name, false);
    if (path == NULL) {
        compat_complain(
            "drover: there is no %s in PATH besides drover itself; only --cluster is "
            "drover's own",
            name);
        return EXIT_NOT_FOUND;
    }
    (void)execv(path, argv);
    compat_complain("drover: cannot start %s: %s", path, strerror(errno));
    free(path);
    return EXIT_NOT_FOUND;
}

char *compat_find_sibling(const char *name)
{
    char own[PATH_MAX];
    ssize_t len = readlink(OWN_PATH, own, sizeof(own) - 1);
    if (len > 0) {
        own[len] = '\0';
        char *slash = strrchr(own, '/');
        char *path = xasprintf("%.*s/%s", (int)(slash - own), own, name);
        if (is_program(path, true)) {
            return path;
        }
        free(path);
    }
    return find_in_path(name, true);
}
