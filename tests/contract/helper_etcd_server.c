/* helper_etcd_server.c — see helper_etcd_server.h. */
#include "helper_etcd_server.h"

#include "common/base/alloc.h"
#include "common/base/check.h"
#include "common/io/http_client.h"
#include "common/io/store_backend.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <jansson.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#define ETCD_BINARY "/usr/bin/etcd"
#define START_MS_MAX 30000
#define LOG_END_BYTES 8000

bool etcd_is_installed(void)
{
    if (access(ETCD_BINARY, X_OK) == 0) {
        return true;
    }
    (void)printf("SKIP: %s is not installed; the store contract is not tested on etcd\n",
                 ETCD_BINARY);
    return false;
}

static int free_port(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof(address);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CHECK(fd >= 0);
    CHECK(bind(fd, (struct sockaddr *)&address, size) == 0);
    CHECK(getsockname(fd, (struct sockaddr *)&address, &size) == 0);
    (void)close(fd);
    return ntohs(address.sin_port);
}

/* Runs argv[0] with its output in 'log'; it dies with us. */
static pid_t spawn(char *const argv[], const char *log)
{
    pid_t parent = getpid();
    pid_t pid = fork();
    CHECK(pid >= 0);
    if (pid == 0) {
        int fd = open(log, O_WRONLY | O_CREAT | O_APPEND, 0600);
        (void)dup2(fd, STDOUT_FILENO);
        (void)dup2(fd, STDERR_FILENO);
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (getppid() == parent) {
            (void)execv(argv[0], argv);
        }
        _exit(127);
    }
    return pid;
}

static void run_shell(const char *script, const char *log)
{
    char *const argv[] = {"/bin/sh", "-ec", (char *)script, NULL};
    int status = 0;
    pid_t pid = spawn(argv, log);
    CHECK(waitpid(pid, &status, 0) == pid);
    if (status != 0) {
        fail_msg("test CA: openssl failed with status %d", status);
    }
}

static void make_certificates(struct etcd_cluster *cluster)
{
    char *log = xasprintf("%s/openssl.log", cluster->dir);
    char *script = xasprintf(
        "cd %s\n"
        "for ca in ca other; do\n"
        "  openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj "
        "/CN=drover-test-$ca"
        " -keyout $ca.key -out $ca.pem\n"
        "done\n"
        "openssl req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj /CN=localhost "
        "-keyout node.key"
        " -out node.csr\n"
        "printf "
        "'subjectAltName=IP:127.0.0.1,DNS:localhost\\nextendedKeyUsage=serverAuth,clientAuth\\n' > "
        "node.ext\n"
        "openssl x509 -req -in node.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile "
        "node.ext -out node.pem\n",
        cluster->dir);
    run_shell(script, log);
    cluster->ca_file = xasprintf("%s/ca.pem", cluster->dir);
    cluster->other_ca_file = xasprintf("%s/other.pem", cluster->dir);
    cluster->cert_file = xasprintf("%s/node.pem", cluster->dir);
    cluster->key_file = xasprintf("%s/node.key", cluster->dir);
    free(script);
    free(log);
}

void etcd_cluster_start(struct etcd_cluster *cluster, struct suite_loop *loop, int count)
{
    CHECK(count <= ETCD_MEMBERS_MAX);
    cluster->loop = loop;
    cluster->count = count;
    cluster->dir = suite_temp_dir();
    if (cluster->is_tls) {
        make_certificates(cluster);
    }
    for (int i = 0; i < count; i++) {
        cluster->members[i].client_port = free_port();
        cluster->members[i].peer_port = free_port();
    }
    for (int i = 0; i < count; i++) {
        etcd_member_start(cluster, i);
    }
    for (int i = 0; i < count; i++) {
        etcd_member_wait(cluster, i);
    }
}

void etcd_cluster_stop(struct etcd_cluster *cluster)
{
    for (int i = 0; i < cluster->count; i++) {
        etcd_member_kill(cluster, i);
    }
    suite_remove_dir(cluster->dir);
    free(cluster->dir);
    free(cluster->ca_file);
    free(cluster->cert_file);
    free(cluster->key_file);
    free(cluster->other_ca_file);
    *cluster = (struct etcd_cluster){0};
}

