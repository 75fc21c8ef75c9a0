/* main.c — drover-agent: reads its settings, starts the shell, works until a signal comes. */
#include "agent/core/redis_conf.h"
#include "agent/shell/agent_shell.h"
#include "agent/shell/outside_options.h"
#include "common/base/alloc.h"
#include "common/io/daemon.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* In the order of enum instance_supervisor. */
static const char *const supervisor_words[] = {"auto", "systemd", "none", NULL};

/* clang-format off */
static const struct option option_rows[] = {
    {.section = "Coordinators", .key = "coordinators", .flag = "coordinator", .env = "DROVER_COORDINATORS", .type = OPTION_LIST,
     .placeholder = "URL", .help = "Where a coordinator listens, tcp://host:port or tls+tcp://host:port; repeat it for each."},
    DAEMON_ROWS_BUS_TLS,
    {.section = "This host", .key = "id", .flag = "id", .env = "DROVER_ID", .type = OPTION_STRING,
     .placeholder = "NAME", .help = "Name of this agent; the host name by default."},
    {.key = "state-dir", .flag = "state-dir", .env = "DROVER_STATE_DIR", .type = OPTION_STRING,
     .fallback = "/var/lib/drover/agent", .placeholder = "DIR", .help = "Keeps the highest fence seen; must survive restarts."},
    {.key = "zone", .flag = "zone", .env = "DROVER_ZONE", .type = OPTION_STRING, .placeholder = "NAME",
     .help = "Failure domain of this host, e.g. a rack; drover spreads a shard over zones."},
    DAEMON_ROWS_NODES(NULL),
    {.section = "Servers started here", .key = "instance-dir", .flag = "instance-dir", .env = "DROVER_INSTANCE_DIR",
     .type = OPTION_STRING, .placeholder = "DIR", .help = "Holds a folder for each server that drover starts; none are started without it."},
    {.key = "instance-host", .flag = "instance-host", .env = "DROVER_INSTANCE_HOST", .type = OPTION_STRING,
     .placeholder = "IP", .help = "Address that these servers announce."},
    {.key = "instance-ports", .flag = "instance-ports", .env = "DROVER_INSTANCE_PORTS", .type = OPTION_STRING,
     .fallback = "7000-7099", .placeholder = "FIRST-LAST", .help = "Ports they may have; each also takes its port + 10000."},
    {.key = "instance-memory", .flag = "instance-memory", .env = "DROVER_INSTANCE_MEMORY", .type = OPTION_SIZE,
     .fallback = "0", .help = "Sum of maxmemory that they may have together; 0: no limit."},
    {.key = "instance-bind", .flag = "instance-bind", .env = "DROVER_INSTANCE_BIND", .type = OPTION_STRING,
     .placeholder = "ADDRESSES", .help = "Where they listen; the announced address and loopback without it."},
    {.key = "instance-supervisor", .flag = "instance-supervisor", .env = "DROVER_INSTANCE_SUPERVISOR", .type = OPTION_ENUM,
     .fallback = "auto", .words = supervisor_words, .help = "Who watches over them; auto: systemd where it runs, else nobody."},
    {.key = "redis-server", .flag = "redis-server", .env = "DROVER_REDIS_SERVER", .type = OPTION_STRING,
     .fallback = "redis-server", .placeholder = "PROGRAM", .help = "Started for Redis."},
    {.key = "valkey-server", .flag = "valkey-server", .env = "DROVER_VALKEY_SERVER", .type = OPTION_STRING,
     .fallback = "valkey-server", .placeholder = "PROGRAM", .help = "Started for Valkey."},
    {.key = "instance-cert", .flag = "instance-cert", .env = "DROVER_INSTANCE_CERT", .type = OPTION_STRING,
     .placeholder = "FILE", .help = "With --redis-tls: PEM file of the certificate of these servers."},
    {.key = "instance-key", .flag = "instance-key", .env = "DROVER_INSTANCE_KEY", .type = OPTION_STRING,
     .placeholder = "FILE", .help = "PEM file of its key."},
    {.key = "removal-key-file", .flag = "removal-key-file", .env = "DROVER_REMOVAL_KEY_FILE", .type = OPTION_STRING,
     .placeholder = "FILE", .help = "Holds the key, shared with the coordinators, that orders to stop a server must be signed with."},
    OUTSIDE_ROWS,
    DAEMON_ROWS_REDIS,
    DAEMON_ROWS_GENERAL,
};
/* clang-format on */

