/* main.c — drover-agent: reads its settings, starts the shell, waits for a signal. */
#include "agent/shell/agent_shell.h"
#include "common/base/alloc.h"
#include "common/io/file_state.h"
#include "common/io/options.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SECRET_SIZE_MAX 512

static const char *const level_words[] = {"debug", "info", "warn", "error", NULL};

/* clang-format off */
static const struct option option_rows[] = {
    {.section = "Coordinators", .key = "coordinators", .flag = "coordinator", .env = "DROVER_COORDINATORS", .type = OPTION_LIST,
     .placeholder = "URL", .help = "Where a coordinator listens, tcp://host:port or tls+tcp://host:port; repeat it for each."},
    {.key = "credential-file", .flag = "credential-file", .env = "DROVER_CREDENTIAL_FILE", .type = OPTION_STRING,
     .placeholder = "FILE", .help = "Holds the secret that this agent was enrolled with."},
    {.key = "cluster", .flag = "cluster", .env = "DROVER_CLUSTER", .type = OPTION_STRING,
     .placeholder = "NAME", .help = "Name of the cluster; a coordinator of another one refuses us."},
    {.key = "bus-ca", .flag = "bus-ca", .env = "DROVER_BUS_CA", .type = OPTION_STRING,
     .placeholder = "FILE", .help = "PEM file of the authority that signed the coordinators' certificates."},
    {.key = "bus-cert", .flag = "bus-cert", .env = "DROVER_BUS_CERT", .type = OPTION_STRING,
     .placeholder = "FILE", .help = "PEM file of our own certificate."},
    {.key = "bus-key", .flag = "bus-key", .env = "DROVER_BUS_KEY", .type = OPTION_STRING,
     .placeholder = "FILE", .help = "PEM file of its key."},

    {.section = "This host", .key = "id", .flag = "id", .env = "DROVER_ID", .type = OPTION_STRING,
     .placeholder = "NAME", .help = "Name of this agent; the host name by default."},
    {.key = "state-dir", .flag = "state-dir", .env = "DROVER_STATE_DIR", .type = OPTION_STRING,
     .fallback = "/var/lib/drover/agent", .placeholder = "DIR", .help = "Keeps the highest fence seen; must survive restarts."},
    {.key = "nodes", .flag = "node", .env = "DROVER_NODES", .type = OPTION_LIST,
     .placeholder = "HOST:PORT", .help = "A node to serve besides those found running here; repeat it for each."},
    {.key = "discover", .flag = "discover", .env = "DROVER_DISCOVER", .type = OPTION_BOOL, .fallback = "true",
     .help = "Serve every redis-server and valkey-server in cluster mode that runs on this host."},

    {.section = "Redis", .key = "redis-user", .flag = "redis-user", .env = "DROVER_REDIS_USER", .type = OPTION_STRING,
     .placeholder = "NAME", .help = "User to log in with; the default user without it."},
    {.key = "redis-password", .flag = "redis-password", .env = "DROVER_REDIS_PASSWORD", .type = OPTION_STRING,
     .is_secret = true, .placeholder = "TEXT", .help = "Its password; other users of this host can read flags, so rather:"},
    {.key = "redis-password-file", .flag = "redis-password-file", .env = "DROVER_REDIS_PASSWORD_FILE", .type = OPTION_STRING,
     .placeholder = "FILE", .help = "A file that holds the password, readable by us alone."},
    {.key = "redis-tls", .flag = "redis-tls", .env = "DROVER_REDIS_TLS", .type = OPTION_BOOL,
     .help = "Talk TLS to the nodes."},
    {.key = "redis-ca", .flag = "redis-ca", .env = "DROVER_REDIS_CA", .type = OPTION_STRING,
     .placeholder = "FILE", .help = "PEM file of the authority that signed the nodes' certificates."},
    {.key = "redis-cert", .flag = "redis-cert", .env = "DROVER_REDIS_CERT", .type = OPTION_STRING,
     .placeholder = "FILE", .help = "PEM file of our certificate for the nodes."},
    {.key = "redis-key", .flag = "redis-key", .env = "DROVER_REDIS_KEY", .type = OPTION_STRING,
     .placeholder = "FILE", .help = "PEM file of its key."},

    {.section = "General", .key = "config", .flag = "config", .env = "DROVER_CONFIG", .type = OPTION_STRING, .is_flag_only = true,
     .placeholder = "FILE", .help = "YAML file with any of these settings."},
    {.key = "check-config", .flag = "check-config", .type = OPTION_BOOL, .is_flag_only = true,
     .help = "Print the effective settings, say whether they are right, and exit."},
    {.key = "log-level", .flag = "log-level", .env = "DROVER_LOG_LEVEL", .type = OPTION_ENUM, .fallback = "info",
     .words = level_words, .help = "Lines below this level are not written."},
    {.key = "log-file", .flag = "log-file", .env = "DROVER_LOG_FILE", .type = OPTION_STRING,
     .placeholder = "FILE", .help = "Where the log goes; standard error without it."},
    {.key = "version", .flag = "version", .type = OPTION_BOOL, .is_flag_only = true, .help = "Print the version and exit."},
    {.key = "help", .flag = "help", .type = OPTION_BOOL, .is_flag_only = true, .help = "Print this and exit."},
    {.key = NULL},
};
/* clang-format on */

