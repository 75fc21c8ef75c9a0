/* instance_facts.c — see instance_facts.h. */
#include "agent/shell/instance_facts.h"

#include "common/base/alloc.h"
#include "common/io/file_state.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/base/banned.h" /* last: system headers may use what it bans */

#define BUS_PORT_OFFSET 10000
#define TITLE_SIZE 256
#define LOG_TAIL_SIZE 4096
#define CONF_SIZE_MAX 65536
#define NODES_FIELDS_OWN 8 /* of the node's own line, before its slots */

bool instance_facts_is_folder(const char *path)
{
    struct stat info;
    return stat(path, &info) == 0 && S_ISDIR(info.st_mode);
}

/* --- processes -------------------------------------------------------------------------------- */

/* "redis-server 10.0.0.1:7000 [cluster]" or "/usr/bin/redis-server\0/x/server.conf". Children that
 * save have other titles. */
static bool is_server(const char *pid)
{
    char path[64];
    char title[TITLE_SIZE];
    (void)snprintf(path, sizeof(path), "/proc/%.20s/cmdline", pid);
    FILE *file = fopen(path, "re");
    if (file == NULL) {
        return false;
    }
    size_t len = fread(title, 1, sizeof(title) - 1, file);
    (void)fclose(file);
    title[len] = '\0';
    title[strcspn(title, " ")] = '\0'; /* the first word; a '\0' ends it as well */
    const char *name = strrchr(title, '/');
    name = name == NULL ? title : name + 1;
    return strcmp(name, "redis-server") == 0 || strcmp(name, "valkey-server") == 0;
}

static bool works_in(const char *pid, const char *folder)
{
    char path[64];
    char place[PATH_MAX];
    (void)snprintf(path, sizeof(path), "/proc/%.20s/cwd", pid);
    ssize_t len = readlink(path, place, sizeof(place) - 1);
    if (len <= 0) {
        return false;
    }
    place[len] = '\0';
    return strcmp(place, folder) == 0;
}

int64_t instance_facts_pid(const char *folder)
{
    char place[PATH_MAX];
    DIR *processes = realpath(folder, place) != NULL ? opendir("/proc") : NULL;
    if (processes == NULL) {
        return 0;
    }
    int64_t found = 0;
    for (struct dirent *entry = readdir(processes); entry != NULL; entry = readdir(processes)) {
        if (isdigit((unsigned char)entry->d_name[0]) && works_in(entry->d_name, place) &&
            is_server(entry->d_name)) {
            int64_t pid = strtoll(entry->d_name, NULL, 10);
            found = found == 0 || pid < found
                        ? pid
                        : found; /* a fork about to rename itself is younger */
        }
    }
    (void)closedir(processes);
    return found;
}

bool instance_facts_unit(int64_t pid, uint16_t port, char unit[HOST_UNIT_SIZE])
{
    static const char *const flavors[] = {"redis", "valkey"};
    char path[64];
    char line[1024];
    bool is_ours = false;
    (void)snprintf(path, sizeof(path), "/proc/%lld/cgroup", (long long)pid);
    FILE *file = fopen(path, "re");
    while (file != NULL && !is_ours && fgets(line, sizeof(line), file) != NULL) {
        line[strcspn(line, "\n")] = '\0';
        const char *name = strrchr(line, '/');
        for (size_t i = 0; name != NULL && i < sizeof(flavors) / sizeof(flavors[0]); i++) {
            (void)snprintf(unit, HOST_UNIT_SIZE, "drover-%s@%d.service", flavors[i], (int)port);
            if (strcmp(name + 1, unit) == 0) {
                is_ours = true;
                break;
            }
        }
    }
    if (file != NULL) {
        (void)fclose(file);
    }
    return is_ours;
}

/* --- ports ------------------------------------------------------------------------------------ */

/* True when somebody listens there, at whatever address: binding to all of them then fails.
 * SO_REUSEADDR lets connections that are only fading away not count. */
static bool is_taken_in(int family, uint16_t port)
{
    int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        return false; /* this host has no such family */
    }
    int yes = 1;
    (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof(yes));
    int code = 0;
    if (family == AF_INET6) {
        (void)setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &yes, sizeof(yes));
        struct sockaddr_in6 place = {.sin6_family = AF_INET6, .sin6_port = htons(port)};
        code = bind(fd, (const struct sockaddr *)&place, sizeof(place));
    } else {
        struct sockaddr_in place = {.sin_family = AF_INET, .sin_port = htons(port)};
        code = bind(fd, (const struct sockaddr *)&place, sizeof(place));
    }
    bool is_taken = code != 0 && errno == EADDRINUSE;
    (void)close(fd);
    return is_taken;
}

static bool is_taken(int port)
{
    return port > 0 && port <= UINT16_MAX &&
           (is_taken_in(AF_INET, (uint16_t)port) || is_taken_in(AF_INET6, (uint16_t)port));
}

/* --- files ------------------------------------------------------------------------------------ */

static int64_t conf_maxmemory(const char *folder, const char *port)
{
    char *path = xasprintf("%s/%s/%s", folder, port, HOST_CONF_NAME);
    struct strbuf text = {0};
    struct err err;
    int64_t bytes = 0;
    if (file_state_read(path, CONF_SIZE_MAX, &text, &err) == 0) {
        const char *line = strstr(strbuf_text(&text), "\nmaxmemory ");
        bytes = line == NULL ? 0 : strtoll(line + strlen("\nmaxmemory "), NULL, 10);
    }
    strbuf_release(&text);
    free(path);
    return bytes;
}

