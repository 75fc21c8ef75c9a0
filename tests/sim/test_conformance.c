/* test_conformance.c — the same command scripts on the model Redis and on real redis-server
 * processes.
 *
 * Five nodes: A, B, C with a third of the slots each, D empty, E a replica of A. The scripts in
 * conformance/ run one after another on both clusters; every reply must be the same once ids and
 * addresses are replaced by letters. Script lines: "<node> <command>", "settle <slot> <node>" (all
 * agree that the node owns the slot), "crash <node>", "start <node>", "pause <ms>". In commands $X
 * is the id of node X and @X its host and port; $claim is the script of a claim. */
#include "agent/core/mover_script.h"
#include "common/base/alloc.h"
#include "common/base/check.h"
#include "common/base/strbuf.h"
#include "tests/sim/conformance_text.h"
#include "tests/sim/model_redis.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#define NODES CONFORMANCE_NODES
#define NODE_TIMEOUT_MS 1000
#define SETTLE_MS_MAX 30000
#define WORDS_MAX 32

/* One of the two clusters under comparison. */
struct cluster {
    struct conformance_names names;
    bool is_up[NODES];
    /* Appends the formatted reply to one command. */
    void (*ask)(struct cluster *cluster,
                int node,
                const struct command_list *commands,
                struct strbuf *out);
    void (*wait)(struct cluster *cluster, int64_t wait_ms);
    void (*crash)(struct cluster *cluster, int node);
    void (*start)(struct cluster *cluster, int node);
    /* real */
    char *dir;
    pid_t pids[NODES];
    int sockets[NODES];
    struct strbuf input[NODES];
    /* model */
    struct schedule schedule;
    struct model_network network;
    struct model_redis redis;
    struct model_session sessions[NODES];
};

/* ---- the real cluster ---- */

static void sleep_ms(int64_t wait_ms)
{
    struct timespec time = {.tv_sec = wait_ms / 1000, .tv_nsec = (wait_ms % 1000) * 1000000};
    while (nanosleep(&time, &time) != 0 && errno == EINTR) {
    }
}

static void real_wait(struct cluster *cluster, int64_t wait_ms)
{
    (void)cluster;
    sleep_ms(wait_ms);
}

static int try_connect(uint16_t port)
{
    int handle = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (connect(handle, (struct sockaddr *)&address, sizeof(address)) == 0) {
        return handle;
    }
    close(handle);
    return -1;
}

static void real_read(struct cluster *cluster, int node)
{
    char bytes[65536];
    ssize_t size = read(cluster->sockets[node], bytes, sizeof(bytes));
    assert_true(size > 0);
    strbuf_add(&cluster->input[node], bytes, (size_t)size);
}

static void real_line(struct cluster *cluster, int node, struct strbuf *line)
{
    char *end = NULL;
    while ((end = strstr(strbuf_text(&cluster->input[node]), "\r\n")) == NULL) {
        real_read(cluster, node);
    }
    size_t len = (size_t)(end - cluster->input[node].data);
    strbuf_clear(line);
    strbuf_add(line, cluster->input[node].data, len);
    strbuf_consume(&cluster->input[node], len + 2);
}

/* One element that is no array. */
static void real_element(struct cluster *cluster,
                         int node,
                         struct reply_list *list,
                         struct reply *reply,
                         const struct strbuf *line)
{
    const char *rest = strbuf_text(line) + 1;
    switch (line->data[0]) {
    case '+':
        reply_set_text(list, reply, REPLY_STATUS, rest, line->len - 1);
        break;
    case '-':
        reply_set_text(list, reply, REPLY_ERROR, rest, line->len - 1);
        break;
    case ':':
        reply->type = REPLY_INTEGER;
        reply->integer = atoll(rest);
        break;
    case '$':
        if (rest[0] == '-') {
            break;
        }
        while (cluster->input[node].len < (size_t)atoll(rest) + 2) {
            real_read(cluster, node);
        }
        reply_set_text(list, reply, REPLY_STRING, cluster->input[node].data, (size_t)atoll(rest));
        strbuf_consume(&cluster->input[node], (size_t)atoll(rest) + 2);
        break;
    default:
        fail_msg("unexpected reply %s", strbuf_text(line));
    }
}

