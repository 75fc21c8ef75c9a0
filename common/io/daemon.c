/* daemon.c — see daemon.h. */
#include "common/io/daemon.h"

#include "common/base/alloc.h"
#include "common/io/file_state.h"

#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

const char *const daemon_level_words[] = {"debug", "info", "warn", "error", NULL};
const char *const daemon_tls_check_words[] =
    {[DAEMON_TLS_FULL] = "full", [DAEMON_TLS_SIGNER] = "signer", [DAEMON_TLS_NONE] = "none", NULL};

static void print_help(const struct daemon *daemon)
{
    struct strbuf text = {0};
    options_format_help(daemon->rows, &text);
    (void)printf("%s\n%s\n%s\nExit codes: 0 stopped when asked; others as in docs/cli.md.\n",
                 daemon->usage, strbuf_text(&text), daemon->examples);
    strbuf_release(&text);
}

static int complain(const struct daemon *daemon, const struct err *err)
{
    (void)fprintf(stderr, "%s: %s\n", daemon->name, err->text);
    if (err->hint[0] != '\0') {
        (void)fprintf(stderr, "  %s\n", err->hint);
    }
    return err_exit_code(err->code);
}

static void release(struct daemon *daemon)
{
    for (int i = 0; i < 2; i++) {
        loop_signal_free(daemon->signals[i]);
    }
    log_sink_free(daemon->log);
    loop_free(daemon->loop);
    options_free(daemon->options);
    free(daemon->nodes);
    if (daemon->password.data != NULL) {
        explicit_bzero(daemon->password.data, daemon->password.len);
    }
    strbuf_release(&daemon->password);
    strbuf_release(&daemon->credential);
}

int daemon_main(struct daemon *daemon, int argc, char **argv)
{
    struct err err = {0};
    daemon->options = options_new(daemon->rows);
    int code = options_load(daemon->options, argc, argv, "config", &err);
    if (code == 0 && options_word_count(daemon->options) > 0) {
        code =
            err_set(&err, ERR_INVALID, "unexpected word \"%s\"", options_word(daemon->options, 0));
        err_hint(&err, "see %s --help", daemon->name);
    }
    int exit_code = 0;
    if (code == 0 && options_is(daemon->options, "help")) {
        print_help(daemon);
    } else if (code == 0 && options_is(daemon->options, "version")) {
        (void)printf("%s %s\n", daemon->name, DROVER_VERSION);
    } else if (code != 0 || daemon->run(daemon, &err) != 0) {
        exit_code = complain(daemon, &err);
    }
    release(daemon);
    return exit_code;
}

/* nng_close() of nng before 1.6 waits for ever when a message arrives in the same moment
 * (nanomsg/nng pull request 1636): one in fifteen stops of an agent that was being sent orders. */
static void *end_anyway(void *exit_code)
{
    struct timespec rest = {.tv_sec = DAEMON_CLOSE_S};
    while (nanosleep(&rest, &rest) != 0) {
    }
    /* Whether anybody reads it must change nothing. */
    struct pollfd log = {.fd = STDERR_FILENO, .events = POLLOUT};
    if (poll(&log, 1, 0) == 1 && (log.revents & POLLOUT) != 0) {
        (void)dprintf(STDERR_FILENO, "closing connections took too long: ended without\n");
    }
    _exit((int)(intptr_t)exit_code);
}

void daemon_loop(struct daemon *daemon)
{
    loop_run(daemon->loop);
    intptr_t exit_code = err_exit_code(daemon->exit_err.code);
    pthread_t thread;
    if (pthread_create(&thread, NULL, end_anyway, (void *)exit_code) == 0) {
        (void)pthread_detach(thread);
    }
}

