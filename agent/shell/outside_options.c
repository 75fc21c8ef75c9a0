/* outside_options.c — see outside_options.h. */
#include "agent/shell/outside_options.h"

#include "common/io/text_call.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

static int check_program(const struct daemon *daemon,
                         const char *key,
                         const char *path,
                         struct err *err)
{
    if (path[0] != '/') {
        return options_err(daemon->options, key, err, "%s is not an absolute path", path);
    }
    if (access(path, X_OK) != 0) {
        return options_err(daemon->options, key, err, "%s is no program that we may run", path);
    }
    return 0;
}

/* A token must not travel where others can read it, and none belongs into a URL, which is logged.
 */
static int check_url(const struct daemon *daemon, const char *key, const char *url, struct err *err)
{
    bool is_https = strncmp(url, "https://", 8) == 0;
    if (!is_https && strncmp(url, "http://", 7) != 0) {
        return options_err(daemon->options, key, err, "%s begins with neither https:// nor http://",
                           url);
    }
    const char *host = strstr(url, "://") + 3;
    if (memchr(host, '@', strcspn(host, "/?#")) != NULL) {
        return options_err(daemon->options, key, err,
                           "a URL with a password in it would be logged; use webhook-token-file");
    }
    if (!is_https && options_text(daemon->options, "webhook-token-file") != NULL) {
        return options_err(daemon->options, key, err,
                           "%s would carry the token of webhook-token-file in the open; use https",
                           url);
    }
    return 0;
}

static int check_place(const struct daemon *daemon,
                       const char *key,
                       enum outside_way way,
                       const char *place,
                       struct err *err)
{
    struct err detail = {0};
    switch (way) {
    case OUTSIDE_EXEC:
        return check_program(daemon, key, place, err);
    case OUTSIDE_WEBHOOK:
        return check_url(daemon, key, place, err);
    case OUTSIDE_HAPROXY:
        break;
    }
    if (text_call_check(place, &detail) != 0) {
        return options_err(daemon->options, key, err, "%s", detail.text);
    }
    return 0;
}

static int take(const struct daemon *daemon,
                const char *key,
                enum outside_way way,
                const char *place,
                struct outside_target *target,
                struct err *err)
{
    if (strlen(place) >= sizeof(target->place)) {
        return options_err(daemon->options, key, err, "it is longer than %zu bytes",
                           sizeof(target->place) - 1);
    }
    int code = check_place(daemon, key, way, place, err);
    if (code == 0) {
        target->way = way;
        memcpy(target->place, place, strlen(place) + 1);
    }
    return code;
}

static int read_provisioner(const struct daemon *daemon,
                            struct outside_settings *to,
                            struct err *err)
{
    const char *program = options_text(daemon->options, "provision-exec");
    const char *url = options_text(daemon->options, "provision-webhook");
    if (program != NULL && url != NULL) {
        return options_err(daemon->options, "provision-webhook", err,
                           "there is one provisioner, and provision-exec is set too");
    }
    if (program != NULL) {
        return take(daemon, "provision-exec", OUTSIDE_EXEC, program, &to->provisioner, err);
    }
    return url == NULL
               ? 0
               : take(daemon, "provision-webhook", OUTSIDE_WEBHOOK, url, &to->provisioner, err);
}

static int add_hook(const struct daemon *daemon,
                    const char *key,
                    enum outside_way way,
                    struct outside_settings *to,
                    struct err *err)
{
    const char *place = options_text(daemon->options, key);
    int code = place == NULL ? 0 : take(daemon, key, way, place, &to->hooks[to->hook_count], err);
    to->hook_count += code == 0 && place != NULL;
    return code;
}

static int add_proxies(const struct daemon *daemon, struct outside_settings *to, struct err *err)
{
    const char *key = "drain-haproxy";
    int count = options_list_count(daemon->options, key);
    if (count > OUTSIDE_HOOKS_MAX - to->hook_count) {
        return options_err(daemon->options, key, err, "%d are named; %d are allowed", count,
                           OUTSIDE_HOOKS_MAX - to->hook_count);
    }
    for (int i = 0; i < count; i++) {
        int code = take(daemon, key, OUTSIDE_HAPROXY, options_list_item(daemon->options, key, i),
                        &to->hooks[to->hook_count], err);
        if (code != 0) {
            return code;
        }
        to->hook_count++;
    }
    return 0;
}

int outside_options_read(const struct daemon *daemon, struct outside_options *out, struct err *err)
{
    struct outside_settings *to = &out->settings;
    to->provision_timeout_ms = options_number(daemon->options, "provision-timeout");
    to->drain_limit_ms = options_number(daemon->options, "drain-limit");
    out->ca_file = options_text(daemon->options, "webhook-ca");
    int code = read_provisioner(daemon, to, err);
    code = code == 0 ? add_hook(daemon, "drain-exec", OUTSIDE_EXEC, to, err) : code;
    code = code == 0 ? add_hook(daemon, "drain-webhook", OUTSIDE_WEBHOOK, to, err) : code;
    code = code == 0 ? add_proxies(daemon, to, err) : code;
    if (code == 0 && out->ca_file != NULL && access(out->ca_file, R_OK) != 0) {
        code = options_err(daemon->options, "webhook-ca", err, "%s cannot be read", out->ca_file);
    }
    return code == 0 ? daemon_read_secret(daemon, "webhook-token-file", &out->token, err) : code;
}

void outside_options_release(struct outside_options *options)
{
    if (options->token.data != NULL) {
        explicit_bzero(options->token.data, options->token.len);
    }
    strbuf_release(&options->token);
}