static void real_ask(struct cluster *cluster,
                     int node,
                     const struct command_list *commands,
                     struct strbuf *out)
{
    struct strbuf line = {0};
    strbuf_addf(&line, "*%d\r\n", commands->commands[0].arg_count);
    for (int arg = 0; arg < commands->commands[0].arg_count; arg++) {
        size_t len = 0;
        const char *data = commands_get(commands, 0, arg, &len);
        strbuf_addf(&line, "$%zu\r\n", len);
        strbuf_add(&line, data, len);
        strbuf_add_text(&line, "\r\n");
    }
    assert_int_equal(write(cluster->sockets[node], line.data, line.len), (ssize_t)line.len);
    struct reply_list list = {0};
    struct reply *reply = replies_add(&list);
    real_line(cluster, node, &line);
    if (line.data[0] == '*') {
        reply_set_array(&list, reply, (size_t)atoll(line.data + 1));
        for (size_t i = 0; i < reply->count; i++) {
            real_line(cluster, node, &line);
            real_element(cluster, node, &list, &reply->items[i], &line);
        }
    } else {
        real_element(cluster, node, &list, reply, &line);
    }
    conformance_format_reply(out, reply);
    replies_release(&list);
    strbuf_release(&line);
}

static void real_start(struct cluster *cluster, int node)
{
    char *dir = xasprintf("%s/%d", cluster->dir, node);
    char port[8];
    char timeout[16];
    snprintf(port, sizeof(port), "%u", cluster->names.ports[node]);
    snprintf(timeout, sizeof(timeout), "%d", NODE_TIMEOUT_MS);
    (void)mkdir(dir, 0700);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL); /* a failed assertion must leave nobody behind */
        int null = open("/dev/null", O_WRONLY);
        (void)dup2(null, STDOUT_FILENO);
        execl("/usr/bin/redis-server", "redis-server", "--port", port, "--bind", "127.0.0.1",
              "--dir", dir, "--save", "", "--appendonly", "yes", "--appendfsync", "always",
              "--cluster-enabled", "yes", "--cluster-node-timeout", timeout,
              "--repl-diskless-sync-delay", "0", (char *)NULL);
        _exit(127);
    }
    free(dir);
    cluster->pids[node] = pid;
    cluster->is_up[node] = true;
    cluster->sockets[node] = -1;
    for (int i = 0; i < 500 && cluster->sockets[node] < 0; i++) {
        sleep_ms(20);
        cluster->sockets[node] = try_connect(cluster->names.ports[node]);
    }
    assert_true(cluster->sockets[node] >= 0);
}

static void real_crash(struct cluster *cluster, int node)
{
    kill(cluster->pids[node], SIGKILL);
    (void)waitpid(cluster->pids[node], NULL, 0);
    close(cluster->sockets[node]);
    cluster->pids[node] = 0;
    cluster->is_up[node] = false;
    strbuf_release(&cluster->input[node]);
}

/* Port and bus port (10,000 higher) stay below the range the kernel draws from for outgoing
 * connections. */
static uint16_t free_port(int index)
{
    for (int i = 0; i < 200; i++) {
        uint16_t port = (uint16_t)(10000 + (getpid() * 31 + i * 977 + index) % 12000);
        int base = try_connect(port);
        int bus = try_connect((uint16_t)(port + 10000));
        if (base < 0 && bus < 0) {
            return port;
        }
        close(base);
        close(bus);
    }
    fail_msg("no free port");
    return 0;
}

static void ask_text(struct cluster *cluster, int node, const char *text, struct strbuf *out);

static void PRINTF_LIKE(3, 4)
    ask_quietly(struct cluster *cluster, int node, const char *format, ...)
{
    char text[200];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    struct strbuf out = {0};
    ask_text(cluster, node, text, &out);
    assert_string_equal(strbuf_text(&out), "+OK");
    strbuf_release(&out);
}

static bool answer_has(struct cluster *cluster, int node, const char *command, const char *part)
{
    struct strbuf out = {0};
    ask_text(cluster, node, command, &out);
    bool is_there = strstr(strbuf_text(&out), part) != NULL;
    strbuf_release(&out);
    return is_there;
}