/* What main builds up and takes down. */
struct daemon {
    struct options *options;
    struct loop *loop;
    struct log_sink *log;
    struct loop_signal *terminate;
    struct loop_signal *interrupt;
    struct agent_shell *shell;
    struct address *nodes; /* owned */
    const char **urls;     /* owned; texts belong to options */
    struct strbuf password;
    struct strbuf credential;
    struct err exit_err;
};

static void print_help(void)
{
    struct strbuf text = {0};
    options_format_help(option_rows, &text);
    (void)printf(
        "drover-agent %s - works beside the Redis and Valkey nodes of one host\n\n"
        "Usage: drover-agent --coordinator URL [--coordinator URL] [OPTIONS]\n\n%s\n"
        "Examples\n"
        "  drover-agent --coordinator tcp://c1:7400 --coordinator tcp://c2:7400\n"
        "  drover-agent --config /etc/drover/agent.yaml --check-config\n"
        "  drover-agent --coordinator tcp://c1:7400 --no-discover --node 10.0.0.7:6379\n\n"
        "Exit codes: 0 stopped when asked; others as in docs/cli.md.\n",
        DROVER_VERSION, strbuf_text(&text));
    strbuf_release(&text);
}

static int complain(const struct err *err)
{
    (void)fprintf(stderr, "drover-agent: %s\n", err->text);
    if (err->hint[0] != '\0') {
        (void)fprintf(stderr, "  %s\n", err->hint);
    }
    return err_exit_code(err->code);
}

static int read_secret(const struct options *options,
                       const char *key,
                       struct strbuf *out,
                       struct err *err)
{
    const char *path = options_text(options, key);
    if (path == NULL) {
        return 0;
    }
    int code = file_state_read_secret(path, SECRET_SIZE_MAX, out, err);
    if (code != 0) {
        (void)err_wrap(err, "%s", key);
    }
    return code;
}

static int read_identity(const struct options *options,
                         struct agent_config *config,
                         struct err *err)
{
    char host[AGENT_ID_SIZE] = "";
    const char *id = options_text(options, "id");
    if (id == NULL) {
        (void)gethostname(host, sizeof(host) - 1);
        id = host;
    }
    if (!agent_id_is_valid(id)) {
        return options_err(options, "id", err,
                           "an agent's name has 1 to %d letters, digits, '.', '-', '_'",
                           AGENT_ID_SIZE - 1);
    }
    (void)snprintf(config->id.text, sizeof(config->id.text), "%.*s", AGENT_ID_SIZE - 1, id);
    const char *cluster = options_text(options, "cluster");
    if (cluster != NULL && strlen(cluster) >= sizeof(config->cluster)) {
        return options_err(options, "cluster", err, "at most %zu characters",
                           sizeof(config->cluster) - 1);
    }
    (void)snprintf(config->cluster, sizeof(config->cluster), "%s", cluster == NULL ? "" : cluster);
    return 0;
}

static int read_lists(struct daemon *daemon, struct agent_shell_options *shell, struct err *err)
{
    const struct options *options = daemon->options;
    int url_count = options_list_count(options, "coordinators");
    if (url_count == 0 || url_count > BUS_URLS_MAX) {
        int code = err_set(err, ERR_CONFIG, "%d coordinators are named; 1 to %d are needed",
                           url_count, BUS_URLS_MAX);
        err_hint(err, "name each with --coordinator tcp://host:port");
        return code;
    }
    daemon->urls = xcalloc((size_t)url_count, sizeof(*daemon->urls));
    for (int i = 0; i < url_count; i++) {
        daemon->urls[i] = options_list_item(options, "coordinators", i);
    }
    shell->coordinator_urls = daemon->urls;
    shell->coordinator_url_count = url_count;
    int node_count = options_list_count(options, "nodes");
    daemon->nodes = xcalloc((size_t)node_count, sizeof(*daemon->nodes));
    for (int i = 0; i < node_count; i++) {
        struct err detail = {0};
        if (address_parse(&daemon->nodes[i], options_list_item(options, "nodes", i), &detail) !=
            0) {
            return options_err(options, "nodes", err, "%s", detail.text);
        }
    }
    shell->config.nodes = daemon->nodes;
    shell->config.node_count = node_count;
    return 0;
}