struct program {
    struct agent_shell *shell;
    const char **urls; /* owned; the texts belong to the options */
    struct outside_options outside;
};

static int read_identity(const struct daemon *daemon, struct agent_config *config, struct err *err)
{
    int code = daemon_read_text(daemon, "id", config->id.text, sizeof(config->id.text), err);
    if (code == 0 && config->id.text[0] == '\0') {
        (void)gethostname(config->id.text, sizeof(config->id.text) - 1);
    }
    if (code == 0 && !agent_id_is_valid(config->id.text)) {
        code =
            options_err(daemon->options, "id", err,
                        "an agent's name, \"%s\" here, has 1 to %d letters, digits, '.', '-', '_'",
                        config->id.text, AGENT_ID_SIZE - 1);
    }
    return code == 0
               ? daemon_read_text(daemon, "cluster", config->cluster, sizeof(config->cluster), err)
               : code;
}

static int read_coordinators(const struct daemon *daemon,
                             struct agent_shell_options *shell,
                             struct err *err)
{
    struct program *program = daemon->user;
    int count = options_list_count(daemon->options, "coordinators");
    if (count == 0 || count > BUS_URLS_MAX) {
        int code = err_set(err, ERR_CONFIG, "%d coordinators are named; 1 to %d are needed", count,
                           BUS_URLS_MAX);
        err_hint(err, "name each with --coordinator tcp://host:port");
        return code;
    }
    program->urls = xcalloc((size_t)count, sizeof(*program->urls));
    for (int i = 0; i < count; i++) {
        program->urls[i] = options_list_item(daemon->options, "coordinators", i);
    }
    shell->coordinator_urls = program->urls;
    shell->coordinator_url_count = count;
    return 0;
}

static int read_ports(const struct daemon *daemon, struct instance_settings *to, struct err *err)
{
    const char *text = options_text(daemon->options, "instance-ports");
    char *end = NULL;
    long first = strtol(text, &end, 10);
    long last = *end == '-' ? strtol(end + 1, &end, 10) : first;
    if (*end != '\0' || end == text || first < 1 || last < first || last > REDIS_CONF_PORT_MAX) {
        return options_err(daemon->options, "instance-ports", err,
                           "\"%s\" is not FIRST-LAST within 1 to %d", text, REDIS_CONF_PORT_MAX);
    }
    to->port_first = (uint16_t)first;
    to->port_last = (uint16_t)last;
    return 0;
}

static int read_instance_tls(const struct daemon *daemon,
                             struct instance_settings *to,
                             struct err *err)
{
    to->is_tls = options_is(daemon->options, "redis-tls");
    int code = daemon_read_text(daemon, "instance-cert", to->tls_cert, sizeof(to->tls_cert), err);
    code = code == 0
               ? daemon_read_text(daemon, "instance-key", to->tls_key, sizeof(to->tls_key), err)
               : code;
    code = code == 0 ? daemon_read_text(daemon, "redis-ca", to->tls_ca, sizeof(to->tls_ca), err)
                     : code;
    bool lacks = to->is_tls && (to->tls_cert[0] == '\0' || to->tls_key[0] == '\0');
    if (code == 0 && to->folder[0] != '\0' && lacks) {
        code =
            err_set(err, ERR_CONFIG, "servers that are started here with TLS need a certificate");
        err_hint(err, "name it with --instance-cert and --instance-key");
    }
    return code;
}

/* What the host offers for servers that drover starts. */
static int read_instances(const struct daemon *daemon, struct agent_config *config, struct err *err)
{
    struct instance_settings *to = &config->instances;
    struct strbuf key = {0};
    int code = daemon_read_text(daemon, "zone", config->zone, sizeof(config->zone), err);
    code = code == 0 ? daemon_read_text(daemon, "instance-dir", to->folder, sizeof(to->folder), err)
                     : code;
    code = code == 0 ? daemon_read_text(daemon, "instance-host", to->host, sizeof(to->host), err)
                     : code;
    code = code == 0 ? daemon_read_text(daemon, "instance-bind", to->bind, sizeof(to->bind), err)
                     : code;
    if (code == 0 && to->folder[0] != '\0' && to->host[0] == '\0') {
        code = err_set(err, ERR_CONFIG, "servers that are started here must announce an address");
        err_hint(err, "name this host's IP address with --instance-host");
    }
    code = code == 0 ? read_ports(daemon, to, err) : code;
    code = code == 0 ? read_instance_tls(daemon, to, err) : code;
    code = code == 0 ? daemon_read_secret(daemon, "removal-key-file", &key, err) : code;
    if (code == 0 && key.len >= sizeof(to->certificate_key)) {
        code = options_err(daemon->options, "removal-key-file", err,
                           "the key is longer than %zu bytes", sizeof(to->certificate_key) - 1);
    }
    if (code == 0) {
        memcpy(to->certificate_key, strbuf_text(&key), key.len + 1);
        to->memory_bytes = options_number(daemon->options, "instance-memory");
        to->supervisor =
            (enum instance_supervisor)options_number(daemon->options, "instance-supervisor");
    }
    strbuf_release(&key);
    return code;
}