void etcd_cluster_print_logs(const struct etcd_cluster *cluster)
{
    for (int i = 0; i < cluster->count; i++) {
        char *path = xasprintf("%s/m%d.log", cluster->dir, i);
        FILE *log = fopen(path, "r");
        char text[LOG_END_BYTES + 1] = "";
        if (log != NULL) {
            (void)(fseek(log, -LOG_END_BYTES, SEEK_END) == 0 || fseek(log, 0, SEEK_SET) == 0);
            text[fread(text, 1, LOG_END_BYTES, log)] = '\0';
            (void)fclose(log);
        }
        print_message("---- end of %s\n%s\n", path, text);
        free(path);
    }
}

char *etcd_cluster_url(const struct etcd_cluster *cluster, int first, const char *prefix)
{
    struct strbuf url = {0};
    for (int i = 0; i < cluster->count; i++) {
        strbuf_addf(&url, "%s127.0.0.1:%d", i == 0 ? "etcd://" : ",",
                    cluster->members[(first + i) % cluster->count].client_port);
    }
    strbuf_addf(&url, "/%s", prefix);
    return strbuf_detach(&url);
}

void etcd_member_start(struct etcd_cluster *cluster, int index)
{
    CHECK(cluster->members[index].pid == 0);
    struct strbuf peers = {0};
    for (int i = 0; i < cluster->count; i++) {
        strbuf_addf(&peers, "%sm%d=http://127.0.0.1:%d", i == 0 ? "" : ",", i,
                    cluster->members[i].peer_port);
    }
    const char *scheme = cluster->is_tls ? "https" : "http";
    char *args[40] = {NULL};
    int n = 0;
    args[n++] = xstrdup(ETCD_BINARY);
    args[n++] = xasprintf("--name=m%d", index);
    args[n++] = xasprintf("--data-dir=%s/m%d", cluster->dir, index);
    args[n++] = xasprintf("--listen-client-urls=%s://127.0.0.1:%d", scheme,
                          cluster->members[index].client_port);
    args[n++] = xasprintf("--advertise-client-urls=%s://127.0.0.1:%d", scheme,
                          cluster->members[index].client_port);
    args[n++] =
        xasprintf("--listen-peer-urls=http://127.0.0.1:%d", cluster->members[index].peer_port);
    args[n++] = xasprintf("--initial-advertise-peer-urls=http://127.0.0.1:%d",
                          cluster->members[index].peer_port);
    args[n++] = xasprintf("--initial-cluster=%s", strbuf_text(&peers));
    args[n++] = xasprintf("--initial-cluster-token=%s", cluster->dir);
    args[n++] = xstrdup("--heartbeat-interval=100");
    args[n++] = xstrdup("--election-timeout=600"); /* the shortest lease is then one second */
    args[n++] = xstrdup("--max-txn-ops=128");
    if (cluster->quota_bytes != NULL) {
        args[n++] = xasprintf("--quota-backend-bytes=%s", cluster->quota_bytes);
    }
    if (cluster->is_tls) {
        args[n++] = xasprintf("--cert-file=%s", cluster->cert_file);
        args[n++] = xasprintf("--key-file=%s", cluster->key_file);
        args[n++] = xasprintf("--trusted-ca-file=%s", cluster->ca_file);
        args[n++] = xstrdup("--client-cert-auth");
    }
    char *log = xasprintf("%s/m%d.log", cluster->dir, index);
    cluster->members[index].pid = spawn(args, log);
    for (int i = 0; i < n; i++) {
        free(args[i]);
    }
    strbuf_release(&peers);
    free(log);
}

void etcd_member_signal(struct etcd_cluster *cluster, int index, int number)
{
    CHECK(cluster->members[index].pid > 0);
    CHECK(kill(cluster->members[index].pid, number) == 0);
}

void etcd_member_kill(struct etcd_cluster *cluster, int index)
{
    if (cluster->members[index].pid > 0) {
        etcd_member_signal(cluster, index, SIGKILL);
        CHECK(waitpid(cluster->members[index].pid, NULL, 0) == cluster->members[index].pid);
        cluster->members[index].pid = 0;
    }
}

