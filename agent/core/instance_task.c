/* instance_task.c — see instance_task.h. */
#include "agent/core/instance_task.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum key {
    KEY_AGENT,
    KEY_FLAVOR,
    KEY_MAXMEMORY,
    KEY_NODE_TIMEOUT,
    KEY_BARRIER,
    KEY_APPENDONLY,
    KEY_BUS_PORT,
    KEY_EXTRA,
    KEY_NR
};

static const char *const key_names[KEY_NR] = {
    [KEY_AGENT] = "agent",
    [KEY_FLAVOR] = "flavor",
    [KEY_MAXMEMORY] = "maxmemory",
    [KEY_NODE_TIMEOUT] = "node-timeout",
    [KEY_BARRIER] = "migration-barrier",
    [KEY_APPENDONLY] = "appendonly",
    [KEY_BUS_PORT] = "bus-port",
    [KEY_EXTRA] = "extra",
};

static int number(const char *name, const char *value, int64_t *out, struct err *err)
{
    char *end = NULL;
    errno = 0;
    long long parsed = strtoll(value, &end, 10);
    if (value[0] < '0' || value[0] > '9' || *end != '\0' || errno != 0) {
        return err_set(err, ERR_INVALID, "%s \"%.40s\" is not a whole number", name, value);
    }
    *out = parsed;
    return 0;
}

static int choice(const char *name,
                  const char *value,
                  const char *first,
                  const char *second,
                  bool *is_second,
                  struct err *err)
{
    *is_second = strcmp(value, second) == 0;
    if (!*is_second && strcmp(value, first) != 0) {
        return err_set(err, ERR_INVALID, "%s is \"%.40s\"; %s or %s are allowed", name, value,
                       first, second);
    }
    return 0;
}

static int check_agent(const char *value, const struct instance_settings *settings, struct err *err)
{
    if (strcmp(value, settings->agent) != 0) {
        return err_set(err, ERR_REFUSED, "the task is for agent %.64s, not for %s", value,
                       settings->agent);
    }
    return 0;
}

static int add_extra(struct instance_task *out, const char *value, struct err *err)
{
    if (out->conf.extra_count == REDIS_CONF_EXTRA_MAX) {
        return err_set(err, ERR_INVALID, "more than %d extra lines", REDIS_CONF_EXTRA_MAX);
    }
    out->extra[out->conf.extra_count++] = value;
    return 0;
}

static int take_value(struct instance_task *out,
                      enum key key,
                      const char *value,
                      const struct instance_settings *settings,
                      struct err *err)
{
    const char *name = key_names[key];
    int64_t parsed = 0;
    bool is_second = false;
    int code = 0;
    switch (key) {
    case KEY_AGENT:
        return check_agent(value, settings, err);
    case KEY_FLAVOR:
        code = choice(name, value, "redis", "valkey", &is_second, err);
        out->flavor = is_second ? FLAVOR_VALKEY : FLAVOR_REDIS;
        return code;
    case KEY_MAXMEMORY:
        return number(name, value, &out->conf.maxmemory_bytes, err);
    case KEY_NODE_TIMEOUT:
        return number(name, value, &out->conf.node_timeout_ms, err);
    case KEY_BARRIER:
        code = number(name, value, &parsed, err);
        out->conf.migration_barrier = parsed > REDIS_CONF_BARRIER_MAX ? -1 : (int)parsed;
        return code;
    case KEY_APPENDONLY:
        return choice(name, value, "no", "yes", &out->conf.appendonly, err);
    case KEY_BUS_PORT:
        code = number(name, value, &parsed, err);
        out->conf.bus_port = parsed > UINT16_MAX ? -1 : (int)parsed;
        return code;
    case KEY_EXTRA:
        return add_extra(out, value, err);
    case KEY_NR:
        break;
    }
    return err_set(err, ERR_INTERNAL, "key %d", (int)key);
}

static enum key find_key(const char *name)
{
    for (int key = 0; key < KEY_NR; key++) {
        if (strcmp(key_names[key], name) == 0) {
            return (enum key)key;
        }
    }
    return KEY_NR;
}

