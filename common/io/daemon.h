/* daemon.h — what drover's daemons share on the way up: common settings, errors told to people,
 * secrets, log, signals.
 *
 * The rows are macros because an option table is one const array: a program puts them between its
 * own. */
#ifndef DROVER_IO_DAEMON_H
#define DROVER_IO_DAEMON_H

#include "common/base/err.h"
#include "common/base/strbuf.h"
#include "common/io/bus.h"
#include "common/io/log_sink.h"
#include "common/io/loop.h"
#include "common/io/options.h"
#include "common/io/redis_link.h"
#include "common/model/ids.h"

#define DAEMON_SECRET_SIZE_MAX 512

extern const char *const daemon_level_words[];
extern const char *const daemon_tls_check_words[]; /* by enum daemon_tls_check */

/* What is checked of the nodes' certificates. */
enum daemon_tls_check { DAEMON_TLS_FULL, DAEMON_TLS_SIGNER, DAEMON_TLS_NONE };

/* clang-format off */
#define DAEMON_ROWS_NODES(title) \
    {.section = (title), .key = "nodes", .flag = "node", .env = "DROVER_NODES", .type = OPTION_LIST, \
     .placeholder = "HOST:PORT", .help = "A node to serve; repeat it for each."}, \
    {.key = "discover", .flag = "discover", .env = "DROVER_DISCOVER", .type = OPTION_BOOL, .fallback = "true", \
     .help = "Serve every redis-server and valkey-server in cluster mode that runs on this host; standalone, only without --node."}

#define DAEMON_ROWS_REDIS \
    {.section = "Redis", .key = "redis-user", .flag = "redis-user", .env = "DROVER_REDIS_USER", .type = OPTION_STRING, \
     .placeholder = "NAME", .help = "User to log in with; the default user without it."}, \
    {.key = "redis-password", .flag = "redis-password", .env = "DROVER_REDIS_PASSWORD", .type = OPTION_STRING, \
     .is_secret = true, .placeholder = "TEXT", .help = "Its password; other users of this host can read flags, so rather:"}, \
    {.key = "redis-password-file", .flag = "redis-password-file", .env = "DROVER_REDIS_PASSWORD_FILE", \
     .type = OPTION_STRING, .placeholder = "FILE", .help = "A file that holds the password, readable by us alone."}, \
    {.key = "redis-tls", .flag = "redis-tls", .env = "DROVER_REDIS_TLS", .type = OPTION_BOOL, .fallback = "false", \
     .help = "Talk TLS to the nodes."}, \
    {.key = "redis-ca", .flag = "redis-ca", .env = "DROVER_REDIS_CA", .type = OPTION_STRING, .placeholder = "FILE", \
     .help = "PEM file of the authority that signed the nodes' certificates, or a folder of such."}, \
    {.key = "redis-cert", .flag = "redis-cert", .env = "DROVER_REDIS_CERT", .type = OPTION_STRING, \
     .placeholder = "FILE", .help = "PEM file of our certificate for the nodes."}, \
    {.key = "redis-tls-name", .flag = "redis-tls-name", .env = "DROVER_REDIS_TLS_NAME", .type = OPTION_STRING, \
     .placeholder = "NAME", .help = "Name to ask the nodes for, and to check, instead of their addresses."}, \
    {.key = "redis-tls-ciphers", .flag = "redis-tls-ciphers", .env = "DROVER_REDIS_TLS_CIPHERS", .type = OPTION_STRING, \
     .placeholder = "LIST", .help = "Ciphers for TLS 1.2, as OpenSSL writes them; OpenSSL's choice without it."}, \
    {.key = "redis-tls-ciphersuites", .flag = "redis-tls-ciphersuites", .env = "DROVER_REDIS_TLS_CIPHERSUITES", \
     .type = OPTION_STRING, .placeholder = "LIST", .help = "Cipher suites for TLS 1.3."}, \
    {.key = "redis-tls-check", .flag = "redis-tls-check", .env = "DROVER_REDIS_TLS_CHECK", .type = OPTION_ENUM, \
     .fallback = "full", .words = daemon_tls_check_words, \
     .help = "What of the nodes' certificates is checked: signer and name (full), signer, or none."}, \
    {.key = "redis-key", .flag = "redis-key", .env = "DROVER_REDIS_KEY", .type = OPTION_STRING, .placeholder = "FILE", \
     .help = "PEM file of its key."}