static int read_settings(struct daemon *daemon, struct agent_shell_options *shell, struct err *err)
{
    const struct options *options = daemon->options;
    int code = read_identity(options, &shell->config, err);
    code = code == 0 ? read_lists(daemon, shell, err) : code;
    code = code == 0 ? read_secret(options, "redis-password-file", &daemon->password, err) : code;
    code = code == 0 ? read_secret(options, "credential-file", &daemon->credential, err) : code;
    if (code != 0) {
        return code;
    }
    if (daemon->credential.len >= sizeof(shell->config.credential)) {
        return options_err(options, "credential-file", err,
                           "the credential is longer than %zu bytes",
                           sizeof(shell->config.credential) - 1);
    }
    (void)snprintf(shell->config.credential, sizeof(shell->config.credential), "%s",
                   strbuf_text(&daemon->credential));
    shell->bus = (struct bus_options){
        .tls_ca = options_text(options, "bus-ca"),
        .tls_cert = options_text(options, "bus-cert"),
        .tls_key = options_text(options, "bus-key"),
    };
    shell->redis = (struct redis_options){
        .user = options_text(options, "redis-user"),
        .password = daemon->password.len > 0 ? strbuf_text(&daemon->password)
                                             : options_text(options, "redis-password"),
        .client_name = "drover-agent",
        .use_tls = options_is(options, "redis-tls"),
        .tls_ca = options_text(options, "redis-ca"),
        .tls_cert = options_text(options, "redis-cert"),
        .tls_key = options_text(options, "redis-key"),
    };
    shell->state_folder = options_text(options, "state-dir");
    shell->discovers = options_is(options, "discover");
    return 0;
}

static void on_signal(void *user, int number)
{
    (void)number;
    struct daemon *daemon = user;
    agent_shell_stop(daemon->shell);
}

static void on_exit_of_core(void *user, const struct err *err)
{
    struct daemon *daemon = user;
    daemon->exit_err = *err;
    loop_stop(daemon->loop);
}

static int run(struct daemon *daemon, struct err *err)
{
    struct agent_shell_options shell = {.on_exit = on_exit_of_core, .user = daemon};
    int code = read_settings(daemon, &shell, err);
    if (code != 0) {
        return code;
    }
    if (options_is(daemon->options, "check-config")) {
        struct strbuf text = {0};
        options_format_config(daemon->options, &text);
        (void)printf("%s# the settings are right\n", strbuf_text(&text));
        strbuf_release(&text);
        return 0;
    }
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
    shell.loop = daemon->loop;
    shell.log = daemon->log;
    daemon->shell = agent_shell_new(&shell, err);
    if (daemon->shell == NULL) {
        return err->code;
    }
    daemon->terminate = loop_signal_new(daemon->loop, SIGTERM, on_signal, daemon, err);
    daemon->interrupt = loop_signal_new(daemon->loop, SIGINT, on_signal, daemon, err);
    if (daemon->terminate == NULL || daemon->interrupt == NULL) {
        return err->code;
    }
    loop_run(daemon->loop);
    *err = daemon->exit_err;
    return err->code;
}

static void release(struct daemon *daemon)
{
    loop_signal_free(daemon->terminate);
    loop_signal_free(daemon->interrupt);
    agent_shell_free(daemon->shell);
    log_sink_free(daemon->log);
    loop_free(daemon->loop);
    options_free(daemon->options);
    free(daemon->nodes);
    free(daemon->urls);
    strbuf_release(&daemon->password);
    strbuf_release(&daemon->credential);
}

int main(int argc, char **argv)
{
    struct err err = {0};
    struct daemon daemon = {.options = options_new(option_rows)};
    int code = options_load(daemon.options, argc, argv, "config", &err);
    if (code == 0 && options_word_count(daemon.options) > 0) {
        code =
            err_set(&err, ERR_INVALID, "unexpected word \"%s\"", options_word(daemon.options, 0));
        err_hint(&err, "see drover-agent --help");
    }
    int exit_code = 0;
    if (code != 0) {
        exit_code = complain(&err);
    } else if (options_is(daemon.options, "help")) {
        print_help();
    } else if (options_is(daemon.options, "version")) {
        (void)printf("drover-agent %s\n", DROVER_VERSION);
    } else if (run(&daemon, &err) != 0) {
        exit_code = complain(&err);
    }
    release(&daemon);
    return exit_code;
}
