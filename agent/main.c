/* main.c — drover-agent: reads its settings, starts the shell, works until a signal comes. */
#include "agent/shell/agent_shell.h"
#include "common/base/alloc.h"
#include "common/io/daemon.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* clang-format off */
static const struct option option_rows[] = {
    {.section = "Coordinators", .key = "coordinators", .flag = "coordinator", .env = "DROVER_COORDINATORS", .type = OPTION_LIST,
     .placeholder = "URL", .help = "Where a coordinator listens, tcp://host:port or tls+tcp://host:port; repeat it for each."},
    DAEMON_ROWS_BUS_TLS,
    {.section = "This host", .key = "id", .flag = "id", .env = "DROVER_ID", .type = OPTION_STRING,
     .placeholder = "NAME", .help = "Name of this agent; the host name by default."},
    {.key = "state-dir", .flag = "state-dir", .env = "DROVER_STATE_DIR", .type = OPTION_STRING,
     .fallback = "/var/lib/drover/agent", .placeholder = "DIR", .help = "Keeps the highest fence seen; must survive restarts."},
    DAEMON_ROWS_NODES(NULL),
    DAEMON_ROWS_REDIS,
    DAEMON_ROWS_GENERAL,
};
/* clang-format on */

struct program {
    struct agent_shell *shell;
    const char **urls; /* owned; the texts belong to the options */
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

static int read_settings(struct daemon *daemon, struct agent_shell_options *shell, struct err *err)
{
    int code = read_identity(daemon, &shell->config, err);
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
    loop_run(daemon->loop);
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
    return exit_code;
}