static int read_settings(struct daemon *daemon, struct agent_shell_options *shell, struct err *err)
{
    struct program *program = daemon->user;
    int code = read_identity(daemon, &shell->config, err);
    code = code == 0 ? read_instances(daemon, &shell->config, err) : code;
    code = code == 0 ? outside_options_read(daemon, &program->outside, err) : code;
    code = code == 0 ? read_coordinators(daemon, shell, err) : code;
    code = code == 0 ? daemon_read_nodes(daemon, err) : code;
    code = code == 0 ? daemon_read_secrets(daemon, err) : code;
    if (code != 0) {
        return code;
    }
    if (daemon->credential.len >= sizeof(shell->config.credential)) {
        return options_err(daemon->options, "credential-file", err,
                           "the credential is longer than %zu bytes",
                           sizeof(shell->config.credential) - 1);
    }
    (void)snprintf(shell->config.credential, sizeof(shell->config.credential), "%s",
                   strbuf_text(&daemon->credential));
    shell->config.nodes = daemon->nodes;
    shell->config.node_count = daemon->node_count;
    shell->bus = daemon_bus_options(daemon);
    shell->redis = daemon_redis_options(daemon, "drover-agent");
    shell->state_folder = options_text(daemon->options, "state-dir");
    shell->discovers = options_is(daemon->options, "discover");
    shell->redis_program = options_text(daemon->options, "redis-server");
    shell->valkey_program = options_text(daemon->options, "valkey-server");
    shell->config.outside = program->outside.settings;
    shell->webhook_token = strbuf_text(&program->outside.token);
    shell->webhook_ca = program->outside.ca_file;
    return 0;
}

static void on_signal(struct daemon *daemon)
{
    struct program *program = daemon->user;
    agent_shell_stop(program->shell);
}

static void on_exit_of_core(void *user, const struct err *err)
{
    struct daemon *daemon = user;
    daemon->exit_err = *err;
    loop_stop(daemon->loop);
}

static int run(struct daemon *daemon, struct err *err)
{
    struct program *program = daemon->user;
    struct agent_shell_options shell = {.on_exit = on_exit_of_core, .user = daemon};
    int code = read_settings(daemon, &shell, err);
    if (code != 0 || daemon_checks_only(daemon)) {
        return code;
    }
    code = daemon_start(daemon, err);
    if (code != 0) {
        return code;
    }
    shell.loop = daemon->loop;
    shell.log = daemon->log;
    program->shell = agent_shell_new(&shell, err);
    if (program->shell == NULL) {
        return err->code;
    }
    daemon_loop(daemon);
    agent_shell_free(program->shell);
    *err = daemon->exit_err;
    return err->code;
}

int main(int argc, char **argv)
{
    struct program program = {0};
    struct daemon daemon = {
        .name = "drover-agent",
        .rows = option_rows,
        .usage = "drover-agent " DROVER_VERSION
                 " - works beside the Redis and Valkey nodes of one host\n\n"
                 "Usage: drover-agent --coordinator URL [--coordinator URL] [OPTIONS]\n",
        .examples =
            "Examples\n"
            "  drover-agent --coordinator tcp://c1:7400 --coordinator tcp://c2:7400\n"
            "  drover-agent --config /etc/drover/agent.yaml --check-config\n"
            "  drover-agent --coordinator tcp://c1:7400 --no-discover --node 10.0.0.7:6379\n",
        .run = run,
        .user = &program,
        .on_signal = on_signal,
    };
    int exit_code = daemon_main(&daemon, argc, argv);
    free(program.urls);
    outside_options_release(&program.outside);
    return exit_code;
}
