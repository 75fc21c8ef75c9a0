/* trap_commands.c — stops a server for a moment at chosen commands, so that a test can kill at an
 * exact step.
 *
 * Loaded into redis-server or valkey-server with LD_PRELOAD, never part of the product. It looks at
 * what the server reads from its connections. When that holds a watched command whose
 * file stands in the folder $DROVER_TRAP, the test is told over $DROVER_TRAP/socket, and the server
 * goes on once the test has answered: "before" the command is carried out, and again "after" it,
 * just before the reply leaves (the server writes nodes.conf and its AOF before replies). Without
 * a test that listens nothing is held up. A command that is only asked about (ACL DRYRUN, before a
 * join) is none. MONITOR would be simpler, but shows no CLUSTER commands.
 *
 * Holds state of its own, unlike the product: a preloaded library has nobody to give it any.
 * Servers read and write their connections in one thread (io-threads 1). */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dlfcn.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <unistd.h>

#define FDS_MAX 4096

struct watched {
    const char *name; /* of its file */
    const char *bytes;
};

/* As drover's agents send them. */
static const struct watched words[] = {
    {"MEET", "\r\nMEET\r\n"},
    {"RESTORE", "\r\nFUNCTION\r\n$7\r\nRESTORE\r\n"},
    {"REPLICATE", "\r\nREPLICATE\r\n"},
    {"SETSLOT", "\r\nSETSLOT\r\n"},
    {"ADDSLOTS", "\r\nADDSLOTS"},
    {"EPOCH", "\r\nSET-CONFIG-EPOCH\r\n"},
    {"EPOCH", "\r\nBUMPEPOCH\r\n"}, /* of a node that knows others */
    {"MIGRATE", "\r\n$7\r\nMIGRATE\r\n"},
    {"RESET", "\r\nRESET\r\n"},
    {"FORGET", "\r\nFORGET\r\n"},
};

static struct {
    ssize_t (*read)(int, void *, size_t);
    ssize_t (*write)(int, const void *, size_t);
    ssize_t (*writev)(int, const struct iovec *, int);
    char folder[100]; /* empty: nothing is watched */
    const struct watched *pending[FDS_MAX];
} trap;

__attribute__((constructor)) static void trap_init(void)
{
    *(void **)&trap.read = dlsym(RTLD_NEXT, "read");
    *(void **)&trap.write = dlsym(RTLD_NEXT, "write");
    *(void **)&trap.writev = dlsym(RTLD_NEXT, "writev");
    /* A copy: servers write their title over the environment. */
    const char *folder = getenv("DROVER_TRAP");
    (void)snprintf(trap.folder, sizeof(trap.folder), "%s", folder != NULL ? folder : "");
}

static int peer_port(int fd)
{
    struct sockaddr_in peer = {0};
    socklen_t size = sizeof(peer);
    if (getpeername(fd, (struct sockaddr *)&peer, &size) != 0 || peer.sin_family != AF_INET) {
        return 0;
    }
    return ntohs(peer.sin_port);
}

static void tell(const char *when, const struct watched *word, int fd)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    char line[128];
    char answer = 0;
    int link = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    (void)snprintf(address.sun_path, sizeof(address.sun_path), "%.90s/socket", trap.folder);
    int len = snprintf(line, sizeof(line), "%s %s %d %d\n", when, word->name, (int)getpid(),
                       peer_port(fd));
    if (link >= 0 && connect(link, (struct sockaddr *)&address, sizeof(address)) == 0 &&
        trap.write(link, line, (size_t)len) == len) {
        (void)!trap.read(link, &answer, 1);
    }
    if (link >= 0) {
        (void)close(link);
    }
}

static bool is_armed(const struct watched *word)
{
    char path[256];
    (void)snprintf(path, sizeof(path), "%.99s/%s", trap.folder, word->name);
    return access(path, F_OK) == 0;
}

static bool is_dry_run(const void *data, size_t size)
{
    static const char word[] = "\r\nDRYRUN\r\n";
    return memmem(data, size, word, sizeof(word) - 1) != NULL;
}

static void look(int fd, const void *data, size_t size)
{
    if (is_dry_run(data, size)) {
        return;
    }
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
        if (memmem(data, size, words[i].bytes, strlen(words[i].bytes)) != NULL &&
            is_armed(&words[i])) {
            tell("before", &words[i], fd);
            trap.pending[fd] = &words[i];
            return;
        }
    }
}

static void answered(int fd)
{
    if (fd >= 0 && fd < FDS_MAX && trap.pending[fd] != NULL) {
        const struct watched *word = trap.pending[fd];
        trap.pending[fd] = NULL;
        tell("after", word, fd);
    }
}

ssize_t read(int fd, void *data, size_t size)
{
    ssize_t got = trap.read(fd, data, size);
    if (got > 0 && trap.folder[0] != '\0' && fd >= 0 && fd < FDS_MAX) {
        trap.pending[fd] = NULL;
        look(fd, data, (size_t)got);
    }
    return got;
}

ssize_t write(int fd, const void *data, size_t size)
{
    answered(fd);
    return trap.write(fd, data, size);
}

ssize_t writev(int fd, const struct iovec *parts, int count)
{
    answered(fd);
    return trap.writev(fd, parts, count);
}
