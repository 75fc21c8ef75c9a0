/* main.c — drover-coordinator: reads its settings, opens the store, starts shell and API; alone, or
 * with an agent in the same process when the bus is inproc:// (standalone). */
#include "agent/shell/agent_shell.h"
#include "agent/shell/outside_options.h"
#include "common/base/alloc.h"
#include "common/io/daemon.h"
#include "common/io/signer.h"
#include "common/io/store.h"
#include "coordinator/shell/api.h"
#include "coordinator/shell/coordinator_shell.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define INPROC_PREFIX "inproc://"
#define SQLITE_PREFIX "sqlite://"
#define KEEPALIVES_PER_TTL \
    5 /* every 2 s of 10: two may be lost on the way without losing the lease */

/* clang-format off */
static const struct option option_rows[] = {
    {.section = "Coordinator", .key = "bus", .flag = "bus", .env = "DROVER_BUS", .type = OPTION_STRING,
     .fallback = "inproc://drover", .placeholder = "URL",
     .help = "Where agents reach us: tcp://host:port or tls+tcp://host:port; inproc://drover runs an agent in this process."},
    {.key = "store", .flag = "store", .env = "DROVER_STORE", .type = OPTION_STRING,
     .fallback = "sqlite:///var/lib/drover/drover.db", .placeholder = "URL",
     .help = "Where plans are kept: sqlite:///path/file or etcd://host:2379,host:2379/prefix."},
    {.key = "api", .flag = "api", .env = "DROVER_API_LISTEN", .type = OPTION_STRING, .fallback = "127.0.0.1:7411",
     .placeholder = "HOST:PORT", .help = "Where the HTTP API listens; a numeric address."},
    {.key = "name", .flag = "name", .env = "DROVER_NAME", .type = OPTION_STRING,
     .placeholder = "NAME", .help = "Name of this coordinator; the host name by default."},
    {.key = "advertise-bus", .flag = "advertise-bus", .env = "DROVER_ADVERTISE_BUS", .type = OPTION_STRING,
     .placeholder = "URL", .help = "The bus URL that agents know us by, when it is not the one we listen on."},
    {.key = "advertise-api", .flag = "advertise-api", .env = "DROVER_ADVERTISE_API", .type = OPTION_STRING,
     .placeholder = "URL", .help = "The API URL told to whoever asks a standby, when it is not the one we listen on."},
    {.key = "api-cert", .flag = "api-cert", .env = "DROVER_API_CERT", .type = OPTION_STRING,
     .placeholder = "FILE", .help = "PEM file of the API's certificate; serves https with it."},
    {.key = "api-key", .flag = "api-key", .env = "DROVER_API_KEY", .type = OPTION_STRING,
     .placeholder = "FILE", .help = "PEM file of its key."},
    {.key = "certificate-key-file", .flag = "certificate-key-file", .env = "DROVER_CERTIFICATE_KEY_FILE", .type = OPTION_STRING,
     .placeholder = "FILE", .help = "PEM file of an Ed25519 private key that signs removal certificates; unsigned without it."},
    {.key = "removal-key-file", .flag = "removal-key-file", .env = "DROVER_REMOVAL_KEY_FILE", .type = OPTION_STRING,
     .placeholder = "FILE", .help = "Holds the key, shared with the agents, that signs orders to stop a server; readable by us alone."},
    DAEMON_ROWS_BUS_TLS,

    {.section = "Store (etcd)", .key = "etcd-user", .flag = "etcd-user", .env = "DROVER_ETCD_USER", .type = OPTION_STRING,
     .placeholder = "NAME", .help = "User to log in with."},
    {.key = "etcd-password-file", .flag = "etcd-password-file", .env = "DROVER_ETCD_PASSWORD_FILE", .type = OPTION_STRING,
     .placeholder = "FILE", .help = "A file that holds its password, readable by us alone."},
    {.key = "etcd-tls", .flag = "etcd-tls", .env = "DROVER_ETCD_TLS", .type = OPTION_BOOL, .fallback = "false",
     .help = "Talk TLS to etcd."},
    {.key = "etcd-ca", .flag = "etcd-ca", .env = "DROVER_ETCD_CA", .type = OPTION_STRING,
     .placeholder = "FILE", .help = "PEM file of the authority that signed etcd's certificates."},
    {.key = "etcd-cert", .flag = "etcd-cert", .env = "DROVER_ETCD_CERT", .type = OPTION_STRING,
     .placeholder = "FILE", .help = "PEM file of our certificate for etcd."},
    {.key = "etcd-key", .flag = "etcd-key", .env = "DROVER_ETCD_KEY", .type = OPTION_STRING,
     .placeholder = "FILE", .help = "PEM file of its key."},

    {.section = "Leadership", .key = "lease-ttl", .flag = "lease-ttl", .env = "DROVER_LEASE_TTL", .type = OPTION_DURATION,
     .fallback = "10s", .min = 2000, .max = 600000, .help = "A leader that falls silent is replaced after this."},
    {.key = "report-interval", .flag = "report-interval", .env = "DROVER_REPORT_INTERVAL", .type = OPTION_DURATION,
     .fallback = "2s", .min = 200, .max = 60000, .help = "How often agents probe their nodes and report."},
    {.key = "order-valid", .flag = "order-valid", .env = "DROVER_ORDER_VALID", .type = OPTION_DURATION,
     .fallback = "30s", .min = 5000, .max = 600000, .help = "An agent that is not renewed for so long begins no new keys."},

    {.section = "Limits", .key = "moves-per-source", .flag = "moves-per-source", .env = "DROVER_MOVES_PER_SOURCE", .type = OPTION_INT,
     .fallback = "1", .min = 1, .max = 16, .help = "Batches that may leave one node at the same time."},
    {.key = "moves-per-target", .flag = "moves-per-target", .env = "DROVER_MOVES_PER_TARGET", .type = OPTION_INT,
     .fallback = "3", .min = 1, .max = 64, .help = "Batches that may enter one node at the same time."},
    {.key = "moves", .flag = "moves", .env = "DROVER_MOVES", .type = OPTION_INT,
     .fallback = "16", .min = 1, .max = 128, .help = "Batches under way at the same time in all."},
    {.key = "attempts", .flag = "attempts", .env = "DROVER_ATTEMPTS", .type = OPTION_INT,
     .fallback = "8", .min = 1, .max = 1000, .help = "Tries of one batch before the operation is held for a person."},
    {.key = "batch-slots", .flag = "batch-slots", .env = "DROVER_BATCH_SLOTS", .type = OPTION_INT,
     .fallback = "512", .min = 1, .max = BATCH_SLOTS_MAX, .help = "Most slots in one batch."},
    {.key = "big-key-max", .flag = "big-key-max", .env = "DROVER_BIG_KEY_MAX", .type = OPTION_SIZE,
     .fallback = "512mb", .min = 1048576, .max = 68719476736, .help = "A larger key is not moved; its slot is held for a person."},

    {.section = "Repair", .key = "auto-meet", .flag = "auto-meet", .env = "DROVER_AUTO_MEET", .type = OPTION_BOOL,
     .fallback = "false", .help = "Members that have not known each other for 20 s are introduced (CLUSTER MEET) unasked."},

    DAEMON_ROWS_NODES("Standalone (bus inproc://)"),
    {.key = "state-dir", .flag = "state-dir", .env = "DROVER_STATE_DIR", .type = OPTION_STRING,
     .placeholder = "DIR", .help = "Keeps the agent's highest fence; the store's file name with \".agent\" by default."},
    OUTSIDE_ROWS,
    DAEMON_ROWS_REDIS,
    DAEMON_ROWS_GENERAL,
};
/* clang-format on */

