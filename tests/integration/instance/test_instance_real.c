/* test_instance_real.c — real servers begin and end as tasks say: Redis and, where it is installed,
 * Valkey. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "helper_instance.h"

#include "agent/shell/instance_facts.h"
#include "common/model/removal_proof.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define START "maxmemory 67108864\nnode-timeout 2000\n"
#define START_VALKEY START "flavor valkey\n"

static struct rig rig;

static int set_up(void **state)
{
    (void)state;
    rig_init(&rig);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    rig_release(&rig);
    return 0;
}

static bool has_valkey(void)
{
    if (access("/usr/bin/valkey-server", X_OK) == 0) {
        return true;
    }
    print_message("skipped: valkey-server is not installed\n");
    return false;
}

static void expect(struct order order, enum order_state state, int code, const char *part)
{
    struct order_status status = rig_run(&rig, &order);
    if (status.state != state || status.reason_code != code ||
        strstr(status.reason, part) == NULL) {
        fail_msg("%s, code %d: %s", order_state_name(status.state), status.reason_code,
                 status.reason);
    }
}

static bool has_file(const char *name)
{
    char path[512];
    struct stat info;
    return stat(rig_path(&rig, name, path), &info) == 0;
}

/* What /proc/<pid>/<name> holds, '\0' as line ends. */
static const char *proc_text(const char *name, char text[4096])
{
    char path[64];
    (void)snprintf(path, sizeof(path), "/proc/%lld/%s", (long long)rig.pid, name);
    FILE *file = fopen(path, "re");
    assert_non_null(file);
    size_t len = fread(text, 1, 4095, file);
    (void)fclose(file);
    for (size_t i = 0; i < len; i++) {
        text[i] = text[i] == '\0' ? '\n' : text[i];
    }
    text[len] = '\0';
    return text;
}

/* True when one of the server's descriptors leads to 'path'. */
static bool holds_open(const char *path)
{
    char folder[64];
    bool is_held = false;
    (void)snprintf(folder, sizeof(folder), "/proc/%lld/fd", (long long)rig.pid);
    DIR *all = opendir(folder);
    assert_non_null(all);
    for (struct dirent *entry = readdir(all); entry != NULL; entry = readdir(all)) {
        char link[512];
        ssize_t len = readlinkat(dirfd(all), entry->d_name, link, sizeof(link) - 1);
        link[len > 0 ? len : 0] = '\0';
        is_held = is_held || strcmp(link, path) == 0;
    }
    (void)closedir(all);
    return is_held;
}

/* The server lives in a session of its own, with nothing of ours but what it needs. */
static void lives_alone(void)
{
    char text[4096];
    char path[512];
    rig_path(&rig, "ours", path);
    assert_int_not_equal(getsid((pid_t)rig.pid), getsid(0));
    assert_false(holds_open(path));
    assert_int_equal(waitpid((pid_t)rig.pid, NULL, WNOHANG), -1); /* nobody's child here */
    assert_non_null(strstr(proc_text("status", text), "SigBlk:\t0000000000000000"));
}

static void life(const char *detail, const char *version_word)
{
    char path[512];
    int ours = open(rig_path(&rig, "ours", path), O_RDWR | O_CREAT, 0600); /* without O_CLOEXEC */
    assert_true(ours >= 0);
    rig_open(&rig);
    expect(rig_order(&rig, TASK_START, detail), ORDER_DONE, 0, "answers");
    int64_t pid = rig.pid;
    lives_alone();
    assert_non_null(strstr(rig_ask(&rig, "INFO", "server", NULL), version_word));
    assert_non_null(strstr(rig_ask(&rig, "CLUSTER", "INFO", NULL), "cluster_known_nodes:1"));
    /* The agent ends and begins anew: the server lives, and the same task changes nothing. */
    rig_close(&rig);
    assert_int_equal(kill((pid_t)pid, 0), 0);
    rig_open(&rig);
    expect(rig_order(&rig, TASK_START, detail), ORDER_DONE, 0, "answers");
    assert_int_equal(rig.pid, pid);
    /* A node that holds anything is not stopped, whatever the certificate says. */
    assert_string_equal(rig_ask(&rig, "CLUSTER", "ADDSLOTS", "12182"), "OK"); /* of "foo" */
    expect(rig_stop_order(&rig), ORDER_FAILED, ERR_REFUSED, "1 slots");
    char folder[32];
    (void)snprintf(folder, sizeof(folder), "servers/%d", (int)rig_port(&rig));
    assert_int_equal(instance_facts_pid(rig_path(&rig, folder, path)), pid);
    assert_string_equal(rig_ask(&rig, "CLUSTER", "DELSLOTS", "12182"), "OK");
    expect(rig_stop_order(&rig), ORDER_DONE, 0, "put aside");
    assert_int_equal(instance_facts_pid(path), 0);
    char name[64];
    (void)snprintf(name, sizeof(name), "servers/aside/%d.op-7-1.0.0/server.conf",
                   (int)rig_port(&rig));
    assert_true(has_file(name));
    assert_false(has_file(folder));
    expect(rig_stop_order(&rig), ORDER_DONE, 0, "put aside"); /* again */
    (void)close(ours);
}