#define DAEMON_ROWS_BUS_TLS \
    {.key = "bus-ca", .flag = "bus-ca", .env = "DROVER_BUS_CA", .type = OPTION_STRING, .placeholder = "FILE", \
     .help = "For tls+tcp://: PEM file of the authority that signed the other side's certificates."}, \
    {.key = "bus-cert", .flag = "bus-cert", .env = "DROVER_BUS_CERT", .type = OPTION_STRING, .placeholder = "FILE", \
     .help = "For tls+tcp://: PEM file of our own certificate."}, \
    {.key = "bus-key", .flag = "bus-key", .env = "DROVER_BUS_KEY", .type = OPTION_STRING, .placeholder = "FILE", \
     .help = "For tls+tcp://: PEM file of its key."}, \
    {.key = "cluster", .flag = "cluster", .env = "DROVER_CLUSTER", .type = OPTION_STRING, .placeholder = "NAME", \
     .help = "Name of the cluster; agents and coordinators of different ones refuse each other."}, \
    {.key = "credential-file", .flag = "credential-file", .env = "DROVER_CREDENTIAL_FILE", .type = OPTION_STRING, \
     .placeholder = "FILE", .help = "Holds the secret that agents must show to coordinators."}

#define DAEMON_ROWS_GENERAL \
    {.section = "General", .key = "config", .flag = "config", .env = "DROVER_CONFIG", .type = OPTION_STRING, \
     .is_flag_only = true, .placeholder = "FILE", .help = "YAML file with any of these settings."}, \
    {.key = "check-config", .flag = "check-config", .type = OPTION_BOOL, .is_flag_only = true, \
     .help = "Print the effective settings, say whether they are right, and exit."}, \
    {.key = "log-level", .flag = "log-level", .env = "DROVER_LOG_LEVEL", .type = OPTION_ENUM, .fallback = "info", \
     .words = daemon_level_words, .help = "Lines below this level are not written."}, \
    {.key = "log-file", .flag = "log-file", .env = "DROVER_LOG_FILE", .type = OPTION_STRING, .placeholder = "FILE", \
     .help = "Where the log goes; standard error without it."}, \
    {.key = "version", .flag = "version", .type = OPTION_BOOL, .is_flag_only = true, \
     .help = "Print the version and exit."}, \
    {.key = "help", .flag = "help", .type = OPTION_BOOL, .is_flag_only = true, .help = "Print this and exit."}, \
    {.key = NULL}
/* clang-format on */

/* What a daemon's main builds up and takes down. A zeroed one may be released. */
struct daemon {
    const char *name;                          /* of the program, for messages */
    const struct option *rows;                 /* its table */
    const char *usage;                         /* what --help says above the options */
    const char *examples;                      /* and below */
    int (*run)(struct daemon *, struct err *); /* reads the settings and works until loop_stop() */
    void *user;                                /* the program's own */
    void (*on_signal)(struct daemon *);        /* SIGTERM or SIGINT came */
    /* Made by the functions below. */
    struct options *options;
    struct loop *loop;
    struct log_sink *log;
    struct loop_signal *signals[2];
    struct address *nodes; /* owned */
    int node_count;
    struct strbuf password;
    struct strbuf credential;
    struct err exit_err; /* set before loop_stop(): why */
};

/* Parses the command line, answers --help and --version, else calls run(). Returns the exit code;
 * everything of 'daemon' is released. */
int daemon_main(struct daemon *daemon, int argc, char **argv);

/* For run(): each reads one part of the settings; ERR_CONFIG and the like name the setting. */
int daemon_read_nodes(struct daemon *daemon, struct err *err) WARN_UNUSED;
int daemon_read_secrets(struct daemon *daemon, struct err *err) WARN_UNUSED;
/* The secret in the file that 'key' names; nothing when it is not set. */
int daemon_read_secret(const struct daemon *daemon,
                       const char *key,
                       struct strbuf *out,
                       struct err *err) WARN_UNUSED;
/* Copies a text setting into 'to' of 'size' bytes; "" when it is not set. ERR_CONFIG when it does
 * not fit. */
int daemon_read_text(const struct daemon *daemon,
                     const char *key,
                     char *to,
                     size_t size,
                     struct err *err) WARN_UNUSED;
struct redis_options daemon_redis_options(const struct daemon *daemon, const char *client_name);
struct bus_options daemon_bus_options(const struct daemon *daemon);

/* True when --check-config was given; the settings have then been printed and run() returns 0. */
bool daemon_checks_only(const struct daemon *daemon);

/* Makes loop, log and signal handlers. */
int daemon_start(struct daemon *daemon, struct err *err) WARN_UNUSED;

/* Runs the loop until loop_stop(). What must last is written by then: from here on the process has
 * DAEMON_CLOSE_S seconds to tidy up, then it ends with the exit code of daemon->exit_err all the
 * same. */
#define DAEMON_CLOSE_S 5
void daemon_loop(struct daemon *daemon);

#endif