struct program {
    struct store *store;
    struct coordinator_shell *shell;
    struct api *api;
    struct signer *signer;          /* of removal certificates; NULL = none */
    struct agent_shell *agent;      /* standalone only */
    struct outside_options outside; /* of that agent */
    char *state_folder;             /* owned */
    char api_host[HOST_SIZE];       /* where the API listens */
    struct strbuf etcd_password;
    int parts_running; /* cores that have not ended yet */
    bool is_store_closed;
};

static bool is_standalone(const struct daemon *daemon)
{
    return strncmp(options_text(daemon->options, "bus"), INPROC_PREFIX, strlen(INPROC_PREFIX)) == 0;
}

static int read_api(const struct daemon *daemon,
                    struct http_options *http,
                    struct coordinator_config *config,
                    struct err *err)
{
    struct program *program = daemon->user;
    struct address listen = {0};
    struct err detail = {0};
    if (address_parse(&listen, options_text(daemon->options, "api"), &detail) != 0) {
        return options_err(daemon->options, "api", err, "%s", detail.text);
    }
    (void)snprintf(program->api_host, sizeof(program->api_host), "%s", listen.host);
    *http = (struct http_options){
        .address = program->api_host,
        .port = listen.port,
        .tls_cert = options_text(daemon->options, "api-cert"),
        .tls_key = options_text(daemon->options, "api-key"),
    };
    struct leader_record *self = &config->self;
    int code = daemon_read_text(daemon, "advertise-api", self->api_url, sizeof(self->api_url), err);
    if (code == 0 && self->api_url[0] == '\0') {
        char text[ADDRESS_TEXT_SIZE];
        (void)snprintf(self->api_url, sizeof(self->api_url), "%s://%s",
                       http->tls_cert == NULL ? "http" : "https", address_format(&listen, text));
    }
    return code;
}

