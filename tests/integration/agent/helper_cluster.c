/* helper_cluster.c — see helper_cluster.h. */
#include "helper_cluster.h"

#include "tests/tools/port_lease.h"

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define WAIT_MS_MAX 20000
#define BUS_PORT_OFFSET 10000

int64_t real_now_ms(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

void nap_ms(int ms)
{
    (void)poll(NULL, 0, ms);
}

bool wait_until(bool (*holds)(void *user), void *user)
{
    int64_t give_up_ms = real_now_ms() + WAIT_MS_MAX;
    while (!holds(user)) {
        if (real_now_ms() >= give_up_ms) {
            return false;
        }
        nap_ms(20);
    }
    return true;
}

static bool port_is_free(uint16_t port)
{
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in at = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr = {htonl(INADDR_LOOPBACK)}};
    int one = 1;
    (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
    bool is_free = bind(fd, (struct sockaddr *)&at, sizeof(at)) == 0;
    (void)close(fd);
    return is_free;
}

static uint16_t choose_port(void)
{
    static unsigned last = 0;
    if (last == 0) {
        last = (unsigned)getpid() * 37U;
    }
    for (;;) {
        last++;
        /* The bus port, too, lies below those that the kernel gives to clients. */
        uint16_t port = (uint16_t)(11000 + last % 11500);
        uint16_t bus_port = (uint16_t)(port + BUS_PORT_OFFSET);
        if (port_is_free(port) && port_is_free(bus_port) && port_lease(port) &&
            port_lease(bus_port)) {
            return port;
        }
    }
}

static void launch(struct cluster *cluster, struct cluster_node *node)
{
    char port[8];
    char timeout[16];
    (void)snprintf(port, sizeof(port), "%d", node->address.port);
    (void)snprintf(timeout, sizeof(timeout), "%d",
                   cluster->options.node_timeout_ms > 0 ? cluster->options.node_timeout_ms : 5000);
    const char *server = cluster->options.server;
    const char *argv[40] = {server != NULL ? server : "redis-server",
                            "--port",
                            port,
                            "--cluster-enabled",
                            "yes",
                            "--save",
                            "",
                            "--appendonly",
                            "no",
                            "--cluster-node-timeout",
                            timeout,
                            "--repl-diskless-sync-delay",
                            "0",
                            "--bind",
                            "127.0.0.1",
                            "--dir",
                            node->folder,
                            "--enable-debug-command",
                            "yes",
                            "--logfile",
                            "log"};
    int argc = 21;
    if (cluster->options.password != NULL) {
        argv[argc++] = "--requirepass";
        argv[argc++] = cluster->options.password;
        argv[argc++] = "--masterauth";
        argv[argc++] = cluster->options.password;
    }
    if (cluster->options.no_full_coverage) {
        argv[argc++] = "--cluster-require-full-coverage";
        argv[argc++] = "no";
    }
    for (int i = 0; i < NODE_EXTRAS_MAX && node->extras[i] != NULL; i++) {
        argv[argc++] = node->extras[i];
    }
    node->pid = fork();
    if (node->pid == 0) {
        int null = open("/dev/null", O_RDWR);
        (void)dup2(null, 0);
        (void)dup2(null, 1);
        (void)dup2(null, 2);
        (void)execvp(argv[0], (char *const *)(uintptr_t)argv);
        _exit(127);
    }
    assert_true(node->pid > 0);
}

static bool try_link(struct cluster *cluster, struct cluster_node *node)
{
    if (node->link != NULL) {
        redisFree(node->link);
    }
    node->link = redisConnect("127.0.0.1", node->address.port);
    if (node->link == NULL || node->link->err != 0) {
        return false;
    }
    if (cluster->options.password != NULL) {
        freeReplyObject(redisCommand(node->link, "AUTH %s", cluster->options.password));
    }
    redisReply *pong = redisCommand(node->link, "PING");
    bool is_closed =
        pong != NULL && pong->type == REDIS_REPLY_ERROR && strncmp(pong->str, "NOAUTH", 6) == 0;
    bool is_up = is_closed || (pong != NULL && pong->type == REDIS_REPLY_STATUS);
    freeReplyObject(pong);
    return is_up;
}

static void connect_node(struct cluster *cluster, struct cluster_node *node)
{
    int64_t give_up_ms = real_now_ms() + WAIT_MS_MAX;
    while (!try_link(cluster, node)) {
        assert_true(real_now_ms() < give_up_ms);
        nap_ms(20);
    }
}

redisReply *node_ask_args(struct cluster_node *node,
                          int argc,
                          const char **argv,
                          const size_t *lens)
{
    redisReply *reply = redisCommandArgv(node->link, argc, argv, lens);
    if (reply == NULL) {
        fail_msg("node %d does not answer", node->address.port);
    }
    return reply;
}

static redisReply *ask_list(struct cluster_node *node, const char *format, va_list args)
{
    redisReply *reply = redisvCommand(node->link, format, args);
    if (reply == NULL) {
        fail_msg("node %d does not answer %s", node->address.port, format);
    }
    return reply;
}

redisReply *node_ask(struct cluster_node *node, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    redisReply *reply = ask_list(node, format, args);
    va_end(args);
    return reply;
}

int64_t node_ask_int(struct cluster_node *node, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    redisReply *reply = ask_list(node, format, args);
    va_end(args);
    if (reply->type != REDIS_REPLY_INTEGER) {
        fail_msg("%s: %s", format, reply->str != NULL ? reply->str : "no integer");
    }
    int64_t value = reply->integer;
    freeReplyObject(reply);
    return value;
}

void node_order(struct cluster_node *node, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    redisReply *reply = ask_list(node, format, args);
    va_end(args);
    if (reply->type == REDIS_REPLY_ERROR) {
        fail_msg("%s: %s", format, reply->str);
    }
    freeReplyObject(reply);
}

static bool has_text(struct cluster_node *node, const char *command, const char *part, int wanted)
{
    redisReply *reply = node_ask(node, command);
    int count = 0;
    for (const char *at = reply->str; at != NULL && (at = strstr(at, part)) != NULL; at++) {
        count++;
    }
    freeReplyObject(reply);
    return count == wanted;
}

static bool all_met(void *user)
{
    struct cluster *cluster = user;
    for (int i = 0; i < cluster->count; i++) {
        if (!has_text(&cluster->nodes[i], "CLUSTER NODES", " connected", cluster->count) ||
            !has_text(&cluster->nodes[i], "CLUSTER NODES", "handshake", 0)) {
            return false;
        }
    }
    return true;
}

/* Also the roles are gossip: a view that still has a replica as a primary misleads who looks. */
static bool all_well(void *user)
{
    struct cluster *cluster = user;
    int replicas = cluster->options.replicas;
    for (int i = 0; i < cluster->count; i++) {
        bool is_replica = i >= cluster->options.primaries + cluster->options.empty_primaries;
        if (!has_text(&cluster->nodes[i], "CLUSTER INFO", "cluster_state:ok", 1) ||
            !has_text(&cluster->nodes[i], "CLUSTER NODES", "slave ", replicas) ||
            (is_replica &&
             !has_text(&cluster->nodes[i], "INFO replication", "master_link_status:up", 1))) {
            return false;
        }
    }
    return true;
}

static void share_slots(struct cluster *cluster)
{
    int primaries = cluster->options.primaries;
    for (int i = 0; i < primaries; i++) {
        int first = SLOT_COUNT * i / primaries;
        int last = SLOT_COUNT * (i + 1) / primaries - 1;
        node_order(&cluster->nodes[i], "CLUSTER ADDSLOTSRANGE %d %d", first, last);
        node_order(&cluster->nodes[i], "CLUSTER SET-CONFIG-EPOCH %d", i + 1);
    }
}

static void prepare(struct cluster *cluster, struct cluster_node *node)
{
    (void)snprintf(node->address.host, sizeof(node->address.host), "127.0.0.1");
    node->address.port = choose_port();
    (void)snprintf(node->folder, sizeof(node->folder), "%s/%d", cluster->folder,
                   node->address.port);
    assert_int_equal(mkdir(node->folder, 0700), 0);
}

/* Stays empty for a server that does not tell. */
static void read_id(struct cluster_node *node)
{
    redisReply *id = node_ask(node, "CLUSTER MYID");
    (void)snprintf(node->id.text, sizeof(node->id.text), "%s",
                   id->type == REDIS_REPLY_STRING ? id->str : "");
    freeReplyObject(id);
}

int cluster_add(struct cluster *cluster, const char *const *extras)
{
    assert_true(cluster->count < CLUSTER_NODES_MAX);
    struct cluster_node *node = &cluster->nodes[cluster->count];
    *node = (struct cluster_node){0};
    for (int i = 0; extras != NULL && extras[i] != NULL; i++) {
        assert_true(i < NODE_EXTRAS_MAX);
        node->extras[i] = extras[i];
    }
    prepare(cluster, node);
    launch(cluster, node);
    connect_node(cluster, node);
    read_id(node);
    return cluster->count++;
}

void cluster_start(struct cluster *cluster, const struct cluster_options *options)
{
    *cluster = (struct cluster){.options = *options};
    cluster->count = options->primaries + options->empty_primaries + options->replicas;
    assert_true(cluster->count <= CLUSTER_NODES_MAX);
    (void)snprintf(cluster->folder, sizeof(cluster->folder), "/tmp/drover-test-XXXXXX");
    assert_non_null(mkdtemp(cluster->folder));
    for (int i = 0; i < cluster->count; i++) {
        prepare(cluster, &cluster->nodes[i]);
        launch(cluster, &cluster->nodes[i]);
    }
    for (int i = 0; i < cluster->count; i++) {
        connect_node(cluster, &cluster->nodes[i]);
        read_id(&cluster->nodes[i]);
    }
    share_slots(cluster);
    for (int i = 1; i < cluster->count; i++) {
        node_order(&cluster->nodes[0], "CLUSTER MEET 127.0.0.1 %d", cluster->nodes[i].address.port);
    }
    assert_true(wait_until(all_met, cluster));
    for (int i = 0; i < options->replicas; i++) {
        int replica = options->primaries + options->empty_primaries + i;
        node_order(&cluster->nodes[replica], "CLUSTER REPLICATE %s",
                   cluster->nodes[options->replica_of[i]].id.text);
    }
    assert_true(wait_until(all_well, cluster));
}

void cluster_kill(struct cluster *cluster, int node)
{
    struct cluster_node *found = &cluster->nodes[node];
    if (found->pid > 0) {
        (void)kill(found->pid, SIGKILL);
        (void)waitpid(found->pid, NULL, 0);
        found->pid = 0;
    }
    if (found->link != NULL) {
        redisFree(found->link);
        found->link = NULL;
    }
}

void cluster_restart(struct cluster *cluster, int node)
{
    launch(cluster, &cluster->nodes[node]);
    connect_node(cluster, &cluster->nodes[node]);
}

static void remove_folder(const char *folder)
{
    static const char *const names[] = {"log", "nodes.conf", "dump.rdb"};
    char path[192];
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        (void)snprintf(path, sizeof(path), "%s/%s", folder, names[i]);
        (void)unlink(path);
    }
    (void)rmdir(folder);
}