static void wait_answer(struct cluster *cluster, int node, const char *command, const char *part)
{
    for (int i = 0; i < SETTLE_MS_MAX / 50; i++) {
        if (answer_has(cluster, node, command, part)) {
            return;
        }
        sleep_ms(50);
    }
    fail_msg("node %c: %s never says %s", 'A' + node, command, part);
}

static void real_form(struct cluster *cluster)
{
    static const char *const ranges[] = {"0 5460", "5461 10922", "10923 16383"};
    cluster->ask = real_ask;
    cluster->wait = real_wait;
    cluster->crash = real_crash;
    cluster->start = real_start;
    for (int i = 0; i < NODES; i++) {
        cluster->names.ports[i] = free_port(i);
        real_start(cluster, i);
        struct strbuf id = {0};
        ask_text(cluster, i, "cluster myid", &id);
        memcpy(cluster->names.ids[i], id.data + 1, NODE_ID_LEN);
        strbuf_release(&id);
        ask_quietly(cluster, i, "cluster set-config-epoch %d", i + 1);
        if (i < 3) {
            ask_quietly(cluster, i, "cluster addslotsrange %s", ranges[i]);
        }
        if (i > 0) {
            ask_quietly(cluster, i, "cluster meet 127.0.0.1 %u", cluster->names.ports[0]);
        }
    }
    for (int i = 0; i < NODES; i++) {
        wait_answer(cluster, i, "cluster info", "cluster_known_nodes:5");
        for (int j = 0; j < NODES; j++) {
            wait_answer(cluster, i, "cluster nodes", cluster->names.ids[j]);
        }
    }
    for (int i = 0; i < NODES; i++) {
        wait_answer(cluster, i, "cluster info", "cluster_state:ok");
        wait_answer(cluster, i, "cluster info", "cluster_current_epoch:5");
    }
    ask_quietly(cluster, 4, "cluster replicate $A");
    wait_answer(cluster, 4, "info replication", "master_link_status:up");
    for (int i = 0; i < NODES; i++) {
        wait_answer(cluster, i, "cluster nodes", "slave");
    }
}

/* ---- the model cluster ---- */

static void model_wait(struct cluster *cluster, int64_t wait_ms)
{
    int64_t until_us = cluster->schedule.now_us + wait_ms * MS_US;
    while (schedule_step(&cluster->schedule, until_us)) {
    }
}

static void model_done(void *owner, struct model_pipeline *pipeline)
{
    struct strbuf *out = owner;
    assert_int_equal(pipeline->replies.count, 1);
    conformance_format_reply(out, &pipeline->replies.replies[0]);
    model_pipeline_free(pipeline);
}

static void model_ask(struct cluster *cluster,
                      int node,
                      const struct command_list *commands,
                      struct strbuf *out)
{
    struct model_pipeline *pipeline = model_pipeline_new();
    commands_begin(&pipeline->commands);
    for (int arg = 0; arg < commands->commands[0].arg_count; arg++) {
        size_t len = 0;
        const char *data = commands_get(commands, 0, arg, &len);
        commands_arg(&pipeline->commands, data, len);
    }
    pipeline->session = &cluster->sessions[node];
    pipeline->done = model_done;
    pipeline->owner = out;
    size_t before = out->len;
    model_node_submit(cluster->redis.nodes[node], pipeline);
    while (out->len == before) {
        assert_true(schedule_step(&cluster->schedule, cluster->schedule.now_us + 60 * SECOND_US));
    }
}

static void model_crash(struct cluster *cluster, int node)
{
    model_node_crash(cluster->redis.nodes[node]);
    cluster->is_up[node] = false;
}

static void model_start(struct cluster *cluster, int node)
{
    model_node_start(cluster->redis.nodes[node]);
    cluster->is_up[node] = true;
    cluster->sessions[node] = (struct model_session){0};
}