static void redis_life(void **state)
{
    (void)state;
    life(START, "redis_version:");
}

static void valkey_life(void **state)
{
    (void)state;
    if (has_valkey()) {
        life(START_VALKEY, "valkey_version:");
    }
}

static void refuses_strangers(void **state)
{
    (void)state;
    rig_open(&rig);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in place = {.sin_family = AF_INET,
                                .sin_port = htons(rig_port(&rig)),
                                .sin_addr = {htonl(INADDR_LOOPBACK)}};
    assert_int_equal(bind(fd, (const struct sockaddr *)&place, sizeof(place)), 0);
    assert_int_equal(listen(fd, 1), 0);
    expect(rig_order(&rig, TASK_START, START), ORDER_FAILED, ERR_EXISTS, "not drover's");
    (void)close(fd);
    expect(rig_order(&rig, TASK_START, START), ORDER_DONE, 0, "");
}

/* The server's own words reach people, and nothing is left in the way of the next try. */
static void tells_why_it_failed(void **state)
{
    (void)state;
    rig_open(&rig);
    expect(rig_order(&rig, TASK_START, START "extra maxclients many\n"), ORDER_FAILED,
           ERR_UNAVAILABLE, "argument");
    expect(rig_order(&rig, TASK_START, START), ORDER_DONE, 0, "");
}

static void killed_and_started_again(void **state)
{
    (void)state;
    rig_open(&rig);
    expect(rig_order(&rig, TASK_START, START), ORDER_DONE, 0, "");
    int64_t pid = rig.pid;
    char id[64];
    (void)snprintf(id, sizeof(id), "%s", rig_ask(&rig, "CLUSTER", "MYID", NULL));
    assert_int_equal(kill((pid_t)pid, SIGKILL), 0);
    expect(rig_order(&rig, TASK_START, START), ORDER_DONE, 0, "");
    assert_int_not_equal(rig.pid, pid);
    assert_string_equal(rig_ask(&rig, "CLUSTER", "MYID", NULL), id); /* the same node */
}

static void kill_server(void)
{
    char folder[32];
    char path[512];
    (void)snprintf(folder, sizeof(folder), "servers/%d", (int)rig_port(&rig));
    assert_int_equal(kill((pid_t)rig.pid, SIGKILL), 0);
    for (int i = 0; instance_facts_pid(rig_path(&rig, folder, path)) != 0; i++) {
        assert_true(i < 6000);
        (void)poll(NULL, 0, 10);
    }
}

/* Only the folder of that very node goes aside once no process of it runs. */
static void clear_after_the_dead(const char *id)
{
    struct removal_proof proof = {.address = {.host = "127.0.0.1", .port = rig_port(&rig)},
                                  .asked = 1,
                                  .is_dead = true,
                                  .fence = 7,
                                  .operation_id = "op-7-1"};
    (void)snprintf(proof.node.text, sizeof(proof.node.text), "%s", id);
    struct strbuf text = {0};
    removal_proof_format(&proof, "", &text);
    struct order order = rig_order(&rig, TASK_STOP, strbuf_text(&text));
    strbuf_release(&text);
    order.task.flags = TASK_DEAD;
    order.id.batch_index = 2;
    expect(order, ORDER_DONE, 0, "left alone");
    assert_string_equal(rig_ask(&rig, "CLUSTER", "MYID", NULL), id);
    kill_server();
    expect(order, ORDER_DONE, 0, "put aside");
}

/* Killed with the files of a node that has slots: the next server there is a new node, and the
 * files are kept. Running, it is not taken for a new one. */
static void earlier_life(const char *detail)
{
    char id[64];
    char name[128];
    rig_open(&rig);
    expect(rig_order(&rig, TASK_START, detail), ORDER_DONE, 0, "");
    (void)snprintf(id, sizeof(id), "%s", rig_ask(&rig, "CLUSTER", "MYID", NULL));
    assert_string_equal(rig_ask(&rig, "CLUSTER", "ADDSLOTS", "12182"), "OK");
    struct order next = rig_order(&rig, TASK_START, detail);
    next.id.batch_index = 1;
    expect(next, ORDER_FAILED, ERR_REFUSED, "has slots or knows other nodes");
    kill_server();
    expect(next, ORDER_DONE, 0, "answers");
    assert_string_not_equal(rig_ask(&rig, "CLUSTER", "MYID", NULL), id);
    assert_non_null(strstr(rig_ask(&rig, "CLUSTER", "INFO", NULL), "cluster_slots_assigned:0"));
    (void)snprintf(name, sizeof(name), "servers/aside/%d.before-op-7-1.1.0/nodes-%d.conf",
                   (int)rig_port(&rig), (int)rig_port(&rig));
    assert_true(has_file(name));
    (void)snprintf(id, sizeof(id), "%s", rig_ask(&rig, "CLUSTER", "MYID", NULL));
    clear_after_the_dead(id);
}