static int read_names(const struct daemon *daemon,
                      struct coordinator_config *config,
                      struct err *err)
{
    int code = daemon_read_text(daemon, "name", config->self.name, sizeof(config->self.name), err);
    if (code == 0 && config->self.name[0] == '\0') {
        (void)gethostname(config->self.name, sizeof(config->self.name) - 1);
    }
    code = code == 0 ? daemon_read_text(daemon, "advertise-bus", config->self.bus_url,
                                        sizeof(config->self.bus_url), err)
                     : code;
    return code == 0
               ? daemon_read_text(daemon, "cluster", config->cluster, sizeof(config->cluster), err)
               : code;
}

static int read_removal_key(const struct daemon *daemon,
                            struct coordinator_config *config,
                            struct err *err)
{
    struct strbuf key = {0};
    int code = daemon_read_secret(daemon, "removal-key-file", &key, err);
    if (code == 0 && key.len >= sizeof(config->removal_key)) {
        code = options_err(daemon->options, "removal-key-file", err,
                           "the key is longer than %zu bytes", sizeof(config->removal_key) - 1);
    }
    if (code == 0) {
        memcpy(config->removal_key, strbuf_text(&key), key.len + 1);
    }
    strbuf_release(&key);
    return code;
}

static int read_coordinator(const struct daemon *daemon,
                            struct coordinator_config *config,
                            struct err *err)
{
    const struct options *options = daemon->options;
    int64_t ttl_ms = options_number(options, "lease-ttl");
    *config = (struct coordinator_config){
        .lease_ttl_ms = ttl_ms,
        .keepalive_interval_ms = ttl_ms / KEEPALIVES_PER_TTL,
        .report_interval_ms = options_number(options, "report-interval"),
        .order_valid_ms = options_number(options, "order-valid"),
        .moves_per_source_max = (int)options_number(options, "moves-per-source"),
        .moves_per_target_max = (int)options_number(options, "moves-per-target"),
        .moves_max = (int)options_number(options, "moves"),
        .attempts_max = (int)options_number(options, "attempts"),
        .batch_slots_max = (int)options_number(options, "batch-slots"),
        .big_key_bytes_max = options_number(options, "big-key-max"),
        .auto_meet = options_is(options, "auto-meet"),
    };
    if (daemon->credential.len >= sizeof(config->agent_credential)) {
        return options_err(options, "credential-file", err,
                           "the credential is longer than %zu bytes",
                           sizeof(config->agent_credential) - 1);
    }
    (void)snprintf(config->agent_credential, sizeof(config->agent_credential), "%s",
                   strbuf_text(&daemon->credential));
    return read_names(daemon, config, err);
}