void etcd_member_wait(struct etcd_cluster *cluster, int index)
{
    int64_t limit_ms = store_now_ms() + START_MS_MAX;
    while (store_now_ms() < limit_ms) {
        /* Deletes what is not there: needs the log, leaves nothing. A read would not do: etcd asks
         * again for it, while a write meets a change of leader or a peer that is only now dialled
         * and is lost in silence. Any answer of etcd's own counts: with authentication on, the
         * request is refused. */
        char *answer = NULL;
        long status = etcd_member_post(cluster, index, "/v3/kv/deleterange", "{\"key\":\"AA==\"}",
                                       NULL, &answer);
        bool is_up = status == 200 || (status == 400 && answer != NULL &&
                                       strstr(answer, "user name is empty") != NULL);
        free(answer);
        if (is_up) {
            return;
        }
        int status_of_exit = 0;
        if (waitpid(cluster->members[index].pid, &status_of_exit, WNOHANG) ==
            cluster->members[index].pid) {
            cluster->members[index].pid = 0;
            fail_msg("etcd member %d ended with status %d; see %s/m%d.log", index, status_of_exit,
                     cluster->dir, index);
        }
        uv_update_time(&cluster->loop->loop);
        struct timespec pause = {.tv_nsec = 50000000};
        (void)nanosleep(&pause, NULL);
    }
    fail_msg("etcd member %d does not serve within %d ms", index, START_MS_MAX);
}

int etcd_cluster_leader(struct etcd_cluster *cluster)
{
    int64_t limit_ms = store_now_ms() + START_MS_MAX;
    while (store_now_ms() < limit_ms) {
        for (int i = 0; i < cluster->count; i++) {
            char *answer = NULL;
            long status =
                cluster->members[i].pid == 0
                    ? 0
                    : etcd_member_post(cluster, i, "/v3/maintenance/status", "{}", NULL, &answer);
            json_t *root = status == 200 ? json_loads(answer, 0, NULL) : NULL;
            const char *self =
                json_string_value(json_object_get(json_object_get(root, "header"), "member_id"));
            const char *leader = json_string_value(json_object_get(root, "leader"));
            bool is_leader = self != NULL && leader != NULL && strcmp(self, leader) == 0;
            json_decref(root);
            free(answer);
            if (is_leader) {
                return i;
            }
        }
    }
    fail_msg("no etcd member leads");
    return -1;
}

struct post {
    bool is_done;
    bool is_closed;
    long status;
    char *answer;
};

static void post_done(void *user, struct http_response *response)
{
    struct post *post = user;
    post->is_done = true;
    post->status = response->status;
    post->answer = strbuf_detach(&response->body);
}

static void post_closed(void *user)
{
    ((struct post *)user)->is_closed = true;
}

long etcd_member_post(struct etcd_cluster *cluster,
                      int index,
                      const char *path,
                      const char *body,
                      const char *token,
                      char **answer)
{
    struct post post = {0};
    struct http_client *client = http_client_new(&cluster->loop->loop);
    char *url = xasprintf("http%s://127.0.0.1:%d%s", cluster->is_tls ? "s" : "",
                          cluster->members[index].client_port, path);
    char *authorization = token == NULL ? NULL : xasprintf("Authorization: %s", token);
    struct http_request request = {.method = "POST",
                                   .url = url,
                                   .headers = {authorization},
                                   .body = body,
                                   .body_size = strlen(body),
                                   .timeout_ms = 5000,
                                   .connect_timeout_ms = 1000,
                                   .response_size_max = 1024 * 1024,
                                   .ca_file = cluster->ca_file,
                                   .cert_file = cluster->cert_file,
                                   .key_file = cluster->key_file,
                                   .done = post_done,
                                   .user = &post};
    (void)http_client_start(client, &request);
    while (!post.is_done) {
        (void)uv_run(&cluster->loop->loop, UV_RUN_ONCE);
    }
    http_client_close(client, post_closed, &post);
    while (!post.is_closed) {
        (void)uv_run(&cluster->loop->loop, UV_RUN_ONCE);
    }
    free(authorization);
    free(url);
    if (answer != NULL) {
        *answer = post.answer;
    } else {
        free(post.answer);
    }
    return post.status;
}
