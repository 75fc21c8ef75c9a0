/* redis_conf.c — see redis_conf.h. */
#include "agent/core/redis_conf.h"

#include "agent/core/host_call.h"
#include "common/base/check.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define BUS_PORT_OFFSET 10000
#define NAME_SIZE 64

/* Directives that are not for extra lines, and why. A name that ends in '*' stands for all that
 * begin so. */
static const struct {
    const char *name;
    const char *reason;
} refused[] = {
    {"appendonly", "the task says it: appendonly yes|no"},
    {"aclfile", "it would put the login that drover makes out of force"},
    {"bind", "the agent's settings say where servers listen"},
    {"cluster-announce-*", "others find the node by what drover announces"},
    {"cluster-config-file", "every server needs one of its own"},
    {"cluster-enabled", "drover starts cluster nodes only"},
    {"cluster-migration-barrier", "the task says it: migration-barrier"},
    {"cluster-node-timeout", "the task says it: node-timeout"},
    {"cluster-port", "the bus port is the port + 10000"},
    {"daemonize", "the server must stay the process that was started"},
    {"dir", "a server works in its own folder"},
    {"enable-debug-command", "DEBUG can stop a server and lose its data"},
    {"enable-module-command", "modules run code in the server"},
    {"enable-protected-configs", "it lets clients change files of the host"},
    {"include", "another file could override anything"},
    {"loadmodule", "modules run code in the server"},
    {"logfile", "a server's log is in its own folder"},
    {"masterauth", "replicas log in as drover says"},
    {"masteruser", "replicas log in as drover says"},
    {"maxmemory", "the task says it: maxmemory"},
    {"pidfile", "a server's files are in its own folder"},
    {"port", "the task's address says it"},
    {"primaryauth", "replicas log in as drover says"},
    {"primaryuser", "replicas log in as drover says"},
    {"proc-title-template", "the server is recognised by its title"},
    {"protected-mode", "it follows from the login"},
    {"rename-command", "drover needs every command under its own name"},
    {"replicaof", "who replicates whom is the cluster's matter"},
    {"requirepass", "the login is the agent's setting"},
    {"save", "it follows from appendonly"},
    {"set-proc-title", "the server is recognised by its title"},
    {"slaveof", "who replicates whom is the cluster's matter"},
    {"supervised", "the server's unit or its agent watches over it"},
    {"tls-ca-*", "TLS is the agent's setting"},
    {"tls-cert-file", "TLS is the agent's setting"},
    {"tls-client-*", "TLS is the agent's setting"},
    {"tls-cluster", "TLS is the agent's setting"},
    {"tls-key-*", "TLS is the agent's setting"},
    {"tls-port", "TLS is the agent's setting"},
    {"tls-replication", "TLS is the agent's setting"},
    {"unixsocket", "a server's files are in its own folder"},
    {"unixsocketperm", "a server's files are in its own folder"},
};

/* ---- words of a line, as the server reads them ---- */

/* Passes over one quoted word that begins at *at; false when it does not end. */
static bool skip_quoted(const char **at)
{
    char quote = **at;
    for (const char *c = *at + 1; *c != '\0'; c++) {
        if (*c == '\\' && c[1] != '\0') {
            c++;
        } else if (*c == quote) {
            *at = c + 1;
            return true;
        }
    }
    return false;
}

/* Every quote is closed and a closed one ends its word, else the server refuses to start. */
static bool has_sound_quotes(const char *line)
{
    for (const char *at = line; *at != '\0';) {
        if (*at == '"' || *at == '\'') {
            if (!skip_quoted(&at) || (*at != '\0' && *at != ' ' && *at != '\t')) {
                return false;
            }
        } else {
            at++;
        }
    }
    return true;
}

/* The next bare word in lower case; "" when there is none or it does not fit. Returns what follows
 * it. */
