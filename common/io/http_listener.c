/* http_listener.c — see http_listener.h. */
#include "common/io/http_listener.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "common/base/banned.h" /* last: system headers may use what it bans */

#define BACKLOG 128 /* connections the kernel holds until we accept them */

static int listen_err(const char *name, struct err *err)
{
    int number = errno;
    err_set(err, ERR_CONFIG, "cannot listen on %s for HTTP: %s", name, strerror(number));
    if (number == EADDRINUSE) {
        err_hint(err, "another process listens there: stop it or choose another port");
    } else if (number == EADDRNOTAVAIL) {
        err_hint(err, "the address must be one of this host's");
    } else if (number == EACCES) {
        err_hint(err, "this user may not listen there; ports below 1024 need a right of their own");
    }
    return ERR_CONFIG;
}

/* Whether a server answers at the path; a socket file without one is a leftover. */
static bool is_alive(const struct sockaddr_un *at)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        return true;
    }
    bool has_answer = connect(fd, (const struct sockaddr *)at, sizeof(*at)) == 0;
    (void)close(fd);
    return has_answer;
}

static int open_path(const char *path, struct err *err)
{
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof(at.sun_path)) {
        return err_set(err, ERR_CONFIG, "the path of the HTTP socket is longer than %zu bytes: %s",
                       sizeof(at.sun_path) - 1, path);
    }
    (void)snprintf(at.sun_path, sizeof(at.sun_path), "%s", path);
    struct stat info;
    if (lstat(path, &info) == 0) {
        if (!S_ISSOCK(info.st_mode) || is_alive(&at)) {
            errno = EADDRINUSE;
            return listen_err(path, err);
        }
        (void)unlink(path);
    }
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0 || bind(fd, (const struct sockaddr *)&at, sizeof(at)) != 0 ||
        chmod(path, 0660) != 0 || listen(fd, BACKLOG) != 0) {
        int rc = listen_err(path, err);
        if (fd >= 0) {
            (void)close(fd);
        }
        return rc;
    }
    return fd;
}

union any_address {
    struct sockaddr any;
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
};

/* Fills 'at' from a numeric address; false when it is none. */
static bool parse_address(const char *text, uint16_t port, union any_address *at, socklen_t *size)
{
    *at = (union any_address){.any.sa_family = AF_UNSPEC};
    if (inet_pton(AF_INET, text, &at->v4.sin_addr) == 1) {
        at->v4.sin_family = AF_INET;
        at->v4.sin_port = htons(port);
        *size = sizeof(at->v4);
        return true;
    }
    if (inet_pton(AF_INET6, text, &at->v6.sin6_addr) == 1) {
        at->v6.sin6_family = AF_INET6;
        at->v6.sin6_port = htons(port);
        *size = sizeof(at->v6);
        return true;
    }
    return false;
}

static uint16_t bound_port(int fd)
{
    union any_address at = {.v6 = {0}};
    socklen_t size = sizeof(at);
    if (getsockname(fd, &at.any, &size) != 0) {
        return 0;
    }
    return ntohs(at.any.sa_family == AF_INET6 ? at.v6.sin6_port : at.v4.sin_port);
}

int http_listener_open(const struct http_options *options, uint16_t *port, struct err *err)
{
    const char *address =
        options->address != NULL && *options->address != '\0' ? options->address : "127.0.0.1";
    *port = 0;
    if (address[0] == '/') {
        return open_path(address, err);
    }
    union any_address at;
    socklen_t size = 0;
    char name[128];
    (void)snprintf(name, sizeof(name), strchr(address, ':') != NULL ? "[%s]:%u" : "%s:%u", address,
                   (unsigned)options->port);
    if (!parse_address(address, options->port, &at, &size)) {
        err_set(err, ERR_CONFIG, "cannot listen on %s for HTTP: \"%s\" is no IP address", name,
                address);
        err_hint(err, "use an address of this host, 0.0.0.0 for all, or /path for a unix socket");
        return ERR_CONFIG;
    }
    int fd = socket(at.any.sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    int on = 1;
    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) != 0 ||
        bind(fd, &at.any, size) != 0 || listen(fd, BACKLOG) != 0) {
        int rc = listen_err(name, err);
        if (fd >= 0) {
            (void)close(fd);
        }
        return rc;
    }
    *port = bound_port(fd);
    return fd;
}