/* The standalone agent's state folder: beside the SQLite file unless it is set. */
static int read_state_folder(const struct daemon *daemon, struct err *err)
{
    struct program *program = daemon->user;
    const char *folder = options_text(daemon->options, "state-dir");
    const char *store = options_text(daemon->options, "store");
    if (folder != NULL) {
        program->state_folder = xstrdup(folder);
    } else if (strncmp(store, SQLITE_PREFIX, strlen(SQLITE_PREFIX)) == 0) {
        program->state_folder = xasprintf("%s.agent", store + strlen(SQLITE_PREFIX));
    } else if (is_standalone(daemon)) {
        int code = err_set(err, ERR_CONFIG,
                           "a standalone coordinator with its store in etcd needs --state-dir");
        err_hint(err, "its agent keeps the highest fence there");
        return code;
    }
    return 0;
}

static int open_store(struct daemon *daemon, struct err *err)
{
    struct program *program = daemon->user;
    const struct options *options = daemon->options;
    struct store_options store = {
        .user = options_text(options, "etcd-user"),
        .password = strbuf_text(&program->etcd_password),
        .ca_file = options_text(options, "etcd-ca"),
        .cert_file = options_text(options, "etcd-cert"),
        .key_file = options_text(options, "etcd-key"),
        .is_tls = options_is(options, "etcd-tls"),
    };
    return store_open(options_text(options, "store"), &store, loop_uv(daemon->loop),
                      &program->store, err);
}

static void part_ended(void *user, const struct err *err)
{
    struct daemon *daemon = user;
    struct program *program = daemon->user;
    if (err->code != 0 && daemon->exit_err.code == 0) {
        daemon->exit_err = *err;
    }
    program->parts_running--;
    if (program->parts_running == 0 || err->code != 0) {
        loop_stop(daemon->loop);
    }
}

static void on_signal(struct daemon *daemon)
{
    struct program *program = daemon->user;
    /* The agent first: it finishes the command in hand while the lease still stands. */
    if (program->agent != NULL) {
        agent_shell_stop(program->agent);
    }
    coordinator_shell_stop(program->shell);
}

static int start_agent(struct daemon *daemon,
                       const struct coordinator_config *config,
                       struct err *err)
{
    struct program *program = daemon->user;
    const char *url = options_text(daemon->options, "bus");
    struct agent_shell_options agent = {
        .loop = daemon->loop,
        .log = daemon->log,
        .coordinator_urls = &url,
        .coordinator_url_count = 1,
        .redis = daemon_redis_options(daemon, "drover-agent"),
        .state_folder = program->state_folder,
        .discovers = options_is(daemon->options, "discover") && daemon->node_count == 0,
        .config = {.nodes = daemon->nodes, .node_count = daemon->node_count, .serves_all = true},
        .webhook_token = strbuf_text(&program->outside.token),
        .webhook_ca = program->outside.ca_file,
        .on_exit = part_ended,
        .user = daemon,
    };
    agent.config.outside = program->outside.settings;
    memcpy(agent.config.instances.certificate_key, config->removal_key,
           sizeof(agent.config.instances.certificate_key));
    (void)snprintf(agent.config.id.text, sizeof(agent.config.id.text), "standalone");
    (void)snprintf(agent.config.cluster, sizeof(agent.config.cluster), "%s", config->cluster);
    (void)snprintf(agent.config.credential, sizeof(agent.config.credential), "%s",
                   config->agent_credential);
    program->agent = agent_shell_new(&agent, err);
    if (program->agent == NULL) {
        return err->code;
    }
    program->parts_running++;
    return 0;
}