static int64_t memory_promised(const char *folder, uint16_t except)
{
    DIR *all = opendir(folder);
    int64_t bytes = 0;
    for (struct dirent *entry = all == NULL ? NULL : readdir(all); entry != NULL;
         entry = readdir(all)) {
        char *end = NULL;
        long port = strtol(entry->d_name, &end, 10);
        if (*end == '\0' && port > 0 && port <= UINT16_MAX && port != (long)except) {
            bytes += conf_maxmemory(folder, entry->d_name);
        }
    }
    if (all != NULL) {
        (void)closedir(all);
    }
    return bytes;
}

/* Whom the server was started for; "" when its conf does not say. */
static void read_request(const char *folder, char request[HOST_REQUEST_SIZE])
{
    char *path = xasprintf("%s/%s", folder, HOST_CONF_NAME);
    struct strbuf text = {0};
    struct err err;
    if (file_state_read(path, CONF_SIZE_MAX, &text, &err) == 0) {
        const char *line = strstr(strbuf_text(&text), HOST_REQUEST_LINE);
        const char *from = line == NULL ? "" : line + strlen(HOST_REQUEST_LINE);
        (void)snprintf(request, HOST_REQUEST_SIZE, "%.*s", (int)strcspn(from, "\n"), from);
    }
    strbuf_release(&text);
    free(path);
}

static int count_fields(const char *line)
{
    int count = 0;
    for (const char *at = line + strspn(line, " "); *at != '\0' && *at != '\n';) {
        count++;
        at += strcspn(at, " \n");
        at += strspn(at, " ");
    }
    return count;
}

/* One line a node, "id address flags ...", the last one being "vars ...". */
static void take_nodes_line(const char *line, struct host_facts *facts)
{
    size_t len = strcspn(line, "\n");
    size_t id_len = strcspn(line, " \n");
    const char *own = strstr(line, "myself");
    if (id_len != NODE_ID_LEN) {
        return;
    }
    if (own == NULL || own >= line + len) {
        facts->is_used = true;
        return;
    }
    memcpy(facts->node.text, line, id_len);
    facts->node.text[id_len] = '\0';
    facts->is_used = facts->is_used || count_fields(line) > NODES_FIELDS_OWN;
}

/* What the node has written of itself; what is there and cannot be read may be anything. */
static void read_nodes(const char *folder, uint16_t port, struct host_facts *facts)
{
    char *path = xasprintf("%s/" HOST_NODES_FORMAT, folder, (int)port);
    struct strbuf text = {0};
    struct err err;
    int code = file_state_read(path, FILE_STATE_SIZE_MAX, &text, &err);
    facts->is_used = code != 0 && code != ERR_NOT_FOUND;
    for (const char *line = strbuf_text(&text); code == 0 && *line != '\0';) {
        take_nodes_line(line, facts);
        line += strcspn(line, "\n");
        line += *line == '\n';
    }
    strbuf_release(&text);
    free(path);
}

static void last_words(const char *folder, char text[TEXT_SIZE])
{
    char *path = xasprintf("%s/%s", folder, HOST_LOG_NAME);
    char tail[LOG_TAIL_SIZE + 1];
    FILE *file = fopen(path, "re");
    free(path);
    if (file == NULL) {
        return;
    }
    if (fseek(file, -LOG_TAIL_SIZE, SEEK_END) != 0) {
        rewind(file); /* shorter than that */
    }
    size_t len = fread(tail, 1, LOG_TAIL_SIZE, file);
    (void)fclose(file);
    while (len > 0 && isspace((unsigned char)tail[len - 1])) {
        len--;
    }
    tail[len] = '\0';
    const char *line = strrchr(tail, '\n');
    (void)snprintf(text, TEXT_SIZE, "%s", line == NULL ? tail : line + 1);
    for (char *at = text; *at != '\0'; at++) {
        *at = isprint((unsigned char)*at) ? *at : ' ';
    }
}

void instance_facts_read(const char *folder, const struct host_call *call, struct host_facts *facts)
{
    *facts = (struct host_facts){
        .has_systemd = instance_facts_is_folder("/run/systemd/system"),
        .memory_promised_bytes = memory_promised(folder, call->address.port),
    };
    if (call->address.port == 0) {
        return;
    }
    char *own = xasprintf("%s/%d", folder, (int)call->address.port);
    facts->has_folder = instance_facts_is_folder(own);
    facts->pid = facts->has_folder ? instance_facts_pid(own) : 0;
    facts->is_port_taken = is_taken(call->address.port);
    facts->is_bus_port_taken = is_taken(call->address.port + BUS_PORT_OFFSET);
    last_words(own, facts->last_words);
    read_request(own, facts->request);
    read_nodes(own, call->address.port, facts);
    if (call->verb == HOST_RETIRE) {
        char *aside = xasprintf("%s/aside/%s", folder, call->aside);
        facts->has_aside = instance_facts_is_folder(aside);
        free(aside);
    }
    free(own);
}