/* Cuts the text at its line ends and reads line by line; values stay where they are. */
static int read_start_lines(struct instance_task *out,
                            const struct instance_settings *settings,
                            bool seen[KEY_NR],
                            struct err *err)
{
    char *at = out->text;
    while (*at != '\0') {
        char *line = at;
        size_t len = strcspn(line, "\n");
        at = line[len] == '\0' ? line + len : line + len + 1;
        line[len] = '\0';
        char *value = strchr(line, ' ');
        if (value == NULL || value == line || value[1] == '\0') {
            return err_set(err, ERR_INVALID, "\"%.60s\" is not \"key value\"", line);
        }
        *value++ = '\0';
        enum key key = find_key(line);
        if (key == KEY_NR) {
            return err_set(err, ERR_INVALID, "the key %.60s is not known", line);
        }
        if (seen[key] && key != KEY_EXTRA) {
            return err_set(err, ERR_INVALID, "the key %s comes twice", line);
        }
        seen[key] = true;
        int code = take_value(out, key, value, settings, err);
        if (code != 0) {
            return code;
        }
    }
    return 0;
}

static int check_offer(const struct task *task,
                       const struct redis_conf *conf,
                       const struct instance_settings *settings,
                       struct err *err)
{
    int port = task->node_address.port;
    if (port < settings->port_first || port > settings->port_last) {
        return err_set(err, ERR_REFUSED, "port %d is not one of the ports %d to %d offered here",
                       port, settings->port_first, settings->port_last);
    }
    if (settings->host[0] != '\0' && strcmp(settings->host, task->node_address.host) != 0) {
        return err_set(err, ERR_REFUSED, "servers of this host announce %.60s, not %.60s",
                       settings->host, task->node_address.host);
    }
    if (settings->memory_bytes > 0 && conf->maxmemory_bytes > settings->memory_bytes) {
        return err_set(err, ERR_REFUSED,
                       "maxmemory %" PRId64 " is more than the %" PRId64 " bytes offered here",
                       conf->maxmemory_bytes, settings->memory_bytes);
    }
    return 0;
}

static int read_start(struct instance_task *out,
                      const struct task *task,
                      const struct instance_settings *settings,
                      struct err *err)
{
    (void)snprintf(out->folder, sizeof(out->folder), "%s/%d", settings->folder,
                   (int)task->node_address.port);
    out->flavor = FLAVOR_REDIS;
    out->conf = (struct redis_conf){
        .folder = out->folder,
        .announce_ip = task->node_address.host,
        .bind = settings->bind,
        .port = task->node_address.port,
        .node_timeout_ms = REDIS_CONF_NODE_TIMEOUT_MS,
        .migration_barrier = 1,
        .appendonly = true,
        .user = settings->user,
        .password = settings->password,
        .is_tls = settings->is_tls,
        .tls_cert = settings->tls_cert,
        .tls_key = settings->tls_key,
        .tls_ca = settings->tls_ca,
        .extra = out->extra,
    };
    bool seen[KEY_NR] = {false};
    int code = read_start_lines(out, settings, seen, err);
    if (code == 0 && (!seen[KEY_AGENT] || !seen[KEY_MAXMEMORY])) {
        code = err_set(err, ERR_INVALID, "the key %s is missing",
                       seen[KEY_AGENT] ? "maxmemory" : "agent");
    }
    code = code == 0 ? check_offer(task, &out->conf, settings, err) : code;
    return code == 0 ? redis_conf_check(&out->conf, err) : code;
}

/* "agent NAME" and then the certificate as it is. */
static int read_stop(struct instance_task *out,
                     const struct task *task,
                     const struct instance_settings *settings,
                     struct err *err)
{
    size_t len = strcspn(out->text, "\n");
    if (strncmp(out->text, "agent ", 6) != 0 || out->text[len] != '\n') {
        return err_set(err, ERR_INVALID, "the key agent is missing");
    }
    out->text[len] = '\0';
    int code = check_agent(out->text + 6, settings, err);
    code = code == 0 ? removal_proof_parse(&out->proof, out->text + len + 1,
                                           settings->certificate_key, err)
                     : code;
    if (code == 0 && !address_is_equal(&out->proof.address, &task->node_address)) {
        char address[ADDRESS_TEXT_SIZE];
        code =
            err_set(err, ERR_REFUSED, "the removal certificate is for %.100s, not for this server",
                    address_format(&out->proof.address, address));
    }
    out->has_key = settings->certificate_key[0] != '\0';
    return code;
}

int instance_task_read(struct instance_task *out,
                       const struct task *task,
                       const struct instance_settings *settings,
                       struct err *err)
{
    memcpy(out->text, task->detail, sizeof(out->text));
    out->text[sizeof(out->text) - 1] = '\0';
    if (settings->folder[0] == '\0') {
        int code =
            err_set(err, ERR_REFUSED, "agent %s starts and stops no servers", settings->agent);
        err_hint(err, "give it a folder for them: --instance-dir");
        return code;
    }
    return task->kind == TASK_START ? read_start(out, task, settings, err)
                                    : read_stop(out, task, settings, err);
}