int daemon_read_nodes(struct daemon *daemon, struct err *err)
{
    int count = options_list_count(daemon->options, "nodes");
    daemon->nodes = xcalloc((size_t)count, sizeof(*daemon->nodes));
    for (int i = 0; i < count; i++) {
        struct err detail = {0};
        if (address_parse(&daemon->nodes[i], options_list_item(daemon->options, "nodes", i),
                          &detail) != 0) {
            return options_err(daemon->options, "nodes", err, "%s", detail.text);
        }
    }
    daemon->node_count = count;
    return 0;
}

int daemon_read_secret(const struct daemon *daemon,
                       const char *key,
                       struct strbuf *out,
                       struct err *err)
{
    const char *path = options_text(daemon->options, key);
    if (path == NULL) {
        return 0;
    }
    int code = file_state_read_secret(path, DAEMON_SECRET_SIZE_MAX, out, err);
    return code == 0 ? 0 : err_wrap(err, "%s", key);
}

int daemon_read_secrets(struct daemon *daemon, struct err *err)
{
    int code = daemon_read_secret(daemon, "redis-password-file", &daemon->password, err);
    return code == 0 ? daemon_read_secret(daemon, "credential-file", &daemon->credential, err)
                     : code;
}

int daemon_read_text(const struct daemon *daemon,
                     const char *key,
                     char *to,
                     size_t size,
                     struct err *err)
{
    const char *text = options_text(daemon->options, key);
    if (text != NULL && strlen(text) >= size) {
        return options_err(daemon->options, key, err, "at most %zu characters", size - 1);
    }
    (void)snprintf(to, size, "%s", text == NULL ? "" : text);
    return 0;
}

struct redis_options daemon_redis_options(const struct daemon *daemon, const char *client_name)
{
    const struct options *options = daemon->options;
    int64_t check = options_number(options, "redis-tls-check");
    return (struct redis_options){
        .user = options_text(options, "redis-user"),
        .password = daemon->password.len > 0 ? strbuf_text(&daemon->password)
                                             : options_text(options, "redis-password"),
        .client_name = client_name,
        .use_tls = options_is(options, "redis-tls"),
        .tls_ca = options_text(options, "redis-ca"),
        .tls_cert = options_text(options, "redis-cert"),
        .tls_key = options_text(options, "redis-key"),
        .tls_ciphers = options_text(options, "redis-tls-ciphers"),
        .tls_ciphersuites = options_text(options, "redis-tls-ciphersuites"),
        .tls_name = options_text(options, "redis-tls-name"),
        .tls_any_name = check == DAEMON_TLS_SIGNER,
        .tls_insecure = check == DAEMON_TLS_NONE,
    };
}

struct bus_options daemon_bus_options(const struct daemon *daemon)
{
    return (struct bus_options){
        .tls_ca = options_text(daemon->options, "bus-ca"),
        .tls_cert = options_text(daemon->options, "bus-cert"),
        .tls_key = options_text(daemon->options, "bus-key"),
    };
}

bool daemon_checks_only(const struct daemon *daemon)
{
    if (!options_is(daemon->options, "check-config")) {
        return false;
    }
    struct strbuf text = {0};
    options_format_config(daemon->options, &text);
    (void)printf("%s# the settings are right\n", strbuf_text(&text));
    strbuf_release(&text);
    return true;
}

static void on_signal(void *user, int number)
{
    (void)number;
    struct daemon *daemon = user;
    daemon->on_signal(daemon);
}

int daemon_start(struct daemon *daemon, struct err *err)
{
    daemon->loop = loop_new(err);
    if (daemon->loop == NULL) {
        return err->code;
    }
    struct log_options log = {
        .path = options_text(daemon->options, "log-file"),
        .level = (enum log_level)options_number(daemon->options, "log-level")};
    daemon->log = log_sink_new(&log, err);
    if (daemon->log == NULL) {
        return err->code;
    }
    const int numbers[2] = {SIGTERM, SIGINT};
    for (int i = 0; i < 2; i++) {
        daemon->signals[i] = loop_signal_new(daemon->loop, numbers[i], on_signal, daemon, err);
        if (daemon->signals[i] == NULL) {
            return err->code;
        }
    }
    return 0;
}