static const char *take_word(const char *at, char word[NAME_SIZE])
{
    at += strspn(at, " \t");
    size_t len = strcspn(at, " \t");
    for (size_t i = 0; i < len && len < NAME_SIZE; i++) {
        word[i] = (char)tolower((unsigned char)at[i]);
    }
    word[len < NAME_SIZE ? len : 0] = '\0';
    return at + len;
}

static bool is_directive(const char *word)
{
    return word[0] != '\0' && strspn(word, "abcdefghijklmnopqrstuvwxyz0123456789-") == strlen(word);
}

static bool is_named(const char *pattern, const char *word)
{
    size_t len = strlen(pattern);
    return pattern[len - 1] == '*' ? strncmp(pattern, word, len - 1) == 0
                                   : strcmp(pattern, word) == 0;
}

/* A line "user NAME ..." may make users, but not remake the one that drover and replicas use. */
static int check_user_line(const char *rest, const char *user, struct err *err)
{
    char name[NAME_SIZE];
    (void)take_word(rest, name);
    bool is_plain = name[0] != '\0' && name[strcspn(name, "\"'\\")] == '\0';
    const char *ours = user[0] == '\0' ? "default" : user;
    char ours_lower[NAME_SIZE];
    (void)take_word(ours, ours_lower);
    if (!is_plain) {
        return err_set(err, ERR_INVALID, "extra line: the name of the user must be a plain word");
    }
    if (strcmp(name, ours_lower) == 0 || strcmp(name, "default") == 0) {
        return err_set(err, ERR_REFUSED,
                       "extra line \"user %s\" is refused: that user is the agent's setting", name);
    }
    return 0;
}

int redis_conf_check_extra(const char *line, const char *user, struct err *err)
{
    size_t len = strlen(line);
    if (len > REDIS_CONF_EXTRA_LEN_MAX) {
        return err_set(err, ERR_INVALID, "an extra line has %zu characters; %d are the most", len,
                       REDIS_CONF_EXTRA_LEN_MAX);
    }
    for (size_t i = 0; i < len; i++) {
        if ((unsigned char)line[i] < ' ' && line[i] != '\t') {
            return err_set(err, ERR_INVALID, "an extra line holds a control character (%d)",
                           (unsigned char)line[i]);
        }
    }
    char name[NAME_SIZE];
    const char *rest = take_word(line, name);
    if (!is_directive(name)) {
        return err_set(err, ERR_INVALID, "the extra line \"%.60s\" does not begin with a directive",
                       line);
    }
    if (!has_sound_quotes(rest)) {
        return err_set(err, ERR_INVALID, "extra line %s: its quotes are not closed", name);
    }
    for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++) {
        if (is_named(refused[i].name, name)) {
            return err_set(err, ERR_REFUSED, "extra line \"%s\" is refused: %s", name,
                           refused[i].reason);
        }
    }
    if (rest[strspn(rest, " \t")] == '\0') {
        return err_set(err, ERR_INVALID, "extra line %s: its value is missing", name);
    }
    return strcmp(name, "user") == 0 ? check_user_line(rest, user, err) : 0;
}

/* ---- the check ---- */

static bool is_ip(const char *text)
{
    size_t len = strlen(text);
    bool is_v4 = len >= 7 && len <= 15 && strspn(text, "0123456789.") == len;
    bool is_v6 = len >= 2 && len <= 45 && strchr(text, ':') != NULL &&
                 strspn(text, "0123456789abcdefABCDEF:.") == len;
    return is_v4 || is_v6;
}

static int check_range(const char *what, int64_t value, int64_t min, int64_t max, struct err *err)
{
    if (value < min || value > max) {
        return err_set(err, ERR_INVALID,
                       "%s is %" PRId64 "; %" PRId64 " to %" PRId64 " are allowed", what, value,
                       min, max);
    }
    return 0;
}

static int check_text(const char *what, const char *text, const char *allowed, struct err *err)
{
    for (const char *at = text; *at != '\0'; at++) {
        bool is_word = isalnum((unsigned char)*at) || strchr(allowed, *at) != NULL;
        if (!is_word) {
            return err_set(err, ERR_INVALID,
                           "%s \"%.100s\" holds a character that may not be there", what, text);
        }
    }
    return 0;
}