static void redis_earlier_life(void **state)
{
    (void)state;
    earlier_life(START);
}

static void valkey_earlier_life(void **state)
{
    (void)state;
    if (has_valkey()) {
        earlier_life(START_VALKEY);
    }
}

/* A password of awkward bytes, for the default user and for one of its own. */
static void logins(const char *detail)
{
    static const char password[] = "a \"b\\ 'c' #d\xc3\xa9";
    memcpy(rig.settings.password, password, sizeof(password));
    rig_open(&rig);
    expect(rig_order(&rig, TASK_START, detail), ORDER_DONE, 0, "");
    assert_string_equal(rig_ask(&rig, "ACL", "WHOAMI", NULL), "default");
    expect(rig_stop_order(&rig), ORDER_DONE, 0, "");
    rig_close(&rig);
    (void)snprintf(rig.settings.user, sizeof(rig.settings.user), "drover");
    rig_open(&rig);
    struct order order = rig_order(&rig, TASK_START, detail);
    expect(order, ORDER_DONE, 0, "");
    assert_string_equal(rig_ask(&rig, "ACL", "WHOAMI", NULL), "drover");
    rig_close(&rig);
    /* Nobody comes in without it. */
    rig.redis = (struct redis_options){0};
    rig.settings.user[0] = '\0';
    rig.settings.password[0] = '\0';
    rig_open(&rig);
    (void)rig_ask(&rig, "PING", NULL, NULL);
    assert_true(rig.answer_code != 0 || reply_is_error(&rig.replies.replies[0]));
}

static void redis_logins(void **state)
{
    (void)state;
    logins(START);
}

static void valkey_logins(void **state)
{
    (void)state;
    if (has_valkey()) {
        logins(START_VALKEY);
    }
}

static bool make_certificates(void)
{
    char command[2048];
    (void)snprintf(command, sizeof(command),
                   "cd %s && openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=ca "
                   "-keyout ca.key -out ca.pem && openssl req -newkey rsa:2048 -nodes "
                   "-subj /CN=localhost -keyout key.pem -out req.pem && "
                   "printf 'subjectAltName=IP:127.0.0.1' > ext && "
                   "openssl x509 -req -days 2 -in req.pem -CA ca.pem -CAkey ca.key "
                   "-CAcreateserial -extfile ext -out cert.pem",
                   rig.folder);
    pid_t pid = fork();
    if (pid == 0) {
        int none = open("/dev/null", O_RDWR);
        (void)dup2(none, 1);
        (void)dup2(none, 2);
        (void)execl("/bin/sh", "sh", "-c", command, (char *)NULL);
        _exit(127);
    }
    int status = 0;
    (void)waitpid(pid, &status, 0);
    return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

static void over_tls(const char *detail)
{
    char ca[512];
    if (!make_certificates()) {
        print_message("skipped: there is no openssl program\n");
        return;
    }
    rig.settings.is_tls = true;
    (void)rig_path(&rig, "cert.pem", rig.settings.tls_cert);
    (void)rig_path(&rig, "key.pem", rig.settings.tls_key);
    (void)rig_path(&rig, "ca.pem", rig.settings.tls_ca);
    rig.redis = (struct redis_options){.use_tls = true,
                                       .tls_ca = rig_path(&rig, "ca.pem", ca),
                                       .tls_cert = rig.settings.tls_cert,
                                       .tls_key = rig.settings.tls_key};
    rig_open(&rig);
    expect(rig_order(&rig, TASK_START, detail), ORDER_DONE, 0, "");
    assert_non_null(strstr(rig_ask(&rig, "CLUSTER", "INFO", NULL), "cluster_known_nodes:1"));
    expect(rig_stop_order(&rig), ORDER_DONE, 0, "");
}

static void redis_tls(void **state)
{
    (void)state;
    over_tls(START);
}

static void valkey_tls(void **state)
{
    (void)state;
    if (has_valkey()) {
        over_tls(START_VALKEY);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(redis_life, set_up, tear_down),
        cmocka_unit_test_setup_teardown(valkey_life, set_up, tear_down),
        cmocka_unit_test_setup_teardown(refuses_strangers, set_up, tear_down),
        cmocka_unit_test_setup_teardown(tells_why_it_failed, set_up, tear_down),
        cmocka_unit_test_setup_teardown(killed_and_started_again, set_up, tear_down),
        cmocka_unit_test_setup_teardown(redis_earlier_life, set_up, tear_down),
        cmocka_unit_test_setup_teardown(valkey_earlier_life, set_up, tear_down),
        cmocka_unit_test_setup_teardown(redis_logins, set_up, tear_down),
        cmocka_unit_test_setup_teardown(valkey_logins, set_up, tear_down),
        cmocka_unit_test_setup_teardown(redis_tls, set_up, tear_down),
        cmocka_unit_test_setup_teardown(valkey_tls, set_up, tear_down),
    };
    if (access("/usr/bin/redis-server", X_OK) != 0) {
        print_message("skipped: redis-server is not installed\n");
        return 0;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
