/* compat_child.c — see compat_child.h. */
#include "ctl/compat/compat_child.h"

#include "common/base/alloc.h"
#include "ctl/compat/compat_exec.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define PROGRAM "drover-coordinator"
#define SOCKET_NAME "api.sock"
#define ADDRESSES_MAX COMPAT_WORDS_MAX /* of `create`: nodes that do not know each other yet */
#define ARGS_MAX (ADDRESSES_MAX * 2 + 40)
#define STOP_MS_MAX 60000
#define STOP_LOOK_MS 20

struct arguments_list {
    char *items[ARGS_MAX + 1];
    int count;
};

static void add(struct arguments_list *list, const char *flag, char *value)
{
    list->items[list->count++] = xstrdup(flag);
    if (value != NULL) {
        list->items[list->count++] = value;
    }
}

static void add_tls(struct arguments_list *list, const struct compat_options *options)
{
    if (!options->use_tls) {
        return;
    }
    add(list, "--redis-tls", NULL);
    if (options->tls_ca != NULL) {
        add(list, "--redis-ca", xstrdup(options->tls_ca));
    }
    if (options->tls_cert != NULL) {
        add(list, "--redis-cert", xstrdup(options->tls_cert));
    }
    if (options->tls_key != NULL) {
        add(list, "--redis-key", xstrdup(options->tls_key));
    }
    if (options->tls_name != NULL) {
        add(list, "--redis-tls-name", xstrdup(options->tls_name));
    }
    if (options->tls_ciphers != NULL) {
        add(list, "--redis-tls-ciphers", xstrdup(options->tls_ciphers));
    }
    if (options->tls_ciphersuites != NULL) {
        add(list, "--redis-tls-ciphersuites", xstrdup(options->tls_ciphersuites));
    }
    /* The original checks who signed a certificate, not for whom. */
    add(list, "--redis-tls-check", xstrdup(options->tls_insecure ? "none" : "signer"));
}

static void make_arguments(struct arguments_list *list,
                           const struct compat_options *options,
                           const struct address *addresses,
                           int address_count,
                           const char *folder)
{
    add(list, PROGRAM, NULL);
    add(list, "--bus", xstrdup("inproc://drover"));
    add(list, "--store", xasprintf("sqlite://%s/drover.db", folder));
    /* A path as the host is a unix socket; its port means nothing. */
    add(list, "--api", xasprintf("%s/" SOCKET_NAME ":1", folder));
    add(list, "--log-file", xasprintf("%s/log", folder));
    add(list, "--log-level", xstrdup("info"));
    add(list, "--name", xstrdup("cli"));
    add(list, "--report-interval", xstrdup("500ms"));
    if (options->user != NULL) {
        add(list, "--redis-user", xstrdup(options->user));
    }
    add_tls(list, options);
    for (int i = 0; i < address_count && i < ADDRESSES_MAX; i++) {
        char text[ADDRESS_TEXT_SIZE];
        add(list, "--node", xstrdup(address_format(&addresses[i], text)));
    }
}

/* The child: settings of a daemon that runs here are not for it; the password goes by environment,
 * which other users cannot read. */
static void set_environment(const char *password)
{
    static const char prefix[] = "DROVER_";
    char name[64];
    for (int i = 0; environ[i] != NULL;) {
        size_t len = strcspn(environ[i], "=");
        bool is_setting = strncmp(environ[i], prefix, sizeof(prefix) - 1) == 0;
        if (is_setting && len < sizeof(name)) {
            memcpy(name, environ[i], len);
            name[len] = '\0';
            (void)unsetenv(name); /* the next one is here now */
        } else {
            i++;
        }
    }
    if (password != NULL) {
        (void)setenv("DROVER_REDIS_PASSWORD", password, 1);
    }
}

static _Noreturn void become(const char *path,
                             struct arguments_list *list,
                             const char *password,
                             int log,
                             pid_t parent)
{
    /* A group of its own: Ctrl-C on the terminal is for us, who then end it in order. */
    (void)setpgid(0, 0);
    (void)prctl(PR_SET_PDEATHSIG, SIGTERM);
    if (getppid() != parent) {
        _exit(1);
    }
    int null = open("/dev/null", O_RDWR);
    (void)dup2(null, STDIN_FILENO);
    (void)dup2(log, STDOUT_FILENO);
    (void)dup2(log, STDERR_FILENO);
    set_environment(password);
    (void)execv(path, list->items);
    _exit(127);
}

int compat_child_start(pid_t *child,
                       const struct compat_options *options,
                       const struct address *addresses,
                       int address_count,
                       const struct compat_place *place,
                       struct err *err)
{
    char *path = compat_find_sibling(PROGRAM);
    if (path == NULL) {
        err_set(err, ERR_NOT_FOUND, "there is no " PROGRAM " beside drover or in PATH");
        return err->code;
    }
    struct arguments_list *list = xcalloc(1, sizeof(*list));
    char *log_path = xasprintf("%s/output", place->folder);
    char *socket_path = xasprintf("%s/" SOCKET_NAME, place->folder);
    int log = open(log_path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
    pid_t parent = getpid();
    int code = 0;
    make_arguments(list, options, addresses, address_count, place->folder);
    (void)unlink(socket_path); /* of one that was killed; the lock says that it is gone */
    *child = log < 0 ? -1 : fork();
    if (*child == 0) {
        (void)fcntl(place->lock, F_SETFD, 0); /* the child keeps it */
        become(path, list, options->password, log, parent);
    }
    if (*child < 0) {
        code = err_set(err, ERR_IO, "cannot start %.200s: %s", path, strerror(errno));
    }
    if (log >= 0) {
        (void)close(log);
    }
    for (int i = 0; i < list->count; i++) {
        free(list->items[i]);
    }
    free(list);
    free(socket_path);
    free(log_path);
    free(path);
    return code;
}

bool compat_child_is_running(pid_t child)
{
    siginfo_t info = {0};
    /* WNOWAIT: the pid stays ours until compat_child_stop(). */
    return waitid(P_PID, (id_t)child, &info, WEXITED | WNOHANG | WNOWAIT) == 0 && info.si_pid == 0;
}

void compat_child_stop(pid_t child)
{
    (void)kill(child, SIGTERM);
    for (int64_t waited = 0; waited < STOP_MS_MAX && compat_child_is_running(child);
         waited += STOP_LOOK_MS) {
        struct timespec wait = {.tv_nsec = STOP_LOOK_MS * 1000000L};
        (void)nanosleep(&wait, NULL);
    }
    if (compat_child_is_running(child)) {
        (void)kill(child, SIGKILL);
    }
    (void)waitpid(child, NULL, 0);
}