static int check_path(const char *what, const char *path, struct err *err)
{
    if (path[0] != '/') {
        return err_set(err, ERR_INVALID, "%s \"%.200s\" is not an absolute path", what, path);
    }
    for (const char *at = path; *at != '\0'; at++) {
        if ((unsigned char)*at < ' ') {
            return err_set(err, ERR_INVALID, "%s holds a control character", what);
        }
    }
    return 0;
}

static int check_login(const struct redis_conf *conf, struct err *err)
{
    if (conf->user[0] != '\0' && conf->password[0] == '\0') {
        return err_set(err, ERR_INVALID, "the user %s has no password", conf->user);
    }
    return check_text("the user", conf->user, "-_.", err);
}

static int check_tls(const struct redis_conf *conf, struct err *err)
{
    if (!conf->is_tls) {
        return 0;
    }
    int code = check_path("the server's certificate", conf->tls_cert, err);
    code = code == 0 ? check_path("the server's key", conf->tls_key, err) : code;
    return code == 0 ? check_path("the authority's certificate", conf->tls_ca, err) : code;
}

int redis_conf_check(const struct redis_conf *conf, struct err *err)
{
    int code = check_path("the server's folder", conf->folder, err);
    if (code == 0 && !is_ip(conf->announce_ip)) {
        code = err_set(err, ERR_INVALID, "\"%.100s\" is no IP address that a server could announce",
                       conf->announce_ip);
        err_hint(err, "name servers by numeric address");
    }
    code = code == 0 ? check_text("bind", conf->bind, " .:*-", err) : code;
    code = code == 0 ? check_range("the port", conf->port, 1, REDIS_CONF_PORT_MAX, err) : code;
    code = code == 0 ? check_range("the bus port", conf->bus_port, 0, UINT16_MAX, err) : code;
    code = code == 0 ? check_range("maxmemory", conf->maxmemory_bytes, REDIS_CONF_MAXMEMORY_MIN,
                                   INT64_MAX, err)
                     : code;
    code = code == 0
               ? check_range("node-timeout", conf->node_timeout_ms, REDIS_CONF_NODE_TIMEOUT_MS_MIN,
                             REDIS_CONF_NODE_TIMEOUT_MS_MAX, err)
               : code;
    code = code == 0 ? check_range("migration-barrier", conf->migration_barrier, 0,
                                   REDIS_CONF_BARRIER_MAX, err)
                     : code;
    code = code == 0 ? check_login(conf, err) : code;
    code = code == 0 ? check_tls(conf, err) : code;
    code = code == 0 ? check_range("the number of extra lines", conf->extra_count, 0,
                                   REDIS_CONF_EXTRA_MAX, err)
                     : code;
    for (int i = 0; i < conf->extra_count && code == 0; i++) {
        code = redis_conf_check_extra(conf->extra[i], conf->user, err);
    }
    return code;
}

/* ---- the text ---- */

/* A word that may hold any byte, as the server unquotes it. */
static void add_quoted(struct strbuf *out, const char *text)
{
    strbuf_add_char(out, '"');
    for (const char *at = text; *at != '\0'; at++) {
        unsigned char c = (unsigned char)*at;
        if (c == '"' || c == '\\') {
            strbuf_addf(out, "\\%c", c);
        } else if (c < ' ' || c >= 127) {
            strbuf_addf(out, "\\x%02x", c);
        } else {
            strbuf_add_char(out, (char)c);
        }
    }
    strbuf_add_char(out, '"');
}

static void add_line(struct strbuf *out, const char *name, const char *value)
{
    strbuf_addf(out, "%s ", name);
    add_quoted(out, value);
    strbuf_add_char(out, '\n');
}