static void model_form(struct cluster *cluster)
{
    cluster->ask = model_ask;
    cluster->wait = model_wait;
    cluster->crash = model_crash;
    cluster->start = model_start;
    network_init(&cluster->network, &cluster->schedule, 7, 1);
    cluster->network.is_calm = true;
    model_redis_init(&cluster->redis, &cluster->schedule, &cluster->network, 7);
    cluster->redis.node_timeout_us = NODE_TIMEOUT_MS * MS_US;
    for (int i = 0; i < NODES; i++) {
        cluster->names.ports[i] = (uint16_t)(7000 + i);
        cluster->is_up[i] = true;
        struct model_node *node =
            model_redis_add(&cluster->redis, 0, "127.0.0.1", cluster->names.ports[i]);
        memcpy(cluster->names.ids[i], node->id.text, NODE_ID_LEN);
    }
    model_redis_give(&cluster->redis, 0, 0, 5460);
    model_redis_give(&cluster->redis, 1, 5461, 10922);
    model_redis_give(&cluster->redis, 2, 10923, 16383);
    model_redis_replicate(&cluster->redis, 4, 0);
    model_redis_form(&cluster->redis);
    model_wait(cluster, 3000);
}

/* ---- scripts ---- */

static void split(struct cluster *cluster, const char *text, struct command_list *out)
{
    commands_begin(out);
    char copy[256];
    snprintf(copy, sizeof(copy), "%s", text);
    char *save = NULL;
    for (char *word = strtok_r(copy, " ", &save); word != NULL; word = strtok_r(NULL, " ", &save)) {
        int node = word[1] >= 'A' && word[1] < 'A' + NODES && word[2] == '\0' ? word[1] - 'A' : -1;
        if (node >= 0 && word[0] == '$') {
            commands_arg_text(out, cluster->names.ids[node]);
        } else if (node >= 0 && word[0] == '@') {
            commands_arg_text(out, "127.0.0.1");
            commands_arg_int(out, cluster->names.ports[node]);
        } else if (strcmp(word, "$claim") == 0) {
            commands_arg_text(out, MOVER_CLAIM_SCRIPT);
        } else {
            commands_arg_text(out, strcmp(word, "\"\"") == 0 ? "" : word);
        }
    }
}

static void ask_text(struct cluster *cluster, int node, const char *text, struct strbuf *out)
{
    struct command_list commands = {0};
    split(cluster, text, &commands);
    cluster->ask(cluster, node, &commands, out);
    commands_release(&commands);
}

/* Everybody who runs gives the slot to 'owner', sees all who run connected and suspects nobody. */
static bool is_settled(struct cluster *cluster, int slot, int owner)
{
    bool is_settled = true;
    for (int i = 0; i < NODES && is_settled; i++) {
        struct strbuf text = {0};
        if (!cluster->is_up[i]) {
            continue;
        }
        ask_text(cluster, i, "cluster nodes", &text);
        const char *row = strstr(strbuf_text(&text), cluster->names.ids[owner]);
        while (row != NULL && row != text.data + 1 && row[-1] != '\n') {
            row = strstr(
                row + 1,
                cluster->names.ids[owner]); /* not a row of its own but a replica's primary */
        }
        assert_non_null(row);
        bool is_there = false;
        const char *word = row;
        for (int field = 0; *word != '\0' && *word != '\n'; field++) {
            int first = 0;
            int last = 0;
            int count = field >= 8 && word[0] != '[' ? sscanf(word, "%d-%d", &first, &last) : 0;
            is_there = is_there || (count == 1 && first == slot) ||
                       (count == 2 && first <= slot && slot <= last);
            word += strcspn(word, " \n");
            word += *word == ' ';
        }
        is_settled = is_there && strstr(text.data, "fail?") == NULL;
        for (int j = 0; j < NODES; j++) {
            row = strstr(strbuf_text(&text), cluster->names.ids[j]);
            const char *off = row == NULL ? NULL : strstr(row, "disconnected");
            const char *end = row == NULL ? NULL : strchr(row, '\n');
            is_settled = is_settled && (!cluster->is_up[j] || off == NULL || off > end);
        }
        strbuf_release(&text);
    }
    return is_settled;
}

static void settle(struct cluster *cluster, int slot, int owner)
{
    int good = 0;
    for (int i = 0; i < SETTLE_MS_MAX / 100; i++) {
        good = is_settled(cluster, slot, owner) ? good + 1 : 0;
        if (good == 5) {
            return;
        }
        cluster->wait(cluster, 100);
    }
    struct strbuf text = {0};
    for (int i = 0; i < NODES; i++) {
        if (cluster->is_up[i]) {
            ask_text(cluster, i, "cluster nodes", &text);
        }
    }
    fail_msg("%s: slot %d never settles at %c\n%s", cluster->dir != NULL ? "real" : "model", slot,
             'A' + owner, strbuf_text(&text));
}

