/* outside_options.h — the settings of provisioners and drain hooks, the same for drover-agent and
 * for the agent in a standalone coordinator. See docs/outside.md. */
#ifndef DROVER_AGENT_SHELL_OUTSIDE_OPTIONS_H
#define DROVER_AGENT_SHELL_OUTSIDE_OPTIONS_H

#include "agent/core/agent.h"
#include "common/base/strbuf.h"
#include "common/io/daemon.h"

/* clang-format off */
#define OUTSIDE_ROWS \
    {.section = "Provisioner and drain hooks", .key = "provision-exec", .flag = "provision-exec", .env = "DROVER_PROVISION_EXEC", \
     .type = OPTION_STRING, .placeholder = "PATH", .help = "Program that makes servers and takes them back, e.g. by Terraform."}, \
    {.key = "provision-webhook", .flag = "provision-webhook", .env = "DROVER_PROVISION_WEBHOOK", .type = OPTION_STRING, \
     .placeholder = "URL", .help = "The same behind a URL; one of the two."}, \
    {.key = "provision-timeout", .flag = "provision-timeout", .env = "DROVER_PROVISION_TIMEOUT", .type = OPTION_DURATION, \
     .fallback = "15m", .min = 1000, .max = 86400000, .help = "A server that is not ready by then is given back."}, \
    {.key = "drain-exec", .flag = "drain-exec", .env = "DROVER_DRAIN_EXEC", .type = OPTION_STRING, .placeholder = "PATH", \
     .help = "Program that keeps clients off a node before it leaves, and lets them in again."}, \
    {.key = "drain-webhook", .flag = "drain-webhook", .env = "DROVER_DRAIN_WEBHOOK", .type = OPTION_STRING, .placeholder = "URL", \
     .help = "The same behind a URL."}, \
    {.key = "drain-haproxy", .flag = "drain-haproxy", .env = "DROVER_DRAIN_HAPROXY", .type = OPTION_LIST, .placeholder = "ADDRESS", \
     .help = "Runtime API of an HAProxy process that does it, unix:/path or host:port; repeat it for each."}, \
    {.key = "drain-limit", .flag = "drain-limit", .env = "DROVER_DRAIN_LIMIT", .type = OPTION_DURATION, .fallback = "60s", \
     .min = 1000, .max = 86400000, .help = "So long clients may take to leave; then the node goes all the same."}, \
    {.key = "webhook-token-file", .flag = "webhook-token-file", .env = "DROVER_WEBHOOK_TOKEN_FILE", .type = OPTION_STRING, \
     .placeholder = "FILE", .help = "Holds the bearer token for webhooks; only for https."}, \
    {.key = "webhook-ca", .flag = "webhook-ca", .env = "DROVER_WEBHOOK_CA", .type = OPTION_STRING, .placeholder = "FILE", \
     .help = "PEM file of the authority that signed the webhooks' certificates; the system's without it."}
/* clang-format on */

/* A zeroed one may be released. */
struct outside_options {
    struct outside_settings settings;
    struct strbuf token; /* owned */
    const char *ca_file; /* NULL = the system's; belongs to the daemon's options */
};

/* ERR_CONFIG names the setting and what is wrong with it. */
int outside_options_read(const struct daemon *daemon,
                         struct outside_options *out,
                         struct err *err) WARN_UNUSED;
void outside_options_release(struct outside_options *options);

#endif