static void render_place(const struct redis_conf *conf, struct strbuf *out)
{
    add_line(out, "dir", conf->folder);
    strbuf_add_text(out, "daemonize no\npidfile server.pid\nlogfile server.log\n");
    strbuf_add_text(out, "bind ");
    bool is_v6 = strchr(conf->announce_ip, ':') != NULL;
    const char *loopback = is_v6 ? "::1" : "127.0.0.1";
    if (conf->bind[0] != '\0') {
        strbuf_add_text(out, conf->bind);
    } else if (strcmp(conf->announce_ip, loopback) == 0) {
        strbuf_add_text(out, loopback);
    } else {
        strbuf_addf(out, "%s %s", conf->announce_ip, loopback);
    }
    strbuf_addf(out, "\nport %d\n", conf->is_tls ? 0 : conf->port);
    strbuf_addf(out, "protected-mode %s\n", conf->password[0] != '\0' ? "yes" : "no");
}

static void render_cluster(const struct redis_conf *conf, struct strbuf *out)
{
    int bus_port = conf->bus_port != 0 ? conf->bus_port : conf->port + BUS_PORT_OFFSET;
    strbuf_add_text(out, "cluster-enabled yes\n");
    strbuf_addf(out, "cluster-config-file " HOST_NODES_FORMAT "\n", conf->port);
    strbuf_addf(out, "cluster-node-timeout %" PRId64 "\n", conf->node_timeout_ms);
    strbuf_addf(out, "cluster-migration-barrier %d\n", conf->migration_barrier);
    strbuf_addf(out, "cluster-announce-ip %s\n", conf->announce_ip);
    strbuf_addf(out, "%s %d\n",
                conf->is_tls ? "cluster-announce-tls-port" : "cluster-announce-port", conf->port);
    strbuf_addf(out, "cluster-announce-bus-port %d\n", bus_port);
}

/* With an append-only file a snapshot besides it only costs memory and disk; without one, snapshots
 * are all there is. One pair a line: Redis 6.2 takes no more. */
static void render_data(const struct redis_conf *conf, struct strbuf *out)
{
    if (conf->appendonly) {
        strbuf_add_text(out, "appendonly yes\nappendfsync everysec\nsave \"\"\n");
    } else {
        strbuf_add_text(out, "appendonly no\nsave 3600 1\nsave 300 100\nsave 60 10000\n");
    }
    strbuf_addf(out, "maxmemory %" PRId64 "\n", conf->maxmemory_bytes);
}

static void render_login(const struct redis_conf *conf, struct strbuf *out)
{
    if (conf->user[0] != '\0') {
        strbuf_addf(out, "user %s on ", conf->user);
        struct strbuf rule = {0};
        strbuf_addf(&rule, ">%s", conf->password);
        add_quoted(out, strbuf_text(&rule));
        strbuf_release(&rule);
        strbuf_add_text(out, " allkeys allchannels allcommands\nuser default off\n");
        strbuf_addf(out, "masteruser %s\n", conf->user);
    } else if (conf->password[0] != '\0') {
        add_line(out, "requirepass", conf->password);
    }
    if (conf->password[0] != '\0') {
        add_line(out, "masterauth", conf->password);
    }
}

static void render_tls(const struct redis_conf *conf, struct strbuf *out)
{
    if (!conf->is_tls) {
        return;
    }
    strbuf_addf(out, "tls-port %d\ntls-cluster yes\ntls-replication yes\ntls-auth-clients yes\n",
                conf->port);
    add_line(out, "tls-cert-file", conf->tls_cert);
    add_line(out, "tls-key-file", conf->tls_key);
    add_line(out, "tls-ca-cert-file", conf->tls_ca);
}

void redis_conf_render(const struct redis_conf *conf, struct strbuf *out)
{
    CHECK(conf->port > 0);
    strbuf_add_text(
        out, "# Written by drover; it is written anew whenever drover starts this server.\n");
    render_place(conf, out);
    render_cluster(conf, out);
    render_data(conf, out);
    render_login(conf, out);
    render_tls(conf, out);
    for (int i = 0; i < conf->extra_count; i++) {
        strbuf_addf(out, "%s\n", conf->extra[i]);
    }
}