void cluster_stop(struct cluster *cluster)
{
    for (int i = 0; i < cluster->count; i++) {
        cluster_kill(cluster, i);
        remove_folder(cluster->nodes[i].folder);
    }
    (void)rmdir(cluster->folder);
}

int64_t keys_in_slot(struct cluster_node *node, int slot)
{
    return node_ask_int(node, "CLUSTER COUNTKEYSINSLOT %d", slot);
}

/* Calls 'each' for every slot word ("0-99", "[42->-id]") of a line of CLUSTER NODES. */
static char *slot_words(char *line)
{
    for (int field = 0; field < 8 && line != NULL; field++) {
        line = strchr(line, ' ');
        line = line != NULL ? line + 1 : NULL;
    }
    return line;
}

static bool line_has_slot(char *line, int slot)
{
    char *save = NULL;
    char *words = slot_words(line);
    for (char *word = words != NULL ? strtok_r(words, " ", &save) : NULL; word != NULL;
         word = strtok_r(NULL, " ", &save)) {
        char *end = NULL;
        long first = strtol(word, &end, 10);
        long last = *end == '-' && end != word ? strtol(end + 1, NULL, 10) : first;
        if (word[0] != '[' && first <= slot && slot <= last) {
            return true;
        }
    }
    return false;
}

struct node_id owner_in_view(struct cluster_node *node, int slot)
{
    struct node_id owner = {""};
    redisReply *reply = node_ask(node, "CLUSTER NODES");
    char *save = NULL;
    for (char *line = strtok_r(reply->str, "\n", &save); line != NULL;
         line = strtok_r(NULL, "\n", &save)) {
        char id[NODE_ID_LEN + 1];
        (void)snprintf(id, sizeof(id), "%s", line);
        if (line_has_slot(line, slot)) {
            (void)memcpy(owner.text, id, sizeof(owner.text));
        }
    }
    freeReplyObject(reply);
    return owner;
}

void open_marks(struct cluster_node *node, char *text, size_t size)
{
    text[0] = '\0';
    redisReply *reply = node_ask(node, "CLUSTER NODES");
    size_t used = 0;
    for (char *at = strchr(reply->str, '['); at != NULL; at = strchr(at + 1, '[')) {
        char *end = strchr(at, ']');
        int len = end != NULL ? (int)(end - at) + 1 : 0;
        if (used + (size_t)len + 1 < size) {
            used += (size_t)snprintf(text + used, size - used, "%.*s", len, at);
        }
    }
    freeReplyObject(reply);
}