static void run_line(struct cluster *cluster, const char *line, struct strbuf *transcript)
{
    char letter = '\0';
    int slot = 0;
    int wait_ms = 0;
    if (sscanf(line, "settle %d %c", &slot, &letter) == 2) {
        settle(cluster, slot, letter - 'A');
    } else if (sscanf(line, "crash %c", &letter) == 1) {
        cluster->crash(cluster, letter - 'A');
    } else if (sscanf(line, "start %c", &letter) == 1) {
        cluster->start(cluster, letter - 'A');
    } else if (sscanf(line, "pause %d", &wait_ms) == 1) {
        cluster->wait(cluster, wait_ms);
    } else {
        struct strbuf reply = {0};
        assert_true(line[0] >= 'A' && line[0] < 'A' + NODES && line[1] == ' ');
        ask_text(cluster, line[0] - 'A', line + 2, &reply);
        conformance_replace_names(&cluster->names, &reply);
        if (strcmp(line + 2, "cluster nodes") == 0) {
            conformance_normalise_nodes(&reply);
        } else if (strcmp(line + 2, "cluster info") == 0) {
            conformance_normalise_info(&reply);
        }
        strbuf_addf(transcript, "%s -> %s\n", line, strbuf_text(&reply));
        strbuf_release(&reply);
    }
}

/* Runs a script on both; the number of lines that differ. */
static int run_script(struct cluster *real, struct cluster *model, const char *path)
{
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    char line[256];
    int different = 0;
    while (fgets(line, sizeof(line), file) != NULL) {
        line[strcspn(line, "\n")] = '\0';
        if (line[0] == '\0' || line[0] == '#') {
            continue;
        }
        struct strbuf from_real = {0};
        struct strbuf from_model = {0};
        run_line(real, line, &from_real);
        run_line(model, line, &from_model);
        if (strcmp(strbuf_text(&from_real), strbuf_text(&from_model)) != 0) {
            different++;
            printf("%s differs\n  real:  %s  model: %s", strrchr(path, '/') + 1,
                   strbuf_text(&from_real), strbuf_text(&from_model));
        }
        strbuf_release(&from_real);
        strbuf_release(&from_model);
    }
    (void)fclose(file);
    return different;
}

/* Every script gives the same replies on the model as on real servers. */
static void test_scripts(void **state)
{
    (void)state;
    if (access("/usr/bin/redis-server", X_OK) != 0) {
        printf("skipped: /usr/bin/redis-server is not installed\n");
        skip();
    }
    struct cluster *real = xcalloc(1, sizeof(*real));
    struct cluster *model = xcalloc(1, sizeof(*model));
    const char *base = getenv("TMPDIR");
    real->dir = xasprintf("%s/drover-conformance-XXXXXX", base != NULL ? base : "/tmp");
    assert_non_null(mkdtemp(real->dir));
    real_form(real);
    model_form(model);
    struct dirent **entries = NULL;
    int count = scandir(TEST_SOURCE_DIR "/conformance", &entries, NULL, alphasort);
    assert_true(count > 2);
    int different = 0;
    int scripts = 0;
    for (int i = 0; i < count; i++) {
        if (strstr(entries[i]->d_name, ".txt") != NULL) {
            char *path = xasprintf("%s/conformance/%s", TEST_SOURCE_DIR, entries[i]->d_name);
            different += run_script(real, model, path);
            scripts++;
            free(path);
        }
        free(entries[i]);
    }
    free(entries);
    for (int i = 0; i < NODES; i++) {
        if (real->is_up[i]) {
            real_crash(real, i);
        }
    }
    char *command[] = {"rm", "-rf", real->dir, NULL};
    pid_t pid = fork();
    if (pid == 0) {
        execvp(command[0], command);
        _exit(127);
    }
    (void)waitpid(pid, NULL, 0);
    free(real->dir);
    free(real);
    model_redis_release(&model->redis);
    schedule_release(&model->schedule);
    free(model);
    printf("%d scripts, %d lines differ\n", scripts, different);
    assert_int_equal(different, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_scripts)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