static int start_parts(struct daemon *daemon,
                       const struct coordinator_config *config,
                       const struct http_options *http,
                       struct err *err)
{
    struct program *program = daemon->user;
    struct coordinator_shell_options shell = {
        .loop = daemon->loop,
        .store = program->store,
        .log = daemon->log,
        .bus_url = options_text(daemon->options, "bus"),
        .bus = daemon_bus_options(daemon),
        .config = *config,
        .on_exit = part_ended,
        .user = daemon,
    };
    program->shell = coordinator_shell_new(&shell, err);
    if (program->shell == NULL) {
        return err->code;
    }
    program->parts_running++;
    struct api_options api = {.shell = program->shell, .http = *http, .signer = program->signer};
    program->api = api_new(&api, err);
    if (program->api == NULL) {
        return err->code;
    }
    return is_standalone(daemon) ? start_agent(daemon, config, err) : 0;
}

static void store_closed(void *user)
{
    struct program *program = user;
    program->is_store_closed = true;
}

static void stop_parts(struct daemon *daemon)
{
    struct program *program = daemon->user;
    agent_shell_free(program->agent);
    api_free(program->api);
    coordinator_shell_free(program->shell);
    if (program->store != NULL) {
        store_close(program->store, store_closed, program);
        while (!program->is_store_closed) {
            loop_turn(daemon->loop, 100);
        }
    }
}

static int read_signer(const struct daemon *daemon, struct err *err)
{
    struct program *program = daemon->user;
    struct err detail = {0};
    const char *file = options_text(daemon->options, "certificate-key-file");
    if (file == NULL) {
        return 0;
    }
    program->signer = signer_new(file, &detail);
    return program->signer != NULL
               ? 0
               : options_err(daemon->options, "certificate-key-file", err, "%s", detail.text);
}

static int read_settings(struct daemon *daemon,
                         struct coordinator_config *config,
                         struct http_options *http,
                         struct err *err)
{
    struct program *program = daemon->user;
    int code = daemon_read_nodes(daemon, err);
    code = code == 0 ? daemon_read_secrets(daemon, err) : code;
    code = code == 0
               ? daemon_read_secret(daemon, "etcd-password-file", &program->etcd_password, err)
               : code;
    code = code == 0 ? read_signer(daemon, err) : code;
    code = code == 0 ? read_coordinator(daemon, config, err) : code;
    code = code == 0 ? read_removal_key(daemon, config, err) : code;
    code = code == 0 ? outside_options_read(daemon, &program->outside, err) : code;
    code = code == 0 ? read_api(daemon, http, config, err) : code;
    return code == 0 ? read_state_folder(daemon, err) : code;
}

static int run(struct daemon *daemon, struct err *err)
{
    struct coordinator_config config;
    struct http_options http;
    int code = store_check_url(options_text(daemon->options, "store"), err);
    code = code == 0 ? read_settings(daemon, &config, &http, err) : code;
    if (code != 0 || daemon_checks_only(daemon)) {
        return code;
    }
    code = daemon_start(daemon, err);
    code = code == 0 ? open_store(daemon, err) : code;
    code = code == 0 ? start_parts(daemon, &config, &http, err) : code;
    if (code == 0) {
        daemon_loop(daemon);
        *err = daemon->exit_err;
    }
    stop_parts(daemon);
    return err->code;
}

int main(int argc, char **argv)
{
    struct program program = {0};
    struct daemon daemon = {
        .name = "drover-coordinator",
        .rows = option_rows,
        .usage = "drover-coordinator " DROVER_VERSION
                 " - plans for a Redis or Valkey cluster, and leads its agents\n\n"
                 "Usage: drover-coordinator [OPTIONS]\n",
        .examples =
            "Examples\n"
            "  drover-coordinator --node 10.0.0.1:6379                     standalone, beside any "
            "cluster\n"
            "  drover-coordinator --name c1 --bus tcp://0.0.0.0:7400 --api 0.0.0.0:7411 \\\n"
            "      --store etcd://e1:2379,e2:2379,e3:2379/drover           one of a pair\n"
            "  drover-coordinator --config /etc/drover/coordinator.yaml --check-config\n",
        .run = run,
        .user = &program,
        .on_signal = on_signal,
    };
    int exit_code = daemon_main(&daemon, argc, argv);
    free(program.state_folder);
    outside_options_release(&program.outside);
    strbuf_release(&program.etcd_password);
    signer_free(program.signer);
    return exit_code;
}
